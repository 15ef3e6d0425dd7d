package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/identity/identitytest"
)

// BenchmarkBesideIntake is `select 1` through a whole gateway (MCP over HTTP,
// token, parse, policy, decision and outcome durable in the log, the embedded
// warehouse), alone and while clients tell 1,000 things a second, each in a
// request of its own: half of them hooks' events, half telemetry. Both kinds of
// calls take turns in one run, b.N times, so that what else the machine does
// falls on both. What tells runs on the same cores as the gateway.
func BenchmarkBesideIntake(b *testing.B) {
	for _, callers := range []int{1, 4} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := newClientWorld(b)
			in := newIntake(b, w)
			tokens := make([]string, callers)
			for i := range tokens {
				tokens[i] = in.person(fmt.Sprint("caller-", i))
			}
			calls(b, in, tokens) // what is opened once is open
			var alone, beside []time.Duration
			for b.Loop() {
				alone = append(alone, calls(b, in, tokens)...)
				stop := in.start()
				time.Sleep(200 * time.Millisecond)
				beside = append(beside, calls(b, in, tokens)...)
				stop()
				time.Sleep(500 * time.Millisecond) // what waits is written
			}
			if n := in.refused.Load(); n > 0 {
				b.Errorf("%d of %d events were not taken", n, in.told.Load())
			}
			if n := in.recorded(); n != in.told.Load() {
				b.Errorf("%d of %d events are in the log", n, in.told.Load())
			}
			at := func(took []time.Duration, p int) float64 {
				slices.Sort(took)
				return float64(took[(len(took)-1)*p/100].Microseconds()) / 1e3
			}
			for _, p := range []int{50, 99} {
				b.ReportMetric(at(alone, p), fmt.Sprintf("p%d-alone-ms", p))
				b.ReportMetric(at(beside, p), fmt.Sprintf("p%d-beside-ms", p))
			}
			b.ReportMetric(at(beside, 99)/at(alone, 99), "p99-ratio")
			b.ReportMetric(float64(in.told.Load())/in.telling.Seconds(), "told/s")
			b.ReportMetric(float64(len(alone)), "calls-each")
		})
	}
}

// An intake tells a gateway what clients tell.
type intake struct {
	b       *testing.B
	w       *clientWorld
	client  *http.Client
	tokens  []string // of those who tell
	told    atomic.Int64
	refused atomic.Int64
	telling time.Duration
}

// intakeTellers is how many people tell: each may tell 50 things a second, and
// tells 25.
const intakeTellers = 40

func newIntake(b *testing.B, w *clientWorld) *intake {
	in := &intake{b: b, w: w, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
	b.Cleanup(in.client.CloseIdleConnections)
	for i := range intakeTellers {
		in.tokens = append(in.tokens, in.person(fmt.Sprint("teller-", i)))
	}
	return in
}

// person is the token of a new person.
func (in *intake) person(name string) string {
	in.w.provider.AddPerson(identitytest.Person{Name: name, Groups: []string{"analysts"}})
	return in.w.token(name)
}

// post posts to the gateway, and returns the status and what it answered.
func (in *intake) post(path, token, body string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(in.w.url, "/mcp")+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := in.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// event is the nth thing that is told: a prompt or an announced call, by a hook
// or by telemetry.
func event(n int64) (path, body string) {
	const prompt = "who bought the most, and what, and where do they live? "
	switch n % 4 {
	case 0:
		return "/hooks/claude", fmt.Sprintf(`{"hook_event_name":"UserPromptSubmit","session_id":"s%d","prompt_id":"p%d","prompt":%q,"cwd":"/home/ada/shop"}`, n%100, n, strings.Repeat(prompt, 4))
	case 1:
		return "/hooks/claude", fmt.Sprintf(`{"hook_event_name":"PreToolUse","session_id":"s%d","prompt_id":"p%d","tool_name":"mcp__querywarden__query","tool_use_id":"u%d","tool_input":{"sql":"select 1"}}`, n%100, n, n)
	case 2:
		return "/v1/logs", exported("user_prompt", n, "prompt", strings.Repeat(prompt, 4))
	default:
		return "/v1/logs", exported("tool_decision", n, "tool_name", "mcp__querywarden__query")
	}
}

// exported is an export of one record, as Claude Code's is.
func exported(name string, n int64, key, value string) string {
	return fmt.Sprintf(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"claude_code.%s"},"attributes":[`+
		`{"key":"session.id","value":{"stringValue":"s%d"}},{"key":"prompt.id","value":{"stringValue":"p%d"}},{"key":"tool_use_id","value":{"stringValue":"u%d"}},{"key":%q,"value":{"stringValue":%q}}]}]}]}]}`, name, n%100, n, n, key, value)
}

// recorded is how many of the events the log has.
func (in *intake) recorded() (n int64) {
	in.b.Helper()
	c, err := loadConfig(filepath.Join(in.w.dir, "querywarden.yaml"))
	if err != nil {
		in.b.Fatal(err)
	}
	r, err := audit.OpenReader(c.auditFile())
	if err != nil {
		in.b.Fatal(err)
	}
	defer r.Close()
	for _, kind := range []audit.Kind{audit.KindPrompt, audit.KindToolUse} {
		for _, err := range r.Entries(in.b.Context(), audit.Filter{Kind: kind}) {
			if err != nil {
				in.b.Fatal(err)
			}
			n++
		}
	}
	return n
}

// start tells 1,000 things a second until it is stopped.
func (in *intake) start() (stop func()) {
	began, done := time.Now(), make(chan struct{})
	var all sync.WaitGroup
	events := make(chan int64, 1000)
	all.Go(func() {
		defer close(events)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		next := in.told.Load()
		for sent := int64(0); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for due := time.Since(began).Milliseconds(); sent < due; sent++ { // one each millisecond
				events <- next + sent
			}
		}
	})
	for range 8 {
		all.Go(func() {
			for n := range events {
				path, body := event(n)
				status, said, err := in.post(path, in.tokens[n%intakeTellers], body)
				if err != nil || status/100 != 2 {
					in.refused.Add(1)
					in.b.Logf("%s: %d, %s, %v", path, status, said, err)
				}
				in.told.Add(1)
			}
		})
	}
	return func() {
		close(done)
		all.Wait()
		in.telling += time.Since(began)
	}
}

// calls lets each caller call 100 times, some 10 ms between the calls, and
// returns what each took.
func calls(b *testing.B, in *intake, tokens []string) []time.Duration {
	b.Helper()
	const message = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query","arguments":{"sql":"select 1"}}}`
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	for _, token := range tokens {
		all.Go(func() {
			for range 100 {
				began := time.Now()
				status, said, err := in.post("/mcp", token, message)
				d := time.Since(began)
				if err != nil || status != http.StatusOK || !strings.Contains(said, `"completed"`) {
					b.Errorf("status %d: %s, %v", status, said, err)
					return
				}
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return took
}
