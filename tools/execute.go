package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// The gate runs what was approved by itself, as soon as it is approved and once
// more at every start. Nobody has to be there: the answer waits for the
// requester. What was left by a gateway that died is looked up in the account's
// history, and never sent again.

const (
	// atOnce is how many approved statements run at a time.
	atOnce = 4
	// lookAgain is when the gate looks for approved requests although nobody has
	// said that there are any.
	lookAgain = time.Minute
	// tryAgain is when it tries again what it could not begin.
	tryAgain = 5 * time.Second
	// leaseMargin is how much longer a claim holds than the statement may take.
	leaseMargin = time.Minute
	// stopRunning is how long a closing gate waits for what it runs.
	stopRunning = 10 * time.Second
	// firstInquiry and lastInquiry bound how often the account is asked what
	// became of a statement.
	firstInquiry, lastInquiry = 5 * time.Second, time.Hour
	// historyReach is how far back the account's own history reaches.
	historyReach = 7 * 24 * time.Hour
)

// An executor runs approved statements.
type executor struct {
	slots chan struct{}
	runs  sync.WaitGroup
	ctx   context.Context // of what runs; ends after the gate's background
	stop  context.CancelFunc

	mu      sync.Mutex
	running map[string]bool      // by request
	later   map[string]time.Time // those that could not be begun, and when to try again
	failed  chan struct{}        // holds a word when there is one more of these
	inquire chan struct{}        // holds a word when the end of one is not known
}

func newExecutor(ctx context.Context) *executor {
	e := &executor{slots: make(chan struct{}, atOnce), running: map[string]bool{}, later: map[string]time.Time{}, failed: make(chan struct{}, 1), inquire: make(chan struct{}, 1)}
	e.ctx, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	return e
}

// close waits for what runs, and then no longer.
func (e *executor) close() {
	done := make(chan struct{})
	go func() { e.runs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopRunning):
	}
	e.stop()
	<-done
}

// begin marks a request as running here; false if it is already, or if it is
// to be tried again later, at the time returned.
func (e *executor) begin(id string) (ok bool, later time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running[id] {
		return false, time.Time{}
	}
	if later := e.later[id]; time.Now().Before(later) {
		return false, later
	}
	delete(e.later, id)
	e.running[id] = true
	return true, time.Time{}
}

// end takes the mark off. A request that could not be begun is tried again.
func (e *executor) end(id string, err error) {
	e.mu.Lock()
	delete(e.running, id)
	if err != nil {
		e.later[id] = time.Now().Add(tryAgain)
	}
	e.mu.Unlock()
	if err != nil {
		leave(e.failed)
	}
}

// forget drops what was to be tried again and is not approved any more.
func (e *executor) forget(approved []approvals.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.later, func(id string, _ time.Time) bool {
		return !slices.ContainsFunc(approved, func(r approvals.Request) bool { return r.ID == id })
	})
}

func (e *executor) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running[id]
}

// serveApproved runs what is approved, until the context ends.
func (g *Gate) serveApproved(ctx context.Context) {
	for ctx.Err() == nil {
		next, err := g.beginApproved(ctx)
		if err != nil && ctx.Err() == nil {
			g.config.Logger.Error("looking for what is approved", "err", err)
		}
		wait := lookAgain
		if !next.IsZero() {
			wait = min(wait, max(time.Until(next), 0)+time.Millisecond)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-g.config.Approvals.Ready():
		case <-g.executor.failed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// beginApproved ends what has expired, begins what is approved, and returns when
// the next clock runs out.
func (g *Gate) beginApproved(ctx context.Context) (time.Time, error) {
	next, err := g.config.Approvals.Sweep(ctx)
	if err != nil {
		return next, err
	}
	approved, err := g.config.Approvals.List(ctx, approvals.Filter{States: []approvals.State{approvals.Approved}})
	if err != nil {
		return next, err
	}
	g.executor.forget(approved)
	for _, r := range approved {
		ok, later := g.executor.begin(r.ID)
		if !ok {
			if !later.IsZero() && (next.IsZero() || later.Before(next)) {
				next = later
			}
			continue
		}
		g.executor.runs.Go(func() {
			var err error
			defer func() { g.executor.end(r.ID, err) }()
			select {
			case g.executor.slots <- struct{}{}:
				defer func() { <-g.executor.slots }()
			case <-ctx.Done():
				return
			}
			if err = g.runApproved(g.executor.ctx, r.ID); err != nil && ctx.Err() == nil {
				g.config.Logger.Error("running what was approved", "approval", r.ID, "err", err)
			}
		})
	}
	return next, nil
}

// leave leaves a word in a channel that holds one.
func leave(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // there is one already
	}
}

// runApproved decides everything again, with today's policy, catalog and
// membership, and runs the statement only if what would run now is what was
// approved. If it is something else, a person is asked again. An error means that
// nothing was begun.
func (g *Gate) runApproved(ctx context.Context, id string) error {
	r, err := g.config.Approvals.Get(ctx, id)
	if err != nil || r.State != approvals.Approved {
		return err
	}
	if err := g.Refresh(ctx); err != nil {
		return err
	}
	call := callOf(r)
	j := g.judge(call, r.Sent, 0)
	binding := g.binding(call, j)
	if j.Decision.Verdict != policy.Ask || j.Denied() || binding.Digest() != r.Digest {
		return g.supersede(ctx, call, j, r)
	}
	lease := j.Decision.Limits.Duration + leaseMargin
	claim, receipt, err := g.config.Approvals.Claim(ctx, id, r.Digest, lease, executionEvent(call, j, id))
	if errors.Is(err, approvals.ErrNotClaimable) {
		return nil // somebody was quicker, with a run or with a veto
	}
	if err != nil {
		return err
	}
	g.perform(ctx, call, j, r, claim, receipt)
	return nil
}

// callOf is the call that a request was made by. A conversation that a rule
// demands was there then, or there would be no request.
func callOf(r approvals.Request) Call {
	return Call{Caller: r.Caller, Session: r.Binding.Session, Client: Client{Name: r.Client}, Conversation: r.Conversation, Purpose: r.Reason, accompanied: true}
}

// perform runs a claimed statement and records how it ended. The answer is kept
// before the request is done, so that whoever sees the one finds the other.
func (g *Gate) perform(ctx context.Context, call Call, j *Judgement, r approvals.Request, claim approvals.Claim, receipt audit.Receipt) {
	detached := context.WithoutCancel(ctx)
	answer, state := QueryAnswer{}, approvals.Failed
	var err error
	if r.Approval.SafetyCopy > 0 {
		claim, err = g.safetyCopy(ctx, claim, r)
	}
	if err == nil {
		// The last look: a gateway that has slept since the claim may be too late.
		err = g.config.Approvals.Holds(ctx, claim)
	}
	if err == nil {
		answer, err = g.runRecorded(ctx, call, "approved", j, receipt, r.ID)
		state = endState(j, answer, err)
	} else {
		g.config.Logger.Error("an approved statement was not sent", "approval", r.ID, "err", err)
		answer = QueryAnswer{Answer: notSent(err, receipt.Ref())}
		err = nil
	}
	outcome := approvals.Outcome{Rows: answer.RowCount, QueryID: answer.QueryID, Code: string(answer.Code), Ref: answer.Audit}
	if err != nil {
		outcome.Error = errorClass(err)
	}
	if state == approvals.Done {
		outcome.Undo, outcome.UndoBy = g.undone(r, answer.QueryID, time.Now())
	}
	if err := g.kept.keep(detached, r, answer); err != nil {
		g.config.Logger.Error("keeping the answer of an approved statement", "approval", r.ID, "err", err)
		g.closeRows(answer.Rows)
	}
	if _, err := g.config.Approvals.Finish(detached, claim, state, outcome); err != nil {
		g.config.Logger.Error("recording the end of an approved statement", "approval", r.ID, "err", err)
		return
	}
	if state == approvals.Indeterminate {
		leave(g.executor.inquire)
	}
}

// notSent is the answer where an approved statement was not sent after all.
func notSent(err error, ref string) Answer {
	a := Answer{Status: Failed, Code: CodeNotSent, Message: "The statement was approved and not sent: the gateway met an error of its own.", Next: "Ask again with request_approval.", Audit: ref}
	if errors.Is(err, errNoCopy) {
		a.Code, a.Message, a.Next = CodeNoCopy, "The statement did not run: the safety copy that its rule demands could not be made.", "Tell the gateway's operator, who can see why."
	}
	return a
}

// endState is the state that an execution ends in. Where it is not known whether
// the statement ran, nobody may be told that it did not, unless it changes
// nothing anyway.
func endState(j *Judgement, a QueryAnswer, err error) approvals.State {
	unknown := approvals.Indeterminate
	if j.Statement.Class == policy.Read && len(j.Statement.Effects) == 0 {
		unknown = approvals.Failed
	}
	var werr *warehouse.Error
	switch {
	case a.Status == Completed:
		return approvals.Done
	case a.Code == CodeUnavailable: // it ran, and that could not be recorded
		return approvals.Indeterminate
	case errors.As(err, &werr):
		switch werr.Class {
		case warehouse.Syntax, warehouse.Object, warehouse.Permission, warehouse.Data, warehouse.Auth:
			return approvals.Failed
		case warehouse.Timeout, warehouse.Cancelled, warehouse.Unavailable, warehouse.Internal:
			return unknown
		default:
			return unknown
		}
	case errors.Is(err, errRowTooLarge), errors.Is(err, errSpool), errors.Is(err, errTooManyNotes):
		return approvals.Failed
	default:
		return unknown
	}
}

// supersede sends what is not what was approved back to a person, or ends it
// where there is nothing to ask a person about.
func (g *Gate) supersede(ctx context.Context, call Call, j *Judgement, r approvals.Request) error {
	if _, err := g.config.Log.Append(ctx, staleEvent(call, j, r.ID)); err != nil {
		return err
	}
	why := "What would run now is not what was approved: the policy, the tables or the requester's rights have changed."
	var next *approvals.Asking
	switch {
	case j.Denied():
		why = "Policy denies it now."
	case j.Decision.Verdict == policy.Ask:
		next = g.asking(ctx, call, j, r.Sent)
	case j.Decision.Verdict == policy.Allow:
		why = "Policy needs nobody's approval for it any more."
	default:
		why = "Policy denies it now."
	}
	_, err := g.config.Approvals.Supersede(ctx, r.ID, why, next)
	if errors.Is(err, approvals.ErrNotClaimable) {
		return nil // somebody was quicker
	}
	return err
}

// inquire asks the account what became of statements whose end nobody knows,
// until the context ends: those that a gateway has left behind, and those that
// went wrong on the way.
func (g *Gate) inquire(ctx context.Context) {
	type inquiry struct {
		at   time.Time
		wait time.Duration
	}
	due := map[string]inquiry{}
	for ctx.Err() == nil {
		open, err := g.config.Approvals.List(ctx, approvals.Filter{States: []approvals.State{approvals.Executing, approvals.Indeterminate}})
		if err != nil && ctx.Err() == nil {
			g.config.Logger.Error("looking for what was left behind", "err", err)
		}
		next := time.Now().Add(lookAgain)
		known := map[string]bool{}
		for _, r := range open {
			if g.executor.has(r.ID) || time.Since(r.Claimed) > historyReach {
				continue
			}
			known[r.ID] = true
			q, ok := due[r.ID]
			if !ok {
				q = inquiry{time.Now(), firstInquiry}
			}
			if !q.at.After(time.Now()) {
				if err := g.conclude(ctx, r); err != nil && ctx.Err() == nil {
					g.config.Logger.Error("asking what became of a statement", "approval", r.ID, "err", err)
				}
				q = inquiry{time.Now().Add(q.wait), min(2*q.wait, lastInquiry)}
			}
			due[r.ID] = q
			if q.at.Before(next) {
				next = q.at
			}
		}
		maps.DeleteFunc(due, func(id string, _ inquiry) bool { return !known[id] })
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-g.executor.inquire:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// conclude looks up what became of one statement, by the receipt that it carried
// as its tag, and never sends it.
func (g *Gate) conclude(ctx context.Context, r approvals.Request) error {
	r, err := g.config.Approvals.Get(ctx, r.ID)
	if err != nil {
		return err
	}
	if r.State != approvals.Executing && r.State != approvals.Indeterminate || g.executor.has(r.ID) {
		return nil // it has come to its end meanwhile
	}
	found, err := g.config.Warehouse.Find(ctx, r.Tag, r.Claimed, func(sql string) (audit.Receipt, error) {
		return g.config.Log.Append(ctx, catalogEvent(sql))
	})
	if err == nil {
		i := slices.IndexFunc(found, func(p warehouse.Past) bool { return p.Ending == warehouse.Succeeded })
		if i < 0 {
			i = slices.IndexFunc(found, func(p warehouse.Past) bool { return p.Ending == warehouse.Running || p.Ending == warehouse.Unknown })
		}
		if i < 0 && len(found) > 0 {
			i = 0
		}
		if i >= 0 {
			return g.concludeBy(ctx, r, found[i])
		}
	}
	if r.State == approvals.Executing && !time.Now().Before(r.Lease) {
		_, settled := g.config.Approvals.Conclude(ctx, r.ID, approvals.Indeterminate, approvals.Outcome{Code: string(CodeApprovalUnknownOutcome)})
		return errors.Join(err, settled)
	}
	return err
}

func (g *Gate) concludeBy(ctx context.Context, r approvals.Request, p warehouse.Past) error {
	o := approvals.Outcome{QueryID: p.QueryID, Rows: p.Rows}
	to := approvals.Failed
	switch p.Ending {
	case warehouse.Succeeded:
		to, o.Code = approvals.Done, string(CodeCompleted)
		o.Undo, o.UndoBy = g.undone(r, p.QueryID, p.End)
	case warehouse.Errored:
		o.Code, o.Error = string(CodeWarehouse), p.Code
	case warehouse.Running, warehouse.Unknown:
		return nil
	default:
		return nil
	}
	_, err := g.config.Approvals.Conclude(ctx, r.ID, to, o)
	if errors.Is(err, approvals.ErrNotOpen) {
		return nil // somebody was quicker
	}
	if err != nil {
		return err
	}
	g.config.Logger.Info("the account's history says what became of a statement", "approval", r.ID, "state", string(to), "query", p.QueryID)
	if to == approvals.Done {
		return g.Refresh(ctx)
	}
	return nil
}

// tidy ends what has been kept long enough, until the context ends.
func (g *Gate) tidy(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if err := errors.Join(g.kept.drop(ctx, false), g.dropCopies(ctx)); err != nil && ctx.Err() == nil {
			g.config.Logger.Error("ending what was kept for a while", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// requesters remembers, of everybody who has a request open, with what rights
// they were last seen. A request that is approved runs with the rights of today.
type requesters struct {
	mu    sync.Mutex
	known map[[2]string]policy.Caller
}

// meet notes with what rights a caller came. It matters only for those who have
// asked for something that is still open.
func (g *Gate) meet(ctx context.Context, c policy.Caller) error {
	key := [2]string{c.Issuer, c.Subject}
	g.requesters.mu.Lock()
	before, ok := g.requesters.known[key]
	if ok {
		g.requesters.known[key] = c
	}
	g.requesters.mu.Unlock()
	if !ok || sameRights(before, c) {
		return nil
	}
	if err := g.config.Approvals.Restate(ctx, c); err != nil {
		return fmt.Errorf("noting a requester's rights: %w", err)
	}
	return nil
}

// remember begins to note the rights of a requester.
func (g *Gate) remember(c policy.Caller) {
	g.requesters.mu.Lock()
	g.requesters.known[[2]string{c.Issuer, c.Subject}] = c
	g.requesters.mu.Unlock()
}

// rememberOpen begins with the requesters of what is open at the start.
func (g *Gate) rememberOpen(ctx context.Context) error {
	open, err := g.config.Approvals.List(ctx, approvals.Filter{States: []approvals.State{approvals.Pending, approvals.Approved}, Limit: 100_000})
	for _, r := range open {
		g.remember(r.Caller)
	}
	return err
}

func sameRights(a, b policy.Caller) bool {
	behind := a.Behind == nil && b.Behind == nil || a.Behind != nil && b.Behind != nil && *a.Behind == *b.Behind
	return behind && a.Email == b.Email && a.Kind == b.Kind && slices.Equal(a.Groups, b.Groups)
}
