package mcp

import (
	"strings"

	"querywarden/tools"
)

// metaClaudeCall is where Claude Code names a call.
const metaClaudeCall = "claudecode/toolUseId"

// keysOf reads by which names a client knows a call, its turn and its
// conversation: the same that its hooks and its telemetry send, so that what a
// person said can be told beside what ran. All of them are asserted.
//
//	claudecode/toolUseId                     Claude Code: the call
//	callId, threadId or sessionId,           Codex: the call, the conversation
//	x-codex-turn-metadata.turn_id            and the turn
//	traceparent                              W3C Trace Context
func keysOf(c *tools.Call, meta map[string]any) {
	word := func(m map[string]any, names ...string) string {
		for _, name := range names {
			if text, ok := m[name].(string); ok && text != "" {
				return asserted(text)
			}
		}
		return ""
	}
	c.CallID = word(meta, metaClaudeCall, "callId")
	c.Conversation = word(meta, "threadId", "sessionId")
	if turn, ok := meta["x-codex-turn-metadata"].(map[string]any); ok {
		c.Turn = word(turn, "turn_id")
		if c.Conversation == "" {
			c.Conversation = word(turn, "thread_id", "session_id")
		}
	}
	c.Trace = traceID(word(meta, "traceparent"))
}

// traceID is the trace of a traceparent header (W3C Trace Context, section
// 3.2): "00-" and 32 hexadecimal digits, not all zero, and more. Empty if it is
// none.
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
		return ""
	}
	return parts[1]
}
