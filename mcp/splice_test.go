package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"

	"querywarden/policy"
	"querywarden/tools"
)

// longQuery yields 5,000 rows and about 2.5 MB.
const longQuery = `SELECT SEQ4() AS n, REPEAT('"x"', 160) AS text FROM TABLE(GENERATOR(ROWCOUNT => 5000)) ORDER BY n`

// TestLongAnswers asks for more rows than the gate holds in memory, over both
// transports.
func TestLongAnswers(t *testing.T) {
	w := newWorld(t, nil)
	check := func(t *testing.T, c *client.Client) {
		t.Helper()
		r := call(t, c, "query", map[string]any{"sql": longQuery})
		a := structured(t, r)
		if a.Status != "completed" || a.RowCount != 5000 || len(a.Rows) != 5000 {
			t.Fatalf("%d rows, %d of them here: %.300s", a.RowCount, len(a.Rows), text(t, r))
		}
		for i, row := range a.Rows {
			if n, _ := row[0].(float64); int(n) != i || len(row) != 2 || row[1] != strings.Repeat(`"x"`, 160) {
				t.Fatalf("row %d is %v", i, row)
			}
		}
		if form := text(t, r); len(form) > textLimit+1000 || !strings.Contains(form, " more rows are in the structured content") {
			t.Errorf("the text form has %d bytes and ends with %q", len(form), form[len(form)-200:])
		}
	}
	for _, era := range eras {
		t.Run("http "+era.name, func(t *testing.T) { check(t, connect(t, w, w.token(t, "ada"), era.legacy)) })
		t.Run("stdio "+era.name, func(t *testing.T) {
			toServer, fromClient := io.Pipe()
			toClient, fromServer := io.Pipe()
			done := make(chan error, 1)
			go func() {
				caller := policy.Caller{Issuer: "stdio", Subject: "ada", Groups: []string{"analysts"}, Kind: policy.Agent}
				err := w.server.ServeStdio(context.Background(), toServer, fromServer, caller)
				fromServer.Close()
				done <- err
			}()
			check(t, initialize(t, transport.NewIO(toClient, fromClient, io.NopCloser(strings.NewReader(""))), era.legacy))
			fromClient.Close()
			if err := <-done; err != nil {
				t.Errorf("the end of the input: %v", err)
			}
		})
	}
}

// spooledRows makes rows that are beyond what is held in memory.
func spooledRows(t testing.TB) *tools.Rows {
	t.Helper()
	filler := strings.Repeat("y", 1000)
	rows := rowsOf(t, 3000, func(i int) string { return fmt.Sprintf(`[%d,"%s"]`, i, filler) })
	if !rows.Spooled() {
		t.Fatal("all rows are in memory")
	}
	return rows
}

func TestSplicer(t *testing.T) {
	var out bytes.Buffer
	s := &splicer{w: &out}
	first, second := spooledRows(t), spooledRows(t)
	a, b := s.leave(first), s.leave(second)
	if a == b {
		t.Fatal("two marks are the same")
	}
	for _, message := range []string{"plain ", `{"rows":"` + b + `"} `, `{"rows":"` + a + `"} `, `{"rows":"` + a + `"}`} {
		if n, err := s.Write([]byte(message)); err != nil || n != len(message) {
			t.Fatalf("%d of %d bytes: %v", n, len(message), err)
		}
	}
	rest, plain := strings.CutPrefix(out.String(), "plain ")
	d := json.NewDecoder(strings.NewReader(rest))
	for i := range 3 {
		var got struct{ Rows any }
		if err := d.Decode(&got); err != nil || !plain {
			t.Fatalf("message %d: %v", i, err)
		}
		rows, spliced := got.Rows.([]any)
		if i < 2 && (!spliced || len(rows) != 3000) || i == 2 && got.Rows != a {
			t.Errorf("message %d: %d rows", i, len(rows))
		}
	}

	left := spooledRows(t)
	s.leave(left)
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := left.WriteTo(io.Discard); !errors.Is(err, os.ErrClosed) {
		t.Errorf("rows that were never written: %v", err)
	}

	broken := &splicer{w: brokenWriter{}}
	mark := broken.leave(spooledRows(t))
	if _, err := broken.Write([]byte(`"` + mark + `"`)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a client that has gone: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestSpliceMemory writes a message around 3 MB of rows and looks at what that
// takes.
func TestSpliceMemory(t *testing.T) {
	a := tools.QueryAnswer{Answer: tools.Answer{Status: tools.Completed, Code: tools.CodeCompleted}, Columns: []tools.Column{{Name: "ID"}}}
	var took []uint64
	for range 5 {
		a.Rows = spooledRows(t)
		s := &splicer{w: io.Discard}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		message, err := json.Marshal(queryReply(a).result(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(message); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		took = append(took, after.TotalAlloc-before.TotalAlloc)
	}
	if least := slices.Min(took); least > 1<<20 {
		t.Errorf("writing 3 MB of rows takes %d bytes", least)
	}
}
