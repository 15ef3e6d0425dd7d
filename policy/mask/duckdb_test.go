//go:build cgo

package mask_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"pgregory.net/rapid"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/policy/mask"
)

// An engine evaluates masks: the expression is read by our parser and printed
// for DuckDB, as the gate's own tests do it.
type engine struct{ db *sql.DB }

func open(t *testing.T) engine {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE MACRO SHA2(x, bits) AS sha256(x)`); err != nil {
		t.Fatal(err)
	}
	return engine{db}
}

// value is an SQL value as text; nil is NULL.
type value = *string

func text(v value) string {
	if v == nil {
		return "NULL"
	}
	return strconv.Quote(*v)
}

// eval returns the mask of a literal of the type.
func (e engine) eval(t fataler, m mask.Mask, literal, typ, duckType, key string) value {
	expr, err := m.SQL(`"C"`, typ, key)
	if err != nil {
		t.Fatalf("%s on %s: %v", m, typ, err)
	}
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s on %s: our parser does not read %s: %v", m, typ, expr, err)
	}
	duck, err := ast.Print(tree, ast.DuckDB)
	if err != nil {
		t.Fatalf("%s on %s: %s cannot be printed: %v", m, typ, expr, err)
	}
	var got sql.NullString
	query := fmt.Sprintf(`SELECT CAST(%s AS VARCHAR) FROM (SELECT CAST(%s AS %s) AS "C") AS T`, duck, literal, duckType)
	if err := e.db.QueryRow(query).Scan(&got); err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	if !got.Valid {
		return nil
	}
	return &got.String
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// model is what a mask answers for a text, written down a second time.
func model(m mask.Mask, v value, key string) value {
	say := func(s string) value { return &s }
	switch m.Kind {
	case mask.Redact:
		return say("***")
	case mask.Hash:
		if v == nil {
			return nil
		}
		sub := func(label string) string {
			h := hmac.New(sha256.New, []byte(key))
			h.Write([]byte("querywarden mask hash " + label + " v1"))
			return hex.EncodeToString(h.Sum(nil))
		}
		inner := sha256.Sum256([]byte(sub("inner") + *v))
		outer := sha256.Sum256([]byte(sub("outer") + hex.EncodeToString(inner[:])))
		return say(hex.EncodeToString(outer[:]))
	case mask.Email:
		if v == nil {
			return say("***")
		}
		local, domain, ok := strings.Cut(*v, "@")
		_, behind, dot := strings.Cut(domain, ".")
		behind, _, _ = strings.Cut(behind, ".")
		_, after, _ := strings.Cut(domain, " ")
		after, _, _ = strings.Cut(after, " ")
		if !ok || local == "" || strings.Contains(domain, "@") || !dot || behind == "" || after != "" {
			return say("***")
		}
		return say("***@" + domain)
	case mask.Partial:
		if v == nil || int64(len([]rune(*v))) < 2*m.N {
			return say("***")
		}
		r := []rune(*v)
		return say("***" + string(r[int64(len(r))-m.N:]))
	default:
		return nil
	}
}

func same(a, b value) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func TestTextInEngine(t *testing.T) {
	e := open(t)
	const key = "0123456789abcdef0123456789abcdef"
	kinds := []mask.Mask{{}, {Kind: mask.Null}, {Kind: mask.Hash}, {Kind: mask.Email}, {Kind: mask.Partial, N: 1}, {Kind: mask.Partial, N: 4}}
	check := func(t fataler, v value) {
		literal := "NULL"
		if v != nil {
			literal = quote(*v)
		}
		for _, m := range kinds {
			if got, want := e.eval(t, m, literal, "VARCHAR", "VARCHAR", key), model(m, v, key); !same(got, want) {
				t.Fatalf("%s of %s is %s, want %s", m, text(v), text(got), text(want))
			}
		}
	}
	check(t, nil)
	for _, s := range []string{
		"", "x", "1234567", "12345678", "ada@example.com", "a@b@c.org", "@example.com", "ada@", "ada@localhost", "ada@x.y@",
		"ada@example.com, call 4111 1111", "ada@a.b c", "ada@ a.b", "it's@o'hara.ie", "ärger@übel.de", "日本語日本語日本語",
	} {
		check(t, &s)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-c@. '日ä]{0,12}`).Draw(t, "s")
		check(t, &s)
	})
}

func TestNumbersInEngine(t *testing.T) {
	e := open(t)
	ten := mask.Mask{Kind: mask.Range, N: 10}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(-1_000_000, 1_000_000).Draw(t, "v")
		n := rapid.Int64Range(2, 1000).Draw(t, "n")
		want := strconv.FormatInt(int64(math.Floor(float64(v)/float64(n)))*n, 10)
		got := e.eval(t, mask.Mask{Kind: mask.Range, N: n}, strconv.FormatInt(v, 10), "NUMBER(38,0)", "DECIMAL(38,0)", "")
		if got == nil || *got != want {
			t.Fatalf("range(%d) of %d is %s, want %s", n, v, text(got), want)
		}
	})
	for _, tt := range []struct{ literal, typ, duck, want string }{
		{"-95", "NUMBER(2,0)", "DECIMAL(2,0)", "-100"}, // more digits than the column has
		{"99.99", "NUMBER(4,2)", "DECIMAL(4,2)", "90"},
		{"-0.5", "FLOAT", "DOUBLE", "-10.0"},
	} {
		if got := e.eval(t, ten, tt.literal, tt.typ, tt.duck, ""); got == nil || *got != tt.want {
			t.Errorf("%s of %s is %s, want %s", ten, tt.literal, text(got), tt.want)
		}
	}
	if got := e.eval(t, ten, "NULL", "NUMBER", "DECIMAL(38,0)", ""); got != nil {
		t.Errorf("%s of NULL is %s", ten, text(got))
	}
	if got := e.eval(t, mask.Mask{Kind: mask.Partial, N: 4}, "4111111111111111", "NUMBER(16,0)", "DECIMAL(16,0)", ""); got == nil || *got != "***1111" {
		t.Errorf("partial(4) of a number is %s", text(got))
	}
}

func TestDatesInEngine(t *testing.T) {
	e := open(t)
	year := mask.Mask{Kind: mask.Year}
	rapid.Check(t, func(t *rapid.T) {
		day := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 70_000).Draw(t, "day"))
		got := e.eval(t, year, quote(day.Format(time.DateOnly)), "DATE", "DATE", "")
		if want := day.Format("2006") + "-01-01"; got == nil || *got != want {
			t.Fatalf("the year of %s is %s, want %s", day, text(got), want)
		}
	})
	if got := e.eval(t, year, "'2024-05-06 07:08:09.123'", "TIMESTAMP_NTZ(9)", "TIMESTAMP", ""); got == nil || *got != "2024-01-01 00:00:00" {
		t.Errorf("the year of a timestamp is %s", text(got))
	}
}

// TestNothingShows checks that redact and null, and every mask that does not
// fit, answer the same whatever the value is and whether there is one.
func TestNothingShows(t *testing.T) {
	e := open(t)
	columns := []struct{ typ, duck, one, two string }{
		{"VARCHAR", "VARCHAR", "'a'", "'b'"},
		{"NUMBER(38,0)", "DECIMAL(38,0)", "1", "2"},
		{"NUMBER(10,2)", "DECIMAL(10,2)", "1.5", "2"},
		{"FLOAT", "DOUBLE", "1.5", "2"},
		{"DATE", "DATE", "'2024-01-02'", "'2023-01-02'"},
		{"TIMESTAMP_NTZ", "TIMESTAMP", "'2024-01-02'", "'2023-01-02'"},
		{"BOOLEAN", "BOOLEAN", "true", "false"},
		{"VARIANT", "JSON", `'{"a":1}'`, `'[]'`},
	}
	shows := map[string]bool{ // what lets something out
		"hash VARCHAR": true, "hash NUMBER(38,0)": true, "email VARCHAR": false, // 'a' and 'b' are no addresses
		"range(2) NUMBER(38,0)": true, "range(2) NUMBER(10,2)": true, "range(2) FLOAT": true,
		"year DATE": true, "year TIMESTAMP_NTZ": true,
	}
	for _, m := range []mask.Mask{{}, {Kind: mask.Null}, {Kind: mask.Hash}, {Kind: mask.Email}, {Kind: mask.Partial, N: 4}, {Kind: mask.Year}, {Kind: mask.Range, N: 2}} {
		for _, c := range columns {
			one := e.eval(t, m, c.one, c.typ, c.duck, "key")
			two := e.eval(t, m, c.two, c.typ, c.duck, "key")
			none := e.eval(t, m, "NULL", c.typ, c.duck, "key")
			equal := same(one, two) && same(two, none)
			if what := m.String() + " " + c.typ; equal == shows[what] {
				t.Errorf("%s: %s, %s and, for NULL, %s", what, text(one), text(two), text(none))
			}
		}
	}
}
