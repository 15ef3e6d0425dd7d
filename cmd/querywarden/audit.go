package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"querywarden/audit"
)

func runAudit(ctx context.Context, args []string, std streams) error {
	fs := newFlags("audit", std)
	file := fs.String("config", "", "the gateway's configuration `file`")
	database := fs.String("db", "", "the log's `file`, instead of a configuration")
	format := fs.String("format", "jsonl", "of an export: jsonl or csv")
	output := fs.String("o", "", "write the export to this `file`")
	checkpoint := fs.String("checkpoint", "", "verify against a checkpoint kept in this `file`")
	last := fs.Int("n", 0, "only the newest `n` entries")
	since := fs.Duration("since", 0, "only what is younger than this")
	subject := fs.String("caller", "", "only this `subject`")
	session := fs.String("session", "", "only this MCP `session`")
	verdict := fs.String("verdict", "", "only this `verdict`: allow, ask or deny")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usagef("audit needs a verb: list, show, export, verify or checkpoint")
	}
	path := *database
	if path == "" {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		path = c.auditFile()
	}
	r, err := audit.OpenReader(path)
	if err != nil {
		return err
	}
	defer r.Close()
	f := audit.Filter{Subject: *subject, Session: *session, Verdict: *verdict, Last: *last}
	if *since > 0 {
		f.Since = time.Now().Add(-*since)
	}
	verb, rest := rest[0], rest[1:]
	if len(rest) > 1 || len(rest) == 1 && verb != "show" {
		return usagef("audit %s: too many arguments", verb)
	}
	switch verb {
	case "list":
		return listEntries(ctx, std.out, r, f)
	case "show":
		if len(rest) != 1 {
			return usagef("audit show needs the number of an entry")
		}
		// The reference in an answer, 17:0123abcd, will do as well.
		number, _, _ := strings.Cut(rest[0], ":")
		index, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return usagef("%q is not the number of an entry", rest[0])
		}
		e, err := r.Entry(ctx, index)
		if err != nil {
			return err
		}
		return printEntry(std.out, e)
	case "export":
		return export(ctx, std.out, r, f, *format, *output)
	case "checkpoint":
		text, err := r.Checkpoint(ctx)
		if err != nil {
			return err
		}
		_, err = std.out.Write(text)
		return err
	case "verify":
		var pinned []byte
		if *checkpoint != "" {
			if pinned, err = os.ReadFile(*checkpoint); err != nil {
				return fmt.Errorf("reading the checkpoint: %w", err)
			}
		}
		report, err := r.Verify(ctx, pinned)
		if err != nil {
			return err
		}
		return printReport(std.out, report)
	default:
		return usagef("audit has no verb %q: list, show, export, verify or checkpoint", verb)
	}
}

func listEntries(ctx context.Context, w io.Writer, r *audit.Reader, f audit.Filter) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ENTRY\tTIME\tWHAT\tWHO\tVERDICT\tSTATEMENT")
	for e, err := range r.Entries(ctx, f) {
		if err != nil {
			return err
		}
		who := ""
		if e.Event.Caller != nil {
			who = or(e.Event.Caller.Email, e.Event.Caller.Subject)
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Index, e.Event.Time.Local().Format("15:04:05.000"), e.Event.Kind, printable(who), verdictOf(e.Event), ellipsis(oneLine(subjectOf(e)), 70))
	}
	return tw.Flush()
}

// verdictOf is the word that sums an event up.
func verdictOf(e audit.Event) string {
	switch {
	case e.Approve != nil && *e.Approve:
		return "yes"
	case e.Approve != nil:
		return "no"
	case e.Verdict != "":
		return e.Verdict
	case e.State != "":
		return e.State
	default:
		return e.Status
	}
}

// subjectOf is the text that an event is about.
func subjectOf(e *audit.Entry) string {
	for _, name := range []string{"sql", "runs", "reason"} {
		if text := e.Texts[name]; text != "" {
			return text
		}
	}
	if e.Event.Kind == audit.KindOutcome {
		return strings.TrimSpace(fmt.Sprintf("%d rows %s", e.Event.Rows, e.Event.Error))
	}
	return or(e.Event.Approval, e.Event.Tool)
}

func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

func printEntry(w io.Writer, e *audit.Entry) error {
	fmt.Fprintf(w, "entry %s  leaf %s\n\n", e.Ref(), e.Leaf)
	if err := printJSON(w, e.Event); err != nil {
		return err
	}
	var names []string
	for name := range e.Texts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "\n%s:\n  %s\n", name, printable(e.Texts[name]))
	}
	return nil
}

// export writes to a file through a new one, so that a broken export never
// looks like a whole one.
func export(ctx context.Context, w io.Writer, r *audit.Reader, f audit.Filter, format, output string) (err error) {
	if format != "jsonl" && format != "csv" {
		return usagef("--format is jsonl or csv")
	}
	if output != "" {
		file, err := os.Create(output + ".new")
		if err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
		w = file
		defer func() {
			if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
				err = os.Rename(output+".new", output)
			}
		}()
	}
	if format == "csv" {
		return r.ExportCSV(ctx, w, f)
	}
	return r.ExportJSONL(ctx, w, f)
}

func printReport(w io.Writer, r *audit.Report) error {
	fmt.Fprintf(w, "log          %s\n", r.Origin)
	fmt.Fprintf(w, "entries      %d\n", r.Entries)
	fmt.Fprintf(w, "checkpoints  %d signed and consistent\n", r.Checkpoints)
	if r.Erased > 0 {
		fmt.Fprintf(w, "erased       %d texts are gone, their digests hold\n", r.Erased)
	}
	if r.Root != "" {
		fmt.Fprintf(w, "root         %s\n", r.Root)
	}
	if r.OK() {
		fmt.Fprintf(w, "\nOK: no entry up to %s was changed", r.Newest.Format(time.RFC3339))
		if r.Pinned > 0 {
			fmt.Fprintf(w, ", and the log continues the checkpoint of %d entries that you hold.\n", r.Pinned)
			fmt.Fprintf(w, "What came after those %d could still have been cut off at the end.\n", r.Pinned)
			return nil
		}
		fmt.Fprint(w, ".\nWithout a checkpoint of your own (--checkpoint) nobody can tell whether the end was cut off.\n")
		return nil
	}
	for _, f := range r.Findings {
		if f.Index >= 0 {
			fmt.Fprintf(w, "FOUND        entry %d: %s\n", f.Index, f.What)
		} else {
			fmt.Fprintf(w, "FOUND        %s\n", f.What)
		}
	}
	fmt.Fprintf(w, "\nFAILED: the log is not what was recorded (%d findings).\n", len(r.Findings))
	return errSilent
}
