package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestConnect speaks both eras of the protocol over stdio with the gateway.
func TestConnect(t *testing.T) {
	w := newClientWorld(t)
	t.Setenv("QUERYWARDEN_TOKEN", w.token("ada"))
	const version = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}`
	call := func(id int, more string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"query","arguments":{"sql":"select email from customers order by id limit 1"}%s}}`, id, more)
	}
	for name, lines := range map[string][]string{
		"2026-07-28": {
			`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + version + `}}`,
			`{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{` + version + `}}`,
			call(3, ","+version),
		},
		"2025-06-18": {
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
			`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`,
			call(3, ""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, say := io.Pipe()
			hear, out := io.Pipe()
			var errs strings.Builder
			done := make(chan int, 1)
			go func() {
				status := run(t.Context(), []string{"connect", w.url}, streams{in, out, &errs})
				out.Close()
				done <- status
			}()
			go func() {
				for _, line := range lines {
					fmt.Fprintln(say, line)
				}
			}()
			heard := map[int]string{}
			answers := bufio.NewScanner(hear)
			answers.Buffer(nil, 1<<20)
			for len(heard) < 3 && answers.Scan() {
				var m struct{ ID int }
				if err := json.Unmarshal(answers.Bytes(), &m); err != nil {
					t.Errorf("not a message: %s", answers.Text())
				}
				heard[m.ID] = answers.Text()
			}
			say.Close()
			if status := <-done; status != 0 || errs.String() != "" {
				t.Errorf("status %d: %s", status, errs.String())
			}
			if !strings.Contains(heard[1], name) || !strings.Contains(heard[2], `"name":"check_approval"`) || !strings.Contains(heard[3], `[["***@example`) {
				t.Errorf("heard %v", heard)
			}
		})
	}
}
