package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A Chain is what led from what one person said to what ran: one conversation
// of theirs. What the client told is asserted; what the gate did is observed.
type Chain struct {
	Conversation string
	Caller       *Caller // whose it is
	Source       string  // the client's kind
	Turns        []*Turn // in their order
}

// A Turn is one prompt and what came of it. A turn of which only calls are known
// has no prompt.
type Turn struct {
	ID       string
	Prompt   *Entry // nil where the client told of none
	Response *Entry // nil where it told of none
	Calls    []*ChainCall
}

// A ChainCall is one call of a tool.
type ChainCall struct {
	Announced *Entry   // what the client said of it; nil where it said nothing
	How       string   // the call was joined to its turn: exact, traced, matched
	Call      *Entry   // what the gate recorded; nil where no call was joined
	Follows   []*Entry // what became of it: requests, votes, execution, outcome
}

// ErrNoChain is returned where nothing tells which conversation it was.
var ErrNoChain = errors.New("no conversation is known")

// Chains returns the chains of a conversation, one a person: its name is the
// client's, and others may use the same. It fails with [ErrNoChain] if there is
// none.
func (r *Reader) Chains(ctx context.Context, conversation string) ([]*Chain, error) {
	if conversation == "" {
		return nil, ErrNoChain
	}
	var all []*Chain
	for e, err := range r.Entries(ctx, Filter{Conversation: conversation}) {
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(c *Chain) bool { return samePerson(c.Caller, e.Event.Caller) })
		if i < 0 {
			i = len(all)
			all = append(all, &Chain{Conversation: conversation, Caller: e.Event.Caller, Source: e.Event.Source})
		}
		if err := r.chain(ctx, all[i], e); err != nil {
			return nil, err
		}
	}
	if all == nil {
		return nil, fmt.Errorf("conversation %q: %w", conversation, ErrNoChain)
	}
	return all, nil
}

// ChainsOf returns the chain that an entry belongs to: a prompt, an announced
// call, a decision, an approved execution, an outcome.
func (r *Reader) ChainsOf(ctx context.Context, index int64) ([]*Chain, error) {
	for range 4 { // outcome → execution → decision → join
		e, err := r.Entry(ctx, index)
		if err != nil {
			return nil, err
		}
		v := e.Event
		switch v.Kind {
		case KindPrompt, KindResponse, KindToolUse, KindJoined:
			return r.mine(ctx, v.Conversation, v.Caller)
		case KindOutcome:
			if v.Of == nil {
				return nil, fmt.Errorf("entry %d: %w", index, ErrNoChain)
			}
			index = *v.Of
		case KindExecution, KindApprovalVoted, KindApprovalChanged, KindApprovalRequested:
			// It belongs where its request was made.
			if join, err := r.joinOf(ctx, index); err != nil || join != nil {
				return r.joined(ctx, join, err)
			}
			request, err := r.requestOf(ctx, v.Approval, index)
			if err != nil {
				return nil, err
			}
			index = request
		default:
			join, err := r.joinOf(ctx, index)
			if err == nil && join == nil {
				err = fmt.Errorf("entry %d: %w", index, ErrNoChain)
			}
			return r.joined(ctx, join, err)
		}
	}
	return nil, fmt.Errorf("entry %d: %w", index, ErrNoChain)
}

func (r *Reader) joined(ctx context.Context, join *Entry, err error) ([]*Chain, error) {
	if err != nil {
		return nil, err
	}
	return r.mine(ctx, join.Event.Conversation, join.Event.Caller)
}

// mine is the chain of one person.
func (r *Reader) mine(ctx context.Context, conversation string, who *Caller) ([]*Chain, error) {
	all, err := r.Chains(ctx, conversation)
	return slices.DeleteFunc(all, func(c *Chain) bool { return !samePerson(c.Caller, who) }), err
}

// joinOf finds what joins an entry to a turn, nil where nothing does.
func (r *Reader) joinOf(ctx context.Context, index int64) (*Entry, error) {
	for e, err := range r.Entries(ctx, Filter{joins: &index}) {
		return e, err
	}
	return nil, nil
}

// requestOf finds the decision that asked for an approval: the last one of the
// same session before the request.
func (r *Reader) requestOf(ctx context.Context, approval string, index int64) (int64, error) {
	for e, err := range r.Entries(ctx, Filter{Approval: approval}) {
		if err != nil {
			return 0, err
		}
		if e.Event.Kind != KindApprovalRequested {
			continue
		}
		for back := e.Index - 1; back >= 0 && back > e.Index-50; back-- {
			before, err := r.Entry(ctx, back)
			if err != nil {
				return 0, err
			}
			if v := before.Event; v.Kind == KindDecision && v.Tool == "request_approval" && samePerson(v.Caller, e.Event.Caller) {
				return back, nil
			}
		}
	}
	return 0, fmt.Errorf("entry %d: %w", index, ErrNoChain)
}

// samePerson reports whether two recorded callers are one person, or act for
// one.
func samePerson(a, b *Caller) bool { return a != nil && b != nil && a.person() == b.person() }

// person is who somebody is, or acts for.
func (c *Caller) person() string {
	if c.Behind != "" {
		return c.Behind
	}
	return c.Issuer + " " + c.Subject
}

// chain adds the next entry of a conversation.
func (r *Reader) chain(ctx context.Context, c *Chain, e *Entry) error {
	v := e.Event
	i := slices.IndexFunc(c.Turns, func(t *Turn) bool { return t.ID == v.Turn })
	if i < 0 {
		i = len(c.Turns)
		c.Turns = append(c.Turns, &Turn{ID: v.Turn})
	}
	t := c.Turns[i]
	if c.Source == "" {
		c.Source = v.Source
	}
	switch v.Kind {
	case KindPrompt:
		t.Prompt = e
	case KindResponse:
		t.Response = e
	case KindToolUse:
		i := slices.IndexFunc(t.Calls, func(c *ChainCall) bool {
			return v.CallID != "" && c.Announced == nil && c.Call != nil && c.Call.Event.CallID == v.CallID
		})
		if i >= 0 { // it was told late
			t.Calls[i].Announced = e
		} else {
			t.Calls = append(t.Calls, &ChainCall{Announced: e})
		}
	case KindJoined:
		if v.Of == nil {
			return nil
		}
		if slices.ContainsFunc(t.Calls, func(c *ChainCall) bool { return c.Call != nil && c.Call.Index == *v.Of }) {
			return nil
		}
		call := t.announced(v)
		decision, err := r.Entry(ctx, *v.Of)
		if err != nil {
			return err
		}
		if !samePerson(decision.Event.Caller, c.Caller) {
			return nil // no join crosses persons, whatever the log says
		}
		item, err := r.follow(ctx, decision, e.Index+followWithin)
		if err != nil {
			return err
		}
		call.Call, call.How, call.Follows = decision, v.How, item.Follows
	default: // no other kind is chosen by conversation
	}
	return nil
}

// followWithin bounds how far behind a join its call's end is looked for, in
// entries.
const followWithin = 1 << 20

// announced finds the announced call that a join is of, or makes one. A join that
// was made before the client's word stood in the log does not name its entry; the
// client's name for the call does.
func (t *Turn) announced(join Event) *ChainCall {
	for _, c := range t.Calls {
		if c.Call != nil || c.Announced == nil {
			continue
		}
		v := c.Announced.Event
		named := join.From == nil && join.CallID != "" && v.CallID == join.CallID && v.Tool == join.Tool
		if named || join.From != nil && c.Announced.Index == *join.From {
			return c
		}
	}
	c := &ChainCall{}
	t.Calls = append(t.Calls, c)
	return c
}
