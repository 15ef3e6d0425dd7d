package audit

import (
	"path/filepath"
	"testing"
	"time"
)

// TestVerifyEntries: what the badge of the console says is proven, and each way
// to change one of the entries is found. A change elsewhere is none of theirs.
func TestVerifyEntries(t *testing.T) {
	for _, c := range []struct {
		name   string
		attack func(*testing.T, string)
		found  bool
	}{
		{"control", func(*testing.T, string) {}, false},
		{"another entry is edited", sqlAttack(`UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), 'allow', 'alloW') AS BLOB) WHERE idx = 1`), false},
		{"an entry is edited", sqlAttack(`UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), 'allow', 'alloW') AS BLOB) WHERE idx = 7`), true},
		{"a text is edited", sqlAttack(`UPDATE entries SET texts = CAST(replace(CAST(texts AS TEXT), 'select 7', 'select 8') AS BLOB) WHERE idx = 7`), true},
		{"a search column is edited", sqlAttack(`UPDATE entries SET subject = 'eve' WHERE idx = 7`), true},
		{"a time is edited", sqlAttack(`UPDATE entries SET time = 0 WHERE idx = 7`), true},
		{"texts are cut short", sqlAttack(`UPDATE entries SET texts = substr(texts, 1, length(texts) - 1) WHERE idx = 7`), true},
		{"an entry is deleted", sqlAttack(`DELETE FROM entries WHERE idx = 7`), true},
		{"a hash on the way is edited", sqlAttack(`UPDATE entries SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE idx = 6`), true},
		{"a hash on the way is missing", sqlAttack(`UPDATE entries SET hashes = x'' WHERE idx = 6`), true},
		{"the newest checkpoint is forged", sqlAttack(`UPDATE entries SET note = CAST(replace(CAST(note AS TEXT), char(10) || '18' || char(10), char(10) || '17' || char(10)) AS BLOB) WHERE idx = 17`), true},
		{"the first checkpoint is forged", sqlAttack(`UPDATE entries SET note = CAST('x' || CAST(note AS TEXT) AS BLOB) WHERE idx = 7`), true},
		{"the first checkpoint is another's", sqlAttack(`UPDATE entries SET note = (SELECT note FROM entries WHERE idx = 6) WHERE idx = 7`), true},
		{"there are no checkpoints", sqlAttack(`UPDATE entries SET note = NULL`), true},
		{"the end is cut off inside of a commit", sqlAttack(`DELETE FROM entries WHERE idx >= 12`), true},
	} {
		path := filepath.Join(t.TempDir(), "audit.db")
		l := openTest(t, path, Options{})
		fill(t, l, 10)
		fillAtOnce(t, l, 4)
		fill(t, l, 4)
		c.attack(t, path)
		r, err := OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		// Not in order, and one twice.
		got, err := r.VerifyEntries(t.Context(), []int64{11, 7, 7})
		r.Close()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.OK() == c.found {
			t.Errorf("%s: %+v", c.name, got)
		}
		if !c.found && (got.Entries != 2 || got.Size != 18 || got.Since != 8 || got.Texts != 3 || got.Erased != 0) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestVerifyNoEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := r.VerifyEntries(t.Context(), []int64{0}); err != nil || got.OK() {
		t.Errorf("of an empty log: %+v, %v", got, err)
	}
	fill(t, l, 1)
	for _, index := range []int64{1, -1} {
		if got, err := r.VerifyEntries(t.Context(), []int64{index}); err != nil || got.OK() {
			t.Errorf("entry %d of one: %+v, %v", index, got, err)
		}
	}
	if _, err := l.Erase(t.Context(), Erasure{Filter: Filter{Subject: "ada"}, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.VerifyEntries(t.Context(), []int64{0}); err != nil || !got.OK() || got.Erased != 2 || got.Texts != 0 {
		t.Errorf("erased: %+v, %v", got, err)
	}
}

// TestDays counts by day, and says zero of days on which nothing happened.
func TestDays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	yes := true
	for _, e := range []Event{
		{Kind: KindDecision, Verdict: "allow"}, {Kind: KindDecision, Verdict: "deny"}, {Kind: KindDecision, Verdict: "ask"},
		{Kind: KindDecision, Verdict: "deny", DryRun: true}, {Kind: KindExecution, Verdict: "ask"},
		{Kind: KindOutcome, Status: "completed"}, {Kind: KindOutcome, Status: "failed"},
		{Kind: KindApprovalVoted, Approve: &yes}, {Kind: KindApprovalChanged, State: "approved"}, {Kind: KindApprovalChanged, State: "denied"}, {Kind: KindApprovalChanged, State: "expired"},
	} {
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	now := time.Now()
	days, err := r.Days(t.Context(), now.Add(-48*time.Hour), now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if len(days) < 3 || days[0] != (Day{Date: days[0].Date}) {
		t.Fatalf("%+v", days)
	}
	var all Day // the test may run over midnight
	for i, d := range days {
		if i > 0 && d.Date.Sub(days[i-1].Date) != 24*time.Hour {
			t.Errorf("day %d is %s", i, d.Date)
		}
		all.Statements, all.Refused, all.Asked, all.Failed = all.Statements+d.Statements, all.Refused+d.Refused, all.Asked+d.Asked, all.Failed+d.Failed
		all.Approved, all.Denied = all.Approved+d.Approved, all.Denied+d.Denied
	}
	if want := (Day{Statements: 3, Refused: 1, Asked: 1, Failed: 1, Approved: 1, Denied: 1}); all != want {
		t.Errorf("%+v, want %+v", all, want)
	}
	if days, err := r.Days(t.Context(), now, now.Add(-time.Hour)); err != nil || len(days) > 1 {
		t.Errorf("backwards: %+v, %v", days, err)
	}
}
