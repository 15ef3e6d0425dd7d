package tools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// Query judges a statement and, where policy allows it, runs it. A statement
// that needs a person's approval is answered with [Pending] and does not run.
func (g *Gate) Query(ctx context.Context, call Call, req QueryRequest) QueryAnswer {
	if req.MaxRows < 0 {
		return QueryAnswer{Answer: g.BadCall(ctx, call, "query", "max_rows cannot be negative.")}
	}
	call.Purpose = req.Purpose
	if err := g.meet(ctx, call.Caller); err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	j := g.judge(call, req.SQL, req.MaxRows)
	receipt, err := g.config.Log.Append(ctx, decisionEvent("query", call, j, req.DryRun))
	if err != nil {
		return QueryAnswer{Answer: g.unavailable(err)}
	}
	switch {
	case req.DryRun:
		return dryRun(j, receipt.Ref())
	case j.Denied():
		return QueryAnswer{Answer: denied(j, receipt.Ref())}
	case j.Decision.Verdict == policy.Ask:
		r := j.Reason()
		return QueryAnswer{Answer: Answer{
			Status: Pending, Code: policy.CodeApprovalNeeded, Message: r.Sentence, Audit: receipt.Ref(),
			Next: "Nothing was run. Call request_approval with exactly this sql and a reason that a person will read.",
		}}
	case j.Decision.Verdict == policy.Allow:
		return g.run(ctx, call, "query", j, receipt)
	default:
		return QueryAnswer{Answer: denied(j, receipt.Ref())}
	}
}

// dryRun says what would happen.
func dryRun(j *Judgement, ref string) QueryAnswer {
	if j.Denied() {
		return QueryAnswer{Answer: denied(j, ref)}
	}
	a := QueryAnswer{
		Answer:    Answer{Status: Completed, Code: CodeDryRun, Message: "The statement would run as shown.", Audit: ref},
		Statement: j.Shown,
		Columns:   maskedColumns(j),
	}
	if j.Decision.Verdict == policy.Ask {
		a.Message = "The statement would wait for a person's approval, then run as shown."
		a.Next = "Call request_approval with exactly this sql and a reason."
	}
	return a
}

// maskedColumns lists the columns of the result that hold masked values.
func maskedColumns(j *Judgement) []Column {
	var cols []Column
	for _, m := range j.Masked {
		cols = append(cols, Column{Name: m.Column, Masked: m.Mask.String()})
	}
	return cols
}

// run sends a recorded statement to the warehouse and reads its answer under
// the decision's limits, steps 7 to 9 of the way of a statement. The outcome is
// durable before anything is returned; if it cannot be recorded, the rows are
// withheld although the statement ran. The caller closes the answer's rows.
func (g *Gate) run(ctx context.Context, call Call, tool string, j *Judgement, receipt audit.Receipt) QueryAnswer {
	a, _ := g.runRecorded(ctx, call, tool, j, receipt, "")
	return a
}

// runRecorded is run for a statement that may have been approved; it returns
// also what went wrong, for the gate itself.
func (g *Gate) runRecorded(ctx context.Context, call Call, tool string, j *Judgement, receipt audit.Receipt, approval string) (QueryAnswer, error) {
	started := time.Now()
	var res result
	notes, rows := j.copies, j.copiedRows
	if len(j.ends) == 0 {
		notes, rows = g.unknown(notes), g.unknownRows(rows)
	}
	if res.err = g.noteLineage(ctx, notes, rows, receipt); res.err == nil {
		res = g.execute(ctx, call.Caller, j, receipt)
	}
	res.duration = time.Since(started)
	outcome := outcomeEvent(tool, call, j, receipt, res)
	outcome.Approval = approval
	if _, err := g.config.Log.Append(ctx, outcome); err != nil {
		return QueryAnswer{Answer: g.unavailable(errors.Join(err, res.rows.Close()))}, err
	}
	if res.err != nil {
		// Some rows may have come before it went wrong.
		if err := res.rows.Close(); err != nil {
			g.config.Logger.Error("closing an answer", "err", err)
		}
	}
	if res.err == nil && changesCatalog(j.Statement.Class) {
		for _, o := range j.ends {
			if err := g.forget(ctx, o, receipt); err != nil {
				g.config.Logger.Error("forgetting", "err", err)
			}
		}
		if err := g.Refresh(context.WithoutCancel(ctx)); err != nil {
			g.config.Logger.Error("refreshing the catalog after a change", "err", err)
		}
	}
	return res.answer(j, receipt.Ref()), res.err
}

// changesCatalog reports whether a statement of this class may have changed
// what names mean.
func changesCatalog(c policy.Class) bool {
	switch c {
	case policy.Create, policy.Destroy, policy.Admin, policy.Procedural, policy.Unknown:
		return true
	case policy.Read, policy.Write, policy.Modify, policy.Session, policy.Stage:
		return false
	default:
		return true
	}
}

// A result is what came back, ready to be recorded and then returned.
type result struct {
	columns   []Column
	rows      *Rows
	kept      string // the rows, a line each, where policy keeps them
	bytes     int64
	truncated bool
	found     map[string]int64 // detector → values it hid
	queryID   string
	digest    [32]byte // of the rows as returned
	duration  time.Duration
	err       error // what went wrong, with the warehouse's words: for the operator
}

// execute runs the statement and reads its rows.
func (g *Gate) execute(ctx context.Context, caller policy.Caller, j *Judgement, receipt audit.Receipt) (res result) {
	ctx, cancel := context.WithTimeout(ctx, j.Decision.Limits.Duration)
	defer cancel()
	statement := warehouse.Statement{SQL: j.Runs, Timeout: j.Decision.Limits.Duration}
	if g.config.Login != nil {
		statement.Login = g.config.Login(caller, j.Statement.Class)
	}
	rows, err := g.config.Warehouse.Run(ctx, receipt, statement)
	if err != nil {
		var werr *warehouse.Error
		if errors.As(err, &werr) {
			res.queryID = werr.QueryID
		}
		res.err = err
		return res
	}
	defer rows.Close()
	res.queryID = rows.QueryID()
	res.err = g.collect(rows, j, &res)
	return res
}

// answer is what the caller gets. The warehouse's own words may quote data and
// stay behind.
func (r *result) answer(j *Judgement, ref string) QueryAnswer {
	a := QueryAnswer{Answer: Answer{Audit: ref}, QueryID: r.queryID}
	if r.err != nil {
		a.Answer = failure(r.err)
		a.Audit = ref
		return a
	}
	a.Status, a.Code = Completed, CodeCompleted
	a.Columns, a.Rows, a.RowCount, a.Truncated = r.columns, r.rows, r.rows.Len(), r.truncated
	for _, n := range r.found {
		a.Redacted += n
	}
	switch {
	case r.truncated:
		a.Message = "The answer was cut at the limit; there are more rows."
		a.Next = "Aggregate in SQL or add a WHERE clause rather than paging through rows."
	default:
		a.Message = "Done." + caveat(j)
	}
	return a
}

// caveat says how far an answer is from what is in the tables, so that nobody
// takes a count over masked values for the truth.
func caveat(j *Judgement) string {
	text := ""
	switch {
	case len(j.Masked) > 0:
		text = " Some columns hold masked values, which are not the real ones."
	case len(j.Decision.Masks) > 0:
		var names []string
		for _, m := range j.Decision.Masks {
			if !slices.Contains(names, m.Column) {
				names = append(names, m.Column)
			}
		}
		text = " Conditions saw masked values of " + strings.Join(names, ", ") + ", not the real ones."
	}
	if len(j.Decision.Filters) > 0 {
		text += " Rows that are not open to you were left out, in counts and sums as well."
	}
	return text
}

// failure words an error for the caller: the class and the warehouse's code,
// never its text.
func failure(err error) Answer {
	if errors.Is(err, errShape) {
		return Answer{Status: Failed, Code: CodeShape, Message: "The warehouse's answer does not have the columns that were judged, so nothing of it is returned.", Next: "The catalog may be a moment behind: try again in a few minutes, with the columns by name."}
	}
	if errors.Is(err, errRowTooLarge) {
		return Answer{Status: Failed, Code: CodeTooMuchData, Message: "A single row is larger than the limit on the answer.", Next: "Select fewer columns or shorten the long ones."}
	}
	if errors.Is(err, errSpool) {
		return Answer{Status: Failed, Code: CodeUnavailable, Message: "The gateway has no room for so long an answer.", Next: "Select fewer rows or columns, and tell the gateway's operator."}
	}
	var werr *warehouse.Error
	if !errors.As(err, &werr) {
		if errors.Is(err, context.DeadlineExceeded) {
			return timedOut()
		}
		if errors.Is(err, context.Canceled) {
			return Answer{Status: Failed, Code: CodeCancelled, Message: "The call was cancelled and the statement with it."}
		}
		return Answer{Status: Failed, Code: CodeWarehouse, Message: "The warehouse did not answer.", Next: "Try again later; the gateway's operator can see the cause."}
	}
	return warehouseFailure(werr)
}

func timedOut() Answer {
	return Answer{Status: Failed, Code: CodeTimeout, Message: "The statement ran longer than the limit and was cancelled.", Next: "Read less: filter earlier, aggregate, or sample."}
}

// warehouseFailure words the warehouse's refusal: its class and number, which
// tell of no data.
func warehouseFailure(e *warehouse.Error) Answer {
	a := Answer{Status: Failed, Code: CodeWarehouse}
	switch e.Class {
	case warehouse.Timeout:
		return timedOut()
	case warehouse.Cancelled:
		return Answer{Status: Failed, Code: CodeCancelled, Message: "The statement was cancelled."}
	case warehouse.Data:
		a.Message, a.Next = "A value did not fit: a cast, a division or a constraint failed", "Use TRY_CAST, NULLIF or a narrower condition. Masked columns hold masked values, which may not cast."
	case warehouse.Syntax, warehouse.Object:
		a.Message, a.Next = "The warehouse does not accept the statement", "Check types and functions; describe_table shows the columns."
	case warehouse.Permission, warehouse.Auth:
		a.Message, a.Next = "The gateway's own role may not do this", "Ask an administrator."
	case warehouse.Unavailable:
		a.Message, a.Next = "The warehouse cannot be reached", "Try again in a minute."
	default:
		a.Message, a.Next = "The warehouse failed", "Simplify the statement, or ask an administrator."
	}
	if e.Code != 0 {
		a.Message += fmt.Sprintf(" (error %06d)", e.Code)
	}
	a.Message += "."
	return a
}
