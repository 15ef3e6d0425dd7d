package rewrite

import (
	"errors"
	"fmt"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
)

// verify reads the text that would run and looks, knowing nothing of how it
// came about, for guarded objects anywhere but where their masks are. It asks
// three things of the text:
//
//   - A guarded object is named only in the FROM of a subquery with nothing but
//     a list and a condition, and as the target of a statement that writes.
//   - No item of that list reads a masked column but the mask's own expression.
//   - The condition is there if rows are filtered, and in front of every column.
//
// It costs another reading and stands between a mistake of the resolver or of
// the rewriter and the values it would show. What it finds is a fault of this
// program, so its error is no [*Refusal] that would tell an agent more.
func (rw *rewriter) verify(tree ast.Statement) error {
	if len(rw.guarded) == 0 {
		return nil
	}
	text, err := ast.Print(tree, ast.Snowflake)
	if err != nil {
		return fmt.Errorf("printing the statement: %w", err)
	}
	stmt, err := parser.ParseStatement(text)
	if err != nil {
		return fmt.Errorf("reading the masked statement: %w", err)
	}
	v := verifier{rw: rw, proven: map[*ast.ObjectName]bool{}}
	for _, n := range targets(stmt) {
		v.proven[n] = true
	}
	ast.Inspect(stmt, v.visit)
	return v.err
}

type verifier struct {
	rw     *rewriter
	proven map[*ast.ObjectName]bool
	err    error
}

var errUnmasked = errors.New("verifying the masked statement: a guarded object is not masked")

func (v *verifier) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.Select:
		if t, o := v.guardedTable(n); t != nil && v.masks(n, o) {
			v.proven[t.Name] = true
		}
	case *ast.ObjectName:
		if _, guarded := v.guarded(n); guarded && !v.proven[n] {
			v.err = errUnmasked
		}
	}
	return v.err == nil
}

// guarded returns the guarded object that a name means.
func (v *verifier) guarded(n *ast.ObjectName) (policy.Object, bool) {
	if len(n.Parts) != 3 || n.Dynamic != nil {
		return policy.Object{}, false
	}
	for o := range v.rw.guarded {
		if n.Parts[0].Fold() == o.Database && fold(n.Parts[1]) == o.Schema && n.Parts[2].Fold() == o.Name {
			return o, true
		}
	}
	return policy.Object{}, false
}

func fold(i *ast.Ident) string {
	if i == nil {
		return ""
	}
	return i.Fold()
}

// guardedTable returns the one table that a plain SELECT reads, if that is all
// it does and the table is guarded.
func (v *verifier) guardedTable(s *ast.Select) (*ast.Table, policy.Object) {
	plain := len(s.From) == 1 && !s.Distinct && s.Top == nil && s.Into == nil && s.Connect == nil && s.GroupBy == nil &&
		s.Having == nil && s.Qualify == nil && s.OrderBy == nil && s.OrderAll == nil && s.Limit == nil && s.Offset == nil
	if !plain {
		return nil, policy.Object{}
	}
	t, ok := s.From[0].(*ast.Table)
	if !ok || t.Alias == nil || t.Alias.Name.Fold() != inner.Fold() || t.Alias.Columns != nil {
		return nil, policy.Object{}
	}
	o, guarded := v.guarded(t.Name)
	if !guarded {
		return nil, policy.Object{}
	}
	return t, o
}

// masks reports whether the SELECT yields nothing of the object but masked and
// free columns, of rows that the filters let through.
func (v *verifier) masks(s *ast.Select, o policy.Object) bool {
	filtered := v.rw.filters[o] != nil
	for _, item := range s.Items {
		x := item.Expr
		if lit, ok := x.(*ast.Literal); filtered && !(ok && lit.Kind == ast.NumberLiteral) {
			guarded, ok := v.behind(x, o)
			if !ok || item.Alias == nil {
				return false
			}
			if ref, plain := guarded.(*ast.ColumnRef); plain && ref.Parts[len(ref.Parts)-1].Fold() != item.Alias.Fold() {
				return false
			}
			x = guarded
		}
		switch x := x.(type) {
		case *ast.ColumnRef:
			if len(x.Parts) != 2 || fold(x.Parts[0]) != inner.Fold() {
				return false
			}
			if _, masked := v.rw.masks[column{o, x.Parts[1].Fold()}]; masked {
				return false
			}
		default:
			if item.Alias == nil || !v.isMask(x, column{o, item.Alias.Fold()}) {
				return false
			}
		}
	}
	if !filtered {
		return s.Where == nil
	}
	return s.Where != nil && v.isFilter(s.Where, o)
}

// behind returns what stands behind the object's filters in CASE WHEN … THEN …
// END.
func (v *verifier) behind(x ast.Expr, o policy.Object) (ast.Expr, bool) {
	c, ok := x.(*ast.Case)
	if !ok || c.X != nil || c.Else != nil || len(c.Whens) != 1 || !v.isFilter(c.Whens[0].If, o) {
		return nil, false
	}
	return c.Whens[0].Then, true
}

// isMask reports whether an expression is the column's mask to the letter, or
// the constant that stands where only rows matter.
func (v *verifier) isMask(x ast.Expr, c column) bool {
	_, masked := v.rw.masks[c]
	if !masked {
		lit, ok := x.(*ast.Literal)
		return ok && lit.Kind == ast.NumberLiteral
	}
	want, ok := v.rw.texts[c]
	got, err := ast.Print(x, ast.Snowflake)
	return ok && err == nil && got == want
}

// isFilter reports whether a condition holds every filter of the object, joined
// by AND.
func (v *verifier) isFilter(x ast.Expr, o policy.Object) bool {
	want, ok := v.rw.conditions[o]
	got, err := ast.Print(x, ast.Snowflake)
	return ok && err == nil && got == want
}

// targets are the names of what a statement writes to, where rows do not come
// from.
func targets(stmt ast.Statement) []*ast.ObjectName {
	switch s := stmt.(type) {
	case *ast.Insert:
		return []*ast.ObjectName{s.Target}
	case *ast.MultiInsert:
		var names []*ast.ObjectName
		for _, b := range s.Branches {
			for _, into := range b.Into {
				names = append(names, into.Target)
			}
		}
		return names
	case *ast.Update:
		return []*ast.ObjectName{s.Target}
	case *ast.Delete:
		return []*ast.ObjectName{s.Target}
	case *ast.Merge:
		return []*ast.ObjectName{s.Target}
	case *ast.Create:
		return []*ast.ObjectName{s.Name, s.Like}
	default:
		return nil
	}
}
