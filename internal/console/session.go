package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/identity"
	"querywarden/policy"
)

// sessionSchema keeps sessions beside the log, so that a restart ends none and
// signing out ends one for every gateway on it.
const sessionSchema = `
CREATE TABLE IF NOT EXISTS console_sessions (
	hash BLOB PRIMARY KEY,  -- SHA-256 of the cookie
	session TEXT NOT NULL,
	seen INTEGER NOT NULL,  -- microseconds since 1970
	ends INTEGER NOT NULL
) STRICT, WITHOUT ROWID;`

const (
	sessionIdle = 30 * time.Minute
	sessionLife = 8 * time.Hour
	// sessionNoted is how exactly the last use is kept: not every page is worth
	// a write.
	sessionNoted = time.Minute
)

// A session is what a sign-in leaves behind.
type session struct {
	Name     string          `json:"name"` // in the log; no secret
	Identity policy.Identity `json:"identity"`
	Groups   []string        `json:"groups"`
	Proved   time.Time       `json:"proved,omitzero"` // when they entered their credentials, as the provider says
	Began    time.Time       `json:"began"`
	SID      string          `json:"sid,omitempty"` // the provider's name for the sign-in
	Issued   time.Time       `json:"issued"`        // when the provider told of it

	hash [sha256.Size]byte
	csrf string
}

// voter is who has signed in, as the one who votes.
func (s *session) voter() approvals.Voter {
	return approvals.Voter{Identity: s.Identity, Groups: s.Groups, Via: approvals.ViaConsole}
}

func (s *session) caller() *audit.Caller {
	return &audit.Caller{Issuer: s.Identity.Issuer, Subject: s.Identity.Subject, Email: s.Identity.Email, Groups: s.Groups}
}

// in reports whether somebody is in one of some groups.
func (s *session) in(groups []string) bool {
	return slices.ContainsFunc(s.Groups, func(g string) bool { return slices.Contains(groups, g) })
}

func (c *Console) isAuditor(s *session) bool { return s.in(c.config.Auditors) }

// fresh reports whether somebody has shown just now that they are who they are.
func (c *Console) fresh(s *session) bool {
	return identity.SignIn{At: s.Proved}.Within(c.config.Fresh, c.now())
}

// csrfOf is the token that forms of a session carry.
func csrfOf(cookie string) string {
	mac := hmac.New(sha256.New, []byte(cookie))
	mac.Write([]byte("querywarden console form 1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookieName is the session's. The prefix makes browsers refuse the cookie from
// anybody but this very host (RFC 6265bis, section 4.1.3.2).
func (c *Console) cookieName(what string) string {
	if c.secure {
		return "__Host-querywarden-" + what
	}
	return "querywarden-" + what
}

func (c *Console) setCookie(w http.ResponseWriter, what, value string, age time.Duration) {
	cookie := &http.Cookie{Name: c.cookieName(what), Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode, MaxAge: int(age / time.Second)}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// cookie returns the value of a cookie that is there once.
func (c *Console) cookie(r *http.Request, what string) string {
	found := r.CookiesNamed(c.cookieName(what))
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// begin makes a session in the place of the browser's old one, and records it.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, in identity.SignIn) error {
	cookie := rand.Text()
	now := c.now().UTC()
	s := &session{
		Name: "console-" + strings.ToLower(rand.Text()[:12]), Identity: in.Caller.Identity(), Groups: in.Caller.Groups, Proved: in.At, Began: now, SID: in.Session, Issued: in.Issued,
		hash: sha256.Sum256([]byte(cookie)),
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing session: %w", err)
	}
	old := sha256.Sum256([]byte(c.cookie(r, "session")))
	err = c.config.Log.Update(r.Context(), func(tx *audit.Tx) error {
		if _, err := tx.Exec(`DELETE FROM console_sessions WHERE hash = ? OR ends <= ? OR seen <= ?`, old[:], now.UnixMicro(), now.Add(-sessionIdle).UnixMicro()); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO console_sessions VALUES (?, ?, ?, ?)`, s.hash[:], string(text), now.UnixMicro(), now.Add(sessionLife).UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Append(audit.Event{Kind: audit.KindSignIn, Session: s.Name, Caller: s.caller(), Remote: r.RemoteAddr, Via: string(approvals.ViaConsole)})
		return err
	})
	if err != nil {
		return fmt.Errorf("beginning session: %w", err)
	}
	c.setCookie(w, "session", cookie, sessionLife)
	return nil
}

// find returns the session of a request, nil if there is none.
func (c *Console) find(r *http.Request) (*session, error) {
	cookie := c.cookie(r, "session")
	if cookie == "" {
		return nil, nil
	}
	s := &session{hash: sha256.Sum256([]byte(cookie)), csrf: csrfOf(cookie)}
	now := c.now()
	err := c.config.Log.Update(r.Context(), func(tx *audit.Tx) error {
		var text string
		var seen int64
		err := tx.QueryRow(`SELECT session, seen FROM console_sessions WHERE hash = ? AND ends > ? AND seen > ?`, s.hash[:], now.UnixMicro(), now.Add(-sessionIdle).UnixMicro()).Scan(&text, &seen)
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), s); err != nil {
			return fmt.Errorf("reading session: %w", err)
		}
		if now.UnixMicro()-seen < sessionNoted.Microseconds() {
			return nil
		}
		_, err = tx.Exec(`UPDATE console_sessions SET seen = ? WHERE hash = ?`, now.UnixMicro(), s.hash[:])
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a session: %w", err)
	}
	if c.config.Login.Revoked(s.Identity, s.SID, s.Issued) {
		return nil, nil // as good as signed out
	}
	return s, nil
}

type sessionKey struct{}

// sessionOf is who has signed in, nil if nobody.
func sessionOf(r *http.Request) *session {
	s, _ := r.Context().Value(sessionKey{}).(*session)
	return s
}

// signedIn lets in those who have signed in, and forms that carry their token.
func (c *Console) signedIn(h func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := c.find(r)
		if err != nil {
			c.broken(w, r, err)
			return
		}
		if s == nil {
			to := "/console/login"
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				to += "?" + url.Values{"return": {r.URL.RequestURI()}}.Encode()
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				c.fail(w, r, http.StatusBadRequest, "The form cannot be read, or is too long.")
				return
			}
			if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("csrf")), []byte(s.csrf)) != 1 {
				c.fail(w, r, http.StatusForbidden, "This form does not belong to your session. Nothing was done; open the page again.")
				return
			}
		}
		h(w, r, s)
	}
}

// auditor lets in members of the auditors' groups. To others the pages do not
// exist.
func (c *Console) auditor(h func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return c.signedIn(func(w http.ResponseWriter, r *http.Request, s *session) {
		if !c.isAuditor(s) {
			c.fail(w, r, http.StatusNotFound, "There is no such page.")
			return
		}
		h(w, r, s)
	})
}

// reading records what is about to be shown. Without the record it is not.
func (c *Console) reading(w http.ResponseWriter, r *http.Request, s *session, e audit.Event) bool {
	e.Kind, e.Session, e.Caller, e.Remote = audit.KindRead, s.Name, s.caller(), r.RemoteAddr
	e.Page = approvals.Escape(r.URL.Path)
	q := r.URL.Query()
	q.Del("done") // what the page says at its top, and nothing looked for
	e.Search = strings.ToValidUTF8(q.Encode(), "\uFFFD")
	if _, err := c.config.Log.Append(r.Context(), e); err != nil {
		c.broken(w, r, err)
		return false
	}
	return true
}
