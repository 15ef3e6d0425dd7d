package mcp

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/policy"
	"querywarden/tools"
)

func TestSessions(t *testing.T) {
	w := newWorld(t, nil)
	ada := wire{url: w.url, token: w.token(t, "ada")}.open(t)
	grace := wire{url: w.url, token: w.token(t, "grace")}
	list := func(c wire) int {
		t.Helper()
		status, header, _ := c.send(t, listMessage)
		if header.Get("Mcp-Session-Id") != "" {
			t.Error("a session id was given out again")
		}
		return status
	}
	with := func(c wire, session string) wire { c.session = session; return c }

	if status := list(ada); status != http.StatusOK {
		t.Errorf("its own session: %d", status)
	}
	if status := list(with(ada, "")); status != http.StatusOK {
		t.Errorf("no session: %d", status)
	}
	if status := list(with(grace, ada.session)); status != http.StatusNotFound {
		t.Errorf("a stolen session: %d", status)
	}
	swapped := "A" + ada.session[1:]
	if ada.session[0] == 'A' {
		swapped = "B" + ada.session[1:]
	}
	for _, session := range []string{swapped, ada.session + "A", ada.session[:len(ada.session)-1], "x", strings.Repeat("A", len(ada.session)), "mcp-session-4a0c2f6e-0000-4000-8000-000000000000"} {
		if status := list(with(ada, session)); status != http.StatusNotFound {
			t.Errorf("session %q: %d", session, status)
		}
	}

	end := func(c wire) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodDelete, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		if c.session != "" {
			req.Header.Set("Mcp-Session-Id", c.session)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := end(with(grace, ada.session)); status != http.StatusNotFound {
		t.Errorf("ending a stolen session: %d", status)
	}
	if status := end(with(ada, "")); status != http.StatusBadRequest {
		t.Errorf("ending no session: %d", status)
	}
	if status := list(ada); status != http.StatusOK {
		t.Errorf("after others tried to end it: %d", status)
	}
	if status := end(ada); status != http.StatusNoContent {
		t.Errorf("ending a session: %d", status)
	}
	if status := list(ada); status != http.StatusNotFound {
		t.Errorf("an ended session: %d", status)
	}

	// The modern era has no sessions, and an id there is no more than noise.
	modern := wire{url: w.url, token: grace.token, session: ada.session, modern: true}
	status, header, body := modern.send(t, toolCall(1, "list_tables", map[string]any{}, modernMeta(nil)))
	if status != http.StatusOK || header.Get("Mcp-Session-Id") != "" || !strings.Contains(body, `"completed"`) {
		t.Errorf("modern: %d: %s", status, body)
	}
	// What it does is found by its token instead.
	grace2 := w.recorded(t, "grace")
	for _, e := range grace2 {
		if e.Kind == audit.KindRefused {
			continue // it is about no session of hers
		}
		if e.Session == "" || e.Session == public(ada.session) || e.Session != grace2[len(grace2)-1].Session {
			t.Errorf("recorded for session %q", e.Session)
		}
	}
	var kinds []audit.Kind
	for _, e := range w.recorded(t, "ada") {
		kinds = append(kinds, e.Kind)
	}
	refused := slices.Repeat([]audit.Kind{audit.KindRefused}, 6)
	if want := slices.Concat([]audit.Kind{audit.KindSignIn, audit.KindSessionStart}, refused, []audit.Kind{audit.KindSessionEnd, audit.KindRefused}); !slices.Equal(kinds, want) {
		t.Errorf("recorded %v, want %v", kinds, want)
	}
}

func TestSessionIDs(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	ada, grace := policy.Identity{Issuer: "i", Subject: "ada"}, policy.Identity{Issuer: "i", Subject: "grace"}
	a := newSessions([]byte(strings.Repeat("k", 32)), 64, 48*time.Hour, clock)
	b := newSessions([]byte(strings.Repeat("k", 32)), 64, 48*time.Hour, clock)
	other := newSessions([]byte(strings.Repeat("o", 32)), 64, 48*time.Hour, clock)
	id := a.open(ada, tools.Client{Name: "agent"})

	if !a.valid(id, ada) || !b.valid(id, ada) {
		t.Error("the id is not good for its caller on every gateway with the key")
	}
	if !a.valid(id, policy.Identity{Issuer: "i", Subject: "ada", Email: "new@example.com"}) {
		t.Error("an address that has changed ends the session")
	}
	for name, who := range map[string]policy.Identity{
		"another subject": grace, "another issuer": {Issuer: "j", Subject: "ada"},
		"the boundary moved": {Issuer: "ia", Subject: "da"}, "nobody": {},
	} {
		if a.valid(id, who) {
			t.Errorf("the id is good for %s", name)
		}
	}
	if other.valid(id, ada) {
		t.Error("the id is good under another key")
	}
	if a.client(id).Name != "agent" || b.client(id).Name != "" {
		t.Error("the client's name is not kept where it was said")
	}
	if public(id) == "" || strings.Contains(id, public(id)[21:]+"x") || a.valid(public(id), ada) {
		t.Error("the public part is no name, or is an id")
	}

	now = now.Add(sessionLife)
	if !a.valid(id, ada) {
		t.Error("the session ended early")
	}
	now = now.Add(time.Second)
	if a.valid(id, ada) {
		t.Error("the session does not end")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := newSessions(make([]byte, 32), sessionsKept*2, time.Hour, time.Now)
	who := policy.Identity{Issuer: "i", Subject: "s"}
	var last string
	for range sessionsKept + 100 {
		last = s.open(who, tools.Client{})
	}
	if len(s.kept) > sessionsKept {
		t.Errorf("%d sessions are kept", len(s.kept))
	}
	if !s.valid(last, who) {
		t.Error("the newest session is not valid")
	}
}

func TestAsserted(t *testing.T) {
	for in, want := range map[string]string{
		"Claude Code": "Claude Code", "": "", "a\nb\x00c\x1b[31m": "abc[31m", "é\xff": "é",
		strings.Repeat("é", 100): strings.Repeat("é", 64), "x" + strings.Repeat("é", 100): "x" + strings.Repeat("é", 63),
	} {
		if got := asserted(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzSessionID(f *testing.F) {
	who := policy.Identity{Issuer: "i", Subject: "s"}
	// A key for each process, so that no worker makes ids that others know.
	key := make([]byte, 32)
	rand.Read(key)
	s := newSessions(key, 64, time.Hour, time.Now)
	good := s.open(who, tools.Client{})
	f.Add(good)
	f.Add("")
	f.Add(strings.Repeat("A", 75))
	f.Fuzz(func(t *testing.T, id string) {
		if s.valid(id, who) && id != good {
			t.Errorf("%q is valid", id)
		}
	})
}
