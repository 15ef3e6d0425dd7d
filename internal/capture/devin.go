package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

// Devin's cloud sessions have no hooks; their messages are fetched
// (docs.devin.ai, API v3: organizations/{org}/sessions and
// …/sessions/{id}/messages; a service user with ViewOrgSessions). This follows
// the documentation and was tried against a double of it, not against Devin.
// Nothing in an MCP request names the session, so these conversations are
// recorded, and no call is joined to them.

// A DevinConfig says whose sessions are read. All but Client, Every and URL are
// required.
type DevinConfig struct {
	URL          string                 // https://api.devin.ai if empty
	Organization string                 // org-…
	Token        func() (string, error) // of a service user, cog_…
	// People are those whose sessions are read, by Devin's name for them: a
	// session is its person's, never whose a message says.
	People map[string]policy.Caller
	Every  time.Duration // 30 s if zero
	Client *http.Client  // http.DefaultClient if nil
}

// A devinReader remembers how far it has read.
type devinReader struct {
	config  DevinConfig
	store   *Store
	began   int64             // what was written before, Unix seconds, is not taken
	since   int64             // sessions that changed before, Unix seconds, have been read
	cursors map[string]string // of messages, by session
	counts  map[string]int    // of messages behind that cursor that have been taken
}

// The bounds of one round.
const (
	devinPage  = 100
	devinPages = 50
	devinReply = 8 << 20 // bytes
)

// FollowDevin begins to read messages, those that are written from now on, until
// the store is closed.
func (s *Store) FollowDevin(c DevinConfig) error {
	if !s.On() {
		return ErrOff
	}
	if c.Organization == "" || c.Token == nil || len(c.People) == 0 {
		return errors.New("reading Devin's sessions: the organization, a token and the people are required")
	}
	if c.URL == "" {
		c.URL = "https://api.devin.ai"
	}
	if c.Every <= 0 {
		c.Every = 30 * time.Second
	}
	if c.Client == nil {
		c.Client = http.DefaultClient
	}
	began := s.config.Now().Unix()
	d := &devinReader{config: c, store: s, began: began, since: began, cursors: map[string]string{}, counts: map[string]int{}}
	s.stopped.Go(func() { d.run(s.background) })
	return nil
}

func (d *devinReader) run(ctx context.Context) {
	tick := time.NewTicker(d.config.Every)
	defer tick.Stop()
	for {
		if err := d.round(ctx); err != nil && ctx.Err() == nil {
			d.store.config.Logger.Error("reading Devin's sessions", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

type devinSession struct {
	ID      string `json:"session_id"`
	User    string `json:"user_id"`
	Updated int64  `json:"updated_at"`
}

type devinMessage struct {
	ID      string `json:"event_id"`
	Source  string `json:"source"` // devin or user
	Message string `json:"message"`
	Created int64  `json:"created_at"`
}

// round reads what is new in the sessions that have changed.
func (d *devinReader) round(ctx context.Context) error {
	newest := d.since
	query := url.Values{"updated_after": {strconv.FormatInt(d.since, 10)}}
	after := ""
	for range devinPages {
		page := devinPageOf[devinSession]{}
		if err := d.get(ctx, "sessions", query, after, &page); err != nil {
			return err
		}
		for _, session := range page.Items {
			if caller, ok := d.config.People[session.User]; ok {
				if err := d.read(ctx, caller, session.ID); err != nil {
					return err
				}
			}
			newest = max(newest, session.Updated)
		}
		if after = page.End; !page.More || after == "" {
			break
		}
	}
	d.since = newest
	return nil
}

// read takes a session's new messages.
func (d *devinReader) read(ctx context.Context, caller policy.Caller, session string) error {
	id := session
	if !strings.HasPrefix(id, "devin-") {
		id = "devin-" + id
	}
	for range devinPages {
		page := devinPageOf[devinMessage]{}
		if err := d.get(ctx, "sessions/"+url.PathEscape(id)+"/messages", nil, d.cursors[id], &page); err != nil {
			return err
		}
		for _, m := range page.Items[min(d.counts[id], len(page.Items)):] {
			kind := audit.KindResponse
			if m.Source == "user" {
				kind = audit.KindPrompt
			}
			if m.Created < d.began {
				d.counts[id]++
				continue
			}
			record := Record{Source: "devin", Conversation: id, Turn: m.ID}
			if err := d.store.Take(caller, record.saying(kind, m.Message)); err != nil {
				return err // the rest comes with the next round
			}
			d.counts[id]++
		}
		if !page.More || page.End == "" {
			return nil
		}
		d.cursors[id], d.counts[id] = page.End, 0
	}
	return nil
}

type devinPageOf[T any] struct {
	Items []T    `json:"items"`
	End   string `json:"end_cursor"`
	More  bool   `json:"has_next_page"`
}

// get reads one page.
func (d *devinReader) get(ctx context.Context, path string, query url.Values, after string, page any) error {
	token, err := d.config.Token()
	if err != nil {
		return err
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("first", strconv.Itoa(devinPage))
	if query.Del("after"); after != "" {
		query.Set("after", after)
	}
	place := strings.TrimSuffix(d.config.URL, "/") + "/v3/organizations/" + url.PathEscape(d.config.Organization) + "/" + path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := d.config.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, devinReply)).Decode(page); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
