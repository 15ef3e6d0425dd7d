// Package identitytest is an OpenID provider for tests, over HTTP on loopback.
//
// It is two things. One is a provider as companies run them, with
// zitadel/oidc's engine inside: discovery, code + PKCE, the device flow,
// refresh, client credentials and token exchange, with people, their groups and
// the programs they sign in with ([Provider.AddPerson], [Provider.AddClient]).
// Clients may also register themselves (RFC 7591) or be a URL (client ID
// metadata documents). Its access tokens are those of RFC 9068, made for the
// resource that was asked for (RFC 8707). A person signs in by clicking on
// their name, or unasked where [Provider.SignInAs] says so.
//
// The other is a hostile issuer: it signs whatever a test wants, the wrong
// ones included ([Provider.Sign], [Provider.SignText], [Provider.Hostile]).
package identitytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// A Provider signs with RS256. It is safe for use by several goroutines.
type Provider struct {
	tb      testing.TB
	server  *httptest.Server
	engine  *op.Provider
	fetches atomic.Int64

	mu     sync.Mutex
	key    *rsa.PrivateKey
	kid    string
	answer http.HandlerFunc // instead of the keys, nil if the keys
	state
}

// New starts a provider that stops when the test ends.
func New(tb testing.TB) *Provider {
	tb.Helper()
	p := &Provider{tb: tb, state: newState()}
	p.Rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.metadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", p.metadata)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("POST /register", p.register)
	mux.HandleFunc("/sign-in", p.signIn)
	mux.HandleFunc("/device", p.device)
	mux.HandleFunc("POST /oauth/token", p.token)
	mux.HandleFunc("/authorize/callback", p.callback)
	mux.Handle("/", http.HandlerFunc(p.serveEngine))
	p.server = httptest.NewUnstartedServer(mux)
	// The issuer's name has to be known before the first request.
	engine, err := op.NewProvider(&op.Config{
		CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true,
		SupportedScopes:     []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess, "groups"},
		DeviceAuthorization: op.DeviceAuthorizationConfig{Lifetime: 5 * time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20},
	}, &storage{p}, op.StaticIssuer("http://"+p.server.Listener.Addr().String()), op.WithAllowInsecure())
	if err != nil {
		tb.Fatal(err)
	}
	p.engine = engine
	p.server.Start()
	tb.Cleanup(p.server.Close)
	return p
}

// URL is the issuer.
func (p *Provider) URL() string { return p.server.URL }

// Fetches is how often the keys were asked for.
func (p *Provider) Fetches() int64 { return p.fetches.Load() }

// Rotate replaces the key; the old one is no longer published.
func (p *Provider) Rotate() {
	p.tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.kid = key, rand.Text()
}

// AnswerKeys makes the provider answer requests for its keys with h; nil means
// the keys again.
func (p *Provider) AnswerKeys(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = h
}

// metadata is the engine's, with what it does not know of.
func (p *Provider) metadata(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	r.URL.Path = "/.well-known/openid-configuration"
	recorded := httptest.NewRecorder()
	p.engine.ServeHTTP(recorded, r)
	var metadata map[string]any
	if err := json.Unmarshal(recorded.Body.Bytes(), &metadata); err != nil {
		p.tb.Errorf("reading the engine's metadata: %v", err)
	}
	metadata["registration_endpoint"] = p.URL() + "/register"
	metadata["client_id_metadata_document_supported"] = true
	metadata["authorization_response_iss_parameter_supported"] = true
	metadata["token_endpoint_auth_methods_supported"] = []string{"none", "client_secret_basic", "client_secret_post"}
	p.reply(w, metadata)
}

func (p *Provider) keys(w http.ResponseWriter, r *http.Request) {
	p.fetches.Add(1)
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	p.reply(w, p.KeySet())
}

// KeySet is the published JSON Web Key Set.
func (p *Provider) KeySet() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": p.kid,
		"n": encode(p.key.N.Bytes()), "e": encode(big.NewInt(int64(p.key.E)).Bytes()),
	}}}
}

func (p *Provider) reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.tb.Error(err)
	}
}

// PublicKey is the published key.
func (p *Provider) PublicKey() *rsa.PublicKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &p.key.PublicKey
}

// Token makes a good token for an audience, valid for ten minutes, with claims
// added or replaced; a nil value removes a claim.
func (p *Provider) Token(audience string, claims map[string]any) string {
	p.tb.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": p.URL(), "sub": "user-1", "aud": audience,
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	return p.Sign(nil, merge(all, claims))
}

// Sign makes a token of these claims, whatever they are. The header is what it
// should be, with members added or replaced; a nil value removes one.
func (p *Provider) Sign(header, claims map[string]any) string {
	p.tb.Helper()
	p.mu.Lock()
	kid := p.kid
	p.mu.Unlock()
	h := merge(map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": kid}, header)
	return p.SignText(p.text(h), p.text(claims))
}

// SignText signs a header and claims as they are, with RS256, JSON or not.
func (p *Provider) SignText(header, claims string) string {
	p.tb.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	sum := sha256.Sum256([]byte(signed))
	p.mu.Lock()
	defer p.mu.Unlock()
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		p.tb.Fatal(err)
	}
	return signed + "." + encode(signature)
}

func (p *Provider) text(v any) string {
	p.tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		p.tb.Fatal(err)
	}
	return string(text)
}

func merge(into, changes map[string]any) map[string]any {
	maps.Copy(into, changes)
	maps.DeleteFunc(into, func(_ string, v any) bool { return v == nil })
	return into
}
