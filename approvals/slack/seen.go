package slack

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"querywarden/audit"
)

// A key is what a click is known by: of a callback, the SHA-256 of its time and
// body, which its signature is over; of an envelope, that of its ID.
type key [sha256.Size]byte

func callbackKey(stamp string, body []byte) key {
	h := sha256.New()
	fmt.Fprintf(h, "callback:%s:", stamp)
	h.Write(body)
	return key(h.Sum(nil))
}

func envelopeKey(id string) key { return sha256.Sum256([]byte("envelope:" + id)) }

// seenFor is how long keys are kept. A callback is good for ten minutes at most,
// from five before its time to five after it.
const seenFor = time.Hour

func (s *Slack) openSeen(ctx context.Context) error {
	return s.config.Log.Update(ctx, func(tx *audit.Tx) error {
		_, err := tx.Exec(`CREATE TABLE IF NOT EXISTS slack_seen (key BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID`)
		return err
	})
}

// first notes that a click has come, and reports whether it is the first time.
func (s *Slack) first(ctx context.Context, k key) (bool, error) {
	var n int64
	now := s.config.Now()
	err := s.config.Log.Update(ctx, func(tx *audit.Tx) error {
		if _, err := tx.Exec(`DELETE FROM slack_seen WHERE at < ?`, now.Add(-seenFor).UnixMicro()); err != nil {
			return err
		}
		res, err := tx.Exec(`INSERT INTO slack_seen VALUES (?, ?) ON CONFLICT DO NOTHING`, k[:], now.UnixMicro())
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("noting a click: %w", err)
	}
	return n == 1, nil
}
