package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A Report says what verification has proven, and what it has found.
type Report struct {
	Origin      string
	Entries     int64     // in the log
	Checkpoints int64     // signed and consistent with the tree
	Erased      int64     // texts that are gone, as retention may have it
	Root        string    // of the whole tree, base64
	Newest      time.Time // of the last entry
	Pinned      int64     // size of the checkpoint that the caller held; 0 without
	Findings    []Finding
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// A Finding is one thing that is not as it was recorded. Index is the entry's,
// or -1 where no entry can be named.
type Finding struct {
	Index int64
	What  string
}

func (r *Report) find(index int64, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{index, fmt.Sprintf(format, args...)})
}

// maxFindings ends a verification that finds nothing but damage.
const maxFindings = 100

// Verify recomputes every leaf, every interior hash, every checkpoint and
// every text's digest from what the file holds. pinned is a checkpoint that
// the caller has kept from an earlier day, or nil: without one, a log whose end
// was cut off together with its checkpoints verifies. An error means that
// verification could not be done; what it found is in the report.
func (r *Reader) Verify(ctx context.Context, pinned []byte) (*Report, error) {
	report := &Report{Origin: r.verifier.Name()}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one state of the file
	if err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	defer tx.Rollback()
	tree, err := r.verifyEntries(ctx, tx, report)
	if err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	if err := r.verifyCheckpoints(ctx, tx, report, tree); err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	if err := r.verifyTexts(ctx, tx, report); err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	if pinned != nil {
		r.verifyPinned(report, tree, pinned)
	}
	return report, nil
}

// hashList is the tree recomputed from the entries, in tlog's numbering.
type hashList []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (l hashList) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(l)) {
			return nil, fmt.Errorf("hash %d is beyond the tree", index)
		}
		out[i] = l[index]
	}
	return out, nil
}

func (r *Reader) verifyEntries(ctx context.Context, tx *sql.Tx, report *Report) (hashList, error) {
	var tree hashList
	rows, err := tx.QueryContext(ctx, `SELECT idx, entry, time, kind, subject, session, verdict FROM entries ORDER BY idx`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var index, at int64
		var entry []byte
		var kind, subject, session, verdict string
		if err := rows.Scan(&index, &entry, &at, &kind, &subject, &session, &verdict); err != nil {
			return nil, err
		}
		if index != report.Entries {
			report.find(report.Entries, "entries %d to %d are missing", report.Entries, index-1)
			return tree, rows.Err()
		}
		var e Event
		if err := json.Unmarshal(entry, &e); err != nil {
			report.find(index, "the entry cannot be read: %v", err)
		} else {
			report.Newest = e.Time
			bySubject := ""
			if e.Caller != nil {
				bySubject = e.Caller.Subject
			}
			if e.Time.UnixMicro() != at || string(e.Kind) != kind || bySubject != subject || e.Session != session || e.Verdict != verdict {
				report.find(index, "the columns to search by do not repeat the entry")
			}
		}
		hashes, err := tlog.StoredHashes(index, entry, tree)
		if err != nil {
			return nil, err
		}
		tree = append(tree, hashes...)
		report.Entries++
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if report.Entries > 0 {
		root, err := tlog.TreeHash(report.Entries, tree)
		if err != nil {
			return nil, err
		}
		report.Root = root.String()
	}
	return tree, r.verifyHashes(ctx, tx, report, tree)
}

// verifyHashes compares the stored interior with the recomputed one. An entry
// whose leaf differs has been changed.
func (r *Reader) verifyHashes(ctx context.Context, tx *sql.Tx, report *Report, tree hashList) error {
	rows, err := tx.QueryContext(ctx, `SELECT idx, hash FROM hashes ORDER BY idx`)
	if err != nil {
		return err
	}
	defer rows.Close()
	n, interior := int64(0), 0
	for rows.Next() && len(report.Findings) < maxFindings {
		var index int64
		var hash []byte
		if err := rows.Scan(&index, &hash); err != nil {
			return err
		}
		if index != n || n >= int64(len(tree)) {
			report.find(-1, "the stored tree does not have the shape of its entries")
			return rows.Err()
		}
		if !bytes.Equal(hash, tree[n][:]) {
			if level, leaf := tlog.SplitStoredHashIndex(n); level == 0 {
				report.find(leaf, "the entry is not what was recorded: its hash differs from the stored leaf")
			} else {
				interior++
			}
		}
		n++
	}
	if interior > 0 {
		report.find(-1, "%d interior hashes are not those of the entries", interior)
	}
	if n < int64(len(tree)) && len(report.Findings) < maxFindings {
		report.find(-1, "stored hashes are missing from number %d on", n)
	}
	return rows.Err()
}

func (r *Reader) verifyCheckpoints(ctx context.Context, tx *sql.Tx, report *Report, tree hashList) error {
	rows, err := tx.QueryContext(ctx, `SELECT size, note FROM checkpoints ORDER BY size`)
	if err != nil {
		return err
	}
	defer rows.Close()
	newest := int64(0)
	other := []int64{}
	for rows.Next() && len(report.Findings) < maxFindings {
		var size int64
		var text []byte
		if err := rows.Scan(&size, &text); err != nil {
			return err
		}
		newest = size
		switch r.verifyCheckpoint(report, tree, size, text, "the checkpoint") {
		case consistent:
			report.Checkpoints++
		case otherHistory:
			other = append(other, size)
		default: // unusable, and reported
		}
	}
	if len(other) > 0 {
		report.find(-1, "%d checkpoints, of sizes %d to %d, sign another history than the entries tell", len(other), other[0], other[len(other)-1])
	}
	if newest != report.Entries && len(report.Findings) < maxFindings {
		report.find(-1, "the newest checkpoint signs %d entries, the log holds %d", newest, report.Entries)
	}
	return rows.Err()
}

// What a checkpoint says of the tree.
type agreement uint8

const (
	unusable     agreement = iota // found and reported
	otherHistory                  // signed, over other entries; the caller reports it
	consistent
)

// verifyCheckpoint holds one checkpoint against the tree; size is what it is
// filed under.
func (r *Reader) verifyCheckpoint(report *Report, tree hashList, size int64, text []byte, who string) agreement {
	signed, err := parseCheckpoint(text, r.verifier)
	switch {
	case err != nil:
		report.find(-1, "%s of size %d is not signed by this log: %v", who, size, err)
		return unusable
	case signed.N != size:
		report.find(-1, "%s filed under %d signs %d entries", who, size, signed.N)
		return unusable
	case signed.N > report.Entries:
		report.find(report.Entries, "%s signs %d entries, the log holds %d: its end was cut off", who, signed.N, report.Entries)
		return unusable
	case signed.N == 0:
		return consistent
	}
	root, err := tlog.TreeHash(signed.N, tree)
	if err != nil || root != signed.Hash {
		return otherHistory
	}
	return consistent
}

func (r *Reader) verifyPinned(report *Report, tree hashList, pinned []byte) {
	signed, err := parseCheckpoint(pinned, r.verifier)
	if err != nil {
		report.find(-1, "the checkpoint that you hold cannot be used: %v", err)
		return
	}
	report.Pinned = signed.N
	if r.verifyCheckpoint(report, tree, signed.N, pinned, "the checkpoint that you hold") == otherHistory {
		report.find(-1, "the checkpoint of %d entries that you hold signs another history than the entries tell", signed.N)
	}
}

// verifyTexts recomputes the digest of each text that is still there.
func (r *Reader) verifyTexts(ctx context.Context, tx *sql.Tx, report *Report) error {
	rows, err := tx.QueryContext(ctx, `SELECT b.idx, b.name, b.salt, b.payload, e.entry FROM blobs b LEFT JOIN entries e ON e.idx = b.idx ORDER BY b.idx`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var present int64
	for rows.Next() && len(report.Findings) < maxFindings {
		var index int64
		var name, payload string
		var salt, entry []byte
		if err := rows.Scan(&index, &name, &salt, &payload, &entry); err != nil {
			return err
		}
		var e Event
		if entry == nil || json.Unmarshal(entry, &e) != nil {
			report.find(index, "a text (%s) belongs to no readable entry", name)
			continue
		}
		b := blob{name: name, payload: payload}
		if copy(b.salt[:], salt) != len(b.salt) || len(salt) != len(b.salt) || e.Blobs[name] != b.digest() {
			report.find(index, "the text (%s) is not what was recorded", name)
			continue
		}
		present++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var promised int64
	err = tx.QueryRowContext(ctx, `SELECT coalesce(sum((SELECT count(*) FROM json_each(json_extract(entry, '$.blobs')))), 0) FROM entries WHERE json_valid(entry)`).Scan(&promised)
	if err != nil {
		return err
	}
	report.Erased = promised - present
	return nil
}

// Checkpoint returns the newest checkpoint, to be kept where the gateway
// cannot reach it; empty for an empty log.
func (r *Reader) Checkpoint(ctx context.Context) ([]byte, error) {
	_, text, err := newestCheckpoint(ctx, r.db, r.verifier)
	return []byte(text), err
}

// ExportJSONL writes the chosen entries, one JSON object a line: index, leaf
// hash, event and texts. It is lossless but for what was erased.
func (r *Reader) ExportJSONL(ctx context.Context, w io.Writer, f Filter) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for e, err := range r.Entries(ctx, f) {
		if err != nil {
			return err
		}
		line := struct {
			Index int64             `json:"index"`
			Leaf  string            `json:"leaf"`
			Event json.RawMessage   `json:"event"`
			Texts map[string]string `json:"texts,omitempty"`
			Salts map[string][]byte `json:"salts,omitempty"`
		}{e.Index, e.Leaf, e.Raw, e.Texts, e.salts}
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
	}
	return nil
}
