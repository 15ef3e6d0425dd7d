package console_test

import (
	"database/sql"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"querywarden/approvals"
	"querywarden/audit"
)

// TestAuditors: the log is for auditors, and each look at it is recorded.
func TestAuditors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(nil)
	carol, bob := w.signIn("carol"), w.signIn("bob")
	paths := []string{"/console/log", "/console/log/sessions/s1", "/console/log/entries/0", "/console/log/entries/0/proof", "/console/log/entries/0/raw", "/console/log/activity", "/console/log/verify", "/console/log/conversations"}
	for _, path := range paths {
		if got := bob.get(path); got.status != http.StatusNotFound {
			t.Errorf("bob reads %s: %d", path, got.status)
		}
		if got := w.browser().get(path); !strings.HasPrefix(got.path, "/console/login") {
			t.Errorf("somebody reads %s", path)
		}
		if got := carol.get(path); got.status != http.StatusOK {
			t.Errorf("carol does not read %s: %d %s", path, got.status, got.body)
		}
	}
	carol.get("/console/log?text=secret")
	carol.get("/console/requests/" + r.ID)
	carol.get("/console/")
	var pages []string
	for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindRead, Subject: "carol"}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event.Session == "" || e.Event.Remote == "" {
			t.Errorf("%s", e.Raw)
		}
		pages = append(pages, e.Event.Page+" "+e.Texts["search"]+e.Event.Approval)
	}
	for _, want := range append(slices.Clone(paths), "/console/log text=secret", "/console/requests/"+r.ID+" "+r.ID, "/console/") {
		if !slices.Contains(pages, want) && !slices.Contains(pages, want+" ") {
			t.Errorf("it is not recorded that carol looked at %q: %q", want, pages)
		}
	}
	// Carol may look at the request, and not decide on it.
	if got := carol.act(r.ID, "approve", url.Values{"seen": {approvals.Short(r.Digest)}}); got.status != http.StatusForbidden || w.state(r.ID) != approvals.Pending {
		t.Errorf("carol approves: %d", got.status)
	}
	// The proof and the entry fit.
	proof, err := audit.ParseProof([]byte(carol.get("/console/log/entries/0/proof").body))
	if err != nil {
		t.Fatal(err)
	}
	raw := carol.get("/console/log/entries/0/raw")
	if e, err := w.reader.Entry(t.Context(), 0); err != nil || proof.Index != 0 || raw.body != string(e.Raw) || !strings.Contains(raw.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%+v, %v", raw, err)
	}
	// No record, no page.
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := carol.get("/console/log"); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "STAGING") {
		t.Errorf("without a log: %d", got.status)
	}
}

// TestBadge: the badge finds what was changed in what it stands over.
func TestBadge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sql := range []string{"select 1", "select 2"} {
		if _, err := w.log.Append(t.Context(), audit.Event{Kind: audit.KindDecision, Verdict: "deny", Session: "s1", SQL: sql, Caller: &audit.Caller{Subject: "ada"}}); err != nil {
			t.Fatal(err)
		}
	}
	carol := w.signIn("carol")
	badge := func(path string) string {
		body := carol.get(path).body
		_, after, _ := strings.Cut(body, `<div class="badge `)
		word, _, _ := strings.Cut(after, `"`)
		return word
	}
	for _, path := range []string{"/console/log/sessions/s1", "/console/log/entries/1", "/console/log/verify"} {
		if got := badge(path); got != "good" {
			t.Errorf("%s is %q", path, got)
		}
	}
	db, err := sql.Open("sqlite", w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE entries SET texts = CAST(replace(CAST(texts AS TEXT), 'select 2', 'select 3') AS BLOB) WHERE idx = 1`); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/console/log/sessions/s1": "bad", "/console/log/entries/1": "bad", "/console/log/entries/0": "good", "/console/log/verify": "bad"} {
		if got := badge(path); got != want {
			t.Errorf("%s is %q after the change, want %q", path, got, want)
		}
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(session, subject, sql, object, verdict string) {
		t.Helper()
		e := audit.Event{Kind: audit.KindDecision, Verdict: verdict, Session: session, SQL: sql, Caller: &audit.Caller{Subject: subject, Email: subject + "@example.com"}}
		if object != "" {
			e.Accesses = []audit.Access{{Class: "read", Object: object}}
		}
		if _, err := w.log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	add("one", "ada", "select * from orders", "RETAIL.PUBLIC.ORDERS", "allow")
	add("two", "ben", "select * from payroll", "RETAIL.HR.PAYROLL", "deny")
	add("one", "ada", "drop table x", "RETAIL.PUBLIC.X", "ask")
	for i := range 30 {
		add("many-"+strconv.Itoa(i), "ned", "select "+strconv.Itoa(i), "", "allow")
	}
	carol := w.signIn("carol")
	link := regexp.MustCompile(`href="/console/log/sessions/([^"]+)"`)
	sessions := func(query string) (out []string, older string) {
		body := carol.get("/console/log?" + query).body
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			out = append(out, m[1])
		}
		if m := regexp.MustCompile(`href="(/console/log\?[^"]*before=[^"]*)"`).FindStringSubmatch(body); m != nil {
			older = strings.TrimPrefix(strings.ReplaceAll(m[1], "&amp;", "&"), "/console/log?")
		}
		return out, older
	}
	today := time.Now().UTC().Format(time.DateOnly)
	for query, want := range map[string]string{
		"person=ada": "one", "person=ADA%40example.com": "one", "person=nobody": "", "table=orders": "one", "table=HR.PAYROLL": "two", "table=roll": "", "text=PAYROLL": "two",
		"verdict=deny": "two", "verdict=ask&person=ada": "one", "verdict=deny&person=ada": "", "text=select+29": "many-29", "since=2001-01-01&until=2001-01-02": "", "person=ada&since=" + today: "one",
		"since=2999-01-01": "",
	} {
		if got, _ := sessions(query); strings.Join(got, " ") != want {
			t.Errorf("%s finds %v, want %q", query, got, want)
		}
	}
	first, older := sessions("")
	if len(first) != 25 || first[0] != "many-29" || older == "" {
		t.Fatalf("%d sessions, from %v, older %q", len(first), first, older)
	}
	rest, end := sessions(older)
	if len(rest) != 7 || rest[0] != "many-4" || end != "" {
		t.Errorf("then %v, older %q", rest, end)
	}
	if got, _ := sessions("readers=1"); !strings.HasPrefix(got[0], "console-") {
		t.Errorf("readers: %v", got)
	}
	for _, bad := range []string{"since=yesterday", "before=x", "before=-1", "until=2026-13-01"} {
		if got := carol.get("/console/log?" + bad); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
	// Step by step.
	if got := carol.get("/console/log/sessions/one?step=1"); !strings.Contains(got.body, "Step 1 of 2") || strings.Contains(got.body, "drop table x") || !strings.Contains(got.body, "step=2") {
		t.Error("the first step tells more, or less")
	}
	if got := carol.get("/console/log/sessions/one?step=9"); !strings.Contains(got.body, "drop table x") {
		t.Error("a step that there is not hides some")
	}
	if got := carol.get("/console/log/activity?days=7"); !strings.Contains(got.body, "<rect class=\"bad\"") || strings.Count(got.body, `<th scope="row">`) != 7 {
		t.Error("the week is not drawn")
	}
}

// TestConversations: from what was said to what ran, for the person whose client
// told of it, found by what was said and by what was done.
func TestConversations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(e audit.Event) int64 {
		t.Helper()
		r, err := w.log.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return r.Index()
	}
	ada := &audit.Caller{Issuer: "idp", Subject: "ada", Email: "ada@example.com"}
	ben := &audit.Caller{Issuer: "idp", Subject: "ben"}
	add(audit.Event{Kind: audit.KindPrompt, Caller: ada, Conversation: "../c 1", Turn: "t1", Source: "claude", Prompt: "Who are our best customers?\n" + nasty + "\u202e"})
	announced := add(audit.Event{Kind: audit.KindToolUse, Caller: ada, Conversation: "../c 1", Turn: "t1", CallID: "u1", Tool: "query", Source: "claude"})
	of := add(audit.Event{Kind: audit.KindDecision, Caller: ada, Session: "s9", Verdict: "deny", Codes: []string{"no_rule"}, SQL: "drop table best", Accesses: []audit.Access{{Class: "destroy", Object: "RETAIL.PUBLIC.BEST"}}})
	add(audit.Event{Kind: audit.KindJoined, Caller: ada, Conversation: "../c 1", Turn: "t1", Of: &of, From: &announced, How: "exact"})
	add(audit.Event{Kind: audit.KindResponse, Caller: ada, Conversation: "../c 1", Turn: "t1", Source: "claude", Response: "The gate said no."})
	add(audit.Event{Kind: audit.KindPrompt, Caller: ben, Conversation: "../c 1", Turn: "t1", Source: "codex", Prompt: "another's words"})
	carol := w.signIn("carol")
	for query, want := range map[string]bool{
		"": true, "text=best+CUSTOMERS": true, "text=drop+table+best": true, "text=nothing": false, "person=ada": true, "person=nobody": false, "table=best": true, "table=worst": false,
		"verdict=deny": true, "verdict=allow": false, "since=2999-01-01": false,
	} {
		got := carol.get("/console/log/conversations?" + query)
		if strings.Contains(got.body, "/console/log/conversation?id=..%2Fc&#43;1") != want || got.status != http.StatusOK {
			t.Errorf("%q: found %v, want %v (%d)", query, !want, want, got.status)
		}
	}
	got := carol.get("/console/log/conversation?" + url.Values{"id": {"../c 1"}}.Encode())
	page := html.UnescapeString(got.body)
	last := -1
	for _, want := range []string{"Verified just now", "ada@example.com said", "Who are our best customers?", "U+202E", "Refused", "exact", "drop table best", "The agent answered", "The gate said no.", "ben said", "another's words"} {
		i := strings.Index(page, want)
		if i < last {
			t.Errorf("%q is not there, or not in its place", want)
		}
		last = i
	}
	if strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, "\u202e") {
		t.Error("what was said is not escaped")
	}
	if got := carol.get("/console/log/conversation?id=..%2Fc+1&step=1"); !strings.Contains(got.body, "Step 1 of 4") || strings.Contains(got.body, "drop table best") || !strings.Contains(got.body, "id=..%2Fc&#43;1&amp;step=2#now") {
		t.Error("the first step tells more, or less")
	}
	for _, bad := range []string{"", "none"} {
		if got := carol.get("/console/log/conversation?id=" + bad); got.status != http.StatusNotFound {
			t.Errorf("%q: %d", bad, got.status)
		}
	}
	if got := w.signIn("bob").get("/console/log/conversations"); got.status != http.StatusNotFound {
		t.Errorf("bob reads conversations: %d", got.status)
	}
}
