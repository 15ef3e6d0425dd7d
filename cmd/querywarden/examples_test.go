package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"querywarden/internal/identity/identitytest"
)

// workflow is a workflow of GitHub Actions, as far as the example uses its
// syntax: docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
type workflow struct {
	Name string `yaml:"name"`
	On   struct {
		Schedule []struct {
			Cron string `yaml:"cron"`
		} `yaml:"schedule"`
		Dispatch *struct{} `yaml:"workflow_dispatch"`
	} `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Concurrency string            `yaml:"concurrency"`
	Jobs        map[string]struct {
		RunsOn  string            `yaml:"runs-on"`
		Timeout int               `yaml:"timeout-minutes"`
		Env     map[string]string `yaml:"env"`
		Steps   []struct {
			Name string            `yaml:"name"`
			Uses string            `yaml:"uses"`
			Run  string            `yaml:"run"`
			With map[string]string `yaml:"with"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// TestExampleCI runs the report of the example's workflow: with a token as
// GitHub makes it for that job, at a gateway with the example's configuration
// and policy, over the demo's warehouse. A job of another repository gets
// nothing.
func TestExampleCI(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, "examples", "ci", name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var flow workflow
	if err := yaml.UnmarshalWithOptions(read("github-actions.yml"), &flow, yaml.DisallowUnknownField()); err != nil {
		t.Fatalf("the workflow: %v", err)
	}
	if flow.Permissions["id-token"] != "write" || len(flow.On.Schedule) != 1 {
		t.Errorf("the workflow may %v, on %v", flow.Permissions, flow.On)
	}
	job := flow.Jobs["report"]
	script := ""
	for _, step := range job.Steps {
		if step.Name == "report" {
			script = step.Run
		}
	}
	if strings.Count(script, "querywarden query ") != 2 {
		t.Fatalf("the report is\n%s", script)
	}

	// The gateway: all of the example's but the account, the place and who
	// signs GitHub's tokens.
	github := identitytest.New(t)
	dir := filepath.Join(t.TempDir(), "demo")
	logger := slog.New(slog.DiscardHandler)
	d, err := openDemo(t.Context(), dir, "127.0.0.1:0", logger)
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	if err := errors.Join(d.close(t.Context()), os.WriteFile(filepath.Join(dir, "policy.yaml"), read("policy.yaml"), 0o600)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "querywarden.yaml")
	if err := os.WriteFile(file, read("querywarden.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Resource != job.Env["QUERYWARDEN_URL"] {
		t.Errorf("the job asks %s, the gateway is %s", job.Env["QUERYWARDEN_URL"], c.Resource)
	}
	rule := c.Identity.Issuers[0].Rules[0].Claims
	c.Listen, c.Resource = d.listener.Addr().String(), "http://"+d.listener.Addr().String()+"/mcp"
	c.Warehouse = warehouseConfig{Emulator: "warehouse"}
	c.Identity.Issuers[0].URL = github.URL()
	serveWorld(t, c, d.listener)

	claims := map[string]any{
		"sub": "repo:acme/reports:ref:refs/heads/main", "repository": "acme/reports", "ref": "refs/heads/main", "event_name": "schedule",
		"repository_id": rule["repository_id"], "repository_owner_id": rule["repository_owner_id"], "job_workflow_ref": rule["job_workflow_ref"],
	}
	for name, good := range map[string]bool{"the job": true, "a job elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			claims := maps.Clone(claims)
			if !good {
				claims["repository_id"] = "75"
			}
			token := github.Sign(map[string]any{"typ": "JWT"}, merged(claims, github.URL(), c.Resource))
			mint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"value":%q}`, token) }))
			defer mint.Close()
			bin, work := clientsPath(t), t.TempDir()
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-e", "-c", script)
			cmd.Dir = work
			cmd.Env = []string{
				"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + work, "GITHUB_ACTIONS=true", "QUERYWARDEN_URL=" + c.Resource,
				"ACTIONS_ID_TOKEN_REQUEST_URL=" + mint.URL + "/?api-version=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=x",
			}
			out, err := cmd.CombinedOutput()
			if !good {
				if err == nil || !strings.Contains(string(out), "querywarden: error: ") {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			text, err := os.ReadFile(filepath.Join(work, "revenue.csv"))
			if err != nil || !strings.HasPrefix(string(text), "REGION,ORDERS,REVENUE\nAMER,") {
				t.Errorf("%v: %s", err, text)
			}
			if info, err := os.Stat(filepath.Join(work, "revenue.parquet")); err != nil || info.Size() == 0 {
				t.Error(err)
			}
		})
	}
}

// clientsPath is a folder with this program in it, under its name.
func clientsPath(t *testing.T, more ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range append([]string{"querywarden"}, more...) {
		if err := os.Symlink(exe, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// merged are claims with those that every token has.
func merged(claims map[string]any, issuer, audience string) map[string]any {
	now := time.Now()
	all := map[string]any{"iss": issuer, "aud": audience, "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	maps.Copy(all, claims)
	return all
}
