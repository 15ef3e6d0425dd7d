// Package rewrite puts masks and row filters where rows come from.
//
// A reference to a table that has either for this caller is replaced by a
// subquery which yields the columns that the statement touches, masked, of the
// rows that the filter lets through:
//
//	FROM customers c
//	FROM (SELECT q.ID, '***' AS SSN FROM DB.S.CUSTOMERS AS q WHERE q.REGION = 'EU') AS c
//
// Nothing outside of it can see what was masked: not the select list, not a
// condition, a join, a sort, an aggregate, a nested value, nor an error. A
// view is replaced by its own query with the same done inside. Where no
// subquery can stand (the target of UPDATE, a CLONE) the statement is refused.
package rewrite

import (
	"fmt"
	"slices"
	"strconv"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
	"querywarden/policy/mask"
)

// A Refusal says why a statement that policy lets through cannot be run
// masked.
type Refusal struct{ Reason policy.Reason }

// Error returns the reason's sentence.
func (r *Refusal) Error() string { return r.Reason.Sentence }

func refuse(next, format string, args ...any) error {
	return &Refusal{policy.Reason{Code: policy.CodeMaskUnresolved, Sentence: fmt.Sprintf(format, args...), Next: next}}
}

// Masked is a column of the result whose values are, or depend on, masked
// ones.
type Masked struct {
	Column string
	Mask   mask.Mask
}

// rewriter holds what a decision says of columns and rows.
type rewriter struct {
	masks   map[column]mask.Mask
	filters map[policy.Object][]string
	key     string
	changed bool
}

type column struct {
	object policy.Object
	name   string
}

// Apply changes the resolved tree as the decision says and returns it with the
// columns of the result that hold masked values. key is the gate's secret for
// hashes. The error is a [*Refusal] where the fault is in the statement.
func Apply(res *resolve.Resolution, d policy.Decision, key []byte) (ast.Statement, []Masked, error) {
	rw := &rewriter{masks: map[column]mask.Mask{}, filters: map[policy.Object][]string{}, key: string(key)}
	for _, m := range d.Masks {
		rw.masks[column{m.Object, m.Column}] = m.Mask
	}
	for _, f := range d.Filters {
		rw.filters[f.Object] = append(rw.filters[f.Object], f.Where)
	}
	for _, c := range res.Stored {
		if _, masked := rw.origin(c.Origins); masked {
			return nil, nil, refuse("Set the column from a constant or from columns that are not masked for you.", "The value for %s comes from a masked column, and a masked value must not overwrite a real one.", c.Name)
		}
	}
	var masked []Masked
	for _, c := range res.Output {
		if m, ok := rw.origin(c.Origins); ok {
			masked = append(masked, Masked{c.Name, m})
		}
	}
	for _, ref := range res.Refs {
		if err := rw.ref(ref, res.Tree); err != nil {
			return nil, nil, err
		}
	}
	if c, ok := res.Tree.(*ast.Create); ok && c.Kind == "VIEW" && rw.changed {
		return nil, nil, refuse("Create a table from the query instead.", "A view over masked columns would show others what is masked for you, or hide what is not.")
	}
	return res.Tree, masked, nil
}

// origin reports the mask on any of the columns that a value comes from.
func (rw *rewriter) origin(origins []resolve.Origin) (mask.Mask, bool) {
	var found mask.Mask
	ok := false
	add := func(m mask.Mask) {
		if ok {
			m = mask.Strictest(found, m)
		}
		found, ok = m, true
	}
	for _, o := range origins {
		if m, masked := rw.masks[column{o.Ref.Table.Object, o.Column}]; masked {
			add(m)
		}
		i := slices.IndexFunc(o.Ref.Table.Columns, func(c policy.Column) bool { return c.Name == o.Column })
		if i >= 0 && i < len(o.Ref.Yields) {
			if m, masked := rw.origin(o.Ref.Yields[i].Origins); masked {
				add(m)
			}
		}
	}
	return found, ok
}

// touches reports whether any touched column of the reference is masked.
func (rw *rewriter) touches(ref *resolve.Ref) bool {
	return slices.ContainsFunc(ref.Touched(), func(c policy.Column) bool {
		_, masked := rw.masks[column{ref.Table.Object, c.Name}]
		return masked
	})
}

// ref rewrites one reference.
func (rw *rewriter) ref(ref *resolve.Ref, tree ast.Statement) error {
	masked, filters := rw.touches(ref), rw.filters[ref.Table.Object]
	switch {
	case ref.Target:
		return rw.target(ref, tree, masked, filters)
	case ref.Slot == nil:
		if masked || filters != nil {
			return refuse("Copy the columns that you need with CREATE TABLE … AS SELECT.", "This statement takes the rows of %s as they are, and some of it is masked or filtered for you.", ref.Table.Object)
		}
		return nil
	case ref.Query != nil:
		if err := rw.view(ref, tree); err != nil {
			return err
		}
	}
	if !masked && filters == nil {
		return nil
	}
	rw.changed = true
	return rw.wrap(ref, filters)
}

// target guards the table that a statement changes: its rows cannot be
// replaced, so its conditions may only look at what is not masked, and a row
// filter joins them.
func (rw *rewriter) target(ref *resolve.Ref, tree ast.Statement, masked bool, filters []string) error {
	if masked {
		return refuse("Choose the rows by columns that are not masked for you.", "The statement looks at columns of %s that are masked for you, and it changes that table.", ref.Table.Object)
	}
	if filters == nil {
		return nil
	}
	if _, merge := tree.(*ast.Merge); merge {
		return refuse("Use UPDATE, DELETE and INSERT.", "MERGE into %s, whose rows are filtered for you, would take hidden rows for missing ones.", ref.Table.Object)
	}
	cond, err := rw.condition(ref.Table, filters, ref.Alias)
	if err != nil {
		return err
	}
	if *ref.Where == nil {
		*ref.Where = cond
		return nil
	}
	*ref.Where = &ast.Binary{Op: "AND", X: &ast.ParenExpr{X: *ref.Where}, Y: cond}
	return nil
}

// view replaces a view by its query where something inside had to change.
func (rw *rewriter) view(ref *resolve.Ref, tree ast.Statement) error {
	before := rw.changed
	rw.changed = false
	for _, inside := range ref.Inside {
		if err := rw.ref(inside, tree); err != nil {
			return err
		}
	}
	expanded := rw.changed
	rw.changed = before || expanded
	if !expanded {
		return nil
	}
	t, ok := (*ref.Slot).(*ast.Table)
	if !ok {
		return refuse("Query the tables below the view.", "The view %s cannot be masked here.", ref.Table.Object)
	}
	if t.At != nil {
		return refuse("Query the view without AT or BEFORE.", "The view %s cannot be masked in the past.", ref.Table.Object)
	}
	alias := &ast.Alias{Name: ref.Alias, Columns: t.Alias.Columns}
	if alias.Columns == nil {
		for _, c := range ref.Table.Columns {
			alias.Columns = append(alias.Columns, ast.NewIdent(c.Name))
		}
	}
	*ref.Slot = &ast.Derived{Query: ref.Query, Alias: alias, Sample: t.Sample}
	return nil
}

// inner is the alias of the relation inside of the subquery that masks it.
var inner = ast.NewIdent("Q")

// wrap puts the subquery where the relation stands.
func (rw *rewriter) wrap(ref *resolve.Ref, filters []string) error {
	s := &ast.Select{}
	d := &ast.Derived{Query: s, Alias: &ast.Alias{Name: ref.Alias}}
	switch rel := (*ref.Slot).(type) {
	case *ast.Table:
		d.Alias.Columns = rel.Alias.Columns
		d.Sample = rel.Sample
		s.From = []ast.Relation{&ast.Table{Name: rel.Name, At: rel.At, Changes: rel.Changes, Alias: &ast.Alias{Name: inner}}}
	case *ast.Derived: // a view that has been replaced
		d.Sample = rel.Sample
		rel.Sample = nil
		rel.Alias = &ast.Alias{Name: inner, Columns: rel.Alias.Columns}
		s.From = []ast.Relation{rel}
	default:
		return refuse("Query the table by its name in FROM.", "%s cannot be masked here.", ref.Table.Object)
	}
	for _, c := range ref.Touched() {
		item, err := rw.item(ref.Table, c)
		if err != nil {
			return err
		}
		s.Items = append(s.Items, item)
	}
	if s.Items == nil { // COUNT(*) needs rows, not columns
		s.Items = []*ast.SelectItem{{Expr: &ast.Literal{Kind: ast.NumberLiteral, Value: "1"}, Alias: ast.NewIdent("ONE")}}
	}
	if filters != nil {
		cond, err := rw.condition(ref.Table, filters, inner)
		if err != nil {
			return err
		}
		s.Where = cond
	}
	*ref.Slot = d
	return nil
}

// item is one column of the subquery: itself, or its mask under its name.
func (rw *rewriter) item(t *policy.Table, c policy.Column) (*ast.SelectItem, error) {
	ref := &ast.ColumnRef{Parts: []*ast.Ident{inner, ast.NewIdent(c.Name)}}
	m, masked := rw.masks[column{t.Object, c.Name}]
	if !masked {
		return &ast.SelectItem{Expr: ref}, nil
	}
	name, err := ast.Print(ref, ast.Snowflake)
	if err != nil {
		return nil, fmt.Errorf("masking %s: %w", c.Name, err)
	}
	text, err := m.SQL(name, c.Type, rw.key)
	if err != nil {
		return nil, fmt.Errorf("masking %s: %w", c.Name, err)
	}
	x, err := parser.ParseExpr(text)
	if err != nil {
		return nil, fmt.Errorf("masking %s: %w", c.Name, err)
	}
	return &ast.SelectItem{Expr: x, Alias: ast.NewIdent(c.Name)}, nil
}

// condition reads row filters and qualifies their columns.
func (rw *rewriter) condition(t *policy.Table, filters []string, alias *ast.Ident) (ast.Expr, error) {
	var all ast.Expr
	for _, f := range filters {
		x, err := filter(t, f, alias)
		if err != nil {
			return nil, fmt.Errorf("reading the row filter of %s: %w", t.Object, err)
		}
		x = &ast.ParenExpr{X: x}
		if all != nil {
			x = &ast.Binary{Op: "AND", X: all, Y: x}
		}
		all = x
	}
	return &ast.ParenExpr{X: all}, nil
}

// filter reads one row filter: an expression over the table's own columns.
func filter(t *policy.Table, text string, alias *ast.Ident) (ast.Expr, error) {
	x, err := parser.ParseExpr(text)
	if err != nil {
		return nil, err
	}
	ast.Inspect(x, func(n ast.Node) bool {
		switch n := n.(type) {
		case ast.Query:
			err = fmt.Errorf("subqueries are not allowed")
		case *ast.Call:
			if f, known := resolve.Lookup(n.Name.Fold()); !known || f.Effects.NeedPermission() {
				err = fmt.Errorf("the function %s is not allowed", n.Name.Fold())
			}
		case *ast.ColumnRef:
			column := n.Parts[len(n.Parts)-1].Fold()
			known := slices.ContainsFunc(t.Columns, func(c policy.Column) bool { return c.Name == column })
			if len(n.Parts) != 1 || !known {
				err = fmt.Errorf("%s is no column of the table", column)
				return false
			}
			n.Parts = []*ast.Ident{alias, ast.NewIdent(column)}
			return false
		}
		return err == nil
	})
	return x, err
}

// CheckFilter reports why a row filter could not be used on a table, nil if it
// can.
func CheckFilter(t *policy.Table, text string) error {
	_, err := filter(t, text, inner)
	return err
}

// Limit makes a query yield at most n rows and reports whether the statement
// is a query. A smaller limit of its own stays.
func Limit(stmt ast.Statement, n int64) (ast.Statement, bool) {
	q, ok := stmt.(*ast.QueryStmt)
	if !ok {
		return stmt, false
	}
	limitQuery(q.Query, &ast.Literal{Kind: ast.NumberLiteral, Value: strconv.FormatInt(n, 10)}, n)
	return stmt, true
}

func limitQuery(q ast.Query, limit *ast.Literal, n int64) {
	switch q := q.(type) {
	case *ast.With:
		limitQuery(q.Body, limit, n)
	case *ast.Select:
		if q.Top != nil {
			if larger(q.Top, n) {
				q.Top = limit
			}
			return
		}
		limitTail(&q.Tail, limit, n)
	case *ast.SetOp:
		limitTail(&q.Tail, limit, n)
	case *ast.Values:
		limitTail(&q.Tail, limit, n)
	case *ast.Paren:
		limitTail(&q.Tail, limit, n)
	}
}

func limitTail(t *ast.Tail, limit *ast.Literal, n int64) {
	if t.Limit == nil || larger(t.Limit, n) {
		t.Limit = limit
	}
}

// larger reports whether a limit is more than n, or NULL or an expression,
// which may be anything.
func larger(x ast.Expr, n int64) bool {
	lit, ok := x.(*ast.Literal)
	if !ok || lit.Kind != ast.NumberLiteral {
		return true
	}
	v, err := strconv.ParseInt(lit.Value, 10, 64)
	return err != nil || v > n
}
