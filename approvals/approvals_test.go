package approvals

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

type world struct {
	*Store
	log  *audit.Log
	path string
	now  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "audit.db"), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.open(t)
	return w
}

func (w *world) open(t *testing.T) {
	t.Helper()
	var err error
	if w.log, err = audit.Open(w.path, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	if w.Store, err = Open(t.Context(), w.log, func() time.Time { return w.now }); err != nil {
		t.Fatal(err)
	}
}

var (
	agent = policy.Caller{Issuer: "idp", Subject: "agent", Email: "agent@example.com", Groups: []string{"analysts"}, Kind: policy.Agent, Behind: &human}
	human = policy.Identity{Issuer: "idp", Subject: "human", Email: "human@example.com"}
	need  = policy.Approval{Groups: []string{"owners"}, Quorum: 1, DecideWithin: time.Hour, RunWithin: 10 * time.Minute}
)

func owner(name string) Voter {
	return Voter{policy.Identity{Issuer: "idp", Subject: name, Email: name + "@example.com"}, []string{"staff", "owners"}, ViaConsole}
}

var binding = Binding{Statement: "DROP TABLE T", Requester: agent.Identity(), Behind: &human, Policy: "p1"}

var short = Short(binding.Digest())

func (w *world) ask(t *testing.T, need policy.Approval) Request {
	t.Helper()
	r, err := w.Create(t.Context(), Asking{Binding: binding, Caller: agent, Sent: "drop table t", Reason: "because", Client: "claude 1", Need: need})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must lets bob approve.
func (w *world) approve(t *testing.T, id string) Request {
	t.Helper()
	r, err := w.Vote(t.Context(), id, short, owner("bob"), true, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) claim(id string) (Claim, audit.Receipt, error) {
	return w.Claim(context.Background(), id, binding.Digest(), time.Minute, audit.Event{Runs: binding.Statement})
}

func TestOneClaim(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	if _, _, err := w.claim(r.ID); !errors.Is(err, ErrNotClaimable) {
		t.Fatalf("claiming what nobody approved: %v", err)
	}
	w.approve(t, r.ID)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		wg.Go(func() {
			_, receipt, err := w.claim(r.ID)
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
				if err := receipt.Authorize("DROP TABLE T"); err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, ErrNotClaimable) || receipt.Authorize("DROP TABLE T") == nil {
				t.Errorf("a lost claim: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d claims won", won)
	}
}

func TestVoters(t *testing.T) {
	w := newWorld(t)
	double := need
	double.Quorum = 2
	double.NeedReason = true
	r := w.ask(t, double)
	owners := []string{"owners"}
	for _, c := range []struct {
		name  string
		voter Voter
		why   string
		want  error
	}{
		{"the requester", Voter{agent.Identity(), owners, ViaConsole}, "x", ErrOwnRequest},
		{"the human behind", Voter{human, owners, ViaConsole}, "x", ErrOwnRequest},
		{"the requester's address under another subject", Voter{policy.Identity{Issuer: "other", Subject: "z", Email: "AGENT@example.com"}, owners, ViaConsole}, "x", ErrOwnRequest},
		{"an approver whose address is now the requester's", Voter{policy.Identity{Issuer: "idp", Subject: "bob", Email: "agent@example.com"}, owners, ViaConsole}, "x", ErrOwnRequest},
		{"the human behind, with another address", Voter{policy.Identity{Issuer: "idp", Subject: "human", Email: "new@example.com"}, owners, ViaConsole}, "x", ErrOwnRequest},
		{"nobody", Voter{policy.Identity{}, owners, ViaConsole}, "x", ErrOwnRequest},
		{"a stranger", Voter{policy.Identity{Issuer: "idp", Subject: "eve"}, []string{"staff"}, ViaConsole}, "x", ErrNotApprover},
		{"by no known way", Voter{owner("bob").Identity, owners, ""}, "x", ErrNeedsSignIn},
		{"by a click where a sign-in is due", Voter{owner("bob").Identity, owners, ViaSlack}, "x", ErrNeedsSignIn},
		{"without a reason", owner("bob"), " ", ErrNeedsReason},
		{"with a novel", owner("bob"), strings.Repeat("x", 2001), ErrLongReason},
		{"with no text", owner("bob"), "\xff", ErrLongReason},
	} {
		if _, err := w.Vote(t.Context(), r.ID, short, c.voter, true, c.why); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := w.Vote(t.Context(), r.ID, "0000000000000000", owner("bob"), true, "x"); !errors.Is(err, ErrOtherBinding) {
		t.Errorf("a button of another statement: %v", err)
	}
	for range 2 { // a double click is one vote
		got, err := w.Vote(t.Context(), r.ID, short, owner("bob"), true, "fine")
		if err != nil || got.State != Pending || len(got.Votes) != 1 {
			t.Fatalf("%v %v", got, err)
		}
	}
	twin := Voter{policy.Identity{Issuer: "other", Subject: "bob2", Email: "BOB@example.com"}, owners, ViaConsole}
	if got, err := w.Vote(t.Context(), r.ID, short, twin, true, "fine"); err != nil || got.State != Pending {
		t.Fatalf("bob's other account: %v %v", got.State, err)
	}
	got, err := w.Vote(t.Context(), r.ID, short, owner("cyd"), true, "fine")
	if err != nil || got.State != Approved {
		t.Fatalf("%v %v", got.State, err)
	}
}

func TestBinding(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	w.approve(t, r.ID)
	other := binding
	other.Policy = "p2"
	if _, _, err := w.Claim(t.Context(), r.ID, other.Digest(), time.Minute, audit.Event{Runs: binding.Statement}); !errors.Is(err, ErrOtherBinding) {
		t.Errorf("another policy: %v", err)
	}
	if _, _, err := w.Claim(t.Context(), r.ID, binding.Digest(), time.Minute, audit.Event{Runs: "DROP TABLE U"}); !errors.Is(err, ErrOtherBinding) {
		t.Errorf("another statement: %v", err)
	}
}

func TestWait(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	done := make(chan error, 1)
	go func() { done <- w.Wait(t.Context(), r.ID, Pending) }()
	time.Sleep(10 * time.Millisecond)
	if _, err := w.Vote(t.Context(), r.ID, short, owner("bob"), false, "no"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the waiter was not told")
	}
}
