package warehouse

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// stream encodes one column of values.
func stream(t testing.TB, typ arrow.DataType, add func(array.Builder)) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "A", Type: typ, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	add(b.Field(0))
	b.Field(0).AppendNull()
	record := b.NewRecordBatch()
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// texts decodes a stream of one column.
func texts(body []byte, kind Kind, scale int) ([]string, error) {
	r := &Rows{columns: []Column{{Name: "A", Kind: kind}}, scales: []int{scale}, values: make([]Value, 1)}
	c, err := newArrowChunk(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []string
	for {
		switch err := c.next(r); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		case !r.values[0].Valid:
			out = append(out, "NULL")
		default:
			out = append(out, r.values[0].Text)
		}
	}
}

func epochs(names ...string) *arrow.StructType {
	var fields []arrow.Field
	for _, n := range names {
		f := arrow.Field{Name: n, Type: arrow.PrimitiveTypes.Int32}
		if n == "epoch" {
			f.Type = arrow.PrimitiveTypes.Int64
		}
		fields = append(fields, f)
	}
	return arrow.StructOf(fields...)
}

func times(epoch int64, more ...int32) func(array.Builder) {
	return func(b array.Builder) {
		s := b.(*array.StructBuilder)
		s.Append(true)
		s.FieldBuilder(0).(*array.Int64Builder).Append(epoch)
		for i, n := range more {
			s.FieldBuilder(i + 1).(*array.Int32Builder).Append(n)
		}
	}
}

// Each form that the account may choose for a column's values.
func TestArrowForms(t *testing.T) {
	for name, c := range map[string]struct {
		kind  Kind
		scale int
		typ   arrow.DataType
		add   func(array.Builder)
		want  string // empty: an error
	}{
		"int8":             {Number, 1, arrow.PrimitiveTypes.Int8, func(b array.Builder) { b.(*array.Int8Builder).Append(-5) }, "-0.5"},
		"int16":            {Number, 0, arrow.PrimitiveTypes.Int16, func(b array.Builder) { b.(*array.Int16Builder).Append(-300) }, "-300"},
		"int32":            {Number, 4, arrow.PrimitiveTypes.Int32, func(b array.Builder) { b.(*array.Int32Builder).Append(123456) }, "12.3456"},
		"int64":            {Number, 4, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(123456789012345678) }, "12345678901234.5678"},
		"the least int64":  {Number, 2, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(math.MinInt64) }, "-92233720368547758.08"},
		"decimal":          {Number, 2, &arrow.Decimal128Type{Precision: 38, Scale: 2}, func(b array.Builder) { b.(*array.Decimal128Builder).Append(decimal128.FromI64(-7)) }, "-0.07"},
		"another scale":    {Number, 3, &arrow.Decimal128Type{Precision: 38, Scale: 2}, func(b array.Builder) { b.(*array.Decimal128Builder).Append(decimal128.FromI64(-7)) }, ""},
		"float":            {Float, 0, arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(1.5) }, "1.5"},
		"no number":        {Float, 0, arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(math.NaN()) }, "NaN"},
		"below all":        {Float, 0, arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(math.Inf(-1)) }, "-inf"},
		"boolean":          {Boolean, 0, arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }, "true"},
		"text":             {Text, 0, arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append("é\n") }, "é\n"},
		"variant":          {Variant, 0, arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append(`{"a":1}`) }, `{"a":1}`},
		"bytes":            {Binary, 0, arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0, 0xab}) }, "00AB"},
		"date":             {Date, 0, arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(-165) }, "1969-07-20"},
		"short time":       {Time, 3, arrow.PrimitiveTypes.Int32, func(b array.Builder) { b.(*array.Int32Builder).Append(3_723_004) }, "01:02:03.004"},
		"long time":        {Time, 9, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(3_723_000_000_005) }, "01:02:03.000000005"},
		"before 1970":      {TimestampNTZ, 3, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(-315_619_199_995) }, "1960-01-01T00:00:00.005"},
		"with a fraction":  {TimestampNTZ, 9, epochs("epoch", "fraction"), times(-1, 5), "1969-12-31T23:59:59.000000005"},
		"a point in time":  {TimestampLTZ, 0, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(0) }, "1970-01-01T00:00:00Z"},
		"with a zone":      {TimestampTZ, 3, epochs("epoch", "timezone"), times(1500, 1560), "1970-01-01T02:00:01.500+02:00"},
		"with both":        {TimestampTZ, 9, epochs("epoch", "fraction", "timezone"), times(0, 7, 1140), "1969-12-31T19:00:00.000000007-05:00"},
		"without its zone": {TimestampTZ, 9, epochs("epoch", "fraction"), times(0, 7), ""},
		"no such zone":     {TimestampTZ, 3, epochs("epoch", "timezone"), times(0, 9000), ""},
		"more than a time": {TimestampNTZ, 9, epochs("epoch", "surprise"), times(0, 7), ""},
		"text for number":  {Number, 0, arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append("1") }, ""},
		"number for text":  {Text, 0, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(1) }, ""},
		"of no kind":       {0, 0, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(1) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := texts(stream(t, c.typ, c.add), c.kind, c.scale)
			if c.want == "" {
				if !errors.Is(err, errInconsistent) {
					t.Errorf("%q, %v, want an error", got, err)
				}
				return
			}
			if err != nil || !slices.Equal(got, []string{c.want, "NULL"}) {
				t.Errorf("%q, %v, want %q and NULL", got, err, c.want)
			}
		})
	}
}

// Whatever is in a well-formed stream is decoded or refused, never a panic. (Of
// one that is not, arrow-go believes the lengths that its schema claims; see
// KNOWN_LIMITATIONS.md.)
func FuzzArrow(f *testing.F) {
	f.Add(uint8(Number), uint8(0), 2, int64(-5), int32(0), "")
	f.Add(uint8(TimestampTZ), uint8(3), 9, int64(math.MinInt64), int32(math.MaxInt32), "")
	f.Add(uint8(Date), uint8(4), 0, int64(0), int32(math.MinInt32), "")
	f.Add(uint8(Text), uint8(5), 0, int64(0), int32(0), "\xff")
	f.Fuzz(func(t *testing.T, kind, form uint8, scale int, n int64, m int32, text string) {
		var typ arrow.DataType
		var add func(array.Builder)
		switch form % 6 {
		case 0:
			typ, add = arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(n) }
		case 1:
			typ, add = epochs("epoch", "fraction"), times(n, m)
		case 2:
			typ, add = epochs("epoch", "timezone"), times(n, m)
		case 3:
			typ, add = epochs("epoch", "fraction", "timezone"), times(n, m, m)
		case 4:
			typ, add = arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(arrow.Date32(m)) }
		default:
			typ, add = arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append(text) }
		}
		got, err := texts(stream(t, typ, add), Kind(kind%uint8(Variant+1)), min(max(scale, 0), 37))
		if err == nil && len(got) != 2 {
			t.Errorf("%d values of 2", len(got))
		}
		if err != nil && !errors.Is(err, errInconsistent) {
			t.Error(err)
		}
	})
}
