// Package warehouse runs recorded statements in a Snowflake account, streams
// their rows, and reads the account's catalog. It knows one protocol,
// Snowflake's, and speaks it through gosnowflake.
//
// [Warehouse.Run] is the only way to send SQL, and it asks for an
// [audit.Receipt] that was made for exactly this text: what is not on disk does
// not run.
//
// # Around the driver
//
// gosnowflake v1.19.1 is built for programs that trust their own SQL. Between
// agents and an account, these of its habits matter:
//
//   - It carries out PUT and GET on the client's disk, as the server's reply
//     tells it to. Statements that the driver would take for one are refused
//     before it sees them, and replies that tell it to become errors.
//   - A session's state (role, parameters, variables, temporary tables, an open
//     transaction) is there for the next borrower. Sessions that ran anything
//     but a query or plain DML are closed, not reused.
//   - Config.Params is one map for all connections, and replies change it. Each
//     connection gets a copy.
//   - Dead sessions stay in the pool. Their error codes close them, and the
//     statement that met one, which did not run, is sent on another session.
//   - Cancelling can block for minutes when the account does not answer. It is
//     given [Config.CancelTimeout]; then the call returns, and the session is
//     closed when the driver lets go of it.
//   - Rows can be missing without an error. They are counted against the
//     server's total.
//   - Decoded values pass through floats, and fractional seconds before 1970
//     come out wrong. Cells are taken as the server sent them and decoded here.
//   - Several statements in one text run if a session parameter says so.
//     MULTI_STATEMENT_COUNT is pinned to 1 with every statement.
//   - It logs statements' errors to standard error, sends telemetry, asks cloud
//     metadata addresses where it runs, and writes files if a configuration in
//     the home folder says so. All of it is switched off by [Open], or Open
//     fails.
//   - In cgo builds its package initialization loads a library that it carries.
//     Nothing here can prevent that: build with the tag minicore_disabled, or
//     start the process with SF_DISABLE_MINICORE=true.
//
// Asynchronous statements and binds are not used, so their defects do not
// matter.
package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/audit"
)

// Config says how to log in, and as whom. Account, Record and a whole Login are
// required.
type Config struct {
	Account string
	Login
	// Others are further logins by a name of the configuration's, for
	// statements that ask for them; see [Statement.Login]. Where one says no
	// warehouse, database or schema, the first one's count.
	Others map[string]Login
	// Record records a statement of the gateway's own, the first one of each
	// session, and gives the receipt that lets it run.
	Record func(ctx context.Context, sql string) (audit.Receipt, error)

	// Protocol, Host and Port override the account's own address
	// (https, from the account's name, 443). "http" is for loopback alone.
	Protocol string
	Host     string
	Port     int

	// Sessions is how many statements can run at once; 8 if zero. More wait.
	Sessions int
	// LoginTimeout bounds a login; 20 s if zero.
	LoginTimeout time.Duration
	// StatementTimeout is the longest that any statement may take, and what
	// one gets that says nothing; 10 minutes if zero. The account enforces it
	// as well, should this process vanish.
	StatementTimeout time.Duration
	// CancelTimeout is how long a cancelled call waits for the account to
	// confirm; 5 s if zero.
	CancelTimeout time.Duration
}

func (c *Config) check() error {
	switch {
	case c.Account == "" || c.Record == nil:
		return errors.New("an account, and a way to record what sessions begin with, are needed")
	case c.Protocol != "" && c.Protocol != "https" && c.Protocol != "http":
		return fmt.Errorf("protocol %q is neither https nor http", c.Protocol)
	}
	if err := c.Login.check(); err != nil {
		return err
	}
	others := make(map[string]Login, len(c.Others))
	for name, l := range c.Others {
		l.Warehouse, l.Database, l.Schema = cmp.Or(l.Warehouse, c.Warehouse), cmp.Or(l.Database, c.Database), cmp.Or(l.Schema, c.Schema)
		if err := l.check(); err != nil || name == "" {
			return fmt.Errorf("the login %q: %w", name, cmp.Or(err, errors.New("it has no name")))
		}
		others[name] = l
	}
	c.Others = others
	if ip := net.ParseIP(c.Host); c.Protocol == "http" && c.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not a loopback address: sessions must not cross a network in the clear", c.Host)
	}
	if c.Sessions <= 0 {
		c.Sessions = 8
	}
	if c.LoginTimeout <= 0 {
		c.LoginTimeout = 20 * time.Second
	}
	if c.StatementTimeout <= 0 {
		c.StatementTimeout = 10 * time.Minute
	}
	if c.CancelTimeout <= 0 {
		c.CancelTimeout = 5 * time.Second
	}
	return nil
}

// A Warehouse is a Snowflake account, seen as one user in one role, or as a few.
// It is safe for use by several goroutines.
type Warehouse struct {
	config Config
	guard  *guard
	// pools are the sessions of each login, by its name; the first login's is
	// empty.
	pools map[string]*sql.DB
	// work is what still runs in the driver although its caller has left.
	work sync.WaitGroup
}

// Open makes a warehouse. It does not log in before there is something to run;
// [Warehouse.Try] does. It sets environment variables and the logger of the
// driver, which are the process's: call it before anything else uses the driver.
func Open(c Config) (*Warehouse, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("opening warehouse: %w", err)
	}
	if err := quieten(); err != nil {
		return nil, fmt.Errorf("opening warehouse: %w", err)
	}
	w := &Warehouse{config: c, guard: newGuard(c.Protocol), pools: map[string]*sql.DB{}}
	logins := maps.Clone(c.Others)
	logins[""] = c.Login
	for name, l := range logins {
		db := sql.OpenDB(newConnector(c, l, w.guard))
		db.SetMaxOpenConns(c.Sessions)
		db.SetMaxIdleConns(c.Sessions)
		// A session's master token lives four hours, and a day-old session
		// knows nothing of a role that was revoked.
		db.SetConnMaxLifetime(time.Hour)
		db.SetConnMaxIdleTime(15 * time.Minute)
		w.pools[name] = db
	}
	return w, nil
}

// Try logs in as each login, to learn early whether that works.
func (w *Warehouse) Try(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(w.pools)) {
		if err := w.tryLogin(ctx, w.pools[name]); err != nil {
			if name != "" {
				return fmt.Errorf("logging in as %s: %w", name, err)
			}
			return fmt.Errorf("logging in: %w", err)
		}
	}
	return nil
}

func (w *Warehouse) tryLogin(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, w.config.LoginTimeout)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return newError(ctx, err, "")
	}
	return conn.Close()
}

// Close logs all sessions out. Rows that are still open must be closed first.
// It waits for cancelled statements that the driver still works on, which can
// take as long as the driver's own timeouts.
func (w *Warehouse) Close() error {
	w.work.Wait()
	var errs []error
	for _, db := range w.pools {
		errs = append(errs, db.Close())
	}
	err := errors.Join(errs...)
	w.guard.close()
	if err != nil {
		return fmt.Errorf("closing warehouse: %w", err)
	}
	return nil
}

// A Statement is what [Warehouse.Run] runs.
type Statement struct {
	// SQL is one statement, the text that the receipt was made for.
	SQL string
	// Timeout bounds the statement and the reading of its rows. Zero, or more
	// than [Config.StatementTimeout], means that one.
	Timeout time.Duration
	// Login is the name of the login whose session runs it; the first one if
	// empty.
	Login string
}

// Run spends the receipt and runs the statement, with the receipt's tag as its
// QUERY_TAG. It returns when the first rows are there. The caller must close
// the Rows.
//
// When ctx ends, or the timeout, the account is told to abort the statement.
// An error that the account or the driver gave is an [*Error]. The statement is
// sent at most once; whether it ran is not known after an error of class
// [Timeout], [Cancelled] or [Unavailable].
func (w *Warehouse) Run(ctx context.Context, r audit.Receipt, s Statement) (*Rows, error) {
	if err := r.Authorize(s.SQL); err != nil {
		return nil, fmt.Errorf("running a statement: %w", err)
	}
	if movesFiles(s.SQL) {
		return nil, errMovesFiles
	}
	db := w.pools[s.Login]
	if db == nil {
		return nil, fmt.Errorf("running a statement: there is no login %q", s.Login)
	}
	timeout := w.config.StatementTimeout
	if s.Timeout > 0 {
		timeout = min(timeout, s.Timeout)
	}
	ctx, cancel := context.WithTimeout(withTimeout(ctx, timeout), timeout)
	rows, err := w.send(ctx, db, r.Tag(), s.SQL)
	var failed *Error
	if errors.As(err, &failed) && failed.neverRan() {
		rows, err = w.send(ctx, db, r.Tag(), s.SQL)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	rows.cancel = cancel
	return rows, nil
}

// errMovesFiles is Run's answer to what the driver would carry out on this
// machine's disk.
var errMovesFiles = errors.New("running a statement: PUT and GET move files of this machine and are never sent")

// An answer is what the driver says to a statement.
type answer struct {
	loader  sf.ArrowStreamLoader
	queryID string
	err     error
}

// send runs a statement in a session of the pool.
func (w *Warehouse) send(ctx context.Context, db *sql.DB, tag, text string) (*Rows, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, newError(ctx, err, "")
	}
	done, left := make(chan answer), make(chan struct{})
	w.work.Go(func() {
		a := inSession(ctx, conn, tag, text)
		select {
		case done <- a:
		case <-left:
			discard(conn)
		}
	})
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		// The driver is telling the account. That should be quick.
		timer := time.NewTimer(w.config.CancelTimeout)
		defer timer.Stop()
		select {
		case a = <-done:
		case <-timer.C:
			close(left)
			return nil, newError(ctx, ctx.Err(), "")
		}
	}
	if a.err != nil {
		failed := newError(ctx, a.err, a.queryID)
		if failed.spoilsSession() || !keepsSession(text) {
			discard(conn)
		} else {
			release(conn)
		}
		return nil, failed
	}
	rows := &Rows{ctx: ctx, queryID: a.queryID, release: func() { release(conn) }}
	if !keepsSession(text) {
		rows.release = func() { discard(conn) }
	}
	if err := rows.start(a.loader); err != nil {
		discard(conn)
		return nil, newError(ctx, err, a.queryID)
	}
	return rows, nil
}

// inSession runs a statement in a session of a pool.
func inSession(ctx context.Context, conn *sql.Conn, tag, text string) answer {
	var a answer
	raw := conn.Raw(func(session any) error {
		a = query(ctx, session, tag, text)
		return nil
	})
	if a.err == nil {
		a.err = raw
	}
	return a
}

// query is the one place where SQL enters the driver.
func query(ctx context.Context, session any, tag, text string) answer {
	// The driver's connection type has no name; this is the method of it that
	// returns cells as the server sent them.
	streamer, ok := session.(interface {
		QueryArrowStream(context.Context, string, ...driver.NamedValue) (sf.ArrowStreamLoader, error)
	})
	if !ok {
		return answer{err: fmt.Errorf("the driver's %T has no QueryArrowStream", session)}
	}
	ids := make(chan string, 1)
	ctx, err := sf.WithMultiStatement(sf.WithQueryIDChan(sf.WithQueryTag(ctx, tag), ids), 1)
	if err != nil {
		return answer{err: err}
	}
	var a answer
	a.loader, a.err = streamer.QueryArrowStream(ctx, text)
	select {
	case a.queryID = <-ids:
	default: // there was no reply
	}
	return a
}

// release gives a session back to the pool.
func release(conn *sql.Conn) {
	// The error says that the connection is closed already, which is the aim.
	_ = conn.Close()
}

// discard ends a session.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	release(conn)
}
