//go:build cgo

package tools_test

import (
	"context"
	"testing"

	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// TestConversation: a rule that demands a conversation lets a call run only when
// its client has told of it, the log says which it was, and a gate that nobody
// tells anything refuses.
func TestConversation(t *testing.T) {
	p, err := policy.Parse([]byte("version: 1\nrules:\n  - {name: read, who: everyone, may: [read], on: [\"retail.public.*\"], verdict: allow, conversation: present}\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	const sql = "select count(*) from customers"
	if a := w.query(sql); a.Status != tools.Denied || a.Code != policy.CodeConversation || a.Next == "" {
		t.Errorf("nobody tells: %+v", a.Answer)
	}
	w.config.Present = func(c tools.Call) bool { return c.CallID == "toolu_1" && c.Caller.Subject == "ada" }
	gate, err := tools.Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close(context.Background())
	call := ada
	for id, want := range map[string]tools.Status{"toolu_1": tools.Completed, "toolu_2": tools.Denied, "": tools.Denied} {
		call.CallID, call.Conversation, call.Turn = id, "c", "t"
		if a := gate.Query(t.Context(), call, tools.QueryRequest{SQL: sql}); a.Status != want {
			t.Errorf("%q: %+v", id, a.Answer)
		}
	}
	for _, e := range w.entries(t, audit.KindDecision)[1:] {
		if e.Event.Conversation != "c" || e.Event.Turn != "t" {
			t.Errorf("%+v", e.Event)
		}
	}
}
