// Package approvals holds the requests that wait for a person.
//
// A request binds one statement exactly: the text that would run, who asked,
// the masks, limits and policy it was judged under ([Binding]). Its state
// moves along [transitions] and no other way. Every move is one transaction:
// a compare-and-swap on state and fence, together with the record in the audit
// log. Nothing is kept in memory but who is waiting to hear.
//
//	pending   → approved, denied, expired, cancelled
//	approved  → executing, expired, revoked
//	executing → done, failed, indeterminate
//
// Two clocks run: a request that nobody decides expires, and so does one that
// was approved and not run. The claim (approved → executing) happens once; a
// gateway that dies behind it leaves a request that is indeterminate, for a
// person to look at, and is never run again.
package approvals

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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

// A State of a request. The zero State is none, and allows nothing.
type State string

// The states.
const (
	Pending       State = "pending"
	Approved      State = "approved"
	Denied        State = "denied"
	Expired       State = "expired"
	Cancelled     State = "cancelled"
	Revoked       State = "revoked"
	Executing     State = "executing"
	Done          State = "done"
	Failed        State = "failed"
	Indeterminate State = "indeterminate"
)

// transitions are all moves that there are.
var transitions = map[State][]State{
	Pending:   {Approved, Denied, Expired, Cancelled},
	Approved:  {Executing, Expired, Revoked},
	Executing: {Done, Failed, Indeterminate},
}

// The errors of this package.
var (
	ErrNotFound     = errors.New("there is no such request")
	ErrNotPending   = errors.New("the request is not waiting for a decision any more")
	ErrNotClaimable = errors.New("the request is not approved, or not any more")
	ErrOtherBinding = errors.New("what would run is not what was approved")
	ErrOwnRequest   = errors.New("nobody approves their own request, nor that of an agent acting for them")
	ErrNotApprover  = errors.New("the voter is in none of the approving groups")
	ErrNeedsReason  = errors.New("this decision needs a reason")
	ErrLongReason   = errors.New("the reason is longer than 2000 bytes")
)

// A Binding is what an approval is good for.
type Binding struct {
	Statement string           `json:"statement"` // as it would run, without the gate's secrets
	Requester policy.Identity  `json:"requester"`
	Behind    *policy.Identity `json:"behind,omitempty"`
	Objects   []string         `json:"objects"`
	Versions  []string         `json:"versions"` // of the objects, in the catalog; empty where there is none
	Masks     []string         `json:"masks"`
	Limits    policy.Limits    `json:"limits"`
	Policy    string           `json:"policy"`
	Database  string           `json:"database"`
	Schema    string           `json:"schema"`
}

// Digest is the SHA-256 of the binding as JSON, in hexadecimal.
func (b Binding) Digest() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(fmt.Sprintf("approvals: a binding of plain fields cannot be encoded: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// A Request is a statement that waits, or has waited, for a person.
type Request struct {
	ID       string          `json:"id"`
	State    State           `json:"state"`
	Digest   string          `json:"digest"`
	Binding  Binding         `json:"binding"`
	Sent     string          `json:"sent"`   // the statement as the agent sent it
	Reason   string          `json:"reason"` // asserted
	Client   string          `json:"client"` // asserted
	Approval policy.Approval `json:"approval"`
	Asked    time.Time       `json:"asked"`
	DecideBy time.Time       `json:"decide_by"`
	RunBy    time.Time       `json:"run_by,omitzero"` // once approved
	Votes    []Vote          `json:"votes,omitempty"`

	fence int64
}

// A Vote is one person's answer.
type Vote struct {
	Voter   policy.Identity `json:"voter"`
	Approve bool            `json:"approve"`
	Reason  string          `json:"reason,omitempty"`
	At      time.Time       `json:"at"`
}

// A Voter is a person with the groups that they are in now.
type Voter struct {
	policy.Identity
	Groups []string
}

const schema = `CREATE TABLE IF NOT EXISTS approvals (
	id TEXT PRIMARY KEY, state TEXT NOT NULL, fence INTEGER NOT NULL, request TEXT NOT NULL
) STRICT; CREATE INDEX IF NOT EXISTS approvals_state ON approvals (state);`

// A Store keeps requests in the audit log's file, so that a change and its
// record are one transaction. It is safe for concurrent use.
type Store struct {
	log *audit.Log
	now func() time.Time

	mu      sync.Mutex
	waiting map[string]chan struct{} // closed and replaced at every change
}

// Open opens the store of a log. Requests that were running when the gateway
// died become indeterminate.
func Open(ctx context.Context, log *audit.Log, now func() time.Time) (*Store, error) {
	s := &Store{log: log, now: now, waiting: map[string]chan struct{}{}}
	err := log.Update(ctx, func(tx *audit.Tx) error {
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
		left, err := load(tx, `state = ?`, string(Executing))
		if err != nil {
			return err
		}
		for _, r := range left {
			if err := s.move(tx, r, Indeterminate); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening approvals: %w", err)
	}
	return s, nil
}

// load reads requests.
func load(tx *audit.Tx, where string, args ...any) ([]*Request, error) {
	rows, err := tx.Query(`SELECT id, state, fence, request FROM approvals WHERE `+where+` ORDER BY rowid`, args...)
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
	found, err := load(tx, `id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	r := found[0]
	if s.late(r) {
		if err := s.move(tx, r, Expired); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// late reports whether one of a request's two clocks has run out.
func (s *Store) late(r *Request) bool {
	switch r.State {
	case Pending:
		return !s.now().Before(r.DecideBy)
	case Approved:
		return !s.now().Before(r.RunBy)
	default:
		return false
	}
}

// errMoved is a lost compare-and-swap: somebody else changed the request.
var errMoved = errors.New("the request has just changed")

// move is the one way from a state to another: compare-and-swap and record.
func (s *Store) move(tx *audit.Tx, r *Request, to State) error {
	if !slices.Contains(transitions[r.State], to) {
		return fmt.Errorf("request %s cannot go from %s to %s", r.ID, r.State, to)
	}
	from := r.State
	r.State = to
	if err := s.save(tx, r, from); err != nil {
		r.State = from
		return err
	}
	_, err := tx.Append(audit.Event{Kind: audit.KindApprovalChanged, Approval: r.ID, State: string(to), Caller: caller(r.Binding.Requester)})
	return err
}

// save writes a request over the one that was read.
func (s *Store) save(tx *audit.Tx, r *Request, from State) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing request: %w", err)
	}
	res, err := tx.Exec(`UPDATE approvals SET state = ?, fence = fence + 1, request = ? WHERE id = ? AND state = ? AND fence = ?`,
		string(r.State), string(text), r.ID, string(from), r.fence)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return errMoved
	}
	r.fence++
	return nil
}

func caller(i policy.Identity) *audit.Caller {
	return &audit.Caller{Issuer: i.Issuer, Subject: i.Subject, Email: i.Email}
}

// update runs fn in one transaction and tells whoever waits for the request.
func (s *Store) update(ctx context.Context, id string, fn func(*audit.Tx) error) error {
	err := s.log.Update(ctx, fn)
	if err == nil {
		s.mu.Lock()
		if ch, ok := s.waiting[id]; ok {
			close(ch)
			delete(s.waiting, id)
		}
		s.mu.Unlock()
	}
	return err
}

// Create records a new request. An approval that could never be given is
// refused.
func (s *Store) Create(ctx context.Context, b Binding, sent, reason, client string, need policy.Approval) (Request, error) {
	if need.Quorum < 1 || len(need.Groups) == 0 || need.DecideWithin <= 0 || need.RunWithin <= 0 {
		return Request{}, errors.New("asking: the rule names no approvers, or gives them no time")
	}
	now := s.now().UTC()
	r := &Request{
		ID: "apr_" + strings.ToLower(rand.Text()), State: Pending, Digest: b.Digest(), Binding: b, Sent: sent, Reason: reason, Client: client,
		Approval: need, Asked: now, DecideBy: now.Add(need.DecideWithin),
	}
	err := s.update(ctx, r.ID, func(tx *audit.Tx) error {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("writing request: %w", err)
		}
		if _, err := tx.Exec(`INSERT INTO approvals VALUES (?, ?, 0, ?)`, r.ID, string(Pending), string(text)); err != nil {
			return err
		}
		_, err = tx.Append(audit.Event{
			Kind: audit.KindApprovalRequested, Approval: r.ID, State: string(Pending), Caller: caller(b.Requester), Client: client,
			Policy: b.Policy, SQL: sent, Runs: b.Statement, Purpose: reason,
		})
		return err
	})
	if err != nil {
		return Request{}, fmt.Errorf("asking: %w", err)
	}
	return *r, nil
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
	return out, err
}

// List returns the requests in the given states, the oldest first; all open
// ones if no state is given.
func (s *Store) List(ctx context.Context, states ...State) ([]Request, error) {
	if states == nil {
		states = []State{Pending, Approved, Executing, Indeterminate}
	}
	out := []Request{}
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		for _, state := range states {
			found, err := load(tx, `state = ?`, string(state))
			if err != nil {
				return err
			}
			for _, r := range found {
				if s.late(r) {
					if err := s.move(tx, r, Expired); err != nil {
						return err
					}
					continue
				}
				out = append(out, *r)
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Request) int { return a.Asked.Compare(b.Asked) })
	return out, err
}

// reasonLimit is how long a reason may be, in bytes.
const reasonLimit = 2000

// Vote records a person's answer. One denial ends the request; as many
// different people as the rule wants approve it. The same answer again changes
// nothing.
func (s *Store) Vote(ctx context.Context, id string, v Voter, approve bool, reason string) (Request, error) {
	var out Request
	err := s.update(ctx, id, func(tx *audit.Tx) error {
		r, err := s.one(tx, id)
		if err != nil {
			return err
		}
		if err := mayVote(r, v, approve, reason); err != nil {
			return err
		}
		for _, old := range r.Votes {
			if old.Voter.Same(v.Identity) && old.Approve == approve {
				out = *r
				return nil
			}
		}
		if r.State != Pending {
			return fmt.Errorf("%w: it is %s", ErrNotPending, r.State)
		}
		r.Votes = append(r.Votes, Vote{v.Identity, approve, reason, s.now().UTC()})
		_, err = tx.Append(audit.Event{Kind: audit.KindApprovalVoted, Approval: id, Voter: caller(v.Identity), Approve: &approve, Caller: caller(r.Binding.Requester), Reason: reason})
		if err != nil {
			return err
		}
		switch {
		case !approve:
			err = s.move(tx, r, Denied)
		case r.yes() >= r.Approval.Quorum:
			r.RunBy = s.now().UTC().Add(r.Approval.RunWithin)
			err = s.move(tx, r, Approved)
		default:
			err = s.save(tx, r, Pending)
		}
		out = *r
		return err
	})
	if err != nil {
		return Request{}, fmt.Errorf("voting on %s: %w", id, err)
	}
	return out, nil
}

// mayVote says who may not.
func mayVote(r *Request, v Voter, approve bool, reason string) error {
	if v.Identity.Subject == "" || v.Identity.Same(r.Binding.Requester) || r.Binding.Behind != nil && v.Identity.Same(*r.Binding.Behind) {
		return ErrOwnRequest
	}
	if !slices.ContainsFunc(v.Groups, func(g string) bool { return slices.Contains(r.Approval.Groups, g) }) {
		return ErrNotApprover
	}
	if len(reason) > reasonLimit {
		return ErrLongReason
	}
	if approve && r.Approval.NeedReason && strings.TrimSpace(reason) == "" {
		return ErrNeedsReason
	}
	return nil
}

// yes counts the different people who said yes.
func (r *Request) yes() int {
	n := 0
	for i, v := range r.Votes {
		again := slices.ContainsFunc(r.Votes[:i], func(o Vote) bool { return o.Approve && o.Voter.Same(v.Voter) })
		if v.Approve && !again {
			n++
		}
	}
	return n
}

// Cancel takes a request back before anybody has decided.
func (s *Store) Cancel(ctx context.Context, id string) error { return s.simple(ctx, id, Cancelled) }

// Revoke takes an approval back before it is used.
func (s *Store) Revoke(ctx context.Context, id string) error { return s.simple(ctx, id, Revoked) }

func (s *Store) simple(ctx context.Context, id string, to State) error {
	return s.update(ctx, id, func(tx *audit.Tx) error {
		r, err := s.one(tx, id)
		if err != nil {
			return err
		}
		return s.move(tx, r, to)
	})
}

// A Claim is the right, held by one, to run an approved statement once.
type Claim struct {
	id    string
	fence int64
}

// Claim takes an approved request for execution. digest is that of what would
// run now; e is the execution's record, from which the receipt comes. Only one
// caller ever gets a claim.
func (s *Store) Claim(ctx context.Context, id, digest string, e audit.Event) (Claim, audit.Receipt, error) {
	var claim Claim
	var receipt audit.Receipt
	// An expiry that is found here has to be recorded although the claim fails.
	var refused error
	err := s.update(ctx, id, func(tx *audit.Tx) error {
		r, err := s.one(tx, id)
		if err != nil {
			return err
		}
		switch {
		case r.State != Approved:
			refused = fmt.Errorf("%w: it is %s", ErrNotClaimable, r.State)
			return nil
		case r.Digest != digest, r.Binding.Statement != e.Kept():
			refused = ErrOtherBinding
			return nil
		}
		if err := s.move(tx, r, Executing); err != nil {
			return err
		}
		e.Kind, e.Approval = audit.KindExecution, id
		if receipt, err = tx.Append(e); err != nil {
			return err
		}
		claim = Claim{id, r.fence}
		return nil
	})
	if err = errors.Join(err, refused); err != nil {
		return Claim{}, audit.Receipt{}, fmt.Errorf("claiming %s: %w", id, err)
	}
	return claim, receipt, nil
}

// Finish records how a claimed execution ended: [Done], [Failed] or
// [Indeterminate].
func (s *Store) Finish(ctx context.Context, c Claim, outcome State) error {
	err := s.update(ctx, c.id, func(tx *audit.Tx) error {
		r, err := s.one(tx, c.id)
		if err != nil {
			return err
		}
		if r.fence != c.fence {
			return errMoved
		}
		return s.move(tx, r, outcome)
	})
	if err != nil {
		return fmt.Errorf("finishing %s: %w", c.id, err)
	}
	return nil
}

// Wait returns when a request may have changed, or with the context's error.
// Whoever waits looks at the request first and again afterwards; `seen` is the
// state that was looked at.
func (s *Store) Wait(ctx context.Context, id string, seen State) error {
	s.mu.Lock()
	ch, ok := s.waiting[id]
	if !ok {
		ch = make(chan struct{})
		s.waiting[id] = ch
	}
	s.mu.Unlock()
	// A change between the look and the channel would be missed: look again.
	r, err := s.Get(ctx, id)
	if err != nil || r.State != seen {
		return err
	}
	clock := r.DecideBy
	if r.State == Approved {
		clock = r.RunBy
	}
	expiry := time.NewTimer(clock.Sub(s.now()))
	defer expiry.Stop()
	select {
	case <-ch:
		return nil
	case <-expiry.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
