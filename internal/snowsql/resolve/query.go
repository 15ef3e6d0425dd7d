package resolve

import (
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/token"
	"querywarden/policy"
)

// A source is one relation of a FROM, as the clauses behind it see it.
type source struct {
	alias   *ast.Ident // what column names are qualified with; nil if by nothing
	full    name       // of a table without an alias of its own
	columns []Column
	ref     *Ref // of a table or view
}

// A scope is what names can mean at one place.
type scope struct {
	parent  *scope
	sources []*source
	aliases map[string][]Origin // of the SELECT list
	using   map[string]bool
}

// ctes are the common table expressions in force, innermost first.
type ctes struct {
	parent    *ctes
	name      string
	columns   []Column
	recursive *bool // set when the query refers to itself; nil once it is resolved
}

func (c *ctes) find(name string) *ctes {
	for ; c != nil; c = c.parent {
		if c.name == name {
			return c
		}
	}
	return nil
}

// query resolves a query and returns the columns of its result.
func (r *resolver) query(q ast.Query, outer *scope, with *ctes) []Column {
	switch q := q.(type) {
	case *ast.Select:
		return r.selectQuery(q, outer, with)
	case *ast.SetOp:
		return r.setOp(q, outer, with, func([]Column) *ctes { return with })
	case *ast.Values:
		return r.values(q, outer, with)
	case *ast.Paren:
		cols := r.query(q.Query, outer, with)
		r.tail(&q.Tail, &scope{parent: outer, sources: []*source{{columns: cols}}}, with)
		return cols
	case *ast.With:
		for _, c := range q.CTEs {
			with = r.cte(c, q, outer, with)
		}
		return r.query(q.Body, outer, with)
	default:
		r.unsupported("this kind of query", "Send a plain SELECT.")
		return nil
	}
}

// setOp resolves both sides. Between them, behind is told the left side's
// columns and says which common table expressions the right side sees, which
// is how a recursive query comes to see itself.
func (r *resolver) setOp(q *ast.SetOp, outer *scope, with *ctes, behind func(left []Column) *ctes) []Column {
	left := r.query(q.Left, outer, with)
	right := r.query(q.Right, outer, behind(left))
	out := slices.Clone(left)
	switch {
	case isOpen(left) || isOpen(right):
		out = blurred(append(out, right...))
	case q.ByName:
		for _, c := range right {
			i := slices.IndexFunc(out, func(o Column) bool { return o.Name == c.Name })
			if i < 0 {
				out = append(out, c)
				continue
			}
			out[i].Origins = union(out[i].Origins, c.Origins)
		}
	default:
		for i := range out {
			if i < len(right) {
				out[i].Origins = union(out[i].Origins, right[i].Origins)
			}
		}
	}
	r.tail(&q.Tail, &scope{parent: outer, sources: []*source{{columns: out}}}, with)
	return out
}

func (r *resolver) values(q *ast.Values, outer *scope, with *ctes) []Column {
	var cols []Column
	s := &scope{parent: outer}
	for _, row := range q.Rows {
		for i, x := range row.Items {
			origins := r.expr(x, s, with)
			if i == len(cols) {
				cols = append(cols, Column{Name: valuesColumn(i)})
			}
			cols[i].Origins = union(cols[i].Origins, origins)
		}
	}
	r.tail(&q.Tail, &scope{parent: outer, sources: []*source{{columns: cols}}}, with)
	return cols
}

// cte resolves one common table expression and returns the list with it.
func (r *resolver) cte(c *ast.CTE, w *ast.With, outer *scope, with *ctes) *ctes {
	recursive := false
	self := &ctes{parent: with, name: c.Name.Fold(), recursive: &recursive}
	var cols []Column
	if set, ok := c.Query.(*ast.SetOp); ok {
		// Only behind UNION can a query refer to itself.
		cols = r.setOp(set, outer, with, func(left []Column) *ctes {
			self.columns = renamed(left, c.Columns)
			return self
		})
	} else {
		cols = r.query(c.Query, outer, with)
	}
	if recursive {
		w.Recursive = true // what was read as itself here, the warehouse has to read so as well
		cols = blurred(cols)
	}
	return &ctes{parent: with, name: c.Name.Fold(), columns: renamed(cols, c.Columns)}
}

// renamed gives columns the names of an alias list.
func renamed(cols []Column, names []*ast.Ident) []Column {
	if names == nil {
		return cols
	}
	if isOpen(cols) {
		out := []Column{{Name: "*", Open: true}}
		for _, n := range names {
			out = append(out, Column{Name: n.Fold()})
		}
		out[0].Origins = origins(cols)
		return blurred(out)
	}
	out := slices.Clone(cols)
	for i := range out {
		if i < len(names) {
			out[i].Name = names[i].Fold()
		}
	}
	return out
}

func (r *resolver) selectQuery(q *ast.Select, outer *scope, with *ctes) []Column {
	s := &scope{parent: outer, aliases: map[string][]Origin{}, using: map[string]bool{}}
	for i := range q.From {
		r.relation(&q.From[i], s, with)
	}
	if q.Into != nil {
		r.unsupported("SELECT … INTO", "Leave INTO out.")
	}
	r.opt(q.Top, s, with)
	if q.Connect != nil {
		s.aliases["LEVEL"] = nil // how deep the row is, whatever the tables hold
	}
	var out []Column
	for _, item := range q.Items {
		if star, ok := item.Expr.(*ast.Star); ok {
			yields := r.star(star, s, with)
			if star.Rename != nil || star.Replace != nil {
				for _, c := range yields {
					s.aliases[c.Name] = union(s.aliases[c.Name], c.Origins)
				}
			}
			out = append(out, yields...)
			continue
		}
		c := Column{Name: itemName(item), Origins: r.expr(item.Expr, s, with)}
		if item.Alias != nil {
			// Later items and clauses may use the alias.
			s.aliases[c.Name] = union(s.aliases[c.Name], c.Origins)
		}
		out = append(out, c)
	}
	r.opt(q.Where, s, with)
	if q.Connect != nil {
		r.opt(q.Connect.Start, s, with)
		r.expr(q.Connect.By, s, with)
	}
	if q.GroupBy != nil {
		for _, x := range q.GroupBy.Items {
			r.groupItem(x, s, with)
		}
	}
	r.opt(q.Having, s, with)
	r.opt(q.Qualify, s, with)
	r.tail(&q.Tail, s, with)
	return out
}

// groupItem resolves an item of GROUP BY; ROLLUP, CUBE and GROUPING SETS are
// no functions.
func (r *resolver) groupItem(x ast.Expr, s *scope, with *ctes) {
	switch x := x.(type) {
	case *ast.GroupingSets:
		for _, set := range x.Sets {
			r.groupItem(set, s, with)
		}
	case *ast.Call:
		switch x.Name.Fold() {
		case "ROLLUP", "CUBE":
			for _, a := range x.Args {
				r.groupItem(a, s, with)
			}
			return
		}
		r.expr(x, s, with)
	default:
		r.expr(x, s, with)
	}
}

func (r *resolver) tail(t *ast.Tail, s *scope, with *ctes) {
	for _, o := range t.OrderBy {
		r.expr(o.Expr, s, with)
	}
	if t.OrderAll != nil {
		r.expr(t.OrderAll.Expr, s, with)
	}
	r.opt(t.Limit, s, with)
	r.opt(t.Offset, s, with)
	if t.Lock != "" {
		r.unsupported("FOR UPDATE", "Leave it out.")
	}
}

// itemName is the name of a result's column: its alias, the column's own name,
// or, for the reader only, the expression's text.
func itemName(item *ast.SelectItem) string {
	if item.Alias != nil {
		return item.Alias.Fold()
	}
	switch x := item.Expr.(type) {
	case *ast.ColumnRef:
		return x.Parts[len(x.Parts)-1].Fold()
	case *ast.Path:
		return x.Key.Name
	}
	text, err := ast.Print(item.Expr, ast.Snowflake)
	if err != nil {
		return ""
	}
	return text
}

// relation resolves what stands in FROM and adds it to the scope.
func (r *resolver) relation(slot *ast.Relation, s *scope, with *ctes) {
	switch n := (*slot).(type) {
	case *ast.Table:
		r.tableRef(slot, n, s, with)
	case *ast.Derived:
		outer := s.parent
		if n.Lateral {
			outer = s
		}
		cols := r.query(n.Query, outer, with)
		s.add(aliased(n.Alias, cols))
		r.sample(n.Sample, with)
	case *ast.Group:
		if n.Alias == nil {
			r.relation(&n.Relation, s, with)
			return
		}
		inner := &scope{parent: s.parent, using: map[string]bool{}}
		r.relation(&n.Relation, inner, with)
		var cols []Column
		for _, src := range inner.sources {
			r.touchAll(src)
			cols = append(cols, src.columns...)
		}
		s.add(aliased(n.Alias, cols))
	case *ast.Join:
		r.join(n, s, with)
	case *ast.TableFunc:
		r.tableFunc(n, s, with)
	case *ast.Pivot:
		r.pivot(&n.Source, s, with, n.Alias, func(inner *scope) {
			for _, a := range n.Aggs {
				r.expr(a.Expr, inner, with)
			}
			for _, in := range n.In {
				r.expr(in.Expr, inner, with)
			}
			if n.Query != nil {
				r.query(n.Query, nil, with)
			}
			for _, o := range n.Any {
				r.expr(o.Expr, inner, with)
			}
			r.opt(n.Default, inner, with)
		})
	case *ast.Unpivot:
		r.pivot(&n.Source, s, with, n.Alias, func(*scope) {})
	case *ast.MatchRecognize:
		r.pivot(&n.Source, s, with, n.Alias, func(inner *scope) { r.matchRecognize(n, inner, with) })
	case *ast.StageRel:
		r.stageRelation(n, s)
	default:
		r.unsupported("this kind of relation", "Query tables and views by name.")
	}
}

// matchRecognize resolves the expressions over the rows of a match. A pattern
// variable qualifies columns as an alias of the rows would.
func (r *resolver) matchRecognize(n *ast.MatchRecognize, inner *scope, with *ctes) {
	r.all(n.Partition, inner, with)
	for _, o := range n.OrderBy {
		r.expr(o.Expr, inner, with)
	}
	var cols []Column
	for _, src := range inner.sources {
		cols = append(cols, src.columns...)
	}
	vars := &scope{parent: inner.parent, sources: slices.Clone(inner.sources), using: inner.using}
	variable := func(id *ast.Ident) { vars.add(&source{alias: id, columns: cols}) }
	seen := map[string]bool{}
	for _, l := range patternOf(n) {
		if l.Kind != token.Ident && l.Kind != token.QuotedIdent || seen[l.Text] {
			continue
		}
		seen[l.Text] = true
		variable(ast.NewIdent(l.Text))
	}
	for _, sub := range n.Subsets {
		variable(sub.Name)
	}
	for _, m := range n.Measures {
		r.expr(m.Expr, vars, with)
	}
	for _, d := range n.Define {
		r.expr(d.As, vars, with)
	}
}

// patternOf returns the tokens of a pattern.
func patternOf(n *ast.MatchRecognize) []ast.Lexeme {
	if n.Pattern == nil {
		return nil
	}
	return n.Pattern.List
}

// aliased makes a source of columns and what they are called.
func aliased(a *ast.Alias, cols []Column) *source {
	src := &source{columns: cols}
	if a != nil {
		src.alias = a.Name
		src.columns = renamed(cols, a.Columns)
	}
	return src
}

func (s *scope) add(src *source) { s.sources = append(s.sources, src) }

func (r *resolver) sample(n *ast.Sample, with *ctes) {
	if n != nil {
		r.expr(n.Size, &scope{}, with)
		r.opt(n.Seed, &scope{}, with)
	}
}

// tableRef resolves a relation by name: a common table expression, a table, or
// a view.
func (r *resolver) tableRef(slot *ast.Relation, n *ast.Table, s *scope, with *ctes) {
	if n.At != nil {
		r.timePoint(n.At, with)
	}
	if n.Changes != nil {
		for _, at := range []*ast.TimeTravel{n.Changes.At, n.Changes.To} {
			if at != nil {
				r.timePoint(at, with)
			}
		}
	}
	r.sample(n.Sample, with)
	if len(n.Name.Parts) == 1 && n.Name.Dynamic == nil {
		if c := with.find(n.Name.Parts[0].Fold()); c != nil {
			if c.recursive != nil {
				*c.recursive = true
			}
			src := aliased(n.Alias, c.columns)
			if n.Alias == nil {
				src.alias = n.Name.Parts[0]
			}
			s.add(src)
			return
		}
	}
	if r.informationRef(slot, n, s) {
		return
	}
	written := n.Name.Parts
	t := r.table(n.Name)
	if t == nil {
		// What the statement does with it cannot be known; the problem has
		// been noted, and everything may be one of its columns.
		s.add(&source{alias: aliasOf(n, written), columns: []Column{{Name: "*", Open: true}}})
		return
	}
	ref := &Ref{Table: t, Slot: slot, Via: r.via, touched: map[string]bool{}}
	src := &source{ref: ref, full: name{t.Database, t.Schema, t.Name}, alias: aliasOf(n, written)}
	if n.Alias == nil {
		// The full name cannot qualify columns of a subquery, so the table
		// gets an alias that is its own among its neighbours.
		src.alias = s.unique(src.alias)
		n.Alias = &ast.Alias{Span: src.alias.Span, Name: src.alias}
	} else {
		src.full = name{}
	}
	ref.Alias = src.alias
	for _, c := range t.Columns {
		src.columns = append(src.columns, Column{Name: c.Name, Origins: []Origin{{ref, c.Name}}})
	}
	if n.Changes != nil {
		if t.Kind == policy.ViewObject {
			r.unsupported("CHANGES of a view", "Ask for the changes of the tables below it.")
		}
		for _, c := range ChangeColumns {
			src.columns = append(src.columns, Column{Name: c})
		}
	}
	if n.Alias != nil && n.Alias.Columns != nil {
		src.columns = renamed(src.columns, n.Alias.Columns)
		r.touchAll(src) // by position
	}
	*r.refs = append(*r.refs, ref)
	if t.Kind == policy.ViewObject {
		r.view(ref)
	}
	s.add(src)
}

func aliasOf(n *ast.Table, written []*ast.Ident) *ast.Ident {
	if n.Alias != nil {
		return n.Alias.Name
	}
	if len(written) == 0 || written[len(written)-1] == nil {
		return nil
	}
	return written[len(written)-1]
}

// unique returns the identifier, with a number if a neighbour has it already.
func (s *scope) unique(id *ast.Ident) *ast.Ident {
	taken := func(name string) bool {
		return slices.ContainsFunc(s.sources, func(o *source) bool { return o.alias != nil && o.alias.Fold() == name })
	}
	stored := id.Fold()
	if !taken(stored) {
		return id
	}
	next := stored
	for i := '2'; taken(next); i++ {
		next = stored + "_" + string(i)
	}
	return at(id, next)
}

// ChangeColumns are the columns that CHANGES adds to a table's own.
// docs.snowflake.com/en/sql-reference/constructs/changes
var ChangeColumns = []string{"METADATA$ACTION", "METADATA$ISUPDATE", "METADATA$ROW_ID"}

// timePoint allows constants and functions of the clock; a statement's id
// would be another query's.
func (r *resolver) timePoint(t *ast.TimeTravel, with *ctes) {
	if t.What == "STREAM" {
		r.unsupported("AT (STREAM => …)", "Use TIMESTAMP or OFFSET.")
	}
	r.expr(t.Value, &scope{}, with)
}

// The bounds on views over views: how deep they go, and how many queries they
// come to.
const (
	maxViews    = 16
	maxExpanded = 200
)

// view resolves a view's own query, so that masks hang on what lies below.
func (r *resolver) view(ref *Ref) {
	t := ref.Table
	opaque := func(why string) {
		r.problem(policy.CodeMaskUnresolved, "Query the tables below the view, or ask an administrator to make the view readable.", "The view %s %s, so the gateway cannot tell what it shows.", t.Object, why)
	}
	switch {
	case t.Secure, t.Definition == "":
		ref.Opaque = true
		return
	case slices.Contains(r.views, t), len(r.views) >= maxViews, *r.expanded >= maxExpanded:
		opaque("is built of too many views")
		return
	}
	q, err := viewQuery(t.Definition)
	if err != nil {
		opaque("has a definition that the gateway does not read")
		return
	}
	*r.expanded++
	// What is wrong inside stays inside: the caller named the view alone.
	own := &Resolution{}
	inner := &resolver{
		catalog: r.catalog, context: Context{Database: t.Database, Schema: t.Schema}, out: own, functions: r.functions, effects: r.effects,
		refs: &ref.Inside, via: r.via, views: append(slices.Clone(r.views), t), expanded: r.expanded, spent: r.spent,
	}
	if inner.via == nil {
		inner.via = &t.Object
	}
	ref.Query = q
	ref.Yields = inner.query(q, nil, nil)
	switch {
	case own.Statement.Problems != nil:
		opaque("reads what the gateway cannot judge")
	case len(ref.Yields) != len(t.Columns):
		opaque("has other columns than its definition")
	}
}

// viewQuery reads the query of a view from its definition, which is the whole
// CREATE VIEW or the query alone.
func viewQuery(definition string) (ast.Query, error) {
	stmt, err := parser.ParseStatement(definition)
	if err != nil {
		return nil, err
	}
	switch stmt := stmt.(type) {
	case *ast.QueryStmt:
		return stmt.Query, nil
	case *ast.Create:
		if stmt.As != nil {
			return stmt.As, nil
		}
	}
	return nil, errNoQuery
}

func (r *resolver) join(n *ast.Join, s *scope, with *ctes) {
	left := len(s.sources)
	r.relation(&n.Left, s, with)
	right := len(s.sources)
	r.relation(&n.Right, s, with)
	r.opt(n.Match, s, with)
	r.opt(n.On, s, with)
	for _, u := range n.Using {
		s.using[u.Fold()] = true
		r.column(&ast.ColumnRef{Span: u.Span, Parts: []*ast.Ident{u}}, s)
		has := func(side []*source) bool {
			return slices.ContainsFunc(side, func(src *source) bool { return src.has(u.Fold()) })
		}
		// That neither has it has been said.
		if has(s.sources[left:right]) != has(s.sources[right:]) {
			r.problem(policy.CodeColumnUnknown, "Join with ON, and name a column of each table.", "Only one side of the join has a column %s.", u.Fold())
		}
	}
	if n.Natural {
		// Which columns it joins on depends on what each side has.
		for i, src := range s.sources {
			r.touchAll(src)
			if r.spend(len(src.columns)) {
				return
			}
			for _, c := range src.columns {
				if i >= right && slices.ContainsFunc(s.sources[:right], func(l *source) bool { return l.has(c.Name) }) {
					s.using[c.Name] = true
				}
			}
		}
	}
}

// pivot resolves PIVOT and UNPIVOT, which group by every column that they do
// not name: all of the source is touched, and what comes out has names that
// are known to the warehouse alone.
func (r *resolver) pivot(source_ *ast.Relation, s *scope, with *ctes, alias *ast.Alias, parts func(*scope)) {
	inner := &scope{parent: s.parent, using: map[string]bool{}}
	r.relation(source_, inner, with)
	parts(inner)
	open := Column{Name: "*", Open: true}
	for _, src := range inner.sources {
		r.touchAll(src)
		open.Origins = union(open.Origins, origins(src.columns))
	}
	out := &source{columns: []Column{open}}
	if alias != nil {
		out.alias = alias.Name
	} else if len(inner.sources) == 1 {
		out.alias = inner.sources[0].alias
	}
	s.add(out)
}

// tableFunc resolves the table functions that yield rows of their arguments
// alone.
func (r *resolver) tableFunc(n *ast.TableFunc, s *scope, with *ctes) {
	call, ok := n.Call.(*ast.Call)
	if !ok {
		r.unsupported("TABLE(…) over a name in a variable or string", "Write the table's name.")
		return
	}
	var input []Origin
	for _, a := range call.Args {
		input = union(input, r.expr(a, s, with))
	}
	r.sample(n.Sample, with)
	names := tableFunctions[call.Name.Fold()]
	if call.Name.Dynamic != nil {
		r.unsupported("IDENTIFIER(…)", "Write the name itself.")
		return
	}
	src := &source{}
	switch f, known := Lookup(call.Name.Fold()); {
	case names != nil:
		r.functions[call.Name.Fold()] = true
		for _, c := range names {
			src.columns = append(src.columns, Column{Name: c, Origins: input})
		}
	case !known:
		// Of the account's own functions nobody knows the columns.
		r.ownFunction(call.Name)
		src.columns = []Column{{Name: "*", Open: true, Origins: input}}
	case f.Effects&ReadsResults != 0:
		r.problem(policy.CodeUnsupported, "Run the query again, or name it in a WITH.", "The gateway does not run %s, because it cannot tell whose rows they are, nor which masks they were made under.", call.Name.Fold())
		return
	default:
		r.unsupported("the table function "+call.Name.Fold(), "Use FLATTEN, SPLIT_TO_TABLE or GENERATOR.")
		return
	}
	if n.Alias != nil {
		src.alias = n.Alias.Name
		src.columns = renamed(src.columns, n.Alias.Columns)
	}
	s.add(src)
}

// tableFunctions are the table functions whose rows come from their arguments
// alone, with their columns. docs.snowflake.com/en/sql-reference/functions-table
var tableFunctions = map[string][]string{
	"FLATTEN":               {"SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS"},
	"SPLIT_TO_TABLE":        {"SEQ", "INDEX", "VALUE"},
	"STRTOK_SPLIT_TO_TABLE": {"SEQ", "INDEX", "VALUE"},
	"GENERATOR":             {},
}

// star expands * over the scope's sources and touches all that it yields.
func (r *resolver) star(n *ast.Star, s *scope, with *ctes) []Column {
	var out []Column
	matched := false
	for _, src := range s.sources {
		if n.Qualifier != nil && !src.named(n.Qualifier) {
			continue
		}
		matched = true
		if n.Qualifier != nil && src.alias != nil {
			n.Qualifier = []*ast.Ident{src.alias}
		}
		r.touchAll(src)
		if r.spend(len(src.columns)) {
			return nil
		}
		for _, c := range src.columns {
			if n.ILike != nil && !c.Open && !like(strings.ToUpper(c.Name), strings.ToUpper(n.ILike.Value)) ||
				slices.ContainsFunc(n.Exclude, func(e *ast.Ident) bool { return e.Fold() == c.Name }) {
				continue
			}
			if i := merged(out, c, s, n); i >= 0 {
				out[i].Origins = union(out[i].Origins, c.Origins)
				continue
			}
			c.Loose = c.Loose || n.Qualifier == nil && len(s.using) > 0
			out = append(out, c)
		}
	}
	if n.Qualifier != nil && !matched {
		r.problem(policy.CodeObjectUnknown, "Qualify the star with an alias of the FROM clause.", "Nothing in FROM is called %s.", n.Qualifier[len(n.Qualifier)-1].Fold())
	}
	// First REPLACE, by the columns' own names, then RENAME.
	for _, item := range n.Replace {
		origins := r.expr(item.Expr, s, with)
		for i := range out {
			if out[i].Name == itemName(item) {
				out[i].Origins = origins
			}
		}
	}
	for i := range out {
		for _, re := range n.Rename {
			if re.Column.Fold() == out[i].Name {
				out[i].Name = re.Alias.Fold()
				break
			}
		}
	}
	return out
}

// merged returns the place of a column that USING or NATURAL has made one with
// an earlier one, -1 if it stands alone.
func merged(out []Column, c Column, s *scope, star *ast.Star) int {
	if star.Qualifier != nil || c.Open || !s.using[c.Name] {
		return -1
	}
	return slices.IndexFunc(out, func(o Column) bool { return o.Name == c.Name })
}

// touchAll touches every column of a source, and no other: a column that the
// catalog does not know yet must not come out with them.
func (r *resolver) touchAll(src *source) {
	for _, c := range src.columns {
		touch(c.Origins)
	}
	if src.ref != nil {
		src.ref.Whole = true
	}
}

// origins is all that columns come from.
func origins(cols []Column) []Origin {
	if len(cols) == 1 {
		return cols[0].Origins
	}
	var all []Origin
	seen := make(map[Origin]bool, len(cols))
	for _, c := range cols {
		for _, o := range c.Origins {
			if !seen[o] {
				seen[o] = true
				all = append(all, o)
			}
		}
	}
	return all
}

// maxColumns bounds the columns that stars come to in one statement: a few
// lines of common table expressions, each the double of the one before, come
// to more than there is memory.
const maxColumns = 200_000

// spend counts columns and reports whether there were too many.
func (r *resolver) spend(n int) bool {
	if *r.spent += n; *r.spent <= maxColumns {
		return false
	}
	r.problem(policy.CodeTooLarge, "Name the columns that you need.", "The stars of this statement come to too many columns.")
	return true
}

// isOpen reports whether the columns' places mean nothing, because there may be
// more than are listed or their order is not known.
func isOpen(cols []Column) bool {
	return slices.ContainsFunc(cols, func(c Column) bool { return c.Open || c.Loose })
}

// blurred returns the columns with each coming from all that any of them comes
// from.
func blurred(cols []Column) []Column {
	all := origins(cols)
	out := slices.Clone(cols)
	for i := range out {
		out[i].Origins = all
	}
	return out
}

func touch(origins []Origin) {
	for _, o := range origins {
		o.Ref.touched[o.Column] = true
	}
}

// fewOrigins is up to how many it is quicker to look through a list than to
// make a set of it.
const fewOrigins = 16

// union joins two lists of origins without repeats. Lists are shared and never
// change.
func union(a, b []Origin) []Origin {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0, len(a) == len(b) && &a[0] == &b[0]:
		return a
	}
	out := slices.Clip(a)
	if len(a)+len(b) <= fewOrigins {
		for _, o := range b {
			if !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
		return out
	}
	seen := make(map[Origin]bool, len(a)+len(b))
	for _, o := range a {
		seen[o] = true
	}
	for _, o := range b {
		if !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	return out
}
