package resolve

import (
	"slices"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
	"querywarden/policy"
)

// statement resolves a statement of any kind. What the gate does not run under
// any policy becomes a problem here.
func (r *resolver) statement(stmt ast.Statement) {
	switch s := stmt.(type) {
	case *ast.QueryStmt:
		r.out.Output = r.query(s.Query, nil, nil)
	case *ast.Explain:
		q, ok := s.Statement.(*ast.QueryStmt)
		if !ok {
			r.unsupported("EXPLAIN of anything but a query", "Use the query tool's dry_run.")
			return
		}
		r.query(q.Query, nil, nil)
	case *ast.Insert:
		r.insert(s)
	case *ast.MultiInsert:
		r.multiInsert(s)
	case *ast.Update:
		r.update(s)
	case *ast.Delete:
		if ref, sc := r.target(s.Target, &s.Alias, &s.Where); ref != nil {
			r.relations(s.Using, sc)
			ref.Early = len(ref.touched) > 0
			r.opt(s.Where, sc, nil)
		}
	case *ast.Merge:
		r.merge(s)
	case *ast.Create:
		r.create(s)
	case *ast.Drop:
		r.object(policy.Destroy, s.Kind, s.Name)
	case *ast.Truncate:
		r.object(policy.Destroy, "TABLE", s.Name)
	case *ast.Alter:
		r.alter(s)
	case *ast.Comment:
		r.object(policy.Create, s.Kind, s.Name)
	case *ast.Show, *ast.Describe:
		if !r.metadata(s) {
			r.unsupported("this form of SHOW and DESCRIBE", "Use the list_tables and describe_table tools.")
		}
	case *ast.Use, *ast.SetVar, *ast.UnsetVar:
		r.unsupported("statements about the session", "Write full names and values; every statement stands alone.")
	case *ast.Transaction:
		r.unsupported("transactions over several statements", "Every statement is committed by itself.")
	case *ast.Undrop:
		r.unsupported("UNDROP", "Ask an administrator.")
	case *ast.Grant:
		r.unsupported("GRANT and REVOKE", "Ask an administrator.")
	case *ast.CallStmt:
		r.callStatement(s)
	case *ast.Execute, *ast.Block, *ast.Declaration, *ast.Assign, *ast.If, *ast.CaseStmt, *ast.For, *ast.While, *ast.Repeat, *ast.Loop,
		*ast.Jump, *ast.Return, *ast.CursorStmt, *ast.Await, *ast.Async:
		r.unsupported("procedures and scripts", "Send the statements one by one.")
	case *ast.Pipe:
		r.unsupported("statements joined by ->>", "Send the statements one by one, or use a common table expression.")
	case *ast.Copy:
		r.copy(s)
	case *ast.StageCommand:
		r.stageCommand(s)
	default:
		r.problem(policy.CodeNotUnderstood, "Send a plain SELECT.", "The gateway does not know this kind of statement.")
	}
}

// relations resolves what stands in FROM or USING.
func (r *resolver) relations(list []ast.Relation, s *scope) {
	for i := range list {
		r.relation(&list[i], s, nil)
	}
}

// written finds the table that a statement writes to.
func (r *resolver) written(class policy.Class, n *ast.ObjectName, columns []*ast.Ident) *policy.Table {
	t := r.table(n)
	if t == nil {
		return nil
	}
	if t.Kind != policy.TableObject {
		r.unsupported("writing through views", "Write to the table.")
		return nil
	}
	r.access(class, t.Object, r.columns(t, columns)...)
	return t
}

// columns finds columns of a table by name.
func (r *resolver) columns(t *policy.Table, names []*ast.Ident) []policy.Column {
	var cols []policy.Column
next:
	for _, n := range names {
		for _, c := range t.Columns {
			if c.Name == n.Fold() {
				cols = append(cols, c)
				continue next
			}
		}
		r.problem(policy.CodeColumnUnknown, "Use describe_table to see the table's columns.", "The table %s has no column %s.", t.Object, n.Fold())
	}
	return cols
}

func (r *resolver) insert(s *ast.Insert) {
	class := policy.Write
	if s.Overwrite {
		class = policy.Destroy
	}
	t := r.written(class, s.Target, s.Columns)
	yields := r.query(s.Source, nil, nil)
	if t != nil {
		r.writes(t.Object, names(t, s.Columns), yields)
	}
	if s.Overwrite {
		r.overwrites(t, yields)
	}
}

// overwrites notes the values that take the place of all rows of a table, if
// they may come from that table.
func (r *resolver) overwrites(t *policy.Table, values []Column) {
	if t != nil && slices.ContainsFunc(r.out.Refs, func(ref *Ref) bool { return ref.reads(t) }) {
		r.out.Stored = append(r.out.Stored, values...)
	}
}

// reads reports whether rows of the table come through the reference.
func (r *Ref) reads(t *policy.Table) bool {
	return r.Table == t || slices.ContainsFunc(r.Inside, func(in *Ref) bool { return in.reads(t) })
}

func (r *resolver) multiInsert(s *ast.MultiInsert) {
	class := policy.Write
	if s.Overwrite {
		class = policy.Destroy
	}
	yields := r.query(s.Source, nil, nil)
	rows := &scope{sources: []*source{{columns: yields}}}
	for _, b := range s.Branches {
		r.opt(b.If, rows, nil)
		for _, into := range b.Into {
			t := r.written(class, into.Target, into.Columns)
			values := yields
			if into.Values != nil {
				values = nil
				for _, x := range into.Values {
					values = append(values, Column{Origins: r.expr(x, rows, nil)})
				}
			}
			if t != nil {
				r.writes(t.Object, names(t, into.Columns), values)
			}
			if s.Overwrite {
				r.overwrites(t, blurred(yields))
			}
		}
	}
}

// target resolves the table that UPDATE, DELETE or MERGE changes, and returns
// the scope that its columns are seen in.
func (r *resolver) target(n *ast.ObjectName, alias **ast.Alias, where *ast.Expr) (*Ref, *scope) {
	written := n.Parts
	t := r.written(policy.Modify, n, nil)
	if t == nil {
		return nil, nil
	}
	if *alias == nil {
		name := written[len(written)-1]
		*alias = &ast.Alias{Span: name.Span, Name: name}
	}
	ref := &Ref{Table: t, Alias: (*alias).Name, Target: true, Where: where, touched: map[string]bool{}}
	r.out.Refs = append(r.out.Refs, ref)
	src := &source{alias: ref.Alias, ref: ref, full: name{t.Database, t.Schema, t.Name}}
	for _, c := range t.Columns {
		src.columns = append(src.columns, Column{Name: c.Name, Origins: []Origin{{ref, c.Name}}})
	}
	return ref, &scope{sources: []*source{src}, using: map[string]bool{}}
}

// assign resolves SET column = value. The column belongs to the target.
func (r *resolver) assign(set []*ast.Assignment, ref *Ref, s *scope) {
	for _, a := range set {
		column := a.Column[len(a.Column)-1]
		a.Column = []*ast.Ident{column}
		if cols := r.columns(ref.Table, a.Column); cols != nil {
			ref.written = append(ref.written, cols[0].Name)
		}
		value := Column{Name: column.Fold(), Origins: r.expr(a.Value, s, nil)}
		r.out.Stored = append(r.out.Stored, value)
		r.writes(ref.Table.Object, []string{value.Name}, []Column{value})
	}
}

func (r *resolver) update(s *ast.Update) {
	ref, sc := r.target(s.Target, &s.Alias, &s.Where)
	if ref == nil {
		return
	}
	r.relations(s.From, sc)
	ref.Early = len(ref.touched) > 0
	r.assign(s.Set, ref, sc)
	r.opt(s.Where, sc, nil)
}

func (r *resolver) merge(s *ast.Merge) {
	ref, sc := r.target(s.Target, &s.Alias, &s.On)
	if ref == nil {
		return
	}
	r.relation(&s.Using, sc, nil)
	r.expr(s.On, sc, nil)
	for _, w := range s.Whens {
		r.opt(w.If, sc, nil)
		r.assign(w.Set, ref, sc)
		r.columns(ref.Table, w.Columns)
		var inserted []Column
		for i, v := range w.Values {
			c := Column{Origins: r.expr(v, sc, nil)}
			if i < len(w.Columns) {
				c.Name = w.Columns[i].Fold()
			}
			r.out.Stored = append(r.out.Stored, c)
			inserted = append(inserted, c)
		}
		if w.Values != nil {
			r.writes(ref.Table.Object, names(ref.Table, w.Columns), inserted)
		}
		if w.Set == nil && w.Values == nil && w.Action != "DELETE" {
			r.unsupported("MERGE … ALL BY NAME", "Name the columns.")
		}
	}
}

// create resolves CREATE. Tables and plain views are judged; what holds code,
// copies data past the masks, or reaches out of the account is not run.
func (r *resolver) create(s *ast.Create) {
	class, _ := Classify(s)
	switch {
	case s.Define:
		r.unsupported("DEFINE", "Write CREATE.")
		return
	case s.Kind == "SCHEMA" && s.Clone == nil:
		r.object(class, s.Kind, s.Name)
		return
	case s.Kind != "TABLE" && s.Kind != "VIEW":
		r.unsupported("CREATE "+s.Kind, "Ask an administrator.")
		return
	}
	var yields []Column
	if s.As != nil {
		yields = r.query(s.As, nil, nil)
	}
	r.definitions(s.Columns)
	if s.Like != nil {
		if t := r.table(s.Like); t != nil {
			r.access(policy.Read, t.Object)
		}
	}
	var clone *Ref
	if s.Clone != nil {
		if t := r.table(s.Clone); t != nil {
			clone = r.raw(t)
		}
	}
	if s.Options != nil {
		r.unsupported("CREATE "+s.Kind+" with options", "Leave the options out.")
	}
	if full, ok := r.fullName(s.Name); ok {
		object := policy.Object{Kind: objectKind(s.Kind), Database: full.database, Schema: full.schema, Name: full.object}
		r.access(class, object)
		r.made(s, object, clone, yields)
		r.overwrites(r.catalog.Lookup(full.database, full.schema, full.object), yields)
	}
}

// made notes what the columns of a new table come from. A view needs no note:
// its own query is looked into whenever it is read.
func (r *resolver) made(s *ast.Create, object policy.Object, clone *Ref, yields []Column) {
	switch {
	case s.Kind != "TABLE":
	case clone != nil:
		r.copied(object, clone)
	case s.As != nil:
		named := make([]string, len(yields))
		for i, c := range yields {
			named[i] = c.Name
			if i < len(s.Columns) && s.Columns[i].Name != nil {
				named[i] = s.Columns[i].Name.Fold()
			}
		}
		r.writes(object, named, yields)
	}
}

// copied notes that an object has the columns of another.
func (r *resolver) copied(object policy.Object, of *Ref) {
	for _, c := range of.Table.Columns {
		r.writes(object, []string{c.Name}, []Column{{Origins: []Origin{{of, c.Name}}}})
	}
}

// names are the columns that an INSERT fills, in its order.
func names(t *policy.Table, listed []*ast.Ident) []string {
	var list []string
	for _, id := range listed {
		list = append(list, id.Fold())
	}
	if list == nil {
		for _, c := range t.Columns {
			list = append(list, c.Name)
		}
	}
	return list
}

// writes notes columns and the values that go into them. Where places mean
// nothing, every column may get every value.
func (r *resolver) writes(object policy.Object, columns []string, values []Column) {
	if isOpen(values) {
		all := origins(values)
		values = nil
		for range columns {
			values = append(values, Column{Origins: all})
		}
	}
	for i, c := range columns {
		if i < len(values) && len(values[i].Origins) > 0 {
			r.out.Written = append(r.out.Written, Written{object, c, values[i].Origins})
		}
	}
}

// definitionWords are what may stand behind a column's type; anything else may
// be code, a policy or a tag.
var definitionWords = map[string]bool{
	"COMMENT": true, "CONSTRAINT": true, "PRIMARY": true, "UNIQUE": true, "KEY": true, "NOT": true, "NULL": true, "COLLATE": true,
	"AUTOINCREMENT": true, "IDENTITY": true, "START": true, "WITH": true, "INCREMENT": true, "BY": true, "ORDER": true, "NOORDER": true,
}

// definitions resolves the columns of CREATE TABLE and ALTER TABLE … ADD.
func (r *resolver) definitions(defs []*ast.ColumnDef) {
	for _, d := range defs {
		r.opt(d.Default, &scope{}, nil)
		if d.As != nil {
			r.unsupported("computed columns", "Compute the value in a query.")
		}
		if d.Options == nil {
			continue
		}
		for _, word := range d.Options.List {
			if word.Part != nil || word.Kind == token.Ident && !definitionWords[word.Text] && d.Name != nil {
				r.unsupported("columns with "+partName(word), "Give columns a name, a type and a default only.")
				break
			}
		}
	}
}

// partName is a token of a definition for a message.
func partName(l ast.Lexeme) string {
	if l.Part == nil {
		return l.Text
	}
	return "options that name other objects"
}

// raw notes that a statement takes a table's rows as they are, where no mask
// can stand.
func (r *resolver) raw(t *policy.Table) *Ref {
	ref := &Ref{Table: t, touched: map[string]bool{}, Opaque: t.Kind == policy.ViewObject} // nobody looks into it here
	for _, c := range t.Columns {
		ref.touched[c.Name] = true
	}
	*r.refs = append(*r.refs, ref)
	return ref
}

// callStatement resolves CALL of a procedure that the account has. What the
// procedure does and returns is for whoever wrote the rule that names it; its
// arguments are masked like all else.
func (r *resolver) callStatement(s *ast.CallStmt) {
	call, ok := s.Call.(*ast.Call)
	if !ok || s.With != nil || s.Into != nil || call.Distinct || call.Within != nil || call.Over != nil {
		r.unsupported("this form of CALL", "Write CALL database.schema.procedure(…).")
		return
	}
	r.all(call.Args, &scope{}, nil)
	full, ok := r.fullName(call.Name)
	switch {
	case !ok:
	case full.database == "SNOWFLAKE" || full.schema == "INFORMATION_SCHEMA":
		r.unsupported("procedures of Snowflake's own", "Ask an administrator.")
	default:
		r.access(policy.Procedural, policy.Object{Kind: policy.ProcedureObject, Database: full.database, Schema: full.schema, Name: full.object})
	}
}

// object resolves the name of an object that a statement destroys or changes.
func (r *resolver) object(class policy.Class, kind string, n *ast.ObjectName) {
	switch kind {
	case "TABLE", "VIEW":
		if t := r.table(n); t != nil {
			r.access(class, t.Object)
		}
	case "SCHEMA":
		database, schema := r.context.Database, ""
		switch parts := n.Parts; {
		case n.Dynamic != nil:
		case len(parts) == 1:
			schema = fold(parts[0], "")
		case len(parts) == 2:
			database, schema = fold(parts[0], ""), fold(parts[1], "")
		}
		if schema == "" || database == "" {
			r.problem(policy.CodeObjectUnknown, "Write the name as database.schema.", "The name %s is no schema's.", n.Fold())
			return
		}
		n.Parts = []*ast.Ident{at(n, database), at(n, schema)}
		r.access(class, policy.Object{Kind: policy.SchemaObject, Database: database, Name: schema})
	default:
		r.unsupported("statements about a "+kind, "Ask an administrator.")
	}
}

// alter resolves ALTER TABLE. A new name would take rows out of the reach of
// the masks on the old one.
func (r *resolver) alter(s *ast.Alter) {
	if s.Kind != "TABLE" || s.Options != nil {
		r.unsupported("this form of ALTER", "Ask an administrator.")
		return
	}
	t := r.table(s.Name)
	if t == nil {
		return
	}
	class, _ := Classify(s)
	switch {
	case s.Action == "ADD" && s.Columns != nil:
		r.definitions(s.Columns)
		r.access(class, t.Object)
	case s.Action == "DROP" && s.Drops != nil:
		r.access(class, t.Object, r.columns(t, s.Drops)...)
	case s.Action == "RENAME" && s.To != nil:
		r.access(class, t.Object)
		old := r.raw(t)
		if full, ok := r.fullName(s.To); ok {
			object := policy.Object{Kind: policy.TableObject, Database: full.database, Schema: full.schema, Name: full.object}
			r.access(policy.Create, object)
			r.copied(object, old)
		}
	default:
		r.unsupported("this form of ALTER", "Ask an administrator.")
	}
}
