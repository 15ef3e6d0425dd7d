package slack

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"querywarden/approvals"
	"querywarden/approvals/slack/slacktest"
	"querywarden/audit"
	"querywarden/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mainChannel   = "C0MAIN"
	secondChannel = "C0SECOND"
	otherChannel  = "C0OTHER"
)

// A world is a store, its messenger, and a Slack.
type world struct {
	t       *testing.T
	log     *audit.Log
	file    string
	store   *approvals.Store
	slack   *slacktest.Server
	it      *Slack
	ahead   atomic.Int64 // of the clock
	revoked atomic.Bool  // every sign-in

	mu      sync.Mutex
	refused []audit.Event
}

// newWorld starts one. configure may change the configuration.
func newWorld(t *testing.T, configure func(*Config)) *world {
	t.Helper()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "audit.db"), slack: slacktest.New(t)}
	w.slack.AddChannel(mainChannel, secondChannel, otherChannel)
	w.open(configure)
	for _, name := range []string{"olga", "omar", "eve", "ada"} {
		w.slack.AddUser(slacktest.User{ID: account(name), Name: name, Email: name + "@example.com"})
	}
	w.linkTo("olga", "owners")
	w.linkTo("omar", "owners")
	w.linkTo("eve", "strangers")
	w.linkTo("ada", "owners")
	return w
}

// open opens the log, the store and the messenger, and runs them until the test
// ends.
func (w *world) open(configure func(*Config)) {
	t := w.t
	t.Helper()
	var err error
	if w.log, err = audit.Open(w.file, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	if w.store, err = approvals.Open(t.Context(), w.log, w.now); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := Config{
		BotToken: slacktest.BotToken, AppToken: slacktest.AppToken, SigningSecret: slacktest.SigningSecret, Channel: mainChannel,
		Console: "https://gate.example.com/console", URL: w.slack.URL(), Log: w.log, Refused: w.refuse, Revoked: func(policy.Identity, time.Time) bool { return w.revoked.Load() }, Logger: logger, Now: w.now,
	}
	if configure != nil {
		configure(&c)
	}
	if w.it, err = New(t.Context(), c, w.store); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.it.Run(ctx) })
	running.Go(func() {
		if err := w.store.Deliver(ctx, logger, w.it); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	w.slack.Wait("Slack to be listened to", func() bool { return c.Mode == HTTP || w.slack.Connected() > 0 })
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) refuse(_ context.Context, e audit.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, e)
}

// codes are those of everything that was refused.
func (w *world) codes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var codes []string
	for _, e := range w.refused {
		codes = append(codes, e.Codes...)
	}
	return codes
}

func account(name string) string { return "U0" + strings.ToUpper(name) }

func identity(name string) policy.Identity {
	return policy.Identity{Issuer: "https://idp.example.com", Subject: name, Email: name + "@example.com"}
}

func (w *world) linkTo(name string, groups ...string) {
	w.t.Helper()
	err := w.store.Link(w.t.Context(), approvals.Link{Provider: Provider, Team: slacktest.Team, User: account(name), Identity: identity(name), Groups: groups})
	if err != nil {
		w.t.Fatal(err)
	}
}

var bySlack = policy.Approval{Groups: []string{"owners"}, Quorum: 1, DecideWithin: time.Hour, RunWithin: 10 * time.Minute, Confirm: policy.BySlack}

// asking is an agent of ada's that wants to drop a table.
func asking(need policy.Approval) approvals.Asking {
	human := identity("ada")
	agent := policy.Caller{Issuer: "https://idp.example.com", Subject: "agent-7", Groups: []string{"analysts"}, Kind: policy.Agent, Behind: &human}
	rows := int64(17)
	const drop = "DROP TABLE RETAIL.STAGING.IMPORT_2024_OLD"
	return approvals.Asking{
		Binding: approvals.Binding{Statement: drop, Requester: agent.Identity(), Behind: &human, Policy: "p1"}, Caller: agent,
		Sent: "drop table import_2024_old", Reason: "nobody reads it any more", Client: "claude-code 2.1", Need: need,
		Marks: []approvals.Mark{{Start: 0, End: 10, Kind: "effect"}, {Start: 11, End: len(drop), Kind: "object"}},
		Brief: approvals.Brief{
			Effects: []string{"Drops the table RETAIL.STAGING.IMPORT_2024_OLD"}, Rows: &rows, Depends: []string{"RETAIL.PUBLIC.V"},
			Estimate: "1 partition", Undo: "UNDROP TABLE RETAIL.STAGING.IMPORT_2024_OLD", UndoBy: time.Now().Add(24 * time.Hour),
		},
	}
}

// ask asks and returns the request with its message.
func (w *world) ask(a approvals.Asking) (approvals.Request, slacktest.Message) {
	w.t.Helper()
	r, err := w.store.Create(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, w.message(r)
}

// message is the one of a request, once it is there.
func (w *world) message(r approvals.Request) slacktest.Message {
	w.t.Helper()
	channel := r.Approval.Channel
	if channel == "" {
		channel = mainChannel
	}
	var found slacktest.Message
	w.slack.Wait("the message of "+r.ID, func() bool {
		for _, m := range w.slack.Messages(channel) {
			if m.Thread == "" && strings.Contains(m.Render(), r.ID) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// shows waits until the message of a request reads so.
func (w *world) shows(r approvals.Request, text string) slacktest.Message {
	w.t.Helper()
	var m slacktest.Message
	w.slack.Wait("a message that reads "+text, func() bool {
		m = w.message(r)
		return strings.Contains(m.Render(), text)
	})
	return m
}

// hears waits until somebody was told something alone.
func (w *world) hears(name, text string) slacktest.Message {
	w.t.Helper()
	var m slacktest.Message
	w.slack.Wait(name+" to hear "+text, func() bool {
		all := w.slack.Whispers(account(name))
		i := slices.IndexFunc(all, func(m slacktest.Message) bool { return strings.Contains(m.Render(), text) })
		if i >= 0 {
			m = all[i]
		}
		return i >= 0
	})
	return m
}

// click presses a button and sees that it is acknowledged.
func (w *world) click(name string, m slacktest.Message, a action) {
	w.t.Helper()
	if _, ok := w.slack.Click(account(name), m.Channel, m.TS, string(a)).Acknowledged(); !ok {
		w.t.Fatalf("%s's click was not acknowledged", name)
	}
}

// modal is what somebody has open.
func (w *world) modal(name string) slacktest.View {
	w.t.Helper()
	var views []slacktest.View
	w.slack.Wait("a modal for "+name, func() bool {
		views = w.slack.Views(account(name))
		return len(views) == 1
	})
	return views[0]
}

func (w *world) get(r approvals.Request) approvals.Request {
	w.t.Helper()
	now, err := w.store.Get(w.t.Context(), r.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return now
}

func (w *world) wants(r approvals.Request, state approvals.State) approvals.Request {
	w.t.Helper()
	var now approvals.Request
	for now = w.get(r); now.State != state; now = w.get(r) {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		err := w.store.Wait(ctx, r.ID, now.State)
		cancel()
		if err != nil {
			w.t.Fatalf("it is %s, not %s: %v", now.State, state, err)
		}
	}
	return now
}

// run is what the gate does with an approved statement.
func (w *world) run(r approvals.Request, to approvals.State, o approvals.Outcome) {
	w.t.Helper()
	claim, _, err := w.store.Claim(w.t.Context(), r.ID, r.Digest, time.Minute, audit.Event{Runs: r.Binding.Statement})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Finish(w.t.Context(), claim, to, o); err != nil {
		w.t.Fatal(err)
	}
}

// TestApprove goes the whole way: asked, approved by a click, run, told.
func TestApprove(t *testing.T) {
	w := newWorld(t, nil)
	r, m := w.ask(asking(bySlack))
	text := m.Render()
	t.Log("\n" + text)
	for _, want := range []string{
		"A statement waits for approval", "agent-7", "acting for ada@example.com", "claude-code 2.1", "by its own account", "in the agent's own words", "nobody reads it any more",
		"DROP TABLE RETAIL.STAGING.IMPORT_2024_OLD", "Drops the table", "17", "RETAIL.PUBLIC.V", "1 partition", "UNDROP TABLE", "Needs 1 of owners", "Decide by", approvals.Short(r.Digest),
		"[Approve]", "[Deny]", "[Open]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the message lacks %q", want)
		}
	}
	if b, _ := m.Button("open"); b.String("url") != "https://gate.example.com/console/requests/"+r.ID {
		t.Errorf("Open leads to %q", b.String("url"))
	}
	if b, _ := m.Button("approve"); b.String("value") != r.ID+":"+approvals.Short(r.Digest) {
		t.Errorf("Approve carries %q", b.String("value"))
	}
	w.click("olga", m, approve)
	r = w.wants(r, approvals.Approved)
	if len(r.Votes) != 1 || r.Votes[0].Via != approvals.ViaSlack || r.Votes[0].Voter != identity("olga") {
		t.Errorf("%+v", r.Votes)
	}
	m = w.shows(r, "olga@example.com approved (slack)")
	if _, ok := m.Button("approve"); ok || !strings.Contains(m.Render(), "[Take back]") {
		t.Errorf("once approved:\n%s", m.Render())
	}
	w.run(r, approvals.Done, approvals.Outcome{Rows: 1, QueryID: "01b2", Ref: "42@abc", Undo: "UNDROP TABLE X"})
	m = w.shows(r, "Approved, and has run")
	w.slack.Wait("a word in the thread", func() bool { return len(w.slack.Thread(m.Channel, m.TS)) == 1 })
	if said := w.slack.Thread(m.Channel, m.TS)[0].Render(); !strings.Contains(said, "01b2") || !strings.Contains(said, "42@abc") || !strings.Contains(said, "Rows in the answer: 1") {
		t.Errorf("the thread says %q", said)
	}
	if strings.Contains(m.Render(), "[Deny]") || strings.Contains(m.Render(), "[Take back]") || !strings.Contains(m.Render(), "UNDROP TABLE X") {
		t.Errorf("at the end:\n%s", m.Render())
	}
	if codes := w.codes(); len(codes) != 0 {
		t.Errorf("refused: %q", codes)
	}
}

// TestDeny: a denial has a reason, ends the request, and does not need a fresh
// link.
func TestDeny(t *testing.T) {
	w := newWorld(t, nil)
	r, m := w.ask(asking(policy.Approval{Groups: []string{"owners"}, Quorum: 2, DecideWithin: 100 * time.Hour, RunWithin: time.Minute}))
	w.ahead.Store(int64(48 * time.Hour))
	w.click("olga", m, deny)
	v := w.modal("olga")
	for reason, complaint := range map[string]string{"": "Say why", " \n ": "Say why", strings.Repeat("é", 301): "At most 300"} {
		if answer, ok := w.slack.Submit(v, map[string]string{"text": reason}).Acknowledged(); !ok || !strings.Contains(string(answer), complaint) {
			t.Errorf("%q: %s", reason, answer)
		}
	}
	if w.get(r).State != approvals.Pending {
		t.Fatal("denied without a reason")
	}
	reason := strings.Repeat("é", 300)
	if answer, ok := w.slack.Submit(v, map[string]string{"text": reason}).Acknowledged(); !ok || len(answer) > 0 {
		t.Errorf("%s", answer)
	}
	r = w.wants(r, approvals.Denied)
	if r.Votes[0].Reason != reason || r.Votes[0].Approve || len(w.slack.Views(account("olga"))) != 0 {
		t.Errorf("%+v", r.Votes)
	}
	m = w.shows(r, "Denied")
	w.slack.Wait("a word in the thread", func() bool { return len(w.slack.Thread(m.Channel, m.TS)) == 1 })

	// What is over is over, for those who see an old message as well.
	old := w.slack.ClickPayload(account("omar"), m.Channel, m.TS, slacktest.Block{"action_id": "deny", "value": target(r.ID, approvals.Short(r.Digest))})
	if _, ok := w.slack.Interact(old).Acknowledged(); !ok {
		t.Fatal("not acknowledged")
	}
	w.hears("omar", "does not wait any more")
	if len(w.slack.Views(account("omar"))) != 0 {
		t.Error("he is asked for a reason in vain")
	}
}

// TestReason: where the rule wants a reason, Approve asks for it.
func TestReason(t *testing.T) {
	w := newWorld(t, nil)
	need := bySlack
	need.NeedReason = true
	r, m := w.ask(asking(need))
	w.click("olga", m, approve)
	v := w.modal("olga")
	if _, ok := w.slack.Submit(v, map[string]string{"text": "checked with the data team"}).Acknowledged(); !ok {
		t.Fatal("not acknowledged")
	}
	if r = w.wants(r, approvals.Approved); r.Votes[0].Reason != "checked with the data team" {
		t.Errorf("%+v", r.Votes)
	}
	// Who comes second is asked as well.
	late := w.slack.ClickPayload(account("omar"), m.Channel, m.TS, slacktest.Block{"action_id": "approve", "value": target(r.ID, approvals.Short(r.Digest))})
	w.slack.Interact(late).Acknowledged()
	if _, ok := w.slack.Submit(w.modal("omar"), map[string]string{"text": "I too"}).Acknowledged(); !ok {
		t.Fatal("not acknowledged")
	}
	w.shows(r, "omar@example.com approved")
	// Revoked by the same button, before it has run.
	m = w.shows(r, "[Take back]")
	w.click("olga", m, deny)
	if _, ok := w.slack.Submit(w.modal("olga"), map[string]string{"text": "wait"}).Acknowledged(); !ok {
		t.Fatal("not acknowledged")
	}
	w.wants(r, approvals.Revoked)
}

// TestQuorum: two approvers who race, both of whom double-click, are two votes.
func TestQuorum(t *testing.T) {
	w := newWorld(t, nil)
	need := bySlack
	need.Quorum = 2
	r, m := w.ask(asking(need))
	w.click("olga", m, approve)
	w.shows(r, "1 so far")
	w.slack.Wait("a word in the thread", func() bool { return len(w.slack.Thread(m.Channel, m.TS)) == 1 })
	if said := w.slack.Thread(m.Channel, m.TS)[0].Render(); !strings.Contains(said, "olga@example.com has approved: 1 of 2.") {
		t.Error(said)
	}
	var racing sync.WaitGroup
	for _, name := range []string{"omar", "olga", "omar", "olga"} {
		racing.Go(func() { w.click(name, m, approve) })
	}
	racing.Wait()
	r = w.wants(r, approvals.Approved)
	w.shows(r, "omar@example.com approved")
	if r = w.get(r); len(r.Votes) != 2 {
		t.Errorf("%+v", r.Votes)
	}

	// One is enough here, and two race for it.
	r, m = w.ask(asking(bySlack))
	for _, name := range []string{"omar", "olga"} {
		racing.Go(func() { w.click(name, m, approve) })
	}
	racing.Wait()
	w.wants(r, approvals.Approved)
}

// TestWho is who decides nothing by a click, why, and what they are told.
func TestWho(t *testing.T) {
	oidc := bySlack
	oidc.Confirm = policy.ByOIDC
	for _, c := range []struct {
		name    string
		who     string
		user    func(*slacktest.User)
		payload func(map[string]any)
		need    policy.Approval
		ahead   time.Duration
		unlink  bool
		revoked bool
		action  action
		code    Code // recorded; empty if it is no refusal
		hears   string
		button  string // where the answer leads
	}{
		{name: "a guest", user: func(u *slacktest.User) { u.Restricted = true }, code: CodeGuest},
		{name: "a guest of one channel", user: func(u *slacktest.User) { u.UltraRestricted = true }, code: CodeGuest},
		{name: "a bot", user: func(u *slacktest.User) { u.Bot = true }, code: CodeBot},
		{name: "deactivated", user: func(u *slacktest.User) { u.Deleted = true }, code: CodeDeactivated},
		{name: "Slack Connect", user: func(u *slacktest.User) { u.Stranger = true }, code: CodeStranger},
		{name: "an account of another workspace", user: func(u *slacktest.User) { u.Team = "T0OTHER" }, code: CodeTeam},
		{name: "of another workspace, says only the lookup", user: func(u *slacktest.User) { u.Team = "T0OTHER" }, payload: func(p map[string]any) {
			p["user"].(map[string]any)["team_id"] = slacktest.Team
		}, code: CodeTeam},
		{name: "a click in another workspace", payload: func(p map[string]any) { p["team"] = map[string]any{"id": "T0OTHER"} }, code: CodeTeam},
		{name: "an account that Slack does not know", payload: func(p map[string]any) { p["user"] = map[string]any{"id": "U0NOBODY"} }, code: CodeNoAccount, hears: "-"},
		{name: "a guest's denial", user: func(u *slacktest.User) { u.Restricted = true }, action: deny, code: CodeGuest},
		{name: "not linked", unlink: true, code: CodeUnlinked, button: "/link?ticket="},
		{name: "not linked, a denial", unlink: true, action: deny, code: CodeUnlinked, button: "/link?ticket="},
		{name: "an approver who takes the requester's address", user: func(u *slacktest.User) { u.Email = "ada@example.com" }, code: CodeAddress, button: "/link?ticket="},
		{name: "a stranger who takes an approver's address", who: "eve", user: func(u *slacktest.User) { u.Email = "olga@example.com" }, code: CodeAddress},
		{name: "not linked, with an approver's address", who: "eve", unlink: true, user: func(u *slacktest.User) { u.Email = "olga@example.com" }, code: CodeUnlinked},
		{name: "in no approving group", who: "eve", code: CodeNoApprover},
		{name: "in no approving group, a denial", who: "eve", action: deny, code: CodeNoApprover},
		{name: "in no approving group, where a sign-in is wanted", who: "eve", need: oidc, code: CodeNoApprover},
		{name: "the human behind the agent", who: "ada", code: CodeOwn},
		{name: "an old link", ahead: 13 * time.Hour, code: CodeOldLink, button: "/link?ticket="},
		{name: "a link of tomorrow", ahead: -time.Hour, code: CodeOldLink},
		{name: "a sign-in that was called back", revoked: true, code: CodeRevoked, button: "/link?ticket="},
		{name: "a sign-in that was called back, a denial", revoked: true, action: deny, code: CodeRevoked, button: "/link?ticket="},
		{name: "another digest", payload: func(p map[string]any) {
			b := p["actions"].([]any)[0].(map[string]any)
			id, _, _ := strings.Cut(b["value"].(string), ":")
			b["value"] = target(id, "0123456789abcdef")
		}, code: CodeStatement},
		{name: "a denial of another digest", action: deny, payload: func(p map[string]any) {
			b := p["actions"].([]any)[0].(map[string]any)
			id, _, _ := strings.Cut(b["value"].(string), ":")
			b["value"] = target(id, "0123456789abcdef")
		}, code: CodeStatement},
		{name: "another request", payload: func(p map[string]any) {
			p["actions"].([]any)[0].(map[string]any)["value"] = target("apr_nosuch", "0123456789abcdef")
		}, code: CodeUnknown},
		{name: "a rule that wants a sign-in", need: oidc, button: "/console/requests/apr_", hears: "fresh sign-in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			if c.who == "" {
				c.who = "olga"
			}
			if c.need.Quorum == 0 {
				c.need = bySlack
			}
			c.need.DecideWithin = 100 * time.Hour
			if c.action == "" {
				c.action = approve
			}
			r, m := w.ask(asking(c.need))
			if c.user != nil {
				u := slacktest.User{ID: account(c.who), Name: c.who, Email: c.who + "@example.com"}
				c.user(&u)
				w.slack.AddUser(u)
			}
			if c.unlink {
				if err := w.store.Unlink(t.Context(), Provider, slacktest.Team, account(c.who)); err != nil {
					t.Fatal(err)
				}
			}
			w.ahead.Store(int64(c.ahead))
			w.revoked.Store(c.revoked)
			b, _ := m.Button(string(c.action))
			payload := w.slack.ClickPayload(account(c.who), m.Channel, m.TS, b)
			if c.payload != nil {
				c.payload(payload)
			}
			if _, ok := w.slack.Interact(payload).Acknowledged(); !ok {
				t.Error("not acknowledged")
			}
			if c.hears == "" {
				c.hears = c.code.sentence()
			}
			if c.hears != "-" {
				said := w.hears(c.who, c.hears)
				b, _ := said.Button("open")
				if !strings.Contains(b.String("url"), c.button) {
					t.Errorf("the answer leads to %q", b.String("url"))
				}
			}
			w.slack.Wait("a record", func() bool { return c.code == "" || len(w.codes()) > 0 })
			if codes := w.codes(); c.code == "" && len(codes) != 0 || c.code != "" && !slices.Equal(codes, []string{string(c.code)}) {
				t.Errorf("recorded as %q", codes)
			}
			if now := w.get(r); now.State != approvals.Pending || len(now.Votes) != 0 {
				t.Errorf("%s, %+v", now.State, now.Votes)
			}
			for _, e := range w.refused {
				if !strings.Contains(e.Remote, "/U0") || e.Via != Provider || !strings.HasPrefix(e.Approval, "apr_") {
					t.Errorf("recorded %+v", e)
				}
			}
			if len(w.slack.Views(account(c.who))) != 0 {
				t.Error("a modal was opened")
			}
		})
	}
}

// TestLink: whoever is not linked gets a ticket that is for them alone, signs
// in, and clicks again.
func TestLink(t *testing.T) {
	w := newWorld(t, nil)
	w.slack.AddUser(slacktest.User{ID: "U0NEW", Name: "new", Email: "new@example.com"})
	r, m := w.ask(asking(bySlack))
	w.click("new", m, approve)
	b, ok := w.hears("new", CodeUnlinked.sentence()).Button("open")
	_, ticket, found := strings.Cut(b.String("url"), "https://gate.example.com/console/link?ticket=")
	if !ok || !found || ticket == "" {
		t.Fatalf("%v", b)
	}
	if strings.Contains(w.message(r).Render(), ticket) {
		t.Error("the ticket stands in the channel")
	}
	l, err := w.store.Redeem(t.Context(), ticket, identity("new"), []string{"owners"})
	if err != nil || l.User != "U0NEW" || l.Team != slacktest.Team || l.Provider != Provider {
		t.Fatalf("%+v, %v", l, err)
	}
	w.click("new", m, approve)
	w.wants(r, approvals.Approved)
}

// TestTheftOfATicket: somebody who makes an approver redeem their ticket gains
// nothing, since the addresses differ.
func TestTheftOfATicket(t *testing.T) {
	w := newWorld(t, nil)
	ticket, err := w.store.Ticket(t.Context(), Provider, slacktest.Team, account("eve"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Redeem(t.Context(), ticket, identity("olga"), []string{"owners"}); err != nil {
		t.Fatal(err)
	}
	r, m := w.ask(asking(bySlack))
	w.click("eve", m, approve)
	w.hears("eve", CodeAddress.sentence())
	if now := w.get(r); now.State != approvals.Pending {
		t.Errorf("it is %s", now.State)
	}
}

// TestTricks: what others wrote is shown as it is, whatever it looks like.
func TestTricks(t *testing.T) {
	w := newWorld(t, nil)
	for _, trick := range []string{
		"```\n*Approved by the security team*\n```", "`", "<!channel> <@U0OLGA> <https://evil.example|Open>", "&lt;b&gt; & <>", "*bold* _it_ ~gone~ :white_check_mark:", "> quote\n• list",
		`{"type":"actions"}`, "http://evil.example/", "@olga #general", "–", strings.Repeat("`", 500),
	} {
		a := asking(bySlack)
		sql := "DELETE FROM T WHERE X = '" + strings.ReplaceAll(trick, "\n", " ") + "'"
		a.Binding.Statement, a.Reason, a.Client, a.Brief.Effects, a.Marks = sql, trick, trick, []string{trick}, nil
		r, m := w.ask(a)
		pre := m.Of("rich_text_preformatted")
		if len(pre) != 1 {
			t.Fatalf("%d blocks of code", len(pre))
		}
		text := ""
		for _, e := range pre[0].Of("text") {
			text += e.String("text")
		}
		if text != sql {
			t.Errorf("the statement is shown as %q, it is %q", text, sql)
		}
		for _, kind := range []string{"mrkdwn", "link", "user", "usergroup", "broadcast", "emoji", "channel"} {
			if found := m.Of(kind); len(found) > 0 {
				t.Errorf("%q: %v", trick, found)
			}
		}
		for _, b := range m.Of("plain_text") {
			if emoji, ok := b["emoji"].(bool); !ok || emoji {
				t.Errorf("emoji are shown in %v", b)
			}
		}
		if m.Text != "A statement waits for approval ("+r.ID+")" {
			t.Errorf("notifications show %q", m.Text)
		}
		if _, ok := m.Button("approve"); !ok {
			t.Error("it cannot be approved")
		}
	}
}

// TestHidden: a statement that looks like another is not approved here.
func TestHidden(t *testing.T) {
	w := newWorld(t, nil)
	for _, hidden := range []string{"\u202e", "\u200b", "\u2066", "\x1b", "\u00ad", "\ufeff", "\u00a0", "\u2028", "\r", "\U000e0041", "\u3164"} {
		a := asking(bySlack)
		a.Binding.Statement = "DELETE FROM T WHERE X = 'a" + hidden + "b'"
		r, m := w.ask(a)
		text := m.Render()
		if _, ok := m.Button("approve"); ok || strings.Contains(text, hidden) || !strings.Contains(text, approvals.Escape(a.Binding.Statement)) || !strings.Contains(text, "Careful") {
			t.Errorf("%q:\n%s", hidden, text)
		}
		forged := w.slack.ClickPayload(account("olga"), m.Channel, m.TS, slacktest.Block{"action_id": "approve", "value": target(r.ID, approvals.Short(r.Digest))})
		w.slack.Interact(forged).Acknowledged()
		w.hears("olga", CodeUnreadable.sentence())
		if now := w.get(r); now.State != approvals.Pending {
			t.Fatalf("it is %s", now.State)
		}
		w.click("olga", m, deny)
		if _, ok := w.slack.Submit(w.modal("olga"), map[string]string{"text": "no"}).Acknowledged(); !ok {
			t.Fatal("not acknowledged")
		}
		w.wants(r, approvals.Denied)
	}
	// Elsewhere they are shown by their numbers.
	a := asking(bySlack)
	a.Reason, a.Client, a.Brief.Undo = "it\u202eis", "cl\u200baude", "UN\x07DROP"
	if _, m := w.ask(a); !strings.Contains(m.Render(), `it\u{202e}is`) || !strings.Contains(m.Render(), `cl\u{200b}aude`) || !strings.Contains(m.Render(), `UN\u{7}DROP`) {
		t.Error(m.Render())
	}
}

// TestLong: a statement that does not fit is a file, and not approved here.
func TestLong(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		size int
		file bool
	}{{statementLimit, false}, {statementLimit + 1, true}, {200_000, true}} {
		a := asking(bySlack)
		const head = "DELETE FROM T WHERE X = '"
		a.Binding.Statement = head + strings.Repeat("é", (c.size-len(head)-1)/2) + strings.Repeat("e", (c.size-len(head)-1)%2) + "'"
		a.Marks = nil
		r, m := w.ask(a)
		if len(a.Binding.Statement) != c.size {
			t.Fatal(len(a.Binding.Statement))
		}
		_, ok := m.Button("approve")
		if ok == c.file || !strings.Contains(m.Render(), "[Deny]") || !strings.Contains(m.Render(), "[Open]") {
			t.Errorf("%d bytes:\n%s", c.size, m.Render())
		}
		name := r.ID + ".sql"
		if !c.file {
			if !strings.Contains(m.Render(), a.Binding.Statement) || slices.ContainsFunc(w.slack.Files(), func(f slacktest.File) bool { return f.Name == name }) {
				t.Errorf("%d bytes are not shown whole", c.size)
			}
			continue
		}
		w.slack.Wait("a file", func() bool {
			return slices.ContainsFunc(w.slack.Files(), func(f slacktest.File) bool {
				return f.Name == name && string(f.Content) == a.Binding.Statement && f.Channel == m.Channel && f.Thread == m.TS
			})
		})
		forged := w.slack.ClickPayload(account("olga"), m.Channel, m.TS, slacktest.Block{"action_id": "approve", "value": target(r.ID, approvals.Short(r.Digest))})
		w.slack.Interact(forged).Acknowledged()
		w.hears("olga", CodeUnreadable.sentence())
		if now := w.get(r); now.State != approvals.Pending {
			t.Fatalf("it is %s", now.State)
		}
	}
}

// TestMessengerIsToldAll: a kind of notice, a state or a code that nobody has
// thought of fails here.
func TestMessengerIsToldAll(t *testing.T) {
	w := newWorld(t, nil)
	r, m := w.ask(asking(bySlack))
	by := identity("omar")
	r.BreakGlass = &approvals.BrokenGlass{By: identity("olga"), Reason: "fire", Ticket: "INC-1", At: time.Now(), AcknowledgeBy: time.Now(), AckBy: &by}
	ref := place{m.Channel, m.TS}
	for _, kind := range approvals.NoticeKinds() {
		if _, err := w.it.Tell(t.Context(), approvals.Notice{Kind: kind, Request: r, Ref: places{ref}.String()}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := w.it.Tell(t.Context(), approvals.Notice{Kind: "other", Request: r, Ref: places{ref}.String()}); err == nil {
		t.Error("a notice that nobody knows was told")
	}
	seen := map[string]approvals.State{}
	for _, state := range approvals.States() {
		v := r.View()
		v.State, v.BreakGlass = state, nil
		for _, text := range []string{heading(v), ending(v)} {
			if other, ok := seen[text]; ok {
				t.Errorf("%s reads as %s: %q", state, other, text)
			}
			seen[text] = state
		}
	}
	unknown := r.View()
	unknown.State, unknown.BreakGlass = "", nil
	if _, ok := seen[heading(unknown)]; ok {
		t.Error("a state that nobody knows reads as one that is known")
	}
	for _, b := range w.it.buttons(unknown, true) {
		if text, err := json.Marshal(b); err != nil || !strings.Contains(string(text), `"open"`) {
			t.Errorf("a state that nobody knows offers %s", text)
		}
	}
}
