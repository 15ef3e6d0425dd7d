package audit

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var largeEntries = flag.Int("large", 0, "how many entries TestLarge makes")

// TestLarge makes a log of millions of entries and measures what somebody who
// looks something up waits for. It takes about ten minutes and 12 GB for ten
// million: -large 10000000.
func TestLarge(t *testing.T) {
	if *largeEntries == 0 {
		t.Skip("the long run: -large 10000000")
	}
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	const atOnce, perSession = 1000, 500
	start := time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	sessions := make([]string, 20) // under way at once
	made := 0
	for made < *largeEntries {
		err := l.Update(t.Context(), func(tx *Tx) error {
			for range atOnce {
				i := random.IntN(len(sessions))
				if sessions[i] == "" || random.IntN(perSession) == 0 {
					sessions[i] = fmt.Sprintf("session-%d", made)
				}
				_, err := tx.Append(Event{
					Kind: KindDecision, Tool: "query", Session: sessions[i], Client: "claude-code 2",
					Caller: &Caller{Issuer: "https://idp.example", Subject: fmt.Sprint("user", i), Email: fmt.Sprintf("user%d@example.com", i), Groups: []string{"analysts"}, Kind: "agent"},
					Class:  "read", Command: "SELECT", Verdict: "allow", Rules: []string{"analysts-read-the-shop"},
					Accesses: []Access{{Class: "read", Object: "RETAIL.PUBLIC.CUSTOMERS", Columns: []string{"ID", "NAME", "EMAIL"}}},
					SQL:      "select id, name, email from customers order by id", Runs: "SELECT ID, NAME, EMAIL FROM RETAIL.PUBLIC.CUSTOMERS AS CUSTOMERS ORDER BY ID",
				})
				if err != nil {
					return err
				}
				made++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(start)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries in %s, %d bytes of file an entry", made, took.Round(time.Second), info.Size()/int64(made))

	start = time.Now()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, path, Options{})
	t.Logf("closed and opened in %s", time.Since(start).Round(time.Millisecond))
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	middle, err := r.Entry(t.Context(), int64(made/2))
	if err != nil {
		t.Fatal(err)
	}
	for _, look := range []struct {
		name string
		run  func(i int) (int, error)
	}{
		{"show one entry", func(i int) (int, error) {
			_, err := r.Entry(t.Context(), int64((i*7919+made/3)%made))
			return 1, err
		}},
		{"list a session", func(i int) (int, error) {
			e, err := r.Entry(t.Context(), int64((i*7919+made/3)%made))
			if err != nil {
				return 0, err
			}
			return count(r.Entries(t.Context(), Filter{Session: e.Event.Session}))
		}},
		{"list the newest 50", func(int) (int, error) { return count(r.Entries(t.Context(), Filter{Last: 50})) }},
		{"list the newest 50 of a caller", func(i int) (int, error) {
			return count(r.Entries(t.Context(), Filter{Last: 50, Subject: fmt.Sprint("user", i%len(sessions))}))
		}},
		{"list a second in the middle, 50", func(int) (int, error) {
			at := middle.Event.Time
			return count(r.Entries(t.Context(), Filter{Since: at, Until: at.Add(time.Second), Last: 50}))
		}},
		{"prove one entry", func(i int) (int, error) {
			_, err := r.Prove(t.Context(), int64((i*7919+made/3)%made))
			return 1, err
		}},
		{"append one", func(int) (int, error) {
			_, err := l.Append(context.Background(), Event{Kind: KindDecision, Session: "after", Caller: &Caller{Subject: "user1"}})
			return 1, err
		}},
	} {
		var waits []time.Duration
		entries := 0
		for i := range 101 {
			start := time.Now()
			n, err := look.run(i)
			if err != nil {
				t.Fatalf("%s: %v", look.name, err)
			}
			waits, entries = append(waits, time.Since(start)), entries+n
		}
		slices.Sort(waits)
		t.Logf("%s: p50 %s, p99 %s, %d entries on average", look.name, waits[50].Round(10*time.Microsecond), waits[99].Round(10*time.Microsecond), entries/101)
	}
	start = time.Now()
	report, err := r.Verify(t.Context(), nil)
	if err != nil || !report.OK() {
		t.Fatalf("%+v, %v", report, err)
	}
	t.Logf("verified in %s: %.0f entries/s", time.Since(start).Round(time.Second), float64(report.Entries)/time.Since(start).Seconds())
	for _, export := range []struct {
		name string
		run  func(context.Context, io.Writer, Filter) error
	}{{"jsonl", r.ExportJSONL}, {"csv", r.ExportCSV}, {"ocsf", r.ExportOCSF}} {
		start = time.Now()
		if err := export.run(t.Context(), io.Discard, Filter{}); err != nil {
			t.Fatal(err)
		}
		t.Logf("exported as %s in %s: %.0f entries/s", export.name, time.Since(start).Round(time.Second), float64(report.Entries)/time.Since(start).Seconds())
	}

	// Retention takes the older tenth, while others go on writing.
	old, err := r.Entry(t.Context(), int64(made/10))
	if err != nil {
		t.Fatal(err)
	}
	retained := make(chan error, 1)
	start = time.Now()
	go func() { retained <- l.Retain(context.Background(), Retention{Texts: time.Since(old.Event.Time)}) }()
	var waits []time.Duration
	for done := false; !done; {
		select {
		case err := <-retained:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
			at := time.Now()
			if _, err := l.Append(context.Background(), Event{Kind: KindDecision, Session: "after", Caller: &Caller{Subject: "user1"}}); err != nil {
				t.Fatal(err)
			}
			waits = append(waits, time.Since(at))
		}
	}
	slices.Sort(waits)
	t.Logf("retention of a tenth in %s; appends meanwhile: %d, p50 %s, p99 %s, longest %s", time.Since(start).Round(time.Second), len(waits),
		waits[len(waits)/2].Round(time.Microsecond), waits[len(waits)*99/100].Round(time.Microsecond), waits[len(waits)-1].Round(time.Millisecond))
}

// count counts entries and stops at the first error.
func count(entries func(func(*Entry, error) bool)) (n int, err error) {
	for _, e := range entries {
		if e != nil {
			return n, e
		}
		n++
	}
	return n, nil
}
