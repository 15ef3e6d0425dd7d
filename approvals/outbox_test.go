package approvals

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"querywarden/audit"
)

// A listener is a messenger that keeps what it is told.
type listener struct {
	mu    sync.Mutex
	name  string
	told  []Notice
	fails func(Notice) error
	crash func(Notice) // after it was told, before that is noted
}

func (l *listener) Name() string { return l.name }

// count is how often it was told of something.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told)
}

func (l *listener) Tell(_ context.Context, n Notice) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		if err := l.fails(n); err != nil {
			return "", err
		}
	}
	l.told = append(l.told, n)
	if l.crash != nil {
		l.crash(n)
	}
	return "ref of " + n.Request.ID, nil
}

func (l *listener) kinds(id string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, n := range l.told {
		if n.Request.ID == id {
			out = append(out, fmt.Sprint(n.Kind, " ", n.Request.State))
		}
	}
	return out
}

// clockWorld is a world whose clock is the test's bubble.
func clockWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: t.TempDir() + "/audit.db"}
	var err error
	if w.log, err = audit.Open(w.path, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	if w.Store, err = Open(t.Context(), w.log, time.Now); err != nil {
		t.Fatal(err)
	}
	return w
}

// deliver delivers until the returned function is called.
func (w *world) deliver(t *testing.T, ms ...Messenger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Deliver(ctx, slog.New(slog.DiscardHandler), ms...) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

// settle lets goroutines in the bubble come to rest, those that wait for the
// disk included: the bubble cannot see them.
func settle() {
	time.Sleep(time.Microsecond)
	synctest.Wait()
}

func TestReminders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clockWorld(t)
		defer w.log.Close()
		l := &listener{name: "slack"}
		stop := w.deliver(t, l)
		settle()
		undecided, decided := w.ask(t, need), w.ask(t, need)
		settle()
		if _, err := w.Vote(t.Context(), decided.ID, short, owner("bob"), false, "no"); err != nil {
			t.Fatal(err)
		}
		settle()
		same(t, "at once", l.kinds(undecided.ID), "asked pending")
		same(t, "decided", l.kinds(decided.ID), "asked pending", "voted pending", "changed denied")
		time.Sleep(30*time.Minute - time.Second)
		same(t, "before half of the time", l.kinds(undecided.ID), "asked pending")
		time.Sleep(2 * time.Second)
		same(t, "at half of the time", l.kinds(undecided.ID), "asked pending", "reminder pending")
		time.Sleep(15 * time.Minute)
		same(t, "at three quarters", l.kinds(undecided.ID), "asked pending", "reminder pending", "escalated pending")
		time.Sleep(15 * time.Minute)
		if next, err := w.Sweep(t.Context()); err != nil || !next.IsZero() {
			t.Errorf("%v %v", next, err)
		}
		settle()
		same(t, "at the end", l.kinds(undecided.ID), "asked pending", "reminder pending", "escalated pending", "changed expired")
		same(t, "decided, later", l.kinds(decided.ID), "asked pending", "voted pending", "changed denied")
		l.mu.Lock()
		for _, n := range l.told[1:] {
			if n.Kind != Asked && n.Ref != "ref of "+n.Request.ID {
				t.Errorf("%s comes with the reference %q", n.Kind, n.Ref)
			}
		}
		l.mu.Unlock()
		stop()
	})
}

// TestTwoClocks: who does not decide in time, and who does not run in time, both
// lose, and a vote that comes after is none.
func TestTwoClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clockWorld(t)
		defer w.log.Close()
		late, unrun := w.ask(t, need), w.ask(t, need)
		time.Sleep(time.Hour - time.Nanosecond)
		w.approve(t, unrun.ID)
		time.Sleep(time.Nanosecond)
		if _, err := w.Vote(t.Context(), late.ID, short, owner("bob"), true, ""); !errors.Is(err, ErrNotPending) {
			t.Errorf("a vote that is too late: %v", err)
		}
		time.Sleep(10*time.Minute - 2*time.Nanosecond)
		if r, err := w.Get(t.Context(), unrun.ID); err != nil || r.State != Approved {
			t.Errorf("%s %v", r.State, err)
		}
		waited := make(chan error, 1)
		go func() { waited <- w.Wait(t.Context(), unrun.ID, Approved) }()
		time.Sleep(time.Nanosecond)
		if _, _, err := w.claim(unrun.ID); !errors.Is(err, ErrNotClaimable) {
			t.Errorf("a claim that is too late: %v", err)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
		for _, id := range []string{late.ID, unrun.ID} {
			if r, err := w.Get(t.Context(), id); err != nil || r.State != Expired {
				t.Errorf("%s %v", r.State, err)
			}
		}
	})
}

// TestDeliverAgain: what a messenger could not take comes again, in order, and
// holds up nothing but its own request.
func TestDeliverAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clockWorld(t)
		defer w.log.Close()
		var down atomic.Bool
		down.Store(true)
		l := &listener{name: "slack"}
		var stuck, other Request
		var stuckID atomic.Value
		l.fails = func(n Notice) error {
			if down.Load() && n.Request.ID == stuckID.Load() {
				return errors.New("it is down")
			}
			return nil
		}
		stop := w.deliver(t, l)
		settle()
		stuck = w.ask(t, need)
		stuckID.Store(stuck.ID)
		other = w.ask(t, need)
		w.approve(t, stuck.ID)
		settle()
		same(t, "while it is down", l.kinds(stuck.ID))
		same(t, "another request", l.kinds(other.ID), "asked pending")
		time.Sleep(time.Minute)
		down.Store(false)
		time.Sleep(10 * time.Minute)
		same(t, "when it is back", l.kinds(stuck.ID), "asked pending", "voted pending", "changed approved")
		stop()
	})
}

func TestDeliverErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := clockWorld(t)
		defer w.log.Close()
		began := time.Now()
		var tries []time.Duration
		l := &listener{name: "slack", fails: func(n Notice) error {
			if n.Kind != Asked {
				return nil
			}
			tries = append(tries, time.Since(began).Round(time.Second))
			switch len(tries) {
			case 1:
				return &RetryAfter{errors.New("slowly"), 17 * time.Second}
			case 2:
				return fmt.Errorf("telling: %w", Permanent(errors.New("no such channel")))
			}
			return nil
		}}
		stop := w.deliver(t, l)
		settle()
		r := w.ask(t, need)
		time.Sleep(time.Minute)
		w.approve(t, r.ID)
		settle()
		if !slices.Equal(tries, []time.Duration{0, 17 * time.Second}) {
			t.Errorf("told at %v", tries)
		}
		same(t, "after the one that nobody can be told", l.kinds(r.ID), "voted pending", "changed approved")
		stop()
	})
}

// TestDeliverCrash: a gateway that dies between telling and noting tells again
// after the next start, with the same number; nothing is left out.
func TestDeliverCrash(t *testing.T) {
	w := newWorld(t)
	l := &listener{name: "slack"}
	died := make(chan struct{})
	l.crash = func(n Notice) {
		if n.Kind == Voted {
			w.log.Close() // nothing can be noted any more
			close(died)
		}
	}
	if err := w.enlist(t.Context(), []Messenger{l}); err != nil { // as a run before this one has
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Deliver(ctx, slog.New(slog.DiscardHandler), l) }()
	r := w.ask(t, need)
	w.approve(t, r.ID)
	<-died
	cancel()
	<-done
	w.open(t)
	l.crash = nil
	stop := w.deliver(t, l)
	for len(l.kinds(r.ID)) < 4 {
		time.Sleep(time.Millisecond)
	}
	stop()
	same(t, "over a crash", l.kinds(r.ID), "asked pending", "voted pending", "voted pending", "changed approved")
	if l.told[1].Seq != l.told[2].Seq {
		t.Errorf("the same notice came as %d and %d", l.told[1].Seq, l.told[2].Seq)
	}
}

// TestEnlist: a new messenger hears of what waits, one that is configured no
// more leaves nothing behind.
func TestEnlist(t *testing.T) {
	w := newWorld(t)
	before := w.ask(t, need)
	a, b := &listener{name: "a"}, &listener{name: "b"}
	stop := w.deliver(t, a)
	for len(a.kinds(before.ID)) < 1 {
		time.Sleep(time.Millisecond)
	}
	stop()
	unheard := w.ask(t, need) // while nobody delivers
	stop = w.deliver(t, a, b)
	for len(a.kinds(unheard.ID)) < 1 || len(b.kinds(unheard.ID)) < 1 || len(b.kinds(before.ID)) < 1 {
		time.Sleep(time.Millisecond)
	}
	stop()
	stop = w.deliver(t, b)
	w.ask(t, need)
	for b.count() < 3 {
		time.Sleep(time.Millisecond)
	}
	stop()
	if len(a.told) != 2 {
		t.Errorf("a messenger that is configured no more was told %d times", len(a.told))
	}
	err := w.log.Update(t.Context(), func(tx *audit.Tx) error {
		var rows int
		if err := tx.QueryRow(`SELECT count(*) FROM approval_outbox WHERE messenger = 'a'`).Scan(&rows); err != nil {
			return err
		}
		if rows != 0 {
			t.Errorf("%d rows are left for nobody", rows)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
