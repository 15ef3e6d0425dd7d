//go:build cgo

package tools_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"flag"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/policy"
)

var million = flag.Bool("million", false, "run TestMillion, which takes a minute and wants a quiet machine")

// TestMillion reads a million rows of ten columns through the gate and, in the
// same run and from the same account in another process, with the driver alone:
// once scanning each cell, once as its stream of Arrow, whose bytes nobody looks
// at. All times include the account's own work, which is the larger part.
func TestMillion(t *testing.T) {
	if !*million {
		t.Skip("run with -million")
	}
	const rows = 1_000_000
	addr := emulatorProcess(t)
	w := &world{file: filepath.Join(t.TempDir(), "audit.db")}
	rules := strings.Replace(openPolicy, "rows: 10000, bytes: 4MiB, time: 60s", "rows: 1000000, bytes: 1GiB, time: 10m", 1)
	p, err := policy.Parse([]byte(rules + "detectors: [card_number, ssn]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.open(t, addr, p)
	alone := driverAlone(t, addr, tenColumns(rows), rows)
	started := time.Now()
	most := w.fullest(t, rows)
	gated := time.Since(started)
	again := driverAlone(t, addr, tenColumns(rows), rows)
	alone = (alone + again) / 2
	streamed := streamAlone(t, addr, tenColumns(rows))
	ratio := float64(streamed) / float64(gated)
	t.Logf("%d rows: the driver alone %s with each cell scanned, %s with the stream's bytes thrown away; through the gate %s: %.0f %% and %.0f %% of its speed; at its fullest the heap holds %d MB",
		rows, alone.Round(time.Millisecond), streamed.Round(time.Millisecond), gated.Round(time.Millisecond), 100*float64(alone)/float64(gated), 100*ratio, most>>20)
	if most > 100<<20 {
		t.Errorf("the heap held %d MB", most>>20)
	}
	if ratio < 0.6 {
		t.Errorf("%.0f %% of the driver's speed", 100*ratio)
	}
}

// driverAlone is how long the driver takes to read a query's rows as Arrow.
func driverAlone(t *testing.T, addr, text string, want int) time.Duration {
	t.Helper()
	db := driverOf(t, addr)
	defer db.Close()
	started := time.Now()
	rows, err := db.QueryContext(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	into := make([]any, 10)
	cells := make([]any, 10)
	for i := range into {
		into[i] = &cells[i]
	}
	got := 0
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		got++
	}
	if err := rows.Err(); err != nil || got != want {
		t.Fatalf("%d rows of %d: %v", got, want, err)
	}
	return time.Since(started)
}

// driverOf opens the account with the driver alone, for results in Arrow.
func driverOf(t *testing.T, addr string) *sql.DB {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	format := "ARROW"
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, sf.Config{
		Account: "TEST", User: "GATE", Authenticator: sf.AuthTypeJwt, PrivateKey: testKey(), Role: "GATE_ROLE", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC",
		Protocol: "http", Host: host, Port: n, DisableTelemetry: true, DisableOCSPChecks: true, Params: map[string]*string{"GO_QUERY_RESULT_FORMAT": &format},
	}))
	sf.GetLogger().SetOutput(io.Discard)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// streamAlone is how long the driver takes to hand out a result's Arrow.
func streamAlone(t *testing.T, addr, text string) time.Duration {
	t.Helper()
	db := driverOf(t, addr)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	started := time.Now()
	err = conn.Raw(func(session any) error {
		loader, err := session.(interface {
			QueryArrowStream(context.Context, string, ...sqldriver.NamedValue) (sf.ArrowStreamLoader, error)
		}).QueryArrowStream(t.Context(), text)
		if err != nil {
			return err
		}
		batches, err := loader.GetBatches()
		if err != nil {
			return err
		}
		for _, b := range batches {
			stream, err := b.GetStream(t.Context())
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, stream); err != nil {
				return err
			}
			if err := stream.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(started)
}
