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
// the answer. When it comes in time the gate runs the statement and its result
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
	if err := g.meet(ctx, call.Caller); err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	j := g.judge(call, req.SQL, 0)
	receipt, err := g.config.Log.Append(ctx, decisionEvent("request_approval", call, j, j.Decision.Verdict != policy.Ask))
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	switch {
	case j.Denied():
		return QueryAnswer{Answer: denied(j, receipt.Ref())}
	case j.Decision.Verdict == policy.Ask:
		g.remember(call.Caller)
		request, err := g.ask(ctx, call, j, req.SQL)
		if errors.Is(err, errTooManyRequests) {
			return QueryAnswer{Answer: Answer{
				Status: Denied, Code: CodeApprovalLimit, Message: "Too many of your requests wait for a person already.",
				Next: "Wait for the answers, or take requests back that are not needed.", Audit: receipt.Ref(),
			}}
		}
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

// manyRequests is how many requests of one requester wait at a time: people who
// are asked too much stop reading.
const manyRequests = 20

var errTooManyRequests = errors.New("too many requests wait already")

// ask asks a person. What is asked for already, word for word, is not asked for
// twice: clients repeat calls that took long.
func (g *Gate) ask(ctx context.Context, call Call, j *Judgement, sent string) (approvals.Request, error) {
	who := call.Caller.Identity()
	waiting, err := g.config.Approvals.List(ctx, approvals.Filter{States: []approvals.State{approvals.Pending}, Requester: &who})
	if err != nil {
		return approvals.Request{}, err
	}
	digest := g.binding(call, j).Digest()
	for _, r := range waiting {
		if r.Digest == digest {
			return r, nil
		}
	}
	if len(waiting) >= manyRequests {
		return approvals.Request{}, errTooManyRequests
	}
	return g.config.Approvals.Create(ctx, *g.asking(ctx, call, j, sent))
}

// asking is what a person is asked.
func (g *Gate) asking(ctx context.Context, call Call, j *Judgement, sent string) *approvals.Asking {
	brief, marks := g.brief(ctx, call, j)
	return &approvals.Asking{
		Binding: g.binding(call, j), Caller: call.Caller, Conversation: call.Conversation, Sent: sent, Reason: call.Purpose, Client: call.Client.String(),
		Need: *j.Decision.Approval, Brief: brief, Marks: marks,
	}
}

// CheckApproval looks after a request of the caller's own, waiting up to
// req.Wait seconds for its end. Once the statement has run, its answer is the
// answer, for as long as it is kept.
func (g *Gate) CheckApproval(ctx context.Context, call Call, req CheckRequest, progress Progress) QueryAnswer {
	if req.Wait < 0 {
		return QueryAnswer{Answer: g.BadCall(ctx, call, "check_approval", "wait_seconds cannot be negative.")}
	}
	receipt, err := g.config.Log.Append(ctx, toolEvent("check_approval", call, req.ID))
	if err == nil {
		err = g.meet(ctx, call.Caller)
	}
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
		Session:   call.Session,
		Role:      g.role(call.Caller, j),
		Warehouse: g.config.Compute,
		Objects:   objects(j.Statement),
		Versions:  j.Versions,
		Masks:     maskNames(j.Decision.Masks),
		Filters:   filterNames(j.Decision.Filters),
		Limits:    j.Decision.Limits,
		Policy:    j.Decision.Policy,
		Database:  g.config.Database,
		Schema:    g.config.Schema,
	}
}

// role is what a statement runs as: the name of its login, or the role of the
// only one.
func (g *Gate) role(c policy.Caller, j *Judgement) string {
	if g.config.Login != nil {
		if name := g.config.Login(c, j.Statement.Class); name != "" {
			return name
		}
	}
	return g.config.Role
}

// await waits until a request has come to its end, at most for the time given.
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
					progress("still waiting for " + id)
				}
			}
		}()
	}
	for {
		request, err := g.config.Approvals.Get(ctx, id)
		// Somebody else's request and none at all are the same to the caller.
		if errors.Is(err, approvals.ErrNotFound) || err == nil && !own(request, call.Caller) {
			return QueryAnswer{Answer: Answer{
				Status: Denied, Code: CodeApprovalUnknown, Message: "There is no such approval request of yours.",
				Next: "Use the id that request_approval returned.", Audit: ref,
			}}
		}
		if err != nil {
			return QueryAnswer{Answer: g.unavailable(err)}
		}
		switch request.State {
		case approvals.Pending, approvals.Approved, approvals.Executing:
			if waiting.Err() != nil {
				return pending(request, ref)
			}
			if err := g.config.Approvals.Wait(waiting, id, request.State); err != nil && waiting.Err() == nil {
				return QueryAnswer{Answer: g.unavailable(err)}
			}
		case approvals.Done, approvals.Failed:
			return g.answered(ctx, request, ref)
		case approvals.Revoked:
			if request.Before == "" {
				return closed(request, ref)
			}
			id = request.Before // a person was asked again
		default:
			return closed(request, ref)
		}
	}
}

// own reports whether a request is the caller's.
func own(r approvals.Request, c policy.Caller) bool {
	return c.Subject != "" && r.Binding.Requester.Issuer == c.Issuer && r.Binding.Requester.Subject == c.Subject
}

// answered returns the answer that was kept, or says that it is gone.
func (g *Gate) answered(ctx context.Context, r approvals.Request, ref string) QueryAnswer {
	a, err := g.kept.open(ctx, r)
	if errors.Is(err, errGone) {
		return closed(r, ref)
	}
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	if (a.Status == Completed) != (r.State == approvals.Done) {
		// What the gate took for a failure was none, as the account says.
		g.closeRows(a.Rows)
		return closed(r, ref)
	}
	a.Approval = info(r)
	return a
}

func pending(r approvals.Request, ref string) QueryAnswer {
	a := Answer{
		Status: Pending, Code: policy.CodeApprovalNeeded, Message: "A person has been asked and has not decided yet.",
		Next: "Call check_approval with this id and wait_seconds 50, or tell the user and check later.", Audit: ref,
	}
	switch {
	case r.State == approvals.Approved:
		a.Message = "A person has approved it, and it is about to run."
	case r.State == approvals.Executing:
		a.Message = "A person has approved it, and it runs."
	case r.After != "":
		a.Code, a.Message = CodeApprovalStale, "What would run now is not what was approved, so a person has been asked again, and has not decided yet."
	}
	return QueryAnswer{Answer: a, Approval: info(r)}
}

// closed answers for a request that will not run any more, or whose answer is
// not kept.
func closed(r approvals.Request, ref string) QueryAnswer {
	a := Answer{Status: Denied, Audit: ref}
	switch r.State {
	case approvals.Denied:
		a.Code, a.Message, a.Next = CodeApprovalDenied, "A person denied the request.", "Read approval.message, do not repeat the request unchanged."
	case approvals.Expired:
		a.Code, a.Message, a.Next = CodeApprovalExpired, "The request expired before it was decided or run.", "Ask again if it is still needed."
	case approvals.Cancelled:
		a.Code, a.Message, a.Next = CodeApprovalCancelled, "The request was taken back before it ran.", "Ask again if it is still needed."
	case approvals.Revoked:
		a.Code, a.Message, a.Next = CodeApprovalDenied, "The approval was taken back before the statement ran.", "Read approval.message, and ask again if it is still needed."
		switch {
		case r.Closed != nil && own(r, policy.Caller{Issuer: r.Closed.By.Issuer, Subject: r.Closed.By.Subject}):
			a.Code, a.Message, a.Next = CodeApprovalCancelled, "The request was taken back before it ran.", "Ask again if it is still needed."
		case r.Closed != nil && r.Closed.By.Subject == "":
			a.Code, a.Message, a.Next = CodeApprovalStale, "What would run now is not what was approved: the policy, the tables or your rights have changed.", "Send it with the query tool to see how it is judged now."
		}
	case approvals.Done:
		a.Status, a.Code, a.Message, a.Next = Completed, CodeApprovalUsed, "The approved statement has run; its answer is not kept any more.", "An approval is good for one run: ask again to run it again."
	case approvals.Failed:
		a.Status, a.Code, a.Message, a.Next = Failed, CodeApprovalUsed, "The approved statement failed.", "Mend the statement and ask again."
	case approvals.Indeterminate:
		a.Status, a.Code, a.Message, a.Next = Failed, CodeApprovalUnknownOutcome, "The approved statement was sent, or was about to be, and its outcome is not known.", "Do not repeat it. A person has to look at the warehouse's history."
	default:
		a.Code, a.Message = CodeApprovalUnknown, "The request is in a state that allows nothing."
	}
	out := QueryAnswer{Answer: a, Approval: info(r)}
	if r.Outcome != nil {
		out.QueryID = r.Outcome.QueryID
	}
	return out
}

func info(r approvals.Request) *ApprovalInfo {
	i := &ApprovalInfo{ID: r.ID, State: string(r.State), Decide: r.DecideBy, Asked: r.Asked, Changed: r.Asked}
	for _, v := range r.Votes {
		i.Changed = v.At
		if v.Reason != "" {
			i.Message = v.Reason
		}
	}
	if r.Closed != nil && r.Closed.Reason != "" && r.Closed.By.Subject != "" {
		i.Message = r.Closed.Reason
	}
	return i
}
