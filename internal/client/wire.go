package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers and revisions of the transport.
const (
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerSession = "Mcp-Session-Id"

	revision = "2026-07-28"
)

// partLimit is how many bytes of an answer are held in memory at once: a row,
// or a message that has none.
const partLimit = 32 << 20

// refusalLimit is how much is read of an answer that is no message.
const refusalLimit = 64 << 10

// patience bounds how often a gateway that says "later" is asked again.
const patience = 5

// post sends a message and returns the response, whose body the caller closes:
// one that carries messages, or 202 for none.
func (g *Gateway) post(ctx context.Context, header http.Header, message []byte) (*http.Response, error) {
	res, err := g.exchange(ctx, header, message)
	if err != nil {
		return nil, err
	}
	if err := g.accepted(res); err != nil {
		return nil, err
	}
	return res, nil
}

// exchange sends a message and returns the response, of whatever status. A
// token that is refused is renewed once, since a request without a good one has
// done nothing. A request that the gateway put off (429, 503) is sent again: it
// says that before it reads it.
func (g *Gateway) exchange(ctx context.Context, header http.Header, message []byte) (*http.Response, error) {
	fresh, said := false, ""
	for try := 0; ; try++ {
		token, err := g.token(ctx, fresh)
		var advised *Error
		if errors.As(err, &advised) && said != "" {
			return nil, &Error{Err: fmt.Errorf("%w: %s", err, said), Next: advised.Next}
		}
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url.String(), bytes.NewReader(message))
		if err != nil {
			return nil, fmt.Errorf("calling the gateway: %w", err)
		}
		req.Header = header.Clone()
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		res, err := g.http.Do(req)
		if err != nil {
			return nil, unreachable(ctx, g.url.Redacted(), err)
		}
		switch {
		case res.StatusCode == http.StatusUnauthorized && !fresh:
			said = refused(res)
			fresh = true
		case (res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable) && try < patience && later(res) > 0:
			wait := later(res)
			refused(res)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			return res, nil
		}
	}
}

// unreachable words an error of the network.
func unreachable(ctx context.Context, url string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return advise(fmt.Errorf("calling the gateway: %w", err), "is the gateway running at %s, and can this machine reach it?", url)
}

// later is how long a response says to wait, at most ten seconds; 0 if it does
// not say.
func later(res *http.Response) time.Duration {
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, 10*time.Second)
}

// refused reads what a response says against a request, and closes it.
func refused(res *http.Response) string {
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, refusalLimit))
	if err != nil {
		return ""
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil {
		return ""
	}
	return clean(said.Error)
}

// accepted returns nil for a response with messages in it. For any other it
// closes the response and says what it means.
func (g *Gateway) accepted(res *http.Response) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	carries := kind == "application/json" || kind == "text/event-stream"
	switch res.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusOK:
		if carries {
			return nil
		}
		refused(res)
		return advise(fmt.Errorf("%s answers with %s, which is not MCP", g.url, or(kind, "nothing readable")), "is that the gateway, or a proxy's page before it? Its URL ends in /mcp")
	case http.StatusBadRequest:
		// Errors of the protocol come with this status.
		if kind == "application/json" {
			return nil
		}
	}
	status := fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode))
	place, described := res.Header.Get("Location"), res.Header.Get("WWW-Authenticate")
	said := refused(res)
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return advise(fmt.Errorf("%w: %s", errRefusedToken, or(said, status)), "sign in again: querywarden login %s", g.url)
	case http.StatusForbidden:
		if scopes := parameter(described, "scope"); scopes != "" {
			return advise(fmt.Errorf("the gateway refuses the request: %s", or(said, status)), "the token lacks a scope; sign in again with --scopes %q", scopes)
		}
		return advise(fmt.Errorf("the gateway refuses the request: %s", or(said, status)), "its operator knows why: the log has this request")
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return advise(fmt.Errorf("%s is not the gateway's endpoint: %s", g.url, or(said, status)), "its URL ends in /mcp")
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return advise(fmt.Errorf("%s redirects to %s, and tokens do not follow redirects", g.url, clean(place)), "use the gateway's own URL")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return advise(fmt.Errorf("the gateway puts the request off: %s", or(said, status)), "try again in a minute")
	default:
		return fmt.Errorf("calling the gateway: it answers %s", or(said, status))
	}
}

// parameter returns a parameter of a WWW-Authenticate header (RFC 9110 section
// 11.2), empty without. Of several challenges the first that has it counts.
func parameter(header, name string) string {
	for header != "" {
		word := header[:len(header)-len(strings.TrimLeft(header, tokenCharacters))]
		if word == "" {
			header = header[1:]
			continue
		}
		value, found := strings.CutPrefix(header[len(word):], "=")
		if !found {
			header = header[len(word):] // a scheme
			continue
		}
		text := value[:len(value)-len(strings.TrimLeft(value, tokenCharacters))]
		rest := value[len(text):]
		if strings.HasPrefix(value, `"`) {
			text, rest, found = unquote(value)
			if !found {
				return ""
			}
		}
		if strings.EqualFold(word, name) {
			return text
		}
		header = rest
	}
	return ""
}

// tokenCharacters are those of a token, RFC 9110 section 5.6.2.
const tokenCharacters = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// unquote reads a quoted string at the beginning of s, and returns what follows
// it. It returns false for one without an end.
func unquote(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// messages reads the JSON-RPC messages of a response.
type messages struct {
	body   *bufio.Reader
	events bool // server-sent events, not one message
	done   bool
	event  *eventData
}

func newMessages(res *http.Response) *messages {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return &messages{body: bufio.NewReaderSize(res.Body, 64<<10), events: kind == "text/event-stream"}
}

// next returns the next message, to be read before next is called again. It
// returns io.EOF after the last.
func (m *messages) next() (io.Reader, error) {
	if !m.events {
		if m.done {
			return nil, io.EOF
		}
		m.done = true
		return m.body, nil
	}
	if m.event != nil {
		// What was left of the one before.
		if _, err := io.Copy(io.Discard, m.event); err != nil {
			return nil, err
		}
	}
	for {
		e := &eventData{body: m.body, start: true}
		first, err := e.begin()
		if err != nil {
			return nil, err
		}
		if first {
			m.event = e
			return e, nil
		}
	}
}

// eventData reads the data of one event of a stream: its data fields, joined
// by line feeds (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// Other fields are passed over. A line may be longer than any buffer.
type eventData struct {
	body  *bufio.Reader
	start bool // at the start of a line
	ended bool
	rest  []byte // of a data line, read and not yet returned
	more  bool   // the data line goes on in body
}

// begin finds the event's first data field. It returns false for an event
// without one.
func (e *eventData) begin() (bool, error) {
	for {
		line, err := e.line()
		if err != nil {
			return false, err
		}
		if e.ended {
			return false, nil
		}
		if line {
			return true, nil
		}
	}
}

// line reads the beginning of a line. It returns true for a data field, whose
// value is then in rest and body.
func (e *eventData) line() (data bool, err error) {
	part, err := e.part()
	if err != nil {
		return false, err
	}
	switch {
	case len(part) == 0 && !e.more:
		e.ended = true
		return false, nil
	case bytes.HasPrefix(part, []byte("data:")):
		e.rest = bytes.TrimPrefix(part[len("data:"):], []byte(" "))
		return true, nil
	}
	for e.more { // a field that says nothing to us
		if _, err := e.part(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// part reads a line, or as much of it as fits the buffer, without its end.
func (e *eventData) part() ([]byte, error) {
	part, err := e.body.ReadSlice('\n')
	switch {
	case err == nil:
		e.more = false
		return bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r")), nil
	case errors.Is(err, bufio.ErrBufferFull):
		e.more = true
		return part, nil
	case errors.Is(err, io.EOF) && len(part) > 0:
		return nil, io.ErrUnexpectedEOF
	default:
		return nil, err
	}
}

// Read implements [io.Reader].
func (e *eventData) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if e.ended {
			return 0, io.EOF
		}
		if e.more {
			part, err := e.part()
			if err != nil {
				return 0, broken(err)
			}
			e.rest = part
			continue
		}
		data, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) {
				// The last event of a stream that was closed after its data.
				e.ended = true
				return 0, io.EOF
			}
			return 0, broken(err)
		}
		if data {
			// A message has no line feed of its own that would matter.
			p[0] = '\n'
			return 1, nil
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bounded fails where more than limit bytes are read without a [bounded.reset].
type bounded struct {
	r           io.Reader
	left, limit int64
}

var errTooLarge = errors.New("the answer is larger than this client holds")

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

func (b *bounded) reset() { b.left = b.limit }

// clean makes words of the other side fit for a terminal: one line, printable.
func clean(s string) string {
	if len(s) > 500 {
		s = s[:500]
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
