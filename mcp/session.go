package mcp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"
	"time"
	"unicode"

	"querywarden/policy"
	"querywarden/tools"
)

const (
	sessionRandom = 16                              // bytes
	sessionBytes  = sessionRandom + 8 + sha256.Size // random, time, MAC

	// sessionLife is how long a session id is good for. A client whose session
	// has ended is answered 404 and opens another.
	sessionLife = 24 * time.Hour

	// sessionsKept bounds what is remembered of sessions. A session that was
	// forgotten goes on, without its client's name.
	sessionsKept = 10_000

	// assertedLimit is how much of a client's word about itself is kept, in
	// bytes.
	assertedLimit = 128
)

// sessions makes and checks session ids. The ids need no memory; what is kept
// is what clients said of themselves, and which sessions they have ended.
type sessions struct {
	key  []byte
	each int           // remembered of one caller
	idle time.Duration // after which one ends that is not used
	now  func() time.Time

	mu      sync.Mutex
	kept    map[string]keptSession
	of      map[policy.Identity]int // how many are kept of a caller
	signIns map[string]time.Time    // by name, with when they were last used
}

type keptSession struct {
	client tools.Client
	who    policy.Identity
	opened time.Time
	used   time.Time
	ended  bool
}

func newSessions(key []byte, each int, idle time.Duration, now func() time.Time) *sessions {
	return &sessions{key: key, each: each, idle: idle, now: now, kept: make(map[string]keptSession), of: make(map[policy.Identity]int), signIns: make(map[string]time.Time)}
}

// signIn names what is done with one token, and says whether the token is seen
// for the first time. A client without sessions is followed by this name.
func (s *sessions) signIn(token string) (name string, isNew bool) {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("querywarden sign-in 1\x00"))
	h.Write([]byte(token))
	name = base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:sessionRandom])
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.signIns[name]
	if !known && len(s.signIns) >= sessionsKept {
		// Forgetting one means that it is recorded a second time.
		for old, used := range s.signIns {
			if s.now().Sub(used) > sessionLife {
				delete(s.signIns, old)
			}
		}
		for old := range s.signIns {
			if len(s.signIns) < sessionsKept {
				break
			}
			delete(s.signIns, old)
		}
	}
	s.signIns[name] = s.now()
	return name, !known
}

// forget makes a sign-in new again: it could not be recorded.
func (s *sessions) forget(signIn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.signIns, signIn)
}

// open makes a session id for a caller.
func (s *sessions) open(who policy.Identity, c tools.Client) string {
	var b [sessionBytes]byte
	rand.Read(b[:sessionRandom])
	now := s.now()
	binary.BigEndian.PutUint64(b[sessionRandom:], uint64(now.Unix()))
	copy(b[sessionRandom+8:], s.mac(b[:sessionRandom+8], who))
	id := base64.RawURLEncoding.EncodeToString(b[:])
	who.Email = ""
	s.keep(id, keptSession{client: c, who: who, opened: now, used: now})
	return id
}

// valid reports whether an id was made for this caller, is not too old, has been
// used of late as far as is remembered, and has not been ended. It is in use
// now.
func (s *sessions) valid(id string, who policy.Identity) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(b) != sessionBytes {
		return false
	}
	if !hmac.Equal(b[sessionRandom+8:], s.mac(b[:sessionRandom+8], who)) {
		return false
	}
	opened := time.Unix(int64(binary.BigEndian.Uint64(b[sessionRandom:])), 0)
	if s.now().Sub(opened) > sessionLife {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, kept := s.kept[id]
	if !kept {
		return true
	}
	if now := s.now(); now.Sub(k.used) > s.idle {
		k.ended = true
	} else if !k.ended {
		k.used = now
	}
	s.kept[id] = k
	return !k.ended
}

// end makes a valid id invalid.
func (s *sessions) end(id string) {
	s.mu.Lock()
	k, kept := s.kept[id]
	if kept {
		k.ended = true
		s.kept[id] = k
	}
	s.mu.Unlock()
	if !kept {
		now := s.now()
		s.keep(id, keptSession{opened: now, used: now, ended: true})
	}
}

// client returns what the client of a session said of itself.
func (s *sessions) client(id string) tools.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id].client
}

// keep remembers a session. Where there is no room for more of this caller it
// forgets the one of theirs that was not used for longest; where there is none
// for more at all, those that are too old, then any other. Forgetting loses a
// name, or lets a client go on with a session of its own that it had ended, and
// nothing else.
func (s *sessions) keep(id string, k keptSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[k.who] >= s.each {
		oldest := ""
		for other, o := range s.kept {
			if o.who == k.who && (oldest == "" || o.used.Before(s.kept[oldest].used)) {
				oldest = other
			}
		}
		s.drop(oldest)
	}
	if len(s.kept) >= sessionsKept {
		for old, o := range s.kept {
			if s.now().Sub(o.opened) > sessionLife {
				s.drop(old)
			}
		}
		for old := range s.kept {
			if len(s.kept) < sessionsKept {
				break
			}
			s.drop(old)
		}
	}
	s.kept[id] = k
	s.of[k.who]++
}

// drop forgets a session. The caller holds the lock.
func (s *sessions) drop(id string) {
	k, kept := s.kept[id]
	if !kept {
		return
	}
	delete(s.kept, id)
	if s.of[k.who]--; s.of[k.who] <= 0 {
		delete(s.of, k.who)
	}
}

// mac binds the random part and the time of an id to a caller. Lengths stand
// before what varies, so that no two callers share an input.
func (s *sessions) mac(nonce []byte, who policy.Identity) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("querywarden session 1\x00"))
	h.Write(nonce)
	for _, part := range []string{who.Issuer, who.Subject} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}

// public returns the part of a valid session id that records show. It names
// the session and cannot be used as its id.
func public(id string) string {
	b, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(b) < sessionRandom {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b[:sessionRandom])
}

// asserted cuts a client's word about itself to what records keep: short,
// printable, valid UTF-8.
func asserted(word string) string {
	if len(word) > assertedLimit {
		word = word[:assertedLimit]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, word)
}
