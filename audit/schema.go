package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// schema is what the file holds; see the package comment. version is checked
// at every start.
const (
	version = 4
	schema  = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entries (
	idx INTEGER PRIMARY KEY, entry BLOB NOT NULL, hashes BLOB NOT NULL, note BLOB,
	time INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, session TEXT NOT NULL, verdict TEXT NOT NULL,
	approval TEXT NOT NULL, query_id TEXT NOT NULL, texts BLOB NOT NULL
) STRICT;
CREATE INDEX entries_subject ON entries (subject, idx) WHERE subject <> '';
CREATE INDEX entries_session ON entries (session, idx) WHERE session <> '';
` + since2 + since4
	since2 = `
CREATE INDEX entries_approval ON entries (approval, idx) WHERE approval <> '';
CREATE INDEX entries_query_id ON entries (query_id, idx) WHERE query_id <> '';
CREATE TABLE cosignatures (size INTEGER NOT NULL, witness TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (size, witness)) STRICT, WITHOUT ROWID;`
	since4 = `
CREATE INDEX entries_keys ON entries (idx) WHERE kind IN ('key_added', 'key_retired');
CREATE INDEX entries_conversation ON entries (json_extract(CAST(entry AS TEXT), '$.conversation'), idx) WHERE kind IN ('prompt', 'response', 'tool_use', 'joined');
CREATE INDEX entries_joined ON entries (json_extract(CAST(entry AS TEXT), '$.of')) WHERE kind = 'joined';`
)

// migrations[v] makes version v+1 of version v, inside of a transaction. No
// entry ever changes: what is searched for is read from the entries again.
var migrations = map[int]func(context.Context, *Log) error{
	1: func(ctx context.Context, l *Log) error {
		_, err := l.conn.ExecContext(ctx, `
ALTER TABLE entries ADD COLUMN approval TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN query_id TEXT NOT NULL DEFAULT '';
UPDATE entries SET approval = coalesce(json_extract(CAST(entry AS TEXT), '$.approval'), ''), query_id = coalesce(json_extract(CAST(entry AS TEXT), '$.query_id'), '');`+since2)
		return err
	},
	2: together,
	3: func(ctx context.Context, l *Log) error {
		_, err := l.conn.ExecContext(ctx, since4)
		return err
	},
}

// together brings the tree, the checkpoints and the texts, which had tables of
// their own, to the entries that they came with.
func together(ctx context.Context, l *Log) error {
	var entries, hashes, newest, texts int64
	var disordered bool
	err := l.conn.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM hashes), (SELECT coalesce(max(size), 0) FROM checkpoints),
		(SELECT coalesce(max(idx) + 1, 0) FROM blobs), EXISTS (SELECT 1 FROM (SELECT time, lag(time, 1, 0) OVER (ORDER BY idx) AS before FROM entries) WHERE time < before)`).Scan(&entries, &hashes, &newest, &texts, &disordered)
	if err != nil {
		return err
	}
	if newest != entries || hashes != tlog.StoredHashCount(entries) || texts > entries {
		return fmt.Errorf("the log holds %d entries, %d hashes and texts of up to %d entries, its newest checkpoint signs %d: verify it with the program that wrote it", entries, hashes, texts, newest)
	}
	if _, err := l.conn.ExecContext(ctx, `
ALTER TABLE entries ADD COLUMN hashes BLOB NOT NULL DEFAULT x'';
ALTER TABLE entries ADD COLUMN note BLOB;
ALTER TABLE entries ADD COLUMN texts BLOB NOT NULL DEFAULT x'';
UPDATE entries SET note = (SELECT note FROM checkpoints WHERE size = entries.idx + 1);`); err != nil {
		return err
	}
	for index := range entries {
		var all []byte
		for at := tlog.StoredHashCount(index); at < tlog.StoredHashCount(index+1); at++ {
			var h []byte
			if err := l.conn.QueryRowContext(ctx, `SELECT hash FROM hashes WHERE idx = ?`, at).Scan(&h); err != nil {
				return fmt.Errorf("reading hash %d: %w", at, err)
			}
			all = append(all, h...)
		}
		beside, err := l.blobs(ctx, index)
		if err != nil {
			return err
		}
		if _, err := l.conn.ExecContext(ctx, `UPDATE entries SET hashes = ?, texts = ? WHERE idx = ?`, all, encodeTexts(beside), index); err != nil {
			return err
		}
	}
	if _, err := l.conn.ExecContext(ctx, `DROP TABLE hashes; DROP TABLE checkpoints; DROP TABLE blobs;`); err != nil || disordered {
		// Before version 3, a clock that was set back shows in the log. Such a
		// log keeps its index of times; see [firstAt].
		return err
	}
	_, err = l.conn.ExecContext(ctx, `DROP INDEX entries_time`)
	return err
}

// blobs reads the texts of an entry as version 2 has them.
func (l *Log) blobs(ctx context.Context, index int64) ([]text, error) {
	rows, err := l.conn.QueryContext(ctx, `SELECT name, salt, payload FROM blobs WHERE idx = ? ORDER BY name`, index)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var texts []text
	for rows.Next() {
		var t text
		var salt []byte
		if err := rows.Scan(&t.name, &salt, &t.payload); err != nil {
			return nil, err
		}
		if copy(t.salt[:], salt) != len(salt) || len(salt) != len(t.salt) {
			return nil, fmt.Errorf("the salt of a text of entry %d is damaged: verify the log with the program that wrote it", index)
		}
		texts = append(texts, t)
	}
	return texts, rows.Err()
}

// prepare makes the tables of a new log, or brings an older one to this
// version.
func (l *Log) prepare(ctx context.Context, isNew bool) error {
	if isNew {
		return l.alter(ctx, func() error {
			if _, err := l.conn.ExecContext(ctx, schema); err != nil {
				return err
			}
			_, err := l.conn.ExecContext(ctx, `INSERT INTO meta VALUES ('version', ?), ('origin', ?)`, strconv.Itoa(version), l.origin)
			return err
		})
	}
	var tables int
	if err := l.conn.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
		return fmt.Errorf("this is no audit log: %w", err)
	}
	if tables == 0 {
		return errors.New("the file is there and empty: it was emptied, or its making was cut short; if it never held an entry, remove it with its key")
	}
	var v, origin string
	err := l.conn.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE key = 'version'), (SELECT value FROM meta WHERE key = 'origin')`).Scan(&v, &origin)
	if err != nil {
		return fmt.Errorf("this is no audit log: %w", err)
	}
	if origin != l.origin {
		return fmt.Errorf("the key belongs to the log %q, the database to %q", l.origin, origin)
	}
	found, err := strconv.Atoi(v)
	if err != nil || found < 1 || found > version {
		return fmt.Errorf("the log has version %s, this program writes version %d", v, version)
	}
	for ; found < version; found++ {
		err := l.alter(ctx, func() error {
			if err := migrations[found](ctx, l); err != nil {
				return err
			}
			_, err := l.conn.ExecContext(ctx, `UPDATE meta SET value = ? WHERE key = 'version'`, strconv.Itoa(found+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("bringing the log from version %d to %d: %w", found, found+1, err)
		}
	}
	return nil
}

// alter does something in one transaction.
func (l *Log) alter(ctx context.Context, do func() error) error {
	if _, err := l.conn.ExecContext(ctx, writeTexts[begin]); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = l.conn.ExecContext(ctx, writeTexts[commit])
	}
	if err != nil {
		_, rollback := l.conn.ExecContext(ctx, `ROLLBACK`)
		return errors.Join(err, rollback)
	}
	return nil
}
