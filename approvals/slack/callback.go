package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/slack-go/slack"

	"querywarden/audit"
)

// bodyLimit is more than any callback has, in bytes: it carries the message that
// was clicked on.
const bodyLimit = 1 << 20

const (
	headerTime      = "X-Slack-Request-Timestamp"
	headerSignature = "X-Slack-Signature"
)

// Handler takes callbacks of the mode [HTTP]. In Socket Mode there is nothing
// here.
func (s *Slack) Handler() http.Handler {
	if s.config.Mode != HTTP {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(s.callback)
}

func (s *Slack) callback(w http.ResponseWriter, r *http.Request) {
	turnAway := func(status int, code Code) {
		s.config.Refused(r.Context(), audit.Event{Codes: []string{string(code)}, Remote: r.RemoteAddr, Via: Provider})
		http.Error(w, http.StatusText(status), status)
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		turnAway(http.StatusMethodNotAllowed, CodeMalformed)
		return
	}
	// The signature does not cover the address: whatever stands in its query is
	// not Slack's word.
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		turnAway(http.StatusBadRequest, CodeQuery)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		turnAway(http.StatusRequestEntityTooLarge, CodeMalformed)
		return
	}
	if code := verify(r.Header, body, s.config.SigningSecret); code != "" {
		turnAway(http.StatusUnauthorized, code)
		return
	}
	c, err := parseCallback(r.Header.Get("Content-Type"), body)
	if err != nil {
		turnAway(http.StatusBadRequest, CodeMalformed)
		return
	}
	first, err := s.first(r.Context(), callbackKey(r.Header.Get(headerTime), body))
	switch {
	case err != nil:
		s.config.Logger.Error("taking a callback", "err", err)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	case !first:
		turnAway(http.StatusConflict, CodeReplayed)
		return
	}
	if complaint := c.complaint(); complaint != nil {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(complaint); err != nil {
			s.config.Logger.Warn("answering a callback", "err", err)
		}
		return
	}
	c.at = s.config.Now()
	if !s.take(c) {
		s.config.Logger.Warn("a click came while too many wait, or while the gateway is stopping")
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	// Modals take an empty answer for a yes.
	w.WriteHeader(http.StatusOK)
}

// verify checks the signature over the body, and says what is wrong with it.
func verify(h http.Header, body []byte, secret string) Code {
	// With two of them, whoever stands between could have checked the other.
	if len(h.Values(headerTime)) != 1 || len(h.Values(headerSignature)) != 1 {
		return CodeSignature
	}
	v, err := slack.NewSecretsVerifier(h, secret)
	if errors.Is(err, slack.ErrExpiredTimestamp) {
		return CodeStale
	}
	if err != nil {
		return CodeSignature
	}
	if _, err := v.Write(body); err != nil {
		return CodeSignature
	}
	if err := v.Ensure(); err != nil {
		return CodeSignature
	}
	return ""
}

// parseCallback reads the form of a callback: one payload, and nothing else.
func parseCallback(contentType string, body []byte) (click, error) {
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/x-www-form-urlencoded" {
		return click{}, fmt.Errorf("reading a callback: it is %q", contentType)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return click{}, fmt.Errorf("reading a callback: %w", err)
	}
	if len(form) != 1 || len(form["payload"]) != 1 {
		return click{}, errors.New("reading a callback: it is not one payload")
	}
	var callback slack.InteractionCallback
	if err := json.Unmarshal([]byte(form["payload"][0]), &callback); err != nil {
		return click{}, fmt.Errorf("reading a callback: %w", err)
	}
	return readClick(&callback)
}
