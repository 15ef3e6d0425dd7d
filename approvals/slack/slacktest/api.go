package slacktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack/slacktest"
)

// bind takes the routes before slack-go's test server does.
func (s *Server) bind(c slacktest.Customize) {
	for method, fn := range map[string]func(url.Values) (map[string]any, string){
		"auth.test":                    s.authTest,
		"users.info":                   s.usersInfo,
		"chat.postMessage":             s.postMessage,
		"chat.postEphemeral":           s.postEphemeral,
		"chat.update":                  s.update,
		"views.open":                   s.openView,
		"files.getUploadURLExternal":   s.uploadURL,
		"files.completeUploadExternal": s.completeUpload,
	} {
		c.Handle("/"+method, s.method(method, BotToken, fn))
	}
	c.Handle("/apps.connections.open", s.method("apps.connections.open", AppToken, s.openConnection))
	c.Handle("/upload/", s.upload)
	c.Handle("/ws", s.serveSocket)
	c.Handle("/", func(w http.ResponseWriter, r *http.Request) {
		s.tb.Errorf("slacktest: %s %s is not a method that this Slack has", r.Method, r.URL.Path)
		http.NotFound(w, r)
	})
}

// scopeOf is what a token has to be good for to call a method, empty where any
// will do.
func scopeOf(method string) string {
	switch method {
	case "chat.postMessage", "chat.postEphemeral", "chat.update":
		return "chat:write"
	case "files.getUploadURLExternal", "files.completeUploadExternal":
		return "files:write"
	case "users.info":
		return "users:read"
	default:
		return ""
	}
}

func (s *Server) granted(scope string) bool {
	return scope == "" || s.scopes == nil || slices.Contains(s.scopes, scope)
}

// method answers one method of the Web API. fn is called under the lock and
// returns the answer, or Slack's word for what is wrong.
func (s *Server) method(name, token string, fn func(url.Values) (map[string]any, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		args, sent, err := arguments(r)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return // the client has hung up
		}
		if err != nil {
			s.tb.Errorf("slacktest: %s: %v", name, err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.calls[name]++
		var answer map[string]any
		problem := ""
		switch next := s.failures[name]; {
		case sent != token:
			problem = "invalid_auth"
		case !s.granted(scopeOf(name)):
			problem = "missing_scope"
		case len(next) > 0:
			problem, s.failures[name] = next[0], next[1:]
		default:
			answer, problem = fn(args)
		}
		s.change()
		s.mu.Unlock()
		if wait, ok := strings.CutPrefix(problem, "ratelimited "); ok {
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if answer == nil {
			answer = map[string]any{}
		}
		answer["ok"] = problem == ""
		if problem != "" {
			answer["error"] = problem
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.tb.Errorf("slacktest: answering %s: %v", name, err)
		}
	}
}

// arguments reads what a call brings, as a form or as JSON, and its token.
func arguments(r *http.Request) (url.Values, string, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var body map[string]json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
			return nil, "", fmt.Errorf("reading JSON: %w", err)
		}
		args := url.Values{}
		for key, value := range body {
			text := ""
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			args.Set(key, text)
		}
		return args, token, nil
	}
	if err := r.ParseForm(); err != nil {
		return nil, "", fmt.Errorf("reading form: %w", err)
	}
	if token == "" {
		token = r.PostForm.Get("token")
	}
	return r.PostForm, token, nil
}

func (s *Server) authTest(url.Values) (map[string]any, string) {
	return map[string]any{"url": s.URL(), "team": "Test", "user": "querywarden", "team_id": Team, "user_id": Bot, "bot_id": "B0BOT"}, ""
}

func (s *Server) usersInfo(args url.Values) (map[string]any, string) {
	u, ok := s.users[args.Get("user")]
	if !ok {
		return nil, "user_not_found"
	}
	if !s.granted("users:read.email") {
		u.Email = ""
	}
	return map[string]any{"user": map[string]any{
		"id": u.ID, "team_id": teamOf(u), "name": u.Name, "real_name": u.Name, "deleted": u.Deleted, "is_bot": u.Bot,
		"is_app_user":   !u.Bot, // somebody whom the app may act for, which says nothing against them
		"is_restricted": u.Restricted, "is_ultra_restricted": u.UltraRestricted, "is_stranger": u.Stranger,
		"profile": map[string]any{"email": u.Email, "real_name": u.Name},
	}}, ""
}

func teamOf(u User) string {
	if u.Team == "" {
		return Team
	}
	return u.Team
}

// content reads what the three ways to write a message have in common.
func (s *Server) content(args url.Values) (*Message, string) {
	m := &Message{Channel: args.Get("channel"), Text: args.Get("text"), Thread: args.Get("thread_ts"), Broadcast: args.Get("reply_broadcast") == "true"}
	if !s.channels[m.Channel] {
		return nil, "channel_not_found"
	}
	var err error
	if m.Blocks, err = parseBlocks(args.Get("blocks")); err != nil {
		return nil, "invalid_blocks_format"
	}
	if m.Text == "" && len(m.Blocks) == 0 {
		return nil, "no_text"
	}
	if length(m.Text) > maxMessageText {
		return nil, "msg_too_long"
	}
	all, err := checkBlocks(m.Blocks, maxBlocks)
	if err != nil {
		s.tb.Errorf("slacktest: invalid_blocks: %v", err)
		return nil, "invalid_blocks"
	}
	if all > maxAll {
		s.tb.Errorf("slacktest: msg_blocks_too_long: %d characters", all)
		return nil, "msg_blocks_too_long"
	}
	return m, ""
}

func (s *Server) postMessage(args url.Values) (map[string]any, string) {
	if id, ok := s.names[args.Get("channel")]; ok {
		args.Set("channel", id)
	}
	m, problem := s.content(args)
	if problem != "" {
		return nil, problem
	}
	if m.Thread != "" && s.message(m.Channel, m.Thread) == nil {
		return nil, "thread_not_found"
	}
	now := time.Now()
	if last, ok := s.posted[m.Channel]; s.rate && ok && now.Sub(last) < time.Second {
		wait := math.Ceil((time.Second - now.Sub(last)).Seconds())
		return nil, "ratelimited " + strconv.Itoa(int(wait))
	}
	s.posted[m.Channel] = now
	m.TS = s.timestamp(now)
	s.messages = append(s.messages, m)
	return map[string]any{"channel": m.Channel, "ts": m.TS, "message": map[string]any{"text": m.Text}}, ""
}

func (s *Server) timestamp(now time.Time) string {
	return fmt.Sprintf("%d.%06d", now.Unix(), s.next())
}

func (s *Server) postEphemeral(args url.Values) (map[string]any, string) {
	m, problem := s.content(args)
	if problem != "" {
		return nil, problem
	}
	m.To = args.Get("user")
	if _, ok := s.users[m.To]; !ok {
		return nil, "user_not_in_channel"
	}
	m.TS = s.timestamp(time.Now())
	s.messages = append(s.messages, m)
	return map[string]any{"message_ts": m.TS}, ""
}

func (s *Server) update(args url.Values) (map[string]any, string) {
	m, problem := s.content(args)
	if problem != "" {
		return nil, problem
	}
	old := s.message(m.Channel, args.Get("ts"))
	if old == nil {
		return nil, "message_not_found"
	}
	old.Text, old.Blocks = m.Text, m.Blocks
	old.Edits++
	return map[string]any{"channel": old.Channel, "ts": old.TS, "text": old.Text}, ""
}

func (s *Server) openView(args url.Values) (map[string]any, string) {
	t, ok := s.triggers[args.Get("trigger_id")]
	delete(s.triggers, args.Get("trigger_id"))
	switch {
	case !ok:
		return nil, "exchanged_trigger_id"
	case time.Since(t.at) > ackWithin:
		return nil, "expired_trigger_id"
	}
	var body Block
	if err := json.Unmarshal([]byte(args.Get("view")), &body); err != nil {
		return nil, "invalid_arguments"
	}
	if err := checkModal(body); err != nil {
		s.tb.Errorf("slacktest: modal: %v", err)
		return nil, "invalid_arguments"
	}
	v := View{ID: fmt.Sprintf("V%d", s.next()), User: t.user, Body: body}
	s.views[v.ID] = v
	return map[string]any{"view": map[string]any{"id": v.ID, "type": "modal", "callback_id": body["callback_id"]}}, ""
}

func (s *Server) uploadURL(args url.Values) (map[string]any, string) {
	if n, err := strconv.Atoi(args.Get("length")); err != nil || n < 1 || args.Get("filename") == "" {
		return nil, "invalid_arguments"
	}
	f := &File{ID: fmt.Sprintf("F%d", s.next()), Name: args.Get("filename")}
	s.files = append(s.files, f)
	return map[string]any{"upload_url": s.URL() + "upload/" + f.ID, "file_id": f.ID}, ""
}

// upload takes the bytes of a file.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	part, _, err := r.FormFile("file")
	if err != nil {
		s.tb.Errorf("slacktest: upload: %v", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	content, err := io.ReadAll(part)
	if err != nil {
		s.tb.Errorf("slacktest: upload: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if "/upload/"+f.ID == r.URL.Path {
			f.Content = content
			if _, err := io.WriteString(w, `{"ok":true}`); err != nil {
				s.tb.Errorf("slacktest: answering an upload: %v", err)
			}
			return
		}
	}
	http.NotFound(w, r)
}

func (s *Server) completeUpload(args url.Values) (map[string]any, string) {
	var named []struct{ ID, Title string }
	if err := json.Unmarshal([]byte(args.Get("files")), &named); err != nil || len(named) == 0 {
		return nil, "invalid_arguments"
	}
	channel := args.Get("channel_id")
	if !s.channels[channel] {
		return nil, "channel_not_found"
	}
	for _, n := range named {
		found := false
		for _, f := range s.files {
			if f.ID == n.ID && f.Content != nil {
				f.Title, f.Channel, f.Thread, found = n.Title, channel, args.Get("thread_ts"), true
			}
		}
		if !found {
			return nil, "file_not_found"
		}
	}
	return map[string]any{"files": named}, ""
}
