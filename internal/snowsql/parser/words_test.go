package parser

import (
	"go/ast"
	goparser "go/parser"
	gotoken "go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"querywarden/internal/snowsql/token"
)

// TestWords reads the parser's source: each word that it looks for is one that
// the scanner marks. A word that is missing from the scanner's table would be
// looked for in vain.
func TestWords(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`^[A-Z_][A-Z0-9_]*( [A-Z_][A-Z0-9_]*)*( =)?$`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := goparser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != gotoken.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || !words.MatchString(text) {
				return true
			}
			for _, word := range strings.Fields(strings.TrimSuffix(text, " =")) {
				found++
				if tok := token.NewScanner(word).Next(); tok.Word != word {
					t.Errorf("%s: the scanner does not know %s", file, word)
				}
			}
			return true
		})
	}
	if found < 300 {
		t.Errorf("only %d words found", found)
	}
}
