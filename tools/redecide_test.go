//go:build cgo

package tools_test

import (
	"errors"
	"strings"
	"testing"

	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// TestRedecide: by what the log holds, the same policy decides the same again,
// and another one otherwise.
func TestRedecide(t *testing.T) {
	p, err := policy.Parse([]byte(lineagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	copied := w.gate.Query(t.Context(), fraud, tools.QueryRequest{SQL: "create table staging.copied as select id, ssn as x from customers"})
	if copied.Status != tools.Completed {
		t.Fatalf("%+v", copied.Answer)
	}
	statements := append(benignStatements(t, "testdata/benign.sql"),
		"select x from staging.copied", "select nope from customers", "select from", "drop table customers", "grant select on table customers to role r",
		"update customers set ssn = ssn", "select * from payroll.salaries", "insert into staging.copied select id, ssn from customers")
	for _, sql := range statements {
		for _, call := range []tools.Call{ada, fraud} {
			w.gate.Query(t.Context(), call, tools.QueryRequest{SQL: sql, DryRun: true})
		}
	}
	open, err := policy.Parse([]byte(strings.Replace(lineagePolicy, "mask: redact\n    unless: {groups: [fraud]}", "mask: partial(4)", 1)))
	if err != nil {
		t.Fatal(err)
	}
	decisions, differ := 0, 0
	for _, e := range w.entries(t, audit.KindDecision) {
		decisions++
		was, would, err := tools.Redecide(p, e)
		if err != nil || !was.Same(would) {
			t.Errorf("%s\nwas   %+v\nwould %+v\n%v", e.Texts["sql"], was, would, err)
		}
		if was, would, err := tools.Redecide(open, e); err != nil {
			t.Error(err)
		} else if !was.Same(would) {
			differ++
			if !strings.Contains(strings.Join(would.Masks, " "), "partial(4)") {
				t.Errorf("%s differs for another reason: %+v", e.Texts["sql"], would)
			}
		}
	}
	if decisions < 2*len(statements) || differ < 10 {
		t.Errorf("%d decisions, %d differ", decisions, differ)
	}
	e := w.entries(t, audit.KindDecision)[0]
	delete(e.Texts, "facts")
	if _, _, err := tools.Redecide(p, e); !errors.Is(err, tools.ErrNoFacts) {
		t.Errorf("without facts: %v", err)
	}
}

// TestKeptRows: the log keeps the rows of an answer where a rule says so, as the
// agent saw them, and nowhere else.
func TestKeptRows(t *testing.T) {
	p, err := policy.Parse([]byte(strings.Replace(lineagePolicy, "    verdict: allow", "    verdict: allow\n    keep_rows: true", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{true, false} {
		w := newWorld(t, emulator.DemoScript())
		if keep {
			w = newWorldOf(t, emulator.DemoScript(), p)
		}
		a := w.query("select id, ssn from customers order by id limit 2")
		if a.Status != tools.Completed {
			t.Fatalf("%+v", a.Answer)
		}
		outcome := w.entries(t, audit.KindOutcome)[0]
		if _, kept := outcome.Texts["rows"]; kept != keep {
			t.Errorf("keep_rows %v, and rows are kept: %v", keep, kept)
		}
		if !keep {
			continue
		}
		r, err := audit.OpenReader(w.file)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rows, err := r.OpenRows(rowsKey, outcome)
		if want := "[1,\"***\"]\n[2,\"***\"]"; err != nil || rows != want {
			t.Errorf("kept %q, %v, want %q", rows, err, want)
		}
	}
}
