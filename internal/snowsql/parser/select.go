package parser

import (
	"slices"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// query reads a query with its set operations and its tail.
//
// INTERSECT binds tighter than UNION, EXCEPT and MINUS
// (docs.snowflake.com/en/sql-reference/operators-query).
func (p *parser) query() ast.Query {
	p.enter()
	defer p.leave()
	if p.at("WITH") {
		return p.with()
	}
	start := p.tok.Pos
	q := p.setOps(start, 0)
	var t ast.Tail
	if p.tail(&t) {
		switch q := q.(type) {
		case *ast.Select:
			q.Tail = t
			q.Span = p.from(start)
		case *ast.SetOp:
			q.Tail = t
			q.Span = p.from(start)
		case *ast.Values:
			q.Tail = t
			q.Span = p.from(start)
		case *ast.Paren:
			q.Tail = t
			q.Span = p.from(start)
		default:
			p.fail("ORDER BY and LIMIT cannot stand here")
		}
	}
	return q
}

func (p *parser) with() *ast.With {
	start := p.tok.Pos
	p.expectWord("WITH")
	w := &ast.With{Recursive: p.acceptWord("RECURSIVE")}
	w.CTEs = commaList(p, p.cte)
	w.Body = p.query()
	w.Span = p.from(start)
	return w
}

func (p *parser) cte() *ast.CTE {
	start := p.tok.Pos
	c := &ast.CTE{Name: p.identifier()}
	if p.tok.Kind == token.LParen {
		c.Columns = parens(p, p.identifier)
	}
	p.expectWord("AS")
	p.expect(token.LParen)
	c.Query = p.query()
	p.expect(token.RParen)
	c.Span = p.from(start)
	return c
}

// setOps reads operands and operators of at least the given precedence.
func (p *parser) setOps(start token.Pos, least int) ast.Query {
	left := p.operand()
	for {
		op, prec := p.tok.Word, 1
		switch op {
		case "UNION", "EXCEPT", "MINUS":
		case "INTERSECT":
			prec = 2
		default:
			return left
		}
		if p.tok.Kind != token.Ident || prec < least {
			return left
		}
		p.next()
		s := &ast.SetOp{Op: op, Left: left}
		s.All = p.acceptWord("ALL")
		if !s.All {
			p.acceptWord("DISTINCT")
		}
		s.ByName = p.acceptWord("BY", "NAME")
		s.Right = p.setOps(p.tok.Pos, prec+1)
		s.Span = p.from(start)
		left = s
	}
}

// operand reads SELECT, VALUES or a query in parentheses.
func (p *parser) operand() ast.Query {
	start := p.tok.Pos
	switch {
	case p.at("SELECT"):
		return p.selectQuery()
	case p.at("VALUES"):
		return p.values()
	case p.at("WITH"):
		return p.with()
	case p.tok.Kind == token.LParen:
		p.next()
		q := &ast.Paren{Query: p.query()}
		p.expect(token.RParen)
		q.Span = p.from(start)
		return q
	}
	p.expected("a query")
	return nil
}

func (p *parser) values() *ast.Values {
	start := p.tok.Pos
	p.expectWord("VALUES")
	v := &ast.Values{Rows: commaList(p, p.tuple)}
	v.Span = p.from(start)
	return v
}

func (p *parser) tuple() *ast.Tuple {
	start := p.tok.Pos
	t := &ast.Tuple{Items: parens(p, p.defaultOrExpr)}
	t.Span = p.from(start)
	return t
}

// defaultOrExpr reads an expression, or DEFAULT, which INSERT has as a value.
func (p *parser) defaultOrExpr() ast.Expr {
	if p.at("DEFAULT") {
		id := p.anyWord()
		return &ast.ColumnRef{Span: id.Span, Parts: []*ast.Ident{id}}
	}
	return p.expr()
}

func (p *parser) selectQuery() *ast.Select {
	start := p.tok.Pos
	p.expectWord("SELECT")
	s := &ast.Select{}
	if p.acceptWord("DISTINCT") {
		s.Distinct = true
	} else {
		p.acceptWord("ALL")
	}
	if p.at("TOP") && p.peek().Kind == token.Number {
		p.next()
		s.Top = p.primary()
	}
	s.Items = p.selectItems()
	if p.acceptWord("INTO") {
		s.Into = commaList(p, p.expr)
	}
	if p.acceptWord("FROM") {
		s.From = commaList(p, p.relation)
	}
	if p.acceptWord("WHERE") {
		s.Where = p.expr()
	}
	if p.atAny("START", "CONNECT") {
		s.Connect = p.connectBy()
	}
	if p.at("GROUP") {
		s.GroupBy = p.groupBy()
	}
	if p.acceptWord("HAVING") {
		s.Having = p.expr()
	}
	if p.acceptWord("QUALIFY") {
		s.Qualify = p.expr()
	}
	s.Span = p.from(start)
	return s
}

// selectItems reads the list of a SELECT; a comma may follow its last item.
func (p *parser) selectItems() []*ast.SelectItem {
	items := []*ast.SelectItem{p.selectItem()}
	for p.accept(token.Comma) {
		if p.atAny("FROM", "INTO", "WHERE", "UNION", "EXCEPT", "MINUS", "INTERSECT", "ORDER", "LIMIT", "GROUP") || p.tok.Kind == token.EOF || p.tok.Kind == token.Semicolon || p.tok.Kind == token.RParen {
			break
		}
		items = append(items, p.selectItem())
	}
	return items
}

func (p *parser) selectItem() *ast.SelectItem {
	start := p.tok.Pos
	item := &ast.SelectItem{}
	if p.tok.Kind == token.Star {
		item.Expr = p.star(nil, start)
	} else {
		item.Expr = p.expr()
		item.Alias = p.alias()
	}
	item.Span = p.from(start)
	return item
}

// alias reads [AS] name behind an expression.
func (p *parser) alias() *ast.Ident {
	if p.acceptWord("AS") {
		return p.anyWord()
	}
	if p.tok.Kind == token.Ident && token.EndsItem(p.tok.Word) {
		return nil
	}
	return p.tryIdentifier()
}

// star reads * and what may follow it; the qualifier has been read.
func (p *parser) star(qualifier []*ast.Ident, start token.Pos) *ast.Star {
	p.expect(token.Star)
	s := &ast.Star{Qualifier: qualifier}
	if p.acceptWord("ILIKE") {
		s.ILike = p.stringLiteral()
	}
	if p.acceptWord("EXCLUDE") {
		s.Exclude = oneOrParens(p, p.identifier)
	}
	if p.acceptWord("REPLACE") {
		s.Replace = oneOrParens(p, p.selectItem)
	}
	if p.acceptWord("RENAME") {
		s.Rename = oneOrParens(p, p.starRename)
	}
	s.Span = p.from(start)
	return s
}

func oneOrParens[T any](p *parser, item func() T) []T {
	if p.tok.Kind == token.LParen {
		return parens(p, item)
	}
	return []T{item()}
}

func (p *parser) starRename() *ast.StarRename {
	start := p.tok.Pos
	r := &ast.StarRename{Column: p.identifier()}
	p.expectWord("AS")
	r.Alias = p.anyWord()
	r.Span = p.from(start)
	return r
}

func (p *parser) connectBy() *ast.ConnectBy {
	start := p.tok.Pos
	c := &ast.ConnectBy{}
	if p.acceptWord("START") {
		p.expectWord("WITH")
		c.Start = p.expr()
	}
	p.expectWord("CONNECT", "BY")
	c.By = p.expr()
	if c.Start == nil && p.acceptWord("START") {
		p.expectWord("WITH")
		c.Start = p.expr()
	}
	c.Span = p.from(start)
	return c
}

func (p *parser) groupBy() *ast.GroupBy {
	start := p.tok.Pos
	p.expectWord("GROUP", "BY")
	g := &ast.GroupBy{}
	if p.at("ALL") {
		p.next()
		g.All = true
	} else {
		g.Items = commaList(p, p.groupItem)
	}
	g.Span = p.from(start)
	return g
}

// groupItem reads an expression, ROLLUP(…) and CUBE(…), which look like calls,
// or GROUPING SETS (…).
func (p *parser) groupItem() ast.Expr {
	if !p.at("GROUPING") {
		return p.expr()
	}
	start := p.tok.Pos
	if !p.acceptWord("GROUPING", "SETS") {
		return p.expr()
	}
	g := &ast.GroupingSets{Sets: parens(p, p.exprOrEmptyTuple)}
	g.Span = p.from(start)
	return g
}

// exprOrEmptyTuple reads an expression or (), the grand total.
func (p *parser) exprOrEmptyTuple() ast.Expr {
	if p.tok.Kind == token.LParen && p.peek().Kind == token.RParen {
		start := p.tok.Pos
		p.next()
		p.next()
		return &ast.Tuple{Span: p.from(start)}
	}
	return p.expr()
}

// tail reads ORDER BY, LIMIT, OFFSET and FETCH, and reports whether there was
// any. docs.snowflake.com/en/sql-reference/constructs/limit
func (p *parser) tail(t *ast.Tail) bool {
	found := false
	if p.acceptWord("ORDER") {
		found = true
		p.expectWord("BY")
		if p.at("ALL") {
			start := p.tok.Pos
			p.next()
			t.OrderAll = &ast.OrderItem{Expr: &ast.Literal{Span: p.from(start)}}
			p.orderDirection(t.OrderAll)
			t.OrderAll.Span = p.from(start)
		} else {
			t.OrderBy = commaList(p, p.orderItem)
		}
	}
	if p.acceptWord("LIMIT") {
		found = true
		t.Limit = p.expr()
	}
	if p.acceptWord("OFFSET") {
		found = true
		t.Offset = p.expr()
		p.rowWord()
	}
	if t.Limit == nil && p.at("FETCH") {
		p.next()
		found = true
		if !p.acceptWord("FIRST") {
			p.acceptWord("NEXT")
		}
		t.Limit = p.expr()
		p.rowWord()
		p.acceptWord("ONLY")
	}
	if p.acceptWord("FOR", "UPDATE") {
		found = true
		t.Lock = "FOR UPDATE"
		switch {
		case p.acceptWord("NOWAIT"):
			t.Lock += " NOWAIT"
		case p.acceptWord("WAIT"):
			t.Lock += " WAIT " + p.number()
		}
	}
	return found
}

func (p *parser) rowWord() {
	if !p.acceptWord("ROWS") {
		p.acceptWord("ROW")
	}
}

func (p *parser) orderItem() *ast.OrderItem {
	start := p.tok.Pos
	o := &ast.OrderItem{Expr: p.expr()}
	p.orderDirection(o)
	o.Span = p.from(start)
	return o
}

func (p *parser) orderDirection(o *ast.OrderItem) {
	if p.acceptWord("DESC") {
		o.Desc = true
	} else {
		p.acceptWord("ASC")
	}
	if p.acceptWord("NULLS") {
		o.Nulls = ast.NullsLast
		if p.oneOf("FIRST", "LAST") == "FIRST" {
			o.Nulls = ast.NullsFirst
		}
	}
}

// relation reads one item of FROM: relations and the joins between them.
func (p *parser) relation() ast.Relation {
	p.enter()
	defer p.leave()
	start := p.tok.Pos
	left := p.relationTerm()
	for {
		j := p.joinHead()
		if j == nil {
			return left
		}
		j.Left = left
		j.Right = p.relationTerm()
		if j.Kind == ast.AsofJoin {
			p.expectWord("MATCH_CONDITION")
			p.expect(token.LParen)
			j.Match = p.expr()
			p.expect(token.RParen)
		}
		switch {
		case p.acceptWord("ON"):
			j.On = p.expr()
		case p.at("USING") && p.peek().Kind == token.LParen:
			p.next()
			j.Using = parens(p, p.identifier)
		}
		j.Span = p.from(start)
		left = p.nested(j)
	}
}

// nested reads the further ONs of a JOIN b JOIN c ON … ON …, in which the last
// one belongs to the first JOIN.
func (p *parser) nested(j *ast.Join) *ast.Join {
	for p.at("ON") {
		first, ok := j.Left.(*ast.Join)
		if !ok || first.On != nil || first.Using != nil || first.Natural || first.Kind == ast.CrossJoin || first.Kind == ast.AsofJoin {
			return j
		}
		p.next()
		inner := *j
		inner.Left, inner.From = first.Right, first.Right.Pos()
		on := p.expr()
		j = &ast.Join{Span: p.from(first.From), Kind: first.Kind, Directed: first.Directed, Left: first.Left, Right: &ast.Group{Span: inner.Span, Relation: &inner}, On: on}
	}
	return j
}

// joinHead reads [NATURAL] [INNER|LEFT|…] [OUTER] JOIN, or nothing.
func (p *parser) joinHead() *ast.Join {
	switch p.tok.Word {
	case "NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "ASOF", "DIRECTED", "JOIN":
	default:
		return nil
	}
	j := &ast.Join{}
	m := p.mark()
	j.Natural = p.acceptWord("NATURAL")
	switch {
	case p.acceptWord("INNER"):
	case p.acceptWord("LEFT"):
		j.Kind = ast.LeftJoin
		p.acceptWord("OUTER")
	case p.acceptWord("RIGHT"):
		j.Kind = ast.RightJoin
		p.acceptWord("OUTER")
	case p.acceptWord("FULL"):
		j.Kind = ast.FullJoin
		p.acceptWord("OUTER")
	case p.acceptWord("CROSS"):
		j.Kind = ast.CrossJoin
	case p.acceptWord("ASOF"):
		j.Kind = ast.AsofJoin
	}
	j.Directed = p.acceptWord("DIRECTED")
	if !p.acceptWord("JOIN") {
		p.reset(m)
		return nil
	}
	return j
}

// relationTerm reads one relation with what may follow it.
func (p *parser) relationTerm() ast.Relation {
	start := p.tok.Pos
	r := p.relationPrimary()
	for {
		switch {
		case p.at("PIVOT") && p.peek().Kind == token.LParen:
			r = p.pivot(r, start)
		case p.at("UNPIVOT"):
			r = p.unpivot(r, start)
		case p.at("MATCH_RECOGNIZE"):
			r = p.matchRecognize(r, start)
		case p.at("RESAMPLE") && p.peek().Kind == token.LParen:
			r = p.resample(r, start)
		default:
			return r
		}
	}
}

func (p *parser) relationPrimary() ast.Relation {
	start := p.tok.Pos
	lateral := p.acceptWord("LATERAL")
	switch {
	case p.tok.Kind == token.LParen:
		return p.parenRelation(start, lateral)
	case p.tok.Kind == token.Stage:
		return p.stageRelation(start)
	case p.tok.Kind == token.String && len(p.tok.Text(p.src)) > 2 && p.tok.Text(p.src)[1] == '@':
		return p.stageRelation(start)
	case p.tok.Kind == token.Positional:
		r := &ast.ResultRel{N: p.tok.Text(p.src)[1:]}
		p.next()
		r.Alias = p.relationAlias()
		r.Span = p.from(start)
		return r
	case p.at("SEMANTIC_VIEW") && p.peek().Kind == token.LParen:
		return p.semanticView(start)
	case p.at("VALUES"):
		d := &ast.Derived{Lateral: lateral, Query: p.values()}
		d.Alias = p.relationAlias()
		d.Span = p.from(start)
		return d
	case p.at("TABLE") && p.peek().Kind == token.LParen:
		p.next()
		p.next()
		f := &ast.TableFunc{Lateral: lateral, Table: true, Call: p.expr()}
		p.expect(token.RParen)
		return p.endTableFunc(f, start)
	}
	name := p.relationName()
	if p.tok.Kind == token.LParen && name.Dynamic == nil {
		return p.endTableFunc(&ast.TableFunc{Lateral: lateral, Call: p.call(name)}, start)
	}
	if lateral {
		p.fail("LATERAL needs a subquery or a table function")
	}
	t := &ast.Table{Name: name}
	if p.at("CHANGES") && p.peek().Kind == token.LParen {
		t.Changes = p.changes()
	}
	if t.Changes == nil {
		t.At = p.timeTravel()
	}
	t.Alias = p.relationAlias()
	t.Sample = p.sample()
	if t.Alias == nil {
		t.Alias = p.relationAlias()
	}
	t.Span = p.from(start)
	return t
}

func (p *parser) endTableFunc(f *ast.TableFunc, start token.Pos) ast.Relation {
	f.Alias = p.relationAlias()
	f.Sample = p.sample()
	f.Span = p.from(start)
	return f
}

// parenRelation reads ( query ) or ( relation ).
func (p *parser) parenRelation(start token.Pos, lateral bool) ast.Relation {
	if p.startsQuery() {
		p.expect(token.LParen)
		d := &ast.Derived{Lateral: lateral, Query: p.query()}
		p.expect(token.RParen)
		d.Alias = p.relationAlias()
		d.Sample = p.sample()
		d.Span = p.from(start)
		return d
	}
	p.expect(token.LParen)
	g := &ast.Group{Relation: p.relation()}
	p.expect(token.RParen)
	g.Alias = p.relationAlias()
	g.Span = p.from(start)
	return g
}

// setWords are what follows a query in parentheses that is a part of another.
var setWords = []string{"UNION", "EXCEPT", "MINUS", "INTERSECT", "ORDER", "LIMIT", "OFFSET", "FETCH"}

// startsQuery looks behind opening parentheses for the start of a query: for
// ((SELECT 1) UNION …), but not for ((SELECT 1) AS t JOIN …).
func (p *parser) startsQuery() bool {
	ahead := p.behind()
	t, open := p.tok, 0
	for ; t.Kind == token.LParen; open++ {
		t = ahead.Next()
	}
	if t.Kind != token.Ident || t.Word != "SELECT" && t.Word != "WITH" && t.Word != "VALUES" {
		return false
	}
	// What stands behind the inner parentheses tells a query from a relation.
	for depth := open; depth > 1; {
		switch t = ahead.Next(); t.Kind {
		case token.LParen:
			depth++
		case token.RParen:
			if depth--; depth >= open {
				continue
			}
			behind := ahead
			next := behind.Next()
			switch {
			case next.Kind == token.RParen:
			case slices.Contains(setWords, next.Word):
				return true
			default:
				return false
			}
		case token.EOF, token.Illegal:
			return true // and the query says what is wrong
		}
	}
	return true
}

// relationAlias reads [AS] name [(columns)] behind a relation.
func (p *parser) relationAlias() *ast.Alias {
	start := p.tok.Pos
	var name *ast.Ident
	if p.acceptWord("AS") {
		name = p.anyWord()
	} else if p.tok.Kind == token.QuotedIdent || p.tok.Kind == token.Ident && !token.EndsRelation(p.tok.Word) || p.atAny("AT", "BEFORE") && !p.timeTravels() {
		name = p.tryIdentifier()
	}
	if name == nil {
		return nil
	}
	a := &ast.Alias{Name: name}
	if p.tok.Kind == token.LParen {
		a.Columns = parens(p, p.identifier)
	}
	a.Span = p.from(start)
	return a
}

// timeTravels reports whether AT (OFFSET => and its like stand here, and not
// an alias that is called so.
func (p *parser) timeTravels() bool {
	if !p.atAny("AT", "BEFORE") || p.peek().Kind != token.LParen {
		return false
	}
	ahead := p.behind()
	ahead.Next()
	return ahead.Next().Kind == token.Ident && ahead.Next().Kind == token.FatArrow
}

func (p *parser) timeTravel() *ast.TimeTravel {
	if !p.timeTravels() {
		return nil
	}
	start := p.tok.Pos
	t := &ast.TimeTravel{Before: p.at("BEFORE")}
	p.next()
	p.timePoint(t)
	t.Span = p.from(start)
	return t
}

// timePoint reads (TIMESTAMP => …) and its like.
func (p *parser) timePoint(t *ast.TimeTravel) {
	p.expect(token.LParen)
	t.What = p.oneOf("TIMESTAMP", "OFFSET", "STATEMENT", "STREAM")
	p.expect(token.FatArrow)
	t.Value = p.expr()
	p.expect(token.RParen)
}

func (p *parser) changes() *ast.Changes {
	start := p.tok.Pos
	p.expectWord("CHANGES")
	p.expect(token.LParen)
	p.expectWord("INFORMATION")
	p.expect(token.FatArrow)
	c := &ast.Changes{AppendOnly: p.oneOf("DEFAULT", "APPEND_ONLY") == "APPEND_ONLY"}
	p.expect(token.RParen)
	c.At = p.timeTravel()
	if p.at("END") && p.peek().Kind == token.LParen {
		start := p.tok.Pos
		p.next()
		c.To = &ast.TimeTravel{}
		p.timePoint(c.To)
		c.To.Span = p.from(start)
	}
	c.Span = p.from(start)
	return c
}

func (p *parser) sample() *ast.Sample {
	if !p.atAny("SAMPLE", "TABLESAMPLE") {
		return nil
	}
	start := p.tok.Pos
	p.next()
	s := &ast.Sample{}
	switch {
	case p.acceptWord("BERNOULLI"), p.acceptWord("ROW"):
		s.Method = "BERNOULLI"
	case p.acceptWord("SYSTEM"), p.acceptWord("BLOCK"):
		s.Method = "SYSTEM"
	}
	p.expect(token.LParen)
	s.Size = p.expr()
	s.Rows = p.acceptWord("ROWS")
	p.expect(token.RParen)
	if p.acceptWord("SEED") || p.acceptWord("REPEATABLE") {
		p.expect(token.LParen)
		s.Seed = p.expr()
		p.expect(token.RParen)
	}
	s.Span = p.from(start)
	return s
}

func (p *parser) stageRelation(start token.Pos) ast.Relation {
	r := &ast.StageRel{Location: p.location()}
	if p.tok.Kind == token.LParen {
		r.Options = parens(p, p.namedArg)
	}
	r.Alias = p.relationAlias()
	r.Span = p.from(start)
	return r
}

// location reads @stage/path or a location in quotes.
func (p *parser) location() string {
	if p.tok.Kind == token.Stage {
		t := p.tok
		p.next()
		return t.Text(p.src)
	}
	return p.stringLiteral().Value
}

func (p *parser) namedArg() *ast.NamedArg {
	start := p.tok.Pos
	a := &ast.NamedArg{Name: p.anyWord()}
	p.expect(token.FatArrow)
	a.Value = p.expr()
	a.Span = p.from(start)
	return a
}

func (p *parser) pivot(source ast.Relation, start token.Pos) ast.Relation {
	p.expectWord("PIVOT")
	p.expect(token.LParen)
	v := &ast.Pivot{Source: source, Aggs: commaList(p, p.selectItem)}
	p.expectWord("FOR")
	v.Column = []*ast.Ident{p.columnName()}
	for p.accept(token.Dot) {
		v.Column = append(v.Column, p.anyWord())
	}
	p.expectWord("IN")
	p.expect(token.LParen)
	switch {
	case p.at("SELECT") || p.at("WITH"):
		v.Query = p.query()
	case p.acceptWord("ANY"):
		v.Any = []*ast.OrderItem{}
		if p.acceptWord("ORDER") {
			p.expectWord("BY")
			v.Any = commaList(p, p.orderItem)
		}
	default:
		v.In = commaList(p, p.pivotItem)
	}
	p.expect(token.RParen)
	if p.acceptWord("DEFAULT") {
		p.expectWord("ON", "NULL")
		p.expect(token.LParen)
		v.Default = p.expr()
		p.expect(token.RParen)
	}
	p.expect(token.RParen)
	v.Alias = p.relationAlias()
	v.Span = p.from(start)
	return v
}

// pivotItem reads a value or a column with its alias, which may be a string.
func (p *parser) pivotItem() *ast.SelectItem {
	start := p.tok.Pos
	item := &ast.SelectItem{Expr: p.expr()}
	if p.at("AS") && p.peek().Kind == token.String {
		p.next()
		t := p.tok
		item.Alias = &ast.Ident{Span: ast.Span{From: t.Pos, To: t.End}, Name: p.stringLiteral().Value, Quoted: true}
	} else {
		item.Alias = p.alias()
	}
	item.Span = p.from(start)
	return item
}

func (p *parser) unpivot(source ast.Relation, start token.Pos) ast.Relation {
	p.expectWord("UNPIVOT")
	u := &ast.Unpivot{Source: source}
	if p.acceptWord("INCLUDE") {
		p.expectWord("NULLS")
		u.IncludeNulls = true
	} else if p.acceptWord("EXCLUDE") {
		p.expectWord("NULLS")
	}
	p.expect(token.LParen)
	u.Value = p.identifier()
	p.expectWord("FOR")
	u.Name = p.identifier()
	p.expectWord("IN")
	u.In = parens(p, p.pivotItem)
	p.expect(token.RParen)
	u.Alias = p.relationAlias()
	u.Span = p.from(start)
	return u
}
