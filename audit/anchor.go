package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// An Anchor is a place outside of the gateway's disk that is told of
// checkpoints. Whoever holds one there can show that history before it was
// changed, or that its end was cut off, whoever has the signing key.
type Anchor interface {
	// Name says where it is, for the operator.
	Name() string
	// Send hands over the newest checkpoint.
	Send(ctx context.Context, h *Head) error
}

// A Head is the newest checkpoint, with what a witness wants to see.
type Head struct {
	Checkpoint []byte // the signed note
	Tree       tlog.Tree

	log *Log
}

// Consistency proves that the tree continues the one that it was at a size.
func (h *Head) Consistency(ctx context.Context, old int64) ([]tlog.Hash, error) {
	if old == 0 {
		return nil, nil
	}
	return tlog.ProveTree(h.Tree.N, old, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			var err error
			if out[i], err = storedHash(ctx, h.log.db, at); err != nil {
				return nil, err
			}
		}
		return out, nil
	}))
}

// FileAnchor appends checkpoints to a file, best on another machine's disk.
// The file's last checkpoint is what `audit verify --checkpoint` wants.
type FileAnchor struct{ Path string }

// Name implements [Anchor].
func (a FileAnchor) Name() string { return a.Path }

// Send implements [Anchor]. It returns once the checkpoint is on disk.
func (a FileAnchor) Send(_ context.Context, h *Head) error {
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(bytes.Clone(h.Checkpoint), '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// WebhookAnchor posts checkpoints, as text, to a URL.
type WebhookAnchor struct {
	URL    string
	Client *http.Client // http.DefaultClient if nil
}

// Name implements [Anchor].
func (a WebhookAnchor) Name() string { return a.URL }

// Send implements [Anchor].
func (a WebhookAnchor) Send(ctx context.Context, h *Head) error {
	status, body, err := post(ctx, a.Client, a.URL, h.Checkpoint)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("it answered %d: %s", status, clipped(body))
	}
	return err
}

// WitnessAnchor has a witness cosign checkpoints: it signs only what continues
// all that it has signed before (C2SP tlog-witness, c2sp.org/tlog-witness).
type WitnessAnchor struct {
	URL    string        // the prefix before /add-checkpoint
	Key    note.Verifier // of cosignatures; see [WitnessKey]
	Client *http.Client  // http.DefaultClient if nil
}

// WitnessKey reads a witness's public key (C2SP tlog-cosignature).
func WitnessKey(vkey string) (note.Verifier, error) {
	v, err := f_note.NewVerifierForCosignatureV1(strings.TrimSpace(vkey))
	if err != nil {
		return nil, fmt.Errorf("reading a witness's key: %w", err)
	}
	return v, nil
}

// Name implements [Anchor].
func (a WitnessAnchor) Name() string { return a.Key.Name() }

// Send implements [Anchor]. A cosignature that holds is kept beside the
// checkpoint.
func (a WitnessAnchor) Send(ctx context.Context, h *Head) error {
	var old int64
	err := h.log.db.QueryRowContext(ctx, `SELECT coalesce(max(size), 0) FROM cosignatures WHERE witness = ?`, a.Key.Name()).Scan(&old)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		proof, err := h.Consistency(ctx, old)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "old %d\n", old)
		for _, hash := range proof {
			b.WriteString(hash.String() + "\n")
		}
		b.WriteString("\n")
		b.Write(h.Checkpoint)
		status, body, err := post(ctx, a.Client, strings.TrimSuffix(a.URL, "/")+"/add-checkpoint", b.Bytes())
		switch {
		case err != nil:
			return err
		case status == http.StatusOK:
			return a.keep(ctx, h, body)
		case status == http.StatusConflict && try == 0:
			// It has seen another size; its answer says which.
			if old, err = strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64); err != nil || old < 0 || old > h.Tree.N {
				return fmt.Errorf("it has seen %s entries, the log holds %d: an old copy was put back, or its end cut off", clipped(body), h.Tree.N)
			}
		default:
			return fmt.Errorf("it answered %d: %s", status, clipped(body))
		}
	}
}

// keep checks a cosignature and keeps it.
func (a WitnessAnchor) keep(ctx context.Context, h *Head, lines []byte) error {
	cosigned := append(bytes.Clone(h.Checkpoint), lines...)
	n, err := note.Open(cosigned, note.VerifierList(a.Key))
	if err != nil {
		return fmt.Errorf("its cosignature does not hold: %w", err)
	}
	s := n.Sigs[0]
	line := fmt.Sprintf("— %s %s\n", s.Name, s.Base64)
	return h.log.Update(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?)`, h.Tree.N, a.Key.Name(), line)
		return err
	})
}

// Witnessed returns how many entries a witness has last cosigned, and when it
// did. Its signature is checked with its public key.
func (r *Reader) Witnessed(ctx context.Context, key note.Verifier) (tree tlog.Tree, at time.Time, err error) {
	var text []byte
	var line string
	err = r.db.QueryRowContext(ctx, `SELECT e.note, s.line FROM cosignatures s JOIN entries e ON e.idx = s.size - 1 WHERE s.witness = ? ORDER BY s.size DESC LIMIT 1`, key.Name()).Scan(&text, &line)
	if err != nil {
		return tlog.Tree{}, time.Time{}, fmt.Errorf("the log holds no cosignature of %s: %w", key.Name(), err)
	}
	n, err := note.Open(append(text, line...), note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, time.Time{}, fmt.Errorf("the cosignature of %s does not hold: %w", key.Name(), err)
	}
	if at, err = f_note.CoSigV1Timestamp(n.Sigs[0]); err != nil {
		return tlog.Tree{}, time.Time{}, fmt.Errorf("reading the cosignature of %s: %w", key.Name(), err)
	}
	keys, err := r.Keys(ctx)
	if err != nil {
		return tlog.Tree{}, time.Time{}, err
	}
	tree, err = parseCheckpoint(text, keys)
	return tree, at, err
}

// maxReply bounds what an anchor's answer may hold, in bytes.
const maxReply = 16 << 10

func post(ctx context.Context, client *http.Client, url string, body []byte) (status int, reply []byte, err error) {
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	reply, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	return resp.StatusCode, reply, err
}

// clipped is the start of somebody's answer, fit for a log.
func clipped(b []byte) string { return strconv.QuoteToASCII(string(b[:min(len(b), 200)])) }

// anchorTimeout bounds how long an anchor may take.
const anchorTimeout = 10 * time.Second

// KeepAnchored tells the anchors of every new checkpoint until the context
// ends: at once after a commit, and again after every while something was not
// taken. Commits that come meanwhile are told of together. It returns when
// the last has been told; what then is not anchored, the next run will.
func (l *Log) KeepAnchored(ctx context.Context, every time.Duration, logger *slog.Logger, anchors ...Anchor) {
	if len(anchors) == 0 {
		return
	}
	told := make([]int64, len(anchors)) // size that each has taken
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		last := ctx.Err() != nil
		l.anchor(context.WithoutCancel(ctx), logger, anchors, told)
		if last {
			return
		}
		select {
		case <-ctx.Done(): // once more, for what was written last
		case <-l.grown:
		case <-tick.C:
		}
	}
}

// newestCheckpoint is what is to be anchored. Keys may change meanwhile, so they
// are read from the log as well.
func (l *Log) newestCheckpoint(ctx context.Context) (tlog.Tree, string, error) {
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return tlog.Tree{}, "", err
	}
	defer tx.Rollback()
	keys, err := keysOf(ctx, tx, l.first)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	return newestCheckpoint(ctx, tx, keys)
}

// anchor tells every anchor of the newest checkpoint that has not taken it.
func (l *Log) anchor(ctx context.Context, logger *slog.Logger, anchors []Anchor, told []int64) {
	tree, text, err := l.newestCheckpoint(ctx)
	if err != nil {
		logger.Error("reading the checkpoint to anchor", "err", err)
		return
	}
	for i, a := range anchors {
		if told[i] >= tree.N {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
		err := a.Send(ctx, &Head{Checkpoint: []byte(text), Tree: tree, log: l})
		cancel()
		if err != nil {
			logger.Error("anchoring the log", "anchor", a.Name(), "entries", tree.N, "err", err)
			continue
		}
		told[i] = tree.N
	}
}
