package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"querywarden/internal/client"
)

// written is what a format makes of rows, each a JSON array.
func written(t *testing.T, name string, o Options, columns []client.Column, rows ...string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	w, err := New(name, &b, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(columns); err != nil {
		return "", err
	}
	for _, row := range rows {
		var cells []json.RawMessage
		if err := json.Unmarshal([]byte(row), &cells); err != nil {
			t.Fatal(err)
		}
		if err := w.Row(cells); err != nil {
			return "", err
		}
	}
	err = w.Close()
	return b.String(), err
}

var people = []client.Column{{Name: "ID", Type: "NUMBER(38,0)"}, {Name: "NAME", Type: "VARCHAR"}, {Name: "ID", Type: "FLOAT"}}

func TestText(t *testing.T) {
	rows := []string{`[1,"ada",-1.5]`, `[null,"",null]`, `["12345678901234567890","a\n\"b\",\u001b[2J\u202e",0]`}
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"csv", Options{}, "ID,NAME,ID\n1,ada,-1.5\n,,\n12345678901234567890,\"a\n\"\"b\"\",\x1b[2J\u202e\",0\n"},
		{"csv", Options{Null: "NULL"}, "ID,NAME,ID\n1,ada,-1.5\nNULL,,NULL\n12345678901234567890,\"a\n\"\"b\"\",\x1b[2J\u202e\",0\n"},
		{"json", Options{}, "[\n" + `{"ID":1,"NAME":"ada","ID_2":-1.5},` + "\n" + `{"ID":null,"NAME":"","ID_2":null},` + "\n" + `{"ID":"12345678901234567890","NAME":"a\n\"b\",\u001b[2J\u202e","ID_2":0}` + "\n]\n"},
		{"table", Options{}, "" +
			"                  ID  NAME                        ID\n" +
			"--------------------  ------------------------  ----\n" +
			"                   1  ada                       -1.5\n" +
			"                NULL" + strings.Repeat(" ", 28) + "NULL\n" +
			"12345678901234567890  a\\n\"b\",\\u{1b}[2J\\u{202e}     0\n"},
		{"table", Options{Width: 30}, ""}, // only how wide it is
	} {
		got, err := written(t, c.name, c.o, people, rows...)
		if c.o.Width > 0 {
			for line := range strings.Lines(got) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > c.o.Width {
					t.Errorf("a line has %d columns: %s", n, line)
				}
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s %+v: %v\n%s\nwant\n%s", c.name, c.o, err, got, c.want)
		}
		if c.name == "json" && !json.Valid([]byte(got)) {
			t.Error("it is not JSON")
		}
	}
	// No rows, and no result.
	for name, want := range map[string]string{"csv": "ID,NAME,ID\n", "json": "[]\n", "table": "ID  NAME  ID\n--  ----  --\n"} {
		if got, err := written(t, name, Options{}, people); err != nil || got != want {
			t.Errorf("%s: %v: %q", name, err, got)
		}
		var b bytes.Buffer
		w, err := New(name, &b, Options{})
		if err == nil {
			err = w.Close()
		}
		if err != nil || b.Len() > 0 {
			t.Errorf("%s of nothing: %v: %q", name, err, b.String())
		}
	}
	if _, err := New("xml", io.Discard, Options{}); err == nil {
		t.Error("xml is a format")
	}
}

// TestNarrow writes rows as lines where columns do not fit.
func TestNarrow(t *testing.T) {
	got, err := written(t, "table", Options{Width: 20}, people, `[1,"`+strings.Repeat("x", 30)+`",-1.5]`, `[2,null,0]`)
	want := "-- row 1 -----------\nID    1\nNAME  xxxxxxxxxxxxx…\nID    -1.5\n-- row 2 -----------\nID    2\nNAME  NULL\nID    0\n"
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	got, err = written(t, "table", Options{Width: 30}, people, `[1,"`+strings.Repeat("x", 30)+`",-1.5]`)
	want = "ID  NAME                    ID\n--  --------------------  ----\n 1  xxxxxxxxxxxxxxxxxxx…  -1.5\n"
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// TestSpreadsheet lets no cell be a formula, and no number be a text.
func TestSpreadsheet(t *testing.T) {
	columns := []client.Column{{Name: "=cmd", Type: "VARCHAR"}, {Name: "N", Type: "NUMBER(10,2)"}}
	got, err := written(t, "csv", Options{Spreadsheet: true}, columns,
		`["=1+1",-1.5]`, `["+x",null]`, `["@SUM(A1)","-2e3"]`, `["-x","=HYPERLINK(1)"]`, `["\tx","-1+cmd|' /C calc'!A0"]`, `["plain","12"]`)
	want := "'=cmd,N\n'=1+1,-1.5\n'+x,\n'@SUM(A1),-2e3\n'-x,'=HYPERLINK(1)\n'\tx,'-1+cmd|' /C calc'!A0\nplain,12\n"
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// TestDistinct names columns apart.
func TestDistinct(t *testing.T) {
	var columns []client.Column
	for _, name := range []string{"A", "A", "A_2", "A", "B", ""} {
		columns = append(columns, client.Column{Name: name})
	}
	if got := strings.Join(distinct(columns), ","); got != "A,A_3,A_2,A_4,B," {
		t.Errorf("the names are %s", got)
	}
}

// TestParquet reads back what was written, with the types that were promised.
func TestParquet(t *testing.T) {
	columns := []client.Column{
		{Name: "N", Type: "NUMBER(38,2)"}, {Name: "I", Type: "NUMBER(18,0)"}, {Name: "F", Type: "FLOAT"}, {Name: "B", Type: "BOOLEAN"},
		{Name: "T", Type: "VARCHAR(20)", Masked: "hash"}, {Name: "X", Type: "BINARY"}, {Name: "D", Type: "DATE"}, {Name: "C", Type: "TIME(3)"},
		{Name: "TN", Type: "TIMESTAMP_NTZ"}, {Name: "TL", Type: "TIMESTAMP_LTZ(6)"}, {Name: "TZ", Type: "TIMESTAMP_TZ(0)"}, {Name: "V", Type: "VARIANT"},
	}
	text, err := written(t, "parquet", Options{}, columns,
		`["-12345678901234567890.10",-7,"NaN",true,"é","DEADBEEF","1969-12-31","23:59:59.123","1969-12-31T23:59:59.000000001","9999-12-31T00:00:00.000001Z","2026-01-02T03:04:05+02:00","{\"a\":[1]}"]`,
		`[null,null,null,null,null,null,null,null,null,null,null,null]`)
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.NumRows() != 2 {
		t.Errorf("%d rows", r.NumRows())
	}
	wantTypes := "Decimal(precision=38, scale=2) Decimal(precision=18, scale=0) None None String None Date " +
		"Time(isAdjustedToUTC=false, timeUnit=microseconds) Timestamp(isAdjustedToUTC=false, timeUnit=nanoseconds, is_from_converted_type=false, force_set_converted_type=false) " +
		"Timestamp(isAdjustedToUTC=true, timeUnit=microseconds, is_from_converted_type=false, force_set_converted_type=false) " +
		"Timestamp(isAdjustedToUTC=true, timeUnit=microseconds, is_from_converted_type=false, force_set_converted_type=false) JSON"
	var types []string
	for i := range columns {
		types = append(types, r.MetaData().Schema.Column(i).LogicalType().String())
	}
	if got := strings.Join(types, " "); got != wantTypes {
		t.Errorf("the types are\n%s\nwant\n%s", got, wantTypes)
	}
	meta := r.MetaData().KeyValueMetadata()
	if v := meta.FindValue("querywarden.masked.T"); v == nil || *v != "hash" {
		t.Error("the mask is not in the file")
	}
	if v := meta.FindValue("snowflake.type.TN"); v == nil || *v != "TIMESTAMP_NTZ" {
		t.Error("the type is not in the file")
	}
	group := r.RowGroup(0)
	var values []string
	for i := range columns {
		c, err := group.Column(i)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, first(t, c))
	}
	want := []string{ // the first in two's complement
		"ffffffffffffffbd12edc4f427dfc5ee", "-7", "NaN", "true", "é", "\xde\xad\xbe\xef", "-1", "86399123000", "-999999999",
		"253402214400000001", "1767315845000000", `{"a":[1]}`,
	}
	if got := strings.Join(values, "|"); got != strings.Join(want, "|") {
		t.Errorf("the values are\n%q\nwant\n%q", values, want)
	}
}

// first is the one value of a column of two rows, of which the second is null.
func first(t *testing.T, c file.ColumnChunkReader) string {
	t.Helper()
	definitions := make([]int16, 2)
	text, n := "", 0
	var err error
	switch c := c.(type) {
	case *file.Int32ColumnChunkReader:
		v := make([]int32, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = fmt.Sprint(v[0])
	case *file.Int64ColumnChunkReader:
		v := make([]int64, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = fmt.Sprint(v[0])
	case *file.Float64ColumnChunkReader:
		v := make([]float64, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = fmt.Sprint(v[0])
	case *file.BooleanColumnChunkReader:
		v := make([]bool, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = fmt.Sprint(v[0])
	case *file.ByteArrayColumnChunkReader:
		v := make([]parquet.ByteArray, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = string(v[0])
	case *file.FixedLenByteArrayColumnChunkReader:
		v := make([]parquet.FixedLenByteArray, 2)
		_, n, err = c.ReadBatch(2, v, definitions, nil)
		text = fmt.Sprintf("%x", []byte(v[0]))
	default:
		t.Fatalf("the column is %T", c)
	}
	if err != nil || n != 1 || definitions[0] != 1 || definitions[1] != 0 {
		t.Fatalf("%d values, definitions %v, %v", n, definitions, err)
	}
	return text
}

// TestParquetRefuses changes no value to make it fit.
func TestParquetRefuses(t *testing.T) {
	for _, c := range []struct{ kind, cell string }{
		{"NUMBER(38,0)", `"[card_number]"`}, {"NUMBER(5,2)", `"1.234"`}, {"NUMBER(5,2)", "12345"}, {"NUMBER(38,0)", `"1e3"`}, {"NUMBER(38,0)", `""`},
		{"NUMBER(38,0)", `"-"`}, {"NUMBER(38,0)", `"--1"`}, {"NUMBER(18,0)", `"1234567890123456789"`}, {"NUMBER(38,0)", "true"},
		{"FLOAT", `"x"`}, {"BOOLEAN", `"yes"`}, {"BINARY", `"xyz"`}, {"DATE", `"2026-13-01"`}, {"TIME", `"25:00:00"`},
		{"TIMESTAMP_NTZ", `"9999-12-31T00:00:00"`}, {"TIMESTAMP_NTZ(3)", `"2026-01-01T00:00:00Z"`}, {"TIMESTAMP_TZ(3)", `"2026-01-01T00:00:00"`}, {"VARIANT", `"{"`},
	} {
		if _, err := written(t, "parquet", Options{}, []client.Column{{Name: "C", Type: c.kind}}, "["+c.cell+"]"); err == nil || !strings.Contains(err.Error(), "writing row 1: column C") {
			t.Errorf("%s as %s: %v", c.cell, c.kind, err)
		}
	}
	for _, kind := range []string{"", "GEOGRAPHY", "NUMBER", "NUMBER(39,0)", "NUMBER(5,6)", "NUMBER(x,0)", "VECTOR(FLOAT,3)"} {
		if _, err := written(t, "parquet", Options{}, []client.Column{{Name: "C", Type: kind}}); err == nil {
			t.Errorf("%q is a type", kind)
		}
	}
}

// TestDecimal is exact at the edges of what 38 digits hold.
func TestDecimal(t *testing.T) {
	nines := strings.Repeat("9", 38)
	for in, want := range map[string]string{nines: nines, "-" + nines: "-" + nines, "0": "0", "-0.00": "0", "1.50": "150", ".5": "50", "007": "700"} {
		scale := 2
		if len(in) > 30 {
			scale = 0
		}
		n, err := decimal(in, 38, scale)
		if err != nil || n.String() != want {
			t.Errorf("%s: %v, %v", in, n, err)
		}
	}
	lowest, err := decimal("-1", 38, 0)
	if err != nil || fmt.Sprintf("%x", []byte(twosComplement(lowest))) != strings.Repeat("ff", 16) {
		t.Errorf("-1 is %x, %v", twosComplement(lowest), err)
	}
}

// TestFlat writes 60,000 rows in each format, in memory that does not
// grow with them.
func TestFlat(t *testing.T) {
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			w, err := New(name, io.Discard, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Begin(people); err != nil {
				t.Fatal(err)
			}
			cells := []json.RawMessage{json.RawMessage("1"), json.RawMessage(`"` + strings.Repeat("x", 100) + `"`), json.RawMessage("2.5")}
			var highest uint64
			for i := range 60_000 {
				if err := w.Row(cells); err != nil {
					t.Fatal(err)
				}
				if i%10_000 == 9_999 {
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					highest = max(highest, m.HeapAlloc)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			// 60,000 rows are 7 MB, and Parquet holds all of them.
			limit := uint64(4 << 20)
			if name == "parquet" {
				limit = 48 << 20
			}
			if highest > limit {
				t.Errorf("%d MB were held", highest>>20)
			}
		})
	}
}

// TestWriteErrors passes on that nothing can be written.
func TestWriteErrors(t *testing.T) {
	full := errors.New("the disk is full")
	for _, name := range Names {
		w, err := New(name, failing{full}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Begin(people)
		cells := []json.RawMessage{json.RawMessage("1"), json.RawMessage(`"x"`), json.RawMessage("2.5")}
		for range 1000 {
			if err == nil {
				err = w.Row(cells)
			}
		}
		if err = errors.Join(err, w.Close()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
