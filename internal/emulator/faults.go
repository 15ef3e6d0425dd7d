//go:build cgo

package emulator

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Fault is what goes wrong, for tests of what clients make of it.
type Fault uint8

// The faults. The zero Fault is none.
const (
	_          Fault = iota
	Overload         // 503 instead of an answer
	TooMany          // 429
	Stall            // no answer, until the client goes
	Lost             // what was asked is done, and the connection cut without an answer
	Cut              // half an answer
	Expired          // the session's token is over; its master token is not
	Gone             // the session is over
	Fewer            // a row less than announced
	More             // a row more than announced
	Wider            // a column more than was asked for
	UnknownEnd       // an answer of a kind that nobody knows
)

// A Breakage says where a fault is, and how often.
type Breakage struct {
	// Path is the beginning of the paths that it is about: /session/v1/login-request,
	// /queries/v1/query-request, /results/. Fewer, More and Wider are about
	// results, whatever it says.
	Path string
	Fault
	// Containing chooses statements by a part of their text.
	Containing string
	Times      int // how often; without end if zero
	After      int // how often it goes well before
}

// Break makes something go wrong from here on, and [Emulator.Mend] ends that.
func (e *Emulator) Break(b Breakage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = append(e.broken, &b)
}

// Mend ends what [Emulator.Break] began.
func (e *Emulator) Mend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = nil
}

// faultAt returns the fault of a request or, with a text, of a statement's
// result.
func (e *Emulator) faultAt(path, text string) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.broken {
		ofResult := b.Fault == Fewer || b.Fault == More || b.Fault == Wider
		if ofResult != (path == "") || !ofResult && !strings.HasPrefix(path, b.Path) || b.Times < 0 || !strings.Contains(text, b.Containing) {
			continue
		}
		if b.After > 0 {
			b.After--
			continue
		}
		if b.Times == 1 {
			b.Times = -1
		} else if b.Times > 1 {
			b.Times--
		}
		return b.Fault
	}
	return 0
}

// breaking is the server's handler, with its faults.
func (e *Emulator) breaking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		whole := len(e.broken) == 0
		e.mu.Unlock()
		if whole {
			next.ServeHTTP(w, r)
			return
		}
		var text string
		if r.URL.Path == "/queries/v1/query-request" {
			body, err := readAll(w, r)
			if err != nil {
				http.Error(w, "the body cannot be read", http.StatusBadRequest)
				return
			}
			text = string(body)
		}
		switch e.faultAt(r.URL.Path, text) {
		case Overload:
			http.Error(w, "overloaded", http.StatusServiceUnavailable)
		case TooMany:
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		case Stall:
			select {
			case <-r.Context().Done():
			case <-e.life.Done():
			case <-time.After(time.Minute):
			}
			panic(http.ErrAbortHandler)
		case Lost:
			next.ServeHTTP(&recorder{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case Cut:
			rec := &recorder{header: http.Header{}}
			next.ServeHTTP(rec, r)
			for k, v := range rec.header {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", strconv.Itoa(rec.body.Len()))
			_, _ = w.Write(rec.body.Bytes()[:rec.body.Len()/2])
			panic(http.ErrAbortHandler)
		case Expired:
			e.expire(r, false)
			next.ServeHTTP(w, r)
		case Gone:
			e.expire(r, true)
			next.ServeHTTP(w, r)
		case UnknownEnd:
			http.Error(w, "<html>maintenance</html>", http.StatusOK)
		case Fewer, More, Wider:
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// readAll reads a request's body and puts it back.
func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var body bytes.Buffer
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	r.Body = nopCloser{bytes.NewReader(body.Bytes())}
	return body.Bytes(), err
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// expire ends the token that a request shows, or its session.
func (e *Emulator) expire(r *http.Request, session bool) {
	text := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Authorization"), `Snowflake Token="`), `"`)
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tokens[text]
	switch {
	case t == nil:
	case session:
		e.dropTokens(t.session)
	default:
		t.expires = time.Now().Add(-time.Second)
	}
}

// A recorder keeps an answer instead of sending it.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(int)             {}

// A Leak is a planted secret that has left in a reply.
type Leak struct {
	QueryID, Statement, Secret string
}

// Watch makes the emulator look for planted secrets in everything that it
// replies to statements; [Emulator.Leaks] tells which have left.
func (e *Emulator) Watch(secrets ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets = append(e.secrets, secrets...)
}

// Leaks are the secrets that have left since the last call.
func (e *Emulator) Leaks() []Leak {
	e.mu.Lock()
	defer e.mu.Unlock()
	leaks := e.leaks
	e.leaks = nil
	return leaks
}

func (e *Emulator) watched() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.secrets) > 0
}

// watch looks at a part of a reply, before it is compressed.
func (e *Emulator) watch(q *query, part []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.secrets {
		if bytes.Contains(part, []byte(s)) {
			e.leaks = append(e.leaks, Leak{q.id, q.text, s})
		}
	}
}
