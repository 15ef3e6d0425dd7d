package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"querywarden/internal/client"
	"querywarden/internal/client/format"
)

// queryOptions is how `querywarden query` was called.
type queryOptions struct {
	access
	format      string
	output      string
	null        string
	spreadsheet bool
	maxRows     int64
	dryRun      bool
	purpose     string
	wait        time.Duration
}

// runQuery asks a gateway to run one statement, and writes its rows as they
// come.
func runQuery(ctx context.Context, args []string, std streams) error {
	fs := newFlags("query", std)
	var o queryOptions
	o.access.flags(fs)
	fs.StringVar(&o.format, "format", "", "table, csv, json or parquet (default the output file's ending, or table)")
	fs.StringVar(&o.output, "output", "", "write to this `file`, whole or not at all (default standard output)")
	fs.StringVar(&o.null, "null", "", "in csv, what stands for null (default nothing)")
	fs.BoolVar(&o.spreadsheet, "spreadsheet", false, "in csv, an apostrophe before what a spreadsheet would take for a formula")
	fs.Int64Var(&o.maxRows, "max-rows", 0, "at most that many rows; without it an answer that policy cuts is an error, but in a table")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the statement that would run, and do not run it")
	fs.StringVar(&o.purpose, "purpose", "", "what for; it is recorded, and whoever approves reads it")
	fs.DurationVar(&o.wait, "wait", 0, "if a person has to approve it, ask, and wait that long or as long as the gateway holds a call")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if o.format == "" {
		o.format = strings.TrimPrefix(filepath.Ext(o.output), ".")
		if !slices.Contains(format.Names, o.format) {
			o.format = "table"
		}
	}
	switch {
	case len(rest) != 1:
		return usagef("query needs one statement, or - to read it from standard input")
	case !slices.Contains(format.Names, o.format):
		return usagef("--format is %s", strings.Join(format.Names, ", "))
	case o.maxRows < 0:
		return usagef("--max-rows cannot be negative")
	case o.wait < 0:
		return usagef("--wait cannot be negative")
	case o.wait > 0 && o.purpose == "":
		return usagef("--wait needs --purpose: what a person reads before they approve")
	case o.format == "parquet" && o.output == "" && onTerminal(std.out):
		return usagef("--format parquet on a terminal needs --output F")
	}
	sql := rest[0]
	if sql == "-" {
		if sql, err = readStatement(std.in); err != nil {
			return err
		}
	}
	gateway, err := o.gateway(std)
	if err != nil {
		return err
	}
	return interrupted(ctx, o.run(ctx, gateway, sql, std))
}

func readStatement(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, statementLimit+1))
	if err != nil {
		return "", fmt.Errorf("reading the statement: %w", err)
	}
	if len(text) > statementLimit {
		return "", fmt.Errorf("reading the statement: it is longer than %d bytes", statementLimit)
	}
	return string(text), nil
}

func (o *queryOptions) run(ctx context.Context, gateway *client.Gateway, sql string, std streams) (err error) {
	out, err := o.open(std)
	if err != nil {
		return err
	}
	defer func() { err = out.end(err) }()
	shown := &progress{w: std.err, on: onTerminal(std.err) && (o.output != "" || !onTerminal(std.out))}
	rows := &counted{Writer: out.Writer, shown: shown}
	a, err := gateway.Query(ctx, client.Query{SQL: sql, Purpose: o.purpose, MaxRows: o.maxRows, DryRun: o.dryRun}, rows)
	if err == nil && a.Status == client.Pending && o.wait > 0 {
		a, err = o.approved(ctx, gateway, sql, rows, std)
	}
	shown.end()
	if err != nil {
		return err
	}
	if a.Status != client.Completed {
		return refusal(a)
	}
	if o.dryRun {
		return explained(std, a)
	}
	if err := out.Close(); err != nil {
		return err
	}
	return o.remark(std, a)
}

// approved asks a person and waits for the answer.
func (o *queryOptions) approved(ctx context.Context, gateway *client.Gateway, sql string, rows client.Rows, std streams) (client.Answer, error) {
	end := time.Now().Add(o.wait)
	shown := &progress{w: std.err, on: onTerminal(std.err)}
	defer shown.end()
	a, err := gateway.RequestApproval(ctx, sql, o.purpose, shown.say, rows)
	for err == nil && a.Status == client.Pending && a.Approval != nil {
		left := time.Until(end)
		if left <= 0 {
			return a, nil
		}
		shown.say(fmt.Sprintf("%s waits for a person until %s", printable(a.Approval.ID), a.Approval.Decide.Local().Format(time.TimeOnly)))
		began := time.Now()
		id := a.Approval.ID
		if a, err = gateway.CheckApproval(ctx, id, left, shown.say, rows); err != nil || a.Status != client.Pending {
			break
		}
		if rest := time.Second - time.Since(began); rest > 0 {
			select {
			case <-time.After(min(rest, left)):
			case <-ctx.Done():
			}
		}
	}
	return a, err
}

// refusal is the error of a statement that did not run, or not well.
func refusal(a client.Answer) error {
	word := strings.ReplaceAll(a.Status, "_", " ")
	text := fmt.Sprintf("%s (%s): %s", word, printable(a.Code), printable(a.Message))
	next := printable(a.Next)
	if a.Status == client.Pending {
		next = `ask and wait for it: --wait 30m --purpose "why"`
		if a.Approval != nil {
			text += fmt.Sprintf(" %s is open until %s.", printable(a.Approval.ID), a.Approval.Decide.Local().Format(time.DateTime))
			next = "nobody has decided yet; run the same again with a longer --wait"
		}
	}
	if a.Approval != nil && a.Approval.Message != "" {
		text += " They said: " + printable(a.Approval.Message)
	}
	if a.Audit != "" {
		text += " [audit " + printable(a.Audit) + "]"
	}
	if next == "" {
		return errors.New(text)
	}
	return hint(errors.New(text), "%s", next)
}

// explained prints what a dry run has shown.
func explained(std streams, a client.Answer) error {
	if _, err := fmt.Fprintln(std.out, a.Statement); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	fmt.Fprintf(std.err, "querywarden: %s\n", printable(a.Message))
	masked(std, a)
	return nil
}

// remark tells people what is to be known of an answer that was written.
func (o *queryOptions) remark(std streams, a client.Answer) error {
	if a.Truncated && (o.maxRows == 0 || a.RowCount < o.maxRows) && o.format != "table" {
		return hint(fmt.Errorf("the answer was cut after %d rows, the limit of policy: it is not whole [audit %s]", a.RowCount, printable(a.Audit)),
			"aggregate in SQL, or pass --max-rows %d to take that many", a.RowCount)
	}
	if !onTerminal(std.err) && !a.Truncated {
		return nil
	}
	count := plural(a.RowCount, "row")
	if a.Truncated {
		count += ", cut at the limit: there are more"
	}
	if a.Redacted > 0 {
		count += ", " + plural(a.Redacted, "value") + " redacted"
	}
	fmt.Fprintf(std.err, "querywarden: %s [audit %s]\n", count, printable(a.Audit))
	masked(std, a)
	return nil
}

func masked(std streams, a client.Answer) {
	var names []string
	for _, c := range a.Columns {
		if c.Masked != "" {
			names = append(names, printable(c.Name)+" ("+printable(c.Masked)+")")
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(std.err, "querywarden: masked, not the real values: %s\n", strings.Join(names, ", "))
	}
}

// output is where rows go: to standard output, or to a file that gets its name
// when it is whole.
type output struct {
	format.Writer
	buffer *bufio.Writer
	file   *os.File
	name   string
	closed bool
}

func (o *queryOptions) open(std streams) (*output, error) {
	out := &output{name: o.output}
	w := std.out
	width := 0
	if o.output != "" {
		f, err := os.Create(o.output + ".new")
		if err != nil {
			return nil, fmt.Errorf("writing rows: %w", err)
		}
		out.file, w = f, f
	} else if f, ok := std.out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = columns
		}
	}
	out.buffer = bufio.NewWriterSize(w, 64<<10)
	var err error
	if out.Writer, err = format.New(o.format, out.buffer, format.Options{Width: width, Null: o.null, Spreadsheet: o.spreadsheet}); err != nil {
		return nil, out.end(err)
	}
	return out, nil
}

// Close completes what was written; end gives it its name.
func (o *output) Close() error {
	o.closed = true
	if err := o.Writer.Close(); err != nil {
		return err
	}
	if err := o.buffer.Flush(); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

// end keeps the file where all went well, and removes it otherwise.
func (o *output) end(err error) error {
	if o.file == nil {
		if err != nil && o.buffer != nil {
			// What has come of an answer that broke off; the error says so.
			err = errors.Join(err, o.buffer.Flush())
		}
		return err
	}
	if err == nil {
		err = o.file.Sync()
	}
	if err = errors.Join(err, o.file.Close()); err == nil && o.closed {
		return os.Rename(o.name+".new", o.name)
	}
	return errors.Join(err, os.Remove(o.name+".new"))
}

// counted counts rows on their way.
type counted struct {
	format.Writer
	shown *progress
	n     int64
}

func (c *counted) Row(cells []json.RawMessage) error {
	if c.n++; c.n%1000 == 0 {
		c.shown.say(plural(c.n, "row"))
	}
	return c.Writer.Row(cells)
}

// progress writes over the last line of a terminal, and nothing elsewhere.
type progress struct {
	w    io.Writer
	on   bool
	last time.Time
	dirt int // columns to wipe
}

func (p *progress) say(text string) {
	if !p.on || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last = time.Now()
	text = printable(text)
	if columns := terminalWidth(p.w); len(text) >= columns {
		text = text[:max(columns-1, 0)]
	}
	fmt.Fprintf(p.w, "\r%-*s", p.dirt, text)
	p.dirt = len(text)
}

// end wipes what was shown.
func (p *progress) end() {
	if p.on && p.dirt > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.dirt, "")
		p.dirt = 0
	}
}

// onTerminal reports whether somebody looks at what is written to w.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 80
}

// interrupted words the error of a command that Ctrl-C ended.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted; the gateway cancels what was under way")
	}
	return advised(err)
}

// advised carries over what package client advises.
func advised(err error) error {
	var a *client.Error
	if errors.As(err, &a) && a.Next != "" {
		return hint(err, "%s", a.Next)
	}
	return err
}
