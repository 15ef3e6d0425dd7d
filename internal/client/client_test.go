package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept takes rows and keeps them.
type kept struct {
	columns []Column
	rows    []string
	fail    error
}

func (k *kept) Begin(columns []Column) error { k.columns = columns; return nil }

func (k *kept) Row(cells []json.RawMessage) error {
	text, err := json.Marshal(cells)
	k.rows = append(k.rows, string(text))
	return errors.Join(err, k.fail)
}

// gatewayAt is a gateway that h plays.
func gatewayAt(t *testing.T, h http.HandlerFunc) *Gateway {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := Address(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := New(u, Static("token-1", "the test"), "test", "1")
	t.Cleanup(g.http.CloseIdleConnections)
	return g
}

func reply(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, text)
	}
}

const (
	answerText = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}],"structuredContent":{"status":"completed","code":"completed","message":"Done.","columns":[{"name":"A","type":"NUMBER(38,0)"},{"name":"B","type":"VARCHAR","masked":"hash"}],"rows":[[1,"x"],[null,"y\n"]],"row_count":2,"audit":"7:ab"}}}`
	streamText = "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"message\":\"still \\u001b[31mwaiting\"}}\r\n\r\n: a comment\n\ndata: " + answerText + "\n\n"
)

func TestAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"json":   reply("application/json; charset=utf-8", answerText),
		"stream": reply("text/event-stream", streamText),
		// The data of one message on two lines, and no end after the last.
		"stream, two lines": reply("text/event-stream", "data: "+strings.Replace(answerText, `"result":`, "\"result\":\ndata: ", 1)+"\n"),
	} {
		t.Run(name, func(t *testing.T) {
			var rows kept
			var said []string
			a, err := gatewayAt(t, h).RequestApproval(t.Context(), "select 1", "why", func(s string) { said = append(said, s) }, &rows)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != Completed || a.RowCount != 2 || a.Audit != "7:ab" || a.Columns[1].Masked != "hash" {
				t.Errorf("the answer is %+v", a)
			}
			if len(rows.rows) != 2 || rows.rows[0] != `[1,"x"]` || rows.rows[1] != `[null,"y\n"]` || len(rows.columns) != 2 {
				t.Errorf("the rows are %q of %v", rows.rows, rows.columns)
			}
			if name == "stream" && (len(said) != 1 || said[0] != "still  [31mwaiting") {
				t.Errorf("progress said %q", said)
			}
		})
	}
}

// TestWire holds what is sent to what the transport wants.
func TestWire(t *testing.T) {
	g := gatewayAt(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		want := map[string]string{"Authorization": "Bearer token-1", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "query", "Accept": "application/json, text/event-stream"}
		for name, value := range want {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
		var m struct {
			Params struct {
				Name      string
				Arguments Query
				Meta      map[string]json.RawMessage `json:"_meta"`
			}
		}
		if err := json.Unmarshal(body, &m); err != nil || m.Params.Name != "query" || m.Params.Arguments.SQL != "select '<&>'" || m.Params.Arguments.MaxRows != 3 {
			t.Errorf("%v: %s", err, body)
		}
		reply("application/json", answerText)(w, r)
	})
	if _, err := g.Query(t.Context(), Query{SQL: "select '<&>'", MaxRows: 3}, &kept{}); err != nil {
		t.Fatal(err)
	}
}

// TestBadAnswers are answers that make no sense, and what they are called. None
// of them looks like an answer.
func TestBadAnswers(t *testing.T) {
	structured := func(s string) string { return `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":` + s + `}}` }
	const columns = `"status":"completed","columns":[{"name":"A","type":"VARCHAR"}]`
	for _, c := range []struct{ kind, text, want string }{
		{"text/html", "<html>", "answers with text/html"},
		{"", answerText, "which is not MCP"},
		{"application/json", "", "ended after 0 rows"},
		{"application/json", "nonsense", "not what a gateway answers"},
		{"application/json", "[]", "not what a gateway answers"},
		{"application/json", `{"result":7}`, "not what a gateway answers"},
		{"application/json", `{"jsonrpc":"2.0","id":1}`, "ended before it was whole"},
		{"application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"no \u001b[2Jway"}]}}`, "the gateway answers: no  [2Jway"},
		{"application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"broken\nhere"}}`, "error -32603: broken here"},
		{"application/json", structured(`{}`), "not what a gateway answers"},
		{"application/json", structured(`{"status":"done"}`), "not what a gateway answers"},
		{"application/json", structured(`{"rows":[],` + columns + `}`), "not what a gateway answers"},
		{"application/json", structured(`{` + columns + `,"rows":[["x"],["y"]],"row_count":1}`), "it holds 2 rows and says 1"},
		{"application/json", structured(`{` + columns + `,"rows":[["x","y"]],"row_count":1}`), "not what a gateway answers"},
		{"application/json", structured(`{` + columns + `,"rows":["x"],"row_count":1}`), "not what a gateway answers"},
		{"application/json", structured(`{` + columns + `,"rows":[["x"],["y`)[:100], "it ended after"},
		{"application/json", structured(`{"status":"denied","message":"` + strings.Repeat("x", 1<<20) + `"}`), "larger than this client holds"},
		{"text/event-stream", "", "ended before it was whole"},
		{"text/event-stream", ": nothing\n\n", "ended before it was whole"},
		{"text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n", "ended before it was whole"},
		{"text/event-stream", "data: " + answerText[:len(answerText)-60] + "\n\n", "before it was whole"},
	} {
		rows := &kept{}
		g := gatewayAt(t, reply(c.kind, c.text))
		g.limit = 1 << 20
		a, err := g.Query(t.Context(), Query{SQL: "select 1"}, rows)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v, want %q (answer %+v)", c.text, err, c.want, a)
		}
	}
}

// TestRowsTaker stops where the rows' taker cannot go on.
func TestRowsTaker(t *testing.T) {
	full := errors.New("the disk is full")
	rows := &kept{fail: full}
	if _, err := gatewayAt(t, reply("application/json", answerText)).Query(t.Context(), Query{SQL: "select 1"}, rows); !errors.Is(err, full) || len(rows.rows) != 1 {
		t.Errorf("%v after %d rows", err, len(rows.rows))
	}
}

// TestStatuses are refusals of HTTP. The request goes out again only where it
// has done nothing.
func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		status int
		header map[string]string
		body   string
		want   string
		next   string
		calls  int64
	}{
		{401, nil, `{"error":"the token has expired"}`, "the gateway refuses the token of the test: the token has expired", "get a new one", 1},
		{403, map[string]string{"WWW-Authenticate": `Bearer error="insufficient_scope", scope="query approve"`}, `{"error":"a scope is missing"}`, "a scope is missing", `--scopes "query approve"`, 1},
		{403, nil, `{"error":"this host is not served here"}`, "this host is not served here", "the log", 1},
		{404, nil, `not found`, "is not the gateway's endpoint: 404 Not Found", "ends in /mcp", 1},
		{302, map[string]string{"Location": "https://login.example.com/"}, "", "redirects to https://login.example.com/", "own URL", 1},
		{413, nil, `{"error":"the request is too large"}`, "the request is too large", "", 1},
		{429, nil, `{"error":"too many calls"}`, "puts the request off: too many calls", "in a minute", 1},
		{500, nil, "", "500 Internal Server Error", "", 1},
		{400, nil, "<html>", "400 Bad Request", "", 1},
	} {
		var calls atomic.Int64
		g := gatewayAt(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			for name, value := range c.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, err := g.Query(t.Context(), Query{SQL: "select 1"}, &kept{})
		var advised *Error
		next := ""
		if errors.As(err, &advised) {
			next = advised.Next
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(next, c.next) || c.next == "" && next != "" || calls.Load() != c.calls {
			t.Errorf("%d: %v (%s) after %d calls", c.status, err, next, calls.Load())
		}
	}
}

// TestRenewed calls with a token that is refused once, and puts off the other.
func TestRenewed(t *testing.T) {
	var calls atomic.Int64
	g := gatewayAt(t, func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1); {
		case r.Header.Get("Authorization") == "Bearer old":
			w.WriteHeader(http.StatusUnauthorized)
		case calls.Load() == 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			reply("application/json", answerText)(w, r)
		}
	})
	var asked []bool
	g.token = func(_ context.Context, fresh bool) (string, error) {
		asked = append(asked, fresh)
		if fresh {
			return "new", nil
		}
		return "old", nil
	}
	if _, err := g.Query(t.Context(), Query{SQL: "select 1"}, &kept{}); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	if len(asked) != 3 || asked[0] || !asked[1] {
		t.Errorf("asked for tokens %v", asked)
	}
}

// TestAddress refuses what a token must not go to.
func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://gate.example.com":          "https://gate.example.com/mcp",
		"https://gate.example.com/":         "https://gate.example.com/mcp",
		"https://gate.example.com/a/mcp":    "https://gate.example.com/a/mcp",
		"http://localhost:1":                "http://localhost:1/mcp",
		"http://127.9.9.9:1/mcp":            "http://127.9.9.9:1/mcp",
		"http://[::1]:1/mcp":                "http://[::1]:1/mcp",
		"http://gate.example.com/mcp":       "",
		"http://127.0.0.1.example.com/mcp":  "",
		"http://localhost.example.com/mcp":  "",
		"http://0.0.0.0/mcp":                "",
		"ftp://gate.example.com/mcp":        "",
		"gate.example.com":                  "",
		"":                                  "",
		"https://":                          "",
		"https://a:b@gate.example.com/mcp":  "",
		"https://gate.example.com/mcp?x=1":  "",
		"https://gate.example.com/mcp#x":    "",
		"javascript:alert(1)":               "",
		"https://gate.example.com:port/mcp": "",
	} {
		u, err := Address(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for %s", in, u)
			}
			continue
		}
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

// TestDiscovery meets servers that lie about who they are.
func TestDiscovery(t *testing.T) {
	type world struct {
		resource, issuer, place, method string
		endpoints                       map[string]any
	}
	discoverIn := func(t *testing.T, change func(*world, string)) error {
		var w world
		var self string
		mux := http.NewServeMux()
		mux.HandleFunc("/mcp", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", `Bearer realm="x, resource_metadata=", resource_metadata="`+w.place+`", scope="query"`)
			rw.WriteHeader(http.StatusUnauthorized)
		})
		mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(rw http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(rw).Encode(map[string]any{"resource": w.resource, "authorization_servers": []string{w.issuer}})
		})
		mux.HandleFunc("/.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
			document := map[string]any{"issuer": self, "token_endpoint": self + "/token", "code_challenge_methods_supported": []string{w.method}}
			for k, v := range w.endpoints {
				document[k] = v
			}
			json.NewEncoder(rw).Encode(document)
		})
		s := httptest.NewServer(mux)
		defer s.Close()
		self = s.URL
		w = world{resource: self + "/mcp", issuer: self, place: self + "/.well-known/oauth-protected-resource/mcp", method: "S256", endpoints: map[string]any{}}
		if change != nil {
			change(&w, self)
		}
		u, err := url.Parse(self + "/mcp")
		if err != nil {
			t.Fatal(err)
		}
		hc := newHTTP()
		defer hc.CloseIdleConnections()
		found, err := discover(t.Context(), hc, u, "")
		if err == nil && (found.Token != self+"/token" || strings.Join(found.wanted, " ") != "query") {
			t.Errorf("found %+v", found)
		}
		return err
	}
	if err := discoverIn(t, nil); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*world, string){
		"calls itself https://victim.example.com/mcp": func(w *world, _ string) { w.resource = "https://victim.example.com/mcp" },
		"which is not the gateway":                    func(w *world, _ string) { w.place = "https://evil.example.com/metadata" },
		"calls itself http://127.0.0.1":               func(w *world, self string) { w.issuer = strings.Replace(self, "127.0.0.1", "localhost", 1) },
		"which is not an https URL":                   func(w *world, _ string) { w.issuer = "http://issuer.example.com" },
		"calls itself https://other.example.com":      func(w *world, _ string) { w.endpoints["issuer"] = "https://other.example.com" },
		"an endpoint that is not encrypted":           func(w *world, _ string) { w.endpoints["token_endpoint"] = "http://tokens.example.com" },
		"names no token endpoint":                     func(w *world, _ string) { w.endpoints["token_endpoint"] = "" },
	} {
		if err := discoverIn(t, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestParameter reads challenges as RFC 9110 has them.
func TestParameter(t *testing.T) {
	for header, want := range map[string]string{
		`Bearer scope="a b"`:                     "a b",
		`Bearer realm="scope=x", scope="y"`:      "y",
		`Bearer myscope="x", scope=z, error="e"`: "z",
		`Bearer scope="say \"hi\""`:              `say "hi"`,
		`Bearer scope="open`:                     "",
		`Bearer error="invalid_token"`:           "",
		``:                                       "",
		`Bearer SCOPE="upper"`:                   "upper",
		`Basic realm="x", Bearer scope="second challenge"`: "second challenge",
	} {
		if got := parameter(header, "scope"); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

// FuzzAnswer reads answers of any shape: no panic, and rows only of an answer
// that says how many there are.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(answerText), false)
	f.Add([]byte(streamText), true)
	f.Add([]byte("data:\n\ndata\n\n: x\n\ndata: {}\n\n"), true)
	f.Fuzz(func(t *testing.T, body []byte, events bool) {
		kind := "application/json"
		if events {
			kind = "text/event-stream"
		}
		res := &http.Response{Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(string(body)))}
		rows := &kept{}
		a, err := readAnswer(res, 1<<20, func(string) {}, rows)
		if err == nil && rows.columns != nil && int64(len(rows.rows)) != a.RowCount {
			t.Errorf("%d rows of an answer of %d", len(rows.rows), a.RowCount)
		}
	})
}

// flat takes rows, and now and then looks at how much memory is held.
type flat struct {
	n       int
	highest uint64
}

func (*flat) Begin([]Column) error { return nil }

func (f *flat) Row([]json.RawMessage) error {
	if f.n++; f.n%10_000 == 0 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		f.highest = max(f.highest, m.HeapAlloc)
	}
	return nil
}

// TestFlatAnswer reads an answer of 24 MB, as JSON and as an event, and holds
// next to nothing of it.
func TestFlatAnswer(t *testing.T) {
	const rows = 40_000
	row := `["` + strings.Repeat("x", 600) + `"]`
	for _, kind := range []string{"application/json", "text/event-stream"} {
		rest := &flat{}
		a, err := gatewayAt(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			if kind != "application/json" {
				fmt.Fprint(w, "data: ")
			}
			fmt.Fprint(w, `{"result":{"structuredContent":{"status":"completed","columns":[{"name":"A"}],"rows":[`)
			for i := range rows {
				if i > 0 {
					fmt.Fprint(w, ",")
				}
				fmt.Fprint(w, row)
			}
			fmt.Fprintf(w, `],"row_count":%d}}}`, rows)
			if kind != "application/json" {
				fmt.Fprint(w, "\n\n")
			}
		}).Query(t.Context(), Query{SQL: "select 1"}, rest)
		if err != nil || a.RowCount != rows || rest.n != rows {
			t.Fatalf("%s: %d rows: %v", kind, rest.n, err)
		}
		if rest.highest > 12<<20 {
			t.Errorf("%s: %d MB were held", kind, rest.highest>>20)
		}
	}
}
