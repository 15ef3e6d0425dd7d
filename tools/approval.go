package tools

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"querywarden/approvals"
	"querywarden/policy"
)

// Progress tells a waiting caller that the gate is still there. It may be nil.
type Progress func(message string)

// progressEvery is how often a waiting call says so: clients drop calls that
// stay silent.
const progressEvery = 10 * time.Second

// longestWait bounds how long check_approval holds a call, below the minute
// after which the impatient clients give up.
const longestWait = 50 * time.Second

// reasonLimit is how long a reason may be, in bytes: approvers read it.
const reasonLimit = 2000

// RequestApproval asks a person to let a statement run, and waits a while for
// the answer. When the answer comes in time the statement runs and its result
// is the answer; otherwise the call ends with [Pending] and the request's id,
// and [Gate.CheckApproval] goes on from there.
func (g *Gate) RequestApproval(ctx context.Context, call Call, req ApprovalRequest, progress Progress) QueryAnswer {
	switch reason := strings.TrimSpace(req.Reason); {
	case reason == "":
		return QueryAnswer{Answer: g.BadCall(ctx, call, "request_approval", "reason is empty, and a person decides on it.")}
	case len(reason) > reasonLimit || !utf8.ValidString(reason):
		return QueryAnswer{Answer: g.BadCall(ctx, call, "request_approval", "reason is longer than 2000 bytes or not valid UTF-8.")}
	}
	call.Purpose = req.Reason
	j := g.judge(call.Caller, req.SQL, 0)
	receipt, err := g.config.Log.Append(ctx, decisionEvent("request_approval", call, j, j.Decision.Verdict != policy.Ask))
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	switch {
	case j.Denied():
		return QueryAnswer{Answer: denied(j, receipt.Ref())}
	case j.Decision.Verdict == policy.Ask:
		request, err := g.config.Approvals.Create(ctx, approvals.Asking{
			Binding: g.binding(call, j), Caller: call.Caller, Sent: req.SQL, Reason: req.Reason, Client: call.Client.String(), Need: *j.Decision.Approval,
		})
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		wait := g.config.ApprovalWait
		if req.NoWait {
			wait = 0
		}
		return g.await(ctx, call, request.ID, wait, receipt.Ref(), progress)
	default:
		return QueryAnswer{Answer: Answer{
			Status: Denied, Code: CodeNothingToApprove, Message: "This statement needs no approval.",
			Next: "Send it with the query tool.", Audit: receipt.Ref(),
		}}
	}
}

// CheckApproval looks after a request of the caller's own, waiting up to
// req.Wait seconds for a decision. Once approved, the statement runs here and
// its result is the answer, once.
func (g *Gate) CheckApproval(ctx context.Context, call Call, req CheckRequest, progress Progress) QueryAnswer {
	if req.Wait < 0 {
		return QueryAnswer{Answer: g.BadCall(ctx, call, "check_approval", "wait_seconds cannot be negative.")}
	}
	receipt, err := g.config.Log.Append(ctx, toolEvent("check_approval", call, req.ID))
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	wait := min(time.Duration(req.Wait)*time.Second, longestWait)
	return g.await(ctx, call, req.ID, wait, receipt.Ref(), progress)
}

// CancelApproval takes back a request of the caller's own that has not run, and
// says what became of it.
func (g *Gate) CancelApproval(ctx context.Context, call Call, req CheckRequest) QueryAnswer {
	receipt, err := g.config.Log.Append(ctx, toolEvent("cancel_approval", call, req.ID))
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	_, err = g.config.Approvals.Cancel(ctx, req.ID, call.Caller.Identity())
	if err != nil && !errors.Is(err, approvals.ErrNotFound) && !errors.Is(err, approvals.ErrNotPending) {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	return g.await(ctx, call, req.ID, 0, receipt.Ref(), nil)
}

// binding is what an approval is good for: this statement, by this caller,
// with these masks and limits, in this place, under this policy. Anything else
// at execution is another request.
func (g *Gate) binding(call Call, j *Judgement) approvals.Binding {
	return approvals.Binding{
		Statement: j.Shown,
		Requester: call.Caller.Identity(),
		Behind:    call.Caller.Behind,
		Filters:   filterNames(j.Decision.Filters),
		Objects:   objects(j.Statement),
		Versions:  j.Versions,
		Masks:     maskNames(j.Decision.Masks),
		Limits:    j.Decision.Limits,
		Policy:    j.Decision.Policy,
		Database:  g.config.Database,
		Schema:    g.config.Schema,
	}
}

// await waits until a request is decided, at most for the time given, and runs
// it if it is approved.
func (g *Gate) await(ctx context.Context, call Call, id string, wait time.Duration, ref string, progress Progress) QueryAnswer {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if progress != nil {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		told := make(chan struct{})
		defer func() { cancel(); <-told }()
		go func() {
			defer close(told)
			progress("waiting for a person to decide on " + id)
			for {
				select {
				case <-waiting.Done():
					return
				case <-tick.C:
					progress("still waiting for a person to decide on " + id)
				}
			}
		}()
	}
	for {
		request, err := g.config.Approvals.Get(ctx, id)
		// Somebody else's request and none at all are the same to the caller.
		if errors.Is(err, approvals.ErrNotFound) || err == nil && request.Binding.Requester != call.Caller.Identity() {
			return QueryAnswer{Answer: Answer{
				Status: Denied, Code: CodeApprovalUnknown, Message: "There is no such approval request of yours.",
				Next: "Use the id that request_approval returned.", Audit: ref,
			}}
		}
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		if request.State == approvals.Approved {
			return g.runApproved(ctx, call, request, ref)
		}
		if request.State != approvals.Pending {
			return closed(request, ref)
		}
		if waiting.Err() != nil {
			return pending(request, ref)
		}
		if err := g.config.Approvals.Wait(waiting, id, request.State); err != nil && waiting.Err() == nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
	}
}

func pending(r approvals.Request, ref string) QueryAnswer {
	return QueryAnswer{
		Answer: Answer{
			Status: Pending, Code: policy.CodeApprovalNeeded, Message: "A person has been asked and has not decided yet.",
			Next: "Call check_approval with this id and wait_seconds 50, or tell the user and check later.", Audit: ref,
		},
		Approval: info(r),
	}
}

// closed answers for a request that will not run any more, or runs already.
func closed(r approvals.Request, ref string) QueryAnswer {
	a := Answer{Status: Denied, Audit: ref}
	switch r.State {
	case approvals.Denied:
		a.Code, a.Message, a.Next = CodeApprovalDenied, "A person denied the request.", "Read approval.message, do not repeat the request unchanged."
	case approvals.Expired:
		a.Code, a.Message, a.Next = CodeApprovalExpired, "The request expired before it was decided or run.", "Ask again if it is still needed."
	case approvals.Cancelled, approvals.Revoked:
		a.Code, a.Message, a.Next = CodeApprovalDenied, "The request was taken back.", "Ask again if it is still needed."
	case approvals.Executing:
		a.Status, a.Code, a.Message, a.Next = Pending, CodeApprovalUsed, "The approved statement is running right now, in another call.", "Wait for that call's answer."
	case approvals.Done:
		a.Status, a.Code, a.Message, a.Next = Completed, CodeApprovalUsed, "The approved statement has run already; its answer was returned then.", "An approval is good for one run: ask again to run it again."
	case approvals.Failed:
		a.Status, a.Code, a.Message, a.Next = Failed, CodeApprovalUsed, "The approved statement ran and failed.", "Mend the statement and ask again."
	case approvals.Indeterminate:
		a.Status, a.Code, a.Message, a.Next = Failed, CodeApprovalUnknownOutcome, "The approved statement was sent and its outcome is not known.", "Do not repeat it. A person has to look at the warehouse's history."
	default:
		a.Code, a.Message = CodeApprovalUnknown, "The request is in a state that allows nothing."
	}
	return QueryAnswer{Answer: a, Approval: info(r)}
}

func info(r approvals.Request) *ApprovalInfo {
	i := &ApprovalInfo{ID: r.ID, State: string(r.State), Decide: r.DecideBy, Asked: r.Asked, Changed: r.Asked}
	for _, v := range r.Votes {
		i.Changed = v.At
		if v.Reason != "" {
			i.Message = v.Reason
		}
	}
	return i
}

// runApproved decides everything again, with today's policy and catalog, and
// runs the statement only if what would run now is what was approved.
func (g *Gate) runApproved(ctx context.Context, call Call, request approvals.Request, ref string) QueryAnswer {
	if err := g.Refresh(ctx); err != nil {
		g.config.Logger.Error("refreshing the catalog before an approved statement", "err", err)
		a := failure(err)
		a.Audit = ref
		return QueryAnswer{Answer: a, Approval: info(request)}
	}
	j := g.judge(call.Caller, request.Sent, 0)
	digest := g.binding(call, j).Digest()
	if j.Denied() || digest != request.Digest {
		// Another call may have run it since, which has changed the tables.
		now, err := g.config.Approvals.Get(ctx, request.ID)
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		if now.State != approvals.Approved {
			return closed(now, ref)
		}
		stale, err := g.config.Log.Append(ctx, staleEvent(call, j, request.ID))
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		return QueryAnswer{Answer: Answer{
			Status: Denied, Code: CodeApprovalStale, Message: "What would run now is not what was approved: the policy, the tables or your rights have changed.",
			Next: "Ask again with request_approval.", Audit: stale.Ref(),
		}, Approval: info(request)}
	}
	claim, receipt, err := g.config.Approvals.Claim(ctx, request.ID, digest, j.Decision.Limits.Duration+time.Minute, executionEvent(call, j, request.ID))
	if errors.Is(err, approvals.ErrNotClaimable) {
		now, err := g.config.Approvals.Get(ctx, request.ID)
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		return closed(now, ref)
	}
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	answer := g.run(ctx, call, "approved", j, receipt)
	outcome := approvals.Done
	switch {
	case answer.Code == CodeUnavailable:
		// It ran, and that could not be recorded: nobody may take it for done.
		outcome = approvals.Indeterminate
	case answer.Status != Completed:
		outcome = approvals.Failed
	}
	if _, err := g.config.Approvals.Finish(context.WithoutCancel(ctx), claim, outcome, approvals.Outcome{QueryID: answer.QueryID, Code: string(answer.Code)}); err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	request.State = outcome
	answer.Approval = info(request)
	return answer
}
