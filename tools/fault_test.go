//go:build cgo

package tools_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/internal/emulator"
	"querywarden/tools"
)

// seen is a log handler that keeps the statements that reach the warehouse.
type seen struct {
	mu         sync.Mutex
	statements []string
	tags       []string
	on         func(statement string) // called before the statement's answer leaves
}

func (s *seen) Enabled(context.Context, slog.Level) bool { return true }
func (s *seen) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *seen) WithGroup(string) slog.Handler            { return s }
func (s *seen) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "tag" {
			s.mu.Lock()
			s.tags = append(s.tags, a.Value.String())
			s.mu.Unlock()
		}
		if a.Key == "statement" {
			s.mu.Lock()
			s.statements = append(s.statements, a.Value.String())
			on := s.on
			s.mu.Unlock()
			if on != nil {
				on(a.Value.String())
			}
		}
		return true
	})
	return nil
}

func (s *seen) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.statements {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// faulty is a world whose log can be made to fail.
type faulty struct {
	*world
	seen *seen
	disk *sql.DB
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	s := &seen{}
	f := &faulty{world: newWorldWith(t, emulator.DemoScript(), examplePolicy(t), emulator.Options{Logger: slog.New(s)}), seen: s}
	var err error
	if f.disk, err = sql.Open("sqlite", "file:"+f.file+"?_pragma=busy_timeout(5000)&_txlock=immediate"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.disk.Close() })
	return f
}

// fail makes every write of such an entry an error of the disk.
func (f *faulty) fail(t *testing.T, kinds string) {
	t.Helper()
	_, err := f.disk.Exec(`CREATE TRIGGER fault BEFORE INSERT ON entries WHEN NEW.kind IN (` + kinds + `) BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END`)
	if err != nil {
		t.Fatal(err)
	}
}

// block holds every write until release is called.
func (f *faulty) block(t *testing.T) (release func()) {
	t.Helper()
	tx, err := f.disk.Begin()
	if err != nil {
		t.Error(err)
		return func() {}
	}
	return sync.OnceFunc(func() { tx.Rollback() })
}

// asked makes a request that a person is yet to decide on. What the warehouse
// was asked for it is forgotten.
func (f *faulty) asked(t *testing.T, drop string) (id string) {
	t.Helper()
	a := f.gate.RequestApproval(t.Context(), ada, tools.ApprovalRequest{SQL: drop, Reason: "unused"}, nil)
	if a.Status != tools.Pending {
		t.Fatalf("%+v", a.Answer)
	}
	f.seen.mu.Lock()
	f.seen.statements = nil
	f.seen.mu.Unlock()
	return a.Approval.ID
}

const canary = "CANARY"

// calls are one call of every tool. What reaches the warehouse holds the
// canary.
var calls = []struct {
	name  string
	runs  bool // a statement reaches the warehouse
	setUp func(*testing.T, *faulty) string
	call  func(*faulty, string) (tools.Answer, any)
}{
	{"query", true, nil, func(f *faulty, _ string) (tools.Answer, any) {
		a := f.query("select '" + canary + "' as c from customers limit 1")
		return a.Answer, a
	}},
	{"check_approval", true, func(t *testing.T, f *faulty) string {
		if a := f.query("create table staging.canary as select 1 as x"); a.Status != tools.Completed {
			t.Fatalf("%+v", a.Answer)
		}
		return f.asked(t, "drop table staging.canary")
	}, func(f *faulty, id string) (tools.Answer, any) {
		// The gate runs it by itself once somebody has said yes; the disk may
		// fail before that is noted.
		_, _ = f.vote(context.Background(), id, olga, true, "fine")
		a := f.gate.CheckApproval(context.Background(), ada, tools.CheckRequest{ID: id, Wait: 30}, nil)
		return a.Answer, a
	}},
	{"request_approval", false, nil, func(f *faulty, _ string) (tools.Answer, any) {
		a := f.gate.RequestApproval(context.Background(), ada, tools.ApprovalRequest{SQL: "drop table staging.import_2024_old", Reason: "CANARY"}, nil)
		return a.Answer, a
	}},
	{"describe_table", false, nil, func(f *faulty, _ string) (tools.Answer, any) {
		a := f.gate.DescribeTable(context.Background(), ada, tools.DescribeRequest{Table: "customers"})
		return a.Answer, a
	}},
	{"list_tables", false, nil, func(f *faulty, _ string) (tools.Answer, any) {
		a := f.gate.ListTables(context.Background(), ada, tools.ListRequest{})
		return a.Answer, a
	}},
}

// answers reports whether an answer holds anything of the account's.
func answers(a any) bool {
	switch a := a.(type) {
	case tools.QueryAnswer:
		return a.Rows != nil || a.RowCount > 0 || a.Columns != nil
	case tools.DescribeAnswer:
		return a.Columns != nil
	case tools.ListAnswer:
		return len(a.Tables) > 0
	default:
		return true
	}
}

// TestFaultAtIntent: a disk that fails when a call is to be recorded. Nothing
// reaches the warehouse, nothing is answered, and the gate is out of order.
func TestFaultAtIntent(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			f := newFaulty(t)
			id := ""
			if c.setUp != nil {
				id = c.setUp(t, f)
			}
			f.fail(t, `'decision', 'execution', 'tool_call', 'approval_requested'`)
			a, whole := c.call(f, id)
			if a.Status != tools.Failed || a.Code != tools.CodeUnavailable || answers(whole) {
				t.Errorf("%+v", whole)
			}
			if f.seen.has(canary) {
				t.Error("an unrecorded statement reached the warehouse")
			}
			if f.gate.Healthy() == nil {
				t.Error("the gate says it is well")
			}
		})
	}
}

// TestFaultAtOutcome: a disk that fails once the statement has run. Its rows are
// withheld, and an approval whose outcome nobody could record is not done.
func TestFaultAtOutcome(t *testing.T) {
	for _, c := range calls {
		if !c.runs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			f := newFaulty(t)
			id := ""
			if c.setUp != nil {
				id = c.setUp(t, f)
			}
			f.fail(t, `'outcome'`)
			a, whole := c.call(f, id)
			if a.Status != tools.Failed || a.Code != tools.CodeUnavailable || answers(whole) {
				t.Errorf("%+v", whole)
			}
			if !f.seen.has(canary) {
				t.Error("the statement did not run: the test tests nothing")
			}
			if f.gate.Healthy() == nil {
				t.Error("the gate says it is well")
			}
		})
	}
}

// TestSlowDisk: a disk that takes a while. Nothing overtakes the record: no
// statement that of its intent, no answer that of its outcome.
func TestSlowDisk(t *testing.T) {
	const while = 300 * time.Millisecond
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			f := newFaulty(t)
			id := ""
			if c.setUp != nil {
				id = c.setUp(t, f)
			}
			release := f.block(t)
			time.AfterFunc(while, func() {
				if f.seen.has(canary) {
					t.Error("a statement overtook its record")
				}
				release()
			})
			started := time.Now()
			if a, _ := c.call(f, id); a.Status != tools.Completed && a.Status != tools.Pending || time.Since(started) < while {
				t.Errorf("after %v: %+v", time.Since(started), a)
			}
		})
		if !c.runs {
			continue
		}
		t.Run(c.name+"/outcome", func(t *testing.T) {
			f := newFaulty(t)
			id := ""
			if c.setUp != nil {
				id = c.setUp(t, f)
			}
			var released time.Time
			var once sync.Once
			f.seen.on = func(statement string) {
				if strings.Contains(statement, canary) {
					once.Do(func() {
						release := f.block(t)
						time.AfterFunc(while, func() { released = time.Now(); release() })
					})
				}
			}
			a, _ := c.call(f, id)
			if answered := time.Now(); a.Status != tools.Completed || released.IsZero() || answered.Before(released) {
				t.Errorf("answered at %v, the disk came back at %v: %+v", answered, released, a)
			}
		})
	}
}

// TestBlockedDisk: a disk that does not come back. The call ends, unanswered.
func TestBlockedDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a disk")
	}
	for _, c := range calls[:1] {
		for _, at := range []string{"intent", "outcome"} {
			t.Run(c.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t)
				var release func()
				if at == "intent" {
					release = f.block(t)
				} else {
					f.seen.on = func(statement string) {
						if strings.Contains(statement, canary) && release == nil {
							release = f.block(t)
						}
					}
				}
				a, whole := c.call(f, "")
				if a.Status != tools.Failed || a.Code != tools.CodeUnavailable || answers(whole) {
					t.Errorf("%+v", whole)
				}
				if f.seen.has(canary) != (at == "outcome") {
					t.Error("a statement ran that should not, or the other way round")
				}
				release()
				if f.gate.Healthy() == nil {
					t.Error("the gate says it is well")
				}
			})
		}
	}
}

// hashKey is a key of the hash mask, which the log does not keep.
var hashKey = regexp.MustCompile(`'[0-9a-f]{64}'`)

// TestEveryRunIsRecorded: whatever is sent, each statement that reaches the
// warehouse carries the place of its record in the log, and the record's hash.
func TestEveryRunIsRecorded(t *testing.T) {
	f := newFaulty(t)
	for i, text := range benignStatements(t, "testdata/benign.sql") {
		f.query(text)
		if i%10 == 0 {
			f.query(fmt.Sprintf("create table staging.made%d as select 1 as x", i))
		}
	}
	entries := f.entries(t, "")
	f.seen.mu.Lock()
	defer f.seen.mu.Unlock()
	if len(f.seen.statements) < 200 || len(f.seen.statements) != len(f.seen.tags) {
		t.Errorf("%d statements with %d tags", len(f.seen.statements), len(f.seen.tags))
	}
	used := map[int64]bool{}
	for i, s := range f.seen.statements {
		var tag struct {
			Log   string
			Entry int64
			Leaf  string
		}
		if err := json.Unmarshal([]byte(f.seen.tags[i]), &tag); err != nil {
			t.Errorf("%s: tag %q: %v", s, f.seen.tags[i], err)
			continue
		}
		if tag.Log != f.log.Origin() || tag.Entry >= int64(len(entries)) || entries[tag.Entry].Leaf != tag.Leaf || used[tag.Entry] {
			t.Errorf("%s: tag %+v", s, tag)
			continue
		}
		used[tag.Entry] = true
		if runs := entries[tag.Entry].Texts["runs"]; runs != hashKey.ReplaceAllString(s, "'HIDDEN'") {
			t.Errorf("recorded %s\nran      %s", runs, s)
		}
	}
}
