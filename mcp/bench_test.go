package mcp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/tools"
)

// BenchmarkClients is 16 clients that call at once: `select 1` through all of
// the gateway (token, parse, policy, decision and outcome durable in the log,
// the warehouse), and beside it a tool of mcp-go's that does nothing.
func BenchmarkClients(b *testing.B) {
	const clients = 16
	w := newWorld(b, func(c *Config, g *tools.Config) {
		c.CallsPerMinute, c.Burst = 60_000_000, 1_000_000
		c.Logger, g.Logger = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
	})
	bare := server.NewMCPServer("bare", "1")
	bare.AddTool(mcp.NewTool("query"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("1"), nil
	})
	floor := httptest.NewServer(server.NewStreamableHTTPServer(bare, server.WithStateLess(true)))
	defer floor.Close()
	tokens := make([]string, clients)
	for i := range tokens {
		tokens[i] = w.token(b, fmt.Sprint("client-", i))
	}
	message := toolCall(1, "query", map[string]any{"sql": "select 1"}, nil)
	for _, target := range []struct{ name, url, in string }{{"bare", floor.URL + "/mcp", `"1"`}, {"gated", w.url, `"completed"`}} {
		b.Run(target.name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			call := func(i int) (time.Duration, error) {
				req, err := http.NewRequest(http.MethodPost, target.url, strings.NewReader(message))
				if err != nil {
					return 0, err
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+tokens[i])
				began := time.Now()
				resp, err := client.Do(req)
				if err != nil {
					return 0, err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				took := time.Since(began)
				if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), target.in)) {
					err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
				}
				return took, err
			}
			for i := range clients {
				if _, err := call(i); err != nil {
					b.Fatal(err)
				}
			}
			var mu sync.Mutex
			var took []time.Duration
			var all sync.WaitGroup
			b.ResetTimer()
			began := time.Now()
			for i := range clients {
				all.Go(func() {
					var own []time.Duration
					for range (b.N + clients - 1) / clients {
						d, err := call(i)
						if err != nil {
							b.Error(err)
							return
						}
						own = append(own, d)
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, own...)
				})
			}
			all.Wait()
			if b.Failed() {
				return
			}
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/time.Since(began).Seconds(), "calls/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
		})
	}
}
