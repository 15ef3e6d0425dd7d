package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"querywarden/audit/witnesstest"
)

// rotated is a log that has changed its key: entries 0 to 4 under the first, 5
// adds the second, 6 to 8 under both, 9 retires the first, 10 to 13 under the
// second. Three older states of its database are kept beside it.
type rotated struct {
	path       string
	log        *Log
	first      string // public keys
	second     string
	firstOwner string // the first private key, as a thief has it
	pinned     map[string][]byte
}

func rotate(t testing.TB, o Options) *rotated {
	t.Helper()
	r := &rotated{path: filepath.Join(t.TempDir(), "audit.db"), pinned: map[string][]byte{}}
	r.log = openTest(t, r.path, o)
	r.first, r.firstOwner = strings.TrimSpace(readText(t, vkeyFile(r.path))), readText(t, keyFile(r.path))
	pin := func(name string) {
		t.Helper()
		_, text, err := r.log.newestCheckpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.pinned[name] = []byte(text)
		if _, err := r.log.db.Exec(`VACUUM INTO ?`, r.path+"."+name); err != nil {
			t.Fatal(err)
		}
	}
	by := &Caller{Issuer: "host", Subject: "root"}
	fill(t, r.log, 5)
	pin("before")
	var err error
	if r.second, err = r.log.AddKey(t.Context(), by, "yearly"); err != nil {
		t.Fatal(err)
	}
	fill(t, r.log, 3)
	pin("between")
	if left, err := r.log.RetireKey(t.Context(), by, "everybody knows"); err != nil || left != r.second {
		t.Fatal(left, err)
	}
	fill(t, r.log, 4)
	pin("after")
	return r
}

func keysFrom(t testing.TB, text string) *Keys {
	t.Helper()
	keys, err := ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// verifyWith verifies a log with a key that somebody has kept.
func verifyWith(t testing.TB, path, held string, pinned []byte) *Report {
	t.Helper()
	r, err := OpenReaderWith(path, keysFrom(t, held))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestRotation: whoever holds any of a log's keys verifies all of it, whatever
// form it comes in.
func TestRotation(t *testing.T) {
	head := filepath.Join(t.TempDir(), "head")
	r := rotate(t, Options{HeadFile: head})
	list := r.first + " 0 10\n" + r.second + " 6 -\n"
	for who, held := range map[string]string{"first": r.first, "second": r.second, "both": list} {
		for name, pinned := range r.pinned {
			report := verifyWith(t, r.path, held, pinned)
			if !report.OK() || report.Entries != 14 || len(report.Keys) != 2 {
				t.Errorf("%s, %s: %+v", who, name, report)
			}
		}
	}
	reader, err := OpenReader(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	keys, err := reader.Keys(t.Context())
	if err != nil || keys.String() != list {
		t.Fatalf("%v\n%s\nwant\n%s", err, keys, list)
	}
	for i, vkey := range []string{r.first, r.second} {
		if keys.All()[i].VKey != vkey {
			t.Errorf("key %d: %+v", i, keys.All()[i])
		}
	}
	// Who signs what.
	for at, want := range map[int64]int{4: 1, 5: 2, 8: 2, 9: 2, 10: 1} {
		var text []byte
		if err := r.log.db.QueryRow(`SELECT note FROM entries WHERE idx = ?`, at).Scan(&text); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n— ")); n != want {
			t.Errorf("checkpoint of %d entries has %d signatures, want %d", at+1, n, want)
		}
	}
	// A proof made after the rotation, of an entry from before it.
	p, err := reader.Prove(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	e, err := reader.Entry(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for held, want := range map[string]bool{list: true, r.second: true, r.first: false} {
		if _, err := p.Verify(e.Raw, keysFrom(t, held)); (err == nil) != want {
			t.Errorf("proof with %s: %v", held, err)
		}
	}
	some, err := reader.VerifyEntries(t.Context(), []int64{2, 5, 7, 9, 12})
	if err != nil || !some.OK() || some.Entries != 5 {
		t.Errorf("some entries: %+v, %v", some, err)
	}
	// Tiles.
	dir := filepath.Join(t.TempDir(), "tiles")
	if err := reader.ExportTiles(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	for _, held := range []string{r.first, r.second, list} {
		for name, pinned := range r.pinned {
			report, err := VerifyTiles(t.Context(), dir, keysFrom(t, held), pinned)
			if err != nil || !report.OK() || len(report.Keys) != 2 {
				t.Errorf("tiles, %s: %+v, %v", name, report, err)
			}
		}
	}
	for _, name := range []string{"handover/6", "handover/10"} {
		file := filepath.Join(dir, name)
		text := readText(t, file)
		if err := os.WriteFile(file, r.pinned["between"], 0o600); err != nil {
			t.Fatal(err)
		}
		if report, err := VerifyTiles(t.Context(), dir, keysFrom(t, r.first), nil); err != nil || report.OK() {
			t.Errorf("another checkpoint as %s: %+v, %v", name, report, err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// An auditor's folder.
	evidence := filepath.Join(t.TempDir(), "evidence")
	if _, err := reader.ExportEvidence(t.Context(), evidence, EvidenceOptions{Sample: 2}); err != nil {
		t.Fatal(err)
	}
	if got := readText(t, filepath.Join(evidence, "audit.keys")); got != list {
		t.Errorf("audit.keys: %s", got)
	}
	if report, err := VerifyTiles(t.Context(), filepath.Join(evidence, "log"), keysFrom(t, readText(t, filepath.Join(evidence, "audit.vkey"))), nil); err != nil || !report.OK() {
		t.Errorf("evidence: %+v, %v", report, err)
	}
	// It opens again, with the head file, and rotates again.
	r.log.Close()
	l := openTest(t, r.path, Options{HeadFile: head})
	fill(t, l, 1)
	if _, err := l.RetireKey(t.Context(), nil, "x"); !errors.Is(err, ErrNotRotating) {
		t.Errorf("retired the only key: %v", err)
	}
	third, err := l.AddKey(t.Context(), nil, "again")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddKey(t.Context(), nil, "once more"); !errors.Is(err, ErrRotating) {
		t.Errorf("a third at once: %v", err)
	}
	l.Close()
	l = openTest(t, r.path, Options{HeadFile: head}) // in between
	fill(t, l, 1)
	if _, err := l.RetireKey(t.Context(), nil, "again"); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	for _, held := range []string{r.first, r.second, third} {
		if report := verifyWith(t, r.path, held, r.pinned["after"]); !report.OK() || len(report.Keys) != 3 {
			t.Errorf("after another rotation: %+v", report)
		}
	}
}

// TestRotationUnderLoad: no entry follows a handover in its commit, however
// many wait.
func TestRotationUnderLoad(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "audit.db"), Options{})
	stop, done := make(chan struct{}), make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := l.Append(t.Context(), Event{Kind: KindToolCall}); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for range 5 {
		if _, err := l.AddKey(t.Context(), nil, "x"); err != nil {
			t.Error(err)
		}
		if _, err := l.RetireKey(t.Context(), nil, "x"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	for range 8 {
		<-done
	}
	if report := verify(t, l.path, nil); !report.OK() || len(report.Keys) != 6 {
		t.Errorf("%+v", report)
	}
}

// TestRotationCutShort: a crash between the steps leaves a log that opens, signs
// with what its entries say, and can go on.
func TestRotationCutShort(t *testing.T) {
	t.Run("before the entry", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.db")
		l := openTest(t, path, Options{})
		fill(t, l, 2)
		l.Close()
		keys, err := signingKeys(path, false)
		if err != nil {
			t.Fatal(err)
		}
		other, err := newSigningKey(keys[0].Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := writeKeys(path, keys[0], other); err != nil {
			t.Fatal(err)
		}
		l = openTest(t, path, Options{})
		fill(t, l, 1)
		if got := readText(t, keyFile(path)); got != keys[0].skey+"\n" {
			t.Error("the key that nobody knows is still there")
		}
		if report := verify(t, path, nil); !report.OK() || len(report.Keys) != 1 {
			t.Errorf("%+v", report)
		}
	})
	t.Run("behind the end of the old one", func(t *testing.T) {
		r := rotate(t, Options{})
		r.log.Close()
		second := readText(t, keyFile(r.path))
		for file, text := range map[string]string{keyFile(r.path): r.firstOwner + second, vkeyFile(r.path): r.first + "\n"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l := openTest(t, r.path, Options{})
		fill(t, l, 1)
		if readText(t, keyFile(r.path)) != second || strings.TrimSpace(readText(t, vkeyFile(r.path))) != r.second {
			t.Error("the files were not brought in order")
		}
		if report := verify(t, r.path, nil); !report.OK() {
			t.Errorf("%+v", report)
		}
	})
	t.Run("an old copy is put back", func(t *testing.T) {
		r := rotate(t, Options{})
		r.log.Close()
		if err := os.Rename(r.path+".before", r.path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, Options{}); err == nil || !strings.Contains(err.Error(), "an old copy was put back") {
			t.Errorf("opened with the newer key: %v", err)
		}
	})
	t.Run("the new key is gone", func(t *testing.T) {
		r := rotate(t, Options{})
		r.log.Close()
		if err := os.WriteFile(keyFile(r.path), []byte(r.firstOwner), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, Options{}); err == nil || !strings.Contains(err.Error(), "is not in its file") {
			t.Errorf("opened with the retired key: %v", err)
		}
	})
}

// TestStolenOldKey: what somebody can do who has the database and a key that was
// retired.
func TestStolenOldKey(t *testing.T) {
	thief := func(t *testing.T, r *rotated) note.Signer {
		t.Helper()
		key, err := parseSigningKey(strings.TrimSpace(r.firstOwner))
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	sign := func(t *testing.T, r *rotated, size int64) []byte {
		t.Helper()
		root, err := tlog.TreeHash(size, r.log.hashes)
		if err != nil {
			t.Fatal(err)
		}
		text, err := note.Sign(&note.Note{Text: checkpointText(r.log.origin, tlog.Tree{N: size, Hash: root})}, thief(t, r))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	stolen := func(t *testing.T, r *rotated, from string) { // an old state, in which the thief goes on
		t.Helper()
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.path+"."+from, r.path); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Remove(r.path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	note := func(t *testing.T, r *rotated, at int64, text []byte) {
		t.Helper()
		if _, err := open(t, r.path).Exec(`UPDATE entries SET note = ? WHERE idx = ?`, text, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []struct {
		name   string
		attack func(t *testing.T, r *rotated)
		// found by whoever holds only the first key, only the second, and the
		// first with a checkpoint from after the rotation.
		first, second, pinned bool
	}{
		{"control", func(*testing.T, *rotated) {}, false, false, false},
		{"sign the newest checkpoint", func(t *testing.T, r *rotated) { note(t, r, 13, sign(t, r, 14)) }, true, true, true},
		{"sign one between alone", func(t *testing.T, r *rotated) { note(t, r, 7, sign(t, r, 8)) }, true, true, true},
		{"sign the addition alone", func(t *testing.T, r *rotated) { note(t, r, 5, sign(t, r, 6)) }, true, true, true},
		{"sign the end alone", func(t *testing.T, r *rotated) { note(t, r, 9, sign(t, r, 10)) }, true, true, true},
		{"drop the checkpoint of the addition", func(t *testing.T, r *rotated) { note(t, r, 5, nil) }, true, true, true},
		{"hide the addition from the index", sqlRotated(`UPDATE entries SET kind = 'start' WHERE idx = 5`), true, true, true},
		{"hide both from the index", sqlRotated(`UPDATE entries SET kind = 'start' WHERE idx IN (5, 9)`), true, true, true},
		{"invent an end", sqlRotated(`UPDATE entries SET kind = 'key_retired' WHERE idx = 2`), true, true, true},
		// History from before the rotation is the thief's, as with any stolen
		// key: who knows of the new one, or holds a checkpoint, finds it.
		{"go on from before the rotation", func(t *testing.T, r *rotated) {
			stolen(t, r, "before")
			for file, text := range map[string]string{keyFile(r.path): r.firstOwner, vkeyFile(r.path): r.first} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := openTest(t, r.path, Options{})
			fill(t, l, 12)
			l.Close()
		}, false, true, true},
		{"rotate to a key of their own", func(t *testing.T, r *rotated) {
			stolen(t, r, "before")
			for file, text := range map[string]string{keyFile(r.path): r.firstOwner, vkeyFile(r.path): r.first} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := openTest(t, r.path, Options{})
			if _, err := l.AddKey(t.Context(), nil, "theirs"); err != nil {
				t.Fatal(err)
			}
			fill(t, l, 12)
			l.Close()
		}, false, true, true},
	} {
		t.Run(a.name, func(t *testing.T) {
			r := rotate(t, Options{})
			a.attack(t, r)
			for _, c := range []struct {
				who, held string
				pinned    []byte
				want      bool
			}{{"first", r.first, nil, a.first}, {"second", r.second, nil, a.second}, {"pinned", r.first, r.pinned["after"], a.pinned}} {
				if report := verifyWith(t, r.path, c.held, c.pinned); report.OK() == c.want {
					t.Errorf("%s: found %v, want %v: %+v", c.who, !report.OK(), c.want, report.Findings)
				}
			}
		})
	}
	// Later checkpoints, and proofs against them, are worth nothing.
	r := rotate(t, Options{})
	reader, err := OpenReader(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	keys, err := reader.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(1); size <= 14; size++ {
		_, err := parseCheckpoint(sign(t, r, size), keys)
		if good := size <= 5; (err == nil) != good {
			t.Errorf("the old key alone over %d entries: %v", size, err)
		}
	}
	p, err := reader.Prove(t.Context(), 12)
	if err != nil {
		t.Fatal(err)
	}
	p.Checkpoint = sign(t, r, 14)
	e, err := reader.Entry(t.Context(), 12)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(e.Raw, keys); !errors.Is(err, ErrProof) {
		t.Errorf("a proof under the old key: %v", err)
	}
}

func sqlRotated(stmt string) func(*testing.T, *rotated) {
	return func(t *testing.T, r *rotated) { run(t, open(t, r.path), stmt) }
}

// TestWitnessThroughRotation: a witness that learns the new key while both sign
// goes on as if nothing had happened; one that does not, stops.
func TestWitnessThroughRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	fill(t, l, 3)
	first := readText(t, vkeyFile(path))
	told, err := witnesstest.New(first)
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	untold, err := witnesstest.New(first)
	if err != nil {
		t.Fatal(err)
	}
	defer untold.Close()
	var anchors []Anchor
	for _, w := range []*witnesstest.Witness{told, untold} {
		key, err := WitnessKey(w.VKey)
		if err != nil {
			t.Fatal(err)
		}
		anchors = append(anchors, WitnessAnchor{URL: w.URL, Key: key})
	}
	both := func(want ...bool) {
		t.Helper()
		for i, a := range anchors {
			if err := tell(t, l, a); (err == nil) != want[i] {
				t.Errorf("witness %d: %v", i, err)
			}
		}
	}
	both(true, true)
	second, err := l.AddKey(t.Context(), nil, "x")
	if err != nil {
		t.Fatal(err)
	}
	both(true, true)
	if err := told.Know(second); err != nil {
		t.Fatal(err)
	}
	if _, err := l.RetireKey(t.Context(), nil, "x"); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	both(true, false)
	if told.Seen() != 6 || untold.Seen() != 4 {
		t.Errorf("seen %d and %d", told.Seen(), untold.Seen())
	}
}

// FuzzKeys: what is read is written as it was meant, and there is no second way
// to write it that means something else.
func FuzzKeys(f *testing.F) {
	key, err := newSigningKey("querywarden/x")
	if err != nil {
		f.Fatal(err)
	}
	other, err := newSigningKey("querywarden/x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.vkey)
	f.Add(key.vkey + " 0 12\n" + other.vkey + " 10 -\n")
	f.Add(key.vkey + " 0 12\n" + key.vkey + " 10 -\n")
	f.Add(key.vkey + " 9 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys([]byte(text))
		if err != nil {
			return
		}
		again, err := ParseKeys([]byte(keys.String()))
		if err != nil || again.String() != keys.String() || !slices.EqualFunc(keys.All(), again.All(), func(a, b Key) bool { return a.VKey == b.VKey && a.From == b.From && a.To == b.To }) {
			t.Errorf("%q becomes %q: %v", text, again, err)
		}
	})
}
