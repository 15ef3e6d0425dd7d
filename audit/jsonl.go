package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// A Line is one line of the lossless export: what the tree binds, byte for
// byte, and the texts beside it with the salts that their digests need.
type Line struct {
	Index int64             `json:"index"`
	Leaf  string            `json:"leaf"`
	Event json.RawMessage   `json:"event"`
	Texts map[string]string `json:"texts,omitempty"`
	Salts map[string][]byte `json:"salts,omitempty"`
}

// appendTo writes the line's members in their order. The event is copied, not
// encoded again.
func (e *Entry) appendTo(b []byte) ([]byte, error) {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, e.Index, 10)
	b = append(append(append(b, `,"leaf":"`...), e.Leaf...), `","event":`...)
	b = append(b, e.Raw...)
	for _, part := range []struct {
		name  string
		value any
		empty bool
	}{{"texts", e.Texts, len(e.Texts) == 0}, {"salts", e.salts, len(e.salts) == 0}} {
		if part.empty {
			continue
		}
		text, err := json.Marshal(part.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, `,"`...), part.name...), `":`...)
		b = append(b, text...)
	}
	return append(b, "}\n"...), nil
}

// WriteJSONL writes the entry as one [Line].
func (e *Entry) WriteJSONL(w io.Writer) error {
	line, err := e.appendTo(nil)
	if err == nil {
		_, err = w.Write(line)
	}
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}

// ExportJSONL writes the chosen entries, one [Line] a line. It is lossless but
// for what was erased.
func (r *Reader) ExportJSONL(ctx context.Context, w io.Writer, f Filter) error {
	out := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	for e, err := range r.raw(ctx, f) {
		if err != nil {
			return err
		}
		if line, err = e.appendTo(line[:0]); err == nil {
			_, err = out.Write(line)
		}
		if err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}
