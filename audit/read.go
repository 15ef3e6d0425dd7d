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
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// An Entry is an event as it stands in the log.
type Entry struct {
	Index int64             `json:"index"`
	Leaf  string            `json:"leaf"` // hash, base64
	Event Event             `json:"event"`
	Raw   []byte            `json:"-"`               // the bytes that the tree binds
	Texts map[string]string `json:"texts,omitempty"` // by name; erased ones are missing
	salts map[string][]byte
}

// LetRun reports whether the entry is one that lets a statement run, the text
// "runs", which may have been erased.
func (e *Entry) LetRun() bool { return e.Event.Blobs["runs"] != "" && e.Event.letsRun() }

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
	Conversation string // only what clients told of it, and what was joined to it
	After        int64  // only entries from this index on
	Before       int64  // only entries below this index, unless it is zero
	Object       string // only what reached this object: its full name, or the end of it
	Last         int    // only the newest n
	// Progress, where it is set, is told now and then how many entries have
	// been looked at, and how many there are.
	Progress func(done, of int64)

	only  *int64
	joins *int64 // only what joins this entry to a turn
}

// A Reader reads a log, also one that a gateway is writing.
type Reader struct {
	db   *sql.DB
	held *Keys // what it is read with; the log may tell of more
}

// OpenReader opens a log for reading. The public key is read from NAME.vkey.
func OpenReader(path string) (*Reader, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening log: %s does not exist", path)
	}
	text, err := os.ReadFile(vkeyFile(path))
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	return OpenReaderWith(path, keys)
}

// OpenReaderWith opens a log for reading with keys that the caller has kept,
// instead of the one beside it.
func OpenReaderWith(path string, keys *Keys) (*Reader, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening log: %s does not exist", path)
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
	return &Reader{db, keys}, nil
}

// Origin is the log's name.
func (r *Reader) Origin() string { return r.held.Origin() }

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
		where, args, err := f.where(ctx, r.db)
		if err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
			return
		}
		chosen := `SELECT idx, entry, texts FROM entries` + where
		if f.Last > 0 {
			chosen += ` ORDER BY idx DESC LIMIT ?`
			args = append(args, f.Last)
		}
		// Asked to watch a context, the driver does so anew for each row.
		rows, err := r.db.QueryContext(context.WithoutCancel(ctx), `SELECT * FROM (`+chosen+`) ORDER BY idx`, args...)
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
		for rows.Next() {
			if seen%1024 == 0 && ctx.Err() != nil {
				yield(nil, fmt.Errorf("reading log: %w", context.Cause(ctx)))
				return
			}
			e, err := scanEntry(rows)
			if err != nil {
				yield(nil, fmt.Errorf("reading log: %w", err))
				return
			}
			if seen++; f.Progress != nil && (seen%1024 == 0 || seen == of) {
				f.Progress(seen, of)
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, fmt.Errorf("reading log: %w", err))
		}
	}
}

// scanEntry reads an entry whose event is not read yet.
func scanEntry(rows *sql.Rows) (*Entry, error) {
	e := &Entry{Texts: map[string]string{}, salts: map[string][]byte{}}
	var beside sql.RawBytes
	if err := rows.Scan(&e.Index, &e.Raw, &beside); err != nil {
		return nil, err
	}
	texts, err := decodeTexts(beside)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	for i := range texts {
		e.Texts[texts[i].name], e.salts[texts[i].name] = texts[i].payload, texts[i].salt[:]
	}
	e.Leaf = tlog.RecordHash(e.Raw).String()
	return e, nil
}

// firstAt returns the index of the first entry that was not made before t. Times
// never run backwards from entry to entry, so it is found by halving.
func firstAt(ctx context.Context, q querier, t time.Time) (int64, error) {
	var low, high int64
	if err := q.QueryRowContext(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM entries`).Scan(&high); err != nil {
		return 0, err
	}
	for low < high {
		middle := low + (high-low)/2
		var at int64
		err := q.QueryRowContext(ctx, `SELECT time FROM entries WHERE idx >= ? ORDER BY idx LIMIT 1`, middle).Scan(&at)
		if err != nil {
			return 0, err
		}
		if at < t.UnixMicro() {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// disordered reports whether a log comes from a version that let its times run
// backwards, and that they did.
func disordered(ctx context.Context, q querier) (bool, error) {
	var is bool
	err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'entries_time')`).Scan(&is)
	return is, err
}

// where is the filter as the end of a SELECT over the entries of q.
func (f Filter) where(ctx context.Context, q querier) (string, []any, error) {
	var conds []string
	var args []any
	add := func(cond string, arg any) {
		conds = append(conds, cond)
		args = append(args, arg)
	}
	for _, bound := range []struct {
		t             time.Time
		byTime, byIdx string
	}{{f.Since, "time >= ?", "idx >= ?"}, {f.Until, "time < ?", "idx < ?"}} {
		if bound.t.IsZero() {
			continue
		}
		byTime, err := disordered(ctx, q)
		if err != nil {
			return "", nil, err
		}
		if byTime {
			add(bound.byTime, bound.t.UnixMicro())
			continue
		}
		index, err := firstAt(ctx, q, bound.t)
		if err != nil {
			return "", nil, err
		}
		add(bound.byIdx, index)
	}
	if f.Kind != "" {
		add("kind = ?", string(f.Kind))
	}
	if f.Subject != "" {
		add("subject = ? AND subject <> ''", f.Subject) // as its index has it
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
		add("approval = ? AND approval <> ''", f.Approval) // as its index has it
	}
	if f.QueryID != "" {
		add("query_id = ? AND query_id <> ''", f.QueryID) // as its index has it
	}
	if f.Conversation != "" { // as its index has it
		add("json_extract(CAST(entry AS TEXT), '$.conversation') = ? AND kind IN ('prompt', 'response', 'tool_use', 'joined')", f.Conversation)
	}
	if f.joins != nil { // as its index has it
		add("json_extract(CAST(entry AS TEXT), '$.of') = ? AND kind = 'joined'", *f.joins)
	}
	if f.After > 0 {
		add("idx >= ?", f.After)
	}
	if f.Before > 0 {
		add("idx < ?", f.Before)
	}
	if f.Session != "" {
		add("session = ? AND session <> ''", f.Session) // as its index has it
	}
	if f.Verdict != "" {
		add("verdict = ?", f.Verdict)
	}
	if conds == nil {
		return "", nil, nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args, nil
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
