package audit

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// ExportCSV writes the chosen entries as a table for a spreadsheet. A cell
// that a spreadsheet would take for a formula begins with an apostrophe.
func (r *Reader) ExportCSV(ctx context.Context, w io.Writer, f Filter) error {
	out := csv.NewWriter(w)
	header := []string{"index", "time", "kind", "subject", "email", "tool", "class", "command", "objects", "verdict", "codes", "rules",
		"policy", "approval", "query_id", "status", "rows", "bytes", "micros", "conversation", "turn", "call", "how", "prompt", "sql", "runs", "leaf"}
	if err := out.Write(header); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	for e, err := range r.Entries(ctx, f) {
		if err != nil {
			return err
		}
		ev := e.Event
		caller := Caller{}
		if ev.Caller != nil {
			caller = *ev.Caller
		}
		var objects []string
		for _, a := range ev.Accesses {
			objects = append(objects, a.Class+" "+a.Object)
		}
		row := []string{
			strconv.FormatInt(e.Index, 10), ev.Time.Format(time.RFC3339Nano), string(ev.Kind), caller.Subject, caller.Email, ev.Tool, ev.Class, ev.Command,
			strings.Join(objects, "; "), ev.Verdict, strings.Join(ev.Codes, "; "), strings.Join(ev.Rules, "; "), ev.Policy, ev.Approval, ev.QueryID,
			ev.Status, strconv.FormatInt(ev.Rows, 10), strconv.FormatInt(ev.Bytes, 10), strconv.FormatInt(ev.Micros, 10),
			ev.Conversation, ev.Turn, ev.CallID, ev.How, e.Texts["prompt"], e.Texts["sql"], e.Texts["runs"], e.Leaf,
		}
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}

// cell keeps a spreadsheet from computing what an agent wrote.
func cell(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
