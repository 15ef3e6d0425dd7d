package audit

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOneText: there is no second text of a checkpoint or of a proof that is
// believed and differs in one byte, whichever and however.
func TestOneText(t *testing.T) {
	r, path := filled(t, 3)
	keys := keysBeside(t, path)
	checkpoint, err := r.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Prove(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.Entry(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text     []byte
		believed func([]byte) bool
	}{
		"checkpoint": {checkpoint, func(text []byte) bool {
			_, err := parseCheckpoint(text, keys)
			return err == nil
		}},
		"proof": {[]byte(p.String()), func(text []byte) bool {
			p, err := ParseProof(text)
			if err == nil {
				_, err = p.Verify(e.Raw, keys)
			}
			return err == nil
		}},
	} {
		if !c.believed(c.text) {
			t.Fatalf("the %s itself is not believed", name)
		}
		for at, was := range c.text {
			for by := 1; by < 256; by++ {
				c.text[at] = was ^ byte(by)
				if c.believed(c.text) {
					t.Errorf("%s, byte %d: %q is believed", name, at, c.text)
				}
			}
			c.text[at] = was
		}
	}
}

// FuzzMalleable: no byte of an entry, a text, a hash, a checkpoint, a proof or a
// tile can be another one and still be believed.
func FuzzMalleable(f *testing.F) {
	r, path := filled(f, 300)
	dir := filepath.Join(f.TempDir(), "tiles")
	if err := r.ExportTiles(f.Context(), dir, nil); err != nil {
		f.Fatal(err)
	}
	keys := keysBeside(f, path)
	var tiles []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			tiles = append(tiles, name)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	const fromLog = 4
	columns := [fromLog]string{"entry", "texts", "hashes", "note"}
	for what := range fromLog + len(tiles) + 1 {
		f.Add(uint8(what), uint16(7), uint16(10), byte(1))
		f.Add(uint8(what), uint16(299), uint16(200), byte(0x20))
	}
	copied := filepath.Join(f.TempDir(), "audit.db")
	vkey := readText(f, vkeyFile(path))
	if err := os.WriteFile(vkeyFile(copied), []byte(vkey), 0o600); err != nil {
		f.Fatal(err)
	}
	if _, err := r.db.Exec(`VACUUM INTO ?`, copied); err != nil {
		f.Fatal(err)
	}
	r.Close()
	db, err := openDB(copied, "rw")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	r, err = OpenReader(copied)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { r.Close() })
	f.Fuzz(func(t *testing.T, what uint8, which, at uint16, with byte) {
		if with == 0 {
			return
		}
		change := func(data []byte) []byte {
			if len(data) == 0 {
				return nil
			}
			changed := append([]byte{}, data...)
			changed[int(at)%len(data)] ^= with
			return changed
		}
		switch kind := int(what) % (fromLog + len(tiles) + 1); {
		case kind < fromLog:
			var data []byte
			column, index := columns[kind], int(which)%300
			if err := db.QueryRow(`SELECT `+column+` FROM entries WHERE idx = ?`, index).Scan(&data); err != nil {
				t.Fatal(err)
			}
			changed := change(data)
			if changed == nil {
				return
			}
			set := func(v []byte) {
				if _, err := db.Exec(`UPDATE entries SET `+column+` = ? WHERE idx = ?`, v, index); err != nil {
					t.Fatal(err)
				}
			}
			set(changed)
			defer set(data)
			report, err := r.Verify(t.Context(), nil)
			if err == nil && report.OK() {
				t.Errorf("%s of entry %d, byte %d: %q is believed as %q", column, index, int(at)%len(data), changed, data)
			}
		case kind < fromLog+len(tiles):
			file := tiles[kind-fromLog]
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, change(data), 0o600); err != nil {
				t.Fatal(err)
			}
			report, err := VerifyTiles(t.Context(), dir, keys, nil)
			if err == nil && report.OK() {
				t.Errorf("%s, byte %d is believed", file, int(at)%len(data))
			}
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		default:
			index := int64(which) % 300
			p, err := r.Prove(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.Entry(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			if p, err = ParseProof(change([]byte(p.String()))); err != nil {
				return
			}
			if _, err := p.Verify(e.Raw, keys); err == nil {
				t.Errorf("a proof of entry %d, byte %d, is believed: %s", index, at, p)
			}
		}
	})
}
