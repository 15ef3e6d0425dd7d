package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
)

// A talk is one line of the list of conversations: one person's.
type talk struct {
	Conversation string
	Link         string
	Who          string
	Source       string
	Line         string // the first prompt
	First, Last  time.Time
	Turns        int
	Calls        int // that reached the gate
	Refused      int
	Asked        int
	Loose        int // calls that were joined by a match, and not by a name
}

func talkLink(conversation string) string {
	return "/console/log/conversation?" + url.Values{"id": {conversation}}.Encode()
}

// talksPage searches conversations, the newest first.
func (c *Console) talksPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	p := page{Title: "Conversations", Here: "talks"}
	q, err := readSearch(r.URL.Query())
	data := logData{Search: q, Talks: true, Path: "/console/log/conversations", Origin: c.config.Reader.Origin(), Verdicts: verdicts()}
	if err != nil {
		p.Problem, p.Data = err.Error(), data
		c.show(w, r, http.StatusBadRequest, "log", p)
		return
	}
	names, err := c.search(r.Context(), &data, c.talkOf)
	for _, name := range names {
		var chains []*audit.Chain
		if chains, err = c.config.Reader.Chains(r.Context(), name); err != nil {
			break
		}
		for _, chain := range chains {
			data.Found = append(data.Found, sumTalk(chain))
		}
	}
	if err != nil {
		c.broken(w, r, err)
		return
	}
	p.Data = data
	c.show(w, r, http.StatusOK, "log", p)
}

// talkOf are the conversations of an entry that is looked for. A statement is
// looked up only where statements are looked for.
func (c *Console) talkOf(ctx context.Context, q *search, e *audit.Entry) ([]string, error) {
	switch e.Event.Kind {
	case audit.KindPrompt, audit.KindResponse, audit.KindToolUse, audit.KindJoined:
		if e.Event.Conversation == "" || !q.fits(e) {
			return nil, nil
		}
		return []string{e.Event.Conversation}, nil
	case audit.KindDecision, audit.KindExecution:
		if q.Text == "" && q.Table == "" && q.Verdict == "" || !q.fits(e) {
			return nil, nil
		}
		chains, err := c.config.Reader.ChainsOf(ctx, e.Index)
		if errors.Is(err, audit.ErrNoChain) {
			return nil, nil
		}
		var names []string
		for _, chain := range chains {
			names = append(names, chain.Conversation)
		}
		return names, err
	default:
		return nil, nil
	}
}

func sumTalk(chain *audit.Chain) talk {
	t := talk{Conversation: chain.Conversation, Link: talkLink(chain.Conversation), Who: who(chain.Caller), Source: approvals.Escape(chain.Source), Turns: len(chain.Turns)}
	for _, e := range entriesOf(chain) {
		if at := e.Event.Time; t.First.IsZero() || at.Before(t.First) {
			t.First = at
		}
		if at := e.Event.Time; at.After(t.Last) {
			t.Last = at
		}
	}
	for _, turn := range chain.Turns {
		if t.Line == "" && turn.Prompt != nil {
			t.Line = line(text(turn.Prompt, "prompt"), 160)
		}
		for _, call := range turn.Calls {
			if call.Call == nil {
				continue
			}
			t.Calls++
			switch call.Call.Event.Verdict {
			case "deny":
				t.Refused++
			case "ask":
				t.Asked++
			}
			if call.How != "exact" {
				t.Loose++
			}
		}
	}
	return t
}

// entriesOf are all entries of a chain.
func entriesOf(chain *audit.Chain) []*audit.Entry {
	var all []*audit.Entry
	for _, turn := range chain.Turns {
		all = append(all, turn.Prompt, turn.Response)
		for _, call := range turn.Calls {
			all = append(append(all, call.Announced, call.Call), call.Follows...)
		}
	}
	return slices.DeleteFunc(all, func(e *audit.Entry) bool { return e == nil })
}

// talkPage tells a conversation: what was asked, what the agent tried, what came
// of it. Several people can have one of the same name, which their clients gave.
func (c *Console) talkPage(w http.ResponseWriter, r *http.Request, s *session) {
	if !c.reading(w, r, s, audit.Event{}) {
		return
	}
	id := r.URL.Query().Get("id")
	chains, err := c.config.Reader.Chains(r.Context(), id)
	switch {
	case errors.Is(err, audit.ErrNoChain):
		c.fail(w, r, http.StatusNotFound, "The log has no such conversation.")
		return
	case err != nil:
		c.broken(w, r, err)
		return
	}
	data := sessionData{Session: id, Talk: true}
	var indexes []int64
	var people []string
	for _, chain := range chains {
		people = append(people, who(chain.Caller))
		for _, e := range entriesOf(chain) {
			indexes = append(indexes, e.Index)
			if at := e.Event.Time; data.From.IsZero() || at.Before(data.From) {
				data.From = at
			}
			if at := e.Event.Time; at.After(data.To) {
				data.To = at
			}
		}
		data.Steps = append(data.Steps, c.talkSteps(chain)...)
	}
	data.Who = strings.Join(people, ", and another of the same name of ")
	if len(indexes) > sessionEntries {
		indexes, data.Cut = indexes[:sessionEntries], true
	}
	if data.Badge, err = c.verify(r.Context(), indexes); err != nil {
		c.broken(w, r, err)
		return
	}
	data.stepwise(talkLink(id)+"&", r.URL.Query().Get("step"))
	c.show(w, r, http.StatusOK, "session", page{Title: "A conversation", Here: "talks", Data: data})
}

// talkSteps tells a chain, a turn after the other.
func (c *Console) talkSteps(chain *audit.Chain) []step {
	var out []step
	one := func(e *audit.Entry) {
		if e == nil {
			return
		}
		t := newTeller(nil)
		t.add(e)
		out = append(out, t.steps()...)
	}
	for _, turn := range chain.Turns {
		one(turn.Prompt)
		for _, call := range turn.Calls {
			if call.Call == nil {
				one(call.Announced)
				continue
			}
			t := newTeller(func(e *audit.Entry) (string, error) { return c.config.Reader.OpenRows(c.config.RowsKey, e) })
			t.add(call.Call)
			for _, e := range call.Follows {
				t.add(e)
			}
			steps := t.steps()
			steps[0].How = approvals.Escape(call.How)
			out = append(out, steps...)
		}
		one(turn.Response)
	}
	return out
}
