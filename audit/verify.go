package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
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
	PinnedTime  time.Time // of the last entry that it covers
	Witnessed   int64     // entries that a witness has seen; 0 without
	Keys        []Key     // of the log, oldest first
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

func (r *Report) enough() bool { return len(r.Findings) >= maxFindings }

// edge is the growing side of a tree: for each bit of its size the root of a
// complete subtree. It recomputes a tree in memory that does not grow with it.
type edge struct {
	size  int64
	roots [64]tlog.Hash
}

// add adds a leaf and returns the hashes that it completes, lowest first: what
// [tlog.StoredHashes] yields.
func (e *edge) add(leaf tlog.Hash) []tlog.Hash {
	completed := []tlog.Hash{leaf}
	level := 0
	for ; e.size>>level&1 == 1; level++ {
		leaf = tlog.NodeHash(e.roots[level], leaf)
		completed = append(completed, leaf)
	}
	e.roots[level] = leaf
	e.size++
	return completed
}

// root is the tree's; that of an empty tree means nothing.
func (e *edge) root() (root tlog.Hash) {
	first := true
	for level := range e.roots {
		switch {
		case e.size>>level&1 == 0:
		case first:
			root, first = e.roots[level], false
		default:
			root = tlog.NodeHash(e.roots[level], root)
		}
	}
	return root
}

// Verify recomputes every leaf, every interior hash, every checkpoint and
// every text's digest from what the file holds. pinned is a checkpoint that
// the caller has kept from an earlier day, or nil: without one, a log whose end
// was cut off together with its checkpoints verifies. An error means that
// verification could not be done; what it found is in the report. Memory does
// not grow with the log.
func (r *Reader) Verify(ctx context.Context, pinned []byte) (*Report, error) {
	report, err := r.verify(ctx, pinned)
	if err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	return report, nil
}

func (r *Reader) verify(ctx context.Context, pinned []byte) (*Report, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one state of the file
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	report := &Report{Origin: r.Origin()}
	v := &verification{report: report, held: r.held}
	if v.keys, err = r.keysIn(ctx, tx); err != nil {
		report.find(-1, "%v", err)
		v.keys = r.held
	}
	report.Keys = v.keys.All()
	if pinned != nil {
		held, err := parseCheckpoint(pinned, v.keys)
		if err != nil {
			report.find(-1, "the checkpoint that you hold cannot be used: %v", err)
		} else {
			v.pinned, report.Pinned = &held, held.N
		}
	}
	if v.unordered, err = disordered(ctx, tx); err != nil {
		return nil, err
	}
	if err := v.walk(ctx, tx); err != nil {
		return nil, err
	}
	err = tx.QueryRowContext(ctx, `SELECT coalesce(max(size), 0) FROM cosignatures WHERE size <= ?`, report.Entries).Scan(&report.Witnessed)
	return report, err
}

// verification is one pass over a log.
type verification struct {
	report *Report
	pinned *tlog.Tree
	tree   edge
	held   *Keys // the caller's
	keys   *Keys // the log's, by which checkpoints are checked
	chain  chain // those that the entries tell of

	interior  int   // interior hashes that are not those of the entries
	shapeOff  bool  // the stored tree has another shape, which has been said
	other     span  // checkpoints over another history
	newest    int64 // size of the newest checkpoint, good or not
	promised  int64 // texts that entries bind
	present   int64 // texts that are what was recorded
	at        int64 // when the entry before was made
	unordered bool  // times may run backwards, and entries are found without relying on them
}

// span counts things and keeps the first and last size.
type span struct{ n, first, last int64 }

func (s *span) add(size int64) {
	if s.n == 0 {
		s.first = size
	}
	s.n, s.last = s.n+1, size
}

// A record is one entry with everything that is kept beside it.
type record struct {
	index                                              int64
	entry, hashes, texts                               []byte
	at                                                 int64
	kind, subject, session, verdict, approval, queryID string
	note                                               []byte // the checkpoint over all up to this entry; nil for most

	// What a worker makes of it.
	leaf     tlog.Hash
	time     time.Time
	signed   tlog.Tree
	noteErr  error
	promised int64
	present  int64
	handover handover
	findings []Finding
}

func (c *record) find(format string, args ...any) {
	c.findings = append(c.findings, Finding{c.index, fmt.Sprintf(format, args...)})
}

// searched is what verification reads of an event.
type searched struct {
	Kind   string    `json:"kind"`
	Time   time.Time `json:"time"`
	Caller struct {
		Subject string `json:"subject"`
	} `json:"caller"`
	Session  string            `json:"session"`
	Verdict  string            `json:"verdict"`
	Approval string            `json:"approval"`
	QueryID  string            `json:"query_id"`
	Blobs    map[string]string `json:"blobs"`
	Key      string            `json:"key"`
	Keys     []string          `json:"keys"`
}

func (e *searched) handover() handover { return handover{Kind(e.Kind), e.Key, e.Keys} }

// check does what needs no other record.
func (c *record) check(keys *Keys) {
	c.leaf = tlog.RecordHash(c.entry)
	var e searched
	texts, err := decodeTexts(c.texts)
	if err != nil {
		c.find("%v", err)
	}
	if err := json.Unmarshal(c.entry, &e); err != nil {
		c.find("the entry cannot be read: %v", err)
		for i := range texts {
			c.find("a text (%s) belongs to no readable entry", strings.ToValidUTF8(texts[i].name, "?"))
		}
	} else {
		c.time, c.handover = e.Time, e.handover()
		if e.Time.UnixMicro() != c.at || e.Kind != c.kind || e.Caller.Subject != c.subject || e.Session != c.session || e.Verdict != c.verdict ||
			e.Approval != c.approval || e.QueryID != c.queryID {
			c.find("the columns to search by do not repeat the entry")
		}
		c.promised = int64(len(e.Blobs))
		for i := range texts {
			if e.Blobs[texts[i].name] != texts[i].digest() {
				c.find("the text (%s) is not what was recorded", strings.ToValidUTF8(texts[i].name, "?"))
				continue
			}
			c.present++
		}
	}
	if c.note != nil {
		c.signed, c.noteErr = parseCheckpoint(c.note, keys)
	}
}

// chunk is how many records travel together.
const chunk = 128

// walk reads all entries in order: one goroutine reads, several check, and the
// caller's puts the tree together.
func (v *verification) walk(ctx context.Context, tx *sql.Tx) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type work struct {
		records []record
		done    chan struct{}
	}
	inOrder := make(chan *work, 4*runtime.GOMAXPROCS(0))
	queue := make(chan *work, 4*runtime.GOMAXPROCS(0))
	var readErr error
	go func() {
		defer close(inOrder)
		defer close(queue)
		readErr = readRecords(ctx, tx, func(records []record) bool {
			w := &work{records, make(chan struct{})}
			for _, to := range []chan *work{queue, inOrder} {
				select {
				case to <- w:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for w := range queue {
				for i := range w.records {
					w.records[i].check(v.keys)
				}
				close(w.done)
			}
		})
	}
	whole := true
	for w := range inOrder {
		<-w.done
		for i := range w.records {
			if whole && !v.report.enough() {
				whole = v.next(&w.records[i])
			}
		}
		if !whole || v.report.enough() {
			break
		}
	}
	stopped := ctx.Err()
	cancel()
	for range inOrder { // until the reader has stopped
	}
	workers.Wait()
	if stopped != nil {
		return stopped
	}
	if readErr != nil && whole && !v.report.enough() {
		return readErr
	}
	if v.report.Entries > 0 {
		v.report.Root = v.tree.root().String()
	}
	v.conclude()
	return nil
}

// readRecords hands out all records in order, until take returns false.
func readRecords(ctx context.Context, tx *sql.Tx, take func([]record) bool) error {
	// Asked to watch a context, the driver does so anew for each row; ctx is
	// looked at once in a chunk instead.
	rows, err := tx.QueryContext(context.WithoutCancel(ctx), `
		SELECT idx, entry, hashes, note, texts, time, kind, subject, session, verdict, approval, query_id FROM entries ORDER BY idx`)
	if err != nil {
		return err
	}
	defer rows.Close()
	records := make([]record, 0, chunk)
	for rows.Next() {
		var c record
		var entry, hashes, note, texts sql.RawBytes
		if err := rows.Scan(&c.index, &entry, &hashes, &note, &texts, &c.at, &c.kind, &c.subject, &c.session, &c.verdict, &c.approval, &c.queryID); err != nil {
			return err
		}
		all := bytes.Join([][]byte{entry, hashes, texts, note}, nil)
		part := func(n int) (p []byte) {
			p, all = all[:n:n], all[n:]
			return p
		}
		c.entry, c.hashes, c.texts = part(len(entry)), part(len(hashes)), part(len(texts))
		if note != nil {
			c.note = part(len(note))
		}
		if records = append(records, c); len(records) == chunk {
			if !take(records) {
				return ctx.Err()
			}
			records = make([]record, 0, chunk)
		}
	}
	if len(records) > 0 {
		take(records)
	}
	return rows.Err()
}

// next puts a record into the tree. It reports false behind a gap, where no
// index means anything any more.
func (v *verification) next(c *record) (whole bool) {
	report := v.report
	if c.index != report.Entries {
		report.find(report.Entries, "entries %d to %d are missing", report.Entries, c.index-1)
		return false
	}
	report.Findings = append(report.Findings, c.findings...)
	if c.at < v.at && !v.unordered {
		report.find(c.index, "the entry is older than the one before it")
	}
	v.at = c.at
	report.Entries++
	report.Newest = c.time
	v.promised += c.promised
	v.present += c.present
	v.stored(c, v.tree.add(c.leaf))
	if c.handover.is() {
		if err := v.chain.add(c.index, c.handover); err != nil {
			report.find(c.index, "%v", err)
		}
	}
	if v.pinned != nil && v.pinned.N == report.Entries {
		report.PinnedTime = c.time
		if v.tree.root() != v.pinned.Hash {
			report.find(-1, "the log does not continue the checkpoint of %d entries that you hold: its history was rewritten", v.pinned.N)
		}
	}
	if c.note != nil {
		v.newest = report.Entries
		v.checkpoint(report.Entries, c.signed, c.noteErr)
	}
	return true
}

// stored holds the hashes that stand with an entry against the recomputed ones.
// An entry whose leaf differs has been changed.
func (v *verification) stored(c *record, want []tlog.Hash) {
	if len(c.hashes) != len(want)*tlog.HashSize {
		if !v.shapeOff {
			v.report.find(c.index, "the stored tree does not have the shape of its entries")
		}
		v.shapeOff = true
		return
	}
	for level, h := range want {
		switch {
		case bytes.Equal(c.hashes[level*tlog.HashSize:][:tlog.HashSize], h[:]):
		case level == 0:
			v.report.find(c.index, "the entry is not what was recorded: its hash differs from the stored leaf")
		default:
			v.interior++
		}
	}
}

// checkpoint holds a checkpoint against the tree of its size.
func (v *verification) checkpoint(size int64, signed tlog.Tree, err error) {
	switch {
	case err != nil:
		v.report.find(-1, "the checkpoint of size %d is not signed by this log: %v", size, err)
	case signed.N != size:
		v.report.find(-1, "the checkpoint filed under %d signs %d entries", size, signed.N)
	case signed.Hash != v.tree.root():
		v.other.add(size)
	default:
		v.report.Checkpoints++
	}
}

// conclude says what only the end shows.
func (v *verification) conclude() {
	if told := v.chain.keys; len(told.list) > 0 && told.String() != v.keys.String() {
		v.report.find(-1, "the entries tell of other keys than its index of them")
	}
	if v.newest < v.report.Entries && !v.report.enough() {
		v.report.find(-1, "the newest checkpoint signs %d entries, the log holds %d: its end was cut off, or added to", v.newest, v.report.Entries)
	}
	if v.interior > 0 {
		v.report.find(-1, "%d interior hashes are not those of the entries", v.interior)
	}
	if v.other.n > 0 {
		v.report.find(-1, "%d checkpoints, of sizes %d to %d, sign another history than the entries tell", v.other.n, v.other.first, v.other.last)
	}
	if v.pinned != nil && v.pinned.N > v.report.Entries {
		v.report.find(v.report.Entries, "the checkpoint that you hold signs %d entries, the log holds %d: its end was cut off", v.pinned.N, v.report.Entries)
	}
	v.report.Erased = v.promised - v.present
}

// Checkpoint returns the newest checkpoint, to be kept where the gateway
// cannot reach it; empty for an empty log.
func (r *Reader) Checkpoint(ctx context.Context) ([]byte, error) {
	_, text, err := r.newest(ctx, r.db)
	return []byte(text), err
}
