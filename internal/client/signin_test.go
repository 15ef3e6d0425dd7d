package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// An authority is a gateway and its authorization server in one, that can be
// made to err.
type authority struct {
	*httptest.Server
	metadata map[string]any // changes
	token    string         // the answer of the token endpoint
	forms    []url.Values   // what it was asked
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{metadata: map[string]any{}, token: `{"access_token":"access","token_type":"bearer","refresh_token":"refresh","expires_in":60}`}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"resource": a.URL + "/mcp", "authorization_servers": []string{a.URL}, "scopes_supported": []string{"query"}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{
			"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token",
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
			"scopes_supported": []string{"openid", "offline_access"},
		}
		for k, v := range a.metadata {
			m[k] = v
		}
		answer(w, m)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		a.forms = append(a.forms, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(a.token, `"error"`) {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, a.token)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// signIn runs a sign-in with a browser that comes back with what back makes of
// the question.
func (a *authority) signIn(t *testing.T, back func(asked url.Values) []url.Values) (*Kept, error) {
	t.Helper()
	u, err := url.Parse(a.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	s := SignIn{Gateway: u, Client: "cli", Say: func(string) {}, Browser: func(place string) error {
		asked, err := url.Parse(place)
		if err != nil {
			return err
		}
		for _, q := range back(asked.Query()) {
			res, err := http.Get(asked.Query().Get("redirect_uri") + "?" + q.Encode())
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				return err
			}
			res.Body.Close()
			if good := q.Get("state") == asked.Query().Get("state"); good != (res.StatusCode == http.StatusOK) {
				t.Errorf("coming back with %v was answered %d", q, res.StatusCode)
			}
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer http.DefaultClient.CloseIdleConnections()
	return s.Run(ctx)
}

// TestSignIn asks and answers as the RFCs have it.
func TestSignIn(t *testing.T) {
	a := newAuthority(t)
	var asked url.Values
	kept, err := a.signIn(t, func(q url.Values) []url.Values {
		asked = q
		return []url.Values{{"state": {q.Get("state")}, "code": {"the code"}, "iss": {a.URL}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"response_type": "code", "client_id": "cli", "code_challenge_method": "S256", "resource": a.URL + "/mcp", "scope": "query openid offline_access"} {
		if got := asked.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	form := a.forms[0]
	for name, want := range map[string]string{"grant_type": "authorization_code", "code": "the code", "client_id": "cli", "resource": a.URL + "/mcp", "redirect_uri": asked.Get("redirect_uri")} {
		if got := form.Get(name); got != want {
			t.Errorf("in the token request %s is %q, want %q", name, got, want)
		}
	}
	if form.Get("code_verifier") == "" || form.Get("code_verifier") == asked.Get("code_challenge") {
		t.Errorf("the verifier is %q", form.Get("code_verifier"))
	}
	if kept.Access != "access" || kept.Refresh != "refresh" || kept.Gateway != a.URL+"/mcp" || kept.Issuer != a.URL || kept.Expires.IsZero() {
		t.Errorf("kept %+v", kept)
	}
	// Renewed with the resource, and the new refresh token kept.
	a.token = `{"access_token":"access-2","token_type":"Bearer","refresh_token":"refresh-2","expires_in":60}`
	hc := newHTTP()
	defer hc.CloseIdleConnections()
	if err := renew(t.Context(), hc, kept); err != nil || kept.Access != "access-2" || kept.Refresh != "refresh-2" {
		t.Errorf("renewed %+v: %v", kept, err)
	}
	if form := a.forms[1]; form.Get("resource") != a.URL+"/mcp" || form.Get("refresh_token") != "refresh" {
		t.Errorf("renewed with %v", form)
	}
}

// TestForgedSignIns come back with what the authorization server did not say.
func TestForgedSignIns(t *testing.T) {
	type q = url.Values
	for name, c := range map[string]struct {
		change func(*authority)
		back   func(a *authority, asked q) []q
		want   string // no error if empty
	}{
		"another state, then the good one": {nil, func(a *authority, asked q) []q {
			return []q{{"state": {"x"}, "code": {"evil"}, "iss": {a.URL}}, {"code": {"evil"}, "iss": {a.URL}}, {"state": {asked.Get("state")}, "code": {"good"}, "iss": {a.URL}}}
		}, ""},
		"another issuer": {nil, func(_ *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "code": {"x"}, "iss": {"https://evil.example.com"}}}
		}, `the answer is of "https://evil.example.com"`},
		"no issuer": {nil, func(_ *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "code": {"x"}}}
		}, `the answer is of ""`},
		"an issuer where none is promised": {func(a *authority) { a.metadata["authorization_response_iss_parameter_supported"] = false }, func(_ *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "code": {"x"}, "iss": {"https://evil.example.com"}}}
		}, "the answer is of"},
		"denied": {nil, func(a *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "error": {"access_denied"}, "error_description": {"no\x1b[2J way"}, "iss": {a.URL}}}
		}, "access_denied: no [2J way"},
		"no code": {nil, func(a *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "iss": {a.URL}}}
		}, "the answer holds no code"},
		"no PKCE": {func(a *authority) { a.metadata["code_challenge_methods_supported"] = []string{"plain"} }, nil, "does not say that it takes PKCE"},
		"no bearer token": {func(a *authority) { a.token = `{"access_token":"x","token_type":"DPoP"}` }, func(a *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "code": {"x"}, "iss": {a.URL}}}
		}, "without a bearer token"},
		"refused": {func(a *authority) { a.token = `{"error":"invalid_grant","error_description":"used\nbefore"}` }, func(a *authority, asked q) []q {
			return []q{{"state": {asked.Get("state")}, "code": {"x"}, "iss": {a.URL}}}
		}, "invalid_grant: used before"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			if c.change != nil {
				c.change(a)
			}
			kept, err := a.signIn(t, func(asked q) []q { return c.back(a, asked) })
			if c.want == "" {
				if err != nil || a.forms[0].Get("code") != "good" {
					t.Errorf("%v, %v", err, a.forms)
				}
				return
			}
			if err == nil || kept != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v, want %q", kept, err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("it would move a cursor: %q", err)
			}
		})
	}
}
