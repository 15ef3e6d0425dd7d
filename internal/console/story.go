package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
)

// A step is an entry, or a statement with its outcome, as a person tells it.
type step struct {
	Index int64
	Time  time.Time
	Tone  string // how it looks: "good", "bad", "wait", "quiet", or "" for what only happened
	Title string
	Lines []told
	Table *table // rows that came back, where policy keeps them
	How   string // the call was joined to its turn, in a conversation
	// Outcome is the entry of how it ended, -1 if it has none of its own.
	Outcome int64
}

// A told thing is one line of a step.
type told struct {
	Label    string
	Text     string
	Code     []span // a statement, instead of Text
	Words    []span // what somebody said, instead of Text
	Asserted bool   // by the client; nobody has checked it
}

// A table is rows as they were returned.
type table struct {
	Columns []string
	Rows    [][]string
	More    int // rows that are not shown
}

// tableRows is how many rows of an answer a page shows.
const tableRows = 50

// brief drops what the page of a request says already.
func (s *step) brief() {
	s.Lines = slices.DeleteFunc(s.Lines, func(t told) bool {
		return t.Code != nil || slices.Contains([]string{"Request", "Reaches", "Because", "Decided", "Masked", "Filtered"}, t.Label)
	})
	s.Table = nil
}

func (s *step) say(label, text string) {
	if text != "" {
		s.Lines = append(s.Lines, told{Label: label, Text: approvals.Escape(text)})
	}
}

// claim adds what a client says and nobody has checked.
func (s *step) claim(label, text string) {
	if text != "" {
		s.Lines = append(s.Lines, told{Label: label, Text: approvals.Escape(text), Asserted: true})
	}
}

// words adds what somebody said, by the client's word.
func (s *step) words(text string) {
	if text == "" {
		s.say("Words", "(not kept)")
		return
	}
	s.Lines = append(s.Lines, told{Label: "Words", Words: spans(text, nil, true), Asserted: true})
}

func (s *step) code(label, text string) {
	if text != "" {
		s.Lines = append(s.Lines, told{Label: label, Code: spans(text, nil, true)})
	}
}

// A teller makes steps of entries.
type teller struct {
	entries  map[int64]*audit.Entry
	outcomes map[int64]*audit.Entry // by the entry that they are the end of
	rows     func(*audit.Entry) (string, error)
}

// newTeller returns a teller. rows opens rows that were kept; nil if they are
// not to be shown.
func newTeller(rows func(*audit.Entry) (string, error)) *teller {
	return &teller{entries: map[int64]*audit.Entry{}, outcomes: map[int64]*audit.Entry{}, rows: rows}
}

func (t *teller) add(e *audit.Entry) {
	t.entries[e.Index] = e
	if e.Event.Kind == audit.KindOutcome && e.Event.Of != nil {
		t.outcomes[*e.Event.Of] = e
	}
}

// indexes are the entries' numbers, in order.
func (t *teller) indexes() []int64 { return slices.Sorted(maps.Keys(t.entries)) }

func (t *teller) steps() []step {
	var out []step
	for _, index := range t.indexes() {
		e := t.entries[index]
		if e.Event.Kind == audit.KindOutcome && e.Event.Of != nil && t.entries[*e.Event.Of] != nil {
			continue // told with what it is the end of
		}
		s := step{Index: e.Index, Time: e.Event.Time, Outcome: -1}
		t.tell(&s, e)
		s.Title = approvals.Escape(s.Title)
		out = append(out, s)
	}
	return out
}

// text is a text of an entry, or the word that it is gone.
func text(e *audit.Entry, name string) string {
	if text, ok := e.Texts[name]; ok {
		return text
	}
	if e.Event.Blobs[name] != "" {
		return "(erased; its digest stands in the log)"
	}
	return ""
}

// who is what a caller is called.
func who(c *audit.Caller) string {
	switch {
	case c == nil:
		return ""
	case c.Email != "":
		return approvals.Escape(c.Email)
	default:
		return approvals.Escape(c.Subject)
	}
}

// tell tells one entry. A kind that nobody has thought of is told by its name.
func (t *teller) tell(s *step, e *audit.Entry) {
	v := e.Event
	switch v.Kind {
	case audit.KindSignIn:
		s.Title = who(v.Caller) + " signed in"
		s.say("From", v.Remote)
	case audit.KindSessionStart:
		s.Title = "The session was opened"
		s.claim("With", v.Client)
	case audit.KindSessionEnd:
		s.Title = "The session was ended"
	case audit.KindToolCall:
		s.Title = "Called " + v.Tool
		s.code("About", text(e, "sql"))
		s.say("Request", v.Approval)
		if problem := text(e, "problem"); problem != "" {
			s.Tone, s.Title = "bad", "Called "+v.Tool+" wrongly"
			s.say("Told", problem)
		}
	case audit.KindDecision, audit.KindExecution:
		t.statement(s, e)
	case audit.KindOutcome:
		s.Title = "A statement ended"
		t.outcome(s, e)
	case audit.KindApprovalRequested:
		s.Tone, s.Title = "wait", "A person is asked"
		s.say("Request", v.Approval)
		s.claim("Because", text(e, "purpose"))
		s.code("To run", text(e, "runs"))
	case audit.KindApprovalVoted:
		said, tone := "no", "bad"
		if v.Approve != nil && *v.Approve {
			said, tone = "yes", "good"
		}
		s.Tone, s.Title = tone, who(v.Voter)+" said "+said
		s.say("By way of", v.Via)
		s.say("Because", text(e, "reason"))
	case audit.KindApprovalChanged:
		s.Title = "The request is " + v.State
		s.Tone = stateTone(approvals.State(v.State))
		if v.Voter != nil {
			s.say("By", who(v.Voter))
		}
		s.say("Because", text(e, "reason"))
	case audit.KindGlassBroken:
		s.Tone, s.Title = "bad", who(v.Voter)+" let it through alone, in an emergency"
		s.say("Ticket", v.Ticket)
		s.say("Because", text(e, "reason"))
	case audit.KindGlassAcknowledged:
		s.Tone, s.Title = "good", who(v.Voter)+" acknowledged the emergency"
		s.say("Note", text(e, "reason"))
	case audit.KindSafetyCopy:
		s.Title = "The gate made, or dropped, a safety copy"
		s.code("Ran", text(e, "runs"))
		t.ended(s, e)
	case audit.KindBrief:
		s.Title = "The gate looked ahead for the approver"
		s.code("Ran", text(e, "runs"))
		t.ended(s, e)
	case audit.KindRead:
		s.Tone, s.Title = "quiet", who(v.Caller)+" looked at "+v.Page
		if v.Approval != "" {
			s.Title = who(v.Caller) + " read the request"
		}
		s.say("Looking for", text(e, "search"))
	case audit.KindPrompt:
		s.Tone, s.Title = "said", who(v.Caller)+" said"
		s.words(text(e, "prompt"))
		s.claim("To", strings.TrimSpace(v.Source+" "+v.Model))
		s.claim("In", text(e, "folder"))
	case audit.KindResponse:
		s.Tone, s.Title = "said", "The agent answered"
		s.words(text(e, "response"))
	case audit.KindToolUse:
		s.Tone, s.Title = "quiet", "The client said that it calls "+v.Tool
	case audit.KindJoined:
		s.Tone, s.Title = "quiet", "A call was joined to its turn: "+v.How
	default:
		s.Title = string(v.Kind)
		s.code("About", text(e, "runs"))
	}
}

// statement tells what was asked, what was decided, and what came back.
func (t *teller) statement(s *step, e *audit.Entry) {
	v := e.Event
	switch {
	case v.Kind == audit.KindExecution:
		s.Tone, s.Title = "good", "What was approved runs"
	case v.Verdict == "deny":
		s.Tone, s.Title = "bad", "Refused"
	case v.DryRun:
		s.Title = "Asked how it would be judged"
	case v.Verdict == "ask":
		s.Tone, s.Title = "wait", "Needs a person"
	case v.Verdict == "allow":
		s.Tone, s.Title = "good", "Allowed"
	default:
		s.Title = "Judged: " + v.Verdict
	}
	s.claim("Because", text(e, "purpose"))
	s.code("Sent", text(e, "sql"))
	if v.Verdict != "allow" || len(v.Rules) > 0 {
		s.say("Decided", decided(v))
	}
	for _, a := range v.Accesses {
		reach := a.Class + " " + a.Object
		if len(a.Columns) > 0 {
			reach += " (" + strings.Join(a.Columns, ", ") + ")"
		}
		if a.Via != "" {
			reach += " through " + a.Via
		}
		s.say("Reaches", reach)
	}
	s.say("Masked", strings.Join(v.Masks, ", "))
	s.say("Filtered", strings.Join(v.Filters, ", "))
	if t.outcomes[e.Index] != nil {
		s.code("Ran", text(e, "runs"))
		t.outcome(s, t.outcomes[e.Index])
	} else if v.Verdict == "allow" && !v.DryRun || v.Kind == audit.KindExecution {
		s.Tone = "bad"
		s.say("Ended", "the log holds no outcome")
	}
}

func decided(v audit.Event) string {
	d := v.Verdict
	if len(v.Rules) > 0 {
		d += " by " + strings.Join(v.Rules, ", ")
	}
	if v.Verdict != "allow" && len(v.Codes) > 0 {
		d += ": " + strings.Join(v.Codes, ", ")
	}
	return d
}

// ended tells the outcome of an entry, if there is one.
func (t *teller) ended(s *step, e *audit.Entry) {
	if o := t.outcomes[e.Index]; o != nil {
		t.outcome(s, o)
	}
}

func (t *teller) outcome(s *step, e *audit.Entry) {
	o := e.Event
	s.Outcome = e.Index
	long := time.Duration(o.Micros) * time.Microsecond
	if o.Error != "" {
		s.Tone = "bad"
		s.say("Failed", o.Error+", after "+took(long))
		s.say("Query ID", o.QueryID)
		return
	}
	saw := plural(o.Rows, "row") + ", " + plural(o.Bytes, "byte")
	if o.Truncated {
		saw += ", cut at the limit"
	}
	for _, name := range slices.Sorted(maps.Keys(o.Redacted)) {
		saw += fmt.Sprintf(", %s hidden by %s", plural(o.Redacted[name], "value"), name)
	}
	s.say("Columns", strings.Join(o.Columns, ", "))
	s.say("Came back", saw+", after "+took(long))
	s.say("Query ID", o.QueryID)
	t.kept(s, e)
}

// kept shows rows where policy keeps them and the key is there.
func (t *teller) kept(s *step, e *audit.Entry) {
	if e.Event.Blobs["rows"] == "" {
		return
	}
	if _, there := e.Texts["rows"]; !there {
		s.say("Rows", text(e, "rows"))
		return
	}
	if t.rows == nil {
		s.say("Rows", "kept, sealed")
		return
	}
	rows, err := t.rows(e)
	if err != nil {
		s.say("Rows", "kept, sealed: "+err.Error())
		return
	}
	s.Table = readTable(e.Event.Columns, rows)
}

// readTable reads rows as they were kept: a JSON array a line.
func readTable(columns []string, rows string) *table {
	t := &table{}
	for _, c := range columns {
		t.Columns = append(t.Columns, approvals.Escape(c))
	}
	for line := range strings.Lines(rows) {
		if len(t.Rows) == tableRows {
			t.More++
			continue
		}
		var cells []any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		row := []string{approvals.Escape(strings.TrimSpace(line))}
		if d.Decode(&cells) == nil {
			row = row[:0]
			for _, cell := range cells {
				row = append(row, cellText(cell))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return approvals.Escape(v)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		return approvals.Escape(string(text))
	}
}

// stateTone is how a state looks. One that nobody has thought of looks bad.
func stateTone(s approvals.State) string {
	switch s {
	case approvals.Pending:
		return "wait"
	case approvals.Approved, approvals.Executing, approvals.Done:
		return "good"
	case approvals.Expired, approvals.Cancelled, approvals.Revoked:
		return "gone"
	case approvals.Denied, approvals.Failed, approvals.Indeterminate:
		return "bad"
	default:
		return "bad"
	}
}
