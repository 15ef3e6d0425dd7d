package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"querywarden/internal/client"
)

// A clientSetup is what somebody pastes to make a client use a gateway.
type clientSetup struct {
	url      string
	name     string // what the client calls the gateway
	stdio    bool   // through `querywarden connect`, not by itself
	auth     string // how the client gets its token: oauth, env or helper
	clientID string // of the client at the issuer, empty if it registers itself
}

// A document is the text of one file, or of one field of a form.
type document struct {
	place string // where it goes
	text  string
	note  string // what to know about it, empty if nothing
}

// A setupClient is one that this program knows to set up. What is written here
// comes from each client's own documentation; the tests name the pages.
type setupClient struct {
	name    string
	auths   []string // of a remote gateway, the first unless told otherwise; nil if it takes none by file
	setup   func(clientSetup) (document, error)
	capture func(clientSetup) (document, error) // nil if there is nothing to capture with
}

// clientPatience is how long clients let a call take that waits for a person, in
// seconds: as long as an approval stays open by default.
const clientPatience = 1800

// redirectPort is where the browser comes back to, of clients that are
// registered by hand with one redirect.
const redirectPort = 3118

func setupClients() []setupClient {
	return []setupClient{
		{"claude-code", []string{"oauth", "env", "helper"}, claudeCode, claudeHooks},
		{"claude-desktop", nil, claudeDesktop, nil},
		{"cursor", []string{"oauth"}, cursor, cursorHooks},
		{"devin", []string{"oauth"}, devin, devinHooks},
		{"codex", []string{"oauth", "env", "helper"}, codex, codexHooks},
		{"vscode", []string{"oauth", "env"}, vscode, nil},
		{"windsurf", []string{"oauth", "env"}, windsurf, nil},
		{"gemini", []string{"oauth", "env"}, gemini, nil},
	}
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// runConfig prints what to paste into a client's configuration. Standard output
// holds nothing else; where it goes is said on standard error.
func runConfig(_ context.Context, args []string, std streams) error {
	fs := newFlags("config", std)
	var a access
	fs.StringVar(&a.url, "url", "", "the gateway's `URL` (default "+urlVariable+")")
	name := fs.String("name", "querywarden", "what the client calls the gateway")
	remote := fs.Bool("remote", false, "the client speaks to the gateway itself")
	stdio := fs.Bool("stdio", false, "the client starts `querywarden connect`, which does")
	auth := fs.String("auth", "", "how the client gets its token: oauth (it signs in), env ("+client.TokenVariable+") or helper (`querywarden token`)")
	id := fs.String("client-id", "", "the client's `id` at the issuer, where clients cannot register themselves")
	capture := fs.Bool("capture", false, "print the hooks that tell the gateway what was asked, too")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range setupClients() {
		names = append(names, c.name)
	}
	if len(rest) != 1 || !slices.Contains(names, rest[0]) {
		return usagef("config needs one client: %s", strings.Join(names, ", "))
	}
	c := setupClients()[slices.Index(names, rest[0])]
	u, err := a.address()
	switch {
	case err != nil:
		return err
	case *remote && *stdio:
		return usagef("--remote and --stdio exclude each other")
	case *stdio && *auth != "":
		return usagef("--auth is for --remote: with --stdio `querywarden connect` finds its token")
	case !serverName.MatchString(*name):
		return usagef("--name is 1 to 64 letters, digits, - and _: it becomes part of the tools' names")
	}
	s := clientSetup{url: u.String(), name: *name, clientID: *id, auth: *auth, stdio: *stdio}
	switch {
	case s.stdio:
	case c.auths == nil:
		s.stdio = !*remote
	case s.auth == "":
		s.auth = c.auths[0]
	case !slices.Contains(c.auths, s.auth):
		return usagef("%s takes --auth %s, or --stdio", c.name, strings.Join(c.auths, ", "))
	}
	documents := []func(clientSetup) (document, error){c.setup}
	if *capture {
		if c.capture == nil {
			return fmt.Errorf("%s has no hooks that could tell the gateway what was asked", c.name)
		}
		documents = append(documents, c.capture)
	}
	for i, make := range documents {
		d, err := make(s)
		if err != nil {
			return fmt.Errorf("writing the configuration: %w", err)
		}
		if i > 0 {
			fmt.Fprintln(std.err)
			fmt.Fprintln(std.out)
		}
		fmt.Fprintf(std.err, "querywarden: %s\n", d.place)
		if d.note != "" {
			fmt.Fprintf(std.err, "querywarden: %s\n", d.note)
		}
		fmt.Fprint(std.out, d.text)
	}
	return nil
}

// A member is one of a JSON object whose members keep their order.
type member struct {
	name  string
	value any
}

type object []member

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{m.name, m.value} {
			var part bytes.Buffer
			e := json.NewEncoder(&part)
			e.SetEscapeHTML(false) // people read it
			if err := e.Encode(v); err != nil {
				return nil, err
			}
			if j == 1 {
				b.WriteByte(':')
			}
			b.Write(bytes.TrimSpace(part.Bytes()))
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// jsonDocument lays an object out for people.
func jsonDocument(place, note string, o object) (document, error) {
	compact, err := o.MarshalJSON()
	if err != nil {
		return document{}, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return document{}, err
	}
	b.WriteByte('\n')
	return document{place: place, text: b.String(), note: note}, nil
}

// connect is the entry of a client that starts a program.
func (s clientSetup) connect() object {
	return object{{"command", "querywarden"}, {"args", []string{"connect", s.url}}}
}

func (s clientSetup) under(key string, entry object) object {
	return object{{key, object{{s.name, entry}}}}
}

const signInNote = "the client signs in by itself when it connects; --client-id where clients cannot register themselves at your issuer"

func (s clientSetup) note() string {
	switch {
	case s.stdio:
		return "sign in once with: querywarden login " + s.url
	case s.auth == "env":
		return "it reads " + client.TokenVariable + " from the environment that the client starts in"
	case s.auth == "helper":
		return "it runs `querywarden token`; sign in once with: querywarden login " + s.url
	case s.clientID == "":
		return signInNote
	default:
		return ""
	}
}

func bearerHeader(token string) object {
	return object{{"Authorization", "Bearer " + token}}
}

func claudeCode(s clientSetup) (document, error) {
	entry, note := append(object{{"type", "stdio"}}, s.connect()...), s.note()
	if !s.stdio {
		entry = object{{"type", "http"}, {"url", s.url}}
		switch s.auth {
		case "env":
			entry = append(entry, member{"headers", bearerHeader("${" + client.TokenVariable + "}")})
		case "helper":
			entry = append(entry, member{"headersHelper", "querywarden token --json"})
		default:
			if s.clientID != "" {
				entry = append(entry, member{"oauth", object{{"clientId", s.clientID}, {"callbackPort", redirectPort}}})
				note = fmt.Sprintf("the client's redirect at the issuer is http://localhost:%d/callback", redirectPort)
			}
		}
	}
	entry = append(entry, member{"timeout", clientPatience * 1000})
	return jsonDocument(".mcp.json in the project, or the same keys in ~/.claude.json", note, s.under("mcpServers", entry))
}

func claudeDesktop(s clientSetup) (document, error) {
	if !s.stdio {
		return document{
			place: "Settings > Connectors > Add custom connector, as its URL",
			text:  s.url + "\n",
			note:  "connectors are called from Anthropic's network, so the gateway has to be reachable from there; where it is not, use --stdio",
		}, nil
	}
	return jsonDocument("claude_desktop_config.json: Settings > Developer > Edit Config", s.note(), s.under("mcpServers", s.connect()))
}

func cursor(s clientSetup) (document, error) {
	entry := s.connect()
	if !s.stdio {
		entry = object{{"url", s.url}}
		if s.clientID != "" {
			entry = append(entry, member{"auth", object{{"CLIENT_ID", s.clientID}}})
		}
	}
	return jsonDocument(".cursor/mcp.json in the project, or ~/.cursor/mcp.json", s.note(), s.under("mcpServers", entry))
}

func devin(s clientSetup) (document, error) {
	entry, note := s.connect(), s.note()
	if !s.stdio {
		entry = object{{"url", s.url}, {"transport", "http"}}
		note = "then: devin mcp login " + s.name + ". Devin in the cloud: Settings > Connections > MCP servers > Add a custom MCP, HTTP, this URL, OAuth; the whole organisation shares that sign-in"
	}
	return jsonDocument(".devin/config.json in the project, or ~/.config/devin/config.json", note, s.under("mcpServers", entry))
}

func vscode(s clientSetup) (document, error) {
	entry := append(object{{"type", "stdio"}}, s.connect()...)
	whole := object{}
	if !s.stdio {
		entry = object{{"type", "http"}, {"url", s.url}}
		switch {
		case s.auth == "env":
			entry = append(entry, member{"headers", bearerHeader("${env:" + client.TokenVariable + "}")})
		case s.clientID != "":
			entry = append(entry, member{"oauth", object{{"clientId", s.clientID}}})
		}
	}
	whole = append(whole, s.under("servers", entry)...)
	return jsonDocument(".vscode/mcp.json in the project, or mcp.json of the user profile (MCP: Open User Configuration)", s.note(), whole)
}

func windsurf(s clientSetup) (document, error) {
	entry := s.connect()
	if !s.stdio {
		entry = object{{"serverUrl", s.url}}
		if s.auth == "env" {
			entry = append(entry, member{"headers", bearerHeader("${env:" + client.TokenVariable + "}")})
		}
	}
	return jsonDocument("~/.codeium/windsurf/mcp_config.json", s.note(), s.under("mcpServers", entry))
}

func gemini(s clientSetup) (document, error) {
	entry := s.connect()
	if !s.stdio {
		entry = object{{"url", s.url}, {"type", "http"}}
		switch {
		case s.auth == "env":
			entry = append(entry, member{"headers", bearerHeader("$" + client.TokenVariable)})
		case s.clientID != "":
			entry = append(entry, member{"oauth", object{{"enabled", true}, {"clientId", s.clientID}}})
		}
	}
	entry = append(entry, member{"timeout", clientPatience * 1000})
	return jsonDocument("~/.gemini/settings.json, or .gemini/settings.json in the project", s.note(), s.under("mcpServers", entry))
}

func codex(s clientSetup) (document, error) {
	var b strings.Builder
	table := "mcp_servers." + s.name
	fmt.Fprintf(&b, "[%s]\n", table)
	if s.stdio {
		fmt.Fprintf(&b, "command = %q\nargs = [%q, %s]\n", "querywarden", "connect", tomlString(s.url))
	} else {
		fmt.Fprintf(&b, "url = %s\n", tomlString(s.url))
		switch s.auth {
		case "env":
			fmt.Fprintf(&b, "bearer_token_env_var = %q\n", client.TokenVariable)
		case "helper":
			fmt.Fprintf(&b, "http_headers_helper = %s\n", tomlString(s.tokenCommand()))
		}
		// The resource that a token is for Codex takes from the gateway's
		// metadata; with oauth_resource it would name it twice.
	}
	fmt.Fprintf(&b, "tool_timeout_sec = %d\n", clientPatience)
	note := s.note()
	if !s.stdio && s.auth == "oauth" {
		note = "then: codex mcp login " + s.name
		if s.clientID != "" {
			redirect := fmt.Sprintf("http://127.0.0.1:%d/callback", redirectPort)
			fmt.Fprintf(&b, "\n[%s.oauth]\nclient_id = %s\ncallback_port = %d\ncallback_url = %q\n", table, tomlString(s.clientID), redirectPort, redirect)
			note += "; the client's redirect at the issuer is " + redirect
		}
	}
	return document{place: "~/.codex/config.toml", text: b.String(), note: note}, nil
}

// tomlString writes a basic string of TOML, which quotes what JSON quotes.
func tomlString(s string) string { return strconv.QuoteToASCII(s) }

// hook is the command that a client runs with what happens in it.
func (s clientSetup) hook(client string) string {
	return "querywarden hook " + client + " --url " + shellWord(s.url)
}

// tokenCommand is the command that prints the headers of a request.
func (s clientSetup) tokenCommand() string {
	return "querywarden token --json --url " + shellWord(s.url)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.,:/@%+=-]+$`)

// shellWord quotes a word for the shell that clients give commands to.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// root is the gateway without its path.
func (s clientSetup) root() string {
	u, err := url.Parse(s.url)
	if err != nil {
		return s.url
	}
	u.Path = ""
	return u.String()
}

// handlers are a hook's entry in the files of Claude Code and of those that
// follow it.
func (s clientSetup) handlers(client string, events []string) object {
	var hooks object
	for _, event := range events {
		entry := object{}
		if strings.HasSuffix(event, "ToolUse") {
			entry = append(entry, member{"matcher", "mcp__" + s.name + "__.*"})
		}
		handler := object{{"type", "command"}, {"command", s.hook(client)}, {"timeout", 5}}
		hooks = append(hooks, member{event, []object{append(entry, member{"hooks", []object{handler}})}})
	}
	return hooks
}

const captureNote = "what is sent is recorded as the client's word, and decides nothing"

func claudeHooks(s clientSetup) (document, error) {
	return jsonDocument(".claude/settings.json in the project, ~/.claude/settings.json, or managed settings", captureNote, object{
		{"hooks", s.handlers("claude", []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SessionEnd"})},
		{"env", object{
			{"CLAUDE_CODE_ENABLE_TELEMETRY", "1"},
			{"OTEL_LOGS_EXPORTER", "otlp"},
			{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"},
			{"OTEL_EXPORTER_OTLP_ENDPOINT", s.root()},
			{"OTEL_LOG_USER_PROMPTS", "1"},
			{"OTEL_LOG_TOOL_DETAILS", "1"},
		}},
		{"otelHeadersHelper", s.tokenCommand()},
	})
}

func codexHooks(s clientSetup) (document, error) {
	return jsonDocument("~/.codex/hooks.json", captureNote+"; Codex asks once whether it may run them", object{
		{"hooks", s.handlers("codex", []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"})},
	})
}

func cursorHooks(s clientSetup) (document, error) {
	var hooks object
	for _, event := range []string{"beforeSubmitPrompt", "beforeMCPExecution", "afterMCPExecution", "afterAgentResponse"} {
		hooks = append(hooks, member{event, []object{{{"command", s.hook("cursor")}}}})
	}
	return jsonDocument(".cursor/hooks.json in the project, or ~/.cursor/hooks.json", captureNote, object{{"version", 1}, {"hooks", hooks}})
}

func devinHooks(s clientSetup) (document, error) {
	return jsonDocument(".devin/hooks.v1.json in the project", captureNote, s.handlers("devin", []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SessionEnd"}))
}
