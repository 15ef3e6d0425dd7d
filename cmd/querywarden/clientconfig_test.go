package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"querywarden/internal/client"
)

// The shapes that clients read, from their documentation. What a client does
// not know may not be there: decoding is strict.
type (
	// code.claude.com/docs/en/mcp, "Project scope", "Pre-configured OAuth
	// credentials", "Dynamic headers for custom authentication"
	claudeCodeShape struct {
		Servers map[string]struct {
			Type    string            `json:"type"`
			URL     string            `json:"url"`
			Headers map[string]string `json:"headers"`
			Helper  string            `json:"headersHelper"`
			OAuth   *struct {
				ClientID string `json:"clientId"`
				Port     int    `json:"callbackPort"`
			} `json:"oauth"`
			Command string   `json:"command"`
			Args    []string `json:"args"`
			Timeout int      `json:"timeout"` // ms
		} `json:"mcpServers"`
	}
	// modelcontextprotocol.io/docs/develop/connect-local-servers
	claudeDesktopShape struct {
		Servers map[string]struct {
			Command string            `json:"command"`
			Args    []string          `json:"args"`
			Env     map[string]string `json:"env"`
		} `json:"mcpServers"`
	}
	// cursor.com/docs/context/mcp, "Using mcp.json", "Static OAuth"
	cursorShape struct {
		Servers map[string]struct {
			URL     string            `json:"url"`
			Headers map[string]string `json:"headers"`
			Auth    *struct {
				ClientID string   `json:"CLIENT_ID"`
				Secret   string   `json:"CLIENT_SECRET"`
				Scopes   []string `json:"scopes"`
			} `json:"auth"`
			Command string            `json:"command"`
			Args    []string          `json:"args"`
			Env     map[string]string `json:"env"`
		} `json:"mcpServers"`
	}
	// docs.devin.ai/cli, "MCP servers"
	devinShape struct {
		Servers map[string]struct {
			URL       string            `json:"url"`
			Transport string            `json:"transport"`
			Headers   map[string]string `json:"headers"`
			Command   string            `json:"command"`
			Args      []string          `json:"args"`
		} `json:"mcpServers"`
	}
	// code.visualstudio.com/docs/copilot/reference/mcp-configuration
	vscodeShape struct {
		Servers map[string]struct {
			Type    string            `json:"type"`
			URL     string            `json:"url"`
			Headers map[string]string `json:"headers"`
			OAuth   *struct {
				ClientID string `json:"clientId"`
			} `json:"oauth"`
			Command string   `json:"command"`
			Args    []string `json:"args"`
		} `json:"servers"`
	}
	// docs.windsurf.com/windsurf/cascade/mcp
	windsurfShape struct {
		Servers map[string]struct {
			URL     string            `json:"serverUrl"`
			Headers map[string]string `json:"headers"`
			Command string            `json:"command"`
			Args    []string          `json:"args"`
		} `json:"mcpServers"`
	}
	// github.com/google-gemini/gemini-cli, docs/tools/mcp-server.md
	geminiShape struct {
		Servers map[string]struct {
			Type    string            `json:"type"`
			URL     string            `json:"url"`
			Headers map[string]string `json:"headers"`
			OAuth   *struct {
				Enabled  bool   `json:"enabled"`
				ClientID string `json:"clientId"`
			} `json:"oauth"`
			Command string   `json:"command"`
			Args    []string `json:"args"`
			Timeout int      `json:"timeout"` // ms
		} `json:"mcpServers"`
	}

	hookHandlers []struct {
		Matcher string `json:"matcher"`
		Hooks   []struct {
			Type    string `json:"type"`
			Command string `json:"command"`
			Timeout int    `json:"timeout"` // s
		} `json:"hooks"`
	}
	// code.claude.com/docs/en/hooks and /settings
	claudeHooksShape struct {
		Hooks   map[string]hookHandlers `json:"hooks"`
		Env     map[string]string       `json:"env"`
		Headers string                  `json:"otelHeadersHelper"`
	}
	// developers.openai.com/codex/hooks
	codexHooksShape struct {
		Hooks map[string]hookHandlers `json:"hooks"`
	}
	// cursor.com/docs/agent/hooks
	cursorHooksShape struct {
		Version int `json:"version"`
		Hooks   map[string][]struct {
			Command    string `json:"command"`
			Timeout    int    `json:"timeout"`
			FailClosed bool   `json:"failClosed"`
		} `json:"hooks"`
	}
	// docs.devin.ai/cli, "Hooks"
	devinHooksShape map[string]hookHandlers
)

// configOf is what `querywarden config` prints.
func configOf(t *testing.T, args ...string) (out, said string, status int) {
	t.Helper()
	var o, e strings.Builder
	status = run(t.Context(), append([]string{"config"}, args...), streams{strings.NewReader(""), &o, &e})
	return o.String(), e.String(), status
}

// strictly decodes the next document, and refuses what its shape does not have.
func strictly(t *testing.T, d *json.Decoder, shape any) {
	t.Helper()
	d.DisallowUnknownFields()
	if err := d.Decode(shape); err != nil {
		t.Fatalf("%T: %v", shape, err)
	}
}

const gateURL = "https://gate.example.com/mcp"

// TestConfigShapes reads each form of each configuration as its client would.
func TestConfigShapes(t *testing.T) {
	shapes := map[string]struct{ config, hooks any }{
		"claude-code":    {&claudeCodeShape{}, &claudeHooksShape{}},
		"claude-desktop": {&claudeDesktopShape{}, nil},
		"cursor":         {&cursorShape{}, &cursorHooksShape{}},
		"devin":          {&devinShape{}, &devinHooksShape{}},
		"vscode":         {&vscodeShape{}, nil},
		"windsurf":       {&windsurfShape{}, nil},
		"gemini":         {&geminiShape{}, nil},
		"codex":          {nil, &codexHooksShape{}},
	}
	for _, c := range setupClients() {
		shape, known := shapes[c.name]
		if !known {
			t.Errorf("nothing is known of the shape that %s reads", c.name)
			continue
		}
		forms := [][]string{{"--stdio"}, {"--remote", "--client-id", "abc", "--name", "gate_2"}}
		for _, auth := range c.auths {
			forms = append(forms, []string{"--auth", auth})
		}
		for _, form := range forms {
			t.Run(c.name+" "+strings.Join(form, " "), func(t *testing.T) {
				args := append([]string{c.name, "--url", gateURL}, form...)
				if c.capture != nil {
					args = append(args, "--capture")
				}
				out, said, status := configOf(t, args...)
				if status != 0 || said == "" {
					t.Fatalf("status %d: %s", status, said)
				}
				if c.name == "claude-desktop" && form[0] == "--remote" {
					if out != gateURL+"\n" {
						t.Errorf("the URL to paste is %q", out)
					}
					return
				}
				if !strings.Contains(out, gateURL) {
					t.Errorf("the gateway is nowhere in\n%s", out)
				}
				rest := out
				if c.name == "codex" {
					var table string
					table, rest, _ = strings.Cut(out, "\n{")
					rest = "{" + rest
					checkTOML(t, table)
				}
				d := json.NewDecoder(strings.NewReader(rest))
				if shape.config != nil {
					strictly(t, d, shape.config)
				}
				if shape.hooks != nil {
					strictly(t, d, shape.hooks)
				}
				if _, err := d.Token(); err != io.EOF {
					t.Errorf("there is more: %v", err)
				}
			})
		}
	}
}

// tomlLine is a line of the part of TOML that Codex' configuration is written
// in: a table, or a key with a string, a number or an array of strings, which
// are written as in JSON.
var tomlLine = regexp.MustCompile(`^(?:\[([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\]|([a-z_]+) = (.+))$`)

func checkTOML(t *testing.T, text string) {
	t.Helper()
	// developers.openai.com/codex/config-reference, mcp_servers
	known := map[string]string{
		"command": "", "args": "", "url": "", "bearer_token_env_var": "", "http_headers_helper": "", "tool_timeout_sec": "",
		"client_id": ".oauth", "callback_port": ".oauth", "callback_url": ".oauth",
	}
	table := ""
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		m := tomlLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not TOML: %s", line)
		}
		if m[1] != "" {
			table = m[1]
			continue
		}
		suffix, ok := known[m[2]]
		if !ok || strings.HasSuffix(table, ".oauth") != (suffix == ".oauth") {
			t.Errorf("[%s] knows no %s", table, m[2])
		}
		if !json.Valid([]byte(m[3])) {
			t.Errorf("not a value: %s", m[3])
		}
	}
}

// TestConfigWords are calls that make no sense, and URLs that a shell would
// read otherwise.
func TestConfigWords(t *testing.T) {
	for want, args := range map[string][]string{
		"config needs one client: claude-code, ": {},
		"config needs one client":                {"emacs", "--url", gateURL},
		"which gateway":                          {"cursor"},
		"exclude each other":                     {"cursor", "--url", gateURL, "--remote", "--stdio"},
		"--auth is for --remote":                 {"codex", "--url", gateURL, "--auth", "env", "--stdio"},
		"cursor takes --auth oauth":              {"cursor", "--url", gateURL, "--auth", "env"},
		"--name is 1 to 64":                      {"cursor", "--url", gateURL, "--name", `x"; rm`},
		"is not encrypted":                       {"cursor", "--url", "http://gate.example.com"},
		"vscode has no hooks":                    {"vscode", "--url", gateURL, "--capture"},
	} {
		t.Setenv("QUERYWARDEN_URL", "")
		out, said, status := configOf(t, args...)
		if status == 0 || out != "" || !strings.Contains(said, want) {
			t.Errorf("%v: status %d: %s%s", args, status, out, said)
		}
	}
	out, said, _ := configOf(t, "codex", "--url", "https://gate.example.com/a;$(id)'b/mcp", "--auth", "helper")
	if !strings.Contains(out, `--url 'https://gate.example.com/a;$(id)'\\''b/mcp'`) {
		t.Errorf("a shell would run the URL:\n%s%s", out, said)
	}
}

// TestExampleClients holds examples/clients to what `querywarden config`
// prints.
func TestExampleClients(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "examples", "clients")
	examples := map[string][]string{ // files, the second with the hooks
		"claude-code":    {"claude-code.mcp.json", "claude-code.settings.json"},
		"claude-desktop": {"claude_desktop_config.json"},
		"cursor":         {"cursor.mcp.json", "cursor.hooks.json"},
		"devin":          {"devin.config.json", "devin.hooks.v1.json"},
		"codex":          {"codex.config.toml", "codex.hooks.json"},
		"vscode":         {"vscode.mcp.json"},
		"windsurf":       {"windsurf.mcp_config.json"},
		"gemini":         {"gemini.settings.json"},
	}
	there := map[string]bool{}
	for _, c := range setupClients() {
		setup := clientSetup{url: gateURL, name: "querywarden", stdio: c.auths == nil, auth: "oauth"}
		for i, make := range []func(clientSetup) (document, error){c.setup, c.capture} {
			if make == nil {
				continue
			}
			if i >= len(examples[c.name]) {
				t.Errorf("%s has no example", c.name)
				continue
			}
			want, err := make(setup)
			if err != nil {
				t.Fatal(err)
			}
			name := examples[c.name][i]
			there[name] = true
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(got, []byte(want.text)) {
				t.Errorf("%s is not what `querywarden config %s` prints: %v\n%s", name, c.name, err, want.text)
			}
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !there[f.Name()] {
			t.Errorf("nothing checks %s", f.Name())
		}
	}
}

// TestConfigVariable is the variable that configurations name.
func TestConfigVariable(t *testing.T) {
	out, _, _ := configOf(t, "claude-code", "--url", gateURL, "--auth", "env")
	if !strings.Contains(out, "Bearer ${"+client.TokenVariable+"}") {
		t.Errorf("the configuration names another variable:\n%s", out)
	}
}
