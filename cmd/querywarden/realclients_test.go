package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/internal/identity/identitytest"
	"querywarden/internal/modeltest"
)

// realClients is the folder that .ci/clients has installed the clients in.
var realClients = flag.String("clients", "", "run the clients installed in this `folder`; in a network namespace that has only loopback")

// A realWorld runs clients that nobody here wrote: pinned, with an environment
// of their own, a HOME of their own, and no network but loopback.
type realWorld struct {
	*clientWorld
	bin     string // a folder with querywarden, browser and node
	clients string
}

// TestRealClients lets each client connect, list and call, and those that can
// sign in go through it. `make clients` runs it.
func TestRealClients(t *testing.T) {
	if *realClients == "" {
		t.Skip("skipped: make clients runs it")
	}
	if conn, err := net.DialTimeout("udp", "192.0.2.1:9", time.Second); err == nil {
		conn.Close()
		t.Fatal("there is a network here: run it with unshare -n")
	}
	w := &realWorld{clientWorld: newClientWorld(t), clients: *realClients, bin: clientsPath(t, "browser", "xdg-open")}
	w.provider.SignInAs("ada")
	for _, c := range []struct {
		name, folder string
		run          func(*testing.T, *realWorld)
	}{
		{"Claude Code", "claude-code", claudeCodeClient},
		{"Codex", "codex", codexClient},
		{"Gemini CLI", "gemini", geminiClient},
		{"TypeScript client", "ts-client", typescriptClient("ts-client", "v2")},
		{"TypeScript SDK", "ts-sdk", typescriptClient("ts-sdk", "v1")},
		{"mcp-remote", "mcp-remote", mcpRemoteClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(w.clients, c.folder, "node_modules")); err != nil {
				t.Skipf("skipped: %s is not installed", c.name)
			}
			c.run(t, w)
		})
	}
}

// A home is one client's: its files, its environment.
type home struct {
	t   *testing.T
	w   *realWorld
	dir string
	env []string
}

func (w *realWorld) home(t *testing.T, folder string, env ...string) *home {
	t.Helper()
	h := &home{t: t, w: w, dir: t.TempDir()}
	path := []string{w.bin, filepath.Join(w.clients, folder, "node_modules", ".bin"), filepath.Join(w.clients, "node", "node_modules", ".bin"), "/usr/bin", "/bin"}
	h.env = append([]string{"HOME=" + h.dir, "XDG_CONFIG_HOME=" + filepath.Join(h.dir, ".config"), "PATH=" + strings.Join(path, ":"), "LANG=C.UTF-8", "BROWSER=browser", "TMPDIR=" + h.dir, "NO_PROXY=*"}, env...)
	return h
}

func (h *home) write(name, text string) string {
	h.t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// config writes what `querywarden config` prints for a client.
func (h *home) config(name string, args ...string) string {
	h.t.Helper()
	return h.write(name, h.configText(args...))
}

func (h *home) configText(args ...string) string {
	h.t.Helper()
	var out, errs bytes.Buffer
	if run(h.t.Context(), append([]string{"config", "--url", h.w.url}, args...), streams{strings.NewReader(""), &out, &errs}) != 0 {
		h.t.Fatalf("config %v: %s", args, errs.String())
	}
	return out.String()
}

// run runs a program in the home, a minute at most, and returns what it
// said.
func (h *home) run(name string, args ...string) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append(append([]string{"-i"}, h.env...), append([]string{name}, args...)...)...)
	cmd.Dir = h.dir
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *home) must(name string, args ...string) string {
	h.t.Helper()
	out, err := h.run(name, args...)
	if err != nil {
		h.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// firstCustomer is the one call of the agents' script.
func firstCustomer() modeltest.Step {
	return modeltest.Step{Tool: "query", Arguments: map[string]any{"sql": "select email from customers order by id limit 1", "purpose": "who is our first customer?"}}
}

func answeredMasked(t *testing.T, m *modeltest.Server, out string) {
	t.Helper()
	results := m.Results()
	if len(results) != 1 || !strings.Contains(results[0], "***@example") || !strings.Contains(results[0], "completed") {
		t.Fatalf("the model got %q\n%s", results, out)
	}
	if !strings.Contains(out, modeltest.Done) {
		t.Fatalf("the agent did not say what the model said:\n%s", out)
	}
}

// claudeHome has what Claude Code wants before it does anything.
func claudeHome(t *testing.T, w *realWorld, m *modeltest.Server, env ...string) *home {
	h := w.home(t, "claude-code", append([]string{
		"ANTHROPIC_BASE_URL=" + m.URL(), "ANTHROPIC_API_KEY=sk-ant-none", "ENABLE_TOOL_SEARCH=false", "DISABLE_TELEMETRY=1",
		"DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
	}, env...)...)
	h.write(".claude.json", `{"hasCompletedOnboarding":true,"customApiKeyResponses":{"approved":["sk-ant-none"],"rejected":[]}}`)
	return h
}

func claudeCodeClient(t *testing.T, w *realWorld) {
	ask := func(t *testing.T, h *home, more ...string) string {
		return h.must("claude", append([]string{"-p", "Who is our first customer?", "--allowedTools", "mcp__querywarden__query", "--output-format", "stream-json", "--verbose", "--model", "claude-sonnet-4-5"}, more...)...)
	}
	strict := func(file string) []string { return []string{"--mcp-config", file, "--strict-mcp-config"} }
	t.Run("bearer", func(t *testing.T) {
		m := modeltest.Anthropic(t, firstCustomer())
		h := claudeHome(t, w, m, "QUERYWARDEN_TOKEN="+w.token("ada"))
		answeredMasked(t, m, ask(t, h, strict(h.config("mcp.json", "claude-code", "--auth", "env"))...))
	})
	t.Run("helper", func(t *testing.T) {
		m := modeltest.Anthropic(t, firstCustomer())
		h := claudeHome(t, w, m)
		h.must("querywarden", "login", w.url, "--no-keyring")
		answeredMasked(t, m, ask(t, h, strict(h.config("mcp.json", "claude-code", "--auth", "helper"))...))
	})
	t.Run("hooks", func(t *testing.T) {
		m := modeltest.Anthropic(t, firstCustomer())
		h := claudeHome(t, w, m, "QUERYWARDEN_TOKEN="+w.token("ada"))
		_, hooks, _ := strings.Cut(h.configText("claude-code", "--auth", "env", "--capture"), "\n\n")
		h.write(".claude/settings.json", hooks)
		answeredMasked(t, m, ask(t, h, strict(h.config("mcp.json", "claude-code", "--auth", "env"))...))
		out := h.must("querywarden", "audit", "export", "--config", filepath.Join(w.dir, "querywarden.yaml"))
		if !strings.Contains(out, "Who is our first customer?") || !strings.Contains(out, "toolu_0000") {
			t.Errorf("the log knows nothing of the prompt")
		}
	})
	t.Run("fifty calls", func(t *testing.T) {
		prompts, steps := fiftyCalls()
		m := modeltest.Anthropic(t, steps...)
		h := claudeHome(t, w, m, "QUERYWARDEN_TOKEN="+w.token("ada"))
		_, hooks, _ := strings.Cut(h.configText("claude-code", "--auth", "env", "--capture"), "\n\n")
		h.write(".claude/settings.json", hooks)
		file := h.config("mcp.json", "claude-code", "--auth", "env")
		linkedExactly(t, h, m, prompts, func(prompt string, more bool) string {
			args := []string{"-p", prompt, "--allowedTools", "mcp__querywarden__query", "--output-format", "stream-json", "--verbose", "--model", "claude-sonnet-4-5"}
			if args = append(args, strict(file)...); more {
				args = append(args, "--continue")
			}
			return h.must("claude", args...)
		})
	})
	t.Run("stdio", func(t *testing.T) {
		m := modeltest.Anthropic(t, firstCustomer())
		h := claudeHome(t, w, m)
		h.must("querywarden", "login", w.url, "--no-keyring")
		answeredMasked(t, m, ask(t, h, strict(h.config("mcp.json", "claude-code", "--stdio"))...))
	})
	// It signs in by itself, with a client ID metadata document or with the id
	// of a client that was registered by hand; the sign-in is then good for an
	// agent.
	for _, c := range []struct{ name, id string }{{"metadata document", ""}, {"registered", "claude-by-hand"}} {
		t.Run("sign-in, "+c.name, func(t *testing.T) {
			w.provider.AddClient(identitytest.Client{ID: "claude-by-hand", Redirects: []string{"http://localhost/callback"}})
			m := modeltest.Anthropic(t, firstCustomer())
			h := claudeHome(t, w, m)
			var entry struct {
				Servers map[string]json.RawMessage `json:"mcpServers"`
			}
			if err := json.Unmarshal([]byte(h.configText("claude-code", "--client-id", c.id)), &entry); err != nil {
				t.Fatal(err)
			}
			h.must("claude", "mcp", "add-json", "--scope", "user", "querywarden", string(entry.Servers["querywarden"]))
			// It signs people in only where there is a terminal.
			h.must("script", "-qefc", "claude mcp login querywarden", "/dev/null")
			if out := h.must("claude", "mcp", "list"); !strings.Contains(out, "Connected") {
				t.Fatalf("the list says\n%s", out)
			}
			answeredMasked(t, m, ask(t, h))
		})
	}
}

func codexClient(t *testing.T, w *realWorld) {
	start := func(t *testing.T, m *modeltest.Server, config string, env ...string) *home {
		h := w.home(t, "codex", append([]string{"FAKE_KEY=none"}, env...)...)
		h.write(".codex/config.toml", fmt.Sprintf(`model = "gpt-5"
model_provider = "fake"
mcp_oauth_credentials_store = "file"

[model_providers.fake]
name = "fake"
base_url = "%s/v1"
env_key = "FAKE_KEY"
wire_api = "responses"
supports_websockets = false

%s`, m.URL(), config))
		return h
	}
	ask := func(h *home, more ...string) string {
		return h.must("codex", append(more, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust", "Who is our first customer?")...)
	}
	text := (&home{t: t, w: w}).configText
	t.Run("bearer", func(t *testing.T) {
		m := modeltest.OpenAI(t, firstCustomer())
		answeredMasked(t, m, ask(start(t, m, text("codex", "--auth", "env"), "QUERYWARDEN_TOKEN="+w.token("ada"))))
	})
	t.Run("bearer, 2026-07-28", func(t *testing.T) {
		m := modeltest.OpenAI(t, firstCustomer())
		answeredMasked(t, m, ask(start(t, m, text("codex", "--auth", "env"), "QUERYWARDEN_TOKEN="+w.token("ada")), "--enable", "mcp_2026_07_28"))
	})
	t.Run("helper", func(t *testing.T) {
		m := modeltest.OpenAI(t, firstCustomer())
		h := start(t, m, text("codex", "--auth", "helper"))
		h.must("querywarden", "login", w.url, "--no-keyring")
		answeredMasked(t, m, ask(h))
	})
	t.Run("stdio", func(t *testing.T) {
		m := modeltest.OpenAI(t, firstCustomer())
		h := start(t, m, text("codex", "--stdio"))
		h.must("querywarden", "login", w.url, "--no-keyring")
		answeredMasked(t, m, ask(h))
	})
	t.Run("fifty calls", func(t *testing.T) {
		prompts, steps := fiftyCalls()
		m := modeltest.OpenAI(t, steps...)
		config, hooks, _ := strings.Cut(text("codex", "--auth", "env", "--capture"), "\n\n")
		h := start(t, m, config+"\n", "QUERYWARDEN_TOKEN="+w.token("ada"))
		h.write(".codex/hooks.json", hooks)
		linkedExactly(t, h, m, prompts, func(prompt string, more bool) string {
			args := []string{"exec"}
			if more {
				args = append(args, "resume", "--last")
			}
			return h.must("codex", append(args, "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust", prompt)...)
		})
	})
	for _, c := range []struct{ name, id, registration string }{{"registers itself", "", "dcr"}, {"metadata document", "", "cimd"}, {"registered", "codex-by-hand", "auto"}} {
		t.Run("sign-in, "+c.name, func(t *testing.T) {
			w.provider.AddClient(identitytest.Client{ID: "codex-by-hand", Redirects: []string{"http://127.0.0.1:3118/callback"}})
			m := modeltest.OpenAI(t, firstCustomer())
			h := start(t, m, text("codex", "--client-id", c.id))
			h.must("codex", "mcp", "login", "querywarden", "--oauth-client-registration", c.registration)
			answeredMasked(t, m, ask(h))
		})
	}
}

func geminiClient(t *testing.T, w *realWorld) {
	for _, args := range [][]string{{"gemini", "--auth", "env"}, {"gemini", "--stdio"}} {
		t.Run(args[1], func(t *testing.T) {
			h := w.home(t, "gemini", "QUERYWARDEN_TOKEN="+w.token("ada"))
			settings := strings.Replace(h.configText(args...), "{", `{"security":{"folderTrust":{"enabled":false}},`, 1)
			h.write(".gemini/settings.json", settings)
			if out := h.must("gemini", "mcp", "list"); !strings.Contains(out, "querywarden") || !strings.Contains(out, "Connected") || strings.Contains(out, "Disconnected") {
				t.Fatalf("the list says\n%s", out)
			}
		})
	}
}

// sdk runs client.mjs and checks what it saw.
func (h *home) sdk(modules string, args ...string) (saw struct {
	Protocol string   `json:"protocol"`
	Tools    []string `json:"tools"`
	Rows     [][]any  `json:"rows"`
	Status   string   `json:"status"`
	Client   string   `json:"client_id"`
	Resource string   `json:"resource"`
}) {
	h.t.Helper()
	script, err := filepath.Abs("testdata/realclients/client.mjs")
	if err != nil {
		h.t.Fatal(err)
	}
	h.env = append(h.env, "MODULES="+filepath.Join(h.w.clients, modules, "node_modules"))
	out := h.must("node", append([]string{script, h.w.url}, args...)...)
	// What it starts talks in between.
	_, line, _ := strings.Cut("\n"+out, "\n{\"protocol\"")
	line, _, _ = strings.Cut(line, "\n")
	if err := json.Unmarshal([]byte(`{"protocol"`+line), &saw); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	if len(saw.Rows) != 1 || !strings.HasPrefix(fmt.Sprint(saw.Rows[0][0]), "***@") || saw.Status != "completed" || !slices.Contains(saw.Tools, "query") {
		h.t.Fatalf("it saw %s", out)
	}
	h.t.Logf("protocol %s, client id %q", saw.Protocol, saw.Client)
	return saw
}

// typescriptClient is the SDK's client of either generation.
func typescriptClient(folder, version string) func(*testing.T, *realWorld) {
	return func(t *testing.T, w *realWorld) {
		t.Run("bearer", func(t *testing.T) { w.home(t, folder).sdk(folder, version, "bearer", w.token("ada")) })
		t.Run("stdio", func(t *testing.T) {
			w.home(t, folder, "QUERYWARDEN_TOKEN="+w.token("ada")).sdk(folder, version, "stdio", "querywarden", "connect", w.url)
		})
		w.provider.AddClient(identitytest.Client{ID: "by-hand", Redirects: []string{"http://127.0.0.1:3999/callback"}})
		for _, c := range []struct{ how, id string }{{"dcr", "registered-"}, {"cimd", "https://client.example.com/metadata.json"}, {"by-hand", "by-hand"}} {
			t.Run("sign-in, "+c.how, func(t *testing.T) {
				saw := w.home(t, folder).sdk(folder, version, "oauth", c.how)
				if !strings.HasPrefix(saw.Client, c.id) || saw.Resource != w.url {
					t.Errorf("it came as %q, for %q", saw.Client, saw.Resource)
				}
			})
		}
	}
}

// mcpRemoteClient is a bridge that others wrote, between the SDK's client and
// the gateway.
func mcpRemoteClient(t *testing.T, w *realWorld) {
	t.Run("bearer", func(t *testing.T) {
		w.home(t, "mcp-remote").sdk("ts-sdk", "v1", "stdio", "mcp-remote", w.url, "--allow-http", "--transport", "http-only", "--header", "Authorization: Bearer "+w.token("ada"))
	})
	t.Run("sign-in, registers itself", func(t *testing.T) {
		w.home(t, "mcp-remote").sdk("ts-sdk", "v1", "stdio", "mcp-remote", w.url, "--allow-http", "--transport", "http-only")
	})
}
