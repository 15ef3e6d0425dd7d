// Package identity turns a bearer token into a [policy.Caller], or refuses it.
//
// A token is a JWT in compact form (RFC 7519, RFC 9068), signed by one of the
// configured issuers. All of this must hold:
//
//   - It is no longer than 16 KiB, and no object in its header or claims has
//     the same name twice.
//   - Its algorithm is one of the issuer's, RS256, ES256 and EdDSA unless the
//     configuration says otherwise. "none" and the HS family cannot be
//     configured. Header parameters listed in crit are not understood. Keys in
//     the header (jwk, jku, x5c, x5u) are not looked at.
//   - Its signature fits a key that the issuer publishes for signing; see
//     keySet for when keys are fetched.
//   - It is an access token. typ, if there, is JWT or at+jwt: no logout token,
//     no DPoP proof. Claims that only ID tokens, refresh tokens and logout
//     tokens have are not there. An issuer can be held to at+jwt, or, if it
//     makes nothing but ID tokens, be let off; see [Tokens].
//   - iss is the issuer's URL, character by character; sub is not empty.
//   - aud names this gateway's resource URI. A slash at the end makes no
//     difference, anything else does.
//   - azp, client_id, appid and cid, if there, name a client that may bring
//     tokens, if the issuer's configuration lists those.
//   - exp is there and not past, nbf not ahead, iat there and not ahead, each
//     with the configured skew; and the token is not older than the maximum
//     age, whatever exp says.
//   - There is no cnf. It says that the token is bound to a key whose
//     possession the caller has to prove (RFC 7800), which nobody checks here
//     yet; to ignore it would undo the binding.
//   - It is not revoked; see [Revocation].
//
// Groups come from the issuer's groups claim and from rules. A claim that is
// missing, is of another type, or was left out by the issuer because there are
// too many groups (Entra's overage) means no groups, and the caller is told so
// when that gets a statement denied ([policy.Caller.Ungrouped]).
//
// With an act claim (RFC 8693) the caller is the actor, and the token's subject
// is the person behind it. The groups are those that both have: the actor's are
// what act itself says and what the issuer's rules for actors give it, so an
// actor that nobody has given anything has nothing. Of nested actors the
// outermost counts (RFC 8693, section 4.1); the others are only looked at for
// revocation.
package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"querywarden/policy"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// The configuration's defaults.
const (
	DefaultSkew   = 30 * time.Second
	DefaultMaxAge = 12 * time.Hour
)

// Config says whose tokens count.
type Config struct {
	// Audience is this gateway's resource URI: what tokens must be made for.
	Audience string
	// Issuers may be empty; then no token counts.
	Issuers []IssuerConfig
	// Skew is how far clocks may disagree; [DefaultSkew] if zero.
	Skew time.Duration
	// MaxAge is how long after its iat a token counts; [DefaultMaxAge] if zero.
	MaxAge time.Duration
	// Logger hears of tokens whose groups could not be read. None if nil.
	Logger *slog.Logger
	// Now tells the time; time.Now if nil.
	Now func() time.Time
}

// IssuerConfig is an issuer of tokens.
type IssuerConfig struct {
	// URL is the issuer, as tokens spell it.
	URL string
	// Preset fills in what is known of a provider; see [Preset]. None if empty.
	Preset Preset
	// KeysFile holds the issuer's keys, a JSON Web Key Set. Without it they
	// are found by OpenID Connect discovery, over https or on loopback.
	KeysFile string
	// Algorithms are the JWS algorithms to accept; see the package comment.
	Algorithms []string
	// Tokens says how this issuer's access tokens are told from its others.
	Tokens Tokens
	// Clients are the IDs of the clients that may bring tokens; any if empty.
	Clients []string
	// GroupsClaim names the claim with the groups; "groups" if empty. Dots
	// lead into objects: realm_access.roles.
	GroupsClaim string
	// Kind is what this issuer's subjects are, unless a rule says otherwise.
	Kind policy.CallerKind
	// Rules give groups, and a kind, to tokens whose claims fit.
	Rules []Rule
	// RulesOnly refuses tokens that no rule fits. It is for issuers that make
	// tokens for anybody in the world.
	RulesOnly bool
	// Actors are rules over the act claim: which groups an actor may use at
	// most. The group "*" is every group of the person behind it.
	Actors []Rule
}

// Tokens says how an issuer's access tokens are told from its other tokens.
type Tokens string

// The ways to tell.
const (
	// TokensByMarks takes JWTs without any mark of another use.
	TokensByMarks Tokens = ""
	// TokensTyped takes what has the type at+jwt (RFC 9068), and nothing else.
	TokensTyped Tokens = "at+jwt"
	// TokensID takes ID tokens as well, for issuers whose access tokens are
	// made like them (Dex). The audience is all that tells them apart.
	TokensID Tokens = "id_token"
)

var (
	defaultAlgorithms = []string{"RS256", "ES256", "EdDSA"}
	knownAlgorithms   = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// Verifier checks tokens. It is safe for use by several goroutines.
type Verifier struct {
	audience string
	skew     time.Duration
	maxAge   time.Duration
	now      func() time.Time
	logger   *slog.Logger
	issuers  map[string]*issuer
	revoked  atomic.Pointer[revocations]
}

type issuer struct {
	config   IssuerConfig
	keys     *keySet
	verifier *oidc.IDTokenVerifier
}

// New makes a Verifier. Key files are read now; keys from the network when the
// first token needs them, so that a gateway starts while its identity provider
// is away.
func New(c Config) (*Verifier, error) {
	if c.Audience == "" {
		return nil, errors.New("configuring identity: the audience is missing")
	}
	if c.Skew < 0 || c.MaxAge < 0 {
		return nil, errors.New("configuring identity: skew and maximum age cannot be negative")
	}
	v := &Verifier{audience: canonical(c.Audience), skew: c.Skew, maxAge: c.MaxAge, now: c.Now, logger: c.Logger, issuers: map[string]*issuer{}}
	if v.skew == 0 {
		v.skew = DefaultSkew
	}
	if v.maxAge == 0 {
		v.maxAge = DefaultMaxAge
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	v.Revoke(nil)
	for _, ic := range c.Issuers {
		if err := ic.preset(); err != nil {
			return nil, fmt.Errorf("configuring issuer %q: %w", ic.URL, err)
		}
		i, err := newIssuer(ic, v.now)
		if err != nil {
			return nil, fmt.Errorf("configuring issuer %q: %w", ic.URL, err)
		}
		if v.issuers[ic.URL] != nil {
			return nil, fmt.Errorf("configuring issuer %q: it is there twice", ic.URL)
		}
		v.issuers[ic.URL] = i
	}
	return v, nil
}

func newIssuer(c IssuerConfig, now func() time.Time) (*issuer, error) {
	if c.URL == "" {
		return nil, errors.New("the URL is missing")
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = defaultAlgorithms
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(knownAlgorithms, alg) {
			return nil, fmt.Errorf("algorithm %q is not one of %s", alg, strings.Join(knownAlgorithms, ", "))
		}
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	switch c.Tokens {
	case TokensByMarks, TokensTyped, TokensID:
	default:
		return nil, fmt.Errorf("tokens: %q is neither %q nor %q", c.Tokens, TokensTyped, TokensID)
	}
	for i, rule := range c.Rules {
		if len(rule.Claims) == 0 {
			return nil, fmt.Errorf("rule %d names no claim and would fit every token", i+1)
		}
	}
	for i, rule := range c.Actors {
		if len(rule.Claims) == 0 {
			return nil, fmt.Errorf("actor rule %d names no claim and would fit every actor", i+1)
		}
		if rule.Kind != policy.UnknownCaller {
			return nil, fmt.Errorf("actor rule %d gives a kind, but an actor is an agent", i+1)
		}
	}
	if c.RulesOnly && len(c.Rules) == 0 {
		return nil, errors.New("only tokens that a rule fits count, and there is no rule")
	}
	var keys *keySet
	if c.KeysFile != "" {
		keys = newKeySet(fileKeys(c.KeysFile), c.Algorithms, now)
		if err := keys.refresh(context.Background()); err != nil {
			return nil, err
		}
	} else {
		if !trustworthy(c.URL) {
			return nil, errors.New("keys are fetched over https, or http on loopback")
		}
		keys = newKeySet(discoveredKeys(c.URL), c.Algorithms, now)
	}
	// Expiry, audience and the rest are checked here: go-oidc's own leeway
	// cannot be set, and it does not look at iat.
	config := &oidc.Config{SupportedSigningAlgs: c.Algorithms, SkipClientIDCheck: true, SkipExpiryCheck: true}
	return &issuer{config: c, keys: keys, verifier: oidc.NewVerifier(c.URL, keys, config)}, nil
}

// trustworthy reports whether what is read from an address comes from whom it
// names.
func trustworthy(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// canonical is a resource URI without the slash at its end.
func canonical(uri string) string { return strings.TrimSuffix(uri, "/") }

// KeepFresh keeps the issuers' keys fresh until the context ends, so that no
// caller waits for them, and a withdrawn key goes although nobody calls.
func (v *Verifier) KeepFresh(ctx context.Context) {
	var all sync.WaitGroup
	for _, i := range v.issuers {
		all.Go(func() {
			i.keys.keepFresh(ctx, func(err error) { v.logger.Warn("refreshing keys", "issuer", i.config.URL, "err", err) })
		})
	}
	all.Wait()
}

// A Token is what a token says that was checked.
type Token struct {
	Caller  policy.Caller
	Scopes  []string // what it may be used for, as the issuer says
	ID      string   // jti, empty if none
	Session string   // sid, the sign-in that it comes from, empty if none
	Issued  time.Time
	Expires time.Time
}

// Verify checks a token and says whose it is. Every error is an [*Error].
func (v *Verifier) Verify(ctx context.Context, token string) (policy.Caller, error) {
	checked, err := v.Check(ctx, token)
	return checked.Caller, err
}

// Check checks a token and says what is in it. Every error is an [*Error].
func (v *Verifier) Check(ctx context.Context, token string) (Token, error) {
	if token == "" {
		return Token{}, refuse(Missing, nil)
	}
	if len(token) > maxToken {
		return Token{}, refuse(Malformed, errors.New("longer than 16 KiB"))
	}
	header, unproven, err := peek(token)
	if err != nil {
		return Token{}, refuse(Malformed, err)
	}
	if err := checkHeader(header); err != nil {
		return Token{}, err
	}
	// The claims are not proven yet; they only say whose keys to try.
	name, ok := unproven.text("iss")
	i := v.issuers[name]
	if !ok || i == nil {
		return Token{}, refuse(UnknownIssuer, nil)
	}
	if alg, _ := header.text("alg"); !slices.Contains(i.config.Algorithms, alg) {
		return Token{}, refuse(Unverified, errors.New("the algorithm is not allowed"))
	}
	// go-oidc does not pass its key set's errors on in a form that could be
	// told from a bad signature.
	if _, err := i.keys.current(ctx); err != nil {
		return Token{}, refuse(KeysUnavailable, err)
	}
	if _, err := i.verifier.Verify(ctx, token); err != nil {
		return Token{}, refuse(Unverified, err)
	}
	// The signature covers the very bytes that peek read.
	if err := v.checkClaims(unproven); err != nil {
		return Token{}, err
	}
	if err := checkUse(i.config.Tokens, header, unproven); err != nil {
		return Token{}, err
	}
	if err := i.checkClient(unproven); err != nil {
		return Token{}, err
	}
	caller, err := v.caller(i, unproven)
	if err != nil {
		return Token{}, err
	}
	out := Token{Caller: caller, Scopes: unproven.scopes()}
	out.ID, _ = unproven.text("jti")
	out.Session, _ = unproven.text("sid")
	out.Issued, _ = unproven.time("iat")
	out.Expires, _ = unproven.time("exp")
	if err := v.checkRevoked(unproven, out); err != nil {
		return Token{}, err
	}
	return out, nil
}

// checkHeader looks at what go-oidc does not.
func checkHeader(header claims) error {
	if _, ok := header["crit"]; ok {
		return refuse(Malformed, errors.New("critical header parameters"))
	}
	switch headerType(header) {
	case "", "jwt", "at+jwt":
		return nil
	default:
		return refuse(WrongType, nil)
	}
}

// headerType is typ in lower case and without the prefix that it may have (RFC
// 7515, section 4.1.9). It is empty if there is none, and nothing that counts
// if it is no text.
func headerType(header claims) string {
	if _, ok := header["typ"]; !ok {
		return ""
	}
	typ, ok := header.text("typ")
	if !ok || typ == "" {
		return "?"
	}
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

// checkUse tells access tokens from the other tokens of an issuer.
func checkUse(want Tokens, header, c claims) error {
	if want == TokensTyped && headerType(header) != "at+jwt" {
		return refuse(WrongType, errors.New("the type is not at+jwt"))
	}
	// Keycloak and Cognito say it in a claim of their own.
	typ, _ := c.text("typ")
	use, _ := c.text("token_use")
	switch strings.ToLower(typ) {
	case "refresh", "offline", "logout":
		return refuse(WrongType, fmt.Errorf("the claim typ is %q", typ))
	}
	if _, there := c["events"]; there {
		return refuse(WrongType, errors.New("it has the claim events of a security event token"))
	}
	if want == TokensID {
		return nil
	}
	if strings.EqualFold(typ, "id") || strings.EqualFold(use, "id") {
		return refuse(WrongType, errors.New("it says that it is an ID token"))
	}
	for _, mark := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if _, there := c[mark]; there {
			return refuse(WrongType, fmt.Errorf("it has the claim %s of an ID token", mark))
		}
	}
	return nil
}

// checkClient looks at which client a token was made for.
func (i *issuer) checkClient(c claims) error {
	named := false
	for _, claim := range []string{"azp", "client_id", "appid", "cid"} {
		if _, there := c[claim]; !there {
			continue
		}
		named = true
		client, ok := c.text(claim)
		if !ok {
			return refuse(Malformed, fmt.Errorf("%s is not a text", claim))
		}
		if len(i.config.Clients) > 0 && !slices.Contains(i.config.Clients, client) {
			return refuse(WrongClient, fmt.Errorf("%s is %q", claim, client))
		}
	}
	if len(i.config.Clients) > 0 && !named {
		return refuse(WrongClient, errors.New("it names no client"))
	}
	return nil
}

// checkClaims checks when and for whom the token is.
func (v *Verifier) checkClaims(c claims) error {
	if !slices.ContainsFunc(c.audience(), func(aud string) bool { return canonical(aud) == v.audience }) {
		return refuse(WrongAudience, nil)
	}
	now := v.now()
	exp, ok := c.time("exp")
	if !ok {
		return refuse(Malformed, errors.New("no exp"))
	}
	if !now.Before(exp.Add(v.skew)) {
		return refuse(Expired, nil)
	}
	if _, there := c["nbf"]; there {
		nbf, ok := c.time("nbf")
		if !ok {
			return refuse(Malformed, errors.New("nbf is not a time"))
		}
		if nbf.After(now.Add(v.skew)) {
			return refuse(NotYetValid, nil)
		}
	}
	iat, ok := c.time("iat")
	if !ok {
		return refuse(Malformed, errors.New("no iat"))
	}
	if iat.After(now.Add(v.skew)) {
		return refuse(NotYetValid, nil)
	}
	if now.After(iat.Add(v.maxAge + v.skew)) {
		return refuse(TooOld, nil)
	}
	if _, there := c["cnf"]; there {
		return refuse(Bound, nil)
	}
	return nil
}

// caller reads who it is from proven claims.
func (v *Verifier) caller(i *issuer, c claims) (policy.Caller, error) {
	subject, err := c.subject()
	if err != nil {
		return policy.Caller{}, refuse(Malformed, err)
	}
	out := policy.Caller{Issuer: i.config.URL, Subject: subject, Email: c.email(), Kind: i.config.Kind}
	groups, err := c.groups(i.config.GroupsClaim)
	if err != nil {
		out.Ungrouped = err.Error()
		v.logger.Warn("reading groups", "issuer", i.config.URL, "subject", subject, "err", err)
	}
	fitted := false
	for _, rule := range i.config.Rules {
		if !rule.fits(c) {
			continue
		}
		fitted = true
		groups = append(groups, rule.Groups...)
		if rule.Kind != policy.UnknownCaller {
			out.Kind = rule.Kind
		}
	}
	if i.config.RulesOnly && !fitted {
		return policy.Caller{}, refuse(NoRule, nil)
	}
	slices.Sort(groups)
	out.Groups = slices.Compact(groups)
	if raw, acting := c["act"]; acting {
		if err := i.delegate(&out, raw); err != nil {
			return policy.Caller{}, err
		}
	}
	if len(out.Groups) > 0 {
		out.Ungrouped = "" // a rule has made up for it
	} else if out.Ungrouped == "" && !fitted && c.lookup(i.config.GroupsClaim) == nil {
		out.Ungrouped = fmt.Sprintf("the token has no claim %q", i.config.GroupsClaim)
	}
	return out, nil
}

// delegate makes the actor of an act claim the caller, for the person that it
// was until now, with the groups that both have.
func (i *issuer) delegate(c *policy.Caller, act json.RawMessage) error {
	actor, err := object(act)
	if err != nil {
		return refuse(Malformed, fmt.Errorf("act: %w", err))
	}
	behind := c.Identity()
	c.Behind, c.Email, c.Kind = &behind, "", policy.Agent
	if c.Subject, err = actor.subject(); err != nil {
		return refuse(Malformed, fmt.Errorf("act: %w", err))
	}
	if _, there := actor["iss"]; there {
		if c.Issuer, _ = actor.text("iss"); c.Issuer == "" || len(c.Issuer) > maxName || !printable(c.Issuer) {
			return refuse(Malformed, errors.New("act: iss is not a usable text"))
		}
	}
	for next := actor; next["act"] != nil; {
		if next, err = object(next["act"]); err != nil {
			return refuse(Malformed, fmt.Errorf("act in act: %w", err))
		}
		if _, err := next.subject(); err != nil {
			return refuse(Malformed, fmt.Errorf("act in act: %w", err))
		}
	}
	may, err := actor.groups(i.config.GroupsClaim)
	if err != nil {
		may = nil
	}
	// Only a rule can say that an actor may whatever the person may.
	may = slices.DeleteFunc(may, func(group string) bool { return group == everyGroup })
	for _, rule := range i.config.Actors {
		if rule.fits(actor) {
			may = append(may, rule.Groups...)
		}
	}
	if slices.Contains(may, everyGroup) {
		return nil
	}
	both := slices.DeleteFunc(slices.Clone(c.Groups), func(group string) bool { return !slices.Contains(may, group) })
	if len(both) == 0 && len(c.Groups) > 0 {
		c.Ungrouped = "the person has groups, and the agent that acts for them was given none of these"
	}
	c.Groups = both
	return nil
}

// everyGroup, in a rule for actors, is every group of the person behind.
const everyGroup = "*"

// printable reports whether a name can be shown and logged as it is.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}
