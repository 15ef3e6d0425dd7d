package tools

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// inMemory is how many bytes of an answer's rows are held in memory.
const inMemory = 1 << 20

// errSpool is in the chain of errors about the file of a long answer.
var errSpool = errors.New("spooling rows")

// Rows are an answer's rows, a JSON array each, in the order of the answer's
// columns. No row may leave before the outcome is recorded, and the outcome is
// known when the last has come; so the rows of a long answer wait, beyond the
// first megabyte, in a file: encrypted under a key that is nowhere but in
// memory, and without a name, so that it ends with the process.
//
// Nil Rows are none. Rows that are not added to any more may be read by several
// goroutines.
type Rows struct {
	dir   string
	first []json.RawMessage
	size  int   // bytes of first
	count int64 // rows in all

	file   *os.File
	length int64 // bytes in the file
	block  cipher.Block
	iv     [aes.BlockSize]byte
	write  io.Writer
	buffer []byte        // what is not in the file yet
	others *atomic.Int32 // how many others share the file
}

// NewRows returns no rows yet. If there will be many, their file is made in dir;
// in the folder for temporary files if dir is empty.
func NewRows(dir string) *Rows { return &Rows{dir: dir} }

// Add appends a row, of which it makes a copy. It has to be JSON without line
// feeds.
func (r *Rows) Add(row []byte) error {
	r.count++
	if r.file == nil && (r.first == nil || r.size+len(row) <= inMemory) {
		r.size += len(row)
		r.first = append(r.first, json.RawMessage(bytes.Clone(row)))
		return nil
	}
	if r.file == nil {
		if err := r.spool(); err != nil {
			return err
		}
	}
	r.buffer = append(append(r.buffer, '\n'), row...)
	if len(r.buffer) >= 64<<10 {
		return r.flush()
	}
	return nil
}

// spool makes the file.
func (r *Rows) spool() error {
	f, err := os.CreateTemp(r.dir, ".answer-*")
	if err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errSpool, err), f.Close())
	}
	var key [32]byte
	rand.Read(key[:])
	rand.Read(r.iv[:])
	if r.block, err = aes.NewCipher(key[:]); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errSpool, err), f.Close())
	}
	r.file, r.others = f, &atomic.Int32{}
	r.write = cipher.StreamWriter{S: cipher.NewCTR(r.block, r.iv[:]), W: f}
	return nil
}

// flush brings what was added into the file.
func (r *Rows) flush() error {
	n, err := r.write.Write(r.buffer) // encrypts into a buffer of its own
	r.length += int64(n)
	r.buffer = r.buffer[:0]
	if err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	return nil
}

// Done ends the adding.
func (r *Rows) Done() error {
	if r.file == nil {
		return nil
	}
	err := r.flush()
	r.buffer, r.write = nil, nil
	return err
}

// Len is how many rows there are.
func (r *Rows) Len() int64 {
	if r == nil {
		return 0
	}
	return r.count
}

// First are the rows at the beginning that are in memory: a megabyte, or all.
func (r *Rows) First() []json.RawMessage {
	if r == nil {
		return nil
	}
	return r.first
}

// Spooled reports whether there are rows beyond [Rows.First].
func (r *Rows) Spooled() bool { return r != nil && r.file != nil }

// WriteTo writes all rows as one JSON array. It implements [io.WriterTo].
func (r *Rows) WriteTo(w io.Writer) (int64, error) {
	out := counter{w: w}
	_, err := out.Write([]byte{'['})
	for i, row := range r.First() {
		if err == nil && i > 0 {
			_, err = out.Write([]byte{','})
		}
		if err == nil {
			_, err = out.Write(row)
		}
	}
	if err == nil && r.Spooled() {
		_, err = io.Copy(&out, commas{r.spooled()})
	}
	if err == nil {
		_, err = out.Write([]byte{']'})
	}
	return out.n, err
}

// lines is all rows, a line each.
func (r *Rows) lines() (string, error) {
	var b strings.Builder
	for i, row := range r.First() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.Write(row)
	}
	if r.Spooled() {
		if _, err := io.Copy(&b, r.spooled()); err != nil {
			return "", fmt.Errorf("%w: %w", errSpool, err)
		}
	}
	return b.String(), nil
}

// spooled reads the file: rows with a line feed before each.
func (r *Rows) spooled() io.Reader {
	return cipher.StreamReader{S: cipher.NewCTR(r.block, r.iv[:]), R: io.NewSectionReader(r.file, 0, r.length)}
}

// commas reads lines with commas instead of line feeds.
type commas struct{ lines io.Reader }

func (c commas) Read(p []byte) (int, error) {
	n, err := c.lines.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			p[i] = ','
		}
	}
	return n, err
}

// MarshalJSON writes all rows into memory. It implements [json.Marshaler].
func (r *Rows) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	_, err := r.WriteTo(&b)
	return b.Bytes(), err
}

// UnmarshalJSON reads rows into memory, however many. It implements
// [json.Unmarshaler].
func (r *Rows) UnmarshalJSON(text []byte) error {
	*r = Rows{}
	if err := json.Unmarshal(text, &r.first); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	r.count = int64(len(r.first))
	return nil
}

// String is the rows as JSON, for tests and logs of tests.
func (r *Rows) String() string {
	text, err := r.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// share returns the same rows for somebody else, who closes them as well.
func (r *Rows) share() *Rows {
	if !r.Spooled() {
		return r
	}
	r.others.Add(1)
	same := *r
	return &same
}

// Close gives the file back, when the last who shares it closes it. The rows of
// a closed answer cannot be read.
func (r *Rows) Close() error {
	if !r.Spooled() || r.others.Add(-1) >= 0 {
		return nil
	}
	return r.file.Close()
}

// counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
