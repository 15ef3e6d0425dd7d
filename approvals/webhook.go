package approvals

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Webhook is a messenger that posts notices to a URL, for those who have
// another messenger than Slack.
//
// The body is one JSON object in UTF-8, with <, >, & and the line separators of
// Unicode escaped:
//
//	{"seq": 7, "kind": "asked", "at": "2026-01-02T03:04:05Z", "request": {…}}
//
// kind is a [NoticeKind]; request is [View] in JSON, with the keys of
// [WebhookRequest]. Two headers come with it:
//
//	Querywarden-Timestamp: seconds since 1970, in decimal
//	Querywarden-Signature: v1=HMAC-SHA256(secret, timestamp ‖ "." ‖ body) in hexadecimal
//
// A receiver computes the signature over the bytes as they came, compares in
// constant time, refuses timestamps more than five minutes off, and remembers
// seq, which is the same when a notice comes again. Any answer of 2xx means that
// it was taken. 429 and 5xx are tried again, after Retry-After if it is there;
// other answers are not. Redirects are not followed. Nothing in the answer
// decides anything: a webhook tells, it takes no votes.
type Webhook struct {
	url    string
	secret []byte
	open   string // where the console shows a request, without its id
	client *http.Client
	now    func() time.Time
}

// webhookSecret is how long the secret has to be at least, in bytes.
const webhookSecret = 16

// NewWebhook returns the messenger. The URL is https, or http on loopback; the
// secret has at least 16 bytes. console is the URL under which the console shows
// requests, empty if there is none.
func NewWebhook(target string, secret []byte, console string, now func() time.Time) (*Webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("making a webhook: its URL is not one of https without a password")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("making a webhook: statements must not cross a network in the clear; use https")
	}
	if len(secret) < webhookSecret {
		return nil, fmt.Errorf("making a webhook: its secret is shorter than %d bytes", webhookSecret)
	}
	return &Webhook{url: target, secret: secret, open: console, now: now, client: &http.Client{
		Timeout:       tellWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name implements [Messenger].
func (w *Webhook) Name() string { return "webhook" }

// A WebhookRequest is a request in a webhook's body.
type WebhookRequest struct {
	ID         string       `json:"id"`
	State      State        `json:"state"`
	Digest     string       `json:"digest"`
	Who        string       `json:"who"`
	Kind       string       `json:"kind"`
	Behind     string       `json:"behind,omitempty"`
	Agent      string       `json:"agent,omitempty"`   // asserted
	Purpose    string       `json:"purpose,omitempty"` // asserted
	Statement  string       `json:"statement"`         // with characters that hide something escaped
	Hidden     string       `json:"hidden,omitempty"`  // why it had to be escaped
	Brief      Brief        `json:"brief"`
	Groups     []string     `json:"groups"` // who may decide
	Quorum     int          `json:"quorum"`
	Yes        int          `json:"yes"`
	Asked      time.Time    `json:"asked"`
	DecideBy   time.Time    `json:"decide_by"`
	RunBy      time.Time    `json:"run_by,omitzero"`
	Votes      []Vote       `json:"votes,omitempty"`
	BreakGlass *BrokenGlass `json:"break_glass,omitempty"`
	Outcome    *Outcome     `json:"outcome,omitempty"`
	Open       string       `json:"open,omitempty"` // where to decide
}

// Tell implements [Messenger].
func (w *Webhook) Tell(ctx context.Context, n Notice) (string, error) {
	body, err := w.body(n)
	if err != nil {
		return "", Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return "", Permanent(fmt.Errorf("telling the webhook: %w", err))
	}
	at := strconv.FormatInt(w.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Querywarden-Timestamp", at)
	req.Header.Set("Querywarden-Signature", w.sign(at, body))
	res, err := w.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("telling the webhook: %w", err)
	}
	defer res.Body.Close()
	// A connection can be used again only if its answer was read.
	if _, err := io.CopyN(io.Discard, res.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("telling the webhook: %w", err)
	}
	switch {
	case res.StatusCode/100 == 2:
		return "", nil
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode/100 == 5:
		return "", &RetryAfter{Err: fmt.Errorf("telling the webhook: it answered %s", res.Status), After: w.retryAfter(res.Header.Get("Retry-After"))}
	default:
		return "", Permanent(fmt.Errorf("telling the webhook: it answered %s", res.Status))
	}
}

// sign is the value of the signature's header.
func (w *Webhook) sign(timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, w.secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); zero if it is neither.
func (w *Webhook) retryAfter(text string) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(w.now()), 0)
	}
	return 0
}

func (w *Webhook) body(n Notice) ([]byte, error) {
	v := n.Request.View()
	r := WebhookRequest{
		ID: v.ID, State: v.State, Digest: v.Digest, Who: v.Who, Kind: v.Kind.String(), Behind: v.Behind, Agent: v.Agent, Purpose: v.Purpose,
		Statement: Escape(v.Statement), Brief: v.Brief, Groups: v.Need.Groups, Quorum: v.Need.Quorum, Yes: v.Yes,
		Asked: v.Asked, DecideBy: v.DecideBy, RunBy: v.RunBy, Votes: v.Votes, BreakGlass: v.BreakGlass, Outcome: v.Outcome,
	}
	if v.Readable != nil {
		r.Hidden = v.Readable.Error()
	}
	if w.open != "" {
		r.Open = w.open + v.ID
	}
	body, err := json.Marshal(struct {
		Seq     int64          `json:"seq"`
		Kind    NoticeKind     `json:"kind"`
		At      time.Time      `json:"at"`
		Request WebhookRequest `json:"request"`
	}{n.Seq, n.Kind, w.now().UTC(), r})
	if err != nil {
		return nil, fmt.Errorf("writing a notice: %w", err)
	}
	return body, nil
}
