package approvals

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

// schema is what the store keeps beside the log. Requests are JSON; what is
// looked for has a column or an index of its own.
const schema = `
CREATE TABLE IF NOT EXISTS approvals (
	id TEXT PRIMARY KEY, state TEXT NOT NULL, fence INTEGER NOT NULL, request TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS approvals_state ON approvals (state);
CREATE INDEX IF NOT EXISTS approvals_glass ON approvals (id) WHERE json_extract(request, '$.break_glass') IS NOT NULL;
CREATE TABLE IF NOT EXISTS approval_messengers (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approval_outbox (
	seq INTEGER PRIMARY KEY AUTOINCREMENT, approval TEXT NOT NULL, messenger TEXT NOT NULL, kind TEXT NOT NULL,
	request TEXT NOT NULL,    -- as it was then; empty for what is told of it later, as it is
	due INTEGER NOT NULL,     -- microseconds since 1970: not before
	tries INTEGER NOT NULL, retry INTEGER NOT NULL -- after a failure, not before
) STRICT;
CREATE INDEX IF NOT EXISTS approval_outbox_due ON approval_outbox (messenger, due, seq);
CREATE TABLE IF NOT EXISTS approval_refs (
	approval TEXT NOT NULL, messenger TEXT NOT NULL, ref TEXT NOT NULL, PRIMARY KEY (approval, messenger)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approval_links (
	provider TEXT NOT NULL, team TEXT NOT NULL, user TEXT NOT NULL, link TEXT NOT NULL, PRIMARY KEY (provider, team, user)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approval_tickets (
	hash BLOB PRIMARY KEY, provider TEXT NOT NULL, team TEXT NOT NULL, user TEXT NOT NULL, until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;`

// A Store keeps requests in the audit log's file, so that a change, its record
// and what messengers are told of it are one transaction. It is safe for
// concurrent use.
type Store struct {
	log *audit.Log
	now func() time.Time

	mu       sync.Mutex
	waiting  map[string]*waiter
	approved chan struct{} // holds a word after a request was approved
	outbox   chan struct{} // holds a word after something was written for messengers
}

// A waiter is the channel on which those hear who wait for one request. It is
// closed and replaced at every change.
type waiter struct {
	changed chan struct{}
	waiting int
}

// Open opens the store of a log.
func Open(ctx context.Context, log *audit.Log, now func() time.Time) (*Store, error) {
	s := &Store{log: log, now: now, waiting: map[string]*waiter{}, approved: make(chan struct{}, 1), outbox: make(chan struct{}, 1)}
	err := log.Update(ctx, func(tx *audit.Tx) error {
		_, err := tx.Exec(schema)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening approvals: %w", err)
	}
	return s, nil
}

// load reads requests. rest is what follows FROM approvals.
func load(tx *audit.Tx, rest string, args ...any) ([]*Request, error) {
	rows, err := tx.Query(`SELECT id, state, fence, request FROM approvals `+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*Request
	for rows.Next() {
		var id, state, text string
		var fence int64
		if err := rows.Scan(&id, &state, &fence, &text); err != nil {
			return nil, err
		}
		r := &Request{}
		if err := json.Unmarshal([]byte(text), r); err != nil {
			return nil, fmt.Errorf("reading request %s: %w", id, err)
		}
		r.ID, r.State, r.fence = id, State(state), fence
		out = append(out, r)
	}
	return out, rows.Err()
}

// one reads a request and moves it to expired if its clock has run out.
func (s *Store) one(tx *audit.Tx, id string) (*Request, error) {
	found, err := load(tx, `WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	return found[0], s.expire(tx, found[0])
}

func (s *Store) expire(tx *audit.Tx, r *Request) error {
	if !s.late(r) {
		return nil
	}
	return s.move(tx, r, Expired, change{})
}

// update runs fn in one transaction and tells whoever waits for the request.
func (s *Store) update(ctx context.Context, id string, fn func(*audit.Tx) error) error {
	err := s.log.Update(ctx, fn)
	if err == nil {
		s.wake(id)
	}
	return err
}

func (s *Store) wake(id string) {
	s.mu.Lock()
	if w, ok := s.waiting[id]; ok {
		close(w.changed)
		w.changed = make(chan struct{})
	}
	s.mu.Unlock()
	word(s.outbox)
}

// word leaves a word in a channel that holds one.
func word(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // there is one already
	}
}

// Create records a new request. An approval that could never be given is
// refused.
func (s *Store) Create(ctx context.Context, a Asking) (Request, error) {
	r, err := s.request(a)
	if err != nil {
		return Request{}, err
	}
	if err := s.update(ctx, r.ID, func(tx *audit.Tx) error { return s.insert(tx, r) }); err != nil {
		return Request{}, fmt.Errorf("asking: %w", err)
	}
	return *r, nil
}

// request makes a request of what is asked.
func (s *Store) request(a Asking) (*Request, error) {
	need := a.Need
	if need.Quorum < 1 || len(need.Groups) == 0 || need.DecideWithin <= 0 || need.RunWithin <= 0 {
		return nil, errors.New("asking: the rule names no approvers, or gives them no time")
	}
	if a.Binding.Statement == "" || a.Binding.Requester.Subject == "" || a.Caller.Identity() != a.Binding.Requester {
		return nil, errors.New("asking: there is no statement, or nobody who asks")
	}
	now := s.now().UTC()
	return &Request{
		ID: "apr_" + strings.ToLower(rand.Text()), State: Pending, Digest: a.Binding.Digest(), Binding: a.Binding, Caller: a.Caller, Sent: a.Sent, Conversation: a.Conversation,
		Reason: a.Reason, Client: a.Client, Approval: need, Brief: a.Brief, Marks: a.Marks, Asked: now, DecideBy: now.Add(need.DecideWithin), After: a.After,
	}, nil
}

func (s *Store) insert(tx *audit.Tx, r *Request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing request: %w", err)
	}
	if _, err := tx.Exec(`INSERT INTO approvals (id, state, fence, request) VALUES (?, ?, 0, ?)`, r.ID, string(Pending), string(text)); err != nil {
		return err
	}
	_, err = tx.Append(audit.Event{
		Kind: audit.KindApprovalRequested, Approval: r.ID, State: string(Pending), Caller: caller(r.Binding.Requester), Client: r.Client,
		Session: r.Binding.Session, Policy: r.Binding.Policy, SQL: r.Sent, Runs: r.Binding.Statement, Purpose: r.Reason,
	})
	if err != nil {
		return err
	}
	if err := s.tell(tx, r, Asked, time.Time{}); err != nil {
		return err
	}
	if err := s.tell(tx, r, Reminder, r.Asked.Add(remindAfter(r.Approval))); err != nil {
		return err
	}
	return s.tell(tx, r, Escalated, r.Asked.Add(r.Approval.DecideWithin/4*3))
}

// Restate notes with what groups, kind and person behind a requester has come
// since they asked. What is approved runs with the rights of today.
func (s *Store) Restate(ctx context.Context, c policy.Caller) error {
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		found, err := load(tx, `WHERE state IN (?, ?) AND json_extract(request, '$.caller.issuer') = ? AND json_extract(request, '$.caller.subject') = ?`,
			string(Pending), string(Approved), c.Issuer, c.Subject)
		if err != nil {
			return err
		}
		for _, r := range found {
			r.Caller = c
			if err := s.save(tx, r, r.State); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting a requester's rights: %w", err)
	}
	return nil
}

// remindAfter is when those are reminded who have not answered: half of the
// time, unless the rule says otherwise.
func remindAfter(a policy.Approval) time.Duration {
	if a.Remind > 0 && a.Remind < a.DecideWithin {
		return a.Remind
	}
	return a.DecideWithin / 2
}

// Get returns a request as it is now.
func (s *Store) Get(ctx context.Context, id string) (Request, error) {
	var out Request
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		r, err := s.one(tx, id)
		if err == nil {
			out = *r
		}
		return err
	})
	if out.State == Expired {
		// It may have expired by this look, and somebody has to be told.
		s.wake(id)
	}
	return out, err
}

// A Filter says which requests [Store.List] returns. The zero Filter is those
// that are open: somebody still has to do something about them.
type Filter struct {
	States []State // any of these; the open ones if there are none
	All    bool    // of whatever state, the newest first
	// Requester narrows to the requests of one identity.
	Requester *policy.Identity
	Before    string // older than this request; with All
	Limit     int    // 500 if zero
}

// List returns requests, the oldest first unless the filter says All.
func (s *Store) List(ctx context.Context, f Filter) ([]Request, error) {
	var where []string
	var args []any
	order := "rowid"
	switch {
	case f.All:
		order = "rowid DESC"
		if f.Before != "" {
			where = append(where, `rowid < (SELECT rowid FROM approvals WHERE id = ?)`)
			args = append(args, f.Before)
		}
	case len(f.States) > 0:
		marks := make([]string, len(f.States))
		for i, st := range f.States {
			marks[i] = "?"
			args = append(args, string(st))
		}
		where = append(where, `state IN (`+strings.Join(marks, ", ")+`)`)
	default:
		where = append(where, `id IN (SELECT id FROM approvals WHERE state IN (?, ?, ?, ?)
			UNION SELECT id FROM approvals WHERE json_extract(request, '$.break_glass') IS NOT NULL AND json_extract(request, '$.break_glass.ack_by') IS NULL)`)
		args = append(args, string(Pending), string(Approved), string(Executing), string(Indeterminate))
	}
	if f.Requester != nil {
		where = append(where, `json_extract(request, '$.binding.requester.issuer') = ? AND json_extract(request, '$.binding.requester.subject') = ?`)
		args = append(args, f.Requester.Issuer, f.Requester.Subject)
	}
	if f.Limit <= 0 {
		f.Limit = 500
	}
	rest := ""
	if len(where) > 0 {
		rest = `WHERE ` + strings.Join(where, ` AND `)
	}
	out := []Request{}
	var gone []string
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		found, err := load(tx, rest+` ORDER BY `+order+` LIMIT ?`, append(args, f.Limit)...)
		if err != nil {
			return err
		}
		for _, r := range found {
			was := r.State
			if err := s.expire(tx, r); err != nil {
				return err
			}
			if r.State != was {
				gone = append(gone, r.ID)
			}
			if r.State == was || f.All || len(f.States) == 0 && r.Open() || slices.Contains(f.States, r.State) {
				out = append(out, *r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing requests: %w", err)
	}
	for _, id := range gone {
		s.wake(id)
	}
	return out, nil
}

// For returns the pending requests that a voter may still decide on, the oldest
// first.
func (s *Store) For(ctx context.Context, v Voter) ([]Request, error) {
	all, err := s.List(ctx, Filter{States: []State{Pending}})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r Request) bool {
		said := slices.ContainsFunc(r.Votes, func(o Vote) bool { return o.Voter.Same(v.Identity) })
		return said || r.MayDecide(v) != nil
	}), nil
}

// Sweep moves what is too late to expired and returns when the next clock runs
// out, the zero time if none runs.
func (s *Store) Sweep(ctx context.Context) (next time.Time, err error) {
	var gone []string
	err = s.log.Update(ctx, func(tx *audit.Tx) error {
		running, err := load(tx, `WHERE state IN (?, ?)`, string(Pending), string(Approved))
		if err != nil {
			return err
		}
		for _, r := range running {
			if err := s.expire(tx, r); err != nil {
				return err
			}
			clock := r.DecideBy
			switch r.State {
			case Pending:
			case Approved:
				clock = r.RunBy
			default:
				gone = append(gone, r.ID)
				continue
			}
			if next.IsZero() || clock.Before(next) {
				next = clock
			}
		}
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for what has expired: %w", err)
	}
	for _, id := range gone {
		s.wake(id)
	}
	return next, nil
}

// Ready holds a word when a request may have been approved: for whoever runs
// what is approved.
func (s *Store) Ready() <-chan struct{} { return s.approved }

// Wait returns when a request may have changed, or with the error of the context
// or the log.
// Whoever waits looks at the request first and again afterwards; `seen` is the
// state that was looked at.
func (s *Store) Wait(ctx context.Context, id string, seen State) error {
	s.mu.Lock()
	w, ok := s.waiting[id]
	if !ok {
		w = &waiter{changed: make(chan struct{})}
		s.waiting[id] = w
	}
	w.waiting++
	changed := w.changed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		if w.waiting--; w.waiting == 0 {
			delete(s.waiting, id)
		}
		s.mu.Unlock()
	}()
	// A change between the look and the channel would be missed: look again.
	r, err := s.Get(ctx, id)
	if err != nil || r.State != seen {
		return err
	}
	var expired <-chan time.Time
	switch r.State {
	case Pending, Approved:
		clock := r.DecideBy
		if r.State == Approved {
			clock = r.RunBy
		}
		expiry := time.NewTimer(clock.Sub(s.now()))
		defer expiry.Stop()
		expired = expiry.C
	default:
	}
	select {
	case <-changed:
		return nil
	case <-expired:
		return nil
	case <-s.log.Done():
		return s.log.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
