package resolve_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

// TestCorpora resolves statements that others wrote. Whatever they are, they
// end in facts or problems, and what was made of the tree still prints.
func TestCorpora(t *testing.T) {
	for _, file := range []string{"docs_official.jsonl", "sqlfluff.jsonl"} {
		f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "corpus", file))
		if errors.Is(err, os.ErrNotExist) {
			t.Skipf("skipped: the corpus %s is not at hand", file)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<24)
		seen, clean := 0, 0
		for lines.Scan() {
			var row struct{ SQL string }
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatal(err)
			}
			stmts, err := parser.ParseScript(row.SQL)
			if err != nil {
				continue
			}
			for _, stmt := range stmts {
				seen++
				res := resolve.Resolve(stmt, shop, resolve.Context{Database: "DB", Schema: "S"})
				if res.Statement.Class == policy.Unknown && len(res.Statement.Problems) == 0 {
					t.Errorf("nobody knows what this is, and nobody minds: %s", row.SQL)
				}
				if len(res.Statement.Problems) == 0 {
					clean++
				}
				if _, err := ast.Print(stmt, ast.Snowflake); err != nil {
					t.Errorf("%s: %v", row.SQL, err)
				}
			}
		}
		t.Logf("%s: %d statements, %d without a problem", file, seen, clean)
		if seen == 0 {
			t.Errorf("%s holds no statement that parses", file)
		}
	}
}
