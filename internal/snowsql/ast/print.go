package ast

import (
	"fmt"
	"strings"

	"querywarden/internal/snowsql/token"
)

// A Dialect is whose SQL is printed.
type Dialect uint8

// The dialects. The zero one is Snowflake's own, which can print every tree;
// DuckDB's refuses what that engine has no words for.
const (
	Snowflake Dialect = iota
	DuckDB
)

// Print returns a node's canonical text. It fails on a node that the dialect
// cannot express, and on a node type that nobody taught it.
func Print(n Node, d Dialect) (string, error) {
	text, err := Append(nil, n, d)
	return string(text), err
}

// Append is like [Print] and appends to dst.
func Append(dst []byte, n Node, d Dialect) ([]byte, error) {
	p := printer{buf: dst, dialect: d}
	p.node(n)
	return p.buf, p.err
}

// QuoteString returns s as a string constant that Snowflake and DuckDB read
// alike: a quote is doubled, and Snowflake's backslash as well, since there it
// starts an escape.
func QuoteString(s string, d Dialect) string { return string(appendString(nil, s, d)) }

func appendString(dst []byte, s string, d Dialect) []byte {
	dst = append(dst, '\'')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			dst = append(dst, '\'', '\'')
		case c == '\\' && d == Snowflake:
			dst = append(dst, '\\', '\\')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\'')
}

// plainName reports whether a stored name can go without quotes: it is upper
// case already and no word that the grammar might take for its own.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c == '_' || i > 0 && (c >= '0' && c <= '9' || c == '$') {
			continue
		}
		return false
	}
	return s != "" && !token.Reserved(s)
}

type printer struct {
	buf     []byte
	dialect Dialect
	err     error
}

func (p *printer) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *printer) raw(s string) { p.buf = append(p.buf, s...) }

// words writes the words that are not empty, with a space before each unless
// the text has just begun or stands behind an opening parenthesis.
func (p *printer) words(ws ...string) {
	for _, w := range ws {
		if w != "" {
			p.space()
			p.raw(w)
		}
	}
}

func (p *printer) space() {
	if n := len(p.buf); n > 0 && p.buf[n-1] != '(' && p.buf[n-1] != ' ' && p.buf[n-1] != '[' && p.buf[n-1] != '{' {
		p.buf = append(p.buf, ' ')
	}
}

func (p *printer) str(s string) { p.buf = appendString(p.buf, s, p.dialect) }

// ident writes an identifier. DuckDB keeps the case of what it is given and
// compares without it, so there every name is written as Snowflake stores it,
// in quotes.
func (p *printer) ident(i *Ident) {
	stored := i.Fold()
	if p.dialect == Snowflake && plainName(stored) {
		p.raw(stored)
		return
	}
	p.buf = append(p.buf, '"')
	p.raw(strings.ReplaceAll(stored, `"`, `""`))
	p.buf = append(p.buf, '"')
}

func (p *printer) dotted(parts []*Ident) {
	for i, part := range parts {
		if i > 0 {
			p.raw(".")
		}
		if part != nil {
			p.ident(part)
		}
	}
}

func (p *printer) idents(list []*Ident) {
	p.raw("(")
	for i, id := range list {
		p.comma(i)
		p.ident(id)
	}
	p.raw(")")
}

func (p *printer) comma(i int) {
	if i > 0 {
		p.raw(", ")
	}
}

// list writes nodes between commas.
func list[N Node](p *printer, nodes []N) {
	for i, n := range nodes {
		p.comma(i)
		p.node(n)
	}
}

// listClause writes words and nodes behind them, if there are any.
func listClause[N Node](p *printer, nodes []N, words string) {
	if nodes != nil {
		p.words(words + " ")
		list(p, nodes)
	}
}

// clause writes words and a node behind them, if there is one.
func (p *printer) clause(n Node, ws ...string) {
	if isNil(n) {
		return
	}
	p.words(ws...)
	p.space()
	p.node(n)
}

// isNil sees through an interface that holds a nil pointer of the few types
// that are optional fields.
func isNil(n Node) bool {
	switch n := n.(type) {
	case nil:
		return true
	case *Alias:
		return n == nil
	case *Sample:
		return n == nil
	case *TimeTravel:
		return n == nil
	case *Changes:
		return n == nil
	case *ObjectName:
		return n == nil
	case *Tokens:
		return n == nil
	case *GroupBy:
		return n == nil
	case *ConnectBy:
		return n == nil
	case *Literal:
		return n == nil
	case *Param:
		return n == nil
	case *Type:
		return n == nil
	case *CopySource:
		return n == nil
	default:
		return false
	}
}

func when(cond bool, word string) string {
	if cond {
		return word
	}
	return ""
}

// node prints any node. It is the one switch over all of them.
func (p *printer) node(n Node) {
	if p.err != nil {
		return
	}
	if p.dialect == DuckDB && p.duckdb(n) {
		return
	}
	switch n := n.(type) {
	case Query:
		p.query(n)
	case Relation:
		p.relation(n)
	case Expr:
		p.expr(n)
	case Statement:
		p.statement(n)
	case *Ident:
		p.ident(n)
	case *ObjectName:
		if n.Dynamic != nil {
			p.raw("IDENTIFIER(")
			p.node(n.Dynamic)
			p.raw(")")
			return
		}
		p.dotted(n.Parts)
	case *Alias:
		p.raw("AS ")
		p.ident(n.Name)
		if n.Columns != nil {
			p.raw(" ")
			p.idents(n.Columns)
		}
	case *SelectItem:
		p.node(n.Expr)
		if n.Alias != nil {
			p.raw(" AS ")
			p.ident(n.Alias)
		}
	case *StarRename:
		p.ident(n.Column)
		p.raw(" AS ")
		p.ident(n.Alias)
	case *CTE:
		p.ident(n.Name)
		if n.Columns != nil {
			p.raw(" ")
			p.idents(n.Columns)
		}
		p.raw(" AS (")
		p.node(n.Query)
		p.raw(")")
	case *ConnectBy:
		p.clause(n.Start, "START WITH")
		p.clause(n.By, "CONNECT BY")
	case *GroupBy:
		p.words("GROUP BY")
		if n.All {
			p.words("ALL")
			return
		}
		p.raw(" ")
		list(p, n.Items)
	case *OrderItem:
		p.node(n.Expr)
		p.orderDirection(n)
	case *TimeTravel:
		p.raw(when(n.Before, "BEFORE") + when(!n.Before, "AT"))
		p.raw("(" + n.What + " => ")
		p.node(n.Value)
		p.raw(")")
	case *Changes:
		p.raw("CHANGES(INFORMATION => " + when(n.AppendOnly, "APPEND_ONLY") + when(!n.AppendOnly, "DEFAULT") + ")")
		p.clause(n.At)
		if n.To != nil {
			p.words("END(" + n.To.What + " =>")
			p.clause(n.To.Value)
			p.raw(")")
		}
	case *Sample:
		p.raw("SAMPLE")
		p.words(n.Method)
		p.raw(" (")
		p.node(n.Size)
		p.words(when(n.Rows, "ROWS"))
		p.raw(")")
		if n.Seed != nil {
			p.raw(" SEED (")
			p.node(n.Seed)
			p.raw(")")
		}
	case *When:
		p.raw("WHEN ")
		p.node(n.If)
		p.raw(" THEN ")
		p.node(n.Then)
	case *Type:
		p.dataType(n)
	case *TypeField:
		if n.Name != nil {
			p.ident(n.Name)
			p.raw(" ")
		}
		p.node(n.Type)
		p.words(when(n.NotNull, "NOT NULL"))
	case *Window:
		p.window(n)
	case *Frame:
		p.raw(n.Unit + " ")
		if n.High == nil {
			p.node(n.Low)
			return
		}
		p.raw("BETWEEN ")
		p.node(n.Low)
		p.raw(" AND ")
		p.node(n.High)
	case *Bound:
		p.clause(n.X)
		p.words(n.Kind)
	case *ObjectField:
		if _, star := n.Value.(*Star); star {
			p.node(n.Value)
			return
		}
		if n.Key == nil {
			p.raw("**")
		} else {
			p.node(n.Key)
			p.raw(": ")
		}
		p.node(n.Value)
	case *Tokens:
		p.tokens(n)
	case *Assignment:
		p.dotted(n.Column)
		p.raw(" = ")
		p.node(n.Value)
	case *InsertBranch:
		p.insertBranch(n)
	case *InsertInto:
		p.insertInto(n)
	case *MergeWhen:
		p.mergeWhen(n)
	case *ColumnDef:
		p.columnDef(n)
	case *CopySource:
		switch {
		case n.Query != nil:
			p.raw("(")
			p.node(n.Query)
			p.raw(")")
		case n.Table != nil:
			p.node(n.Table)
		default:
			p.location(n.Location)
		}
	case *Ref:
		p.node(n.Name)
		p.clause(n.Types)
	case *Measure:
		p.words(n.Semantics)
		p.clause(n.Expr)
		p.raw(" AS ")
		p.ident(n.Alias)
	case *Subset:
		p.ident(n.Name)
		p.raw(" = ")
		p.idents(n.Of)
	case *PatternVar:
		p.ident(n.Name)
		p.raw(" AS ")
		p.node(n.As)
	case *SemanticClause:
		p.raw(n.Verb + " ")
		list(p, n.Items)
	case *Handler:
		p.raw("WHEN ")
		for i, e := range n.Exceptions {
			p.raw(when(i > 0, " OR "))
			p.ident(e)
		}
		p.words(n.Kind, "THEN")
		p.body(n.Then)
	case *Arm:
		p.raw("WHEN (")
		p.node(n.When)
		p.raw(") THEN")
		p.body(n.Then)
	default:
		p.fail("printing: unknown node %T", n)
	}
}

func (p *printer) query(n Query) {
	switch n := n.(type) {
	case *Select:
		p.selectQuery(n)
	case *SetOp:
		p.node(n.Left)
		p.words(n.Op, when(n.All, "ALL"), when(n.ByName, "BY NAME"))
		p.space()
		p.node(n.Right)
		p.tail(&n.Tail)
	case *Values:
		p.raw("VALUES ")
		list(p, n.Rows)
		p.tail(&n.Tail)
	case *Paren:
		p.raw("(")
		p.node(n.Query)
		p.raw(")")
		p.tail(&n.Tail)
	case *With:
		p.raw("WITH ")
		p.raw(when(n.Recursive, "RECURSIVE "))
		list(p, n.CTEs)
		p.clause(n.Body)
	default:
		p.fail("printing: unknown query %T", n)
	}
}

func (p *printer) selectQuery(n *Select) {
	p.raw("SELECT")
	p.words(when(n.Distinct, "DISTINCT"))
	p.clause(n.Top, "TOP")
	p.space()
	list(p, n.Items)
	listClause(p, n.Into, "INTO")
	listClause(p, n.From, "FROM")
	p.clause(n.Where, "WHERE")
	p.clause(n.Connect)
	p.clause(n.GroupBy)
	p.clause(n.Having, "HAVING")
	p.clause(n.Qualify, "QUALIFY")
	p.tail(&n.Tail)
}

func (p *printer) orderDirection(n *OrderItem) {
	p.words(when(n.Desc, "DESC"))
	switch n.Nulls {
	case NullsFirst:
		p.words("NULLS FIRST")
	case NullsLast:
		p.words("NULLS LAST")
	case NullsDefault:
	}
}

func (p *printer) tail(t *Tail) {
	listClause(p, t.OrderBy, "ORDER BY")
	if t.OrderAll != nil {
		p.words("ORDER BY ALL")
		p.orderDirection(t.OrderAll)
	}
	p.clause(t.Limit, "LIMIT")
	p.clause(t.Offset, "OFFSET")
	if t.Lock != "" && p.dialect == DuckDB {
		p.fail("the embedded warehouse cannot lock rows")
	}
	p.words(t.Lock)
}

func (p *printer) relation(n Relation) {
	switch n := n.(type) {
	case *Table:
		p.node(n.Name)
		p.clause(n.Changes)
		p.clause(n.At)
		p.clause(n.Alias)
		p.clause(n.Sample)
	case *Derived:
		p.raw(when(n.Lateral, "LATERAL "))
		p.raw("(")
		p.node(n.Query)
		p.raw(")")
		p.clause(n.Alias)
		p.clause(n.Sample)
	case *Group:
		p.raw("(")
		p.node(n.Relation)
		p.raw(")")
		p.clause(n.Alias)
	case *Join:
		p.join(n)
	case *TableFunc:
		p.raw(when(n.Lateral, "LATERAL "))
		p.raw(when(n.Table, "TABLE("))
		p.node(n.Call)
		p.raw(when(n.Table, ")"))
		p.clause(n.Alias)
		p.clause(n.Sample)
	case *StageRel:
		p.location(n.Location)
		if n.Options != nil {
			p.raw(" (")
			list(p, n.Options)
			p.raw(")")
		}
		p.clause(n.Alias)
	case *Pivot:
		p.pivot(n)
	case *Unpivot:
		p.node(n.Source)
		p.words("UNPIVOT", when(n.IncludeNulls, "INCLUDE NULLS"))
		p.raw(" (")
		p.ident(n.Value)
		p.raw(" FOR ")
		p.ident(n.Name)
		p.raw(" IN (")
		list(p, n.In)
		p.raw("))")
		p.clause(n.Alias)
	case *MatchRecognize:
		p.matchRecognize(n)
	case *SemanticView:
		p.raw("SEMANTIC_VIEW(")
		p.node(n.Name)
		if n.WhereFirst {
			p.clause(n.Where, "WHERE")
		}
		for _, c := range n.Clauses {
			p.clause(c)
		}
		if !n.WhereFirst {
			p.clause(n.Where, "WHERE")
		}
		p.raw(")")
		p.clause(n.Alias)
	case *Resample:
		p.node(n.Source)
		p.raw(" RESAMPLE (")
		p.clause(n.Using, "USING")
		p.clause(n.Increment, "INCREMENT BY")
		listClause(p, n.Partition, "PARTITION BY")
		listClause(p, n.Metadata, "METADATA_COLUMNS")
		p.raw(")")
		p.clause(n.Alias)
	case *ResultRel:
		p.raw("$" + n.N)
		p.clause(n.Alias)
	default:
		p.fail("printing: unknown relation %T", n)
	}
}

func (p *printer) join(n *Join) {
	p.node(n.Left)
	p.words(when(n.Natural, "NATURAL"))
	switch n.Kind {
	case InnerJoin:
		p.words("INNER")
	case LeftJoin:
		p.words("LEFT")
	case RightJoin:
		p.words("RIGHT")
	case FullJoin:
		p.words("FULL")
	case CrossJoin:
		p.words("CROSS")
	case AsofJoin:
		p.words("ASOF")
	default:
		p.fail("printing: unknown kind of join %d", n.Kind)
	}
	p.words(when(n.Directed, "DIRECTED"), "JOIN")
	p.space()
	p.node(n.Right)
	if n.Match != nil {
		p.words("MATCH_CONDITION (")
		p.node(n.Match)
		p.raw(")")
	}
	p.clause(n.On, "ON")
	if n.Using != nil {
		p.words("USING ")
		p.idents(n.Using)
	}
}

func (p *printer) matchRecognize(n *MatchRecognize) {
	p.node(n.Source)
	p.raw(" MATCH_RECOGNIZE (")
	listClause(p, n.Partition, "PARTITION BY")
	listClause(p, n.OrderBy, "ORDER BY")
	listClause(p, n.Measures, "MEASURES")
	p.words(n.Rows)
	if n.After != "" {
		p.words("AFTER MATCH", n.After)
		p.label(n.AfterVar)
	}
	p.words("PATTERN (")
	p.pattern(n.Pattern)
	p.raw(")")
	listClause(p, n.Subsets, "SUBSET")
	listClause(p, n.Define, "DEFINE")
	p.raw(")")
	p.clause(n.Alias)
}

// pattern writes a pattern with its quantifiers next to what they count.
func (p *printer) pattern(n *Tokens) {
	for i, l := range n.List {
		exclusion := l.Kind == token.LBrace && i+1 < len(n.List) && n.List[i+1].Kind == token.Minus
		switch {
		case i == 0, n.List[i-1].Kind == token.LParen:
		case l.Kind == token.Number && (n.List[i-1].Kind == token.LBrace || n.List[i-1].Kind == token.Comma):
		case l.Kind == token.Ident, l.Kind == token.QuotedIdent, l.Kind == token.LParen, l.Kind == token.Illegal, l.Kind == token.Number, exclusion:
			p.raw(" ")
		}
		if l.Kind == token.QuotedIdent {
			p.raw(`"` + strings.ReplaceAll(l.Text, `"`, `""`) + `"`)
			continue
		}
		p.raw(l.Text)
	}
}

func (p *printer) pivot(n *Pivot) {
	p.node(n.Source)
	p.raw(" PIVOT (")
	list(p, n.Aggs)
	p.raw(" FOR ")
	p.dotted(n.Column)
	p.raw(" IN (")
	switch {
	case n.Query != nil:
		p.node(n.Query)
	case n.Any != nil:
		p.raw("ANY")
		if len(n.Any) > 0 {
			p.raw(" ORDER BY ")
			list(p, n.Any)
		}
	default:
		list(p, n.In)
	}
	p.raw(")")
	if n.Default != nil {
		p.raw(" DEFAULT ON NULL (")
		p.node(n.Default)
		p.raw(")")
	}
	p.raw(")")
	p.clause(n.Alias)
}

// location writes a stage path, in quotes unless it is one token without them.
func (p *printer) location(s string) {
	scan := token.NewScanner(s)
	if t := scan.Next(); t.Kind == token.Stage && int(t.End) == len(s) && !strings.HasSuffix(s, "{") { // no space is put behind {
		p.raw(s)
		return
	}
	p.str(s)
}

func (p *printer) tokens(n *Tokens) {
	for i, l := range n.List {
		if i > 0 && !tight(n.List[i-1], l) {
			p.raw(" ")
		}
		if l.Part != nil {
			p.node(l.Part)
			continue
		}
		switch l.Kind {
		case token.String, token.Dollar:
			p.str(l.Text)
		case token.QuotedIdent:
			p.raw(`"` + strings.ReplaceAll(l.Text, `"`, `""`) + `"`)
		default:
			p.raw(l.Text)
		}
	}
}

// tight reports whether two tokens stand without a space between them.
func tight(a, b Lexeme) bool {
	if a.Part != nil && b.Part != nil {
		return false
	}
	name := func(k token.Kind) bool { return k == token.Ident || k == token.QuotedIdent }
	switch b.Kind {
	case token.Comma, token.RParen, token.RBracket, token.Semicolon:
		return true
	case token.LParen:
		return a.Kind == token.LParen
	case token.Dot: // a number would take it for its own
		return a.Part == nil && name(a.Kind)
	}
	switch a.Kind {
	case token.LParen, token.LBracket:
		return true
	case token.Dot:
		return name(b.Kind)
	}
	return false
}
