package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mark3labs/mcp-go/client/transport"

	"querywarden/audit"
	"querywarden/policy"
)

func TestStdio(t *testing.T) {
	w := newWorld(t, nil)
	caller := policy.Caller{Issuer: "stdio", Subject: "ada", Groups: []string{"analysts"}, Kind: policy.Agent}
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			toServer, fromClient := io.Pipe()
			toClient, fromServer := io.Pipe()
			var written bytes.Buffer
			done := make(chan error, 1)
			go func() {
				err := w.server.ServeStdio(context.Background(), toServer, io.MultiWriter(&written, fromServer), caller)
				fromServer.Close()
				done <- err
			}()
			c := initialize(t, transport.NewIO(toClient, fromClient, io.NopCloser(strings.NewReader(""))), era.legacy)
			list, err := c.ListTools(t.Context(), listRequest())
			if err != nil || len(list.Tools) != 5 {
				t.Errorf("%d tools: %v", len(list.Tools), err)
			}
			r := call(t, c, "query", map[string]any{"sql": "SELECT email FROM people ORDER BY id"})
			if a := structured(t, r); a.Status != "completed" || len(a.Rows) != 2 || strings.Contains(text(t, r), "ada@") {
				t.Errorf("query: %s", text(t, r))
			}
			if r := call(t, c, "query", map[string]any{"sql": ""}); !r.IsError {
				t.Errorf("an empty statement: %s", text(t, r))
			}
			fromClient.Close()
			if err := <-done; err != nil {
				t.Errorf("the end of the input: %v", err)
			}
			for lines := bufio.NewScanner(&written); lines.Scan(); {
				var message struct{ JSONRPC string }
				if err := json.Unmarshal(lines.Bytes(), &message); err != nil || message.JSONRPC != "2.0" {
					t.Errorf("not the protocol: %q", lines.Text())
				}
			}
			for _, e := range w.recorded(t, "ada") {
				around := e.Kind == audit.KindSignIn || e.Kind == audit.KindSessionEnd
				if e.Client != "test-agent 9" && !around || e.Caller.Issuer != "stdio" || e.Session == "" {
					t.Errorf("recorded for %q, %+v", e.Client, e.Caller)
				}
			}
		})
	}

	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := w.server.ServeStdio(ctx, strings.NewReader(""), io.Discard, caller); err != nil {
		t.Errorf("stopped: %v", err)
	}
	long := io.MultiReader(strings.NewReader(strings.Repeat(" ", 5<<20)), strings.NewReader("\n"))
	if err := w.server.ServeStdio(t.Context(), long, io.Discard, caller); !errors.Is(err, errLineTooLong) {
		t.Errorf("a line that is too long: %v", err)
	}
}

func TestLimitedLines(t *testing.T) {
	for _, test := range []struct {
		in string
		ok bool
	}{
		{"", true}, {"12345", true}, {"12345\n", true}, {"123456", false}, {"12345\n12345\n1", true},
		{"1\n123456\n", false}, {"\n\n\n\n\n\n\n\n", true}, {"123456\n", false},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(test.in), "by the byte": iotest.OneByteReader(strings.NewReader(test.in))} {
			got, err := io.ReadAll(&limitedLines{in: r, limit: 5})
			if test.ok && (err != nil || string(got) != test.in) || !test.ok && !errors.Is(err, errLineTooLong) {
				t.Errorf("%q %s: %q, %v", test.in, name, got, err)
			}
		}
	}
}
