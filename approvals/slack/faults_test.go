package slack

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"querywarden/approvals"
	"querywarden/approvals/slack/slacktest"
	"querywarden/policy"
)

// TestRedelivery: whatever the network does to a click, it is one vote.
func TestRedelivery(t *testing.T) {
	two := bySlack
	two.Quorum = 2
	for _, c := range []struct {
		name  string
		click func(*world, slacktest.Message)
	}{
		{"delivered twice at once", func(w *world, m slacktest.Message) {
			w.slack.Break(slacktest.Faults{Duplicate: 1})
			w.click("olga", m, approve)
		}},
		{"delivered again later", func(w *world, m slacktest.Message) {
			click := w.slack.Click(account("olga"), m.Channel, m.TS, string(approve))
			click.Acknowledged()
			for range 3 {
				w.slack.Redeliver(click)
			}
		}},
		{"two clicks", func(w *world, m slacktest.Message) {
			w.click("olga", m, approve)
			w.click("olga", m, approve)
		}},
		{"two clicks, the second first", func(w *world, m slacktest.Message) {
			w.slack.Break(slacktest.Faults{Reorder: true})
			first := w.slack.Click(account("olga"), m.Channel, m.TS, string(approve))
			w.click("olga", m, approve)
			first.Acknowledged()
		}},
		{"late", func(w *world, m slacktest.Message) {
			w.slack.Break(slacktest.Faults{Delay: 50 * time.Millisecond})
			w.click("olga", m, approve)
		}},
		{"after Slack wanted another connection", func(w *world, m slacktest.Message) {
			w.slack.Disconnect("refresh_requested")
			w.slack.Wait("another connection", func() bool { return w.slack.Opened() == 2 && w.slack.Connected() == 1 })
			w.click("olga", m, approve)
		}},
		{"again, over another connection", func(w *world, m slacktest.Message) {
			click := w.slack.Click(account("olga"), m.Channel, m.TS, string(approve))
			click.Acknowledged()
			w.slack.Cut()
			w.slack.Wait("another connection", func() bool { return w.slack.Opened() == 2 && w.slack.Connected() == 1 })
			w.slack.Redeliver(click)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			r, m := w.ask(asking(two))
			c.click(w, m)
			w.shows(r, "1 so far")
			w.click("omar", m, approve)
			r = w.wants(r, approvals.Approved)
			// Whatever came beside these is behind the vote that is second.
			if len(r.Votes) != 2 {
				t.Errorf("%+v", r.Votes)
			}
			if codes := w.codes(); len(codes) != 0 {
				t.Errorf("refused: %q", codes)
			}
		})
	}
}

// TestOnce: an envelope that comes again is not worked on again, whatever it
// asks for. To open a second modal would show an error to whoever fills in the
// first.
func TestOnce(t *testing.T) {
	w := newWorld(t, nil)
	r, m := w.ask(asking(bySlack))
	b, _ := m.Button("deny")
	payload := w.slack.ClickPayload(account("olga"), m.Channel, m.TS, b)
	c := click{
		key: envelopeKey("1"), team: slacktest.Team, user: account("olga"), action: deny, id: r.ID, short: approvals.Short(r.Digest),
		channel: m.Channel, message: m.TS, trigger: payload["trigger_id"].(string),
	}
	for range 3 {
		w.it.work(t.Context(), c)
	}
	if n := w.slack.Calls("views.open"); n != 1 || len(w.slack.Whispers(account("olga"))) != 0 {
		t.Errorf("%d modals; told %v", n, w.slack.Whispers(account("olga")))
	}
	c.key = envelopeKey("2")
	w.it.work(t.Context(), c)
	w.hears("olga", "That did not work")
}

// TestTokenChanged: a token that Slack takes no more ends the client, and not
// the gateway's asking.
func TestTokenChanged(t *testing.T) {
	w := newWorld(t, nil)
	r, m := w.ask(asking(bySlack))
	w.slack.RefuseApp(true)
	w.slack.Cut()
	w.slack.Wait("a refused connection", func() bool { return w.slack.Calls("apps.connections.open") >= 2 })
	w.slack.RefuseApp(false)
	w.slack.Wait("another connection", func() bool { return w.slack.Opened() == 2 && w.slack.Connected() == 1 })
	w.click("olga", m, approve)
	w.wants(r, approvals.Approved)
}

// TestRestart: what was clicked before a restart is not clicked again after it,
// and the message is still known.
func TestRestart(t *testing.T) {
	w := newWorld(t, nil)
	need := bySlack
	need.Quorum = 2
	r, m := w.ask(asking(need))
	click := w.slack.Click(account("olga"), m.Channel, m.TS, string(approve))
	click.Acknowledged()
	w.shows(r, "1 so far")
	k := envelopeKey("of before")
	if first, err := w.it.first(t.Context(), k); err != nil || !first {
		t.Fatal(first, err)
	}
	again, err := New(t.Context(), w.it.config, w.store)
	if err != nil {
		t.Fatal(err)
	}
	if first, err := again.first(t.Context(), k); err != nil || first {
		t.Errorf("what came before a restart comes again: %v, %v", first, err)
	}
	w.ahead.Store(int64(seenFor + time.Minute))
	if first, err := again.first(t.Context(), k); err != nil || !first {
		t.Errorf("keys are kept for ever: %v, %v", first, err)
	}
}

// TestRate: what Slack puts off is told later, in order.
func TestRate(t *testing.T) {
	w := newWorld(t, nil)
	w.slack.LimitRate()
	first, m := w.ask(asking(bySlack))
	second, _ := w.ask(asking(bySlack))
	w.message(second)
	w.click("olga", m, approve)
	w.wants(first, approvals.Approved)
	w.run(first, approvals.Failed, approvals.Outcome{Error: "syntax 1003"})
	w.slack.Wait("a word in the thread", func() bool { return len(w.slack.Thread(m.Channel, m.TS)) == 1 })
	if said := w.slack.Thread(m.Channel, m.TS)[0].Render(); !strings.Contains(said, "It ran and failed.") || !strings.Contains(said, "syntax 1003") {
		t.Error(said)
	}
}

// TestOutage: Slack's own failures put off what is told.
func TestOutage(t *testing.T) {
	w := newWorld(t, nil)
	w.slack.Fail("chat.postMessage", "internal_error", "not_in_channel")
	r, m := w.ask(asking(bySlack))
	if n := w.slack.Calls("chat.postMessage"); n != 3 {
		t.Errorf("posted after %d calls", n)
	}
	w.slack.Fail("users.info", "internal_error")
	w.click("olga", m, approve)
	w.hears("olga", CodeNoAccount.sentence())
	w.click("olga", m, approve)
	w.wants(r, approvals.Approved)
}

// TestDeleted: a message that somebody deletes is posted again as soon as there
// is something to say.
func TestDeleted(t *testing.T) {
	w := newWorld(t, nil)
	need := bySlack
	need.Quorum = 2
	r, m := w.ask(asking(need))
	w.slack.Delete(m.Channel, m.TS)
	if _, err := w.store.Vote(t.Context(), r.ID, approvals.Short(r.Digest), approvals.Voter{Identity: identity("omar"), Groups: []string{"owners"}, Via: approvals.ViaConsole}, true, ""); err != nil {
		t.Fatal(err)
	}
	m = w.shows(r, "omar@example.com approved (console)")
	w.click("olga", m, approve)
	w.wants(r, approvals.Approved)
	w.shows(r, "Approved, and about to run")
	if n := len(w.slack.Messages(mainChannel)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// TestNamedChannel: a policy may name a channel; its message is kept up to date
// all the same.
func TestNamedChannel(t *testing.T) {
	w := newWorld(t, nil)
	w.slack.NameChannel("C0DATA", "data")
	need := bySlack
	need.Channel = "#data"
	r, err := w.store.Create(t.Context(), asking(need))
	if err != nil {
		t.Fatal(err)
	}
	w.slack.Wait("a message", func() bool { return len(w.slack.Messages("C0DATA")) == 1 })
	w.click("olga", w.slack.Messages("C0DATA")[0], approve)
	w.wants(r, approvals.Approved)
	w.slack.Wait("the message to say so", func() bool {
		return strings.Contains(w.slack.Messages("C0DATA")[0].Render(), "Approved, and about to run")
	})
}

// TestTooMuch: a message that Slack does not take is replaced by one that asks
// all the same.
func TestTooMuch(t *testing.T) {
	w := newWorld(t, nil)
	w.slack.Fail("chat.postMessage", "msg_blocks_too_long")
	_, m := w.ask(asking(bySlack))
	if !strings.Contains(m.Render(), "Open the console") || !strings.Contains(m.Render(), "[Deny]") || strings.Contains(m.Render(), "[Approve]") {
		t.Error(m.Render())
	}
}

// TestManifest: the app that the example describes is allowed what it needs, and
// not more.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile("../../examples/slack/manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		OAuth struct {
			Scopes struct{ Bot []string }
		} `yaml:"oauth_config"`
		Settings struct {
			Interactivity struct {
				Enabled bool `yaml:"is_enabled"`
			}
			Socket bool `yaml:"socket_mode_enabled"`
		}
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if !manifest.Settings.Interactivity.Enabled || !manifest.Settings.Socket {
		t.Errorf("%+v", manifest.Settings)
	}
	// works tells whether everything does that needs a scope.
	works := func(scopes []string) bool {
		w := newWorld(t, nil)
		w.slack.Grant(scopes...)
		a := asking(bySlack)
		a.Binding.Statement += strings.Repeat(" ", statementLimit)
		r, err := w.store.Create(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.it.Tell(t.Context(), approvals.Notice{Kind: approvals.Asked, Request: r}); err != nil || len(w.slack.Files()) == 0 {
			return false
		}
		w.slack.AddUser(slacktest.User{ID: account("olga"), Name: "olga", Email: "other@example.com"})
		c := click{team: slacktest.Team, user: account("olga"), action: approve}
		return w.it.account(t.Context(), &c) == CodeAddress
	}
	all := manifest.OAuth.Scopes.Bot
	if !works(all) {
		t.Errorf("%q are not enough", all)
	}
	for i := range all {
		if without := slices.Delete(slices.Clone(all), i, i+1); works(without) {
			t.Errorf("%q is not needed", all[i])
		}
	}
}

// TestReminders: who waits is told again, and elsewhere.
func TestReminders(t *testing.T) {
	for _, second := range []string{"", secondChannel} {
		t.Run("second channel "+second, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			need := bySlack
			need.Channel, need.Escalate, need.Quorum, need.DecideWithin = otherChannel, second, 2, time.Hour
			r, m := w.ask(asking(need))
			// Another request makes the outbox look at the clock.
			later := func(d time.Duration) {
				w.ahead.Store(int64(d))
				w.ask(asking(bySlack))
			}
			later(31 * time.Minute)
			w.slack.Wait("a reminder that all see", func() bool {
				all := w.slack.Messages(otherChannel)
				return len(all) == 2 && all[1].Broadcast && all[1].Thread == m.TS && strings.Contains(all[1].Render(), "This still waits for owners")
			})
			later(46 * time.Minute)
			if second == "" {
				w.slack.Wait("a last word", func() bool {
					all := w.slack.Messages(otherChannel)
					return len(all) == 3 && strings.Contains(all[2].Render(), "Hardly any time is left")
				})
			} else {
				w.slack.Wait("a message in the second channel", func() bool { return len(w.slack.Messages(secondChannel)) == 1 })
			}
			w.ahead.Store(int64(time.Hour))
			w.wants(r, approvals.Expired)
			w.shows(r, "Expired")
			if second != "" {
				w.slack.Wait("both messages to say so", func() bool {
					return strings.Contains(w.slack.Messages(secondChannel)[0].Render(), "Expired")
				})
			}
		})
	}
}

// TestGlass: who goes around the quorum is not overlooked.
func TestGlass(t *testing.T) {
	w := newWorld(t, nil)
	need := bySlack
	need.Quorum, need.Confirm = 2, policy.ByOIDC
	need.BreakGlass = &policy.BreakGlass{Groups: []string{"on-call"}, AcknowledgeWithin: time.Hour}
	r, _ := w.ask(asking(need))
	breaker := approvals.Voter{Identity: identity("omar"), Groups: []string{"on-call"}, Via: approvals.ViaConsole}
	if _, err := w.store.BreakGlass(t.Context(), r.ID, approvals.Short(r.Digest), breaker, "the import is stuck", "INC-7"); err != nil {
		t.Fatal(err)
	}
	m := w.shows(r, "🚨 BREAK-GLASS: Approved")
	for _, want := range []string{"omar@example.com has let this run alone", "INC-7", "the import is stuck", "A second person has to acknowledge", "[Acknowledge]"} {
		if !strings.Contains(m.Render(), want) {
			t.Errorf("lacks %q:\n%s", want, m.Render())
		}
	}
	w.slack.Wait("all to be told", func() bool {
		return slices.ContainsFunc(w.slack.Messages(mainChannel), func(m slacktest.Message) bool { return m.Broadcast && strings.Contains(m.Render(), "Break-glass") })
	})
	w.run(r, approvals.Done, approvals.Outcome{Rows: 1})
	m = w.shows(r, "BREAK-GLASS: Approved, and has run")
	// The one who did it does not acknowledge it.
	w.linkTo("omar", "owners", "on-call")
	w.click("omar", m, acknowledge)
	w.slack.Submit(w.modal("omar"), map[string]string{"text": "fine"}).Acknowledged()
	w.hears("omar", CodeOwn.sentence())
	w.click("olga", m, acknowledge)
	if _, ok := w.slack.Submit(w.modal("olga"), map[string]string{"text": ""}).Acknowledged(); !ok {
		t.Fatal("not acknowledged")
	}
	m = w.shows(r, "Acknowledged by olga@example.com")
	if strings.Contains(m.Render(), "[Acknowledge]") {
		t.Error(m.Render())
	}
}

// TestAnything: whatever stands in a request, Slack takes its message. The fake
// fails the test if not.
func TestAnything(t *testing.T) {
	w := newWorld(t, nil)
	text := func(t *rapid.T, name string, limit int) string {
		unit := rapid.SampledFrom([]string{"a", "é", "€", "😀", "`", "<", "&", "\n", "\u202e"}).Draw(t, name+" of")
		return strings.Repeat(unit, rapid.IntRange(0, limit).Draw(t, name+" times"))
	}
	var rt *rapid.T
	texts := func(name string, n, limit int) []string {
		return slices.Repeat([]string{text(rt, name, limit)}, rapid.IntRange(0, n).Draw(rt, name+" count"))
	}
	i := 0
	rapid.Check(t, func(t *rapid.T) {
		rt = t
		who := func(name string) policy.Identity {
			return policy.Identity{Issuer: "idp", Subject: text(t, name, 400), Email: text(t, name+" address", 400)}
		}
		behind := who("behind")
		now := time.Now()
		statement := text(t, "statement", 7000)
		r := approvals.Request{
			ID: fmt.Sprintf("apr_%d", i), State: rapid.SampledFrom(append(approvals.States(), "")).Draw(t, "state"), Digest: strings.Repeat("ab", 32),
			Binding: approvals.Binding{Statement: statement, Requester: who("requester"), Behind: &behind},
			Caller:  policy.Caller{Groups: texts("groups", 100, 100), Kind: policy.Agent}, Reason: text(t, "reason", 3000), Client: text(t, "client", 1000),
			Approval: policy.Approval{Groups: texts("approvers", 50, 100), Quorum: 3, DecideWithin: time.Hour, RunWithin: time.Hour, SafetyCopy: time.Hour, Confirm: policy.BySlack},
			Brief: approvals.Brief{
				Effects: texts("effects", 100, 300), RowsNote: text(t, "note", 500), Depends: texts("depends", 300, 100), Estimate: text(t, "estimate", 500),
				Undo: text(t, "undo", 4000), UndoBy: now,
			},
			Asked: now, DecideBy: now.Add(time.Hour), RunBy: now.Add(time.Hour),
		}
		for j := range rapid.IntRange(0, 20).Draw(t, "marks") {
			r.Marks = append(r.Marks, approvals.Mark{Start: j * 10, End: rapid.IntRange(-1, 8000).Draw(t, "end")})
		}
		for range rapid.IntRange(0, 20).Draw(t, "votes") {
			r.Votes = append(r.Votes, approvals.Vote{Voter: who("voter"), Via: approvals.ViaSlack, Approve: true, Reason: text(t, "vote", 2000), At: now})
		}
		if rapid.Bool().Draw(t, "glass") {
			ack := who("ack")
			r.BreakGlass = &approvals.BrokenGlass{By: who("breaker"), Reason: text(t, "glass reason", 2000), Ticket: text(t, "ticket", 2000), At: now, AcknowledgeBy: now, AckBy: &ack, AckAt: now, Note: text(t, "glass note", 2000)}
		}
		if rapid.Bool().Draw(t, "closed") {
			r.Closed = &approvals.Closing{By: who("closer"), Reason: text(t, "closing", 2000), At: now}
		}
		if rapid.Bool().Draw(t, "outcome") {
			r.Outcome = &approvals.Outcome{QueryID: text(t, "query", 300), Error: text(t, "error", 300), Ref: text(t, "ref", 300), Undo: text(t, "undo now", 4000)}
			r.SafetyCopy, r.CopyUntil = text(t, "copy", 1000), now
		}
		i++
		ref, err := w.it.Tell(w.t.Context(), approvals.Notice{Kind: approvals.Asked, Request: r})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.it.Tell(w.t.Context(), approvals.Notice{Kind: approvals.Changed, Request: r, Ref: ref}); err != nil {
			t.Fatal(err)
		}
		at := parsePlaces(ref)[0]
		for _, m := range w.slack.Messages(at.channel) {
			if _, ok := m.Button("approve"); m.TS == at.ts && ok && !strings.Contains(m.Render(), "```\n"+statement+"\n```") {
				t.Fatalf("it can be approved, and is not shown whole:\n%s", m.Render())
			}
		}
		w.slack.Delete(at.channel, at.ts)
	})
}
