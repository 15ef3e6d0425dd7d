package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"querywarden": main, "browser": browserMain, "xdg-open": browserMain})
}

// TestScripts runs every promise of the command line. The scripts are in
// testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: scriptCommands})
}

// TestInspector lets a client that nobody here wrote list and call the tools,
// over HTTP and over stdio. It needs npm, and a registry that answers.
func TestInspector(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, and this installs packages with npm")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("skipped: npm is not here")
	}
	bin, err := inspector()
	if err != nil {
		t.Skipf("skipped: the inspector cannot be installed: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/inspector", Cmds: scriptCommands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}

// inspector installs the inspector, and a Node that it runs on, in a folder
// that is kept between runs.
var inspector = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "querywarden-test", "inspector-2.12.0")
	bin := filepath.Join(dir, "node_modules", ".bin")
	if _, err := os.Stat(filepath.Join(bin, "mcp-inspector")); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	npm := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--loglevel=error", "node@22", "@modelcontextprotocol/inspector@2.12.0")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", &hinted{err, string(out)}
	}
	return bin, nil
})

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	// answers URL waits until the URL answers 200.
	"answers": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: answers URL")
		}
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			res, err := http.Get(args[0])
			if err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return
				}
			}
		}
		ts.Fatalf("%s does not answer", args[0])
	},
	// decide-at CONFIG approve|deny REASON waits for a request and answers it, as
	// somebody on the gateway's host would.
	"decide-at": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 3 {
			ts.Fatalf("usage: decide-at CONFIG approve|deny REASON")
		}
		(&clientWorld{dir: filepath.Dir(ts.MkAbs(args[0]))}).decide(ts, false, args[1:])
	},
	// setenv-from NAME FILE sets a variable to a file's text.
	"setenv-from": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: setenv-from NAME FILE")
		}
		text := ts.ReadFile(args[1])
		for len(text) > 0 && text[len(text)-1] == '\n' {
			text = text[:len(text)-1]
		}
		ts.Setenv(args[0], text)
	},
}
