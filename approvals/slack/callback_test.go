package slack

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/approvals/slack/slacktest"
	"querywarden/audit"
)

// newHTTPWorld is a world whose clicks are callbacks.
func newHTTPWorld(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t, func(c *Config) { c.Mode, c.AppToken = HTTP, "" })
	server := httptest.NewServer(w.it.Handler())
	t.Cleanup(server.Close)
	to := server.URL + "/slack/interactions"
	w.slack.PostTo(to)
	w.slack.Wait("clicks to be taken", func() bool {
		w.it.mu.RLock()
		defer w.it.mu.RUnlock()
		return w.it.running
	})
	return w, to
}

// TestCallback goes the whole way over HTTP.
func TestCallback(t *testing.T) {
	w, _ := newHTTPWorld(t)
	r, m := w.ask(asking(bySlack))
	w.click("omar", m, deny)
	v := w.modal("omar")
	if answer, ok := w.slack.Submit(v, map[string]string{"text": ""}).Acknowledged(); !ok || !strings.Contains(string(answer), "Say why") {
		t.Errorf("%s", answer)
	}
	w.click("olga", m, approve)
	w.wants(r, approvals.Approved)
	if answer, ok := w.slack.Submit(v, map[string]string{"text": "no"}).Acknowledged(); !ok || len(answer) != 0 {
		t.Errorf("%s", answer)
	}
	w.wants(r, approvals.Revoked)
	if codes := w.codes(); len(codes) != 0 {
		t.Errorf("refused: %q", codes)
	}
}

// TestForged is every callback that is not Slack's, or not for the first time.
func TestForged(t *testing.T) {
	w, to := newHTTPWorld(t)
	r, m := w.ask(asking(bySlack))
	b, _ := m.Button("approve")
	payload := func(user string) string {
		text, err := json.Marshal(w.slack.ClickPayload(account(user), m.Channel, m.TS, b))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	form := func(user string) []byte { return []byte(url.Values{"payload": {payload(user)}}.Encode()) }
	good := func() *http.Request { return slacktest.Request(to, form("eve"), time.Now()) }
	olgas := url.Values{"payload": {payload("olga")}}.Encode()
	resign := func(r *http.Request, stamp string, body []byte) *http.Request {
		r.Header.Set(headerTime, stamp)
		r.Header.Set(headerSignature, slacktest.Sign(slacktest.SigningSecret, stamp, body))
		return r
	}
	with := func(body string) *http.Request { return slacktest.Request(to, []byte(body), time.Now()) }
	for _, c := range []struct {
		name    string
		request func() *http.Request
		status  int
		code    Code
	}{
		{"signed with another secret", func() *http.Request {
			r := good()
			r.Header.Set(headerSignature, slacktest.Sign("another secret than that", r.Header.Get(headerTime), form("eve")))
			return r
		}, 401, CodeSignature},
		{"signed with no secret", func() *http.Request {
			r := good()
			r.Header.Set(headerSignature, slacktest.Sign("", r.Header.Get(headerTime), form("eve")))
			return r
		}, 401, CodeSignature},
		{"another body", func() *http.Request {
			r := slacktest.Request(to, []byte(olgas), time.Now())
			r.Header.Set(headerSignature, good().Header.Get(headerSignature))
			return r
		}, 401, CodeSignature},
		{"a byte more", func() *http.Request {
			r := slacktest.Request(to, append(form("eve"), '&'), time.Now())
			r.Header.Set(headerSignature, slacktest.Sign(slacktest.SigningSecret, r.Header.Get(headerTime), form("eve")))
			return r
		}, 401, CodeSignature},
		{"encoded otherwise", func() *http.Request {
			body := form("eve")
			other := []byte(strings.Replace(string(body), "%7B", "%7b", 1))
			if slices.Equal(body, other) {
				t.Fatal("that is no other encoding")
			}
			r := slacktest.Request(to, other, time.Now())
			r.Header.Set(headerSignature, slacktest.Sign(slacktest.SigningSecret, r.Header.Get(headerTime), body))
			return r
		}, 401, CodeSignature},
		{"another time", func() *http.Request {
			r := good()
			r.Header.Set(headerTime, strconv.FormatInt(time.Now().Unix()+1, 10))
			return r
		}, 401, CodeSignature},
		{"no signature", func() *http.Request { r := good(); r.Header.Del(headerSignature); return r }, 401, CodeSignature},
		{"no time", func() *http.Request { r := good(); r.Header.Del(headerTime); return r }, 401, CodeSignature},
		{"half a signature", func() *http.Request {
			r := good()
			r.Header.Set(headerSignature, r.Header.Get(headerSignature)[:20])
			return r
		}, 401, CodeSignature},
		{"version 1", func() *http.Request {
			r := good()
			r.Header.Set(headerSignature, strings.Replace(r.Header.Get(headerSignature), "v0", "v1", 1))
			return r
		}, 401, CodeSignature},
		{"two signatures", func() *http.Request {
			r := good()
			r.Header.Add(headerSignature, r.Header.Get(headerSignature))
			return r
		}, 401, CodeSignature},
		{"two times", func() *http.Request { r := good(); r.Header.Add(headerTime, "1"); return r }, 401, CodeSignature},
		{"a time that is none", func() *http.Request { return resign(good(), "now", form("eve")) }, 401, CodeSignature},
		{"six minutes old", func() *http.Request { return slacktest.Request(to, form("eve"), time.Now().Add(-6*time.Minute)) }, 401, CodeStale},
		{"six minutes early", func() *http.Request { return slacktest.Request(to, form("eve"), time.Now().Add(6*time.Minute)) }, 401, CodeStale},
		{"a payload in the address", func() *http.Request {
			r := slacktest.Request(to, []byte("ssl_check=1"), time.Now())
			r.URL.RawQuery = olgas
			return r
		}, 400, CodeQuery},
		{"another payload in the address", func() *http.Request { r := good(); r.URL.RawQuery = olgas; return r }, 400, CodeQuery},
		{"an empty query", func() *http.Request { r := good(); r.URL.ForceQuery = true; return r }, 400, CodeQuery},
		{"two payloads", func() *http.Request { return with(string(form("eve")) + "&" + olgas) }, 400, CodeMalformed},
		{"something beside the payload", func() *http.Request { return with(string(form("eve")) + "&x=y") }, 400, CodeMalformed},
		{"no payload", func() *http.Request { return with("") }, 400, CodeMalformed},
		{"a form that is none", func() *http.Request { return with("payload=%zz") }, 400, CodeMalformed},
		{"semicolons", func() *http.Request { return with("x=y;" + olgas) }, 400, CodeMalformed},
		{"no JSON", func() *http.Request { return with("payload=x") }, 400, CodeMalformed},
		{"JSON alone", func() *http.Request { return with(payload("olga")) }, 400, CodeMalformed},
		{"called JSON", func() *http.Request { r := good(); r.Header.Set("Content-Type", "application/json"); return r }, 400, CodeMalformed},
		{"a megabyte", func() *http.Request { return with("payload=" + strings.Repeat("x", bodyLimit)) }, 413, CodeMalformed},
		{"GET", func() *http.Request {
			r := good()
			r.Method, r.Body, r.ContentLength = http.MethodGet, http.NoBody, 0
			return r
		}, 405, CodeMalformed},
		{"a click on nothing of ours", func() *http.Request {
			return with(url.Values{"payload": {strings.ReplaceAll(payload("olga"), `"approve"`, `"approve_all"`)}}.Encode())
		}, 400, CodeMalformed},
		{"a shortcut", func() *http.Request {
			return with(url.Values{"payload": {`{"type":"shortcut","team":{"id":"T0TEAM"},"user":{"id":"U0OLGA"}}`}}.Encode())
		}, 400, CodeMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.codes())
			if status, _ := w.slack.Post(c.request()); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if codes := w.codes()[before:]; !slices.Equal(codes, []string{string(c.code)}) {
				t.Errorf("recorded as %q, want %q", codes, c.code)
			}
		})
	}

	// What is good is taken once, and by another gateway over the same log not
	// either.
	body, at := form("olga"), time.Now()
	if status, _ := w.slack.Post(slacktest.Request(to, body, at)); status != 200 {
		t.Fatalf("status %d", status)
	}
	w.wants(r, approvals.Approved)
	before := len(w.codes())
	if status, _ := w.slack.Post(slacktest.Request(to, body, at)); status != 409 {
		t.Errorf("a replay: status %d", status)
	}
	upper := slacktest.Request(to, body, at)
	upper.Header.Set(headerSignature, "v0="+strings.ToUpper(strings.TrimPrefix(upper.Header.Get(headerSignature), "v0=")))
	if status, _ := w.slack.Post(upper); status != 409 {
		t.Errorf("a replay with its signature in capitals: status %d", status)
	}
	another, err := New(t.Context(), w.it.config, w.store)
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(another.Handler())
	t.Cleanup(other.Close)
	if status, _ := w.slack.Post(slacktest.Request(other.URL, body, at)); status != 409 {
		t.Errorf("a replay after a restart: status %d", status)
	}
	if codes := w.codes()[before:]; !slices.Equal(codes, []string{string(CodeReplayed), string(CodeReplayed), string(CodeReplayed)}) {
		t.Errorf("recorded as %q", codes)
	}
	if now := w.get(r); len(now.Votes) != 1 {
		t.Errorf("%+v", now.Votes)
	}
}

// TestUnrecorded: what cannot be noted is not taken.
func TestUnrecorded(t *testing.T) {
	w, to := newHTTPWorld(t)
	r, m := w.ask(asking(bySlack))
	b, _ := m.Button("approve")
	text, err := json.Marshal(w.slack.ClickPayload(account("olga"), m.Channel, m.TS, b))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.log.Update(t.Context(), func(tx *audit.Tx) error { _, err := tx.Exec(`DROP TABLE slack_seen`); return err }); err != nil {
		t.Fatal(err)
	}
	if status, _ := w.slack.Post(slacktest.Request(to, []byte(url.Values{"payload": {string(text)}}.Encode()), time.Now())); status != 503 {
		t.Errorf("status %d", status)
	}
	if now := w.get(r); now.State != approvals.Pending {
		t.Errorf("it is %s", now.State)
	}
}

// TestConfig is what a gateway does not start with.
func TestConfig(t *testing.T) {
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.db"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	store, err := approvals.Open(t.Context(), log, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		wrong  string
	}{
		{"nothing", func(*Config) {}, ""},
		{"HTTP", func(c *Config) { c.Mode, c.AppToken = HTTP, "" }, ""},
		{"no signing secret", func(c *Config) { c.Mode, c.SigningSecret = HTTP, "" }, "signing secret"},
		{"a short signing secret", func(c *Config) { c.Mode, c.SigningSecret = HTTP, "secret" }, "signing secret"},
		{"no app token", func(c *Config) { c.AppToken = "" }, "xapp-"},
		{"the tokens exchanged", func(c *Config) { c.AppToken, c.BotToken = c.BotToken, c.AppToken }, "xoxb-"},
		{"another mode", func(c *Config) { c.Mode = 7 }, "mode"},
		{"no channel", func(c *Config) { c.Channel = "" }, "channel"},
		{"a negative age", func(c *Config) { c.LinkAge = -1 }, "age"},
		{"no console", func(c *Config) { c.Console = "" }, "console"},
		{"a console in the clear", func(c *Config) { c.Console = "http://gate.example.com/console" }, "console"},
		{"a console on loopback", func(c *Config) { c.Console = "http://127.0.0.1:8423/console" }, ""},
		{"an API in the clear", func(c *Config) { c.URL = "http://slack.example.com/api/" }, "Web API"},
		{"an API without a slash", func(c *Config) { c.URL = "https://slack-gov.com/api" }, "slash"},
		{"an API with a password", func(c *Config) { c.URL = "https://a:b@slack-gov.com/api/" }, "Web API"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{
				BotToken: slacktest.BotToken, AppToken: slacktest.AppToken, SigningSecret: slacktest.SigningSecret, Channel: mainChannel,
				Console: "https://gate.example.com/console", Log: log, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			}
			c.change(&config)
			_, err := New(t.Context(), config, store)
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzCallback: no body makes the reader panic, and what it accepts is a click
// on something of ours.
func FuzzCallback(f *testing.F) {
	const button = `{"type":"block_actions","team":{"id":"T"},"user":{"id":"U"},"trigger_id":"1","container":{"channel_id":"C","message_ts":"1.2"},"actions":[{"block_id":"b","action_id":"approve","value":"apr_a:0123456789abcdef"}]}`
	const modal = `{"type":"view_submission","team":{"id":"T"},"user":{"id":"U"},"view":{"callback_id":"deny","private_metadata":"{\"target\":\"apr_a:0123456789abcdef\"}","state":{"values":{"reason":{"text":{"value":"no"}}}}}}`
	for _, payload := range []string{button, modal, `{}`, `null`, `[]`, strings.ReplaceAll(button, `{"block_id"`, `null,{"block_id"`), strings.ReplaceAll(modal, `"state"`, `"stat"`)} {
		f.Add([]byte(url.Values{"payload": {payload}}.Encode()))
	}
	f.Add([]byte("payload=%7B&payload=%7B"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseCallback("application/x-www-form-urlencoded", body)
		if err != nil {
			return
		}
		if c.team == "" || c.user == "" || c.action != open && (len(c.short) != 16 || !strings.HasPrefix(c.id, "apr_") || len(c.id) > idLimit) {
			t.Errorf("%+v", c)
		}
		c.complaint()
	})
}
