// Package format writes the rows of an answer as they come: as a table for
// people, as CSV (RFC 4180), as JSON (RFC 8259), or as Parquet
// (https://parquet.apache.org/docs/file-format). None of them holds more than
// a part of the rows in memory.
//
// Cells are what the gateway answers: null, true and false, numbers, and
// strings, which is also what decimals are that a double cannot hold exactly.
//
//	table    null is NULL; what a terminal would act on is shown as \u{…}
//	csv      a heading, then a record a row; null is Options.Null
//	json     one array of objects, an object a line, cells as they came
//	parquet  see the comment of Parquet's columns in parquet.go
//
// In json and parquet, where a name stands for one column only, the second NAME
// is NAME_2.
package format

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"querywarden/internal/client"
)

// Names are the formats.
var Names = []string{"table", "csv", "json", "parquet"}

// A Writer takes the rows of one answer. What it wrote is whole once Close has
// returned nil; without Begin it writes nothing.
type Writer interface {
	client.Rows
	Close() error
}

// Options of some of the formats.
type Options struct {
	// Width is that of the terminal that a table is for, in columns: cells are
	// cut to fit. 0 cuts nothing.
	Width int
	// Null stands for null in CSV.
	Null string
	// Spreadsheet puts an apostrophe before cells of CSV that a spreadsheet
	// would take for a formula, as the export of the audit log has it. Numbers
	// stay as they are.
	Spreadsheet bool
}

// New returns the writer of a format.
func New(name string, w io.Writer, o Options) (Writer, error) {
	switch name {
	case "table":
		return &table{w: w, width: o.Width}, nil
	case "csv":
		return &csvWriter{w: csv.NewWriter(w), options: o}, nil
	case "json":
		return &jsonWriter{w: w}, nil
	case "parquet":
		return &parquetWriter{w: w}, nil
	default:
		return nil, fmt.Errorf("there is no format %q", name)
	}
}

// text is a cell's text. It returns false for null.
func text(cell json.RawMessage) (string, bool, error) {
	if len(cell) > 0 && cell[0] == '"' {
		var s string
		err := json.Unmarshal(cell, &s)
		return s, true, err
	}
	s := string(cell)
	return s, s != "null", nil
}

// numeric reports whether a column holds numbers.
func numeric(c client.Column) bool {
	kind, _, _ := strings.Cut(c.Type, "(")
	return kind == "NUMBER" || kind == "FLOAT"
}

// distinct returns a name of its own for each column.
func distinct(columns []client.Column) []string {
	names := make([]string, len(columns))
	taken := map[string]bool{}
	for _, c := range columns {
		taken[c.Name] = true
	}
	used := map[string]bool{}
	for i, c := range columns {
		name := c.Name
		for n := 2; used[name]; n++ {
			if next := c.Name + "_" + strconv.Itoa(n); !taken[next] {
				name = next
			}
		}
		used[name] = true
		names[i] = name
	}
	return names
}

type csvWriter struct {
	w       *csv.Writer
	options Options
	numbers []bool
	record  []string
}

func (c *csvWriter) Begin(columns []client.Column) error {
	c.record = make([]string, len(columns))
	for i, column := range columns {
		c.numbers = append(c.numbers, numeric(column))
		c.record[i] = c.safe(column.Name)
	}
	return c.write()
}

func (c *csvWriter) Row(cells []json.RawMessage) error {
	for i, cell := range cells {
		s, ok, err := text(cell)
		switch {
		case err != nil:
			return fmt.Errorf("writing rows: %w", err)
		case !ok:
			s = c.options.Null
		case !c.numbers[i] || !isNumber(s):
			s = c.safe(s)
		}
		c.record[i] = s
	}
	return c.write()
}

func (c *csvWriter) write() error {
	if err := c.w.Write(c.record); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

func (c *csvWriter) safe(s string) string {
	if c.options.Spreadsheet && s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// isNumber reports whether a cell of a column of numbers is one: a detector may
// have put a word in its place.
func isNumber(s string) bool {
	return strings.Trim(s, "0123456789.+-eE") == ""
}

func (c *csvWriter) Close() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

type jsonWriter struct {
	w     io.Writer
	names [][]byte // with quotes and colon
	line  []byte
	rows  int64
	begun bool
}

func (j *jsonWriter) Begin(columns []client.Column) error {
	j.begun = true
	for _, name := range distinct(columns) {
		text, err := json.Marshal(name)
		if err != nil {
			return fmt.Errorf("writing rows: %w", err)
		}
		j.names = append(j.names, append(text, ':'))
	}
	_, err := io.WriteString(j.w, "[")
	return wrapped(err)
}

func (j *jsonWriter) Row(cells []json.RawMessage) error {
	j.line = j.line[:0]
	if j.rows > 0 {
		j.line = append(j.line, ',')
	}
	j.line = append(j.line, "\n{"...)
	for i, cell := range cells {
		if i > 0 {
			j.line = append(j.line, ',')
		}
		j.line = append(append(j.line, j.names[i]...), cell...)
	}
	j.line = append(j.line, '}')
	j.rows++
	_, err := j.w.Write(j.line)
	return wrapped(err)
}

func (j *jsonWriter) Close() error {
	if !j.begun {
		return nil
	}
	end := "]\n"
	if j.rows > 0 {
		end = "\n]\n"
	}
	_, err := io.WriteString(j.w, end)
	return wrapped(err)
}

func wrapped(err error) error {
	if err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

// measured is how many rows a table measures before it writes.
const measured = 500

// table aligns columns by its first rows; later ones may stand out. Where the
// columns do not fit a terminal's width even when they are cut, each row is
// written as lines of a name and a value.
type table struct {
	w      io.Writer
	width  int
	right  []bool
	widths []int
	held   [][]string
	begun  bool
	loose  bool     // the widths are decided
	names  []string // if rows are written as lines
	rows   int64
}

// narrow is what columns are cut to, at most, so that they fit.
const narrow = 12

func (t *table) Begin(columns []client.Column) error {
	t.begun = true
	heading := make([]string, len(columns))
	t.widths = make([]int, len(columns))
	for i, c := range columns {
		heading[i] = visible(c.Name)
		t.right = append(t.right, numeric(c))
	}
	return t.take(heading)
}

func (t *table) Row(cells []json.RawMessage) error {
	row := make([]string, len(cells))
	for i, cell := range cells {
		s, ok, err := text(cell)
		if err != nil {
			return wrapped(err)
		}
		if !ok {
			s = "NULL"
		}
		row[i] = visible(s)
	}
	return t.take(row)
}

func (t *table) take(row []string) error {
	if t.loose {
		return t.write(row)
	}
	for i, s := range row {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(s))
	}
	if t.held = append(t.held, row); len(t.held) <= measured {
		return nil
	}
	return t.settle()
}

// settle decides the widths and writes what was held.
func (t *table) settle() error {
	t.loose = true
	for t.width > 0 {
		total, widest := 0, 0
		for i, w := range t.widths {
			total += w + 2
			if w > t.widths[widest] {
				widest = i
			}
		}
		if total-2 <= t.width || len(t.widths) == 0 {
			break
		}
		if t.widths[widest] <= narrow && len(t.widths) > 1 {
			t.names = t.held[0]
			break
		}
		t.widths[widest]--
	}
	for i, row := range t.held {
		if err := t.write(row); err != nil {
			return err
		}
		if i == 0 && t.names == nil {
			rule := make([]string, len(row))
			for j := range rule {
				rule[j] = strings.Repeat("-", t.widths[j])
			}
			if err := t.write(rule); err != nil {
				return err
			}
		}
	}
	t.held = nil
	return nil
}

func (t *table) write(row []string) error {
	var b strings.Builder
	if t.names != nil {
		if t.rows++; t.rows > 1 { // the first is the heading
			t.lines(&b, row)
		}
		_, err := io.WriteString(t.w, b.String())
		return wrapped(err)
	}
	for i, s := range row {
		n := utf8.RuneCountInString(s)
		if t.width > 0 && n > t.widths[i] {
			s, n = cut(s, t.widths[i]), t.widths[i]
		}
		pad := strings.Repeat(" ", max(t.widths[i]-n, 0))
		if t.right[i] {
			s = pad + s
		} else {
			s += pad
		}
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(s)
	}
	_, err := io.WriteString(t.w, strings.TrimRight(b.String(), " ")+"\n")
	return wrapped(err)
}

// lines writes a row as lines.
func (t *table) lines(b *strings.Builder, row []string) {
	heading := fmt.Sprintf("-- row %d ", t.rows-1)
	fmt.Fprintf(b, "%s%s\n", heading, strings.Repeat("-", max(min(t.width, 40)-len(heading), 0)))
	width := 0
	for _, name := range t.names {
		width = max(width, min(utf8.RuneCountInString(name), t.width/2))
	}
	for i, s := range row {
		name := cut(t.names[i], width)
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(name))
		b.WriteString(strings.TrimRight(name+pad+"  "+cut(s, t.width-width-2), " ") + "\n")
	}
}

// cut shortens a text to a width.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}

func (t *table) Close() error {
	if !t.begun || t.loose {
		return nil
	}
	return t.settle()
}

// visible is a text on one line, with what would move a cursor or change the
// direction of text spelled out.
func visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case hidden(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == unicode.ReplacementChar
}
