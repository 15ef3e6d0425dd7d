package parser

import (
	"slices"
	"strings"
	"testing"

	"github.com/xwb1989/sqlparser"

	"querywarden/internal/snowsql/ast"
)

// TestOracle compares this parser with one that others wrote, wherever both
// read a statement: what kind it is, and which tables it names.
//
// That parser reads MySQL's dialect. It takes "ssn" for a string and a
// backslash otherwise, so that a column would vanish from its tree: it may
// never judge a statement, and here it sees none with quotes or backslashes in
// it. What is left reads the same in both dialects.
func TestOracle(t *testing.T) {
	compared := map[string]int{}
	for _, src := range everyInput(t) {
		if strings.ContainsAny(src, "\"\\`#$|") || strings.Contains(src, "//") {
			continue
		}
		ours, err := ParseStatement(src)
		if err != nil {
			continue
		}
		theirs, err := sqlparser.ParseStrictDDL(strings.TrimRight(src, "; \n"))
		if err != nil {
			continue
		}
		kind, want := theirKind(theirs), theirTables(theirs)
		if kind == "" {
			continue
		}
		compared[kind]++
		if got := ourKind(ours); got != kind {
			t.Errorf("%s\nis %s, the other parser says %s", src, got, kind)
		}
		if got := ourTables(ours); !slices.Equal(got, want) {
			t.Errorf("%s\nnames %v, the other parser says %v", src, got, want)
		}
	}
	t.Logf("compared: %v", compared)
	if compared["query"] < 60 || compared["insert"] < 2 || compared["update"] < 1 || compared["delete"] < 1 {
		t.Errorf("too little to compare: %v", compared)
	}
}

func theirKind(s sqlparser.Statement) string {
	switch s := s.(type) {
	case *sqlparser.Select, *sqlparser.Union, *sqlparser.ParenSelect:
		return "query"
	case *sqlparser.Insert:
		return "insert"
	case *sqlparser.Update:
		return "update"
	case *sqlparser.Delete:
		return "delete"
	case *sqlparser.DDL:
		if s.Action == sqlparser.DropStr || s.Action == sqlparser.TruncateStr {
			return s.Action
		}
	}
	return ""
}

func ourKind(s ast.Statement) string {
	switch s.(type) {
	case *ast.QueryStmt:
		return "query"
	case *ast.Insert:
		return "insert"
	case *ast.Update:
		return "update"
	case *ast.Delete:
		return "delete"
	case *ast.Drop:
		return sqlparser.DropStr
	case *ast.Truncate:
		return sqlparser.TruncateStr
	default:
		return "other"
	}
}

// theirTables walks the other parser's tree for names of tables.
func theirTables(s sqlparser.Statement) []string {
	var names []string
	add := func(n sqlparser.TableName) {
		if name := n.Name.String(); name != "" && name != "dual" { // dual stands for no FROM
			names = append(names, strings.ToUpper(name))
		}
	}
	if ddl, ok := s.(*sqlparser.DDL); ok {
		add(ddl.Table)
		return names
	}
	// Walk ends without an error: the visitor never returns one.
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) {
		switch n := n.(type) {
		case *sqlparser.AliasedTableExpr:
			if name, ok := n.Expr.(sqlparser.TableName); ok {
				add(name)
			}
		case *sqlparser.Insert:
			add(n.Table)
		case *sqlparser.Delete:
			for _, target := range n.Targets {
				add(target)
			}
		}
		return true, nil
	}, s)
	return sorted(names)
}

func ourTables(s ast.Statement) []string {
	var names []string
	add := func(n *ast.ObjectName) {
		if n.Dynamic == nil {
			if name := n.Parts[len(n.Parts)-1].Fold(); name != "DUAL" {
				names = append(names, name)
			}
		}
	}
	ast.Inspect(s, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Table:
			add(n.Name)
		case *ast.Insert:
			add(n.Target)
		case *ast.Update:
			add(n.Target)
		case *ast.Delete:
			add(n.Target)
		case *ast.Drop:
			add(n.Name)
		case *ast.Truncate:
			add(n.Name)
		}
		return true
	})
	return sorted(names)
}

// sorted returns the names in order, each once.
func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
