//go:build cgo

package tools_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// openPolicy masks nothing: what it answers is how things are.
const openPolicy = `
version: 1
rules:
  - name: everything
    who: everyone
    may: [read, write, modify, create]
    on: ["retail.*.*"]
    verdict: allow
limits: {rows: 10000, bytes: 4MiB, time: 60s}
`

// TestBenign: honest work is not refused, and its answers hold, on every column
// that is not masked, what they hold without a policy.
func TestBenign(t *testing.T) {
	open, err := policy.Parse([]byte(openPolicy))
	if err != nil {
		t.Fatal(err)
	}
	masked, raw := newWorld(t, emulator.DemoScript()), newWorldOf(t, emulator.DemoScript(), open)
	n, refused := 0, 0
	for _, sql := range benignStatements(t, "testdata/benign.sql") {
		n++
		got, want := masked.query(sql), raw.query(sql)
		if want.Status != tools.Completed {
			t.Errorf("%s\nis not answered at all: %s: %s", sql, want.Code, want.Message)
			continue
		}
		if got.Status != tools.Completed {
			refused++
			t.Errorf("%s\nis refused: %s: %s", sql, got.Code, got.Message)
			continue
		}
		compareAnswers(t, sql, got, want)
	}
	t.Logf("%d of %d statements refused", refused, n)
	if n < 250 {
		t.Errorf("only %d statements", n)
	}
}

// TestBenignElsewhere: nor is honest work refused that needs Snowflake itself.
func TestBenignElsewhere(t *testing.T) {
	w := newWorld(t, emulator.DemoScript()+"; CREATE TABLE retail.staging.big (id NUMBER); CREATE TABLE retail.staging.small (id NUMBER);")
	judge := w.gate.Judge()
	list := benignStatements(t, "testdata/benign_elsewhere.sql")
	refused := 0
	for _, sql := range list {
		if j := judge.Judge(ada.Caller, sql, 0, time.Now()); j.Denied() {
			refused++
			t.Errorf("%s\nis refused: %+v", sql, j.Reason())
		}
	}
	t.Logf("%d of %d statements refused", refused, len(list))
	if len(list) < 25 {
		t.Errorf("only %d statements", len(list))
	}
}

// benignStatements reads a file of statements, one a line.
func benignStatements(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			list = append(list, line)
		}
	}
	return list
}

// compareAnswers compares the columns that are not masked, row by row.
func compareAnswers(t *testing.T, sql string, got, want tools.QueryAnswer) {
	t.Helper()
	if len(got.Columns) != len(want.Columns) || got.RowCount != want.RowCount {
		t.Errorf("%s\nhas %d columns and %d rows, want %d and %d", sql, len(got.Columns), got.RowCount, len(want.Columns), want.RowCount)
		return
	}
	rows := func(a tools.QueryAnswer) []string {
		var out []string
		for _, text := range a.Rows.First() {
			var cells []json.RawMessage
			if err := json.Unmarshal(text, &cells); err != nil {
				t.Fatal(err)
			}
			row := ""
			for i, c := range cells {
				if got.Columns[i].Masked == "" && !strings.Contains(string(c), "[") { // what detectors hid is in brackets
					row += string(c) + " "
				}
			}
			out = append(out, row)
		}
		slices.Sort(out)
		return out
	}
	if got.Redacted == 0 && !slices.Equal(rows(got), rows(want)) {
		t.Errorf("%s\n got %.300q\nwant %.300q", sql, rows(got), rows(want))
	}
}
