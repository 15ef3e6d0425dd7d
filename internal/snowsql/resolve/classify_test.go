package resolve_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

// classes are the policy's classes, without Unknown.
var classes = []policy.Class{
	policy.Read, policy.Write, policy.Modify, policy.Create, policy.Destroy, policy.Admin, policy.Session, policy.Stage, policy.Procedural,
}

// classified reads testdata/classes.txt: statements and their class.
func classified(t testing.TB) (stmts []string, want []policy.Class) {
	data, err := os.ReadFile("testdata/classes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, stmt, ok := strings.Cut(line, ": ")
		var c policy.Class
		if err := c.UnmarshalText([]byte(word)); !ok || err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		stmts, want = append(stmts, stmt), append(want, c)
	}
	return stmts, want
}

// TestClasses holds Classify to the list, and the list to being whole: every
// class and every kind of statement occurs in it.
func TestClasses(t *testing.T) {
	stmts, want := classified(t)
	reached, kinds := map[policy.Class]bool{}, map[reflect.Type]bool{}
	for i, src := range stmts {
		stmt, err := parser.ParseStatement(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		class, command := resolve.Classify(stmt)
		if class != want[i] {
			t.Errorf("%s: %s, want %s", src, class, want[i])
		}
		if command == "" || command != strings.TrimSpace(command) {
			t.Errorf("%s: the command is %q", src, command)
		}
		reached[class], kinds[reflect.TypeOf(stmt)] = true, true
	}
	for _, c := range classes {
		if !reached[c] {
			t.Errorf("no statement is %s", c)
		}
	}
	for _, n := range nodes["statement"] {
		if !kinds[reflect.TypeOf(n)] {
			t.Errorf("no statement is a %T", n)
		}
	}
}

// respell changes a statement outside of its strings: the case, and each blank.
func respell(src string, letters func(string) string, blank string) string {
	var b strings.Builder
	for i, outside := range strings.Split(strings.ReplaceAll(src, "$$", "'"), "'") {
		if i%2 == 1 {
			b.WriteString("'" + outside + "'")
			continue
		}
		b.WriteString(strings.ReplaceAll(letters(outside), " ", blank))
	}
	return b.String()
}

// TestClassesHoldStill: case, whitespace and comments change no class.
func TestClassesHoldStill(t *testing.T) {
	stmts, _ := classified(t)
	same := func(s string) string { return s }
	for _, src := range stmts {
		stmt, err := parser.ParseStatement(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		class, command := resolve.Classify(stmt)
		for _, other := range []string{
			respell(src, strings.ToUpper, " "),
			respell(src, same, "\n\t "),
			respell(src, strings.ToUpper, " /* drop */ "),
			respell(src, same, " -- grant\n"),
			"/* select */ " + src + " -- policy",
		} {
			stmt, err := parser.ParseStatement(other)
			if err != nil {
				t.Errorf("%s: %v", other, err)
				continue
			}
			if c, cmd := resolve.Classify(stmt); c != class || cmd != command {
				t.Errorf("%s: %s, %s; want %s, %s", other, c, cmd, class, command)
			}
		}
	}
}

// TestUnknownStatements: what is in no switch has no class.
func TestUnknownStatements(t *testing.T) {
	type stranger struct{ ast.QueryStmt }
	for _, stmt := range []ast.Statement{nil, &stranger{}} {
		if class, command := resolve.Classify(stmt); class != policy.Unknown || command != "" {
			t.Errorf("%T: %s, %q", stmt, class, command)
		}
	}
}

// TestUnknownKinds: what is done to an object of a kind that nobody listed is
// unknown.
func TestUnknownKinds(t *testing.T) {
	for _, stmt := range []ast.Statement{
		&ast.Create{Kind: "NOVELTY"}, &ast.Create{Kind: "NOVELTY", OrReplace: true}, &ast.Alter{Kind: "NOVELTY", Action: "ADD"},
		&ast.Drop{Kind: "NOVELTY"}, &ast.Undrop{Kind: "NOVELTY"}, &ast.Show{What: "NOVELTIES"}, &ast.Describe{Kind: "NOVELTY"}, &ast.Use{Kind: "NOVELTY"},
		&ast.Execute{What: "NOVELTY"},
	} {
		if class, _ := resolve.Classify(stmt); class != policy.Unknown {
			t.Errorf("%T: %s", stmt, class)
		}
	}
	if class, _ := resolve.Classify(&ast.Comment{Kind: "NOVELTY"}); class != policy.Admin {
		t.Errorf("COMMENT ON NOVELTY: %s", class)
	}
}

// TestGraver: of two classes exactly one is graver, and Unknown is the gravest.
func TestGraver(t *testing.T) {
	all := append([]policy.Class{policy.Unknown}, classes...)
	for i, a := range all {
		if resolve.Graver(a, a) {
			t.Errorf("%s is graver than itself", a)
		}
		for _, b := range all[:i] {
			if resolve.Graver(a, b) == resolve.Graver(b, a) {
				t.Errorf("%s and %s have no order", a, b)
			}
		}
		if a != policy.Unknown && (!resolve.Graver(policy.Unknown, a) || a != policy.Read && !resolve.Graver(a, policy.Read)) {
			t.Errorf("%s is not between read and unknown", a)
		}
	}
}
