package rewrite_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/internal/snowsql/rewrite"
	"querywarden/policy"
)

var update = flag.Bool("update", false, "rewrite the outcomes in testdata/attacks.txtar")

var worldCatalog = resolve.NewCatalog([]policy.Table{
	table("S", "C", "ID NUMBER(38,0)", "NAME VARCHAR", "SSN VARCHAR", "EMAIL VARCHAR", "BORN DATE", "DATA VARIANT", "D NUMBER(38,0)"),
	table("S", "O", "ID NUMBER(38,0)", "CID NUMBER(38,0)", "REGION VARCHAR", "AMOUNT NUMBER(12,2)", "NAME VARCHAR"),
	table("S", "P", "ID NUMBER(38,0)", "TITLE VARCHAR"),
	view("S", "V", "create view v as select id, ssn as number, data from c", "ID NUMBER(38,0)", "NUMBER VARCHAR", "DATA VARIANT"),
	view("S", "W", "select v.id, upper(v.number) as title, o.amount from v left join o on o.cid = v.id", "ID NUMBER(38,0)", "TITLE VARCHAR", "AMOUNT NUMBER(12,2)"),
})

var worldPolicy = mustParse(`
version: 1
masks:
  - columns: ["*.*.c.ssn", "*.*.c.data", "*.*.c.d"]
    mask: redact
  - columns: ["*.*.c.email"]
    mask: email
  - columns: ["*.*.c.born"]
    mask: year
filters:
  - on: [db.s.o]
    where: "region = 'EU'"
    for: everyone
rules:
  - name: all
    who: everyone
    may: [read, write, modify, create, destroy]
    on: ["db.*.*"]
    verdict: allow
`)

// judgeWorld returns what would run, or the code of the refusal.
func judgeWorld(t testing.TB, text string, dialect ast.Dialect) (runs string, code policy.Code) {
	t.Helper()
	stmt, err := parser.ParseStatement(text)
	if err != nil {
		return "", policy.CodeSyntax
	}
	res := resolve.Resolve(stmt, worldCatalog, resolve.Context{Database: "DB", Schema: "S"})
	d := worldPolicy.Decide(policy.Caller{Issuer: "i", Subject: "s"}, res.Statement, time.Time{})
	if d.Verdict == policy.Deny {
		return "", d.Reasons[0].Code
	}
	out, _, err := rewrite.Apply(res, d, []byte("key"))
	if err != nil {
		var r *rewrite.Refusal
		if !errors.As(err, &r) {
			t.Errorf("%s: %v", text, err)
			return "", policy.CodeUnsupported
		}
		return "", r.Reason.Code
	}
	runs, err = ast.Print(out, dialect)
	if err != nil {
		return "", policy.CodeUnsupported // no words for it on this engine
	}
	return runs, policy.CodeAllowed
}

// An attack is one statement that tries to see what is masked or filtered.
type attack struct{ name, sql, outcome string }

const attackFile = "testdata/attacks.txtar"

// attacks reads the file: the statement, an empty line, what becomes of it.
func attacks(t testing.TB) []attack {
	t.Helper()
	archive, err := txtar.ParseFile(attackFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []attack
	for _, f := range archive.Files {
		sql, outcome, _ := strings.Cut(string(f.Data), "\n\n")
		out = append(out, attack{f.Name, strings.TrimSpace(sql), strings.TrimSpace(outcome)})
	}
	return out
}

func TestAttacks(t *testing.T) {
	archive := &txtar.Archive{Comment: []byte("Statements that try to see what is masked (columns ssn, data, d; email and born in part)\nor filtered (orders outside of the EU), and what becomes of each.\n\n")}
	for _, a := range attacks(t) {
		runs, code := judgeWorld(t, a.sql, ast.Snowflake)
		got := string(code)
		if code == policy.CodeAllowed {
			got = runs
			if stmt, err := parser.ParseStatement(runs); err != nil {
				t.Errorf("%s: what runs does not parse: %v", a.name, err)
			} else if again, err := ast.Print(stmt, ast.Snowflake); err != nil || again != runs {
				t.Errorf("%s: what runs reads as something else:\n%s\n%s", a.name, runs, again)
			}
		}
		if got != a.outcome && !*update {
			t.Errorf("%s\n%s\n got %s\nwant %s", a.name, a.sql, got, a.outcome)
		}
		archive.Files = append(archive.Files, txtar.File{Name: a.name, Data: fmt.Appendf(nil, "%s\n\n%s\n\n", a.sql, got)})
	}
	if *update {
		if err := os.WriteFile(attackFile, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
