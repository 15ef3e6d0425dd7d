package mcp

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"querywarden/policy"
)

// inflight counts the requests under way, so that no caller can take all of
// the gateway.
type inflight struct {
	all, each int

	mu    sync.Mutex
	total int
	by    map[policy.Identity]int
}

func newInflight(all, each int) *inflight {
	return &inflight{all: all, each: each, by: make(map[policy.Identity]int)}
}

// Why a request is not let in now.
const (
	tooManyOfCaller = "too_many_calls" // by this caller
	tooManyOfAll    = "overloaded"     // by all
	tooFast         = "rate_limited"
)

// enter counts a request in. It returns how to count it out or, if there is no
// room, nil and why.
func (f *inflight) enter(who policy.Identity) (done func(), full string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	who.Email = "" // describes, does not identify
	switch {
	case f.by[who] >= f.each:
		return nil, tooManyOfCaller
	case f.total >= f.all:
		return nil, tooManyOfAll
	}
	f.total++
	f.by[who]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.by[who]--; f.by[who] == 0 {
			delete(f.by, who)
		}
	}, ""
}

// pace holds each caller to a rate of requests.
type pace struct {
	every rate.Limit
	burst int

	mu sync.Mutex
	by map[policy.Identity]*rate.Limiter
}

// callersKept bounds how many callers' rates are remembered. Those that are not
// have not called for so long that they may do all they may at once.
const callersKept = 10_000

func newPace(perMinute, burst int) *pace {
	return &pace{every: rate.Limit(float64(perMinute) / 60), burst: burst, by: make(map[policy.Identity]*rate.Limiter)}
}

// wait is how long a caller has to wait until its request is let in; zero if it
// is now. Only a request that is let in counts.
func (p *pace) wait(who policy.Identity, now time.Time) time.Duration {
	who.Email = ""
	p.mu.Lock()
	defer p.mu.Unlock()
	limiter := p.by[who]
	if limiter == nil {
		if len(p.by) >= callersKept {
			p.forget(now)
		}
		limiter = rate.NewLimiter(p.every, p.burst)
		p.by[who] = limiter
	}
	r := limiter.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now)
	}
	return delay
}

// forget drops callers that lose nothing by it, or any if there are none.
func (p *pace) forget(now time.Time) {
	for who, limiter := range p.by {
		if limiter.TokensAt(now) >= float64(p.burst) {
			delete(p.by, who)
		}
	}
	for who := range p.by {
		if len(p.by) < callersKept {
			return
		}
		delete(p.by, who)
	}
}

// seconds is a duration as Retry-After has it: whole seconds, never zero.
func seconds(d time.Duration) int {
	return max(1, int(math.Ceil(d.Seconds())))
}
