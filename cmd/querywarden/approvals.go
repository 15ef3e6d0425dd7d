package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"querywarden/approvals"
)

// approvalVerbs are what can be said about a request on the host.
var approvalVerbs = []string{"approve", "deny", "revoke", "break-glass", "ack", "settle"}

const approvalUsage = "list, show, approve, deny, revoke, break-glass, ack or settle"

func runApprovals(ctx context.Context, args []string, std streams) error {
	fs := newFlags("approvals", std)
	file := fs.String("config", "", "the gateway's configuration `file`")
	reason := fs.String("reason", "", "why, for the record and the requester")
	ticket := fs.String("ticket", "", "break-glass: the incident's `number`")
	digest := fs.String("digest", "", "approve and break-glass: refuse unless the request has this `digest`, as show prints it")
	outcome := fs.String("outcome", "", "settle: `done` or failed, as the account's history says")
	all := fs.Bool("all", false, "list: also those that are decided, the newest first")
	asJSON := fs.Bool("json", false, "print JSON")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usagef("approvals needs a verb: %s", approvalUsage)
	}
	verb, ids := rest[0], rest[1:]
	switch {
	case verb == "list" && len(ids) > 0:
		return usagef("approvals list takes no id")
	case verb != "list" && verb != "show" && !slices.Contains(approvalVerbs, verb):
		return usagef("approvals has no verb %q: %s", verb, approvalUsage)
	case verb != "list" && len(ids) != 1:
		return usagef("approvals %s takes one id", verb)
	case verb == "break-glass" && (*ticket == "" || *reason == ""):
		return usagef("approvals break-glass needs --ticket and --reason")
	case verb == "settle" && (*outcome != "done" && *outcome != "failed" || *reason == ""):
		return usagef("approvals settle needs --outcome done or failed, and --reason")
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	admin := adminClient{socket: c.socket()}
	if verb == "list" {
		path := "/approvals"
		if *all {
			path += "?all=1"
		}
		var list []approvals.Request
		if err := admin.call(ctx, http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(std.out, list)
		}
		return printApprovals(std.out, list)
	}
	var one approvals.Request
	if err := admin.call(ctx, http.MethodGet, "/approvals/"+ids[0], nil, &one); err != nil {
		return err
	}
	if verb != "show" {
		said := word{Verb: verb, Short: approvals.Short(one.Digest), Reason: *reason, Ticket: *ticket}
		if *digest != "" {
			said.Short = approvals.Short(*digest)
		}
		if verb == "settle" {
			said.Verb += "-" + *outcome
		}
		if err := admin.call(ctx, http.MethodPost, "/approvals/"+one.ID, said, &one); err != nil {
			return err
		}
	}
	switch {
	case *asJSON:
		return printJSON(std.out, one)
	case verb == "show":
		return printApproval(std.out, one)
	default:
		_, err := fmt.Fprintf(std.out, "%s is %s\n", one.ID, one.State)
		return err
	}
}

// adminClient talks to the running gateway over its admin socket.
type adminClient struct {
	socket  string
	timeout time.Duration // of a call; 10 s if zero
}

// errNoGateway is in the chain of the error that no gateway answers.
var errNoGateway = errors.New("the gateway does not answer")

func (a adminClient) call(ctx context.Context, method, path string, body, answer any) error {
	client := http.Client{
		Timeout: cmp.Or(a.timeout, 10*time.Second),
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", a.socket)
			},
		},
	}
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("writing the request: %w", err)
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, send)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return hint(fmt.Errorf("%w on %s", errNoGateway, a.socket), "approvals are voted on where the gateway runs, while it runs; are you the gateway's own user?")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var refused struct {
			Error string `json:"error"`
		}
		if err := json.NewDecoder(res.Body).Decode(&refused); err != nil || refused.Error == "" {
			return fmt.Errorf("the gateway answered %s", res.Status)
		}
		return errors.New(refused.Error)
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printApprovals(w io.Writer, list []approvals.Request) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "nothing waits")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tSTATE\tWHO\tUNTIL\tSTATEMENT")
	for _, r := range list {
		v := r.View()
		state := string(v.State)
		if v.BreakGlass != nil && v.BreakGlass.AckBy == nil {
			state += "!"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", v.ID, state, v.Who, v.DecideBy.Local().Format("15:04:05"), ellipsis(approvals.Escape(v.Statement), 60))
	}
	return tw.Flush()
}

// printApproval prints what an approver has to know, in the order in which they
// ask: what, by whom, with what effect, how to take it back, and until when.
func printApproval(w io.Writer, r approvals.Request) error {
	v := r.View()
	p := viewPrinter{w: w}
	p.printf("%s  %s\n\n", v.ID, v.State)
	p.printf("  %s\n\n", strings.ReplaceAll(wrapped(approvals.Escape(v.Statement), 76), "\n", "\n  "))
	if v.Readable != nil {
		p.field("hidden", v.Readable.Error()+"; they are shown as their code points")
	}
	p.field("asks", fmt.Sprintf("%s (%s, %s)", v.Who, v.Kind, v.Issuer))
	p.field("groups", strings.Join(v.Groups, ", "))
	p.field("for", v.Behind)
	p.field("through", asserted(v.Agent))
	p.field("why", asserted(v.Purpose))
	for _, e := range v.Brief.Effects {
		p.field("does", e)
	}
	switch {
	case v.Brief.Rows != nil:
		p.field("rows", strings.TrimSpace(fmt.Sprintf("%d %s", *v.Brief.Rows, v.Brief.RowsNote)))
	default:
		p.field("rows", v.Brief.RowsNote)
	}
	p.field("needed by", strings.Join(v.Brief.Depends, ", "))
	p.field("estimate", v.Brief.Estimate)
	p.field("masked", strings.Join(v.Masks, ", "))
	p.field("filtered", strings.Join(v.Filters, ", "))
	undo := v.Brief.Undo
	if v.Outcome != nil && v.Outcome.Undo != "" {
		undo = v.Outcome.Undo
		p.time("undo by", v.Outcome.UndoBy)
	}
	p.field("undo", undo)
	if v.Need.SafetyCopy > 0 && v.SafetyCopy == "" {
		p.field("copy", fmt.Sprintf("a clone is made before it runs, and kept for %s", v.Need.SafetyCopy))
	}
	p.field("copy", v.SafetyCopy)
	p.time("copy until", v.CopyUntil)
	p.field("digest", v.Digest)
	p.field("who may", fmt.Sprintf("%s: %d of them, %d so far; confirmed by %s", strings.Join(v.Need.Groups, " or "), v.Need.Quorum, v.Yes, v.Need.Confirm))
	switch v.State {
	case approvals.Pending:
		p.time("decide by", v.DecideBy)
	case approvals.Approved:
		p.time("run by", v.RunBy)
	default:
	}
	for _, vote := range v.Votes {
		said := "no"
		if vote.Approve {
			said = "yes"
		}
		p.field("vote", strings.TrimSpace(fmt.Sprintf("%s (%s): %s %s", approvals.Name(vote.Voter), vote.Via, said, vote.Reason)))
	}
	if b := v.BreakGlass; b != nil {
		p.field("EMERGENCY", fmt.Sprintf("%s let it through alone, %s: %s", approvals.Name(b.By), b.Ticket, b.Reason))
		if b.AckBy == nil {
			p.time("ack by", b.AcknowledgeBy)
		} else {
			p.field("ack", strings.TrimSpace(approvals.Name(*b.AckBy)+" "+b.Note))
		}
	}
	if v.Closed != nil {
		by := "the gateway"
		if v.Closed.By.Subject != "" {
			by = approvals.Name(v.Closed.By)
		}
		p.field("ended", strings.TrimSpace(by+": "+v.Closed.Reason))
	}
	if o := v.Outcome; o != nil {
		p.field("outcome", strings.TrimSpace(o.Code+" "+o.Error))
		p.field("query", o.QueryID)
	}
	p.field("after", v.After)
	p.field("instead", v.Before)
	return p.err
}

// asserted marks what a client says of itself.
func asserted(text string) string {
	if text == "" {
		return ""
	}
	return text + " (asserted)"
}

// A viewPrinter prints fields that are there.
type viewPrinter struct {
	w   io.Writer
	err error
}

func (p *viewPrinter) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *viewPrinter) field(label, text string) {
	if text != "" {
		p.printf("  %-10s %s\n", label, strings.ReplaceAll(wrapped(text, 67), "\n", "\n             "))
	}
}

func (p *viewPrinter) time(label string, t time.Time) {
	if !t.IsZero() {
		p.field(label, t.Local().Format(time.RFC1123))
	}
}

// wrapped breaks lines at spaces so that they have at most n characters, where
// that can be.
func wrapped(text string, n int) string {
	var out []string
	line := ""
	for _, word := range strings.Split(text, " ") {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= n:
			line += " " + word
		default:
			out, line = append(out, line), word
		}
	}
	return strings.Join(append(out, line), "\n")
}

// ellipsis cuts s to n runes.
func ellipsis(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// printable makes text that others wrote safe for a terminal, line by line:
// characters that hide something show as their code points.
func printable(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\t", " "), "\n")
	for i, l := range lines {
		lines[i] = approvals.Escape(l)
	}
	return strings.Join(lines, "\n  ")
}
