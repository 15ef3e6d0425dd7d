package mcp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"sync"

	"querywarden/tools"
)

// A splicer writes messages and, on the way, the rows of long answers into
// them. mcp-go makes a message whole in memory before it writes it; with its
// rows left out, a long answer takes no more memory than a short one.
//
// An answer whose rows are left out holds a mark in their place, a string that
// is drawn anew for each and that therefore nothing else can hold. mcp-go
// writes a message with one call of Write, so no mark is ever cut in two.
type splicer struct {
	w io.Writer

	mu   sync.Mutex
	left map[string]*tools.Rows // by mark
}

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
	for mark, rows := range s.left {
		before, after, found := bytes.Cut(message, []byte(`"`+mark+`"`))
		if !found {
			continue
		}
		delete(s.left, mark)
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
	return s.w.Write(message)
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

// splicedResponse is a response that is written through a splicer.
type splicedResponse struct {
	http.ResponseWriter
	splice *splicer
}

// Write implements [http.ResponseWriter].
func (r splicedResponse) Write(message []byte) (int, error) { return r.splice.Write(message) }

// Flush implements [http.Flusher], which mcp-go asks for.
func (r splicedResponse) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (r splicedResponse) Unwrap() http.ResponseWriter { return r.ResponseWriter }
