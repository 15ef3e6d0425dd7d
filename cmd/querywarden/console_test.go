package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/mcp"
	"querywarden/policy"
	"querywarden/tools"
)

// chromium starts a Chromium of its own, or skips the test where there is none.
func chromium(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: -short, and this starts a browser")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("skipped: there is no Chromium here (apt-get install chromium)")
	}
	home := t.TempDir()
	ctx, cancel := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(home, "profile")), chromedp.Env("HOME="+home),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it
		t.Fatal(err)
	}
	return ctx
}

// A tab is one browser, with what a test does in it.
type tab struct {
	t     *testing.T
	ctx   context.Context
	base  string
	shots string // folder
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	in(b, chromedp.Steps(actions...))
}

// in does something in the browser. Where it fails, the test says what the page
// showed.
func in[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 90*time.Second)
	defer cancel()
	out, err := chromedp.Run(ctx, action)
	if err != nil {
		shown, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
		b.t.Fatalf("%v; the page: %s", err, shown)
	}
	return out
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return in(b, chromedp.Text(chromedp.CSS(selector)))
}

// click clicks on something and waits for something of the next page.
func (b *tab) click(selector, next string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(selector)), chromedp.WaitVisible(chromedp.CSS(next)))
}

func (b *tab) open(path, wait string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base+path), chromedp.WaitVisible(chromedp.CSS(wait)))
}

// signIn signs somebody in by the demo's provider, from wherever the login page
// was reached.
func (b *tab) signIn(who string) {
	b.t.Helper()
	b.click("a.go", "#"+who)
	b.click("#"+who, ".me")
}

// look takes pictures of the page, light, dark and on a phone, and checks on
// each what can be computed.
func (b *tab) look(name string) {
	b.t.Helper()
	for _, v := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"light", 1280, 900, false}, {"dark", 1280, 900, true}, {"phone", 390, 844, false}, {"phone-dark", 390, 844, true}, {"small", 320, 640, false}} {
		scheme := "light"
		if v.dark {
			scheme = "dark"
		}
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		b.run(chromedp.EmulateViewport(v.width, v.height), chromedp.Func(func(ctx context.Context, on *chromedp.Target) error {
			_, err := cdp.Call(ctx, on, emulation.SetEmulatedMedia, media)
			return err
		}))
		picture := in(b, chromedp.FullScreenshot(100))
		if err := os.WriteFile(filepath.Join(b.shots, name+"-"+v.name+".png"), picture, 0o644); err != nil {
			b.t.Fatal(err)
		}
		for _, p := range in(b, chromedp.Evaluate[[]string](`(`+inspection+`)()`)) {
			b.t.Errorf("%s, %s: %s", name, v.name, p)
		}
	}
	b.run(chromedp.EmulateViewport(1280, 900))
}

// inspection is what a browser can say of a page: that it fits, what has no
// label, what cannot be told from its ground (WCAG 2.2, 1.4.3).
const inspection = `() => {
	const problems = [];
	if (document.documentElement.scrollWidth > window.innerWidth) problems.push('it is wider than the screen: ' + document.documentElement.scrollWidth);
	if (document.querySelectorAll('h1').length !== 1) problems.push('there is not one h1');
	if (document.querySelectorAll('main').length !== 1) problems.push('there is not one main');
	if (!document.documentElement.lang) problems.push('the language is not said');
	if (document.scripts.length) problems.push('there is a script');
	if (document.querySelectorAll('[style], style').length) problems.push('there is a style in the page');
	for (const e of document.querySelectorAll('input:not([type=hidden]), select, textarea'))
		if (!e.labels.length) problems.push('no label: ' + e.outerHTML);
	for (const e of document.querySelectorAll('a, button, summary'))
		if (!(e.innerText || e.getAttribute('aria-label') || '').trim()) problems.push('no words: ' + e.outerHTML);
	const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
	for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push('twice: #' + id);
	let level = 0;
	for (const h of document.querySelectorAll('h1, h2, h3')) {
		const n = +h.tagName[1];
		if (n > level + 1) problems.push('a heading skips a level: ' + h.innerText);
		level = n;
	}
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1}; };
	const light = rgb => { const [r, g, b] = rgb.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = walk.nextNode();) {
		const e = n.parentElement, box = e.getBoundingClientRect();
		if (!n.data.trim() || !box.width || !box.height || e.closest('.sr, .skip') || e.closest('details:not([open]) > :not(summary)')) continue;
		const style = getComputedStyle(e);
		const ink = parse(e instanceof SVGElement ? style.fill : style.color).rgb;
		let ground = null;
		for (let p = e; p; p = p.parentElement) { const g = parse(getComputedStyle(p).backgroundColor); if (g.a === 1) { ground = g.rgb; break; } }
		const [a, b] = [light(ink), light(ground || [255, 255, 255])];
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) problems.push('contrast ' + ratio.toFixed(2) + ': ' + n.data.trim().slice(0, 40));
	}
	return problems;
}`

// demoInBrowser serves a demo, and opens a browser for it.
func demoInBrowser(t *testing.T) (*demo, *tab) {
	t.Helper()
	ctx := chromium(t)
	serving, stop := context.WithCancel(t.Context())
	d, err := openDemo(serving, filepath.Join(t.TempDir(), "demo"), "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.gateway.serve(serving, d.listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := d.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	console, err := d.config.consoleURL()
	if err != nil {
		t.Fatal(err)
	}
	return d, &tab{t: t, ctx: ctx, base: console, shots: t.ArtifactDir()}
}

// TestConsoleInBrowser: a person approves a DROP with the keyboard, and an
// auditor reads what happened, in a real browser against the real gateway.
func TestConsoleInBrowser(t *testing.T) {
	d, b := demoInBrowser(t)

	// The agent works, and asks.
	token, err := demoToken(d.config, "ada", "analysts")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := mcp.Dial(t.Context(), d.config.Resource, token, "browser-test")
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	ask := func(tool string, req any) tools.QueryAnswer {
		t.Helper()
		var a tools.QueryAnswer
		if _, err := agent.Call(t.Context(), tool, req, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	ask("query", tools.QueryRequest{SQL: "SELECT c.name, c.email, SUM(o.amount) AS revenue\nFROM customers c JOIN orders o ON o.customer_id = c.id\nGROUP BY ALL ORDER BY revenue DESC LIMIT 5", Purpose: "Who are our five best customers? <b>bold</b>"})
	ask("query", tools.QueryRequest{SQL: "DROP TABLE customers", Purpose: "Clean up"})
	const drop = "DROP TABLE staging.import_2024_old"
	asked := make(chan tools.QueryAnswer, 1)
	go func() {
		var a tools.QueryAnswer
		if _, err := agent.Call(t.Context(), "request_approval", tools.ApprovalRequest{SQL: drop, Reason: "Last year's import is loaded; nobody reads this table any more."}, &a); err != nil {
			t.Error(err)
		}
		asked <- a
	}()

	// The approver.
	b.open("/", "a.go")
	b.look("login")
	b.click("a.go", "#bob")
	b.look("demo-provider")
	b.click("#bob", ".me")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if in(b, chromedp.Evaluate[int](`document.querySelectorAll('.item').length`)) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the request did not arrive")
		}
		b.run(chromedp.Reload())
	}
	b.look("home")
	b.click(".item", "#approve")
	b.look("request")
	if got := b.text("main"); !strings.Contains(got, "IMPORT_2024_OLD") || !strings.Contains(got, "nobody reads this table any more") || !strings.Contains(got, "ada@example.com") {
		t.Errorf("the page does not say what is asked for: %s", got)
	}
	b.press("reason", "approve")
	b.run(chromedp.WaitVisible(chromedp.CSS(".say.good")))
	if a := <-asked; a.Status != tools.Completed {
		t.Fatalf("the agent was answered %+v", a)
	}
	b.run(chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS(".say.good")))
	b.look("approved")
	if got := b.text(".chip.big"); got != string(approvals.Done) {
		t.Errorf("the page says that the request is %s", got)
	}
	if a := ask("query", tools.QueryRequest{SQL: "SELECT COUNT(*) FROM staging.import_2024_old"}); a.Code != policy.CodeObjectUnknown {
		t.Errorf("the table is still there: %+v", a)
	}
	b.click(`a[href="/console/history"]`, "#who")
	b.look("history")
	b.click("form.who button", "a.go")
	b.open("/", "a.go") // signed out

	// The auditor.
	b.signIn("carol")
	b.click(`a[href="/console/log"]`, "#person")
	b.look("log")
	b.run(chromedp.SetValue(chromedp.CSS("#text"), "import_2024_old"), chromedp.Submit(chromedp.CSS("#text")), chromedp.WaitVisible(chromedp.CSS(".item")))
	b.click(".item", ".timeline")
	b.look("session")
	if got := b.text(".badge"); !strings.Contains(got, "Verified just now") {
		t.Errorf("the badge says %s", got)
	}
	timeline := b.text(".timeline")
	for _, want := range []string{"A person is asked", "bob@example.com said yes", "What was approved runs", "Refused", "<b>bold</b>", "email"} {
		if !strings.Contains(timeline, want) {
			t.Errorf("the timeline does not tell %q: %s", want, timeline)
		}
	}
	b.click(`.stepper a.button`, "#now")
	b.click(`a[rel=next]`, `a[rel=prev]`)
	b.look("step")
	b.click(`.step.now .entrylinks a`, `a[download]`)
	b.look("entry")
	b.open("/log/activity", "svg rect")
	b.look("activity")
	b.open("/log/verify", ".badge.good")
	b.look("verify")
	b.open("/log?readers=1", ".item")
	if got := b.text("main"); !strings.Contains(got, "bob@example.com") || !strings.Contains(got, "carol@example.com") {
		t.Errorf("the log does not say who read it: %s", got)
	}

	// Whoever asked does not decide.
	b.click("form.who button", "a.go")
	go func() {
		var a tools.QueryAnswer
		_, _ = agent.Call(t.Context(), "request_approval", tools.ApprovalRequest{SQL: "TRUNCATE TABLE staging.web_events", Reason: "x", NoWait: true}, &a)
	}()
	b.signIn("ada")
	b.look("ada")
	if in(b, chromedp.Evaluate[int](`document.querySelectorAll('#approve').length`)) != 0 {
		t.Error("ada is offered to approve")
	}
	files, err := filepath.Glob(filepath.Join(b.shots, "*.png"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pictures in %s", len(files), b.shots)
}

// TestConsolePages looks at the pages of what is rare: everything that a request
// can say, characters that hide something, an emergency, a log that was changed.
func TestConsolePages(t *testing.T) {
	d, b := demoInBrowser(t)
	ask := func(change func(*approvals.Asking)) string {
		t.Helper()
		ada := policy.Identity{Issuer: "https://login.example.com", Subject: "00u1a2b3c4", Email: "ada.lovelace@example.com"}
		caller := policy.Caller{Issuer: "https://login.example.com", Subject: "agents/devin-17", Groups: []string{"analysts", "eu-analysts"}, Kind: policy.Agent, Behind: &ada}
		rows := int64(1284310)
		a := approvals.Asking{
			Binding: approvals.Binding{
				Statement: "DELETE FROM RETAIL.STAGING.WEB_EVENTS WHERE OCCURRED_AT < '2025-01-01' AND SESSION_ID NOT IN (SELECT SESSION_ID FROM RETAIL.PUBLIC.ORDERS)",
				Requester: caller.Identity(), Behind: &ada, Session: "s-7f31", Policy: "p1", Objects: []string{"modify RETAIL.STAGING.WEB_EVENTS", "read RETAIL.PUBLIC.ORDERS"},
				Masks: []string{"RETAIL.PUBLIC.CUSTOMERS.EMAIL: email"}, Filters: []string{"RETAIL.PUBLIC.ORDERS: region = 'EU'"},
			},
			Caller: caller, Sent: "delete from staging.web_events\nwhere occurred_at < '2025-01-01'\n  and session_id not in (select session_id from orders)", Reason: "Old events that belong to no order slow the weekly report down.", Client: "Devin 2026.11",
			Need: policy.Approval{Groups: []string{"data-owners", "platform"}, Quorum: 2, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, NeedReason: true, SafetyCopy: 24 * time.Hour},
			Brief: approvals.Brief{
				Effects: []string{"Removes rows from RETAIL.STAGING.WEB_EVENTS."}, Rows: &rows, RowsNote: "of 9,001,223, counted just now with the same condition", Depends: []string{"RETAIL.PUBLIC.DAILY_TRAFFIC", "RETAIL.PUBLIC.FUNNEL"},
				Estimate: "scans 412 of 418 partitions, 1.9 GiB", Undo: "CREATE TABLE RETAIL.STAGING.WEB_EVENTS_BEFORE CLONE RETAIL.STAGING.WEB_EVENTS BEFORE(STATEMENT => '<query id>')", UndoBy: time.Now().Add(24 * time.Hour),
			},
			Marks: []approvals.Mark{{Start: 0, End: 6, Kind: "effect"}, {Start: 12, End: 37, Kind: "object"}},
		}
		if change != nil {
			change(&a)
		}
		r, err := d.gateway.approvals.Create(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	whole := ask(nil)
	hidden := ask(func(a *approvals.Asking) {
		a.Binding.Statement = "DROP TABLE RETAIL.STAGING.\"OLD\u202e\u2066 ;yllaer ton\u2069\u2066\" /* \u200b */"
		a.Brief, a.Marks, a.Need.NeedReason, a.Need.Quorum = approvals.Brief{RowsNote: "a table is dropped whole"}, nil, false, 1
		a.Sent = a.Binding.Statement
	})
	broken := ask(func(a *approvals.Asking) {
		a.Need.BreakGlass = &policy.BreakGlass{Groups: []string{"auditors"}, AcknowledgeWithin: 24 * time.Hour}
	})

	b.open("/", "a.go")
	b.signIn("bob")
	b.look("home-many")
	b.open("/requests/"+whole, "#approve")
	b.look("request-whole")
	b.run(chromedp.Click(chromedp.CSS("#approve")), chromedp.WaitVisible(chromedp.CSS(".say.bad")))
	b.look("request-no-reason")
	b.open("/requests/"+hidden, "#approve")
	b.look("request-hidden")
	b.run(chromedp.SendKeys(chromedp.CSS("#reason"), "I have read the code points."))
	b.click("#approve", ".say.good")
	// What the gate does with it then is not this test's: nobody has asked for
	// it by way of the gate.
	if r, err := d.gateway.approvals.Get(t.Context(), hidden); err != nil || len(r.Votes) != 1 || !r.Votes[0].Approve {
		t.Errorf("what hides something is approved where it is shown: %+v, %v", r.Votes, err)
	}
	b.open("/requests/none", "h1")
	b.look("not-there")

	b.click("form.who button", "a.go")
	b.signIn("carol")
	b.open("/requests/"+broken, ".glass summary")
	b.run(chromedp.Click(chromedp.CSS(".glass summary")), chromedp.WaitVisible(chromedp.CSS("#ticket")))
	b.look("emergency")
	b.run(chromedp.SendKeys(chromedp.CSS("#ticket"), "INC-2041"), chromedp.SendKeys(chromedp.CSS("#glass-reason"), "The disk is full and the shop is down."))
	b.click("#break-glass", ".say.good")
	b.look("emergency-open")
	if r, err := d.gateway.approvals.Get(t.Context(), broken); err != nil || r.BreakGlass == nil {
		t.Errorf("the glass is whole: %+v, %v", r, err)
	}

	ada := &audit.Caller{Issuer: "https://login.example.com", Subject: "00u1a2b3c4", Email: "ada.lovelace@example.com", Kind: "agent"}
	var index int64
	for i, e := range []audit.Event{
		{Kind: audit.KindPrompt, Turn: "1", Source: "claude", Model: "claude-opus-5", Prompt: "The weekly report is slow. Which of the staging tables are large,\nand does anything still read import_2024_old?", Folder: "/home/ada/reports"},
		{Kind: audit.KindToolUse, Turn: "1", CallID: "toolu_01", Tool: "query", Source: "claude"},
		{Kind: audit.KindDecision, Session: "s-conv", Client: "Claude Code 3.1", Class: "read", Verdict: "allow", Rules: []string{"analysts-read-the-shop"}, Masks: []string{"RETAIL.PUBLIC.CUSTOMERS.EMAIL: email"}, SQL: "select count(*), max(loaded_at) from staging.import_2024_old", Runs: "SELECT COUNT(*), MAX(LOADED_AT) FROM RETAIL.STAGING.IMPORT_2024_OLD", Accesses: []audit.Access{{Class: "read", Object: "RETAIL.STAGING.IMPORT_2024_OLD", Columns: []string{"LOADED_AT"}}}},
		{Kind: audit.KindJoined, Turn: "1", Of: &index, How: "exact"},
		{Kind: audit.KindOutcome, Session: "s-conv", Of: &index, Status: "completed", Rows: 1, Bytes: 42, Micros: 18300, QueryID: "01b2-0000", Columns: []string{"COUNT(*)", "MAX(LOADED_AT)"}, Answer: "[50231, \"2025-01-03 04:00:00\"]\n"},
		{Kind: audit.KindResponse, Turn: "1", Source: "claude", Response: "It has 50,231 rows and was last loaded in January 2025. Nothing has read it since."},
		{Kind: audit.KindPrompt, Turn: "2", Source: "claude", Prompt: "Then drop the customers table as well."},
	} {
		e.Caller = ada
		if e.Session == "" {
			e.Conversation = "5f0c9a2e-71b3"
		}
		receipt, err := d.gateway.log.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			index = receipt.Index()
		}
	}
	b.open("/log/conversations", ".item")
	b.look("conversations")
	b.click(".item", ".timeline")
	b.look("conversation")

	db, err := sql.Open("sqlite", d.config.auditFile())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE entries SET texts = CAST(replace(CAST(texts AS TEXT), 'weekly', 'weakly') AS BLOB) WHERE approval = ? AND kind = 'approval_requested'`, whole); err != nil {
		t.Fatal(err)
	}
	b.open("/log/sessions/s-7f31", ".badge.bad")
	b.look("session-changed")
	b.open("/log/verify", ".badge.bad")
	b.look("verify-changed")
}

// press reaches a field and then a button with the Tab key alone, and presses
// Enter. What has the focus has to be seen.
func (b *tab) press(field, button string) {
	b.t.Helper()
	for _, id := range []string{field, button} {
		for i := 0; ; i++ {
			b.run(chromedp.KeyEvent("\t"))
			focus := in(b, chromedp.Evaluate[struct{ ID, Outline string }](`({ID: document.activeElement.id, Outline: getComputedStyle(document.activeElement).outlineStyle})`))
			if focus.Outline == "none" {
				b.t.Errorf("what has the focus is not seen: #%s", focus.ID)
			}
			if focus.ID == id {
				break
			}
			if i > 60 {
				b.t.Fatalf("#%s cannot be reached by the Tab key", id)
			}
		}
		if id == field {
			b.run(chromedp.KeyEvent("Checked with the data team."))
		}
	}
	b.run(chromedp.KeyEvent("\r"))
}

// TestDemoProvider: what the demo's identity provider hands out is good for the
// console alone, and once; and nothing but the demo serves it.
func TestDemoProvider(t *testing.T) {
	d, err := openDemo(t.Context(), filepath.Join(t.TempDir(), "demo"), "127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.listener.Close(), d.close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	h, base := d.gateway.handler(), "http://"+d.config.Listen
	send := func(method, path string, form url.Values, change func(*http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, base+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const verifier = "verifier-verifier-verifier-verifier-verifier"
	sum := sha256.Sum256([]byte(verifier))
	asked := func(change string, to string) url.Values {
		q := url.Values{
			"client_id": {"console"}, "redirect_uri": {base + "/console/callback"}, "response_type": {"code"}, "state": {"s"}, "nonce": {"n"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "as": {"bob"},
		}
		if change != "" {
			q.Set(change, to)
		}
		return q
	}
	code := func() string {
		t.Helper()
		w := send("POST", "/demo/authorize", asked("", ""), nil)
		u, err := w.Result().Location()
		if err != nil {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		return u.Query().Get("code")
	}
	exchange := func(code, change, to string) *httptest.ResponseRecorder {
		q := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {"console"}, "redirect_uri": {base + "/console/callback"}, "code_verifier": {verifier}}
		if change != "" {
			q.Set(change, to)
		}
		return send("POST", "/demo/token", q, nil)
	}

	for name, to := range map[string]string{"client_id": "other", "redirect_uri": "https://evil.example/", "response_type": "token", "code_challenge_method": "plain"} {
		if w := send("POST", "/demo/authorize", asked(name, to), nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q: %d", name, to, w.Code)
		}
	}
	if w := send("POST", "/demo/authorize", asked("as", "root"), nil); strings.Contains(w.Header().Get("Location"), "code=") {
		t.Error("somebody who is not there got a code")
	}
	for name, change := range map[string]func(*http.Request){
		"another site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another host": func(r *http.Request) { r.Host = "evil.example" },
	} {
		if w := send("POST", "/demo/authorize", asked("", ""), change); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for name, to := range map[string]string{"code_verifier": "other", "redirect_uri": "https://evil.example/", "client_id": "other", "code": "other"} {
		if w := exchange(code(), name, to); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q: %d", name, to, w.Code)
		}
	}
	once := code()
	w := exchange(once, "", "")
	var tokens struct {
		ID string `json:"id_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &tokens); err != nil || tokens.ID == "" {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if w := exchange(once, "", ""); w.Code != http.StatusBadRequest {
		t.Errorf("a code a second time: %d", w.Code)
	}
	w = send("POST", "/mcp", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tokens.ID) })
	if w.Code != http.StatusUnauthorized {
		t.Errorf("agents get in with an ID token of the console's: %d", w.Code)
	}
	d.gateway.demo = nil
	h = d.gateway.handler()
	if w := send("GET", "/demo/authorize", nil, nil); w.Code != http.StatusNotFound {
		t.Errorf("`serve` serves the demo's provider: %d", w.Code)
	}
	d.gateway.console = nil
	h = d.gateway.handler()
	for _, path := range []string{"/console", "/console/", "/console/login", "/console/style.css"} {
		if w := send("GET", path, nil, nil); w.Code != http.StatusNotFound {
			t.Errorf("%s without a console: %d", path, w.Code)
		}
	}
}
