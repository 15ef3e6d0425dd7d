package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
	"querywarden/policy/mask"
	"querywarden/tools"
)

// statementLimit is how much SQL explain reads, in bytes; the parser's own
// limit is below it and gives the better message.
const statementLimit = 4 << 20

func runExplain(ctx context.Context, args []string, std streams) error {
	fs := newFlags("explain", std)
	file := fs.String("config", "", "the configuration `file`: its policy and catalog judge the statement")
	as := fs.String("as", "", "judge for a caller of these `groups`, comma-separated")
	jsonl := fs.Bool("jsonl", false, `read {"sql": …} lines, answer each with a JSON line; needs no configuration`)
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if *jsonl {
		if len(rest) > 0 || *file != "" {
			return usagef("explain --jsonl reads standard input alone")
		}
		return explainLines(std.in, std.out)
	}
	sql := strings.Join(rest, " ")
	if len(rest) == 0 {
		text, err := io.ReadAll(io.LimitReader(std.in, statementLimit))
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		sql = string(text)
	}
	if *file == "" {
		return explainReading(std.out, sql)
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	caller := policy.Caller{Issuer: "explain", Subject: "explain", Kind: policy.Agent}
	if *as != "" {
		caller.Groups = strings.Split(*as, ",")
	}
	j, err := judge(ctx, c, caller, sql)
	if err != nil {
		return err
	}
	printJudgement(std.out, j)
	if j.Denied() {
		return errSilent
	}
	return nil
}

// A question is what explain asks a running gateway.
type question struct {
	Caller policy.Caller `json:"caller"`
	SQL    string        `json:"sql"`
}

// judge asks the running gateway where there is one, since two cannot share a
// log. Otherwise this process is the gateway for a moment: judging needs the
// catalog, and reading that is recorded.
func judge(ctx context.Context, c *config, caller policy.Caller, sql string) (*tools.Judgement, error) {
	var j tools.Judgement
	if err := (adminClient{socket: c.socket()}).call(ctx, http.MethodPost, "/explain", question{caller, sql}, &j); err == nil {
		return &j, nil
	}
	g, err := openGateway(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return g.explain(caller, sql), g.close(context.WithoutCancel(ctx))
}

// explain judges without the key of hash masks: what it returns is shown.
func (g *gateway) explain(caller policy.Caller, sql string) *tools.Judgement {
	judge := g.gate.Judge()
	judge.MaskKey = []byte(mask.HiddenKey)
	return judge.Judge(caller, sql, 0, time.Now())
}

// A reading is what --jsonl answers.
type reading struct {
	OK         bool             `json:"ok"`
	Class      policy.Class     `json:"class"`
	Command    string           `json:"command,omitempty"`
	Effects    []string         `json:"effects,omitempty"`
	Inner      []statementClass `json:"inner,omitempty"`
	Statements []statementClass `json:"statements,omitempty"`
	Error      string           `json:"error,omitempty"`
	Code       policy.Code      `json:"code,omitempty"`
	Line       int              `json:"line,omitempty"`
	Column     int              `json:"column,omitempty"`
}

// A statementClass is one statement of several, or one inside of a script.
type statementClass struct {
	Class   policy.Class     `json:"class"`
	Command string           `json:"command"`
	Effects []string         `json:"effects,omitempty"`
	Inner   []statementClass `json:"inner,omitempty"`
}

func classOf(s ast.Statement) statementClass {
	c := statementClass{Effects: resolve.EffectsOf(s).Words()}
	c.Class, c.Command = resolve.Classify(s)
	for _, in := range resolve.Inner(s) {
		c.Inner = append(c.Inner, classOf(in))
	}
	return c
}

// read parses a text of one or more statements. Class is the gravest.
func read(sql string) reading {
	stmts, err := parser.ParseScript(sql)
	if err != nil {
		r := reading{Error: err.Error(), Code: policy.CodeSyntax, Class: policy.Unknown}
		var perr *parser.Error
		if errors.As(err, &perr) {
			r.Line, r.Column = perr.Line, perr.Column
		}
		return r
	}
	if len(stmts) == 0 {
		return reading{Error: "there is no statement", Code: policy.CodeEmpty, Class: policy.Unknown}
	}
	r := reading{OK: true}
	for i, s := range stmts {
		c := classOf(s)
		r.Statements = append(r.Statements, c)
		if i == 0 || resolve.Graver(c.Class, r.Class) {
			r.Class, r.Command = c.Class, c.Command
		}
	}
	if len(r.Statements) == 1 {
		r.Effects, r.Inner, r.Statements = r.Statements[0].Effects, r.Statements[0].Inner, nil
	}
	return r
}

func explainLines(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), statementLimit)
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for lines.Scan() {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var row struct {
			SQL string `json:"sql"`
		}
		answer := reading{Error: `the line is not {"sql": …}`, Code: tools.CodeBadArgument}
		if err := json.Unmarshal(lines.Bytes(), &row); err == nil {
			answer = read(row.SQL)
		}
		if err := enc.Encode(answer); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return errors.Join(lines.Err(), w.Flush())
}

// explainReading shows how a text is read where no policy is at hand.
func explainReading(w io.Writer, sql string) error {
	stmts, err := parser.ParseScript(sql)
	if err != nil {
		var perr *parser.Error
		if errors.As(err, &perr) {
			fmt.Fprintln(w, perr.Render(sql))
			return errSilent
		}
		return err
	}
	if len(stmts) == 0 {
		return hint(errors.New("there is no statement"), "pass SQL as an argument or on standard input")
	}
	for _, s := range stmts {
		printClass(w, "", classOf(s))
		text, err := ast.Print(s, ast.Snowflake)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%-9s %s\n\n", "read as", text)
	}
	fmt.Fprintln(w, "no --config: nothing was resolved or judged")
	return nil
}

// printClass shows what kind of statement it is, and below it what stands
// inside of it.
func printClass(w io.Writer, indent string, c statementClass) {
	fmt.Fprintf(w, "%s%-9s %s\n", indent, "class", c.Class)
	fmt.Fprintf(w, "%s%-9s %s\n", indent, "command", c.Command)
	if len(c.Effects) > 0 {
		fmt.Fprintf(w, "%s%-9s %s\n", indent, "effects", strings.Join(c.Effects, ", "))
	}
	for _, in := range c.Inner {
		printClass(w, indent+"  ", in)
	}
}

// printJudgement shows everything the gate would know and do.
func printJudgement(w io.Writer, j *tools.Judgement) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("class", "%s", j.Statement.Class)
	if j.Statement.Command != "" {
		line("command", "%s", j.Statement.Command)
	}
	for _, a := range j.Statement.Accesses {
		cols := make([]string, len(a.Columns))
		for i, c := range a.Columns {
			cols[i] = printable(c.Name)
		}
		list := ""
		if len(cols) > 0 {
			list = "(" + strings.Join(cols, ", ") + ")"
		}
		via := ""
		if a.Via != nil {
			via = ", through " + printable(a.Via.String())
		}
		line(a.Class.String(), "%s%s%s", printable(a.Object.String()), list, via)
	}
	if len(j.Statement.Functions) > 0 {
		line("functions", "%s", printable(strings.Join(j.Statement.Functions, ", ")))
	}
	line("verdict", "%s", j.Decision.Verdict)
	if len(j.Decision.Rules) > 0 {
		line("rules", "%s", printable(strings.Join(j.Decision.Rules, ", ")))
	}
	for _, r := range j.Decision.Reasons {
		line("reason", "%s: %s", r.Code, printable(r.Sentence))
		if r.Next != "" {
			line("next", "%s", printable(r.Next))
		}
	}
	for _, m := range j.Decision.Masks {
		line("mask", "%s.%s %s", printable(m.Object.String()), printable(m.Column), m.Mask)
	}
	for _, f := range j.Decision.Filters {
		line("filter", "%s where %s", printable(f.Object.String()), printable(f.Where))
	}
	if j.Decision.Approval != nil {
		line("approval", "%d of %s", j.Decision.Approval.Quorum, printable(strings.Join(j.Decision.Approval.Groups, ", ")))
	}
	if !j.Denied() {
		line("runs", "%s", printable(j.Runs))
	}
	line("policy", "%s", j.Decision.Policy)
}
