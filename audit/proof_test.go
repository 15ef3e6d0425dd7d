package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filled returns the reader of a log of n entries.
func filled(t testing.TB, n int) (*Reader, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	err := l.Update(context.Background(), func(tx *Tx) error {
		for i := range n {
			if _, err := tx.Append(Event{Kind: KindDecision, Verdict: "allow", SQL: fmt.Sprintf("select %d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, path
}

// TestProofs proves every entry of logs of many sizes, and shows that a proof
// holds for that entry alone.
func TestProofs(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 8, 100} {
		r, _ := filled(t, size)
		var entries [][]byte
		for e, err := range r.Entries(t.Context(), Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e.Raw)
		}
		for i := range entries {
			made, err := r.Prove(t.Context(), int64(i))
			if err != nil {
				t.Fatal(err)
			}
			p, err := ParseProof([]byte(made.String()))
			if err != nil {
				t.Fatalf("%v\n%s", err, made)
			}
			for j, entry := range entries {
				n, err := p.Verify(entry, r.held)
				if (err == nil) != (i == j) || err == nil && n != int64(size) || err != nil && !errors.Is(err, ErrProof) {
					t.Errorf("size %d: the proof of %d for entry %d: %d, %v", size, i, j, n, err)
				}
			}
		}
		for _, index := range []int64{-1, int64(size)} {
			if _, err := r.Prove(t.Context(), index); !errors.Is(err, ErrNoEntry) {
				t.Errorf("size %d: proving %d: %v", size, index, err)
			}
		}
	}
}

// FuzzProof: what is not the text of a proof is refused, and no change to a
// proof leaves it good for another entry.
func FuzzProof(f *testing.F) {
	r, _ := filled(f, 11)
	e, err := r.Entry(context.Background(), 5)
	if err != nil {
		f.Fatal(err)
	}
	good, err := r.Prove(context.Background(), 5)
	if err != nil {
		f.Fatal(err)
	}
	text := good.String()
	f.Add(text)
	f.Add(strings.Replace(text, "index 5", "index 6", 1))
	f.Add(strings.Replace(text, "\n\n", "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n", 1))
	f.Add(strings.Replace(text, "\nindex", "\nextra AAAA\nindex", 1))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProof([]byte(text))
		if err != nil {
			return
		}
		if _, err := p.Verify(e.Raw, r.held); err == nil && p.Index != 5 {
			t.Errorf("the entry is proven at %d", p.Index)
		}
		if _, err := p.Verify(append(e.Raw[:len(e.Raw):len(e.Raw)], ' '), r.held); err == nil {
			t.Error("another entry is proven")
		}
	})
}

func keysBeside(t testing.TB, path string) *Keys {
	t.Helper()
	keys, err := ParseKeys([]byte(readText(t, vkeyFile(path))))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestTiles exports logs whose sizes lie around the tiles' own, and finds every
// change to a file of them.
func TestTiles(t *testing.T) {
	for _, size := range []int{1, 255, 256, 257, 1000} {
		r, path := filled(t, size)
		dir := filepath.Join(t.TempDir(), "tiles")
		if err := r.ExportTiles(t.Context(), dir, nil); err != nil {
			t.Fatal(err)
		}
		pinned, err := r.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err := VerifyTiles(t.Context(), dir, keysBeside(t, path), pinned)
		if err != nil || !report.OK() || report.Entries != int64(size) || report.Pinned != int64(size) {
			t.Fatalf("size %d: %+v, %v", size, report, err)
		}
		if err := r.ExportTiles(t.Context(), dir, nil); err == nil {
			t.Errorf("size %d: an export went over another", size)
		}
		var files []string
		err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, name)
			}
			return err
		})
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []int{0, len(data) / 2, len(data) - 1} {
				changed := append([]byte{}, data...)
				changed[at] ^= 1
				if err := os.WriteFile(file, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				if report, err := VerifyTiles(t.Context(), dir, keysBeside(t, path), nil); err != nil || report.OK() {
					t.Errorf("size %d: %s changed at %d: %+v, %v", size, file, at, report, err)
				}
			}
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTilePath(t *testing.T) {
	for _, c := range []struct {
		kind  string
		n     int64
		width int
		want  string
	}{
		{"0", 0, 256, "tile/0/000"}, {"entries", 999, 256, "tile/entries/999"}, {"1", 1234067, 256, "tile/1/x001/x234/067"},
		{"entries", 1000, 5, "tile/entries/x001/000.p/5"},
	} {
		if got := tilePath(c.kind, c.n, c.width); got != c.want {
			t.Errorf("%s %d %d: %s, want %s", c.kind, c.n, c.width, got, c.want)
		}
	}
}
