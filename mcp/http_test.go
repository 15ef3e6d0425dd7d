package mcp

import (
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"querywarden/internal/identity"
	"querywarden/tools"
)

const listMessage = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

func TestTokens(t *testing.T) {
	w := newWorld(t, nil)
	token := func(audience string) string {
		s, err := w.issuer.Token(identity.TokenClaims{Subject: "ada", Groups: []string{"analysts"}, Audience: audience, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := token(w.url)
	challenge := `Bearer resource_metadata="` + w.base + `/.well-known/oauth-protected-resource/mcp", scope="query"`
	tests := []struct {
		name   string
		header []string
		query  string
		status int
		error  bool // the challenge says what was wrong with the token
	}{
		{name: "good", header: []string{"Bearer " + good}, status: 200},
		{name: "scheme in lower case", header: []string{"bearer " + good}, status: 200},
		{name: "none", status: 401},
		{name: "empty", header: []string{"Bearer "}, status: 401},
		{name: "another scheme", header: []string{"Basic YTpi"}, status: 401},
		{name: "two headers", header: []string{"Bearer " + good, "Bearer " + good}, status: 401},
		{name: "in the query", query: "?access_token=" + good, status: 401},
		{name: "not a token", header: []string{"Bearer x"}, status: 401, error: true},
		{name: "unsigned", header: []string{"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ."}, status: 401, error: true},
		{name: "tampered", header: []string{"Bearer " + good[:len(good)-4] + "AAAA"}, status: 401, error: true},
		{name: "for another audience", header: []string{"Bearer " + token("https://other.example/mcp")}, status: 401, error: true},
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		for _, test := range tests {
			t.Run(method+" "+test.name, func(t *testing.T) {
				if method != http.MethodPost && test.status == 200 {
					t.Skip("TestSessions and TestMethods look at these")
				}
				req, err := http.NewRequest(method, w.url+test.query, strings.NewReader(listMessage))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header["Authorization"] = test.header
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != test.status {
					t.Fatalf("status %d, want %d: %s", resp.StatusCode, test.status, body)
				}
				got := resp.Header.Get("WWW-Authenticate")
				switch {
				case test.status == 200:
					if got != "" || !strings.Contains(string(body), `"query"`) {
						t.Errorf("challenge %q, body %s", got, body)
					}
				case test.error:
					if !strings.HasPrefix(got, challenge+`, error="invalid_token", error_description="`) {
						t.Errorf("challenge %s", got)
					}
				case got != challenge:
					t.Errorf("challenge %s\nwant      %s", got, challenge)
				}
				if test.status != 200 && strings.Contains(string(body), "ada") {
					t.Errorf("the answer tells of the token: %s", body)
				}
			})
		}
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(t, "ada")
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, w.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	// Clients look for these and hang on a stream that answers instead.
	for _, path := range []string{"/", "/mcp/", "/mcp/x", "//mcp", "/x/../mcp", "/MCP", "/sse", "/register", "/.well-known/openid-configuration", "/.well-known/openid-configuration/mcp", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/other"} {
		if status, _ := get(path); status != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, status)
		}
	}
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
		status, body := get(path)
		var m struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
			Methods  []string `json:"bearer_methods_supported"`
			Scopes   []string `json:"scopes_supported"`
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", path, status, body)
		}
		if m.Resource != w.url || strings.Join(m.Servers, " ") != issuerURL || strings.Join(m.Methods, " ") != "header" || strings.Join(m.Scopes, " ") != "query" {
			t.Errorf("%s: %s", path, body)
		}
	}
	if status, body := get("/healthz"); status != http.StatusOK || strings.TrimSpace(body) != `{"status":"ok"}` {
		t.Errorf("healthz: status %d: %s", status, body)
	}
}

// TestUnhealthy breaks the audit log under a running gateway.
func TestUnhealthy(t *testing.T) {
	w := newWorld(t, nil)
	db, err := sql.Open("sqlite", w.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA busy_timeout = 5000; ALTER TABLE entries RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	status, _, body := wire{url: w.url, token: w.token(t, "ada")}.send(t, toolCall(1, "query", map[string]any{"sql": "SELECT id FROM people"}, nil))
	if status != http.StatusServiceUnavailable {
		t.Errorf("a sign-in that cannot be recorded: %d", status)
	}
	if !strings.Contains(body, "cannot record") || strings.Contains(body, `"rows":`) {
		t.Errorf("a call that cannot be recorded: %s", body)
	}
	resp, err := http.Get(w.base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusServiceUnavailable || strings.TrimSpace(string(text)) != `{"status":"unavailable"}` {
		t.Errorf("healthz: status %d: %s", resp.StatusCode, text)
	}
}

func TestPlaces(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *tools.Config) {
		c.AllowedHosts = []string{strings.TrimSuffix(strings.TrimPrefix(c.Resource, "http://"), "/mcp"), "gate.example.com"}
		c.AllowedOrigins = []string{"https://app.example.com"}
	})
	token := w.token(t, "ada")
	own := strings.TrimPrefix(w.base, "http://")
	_, port := splitHost(own)
	tests := []struct {
		host, origin, site string
		status             int
	}{
		{host: own, status: 200},
		{host: "localhost:" + port, status: 200},
		{host: "LocalHost:" + port, status: 200},
		{host: "[::1]:" + port, status: 200},
		{host: "gate.example.com", status: 200},
		{host: "Gate.Example.COM", status: 200},
		{host: "localhost:1", status: 403},
		{host: "localhost", status: 403},
		{host: "gate.example.com:8080", status: 403},
		{host: "evil.example", status: 403},
		{host: "evil.example:" + port, status: 403},
		{host: "127.0.0.1.evil.example:" + port, status: 403},
		{host: own, origin: "http://" + own, status: 200},
		{host: own, origin: "https://app.example.com", status: 200},
		{host: own, origin: "https://app.example.com", site: "cross-site", status: 200},
		{host: own, origin: "https://app.example.com.evil.example", status: 403},
		{host: own, origin: "https://evil.example", status: 403},
		{host: own, origin: "null", status: 403},
		{host: own, origin: "::", status: 403},
		{host: own, origin: "https://evil.example", site: "same-origin", status: 403},
		{host: own, site: "cross-site", status: 403},
		{host: own, site: "same-site", status: 403},
		{host: own, site: "same-origin", status: 200},
	}
	for _, test := range tests {
		t.Run(test.host+" "+test.origin+" "+test.site, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(listMessage))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = test.host
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+token)
			if test.origin != "" {
				req.Header.Set("Origin", test.origin)
			}
			if test.site != "" {
				req.Header.Set("Sec-Fetch-Site", test.site)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, nil)
	c := wire{url: w.url, token: w.token(t, "ada")}
	if status, _, _ := c.send(t, strings.Repeat(" ", 4<<20)+listMessage); status != http.StatusRequestEntityTooLarge {
		t.Errorf("5 MiB: status %d, want 413", status)
	}
	if status, _, body := c.send(t, strings.Repeat(" ", 4<<20-len(listMessage))+listMessage); status != http.StatusOK {
		t.Errorf("4 MiB: status %d: %s", status, body)
	}
	// A megabyte of SQL is a call like any other, and gets an answer.
	long := "SELECT '" + strings.Repeat("x", 1<<20) + "'"
	status, _, body := c.send(t, toolCall(1, "query", map[string]any{"sql": long}, nil))
	if status != http.StatusOK || !strings.Contains(body, `"status":"`) {
		t.Errorf("1 MB of SQL: status %d: %.300s", status, body)
	}
	for _, text := range []string{"", "{", "[]", `[` + listMessage + `]`, "null", `"x"`, `{"jsonrpc":"1.0","id":1,"method":"tools/list"}`} {
		_, _, body := c.send(t, text)
		if !strings.Contains(body, `"error"`) && body != "" {
			t.Errorf("%q: %s", text, body)
		}
		if strings.Contains(body, "describe_table") {
			t.Errorf("%q lists the tools", text)
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodOptions} {
		req, err := http.NewRequest(method, w.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.token(t, "ada"))
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST, DELETE" {
			t.Errorf("%s: status %d, Allow %q", method, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
}

func TestCallsUnderWay(t *testing.T) {
	w := newWorld(t, func(c *Config, g *tools.Config) {
		c.MaxCallsPerCaller, c.MaxCalls = 1, 2
		g.ApprovalWait = 10 * time.Second
	})
	ask := toolCall(1, "request_approval", map[string]any{"sql": "DROP TABLE old", "reason": "not needed any more"}, nil)
	for i, subject := range []string{"ada", "grace"} {
		go func() {
			if resp, err := (wire{url: w.url, token: w.token(t, subject)}).post(t.Context(), ask); err == nil {
				resp.Body.Close()
			}
		}()
		eventually(t, func() bool { return w.server.inflight.underWay() == i+1 })
	}
	for subject, want := range map[string]int{"ada": http.StatusTooManyRequests, "edsger": http.StatusServiceUnavailable} {
		status, header, _ := wire{url: w.url, token: w.token(t, subject)}.send(t, listMessage)
		if status != want || header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, want %d", subject, status, want)
		}
	}
}

func (f *inflight) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// eventually waits for something that happens on its own.
func eventually(t *testing.T, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !happened(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func TestNew(t *testing.T) {
	verifier, err := identity.New(identity.Config{Audience: "https://gate.example/mcp"})
	if err != nil {
		t.Fatal(err)
	}
	good := Config{Verifier: verifier, Resource: "https://gate.example/mcp"}
	if _, err := New(&tools.Gate{}, good); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	if _, err := New(nil, good); err == nil {
		t.Error("made without a gate")
	}
	for name, bad := range map[string]Config{
		"no verifier":           {Resource: good.Resource},
		"no resource":           {Verifier: verifier},
		"resource not http":     {Verifier: verifier, Resource: "ftp://gate.example/mcp"},
		"resource with query":   {Verifier: verifier, Resource: "https://gate.example/mcp?x"},
		"short session key":     {Verifier: verifier, Resource: good.Resource, SessionKey: make([]byte, 31)},
		"resource not a URL":    {Verifier: verifier, Resource: "https://%zz"},
		"resource with no host": {Verifier: verifier, Resource: "https:///mcp"},
	} {
		if _, err := New(&tools.Gate{}, bad); err == nil {
			t.Errorf("made with %s", name)
		}
	}
}
