package audit

import (
	"context"
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
var erasable = []string{"sql", "runs", "facts", "purpose", "reason", "problem", "search", "rows", "prompt", "response", "folder"}

// eraseBatch is how many entries lose their texts in one transaction, so that
// nobody waits long behind it.
const eraseBatch = 250

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
		// Readers look for what is to go, however long that takes. The writer
		// only has to take it away.
		var found []int64
		if found, from, err = l.withTexts(ctx, where, args, from); err != nil {
			return erased, fmt.Errorf("erasing: %w", err)
		}
		var n int64
		err = l.Update(ctx, func(tx *Tx) (err error) {
			n, err = tx.eraseSome(e, found)
			return err
		})
		if err != nil {
			return erased, fmt.Errorf("erasing: %w", err)
		}
		erased += n
	}
	return erased, l.flush()
}

// withTexts finds the next entries that have texts, and where to go on, -1 at
// the end.
func (l *Log) withTexts(ctx context.Context, where string, args []any, from int64) (found []int64, next int64, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT idx FROM entries`+where+` AND idx >= ? AND length(texts) > 0 ORDER BY idx LIMIT ?`, append(slices.Clone(args), from, eraseBatch)...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var index int64
		if err := rows.Scan(&index); err != nil {
			return nil, 0, err
		}
		found = append(found, index)
	}
	next = -1
	if len(found) == eraseBatch {
		next = found[len(found)-1] + 1
	}
	return found, next, rows.Err()
}

// eraseSome erases the texts of a batch and returns how many are gone.
func (tx *Tx) eraseSome(e Erasure, indexes []int64) (gone int64, err error) {
	var first, last int64
	for _, index := range indexes {
		var raw []byte
		if err := tx.QueryRow(`SELECT texts FROM entries WHERE idx = ?`, index).Scan(&raw); err != nil {
			return 0, err
		}
		texts, err := decodeTexts(raw)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		kept := slices.DeleteFunc(slices.Clone(texts), func(t text) bool { return slices.Contains(e.Texts, t.name) })
		if len(kept) == len(texts) {
			continue
		}
		if _, err := tx.Exec(`UPDATE entries SET texts = ? WHERE idx = ?`, encodeTexts(kept), index); err != nil {
			return 0, err
		}
		if gone == 0 {
			first = index
		}
		gone, last = gone+int64(len(texts)-len(kept)), index
	}
	if gone == 0 {
		return 0, nil
	}
	_, err = tx.Append(Event{Kind: KindErased, Caller: e.By, Count: gone, From: &first, To: &last, Codes: e.Texts, Reason: e.Reason})
	return gone, err
}

// flush overwrites the write-ahead log, which still holds what was erased. A
// reader that is in the way is not waited for, since everybody would wait with
// it: then the next flush does it, or the last close.
func (l *Log) flush() error {
	return l.do(&job{last: true, fn: func(tx *Tx) error {
		tx.flush = true
		return nil
	}})
}

// Retention says how long texts stay. Zero keeps them.
type Retention struct {
	Texts time.Duration // all but rows
	Rows  time.Duration // rows of answers, where policy keeps them
}

// Retain erases what is older than retention lets it be. Where it has been
// before it does not look again: how far it has come stands in table meta.
func (l *Log) Retain(ctx context.Context, r Retention) error {
	if err := l.flush(); err != nil { // what a reader was in the way of
		return fmt.Errorf("erasing: %w", err)
	}
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
