package console_test

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/console"
	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

// A world is a console over a real log and store, with a provider where people
// sign in.
type world struct {
	t        *testing.T
	provider *identitytest.Provider
	verifier *identity.Verifier
	log      *audit.Log
	reader   *audit.Reader
	store    *approvals.Store
	console  *console.Console
	server   *httptest.Server
	path     string
	late     atomic.Int64 // how far the console's clock is ahead
	refused  atomic.Int64
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.late.Load())) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, provider: identitytest.New(t), path: filepath.Join(t.TempDir(), "audit.db")}
	for name, group := range map[string]string{"bob": "owners", "dan": "owners", "carol": "auditors", "ada": "analysts", "eve": "staff", "gil": "on-call"} {
		w.provider.AddPerson(identitytest.Person{Name: name, Groups: []string{group}})
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.console.Handler().ServeHTTP(rw, r) }))
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.provider.AddClient(identitytest.Client{ID: "console", Redirects: []string{console.Callback(w.url("/console"))}})
	var err error
	if w.verifier, err = identity.New(identity.Config{Audience: w.url("/mcp"), Issuers: []identity.IssuerConfig{{URL: w.provider.URL(), Kind: policy.Person}}}); err != nil {
		t.Fatal(err)
	}
	login, err := w.verifier.Login(identity.LoginConfig{Issuer: w.provider.URL(), ClientID: "console", Redirect: console.Callback(w.url("/console"))})
	if err != nil {
		t.Fatal(err)
	}
	if w.log, err = audit.Open(w.path, audit.Options{RowsKey: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	if w.reader, err = audit.OpenReader(w.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.reader.Close() })
	if w.store, err = approvals.Open(t.Context(), w.log, w.now); err != nil {
		t.Fatal(err)
	}
	w.console, err = console.New(t.Context(), console.Config{
		Log: w.log, Reader: w.reader, Approvals: w.store, Login: login, URL: w.url("/console"), Auditors: []string{"auditors"}, RowsKey: make([]byte, 32),
		Now: w.now, Refused: func(context.Context, audit.Event) { w.refused.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) url(path string) string { return "http://" + w.server.Listener.Addr().String() + path }

var (
	agent = policy.Caller{Issuer: "idp", Subject: "agent-7", Email: "agent@example.com", Groups: []string{"analysts"}, Kind: policy.Agent}
	need  = policy.Approval{Groups: []string{"owners"}, Quorum: 1, DecideWithin: time.Hour, RunWithin: 10 * time.Minute}
)

// ask makes a request of an agent that works for ada.
func (w *world) ask(change func(*approvals.Asking)) approvals.Request {
	w.t.Helper()
	caller := agent
	ada := policy.Identity{Issuer: w.provider.URL(), Subject: "ada", Email: "ada@example.com"}
	caller.Behind = &ada
	a := approvals.Asking{
		Binding: approvals.Binding{Statement: "DROP TABLE RETAIL.STAGING.T", Requester: caller.Identity(), Behind: &ada, Session: "s1", Policy: "p1", Objects: []string{"destroy RETAIL.STAGING.T"}},
		Caller:  caller, Sent: "drop table t", Reason: "because of <i>space</i>", Client: "claude 1", Need: need,
	}
	if change != nil {
		change(&a)
	}
	r, err := w.store.Create(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) state(id string) approvals.State {
	w.t.Helper()
	r, err := w.store.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.State
}

// A person is somebody's browser.
type person struct {
	w      *world
	client *http.Client
}

func (w *world) browser() *person {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &person{w, &http.Client{Jar: jar}}
}

// signIn signs somebody in with a browser of their own.
func (w *world) signIn(name string) *person {
	w.t.Helper()
	p := w.browser()
	p.signIn(name, "/console/")
	return p
}

func (p *person) signIn(name, to string) page {
	p.w.t.Helper()
	p.w.provider.SignInAs(name)
	defer p.w.provider.SignInAs("")
	got := p.get("/console/login/start?again=1&return=" + url.QueryEscape(to))
	if got.status != http.StatusOK || !strings.Contains(got.body, name+"@example.com") {
		p.w.t.Fatalf("signing %s in: %d %s", name, got.status, got.body)
	}
	return got
}

type page struct {
	status int
	path   string // where it ended up
	body   string
	header http.Header
}

func (p *person) do(r *http.Request) page {
	p.w.t.Helper()
	res, err := p.client.Do(r)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return page{res.StatusCode, res.Request.URL.RequestURI(), string(body), res.Header}
}

func (p *person) get(path string) page {
	p.w.t.Helper()
	r, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodGet, p.w.url(path), nil)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return p.do(r)
}

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="(csrf|seen|ticket)" value="([^"]*)">`)

// send fills in a form of a page and sends it.
func (p *person) send(from page, path string, fields url.Values, change func(*http.Request)) page {
	p.w.t.Helper()
	form := url.Values{}
	for _, m := range hiddenInput.FindAllStringSubmatch(from.body, -1) {
		form.Set(m[1], m[2])
	}
	for name, v := range fields {
		form[name] = v
	}
	r, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodPost, p.w.url(path), strings.NewReader(form.Encode()))
	if err != nil {
		p.w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if change != nil {
		change(r)
	}
	return p.do(r)
}

// act opens a request's page and presses a button.
func (p *person) act(id, what string, fields url.Values) page {
	p.w.t.Helper()
	return p.send(p.get("/console/requests/"+id), "/console/requests/"+id+"/"+what, fields, nil)
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.browser()
	if got := p.get("/console/requests/x?y=1"); got.path != "/console/login?return=%2Fconsole%2Frequests%2Fx%3Fy%3D1" || !strings.Contains(got.body, "/console/login/start?return=") {
		t.Errorf("nobody is sent to %s", got.path)
	}
	if got := p.signIn("bob", "/console/history?who=x"); got.path != "/console/history?who=x" {
		t.Errorf("back to %s", got.path)
	}
	u, _ := url.Parse(w.url("/"))
	var session *http.Cookie
	for _, c := range p.client.Jar.Cookies(u) {
		if strings.Contains(c.Name, "login") {
			t.Error("the attempt is kept after its answer")
		}
		if c.Name == "querywarden-session" {
			session = c
		}
	}
	if session == nil || len(session.Value) < 22 {
		t.Fatalf("the session is %v", session)
	}
	for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindSignIn}) {
		if err != nil || e.Event.Caller.Subject != "bob" || e.Event.Via != "console" || strings.Contains(string(e.Raw), session.Value) {
			t.Errorf("the log says %s, %v", e.Raw, err)
		}
	}
	// Signing out ends it here and there.
	home := p.get("/console/")
	if got := p.send(home, "/console/logout", nil, nil); !strings.HasPrefix(got.path, "/console/login") {
		t.Errorf("signed out: %s", got.path)
	}
	p.client.Jar.SetCookies(u, []*http.Cookie{session})
	if got := p.get("/console/"); !strings.HasPrefix(got.path, "/console/login") {
		t.Error("a session that was ended goes on")
	}
}

// TestCookies: over https the cookies are bound to the host, and no script reads
// them.
func TestCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	login, err := w.verifier.Login(identity.LoginConfig{Issuer: w.provider.URL(), ClientID: "console", Redirect: "https://gate.example/console/callback"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := console.New(t.Context(), console.Config{Log: w.log, Reader: w.reader, Approvals: w.store, Login: login, URL: "https://gate.example/console"})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	c.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "https://gate.example/console/login/start", nil))
	cookies := rec.Result().Cookies()
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0].Name, "__Host-") || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" || cookies[0].Domain != "" {
		t.Errorf("%+v", cookies)
	}
	for _, bad := range []string{"http://gate.example/console", "https://gate.example/", "https://gate.example/console?x", "ftp://gate.example/console", "/console", ""} {
		if _, err := console.New(t.Context(), console.Config{Log: w.log, Reader: w.reader, Approvals: w.store, Login: login, URL: bad}); err == nil {
			t.Errorf("%q: a console", bad)
		}
	}
}

// TestSessions: what ends a session, and what cannot begin one.
func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := url.Parse(w.url("/"))
	in := func(p *person) bool { return !strings.HasPrefix(p.get("/console/").path, "/console/login") }

	idle := w.signIn("bob")
	w.late.Store(int64(29 * time.Minute))
	if !in(idle) {
		t.Error("half an hour is not over")
	}
	w.late.Store(int64(58 * time.Minute))
	if !in(idle) {
		t.Error("using it does not keep it alive")
	}
	w.late.Store(int64(89 * time.Minute))
	if in(idle) {
		t.Error("a session that nobody uses goes on")
	}
	w.late.Store(0)

	long := w.signIn("bob")
	for at := time.Duration(0); at < 8*time.Hour-time.Minute; at += 20 * time.Minute {
		w.late.Store(int64(at))
		if !in(long) {
			t.Fatalf("ended after %s", at)
		}
	}
	w.late.Store(int64(8*time.Hour + time.Minute))
	if in(long) {
		t.Error("a session never ends")
	}
	w.late.Store(0)

	// A cookie that somebody has planted does not become a session.
	p := w.browser()
	planted := &http.Cookie{Name: "querywarden-session", Value: "PLANTEDPLANTEDPLANTEDPLANT"}
	p.client.Jar.SetCookies(u, []*http.Cookie{planted})
	p.signIn("bob", "/console/")
	other := w.browser()
	other.client.Jar.SetCookies(u, []*http.Cookie{planted})
	if in(other) {
		t.Error("the planted cookie is bob's session now")
	}
	// Whoever signs in in the same browser ends the session that was there.
	before := p.client.Jar.Cookies(u)
	p.signIn("dan", "/console/")
	other.client.Jar.SetCookies(u, before)
	if in(other) {
		t.Error("bob's session goes on beside dan's")
	}
	// An answer of the provider's is good for the browser that asked only.
	w.provider.SignInAs("bob")
	bob := w.browser()
	bob.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/console/callback" {
			return http.ErrUseLastResponse
		}
		return nil
	}
	res, err := bob.client.Get(w.url("/console/login/start"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	answer, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	thief := w.browser()
	if got := thief.get(answer.RequestURI()); got.status != http.StatusForbidden || in(thief) {
		t.Errorf("bob's answer in another browser: %d", got.status)
	}
	if w.refused.Load() == 0 {
		t.Error("nobody was told")
	}
	// Revoked people are out at once.
	p = w.signIn("bob")
	w.verifier.Revoke([]identity.Revocation{{Issuer: w.provider.URL(), Subject: "bob", Before: time.Now().Add(time.Minute)}})
	if in(p) {
		t.Error("who was revoked goes on")
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, ada, eve := w.signIn("bob"), w.signIn("ada"), w.signIn("eve")

	t.Run("approve", func(t *testing.T) {
		r := w.ask(nil)
		if got := bob.get("/console/"); !strings.Contains(got.body, r.ID) {
			t.Error("it does not wait for bob")
		}
		first := bob.get("/console/requests/" + r.ID)
		got := bob.send(first, "/console/requests/"+r.ID+"/approve", url.Values{"reason": {"fine"}}, nil)
		if got.status != http.StatusOK || w.state(r.ID) != approvals.Approved || !strings.Contains(got.body, "Your yes is recorded") {
			t.Fatalf("%d %s %s", got.status, w.state(r.ID), got.body)
		}
		// A double click: the same again changes nothing.
		if got := bob.send(first, "/console/requests/"+r.ID+"/approve", nil, nil); got.status != http.StatusOK {
			t.Errorf("again: %d", got.status)
		}
		now, err := w.store.Get(t.Context(), r.ID)
		if err != nil || len(now.Votes) != 1 || now.Votes[0].Via != approvals.ViaConsole || now.Votes[0].Reason != "fine" {
			t.Errorf("%+v, %v", now.Votes, err)
		}
		// It can be taken back until it is used.
		if got := bob.act(r.ID, "revoke", nil); got.status != http.StatusOK || w.state(r.ID) != approvals.Revoked {
			t.Errorf("revoke: %d %s", got.status, w.state(r.ID))
		}
		if got := bob.send(first, "/console/requests/"+r.ID+"/deny", nil, nil); got.status != http.StatusConflict {
			t.Errorf("a no afterwards: %d", got.status)
		}
		if !strings.Contains(bob.get("/console/history?state=revoked&who=bob").body, r.ID) || strings.Contains(bob.get("/console/history?state=done").body, r.ID) {
			t.Error("the history is filtered wrongly")
		}
	})
	t.Run("deny", func(t *testing.T) {
		r := w.ask(nil)
		if got := bob.act(r.ID, "deny", url.Values{"reason": {"no"}}); got.status != http.StatusOK || w.state(r.ID) != approvals.Denied {
			t.Errorf("%d %s", got.status, w.state(r.ID))
		}
	})
	t.Run("who asks does not decide", func(t *testing.T) {
		w.provider.SetGroups("ada", "owners", "analysts")
		ada.signIn("ada", "/console/")
		r := w.ask(nil)
		got := ada.get("/console/requests/" + r.ID)
		if got.status != http.StatusOK || strings.Contains(got.body, `id="approve"`) || strings.Contains(got.body, `id="deny"`) {
			t.Errorf("ada is offered to decide: %d", got.status)
		}
		for _, what := range []string{"approve", "deny"} {
			if got := ada.send(ada.get("/console/"), "/console/requests/"+r.ID+"/"+what, url.Values{"seen": {approvals.Short(r.Digest)}}, nil); got.status != http.StatusForbidden || w.state(r.ID) != approvals.Pending {
				t.Errorf("%s: %d %s", what, got.status, w.state(r.ID))
			}
		}
	})
	t.Run("strangers", func(t *testing.T) {
		r := w.ask(nil)
		if got := eve.get("/console/requests/" + r.ID); got.status != http.StatusNotFound || strings.Contains(got.body, "STAGING") {
			t.Errorf("eve reads it: %d", got.status)
		}
		missing := eve.get("/console/requests/apr_nothing")
		if there := eve.get("/console/requests/" + r.ID); strings.ReplaceAll(missing.body, "apr_nothing", "") != strings.ReplaceAll(there.body, r.ID, "") {
			t.Error("eve can tell a request that is there from none")
		}
		if got := eve.send(eve.get("/console/"), "/console/requests/"+r.ID+"/approve", url.Values{"seen": {approvals.Short(r.Digest)}}, nil); got.status != http.StatusNotFound || w.state(r.ID) != approvals.Pending {
			t.Errorf("eve approves: %d", got.status)
		}
		if strings.Contains(eve.get("/console/").body+eve.get("/console/history").body, r.ID) {
			t.Error("eve sees it in a list")
		}
	})
	t.Run("another statement than the page showed", func(t *testing.T) {
		r, other := w.ask(nil), w.ask(func(a *approvals.Asking) { a.Binding.Statement = "DROP TABLE OTHER" })
		if got := bob.act(r.ID, "approve", url.Values{"seen": {approvals.Short(other.Digest)}}); got.status != http.StatusConflict || w.state(r.ID) != approvals.Pending {
			t.Errorf("%d %s", got.status, w.state(r.ID))
		}
		if got := bob.act(r.ID, "approve", url.Values{"seen": {""}}); got.status != http.StatusConflict || w.state(r.ID) != approvals.Pending {
			t.Errorf("none: %d %s", got.status, w.state(r.ID))
		}
	})
	t.Run("a reason", func(t *testing.T) {
		r := w.ask(func(a *approvals.Asking) { a.Need.NeedReason = true })
		if got := bob.act(r.ID, "approve", url.Values{"reason": {"  "}}); got.status != http.StatusUnprocessableEntity || w.state(r.ID) != approvals.Pending {
			t.Errorf("without: %d", got.status)
		}
		long := strings.Repeat("long ", 500)
		if got := bob.act(r.ID, "approve", url.Values{"reason": {long}}); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "long long") {
			t.Errorf("too long: %d, and what was typed is lost", got.status)
		}
		if got := bob.act(r.ID, "approve", url.Values{"reason": {strings.Repeat("x", 70<<10)}}); got.status != http.StatusBadRequest {
			t.Errorf("far too long: %d", got.status)
		}
	})
	t.Run("two of different people", func(t *testing.T) {
		r := w.ask(func(a *approvals.Asking) { a.Need.Quorum = 2 })
		if got := bob.act(r.ID, "approve", nil); w.state(r.ID) != approvals.Pending || !strings.Contains(got.body, "Others have to") {
			t.Errorf("after one: %s", w.state(r.ID))
		}
		w.signIn("dan").act(r.ID, "approve", nil)
		if w.state(r.ID) != approvals.Approved {
			t.Errorf("after two: %s", w.state(r.ID))
		}
	})
	t.Run("taken back by who asked", func(t *testing.T) {
		r := w.ask(func(a *approvals.Asking) {
			a.Caller = policy.Caller{Issuer: w.provider.URL(), Subject: "eve", Email: "eve@example.com"}
			a.Binding.Requester, a.Binding.Behind = a.Caller.Identity(), nil
		})
		if got := bob.act(r.ID, "cancel", nil); got.status != http.StatusNotFound || w.state(r.ID) != approvals.Pending {
			t.Errorf("bob takes it back: %d", got.status)
		}
		if got := eve.act(r.ID, "cancel", nil); got.status != http.StatusOK || w.state(r.ID) != approvals.Cancelled {
			t.Errorf("%d %s", got.status, w.state(r.ID))
		}
	})
	t.Run("an act that there is not", func(t *testing.T) {
		r := w.ask(nil)
		if got := bob.act(r.ID, "run", nil); got.status != http.StatusNotFound {
			t.Errorf("%d", got.status)
		}
	})
}

// TestFresh: a yes takes a sign-in of the last minutes; a no does not.
func TestFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.signIn("bob")
	r, slack := w.ask(nil), w.ask(func(a *approvals.Asking) { a.Need.Confirm = policy.BySlack })
	hidden := w.ask(func(a *approvals.Asking) {
		a.Need.Confirm = policy.BySlack
		a.Binding.Statement = "DROP TABLE \"A\u202eB\""
	})
	w.late.Store(int64(11 * time.Minute))
	got := bob.get("/console/requests/" + r.ID)
	if strings.Contains(got.body, `id="approve"`) || !strings.Contains(got.body, "Sign in again to approve") || !strings.Contains(got.body, `id="deny"`) {
		t.Error("the page offers the wrong things to an old sign-in")
	}
	for _, id := range []string{r.ID, hidden.ID} {
		if got := bob.act(id, "approve", nil); got.status != http.StatusForbidden || w.state(id) != approvals.Pending {
			t.Errorf("an old sign-in approves: %d %s", got.status, w.state(id))
		}
	}
	if got := bob.act(slack.ID, "approve", nil); got.status != http.StatusOK || w.state(slack.ID) != approvals.Approved {
		t.Errorf("where a click in Slack would do: %d %s", got.status, w.state(slack.ID))
	}
	if got := bob.act(hidden.ID, "deny", nil); got.status != http.StatusOK || w.state(hidden.ID) != approvals.Denied {
		t.Errorf("a no: %d", got.status)
	}
	w.late.Store(0)
	if got := bob.signIn("bob", "/console/requests/"+r.ID); got.path != "/console/requests/"+r.ID || !strings.Contains(got.body, `id="approve"`) {
		t.Errorf("signed in again, and sent to %s", got.path)
	}
}

func TestEmergency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gil, bob := w.signIn("gil"), w.signIn("bob")
	r := w.ask(func(a *approvals.Asking) {
		a.Need.BreakGlass = &policy.BreakGlass{Groups: []string{"on-call"}, AcknowledgeWithin: time.Hour}
	})
	if got := gil.act(r.ID, "approve", nil); got.status != http.StatusForbidden || w.state(r.ID) != approvals.Pending {
		t.Errorf("gil approves: %d", got.status)
	}
	for name, c := range map[string]struct {
		fields url.Values
		want   int
	}{
		"nothing":     {nil, 422},
		"no ticket":   {url.Values{"reason": {"fire"}}, 422},
		"no reason":   {url.Values{"ticket": {"INC-1"}}, 422},
		"other words": {url.Values{"reason": {"fire"}, "ticket": {"INC-1"}, "seen": {"0123456789abcdef"}}, 409},
	} {
		if got := gil.act(r.ID, "break-glass", c.fields); got.status != c.want || w.state(r.ID) != approvals.Pending {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if got := gil.act(r.ID, "break-glass", url.Values{"reason": {"fire"}, "ticket": {"INC-1"}}); got.status != http.StatusOK || w.state(r.ID) != approvals.Approved {
		t.Fatalf("%d %s", got.status, w.state(r.ID))
	}
	if got := bob.get("/console/"); !strings.Contains(got.body, "Needs a second look") {
		t.Error("bob is not told")
	}
	if got := gil.act(r.ID, "acknowledge", nil); got.status != http.StatusForbidden {
		t.Errorf("gil acknowledges their own: %d", got.status)
	}
	if got := bob.act(r.ID, "acknowledge", url.Values{"reason": {"seen"}}); got.status != http.StatusOK || !strings.Contains(got.body, "acknowledged by") {
		t.Errorf("%d", got.status)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.signIn("bob")
	r := w.ask(nil)
	bob.act(r.ID, "approve", nil)
	claim, _, err := w.store.Claim(t.Context(), r.ID, r.Digest, time.Minute, audit.Event{Runs: r.Binding.Statement, Session: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := bob.act(r.ID, "settle", url.Values{"to": {"done"}, "reason": {"x"}}); got.status != http.StatusConflict {
		t.Errorf("while it runs: %d", got.status)
	}
	if _, err := w.store.Finish(t.Context(), claim, approvals.Indeterminate, approvals.Outcome{}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"", "pending", "approved", "denied"} {
		if got := bob.act(r.ID, "settle", url.Values{"to": {to}, "reason": {"x"}}); got.status != http.StatusConflict || w.state(r.ID) != approvals.Indeterminate {
			t.Errorf("to %q: %d", to, got.status)
		}
	}
	if got := bob.act(r.ID, "settle", url.Values{"to": {"failed"}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("without a word: %d", got.status)
	}
	if got := bob.act(r.ID, "settle", url.Values{"to": {"failed"}, "reason": {"not in the history"}}); got.status != http.StatusOK || w.state(r.ID) != approvals.Failed {
		t.Errorf("%d %s", got.status, w.state(r.ID))
	}
}

// TestForgedForms: nothing is done for a form that is not of this session, or
// not of this site.
func TestForgedForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, dan := w.signIn("bob"), w.signIn("dan")
	r := w.ask(nil)
	path := "/console/requests/" + r.ID + "/approve"
	of := bob.get("/console/requests/" + r.ID)
	dans := hiddenInput.FindStringSubmatch(dan.get("/console/requests/" + r.ID).body)[2]
	for name, c := range map[string]struct {
		fields url.Values
		change func(*http.Request)
	}{
		"no token":                      {url.Values{"csrf": {""}}, nil},
		"another session's token":       {url.Values{"csrf": {dans}}, nil},
		"two tokens":                    {url.Values{"csrf": {dans, dans}}, nil},
		"another site, as Fetch says":   {nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"a neighbour of the site":       {nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }},
		"another origin, an old client": {nil, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") }},
		"a hidden origin":               {nil, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }},
		"another host":                  {nil, func(r *http.Request) { r.Host = "evil.example" }},
		"JSON":                          {nil, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }},
		"no cookie":                     {nil, func(r *http.Request) { r.Header.Set("Cookie", "x=y") }},
	} {
		who := bob
		if name == "no cookie" {
			who = w.browser()
		}
		got := who.send(of, path, c.fields, c.change)
		if w.state(r.ID) != approvals.Pending {
			t.Fatalf("%s: it is %s", name, w.state(r.ID))
		}
		if got.status != http.StatusForbidden && !strings.HasPrefix(got.path, "/console/login") {
			t.Errorf("%s: %d at %s", name, got.status, got.path)
		}
	}
	// In the address, the same fields do nothing.
	token := hiddenInput.FindStringSubmatch(of.body)[2]
	if got := bob.get(path + "?csrf=" + token + "&seen=" + approvals.Short(r.Digest)); got.status != http.StatusMethodNotAllowed && got.status != http.StatusNotFound || w.state(r.ID) != approvals.Pending {
		t.Errorf("GET: %d", got.status)
	}
	if got := bob.send(page{}, path+"?csrf="+token+"&seen="+approvals.Short(r.Digest), nil, nil); got.status != http.StatusForbidden || w.state(r.ID) != approvals.Pending {
		t.Errorf("the token in the address: %d", got.status)
	}
	if got := bob.send(of, path, nil, nil); got.status != http.StatusOK || w.state(r.ID) != approvals.Approved {
		t.Errorf("the form as it is: %d", got.status)
	}
}

// TestHeaders: every answer keeps other sites out of it, errors as well.
func TestHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(nil)
	carol := w.signIn("carol")
	for _, path := range []string{
		"/console/", "/console/history", "/console/requests/" + r.ID, "/console/requests/none", "/console/login", "/console/callback?state=x", "/console/link?ticket=x",
		"/console/log", "/console/log/sessions/s1", "/console/log/entries/0", "/console/log/entries/0/proof", "/console/log/entries/0/raw", "/console/log/entries/99999",
		"/console/log/activity", "/console/log/verify", "/console/style.css", "/console/nothing", "/console/log?since=x",
	} {
		got := carol.get(path)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
			}
		}
		if cache := got.header.Get("Cache-Control"); cache != "no-store" && path != "/console/style.css" {
			t.Errorf("%s: may be kept: %q", path, cache)
		}
		if strings.Contains(got.body, "<script") || strings.Contains(got.body, " style=") || strings.Contains(got.body, "<style") || strings.Contains(got.body, " on") && regexp.MustCompile(`<[^>]* on[a-z]+=`).MatchString(got.body) {
			t.Errorf("%s: there is a script or a style in the page", path)
		}
		if strings.Contains(got.body, "cannot be shown") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	for _, h := range []string{"evil.example", "127.0.0.1:1", "127.0.0.1.evil.example", ""} {
		req := httptest.NewRequest("GET", w.url("/console/login"), nil)
		req.Host = h
		rec := httptest.NewRecorder()
		w.console.Handler().ServeHTTP(rec, req)
		if rec.Code != http.StatusForbidden {
			t.Errorf("host %q: %d", h, rec.Code)
		}
	}
	// Another name of this host leads to the one that sessions belong to.
	_, port, _ := strings.Cut(w.server.Listener.Addr().String(), ":")
	req := httptest.NewRequest("GET", "http://localhost:"+port+"/console/history?who=x", nil)
	rec := httptest.NewRecorder()
	w.console.Handler().ServeHTTP(rec, req)
	if rec.Code != http.StatusTemporaryRedirect || rec.Header().Get("Location") != w.url("/console/history?who=x") {
		t.Errorf("localhost: %d %s", rec.Code, rec.Header().Get("Location"))
	}
	for _, method := range []string{"PUT", "DELETE", "TRACE", "OPTIONS"} {
		rec := httptest.NewRecorder()
		w.console.Handler().ServeHTTP(rec, httptest.NewRequest(method, w.url("/console/"), nil))
		if rec.Code < 400 {
			t.Errorf("%s: %d", method, rec.Code)
		}
	}
}

// TestOpenRedirects: after a sign-in, people are on a page of the console.
func TestOpenRedirects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, to := range []string{
		"https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example", "/console\\evil", "/console/..//evil.example", "/console/../mcp", "/console//evil.example",
		"/console/%2e%2e/mcp", "/console/%2F%2Fevil.example", "/console/%5cevil", "javascript:alert(1)", "data:text/html,x", "/mcp", "", "console/", "/consolexyz", "https:/console/", "/console/\r\nSet-Cookie: x=y",
		"/console/\t/evil.example", "/console/login?return=/console/login", "/console/callback?code=x", "/console/logout", "/console/#x", " /console/", "/console/x\u202e",
	} {
		p := w.browser()
		if got := p.signIn("bob", to); got.path != "/console/" {
			t.Errorf("%q leads to %s", to, got.path)
		}
	}
	// A cookie that says otherwise is not believed either.
	p := w.browser()
	w.provider.SignInAs("bob")
	p.client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != w.server.Listener.Addr().String() && !strings.HasPrefix(r.URL.String(), w.provider.URL()) {
			t.Errorf("sent to %s", r.URL)
		}
		return nil
	}
	if got := p.get("/console/login/start?return=" + url.QueryEscape("/console/requests/apr_1?done=approve")); got.path != "/console/requests/apr_1?done=approve" {
		t.Errorf("a page of ours: %s", got.path)
	}
}

const nasty = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`

// TestEscaping: what others have written is text on every page, and characters
// that hide something are seen.
func TestEscaping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tricks := nasty + "\u202e;\u200b\u2066`\x1b[2J\u2028\U000E0041\uFEFF\u2800"
	r := w.ask(func(a *approvals.Asking) {
		a.Binding.Statement = "DROP TABLE \"" + tricks + "\n\" -- " + nasty
		a.Binding.Session = "s/" + nasty
		a.Sent, a.Reason, a.Client = tricks, tricks, tricks
		a.Caller.Groups = []string{tricks}
		a.Binding.Objects, a.Binding.Masks, a.Binding.Filters = []string{tricks}, []string{tricks}, []string{tricks}
		n := int64(12345)
		a.Brief = approvals.Brief{Effects: []string{tricks}, Rows: &n, RowsNote: tricks, Depends: []string{tricks}, Estimate: tricks, Undo: tricks, UndoBy: time.Now().Add(time.Hour)}
		a.Marks = []approvals.Mark{{Start: 0, End: 10, Kind: "effect"}, {Start: 5, End: 400, Kind: "object"}, {Start: -5, End: 3, Kind: tricks}}
	})
	of := int64(1)
	for _, e := range []audit.Event{
		{Kind: audit.KindDecision, Session: "s/" + nasty, Client: tricks, Conversation: tricks, Caller: &audit.Caller{Issuer: tricks, Subject: tricks, Email: tricks, Groups: []string{tricks}, Kind: "agent", Behind: tricks},
			Verdict: "allow", Class: tricks, Rules: []string{tricks}, Codes: []string{tricks}, Masks: []string{tricks}, Filters: []string{tricks}, Accesses: []audit.Access{{Class: tricks, Object: tricks, Columns: []string{tricks}, Via: tricks}},
			SQL: tricks, Runs: tricks, Purpose: tricks},
		{Kind: audit.KindOutcome, Session: "s/" + nasty, Of: &of, QueryID: tricks, Columns: []string{tricks}, Rows: 2, Redacted: map[string]int64{tricks: 3}, Answer: `["` + "\u202e" + `<b>", null, 1.5]` + "\n" + nasty},
		{Kind: audit.KindToolCall, Session: "s/" + nasty, Tool: tricks, Problem: tricks, SQL: tricks},
		{Kind: audit.KindSignIn, Session: "s/" + nasty, Remote: tricks},
		{Kind: "of another time", Session: "s/" + nasty, Runs: tricks},
	} {
		if e.Of != nil {
			_, last, _, err := w.log.Last(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			*e.Of = last
		}
		if _, err := w.log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	carol := w.signIn("carol")
	bob := w.signIn("bob")
	bob.act(r.ID, "deny", url.Values{"reason": {strings.ToValidUTF8(tricks, "")}})
	_, last, _, err := w.log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"/console/", "/console/history?who=" + url.QueryEscape(nasty), "/console/requests/" + r.ID, "/console/log?text=" + url.QueryEscape(nasty) + "&person=" + url.QueryEscape(nasty), "/console/log", "/console/log?since=" + url.QueryEscape(nasty),
		"/console/log/sessions/" + url.PathEscape("s/"+nasty), "/console/nothing/" + url.PathEscape(tricks)}
	for n := range last {
		paths = append(paths, "/console/log/entries/"+strconv.FormatInt(n, 10))
	}
	for _, path := range paths {
		got := carol.get(path)
		for _, bad := range []string{"<script>alert", "<img src=x", "\u202e", "\u200b", "\u2066", "\x1b", "\u2028", "\U000E0041", "\uFEFF", "\u2800"} {
			if i := strings.Index(got.body, bad); i >= 0 {
				t.Errorf("%s holds %q: …%s…", path, bad, got.body[max(0, i-80):min(len(got.body), i+80)])
			}
		}
		if got.status >= 500 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	page := html.UnescapeString(bob.get("/console/requests/" + r.ID).body)
	for _, want := range []string{"U+202E", "right-to-left override", "zero-width space", "U+001B", "escape", "tag character", "line separator", "empty Braille pattern", "line feed", "12\u2009345", "its own word"} {
		if !strings.Contains(page, want) {
			t.Errorf("the request's page does not show %q", want)
		}
	}
	session := carol.get("/console/log/sessions/" + url.PathEscape("s/"+nasty))
	if session.status != http.StatusOK || !strings.Contains(session.body, "NULL") || !strings.Contains(session.body, "<td>") {
		t.Errorf("the kept rows are not shown: %d", session.status)
	}
}

// TestLink: a ticket links the account that it is for to whoever says so with a
// fresh sign-in, once.
func TestLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.signIn("bob")
	ticket, err := w.store.Ticket(t.Context(), "slack", "T1", "U1")
	if err != nil {
		t.Fatal(err)
	}
	path := "/console/link?ticket=" + ticket
	got := bob.get(path)
	if got.status != http.StatusOK || !strings.Contains(got.body, "U1") || !strings.Contains(got.body, "T1") || !strings.Contains(got.body, "decide as you") {
		t.Errorf("the page does not say what it is about: %d", got.status)
	}
	if _, err := w.store.Linked(t.Context(), "slack", "T1", "U1"); !errors.Is(err, approvals.ErrNotLinked) {
		t.Fatalf("opening the page has linked it: %v", err)
	}
	w.late.Store(int64(11 * time.Minute))
	if old := bob.get(path); strings.Contains(old.body, "This account is mine") {
		t.Error("an old sign-in is offered to link")
	}
	if got := bob.send(got, "/console/link", nil, nil); got.status != http.StatusForbidden {
		t.Errorf("an old sign-in links: %d", got.status)
	}
	w.late.Store(0)
	if got := bob.send(got, "/console/link", nil, nil); got.status != http.StatusOK || !strings.Contains(got.body, "Linked") {
		t.Errorf("%d %s", got.status, got.body)
	}
	l, err := w.store.Linked(t.Context(), "slack", "T1", "U1")
	if err != nil || l.Identity.Subject != "bob" || !slices.Contains(l.Groups, "owners") {
		t.Errorf("%+v, %v", l, err)
	}
	if got := bob.send(got, "/console/link", nil, nil); got.status != http.StatusConflict {
		t.Errorf("again: %d", got.status)
	}
	for _, bad := range []string{"", "x", ticket} {
		if got := bob.get("/console/link?ticket=" + bad); got.status != http.StatusNotFound {
			t.Errorf("ticket %q: %d", bad, got.status)
		}
	}
}

// TestRace: a browser that sends many things at once gets answers to all.
func TestRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.signIn("bob")
	r := w.ask(nil)
	of := bob.get("/console/requests/" + r.ID)
	done := make(chan int)
	for i := range 8 {
		go func() {
			what := "approve"
			if i%2 == 0 {
				what = "deny"
			}
			done <- bob.send(of, "/console/requests/"+r.ID+"/"+what, nil, nil).status
		}()
	}
	for range 8 {
		if status := <-done; status != http.StatusOK && status != http.StatusConflict {
			t.Errorf("%d", status)
		}
	}
	if s := w.state(r.ID); s != approvals.Denied && s != approvals.Revoked {
		t.Errorf("somebody said no, and it is %s", s)
	}
}
