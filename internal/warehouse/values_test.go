package warehouse

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		kind  Kind
		scale int
		cell  string
		want  string // empty: an error
	}{
		{Number, 4, "12345678901234.5678", "12345678901234.5678"},
		{Number, 37, "0.1234567890123456789012345678901234567", "0.1234567890123456789012345678901234567"},
		{Float, 0, "1e100", "1e100"},
		{Text, 0, "", ""},
		{Boolean, 0, "1", "true"},
		{Boolean, 0, "0", "false"},
		{Boolean, 0, "2", ""},
		{Boolean, 0, "", ""},
		{Date, 0, "0", "1970-01-01"},
		{Date, 0, "-1", "1969-12-31"},
		{Date, 0, "19675", "2023-11-14"},
		{Date, 0, "-719162", "0001-01-01"},
		{Date, 0, "2932896", "9999-12-31"},
		{Date, 0, "1.5", ""},
		{Date, 0, "99999999999", ""},
		{Time, 0, "0", "00:00:00"},
		{Time, 3, "86399.999000000", "23:59:59.999"},
		{Time, 9, "1.000000001", "00:00:01.000000001"},
		{TimestampNTZ, 9, "1700000000.123456789", "2023-11-14T22:13:20.123456789"},
		{TimestampNTZ, 0, "1700000000", "2023-11-14T22:13:20"},
		// Before 1970 the sign is the whole number's, and easily lost.
		{TimestampNTZ, 3, "-315619199.995000000", "1960-01-01T00:00:00.005"},
		{TimestampNTZ, 3, "-0.500000000", "1969-12-31T23:59:59.500"},
		{TimestampNTZ, 9, "-0.000000001", "1969-12-31T23:59:59.999999999"},
		{TimestampNTZ, 9, "-62135596800.000000000", "0001-01-01T00:00:00.000000000"},
		{TimestampNTZ, 9, "253402300799.999999999", "9999-12-31T23:59:59.999999999"},
		{TimestampLTZ, 3, "1700000000.5", "2023-11-14T22:13:20.500Z"},
		{TimestampTZ, 0, "1700000000 1440", "2023-11-14T22:13:20+00:00"},
		{TimestampTZ, 3, "1700000000.250000000 1560", "2023-11-15T00:13:20.250+02:00"},
		{TimestampTZ, 3, "-0.250000000 960", "1969-12-31T15:59:59.750-08:00"},
		{TimestampTZ, 0, "1700000000", ""},
		{TimestampTZ, 0, "1700000000 x", ""},
		{TimestampTZ, 0, "1700000000 2881", ""},
		{TimestampTZ, 0, "1700000000 -1", ""},
		{TimestampNTZ, 9, "1700000000.1234567890", ""},
		{TimestampNTZ, 9, "1700000000.-5", ""},
		{TimestampNTZ, 9, "--5", ""},
		{TimestampNTZ, 9, "+5", ""},
		{TimestampNTZ, 9, "", ""},
		{TimestampNTZ, 9, ".5", ""},
		{TimestampNTZ, 9, "9999999999999999999999", ""},
		{Binary, 0, "DEADBEEF", "DEADBEEF"},
		{Variant, 0, `{"a": 1.10}`, `{"a": 1.10}`},
		{0, 0, "x", ""},
	} {
		got, err := decode(test.kind, test.scale, test.cell)
		wantError := test.want == "" && !(test.kind == Text)
		if got != test.want || (err != nil) != wantError {
			t.Errorf("decode(%d, %d, %q) = %q, %v, want %q", test.kind, test.scale, test.cell, got, err, test.want)
		}
		if err != nil && test.cell != "" && strings.Contains(err.Error(), test.cell) {
			t.Errorf("decode(%q): the error quotes the cell: %v", test.cell, err)
		}
	}
}

// Whatever the time, the cell that Snowflake would send for it is read back to
// the nanosecond.
func TestInstantIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds")
		nanos := rapid.Int64Range(0, 999999999).Draw(t, "nanos")
		want := time.Unix(seconds, nanos).UTC()
		total := new(big.Int).Add(new(big.Int).Mul(big.NewInt(seconds), big.NewInt(1e9)), big.NewInt(nanos))
		cell := new(big.Rat).SetFrac(total, big.NewInt(1e9)).FloatString(9)
		got, err := instant(cell)
		if err != nil || !got.Equal(want) {
			t.Fatalf("instant(%q) = %v, %v, want %v", cell, got, err, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, cell := range []string{"1", "-315619199.995000000", "1700000000.25 1560", "", "-", ".", " ", "1e9"} {
		for kind := range Variant + 1 {
			f.Add(uint8(kind), 9, cell)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, scale int, cell string) {
		got, err := decode(Kind(kind), scale, cell)
		if err != nil && got != "" {
			t.Errorf("decode returned both %q and %v", got, err)
		}
	})
}

func TestColumnType(t *testing.T) {
	for _, test := range []struct {
		wire                     string
		precision, scale, length int64
		kind                     Kind
		want                     string
	}{
		{"fixed", 38, 0, 0, Number, "NUMBER(38,0)"},
		{"fixed", 12, 2, 0, Number, "NUMBER(12,2)"},
		{"real", 0, 0, 0, Float, "FLOAT"},
		{"text", 0, 0, 16777216, Text, "VARCHAR"},
		{"text", 0, 0, 20, Text, "VARCHAR(20)"},
		{"TEXT", 0, 0, 0, Text, "VARCHAR"},
		{"time", 0, 9, 0, Time, "TIME"},
		{"timestamp_ntz", 0, 9, 0, TimestampNTZ, "TIMESTAMP_NTZ"},
		{"timestamp_ltz", 0, 3, 0, TimestampLTZ, "TIMESTAMP_LTZ(3)"},
		{"timestamp_tz", 0, 0, 0, TimestampTZ, "TIMESTAMP_TZ(0)"},
		{"binary", 0, 0, 8388608, Binary, "BINARY"},
		{"object", 0, 0, 0, Variant, "OBJECT"},
		{"geography", 0, 0, 0, 0, ""},
		{"", 0, 0, 0, 0, ""},
	} {
		kind, name := columnType(test.wire, test.precision, test.scale, test.length)
		if kind != test.kind || name != test.want {
			t.Errorf("columnType(%q, %d, %d, %d) = %d, %q, want %d, %q", test.wire, test.precision, test.scale, test.length, kind, name, test.kind, test.want)
		}
	}
}

func TestDeclaredType(t *testing.T) {
	for _, test := range [][6]string{
		{"TEXT", "16777216", "", "", "", "VARCHAR"},
		{"TEXT", "100", "", "", "", "VARCHAR(100)"},
		{"NUMBER", "", "38", "0", "", "NUMBER(38,0)"},
		{"TIMESTAMP_NTZ", "", "", "", "9", "TIMESTAMP_NTZ"},
		{"TIME", "", "", "", "0", "TIME(0)"},
		{"DATE", "", "", "", "", "DATE"},
		{"VARIANT", "", "", "", "", "VARIANT"},
		{"BINARY", "8388608", "", "", "", "BINARY"},
		{"NUMBER", "", "many", "0", "", ""},
	} {
		got, err := declaredType(test[0], test[1], test[2], test[3], test[4])
		if got != test[5] || (err != nil) != (test[5] == "") {
			t.Errorf("declaredType(%q) = %q, %v, want %q", test[:5], got, err, test[5])
		}
	}
}

func TestClassOf(t *testing.T) {
	for _, test := range []struct {
		code  int
		state string
		want  Class
	}{
		{1003, "42000", Syntax}, {900, "42601", Syntax}, {8, "0A000", Syntax}, {2003, "42S02", Object}, {904, "42000", Object},
		{3001, "42501", Permission}, {100051, "22012", Data}, {604, "57014", Cancelled}, {630, "57014", Timeout},
		{390144, "08004", Auth}, {260008, "", Unavailable}, {999999, "42S02", Object}, {999999, "22018", Data},
		{603, "XX000", Internal}, {0, "", Internal},
	} {
		if got := classOf(test.code, test.state); got != test.want {
			t.Errorf("classOf(%d, %q) = %s, want %s", test.code, test.state, got, test.want)
		}
	}
}
