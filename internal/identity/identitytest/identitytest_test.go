package identitytest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

const resource = "https://gate.example/mcp"

// A company has people, programs and a gateway that trusts its provider.
type company struct {
	*identitytest.Provider
	oidc     *oidc.Provider
	verifier *identity.Verifier
}

func newCompany(t *testing.T) company {
	t.Helper()
	p := identitytest.New(t)
	p.AddPerson(identitytest.Person{Name: "ada", Subject: "u-17", Groups: []string{"analysts", "staff"}})
	p.AddPerson(identitytest.Person{Name: "grace", Groups: []string{"owners"}})
	p.AddClient(identitytest.Client{ID: "cli", Redirects: []string{"http://127.0.0.1/callback"}})
	p.AddClient(identitytest.Client{ID: "robot", Secret: "s3cret", Groups: []string{"analysts", "robots"}})
	provider, err := oidc.NewProvider(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.New(identity.Config{Audience: resource, Issuers: []identity.IssuerConfig{{URL: p.URL(), Kind: policy.Person}}})
	if err != nil {
		t.Fatal(err)
	}
	return company{p, provider, v}
}

func (c company) oauth(id string) *oauth2.Config {
	return &oauth2.Config{ClientID: id, RedirectURL: "http://127.0.0.1:4711/callback", Endpoint: c.oidc.Endpoint(), Scopes: []string{"openid", "email", "offline_access"}}
}

// follow goes where a browser would until the answer leaves the provider.
func follow(t *testing.T, address string) *url.URL {
	t.Helper()
	client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/callback" && r.URL.Port() == "4711" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	u, err := res.Location()
	if err != nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("no redirect from %s: %s: %s", address, res.Status, body)
	}
	return u
}

func (c company) caller(t *testing.T, token string) policy.Caller {
	t.Helper()
	got, err := c.verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSignIn(t *testing.T) {
	c := newCompany(t)
	config, verifier := c.oauth("cli"), oauth2.GenerateVerifier()
	address := config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", resource), oauth2.SetAuthURLParam("nonce", "n"))

	// Without SignInAs there is a page to click on.
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || !strings.Contains(string(page), `value="ada"`) {
		t.Fatalf("no page to sign in on: %v: %s", err, page)
	}

	c.SignInAs("ada")
	back := follow(t, address).Query()
	if back.Get("state") != "the-state" || back.Get("iss") != c.URL() {
		t.Errorf("the answer is %v", back)
	}
	if _, err := config.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption("another verifier, of the length that is required")); err == nil {
		t.Error("the wrong verifier was taken")
	}
	back = follow(t, address).Query()
	token, err := config.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("the code was good twice")
	}
	want := policy.Caller{Issuer: c.URL(), Subject: "u-17", Email: "ada@example.com", Groups: []string{"analysts", "staff"}, Kind: policy.Person}
	if got := c.caller(t, token.AccessToken); !reflect.DeepEqual(got, want) {
		t.Errorf("caller %+v, want %+v", got, want)
	}

	// The ID token is the client's alone.
	raw, _ := token.Extra("id_token").(string)
	id, err := c.oidc.Verifier(&oidc.Config{ClientID: "cli"}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Nonce  string
		Groups []string
	}
	if err := id.Claims(&said); err != nil || said.Nonce != "n" || len(said.Groups) != 2 || id.Subject != "u-17" {
		t.Errorf("the ID token says %+v of %s, %v", said, id.Subject, err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Error(err)
	}
	if _, err := c.verifier.Verify(t.Context(), raw); err == nil {
		t.Error("the gateway takes the ID token")
	}

	// Refreshed tokens say what groups there are by then.
	c.SetGroups("ada", "staff")
	old := *token
	old.Expiry = old.Expiry.Add(-100 * 365 * 24 * 60 * 60 * 1e9)
	fresh, err := config.TokenSource(t.Context(), &old).Token()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.caller(t, fresh.AccessToken); !reflect.DeepEqual(got.Groups, []string{"staff"}) {
		t.Errorf("after a refresh the groups are %q", got.Groups)
	}
	if _, err := config.TokenSource(t.Context(), &old).Token(); err == nil {
		t.Error("the refresh token was good twice")
	}
}

func TestDevice(t *testing.T) {
	c := newCompany(t)
	config := c.oauth("cli")
	config.Endpoint.DeviceAuthURL = c.oidc.Endpoint().DeviceAuthURL
	for _, who := range []string{"ada", ""} {
		device, err := config.DeviceAuth(t.Context(), oauth2.SetAuthURLParam("resource", resource))
		if err != nil {
			t.Fatal(err)
		}
		if !c.AnswerDevice(device.UserCode, who) {
			t.Fatal("there is no such code")
		}
		token, err := config.DeviceAccessToken(t.Context(), device)
		if who == "" {
			if err == nil {
				t.Error("a denied device got a token")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := c.caller(t, token.AccessToken); got.Subject != "u-17" {
			t.Errorf("caller %+v", got)
		}
	}
}

// post sends a form to the token endpoint.
func (c company) post(t *testing.T, form url.Values) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.oidc.Endpoint().TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("robot", "s3cret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestMachines(t *testing.T) {
	c := newCompany(t)
	answer := c.post(t, url.Values{"grant_type": {"client_credentials"}, "resource": {resource}})
	own, _ := answer["access_token"].(string)
	if got := c.caller(t, own); got.Subject != "robot" || !reflect.DeepEqual(got.Groups, []string{"analysts", "robots"}) {
		t.Errorf("client credentials: %+v", got)
	}

	// Ada's token, in the hands of the robot that acts for her.
	const access = "urn:ietf:params:oauth:token-type:access_token"
	answer = c.post(t, url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {c.PersonToken("ada", "https://elsewhere.example", nil)}, "subject_token_type": {access},
		"actor_token": {own}, "actor_token_type": {access}, "resource": {resource},
	})
	exchanged, _ := answer["access_token"].(string)
	got := c.caller(t, exchanged)
	if got.Subject != "robot" || got.Kind != policy.Agent || got.Behind == nil || got.Behind.Subject != "u-17" {
		t.Errorf("token exchange: %+v of %v", got, answer)
	}
}

func TestRegistration(t *testing.T) {
	c := newCompany(t)
	c.SignInAs("grace")
	res, err := http.Post(c.URL()+"/register", "application/json", strings.NewReader(`{"client_name":"a client","redirect_uris":["http://localhost/callback"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var registered struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&registered); err != nil || registered.ID == "" {
		t.Fatalf("%+v, %v", registered, err)
	}
	for _, id := range []string{registered.ID, "https://client.example/metadata"} {
		config, verifier := c.oauth(id), oauth2.GenerateVerifier()
		config.RedirectURL = "http://localhost:4711/callback"
		back := follow(t, config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", resource)))
		token, err := config.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.caller(t, token.AccessToken); got.Subject != "grace" {
			t.Errorf("%s: %+v", id, got)
		}
	}
}
