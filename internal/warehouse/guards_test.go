package warehouse

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
)

// run records and runs a statement.
func run(t testing.TB, w *Warehouse, log *audit.Log, text string) (*Rows, error) {
	t.Helper()
	return w.Run(t.Context(), record(t, log, text), Statement{SQL: text})
}

// failure is the *Error in err.
func failure(t testing.TB, err error) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("the error is %v, not an *Error", err)
	}
	return failed
}

func TestNoReceiptNoQuery(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) { reply(w, table(1, "x")) }
	w := connect(t, at(t, a.addr()))
	if _, err := w.Run(t.Context(), audit.Receipt{}, Statement{SQL: "SELECT 1"}); !errors.Is(err, audit.ErrNoReceipt) {
		t.Errorf("without a receipt: %v", err)
	}
	if _, err := w.Run(t.Context(), record(t, log, "SELECT 1"), Statement{SQL: "SELECT 2"}); !errors.Is(err, audit.ErrNotAuthorized) {
		t.Errorf("with another statement's receipt: %v", err)
	}
	if n := a.ran(); n != 0 {
		t.Fatalf("%d statements were sent", n)
	}
	receipt := record(t, log, "SELECT 1")
	rows, err := w.Run(t.Context(), receipt, Statement{SQL: "SELECT 1"})
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
	if _, err := w.Run(t.Context(), receipt, Statement{SQL: "SELECT 1"}); !errors.Is(err, audit.ErrSpent) {
		t.Errorf("with a spent receipt: %v", err)
	}
	if n := a.ran(); n != 1 {
		t.Errorf("%d statements were sent, want 1", n)
	}
	if got := a.requests[0].Parameters["QUERY_TAG"]; got != receipt.Tag() || got == "" {
		t.Errorf("QUERY_TAG is %v, want %s", got, receipt.Tag())
	}
	if got := fmt.Sprint(a.requests[0].Parameters["MULTI_STATEMENT_COUNT"]); got != "1" {
		t.Errorf("MULTI_STATEMENT_COUNT is %s, want 1", got)
	}
}

// Defect 1: PUT and GET are carried out by the client.
func TestFilesStayWhereTheyAre(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(dir, "stage")
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
		data := table(1, "x")
		data["command"] = "UPLOAD"
		data["src_locations"] = []string{secret}
		data["localLocation"] = stage
		data["stageInfo"] = map[string]any{"locationType": "LOCAL_FS", "location": stage + "/"}
		reply(w, data)
	}
	w := connect(t, at(t, a.addr()))
	for _, text := range []string{
		"PUT file://" + secret + " @~", "put file://x @~", " \n\tPut file://x @s", "/* a */ PUT file://x @~",
		"/* a\nb */PUT file://x @~", "-- c\nPUT file://x @~", "// c\nGET @~ file://x", "GET @~ file:///tmp", "gEt\n@~ file://x",
		"/* a */ SELECT 1 /* b */ PUT file://x @~", "PUT/**/file://x @~",
	} {
		if _, err := run(t, w, log, text); !errors.Is(err, errMovesFiles) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if n := a.ran(); n != 0 {
		t.Errorf("%d of them were sent", n)
	}
	// What only looks like it is sent, and the reply's command refused.
	for _, text := range []string{"SELECT GET(V, 0) FROM T", "SELECT 'PUT file://x'", "SELECT \"put\" FROM T", "PUTIN"} {
		_, err := run(t, w, log, text)
		if failed := failure(t, err); failed.Class != Internal || failed.QueryID != "01-query" {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := os.Stat(stage); !os.IsNotExist(err) {
		t.Errorf("the reply's command was carried out: %v", err)
	}
}

// Defect 2: parameters that one session's replies set reach the logins of
// others.
func TestParametersAreNotShared(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
		data := table(1, "x")
		data["parameters"] = []any{
			map[string]any{"name": "TIMEZONE", "value": "Pacific/Kiritimati"},
			map[string]any{"name": "MULTI_STATEMENT_COUNT", "value": "0"},
		}
		reply(w, data)
	}
	w := connect(t, at(t, a.addr()))
	for range 2 {
		rows, err := run(t, w, log, "ALTER SESSION SET TIMEZONE = 'x'") // which is not reused
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	if len(a.logins) != 2 {
		t.Fatalf("%d logins, want one a session", len(a.logins))
	}
	for i, parameters := range a.logins {
		if parameters["TIMEZONE"] != "UTC" || parameters["MULTI_STATEMENT_COUNT"] != "1" || parameters["STATEMENT_TIMEOUT_IN_SECONDS"] != "600" {
			t.Errorf("login %d: parameters %v", i+1, parameters)
		}
	}
}

// Defect 3: rows that are missing are not noticed.
func TestMissingRows(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	w := connect(t, at(t, a.addr()))
	for name, data := range map[string]map[string]any{
		"too few":  table(3, "a", "b"),
		"none":     table(1),
		"too many": table(1, "a", "b"),
	} {
		a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) { reply(w, data) }
		rows, err := run(t, w, log, "SELECT A FROM T")
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(t, rows)
		if failed := failure(t, err); failed.Class != Internal || len(got) > int(rows.Total()) {
			t.Errorf("%s: %d rows, %v", name, len(got), err)
		}
	}
}

func TestChunks(t *testing.T) {
	log := openLog(t)
	for name, test := range map[string]struct {
		chunks []string // bodies, without the outer brackets
		total  int
		want   []string
		class  Class
	}{
		"none":             {nil, 1, []string{"first"}, ""},
		"two":              {[]string{`["a"],["b"]`, `[null]`}, 4, []string{"first", "a", "b", "NULL"}, ""},
		"escapes":          {[]string{`["\u00e9\n\ud83d\ude00"]`}, 2, []string{"first", "é\n😀"}, ""},
		"cut in a row":     {[]string{`["a"],["b`}, 3, nil, Internal},
		"cut after a row":  {[]string{`["a"],["b"]`, `["c"]`}, 5, nil, Internal},
		"cut at the comma": {[]string{`["a"],`}, 2, nil, Internal},
		"not rows":         {[]string{`{"a":1}`}, 2, nil, Internal},
		"numbers":          {[]string{`[1]`}, 2, nil, Internal},
		"wide row":         {[]string{`["a","b"]`}, 2, nil, Internal},
		"closed early":     {[]string{`["a"]],["b"]`}, 3, nil, Internal},
		"Arrow":            {[]string{"\xff\xff\xff\xff\x00\x00"}, 2, nil, Internal},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			a.answer = func(w http.ResponseWriter, r *http.Request, q request) {
				var i int
				if _, err := fmt.Sscanf(r.URL.Path, "/chunk/%d", &i); err == nil {
					z := gzip.NewWriter(w)
					fmt.Fprint(z, test.chunks[i])
					z.Close()
					return
				}
				data := table(test.total, "first")
				var chunks []any
				for i := range test.chunks {
					chunks = append(chunks, map[string]any{"url": fmt.Sprintf("http://%s/chunk/%d?sig=SECRET", a.addr(), i), "rowCount": 1})
				}
				data["chunks"] = chunks
				reply(w, data)
			}
			w := connect(t, at(t, a.addr()))
			rows, err := run(t, w, log, "SELECT A FROM T")
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t, rows)
			if test.class != "" {
				if failed := failure(t, err); failed.Class != test.class {
					t.Errorf("class %s, want %s: %v", failed.Class, test.class, err)
				}
				return
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// A part of the result whose connection breaks must not tell its address.
func TestChunkAddressIsSecret(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, q request) {
		data := table(2, "first")
		data["chunks"] = []any{map[string]any{"url": "http://127.0.0.1:1/chunk?sig=SECRET", "rowCount": 1}}
		reply(w, data)
	}
	w := connect(t, at(t, a.addr()))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	text := "SELECT A FROM T"
	rows, err := w.Run(ctx, record(t, log, text), Statement{SQL: text})
	if err != nil {
		t.Fatal(err)
	}
	_, err = read(t, rows)
	if failed := failure(t, err); failed.Class != Timeout || strings.Contains(err.Error(), "SECRET") || failed.QueryID != "01-query" {
		t.Errorf("%v", err)
	}
}

// Defect 7: sessions that the account has ended stay in the pool.
func TestDeadSessions(t *testing.T) {
	for _, code := range []string{"390104", "390111", "390114"} {
		t.Run(code, func(t *testing.T) {
			a, log := newAccount(t), openLog(t)
			dead := true
			a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
				if dead {
					dead = false
					fail(w, code, "", "Session no longer exists.", "")
					return
				}
				reply(w, table(1, "x"))
			}
			w := connect(t, at(t, a.addr()))
			rows, err := run(t, w, log, "SELECT 1")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(t, rows); err != nil || !slices.Equal(got, []string{"x"}) {
				t.Errorf("%q, %v", got, err)
			}
			if n := a.seen("/session/v1/login-request"); n != 2 {
				t.Errorf("%d logins, want a second for the statement", n)
			}
		})
	}
	t.Run("always", func(t *testing.T) {
		a, log := newAccount(t), openLog(t)
		a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
			fail(w, "390111", "", "Session no longer exists.", "")
		}
		w := connect(t, at(t, a.addr()))
		_, err := run(t, w, log, "SELECT 1")
		if failed := failure(t, err); failed.Class != Auth || failed.Code != 390111 {
			t.Errorf("%v", err)
		}
		if n := a.ran(); n != 2 {
			t.Errorf("sent %d times, want 2", n)
		}
	})
	t.Run("after a query id", func(t *testing.T) {
		a, log := newAccount(t), openLog(t)
		a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
			fail(w, "390111", "", "Session no longer exists.", "01-ran")
		}
		w := connect(t, at(t, a.addr()))
		_, err := run(t, w, log, "INSERT INTO T VALUES (1)")
		if failed := failure(t, err); failed.QueryID != "01-ran" {
			t.Errorf("%v", err)
		}
		if n := a.ran(); n != 1 {
			t.Errorf("a statement that may have run was sent %d times", n)
		}
	})
}

// Defect 8: errors, which quote data, are logged whatever the level.
func TestNothingIsLogged(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
		fail(w, "100038", "22018", "Numeric value '123-45-6789' is not recognized", "01-query")
	}
	text := stderrOf(t, func() {
		w := connect(t, at(t, a.addr()))
		_, err := run(t, w, log, "SELECT A::NUMBER FROM T")
		if failed := failure(t, err); failed.Class != Data || failed.Code != 100038 || failed.SQLState != "22018" || failed.QueryID != "01-query" {
			t.Errorf("%#v", failed)
		}
	})
	if text != "" {
		t.Errorf("the driver wrote %q", text)
	}
	if n := a.seen("/telemetry/send"); n != 0 {
		t.Errorf("the driver sent telemetry %d times", n)
	}
}

// An account that takes neither a statement nor its cancelling must not hold
// the caller.
func TestCancelIsBounded(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	stop := make(chan struct{})
	a.answer = func(_ http.ResponseWriter, r *http.Request, _ request) { <-r.Context().Done() }
	a.mu.Lock()
	inner := a.server.Config.Handler
	a.mu.Unlock()
	a.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/queries/v1/abort-request" {
			<-stop
		}
		inner.ServeHTTP(w, r)
	})
	w := connect(t, at(t, a.addr()))
	t.Cleanup(func() { close(stop) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	started := time.Now()
	_, err := w.Run(ctx, record(t, log, "SELECT 1"), Statement{SQL: "SELECT 1"})
	if failed := failure(t, err); failed.Class != Cancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if d := time.Since(started); d > 20*time.Second {
		t.Errorf("the caller was held for %s", d)
	}
}

// Defect 12: what a statement leaves in a session is there for the next.
func TestSessionsAreNotReused(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) { reply(w, table(1, "x")) }
	w := connect(t, at(t, a.addr()))
	for text, reused := range map[string]bool{
		"SELECT 1": true, "(SELECT 1)": true, "WITH a AS (SELECT 1) SELECT * FROM a": true, "INSERT INTO T VALUES (1)": true,
		"SHOW TABLES": true, "desc table t": true, "EXPLAIN USING JSON SELECT 1": true,
		"USE ROLE R": false, "SET x = 1": false, "ALTER SESSION SET A = 1": false, "BEGIN": false, "CREATE TEMP TABLE T (A INT)": false,
		"CALL P()": false, "EXECUTE IMMEDIATE 'x'": false, "WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS 'x' CALL p()": false,
		"SELECTED": false, "-- x\nSELECT 1": false,
	} {
		before := a.seen("/session")
		rows, err := run(t, w, log, text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, err := read(t, rows); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if ended := a.seen("/session") > before; ended == reused {
			t.Errorf("%q: the session was ended: %t, want %t", text, ended, !reused)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := Config{Account: "A", Login: Login{User: "U", PrivateKey: testKey(), Database: "D"}, Record: openLog(t).RecordOwn}
	for name, change := range map[string]func(*Config){
		"no account":             func(c *Config) { c.Account = "" },
		"no user":                func(c *Config) { c.User = "" },
		"no key":                 func(c *Config) { c.PrivateKey = nil },
		"no database":            func(c *Config) { c.Database = "" },
		"no record":              func(c *Config) { c.Record = nil },
		"a key and a secret":     func(c *Config) { c.Secret = func(context.Context) (string, error) { return "x", nil } },
		"no token":               func(c *Config) { c.Authentication, c.PrivateKey = AccessToken, nil },
		"no OAuth token":         func(c *Config) { c.Authentication, c.PrivateKey = OAuth, nil },
		"no client":              func(c *Config) { c.Authentication, c.PrivateKey = OAuthClient, nil },
		"no provider":            func(c *Config) { c.Authentication, c.PrivateKey = Workload, nil },
		"no way to log in":       func(c *Config) { c.Authentication = 99 },
		"another without a key":  func(c *Config) { c.Others = map[string]Login{"x": {User: "U"}} },
		"another without a name": func(c *Config) { c.Others = map[string]Login{"": c.Login} },
		"unknown protocol":       func(c *Config) { c.Protocol = "ftp" },
		"in the clear":           func(c *Config) { c.Protocol, c.Host = "http", "192.0.2.1" },
		"in the clear, no host":  func(c *Config) { c.Protocol = "http" },
		"in the clear, the name": func(c *Config) { c.Protocol, c.Host = "http", "localhost.example.com" },
	} {
		c := good
		change(&c)
		started := time.Now()
		if w, err := Open(c); err == nil {
			t.Errorf("%s: opened", name)
			w.Close()
		}
		if d := time.Since(started); d > time.Second {
			t.Errorf("%s: took %s; was the network tried?", name, d)
		}
	}
	t.Run("a log to a file", func(t *testing.T) {
		t.Setenv("SF_CLIENT_CONFIG_FILE", "/somewhere.json")
		if _, err := Open(good); err == nil || !strings.Contains(err.Error(), "SF_CLIENT_CONFIG_FILE") {
			t.Errorf("opened although the driver would log to a file: %v", err)
		}
	})
	t.Run("a log to a file, by default", func(t *testing.T) {
		home := t.TempDir()
		t.Setenv("HOME", home)
		if err := os.WriteFile(filepath.Join(home, "sf_client_config.json"), []byte(`{"common":{"log_level":"TRACE"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(good); err == nil || !strings.Contains(err.Error(), "sf_client_config.json") {
			t.Errorf("opened although the driver would log to a file: %v", err)
		}
	})
}

// Over TLS, a certificate that nobody vouches for ends the login; the settings
// for revocation must not end it first, nor let it pass.
func TestCertificateIsChecked(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	c := at(t, server.Listener.Addr().String())
	c.Protocol, c.LoginTimeout = "https", time.Second
	connector := newConnector(c, c.Login, newGuard(c.Protocol))
	connector.config.MaxRetryCount = 1
	_, err := connector.Connect(t.Context())
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("the login ended with %v", err)
	}
}

// An account that is away is an error in bounded time.
func TestUnreachable(t *testing.T) {
	c := at(t, "127.0.0.1:1")
	c.LoginTimeout = time.Second
	started := time.Now()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Try(t.Context())
	w.Close()
	if failed := failure(t, err); failed.Class != Timeout && failed.Class != Unavailable {
		t.Errorf("class %s: %v", failed.Class, err)
	}
	if d := time.Since(started); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
}
