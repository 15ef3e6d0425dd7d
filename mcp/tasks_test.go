package mcp

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"querywarden/approvals"
	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
	"querywarden/tools"
)

// A tasker is a client that declares the Tasks extension.
type tasker struct {
	wire
	undeclared bool
}

type taskAnswer struct {
	Result *struct {
		ResultType     string
		TaskID, Status string
		CreatedAt      time.Time
		LastUpdatedAt  time.Time
		TTLMs          *int64
		PollIntervalMs int64
		Result         *struct {
			IsError           bool
			StructuredContent answer
			Content           []struct{ Text string }
		}
		StructuredContent answer
	}
	Error *rpcError
}

func (c tasker) meta() map[string]any {
	if c.undeclared {
		return modernMeta(nil)
	}
	return modernMeta(map[string]any{"io.modelcontextprotocol/clientCapabilities": map[string]any{"extensions": map[string]any{tasksExtension: map[string]any{}}}})
}

// send sends a request with these parameters, and headers that fit them.
func (c tasker) send(t *testing.T, method, name string, params map[string]any, change func(*http.Request)) (int, taskAnswer, string) {
	t.Helper()
	params["_meta"] = c.meta()
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for header, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + c.token,
		"Mcp-Protocol-Version": mcp.ProtocolVersion20260728, "Mcp-Method": method, "Mcp-Name": name,
	} {
		req.Header.Set(header, value)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a taskAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if !strings.Contains(string(body), `"id":7`) {
		t.Errorf("the answer is not to this request: %s", body)
	}
	return resp.StatusCode, a, string(body)
}

func (c tasker) about(t *testing.T, method, id string) (taskAnswer, string) {
	t.Helper()
	_, a, body := c.send(t, method, id, map[string]any{"taskId": id, "inputResponses": map[string]any{}}, nil)
	return a, body
}

// ask asks for the approval of a statement, as a task.
func (c tasker) ask(t *testing.T, sql string) string {
	t.Helper()
	_, a, body := c.send(t, "tools/call", "request_approval", map[string]any{"name": "request_approval", "arguments": map[string]any{"sql": sql, "reason": "not used any more"}}, nil)
	if a.Result == nil || a.Result.ResultType != "task" || a.Result.Status != taskWorking || a.Result.TaskID == "" || a.Result.CreatedAt.IsZero() || a.Result.PollIntervalMs <= 0 {
		t.Fatalf("no task: %s", body)
	}
	return a.Result.TaskID
}

// TestTasks: a request for approval is a task, whose state is the request's.
func TestTasks(t *testing.T) {
	w := newWorld(t, nil)
	ada := tasker{wire: wire{url: w.url, token: w.token(t, "ada")}}
	grace := tasker{wire: wire{url: w.url, token: w.token(t, "grace")}}

	// What needs nobody is answered at once.
	if _, a, body := ada.send(t, "tools/call", "request_approval", map[string]any{"name": "request_approval", "arguments": map[string]any{"sql": "SELECT id FROM people", "reason": "r"}}, nil); a.Result == nil || a.Result.ResultType != "complete" || a.Result.StructuredContent.Code != "nothing_to_approve" {
		t.Errorf("nothing to approve: %s", body)
	}

	id := ada.ask(t, "DROP TABLE old")
	if r, err := w.approvals.Get(t.Context(), id); err != nil || r.State != approvals.Pending {
		t.Fatalf("the task is not the request: %+v, %v", r, err)
	}
	a, body := ada.about(t, "tasks/get", id)
	if a.Result == nil || a.Result.Status != taskWorking || a.Result.ResultType != "complete" || a.Result.Result != nil || a.Result.TaskID != id {
		t.Errorf("while it waits: %s", body)
	}
	if a, body := ada.about(t, "tasks/update", id); a.Result == nil || a.Result.ResultType != "complete" || a.Result.TaskID != "" {
		t.Errorf("update: %s", body)
	}

	// To everybody else there is no such task, whatever they do, and what they
	// do changes nothing.
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		for _, stranger := range []string{id, "apr_unknown", strings.ToUpper(id), "x"} {
			a, body := grace.about(t, method, stranger)
			if a.Error == nil || a.Error.Code != mcp.INVALID_PARAMS || strings.Contains(body, "DROP") {
				t.Errorf("%s of %s by somebody else: %s", method, stranger, body)
			}
		}
	}
	w.approve(t, id)
	eventually(t, func() bool {
		a, body = ada.about(t, "tasks/get", id)
		return a.Result != nil && a.Result.Status != taskWorking
	})
	if a.Result.Status != taskCompleted || a.Result.Result == nil || a.Result.Result.IsError || a.Result.Result.StructuredContent.Status != "completed" || len(a.Result.Result.Content) == 0 {
		t.Errorf("once approved: %s", body)
	}
	// What is over stays over.
	if a, body := ada.about(t, "tasks/cancel", id); a.Result == nil || a.Result.ResultType != "complete" {
		t.Errorf("cancelling what is over: %s", body)
	}
	if a, body := grace.about(t, "tasks/get", id); a.Error == nil || a.Error.Code != mcp.INVALID_PARAMS {
		t.Errorf("somebody else reads the result: %s", body)
	}
}

// TestTasksOfNamesakes: a subject is somebody only together with its issuer, for
// tasks as for sessions.
func TestTasksOfNamesakes(t *testing.T) {
	p, q := identitytest.New(t), identitytest.New(t)
	w := newWorld(t, func(c *Config, _ *tools.Config) {
		v, err := identity.New(identity.Config{Audience: c.Resource, Issuers: []identity.IssuerConfig{{URL: p.URL(), Kind: policy.Agent}, {URL: q.URL(), Kind: policy.Agent}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Verifier = v
	})
	token := func(p *identitytest.Provider) wire {
		return wire{url: w.url, token: p.Token(w.url, map[string]any{"sub": "ada", "email": "ada@example.com", "groups": []string{"analysts"}})}
	}
	ada, namesake := tasker{wire: token(p)}, tasker{wire: token(q)}
	id := ada.ask(t, "DROP TABLE old")
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		if a, body := namesake.about(t, method, id); a.Error == nil || a.Error.Code != mcp.INVALID_PARAMS {
			t.Errorf("%s by a namesake of another issuer: %s", method, body)
		}
	}
	if a, body := ada.about(t, "tasks/get", id); a.Result == nil || a.Result.Status != taskWorking {
		t.Errorf("afterwards: %s", body)
	}
	session := ada.open(t).session
	stolen := namesake.wire
	stolen.session = session
	if status, _, _ := stolen.send(t, listMessage); status != http.StatusNotFound {
		t.Errorf("a namesake's session: %d", status)
	}
}

func TestTasksEnd(t *testing.T) {
	w := newWorld(t, nil)
	ada := tasker{wire: wire{url: w.url, token: w.token(t, "ada")}}
	cancelled := ada.ask(t, "DROP TABLE old")
	if a, body := ada.about(t, "tasks/cancel", cancelled); a.Result == nil || a.Result.ResultType != "complete" || a.Result.TaskID != "" {
		t.Errorf("cancel: %s", body)
	}
	if a, body := ada.about(t, "tasks/get", cancelled); a.Result == nil || a.Result.Status != taskCancelled || a.Result.Result != nil {
		t.Errorf("cancelled: %s", body)
	}

	// Somebody who said no has answered: the call is complete, and an error to
	// the model.
	denied := ada.ask(t, "DROP TABLE old")
	r, err := w.approvals.Get(t.Context(), denied)
	if err != nil {
		t.Fatal(err)
	}
	owner := approvals.Voter{Identity: policy.Identity{Issuer: issuerURL, Subject: "owner"}, Groups: []string{"owners"}, Via: approvals.ViaHost}
	if _, err := w.approvals.Vote(t.Context(), denied, approvals.Short(r.Digest), owner, false, "we need it"); err != nil {
		t.Fatal(err)
	}
	a, body := ada.about(t, "tasks/get", denied)
	if a.Result == nil || a.Result.Status != taskCompleted || a.Result.Result == nil || !a.Result.Result.IsError || a.Result.Result.StructuredContent.Status != "denied" {
		t.Errorf("denied: %s", body)
	}
}

// TestTasksAreDeclared: without the extension there are no tasks, and requests
// whose headers say something else are refused.
func TestTasksAreDeclared(t *testing.T) {
	w := newWorld(t, nil)
	ada := tasker{wire: wire{url: w.url, token: w.token(t, "ada")}}
	id := ada.ask(t, "DROP TABLE old")
	plain := tasker{wire: ada.wire, undeclared: true}
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		status, a, body := plain.send(t, method, id, map[string]any{"taskId": id}, nil)
		if status != http.StatusBadRequest || a.Error == nil || a.Error.Code != mcp.MISSING_REQUIRED_CLIENT_CAPABILITY || !strings.Contains(string(a.Error.Data), tasksExtension) {
			t.Errorf("%s, undeclared: %d %s", method, status, body)
		}
	}
	_, a, body := plain.send(t, "tools/call", "request_approval", map[string]any{"name": "request_approval", "arguments": map[string]any{"sql": "DROP TABLE old", "reason": "r"}}, nil)
	if a.Result == nil || a.Result.ResultType == "task" || a.Result.StructuredContent.Status != "pending_approval" {
		t.Errorf("undeclared, a call waits and answers itself: %s", body)
	}
	for header, value := range map[string]string{"Mcp-Method": "tasks/cancel", "Mcp-Name": "another", "Mcp-Protocol-Version": "2025-11-25"} {
		status, a, body := ada.send(t, "tasks/get", id, map[string]any{"taskId": id}, func(r *http.Request) { r.Header.Set(header, value) })
		if status != http.StatusBadRequest || a.Error == nil || a.Error.Code != mcp.HEADER_MISMATCH {
			t.Errorf("%s: %d %s", header, status, body)
		}
		status, a, body = ada.send(t, "tasks/get", id, map[string]any{"taskId": id}, func(r *http.Request) { r.Header.Del(header) })
		if status != http.StatusBadRequest || a.Error == nil || a.Error.Code != mcp.HEADER_MISMATCH {
			t.Errorf("no %s: %d %s", header, status, body)
		}
	}
	if status, a, body := ada.send(t, "tasks/get", "", map[string]any{"taskId": ""}, nil); status != http.StatusBadRequest || a.Error == nil {
		t.Errorf("no task: %d %s", status, body)
	}
	if status, a, body := plain.send(t, "subscriptions/listen", "", map[string]any{"notifications": map[string]any{"taskIds": []string{id}}}, nil); status != http.StatusBadRequest || a.Error == nil || a.Error.Code != mcp.MISSING_REQUIRED_CLIENT_CAPABILITY {
		t.Errorf("listening, undeclared: %d %s", status, body)
	}
	for _, gone := range []string{"tasks/list", "tasks/result"} {
		if status, a, body := ada.send(t, gone, id, map[string]any{"taskId": id}, nil); status != http.StatusNotFound || a.Error == nil || a.Error.Code != mcp.METHOD_NOT_FOUND {
			t.Errorf("%s: %d %s", gone, status, body)
		}
	}
	_, _, body = ada.send(t, "server/discover", "", map[string]any{}, nil)
	if !strings.Contains(body, `"extensions":{"`+tasksExtension+`":{}}`) || strings.Contains(body, `"tasks":`) {
		t.Errorf("discover: %s", body)
	}
	_, _, body = ada.send(t, "tools/list", "", map[string]any{}, nil)
	if !strings.Contains(body, `"cacheScope":"private"`) {
		t.Errorf("what a caller may see could be shown to others: %.300s", body)
	}
}

// Whatever is sent as a request about tasks is answered in JSON or left to
// mcp-go, and reaches no task of a caller who has none.
func FuzzTaskMessages(f *testing.F) {
	source := func(e *rpcError) taskSource {
		return taskSource{
			get:    func(context.Context, tools.Call, string, *splicer) (task, *rpcError) { return task{}, e },
			update: func(context.Context, tools.Call, string, json.RawMessage) *rpcError { return e },
			cancel: func(context.Context, tools.Call, string) *rpcError { return e },
		}
	}
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}`
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"x",` + meta + `}}`,
		`{"jsonrpc":"2.0","id":"a","method":"tasks/cancel","params":{"taskId":"x",` + meta + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tasks/update","params":{"taskId":"x","inputResponses":{},` + meta + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":["x"],` + meta + `}}`,
		`{"jsonrpc":"2.0","id":null,"method":"tasks/get"}`, `{}`, `[]`, `null`, `{"method":"tasks/get","METHOD":"tools/call"}`,
	} {
		f.Add(seed)
	}
	s := &Server{tasks: source(noSuchTask())}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.Header.Set("Mcp-Protocol-Version", mcp.ProtocolVersion20260728)
		r.Header.Set("Mcp-Name", "x")
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			r.Header.Set("Mcp-Method", method)
			w := httptest.NewRecorder()
			if !s.serveTasks(w, r, []byte(body)) {
				if w.Body.Len() > 0 {
					t.Errorf("%q is answered, and left to mcp-go", body)
				}
				continue
			}
			var a taskAnswer
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.Error == nil || w.Code != http.StatusBadRequest {
				t.Errorf("%q: %d %s", body, w.Code, w.Body)
			}
		}
	})
}
