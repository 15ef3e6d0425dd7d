package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// edges says which package may import which of ours, and outsiders which
// foreign module belongs to which package alone. A new package or a new edge
// is a change of the plan of the house and has to be made here as well.
//
// The source is read, not `go list`: a cached test result would not notice a
// new import.
var edges = map[string][]string{
	"cmd/querywarden":                {"*"},
	"mcp":                            {"tools", "policy", "internal/identity"},
	"tools":                          {"policy", "policy/mask", "audit", "approvals", "internal/snowsql/ast", "internal/snowsql/parser", "internal/snowsql/token", "internal/snowsql/resolve", "internal/snowsql/rewrite", "internal/warehouse"},
	"policy":                         {"policy/mask"},
	"policy/mask":                    {},
	"audit":                          {},
	"audit/witnesstest":              {},
	"approvals":                      {"audit", "policy"},
	"approvals/slack":                {"approvals", "audit", "policy"},
	"approvals/slack/slacktest":      {},
	"internal/identity":              {"policy"},
	"internal/identity/identitytest": {"internal/identity", "policy"},
	"internal/snowsql/token":         {},
	"internal/snowsql/ast":           {"internal/snowsql/token"},
	"internal/snowsql/parser":        {"internal/snowsql/ast", "internal/snowsql/token"},
	"internal/snowsql/resolve":       {"internal/snowsql/ast", "internal/snowsql/parser", "internal/snowsql/token", "policy", "policy/mask"},
	"internal/snowsql/rewrite":       {"internal/snowsql/ast", "internal/snowsql/parser", "internal/snowsql/token", "internal/snowsql/resolve", "policy", "policy/mask"},
	"internal/warehouse":             {"audit", "policy"},
	"internal/capture":               {"audit", "policy", "policy/mask"},
	"internal/capture/capturetest":   {},
	"internal/client":                {},
	"internal/client/format":         {"internal/client"},
	"internal/emulator":              {"internal/snowsql/ast", "internal/snowsql/parser", "internal/snowsql/token"},
	"internal/reconcile":             {"audit", "internal/warehouse"},
	"internal/console":               {"approvals", "audit", "policy", "internal/identity"},
	"internal/modeltest":             {},
	"examples":                       {},
}

var outsiders = map[string]string{
	"github.com/mark3labs/mcp-go":        "mcp",
	"github.com/snowflakedb/gosnowflake": "internal/warehouse",
	"github.com/duckdb/duckdb-go":        "internal/emulator",
	"github.com/slack-go/slack":          "approvals/slack",
	"github.com/gorilla/websocket":       "approvals/slack",
	"github.com/coreos/go-oidc":          "internal/identity",
	"github.com/zitadel/oidc":            "internal/identity/identitytest",
	"modernc.org/sqlite":                 "audit",
	"golang.org/x/oauth2":                "internal/identity internal/client",
	"go.opentelemetry.io/proto":          "internal/capture",
	"github.com/zalando/go-keyring":      "internal/client",
	"github.com/apache/arrow-go":         "internal/client/format internal/warehouse internal/emulator",
	"golang.org/x/term":                  "cmd/querywarden",
}

func TestImports(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		// Tests may reach for the real thing wherever it stands.
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(rel))
		allowed, known := edges[pkg]
		if !known {
			t.Errorf("%s: package %s is not in the plan of who may import whom", rel, pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imported, "querywarden/"); ok {
				if !slices.Contains(allowed, "*") && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s, which %s may not", rel, ours, pkg)
				}
				continue
			}
			for module, owner := range outsiders {
				// A double of what a module speaks to lies below the module's owner.
				owned := slices.ContainsFunc(strings.Fields(owner), func(o string) bool { return pkg == o || pkg == o+"/"+path.Base(o)+"test" })
				if (imported == module || strings.HasPrefix(imported, module+"/")) && !owned {
					t.Errorf("%s imports %s, which belongs to %s alone", rel, imported, owner)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no source file was read: this test looked in the wrong place")
	}
}

// moduleRoot returns the folder of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(path.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fs.ErrNotExist
		}
		dir = parent
	}
}
