// Package modeltest is the API of a model for tests: servers on loopback that
// answer agents as a script says, so that a real agent takes a prompt, calls
// tools through its own MCP client, and says something at the end, without a
// model.
//
// Two APIs are spoken, both as streams of server-sent events, as far as agents
// use them: Anthropic's Messages
// (https://docs.claude.com/en/api/messages-streaming) and OpenAI's Responses
// (https://platform.openai.com/docs/api-reference/responses-streaming).
//
// Which steps of the script come next is read off the conversation in the
// request: as many steps are over as it holds results of tools, and a step that
// waits for a prompt waits until the conversation holds that. A server therefore
// keeps no state of conversations, and one script serves any number of them.
// Each server names its calls differently from all others, as real ones do.
package modeltest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Step is one call of a tool. The last word, after all steps that can be taken,
// is Done.
type Step struct {
	Tool      string // its name at the server; agents put something before it
	Arguments map[string]any
	Prompt    string // it waits until this has been said, in words that JSON does not escape; for nothing if empty
	Beside    bool   // it is called in the same answer as the step before it
}

// Done is what the model says where there is no step to take.
const Done = "That is all there is to say."

// A Server is a model's API. It is safe for concurrent use.
type Server struct {
	tb     testing.TB
	server *httptest.Server
	steps  []Step
	name   string // in the names of its calls

	mu       sync.Mutex
	results  []string // of tools, as the model got them
	requests int
}

// Anthropic starts a server that speaks Messages.
func Anthropic(tb testing.TB, steps ...Step) *Server {
	tb.Helper()
	s := &Server{tb: tb, steps: steps, name: rand.Text()[:8]}
	return s.start(map[string]func(*call){
		"POST /v1/messages":              s.messages,
		"POST /v1/messages/count_tokens": func(c *call) { c.json(map[string]any{"input_tokens": 1}) },
	})
}

// OpenAI starts a server that speaks Responses.
func OpenAI(tb testing.TB, steps ...Step) *Server {
	tb.Helper()
	s := &Server{tb: tb, steps: steps, name: rand.Text()[:8]}
	return s.start(map[string]func(*call){
		"POST /v1/responses": s.responses,
		"GET /v1/models":     func(c *call) { c.json(map[string]any{"object": "list", "data": []any{}, "models": []any{}}) },
	})
}

func (s *Server) start(handlers map[string]func(*call)) *Server {
	mux := http.NewServeMux()
	for pattern, h := range handlers {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			s.mu.Lock()
			s.requests++
			number := s.requests
			s.mu.Unlock()
			h(&call{s: s, w: w, body: body, number: number})
		})
	}
	s.server = httptest.NewServer(mux)
	s.tb.Cleanup(s.server.Close)
	return s
}

// URL is the server's, without a path.
func (s *Server) URL() string { return s.server.URL }

// Results are what the tools have answered, as far as the model got to see it,
// in order.
func (s *Server) Results() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.results...)
}

// Named reports whether the server gave a call this name.
func (s *Server) Named(id string) bool { return strings.HasSuffix(id, "_"+s.name) }

// Requests is how often the model was asked.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// saw keeps the results in a conversation.
func (s *Server) saw(results []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(results) > len(s.results) {
		s.results = results
	}
}

// call is one request to a server.
type call struct {
	s      *Server
	w      http.ResponseWriter
	body   []byte
	number int // of the request
}

// id names what the answer to this request is.
func (c *call) id(kind string) string { return fmt.Sprintf("%s_%d_%s", kind, c.number, c.s.name) }

func (c *call) json(v any) {
	c.w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(c.w).Encode(v); err != nil {
		c.s.tb.Logf("answering as a model: %v", err)
	}
}

// event writes a server-sent event.
func (c *call) event(name string, v map[string]any) {
	v["type"] = name
	text, err := json.Marshal(v)
	if err != nil {
		c.s.tb.Errorf("answering as a model: %v", err)
		return
	}
	if _, err := fmt.Fprintf(c.w, "event: %s\ndata: %s\n\n", name, text); err != nil {
		c.s.tb.Logf("answering as a model: %v", err)
	}
}

// messages answers Anthropic's Messages.
func (s *Server) messages(c *call) {
	var req struct {
		Model    string          `json:"model"`
		Stream   bool            `json:"stream"`
		Messages json.RawMessage `json:"messages"`
		Tools    []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		http.Error(c.w, err.Error(), http.StatusBadRequest)
		return
	}
	var conversation []struct {
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(req.Messages, &conversation); err != nil {
		http.Error(c.w, err.Error(), http.StatusBadRequest)
		return
	}
	var results []string
	for _, m := range conversation {
		var blocks []struct {
			Type    string          `json:"type"`
			Content json.RawMessage `json:"content"`
		}
		if json.Unmarshal(m.Content, &blocks) != nil {
			continue // a message that is one text
		}
		for _, b := range blocks {
			if b.Type == "tool_result" {
				results = append(results, plain(b.Content))
			}
		}
	}
	s.saw(results)
	var names []string
	for _, t := range req.Tools {
		names = append(names, t.Name)
	}
	var blocks []map[string]any
	stop := "tool_use"
	for _, next := range s.next(names, string(req.Messages), len(results)) {
		blocks = append(blocks, map[string]any{"type": "tool_use", "id": "toolu_" + next.id, "name": next.tool, "input": next.step.Arguments})
	}
	if blocks == nil {
		blocks, stop = []map[string]any{{"type": "text", "text": Done}}, "end_turn"
	}
	message := map[string]any{
		"id": c.id("msg"), "type": "message", "role": "assistant", "model": req.Model, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil, "usage": map[string]any{"input_tokens": 1, "output_tokens": 1},
	}
	if !req.Stream {
		message["content"], message["stop_reason"] = blocks, stop
		c.json(message)
		return
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.event("message_start", map[string]any{"message": message})
	for i, block := range blocks {
		delta := map[string]any{"type": "text_delta", "text": Done}
		if block["type"] == "tool_use" {
			input, err := json.Marshal(block["input"])
			if err != nil {
				s.tb.Errorf("answering as a model: %v", err)
			}
			delta = map[string]any{"type": "input_json_delta", "partial_json": string(input)}
			block["input"] = map[string]any{}
		} else {
			block["text"] = ""
		}
		c.event("content_block_start", map[string]any{"index": i, "content_block": block})
		c.event("content_block_delta", map[string]any{"index": i, "delta": delta})
		c.event("content_block_stop", map[string]any{"index": i})
	}
	c.event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": map[string]any{"output_tokens": 1}})
	c.event("message_stop", map[string]any{})
}

// responses answers OpenAI's Responses.
func (s *Server) responses(c *call) {
	type tool struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Tools []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	var req struct {
		Model string          `json:"model"`
		Input json.RawMessage `json:"input"`
		Tools []tool          `json:"tools"`
	}
	if err := json.Unmarshal(c.body, &req); err != nil {
		http.Error(c.w, err.Error(), http.StatusBadRequest)
		return
	}
	var items []struct {
		Type   string          `json:"type"`
		Output json.RawMessage `json:"output"`
	}
	if err := json.Unmarshal(req.Input, &items); err != nil {
		s.tb.Logf("a conversation that is one text: %v", err)
	}
	var results []string
	for _, i := range items {
		if i.Type == "function_call_output" {
			results = append(results, plain(i.Output))
		}
	}
	s.saw(results)
	// Tools of MCP servers stand in a namespace of their server.
	namespaces := map[string]string{}
	var names []string
	for _, t := range req.Tools {
		if t.Type != "namespace" {
			names = append(names, t.Name)
			continue
		}
		for _, inner := range t.Tools {
			names = append(names, t.Name+"__"+inner.Name)
			namespaces[t.Name+"__"+inner.Name] = t.Name
		}
	}
	var output []any
	for _, next := range s.next(names, string(req.Input), len(results)) {
		arguments, err := json.Marshal(next.step.Arguments)
		if err != nil {
			s.tb.Errorf("answering as a model: %v", err)
		}
		item := map[string]any{
			"type": "function_call", "id": "fc_" + next.id, "call_id": "call_" + next.id, "name": next.tool, "arguments": string(arguments), "status": "completed",
		}
		if space := namespaces[next.tool]; space != "" {
			item["namespace"], item["name"] = space, strings.TrimPrefix(next.tool, space+"__")
		}
		output = append(output, item)
	}
	if output == nil {
		output = []any{map[string]any{
			"type": "message", "role": "assistant", "id": c.id("msg"),
			"content": []any{map[string]any{"type": "output_text", "text": Done, "annotations": []any{}}},
		}}
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	response := map[string]any{"id": c.id("resp"), "object": "response", "model": req.Model, "status": "in_progress", "output": []any{}}
	c.event("response.created", map[string]any{"response": response})
	for i, item := range output {
		c.event("response.output_item.added", map[string]any{"output_index": i, "item": item})
		c.event("response.output_item.done", map[string]any{"output_index": i, "item": item})
	}
	response["status"], response["output"] = "completed", output
	response["usage"] = map[string]any{
		"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
		"input_tokens_details": map[string]any{"cached_tokens": 0}, "output_tokens_details": map[string]any{"reasoning_tokens": 0},
	}
	c.event("response.completed", map[string]any{"response": response})
}

// A taken step is one that the model takes now.
type taken struct {
	step *Step
	tool string // as the agent names it
	id   string // of the call, without what the API puts before it
}

// next is the steps to take in a conversation that holds so many results; none
// where the script is over, where it waits for a prompt, and where the agent asks
// for something on the side, without tools.
func (s *Server) next(names []string, conversation string, results int) []taken {
	var all []taken
	for i := results; i < len(s.steps); i++ {
		step := &s.steps[i]
		at := slices.IndexFunc(names, func(name string) bool { return name == step.Tool || strings.HasSuffix(name, "__"+step.Tool) })
		if at < 0 || len(all) > 0 && !step.Beside || !strings.Contains(conversation, step.Prompt) {
			break
		}
		all = append(all, taken{step, names[at], fmt.Sprintf("%04d_%s", i, s.name)})
	}
	return all
}

// plain is the text in the result of a tool: a text, or blocks of text.
func plain(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	var blocks []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(v, &blocks) != nil {
		return string(v)
	}
	for _, b := range blocks {
		text += b.Text
	}
	return text
}
