package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
)

const (
	// searchSlice is how many entries are looked at in one go, searchTime how
	// long a search goes on: what it has found by then is shown, and where it
	// goes on.
	searchSlice = 5000
	searchTime  = 3 * time.Second
	// sessionsShown is how many sessions a page lists, sessionEntries how many
	// entries of one of them are read.
	sessionsShown  = 25
	sessionEntries = 2000
)

// A search is what an auditor looks for.
type search struct {
	Person, Table, Text, Verdict string
	Since, Until                 string // days
	Readers                      bool   // sessions of the console as well
	before                       int64
	filter                       audit.Filter
}

// readSearch reads a search from an address. What cannot be read is said.
func readSearch(q url.Values) (search, error) {
	s := search{
		Person: strings.TrimSpace(q.Get("person")), Table: strings.TrimSpace(q.Get("table")), Text: strings.TrimSpace(q.Get("text")),
		Verdict: q.Get("verdict"), Since: q.Get("since"), Until: q.Get("until"), Readers: q.Get("readers") != "",
	}
	if strings.Contains(s.Person, "@") {
		s.filter.Email = s.Person
	} else {
		s.filter.Subject = s.Person
	}
	// Tables are recorded as Snowflake writes names.
	s.filter.Object = strings.ToUpper(s.Table)
	s.filter.Verdict = s.Verdict
	for _, d := range []struct {
		text string
		to   *time.Time
		add  time.Duration
	}{{s.Since, &s.filter.Since, 0}, {s.Until, &s.filter.Until, 24 * time.Hour}} {
		if d.text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, d.text)
		if err != nil {
			return s, fmt.Errorf("%q is not a day such as 2026-11-01", short(d.text, 20))
		}
		*d.to = at.Add(d.add)
	}
	if b := q.Get("before"); b != "" {
		n, err := strconv.ParseInt(b, 10, 64)
		if err != nil || n < 0 {
			return s, errors.New("before is not the number of an entry")
		}
		s.before = n
	}
	return s, nil
}

// values is the search as an address.
func (s *search) values() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"person": s.Person, "table": s.Table, "text": s.Text, "verdict": s.Verdict, "since": s.Since, "until": s.Until} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if s.Readers {
		q.Set("readers", "1")
	}
	return q
}

// fits reports whether an entry holds the words that are looked for.
func (s *search) fits(e *audit.Entry) bool {
	if s.Text == "" {
		return true
	}
	for _, name := range []string{"sql", "runs", "purpose", "prompt", "response"} {
		if strings.Contains(strings.ToLower(e.Texts[name]), strings.ToLower(s.Text)) {
			return true
		}
	}
	return false
}

// A found session is one line of the list.
type found struct {
	Session     string
	Who, Kind   string
	Client      string
	Behind      string
	First, Last time.Time
	Statements  int
	Refused     int
	Asked       int
	Masked      int // statements with masks
	Line        string
	Reader      bool
	More        bool // it has more entries than were read
}

type logData struct {
	Search   search
	Path     string // of the page
	Talks    bool   // conversations are listed, and not sessions
	Found    []talk
	Sessions []found
	Older    string // the address where the search goes on
	Early    bool   // it stopped because of the time
	Verdicts []string
	Size     int64
	Origin   string
}

func verdicts() []string { return []string{"allow", "ask", "deny"} }

// logPage searches sessions, the newest first.
func (c *Console) logPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	p := page{Title: "The log", Here: "log"}
	q, err := readSearch(r.URL.Query())
	data := logData{Search: q, Path: "/console/log", Origin: c.config.Reader.Origin(), Verdicts: verdicts()}
	if err != nil {
		p.Problem, p.Data = err.Error(), data
		c.show(w, r, http.StatusBadRequest, "log", p)
		return
	}
	names, err := c.search(r.Context(), &data, c.sessionOf)
	for _, name := range names {
		var one found
		if one, err = c.sum(r.Context(), name); err != nil {
			break
		}
		data.Sessions = append(data.Sessions, one)
	}
	if err != nil {
		c.broken(w, r, err)
		return
	}
	p.Data = data
	c.show(w, r, http.StatusOK, "log", p)
}

// sessionOf is the session of an entry that is looked for.
func (c *Console) sessionOf(_ context.Context, q *search, e *audit.Entry) ([]string, error) {
	if e.Event.Session == "" || !q.Readers && strings.HasPrefix(e.Event.Session, "console-") || !q.fits(e) {
		return nil, nil
	}
	return []string{e.Event.Session}, nil
}

// search looks for the newest things of which an entry fits. of says which things
// an entry belongs to.
func (c *Console) search(ctx context.Context, data *logData, of func(context.Context, *search, *audit.Entry) ([]string, error)) (names []string, err error) {
	_, last, _, err := c.config.Log.Last(ctx)
	if err != nil {
		return nil, err
	}
	data.Size = last + 1
	q, until := &data.Search, c.now().Add(searchTime)
	high := data.Size
	if q.before > 0 {
		high = min(high, q.before)
	}
	low := high
	for low > 0 && len(names) < sessionsShown {
		if c.now().After(until) {
			data.Early = true
			break
		}
		low = max(0, high-searchSlice)
		f := q.filter
		f.After, f.Before = low, high
		var hits []*audit.Entry
		for e, err := range c.config.Reader.Entries(ctx, f) {
			if err != nil {
				return nil, err
			}
			hits = append(hits, e)
		}
		for _, e := range slices.Backward(hits) {
			belongs, err := of(ctx, q, e)
			if err != nil {
				return nil, err
			}
			for _, name := range belongs {
				if slices.Contains(names, name) {
					continue
				}
				names = append(names, name)
			}
			if len(names) >= sessionsShown {
				low = e.Index // go on behind this one
				break
			}
		}
		if !q.filter.Since.IsZero() && len(hits) == 0 && low > 0 {
			// Nothing older can fit either, once a slice lies before the day.
			if first, err := c.config.Reader.Entry(ctx, low); err == nil && first.Event.Time.Before(q.filter.Since) {
				low = 0
			}
		}
		high = low
	}
	if low > 0 {
		older := q.values()
		older.Set("before", strconv.FormatInt(low, 10))
		data.Older = data.Path + "?" + older.Encode()
	}
	return names, nil
}

// sum tells a session in a line.
func (c *Console) sum(ctx context.Context, name string) (found, error) {
	out := found{Session: name, Reader: strings.HasPrefix(name, "console-")}
	n := 0
	for e, err := range c.config.Reader.Entries(ctx, audit.Filter{Session: name, Last: sessionEntries}) {
		if err != nil {
			return out, err
		}
		n++
		v := e.Event
		if out.First.IsZero() {
			out.First = v.Time
		}
		out.Last = v.Time
		if out.Who == "" && v.Caller != nil {
			out.Who, out.Kind, out.Behind = who(v.Caller), v.Caller.Kind, approvals.Escape(v.Caller.Behind)
		}
		if out.Client == "" {
			out.Client = approvals.Escape(v.Client)
		}
		if v.Kind != audit.KindDecision || v.DryRun {
			continue
		}
		out.Statements++
		if out.Line == "" {
			out.Line = line(text(e, "sql"), 120)
		}
		if len(v.Masks) > 0 {
			out.Masked++
		}
		switch v.Verdict {
		case "deny":
			out.Refused++
		case "ask":
			out.Asked++
		}
	}
	out.More = n == sessionEntries
	return out, nil
}

// A badge says what has just been verified, and how long that took.
type badge struct {
	*audit.Inclusion
	Took   time.Duration
	Origin string
}

// verify proves entries, now.
func (c *Console) verify(ctx context.Context, indexes []int64) (badge, error) {
	began := time.Now()
	proven, err := c.config.Reader.VerifyEntries(ctx, indexes)
	return badge{proven, time.Since(began), c.config.Reader.Origin()}, err
}

type sessionData struct {
	Session string
	Talk    bool // it is a conversation
	First   *audit.Event
	Who     string
	Steps   []step
	Badge   badge
	From    time.Time
	To      time.Time
	Cut     bool // there are more entries than are shown

	At, Of     int // step by step; At is 0 where all are shown
	Back, Next string
	Begin, All string
}

// sessionPage tells one session.
func (c *Console) sessionPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	name := r.PathValue("id")
	t := newTeller(func(e *audit.Entry) (string, error) { return c.config.Reader.OpenRows(c.config.RowsKey, e) })
	if err := c.gather(r.Context(), t, name); err != nil {
		c.broken(w, r, err)
		return
	}
	if len(t.entries) == 0 {
		c.fail(w, r, http.StatusNotFound, "The log has no such session.")
		return
	}
	data := sessionData{Session: name, Steps: t.steps()}
	indexes := t.indexes()
	first := t.entries[indexes[0]].Event
	data.First, data.Who = &first, who(first.Caller)
	data.From, data.To, data.Cut = first.Time, t.entries[indexes[len(indexes)-1]].Event.Time, len(indexes) >= sessionEntries
	var err error
	if data.Badge, err = c.verify(r.Context(), indexes); err != nil {
		c.broken(w, r, err)
		return
	}
	data.stepwise("/console/log/sessions/"+url.PathEscape(name)+"?", r.URL.Query().Get("step"))
	c.show(w, r, http.StatusOK, "session", page{Title: "Session " + approvals.Escape(name), Here: "log", Data: data})
}

// stepwise keeps the steps up to the one that is asked for. here is the page's
// address, ready for another parameter.
func (d *sessionData) stepwise(here, at string) {
	d.Of, d.All, d.Begin = len(d.Steps), strings.TrimRight(here, "?&"), here+"step=1#now"
	n, err := strconv.Atoi(at)
	if err != nil || n < 1 || n > d.Of {
		return
	}
	d.At, d.Steps = n, d.Steps[:n]
	if n > 1 {
		d.Back = fmt.Sprintf("%sstep=%d#now", here, n-1)
	}
	if n < d.Of {
		d.Next = fmt.Sprintf("%sstep=%d#now", here, n+1)
	}
}

// gather reads the entries of a session, and what people did about its requests,
// which is no part of it.
func (c *Console) gather(ctx context.Context, t *teller, name string) error {
	add := func(f audit.Filter) error {
		f.Last = sessionEntries
		for e, err := range c.config.Reader.Entries(ctx, f) {
			if err != nil {
				return err
			}
			t.add(e)
		}
		return nil
	}
	if err := add(audit.Filter{Session: name}); err != nil {
		return err
	}
	var requests []string
	for _, e := range t.entries {
		// Whoever looked at a request has nothing to do with its session.
		if id := e.Event.Approval; id != "" && e.Event.Kind != audit.KindRead && !slices.Contains(requests, id) {
			requests = append(requests, id)
		}
	}
	for _, id := range requests {
		if err := add(audit.Filter{Approval: id}); err != nil {
			return err
		}
	}
	return c.ends(ctx, t)
}

type entryData struct {
	*audit.Entry
	JSON  string
	Texts []told
	Badge badge
}

// entry finds the entry of a path. Where there is none it has answered.
func (c *Console) entry(w http.ResponseWriter, r *http.Request) *audit.Entry {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil {
		c.fail(w, r, http.StatusNotFound, "The log has no such entry.")
		return nil
	}
	e, err := c.config.Reader.Entry(r.Context(), n)
	switch {
	case errors.Is(err, audit.ErrNoEntry):
		c.fail(w, r, http.StatusNotFound, "The log has no such entry.")
		return nil
	case err != nil:
		c.broken(w, r, err)
		return nil
	}
	return e
}

// entryPage shows one entry as it stands in the log.
func (c *Console) entryPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	e := c.entry(w, r)
	if e == nil {
		return
	}
	pretty, err := json.MarshalIndent(e.Event, "", "  ")
	if err != nil {
		c.broken(w, r, err)
		return
	}
	data := entryData{Entry: e, JSON: string(pretty)}
	for _, name := range []string{"sql", "runs", "purpose", "reason", "problem", "search", "policy", "config", "facts"} {
		if t := text(e, name); t != "" {
			data.Texts = append(data.Texts, told{Label: name, Code: spans(t, nil, true)})
		}
	}
	if data.Badge, err = c.verify(r.Context(), []int64{e.Index}); err != nil {
		c.broken(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "entry", page{Title: fmt.Sprintf("Entry %d", e.Index), Here: "log", Data: data})
}

// proof hands out the proof of an entry (C2SP tlog-proof), for a verifier of the
// auditor's own.
func (c *Console) proof(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	e := c.entry(w, r)
	if e == nil {
		return
	}
	p, err := c.config.Reader.Prove(r.Context(), e.Index)
	if err != nil {
		c.broken(w, r, err)
		return
	}
	c.file(w, fmt.Sprintf("%d.tlog-proof", e.Index), p.String())
}

// raw hands out an entry, byte for byte as the tree binds it.
func (c *Console) raw(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	if e := c.entry(w, r); e != nil {
		c.file(w, fmt.Sprintf("%d.json", e.Index), string(e.Raw))
	}
}

// file answers with a file to keep, which no browser shows in a page.
func (c *Console) file(w http.ResponseWriter, name, text string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = io.WriteString(w, text) // who has gone needs no answer
}

type verifyData struct {
	*audit.Report
	Took time.Duration
	Busy bool
}

// verifyPage verifies the whole log, for one at a time.
func (c *Console) verifyPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	if !c.verifying.TryLock() {
		c.show(w, r, http.StatusServiceUnavailable, "verify", page{Title: "Verify", Here: "log", Data: verifyData{Busy: true}})
		return
	}
	defer c.verifying.Unlock()
	began := time.Now()
	report, err := c.config.Reader.Verify(r.Context(), nil)
	if err != nil {
		c.broken(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "verify", page{Title: "Verify", Here: "log", Data: verifyData{Report: report, Took: time.Since(began)}})
}
