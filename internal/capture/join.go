package capture

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"querywarden/audit"
)

// The ways in which a call is joined to its turn.
const (
	Exact   = "exact"
	Traced  = "traced"
	Matched = "matched"
)

// The bounds of the join.
const (
	joinWithin  = time.Hour // how late something may be told
	matchWithin = 30 * time.Second
	maxEach     = 1000 // calls, announced calls and prompts that are remembered of a person
	lookEvery   = 100 * time.Millisecond
)

// A joiner follows the log: what it knows comes from there, so that a restart
// forgets nothing but digests.
type joiner struct {
	log     *audit.Log
	reader  *audit.Reader
	logger  *slog.Logger
	now     func() time.Time
	digests digests
	next    int64 // the entry to go on with
	people  map[string]*turns
}

// digests are those of announced calls, by their entry, until the joiner comes
// to it.
type digests struct {
	mu sync.Mutex
	of map[int64]digest
}

func (d *digests) put(index int64, of digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of[index] = of
}

func (d *digests) take(index int64) (of digest, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of, ok = d.of[index]
	delete(d.of, index)
	return of, ok
}

// A call is what the gate has recorded, and no turn is known of yet.
type call struct {
	index                             int64
	at                                time.Time
	caller                            *audit.Caller
	tool                              string
	id, conversation, turnName, trace string
	argument                          digest
}

// A turn is what a client has told: an announced call, or a prompt.
type turn struct {
	index                             int64
	at                                time.Time
	use                               bool
	tool                              string
	id, conversation, turnName, trace string
	argument                          digest
	matches                           bool // argument means something
	taken                             bool // by a match
}

// turns are one person's.
type turns struct {
	open    []*call // that are joined to nothing yet
	told    []*turn
	touched bool
	byID    map[string]*turn
	byTurn  map[string]*turn // prompts, by conversation and turn
	byTrace map[string]*turn
}

func newJoiner(c Config) *joiner {
	return &joiner{log: c.Log, reader: c.Reader, logger: c.Logger, now: c.Now, digests: digests{of: map[int64]digest{}}, people: map[string]*turns{}, next: -1}
}

// run joins what comes until the context ends.
func (j *joiner) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		last := ctx.Err() != nil
		if err := j.look(context.WithoutCancel(ctx)); err != nil && !last {
			j.logger.Error("joining calls to conversations", "err", err)
		}
		if last {
			return
		}
		select {
		case <-ctx.Done(): // once more, for what was written last
		case <-tick.C:
		}
	}
}

// look reads what is new and joins what can be.
func (j *joiner) look(ctx context.Context) error {
	f := audit.Filter{After: j.next}
	if j.next < 0 {
		f = audit.Filter{Since: j.now().Add(-joinWithin)}
	}
	for e, err := range j.reader.Entries(ctx, f) {
		if err != nil {
			return err
		}
		j.take(e)
		j.next = e.Index + 1
	}
	if j.next < 0 {
		j.next = 0
	}
	var joins []audit.Event
	for name, p := range j.people {
		if !p.touched {
			continue
		}
		p.touched = false
		joins = p.join(joins)
		p.forget(j.now())
		if len(p.open)+len(p.told) == 0 {
			delete(j.people, name)
		}
	}
	if len(joins) == 0 {
		return nil
	}
	return j.log.Update(ctx, func(tx *audit.Tx) error {
		for _, e := range joins {
			if _, err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// take takes the next entry of the log.
func (j *joiner) take(e *audit.Entry) {
	v := e.Event
	if v.Caller == nil {
		return
	}
	switch v.Kind {
	case audit.KindDecision, audit.KindToolCall:
		if _, ours := gateTools[v.Tool]; !ours {
			return // the gate's own, such as counting for a brief
		}
		p := j.person(v.Caller)
		p.open = append(p.open, &call{
			index: e.Index, at: v.Time, caller: v.Caller, tool: v.Tool, id: v.CallID, conversation: v.Conversation, turnName: v.Turn, trace: v.Trace,
			argument: digestOf(v.Tool, argumentOf(e)),
		})
	case audit.KindPrompt, audit.KindToolUse:
		t := &turn{
			index: e.Index, at: v.Time, use: v.Kind == audit.KindToolUse, tool: v.Tool, id: v.CallID, conversation: v.Conversation, turnName: v.Turn, trace: v.Trace,
		}
		t.argument, t.matches = j.digests.take(e.Index)
		j.person(v.Caller).add(t)
	case audit.KindJoined: // before a restart
		p := j.person(v.Caller)
		for i, c := range p.open {
			if v.Of != nil && c.index == *v.Of {
				p.open = append(p.open[:i:i], p.open[i+1:]...)
				break
			}
		}
	default: // tells nothing of turns
	}
}

// argumentOf is what a recorded call was about.
func argumentOf(e *audit.Entry) string {
	switch e.Event.Tool {
	case "check_approval", "cancel_approval":
		return e.Event.Approval
	default:
		return e.Texts["sql"]
	}
}

// person is what is known of a person; see [personOf].
func (j *joiner) person(c *audit.Caller) *turns {
	name := c.Behind
	if name == "" {
		name = c.Issuer + " " + c.Subject
	}
	p := j.people[name]
	if p == nil {
		p = &turns{byID: map[string]*turn{}, byTurn: map[string]*turn{}, byTrace: map[string]*turn{}}
		j.people[name] = p
	}
	p.touched = true
	return p
}

func turnKey(conversation, turn string) string { return conversation + "\x00" + turn }

func (p *turns) add(t *turn) {
	p.told = append(p.told, t)
	if t.use && t.id != "" {
		p.byID[t.id] = t
	}
	if !t.use && t.turnName != "" {
		p.byTurn[turnKey(t.conversation, t.turnName)] = t
	}
	if t.trace != "" {
		p.byTrace[t.trace] = t
	}
}

// forget drops what is too old or too much.
func (p *turns) forget(now time.Time) {
	old := func(at time.Time) bool { return now.Sub(at) > joinWithin }
	for len(p.open) > 0 && (len(p.open) > maxEach || old(p.open[0].at)) {
		p.open = p.open[1:]
	}
	for len(p.told) > 0 && (len(p.told) > maxEach || old(p.told[0].at)) {
		t := p.told[0]
		p.told = p.told[1:]
		for m, key := range map[*map[string]*turn]string{&p.byID: t.id, &p.byTurn: turnKey(t.conversation, t.turnName), &p.byTrace: t.trace} {
			if (*m)[key] == t {
				delete(*m, key)
			}
		}
	}
}

// join joins what it can of the open calls, oldest first.
func (p *turns) join(joins []audit.Event) []audit.Event {
	left := p.open[:0]
	for _, c := range p.open {
		t, how := p.find(c)
		if t == nil {
			left = append(left, c)
			continue
		}
		e := audit.Event{
			Kind: audit.KindJoined, Caller: c.caller, Conversation: t.conversation, Turn: t.turnName, CallID: c.id, Tool: c.tool, Of: &c.index, How: how,
		}
		if e.Turn == "" {
			e.Turn = c.turnName
		}
		if t.use {
			e.From = &t.index
		}
		joins = append(joins, e)
	}
	clear(p.open[len(left):])
	p.open = left
	return joins
}

// find finds the turn of a call.
func (p *turns) find(c *call) (t *turn, how string) {
	if t := p.byID[c.id]; c.id != "" && t != nil && t.tool == c.tool {
		return t, Exact
	}
	if c.conversation != "" && c.turnName != "" {
		if t := p.byTurn[turnKey(c.conversation, c.turnName)]; t != nil {
			return t, Exact
		}
	}
	if t := p.byTrace[c.trace]; c.trace != "" && t != nil {
		return t, Traced
	}
	if c.id != "" || c.turnName != "" {
		return nil, "" // the client names its calls: it will tell, or has not
	}
	// The first that was announced before the call; else the first behind it.
	for _, t := range p.told {
		if !t.use || !t.matches || t.taken || t.tool != c.tool || t.argument != c.argument || t.at.Sub(c.at).Abs() > matchWithin {
			continue
		}
		t.taken = true
		return t, Matched
	}
	return nil, ""
}

// gateTools are the tools that the gate has. What else an agent uses is not
// taken.
var gateTools = map[string]string{ // and which argument a call is about
	"query": "sql", "request_approval": "sql", "describe_table": "table", "list_tables": "search", "check_approval": "id",
}

// gateTool is the gate's name for a tool that a client names its own way:
// mcp__server__query, server.query, query.
func gateTool(name string) (tool string, ok bool) {
	if i := strings.LastIndex(name, "__"); i >= 0 {
		name = name[i+2:]
	}
	name = name[strings.LastIndexAny(name, ".:/")+1:]
	_, ok = gateTools[name]
	return name, ok
}
