//go:build cgo

package emulator

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"strings"

	"querywarden/internal/snowsql/ast"
)

// Snowflake's databases are one DuckDB file: a schema there is a database and
// a schema here, with a dot between their names. Anything without a dot is
// the emulator's own and cannot be named by a statement.

var engineEscapes = strings.NewReplacer("%", "%25", ".", "%2E")

// engineSchema is the DuckDB schema that holds a schema's objects.
func engineSchema(database, schema string) string {
	return engineEscapes.Replace(database) + "." + engineEscapes.Replace(schema)
}

// An object is a table or view of the catalog.
type object struct {
	database, schema, name string
	kind                   string // BASE TABLE or VIEW
}

// String returns the object's name as messages have it.
func (o object) String() string { return o.database + "." + o.schema + "." + o.name }

// engineName is the object's name in DuckDB.
func (o object) engineName() *ast.ObjectName {
	return ast.NewObjectName(engineSchema(o.database, o.schema), o.name)
}

// engineText is that name as text.
func (o object) engineText() string {
	return quoteIdent(engineSchema(o.database, o.schema)) + "." + quoteIdent(o.name)
}

// qualify completes a name of an object from where the session stands.
func (s *session) qualify(name *ast.ObjectName) (object, error) {
	if name.Dynamic != nil {
		return object{}, errUnsupported("IDENTIFIER")
	}
	o := object{database: s.database, schema: s.schema}
	parts := name.Parts
	o.name = parts[len(parts)-1].Fold()
	switch len(parts) {
	case 2:
		o.schema = parts[0].Fold()
	case 3:
		o.database, o.schema = parts[0].Fold(), publicSchema // db..name
		if parts[1] != nil {
			o.schema = parts[1].Fold()
		}
	}
	if o.database == "" || o.schema == "" {
		return object{}, &sqlError{code: "090105", state: "22000", message: "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name."}
	}
	return o, nil
}

// lookup finds the table or view of a name.
func (s *session) lookup(ctx context.Context, name *ast.ObjectName) (object, error) {
	o, err := s.qualify(name)
	if err != nil {
		return o, err
	}
	if o.kind, err = s.kindOf(ctx, o); err != nil {
		return o, err
	}
	if o.kind == "" {
		return o, errNoObject("Object", o.String())
	}
	return o, nil
}

// kindOf returns the kind of an object, empty if there is none.
func (s *session) kindOf(ctx context.Context, o object) (kind string, err error) {
	row := s.conn.QueryRowContext(ctx, `SELECT table_type FROM "_catalog".tables WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, o.database, o.schema, o.name)
	if err = row.Scan(&kind); errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return kind, err
}

func (s *session) databaseExists(ctx context.Context, database string) (bool, error) {
	found, err := texts(ctx, s.conn, `SELECT database_name FROM "_catalog".databases WHERE database_name = ?`, database)
	return len(found) > 0, err
}

func (s *session) schemaExists(ctx context.Context, database, schema string) (bool, error) {
	found, err := texts(ctx, s.conn, `SELECT schema_name FROM "_catalog".schemata WHERE catalog_name = ? AND schema_name = ?`, database, schema)
	return len(found) > 0, err
}

func errNoPlace(name string) *sqlError {
	return &sqlError{code: "002043", state: "02000", message: compilation + "Object does not exist, or operation cannot be performed: '" + name + "'."}
}

// A resolver puts DuckDB's names in the place of Snowflake's.
type resolver struct {
	session *session
	// relations remembers what each table reference was.
	relations map[*ast.Table]object
	// owner says that the names are those of a view, which reads as its owner.
	owner bool
	// target is the table that the statement changes.
	target *object
}

// resolve replaces the names of tables and views below n, those of common
// table expressions excepted.
func (r *resolver) resolve(ctx context.Context, n ast.Node) error {
	if r.relations == nil {
		r.relations = map[*ast.Table]object{}
	}
	return r.node(ctx, n, map[string]bool{})
}

func (r *resolver) node(ctx context.Context, n ast.Node, ctes map[string]bool) error {
	switch n := n.(type) {
	case *ast.With:
		return r.with(ctx, n, ctes)
	case *ast.Table:
		if len(n.Name.Parts) != 1 || !ctes[n.Name.Parts[0].Fold()] {
			o, err := r.session.lookup(ctx, n.Name)
			if err != nil {
				return err
			}
			if !r.owner {
				if err := r.session.may(ctx, "SELECT", o); err != nil {
					return err
				}
			}
			if o.database == accountDatabase && o.schema == accountUsage {
				if err := r.session.emulator.mergeHistory(ctx); err != nil {
					return err
				}
			}
			r.relations[n] = o
			*n.Name = *o.engineName()
		}
	case *ast.TableFunc:
		if err := r.session.tableFunction(ctx, n); err != nil {
			return err
		}
	case *ast.Update:
		if err := r.change(ctx, n.Target, "UPDATE"); err != nil {
			return err
		}
	case *ast.Delete:
		if err := r.change(ctx, n.Target, "DELETE"); err != nil {
			return err
		}
	case *ast.Merge:
		if err := r.change(ctx, n.Target, "INSERT"); err != nil {
			return err
		}
	}
	var errs []error
	ast.Children(n, func(c ast.Node) {
		if len(errs) == 0 {
			if err := r.node(ctx, c, ctes); err != nil {
				errs = append(errs, err)
			}
		}
	})
	return errors.Join(errs...)
}

// change resolves the table that a statement changes.
func (r *resolver) change(ctx context.Context, name *ast.ObjectName, privilege string) error {
	o, err := r.session.target(ctx, name, privilege)
	r.target = &o
	return err
}

// with resolves WITH. A table expression that names itself is recursive,
// whether or not it says so, unless there is a table of that name.
func (r *resolver) with(ctx context.Context, n *ast.With, outer map[string]bool) error {
	ctes := maps.Clone(outer)
	for _, cte := range n.CTEs {
		name := cte.Name.Fold()
		inner := ctes
		if !n.Recursive {
			if _, err := r.session.lookup(ctx, &ast.ObjectName{Parts: []*ast.Ident{cte.Name}}); err != nil {
				inner = maps.Clone(ctes)
				inner[name] = true
			}
		} else {
			ctes[name] = true
		}
		if err := r.node(ctx, cte.Query, inner); err != nil {
			return err
		}
		ctes[name] = true
	}
	n.Recursive = true // allows it; the tables are qualified by now
	return r.node(ctx, n.Body, ctes)
}

// declared returns the declared types of a query's columns where they can be
// followed to a table, and nil where not. The names must be resolved.
func (r *resolver) declared(ctx context.Context, q ast.Query) []*dataType {
	columns := r.columnsOf(ctx, q, map[string][]typedColumn{})
	types := make([]*dataType, len(columns))
	for i, c := range columns {
		types[i] = c.typ
	}
	return types
}

// A typedColumn is a column of a relation; typ is nil if it is not known.
type typedColumn struct {
	name string
	typ  *dataType
}

// columnsOf returns a query's columns, or nil if how many there are is not
// known.
func (r *resolver) columnsOf(ctx context.Context, q ast.Query, ctes map[string][]typedColumn) []typedColumn {
	switch q := q.(type) {
	case *ast.Paren:
		return r.columnsOf(ctx, q.Query, ctes)
	case *ast.With:
		inner := maps.Clone(ctes)
		for _, cte := range q.CTEs {
			if cte.Columns == nil {
				inner[cte.Name.Fold()] = r.columnsOf(ctx, cte.Query, inner)
			} else {
				delete(inner, cte.Name.Fold())
			}
		}
		return r.columnsOf(ctx, q.Body, inner)
	case *ast.Select:
		return r.selectColumns(ctx, q, ctes)
	default:
		return nil
	}
}

func (r *resolver) selectColumns(ctx context.Context, q *ast.Select, ctes map[string][]typedColumn) []typedColumn {
	// A relation that is not understood makes every column of unknown type,
	// and a star of unknown length.
	type source struct {
		name    string
		columns []typedColumn
	}
	var sources []source
	known := true
	var add func(ast.Relation)
	add = func(rel ast.Relation) {
		var columns []typedColumn
		var alias *ast.Alias
		name := ""
		switch rel := rel.(type) {
		case *ast.Table:
			alias, name = rel.Alias, rel.Name.Parts[len(rel.Name.Parts)-1].Fold()
			if o, ok := r.relations[rel]; ok {
				columns = r.session.columnTypes(ctx, o)
			} else {
				columns = ctes[name]
			}
		case *ast.Derived:
			alias, columns = rel.Alias, r.columnsOf(ctx, rel.Query, ctes)
		case *ast.Group:
			if rel.Alias == nil {
				add(rel.Relation)
				return
			}
		case *ast.Join:
			// USING and NATURAL merge columns.
			known = known && rel.Using == nil && !rel.Natural
			add(rel.Left)
			add(rel.Right)
			return
		}
		if alias != nil {
			name = alias.Name.Fold()
			if alias.Columns != nil {
				columns = nil
			}
		}
		known = known && columns != nil
		sources = append(sources, source{name, columns})
	}
	for _, rel := range q.From {
		add(rel)
	}
	find := func(parts []*ast.Ident) *dataType {
		var found *dataType
		name := parts[len(parts)-1].Fold()
		for _, src := range sources {
			if len(parts) > 1 && parts[len(parts)-2].Fold() != src.name {
				continue
			}
			if len(parts) == 1 && !known {
				return nil
			}
			for _, c := range src.columns {
				if c.name == name {
					found = c.typ
				}
			}
		}
		return found
	}
	var out []typedColumn
	for _, item := range q.Items {
		switch x := item.Expr.(type) {
		case *ast.Star:
			if !known || x.ILike != nil || x.Exclude != nil || x.Replace != nil || x.Rename != nil {
				return nil
			}
			for _, src := range sources {
				if x.Qualifier == nil || x.Qualifier[len(x.Qualifier)-1].Fold() == src.name {
					out = append(out, src.columns...)
				}
			}
			continue
		case *ast.ColumnRef:
			c := typedColumn{x.Parts[len(x.Parts)-1].Fold(), find(x.Parts)}
			if item.Alias != nil {
				c.name = item.Alias.Fold()
			}
			out = append(out, c)
			continue
		case *ast.Cast:
			c := typedColumn{}
			if t, err := typeOf(x.Type); err == nil {
				c.typ = &t
			}
			if item.Alias != nil {
				c.name = item.Alias.Fold()
			}
			out = append(out, c)
			continue
		}
		c := typedColumn{}
		if item.Alias != nil {
			c.name = item.Alias.Fold()
		}
		out = append(out, c)
	}
	return out
}
