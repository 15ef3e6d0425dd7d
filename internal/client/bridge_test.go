package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A program is what speaks stdio at one end of a bridge.
type program struct {
	t    *testing.T
	in   *io.PipeWriter
	out  chan string
	done chan error
	logs *strings.Builder
}

// bridged joins a program to a gateway that h plays.
func bridged(t *testing.T, h http.HandlerFunc) *program {
	t.Helper()
	g := gatewayAt(t, h)
	return run(t, g)
}

func run(t *testing.T, g *Gateway) *program {
	t.Helper()
	toBridge, in := io.Pipe()
	out, fromBridge := io.Pipe()
	p := &program{t: t, in: in, out: make(chan string, 100), done: make(chan error, 1), logs: &strings.Builder{}}
	b := NewBridge(g, fromBridge, slog.New(slog.NewTextHandler(p.logs, nil)))
	go func() {
		err := b.Run(context.Background(), toBridge)
		fromBridge.Close()
		p.done <- err
	}()
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.out <- lines.Text()
		}
		close(p.out)
	}()
	t.Cleanup(p.close)
	return p
}

func (p *program) close() {
	p.in.Close()
	select {
	case err := <-p.done:
		p.done <- nil
		if err != nil {
			p.t.Errorf("the bridge ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		p.t.Error("the bridge did not end")
	}
}

func (p *program) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) hear() string {
	p.t.Helper()
	line, ok := <-p.out
	if !ok {
		p.t.Fatal("the bridge has ended")
	}
	return line
}

// envelopeOf is what a gateway in a test reads of a message.
type envelopeOf struct {
	ID     json.RawMessage
	Method string
}

func read(t *testing.T, r *http.Request) (envelopeOf, string) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	var e envelopeOf
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		t.Error(err)
	}
	return e, string(body)
}

// TestBridgeBytes passes messages as they are, in both eras, with what the
// transport wants beside them.
func TestBridgeBytes(t *testing.T) {
	const modern = `{ "jsonrpc":"2.0", "id":"a b",  "method":"tools/call","params":{"name":"qüery","arguments":{"n":12345678901234567890, "x":"\u00e9<>"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}} }`
	var got string
	var header http.Header
	p := bridged(t, func(w http.ResponseWriter, r *http.Request) {
		_, got = read(t, r)
		header = r.Header.Clone()
		reply("text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\ndata: {\"jsonrpc\":\"2.0\", \"id\":\"a b\",\n"+"data:  \"result\":{\"n\":12345678901234567890}}\n\n")(w, r)
	})
	p.say(modern)
	if line := p.hear(); line != `{"jsonrpc":"2.0","method":"notifications/progress","params":{}}` {
		t.Errorf("heard %s", line)
	}
	if line := p.hear(); line != `{"jsonrpc":"2.0","id":"a b","result":{"n":12345678901234567890}}` {
		t.Errorf("heard %s", line)
	}
	if got != modern {
		t.Errorf("the gateway got\n%s\nwant\n%s", got, modern)
	}
	for name, want := range map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "=?base64?ccO8ZXJ5?=", "Mcp-Session-Id": "", "Authorization": "Bearer token-1"} {
		if header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, header.Get(name), want)
		}
	}
}

// legacy is a gateway with sessions that it can forget.
type legacy struct {
	t *testing.T

	mu       sync.Mutex
	sessions int
	open     string
	ended    []string
	seen     []string
	hold     chan struct{} // a tools/call waits for it, if not nil
	entered  chan struct{}
}

func (l *legacy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	if r.Method == http.MethodDelete {
		l.ended = append(l.ended, r.Header.Get("Mcp-Session-Id"))
		l.mu.Unlock()
		return
	}
	e, _ := read(l.t, r)
	l.seen = append(l.seen, e.Method)
	session := r.Header.Get("Mcp-Session-Id")
	if e.Method == "initialize" {
		l.sessions++
		l.open = fmt.Sprintf("session-%d", l.sessions)
		w.Header().Set("Mcp-Session-Id", l.open)
		l.mu.Unlock()
		reply("application/json", `{"jsonrpc":"2.0","id":`+string(e.ID)+`,"result":{"protocolVersion":"2025-06-18"}}`)(w, r)
		return
	}
	if session != l.open || r.Header.Get("Mcp-Protocol-Version") != "2025-06-18" {
		l.mu.Unlock()
		http.Error(w, "there is no such session", http.StatusNotFound)
		return
	}
	hold := l.hold
	l.mu.Unlock()
	if len(e.ID) == 0 {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if hold != nil && e.Method == "tools/call" {
		l.entered <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	reply("application/json", `{"jsonrpc":"2.0","id":`+string(e.ID)+`,"result":{}}`)(w, r)
}

// TestBridgeSession opens a session, has the gateway forget it, and ends it.
func TestBridgeSession(t *testing.T) {
	l := &legacy{t: t}
	p := bridged(t, l.ServeHTTP)
	p.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	p.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	p.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if line := p.hear(); !strings.Contains(line, `"id":0`) {
		t.Fatal(line)
	}
	if line := p.hear(); line != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		t.Fatal(line)
	}
	l.mu.Lock()
	l.open = "forgotten"
	l.mu.Unlock()
	p.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	if line := p.hear(); line != `{"jsonrpc":"2.0","id":2,"result":{}}` {
		t.Fatal(line)
	}
	p.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions != 2 || len(l.ended) != 1 || l.ended[0] != "session-2" {
		t.Errorf("%d sessions, ended %v", l.sessions, l.ended)
	}
	if want := "initialize notifications/initialized tools/list tools/list initialize notifications/initialized tools/list"; strings.Join(l.seen, " ") != want {
		t.Errorf("the gateway saw %v", l.seen)
	}
}

// TestBridgeCancels ends calls by name, in both eras, and by the end of the
// input.
func TestBridgeCancels(t *testing.T) {
	ended := make(chan struct{}, 3)
	entered := make(chan struct{}, 3)
	var notified sync.Map
	p := bridged(t, func(w http.ResponseWriter, r *http.Request) {
		e, _ := read(t, r)
		switch e.Method {
		case "initialize":
			reply("application/json", `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}`)(w, r)
		case "tools/call":
			entered <- struct{}{}
			<-r.Context().Done()
			ended <- struct{}{}
		default:
			notified.Store(e.Method, true)
			w.WriteHeader(http.StatusAccepted)
		}
	})
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
	p.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query",` + meta + `}}`)
	<-entered
	p.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,` + meta + `}}`)
	<-ended
	if _, told := notified.Load("notifications/cancelled"); told {
		t.Error("revision 2026-07-28 was told with a notification")
	}
	p.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`)
	p.hear()
	p.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"query"}}`)
	<-entered
	p.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	p.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"query"}}`)
	<-entered
	if _, told := notified.Load("notifications/cancelled"); !told {
		t.Error("a session was not told of the cancellation")
	}
	p.close()
	<-ended
	<-ended
}

// TestBridgeConcurrent lets a quick call overtake a slow one.
func TestBridgeConcurrent(t *testing.T) {
	l := &legacy{t: t, hold: make(chan struct{}), entered: make(chan struct{}, 1)}
	p := bridged(t, l.ServeHTTP)
	p.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`)
	p.hear()
	p.say(`{"jsonrpc":"2.0","id":"slow","method":"tools/call"}`)
	<-l.entered
	p.say(`{"jsonrpc":"2.0","id":"quick","method":"ping"}`)
	if line := p.hear(); !strings.Contains(line, "quick") {
		t.Errorf("heard %s", line)
	}
	close(l.hold)
	if line := p.hear(); !strings.Contains(line, "slow") {
		t.Errorf("heard %s", line)
	}
}

// TestBridgeErrors answers each request, whatever happened to it.
func TestBridgeErrors(t *testing.T) {
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"query","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"a page":        {reply("text/html", "<html>"), "answers with text/html"},
		"nonsense":      {reply("application/json", "hello"), "not what a gateway answers"},
		"nothing":       {reply("text/event-stream", ""), "not known whether the call has run"},
		"another's":     {reply("text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n"), "not known whether the call has run"},
		"refused":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "the gateway refuses the token"},
		"a broken line": {reply("text/event-stream", "data: {\"jsonrpc\""), "not known whether the call has run"},
	} {
		t.Run(name, func(t *testing.T) {
			p := bridged(t, c.h)
			p.say(call)
			line := p.hear()
			if strings.Contains(line, `"method":"x"`) {
				line = p.hear()
			}
			var e struct {
				ID    int
				Error struct {
					Code    int
					Message string
				}
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID != 7 || e.Error.Code != -32000 || !strings.Contains(e.Error.Message, c.want) {
				t.Errorf("heard %s", line)
			}
		})
	}
	t.Run("not JSON", func(t *testing.T) {
		p := bridged(t, reply("application/json", "{}"))
		p.say("hello")
		if line := p.hear(); !strings.Contains(line, "-32700") {
			t.Errorf("heard %s", line)
		}
	})
}

// TestBridgeAway starts before its gateway does.
func TestBridgeAway(t *testing.T) {
	s := httptest.NewUnstartedServer(reply("application/json", `{"jsonrpc":"2.0","id":1,"result":{}}`))
	u, err := Address("http://" + s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := s.Listener.Addr().String()
	s.Listener.Close()
	g := New(u, Static("t", "the test"), "test", "1")
	p := run(t, g)
	p.say(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`)
	time.Sleep(50 * time.Millisecond) // it finds nobody
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Skipf("skipped: somebody took the port: %v", err)
	}
	s.Listener = l
	s.Start()
	defer s.Close()
	defer g.http.CloseIdleConnections()
	if line := p.hear(); line != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		t.Errorf("heard %s", line)
	}
}
