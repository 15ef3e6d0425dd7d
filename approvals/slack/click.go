package slack

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"querywarden/approvals"
	"querywarden/policy"
)

// An action is what a button does.
type action string

const (
	approve     action = "approve"
	deny        action = "deny"
	acknowledge action = "acknowledge"
	open        action = "open" // a link, of which Slack tells all the same
)

// A click is a button that was pressed, or a modal that was sent.
type click struct {
	key    key // of the envelope; zero for a callback, whose key was noted before
	at     time.Time
	team   string
	user   string
	home   string // the user's workspace
	action action
	id     string // of the request
	short  string // of its digest
	// channel and message are where the button is; trigger opens a modal for
	// three seconds.
	channel, message, trigger string
	// typed means a modal was sent, with a reason in it.
	typed  bool
	reason string

	link approvals.Link // of the account, once it is known
}

const (
	reasonBlock  = "reason"
	reasonAction = "text"
	reasonLimit  = 300 // characters that a modal takes
	idLimit      = 64  // more than any ID has
)

var errNotOurs = errors.New("reading a click: it is on nothing that was sent")

// readClick takes from what Slack says what is needed of it, and refuses what
// can be from no message or modal of ours.
func readClick(cb *slack.InteractionCallback) (click, error) {
	c := click{team: cb.Team.ID, user: cb.User.ID, home: cb.User.TeamID}
	for _, id := range []string{c.team, c.user, c.home, cb.Container.ChannelID, cb.Container.MessageTs} {
		if len(id) > idLimit {
			return click{}, errNotOurs
		}
	}
	if c.team == "" || c.user == "" {
		return click{}, errNotOurs
	}
	switch cb.Type {
	case slack.InteractionTypeBlockActions:
		actions := cb.ActionCallback.BlockActions
		if len(actions) != 1 || actions[0] == nil || len(cb.ActionCallback.AttachmentActions) != 0 {
			return c, errNotOurs
		}
		c.action, c.channel, c.message, c.trigger = action(actions[0].ActionID), cb.Container.ChannelID, cb.Container.MessageTs, cb.TriggerID
		if c.action == open {
			return c, nil
		}
		return c, c.setTarget(actions[0].Value)
	case slack.InteractionTypeViewSubmission:
		var m metadata
		if err := json.Unmarshal([]byte(cb.View.PrivateMetadata), &m); err != nil || cb.View.State == nil || len(m.Channel) > idLimit || len(m.Message) > idLimit {
			return c, errNotOurs
		}
		c.action, c.channel, c.message, c.typed = action(cb.View.CallbackID), m.Channel, m.Message, true
		c.reason = strings.TrimSpace(cb.View.State.Values[reasonBlock][reasonAction].Value)
		return c, c.setTarget(m.Target)
	default:
		return c, errNotOurs
	}
}

// metadata is what a modal carries: the button that opened it.
type metadata struct {
	Target  string `json:"target"`
	Channel string `json:"channel"`
	Message string `json:"message"`
}

func target(id, short string) string { return id + ":" + short }

// setTarget reads what a button carries, "id:short".
func (c *click) setTarget(value string) error {
	id, short, ok := strings.Cut(value, ":")
	raw, err := hex.DecodeString(short)
	if !ok || err != nil || len(raw) != 8 || !strings.HasPrefix(id, "apr_") || len(id) > idLimit {
		return errNotOurs
	}
	for _, r := range id {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			return errNotOurs
		}
	}
	switch c.action {
	case approve, deny, acknowledge:
	default:
		return errNotOurs
	}
	c.id, c.short = id, short
	return nil
}

// complaint is what Slack is answered to show in the modal, nil if there is
// nothing wrong in it.
func (c *click) complaint() any {
	say := func(what string) any {
		return map[string]any{"response_action": "errors", "errors": map[string]string{reasonBlock: what}}
	}
	switch {
	case !c.typed:
		return nil
	case c.reason == "" && c.action != acknowledge:
		return say("Say why: it is recorded, and shown to whoever asked.")
	case utf8.RuneCountInString(c.reason) > reasonLimit:
		return say(fmt.Sprintf("At most %d characters.", reasonLimit))
	default:
		return nil
	}
}

// work does what a click asks for, and tells the one who clicked where it does
// not.
func (s *Slack) work(ctx context.Context, c click) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if c.action == open {
		return
	}
	// Who it was is asked while it is noted: both take their time.
	first, noting := true, error(nil)
	var noted sync.WaitGroup
	if c.key != (key{}) {
		noted.Go(func() { first, noting = s.first(ctx, c.key) })
	}
	code := s.account(ctx, &c)
	noted.Wait()
	switch {
	case noting != nil:
		s.config.Logger.Error("taking a click", "err", noting)
		return
	case !first:
		return // delivered again, and done already
	}
	var err error
	if code == "" {
		code, err = s.decide(ctx, &c)
	}
	switch {
	case err == nil && code == "":
		return
	case code != "":
		s.refuse(ctx, c, code)
		s.answer(ctx, c, code)
	case errors.Is(err, approvals.ErrNotPending), errors.Is(err, approvals.ErrNotOpen), errors.Is(err, approvals.ErrNotClaimable):
		s.tooLate(ctx, c)
	default:
		s.config.Logger.Error("working on a click", "approval", c.id, "user", c.user, "err", err)
		s.whisper(ctx, c, "That did not work, and nothing was decided. Try again, or open the console.", s.openButton(c.id))
	}
}

// decide does what somebody wants who is known. A code says why not. The store
// checks all of it again; here nobody is asked for a reason in vain.
func (s *Slack) decide(ctx context.Context, c *click) (Code, error) {
	voter := approvals.Voter{Identity: c.link.Identity, Groups: c.link.Groups, Via: approvals.ViaSlack}
	r, err := s.store.Get(ctx, c.id)
	if err != nil {
		return refusal(err)
	}
	if c.short != approvals.Short(r.Digest) {
		return CodeStatement, nil
	}
	switch c.action {
	case deny, approve:
		if err := r.MayDecide(voter); err != nil {
			return refusal(err)
		}
		if r.State != approvals.Pending && r.State != approvals.Approved {
			return "", approvals.ErrNotPending
		}
		if c.action == approve {
			return s.approve(ctx, c, &r, voter)
		}
		if !c.typed {
			return "", s.ask(ctx, c)
		}
		_, err = s.store.Vote(ctx, c.id, c.short, voter, false, c.reason)
	case acknowledge:
		if s.old(c) {
			return CodeOldLink, nil
		}
		if !c.typed {
			return "", s.ask(ctx, c)
		}
		_, err = s.store.Acknowledge(ctx, c.id, voter, c.reason)
	default:
		return CodeMalformed, nil
	}
	return refusal(err)
}

// approve is a yes. What it takes is the rule's to say.
func (s *Slack) approve(ctx context.Context, c *click, r *approvals.Request, voter approvals.Voter) (Code, error) {
	switch {
	case !approvable(r.View()):
		return CodeUnreadable, nil
	case r.Approval.Confirm != policy.BySlack:
		// Not a refusal: that is how this rule works.
		s.answer(ctx, *c, CodeSignIn)
		return "", nil
	case s.old(c):
		return CodeOldLink, nil
	case r.Approval.NeedReason && !c.typed:
		return "", s.ask(ctx, c)
	}
	_, err := s.store.Vote(ctx, c.id, c.short, voter, true, c.reason)
	return refusal(err)
}

func refusal(err error) (Code, error) {
	if code := codeOf(err); code != "" {
		return code, nil
	}
	return "", err
}

// old reports whether the groups of a link are too old to decide by.
func (s *Slack) old(c *click) bool {
	age := s.config.Now().Sub(c.link.At)
	return age > s.config.LinkAge || age < 0
}

// account finds out who an account is, and says why it does not count.
func (s *Slack) account(ctx context.Context, c *click) Code {
	team, _ := s.team.Load().(string)
	if team == "" || c.team != team || c.home != "" && c.home != team {
		return CodeTeam
	}
	u, err := s.api.GetUserInfoContext(ctx, c.user)
	if err != nil || u.ID != c.user {
		s.config.Logger.Warn("asking Slack about an account", "user", c.user, "err", err)
		return CodeNoAccount
	}
	switch {
	case u.Deleted:
		return CodeDeactivated
	case u.IsBot, u.IsWorkflowBot, u.IsConnectorBot, u.ID == "USLACKBOT":
		return CodeBot
	case u.IsStranger:
		return CodeStranger
	case u.IsRestricted, u.IsUltraRestricted:
		return CodeGuest
	case u.TeamID != team:
		return CodeTeam
	}
	c.link, err = s.store.Linked(ctx, Provider, team, c.user)
	if errors.Is(err, approvals.ErrNotLinked) {
		return CodeUnlinked
	}
	if err != nil {
		s.config.Logger.Error("looking for a link", "err", err)
		return CodeNoAccount
	}
	// Whoever got somebody else to redeem their ticket has another address.
	if a, b := u.Profile.Email, c.link.Identity.Email; a != "" && b != "" && !strings.EqualFold(a, b) {
		return CodeAddress
	}
	if s.config.Revoked(c.link.Identity, c.link.At) {
		return CodeRevoked
	}
	return ""
}

// answer tells the one who clicked why not, and what next.
func (s *Slack) answer(ctx context.Context, c click, code Code) {
	switch code {
	case CodeUnlinked, CodeOldLink, CodeAddress, CodeRevoked:
		ticket, err := s.store.Ticket(ctx, Provider, c.team, c.user)
		if err != nil {
			s.config.Logger.Error("making a ticket", "err", err)
			return
		}
		s.whisper(ctx, c, code.sentence(), button(open, "", "Sign in").WithURL(s.linkURL(ticket)).WithStyle(slack.StylePrimary))
	case CodeSignIn, CodeUnreadable:
		s.whisper(ctx, c, code.sentence(), s.openButton(c.id).WithStyle(slack.StylePrimary))
	default:
		s.whisper(ctx, c, code.sentence(), nil)
	}
}

// tooLate tells somebody that others have decided. What they clicked on is
// brought up to date: it may be a message that was sent twice.
func (s *Slack) tooLate(ctx context.Context, c click) {
	s.whisper(ctx, c, "This request does not wait any more.", s.openButton(c.id))
	r, err := s.store.Get(ctx, c.id)
	if err == nil && c.message != "" {
		err = s.update(ctx, place{c.channel, c.message}, r.View())
	}
	if err != nil {
		s.config.Logger.Warn("bringing a message up to date", "approval", c.id, "err", err)
	}
}

// ask opens the modal for a reason.
func (s *Slack) ask(ctx context.Context, c *click) error {
	text, err := json.Marshal(metadata{target(c.id, c.short), c.channel, c.message})
	if err != nil {
		return fmt.Errorf("opening a modal: %w", err)
	}
	title, label, send := "Deny the request", "Why not?", "Deny"
	switch c.action {
	case approve:
		title, label, send = "Approve the request", "Why?", "Approve"
	case acknowledge:
		title, label, send = "Acknowledge", "A note, if there is something to say", "Acknowledge"
	default:
	}
	input := slack.NewPlainTextInputBlockElement(nil, reasonAction)
	input.Multiline, input.MaxLength = true, reasonLimit
	block := slack.NewInputBlock(reasonBlock, plain(label), nil, input)
	block.Optional = c.action == acknowledge
	_, err = s.api.OpenViewContext(ctx, c.trigger, slack.ModalViewRequest{
		Type: slack.VTModal, CallbackID: string(c.action), PrivateMetadata: string(text),
		Title: plain(title), Submit: plain(send), Close: plain("Cancel"), Blocks: slack.Blocks{BlockSet: []slack.Block{block}},
	})
	if err != nil {
		return fmt.Errorf("opening a modal: %w", err)
	}
	return nil
}

// whisper tells somebody something that nobody else sees.
func (s *Slack) whisper(ctx context.Context, c click, text string, b *slack.ButtonBlockElement) {
	blocks := []slack.Block{paragraph(say(text))}
	if b != nil {
		blocks = append(blocks, slack.NewActionBlock("", b))
	}
	_, err := s.api.PostEphemeralContext(ctx, c.channel, c.user, slack.MsgOptionText(text, true), slack.MsgOptionBlocks(blocks...))
	if err != nil {
		s.config.Logger.Warn("answering a click", "approval", c.id, "user", c.user, "err", err)
	}
}
