//go:build cgo

package tools_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/internal/warehouse"
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
