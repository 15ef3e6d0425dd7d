package format

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"querywarden/internal/client"
)

// parquetWriter writes a row group for every groupRows rows or groupBytes
// bytes. Columns:
//
//	NUMBER(p,s)                     DECIMAL(p,s), exact
//	FLOAT                           DOUBLE
//	BOOLEAN                         BOOLEAN
//	VARCHAR                         STRING
//	BINARY                          BYTE_ARRAY
//	DATE                            DATE
//	TIME(s)                         TIME, not adjusted to UTC
//	TIMESTAMP_NTZ(s)                TIMESTAMP, not adjusted to UTC
//	TIMESTAMP_LTZ(s), _TZ(s)        TIMESTAMP in UTC; the offset of _TZ is lost
//	VARIANT, OBJECT, ARRAY          JSON
//
// Times and timestamps are in microseconds where s is at most 6 and in
// nanoseconds otherwise. A value that does not fit its column (a detector's
// word in a column of numbers, a nanosecond beyond the year 2262) ends the
// writing: no value is changed to make it fit.
//
// The file's key-value metadata has each column's type in Snowflake and its
// mask, under snowflake.type.NAME and querywarden.masked.NAME.
//
// It uses arrow-go's file writer and not its Arrow bridge, which would link
// gRPC into the program.
type parquetWriter struct {
	w       io.Writer
	file    *file.Writer
	columns []*parquetColumn
	rows    int64 // in all
	held    int   // rows not yet written
	bytes   int   // of them
}

const (
	groupRows  = 100_000
	groupBytes = 32 << 20
)

// A parquetColumn holds the values of the row group to come.
type parquetColumn struct {
	name    string
	node    schema.Node
	add     func(string) error
	present []int16 // definition levels: 1 for a value, 0 for null
	write   func(w file.ColumnChunkWriter, present []int16) error
}

func (p *parquetWriter) Begin(columns []client.Column) error {
	names := distinct(columns)
	var fields schema.FieldList
	for i, c := range columns {
		column, err := newParquetColumn(names[i], c.Type)
		if err != nil {
			return fmt.Errorf("writing column %s: %w", c.Name, err)
		}
		p.columns, fields = append(p.columns, column), append(fields, column.node)
	}
	root, err := schema.NewGroupNode("rows", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return wrapped(err)
	}
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithCreatedBy("querywarden"))
	// The library closes what it writes to, if that can be closed; ours is not
	// its to close.
	if p.file, err = file.NewParquetWriterWithError(struct{ io.Writer }{p.w}, root, file.WithWriterProps(properties)); err != nil {
		return wrapped(err)
	}
	for i, c := range columns {
		err = errors.Join(err, p.file.AppendKeyValueMetadata("snowflake.type."+names[i], c.Type))
		if c.Masked != "" {
			err = errors.Join(err, p.file.AppendKeyValueMetadata("querywarden.masked."+names[i], c.Masked))
		}
	}
	return wrapped(err)
}

func (p *parquetWriter) Row(cells []json.RawMessage) error {
	p.rows++
	for i, cell := range cells {
		column := p.columns[i]
		s, ok, err := text(cell)
		switch {
		case err != nil:
			return wrapped(err)
		case !ok:
			column.present = append(column.present, 0)
		default:
			if err := column.add(s); err != nil {
				return &client.Error{
					Err:  fmt.Errorf("writing row %d: column %s: %w", p.rows, column.name, err),
					Next: "write it as csv or json, or cast the column to VARCHAR",
				}
			}
			column.present = append(column.present, 1)
		}
		p.bytes += len(cell)
	}
	if p.held++; p.held >= groupRows || p.bytes >= groupBytes {
		return p.flush()
	}
	return nil
}

// flush writes a row group.
func (p *parquetWriter) flush() error {
	group, err := p.file.AppendRowGroupChecked()
	if err != nil {
		return wrapped(err)
	}
	for _, column := range p.columns {
		w, err := group.NextColumn()
		if err != nil {
			return wrapped(err)
		}
		if err := errors.Join(column.write(w, column.present), w.Close()); err != nil {
			return fmt.Errorf("writing column %s: %w", column.name, err)
		}
		column.present = column.present[:0]
	}
	p.held, p.bytes = 0, 0
	return wrapped(group.Close())
}

func (p *parquetWriter) Close() error {
	if p.file == nil {
		return nil
	}
	if p.held > 0 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	return wrapped(p.file.Close())
}

// parts reads a type's name and its parameters.
func parts(kind string) (name string, numbers []int, err error) {
	name, rest, found := strings.Cut(kind, "(")
	if !found {
		return name, nil, nil
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(rest, ")"), ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return "", nil, unknownType(kind)
		}
		numbers = append(numbers, n)
	}
	return name, numbers, nil
}

func unknownType(kind string) error { return fmt.Errorf("it is of the unknown type %q", kind) }

var (
	errNoFit   = errors.New("a value does not fit its type; a detector may have hidden it")
	errTooLate = errors.New("a time does not fit 64 bits of nanoseconds")
)

// newParquetColumn makes a column of one of Snowflake's types.
func newParquetColumn(name, kind string) (*parquetColumn, error) {
	word, numbers, err := parts(kind)
	if err != nil {
		return nil, err
	}
	c := &parquetColumn{name: name}
	unit, micros := schema.TimeUnitNanos, false
	if len(numbers) == 1 && numbers[0] <= 6 {
		unit, micros = schema.TimeUnitMicros, true
	}
	switch word {
	case "NUMBER":
		if len(numbers) != 2 || numbers[0] < 1 || numbers[0] > 38 || numbers[1] < 0 || numbers[1] > numbers[0] {
			return nil, unknownType(kind)
		}
		precision, scale := numbers[0], numbers[1]
		logical := schema.NewDecimalLogicalType(int32(precision), int32(scale))
		if precision <= 18 {
			return c, c.become(logical, parquet.Types.Int64, values(c, int64s, func(s string) (int64, error) {
				n, err := decimal(s, precision, scale)
				if err != nil {
					return 0, err
				}
				return n.Int64(), nil
			}))
		}
		return c, c.become(logical, parquet.Types.FixedLenByteArray, values(c, fixed, func(s string) (parquet.FixedLenByteArray, error) {
			n, err := decimal(s, precision, scale)
			if err != nil {
				return nil, err
			}
			return twosComplement(n), nil
		}))
	case "FLOAT":
		return c, c.become(schema.NoLogicalType{}, parquet.Types.Double, values(c, doubles, func(s string) (float64, error) {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return 0, errNoFit
			}
			return v, nil
		}))
	case "BOOLEAN":
		return c, c.become(schema.NoLogicalType{}, parquet.Types.Boolean, values(c, booleans, func(s string) (bool, error) {
			if s != "true" && s != "false" {
				return false, errNoFit
			}
			return s == "true", nil
		}))
	case "VARCHAR":
		return c, c.become(schema.StringLogicalType{}, parquet.Types.ByteArray, values(c, byteArrays, func(s string) (parquet.ByteArray, error) { return parquet.ByteArray(s), nil }))
	case "VARIANT", "OBJECT", "ARRAY":
		return c, c.become(schema.JSONLogicalType{}, parquet.Types.ByteArray, values(c, byteArrays, func(s string) (parquet.ByteArray, error) {
			if !json.Valid([]byte(s)) {
				return nil, errNoFit
			}
			return parquet.ByteArray(s), nil
		}))
	case "BINARY":
		return c, c.become(schema.NoLogicalType{}, parquet.Types.ByteArray, values(c, byteArrays, func(s string) (parquet.ByteArray, error) {
			v, err := hex.DecodeString(s)
			if err != nil {
				return nil, errNoFit
			}
			return v, nil
		}))
	case "DATE":
		return c, c.become(schema.DateLogicalType{}, parquet.Types.Int32, values(c, int32s, func(s string) (int32, error) {
			t, err := time.Parse(time.DateOnly, s)
			if err != nil {
				return 0, errNoFit
			}
			return int32(t.Unix() / 86400), nil
		}))
	case "TIME":
		return c, c.become(schema.NewTimeLogicalType(false, unit), parquet.Types.Int64, values(c, int64s, func(s string) (int64, error) {
			t, err := time.Parse("15:04:05", s)
			if err != nil {
				return 0, errNoFit
			}
			since := t.Sub(t.Truncate(24 * time.Hour))
			if micros {
				return since.Microseconds(), nil
			}
			return since.Nanoseconds(), nil
		}))
	case "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		layout, utc := "2006-01-02T15:04:05", false
		if word != "TIMESTAMP_NTZ" {
			layout, utc = layout+"Z07:00", true
		}
		logical := schema.NewTimestampLogicalTypeForce(utc, unit)
		return c, c.become(logical, parquet.Types.Int64, values(c, int64s, func(s string) (int64, error) {
			t, err := time.Parse(layout, s) // takes decimals of seconds as they come
			if err != nil {
				return 0, errNoFit
			}
			if micros {
				return t.UnixMicro(), nil
			}
			if !time.Unix(0, t.UnixNano()).Equal(t) {
				return 0, errTooLate
			}
			return t.UnixNano(), nil
		}))
	default:
		return nil, unknownType(kind)
	}
}

// become decides how a column stands in the file.
func (c *parquetColumn) become(logical schema.LogicalType, physical parquet.Type, write func(file.ColumnChunkWriter, []int16) error) error {
	length := -1
	if physical == parquet.Types.FixedLenByteArray {
		length = decimalBytes
	}
	node, err := schema.NewPrimitiveNodeLogical(c.name, parquet.Repetitions.Optional, logical, physical, length, -1)
	c.node, c.write = node, write
	return err
}

// errKind is an error of this package: a column got another's writer.
var errKind = errors.New("the writer is of another type")

// values keeps a column's values between row groups. It sets how they are read,
// and returns how they are written.
func values[T any](c *parquetColumn, batch func(file.ColumnChunkWriter, []T, []int16) error, read func(string) (T, error)) func(file.ColumnChunkWriter, []int16) error {
	var held []T
	c.add = func(s string) error {
		v, err := read(s)
		if err == nil {
			held = append(held, v)
		}
		return err
	}
	return func(w file.ColumnChunkWriter, present []int16) error {
		err := batch(w, held, present)
		clear(held)
		held = held[:0]
		return err
	}
}

func int32s(w file.ColumnChunkWriter, v []int32, present []int16) error {
	return writeBatch[*file.Int32ColumnChunkWriter](w, v, present)
}

func int64s(w file.ColumnChunkWriter, v []int64, present []int16) error {
	return writeBatch[*file.Int64ColumnChunkWriter](w, v, present)
}

func doubles(w file.ColumnChunkWriter, v []float64, present []int16) error {
	return writeBatch[*file.Float64ColumnChunkWriter](w, v, present)
}

func booleans(w file.ColumnChunkWriter, v []bool, present []int16) error {
	return writeBatch[*file.BooleanColumnChunkWriter](w, v, present)
}

func byteArrays(w file.ColumnChunkWriter, v []parquet.ByteArray, present []int16) error {
	return writeBatch[*file.ByteArrayColumnChunkWriter](w, v, present)
}

func fixed(w file.ColumnChunkWriter, v []parquet.FixedLenByteArray, present []int16) error {
	return writeBatch[*file.FixedLenByteArrayColumnChunkWriter](w, v, present)
}

func writeBatch[W interface {
	WriteBatch(values []T, defLevels, repLevels []int16) (int64, error)
}, T any](w file.ColumnChunkWriter, v []T, present []int16) error {
	typed, ok := w.(W)
	if !ok {
		return errKind
	}
	_, err := typed.WriteBatch(v, present, nil)
	return err
}

// decimalBytes holds 38 decimal digits and a sign.
const decimalBytes = 16

// twosComplement is a number in decimalBytes, the highest first.
func twosComplement(n *big.Int) parquet.FixedLenByteArray {
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 8*decimalBytes))
	}
	return n.FillBytes(make([]byte, decimalBytes))
}

// decimal reads a decimal of at most that many digits, with that many of them
// after the point, which it leaves out.
func decimal(s string, precision, scale int) (*big.Int, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	for len(fraction) > scale && strings.HasSuffix(fraction, "0") {
		fraction = fraction[:len(fraction)-1]
	}
	if whole == "" && fraction == "" || len(fraction) > scale {
		return nil, errNoFit
	}
	all := strings.TrimLeft(whole+fraction+strings.Repeat("0", scale-len(fraction)), "0")
	if len(all) > precision || strings.Trim(all, "0123456789") != "" {
		return nil, errNoFit
	}
	n, ok := new(big.Int).SetString(or(all, "0"), 10)
	if !ok {
		return nil, errNoFit
	}
	if negative {
		n.Neg(n)
	}
	return n, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
