package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"querywarden/audit"
)

// auditOptions are the flags of all verbs of audit: most of them choose
// entries, so that what `list` shows is what `export` writes.
type auditOptions struct {
	config, db             string
	since, until           moment
	caller, session, table string
	verdict, kind          string
	last                   int
	follow                 bool
	format, output         string
	checkpoint, witness    string
	tiles                  string
	proof, entry, key      string
	evidence               string
	sample                 int
	texts, reason          string
	seed                   int64
	finish                 bool
	conversation           string
	query, event           string
	json                   bool
}

// auditVerbs are the verbs of audit, in the order in which people need them.
var auditVerbs = []struct {
	name     string
	argument string // what stands behind it, empty for nothing
	run      func(context.Context, *audit.Reader, *auditOptions, string, streams) error
}{
	{"list", "", listEntries},
	{"show", "the number of an entry", showEntry},
	{"replay", "a session, or the number of an entry of it", replay},
	{"verify", "", verifyLog},
	{"proof", "the number of an entry", writeProof},
	{"checkpoint", "", printCheckpoint},
	{"keys", "", printKeys},
	{"export", "", export},
}

func runAudit(ctx context.Context, args []string, std streams) error {
	fs := newFlags("audit", std)
	var o auditOptions
	fs.StringVar(&o.config, "config", "", "the gateway's configuration `file`")
	fs.StringVar(&o.db, "db", "", "the log's `file`, instead of a configuration")
	fs.Var(&o.since, "since", "only from this `time` on: 2h, 2026-11-01, or 2026-11-01T08:00:00Z")
	fs.Var(&o.until, "until", "only before this `time`")
	fs.StringVar(&o.caller, "caller", "", "only this `subject` or e-mail address")
	fs.StringVar(&o.session, "session", "", "only this `session`")
	fs.StringVar(&o.table, "table", "", "only what reached this `table`: DB.SCHEMA.NAME, or the end of it")
	fs.StringVar(&o.verdict, "verdict", "", "only this `verdict`: allow, ask or deny")
	fs.StringVar(&o.conversation, "conversation", "", "only this `conversation`, by the client's name; show prints it as a tree, replay tells it")
	fs.StringVar(&o.query, "query", "", "show and replay: the conversation that led to this `query` of the warehouse's history")
	fs.StringVar(&o.event, "event", "", "show and replay: the conversation that this `entry` belongs to")
	fs.StringVar(&o.kind, "kind", "", "only this `kind` of event")
	fs.IntVar(&o.last, "n", 0, "only the newest `n` entries; list shows 50 unless told")
	fs.BoolVar(&o.follow, "follow", false, "list and export: go on with what comes")
	fs.StringVar(&o.format, "format", "jsonl", "of an export: jsonl, csv, ocsf or tiles")
	fs.StringVar(&o.output, "o", "", "write to this `file` (tiles: folder)")
	fs.StringVar(&o.checkpoint, "checkpoint", "", "verify: against a checkpoint kept in this `file`")
	fs.StringVar(&o.witness, "witness", "", "verify: with the public key, in this `file`, of a witness that cosigns the log")
	fs.StringVar(&o.tiles, "tiles", "", "verify: an exported `folder` of tiles instead of a log")
	fs.StringVar(&o.proof, "proof", "", "verify: a proof in this `file` instead of a log")
	fs.StringVar(&o.entry, "entry", "", "verify: the entry, in this `file`, that the proof is of")
	fs.StringVar(&o.key, "vkey", "", "the log's public key, or what `keys` prints, in this `file`, instead of the one beside the log")
	fs.StringVar(&o.evidence, "evidence", "", "export: a `folder` for an auditor, with a sample and its proofs")
	fs.IntVar(&o.sample, "sample", 25, "evidence: how many statements to draw")
	fs.Int64Var(&o.seed, "seed", 1, "evidence: what decides which; name it to draw the same again")
	fs.StringVar(&o.texts, "texts", "", "erase: only these `texts`, comma-separated: sql, runs, facts, purpose, reason, problem, search, rows, prompt, response, folder")
	fs.StringVar(&o.reason, "reason", "", "erase and rotate-key: why, for the record")
	fs.BoolVar(&o.finish, "finish", false, "rotate-key: retire the old key, once everybody knows the new one")
	fs.BoolVar(&o.json, "json", false, "reconcile: print JSON")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 1 && rest[0] == "erase" {
		return erase(ctx, &o, std)
	}
	if len(rest) == 1 && rest[0] == "reconcile" {
		return runReconcile(ctx, &o, std)
	}
	if len(rest) == 1 && rest[0] == "rotate-key" {
		return rotateKey(ctx, &o, std)
	}
	var names []string
	for _, v := range auditVerbs {
		names = append(names, v.name)
	}
	writing := []string{"erase", "rotate-key", "reconcile"}
	if len(rest) == 0 {
		return usagef("audit needs a verb: %s", strings.Join(append(names, writing...), ", "))
	}
	i := slices.Index(names, rest[0])
	switch {
	case i < 0 && slices.Contains(writing, rest[0]):
		return usagef("audit %s takes no argument %q", rest[0], rest[1])
	case i < 0:
		return usagef("audit has no verb %q: %s", rest[0], strings.Join(append(names, writing...), ", "))
	}
	verb, rest := auditVerbs[i], rest[1:]
	argument := ""
	chain := (o.conversation != "" || o.query != "" || o.event != "") && (verb.name == "show" || verb.name == "replay")
	switch {
	case chain && len(rest) > 0:
		return usagef("audit %s takes either %s, or --conversation, --query or --event", verb.name, verb.argument)
	case chain && verb.name == "show":
		verb.run = func(ctx context.Context, r *audit.Reader, o *auditOptions, _ string, std streams) error {
			return showChain(ctx, r, o, std)
		}
	case chain:
		verb.run = func(ctx context.Context, r *audit.Reader, o *auditOptions, _ string, std streams) error {
			return replayChain(ctx, r, o, std)
		}
	case verb.argument == "" && len(rest) > 0:
		return usagef("audit %s takes no argument %q", verb.name, rest[0])
	case verb.argument != "" && len(rest) != 1:
		return usagef("audit %s needs %s", verb.name, verb.argument)
	case verb.argument != "":
		argument = rest[0]
	}
	if verb.name == "verify" && (o.tiles != "" || o.proof != "") {
		return verifyFiles(ctx, &o, std)
	}
	r, err := o.open()
	if err != nil {
		return err
	}
	defer r.Close()
	return verb.run(ctx, r, &o, argument, std)
}

// erase has the running gateway erase texts, since it alone writes its log.
func erase(ctx context.Context, o *auditOptions, std streams) error {
	if o.reason == "" {
		return usagef("audit erase needs --reason: it is recorded")
	}
	if o.kind != "" || o.table != "" || o.verdict != "" || o.last != 0 {
		return usagef("audit erase chooses by --since, --until, --caller and --session")
	}
	c, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	f := o.filter()
	e := erasure{Since: f.Since, Until: f.Until, Subject: f.Subject, Email: f.Email, Session: f.Session, Texts: splitList(o.texts), Reason: o.reason}
	var n int64
	if err := (adminClient{socket: c.socket()}).call(ctx, http.MethodPost, "/erase", e, &n); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s erased; their digests stay, and so does a record of this\n", plural(n, "text"))
	return nil
}

// rotateKey has the running gateway change the key that signs its log, in two
// steps: others who verify the log learn the new key between them.
func rotateKey(ctx context.Context, o *auditOptions, std streams) error {
	if o.reason == "" {
		return usagef("audit rotate-key needs --reason: it is recorded")
	}
	c, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	var vkey string
	if err := (adminClient{socket: c.socket()}).call(ctx, http.MethodPost, "/keys", rotation{Finish: o.finish, Reason: o.reason}, &vkey); err != nil {
		return err
	}
	if o.finish {
		fmt.Fprintf(std.out, "%s\nsigns alone from here on; the old key signs nothing more, and its private half is gone from %s\n", vkey, c.path(c.Data))
		return nil
	}
	fmt.Fprintf(std.out, "%s\nsigns beside the old key from here on. Give it to the log's witness and to whoever verifies, then: querywarden audit rotate-key --finish\n", vkey)
	return nil
}

// open opens the log that the flags name.
func (o *auditOptions) open() (*audit.Reader, error) {
	path := o.db
	if path == "" {
		c, err := loadConfig(o.config)
		if err != nil {
			return nil, err
		}
		path = c.auditFile()
	}
	if o.key == "" {
		return audit.OpenReader(path)
	}
	keys, err := o.keys()
	if err != nil {
		return nil, err
	}
	return audit.OpenReaderWith(path, keys)
}

// rowsKey is the key of kept rows, nil where there is none to be had.
func (o *auditOptions) rowsKey() []byte {
	file := filepath.Join(filepath.Dir(o.db), "rows.key")
	if o.db == "" {
		c, err := loadConfig(o.config)
		if err != nil {
			return nil
		}
		file = c.rowsKey()
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil // then the rows stay sealed, which is what is said
	}
	return key
}

// filter is what the flags choose.
func (o *auditOptions) filter() audit.Filter {
	f := audit.Filter{
		Since: o.since.Time, Until: o.until.Time, Kind: audit.Kind(o.kind), Session: o.session, Verdict: o.verdict, Object: o.table, Conversation: o.conversation, Last: o.last,
	}
	if strings.Contains(o.caller, "@") {
		f.Email = o.caller
	} else {
		f.Subject = o.caller
	}
	return f
}

// moment is a time on the command line: a duration before now, a day, or an
// instant.
type moment struct{ time.Time }

// Set implements [flag.Value].
func (m *moment) Set(text string) error {
	if d, err := time.ParseDuration(text); err == nil {
		m.Time = time.Now().Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			m.Time = t
			return nil
		}
	}
	return errors.New("want a duration such as 2h, a day such as 2026-11-01, or a time such as 2026-11-01T08:00:00Z")
}

// followEvery is how often a followed log is looked at.
const followEvery = 250 * time.Millisecond

// entries calls visit for the chosen entries and, where they are followed, for
// those that come until the context ends.
func (o *auditOptions) entries(ctx context.Context, r *audit.Reader, f audit.Filter, visit func(*audit.Entry) error) error {
	for {
		for e, err := range r.Entries(ctx, f) {
			if err == nil {
				err = visit(e)
			}
			if err != nil {
				if o.follow && ctx.Err() != nil {
					return nil
				}
				return err
			}
			f.After = e.Index + 1
		}
		if !o.follow {
			return nil
		}
		f.Last = 0
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// number reads the number of an entry. The reference in an answer,
// 17:0123abcd, will do as well.
func number(text string) (int64, error) {
	first, _, _ := strings.Cut(text, ":")
	index, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, usagef("%q is not the number of an entry", text)
	}
	return index, nil
}

func printCheckpoint(ctx context.Context, r *audit.Reader, _ *auditOptions, _ string, std streams) error {
	text, err := r.Checkpoint(ctx)
	if err != nil {
		return err
	}
	_, err = std.out.Write(text)
	return err
}

// listEntries prints a line an entry, no wider than the terminal.
func listEntries(ctx context.Context, r *audit.Reader, o *auditOptions, _ string, std streams) error {
	f := o.filter()
	const shown = 50
	f.Last = cmp.Or(f.Last, shown)
	line := lineFor(width(std.out))
	fmt.Fprintln(std.out, line.text("ENTRY", "TIME", "WHAT", "WHO", "VERDICT", "STATEMENT"))
	return o.entries(ctx, r, f, func(e *audit.Entry) error {
		_, err := fmt.Fprintln(std.out, line.text(strconv.FormatInt(e.Index, 10), e.Event.Time.Local().Format(line.layout), string(e.Event.Kind),
			printable(who(e.Event.Caller)), verdictOf(e.Event), oneLine(subjectOf(e))))
		return err
	})
}

// A listLine says how wide the columns of a list are.
type listLine struct {
	layout                           string // of the time
	time, what, who, verdict, remain int
}

// lineFor fits a list into this many characters, of which 80 have to do. The
// statement gets what is left.
func lineFor(width int) listLine {
	l := listLine{time.DateTime, len(time.DateTime), len("approval_requested"), 24, len("approved"), 0}
	if width < 110 {
		l = listLine{"01-02 15:04:05", len("01-02 15:04:05"), 11, 14, len("deny") + 1, 0}
	}
	l.remain = max(width-len("0000000 ")-l.time-1-l.what-1-l.who-1-l.verdict-1, 20)
	return l
}

func (l listLine) text(entry, at, what, who, verdict, statement string) string {
	return strings.TrimRight(fmt.Sprintf("%-7s %-*s %-*s %-*s %-*s %s", entry, l.time, at, l.what, ellipsis(what, l.what), l.who, ellipsis(who, l.who),
		l.verdict, ellipsis(verdict, l.verdict), ellipsis(statement, l.remain)), " ")
}

// width is how many characters fit into a line: the terminal's, or enough for
// a file.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 160
}

// who is the name that a person knows a caller by.
func who(c *audit.Caller) string {
	if c == nil {
		return ""
	}
	return or(c.Email, c.Subject)
}

func showEntry(ctx context.Context, r *audit.Reader, _ *auditOptions, argument string, std streams) error {
	index, err := number(argument)
	if err != nil {
		return err
	}
	e, err := r.Entry(ctx, index)
	if err != nil {
		return err
	}
	return printEntry(std.out, e)
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
	for _, name := range []string{"sql", "runs", "reason", "problem", "prompt", "response"} {
		if text := e.Texts[name]; text != "" {
			return text
		}
	}
	if e.Event.Kind == audit.KindOutcome {
		return strings.TrimSpace(plural(e.Event.Rows, "row") + " " + e.Event.Error)
	}
	switch {
	case e.Event.Kind == audit.KindRefused:
		return strings.TrimSuffix(strings.Join(e.Event.Codes, " ")+times(e.Event.Count)+" "+e.Event.Approval, " ")
	case e.Event.Approval != "":
		return e.Event.Approval
	case e.Event.Tool != "":
		return e.Event.Tool
	default:
		return or(e.Event.Session, or(e.Event.Policy, e.Event.Version))
	}
}

// times says how often, where it was more than once.
func times(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more times)", n)
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
