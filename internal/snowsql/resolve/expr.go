package resolve

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/policy"
)

var errNoQuery = errors.New("the definition holds no query")

// valuesColumn is the name of the i-th column of VALUES.
func valuesColumn(i int) string { return "COLUMN" + strconv.Itoa(i+1) }

// opt resolves an expression that may be missing.
func (r *resolver) opt(x ast.Expr, s *scope, with *ctes) []Origin {
	if x == nil {
		return nil
	}
	return r.expr(x, s, with)
}

func (r *resolver) all(list []ast.Expr, s *scope, with *ctes) []Origin {
	var origins []Origin
	for _, x := range list {
		origins = union(origins, r.expr(x, s, with))
	}
	return origins
}

// subquery resolves a query inside an expression. What it yields may come from
// anything in it.
func (r *resolver) subquery(q ast.Query, s *scope, with *ctes) []Origin {
	return origins(r.query(q, s, with))
}

// expr resolves an expression and returns the columns that its value comes
// from.
func (r *resolver) expr(x ast.Expr, s *scope, with *ctes) []Origin {
	switch x := x.(type) {
	case *ast.Literal, *ast.TypedLiteral:
		return nil
	case *ast.ColumnRef:
		return r.column(x, s)
	case *ast.Star:
		return origins(r.star(x, s, with))
	case *ast.Positional:
		return r.positional(x, s)
	case *ast.Unary:
		return r.expr(x.X, s, with)
	case *ast.Binary:
		return union(r.expr(x.X, s, with), r.expr(x.Y, s, with))
	case *ast.Between:
		return r.all([]ast.Expr{x.X, x.Low, x.High}, s, with)
	case *ast.In:
		origins := union(r.expr(x.X, s, with), r.all(x.List, s, with))
		if x.Query != nil {
			origins = union(origins, r.subquery(x.Query, s, with))
		}
		return origins
	case *ast.Like:
		origins := union(r.expr(x.X, s, with), r.all(x.Patterns, s, with))
		if x.Query != nil {
			origins = union(origins, r.subquery(x.Query, s, with))
		}
		return union(origins, r.opt(x.Escape, s, with))
	case *ast.Is:
		return union(r.expr(x.X, s, with), r.opt(x.Y, s, with))
	case *ast.Quantified:
		origins := union(r.expr(x.X, s, with), r.all(x.List, s, with))
		if x.Query != nil {
			origins = union(origins, r.subquery(x.Query, s, with))
		}
		return origins
	case *ast.Exists:
		return r.subquery(x.Query, s, with)
	case *ast.Subquery:
		return r.subquery(x.Query, s, with)
	case *ast.Case:
		origins := union(r.opt(x.X, s, with), r.opt(x.Else, s, with))
		for _, w := range x.Whens {
			origins = union(origins, union(r.expr(w.If, s, with), r.expr(w.Then, s, with)))
		}
		return origins
	case *ast.Cast:
		if x.Type.Custom != nil {
			r.unsupported("casts to user-defined types", "Cast to one of Snowflake's own types.")
		}
		return r.expr(x.X, s, with)
	case *ast.Extract:
		return r.expr(x.X, s, with)
	case *ast.Path:
		return r.expr(x.X, s, with)
	case *ast.Index:
		return union(r.expr(x.X, s, with), union(r.expr(x.I, s, with), r.opt(x.To, s, with)))
	case *ast.OuterRef:
		return r.expr(x.X, s, with)
	case *ast.ParenExpr:
		return r.expr(x.X, s, with)
	case *ast.Tuple:
		return r.all(x.Items, s, with)
	case *ast.Array:
		return r.all(x.Items, s, with)
	case *ast.Object:
		var origins []Origin
		for _, f := range x.Fields {
			origins = union(origins, r.expr(f.Value, s, with))
		}
		return origins
	case *ast.NamedArg:
		return r.expr(x.Value, s, with)
	case *ast.Lambda:
		inner := &scope{parent: s, aliases: map[string][]Origin{}}
		for _, p := range x.Params {
			inner.aliases[p.Fold()] = nil
		}
		return r.expr(x.Body, inner, with)
	case *ast.Call:
		return r.call(x, s, with)
	case *ast.Param:
		r.unsupported("bind variables", "Write the value into the statement.")
		return nil
	case *ast.Variable:
		r.unsupported("session variables", "Write the value into the statement.")
		return nil
	case *ast.StageExpr:
		r.unsupported("stages as values", "Query a table.")
		return nil
	case *ast.TableArg:
		r.unsupported("tables as arguments", "Query the table in FROM.")
		return nil
	case *ast.GroupingSets:
		return r.all(x.Sets, s, with)
	default:
		r.unsupported("this kind of expression", "Write it with plain operators and functions.")
		return nil
	}
}

// named reports whether a qualifier means this source.
func (src *source) named(qualifier []*ast.Ident) bool {
	last := qualifier[len(qualifier)-1]
	if last == nil {
		return false
	}
	if len(qualifier) == 1 {
		if src.alias != nil && src.alias.Fold() == last.Fold() {
			return true
		}
		return src.full.object != "" && src.full.object == last.Fold()
	}
	if src.full.object != last.Fold() {
		return false
	}
	if len(qualifier) >= 2 && fold(qualifier[len(qualifier)-2], "PUBLIC") != src.full.schema {
		return false
	}
	return len(qualifier) < 3 || fold(qualifier[len(qualifier)-3], "") == src.full.database
}

// has reports whether a column of this name may be the source's.
func (src *source) has(column string) bool {
	return slices.ContainsFunc(src.columns, func(c Column) bool { return c.Open || c.Name == column })
}

// column resolves a column's name, from the innermost scope outwards up to the
// first that surely has it, by all readings on the way.
func (r *resolver) column(x *ast.ColumnRef, s *scope) []Origin {
	last := x.Parts[len(x.Parts)-1]
	qualifier := x.Parts[:len(x.Parts)-1]
	if last == nil || slices.Contains(qualifier, nil) && len(qualifier) < 2 {
		r.problem(policy.CodeColumnUnknown, "Write alias.column.", "A part of a column's name is missing.")
		return nil
	}
	column := last.Fold()
	if len(qualifier) == 0 && !last.Quoted && contextWords[column] {
		r.functions[column] = true
		return nil
	}
	origins, found := s.find(qualifier, column)
	switch found {
	case maybe, sure:
		touch(origins)
		s.requalify(x)
		return origins
	case several:
		r.problem(policy.CodeColumnAmbiguous, "Give the tables aliases of their own.", "The name %s fits several tables.", qualifier[len(qualifier)-1].Fold())
		return nil
	case none:
	}
	if len(qualifier) == 0 && !last.Quoted && column == "DEFAULT" {
		return nil // INSERT … VALUES (DEFAULT)
	}
	r.unknownColumn(x, s)
	return nil
}

// A match says how surely a scope has a column of some name.
type match uint8

const (
	none    match = iota
	maybe         // an alias of the list, or a source whose columns nobody knows
	sure          // a column that the catalog knows: no outer scope can be meant
	several       // a qualifier that fits two sources
)

// find looks for a column in a scope and those around it, up to the first that
// surely has it. A table that might have it, if it had a column that the
// catalog does not know, is told to keep such columns to itself.
func (s *scope) find(qualifier []*ast.Ident, column string) (origins []Origin, found match) {
	for at := s; at != nil && found < sure; at = at.parent {
		here, m := at.lookup(qualifier, column)
		origins, found = union(origins, here), max(found, m)
		if m >= sure {
			break
		}
		for _, src := range at.sources {
			if src.ref == nil || len(qualifier) > 0 && !src.named(qualifier) {
				continue
			}
			if src.ref.Target {
				// No subquery can stand in for it, so nothing is sure here.
				return nil, none
			}
			src.ref.Whole = true
		}
	}
	return origins, found
}

// perhaps resolves a word that may name a column, or may not.
func (r *resolver) perhaps(x *ast.ColumnRef, s *scope) []Origin {
	origins, _ := s.find(nil, x.Parts[0].Fold())
	touch(origins)
	return origins
}

// lookup looks for a column in one scope, without its parents.
func (s *scope) lookup(qualifier []*ast.Ident, column string) (origins []Origin, m match) {
	holders := 0
	for _, src := range s.sources {
		if len(qualifier) > 0 && !src.named(qualifier) {
			continue
		}
		here := none
		for _, c := range src.columns {
			switch {
			case c.Open:
				origins, here = union(origins, c.Origins), max(here, maybe)
			case c.Name == column:
				origins, here = union(origins, c.Origins), sure
			}
		}
		if here != none {
			holders++
		}
		m = max(m, here)
	}
	if len(qualifier) > 0 {
		if holders > 1 {
			return nil, several
		}
		return origins, m
	}
	if alias, ok := s.aliases[column]; ok {
		origins, m = union(origins, alias), max(m, maybe)
	}
	return origins, m
}

// requalify writes the alias of the source that a qualifier means in the place
// of its full name: a subquery that takes the table's place has an alias only.
func (s *scope) requalify(x *ast.ColumnRef) {
	last := len(x.Parts) - 1
	for ; last > 0 && s != nil; s = s.parent {
		for _, src := range s.sources {
			if src.alias != nil && src.named(x.Parts[:last]) && src.has(x.Parts[last].Fold()) {
				x.Parts = []*ast.Ident{src.alias, x.Parts[last]}
				return
			}
		}
	}
}

func (r *resolver) unknownColumn(x *ast.ColumnRef, s *scope) {
	want := x.Parts[len(x.Parts)-1].Fold()
	next := "Use describe_table to see a table's columns."
	best := 1 + len(want)/3
	for at := s; at != nil; at = at.parent {
		for _, src := range at.sources {
			for _, c := range src.columns {
				if d := distance(want, c.Name); d <= best {
					best, next = d-1, "Did you mean "+c.Name+"?"
				}
			}
		}
	}
	written := make([]string, len(x.Parts))
	for i, p := range x.Parts {
		written[i] = fold(p, "")
	}
	r.problem(policy.CodeColumnUnknown, next, "There is no column %s here.", strings.Join(written, "."))
}

// positional resolves $1: a column of the FROM by its place. Every column is
// touched, so that each keeps its place.
func (r *resolver) positional(x *ast.Positional, s *scope) []Origin {
	var all []Column
	for _, src := range s.sources {
		r.touchAll(src)
		all = append(all, src.columns...)
	}
	r.spend(len(all))
	if len(s.sources) == 0 {
		r.problem(policy.CodeColumnUnknown, "Use the column's name.", "There is no column $%s here.", x.N)
	}
	return origins(all)
}

// contextWords are the functions that are called without parentheses. They are
// reserved words: no column is called so without quotes.
// docs.snowflake.com/en/sql-reference/reserved-keywords
var contextWords = map[string]bool{
	"CURRENT_DATE": true, "CURRENT_TIME": true, "CURRENT_TIMESTAMP": true, "CURRENT_USER": true, "LOCALTIME": true, "LOCALTIMESTAMP": true,
}

// datePartAt is the argument of a function that may be a bare part of a date.
// docs.snowflake.com/en/sql-reference/functions-date-time
var datePartAt = map[string]int{
	"DATEADD": 0, "TIMEADD": 0, "TIMESTAMPADD": 0, "DATEDIFF": 0, "TIMEDIFF": 0, "TIMESTAMPDIFF": 0, "DATE_TRUNC": 0, "DATE_PART": 0,
	"TRUNC": 1, "LAST_DAY": 1, "TIME_SLICE": -1,
}

// dateParts are the words for parts of a date.
var dateParts = func() map[string]bool {
	parts := map[string]bool{}
	for w := range strings.FieldsSeq(`YEAR Y YY YYY YYYY YR YEARS YRS MONTH MM MON MONS MONTHS DAY D DD DAYS DAYOFMONTH DAYOFWEEK WEEKDAY DOW DW
		DAYOFWEEKISO WEEKDAY_ISO DOW_ISO DW_ISO DAYOFYEAR YEARDAY DOY DY WEEK W WK WEEKOFYEAR WOY WY WEEKISO WEEK_ISO WEEKOFYEARISO WEEKOFYEAR_ISO
		QUARTER Q QTR QTRS QUARTERS YEAROFWEEK YEAROFWEEKISO HOUR H HH HR HOURS HRS MINUTE M MI MIN MINUTES MINS SECOND S SEC SECONDS SECS
		MILLISECOND MS MSEC MILLISECONDS MICROSECOND US USEC MICROSECONDS NANOSECOND NS NSEC NANOSEC NSECOND NANOSECONDS NANOSECS NSECONDS
		EPOCH_SECOND EPOCH EPOCH_SECONDS EPOCH_MILLISECOND EPOCH_MILLISECONDS EPOCH_MICROSECOND EPOCH_NANOSECOND TIMEZONE_HOUR TZH
		TIMEZONE_MINUTE TZM`) {
		parts[w] = true
	}
	return parts
}()

// isDatePart reports whether an argument is a bare word for a part of a date.
func isDatePart(x ast.Expr) bool {
	ref, ok := x.(*ast.ColumnRef)
	return ok && len(ref.Parts) == 1 && !ref.Parts[0].Quoted && dateParts[ref.Parts[0].Fold()]
}

// ColumnRefs calls visit for each column named in an expression, and for
// nothing that only looks like one: CURRENT_DATE, the part in DATEADD(day, …).
func ColumnRefs(x ast.Expr, visit func(*ast.ColumnRef)) {
	ast.Inspect(x, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ColumnRef:
			if len(n.Parts) > 1 || n.Parts[0] == nil || n.Parts[0].Quoted || !contextWords[n.Parts[0].Fold()] {
				visit(n)
			}
			return false
		case *ast.Call:
			part, ok := datePartAt[n.Name.Fold()]
			if !ok || part < 0 || part >= len(n.Args) || !isDatePart(n.Args[part]) {
				return true
			}
			for i, a := range n.Args {
				if i != part {
					ColumnRefs(a, visit)
				}
			}
			return false
		}
		return true
	})
}

// call resolves a function call.
func (r *resolver) call(x *ast.Call, s *scope, with *ctes) []Origin {
	var origins []Origin
	called := x.Name.Fold()
	switch {
	case x.Name.Dynamic != nil:
		r.unsupported("IDENTIFIER(…)", "Write the name itself.")
	default:
		r.function(x.Name)
	}
	part, hasPart := datePartAt[called]
	for i, a := range x.Args {
		if hasPart && i == part && isDatePart(a) {
			if called == "TRUNC" {
				// Where the first argument is a number, this is a column.
				origins = union(origins, r.perhaps(a.(*ast.ColumnRef), s))
			}
			continue
		}
		if star, ok := a.(*ast.Star); ok && called == "COUNT" && star.Qualifier == nil && !x.Distinct {
			continue // counts rows, whatever is in them
		}
		origins = union(origins, r.expr(a, s, with))
	}
	for _, o := range x.Within {
		origins = union(origins, r.expr(o.Expr, s, with))
	}
	if w := x.Over; w != nil {
		origins = union(origins, r.all(w.Partition, s, with))
		for _, o := range w.OrderBy {
			origins = union(origins, r.expr(o.Expr, s, with))
		}
		if w.Frame != nil {
			origins = union(origins, r.opt(w.Frame.Low.X, s, with))
			if w.Frame.High != nil {
				origins = union(origins, r.opt(w.Frame.High.X, s, with))
			}
		}
	}
	return origins
}

// function notes a function and what it does.
func (r *resolver) function(n *ast.ObjectName) {
	called := n.Fold()
	f, known := Lookup(called)
	if !known {
		r.ownFunction(n)
		return
	}
	r.functions[called] = true
	if tableFunctions[called] != nil {
		r.unsupported(called+" outside of FROM", "Put it behind FROM, as LATERAL "+called+"(…).")
	}
	if f.Effects.NeedPermission() {
		r.effects[called] = true
	}
}

// ownFunction notes a function that is the account's own, which may do
// anything: a rule has to name it in full. Its arguments are masked like all
// else. Functions of Snowflake's that nobody has classified are in nobody's
// power to name.
func (r *resolver) ownFunction(n *ast.ObjectName) {
	called := n.Fold()
	complete := len(n.Parts) == 3 || r.context.Database != "" && (len(n.Parts) == 2 || r.context.Schema != "")
	if !complete {
		r.unknownFunction(called)
		return
	}
	full, ok := r.fullName(n)
	if !ok {
		return
	}
	if full.database == "SNOWFLAKE" || full.schema == "INFORMATION_SCHEMA" {
		r.unknownFunction(called)
		return
	}
	o := policy.Object{Database: full.database, Schema: full.schema, Name: full.object}.String()
	r.functions[o], r.effects[o] = true, true
}

func (r *resolver) unknownFunction(called string) {
	r.problem(policy.CodeFunctionUnknown, "Use one of Snowflake's own functions.", "The function %s is not known to the gateway.", called)
}
