package rewrite_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
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

var update = flag.Bool("update", false, "rewrite the outcomes in testdata/attacks")

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
    may: [read, write, modify, create, destroy, stage]
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

// An attack is a file: what it tries, where the idea is from, and statements
// one after the other with what becomes of each.
type attack struct {
	file    string
	comment []byte
	steps   []step
}

type step struct{ sql, outcome string }

// attacks reads testdata/attacks. The gateway's own tests run the same files
// against a server.
func attacks(t testing.TB) []attack {
	t.Helper()
	files, err := filepath.Glob("testdata/attacks/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out []attack
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a := attack{file: file, comment: archive.Comment}
		for _, f := range archive.Files {
			text := strings.TrimSpace(string(f.Data))
			switch f.Name {
			case "sql":
				a.steps = append(a.steps, step{sql: text})
			case "outcome":
				a.steps[len(a.steps)-1].outcome = text
			}
		}
		if !strings.Contains(string(a.comment), "\nIdea: ") || len(a.steps) == 0 {
			t.Errorf("%s: no idea, or no statement", file)
		}
		out = append(out, a)
	}
	if len(out) < 300 {
		t.Errorf("only %d attacks: the suite never shrinks", len(out))
	}
	return out
}

// TestAttacks holds what becomes of each statement: the text that would run, or
// the code of the refusal.
func TestAttacks(t *testing.T) {
	for _, a := range attacks(t) {
		archive := &txtar.Archive{Comment: a.comment}
		for _, s := range a.steps {
			runs, code := judgeWorld(t, s.sql, ast.Snowflake)
			got := string(code)
			if code == policy.CodeAllowed {
				got = runs
				if stmt, err := parser.ParseStatement(runs); err != nil {
					t.Errorf("%s: what runs does not parse: %v", a.file, err)
				} else if again, err := ast.Print(stmt, ast.Snowflake); err != nil || again != runs {
					t.Errorf("%s: what runs reads as something else:\n%s\n%s", a.file, runs, again)
				}
			}
			if got != s.outcome && !*update {
				t.Errorf("%s\n%s\n got %s\nwant %s", a.file, s.sql, got, s.outcome)
			}
			archive.Files = append(archive.Files, txtar.File{Name: "sql", Data: []byte(s.sql + "\n")}, txtar.File{Name: "outcome", Data: []byte(got + "\n")})
		}
		if *update {
			if err := os.WriteFile(a.file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
