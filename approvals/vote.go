package approvals

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"querywarden/audit"
	"querywarden/policy"
)

// reasonLimit is how long a reason may be, in bytes.
const reasonLimit = 2000

// glassRun bounds the time to run of what one person let through alone.
const glassRun = 5 * time.Minute

// act changes a request, as it is now, in one transaction.
func (s *Store) act(ctx context.Context, what, id string, fn func(*audit.Tx, *Request) error) (Request, error) {
	var out Request
	err := s.update(ctx, id, func(tx *audit.Tx) error {
		r, err := s.one(tx, id)
		if err != nil {
			return err
		}
		err = fn(tx, r)
		out = *r
		return err
	})
	if err != nil {
		return Request{}, fmt.Errorf("%s %s: %w", what, id, err)
	}
	if out.State == Approved {
		word(s.approved)
	}
	return out, nil
}

// Vote records a person's answer. short is that part of the digest that the
// voter was shown ([Short]). One denial ends the request, also when it is
// approved already and not run yet; as many different people as the rule wants
// approve it. The same answer again changes nothing, and an approval that comes
// second is recorded beside the first.
func (s *Store) Vote(ctx context.Context, id, short string, v Voter, approve bool, reason string) (Request, error) {
	return s.act(ctx, "voting on", id, func(tx *audit.Tx, r *Request) error {
		if short != Short(r.Digest) {
			return ErrOtherBinding
		}
		if err := r.mayVote(v, approve, reason); err != nil {
			return err
		}
		same := func(o Vote) bool { return o.Voter.Same(v.Identity) && o.Approve == approve }
		if slices.ContainsFunc(r.Votes, same) {
			return nil
		}
		if r.State != Pending && r.State != Approved {
			return fmt.Errorf("%w: it is %s", ErrNotPending, r.State)
		}
		if err := s.vote(tx, r, v, approve, reason); err != nil {
			return err
		}
		switch {
		case !approve && r.State == Approved:
			r.Closed = s.closing(v, reason)
			return s.move(tx, r, Revoked, change{by: &v, reason: reason})
		case !approve:
			return s.move(tx, r, Denied, change{by: &v})
		case r.State == Pending && r.yes() >= r.Approval.Quorum:
			r.RunBy = s.now().UTC().Add(r.Approval.RunWithin)
			return s.move(tx, r, Approved, change{})
		default:
			return nil
		}
	})
}

// vote adds a vote to a request whose state stays.
func (s *Store) vote(tx *audit.Tx, r *Request, v Voter, approve bool, reason string) error {
	r.Votes = append(r.Votes, Vote{v.Identity, v.Via, approve, reason, s.now().UTC()})
	if err := s.save(tx, r, r.State); err != nil {
		return err
	}
	return s.leave(tx, r, change{by: &v, reason: reason, event: audit.Event{Kind: audit.KindApprovalVoted, Approve: &approve}, notice: Voted})
}

// MayDecide says why a voter has no say in a request, nil if they have.
func (r *Request) MayDecide(v Voter) error {
	return r.mayAct(v, r.Approval.Groups)
}

// mayAct says why somebody has no say as a member of some groups.
func (r *Request) mayAct(v Voter, groups []string) error {
	switch {
	case v.Subject == "" || r.concerns(v.Identity):
		return ErrOwnRequest
	case v.Via != ViaConsole && v.Via != ViaSlack && v.Via != ViaHost:
		return ErrNeedsSignIn
	case !slices.ContainsFunc(v.Groups, func(g string) bool { return slices.Contains(groups, g) }):
		return ErrNotApprover
	default:
		return nil
	}
}

// concerns reports whether somebody is the requester or the person behind.
func (r *Request) concerns(i policy.Identity) bool {
	return i.Same(r.Binding.Requester) || r.Binding.Behind != nil && i.Same(*r.Binding.Behind)
}

// mayVote says who may not vote so.
func (r *Request) mayVote(v Voter, approve bool, reason string) error {
	if err := r.MayDecide(v); err != nil {
		return err
	}
	if err := checkReason(reason, approve && r.Approval.NeedReason); err != nil {
		return err
	}
	if !approve {
		return nil
	}
	return r.mayApproveVia(v.Via)
}

// mayApproveVia says by which way a yes does not count.
func (r *Request) mayApproveVia(via Via) error {
	if Hidden(r.Binding.Statement) != nil && via != ViaConsole {
		return ErrNotReadable
	}
	switch r.Approval.Confirm {
	case policy.BySlack:
		return nil
	case policy.ByOIDC:
	default:
	}
	if via != ViaConsole && via != ViaHost {
		return ErrNeedsSignIn
	}
	return nil
}

func checkReason(reason string, need bool) error {
	if len(reason) > reasonLimit || !utf8.ValidString(reason) {
		return ErrLongReason
	}
	if need && strings.TrimSpace(reason) == "" {
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

// BreakGlass approves a request by one person of the rule's break_glass groups
// alone. Reason and ticket are required; a click in Slack is not enough.
func (s *Store) BreakGlass(ctx context.Context, id, short string, v Voter, reason, ticket string) (Request, error) {
	return s.act(ctx, "breaking the glass of", id, func(tx *audit.Tx, r *Request) error {
		glass := r.Approval.BreakGlass
		switch {
		case short != Short(r.Digest):
			return ErrOtherBinding
		case glass == nil:
			return ErrNoGlass
		}
		if err := r.mayAct(v, glass.Groups); err != nil {
			return err
		}
		if err := checkReason(reason, true); err != nil {
			return err
		}
		if checkReason(ticket, true) != nil {
			return ErrNeedsTicket
		}
		if Hidden(r.Binding.Statement) != nil && v.Via != ViaConsole {
			return ErrNotReadable
		}
		if v.Via != ViaConsole && v.Via != ViaHost {
			return ErrNeedsSignIn
		}
		if r.State == Approved && r.BreakGlass != nil && r.BreakGlass.By.Same(v.Identity) {
			return nil // a double click
		}
		if r.State != Pending {
			return fmt.Errorf("%w: it is %s", ErrNotPending, r.State)
		}
		now := s.now().UTC()
		r.BreakGlass = &BrokenGlass{By: v.Identity, Reason: reason, Ticket: ticket, At: now, AcknowledgeBy: now.Add(glass.AcknowledgeWithin)}
		r.RunBy = now.Add(min(r.Approval.RunWithin, glassRun))
		// The record of the breaking comes before what it leads to.
		if err := s.record(tx, r, change{by: &v, reason: reason, event: audit.Event{Kind: audit.KindGlassBroken, Ticket: ticket}}); err != nil {
			return err
		}
		if err := s.move(tx, r, Approved, change{by: &v, notice: GlassBroken}); err != nil {
			return err
		}
		return s.tell(tx, r, Unacknowledged, r.BreakGlass.AcknowledgeBy)
	})
}

// Acknowledge says that a second person has looked at what somebody let through
// alone: a member of the approving groups or of the break_glass groups, who is
// neither that person nor the requester.
func (s *Store) Acknowledge(ctx context.Context, id string, v Voter, note string) (Request, error) {
	return s.act(ctx, "acknowledging", id, func(tx *audit.Tx, r *Request) error {
		glass := r.BreakGlass
		if glass == nil {
			return ErrNotOpen
		}
		groups := r.Approval.Groups
		if r.Approval.BreakGlass != nil {
			groups = slices.Concat(groups, r.Approval.BreakGlass.Groups)
		}
		if err := r.mayAct(v, groups); err != nil {
			return err
		}
		if v.Same(glass.By) {
			return ErrOwnRequest
		}
		if err := checkReason(note, false); err != nil {
			return err
		}
		if glass.AckBy != nil {
			return nil // somebody was first
		}
		broken := *glass
		by := v.Identity
		broken.AckBy, broken.AckAt, broken.Note = &by, s.now().UTC(), note
		r.BreakGlass = &broken
		if err := s.save(tx, r, r.State); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM approval_outbox WHERE approval = ? AND kind = ?`, r.ID, string(Unacknowledged)); err != nil {
			return err
		}
		return s.leave(tx, r, change{by: &v, reason: note, event: audit.Event{Kind: audit.KindGlassAcknowledged}, notice: Acknowledged})
	})
}

func (s *Store) closing(v Voter, reason string) *Closing {
	return &Closing{By: v.Identity, Reason: reason, At: s.now().UTC()}
}

// Cancel takes a request back: its requester does, before anybody has decided
// or, once it is approved, before it runs.
func (s *Store) Cancel(ctx context.Context, id string, by policy.Identity) (Request, error) {
	return s.act(ctx, "cancelling", id, func(tx *audit.Tx, r *Request) error {
		// Somebody else's request and none at all are the same to a requester.
		if by.Subject == "" || by.Issuer != r.Binding.Requester.Issuer || by.Subject != r.Binding.Requester.Subject {
			return ErrNotFound
		}
		v := Voter{Identity: by}
		r.Closed = s.closing(v, "")
		switch r.State {
		case Pending:
			return s.move(tx, r, Cancelled, change{by: &v})
		case Approved:
			return s.move(tx, r, Revoked, change{by: &v})
		default:
			return fmt.Errorf("%w: it is %s", ErrNotPending, r.State)
		}
	})
}

// Revoke takes an approval back before it is used. Whoever may vote may.
func (s *Store) Revoke(ctx context.Context, id string, v Voter, reason string) (Request, error) {
	return s.act(ctx, "revoking", id, func(tx *audit.Tx, r *Request) error {
		if err := r.MayDecide(v); err != nil {
			return err
		}
		if err := checkReason(reason, false); err != nil {
			return err
		}
		if r.State != Approved {
			return fmt.Errorf("%w: it is %s", ErrNotClaimable, r.State)
		}
		r.Closed = s.closing(v, reason)
		return s.move(tx, r, Revoked, change{by: &v, reason: reason})
	})
}

// Settle is a person's word on how an execution ended that nobody else knows
// the end of: [Done] or [Failed].
func (s *Store) Settle(ctx context.Context, id string, v Voter, to State, reason string) (Request, error) {
	return s.act(ctx, "settling", id, func(tx *audit.Tx, r *Request) error {
		if err := r.MayDecide(v); err != nil {
			return err
		}
		if err := checkReason(reason, true); err != nil {
			return err
		}
		if r.State != Indeterminate || to != Done && to != Failed {
			return ErrNotOpen
		}
		r.Closed = s.closing(v, reason)
		return s.move(tx, r, to, change{by: &v, reason: reason})
	})
}
