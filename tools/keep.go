package tools

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
)

// The answer of an approved statement waits for its requester, for a while. It
// is kept as JSON, sealed with AES-256-GCM under the gate's key, with the
// request's id and the requester as additional data, so that no row of the table
// opens for another request or another person. Answers whose rows did not fit
// into memory stay in their own file (see [Rows]) and end with the process.

const keepSchema = `
CREATE TABLE IF NOT EXISTS approval_answers (
	id TEXT PRIMARY KEY, until INTEGER NOT NULL, sealed BLOB NOT NULL -- until: seconds since 1970
) STRICT, WITHOUT ROWID`

// keepFor is how long an answer waits if the configuration does not say.
const keepFor = time.Hour

// errGone says that an answer is not kept any more.
var errGone = errors.New("the answer is not kept any more")

// A keeper keeps answers.
type keeper struct {
	log  *audit.Log
	seal cipher.AEAD
	life time.Duration

	mu    sync.Mutex
	large map[string]*largeAnswer // by request
}

type largeAnswer struct {
	answer QueryAnswer
	until  time.Time
}

func newKeeper(log *audit.Log, key []byte, life time.Duration) (*keeper, error) {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("reading the key of kept answers: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("reading the key of kept answers: %w", err)
	}
	if life <= 0 {
		life = keepFor
	}
	return &keeper{log: log, seal: seal, life: life, large: map[string]*largeAnswer{}}, nil
}

// bound is what an answer is sealed for.
func bound(r approvals.Request) []byte {
	text, err := json.Marshal([]string{r.ID, r.Binding.Requester.Issuer, r.Binding.Requester.Subject})
	if err != nil {
		panic(fmt.Sprintf("tools: three texts cannot be encoded: %v", err))
	}
	return text
}

// keep keeps an answer, and takes its rows over.
func (k *keeper) keep(ctx context.Context, r approvals.Request, a QueryAnswer) error {
	until := time.Now().Add(k.life)
	if a.Rows.Spooled() {
		k.mu.Lock()
		k.large[r.ID] = &largeAnswer{a, until}
		k.mu.Unlock()
		return nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	sealed := k.seal.Seal(nil, nil, text, bound(r))
	err = k.log.Update(ctx, func(tx *audit.Tx) error {
		_, err := tx.Exec(`INSERT INTO approval_answers VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until, sealed = excluded.sealed`, r.ID, until.Unix(), sealed)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	return nil
}

// open returns a kept answer. Whoever gets it closes its rows.
func (k *keeper) open(ctx context.Context, r approvals.Request) (QueryAnswer, error) {
	k.mu.Lock()
	if l, ok := k.large[r.ID]; ok && time.Now().Before(l.until) {
		a := l.answer
		a.Rows = a.Rows.share()
		k.mu.Unlock()
		return a, nil
	}
	k.mu.Unlock()
	var sealed []byte
	err := k.log.Update(ctx, func(tx *audit.Tx) error {
		err := tx.QueryRow(`SELECT sealed FROM approval_answers WHERE id = ? AND until > ?`, r.ID, time.Now().Unix()).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return errGone
		}
		return err
	})
	if err != nil {
		return QueryAnswer{}, err
	}
	text, err := k.seal.Open(nil, nil, sealed, bound(r))
	if err != nil {
		return QueryAnswer{}, errGone // sealed by another process, or for somebody else
	}
	var a QueryAnswer
	if err := json.Unmarshal(text, &a); err != nil {
		return QueryAnswer{}, fmt.Errorf("reading a kept answer: %w", err)
	}
	return a, nil
}

// drop ends the answers that have waited long enough; all that are in files if
// the gate closes.
func (k *keeper) drop(ctx context.Context, closing bool) error {
	k.mu.Lock()
	var errs []error
	for id, l := range k.large {
		if closing || !time.Now().Before(l.until) {
			errs = append(errs, l.answer.Rows.Close())
			delete(k.large, id)
		}
	}
	k.mu.Unlock()
	if !closing {
		errs = append(errs, k.log.Update(ctx, func(tx *audit.Tx) error {
			_, err := tx.Exec(`DELETE FROM approval_answers WHERE until <= ?`, time.Now().Unix())
			return err
		}))
	}
	return errors.Join(errs...)
}
