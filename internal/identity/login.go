package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"querywarden/policy"
)

// The reasons for which a sign-in does not count, beside those of tokens.
const (
	WrongState          Reason = "wrong_state"          // the answer is not the one to this browser's question
	WrongAnswerer       Reason = "wrong_answerer"       // it comes from another provider (RFC 9207)
	WrongNonce          Reason = "wrong_nonce"          // the ID token is not the one that was asked for
	NotFresh            Reason = "not_fresh"            // the provider does not say that somebody signed in just now
	Acting              Reason = "acting"               // somebody acts for somebody else, which is no sign-in of a person
	ProviderRefused     Reason = "provider_refused"     // the provider did not let the person in
	ProviderUnavailable Reason = "provider_unavailable" // the provider cannot be reached, or not be used
)

// LoginConfig says how people sign in with a browser.
type LoginConfig struct {
	// Issuer is one of the verifier's issuers. Its claim rules hold for ID
	// tokens as they do for access tokens.
	Issuer string
	// ClientID and ClientSecret are the console's own at that issuer. Without a
	// secret it is a public client.
	ClientID, ClientSecret string
	// Redirect is the URL that the provider sends people back to.
	Redirect string
	// Scopes are asked for; openid, profile and email if there are none.
	Scopes []string
}

// A Login signs people in at one provider: OpenID Connect Core 1.0's
// authorization code flow with PKCE (RFC 7636, S256), state, nonce and the check
// of who answers (RFC 9207). It is safe for use by several goroutines.
type Login struct {
	config LoginConfig
	on     *Verifier // whose rules hold
	token  *Verifier // the same for tokens made for the console
	issuer *issuer
	client *http.Client

	mu       sync.Mutex
	provider *provider
	failed   time.Time // when it could not be read last, and err why
	err      error
}

// provider is what the issuer's metadata says.
type provider struct {
	oauth2.Endpoint
	namesItself bool // in its answers, so that one without a name is not its own
	read        time.Time
}

const (
	// providerFresh is how long metadata is used before it is read again.
	providerFresh = 10 * time.Minute
	// providerRetry is how long nobody asks again after it could not be read:
	// whoever opens the sign-in page has not shown yet who they are.
	providerRetry = 5 * time.Second
	// attemptAge is how old an ID token may be that comes from the provider
	// directly.
	attemptAge = 10 * time.Minute
)

// Login makes a Login with the verifier's rules. The provider is looked for when
// somebody signs in.
func (v *Verifier) Login(c LoginConfig) (*Login, error) {
	i := v.issuers[c.Issuer]
	switch {
	case i == nil:
		return nil, fmt.Errorf("configuring sign-in: %q is none of the issuers", c.Issuer)
	case !trustworthy(c.Issuer):
		return nil, errors.New("configuring sign-in: the issuer's URL is neither https nor http on loopback")
	case c.ClientID == "":
		return nil, errors.New("configuring sign-in: the client ID is missing")
	case canonical(c.ClientID) == v.audience:
		// An ID token for the console would be good for calls of tools.
		return nil, errors.New("configuring sign-in: the client ID is the resource that agents get tokens for")
	case !trustworthy(c.Redirect):
		return nil, errors.New("configuring sign-in: people must be sent back over https, or http on loopback")
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	}
	if !slices.Contains(c.Scopes, oidc.ScopeOpenID) {
		c.Scopes = append([]string{oidc.ScopeOpenID}, c.Scopes...)
	}
	return &Login{
		config: c, on: v, issuer: i,
		token: &Verifier{audience: canonical(c.ClientID), skew: v.skew, maxAge: attemptAge, now: v.now, logger: v.logger, issuers: v.issuers},
		client: &http.Client{
			Timeout:   loadTimeout,
			Transport: limited{&http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: loadTimeout}},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the provider redirects, which is not followed")
			},
		},
	}, nil
}

// An Attempt is what a browser keeps between the question and the answer. It is
// that browser's secret and nobody else's: whoever changes it only makes the
// answer not fit.
type Attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
	// Within is how long ago the person may have entered their credentials;
	// zero if that does not matter.
	Within time.Duration `json:"within,omitempty"`
}

// A SignIn is a person who has just come from the provider.
type SignIn struct {
	Caller policy.Caller
	// At is when the person entered their credentials (auth_time), zero if the
	// provider does not say. It is later than that of the sign-in only by the
	// skew of clocks.
	At time.Time
	// Session is the provider's name for the sign-in (sid), empty if there is
	// none, and Issued when it told of it: by these, it can be called back.
	Session string
	Issued  time.Time
}

// Begin returns where to send a browser. within bounds how long ago the person
// may have entered their credentials: they are asked for them again, and the
// answer has to say when that was. With zero, the provider decides.
func (l *Login) Begin(ctx context.Context, within time.Duration) (string, Attempt, error) {
	p, err := l.discover(ctx)
	if err != nil {
		return "", Attempt{}, err
	}
	a := Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Within: within}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	// A bound makes a provider say when it saw the person (OpenID Connect Core
	// 1.0, section 3.1.2.1), so there always is one.
	bound := within
	if within > 0 {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	} else {
		bound = l.on.maxAge
	}
	options = append(options, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(bound/time.Second), 10)))
	return l.oauth(p).AuthCodeURL(a.State, options...), a, nil
}

func (l *Login) oauth(p *provider) *oauth2.Config {
	return &oauth2.Config{ClientID: l.config.ClientID, ClientSecret: l.config.ClientSecret, Endpoint: p.Endpoint, RedirectURL: l.config.Redirect, Scopes: l.config.Scopes}
}

// Finish takes the provider's answer, the query of [LoginConfig.Redirect], and
// says who has signed in. Every error is an [*Error].
func (l *Login) Finish(ctx context.Context, a Attempt, answer url.Values) (SignIn, error) {
	p, err := l.discover(ctx)
	if err != nil {
		return SignIn{}, err
	}
	code, err := l.code(p, a, answer)
	if err != nil {
		return SignIn{}, err
	}
	tokens, err := l.oauth(p).Exchange(oidc.ClientContext(ctx, l.client), code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
			return SignIn{}, refuse(ProviderRefused, err)
		}
		return SignIn{}, refuse(ProviderUnavailable, err)
	}
	token, ok := tokens.Extra("id_token").(string)
	if !ok {
		return SignIn{}, refuse(Missing, errors.New("the provider sent no ID token; is the scope openid allowed?"))
	}
	return l.verify(ctx, a, token, tokens.AccessToken)
}

// code is the code of an answer to this very attempt.
func (l *Login) code(p *provider, a Attempt, answer url.Values) (string, error) {
	one := func(name string) (value string, there bool) {
		if len(answer[name]) != 1 {
			return "", false
		}
		return answer[name][0], true
	}
	if state, ok := one("state"); !ok || a.State == "" || subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) != 1 {
		return "", refuse(WrongState, nil)
	}
	if iss, ok := one("iss"); ok && iss != l.config.Issuer || !ok && (p.namesItself || len(answer["iss"]) > 0) {
		return "", refuse(WrongAnswerer, nil)
	}
	if word := answer.Get("error"); word != "" {
		return "", refuse(ProviderRefused, fmt.Errorf("%q: %q", word, answer.Get("error_description")))
	}
	code, ok := one("code")
	if !ok || code == "" {
		return "", refuse(Malformed, errors.New("the answer has no code"))
	}
	return code, nil
}

// verify reads an ID token: what [Verifier.Verify] checks of a token, with the
// client as the audience, and what is an ID token's own (OpenID Connect Core
// 1.0, section 3.1.3.7).
func (l *Login) verify(ctx context.Context, a Attempt, token, access string) (SignIn, error) {
	if len(token) > maxToken {
		return SignIn{}, refuse(Malformed, errors.New("longer than 16 KiB"))
	}
	header, c, err := peek(token)
	if err != nil {
		return SignIn{}, refuse(Malformed, err)
	}
	if err := checkHeader(header); err != nil {
		return SignIn{}, err
	}
	if typ, ok := header.text("typ"); ok && typ != "JWT" {
		return SignIn{}, refuse(WrongType, fmt.Errorf("it has the type %q", typ))
	}
	if iss, ok := c.text("iss"); !ok || iss != l.config.Issuer {
		return SignIn{}, refuse(UnknownIssuer, nil)
	}
	if alg, _ := header.text("alg"); !slices.Contains(l.issuer.config.Algorithms, alg) {
		return SignIn{}, refuse(Unverified, errors.New("the algorithm is not allowed"))
	}
	proven, err := l.issuer.verifier.Verify(ctx, token)
	if err != nil {
		return SignIn{}, refuse(Unverified, err)
	}
	if proven.AccessTokenHash != "" && proven.VerifyAccessToken(access) != nil {
		return SignIn{}, refuse(Unverified, errors.New("at_hash is not that of the access token"))
	}
	if err := l.token.checkClaims(c); err != nil {
		return SignIn{}, err
	}
	azp, named := c.text("azp")
	if _, there := c["azp"]; there != named || named && azp != l.config.ClientID || !named && len(c.audience()) > 1 || !slices.Contains(c.audience(), l.config.ClientID) {
		return SignIn{}, refuse(WrongAudience, errors.New("it was made for another client as well, or by way of one"))
	}
	if nonce, ok := c.text("nonce"); !ok || a.Nonce == "" || subtle.ConstantTimeCompare([]byte(nonce), []byte(a.Nonce)) != 1 {
		return SignIn{}, refuse(WrongNonce, nil)
	}
	return l.signIn(a, c)
}

// signIn reads from a proven ID token who has signed in, and when.
func (l *Login) signIn(a Attempt, c claims) (SignIn, error) {
	caller, err := l.on.caller(l.issuer, c)
	if err != nil {
		return SignIn{}, err
	}
	if caller.Behind != nil {
		return SignIn{}, refuse(Acting, nil)
	}
	in := SignIn{Caller: caller}
	in.Session, _ = c.text("sid")
	in.Issued, _ = c.time("iat")
	id, _ := c.text("jti")
	if err := l.on.checkRevoked(c, Token{Caller: caller, ID: id, Session: in.Session, Issued: in.Issued}); err != nil {
		return SignIn{}, err
	}
	now := l.on.now()
	if _, there := c["auth_time"]; there {
		at, ok := c.time("auth_time")
		if !ok || at.After(now.Add(l.on.skew)) {
			return SignIn{}, refuse(Malformed, errors.New("auth_time is not a time, or is ahead"))
		}
		in.At = at
	}
	if a.Within > 0 && !in.Within(a.Within, now.Add(-l.on.skew)) {
		return SignIn{}, refuse(NotFresh, nil)
	}
	return in, nil
}

// Within reports whether somebody has entered their credentials so recently. A
// provider that does not say when they did has not said that it was recently.
func (s SignIn) Within(d time.Duration, now time.Time) bool {
	return !s.At.IsZero() && now.Sub(s.At) < d
}

// Revoked reports whether a sign-in has been called back since; see
// [Verifier.Revoked].
func (l *Login) Revoked(who policy.Identity, session string, issued time.Time) bool {
	return l.on.Revoked(who, session, issued)
}

// discover returns the provider's endpoints, as they were read last or anew.
func (l *Login) discover(ctx context.Context) (*provider, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.on.now()
	if l.provider != nil && now.Sub(l.provider.read) < providerFresh {
		return l.provider, nil
	}
	if l.err != nil && now.Sub(l.failed) < providerRetry {
		return nil, l.err
	}
	// A person who leaves must not spoil it for those who wait behind them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	p, err := l.read(ctx)
	if err != nil {
		l.failed, l.err = now, refuse(ProviderUnavailable, err)
		return nil, l.err
	}
	p.read = now
	l.provider, l.err = p, nil
	return p, nil
}

// read reads the provider's metadata (OpenID Connect Discovery 1.0).
func (l *Login) read(ctx context.Context) (*provider, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovering: %w", err)
	}
	var metadata struct {
		Challenges  []string `json:"code_challenge_methods_supported"`
		Methods     []string `json:"token_endpoint_auth_methods_supported"`
		NamesItself bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	p := &provider{Endpoint: found.Endpoint(), namesItself: metadata.NamesItself}
	if !trustworthy(p.AuthURL) || !trustworthy(p.TokenURL) {
		return nil, errors.New("an endpoint is neither https nor http on loopback")
	}
	// Not all that can do it say so; who says otherwise cannot.
	if len(metadata.Challenges) > 0 && !slices.Contains(metadata.Challenges, "S256") {
		return nil, errors.New("the provider does not know PKCE with S256")
	}
	switch {
	case l.config.ClientSecret == "":
		p.AuthStyle = oauth2.AuthStyleInParams
	case len(metadata.Methods) == 0 || slices.Contains(metadata.Methods, "client_secret_basic"):
		p.AuthStyle = oauth2.AuthStyleInHeader
	default:
		p.AuthStyle = oauth2.AuthStyleInParams
	}
	return p, nil
}
