package mcp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/policy"
	"querywarden/tools"
)

// A fixture is what the protocol's conformance suite wants to find: tools,
// resources and prompts that do nothing but show that they were reached. They
// take the place of the gate's tools on the same HTTP stack.
type fixture struct {
	server *Server
	mcp    *server.MCPServer
	jobs   *jobs
}

const (
	pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
	sound = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
)

const schema2020 = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
"$defs":{"address":{"$anchor":"addressDef","type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},
"properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"},"contactMethod":{"type":"string","enum":["phone","email"]},"phone":{"type":"string"},"email":{"type":"string"}},
"allOf":[{"anyOf":[{"required":["phone"]},{"required":["email"]}]}],
"if":{"properties":{"contactMethod":{"const":"phone"}},"required":["contactMethod"]},"then":{"required":["phone"]},"else":{"required":["email"]},
"additionalProperties":false}`

type toolFunc = server.ToolHandlerFunc

// mountFixture puts the fixture in the place of a server's tools.
func mountFixture(s *Server) {
	f := &fixture{server: s, jobs: newJobs()}
	hooks := &server.Hooks{}
	hooks.AddAfterInitialize(s.opened)
	f.mcp = server.NewMCPServer("fixture", "1.0.0",
		server.WithHooks(hooks), server.WithToolCapabilities(true), server.WithPromptCapabilities(true),
		server.WithResourceCapabilities(true, true), server.WithLogging(), server.WithCompletions(),
		server.WithPromptCompletionProvider(completer{}), server.WithResourceCompletionProvider(completer{}),
		server.WithExtensions(map[string]any{tasksExtension: map[string]any{}}),
		server.WithToolHandlerMiddleware(func(next toolFunc) toolFunc {
			return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				result, err := next(ctx, req)
				requestFrom(ctx).splice.settle(ctx)
				return result, err
			}
		}))
	f.content()
	f.asking()
	f.resources()
	f.tasks()
	s.mcp, s.stream = f.mcp, s.over(f.mcp)
	s.tasks = f.jobs.source()
}

func (f *fixture) tool(name, schema string, h toolFunc) {
	if schema == "" {
		schema = `{"type":"object"}`
	}
	f.mcp.AddTool(mcp.Tool{Name: name, Description: "a fixture", RawInputSchema: json.RawMessage(schema)}, h)
}

func says(content ...mcp.Content) toolFunc {
	return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

// content are tools that answer with each kind of content.
func (f *fixture) content() {
	text := mcp.NewTextContent
	image := mcp.NewImageContent(pixel, "image/png")
	f.tool("test_simple_text", "", says(text("This is a simple text response for testing.")))
	f.tool("test_image_content", "", says(image))
	f.tool("test_audio_content", "", says(mcp.NewAudioContent(sound, "audio/wav")))
	f.tool("test_embedded_resource", "", says(mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: "test://embedded-resource", MIMEType: "text/plain", Text: "This is an embedded resource content."})))
	f.tool("test_multiple_content_types", "", says(text("Multiple content types test:"), image,
		mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: "test://mixed-content-resource", MIMEType: "application/json", Text: `{"test":"data","value":123}`})))
	f.tool("test_error_handling", "", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("This tool intentionally returns an error for testing"), nil
	})
	f.tool("json_schema_2020_12_tool", schema2020, says(text("ok")))
	f.tool("test_x_mcp_header", `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"priority":{"type":"integer","x-mcp-header":"Priority"}}}`, says(text("ok")))
	pause := func() { time.Sleep(20 * time.Millisecond) }
	f.tool("test_tool_with_logging", "", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i, line := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
			if i > 0 {
				pause()
			}
			f.notify(ctx, "notifications/message", map[string]any{"level": "info", "data": line})
		}
		return mcp.NewToolResultText("logged"), nil
	})
	f.tool("test_tool_with_progress", "", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i, n := range []int{0, 50, 100} {
			if i > 0 {
				pause()
			}
			if req.Params.Meta != nil && req.Params.Meta.ProgressToken != nil {
				f.notify(ctx, "notifications/progress", map[string]any{"progressToken": req.Params.Meta.ProgressToken, "progress": n, "total": 100})
			}
		}
		return mcp.NewToolResultText("done"), nil
	})
	f.tool("test_logging_tool", "", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.LogLevel != "" {
			f.notify(ctx, "notifications/message", map[string]any{"level": "info", "data": "asked for"})
		}
		return mcp.NewToolResultText("done"), nil
	})
	f.tool("test_missing_capability", "", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if capabilities(ctx).Sampling == nil {
			return becomeError(requestFrom(ctx).splice, missingCapability(`{"sampling":{}}`)), nil
		}
		return mcp.NewToolResultText("ok"), nil
	})
	f.tool("test_trigger_tool_change", "", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		f.tool("changed", "", says(text("ok")))
		return mcp.NewToolResultText("changed"), nil
	})
	f.tool("test_trigger_prompt_change", "", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		f.mcp.AddPrompt(mcp.NewPrompt("changed", mcp.WithPromptDescription("a fixture")), prompt("changed"))
		return mcp.NewToolResultText("changed"), nil
	})
}

func (f *fixture) notify(ctx context.Context, method string, params map[string]any) {
	f.server.notify(ctx, method, params)
}

// capabilities are the client's, of either era.
func capabilities(ctx context.Context) mcp.ClientCapabilities {
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.ClientCapabilities != nil {
		return *info.ClientCapabilities
	}
	return mcp.ClientCapabilities{}
}

func object(properties string, required ...string) json.RawMessage {
	text, err := json.Marshal(append([]string{}, required...))
	if err != nil {
		panic(err)
	}
	return json.RawMessage(`{"type":"object","properties":` + properties + `,"required":` + string(text) + `}`)
}

func elicit(message string, schema json.RawMessage) mcp.ElicitationParams {
	return mcp.ElicitationParams{Message: message, RequestedSchema: schema}
}

func sample(text string, tokens int) mcp.CreateMessageParams {
	return mcp.CreateMessageParams{MaxTokens: tokens, Messages: []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent(text)}}}
}

// answered reads the client's answer to a question of one method.
func answered(responses mcp.InputResponses, id string, method mcp.MCPMethod) (mcp.InputResponse, bool) {
	r, ok := responses[id]
	if !ok || r.DecodeFor(method) != nil {
		return r, false
	}
	if e := r.Elicitation; method == mcp.MethodElicitationCreate && (e == nil || e.Action == "" || e.Action == mcp.ElicitationResponseActionAccept && e.Content == nil) {
		return r, false
	}
	return r, true
}

// content returns a value that a person entered.
func entered(r mcp.InputResponse, name string) string {
	if r.Elicitation == nil {
		return ""
	}
	fields, _ := r.Elicitation.Content.(map[string]any)
	return fmt.Sprint(fields[name])
}

// asking are tools and a prompt that ask the client for something. Written for
// the newer era, they serve the older one through mcp-go's bridge.
func (f *fixture) asking() {
	name := object(`{"name":{"type":"string"}}`, "name")
	ask := func(build func(*server.InputRequestBuilder), ids []string, method mcp.MCPMethod, done func(map[string]mcp.InputResponse) string) toolFunc {
		return func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			got := map[string]mcp.InputResponse{}
			for _, id := range ids {
				r, ok := answered(req.Params.InputResponses, id, method)
				if !ok {
					b := server.NewInputRequestBuilder("")
					build(b)
					return b.ToolResult(), nil
				}
				got[id] = r
			}
			return mcp.NewToolResultText(done(got)), nil
		}
	}
	elicitation := func(tool, schema string, message func(mcp.CallToolRequest) string, form json.RawMessage, say string) {
		f.tool(tool, schema, func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return ask(func(b *server.InputRequestBuilder) { b.Elicit("answer", elicit(message(req), form)) }, []string{"answer"}, mcp.MethodElicitationCreate,
				func(got map[string]mcp.InputResponse) string {
					content, err := json.Marshal(got["answer"].Elicitation.Content)
					if err != nil {
						return err.Error()
					}
					return fmt.Sprintf("%s: action=%s, content=%s", say, got["answer"].Elicitation.Action, content)
				})(ctx, req)
		})
	}
	fixed := func(text string) func(mcp.CallToolRequest) string {
		return func(mcp.CallToolRequest) string { return text }
	}
	elicitation("test_elicitation", `{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}`,
		func(r mcp.CallToolRequest) string { return r.GetString("message", "") },
		object(`{"username":{"type":"string","description":"User's response"},"email":{"type":"string","description":"User's email address"}}`, "username", "email"), "User response")
	elicitation("test_elicitation_sep1034_defaults", "", fixed("Please check"), object(`{"name":{"type":"string","default":"John Doe"},"age":{"type":"integer","default":30},"score":{"type":"number","default":95.5},"status":{"type":"string","enum":["active","inactive","pending"],"default":"active"},"verified":{"type":"boolean","default":true}}`), "Elicitation completed")
	elicitation("test_elicitation_sep1330_enums", "", fixed("Please choose"), object(`{
"untitledSingle":{"type":"string","enum":["option1","option2","option3"]},
"titledSingle":{"type":"string","oneOf":[{"const":"value1","title":"First Option"},{"const":"value2","title":"Second Option"},{"const":"value3","title":"Third Option"}]},
"legacyEnum":{"type":"string","enum":["opt1","opt2","opt3"],"enumNames":["Option One","Option Two","Option Three"]},
"untitledMulti":{"type":"array","items":{"type":"string","enum":["option1","option2","option3"]}},
"titledMulti":{"type":"array","items":{"anyOf":[{"const":"value1","title":"First Choice"},{"const":"value2","title":"Second Choice"},{"const":"value3","title":"Third Choice"}]}}}`), "Elicitation completed")
	elicitation("test_streaming_elicitation", "", fixed("Please"), name, "done")

	sampled := func(r mcp.InputResponse) string {
		text, err := json.Marshal(r.Sampling.Content)
		if err != nil {
			return err.Error()
		}
		return "LLM response: " + string(text)
	}
	f.tool("test_sampling", `{"type":"object","properties":{"prompt":{"type":"string"}},"required":["prompt"]}`, func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return ask(func(b *server.InputRequestBuilder) { b.Sample("answer", sample(req.GetString("prompt", ""), 100)) }, []string{"answer"}, mcp.MethodSamplingCreateMessage,
			func(got map[string]mcp.InputResponse) string { return sampled(got["answer"]) })(ctx, req)
	})
	f.tool("test_input_required_result_elicitation", "", ask(func(b *server.InputRequestBuilder) { b.Elicit("user_name", elicit("What is your name?", name)) }, []string{"user_name"}, mcp.MethodElicitationCreate,
		func(got map[string]mcp.InputResponse) string {
			return "Hello, " + entered(got["user_name"], "name") + "!"
		}))
	f.tool("test_input_required_result_sampling", "", ask(func(b *server.InputRequestBuilder) {
		b.Sample("capital_question", sample("What is the capital of France?", 100))
	}, []string{"capital_question"}, mcp.MethodSamplingCreateMessage,
		func(got map[string]mcp.InputResponse) string { return sampled(got["capital_question"]) }))
	f.tool("test_input_required_result_list_roots", "", ask(func(b *server.InputRequestBuilder) { b.Roots("client_roots") }, []string{"client_roots"}, mcp.MethodListRoots,
		func(got map[string]mcp.InputResponse) string {
			return fmt.Sprintf("roots: %v", got["client_roots"].Roots.Roots)
		}))

	// State goes to the client and comes back, so it is signed.
	key := []byte(rand.Text())
	sign := func(state string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(state))
		return state + "." + hex.EncodeToString(h.Sum(nil))
	}
	read := func(signed string) (string, bool) {
		state, _, _ := strings.Cut(signed, ".")
		return state, hmac.Equal([]byte(sign(state)), []byte(signed))
	}
	tampered := func(ctx context.Context) (*mcp.CallToolResult, error) {
		return becomeError(requestFrom(ctx).splice, &rpcError{Code: mcp.INVALID_PARAMS, Message: "requestState was changed"}), nil
	}
	stateful := func(say string) toolFunc {
		return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if req.Params.RequestState != "" {
				if _, ok := read(req.Params.RequestState); !ok {
					return tampered(ctx)
				}
				if _, ok := answered(req.Params.InputResponses, "confirm", mcp.MethodElicitationCreate); ok {
					return mcp.NewToolResultText(say), nil
				}
			}
			return server.NewInputRequestBuilder(sign("asked")).Elicit("confirm", elicit("Please confirm", object(`{"ok":{"type":"boolean"}}`, "ok"))).ToolResult(), nil
		}
	}
	f.tool("test_input_required_result_request_state", "", stateful("state-ok"))
	f.tool("test_input_required_result_tampered_state", "", stateful("state-ok"))
	f.tool("test_input_required_result_multiple_inputs", "", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_, ok := read(req.Params.RequestState)
		for id, method := range map[string]mcp.MCPMethod{"user_name": mcp.MethodElicitationCreate, "greeting": mcp.MethodSamplingCreateMessage, "client_roots": mcp.MethodListRoots} {
			_, is := answered(req.Params.InputResponses, id, method)
			ok = ok && is
		}
		if ok {
			return mcp.NewToolResultText("all there"), nil
		}
		return server.NewInputRequestBuilder(sign("several")).Elicit("user_name", elicit("What is your name?", name)).
			Sample("greeting", sample("Generate a greeting", 50)).Roots("client_roots").ToolResult(), nil
	})
	f.tool("test_input_required_result_multi_round", "", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		state, ok := read(req.Params.RequestState)
		if req.Params.RequestState != "" && !ok {
			return tampered(ctx)
		}
		_, one := answered(req.Params.InputResponses, "step1", mcp.MethodElicitationCreate)
		_, two := answered(req.Params.InputResponses, "step2", mcp.MethodElicitationCreate)
		switch {
		case state == "second" && two:
			return mcp.NewToolResultText("both steps"), nil
		case state == "first" && one || state == "second":
			return server.NewInputRequestBuilder(sign("second")).Elicit("step2", elicit("Step 2: What is your favorite color?", object(`{"color":{"type":"string"}}`, "color"))).ToolResult(), nil
		default:
			return server.NewInputRequestBuilder(sign("first")).Elicit("step1", elicit("Step 1: What is your name?", name)).ToolResult(), nil
		}
	})
	f.tool("test_input_required_result_capabilities", "", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		b, has := server.NewInputRequestBuilder(sign("asked")), capabilities(ctx)
		if has.Sampling != nil {
			b.Sample("question", sample("What?", 10))
		}
		if has.Elicitation != nil {
			b.Elicit("confirm", elicit("Please confirm", name))
		}
		if len(req.Params.InputResponses) > 0 {
			return mcp.NewToolResultText("thanks"), nil
		}
		return b.ToolResult(), nil
	})
	f.mcp.AddPrompt(mcp.NewPrompt("test_input_required_result_prompt", mcp.WithPromptDescription("a fixture")), func(_ context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		r, ok := answered(req.Params.InputResponses, "user_context", mcp.MethodElicitationCreate)
		if !ok {
			return server.NewInputRequestBuilder("").Elicit("user_context", elicit("What context should the prompt use?", object(`{"context":{"type":"string"}}`, "context"))).PromptResult(), nil
		}
		return mcp.NewGetPromptResult("", []mcp.PromptMessage{mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent("Context: "+entered(r, "context")))}), nil
	})
}

func prompt(text string) server.PromptHandlerFunc {
	return func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return mcp.NewGetPromptResult("", []mcp.PromptMessage{mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent(text))}), nil
	}
}

// resources are the resources and prompts that only answer.
func (f *fixture) resources() {
	static := func(uri, name, mime string, contents mcp.ResourceContents) {
		f.mcp.AddResource(mcp.NewResource(uri, name, mcp.WithResourceDescription("a fixture"), mcp.WithMIMEType(mime)),
			func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
				return []mcp.ResourceContents{contents}, nil
			})
	}
	static("test://static-text", "text", "text/plain", mcp.TextResourceContents{URI: "test://static-text", MIMEType: "text/plain", Text: "This is the content of the static text resource."})
	static("test://static-binary", "binary", "image/png", mcp.BlobResourceContents{URI: "test://static-binary", MIMEType: "image/png", Blob: pixel})
	static("test://watched-resource", "watched", "text/plain", mcp.TextResourceContents{URI: "test://watched-resource", MIMEType: "text/plain", Text: "Watched."})
	f.mcp.AddResourceTemplate(mcp.NewResourceTemplate("test://template/{id}/data", "template", mcp.WithTemplateDescription("a fixture"), mcp.WithTemplateMIMEType("application/json")),
		func(_ context.Context, req mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			id := strings.TrimSuffix(strings.TrimPrefix(req.Params.URI, "test://template/"), "/data")
			return []mcp.ResourceContents{mcp.TextResourceContents{URI: req.Params.URI, MIMEType: "application/json", Text: fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id)}}, nil
		})
	describe := mcp.WithPromptDescription("a fixture")
	f.mcp.AddPrompt(mcp.NewPrompt("test_simple_prompt", describe), prompt("This is a simple prompt for testing."))
	argument := func(name string) mcp.PromptOption {
		return mcp.WithArgument(name, mcp.RequiredArgument(), mcp.ArgumentDescription("a fixture"))
	}
	f.mcp.AddPrompt(mcp.NewPrompt("test_prompt_with_arguments", describe, argument("arg1"), argument("arg2")), func(ctx context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		a := req.Params.Arguments
		return prompt(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", a["arg1"], a["arg2"]))(ctx, req)
	})
	user := func(contents ...mcp.Content) *mcp.GetPromptResult {
		r := &mcp.GetPromptResult{}
		for _, c := range contents {
			r.Messages = append(r.Messages, mcp.NewPromptMessage(mcp.RoleUser, c))
		}
		return r
	}
	f.mcp.AddPrompt(mcp.NewPrompt("test_prompt_with_embedded_resource", describe, argument("resourceUri")), func(_ context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return user(mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: req.Params.Arguments["resourceUri"], MIMEType: "text/plain", Text: "Embedded resource content for testing."}),
			mcp.NewTextContent("Please process the embedded resource above.")), nil
	})
	f.mcp.AddPrompt(mcp.NewPrompt("test_prompt_with_image", describe), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return user(mcp.NewImageContent(pixel, "image/png"), mcp.NewTextContent("Please analyze the image above.")), nil
	})
}

// A completer suggests what begins like what is there.
type completer struct{}

func (completer) CompletePromptArgument(_ context.Context, _ string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return complete(a.Value), nil
}

func (completer) CompleteResourceArgument(_ context.Context, _ string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return complete(a.Value), nil
}

func complete(start string) *mcp.Completion {
	c := &mcp.Completion{Values: []string{}}
	for _, word := range []string{"paris", "park", "party"} {
		if strings.HasPrefix(word, start) {
			c.Values = append(c.Values, word)
		}
	}
	c.Total = len(c.Values)
	return c
}

// jobs are the fixture's tasks, as approvals are the gate's.
type jobs struct {
	mu sync.Mutex
	by map[string]*job
}

type job struct {
	task
	owner   policy.Identity
	asks    map[string]json.RawMessage
	answers map[string]json.RawMessage
	changed chan struct{} // closed and replaced
	stop    context.CancelFunc
}

func newJobs() *jobs { return &jobs{by: map[string]*job{}} }

// start makes a task of work, which sees cancellations and answers.
func (j *jobs) start(owner policy.Identity, asks map[string]json.RawMessage, work func(context.Context, *job) (*mcp.CallToolResult, error)) task {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	now, ttl := time.Now().UTC(), int64(600_000)
	one := &job{task: task{ID: rand.Text(), Status: taskWorking, Created: now, Updated: now, TTL: &ttl, Poll: 50}, owner: owner, asks: asks, answers: map[string]json.RawMessage{}, changed: make(chan struct{}), stop: stop}
	if len(asks) > 0 {
		one.Status = "input_required"
	}
	j.mu.Lock()
	j.by[one.ID] = one
	seed := one.task
	seed.Status = taskWorking
	j.mu.Unlock()
	go func() {
		defer stop()
		result, err := work(ctx, one)
		j.mu.Lock()
		defer j.mu.Unlock()
		one.Updated = time.Now().UTC()
		switch {
		case errors.Is(err, context.Canceled):
			one.Status = taskCancelled
		case err != nil:
			one.Status, one.StatusMessage, one.Error = "failed", err.Error(), &rpcError{Code: mcp.INTERNAL_ERROR, Message: err.Error()}
		default:
			one.Status = taskCompleted
			if one.Result, err = json.Marshal(result); err != nil {
				one.Status, one.Error = "failed", &rpcError{Code: mcp.INTERNAL_ERROR, Message: err.Error()}
			}
		}
	}()
	return seed
}

// wait returns a job's answers once all are there.
func (j *jobs) wait(ctx context.Context, one *job) (map[string]json.RawMessage, error) {
	for {
		j.mu.Lock()
		open, changed, answers := len(one.asks), one.changed, maps.Clone(one.answers)
		j.mu.Unlock()
		if open == 0 {
			return answers, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// find returns a job of this caller's. The lock is held.
func (j *jobs) find(c tools.Call, id string) *job {
	if one := j.by[id]; one != nil && one.owner.Same(c.Caller.Identity()) {
		return one
	}
	return nil
}

func (j *jobs) source() taskSource {
	return taskSource{
		get: func(_ context.Context, c tools.Call, id string, _ *splicer) (task, *rpcError) {
			j.mu.Lock()
			defer j.mu.Unlock()
			one := j.find(c, id)
			if one == nil {
				return task{}, noSuchTask()
			}
			t := one.task
			if len(one.asks) > 0 && t.Status == "input_required" {
				text, err := json.Marshal(one.asks)
				if err != nil {
					return task{}, &rpcError{Code: mcp.INTERNAL_ERROR, Message: err.Error()}
				}
				t.InputRequests = text
			}
			return t, nil
		},
		update: func(_ context.Context, c tools.Call, id string, inputs json.RawMessage) *rpcError {
			j.mu.Lock()
			defer j.mu.Unlock()
			one := j.find(c, id)
			if one == nil {
				return noSuchTask()
			}
			var given map[string]json.RawMessage
			if err := json.Unmarshal(inputs, &given); err != nil {
				return &rpcError{Code: mcp.INVALID_PARAMS, Message: "inputResponses is no object"}
			}
			for _, key := range slices.Sorted(maps.Keys(given)) {
				if _, open := one.asks[key]; open {
					one.answers[key] = given[key]
					delete(one.asks, key)
				}
			}
			if len(one.asks) == 0 && one.Status == "input_required" {
				one.Status = taskWorking
			}
			close(one.changed)
			one.changed = make(chan struct{})
			return nil
		},
		cancel: func(_ context.Context, c tools.Call, id string) *rpcError {
			j.mu.Lock()
			defer j.mu.Unlock()
			one := j.find(c, id)
			if one == nil {
				return noSuchTask()
			}
			one.stop()
			return nil
		},
	}
}

// tasks are tools that take long.
func (f *fixture) tasks() {
	type work = func(context.Context, *job) (*mcp.CallToolResult, error)
	later := func(name, schema string, required bool, asks func(mcp.CallToolRequest) map[string]json.RawMessage, make func(mcp.CallToolRequest) work) {
		f.tool(name, schema, func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			in := requestFrom(ctx)
			if !declares(ctx) {
				if required {
					return becomeError(in.splice, missingCapability(tasksCapability)), nil
				}
				return make(req)(ctx, nil)
			}
			var open map[string]json.RawMessage
			if asks != nil {
				open = asks(req)
			}
			return becomeTask(in.splice, f.jobs.start(in.caller.Identity(), open, make(req))), nil
		})
	}
	sleep := func(ctx context.Context, d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	f.tool("greet", `{"type":"object","properties":{"name":{"type":"string"}}}`, func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("Hello, " + req.GetString("name", "") + "!"), nil
	})
	later("slow_compute", `{"type":"object","properties":{"seconds":{"type":"number"},"label":{"type":"string"}}}`, false, nil, func(req mcp.CallToolRequest) work {
		return func(ctx context.Context, _ *job) (*mcp.CallToolResult, error) {
			if err := sleep(ctx, time.Duration(req.GetFloat("seconds", 0)*float64(time.Second))); err != nil {
				return nil, err
			}
			return mcp.NewToolResultText("computed " + req.GetString("label", "")), nil
		}
	})
	later("failing_job", "", true, nil, func(mcp.CallToolRequest) work {
		return func(ctx context.Context, _ *job) (*mcp.CallToolResult, error) {
			if err := sleep(ctx, 100*time.Millisecond); err != nil {
				return nil, err
			}
			return mcp.NewToolResultError("the job failed"), nil
		}
	})
	later("protocol_error_job", "", false, nil, func(mcp.CallToolRequest) work {
		return func(context.Context, *job) (*mcp.CallToolResult, error) { return nil, errors.New("it broke") }
	})
	question := func(message string) json.RawMessage {
		text, err := json.Marshal(mcp.NewElicitationInputRequest(elicit(message, object(`{"confirm":{"type":"boolean"}}`, "confirm"))))
		if err != nil {
			panic(err)
		}
		return text
	}
	questions := func(n int) func(mcp.CallToolRequest) map[string]json.RawMessage {
		return func(mcp.CallToolRequest) map[string]json.RawMessage {
			open := map[string]json.RawMessage{}
			for range n {
				open[rand.Text()] = question("Really?")
			}
			return open
		}
	}
	confirmed := func(mcp.CallToolRequest) work {
		return func(ctx context.Context, one *job) (*mcp.CallToolResult, error) {
			if one == nil {
				return mcp.NewToolResultError("this needs tasks"), nil
			}
			answers, err := f.jobs.wait(ctx, one)
			if err != nil {
				return nil, err
			}
			return mcp.NewToolResultText(fmt.Sprintf("answered: %d", len(answers))), nil
		}
	}
	later("confirm_delete", `{"type":"object","properties":{"filename":{"type":"string"}}}`, false, questions(1), confirmed)
	later("multi_input", "", false, questions(2), confirmed)
	f.tool("test_tool_with_task", "", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		in := requestFrom(ctx)
		if !declares(ctx) {
			return becomeError(in.splice, missingCapability(tasksCapability)), nil
		}
		r, ok := answered(req.Params.InputResponses, "user_name", mcp.MethodElicitationCreate)
		if !ok {
			return server.NewInputRequestBuilder("").Elicit("user_name", elicit("What is your name?", object(`{"name":{"type":"string"}}`, "name"))).ToolResult(), nil
		}
		who := entered(r, "name")
		return becomeTask(in.splice, f.jobs.start(in.caller.Identity(), nil, func(context.Context, *job) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("Hello, " + who + "!"), nil
		})), nil
	})
}
