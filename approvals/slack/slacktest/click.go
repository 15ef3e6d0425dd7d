package slacktest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Click is something that a user did, on its way to the app.
type Click struct {
	At       time.Time
	server   *Server
	envelope *envelope
	status   int
	body     []byte
}

// Click presses the button of a message, by its action_id, for a user.
func (s *Server) Click(user, channel, ts, action string) *Click {
	s.tb.Helper()
	s.mu.Lock()
	m := s.message(channel, ts)
	s.mu.Unlock()
	if m == nil {
		s.tb.Fatalf("slacktest: there is no message %s in %s to click on", ts, channel)
	}
	b, ok := m.Button(action)
	if !ok {
		s.tb.Fatalf("slacktest: the message has no button %s:\n%s", action, m.Render())
	}
	return s.Interact(s.ClickPayload(user, channel, ts, b))
}

// ClickPayload is what Slack tells an app of a click
// (https://docs.slack.dev/reference/interaction-payloads/block_actions-payload).
func (s *Server) ClickPayload(user, channel, ts string, button Block) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	now := time.Now()
	id := fmt.Sprintf("%d.%s", s.next(), u.ID)
	s.triggers[id] = trigger{user: user, at: now}
	return map[string]any{
		"type": "block_actions", "api_app_id": App, "token": "legacy", "trigger_id": id,
		"team": map[string]any{"id": Team, "domain": "test"},
		"user": map[string]any{"id": user, "username": u.Name, "name": u.Name, "team_id": teamOf(u)},
		"container": map[string]any{
			"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": false,
		},
		"channel": map[string]any{"id": channel, "name": "approvals"},
		"message": map[string]any{"type": "message", "ts": ts},
		"state":   map[string]any{"values": map[string]any{}},
		"actions": []any{map[string]any{
			"type": "button", "action_id": button["action_id"], "block_id": "b1", "value": button["value"], "text": button["text"],
			"action_ts": fmt.Sprintf("%d.%06d", now.Unix(), s.next()),
		}},
		"response_url": s.URL() + "response/" + id,
	}
}

// Submit fills in a modal and sends it: values has what was typed, by
// action_id.
func (s *Server) Submit(v View, values map[string]string) *Click {
	s.tb.Helper()
	return s.Interact(s.SubmitPayload(v, values))
}

// SubmitPayload is what Slack tells an app of a modal that was sent
// (https://docs.slack.dev/reference/interaction-payloads/view-interactions-payload).
func (s *Server) SubmitPayload(v View, values map[string]string) map[string]any {
	state := map[string]any{}
	for _, b := range list(v.Body["blocks"]) {
		if b.String("type") != "input" {
			continue
		}
		e, _ := b["element"].(map[string]any)
		action := Block(e).String("action_id")
		state[b.String("block_id")] = map[string]any{action: map[string]any{"type": "plain_text_input", "value": values[action]}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[v.User]
	view := maps.Clone(map[string]any(v.Body))
	view["id"], view["team_id"], view["app_id"], view["state"] = v.ID, Team, App, map[string]any{"values": state}
	return map[string]any{
		"type": "view_submission", "api_app_id": App, "token": "legacy",
		"team": map[string]any{"id": Team, "domain": "test"},
		"user": map[string]any{"id": u.ID, "username": u.Name, "name": u.Name, "team_id": teamOf(u)},
		"view": view,
	}
}

// Interact sends a payload to the app, over Socket Mode or as a signed
// callback.
func (s *Server) Interact(payload map[string]any) *Click {
	s.tb.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		s.tb.Fatal(err)
	}
	view := ""
	if v, ok := payload["view"].(map[string]any); ok {
		view = Block(v).String("id")
	}
	c := &Click{At: time.Now(), server: s}
	s.mu.Lock()
	callback := s.callback
	s.mu.Unlock()
	if callback == "" {
		c.envelope = s.deliver(text, view)
		return c
	}
	body := []byte(url.Values{"payload": {string(text)}}.Encode())
	c.status, c.body = s.Post(Request(callback, body, time.Now()))
	if took := time.Since(c.At); took > ackWithin {
		s.tb.Errorf("slacktest: a callback was answered after %s", took)
	}
	if c.status == http.StatusOK {
		s.mu.Lock()
		s.close(view, c.body)
		s.mu.Unlock()
	}
	return c
}

// close closes a modal that was sent, unless the answer has something against
// it. The caller holds the lock.
func (s *Server) close(view string, answer []byte) {
	var said struct {
		Action string `json:"response_action"`
	}
	if len(answer) > 0 && json.Unmarshal(answer, &said) != nil {
		s.tb.Errorf("slacktest: a click was answered with %q", answer)
	}
	if said.Action != "errors" {
		delete(s.views, view)
	}
	s.change()
}

// Post sends a callback of any shape and returns what came back.
func (s *Server) Post(r *http.Request) (int, []byte) {
	s.tb.Helper()
	client := &http.Client{Timeout: waitLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		s.tb.Fatalf("slacktest: posting a callback: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatalf("slacktest: reading the answer to a callback: %v", err)
	}
	return resp.StatusCode, body
}

// Request is a callback as Slack sends it: the form, and its signature with
// the time (https://docs.slack.dev/authentication/verifying-requests-from-slack).
func Request(to string, body []byte, at time.Time) *http.Request {
	r, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", Sign(SigningSecret, stamp, body))
	return r
}

// Sign is the signature of a callback.
func Sign(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// Acknowledged waits for the app's answer and reports whether the app took the
// click, with what it said. It is to be called once.
func (c *Click) Acknowledged() (json.RawMessage, bool) {
	c.server.tb.Helper()
	if c.envelope == nil {
		return c.body, c.status == http.StatusOK
	}
	select {
	case answer, ok := <-c.envelope.answer:
		return answer, ok
	case <-time.After(waitLimit):
		c.server.tb.Fatal("slacktest: a click was neither acknowledged nor given up")
		return nil, false
	}
}

// Status is what a callback was answered with.
func (c *Click) Status() int { return c.status }
