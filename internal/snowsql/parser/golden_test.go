package parser

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"querywarden/internal/snowsql/ast"
)

var update = flag.Bool("update", false, "rewrite testdata of the tests that run")

// TestGolden reads each construct's file: statements, and behind each one its
// printed form and its tree, or the error. Every file cites its page of
// Snowflake's reference.
func TestGolden(t *testing.T) {
	files := goldenFiles(t)
	if len(files) < 100 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			before, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(before.Comment), "docs.snowflake.com/") {
				t.Error("no page of the reference is cited")
			}
			after := &txtar.Archive{Comment: before.Comment}
			for _, f := range before.Files {
				if f.Name != "sql" {
					continue
				}
				after.Files = append(after.Files, f)
				after.Files = append(after.Files, outcome(t, strings.TrimSuffix(string(f.Data), "\n"))...)
			}
			want, got := txtar.Format(before), txtar.Format(after)
			switch {
			case string(got) == string(want):
			case *update:
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("the trees are others (go test -run %s -update rewrites them):\n%s", t.Name(), firstDifference(string(want), string(got)))
			}
		})
	}
}

// outcome is what becomes of a statement.
func outcome(t *testing.T, sql string) []txtar.File {
	stmt, err := ParseStatement(sql)
	var perr *Error
	if errors.As(err, &perr) {
		return []txtar.File{{Name: "error", Data: []byte(perr.Render(sql) + "\n")}}
	}
	checkFixpoint(t, stmt)
	checkPositions(t, sql, stmt)
	text, err := ast.Print(stmt, ast.Snowflake)
	if err != nil {
		t.Error(err)
	}
	var tree strings.Builder
	dump(&tree, reflect.ValueOf(stmt), 0)
	return []txtar.File{{Name: "print", Data: []byte(text + "\n")}, {Name: "tree", Data: []byte(strings.TrimPrefix(tree.String(), "\n") + "\n")}}
}

func goldenFiles(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// goldenInputs are the statements of all files that can be read.
func goldenInputs(t testing.TB) []string {
	var list []string
	for _, file := range goldenFiles(t) {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range a.Files {
			if f.Name == "sql" && i+1 < len(a.Files) && a.Files[i+1].Name == "print" {
				list = append(list, strings.TrimSuffix(string(f.Data), "\n"))
			}
		}
	}
	return list
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\n got %s", i+1, w[i], strings.Join(g[min(i, len(g)):min(i+3, len(g))], "\n     "))
		}
	}
	return "there is more than was wanted"
}

// dump writes a tree without its places: a node's type and its fields that are
// set, those that are short on one line.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch node := v.Addr().Interface().(type) {
	case *ast.Ident:
		b.WriteString(ident(node))
		return
	case *ast.ObjectName:
		if node.Dynamic == nil {
			b.WriteString(idents(node.Parts))
			return
		}
	case *ast.ColumnRef:
		b.WriteString(idents(node.Parts))
		return
	case *ast.Literal:
		fmt.Fprintf(b, "%s(%q)", [...]string{"null", "bool", "number", "string"}[node.Kind], node.Value)
		return
	case *ast.Tokens:
		b.WriteString("tokens")
		for _, l := range node.List {
			if l.Part == nil {
				fmt.Fprintf(b, " %s", strings.TrimSpace(l.Text))
				continue
			}
			line(b, depth+1)
			dump(b, reflect.ValueOf(l.Part), depth+1)
		}
		return
	}
	b.WriteString(v.Type().Name())
	fields(b, v, depth)
}

func fields(b *strings.Builder, v reflect.Value, depth int) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case name == "Span", f.IsZero():
		case name == "Tail":
			fields(b, f, depth)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String:
			fmt.Fprintf(b, " %s:%s", name, strings.Join(f.Interface().([]string), ","))
		case f.Kind() == reflect.Slice:
			for k := range f.Len() {
				if e := f.Index(k); !e.IsZero() {
					line(b, depth+1)
					fmt.Fprintf(b, "%s: ", name)
					dump(b, e, depth+1)
				}
			}
			if f.Len() == 0 {
				fmt.Fprintf(b, " %s:[]", name)
			}
		case f.Kind() == reflect.Bool:
			b.WriteString(" " + name)
		case f.Kind() == reflect.Interface, f.Kind() == reflect.Pointer:
			line(b, depth+1)
			fmt.Fprintf(b, "%s: ", name)
			dump(b, f, depth+1)
		default:
			fmt.Fprintf(b, " %s:%v", name, f.Interface())
		}
	}
}

func line(b *strings.Builder, depth int) { b.WriteString("\n" + strings.Repeat("  ", depth)) }

func ident(i *ast.Ident) string {
	if i == nil {
		return ""
	}
	if i.Quoted {
		return `"` + i.Name + `"`
	}
	return i.Name
}

func idents(parts []*ast.Ident) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = ident(p)
	}
	return strings.Join(texts, ".")
}
