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
	agent = policy.Identity{Issuer: "idp", Subject: "agent", Email: "agent@example.com"}
	human = policy.Identity{Issuer: "idp", Subject: "human", Email: "human@example.com"}
	need  = policy.Approval{Groups: []string{"owners"}, Quorum: 1, DecideWithin: time.Hour, RunWithin: 10 * time.Minute}
)

func owner(name string) Voter {
	return Voter{policy.Identity{Issuer: "idp", Subject: name, Email: name + "@example.com"}, []string{"staff", "owners"}}
}

var binding = Binding{Statement: "DROP TABLE T", Requester: agent, Behind: &human, Policy: "p1"}

func (w *world) ask(t *testing.T, need policy.Approval) Request {
	t.Helper()
	r, err := w.Create(t.Context(), binding, "drop table t", "because", "claude 1", need)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) claim(id string) (Claim, audit.Receipt, error) {
	return w.Claim(context.Background(), id, binding.Digest(), audit.Event{Runs: binding.Statement})
}

func TestOneClaim(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	if _, _, err := w.claim(r.ID); !errors.Is(err, ErrNotClaimable) {
		t.Fatalf("claiming what nobody approved: %v", err)
	}
	if _, err := w.Vote(t.Context(), r.ID, owner("bob"), true, ""); err != nil {
		t.Fatal(err)
	}
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
	for _, c := range []struct {
		name  string
		voter Voter
		why   string
		want  error
	}{
		{"the requester", Voter{agent, []string{"owners"}}, "x", ErrOwnRequest},
		{"the human behind", Voter{human, []string{"owners"}}, "x", ErrOwnRequest},
		{"the requester's address under another subject", Voter{policy.Identity{Issuer: "other", Subject: "z", Email: "AGENT@example.com"}, []string{"owners"}}, "x", ErrOwnRequest},
		{"nobody", Voter{policy.Identity{}, []string{"owners"}}, "x", ErrOwnRequest},
		{"a stranger", Voter{policy.Identity{Issuer: "idp", Subject: "eve"}, []string{"staff"}}, "x", ErrNotApprover},
		{"without a reason", owner("bob"), " ", ErrNeedsReason},
		{"with a novel", owner("bob"), strings.Repeat("x", 2001), ErrLongReason},
	} {
		if _, err := w.Vote(t.Context(), r.ID, c.voter, true, c.why); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for range 2 { // a double click is one vote
		got, err := w.Vote(t.Context(), r.ID, owner("bob"), true, "fine")
		if err != nil || got.State != Pending || len(got.Votes) != 1 {
			t.Fatalf("%v %v", got, err)
		}
	}
	got, err := w.Vote(t.Context(), r.ID, owner("cyd"), true, "fine")
	if err != nil || got.State != Approved {
		t.Fatalf("%v %v", got.State, err)
	}
}

func TestBinding(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	if _, err := w.Vote(t.Context(), r.ID, owner("bob"), true, ""); err != nil {
		t.Fatal(err)
	}
	other := binding
	other.Policy = "p2"
	if _, _, err := w.Claim(t.Context(), r.ID, other.Digest(), audit.Event{Runs: binding.Statement}); !errors.Is(err, ErrOtherBinding) {
		t.Errorf("another policy: %v", err)
	}
	if _, _, err := w.Claim(t.Context(), r.ID, binding.Digest(), audit.Event{Runs: "DROP TABLE U"}); !errors.Is(err, ErrOtherBinding) {
		t.Errorf("another statement: %v", err)
	}
}

func TestCrash(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	if _, err := w.Vote(t.Context(), r.ID, owner("bob"), true, ""); err != nil {
		t.Fatal(err)
	}
	claim, _, err := w.claim(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.log.Close()
	w.open(t)
	if got, err := w.Get(t.Context(), r.ID); err != nil || got.State != Indeterminate {
		t.Fatalf("after a crash: %v %v", got.State, err)
	}
	if _, _, err := w.claim(r.ID); !errors.Is(err, ErrNotClaimable) {
		t.Fatalf("claiming again: %v", err)
	}
	if err := w.Finish(t.Context(), claim, Done); err == nil {
		t.Fatal("the dead gateway's claim still finishes the request")
	}
}

func TestWait(t *testing.T) {
	w := newWorld(t)
	r := w.ask(t, need)
	done := make(chan error, 1)
	go func() { done <- w.Wait(t.Context(), r.ID, Pending) }()
	time.Sleep(10 * time.Millisecond)
	if _, err := w.Vote(t.Context(), r.ID, owner("bob"), false, "no"); err != nil {
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

// TestInterleavings drives the real store through every order of what two
// gateways, two approvers, somebody who denies, somebody who revokes and the
// clock can do in four steps: nothing runs twice, and nothing after a veto,
// a revocation or an expiry.
func TestInterleavings(t *testing.T) {
	w := newWorld(t)
	const steps = 4
	type run struct {
		id                       string
		approved, vetoed, claims int
		claimed                  *Claim
	}
	ctx := context.Background()
	actions := []func(*run){
		func(r *run) {
			if got, err := w.Vote(ctx, r.id, owner("bob"), true, ""); err == nil && got.State == Approved {
				r.approved++
			}
		},
		func(r *run) {
			if got, err := w.Vote(ctx, r.id, owner("cyd"), true, ""); err == nil && got.State == Approved {
				r.approved++
			}
		},
		func(r *run) {
			if got, err := w.Vote(ctx, r.id, owner("dan"), false, ""); err == nil && got.State == Denied {
				r.vetoed++
			}
		},
		func(r *run) {
			if w.Revoke(ctx, r.id) == nil {
				r.vetoed++
			}
		},
		func(r *run) {
			if c, _, err := w.claim(r.id); err == nil {
				r.claims++
				r.claimed = &c
			}
		},
		func(r *run) {
			if r.claimed != nil {
				_ = w.Finish(ctx, *r.claimed, Done)
			}
		},
		func(*run) { w.now = w.now.Add(2 * time.Hour) },
	}
	histories := 0
	var walk func(history []int)
	walk = func(history []int) {
		if len(history) == steps {
			histories++
			r := &run{id: w.ask(t, need).ID}
			expired := false
			for _, a := range history {
				claims, vetoed, approved := r.claims, r.vetoed, r.approved
				actions[a](r)
				if a == len(actions)-1 && claims == 0 {
					expired = true
				}
				if r.claims > claims && (claims > 0 || vetoed > 0 || approved == 0 || expired) {
					t.Fatalf("history %v: claimed after claims=%d vetoes=%d approvals=%d expired=%v", history, claims, vetoed, approved, expired)
				}
			}
			return
		}
		for a := range actions {
			walk(append(history[:len(history):len(history)], a))
		}
	}
	walk(nil)
	t.Logf("%d histories", histories)
	w.log.Close()
	reader, err := audit.OpenReader(w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if report, err := reader.Verify(ctx, nil); err != nil || !report.OK() {
		t.Fatalf("%+v %v", report, err)
	}
}
