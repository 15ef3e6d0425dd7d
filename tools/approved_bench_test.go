//go:build cgo

package tools_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/internal/emulator"
	"querywarden/tools"

	"log/slog"
)

// BenchmarkVoteToStart measures how long it takes from a person's yes until the
// warehouse has the statement: everything is decided again in between, against
// the catalog of that moment, and recorded.
func BenchmarkVoteToStart(b *testing.B) {
	arrived := make(chan time.Time, 1)
	s := &seen{on: func(statement string) {
		if strings.HasPrefix(statement, "DROP TABLE") {
			arrived <- time.Now()
		}
	}}
	w := newWorldWith(b, emulator.DemoScript(), examplePolicy(b), emulator.Options{Logger: slog.New(s)})
	ctx := context.Background()
	var took []time.Duration
	for i := range b.N {
		b.StopTimer()
		table := fmt.Sprintf("staging.t%d", i)
		if a := w.query("create table " + table + " as select 1 as x"); a.Status != tools.Completed {
			b.Fatalf("%+v", a.Answer)
		}
		a := w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: "drop table " + table, Reason: "unused", NoWait: true}, nil)
		if a.Status != tools.Pending {
			b.Fatalf("%+v", a.Answer)
		}
		b.StartTimer()
		voted := time.Now()
		if _, err := w.vote(ctx, a.Approval.ID, olga, true, ""); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-arrived).Sub(voted))
		b.StopTimer()
		w.gate.CheckApproval(ctx, ada, tools.CheckRequest{ID: a.Approval.ID, Wait: 30}, nil)
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
