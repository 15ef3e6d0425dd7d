package tools_test

import (
	"strings"
	"testing"

	"querywarden/audit"
	"querywarden/tools"
)

// TestUngrouped: whoever has no groups because the issuer left them out is told
// so with every denial, whatever its reason, and the log tells it too.
func TestUngrouped(t *testing.T) {
	w := newWorld(t, "CREATE TABLE retail.public.customers (id NUMBER, email VARCHAR);")
	nobody := ada
	nobody.Caller.Groups, nobody.Caller.Ungrouped = nil, `the issuer left out the claim "groups"`
	for _, sql := range []string{"SELECT id FROM retail.public.customers", "SELECT id FROM retail.public.nothing", "SELECT nothing(1)", "no SQL"} {
		a := w.gate.Query(t.Context(), nobody, tools.QueryRequest{SQL: sql})
		if !strings.HasSuffix(a.Next, `You have no groups here: the issuer left out the claim "groups".`) {
			t.Errorf("%s: %+v", sql, a.Answer)
		}
	}
	nobody.Caller.Ungrouped = ""
	if a := w.gate.Query(t.Context(), nobody, tools.QueryRequest{SQL: "SELECT id FROM retail.public.customers"}); strings.Contains(a.Next, "no groups") {
		t.Errorf("without a reason: %+v", a.Answer)
	}
	told := 0
	for _, e := range w.entries(t, audit.KindDecision) {
		if e.Event.Caller.Ungrouped != "" {
			told++
		}
	}
	if told != 4 {
		t.Errorf("%d decisions tell of missing groups, want 4", told)
	}
}
