package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/policy"
)

// sees reports whether a request exists for somebody.
func (c *Console) sees(s *session, r *approvals.Request) bool {
	glass := r.Approval.BreakGlass
	return c.isAuditor(s) || concerns(s, r) || s.in(r.Approval.Groups) || glass != nil && s.in(glass.Groups)
}

// concerns reports whether somebody asks, or is the person behind who asks.
func concerns(s *session, r *approvals.Request) bool {
	return s.Identity.Same(r.Binding.Requester) || r.Binding.Behind != nil && s.Identity.Same(*r.Binding.Behind)
}

// options are what somebody may do about a request now.
type options struct {
	Approve, Deny, Revoke, Settle, Glass, Acknowledge, Cancel bool

	NeedsFresh bool   // for whatever of it lets something run
	Again      string // where to sign in again
	Reason     bool   // an approval needs one
	Why        string // there is nothing to do for them
}

// Any reports whether there is anything.
func (o options) Any() bool {
	return o.Approve || o.Deny || o.Revoke || o.Settle || o.Glass || o.Acknowledge || o.Cancel
}

// options says what somebody may do. It is what the page offers; what counts is
// what the store says when they do it.
func (c *Console) options(s *session, r *approvals.Request) options {
	v := s.voter()
	o := options{Reason: r.Approval.NeedReason, Again: c.startURL("/console/requests/"+r.ID, true)}
	may := r.MayDecide(v)
	said := slices.IndexFunc(r.Votes, func(vote approvals.Vote) bool { return vote.Voter.Same(s.Identity) })
	glass := r.Approval.BreakGlass
	switch r.State {
	case approvals.Pending:
		o.Approve, o.Deny = may == nil && said < 0, may == nil
		o.Glass = glass != nil && !concerns(s, r) && s.in(glass.Groups)
		o.Cancel = owns(s, r)
	case approvals.Approved:
		o.Revoke, o.Cancel = may == nil, owns(s, r)
	case approvals.Indeterminate:
		o.Settle = may == nil
	case approvals.Executing, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Revoked, approvals.Done, approvals.Failed:
	default:
	}
	if broken := r.BreakGlass; broken != nil && broken.AckBy == nil && !broken.By.Same(s.Identity) && !concerns(s, r) {
		o.Acknowledge = may == nil || glass != nil && s.in(glass.Groups)
	}
	o.NeedsFresh = !c.fresh(s) && (o.Approve && c.wantsFresh(r) || o.Glass || o.Settle || o.Acknowledge)
	switch {
	case concerns(s, r) && r.State == approvals.Pending:
		o.Why = "This is your own request, or one of an agent that acts for you. Somebody else decides on it."
	case said >= 0 && r.State == approvals.Pending:
		o.Why = "You have said yes. Others have to as well."
	case !o.Any() && r.Open():
		o.Why = "There is nothing for you to do about this request."
	}
	return o
}

// owns reports whether somebody may take a request back as the one who asked.
func owns(s *session, r *approvals.Request) bool {
	by := r.Binding.Requester
	return by.Subject != "" && s.Identity.Issuer == by.Issuer && s.Identity.Subject == by.Subject
}

// wantsFresh reports whether a yes takes a fresh sign-in: always, unless the
// rule is content with a click in Slack and the statement is what it seems.
func (c *Console) wantsFresh(r *approvals.Request) bool {
	return r.Approval.Confirm != policy.BySlack || approvals.Hidden(r.Binding.Statement) != nil
}

// A listed request is one line of a list.
type listed struct {
	approvals.View
	Line string // of the statement
	Mine bool
}

func (c *Console) listed(s *session, r *approvals.Request) listed {
	return listed{r.View(), line(r.Binding.Statement, 160), concerns(s, r)}
}

// waiting is what the first page shows.
type waiting struct {
	You, Attention, Running, Others []listed
}

func (c *Console) home(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	open, err := c.config.Approvals.List(r.Context(), approvals.Filter{})
	if err != nil {
		c.broken(w, r, err)
		return
	}
	var data waiting
	for i := range open {
		one := &open[i]
		if !c.sees(s, one) {
			continue
		}
		o, l := c.options(s, one), c.listed(s, one)
		switch {
		case o.Approve:
			data.You = append(data.You, l)
		case o.Settle || o.Acknowledge:
			data.Attention = append(data.Attention, l)
		case one.State == approvals.Approved || one.State == approvals.Executing:
			data.Running = append(data.Running, l)
		default:
			data.Others = append(data.Others, l)
		}
	}
	c.show(w, r, http.StatusOK, "home", page{Title: "Waiting for you", Here: "home", Data: data})
}

// A request's page.
type requestData struct {
	approvals.View
	Options   options
	Statement []span
	Sent      []span // as the agent wrote it, where that is not the same
	Hidden    []span
	Steps     []step
	Typed     string // what somebody has typed already
	Ticket    string
	Limits    policy.Limits
	Lines     bool // the statement has several lines
	Missing   int  // different people who have to say yes still
	Ended     *audit.Entry
}

// the finds the request of a path; without one, or with one that does not exist
// for whoever asks, it has answered.
func (c *Console) the(w http.ResponseWriter, r *http.Request, s *session) *approvals.Request {
	one, err := c.config.Approvals.Get(r.Context(), r.PathValue("id"))
	if err != nil && !errors.Is(err, approvals.ErrNotFound) {
		c.broken(w, r, err)
		return nil
	}
	if err != nil || !c.sees(s, &one) {
		c.fail(w, r, http.StatusNotFound, "There is no such request, or it is none of yours.")
		return nil
	}
	return &one
}

func (c *Console) requestPage(w http.ResponseWriter, r *http.Request, s *session) {
	one := c.the(w, r, s)
	if one == nil {
		return
	}
	notices := map[string]string{
		"approve": "Your yes is recorded.", "deny": "Your no is recorded. The statement does not run.", "revoke": "The approval is taken back. The statement does not run.",
		"acknowledge": "You have acknowledged it.", "settle": "Your word is recorded.", "break-glass": "You have let it through alone. Everybody concerned is told.", "cancel": "You have taken your request back.",
	}
	c.request(w, r, s, one, http.StatusOK, page{Notice: notices[r.URL.Query().Get("done")]})
}

// request shows a request.
func (c *Console) request(w http.ResponseWriter, r *http.Request, s *session, one *approvals.Request, status int, p page) {
	if !c.reading(w, r, s, audit.Event{Approval: one.ID}) {
		return
	}
	v := one.View()
	data := requestData{
		View: v, Options: c.options(s, one), Statement: spans(one.Binding.Statement, one.Marks, false), Hidden: hiddenIn(one.Binding.Statement),
		Limits: one.Binding.Limits, Missing: max(0, v.Need.Quorum-v.Yes), Typed: r.PostForm.Get("reason"), Ticket: r.PostForm.Get("ticket"),
	}
	if one.Sent != one.Binding.Statement {
		data.Sent = spans(one.Sent, nil, true)
	}
	var err error
	if data.Steps, err = c.requestHistory(r.Context(), one.ID); err != nil {
		c.broken(w, r, err)
		return
	}
	p.Title, p.Here, p.Data = "Request "+one.ID, "home", data
	if !one.Open() {
		p.Here = "history"
	}
	c.show(w, r, status, "request", p)
}

// historyLimit is how many entries of a request are shown.
const historyLimit = 200

// requestHistory tells from the log what happened to a request.
func (c *Console) requestHistory(ctx context.Context, id string) ([]step, error) {
	t := newTeller(nil)
	for e, err := range c.config.Reader.Entries(ctx, audit.Filter{Approval: id, Last: historyLimit}) {
		if err != nil {
			return nil, err
		}
		switch e.Event.Kind {
		case audit.KindRead, audit.KindToolCall, audit.KindDecision: // who looked, or asked again, is for auditors
		default:
			t.add(e)
		}
	}
	if err := c.ends(ctx, t); err != nil {
		return nil, err
	}
	steps := t.steps()
	for i := range steps {
		steps[i].brief() // the page has the statement already
	}
	return steps, nil
}

// ends adds the outcomes of what ran: they name the entry that they are the end
// of, and not the request.
func (c *Console) ends(ctx context.Context, t *teller) error {
	for _, index := range t.indexes() {
		e := t.entries[index]
		if e.Event.Kind != audit.KindExecution || t.outcomes[index] != nil {
			continue
		}
		for o, err := range c.config.Reader.Entries(ctx, audit.Filter{Kind: audit.KindOutcome, Session: e.Event.Session, After: index}) {
			if err != nil {
				return err
			}
			if o.Event.Of != nil && *o.Event.Of == index {
				t.add(o)
				break
			}
		}
	}
	return nil
}

// act does what a form asks for.
func (c *Console) act(w http.ResponseWriter, r *http.Request, s *session) {
	one := c.the(w, r, s)
	if one == nil {
		return
	}
	store, v, ctx := c.config.Approvals, s.voter(), r.Context()
	seen, reason, what := r.PostForm.Get("seen"), strings.TrimSpace(r.PostForm.Get("reason")), r.PathValue("act")
	stale := !c.fresh(s)
	var err error
	switch {
	case what == "approve" && stale && c.wantsFresh(one), what == "break-glass" && stale, what == "settle" && stale, what == "acknowledge" && stale:
		err = approvals.ErrNeedsSignIn
	case what == "approve" || what == "deny":
		_, err = store.Vote(ctx, one.ID, seen, v, what == "approve", reason)
	case what == "revoke":
		_, err = store.Revoke(ctx, one.ID, v, reason)
	case what == "break-glass":
		_, err = store.BreakGlass(ctx, one.ID, seen, v, reason, strings.TrimSpace(r.PostForm.Get("ticket")))
	case what == "acknowledge":
		_, err = store.Acknowledge(ctx, one.ID, v, reason)
	case what == "settle":
		_, err = store.Settle(ctx, one.ID, v, approvals.State(r.PostForm.Get("to")), reason)
	case what == "cancel":
		_, err = store.Cancel(ctx, one.ID, s.Identity)
	default:
		c.fail(w, r, http.StatusNotFound, "There is no such page.")
		return
	}
	if err == nil {
		if what == "approve" || what == "break-glass" {
			c.settled(ctx, one.ID)
		}
		http.Redirect(w, r, "/console/requests/"+one.ID+"?"+url.Values{"done": {what}}.Encode(), http.StatusSeeOther)
		return
	}
	status, sentence := refusal(err)
	if status == 0 {
		c.broken(w, r, err)
		return
	}
	if one = c.the(w, r, s); one != nil {
		c.request(w, r, s, one, status, page{Problem: sentence})
	}
}

// settledWithin is how long the page after a yes waits to be able to say how it
// ended.
const settledWithin = 2 * time.Second

// settled waits a little for an approved statement to end.
func (c *Console) settled(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	for ctx.Err() == nil {
		r, err := c.config.Approvals.Get(ctx, id)
		if err != nil || r.State != approvals.Approved && r.State != approvals.Executing {
			return
		}
		if err := c.config.Approvals.Wait(ctx, id, r.State); err != nil {
			return
		}
	}
}

// refusal says what the store's errors mean to the person, 0 if it is none that
// they could do anything about.
func refusal(err error) (int, string) {
	for _, r := range []struct {
		err    error
		status int
		say    string
	}{
		{approvals.ErrNotFound, http.StatusNotFound, "There is no such request, or it is none of yours."},
		{approvals.ErrOwnRequest, http.StatusForbidden, "Nobody decides on their own request, nor on that of an agent that acts for them."},
		{approvals.ErrNotApprover, http.StatusForbidden, "You are in none of the groups that decide on this."},
		{approvals.ErrNeedsSignIn, http.StatusForbidden, "Your sign-in is too old for this. Sign in again; nothing was recorded."},
		{approvals.ErrOtherBinding, http.StatusConflict, "The request is not what this page showed when you opened it. Read it again; nothing was recorded."},
		{approvals.ErrNotPending, http.StatusConflict, "Somebody was faster, or its time is over. Nothing was recorded."},
		{approvals.ErrNotClaimable, http.StatusConflict, "It is not approved, or not any more. Nothing was recorded."},
		{approvals.ErrNotOpen, http.StatusConflict, "There is nothing to acknowledge or to settle any more."},
		{approvals.ErrNoGlass, http.StatusForbidden, "No rule lets anybody decide on this alone."},
		{approvals.ErrNeedsReason, http.StatusUnprocessableEntity, "This needs a reason. Nothing was recorded."},
		{approvals.ErrNeedsTicket, http.StatusUnprocessableEntity, "This needs a ticket. Nothing was recorded."},
		{approvals.ErrLongReason, http.StatusUnprocessableEntity, "The reason is longer than 2000 bytes, or is not text. Nothing was recorded."},
		{approvals.ErrNotReadable, http.StatusForbidden, "The statement holds characters that hide something."},
	} {
		if errors.Is(err, r.err) {
			return r.status, r.say
		}
	}
	return 0, ""
}

// historyPage is how many requests a page of the history shows, historyLooked
// how many it looks at for them.
const (
	historyPage   = 50
	historyLooked = 1000
)

type historyData struct {
	Rows   []listed
	States []approvals.State
	State  string
	Who    string
	Next   string // the address of older ones, empty if there are none
	Looked bool   // it stopped before it had found a page full
}

// history lists requests of whatever state, the newest first.
func (c *Console) history(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	q := r.URL.Query()
	data := historyData{States: approvals.States(), State: q.Get("state"), Who: strings.TrimSpace(q.Get("who"))}
	before, last := q.Get("before"), ""
	for looked := 0; len(data.Rows) < historyPage && looked < historyLooked; {
		found, err := c.config.Approvals.List(r.Context(), approvals.Filter{All: true, Before: cmp.Or(last, before), Limit: historyPage})
		if err != nil {
			c.broken(w, r, err)
			return
		}
		for i := range found {
			one := &found[i]
			if last = one.ID; len(data.Rows) == historyPage {
				break
			}
			if c.sees(s, one) && (data.State == "" || data.State == string(one.State)) && (data.Who == "" || named(one, data.Who)) {
				data.Rows = append(data.Rows, c.listed(s, one))
			}
		}
		if looked += len(found); len(found) < historyPage {
			last = ""
			break
		}
		data.Looked = looked >= historyLooked
	}
	if last != "" {
		// A page that is full goes on behind its last row.
		if n := len(data.Rows); n == historyPage {
			last = data.Rows[n-1].ID
		}
		next := url.Values{"before": {last}}
		for name, v := range map[string]string{"state": data.State, "who": data.Who} {
			if v != "" {
				next.Set(name, v)
			}
		}
		data.Next = "/console/history?" + next.Encode()
	}
	c.show(w, r, http.StatusOK, "history", page{Title: "History", Here: "history", Data: data})
}

// named reports whether one of a request's people has a word in their name.
func named(r *approvals.Request, word string) bool {
	people := []policy.Identity{r.Binding.Requester}
	if r.Binding.Behind != nil {
		people = append(people, *r.Binding.Behind)
	}
	for _, v := range r.Votes {
		people = append(people, v.Voter)
	}
	return slices.ContainsFunc(people, func(i policy.Identity) bool {
		return strings.Contains(strings.ToLower(i.Email), strings.ToLower(word)) || strings.Contains(strings.ToLower(i.Subject), strings.ToLower(word))
	})
}

// linkData is what somebody should know before an account speaks for them.
type linkData struct {
	Ticket  string
	Account string
	Fresh   bool
	Again   string
	Done    bool
}

// linkPage asks whether an account with a messenger should stand for whoever has
// signed in. It does nothing by itself: somebody may have sent them here with a
// ticket of their own.
func (c *Console) linkPage(w http.ResponseWriter, r *http.Request, s *session) {
	c.showLink(w, r, s, r.URL.Query().Get("ticket"), http.StatusOK, "")
}

func (c *Console) showLink(w http.ResponseWriter, r *http.Request, s *session, ticket string, status int, problem string) {
	data := linkData{Ticket: ticket, Fresh: c.fresh(s), Again: c.startURL("/console/link?"+url.Values{"ticket": {ticket}}.Encode(), true)}
	account, err := c.config.Approvals.Account(r.Context(), ticket)
	switch {
	case errors.Is(err, approvals.ErrNoLinking):
		c.fail(w, r, http.StatusNotFound, "This link has been used, or is older than 15 minutes. Ask for another in the messenger.")
		return
	case err != nil:
		c.broken(w, r, err)
		return
	}
	data.Account = approvals.Escape(account.User + " of " + account.Team)
	c.show(w, r, status, "link", page{Title: "Link an account", Problem: problem, Data: data})
}

func (c *Console) link(w http.ResponseWriter, r *http.Request, s *session) {
	ticket := r.PostForm.Get("ticket")
	if !c.fresh(s) {
		c.showLink(w, r, s, ticket, http.StatusForbidden, "Your sign-in is too old for this. Sign in again.")
		return
	}
	l, err := c.config.Approvals.Redeem(r.Context(), ticket, s.Identity, s.Groups)
	switch {
	case errors.Is(err, approvals.ErrNoLinking):
		c.fail(w, r, http.StatusConflict, "This link has been used, or is older than 15 minutes. Ask for another in the messenger.")
	case err != nil:
		c.broken(w, r, err)
	default:
		c.show(w, r, http.StatusOK, "link", page{Title: "Linked", Data: linkData{Account: approvals.Escape(l.User + " of " + l.Team), Done: true}})
	}
}
