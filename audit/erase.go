package audit

import (
	"context"
	"errors"
	"fmt"
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
var erasable = []string{"sql", "runs", "facts", "purpose", "reason", "problem", "rows"}

// eraseBatch is how many entries lose their texts in one transaction, so that
// nobody waits long behind it.
const eraseBatch = 1000

// Erase erases texts and records that it did, in the same transactions. It
// returns how many texts are gone. Pages that held them are overwritten, in the
// file and in its write-ahead log.
func (l *Log) Erase(ctx context.Context, e Erasure) (erased int64, err error) {
	where, args := e.Filter.where()
	if where == "" {
		return 0, errors.New("erasing: choose what by time, caller or session; all of it is a new log")
	}
	names := e.Texts
	if len(names) == 0 {
		names = erasable
	}
	for _, n := range names {
		if !strings.Contains(" "+strings.Join(erasable, " ")+" ", " "+n+" ") {
			return 0, fmt.Errorf("erasing: %q is no text that can go; those are %s", n, strings.Join(erasable, ", "))
		}
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(names)), ",")
	var texts []any
	for _, n := range names {
		texts = append(texts, n)
	}
	for {
		n, err := l.eraseSome(ctx, e, where, args, marks, texts, names)
		if err != nil {
			return erased, fmt.Errorf("erasing: %w", err)
		}
		if n == 0 {
			return erased, nil
		}
		erased += n
	}
}

// eraseSome erases the texts of one batch.
func (l *Log) eraseSome(ctx context.Context, e Erasure, where string, args []any, marks string, texts []any, names []string) (n int64, err error) {
	err = l.Update(ctx, func(tx *Tx) error {
		list, err := tx.integers(`SELECT DISTINCT b.idx FROM blobs b JOIN (SELECT idx FROM entries`+where+`) e ON e.idx = b.idx WHERE b.name IN (`+marks+`) ORDER BY b.idx LIMIT ?`,
			append(append(append([]any{}, args...), texts...), eraseBatch)...)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, index := range list {
			res, err := tx.Exec(`DELETE FROM blobs WHERE idx = ? AND name IN (`+marks+`)`, append([]any{index}, texts...)...)
			if err != nil {
				return err
			}
			gone, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += gone
		}
		tx.flush = true
		_, err = tx.Append(Event{Kind: KindErased, Caller: e.By, Count: n, From: &list[0], To: &list[len(list)-1], Codes: names, Reason: e.Reason})
		return err
	})
	return n, err
}

// integers reads a column of whole numbers.
func (tx *Tx) integers(query string, args ...any) ([]int64, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, rows.Err()
}

// Retention says how long texts stay. Zero keeps them.
type Retention struct {
	Texts time.Duration // all but rows
	Rows  time.Duration // rows of answers, where policy keeps them
}

// Retain erases what is older than retention lets it be.
func (l *Log) Retain(ctx context.Context, r Retention) error {
	now := l.options.Now()
	for _, part := range []struct {
		age   time.Duration
		texts []string
	}{{r.Texts, []string{"sql", "runs", "facts", "purpose", "reason", "problem"}}, {r.Rows, []string{"rows"}}} {
		if part.age <= 0 {
			continue
		}
		_, err := l.Erase(ctx, Erasure{Filter: Filter{Until: now.Add(-part.age)}, Texts: part.texts, Reason: "retention of " + part.age.String()})
		if err != nil {
			return err
		}
	}
	return nil
}
