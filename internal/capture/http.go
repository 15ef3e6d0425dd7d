package capture

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"querywarden/policy"
)

// maxBody is how large an event, or an export of logs, may be, in bytes, also
// when it is unpacked.
const maxBody = 4 << 20

// maxReaders is how many bodies are read at once.
const maxReaders = 16

// Handle answers the paths of the package comment for a caller whose token has
// been checked. It answers before anything is written, so that no client waits
// for the log; 204 says that the event was taken, or told nothing.
func (s *Store) Handle() func(http.ResponseWriter, *http.Request, policy.Caller) {
	reading := make(chan struct{}, maxReaders)
	return func(w http.ResponseWriter, r *http.Request, caller policy.Caller) {
		source, isHook := strings.CutPrefix(r.URL.Path, "/hooks/")
		switch {
		case !s.On():
			http.Error(w, "this gateway keeps no conversations", http.StatusNotFound)
			return
		case !isHook && r.URL.Path != "/v1/logs":
			http.NotFound(w, r)
			return
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "this method is not supported here", http.StatusMethodNotAllowed)
			return
		}
		select {
		case reading <- struct{}{}:
			defer func() { <-reading }()
		default:
			busy(w, http.StatusServiceUnavailable, ErrFull)
			return
		}
		body, err := read(w, r)
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			s.refused()
			http.Error(w, "the event is too large", http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, "the event cannot be read", http.StatusBadRequest)
			return
		}
		var records []Record
		if isHook {
			records, err = ParseHook(source, body)
		} else {
			records, err = ParseLogs(r.Header.Get("Content-Type"), body)
		}
		if err != nil {
			http.Error(w, "the event cannot be read", http.StatusBadRequest)
			return
		}
		switch err := s.Take(caller, records); {
		case errors.Is(err, ErrTooFast):
			busy(w, http.StatusTooManyRequests, err)
		case err != nil:
			busy(w, http.StatusServiceUnavailable, err)
		case isHook:
			w.WriteHeader(http.StatusNoContent)
		default:
			reply, kind := emptyReply(r.Header.Get("Content-Type"))
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(reply) // a client that has gone needs no answer
		}
	}
}

// refused counts what was too large to be read.
func (s *Store) refused() {
	s.mu.Lock()
	s.dropped++
	s.mu.Unlock()
}

func busy(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), status)
}

// read reads a body that may be packed.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	packed := http.MaxBytesReader(w, r.Body, maxBody)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return io.ReadAll(packed)
	case "gzip":
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(unpacked, maxBody+1))
		if err == nil && len(body) > maxBody {
			err = &http.MaxBytesError{Limit: maxBody}
		}
		return body, err
	default:
		return nil, errors.New("the body is packed in a way that is not known")
	}
}
