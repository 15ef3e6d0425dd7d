package approvals

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// States are all states.
func States() []State {
	return []State{Pending, Approved, Denied, Expired, Cancelled, Revoked, Executing, Done, Failed, Indeterminate}
}

// transitions are all moves that there are.
var transitions = map[State][]State{
	Pending:       {Approved, Denied, Expired, Cancelled},
	Approved:      {Executing, Expired, Revoked},
	Executing:     {Done, Failed, Indeterminate},
	Indeterminate: {Done, Failed},
}

// errMoved is a lost compare-and-swap: somebody else changed the request.
var errMoved = errors.New("the request has just changed")

// change is what a move or a vote leaves behind beside the new state.
type change struct {
	by     *Voter // nil: the gate itself
	reason string
	event  audit.Event // kind and what is its own
	notice NoticeKind
}

// move is the one way from a state to another: compare-and-swap, record and
// outbox.
func (s *Store) move(tx *audit.Tx, r *Request, to State, c change) error {
	if !slices.Contains(transitions[r.State], to) {
		return fmt.Errorf("request %s cannot go from %s to %s", r.ID, r.State, to)
	}
	from := r.State
	r.State = to
	if err := s.save(tx, r, from); err != nil {
		r.State = from
		return err
	}
	c.event.Kind = audit.KindApprovalChanged
	c.event.State = string(to)
	if c.notice == "" {
		c.notice = Changed
	}
	if err := s.leave(tx, r, c); err != nil {
		return err
	}
	if from == Pending {
		// Nobody has to be reminded any more.
		if _, err := tx.Exec(`DELETE FROM approval_outbox WHERE approval = ? AND kind IN (?, ?)`, r.ID, string(Reminder), string(Escalated)); err != nil {
			return err
		}
	}
	return nil
}

// leave appends the record of a change and writes what messengers are told.
func (s *Store) leave(tx *audit.Tx, r *Request, c change) error {
	if err := s.record(tx, r, c); err != nil {
		return err
	}
	return s.tell(tx, r, c.notice, time.Time{})
}

func (s *Store) record(tx *audit.Tx, r *Request, c change) error {
	e := c.event
	e.Approval, e.Caller, e.Session, e.Reason = r.ID, caller(r.Binding.Requester), r.Binding.Session, c.reason
	if c.by != nil {
		e.Voter, e.Via = caller(c.by.Identity), string(c.by.Via)
	}
	_, err := tx.Append(e)
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

// late reports whether one of a request's two clocks has run out.
func (s *Store) late(r *Request) bool {
	switch r.State {
	case Pending:
		return !s.now().Before(r.DecideBy)
	case Approved:
		return !s.now().Before(r.RunBy)
	case Executing, Indeterminate, Denied, Expired, Cancelled, Revoked, Done, Failed:
		return false
	default:
		return false
	}
}
