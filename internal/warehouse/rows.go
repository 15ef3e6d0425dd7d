package warehouse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	sf "github.com/snowflakedb/gosnowflake"
)

// Kind is what a column's values are, and so what [Value.Text] looks like. The
// zero Kind is none that a column can have.
type Kind uint8

// The kinds of Snowflake's result columns.
const (
	_            Kind = iota
	Number            // decimal digits, exact: "-12.50"
	Float             // as the account prints it: "1.5", "1e100", "NaN", "inf"
	Text              // the text
	Boolean           // "true" or "false"
	Date              // "2006-01-02"
	Time              // "15:04:05.000", as many decimals as the column has
	TimestampNTZ      // "2006-01-02T15:04:05.000"
	TimestampLTZ      // "2006-01-02T15:04:05.000Z": the point in time, in UTC
	TimestampTZ       // "2006-01-02T15:04:05.000+02:00"
	Binary            // upper-case hexadecimal digits
	Variant           // JSON: VARIANT, OBJECT, ARRAY and what they hold
)

// A Column of a result.
type Column struct {
	Name string
	Kind Kind
	// Type is Snowflake's name of the type: "NUMBER(38,0)", "VARCHAR".
	Type     string
	Nullable bool
}

// A Value is one cell. The zero Value is NULL.
type Value struct {
	Text  string // in the form that the column's [Kind] has
	Valid bool   // not NULL
}

// Rows is the result of a statement, read once from the first row to the last:
//
//	for rows.Next() {
//		use(rows.Values())
//	}
//	err := rows.Err()
//
// DML and DDL answer with rows too: counts, or a status. One goroutine at a
// time may use it.
type Rows struct {
	ctx     context.Context
	cancel  context.CancelFunc
	release func() // gives the session back or ends it
	closed  bool

	queryID string
	columns []Column
	scales  []int // digits of fractional seconds
	values  []Value
	err     error

	total, read int64 // rows that the account says there are; rows returned
	first       [][]*string
	chunks      []sf.ArrowStreamBatch
	stream      io.ReadCloser // of the chunk being read
	decoder     *json.Decoder // of a chunk in JSON
	arrow       *arrowChunk   // or one in Arrow
}

// errInconsistent is in the chain of errors about answers that do not hold
// together.
var errInconsistent = errors.New("the account's answer is inconsistent")

// start takes over the driver's answer.
func (r *Rows) start(loader sf.ArrowStreamLoader) error {
	for _, t := range loader.RowTypes() {
		kind, name := columnType(t.Type, t.Precision, t.Scale, t.Length)
		if kind == 0 {
			return fmt.Errorf("%w: column %q is of the unknown type %q", errInconsistent, t.Name, t.Type)
		}
		r.columns = append(r.columns, Column{Name: t.Name, Kind: kind, Type: name, Nullable: t.Nullable})
		r.scales = append(r.scales, int(t.Scale))
	}
	r.values = make([]Value, len(r.columns))
	r.total = loader.TotalRows()
	r.first = loader.JSONData()
	chunks, err := loader.GetBatches()
	if err != nil {
		return err
	}
	r.chunks = chunks
	return nil
}

// Columns describes the result. The slice is the Rows' own.
func (r *Rows) Columns() []Column { return r.columns }

// QueryID is the account's name for the statement.
func (r *Rows) QueryID() string { return r.queryID }

// Total is how many rows there are in all, read or not.
func (r *Rows) Total() int64 { return r.total }

// Next goes to the next row. It returns false at the end and on error; see
// [Rows.Err]. Reading may wait for the network; it ends with Run's context.
func (r *Rows) Next() bool {
	if r.closed || r.err != nil {
		return false
	}
	ok, err := r.next()
	if err == nil {
		err = r.ctx.Err()
	}
	if err != nil {
		r.err = newError(r.ctx, err, r.queryID)
		return false
	}
	return ok
}

func (r *Rows) next() (bool, error) {
	row, err := r.row()
	if errors.Is(err, io.EOF) {
		if r.read != r.total {
			return false, fmt.Errorf("%w: %d rows of %d arrived", errInconsistent, r.read, r.total)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.read++; r.read > r.total {
		return false, fmt.Errorf("%w: more rows than the %d announced", errInconsistent, r.total)
	}
	if row == nil {
		return true, nil // decoded already
	}
	if len(row) != len(r.columns) {
		return false, fmt.Errorf("%w: a row of %d cells in %d columns", errInconsistent, len(row), len(r.columns))
	}
	for i, cell := range row {
		if cell == nil {
			r.values[i] = Value{}
			continue
		}
		text, err := decode(r.columns[i].Kind, r.scales[i], *cell)
		if err != nil {
			// The cell itself stays out of the message.
			return false, fmt.Errorf("%w: row %d, column %q: %w", errInconsistent, r.read, r.columns[i].Name, err)
		}
		r.values[i] = Value{Text: text, Valid: true}
	}
	return true, nil
}

// row returns the next row as the account sent it, [io.EOF] after the last: the
// rows of the reply itself, then those of each chunk. A row of a chunk in Arrow
// is nil and in r.values.
func (r *Rows) row() ([]*string, error) {
	if len(r.first) > 0 {
		row := r.first[0]
		r.first[0] = nil
		r.first = r.first[1:]
		return row, nil
	}
	for {
		if r.arrow != nil {
			err := r.arrow.next(r)
			if err == nil {
				return nil, nil
			}
			if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, r.chunkError(err)
			}
			if err := r.closeChunk(); err != nil {
				return nil, err
			}
		}
		if r.decoder != nil {
			if r.decoder.More() {
				var row []*string
				if err := r.decoder.Decode(&row); err != nil {
					return nil, r.chunkError(err)
				}
				return row, nil
			}
			// What ends the rows must be the end of the array, not of the
			// connection.
			if _, err := r.decoder.Token(); err != nil {
				return nil, r.chunkError(err)
			}
			if err := r.closeChunk(); err != nil {
				return nil, err
			}
		}
		if len(r.chunks) == 0 {
			return nil, io.EOF
		}
		stream, err := r.chunks[0].GetStream(r.ctx)
		if err != nil {
			return nil, err
		}
		r.chunks = r.chunks[1:]
		r.stream = stream
		buffered := bufio.NewReaderSize(stream, 64<<10)
		// An Arrow stream begins with a marker that no JSON begins with.
		if mark, err := buffered.Peek(4); err == nil && bytes.Equal(mark, arrowMark) {
			if r.arrow, err = newArrowChunk(buffered); err != nil {
				return nil, err
			}
			continue
		}
		// A chunk is an array without its brackets.
		r.decoder = json.NewDecoder(io.MultiReader(strings.NewReader("["), buffered, strings.NewReader("]")))
		if _, err := r.decoder.Token(); err != nil {
			return nil, r.chunkError(err)
		}
	}
}

// arrowMark begins each message of an IPC stream.
// arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
var arrowMark = []byte{0xff, 0xff, 0xff, 0xff}

// chunkError tells broken JSON from a broken connection.
func (r *Rows) chunkError(err error) error {
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.As(err, &wrongType), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: after %d rows, a part of the result is not rows", errInconsistent, r.read)
	default:
		return fmt.Errorf("reading rows: %w", err)
	}
}

func (r *Rows) closeChunk() error {
	if r.stream == nil {
		return nil
	}
	if r.arrow != nil {
		r.arrow.close()
	}
	err := r.stream.Close()
	r.stream, r.decoder, r.arrow = nil, nil, nil
	if err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	return nil
}

// Values is the current row, in the order of the columns. The next call of Next
// overwrites the slice, not the texts.
func (r *Rows) Values() []Value { return r.values }

// Err is what ended the rows before their end: an [*Error], or nil. Rows are
// complete only if it is nil after Next has returned false.
func (r *Rows) Err() error { return r.err }

// Close stops reading and gives the session back. A second call does nothing.
func (r *Rows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if r.cancel != nil {
		r.cancel()
	}
	// The connection's error on closing early is that it was closed early.
	_ = r.closeChunk()
	r.first, r.chunks = nil, nil
	r.release()
	return nil
}
