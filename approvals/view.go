package approvals

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"querywarden/policy"
)

// A View is a request as people see it: the console, messengers and the command
// line all show this and nothing else. What others have written (names, purpose,
// reasons) is escaped already; Statement alone is as it would run, whole, and
// Readable says whether it can be shown so.
type View struct {
	ID     string
	State  State
	Digest string
	Short  string // what a button carries beside the id

	Who     string // the requester, by address or name
	Issuer  string
	Kind    policy.CallerKind
	Groups  []string // at the time of asking
	Behind  string   // the person for whom an agent acts, empty if there is none
	Agent   string   // the program, by its own account
	Purpose string   // the agent's own words
	Session string

	Statement string
	Marks     []Mark // in Statement
	Objects   []string
	Masks     []string
	Filters   []string
	Brief     Brief
	// Readable is nil, or says why Statement must not be shown as it is: it
	// holds characters that hide something. It can be denied anywhere and
	// approved only where it is shown through [Escape].
	Readable error

	Asked, DecideBy, RunBy time.Time
	Need                   policy.Approval
	Yes                    int // different people who said yes
	Votes                  []Vote
	BreakGlass             *BrokenGlass
	Closed                 *Closing
	Outcome                *Outcome
	SafetyCopy             string
	CopyUntil              time.Time
	After, Before          string // requests that this one replaces, and that replaces it
}

// View returns what people are shown of a request.
func (r *Request) View() View {
	v := View{
		ID: r.ID, State: r.State, Digest: r.Digest, Short: Short(r.Digest),
		Who: Name(r.Binding.Requester), Issuer: Escape(r.Binding.Requester.Issuer), Kind: r.Caller.Kind, Groups: escaped(r.Caller.Groups),
		Agent: Escape(r.Client), Purpose: Escape(r.Reason), Session: Escape(r.Binding.Session),
		Statement: r.Binding.Statement, Marks: r.Marks, Objects: escaped(r.Binding.Objects), Masks: escaped(r.Binding.Masks), Filters: escaped(r.Binding.Filters),
		Brief: r.Brief, Readable: Hidden(r.Binding.Statement),
		Asked: r.Asked, DecideBy: r.DecideBy, RunBy: r.RunBy, Need: r.Approval, Yes: r.yes(),
		SafetyCopy: Escape(r.SafetyCopy), CopyUntil: r.CopyUntil, After: r.After, Before: r.Before,
	}
	if r.Binding.Behind != nil {
		v.Behind = Name(*r.Binding.Behind)
	}
	v.Brief.Effects, v.Brief.Depends = escaped(v.Brief.Effects), escaped(v.Brief.Depends)
	v.Brief.RowsNote, v.Brief.Estimate, v.Brief.Undo = Escape(v.Brief.RowsNote), Escape(v.Brief.Estimate), Escape(v.Brief.Undo)
	for _, vote := range r.Votes {
		vote.Voter, vote.Reason = escapedIdentity(vote.Voter), Escape(vote.Reason)
		v.Votes = append(v.Votes, vote)
	}
	if r.BreakGlass != nil {
		b := *r.BreakGlass
		b.By, b.Reason, b.Ticket, b.Note = escapedIdentity(b.By), Escape(b.Reason), Escape(b.Ticket), Escape(b.Note)
		if b.AckBy != nil {
			by := escapedIdentity(*b.AckBy)
			b.AckBy = &by
		}
		v.BreakGlass = &b
	}
	if r.Closed != nil {
		c := *r.Closed
		c.By, c.Reason = escapedIdentity(c.By), Escape(c.Reason)
		v.Closed = &c
	}
	if r.Outcome != nil {
		o := *r.Outcome
		o.QueryID, o.Error, o.Undo = Escape(o.QueryID), Escape(o.Error), Escape(o.Undo)
		v.Outcome = &o
	}
	return v
}

// Name is what an identity is called: its address, or else its subject.
func Name(i policy.Identity) string {
	if i.Email != "" {
		return Escape(i.Email)
	}
	return Escape(i.Subject)
}

func escaped(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, Escape(s))
	}
	return out
}

func escapedIdentity(i policy.Identity) policy.Identity {
	return policy.Identity{Issuer: Escape(i.Issuer), Subject: Escape(i.Subject), Email: Escape(i.Email)}
}

// Escape replaces the characters that can make a text look like another by
// their code points, as \u{202e}, and line feeds and tabs by \n and \t. A backslash stays: where it matters which of
// the two stands there, [Hidden] says so.
func Escape(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				fmt.Fprintf(&b, `\x{%x}`, s[i])
				continue
			}
		}
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case hides(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func clean(s string) bool {
	for _, r := range s {
		if hides(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// hides reports whether a character is not seen as what it is: control and
// format characters (bidirectional, zero-width, tags), separators that look like
// a space or a line's end, what fonts leave out, private use and unassigned.
func hides(r rune) bool {
	switch r {
	case ' ':
		return false
	case '\u2800': // the empty Braille pattern
		return true
	default:
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs, unicode.Co, unicode.Cs,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == unicode.ReplacementChar || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S)
	}
}

// A HiddenError says that a text holds a character that hides something.
type HiddenError struct {
	Rune rune
	At   int // in bytes
}

// Error names the first such character.
func (e *HiddenError) Error() string {
	kind := "an invisible character"
	switch {
	case unicode.Is(unicode.Bidi_Control, e.Rune):
		kind = "a character that turns the direction of writing"
	case unicode.Is(unicode.Cc, e.Rune):
		kind = "a control character"
	case unicode.Is(unicode.Zs, e.Rune):
		kind = "a character that looks like a space"
	}
	return fmt.Sprintf("the statement holds %s (U+%04X) at byte %d", kind, e.Rune, e.At)
}

// Hidden returns a [*HiddenError] if a text cannot be shown as it is.
func Hidden(s string) error {
	for i, r := range s {
		if hides(r) || r == utf8.RuneError {
			return &HiddenError{r, i}
		}
	}
	return nil
}
