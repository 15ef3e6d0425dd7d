package tools

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"querywarden/audit"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// recordStart records that the gate serves, with what it will decide by, and
// that its last run did not end as it should, if it did not.
func recordStart(ctx context.Context, c Config) error {
	kind, index, at, err := c.Log.Last(ctx)
	if err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}
	err = c.Log.Update(ctx, func(tx *audit.Tx) error {
		events := []audit.Event{
			{Kind: audit.KindStart, Version: c.Version},
			{Kind: audit.KindPolicyLoaded, Policy: c.Policy.Version(), PolicyText: c.Policy.Text()},
		}
		if c.ConfigText != "" {
			events = append(events, audit.Event{Kind: audit.KindConfigLoaded, ConfigText: c.ConfigText})
		}
		if index >= 0 && kind != audit.KindStop {
			c.Logger.Warn("the last run did not stop as it should; the log says so", "entry", index, "time", at)
			events = append([]audit.Event{{Kind: audit.KindGap, Of: &index}}, events...)
		}
		for _, e := range events {
			if _, err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}
	return nil
}

// catalogEvent records a statement of the gate's own, over the catalog.
func catalogEvent(sql string) audit.Event {
	return audit.Event{Kind: audit.KindCatalogRead, Runs: sql}
}

// toolEvent records a call that judges no statement.
func toolEvent(tool string, call Call, argument string) audit.Event {
	e := callEvent(audit.KindToolCall, tool, call)
	if tool == "check_approval" || tool == "cancel_approval" {
		e.Approval = argument
	} else {
		e.SQL = argument
	}
	return e
}

func callEvent(kind audit.Kind, tool string, call Call) audit.Event {
	return audit.Event{Kind: kind, Tool: tool, Session: call.Session, Client: call.Client.String(), Conversation: call.Conversation, Turn: call.Turn, CallID: call.CallID, Trace: call.Trace, Purpose: call.Purpose, Caller: recordedCaller(call.Caller)}
}

func recordedCaller(c policy.Caller) *audit.Caller {
	out := &audit.Caller{Issuer: c.Issuer, Subject: c.Subject, Email: c.Email, Groups: c.Groups, Kind: c.Kind.String(), Ungrouped: c.Ungrouped}
	if c.Behind != nil {
		out.Behind = c.Behind.Issuer + " " + c.Behind.Subject
	}
	return out
}

// decisionEvent records what was decided before anything runs. For a statement
// that is let through, its receipt is what lets it run.
func decisionEvent(tool string, call Call, j *Judgement, dryRun bool) audit.Event {
	e := callEvent(audit.KindDecision, tool, call)
	e.DryRun = dryRun
	describe(&e, j)
	// With the facts whole, another policy can decide the same again. What
	// cannot be encoded is left out, and is then told as missing.
	if facts, err := json.Marshal(j.Statement); err == nil {
		e.Facts = string(facts)
	}
	return e
}

// executionEvent records that an approved statement is about to run. The
// approval's own transaction makes it the record that lets it.
func executionEvent(call Call, j *Judgement, approval string) audit.Event {
	e := callEvent(audit.KindExecution, "approved", call)
	e.Approval = approval
	describe(&e, j)
	return e
}

// staleEvent records that what was approved is not what would run now.
func staleEvent(call Call, j *Judgement, approval string) audit.Event {
	e := callEvent(audit.KindDecision, "approved", call)
	e.Approval = approval
	describe(&e, j)
	e.Verdict, e.Runs, e.Shown = policy.Deny.String(), "", ""
	e.Codes = append(e.Codes, string(CodeApprovalStale))
	return e
}

// describe writes a judgement's facts into an event.
func describe(e *audit.Event, j *Judgement) {
	e.SQL, e.Runs = j.SQL, j.Runs
	if j.Shown != j.Runs {
		e.Shown = j.Shown
	}
	e.Catalog = j.Catalog
	e.Class, e.Command, e.Functions = j.Statement.Class.String(), j.Statement.Command, j.Statement.Functions
	r := ruling(j.Decision)
	e.Verdict, e.Rules, e.Codes, e.Masks, e.Filters, e.Policy = r.Verdict, r.Rules, r.Codes, r.Masks, r.Filters, j.Decision.Policy
	for _, a := range j.Statement.Accesses {
		recorded := audit.Access{Class: a.Class.String(), Object: a.Object.String()}
		for _, c := range a.Columns {
			recorded.Columns = append(recorded.Columns, c.Name)
		}
		if a.Via != nil {
			recorded.Via = a.Via.String()
		}
		e.Accesses = append(e.Accesses, recorded)
	}
}

// outcomeEvent records how a statement ended. It names the record that let it
// run.
func outcomeEvent(tool string, call Call, j *Judgement, receipt audit.Receipt, r result) audit.Event {
	e := callEvent(audit.KindOutcome, tool, call)
	e.Purpose = ""
	of := receipt.Index()
	e.Of = &of
	e.Class, e.Command = j.Statement.Class.String(), j.Statement.Command
	e.QueryID, e.Micros = r.queryID, r.duration.Microseconds()
	e.Status = string(Completed)
	if r.err != nil {
		e.Status, e.Error = string(Failed), errorClass(r.err)
		return e
	}
	e.Rows, e.Bytes, e.Truncated, e.Redacted = r.rows.Len(), r.bytes, r.truncated, r.found
	e.Result = hex.EncodeToString(r.digest[:])
	e.Answer = r.kept
	for _, c := range r.columns {
		name := c.Name
		if c.Masked != "" {
			name += ": " + c.Masked
		}
		e.Columns = append(e.Columns, name)
	}
	return e
}

// errorClass is what the log keeps of an error: the warehouse's own words may
// quote data.
func errorClass(err error) string {
	var werr *warehouse.Error
	if errors.As(err, &werr) {
		return fmt.Sprintf("%s %06d", werr.Class, werr.Code)
	}
	return string(failure(err).Code)
}

func objects(s policy.Statement) []string {
	var names []string
	for _, a := range s.Accesses {
		names = append(names, a.Class.String()+" "+a.Object.String())
	}
	return names
}

func filterNames(filters []policy.RowFilter) []string {
	var names []string
	for _, f := range filters {
		names = append(names, f.Object.String()+": "+f.Where)
	}
	return names
}

func maskNames(masks []policy.ColumnMask) []string {
	var names []string
	for _, m := range masks {
		names = append(names, m.Object.String()+"."+m.Column+": "+m.Mask.String())
	}
	return names
}
