package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
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
	Session      string
	Verdict      string
	Last         int // only the newest n
}

// A Reader reads a log, also one that a gateway is writing.
type Reader struct {
	db       *sql.DB
	verifier note.Verifier
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
	return &Reader{db, verifier}, nil
}

// Close closes the reader.
func (r *Reader) Close() error { return r.db.Close() }

// Entries yields the chosen entries in their order. It ends with the first
// error.
func (r *Reader) Entries(ctx context.Context, f Filter) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		where, args := f.where()
		query := `SELECT idx, entry FROM entries` + where + ` ORDER BY idx`
		if f.Last > 0 {
			query = `SELECT idx, entry FROM (SELECT idx, entry FROM entries` + where + ` ORDER BY idx DESC LIMIT ?) ORDER BY idx`
			args = append(args, f.Last)
		}
		rows, err := r.db.QueryContext(ctx, query, args...)
		if err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, err := r.scan(ctx, rows)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
		}
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
	rows, err := r.db.QueryContext(ctx, `SELECT idx, entry FROM entries WHERE idx = ?`, index)
	if err != nil {
		return nil, fmt.Errorf("reading log: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, errors.Join(ErrNoEntry, rows.Err())
	}
	return r.scan(ctx, rows)
}

func (r *Reader) scan(ctx context.Context, rows *sql.Rows) (*Entry, error) {
	e := &Entry{Texts: map[string]string{}, salts: map[string][]byte{}}
	if err := rows.Scan(&e.Index, &e.Raw); err != nil {
		return nil, fmt.Errorf("reading log: %w", err)
	}
	if err := json.Unmarshal(e.Raw, &e.Event); err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", e.Index, err)
	}
	e.Leaf = tlog.RecordHash(e.Raw).String()
	blobs, err := r.db.QueryContext(ctx, `SELECT name, salt, payload FROM blobs WHERE idx = ?`, e.Index)
	if err != nil {
		return nil, fmt.Errorf("reading texts of entry %d: %w", e.Index, err)
	}
	defer blobs.Close()
	for blobs.Next() {
		var name, payload string
		var salt []byte
		if err := blobs.Scan(&name, &salt, &payload); err != nil {
			return nil, fmt.Errorf("reading texts of entry %d: %w", e.Index, err)
		}
		e.Texts[name], e.salts[name] = payload, salt
	}
	return e, blobs.Err()
}
