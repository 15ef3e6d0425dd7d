package ast

func (p *printer) expr(n Expr) {
	switch n := n.(type) {
	case *Literal:
		p.literal(n)
	case *TypedLiteral:
		p.raw(n.Type + when(n.Type != "X", " "))
		p.str(n.Value)
		p.words(n.Unit)
	case *ColumnRef:
		p.dotted(n.Parts)
	case *Star:
		p.star(n)
	case *Unary:
		p.raw(n.Op)
		if n.Op != "-" && n.Op != "+" {
			p.raw(" ")
		}
		if x, ok := n.X.(*Unary); ok && x.Op == n.Op {
			p.raw(" ") // - -1, never a comment
		}
		p.node(n.X)
	case *Binary:
		p.node(n.X)
		p.raw(" " + n.Op + " ")
		p.node(n.Y)
	case *Between:
		p.node(n.X)
		p.words(when(n.Not, "NOT"), "BETWEEN ")
		p.node(n.Low)
		p.raw(" AND ")
		p.node(n.High)
	case *In:
		p.node(n.X)
		p.words(when(n.Not, "NOT"), "IN (")
		if n.Query != nil {
			p.node(n.Query)
		} else {
			list(p, n.List)
		}
		p.raw(")")
	case *Like:
		p.like(n)
	case *Is:
		p.node(n.X)
		p.words("IS", when(n.Not, "NOT"), n.What)
		p.clause(n.Y)
	case *Quantified:
		p.node(n.X)
		p.words(n.Op, n.Quantifier+" (")
		p.clause(n.Query)
		list(p, n.List)
		p.raw(")")
	case *Exists:
		p.raw("EXISTS (")
		p.node(n.Query)
		p.raw(")")
	case *Subquery:
		p.raw("(")
		p.node(n.Query)
		p.raw(")")
	case *Case:
		p.raw("CASE")
		p.clause(n.X)
		for _, w := range n.Whens {
			p.space()
			p.node(w)
		}
		p.clause(n.Else, "ELSE")
		p.raw(" END")
	case *Cast:
		p.raw(when(n.Try, "TRY_") + "CAST(")
		p.node(n.X)
		p.raw(" AS ")
		p.node(n.Type)
		p.words(n.Options)
		p.raw(")")
	case *OuterRef:
		p.node(n.X)
		p.raw(" (+)")
	case *Method:
		p.node(n.Object)
		p.raw("!")
		p.node(n.Call)
	case *StatementExpr:
		p.raw(when(n.Async, "ASYNC ") + "(")
		p.node(n.Statement)
		p.raw(")")
	case *Call:
		p.call(n)
	case *NamedArg:
		p.ident(n.Name)
		p.raw(" => ")
		p.node(n.Value)
	case *Extract:
		p.raw("EXTRACT(" + n.Part + " FROM ")
		p.node(n.X)
		p.raw(")")
	case *Path:
		p.node(n.X)
		p.raw(when(n.Dot, ".") + when(!n.Dot, ":"))
		// Keys are case-sensitive as they are written: quotes keep that.
		if n.Key.Quoted {
			p.ident(n.Key)
		} else {
			p.raw(n.Key.Name)
		}
	case *Index:
		p.node(n.X)
		p.raw("[")
		p.node(n.I)
		p.clause(n.To, ":")
		p.raw("]")
	case *ParenExpr:
		p.raw("(")
		p.node(n.X)
		p.raw(")")
	case *Tuple:
		p.raw("(")
		list(p, n.Items)
		p.raw(")")
	case *Array:
		p.raw("[")
		list(p, n.Items)
		p.raw("]")
	case *Object:
		p.raw("{")
		list(p, n.Fields)
		p.raw("}")
	case *Lambda:
		p.lambda(n)
	case *Param:
		p.raw(when(n.Name == "", "?") + when(n.Name != "", ":"+n.Name))
	case *Positional:
		if n.Qualifier != nil {
			p.ident(n.Qualifier)
			p.raw(".")
		}
		p.raw("$" + n.N)
	case *Variable:
		p.raw("$" + n.Name)
	case *StageExpr:
		p.location(n.Location)
	case *GroupingSets:
		p.raw("GROUPING SETS (")
		list(p, n.Sets)
		p.raw(")")
	case *TableArg:
		p.raw("TABLE(")
		p.clause(n.Name)
		if n.Query != nil {
			p.node(n.Query)
		}
		p.raw(")")
	default:
		p.fail("printing: unknown expression %T", n)
	}
}

func (p *printer) literal(n *Literal) {
	switch n.Kind {
	case StringLiteral:
		p.str(n.Value)
	case NumberLiteral, BoolLiteral:
		p.raw(n.Value)
	case NullLiteral:
		p.raw("NULL")
	default:
		p.fail("printing: unknown kind of literal %d", n.Kind)
	}
}

func (p *printer) star(n *Star) {
	if n.Qualifier != nil {
		p.dotted(n.Qualifier)
		p.raw(".")
	}
	p.raw("*")
	p.clause(n.ILike, "ILIKE")
	if n.Exclude != nil {
		p.raw(" EXCLUDE ")
		p.idents(n.Exclude)
	}
	if n.Replace != nil {
		p.raw(" REPLACE (")
		list(p, n.Replace)
		p.raw(")")
	}
	if n.Rename != nil {
		p.raw(" RENAME (")
		list(p, n.Rename)
		p.raw(")")
	}
}

func (p *printer) like(n *Like) {
	p.node(n.X)
	p.words(when(n.Not, "NOT"), n.Op, n.Quantifier)
	p.space()
	switch {
	case n.Query != nil:
		p.raw("(")
		p.node(n.Query)
		p.raw(")")
	case n.Quantifier != "":
		p.raw("(")
		list(p, n.Patterns)
		p.raw(")")
	default:
		list(p, n.Patterns)
	}
	p.clause(n.Escape, "ESCAPE")
}

func (p *printer) call(n *Call) {
	p.functionName(n.Name)
	p.raw("(")
	p.raw(when(n.Distinct, "DISTINCT "))
	list(p, n.Args)
	p.raw(")")
	if n.Within != nil {
		p.raw(" WITHIN GROUP (ORDER BY ")
		list(p, n.Within)
		p.raw(")")
	}
	p.words(when(n.FromLast, "FROM LAST"), n.Nulls)
	if n.Over != nil {
		p.raw(" OVER (")
		p.node(n.Over)
		p.raw(")")
	}
}

// functionName writes LEFT(…) and RIGHT(…) as they are: words that are
// reserved elsewhere are functions' names here, and quoted they might not be.
func (p *printer) functionName(n *ObjectName) {
	if n.Dynamic == nil && len(n.Parts) == 1 && !n.Parts[0].Quoted {
		p.raw(n.Parts[0].Fold())
		return
	}
	p.node(n)
}

func (p *printer) window(n *Window) {
	listClause(p, n.Partition, "PARTITION BY")
	listClause(p, n.OrderBy, "ORDER BY")
	if n.Frame != nil {
		p.space()
		p.node(n.Frame)
	}
}

func (p *printer) lambda(n *Lambda) {
	if len(n.Params) == 1 && n.Types == nil {
		p.ident(n.Params[0])
	} else {
		p.raw("(")
		for i, param := range n.Params {
			p.comma(i)
			p.ident(param)
			if n.Types != nil {
				p.clause(n.Types[i])
			}
		}
		p.raw(")")
	}
	p.raw(" -> ")
	p.node(n.Body)
}

func (p *printer) dataType(n *Type) {
	if n.Custom != nil {
		p.node(n.Custom)
		return
	}
	p.raw(n.Name)
	if n.Args != nil {
		p.raw("(")
		for i, a := range n.Args {
			p.comma(i)
			p.raw(a)
		}
		p.raw(")")
	}
	if n.Elem != nil {
		p.raw("(")
		list(p, n.Elem)
		p.raw(")")
	}
}
