package tools

import (
	"context"
	"sync"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

// What happens around tool calls is recorded here: who signed in, who was
// turned away, which sessions there were, which calls made no sense.

// SignedIn records that a token was accepted, once for each token. Nobody is
// served whose sign-in could not be recorded.
func (g *Gate) SignedIn(ctx context.Context, call Call, remote string) error {
	e := callEvent(audit.KindSignIn, "", call)
	e.Remote = remote
	if _, err := g.config.Log.Append(ctx, e); err != nil {
		return err
	}
	return g.meet(ctx, call.Caller)
}

// ConfigRead records a configuration that was read while the gateway runs.
func (g *Gate) ConfigRead(ctx context.Context, text string) error {
	_, err := g.config.Log.Append(ctx, audit.Event{Kind: audit.KindConfigLoaded, ConfigText: text})
	return err
}

// SessionStarted records that a client opened an MCP session.
func (g *Gate) SessionStarted(ctx context.Context, call Call) error {
	_, err := g.config.Log.Append(ctx, callEvent(audit.KindSessionStart, "", call))
	return err
}

// SessionEnded records that a client ended its session.
func (g *Gate) SessionEnded(ctx context.Context, call Call) error {
	_, err := g.config.Log.Append(ctx, callEvent(audit.KindSessionEnd, "", call))
	return err
}

// BadCall records a call whose arguments make no sense, and answers it.
func (g *Gate) BadCall(ctx context.Context, call Call, tool, sentence string) Answer {
	e := callEvent(audit.KindToolCall, tool, call)
	e.Status, e.Codes, e.Problem = string(Denied), []string{string(CodeBadArgument)}, sentence
	receipt, err := g.config.Log.Append(ctx, e)
	if err != nil {
		return g.unavailable(err)
	}
	return Answer{Status: Denied, Code: CodeBadArgument, Message: sentence, Next: "Correct the argument and call again.", Audit: receipt.Ref()}
}

// refusals bounds what strangers can write into the log: in each window the
// first are recorded one by one, the others are counted.
type refusals struct {
	mu      sync.Mutex
	since   time.Time
	alone   int
	counted map[string]int64 // reason → how many more there were
}

const (
	refusalWindow = time.Minute
	refusalsAlone = 20
)

// TurnedAway records that a request was refused before it reached a tool, and
// why; who is nil where nobody knows who sent it. It returns no error: there is
// nobody to withhold anything from.
func (g *Gate) TurnedAway(ctx context.Context, reason, remote string, who *policy.Caller) {
	e := audit.Event{Codes: []string{reason}, Remote: remote}
	if who != nil {
		e.Caller = recordedCaller(*who)
	}
	g.Refused(ctx, e)
}

// Refused records that something from outside was not accepted, such as a token
// or a click. The event says by its first code why, and by the rest whose it was
// as far as that is known.
func (g *Gate) Refused(ctx context.Context, e audit.Event) {
	reason := e.Codes[0]
	now := time.Now()
	r := &g.refusals
	r.mu.Lock()
	over := now.Sub(r.since) > refusalWindow
	r.mu.Unlock()
	if over {
		g.countRefusals(ctx)
	}
	r.mu.Lock()
	if over {
		r.since, r.alone = now, 0
	}
	if r.alone++; r.alone > refusalsAlone {
		if r.counted == nil {
			r.counted = map[string]int64{}
		}
		r.counted[reason]++
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	g.refused(ctx, e)
}

// countRefusals records how many refusals were counted and not recorded.
func (g *Gate) countRefusals(ctx context.Context) {
	g.refusals.mu.Lock()
	counted := g.refusals.counted
	g.refusals.counted = nil
	g.refusals.mu.Unlock()
	for reason, n := range counted {
		g.refused(ctx, audit.Event{Codes: []string{reason}, Count: n})
	}
}

func (g *Gate) refused(ctx context.Context, e audit.Event) {
	e.Kind = audit.KindRefused
	if _, err := g.config.Log.Append(ctx, e); err != nil {
		g.config.Logger.Error("recording what was refused", "err", err)
	}
}
