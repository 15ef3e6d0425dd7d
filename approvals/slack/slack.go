// Package slack asks people in Slack, and takes what they click.
//
// # Messages
//
// A request is one message with the buttons Approve, Deny and Open, brought up to
// date in place until it is over; its outcome is told in the message's thread. What
// others wrote (statement, purpose, names, reasons) goes into rich text elements
// and plain text alone. Those are shown as they are: nothing in them is markup,
// a mention, a link or an emoji, so there is nothing to escape and nothing to
// break out of. A statement that is too long for a message or holds characters
// that hide something (see [approvals.Hidden]) is attached as a file, and can be
// denied here but not approved. The limits are those of
// https://docs.slack.dev/reference/block-kit/blocks, and 13,200 characters for a
// whole message, which no page of Slack's tells of.
//
// # Clicks
//
// They come over Socket Mode (https://docs.slack.dev/apis/events-api/using-socket-mode):
// the gateway calls Slack, which needs no public address; trust is TLS and the
// app's token. Or they come as HTTP callbacks, with a signature v0 over time and
// body (https://docs.slack.dev/authentication/verifying-requests-from-slack). That
// signature is checked over the body as it came, before any of it is read; it is
// good for five minutes, and what was accepted once is not accepted again: the
// store of this lies in the log's file. Envelopes of Socket Mode, which Slack may
// send again, are held against the same store.
//
// A click is acknowledged first and worked on afterwards, since Slack waits for
// three seconds and no longer.
//
// # Who decides
//
// A Slack account decides nothing. It is linked once to an identity of the
// provider, by a ticket that only this account is shown and that whoever holds it
// redeems by signing in to the console. An address does not link anybody, but
// where both sides have one and they differ, the link does not count. Guests,
// bots, deactivated accounts and those of another workspace, Slack Connect
// included, are refused. They are looked up at every click.
//
// An approval by click counts where the policy says `confirm: slack`, with the
// groups of the link, which must not be older than the configured age; elsewhere
// the button answers with the console's address. A denial by a linked approver
// always counts. The button carries the request and the first 16 characters of
// its digest: a click on another statement is refused.
//
// Everything that is refused goes into the log with a code ([Code]).
package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slack-go/slack"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/policy"
)

// Provider is what links of Slack accounts are called in the store.
const Provider = "slack"

// A Mode is the way that clicks come. The zero Mode is Socket Mode.
type Mode uint8

// The modes.
const (
	Socket Mode = iota
	HTTP
)

// Config is what a [Slack] needs. All of it is required but Mode, LinkAge and
// URL.
type Config struct {
	BotToken      string // xoxb-…: chat:write, files:write, users:read, users:read.email
	AppToken      string // xapp-… with connections:write, for Socket Mode
	SigningSecret string // for HTTP
	Mode          Mode
	Channel       string // the ID of the channel to ask in, unless the rule names another
	// LinkAge is how old the groups of a link may be for an approval by click;
	// 12 hours if zero.
	LinkAge time.Duration
	// Console is the public URL of the console, without a slash at its end.
	Console string
	// URL is the base of another Slack's Web API, such as
	// https://slack-gov.com/api/; Slack's own if empty.
	URL string
	// Log keeps which clicks have come.
	Log *audit.Log
	// Revoked reports whether what somebody signed in with at a time has been
	// called back since: a link decides nothing then.
	Revoked func(who policy.Identity, signedIn time.Time) bool
	// Refused records what was refused.
	Refused func(context.Context, audit.Event)
	Logger  *slog.Logger
	Now     func() time.Time
}

const (
	defaultLinkAge = 12 * time.Hour
	secretLength   = 16 // of a signing secret at least; Slack's have 32
	callWithin     = 20 * time.Second
	workers        = 4
	queued         = 64
)

// A Slack is the messenger of one workspace. It is safe for concurrent use.
type Slack struct {
	config Config
	store  *approvals.Store
	api    *slack.Client
	team   atomic.Value // string: the workspace's ID, once it is known
	clicks chan click

	mu      sync.RWMutex
	running bool // clicks are taken
}

var _ approvals.Messenger = (*Slack)(nil)

// New checks the configuration. It does not call Slack: a gateway starts
// whether or not Slack answers.
func New(ctx context.Context, c Config, store *approvals.Store) (*Slack, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("setting up Slack: %w", err)
	}
	if c.LinkAge == 0 {
		c.LinkAge = defaultLinkAge
	}
	options := []slack.Option{
		slack.OptionAppLevelToken(c.AppToken),
		slack.OptionHTTPClient(&http.Client{Timeout: callWithin}),
		slack.OptionLog(slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug)),
	}
	if c.URL != "" {
		options = append(options, slack.OptionAPIURL(c.URL))
	}
	s := &Slack{config: c, store: store, api: slack.New(c.BotToken, options...), clicks: make(chan click, queued)}
	if err := s.openSeen(ctx); err != nil {
		return nil, fmt.Errorf("setting up Slack: %w", err)
	}
	return s, nil
}

func (c *Config) check() error {
	if !strings.HasPrefix(c.BotToken, "xoxb-") {
		return errors.New("the bot's token does not begin with xoxb-")
	}
	switch c.Mode {
	case Socket:
		if !strings.HasPrefix(c.AppToken, "xapp-") {
			return errors.New("the app's token does not begin with xapp-, and Socket Mode needs one")
		}
	case HTTP:
		// HMAC takes an empty key, and then anybody can sign.
		if len(c.SigningSecret) < secretLength {
			return fmt.Errorf("the signing secret has less than %d characters", secretLength)
		}
	default:
		return errors.New("there is no such mode")
	}
	if c.Channel == "" {
		return errors.New("there is no channel to ask in")
	}
	if c.LinkAge < 0 {
		return errors.New("the age of links is negative")
	}
	if err := checkURL(c.Console); err != nil {
		return fmt.Errorf("the console's URL: %w", err)
	}
	if c.URL != "" {
		if err := checkURL(c.URL); err != nil {
			return fmt.Errorf("the Web API's URL: %w", err)
		}
		if !strings.HasSuffix(c.URL, "/") {
			return errors.New("the Web API's URL does not end with a slash")
		}
	}
	return nil
}

// checkURL refuses what would send secrets or statements in the clear.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is not one of https", text)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not one of https", text)
	}
	return nil
}

// Name implements [approvals.Messenger].
func (s *Slack) Name() string { return Provider }

// requestURL is where the console shows a request.
func (s *Slack) requestURL(id string) string {
	return s.config.Console + "/requests/" + url.PathEscape(id)
}

// linkURL is where an account is linked.
func (s *Slack) linkURL(ticket string) string {
	return s.config.Console + "/link?ticket=" + url.QueryEscape(ticket)
}

// Run takes clicks until the context ends, and works on what it has taken
// before it returns. It finds out which workspace the bot's token is of, and
// tries for as long as that takes. It is called once.
func (s *Slack) Run(ctx context.Context) {
	if !s.identify(ctx) {
		return
	}
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for c := range s.clicks {
				s.work(working, c)
			}
		})
	}
	if s.config.Mode == Socket {
		s.listen(ctx)
	}
	<-ctx.Done()
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	close(s.clicks)
	running.Wait()
}

// identify asks whose token this is, until it is known.
func (s *Slack) identify(ctx context.Context) bool {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		who, err := s.api.AuthTestContext(ctx)
		if err == nil && who.TeamID != "" {
			s.team.Store(who.TeamID)
			s.config.Logger.Info("Slack answers", "team", who.TeamID, "user", who.UserID)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.config.Logger.Error("asking Slack whose token this is", "again_in", wait, "err", err)
		if !pause(ctx, wait) {
			return false
		}
	}
}

// pause waits, and reports whether to go on.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// take queues a click for work, and reports whether there was room.
func (s *Slack) take(c click) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.running {
		return false
	}
	select {
	case s.clicks <- c:
		return true
	default:
		return false
	}
}
