//go:build cgo

package emulator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"querywarden/internal/snowsql/ast"
)

// A job is one statement to run. Running it changes its tree.
type job struct {
	source   string // the text that the tree's places are of
	stmt     ast.Statement
	bindings map[string]binding
	describe bool // only the columns are asked for
}

// text is the statement as it was written.
func (j *job) text() string { return j.source[j.stmt.Pos():j.stmt.End()] }

// run runs one statement. The caller has the session's turn.
func (s *session) run(ctx context.Context, j *job) (*result, error) {
	s.kind = kindOfStatement(j.stmt)
	if err := s.bind(j); err != nil {
		return nil, err
	}
	switch n := j.stmt.(type) {
	case *ast.QueryStmt:
		return s.query(ctx, j, n.Query)
	case *ast.Show:
		return s.show(ctx, n)
	case *ast.Describe:
		return s.describe(ctx, n)
	case *ast.Explain:
		return s.explain(ctx, j, n)
	}
	if s.scope == readScope && !readsOnly(j.stmt) {
		return nil, &sqlError{code: "003001", state: "42501", message: "SQL access control error:\nThe restricted session scope " + readScope + " does not allow this operation."}
	}
	if j.describe {
		// The columns of everything else are known without running it, but no
		// client has asked yet.
		return nil, errUnsupported("describe-only of this statement")
	}
	switch n := j.stmt.(type) {
	case *ast.Insert:
		return s.insert(ctx, j, n)
	case *ast.Update:
		return s.update(ctx, j, n)
	case *ast.Delete:
		return s.delete(ctx, j, n)
	case *ast.Merge:
		return s.merge(ctx, j, n)
	case *ast.Create:
		return s.create(ctx, j, n)
	case *ast.Drop:
		return s.drop(ctx, n)
	case *ast.Undrop:
		return s.undrop(ctx, n)
	case *ast.Grant:
		return s.grant(ctx, n)
	case *ast.Truncate:
		return s.truncate(ctx, n)
	case *ast.Alter:
		return s.alter(ctx, j, n)
	case *ast.Comment:
		return s.comment(ctx, n)
	case *ast.Use:
		return s.use(ctx, n)
	case *ast.SetVar:
		return s.setVariables(ctx, n)
	case *ast.UnsetVar:
		for _, name := range n.Names {
			delete(s.variables, name.Fold())
		}
		return status(typeSession, "Statement executed successfully."), nil
	case *ast.Transaction:
		return s.transaction(ctx, n)
	default:
		word, _, _ := strings.Cut(strings.TrimSpace(j.text()), " ")
		return nil, errUnsupported("%s", strings.ToUpper(word))
	}
}

// readScope is the restricted session scope that reads only.
const readScope = "SNOWFLAKE$DATA_READ"

// readsOnly reports whether a statement changes nothing but the session.
func readsOnly(stmt ast.Statement) bool {
	switch n := stmt.(type) {
	case *ast.QueryStmt, *ast.Show, *ast.Describe, *ast.Explain, *ast.Use, *ast.Transaction, *ast.SetVar, *ast.UnsetVar:
		return true
	case *ast.Alter:
		return n.Kind == "SESSION"
	default:
		return false
	}
}

// query runs a query and sends its rows.
func (s *session) query(ctx context.Context, j *job, q ast.Query) (*result, error) {
	nameColumns(q, j.source)
	declared, text, err := s.compile(ctx, q)
	if err != nil {
		return nil, err
	}
	r, err := s.selectRows(ctx, text, declared, j.describe)
	if err != nil {
		return nil, err
	}
	r.binds = len(j.bindings)
	return r, nil
}

// compile turns a query into DuckDB's dialect, its names resolved, and says
// which of its columns have a declared type.
func (s *session) compile(ctx context.Context, q ast.Query) (declared []*dataType, text string, err error) {
	r := &resolver{session: s}
	if err := r.resolve(ctx, q); err != nil {
		return nil, "", err
	}
	declared = r.declared(ctx, q)
	if text, err = s.duckDB(q); err != nil {
		return nil, "", err
	}
	return declared, text, s.see(ctx, r, text)
}

// duckDB prints a resolved tree in DuckDB's dialect.
func (s *session) duckDB(n ast.Node) (string, error) {
	if err := s.adapt(n); err != nil {
		return "", err
	}
	text, err := ast.Print(n, ast.DuckDB)
	if err != nil {
		return "", errUnsupported("%s", err.Error())
	}
	return text, nil
}

// change runs DML and returns how many rows DuckDB says it touched.
func (s *session) change(ctx context.Context, r *resolver, n ast.Node) (int64, error) {
	text, err := s.duckDB(n)
	if err != nil {
		return 0, err
	}
	if err := s.see(ctx, r, text); err != nil {
		return 0, err
	}
	done, err := s.conn.ExecContext(ctx, text)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// target resolves the table that a statement writes to.
func (s *session) target(ctx context.Context, name *ast.ObjectName, privilege string) (object, error) {
	o, err := s.lookup(ctx, name)
	if err != nil {
		return o, err
	}
	if err := s.may(ctx, privilege, o); err != nil {
		return o, err
	}
	if o.kind != "BASE TABLE" {
		return o, &sqlError{code: "001003", state: "42601", message: compilation + "Object '" + o.String() + "' is not a table."}
	}
	s.modifies(o)
	*name = *o.engineName()
	return o, nil
}

func (s *session) insert(ctx context.Context, _ *job, n *ast.Insert) (*result, error) {
	r := &resolver{session: s}
	if err := r.resolve(ctx, n.Source); err != nil {
		return nil, err
	}
	if _, err := s.target(ctx, n.Target, "INSERT"); err != nil {
		return nil, err
	}
	overwrite := n.Overwrite
	n.Overwrite = false
	var rows int64
	err := s.atomically(ctx, func() (err error) {
		if overwrite {
			if _, err := s.change(ctx, &resolver{}, &ast.Delete{Target: n.Target}); err != nil {
				return err
			}
		}
		rows, err = s.change(ctx, r, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return counters(typeInsert, []string{"number of rows inserted"}, []int64{rows}), nil
}

func (s *session) update(ctx context.Context, _ *job, n *ast.Update) (*result, error) {
	r := &resolver{session: s}
	if err := r.resolve(ctx, n); err != nil {
		return nil, err
	}
	for _, a := range n.Set {
		a.Column = a.Column[len(a.Column)-1:]
	}
	rows, err := s.change(ctx, r, n)
	if err != nil {
		return nil, err
	}
	return counters(typeUpdate, []string{"number of rows updated", "number of multi-joined rows updated"}, []int64{rows, 0}), nil
}

func (s *session) delete(ctx context.Context, _ *job, n *ast.Delete) (*result, error) {
	r := &resolver{session: s}
	if err := r.resolve(ctx, n); err != nil {
		return nil, err
	}
	rows, err := s.change(ctx, r, n)
	if err != nil {
		return nil, err
	}
	return counters(typeDelete, []string{"number of rows deleted"}, []int64{rows}), nil
}

func (s *session) merge(ctx context.Context, _ *job, n *ast.Merge) (*result, error) {
	r := &resolver{session: s}
	if err := r.resolve(ctx, n); err != nil {
		return nil, err
	}
	// Snowflake has a counter for each kind of action that the statement
	// could take.
	var names, actions []string
	for _, kind := range [][2]string{{"INSERT", "inserted"}, {"UPDATE", "updated"}, {"DELETE", "deleted"}} {
		for _, w := range n.Whens {
			if strings.HasPrefix(w.Action, kind[0]) {
				actions, names = append(actions, kind[0]), append(names, "number of rows "+kind[1])
				break
			}
		}
	}
	for _, w := range n.Whens {
		for _, a := range w.Set {
			a.Column = a.Column[len(a.Column)-1:]
		}
	}
	text, err := s.duckDB(n)
	if err != nil {
		return nil, err
	}
	if err := s.see(ctx, r, text); err != nil {
		return nil, err
	}
	taken, err := texts(ctx, s.conn, text+" RETURNING merge_action")
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(actions))
	for _, action := range taken {
		for i := range actions {
			if actions[i] == action {
				values[i]++
			}
		}
	}
	return counters(typeMerge, names, values), nil
}

// atomically runs f in a transaction: the session's, or one of its own.
func (s *session) atomically(ctx context.Context, f func() error) error {
	if s.inTx {
		return f()
	}
	if err := exec(ctx, s.conn, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return errors.Join(err, rollback(ctx, s.conn))
	}
	if err := exec(ctx, s.conn, "COMMIT"); err != nil {
		return errors.Join(err, rollback(ctx, s.conn))
	}
	return nil
}

// define runs a change of the catalog, which in Snowflake commits the open
// transaction first and cannot be rolled back.
func (s *session) define(ctx context.Context, f func() error) error {
	if s.inTx {
		if err := s.endTransaction(ctx, "COMMIT"); err != nil {
			return err
		}
	}
	s.emulator.ddl.Lock()
	defer s.emulator.ddl.Unlock()
	return s.atomically(ctx, f)
}

func (s *session) endTransaction(ctx context.Context, verb string) error {
	s.inTx = false
	return exec(ctx, s.conn, verb)
}

func (s *session) transaction(ctx context.Context, n *ast.Transaction) (*result, error) {
	verb, _, _ := strings.Cut(n.Verb, " ")
	switch verb {
	case "BEGIN", "START":
		// Within a transaction, BEGIN does nothing.
		if !s.inTx {
			if err := exec(ctx, s.conn, "BEGIN TRANSACTION"); err != nil {
				return nil, err
			}
			s.inTx = true
		}
	case "COMMIT", "ROLLBACK":
		// Outside of one, both do nothing.
		if s.inTx {
			if err := s.endTransaction(ctx, verb); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errUnsupported("%s", n.Verb)
	}
	return status(typeTx, "Statement executed successfully."), nil
}

func (s *session) use(ctx context.Context, n *ast.Use) (*result, error) {
	var parts []string
	if len(n.Names) == 1 {
		if n.Names[0].Dynamic != nil {
			return nil, errUnsupported("IDENTIFIER")
		}
		for _, p := range n.Names[0].Parts {
			if p != nil {
				parts = append(parts, p.Fold())
			}
		}
	}
	name := strings.Join(parts, ".")
	switch kind := n.Kind; {
	case kind == "ROLE" && len(parts) == 1:
		if ok, err := s.mayUse(ctx, name); err != nil {
			return nil, err
		} else if !ok {
			return nil, &sqlError{code: "003013", state: "42501", message: compilation + "Requested role '" + name + "' is not assigned to the executing user. Specify another role to activate."}
		}
		s.role = name
	case kind == "WAREHOUSE" && len(parts) == 1:
		s.warehouse = name
	case kind == "SCHEMA" && len(parts) == 1:
		parts = append([]string{s.database}, parts...)
		fallthrough
	case (kind == "SCHEMA" || kind == "" || kind == "DATABASE") && len(parts) == 2 && kind != "DATABASE":
		known, err := s.schemaExists(ctx, parts[0], parts[1])
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, errNoPlace(name)
		}
		s.database, s.schema = parts[0], parts[1]
	case (kind == "DATABASE" || kind == "") && len(parts) == 1:
		known, err := s.databaseExists(ctx, name)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, errNoPlace(name)
		}
		s.database, s.schema = name, ""
		if known, err = s.schemaExists(ctx, name, publicSchema); err != nil {
			return nil, err
		} else if known {
			s.schema = publicSchema
		}
	case strings.HasPrefix(kind, "SECONDARY ROLES"):
		// They are told of, and add no rights here.
		s.secondary = strings.HasSuffix(kind, "ALL")
	default:
		return nil, errUnsupported("USE %s", kind)
	}
	return status(typeUse, "Statement executed successfully."), nil
}

func (s *session) setVariables(ctx context.Context, n *ast.SetVar) (*result, error) {
	if len(n.Names) != len(n.Values) {
		return nil, &sqlError{code: "001003", state: "42601", message: compilation + fmt.Sprintf("%d names for %d values.", len(n.Names), len(n.Values))}
	}
	query := &ast.Select{}
	for _, v := range n.Values {
		query.Items = append(query.Items, &ast.SelectItem{Expr: v})
	}
	_, text, err := s.compile(ctx, query)
	if err != nil {
		return nil, err
	}
	values := make([]any, len(n.Names))
	into := make([]any, len(n.Names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := s.conn.QueryRowContext(ctx, text).Scan(into...); err != nil {
		return nil, err
	}
	for i, name := range n.Names {
		s.variables[name.Fold()] = literalOf(values[i])
	}
	return status(typeSession, "Statement executed successfully."), nil
}

func literalOf(v any) *ast.Literal {
	switch v := v.(type) {
	case nil:
		return &ast.Literal{Kind: ast.NullLiteral}
	case bool:
		return &ast.Literal{Kind: ast.BoolLiteral, Value: strings.ToUpper(fmt.Sprint(v))}
	case string:
		return &ast.Literal{Kind: ast.StringLiteral, Value: v}
	case int8, int16, int32, int64, float64, fmt.Stringer:
		text := fmt.Sprint(v)
		if strings.Trim(text, "+-.0123456789e") == "" {
			return &ast.Literal{Kind: ast.NumberLiteral, Value: text}
		}
		return &ast.Literal{Kind: ast.StringLiteral, Value: text}
	default:
		return &ast.Literal{Kind: ast.StringLiteral, Value: fmt.Sprint(v)}
	}
}
