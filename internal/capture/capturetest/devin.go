// Package capturetest is the part of Devin's API v3 that gateways read, for
// tests: sessions of an organization and their messages, page by page.
package capturetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Message of a session.
type Message struct {
	ID      string `json:"event_id"`
	Source  string `json:"source"`
	Text    string `json:"message"`
	Created int64  `json:"created_at"`
}

type session struct {
	ID      string `json:"session_id"`
	User    string `json:"user_id"`
	Updated int64  `json:"updated_at"`

	messages []Message
}

// Devin is a server. It is safe for concurrent use.
type Devin struct {
	URL string

	server *httptest.Server
	token  string

	mu       sync.Mutex
	page     int
	clock    int64
	sessions []*session
	down     bool
}

// NewDevin starts a server that takes one token and answers in pages of a few.
func NewDevin(token string, page int, clock int64) *Devin {
	d := &Devin{token: token, page: page, clock: clock}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3/organizations/{org}/sessions", d.list)
	mux.HandleFunc("GET /v3/organizations/{org}/sessions/{id}/messages", d.messages)
	d.server = httptest.NewServer(mux)
	d.URL = d.server.URL
	return d
}

// Close stops the server.
func (d *Devin) Close() { d.server.Close() }

// Down makes it answer that it is out of order, or not.
func (d *Devin) Down(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// Now sets its clock, in Unix seconds.
func (d *Devin) Now(clock int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = clock
}

// Say adds a message to a session of a user's, and makes the session if there is
// none.
func (d *Devin) Say(id, user string, m Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock++
	i := slices.IndexFunc(d.sessions, func(s *session) bool { return s.ID == id })
	if i < 0 {
		i = len(d.sessions)
		d.sessions = append(d.sessions, &session{ID: id, User: user})
	}
	m.Created = d.clock
	d.sessions[i].Updated = d.clock
	d.sessions[i].messages = append(d.sessions[i].messages, m)
}

func (d *Devin) allowed(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Header.Get("Authorization") != "Bearer "+d.token:
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return false
	case d.down:
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return false
	default:
		return true
	}
}

func (d *Devin) list(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.allowed(w, r) {
		return
	}
	since, err := strconv.ParseInt(r.URL.Query().Get("updated_after"), 10, 64)
	if err != nil {
		http.Error(w, "updated_after", http.StatusUnprocessableEntity)
		return
	}
	var found []*session
	for _, s := range d.sessions {
		if s.Updated >= since {
			found = append(found, s)
		}
	}
	reply(w, r, found, d.page)
}

func (d *Devin) messages(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.allowed(w, r) {
		return
	}
	for _, s := range d.sessions {
		if "devin-"+s.ID == r.PathValue("id") {
			reply(w, r, s.messages, d.page)
			return
		}
	}
	http.NotFound(w, r)
}

// reply answers with one page. A cursor is how many come before it.
func reply[T any](w http.ResponseWriter, r *http.Request, all []T, size int) {
	from := 0
	if after, ok := strings.CutPrefix(r.URL.Query().Get("after"), "cursor-"); ok {
		n, err := strconv.Atoi(after)
		if err != nil || n < 0 || n > len(all) {
			http.Error(w, "after", http.StatusUnprocessableEntity)
			return
		}
		from = n
	}
	to := min(from+size, len(all))
	page := map[string]any{"items": all[from:to], "has_next_page": to < len(all), "end_cursor": nil, "total": len(all)}
	if to < len(all) {
		page["end_cursor"] = "cursor-" + strconv.Itoa(to)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(page); err != nil {
		panic(http.ErrAbortHandler)
	}
}
