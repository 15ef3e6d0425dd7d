package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"querywarden/audit"
)

// showChain prints, as a tree, what led from what somebody said to what ran: of
// a conversation, of a statement of the warehouse's history, or of an entry.
func showChain(ctx context.Context, r *audit.Reader, o *auditOptions, std streams) error {
	chains, err := o.chains(ctx, r)
	if errors.Is(err, audit.ErrNoChain) {
		return hint(err, "conversations are known where the policy keeps them (`conversations:`) and the client tells of them; `audit list --kind prompt` shows those there are")
	}
	if err != nil {
		return err
	}
	for i, c := range chains {
		if i > 0 {
			fmt.Fprintln(std.out)
		}
		if err := printChain(std.out, c, width(std.out)); err != nil {
			return err
		}
	}
	return nil
}

// chains finds what the flags ask for.
func (o *auditOptions) chains(ctx context.Context, r *audit.Reader) ([]*audit.Chain, error) {
	switch {
	case o.conversation != "":
		return r.Chains(ctx, o.conversation)
	case o.query != "":
		for e, err := range r.Entries(ctx, audit.Filter{QueryID: o.query, Kind: audit.KindOutcome}) {
			if err != nil {
				return nil, err
			}
			return r.ChainsOf(ctx, e.Index)
		}
		return nil, fmt.Errorf("no statement of this log is the warehouse's query %q", o.query)
	default:
		index, err := number(o.event)
		if err != nil {
			return nil, err
		}
		return r.ChainsOf(ctx, index)
	}
}

// A tree prints lines behind branches. Everything in it may come from a client.
type tree struct {
	w     io.Writer
	width int
	err   error
}

// node prints one line of the tree. The branches are those of its ancestors,
// true where more follows; the last is its own.
func (t *tree) node(branches []bool, format string, args ...any) {
	var b strings.Builder
	for i, more := range branches {
		switch {
		case i < len(branches)-1 && more:
			b.WriteString("│  ")
		case i < len(branches)-1:
			b.WriteString("   ")
		case more:
			b.WriteString("├─ ")
		default:
			b.WriteString("└─ ")
		}
	}
	room := max(t.width-3*len(branches), 20)
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, "%s%s\n", b.String(), ellipsis(strings.ReplaceAll(printable(fmt.Sprintf(format, args...)), "\n", " "), room))
	}
}

// printChain prints a conversation: turns, their calls, and what became of each.
// What the client asserts is in double quotes or after its name.
func printChain(w io.Writer, c *audit.Chain, width int) error {
	t := &tree{w: w, width: width}
	t.node(nil, "conversation %s of %s, told by %s", c.Conversation, who(c.Caller), or(c.Source, "nobody: only calls are known"))
	for i, turn := range c.Turns {
		more := i < len(c.Turns)-1
		t.turn(turn, more)
	}
	return t.err
}

func (t *tree) turn(turn *audit.Turn, more bool) {
	if p := turn.Prompt; p == nil {
		t.node([]bool{more}, "turn %s: the client told of no prompt", or(turn.ID, "without a name"))
	} else {
		by := ""
		if p.Event.Model != "" {
			by = ", to " + p.Event.Model
		}
		t.node([]bool{more}, "%s  asked%s (entry %d): %q", p.Event.Time.Local().Format("15:04:05"), by, p.Index, textOf(p, "prompt"))
	}
	for i, call := range turn.Calls {
		t.call(call, []bool{more, i < len(turn.Calls)-1 || turn.Response != nil})
	}
	if r := turn.Response; r != nil {
		t.node([]bool{more, false}, "%s  answered (entry %d): %q", r.Event.Time.Local().Format("15:04:05"), r.Index, textOf(r, "response"))
	}
}

func (t *tree) call(c *audit.ChainCall, at []bool) {
	if c.Call == nil {
		t.node(at, "announced %s (entry %d); the gate has seen no such call", c.Announced.Event.Tool, c.Announced.Index)
		return
	}
	v := c.Call.Event
	t.node(at, "%s  %s (entry %d), linked: %s", v.Time.Local().Format("15:04:05"), v.Tool, c.Call.Index, c.How)
	type line struct{ label, text string }
	lines := []line{{"sent", textOf(c.Call, "sql")}}
	if runs := textOf(c.Call, "runs"); runs != "" {
		lines = append(lines, line{"runs", runs})
	}
	if v.Verdict != "" {
		decided := v.Verdict
		if len(v.Rules) > 0 {
			decided += " by " + strings.Join(v.Rules, ", ")
		}
		if v.Verdict != "allow" {
			decided += ": " + strings.Join(v.Codes, ", ")
		}
		lines = append(lines, line{"decided", decided})
	}
	if len(v.Masks) > 0 {
		lines = append(lines, line{"masked", strings.Join(v.Masks, ", ")})
	}
	for _, e := range c.Follows {
		if label, text := followed(e); label != "" {
			lines = append(lines, line{label, text})
		}
	}
	if v.Verdict == "" && lines[0].text == "" {
		lines = lines[1:]
	}
	for i, l := range lines {
		t.node(append(at[:len(at):len(at)], i < len(lines)-1), "%-9s %s", l.label, oneLine(l.text))
	}
}

// followed tells one thing that became of a call.
func followed(e *audit.Entry) (label, text string) {
	v := e.Event
	switch v.Kind {
	case audit.KindApprovalRequested:
		return "asked", fmt.Sprintf("a person, request %s (entry %d)", v.Approval, e.Index)
	case audit.KindApprovalVoted:
		said := "no"
		if v.Approve != nil && *v.Approve {
			said = "yes"
		}
		return "person", fmt.Sprintf("%s said %s (entry %d): %q", who(v.Voter), said, e.Index, textOf(e, "reason"))
	case audit.KindApprovalChanged:
		return "request", fmt.Sprintf("is %s (entry %d)", v.State, e.Index)
	case audit.KindExecution:
		return "runs", textOf(e, "runs")
	case audit.KindOutcome:
		if v.Error != "" {
			return "failed", fmt.Sprintf("%s (entry %d)", v.Error, e.Index)
		}
		return "returned", fmt.Sprintf("%s, %s; query %s (entry %d)", plural(v.Rows, "row"), plural(v.Bytes, "byte"), or(v.QueryID, "without an id"), e.Index)
	default:
		return "", ""
	}
}

// textOf is a text of an entry, or the word that it was erased.
func textOf(e *audit.Entry, name string) string { return (&story{}).text(e, name) }
