package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	"querywarden/tools"
)

// TestKeys: what the clients' calls carry, as they were seen to send it.
func TestKeys(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, c := range map[string]struct {
		meta string
		want tools.Call
	}{
		"Claude Code": {`{"claudecode/toolUseId":"toolu_01","progressToken":3}`, tools.Call{CallID: "toolu_01"}},
		"Codex": {`{"callId":"call_1","threadId":"th_1","sessionId":"th_1","itemId":"i","x-codex-turn-metadata":{"turn_id":"tu_1","model":"gpt"}}`,
			tools.Call{CallID: "call_1", Conversation: "th_1", Turn: "tu_1"}},
		"Codex, by its turn":   {`{"x-codex-turn-metadata":{"turn_id":"tu_1","thread_id":"th_1"}}`, tools.Call{Conversation: "th_1", Turn: "tu_1"}},
		"a trace":              {`{"traceparent":"00-` + trace + `-00f067aa0ba902b7-01"}`, tools.Call{Trace: trace}},
		"no trace":             {`{"traceparent":"00-` + strings.Repeat("0", 32) + `-00f067aa0ba902b7-01"}`, tools.Call{}},
		"a malformed trace":    {`{"traceparent":"00-` + strings.ToUpper(trace) + `-00f067aa0ba902b7-01"}`, tools.Call{}},
		"of other types":       {`{"callId":7,"threadId":["x"],"x-codex-turn-metadata":"turn_id","traceparent":{}}`, tools.Call{}},
		"escapes and newlines": {`{"callId":"a\u001b[31mb\n\u202ec"}`, tools.Call{CallID: "a[31mbc"}},
		"too long":             {`{"callId":"` + strings.Repeat("x", 5000) + `"}`, tools.Call{CallID: strings.Repeat("x", assertedLimit)}},
	} {
		var meta map[string]any
		if err := json.Unmarshal([]byte(c.meta), &meta); err != nil {
			t.Fatal(err)
		}
		var got tools.Call
		if keysOf(&got, meta); got.CallID != c.want.CallID || got.Conversation != c.want.Conversation || got.Turn != c.want.Turn || got.Trace != c.want.Trace {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
