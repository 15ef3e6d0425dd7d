package audit

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"
)

// A Receipt says that an event is on disk. Only this package can make one, and
// the warehouse runs nothing without. The zero Receipt authorizes nothing.
type Receipt struct{ r *receipt }

type receipt struct {
	index  int64
	leaf   tlog.Hash
	origin string
	// statement is the digest of what may run; authorizes says that it may.
	statement  [sha256.Size]byte
	authorizes bool
	spent      atomic.Bool
}

// The errors of [Receipt.Authorize].
var (
	ErrNoReceipt     = errors.New("no receipt: nothing runs unrecorded")
	ErrNotAuthorized = errors.New("the record does not let this statement run")
	ErrSpent         = errors.New("the receipt has been used: a record lets a statement run once")
)

// Authorize spends the receipt on a statement. It succeeds once, and only for
// the very text that was recorded.
func (r Receipt) Authorize(sql string) error {
	if r.r == nil {
		return ErrNoReceipt
	}
	digest := sha256.Sum256([]byte(sql))
	if !r.r.authorizes || subtle.ConstantTimeCompare(digest[:], r.r.statement[:]) != 1 {
		return ErrNotAuthorized
	}
	if r.r.spent.Swap(true) {
		return ErrSpent
	}
	return nil
}

// Index is the entry's place in the log, from 0; -1 for the zero Receipt.
func (r Receipt) Index() int64 {
	if r.r == nil {
		return -1
	}
	return r.r.index
}

// Ref names the entry in an answer: its index and the start of its leaf hash.
func (r Receipt) Ref() string {
	if r.r == nil {
		return ""
	}
	return ref(r.r.index, r.r.leaf)
}

func ref(index int64, leaf tlog.Hash) string { return fmt.Sprintf("%d:%x", index, leaf[:8]) }

// Tag is the receipt as a QUERY_TAG, so that the account's own history points
// into the log. It stays far below Snowflake's 2,000 characters
// (docs.snowflake.com/en/sql-reference/parameters#query-tag).
func (r Receipt) Tag() string {
	if r.r == nil {
		return ""
	}
	return Tag{r.r.origin, r.r.index, r.r.leaf.String()}.String()
}

// A Tag is what a QUERY_TAG says: which entry of which log let the statement
// run.
type Tag struct {
	Origin string `json:"log"`
	Index  int64  `json:"entry"`
	Leaf   string `json:"leaf"` // the entry's leaf hash, base64
}

// String is the tag's text.
func (t Tag) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		return "" // three plain fields cannot fail; no tag is the safe answer
	}
	return string(text)
}

// ParseTag reads a QUERY_TAG that [Receipt.Tag] has made. Others are not ok.
func ParseTag(text string) (t Tag, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil || t.String() != text {
		return Tag{}, false
	}
	return t, t.Origin != "" && t.Leaf != "" && t.Index >= 0
}

// Tag is the QUERY_TAG of the statement that this entry let run.
func (r *Reader) Tag(e *Entry) string {
	return Tag{r.Origin(), e.Index, e.Leaf}.String()
}

// RecordOwn records a statement of the gateway's own, which no caller asked for.
func (l *Log) RecordOwn(ctx context.Context, sql string) (Receipt, error) {
	return l.Append(ctx, Event{Kind: KindCatalogRead, Runs: sql})
}
