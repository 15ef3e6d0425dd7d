package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"querywarden/tools"
)

var keepConformance = flag.String("conformance", "", "keep what the conformance suite writes in this `folder`")

// The suite that the protocol's authors measure implementations with.
const conformanceVersion = "0.2.0-alpha.12"

// TestConformance holds our HTTP stack, with the suite's own tools mounted on
// it, to both revisions of the protocol, and to the Tasks extension. Nothing
// that the suite knows may fail, required or not, but for what stands in
// testdata/conformance.yaml. It needs npm, and a registry that answers.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, and this installs packages with npm")
	}
	bin, err := conformance()
	if err != nil {
		t.Skipf("skipped: the conformance suite cannot be installed: %v", err)
	}
	// The suite has no word for tokens, so a proxy adds them.
	front := httptest.NewUnstartedServer(nil)
	w := newWorld(t, func(c *Config, _ *tools.Config) {
		c.AllowedHosts = []string{front.Listener.Addr().String()}
	})
	mountFixture(w.server)
	token := w.token(t, "ada")
	target, err := url.Parse(w.base)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}}
	front.Start()
	defer front.Close()
	dir := *keepConformance
	if dir == "" {
		dir = t.TempDir()
	}
	run := func(t *testing.T, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		out := filepath.Join(dir, strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()))
		command := exec.CommandContext(ctx, filepath.Join(bin, "node"), append([]string{filepath.Join(bin, "conformance"), "server", "--url", front.URL + "/mcp", "-o", out}, args...)...)
		command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + bin}
		said, err := command.CombinedOutput()
		checks, failed, expected := readChecks(t, out)
		t.Logf("%d checks, %d failed, %d failed as expected", checks, len(failed), expected)
		if err != nil || len(failed) > 0 || checks == 0 {
			t.Errorf("%v\n%s\n%s", err, strings.Join(failed, "\n"), bytes.TrimSpace(tail(said, 6000)))
		}
	}
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		args := []string{"--requirements", revision}
		if revision == "2025-11-25" {
			args = append(args, "--expected-failures", filepath.Join("testdata", "conformance.yaml"), "--timeout", "10000")
		}
		t.Run(revision, func(t *testing.T) { run(t, args...) })
	}
	for _, scenario := range []string{"lifecycle", "capability-negotiation", "wire-fields", "request-state-removal", "mrtr-input", "request-headers", "dispatch-and-envelope", "status-notifications", "required-task-error", "mrtr-composition"} {
		t.Run("tasks-"+scenario, func(t *testing.T) { run(t, "--scenario", "tasks-"+scenario) })
	}
}

func tail(text []byte, n int) []byte {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}

// readChecks counts the checks in what the suite has written, and returns those
// that failed and were not expected to.
func readChecks(t *testing.T, dir string) (checks int, failed []string, expected int) {
	t.Helper()
	known, err := os.ReadFile("testdata/conformance.yaml")
	if err != nil {
		t.Fatal(err)
	}
	isKnown := func(run string) bool {
		for line := range strings.Lines(string(known)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "- "); ok && strings.HasPrefix(run, "server-"+name+"-20") {
				return true
			}
		}
		return false
	}
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "checks.json" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var list []struct{ ID, Status, ErrorMessage string }
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		for _, c := range list {
			checks++
			if run := filepath.Base(filepath.Dir(name)); c.Status == "FAILURE" && isKnown(run) {
				expected++
			} else if c.Status == "FAILURE" {
				failed = append(failed, run+": "+c.ID+": "+c.ErrorMessage)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return checks, failed, expected
}

// conformance installs the suite, and a Node that it runs on, in a folder that
// is kept between runs.
func conformance() (string, error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "querywarden-test", "conformance-"+conformanceVersion)
	bin := filepath.Join(dir, "node_modules", ".bin")
	if _, err := os.Stat(filepath.Join(bin, "conformance")); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	npm := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--loglevel=error", "node@22.23.3", "@modelcontextprotocol/conformance@"+conformanceVersion)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return bin, nil
}
