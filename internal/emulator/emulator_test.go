//go:build cgo

package emulator

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The driver asks cloud metadata services where it runs, and logs the
	// texts of errors.
	os.Setenv("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
	os.Setenv("SF_DISABLE_MINICORE", "true")
	sf.GetLogger().SetOutput(io.Discard)
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

// open starts an emulator in memory and connects to it with the real driver.
func open(t *testing.T) (*Emulator, *sql.DB) {
	t.Helper()
	e, err := Open("", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.AddUser("agent", &testKey().PublicKey, "analyst"); err != nil {
		t.Fatal(err)
	}
	return e, connect(t, e, nil)
}

// connect opens a pool on the emulator; change may change how it logs in.
func connect(t *testing.T, e *Emulator, change func(*sf.Config)) *sql.DB {
	t.Helper()
	addr, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	cfg := sf.Config{
		Account: "EMULATOR", User: "AGENT", Authenticator: sf.AuthTypeJwt, PrivateKey: testKey(),
		Protocol: "http", Host: host, Port: n, Database: "RETAIL", Schema: "PUBLIC", Role: "ANALYST", Warehouse: "COMPUTE",
		DisableTelemetry: true, LoginTimeout: 5 * time.Second, MaxRetryCount: 2, DisableOCSPChecks: true,
	}
	if change != nil {
		change(&cfg)
	}
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, cfg))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// mustExec runs statements, one after the other.
func mustExec(t *testing.T, db *sql.DB, stmts ...string) {
	t.Helper()
	for _, s := range stmts {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s\n%v", s, err)
		}
	}
}

// rowsOf returns a query's rows as text, NULL as <nil>.
func rowsOf(t *testing.T, db *sql.DB, query string, args ...any) [][]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for rows.Next() {
		cells := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(cells))
		for i, c := range cells {
			row[i] = "<nil>"
			if c.Valid {
				row[i] = c.String
			}
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	return out
}

// value returns a query's only cell.
func value(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	rows := rowsOf(t, db, query, args...)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v is not one cell", query, rows)
	}
	return rows[0][0]
}

// failure returns the error that Snowflake's driver reports for a statement.
func failure(t *testing.T, db *sql.DB, query string, args ...any) *sf.SnowflakeError {
	t.Helper()
	return failureIn(t, t.Context(), db, query, args...)
}

func failureIn(t *testing.T, ctx context.Context, db *sql.DB, query string, args ...any) *sf.SnowflakeError {
	t.Helper()
	rows, err := db.QueryContext(ctx, query, args...)
	if err == nil {
		rows.Close()
		t.Fatalf("%s: no error", query)
	}
	var failed *sf.SnowflakeError
	if !errors.As(err, &failed) {
		t.Fatalf("%s: %v is not Snowflake's", query, err)
	}
	return failed
}

func TestDemo(t *testing.T) {
	e, db := open(t)
	started := time.Now()
	if err := e.Exec(t.Context(), DemoScript()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(started)
	t.Logf("loaded in %v", took)
	if took > 10*time.Second { // 2 s are promised, on a machine that does nothing else
		t.Errorf("loading the demo took %v", took)
	}
	for query, want := range map[string]string{
		"SELECT COUNT(*) FROM CUSTOMERS":                      "200",
		"SELECT COUNT(*) FROM ORDERS":                         "1000",
		"SELECT COUNT(*) FROM RETAIL.STAGING.IMPORT_2024_OLD": "40",
		"SELECT COUNT(*) FROM CUSTOMER_REVENUE":               "200",
		"SELECT COUNT(*) FROM ORDERS o WHERE AMOUNT <> (SELECT SUM(QUANTITY * UNIT_PRICE) FROM ORDER_ITEMS i WHERE i.ORDER_ID = o.ORDER_ID)": "0",
		"SELECT COUNT(*) FROM ORDERS WHERE CUSTOMER_ID NOT IN (SELECT ID FROM CUSTOMERS)":                                                    "0",
		"SELECT COUNT(*) > 10 FROM SUPPORT_TICKETS WHERE REGEXP_COUNT(BODY, '[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4}') = 1":                      "1",
		"SELECT COUNT(*) > 10 FROM SUPPORT_TICKETS WHERE BODY LIKE '%My social is ___-__-____%'":                                             "1",
		"SELECT COUNT(*) FROM CUSTOMERS WHERE SSN IS NOT NULL AND COUNTRY <> 'US'":                                                           "0",
		"SELECT COUNT(DISTINCT PAYLOAD:device.os::STRING) FROM EVENTS":                                                                       "4",
		"SELECT SUM(REVENUE) = (SELECT SUM(AMOUNT) FROM ORDERS WHERE STATUS <> 'CANCELLED') FROM DAILY_SALES":                                "1",
		"SELECT COUNT(*) > 100 FROM EVENTS, LATERAL FLATTEN(INPUT => PAYLOAD:items) i WHERE i.VALUE:price > 1":                               "1",
	} {
		if got := value(t, db, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, row := range rowsOf(t, db, "SELECT CARD_NUMBER FROM CUSTOMERS") {
		if !luhn(row[0]) {
			t.Errorf("card number %s has a wrong check digit", row[0])
		}
	}
	if first, second := DemoScript(), DemoScript(); first != second {
		t.Error("the demo's script differs from call to call")
	}
	if err := e.Exec(t.Context(), DemoScript()); err != nil {
		t.Errorf("loading the demo again: %v", err)
	}
}

func luhn(number string) bool {
	sum := 0
	for i := range number {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return len(number) == 16 && sum%10 == 0
}
