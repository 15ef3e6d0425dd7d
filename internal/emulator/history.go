//go:build cgo

package emulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"querywarden/internal/snowsql/ast"
)

// What an account remembers of itself: every statement with its QUERY_TAG, the
// objects that it reached, and every login.
// docs.snowflake.com/en/sql-reference/account-usage/query_history, …/access_history,
// …/login_history; docs.snowflake.com/en/sql-reference/functions/query_history
//
// A statement is written down before it runs and again when it has ended, in a
// journal beside the database: a process that is killed leaves the beginning
// behind. What the journal holds goes into the catalog when somebody asks for
// it, and when the account is opened and closed.

// journalFile is the journal of an emulator that keeps its data.
const journalFile = "history.jsonl"

// A past is one statement, as far as it has come.
type past struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	Database  string    `json:"database,omitempty"`
	Schema    string    `json:"schema,omitempty"`
	Type      string    `json:"type"`
	Session   int64     `json:"session"`
	User      string    `json:"user"`
	Role      string    `json:"role"`
	Warehouse string    `json:"warehouse,omitempty"`
	Tag       string    `json:"tag,omitempty"`
	Status    string    `json:"status"` // RUNNING, SUCCESS, FAIL, INCIDENT
	Code      string    `json:"code,omitempty"`
	Message   string    `json:"message,omitempty"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end,omitzero"`
	Rows      int       `json:"rows,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`
	reached
}

// reached is what a statement touched. Direct are the objects that its text
// names, base the tables beneath them.
type reached struct {
	Direct   []touched `json:"direct,omitempty"`
	Base     []touched `json:"base,omitempty"`
	Modified []touched `json:"modified,omitempty"`
}

// touched is an object with its columns, in the form of ACCESS_HISTORY.
type touched struct {
	Domain  string          `json:"objectDomain"`
	Name    string          `json:"objectName"`
	Columns []touchedColumn `json:"columns,omitempty"`
}

type touchedColumn struct {
	Name string `json:"columnName"`
}

// A signIn is one login, or the attempt.
type signIn struct {
	Time    time.Time `json:"time"`
	User    string    `json:"user"`
	IP      string    `json:"ip"`
	Client  string    `json:"client,omitempty"`
	Factor  string    `json:"factor,omitempty"`
	Success bool      `json:"success"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
}

// journalLine is a line of the journal: one of its fields.
type journalLine struct {
	Past   *past   `json:"statement,omitempty"`
	SignIn *signIn `json:"login,omitempty"`
}

// history is the record on its way into the catalog.
type history struct {
	mu      sync.Mutex
	file    *os.File // nil for an account in memory
	pending []journalLine
	closed  bool
	// merging lets one at a time bring what is pending into the catalog.
	merging sync.Mutex
}

var historyTables = []string{
	`CREATE TABLE IF NOT EXISTS "_catalog".statements (
		query_id VARCHAR PRIMARY KEY, query_text VARCHAR, database_name VARCHAR, schema_name VARCHAR, query_type VARCHAR, session_id BIGINT,
		user_name VARCHAR, role_name VARCHAR, warehouse_name VARCHAR, query_tag VARCHAR, status VARCHAR, error_code VARCHAR, error_message VARCHAR,
		start_time TIMESTAMPTZ, end_time TIMESTAMPTZ, rows_produced BIGINT, bytes BIGINT, direct JSON, base JSON, modified JSON)`,
	`CREATE TABLE IF NOT EXISTS "_catalog".logins (
		event_id BIGINT, event_timestamp TIMESTAMPTZ, user_name VARCHAR, client_ip VARCHAR, client VARCHAR, factor VARCHAR, success BOOLEAN,
		error_code VARCHAR, error_message VARCHAR)`,
	historyMacro,
	loginMacro,
}

// queryColumns are those of both histories of statements; status is the
// expression of EXECUTION_STATUS, which they spell differently.
func queryColumns(status string) string {
	return `query_id AS "QUERY_ID", query_text AS "QUERY_TEXT", database_name AS "DATABASE_NAME", schema_name AS "SCHEMA_NAME",
		query_type AS "QUERY_TYPE", CAST(session_id AS DECIMAL(38,0)) AS "SESSION_ID", user_name AS "USER_NAME", 'SERVICE_AGENT' AS "USER_TYPE",
		role_name AS "ROLE_NAME", warehouse_name AS "WAREHOUSE_NAME", query_tag AS "QUERY_TAG", ` + status + ` AS "EXECUTION_STATUS",
		error_code AS "ERROR_CODE", error_message AS "ERROR_MESSAGE", start_time AS "START_TIME", end_time AS "END_TIME",
		CAST(coalesce(date_diff('millisecond', start_time, end_time), 0) AS DECIMAL(38,0)) AS "TOTAL_ELAPSED_TIME",
		CAST(bytes AS DECIMAL(38,0)) AS "BYTES_SCANNED", CAST(rows_produced AS DECIMAL(38,0)) AS "ROWS_PRODUCED",
		CAST(0 AS DOUBLE) AS "CREDITS_USED_CLOUD_SERVICES", 'EXTERNAL_AGENT' AS "AGENT_TYPE"`
}

// historyMacro is the table function QUERY_HISTORY and its relatives: by says
// whose.
var historyMacro = `CREATE OR REPLACE MACRO sf_query_history(since, until, n, who, sess, wh) AS TABLE
	SELECT ` + queryColumns(`CASE status WHEN 'FAIL' THEN 'FAILED_WITH_ERROR' WHEN 'INCIDENT' THEN 'FAILED_WITH_INCIDENT' ELSE status END`) + `
	FROM (SELECT * FROM "_catalog".statements
		WHERE (since IS NULL OR end_time >= since OR end_time IS NULL) AND (until IS NULL OR end_time <= until)
		AND (who IS NULL OR user_name = who) AND (sess IS NULL OR session_id = sess) AND (wh IS NULL OR warehouse_name = wh)
		AND start_time > now() - INTERVAL 7 days
		QUALIFY row_number() OVER (ORDER BY start_time DESC, query_id) <= coalesce(n, 100))`

const loginColumns = `CAST(event_id AS DECIMAL(38,0)) AS "EVENT_ID", event_timestamp AS "EVENT_TIMESTAMP", 'LOGIN' AS "EVENT_TYPE", user_name AS "USER_NAME",
	client_ip AS "CLIENT_IP", client AS "REPORTED_CLIENT_TYPE", factor AS "FIRST_AUTHENTICATION_FACTOR",
	CASE WHEN success THEN 'YES' ELSE 'NO' END AS "IS_SUCCESS", error_code AS "ERROR_CODE", error_message AS "ERROR_MESSAGE"`

const loginMacro = `CREATE OR REPLACE MACRO sf_login_history(since, until, n, who) AS TABLE
	SELECT ` + loginColumns + ` FROM (SELECT * FROM "_catalog".logins
		WHERE (since IS NULL OR event_timestamp >= since) AND (until IS NULL OR event_timestamp <= until) AND (who IS NULL OR user_name = who)
		QUALIFY row_number() OVER (ORDER BY event_timestamp DESC, event_id DESC) <= coalesce(n, 100))`

// usageViews are the views of SNOWFLAKE.ACCOUNT_USAGE. Here they are complete
// at once; in an account they are up to hours late.
var usageViews = map[string]string{
	"TAG_REFERENCES": tagReferencesView,
	"QUERY_HISTORY":  `SELECT ` + queryColumns(`status`) + ` FROM "_catalog".statements WHERE status <> 'RUNNING'`,
	"ACCESS_HISTORY": `SELECT query_id AS "QUERY_ID", start_time AS "QUERY_START_TIME", user_name AS "USER_NAME", direct AS "DIRECT_OBJECTS_ACCESSED",
		base AS "BASE_OBJECTS_ACCESSED", modified AS "OBJECTS_MODIFIED" FROM "_catalog".statements
		WHERE status = 'SUCCESS' AND (direct <> '[]' OR base <> '[]' OR modified <> '[]')`,
	"POLICY_REFERENCES": `SELECT policy_name AS "POLICY_NAME", policy_kind AS "POLICY_KIND", object_database AS "REF_DATABASE_NAME", object_schema AS "REF_SCHEMA_NAME",
		object_name AS "REF_ENTITY_NAME", column_name AS "REF_COLUMN_NAME" FROM "_catalog".policy_references`,
	"GRANTS_TO_ROLES": `SELECT created AS "CREATED_ON", privilege AS "PRIVILEGE", granted_on AS "GRANTED_ON", name AS "NAME", grantee AS "GRANTEE_NAME",
		CAST(NULL AS TIMESTAMPTZ) AS "DELETED_ON" FROM "_catalog".grants WHERE granted_to = 'ROLE'`,
	"GRANTS_TO_USERS": `SELECT created AS "CREATED_ON", name AS "ROLE", grantee AS "GRANTEE_NAME", CAST(NULL AS TIMESTAMPTZ) AS "DELETED_ON"
		FROM "_catalog".grants WHERE granted_to = 'USER' AND granted_on = 'ROLE'`,
	"LOGIN_HISTORY": `SELECT ` + loginColumns + ` FROM "_catalog".logins`,
}

// openHistory reads what an earlier process has left in the journal.
func (e *Emulator) openHistory(dir string) error {
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, journalFile)
	left, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the history: %w", err)
	}
	byID := map[string]*past{}
	for line := range strings.Lines(string(left)) {
		var l journalLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			continue // the last line of a process that was killed
		}
		if l.Past == nil {
			e.history.pending = append(e.history.pending, l)
			continue
		}
		if known := byID[l.Past.ID]; known != nil {
			*known = *l.Past
			continue
		}
		byID[l.Past.ID] = l.Past
		e.history.pending = append(e.history.pending, l)
	}
	for _, p := range byID {
		if p.Status == "RUNNING" {
			// Nobody knows how far it came.
			p.Status, p.Code, p.Message, p.End = "INCIDENT", "000603", "SQL execution internal error", p.Start
		}
	}
	if e.history.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	return nil
}

// note writes a line down. It is called before what it tells of has an effect
// that outlives the process.
func (h *history) note(l journalLine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("writing the history: it is closed")
	}
	h.pending = append(h.pending, l)
	if h.file == nil {
		return nil
	}
	line, err := json.Marshal(l)
	if err == nil {
		_, err = h.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}

// mergeHistory brings what is pending into the catalog, so that it can be
// asked for.
func (e *Emulator) mergeHistory(ctx context.Context) error {
	h := &e.history
	h.merging.Lock()
	defer h.merging.Unlock()
	h.mu.Lock()
	lines := h.pending
	h.pending = nil
	h.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	err := e.writeHistory(ctx, lines)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.pending = append(lines, h.pending...)
		return err
	}
	if h.file != nil && len(h.pending) == 0 {
		// All of the journal is in the database now, and the database's own
		// log is on disk.
		if err := h.file.Truncate(0); err != nil {
			return fmt.Errorf("shortening the history: %w", err)
		}
	}
	return nil
}

func (e *Emulator) writeHistory(ctx context.Context, lines []journalLine) (err error) {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("merging the history: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := exec(ctx, conn, "BEGIN TRANSACTION"); err != nil {
		return fmt.Errorf("merging the history: %w", err)
	}
	for _, l := range lines {
		if p := l.Past; p != nil {
			err = exec(ctx, conn, `INSERT OR REPLACE INTO "_catalog".statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				p.ID, p.Text, nullable(p.Database), nullable(p.Schema), p.Type, p.Session, p.User, p.Role, nullable(p.Warehouse), p.Tag,
				p.Status, nullable(p.Code), nullable(p.Message), p.Start, when(p.End), p.Rows, p.Bytes, touchedJSON(p.Direct), touchedJSON(p.Base), touchedJSON(p.Modified))
		} else if s := l.SignIn; s != nil {
			err = exec(ctx, conn, `INSERT INTO "_catalog".logins SELECT coalesce(max(event_id), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ? FROM "_catalog".logins`,
				s.Time, s.User, s.IP, s.Client, nullable(s.Factor), s.Success, nullable(s.Code), nullable(s.Message))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("merging the history: %w", err), rollback(ctx, conn))
		}
	}
	if err := exec(ctx, conn, "COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("merging the history: %w", err), rollback(ctx, conn))
	}
	return nil
}

func when(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func touchedJSON(list []touched) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil { // of strings, it cannot
		return "[]"
	}
	return string(text)
}

// closeHistory keeps what is pending. The engine must still be there.
func (e *Emulator) closeHistory() error {
	err := e.mergeHistory(context.Background())
	h := &e.history
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.file == nil {
		return err
	}
	return errors.Join(err, h.file.Close())
}

// begun writes down that a statement is about to run.
func (q *query) begun() error {
	s := q.session
	q.past = past{
		ID: q.id, Text: q.text, Database: s.database, Schema: s.schema, Type: "UNKNOWN", Session: s.id, User: s.user.name, Role: s.role,
		Warehouse: s.warehouse, Tag: q.tag, Status: "RUNNING", Start: q.started.UTC(),
	}
	line := q.past
	return s.emulator.history.note(journalLine{Past: &line})
}

// over writes down how it ended.
func (q *query) over(rows int, bytes int64, err error) {
	p := q.past
	p.End, p.Rows, p.Bytes, p.Status = time.Now().UTC(), rows, bytes, "SUCCESS"
	p.Type, p.reached = q.session.kind, q.session.reached
	var failed *sqlError
	if errors.As(err, &failed) {
		p.Status, p.Code, p.Message = "FAIL", failed.code, failed.message
	} else if err != nil {
		p.Status, p.Code, p.Message = "INCIDENT", "000603", err.Error()
	}
	if err := q.session.emulator.history.note(journalLine{Past: &p}); err != nil {
		q.session.emulator.logger.Error("keeping the history", "error", err)
	}
}

// kindOfStatement is QUERY_TYPE of a statement.
func kindOfStatement(stmt ast.Statement) string {
	words := func(parts ...string) string { return strings.ReplaceAll(strings.Join(parts, "_"), " ", "_") }
	switch n := stmt.(type) {
	case *ast.QueryStmt:
		return "SELECT"
	case *ast.Show:
		return "SHOW"
	case *ast.Describe:
		return "DESCRIBE"
	case *ast.Explain:
		return "EXPLAIN"
	case *ast.Insert, *ast.MultiInsert:
		return "INSERT"
	case *ast.Update:
		return "UPDATE"
	case *ast.Delete:
		return "DELETE"
	case *ast.Merge:
		return "MERGE"
	case *ast.Create:
		if n.As != nil && n.Kind == "TABLE" {
			return "CREATE_TABLE_AS_SELECT"
		}
		return words("CREATE", n.Kind)
	case *ast.Drop:
		return words("DROP", n.Kind)
	case *ast.Undrop:
		return words("RESTORE", n.Kind)
	case *ast.Truncate:
		return "TRUNCATE_TABLE"
	case *ast.Alter:
		return words("ALTER", n.Kind)
	case *ast.Comment:
		return "COMMENT"
	case *ast.Use:
		return "USE"
	case *ast.SetVar:
		return "SET"
	case *ast.UnsetVar:
		return "UNSET"
	case *ast.Transaction:
		verb, _, _ := strings.Cut(n.Verb, " ")
		return words(verb, "TRANSACTION")
	case *ast.Grant:
		if n.Revoke {
			return "REVOKE"
		}
		return "GRANT"
	case *ast.Copy:
		if n.Table == nil {
			return "UNLOAD"
		}
		return "COPY"
	case *ast.StageCommand:
		return n.Verb + "_FILES"
	default:
		return "UNKNOWN"
	}
}

// see notes what a compiled query reads: relations are what its text names, and
// DuckDB's plan says which tables lie beneath them and which of their columns
// are read. Columns that the plan can do without are not in it.
func (s *session) see(ctx context.Context, r *resolver, text string) error {
	if len(r.relations) == 0 {
		return nil
	}
	if err := s.needsWarehouse(ctx); err != nil {
		return err
	}
	for _, o := range r.relations {
		s.reached.Direct = addTouched(s.reached.Direct, o, nil)
	}
	plan, err := s.plan(ctx, text)
	if err != nil {
		return err
	}
	for _, scan := range plan {
		s.reached.Base = addTouched(s.reached.Base, scan.object, scan.columns)
	}
	return nil
}

// modifies notes what a statement writes to.
func (s *session) modifies(o object) {
	s.reached.Modified = addTouched(s.reached.Modified, o, nil)
}

func addTouched(list []touched, o object, columns []string) []touched {
	domain := "Table"
	if o.kind == "VIEW" {
		domain = "View"
	}
	at := -1
	for i := range list {
		if list[i].Name == o.String() {
			at = i
		}
	}
	if at < 0 {
		list, at = append(list, touched{Domain: domain, Name: o.String()}), len(list)
	}
next:
	for _, c := range columns {
		for _, known := range list[at].Columns {
			if known.Name == c {
				continue next
			}
		}
		list[at].Columns = append(list[at].Columns, touchedColumn{c})
	}
	return list
}

// A scan is a table that a plan reads.
type scan struct {
	object
	columns []string
	rows    int64 // as DuckDB estimates
}

// A planNode is what DuckDB's EXPLAIN (FORMAT json) says of a step.
type planNode struct {
	Name     string         `json:"name"`
	Children []planNode     `json:"children"`
	Extra    map[string]any `json:"extra_info"`
}

// plan is the tables that a DuckDB query reads, each once: those of the plan as
// written, since the optimizer drops a table that it knows to be empty, with
// the columns of the plan that would run.
func (s *session) plan(ctx context.Context, text string) ([]scan, error) {
	rows, err := s.conn.QueryContext(ctx, "EXPLAIN (FORMAT json) "+text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var scans []scan
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		if name != "logical_plan" && name != "physical_plan" {
			continue
		}
		var nodes []planNode
		if err := json.NewDecoder(bufio.NewReader(strings.NewReader(value))).Decode(&nodes); err != nil {
			return nil, fmt.Errorf("reading a plan: %w", err)
		}
		for _, n := range nodes {
			scans = n.scans(scans)
		}
	}
	return scans, rows.Err()
}

// scans adds the tables below a step that are an account's.
func (n planNode) scans(list []scan) []scan {
	if name, ok := n.Extra["Table"].(string); ok {
		if o, ok := objectOfEngine(name); ok {
			at := -1
			for i := range list {
				if list[i].object == o {
					at = i
				}
			}
			if at < 0 {
				list, at = append(list, scan{object: o}), len(list)
			}
			switch p := n.Extra["Projections"].(type) {
			case string:
				list[at].columns = append(list[at].columns, p)
			case []any:
				for _, c := range p {
					if c, ok := c.(string); ok {
						list[at].columns = append(list[at].columns, c)
					}
				}
			}
			if rows, ok := n.Extra["Estimated Cardinality"].(string); ok {
				var count int64
				if _, err := fmt.Sscan(rows, &count); err == nil {
					list[at].rows = count
				}
			}
		}
	}
	for _, c := range n.Children {
		list = c.scans(list)
	}
	return list
}

// objectOfEngine reads a table's name in a plan: memory."RETAIL.PUBLIC".T.
func objectOfEngine(name string) (object, bool) {
	var parts []string
	for name != "" {
		var part string
		if strings.HasPrefix(name, `"`) {
			end := 1
			for end < len(name) {
				if name[end] == '"' {
					if end+1 < len(name) && name[end+1] == '"' {
						end++
					} else {
						break
					}
				}
				end++
			}
			if end >= len(name) {
				return object{}, false
			}
			part, name = strings.ReplaceAll(name[1:end], `""`, `"`), name[end+1:]
			name = strings.TrimPrefix(name, ".")
		} else {
			part, name, _ = strings.Cut(name, ".")
		}
		parts = append(parts, part)
	}
	if len(parts) != 3 {
		return object{}, false
	}
	database, schema, ok := strings.Cut(parts[1], ".")
	if !ok {
		return object{}, false // the emulator's own
	}
	unescape := strings.NewReplacer("%2E", ".", "%25", "%")
	return object{unescape.Replace(database), unescape.Replace(schema), parts[2], "BASE TABLE"}, true
}

// historyFunctions are the table functions of INFORMATION_SCHEMA: the macro,
// and the macro's parameters by the names of theirs, in order.
var historyFunctions = map[string]struct {
	macro  string
	params []string
}{
	"QUERY_HISTORY":              {"SF_QUERY_HISTORY", []string{"END_TIME_RANGE_START", "END_TIME_RANGE_END", "RESULT_LIMIT", "", "", ""}},
	"QUERY_HISTORY_BY_USER":      {"SF_QUERY_HISTORY", []string{"END_TIME_RANGE_START", "END_TIME_RANGE_END", "RESULT_LIMIT", "USER_NAME", "", ""}},
	"QUERY_HISTORY_BY_SESSION":   {"SF_QUERY_HISTORY", []string{"END_TIME_RANGE_START", "END_TIME_RANGE_END", "RESULT_LIMIT", "", "SESSION_ID", ""}},
	"QUERY_HISTORY_BY_WAREHOUSE": {"SF_QUERY_HISTORY", []string{"END_TIME_RANGE_START", "END_TIME_RANGE_END", "RESULT_LIMIT", "", "", "WAREHOUSE_NAME"}},
	"LOGIN_HISTORY":              {"SF_LOGIN_HISTORY", []string{"TIME_RANGE_START", "TIME_RANGE_END", "RESULT_LIMIT", ""}},
	"LOGIN_HISTORY_BY_USER":      {"SF_LOGIN_HISTORY", []string{"TIME_RANGE_START", "TIME_RANGE_END", "RESULT_LIMIT", "USER_NAME"}},
}

// tableFunction puts the emulator's macro in the place of a table function that
// tells of the past.
func (s *session) tableFunction(ctx context.Context, n *ast.TableFunc) error {
	c, ok := n.Call.(*ast.Call)
	if !ok || c.Name.Dynamic != nil || len(c.Name.Parts) < 2 || c.Name.Parts[len(c.Name.Parts)-2].Fold() != informationSchema {
		return nil
	}
	f, ok := historyFunctions[c.Name.Parts[len(c.Name.Parts)-1].Fold()]
	if !ok {
		return nil
	}
	args := make([]ast.Expr, len(f.params))
	for i := range args {
		args[i] = &ast.Literal{Kind: ast.NullLiteral}
	}
	for _, a := range c.Args {
		named, ok := a.(*ast.NamedArg)
		if !ok {
			return errUnsupported("arguments of %s without their names", c.Name.Fold())
		}
		known := false
		for i, p := range f.params {
			if p != "" && p == named.Name.Fold() {
				args[i], known = named.Value, true
			}
		}
		if !known {
			return errUnsupported("the argument %s", named.Name.Fold())
		}
	}
	n.Call, n.Table = &ast.Call{Name: ast.NewObjectName(f.macro), Args: args}, false
	return s.emulator.mergeHistory(ctx)
}
