//go:build cgo

package emulator

import (
	"context"
	"crypto/rsa"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/duckdb/duckdb-go/v2"

	"querywarden/internal/snowsql/parser"
)

// databaseFile is the one file of an emulator that keeps its data.
const databaseFile = "warehouse.duckdb"

// An Emulator is one account: users, databases, sessions. It is safe for use
// by several goroutines.
type Emulator struct {
	options Options
	logger  *slog.Logger
	db      *sql.DB
	server  *http.Server

	// Statements under way end when life does.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	history history
	// rightsVersion counts the changes of roles and grants.
	rightsVersion atomic.Int64

	// ddl lets one statement at a time change the catalog: DuckDB refuses the
	// second of two at once, Snowflake makes it wait.
	ddl sync.Mutex

	mu       sync.Mutex // guards what follows
	closed   bool
	users    map[string]*user
	sessions map[int64]*session
	tokens   map[string]*ticket
	queries  map[string]*query // by query id
	lastID   int64
	broken   []*Breakage
	secrets  []string
	leaks    []Leak
}

// Open opens the account kept in dir, or makes it; with dir empty, one in
// memory that is gone when it is closed. One process at a time can have a
// folder open. Nobody can log in before [Emulator.AddUser].
func Open(dir string, options Options) (*Emulator, error) {
	e := &Emulator{
		options:  options,
		logger:   options.Logger,
		users:    map[string]*user{},
		sessions: map[int64]*session{},
		tokens:   map[string]*ticket{},
		queries:  map[string]*query{},
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	if e.options.Database == "" {
		e.options.Database = DefaultDatabase
	}
	if e.options.Schema == "" {
		e.options.Schema = DefaultSchema
	}
	file := ""
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening the emulator: %w", err)
		}
		file = filepath.Join(dir, databaseFile)
	}
	connector, err := duckdb.NewConnector(file, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the emulator: %w", err)
	}
	e.db = sql.OpenDB(connector)
	e.life, e.end = context.WithCancel(context.Background())
	e.server = e.newServer()
	if err := errors.Join(e.openHistory(dir), e.setUp(e.life)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the emulator: %w", err), e.Close())
	}
	return e, nil
}

// locks are run before any statement from outside, and cannot be undone
// after the last of them (duckdb.org/docs/stable/operations_manual/securing_duckdb/overview).
var locks = []string{
	"SET autoinstall_known_extensions = false",
	"SET autoload_known_extensions = false",
	"SET allow_community_extensions = false",
	"SET allow_persistent_secrets = false",
	"SET enable_external_access = false",
	// Not of safety, but of likeness: NULLs sort as in Snowflake, and times
	// do not depend on the host's zone.
	"SET default_null_order = 'nulls_last_on_asc_first_on_desc'",
	"SET GLOBAL TimeZone = 'UTC'",
	// A plan as written and as it would run: see history.go.
	"SET explain_output = 'all'",
	"SET lock_configuration = true",
}

func (e *Emulator) setUp(ctx context.Context) error {
	for _, list := range [][]string{locks, macros, catalogTables, historyTables, droppedTables, rightsTables, accountTables} {
		for _, s := range list {
			if _, err := e.db.ExecContext(ctx, s); err != nil {
				return fmt.Errorf("preparing DuckDB: %w", err)
			}
		}
	}
	script := "CREATE DATABASE IF NOT EXISTS " + quoteIdent(e.options.Database) + ";" +
		"CREATE SCHEMA IF NOT EXISTS " + quoteIdent(e.options.Database) + "." + quoteIdent(e.options.Schema)
	s, err := e.newSession(ctx, &user{name: systemUser, role: systemRole})
	if err != nil {
		return err
	}
	defer e.endSession(s)
	if err := s.addAccount(ctx); err != nil {
		return fmt.Errorf("preparing the account's own database: %w", err)
	}
	if err := errors.Join(s.purge(ctx), s.loadUsers(ctx)); err != nil {
		return fmt.Errorf("preparing the account: %w", err)
	}
	return e.Exec(ctx, script)
}

func quoteIdent(stored string) string { return `"` + strings.ReplaceAll(stored, `"`, `""`) + `"` }

// AddUser lets a user log in with the private half of key, as role and as
// PUBLIC; once more for the same name replaces key and role. Names are stored
// in upper case, as unquoted identifiers are.
func (e *Emulator) AddUser(name string, key *rsa.PublicKey, role string) error {
	if name == "" || key == nil || role == "" {
		return errors.New("adding a user: name, key and role are needed")
	}
	print, err := fingerprint(key)
	if err != nil {
		return fmt.Errorf("adding a user: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	u := &user{name: strings.ToUpper(name), key: key, fingerprint: print, role: strings.ToUpper(role)}
	e.users[u.name] = u
	return nil
}

// Exec runs a script in Snowflake's dialect, statements between semicolons, in
// a session of its own: it is how an account gets its first data. It stops at
// the first error. Each statement takes effect on its own unless the script
// begins a transaction.
func (e *Emulator) Exec(ctx context.Context, script string) error {
	stmts, err := parser.ParseScript(script)
	if err != nil {
		return fmt.Errorf("executing a script: %w", err)
	}
	s, err := e.newSession(ctx, &user{name: systemUser, role: systemRole})
	if err != nil {
		return fmt.Errorf("executing a script: %w", err)
	}
	defer e.endSession(s)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	for i, stmt := range stmts {
		if _, err := s.run(ctx, &job{source: script, stmt: stmt}); err != nil {
			return fmt.Errorf("executing statement %d of the script: %w", i+1, translate(err))
		}
	}
	return nil
}

// The user and role of [Emulator.Exec]; nobody can log in as them.
const (
	systemUser = "SYSTEM"
	systemRole = "ACCOUNTADMIN"
)

// Start serves on a TCP address, of the loopback interface only, and returns
// the host and port, which "127.0.0.1:0" leaves to the system. It serves until
// [Emulator.Close].
func (e *Emulator) Start(addr string) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("starting the emulator: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("starting the emulator: %s is not of the loopback interface", host)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("starting the emulator: %w", err)
	}
	e.work.Go(func() {
		if err := e.Serve(l); err != nil {
			e.logger.Error("serving the emulator", "error", err)
		}
	})
	return l.Addr().String(), nil
}

// Serve answers on l until [Emulator.Close], and closes it. What is asked over
// it travels in the clear: l should be of the loopback interface.
func (e *Emulator) Serve(l net.Listener) error {
	if err := e.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the emulator: %w", err)
	}
	return nil
}

// Close cancels what runs, ends all sessions and closes the database. A second
// call does nothing.
func (e *Emulator) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	e.end()
	err := e.server.Close()
	e.work.Wait()
	e.mu.Lock()
	var open []*session
	for _, s := range e.sessions {
		open = append(open, s)
	}
	e.mu.Unlock()
	for _, s := range open {
		e.endSession(s)
	}
	if err := errors.Join(err, e.closeHistory(), e.db.Close()); err != nil {
		return fmt.Errorf("closing the emulator: %w", err)
	}
	return nil
}

// exec runs a DuckDB statement for its effect.
func exec(ctx context.Context, conn *sql.Conn, text string, args ...any) error {
	_, err := conn.ExecContext(ctx, text, args...)
	return err
}

// rollback ends a transaction whose error is already known.
func rollback(ctx context.Context, conn *sql.Conn) error {
	err := exec(context.WithoutCancel(ctx), conn, "ROLLBACK")
	if err != nil && errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}
