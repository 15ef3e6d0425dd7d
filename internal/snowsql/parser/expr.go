package parser

import (
	"strings"
	"unicode"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// expr reads an expression: OR binds loosest, then AND, NOT, comparisons,
// sums, products, signs, and tightest what follows a value (`::`, `:`, `[`).
func (p *parser) expr() ast.Expr {
	p.enter()
	defer p.leave()
	start := p.tok.Pos
	x := p.and()
	for p.acceptWord("OR") {
		x = p.binary(start, "OR", x, p.and())
	}
	return x
}

func (p *parser) binary(start token.Pos, op string, x, y ast.Expr) ast.Expr {
	return &ast.Binary{Span: p.from(start), Op: op, X: x, Y: y}
}

func (p *parser) and() ast.Expr {
	start := p.tok.Pos
	x := p.not()
	for p.acceptWord("AND") {
		x = p.binary(start, "AND", x, p.not())
	}
	return x
}

func (p *parser) not() ast.Expr {
	if !p.at("NOT") {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	start := p.tok.Pos
	p.next()
	x := p.not()
	return &ast.Unary{Span: p.from(start), Op: "NOT", X: x}
}

func comparisonOp(k token.Kind) string {
	switch k {
	case token.Equal, token.NotEqual, token.Less, token.Greater, token.LessEqual, token.GreaterEqual:
		return k.String()
	default:
		return ""
	}
}

func (p *parser) comparison() ast.Expr {
	start := p.tok.Pos
	x := p.sum()
	for {
		if op := comparisonOp(p.tok.Kind); op != "" {
			p.next()
			if p.atAny("ANY", "ALL", "SOME") && p.peek().Kind == token.LParen {
				q := &ast.Quantified{Op: op, X: x, Quantifier: p.tok.Word}
				p.next()
				if p.startsQuery() {
					p.expect(token.LParen)
					q.Query = p.query()
					p.expect(token.RParen)
				} else {
					q.List = parens(p, p.expr)
				}
				q.Span = p.from(start)
				x = q
				continue
			}
			x = p.binary(start, op, x, p.sum())
			continue
		}
		if p.tok.Kind != token.Ident {
			return x
		}
		y := p.predicate(start, x)
		if y == nil {
			return x
		}
		x = y
	}
}

// predicate reads IS, [NOT] IN, BETWEEN, LIKE and their like behind a value.
func (p *parser) predicate(start token.Pos, x ast.Expr) ast.Expr {
	if p.acceptWord("IS") {
		is := &ast.Is{X: x, Not: p.acceptWord("NOT")}
		switch is.What = p.oneOf("NULL", "TRUE", "FALSE", "DISTINCT"); is.What {
		case "DISTINCT":
			p.expectWord("FROM")
			is.What = "DISTINCT FROM"
			is.Y = p.sum()
		}
		is.Span = p.from(start)
		return is
	}
	m := p.mark()
	not := p.acceptWord("NOT")
	switch p.tok.Word {
	case "IN":
		p.next()
		in := &ast.In{X: x, Not: not}
		if p.tok.Kind == token.LParen && p.startsQuery() {
			p.next()
			in.Query = p.query()
			p.expect(token.RParen)
		} else if p.tok.Kind == token.LParen {
			p.next()
			in.List = []ast.Expr{p.expr()}
			for p.accept(token.Comma) {
				if p.tok.Kind == token.RParen {
					break
				}
				in.List = append(in.List, p.expr())
			}
			p.expect(token.RParen)
		} else {
			p.expected("(")
		}
		in.Span = p.from(start)
		return in
	case "BETWEEN":
		p.next()
		b := &ast.Between{X: x, Not: not, Low: p.sum()}
		p.expectWord("AND")
		b.High = p.sum()
		b.Span = p.from(start)
		return b
	case "LIKE", "ILIKE", "RLIKE", "REGEXP":
		return p.like(start, x, not)
	}
	p.reset(m)
	return nil
}

func (p *parser) like(start token.Pos, x ast.Expr, not bool) ast.Expr {
	l := &ast.Like{X: x, Not: not, Op: p.tok.Word}
	p.next()
	if p.atAny("ANY", "ALL") && p.peek().Kind == token.LParen {
		l.Quantifier = p.tok.Word
		p.next()
		if p.startsQuery() {
			p.expect(token.LParen)
			l.Query = p.query()
			p.expect(token.RParen)
		} else {
			l.Patterns = parens(p, p.expr)
		}
	} else {
		l.Patterns = []ast.Expr{p.sum()}
	}
	if p.acceptWord("ESCAPE") {
		l.Escape = p.sum()
	}
	l.Span = p.from(start)
	return l
}

func (p *parser) sum() ast.Expr {
	start := p.tok.Pos
	x := p.product()
	for {
		switch p.tok.Kind {
		case token.Plus, token.Minus, token.Concat:
			op := p.tok.Kind.String()
			p.next()
			x = p.binary(start, op, x, p.product())
		default:
			return x
		}
	}
}

func (p *parser) product() ast.Expr {
	start := p.tok.Pos
	x := p.unary()
	for {
		switch p.tok.Kind {
		case token.Star, token.Slash, token.Percent:
			op := p.tok.Kind.String()
			p.next()
			x = p.binary(start, op, x, p.unary())
		default:
			return x
		}
	}
}

func (p *parser) unary() ast.Expr {
	start := p.tok.Pos
	switch {
	case p.tok.Kind == token.Minus, p.tok.Kind == token.Plus:
		op := p.tok.Kind.String()
		p.enter()
		defer p.leave()
		p.next()
		x := p.unary()
		return &ast.Unary{Span: p.from(start), Op: op, X: x}
	case p.atAny("PRIOR", "CONNECT_BY_ROOT"):
		if k := p.peek().Kind; k == token.Ident || k == token.QuotedIdent {
			op := p.tok.Word
			p.next()
			x := p.postfix()
			return &ast.Unary{Span: p.from(start), Op: op, X: x}
		}
	}
	return p.postfix()
}

// postfix reads a value and what binds to it: casts, paths, subscripts,
// collations.
func (p *parser) postfix() ast.Expr {
	start := p.tok.Pos
	x := p.primary()
	for n := 0; ; n++ {
		if n > MaxDepth {
			p.failAs(TooDeep, p.tok.Pos, "more than %d casts and paths behind one value", MaxDepth)
		}
		switch {
		case p.tok.Kind == token.DoubleColon:
			p.next()
			x = &ast.Cast{X: x, Type: p.dataType()}
			x.(*ast.Cast).Span = p.from(start)
		case p.tok.Kind == token.Colon && p.startsKey():
			p.next()
			key := p.anyWord()
			x = &ast.Path{Span: p.from(start), X: x, Key: key}
		case p.tok.Kind == token.Dot && continuesPath(x):
			p.next()
			key := p.anyWord()
			x = &ast.Path{Span: p.from(start), X: x, Key: key, Dot: true}
		case p.tok.Kind == token.LBracket:
			p.next()
			i := &ast.Index{X: x, I: p.expr()}
			if p.accept(token.Colon) {
				i.To = p.expr()
			}
			p.expect(token.RBracket)
			i.Span = p.from(start)
			x = i
		case p.at("COLLATE"):
			p.next()
			s := p.stringLiteral()
			x = p.binary(start, "COLLATE", x, s)
		default:
			return x
		}
	}
}

// startsKey reports whether a key follows the colon: in a[1:2] and {'k':v}
// none does on the same ground.
func (p *parser) startsKey() bool {
	k := p.peek()
	return k.Kind == token.Ident || k.Kind == token.QuotedIdent
}

// continuesPath reports whether a dot behind x goes deeper into a value.
func continuesPath(x ast.Expr) bool {
	switch x.(type) {
	case *ast.Path, *ast.Index:
		return true
	default:
		return false
	}
}

func (p *parser) primary() ast.Expr {
	start := p.tok.Pos
	switch p.tok.Kind {
	case token.Number:
		value := p.number()
		return p.literal(start, ast.NumberLiteral, value)
	case token.String, token.Dollar:
		return p.stringLiteral()
	case token.Question:
		p.next()
		return &ast.Param{Span: p.from(start)}
	case token.Colon:
		p.next()
		if p.tok.Kind == token.Number {
			return &ast.Param{Name: p.number(), Span: p.from(start)}
		}
		name := p.expect(token.Ident)
		return &ast.Param{Span: p.from(start), Name: name.Text(p.src)}
	case token.Positional:
		t := p.tok
		p.next()
		return &ast.Positional{Span: p.from(start), N: t.Text(p.src)[1:]}
	case token.Variable:
		t := p.tok
		p.next()
		return &ast.Variable{Span: p.from(start), Name: t.Text(p.src)[1:]}
	case token.Stage:
		return &ast.StageExpr{Location: p.location(), Span: p.from(start)}
	case token.LBracket:
		p.next()
		a := &ast.Array{}
		if p.tok.Kind != token.RBracket {
			a.Items = commaList(p, p.expr)
		}
		p.expect(token.RBracket)
		a.Span = p.from(start)
		return a
	case token.LBrace:
		return p.object()
	case token.LParen:
		return p.paren()
	case token.Star:
		return p.star(nil, start)
	case token.QuotedIdent:
		return p.nameOrCall()
	case token.Ident:
		return p.word()
	}
	p.expected("a value")
	return nil
}

func (p *parser) object() ast.Expr {
	start := p.tok.Pos
	p.expect(token.LBrace)
	o := &ast.Object{}
	for p.tok.Kind != token.RBrace {
		fieldStart := p.tok.Pos
		f := &ast.ObjectField{}
		switch {
		case p.tok.Kind == token.Star && p.peek().Kind == token.Star:
			p.next()
			p.next()
			f.Value = p.postfix()
		case p.tok.Kind != token.String && p.tok.Kind != token.Dollar:
			star, ok := p.postfix().(*ast.Star)
			if !ok {
				p.failHint("Put single quotes around the key.", "expected 'key': value")
			}
			f.Value = star
		default:
			f.Key = p.stringLiteral()
			p.expect(token.Colon)
			f.Value = p.expr()
		}
		f.Span = p.from(fieldStart)
		o.Fields = append(o.Fields, f)
		if !p.accept(token.Comma) {
			break
		}
	}
	p.expect(token.RBrace)
	o.Span = p.from(start)
	return o
}

// paren reads what begins with a parenthesis: a subquery, a lambda's
// parameters, a tuple, or a value.
func (p *parser) paren() ast.Expr {
	start := p.tok.Pos
	if p.startsQuery() {
		p.next()
		s := &ast.Subquery{Query: p.query()}
		p.expect(token.RParen)
		s.Span = p.from(start)
		return s
	}
	if l := p.lambda(); l != nil {
		return l
	}
	p.next()
	items := commaList(p, p.expr)
	p.expect(token.RParen)
	if len(items) == 1 {
		return &ast.ParenExpr{Span: p.from(start), X: items[0]}
	}
	return &ast.Tuple{Span: p.from(start), Items: items}
}

// lambda reads (x [type], …) -> body, or nothing.
func (p *parser) lambda() ast.Expr {
	m := p.mark()
	start := p.tok.Pos
	p.expect(token.LParen)
	l := &ast.Lambda{}
	typed := false
	for {
		id := p.tryIdentifier()
		if id == nil {
			p.reset(m)
			return nil
		}
		l.Params = append(l.Params, id)
		var t *ast.Type
		if p.tok.Kind == token.Ident {
			t = p.tryType()
			typed = typed || t != nil
		}
		l.Types = append(l.Types, t)
		if !p.accept(token.Comma) {
			break
		}
	}
	if !p.accept(token.RParen) || !p.accept(token.Arrow) {
		p.reset(m)
		return nil
	}
	if !typed {
		l.Types = nil
	}
	l.Body = p.expr()
	l.Span = p.from(start)
	return l
}

// word reads a value that begins with an unquoted word.
func (p *parser) word() ast.Expr {
	start := p.tok.Pos
	switch p.tok.Word {
	case "NULL":
		p.next()
		return &ast.Literal{Span: p.from(start), Kind: ast.NullLiteral}
	case "TRUE", "FALSE":
		value := p.tok.Word
		p.next()
		return &ast.Literal{Span: p.from(start), Kind: ast.BoolLiteral, Value: value}
	case "CASE":
		return p.caseExpr()
	case "EXISTS":
		if p.peek().Kind == token.LParen {
			p.next()
			p.expect(token.LParen)
			e := &ast.Exists{Query: p.query()}
			p.expect(token.RParen)
			e.Span = p.from(start)
			return e
		}
	case "CAST", "TRY_CAST":
		if p.peek().Kind == token.LParen {
			return p.cast()
		}
	case "EXTRACT":
		if p.peek().Kind == token.LParen {
			return p.extract()
		}
	case "POSITION":
		if p.peek().Kind == token.LParen {
			return p.position()
		}
	case "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "INTERVAL", "X":
		if p.peek().Kind == token.String && (p.tok.Word != "X" || p.peek().Pos == p.tok.End) {
			t := &ast.TypedLiteral{Type: p.tok.Word}
			p.next()
			t.Value = p.stringLiteral().Value
			if t.Type == "INTERVAL" && !strings.ContainsFunc(t.Value, unicode.IsLetter) {
				t.Unit = p.intervalUnit()
			}
			t.Span = p.from(start)
			return t
		}
	case "TABLE":
		if p.peek().Kind == token.LParen {
			p.next()
			return p.tableArg(start)
		}
	case "SELECT", "WITH":
		p.failHint("Put parentheses around a subquery.", "expected a value, found %s", p.found())
	}
	return p.nameOrCall()
}

// intervalUnit reads DAY, YEAR TO MONTH and their like.
// docs.snowflake.com/en/sql-reference/data-types-datetime
func (p *parser) intervalUnit() string {
	for _, from := range intervalUnits {
		if !p.acceptWord(from) {
			continue
		}
		if p.acceptWord("TO") {
			return from + " TO " + p.oneOf(intervalUnits...)
		}
		return from
	}
	return ""
}

var intervalUnits = []string{"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"}

func (p *parser) tableArg(start token.Pos) ast.Expr {
	a := &ast.TableArg{}
	p.expect(token.LParen)
	if p.atAny("SELECT", "WITH") {
		a.Query = p.query()
	} else {
		a.Name = p.objectName()
	}
	p.expect(token.RParen)
	a.Span = p.from(start)
	return a
}

func (p *parser) caseExpr() ast.Expr {
	start := p.tok.Pos
	p.expectWord("CASE")
	c := &ast.Case{}
	if !p.at("WHEN") {
		c.X = p.expr()
	}
	for p.at("WHEN") {
		whenStart := p.tok.Pos
		p.next()
		w := &ast.When{If: p.expr()}
		p.expectWord("THEN")
		w.Then = p.expr()
		w.Span = p.from(whenStart)
		c.Whens = append(c.Whens, w)
	}
	if c.Whens == nil {
		p.expected("WHEN")
	}
	if p.acceptWord("ELSE") {
		c.Else = p.expr()
	}
	p.expectWord("END")
	c.Span = p.from(start)
	return c
}

func (p *parser) cast() ast.Expr {
	start := p.tok.Pos
	c := &ast.Cast{Try: p.at("TRY_CAST")}
	p.next()
	p.expect(token.LParen)
	c.X = p.expr()
	p.expectWord("AS")
	c.Type = p.dataType()
	for p.atAny("RENAME", "ADD") {
		c.Options = strings.TrimPrefix(c.Options+" "+p.tok.Word+" FIELDS", " ")
		p.next()
		p.expectWord("FIELDS")
		p.accept(token.Comma)
	}
	p.expect(token.RParen)
	c.Span = p.from(start)
	return c
}

func (p *parser) extract() ast.Expr {
	start := p.tok.Pos
	p.next()
	p.expect(token.LParen)
	e := &ast.Extract{}
	if p.tok.Kind == token.String {
		e.Part = strings.ToUpper(p.stringLiteral().Value)
		if !isWord(e.Part) {
			p.fail("expected a part of a date")
		}
	} else {
		e.Part = strings.ToUpper(p.anyWord().Name)
	}
	p.expectWord("FROM")
	e.X = p.expr()
	p.expect(token.RParen)
	e.Span = p.from(start)
	return e
}

// isWord reports whether s is letters and underscores alone.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '_' {
			return false
		}
	}
	return s != ""
}

// position reads POSITION(x IN y), which is POSITION(x, y).
func (p *parser) position() ast.Expr {
	start := p.tok.Pos
	name := p.objectName()
	m := p.mark()
	p.expect(token.LParen)
	x := p.sum()
	if p.acceptWord("IN") {
		y := p.expr()
		p.expect(token.RParen)
		return &ast.Call{Span: p.from(start), Name: name, Args: []ast.Expr{x, y}}
	}
	p.reset(m)
	return p.call(name)
}

// nameOrCall reads a column, a qualified star, a function call, or a lambda
// with one bare parameter.
func (p *parser) nameOrCall() ast.Expr {
	start := p.tok.Pos
	if p.at("IDENTIFIER") && p.peek().Kind == token.LParen {
		name := p.objectName()
		if p.tok.Kind == token.LParen {
			return p.call(name)
		}
		return &ast.Call{Span: p.from(start), Name: name}
	}
	if !token.NamesColumn(p.tok.Word) && (p.peek().Kind != token.LParen || !callableWord(p.tok.Word)) {
		p.needIdentifier()
	}
	plain := &plainColumn{}
	first := &plain.first
	p.readWord(first)
	if p.tok.Kind == token.Arrow {
		p.next()
		body := p.expr()
		return &ast.Lambda{Span: p.from(start), Params: []*ast.Ident{first}, Body: body}
	}
	plain.parts[0] = first
	parts := plain.parts[:]
	for p.tok.Kind == token.Dot {
		switch next := p.peek(); next.Kind {
		case token.Star:
			p.next()
			if parts[len(parts)-1] == nil {
				p.expected("an identifier")
			}
			return p.star(parts, start)
		case token.Positional:
			p.next()
			t := p.tok
			p.next()
			return &ast.Positional{Span: p.from(start), Qualifier: first, N: t.Text(p.src)[1:]}
		case token.Dot:
			p.next()
			parts = append(parts, nil)
			continue
		}
		p.next()
		parts = append(parts, p.anyWord())
	}
	switch {
	case p.tok.Kind == token.LParen && !p.outerMark():
		return p.call(&ast.ObjectName{Span: p.from(start), Parts: parts})
	case p.tok.Kind == token.Bang:
		m := &ast.Method{Object: &ast.ObjectName{Span: p.from(start), Parts: parts}}
		p.next()
		m.Call = p.call(p.objectName())
		m.Span = p.from(start)
		return m
	}
	if p.tok.Kind == token.FatArrow && len(parts) == 1 {
		p.next()
		v := p.expr()
		return &ast.NamedArg{Span: p.from(start), Name: first, Value: v}
	}
	if len(parts) > 4 {
		p.failAs(Syntax, start, "a column's name has at most four parts")
	}
	ref := &plain.ref
	ref.Span, ref.Parts = p.from(start), parts
	if p.tok.Kind == token.LParen { // an outer mark, as seen above
		p.next()
		p.next()
		p.next()
		return &ast.OuterRef{Span: p.from(start), X: ref}
	}
	return ref
}

// outerMark reports whether (+) stands here.
func (p *parser) outerMark() bool {
	ahead := p.behind()
	return ahead.Next().Kind == token.Plus && ahead.Next().Kind == token.RParen
}

// callableWord reports whether a word that is reserved elsewhere may be the
// name of a function: LEFT(…), RIGHT(…), INSERT(…), CURRENT_DATE(…).
func callableWord(w string) bool {
	switch w {
	case "LEFT", "RIGHT", "INSERT", "REPLACE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER",
		"LOCALTIME", "LOCALTIMESTAMP", "LIKE", "ILIKE", "RLIKE", "REGEXP", "TRY_CAST", "CAST", "ANY_VALUE", "GROUPING",
		"TRUNCATE", "ALL", "ANY":
		return true
	default:
		return w == "" || !token.Reserved(w)
	}
}

// call reads the arguments of a function and what may follow them.
func (p *parser) call(name *ast.ObjectName) *ast.Call {
	p.enter()
	defer p.leave()
	c := &ast.Call{Name: name}
	p.expect(token.LParen)
	c.Distinct = p.acceptWord("DISTINCT")
	if !c.Distinct && p.at("ALL") && p.peek().Kind != token.Comma && p.peek().Kind != token.RParen {
		p.next()
	}
	if p.tok.Kind != token.RParen {
		c.Args = commaList(p, p.argument)
		p.nullsTreatment(c)
	}
	p.expect(token.RParen)
	if p.acceptWord("WITHIN") {
		p.expectWord("GROUP")
		p.expect(token.LParen)
		p.expectWord("ORDER", "BY")
		c.Within = commaList(p, p.orderItem)
		p.expect(token.RParen)
	}
	if p.acceptWord("FROM", "LAST") {
		c.FromLast = true
	} else {
		p.acceptWord("FROM", "FIRST")
	}
	p.nullsTreatment(c)
	if p.at("OVER") && p.peek().Kind == token.LParen {
		p.next()
		c.Over = p.window()
	}
	c.Span = p.from(name.From)
	return c
}

func (p *parser) nullsTreatment(c *ast.Call) {
	switch {
	case p.acceptWord("IGNORE", "NULLS"):
		c.Nulls = "IGNORE NULLS"
	case p.acceptWord("RESPECT", "NULLS"):
		c.Nulls = "RESPECT NULLS"
	}
}

// argument reads one argument: a value, name => value, or a query, which a few
// table functions take without parentheses of its own.
func (p *parser) argument() ast.Expr {
	start := p.tok.Pos
	if p.atAny("SELECT", "WITH") {
		q := p.query()
		return &ast.Subquery{Span: p.from(start), Query: q}
	}
	if p.tok.Kind == token.Ident {
		switch next := p.peek(); {
		case next.Kind == token.FatArrow:
			return p.namedArg()
		case next.Kind == token.Ident && next.Word != "":
			if l := p.typedLambda(); l != nil {
				return l
			}
		}
	}
	return p.expr()
}

// typedLambda reads x type -> body, nil if none stands here.
func (p *parser) typedLambda() ast.Expr {
	m, start := p.mark(), p.tok.Pos
	l := &ast.Lambda{Params: []*ast.Ident{p.tryIdentifier()}}
	if l.Params[0] == nil {
		return nil
	}
	t := p.tryType()
	if t == nil || !p.accept(token.Arrow) {
		p.reset(m)
		return nil
	}
	l.Types = []*ast.Type{t}
	l.Body = p.expr()
	l.Span = p.from(start)
	return l
}

func (p *parser) window() *ast.Window {
	p.expect(token.LParen)
	start := p.tok.Pos
	w := &ast.Window{}
	if p.acceptWord("PARTITION") {
		p.expectWord("BY")
		w.Partition = commaList(p, p.expr)
	}
	if p.acceptWord("ORDER") {
		p.expectWord("BY")
		w.OrderBy = commaList(p, p.orderItem)
	}
	if p.atAny("ROWS", "RANGE") {
		frameStart := p.tok.Pos
		f := &ast.Frame{Unit: p.tok.Word}
		p.next()
		if p.acceptWord("BETWEEN") {
			f.Low = p.bound()
			p.expectWord("AND")
			f.High = p.bound()
		} else {
			f.Low = p.bound()
		}
		f.Span = p.from(frameStart)
		w.Frame = f
	}
	w.Span = p.from(start)
	p.expect(token.RParen)
	return w
}

func (p *parser) bound() *ast.Bound {
	start := p.tok.Pos
	b := &ast.Bound{}
	switch {
	case p.acceptWord("UNBOUNDED"):
		b.Kind = "UNBOUNDED " + p.oneOf("PRECEDING", "FOLLOWING")
	case p.acceptWord("CURRENT", "ROW"):
		b.Kind = "CURRENT ROW"
	default:
		b.X = p.sum()
		b.Kind = p.oneOf("PRECEDING", "FOLLOWING")
	}
	b.Span = p.from(start)
	return b
}

// dataType reads a type; see [ast.Type].
func (p *parser) dataType() *ast.Type {
	if t := p.tryType(); t != nil {
		return t
	}
	p.expected("a data type")
	return nil
}

// typeNames are the types that Snowflake has, by their canonical spelling.
// docs.snowflake.com/en/sql-reference/intro-summary-data-types
var typeNames = map[string]bool{
	"NUMBER": true, "DECIMAL": true, "DEC": true, "NUMERIC": true, "INT": true, "INTEGER": true, "BIGINT": true,
	"SMALLINT": true, "TINYINT": true, "BYTEINT": true, "FLOAT": true, "FLOAT4": true, "FLOAT8": true, "DOUBLE": true,
	"REAL": true, "DECFLOAT": true, "VARCHAR": true, "CHAR": true, "CHARACTER": true, "NCHAR": true, "NVARCHAR": true,
	"NVARCHAR2": true, "STRING": true, "TEXT": true, "BINARY": true, "VARBINARY": true, "BOOLEAN": true, "DATE": true,
	"DATETIME": true, "TIME": true, "TIMESTAMP": true, "TIMESTAMP_LTZ": true, "TIMESTAMP_NTZ": true, "TIMESTAMP_TZ": true,
	"TIMESTAMPLTZ": true, "TIMESTAMPNTZ": true, "TIMESTAMPTZ": true, "VARIANT": true, "OBJECT": true, "ARRAY": true,
	"MAP": true, "VECTOR": true, "GEOGRAPHY": true, "GEOMETRY": true, "FILE": true, "UUID": true, "TABLE": true, "INTERVAL": true,
}

func (p *parser) tryType() *ast.Type {
	start := p.tok.Pos
	if p.tok.Kind != token.Ident {
		return nil
	}
	name := strings.ToUpper(p.tok.Text(p.src))
	if !typeNames[name] {
		return nil
	}
	t := &ast.Type{Name: name}
	p.next()
	switch name {
	case "INTERVAL":
		if unit := p.intervalUnit(); unit != "" {
			t.Name += " " + unit
		}
	case "DOUBLE":
		p.acceptWord("PRECISION")
	case "CHAR", "CHARACTER", "NCHAR":
		if p.acceptWord("VARYING") {
			t.Name = "VARCHAR"
		}
	case "TIMESTAMP":
		switch {
		case p.acceptWord("WITH", "TIME", "ZONE"):
			t.Name = "TIMESTAMP_TZ"
		case p.acceptWord("WITHOUT", "TIME", "ZONE"):
			t.Name = "TIMESTAMP_NTZ"
		case p.acceptWord("WITH", "LOCAL", "TIME", "ZONE"):
			t.Name = "TIMESTAMP_LTZ"
		}
	}
	if p.tok.Kind == token.LParen && p.peek().Kind != token.RParen {
		switch name {
		case "ARRAY", "OBJECT", "MAP", "TABLE":
			t.Elem = parens(p, p.typeField)
		default:
			t.Args = parens(p, p.typeArg)
		}
	}
	t.Span = p.from(start)
	return t
}

// typeArg reads a length, a precision, or the element type of a VECTOR.
func (p *parser) typeArg() string {
	if p.tok.Kind == token.Number {
		return p.number()
	}
	w := strings.ToUpper(p.anyWord().Name)
	if !typeNames[w] {
		p.fail("expected a number or a data type")
	}
	return w
}

func (p *parser) typeField() *ast.TypeField {
	start := p.tok.Pos
	f := &ast.TypeField{}
	m := p.mark()
	f.Type = p.tryType()
	if f.Type == nil || p.tok.Kind != token.Comma && p.tok.Kind != token.RParen && !p.at("NOT") {
		p.reset(m)
		f.Name = p.anyWord()
		f.Type = p.dataType()
	}
	if p.acceptWord("NOT", "NULL") {
		f.NotNull = true
	}
	f.Span = p.from(start)
	return f
}
