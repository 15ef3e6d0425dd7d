package slacktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// What Socket Mode promises and wants.
const (
	ackWithin = 3 * time.Second
	ackLimit  = 20 << 10 // an acknowledgement of so many bytes is dropped
	pingEvery = 5 * time.Second
)

// A socket is one connection of an app.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex // serializes writing
}

func (c *socket) send(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.WriteJSON(v)
}

// An envelope carries a click until it is acknowledged.
type envelope struct {
	id      string
	payload json.RawMessage
	view    string // the modal that was sent
	timer   *time.Timer
	answer  chan json.RawMessage // what the acknowledgement brings, buffered
}

func (s *Server) openConnection(url.Values) (map[string]any, string) {
	if s.refuseApp {
		return nil, "invalid_auth"
	}
	return map[string]any{"url": "ws" + strings.TrimPrefix(s.URL(), "http") + "ws"}, ""
}

// serveSocket speaks Socket Mode: hello, pings, envelopes, and reads what is
// acknowledged (https://docs.slack.dev/apis/events-api/using-socket-mode).
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.tb.Errorf("slacktest: opening a socket: %v", err)
		return
	}
	c := &socket{conn: conn}
	defer conn.Close()
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.sockets = append(s.sockets, c)
	n := len(s.sockets)
	s.background.Add(1)
	s.mu.Unlock()
	defer s.background.Done()
	done := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { c.ping(done) })
	defer pings.Wait()
	defer close(done)
	defer s.closed(c)
	hello := map[string]any{"type": "hello", "num_connections": n, "connection_info": map[string]any{"app_id": App}}
	if c.send(hello) != nil {
		return
	}
	s.mu.Lock()
	s.opened++
	s.change()
	s.mu.Unlock()
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		s.acknowledged(text)
	}
}

// ping keeps a client from taking the connection for dead.
func (c *socket) ping(done <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		// A client that has gone is noticed by whoever reads.
		if c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingEvery)) != nil {
			return
		}
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

func (s *Server) closed(c *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = slices.DeleteFunc(s.sockets, func(o *socket) bool { return o == c })
	s.change()
}

// acknowledged takes an acknowledgement.
func (s *Server) acknowledged(text []byte) {
	var ack struct {
		ID      string          `json:"envelope_id"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(text, &ack); err != nil {
		s.tb.Errorf("slacktest: an acknowledgement that is no JSON: %v", err)
		return
	}
	if len(text) >= ackLimit {
		return // as Slack does, without a word
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.unacked[ack.ID]
	if !ok {
		return // of a duplicate
	}
	delete(s.unacked, ack.ID)
	e.timer.Stop()
	e.answer <- ack.Payload
	s.close(e.view, ack.Payload)
}

// deliver sends an envelope as the faults have it, and returns it.
func (s *Server) deliver(payload []byte, view string) *envelope {
	s.mu.Lock()
	e := &envelope{id: fmt.Sprintf("env-%d", s.next()), payload: payload, view: view, answer: make(chan json.RawMessage, 1)}
	s.unacked[e.id] = e
	f := &s.faults
	delay, copies := f.Delay, 1
	switch {
	case f.Drop > 0:
		f.Drop--
		copies = 0
	case f.Duplicate > 0:
		f.Duplicate--
		copies = 2
	}
	e.timer = time.AfterFunc(ackWithin+delay, func() { s.unacknowledged(e, copies == 0) })
	batch := []*envelope{e}
	switch {
	case copies == 0:
		batch = nil
	case f.Reorder && s.held == nil:
		s.held, batch = e, nil
		f.Reorder = false
	case s.held != nil:
		batch = append(batch, s.held)
		s.held = nil
	}
	s.mu.Unlock()
	for range copies {
		for _, e := range batch {
			s.background.Go(func() { time.Sleep(delay); s.send(e) })
		}
	}
	return e
}

// send writes an envelope to one of the connections, the newest: Slack chooses
// any.
func (s *Server) send(e *envelope) {
	s.mu.Lock()
	var c *socket
	if n := len(s.sockets); n > 0 {
		c = s.sockets[n-1]
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	// A connection that breaks here leaves the envelope unacknowledged, which is
	// redelivered.
	_ = c.send(map[string]any{"type": "interactive", "envelope_id": e.id, "payload": e.payload, "accepts_response_payload": true})
}

// unacknowledged is what happens to an envelope that nobody took in time.
func (s *Server) unacknowledged(e *envelope, lost bool) {
	s.mu.Lock()
	_, waiting := s.unacked[e.id]
	delete(s.unacked, e.id)
	stopped := s.stopped
	s.change()
	s.mu.Unlock()
	if waiting && !lost && !stopped {
		s.tb.Errorf("slacktest: envelope %s was not acknowledged within %s", e.id, ackWithin)
	}
	close(e.answer)
}

// Redeliver sends the envelope of an earlier click again, as Slack does when
// an acknowledgement was lost.
func (s *Server) Redeliver(c *Click) {
	s.send(c.envelope)
}

// Disconnect asks every connection to come again, as Slack does now and then.
func (s *Server) Disconnect(reason string) {
	for _, c := range s.connections() {
		_ = c.send(map[string]any{"type": "disconnect", "reason": reason})
	}
}

// Cut breaks every connection without a word.
func (s *Server) Cut() {
	for _, c := range s.connections() {
		c.conn.Close()
	}
}

func (s *Server) connections() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sockets)
}

// Connected is how many connections there are.
func (s *Server) Connected() int { return len(s.connections()) }

// Opened is how many there have been since the start.
func (s *Server) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}
