package audit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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

// schema is what the file holds; see the package comment. version is checked
// at every start.
const (
	version = 2
	schema  = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entries (
	idx INTEGER PRIMARY KEY, entry BLOB NOT NULL,
	time INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, session TEXT NOT NULL, verdict TEXT NOT NULL,
	approval TEXT NOT NULL DEFAULT '', query_id TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX entries_time ON entries (time);
CREATE INDEX entries_subject ON entries (subject, idx);
CREATE INDEX entries_session ON entries (session, idx);
CREATE TABLE hashes (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE blobs (
	idx INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (idx, name)
) STRICT, WITHOUT ROWID;` + since2
	since2 = `
CREATE INDEX entries_approval ON entries (approval, idx) WHERE approval <> '';
CREATE INDEX entries_query_id ON entries (query_id) WHERE query_id <> '';
CREATE TABLE cosignatures (size INTEGER NOT NULL, witness TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (size, witness)) STRICT, WITHOUT ROWID;`
)

// migrations[v] makes version v+1 of version v. No entry ever changes: what is
// searched for is read from the entries again.
var migrations = map[int]string{
	1: `
ALTER TABLE entries ADD COLUMN approval TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN query_id TEXT NOT NULL DEFAULT '';
UPDATE entries SET approval = coalesce(json_extract(CAST(entry AS TEXT), '$.approval'), ''), query_id = coalesce(json_extract(CAST(entry AS TEXT), '$.query_id'), '');` + since2,
}

// The statements that every append runs. Reading their text anew would take
// longer than running them.
const (
	begin = iota
	commit
	beginJob
	endJob
	insertEntry
	insertBlob
	insertHash
	insertHashes // hashesAtOnce of them
	insertCheckpoint
	numWrites
)

// hashesAtOnce is how many hashes one statement inserts.
const hashesAtOnce = 16

var writeTexts = [numWrites]string{
	begin:            `BEGIN IMMEDIATE`,
	commit:           `COMMIT`,
	beginJob:         `SAVEPOINT job`,
	endJob:           `RELEASE job`,
	insertEntry:      `INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	insertBlob:       `INSERT INTO blobs VALUES (?, ?, ?, ?)`,
	insertHash:       `INSERT INTO hashes VALUES (?, ?)`,
	insertHashes:     `INSERT INTO hashes VALUES (?, ?)` + strings.Repeat(`, (?, ?)`, hashesAtOnce-1),
	insertCheckpoint: `INSERT INTO checkpoints VALUES (?, ?)`,
}

// A Log is an open log: the one writer of its file. It is safe for concurrent
// use.
type Log struct {
	options Options
	origin  string
	signer  note.Signer
	db      *sql.DB // readers
	writer  *sql.DB // of one connection
	conn    *sql.Conn
	writes  [numWrites]*sql.Stmt // the statements of every append, prepared
	lock    *os.File

	jobs    chan *job
	closing chan struct{}
	stopped chan struct{} // the writer has returned
	failed  chan struct{} // closed when err is set
	grown   chan struct{} // holds a word after a commit, for the anchors
	err     error

	size   int64 // entries; the writer's own
	hashes *hashCache

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
		options: options, jobs: make(chan *job, 256),
		closing: make(chan struct{}), stopped: make(chan struct{}), failed: make(chan struct{}),
		grown: make(chan struct{}, 1),
	}
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
	if l.signer, err = signingKey(path, isNew); err != nil {
		return nil, err
	}
	l.origin = l.signer.Name()
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
	if err = l.checkHead(ctx); err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

// openDB opens the file as the package comment promises.
func openDB(path, mode string) (*sql.DB, error) {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}}
	q.Add("_pragma", "busy_timeout(10000)")
	if mode != "ro" {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
		q.Add("_pragma", "secure_delete(ON)")
	}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String())
}

// signingKey reads the log's key, and makes it together with a new log. An
// existing log never gets another key: that would be a second log.
func signingKey(path string, isNew bool) (note.Signer, error) {
	file := strings.TrimSuffix(path, filepath.Ext(path)) + ".key"
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading signing key: %w", err)
	case !isNew:
		return nil, fmt.Errorf("the signing key %s is missing, and the log is not new", file)
	default:
		origin := "querywarden/" + strings.ToLower(rand.Text()[:12])
		skey, vkey, err := note.GenerateKey(rand.Reader, origin)
		if err != nil {
			return nil, fmt.Errorf("making signing key: %w", err)
		}
		if err := writeFile(file, skey+"\n", 0o600); err != nil {
			return nil, err
		}
		if err := writeFile(strings.TrimSuffix(file, ".key")+".vkey", vkey+"\n", 0o644); err != nil {
			return nil, err
		}
		text = []byte(skey)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading signing key %s: %w", file, err)
	}
	return signer, nil
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

// prepare makes the tables of a new log, or brings an older one to this
// version.
func (l *Log) prepare(ctx context.Context, isNew bool) error {
	if isNew {
		return l.alter(ctx, schema, `INSERT INTO meta VALUES ('version', '`+strconv.Itoa(version)+`'), ('origin', '`+l.origin+`')`)
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
		if err := l.alter(ctx, migrations[found], `UPDATE meta SET value = '`+strconv.Itoa(found+1)+`' WHERE key = 'version'`); err != nil {
			return fmt.Errorf("bringing the log from version %d to %d: %w", found, found+1, err)
		}
	}
	return nil
}

// alter runs statements in one transaction.
func (l *Log) alter(ctx context.Context, statements ...string) error {
	tx, err := l.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// checkHead finds the tree's size and refuses whatever is ambiguous.
func (l *Log) checkHead(ctx context.Context) error {
	err := l.conn.QueryRowContext(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM entries`).Scan(&l.size)
	if err != nil {
		return err
	}
	l.hashes = newHashCache(func(index int64) (tlog.Hash, error) { return storedHash(ctx, l.conn, index) })
	tree, _, err := newestCheckpoint(ctx, l.conn, l.signer)
	if err != nil {
		return err
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
	return l.checkHeadFile(tree)
}

// checkHeadFile refuses a log that is behind, or beside, what the head file
// has seen.
func (l *Log) checkHeadFile(tree tlog.Tree) error {
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
	head, err := parseCheckpoint(seen, l.signer)
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
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func storedHash(ctx context.Context, q querier, index int64) (tlog.Hash, error) {
	var h tlog.Hash
	var b []byte
	if err := q.QueryRowContext(ctx, `SELECT hash FROM hashes WHERE idx = ?`, index).Scan(&b); err != nil {
		return h, fmt.Errorf("reading hash %d: %w", index, err)
	}
	if len(b) != len(h) {
		return h, fmt.Errorf("reading hash %d: %d bytes", index, len(b))
	}
	return tlog.Hash(b), nil
}

// newestCheckpoint returns the newest checkpoint, or an empty tree.
func newestCheckpoint(ctx context.Context, q querier, key interface {
	Name() string
	KeyHash() uint32
}) (tlog.Tree, string, error) {
	var text []byte
	err := q.QueryRowContext(ctx, `SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1`).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return tlog.Tree{}, "", nil
	}
	if err != nil {
		return tlog.Tree{}, "", err
	}
	tree, err := parseCheckpoint(text, key)
	return tree, string(text), err
}

// checkpointText is the body of a checkpoint: C2SP tlog-checkpoint.
func checkpointText(origin string, tree tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, tree.N, tree.Hash)
}

// parseCheckpoint reads a checkpoint's body. It checks the origin, and the
// signature where key can verify.
func parseCheckpoint(text []byte, key interface {
	Name() string
	KeyHash() uint32
}) (tlog.Tree, error) {
	body, signatures, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		return tlog.Tree{}, errors.New("checkpoint has no signature")
	}
	if verifier, ok := key.(note.Verifier); ok {
		n, err := note.Open(text, note.VerifierList(verifier))
		if err != nil {
			return tlog.Tree{}, fmt.Errorf("checking checkpoint: %w", err)
		}
		body = strings.TrimSuffix(n.Text, "\n")
	}
	lines := strings.Split(body, "\n")
	if len(lines) != 3 || signatures == "" {
		return tlog.Tree{}, errors.New("checkpoint has not three lines")
	}
	if lines[0] != key.Name() {
		return tlog.Tree{}, fmt.Errorf("checkpoint is of the log %q, not of %q", lines[0], key.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("checkpoint has the size %q", lines[1])
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint has the hash %q", lines[2])
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}

// Append records an event and returns when it is on disk. The caller's context
// cannot take back a record that is under way; it only bounds the wait for a
// place in the queue.
func (l *Log) Append(ctx context.Context, e Event) (Receipt, error) {
	var r Receipt
	err := l.do(ctx, &job{alone: true, fn: func(tx *Tx) error {
		var err error
		r, err = tx.Append(e)
		return err
	}})
	if err != nil {
		return Receipt{}, err
	}
	return r, nil
}

// appendTimeout bounds how long a record may take once the caller is gone.
const appendTimeout = 30 * time.Second

// Update runs fn in the log's next transaction and returns when that is on
// disk. What fn changes and what it appends become true together or not at
// all. It fails with fn's own error, or with the log's.
func (l *Log) Update(ctx context.Context, fn func(*Tx) error) error {
	return l.do(ctx, &job{fn: fn})
}

func (l *Log) do(ctx context.Context, j *job) error {
	j.done = make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	select {
	case <-l.failed:
		return l.err
	case <-l.closing:
		return ErrClosed
	default:
	}
	select {
	case l.jobs <- j:
	case <-l.stopped:
		return l.stopError()
	case <-ctx.Done():
		return fmt.Errorf("recording: %w", context.Cause(ctx))
	}
	select {
	case err := <-j.done:
		return err
	case <-l.stopped:
		select {
		case err := <-j.done:
			return err
		default:
			return l.stopError()
		}
	}
}

// ErrClosed is returned after [Log.Close].
var ErrClosed = errors.New("the log is closed")

func (l *Log) stopError() error {
	if err := l.Err(); err != nil {
		return err
	}
	return ErrClosed
}

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
		close(l.closing)
		<-l.stopped
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
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
	}
	for _, db := range []*sql.DB{l.writer, l.db} {
		if db != nil {
			errs = append(errs, db.Close())
		}
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
	err  error
	// alone says that fn adds one entry and does nothing else, so that there is
	// nothing to roll back: it fails only together with the log.
	alone bool
}

// maxBatch bounds how many jobs share a commit.
const maxBatch = 256

// write is the one writer. It takes what waits, does it in one transaction,
// signs one checkpoint, commits, and only then lets the callers go.
func (l *Log) write() {
	defer close(l.stopped)
	batch := make([]*job, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case j := <-l.jobs:
			batch = append(batch, j)
		case <-l.closing:
			select {
			case j := <-l.jobs:
				batch = append(batch, j)
			default:
				return
			}
		}
		batch = l.gather(batch)
		if err := l.commit(batch); err != nil {
			l.err = fmt.Errorf("the audit log failed: %w", err)
			close(l.failed)
			for _, j := range batch {
				j.done <- l.err
			}
			return
		}
		for _, j := range batch {
			j.done <- j.err
		}
	}
}

// gather adds what waits. Whom the last commit let go is about to come again:
// as long as somebody comes, it waits for one more turn of the scheduler, so
// that they share this commit.
func (l *Log) gather(batch []*job) []*job {
	for before := 0; len(batch) > before; {
		before = len(batch)
		runtime.Gosched()
	drain:
		for len(batch) < maxBatch {
			select {
			case j := <-l.jobs:
				batch = append(batch, j)
			default:
				break drain
			}
		}
	}
	return batch
}

// commit does a batch. A job's own error rolls back that job alone; any other
// error is the log's end.
func (l *Log) commit(batch []*job) error {
	ctx := context.Background()
	tx := &Tx{ctx: ctx, log: l, size: l.size}
	if err := tx.run(begin); err != nil {
		return err
	}
	err := l.runJobs(tx, batch)
	if err == nil && tx.size > l.size {
		err = tx.insert()
	}
	if err == nil {
		err = tx.run(commit)
	}
	if err != nil {
		_, rollbackErr := l.conn.ExecContext(ctx, `ROLLBACK`)
		return errors.Join(err, rollbackErr)
	}
	if tx.size > l.size {
		select {
		case l.grown <- struct{}{}:
		default: // there is one already
		}
	}
	l.size = tx.size
	l.hashes.settle()
	if tx.flush {
		// Readers may be in the way; then the next flush, or the last close, does it.
		if _, err := l.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
			return err
		}
	}
	if l.options.HeadFile != "" && tx.note != nil {
		return writeFile(l.options.HeadFile, string(tx.note), 0o644)
	}
	return nil
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
			tx.hashes = tx.hashes[:tlog.StoredHashCount(size)-tlog.StoredHashCount(l.size)]
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
	note []byte
	err  error // the log's own
	// entries are those of this transaction, and hashes what they add to the
	// tree: they go in together at its end.
	entries []pending
	hashes  []tlog.Hash
	// flush says that something was erased, which the write-ahead log still
	// holds.
	flush bool
}

// pending is an entry on its way into its table.
type pending struct {
	event *Event
	entry []byte
	blobs []blob
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
	e.Time = tx.log.options.Now()
	rows := ""
	if e.Answer != "" {
		var err error
		if rows, err = sealRows(tx.log.options.RowsKey, tx.log.origin, e.Answer); err != nil {
			return Receipt{}, err
		}
	}
	entry, blobs, err := e.encode(rows)
	if err != nil {
		return Receipt{}, err
	}
	index := tx.size
	if err := tx.add(pending{&e, entry, blobs}); err != nil {
		tx.err = err
		return Receipt{}, err
	}
	return Receipt{&receipt{
		index: index, leaf: tlog.RecordHash(entry), origin: tx.log.origin,
		statement: sha256.Sum256([]byte(e.Runs)), authorizes: e.authorizes(),
	}}, nil
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
	}
	tx.hashes = append(tx.hashes, hashes...)
	tx.entries = append(tx.entries, p)
	tx.size++
	return nil
}

// insert writes the entries, their hashes, and the checkpoint over them, which
// is signed meanwhile.
func (tx *Tx) insert() error {
	root, err := tlog.TreeHash(tx.size, tx.log.hashes)
	if err != nil {
		return err
	}
	text := checkpointText(tx.log.origin, tlog.Tree{N: tx.size, Hash: root})
	signed := make(chan error, 1)
	go func() {
		var err error
		tx.note, err = note.Sign(&note.Note{Text: text}, tx.log.signer)
		signed <- err
	}()
	for i, p := range tx.entries {
		if err = tx.insertEntry(tx.log.size+int64(i), p); err != nil {
			break
		}
	}
	if err == nil {
		err = tx.insertHashes()
	}
	if err := errors.Join(err, <-signed); err != nil {
		return err
	}
	return tx.run(insertCheckpoint, tx.size, tx.note)
}

func (tx *Tx) insertEntry(index int64, p pending) error {
	subject := ""
	if p.event.Caller != nil {
		subject = p.event.Caller.Subject
	}
	if err := tx.run(insertEntry, index, p.entry, p.event.Time.UnixMicro(), string(p.event.Kind), subject, p.event.Session, p.event.Verdict,
		p.event.Approval, p.event.QueryID); err != nil {
		return err
	}
	for _, b := range p.blobs {
		if err := tx.run(insertBlob, index, b.name, b.salt[:], b.payload); err != nil {
			return err
		}
	}
	return nil
}

// insertHashes writes the hashes of the transaction's entries.
func (tx *Tx) insertHashes() error {
	at := tlog.StoredHashCount(tx.log.size)
	args := make([]any, 0, 2*hashesAtOnce)
	for left := tx.hashes; len(left) > 0; {
		n, write := 1, insertHash
		if len(left) >= hashesAtOnce {
			n, write = hashesAtOnce, insertHashes
		}
		args = args[:0]
		for i := range n {
			args = append(args, at, left[i][:])
			at++
		}
		if err := tx.run(write, args...); err != nil {
			return err
		}
		left = left[n:]
	}
	return nil
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
