//go:build cgo

package tools_test

import (
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/internal/emulator"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/warehouse"
	"querywarden/tools"
)

// driver is the account through gosnowflake and nothing else.
func driver(b *testing.B, c warehouse.Config) *sql.DB {
	b.Helper()
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, sf.Config{
		Account: c.Account, User: c.User, Authenticator: sf.AuthTypeJwt, PrivateKey: c.PrivateKey, Role: c.Role, Warehouse: c.Warehouse,
		Database: c.Database, Schema: c.Schema, Protocol: c.Protocol, Host: c.Host, Port: c.Port, DisableTelemetry: true,
	}))
	b.Cleanup(func() { db.Close() })
	return db
}

// measure reports the median and the 99th percentile of a call, one caller at a
// time.
func measure(b *testing.B, call func() error) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := call(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[(len(took)-1)*p/100].Microseconds()) }
	b.ReportMetric(at(50), "p50-µs")
	b.ReportMetric(at(99), "p99-µs")
}

// BenchmarkJudge takes the statements of the benign suite through reading,
// resolving, deciding, rewriting and printing, without a warehouse. The median
// and the 99th percentile are over the statements, each at its best of five.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(b, emulator.DemoScript())
	judge := w.gate.Judge()
	var list []string
	for _, sql := range benignStatements(b, "testdata/benign.sql") {
		if !judge.Judge(ada.Caller, sql, 0, time.Now()).Denied() { // staging tables are made on the way
			list = append(list, sql)
		}
	}
	steps := []struct {
		name string
		run  func(sql string)
	}{
		{"all", func(sql string) { judge.Judge(ada.Caller, sql, 0, time.Time{}) }},
		{"parse", func(sql string) { _, _ = parser.ParseStatement(sql) }},
	}
	for _, s := range steps {
		b.Run(s.name, func(b *testing.B) {
			took := make([]time.Duration, len(list))
			for b.Loop() {
				for i, sql := range list {
					took[i] = time.Hour
					for range 5 {
						start := time.Now()
						s.run(sql)
						took[i] = min(took[i], time.Since(start))
					}
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
		})
	}
}

// BenchmarkRows reads 100,000 rows of ten columns through the gate, detectors
// and all, and writes them as an answer does, beside the driver alone.
func BenchmarkRows(b *testing.B) {
	const count = 100_000
	w := newWorldOf(b, emulator.DemoScript(), longPolicy(b))
	sql := tenColumns(count)
	b.Run("gate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a := w.query(sql)
			if a.Status != tools.Completed || a.RowCount != count {
				b.Fatalf("%d rows: %+v", a.RowCount, a.Answer)
			}
			var written counted
			if _, err := a.Rows.WriteTo(&written); err != nil {
				b.Fatal(err)
			}
			if err := a.Rows.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		db := driver(b, w.dsn)
		for b.Loop() {
			rows, err := db.Query(sql)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			var cells [10]any
			var places [10]any
			for i := range cells {
				places[i] = &cells[i]
			}
			for rows.Next() {
				if err := rows.Scan(places[:]...); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != count {
				b.Fatalf("%d rows: %v", n, err)
			}
		}
	})
}
