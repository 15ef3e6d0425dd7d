package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/identity"
)

// An attempt is what the browser keeps until the provider sends it back.
type attempt struct {
	identity.Attempt
	Return string `json:"return"`
}

// attemptLife is how long somebody may take at the provider.
const attemptLife = 10 * time.Minute

const startPage = "/console/"

// ours returns a path of the console's own to go back to: where a link comes
// from outside, it cannot lead there.
func ours(to string) string {
	u, err := url.Parse(to)
	switch {
	case err != nil, u.IsAbs(), u.Host != "", u.User != nil, u.Fragment != "", !strings.HasPrefix(to, startPage):
		return startPage
	case strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }):
		return startPage // browsers read these in ways of their own
	case u.Path != startPage && path.Clean(u.Path) != u.Path, strings.Contains(u.EscapedPath(), "%2"), strings.Contains(u.EscapedPath(), "%5"):
		return startPage
	case strings.HasPrefix(u.Path, "/console/login"), u.Path == "/console/callback", u.Path == "/console/logout":
		return startPage
	default:
		return to
	}
}

// loginPage offers to sign in.
func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	c.show(w, r, http.StatusOK, "login", page{Title: "Sign in", Data: c.startURL(r.URL.Query().Get("return"), false)})
}

// startURL is where signing in begins.
func (c *Console) startURL(to string, again bool) string {
	q := url.Values{"return": {ours(to)}}
	if again {
		q.Set("again", "1")
	}
	return "/console/login/start?" + q.Encode()
}

// loginStart sends the browser to the provider.
func (c *Console) loginStart(w http.ResponseWriter, r *http.Request) {
	within := time.Duration(0)
	if r.URL.Query().Get("again") != "" {
		within = c.config.Fresh
	}
	to, a, err := c.config.Login.Begin(r.Context(), within)
	if err != nil {
		c.refused(w, r, err)
		return
	}
	kept, err := json.Marshal(attempt{a, ours(r.URL.Query().Get("return"))})
	if err != nil {
		c.broken(w, r, err)
		return
	}
	c.setCookie(w, "login", base64.RawURLEncoding.EncodeToString(kept), attemptLife)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback is where the provider sends the browser back to.
func (c *Console) callback(w http.ResponseWriter, r *http.Request) {
	var a attempt
	kept, err := base64.RawURLEncoding.DecodeString(c.cookie(r, "login"))
	if err == nil {
		// What cannot be read is no attempt, and the state of that fits nothing.
		_ = json.Unmarshal(kept, &a)
	}
	c.setCookie(w, "login", "", 0) // good for one answer
	answer, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		answer = nil
	}
	in, err := c.config.Login.Finish(r.Context(), a.Attempt, answer)
	if err != nil {
		c.refused(w, r, err)
		return
	}
	if err := c.begin(w, r, in); err != nil {
		c.broken(w, r, err)
		return
	}
	http.Redirect(w, r, ours(a.Return), http.StatusSeeOther)
}

// refused says that a sign-in did not count. The operator gets the cause.
func (c *Console) refused(w http.ResponseWriter, r *http.Request, err error) {
	c.logger.Warn("refusing a sign-in", "err", err, "remote", r.RemoteAddr)
	reason := identity.Malformed
	var refused *identity.Error
	if errors.As(err, &refused) {
		reason = refused.Reason
	}
	status, sentence := http.StatusForbidden, "The identity provider's answer does not hold. Sign in again; if that does not help, your administrator finds the cause in the gateway's log."
	switch reason {
	case identity.WrongState, identity.WrongNonce:
		sentence = "This sign-in was begun in another window, or too long ago. Sign in again."
	case identity.NotFresh:
		sentence = "The identity provider does not say that you entered your credentials just now (auth_time), so you cannot approve. Your administrator can make it send that claim."
	case identity.ProviderRefused:
		sentence = "The identity provider did not let you in."
	case identity.Acting:
		sentence = "This sign-in is of somebody who acts for somebody else. People approve for themselves."
	case identity.Revoked:
		sentence = "Somebody has taken your access away."
	case identity.ProviderUnavailable, identity.KeysUnavailable, identity.ListUnavailable:
		status, sentence = http.StatusServiceUnavailable, "The identity provider cannot be reached, or not be used. Try again in a while."
	default: // nothing that would help a stranger
	}
	if reason != identity.ProviderUnavailable {
		c.config.Refused(r.Context(), audit.Event{Codes: []string{string(reason)}, Remote: r.RemoteAddr, Via: "console"})
	}
	c.show(w, r, status, "login", page{Title: "Sign in", Problem: sentence, Data: c.startURL("", false)})
}

// logout ends the session, here and in the database.
func (c *Console) logout(w http.ResponseWriter, r *http.Request, s *session) {
	err := c.config.Log.Update(r.Context(), func(tx *audit.Tx) error {
		if _, err := tx.Exec(`DELETE FROM console_sessions WHERE hash = ?`, s.hash[:]); err != nil {
			return err
		}
		_, err := tx.Append(audit.Event{Kind: audit.KindSessionEnd, Session: s.Name, Caller: s.caller(), Remote: r.RemoteAddr, Via: "console"})
		return err
	})
	if err != nil {
		c.broken(w, r, err)
		return
	}
	c.setCookie(w, "session", "", 0)
	http.Redirect(w, r, "/console/login", http.StatusSeeOther)
}
