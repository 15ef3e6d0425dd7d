package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // the database
)

// Options of [Open].
type Options struct {
	// HeadFile is a small file, best on another volume, that repeats the
	// newest checkpoint. A log that is behind it is refused at the next start.
	// No head file is kept if it is empty.
	HeadFile string
	// RowsKey seals the rows of answers that policy keeps, 32 bytes. Without it
	// an event with rows is refused.
	RowsKey []byte
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// The statements that every append runs. Reading their text anew would take
// longer than running them.
const (
	begin = iota
	commit
	beginJob
	endJob
	insertEntry
	numWrites
)

var writeTexts = [numWrites]string{
	begin:       `BEGIN IMMEDIATE`,
	commit:      `COMMIT`,
	beginJob:    `SAVEPOINT job`,
	endJob:      `RELEASE job`,
	insertEntry: `INSERT INTO entries (idx, entry, hashes, note, time, kind, subject, session, verdict, approval, query_id, texts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
}

// A Log is an open log: the one writer of its file. It is safe for concurrent
// use.
type Log struct {
	path    string
	options Options
	origin  string
	first   *Keys   // the one that the log began with, where its entries name no other
	db      *sql.DB // readers
	writer  *sql.DB // of one connection
	conn    *sql.Conn
	writes  [numWrites]*sql.Stmt // the statements of every append, prepared
	lock    *os.File

	failed chan struct{} // closed when err is set
	grown  chan struct{} // holds a word after a commit, for the anchors
	err    error

	mu      sync.Mutex // guards what follows
	waiting []*job     // in the order in which they came
	writing bool       // somebody is the writer
	closed  bool
	idle    sync.Cond // told when nobody is the writer any more

	// The writer's: how many entries there are, when the newest was made,
	// the tree's growing edge, and what signs it.
	size    int64
	newest  time.Time
	hashes  *hashCache
	signers []signingKey // of the next checkpoint

	rotating sync.Mutex // held while keys change

	closeOnce sync.Once
	closeErr  error
}

// Open opens a log for writing, or makes one. The signing key stands beside
// the file as NAME.key (0600), its public half as NAME.vkey. A log whose key is
// gone, whose newest checkpoint does not fit its tree, or that is behind its
// head file is refused.
func Open(path string, options Options) (opened *Log, err error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	l := &Log{
		path: path, options: options, failed: make(chan struct{}), grown: make(chan struct{}, 1),
	}
	l.idle.L = &l.mu
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening log %s: %w", path, err), l.release())
		}
	}()
	if l.lock, err = lock(path + ".lock"); err != nil {
		return nil, err
	}
	_, statErr := os.Stat(path)
	isNew := errors.Is(statErr, fs.ErrNotExist)
	keys, err := signingKeys(path, isNew)
	if err != nil {
		return nil, err
	}
	l.origin = keys[0].Name()
	if l.writer, err = openDB(path, "rwc"); err != nil {
		return nil, err
	}
	l.writer.SetMaxOpenConns(1)
	ctx := context.Background()
	if l.conn, err = l.writer.Conn(ctx); err != nil {
		return nil, err
	}
	if err = l.prepare(ctx, isNew); err != nil {
		return nil, err
	}
	for i, text := range writeTexts {
		if l.writes[i], err = l.conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // release closes them
			return nil, err
		}
	}
	if l.db, err = openDB(path, "ro"); err != nil {
		return nil, err
	}
	if err = l.checkHead(ctx, keys); err != nil {
		return nil, err
	}
	return l, nil
}

// busyTimeout is how long SQLite waits for a lock, in milliseconds.
const busyTimeout = "10000"

// openDB opens the file as the package comment promises.
func openDB(path, mode string) (*sql.DB, error) {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}}
	q.Add("_pragma", "busy_timeout("+busyTimeout+")")
	if mode != "ro" {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
		q.Add("_pragma", "secure_delete(ON)")
	}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String())
}

// writeFile writes a file that must survive a power cut, through a rename.
func writeFile(name, text string, perm os.FileMode) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkHead finds the tree's size and refuses whatever is ambiguous.
func (l *Log) checkHead(ctx context.Context, found []signingKey) error {
	var newest int64
	err := l.conn.QueryRowContext(ctx, `SELECT coalesce(max(idx) + 1, 0), coalesce((SELECT time FROM entries ORDER BY idx DESC LIMIT 1), 0) FROM entries`).Scan(&l.size, &newest)
	if err != nil {
		return err
	}
	l.newest = time.UnixMicro(newest)
	l.hashes = newHashCache(func(index int64) (tlog.Hash, error) { return storedHash(ctx, l.conn, index) })
	keys, err := l.openKeys(ctx, found)
	if err != nil {
		return err
	}
	tree, _, err := newestCheckpoint(ctx, l.conn, keys)
	if err != nil {
		return fmt.Errorf("the log's keys have not signed its newest checkpoint (%w): an old copy was put back from before they changed, or they are another log's", err)
	}
	if tree.N != l.size {
		return fmt.Errorf("the newest checkpoint covers %d entries, the log holds %d", tree.N, l.size)
	}
	if l.size > 0 {
		root, err := tlog.TreeHash(l.size, l.hashes)
		if err != nil {
			return err
		}
		if root != tree.Hash {
			return errors.New("the tree does not have the root that its newest checkpoint signs")
		}
	}
	return l.checkHeadFile(tree, keys)
}

// checkHeadFile refuses a log that is behind, or beside, what the head file
// has seen.
func (l *Log) checkHeadFile(tree tlog.Tree, keys *Keys) error {
	if l.options.HeadFile == "" {
		return nil
	}
	seen, err := os.ReadFile(l.options.HeadFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading head file: %w", err)
	}
	head, err := parseCheckpoint(seen, keys)
	if err != nil {
		return fmt.Errorf("reading head file %s: %w", l.options.HeadFile, err)
	}
	if head.N > tree.N {
		return fmt.Errorf("the head file has seen %d entries, the log holds %d: an old copy was put back, or its end cut off", head.N, tree.N)
	}
	if head.N > 0 {
		root, err := tlog.TreeHash(head.N, l.hashes)
		if err != nil {
			return err
		}
		if root != head.Hash {
			return errors.New("the log does not continue what the head file has seen")
		}
	}
	return nil
}

// A querier is a connection or a database.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// storedHash reads a hash of the tree. It stands with the entry that completed
// it.
func storedHash(ctx context.Context, q querier, index int64) (tlog.Hash, error) {
	level, n := tlog.SplitStoredHashIndex(index)
	var h tlog.Hash
	var b []byte
	err := q.QueryRowContext(ctx, `SELECT substr(hashes, ?, ?) FROM entries WHERE idx = ?`, 1+level*tlog.HashSize, tlog.HashSize, (n+1)<<level-1).Scan(&b)
	if err != nil {
		return h, fmt.Errorf("reading hash %d: %w", index, err)
	}
	if len(b) != len(h) {
		return h, fmt.Errorf("reading hash %d: %d bytes", index, len(b))
	}
	return tlog.Hash(b), nil
}

// Append records an event and returns when it is on disk. No context can take
// back a record that is under way, or end the wait for it.
func (l *Log) Append(_ context.Context, e Event) (Receipt, error) {
	var r Receipt
	err := l.do(&job{alone: true, fn: func(tx *Tx) error {
		var err error
		r, err = tx.Append(e)
		return err
	}})
	if err != nil {
		return Receipt{}, err
	}
	return r, nil
}

// Update runs fn in the log's next transaction and returns when that is on
// disk. What fn changes and what it appends become true together or not at
// all. It fails with fn's own error, or with the log's. A panic in fn is the
// log's end.
func (l *Log) Update(_ context.Context, fn func(*Tx) error) error {
	return l.do(&job{fn: fn})
}

// do queues a job and waits until it is done. Whoever finds nobody writing
// becomes the writer, and passes that on: no other goroutine has to be woken for
// one that is alone.
func (l *Log) do(j *job) error {
	j.done, j.lead = make(chan error, 1), make(chan struct{}, 1)
	l.mu.Lock()
	switch {
	case l.Err() != nil:
		l.mu.Unlock()
		return l.err
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	}
	l.waiting = append(l.waiting, j)
	first := !l.writing
	l.writing = true
	l.mu.Unlock()
	if !first {
		select {
		case err := <-j.done:
			return err
		case <-j.lead:
		}
	}
	l.write()
	return <-j.done
}

// ErrClosed is returned after [Log.Close].
var ErrClosed = errors.New("the log is closed")

// Done is closed when the log has failed and nothing can be recorded any more.
func (l *Log) Done() <-chan struct{} { return l.failed }

// Err says why the log failed, nil while it has not.
func (l *Log) Err() error {
	select {
	case <-l.failed:
		return l.err
	default:
		return nil
	}
}

// Origin is the log's name, in checkpoints and query tags.
func (l *Log) Origin() string { return l.origin }

// Last returns the kind, place and time of the newest entry. An empty log has
// none, and returns the index -1.
func (l *Log) Last(ctx context.Context) (kind Kind, index int64, at time.Time, err error) {
	var micros int64
	err = l.db.QueryRowContext(ctx, `SELECT idx, kind, time FROM entries ORDER BY idx DESC LIMIT 1`).Scan(&index, &kind, &micros)
	if errors.Is(err, sql.ErrNoRows) {
		return "", -1, time.Time{}, nil
	}
	if err != nil {
		return "", -1, time.Time{}, fmt.Errorf("reading the newest entry: %w", err)
	}
	return kind, index, time.UnixMicro(micros).UTC(), nil
}

// Close waits for what is queued and closes the file.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.mu.Lock()
		l.closed = true
		for l.writing {
			l.idle.Wait()
		}
		l.mu.Unlock()
		l.closeErr = l.release()
	})
	return l.closeErr
}

func (l *Log) release() error {
	var errs []error
	for _, stmt := range l.writes {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	// The writer last: only then can it bring the write-ahead log home, so that
	// the file alone is the whole log.
	if l.db != nil {
		errs = append(errs, l.db.Close())
	}
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
	}
	if l.writer != nil {
		errs = append(errs, l.writer.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// A job is one transaction's share: what one caller wants done.
type job struct {
	fn   func(*Tx) error
	done chan error
	lead chan struct{} // holds a word for the next writer
	err  error
	// last says that nothing may follow in the same commit: its checkpoint ends
	// with what fn adds.
	last bool
	// alone says that fn adds one entry and does nothing else, so that there is
	// nothing to roll back: it fails only together with the log.
	alone bool
}

// maxBatch bounds how many jobs share a commit.
const maxBatch = 256

// write is the writer: there is one at a time. It takes what waits, does it in
// one transaction, signs one checkpoint, commits, and only then lets the callers
// go. The next writer is the first of those who have come meanwhile.
func (l *Log) write() {
	batch := l.gather()
	err := errors.New("a job panicked")
	defer func() { l.pass(batch, err) }()
	err = l.commit(batch)
}

// pass lets the callers of a batch go, after a failure all callers, and makes
// the next of those who wait the writer.
func (l *Log) pass(batch []*job, err error) {
	l.mu.Lock()
	var left []*job
	switch {
	case err != nil:
		l.err = fmt.Errorf("the audit log failed: %w", err)
		close(l.failed)
		left, l.waiting = l.waiting, nil
	case len(l.waiting) > 0:
		l.waiting[0].lead <- struct{}{}
	}
	if l.writing = len(l.waiting) > 0; !l.writing {
		l.idle.Broadcast()
	}
	l.mu.Unlock()
	for _, j := range batch {
		if err != nil {
			j.err = l.err
		}
		j.done <- j.err
	}
	for _, j := range left {
		j.done <- l.err
	}
}

// gather takes what waits. Whom the last commit let go is about to come again:
// as long as somebody comes, it waits for one more turn of the scheduler, so
// that they share this commit.
func (l *Log) gather() []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	for before := 0; before < len(l.waiting) && len(l.waiting) < maxBatch; {
		before = len(l.waiting)
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	n := min(len(l.waiting), maxBatch)
	if i := slices.IndexFunc(l.waiting[:n], func(j *job) bool { return j.last }); i >= 0 {
		n = i + 1
	}
	batch := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return batch
}

// commit does a batch. A job's own error rolls back that job alone; any other
// error is the log's end.
func (l *Log) commit(batch []*job) error {
	ctx := context.Background()
	tx := &Tx{ctx: ctx, log: l, size: l.size, signers: l.signers}
	err := l.transact(tx, batch)
	if err != nil {
		return err
	}
	if tx.size > l.size {
		select {
		case l.grown <- struct{}{}:
		default: // there is one already
		}
	}
	l.size = tx.size
	if tx.next != nil {
		l.signers = tx.next
	}
	l.hashes.settle()
	if tx.flush {
		if _, err := l.conn.ExecContext(ctx, `PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = `+busyTimeout); err != nil {
			return err
		}
	}
	if l.options.HeadFile != "" && tx.note != nil {
		return writeFile(l.options.HeadFile, string(tx.note), 0o644)
	}
	return nil
}

// transact does a batch in one transaction.
func (l *Log) transact(tx *Tx, batch []*job) error {
	if len(batch) == 1 && batch[0].alone {
		// One entry is one row, and a statement of its own is a transaction.
		if err := l.runJobs(tx, batch); err != nil || tx.size == l.size {
			return err
		}
		return tx.insert()
	}
	err := tx.run(begin)
	if err == nil {
		err = l.runJobs(tx, batch)
	}
	if err == nil && tx.size > l.size {
		err = tx.insert()
	}
	if err == nil {
		return tx.run(commit)
	}
	_, rollback := l.conn.ExecContext(tx.ctx, `ROLLBACK`)
	return errors.Join(err, rollback)
}

func (l *Log) runJobs(tx *Tx, batch []*job) error {
	for _, j := range batch {
		if j.alone {
			if j.err = j.fn(tx); tx.err != nil {
				return tx.err
			}
			continue
		}
		if err := tx.run(beginJob); err != nil {
			return err
		}
		size := tx.size
		if j.err = j.fn(tx); j.err != nil {
			tx.size, tx.entries = size, tx.entries[:size-l.size]
			l.hashes.forget(tlog.StoredHashCount(size))
			if _, err := l.conn.ExecContext(tx.ctx, `ROLLBACK TO job`); err != nil {
				return err
			}
		}
		if tx.err != nil {
			return tx.err
		}
		if err := tx.run(endJob); err != nil {
			return err
		}
	}
	return nil
}

// A Tx is a caller's share of the next transaction. It is only good inside
// [Log.Update].
type Tx struct {
	ctx  context.Context
	log  *Log
	size int64
	note []byte // the checkpoint
	err  error  // the log's own
	// entries are those of this transaction: they go in together at its end.
	entries []pending
	// signers sign the checkpoint, next those after it where that changes.
	signers, next []signingKey
	// flush says that something was erased, which the write-ahead log still
	// holds.
	flush bool
}

// pending is an entry on its way into its table.
type pending struct {
	event  *Event
	entry  []byte
	hashes []byte // what it adds to the tree
	texts  []text
}

// run runs one of the log's own statements.
func (tx *Tx) run(write int, args ...any) error {
	_, err := tx.log.writes[write].ExecContext(tx.ctx, args...)
	return err
}

// Exec runs a statement on the caller's own tables.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	return tx.log.conn.ExecContext(tx.ctx, query, args...)
}

// Query reads from the caller's own tables.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return tx.log.conn.QueryContext(tx.ctx, query, args...)
}

// QueryRow reads one row from the caller's own tables.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	return tx.log.conn.QueryRowContext(tx.ctx, query, args...)
}

// Append adds an event. The receipt is good once [Log.Update] has returned
// nil; a caller that keeps it from a failed update holds nothing, since the
// warehouse is only ever handed what Append or Update returned.
func (tx *Tx) Append(e Event) (Receipt, error) {
	e.Time = tx.log.now()
	rows := ""
	if e.Answer != "" {
		var err error
		if rows, err = sealRows(tx.log.options.RowsKey, tx.log.origin, e.Answer); err != nil {
			return Receipt{}, err
		}
	}
	entry, texts, err := e.encode(rows)
	if err != nil {
		return Receipt{}, err
	}
	index := tx.size
	if err := tx.add(pending{event: &e, entry: entry, texts: texts}); err != nil {
		tx.err = err
		return Receipt{}, err
	}
	return Receipt{&receipt{
		index: index, leaf: tlog.RecordHash(entry), origin: tx.log.origin,
		statement: sha256.Sum256([]byte(e.Runs)), authorizes: e.authorizes(),
	}}, nil
}

// now is the time of the next entry: the clock's, but never before that of the
// entry before, whatever happens to the clock. Entries are found by their time
// because it does not run backwards.
func (l *Log) now() time.Time {
	if now := l.options.Now(); now.After(l.newest) {
		l.newest = now
	}
	return l.newest
}

// add puts an entry into the tree.
func (tx *Tx) add(p pending) error {
	hashes, err := tlog.StoredHashes(tx.size, p.entry, tx.log.hashes)
	if err != nil {
		return err
	}
	at := tlog.StoredHashCount(tx.size)
	for i, h := range hashes {
		tx.log.hashes.put(at+int64(i), h)
		p.hashes = append(p.hashes, h[:]...)
	}
	tx.entries = append(tx.entries, p)
	tx.size++
	return nil
}

// insert writes the entries, and with the last of them the checkpoint over them
// all. Where there are others to write, it is signed meanwhile.
func (tx *Tx) insert() error {
	root, err := tlog.TreeHash(tx.size, tx.log.hashes)
	if err != nil {
		return err
	}
	sign := func() (err error) {
		signers := make([]note.Signer, len(tx.signers))
		for i := range tx.signers {
			signers[i] = tx.signers[i].Signer
		}
		tx.note, err = note.Sign(&note.Note{Text: checkpointText(tx.log.origin, tlog.Tree{N: tx.size, Hash: root})}, signers...)
		return err
	}
	last := len(tx.entries) - 1
	if last == 0 {
		err = sign()
	} else {
		signed := make(chan error, 1)
		go func() { signed <- sign() }()
		for i := 0; i < last && err == nil; i++ {
			err = tx.insertEntry(i, nil)
		}
		err = errors.Join(err, <-signed)
	}
	if err != nil {
		return err
	}
	return tx.insertEntry(last, tx.note)
}

// insertEntry writes one of the transaction's entries, with the checkpoint if
// it is the last.
func (tx *Tx) insertEntry(i int, checkpoint []byte) error {
	p := &tx.entries[i]
	subject := ""
	if p.event.Caller != nil {
		subject = p.event.Caller.Subject
	}
	return tx.run(insertEntry, tx.log.size+int64(i), p.entry, p.hashes, checkpoint, p.event.Time.UnixMicro(), string(p.event.Kind), subject, p.event.Session,
		p.event.Verdict, p.event.Approval, p.event.QueryID, encodeTexts(p.texts))
}

// hashCache reads stored hashes, remembering the few that the tree's growing
// edge needs.
type hashCache struct {
	read  func(index int64) (tlog.Hash, error)
	known map[int64]tlog.Hash
}

func newHashCache(read func(int64) (tlog.Hash, error)) *hashCache {
	return &hashCache{read, map[int64]tlog.Hash{}}
}

// ReadHashes implements tlog.HashReader.
func (c *hashCache) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, ok := c.known[index]
		if !ok {
			var err error
			if h, err = c.read(index); err != nil {
				return nil, err
			}
			c.known[index] = h
		}
		out[i] = h
	}
	return out, nil
}

func (c *hashCache) put(index int64, h tlog.Hash) { c.known[index] = h }

// forget drops what a rolled-back job has put from index on.
func (c *hashCache) forget(from int64) {
	for index := range c.known {
		if index >= from {
			delete(c.known, index)
		}
	}
}

// settle keeps the cache small. What is dropped is read again when needed.
func (c *hashCache) settle() {
	const enough = 4096
	if len(c.known) > enough {
		clear(c.known)
	}
}
