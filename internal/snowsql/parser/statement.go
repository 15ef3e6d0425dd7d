package parser

import (
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// statement reads one statement, or several with ->> between them, up to a
// semicolon, which it leaves. docs.snowflake.com/en/sql-reference/operators-flow
func (p *parser) statement() ast.Statement {
	p.enter()
	defer p.leave()
	start := p.tok.Pos
	first := p.single()
	if p.tok.Kind != token.Pipe {
		return first
	}
	pipe := &ast.Pipe{Stages: []ast.Statement{first}}
	for p.accept(token.Pipe) {
		pipe.Stages = append(pipe.Stages, p.single())
	}
	pipe.Span = p.from(start)
	return pipe
}

func (p *parser) single() ast.Statement {
	start := p.tok.Pos
	if p.at("WITH") {
		if c := p.callWith(); c != nil {
			return c
		}
	}
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
	case "CREATE", "DEFINE":
		return p.create()
	case "DROP":
		return p.drop()
	case "UNDROP":
		p.next()
		u := &ast.Undrop{Kind: p.objectKind(), Name: p.objectName()}
		u.Options = p.rest()
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
		g.Rest = p.privileges()
		g.Span = p.from(start)
		return g
	case "CALL":
		return p.callStmt()
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
	if s := p.scriptStatement(); s != nil {
		return s
	}
	p.expected("a statement")
	return nil
}

// callStmt reads CALL procedure(…) [INTO variable].
func (p *parser) callStmt() *ast.CallStmt {
	start := p.tok.Pos
	p.expectWord("CALL")
	c := &ast.CallStmt{}
	name := p.objectName()
	if p.accept(token.Bang) {
		m := &ast.Method{Object: name, Call: p.call(p.objectName())}
		m.Span = p.from(name.From)
		c.Call = m
	} else {
		c.Call = p.call(name)
	}
	if p.acceptWord("INTO") {
		at := p.tok.Pos
		p.accept(token.Colon)
		name := p.expect(token.Ident)
		c.Into = &ast.Param{Name: name.Text(p.src), Span: p.from(at)}
	}
	c.Span = p.from(start)
	return c
}

// callWith reads WITH name AS PROCEDURE … CALL name(…), nil if WITH begins a
// query. docs.snowflake.com/en/sql-reference/sql/call-with
func (p *parser) callWith() ast.Statement {
	m, start := p.mark(), p.tok.Pos
	var list []*ast.Declaration
	for p.expectWord("WITH"); ; p.expect(token.Comma) {
		d := &ast.Declaration{Kind: ast.ProcedureDeclaration, Span: ast.Span{From: p.tok.Pos}}
		if d.Name = p.tryIdentifier(); d.Name == nil || !p.acceptWord("AS", "PROCEDURE") {
			p.reset(m)
			return nil
		}
		d.Rest = p.tokens(func() bool { return p.at("CALL") || p.tok.Kind == token.Comma })
		d.Span = p.from(d.From)
		if list = append(list, d); p.at("CALL") {
			break
		}
	}
	c := p.callStmt()
	c.With = list
	c.Span = p.from(start)
	return c
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
	if p.atAny("IN", "ON", "OF", "TO") {
		s.Link = p.tok.Word
		p.next()
		if p.kindAhead() {
			s.Scope = p.objectKind()
		} else if p.at("ACCOUNT") {
			s.Scope = "ACCOUNT"
			p.next()
		} else if p.atAny("DATABASE", "SCHEMA") && p.lastOfShow() {
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

// lastOfShow reports whether the current word ends the scope of a SHOW: IN
// SCHEMA without a name is the current one.
func (p *parser) lastOfShow() bool {
	switch next := p.peek(); next.Kind {
	case token.EOF, token.Semicolon, token.Pipe:
		return true
	default:
		return next.Word == "STARTS" || next.Word == "LIMIT"
	}
}

func (p *parser) describe() ast.Statement {
	start := p.tok.Pos
	p.next()
	d := &ast.Describe{Kind: "TABLE"}
	switch {
	case p.acceptWord("RESULT"):
		d.Kind = "RESULT"
		d.Result = p.primary()
	case p.acceptWord("SEARCH", "OPTIMIZATION", "ON"):
		d.Kind = "SEARCH OPTIMIZATION ON"
		d.Name = p.objectName()
	default:
		if p.kindAhead() {
			d.Kind = p.objectKind()
		}
		d.Name = p.objectName()
		d.Types = p.argumentTypes()
	}
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
			u.Names = []*ast.ObjectName{{Span: id.Span, Parts: []*ast.Ident{id}}}
			u.Span = p.from(start)
			return u
		}
		u.Names = commaList(p, p.objectName)
		u.Span = p.from(start)
		return u
	case p.atAny("ROLE", "WAREHOUSE", "DATABASE", "SCHEMA", "CATALOG"):
		if k := p.peek().Kind; k == token.Ident || k == token.QuotedIdent {
			u.Kind = p.tok.Word
			p.next()
		}
	}
	u.Names = []*ast.ObjectName{p.objectName()}
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
		p.expect(token.LParen)
		s.Values = commaList(p, p.argument)
		if len(s.Values) != len(s.Names) {
			p.fail("as many values as names have to stand in SET")
		}
		p.expect(token.RParen)
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

func (p *parser) execute() ast.Statement {
	start := p.tok.Pos
	p.expectWord("EXECUTE")
	e := &ast.Execute{}
	switch e.What = p.oneOf("IMMEDIATE", "TASK", "ALERT", "NOTEBOOK", "JOB", "DBT", "DCM", "MANAGED", "SERVICE"); e.What {
	case "IMMEDIATE":
		if p.acceptWord("FROM") {
			e.What = "IMMEDIATE FROM"
			e.Code = p.primary()
			break
		}
		e.Code = p.expr()
		if p.acceptWord("USING") {
			e.Using = parens(p, p.expr)
		}
	case "TASK", "ALERT", "NOTEBOOK":
		if e.What == "NOTEBOOK" && p.acceptWord("PROJECT") {
			e.What = "NOTEBOOK PROJECT"
		}
		e.Name = p.objectName()
	case "JOB":
		p.expectWord("SERVICE")
		e.What = "JOB SERVICE"
	case "DBT", "DCM":
		p.expectWord("PROJECT")
		e.What += " PROJECT"
		if p.tok.Kind == token.Ident || p.tok.Kind == token.QuotedIdent {
			e.Name = p.objectName()
		}
	}
	e.Options = p.rest()
	e.Span = p.from(start)
	return e
}

func (p *parser) copyInto() ast.Statement {
	start := p.tok.Pos
	p.expectWord("COPY")
	c := &ast.Copy{Files: p.acceptWord("FILES")}
	p.expectWord("INTO")
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
	c.Types = p.argumentTypes()
	p.expectWord("IS")
	c.Text = p.stringLiteral()
	c.Span = p.from(start)
	return c
}
