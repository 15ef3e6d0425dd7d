package slacktest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// complaints is a test that takes down what is said against it.
type complaints struct {
	testing.TB
	said []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func client(s *Server) *slack.Client {
	return slack.New(BotToken, slack.OptionAppLevelToken(AppToken), slack.OptionAPIURL(s.URL()))
}

// TestLimits proves that what Slack refuses is refused here, and what is just
// within its limits is not.
func TestLimits(t *testing.T) {
	text := func(n int) string { return strings.Repeat("é", n) }
	button := func(label, value, id string) slack.Block {
		return slack.NewActionBlock("", slack.NewButtonBlockElement(id, value, slack.NewTextBlockObject(slack.PlainTextType, label, false, false)))
	}
	section := func(n int) slack.Block {
		return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text(n), false, false), nil, nil)
	}
	many := func(n int) []slack.Block {
		var blocks []slack.Block
		for range n {
			blocks = append(blocks, slack.NewDividerBlock())
		}
		return blocks
	}
	confirm := func(n int) slack.Block {
		b := slack.NewButtonBlockElement("a", "v", slack.NewTextBlockObject(slack.PlainTextType, "x", false, false))
		word := slack.NewTextBlockObject(slack.PlainTextType, "x", false, false)
		b.Confirm = slack.NewConfirmationBlockObject(word, slack.NewTextBlockObject(slack.PlainTextType, text(n), false, false), word, word)
		return slack.NewActionBlock("", b)
	}
	rich := func(n int) slack.Block {
		return slack.NewRichTextBlock("", slack.NewRichTextSection(slack.NewRichTextSectionTextElement(text(n), nil)))
	}
	for _, c := range []struct {
		name   string
		blocks []slack.Block
		want   string
	}{
		{"a text", []slack.Block{section(3000)}, ""},
		{"a long text", []slack.Block{section(3001)}, "invalid_blocks"},
		{"no text", []slack.Block{section(0)}, "invalid_blocks"},
		{"a rich text", []slack.Block{rich(3000)}, ""},
		{"a long rich text", []slack.Block{rich(3001)}, "invalid_blocks"},
		{"blocks", many(50), ""},
		{"many blocks", many(51), "invalid_blocks"},
		{"a button", []slack.Block{button(text(75), text(2000), text(255))}, ""},
		{"a long button", []slack.Block{button(text(76), "v", "a")}, "invalid_blocks"},
		{"a long value", []slack.Block{button("x", text(2001), "a")}, "invalid_blocks"},
		{"a long action_id", []slack.Block{button("x", "v", text(256))}, "invalid_blocks"},
		{"a confirmation", []slack.Block{confirm(300)}, ""},
		{"a long confirmation", []slack.Block{confirm(301)}, "invalid_blocks"},
		{"all together", []slack.Block{section(3000), section(3000), section(3000), section(3000), section(1200)}, ""},
		{"too much together", []slack.Block{section(3000), section(3000), section(3000), section(3000), section(1201)}, "msg_blocks_too_long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := &complaints{TB: t}
			s := New(tb)
			s.AddChannel("C1")
			_, _, err := client(s).PostMessageContext(t.Context(), "C1", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(c.blocks...))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want || (len(tb.said) > 0) != (c.want != "") {
				t.Errorf("%q, want %q; complained of %q", got, c.want, tb.said)
			}
		})
	}
}

func TestState(t *testing.T) {
	s := New(t)
	s.AddChannel("C1")
	s.AddUser(User{ID: "U1", Name: "olga", Email: "olga@example.com", Restricted: true})
	api, ctx := client(s), t.Context()
	u, err := api.GetUserInfoContext(ctx, "U1")
	if err != nil || u.Profile.Email != "olga@example.com" || !u.IsRestricted || u.IsBot || u.TeamID != Team {
		t.Fatalf("%+v, %v", u, err)
	}
	if _, err := api.GetUserInfoContext(ctx, "U2"); err == nil || err.Error() != "user_not_found" {
		t.Error(err)
	}
	_, ts, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("one", false))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("two", false), slack.MsgOptionTS(ts)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := api.UpdateMessageContext(ctx, "C1", ts, slack.MsgOptionText("three", false)); err != nil {
		t.Fatal(err)
	}
	if m, thread := s.Messages("C1"), s.Thread("C1", ts); len(m) != 1 || m[0].Text != "three" || m[0].Edits != 1 || len(thread) != 1 || thread[0].Text != "two" {
		t.Errorf("%+v, %+v", m, thread)
	}
	if _, err := api.UploadFileContext(ctx, slack.UploadFileParameters{Filename: "a.sql", Content: "SELECT 1", FileSize: 8, Title: "A", Channel: "C1", ThreadTimestamp: ts}); err != nil {
		t.Fatal(err)
	}
	if f := s.Files(); len(f) != 1 || string(f[0].Content) != "SELECT 1" || f[0].Thread != ts || f[0].Title != "A" {
		t.Errorf("%+v", f)
	}
	s.Delete("C1", ts)
	if _, _, _, err := api.UpdateMessageContext(ctx, "C1", ts, slack.MsgOptionText("four", false)); err == nil || err.Error() != "message_not_found" {
		t.Error(err)
	}
	if _, err := slack.New("xoxb-other", slack.OptionAPIURL(s.URL())).AuthTestContext(ctx); err == nil || err.Error() != "invalid_auth" {
		t.Error(err)
	}
	s.LimitRate()
	if _, _, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("five", false)); err == nil {
		t.Error("two messages within a second")
	} else if limited, ok := err.(*slack.RateLimitedError); !ok || limited.RetryAfter != time.Second {
		t.Error(err)
	}
}

// TestSocket clicks through slack-go's own Socket Mode client, with everything
// that may go wrong on the way.
func TestSocket(t *testing.T) {
	s := New(t)
	s.AddChannel("C1")
	s.AddUser(User{ID: "U1", Name: "olga"})
	api := client(s)
	sm := socketmode.New(api)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sm.RunContext(ctx) }()
	defer func() { stop(); <-done }()
	seen := make(chan string, 100)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-sm.Events:
				if e.Type == socketmode.EventTypeInteractive {
					cb := e.Data.(slack.InteractionCallback)
					var answer any
					if cb.Type == slack.InteractionTypeViewSubmission && cb.View.State.Values["reason"]["text"].Value == "" {
						answer = map[string]any{"response_action": "errors", "errors": map[string]string{"reason": "Say why."}}
					}
					if err := sm.AckCtx(ctx, e.Request.EnvelopeID, answer); err != nil {
						t.Error(err)
					}
					if len(cb.ActionCallback.BlockActions) > 0 {
						seen <- cb.ActionCallback.BlockActions[0].Value
					}
				}
			}
		}
	}()
	connected := func() bool { return s.Connected() == 1 }
	s.Wait("a connection", connected)
	value := func(v string) slack.MsgOption {
		return slack.MsgOptionBlocks(slack.NewActionBlock("", slack.NewButtonBlockElement("go", v, slack.NewTextBlockObject(slack.PlainTextType, "Go", false, false))))
	}
	post := func(v string) string {
		_, ts, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("x", false), value(v))
		if err != nil {
			t.Fatal(err)
		}
		return ts
	}
	one, two := post("one"), post("two")
	if _, ok := s.Click("U1", "C1", one, "go").Acknowledged(); !ok || <-seen != "one" {
		t.Error("a click was lost")
	}
	s.Break(Faults{Duplicate: 1})
	if _, ok := s.Click("U1", "C1", one, "go").Acknowledged(); !ok || <-seen != "one" || <-seen != "one" {
		t.Error("a click was not doubled")
	}
	s.Break(Faults{Reorder: true})
	first, second := s.Click("U1", "C1", one, "go"), s.Click("U1", "C1", two, "go")
	if _, ok := first.Acknowledged(); !ok {
		t.Error("the first")
	}
	if _, ok := second.Acknowledged(); !ok {
		t.Error("the second")
	}
	<-seen
	<-seen
	s.Disconnect("refresh_requested")
	s.Wait("another connection", func() bool { return s.Opened() == 2 && connected() })
	if _, ok := s.Click("U1", "C1", two, "go").Acknowledged(); !ok || <-seen != "two" {
		t.Error("a click after a reconnection was lost")
	}

	// A modal, whose answer may have something against what was typed.
	payload := s.ClickPayload("U1", "C1", one, Block{"action_id": "go", "value": "v"})
	modal := slack.ModalViewRequest{
		Type: slack.VTModal, Title: slack.NewTextBlockObject(slack.PlainTextType, "Why?", false, false), Submit: slack.NewTextBlockObject(slack.PlainTextType, "Go", false, false),
		Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock("reason", slack.NewTextBlockObject(slack.PlainTextType, "Reason", false, false), nil,
			slack.NewPlainTextInputBlockElement(nil, "text"))}},
	}
	if _, err := api.OpenViewContext(ctx, payload["trigger_id"].(string), modal); err != nil {
		t.Fatal(err)
	}
	if _, err := api.OpenViewContext(ctx, payload["trigger_id"].(string), modal); err == nil || err.Error() != "exchanged_trigger_id" {
		t.Errorf("a trigger was good twice: %v", err)
	}
	views := s.Views("U1")
	if len(views) != 1 {
		t.Fatalf("%+v", views)
	}
	if answer, ok := s.Submit(views[0], map[string]string{"text": ""}).Acknowledged(); !ok || !strings.Contains(string(answer), "Say why.") || len(s.Views("U1")) != 1 {
		t.Errorf("%s", answer)
	}
	if answer, ok := s.Submit(views[0], map[string]string{"text": "because"}).Acknowledged(); !ok || len(answer) > 0 || len(s.Views("U1")) != 0 {
		t.Errorf("%s", answer)
	}
}

// TestLate proves that an acknowledgement that is late, lost or too large fails
// the test, and that a click that Slack lost does not.
func TestLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		ack    []byte
		taken  bool
		said   int
	}{
		{name: "in time", ack: []byte(`{}`), taken: true},
		{name: "never", said: 1},
		{name: "too large", ack: []byte(`{"x":"` + strings.Repeat("x", ackLimit) + `"}`), said: 1},
		{name: "lost on the way", faults: Faults{Drop: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tb := &complaints{TB: t}
			s := New(tb)
			s.Break(c.faults)
			click := s.Interact(map[string]any{"type": "block_actions"})
			if c.ack != nil {
				text, err := json.Marshal(map[string]any{"envelope_id": click.envelope.id, "payload": json.RawMessage(c.ack)})
				if err != nil {
					t.Fatal(err)
				}
				s.acknowledged(text)
			}
			if _, ok := click.Acknowledged(); ok != c.taken {
				t.Errorf("taken: %v", ok)
			}
			if len(tb.said) != c.said {
				t.Errorf("complained of %q", tb.said)
			}
		})
	}
}

// TestCallback proves that a callback is signed as Slack's page has it: the
// secret, time, body and signature are those of its example.
func TestCallback(t *testing.T) {
	const body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	if got, want := Sign("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", []byte(body)), "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r := Request("http://127.0.0.1/", []byte(body), time.Now())
	v, err := slack.NewSecretsVerifier(r.Header, SigningSecret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := v.Ensure(); err != nil {
		t.Error(err)
	}
}
