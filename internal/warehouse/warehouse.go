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
	"context"
	"crypto/rsa"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/audit"
)

// Config says how to log in, and as whom. Account, User, PrivateKey and
// Database are required.
type Config struct {
	Account    string
	User       string
	PrivateKey *rsa.PrivateKey // of the user's key pair, see docs.snowflake.com/en/user-guide/key-pair-auth

	// Role, Warehouse, Database and Schema are where every session stands. A
	// login that cannot stand there fails.
	Role      string
	Warehouse string
	Database  string
	Schema    string

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
	case c.Account == "" || c.User == "" || c.PrivateKey == nil:
		return errors.New("account, user and private key are needed")
	case c.Database == "":
		return errors.New("a database is needed: the catalog is read from its information schema")
	case c.Protocol != "" && c.Protocol != "https" && c.Protocol != "http":
		return fmt.Errorf("protocol %q is neither https nor http", c.Protocol)
	}
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

// A Warehouse is a Snowflake account, seen as one user in one role. It is safe
// for use by several goroutines.
type Warehouse struct {
	config Config
	guard  *guard
	db     *sql.DB
	// work is what still runs in the driver although its caller has left.
	work sync.WaitGroup
}

// Open logs in once, to learn early whether that works. It sets environment
// variables and the logger of the driver, which are the process's: call it
// before anything else uses the driver.
func Open(ctx context.Context, c Config) (*Warehouse, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("opening warehouse: %w", err)
	}
	if err := quieten(); err != nil {
		return nil, fmt.Errorf("opening warehouse: %w", err)
	}
	connector := newConnector(c)
	w := &Warehouse{config: c, guard: connector.guard, db: sql.OpenDB(connector)}
	w.db.SetMaxOpenConns(c.Sessions)
	w.db.SetMaxIdleConns(c.Sessions)
	// A session's master token lives four hours, and a day-old session knows
	// nothing of a role that was revoked.
	w.db.SetConnMaxLifetime(time.Hour)
	w.db.SetConnMaxIdleTime(15 * time.Minute)
	ctx, cancel := context.WithTimeout(ctx, c.LoginTimeout)
	defer cancel()
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening warehouse: %w", newError(ctx, err, "")), w.db.Close())
	}
	if err := conn.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening warehouse: %w", err), w.db.Close())
	}
	return w, nil
}

// Close logs all sessions out. Rows that are still open must be closed first.
// It waits for cancelled statements that the driver still works on, which can
// take as long as the driver's own timeouts.
func (w *Warehouse) Close() error {
	w.work.Wait()
	err := w.db.Close()
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
	timeout := w.config.StatementTimeout
	if s.Timeout > 0 {
		timeout = min(timeout, s.Timeout)
	}
	ctx, cancel := context.WithTimeout(withTimeout(ctx, timeout), timeout)
	rows, err := w.send(ctx, r.Tag(), s.SQL)
	var failed *Error
	if errors.As(err, &failed) && failed.neverRan() {
		rows, err = w.send(ctx, r.Tag(), s.SQL)
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
func (w *Warehouse) send(ctx context.Context, tag, text string) (*Rows, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, newError(ctx, err, "")
	}
	done, left := make(chan answer), make(chan struct{})
	w.work.Go(func() {
		a := query(ctx, conn, tag, text)
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

// query is the one place where SQL enters the driver.
func query(ctx context.Context, conn *sql.Conn, tag, text string) answer {
	var a answer
	ids := make(chan string, 1)
	ctx, err := sf.WithMultiStatement(sf.WithQueryIDChan(sf.WithQueryTag(ctx, tag), ids), 1)
	if err != nil {
		return answer{err: err}
	}
	raw := conn.Raw(func(session any) error {
		// The driver's connection type has no name; this is the method of it
		// that returns cells as the server sent them.
		streamer, ok := session.(interface {
			QueryArrowStream(context.Context, string, ...driver.NamedValue) (sf.ArrowStreamLoader, error)
		})
		if !ok {
			return fmt.Errorf("the driver's %T has no QueryArrowStream", session)
		}
		a.loader, a.err = streamer.QueryArrowStream(ctx, text)
		return nil
	})
	if a.err == nil {
		a.err = raw
	}
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
