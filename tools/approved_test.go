//go:build cgo

package tools_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/warehouse"
	"querywarden/policy"
	"querywarden/tools"
)

const askPolicy = `
version: 1
rules:
  - name: work
    who: {groups: [analysts]}
    may: [read, write, create]
    on: ["retail.staging.*"]
    verdict: allow
  - name: change
    who: {groups: [analysts]}
    may: [modify, destroy]
    on: ["retail.staging.*"]
    verdict: ask
    approvers: {groups: [data-owners], safety_copy: 24h}
  - name: secrets
    who: {groups: [analysts]}
    may: [read]
    on: ["retail.public.*"]
    verdict: ask
    approvers: {groups: [data-owners]}
`

const askTables = `
CREATE SCHEMA retail.staging;
CREATE TABLE retail.staging.t (id NUMBER, email VARCHAR);
INSERT INTO retail.staging.t VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE VIEW retail.staging.v AS SELECT id FROM retail.staging.t;
CREATE VIEW retail.staging.w AS SELECT id FROM retail.staging.v;
CREATE TABLE retail.public.s (id NUMBER);
INSERT INTO retail.public.s VALUES (7);
`

func askWorld(t *testing.T) *world {
	t.Helper()
	p, err := policy.Parse([]byte(askPolicy))
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOf(t, askTables, p)
}

func (w *world) request(t *testing.T, sql string) approvals.Request {
	t.Helper()
	a := w.gate.RequestApproval(t.Context(), ada, tools.ApprovalRequest{SQL: sql, Reason: "unused", NoWait: true}, nil)
	if a.Status != tools.Pending {
		t.Fatalf("%s: %+v", sql, a.Answer)
	}
	r, err := w.approvals.Get(t.Context(), a.Approval.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// approveAndWait lets olga approve a request and waits for its answer.
func (w *world) approveAndWait(t *testing.T, id string) tools.QueryAnswer {
	t.Helper()
	if _, err := w.vote(t.Context(), id, olga, true, ""); err != nil {
		t.Fatal(err)
	}
	return w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: id, Wait: 50}, nil)
}

// TestBrief: what an approver is told of a statement is so.
func TestBrief(t *testing.T) {
	w := askWorld(t)
	for _, c := range []struct {
		sql, effect, undo string
		rows              int64
		mark              string
	}{
		{"drop table staging.t", "drops the table RETAIL.STAGING.T.", "UNDROP TABLE RETAIL.STAGING.T; -- within one day", 3, "DROP TABLE"},
		{"truncate table staging.t", "removes all rows of the table RETAIL.STAGING.T.", "CREATE TABLE RETAIL.STAGING.T_RESTORED CLONE RETAIL.STAGING.T BEFORE (STATEMENT => 'the query id", 3, "TRUNCATE TABLE"},
		{"delete from staging.t where id > 1", "removes rows of the table RETAIL.STAGING.T.", "BEFORE (STATEMENT", 2, "DELETE"},
		{"delete from staging.t", "removes all rows, without a condition, of the table RETAIL.STAGING.T.", "BEFORE (STATEMENT", 3, "DELETE"},
		{"update staging.t set email = 'x' where id = 2", "changes rows of the table RETAIL.STAGING.T.", "BEFORE (STATEMENT", 1, "UPDATE"},
		{"create or replace table staging.t as select 1 as id", "replaces the table RETAIL.STAGING.T.", "ALTER TABLE RETAIL.STAGING.T RENAME TO RETAIL.STAGING.T_REPLACED; UNDROP TABLE RETAIL.STAGING.T", 3, ""},
	} {
		r := w.request(t, c.sql)
		b := r.Brief
		if len(b.Effects) == 0 || b.Effects[0] != c.effect || !strings.Contains(b.Undo, c.undo) || b.Rows == nil || *b.Rows != c.rows || b.Retention == nil || b.UndoBy.IsZero() {
			t.Errorf("%s: %+v", c.sql, b)
		}
		if got := strings.Join(b.Depends, " "); got != "RETAIL.STAGING.V RETAIL.STAGING.W" {
			t.Errorf("%s: the views %q depend on it", c.sql, got)
		}
		marked := map[string]string{}
		for _, m := range r.Marks {
			marked[m.Kind] = r.Binding.Statement[m.Start:m.End]
		}
		if c.mark != "" && marked["effect"] != c.mark || marked["object"] != "RETAIL.STAGING.T" {
			t.Errorf("%s: marked %q of %q", c.sql, marked, r.Binding.Statement)
		}
	}
	// Who may not read what is asked for learns nothing from the brief.
	if r := w.request(t, "select id from public.s"); r.Brief.Rows != nil || r.Brief.Effects[0] != "reads; it changes nothing." {
		t.Errorf("%+v", r.Brief)
	}
	for _, e := range w.entries(t, audit.KindDecision) {
		if e.Event.Tool == "brief" && !strings.HasPrefix(e.Texts["runs"], "SELECT COUNT(*)") {
			t.Errorf("a brief asked %q", e.Texts["runs"])
		}
	}
}

// TestSafetyCopy: the clone is there before the statement runs, nobody reaches it
// through the gate, and a statement that cannot be copied first does not run.
func TestSafetyCopy(t *testing.T) {
	w := askWorld(t)
	r := w.request(t, "delete from staging.t")
	if a := w.approveAndWait(t, r.ID); a.Status != tools.Completed {
		t.Fatalf("%+v", a.Answer)
	}
	done := w.until(t, r.ID, approvals.Done)
	if done.SafetyCopy == "" || done.CopyUntil.Sub(done.Claimed) < 24*time.Hour {
		t.Fatalf("%+v", done)
	}
	if !strings.Contains(done.Outcome.Undo, "'"+done.Outcome.QueryID+"'") || done.Outcome.QueryID == "" || done.Outcome.UndoBy.IsZero() {
		t.Errorf("the way back is %q, the query %q", done.Outcome.Undo, done.Outcome.QueryID)
	}
	if err := w.account.Exec(t.Context(), "select 1 / (case when (select count(*) from "+done.SafetyCopy+") = 3 then 1 else 0 end)::number"); err != nil {
		t.Errorf("the copy does not hold what was there: %v", err)
	}
	if a := w.query("select * from " + done.SafetyCopy); a.Code != policy.CodeObjectUnknown {
		t.Errorf("the copy can be read through the gate: %+v", a.Answer)
	}
	if a := w.gate.ListTables(t.Context(), ada, tools.ListRequest{Search: "copy"}); len(a.Tables) != 0 {
		t.Errorf("the copy is listed: %+v", a.Tables)
	}
	copies := w.entries(t, audit.KindSafetyCopy)
	executions := w.entries(t, audit.KindExecution)
	if len(copies) != 1 || copies[0].Event.Approval != r.ID || !strings.Contains(copies[0].Texts["runs"], " CLONE RETAIL.STAGING.T") || len(executions) != 1 {
		t.Errorf("%d copies and %d executions are on record", len(copies), len(executions))
	}
	// Somebody else has the name of the next copy already.
	r = w.request(t, "drop table staging.t")
	name := "RETAIL.STAGING.QUERYWARDEN_COPY_" + strings.ToUpper(strings.TrimPrefix(r.ID, "apr_"))
	if err := w.account.Exec(t.Context(), "create table "+name+" (id number)"); err != nil {
		t.Fatal(err)
	}
	if a := w.approveAndWait(t, r.ID); a.Status != tools.Failed || a.Code != tools.CodeNoCopy {
		t.Errorf("%+v", a.Answer)
	}
	if err := w.account.Exec(t.Context(), "select * from retail.staging.t"); err != nil {
		t.Errorf("it ran without its copy: %v", err)
	}
}

// TestKeptAnswer: the answer waits for the requester alone, over a restart if
// the key is the same, and not for ever.
func TestKeptAnswer(t *testing.T) {
	w := askWorld(t)
	reopen := func(key []byte, life time.Duration) {
		t.Helper()
		if err := w.gate.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.config.AnswerKey, w.config.AnswerLife = key, life
		var err error
		if w.gate, err = tools.Open(t.Context(), w.config); err != nil {
			t.Fatal(err)
		}
	}
	key := make([]byte, 32)
	reopen(key, 0)
	r := w.request(t, "select id from public.s")
	want := w.approveAndWait(t, r.ID)
	if want.Status != tools.Completed || want.Rows.String() != "[[7]]" {
		t.Fatalf("%+v", want)
	}
	reopen(key, 0)
	if a := w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: r.ID}, nil); a.Status != tools.Completed || a.Rows.String() != "[[7]]" {
		t.Errorf("after a restart: %+v", a)
	}
	eve := ada
	eve.Caller.Subject = "eve"
	if a := w.gate.CheckApproval(t.Context(), eve, tools.CheckRequest{ID: r.ID}, nil); a.Code != tools.CodeApprovalUnknown || a.Rows != nil {
		t.Errorf("somebody else: %+v", a)
	}
	reopen(nil, 0)
	if a := w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: r.ID}, nil); a.Status != tools.Completed || a.Code != tools.CodeApprovalUsed || a.Rows != nil || a.QueryID == "" {
		t.Errorf("under another key: %+v", a)
	}
	reopen(key, time.Nanosecond)
	r = w.request(t, "select id from public.s")
	if a := w.approveAndWait(t, r.ID); a.Code != tools.CodeApprovalUsed || a.Rows != nil {
		t.Errorf("after its time: %+v", a)
	}
}

// send sends a statement past the gate, as a gateway that dies would have.
func (w *world) send(t *testing.T, receipt audit.Receipt, sql string) {
	t.Helper()
	rows, err := w.warehouse.Run(t.Context(), receipt, warehouse.Statement{SQL: sql})
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecovery: a gateway that dies behind its claim leaves a request that the
// next one looks up in the account's history. Nothing is sent again.
func TestRecovery(t *testing.T) {
	for _, ran := range []bool{true, false} {
		t.Run(fmt.Sprint("ran=", ran), func(t *testing.T) {
			w := askWorld(t)
			r := w.request(t, "drop table staging.t")
			// The gate closes; what claims and sends now is the gateway that dies.
			if err := w.gate.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := w.vote(t.Context(), r.ID, olga, true, ""); err != nil {
				t.Fatal(err)
			}
			_, receipt, err := w.approvals.Claim(t.Context(), r.ID, r.Digest, 20*time.Millisecond, audit.Event{Runs: r.Binding.Statement})
			if err != nil {
				t.Fatal(err)
			}
			want := approvals.Indeterminate
			if ran {
				want = approvals.Done
				w.send(t, receipt, r.Binding.Statement)
			}
			time.Sleep(20 * time.Millisecond) // the lease
			if w.gate, err = tools.Open(t.Context(), w.config); err != nil {
				t.Fatal(err)
			}
			got := w.until(t, r.ID, want)
			if ran && (got.Outcome.QueryID == "" || !strings.HasPrefix(got.Outcome.Undo, "UNDROP TABLE")) {
				t.Errorf("%+v", got.Outcome)
			}
			a := w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: r.ID}, nil)
			if ran && (a.Status != tools.Completed || a.Code != tools.CodeApprovalUsed) || !ran && a.Code != tools.CodeApprovalUnknownOutcome {
				t.Errorf("%+v", a.Answer)
			}
			if executions := w.entries(t, audit.KindExecution); len(executions) != 1 {
				t.Errorf("%d executions are on record", len(executions))
			}
			ends := 0
			for _, e := range w.entries(t, audit.KindOutcome) {
				if e.Event.Of != nil && *e.Event.Of == receipt.Index() && e.Event.Tool == "recovery" && e.Event.QueryID != "" {
					ends++
				}
			}
			if ran != (ends == 1) {
				t.Errorf("ran %v, and %d ends of it are on record", ran, ends)
			}
			exists := w.account.Exec(t.Context(), "select * from retail.staging.t") == nil
			if exists == ran {
				t.Errorf("ran %v, and the table is there: %v", ran, exists)
			}
		})
	}
}

func TestAskLimits(t *testing.T) {
	w := askWorld(t)
	first := w.request(t, "drop table staging.t")
	if again := w.request(t, "drop table  staging.t -- again"); again.ID != first.ID {
		t.Error("the same statement was asked for twice")
	}
	for i := range 19 {
		w.request(t, "delete from staging.t where id = "+strconv.Itoa(i))
	}
	if a := w.gate.RequestApproval(t.Context(), ada, tools.ApprovalRequest{SQL: "truncate table staging.t", Reason: "x", NoWait: true}, nil); a.Status != tools.Denied || a.Code != tools.CodeApprovalLimit {
		t.Errorf("%+v", a.Answer)
	}
	if a := w.gate.CancelApproval(t.Context(), ada, tools.CheckRequest{ID: first.ID}); a.Code != tools.CodeApprovalCancelled {
		t.Errorf("%+v", a.Answer)
	}
	eve := ada
	eve.Caller.Subject, eve.Caller.Email = "eve", "eve@example.com"
	if a := w.gate.CancelApproval(t.Context(), eve, tools.CheckRequest{ID: first.ID}); a.Code != tools.CodeApprovalUnknown {
		t.Errorf("%+v", a.Answer)
	}
}
