//go:build cgo

package emulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
)

func TestLogin(t *testing.T) {
	e, _ := open(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*sf.Config)
		code   int // 0: it works
	}{
		{"right key", func(*sf.Config) {}, 0},
		{"role PUBLIC", func(c *sf.Config) { c.Role = "PUBLIC" }, 0},
		{"no role", func(c *sf.Config) { c.Role = "" }, 0},
		{"wrong key", func(c *sf.Config) { c.PrivateKey = other }, 390144},
		{"unknown user", func(c *sf.Config) { c.User = "NOBODY" }, 390144},
		{"the user of scripts", func(c *sf.Config) { c.User = systemUser }, 390144},
		{"role of somebody else", func(c *sf.Config) { c.Role = "ACCOUNTADMIN" }, 390189},
		{"unknown database", func(c *sf.Config) { c.Database = "NOWHERE"; c.ValidateDefaultParameters = sf.ConfigBoolTrue }, 390201},
		{"password", func(c *sf.Config) { c.Authenticator = sf.AuthTypeSnowflake; c.Password = "x" }, 390100},
		{"expired", func(c *sf.Config) { c.JWTExpireTimeout = -2 * time.Hour }, 390144},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := connect(t, e, c.change)
			err := db.PingContext(t.Context())
			if c.code == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failed *sf.SnowflakeError
			if !errors.As(err, &failed) || failed.Number != c.code {
				t.Errorf("%v, want code %d", err, c.code)
			}
		})
	}
}

func TestAddUser(t *testing.T) {
	e, _ := open(t)
	for _, c := range []struct {
		name, role string
		key        *rsa.PublicKey
	}{{"", "r", &testKey().PublicKey}, {"u", "", &testKey().PublicKey}, {"u", "r", nil}} {
		if err := e.AddUser(c.name, c.key, c.role); err == nil {
			t.Errorf("AddUser(%q, %v, %q) took it", c.name, c.key, c.role)
		}
	}
}

func TestStartOnLoopbackOnly(t *testing.T) {
	e, _ := open(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		if got, err := e.Start(addr); err == nil {
			t.Errorf("Start(%q) serves on %s", addr, got)
		}
	}
}

func TestErrors(t *testing.T) {
	_, db := open(t)
	mustExec(t, db, "CREATE TABLE t (id NUMBER, name VARCHAR NOT NULL)", "CREATE VIEW v AS SELECT * FROM t")
	for _, c := range []struct {
		sql, state, message string
		code, line, column  int
	}{
		{"SELECT 1 FORM t WHERE", "42000", "syntax error line 1 at position 14", 1003, 0, 0},
		{"SELECT *\n  FROM t WHERE\n  1 =", "42000", "syntax error line 3 at position", 1003, 0, 0},
		{"", "42601", "Empty SQL statement", 900, 0, 0},
		{"-- nothing", "42601", "Empty SQL statement", 900, 0, 0},
		{"SELECT 1; SELECT 2", "0A000", "Actual statement count 2 did not match the desired statement count 1.", 8, 0, 0},
		{"SELECT * FROM nope", "42S02", "Object 'RETAIL.PUBLIC.NOPE' does not exist or not authorized.", 2003, 0, 0},
		{"SELECT * FROM other.s.nope", "42S02", "Object 'OTHER.S.NOPE' does not exist or not authorized.", 2003, 0, 0},
		{"SELECT nope FROM t", "42000", "invalid identifier 'NOPE'", 904, 0, 0},
		{"SELECT x.id FROM t", "42000", "invalid identifier 'X'", 904, 0, 0},
		{"SELECT id FROM t a, t b", "42601", "ambiguous column name 'ID'", 1104, 0, 0},
		{"SELECT NO_SUCH_FUNCTION(1)", "42601", "Unknown function NO_SUCH_FUNCTION", 2140, 0, 0},
		{"SELECT SF_TEXT(1)", "42601", "Unknown function SF_TEXT", 2140, 0, 0},
		{"SELECT 1 / 0", "22012", "Division by zero", 100051, 0, 0},
		{"SELECT 'abc'::NUMBER", "22018", "abc", 100038, 0, 0},
		{"INSERT INTO t VALUES (1, NULL)", "22000", "NOT NULL", 100072, 0, 0},
		{"INSERT INTO v VALUES (1, 'a')", "42601", "is not a table", 1003, 0, 0},
		{"CREATE TABLE t (id NUMBER)", "42710", "Object 'T' already exists", 2002, 0, 0},
		{"CREATE TABLE nodb.s.t (id NUMBER)", "42S02", "Schema 'NODB.S' does not exist", 2003, 0, 0},
		{"DROP TABLE nope", "42S02", "Table 'RETAIL.PUBLIC.NOPE' does not exist", 2003, 0, 0},
		{"DROP TABLE v", "42601", "Object found is of type 'VIEW'", 2203, 0, 0},
		{"USE DATABASE nowhere", "02000", "NOWHERE", 2043, 0, 0},
		{"USE ROLE accountadmin", "42501", "not assigned", 3013, 0, 0},
		{"PUT file:///etc/passwd @~", "0A000", "Unsupported feature: PUT", 2, 0, 0},
		{"GRANT SELECT ON t TO ROLE x", "42S02", "Role 'X' does not exist", 2003, 0, 0},
		{"CREATE TEMPORARY TABLE x (a INT)", "0A000", "TEMPORARY", 2, 0, 0},
		{"SELECT $nope", "02000", "'$NOPE' does not exist", 2211, 0, 0},
		{"SELECT ?", "42601", "not set", 2049, 0, 0},
	} {
		t.Run(c.sql, func(t *testing.T) {
			failed := failure(t, db, c.sql)
			if failed.Number != c.code || failed.SQLState != c.state || !strings.Contains(failed.Message, c.message) {
				t.Errorf("%06d %s %q, want %06d %s %q", failed.Number, failed.SQLState, failed.Message, c.code, c.state, c.message)
			}
			if failed.QueryID == "" {
				t.Error("the error has no query id")
			}
		})
	}
}

func TestQueryIDsAndTag(t *testing.T) {
	e, db := open(t)
	ids := make(chan string, 1)
	ctx := sf.WithQueryTag(sf.WithQueryIDChan(t.Context(), ids), "receipt-7")
	if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	id := <-ids
	e.mu.Lock()
	q := e.queries[id]
	e.mu.Unlock()
	if q == nil || q.tag != "receipt-7" || q.text != "SELECT 1" {
		t.Errorf("query %q is %+v", id, q)
	}
}

// slow is a statement that runs for minutes if nobody stops it.
const slow = "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 4000000)) a, TABLE(GENERATOR(ROWCOUNT => 4000000)) b WHERE SHA2(RANDOM()::VARCHAR) = 'x'"

func TestCancel(t *testing.T) {
	e, db := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	started := time.Now()
	_, err := db.ExecContext(ctx, slow)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want a cancellation", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("cancelling took %v", took)
	}
	var q *query
	e.mu.Lock()
	for _, other := range e.queries {
		if other.text == slow {
			q = other
		}
	}
	e.mu.Unlock()
	if q == nil {
		t.Fatal("the statement never arrived")
	}
	select {
	case <-q.done:
	case <-time.After(5 * time.Second):
		t.Fatal("the statement runs on")
	}
	var failed *sqlError
	if !errors.As(q.err, &failed) || failed.code != "000604" || failed.state != "57014" {
		t.Errorf("the statement ended with %v", q.err)
	}
	if got := value(t, db, "SELECT 1"); got != "1" {
		t.Errorf("the session gives %s after a cancellation", got)
	}
}

func TestStatementTimeout(t *testing.T) {
	_, db := open(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 1")
	if failed := failure(t, db, slow); failed.Number != 630 || failed.SQLState != "57014" {
		t.Errorf("%d %s, want 630 57014", failed.Number, failed.SQLState)
	}
}

func TestMultipleStatements(t *testing.T) {
	_, db := open(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "CREATE TABLE t (id NUMBER)")
	for count, code := range map[int]int{1: 8, 3: 8} {
		ctx, err := sf.WithMultiStatement(t.Context(), count)
		if err != nil {
			t.Fatal(err)
		}
		if failed := failureIn(t, ctx, db, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"); failed.Number != code {
			t.Errorf("count %d: %d, want %d", count, failed.Number, code)
		}
	}
	if got := value(t, db, "SELECT COUNT(*) FROM t"); got != "0" {
		t.Fatalf("refused statements have inserted %s rows", got)
	}
	ctx, err := sf.WithMultiStatement(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	done, err := db.ExecContext(ctx, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2), (3)")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 3 || err != nil {
		t.Errorf("%d rows (%v), want 3", n, err)
	}
	// The session's parameter opens it; the statement's still closes it.
	mustExec(t, db, "ALTER SESSION SET MULTI_STATEMENT_COUNT = 0", "INSERT INTO t VALUES (4); INSERT INTO t VALUES (5)")
	ctx, err = sf.WithMultiStatement(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if failed := failureIn(t, ctx, db, "SELECT 1; SELECT 2"); failed.Number != 8 {
		t.Errorf("%d, want 8", failed.Number)
	}
}

// tokenOf returns a live token of the given kind.
func (e *Emulator) tokenOf(master bool) (string, *ticket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for text, k := range e.tokens {
		if k.master == master {
			return text, k
		}
	}
	return "", nil
}

func TestRenew(t *testing.T) {
	e, db := open(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "SET x = 42")
	before, k := e.tokenOf(false)
	e.mu.Lock()
	k.expires = time.Now().Add(-time.Second)
	e.mu.Unlock()
	if got := value(t, db, "SELECT $x"); got != "42" {
		t.Errorf("the session forgot its variable: %s", got)
	}
	if after, _ := e.tokenOf(false); after == before {
		t.Error("the token is the old one")
	}
}

func TestSessionGone(t *testing.T) {
	e, db := open(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "SELECT 1")
	_, k := e.tokenOf(false)
	e.endSession(k.session)
	if failed := failure(t, db, "SELECT 1"); failed.Number != 390111 {
		t.Errorf("code %d, want 390111", failed.Number)
	}
}

func TestLogoutEndsTheSession(t *testing.T) {
	e, _ := open(t)
	db := connect(t, e, nil)
	mustExec(t, db, "CREATE TABLE t (id NUMBER)", "BEGIN", "INSERT INTO t VALUES (1)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	left := len(e.sessions) + len(e.tokens) + len(e.queries)
	e.mu.Unlock()
	if left != 0 {
		t.Errorf("%d sessions, tokens and queries are left", left)
	}
	if got := value(t, connect(t, e, nil), "SELECT COUNT(*) FROM t"); got != "0" {
		t.Errorf("%s rows of a transaction that nobody committed", got)
	}
}

// loseReply drops the reply of the first query-request that it sees.
type loseReply struct{ lost atomic.Bool }

func (l *loseReply) RoundTrip(r *http.Request) (*http.Response, error) {
	reply, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/queries/v1/query-request") && l.lost.CompareAndSwap(false, true) {
		reply.Body.Close()
		return nil, errors.New("connection reset")
	}
	return reply, err
}

func TestRepeatedRequestRunsOnce(t *testing.T) {
	e, plain := open(t)
	mustExec(t, plain, "CREATE TABLE t (id NUMBER)")
	l := &loseReply{}
	db := connect(t, e, func(c *sf.Config) { c.Transporter = l })
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if !l.lost.Load() {
		t.Fatal("no reply was lost")
	}
	if got := value(t, plain, "SELECT COUNT(*) FROM t"); got != "1" {
		t.Errorf("the INSERT ran %s times", got)
	}
}

func TestSessionState(t *testing.T) {
	_, db := open(t)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "CREATE SCHEMA other", "CREATE TABLE here (a INT)")
	if got := value(t, db, "SELECT CURRENT_SCHEMA()"); got != "OTHER" {
		t.Errorf("schema %s, want the one just made", got)
	}
	mustExec(t, db, "USE SCHEMA public")
	if failed := failure(t, db, "SELECT * FROM here"); failed.Number != 2003 {
		t.Error(failed)
	}
	mustExec(t, db, "SELECT * FROM other.here", "SELECT * FROM retail.other.here", "USE DATABASE retail", "USE WAREHOUSE big", "USE ROLE public", "USE SECONDARY ROLES NONE")
	got := rowsOf(t, db, "SELECT CURRENT_DATABASE(), CURRENT_SCHEMA(), CURRENT_WAREHOUSE(), CURRENT_ROLE()")
	if want := []string{"RETAIL", "PUBLIC", "BIG", "PUBLIC"}; !slices.Equal(got[0], want) {
		t.Errorf("%v, want %v", got[0], want)
	}
}

func TestTransactions(t *testing.T) {
	_, db := open(t)
	mustExec(t, db, "CREATE TABLE t (id NUMBER)")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if got := value(t, db, "SELECT COUNT(*) FROM t"); got != "0" {
		t.Errorf("another session sees %s rows", got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := value(t, db, "SELECT COUNT(*) FROM t"); got != "0" {
		t.Errorf("%s rows after ROLLBACK", got)
	}
	if tx, err = db.BeginTx(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("CREATE TABLE u (id NUMBER)"); err != nil { // commits
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := value(t, db, "SELECT COUNT(*) FROM t"); got != "1" {
		t.Errorf("%s rows: DDL has to commit", got)
	}
}

// ask sends a request as no driver would.
func ask(t *testing.T, e *Emulator, path, token, encoding string, body []byte) (int, envelope) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", `Snowflake Token="`+token+`"`)
	}
	r.Header.Set("Content-Encoding", encoding)
	w := httptest.NewRecorder()
	e.server.Handler.ServeHTTP(w, r)
	var reply envelope
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
	}
	return w.Code, reply
}

func TestRequestsThatNoDriverSends(t *testing.T) {
	e, db := open(t)
	mustExec(t, db, "SELECT 1")
	session, _ := e.tokenOf(false)
	master, _ := e.tokenOf(true)
	const statement = `{"sqlText": "SELECT 1"}`
	for _, c := range []struct {
		name, path, token, encoding, body string
		status                            int
		code                              string
	}{
		{"no token", "/queries/v1/query-request?requestId=a", "", "", statement, 200, "390104"},
		{"wrong token", "/queries/v1/query-request?requestId=a", "guess", "", statement, 200, "390111"},
		{"master token for a statement", "/queries/v1/query-request?requestId=a", master, "", statement, 200, "390104"},
		{"session token for a renewal", "/session/token-request", session, "", `{"requestType": "RENEW"}`, 200, "390104"},
		{"not JSON", "/queries/v1/query-request", session, "", "SELECT 1", 400, ""},
		{"not gzip", "/queries/v1/query-request", session, "gzip", statement, 400, ""},
		{"login without a token", "/session/v1/login-request", "", "", `{"data": {"AUTHENTICATOR": "SNOWFLAKE_JWT"}}`, 200, "390144"},
		{"login with half a token", "/session/v1/login-request", "", "", `{"data": {"AUTHENTICATOR": "SNOWFLAKE_JWT", "TOKEN": "e30.e30.", "ACCOUNT_NAME": "X"}}`, 200, "390144"},
		{"abort of nothing", "/queries/v1/abort-request", session, "", `{"requestId": "x"}`, 200, "000605"},
		{"no such path", "/queries/v2/query-request", session, "", statement, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, reply := ask(t, e, c.path, c.token, c.encoding, []byte(c.body))
			if status != c.status || reply.Success || c.code != "" && (reply.Code == nil || *reply.Code != c.code) {
				t.Errorf("status %d, reply %+v", status, reply)
			}
		})
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, statement); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if status, reply := ask(t, e, "/queries/v1/query-request?requestId=z", session, "gzip", zipped.Bytes()); status != 200 || !reply.Success {
		t.Errorf("gzip: status %d, reply %+v", status, reply)
	}
	if status, reply := ask(t, e, "/session/heartbeat", session, "", nil); status != 200 || !reply.Success {
		t.Errorf("heartbeat: status %d, reply %+v", status, reply)
	}
}

func TestAsync(t *testing.T) {
	_, db := open(t)
	rows, err := db.QueryContext(sf.WithAsyncMode(t.Context()), "SELECT SUM(s) FROM (SELECT SEQ4() AS s FROM TABLE(GENERATOR(ROWCOUNT => 1000)))")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var sum int
	for rows.Next() {
		if err := rows.Scan(&sum); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil || sum != 499500 {
		t.Errorf("%d (%v)", sum, err)
	}
}

func TestCloseWhileRunning(t *testing.T) {
	e, err := Open("", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.AddUser("agent", &testKey().PublicKey, "analyst"); err != nil {
		t.Fatal(err)
	}
	db := connect(t, e, func(c *sf.Config) { c.KeepSessionAlive = true })
	mustExec(t, db, "SELECT 1")
	if err := db.Close(); err != nil { // there will be nobody to log out from
		t.Fatal(err)
	}
	token, _ := e.tokenOf(false)
	asked, executed := make(chan envelope, 1), make(chan error, 1)
	go func() {
		_, reply := ask(t, e, "/queries/v1/query-request?requestId=slow", token, "", []byte(`{"sqlText": "`+slow+`"}`))
		asked <- reply
	}()
	go func() { executed <- e.Exec(context.Background(), slow) }()
	time.Sleep(300 * time.Millisecond)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if reply := <-asked; reply.Success || reply.Code == nil || *reply.Code != "000604" {
		t.Errorf("the request got %+v", reply)
	}
	if err := <-executed; err == nil {
		t.Error("the script succeeded")
	}
	if err := e.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a closed emulator runs scripts")
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []string{"1", "2"} {
		e, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS t (id NUMBER(5,0), v VARIANT); INSERT INTO t SELECT 1, PARSE_JSON('{}'); CREATE VIEW IF NOT EXISTS w AS SELECT v::STRING AS s FROM t"); err != nil {
			t.Fatal(err)
		}
		if err := e.AddUser("agent", &testKey().PublicKey, "analyst"); err != nil {
			t.Fatal(err)
		}
		db := connect(t, e, nil)
		if got := value(t, db, "SELECT COUNT(s) FROM w"); got != want {
			t.Errorf("opened %d times: %s rows", i+1, got)
		}
		if err := errors.Join(db.Close(), e.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
