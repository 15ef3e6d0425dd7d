// Package identity turns a bearer token into a [policy.Caller], or refuses it.
//
// A token is a JWT in compact form (RFC 7519, RFC 9068), signed by one of the
// configured issuers. All of this must hold:
//
//   - It is no longer than 16 KiB, and no object in its header or claims has
//     the same name twice.
//   - Its algorithm is one of the issuer's, RS256, ES256 and EdDSA unless the
//     configuration says otherwise. "none" and the HS family cannot be
//     configured. Header parameters listed in crit are not understood.
//   - Its signature fits a key that the issuer publishes for signing.
//   - typ, if there, is JWT or at+jwt: no logout token, no DPoP proof.
//   - iss is the issuer's URL, character by character; sub is not empty.
//   - aud names this gateway's resource URI. A slash at the end makes no
//     difference, anything else does.
//   - exp is there and not past, nbf not ahead, iat there and not ahead, each
//     with the configured skew; and the token is not older than the maximum
//     age, whatever exp says.
//   - There is no cnf. It says that the token is bound to a key whose
//     possession the caller has to prove (RFC 7800), which nobody checks here
//     yet; to ignore it would undo the binding.
//
// Groups come from the issuer's groups claim and from rules. A claim that is
// missing, is of another type, or was left out by the issuer because there are
// too many groups (Entra's overage) means no groups.
//
// With an act claim (RFC 8693) the caller is the actor, and the token's subject
// is the person behind it.
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
	// KeysFile holds the issuer's keys, a JSON Web Key Set. Without it they
	// are found by OpenID Connect discovery, over https or on loopback.
	KeysFile string
	// Algorithms are the JWS algorithms to accept; see the package comment.
	Algorithms []string
	// GroupsClaim names the claim with the groups; "groups" if empty.
	GroupsClaim string
	// Kind is what this issuer's subjects are, unless a rule says otherwise.
	Kind policy.CallerKind
	// Rules give groups, and a kind, to tokens whose claims fit.
	Rules []Rule
}

// A Rule applies to a token if every one of its claims is there and fits its
// pattern, in which * stands for any text. Numbers and booleans are compared in
// their JSON form. A rule without claims is an error.
type Rule struct {
	Claims map[string]string
	Groups []string          // added
	Kind   policy.CallerKind // replaces the kind if not unknown; the last rule wins
}

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
	for _, ic := range c.Issuers {
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
	for i, rule := range c.Rules {
		if len(rule.Claims) == 0 {
			return nil, fmt.Errorf("rule %d names no claim and would fit every token", i+1)
		}
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

// Verify checks a token and says whose it is. Every error is an [*Error].
func (v *Verifier) Verify(ctx context.Context, token string) (policy.Caller, error) {
	if token == "" {
		return policy.Caller{}, refuse(Missing, nil)
	}
	if len(token) > maxToken {
		return policy.Caller{}, refuse(Malformed, errors.New("longer than 16 KiB"))
	}
	header, unproven, err := peek(token)
	if err != nil {
		return policy.Caller{}, refuse(Malformed, err)
	}
	if err := checkHeader(header); err != nil {
		return policy.Caller{}, err
	}
	// The claims are not proven yet; they only say whose keys to try.
	name, ok := unproven.text("iss")
	i := v.issuers[name]
	if !ok || i == nil {
		return policy.Caller{}, refuse(UnknownIssuer, nil)
	}
	if alg, _ := header.text("alg"); !slices.Contains(i.config.Algorithms, alg) {
		return policy.Caller{}, refuse(Unverified, errors.New("the algorithm is not allowed"))
	}
	// go-oidc does not pass its key set's errors on in a form that could be
	// told from a bad signature.
	if _, err := i.keys.current(ctx, false); err != nil {
		return policy.Caller{}, refuse(KeysUnavailable, err)
	}
	if _, err := i.verifier.Verify(ctx, token); err != nil {
		return policy.Caller{}, refuse(Unverified, err)
	}
	// The signature covers the very bytes that peek read.
	if err := v.checkClaims(unproven); err != nil {
		return policy.Caller{}, err
	}
	return v.caller(i, unproven)
}

// checkHeader looks at what go-oidc does not.
func checkHeader(header claims) error {
	if _, ok := header["crit"]; ok {
		return refuse(Malformed, errors.New("critical header parameters"))
	}
	if _, ok := header["typ"]; !ok {
		return nil
	}
	typ, _ := header.text("typ")
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt", "at+jwt":
		return nil
	default:
		return refuse(WrongType, nil)
	}
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
		v.logger.Warn("reading groups", "issuer", i.config.URL, "subject", subject, "err", err)
	}
	for _, rule := range i.config.Rules {
		if !rule.fits(c) {
			continue
		}
		groups = append(groups, rule.Groups...)
		if rule.Kind != policy.UnknownCaller {
			out.Kind = rule.Kind
		}
	}
	slices.Sort(groups)
	out.Groups = slices.Compact(groups)
	raw, acting := c["act"]
	if !acting {
		return out, nil
	}
	var actor claims
	if err := json.Unmarshal(raw, &actor); err != nil {
		return policy.Caller{}, refuse(Malformed, errors.New("act is not an object"))
	}
	behind := out.Identity()
	out.Behind, out.Email, out.Kind = &behind, "", policy.Agent
	if out.Subject, err = actor.subject(); err != nil {
		return policy.Caller{}, refuse(Malformed, fmt.Errorf("act: %w", err))
	}
	if _, there := actor["iss"]; there {
		if out.Issuer, _ = actor.text("iss"); out.Issuer == "" {
			return policy.Caller{}, refuse(Malformed, errors.New("act: iss is not a text"))
		}
	}
	return out, nil
}

// fits reports whether a token's claims meet the rule.
func (r Rule) fits(c claims) bool {
	for name, pattern := range r.Claims {
		value, ok := c.scalar(name)
		if !ok || !glob(pattern, value) {
			return false
		}
	}
	return len(r.Claims) > 0
}

// glob matches a text against a pattern in which * stands for any text.
func glob(pattern, s string) bool {
	prefix, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		// The earliest place leaves most for the parts that follow.
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], after
	}
}

// printable reports whether a name can be shown and logged as it is.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}
