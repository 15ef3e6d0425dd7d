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
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"querywarden/approvals"
)

func runApprovals(ctx context.Context, args []string, std streams) error {
	fs := newFlags("approvals", std)
	file := fs.String("config", "", "the gateway's configuration `file`")
	reason := fs.String("reason", "", "why, for the record and the requester")
	asJSON := fs.Bool("json", false, "print JSON")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usagef("approvals needs a verb: list, show, approve or deny")
	}
	verb, ids := rest[0], rest[1:]
	switch {
	case verb == "list" && len(ids) > 0:
		return usagef("approvals list takes no id")
	case verb != "list" && len(ids) != 1:
		return usagef("approvals %s takes one id", verb)
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	admin := adminClient{socket: c.socket()}
	switch verb {
	case "list":
		var list []approvals.Request
		if err := admin.call(ctx, http.MethodGet, "/approvals", nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(std.out, list)
		}
		return printApprovals(std.out, list)
	case "show":
		var one approvals.Request
		if err := admin.call(ctx, http.MethodGet, "/approvals/"+ids[0], nil, &one); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(std.out, one)
		}
		return printApproval(std.out, one)
	case "approve", "deny":
		var one approvals.Request
		v := vote{Approve: verb == "approve", Reason: *reason}
		if err := admin.call(ctx, http.MethodPost, "/approvals/"+ids[0], v, &one); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s is %s\n", one.ID, one.State)
		return nil
	default:
		return usagef("approvals has no verb %q: list, show, approve or deny", verb)
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
		fmt.Fprintln(w, "nothing waits")
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tSTATE\tWHO\tUNTIL\tSTATEMENT")
	for _, r := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.State, printable(or(r.Binding.Requester.Email, r.Binding.Requester.Subject)), r.DecideBy.Local().Format("15:04:05"), ellipsis(printable(r.Binding.Statement), 60))
	}
	return tw.Flush()
}

func printApproval(w io.Writer, r approvals.Request) error {
	fmt.Fprintf(w, "%s  %s\n\n", r.ID, r.State)
	fmt.Fprintf(w, "  asks    %s (%s)\n", printable(or(r.Binding.Requester.Email, r.Binding.Requester.Subject)), printable(r.Binding.Requester.Issuer))
	fmt.Fprintf(w, "  why     %s (asserted)\n", printable(r.Reason))
	fmt.Fprintf(w, "  decide  by %s\n", r.DecideBy.Local().Format(time.RFC1123))
	fmt.Fprintf(w, "  who may %s, %d of them\n", printable(strings.Join(r.Approval.Groups, " or ")), r.Approval.Quorum)
	for _, v := range r.Votes {
		said := "no"
		if v.Approve {
			said = "yes"
		}
		fmt.Fprintf(w, "  vote    %s: %s %s\n", printable(or(v.Voter.Email, v.Voter.Subject)), said, printable(v.Reason))
	}
	_, err := fmt.Fprintf(w, "\n  %s\n", printable(r.Binding.Statement))
	return err
}

// ellipsis cuts s to n runes.
func ellipsis(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// printable makes text that others wrote safe for a terminal: control,
// bidirectional and zero-width characters show as their code points.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == ' ' || r == '\t':
			b.WriteByte(' ')
		case r == '\n':
			b.WriteString("\n  ")
		case unprintable(r):
			fmt.Fprintf(&b, "\\u{%x}", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unprintable are the characters that can make a text look like another:
// control, format (bidirectional, zero-width), line and paragraph separators,
// private use.
func unprintable(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == unicode.ReplacementChar
}
