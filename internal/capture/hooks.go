package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"querywarden/audit"
)

// Sources are those whose hooks are understood.
func Sources() []string { return []string{"claude", "codex", "cursor", "devin"} }

// A hookEvent is the fields of a hook's event that are read. Clients that are
// not named here may send the same names; what else they send is never looked
// at.
type hookEvent struct {
	Event          string          `json:"hook_event_name,omitempty"`
	SessionID      string          `json:"session_id,omitempty"`
	ConversationID string          `json:"conversation_id,omitempty"` // Cursor
	PromptID       string          `json:"prompt_id,omitempty"`       // Claude Code
	TurnID         string          `json:"turn_id,omitempty"`         // Codex
	GenerationID   string          `json:"generation_id,omitempty"`   // Cursor
	ToolName       string          `json:"tool_name,omitempty"`
	ToolUseID      string          `json:"tool_use_id,omitempty"`
	ToolInput      json.RawMessage `json:"tool_input,omitempty"`
	Prompt         string          `json:"prompt,omitempty"`
	LastMessage    string          `json:"last_assistant_message,omitempty"`
	Text           string          `json:"text,omitempty"` // Cursor's response
	Model          string          `json:"model,omitempty"`
	Cwd            string          `json:"cwd,omitempty"`
	Roots          []string        `json:"workspace_roots,omitempty"` // Cursor

	// Codex's notify.
	Type          string   `json:"type,omitempty"`
	ThreadID      string   `json:"thread-id,omitempty"`
	NotifyTurn    string   `json:"turn-id,omitempty"`
	InputMessages []string `json:"input-messages,omitempty"`
	LastAnswer    string   `json:"last-assistant-message,omitempty"`
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// ParseHook reads one event of a client's hooks. An event that tells nothing
// worth keeping yields no record and is no error: clients have many.
func ParseHook(source string, text []byte) ([]Record, error) {
	if !slices.Contains(Sources(), source) {
		return nil, fmt.Errorf("reading a hook's event: %q is none of %s", source, strings.Join(Sources(), ", "))
	}
	var e hookEvent
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("reading a hook's event: %w", err)
	}
	return e.records(source), nil
}

func (e *hookEvent) records(source string) []Record {
	r := Record{
		Source: source, Conversation: first(e.ConversationID, e.SessionID, e.ThreadID), Turn: first(e.PromptID, e.TurnID, e.GenerationID, e.NotifyTurn), Model: e.Model,
		Folder: e.Cwd,
	}
	if r.Folder == "" && len(e.Roots) > 0 {
		r.Folder = e.Roots[0]
	}
	switch e.Event {
	case "UserPromptSubmit", "beforeSubmitPrompt":
		return r.saying(audit.KindPrompt, e.Prompt)
	case "Stop", "afterAgentResponse":
		r.Folder = ""
		return r.saying(audit.KindResponse, first(e.LastMessage, e.Text))
	case "PreToolUse", "beforeMCPExecution":
		return r.using(e.ToolName, e.ToolUseID, e.ToolInput)
	case "":
		if e.Type == "agent-turn-complete" {
			answer := r
			answer.Folder = ""
			return append(r.saying(audit.KindPrompt, strings.Join(e.InputMessages, "\n")), answer.saying(audit.KindResponse, e.LastAnswer)...)
		}
		return nil
	default:
		return nil
	}
}

// saying is a record of words, none if there are no words.
func (r Record) saying(kind audit.Kind, words string) []Record {
	if strings.TrimSpace(words) == "" {
		return nil
	}
	r.Kind, r.Text = kind, words
	return []Record{r}
}

// using is a record of an announced call, none if the tool is not the gate's.
func (r Record) using(tool, id string, input json.RawMessage) []Record {
	name, ok := gateTool(tool)
	if !ok {
		return nil
	}
	r.Kind, r.Tool, r.CallID, r.Folder = audit.KindToolUse, name, id, ""
	if argument, ok := mainArgument(name, input); ok {
		r.argument, r.matches = digestOf(name, argument), true
	}
	return []Record{r}
}

// mainArgument is what a call is about. Some clients send the arguments as an
// object, some as the text of one.
func mainArgument(tool string, input json.RawMessage) (argument string, ok bool) {
	var inner string
	if json.Unmarshal(input, &inner) == nil {
		input = json.RawMessage(inner)
	}
	var arguments map[string]json.RawMessage
	if json.Unmarshal(input, &arguments) != nil {
		return "", false
	}
	raw, ok := arguments[gateTools[tool]]
	if !ok {
		return "", tool == "list_tables" // which may do without
	}
	return argument, json.Unmarshal(raw, &argument) == nil
}

// ErrNothing is returned by [Slim] for an event that the gateway would not keep.
var ErrNothing = errors.New("the event tells nothing that is kept")

// Slim makes of a hook's event what has to leave the machine: the fields that
// the gateway keeps, of a call only the argument that it is about, and of words
// no more than it stores. An event that the gateway would not keep fails with
// [ErrNothing].
func Slim(source string, text []byte) ([]byte, error) {
	records, err := ParseHook(source, text)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, ErrNothing
	}
	var e hookEvent
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("reading a hook's event: %w", err)
	}
	if e.ToolInput != nil {
		tool := records[0].Tool
		argument, ok := mainArgument(tool, e.ToolInput)
		if e.ToolInput = nil; ok && len(argument) <= maxText {
			if e.ToolInput, err = json.Marshal(map[string]string{gateTools[tool]: argument}); err != nil {
				return nil, fmt.Errorf("writing a hook's event: %w", err)
			}
		}
	}
	for _, words := range []*string{&e.Prompt, &e.LastMessage, &e.Text, &e.LastAnswer} {
		*words = clip(*words, maxText)
	}
	if len(e.InputMessages) > 0 {
		e.InputMessages = []string{clip(strings.Join(e.InputMessages, "\n"), maxText)}
	}
	slim, err := json.Marshal(&e)
	if err != nil {
		return nil, fmt.Errorf("writing a hook's event: %w", err)
	}
	return slim, nil
}
