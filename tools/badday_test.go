//go:build cgo

package tools_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// TestBadDays: whatever happens on the way to the account and back, the agent
// gets a clear error, the log one outcome, and no statement runs twice.
func TestBadDays(t *testing.T) {
	rules, err := policy.Parse([]byte(strings.Replace(openPolicy, "time: 60s", "time: 3s", 1)))
	if err != nil {
		t.Fatal(err)
	}
	script := func(text string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			if err := w.account.Exec(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	fault := func(b emulator.Breakage) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.account.Break(b) }
	}
	// The session ends, and the account knows the key no more.
	keyGone := func(t *testing.T, w *world) {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.account.AddUser("GATE", &other.PublicKey, "GATE_ROLE"); err != nil {
			t.Fatal(err)
		}
		w.account.Break(emulator.Breakage{Path: "/queries/v1/query-request", Fault: emulator.Gone, Times: 1})
	}
	const request, chunks = "/queries/v1/query-request", "/results/"
	const long = "SELECT a.id, b.id AS other, RPAD('x', 200, 'x') AS t FROM big a, (SELECT id FROM big WHERE id < 4) b"
	for name, bad := range map[string]struct {
		plant func(*testing.T, *world)
		sql   string
		code  policy.Code // of the answer; completed where the gate gets over it
		ran   int         // how often the account ran it
	}{
		"a reply is lost":           {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Lost, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"a reply is cut":            {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Cut, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"overloaded for a moment":   {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Overload, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"too many for a moment":     {plant: fault(emulator.Breakage{Path: request, Fault: emulator.TooMany, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"overloaded for good":       {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Overload, Containing: "NOTES"}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeTimeout},
		"no answer":                 {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Stall, Containing: "NOTES"}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeTimeout},
		"a page instead of JSON":    {plant: fault(emulator.Breakage{Path: request, Fault: emulator.UnknownEnd, Containing: "NOTES"}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeWarehouse},
		"the session token is over": {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Expired, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"the session is gone":       {plant: fault(emulator.Breakage{Path: request, Fault: emulator.Gone, Containing: "NOTES", Times: 1}), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeCompleted, ran: 1},
		"a row is missing":          {plant: fault(emulator.Breakage{Fault: emulator.Fewer, Containing: "BIG"}), sql: "SELECT id FROM big LIMIT 3", code: tools.CodeWarehouse, ran: 1},
		"a row too many":            {plant: fault(emulator.Breakage{Fault: emulator.More, Containing: "BIG"}), sql: "SELECT id FROM big LIMIT 3", code: tools.CodeWarehouse, ran: 1},
		"a chunk is cut":            {plant: fault(emulator.Breakage{Path: chunks, Fault: emulator.Cut}), sql: long, code: tools.CodeWarehouse, ran: 1},
		"a chunk does not come":     {plant: fault(emulator.Breakage{Path: chunks, Fault: emulator.Stall}), sql: long, code: tools.CodeTimeout, ran: 1},
		"the key is withdrawn":      {plant: keyGone, sql: "INSERT INTO notes VALUES (1)", code: tools.CodeWarehouse},
		"the table has gone":        {plant: script("DROP TABLE notes"), sql: "INSERT INTO notes VALUES (1)", code: tools.CodeWarehouse, ran: 1},
		"a column has gone":         {plant: script("ALTER TABLE big DROP COLUMN v"), sql: "SELECT v FROM big", code: tools.CodeWarehouse, ran: 1},
		"a column came":             {plant: script("ALTER TABLE big ADD COLUMN secret VARCHAR"), sql: "SELECT * FROM big LIMIT 2", code: tools.CodeCompleted, ran: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, `CREATE TABLE notes (a NUMBER); CREATE TABLE big (id NUMBER, v VARCHAR);
				INSERT INTO big SELECT SEQ4(), 'x' FROM TABLE(GENERATOR(ROWCOUNT => 5000));`, rules)
			bad.plant(t, w)
			started := time.Now()
			a := w.query(bad.sql)
			defer a.Rows.Close()
			if a.Code != bad.code {
				t.Errorf("%+v, want %s", a.Answer, bad.code)
			}
			if a.Status != tools.Completed && (a.Message == "" || a.Next == "") {
				t.Errorf("%+v does not say what to do", a.Answer)
			}
			if strings.Contains(a.Rows.String(), "SECRET") {
				t.Error("a column that nobody judged is in the answer")
			}
			if d := time.Since(started); d > 40*time.Second {
				t.Errorf("it took %s", d)
			}
			w.account.Mend()
			if outcomes := w.entries(t, audit.KindOutcome); len(outcomes) != 1 {
				t.Errorf("%d outcomes are in the log", len(outcomes))
			} else if got := outcomes[0].Event; (got.Status == "completed") != (a.Status == tools.Completed) {
				t.Errorf("the log says %s", got.Status)
			}
			if err := w.account.AddUser("GATE", &testKey().PublicKey, "GATE_ROLE"); err != nil {
				t.Fatal(err)
			}
			if ran := w.ran(t, bad.sql); ran != bad.ran {
				t.Errorf("the account ran it %d times, want %d", ran, bad.ran)
			}
		})
	}
}

// ran counts how often the account ran a statement of the gate's, by its
// history: those that name what the text writes to or reads.
func (w *world) ran(t *testing.T, sql string) int {
	t.Helper()
	table := "BIG"
	if strings.Contains(sql, "notes") {
		table = "NOTES"
	}
	since := time.Now().Add(-time.Hour)
	n := 0
	h, err := w.warehouse.History(context.Background(), "", since, []string{"GATE"}, func(text string) (audit.Receipt, error) { return w.log.RecordOwn(context.Background(), text) })
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range h.Statements {
		if strings.Contains(s.Text, "RETAIL.PUBLIC."+table) {
			n++
		}
	}
	return n
}
