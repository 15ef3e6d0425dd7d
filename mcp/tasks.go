package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/tools"
)

// The Tasks extension (SEP-2663; modelcontextprotocol.github.io/ext-tasks),
// which mcp-go does not have: its own tasks are those of an older revision and
// do not tell callers apart.
//
// A call of request_approval by a client that declares the extension is
// answered at once with a task whose id is the approval's, unguessable and
// durable. What tasks/get answers is the state of that request in the approvals
// store, and its result is check_approval's answer. The gate looks at issuer
// and subject each time: somebody else's task is one that there is not.
const tasksExtension = "io.modelcontextprotocol/tasks"

// pollEvery is how often clients are asked to look, in milliseconds. A person
// takes longer, and each look is recorded.
const pollEvery = 5000

// A task is what a client is told of one.
type task struct {
	ID            string          `json:"taskId"`
	Status        string          `json:"status"`
	StatusMessage string          `json:"statusMessage,omitempty"`
	Created       time.Time       `json:"createdAt"`
	Updated       time.Time       `json:"lastUpdatedAt"`
	TTL           *int64          `json:"ttlMs"` // null: what became of a request stays known
	Poll          int64           `json:"pollIntervalMs,omitempty"`
	InputRequests json.RawMessage `json:"inputRequests,omitempty"`
	Result        json.RawMessage `json:"result,omitempty"`
	Error         *rpcError       `json:"error,omitempty"`
}

// The states of tasks that approvals have. A denied request is completed: its
// result says so.
const (
	taskWorking   = "working"
	taskCompleted = "completed"
	taskCancelled = "cancelled"
)

// A taskSource is where tasks are. Every function looks at whose the task is.
type taskSource struct {
	get    func(context.Context, tools.Call, string, *splicer) (task, *rpcError)
	update func(context.Context, tools.Call, string, json.RawMessage) *rpcError
	cancel func(context.Context, tools.Call, string) *rpcError
}

// An rpcError is an error of JSON-RPC.
type rpcError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// status is the HTTP status that goes with an error in revision 2026-07-28.
func (e rpcError) status() int {
	switch e.Code {
	case mcp.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcp.INTERNAL_ERROR:
		return http.StatusOK
	default:
		return http.StatusBadRequest
	}
}

// noSuchTask is the answer about tasks that there are not, and about those of
// others.
func noSuchTask() *rpcError {
	return &rpcError{Code: mcp.INVALID_PARAMS, Message: "there is no such task"}
}

// missingCapability names the capability that a client has to declare.
func missingCapability(capabilities string) *rpcError {
	return &rpcError{
		Code:    mcp.MISSING_REQUIRED_CLIENT_CAPABILITY,
		Message: "the client has not declared a capability that this needs",
		Data:    json.RawMessage(`{"requiredCapabilities":` + capabilities + `}`),
	}
}

const tasksCapability = `{"extensions":{"` + tasksExtension + `":{}}}`

// approvalTasks are the approval requests.
func (s *Server) approvalTasks() taskSource {
	return taskSource{
		get: func(ctx context.Context, c tools.Call, id string, splice *splicer) (task, *rpcError) {
			a := s.gate.CheckApproval(ctx, c, tools.CheckRequest{ID: id}, nil)
			return approvalTask(id, a, splice)
		},
		update: func(ctx context.Context, c tools.Call, id string, _ json.RawMessage) *rpcError {
			// Nothing is asked of clients here. Whoever answers is told whether
			// there is a task, if it is theirs.
			a := s.gate.CheckApproval(ctx, c, tools.CheckRequest{ID: id}, nil)
			return problem(a)
		},
		cancel: func(ctx context.Context, c tools.Call, id string) *rpcError {
			a := s.gate.CancelApproval(ctx, c, tools.CheckRequest{ID: id})
			return problem(a)
		},
	}
}

// problem is the protocol's error in an answer, nil if it is about a task.
// Rows that nobody will read are given back.
func problem(a tools.QueryAnswer) *rpcError {
	if a.Rows != nil {
		if err := a.Rows.Close(); err != nil {
			return &rpcError{Code: mcp.INTERNAL_ERROR, Message: "the gateway could not put an answer away"}
		}
	}
	return failureOf(a.Answer)
}

// failureOf is the protocol's error in an answer that is about no task.
func failureOf(a tools.Answer) *rpcError {
	switch a.Code {
	case tools.CodeApprovalUnknown, tools.CodeBadArgument:
		return noSuchTask()
	case tools.CodeUnavailable:
		return &rpcError{Code: mcp.INTERNAL_ERROR, Message: a.Message}
	default:
		return nil
	}
}

// approvalTask is what an answer of check_approval says of its task.
func approvalTask(id string, a tools.QueryAnswer, splice *splicer) (task, *rpcError) {
	if failure := failureOf(a.Answer); failure != nil {
		return task{}, failure
	}
	t := newTask(id, a)
	if a.Status == tools.Pending {
		return t, nil
	}
	if a.Approval != nil && a.Approval.State == "cancelled" {
		t.Status, t.StatusMessage = taskCancelled, a.Message
		return t, nil
	}
	result, err := json.Marshal(queryReply(a).result(splice))
	if err != nil {
		return task{}, &rpcError{Code: mcp.INTERNAL_ERROR, Message: "the gateway could not encode its answer"}
	}
	t.Status, t.Result, t.Poll = taskCompleted, result, 0
	return t, nil
}

// newTask is the task of an approval that waits.
func newTask(id string, a tools.QueryAnswer) task {
	t := task{ID: id, Status: taskWorking, StatusMessage: a.Message, Poll: pollEvery}
	if a.Approval != nil {
		t.Created, t.Updated = a.Approval.Asked.UTC(), a.Approval.Changed.UTC()
	}
	return t
}

// declares reports whether a request's client declares the extension. Every
// request says so for itself.
func declares(ctx context.Context) bool {
	info := server.RequestProtocolInfoFromContext(ctx)
	if info == nil || !info.Modern || info.ClientCapabilities == nil {
		return false
	}
	_, declared := info.ClientCapabilities.Extensions[tasksExtension]
	return declared
}

// becomeTask makes a task the answer of a tool.
func becomeTask(splice *splicer, t task) *mcp.CallToolResult {
	return instead(splice, func(id json.RawMessage) (int, []byte) {
		return http.StatusOK, rpcResult(id, struct {
			ResultType string `json:"resultType"`
			task
		}{"task", t})
	})
}

// becomeError makes an error of the protocol the answer of a tool.
func becomeError(splice *splicer, e *rpcError) *mcp.CallToolResult {
	return instead(splice, func(id json.RawMessage) (int, []byte) { return e.status(), rpcFailure(id, *e) })
}

func instead(splice *splicer, with replacement) *mcp.CallToolResult {
	return mcp.NewToolResultText(splice.replace(with))
}

// taskParams are the parameters of tasks/*, and of subscriptions/listen as far
// as it speaks of tasks.
type taskParams struct {
	TaskID         string          `json:"taskId"`
	InputResponses json.RawMessage `json:"inputResponses"`
	Notifications  struct {
		TaskIDs []string `json:"taskIds"`
	} `json:"notifications"`
	Meta struct {
		Version      string `json:"io.modelcontextprotocol/protocolVersion"`
		Capabilities *struct {
			Extensions map[string]json.RawMessage `json:"extensions"`
		} `json:"io.modelcontextprotocol/clientCapabilities"`
		Client mcp.Implementation `json:"io.modelcontextprotocol/clientInfo"`
	} `json:"_meta"`
}

// serveTasks answers the methods of the extension, and reports whether the
// request was one of these. What is wrong with requests in general is for
// mcp-go to say.
func (s *Server) serveTasks(w http.ResponseWriter, r *http.Request, body []byte) bool {
	var message struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(body, &message); err != nil || message.JSONRPC != mcp.JSONRPC_VERSION || len(message.ID) == 0 || bytes.Equal(message.ID, []byte("null")) {
		return false
	}
	switch message.Method {
	case "tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen":
	default:
		return false
	}
	var p taskParams
	if err := json.Unmarshal(message.Params, &p); err != nil {
		return false
	}
	version := r.Header.Get(mcp.HeaderProtocolVersion)
	if !mcp.IsModernProtocol(version) || version != p.Meta.Version || !mcp.IsValidProtocolVersion(version) {
		return false
	}
	declared := false
	if p.Meta.Capabilities != nil {
		_, declared = p.Meta.Capabilities.Extensions[tasksExtension]
	}
	if message.Method == "subscriptions/listen" {
		if len(p.Notifications.TaskIDs) == 0 || declared {
			return false // mcp-go agrees to none of them
		}
		writeRPCError(w, message.ID, http.StatusBadRequest, *missingCapability(tasksCapability))
		return true
	}
	for header, want := range map[string]string{mcp.HeaderMethod: message.Method, mcp.HeaderName: p.TaskID} {
		if r.Header.Get(header) != want {
			writeRPCError(w, message.ID, http.StatusBadRequest, rpcError{Code: mcp.HEADER_MISMATCH, Message: "the header " + header + " does not say what the body says"})
			return true
		}
	}
	if !declared {
		writeRPCError(w, message.ID, http.StatusBadRequest, *missingCapability(tasksCapability))
		return true
	}
	if p.TaskID == "" {
		writeRPCError(w, message.ID, http.StatusBadRequest, *noSuchTask())
		return true
	}
	in := requestFrom(r.Context())
	call := tools.Call{Caller: in.caller, Session: in.signIn, Client: clientOf(p.Meta.Client)}
	var result struct {
		ResultType string `json:"resultType"`
		*task
	}
	result.ResultType = "complete"
	var failure *rpcError
	switch message.Method {
	case "tasks/get":
		var t task
		if t, failure = s.tasks.get(r.Context(), call, p.TaskID, in.splice); failure == nil {
			result.task = &t
		}
	case "tasks/update":
		failure = s.tasks.update(r.Context(), call, p.TaskID, p.InputResponses)
	case "tasks/cancel":
		failure = s.tasks.cancel(r.Context(), call, p.TaskID)
	}
	if failure != nil {
		writeRPCError(w, message.ID, failure.status(), *failure)
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone needs no answer.
	_, _ = w.Write(rpcResult(message.ID, result))
	return true
}

// rpcResult is a message with a result.
func rpcResult(id json.RawMessage, result any) []byte {
	return rpcMessage(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  any             `json:"result"`
	}{mcp.JSONRPC_VERSION, id, result})
}

// rpcFailure is a message with an error.
func rpcFailure(id json.RawMessage, e rpcError) []byte {
	if len(id) == 0 {
		id = json.RawMessage("null")
	}
	return rpcMessage(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
	}{mcp.JSONRPC_VERSION, id, e})
}

func rpcMessage(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		// Only an id that is no JSON can be invalid, and it has been read.
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the gateway could not encode its answer"}}`)
	}
	return text
}

func writeRPCError(w http.ResponseWriter, id json.RawMessage, status int, e rpcError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(rpcFailure(id, e))
}

// insufficientScope answers a call whose token is not good for a tool, as the
// protocol wants it: 403, and the scopes that this operation needs.
func (s *Server) insufficientScope(ctx context.Context, r request, tool string) *mcp.CallToolResult {
	needs := s.config.ToolScopes[tool]
	s.gate.TurnedAway(ctx, "insufficient_scope", r.remote, &r.caller)
	const sentence = "the token is not good for this operation"
	r.writer.Header().Set("WWW-Authenticate", s.challengeOf(needs, "insufficient_scope", sentence))
	return instead(r.splice, func(id json.RawMessage) (int, []byte) {
		return http.StatusForbidden, rpcFailure(id, rpcError{Code: mcp.INVALID_REQUEST, Message: sentence})
	})
}

// scoped reports whether a request's token is good for a tool. Over stdio there
// is no token: the process belongs to its caller.
func (s *Server) scoped(r request, tool string) bool {
	if r.writer == nil {
		return true
	}
	return !slices.ContainsFunc(s.config.ToolScopes[tool], func(scope string) bool { return !slices.Contains(r.scopes, scope) })
}
