package approvals

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestWebhook(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	answer := http.StatusNoContent
	var seen []byte
	var stamp, signature string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, _ = io.ReadAll(r.Body)
		stamp, signature = r.Header.Get("Querywarden-Timestamp"), r.Header.Get("Querywarden-Signature")
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answer)
	}))
	defer server.Close()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w, err := NewWebhook(server.URL, secret, "https://gate.example.com/console/requests/", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	r := Request{ID: "apr_x", State: Pending, Binding: binding, Caller: agent, Reason: "<script>\u202e", Approval: need}
	r.Binding.Statement = "DROP TABLE \"</script>\u200b\""
	n := Notice{Seq: 7, Kind: Asked, Request: r}
	if _, err := w.Tell(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(stamp + "." + string(seen)))
	if want := "v1=" + hex.EncodeToString(mac.Sum(nil)); signature != want || stamp != "1767323045" {
		t.Errorf("signed %s at %s, want %s", signature, stamp, want)
	}
	var body struct {
		Seq     int64
		Kind    NoticeKind
		Request WebhookRequest
	}
	if err := json.Unmarshal(seen, &body); err != nil {
		t.Fatal(err)
	}
	if body.Seq != 7 || body.Kind != Asked || body.Request.Statement != `DROP TABLE "</script>\u{200b}"` || body.Request.Hidden == "" || body.Request.Open != "https://gate.example.com/console/requests/apr_x" {
		t.Errorf("%+v", body)
	}
	if strings.ContainsAny(string(seen), "<>\u202e\u200b") {
		t.Errorf("the body holds what it should have escaped: %s", seen)
	}
	for status, check := range map[int]func(error) bool{
		200: func(err error) bool { return err == nil },
		429: func(err error) bool {
			var r *RetryAfter
			return errors.As(err, &r) && r.After == 7*time.Second
		},
		503: func(err error) bool {
			var r *RetryAfter
			return errors.As(err, &r) && r.After == 7*time.Second
		},
		404: func(err error) bool { var p permanent; return errors.As(err, &p) },
		307: func(err error) bool { var p permanent; return errors.As(err, &p) }, // not followed
	} {
		answer = status
		if _, err := w.Tell(t.Context(), n); !check(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Tell(cancelled, n); err == nil {
		t.Error("told without a context")
	}
	for _, c := range []struct {
		url    string
		secret []byte
	}{{"http://example.com/hook", secret}, {"https://user:pass@example.com/", secret}, {"ftp://example.com", secret}, {"https://example.com", secret[:15]}, {"", secret}} {
		if _, err := NewWebhook(c.url, c.secret, "", time.Now); err == nil {
			t.Errorf("%q with %d bytes was taken", c.url, len(c.secret))
		}
	}
}
