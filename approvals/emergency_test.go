package approvals

import (
	"errors"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

func emergency() policy.Approval {
	a := need
	a.Quorum = 2
	a.BreakGlass = &policy.BreakGlass{Groups: []string{"oncall"}, AcknowledgeWithin: 24 * time.Hour}
	return a
}

func oncall(name string) Voter {
	v := owner(name)
	v.Groups = []string{"oncall"}
	return v
}

func TestBreakGlass(t *testing.T) {
	w := newWorld(t)
	plain, r := w.ask(t, need), w.ask(t, emergency())
	click := oncall("otto")
	click.Via = ViaSlack
	for _, c := range []struct {
		name           string
		id, short      string
		voter          Voter
		reason, ticket string
		want           error
	}{
		{"where no rule has it", plain.ID, short, oncall("otto"), "down", "INC-1", ErrNoGlass},
		{"another statement", r.ID, "x", oncall("otto"), "down", "INC-1", ErrOtherBinding},
		{"an approver who is not on call", r.ID, short, owner("bob"), "down", "INC-1", ErrNotApprover},
		{"the requester", r.ID, short, Voter{agent.Identity(), []string{"oncall"}, ViaConsole}, "down", "INC-1", ErrOwnRequest},
		{"the person behind", r.ID, short, Voter{human, []string{"oncall"}, ViaConsole}, "down", "INC-1", ErrOwnRequest},
		{"without a reason", r.ID, short, oncall("otto"), " ", "INC-1", ErrNeedsReason},
		{"without a ticket", r.ID, short, oncall("otto"), "down", "", ErrNeedsTicket},
		{"by a click", r.ID, short, click, "down", "INC-1", ErrNeedsSignIn},
	} {
		if _, err := w.BreakGlass(t.Context(), c.id, c.short, c.voter, c.reason, c.ticket); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for range 2 { // a double click
		got, err := w.BreakGlass(t.Context(), r.ID, short, oncall("otto"), "the disk is full", "INC-1")
		if err != nil || got.State != Approved || got.RunBy.Sub(w.now) != 5*time.Minute {
			t.Fatalf("%+v %v", got, err)
		}
	}
	claim, _, err := w.claim(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(t.Context(), claim, Done, Outcome{}); err != nil {
		t.Fatal(err)
	}
	open := func() bool {
		list, err := w.List(t.Context(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.ID == r.ID {
				return true
			}
		}
		return false
	}
	if !open() {
		t.Error("it has run and nobody has acknowledged it, and it is not shown as open")
	}
	for name, v := range map[string]Voter{"who broke it": oncall("otto"), "the requester": {agent.Identity(), []string{"owners"}, ViaConsole}, "a stranger": {owner("eve").Identity, nil, ViaConsole}} {
		if _, err := w.Acknowledge(t.Context(), r.ID, v, ""); err == nil {
			t.Errorf("%s acknowledged it", name)
		}
	}
	got, err := w.Acknowledge(t.Context(), r.ID, owner("bob"), "seen")
	if err != nil || got.BreakGlass.AckBy == nil || got.BreakGlass.AckBy.Subject != "bob" || got.State != Done || open() {
		t.Fatalf("%+v %v, open %v", got.BreakGlass, err, open())
	}
	if _, err := w.Acknowledge(t.Context(), plain.ID, owner("bob"), ""); !errors.Is(err, ErrNotOpen) {
		t.Errorf("nothing to acknowledge: %v", err)
	}
	kinds := map[audit.Kind]int{}
	reader, err := audit.OpenReader(w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for e, err := range reader.Entries(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[e.Event.Kind]++
		if e.Event.Kind == audit.KindGlassBroken && (e.Event.Ticket != "INC-1" || e.Event.Via != "console" || e.Texts["reason"] != "the disk is full") {
			t.Errorf("%+v %v", e.Event, e.Texts)
		}
	}
	if kinds[audit.KindGlassBroken] != 1 || kinds[audit.KindGlassAcknowledged] != 1 {
		t.Errorf("%v", kinds)
	}
}

// TestVeto: a no counts however it comes and as long as nothing runs.
func TestVeto(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	w.approve(t, r.ID)
	click := owner("cyd")
	click.Via = ViaSlack
	got, err := w.Vote(t.Context(), r.ID, short, click, false, "stop")
	if err != nil || got.State != Revoked || got.Closed.By.Subject != "cyd" {
		t.Fatalf("a denial after the approval: %+v %v", got, err)
	}
	if _, _, err := w.claim(r.ID); !errors.Is(err, ErrNotClaimable) {
		t.Errorf("%v", err)
	}
	r = w.ask(t, need)
	w.approve(t, r.ID)
	if _, err := w.Cancel(t.Context(), r.ID, human); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else took it back: %v", err)
	}
	if got, err := w.Cancel(t.Context(), r.ID, agent.Identity()); err != nil || got.State != Revoked {
		t.Errorf("%v %v", got.State, err)
	}
	r = w.ask(t, need)
	w.approve(t, r.ID)
	if _, _, err := w.claim(r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(t.Context(), r.ID, owner("bob"), ""); !errors.Is(err, ErrNotClaimable) {
		t.Errorf("revoked while it runs: %v", err)
	}
}

// TestLease: a holder that has slept too long sends nothing, and what became of
// a claim that nobody holds is for the history to say, or for a person.
func TestLease(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	w.approve(t, r.ID)
	claim, _, err := w.claim(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Holds(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Conclude(t.Context(), r.ID, Indeterminate, Outcome{}); !errors.Is(err, ErrNotOpen) {
		t.Errorf("given up while somebody holds it: %v", err)
	}
	w.now = w.now.Add(time.Minute)
	if err := w.Holds(t.Context(), claim); !errors.Is(err, ErrNotHeld) {
		t.Errorf("the lease is over: %v", err)
	}
	if got, err := w.Conclude(t.Context(), r.ID, Indeterminate, Outcome{}); err != nil || got.State != Indeterminate {
		t.Fatalf("%v %v", got.State, err)
	}
	if _, err := w.Finish(t.Context(), claim, Done, Outcome{}); !errors.Is(err, ErrNotHeld) {
		t.Errorf("the old holder still ends it: %v", err)
	}
	for name, c := range map[string]struct {
		v      Voter
		to     State
		reason string
	}{"the requester": {Voter{agent.Identity(), []string{"owners"}, ViaConsole}, Done, "x"}, "without a reason": {owner("bob"), Done, ""}, "to pending": {owner("bob"), Pending, "x"}} {
		if _, err := w.Settle(t.Context(), r.ID, c.v, c.to, c.reason); err == nil {
			t.Errorf("%s settled it", name)
		}
	}
	if got, err := w.Settle(t.Context(), r.ID, owner("bob"), Failed, "the history has nothing"); err != nil || got.State != Failed {
		t.Errorf("%v %v", got.State, err)
	}
}

// TestHidden: what hides something is approved only where it is shown.
func TestHidden(t *testing.T) {
	for text, hidden := range map[string]bool{
		"DROP TABLE T": false, "UPDATE T SET A = 'Grüße, 世界 👍 é'": false, "SELECT 'a\\\\u202e'": false,
		"DROP TABLE T\u202e": true, "a\u200bb": true, "a\u2066b": true, "a\x1b[2J": true, "a\nb": true, "a\u00a0b": true, "a\u3000b": true,
		"a\ufeffb": true, "a\u2028b": true, "a\U000e0041b": true, "a\ufe0fb": true, "a\u3164b": true, "a\u115fb": true, "a\u2800b": true, "a\xffb": true, "a\ue000b": true, "a\u034fb": true, "a\u061cb": true,
	} {
		if got := Hidden(text) != nil; got != hidden {
			t.Errorf("%q hides something: %v, want %v", text, got, hidden)
		}
		if Hidden(Escape(text)) != nil || !hidden && Escape(text) != text {
			t.Errorf("%q is escaped as %q", text, Escape(text))
		}
	}
	w := newWorld(t)
	b := binding
	b.Statement = "DROP TABLE \"T\u202e\""
	bySlack := need
	bySlack.Confirm = policy.BySlack
	r, err := w.Create(t.Context(), Asking{Binding: b, Caller: agent, Sent: "x", Reason: "a\u202eb", Need: bySlack})
	if err != nil {
		t.Fatal(err)
	}
	v := r.View()
	if v.Readable == nil || !strings.Contains(v.Readable.Error(), "U+202E") || v.Purpose != `a\u{202e}b` || v.Statement != b.Statement {
		t.Errorf("%+v", v)
	}
	for _, via := range []Via{ViaSlack, ViaHost} {
		voter := owner("bob")
		voter.Via = via
		if _, err := w.Vote(t.Context(), r.ID, v.Short, voter, true, ""); !errors.Is(err, ErrNotReadable) {
			t.Errorf("approved by %s: %v", via, err)
		}
	}
	if got, err := w.Vote(t.Context(), r.ID, v.Short, owner("bob"), true, ""); err != nil || got.State != Approved {
		t.Errorf("approved in the console: %v %v", got.State, err)
	}
}

func TestLinks(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := owner("bob")
	if _, err := w.Linked(ctx, "slack", "T", "U"); !errors.Is(err, ErrNotLinked) {
		t.Errorf("%v", err)
	}
	ticket, err := w.Ticket(ctx, "slack", "T", "U")
	if err != nil {
		t.Fatal(err)
	}
	late, err := w.Ticket(ctx, "slack", "T", "V")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Redeem(ctx, ticket+"x", bob.Identity, bob.Groups); !errors.Is(err, ErrNoLinking) {
		t.Errorf("another ticket: %v", err)
	}
	if _, err := w.Redeem(ctx, ticket, policy.Identity{}, nil); err == nil {
		t.Error("nobody has linked an account")
	}
	l, err := w.Redeem(ctx, ticket, bob.Identity, bob.Groups)
	if err != nil || l.User != "U" || l.Team != "T" || l.Provider != "slack" {
		t.Fatalf("%+v %v", l, err)
	}
	if _, err := w.Redeem(ctx, ticket, owner("eve").Identity, nil); !errors.Is(err, ErrNoLinking) {
		t.Errorf("the ticket a second time: %v", err)
	}
	w.now = w.now.Add(15 * time.Minute)
	if _, err := w.Redeem(ctx, late, bob.Identity, nil); !errors.Is(err, ErrNoLinking) {
		t.Errorf("a ticket that is too old: %v", err)
	}
	got, err := w.Linked(ctx, "slack", "T", "U")
	if err != nil || got.Identity != bob.Identity || !got.At.Equal(w.now.Add(-15*time.Minute)) {
		t.Errorf("%+v %v", got, err)
	}
	if err := w.Unlink(ctx, "slack", "T", "U"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Linked(ctx, "slack", "T", "U"); !errors.Is(err, ErrNotLinked) {
		t.Errorf("%v", err)
	}
}
