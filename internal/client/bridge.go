package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Bridge joins a program that speaks MCP over standard input and output, a
// message a line, to a gateway that speaks streamable HTTP. Messages pass as
// they are. Of each it reads what the transport wants to know:
//
//   - which revision it is of. Revision 2026-07-28 says so in each message, and
//     has no session. Before it, initialize agrees on one, and opens a session
//     whose id goes with the messages that follow.
//   - its method, and the name in it, which revision 2026-07-28 wants in
//     headers as well.
//   - whom it answers or cancels: notifications/cancelled is what a program says
//     over stdio; over HTTP revision 2026-07-28 closes the request instead.
//
// What the gateway answers is passed on once it is whole, so that an answer
// that breaks off half way is an error, and not half a line. A request that
// cannot be answered is answered with an error of JSON-RPC, whatever happened:
// a program must not wait for ever.
//
// A gateway that is away for a moment is tried again, but only with requests
// that did not reach it. A session that the gateway has forgotten is opened
// again, with the initialize that opened it first; the program does not notice.
type Bridge struct {
	gateway *Gateway
	out     io.Writer
	logger  *slog.Logger

	outMu sync.Mutex

	mu        sync.Mutex
	opening   []byte // the program's initialize
	version   string // what was agreed on, empty before
	session   string
	underWay  map[string]context.CancelFunc // by request id
	reopening sync.Mutex
}

// messageLimit is how large a message may be, in bytes, in either direction.
const messageLimit = 256 << 20

// NewBridge returns a bridge that writes to out. Trouble goes to logger.
func NewBridge(g *Gateway, out io.Writer, logger *slog.Logger) *Bridge {
	return &Bridge{gateway: g, out: out, logger: logger, underWay: map[string]context.CancelFunc{}}
}

// An envelope is what a bridge reads of a message.
type envelope struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name      string          `json:"name"`
		URI       string          `json:"uri"`
		TaskID    string          `json:"taskId"`
		RequestID json.RawMessage `json:"requestId"`
		Meta      struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	} `json:"params"`
}

// request reports whether somebody waits for an answer.
func (e *envelope) request() bool {
	return e.Method != "" && len(e.ID) > 0 && string(e.ID) != "null"
}

// Run passes messages until in ends. Then the program is gone: calls under way
// are cancelled, and the session is ended.
func (b *Bridge) Run(ctx context.Context, in io.Reader) error {
	running, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	lines := make(chan []byte)
	ended := make(chan error, 1)
	go func() { ended <- readLines(running, in, lines) }()
	var err error
	for more := true; more; {
		select {
		case line := <-lines:
			b.take(running, &calls, line)
		case err = <-ended:
			more = false
		case <-ctx.Done():
			more = false
		}
	}
	cancel()
	calls.Wait()
	b.end(context.WithoutCancel(ctx))
	return err
}

// readLines reads messages, a line each.
func readLines(ctx context.Context, in io.Reader, to chan<- []byte) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, messageLimit)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		select {
		case to <- bytes.Clone(line):
		case <-ctx.Done():
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading standard input: %w", err)
	}
	return nil
}

// take starts to pass one message on. The one that opens a session is waited
// for: what comes after it needs the session's id.
func (b *Bridge) take(ctx context.Context, calls *sync.WaitGroup, line []byte) {
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		// The gateway would say the same; there is no id to answer to.
		b.write([]byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"this line is not a JSON-RPC message"}}`))
		return
	}
	if e.Method == "notifications/cancelled" && b.cancelled(&e) {
		return
	}
	if e.Method == "initialize" || !e.request() {
		// In order: an initialized before its initialize would be lost.
		b.pass(ctx, &e, line)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	id := string(e.ID)
	b.mu.Lock()
	b.underWay[id] = cancel
	b.mu.Unlock()
	calls.Go(func() {
		defer func() {
			b.mu.Lock()
			delete(b.underWay, id)
			b.mu.Unlock()
			cancel()
		}()
		b.pass(ctx, &e, line)
	})
}

// cancelled closes the request that a notification speaks of, and reports
// whether that says it all. With a session the gateway is told as well.
func (b *Bridge) cancelled(e *envelope) bool {
	b.mu.Lock()
	cancel, legacy := b.underWay[string(e.Params.RequestID)], b.version != ""
	b.mu.Unlock()
	if legacy && e.Params.Meta.Version == "" {
		return false
	}
	if cancel != nil {
		cancel()
	}
	return true
}

// pass sends a message and writes what is answered. An error becomes the
// answer of a request.
func (b *Bridge) pass(ctx context.Context, e *envelope, line []byte) {
	answered, err := b.send(ctx, e, line)
	switch {
	case err != nil && ctx.Err() != nil:
		return // cancelled: who cancels waits for no answer
	case err == nil && (answered || !e.request()):
		return
	case err == nil:
		err = errors.New("the gateway did not answer")
	}
	var advised *Error
	next := ""
	if errors.As(err, &advised) {
		next = advised.Next
	}
	b.logger.Error("passing a message", "method", e.Method, "err", err, "hint", next)
	if !e.request() {
		return
	}
	message := "querywarden: " + err.Error()
	if next != "" {
		message += " (" + next + ")"
	}
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": e.ID, "error": map[string]any{"code": -32000, "message": message}})
	if err != nil {
		b.logger.Error("answering", "err", err)
		return
	}
	b.write(text)
}

// away is how long a gateway that does not answer is tried again.
const away = 20 * time.Second

// send sends a message, again where that is safe, and writes the answers. It
// reports whether one of them answers the message.
func (b *Bridge) send(ctx context.Context, e *envelope, line []byte) (answered bool, err error) {
	began, wait, reopened := time.Now(), 200*time.Millisecond, false
	for {
		session, header := b.header(e)
		res, err := b.gateway.exchange(ctx, header, line)
		switch {
		case err != nil && errors.Is(err, syscall.ECONNREFUSED) && time.Since(began) < away:
			// Nothing was sent.
			b.logger.Warn("the gateway is away; trying again", "err", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return false, ctx.Err()
			}
			wait = min(2*wait, 3*time.Second)
			continue
		case err != nil:
			return false, err
		case res.StatusCode == http.StatusNotFound && session != "" && !reopened:
			res.Body.Close()
			reopened = true
			if err := b.reopen(ctx, session); err != nil {
				return false, err
			}
			continue
		}
		if err := b.gateway.accepted(res); err != nil {
			return false, err
		}
		if e.Method == "initialize" {
			b.mu.Lock()
			b.opening, b.session = line, res.Header.Get(headerSession)
			b.mu.Unlock()
		}
		answered, err := b.answers(e, res)
		return answered, errors.Join(err, res.Body.Close())
	}
}

// answers writes the messages of a response.
func (b *Bridge) answers(e *envelope, res *http.Response) (answered bool, err error) {
	if res.StatusCode == http.StatusAccepted {
		return false, nil
	}
	all := newMessages(res)
	for {
		r, err := all.next()
		if errors.Is(err, io.EOF) {
			if e.request() && !answered {
				return false, errors.New("the answer was cut off, and it is not known whether the call has run")
			}
			return answered, nil
		}
		if err != nil {
			return answered, advise(fmt.Errorf("reading the answer: it was cut off: %w", err), "it is not known whether the call has run")
		}
		text, err := io.ReadAll(io.LimitReader(r, messageLimit+1))
		if err != nil {
			return answered, advise(fmt.Errorf("reading the answer: it was cut off: %w", err), "it is not known whether the call has run")
		}
		if len(text) > messageLimit {
			return answered, fmt.Errorf("reading the answer: it is larger than %d bytes", messageLimit)
		}
		// A message is a line, however it was laid out.
		var compact bytes.Buffer
		if bytes.ContainsAny(text, "\r\n") {
			if err := json.Compact(&compact, text); err != nil {
				return answered, advise(errNotMCP, "is that the gateway, or a proxy before it?")
			}
			text = compact.Bytes()
		}
		var said struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Result struct {
				Version string `json:"protocolVersion"`
			} `json:"result"`
		}
		if err := json.Unmarshal(text, &said); err != nil {
			return answered, advise(fmt.Errorf("reading the answer: %w", errNotMCP), "is that the gateway, or a proxy before it?")
		}
		if said.Method == "" && bytes.Equal(said.ID, e.ID) {
			answered = true
			if e.Method == "initialize" {
				b.mu.Lock()
				b.version = said.Result.Version
				b.mu.Unlock()
			}
		}
		b.write(text)
	}
}

// header is what the transport says beside a message, and the session in it.
func (b *Bridge) header(e *envelope) (session string, h http.Header) {
	h = http.Header{}
	if version := e.Params.Meta.Version; version != "" {
		h.Set(headerVersion, version)
		h.Set(headerMethod, headerText(e.Method))
		for _, name := range []string{e.Params.Name, e.Params.URI, e.Params.TaskID} {
			if name != "" {
				h.Set(headerName, headerText(name))
				break
			}
		}
		return "", h
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Method == "initialize" {
		return "", h
	}
	if b.version != "" {
		h.Set(headerVersion, b.version)
	}
	if b.session != "" {
		h.Set(headerSession, b.session)
	}
	return b.session, h
}

// headerText is a text as revision 2026-07-28 has it in a header: as it is
// where it can be, and otherwise =?base64?…?=.
func headerText(s string) string {
	plain := s != "" && !strings.HasPrefix(s, "=?base64?") && strings.TrimSpace(s) == s
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] <= '~'
	}
	if plain || s == "" {
		return s
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// reopen opens a session again that the gateway has forgotten.
func (b *Bridge) reopen(ctx context.Context, old string) error {
	b.reopening.Lock()
	defer b.reopening.Unlock()
	b.mu.Lock()
	opening, current := b.opening, b.session
	b.mu.Unlock()
	if current != old {
		return nil // another call has done it
	}
	res, err := b.gateway.post(ctx, http.Header{}, opening)
	if err != nil {
		return fmt.Errorf("opening the session again: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, messageLimit))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("opening the session again: %w", err)
	}
	b.mu.Lock()
	b.session = res.Header.Get(headerSession)
	h := http.Header{headerVersion: {b.version}, headerSession: {b.session}}
	b.mu.Unlock()
	res, err = b.gateway.post(ctx, h, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err != nil {
		return fmt.Errorf("opening the session again: %w", err)
	}
	b.logger.Info("the gateway had forgotten the session; it is open again")
	return res.Body.Close()
}

// end tells the gateway that a session is over. Nobody is left to hear whether
// that went well.
func (b *Bridge) end(ctx context.Context) {
	b.mu.Lock()
	session, version := b.session, b.version
	b.mu.Unlock()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	token, err := b.gateway.token(ctx, false)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, b.gateway.url.String(), nil)
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(headerSession, session)
	req.Header.Set(headerVersion, version)
	if res, err := b.gateway.http.Do(req); err == nil {
		res.Body.Close()
	}
}

// write writes a message. An output that is gone ends the program by its input.
func (b *Bridge) write(message []byte) {
	b.outMu.Lock()
	defer b.outMu.Unlock()
	if _, err := b.out.Write(append(message, '\n')); err != nil {
		b.logger.Error("writing standard output", "err", err)
	}
}
