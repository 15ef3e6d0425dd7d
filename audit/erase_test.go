package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
// TestEraseBesideReader: nobody waits for a reader that is in the way of
// overwriting the write-ahead log, and once it is gone that is done.
func TestEraseBesideReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	const secret = "a word that has to go"
	if _, err := l.Append(t.Context(), Event{Kind: KindDecision, SQL: secret, Caller: &Caller{Subject: "ada"}}); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM entries`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if n, err := l.Erase(t.Context(), Erasure{Filter: Filter{Subject: "ada"}, Reason: "x"}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if took := time.Since(start); took > 5*time.Second { // it would have waited for ten
		t.Errorf("the log waited %s for a reader", took)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := l.Retain(t.Context(), Retention{}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + "-wal"} {
		if strings.Contains(readText(t, file), secret) {
			t.Errorf("%s still holds what was erased", filepath.Base(file))
		}
	}
}

func TestNoRowsKey(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	if _, err := l.Append(t.Context(), Event{Kind: KindOutcome, Answer: "[1]"}); !errors.Is(err, ErrNoRowsKey) {
		t.Errorf("%v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("the log has failed: %v", err)
	}
}

// age makes a log of version 1 of one of this version: the tree and the
// checkpoints in tables of their own, an index over times, and nothing of what
// versions 2 and 4 brought.
func age(t *testing.T, path string) {
	t.Helper()
	db := open(t, path)
	db.SetMaxOpenConns(1)
	run(t, db, `DROP INDEX entries_keys`, `DROP INDEX entries_conversation`, `DROP INDEX entries_joined`, `DROP INDEX entries_approval`, `DROP INDEX entries_query_id`, `DROP TABLE cosignatures`,
		`CREATE TABLE hashes (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT`, `CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT`,
		`CREATE TABLE blobs (idx INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (idx, name)) STRICT, WITHOUT ROWID`,
		`INSERT INTO checkpoints SELECT idx + 1, note FROM entries WHERE note IS NOT NULL`)
	var list [][]byte
	var beside [][]text
	rows, err := db.Query(`SELECT hashes, texts FROM entries ORDER BY idx`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var h, b []byte
		if err := rows.Scan(&h, &b); err != nil {
			t.Fatal(err)
		}
		texts, err := decodeTexts(b)
		if err != nil {
			t.Fatal(err)
		}
		list, beside = append(list, h), append(beside, texts)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	at := 0
	for i, hashes := range list {
		for _, x := range beside[i] {
			if _, err := db.Exec(`INSERT INTO blobs VALUES (?, ?, ?, ?)`, i, x.name, x.salt[:], x.payload); err != nil {
				t.Fatal(err)
			}
		}
		for ; len(hashes) > 0; hashes = hashes[32:] {
			if _, err := db.Exec(`INSERT INTO hashes VALUES (?, ?)`, at, hashes[:32]); err != nil {
				t.Fatal(err)
			}
			at++
		}
	}
	run(t, db, `ALTER TABLE entries DROP COLUMN approval`, `ALTER TABLE entries DROP COLUMN query_id`, `ALTER TABLE entries DROP COLUMN hashes`,
		`ALTER TABLE entries DROP COLUMN note`, `ALTER TABLE entries DROP COLUMN texts`, `CREATE INDEX entries_time ON entries (time)`, `UPDATE meta SET value = '1' WHERE key = 'version'`)
	db.Close()
}

// TestMigration: a file of version 1 is brought here when a gateway opens it,
// and says what to do until then. One whose clock was set back keeps being
// searched by its times.
func TestMigration(t *testing.T) {
	for _, back := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "audit.db")
		clock := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		l := openTest(t, path, Options{Now: func() time.Time { return clock }})
		var times []time.Time
		for i, e := range []Event{{Kind: KindDecision, SQL: "select 1"}, {Kind: KindOutcome, QueryID: "q-1"}, {Kind: KindApprovalChanged, Approval: "apr_1", State: "done"}} {
			if clock = clock.Add(time.Hour); back && i == 1 {
				clock = clock.Add(-24 * time.Hour)
				l.newest = time.Time{} // as version 1 had it
			}
			times = append(times, clock)
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		age(t, path)
		if _, err := OpenReader(path); err == nil || !strings.Contains(err.Error(), "a gateway that opens it brings it there") {
			t.Errorf("reading version 1: %v", err)
		}
		l = openTest(t, path, Options{})
		fill(t, l, 6)
		l.Close()
		r, err := OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if report, err := r.Verify(t.Context(), nil); err != nil || !report.OK() || report.Entries != 9 || report.Checkpoints != 9 {
			t.Errorf("%+v, %v", report, err)
		}
		for _, c := range []struct {
			filter Filter
			want   int
		}{
			{Filter{QueryID: "q-1"}, 1}, {Filter{Approval: "apr_1"}, 1}, {Filter{Until: times[0]}, map[bool]int{false: 0, true: 2}[back]},
			{Filter{Since: times[0], Until: times[0].Add(time.Minute)}, 1}, {Filter{Since: times[2]}, map[bool]int{false: 7, true: 8}[back]},
		} {
			n := 0
			for _, err := range r.Entries(t.Context(), c.filter) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n != c.want {
				t.Errorf("set back: %v, %+v: %d entries, want %d", back, c.filter, n, c.want)
			}
		}
		run(t, open(t, path), `UPDATE meta SET value = '99' WHERE key = 'version'`)
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("a log of the future: %v", err)
		}
	}

	// What does not hold together is not brought along as if it did.
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	fill(t, l, 5)
	l.Close()
	age(t, path)
	run(t, open(t, path), `DELETE FROM entries WHERE idx = 4`)
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "verify it with the program that wrote it") {
		t.Errorf("a log whose end was cut off: %v", err)
	}
}

// TestClockSetBack: whatever happens to the clock, entries are in the order of
// their times, and found by them.
func TestClockSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	hours := []int{0, 1, -5, 2, -7, 3}
	i := 0
	l := openTest(t, path, Options{Now: func() time.Time { return noon.Add(time.Duration(hours[i]) * time.Hour) }})
	for i = range 3 {
		fill(t, l, 1)
	}
	l.Close()
	l = openTest(t, path, Options{Now: func() time.Time { return noon.Add(time.Duration(hours[i]) * time.Hour) }})
	for i = 3; i < len(hours); i++ {
		fill(t, l, 1)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		since, until int
		want         string
	}{{0, 1, "0"}, {1, 2, "1 2"}, {1, 9, "1 2 3 4 5"}, {3, 9, "5"}, {4, 9, ""}, {-9, 0, ""}, {-9, 9, "0 1 2 3 4 5"}} {
		var got []string
		for e, err := range r.Entries(t.Context(), Filter{Since: noon.Add(time.Duration(c.since) * time.Hour), Until: noon.Add(time.Duration(c.until) * time.Hour)}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(e.Index))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("hours %d to %d: %v, want %s", c.since, c.until, got, c.want)
		}
	}
	if report := verify(t, path, nil); !report.OK() {
		t.Errorf("%+v", report)
	}
}
