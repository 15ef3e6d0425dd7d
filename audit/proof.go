package audit

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// proofHeader begins a proof (C2SP tlog-proof, c2sp.org/tlog-proof).
const proofHeader = "c2sp.org/tlog-proof@v1"

// A Proof shows that an entry stands in a log: whoever has it, the entry and
// the log's public key needs nothing else. Its text form is C2SP tlog-proof,
// its usual file extension .tlog-proof.
type Proof struct {
	Index      int64
	Hashes     []tlog.Hash // from the leaf's neighbour up
	Checkpoint []byte      // a signed note
}

// Prove proves an entry against the newest checkpoint.
func (r *Reader) Prove(ctx context.Context, index int64) (*Proof, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	defer tx.Rollback()
	tree, text, err := r.newest(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	if index < 0 || index >= tree.N {
		return nil, fmt.Errorf("proving entry %d: %w", index, ErrNoEntry)
	}
	cosigned, err := cosign(ctx, tx, text, tree.N)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	hashes, err := tlog.ProveRecord(tree.N, index, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			if out[i], err = storedHash(ctx, tx, at); err != nil {
				return nil, err
			}
		}
		return out, nil
	}))
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	return &Proof{Index: index, Hashes: hashes, Checkpoint: cosigned}, nil
}

// cosign adds what witnesses have signed of a checkpoint of this size.
func cosign(ctx context.Context, tx *sql.Tx, text string, size int64) ([]byte, error) {
	rows, err := tx.QueryContext(ctx, `SELECT line FROM cosignatures WHERE size = ? ORDER BY witness`, size)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		text += line
	}
	return []byte(text), rows.Err()
}

// String is the proof's text.
func (p *Proof) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nindex %d\n", proofHeader, p.Index)
	for _, h := range p.Hashes {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint)
	return b.String()
}

// ErrProof is returned for a proof that does not hold.
var ErrProof = errors.New("the proof does not hold")

// maxProof bounds a proof's hashes: a tree has no more levels.
const maxProof = 63

// ParseProof reads a proof's text. Extra data, which the format allows, is
// skipped: nothing binds it.
func ParseProof(text []byte) (*Proof, error) {
	head, checkpoint, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofHeader {
		return nil, fmt.Errorf("reading proof: it does not begin with %s", proofHeader)
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		if _, err := base64.StdEncoding.Strict().DecodeString(lines[0][len("extra "):]); err != nil {
			return nil, fmt.Errorf("reading proof: extra data: %w", err)
		}
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return nil, errors.New("reading proof: there is no index")
	}
	number, ok := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || index < 0 || strconv.FormatInt(index, 10) != number {
		return nil, fmt.Errorf("reading proof: %q is no index", lines[0])
	}
	p := &Proof{Index: index, Checkpoint: []byte(checkpoint)}
	if len(lines)-1 > maxProof {
		return nil, fmt.Errorf("reading proof: %d hashes", len(lines)-1)
	}
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil || h.String() != line {
			return nil, fmt.Errorf("reading proof: %q is no hash", line)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Verify reports whether an entry, byte for byte, stands in the log that keys
// belong to, and how many entries that log had then.
func (p *Proof) Verify(entry []byte, keys *Keys) (size int64, err error) {
	tree, err := parseCheckpoint(p.Checkpoint, keys)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if p.Index >= tree.N {
		return 0, fmt.Errorf("%w: entry %d is beyond the %d that the checkpoint signs", ErrProof, p.Index, tree.N)
	}
	if err := tlog.CheckRecord(p.Hashes, tree.N, tree.Hash, p.Index, tlog.RecordHash(entry)); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return tree.N, nil
}
