package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// A Client calls the tools of a gateway over streamable HTTP, as an agent
// does. It is safe for use by several goroutines.
type Client struct{ client *mcpclient.Client }

// Dial connects to the gateway at url (its /mcp) with a bearer token and opens
// an MCP session.
func Dial(ctx context.Context, url, token, name string) (*Client, error) {
	c, err := mcpclient.NewStreamableHttpClient(url,
		transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + token}),
		transport.WithHTTPBasicClient(&http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", url, err)
	}
	if err := c.Start(ctx); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", url, err)
	}
	var hello mcp.InitializeRequest
	hello.Params.ProtocolVersion = mcp.LATEST_PROTOCOL_VERSION
	hello.Params.ClientInfo = mcp.Implementation{Name: name, Version: "1"}
	if _, err := c.Initialize(ctx, hello); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", url, err)
	}
	return &Client{c}, nil
}

// Call calls a tool and reads its structured answer. It returns the text form,
// which is what a model reads.
func (c *Client) Call(ctx context.Context, tool string, arguments, answer any) (string, error) {
	return c.CallNamed(ctx, tool, "", arguments, answer)
}

// CallNamed is [Client.Call] with a name for the call, as Claude Code gives it:
// the same that its hooks tell.
func (c *Client) CallNamed(ctx context.Context, tool, id string, arguments, answer any) (string, error) {
	var req mcp.CallToolRequest
	req.Params.Name, req.Params.Arguments = tool, arguments
	if id != "" {
		req.Params.Meta = &mcp.Meta{AdditionalFields: map[string]any{metaClaudeCall: id}}
	}
	res, err := c.client.CallTool(ctx, req)
	if err != nil {
		return "", fmt.Errorf("calling %s: %w", tool, err)
	}
	structured := res.RawStructuredContent
	if structured == nil {
		if structured, err = json.Marshal(res.StructuredContent); err != nil {
			return "", fmt.Errorf("calling %s: %w", tool, err)
		}
	}
	if err := json.Unmarshal(structured, answer); err != nil {
		return "", fmt.Errorf("reading the answer of %s: %w", tool, err)
	}
	text := ""
	for _, part := range res.Content {
		if t, ok := part.(mcp.TextContent); ok {
			text += t.Text
		}
	}
	return text, nil
}

// Close ends the session.
func (c *Client) Close() error { return c.client.Close() }
