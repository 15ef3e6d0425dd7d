package policy

import "testing"

// TestPatternNames checks names as they are stored against patterns as they are
// written, without the detour over a test's own words.
func TestPatternNames(t *testing.T) {
	table := func(name string) Object { return Object{TableObject, "DB", "S", name} }
	for _, tt := range []struct {
		pattern         string
		object          Object
		matches, covers bool
	}{
		{`db.s.t`, table("T"), true, true},
		{`db.s.t`, table("t"), false, true},
		{`DB.S.T`, table("T"), true, true},
		{`db.s."t"`, table("t"), true, true},
		{`db.s."t"`, table("T"), false, true},
		{`db.s."it""s"`, table(`it"s`), true, true},
		{`db.s."""q"`, table(`"q`), true, true},
		{`db.s."*"`, table("*"), true, true},
		{`db.s."*"`, table("T"), false, false},
		{`db.s.a*z`, table("ABCZ"), true, true},
		{`db.s.a*z`, table("AZ"), true, true},
		{`db.s.a*z`, table("A"), false, false},
		{`db.s.*a*`, table("BAB"), true, true},
		{`db.s.größe`, table("GRÖSSE"), false, false},
		{`db.s.é_1$`, table("É_1$"), true, true},
		{`db.*`, table("T"), false, true},
		{`db.s`, table("T"), false, true},
		{`db`, table("T"), false, true},
		{`other`, table("T"), false, false},
		{`view:db.s.*`, table("T"), false, false},
		{`table:db.s.*`, table("T"), true, true},

		{`db.s`, Object{SchemaObject, "DB", "", "S"}, true, true},
		{`db.*`, Object{SchemaObject, "DB", "", "INFORMATION_SCHEMA"}, false, true},
		{`db.information_schema`, Object{SchemaObject, "DB", "", "INFORMATION_SCHEMA"}, true, true},
		{`db.s.t`, Object{SchemaObject, "DB", "", "S"}, false, true},
		{`db.z.t`, Object{SchemaObject, "DB", "", "S"}, false, false},
		{`db.r`, Object{"database role", "DB", "", "R"}, false, true},
		{`database role:db.r`, Object{"database role", "DB", "", "R"}, true, true},

		{`db`, Object{DatabaseObject, "", "", "DB"}, true, true},
		{`*`, Object{DatabaseObject, "", "", "SNOWFLAKE"}, false, true},
		{`snowflake`, Object{DatabaseObject, "", "", "SNOWFLAKE"}, true, true},
		{`db.s.t`, Object{DatabaseObject, "", "", "DB"}, false, true},
		{`view:db.s.t`, Object{DatabaseObject, "", "", "DB"}, false, true}, // which holds views

		{`wh`, Object{"warehouse", "", "", "WH"}, false, false},
		{`warehouse:wh`, Object{"warehouse", "", "", "WH"}, true, true},
		{`warehouse:w*`, Object{"warehouse", "", "", "WH"}, true, true},
		{`warehouse:wh`, Object{"warehouse", "", "", "WX"}, false, false},
		{`*.*.*`, Object{"warehouse", "", "", "WH"}, false, false},
		{`db.s.t`, Object{AccountObject, "", "", "MAIN"}, false, true},
		{`account:main`, Object{AccountObject, "", "", "MAIN"}, true, true},

		// What is not known of a name may be anything, and grants nothing.
		{`*.*.*`, Object{TableObject, "", "S", "T"}, false, true},
		{`db.s.t`, Object{TableObject, "", "S", "T"}, false, true},
		{`db.z.t`, Object{TableObject, "", "S", "T"}, false, false},
		{`db.s.t`, Object{TableObject, "", "", "T"}, false, true},
		{`db.s.u`, Object{TableObject, "", "", "T"}, false, false},
		{`*.*.*`, Object{TableObject, "DB", "S", ""}, false, true},
		{`*`, Object{}, false, true},
	} {
		p, err := parseObjectPattern(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		if got := p.matches(tt.object); got != tt.matches {
			t.Errorf("%s matches %+v: %t", tt.pattern, tt.object, got)
		}
		if got := p.covers(foldObject(tt.object)); got != tt.covers {
			t.Errorf("%s covers %+v: %t", tt.pattern, tt.object, got)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	for _, s := range []string{
		"", ".", "a.", ".a", "a..b", "a.b.c.d", `"`, `""`, `a."b`, `a."b"c`, "a b", "a-b", "a?", "a.b.c ", " a", ":a", "K:a", "k :a", "k:", "\xff", "a.\xff",
	} {
		if p, err := parseObjectPattern(s); err == nil {
			t.Errorf("%q is read as %+v", s, p)
		}
	}
	for _, s := range []string{"", "a.b.c", "a.b.c.d.e", "a.b.c.d e", "a.b.c."} {
		if p, err := parseColumnPattern(s); err == nil {
			t.Errorf("the column %q is read as %+v", s, p)
		}
	}
	for _, s := range []string{"", "f()", "f g", `"f"`} {
		if p, err := parseFunctionPattern(s); err == nil {
			t.Errorf("the function %q is read as %+v", s, p)
		}
	}
}

func TestColumnPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		object  Object
		column  string
		want    bool
	}{
		{"*.*.*.ssn", Object{TableObject, "DB", "S", "T"}, "ssn", true},
		{"*.*.*.ssn", Object{TableObject, "DB", "S", "T"}, "SSN_2", false},
		{"*.*.*.*ssn*", Object{TableObject, "DB", "S", "T"}, "my_ssn_2", true},
		{`db.s.t."Ssn"`, Object{ViewObject, "db", "s", "t"}, "SSN", true},
		{"db.s.u.ssn", Object{TableObject, "DB", "S", "T"}, "SSN", false},
		{"db.z.t.ssn", Object{TableObject, "DB", "S", "T"}, "SSN", false},
		{"dx.s.t.ssn", Object{TableObject, "DB", "S", "T"}, "SSN", false},
		{"db.s.t.ssn", Object{TableObject, "", "", "T"}, "SSN", true},
	} {
		p, err := parseColumnPattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.covers(foldObject(tt.object), fold(tt.column)); got != tt.want {
			t.Errorf("%s covers %s of %s: %t", tt.pattern, tt.column, tt.object, got)
		}
	}
}
