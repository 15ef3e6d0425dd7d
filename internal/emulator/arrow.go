//go:build cgo

package emulator

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/duckdb/duckdb-go/v2"
)

// The Arrow result format: each part of a result is an IPC stream. What a
// column's values are is in its field's metadata.
//
//	fixed          int64 of the digits without the point, decimal128 beyond 18 digits
//	real           float64
//	boolean        bool
//	date           date32
//	time           int64, in units of the scale
//	timestamp_ntz, timestamp_ltz  int64 in units of the scale up to 7, else {epoch int64, fraction int32}
//	timestamp_tz   {epoch int64 in units of the scale, timezone int32} up to 3, else {epoch, fraction, timezone}
//	binary         binary
//	the rest       utf8
//
// Source: gosnowflake's converter.go, which reads them.

// arrowRows is how many rows a record of a stream has at most.
const arrowRows = 16384

// An arrowWriter makes the parts of one result.
type arrowWriter struct {
	schema  *arrow.Schema
	builder *array.RecordBuilder
	columns []column
	buffer  *bytes.Buffer
	writer  *ipc.Writer
	rows    int // of the record being built
}

func newArrowWriter(columns []column) *arrowWriter {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.arrowType(), Nullable: true, Metadata: arrow.NewMetadata(
			[]string{"logicalType", "precision", "scale"},
			[]string{strings.ToUpper(c.Type), strconv.Itoa(number(c.Precision)), strconv.Itoa(number(c.Scale))})}
	}
	w := &arrowWriter{schema: arrow.NewSchema(fields, nil), columns: columns}
	w.builder = array.NewRecordBuilder(memory.DefaultAllocator, w.schema)
	w.begin()
	return w
}

func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func (c *column) arrowType() arrow.DataType {
	epoch := arrow.Field{Name: "epoch", Type: arrow.PrimitiveTypes.Int64}
	fraction, zone := arrow.Field{Name: "fraction", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "timezone", Type: arrow.PrimitiveTypes.Int32}
	switch c.Type {
	case "fixed":
		if number(c.Precision) > 18 {
			return &arrow.Decimal128Type{Precision: int32(number(c.Precision)), Scale: int32(number(c.Scale))}
		}
		return arrow.PrimitiveTypes.Int64
	case "real":
		return arrow.PrimitiveTypes.Float64
	case "boolean":
		return arrow.FixedWidthTypes.Boolean
	case "date":
		return arrow.FixedWidthTypes.Date32
	case "time":
		return arrow.PrimitiveTypes.Int64
	case "timestamp_ntz", "timestamp_ltz":
		if number(c.Scale) <= 7 {
			return arrow.PrimitiveTypes.Int64
		}
		return arrow.StructOf(epoch, fraction)
	case "timestamp_tz":
		if number(c.Scale) <= 3 {
			return arrow.StructOf(epoch, zone)
		}
		return arrow.StructOf(epoch, fraction, zone)
	case "binary":
		return arrow.BinaryTypes.Binary
	default:
		return arrow.BinaryTypes.String
	}
}

// begin begins a part.
func (w *arrowWriter) begin() {
	w.buffer = &bytes.Buffer{}
	w.writer = ipc.NewWriter(w.buffer, ipc.WithSchema(w.schema))
}

// flush writes the rows that were added as a record.
func (w *arrowWriter) flush() error {
	if w.rows == 0 {
		return nil
	}
	record := w.builder.NewRecordBatch()
	defer record.Release()
	w.rows = 0
	return w.writer.Write(record)
}

// end ends a part and returns it.
func (w *arrowWriter) end() ([]byte, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := w.writer.Close(); err != nil {
		return nil, err
	}
	return w.buffer.Bytes(), nil
}

// fillArrow runs a query and encodes its rows.
func (r *result) fillArrow(ctx context.Context, conn *duckdb.Conn, text string) (err error) {
	rows, err := conn.QueryContext(ctx, text, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	w := newArrowWriter(r.columns)
	defer w.builder.Release()
	values := make([]driver.Value, len(r.columns))
	part := 0
	cut := func() error {
		body, err := w.end()
		if err != nil {
			return fmt.Errorf("encoding rows: %w", err)
		}
		r.look(body)
		if r.arrow == nil {
			r.arrow = body
		} else {
			r.chunks = append(r.chunks, newChunk(body, part))
		}
		part = 0
		w.begin()
		return nil
	}
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			if part > 0 || r.arrow == nil {
				return cut()
			}
			return nil
		case err != nil:
			return err
		}
		if r.count%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for i, v := range values {
			if err := appendArrow(w.builder.Field(i), &r.columns[i], v); err != nil {
				return fmt.Errorf("encoding column %s: %w", r.columns[i].Name, err)
			}
		}
		part++
		r.count++
		if w.rows++; w.rows == arrowRows || r.arrow == nil && part == firstRows {
			if err := w.flush(); err != nil {
				return fmt.Errorf("encoding rows: %w", err)
			}
			if r.arrow == nil && part >= firstRows || w.buffer.Len() >= chunkSize {
				if err := cut(); err != nil {
					return err
				}
			}
		}
	}
}

// firstRows is how many rows of a long result in Arrow are in the reply itself.
const firstRows = 1024

// appendArrow adds a value to a column.
func appendArrow(b array.Builder, c *column, v driver.Value) error {
	if v == nil {
		b.AppendNull()
		return nil
	}
	scale := number(c.Scale)
	switch b := b.(type) {
	case *array.BooleanBuilder:
		on, ok := v.(bool)
		if !ok {
			return fmt.Errorf("a %T in a column of booleans", v)
		}
		b.Append(on)
	case *array.Float64Builder:
		switch f := v.(type) {
		case float64:
			b.Append(f)
		case float32:
			b.Append(float64(f))
		default:
			return fmt.Errorf("a %T in a column of floats", v)
		}
	case *array.Date32Builder:
		t, ok := v.(time.Time)
		if !ok {
			return fmt.Errorf("a %T in a column of dates", v)
		}
		b.Append(arrow.Date32FromTime(t))
	case *array.BinaryBuilder:
		raw, ok := v.([]byte)
		if !ok {
			return fmt.Errorf("a %T in a column of bytes", v)
		}
		b.Append(raw)
	case *array.StringBuilder:
		if text, ok := v.(string); ok && c.Type == "text" {
			b.Append(strings.ToValidUTF8(text, "\uFFFD"))
			return nil
		}
		text, err := appendCell(nil, c, v)
		if err != nil {
			return err
		}
		b.Append(strings.ToValidUTF8(string(text), "\uFFFD"))
	case *array.Int64Builder:
		if t, ok := v.(time.Time); ok {
			if c.Type == "time" {
				b.Append(units(int64(t.Hour()*3600+t.Minute()*60+t.Second()), t.Nanosecond(), scale))
			} else {
				b.Append(units(t.Unix(), t.Nanosecond(), scale))
			}
			return nil
		}
		n, err := unscaled(v, scale)
		if err != nil {
			return err
		}
		if !n.IsInt64() {
			return errors.New("a number beyond its precision")
		}
		b.Append(n.Int64())
	case *array.Decimal128Builder:
		n, err := unscaled(v, scale)
		if err != nil {
			return err
		}
		b.Append(decimal128.FromBigInt(n))
	case *array.StructBuilder:
		t, ok := v.(time.Time)
		if !ok {
			return fmt.Errorf("a %T in a column of times", v)
		}
		b.Append(true)
		_, offset := t.Zone()
		epoch, fraction := t.Unix(), int32(t.Nanosecond())
		if c.Type == "timestamp_tz" && scale <= 3 {
			epoch = units(t.Unix(), t.Nanosecond(), scale)
		}
		b.FieldBuilder(0).(*array.Int64Builder).Append(epoch)
		for i := 1; i < b.NumField(); i++ {
			n := fraction
			if b.Type().(*arrow.StructType).Field(i).Name == "timezone" {
				n = int32(offset/60 + 1440)
			}
			b.FieldBuilder(i).(*array.Int32Builder).Append(n)
		}
	default:
		return fmt.Errorf("no form for %T", v)
	}
	return nil
}

// units is a time in units of 10^-scale seconds.
func units(seconds int64, nanos, scale int) int64 {
	unit := int64(1)
	for range scale {
		unit *= 10
	}
	return seconds*unit + int64(nanos)*unit/1_000_000_000
}

// unscaled is a number's digits without the point.
func unscaled(v driver.Value, scale int) (*big.Int, error) {
	var n *big.Int
	has := 0
	switch v := v.(type) {
	case int64:
		n = big.NewInt(v)
	case int32:
		n = big.NewInt(int64(v))
	case int16:
		n = big.NewInt(int64(v))
	case int8:
		n = big.NewInt(int64(v))
	case uint64:
		n = new(big.Int).SetUint64(v)
	case uint32:
		n = big.NewInt(int64(v))
	case uint16:
		n = big.NewInt(int64(v))
	case uint8:
		n = big.NewInt(int64(v))
	case *big.Int:
		n = new(big.Int).Set(v)
	case duckdb.Decimal:
		n, has = v.Value, int(v.Scale)
	default:
		return nil, fmt.Errorf("a %T in a column of numbers", v)
	}
	for ; has < scale; has++ {
		n = new(big.Int).Mul(n, big.NewInt(10))
	}
	if has > scale {
		return nil, errors.New("a number beyond its scale")
	}
	return n, nil
}
