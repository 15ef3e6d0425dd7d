//go:build cgo

package mcp

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"querywarden/policy"
	"querywarden/tools"
)

// The suite of attacks, run for real: each file's statements go through the
// MCP server over HTTP, in two worlds that differ in the secrets alone. An
// answer that differs has told something; so has a canary in any byte of it.

const attackPolicy = `
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
`

// attackTables makes the tables anew, with the secrets of one world.
func attackTables(secrets [3]string, hidden string) string {
	var b strings.Builder
	b.WriteString(`DROP DATABASE IF EXISTS db; CREATE DATABASE db; CREATE SCHEMA db.s; USE SCHEMA db.s;
		CREATE TABLE c (id NUMBER, name VARCHAR, ssn VARCHAR, email VARCHAR, born DATE, data VARIANT, d NUMBER);
		CREATE TABLE o (id NUMBER, cid NUMBER, region VARCHAR, amount NUMBER(12,2), name VARCHAR);
		CREATE TABLE p (id NUMBER, title VARCHAR);
		CREATE VIEW v AS SELECT id, ssn AS number, data FROM c;
		CREATE VIEW w AS SELECT v.id, UPPER(v.number) AS title, o.amount FROM v LEFT JOIN o ON o.cid = v.id;
		INSERT INTO o VALUES (1, 1, 'EU', 10, 'n1'), (2, 2, 'EU', 20, 'n3');
		INSERT INTO p VALUES (1, 'one'), (2, 'two'), (3, NULL);
	`)
	for i, s := range secrets {
		fmt.Fprintf(&b, "INSERT INTO c SELECT %d, 'n%d', '%s', 'm%s@x.org', DATE '199%d-0%d-01', PARSE_JSON('{\"k\": \"%s\"}'), %d;\n", i+1, i+1, s, s, i, len(s)%9+1, s, len(s))
	}
	return b.String() + hidden + ";"
}

// The canaries are nowhere but in the masked columns and the hidden rows.
var (
	canaries = [2][3]string{{"913-57-2468", "4", "qzx"}, {"864-20-9753", "913-57-2468", ""}}
	hidden   = [2]string{`INSERT INTO o VALUES (3, 3, 'US', 77191, 'n2')`, `INSERT INTO o VALUES (4, 1, 'US', -58323, 'n1'), (5, 1, 'US', 64747, NULL)`}
)

// shapes are the forms that a value may leave in.
func shapes(secret string) []string {
	reversed := []byte(secret)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	m, s1, s2 := md5.Sum([]byte(secret)), sha1.Sum([]byte(secret)), sha256.Sum256([]byte(secret))
	list := []string{
		secret, string(reversed), base64.RawStdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
		hex.EncodeToString(m[:]), hex.EncodeToString(s1[:]), hex.EncodeToString(s2[:]),
	}
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, secret)
	for i := 0; i+4 <= len(digits); i++ {
		list = append(list, digits[i:i+4])
	}
	return list
}

// own is what no two answers share and no data is in: references to the log,
// the warehouse's ids, the hashes of approvals.
var own = regexp.MustCompile(`("(?:audit|query_id)":"|audit: |query id: )[0-9a-f:-]+`)

type attackWorld struct {
	*world
	wire  wire
	setup string
}

func newAttackWorld(t *testing.T, i int, rules string) *attackWorld {
	t.Helper()
	p, err := policy.Parse([]byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	a := &attackWorld{setup: attackTables(canaries[i], hidden[i])}
	a.world = newWorld(t, func(_ *Config, c *tools.Config) { c.Policy, c.Database, c.Schema = p, "DB", "S" })
	a.wire = wire{url: a.url, token: a.token(t, "agent")}.open(t)
	a.reset(t)
	return a
}

// reset makes the tables anew, after statements that changed them.
func (a *attackWorld) reset(t *testing.T) {
	t.Helper()
	if err := a.account.Exec(t.Context(), a.setup); err != nil {
		t.Fatal(err)
	}
	if err := a.gate.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ask returns all bytes of an answer but those that are no two answers'.
func (a *attackWorld) ask(t *testing.T, tool string, args map[string]any) (answer string, status string) {
	t.Helper()
	_, _, body := a.wire.send(t, toolCall(1, tool, args, nil))
	var reply struct {
		Result struct{ StructuredContent struct{ Status string } }
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return own.ReplaceAllString(body, "$1"), reply.Result.StructuredContent.Status
}

// unordered is an answer with its rows in the order of their texts: a query
// without ORDER BY may answer in any.
func unordered(t *testing.T, body string) string {
	t.Helper()
	var reply struct {
		Result struct {
			Content           []struct{ Text string }
			StructuredContent map[string]any
			IsError           bool
		}
		Error any
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for i, c := range reply.Result.Content {
		lines := strings.Split(c.Text, "\n")
		slices.Sort(lines)
		reply.Result.Content[i].Text = strings.Join(lines, "\n")
	}
	if rows, ok := reply.Result.StructuredContent["rows"].([]any); ok {
		slices.SortFunc(rows, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return fmt.Sprintf("%+v", reply)
}

// statements of the files of attacks, one after the other.
func attackFiles(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../internal/snowsql/rewrite/testdata/attacks/*.txtar")
	if err != nil || len(files) < 300 {
		t.Fatalf("%d files of attacks, %v", len(files), err)
	}
	out := map[string][]string{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "sql" {
				out[filepath.Base(file)] = append(out[filepath.Base(file)], strings.TrimSpace(string(f.Data)))
			}
		}
	}
	return out
}

func TestAttacks(t *testing.T) {
	a, b := newAttackWorld(t, 0, attackPolicy), newAttackWorld(t, 1, attackPolicy)
	var forms []string
	for _, world := range canaries {
		for _, secret := range world {
			if len(secret) > 4 {
				forms = append(forms, shapes(secret)...)
			}
		}
	}
	forms = append(forms, "77191", "58323", "64747")
	statuses := map[string]int{}
	check := func(name, tool string, args map[string]any) (status string) {
		t.Helper()
		x, status := a.ask(t, tool, args)
		y, _ := b.ask(t, tool, args)
		statuses[status]++
		if unordered(t, x) != unordered(t, y) {
			t.Errorf("%s: the worlds differ\n%v\n%s\n%s", name, args, x, y)
		}
		for _, answer := range []string{x, y} {
			for _, form := range forms {
				// What the agent wrote itself comes back to it in messages.
				if strings.Contains(answer, form) && !strings.Contains(fmt.Sprint(args), form) {
					t.Errorf("%s: the answer holds %s\n%v\n%s", name, form, args, answer)
				}
			}
		}
		return status
	}
	for name, steps := range attackFiles(t) {
		changed := false
		for _, sql := range steps {
			status := check(name, "query", map[string]any{"sql": sql, "purpose": "an attack"})
			changed = changed || status == "completed" && !bytes.HasPrefix(bytes.ToLower([]byte(sql)), []byte("select"))
		}
		if changed {
			for _, table := range []string{"c", "o", "p", "v", "w"} {
				check(name, "describe_table", map[string]any{"table": table})
			}
			check(name, "list_tables", map[string]any{})
			a.reset(t)
			b.reset(t)
		}
	}
	check("a dry run", "query", map[string]any{"sql": "select * from w", "dry_run": true})
	t.Logf("answers: %v", statuses)
	if statuses["completed"] < 250 || statuses["denied"] < 50 {
		t.Errorf("too few of a kind to prove anything: %v", statuses)
	}
}

// TestAttackOracle: without masks and filters, the same checks find leaks.
func TestAttackOracle(t *testing.T) {
	_, rules, _ := strings.Cut(attackPolicy, "rules:")
	open := "version: 1\nrules:" + rules
	a, b := newAttackWorld(t, 0, open), newAttackWorld(t, 1, open)
	for sql, form := range map[string]string{
		"select reverse(ssn) from c":                                  "8642-75-319",
		"select md5(ssn) from c where id = 1":                         shapes("913-57-2468")[4],
		"select hex_encode(ssn) from c":                               "3931332D35372D32343638",
		"select right(ssn, 4) from c":                                 "2468",
		"select sum(amount) from o":                                   "77221",
		"select count(*) from c where ssn = '913-57-2468' and id = 1": "",
	} {
		x, status := a.ask(t, "query", map[string]any{"sql": sql})
		y, _ := b.ask(t, "query", map[string]any{"sql": sql})
		if status != "completed" || x == y || !strings.Contains(x, form) {
			t.Errorf("%s: nothing was found: %s\n%s\n%s", sql, status, x, y)
		}
	}
	body := `{"audit":"5:d2c840a52101831c","rows":1,"x":"audit: 5:d2c840a52101831c"}`
	if got := own.ReplaceAllString(body, "$1"); got != `{"audit":"","rows":1,"x":"audit: "}` {
		t.Errorf("%s", got)
	}
}
