package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// An Entry is an event as it stands in the log.
type Entry struct {
	Index int64             `json:"index"`
	Leaf  string            `json:"leaf"` // hash, base64
	Event Event             `json:"event"`
	Raw   []byte            `json:"-"`               // the bytes that the tree binds
	Texts map[string]string `json:"texts,omitempty"` // blobs by name; erased ones are missing
	salts map[string][]byte
}

// Ref names the entry as [Receipt.Ref] does.
func (e *Entry) Ref() string { return ref(e.Index, tlog.RecordHash(e.Raw)) }

// A Filter chooses entries. Its zero value chooses all.
type Filter struct {
	Since, Until time.Time
	Kind         Kind
	Subject      string
	Email        string
	Session      string
	Verdict      string
	Approval     string
	QueryID      string // the warehouse's
	After        int64  // only entries from this index on
	Object       string // only what reached this object: its full name, or the end of it
	Last         int    // only the newest n
	// Progress, where it is set, is told now and then how many entries have
	// been looked at, and how many there are.
	Progress func(done, of int64)

	only *int64
}

// A Reader reads a log, also one that a gateway is writing.
type Reader struct {
	db       *sql.DB
	verifier note.Verifier
	vkey     string // its text
}

// OpenReader opens a log for reading. The public key is read from NAME.vkey.
func OpenReader(path string) (*Reader, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening log: %s does not exist", path)
	}
	text, err := os.ReadFile(strings.TrimSuffix(path, filepath.Ext(path)) + ".vkey")
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	db, err := openDB(path, "ro")
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	if err := db.Ping(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening log: %w", err), db.Close())
	}
	var v string
	if err := db.QueryRow(`SELECT value FROM meta WHERE key = 'version'`).Scan(&v); err != nil {
		return nil, errors.Join(fmt.Errorf("opening log: %s is no audit log: %w", path, err), db.Close())
	}
	if v != strconv.Itoa(version) {
		return nil, errors.Join(fmt.Errorf("opening log: %s has version %s, this program reads version %d; a gateway that opens it brings it there", path, v, version), db.Close())
	}
	return &Reader{db, verifier, strings.TrimSpace(string(text))}, nil
}

// Origin is the log's name.
func (r *Reader) Origin() string { return r.verifier.Name() }

// Close closes the reader.
func (r *Reader) Close() error { return r.db.Close() }

// Entries yields the chosen entries in their order, with their texts. It ends
// with the first error.
func (r *Reader) Entries(ctx context.Context, f Filter) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for e, err := range r.raw(ctx, f) {
			if err == nil {
				if err = json.Unmarshal(e.Raw, &e.Event); err != nil {
					e, err = nil, fmt.Errorf("reading entry %d: %w", e.Index, err)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// raw yields entries whose events have not been read.
func (r *Reader) raw(ctx context.Context, f Filter) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		where, args := f.where()
		chosen := `SELECT idx, entry FROM entries` + where
		if f.Last > 0 {
			chosen += ` ORDER BY idx DESC LIMIT ?`
			args = append(args, f.Last)
		}
		// Asked to watch a context, the driver does so anew for each row.
		rows, err := r.db.QueryContext(context.WithoutCancel(ctx), `SELECT e.idx, e.entry, b.name, b.salt, b.payload FROM (`+chosen+`) e LEFT JOIN blobs b ON b.idx = e.idx ORDER BY e.idx`, args...)
		if err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
			return
		}
		defer rows.Close()
		var of, seen int64
		if f.Progress != nil {
			if err := r.db.QueryRowContext(ctx, `SELECT count(*) FROM (`+chosen+`)`, args...).Scan(&of); err != nil {
				yield(nil, fmt.Errorf("reading log: %w", err))
				return
			}
		}
		var e *Entry // being read: each of its texts is a row
		finish := func() bool {
			if e == nil {
				return true
			}
			e.Leaf = tlog.RecordHash(e.Raw).String()
			if seen++; f.Progress != nil && (seen%1024 == 0 || seen == of) {
				f.Progress(seen, of)
			}
			return yield(e, nil)
		}
		for rows.Next() {
			var index int64
			var raw, salt, payload sql.RawBytes
			var name sql.NullString
			if err := rows.Scan(&index, &raw, &name, &salt, &payload); err != nil {
				yield(nil, fmt.Errorf("reading log: %w", err))
				return
			}
			if e == nil || e.Index != index {
				if !finish() {
					return
				}
				if ctx.Err() != nil {
					yield(nil, fmt.Errorf("reading log: %w", context.Cause(ctx)))
					return
				}
				e = &Entry{Index: index, Raw: bytes.Clone(raw), Texts: map[string]string{}, salts: map[string][]byte{}}
			}
			if name.Valid {
				e.Texts[name.String], e.salts[name.String] = string(payload), bytes.Clone(salt)
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
			return
		}
		finish()
	}
}

func (f Filter) where() (string, []any) {
	var conds []string
	var args []any
	add := func(cond string, arg any) {
		conds = append(conds, cond)
		args = append(args, arg)
	}
	if !f.Since.IsZero() {
		add("time >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("time < ?", f.Until.UnixMicro())
	}
	if f.Kind != "" {
		add("kind = ?", string(f.Kind))
	}
	if f.Subject != "" {
		add("subject = ?", f.Subject)
	}
	if f.Email != "" {
		add("json_extract(CAST(entry AS TEXT), '$.caller.email') = ? COLLATE NOCASE", f.Email)
	}
	if f.only != nil {
		add("idx = ?", *f.only)
	}
	if f.Object != "" {
		object := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Object)
		add(`EXISTS (SELECT 1 FROM json_each(CAST(entry AS TEXT), '$.accesses') a WHERE '.' || json_extract(a.value, '$.object') LIKE ? ESCAPE '\')`, "%."+object)
	}
	if f.Approval != "" {
		add("approval = ?", f.Approval)
	}
	if f.QueryID != "" {
		add("query_id = ?", f.QueryID)
	}
	if f.After > 0 {
		add("idx >= ?", f.After)
	}
	if f.Session != "" {
		add("session = ?", f.Session)
	}
	if f.Verdict != "" {
		add("verdict = ?", f.Verdict)
	}
	if conds == nil {
		return "", nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args
}

// ErrNoEntry is returned for an index that the log does not reach.
var ErrNoEntry = errors.New("the log has no such entry")

// Entry returns one entry.
func (r *Reader) Entry(ctx context.Context, index int64) (*Entry, error) {
	for e, err := range r.Entries(ctx, Filter{only: &index}) {
		return e, err
	}
	return nil, ErrNoEntry
}
