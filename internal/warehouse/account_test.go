package warehouse

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
	"go.uber.org/goleak"

	"querywarden/audit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// testKey is made once: it is the slowest part of a test.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// openLog opens an audit log that is gone after the test.
func openLog(t testing.TB) *audit.Log {
	t.Helper()
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.db"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// record makes a receipt that lets a statement run.
func record(t testing.TB, log *audit.Log, text string) audit.Receipt {
	t.Helper()
	receipt, err := log.Append(t.Context(), audit.Event{Kind: audit.KindCatalogRead, Runs: text})
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// at is a configuration for the account served at an address.
func at(t testing.TB, addr string) Config {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Account: "EMULATOR", Protocol: "http", Host: host, Port: n, Record: openLog(t).RecordOwn,
		Login:        Login{User: "GATE", PrivateKey: testKey(), Role: "ANALYST", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC"},
		LoginTimeout: 5 * time.Second, CancelTimeout: time.Second,
	}
}

// connect opens a warehouse that is closed after the test.
func connect(t testing.TB, c Config) *Warehouse {
	t.Helper()
	w, err := Open(c)
	if err == nil {
		err = w.Try(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// An account is a server that answers what a test wants, for what the emulator
// does not do: replies of a server that is broken, hostile or another version.
type account struct {
	tb     testing.TB
	server *httptest.Server

	mu       sync.Mutex
	paths    map[string]int
	logins   []map[string]any // SESSION_PARAMETERS
	requests []request
	// statements counts them without what sessions begin with.
	statements int
	change     func(data map[string]any) // of what sessions begin with
	answer     func(w http.ResponseWriter, r *http.Request, q request)
}

// A request is the body of a query-request.
type request struct {
	SQL        string         `json:"sqlText"`
	Parameters map[string]any `json:"parameters"`
	Async      bool           `json:"asyncExec"`
}

func newAccount(tb testing.TB) *account {
	a := &account{tb: tb, paths: map[string]int{}}
	a.server = httptest.NewServer(http.HandlerFunc(a.serve))
	tb.Cleanup(a.server.Close)
	return a
}

func (a *account) addr() string { return a.server.Listener.Addr().String() }

// session answers what sessions begin with, as the configuration of [at] has it.
func (a *account) session() map[string]any {
	data := table(1)
	var types []any
	cells := []string{"GATE", "ANALYST", "COMPUTE", "RETAIL", "PUBLIC", `{"roles":"","value":""}`}
	for range cells {
		types = append(types, map[string]any{"name": "A", "type": "text", "length": 16777216, "nullable": true})
	}
	data["rowtype"], data["rowset"], data["total"] = types, [][]string{cells}, 1
	return data
}

// ran returns how many statements were sent, without what sessions begin with.
func (a *account) ran() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statements
}

// seen returns how often a path was asked for.
func (a *account) seen(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.paths[path]
}

func (a *account) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	a.mu.Lock()
	a.paths[r.URL.Path]++
	session := a.paths["/session/v1/login-request"]
	answer := a.answer
	a.mu.Unlock()
	switch r.URL.Path {
	case "/session/v1/login-request":
		var login struct {
			Data struct {
				Parameters map[string]any `json:"SESSION_PARAMETERS"`
			}
		}
		if err := json.Unmarshal(body, &login); err != nil {
			a.tb.Error(err)
		}
		a.mu.Lock()
		a.logins = append(a.logins, login.Data.Parameters)
		a.mu.Unlock()
		reply(w, map[string]any{"token": "session", "masterToken": "master", "sessionId": session, "parameters": []any{}})
	case "/queries/v1/query-request":
		var q request
		if err := json.Unmarshal(body, &q); err != nil {
			a.tb.Error(err)
		}
		if strings.HasPrefix(q.SQL, "SELECT CURRENT_USER()") {
			data := a.session()
			if a.change != nil {
				a.change(data)
			}
			reply(w, data)
			return
		}
		a.mu.Lock()
		a.requests = append(a.requests, q)
		a.statements++
		a.mu.Unlock()
		answer(w, r, q)
	case "/session", "/queries/v1/abort-request", "/telemetry/send", "/session/heartbeat":
		reply(w, nil)
	default:
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w, r, request{})
	}
}

func reply(w http.ResponseWriter, data any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data, "success": true})
}

func fail(w http.ResponseWriter, code, state, message, queryID string) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"data": map[string]any{"queryId": queryID, "sqlState": state}, "code": code, "message": message, "success": false,
	})
}

// table is the data of a reply with one column of text.
func table(total int, cells ...string) map[string]any {
	rows := [][]string{}
	for _, cell := range cells {
		rows = append(rows, []string{cell})
	}
	return map[string]any{
		"rowtype": []any{map[string]any{"name": "A", "type": "text", "length": 16777216, "nullable": true}},
		"rowset":  rows, "total": total, "returned": len(rows), "queryId": "01-query", "queryResultFormat": "json", "statementTypeId": 0x1000,
	}
}

// read collects the first column and closes the rows.
func read(t testing.TB, rows *Rows) ([]string, error) {
	t.Helper()
	defer rows.Close()
	var out []string
	for rows.Next() {
		v := rows.Values()[0]
		if !v.Valid {
			v.Text = "NULL"
		}
		out = append(out, v.Text)
	}
	return out, rows.Err()
}

// stderrOf returns what the driver, and whatever else writes to standard error,
// says while something is done. Before that, the driver is as loud as it would
// be if nobody had silenced it.
func stderrOf(t *testing.T, do func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = before }()
	sf.GetLogger().SetOutput(file)
	do()
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
