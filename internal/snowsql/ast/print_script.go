package ast

// script prints the statements of Snowflake Scripting and reports whether n is
// one of them.
func (p *printer) script(n Statement) bool {
	switch n := n.(type) {
	case *Block:
		if n.Declare != nil {
			p.raw("DECLARE")
			for _, d := range n.Declare {
				p.clause(d)
				p.raw(";")
			}
			p.raw(" ")
		}
		p.raw("BEGIN")
		p.body(n.Body)
		if n.Handlers != nil {
			p.words("EXCEPTION")
			for _, h := range n.Handlers {
				p.clause(h)
			}
		}
		p.end("", n.Label)
	case *Declaration:
		p.declaration(n)
	case *Assign:
		p.node(n.Target)
		p.raw(" := ")
		p.node(n.Value)
	case *If:
		for i, a := range n.Arms {
			p.words(when(i == 0, "IF (") + when(i > 0, "ELSEIF ("))
			p.node(a.When)
			p.raw(") THEN")
			p.body(a.Then)
		}
		if n.Else != nil {
			p.words("ELSE")
			p.body(n.Else)
		}
		p.end("IF", nil)
	case *CaseStmt:
		p.raw("CASE")
		if n.X != nil {
			p.raw(" (")
			p.node(n.X)
			p.raw(")")
		}
		for _, a := range n.Arms {
			p.clause(a)
		}
		if n.Else != nil {
			p.words("ELSE")
			p.body(n.Else)
		}
		p.end("CASE", nil)
	case *For:
		p.raw("FOR ")
		p.ident(n.Var)
		p.words("IN", when(n.Reverse, "REVERSE"))
		p.clause(n.In)
		p.clause(n.To, "TO")
		p.words("DO")
		p.body(n.Body)
		p.end("FOR", n.Label)
	case *While:
		p.raw("WHILE (")
		p.node(n.When)
		p.raw(") DO")
		p.body(n.Body)
		p.end("WHILE", n.Label)
	case *Repeat:
		p.raw("REPEAT")
		p.body(n.Body)
		p.words("UNTIL (")
		p.node(n.Until)
		p.raw(")")
		p.end("REPEAT", n.Label)
	case *Loop:
		p.raw("LOOP")
		p.body(n.Body)
		p.end("LOOP", n.Label)
	case *Jump:
		p.raw(n.Verb)
		p.label(n.Label)
	case *Return:
		p.raw("RETURN")
		p.clause(n.X)
	case *CursorStmt:
		p.raw(n.Verb + " ")
		p.ident(n.Cursor)
		if n.Using != nil {
			p.raw(" USING (")
			list(p, n.Using)
			p.raw(")")
		}
		if n.Into != nil {
			p.raw(" INTO ")
			list(p, n.Into)
		}
	case *Await:
		p.raw(n.Verb)
		if n.Job == nil {
			p.raw(" ALL")
		}
		p.label(n.Job)
	case *Async:
		p.raw("ASYNC (")
		p.node(n.Statement)
		p.raw(")")
	default:
		return false
	}
	return true
}

// body prints statements, each with its semicolon.
func (p *printer) body(list []Statement) {
	for _, s := range list {
		p.clause(s)
		p.raw(";")
	}
}

func (p *printer) end(what string, label *Ident) {
	p.words("END", what)
	p.label(label)
}

func (p *printer) label(l *Ident) {
	if l != nil {
		p.space()
		p.ident(l)
	}
}

func (p *printer) declaration(n *Declaration) {
	p.raw(when(n.Let, "LET "))
	p.ident(n.Name)
	switch n.Kind {
	case VariableDeclaration:
		p.clause(n.Type)
		p.clause(n.Value, ":=")
	case CursorDeclaration:
		p.words("CURSOR FOR")
		p.clause(n.Query)
		p.clause(n.Value)
	case ResultSetDeclaration:
		p.words("RESULTSET")
		p.clause(n.Value, ":=")
	case ExceptionDeclaration:
		p.words("EXCEPTION")
		p.clause(n.Value)
	case ProcedureDeclaration:
		p.words("PROCEDURE")
		p.clause(n.Rest)
		p.clause(n.Body, "AS")
	default:
		p.fail("printing: unknown kind of declaration %d", n.Kind)
	}
}
