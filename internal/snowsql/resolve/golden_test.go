package resolve_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

var update = flag.Bool("update", false, "rewrite testdata/golden")

// account is what the golden statements resolve against.
var account = func() *resolve.Catalog {
	in := func(database, schema string, t policy.Table) policy.Table {
		t.Database, t.Schema = database, schema
		return t
	}
	typed := func(t policy.Table, types ...string) policy.Table {
		for i, typ := range types {
			t.Columns[i].Type = typ
		}
		return t
	}
	orders := typed(relation(policy.TableObject, "O", "", "ID", "CID", "AMOUNT", "PAID"), "NUMBER(38,0)", "NUMBER(10,0)", "NUMBER(12,2)", "BOOLEAN")
	orders.Comment = "one row an order"
	return resolve.NewCatalog([]policy.Table{
		typed(relation(policy.TableObject, "C", "", "ID", "NAME", "SSN", "DATA"), "NUMBER(38,0)", "VARCHAR(80)", "BINARY(16)", "VARIANT"),
		orders,
		relation(policy.TableObject, "mixed Case", "", "ID", "a b", "a B"),
		relation(policy.TableObject, "ONLY_NAMED_AS_HIDDEN", "", "ID"),
		in("DB", "PUBLIC", relation(policy.TableObject, "P", "", "ID", "K")),
		in("DB", "T", relation(policy.TableObject, "C", "", "ID", "OTHER")),
		in("E", "S", relation(policy.TableObject, "C", "", "ID", "FAR")),
		relation(policy.ViewObject, "V", "create view v (id, number) as select id, ssn from c", "ID", "NUMBER"),
		relation(policy.ViewObject, "W", "select v.number from v join o on o.cid = v.id", "NUMBER"),
		relation(policy.ViewObject, "SELF", "select * from self", "ID"),
		relation(policy.ViewObject, "STALE", "select id, name from c", "ID"),
		relation(policy.ViewObject, "BROKEN", "select from", "ID"),
		relation(policy.ViewObject, "VERB", "drop table c", "ID"),
		relation(policy.ViewObject, "EMPTY", "create view empty clone c", "ID"),
		relation(policy.ViewObject, "BLIND", "select id from nowhere", "ID"),
		relation(policy.ViewObject, "NO_TEXT", "", "ID"),
		secure(relation(policy.ViewObject, "LOCKED", "select id from c", "ID")),
		in("DB", "T", relation(policy.ViewObject, "NEAR", "select other from c", "OTHER")),
	})
}()

// TestGolden reads each theme's file: statements, and behind each one all that
// resolving it tells, or the error. Of what changes here, a reviewer reads the
// difference.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	statements := 0
	for _, file := range files {
		before, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		after := &txtar.Archive{Comment: before.Comment}
		for _, f := range before.Files {
			if f.Name != "sql" {
				continue
			}
			statements++
			after.Files = append(after.Files, f, txtar.File{Name: "facts", Data: []byte(told(t, strings.TrimSpace(string(f.Data))))})
		}
		got := txtar.Format(after)
		if string(got) == string(txtar.Format(before)) {
			continue
		}
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for i, f := range after.Files {
			if i >= len(before.Files) || string(before.Files[i].Data) != string(f.Data) {
				want := "nothing"
				if i < len(before.Files) {
					want = string(before.Files[i].Data)
				}
				t.Errorf("%s: %s\ngot\n%swant\n%s", filepath.Base(file), after.Files[max(i-1, 0)].Data, f.Data, want)
				break
			}
		}
	}
	if statements < 250 {
		t.Errorf("only %d statements", statements)
	}
}

// told renders a resolution whole.
func told(t *testing.T, sql string) string {
	t.Helper()
	stmt, err := parser.ParseStatement(sql)
	if err != nil {
		t.Errorf("%s: %v", sql, err)
		return "unread\n"
	}
	res := resolve.Resolve(stmt, account, resolve.Context{Database: "DB", Schema: "S", Sees: func(t policy.Table) bool {
		return !strings.Contains(t.Name, "HIDDEN")
	}})
	var b strings.Builder
	printed, err := ast.Print(res.Tree, ast.Snowflake)
	if err != nil {
		printed = err.Error()
	}
	fmt.Fprintf(&b, "%s\n%s: %s\n", printed, res.Statement.Command, facts(res.Statement))
	for _, p := range res.Statement.Problems {
		fmt.Fprintf(&b, "! %s %s\n", p.Sentence, p.Next)
	}
	if res.Missing != "" {
		fmt.Fprintf(&b, "missing %s\n", res.Missing)
	}
	references(&b, "", res.Refs)
	columns := func(what string, list []resolve.Column) {
		for _, c := range list {
			open := ""
			if c.Open {
				open = " …"
			}
			fmt.Fprintf(&b, "%s %s%s =%s\n", what, c.Name, open, from(c.Origins))
		}
	}
	columns("out", res.Output)
	columns("stored", res.Stored)
	for _, w := range res.Written {
		fmt.Fprintf(&b, "written %s.%s =%s\n", w.Object, w.Column, from(w.Origins))
	}
	return b.String()
}

// references renders the places that masks hang on.
func references(b *strings.Builder, indent string, refs []*resolve.Ref) {
	for _, r := range refs {
		fmt.Fprintf(b, "%sref %s as", indent, r.Table.Object)
		if r.Alias == nil {
			b.WriteString(" -")
		} else {
			b.WriteString(" " + r.Alias.Fold())
		}
		for _, flag := range []struct {
			is   bool
			name string
		}{{r.Slot == nil, "raw"}, {r.Whole, "whole"}, {r.Target, "target"}, {r.At() != nil, "past"}} {
			if flag.is {
				b.WriteString(" " + flag.name)
			}
		}
		for _, c := range r.Touched() {
			b.WriteString(" " + c.Name)
		}
		b.WriteByte('\n')
		if r.Query != nil {
			printed, err := ast.Print(r.Query, ast.Snowflake)
			if err != nil {
				printed = err.Error()
			}
			fmt.Fprintf(b, "%s  is %s\n", indent, printed)
			for _, c := range r.Yields {
				fmt.Fprintf(b, "%s  yields %s =%s\n", indent, c.Name, from(c.Origins))
			}
		}
		references(b, indent+"  ", r.Inside)
	}
}

func from(origins []resolve.Origin) string {
	var b strings.Builder
	for _, o := range origins {
		alias := "?"
		if o.Ref.Alias != nil {
			alias = o.Ref.Alias.Fold()
		}
		b.WriteString(" " + alias + "." + o.Column)
	}
	return b.String()
}
