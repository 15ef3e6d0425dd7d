package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// An Inclusion is what [Reader.VerifyEntries] has proven of some entries.
type Inclusion struct {
	Entries int    // that were looked at
	Texts   int    // beside them, that are what was recorded
	Erased  int    // texts that are gone, as retention may have it
	Size    int64  // entries that the newest checkpoint signs
	Root    string // of their tree, base64
	// Since is the size of the oldest checkpoint over one of the entries; from
	// there on, the log has only grown.
	Since    int64
	Findings []Finding
}

// OK reports whether all of the entries were proven.
func (i *Inclusion) OK() bool { return len(i.Findings) == 0 && i.Size > 0 }

// VerifyEntries recomputes some entries' leaves and their texts' digests, proves
// that each stands in the tree of the newest checkpoint, and that this tree
// continues those of the checkpoints with which the entries came. It reads as
// much as that takes and no more: [Reader.Verify] is for the whole log.
func (r *Reader) VerifyEntries(ctx context.Context, indexes []int64) (*Inclusion, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one state of the file
	if err != nil {
		return nil, fmt.Errorf("verifying entries: %w", err)
	}
	defer tx.Rollback()
	p := &prover{reader: r, tx: tx, out: &Inclusion{}, hashes: map[int64]tlog.Hash{}}
	if err := p.all(ctx, slices.Compact(slices.Sorted(slices.Values(indexes)))); err != nil {
		return nil, fmt.Errorf("verifying entries: %w", err)
	}
	return p.out, nil
}

type prover struct {
	reader *Reader
	tx     *sql.Tx
	keys   *Keys // the log's
	out    *Inclusion
	newest tlog.Tree
	hashes map[int64]tlog.Hash // read already
}

func (p *prover) find(index int64, format string, args ...any) {
	p.out.Findings = append(p.out.Findings, Finding{index, fmt.Sprintf(format, args...)})
}

func (p *prover) all(ctx context.Context, indexes []int64) error {
	var err error
	if p.keys, err = p.reader.keysIn(ctx, p.tx); err != nil {
		p.find(-1, "%v", err)
		return ctx.Err()
	}
	newest, text, err := newestCheckpoint(ctx, p.tx, p.keys)
	switch {
	case text == "" && err != nil:
		return err
	case err != nil:
		p.find(-1, "the newest checkpoint is not signed by this log: %v", err)
		return nil
	case text == "":
		p.find(-1, "the log has no checkpoint")
		return nil
	}
	p.newest, p.out.Size, p.out.Root = newest, newest.N, newest.Hash.String()
	covered := int64(0) // entries below this size have had their checkpoint looked at
	for _, index := range indexes {
		if err := p.entry(ctx, index); err != nil {
			return err
		}
		if index < covered || index >= newest.N {
			continue
		}
		if covered, err = p.continues(ctx, index); err != nil {
			return err
		}
	}
	return nil
}

// entry proves one entry.
func (p *prover) entry(ctx context.Context, index int64) error {
	c := record{index: index}
	err := p.tx.QueryRowContext(ctx, `SELECT entry, texts, time, kind, subject, session, verdict, approval, query_id FROM entries WHERE idx = ?`, index).
		Scan(&c.entry, &c.texts, &c.at, &c.kind, &c.subject, &c.session, &c.verdict, &c.approval, &c.queryID)
	if errors.Is(err, sql.ErrNoRows) {
		p.find(index, "the entry is missing")
		return nil
	}
	if err != nil {
		return err
	}
	c.check(p.keys)
	p.out.Entries++
	p.out.Texts += int(c.present)
	p.out.Erased += int(c.promised - c.present)
	p.out.Findings = append(p.out.Findings, c.findings...)
	if index >= p.newest.N {
		p.find(index, "no checkpoint covers the entry")
		return nil
	}
	proof, err := tlog.ProveRecord(p.newest.N, index, tlog.HashReaderFunc(p.read(ctx)))
	if err != nil {
		// What has to be there to prove it is not: that is a finding as well.
		p.find(index, "the tree around the entry cannot be read: %v", err)
		return ctx.Err()
	}
	if tlog.CheckRecord(proof, p.newest.N, p.newest.Hash, index, c.leaf) != nil {
		p.find(index, "the entry is not in the tree that the newest checkpoint signs")
	}
	return nil
}

// continues proves that the newest tree continues the one that the entry came
// with, and returns how many entries that one has.
func (p *prover) continues(ctx context.Context, index int64) (int64, error) {
	var note []byte
	var last int64
	err := p.tx.QueryRowContext(ctx, `SELECT idx, note FROM entries WHERE idx >= ? AND note IS NOT NULL ORDER BY idx LIMIT 1`, index).Scan(&last, &note)
	if err != nil {
		return 0, err // the newest checkpoint would do
	}
	size := last + 1
	old, unsigned := parseCheckpoint(note, p.keys)
	if unsigned != nil || old.N != size {
		p.find(-1, "the checkpoint of size %d is not signed by this log", size)
		return size, nil //nolint:nilerr // it is what was found
	}
	if p.out.Since == 0 {
		p.out.Since = old.N
	}
	if old == p.newest {
		return size, nil
	}
	proof, err := tlog.ProveTree(p.newest.N, old.N, tlog.HashReaderFunc(p.read(ctx)))
	if err != nil {
		p.find(-1, "the tree since the checkpoint of size %d cannot be read: %v", size, err)
		return size, ctx.Err()
	}
	if tlog.CheckTree(proof, p.newest.N, p.newest.Hash, old.N, old.Hash) != nil {
		p.find(-1, "the log does not continue its checkpoint of %d entries: its history was rewritten", size)
	}
	return size, nil
}

func (p *prover) read(ctx context.Context) func([]int64) ([]tlog.Hash, error) {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			h, there := p.hashes[at]
			if !there {
				var err error
				if h, err = storedHash(ctx, p.tx, at); err != nil {
					return nil, err
				}
				p.hashes[at] = h
			}
			out[i] = h
		}
		return out, nil
	}
}

// A Day is how much happened on one day (UTC).
type Day struct {
	Date       time.Time // midnight
	Statements int64     // that were judged, to be run
	Refused    int64     // of them
	Asked      int64     // of them, that wait or waited for a person
	Failed     int64     // that ran, and the warehouse refused
	Approved   int64     // requests that people approved
	Denied     int64     // or denied
}

// Days counts what happened from one time to another, a day each, also those on
// which nothing did.
func (r *Reader) Days(ctx context.Context, since, until time.Time) ([]Day, error) {
	const day = 24 * time.Hour
	first, end := since.UTC().Truncate(day), until.UTC()
	var days []Day
	for d := first; d.Before(end); d = d.Add(day) {
		days = append(days, Day{Date: d})
	}
	where, args, err := Filter{Since: first, Until: end}.where(ctx, r.db)
	if err != nil {
		return nil, fmt.Errorf("counting days: %w", err)
	}
	rows, err := r.db.QueryContext(ctx, `
		SELECT time / 86400000000, kind, coalesce(nullif(verdict, ''), CASE kind
			WHEN 'approval_changed' THEN json_extract(CAST(entry AS TEXT), '$.state') WHEN 'outcome' THEN json_extract(CAST(entry AS TEXT), '$.status') END, ''), count(*)
		FROM entries`+where+` AND kind IN ('decision', 'outcome', 'approval_changed')
			AND NOT (kind = 'decision' AND coalesce(json_extract(CAST(entry AS TEXT), '$.dry_run'), false))
		GROUP BY 1, 2, 3`, args...)
	if err != nil {
		return nil, fmt.Errorf("counting days: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at, n int64
		var kind Kind
		var word string
		if err := rows.Scan(&at, &kind, &word, &n); err != nil {
			return nil, fmt.Errorf("counting days: %w", err)
		}
		if i := at - first.Unix()/86400; i >= 0 && i < int64(len(days)) {
			days[i].count(kind, word, n)
		}
	}
	return days, rows.Err()
}

func (d *Day) count(kind Kind, word string, n int64) {
	if kind == KindDecision {
		d.Statements += n
	}
	switch string(kind) + " " + word {
	case "decision deny":
		d.Refused += n
	case "decision ask":
		d.Asked += n
	case "outcome failed":
		d.Failed += n
	case "approval_changed approved":
		d.Approved += n
	case "approval_changed denied":
		d.Denied += n
	}
}
