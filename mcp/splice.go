package mcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"querywarden/tools"
)

// A splicer writes messages and, on the way, the rows of long answers into
// them. mcp-go makes a message whole in memory before it writes it; with its
// rows left out, a long answer takes no more memory than a short one.
//
// An answer whose rows are left out holds a mark in their place, a string that
// is drawn anew for each and that therefore nothing else can hold. mcp-go
// writes a message with one call of Write, so no mark is ever cut in two.
//
// In the same way a tool's answer can be replaced whole, by one that mcp-go has
// no words for: another JSON-RPC error than its own, another HTTP status, or a
// task.
type splicer struct {
	w        io.Writer
	response *splicedResponse // nil over stdio

	mu       sync.Mutex
	left     map[string]*tools.Rows // by mark
	replaced map[string]replacement // by mark

	// Of notifications, how many were handed to mcp-go, and how many have come
	// out of it since.
	sent, written int
	moved         chan struct{} // closed and replaced when one comes out
}

func newSplicer(w io.Writer) *splicer { return &splicer{w: w, moved: make(chan struct{})} }

// A replacement makes the message that stands for another one with this id.
type replacement func(id json.RawMessage) (status int, message []byte)

// replace returns the mark of an answer that is to be replaced.
func (s *splicer) replace(with replacement) (mark string) {
	mark = "instead-" + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced == nil {
		s.replaced = map[string]replacement{}
	}
	s.replaced[mark] = with
	return mark
}

// notified says that a notification is on its way through mcp-go.
func (s *splicer) notified() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
}

// settle waits until the notifications on their way have been written. mcp-go
// forwards notifications and the answer on two ways, and closes the one when
// the answer is there: what is still on it is lost.
func (s *splicer) settle(ctx context.Context) {
	late := time.NewTimer(settleWithin)
	defer late.Stop()
	for {
		s.mu.Lock()
		out, moved := s.written >= s.sent, s.moved
		s.mu.Unlock()
		if out {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		case <-late.C:
			return
		}
	}
}

// settleWithin bounds the wait for notifications: a client that reads so slowly
// has no use for them.
const settleWithin = time.Second

// leave takes charge of rows and returns the mark that stands for them.
func (s *splicer) leave(rows *tools.Rows) (mark string) {
	mark = "rows-" + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		s.left = map[string]*tools.Rows{}
	}
	s.left[mark] = rows
	return mark
}

// Write implements [io.Writer] for whole messages.
func (s *splicer) Write(message []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Contains(message, []byte(`"method":"notifications/`)) {
		s.written++
		close(s.moved)
		s.moved = make(chan struct{})
	}
	for mark, with := range s.replaced {
		if bytes.Contains(message, []byte(`"`+mark+`"`)) {
			delete(s.replaced, mark)
			return s.writeInstead(message, with)
		}
	}
	for mark, rows := range s.left {
		before, after, found := bytes.Cut(message, []byte(`"`+mark+`"`))
		if !found {
			continue
		}
		delete(s.left, mark)
		s.begin()
		_, err := s.w.Write(before)
		if err == nil {
			_, err = rows.WriteTo(s.w)
		}
		if err == nil {
			_, err = s.w.Write(after)
		}
		if err = errors.Join(err, rows.Close()); err != nil {
			return 0, err
		}
		return len(message), nil
	}
	s.begin()
	return s.w.Write(message)
}

func (s *splicer) begin() {
	if s.response != nil {
		s.response.begin()
	}
}

// writeInstead writes what replaces a message. Over HTTP the message may be
// inside an event.
func (s *splicer) writeInstead(message []byte, with replacement) (int, error) {
	start, end := bytes.IndexByte(message, '{'), bytes.LastIndexByte(message, '}')
	var old struct {
		ID json.RawMessage `json:"id"`
	}
	if start < 0 || end < start {
		return 0, errors.New("replacing an answer: it is no message")
	}
	if err := json.Unmarshal(message[start:end+1], &old); err != nil {
		return 0, fmt.Errorf("replacing an answer: %w", err)
	}
	status, text := with(old.ID)
	if s.response != nil {
		s.response.status = status
		s.response.begin()
	}
	for _, part := range [][]byte{message[:start], text, message[end+1:]} {
		if _, err := s.w.Write(part); err != nil {
			return 0, err
		}
	}
	return len(message), nil
}

// close gives back what was never written, because its client had gone.
func (s *splicer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, rows := range s.left {
		err = errors.Join(err, rows.Close())
	}
	s.left = nil
	return err
}

// splicedResponse is a response that is written through a splicer. Its status is
// sent with the first byte, because what is written first may change it.
type splicedResponse struct {
	http.ResponseWriter
	splice *splicer
	status int
	begun  bool
}

// WriteHeader implements [http.ResponseWriter].
func (r *splicedResponse) WriteHeader(status int) {
	if !r.begun {
		r.status = status
	}
}

// begin sends the status.
func (r *splicedResponse) begin() {
	if r.begun {
		return
	}
	r.begun = true
	if r.status != 0 {
		r.ResponseWriter.WriteHeader(r.status)
	}
}

// Write implements [http.ResponseWriter].
func (r *splicedResponse) Write(message []byte) (int, error) { return r.splice.Write(message) }

// Flush implements [http.Flusher], which mcp-go asks for.
func (r *splicedResponse) Flush() {
	r.begin()
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (r *splicedResponse) Unwrap() http.ResponseWriter { return r.ResponseWriter }
