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
// view is replaced by its own query with the same done inside.
//
// Where a statement takes all columns there are (*, PIVOT, NATURAL JOIN), the
// subquery stands there even if nothing is masked, so that a column which the
// catalog does not know yet does not come along.
//
// AT, BEFORE and CHANGES go inside. So does SAMPLE, unless rows are filtered.
//
// A warehouse may put the conditions of a statement in front of a filter, and
// whether one of them fails on a row that is hidden would tell what is in it
// (docs.snowflake.com/en/user-guide/views-secure shows it by a division). So the
// columns of filtered rows stand behind the filter themselves,
//
//	(SELECT CASE WHEN Q.REGION = 'EU' THEN Q.AMOUNT END AS AMOUNT FROM DB.S.ORDERS AS Q WHERE Q.REGION = 'EU')
//
// and hidden rows, looked at too early, are all alike. The conditions and values
// of UPDATE and DELETE stand behind it too.
//
// Some statements are refused instead: where no subquery can stand (a masked
// column of the target of UPDATE, a CLONE), where a masked value would take
// the place of a real one (SET, MERGE, INSERT OVERWRITE from the same table),
// where the mask itself would show (CREATE VIEW), and where hidden rows would be
// counted (EXPLAIN over filtered rows).
//
// EXPLAIN explains the masked statement. A plan shows constants, so the key of a
// hash is not among them.
//
// Before anything is returned, the text is printed, read again and proven to
// name no guarded object outside of its subquery.
package rewrite

import (
	"errors"
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
	guarded map[policy.Object]bool // have either
	key     string
	changed bool
	// What verify has to find: the text of each mask, and of each object's
	// filters together.
	texts      map[column]string
	conditions map[policy.Object]string
}

type column struct {
	object policy.Object
	name   string
}

// Apply changes the resolved tree as the decision says and returns it with the
// columns of the result that hold masked values. key is the gate's secret for
// hashes. The error is a [*Refusal] where the fault is in the statement.
func Apply(res *resolve.Resolution, d policy.Decision, key []byte) (ast.Statement, []Masked, error) {
	rw := &rewriter{
		masks: map[column]mask.Mask{}, filters: map[policy.Object][]string{}, guarded: map[policy.Object]bool{}, key: string(key),
		texts: map[column]string{}, conditions: map[policy.Object]string{},
	}
	for _, m := range d.Masks {
		rw.masks[column{m.Object, m.Column}] = m.Mask
		rw.guarded[m.Object] = true
	}
	for _, f := range d.Filters {
		rw.filters[f.Object] = append(rw.filters[f.Object], f.Where)
		rw.guarded[f.Object] = true
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
	if _, explain := res.Tree.(*ast.Explain); explain {
		if len(d.Filters) > 0 {
			return nil, nil, refuse("Use the query tool's dry_run.", "The warehouse's plan would count the rows that are hidden from you.")
		}
		rw.key = mask.HiddenKey
	}
	for _, ref := range res.Refs {
		if err := rw.ref(ref, res.Tree); err != nil {
			return nil, nil, err
		}
	}
	if t, ok := res.Tree.(*ast.Create); ok && rw.changed && t.Kind == "VIEW" {
		return nil, nil, refuse("Create a table from the query instead.", "A view over masked columns would show others what is masked for you, or hide what is not.")
	}
	if err := rw.verify(res.Tree); err != nil {
		return nil, nil, err
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

// ref rewrites one reference. Every reference to an object that is guarded gets
// its subquery, also one that touches nothing masked, so that none of them has
// to be argued about.
func (rw *rewriter) ref(ref *resolve.Ref, tree ast.Statement) error {
	filters := rw.filters[ref.Table.Object]
	guarded := rw.guarded[ref.Table.Object]
	switch {
	case ref.Target:
		return rw.target(ref, tree, rw.touches(ref), filters)
	case ref.Slot == nil:
		if guarded && ref.Table.Kind == policy.StageObject {
			return refuse("Query the tables that the files came from.", "Files of the stage %s hold what is masked or filtered for you, and nothing can mask a file.", ref.Table.Object)
		}
		if guarded {
			return refuse("Copy the columns that you need with CREATE TABLE … AS SELECT.", "This statement takes the rows of %s as they are, and some of it is masked or filtered for you.", ref.Table.Object)
		}
		return nil
	}
	var columns []*ast.Ident // as the statement calls them
	if t, ok := (*ref.Slot).(*ast.Table); ok {
		columns = t.Alias.Columns
	}
	if ref.Query != nil {
		expanded, err := rw.view(ref, tree)
		if err != nil {
			return err
		}
		if expanded && !guarded {
			if columns != nil {
				(*ref.Slot).(*ast.Derived).Alias.Columns = columns
			}
			return nil
		}
	}
	if !guarded && !ref.Whole {
		return nil
	}
	rw.changed = rw.changed || guarded
	return rw.wrap(ref, filters, columns)
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
	if ref.Early {
		return refuse("Compare with the table's columns in WHERE.", "The statement looks at rows of %s before it chooses them, and some are hidden from you.", ref.Table.Object)
	}
	cond, err := rw.condition(ref.Table, filters, ref.Alias)
	if err != nil {
		return err
	}
	if update, ok := tree.(*ast.Update); ok {
		for _, a := range update.Set {
			if !constant(a.Value) {
				a.Value = behind(cond, a.Value, nil)
			}
		}
	}
	if *ref.Where == nil {
		*ref.Where = cond
		return nil
	}
	*ref.Where = &ast.Binary{Op: "AND", X: behind(cond, *ref.Where, &ast.Literal{Kind: ast.BoolLiteral, Value: "FALSE"}), Y: cond}
	return nil
}

// behind is a value where the condition holds, and otherwise another, or NULL.
func behind(cond, x, otherwise ast.Expr) *ast.Case {
	return &ast.Case{Whens: []*ast.When{{If: cond, Then: x}}, Else: otherwise}
}

// constant reports whether a value in SET looks at no row: a literal, or the
// word DEFAULT, which stands alone or not at all.
func constant(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Literal:
		return true
	case *ast.ColumnRef:
		return len(x.Parts) == 1 && !x.Parts[0].Quoted && x.Parts[0].Fold() == "DEFAULT"
	default:
		return false
	}
}

// view replaces a view by its query, with the view's columns, where something
// inside had to change, and reports whether it did.
func (rw *rewriter) view(ref *resolve.Ref, tree ast.Statement) (expanded bool, err error) {
	before := rw.changed
	rw.changed = false
	for _, inside := range ref.Inside {
		if err := rw.ref(inside, tree); err != nil {
			return false, err
		}
	}
	expanded = rw.changed
	rw.changed = before || expanded
	if !expanded {
		return false, nil
	}
	t, ok := (*ref.Slot).(*ast.Table)
	if !ok {
		return false, refuse("Query the tables below the view.", "The view %s cannot be masked here.", ref.Table.Object)
	}
	if t.At != nil {
		return false, refuse("Query the view without AT or BEFORE.", "The view %s cannot be masked in the past.", ref.Table.Object)
	}
	alias := &ast.Alias{Name: ref.Alias}
	for _, c := range ref.Table.Columns {
		alias.Columns = append(alias.Columns, ast.NewIdent(c.Name))
	}
	*ref.Slot = &ast.Derived{Query: ref.Query, Alias: alias, Sample: t.Sample}
	return true, nil
}

// inner is the alias of the relation inside of the subquery that masks it.
var inner = ast.NewIdent("Q")

// wrap puts the subquery where the relation stands. A sample is taken inside,
// where the warehouse can take every kind of it, unless rows are filtered: how
// many of a sample are left would tell how many are hidden.
func (rw *rewriter) wrap(ref *resolve.Ref, filters []string, columns []*ast.Ident) error {
	s := &ast.Select{}
	d := &ast.Derived{Query: s, Alias: &ast.Alias{Name: ref.Alias, Columns: columns}}
	switch rel := (*ref.Slot).(type) {
	case *ast.Table:
		table := &ast.Table{Name: rel.Name, At: rel.At, Changes: rel.Changes, Alias: &ast.Alias{Name: inner}}
		switch sample := rel.Sample; {
		case sample == nil:
		case filters == nil:
			table.Sample = sample
		case sample.Method == "SYSTEM", sample.Seed != nil:
			return refuse("Sample by row, without a seed.", "Rows of %s are filtered for you, so blocks of it cannot be sampled.", ref.Table.Object)
		default:
			d.Sample = sample
		}
		s.From = []ast.Relation{table}
	case *ast.Derived: // a view that has been replaced
		d.Sample = rel.Sample
		rel.Sample = nil
		rel.Alias.Name = inner
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
	if t, ok := s.From[0].(*ast.Table); ok && t.Changes != nil {
		for _, c := range resolve.ChangeColumns {
			s.Items = append(s.Items, &ast.SelectItem{Expr: &ast.ColumnRef{Parts: []*ast.Ident{inner, ast.NewIdent(c)}}})
		}
	}
	if filters != nil {
		cond, err := rw.condition(ref.Table, filters, inner)
		if err != nil {
			return err
		}
		s.Where = cond
		for _, item := range s.Items {
			if item.Alias == nil {
				parts := item.Expr.(*ast.ColumnRef).Parts
				item.Alias = parts[len(parts)-1]
			}
			item.Expr = behind(cond, item.Expr, nil)
		}
		if rw.conditions[ref.Table.Object], err = ast.Print(cond, ast.Snowflake); err != nil {
			return fmt.Errorf("filtering %s: %w", ref.Table.Object, err)
		}
	}
	if s.Items == nil { // COUNT(*) needs rows, not columns
		s.Items = []*ast.SelectItem{{Expr: &ast.Literal{Kind: ast.NumberLiteral, Value: "1"}, Alias: ast.NewIdent("ONE")}}
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
	if rw.texts[column{t.Object, c.Name}], err = ast.Print(x, ast.Snowflake); err != nil {
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
			err = errors.New("subqueries are not allowed")
		case *ast.Star, *ast.Positional, *ast.Variable, *ast.Param, *ast.StageExpr, *ast.TableArg, *ast.Lambda:
			err = errors.New("only columns, constants, operators and functions are allowed")
		case *ast.Call:
			if f, known := resolve.Lookup(n.Name.Fold()); !known || f.Effects.NeedPermission() {
				err = fmt.Errorf("the function %s is not allowed", n.Name.Fold())
			}
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	resolve.ColumnRefs(x, func(c *ast.ColumnRef) {
		column := c.Parts[len(c.Parts)-1].Fold()
		known := slices.ContainsFunc(t.Columns, func(c policy.Column) bool { return c.Name == column })
		if len(c.Parts) != 1 || !known {
			err = fmt.Errorf("%s is no column of the table", column)
			return
		}
		c.Parts = []*ast.Ident{alias, ast.NewIdent(column)}
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
