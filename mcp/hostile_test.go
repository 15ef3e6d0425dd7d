package mcp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
	"querywarden/tools"
)

// newTrusting starts a gateway that trusts a provider of the test's.
func newTrusting(t *testing.T, configure func(*Config)) (*world, *identitytest.Provider) {
	t.Helper()
	p := identitytest.New(t)
	w := newWorld(t, func(c *Config, _ *tools.Config) {
		v, err := identity.New(identity.Config{Audience: c.Resource, Issuers: []identity.IssuerConfig{{URL: p.URL(), Kind: policy.Agent}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Verifier, c.AuthorizationServers = v, []string{p.URL()}
		if configure != nil {
			configure(c)
		}
	})
	return w, p
}

// refusals are the events of refused requests, newest last.
func (w *world) refusals(t *testing.T) (events []audit.Event) {
	t.Helper()
	r, err := audit.OpenReader(w.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for e, err := range r.Entries(t.Context(), audit.Filter{Kind: audit.KindRefused}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e.Event)
	}
	return events
}

// TestHostileTokens sends every hostile token there is over HTTP: 401 with a
// challenge that names the metadata and the error, one event each while they
// are few and a count when they are many, one fetch of the keys for all.
func TestHostileTokens(t *testing.T) {
	w, p := newTrusting(t, nil)
	hostile := p.Hostile(t, w.url)
	reasons := map[string]int{}
	sent := 0
	for _, h := range hostile {
		if h.Token == "" || strings.ContainsAny(h.Token, "\r\n\x00") {
			continue // no client can send these in a header
		}
		sent++
		reasons[string(h.Reason)]++
		status, header, body := wire{url: w.url, token: h.Token}.send(t, listMessage)
		challenge := header.Get("WWW-Authenticate")
		if status != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer resource_metadata="`+w.base+`/.well-known/oauth-protected-resource/mcp"`) || !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("%s: status %d, challenge %s", h.Name, status, challenge)
		}
		if strings.Contains(body, "user-1") || strings.Contains(body, p.URL()) {
			t.Errorf("%s: the answer tells of the token: %s", h.Name, body)
		}
	}
	if sent < 60 {
		t.Errorf("%d hostile tokens, want 60", sent)
	}
	if n := p.Fetches(); n != 1 {
		t.Errorf("%d fetches of the keys, want 1", n)
	}
	// The first are in the log one by one; the rest are counted when the gate
	// closes, or a minute later.
	if err := w.gate.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	alone := 0
	for _, e := range w.refusals(t) {
		for _, code := range e.Codes {
			if e.Count == 0 {
				alone++
				reasons[code]--
			} else {
				reasons[code] -= int(e.Count)
			}
		}
		if e.Count == 0 && !strings.HasPrefix(e.Remote, "127.0.0.1:") {
			t.Errorf("refused from %q", e.Remote)
		}
	}
	for reason, n := range reasons {
		if n != 0 {
			t.Errorf("%s: %d refusals are not in the log", reason, n)
		}
	}
	t.Logf("%d hostile tokens, %d recorded alone", sent, alone)
}

// TestHostileRequests: each is answered with the right status and header, and
// is one event in the log that says why.
func TestHostileRequests(t *testing.T) {
	w, p := newTrusting(t, func(c *Config) { c.ToolScopes = map[string][]string{"query": {"sql:run", "sql:read"}} })
	good := p.Token(w.url, map[string]any{"sub": "ada", "groups": []string{"analysts"}, "scope": "sql:run sql:read"})
	unscoped := p.Token(w.url, map[string]any{"sub": "ada", "groups": []string{"analysts"}, "scope": "sql:read"})
	other := p.Token(w.url, map[string]any{"sub": "grace", "groups": []string{"analysts"}})
	session := wire{url: w.url, token: good}.open(t).session
	own := strings.TrimPrefix(w.base, "http://")
	query := toolCall(1, "query", map[string]any{"sql": "SELECT id FROM people"}, nil)
	modern := toolCall(1, "query", map[string]any{"sql": "SELECT id FROM people"}, modernMeta(nil))
	deep := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query","arguments":` + strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000) + `}}`
	metadata := `resource_metadata="` + w.base + `/.well-known/oauth-protected-resource/mcp"`
	type change = func(*http.Request)
	set := func(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }
	for _, test := range []struct {
		name   string
		token  string
		body   string
		change change
		status int
		header string // that has to be there
		value  string // and hold this
		event  string // the code of the event, none if empty
		in     string // the body
	}{
		{"from a page elsewhere", good, query, set("Origin", "https://evil.example"), 403, "", "", "origin_not_allowed", ""},
		{"from an opaque page", good, query, set("Origin", "null"), 403, "", "", "origin_not_allowed", ""},
		{"across sites, without Origin", good, query, set("Sec-Fetch-Site", "cross-site"), 403, "", "", "origin_not_allowed", ""},
		{"from a name rebound to here", good, query, func(r *http.Request) { r.Host = "evil.example" }, 403, "", "", "host_not_allowed", ""},
		{"from a name rebound to here, with the port", good, query, func(r *http.Request) { r.Host = "evil.example:" + own[strings.LastIndex(own, ":")+1:] }, 403, "", "", "host_not_allowed", ""},
		{"a page elsewhere, before its token is looked at", "x", query, set("Origin", "https://evil.example"), 403, "", "", "origin_not_allowed", ""},
		{"somebody else's session", other, query, set("Mcp-Session-Id", session), 404, "", "", "session_unknown", ""},
		{"a session made up", good, query, set("Mcp-Session-Id", "aaaa"), 404, "", "", "session_unknown", ""},
		{"a token that lacks a scope", unscoped, query, nil, 403, "WWW-Authenticate", metadata + `, scope="sql:run sql:read", error="insufficient_scope"`, "insufficient_scope", `"id":1`},
		{"a token that lacks all scopes", other, query, nil, 403, "WWW-Authenticate", `error="insufficient_scope"`, "insufficient_scope", ""},
		{"a body beyond the limit", good, strings.Repeat(" ", 4<<20) + query, nil, 413, "", "", "body_too_large", ""},
		{"a batch", good, "[" + query + "]", nil, 400, "", "", "batch", "-32600"},
		{"a batch behind blanks", good, " \r\n\t[" + query + "]", nil, 400, "", "", "batch", "-32600"},
		{"no JSON", good, "{", nil, 400, "", "", "", "-32700"},
		{"nested deep", good, deep, nil, 400, "", "", "", "-32700"},
		{"JSON-RPC 1", good, strings.Replace(query, `"2.0"`, `"1.0"`, 1), nil, 200, "", "", "", "-32600"},
		{"another type of content", good, query, set("Content-Type", "text/plain"), 400, "", "", "", ""},
		{"a form, as a page can send it", good, query, set("Content-Type", "application/x-www-form-urlencoded"), 400, "", "", "", ""},
		{"an unknown revision", good, query, set("Mcp-Protocol-Version", "1999-01-01"), 400, "", "", "", ""},
		{"headers without the body", good, query, set("Mcp-Protocol-Version", "2026-07-28"), 400, "", "", "", "-32602"},
		{"the body without headers", good, modern, nil, 400, "", "", "", "-32020"},
		{"another method in the header", good, modern, func(r *http.Request) {
			r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			r.Header.Set("Mcp-Method", "tools/list")
			r.Header.Set("Mcp-Name", "query")
		}, 400, "", "", "", "-32020"},
		{"another tool in the header", good, modern, func(r *http.Request) {
			r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			r.Header.Set("Mcp-Method", "tools/call")
			r.Header.Set("Mcp-Name", "list_tables")
		}, 400, "", "", "", "-32020"},
		{"a method that is no more", good, `{"jsonrpc":"2.0","id":1,"method":"tasks/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, func(r *http.Request) {
			r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			r.Header.Set("Mcp-Method", "tasks/list")
		}, 404, "", "", "", "-32601"},
		{"two tokens", good, query, func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+good) }, 401, "WWW-Authenticate", metadata, "", ""},
		{"a token bound by DPoP, without the binding", good, query, set("Authorization", "DPoP "+good), 401, "WWW-Authenticate", metadata, "", ""},
		{"a method nobody knows", good, query, func(r *http.Request) { r.Method = "QUERY" }, 405, "Allow", "POST, DELETE", "", ""},
		{"a stream", good, "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "Allow", "POST, DELETE", "", ""},
		{"a preflight", good, "", func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
		}, 403, "", "", "origin_not_allowed", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(w.refusals(t))
			req, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			req.Header.Set("Authorization", "Bearer "+test.token)
			if test.change != nil {
				test.change(req)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.in) || !strings.Contains(resp.Header.Get(test.header), test.value) {
				t.Errorf("status %d, want %d; %s: %q; %.300s", resp.StatusCode, test.status, test.header, resp.Header.Get(test.header), body)
			}
			if resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("another origin may read the answer")
			}
			if strings.Contains(string(body), "ada@example.com") || strings.Contains(string(body), `"rows"`) {
				t.Errorf("rows came back: %.300s", body)
			}
			events := w.refusals(t)[before:]
			switch {
			case test.event == "" && len(events) > 0:
				t.Errorf("events %+v", events)
			case test.event != "" && (len(events) != 1 || events[0].Codes[0] != test.event || events[0].Remote == ""):
				t.Errorf("events %+v, want one of %s", events, test.event)
			}
		})
	}
	// With both scopes it runs, and other tools need none.
	if status, _, body := (wire{url: w.url, token: good}).send(t, query); status != 200 || !strings.Contains(body, `"completed"`) {
		t.Errorf("with the scopes: %d %s", status, body)
	}
	if status, _, body := (wire{url: w.url, token: other}).send(t, toolCall(1, "list_tables", map[string]any{}, nil)); status != 200 || !strings.Contains(body, `"completed"`) {
		t.Errorf("a tool without scopes: %d %s", status, body)
	}
	resp, err := http.Get(w.base + "/.well-known/oauth-protected-resource/mcp")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `"scopes_supported":["query","sql:read","sql:run"]`) {
		t.Errorf("metadata: %s, %v", body, err)
	}
}

// TestPace: a caller that calls too often is told how long to wait, and takes
// nothing from others.
func TestPace(t *testing.T) {
	w, p := newTrusting(t, func(c *Config) { c.CallsPerMinute, c.Burst = 6, 3 })
	ada := wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "ada"})}
	for range 3 {
		if status, _, body := ada.send(t, listMessage); status != 200 {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	// Another token of hers is hers too.
	ada.token = p.Token(w.url, map[string]any{"sub": "ada", "jti": "2", "email": "other@example.com"})
	status, header, _ := ada.send(t, listMessage)
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || header.Get("Retry-After") == "0" {
		t.Errorf("status %d, Retry-After %q", status, header.Get("Retry-After"))
	}
	if status, _, _ := (wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "grace"})}).send(t, listMessage); status != 200 {
		t.Errorf("grace: status %d", status)
	}
	if events := w.refusals(t); len(events) != 1 || events[0].Codes[0] != tooFast || events[0].Caller == nil || events[0].Caller.Subject != "ada" {
		t.Errorf("events %+v", events)
	}
}

func TestPaceIsBounded(t *testing.T) {
	p := newPace(60, 1)
	now := time.Now()
	for n := range callersKept + 100 {
		p.wait(policy.Identity{Issuer: "i", Subject: fmt.Sprint(n)}, now)
	}
	if len(p.by) > callersKept {
		t.Errorf("%d callers are remembered", len(p.by))
	}
	who := policy.Identity{Issuer: "i", Subject: "last"}
	if p.wait(who, now) != 0 || p.wait(who, now) == 0 {
		t.Error("the newest caller is not held to its pace")
	}
	if got := p.wait(who, now.Add(time.Second)); got != 0 {
		t.Errorf("a second later: wait %s", got)
	}
}

// TestRevokedTokens: what is called back is refused from then on, in sessions
// that are open as well, and without the list nothing counts.
func TestRevokedTokens(t *testing.T) {
	var v *identity.Verifier
	w, p := newTrusting(t, func(c *Config) { v = c.Verifier })
	ada := wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "ada", "jti": "j1", "groups": []string{"analysts"}})}.open(t)
	grace := wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "grace"})}
	v.Revoke([]identity.Revocation{{Subject: "ada"}})
	status, header, _ := ada.send(t, listMessage)
	if status != 401 || !strings.Contains(header.Get("WWW-Authenticate"), "the token has been revoked") {
		t.Errorf("status %d, %s", status, header.Get("WWW-Authenticate"))
	}
	if status, _, _ := grace.send(t, listMessage); status != 200 {
		t.Errorf("grace: status %d", status)
	}
	v.RevokeAll(io.ErrUnexpectedEOF)
	if status, header, _ := grace.send(t, listMessage); status != 503 || header.Get("Retry-After") == "" || header.Get("WWW-Authenticate") != "" {
		t.Errorf("without a list: status %d", status)
	}
	v.Revoke(nil)
	if status, _, _ := ada.send(t, listMessage); status != 200 {
		t.Errorf("called back no more: status %d", status)
	}
}

// TestSlowBodies: a client that sends its request a byte at a time is cut off,
// and holds up nobody meanwhile.
func TestSlowBodies(t *testing.T) {
	w, p := newTrusting(t, func(c *Config) { c.BodyTimeout, c.MaxCallsPerCaller = 300*time.Millisecond, 1 })
	token := p.Token(w.url, map[string]any{"sub": "ada"})
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{", strings.TrimPrefix(w.base, "http://"), token)
	eventually(t, func() bool { return w.server.inflight.underWay() == 1 })
	if status, _, _ := (wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "grace"})}).send(t, listMessage); status != 200 {
		t.Errorf("grace: status %d", status)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
	eventually(t, func() bool { return w.server.inflight.underWay() == 0 })
	if events := w.refusals(t); len(events) != 1 || events[0].Codes[0] != "body_unreadable" {
		t.Errorf("events %+v", events)
	}
}

// TestIdleSessions opens 10,000 sessions and leaves them: memory stays flat, by
// one caller as by many.
func TestIdleSessions(t *testing.T) {
	w, p := newTrusting(t, func(c *Config) { c.CallsPerMinute, c.Burst = 6_000_000, 100_000 })
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	handler := w.server.Handler()
	open := func(token string) {
		req := httptest.NewRequest(http.MethodPost, w.url, strings.NewReader(initializeMessage))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code != 200 || rec.Header().Get("Mcp-Session-Id") == "" {
			t.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
	}
	tokens := make([]string, 100)
	for i := range tokens {
		tokens[i] = p.Token(w.url, map[string]any{"sub": fmt.Sprint("agent-", i)})
	}
	one := p.Token(w.url, map[string]any{"sub": "greedy"})
	open(one)
	before := heap()
	for i := range 10_000 {
		token := one
		if i%2 == 0 {
			token = tokens[i/2%len(tokens)]
		}
		open(token)
	}
	grown := int64(heap()) - int64(before)
	w.server.sessions.mu.Lock()
	kept, greedy := len(w.server.sessions.kept), 0
	for _, k := range w.server.sessions.kept {
		if k.who.Subject == "greedy" {
			greedy++
		}
	}
	w.server.sessions.mu.Unlock()
	t.Logf("10,000 sessions: %d are remembered, the heap has grown by %d KiB", kept, grown>>10)
	if greedy > 64 || grown > 24<<20 {
		t.Errorf("%d sessions of one caller, %d bytes", greedy, grown)
	}
}

// TestIdle: a session that is not used ends.
func TestIdle(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	s := newSessions(make([]byte, 32), 2, 10*time.Minute, func() time.Time { return now })
	who := policy.Identity{Issuer: "i", Subject: "s"}
	used, idle := s.open(who, tools.Client{Name: "used"}), s.open(who, tools.Client{})
	for range 5 {
		now = now.Add(9 * time.Minute)
		if !s.valid(used, who) {
			t.Fatal("a session in use has ended")
		}
	}
	for range 2 {
		if s.valid(idle, who) {
			t.Error("an idle session goes on")
		}
	}
	// A third takes the place of the one that was not used for longest.
	s.open(who, tools.Client{})
	if s.client(used).Name != "used" || len(s.kept) != 2 {
		t.Errorf("%d sessions are remembered, and not the one in use", len(s.kept))
	}
}
