package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestErase: what is erased is in none of the log's files, and the log verifies
// with a word about it.
func TestErase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.db")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	key := bytes.Repeat([]byte{7}, 32)
	l := openTest(t, path, Options{Now: func() time.Time { return now }, RowsKey: key})
	add := func(e Event) int64 {
		t.Helper()
		r, err := l.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return r.Index()
	}
	policy := add(Event{Kind: KindPolicyLoaded, PolicyText: "version: 1 # POLICY"})
	bob := &Caller{Issuer: "idp", Subject: "bob", Email: "bob@example.com"}
	for range 2500 {
		add(Event{Kind: KindDecision, Caller: bob, SQL: "select 'BOBS SECRET'", Runs: "SELECT 'BOBS SECRET'"})
	}
	answer := add(Event{Kind: KindOutcome, Caller: &Caller{Issuer: "idp", Subject: "ada"}, Answer: `["ADAS ROW"]`})
	ada := add(Event{Kind: KindDecision, Caller: &Caller{Issuer: "idp", Subject: "ada"}, SQL: "select 'ADAS'"})

	for name, e := range map[string]Erasure{
		"everything":     {},
		"policies":       {Filter: Filter{Subject: "bob"}, Texts: []string{"policy"}},
		"a text unknown": {Filter: Filter{Subject: "bob"}, Texts: []string{"x"}},
	} {
		if _, err := l.Erase(t.Context(), e); err == nil {
			t.Errorf("%s: erased", name)
		}
	}
	n, err := l.Erase(t.Context(), Erasure{Filter: Filter{Email: "BOB@example.com"}, Reason: "Bob asked", By: &Caller{Issuer: "host", Subject: "root"}})
	if err != nil || n != 5000 {
		t.Fatalf("%d, %v", n, err)
	}
	for _, name := range []string{path, path + "-wal"} {
		if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte("BOBS SECRET")) {
			t.Errorf("%s holds what was erased", filepath.Base(name))
		}
		if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte("ADAS ROW")) {
			t.Errorf("%s holds rows in the clear", filepath.Base(name))
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), nil)
	if err != nil || !report.OK() || report.Erased != 5000 {
		t.Errorf("%+v, %v", report, err)
	}
	var erased int64
	for e, err := range r.Entries(t.Context(), Filter{Kind: KindErased}) {
		if err != nil {
			t.Fatal(err)
		}
		erased += e.Event.Count
		if e.Event.Caller.Subject != "root" || e.Texts["reason"] != "Bob asked" || *e.Event.From < 1 || *e.Event.To > 2500 {
			t.Errorf("recorded %+v", e.Event)
		}
	}
	if erased != 5000 {
		t.Errorf("%d recorded as erased", erased)
	}
	text := func(index int64, name string) string {
		e, err := r.Entry(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		return e.Texts[name]
	}
	if text(policy, "policy") == "" || text(ada, "sql") == "" || text(1, "sql") != "" {
		t.Error("the wrong texts are gone")
	}

	// Rows open with the key alone, and go by an age of their own.
	e, err := r.Entry(t.Context(), answer)
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := r.OpenRows(key, e); err != nil || rows != `["ADAS ROW"]` {
		t.Errorf("%q, %v", rows, err)
	}
	if _, err := r.OpenRows(nil, e); !errors.Is(err, ErrNoRowsKey) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := r.OpenRows(bytes.Repeat([]byte{8}, 32), e); err == nil {
		t.Error("another key opens them")
	}
	now = now.Add(2 * time.Hour)
	if err := l.Retain(t.Context(), Retention{Texts: 24 * time.Hour, Rows: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if text(answer, "rows") != "" || text(ada, "sql") == "" {
		t.Error("retention took the wrong texts")
	}
	now = now.Add(24 * time.Hour)
	if err := l.Retain(t.Context(), Retention{Texts: 24 * time.Hour, Rows: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if text(ada, "sql") != "" || text(policy, "policy") == "" {
		t.Error("retention took the wrong texts")
	}
	if report, err := r.Verify(context.Background(), nil); err != nil || !report.OK() {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestNoRowsKey: rows are never stored in the clear.
func TestNoRowsKey(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	if _, err := l.Append(t.Context(), Event{Kind: KindOutcome, Answer: "[1]"}); !errors.Is(err, ErrNoRowsKey) {
		t.Errorf("%v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("the log has failed: %v", err)
	}
}

// TestMigration: a file of version 1 is brought here when a gateway opens it,
// and says what to do until then.
func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	for _, e := range []Event{{Kind: KindDecision, SQL: "select 1"}, {Kind: KindOutcome, QueryID: "q-1"}, {Kind: KindApprovalChanged, Approval: "apr_1", State: "done"}} {
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	run(t, open(t, path), `DROP INDEX entries_approval`, `DROP INDEX entries_query_id`, `DROP TABLE cosignatures`,
		`ALTER TABLE entries DROP COLUMN approval`, `ALTER TABLE entries DROP COLUMN query_id`, `UPDATE meta SET value = '1' WHERE key = 'version'`)
	if _, err := OpenReader(path); err == nil || !strings.Contains(err.Error(), "a gateway that opens it brings it there") {
		t.Errorf("reading version 1: %v", err)
	}
	openTest(t, path, Options{}).Close()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if report, err := r.Verify(t.Context(), nil); err != nil || !report.OK() || report.Entries != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, f := range []Filter{{QueryID: "q-1"}, {Approval: "apr_1"}} {
		n := 0
		for _, err := range r.Entries(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%+v: %d entries", f, n)
		}
	}
	run(t, open(t, path), `UPDATE meta SET value = '99' WHERE key = 'version'`)
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("a log of the future: %v", err)
	}
}
