// Package slacktest is a Slack for tests: the Web API, Socket Mode and signed
// callbacks over HTTP, on loopback, good enough that slack-go talks to it. It
// stands on slack-go's own test server, each of whose routes it replaces.
//
// It keeps what a workspace keeps (users, channels, messages, threads, files,
// modals) and enforces what Slack's pages and experience say of its limits:
//
//   - 50 blocks in a message and 100 in a modal; 3,000 characters in a text,
//     150 in a header, 75 on a button, 2,000 in its value, 255 in an action_id
//     or block_id, 300 in a confirmation; 10 elements in a context, 25 in a row
//     of actions (https://docs.slack.dev/reference/block-kit/blocks)
//   - 13,200 characters in all blocks together (msg_blocks_too_long; no page
//     says so, slackapi/bolt-js#2509 does)
//   - one chat.postMessage in a second and channel, if asked for
//     ([Server.LimitRate]): HTTP 429 with Retry-After
//   - a click has to be acknowledged within 3 s, by less than 20 KB; a trigger_id
//     is good once and for 3 s (https://docs.slack.dev/interactivity/handling-user-interaction)
//
// A test in which an acknowledgement comes late, or a message is over a limit,
// fails. Envelopes can be dropped, delayed, duplicated and reordered, and
// connections cut: see [Faults].
package slacktest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack/slacktest"
)

// What an app is given by this workspace. They open nothing else.
const (
	AppToken      = "xapp-test"
	BotToken      = "xoxb-test"
	SigningSecret = "5fd1b3c6b2a04f0e9d1c7a8b"
	Team          = "T0TEAM"
	App           = "A0APP"
	Bot           = "U0BOT"
)

// A User of the workspace, or a stranger in a shared channel.
type User struct {
	ID    string
	Name  string
	Email string
	Team  string // empty for this workspace

	Deleted, Bot, Restricted, UltraRestricted, Stranger bool
}

// A Message is one in a channel, or an ephemeral one that a single user sees.
type Message struct {
	Channel   string
	TS        string
	Thread    string // the ts of its parent
	Broadcast bool   // of a thread, but shown in the channel as well
	To        string // the user who sees an ephemeral message
	Text      string
	Blocks    []Block
	Edits     int
}

// A File that was uploaded and shared.
type File struct {
	ID, Name, Title, Channel, Thread string
	Content                          []byte
}

// A View is a modal that a user has open.
type View struct {
	ID   string
	User string
	Body Block
}

// Faults are what the network does to the next envelopes.
type Faults struct {
	Drop      int           // so many are lost
	Duplicate int           // so many are delivered twice
	Reorder   bool          // the next one is delivered after the one behind it
	Delay     time.Duration // each waits so long
}

// A Server is one workspace. It is safe for concurrent use.
type Server struct {
	tb   testing.TB
	http *slacktest.Server

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	users      map[string]User
	channels   map[string]bool
	names      map[string]string // of channels, with their #
	messages   []*Message
	files      []*File
	views      map[string]View
	triggers   map[string]trigger
	calls      map[string]int
	failures   map[string][]string
	posted     map[string]time.Time // channel → its last message
	rate       bool
	scopes     []string // of the bot's token; nil for all
	refuseApp  bool
	faults     Faults
	held       *envelope
	unacked    map[string]*envelope
	sockets    []*socket
	opened     int    // connections since the start
	callback   string // where clicks are posted to, empty for Socket Mode
	serial     int
	background sync.WaitGroup
	stopped    bool
}

type trigger struct {
	user string
	at   time.Time
}

// New starts a workspace that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{
		tb: tb, changed: make(chan struct{}), users: map[string]User{}, channels: map[string]bool{}, names: map[string]string{}, views: map[string]View{},
		triggers: map[string]trigger{}, calls: map[string]int{}, failures: map[string][]string{}, posted: map[string]time.Time{},
		unacked: map[string]*envelope{},
	}
	s.http = slacktest.NewTestServer(s.bind)
	s.http.Start()
	tb.Cleanup(s.stop)
	return s
}

func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	for _, e := range s.unacked {
		e.timer.Stop()
	}
	sockets := slices.Clone(s.sockets)
	s.mu.Unlock()
	for _, c := range sockets {
		c.conn.Close()
	}
	s.http.Stop()
	s.background.Wait()
}

// URL is the base of the Web API, with a slash at its end.
func (s *Server) URL() string { return s.http.GetAPIURL() }

// AddUser adds a user, or replaces the one of that ID.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.ID] = u
}

// AddChannel adds channels by their IDs.
func (s *Server) AddChannel(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.channels[id] = true
	}
}

// NameChannel gives a channel a name, by which it can be posted to and nothing
// else.
func (s *Server) NameChannel(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[id], s.names["#"+name] = true, id
}

// Grant makes the bot's token good for these scopes alone.
func (s *Server) Grant(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = append([]string{}, scopes...)
}

// LimitRate makes chat.postMessage refuse more than one message in a second
// and channel.
func (s *Server) LimitRate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = true
}

// RefuseApp makes apps.connections.open answer that the app's token is not
// good, or takes that back.
func (s *Server) RefuseApp(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseApp = refuse
}

// Fail makes the next calls of a method answer these errors, one each.
func (s *Server) Fail(method string, errs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[method] = append(s.failures[method], errs...)
}

// Break sets what happens to the next envelopes.
func (s *Server) Break(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// PostTo makes clicks signed callbacks to this address, no envelopes.
func (s *Server) PostTo(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callback = url
}

// Calls is how often a method was called.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Messages are those of a channel, without its threads but for what was
// broadcast from them.
func (s *Server) Messages(channel string) []Message {
	return s.find(func(m *Message) bool {
		return m.Channel == channel && m.To == "" && (m.Thread == "" || m.Broadcast)
	})
}

// Thread are the answers to a message.
func (s *Server) Thread(channel, ts string) []Message {
	return s.find(func(m *Message) bool { return m.Channel == channel && m.Thread == ts && m.To == "" })
}

// Whispers are the ephemeral messages to a user.
func (s *Server) Whispers(user string) []Message {
	return s.find(func(m *Message) bool { return m.To == user })
}

func (s *Server) find(of func(*Message) bool) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Message
	for _, m := range s.messages {
		if of(m) {
			found = append(found, *m)
		}
	}
	return found
}

// Files are all that were shared.
func (s *Server) Files() []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []File
	for _, f := range s.files {
		if f.Channel != "" {
			files = append(files, *f)
		}
	}
	return files
}

// Views are the modals that a user has open.
func (s *Server) Views(user string) []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	var views []View
	for _, id := range slices.Sorted(maps.Keys(s.views)) {
		if s.views[id].User == user {
			views = append(views, s.views[id])
		}
	}
	return views
}

// Delete deletes a message, as a moderator may.
func (s *Server) Delete(channel, ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.DeleteFunc(s.messages, func(m *Message) bool { return m.Channel == channel && m.TS == ts })
	s.change()
}

// waitLimit is longer than any machine takes to get something done.
const waitLimit = time.Minute

// Wait returns once ok does, and fails the test if it never does. ok is asked
// again whenever anything changes here.
func (s *Server) Wait(what string, ok func() bool) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.tb.Fatalf("slacktest: waited in vain for: %s", what)
		}
	}
}

// change tells who waits. The caller holds the lock.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// next numbers things. The caller holds the lock.
func (s *Server) next() int {
	s.serial++
	return s.serial
}

func (s *Server) message(channel, ts string) *Message {
	i := slices.IndexFunc(s.messages, func(m *Message) bool { return m.Channel == channel && m.TS == ts && m.To == "" })
	if i < 0 {
		return nil
	}
	return s.messages[i]
}

// A Block is a block, or anything in one, as it was sent.
type Block map[string]any

// parseBlocks reads what a message's blocks parameter holds.
func parseBlocks(text string) ([]Block, error) {
	if text == "" {
		return nil, nil
	}
	var blocks []Block
	if err := json.Unmarshal([]byte(text), &blocks); err != nil {
		return nil, fmt.Errorf("reading blocks: %w", err)
	}
	return blocks, nil
}

// Of are the parts of one kind ("button", "rich_text_preformatted", …), in
// order, however deep they lie.
func (b Block) Of(kind string) []Block {
	var found []Block
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if v["type"] == kind {
				found = append(found, v)
			}
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(v[key])
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(map[string]any(b))
	return found
}

// Of are the parts of a message of one kind.
func (m Message) Of(kind string) []Block {
	var found []Block
	for _, b := range m.Blocks {
		found = append(found, b.Of(kind)...)
	}
	return found
}

// Button is the button of a message with an action_id.
func (m Message) Button(action string) (Block, bool) {
	for _, b := range m.Of("button") {
		if b["action_id"] == action {
			return b, true
		}
	}
	return nil, false
}

// String is a text below a key, "" if there is none.
func (b Block) String(key string) string {
	s, _ := b[key].(string)
	return s
}
