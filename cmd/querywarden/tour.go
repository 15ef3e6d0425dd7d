package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/capture"
	"querywarden/internal/client"
	"querywarden/mcp"
	"querywarden/policy"
	"querywarden/tools"
)

// runTour plays an agent against a demo of its own, over HTTP and through a
// real MCP client, and prints what a person would want to see. Every step says
// what it has to show; one that does not show it fails the tour.
func runTour(ctx context.Context, dir, address string, std streams) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "querywarden-tour-")
		if err != nil {
			return fmt.Errorf("making the tour's folder: %w", err)
		}
		defer os.RemoveAll(temp)
		dir = filepath.Join(temp, "demo")
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d, err := openDemo(ctx, dir, address, slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	serving := make(chan error, 1)
	go func() { serving <- d.gateway.serve(ctx, d.listener) }()
	t := &tour{out: std.out, demo: d}
	err = t.play(ctx)
	stop()
	return errors.Join(err, <-serving, d.close(ctx))
}

type tour struct {
	out    io.Writer
	demo   *demo
	client *mcp.Client
	hooks  *client.Gateway // where the agent's client tells what it was asked
	step   int
	failed int
}

func (t *tour) play(ctx context.Context) error {
	token, err := demoToken(t.demo.config, "ada", "analysts")
	if err != nil {
		return err
	}
	if t.client, err = mcp.Dial(ctx, t.demo.config.Resource, token, "tour"); err != nil {
		return err
	}
	defer t.client.Close()
	address, err := client.Address(t.demo.config.Resource)
	if err != nil {
		return err
	}
	t.hooks = client.New(address, client.Static(token, "the tour"), "tour", version())
	fmt.Fprintf(t.out, "An agent works for ada, an analyst. It speaks MCP to %s\nand holds a token of hers, and no warehouse credential.\n", t.demo.config.Resource)
	for _, step := range []func(context.Context) error{
		t.describes, t.answers, t.probes, t.redacts, t.refuses, t.misspells, t.destroys, t.verifies, t.traces,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if t.failed > 0 {
		fmt.Fprintf(t.out, "\n%d checks failed.\n", t.failed)
		return errSilent
	}
	fmt.Fprintf(t.out, "\nEvery step showed what it should.\n")
	return nil
}

func (t *tour) title(text string) {
	t.step++
	fmt.Fprintf(t.out, "\n%d. %s\n\n", t.step, text)
}

func (t *tour) say(who, text string) {
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			who = ""
		}
		fmt.Fprintf(t.out, "   %-8s %s\n", who, printable(line))
	}
}

// check tells whether a step has shown what it should.
func (t *tour) check(ok bool, format string, args ...any) {
	mark := "ok"
	if !ok {
		mark = "FAILED"
		t.failed++
	}
	fmt.Fprintf(t.out, "   %-8s %s\n", mark, fmt.Sprintf(format, args...))
}

// ask calls the query tool and prints question and answer.
func (t *tour) ask(ctx context.Context, sql, purpose string) (tools.QueryAnswer, error) {
	t.say("agent", sql)
	var a tools.QueryAnswer
	text, err := t.client.Call(ctx, "query", tools.QueryRequest{SQL: sql, Purpose: purpose}, &a)
	if err == nil {
		t.say("gate", text)
	}
	return a, err
}

// cellOf returns a value of an answer as text.
func cellOf(a tools.QueryAnswer, row int, column string) string {
	for i, c := range a.Columns {
		if c.Name != column || row >= len(a.Rows.First()) {
			continue
		}
		var cells []any
		if err := json.Unmarshal(a.Rows.First()[row], &cells); err != nil || i >= len(cells) {
			return ""
		}
		return fmt.Sprint(cells[i])
	}
	return ""
}

func (t *tour) describes(ctx context.Context) error {
	t.title("It looks around. The gate says which columns are masked for it.")
	t.say("agent", "describe_table customers")
	var a tools.DescribeAnswer
	text, err := t.client.Call(ctx, "describe_table", tools.DescribeRequest{Table: "customers"}, &a)
	if err != nil {
		return err
	}
	t.say("gate", text)
	masked := 0
	for _, c := range a.Columns {
		if c.Masked != "" {
			masked++
		}
	}
	t.check(a.Status == tools.Completed && masked >= 5, "%d of %d columns are masked, and it says how", masked, len(a.Columns))
	return nil
}

func (t *tour) answers(ctx context.Context) error {
	t.title("A question is answered, with masked columns.")
	const question, conversation = "Who are our five best customers?", `"session_id":"tour","prompt_id":"question-1"`
	t.say("ada", question)
	sql := `SELECT c.name, c.email, c.phone, COUNT(*) AS orders, SUM(o.amount) AS revenue
FROM customers c JOIN orders o ON o.customer_id = c.id
GROUP BY ALL ORDER BY revenue DESC LIMIT 5`
	arguments, err := json.Marshal(tools.QueryRequest{SQL: sql, Purpose: question})
	if err != nil {
		return fmt.Errorf("writing a call: %w", err)
	}
	// What the client's hooks tell the gate, before the call and after it.
	for _, event := range []string{
		`{"hook_event_name":"UserPromptSubmit",` + conversation + `,"prompt":"` + question + `"}`,
		`{"hook_event_name":"PreToolUse",` + conversation + `,"tool_name":"mcp__querywarden__query","tool_use_id":"` + tourCall + `","tool_input":` + string(arguments) + `}`,
	} {
		if err := t.hooks.Tell(ctx, "/hooks/claude", []byte(event)); err != nil {
			return err
		}
	}
	t.say("agent", sql)
	var a tools.QueryAnswer
	text, err := t.client.CallNamed(ctx, "query", tourCall, tools.QueryRequest{SQL: sql, Purpose: question}, &a)
	if err != nil {
		return err
	}
	t.say("gate", text)
	if err := t.hooks.Tell(ctx, "/hooks/claude", []byte(`{"hook_event_name":"Stop",`+conversation+`,"last_assistant_message":"These five, by what they spent; their names are masked for me."}`)); err != nil {
		return err
	}
	hidden := a.Rows.Len() == 5
	for i := range a.Rows.First() {
		hidden = hidden && strings.HasPrefix(cellOf(a, i, "EMAIL"), "***@") && strings.HasPrefix(cellOf(a, i, "PHONE"), "***") && len(cellOf(a, i, "NAME")) == 64
	}
	t.check(a.Status == tools.Completed && hidden, "five customers, told apart but unnamed, with the revenue as it is")
	return nil
}

func (t *tour) probes(ctx context.Context) error {
	t.title("It probes a masked column with a condition, and learns nothing.")
	a, err := t.ask(ctx, "SELECT COUNT(*) AS hits FROM customers WHERE ssn LIKE '%1%' OR ssn LIKE '%2%' OR LENGTH(ssn) = 11", "")
	if err != nil {
		return err
	}
	t.check(a.Status == tools.Completed && cellOf(a, 0, "HITS") == "0", "the condition saw masked values only: every customer has an SSN, and none matches")
	return nil
}

func (t *tour) redacts(ctx context.Context) error {
	t.title("Customers write card numbers into free text. Detectors are the second net.")
	a, err := t.ask(ctx, "SELECT ticket_id, body FROM support_tickets WHERE body ILIKE '%card%' ORDER BY ticket_id LIMIT 3", "What do people complain about?")
	if err != nil {
		return err
	}
	t.check(a.Status == tools.Completed && a.Redacted > 0, "%d values were hidden on their way out", a.Redacted)
	return nil
}

func (t *tour) refuses(ctx context.Context) error {
	t.title("A statement is refused, with the reason and the next step.")
	a, err := t.ask(ctx, "DROP TABLE customers", "Clean up")
	if err != nil {
		return err
	}
	t.check(a.Status == tools.Denied && a.Code == policy.CodeNoRule, "denied: no rule allows it, and what no rule allows is denied")
	return nil
}

func (t *tour) misspells(ctx context.Context) error {
	t.title("A misspelt name gets a hint, but only among what ada may see.")
	a, err := t.ask(ctx, "SELECT * FROM custmers", "")
	if err != nil {
		return err
	}
	t.check(a.Status == tools.Denied && a.Code == policy.CodeObjectUnknown && strings.Contains(a.Next, "CUSTOMERS"), "the hint is %q", a.Next)
	return nil
}

func (t *tour) destroys(ctx context.Context) error {
	t.title("A DROP waits for a person, is approved, and runs once.")
	const sql = "DROP TABLE staging.import_2024_old"
	a, err := t.ask(ctx, sql, "Free the space of last year's import")
	if err != nil {
		return err
	}
	t.check(a.Status == tools.Pending, "nothing has run")
	t.say("agent", "request_approval "+sql)
	var answer tools.QueryAnswer
	var text string
	done := make(chan error, 1)
	go func() {
		var err error
		text, err = t.client.Call(ctx, "request_approval", tools.ApprovalRequest{SQL: sql, Reason: "Last year's import is loaded; nobody reads this table any more."}, &answer)
		done <- err
	}()
	if err := t.approve(ctx); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	t.say("gate", text)
	t.check(answer.Status == tools.Completed && answer.Approval != nil && answer.Approval.State == string(approvals.Done), "approved, then run by the gate")
	again, err := t.ask(ctx, "SELECT COUNT(*) FROM staging.import_2024_old", "")
	if err != nil {
		return err
	}
	t.check(again.Status == tools.Denied && again.Code == policy.CodeObjectUnknown, "the table is gone")
	return nil
}

// approve is the person: on the gateway's host, over its admin socket.
func (t *tour) approve(ctx context.Context) error {
	admin := adminClient{socket: t.demo.config.socket()}
	deadline := time.Now().Add(10 * time.Second)
	for {
		var waiting []approvals.Request
		if err := admin.call(ctx, "GET", "/approvals", nil, &waiting); err != nil {
			return err
		}
		if len(waiting) == 0 {
			if time.Now().After(deadline) {
				return errors.New("the request for approval did not arrive")
			}
			time.Sleep(20 * time.Millisecond)
			continue
		}
		r := waiting[0]
		var text bytes.Buffer
		if err := printApproval(&text, r); err != nil {
			return err
		}
		t.say("person", "$ querywarden approvals show "+r.ID)
		t.say("", text.String())
		t.say("person", "$ querywarden approvals approve "+r.ID)
		var voted approvals.Request
		return admin.call(ctx, "POST", "/approvals/"+r.ID, word{Verb: "approve", Short: approvals.Short(r.Digest), Reason: "Checked with the data team."}, &voted)
	}
}

func (t *tour) verifies(ctx context.Context) error {
	t.title("The log proves it. One changed byte, and it does not.")
	path := t.demo.config.auditFile()
	r, err := audit.OpenReader(path)
	if err != nil {
		return err
	}
	defer r.Close()
	t.say("auditor", "$ querywarden audit verify")
	if err := t.verify(ctx, r, true); err != nil {
		return err
	}
	copied := filepath.Join(t.demo.dir, "copy", "audit.db")
	if err := tamper(path, copied); err != nil {
		return err
	}
	t.say("thief", `in a copy of the log, turns one "deny" into "Deny"`)
	changed, err := audit.OpenReader(copied)
	if err != nil {
		return err
	}
	defer changed.Close()
	t.say("auditor", "$ querywarden audit verify --db copy/audit.db")
	return t.verify(ctx, changed, false)
}

// tourCall is the client's name for the call of the tour's first question.
const tourCall = "toolu_tour_1"

// traces shows from what ada said to what ran.
func (t *tour) traces(ctx context.Context) error {
	t.title("From what ada said to what ran: one chain.")
	r, err := audit.OpenReader(t.demo.config.auditFile())
	if err != nil {
		return err
	}
	defer r.Close()
	t.say("auditor", "$ querywarden audit show --conversation tour")
	var chains []*audit.Chain
	linked := func() bool {
		chains, err = r.Chains(ctx, "tour")
		return err == nil && len(chains) == 1 && len(chains[0].Turns) == 1 && chains[0].Turns[0].Response != nil && len(chains[0].Turns[0].Calls) == 1 && chains[0].Turns[0].Calls[0].Call != nil
	}
	for deadline := time.Now().Add(10 * time.Second); !linked() && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // it is joined behind the call
	}
	if err != nil {
		return err
	}
	exact := linked()
	for _, c := range chains {
		var text bytes.Buffer
		if err := printChain(&text, c, 150); err != nil {
			return err
		}
		t.say("", text.String())
		for _, turn := range c.Turns {
			for _, call := range turn.Calls {
				exact = exact && call.How == capture.Exact && call.Call.Event.CallID == tourCall
			}
		}
	}
	t.check(exact, "the prompt, the call, what ran, and the warehouse's query id, linked exactly")
	return nil
}

func (t *tour) verify(ctx context.Context, r *audit.Reader, want bool) error {
	report, err := r.Verify(ctx, nil)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := printReport(&text, report); err != nil && !errors.Is(err, errSilent) {
		return err
	}
	t.say("", text.String())
	if want {
		t.check(report.OK(), "%d entries verify", report.Entries)
	} else {
		t.check(!report.OK(), "the change is found, and where")
	}
	return nil
}

// tamper copies a log and changes one byte of one entry in the copy, in the
// file itself, behind the database's back.
func tamper(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("copying the log: %w", err)
	}
	base := strings.TrimSuffix(from, ".db")
	copies := map[string]string{from: to, from + "-wal": to + "-wal"}
	for _, key := range []string{".key", ".vkey"} {
		copies[base+key] = strings.TrimSuffix(to, ".db") + key
	}
	for a, b := range copies {
		text, err := os.ReadFile(a)
		if err != nil {
			return fmt.Errorf("copying the log: %w", err)
		}
		if err := os.WriteFile(b, text, 0o600); err != nil {
			return fmt.Errorf("copying the log: %w", err)
		}
	}
	// Opening and closing it once moves everything into the one file.
	l, err := audit.Open(to, audit.Options{})
	if err != nil {
		return fmt.Errorf("copying the log: %w", err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("copying the log: %w", err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		return fmt.Errorf("changing the copy: %w", err)
	}
	at := bytes.Index(text, []byte(`"verdict":"deny"`))
	if at < 0 {
		return errors.New("changing the copy: it holds no denied statement")
	}
	text[at+len(`"verdict":"`)] = 'D'
	if err := os.WriteFile(to, text, 0o600); err != nil {
		return fmt.Errorf("changing the copy: %w", err)
	}
	return nil
}
