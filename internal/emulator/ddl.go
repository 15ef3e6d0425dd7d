//go:build cgo

package emulator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/token"
)

func (s *session) create(ctx context.Context, j *job, n *ast.Create) (*result, error) {
	if n.OrAlter {
		return nil, errUnsupported("CREATE OR ALTER")
	}
	secure := false
	for _, m := range n.Modifiers {
		switch m {
		case "SECURE":
			secure = true
		case "TRANSIENT", "RECURSIVE":
		default:
			return nil, errUnsupported("CREATE %s", m)
		}
	}
	comment, err := commentOf(n.Options)
	if err != nil {
		return nil, err
	}
	switch n.Kind {
	case "DATABASE", "SCHEMA":
		return s.createPlace(ctx, n, comment)
	case "TAG":
		return s.createTag(ctx, n)
	case "TABLE", "VIEW":
	default:
		if n.Kind == "ROLE" || accountKinds[n.Kind] {
			return s.createAccountObject(ctx, n)
		}
		return nil, errUnsupported("CREATE %s", n.Kind)
	}
	retention, err := retentionOf(n.Options)
	if err != nil {
		return nil, err
	}
	o, err := s.qualify(n.Name)
	if err != nil {
		return nil, err
	}
	o.kind = map[string]string{"TABLE": "BASE TABLE", "VIEW": "VIEW"}[n.Kind]
	details := objectDetails{secure: secure, comment: comment}
	if n.Kind == "VIEW" {
		details.definition = j.text()
	}
	if known, err := s.schemaExists(ctx, o.database, o.schema); err != nil {
		return nil, err
	} else if !known || o.schema == informationSchema {
		return nil, errNoObject("Schema", o.database+"."+o.schema)
	}
	if err := s.mayCreate(ctx, n.Kind, o.database, o.schema); err != nil {
		return nil, err
	}
	var answer *result
	err = s.define(ctx, func() error {
		kind, err := s.kindOf(ctx, o)
		if err != nil {
			return err
		}
		switch {
		case kind != "" && n.IfNotExists:
			answer = status(typeDDL, "%s already exists, statement succeeded.", o.name)
			return nil
		case kind != "" && (!n.OrReplace || kind != o.kind):
			return errExists(o.name, strings.TrimPrefix(kind, "BASE "))
		}
		build := s.createTable
		if o.kind == "VIEW" {
			build = s.createView
		}
		if kind != "" {
			if err := s.may(ctx, ownership, o); err != nil {
				return err
			}
		}
		if err := build(ctx, j, n, o, kind != "", details); err != nil {
			return err
		}
		if err := s.setRetention(ctx, o, retention); err != nil {
			return err
		}
		s.modifies(o)
		answer = status(typeDDL, "%s %s successfully created.", title(n.Kind), o.name)
		return nil
	})
	return answer, err
}

func title(kind string) string { return kind[:1] + strings.ToLower(kind[1:]) }

// createTable makes a table from columns, from a query, or after another
// table. If one stands there already it is replaced, after the query has read
// it.
func (s *session) createTable(ctx context.Context, j *job, n *ast.Create, o object, replace bool, details objectDetails) error {
	var columns []definition
	var fill string // a DuckDB query whose rows the table gets
	switch {
	case n.Like != nil || n.Clone != nil:
		if n.At != nil {
			return errUnsupported("time travel")
		}
		name := n.Like
		if n.Clone != nil {
			name = n.Clone
		}
		model, err := s.lookup(ctx, name)
		if err != nil {
			return err
		}
		if err := s.may(ctx, "SELECT", model); err != nil {
			return err
		}
		if columns, err = s.columnDefinitions(ctx, model); err != nil {
			return err
		}
		if n.Clone != nil {
			fill = "SELECT * FROM " + model.engineText()
		}
	default:
		var err error
		if columns, err = declaredColumns(j, n.Columns); err != nil {
			return err
		}
		if n.As == nil {
			break
		}
		nameColumns(n.As, j.source)
		declared, text, err := s.compile(ctx, n.As)
		if err != nil {
			return err
		}
		fill = text
		described, err := s.columnsOfQuery(ctx, text)
		if err != nil {
			return err
		}
		if columns, err = mergeColumns(columns, described, declared); err != nil {
			return err
		}
	}
	if len(columns) == 0 {
		return &sqlError{code: "001003", state: "42000", message: compilation + "A table needs columns."}
	}
	create, err := s.tableText(o, columns)
	if err != nil {
		return err
	}
	if !replace {
		if err := exec(ctx, s.conn, create); err != nil {
			return err
		}
	} else {
		if err := s.replaceTable(ctx, o, create, &fill); err != nil {
			return err
		}
	}
	if fill != "" {
		if err := exec(ctx, s.conn, "INSERT INTO "+o.engineText()+" "+fill); err != nil {
			return err
		}
		if err := exec(ctx, s.conn, "DROP TABLE IF EXISTS "+replacement); err != nil {
			return err
		}
	}
	if err := s.addObject(ctx, o, details); err != nil {
		return err
	}
	return s.addColumns(ctx, o, columns)
}

// replacement holds the rows of a table that replaces another; each session
// has its own.
const replacement = "temp._replacement"

// replaceTable puts a new table in the place of the old. The rows it will get
// are read before, since they may be the old one's; fill becomes the query
// that gives them.
func (s *session) replaceTable(ctx context.Context, o object, create string, fill *string) error {
	if *fill != "" {
		if err := exec(ctx, s.conn, "CREATE OR REPLACE TEMP TABLE "+replacement+" AS "+*fill); err != nil {
			return err
		}
		*fill = "SELECT * FROM " + replacement
	}
	if err := s.removeObject(ctx, object{o.database, o.schema, o.name, "BASE TABLE"}); err != nil {
		return err
	}
	return exec(ctx, s.conn, create)
}

// tableText is CREATE TABLE in DuckDB's dialect.
func (s *session) tableText(o object, columns []definition) (string, error) {
	var b strings.Builder
	b.WriteString("CREATE TABLE " + o.engineText() + " (")
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		text, err := s.columnText(c)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String() + ")", nil
}

func (s *session) columnText(c definition) (string, error) {
	typ, err := c.typ.duckDB()
	if err != nil {
		return "", err
	}
	text := quoteIdent(c.name) + " " + typ
	if c.defaultText != "" {
		x, err := parser.ParseExpr(c.defaultText)
		if err != nil {
			return "", err
		}
		value, err := s.duckDB(&ast.ParenExpr{X: x})
		if err != nil {
			return "", err
		}
		text += " DEFAULT " + value
	}
	if c.notNull {
		text += " NOT NULL"
	}
	return text, nil
}

// declaredColumns reads the columns of a CREATE TABLE. Keys and uniqueness are
// accepted and, as in Snowflake's standard tables, not enforced.
func declaredColumns(j *job, defs []*ast.ColumnDef) ([]definition, error) {
	var out []definition
	for _, def := range defs {
		if def.Name == nil {
			continue // a constraint of the table
		}
		d := definition{name: def.Name.Fold(), notNull: def.NotNull}
		if def.Type != nil {
			var err error
			if d.typ, err = typeOf(def.Type); err != nil {
				return nil, err
			}
		}
		if def.Default != nil {
			d.defaultText = j.source[def.Default.Pos():def.Default.End()]
		}
		var err error
		if d.comment, err = commentOf(def.Options); err != nil {
			return nil, err
		}
		if !d.notNull && def.Options != nil {
			d.notNull = hasWords(def.Options, "PRIMARY", "KEY") || hasWords(def.Options, "NOT", "NULL")
		}
		out = append(out, d)
	}
	return out, nil
}

// mergeColumns puts the columns that CREATE TABLE names over those of its
// query.
func mergeColumns(named, described []definition, declared []*dataType) ([]definition, error) {
	for i := range described {
		if i < len(declared) && declared[i] != nil && declared[i].fits(described[i].typ) {
			described[i].typ = *declared[i]
		}
	}
	if named == nil {
		return described, nil
	}
	if len(named) != len(described) {
		return nil, &sqlError{code: "002057", state: "42601", message: compilation + fmt.Sprintf("%d columns for a query of %d.", len(named), len(described))}
	}
	for i := range named {
		if named[i].typ == (dataType{}) {
			named[i].typ = described[i].typ
		}
	}
	return named, nil
}

func (s *session) createView(ctx context.Context, j *job, n *ast.Create, o object, replace bool, details objectDetails) error {
	if n.As == nil {
		return errUnsupported("a view without a query")
	}
	if n.Columns == nil {
		nameColumns(n.As, j.source)
	}
	declared, text, err := s.compile(ctx, n.As)
	if err != nil {
		return err
	}
	columns, err := s.columnsOfQuery(ctx, text)
	if err != nil {
		return err
	}
	if columns, err = mergeColumns(nil, columns, declared); err != nil {
		return err
	}
	names := ""
	if n.Columns != nil {
		if len(n.Columns) != len(columns) {
			return &sqlError{code: "002057", state: "42601", message: compilation + fmt.Sprintf("%d columns for a query of %d.", len(n.Columns), len(columns))}
		}
		var list []string
		for i, def := range n.Columns {
			if def.Name == nil {
				return errUnsupported("constraints of views")
			}
			columns[i].name = def.Name.Fold()
			if columns[i].comment, err = commentOf(def.Options); err != nil {
				return err
			}
			list = append(list, quoteIdent(columns[i].name))
		}
		names = " (" + strings.Join(list, ", ") + ")"
	}
	if replace {
		if err := s.removeObject(ctx, o); err != nil {
			return err
		}
	}
	if err := exec(ctx, s.conn, "CREATE VIEW "+o.engineText()+names+" AS "+text); err != nil {
		return err
	}
	if err := s.addObject(ctx, o, details); err != nil {
		return err
	}
	return s.addColumns(ctx, o, columns)
}

// createPlace makes a database or a schema.
func (s *session) createPlace(ctx context.Context, n *ast.Create, comment string) (*result, error) {
	if n.Clone != nil || n.Name.Dynamic != nil {
		return nil, errUnsupported("CREATE %s CLONE", n.Kind)
	}
	parts := make([]string, len(n.Name.Parts))
	for i, p := range n.Name.Parts {
		if p == nil {
			return nil, errNoPlace(n.Name.Fold())
		}
		parts[i] = p.Fold()
	}
	name := parts[len(parts)-1]
	within := ""
	if n.Kind == "SCHEMA" {
		if within = s.database; len(parts) == 2 {
			within = parts[0]
		}
	}
	if err := s.mayCreate(ctx, n.Kind, within, ""); err != nil {
		return nil, err
	}
	var answer *result
	err := s.define(ctx, func() error {
		database := name
		if n.Kind == "SCHEMA" {
			database = s.database
			if len(parts) == 2 {
				database = parts[0]
			}
			if known, err := s.databaseExists(ctx, database); err != nil {
				return err
			} else if !known {
				return errNoPlace(database)
			}
		} else if len(parts) != 1 {
			return errNoPlace(n.Name.Fold())
		}
		known, err := s.databaseExists(ctx, name)
		add := func() error { return s.addDatabase(ctx, name, comment) }
		drop := func() error { return s.dropDatabase(ctx, name) }
		if n.Kind == "SCHEMA" {
			known, err = s.schemaExists(ctx, database, name)
			add = func() error { return s.addSchema(ctx, database, name, comment) }
			drop = func() error { return s.dropSchema(ctx, database, name) }
		}
		switch {
		case err != nil:
			return err
		case known && n.IfNotExists:
			answer = status(typeDDL, "%s already exists, statement succeeded.", name)
			return nil
		case known && !n.OrReplace:
			return errExists(name, n.Kind)
		case known:
			if err := drop(); err != nil {
				return err
			}
		}
		if err := add(); err != nil {
			return err
		}
		answer = status(typeDDL, "%s %s successfully created.", title(n.Kind), name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.user.name != systemUser || !n.IfNotExists {
		// As in Snowflake, what was made is where the session stands now.
		switch {
		case n.Kind == "DATABASE":
			s.database, s.schema = name, publicSchema
		case len(parts) == 2:
			s.database, s.schema = parts[0], name
		default:
			s.schema = name
		}
	}
	return answer, nil
}

func (s *session) dropDatabase(ctx context.Context, name string) error {
	schemas, err := texts(ctx, s.conn, `SELECT schema_name FROM "_catalog".schemata WHERE catalog_name = ?`, name)
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if err := s.dropSchema(ctx, name, schema); err != nil {
			return err
		}
	}
	return exec(ctx, s.conn, `DELETE FROM "_catalog".databases WHERE database_name = ?`, name)
}

func (s *session) drop(ctx context.Context, n *ast.Drop) (*result, error) {
	if n.Name.Dynamic != nil {
		return nil, errUnsupported("IDENTIFIER")
	}
	if n.Kind == "ROLE" || accountKinds[n.Kind] {
		return s.dropAccountObject(ctx, n)
	}
	var answer *result
	last := n.Name.Parts[len(n.Name.Parts)-1].Fold()
	gone := func() { answer = status(typeDDL, "%s successfully dropped.", last) }
	missing := func(err error) error {
		if n.IfExists {
			answer = status(typeDDL, "Drop statement executed successfully (%s already dropped).", last)
			return nil
		}
		return err
	}
	err := s.define(ctx, func() error {
		switch n.Kind {
		case "TABLE", "VIEW":
			o, err := s.qualify(n.Name)
			if err != nil {
				return err
			}
			kind, err := s.kindOf(ctx, o)
			if err != nil {
				return err
			}
			if kind == "" || o.schema == informationSchema {
				return missing(errNoObject(title(n.Kind), o.String()))
			}
			if o.kind = kind; strings.TrimPrefix(kind, "BASE ") != n.Kind {
				return &sqlError{code: "002203", state: "42601", message: compilation + "Object found is of type '" + strings.TrimPrefix(kind, "BASE ") + "', not specified type '" + n.Kind + "'."}
			}
			if err := s.may(ctx, ownership, o); err != nil {
				return err
			}
			gone()
			s.modifies(o)
			return s.removeObject(ctx, o)
		case "SCHEMA":
			database := s.database
			if len(n.Name.Parts) == 2 && n.Name.Parts[0] != nil {
				database = n.Name.Parts[0].Fold()
			}
			known, err := s.schemaExists(ctx, database, last)
			if err != nil {
				return err
			}
			if !known || last == informationSchema {
				return missing(errNoObject("Schema", database+"."+last))
			}
			if database == s.database && last == s.schema {
				s.schema = ""
			}
			gone()
			return s.dropSchema(ctx, database, last)
		case "DATABASE":
			known, err := s.databaseExists(ctx, last)
			if err != nil {
				return err
			}
			if !known {
				return missing(errNoObject("Database", last))
			}
			if last == s.database {
				s.database, s.schema = "", ""
			}
			gone()
			return s.dropDatabase(ctx, last)
		default:
			return errUnsupported("DROP %s", n.Kind)
		}
	})
	return answer, err
}

func (s *session) truncate(ctx context.Context, n *ast.Truncate) (*result, error) {
	if _, err := s.target(ctx, n.Name, "TRUNCATE"); err != nil {
		if n.IfExists {
			return status(typeDDL, "Statement executed successfully."), nil
		}
		return nil, err
	}
	if _, err := s.change(ctx, &resolver{}, &ast.Delete{Target: n.Name}); err != nil {
		return nil, err
	}
	return status(typeDDL, "Statement executed successfully."), nil
}

func (s *session) alter(ctx context.Context, j *job, n *ast.Alter) (*result, error) {
	done := status(typeDDL, "Statement executed successfully.")
	if n.Kind == "SESSION" {
		return done, s.alterSession(n)
	}
	if n.Kind == "ACCOUNT" || accountKinds[n.Kind] {
		return s.alterAccountObject(ctx, n)
	}
	if n.Kind != "TABLE" && n.Kind != "VIEW" {
		return nil, errUnsupported("ALTER %s", n.Kind)
	}
	o, err := s.lookup(ctx, n.Name)
	if err != nil {
		if n.IfExists {
			return done, nil
		}
		return nil, err
	}
	if strings.TrimPrefix(o.kind, "BASE ") != n.Kind || o.schema == informationSchema {
		return nil, errNoObject(title(n.Kind), o.String())
	}
	if err := s.may(ctx, ownership, o); err != nil {
		return nil, err
	}
	s.modifies(o)
	return done, s.define(ctx, func() error {
		if n.Options != nil && namesTag(n.Options) {
			if tags, err := s.setTags(ctx, o, n); tags || err != nil {
				return err
			}
		}
		if done, err := s.setPolicy(ctx, o, n); done || err != nil {
			return err
		}
		switch n.Action {
		case "RENAME":
			if n.To == nil {
				return errUnsupported("ALTER %s RENAME COLUMN", n.Kind)
			}
			return s.rename(ctx, o, n.To)
		case "ADD":
			if n.Columns == nil {
				return errUnsupported("ALTER TABLE ADD %s", n.What)
			}
			return s.addTableColumns(ctx, j, o, n)
		case "DROP":
			if n.Drops == nil {
				return errUnsupported("ALTER TABLE DROP %s", n.What)
			}
			return s.dropTableColumns(ctx, o, n)
		case "SET":
			if days, err := retentionOf(n.Options); err != nil || days >= 0 {
				return errors.Join(err, s.setRetention(ctx, o, days))
			}
			comment, err := commentOf(n.Options)
			if err != nil {
				return err
			}
			return s.setComment(ctx, o, comment)
		default:
			return errUnsupported("ALTER %s %s", n.Kind, n.Action)
		}
	})
}

func (s *session) rename(ctx context.Context, o object, to *ast.ObjectName) error {
	renamed, err := s.qualify(to)
	if err != nil {
		return err
	}
	if renamed.database != o.database || renamed.schema != o.schema {
		return errUnsupported("renaming into another schema")
	}
	if kind, err := s.kindOf(ctx, renamed); err != nil {
		return err
	} else if kind != "" {
		return errExists(renamed.name, strings.TrimPrefix(kind, "BASE "))
	}
	if err := exec(ctx, s.conn, "ALTER "+strings.TrimPrefix(o.kind, "BASE ")+" "+o.engineText()+" RENAME TO "+quoteIdent(renamed.name)); err != nil {
		return err
	}
	if err := exec(ctx, s.conn, `UPDATE "_catalog".tag_references SET object_name = ? WHERE object_database = ? AND object_schema = ? AND object_name = ?`, renamed.name, o.database, o.schema, o.name); err != nil {
		return err
	}
	for _, table := range []string{"columns", "tables"} {
		if err := exec(ctx, s.conn, `UPDATE "_catalog".`+table+` SET table_name = ? WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, renamed.name, o.database, o.schema, o.name); err != nil {
			return err
		}
	}
	return s.touch(ctx, renamed)
}

func (s *session) addTableColumns(ctx context.Context, j *job, o object, n *ast.Alter) error {
	columns, err := declaredColumns(j, n.Columns)
	if err != nil {
		return err
	}
	for _, c := range columns {
		// DuckDB adds columns without constraints only.
		c.notNull = false
		text, err := s.columnText(c)
		if err != nil {
			return err
		}
		if err := exec(ctx, s.conn, "ALTER TABLE "+o.engineText()+" ADD COLUMN "+text); err != nil {
			return err
		}
		if err := s.addColumns(ctx, o, []definition{c}); err != nil {
			return err
		}
	}
	return s.touch(ctx, o)
}

func (s *session) dropTableColumns(ctx context.Context, o object, n *ast.Alter) error {
	for _, name := range n.Drops {
		if err := exec(ctx, s.conn, "ALTER TABLE "+o.engineText()+" DROP COLUMN "+quoteIdent(name.Fold())); err != nil {
			return err
		}
		const where = ` WHERE table_catalog = ?1 AND table_schema = ?2 AND table_name = ?3 AND `
		for _, change := range []string{
			`UPDATE "_catalog".columns SET ordinal_position = ordinal_position - 1` + where + `ordinal_position > (SELECT max(ordinal_position) FROM "_catalog".columns` + where + `column_name = ?4)`,
			`DELETE FROM "_catalog".columns` + where + `column_name = ?4`,
		} {
			if err := exec(ctx, s.conn, change, o.database, o.schema, o.name, name.Fold()); err != nil {
				return err
			}
		}
	}
	return s.touch(ctx, o)
}

func (s *session) setComment(ctx context.Context, o object, comment string) error {
	return exec(ctx, s.conn, `UPDATE "_catalog".tables SET comment = ?, last_altered = now() WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`,
		nullable(comment), o.database, o.schema, o.name)
}

// comment runs COMMENT ON TABLE, VIEW or COLUMN.
func (s *session) comment(ctx context.Context, n *ast.Comment) (*result, error) {
	name := *n.Name
	column := ""
	if n.Kind == "COLUMN" && len(name.Parts) > 1 {
		column = name.Parts[len(name.Parts)-1].Fold()
		name.Parts = name.Parts[:len(name.Parts)-1]
	} else if n.Kind != "TABLE" && n.Kind != "VIEW" {
		return nil, errUnsupported("COMMENT ON %s", n.Kind)
	}
	o, err := s.lookup(ctx, &name)
	if err != nil {
		return nil, err
	}
	err = s.define(ctx, func() error {
		if column == "" {
			return s.setComment(ctx, o, n.Text.Value)
		}
		return exec(ctx, s.conn, `UPDATE "_catalog".columns SET comment = ? WHERE table_catalog = ? AND table_schema = ? AND table_name = ? AND column_name = ?`,
			nullable(n.Text.Value), o.database, o.schema, o.name, column)
	})
	return status(typeDDL, "Statement executed successfully."), err
}

// alterSession runs ALTER SESSION SET name = value … and UNSET name, ….
func (s *session) alterSession(n *ast.Alter) error {
	var list []ast.Lexeme
	if n.Options != nil {
		list = n.Options.List
	}
	for i := 0; i < len(list); {
		name := strings.ToUpper(list[i].Text)
		switch {
		case list[i].Kind == token.Comma:
			i++
		case list[i].Kind != token.Ident:
			return errUnsupported("ALTER SESSION with %s", list[i].Text)
		case n.Action == "UNSET":
			delete(s.parameters, name)
			if value, ok := defaultParameters[name]; ok {
				s.parameters[name] = value
			}
			i++
		case n.Action == "SET" && i+2 < len(list) && list[i+1].Kind == token.Equal:
			value := list[i+2].Text
			if list[i+2].Kind == token.Ident {
				value = strings.ToLower(value)
			}
			s.parameters[name] = value
			i += 3
		default:
			return errUnsupported("ALTER SESSION %s", n.Action)
		}
	}
	return nil
}

// commentOf finds COMMENT [=] '…' among options. Options that change nothing
// here are passed over; those that would mean something are an error.
func commentOf(options *ast.Tokens) (string, error) {
	if options == nil {
		return "", nil
	}
	comment := ""
	for i, l := range options.List {
		if l.Kind != token.Ident {
			continue
		}
		switch word := strings.ToUpper(l.Text); word {
		case "COMMENT":
			for _, next := range options.List[i+1 : min(i+3, len(options.List))] {
				if next.Kind == token.String || next.Kind == token.Dollar {
					comment = next.Text
				}
			}
		case "AUTOINCREMENT", "IDENTITY", "MASKING", "POLICY", "TAG", "COLLATE", "GENERATED", "VIRTUAL":
			return "", errUnsupported("the option %s", word)
		}
	}
	return comment, nil
}

// hasWords reports whether words follow each other among tokens.
func hasWords(t *ast.Tokens, words ...string) bool {
	for i := range t.List {
		if i+len(words) > len(t.List) {
			return false
		}
		match := true
		for k, w := range words {
			match = match && t.List[i+k].Kind == token.Ident && strings.EqualFold(t.List[i+k].Text, w)
		}
		if match {
			return true
		}
	}
	return false
}

// parseType reads a type as the catalog records it.
func parseType(text string) (dataType, error) {
	x, err := parser.ParseExpr("CAST(NULL AS " + text + ")")
	if err != nil {
		return dataType{}, fmt.Errorf("reading a type of the catalog: %w", err)
	}
	cast, ok := x.(*ast.Cast)
	if !ok {
		return dataType{}, fmt.Errorf("reading a type of the catalog: %q", text)
	}
	return typeOf(cast.Type)
}
