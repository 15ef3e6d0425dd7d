package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// eras are the two protocols that clients speak.
var eras = []struct {
	name   string
	legacy bool
}{{"2026-07-28", false}, {"2025-11-25", true}}

// connect opens a client of mcp-go's in one of the eras.
func connect(t *testing.T, w *world, token string, legacy bool) *client.Client {
	t.Helper()
	tr, err := transport.NewStreamableHTTP(w.url, transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	return initialize(t, tr, legacy)
}

func initialize(t *testing.T, tr transport.Interface, legacy bool) *client.Client {
	t.Helper()
	var options []client.ClientOption
	if legacy {
		options = append(options, client.WithLegacyProtocolOnly())
	}
	c := client.NewClient(tr, options...)
	t.Cleanup(func() { c.Close() })
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := mcp.InitializeRequest{}
	req.Params.ClientInfo = mcp.Implementation{Name: "test-agent", Version: "9"}
	if _, err := c.Initialize(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if modern := mcp.IsModernProtocol(c.ProtocolVersion()); modern == legacy {
		t.Fatalf("the client speaks %s", c.ProtocolVersion())
	}
	return c
}

func call(t *testing.T, c *client.Client, tool string, args map[string]any) *mcp.CallToolResult {
	t.Helper()
	req := mcp.CallToolRequest{}
	req.Params.Name, req.Params.Arguments = tool, args
	result, err := c.CallTool(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return result
}

// An answer is the structured content of any tool, as far as tests look at it.
type answer struct {
	Status   string
	Code     string
	Message  string
	Audit    string
	Rows     [][]any
	RowCount int64 `json:"row_count"`
	Table    string
	Columns  []struct{ Name, Masked string }
	Tables   []struct{ Table string }
	Approval *struct{ ID, State, Message string }
}

func structured(t *testing.T, r *mcp.CallToolResult) answer {
	t.Helper()
	text, err := json.Marshal(r.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func text(t *testing.T, r *mcp.CallToolResult) string {
	t.Helper()
	if len(r.Content) != 1 {
		t.Fatalf("%d blocks of content, want 1", len(r.Content))
	}
	block, ok := r.Content[0].(mcp.TextContent)
	if !ok {
		t.Fatalf("content is %T", r.Content[0])
	}
	return block.Text
}

// A wire sends raw requests.
type wire struct {
	url, token, session string
	modern              bool
}

// post sends a JSON-RPC message and returns the response, whose body the
// caller closes.
func (w wire) post(ctx context.Context, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	if w.session != "" {
		req.Header.Set("Mcp-Session-Id", w.session)
	}
	if w.modern {
		var message struct {
			Method string
			Params struct{ Name string }
		}
		if err := json.Unmarshal([]byte(body), &message); err != nil {
			return nil, err
		}
		req.Header.Set("Mcp-Protocol-Version", mcp.ProtocolVersion20260728)
		req.Header.Set("Mcp-Method", message.Method)
		if message.Params.Name != "" {
			req.Header.Set("Mcp-Name", message.Params.Name)
		}
	}
	return http.DefaultClient.Do(req)
}

// send is post for answers that are read whole.
func (w wire) send(t *testing.T, body string) (status int, header http.Header, text string) {
	t.Helper()
	resp, err := w.post(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(all)
}

const initializeMessage = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`

// open returns a wire with a session.
func (w wire) open(t *testing.T) wire {
	t.Helper()
	status, header, body := w.send(t, initializeMessage)
	if w.session = header.Get("Mcp-Session-Id"); status != http.StatusOK || w.session == "" {
		t.Fatalf("initialize: %d, session %q: %s", status, w.session, body)
	}
	return w
}

// toolCall is a tools/call message.
func toolCall(id int, tool string, args map[string]any, meta map[string]any) string {
	params := map[string]any{"name": tool, "arguments": args}
	if meta != nil {
		params["_meta"] = meta
	}
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
	if err != nil {
		panic(err) // the arguments are the test's own
	}
	return string(text)
}

// modernMeta is what each modern request carries.
func modernMeta(more map[string]any) map[string]any {
	meta := map[string]any{
		"io.modelcontextprotocol/protocolVersion":    mcp.ProtocolVersion20260728,
		"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "raw", "version": "1"},
	}
	for k, v := range more {
		meta[k] = v
	}
	return meta
}

// events returns the messages of an SSE body.
func events(t *testing.T, body io.Reader) []string {
	t.Helper()
	var all []string
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			all = append(all, string(data))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func listRequest() mcp.ListToolsRequest { return mcp.ListToolsRequest{} }
