//go:build cgo

package emulator

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// The ids of kinds of statement in replies. Drivers read the counters of a
// result from 0x3000 to 0x3500, and the children of 0xA000.
const (
	typeSelect   = 0x1000
	typeInsert   = 0x3100
	typeUpdate   = 0x3200
	typeDelete   = 0x3300
	typeMerge    = 0x3400
	typeShow     = 0x4100
	typeUse      = 0x4200
	typeDescribe = 0x4300
	typeSession  = 0x4400
	typeTx       = 0x5000
	typeDDL      = 0x6000
	typeMulti    = 0xA000
)

// A result is what a statement yields.
type result struct {
	typeID  int
	columns []column
	rows    []byte // JSON arrays of strings and nulls, with commas between: of the part being written
	part    int    // rows of that part
	first   []byte // the first part, once there is another
	chunks  []chunk
	arrow   []byte // the first part, if the result is in Arrow
	count   int    // rows in all
	binds   int
	watch   func(part []byte) // looks at each part, if anybody wants to
	ids     string            // of the children of several statements
	types   string
}

// A column describes a column of a result.
type column struct {
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Precision  *int    `json:"precision"`
	Scale      *int    `json:"scale"`
	Length     *int    `json:"length"`
	ByteLength *int    `json:"byteLength"`
	Nullable   bool    `json:"nullable"`
	Database   string  `json:"database"`
	Schema     string  `json:"schema"`
	Table      string  `json:"table"`
	Collation  *string `json:"collation"`
}

// textResult is a result of one row and one column.
func textResult(typeID int, name, text string) *result {
	r := &result{typeID: typeID, columns: []column{newColumn(name, varcharType)}}
	r.add([]*string{&text})
	return r
}

// status is the one row that DDL answers.
func status(typeID int, format string, args ...any) *result {
	return textResult(typeID, "status", fmt.Sprintf(format, args...))
}

// counters is the one row that DML answers.
func counters(typeID int, names []string, values []int64) *result {
	r := &result{typeID: typeID}
	row := make([]*string, len(names))
	for i, name := range names {
		r.columns = append(r.columns, newColumn(name, dataType{name: "NUMBER", precision: 19}))
		text := strconv.FormatInt(values[i], 10)
		row[i] = &text
	}
	r.add(row)
	return r
}

func (r *result) look(part []byte) {
	if r.watch != nil {
		r.watch(part)
	}
}

// add appends a row.
func (r *result) add(row []*string) {
	r.begin()
	for i, cell := range row {
		if cell == nil {
			r.cell(i, nil)
			continue
		}
		r.cell(i, []byte(*cell))
	}
	r.end()
}

func (r *result) begin() {
	if r.part > 0 {
		r.rows = append(r.rows, ',')
	}
	r.rows = append(r.rows, '[')
	r.part++
	r.count++
}

// cell appends a cell; nil is NULL.
func (r *result) cell(i int, text []byte) {
	if i > 0 {
		r.rows = append(r.rows, ',')
	}
	if text == nil {
		r.rows = append(r.rows, "null"...)
		return
	}
	r.rows = appendJSONString(r.rows, text)
}

func (r *result) end() {
	r.rows = append(r.rows, ']')
	if r.first == nil && len(r.rows) >= firstSize || len(r.rows) >= chunkSize {
		r.cut()
	}
}

// appendJSONString writes text between quotes; bytes that are not UTF-8 become
// the replacement character.
func appendJSONString(dst, text []byte) []byte {
	plain := true
	for _, c := range text {
		if c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(dst, '"'), text...), '"')
	}
	quoted, err := json.Marshal(string(text))
	if err != nil { // of a string, it cannot
		return append(dst, `""`...)
	}
	return append(dst, quoted...)
}

// selectRows runs a DuckDB query and encodes its rows. Columns whose Snowflake
// type the caller knows better than DuckDB are in declared, by position.
func (s *session) selectRows(ctx context.Context, text string, declared []*dataType, describe bool) (*result, error) {
	if s.faulty == Wider {
		text = "SELECT *, 'a column more' AS \"EXTRA\" FROM (" + text + ")"
	}
	r := &result{typeID: typeSelect, watch: s.watch}
	err := s.conn.Raw(func(native any) error {
		conn := native.(*duckdb.Conn)
		columns, conversions, err := describeQuery(ctx, conn, text, declared)
		if err != nil {
			return err
		}
		r.columns = columns
		if describe {
			return nil
		}
		if conversions != "" {
			text = "SELECT " + conversions + " FROM (" + text + ")"
		}
		if strings.EqualFold(s.parameters["GO_QUERY_RESULT_FORMAT"], "arrow") {
			return r.fillArrow(ctx, conn, text)
		}
		return r.fill(ctx, conn, text)
	})
	if errors.Is(err, driver.ErrBadConn) {
		err = fmt.Errorf("running in DuckDB: %w", err)
	}
	return r, err
}

// describeQuery finds the columns of a query without running it. Types that
// have no form of their own on the wire are sent as text: conversions, if not
// empty, is the select list that makes them so.
func describeQuery(ctx context.Context, conn *duckdb.Conn, text string, declared []*dataType) (columns []column, conversions string, err error) {
	prepared, err := conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, "", err
	}
	stmt := prepared.(*duckdb.Stmt)
	defer func() { err = errors.Join(err, stmt.Close()) }()
	n, err := stmt.ColumnCount()
	if err != nil {
		return nil, "", err
	}
	var list []string
	convert := false
	for i := range n {
		name, err := stmt.ColumnName(i)
		if err != nil {
			return nil, "", err
		}
		info, err := stmt.ColumnTypeInfo(i)
		if err != nil {
			return nil, "", err
		}
		t, as := fromDuckDB(info)
		if i < len(declared) && declared[i] != nil && declared[i].fits(t) {
			t = *declared[i]
		}
		columns = append(columns, newColumn(name, t))
		list = append(list, fmt.Sprintf(as, i+1))
		convert = convert || as != asIs
	}
	if convert {
		conversions = strings.Join(list, ", ")
	}
	return columns, conversions, nil
}

// fill runs a query and encodes its rows.
func (r *result) fill(ctx context.Context, conn *duckdb.Conn, text string) (err error) {
	rows, err := conn.QueryContext(ctx, text, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(r.columns))
	scratch := []byte{} // not nil, which is NULL
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if r.count%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r.begin()
		for i, v := range values {
			if v == nil {
				r.cell(i, nil)
				continue
			}
			if scratch, err = appendCell(scratch[:0], &r.columns[i], v); err != nil {
				return fmt.Errorf("encoding column %s: %w", r.columns[i].Name, err)
			}
			r.cell(i, scratch)
		}
		r.end()
	}
}

// appendCell writes a value as the JSON result format has it.
func appendCell(dst []byte, c *column, v driver.Value) ([]byte, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return append(dst, '1'), nil
		}
		return append(dst, '0'), nil
	case int8:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int16:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case uint8:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint16:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case *big.Int:
		return v.Append(dst, 10), nil
	case float32:
		return strconv.AppendFloat(dst, float64(v), 'g', -1, 32), nil
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64), nil
	case duckdb.Decimal:
		return appendDecimal(dst, v), nil
	case []byte:
		return append(dst, strings.ToUpper(hex.EncodeToString(v))...), nil
	case string:
		if c.Type == "variant" || c.Type == "object" || c.Type == "array" {
			return appendVariant(dst, v)
		}
		return append(dst, v...), nil
	case time.Time:
		return appendTime(dst, c.Type, v)
	default:
		return nil, fmt.Errorf("no form for %T", v)
	}
}

func appendDecimal(dst []byte, d duckdb.Decimal) []byte {
	digits := d.Value.String()
	digits, negative := strings.CutPrefix(digits, "-")
	if negative {
		dst = append(dst, '-')
	}
	scale := int(d.Scale)
	if scale == 0 {
		return append(dst, digits...)
	}
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	dst = append(dst, '.')
	return append(dst, digits[len(digits)-scale:]...)
}

// appendTime writes dates as days since 1970, times and timestamps as seconds
// with nine decimals, the sign before the whole.
func appendTime(dst []byte, typ string, t time.Time) ([]byte, error) {
	switch typ {
	case "date":
		days := t.Unix() / 86400
		if t.Unix()%86400 < 0 {
			days--
		}
		return strconv.AppendInt(dst, days, 10), nil
	case "time":
		return fmt.Appendf(dst, "%d.%09d", t.Hour()*3600+t.Minute()*60+t.Second(), t.Nanosecond()), nil
	case "timestamp_ntz", "timestamp_ltz", "timestamp_tz":
		seconds, nanos := t.Unix(), t.Nanosecond()
		if seconds < 0 && nanos > 0 {
			seconds, nanos = seconds+1, 1_000_000_000-nanos
			if seconds == 0 {
				dst = append(dst, '-')
			}
		}
		dst = fmt.Appendf(dst, "%d.%09d", seconds, nanos)
		if typ == "timestamp_tz" {
			_, offset := t.Zone()
			dst = fmt.Appendf(dst, " %d", offset/60+1440)
		}
		return dst, nil
	default:
		return nil, fmt.Errorf("a time in a column of type %s", typ)
	}
}

// appendVariant writes JSON as Snowflake prints a VARIANT: keys in order, two
// spaces of indentation, numbers as they are.
func appendVariant(dst []byte, text string) ([]byte, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("reading a variant: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("writing a variant: %w", err)
	}
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...), nil
}

// texts returns the first column of a query as texts.
func texts(ctx context.Context, conn *sql.Conn, query string, args ...any) ([]string, error) {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
