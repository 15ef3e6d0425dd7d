package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Erasure says which texts are to go. Entries stay, and so do the digests
// that bind what is gone.
type Erasure struct {
	Filter Filter   // of entries; it has to choose by something
	Texts  []string // names of texts; all but policies and configurations if empty
	Reason string   // for the record
	By     *Caller  // who wants it; nil for the gateway's own retention
}

// erasable are the names of texts that [Log.Erase] takes. What decided, and
// what was configured, stays: without it nothing recorded can be understood.
var erasable = []string{"sql", "runs", "facts", "purpose", "reason", "problem", "search", "rows"}

// eraseBatch is how many entries lose their texts in one transaction, so that
// nobody waits long behind it.
const eraseBatch = 1000

// Erase erases texts and records that it did, in the same transactions. It
// returns how many texts are gone. Pages that held them are overwritten, in the
// file and in its write-ahead log.
func (l *Log) Erase(ctx context.Context, e Erasure) (erased int64, err error) {
	where, args, err := e.Filter.where(ctx, l.db)
	if err != nil {
		return 0, fmt.Errorf("erasing: %w", err)
	}
	if where == "" {
		return 0, errors.New("erasing: choose what by time, caller or session; all of it is a new log")
	}
	if len(e.Texts) == 0 {
		e.Texts = erasable
	}
	for _, n := range e.Texts {
		if !slices.Contains(erasable, n) {
			return 0, fmt.Errorf("erasing: %q is no text that can go; those are %s", n, strings.Join(erasable, ", "))
		}
	}
	for from := int64(0); from >= 0; {
		var n int64
		err = l.Update(ctx, func(tx *Tx) error {
			n, from, err = tx.eraseSome(e, from, where, args)
			return err
		})
		if err != nil {
			return erased, fmt.Errorf("erasing: %w", err)
		}
		erased += n
	}
	return erased, nil
}

// eraseSome erases the texts of one batch, from an entry on. It returns how many
// are gone and where to go on, -1 at the end.
func (tx *Tx) eraseSome(e Erasure, from int64, where string, args []any) (gone, next int64, err error) {
	found, err := tx.entriesWithTexts(`SELECT idx, texts FROM entries`+where+` AND idx >= ? AND length(texts) > 0 ORDER BY idx LIMIT ?`, append(slices.Clone(args), from, eraseBatch)...)
	if err != nil {
		return 0, 0, err
	}
	var first, last int64
	for _, f := range found {
		kept := slices.DeleteFunc(slices.Clone(f.texts), func(t text) bool { return slices.Contains(e.Texts, t.name) })
		if len(kept) == len(f.texts) {
			continue
		}
		if _, err := tx.Exec(`UPDATE entries SET texts = ? WHERE idx = ?`, encodeTexts(kept), f.index); err != nil {
			return 0, 0, err
		}
		if gone == 0 {
			first = f.index
		}
		gone, last = gone+int64(len(f.texts)-len(kept)), f.index
	}
	next = -1
	if len(found) == eraseBatch {
		next = found[len(found)-1].index + 1
	}
	if gone == 0 {
		return 0, next, nil
	}
	tx.flush = true
	_, err = tx.Append(Event{Kind: KindErased, Caller: e.By, Count: gone, From: &first, To: &last, Codes: e.Texts, Reason: e.Reason})
	return gone, next, err
}

// indexedTexts are an entry's texts.
type indexedTexts struct {
	index int64
	texts []text
}

func (tx *Tx) entriesWithTexts(query string, args ...any) ([]indexedTexts, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []indexedTexts
	for rows.Next() {
		var f indexedTexts
		var raw sql.RawBytes
		if err := rows.Scan(&f.index, &raw); err != nil {
			return nil, err
		}
		if f.texts, err = decodeTexts(raw); err != nil {
			return nil, fmt.Errorf("entry %d: %w", f.index, err)
		}
		found = append(found, f)
	}
	return found, rows.Err()
}

// Retention says how long texts stay. Zero keeps them.
type Retention struct {
	Texts time.Duration // all but rows
	Rows  time.Duration // rows of answers, where policy keeps them
}

// Retain erases what is older than retention lets it be. Where it has been
// before it does not look again: how far it has come stands in table meta.
func (l *Log) Retain(ctx context.Context, r Retention) error {
	now := l.options.Now()
	for _, part := range []struct {
		mark  string
		age   time.Duration
		texts []string
	}{
		{"retained texts", r.Texts, slices.DeleteFunc(slices.Clone(erasable), func(n string) bool { return n == "rows" })},
		{"retained rows", r.Rows, []string{"rows"}},
	} {
		if part.age <= 0 {
			continue
		}
		if err := l.retain(ctx, part.mark, now.Add(-part.age), Erasure{Texts: part.texts, Reason: "retention of " + part.age.String()}); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) retain(ctx context.Context, mark string, until time.Time, e Erasure) error {
	e.Filter.Until = until
	byTime, err := disordered(ctx, l.db)
	if err != nil {
		return fmt.Errorf("erasing: %w", err)
	}
	if byTime { // what is old may stand anywhere
		_, err := l.Erase(ctx, e)
		return err
	}
	err = l.db.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?), 0)`, mark).Scan(&e.Filter.After)
	if err != nil {
		return fmt.Errorf("erasing: %w", err)
	}
	end, err := firstAt(ctx, l.db, until)
	if err != nil {
		return fmt.Errorf("erasing: %w", err)
	}
	if end <= e.Filter.After {
		return nil
	}
	if _, err := l.Erase(ctx, e); err != nil {
		return err
	}
	return l.Update(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT OR REPLACE INTO meta VALUES (?, ?)`, mark, strconv.FormatInt(end, 10))
		return err
	})
}
