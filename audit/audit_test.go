package audit

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"querywarden/audit/witnesstest"
)

func openTest(t testing.TB, path string, o Options) *Log {
	t.Helper()
	l, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	for i := range n {
		_, err := l.Append(context.Background(), Event{Kind: KindDecision, Verdict: "allow", SQL: fmt.Sprintf("select %d", i), Runs: fmt.Sprintf("SELECT %d", i), Caller: &Caller{Subject: "ada"}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fillAtOnce adds entries in one commit.
func fillAtOnce(t testing.TB, l *Log, n int) {
	t.Helper()
	err := l.Update(context.Background(), func(tx *Tx) error {
		for i := range n {
			if _, err := tx.Append(Event{Kind: KindDecision, Verdict: "allow", SQL: fmt.Sprintf("select %d", i), Caller: &Caller{Subject: "ada"}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, path string, pinned []byte) *Report {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAppendAndVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { fill(t, l, 25) })
	}
	wg.Wait()
	if report := verify(t, path, nil); !report.OK() || report.Entries != 200 || report.Erased != 0 {
		t.Fatalf("%+v", report)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second writer got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), Event{Kind: KindStop}); !errors.Is(err, ErrClosed) {
		t.Fatalf("appending after Close: %v", err)
	}
	l = openTest(t, path, Options{})
	fill(t, l, 3)
	if report := verify(t, path, nil); !report.OK() || report.Entries != 203 {
		t.Fatalf("%+v", report)
	}
}

func TestReceipt(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	ctx := context.Background()
	appendOne := func(e Event) Receipt {
		r, err := l.Append(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := (Receipt{}).Authorize("SELECT 1"); !errors.Is(err, ErrNoReceipt) {
		t.Errorf("the zero receipt: %v", err)
	}
	r := appendOne(Event{Kind: KindDecision, Verdict: "allow", Runs: "SELECT 1"})
	if err := r.Authorize("SELECT 2"); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("another statement: %v", err)
	}
	if err := r.Authorize("SELECT 1"); err != nil {
		t.Errorf("the recorded statement: %v", err)
	}
	if err := r.Authorize("SELECT 1"); !errors.Is(err, ErrSpent) {
		t.Errorf("a second time: %v", err)
	}
	for _, e := range []Event{
		{Kind: KindDecision, Verdict: "deny", Runs: "SELECT 1"},
		{Kind: KindDecision, Verdict: "ask", Runs: "SELECT 1"},
		{Kind: KindDecision, Verdict: "allow", Runs: "SELECT 1", DryRun: true},
		{Kind: KindDecision, Verdict: "allow"},
		{Kind: KindOutcome, Runs: "SELECT 1"},
		{Kind: KindToolCall, Verdict: "allow", Runs: "SELECT 1"},
	} {
		if err := appendOne(e).Authorize(e.Runs); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

// TestUpdate proves that a job's error takes back that job alone.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	ctx := context.Background()
	if err := l.Update(ctx, func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE own (x)`); return err }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := l.Update(ctx, func(tx *Tx) error {
				if _, err := tx.Exec(`INSERT INTO own VALUES (?)`, i); err != nil {
					return err
				}
				if _, err := tx.Append(Event{Kind: KindToolCall, Tool: fmt.Sprint(i)}); err != nil {
					return err
				}
				if i%2 == 1 {
					return errors.New("odd")
				}
				return nil
			})
			if (err != nil) != (i%2 == 1) {
				t.Errorf("job %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	report := verify(t, path, nil)
	if !report.OK() || report.Entries != 10 {
		t.Fatalf("%+v", report)
	}
	var n int
	if err := l.db.QueryRow(`SELECT count(*) FROM own`).Scan(&n); err != nil || n != 10 {
		t.Fatalf("%d rows, %v", n, err)
	}
}

// TestPanic: a job that panics in its caller's hands does not leave the others
// waiting.
func TestPanic(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	fill(t, l, 2)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = l.Update(context.Background(), func(*Tx) error { panic("in a job") })
	}()
	if _, err := l.Append(context.Background(), Event{Kind: KindStart}); err == nil || l.Err() == nil {
		t.Errorf("after a panic: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestIndexes: what the log is searched by is found by an index.
func TestIndexes(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	fill(t, l, 3)
	for name, f := range map[string]Filter{
		"entries_subject": {Subject: "ada"}, "entries_session": {Session: "s"}, "entries_approval": {Approval: "a"}, "entries_query_id": {QueryID: "q"}, "entries_conversation": {Conversation: "c"}, "entries_joined": {joins: new(int64)},
		"INTEGER PRIMARY KEY (rowid>?": {Since: time.Now()},
	} {
		where, args, err := f.where(t.Context(), l.db)
		if err != nil {
			t.Fatal(err)
		}
		var id, parent, unused int
		var plan string
		if err := l.db.QueryRow(`EXPLAIN QUERY PLAN SELECT idx, entry, texts FROM entries`+where+` ORDER BY idx`, args...).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan, name) {
			t.Errorf("%+v: %s", f, plan)
		}
	}
	var id, parent, unused int
	var plan string
	if err := l.db.QueryRow(`EXPLAIN QUERY PLAN `+selectHandovers).Scan(&id, &parent, &unused, &plan); err != nil || !strings.Contains(plan, "entries_keys") {
		t.Errorf("keys: %s, %v", plan, err)
	}
}

// TestAttacks gives each attack on the files the verdict that it must get:
// from verification alone, with a checkpoint that somebody has kept, and from a
// witness once the gateway goes on.
func TestAttacks(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			a.run(t, func(vkey string) (url, key string) {
				w, err := witnesstest.New(vkey)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(w.Close)
				return w.URL, w.VKey
			})
		})
	}
}

// An attack on the files, and who finds it.
type attack struct {
	name         string
	do           func(t *testing.T, path string)
	self, pinned bool // found
	// beside says that the tree stands as it was signed and something else
	// does not fit it: no witness can see that.
	beside bool
}

func attacks() []attack {
	resign := func(t *testing.T, path string) {
		// The thief has the key and the program: entries are kept as they are,
		// the tree and all checkpoints made anew.
		entries := [][]byte{}
		db := open(t, path)
		rows, err := db.Query(`SELECT entry FROM entries ORDER BY idx`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var e []byte
			if err := rows.Scan(&e); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		rebuild(t, path, db, entries)
	}
	rewrite := func(t *testing.T, path string) {
		run(t, open(t, path), `UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), '"ada"', '"bob"') AS BLOB), subject = 'bob' WHERE idx = 7`)
		resign(t, path)
	}
	grow := func(t *testing.T, path string, n int) {
		l := openTest(t, path, Options{})
		fill(t, l, n)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return []attack{
		{"control", func(*testing.T, string) {}, false, false, false},
		{"edit an entry", sqlAttack(`UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), 'allow', 'alloW') AS BLOB) WHERE idx = 7`), true, true, true},
		{"edit a text", sqlAttack(`UPDATE entries SET texts = CAST(replace(CAST(texts AS TEXT), 'select 7', 'select 8') AS BLOB) WHERE idx = 7`), true, true, true},
		{"edit a search column", sqlAttack(`UPDATE entries SET subject = 'eve' WHERE idx = 7`), true, true, true},
		{"edit a hash", sqlAttack(`UPDATE entries SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE idx = 7`), true, true, true},
		{"delete an entry", sqlAttack(`DELETE FROM entries WHERE idx = 7`), true, true, true},
		{"delete and renumber", sqlAttack(`DELETE FROM entries WHERE idx = 7; UPDATE entries SET idx = idx - 1 WHERE idx > 7`), true, true, false},
		{"edit an interior hash", sqlAttack(`UPDATE entries SET hashes = CAST(substr(hashes, 1, 64) || zeroblob(32) AS BLOB) WHERE idx = 3`), true, true, true},
		{"cut texts short", sqlAttack(`UPDATE entries SET texts = substr(texts, 1, length(texts) - 1) WHERE idx = 7`), true, true, true},
		{"cut the end inside of a commit", sqlAttack(`DELETE FROM entries WHERE idx >= 12`), true, true, false},
		{"cut the end", sqlAttack(`DELETE FROM entries WHERE idx >= 15`), false, true, false},
		{"change a time to hide it from a search", sqlAttack(`UPDATE entries SET time = 0 WHERE idx = 7`), true, true, true},
		{"swap two entries", sqlAttack(`UPDATE entries SET idx = -1 WHERE idx = 3; UPDATE entries SET idx = 3 WHERE idx = 4; UPDATE entries SET idx = 4 WHERE idx = -1`), true, true, true},
		{"forge a checkpoint", sqlAttack(`UPDATE entries SET note = CAST(replace(CAST(note AS TEXT), char(10) || '20' || char(10), char(10) || '20' || char(10) || 'x') AS BLOB) WHERE idx = 19`), true, true, false},
		{"steal the key, rewrite, sign again", rewrite, false, true, false},
		{"steal the key, rewrite, grow past the checkpoint", func(t *testing.T, path string) {
			rewrite(t, path)
			grow(t, path, 5)
		}, false, true, false},
		{"put an old copy back", func(t *testing.T, path string) { putBack(t, path) }, false, true, false},
		{"put an old copy back and grow past the checkpoint", func(t *testing.T, path string) {
			putBack(t, path)
			grow(t, path, 15)
		}, false, true, false},
		{"two gateways, one key, both grow", func(t *testing.T, path string) {
			putBack(t, path)
			grow(t, path, 10)
		}, false, true, false},
	}
}

// run makes a log, attacks it and asks everybody. start starts a witness of the
// log with this key.
func (a attack) run(t *testing.T, start func(vkey string) (url, key string)) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	fill(t, l, 10)
	saveCopy(t, l, path)
	fillAtOnce(t, l, 4)
	fill(t, l, 4)
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := r.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	url, vkey := start(readText(t, vkeyFile(path)))
	key, err := WitnessKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	anchor := WitnessAnchor{URL: url, Key: key}
	if err := tell(t, l, anchor); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 2)
	l.Close()
	a.do(t, path)
	if report := verify(t, path, nil); report.OK() == a.self {
		t.Errorf("alone: found %v, want %v: %+v", !report.OK(), a.self, report)
	}
	if report := verify(t, path, pinned); report.OK() == a.pinned {
		t.Errorf("with a checkpoint: found %v, want %v: %+v", !report.OK(), a.pinned, report)
	}
	found := true
	if l, err := Open(path, Options{}); err == nil {
		fill(t, l, 1)
		found = tell(t, l, anchor) != nil
		l.Close()
	}
	if want := a.pinned && !a.beside; found != want {
		t.Errorf("by a witness: found %v, want %v", found, want)
	}
}

// tell tells an anchor of the newest checkpoint.
func tell(t *testing.T, l *Log, a Anchor) error {
	t.Helper()
	tree, text, err := l.newestCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a.Send(t.Context(), &Head{Checkpoint: []byte(text), Tree: tree, log: l})
}

// saveCopy keeps a copy of the database beside it, putBack puts it back.
func saveCopy(t *testing.T, l *Log, path string) {
	t.Helper()
	if _, err := l.db.Exec(`VACUUM INTO ?`, path+".old"); err != nil {
		t.Fatal(err)
	}
}

func putBack(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
}

func readText(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t *testing.T, path string) *sql.DB {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, stmts ...string) {
	t.Helper()
	for _, s := range stmts {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func sqlAttack(stmt string) func(*testing.T, string) {
	return func(t *testing.T, path string) { run(t, open(t, path), stmt) }
}

// rebuild writes tree and checkpoint for entries with the log's own key.
func rebuild(t *testing.T, path string, db *sql.DB, entries [][]byte) {
	signers, err := signingKeys(path, false)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "audit.db")
	key, err := os.ReadFile(strings.TrimSuffix(path, ".db") + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(other, ".db")+".key", key, 0o600); err != nil {
		t.Fatal(err)
	}
	l := openTest(t, other, Options{})
	if l.origin != signers[0].Name() {
		t.Fatal("the key was not taken over")
	}
	for _, e := range entries {
		err := l.Update(context.Background(), func(tx *Tx) error { return tx.add(pending{event: &Event{}, entry: e}) })
		if err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	run(t, db, `ATTACH '`+other+`' AS o`, `UPDATE entries SET (hashes, note) = (SELECT hashes, note FROM o.entries x WHERE x.idx = entries.idx)`, `DETACH o`)
}

// TestHeadFile proves that an old copy of the log is refused.
func TestHeadFile(t *testing.T) {
	dir := t.TempDir()
	path, head := filepath.Join(dir, "audit.db"), filepath.Join(dir, "head")
	l := openTest(t, path, Options{HeadFile: head})
	fill(t, l, 5)
	l.Close()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l = openTest(t, path, Options{HeadFile: head})
	fill(t, l, 5)
	l.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(path + "-wal")
	if _, err := Open(path, Options{HeadFile: head}); err == nil || !strings.Contains(err.Error(), "head file has seen 10 entries, the log holds 5") {
		t.Fatalf("an old copy: %v", err)
	}
	if _, err := Open(path, Options{}); err != nil {
		t.Fatalf("without a head file it opens: %v", err)
	}
}

// TestFailure proves that a log that cannot be written says so for ever.
func TestFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	fill(t, l, 1)
	run(t, open(t, path), `DROP TABLE entries`)
	_, err := l.Append(context.Background(), Event{Kind: KindStart})
	if err == nil || l.Err() == nil {
		t.Fatalf("append: %v, log: %v", err, l.Err())
	}
	<-l.Done()
	if _, again := l.Append(context.Background(), Event{Kind: KindStart}); !errors.Is(again, l.Err()) {
		t.Fatalf("a second append: %v", again)
	}
}

func TestMissingKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	openTest(t, path, Options{}).Close()
	os.Remove(strings.TrimSuffix(path, ".db") + ".key")
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Fatal(err)
	}
}

func TestExport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	if _, err := l.Append(context.Background(), Event{Kind: KindDecision, SQL: "=HYPERLINK(1)"}); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var csv, jsonl strings.Builder
	if err := r.ExportCSV(context.Background(), &csv, Filter{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(csv.String(), ",'=HYPERLINK(1),") {
		t.Error(csv.String())
	}
	if err := r.ExportJSONL(context.Background(), &jsonl, Filter{Kind: KindDecision}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(jsonl.String(), `"texts":{"sql":"=HYPERLINK(1)"}`) {
		t.Error(jsonl.String())
	}
}

func FuzzCheckpoint(f *testing.F) {
	path := filepath.Join(f.TempDir(), "audit.db")
	l := openTest(f, path, Options{})
	fill(f, l, 2)
	r, err := OpenReader(path)
	if err != nil {
		f.Fatal(err)
	}
	good, err := r.Checkpoint(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("x\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n\n— x y\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, err := parseCheckpoint(text, r.held)
		if err == nil && tree.N != 2 {
			t.Errorf("accepted a checkpoint that nobody signed: %q", text)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("log/writers=%d", writers), func(b *testing.B) {
			l := openTest(b, filepath.Join(b.TempDir(), "audit.db"), Options{})
			e := Event{Kind: KindDecision, Verdict: "allow", Runs: "SELECT 1", Caller: &Caller{Subject: "ada"}}
			var left atomic.Int64
			left.Store(int64(b.N))
			took := make([][]time.Duration, writers)
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						start := time.Now()
						if _, err := l.Append(context.Background(), e); err != nil {
							b.Error(err)
						}
						took[i] = append(took[i], time.Since(start))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Sorted(slices.Values(slices.Concat(took...)))
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
	// One writer beside the floor, a row a commit and nothing else: in turns, so
	// that both see the same disk.
	b.Run("beside-bare-insert/writers=1", func(b *testing.B) {
		l := openTest(b, filepath.Join(b.TempDir(), "audit.db"), Options{})
		e := Event{Kind: KindDecision, Verdict: "allow", Runs: "SELECT 1", Caller: &Caller{Subject: "ada"}}
		db, err := openDB(filepath.Join(b.TempDir(), "floor.db"), "rwc")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(`CREATE TABLE rows (x BLOB)`); err != nil {
			b.Fatal(err)
		}
		row := make([]byte, 300)
		var log, floor []time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := l.Append(context.Background(), e); err != nil {
				b.Fatal(err)
			}
			between := time.Now()
			if _, err := db.Exec(`INSERT INTO rows VALUES (?)`, row); err != nil {
				b.Fatal(err)
			}
			log, floor = append(log, between.Sub(start)), append(floor, time.Since(between))
		}
		slices.Sort(log)
		slices.Sort(floor)
		ours, bare := log[len(log)/2], floor[len(floor)/2]
		b.ReportMetric(float64(ours.Microseconds()), "log-p50-µs")
		b.ReportMetric(float64(bare.Microseconds()), "bare-p50-µs")
		b.ReportMetric(float64(ours)/float64(bare), "ratio")
	})
}

// BenchmarkRead measures what an auditor waits for, over a log of 100,000
// entries.
func BenchmarkRead(b *testing.B) {
	const entries = 100_000
	path := filepath.Join(b.TempDir(), "audit.db")
	l := openTest(b, path, Options{})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			caller := &Caller{Issuer: "https://idp.example", Subject: "ada", Email: "ada@example.com", Groups: []string{"analysts"}, Kind: "agent"}
			for range entries / 64 {
				_, err := l.Append(context.Background(), Event{
					Kind: KindDecision, Tool: "query", Session: fmt.Sprint("session", i), Client: "claude-code 2", Caller: caller, Class: "read", Command: "SELECT",
					Accesses: []Access{{Class: "read", Object: "RETAIL.PUBLIC.CUSTOMERS", Columns: []string{"ID", "NAME", "EMAIL"}}}, Verdict: "allow", Rules: []string{"analysts-read-the-shop"},
					SQL: "select id, name, email from customers order by id", Runs: "SELECT ID, NAME, EMAIL FROM RETAIL.PUBLIC.CUSTOMERS AS CUSTOMERS ORDER BY ID",
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	r, err := OpenReader(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	rate := func(b *testing.B) {
		b.ReportMetric(entries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		b.ReportMetric(float64(info.Size())/entries, "file-B/entry")
	}
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if report, err := r.Verify(context.Background(), nil); err != nil || !report.OK() {
				b.Fatal(report, err)
			}
		}
		rate(b)
	})
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			if err := r.ExportJSONL(context.Background(), io.Discard, Filter{}); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	b.Run("session", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range r.Entries(context.Background(), Filter{Session: "session7"}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != entries/64 {
				b.Fatal(n)
			}
		}
	})
}

func TestTagsAreReadBack(t *testing.T) {
	tag := Tag{"querywarden/x", 17, "bGVhZg=="}
	if got, ok := ParseTag(tag.String()); !ok || got != tag {
		t.Errorf("%+v, %t", got, ok)
	}
	for _, text := range []string{
		"", "x", "{}", "null", "[]", `{"log":"","entry":1,"leaf":"x"}`, `{"log":"a","entry":-1,"leaf":"x"}`, `{"log":"a","entry":1,"leaf":""}`,
		tag.String() + " ", tag.String() + tag.String(), `{"log":"a","entry":1,"leaf":"x","more":1}`, `{"entry":1,"log":"a","leaf":"x"}`,
		`{"log":"a","entry":1,"entry":2,"leaf":"x"}`,
	} {
		if got, ok := ParseTag(text); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}
