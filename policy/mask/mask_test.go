package mask_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"querywarden/policy/mask"
)

func TestText(t *testing.T) {
	for text, want := range map[string]mask.Mask{
		"redact":      {},
		"null":        {Kind: mask.Null},
		"hash":        {Kind: mask.Hash},
		"email":       {Kind: mask.Email},
		"year":        {Kind: mask.Year},
		"partial(1)":  {Kind: mask.Partial, N: 1},
		"partial(64)": {Kind: mask.Partial, N: 64},
		"range(2)":    {Kind: mask.Range, N: 2},
		"range(1000)": {Kind: mask.Range, N: 1000},
	} {
		var got mask.Mask
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("reading %q: %+v, %v; want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%+v is written %q, want %q", got, got.String(), text)
		}
		if b, err := json.Marshal(got); err != nil || string(b) != `"`+text+`"` {
			t.Errorf("%+v in JSON is %s, %v", got, b, err)
		}
	}
	for _, text := range []string{
		"", "none", "Redact", " redact", "redact ", "redact()", "redact(4)", "year(1)", "partial", "partial()", "partial(0)",
		"partial(-1)", "partial(65)", "partial(04)", "partial(+4)", "partial(4", "partial 4", "partial(4))", "partial(4) ",
		"partial(4.0)", "range(1)", "range(0)", "range(9223372036854775808)", "range(1000000000000001)", "hash(4)",
	} {
		got := mask.Mask{Kind: mask.Year}
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("reading %q: no error, got %v", text, got)
		} else if (got != mask.Mask{Kind: mask.Year}) {
			t.Errorf("reading %q fails and yet changes the mask to %v", text, got)
		}
	}
}

// TestNonsense checks that masks that no file can hold redact.
func TestNonsense(t *testing.T) {
	for _, m := range []mask.Mask{{Kind: 99}, {Kind: mask.Partial}, {Kind: mask.Partial, N: -4}, {Kind: mask.Range, N: 1}, {Kind: mask.Redact, N: 5}} {
		got, err := m.SQL("X", "VARCHAR", "")
		if err != nil || got != "'***'" || m.String() != "redact" {
			t.Errorf("%+v: %s is %q, %v; want a redact", m, m, got, err)
		}
	}
}

func anyMask(t *rapid.T, label string) mask.Mask {
	kind := rapid.SampledFrom([]mask.Kind{mask.Redact, mask.Null, mask.Hash, mask.Email, mask.Partial, mask.Year, mask.Range}).Draw(t, label)
	switch kind {
	case mask.Partial:
		return mask.Mask{Kind: kind, N: rapid.Int64Range(1, 64).Draw(t, label+" n")}
	case mask.Range:
		return mask.Mask{Kind: kind, N: rapid.OneOf(rapid.Int64Range(2, 60), rapid.Int64Range(2, 1e15)).Draw(t, label+" n")}
	default:
		return mask.Mask{Kind: kind}
	}
}

// TestStrictest checks what makes the order of masks irrelevant, and that the
// strictest of two is no laxer than either: meeting it again changes nothing.
func TestStrictest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyMask(t, "a"), anyMask(t, "b"), anyMask(t, "c")
		ab := mask.Strictest(a, b)
		if ba := mask.Strictest(b, a); ab != ba {
			t.Fatalf("%v with %v is %v, the other way round %v", a, b, ab, ba)
		}
		if l, r := mask.Strictest(ab, c), mask.Strictest(a, mask.Strictest(b, c)); l != r {
			t.Fatalf("%v, %v, %v: %v or %v", a, b, c, l, r)
		}
		if again := mask.Strictest(ab, a); again != ab {
			t.Fatalf("%v with %v is %v, which with %v again is %v", a, b, ab, a, again)
		}
		if same := mask.Strictest(a, a); same != a {
			t.Fatalf("%v with itself is %v", a, same)
		}
		if none := mask.Strictest(a, mask.Mask{}); (none != mask.Mask{}) {
			t.Fatalf("%v with redact is %v", a, none)
		}
		if ab.Kind != mask.Redact && (a.Kind != b.Kind || ab.Kind != a.Kind) {
			t.Fatalf("%v with %v is %v", a, b, ab)
		}
		if ab.Kind == mask.Range && (ab.N%a.N != 0 || ab.N%b.N != 0) {
			t.Fatalf("%v with %v is %v, whose buckets cut theirs", a, b, ab)
		}
	})
	for _, tt := range [][3]string{
		{"range(4)", "range(6)", "range(12)"},
		{"range(10)", "range(100)", "range(100)"},
		{"range(999999999999999)", "range(999999999999998)", "redact"},
		{"partial(4)", "partial(2)", "redact"},
		{"email", "partial(4)", "redact"},
		{"null", "hash", "redact"},
	} {
		var a, b mask.Mask
		if err := a.UnmarshalText([]byte(tt[0])); err != nil {
			t.Fatal(err)
		}
		if err := b.UnmarshalText([]byte(tt[1])); err != nil {
			t.Fatal(err)
		}
		if got := mask.Strictest(a, b).String(); got != tt[2] {
			t.Errorf("%s with %s is %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

// TestSQL pins the text of every mask on every family of types. What does not
// fit hides everything.
func TestSQL(t *testing.T) {
	const key = "a secret of the gate"
	for _, tt := range []struct{ mask, typ, want string }{
		{"redact", "VARCHAR(16)", `'***'`},
		{"redact", "text", `'***'`},
		{"redact", "NUMBER(10,2)", `CAST(NULL AS NUMBER(10, 2))`},
		{"redact", "DATE", `CAST(NULL AS DATE)`},
		{"redact", "BOOLEAN", `CAST(NULL AS BOOLEAN)`},
		{"redact", "VARIANT", `CAST(NULL AS VARIANT)`},
		{"redact", "OBJECT", `CAST(NULL AS OBJECT)`},
		{"redact", "ARRAY(NUMBER(38,0))", `CAST(NULL AS ARRAY)`},
		{"redact", "TIMESTAMP_NTZ(9)", `CAST(NULL AS TIMESTAMP_NTZ)`},
		{"redact", "double  precision", `CAST(NULL AS FLOAT)`},
		{"redact", "", `NULL`},
		{"redact", "VECTOR(FLOAT, 256)", `NULL`},
		{"redact", "VARCHAR'); DROP TABLE T; --", `NULL`},
		{"redact", "NUMBER(1); DROP TABLE T; --", `CAST(NULL AS NUMBER(1, 0))`},
		{"redact", "NUMBER(99,0)", `NULL`},
		{"redact", "NUMBER(2,9)", `NULL`},
		{"null", "VARCHAR(16)", `CAST(NULL AS VARCHAR)`},
		{"null", "FLOAT", `CAST(NULL AS FLOAT)`},
		{"partial(4)", "VARCHAR", `CASE WHEN LENGTH(T."C") >= 8 THEN '***' || RIGHT(T."C", 4) ELSE '***' END`},
		{"partial(4)", "NUMBER(16,0)", `CASE WHEN LENGTH(CAST(T."C" AS VARCHAR)) >= 8 THEN '***' || RIGHT(CAST(T."C" AS VARCHAR), 4) ELSE '***' END`},
		{"partial(4)", "NUMBER(16,2)", `CAST(NULL AS NUMBER(16, 2))`},
		{"partial(4)", "DATE", `CAST(NULL AS DATE)`},
		{"partial(4)", "", `NULL`},
		{"email", "VARCHAR", `CASE WHEN SPLIT_PART(T."C", '@', 1) <> '' AND SPLIT_PART(T."C", '@', 3) = '' AND RIGHT(T."C", 1) <> '@' AND SPLIT_PART(SPLIT_PART(T."C", '@', 2), '.', 2) <> '' AND SPLIT_PART(SPLIT_PART(T."C", '@', 2), ' ', 2) = '' THEN '***@' || SPLIT_PART(T."C", '@', 2) ELSE '***' END`},
		{"email", "NUMBER", `CAST(NULL AS NUMBER(38, 0))`},
		{"year", "DATE", `CAST(DATE_TRUNC('YEAR', T."C") AS DATE)`},
		{"year", "TIMESTAMP_LTZ(9)", `CAST(DATE_TRUNC('YEAR', T."C") AS TIMESTAMP_LTZ)`},
		{"year", "TIMESTAMP_TZ", `CAST(DATE_TRUNC('YEAR', T."C") AS TIMESTAMP_TZ)`},
		{"year", "VARCHAR", `'***'`},
		{"year", "TIME(9)", `CAST(NULL AS TIME)`},
		{"range(10)", "NUMBER(2,0)", `CAST(FLOOR(T."C" / 10) * 10 AS NUMBER(38, 0))`},
		{"range(10)", "NUMBER(12,2)", `CAST(FLOOR(T."C" / 10) * 10 AS NUMBER(38, 0))`},
		{"range(10)", "FLOAT", `FLOOR(T."C" / 10) * 10`},
		{"range(10)", "VARCHAR", `'***'`},
		{"range(10)", "DATE", `CAST(NULL AS DATE)`},
		{"hash", "DATE", `CAST(NULL AS DATE)`},
		{"hash", "VARIANT", `CAST(NULL AS VARIANT)`},
	} {
		var m mask.Mask
		if err := m.UnmarshalText([]byte(tt.mask)); err != nil {
			t.Fatal(err)
		}
		if got, err := m.SQL(`T."C"`, tt.typ, key); err != nil || got != tt.want {
			t.Errorf("%s on %q:\n got %s, %v\nwant %s", tt.mask, tt.typ, got, err, tt.want)
		}
	}
	if _, err := (mask.Mask{}).SQL("", "VARCHAR", key); err == nil {
		t.Error("a mask over no column is no error")
	}
}

func TestHashKeys(t *testing.T) {
	hash := mask.Mask{Kind: mask.Hash}
	if sql, err := hash.SQL("C", "VARCHAR", ""); err == nil {
		t.Errorf("a hash without a key is %s", sql)
	}
	one, err := hash.SQL("C", "VARCHAR", "key one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := hash.SQL("C", "VARCHAR", "key two")
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("two keys give one hash")
	}
	for _, sql := range []string{one, two} {
		if strings.Contains(sql, "key") {
			t.Errorf("the key itself stands in %s", sql)
		}
	}
	shown, err := hash.SQL("C", "VARCHAR", mask.HiddenKey)
	if want := "SHA2('HIDDEN' || SHA2('HIDDEN' || C, 256), 256)"; err != nil || shown != want {
		t.Errorf("to show: %s, %v; want %s", shown, err, want)
	}
}

func FuzzUnmarshalText(f *testing.F) {
	for _, s := range []string{"redact", "partial(4)", "range(10)", "partial(04)", "x("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m mask.Mask
		if err := m.UnmarshalText([]byte(s)); err == nil && m.String() != s {
			t.Errorf("%q is read as %v", s, m)
		}
	})
}

// FuzzSQLType checks that nothing of a type's text gets into a statement.
func FuzzSQLType(f *testing.F) {
	for _, s := range []string{"NUMBER(10,2)", "VARCHAR", "number( 1 , 1 )", "OBJECT(a VARCHAR)", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typ string) {
		sql, err := mask.Mask{}.SQL("C", typ, "")
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(sql, "CAST(NULL AS "), ")")
		if sql != "'***'" && sql != "NULL" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789(), ") != "" {
			t.Errorf("type %q gives %s", typ, sql)
		}
	})
}
