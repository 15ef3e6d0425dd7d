package approvals

import (
	"context"
	"fmt"
	"time"

	"querywarden/audit"
)

// A Claim is the right, held by one, to run an approved statement once.
type Claim struct {
	id    string
	fence int64
}

// Claim takes an approved request for execution, for as long as the lease.
// digest is that of what would run now; e is the execution's record, from which
// the receipt comes. Only one caller ever gets a claim.
func (s *Store) Claim(ctx context.Context, id, digest string, lease time.Duration, e audit.Event) (Claim, audit.Receipt, error) {
	var claim Claim
	var receipt audit.Receipt
	_, err := s.act(ctx, "claiming", id, func(tx *audit.Tx, r *Request) error {
		switch {
		case r.State != Approved:
			return fmt.Errorf("%w: it is %s", ErrNotClaimable, r.State)
		case r.Digest != digest, r.Binding.Statement != e.Kept():
			return ErrOtherBinding
		}
		e.Kind, e.Approval = audit.KindExecution, id
		var err error
		if receipt, err = tx.Append(e); err != nil {
			return err
		}
		now := s.now().UTC()
		r.Claimed, r.Lease, r.Receipt, r.Tag = now, now.Add(lease), receipt.Index(), receipt.Tag()
		if err := s.move(tx, r, Executing, change{}); err != nil {
			return err
		}
		claim = Claim{id, r.fence}
		return nil
	})
	if err != nil {
		return Claim{}, audit.Receipt{}, err
	}
	return claim, receipt, nil
}

// Holds is the last look before the statement is sent: it fails with
// [ErrNotHeld] if the lease is over, or if somebody has concluded meanwhile that
// the holder is gone.
func (s *Store) Holds(ctx context.Context, c Claim) error {
	_, err := s.held(ctx, c, func(tx *audit.Tx, r *Request) error {
		if !s.now().Before(r.Lease) {
			return ErrNotHeld
		}
		return nil
	})
	return err
}

func (s *Store) held(ctx context.Context, c Claim, fn func(*audit.Tx, *Request) error) (Request, error) {
	return s.act(ctx, "holding", c.id, func(tx *audit.Tx, r *Request) error {
		if r.State != Executing || r.fence != c.fence {
			return ErrNotHeld
		}
		return fn(tx, r)
	})
}

// Finish records how a claimed execution ended: [Done], [Failed] or
// [Indeterminate].
func (s *Store) Finish(ctx context.Context, c Claim, to State, o Outcome) (Request, error) {
	return s.held(ctx, c, func(tx *audit.Tx, r *Request) error {
		r.Outcome = &o
		return s.move(tx, r, to, change{event: audit.Event{QueryID: o.QueryID, Error: o.Error}})
	})
}

// Conclude records what the account's history says of an execution whose holder
// is gone, or whose end nobody knew: [Done] or [Failed]. [Indeterminate] is for
// when the history says nothing, and only once the lease is over: until then,
// the holder may still be about to send the statement.
func (s *Store) Conclude(ctx context.Context, id string, to State, o Outcome) (Request, error) {
	return s.act(ctx, "concluding", id, func(tx *audit.Tx, r *Request) error {
		if r.State != Executing && r.State != Indeterminate {
			return fmt.Errorf("%w: it is %s", ErrNotOpen, r.State)
		}
		if to == Indeterminate && s.now().Before(r.Lease) {
			return fmt.Errorf("%w: its claim holds until %s", ErrNotOpen, r.Lease.Format(time.RFC3339))
		}
		r.Outcome = &o
		if to != Indeterminate {
			// The execution's record gets its end, as if the holder had told it.
			e := audit.Event{Kind: audit.KindOutcome, Tool: "recovery", Of: &r.Receipt, Approval: id, Session: r.Binding.Session, Caller: caller(r.Binding.Requester), QueryID: o.QueryID, Rows: o.Rows, Status: "completed", Error: o.Error}
			if to == Failed {
				e.Status = "failed"
			}
			if _, err := tx.Append(e); err != nil {
				return err
			}
		}
		return s.move(tx, r, to, change{event: audit.Event{QueryID: o.QueryID, Error: o.Error}})
	})
}

// Supersede ends an approval that is not good any more, since what would run now
// is not what was approved. next is the request that asks again; without one,
// the reason says why nobody is asked.
func (s *Store) Supersede(ctx context.Context, id, reason string, next *Asking) (Request, error) {
	var asked *Request
	if next != nil {
		next.After = id
		var err error
		if asked, err = s.request(*next); err != nil {
			return Request{}, err
		}
	}
	return s.act(ctx, "ending", id, func(tx *audit.Tx, r *Request) error {
		if r.State != Approved {
			return fmt.Errorf("%w: it is %s", ErrNotClaimable, r.State)
		}
		r.Closed = &Closing{Reason: reason, At: s.now().UTC()}
		if asked != nil {
			r.Before = asked.ID
			if err := s.insert(tx, asked); err != nil {
				return err
			}
		}
		return s.move(tx, r, Revoked, change{reason: reason})
	})
}

// Copied notes the clone that was made before a claimed statement runs. The
// claim goes on as the one that it returns.
func (s *Store) Copied(ctx context.Context, c Claim, name string) (Claim, error) {
	r, err := s.held(ctx, c, func(tx *audit.Tx, r *Request) error {
		r.SafetyCopy, r.CopyUntil = name, s.now().UTC().Add(r.Approval.SafetyCopy)
		return s.save(tx, r, Executing)
	})
	return Claim{c.id, r.fence}, err
}
