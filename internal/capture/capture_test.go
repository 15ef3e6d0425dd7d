package capture

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"querywarden/audit"
	"querywarden/policy"
)

// A world is a log, what is captured into it, and the calls of a gate.
type world struct {
	*Store
	log     *audit.Log
	reader  *audit.Reader
	path    string
	config  Config
	outcome int64 // of the last call
}

func newWorld(t testing.TB, conversations string) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "audit.db")}
	var err error
	if w.log, err = audit.Open(w.path, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	if w.reader, err = audit.OpenReader(w.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.reader.Close() })
	p, err := policy.Parse([]byte("version: 1\nconversations: " + conversations + "\ndetectors: [email]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.config = Config{Log: w.log, Reader: w.reader, Policy: p}
	w.open(t)
	return w
}

func (w *world) open(t testing.TB) {
	t.Helper()
	var err error
	if w.Store, err = Open(t.Context(), w.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Store.Close)
}

var (
	ada = policy.Caller{Issuer: "idp", Subject: "ada", Email: "ada@example.com", Kind: policy.Person}
	bob = policy.Caller{Issuer: "idp", Subject: "bob", Email: "bob@example.com", Kind: policy.Person}
	bot = policy.Caller{Issuer: "idp", Subject: "bot", Kind: policy.Agent, Behind: &policy.Identity{Issuer: "idp", Subject: "ada"}}
)

// call is what the gate records of a call, with its outcome.
func (w *world) call(t testing.TB, caller policy.Caller, sql string, keys audit.Event) int64 {
	t.Helper()
	keys.Kind, keys.Tool, keys.Caller, keys.Session, keys.SQL, keys.Runs, keys.Verdict = audit.KindDecision, "query", callerOf(caller), "s-"+caller.Subject, sql, sql, "allow"
	r, err := w.log.Append(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	of := r.Index()
	if r, err = w.log.Append(t.Context(), audit.Event{Kind: audit.KindOutcome, Tool: "query", Caller: keys.Caller, Session: keys.Session, Of: &of, Status: "completed", Rows: 1, QueryID: fmt.Sprint("q-", of)}); err != nil {
		t.Fatal(err)
	}
	w.outcome = r.Index()
	return of
}

func (w *world) hook(t testing.TB, caller policy.Caller, source, event string) {
	t.Helper()
	records, err := ParseHook(source, []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Take(caller, records); err != nil {
		t.Fatal(err)
	}
}

// joins waits until n calls are joined, and returns how, by call.
func (w *world) joins(t testing.TB, n int) map[int64]audit.Event {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		found := map[int64]audit.Event{}
		for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindJoined}) {
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := found[*e.Event.Of]; twice {
				t.Errorf("entry %d was joined twice", *e.Event.Of)
			}
			found[*e.Event.Of] = e.Event
		}
		if len(found) >= n {
			return found
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%d of %d calls were joined: %v", len(found), n, found)
		}
	}
}

// settle ends the work, so that nothing more is joined.
func (w *world) settle(t testing.TB) {
	t.Helper()
	w.Store.Close()
	if err := w.join.look(context.Background()); err != nil {
		t.Fatal(err)
	}
}

const (
	claudePrompt = `{"session_id":"c1","prompt_id":"p1","hook_event_name":"UserPromptSubmit","prompt":"who bought the most?","cwd":"/home/ada/shop"}`
	claudeUse    = `{"session_id":"c1","prompt_id":"p1","hook_event_name":"PreToolUse","tool_name":"mcp__gate__query","tool_use_id":"toolu_1","tool_input":{"sql":"select 1"}}`
	claudeStop   = `{"session_id":"c1","prompt_id":"p1","hook_event_name":"Stop","last_assistant_message":"ada did"}`
)

// TestJoin: each way in which a call is joined, from either side.
func TestJoin(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, c := range []struct {
		name   string
		before func(t *testing.T, w *world) // the client tells this before the call
		keys   audit.Event                  // of the call, which says select 1
		after  func(t *testing.T, w *world) // and this behind it
		how    string                       // empty if nothing joins them
	}{
		{"Claude Code", func(t *testing.T, w *world) {
			w.hook(t, ada, "claude", claudePrompt)
			w.hook(t, ada, "claude", claudeUse)
		}, audit.Event{CallID: "toolu_1"}, nil, Exact},
		{"Claude Code, late", nil, audit.Event{CallID: "toolu_1"}, func(t *testing.T, w *world) {
			w.hook(t, ada, "claude", claudeUse)
			w.hook(t, ada, "claude", claudePrompt)
		}, Exact},
		{"Claude Code, for an agent", func(t *testing.T, w *world) { w.hook(t, bot, "claude", claudeUse) }, audit.Event{CallID: "toolu_1"}, nil, Exact},
		{"another person's call", func(t *testing.T, w *world) { w.hook(t, bob, "claude", claudeUse) }, audit.Event{CallID: "toolu_1"}, nil, ""},
		{"another call", func(t *testing.T, w *world) { w.hook(t, ada, "claude", claudeUse) }, audit.Event{CallID: "toolu_2"}, nil, ""},
		{"Codex, by its turn", func(t *testing.T, w *world) {
			w.hook(t, ada, "codex", `{"session_id":"th","turn_id":"tu","hook_event_name":"UserPromptSubmit","prompt":"x","model":"gpt"}`)
		}, audit.Event{CallID: "call_1", Conversation: "th", Turn: "tu"}, nil, Exact},
		{"Codex, by notify", nil, audit.Event{CallID: "call_1", Conversation: "th", Turn: "tu"}, func(t *testing.T, w *world) {
			w.hook(t, ada, "codex", `{"type":"agent-turn-complete","thread-id":"th","turn-id":"tu","input-messages":["x"],"last-assistant-message":"y"}`)
		}, Exact},
		{"a trace", func(t *testing.T, w *world) {
			w.logs(t, ada, `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"codex.user_prompt","traceId":"`+trace+`","attributes":[{"key":"conversation.id","value":{"stringValue":"th"}},{"key":"prompt","value":{"stringValue":"x"}}]}]}]}]}`)
		}, audit.Event{Trace: trace}, nil, Traced},
		{"Cursor", func(t *testing.T, w *world) {
			w.hook(t, ada, "cursor", `{"conversation_id":"cu","generation_id":"g","hook_event_name":"beforeMCPExecution","tool_name":"query","tool_input":"{\"sql\":\"select 1\"}"}`)
		}, audit.Event{}, nil, Matched},
		{"Cursor, another statement", func(t *testing.T, w *world) {
			w.hook(t, ada, "cursor", `{"conversation_id":"cu","generation_id":"g","hook_event_name":"beforeMCPExecution","tool_name":"query","tool_input":{"sql":"select 2"}}`)
		}, audit.Event{}, nil, ""},
		{"Cursor, another person's", func(t *testing.T, w *world) {
			w.hook(t, bob, "cursor", `{"conversation_id":"cu","generation_id":"g","user_email":"ada@example.com","hook_event_name":"beforeMCPExecution","tool_name":"query","tool_input":{"sql":"select 1"}}`)
		}, audit.Event{}, nil, ""},
		{"a client that names its calls is not matched", func(t *testing.T, w *world) { w.hook(t, ada, "claude", claudeUse) }, audit.Event{CallID: "toolu_9"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "full")
			if c.before != nil {
				c.before(t, w)
			}
			index := w.call(t, ada, "select 1", c.keys)
			if c.after != nil {
				c.after(t, w)
			}
			if c.how != "" {
				w.joins(t, 1)
			}
			w.settle(t)
			joins := w.joins(t, 0)
			if j, ok := joins[index]; ok != (c.how != "") || j.How != c.how {
				t.Errorf("joined %v as %q, want %q", ok, j.How, c.how)
			}
			chains, err := w.reader.ChainsOf(t.Context(), w.outcome)
			if (err == nil) != (c.how != "") || err != nil && !errors.Is(err, audit.ErrNoChain) {
				t.Fatal(err)
			}
			for _, chain := range chains {
				if len(chain.Turns) != 1 || len(chain.Turns[0].Calls) != 1 {
					t.Fatalf("%d turns, %+v", len(chain.Turns), chain.Turns[0])
				}
				call := chain.Turns[0].Calls[0]
				if call.Call == nil || call.Call.Index != index || len(call.Follows) != 1 || call.Follows[0].Event.QueryID == "" || call.How != c.how {
					t.Errorf("%+v", call)
				}
			}
		})
	}
}

func (w *world) logs(t testing.TB, caller policy.Caller, text string) {
	t.Helper()
	records, err := ParseLogs("application/json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Take(caller, records); err != nil {
		t.Fatal(err)
	}
}

// TestToldWhileJoining: a call is joined by its turn while the client's word of it
// is on its way to the log. Nobody knows which of the two comes to stand first,
// and either way they are one call.
func TestToldWhileJoining(t *testing.T) {
	for _, order := range []string{"told, joined", "joined, told"} {
		w := newWorld(t, "full")
		w.settle(t) // what it would record is written by hand
		index := w.call(t, ada, "select 1", audit.Event{CallID: "call_1", Conversation: "th", Turn: "tu"})
		for step := range strings.SplitSeq(order, ", ") {
			e := audit.Event{Kind: audit.KindToolUse, Source: "codex"}
			if step == "joined" {
				e = audit.Event{Kind: audit.KindJoined, Of: &index, How: Exact}
			}
			e.Caller, e.Conversation, e.Turn, e.CallID, e.Tool = callerOf(ada), "th", "tu", "call_1", "query"
			if _, err := w.log.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		chains, err := w.reader.Chains(t.Context(), "th")
		if err != nil || len(chains) != 1 || len(chains[0].Turns) != 1 {
			t.Fatalf("%s: %+v, %v", order, chains, err)
		}
		calls := chains[0].Turns[0].Calls
		if len(calls) != 1 || calls[0].Announced == nil || calls[0].Call == nil {
			t.Errorf("%s: %d calls, the first %+v", order, len(calls), calls[0])
		}
	}
}

// TestWholeTurn: prompt, announced call, call, outcome and answer are one turn
// of one chain, and a second person who uses the same names has one of their own.
func TestWholeTurn(t *testing.T) {
	w := newWorld(t, "full")
	for _, caller := range []policy.Caller{ada, bob} {
		w.hook(t, caller, "claude", claudePrompt)
		w.hook(t, caller, "claude", claudeUse)
		w.call(t, caller, "select 1", audit.Event{CallID: "toolu_1"})
		w.hook(t, caller, "claude", claudeStop)
	}
	w.joins(t, 2)
	w.settle(t)
	chains, err := w.reader.Chains(t.Context(), "c1")
	if err != nil || len(chains) != 2 {
		t.Fatal(len(chains), err)
	}
	for _, c := range chains {
		if len(c.Turns) != 1 {
			t.Fatalf("%d turns", len(c.Turns))
		}
		turn := c.Turns[0]
		if turn.Prompt.Texts["prompt"] != "who bought the most?" || turn.Prompt.Texts["folder"] != "/home/ada/shop" || turn.Response.Texts["response"] != "ada did" || len(turn.Calls) != 1 {
			t.Fatalf("%+v", turn)
		}
		if call := turn.Calls[0]; call.Announced == nil || call.Call.Event.Caller.Subject != c.Caller.Subject || call.How != Exact || len(call.Follows) != 1 {
			t.Errorf("%+v", call)
		}
	}
	if _, err := w.reader.Chains(t.Context(), "nowhere"); !errors.Is(err, audit.ErrNoChain) {
		t.Error(err)
	}
}

// TestFiftyCalls: every call of a client that names its calls is joined exactly;
// of one that does not, nearly all rightly and none to another person.
func TestFiftyCalls(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, source := range []string{"claude", "codex", "cursor"} {
		w := newWorld(t, "full")
		conversations := map[int64]string{} // of the calls
		for i := range 50 {
			caller, sql := []policy.Caller{ada, bob}[random.IntN(2)], fmt.Sprint("select ", random.IntN(20)) // some twice
			conversation, turn, id := fmt.Sprintf("%s-%s-%d", source, caller.Subject, random.IntN(3)), fmt.Sprint("t", i), fmt.Sprintf("%s-%d", source, i)
			var keys audit.Event
			switch source {
			case "claude":
				w.hook(t, caller, source, fmt.Sprintf(`{"hook_event_name":"UserPromptSubmit","session_id":%q,"prompt_id":%q,"prompt":"p"}`, conversation, turn))
				w.hook(t, caller, source, fmt.Sprintf(`{"hook_event_name":"PreToolUse","session_id":%q,"prompt_id":%q,"tool_use_id":%q,"tool_name":"mcp__q__query","tool_input":{"sql":%q}}`, conversation, turn, id, sql))
				keys.CallID = id
			case "codex":
				w.hook(t, caller, source, fmt.Sprintf(`{"hook_event_name":"PreToolUse","session_id":%q,"turn_id":%q,"tool_use_id":%q,"tool_name":"mcp__q__query","tool_input":{"sql":%q}}`, conversation, turn, id, sql))
				keys.CallID, keys.Conversation, keys.Turn = id, conversation, turn
			default:
				w.hook(t, caller, source, fmt.Sprintf(`{"hook_event_name":"beforeMCPExecution","conversation_id":%q,"generation_id":%q,"tool_name":"query","tool_input":{"sql":%q}}`, conversation, turn, sql))
			}
			conversations[w.call(t, caller, sql, keys)] = conversation
		}
		joins := w.joins(t, 50)
		right := 0
		for index, j := range joins {
			if j.Conversation == conversations[index] {
				right++
			} else if source != "cursor" {
				t.Errorf("%s: joined to %s, not to %s", source, j.Conversation, conversations[index])
			}
			if !strings.HasPrefix(j.Conversation, source+"-"+j.Caller.Subject) {
				t.Errorf("%s: a call of %s was joined to %s", source, j.Caller.Subject, j.Conversation)
			}
			if want := map[string]string{"cursor": Matched}[source]; want != "" && j.How != want || want == "" && j.How != Exact {
				t.Errorf("%s: joined as %s", source, j.How)
			}
		}
		t.Logf("%s: %d of 50 joined, %d rightly", source, len(joins), right)
		if right < 48 {
			t.Errorf("%s: only %d of 50 rightly", source, right)
		}
	}
}

// TestRestart: what was told before a restart joins what comes after it, and
// nothing is joined twice.
func TestRestart(t *testing.T) {
	w := newWorld(t, "full")
	w.hook(t, ada, "claude", claudeUse)
	first := w.call(t, ada, "select 1", audit.Event{CallID: "toolu_1"})
	w.joins(t, 1)
	w.hook(t, ada, "claude", strings.ReplaceAll(claudeUse, "toolu_1", "toolu_2"))
	w.Store.Close()
	w.open(t)
	second := w.call(t, ada, "select 1", audit.Event{CallID: "toolu_2"})
	w.joins(t, 2)
	w.settle(t)
	if joins := w.joins(t, 2); len(joins) != 2 || joins[first].How != Exact || joins[second].How != Exact {
		t.Errorf("%v", joins)
	}
}

// TestKept: each word of the policy keeps what it says, and nothing else is on
// the disk.
func TestKept(t *testing.T) {
	const prompt = `my card is 4111 1111 1111 1111, mail eve@example.com, <b>\u001b[31mred`
	for word, want := range map[string]string{
		"full":   "my card is 4111 1111 1111 1111, mail eve@example.com, <b>\x1b[31mred",
		"masked": "my card is [card number], mail [email], <b>\x1b[31mred",
		"digest": "[not kept: ",
	} {
		w := newWorld(t, word)
		w.hook(t, ada, "claude", `{"hook_event_name":"UserPromptSubmit","session_id":"c","prompt_id":"p","prompt":"`+prompt+`","cwd":"/home/ada"}`)
		w.settle(t)
		found := 0
		for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindPrompt}) {
			if err != nil {
				t.Fatal(err)
			}
			found++
			if got := e.Texts["prompt"]; got != want && (word != "digest" || !strings.HasPrefix(got, want)) {
				t.Errorf("%s: %q", word, got)
			}
			if n := e.Event.Redacted["card_number"]; (n == 1) != (word == "masked") {
				t.Errorf("%s: %d hidden", word, n)
			}
		}
		if found != 1 {
			t.Errorf("%s: %d prompts", word, found)
		}
		if word == "masked" {
			w.absent(t, "4111 1111 1111 1111")
		}
		if word == "digest" {
			w.absent(t, "my card")
		}
	}
	w := newWorld(t, "off")
	if err := w.Take(ada, []Record{{Kind: audit.KindPrompt, Text: "x"}}); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
	if _, index, _, err := w.log.Last(t.Context()); err != nil || index != -1 {
		t.Error("off, and something was recorded")
	}
}

// absent fails if the words are anywhere on the disk.
func (w *world) absent(t testing.TB, words string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(w.path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(words)) {
			t.Errorf("%q is on the disk", words)
		}
	}
}

// post posts to the handler as a person whose token has been checked.
func (w *world) post(caller policy.Caller, path, contentType string, body []byte, header ...string) int {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.Handle()(rec, r, caller)
	return rec.Code
}

// TestLogs: telemetry in both forms and packed; what tools returned stays out.
func TestLogs(t *testing.T) {
	text := func(key, value string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
	}
	protobuf, err := proto.Marshal(&logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{
		{EventName: "codex.user_prompt", Attributes: []*commonpb.KeyValue{text("conversation.id", "th"), text("prompt", "by protobuf"), text("model", "gpt")}},
		{EventName: "codex.tool_result", Attributes: []*commonpb.KeyValue{text("conversation.id", "th"), text("call_id", "call_1"), text("tool_name", "mcp__q__query"), text("arguments", `{"sql":"select 1"}`), text("output", "a row that nobody may see")}},
		{EventName: "codex.sse_event", Attributes: []*commonpb.KeyValue{text("conversation.id", "th"), text("x", "y")}},
	}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	const json = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[
		{"body":{"stringValue":"claude_code.user_prompt"},"attributes":[{"key":"session.id","value":{"stringValue":"c1"}},{"key":"prompt.id","value":{"stringValue":"p1"}},{"key":"prompt","value":{"stringValue":"by json"}},{"key":"n","value":{"intValue":"3"}}]},
		{"body":{"stringValue":"claude_code.tool_result"},"attributes":[{"key":"session.id","value":{"stringValue":"c1"}},{"key":"prompt.id","value":{"stringValue":"p1"}},{"key":"tool_use_id","value":{"stringValue":"toolu_1"}},{"key":"tool_name","value":{"stringValue":"mcp_tool"}},{"key":"tool_parameters","value":{"stringValue":"{\"mcp_server_name\":\"q\",\"mcp_tool_name\":\"query\"}"}},{"key":"tool_input","value":{"stringValue":"{\"sql\":\"select 2\"}"}},{"key":"output","value":{"stringValue":"a row that nobody may see"}}]},
		{"body":{"stringValue":"claude_code.tool_result"},"attributes":[{"key":"session.id","value":{"stringValue":"c1"}},{"key":"tool_name","value":{"stringValue":"Bash"}},{"key":"tool_input","value":{"stringValue":"{\"command\":\"a command that is nobody's business\"}"}}]},
		{"body":{"stringValue":"claude_code.assistant_response"},"attributes":[{"key":"session.id","value":{"stringValue":"c1"}},{"key":"prompt.id","value":{"stringValue":"p1"}},{"key":"response","value":{"stringValue":"done"}}]}]}]}]}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(json)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "full")
	if status := w.post(ada, "/v1/logs", "application/x-protobuf", protobuf); status != http.StatusOK {
		t.Errorf("protobuf: %d", status)
	}
	if status := w.post(ada, "/v1/logs", "application/json", packed.Bytes(), "Content-Encoding", "gzip"); status != http.StatusOK {
		t.Errorf("json: %d", status)
	}
	for name, c := range map[string]struct {
		kind   string
		body   []byte
		header []string
		want   int
	}{
		"text":         {"text/plain", []byte(json), nil, 400},
		"no json":      {"application/json", []byte("{"), nil, 400},
		"no protobuf":  {"application/x-protobuf", []byte("{"), nil, 400},
		"no gzip":      {"application/json", []byte(json), []string{"Content-Encoding", "gzip"}, 400},
		"another way":  {"application/json", []byte(json), []string{"Content-Encoding", "br"}, 400},
		"a type of no": {"", []byte(json), nil, 400},
	} {
		if status := w.post(ada, "/v1/logs", c.kind, c.body, c.header...); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
	w.call(t, ada, "select 1", audit.Event{CallID: "call_1"})
	w.call(t, ada, "select 2", audit.Event{CallID: "toolu_1"})
	w.joins(t, 2)
	w.settle(t)
	for _, conversation := range []string{"th", "c1"} {
		chains, err := w.reader.Chains(t.Context(), conversation)
		if err != nil || len(chains) != 1 || len(chains[0].Turns) != 1 || chains[0].Turns[0].Prompt == nil || chains[0].Turns[0].Calls[0].Call == nil {
			t.Errorf("%s: %+v, %v", conversation, chains, err)
		}
	}
	w.absent(t, "nobody")
}

// TestHostile: what somebody with a token of their own can do to the intake.
func TestHostile(t *testing.T) {
	w := newWorld(t, "masked")
	count := func(f audit.Filter) (n int) {
		for e, err := range w.reader.Entries(t.Context(), f) {
			if err != nil || e == nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	// Bob says that he is ada.
	forged := strings.Replace(claudePrompt, "{", `{"user_email":"ada@example.com","user":"ada","caller":{"subject":"ada","issuer":"idp"},`, 1)
	if status := w.post(bob, "/hooks/claude", "application/json", []byte(forged)); status != http.StatusNoContent {
		t.Errorf("forged: %d", status)
	}
	// The same a hundred times.
	for range 100 {
		w.post(bob, "/hooks/claude", "application/json", []byte(claudePrompt))
	}
	// Too much.
	huge := []byte(`{"hook_event_name":"UserPromptSubmit","session_id":"c2","prompt_id":"p","prompt":"` + strings.Repeat("a", 10<<20) + `"}`)
	if status := w.post(bob, "/hooks/claude", "application/json", huge); status != http.StatusRequestEntityTooLarge {
		t.Errorf("10 MB: %d", status)
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(huge); err != nil {
		t.Fatal(err)
	}
	z.Close()
	if status := w.post(bob, "/hooks/claude", "application/json", bomb.Bytes(), "Content-Encoding", "gzip"); status != http.StatusRequestEntityTooLarge {
		t.Errorf("10 MB that look small: %d", status)
	}
	if status := w.post(bob, "/hooks/claude", "application/json", huge[:3<<20]); status != http.StatusBadRequest {
		t.Errorf("cut short: %d", status)
	}
	long := []byte(`{"hook_event_name":"UserPromptSubmit","session_id":"c3","prompt_id":"` + strings.Repeat("p", 5000) + `","prompt":"` + strings.Repeat("a ", 1<<20) + `"}`)
	if status := w.post(bob, "/hooks/claude", "application/json", long); status != http.StatusNoContent {
		t.Errorf("2 MB: %d", status)
	}
	// Names with escapes.
	if status := w.post(bob, "/hooks/claude", "application/json", []byte(`{"hook_event_name":"UserPromptSubmit","session_id":"c4\u001b]0;x\u0007\n","prompt_id":"\u202ep","prompt":"x"}`)); status != http.StatusNoContent {
		t.Errorf("escapes: %d", status)
	}
	for path, want := range map[string]int{"/hooks/windsurf": 400, "/hooks/": 400, "/v1/traces": 404, "/hooks/claude/x": 400} {
		if status := w.post(bob, path, "application/json", []byte(claudePrompt)); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	w.settle(t)
	if n := count(audit.Filter{Kind: audit.KindPrompt}); n != 3 {
		t.Errorf("%d prompts, want 3", n)
	}
	if n := count(audit.Filter{Subject: "ada"}); n != 0 {
		t.Errorf("%d entries are ada's", n)
	}
	for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindPrompt}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Texts["prompt"]) > maxText+64 || len(e.Event.Turn) > maxWord || strings.ContainsAny(e.Event.Conversation+e.Event.Turn, "\x1b\x07\n\u202e") {
			t.Errorf("%q, %q, %d bytes", e.Event.Conversation, e.Event.Turn, len(e.Texts["prompt"]))
		}
	}
	if n := count(audit.Filter{Kind: audit.KindDropped}); n != 1 {
		t.Errorf("what was dropped was told %d times", n)
	}
}

// TestFlood: a person who tells too much is told so, and what waits is bounded.
func TestFlood(t *testing.T) {
	w := newWorld(t, "full")
	statuses := map[int]int{}
	for i := range 1000 {
		statuses[w.post(bob, "/hooks/claude", "application/json", []byte(fmt.Sprintf(`{"hook_event_name":"UserPromptSubmit","session_id":"c","prompt_id":"%d","prompt":"x"}`, i)))]++
	}
	if statuses[http.StatusNoContent] < 500 || statuses[http.StatusTooManyRequests] == 0 {
		t.Errorf("%v", statuses)
	}
	if status := w.post(ada, "/hooks/claude", "application/json", []byte(claudePrompt)); status != http.StatusNoContent {
		t.Errorf("another person: %d", status)
	}
	// Nobody writes: the queue fills, and no caller waits.
	w.Store.Close()
	w.config.Queue, w.config.Burst = 10, 1000
	full, err := Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	full.Close()
	waits := 0
	for i := range 20 {
		if err := full.Take(ada, []Record{{Kind: audit.KindPrompt, Source: "claude", Turn: fmt.Sprint(i), Text: "x"}}); errors.Is(err, ErrFull) {
			waits++
		}
	}
	if waits != 10 {
		t.Errorf("%d of 20 were told that the queue is full", waits)
	}
}

// TestPresent: a sign of life is the caller's own, of this call where calls have
// names, and grows old.
func TestPresent(t *testing.T) {
	w := newWorld(t, "digest")
	start := time.Now()
	var ahead atomic.Int64
	w.config.Now = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	w.open(t)
	present := func(caller policy.Caller, id string, want bool) {
		t.Helper()
		if got := w.Present(caller, id); got != want {
			t.Errorf("%s %q: %v", caller.Subject, id, got)
		}
	}
	present(ada, "", false)
	w.hook(t, ada, "claude", claudeStop) // an answer is no sign of a question
	present(ada, "", false)
	w.hook(t, ada, "claude", claudeUse)
	present(ada, "", true)
	present(bot, "toolu_1", true)
	present(ada, "toolu_2", false)
	present(bob, "", false)
	present(bob, "toolu_1", false)
	ahead.Store(int64(presentFor + time.Second))
	present(ada, "", false)
	present(ada, "toolu_1", false)
}

// TestSlim: what leaves the machine of a hook's event.
func TestSlim(t *testing.T) {
	got, err := Slim("claude", []byte(`{"hook_event_name":"PreToolUse","session_id":"c","prompt_id":"p","tool_name":"mcp__q__query","tool_use_id":"u","transcript_path":"/home/ada/t","env":{"TOKEN":"secret"},"tool_input":{"sql":"select 1","purpose":"mine"},"tool_response":{"rows":[1]}}`))
	if want := `{"hook_event_name":"PreToolUse","session_id":"c","prompt_id":"p","tool_name":"mcp__q__query","tool_use_id":"u","tool_input":{"sql":"select 1"}}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	for _, nothing := range []string{`{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"x"}}`, `{"hook_event_name":"PostToolUse","tool_name":"mcp__q__query","tool_response":"rows"}`, `{"hook_event_name":"Stop"}`, `{}`, `{"hook_event_name":"Notification","message":"x"}`} {
		if got, err := Slim("claude", []byte(nothing)); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %s, %v", nothing, got, err)
		}
	}
	if _, err := Slim("windsurf", []byte(claudePrompt)); err == nil || errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

func FuzzHook(f *testing.F) {
	for _, event := range []string{claudePrompt, claudeUse, claudeStop, `{"type":"agent-turn-complete","thread-id":"th","turn-id":"tu","input-messages":["x"],"last-assistant-message":"y"}`,
		`{"hook_event_name":"beforeMCPExecution","tool_name":"query","tool_input":"{\"sql\":\"select 1\"}"}`, `{"hook_event_name":"PreToolUse","tool_name":"__query","tool_input":7}`} {
		for i := range Sources() {
			f.Add(uint8(i), []byte(event))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, event []byte) {
		source := Sources()[int(which)%len(Sources())]
		records, err := ParseHook(source, event)
		if err != nil {
			return
		}
		slim, err := Slim(source, event)
		if (err == nil) != (len(records) > 0) {
			t.Fatalf("%d records, slim: %v", len(records), err)
		}
		for _, r := range records {
			sound(t, r)
		}
		if err != nil {
			return
		}
		again, err := ParseHook(source, slim)
		if err != nil || len(again) != len(records) {
			t.Fatalf("%s tells %d records, not %d: %v", slim, len(again), len(records), err)
		}
		for i := range again {
			again[i].clean()
			records[i].clean()
			if again[i].CallID != records[i].CallID || again[i].Turn != records[i].Turn || again[i].argument != records[i].argument && len(event) < maxText {
				t.Errorf("%+v became %+v", records[i], again[i])
			}
		}
	})
}

func FuzzLogs(f *testing.F) {
	f.Add(true, []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"codex.user_prompt","attributes":[{"key":"conversation.id","value":{"stringValue":"th"}},{"key":"prompt","value":{"stringValue":"x"}}]}]}]}]}`))
	b, err := proto.Marshal(&logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{{EventName: "codex.tool_result"}}}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, b)
	f.Fuzz(func(t *testing.T, json bool, body []byte) {
		kind := contentProtobuf
		if json {
			kind = contentJSON
		}
		records, err := ParseLogs(kind, body)
		if err != nil {
			return
		}
		for _, r := range records {
			sound(t, r)
		}
	})
}

// sound fails if a record holds what the package comment says that none does.
func sound(t *testing.T, r Record) {
	t.Helper()
	r.clean()
	_, ours := gateTools[r.Tool]
	switch {
	case r.Kind == audit.KindToolUse && (!ours || r.Text != "" || r.Folder != ""):
		t.Errorf("%+v", r)
	case (r.Kind == audit.KindPrompt || r.Kind == audit.KindResponse) && (strings.TrimSpace(r.Text) == "" && r.Text != "" || r.Tool != ""):
		t.Errorf("%+v", r)
	case r.Kind != audit.KindToolUse && r.Kind != audit.KindPrompt && r.Kind != audit.KindResponse:
		t.Errorf("%+v", r)
	}
	if len(r.Text) > maxText+64 || len(r.Conversation) > maxWord || len(r.CallID) > maxWord {
		t.Errorf("too long: %+v", r)
	}
}

// BenchmarkBesideFlood: what the gate's own records wait for while clients tell
// 1,000 things a second, beside what they wait for otherwise.
func BenchmarkBesideFlood(b *testing.B) {
	for _, flood := range []bool{false, true} {
		b.Run(fmt.Sprintf("flood=%v", flood), func(b *testing.B) {
			w := newWorld(b, "masked")
			stop, done := make(chan struct{}), make(chan int, 1)
			go func() {
				told := 0
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						done <- told
						return
					case <-tick.C:
					}
					for range 10 {
						if !flood {
							continue
						}
						who := policy.Caller{Issuer: "idp", Subject: fmt.Sprint("user", told%100)}
						if err := w.Take(who, []Record{{Kind: audit.KindPrompt, Source: "claude", Conversation: "c", Turn: fmt.Sprint(told), Text: strings.Repeat("who bought the most? ", 50)}}); err != nil {
							b.Error(err)
						}
						told++
					}
				}
			}()
			waits := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			for range b.N {
				start := time.Now()
				if _, err := w.log.Append(b.Context(), audit.Event{Kind: audit.KindDecision, Tool: "query", Caller: callerOf(ada), Verdict: "allow", SQL: "select 1", Runs: "SELECT 1"}); err != nil {
					b.Fatal(err)
				}
				waits = append(waits, time.Since(start))
				time.Sleep(2 * time.Millisecond) // a gate that is called 300 times a second or so
			}
			b.StopTimer()
			close(stop)
			told := <-done
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(told)/b.Elapsed().Seconds(), "told/s")
		})
	}
}
