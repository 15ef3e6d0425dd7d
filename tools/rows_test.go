package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	wide := strings.Repeat("z", 100_000)
	for _, test := range []struct {
		n       int
		text    string
		spooled bool
	}{
		{0, "", false}, {1, "one", false}, {3, "a\nb,c", false}, {200, wide, true}, {1, strings.Repeat("w", inMemory+1), false}, {2, strings.Repeat("w", inMemory), true}, {90_000, "short", true},
	} {
		dir := t.TempDir()
		r := NewRows(dir)
		for i := range test.n {
			row, err := json.Marshal([]any{i, test.text})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Add(row); err != nil {
				t.Fatal(err)
			}
			clear(row) // the caller's to use again
		}
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d rows of %d bytes", test.n, len(test.text))
		if r.Len() != int64(test.n) || r.Spooled() != test.spooled {
			t.Errorf("%s: %d rows, spooled: %v", name, r.Len(), r.Spooled())
		}
		var array bytes.Buffer
		if n, err := r.WriteTo(&array); err != nil || n != int64(array.Len()) {
			t.Fatalf("%s: %d bytes of %d: %v", name, n, array.Len(), err)
		}
		lines, err := r.lines()
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]any
		if err := json.Unmarshal(array.Bytes(), &rows); err != nil || len(rows) != test.n {
			t.Fatalf("%s: %d rows: %v", name, len(rows), err)
		}
		if got := strings.Count(lines, "\n") + 1; got != max(test.n, 1) {
			t.Errorf("%s: %d lines", name, got)
		}
		for i, row := range rows {
			if int(row[0].(float64)) != i || row[1] != test.text {
				t.Fatalf("%s: row %d is %.100v", name, i, row)
			}
		}
		if files, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(files) > 0 {
			t.Errorf("%s: %v, %v are left", name, files, err)
		}
		if test.spooled {
			raw, err := io.ReadAll(io.NewSectionReader(r.file, 0, r.length))
			if err != nil || len(raw) == 0 || bytes.Contains(raw, []byte(test.text[:5])) {
				t.Errorf("%s: the file holds the text, or nothing: %v", name, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.WriteTo(io.Discard); test.spooled && !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: read after closing: %v", name, err)
		}
	}
}

func TestRowsWithoutRoom(t *testing.T) {
	r := NewRows(filepath.Join(t.TempDir(), "nowhere"))
	row := []byte(`["` + strings.Repeat("x", inMemory/2) + `"]`)
	var err error
	for range 3 {
		err = errors.Join(err, r.Add(row))
	}
	if !errors.Is(err, errSpool) {
		t.Errorf("no folder: %v", err)
	}
	if a := failure(err); a.Code != CodeUnavailable {
		t.Errorf("told as %+v", a)
	}
	var none *Rows
	if none.Len() != 0 || none.First() != nil || none.Spooled() || none.Close() != nil {
		t.Error("nil rows are something")
	}
}
