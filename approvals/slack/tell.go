package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"querywarden/approvals"
)

// A place is where a message is. Its two parts are Slack's and hold neither a
// colon nor a space.
type place struct{ channel, ts string }

// places are the messages of one request: the first is in its own channel, a
// second where it was asked again. As a reference they are "C1:ts C2:ts".
type places []place

func parsePlaces(ref string) places {
	var all places
	for _, text := range strings.Fields(ref) {
		if channel, ts, ok := strings.Cut(text, ":"); ok {
			all = append(all, place{channel, ts})
		}
	}
	return all
}

func (p places) String() string {
	var all []string
	for _, at := range p {
		all = append(all, at.channel+":"+at.ts)
	}
	return strings.Join(all, " ")
}

// Tell implements [approvals.Messenger]. The reference says where the messages
// of a request are.
func (s *Slack) Tell(ctx context.Context, n approvals.Notice) (string, error) {
	v := n.Request.View()
	at, err := s.show(ctx, parsePlaces(n.Ref), v, n.Kind)
	if err != nil {
		return "", problem(fmt.Errorf("telling Slack of %s: %w", v.ID, err))
	}
	told, err := s.remark(ctx, at, v, n.Kind)
	if err != nil && at.String() != n.Ref {
		// A message was posted just now. To come again would post another.
		s.config.Logger.Error("adding to a new message", "approval", v.ID, "err", err)
		return at.String(), nil
	}
	if err != nil {
		return "", problem(fmt.Errorf("telling Slack of %s: %w", v.ID, err))
	}
	return told.String(), nil
}

// show brings the messages of a request up to date, and posts the first.
func (s *Slack) show(ctx context.Context, at places, v approvals.View, kind approvals.NoticeKind) (places, error) {
	if len(at) == 0 {
		channel := v.Need.Channel
		if channel == "" {
			channel = s.config.Channel
		}
		first, err := s.post(ctx, channel, v)
		if err != nil {
			return at, err
		}
		return places{first}, nil
	}
	if kind == approvals.Reminder || kind == approvals.Escalated || kind == approvals.Voted && deciding(v) {
		return at, nil
	}
	for i, p := range at {
		err := s.update(ctx, p, v)
		if is(err, "message_not_found") {
			// Somebody has deleted it, and with it who decided and what runs.
			at[i], err = s.post(ctx, p.channel, v)
		}
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// deciding reports whether the vote that a notice tells of has decided a request:
// the notice of that comes next.
func deciding(v approvals.View) bool {
	no := slices.ContainsFunc(v.Votes, func(o approvals.Vote) bool { return !o.Approve })
	return v.State == approvals.Pending && (no || v.Yes >= v.Need.Quorum)
}

// remark adds what a notice is about beside the message itself.
func (s *Slack) remark(ctx context.Context, at places, v approvals.View, kind approvals.NoticeKind) (places, error) {
	switch {
	case kind == approvals.GlassBroken && v.BreakGlass == nil, kind == approvals.Acknowledged && (v.BreakGlass == nil || v.BreakGlass.AckBy == nil):
		return at, approvals.Permanent(fmt.Errorf("notice %q is of a request that it does not fit", kind))
	case (kind == approvals.Reminder || kind == approvals.Escalated) && v.State != approvals.Pending:
		return at, nil
	}
	switch kind {
	case approvals.Asked:
		return at, nil
	case approvals.Voted:
		if v.State == approvals.Pending && !deciding(v) && len(v.Votes) > 0 {
			who := approvals.Name(v.Votes[len(v.Votes)-1].Voter)
			return at, s.reply(ctx, at[0], false, bold(cut(who, nameLimit)), say(fmt.Sprintf(" has approved: %d of %d.", v.Yes, v.Need.Quorum)))
		}
		return at, nil
	case approvals.Changed:
		return at, s.told(ctx, at[0], v)
	case approvals.Reminder:
		return at, s.reply(ctx, at[0], true, say("This still waits for "), bold(cut(strings.Join(v.Need.Groups, ", "), lineLimit)), say(", until "), clock(v.DecideBy), say("."))
	case approvals.Escalated:
		return s.escalate(ctx, at, v)
	case approvals.GlassBroken:
		return at, s.reply(ctx, at[0], true, say("🚨 "), bold("Break-glass: "+cut(approvals.Name(v.BreakGlass.By), nameLimit)+" has let this run alone."), say(" Ticket "), code(cut(v.BreakGlass.Ticket, nameLimit)), say(". A second person has to acknowledge it."))
	case approvals.Acknowledged:
		return at, s.reply(ctx, at[0], false, bold(cut(approvals.Name(*v.BreakGlass.AckBy), nameLimit)), say(" has acknowledged this."))
	case approvals.Unacknowledged:
		return at, s.reply(ctx, at[0], true, say("🚨 "), bold("Nobody has acknowledged this break-glass in time."))
	default:
		return at, approvals.Permanent(fmt.Errorf("there is no notice %q", kind))
	}
}

// told writes how a request ended into its thread.
func (s *Slack) told(ctx context.Context, at place, v approvals.View) error {
	switch v.State {
	case approvals.Pending, approvals.Approved, approvals.Executing:
		return nil // the message says so
	case approvals.Indeterminate:
		return s.reply(ctx, at, true, outcome(v)...)
	case approvals.Done, approvals.Failed, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Revoked:
		return s.reply(ctx, at, false, outcome(v)...)
	default:
		return s.reply(ctx, at, true, outcome(v)...)
	}
}

// escalate asks in the second channel.
func (s *Slack) escalate(ctx context.Context, at places, v approvals.View) (places, error) {
	second := v.Need.Escalate
	if second == "" || slices.ContainsFunc(at, func(p place) bool { return p.channel == second }) {
		return at, s.reply(ctx, at[0], true, bold("Hardly any time is left: "), say("this waits until "), clock(v.DecideBy), say("."))
	}
	p, err := s.post(ctx, second, v)
	if err != nil {
		return at, err
	}
	return append(at, p), nil
}

// headline is what notifications show. It is read as markup, and holds nothing
// that anybody else has written.
func headline(v approvals.View) string { return heading(v) + " (" + v.ID + ")" }

func content(v approvals.View, blocks []slack.Block) slack.MsgOption {
	return slack.MsgOptionCompose(slack.MsgOptionText(headline(v), true), slack.MsgOptionBlocks(blocks...), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
}

// post posts the message of a request, and what is too long for it.
func (s *Slack) post(ctx context.Context, channel string, v approvals.View) (place, error) {
	id, ts, err := s.api.PostMessageContext(ctx, channel, content(v, s.blocks(v)))
	if is(err, tooMuch...) {
		s.config.Logger.Error("Slack does not take a message whole", "approval", v.ID, "err", err)
		id, ts, err = s.api.PostMessageContext(ctx, channel, content(v, s.shortBlocks(v)))
	}
	if err != nil {
		return place{}, err
	}
	// A policy may say a channel's name; messages are found again by its ID.
	at := place{id, ts}
	s.attach(ctx, at, v)
	return at, nil
}

// update brings a message up to date.
func (s *Slack) update(ctx context.Context, at place, v approvals.View) error {
	_, _, _, err := s.api.UpdateMessageContext(ctx, at.channel, at.ts, content(v, s.blocks(v)))
	if is(err, tooMuch...) {
		_, _, _, err = s.api.UpdateMessageContext(ctx, at.channel, at.ts, content(v, s.shortBlocks(v)))
	}
	return err
}

// attach adds a statement that is too long for a message to its thread. The
// message says where else it is; one without the file is better than two.
func (s *Slack) attach(ctx context.Context, at place, v approvals.View) {
	text := v.Statement
	if v.Readable != nil {
		text = approvals.Escape(text)
	}
	if len(text) <= statementLimit {
		return
	}
	_, err := s.api.UploadFileContext(ctx, slack.UploadFileParameters{
		Filename: v.ID + ".sql", Title: "The statement, whole", Content: text, FileSize: len(text), SnippetType: "sql",
		Channel: at.channel, ThreadTimestamp: at.ts,
	})
	if err != nil {
		s.config.Logger.Error("attaching a statement", "approval", v.ID, "err", err)
	}
}

// reply writes into a message's thread, and shows that in the channel if it is
// to be seen.
func (s *Slack) reply(ctx context.Context, at place, loud bool, parts ...slack.RichTextSectionElement) error {
	options := []slack.MsgOption{slack.MsgOptionTS(at.ts), slack.MsgOptionText("There is news of a request.", true), slack.MsgOptionBlocks(paragraph(parts...))}
	if loud {
		options = append(options, slack.MsgOptionBroadcast())
	}
	_, _, err := s.api.PostMessageContext(ctx, at.channel, options...)
	return err
}

// tooMuch are Slack's words for a message that it does not take as it is.
var tooMuch = []string{"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"}

// is reports whether Slack said one of these.
func is(err error, words ...string) bool {
	var said slack.SlackErrorResponse
	return errors.As(err, &said) && slices.Contains(words, said.Err)
}

// problem tells the outbox when to come again. What an operator can mend, such
// as a channel that the app is not in or a token, is tried again; a message that
// Slack does not take is not.
func problem(err error) error {
	var limited *slack.RateLimitedError
	if errors.As(err, &limited) {
		return &approvals.RetryAfter{Err: err, After: limited.RetryAfter}
	}
	if is(err, tooMuch...) {
		return approvals.Permanent(err)
	}
	return err
}
