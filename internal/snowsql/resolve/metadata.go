package resolve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/policy"
)

// What the account says of itself is answered from the gateway's own catalog,
// as far as the caller sees it: SHOW, DESCRIBE and the views of
// INFORMATION_SCHEMA become queries over constants. The warehouse's own answer
// would tell of every table that the gateway's role can see.
//
// Columns that hold what the catalog does not know (owners, sizes, times) are
// left out, and numbers of rows, which would count hidden ones as well.

// A listing is what there is to say, as a relation of constants.
type listing struct {
	columns []string
	rows    [][]string // "" is NULL
}

// maxListed bounds the constants of one statement.
const maxListed = 5000

// Snowflake's own names of the columns.
// docs.snowflake.com/en/sql-reference/info-schema/tables, …/columns, …/schemata, …/views, …/databases
var (
	tablesColumns   = []string{"TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "COMMENT"}
	viewsColumns    = []string{"TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COMMENT"}
	schemataColumns = []string{"CATALOG_NAME", "SCHEMA_NAME"}
	columnsColumns  = []string{
		"TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "DATA_TYPE", "CHARACTER_MAXIMUM_LENGTH",
		"NUMERIC_PRECISION", "NUMERIC_SCALE",
	}
	databasesColumns = []string{"DATABASE_NAME"}
)

// visible are the tables that the caller sees, of one database or of all.
func (r *resolver) visible(database, schema string) []policy.Table {
	var list []policy.Table
	for _, t := range r.catalog.Tables() {
		if (database == "" || t.Database == database) && (schema == "" || t.Schema == schema) && r.context.Sees(t) {
			list = append(list, t)
		}
	}
	return list
}

func tableType(t policy.Table) string {
	if t.Kind == policy.ViewObject {
		return "VIEW"
	}
	return "BASE TABLE"
}

// informationSchema lists a view of a database's INFORMATION_SCHEMA.
func (r *resolver) informationSchema(database, view string) (listing, bool) {
	l := listing{}
	switch view {
	case "TABLES":
		l.columns = tablesColumns
		for _, t := range r.visible(database, "") {
			l.rows = append(l.rows, []string{t.Database, t.Schema, t.Name, tableType(t), t.Comment})
		}
	case "VIEWS":
		l.columns = viewsColumns
		for _, t := range r.visible(database, "") {
			if t.Kind == policy.ViewObject {
				l.rows = append(l.rows, []string{t.Database, t.Schema, t.Name, t.Comment})
			}
		}
	case "COLUMNS":
		l.columns = columnsColumns
		for _, t := range r.visible(database, "") {
			for i, c := range t.Columns {
				name, length, precision, scale := splitType(c.Type)
				l.rows = append(l.rows, []string{t.Database, t.Schema, t.Name, c.Name, strconv.Itoa(i + 1), name, length, precision, scale})
			}
		}
	case "SCHEMATA":
		l.columns = schemataColumns
		l.rows = unique(r.visible(database, ""), func(t policy.Table) []string { return []string{t.Database, t.Schema} })
	case "DATABASES":
		l.columns = databasesColumns
		l.rows = unique(r.visible("", ""), func(t policy.Table) []string { return []string{t.Database} })
	default:
		return l, false
	}
	return l, true
}

// unique returns what the tables have in common, each once.
func unique(tables []policy.Table, of func(policy.Table) []string) [][]string {
	var rows [][]string
	for _, t := range tables {
		if row := of(t); len(rows) == 0 || !slices.Equal(rows[len(rows)-1], row) { // tables come sorted
			rows = append(rows, row)
		}
	}
	return rows
}

// splitType takes NUMBER(38,0) and VARCHAR(10) apart as COLUMNS has them.
func splitType(typ string) (name, length, precision, scale string) {
	name, args, _ := strings.Cut(typ, "(")
	args = strings.TrimSuffix(args, ")")
	switch name {
	case "VARCHAR", "TEXT", "STRING", "CHAR":
		return "TEXT", args, "", ""
	case "NUMBER", "DECIMAL":
		precision, scale, _ = strings.Cut(args, ",")
		return "NUMBER", "", precision, scale
	case "BINARY":
		return name, args, "", ""
	default:
		return name, "", "", ""
	}
}

// show lists what a SHOW asks for; ok is false where only the warehouse knows.
func (r *resolver) show(s *ast.Show) (l listing, ok bool) {
	limit, ok := showLimit(s.Options)
	if !ok || s.Link != "" && s.Link != "IN" {
		return l, false
	}
	database, schema, table, ok := r.showScope(s)
	if !ok {
		return l, false
	}
	named := func(name string) bool {
		return s.Like == nil || like(strings.ToUpper(name), strings.ToUpper(s.Like.Value))
	}
	switch s.What {
	case "TABLES", "VIEWS", "OBJECTS":
		l.columns = []string{"name", "database_name", "schema_name", "kind", "comment"}
		for _, t := range r.visible(database, schema) {
			kind := strings.TrimPrefix(tableType(t), "BASE ")
			if named(t.Name) && (s.What == "OBJECTS" || strings.HasPrefix(s.What, kind)) {
				l.rows = append(l.rows, []string{t.Name, t.Database, t.Schema, kind, t.Comment})
			}
		}
	case "SCHEMAS":
		l.columns = []string{"name", "database_name"}
		l.rows = unique(r.visible(database, ""), func(t policy.Table) []string { return []string{t.Schema, t.Database} })
		l.rows = slices.DeleteFunc(l.rows, func(row []string) bool { return !named(row[0]) })
	case "DATABASES":
		l.columns = []string{"name"}
		l.rows = unique(r.visible("", ""), func(t policy.Table) []string { return []string{t.Database} })
		l.rows = slices.DeleteFunc(l.rows, func(row []string) bool { return !named(row[0]) })
	case "COLUMNS":
		l.columns = []string{"table_name", "schema_name", "column_name", "data_type", "database_name"}
		for _, t := range r.visible(database, schema) {
			if table != "" && t.Name != table {
				continue
			}
			for _, c := range t.Columns {
				if named(c.Name) {
					l.rows = append(l.rows, []string{t.Name, t.Schema, c.Name, c.Type, t.Database})
				}
			}
		}
	default:
		return l, false
	}
	if limit >= 0 {
		l.rows = l.rows[:min(limit, len(l.rows))]
	}
	return l, true
}

// showScope is where a SHOW looks; empty parts are any.
func (r *resolver) showScope(s *ast.Show) (database, schema, table string, ok bool) {
	database, schema = r.context.Database, r.context.Schema
	if s.What == "SCHEMAS" {
		schema = ""
	}
	parts := func() []string {
		list := make([]string, len(s.In.Parts))
		for i, p := range s.In.Parts {
			list[i] = fold(p, "PUBLIC")
		}
		return list
	}
	switch {
	case s.In != nil && s.In.Dynamic != nil:
		return "", "", "", false
	case s.Scope == "ACCOUNT":
		return "", "", "", true
	case s.Scope == "DATABASE" && s.In == nil:
		return database, "", "", true
	case s.In == nil:
		return database, schema, "", true
	}
	names := parts()
	switch {
	case s.Scope == "DATABASE" && len(names) == 1:
		return names[0], "", "", true
	case s.Scope == "TABLE" || s.Scope == "VIEW" || s.Scope == "" && s.What == "COLUMNS":
		if t := r.table(s.In); t == nil || !r.context.Sees(*t) {
			r.hidden(s.In)
			return "", "", "", true
		}
		names = parts() // now full
		return names[0], names[1], names[2], true
	case s.Scope == "" && len(names) == 1 && s.What == "SCHEMAS":
		return names[0], "", "", true
	case len(names) == 1:
		return database, names[0], "", true
	case len(names) == 2:
		return names[0], names[1], "", true
	default:
		return "", "", "", false
	}
}

// hidden notes that there is no such table for the caller.
func (r *resolver) hidden(n *ast.ObjectName) {
	if full, ok := r.fullName(n); ok {
		if r.out.Missing == "" {
			r.out.Missing = full.object
		}
		r.note(policy.ObjectUnknown(policy.Object{Database: full.database, Schema: full.schema, Name: full.object}))
	}
}

// showLimit reads LIMIT n among the options of a SHOW, -1 without; ok is false
// if there is more.
func showLimit(options *ast.Tokens) (n int, ok bool) {
	if options == nil {
		return -1, true
	}
	if len(options.List) != 2 || options.List[0].Text != "LIMIT" {
		return 0, false
	}
	n, err := strconv.Atoi(options.List[1].Text)
	return n, err == nil && n >= 0
}

// like matches a pattern with % and _, in time proportional to the product of
// the two lengths at most.
func like(s, pattern string) bool {
	text, marks := []rune(s), []rune(pattern)
	at, mark := 0, 0
	back, taken := -1, 0 // behind the last %, and where the text behind it starts
	for at < len(text) {
		switch {
		case mark < len(marks) && marks[mark] == '%':
			mark++
			back, taken = mark, at
		case mark < len(marks) && (marks[mark] == '_' || marks[mark] == text[at]):
			mark++
			at++
		case back >= 0:
			taken++
			mark, at = back, taken
		default:
			return false
		}
	}
	for mark < len(marks) && marks[mark] == '%' {
		mark++
	}
	return mark == len(marks)
}

// describe lists the columns of a table or view.
func (r *resolver) describe(s *ast.Describe) (l listing, ok bool) {
	if s.Kind != "TABLE" && s.Kind != "VIEW" || s.Options != nil || s.Types != nil || s.Name == nil {
		return l, false
	}
	l.columns = []string{"name", "type", "kind"}
	t := r.table(s.Name)
	if t == nil || !r.context.Sees(*t) {
		r.hidden(s.Name)
		return l, true
	}
	for _, c := range t.Columns {
		l.rows = append(l.rows, []string{c.Name, c.Type, "COLUMN"})
	}
	return l, true
}

// metadata resolves SHOW and DESCRIBE, and reports whether it could.
func (r *resolver) metadata(stmt ast.Statement) bool {
	if r.context.Sees == nil {
		return false
	}
	var l listing
	var ok bool
	switch s := stmt.(type) {
	case *ast.Show:
		l, ok = r.show(s)
	case *ast.Describe:
		l, ok = r.describe(s)
	}
	if !ok {
		return false
	}
	if d := r.constants(l, ast.NewIdent("LISTED"), stmt); d != nil {
		r.out.Tree = &ast.QueryStmt{Span: d.Span, Query: &ast.Select{Span: d.Span, Items: []*ast.SelectItem{{Span: d.Span, Expr: &ast.Star{Span: d.Span}}}, From: []ast.Relation{d}}}
		for _, c := range l.columns {
			r.out.Output = append(r.out.Output, Column{Name: c})
		}
	}
	return true
}

// constants makes a relation of a listing, in the place of a node.
func (r *resolver) constants(l listing, alias *ast.Ident, place ast.Node) *ast.Derived {
	if len(l.rows) > maxListed {
		r.problem(policy.CodeTooLarge, "Use the list_tables tool, which pages, or name one table.", "There are %d entries, which is too many for one answer.", len(l.rows))
		return nil
	}
	span := ast.Span{From: place.Pos(), To: place.End()}
	values := &ast.Values{Span: span}
	for _, row := range l.rows {
		values.Rows = append(values.Rows, tupleOf(row, span))
	}
	d := &ast.Derived{Span: span, Alias: &ast.Alias{Span: span, Name: alias}}
	for _, c := range l.columns {
		id := ast.NewIdent(c)
		id.Span = span
		d.Alias.Columns = append(d.Alias.Columns, id)
	}
	if values.Rows != nil {
		d.Query = values
		return d
	}
	// VALUES needs a row; here none gets through.
	none := &ast.Select{Span: span, Where: &ast.Literal{Span: span, Kind: ast.BoolLiteral, Value: "FALSE"}}
	for i := range l.columns {
		none.Items = append(none.Items, &ast.SelectItem{Span: span, Expr: &ast.Literal{Span: span}, Alias: ast.NewIdent(fmt.Sprintf("C%d", i+1))})
	}
	d.Query = none
	return d
}

func tupleOf(row []string, span ast.Span) *ast.Tuple {
	t := &ast.Tuple{Span: span}
	for _, cell := range row {
		switch {
		case cell == "":
			t.Items = append(t.Items, &ast.Literal{Span: span})
		case len(cell) < 10 && strings.Trim(cell, "0123456789") == "":
			t.Items = append(t.Items, &ast.Literal{Span: span, Kind: ast.NumberLiteral, Value: cell})
		default:
			t.Items = append(t.Items, &ast.Literal{Span: span, Kind: ast.StringLiteral, Value: cell})
		}
	}
	return t
}

// informationRef resolves a reference to a view of INFORMATION_SCHEMA, and
// reports whether it is one that can be answered.
func (r *resolver) informationRef(slot *ast.Relation, n *ast.Table, s *scope) bool {
	if r.context.Sees == nil || n.Name.Dynamic != nil || n.At != nil || n.Changes != nil || n.Alias != nil && n.Alias.Columns != nil {
		return false
	}
	parts := n.Name.Parts
	if len(parts) < 2 || parts[len(parts)-2] == nil || parts[len(parts)-2].Fold() != "INFORMATION_SCHEMA" || parts[len(parts)-1] == nil {
		return false
	}
	database := r.context.Database
	if len(parts) == 3 {
		database = fold(parts[0], "")
	}
	view := parts[len(parts)-1].Fold()
	l, ok := r.informationSchema(database, view)
	if !ok {
		return false
	}
	alias := ast.NewIdent(view)
	src := &source{full: name{database, "INFORMATION_SCHEMA", view}}
	if n.Alias != nil {
		alias, src.full = n.Alias.Name, name{}
	}
	src.alias = s.unique(alias)
	for _, c := range l.columns {
		src.columns = append(src.columns, Column{Name: c})
	}
	s.add(src)
	d := r.constants(l, src.alias, n)
	if d == nil {
		return true
	}
	d.Sample = n.Sample
	*slot = d
	return true
}
