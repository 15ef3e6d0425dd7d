package parser

import (
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// statement reads one statement up to its semicolon, which it leaves.
func (p *parser) statement() ast.Statement {
	p.enter()
	defer p.leave()
	start := p.tok.Pos
	if p.tok.Kind == token.LParen || p.atAny("SELECT", "WITH", "VALUES") {
		q := p.query()
		return &ast.QueryStmt{Span: p.from(start), Query: q}
	}
	switch p.tok.Word {
	case "INSERT":
		return p.insert()
	case "UPDATE":
		return p.update()
	case "DELETE":
		return p.delete()
	case "MERGE":
		return p.merge()
	case "TRUNCATE":
		p.next()
		p.acceptWord("MATERIALIZED", "VIEW")
		p.acceptWord("TABLE")
		t := &ast.Truncate{IfExists: p.acceptWord("IF", "EXISTS"), Name: p.objectName()}
		t.Span = p.from(start)
		return t
	case "CREATE":
		return p.create()
	case "DROP":
		return p.drop()
	case "UNDROP":
		p.next()
		u := &ast.Undrop{Kind: p.objectKind(), Name: p.objectName()}
		u.Span = p.from(start)
		return u
	case "ALTER":
		return p.alter()
	case "SHOW":
		return p.show()
	case "DESCRIBE", "DESC":
		return p.describe()
	case "USE":
		return p.use()
	case "SET":
		return p.set()
	case "UNSET":
		p.next()
		u := &ast.UnsetVar{Names: oneOrParens(p, p.identifier)}
		u.Span = p.from(start)
		return u
	case "BEGIN", "START", "COMMIT", "ROLLBACK":
		return p.transaction()
	case "DECLARE":
		return p.block()
	case "GRANT", "REVOKE":
		g := &ast.Grant{Revoke: p.at("REVOKE")}
		p.next()
		g.Rest = p.needRest("privileges or roles")
		g.Span = p.from(start)
		return g
	case "CALL":
		p.next()
		c := &ast.CallStmt{Call: p.call(p.objectName())}
		if p.acceptWord("INTO") {
			p.expect(token.Colon)
			at := p.last
			c.Into = &ast.Param{Name: p.anyWord().Name, Span: p.from(at)}
		}
		c.Span = p.from(start)
		return c
	case "EXECUTE":
		return p.execute()
	case "COPY":
		return p.copyInto()
	case "PUT", "GET", "LIST", "LS", "REMOVE", "RM":
		s := &ast.StageCommand{Verb: p.tok.Word}
		p.next()
		s.Rest = p.needRest("a stage")
		s.Span = p.from(start)
		return s
	case "COMMENT":
		return p.comment()
	case "EXPLAIN":
		p.next()
		e := &ast.Explain{}
		if p.acceptWord("USING") {
			e.Using = p.oneOf("TABULAR", "JSON", "TEXT")
		}
		e.Statement = p.statement()
		e.Span = p.from(start)
		return e
	}
	p.expected("a statement")
	return nil
}

// rest keeps the tokens up to the end of the statement, nil if there are none.
func (p *parser) rest() *ast.Tokens { return p.tokens(func() bool { return false }) }

// needRest is like rest where something has to follow.
func (p *parser) needRest(what string) *ast.Tokens {
	t := p.rest()
	if t == nil {
		p.expected(what)
	}
	return t
}

// tokens keeps tokens until one, outside of parentheses, at which stop says
// so, or the statement ends.
func (p *parser) tokens(stop func() bool) *ast.Tokens {
	start := p.tok.Pos
	t := &ast.Tokens{}
	for depth := 0; ; {
		switch p.tok.Kind {
		case token.EOF, token.Semicolon:
			if depth > 0 {
				p.expected(")")
			}
			return p.endTokens(t, start)
		case token.Illegal:
			p.expected("an option")
		case token.LParen:
			depth++
		case token.RParen:
			if depth--; depth < 0 {
				return p.endTokens(t, start)
			}
		}
		if depth == 0 && stop() {
			return p.endTokens(t, start)
		}
		t.List = append(t.List, p.lexeme())
	}
}

func (p *parser) endTokens(t *ast.Tokens, start token.Pos) *ast.Tokens {
	if len(t.List) == 0 {
		return nil
	}
	t.Span = p.from(start)
	return t
}

// lexeme takes any token as it is.
func (p *parser) lexeme() ast.Lexeme {
	t := p.tok
	switch t.Kind {
	case token.String, token.Dollar:
		return ast.Lexeme{Kind: t.Kind, Text: p.stringLiteral().Value}
	case token.QuotedIdent:
		return ast.Lexeme{Kind: t.Kind, Text: p.anyWord().Name}
	default:
		p.next()
		return ast.Lexeme{Kind: t.Kind, Text: t.Text(p.src)}
	}
}

func (p *parser) insert() ast.Statement {
	start := p.tok.Pos
	p.expectWord("INSERT")
	overwrite := p.acceptWord("OVERWRITE")
	if p.atAny("ALL", "FIRST") {
		return p.multiInsert(start, overwrite)
	}
	p.expectWord("INTO")
	i := &ast.Insert{Overwrite: overwrite, Target: p.objectName()}
	if p.tok.Kind == token.LParen && !p.startsQuery() {
		i.Columns = parens(p, p.identifier)
	}
	i.Source = p.query()
	i.Span = p.from(start)
	return i
}

func (p *parser) multiInsert(start token.Pos, overwrite bool) ast.Statement {
	m := &ast.MultiInsert{Overwrite: overwrite, First: p.at("FIRST")}
	p.next()
	for p.atAny("WHEN", "ELSE", "INTO") {
		branchStart := p.tok.Pos
		b := &ast.InsertBranch{}
		if p.acceptWord("WHEN") {
			b.If = p.expr()
			p.expectWord("THEN")
		} else {
			b.Else = p.acceptWord("ELSE")
		}
		if !p.at("INTO") {
			p.expected("INTO")
		}
		for p.at("INTO") {
			b.Into = append(b.Into, p.insertInto())
		}
		b.Span = p.from(branchStart)
		m.Branches = append(m.Branches, b)
	}
	if m.Branches == nil {
		p.expected("INTO or WHEN")
	}
	m.Source = p.query()
	m.Span = p.from(start)
	return m
}

func (p *parser) insertInto() *ast.InsertInto {
	start := p.tok.Pos
	p.expectWord("INTO")
	i := &ast.InsertInto{Target: p.objectName()}
	if p.tok.Kind == token.LParen && !p.startsQuery() {
		i.Columns = parens(p, p.identifier)
	}
	if p.acceptWord("VALUES") {
		i.Values = parens(p, p.defaultOrExpr)
	}
	i.Span = p.from(start)
	return i
}

func (p *parser) update() ast.Statement {
	start := p.tok.Pos
	p.expectWord("UPDATE")
	u := &ast.Update{Target: p.objectName(), Alias: p.relationAlias()}
	p.expectWord("SET")
	u.Set = commaList(p, p.assignment)
	if p.acceptWord("FROM") {
		u.From = commaList(p, p.relation)
	}
	if p.acceptWord("WHERE") {
		u.Where = p.expr()
	}
	u.Span = p.from(start)
	return u
}

func (p *parser) assignment() *ast.Assignment {
	start := p.tok.Pos
	a := &ast.Assignment{Column: []*ast.Ident{p.identifier()}}
	for p.accept(token.Dot) {
		a.Column = append(a.Column, p.anyWord())
	}
	p.expect(token.Equal)
	a.Value = p.defaultOrExpr()
	a.Span = p.from(start)
	return a
}

func (p *parser) delete() ast.Statement {
	start := p.tok.Pos
	p.expectWord("DELETE", "FROM")
	d := &ast.Delete{Target: p.objectName(), Alias: p.relationAlias()}
	if p.acceptWord("USING") {
		d.Using = commaList(p, p.relation)
	}
	if p.acceptWord("WHERE") {
		d.Where = p.expr()
	}
	d.Span = p.from(start)
	return d
}

func (p *parser) merge() ast.Statement {
	start := p.tok.Pos
	p.expectWord("MERGE", "INTO")
	m := &ast.Merge{Target: p.objectName(), Alias: p.relationAlias()}
	p.expectWord("USING")
	m.Using = p.relationTerm()
	p.expectWord("ON")
	m.On = p.expr()
	for p.at("WHEN") {
		m.Whens = append(m.Whens, p.mergeWhen())
	}
	if m.Whens == nil {
		p.expected("WHEN")
	}
	m.Span = p.from(start)
	return m
}

func (p *parser) mergeWhen() *ast.MergeWhen {
	start := p.tok.Pos
	p.expectWord("WHEN")
	w := &ast.MergeWhen{NotMatched: p.acceptWord("NOT")}
	p.expectWord("MATCHED")
	w.BySource = p.acceptWord("BY", "SOURCE")
	if p.acceptWord("AND") {
		w.If = p.expr()
	}
	p.expectWord("THEN")
	switch w.Action = p.oneOf("UPDATE", "DELETE", "INSERT"); {
	case w.Action != "DELETE" && p.acceptWord("ALL", "BY", "NAME"):
		w.Action += " ALL BY NAME"
	case w.Action == "UPDATE":
		p.expectWord("SET")
		w.Set = commaList(p, p.assignment)
	case w.Action == "INSERT":
		if p.tok.Kind == token.LParen {
			w.Columns = parens(p, p.identifier)
		}
		p.expectWord("VALUES")
		w.Values = parens(p, p.defaultOrExpr)
	}
	w.Span = p.from(start)
	return w
}

func (p *parser) show() ast.Statement {
	start := p.tok.Pos
	p.expectWord("SHOW")
	s := &ast.Show{Terse: p.acceptWord("TERSE")}
	s.What = p.objectKind()
	s.History = p.acceptWord("HISTORY")
	if p.acceptWord("LIKE") {
		s.Like = p.stringLiteral()
	}
	if p.acceptWord("IN") {
		if p.atAny("ACCOUNT", "DATABASE", "SCHEMA", "TABLE", "VIEW") {
			s.Scope = p.tok.Word
			p.next()
		}
		if (p.tok.Kind == token.Ident || p.tok.Kind == token.QuotedIdent) && !p.atAny("STARTS", "LIMIT") {
			s.In = p.objectName()
		}
	}
	s.Options = p.rest()
	s.Span = p.from(start)
	return s
}

func (p *parser) describe() ast.Statement {
	start := p.tok.Pos
	p.next()
	d := &ast.Describe{Kind: "TABLE"}
	if p.kindAhead() {
		d.Kind = p.objectKind()
	}
	d.Name = p.objectName()
	d.Options = p.rest()
	d.Span = p.from(start)
	return d
}

func (p *parser) use() ast.Statement {
	start := p.tok.Pos
	p.expectWord("USE")
	u := &ast.Use{}
	switch {
	case p.acceptWord("SECONDARY", "ROLES"):
		u.Kind = "SECONDARY ROLES"
		if p.atAny("ALL", "NONE") {
			id := p.anyWord()
			u.Name = &ast.ObjectName{Span: id.Span, Parts: []*ast.Ident{id}}
			u.Span = p.from(start)
			return u
		}
	case p.atAny("ROLE", "WAREHOUSE", "DATABASE", "SCHEMA"):
		if k := p.peek().Kind; k == token.Ident || k == token.QuotedIdent {
			u.Kind = p.tok.Word
			p.next()
		}
	}
	u.Name = p.objectName()
	u.Span = p.from(start)
	return u
}

func (p *parser) set() ast.Statement {
	start := p.tok.Pos
	p.expectWord("SET")
	s := &ast.SetVar{}
	if p.tok.Kind == token.LParen {
		s.Names = parens(p, p.identifier)
		p.expect(token.Equal)
		s.Values = parens(p, p.expr)
	} else {
		s.Names = []*ast.Ident{p.identifier()}
		p.expect(token.Equal)
		s.Values = []ast.Expr{p.expr()}
	}
	s.Span = p.from(start)
	return s
}

// transaction reads BEGIN, START TRANSACTION, COMMIT and ROLLBACK; a BEGIN that
// goes on is a block.
func (p *parser) transaction() ast.Statement {
	start := p.tok.Pos
	t := &ast.Transaction{Verb: p.tok.Word}
	if t.Verb == "BEGIN" {
		switch next := p.peek(); {
		case next.Kind == token.EOF, next.Kind == token.Semicolon, next.Word == "TRANSACTION", next.Word == "WORK", next.Word == "NAME":
		default:
			return p.block()
		}
	}
	p.next()
	switch t.Verb {
	case "START":
		p.expectWord("TRANSACTION")
		t.Verb = "BEGIN"
	default:
		if !p.acceptWord("TRANSACTION") {
			p.acceptWord("WORK")
		}
	}
	if t.Verb == "BEGIN" && p.acceptWord("NAME") {
		t.Name = p.identifier()
	}
	t.Span = p.from(start)
	return t
}

// block keeps a scripting block up to the END that closes it.
func (p *parser) block() ast.Statement {
	start := p.tok.Pos
	t := &ast.Tokens{}
	depth := 0
	for opens := true; ; {
		switch p.tok.Kind {
		case token.EOF, token.Illegal:
			p.expected("END")
		}
		word := p.tok.Word
		if p.tok.Kind != token.Ident {
			word = ""
		}
		switch word {
		case "BEGIN", "CASE":
			depth++
		case "IF", "FOR", "WHILE", "LOOP", "REPEAT":
			if opens {
				depth++
			}
		case "END":
			depth--
		}
		opens = p.tok.Kind == token.Semicolon || word == "BEGIN" || word == "THEN" || word == "ELSE" || word == "DO" || word == "LOOP"
		t.List = append(t.List, p.lexeme())
		if word == "END" {
			if p.atAny("IF", "FOR", "WHILE", "LOOP", "REPEAT", "CASE") {
				t.List = append(t.List, p.lexeme())
			}
			if depth <= 0 {
				t.Span = p.from(start)
				return &ast.Block{Span: p.from(start), Tokens: t}
			}
		}
	}
}

func (p *parser) execute() ast.Statement {
	start := p.tok.Pos
	p.expectWord("EXECUTE")
	e := &ast.Execute{}
	switch e.What = p.oneOf("IMMEDIATE", "TASK", "ALERT", "NOTEBOOK", "JOB", "DBT"); e.What {
	case "IMMEDIATE":
		if p.acceptWord("FROM") {
			e.What = "IMMEDIATE FROM"
		}
		e.Code = p.primary()
	case "TASK", "ALERT", "NOTEBOOK":
		e.Name = p.objectName()
	}
	e.Options = p.rest()
	e.Span = p.from(start)
	return e
}

func (p *parser) copyInto() ast.Statement {
	start := p.tok.Pos
	p.expectWord("COPY", "INTO")
	c := &ast.Copy{}
	if p.tok.Kind == token.Stage || p.tok.Kind == token.String {
		c.Location = p.location()
	} else {
		c.Table = p.objectName()
	}
	if p.tok.Kind == token.LParen && !p.startsQuery() {
		c.Columns = parens(p, p.identifier)
	}
	if p.acceptWord("FROM") {
		c.From = p.copySource()
	}
	c.Options = p.rest()
	c.Span = p.from(start)
	return c
}

func (p *parser) copySource() *ast.CopySource {
	start := p.tok.Pos
	s := &ast.CopySource{}
	switch p.tok.Kind {
	case token.LParen:
		p.next()
		s.Query = p.query()
		p.expect(token.RParen)
	case token.Stage, token.String:
		s.Location = p.location()
	default:
		s.Table = p.objectName()
	}
	s.Span = p.from(start)
	return s
}

func (p *parser) comment() ast.Statement {
	start := p.tok.Pos
	p.expectWord("COMMENT")
	c := &ast.Comment{IfExists: p.acceptWord("IF", "EXISTS")}
	p.expectWord("ON")
	c.Kind = p.objectKind()
	c.Name = p.objectName()
	p.expectWord("IS")
	c.Text = p.stringLiteral()
	c.Span = p.from(start)
	return c
}
