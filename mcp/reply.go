package mcp

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/mark3labs/mcp-go/mcp"

	"querywarden/tools"
)

// textLimit is how many bytes of rows the text form of an answer holds. It is
// about what clients give to a model of one answer.
const textLimit = 32 << 10

// A reply is an answer in both its forms.
type reply struct {
	status     tools.Status
	structured any
	text       string
}

// result is the reply in the protocol's words. Rows that are not in memory
// come into the message when it is written, through s.
func (r reply) result(s *splicer) *mcp.CallToolResult {
	if a, ok := r.structured.(tools.QueryAnswer); ok && a.Rows.Spooled() && s != nil {
		r.structured = struct {
			tools.QueryAnswer
			Rows string `json:"rows"` // in the place of the answer's own
		}{a, s.leave(a.Rows)}
	}
	structured, err := json.Marshal(r.structured)
	if err != nil {
		// Only rows can be invalid, and only if the gate is broken.
		return mcp.NewToolResultError("The gateway could not encode its answer; tell its operator.")
	}
	return &mcp.CallToolResult{
		Content:              []mcp.Content{mcp.NewTextContent(r.text)},
		RawStructuredContent: structured,
		IsError:              isError(r.status),
	}
}

// isError reports whether a model has to notice that it did not get what it
// asked for. A pending approval takes its course.
func isError(status tools.Status) bool {
	switch status {
	case tools.Completed, tools.Pending:
		return false
	case tools.Denied, tools.Failed:
		return true
	default:
		return true
	}
}

func plainReply(a tools.Answer) reply {
	var b strings.Builder
	head(&b, a)
	return reply{status: a.Status, structured: a, text: b.String()}
}

// head writes what every text form begins with.
func head(b *strings.Builder, a tools.Answer) {
	fmt.Fprintf(b, "status: %s (%s). %s\n", a.Status, a.Code, oneLine(a.Message))
	if a.Next != "" {
		fmt.Fprintf(b, "next: %s\n", oneLine(a.Next))
	}
	if a.Audit != "" {
		fmt.Fprintf(b, "audit: %s\n", oneLine(a.Audit))
	}
}

// queryReply writes a result as the names of its columns and a JSON array per
// row. JSON, because a value in it can neither end its line nor look like
// anything else, whatever it holds.
func queryReply(a tools.QueryAnswer) reply {
	var b strings.Builder
	head(&b, a.Answer)
	if p := a.Approval; p != nil {
		fmt.Fprintf(&b, "approval: %s %s, decide by %s\n", oneLine(p.ID), oneLine(p.State), p.Decide.UTC().Format("2006-01-02T15:04:05Z"))
		if p.Message != "" {
			fmt.Fprintf(&b, "approval message: %s\n", oneLine(p.Message))
		}
	}
	if a.Statement != "" {
		fmt.Fprintf(&b, "statement: %s\n", oneLine(a.Statement))
	}
	var names, masked []string
	for _, c := range a.Columns {
		names = append(names, c.Name)
		if c.Masked != "" {
			masked = append(masked, oneLine(c.Name)+" ("+oneLine(c.Masked)+")")
		}
	}
	if len(masked) > 0 {
		fmt.Fprintf(&b, "masked: %s\n", strings.Join(masked, ", "))
	}
	if a.Redacted > 0 {
		fmt.Fprintf(&b, "redacted values: %d\n", a.Redacted)
	}
	if a.Statement == "" && len(a.Columns) > 0 {
		count := fmt.Sprintf("rows: %d", a.RowCount)
		if a.Truncated {
			count += ", cut at the limit"
		}
		b.WriteString(count + "\n")
		// Strings always encode.
		text, _ := json.Marshal(names)
		b.Write(text)
		b.WriteByte('\n')
		writeRows(&b, a.Rows)
	}
	return reply{status: a.Status, structured: a, text: b.String()}
}

func writeRows(b *strings.Builder, rows *tools.Rows) {
	left, written := textLimit, int64(0)
	for _, row := range rows.First() {
		if left -= len(row) + 1; left < 0 {
			break
		}
		b.Write(row)
		b.WriteByte('\n')
		written++
	}
	if written < rows.Len() {
		fmt.Fprintf(b, "%d more rows are in the structured content of this answer. If you cannot see it, ask for fewer rows or columns.\n", rows.Len()-written)
	}
}

func describeReply(a tools.DescribeAnswer) reply {
	var b strings.Builder
	head(&b, a.Answer)
	if a.Table != "" {
		fmt.Fprintf(&b, "%s %s%s\n", oneLine(a.Kind), oneLine(a.Table), comment(a.Comment))
	}
	if a.RowFilter != "" {
		fmt.Fprintf(&b, "row filter: %s\n", oneLine(a.RowFilter))
	}
	for _, c := range a.Columns {
		fmt.Fprintf(&b, "%s %s", oneLine(c.Name), oneLine(c.Type))
		if c.Masked != "" {
			fmt.Fprintf(&b, " masked: %s", oneLine(c.Masked))
		}
		b.WriteString(comment(c.Comment) + "\n")
	}
	return reply{status: a.Status, structured: a, text: b.String()}
}

func listReply(a tools.ListAnswer) reply {
	var b strings.Builder
	head(&b, a.Answer)
	for _, t := range a.Tables {
		fmt.Fprintf(&b, "%s %s, %d columns%s\n", oneLine(t.Kind), oneLine(t.Table), t.Columns, comment(t.Comment))
	}
	if a.NextCursor != "" {
		fmt.Fprintf(&b, "next_cursor: %s\n", oneLine(a.NextCursor))
	}
	if a.Tables == nil {
		a.Tables = []tools.ListedTable{} // a list in the schema, also when empty
	}
	return reply{status: a.Status, structured: a, text: b.String()}
}

func comment(text string) string {
	if text == "" {
		return ""
	}
	return " -- " + oneLine(text)
}

// oneLine keeps text from the catalog or from people from looking like lines
// of ours.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}
