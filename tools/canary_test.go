//go:build cgo

package tools_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// canaryPolicy is that of the attack suite of package rewrite.
const canaryPolicy = `
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
`

// canaryData is the world of the attack suite, with secrets that nobody could
// know.
const canaryData = `
	CREATE DATABASE IF NOT EXISTS db; DROP SCHEMA IF EXISTS db.s; CREATE SCHEMA db.s;
	CREATE OR REPLACE TABLE db.s.c (id NUMBER(38,0), name VARCHAR, ssn VARCHAR, email VARCHAR, born DATE, data VARIANT, d NUMBER(38,0));
	INSERT INTO db.s.c SELECT 1, 'n1', 'CANARY-SSN-1', 'canary-mail-1@x.org', '1991-01-01'::DATE, PARSE_JSON('{"k": "CANARY-DATA-1"}'), 770001770001;
	INSERT INTO db.s.c SELECT 2, 'n2', 'CANARY-SSN-2', 'canary-mail-2@x.org', '1992-02-01'::DATE, PARSE_JSON('{"k": "CANARY-DATA-2"}'), 770002770002;
	CREATE OR REPLACE TABLE db.s.o (id NUMBER(38,0), cid NUMBER(38,0), region VARCHAR, amount NUMBER(12,2), name VARCHAR);
	INSERT INTO db.s.o VALUES (1, 1, 'EU', 10, 'n1'), (2, 2, 'EU', 20, 'n2'), (3, 3, 'US', 77, 'CANARY-ROW-3');
	CREATE OR REPLACE TABLE db.s.p (id NUMBER(38,0), title VARCHAR);
	INSERT INTO db.s.p VALUES (1, 'one'), (2, 'two'), (3, NULL);
	CREATE OR REPLACE VIEW db.s.v AS SELECT id, ssn AS number, data FROM db.s.c;
	CREATE OR REPLACE VIEW db.s.w AS SELECT v.id, UPPER(v.number) AS title, o.amount FROM db.s.v v LEFT JOIN db.s.o o ON o.cid = v.id;`

var canaries = []string{"CANARY-SSN-1", "CANARY-SSN-2", "canary-mail-1", "canary-mail-2", "CANARY-DATA-1", "CANARY-DATA-2", "770001770001", "770002770002", "CANARY-ROW-3"}

// TestCanaries runs the attack suite through the gate against the embedded
// account, which looks at everything that it replies: what a mask hides does
// not even reach the gateway.
func TestCanaries(t *testing.T) {
	p, err := policy.Parse([]byte(canaryPolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, canaryData, p)
	w.config.Database, w.config.Schema = "DB", "S"
	gate, err := tools.Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close(context.Background())
	w.account.Watch(canaries...)
	files, err := filepath.Glob("../internal/snowsql/rewrite/testdata/attacks/*.txtar")
	if err != nil || len(files) < 300 {
		t.Fatalf("%d attacks, %v", len(files), err)
	}
	ran, statements := 0, 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dirty := false
		for _, f := range archive.Files {
			if f.Name != "sql" {
				continue
			}
			statements++
			sql := strings.TrimSpace(string(f.Data))
			a := gate.Query(t.Context(), ada, tools.QueryRequest{SQL: sql})
			if a.Status == tools.Completed {
				ran++
				for _, secret := range canaries {
					if strings.Contains(a.Rows.String(), secret) {
						t.Errorf("%s\n%s\nanswers %s", file, sql, secret)
					}
				}
			}
			if err := a.Rows.Close(); err != nil {
				t.Error(err)
			}
			for _, leak := range w.account.Leaks() {
				t.Errorf("%s\n%s\nlets %s leave the account, by\n%s", file, sql, leak.Secret, leak.Statement)
			}
			verb, _, _ := strings.Cut(strings.ToLower(sql), " ")
			dirty = dirty || verb != "select" && verb != "with"
		}
		if dirty {
			if err := w.account.Exec(t.Context(), canaryData); err != nil {
				t.Fatal(err)
			}
			if err := gate.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d files, %d statements, %d ran", len(files), statements, ran)
	if ran < 50 {
		t.Errorf("only %d statements ran", ran)
	}
	// The canaries sing when they should.
	open, err := policy.Parse([]byte(strings.ReplaceAll(openPolicy, "retail", "db")))
	if err != nil {
		t.Fatal(err)
	}
	w.config.Policy = open
	raw, err := tools.Open(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close(context.Background())
	a := raw.Query(t.Context(), ada, tools.QueryRequest{SQL: "SELECT c.*, o.name AS n FROM c, o"})
	a.Rows.Close()
	heard := map[string]bool{}
	for _, leak := range w.account.Leaks() {
		heard[leak.Secret] = true
	}
	for _, secret := range canaries {
		// Numbers are not text in Arrow.
		if !heard[secret] && !strings.HasPrefix(secret, "77") {
			t.Errorf("%s left unheard: %s %s", secret, a.Code, a.Message)
		}
	}
}

// TestWiderAnswer: columns that nobody has judged are not returned.
func TestWiderAnswer(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	const sql = "SELECT id, name FROM customers"
	if a := w.query(sql); a.Status != tools.Completed {
		t.Fatalf("%+v", a.Answer)
	}
	w.account.Break(emulator.Breakage{Fault: emulator.Wider, Containing: "CUSTOMERS"})
	for range 2 {
		a := w.query(sql)
		if a.Status != tools.Failed || a.Code != tools.CodeShape || a.Rows.Len() > 0 || strings.Contains(a.Message, "EXTRA") {
			t.Errorf("a wider answer: %+v, %d rows", a.Answer, a.Rows.Len())
		}
		a.Rows.Close()
	}
	w.account.Mend()
	if a := w.query(sql); a.Status != tools.Completed {
		t.Errorf("afterwards: %+v", a.Answer)
	}
}
