//go:build cgo

package emulator

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
)

// A session is one login: where it stands, what it has set, and a connection
// to DuckDB of its own, so that transactions are.
type session struct {
	emulator *Emulator
	id       int64
	user     *user

	// turn holds a value while a statement runs; statements of a session run
	// one after the other. Its holder owns what follows.
	turn       chan struct{}
	conn       *sql.Conn
	database   string
	schema     string
	role       string
	warehouse  string
	parameters map[string]string
	variables  map[string]*ast.Literal
	inTx       bool
	kind       string  // QUERY_TYPE of the statement that runs
	reached    reached // and what it touches
	rights     rights
	faulty     Fault             // of the result of the statement that runs
	watch      func(part []byte) // of its parts
	scope      string            // the restricted session scope
	secondary  bool              // all roles of the user are active beside the session's own

	// The emulator's mutex guards these.
	ended    bool
	requests map[string]*query // by request id
	finished []*query          // oldest first
}

// keep is how many finished statements of a session are remembered, for
// repeated requests and for fetching results again.
const keep = 8

// A query is one statement on its way.
type query struct {
	session   *session
	id        string
	requestID string
	text      string
	tag       string
	past      past
	base      string // of the addresses that its reply gives out
	started   time.Time
	cancel    context.CancelFunc
	done      chan struct{}
	// What follows may be read once done is closed.
	ended time.Time
	rows  int
	err   error
	reply []byte
	// chunks are the rows that are not in the reply; guarded by Emulator.mu.
	chunks []chunk
}

func (e *Emulator) newSession(ctx context.Context, u *user) (*session, error) {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to DuckDB: %w", err)
	}
	s := &session{
		emulator:   e,
		user:       u,
		turn:       make(chan struct{}, 1),
		conn:       conn,
		role:       u.role,
		parameters: maps.Clone(defaultParameters),
		variables:  map[string]*ast.Literal{},
		requests:   map[string]*query{},
	}
	if u.role == systemRole {
		s.database, s.schema = e.options.Database, e.options.Schema
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(errors.New("the emulator is closed"), conn.Close())
	}
	e.lastID++
	s.id = e.lastID
	e.sessions[s.id] = s
	return s, nil
}

// defaultParameters are the session parameters that clients are told of.
// docs.snowflake.com/en/sql-reference/parameters
var defaultParameters = map[string]string{
	"AUTOCOMMIT":                           "true",
	"CLIENT_RESULT_CHUNK_SIZE":             "160",
	"CLIENT_SESSION_KEEP_ALIVE":            "false",
	"CLIENT_STAGE_ARRAY_BINDING_THRESHOLD": "65280",
	"CLIENT_TELEMETRY_ENABLED":             "false",
	"DATE_OUTPUT_FORMAT":                   "YYYY-MM-DD",
	"GO_QUERY_RESULT_FORMAT":               "json",
	"MULTI_STATEMENT_COUNT":                "1",
	"QUERY_TAG":                            "",
	"STATEMENT_TIMEOUT_IN_SECONDS":         "172800",
	"TIMESTAMP_OUTPUT_FORMAT":              "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
	"TIMESTAMP_TYPE_MAPPING":               "TIMESTAMP_NTZ",
	"TIMEZONE":                             "Etc/UTC",
}

// parameterList is the parameters as replies carry them.
func (s *session) parameterList() []map[string]any {
	var list []map[string]any
	for _, name := range slices.Sorted(maps.Keys(s.parameters)) {
		var value any = s.parameters[name]
		switch n, err := strconv.Atoi(s.parameters[name]); {
		case err == nil:
			value = n
		case value == "true" || value == "false":
			value = value == "true"
		}
		list = append(list, map[string]any{"name": name, "value": value})
	}
	return list
}

// endSession logs a session out: its tokens are dead, what it runs is
// cancelled, its open transaction rolled back.
func (e *Emulator) endSession(s *session) {
	e.mu.Lock()
	if s.ended {
		e.mu.Unlock()
		return
	}
	s.ended = true
	e.dropTokens(s)
	delete(e.sessions, s.id)
	for _, q := range s.requests {
		q.cancel()
		delete(e.queries, q.id)
	}
	e.mu.Unlock()
	s.turn <- struct{}{} // never given back
	if s.inTx {
		if err := rollback(context.Background(), s.conn); err != nil {
			e.logger.Warn("ending a session", "session", s.id, "error", err)
		}
	}
	if err := s.conn.Close(); err != nil {
		e.logger.Warn("ending a session", "session", s.id, "error", err)
	}
}

var errEnded = errors.New("the session has ended")

// start begins a statement in the background and returns at once, with the
// earlier one if the request id is known.
func (s *session) start(requestID string, request *queryRequest) (*query, error) {
	e := s.emulator
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.ended || e.closed {
		return nil, errEnded
	}
	if q := s.requests[requestID]; q != nil && requestID != "" {
		return q, nil
	}
	ctx, cancel := context.WithCancel(e.life)
	q := &query{
		session: s, id: newQueryID(), requestID: requestID, text: request.SQLText, base: request.base,
		started: time.Now(), cancel: cancel, done: make(chan struct{}),
	}
	if requestID == "" {
		q.requestID = q.id
	}
	s.requests[q.requestID] = q
	e.queries[q.id] = q
	e.work.Go(func() {
		defer cancel()
		s.serve(ctx, q, request)
	})
	return q, nil
}

// newQueryID returns an id in the form that Snowflake's have.
func newQueryID() string {
	var b [16]byte
	rand.Read(b[:])
	b[0] = 0x01
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// abort cancels a statement by the id of its request and reports whether it
// was running.
func (s *session) abort(requestID string) bool {
	s.emulator.mu.Lock()
	q := s.requests[requestID]
	s.emulator.mu.Unlock()
	if q == nil {
		return false
	}
	select {
	case <-q.done:
		return false
	default:
		q.cancel()
		return true
	}
}

// finish makes the query's outcome readable and forgets older ones.
func (q *query) finish(reply []byte, rows int, err error) {
	q.reply, q.rows, q.err, q.ended = reply, rows, err, time.Now()
	close(q.done)
	s, e := q.session, q.session.emulator
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.ended {
		return
	}
	s.finished = append(s.finished, q)
	if len(s.finished) > keep {
		old := s.finished[0]
		s.finished = slices.Delete(s.finished, 0, 1)
		delete(s.requests, old.requestID)
		delete(e.queries, old.id)
	}
}

// serve runs a request's statement, when it is the session's turn, and writes
// its reply.
func (s *session) serve(ctx context.Context, q *query, request *queryRequest) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		q.finish(q.errorReply(errCanceled()), 0, errCanceled())
		return
	}
	parameter := func(name string) string {
		if v, ok := request.Parameters[name]; ok {
			return parameterText(v)
		}
		return s.parameters[name]
	}
	q.tag = parameter("QUERY_TAG")
	s.kind, s.reached = "UNKNOWN", reached{}
	s.faulty, s.watch = s.emulator.faultAt("", q.text), nil
	if s.emulator.watched() {
		s.watch = func(part []byte) { s.emulator.watch(q, part) }
	}
	if err := q.begun(); err != nil {
		q.finish(q.errorReply(err), 0, err)
		return
	}
	if seconds, err := strconv.Atoi(parameter("STATEMENT_TIMEOUT_IN_SECONDS")); err == nil && seconds > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer stop()
	}
	result, err := s.request(ctx, q, request, parameter("MULTI_STATEMENT_COUNT"))
	if ctx.Err() != nil && err != nil {
		err = ctx.Err() // whatever DuckDB says about being interrupted
	}
	err = translate(err)
	attributes := []any{"session", s.id, "query", q.id, "tag", q.tag, "statement", q.text}
	if err != nil {
		s.emulator.logger.Debug("statement failed", append(attributes, "error", err)...)
		q.over(0, 0, err)
		reply := q.errorReply(err)
		if s.watch != nil {
			s.watch(reply)
		}
		q.finish(reply, 0, err)
		return
	}
	s.emulator.logger.Debug("statement done", append(attributes, "rows", result.count)...)
	reply, err := q.resultReply(result)
	if err != nil {
		q.over(0, 0, err)
		q.finish(q.errorReply(translate(err)), 0, err)
		return
	}
	q.over(result.count, int64(len(reply)), nil)
	q.finish(reply, result.count, nil)
}

// request reads the text of a request and runs its statements. count is how
// many there may be, 0 for any number.
func (s *session) request(ctx context.Context, q *query, request *queryRequest, count string) (*result, error) {
	stmts, err := parser.ParseScript(request.SQLText)
	if bad := new(parser.Error); errors.As(err, &bad) {
		return nil, errSyntax(bad)
	}
	if err != nil {
		return nil, err
	}
	if len(stmts) == 0 {
		return nil, errSyntax(&parser.Error{Code: parser.Empty})
	}
	if want, err := strconv.Atoi(count); err != nil || want != 0 && want != len(stmts) {
		return nil, &sqlError{code: "000008", state: "0A000", message: fmt.Sprintf("Actual statement count %d did not match the desired statement count %s.", len(stmts), count)}
	}
	if len(stmts) == 1 {
		return s.run(ctx, &job{source: request.SQLText, stmt: stmts[0], bindings: request.Bindings, describe: request.DescribeOnly})
	}
	if request.Bindings != nil || request.DescribeOnly {
		return nil, errUnsupported("binds with several statements")
	}
	return s.runAll(ctx, q, request.SQLText, stmts)
}

// runAll runs several statements; the result names theirs, which the client
// then fetches one by one.
func (s *session) runAll(ctx context.Context, parent *query, source string, stmts []ast.Statement) (*result, error) {
	var ids, types []string
	for _, stmt := range stmts {
		started := time.Now()
		r, err := s.run(ctx, &job{source: source, stmt: stmt})
		if err != nil {
			return nil, err
		}
		q := &query{
			session: s, id: newQueryID(), text: source[stmt.Pos():stmt.End()], tag: parent.tag, base: parent.base,
			started: started, cancel: func() {}, done: make(chan struct{}),
		}
		q.requestID = q.id
		reply, err := q.resultReply(r)
		if err != nil {
			return nil, err
		}
		s.emulator.mu.Lock()
		s.requests[q.requestID], s.emulator.queries[q.id] = q, q
		s.emulator.mu.Unlock()
		q.finish(reply, r.count, nil)
		ids, types = append(ids, q.id), append(types, strconv.Itoa(r.typeID))
	}
	r := textResult(typeMulti, "multiple statement execution", "Multiple statements executed successfully.")
	r.ids, r.types = strings.Join(ids, ","), strings.Join(types, ",")
	return r, nil
}

// errorReply is the reply of a statement that failed.
func (q *query) errorReply(err error) []byte {
	var failed *sqlError
	if !errors.As(err, &failed) {
		failed = &sqlError{code: "000603", state: "XX000", message: "SQL execution internal error: " + err.Error()}
	}
	data := map[string]any{"queryId": q.id, "sqlState": failed.state, "errorCode": failed.code, "internalError": false}
	if failed.line > 0 {
		data["line"], data["pos"], data["type"] = failed.line, failed.position, "COMPILATION"
	}
	reply, err := json.Marshal(envelope{Data: data, Code: &failed.code, Message: &failed.message})
	if err != nil {
		return []byte(`{"data":null,"code":"000603","message":"SQL execution internal error","success":false}`)
	}
	return reply
}

// resultReply is the reply of a statement that ran.
func (q *query) resultReply(r *result) ([]byte, error) {
	s := q.session
	columns := r.columns
	if columns == nil {
		columns = []column{}
	}
	rows, chunks := r.parts()
	r.look(rows)
	total := r.count
	switch s.faulty {
	case Fewer:
		total++
	case More:
		total--
	default:
	}
	q.session.emulator.mu.Lock()
	q.chunks = chunks
	q.session.emulator.mu.Unlock()
	data := map[string]any{
		"parameters":         s.parameterList(),
		"rowtype":            columns,
		"total":              total,
		"returned":           r.count,
		"queryId":            q.id,
		"sqlState":           nil,
		"databaseProvider":   nil,
		"finalDatabaseName":  nullable(s.database),
		"finalSchemaName":    nullable(s.schema),
		"finalWarehouseName": nullable(s.warehouse),
		"finalRoleName":      s.role,
		"numberOfBinds":      r.binds,
		"arrayBindSupported": false,
		"statementTypeId":    r.typeID,
		"version":            1,
		"queryResultFormat":  "json",
	}
	if chunks != nil {
		data["chunks"], data["chunkHeaders"] = describeChunks(q.base, chunks), map[string]string{}
	}
	if r.ids != "" {
		data["resultIds"], data["resultTypes"] = r.ids, r.types
	}
	if r.arrow != nil {
		data["queryResultFormat"], data["rowsetBase64"] = "arrow", base64.StdEncoding.EncodeToString(r.arrow)
	}
	head, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("writing a reply: %w", err)
	}
	// The rows are JSON already: they are not encoded a second time.
	reply := make([]byte, 0, len(head)+len(rows)+100)
	reply = append(reply, `{"data":{"rowset":[`...)
	reply = append(reply, rows...)
	reply = append(reply, `],`...)
	reply = append(reply, head[1:]...)
	return append(reply, `,"code":null,"message":null,"success":true}`...), nil
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}
