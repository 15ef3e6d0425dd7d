package ast

// LiteralKind is what a [Literal] holds.
type LiteralKind uint8

// The kinds of literal.
const (
	NullLiteral LiteralKind = iota
	BoolLiteral
	NumberLiteral
	StringLiteral
)

// Literal is a constant. Value is a string's content without quotes and with
// its escapes resolved, a number as it was written, TRUE or FALSE.
// docs.snowflake.com/en/sql-reference/literals-table
type Literal struct {
	Span
	Kind  LiteralKind
	Value string
}

// TypedLiteral is DATE '…', TIMESTAMP '…', X'…', INTERVAL '…' [unit].
type TypedLiteral struct {
	Span
	Type  string // DATE, TIME, TIMESTAMP…, INTERVAL, X
	Value string
	Unit  string // of an INTERVAL: DAY, YEAR TO MONTH, …; empty without
}

// ColumnRef names a column, perhaps with its relation: a, t.a, db.s.t.a. A
// word like CURRENT_DATE without parentheses is one as well, until resolved.
type ColumnRef struct {
	Span
	Parts []*Ident
}

// Star is *, t.*, with EXCLUDE, RENAME, REPLACE and ILIKE.
// docs.snowflake.com/en/sql-reference/sql/select
type Star struct {
	Span
	Qualifier []*Ident
	ILike     *Literal
	Exclude   []*Ident
	Replace   []*SelectItem
	Rename    []*StarRename
}

// StarRename is one RENAME of a [Star].
type StarRename struct {
	Span
	Column, Alias *Ident
}

// Unary is -x, +x, NOT x, PRIOR x, CONNECT_BY_ROOT x.
type Unary struct {
	Span
	Op string
	X  Expr
}

// Binary is an operator between two values. Op is canonical: <>, never !=.
type Binary struct {
	Span
	Op   string
	X, Y Expr
}

// Between is x BETWEEN low AND high.
type Between struct {
	Span
	Not       bool
	X         Expr
	Low, High Expr
}

// In is x IN (list) or x IN (query).
type In struct {
	Span
	Not   bool
	X     Expr
	List  []Expr
	Query Query
}

// Like is LIKE, ILIKE, RLIKE, REGEXP with ANY, ALL and ESCAPE.
type Like struct {
	Span
	Not        bool
	Op         string // LIKE, ILIKE, RLIKE, REGEXP
	Quantifier string // ANY, ALL or empty
	X          Expr
	Patterns   []Expr
	Query      Query
	Escape     Expr
}

// Is is x IS [NOT] NULL|TRUE|FALSE|DISTINCT FROM y.
type Is struct {
	Span
	Not  bool
	X    Expr
	What string
	Y    Expr // DISTINCT FROM
}

// Quantified is x op ANY|ALL (query) or (list).
type Quantified struct {
	Span
	Op         string
	X          Expr
	Quantifier string
	Query      Query
	List       []Expr
}

// Exists is EXISTS (query).
type Exists struct {
	Span
	Query Query
}

// Subquery is a query as a value.
type Subquery struct {
	Span
	Query Query
}

// Case is CASE [x] WHEN … THEN … ELSE … END.
type Case struct {
	Span
	X     Expr
	Whens []*When
	Else  Expr
}

// When is one arm of a [Case].
type When struct {
	Span
	If, Then Expr
}

// Cast is CAST(x AS type), TRY_CAST(x AS type) and x::type.
type Cast struct {
	Span
	Try     bool
	X       Expr
	Type    *Type
	Options string // RENAME FIELDS, ADD FIELDS or both, of a structured type
}

// Type is a data type: NUMBER(38,0), ARRAY(NUMBER NOT NULL), OBJECT(a INT).
// docs.snowflake.com/en/sql-reference/intro-summary-data-types
type Type struct {
	Span
	Name   string // canonical upper case, words separated by single spaces
	Args   []string
	Elem   []*TypeField // of structured types
	Custom *ObjectName  // a user-defined type
}

// TypeField is an element of a structured type.
type TypeField struct {
	Span
	Name    *Ident // OBJECT fields only
	Type    *Type
	NotNull bool
}

// Call is a function call.
type Call struct {
	Span
	Name     *ObjectName
	Args     []Expr
	Distinct bool
	Within   []*OrderItem // WITHIN GROUP (ORDER BY …)
	Nulls    string       // IGNORE NULLS, RESPECT NULLS or empty
	FromLast bool         // NTH_VALUE(…) FROM LAST
	Over     *Window
}

// NamedArg is name => value.
type NamedArg struct {
	Span
	Name  *Ident
	Value Expr
}

// Window is OVER (PARTITION BY … ORDER BY … frame).
// docs.snowflake.com/en/sql-reference/functions-window-syntax
type Window struct {
	Span
	Partition []Expr
	OrderBy   []*OrderItem
	Frame     *Frame
}

// Frame is the rows around the current one.
type Frame struct {
	Span
	Unit      string // ROWS or RANGE
	Low, High *Bound
}

// Bound is one end of a [Frame].
type Bound struct {
	Span
	Kind string // UNBOUNDED PRECEDING, CURRENT ROW, PRECEDING, …
	X    Expr
}

// Extract is EXTRACT(part FROM x).
type Extract struct {
	Span
	Part string
	X    Expr
}

// Path is x:key.
// docs.snowflake.com/en/user-guide/querying-semistructured
type Path struct {
	Span
	X   Expr
	Key *Ident
	Dot bool // x.key behind another path
}

// Index is x[i].
type Index struct {
	Span
	X, I Expr
	To   Expr // x[i:j]
}

// ParenExpr is a value in parentheses.
type ParenExpr struct {
	Span
	X Expr
}

// Tuple is (a, b, …).
type Tuple struct {
	Span
	Items []Expr
}

// Array is [a, b, …].
type Array struct {
	Span
	Items []Expr
}

// Object is {'k': v, …, **}.
type Object struct {
	Span
	Fields []*ObjectField
}

// ObjectField is one pair of an [Object]; a nil Key is a spread of Value.
type ObjectField struct {
	Span
	Key   *Literal
	Value Expr
}

// Lambda is x -> expr or (x, y) -> expr.
type Lambda struct {
	Span
	Params []*Ident
	Types  []*Type // nil, or one a parameter, nil where none is written
	Body   Expr
}

// OuterRef is x (+), the sign of the side of a join that may be missing.
// docs.snowflake.com/en/sql-reference/constructs/where
type OuterRef struct {
	Span
	X Expr
}

// Method is object!method(…), of an instance of a class such as a model.
// docs.snowflake.com/en/sql-reference/snowflake-db-classes
type Method struct {
	Span
	Object *ObjectName
	Call   *Call
}

// Param is ? or :name, a value bound from outside.
type Param struct {
	Span
	Name string // empty for ?
}

// GroupingSets is GROUPING SETS (…) among the items of a GROUP BY; an empty
// [Tuple] is the grand total.
type GroupingSets struct {
	Span
	Sets []Expr
}

// Positional is $1.
type Positional struct {
	Span
	Qualifier *Ident
	N         string
}

// Variable is $name, a session variable.
type Variable struct {
	Span
	Name string
}

// StageExpr is @stage/path as a value.
type StageExpr struct {
	Span
	Location string
}

// TableArg is TABLE(…) as an argument: a relation handed to a function.
type TableArg struct {
	Span
	Name  *ObjectName
	Query Query
}

func (*Literal) expr()      {}
func (*TypedLiteral) expr() {}
func (*ColumnRef) expr()    {}
func (*Star) expr()         {}
func (*Unary) expr()        {}
func (*Binary) expr()       {}
func (*Between) expr()      {}
func (*In) expr()           {}
func (*Like) expr()         {}
func (*Is) expr()           {}
func (*Quantified) expr()   {}
func (*Exists) expr()       {}
func (*Subquery) expr()     {}
func (*Case) expr()         {}
func (*Cast) expr()         {}
func (*Call) expr()         {}
func (*NamedArg) expr()     {}
func (*Extract) expr()      {}
func (*Path) expr()         {}
func (*Index) expr()        {}
func (*ParenExpr) expr()    {}
func (*Tuple) expr()        {}
func (*Array) expr()        {}
func (*Object) expr()       {}
func (*Lambda) expr()       {}
func (*Param) expr()        {}
func (*Positional) expr()   {}
func (*Variable) expr()     {}
func (*StageExpr) expr()    {}
func (*TableArg) expr()     {}
func (*GroupingSets) expr() {}
func (*OuterRef) expr()     {}
func (*Method) expr()       {}
