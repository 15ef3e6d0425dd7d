package ast

import "fmt"

// Inspect visits a node and, as long as visit returns true, what is below it,
// in the order of the source.
func Inspect(n Node, visit func(Node) bool) {
	if isNil(n) || !visit(n) {
		return
	}
	Children(n, func(c Node) { Inspect(c, visit) })
}

// Children calls visit for each part of a node, in the order of the source. It
// panics on a node type that nobody taught it: a part that no walk reaches is
// a part that no check sees.
func Children(n Node, visit func(Node)) {
	v := visitor(visit)
	switch n := n.(type) {
	case *Ident, *Literal, *TypedLiteral, *Variable, *Param, *StageExpr:
	case *Tokens:
		for _, l := range n.List {
			v.one(l.Part)
		}
	case *Ref:
		v.one(n.Name)
		v.one(n.Types)
	case *ObjectName:
		each(v, n.Parts)
		v.one(n.Dynamic)
	case *Select:
		v.one(n.Top)
		each(v, n.Items)
		each(v, n.Into)
		each(v, n.From)
		v.one(n.Where)
		v.one(n.Connect)
		v.one(n.GroupBy)
		v.one(n.Having)
		v.one(n.Qualify)
		v.tail(&n.Tail)
	case *SetOp:
		v.one(n.Left)
		v.one(n.Right)
		v.tail(&n.Tail)
	case *Values:
		each(v, n.Rows)
		v.tail(&n.Tail)
	case *Paren:
		v.one(n.Query)
		v.tail(&n.Tail)
	case *With:
		each(v, n.CTEs)
		v.one(n.Body)
	case *CTE:
		v.one(n.Name)
		each(v, n.Columns)
		v.one(n.Query)
	case *SelectItem:
		v.one(n.Expr)
		v.ident(n.Alias)
	case *ConnectBy:
		v.one(n.Start)
		v.one(n.By)
	case *GroupBy:
		each(v, n.Items)
	case *OrderItem:
		v.one(n.Expr)
	case *Alias:
		v.one(n.Name)
		each(v, n.Columns)
	case *Table:
		v.one(n.Name)
		v.one(n.Changes)
		v.one(n.At)
		v.one(n.Alias)
		v.one(n.Sample)
	case *TimeTravel:
		v.one(n.Value)
	case *Changes:
		v.one(n.At)
		v.one(n.To)
	case *Sample:
		v.one(n.Size)
		v.one(n.Seed)
	case *Derived:
		v.one(n.Query)
		v.one(n.Alias)
		v.one(n.Sample)
	case *Group:
		v.one(n.Relation)
		v.one(n.Alias)
	case *Join:
		v.one(n.Left)
		v.one(n.Right)
		v.one(n.Match)
		v.one(n.On)
		each(v, n.Using)
	case *TableFunc:
		v.one(n.Call)
		v.one(n.Alias)
		v.one(n.Sample)
	case *StageRel:
		each(v, n.Options)
		v.one(n.Alias)
	case *Pivot:
		v.one(n.Source)
		each(v, n.Aggs)
		each(v, n.Column)
		each(v, n.In)
		each(v, n.Any)
		v.one(n.Query)
		v.one(n.Default)
		v.one(n.Alias)
	case *MatchRecognize:
		v.one(n.Source)
		each(v, n.Partition)
		each(v, n.OrderBy)
		each(v, n.Measures)
		v.ident(n.AfterVar)
		v.one(n.Pattern)
		each(v, n.Subsets)
		each(v, n.Define)
		v.one(n.Alias)
	case *Measure:
		v.one(n.Expr)
		v.one(n.Alias)
	case *Subset:
		v.one(n.Name)
		each(v, n.Of)
	case *PatternVar:
		v.one(n.Name)
		v.one(n.As)
	case *SemanticView:
		v.one(n.Name)
		each(v, n.Clauses)
		v.one(n.Where)
		v.one(n.Alias)
	case *SemanticClause:
		each(v, n.Items)
	case *Resample:
		v.one(n.Source)
		v.one(n.Using)
		v.one(n.Increment)
		each(v, n.Partition)
		each(v, n.Metadata)
		v.one(n.Alias)
	case *ResultRel:
		v.one(n.Alias)
	case *Unpivot:
		v.one(n.Source)
		v.one(n.Value)
		v.one(n.Name)
		each(v, n.In)
		v.one(n.Alias)
	case *ColumnRef:
		each(v, n.Parts)
	case *Star:
		each(v, n.Qualifier)
		v.one(n.ILike)
		each(v, n.Exclude)
		each(v, n.Replace)
		each(v, n.Rename)
	case *StarRename:
		v.one(n.Column)
		v.one(n.Alias)
	case *Unary:
		v.one(n.X)
	case *Binary:
		v.one(n.X)
		v.one(n.Y)
	case *Between:
		v.one(n.X)
		v.one(n.Low)
		v.one(n.High)
	case *In:
		v.one(n.X)
		each(v, n.List)
		v.one(n.Query)
	case *Like:
		v.one(n.X)
		each(v, n.Patterns)
		v.one(n.Query)
		v.one(n.Escape)
	case *Is:
		v.one(n.X)
		v.one(n.Y)
	case *Quantified:
		v.one(n.X)
		v.one(n.Query)
		each(v, n.List)
	case *Exists:
		v.one(n.Query)
	case *Subquery:
		v.one(n.Query)
	case *Case:
		v.one(n.X)
		each(v, n.Whens)
		v.one(n.Else)
	case *When:
		v.one(n.If)
		v.one(n.Then)
	case *Cast:
		v.one(n.X)
		v.one(n.Type)
	case *Type:
		each(v, n.Elem)
		v.one(n.Custom)
	case *TypeField:
		v.ident(n.Name)
		v.one(n.Type)
	case *OuterRef:
		v.one(n.X)
	case *Method:
		v.one(n.Object)
		v.one(n.Call)
	case *Call:
		v.one(n.Name)
		each(v, n.Args)
		each(v, n.Within)
		if n.Over != nil {
			v.one(n.Over)
		}
	case *NamedArg:
		v.one(n.Name)
		v.one(n.Value)
	case *Window:
		each(v, n.Partition)
		each(v, n.OrderBy)
		if n.Frame != nil {
			v.one(n.Frame)
		}
	case *Frame:
		v.one(n.Low)
		if n.High != nil {
			v.one(n.High)
		}
	case *Bound:
		v.one(n.X)
	case *Extract:
		v.one(n.X)
	case *Path:
		v.one(n.X)
		v.one(n.Key)
	case *Index:
		v.one(n.X)
		v.one(n.I)
		v.one(n.To)
	case *ParenExpr:
		v.one(n.X)
	case *Tuple:
		each(v, n.Items)
	case *Array:
		each(v, n.Items)
	case *Object:
		each(v, n.Fields)
	case *ObjectField:
		v.one(n.Key)
		v.one(n.Value)
	case *Lambda:
		each(v, n.Params)
		for _, t := range n.Types {
			v.one(t)
		}
		v.one(n.Body)
	case *GroupingSets:
		each(v, n.Sets)
	case *Positional:
		v.ident(n.Qualifier)
	case *TableArg:
		v.one(n.Name)
		v.one(n.Query)
	case *QueryStmt:
		v.one(n.Query)
	case *Explain:
		v.one(n.Statement)
	case *Insert:
		v.one(n.Target)
		each(v, n.Columns)
		v.one(n.Source)
	case *MultiInsert:
		each(v, n.Branches)
		v.one(n.Source)
	case *InsertBranch:
		v.one(n.If)
		each(v, n.Into)
	case *InsertInto:
		v.one(n.Target)
		each(v, n.Columns)
		each(v, n.Values)
	case *Update:
		v.one(n.Target)
		v.one(n.Alias)
		each(v, n.Set)
		each(v, n.From)
		v.one(n.Where)
	case *Assignment:
		each(v, n.Column)
		v.one(n.Value)
	case *Delete:
		v.one(n.Target)
		v.one(n.Alias)
		each(v, n.Using)
		v.one(n.Where)
	case *Merge:
		v.one(n.Target)
		v.one(n.Alias)
		v.one(n.Using)
		v.one(n.On)
		each(v, n.Whens)
	case *MergeWhen:
		v.one(n.If)
		each(v, n.Set)
		each(v, n.Columns)
		each(v, n.Values)
	case *Create:
		v.one(n.Name)
		each(v, n.Columns)
		v.one(n.Like)
		v.one(n.Clone)
		v.one(n.At)
		v.one(n.Options)
		v.one(n.As)
		v.one(n.Body)
	case *ColumnDef:
		v.ident(n.Name)
		v.one(n.Type)
		v.one(n.Default)
		v.one(n.As)
		v.one(n.Options)
	case *Drop:
		v.one(n.Name)
		v.one(n.Types)
	case *Undrop:
		v.one(n.Name)
		v.one(n.Options)
	case *Truncate:
		v.one(n.Name)
	case *Alter:
		v.one(n.Name)
		each(v, n.More)
		v.one(n.Types)
		v.one(n.To)
		each(v, n.Columns)
		each(v, n.Drops)
		v.one(n.Options)
	case *Show:
		v.one(n.Like)
		v.one(n.In)
		v.one(n.Options)
	case *Describe:
		v.one(n.Name)
		v.one(n.Result)
		v.one(n.Types)
		v.one(n.Options)
	case *Use:
		each(v, n.Names)
	case *SetVar:
		each(v, n.Names)
		each(v, n.Values)
	case *UnsetVar:
		each(v, n.Names)
	case *Transaction:
		v.ident(n.Name)
	case *Grant:
		v.one(n.Rest)
	case *CallStmt:
		each(v, n.With)
		v.one(n.Call)
		v.one(n.Into)
	case *Execute:
		v.one(n.Code)
		each(v, n.Using)
		v.one(n.Name)
		v.one(n.Options)
	case *Copy:
		v.one(n.Table)
		each(v, n.Columns)
		v.one(n.From)
		v.one(n.Options)
	case *CopySource:
		v.one(n.Table)
		v.one(n.Query)
	case *StageCommand:
		v.one(n.Rest)
	case *Pipe:
		each(v, n.Stages)
	case *Block:
		each(v, n.Declare)
		each(v, n.Body)
		each(v, n.Handlers)
		v.ident(n.Label)
	case *Declaration:
		v.one(n.Name)
		v.one(n.Type)
		v.one(n.Value)
		v.one(n.Query)
		v.one(n.Rest)
		if n.Body != nil {
			v.one(n.Body)
		}
	case *Handler:
		each(v, n.Exceptions)
		each(v, n.Then)
	case *Assign:
		v.one(n.Target)
		v.one(n.Value)
	case *If:
		each(v, n.Arms)
		each(v, n.Else)
	case *CaseStmt:
		v.one(n.X)
		each(v, n.Arms)
		each(v, n.Else)
	case *Arm:
		v.one(n.When)
		each(v, n.Then)
	case *For:
		v.one(n.Var)
		v.one(n.In)
		v.one(n.To)
		each(v, n.Body)
		v.ident(n.Label)
	case *While:
		v.one(n.When)
		each(v, n.Body)
		v.ident(n.Label)
	case *Repeat:
		each(v, n.Body)
		v.one(n.Until)
		v.ident(n.Label)
	case *Loop:
		each(v, n.Body)
		v.ident(n.Label)
	case *Jump:
		v.ident(n.Label)
	case *Return:
		v.one(n.X)
	case *CursorStmt:
		v.one(n.Cursor)
		each(v, n.Using)
		each(v, n.Into)
	case *Await:
		v.ident(n.Job)
	case *Async:
		v.one(n.Statement)
	case *StatementExpr:
		v.one(n.Statement)
	case *Comment:
		v.one(n.Name)
		v.one(n.Types)
		v.one(n.Text)
	default:
		panic(fmt.Sprintf("ast: nobody knows the parts of %T", n))
	}
}

type visitor func(Node)

// one visits a part that may be missing.
func (v visitor) one(n Node) {
	if !isNil(n) {
		v(n)
	}
}

func (v visitor) ident(i *Ident) {
	if i != nil {
		v(i)
	}
}

func (v visitor) tail(t *Tail) {
	each(v, t.OrderBy)
	if t.OrderAll != nil {
		v(t.OrderAll)
	}
	v.one(t.Limit)
	v.one(t.Offset)
}

// each visits the parts of a list; the empty middle of db..t is not one.
func each[N Node](v visitor, nodes []N) {
	for _, n := range nodes {
		if id, ok := any(n).(*Ident); ok && id == nil {
			continue
		}
		v(n)
	}
}
