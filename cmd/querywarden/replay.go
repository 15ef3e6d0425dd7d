package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
)

// replay tells a session as a person would: who came, what was asked, what was
// decided, who was asked, what ran, and what the agent saw of it.
func replay(ctx context.Context, r *audit.Reader, o *auditOptions, session string, std streams) error {
	if index, err := number(session); err == nil { // of one of its entries
		e, err := r.Entry(ctx, index)
		if err != nil {
			return err
		}
		if session = e.Event.Session; session == "" {
			return fmt.Errorf("entry %d belongs to no session", index)
		}
	}
	entries := map[int64]*audit.Entry{}
	add := func(f audit.Filter) error {
		for e, err := range r.Entries(ctx, f) {
			if err != nil {
				return err
			}
			entries[e.Index] = e
		}
		return nil
	}
	if err := add(audit.Filter{Session: session}); err != nil {
		return err
	}
	if len(entries) == 0 {
		return hint(fmt.Errorf("the log has no session %q", session), "`audit list --kind sign_in` and `--kind session_start` show the sessions there are")
	}
	// What people did about the session's requests is no part of the session.
	approvals := map[string]bool{}
	for _, e := range entries {
		if e.Event.Approval != "" {
			approvals[e.Event.Approval] = true
		}
	}
	for id := range approvals {
		if err := add(audit.Filter{Approval: id}); err != nil {
			return err
		}
	}
	// Nor is what people said to the agent meanwhile.
	for _, e := range slices.Collect(maps.Values(entries)) {
		chains, err := r.ChainsOf(ctx, e.Index)
		if err != nil && !errors.Is(err, audit.ErrNoChain) {
			return err
		}
		addTurns(entries, chains, false)
	}
	order := slices.Sorted(maps.Keys(entries))
	s := newStory(r, o, std, entries)
	s.begin(session, entries[order[0]], entries[order[len(order)-1]])
	for _, index := range order {
		s.tell(entries[index])
	}
	return s.err
}

// addTurns adds what was said in the turns whose calls are among the entries, or
// in all turns with everything that came of them.
func addTurns(entries map[int64]*audit.Entry, chains []*audit.Chain, all bool) {
	for _, c := range chains {
		for _, t := range c.Turns {
			told := all
			for _, call := range t.Calls {
				told = told || call.Call != nil && entries[call.Call.Index] != nil
				if !all || call.Call == nil {
					continue
				}
				for _, e := range append([]*audit.Entry{call.Call}, call.Follows...) {
					entries[e.Index] = e
				}
			}
			for _, e := range []*audit.Entry{t.Prompt, t.Response} {
				if told && e != nil {
					entries[e.Index] = e
				}
			}
		}
	}
}

// replayChain tells conversations as they went, step by step.
func replayChain(ctx context.Context, r *audit.Reader, o *auditOptions, std streams) error {
	chains, err := o.chains(ctx, r)
	if err != nil {
		return err
	}
	for i, c := range chains {
		entries := map[int64]*audit.Entry{}
		addTurns(entries, []*audit.Chain{c}, true)
		order := slices.Sorted(maps.Keys(entries))
		if i > 0 {
			fmt.Fprintln(std.out)
		}
		fmt.Fprintf(std.out, "Conversation %s of %s, told by %s\n", printable(c.Conversation), printable(who(c.Caller)), printable(or(c.Source, "nobody")))
		s := newStory(r, o, std, entries)
		for _, index := range order {
			s.tell(entries[index])
		}
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// newStory is a story of these entries.
func newStory(r *audit.Reader, o *auditOptions, std streams, entries map[int64]*audit.Entry) *story {
	s := &story{w: std.out, outcomes: map[int64]*audit.Entry{}}
	s.rows = func(e *audit.Entry) string {
		if _, kept := e.Texts["rows"]; !kept {
			return s.text(e, "rows")
		}
		rows, err := r.OpenRows(o.rowsKey(), e)
		if err != nil {
			return "(sealed; " + err.Error() + ")"
		}
		return rows
	}
	for _, e := range entries {
		if e.Event.Kind == audit.KindOutcome && e.Event.Of != nil {
			s.outcomes[*e.Event.Of] = e
		}
	}
	return s
}

// story prints events as steps.
type story struct {
	w        io.Writer
	outcomes map[int64]*audit.Entry // by the entry that they are the end of
	rows     func(*audit.Entry) string
	steps    int
	err      error
}

func (s *story) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *story) begin(session string, first, last *audit.Entry) {
	s.printf("Session %s\n", printable(session))
	if c := first.Event.Caller; c != nil {
		s.printf("%s, %s", printable(who(c)), or(c.Kind, "of unknown kind"))
		if len(c.Groups) > 0 {
			s.printf(" of %s", printable(strings.Join(c.Groups, ", ")))
		}
		if c.Behind != "" {
			s.printf(", for %s", printable(c.Behind))
		}
		s.printf(", vouched for by %s\n", printable(c.Issuer))
	}
	took := last.Event.Time.Sub(first.Event.Time).Round(time.Millisecond)
	s.printf("%s, over %s, entries %d to %d\n", first.Event.Time.Format("2006-01-02 15:04:05 MST"), took, first.Index, last.Index)
}

// step begins a step.
func (s *story) step(e *audit.Entry, format string, args ...any) {
	s.steps++
	s.printf("\n%3d  %s  %s\n", s.steps, e.Event.Time.Format("15:04:05"), printable(fmt.Sprintf(format, args...)))
}

// line adds a line to a step, if there is anything to say. What follows a line
// break is indented.
func (s *story) line(label, text string) {
	if text == "" {
		return
	}
	const indent = 26
	s.printf("%15s%-10s %s\n", "", label, strings.ReplaceAll(printable(text), "\n", "\n"+strings.Repeat(" ", indent-2)))
}

func (s *story) tell(e *audit.Entry) {
	v := e.Event
	switch v.Kind {
	case audit.KindSignIn:
		s.step(e, "signed in from %s", v.Remote)
	case audit.KindSessionStart:
		s.step(e, "opened the session with %s", or(v.Client, "a client without a name"))
	case audit.KindSessionEnd:
		s.step(e, "ended the session")
	case audit.KindToolCall:
		if e.Texts["problem"] != "" {
			s.step(e, "called %s wrongly", v.Tool)
			s.line("told", e.Texts["problem"])
			return
		}
		s.step(e, "called %s", v.Tool)
		s.line("about", or(s.text(e, "sql"), v.Approval))
	case audit.KindDecision:
		verb := "asked"
		if v.DryRun {
			verb = "asked, without running it"
		}
		s.step(e, "%s (%s)", verb, v.Tool)
		s.statement(e)
	case audit.KindApprovalRequested:
		s.step(e, "a person is asked, request %s", v.Approval)
		s.line("because", s.text(e, "purpose"))
	case audit.KindApprovalVoted:
		said := "no"
		if v.Approve != nil && *v.Approve {
			said = "yes"
		}
		s.step(e, "%s said %s", who(v.Voter), said)
		s.line("because", s.text(e, "reason"))
	case audit.KindApprovalChanged:
		s.step(e, "request %s is %s", v.Approval, v.State)
		s.line("because", s.text(e, "reason"))
	case audit.KindGlassBroken:
		s.step(e, "%s let request %s through alone, in an emergency (%s)", who(v.Voter), v.Approval, v.Ticket)
		s.line("because", s.text(e, "reason"))
	case audit.KindGlassAcknowledged:
		s.step(e, "%s acknowledged that", who(v.Voter))
	case audit.KindPrompt:
		s.step(e, "a person asked, by the word of %s, %s", or(v.Source, "the client"), or(v.Model, "model unknown"))
		s.line("asked", s.text(e, "prompt"))
		s.line("in", s.text(e, "folder"))
	case audit.KindResponse:
		s.step(e, "the agent answered, by the word of %s", or(v.Source, "the client"))
		s.line("answered", s.text(e, "response"))
	case audit.KindKeyAdded, audit.KindKeyRetired:
		s.step(e, "%s", v.Kind)
		s.line("key", v.Key)
	case audit.KindExecution:
		s.step(e, "what was approved runs, request %s", v.Approval)
		s.statement(e)
	case audit.KindOutcome: // told with what it is the end of
		if v.Of == nil {
			s.step(e, "%s", v.Status)
		}
	default:
		s.step(e, "%s", v.Kind)
	}
}

// statement tells what was asked, decided and seen.
func (s *story) statement(e *audit.Entry) {
	v := e.Event
	s.line("sent", s.text(e, "sql"))
	s.line("because", s.text(e, "purpose"))
	decided := v.Verdict
	if len(v.Rules) > 0 {
		decided += " by " + strings.Join(v.Rules, ", ")
	}
	if v.Verdict != "allow" {
		decided += ": " + strings.Join(v.Codes, ", ")
	}
	s.line("decided", decided)
	for _, a := range v.Accesses {
		text := a.Class + " " + a.Object
		if len(a.Columns) > 0 {
			text += " (" + strings.Join(a.Columns, ", ") + ")"
		}
		if a.Via != "" {
			text += " through " + a.Via
		}
		s.line("reaches", text)
	}
	s.line("masked", strings.Join(v.Masks, ", "))
	s.line("filtered", strings.Join(v.Filters, ", "))
	outcome := s.outcomes[e.Index]
	if outcome == nil {
		if v.Verdict == "allow" && !v.DryRun || v.Kind == audit.KindExecution {
			s.line("ended", "the log holds no outcome")
		}
		return
	}
	s.line("ran", s.text(e, "runs"))
	o := outcome.Event
	took := time.Duration(o.Micros) * time.Microsecond
	if o.Error != "" {
		s.line("failed", fmt.Sprintf("%s after %s", o.Error, took.Round(time.Millisecond)))
		return
	}
	saw := plural(o.Rows, "row") + ", " + plural(o.Bytes, "byte")
	if o.Truncated {
		saw += ", cut at the limit"
	}
	for _, name := range slices.Sorted(maps.Keys(o.Redacted)) {
		saw += fmt.Sprintf(", %s hidden by %s", plural(o.Redacted[name], "value"), name)
	}
	s.line("columns", strings.Join(o.Columns, ", "))
	s.line("saw", fmt.Sprintf("%s, after %s", saw, took.Round(time.Millisecond)))
	s.line("rows", s.rows(outcome))
	s.line("query id", o.QueryID)
}

// plural counts things.
func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// text is a text of an entry, or the word that it was erased.
func (s *story) text(e *audit.Entry, name string) string {
	if text, ok := e.Texts[name]; ok {
		return text
	}
	if e.Event.Blobs[name] != "" {
		return "(erased; its digest stands in the log)"
	}
	return ""
}
