package approvals

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
)

// The interleaving test drives the real store, in its real database, through
// every order of what these can do with one request that two people have to
// approve:
//
//   - two gateways: claim, look once more, send, note the end; and each of them,
//     at any time, looks for what has expired and for what was left behind
//   - two approvers who click twice each, one who denies, one who revokes
//   - the clock: three times ten minutes; the request is decided within twenty,
//     run within ten, and a claim holds for ten
//   - two crashes of either gateway, at any place
//
// It is breadth-first over states: a state is the request's row, what the
// gateways hold in memory, what the warehouse has run, and what everybody may
// still do. A state is put back by writing its row; the log only grows. After
// each step it is checked that nothing ran twice, nothing without two people's
// yes, nothing after a veto or an expiry that the store had accepted, and nothing
// without its record before it.
//
// The same walk over three weaker designs has to find what is wrong with them.

// A replica is what a gateway has in memory.
type replica struct {
	phase phase
	claim Claim
	tag   string // of the receipt
	entry int64
}

type phase uint8

const (
	idle    phase = iota
	reading       // weaker design: has seen that it is approved
	claimed       // may run it
	checked       // has looked once more
	sent          // the warehouse has run it
)

// A moment is a state of the walk.
type moment struct {
	state   string
	fence   int64
	request string

	ticks    int
	replicas [2]replica
	clicks   [2]int
	denies   int
	revokes  int
	crashes  int
	ran      []string // tags, in the order in which the warehouse ran them
	over     bool     // the store has accepted a veto or an expiry
	path     []string
}

// A design is what differs between the store and its weaker relatives. Each
// function takes one step of a gateway and reports whether it did anything.
type design struct {
	name string
	// claim goes on from idle or reading; recordLate says that the record is
	// made only afterwards.
	claim func(*walk, *moment, int) bool
	// recover deals with a request that is executing and in nobody's hands.
	recover func(*walk, *moment, int) bool
	// finish notes the end.
	finish func(*walk, *moment, int) bool
	// flaw is what the walk has to find; empty for nothing.
	flaw string
}

type walk struct {
	*world
	t      *testing.T
	design design
	id     string
	wrong  string
	start  time.Time
}

const tick = 10 * time.Minute

// newWalk makes one request in a database in memory, if the machine has a place
// for that.
func newWalk(t *testing.T, d design) (*walk, moment) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "interleaving")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &walk{world: &world{path: filepath.Join(dir, "audit.db"), now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}, t: t, design: d}
	w.open(t)
	w.start = w.now
	two := need
	two.Quorum, two.DecideWithin, two.RunWithin = 2, 2*tick, tick
	w.id = w.ask(t, two).ID
	m := moment{clicks: [2]int{2, 2}, denies: 1, revokes: 1, crashes: 2}
	switch {
	case d.flaw != "":
		// Nobody who vetoes is needed to see what is wrong with the others.
		m = moment{clicks: [2]int{1, 1}, crashes: 1}
	case underRace:
		m = moment{clicks: [2]int{1, 1}, denies: 1, revokes: 1, crashes: 1}
	}
	w.keep(&m)
	return w, m
}

// keep reads the request's row into a moment.
func (w *walk) keep(m *moment) {
	w.t.Helper()
	err := w.log.Update(w.t.Context(), func(tx *audit.Tx) error {
		return tx.QueryRow(`SELECT state, fence, request FROM approvals WHERE id = ?`, w.id).Scan(&m.state, &m.fence, &m.request)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	switch State(m.state) {
	case Denied, Expired, Cancelled, Revoked:
		m.over = true
	default:
	}
}

// put makes a moment the present.
func (w *walk) put(m *moment) {
	w.t.Helper()
	w.now = w.start.Add(time.Duration(m.ticks) * tick)
	err := w.log.Update(w.t.Context(), func(tx *audit.Tx) error {
		if _, err := tx.Exec(`UPDATE approvals SET state = ?, fence = ?, request = ? WHERE id = ?`, m.state, m.fence, m.request, w.id); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM approval_outbox`)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// row is the request as it stands, without looking at its clocks.
func (w *walk) row() *Request {
	var r *Request
	err := w.log.Update(w.t.Context(), func(tx *audit.Tx) error {
		found, err := load(tx, `WHERE id = ?`, w.id)
		if err == nil {
			r = found[0]
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// key tells states apart. Indexes and hashes of the log, which grows, do not
// make one.
func (w *walk) key(m *moment) string {
	r := &Request{}
	if err := json.Unmarshal([]byte(m.request), r); err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprint(&b, m.state, m.ticks, m.clicks, m.denies, m.revokes, m.crashes, len(m.ran), m.over, slices.Contains(m.ran, r.Tag), r.Tag != "")
	for _, v := range r.Votes {
		fmt.Fprint(&b, v.Voter.Subject, v.Approve)
	}
	fmt.Fprint(&b, r.RunBy.Sub(w.start), r.Lease.Sub(w.start))
	for _, p := range m.replicas {
		// A claim that is over differs from one that holds, not from another.
		fmt.Fprint(&b, p.phase, p.phase != idle && p.claim.fence == m.fence, p.tag == r.Tag, slices.Contains(m.ran, p.tag))
	}
	return b.String()
}

// run is the warehouse: it runs what it is sent, and here everything is checked.
func (w *walk) run(m *moment, tag string, entry int64) {
	r := w.row()
	var kind, approval string
	recorded := tag != ""
	err := w.log.Update(w.t.Context(), func(tx *audit.Tx) error {
		err := tx.QueryRow(`SELECT kind, approval FROM entries WHERE idx = ?`, entry).Scan(&kind, &approval)
		if isNoRows(err) {
			return nil
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	m.ran = append(m.ran, tag)
	switch {
	case len(m.ran) > 1:
		w.wrong = "it ran twice"
	case !recorded || kind != string(audit.KindExecution) || approval != w.id:
		w.wrong = "it ran without a record before it"
	case m.over:
		w.wrong = "it ran after a veto or an expiry"
	case r.yes() < 2:
		w.wrong = "it ran without two people's yes"
	case !r.Claimed.Before(r.RunBy):
		w.wrong = "it was claimed after its time"
	}
}

// A step is something that somebody may do. It reports whether it was open to
// them.
type step struct {
	name string
	do   func(*walk, *moment) bool
}

func steps() []step {
	vote := func(who string, i int) func(*walk, *moment) bool {
		return func(w *walk, m *moment) bool {
			if m.clicks[i] == 0 {
				return false
			}
			m.clicks[i]--
			_, _ = w.Vote(w.t.Context(), w.id, short, owner(who), true, "") // refused or not, the click is spent
			return true
		}
	}
	list := []step{
		{"bob-approves", vote("bob", 0)}, {"cyd-approves", vote("cyd", 1)},
		{"dan-denies", func(w *walk, m *moment) bool {
			if m.denies == 0 {
				return false
			}
			m.denies--
			_, err := w.Vote(w.t.Context(), w.id, short, owner("dan"), false, "")
			m.over = m.over || err == nil
			return true
		}},
		{"eve-revokes", func(w *walk, m *moment) bool {
			if m.revokes == 0 {
				return false
			}
			m.revokes--
			_, err := w.Revoke(w.t.Context(), w.id, owner("eve"), "")
			m.over = m.over || err == nil
			return true
		}},
		{"clock", func(w *walk, m *moment) bool {
			if m.ticks == 3 {
				return false
			}
			m.ticks++
			w.now = w.now.Add(tick)
			return true
		}},
	}
	for i := range 2 {
		name := func(what string) string { return fmt.Sprintf("gateway%d-%s", i, what) }
		list = append(list,
			step{name("claims"), func(w *walk, m *moment) bool { return m.replicas[i].phase < claimed && w.design.claim(w, m, i) }},
			step{name("checks"), func(w *walk, m *moment) bool {
				p := &m.replicas[i]
				if p.phase != claimed {
					return false
				}
				if err := w.Holds(w.t.Context(), p.claim); err != nil {
					*p = replica{} // it gives up
				} else {
					p.phase = checked
				}
				return true
			}},
			step{name("sends"), func(w *walk, m *moment) bool {
				p := &m.replicas[i]
				if p.phase != checked {
					return false
				}
				w.run(m, p.tag, p.entry)
				p.phase = sent
				return true
			}},
			step{name("finishes"), func(w *walk, m *moment) bool { return m.replicas[i].phase == sent && w.design.finish(w, m, i) }},
			step{name("crashes"), func(_ *walk, m *moment) bool {
				if m.crashes == 0 {
					return false
				}
				m.crashes--
				m.replicas[i] = replica{}
				return true
			}},
			step{name("looks"), func(w *walk, m *moment) bool {
				if _, err := w.Sweep(w.t.Context()); err != nil {
					w.t.Fatal(err)
				}
				if s := w.row().State; s == Executing || s == Indeterminate {
					w.design.recover(w, m, i)
				}
				return true
			}})
	}
	return list
}

// strong is the design of this package.
func strong() design {
	return design{
		name: "compare-and-swap with its record, and reconciling",
		claim: func(w *walk, m *moment, i int) bool {
			claim, receipt, err := w.Claim(w.t.Context(), w.id, binding.Digest(), tick, audit.Event{Runs: binding.Statement})
			if err != nil {
				return false
			}
			m.replicas[i] = replica{claimed, claim, receipt.Tag(), receipt.Index()}
			return true
		},
		recover: func(w *walk, m *moment, _ int) bool {
			to, r := Indeterminate, w.row()
			if slices.Contains(m.ran, r.Tag) {
				to = Done
			}
			if r.State == Indeterminate && to == Indeterminate {
				return false
			}
			_, err := w.Conclude(w.t.Context(), w.id, to, Outcome{})
			if err != nil && !errors.Is(err, ErrNotOpen) {
				w.t.Fatal(err)
			}
			return err == nil
		},
		finish: func(w *walk, m *moment, i int) bool {
			_, err := w.Finish(w.t.Context(), m.replicas[i].claim, Done, Outcome{})
			if err != nil && !errors.Is(err, ErrNotHeld) {
				w.t.Fatal(err)
			}
			m.replicas[i] = replica{}
			return true
		},
	}
}

// force changes the request without comparing anything.
func (w *walk) force(to State, record bool) (Claim, audit.Receipt) {
	var claim Claim
	var receipt audit.Receipt
	err := w.log.Update(w.t.Context(), func(tx *audit.Tx) (err error) {
		if record {
			if receipt, err = tx.Append(audit.Event{Kind: audit.KindExecution, Runs: binding.Statement, Approval: w.id}); err != nil {
				return err
			}
		}
		found, err := load(tx, `WHERE id = ?`, w.id)
		if err != nil {
			return err
		}
		r := found[0]
		from := r.State
		r.State, r.Claimed, r.Lease, r.Tag = to, w.now, w.now.Add(tick), receipt.Tag()
		if err := w.save(tx, r, from); err != nil {
			return err
		}
		claim = Claim{w.id, r.fence}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return claim, receipt
}

// designs are the strong one and the three that the walk has to see through.
func designs() []design {
	noCompare := strong()
	noCompare.name, noCompare.flaw = "an update without a comparison", "it ran twice"
	noCompare.claim = func(w *walk, m *moment, i int) bool {
		p := &m.replicas[i]
		if p.phase == idle {
			if r := w.row(); r.State != Approved || w.late(r) {
				return false
			}
			p.phase = reading
			return true
		}
		claim, receipt := w.force(Executing, true)
		*p = replica{claimed, claim, receipt.Tag(), receipt.Index()}
		return true
	}
	late := strong()
	late.name, late.flaw = "the record after the run", "it ran without a record before it"
	late.claim = func(w *walk, m *moment, i int) bool {
		if r := w.row(); r.State != Approved || w.late(r) {
			return false
		}
		claim, _ := w.force(Executing, false)
		m.replicas[i] = replica{claimed, claim, "tag", -1}
		return true
	}
	again := strong()
	again.name, again.flaw = "recovery that runs it again", "it ran twice"
	again.recover = func(w *walk, m *moment, i int) bool {
		// The holder is gone if no gateway has it in hand: this gateway knows
		// that of itself, after its own crash.
		p := &m.replicas[i]
		if w.row().State != Executing || m.crashes == 1 || m.replicas[0].phase != idle || m.replicas[1].phase != idle {
			return false
		}
		claim, receipt := w.force(Executing, true)
		*p = replica{claimed, claim, receipt.Tag(), receipt.Index()}
		return true
	}
	return []design{strong(), noCompare, late, again}
}

func TestInterleavings(t *testing.T) {
	for _, d := range designs() {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			if d.flaw == "" && testing.Short() {
				t.Skip("walks through some ten thousand states")
			}
			w, first := newWalk(t, d)
			all := steps()
			seen := map[string]bool{w.key(&first): true}
			taken, runs, ends := 0, 0, map[string]bool{}
			for queue := []moment{first}; len(queue) > 0; queue = queue[1:] {
				now := queue[0]
				for _, s := range all {
					next := now
					next.ran = slices.Clone(now.ran)
					next.path = append(slices.Clip(now.path), s.name)
					w.put(&now)
					if !s.do(w, &next) {
						continue
					}
					taken++
					w.keep(&next)
					if w.wrong != "" {
						if d.flaw == "" {
							t.Fatalf("%s: %s", w.wrong, strings.Join(next.path, " "))
						}
						if w.wrong != d.flaw {
							w.wrong = "" // another of its flaws: not what is looked for
							continue
						}
						t.Logf("found after %d states: %s: %s", len(seen), w.wrong, strings.Join(next.path, " "))
						return
					}
					ends[next.state] = true
					if k := w.key(&next); !seen[k] {
						seen[k] = true
						queue = append(queue, next)
						if len(next.ran) > len(now.ran) {
							runs++
						}
					}
				}
			}
			if d.flaw != "" {
				t.Fatalf("%d states, and nothing found: the walk cannot see this flaw", len(seen))
			}
			t.Logf("%d states, %d steps, %d of them runs, 0 violations; ends reached: %d of %d states of a request", len(seen), taken, runs, len(ends), len(States()))
			for _, s := range States() {
				if s != Cancelled && s != Failed && !ends[string(s)] {
					t.Errorf("no history leads to %s: the walk misses something", s)
				}
			}
		})
	}
}
