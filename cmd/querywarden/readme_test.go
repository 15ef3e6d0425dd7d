package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"querywarden/examples"
	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
)

// blocks returns the README's fenced blocks of a language.
func blocks(t *testing.T, text, language string) []string {
	t.Helper()
	var out []string
	for _, part := range strings.Split(text, "\n```"+language+"\n")[1:] {
		body, _, ok := strings.Cut(part, "\n```")
		if !ok {
			t.Fatalf("a block of %s is not closed", language)
		}
		out = append(out, body)
	}
	if out == nil {
		t.Fatalf("the README has no block of %s", language)
	}
	return out
}

// TestReadme holds the README's snippets to what they claim.
func TestReadme(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	if n := strings.Count(readme, "\n"); n >= 350 {
		t.Errorf("the README has %d lines", n)
	}
	for _, b := range blocks(t, readme, "json") {
		if !json.Valid([]byte(b)) {
			t.Errorf("not JSON: %s", b)
		}
	}
	for _, b := range blocks(t, readme, "sql") {
		if _, err := parser.ParseScript(b); err != nil {
			t.Errorf("%v", err)
		}
	}
	configs, parts, policies := 0, 0, 0
	for _, b := range blocks(t, readme, "yaml") {
		if strings.HasPrefix(b, "version:") {
			policies++
			if _, err := policy.Parse([]byte(b)); err != nil {
				t.Errorf("the policy: %v", err)
			}
			continue
		}
		if !strings.Contains(b, "data:") { // part of one
			parts++
			b = string(examples.Config) + "\n" + b
		} else {
			configs++
		}
		var c config
		if err := yaml.UnmarshalWithOptions([]byte(b), &c, yaml.DisallowUnknownField()); err != nil {
			t.Errorf("the configuration: %v", err)
		} else if err := c.check(); err != nil {
			t.Errorf("the configuration: %v", err)
		}
	}
	if configs != 1 || parts != 1 || policies != 1 {
		t.Errorf("%d configurations, %d parts and %d policies", configs, parts, policies)
	}
	// Every command of ours that it shows is one that there is.
	known := map[string]bool{}
	for _, c := range commands() {
		known[c.name] = true
	}
	shown := 0
	for _, b := range blocks(t, readme, "sh") {
		for line := range strings.Lines(b) {
			words := strings.Fields(line)
			if len(words) > 2 && words[0] == "go" {
				words = words[2:]
				words[0] = "querywarden"
			}
			if len(words) < 2 || words[0] != "querywarden" {
				continue
			}
			shown++
			if !known[words[1]] {
				t.Errorf("there is no such command: %s", line)
			}
		}
	}
	if shown < 8 {
		t.Errorf("only %d commands were found", shown)
	}
}

// TestReadmeExplain runs the README's example of explain.
func TestReadmeExplain(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), `--as analysts "SELECT id FROM customers WHERE ssn = '078-05-1120'"`+"\n```\n\n```\n")
	if !ok {
		t.Fatal("the README explains another statement")
	}
	example, _, _ = strings.Cut(example, "\n```")
	d, err := openDemo(t.Context(), filepath.Join(t.TempDir(), "demo"), "127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	file := filepath.Join(d.dir, "querywarden.yaml")
	if err := errors.Join(d.listener.Close(), d.close(t.Context())); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	args := []string{"explain", "--config", file, "--as", "analysts", "SELECT id FROM customers WHERE ssn = '078-05-1120'"}
	if status := run(t.Context(), args, streams{strings.NewReader(""), &out, &errs}); status != 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	for line := range strings.SplitSeq(example, "\n") {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("the README shows %q, explain says\n%s", line, out.String())
		}
	}
}

// TestDependencies wants each direct dependency justified in CONTRIBUTING.md.
func TestDependencies(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		module, _, ok := strings.Cut(strings.TrimSpace(line), " v")
		if !ok || strings.HasSuffix(strings.TrimSpace(line), "// indirect") {
			continue
		}
		direct++
		if base := path.Base(module); strings.Trim(base, "v0123456789") == "" {
			module = path.Dir(module) // the major version
		}
		if name := strings.TrimPrefix(module, "github.com/"); !strings.Contains(string(text), name) {
			t.Errorf("CONTRIBUTING.md does not say why there is %s", name)
		}
	}
	if direct < 10 {
		t.Errorf("only %d direct dependencies were found", direct)
	}
}
