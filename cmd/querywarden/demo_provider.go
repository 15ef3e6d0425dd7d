package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"querywarden/internal/console"
	"querywarden/internal/identity"
)

// demoPeople are who can sign in to the demo's console.
func demoPeople() []demoPerson {
	return []demoPerson{
		{"bob", "owns the data and approves", []string{"data-owners"}},
		{"carol", "audits, and reads the log", []string{"auditors"}},
		{"ada", "is the analyst that the agent works for", []string{"analysts"}},
	}
}

type demoPerson struct {
	Name   string
	Does   string
	Groups []string
}

// A demoProvider is the demo's identity provider: whoever can reach it is
// whoever they say. It is an OpenID provider as far as the console needs one
// (discovery, authorization code with PKCE), served on loopback by `demo` and
// by nothing else.
type demoProvider struct {
	issuer   *identity.Issuer
	client   string
	redirect string
	mux      *http.ServeMux

	mu    sync.Mutex
	codes map[string]demoCode
}

// A demoCode waits to be exchanged for an ID token, once.
type demoCode struct {
	who              demoPerson
	nonce, challenge string
	until            time.Time
}

const (
	demoCodeLife = time.Minute
	demoCodes    = 100 // that wait at once
)

//go:embed demo_signin.html
var demoSignIn string

func newDemoProvider(issuer *identity.Issuer, c *config) (*demoProvider, error) {
	address, err := c.consoleURL()
	if err != nil {
		return nil, err
	}
	if base := strings.TrimSuffix(address, "/console"); issuer.URL() != base+"/demo" {
		return nil, fmt.Errorf("the demo's issuer is %s, which is not served here; remove the demo's folder to make a new one", issuer.URL())
	}
	p := &demoProvider{issuer: issuer, client: c.Console.ClientID, redirect: console.Callback(address), mux: http.NewServeMux(), codes: map[string]demoCode{}}
	pages, err := template.New("sign-in").Parse(demoSignIn)
	if err != nil {
		return nil, fmt.Errorf("reading the demo's sign-in page: %w", err)
	}
	p.mux.HandleFunc("GET /demo/.well-known/openid-configuration", p.metadata)
	p.mux.HandleFunc("GET /demo/jwks.json", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, issuer.KeysFile()) })
	p.mux.HandleFunc("GET /demo/authorize", func(w http.ResponseWriter, r *http.Request) {
		if !p.asks(w, r) {
			return
		}
		asked := map[string]string{}
		for _, name := range []string{"client_id", "redirect_uri", "response_type", "state", "nonce", "code_challenge", "code_challenge_method"} {
			asked[name] = r.FormValue(name)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := pages.Execute(w, map[string]any{"People": demoPeople(), "Asked": asked}); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	p.mux.HandleFunc("POST /demo/authorize", p.authorize)
	p.mux.HandleFunc("POST /demo/token", p.token)
	return p, nil
}

// ServeHTTP serves the provider to the host that its issuer names, and to forms
// of its own.
func (p *demoProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Cache-Control", "no-store")
	if u, err := url.Parse(p.issuer.URL()); err != nil || r.Host != u.Host || http.NewCrossOriginProtection().Check(r) != nil {
		http.Error(w, "this host or origin is not served here", http.StatusForbidden)
		return
	}
	p.mux.ServeHTTP(w, r)
}

func (p *demoProvider) metadata(w http.ResponseWriter, _ *http.Request) {
	base := p.issuer.URL()
	p.reply(w, http.StatusOK, map[string]any{
		"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": base + "/jwks.json",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"},
		"authorization_response_iss_parameter_supported": true,
	})
}

// asks reports whether the console asks, as it should; otherwise it has
// answered.
func (p *demoProvider) asks(w http.ResponseWriter, r *http.Request) bool {
	for name, want := range map[string]string{"client_id": p.client, "redirect_uri": p.redirect, "response_type": "code", "code_challenge_method": "S256"} {
		if r.FormValue(name) != want {
			http.Error(w, fmt.Sprintf("%s is not %q", name, want), http.StatusBadRequest)
			return false
		}
	}
	return true
}

// authorize lets in the person who was clicked on.
func (p *demoProvider) authorize(w http.ResponseWriter, r *http.Request) {
	if !p.asks(w, r) {
		return
	}
	answer := url.Values{"state": {r.FormValue("state")}, "iss": {p.issuer.URL()}, "error": {"access_denied"}}
	for _, who := range demoPeople() {
		if who.Name == r.FormValue("as") {
			answer.Del("error")
			answer.Set("code", p.code(who, r))
		}
	}
	http.Redirect(w, r, p.redirect+"?"+answer.Encode(), http.StatusSeeOther)
}

func (p *demoProvider) code(who demoPerson, r *http.Request) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for code, c := range p.codes {
		if now.After(c.until) || len(p.codes) >= demoCodes {
			delete(p.codes, code)
		}
	}
	code := rand.Text()
	p.codes[code] = demoCode{who, r.FormValue("nonce"), r.FormValue("code_challenge"), now.Add(demoCodeLife)}
	return code
}

// token exchanges a code.
func (p *demoProvider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	c, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	if !ok || time.Now().After(c.until) || subtle.ConstantTimeCompare([]byte(challenge), []byte(c.challenge)) != 1 || r.FormValue("redirect_uri") != p.redirect || r.FormValue("client_id") != p.client {
		p.reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	token, err := p.issuer.IDToken(identity.TokenClaims{
		Subject: c.who.Name, Email: c.who.Name + "@example.com", Groups: c.who.Groups, Audience: p.client, Lifetime: 5 * time.Minute,
	}, c.nonce)
	if err != nil {
		p.reply(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	// There is nothing to do with an access token of this provider.
	p.reply(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": token})
}

func (p *demoProvider) reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler)
	}
}
