package ast

func (p *printer) statement(n Statement) {
	if p.script(n) {
		if p.dialect == DuckDB {
			p.fail("the embedded warehouse cannot run this part of Snowflake's SQL: scripts")
		}
		return
	}
	switch n := n.(type) {
	case *QueryStmt:
		p.node(n.Query)
	case *Explain:
		p.raw("EXPLAIN")
		if n.Using != "" {
			p.words("USING", n.Using)
		}
		p.clause(n.Statement)
	case *Insert:
		p.raw("INSERT")
		p.words(when(n.Overwrite, "OVERWRITE"), "INTO")
		p.clause(n.Target)
		if n.Columns != nil {
			p.raw(" ")
			p.idents(n.Columns)
		}
		p.clause(n.Source)
	case *MultiInsert:
		p.raw("INSERT")
		p.words(when(n.Overwrite, "OVERWRITE"), when(n.First, "FIRST"), when(!n.First, "ALL"))
		for _, b := range n.Branches {
			p.clause(b)
		}
		p.clause(n.Source)
	case *Update:
		p.raw("UPDATE ")
		p.node(n.Target)
		p.clause(n.Alias)
		p.words("SET ")
		list(p, n.Set)
		listClause(p, n.From, "FROM")
		p.clause(n.Where, "WHERE")
	case *Delete:
		p.raw("DELETE FROM ")
		p.node(n.Target)
		p.clause(n.Alias)
		listClause(p, n.Using, "USING")
		p.clause(n.Where, "WHERE")
	case *Merge:
		p.raw("MERGE INTO ")
		p.node(n.Target)
		p.clause(n.Alias)
		p.clause(n.Using, "USING")
		p.clause(n.On, "ON")
		for _, w := range n.Whens {
			p.clause(w)
		}
	case *Create:
		p.create(n)
	case *Drop:
		p.raw("DROP " + n.Kind)
		p.words(when(n.IfExists, "IF EXISTS"))
		p.clause(n.Name)
		p.clause(n.Types)
		p.words(n.Option)
	case *Undrop:
		p.raw("UNDROP " + n.Kind + " ")
		p.node(n.Name)
		p.clause(n.Options)
	case *Truncate:
		p.raw("TRUNCATE TABLE")
		p.words(when(n.IfExists, "IF EXISTS"))
		p.clause(n.Name)
	case *Alter:
		p.alter(n)
	case *Show:
		p.raw("SHOW")
		p.words(when(n.Terse, "TERSE"), n.What, when(n.History, "HISTORY"))
		p.clause(n.Like, "LIKE")
		p.words(n.Link, n.Scope)
		p.clause(n.In)
		p.clause(n.Options)
	case *Describe:
		p.raw("DESCRIBE")
		p.words(n.Kind)
		p.clause(n.Name)
		p.clause(n.Result)
		p.clause(n.Types)
		p.clause(n.Options)
	case *Use:
		p.raw("USE")
		p.words(n.Kind)
		p.space()
		list(p, n.Names)
	case *SetVar:
		p.setVar(n)
	case *UnsetVar:
		p.raw("UNSET ")
		if len(n.Names) == 1 {
			p.ident(n.Names[0])
			return
		}
		p.idents(n.Names)
	case *Transaction:
		p.raw(n.Verb)
		if n.Name != nil {
			p.raw(" NAME ")
			p.ident(n.Name)
		}
	case *Grant:
		p.raw(when(n.Revoke, "REVOKE ") + when(!n.Revoke, "GRANT "))
		p.node(n.Rest)
	case *CallStmt:
		if n.With != nil {
			p.raw("WITH ")
			for i, d := range n.With {
				p.comma(i)
				p.ident(d.Name)
				p.raw(" AS PROCEDURE ")
				p.node(d.Rest)
			}
			p.raw(" ")
		}
		p.raw("CALL ")
		p.node(n.Call)
		p.clause(n.Into, "INTO")
	case *Execute:
		p.raw("EXECUTE " + n.What)
		if n.Code != nil {
			p.raw(" ")
			p.node(n.Code)
		}
		if n.Using != nil {
			p.raw(" USING (")
			list(p, n.Using)
			p.raw(")")
		}
		p.clause(n.Name)
		p.clause(n.Options)
	case *Copy:
		p.raw("COPY " + when(n.Files, "FILES ") + "INTO ")
		if n.Table != nil {
			p.node(n.Table)
		} else {
			p.location(n.Location)
		}
		if n.Columns != nil {
			p.raw(" ")
			p.idents(n.Columns)
		}
		p.clause(n.From, "FROM")
		p.clause(n.Options)
	case *StageCommand:
		p.raw(n.Verb)
		p.clause(n.Rest)
	case *Comment:
		p.raw("COMMENT")
		p.words(when(n.IfExists, "IF EXISTS"), "ON", n.Kind)
		p.clause(n.Name)
		p.clause(n.Types)
		p.clause(n.Text, "IS")
	case *Pipe:
		for i, s := range n.Stages {
			p.words(when(i > 0, "->>"))
			p.clause(s)
		}
	default:
		p.fail("printing: unknown statement %T", n)
	}
}

func (p *printer) create(n *Create) {
	p.raw(when(n.Define, "DEFINE") + when(!n.Define, "CREATE"))
	p.words(when(n.OrReplace, "OR REPLACE"), when(n.OrAlter, "OR ALTER"))
	p.words(n.Modifiers...)
	p.words(n.Kind, when(n.IfNotExists, "IF NOT EXISTS"))
	p.clause(n.Name)
	if n.Columns != nil {
		p.raw(" (")
		list(p, n.Columns)
		p.raw(")")
	}
	p.clause(n.Like, "LIKE")
	p.clause(n.Clone, "CLONE")
	p.clause(n.At)
	p.clause(n.Options)
	p.clause(n.As, "AS")
	p.clause(n.Body, when(n.Kind != "ALERT", "AS"))
}

func (p *printer) columnDef(n *ColumnDef) {
	if n.Name != nil {
		p.ident(n.Name)
		p.clause(n.Type)
		p.words(when(n.NotNull, "NOT NULL"))
		p.clause(n.Default, "DEFAULT")
		if n.As != nil {
			p.raw(" AS (")
			p.node(n.As)
			p.raw(")")
		}
	}
	p.clause(n.Options)
}

func (p *printer) alter(n *Alter) {
	p.raw("ALTER " + n.Kind)
	p.words(when(n.IfExists, "IF EXISTS"))
	p.clause(n.Name)
	for _, m := range n.More {
		p.raw(",")
		p.clause(m)
	}
	p.clause(n.Types)
	p.words(n.Action, n.What)
	p.clause(n.To)
	if n.Columns != nil {
		p.raw(" ")
		list(p, n.Columns)
	}
	if n.Drops != nil {
		p.raw(" ")
		list(p, n.Drops)
	}
	p.clause(n.Options)
}

func (p *printer) setVar(n *SetVar) {
	p.raw("SET ")
	if len(n.Names) == 1 {
		p.ident(n.Names[0])
		p.raw(" = ")
		list(p, n.Values)
		return
	}
	p.idents(n.Names)
	p.raw(" = (")
	list(p, n.Values)
	p.raw(")")
}

func (p *printer) insertBranch(n *InsertBranch) {
	if n.If != nil {
		p.raw("WHEN ")
		p.node(n.If)
		p.raw(" THEN")
	} else if n.Else {
		p.raw("ELSE")
	}
	for _, into := range n.Into {
		p.clause(into)
	}
}

func (p *printer) insertInto(n *InsertInto) {
	p.raw("INTO ")
	p.node(n.Target)
	if n.Columns != nil {
		p.raw(" ")
		p.idents(n.Columns)
	}
	if n.Values != nil {
		p.raw(" VALUES (")
		list(p, n.Values)
		p.raw(")")
	}
}

func (p *printer) mergeWhen(n *MergeWhen) {
	p.raw("WHEN")
	p.words(when(n.NotMatched, "NOT"), "MATCHED", when(n.BySource, "BY SOURCE"))
	p.clause(n.If, "AND")
	p.words("THEN", n.Action)
	listClause(p, n.Set, "SET")
	if n.Columns != nil {
		p.raw(" ")
		p.idents(n.Columns)
	}
	if n.Values != nil {
		p.words("VALUES (")
		list(p, n.Values)
		p.raw(")")
	}
}
