package ast

// The nodes of Snowflake Scripting. A block is a statement, and what stands in
// it are statements: none of them is out of sight.
// docs.snowflake.com/en/developer-guide/snowflake-scripting/blocks

// Block is [DECLARE …] BEGIN … [EXCEPTION …] END.
type Block struct {
	Span
	Declare  []*Declaration
	Body     []Statement
	Handlers []*Handler
	Label    *Ident // behind END
}

// Declaration declares a name: in DECLARE, or as a statement behind LET.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/declare, …/let
type Declaration struct {
	Span
	Let  bool
	Name *Ident
	Kind DeclarationKind
	Type *Type
	// Value is a variable's or result set's value; of a cursor, the result set
	// that it runs over; of an exception, its number and message as a [Tuple].
	Value Expr
	Query Query   // of a cursor
	Rest  *Tokens // of a procedure: arguments and what it returns, up to AS
	Body  *Block  // of a procedure
}

// DeclarationKind is what a [Declaration] declares.
type DeclarationKind uint8

// The kinds of declaration.
const (
	VariableDeclaration DeclarationKind = iota
	CursorDeclaration
	ResultSetDeclaration
	ExceptionDeclaration
	ProcedureDeclaration
)

// Handler is WHEN exception OR … THEN … behind EXCEPTION.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/exception
type Handler struct {
	Span
	Exceptions []*Ident
	Kind       string // EXIT, CONTINUE or empty
	Then       []Statement
}

// Assign is name := value.
// docs.snowflake.com/en/developer-guide/snowflake-scripting/variables
type Assign struct {
	Span
	Target Expr // a [ColumnRef], or an [Index] into one
	Value  Expr
}

// If is IF (…) THEN … ELSEIF … ELSE … END IF.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/if
type If struct {
	Span
	Arms []*Arm
	Else []Statement
}

// CaseStmt is CASE [x] WHEN … THEN … ELSE … END CASE.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/case
type CaseStmt struct {
	Span
	X    Expr
	Arms []*Arm
	Else []Statement
}

// Arm is one condition of an [If] or a [CaseStmt] and what it leads to.
type Arm struct {
	Span
	When Expr
	Then []Statement
}

// For runs over a cursor, a result set, or from one number to another.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/for
type For struct {
	Span
	Var     *Ident
	Reverse bool
	In      Expr // a cursor, or the first number
	To      Expr // the last number; nil with a cursor
	Body    []Statement
	Label   *Ident
}

// While is WHILE (…) DO … END WHILE.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/while
type While struct {
	Span
	When  Expr
	Body  []Statement
	Label *Ident
}

// Repeat is REPEAT … UNTIL (…) END REPEAT.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/repeat
type Repeat struct {
	Span
	Body  []Statement
	Until Expr
	Label *Ident
}

// Loop is LOOP … END LOOP.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/loop
type Loop struct {
	Span
	Body  []Statement
	Label *Ident
}

// Jump is BREAK, CONTINUE, RAISE and NULL, with the label or the exception
// that some of them name.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/break, …/continue, …/raise, …/null
type Jump struct {
	Span
	Verb  string
	Label *Ident
}

// Return is RETURN [x].
// docs.snowflake.com/en/sql-reference/snowflake-scripting/return
type Return struct {
	Span
	X Expr
}

// CursorStmt is OPEN, FETCH and CLOSE.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/open, …/fetch, …/close
type CursorStmt struct {
	Span
	Verb   string
	Cursor *Ident
	Using  []Expr
	Into   []Expr
}

// Await is AWAIT and CANCEL of one or ALL asynchronous jobs.
// docs.snowflake.com/en/sql-reference/snowflake-scripting/await, …/cancel
type Await struct {
	Span
	Verb string
	Job  *Ident // nil is ALL
}

// Async is ASYNC (statement).
// docs.snowflake.com/en/developer-guide/snowflake-scripting/asynchronous-child-jobs
type Async struct {
	Span
	Statement Statement
}

// StatementExpr is (statement) where a script wants its result: a CALL, a SHOW
// or an EXECUTE IMMEDIATE behind :=. Async is ASYNC (…) there.
type StatementExpr struct {
	Span
	Async     bool
	Statement Statement
}

func (*Block) statement()       {}
func (*Declaration) statement() {}
func (*Assign) statement()      {}
func (*If) statement()          {}
func (*CaseStmt) statement()    {}
func (*For) statement()         {}
func (*While) statement()       {}
func (*Repeat) statement()      {}
func (*Loop) statement()        {}
func (*Jump) statement()        {}
func (*Return) statement()      {}
func (*CursorStmt) statement()  {}
func (*Await) statement()       {}
func (*Async) statement()       {}

func (*StatementExpr) expr() {}
