package parser

import (
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// block reads [DECLARE …] BEGIN … [EXCEPTION …] END.
// docs.snowflake.com/en/developer-guide/snowflake-scripting/blocks
func (p *parser) block() *ast.Block {
	start := p.tok.Pos
	b := &ast.Block{}
	if p.acceptWord("DECLARE") {
		for !p.at("BEGIN") {
			b.Declare = append(b.Declare, p.declaration())
			p.expect(token.Semicolon)
		}
	}
	p.expectWord("BEGIN")
	b.Body = p.body("EXCEPTION", "END")
	if p.acceptWord("EXCEPTION") {
		for p.at("WHEN") {
			b.Handlers = append(b.Handlers, p.handler())
		}
		if b.Handlers == nil {
			p.expected("WHEN")
		}
	}
	p.expectWord("END")
	b.Label = p.label()
	b.Span = p.from(start)
	return b
}

// body reads statements, each with its semicolon, up to one of the words.
func (p *parser) body(ends ...string) []ast.Statement {
	list := []ast.Statement{}
	for {
		for p.accept(token.Semicolon) {
		}
		if p.atAny(ends...) {
			return list
		}
		list = append(list, p.statement())
		if p.tok.Kind != token.Semicolon {
			p.expected("; behind a statement of the block")
		}
	}
}

// end reads END, the word for what ends and perhaps a label.
func (p *parser) end(what ...string) *ast.Ident {
	p.expectWord("END")
	p.oneOf(what...)
	return p.label()
}

func (p *parser) label() *ast.Ident {
	if p.tok.Kind != token.Ident && p.tok.Kind != token.QuotedIdent {
		return nil
	}
	return p.identifier()
}

func (p *parser) handler() *ast.Handler {
	start := p.tok.Pos
	p.expectWord("WHEN")
	h := &ast.Handler{Exceptions: []*ast.Ident{p.identifier()}}
	for p.acceptWord("OR") {
		h.Exceptions = append(h.Exceptions, p.identifier())
	}
	if p.atAny("EXIT", "CONTINUE") {
		h.Kind = p.tok.Word
		p.next()
	}
	p.expectWord("THEN")
	h.Then = p.body("WHEN", "END")
	h.Span = p.from(start)
	return h
}

// declaration reads a name with its type and its value.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/declare, …/let
func (p *parser) declaration() *ast.Declaration {
	start := p.tok.Pos
	d := &ast.Declaration{Let: p.acceptWord("LET")}
	d.Name = p.identifier()
	switch {
	case p.acceptWord("CURSOR"):
		d.Kind = ast.CursorDeclaration
		p.expectWord("FOR")
		if p.atAny("SELECT", "WITH") || p.tok.Kind == token.LParen && p.startsQuery() {
			d.Query = p.query()
		} else {
			d.Value = p.expr()
		}
	case p.acceptWord("RESULTSET"):
		d.Kind = ast.ResultSetDeclaration
		if p.accept(token.Assign) || p.acceptWord("DEFAULT") {
			d.Value = p.scriptValue()
		}
	case p.acceptWord("EXCEPTION"):
		d.Kind = ast.ExceptionDeclaration
		if p.tok.Kind == token.LParen {
			d.Value = p.tuple()
		}
	case p.acceptWord("PROCEDURE"):
		d.Kind = ast.ProcedureDeclaration
		d.Rest = p.tokens(func() bool { return p.at("AS") })
		p.expectWord("AS")
		d.Body = p.block()
	default:
		d.Type = p.tryType()
		if p.accept(token.Assign) || p.acceptWord("DEFAULT") {
			d.Value = p.scriptValue()
		}
	}
	d.Span = p.from(start)
	return d
}

// scriptValue reads a value behind := or RETURN, which may be the result of a
// statement.
func (p *parser) scriptValue() ast.Expr {
	start := p.tok.Pos
	s := &ast.StatementExpr{}
	switch {
	case p.at("ASYNC") && p.peek().Kind == token.LParen:
		p.next()
		s.Async = true
	case p.tok.Kind == token.LParen && isStatement(p.peek()):
	default:
		return p.expr()
	}
	p.expect(token.LParen)
	s.Statement = p.statement()
	p.expect(token.RParen)
	s.Span = p.from(start)
	return s
}

// isStatement reports whether a token begins a statement other than a query.
func isStatement(t token.Token) bool {
	switch t.Word {
	case "EXECUTE", "CALL", "SHOW", "DESCRIBE", "DESC", "LIST", "LS", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "CREATE", "ALTER", "DROP",
		"GRANT", "REVOKE", "BEGIN", "DECLARE", "RETURN", "LET", "REMOVE", "RM":
		return t.Kind == token.Ident
	default:
		return false
	}
}

// scriptStatement reads a statement of a script, nil if none begins here.
func (p *parser) scriptStatement() ast.Statement {
	start := p.tok.Pos
	switch p.tok.Word {
	case "LET":
		return p.declaration()
	case "IF":
		return p.ifStmt()
	case "CASE":
		return p.caseStmt()
	case "FOR":
		return p.forStmt()
	case "WHILE":
		p.next()
		w := &ast.While{When: p.condition()}
		p.oneOf("DO", "LOOP")
		w.Body = p.body("END")
		w.Label = p.end("WHILE", "LOOP")
		w.Span = p.from(start)
		return w
	case "REPEAT":
		p.next()
		r := &ast.Repeat{Body: p.body("UNTIL")}
		p.expectWord("UNTIL")
		r.Until = p.condition()
		r.Label = p.end("REPEAT")
		r.Span = p.from(start)
		return r
	case "LOOP":
		p.next()
		l := &ast.Loop{Body: p.body("END")}
		l.Label = p.end("LOOP")
		l.Span = p.from(start)
		return l
	case "BREAK", "EXIT", "CONTINUE", "ITERATE", "RAISE", "NULL":
		j := &ast.Jump{Verb: p.tok.Word}
		p.next()
		if j.Verb != "NULL" {
			j.Label = p.label()
		}
		j.Span = p.from(start)
		return j
	case "RETURN":
		p.next()
		r := &ast.Return{}
		if p.tok.Kind != token.Semicolon && p.tok.Kind != token.EOF {
			r.X = p.scriptValue()
		}
		r.Span = p.from(start)
		return r
	case "OPEN", "FETCH", "CLOSE":
		return p.cursorStmt()
	case "AWAIT", "CANCEL":
		a := &ast.Await{Verb: p.tok.Word}
		p.next()
		if !p.acceptWord("ALL") {
			a.Job = p.identifier()
		}
		a.Span = p.from(start)
		return a
	case "ASYNC":
		p.next()
		p.expect(token.LParen)
		a := &ast.Async{Statement: p.statement()}
		p.expect(token.RParen)
		a.Span = p.from(start)
		return a
	}
	return p.assign()
}

// assign reads name := value, nil if no name and := stand here.
func (p *parser) assign() ast.Statement {
	if p.tok.Kind != token.Ident && p.tok.Kind != token.QuotedIdent {
		return nil
	}
	if k := p.peek().Kind; k != token.Assign && k != token.LBracket && k != token.Dot {
		return nil
	}
	m, start := p.mark(), p.tok.Pos
	a := &ast.Assign{Target: p.postfix()}
	if !p.accept(token.Assign) {
		p.reset(m)
		return nil
	}
	a.Value = p.scriptValue()
	a.Span = p.from(start)
	return a
}

// condition reads a condition; parentheses around the whole of it are a part
// of the statement.
func (p *parser) condition() ast.Expr {
	x := p.expr()
	if paren, ok := x.(*ast.ParenExpr); ok {
		return paren.X
	}
	return x
}

func (p *parser) ifStmt() ast.Statement {
	s, start := &ast.If{}, p.tok.Pos
	for p.atAny("IF", "ELSEIF") {
		armStart := p.tok.Pos
		p.next()
		a := &ast.Arm{When: p.condition()}
		p.expectWord("THEN")
		a.Then = p.body("ELSEIF", "ELSE", "END")
		a.Span = p.from(armStart)
		s.Arms = append(s.Arms, a)
	}
	if p.acceptWord("ELSE") {
		s.Else = p.body("END")
	}
	p.expectWord("END", "IF")
	s.Span = p.from(start)
	return s
}

func (p *parser) caseStmt() ast.Statement {
	s, start := &ast.CaseStmt{}, p.tok.Pos
	p.expectWord("CASE")
	if !p.at("WHEN") {
		s.X = p.condition()
	}
	for p.at("WHEN") {
		armStart := p.tok.Pos
		p.next()
		a := &ast.Arm{When: p.condition()}
		p.expectWord("THEN")
		a.Then = p.body("WHEN", "ELSE", "END")
		a.Span = p.from(armStart)
		s.Arms = append(s.Arms, a)
	}
	if s.Arms == nil {
		p.expected("WHEN")
	}
	if p.acceptWord("ELSE") {
		s.Else = p.body("END")
	}
	p.expectWord("END")
	p.acceptWord("CASE")
	s.Span = p.from(start)
	return s
}

func (p *parser) forStmt() ast.Statement {
	f, start := &ast.For{}, p.tok.Pos
	p.expectWord("FOR")
	f.Var = p.identifier()
	p.expectWord("IN")
	f.Reverse = p.acceptWord("REVERSE")
	f.In = p.sum()
	if p.acceptWord("TO") {
		f.To = p.sum()
	}
	p.oneOf("DO", "LOOP")
	f.Body = p.body("END")
	f.Label = p.end("FOR", "LOOP")
	f.Span = p.from(start)
	return f
}

func (p *parser) cursorStmt() ast.Statement {
	c, start := &ast.CursorStmt{Verb: p.tok.Word}, p.tok.Pos
	p.next()
	c.Cursor = p.identifier()
	switch {
	case c.Verb == "OPEN" && p.acceptWord("USING"):
		c.Using = parens(p, p.expr)
	case c.Verb == "FETCH":
		p.expectWord("INTO")
		c.Into = commaList(p, p.postfix)
	}
	c.Span = p.from(start)
	return c
}
