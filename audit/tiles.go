package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// The C2SP tlog-tiles layout (c2sp.org/tlog-tiles): a folder that any reader of
// such logs can check, with tools that are not ours. It holds
//
//	checkpoint            the newest checkpoint
//	tile/<L>/<N>[.p/<W>]  256 hashes of level 8·L, or W of them at the edge
//	tile/entries/<N>[…]   256 entries, each behind its length in two bytes
//	handover/<N>          of our own: the checkpoint of N entries that ends with
//	                      a key's addition or end, signed by the keys before it
const tileWidth = 256

// tilePath is where a tile stands. Its number is written in groups of three
// digits, all but the last marked with an x.
func tilePath(kind string, n int64, width int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	p := path.Join("tile", kind, number)
	if width < tileWidth {
		p = fmt.Sprintf("%s.p/%d", p, width)
	}
	return p
}

func handoverPath(size int64) string { return path.Join("handover", strconv.FormatInt(size, 10)) }

// ExportTiles writes the log as a tlog-tiles folder, which must not exist.
// Texts beside the tree are not part of it. progress, which may be nil, is told
// how many entries have been written.
func (r *Reader) ExportTiles(ctx context.Context, dir string, progress func(done, of int64)) error {
	if err := r.exportTiles(ctx, dir, progress); err != nil {
		return fmt.Errorf("exporting tiles: %w", err)
	}
	return nil
}

func (r *Reader) exportTiles(ctx context.Context, dir string, progress func(done, of int64)) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", dir)
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	tree, text, err := r.newest(ctx, tx)
	if err != nil {
		return err
	}
	if tree.N == 0 {
		return errors.New("the log is empty")
	}
	t := &tiler{put: func(name string, data []byte) error { return writeTile(dir, name, data) }}
	rows, err := tx.QueryContext(context.WithoutCancel(ctx), `SELECT entry FROM entries WHERE idx < ? ORDER BY idx`, tree.N)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var entry sql.RawBytes
		if err := rows.Scan(&entry); err != nil {
			return err
		}
		if err := t.add(entry); err != nil {
			return err
		}
		if t.tree.size%tileWidth == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if progress != nil {
				progress(t.tree.size, tree.N)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := t.finish(); err != nil {
		return err
	}
	if t.tree.size != tree.N || t.tree.root() != tree.Hash {
		return errors.New("the entries are not what the newest checkpoint signs; verify tells where")
	}
	if progress != nil {
		progress(tree.N, tree.N)
	}
	keys, err := r.keysIn(ctx, tx)
	if err != nil {
		return err
	}
	for _, size := range keys.handovers() {
		var text []byte
		if err := tx.QueryRowContext(ctx, `SELECT note FROM entries WHERE idx = ?`, size-1).Scan(&text); err != nil {
			return err
		}
		if err := writeTile(dir, handoverPath(size), text); err != nil {
			return err
		}
	}
	return writeTile(dir, "checkpoint", []byte(text))
}

// tiler makes tiles of entries as they come.
type tiler struct {
	put    func(name string, data []byte) error // takes each tile once it is full
	tree   edge
	bundle []byte   // the entries of the tile that is being filled
	levels [][]byte // the hashes of those of each level
}

func (t *tiler) add(entry []byte) error {
	if len(entry) > maxEntry {
		return ErrTooLarge
	}
	t.bundle = binary.BigEndian.AppendUint16(t.bundle, uint16(len(entry)))
	t.bundle = append(t.bundle, entry...)
	for height, h := range t.tree.add(tlog.RecordHash(entry)) {
		if height%8 != 0 {
			continue
		}
		level := height / 8
		if level == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[level] = append(t.levels[level], h[:]...)
	}
	if t.tree.size%tileWidth != 0 {
		return nil
	}
	n := t.tree.size/tileWidth - 1
	if err := t.put(tilePath("entries", n, tileWidth), t.bundle); err != nil {
		return err
	}
	t.bundle = t.bundle[:0]
	for level := range t.levels {
		if len(t.levels[level]) < tileWidth*tlog.HashSize {
			break
		}
		n := t.tree.size>>(8*(level+1)) - 1
		if err := t.put(tilePath(fmt.Sprint(level), n, tileWidth), t.levels[level]); err != nil {
			return err
		}
		t.levels[level] = t.levels[level][:0]
	}
	return nil
}

// finish writes the tiles at the edge.
func (t *tiler) finish() error {
	if width := int(t.tree.size % tileWidth); width > 0 {
		if err := t.put(tilePath("entries", t.tree.size/tileWidth, width), t.bundle); err != nil {
			return err
		}
	}
	for level, hashes := range t.levels {
		if width := len(hashes) / tlog.HashSize; width > 0 {
			if err := t.put(tilePath(fmt.Sprint(level), t.tree.size>>(8*(level+1)), width), hashes); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeTile(dir, name string, data []byte) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// VerifyTiles recomputes the tree of a tlog-tiles folder from its entries and
// holds every tile and the checkpoints against it. keys are the log's, or the
// one that the caller has kept: the entries tell of the others. pinned is a
// checkpoint of the caller's own, or nil.
func VerifyTiles(ctx context.Context, dir string, keys *Keys, pinned []byte) (*Report, error) {
	v := &tilesVerification{dir: dir, report: &Report{Origin: keys.Origin()}, held: keys}
	if err := v.verify(ctx, pinned); err != nil {
		return nil, fmt.Errorf("verifying tiles: %w", err)
	}
	return v.report, nil
}

// tilesVerification is one pass over a folder.
type tilesVerification struct {
	dir    string
	report *Report
	held   *Keys // the caller's
	chain  chain // those that the entries tell of
	again  tiler
	pinned pinnedRoot
}

// pinnedRoot is a checkpoint that the caller has kept. Which keys sign it, the
// entries tell.
type pinnedRoot struct {
	size int64
	root tlog.Hash // of the entries at this size
	time time.Time
}

// keys are the log's, as far as its entries have told.
func (v *tilesVerification) keys() *Keys {
	if len(v.chain.keys.list) == 0 {
		return v.held
	}
	return &v.chain.keys
}

func (v *tilesVerification) verify(ctx context.Context, pinned []byte) error {
	report := v.report
	text, err := os.ReadFile(filepath.Join(v.dir, "checkpoint"))
	if err != nil {
		return err
	}
	size, err := claimedSize(text)
	if err != nil {
		report.find(-1, "the checkpoint is not signed by this log: %v", err)
		return nil
	}
	if pinned != nil {
		if v.pinned.size, err = claimedSize(pinned); err != nil {
			report.find(-1, "the checkpoint that you hold cannot be used: %v", err)
			pinned = nil
		}
	}
	v.again.put = func(name string, data []byte) error {
		found, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(name)))
		if err != nil {
			report.find(-1, "%s cannot be read", name)
		} else if !bytes.Equal(found, data) {
			report.find(-1, "%s is not what the entries come to", name)
		}
		return nil
	}
	for n := int64(0); n*tileWidth < size && !report.enough(); n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		entries, err := readBundle(v.dir, n, int(min(size-n*tileWidth, tileWidth)))
		if err != nil {
			report.find(n*tileWidth, "the entries from here on cannot be read: %v", err)
			return nil
		}
		for _, entry := range entries {
			if err := v.next(entry); err != nil {
				return err
			}
		}
	}
	if err := v.again.finish(); err != nil {
		return err
	}
	v.conclude(size, text, pinned)
	return nil
}

// claimedSize is how many entries a checkpoint speaks of, if it is genuine.
func claimedSize(checkpoint []byte) (int64, error) {
	lines := strings.SplitN(string(checkpoint), "\n", 3)
	if len(lines) < 3 {
		return 0, errors.New("checkpoint has not three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("checkpoint has the size %q", lines[1])
	}
	return size, nil
}

// next takes the next entry.
func (v *tilesVerification) next(entry []byte) error {
	report := v.report
	if err := v.again.add(entry); err != nil {
		return err
	}
	report.Entries++
	var e searched
	if err := json.Unmarshal(entry, &e); err != nil {
		report.find(report.Entries-1, "the entry cannot be read: %v", err)
	}
	report.Newest = e.Time
	if report.Entries == v.pinned.size {
		v.pinned.root, v.pinned.time = v.again.tree.root(), e.Time
	}
	h := e.handover()
	if !h.is() {
		return nil
	}
	if err := v.chain.add(report.Entries-1, h); err != nil {
		report.find(report.Entries-1, "%v", err)
		return nil
	}
	name := handoverPath(report.Entries)
	text, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(name)))
	if err != nil {
		report.find(-1, "%s cannot be read", name)
		return nil //nolint:nilerr // it is what was found
	}
	signed, err := parseCheckpoint(text, v.keys())
	if err != nil || signed.N != report.Entries || signed.Hash != v.again.tree.root() {
		report.find(report.Entries-1, "the keys before it have not signed the entry: %s: %v", name, err)
	}
	return nil
}

// conclude holds the checkpoints against the tree.
func (v *tilesVerification) conclude(size int64, text, pinned []byte) {
	report := v.report
	report.Keys = v.keys().All()
	if err := v.held.accept(v.keys()); err != nil {
		report.find(-1, "%v", err)
	}
	if pinned != nil {
		held, err := parseCheckpoint(pinned, v.keys())
		switch {
		case err != nil:
			report.find(-1, "the checkpoint that you hold cannot be used: %v", err)
		case held.N > report.Entries:
			report.find(report.Entries, "the checkpoint that you hold signs %d entries, the log holds %d: its end was cut off", held.N, report.Entries)
		case held.N > 0 && held.Hash != v.pinned.root:
			report.find(-1, "the log does not continue the checkpoint of %d entries that you hold: its history was rewritten", held.N)
		}
		report.Pinned, report.PinnedTime = v.pinned.size, v.pinned.time
	}
	if report.Entries > 0 {
		report.Root = v.again.tree.root().String()
	}
	signed, err := parseCheckpoint(text, v.keys())
	switch {
	case err != nil:
		report.find(-1, "the checkpoint is not signed by this log: %v", err)
	case signed.N != size || signed.N > 0 && v.again.tree.root() != signed.Hash:
		report.find(-1, "the checkpoint signs another history than the entries tell")
	default:
		report.Checkpoints = 1
	}
}

// readBundle reads a tile of entries.
func readBundle(dir string, n int64, width int) ([][]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(tilePath("entries", n, width))))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, errors.New("the last entry is cut off")
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(entries) != width {
		return nil, fmt.Errorf("%d entries instead of %d", len(entries), width)
	}
	return entries, nil
}
