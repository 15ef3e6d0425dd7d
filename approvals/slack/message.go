package slack

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"querywarden/approvals"
	"querywarden/policy"
)

// Bounds of what a message shows, in bytes, of which a text never has fewer than
// characters. Together they stay below what Slack takes of a message; the
// console shows all of everything.
const (
	statementLimit = 6000 // above it, a statement is a file
	textLimit      = 3000 // of one text element
	nameLimit      = 120
	purposeLimit   = 800
	lineLimit      = 150
	undoLimit      = 600
	shownEffects   = 6
	shownMarks     = 5
	shownVotes     = 4
)

// approvable reports whether a statement is shown whole and as it is, so that
// whoever clicks knows what they say yes to.
func approvable(v approvals.View) bool {
	return v.Readable == nil && len(v.Statement) <= statementLimit && v.Statement != ""
}

// The parts of a text.

func plain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

// say is text that is shown as it is.
func say(text string) slack.RichTextSectionElement { return styled(text, nil) }

func bold(text string) slack.RichTextSectionElement {
	return styled(text, &slack.RichTextSectionTextStyle{Bold: true})
}

func code(text string) slack.RichTextSectionElement {
	return styled(text, &slack.RichTextSectionTextStyle{Code: true})
}

func styled(text string, style *slack.RichTextSectionTextStyle) slack.RichTextSectionElement {
	if text == "" {
		text = "–" // Slack takes no empty text
	}
	return slack.NewRichTextSectionTextElement(text, style)
}

// clock is a time, which Slack shows in the reader's own zone.
func clock(t time.Time) slack.RichTextSectionElement {
	fallback := t.UTC().Format("2006-01-02 15:04 UTC")
	return slack.NewRichTextSectionDateElement(t.Unix(), "{date_short_pretty} {time}", nil, &fallback)
}

func line(parts ...slack.RichTextSectionElement) *slack.RichTextSection {
	return slack.NewRichTextSection(parts...)
}

func paragraph(parts ...slack.RichTextSectionElement) slack.Block {
	return slack.NewRichTextBlock("", line(parts...))
}

func button(a action, value, label string) *slack.ButtonBlockElement {
	return slack.NewButtonBlockElement(string(a), value, plain(label))
}

func (s *Slack) openButton(id string) *slack.ButtonBlockElement {
	return button(open, "", "Open").WithURL(s.requestURL(id))
}

// cut shortens a text to so many bytes, and shows that it did.
func cut(text string, limit int) string {
	const more = "…"
	if len(text) <= limit {
		return text
	}
	text = text[:limit-len(more)]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + more
}

// chunks splits a text into pieces that one text element takes.
func chunks(text string) []slack.RichTextSectionElement {
	var parts []slack.RichTextSectionElement
	for len(text) > textLimit {
		n := textLimit
		for !utf8.RuneStart(text[n]) {
			n--
		}
		parts = append(parts, say(text[:n]))
		text = text[n:]
	}
	return append(parts, say(text))
}

// blocks are the whole message of a request as it is now.
func (s *Slack) blocks(v approvals.View) []slack.Block {
	blocks := []slack.Block{slack.NewHeaderBlock(plain(heading(v)))}
	if g := v.BreakGlass; g != nil {
		blocks = append(blocks, glass(g))
	}
	blocks = append(blocks, asker(v))
	blocks = append(blocks, statement(v)...)
	if facts := facts(v); len(facts) > 0 {
		blocks = append(blocks, slack.NewRichTextBlock("", slack.NewRichTextList(slack.RTEListBullet, 0, facts...)))
	}
	blocks = append(blocks, slack.NewRichTextBlock("", slack.NewRichTextList(slack.RTEListBullet, 0, state(v)...)))
	return append(blocks, s.foot(v, approvable(v))...)
}

// shortBlocks are for a Slack that does not take the whole message: what
// matters is that somebody is asked.
func (s *Slack) shortBlocks(v approvals.View) []slack.Block {
	blocks := []slack.Block{slack.NewHeaderBlock(plain(heading(v))), paragraph(say(cut(v.Who, nameLimit) + " asks for a statement that Slack does not show. Open the console."))}
	return append(blocks, s.foot(v, false)...)
}

// foot is the buttons, and what the request is called.
func (s *Slack) foot(v approvals.View, shown bool) []slack.Block {
	return []slack.Block{
		slack.NewActionBlock("", s.buttons(v, shown)...),
		slack.NewContextBlock("", plain(v.ID+" · digest "+v.Short)),
	}
}

// heading says in a few words where a request is.
func heading(v approvals.View) string {
	text := ""
	switch v.State {
	case approvals.Pending:
		text = "A statement waits for approval"
	case approvals.Approved:
		text = "Approved, and about to run"
	case approvals.Executing:
		text = "Approved, and running"
	case approvals.Done:
		text = "Approved, and has run"
	case approvals.Failed:
		text = "Approved, ran and failed"
	case approvals.Denied:
		text = "Denied"
	case approvals.Expired:
		text = "Expired"
	case approvals.Cancelled:
		text = "Taken back by the requester"
	case approvals.Revoked:
		text = "Approval taken back"
	case approvals.Indeterminate:
		text = "Approved, and its outcome is not known"
	default:
		text = "A request that nothing is known of"
	}
	if v.BreakGlass != nil {
		return "🚨 BREAK-GLASS: " + text
	}
	return text
}

func asker(v approvals.View) slack.Block {
	parts := []slack.RichTextSectionElement{bold(cut(v.Who, nameLimit))}
	about := []string{}
	if v.Kind != policy.UnknownCaller {
		about = append(about, v.Kind.String())
	}
	if len(v.Groups) > 0 {
		about = append(about, "in "+cut(strings.Join(v.Groups, ", "), lineLimit))
	}
	if len(about) > 0 {
		parts = append(parts, say(" ("+strings.Join(about, ", ")+")"))
	}
	if v.Behind != "" {
		parts = append(parts, say(", acting for "), bold(cut(v.Behind, nameLimit)))
	}
	parts = append(parts, say(", asks"))
	if v.Agent != "" {
		parts = append(parts, say(" through "), code(cut(v.Agent, nameLimit)), say(" (by its own account)"))
	}
	elements := []slack.RichTextElement{line(append(parts, say("."))...)}
	if v.Purpose != "" {
		elements = append(elements, line(say("What for, in the agent's own words:")),
			&slack.RichTextQuote{Type: slack.RTEQuote, Elements: []slack.RichTextSectionElement{say(cut(v.Purpose, purposeLimit))}})
	}
	return slack.NewRichTextBlock("", elements...)
}

// statement shows the statement as it would run, or says why not.
func statement(v approvals.View) []slack.Block {
	text := v.Statement
	var blocks []slack.Block
	if v.Readable != nil {
		blocks = append(blocks, paragraph(bold("Careful: "+cut(approvals.Escape(v.Readable.Error()), lineLimit)+". "), say(`It is shown with \u{…} in their place, and can be approved only in the console.`)))
		text = approvals.Escape(text)
	}
	if len(text) > statementLimit {
		return append(blocks, paragraph(say(fmt.Sprintf("The statement has %d characters, too many for a message: it is the file in the thread. It can be approved only in the console.", utf8.RuneCountInString(text)))))
	}
	blocks = append(blocks, slack.NewRichTextBlock("", &slack.RichTextPreformatted{Type: slack.RTEPreformatted, Elements: chunks(text)}))
	if look := marks(v); len(look) > 0 {
		blocks = append(blocks, paragraph(look...))
	}
	return blocks
}

// marks repeats what should not be overlooked in the statement.
func marks(v approvals.View) []slack.RichTextSectionElement {
	var parts []slack.RichTextSectionElement
	shown := map[string]bool{}
	for _, m := range v.Marks {
		if m.Start < 0 || m.End > len(v.Statement) || m.Start >= m.End {
			continue
		}
		text := cut(approvals.Escape(v.Statement[m.Start:m.End]), lineLimit)
		if shown[text] || len(shown) == shownMarks {
			continue
		}
		shown[text] = true
		if len(parts) == 0 {
			parts = append(parts, say("Look at: "))
		} else {
			parts = append(parts, say(" "))
		}
		parts = append(parts, code(text))
	}
	return parts
}

// facts are what an approver should know beside the statement.
func facts(v approvals.View) []slack.RichTextElement {
	b := v.Brief
	var lines []slack.RichTextElement
	add := func(parts ...slack.RichTextSectionElement) { lines = append(lines, line(parts...)) }
	for i, effect := range b.Effects {
		if i == shownEffects {
			add(say(fmt.Sprintf("and %d more: see the console", len(b.Effects)-i)))
			break
		}
		add(bold(cut(effect, lineLimit)))
	}
	switch {
	case b.Rows != nil && b.RowsNote != "":
		add(say(fmt.Sprintf("%d %s", *b.Rows, cut(b.RowsNote, lineLimit))))
	case b.Rows != nil:
		add(say(fmt.Sprintf("Rows that the condition matches now: %d", *b.Rows)))
	case b.RowsNote != "":
		add(say("Rows: " + cut(b.RowsNote, lineLimit)))
	}
	if len(b.Depends) > 0 {
		add(say("Depend on it: " + cut(strings.Join(b.Depends, ", "), lineLimit)))
	}
	if b.Estimate != "" {
		add(say("Estimate: " + cut(b.Estimate, lineLimit)))
	}
	if v.SafetyCopy != "" {
		add(say("Safety copy: "), code(cut(v.SafetyCopy, lineLimit)), say(" until "), clock(v.CopyUntil))
	} else if v.Need.SafetyCopy > 0 {
		add(say("A safety copy is made before it runs, and kept for " + v.Need.SafetyCopy.String()))
	}
	undo := b.Undo
	if v.Outcome != nil && v.Outcome.Undo != "" {
		undo = v.Outcome.Undo
	}
	if undo != "" {
		parts := []slack.RichTextSectionElement{say("To undo it: "), code(cut(undo, undoLimit))}
		if !b.UndoBy.IsZero() {
			parts = append(parts, say(" until "), clock(b.UndoBy))
		}
		add(parts...)
	}
	return lines
}

// state is what has been decided, by whom, and the clocks.
func state(v approvals.View) []slack.RichTextElement {
	var lines []slack.RichTextElement
	add := func(parts ...slack.RichTextSectionElement) { lines = append(lines, line(parts...)) }
	for i, vote := range v.Votes {
		if len(v.Votes)-i > shownVotes {
			continue
		}
		word := " denied"
		if vote.Approve {
			word = " approved"
		}
		parts := []slack.RichTextSectionElement{bold(cut(approvals.Name(vote.Voter), nameLimit)), say(word + " (" + string(vote.Via) + ") "), clock(vote.At)}
		if vote.Reason != "" {
			parts = append(parts, say(": "+cut(vote.Reason, lineLimit)))
		}
		add(parts...)
	}
	if c := v.Closed; c != nil {
		who := "the gate"
		if c.By.Subject != "" {
			who = approvals.Name(c.By)
		}
		parts := []slack.RichTextSectionElement{say("Ended by "), bold(cut(who, nameLimit)), say(" "), clock(c.At)}
		if c.Reason != "" {
			parts = append(parts, say(": "+cut(c.Reason, lineLimit)))
		}
		add(parts...)
	}
	switch v.State {
	case approvals.Pending:
		add(say(fmt.Sprintf("Needs %d of ", v.Need.Quorum)), bold(cut(strings.Join(v.Need.Groups, ", "), lineLimit)), say(fmt.Sprintf("; %d so far", v.Yes)))
		add(say("Decide by "), clock(v.DecideBy), say(", then it runs within "+v.Need.RunWithin.String()))
	case approvals.Approved:
		add(say("Runs by "), clock(v.RunBy))
	case approvals.Executing, approvals.Done, approvals.Failed, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Revoked, approvals.Indeterminate:
		add(outcome(v)...)
	default:
	}
	if len(lines) == 0 {
		add(say("Nothing more is known."))
	}
	return lines
}

// outcome says how a request ended.
func outcome(v approvals.View) []slack.RichTextSectionElement {
	parts := []slack.RichTextSectionElement{bold(ending(v))}
	o := v.Outcome
	if o == nil {
		return parts
	}
	if v.State == approvals.Done {
		parts = append(parts, say(fmt.Sprintf(" Rows in the answer: %d.", o.Rows)))
	}
	if o.Error != "" {
		parts = append(parts, say(" "+cut(o.Error, lineLimit)+"."))
	}
	if o.QueryID != "" {
		parts = append(parts, say(" Query "), code(cut(o.QueryID, nameLimit)), say("."))
	}
	if o.Ref != "" {
		parts = append(parts, say(" Recorded as "), code(cut(o.Ref, nameLimit)), say("."))
	}
	return parts
}

// ending is how a request ended, in a sentence.
func ending(v approvals.View) string {
	switch v.State {
	case approvals.Executing:
		return "It is running."
	case approvals.Done:
		return "It has run. The result waits for the requester alone."
	case approvals.Failed:
		return "It ran and failed."
	case approvals.Denied:
		return "It was denied, and does not run."
	case approvals.Expired:
		return "Its time is over, and it does not run."
	case approvals.Cancelled:
		return "The requester has taken it back."
	case approvals.Revoked:
		return "The approval was taken back, and it does not run."
	case approvals.Indeterminate:
		return "It was sent, and nobody knows what became of it. It is not sent again; a person has to look, and say so in the console."
	case approvals.Pending:
		return "It waits."
	case approvals.Approved:
		return "It is approved."
	default:
		return "It is in a state that allows nothing."
	}
}

// glass says that somebody has gone around the quorum.
func glass(g *approvals.BrokenGlass) slack.Block {
	parts := []slack.RichTextSectionElement{
		bold(cut(approvals.Name(g.By), nameLimit) + " has let this run alone, in an emergency."),
		say(" Ticket "), code(cut(g.Ticket, nameLimit)), say(": " + cut(g.Reason, 2*lineLimit) + " "),
	}
	if g.AckBy == nil {
		parts = append(parts, bold("A second person has to acknowledge this by "), clock(g.AcknowledgeBy))
	} else {
		parts = append(parts, say("Acknowledged by "), bold(cut(approvals.Name(*g.AckBy), nameLimit)), say(" "), clock(g.AckAt))
		if g.Note != "" {
			parts = append(parts, say(": "+cut(g.Note, lineLimit)))
		}
	}
	return paragraph(parts...)
}

// buttons are what can be done about a request now. Nobody is offered to approve
// what is not shown.
func (s *Slack) buttons(v approvals.View, shown bool) []slack.BlockElement {
	value := target(v.ID, v.Short)
	var buttons []slack.BlockElement
	if v.State == approvals.Pending && shown {
		if v.Need.Confirm == policy.BySlack {
			yes := button(approve, value, "Approve").WithStyle(slack.StylePrimary)
			yes.Confirm = slack.NewConfirmationBlockObject(plain("Approve this statement?"),
				plain("It runs once, as soon as enough people have approved it, exactly as it is shown."), plain("Approve"), plain("Not yet"))
			buttons = append(buttons, yes)
		} else {
			buttons = append(buttons, button(approve, value, "Approve…").WithStyle(slack.StylePrimary))
		}
	}
	switch v.State {
	case approvals.Pending:
		buttons = append(buttons, button(deny, value, "Deny").WithStyle(slack.StyleDanger))
	case approvals.Approved:
		buttons = append(buttons, button(deny, value, "Take back").WithStyle(slack.StyleDanger))
	default:
	}
	if v.BreakGlass != nil && v.BreakGlass.AckBy == nil {
		buttons = append(buttons, button(acknowledge, value, "Acknowledge").WithStyle(slack.StyleDanger))
	}
	return append(buttons, s.openButton(v.ID))
}
