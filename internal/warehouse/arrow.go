package warehouse

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Results in Arrow are decoded here, not by the driver, whose decimals pass
// through floats. The forms are those that its converter.go reads:
//
//	NUMBER          int8 … int64 of the digits without the point, or decimal128
//	FLOAT           float64
//	DATE            date32
//	TIME            int32 or int64, in units of the scale
//	TIMESTAMP_NTZ, TIMESTAMP_LTZ  int64 in units of the scale, or {epoch, fraction}
//	TIMESTAMP_TZ    {epoch, timezone} with the epoch in units of the scale, or {epoch, fraction, timezone}
//	others          bool, binary, utf8

// An arrowChunk is a part of a result that is being read: an IPC stream.
type arrowChunk struct {
	reader  *ipc.Reader
	record  arrow.RecordBatch
	columns []arrow.Array
	at      int // of the record's rows
	scratch []byte
	ends    []int
}

func newArrowChunk(stream io.Reader) (*arrowChunk, error) {
	reader, err := ipc.NewReader(stream)
	if err != nil {
		return nil, fmt.Errorf("%w: a part of the result is no Arrow stream", errInconsistent)
	}
	return &arrowChunk{reader: reader}, nil
}

func (c *arrowChunk) close() { c.reader.Release() }

// next decodes the next row into values, or returns [io.EOF]. What arrow's own
// code makes of bytes that are no Arrow can be a panic; here, it is an error.
func (c *arrowChunk) next(r *Rows) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%w: a part of the result is no Arrow stream", errInconsistent)
		}
	}()
	for c.record == nil || c.at >= int(c.record.NumRows()) {
		if !c.reader.Next() {
			if err := c.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return io.EOF
		}
		c.record, c.at = c.reader.RecordBatch(), 0
		if int(c.record.NumCols()) != len(r.columns) {
			return fmt.Errorf("%w: %d columns of Arrow for %d", errInconsistent, c.record.NumCols(), len(r.columns))
		}
		c.columns = c.record.Columns()
	}
	// All cells that are not text already are written one after the other, so
	// that a row costs one string.
	c.scratch, c.ends = c.scratch[:0], c.ends[:0]
	for i, column := range c.columns {
		if column.IsNull(c.at) {
			r.values[i] = Value{}
			continue
		}
		if text, ok := column.(*array.String); ok && (r.columns[i].Kind == Text || r.columns[i].Kind == Variant) {
			r.values[i] = Value{Text: text.Value(c.at), Valid: true}
			continue
		}
		if c.scratch, err = appendArrowCell(c.scratch, r.columns[i].Kind, r.scales[i], column, c.at); err != nil {
			return fmt.Errorf("%w: column %q: %w", errInconsistent, r.columns[i].Name, err)
		}
		r.values[i] = Value{Valid: true}
		c.ends = append(c.ends, i, len(c.scratch))
	}
	row, from := string(c.scratch), 0
	for k := 0; k < len(c.ends); k += 2 {
		r.values[c.ends[k]].Text = row[from:c.ends[k+1]]
		from = c.ends[k+1]
	}
	c.at++
	return nil
}

// appendArrowCell writes a cell as [Value.Text] has it.
func appendArrowCell(dst []byte, kind Kind, scale int, column arrow.Array, at int) ([]byte, error) {
	switch kind {
	case Number:
		if d, ok := column.(*array.Decimal128); ok {
			if s := int(d.DataType().(*arrow.Decimal128Type).Scale); s != scale {
				return dst, fmt.Errorf("a scale of %d for %d", s, scale)
			}
			return appendDigits(dst, d.Value(at).BigInt(), scale), nil
		}
		n, ok := integer(column, at)
		if !ok {
			return dst, errForm
		}
		if scale == 0 {
			return strconv.AppendInt(dst, n, 10), nil
		}
		return appendDigits(dst, big.NewInt(n), scale), nil
	case Float:
		f, ok := column.(*array.Float64)
		if !ok {
			return dst, errForm
		}
		return appendFloat(dst, f.Value(at)), nil
	case Boolean:
		b, ok := column.(*array.Boolean)
		if !ok {
			return dst, errForm
		}
		return strconv.AppendBool(dst, b.Value(at)), nil
	case Date:
		d, ok := column.(*array.Date32)
		if !ok {
			return dst, errForm
		}
		return time.Unix(int64(d.Value(at))*86400, 0).UTC().AppendFormat(dst, time.DateOnly), nil
	case Binary:
		b, ok := column.(*array.Binary)
		if !ok {
			return dst, errForm
		}
		return append(dst, strings.ToUpper(hex.EncodeToString(b.Value(at)))...), nil
	case Time:
		n, ok := integer(column, at)
		if !ok {
			return dst, errForm
		}
		return fromUnits(n, scale).AppendFormat(dst, time.TimeOnly+decimals(scale)), nil
	case TimestampNTZ, TimestampLTZ:
		t, _, err := arrowTime(column, at, scale)
		if err != nil {
			return dst, err
		}
		layout := dateTime + decimals(scale)
		if kind == TimestampLTZ {
			layout += "Z07:00"
		}
		return t.AppendFormat(dst, layout), nil
	case TimestampTZ:
		t, zone, err := arrowTime(column, at, scale)
		if err != nil {
			return dst, err
		}
		if zone < 0 || zone > 2*1440 {
			return dst, errors.New("a zone that there is not")
		}
		return t.In(time.FixedZone("", (int(zone)-1440)*60)).AppendFormat(dst, dateTime+decimals(scale)+"-07:00"), nil
	case Text, Variant:
		return dst, errForm
	default:
		return dst, errForm
	}
}

var errForm = errors.New("a form of Arrow that such a column has not")

// integer is a cell of any of the widths that the account chooses among.
func integer(column arrow.Array, at int) (int64, bool) {
	switch c := column.(type) {
	case *array.Int64:
		return c.Value(at), true
	case *array.Int32:
		return int64(c.Value(at)), true
	case *array.Int16:
		return int64(c.Value(at)), true
	case *array.Int8:
		return int64(c.Value(at)), true
	default:
		return 0, false
	}
}

// arrowTime reads a timestamp and its zone, in minutes plus 1440; -1 if it has
// none.
func arrowTime(column arrow.Array, at, scale int) (t time.Time, zone int64, err error) {
	zone = -1
	s, ok := column.(*array.Struct)
	if !ok {
		n, ok := integer(column, at)
		if !ok {
			return t, zone, errForm
		}
		return fromUnits(n, scale), zone, nil
	}
	var epoch, fraction int64
	split := false
	for i := range s.NumField() {
		n, ok := integer(s.Field(i), at)
		if !ok {
			return t, zone, errForm
		}
		switch s.DataType().(*arrow.StructType).Field(i).Name {
		case "epoch":
			epoch = n
		case "fraction":
			fraction, split = n, true
		case "timezone":
			zone = n
		default:
			return t, zone, errForm
		}
	}
	if split {
		return time.Unix(epoch, fraction).UTC(), zone, nil
	}
	return fromUnits(epoch, scale), zone, nil
}

// fromUnits is the time so many units of 10^-scale seconds after 1970.
func fromUnits(n int64, scale int) time.Time {
	unit := int64(1)
	for range min(max(scale, 0), 9) {
		unit *= 10
	}
	seconds, rest := n/unit, n%unit
	if rest < 0 {
		seconds, rest = seconds-1, rest+unit
	}
	return time.Unix(seconds, rest*(1_000_000_000/unit)).UTC()
}

// appendDigits writes a number whose last scale digits are behind the point.
func appendDigits(dst []byte, n *big.Int, scale int) []byte {
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	digits := new(big.Int).Abs(n).String()
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	if scale == 0 {
		return dst
	}
	return append(append(dst, '.'), digits[len(digits)-scale:]...)
}

// appendFloat writes a float as the account prints it.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	default:
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
}
