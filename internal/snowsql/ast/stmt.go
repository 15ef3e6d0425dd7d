package ast

import "querywarden/internal/snowsql/token"

// QueryStmt is a query sent as a statement.
type QueryStmt struct {
	Span
	Query Query
}

// Explain is EXPLAIN [USING …] statement.
// docs.snowflake.com/en/sql-reference/sql/explain
type Explain struct {
	Span
	Using     string // TABULAR, JSON, TEXT or empty
	Statement Statement
}

// Insert is INSERT [OVERWRITE] INTO table.
// docs.snowflake.com/en/sql-reference/sql/insert
type Insert struct {
	Span
	Overwrite bool
	Target    *ObjectName
	Columns   []*Ident
	Source    Query
}

// MultiInsert is INSERT ALL|FIRST … into several tables.
// docs.snowflake.com/en/sql-reference/sql/insert-multi-table
type MultiInsert struct {
	Span
	Overwrite bool
	First     bool
	Branches  []*InsertBranch
	Source    Query
}

// InsertBranch is one WHEN of a [MultiInsert]; an unconditional one has
// neither If nor Else.
type InsertBranch struct {
	Span
	If   Expr
	Else bool
	Into []*InsertInto
}

// InsertInto is one INTO of a [MultiInsert].
type InsertInto struct {
	Span
	Target  *ObjectName
	Columns []*Ident
	Values  []Expr
}

// Update is UPDATE … SET … FROM … WHERE.
// docs.snowflake.com/en/sql-reference/sql/update
type Update struct {
	Span
	Target *ObjectName
	Alias  *Alias
	Set    []*Assignment
	From   []Relation
	Where  Expr
}

// Assignment is column = value.
type Assignment struct {
	Span
	Column []*Ident
	Value  Expr
}

// Delete is DELETE FROM … USING … WHERE.
// docs.snowflake.com/en/sql-reference/sql/delete
type Delete struct {
	Span
	Target *ObjectName
	Alias  *Alias
	Using  []Relation
	Where  Expr
}

// Merge is MERGE INTO … USING … ON … WHEN ….
// docs.snowflake.com/en/sql-reference/sql/merge
type Merge struct {
	Span
	Target *ObjectName
	Alias  *Alias
	Using  Relation
	On     Expr
	Whens  []*MergeWhen
}

// MergeWhen is one WHEN [NOT] MATCHED of a [Merge].
type MergeWhen struct {
	Span
	NotMatched bool
	BySource   bool
	If         Expr
	Action     string // UPDATE, DELETE, INSERT, and UPDATE ALL / INSERT ALL BY NAME
	Set        []*Assignment
	Columns    []*Ident
	Values     []Expr
}

// Create is CREATE of any kind of object. What names relations, columns and
// queries is in fields; options that decide nothing are tokens.
// docs.snowflake.com/en/sql-reference/sql/create
type Create struct {
	Span
	Define      bool // DEFINE, the form of a DCM project's files
	OrReplace   bool
	OrAlter     bool
	Modifiers   []string // TEMPORARY, TRANSIENT, SECURE, RECURSIVE, …
	Kind        string   // TABLE, VIEW, SCHEMA, "MASKING POLICY", …
	IfNotExists bool
	Name        *ObjectName
	Columns     []*ColumnDef
	Like        *ObjectName
	Clone       *ObjectName
	At          *TimeTravel // of the clone
	Options     *Tokens
	As          Query
	Body        Statement // of a task, an alert or a procedure that is written in SQL
}

// ColumnDef is a column of a CREATE TABLE or CREATE VIEW.
type ColumnDef struct {
	Span
	Name    *Ident
	Type    *Type
	NotNull bool
	Default Expr
	As      Expr    // of a computed column, or one of an external table
	Options *Tokens // constraints, comments, policies, tags
}

// Drop is DROP of any kind of object.
// docs.snowflake.com/en/sql-reference/sql/drop
type Drop struct {
	Span
	Kind     string
	IfExists bool
	Name     *ObjectName
	Types    *Tokens // of a function's or procedure's arguments, with parentheses
	Option   string  // CASCADE, RESTRICT, PURGE, FORCE or empty
}

// Undrop brings a dropped object back.
// docs.snowflake.com/en/sql-reference/sql/undrop
type Undrop struct {
	Span
	Kind    string
	Name    *ObjectName
	Options *Tokens
}

// Truncate empties a table.
// docs.snowflake.com/en/sql-reference/sql/truncate-table
type Truncate struct {
	Span
	IfExists bool
	Name     *ObjectName
}

// Alter is ALTER of any kind of object.
// docs.snowflake.com/en/sql-reference/sql/alter
type Alter struct {
	Span
	Kind     string
	IfExists bool
	Name     *ObjectName // nil for ALTER SESSION, ALTER ACCOUNT and the current warehouse or user
	Types    *Tokens     // of a function's or procedure's arguments, with parentheses
	More     []*ObjectName
	Action   string      // ADD, DROP, RENAME, SET, UNSET, SWAP, MODIFY, … in upper case
	What     string      // COLUMN, CONSTRAINT, … behind it, or empty
	To       *ObjectName // RENAME TO, SWAP WITH
	Columns  []*ColumnDef
	Drops    []*Ident // DROP COLUMN
	Options  *Tokens
}

// Show is SHOW objects.
// docs.snowflake.com/en/sql-reference/sql/show
type Show struct {
	Span
	Terse   bool
	What    string // TABLES, VIEWS, …
	History bool
	Like    *Literal
	Link    string // IN, ON, OF or TO
	Scope   string // ACCOUNT, DATABASE, SCHEMA, TABLE, … behind it
	In      *ObjectName
	Options *Tokens // STARTS WITH, LIMIT, …
}

// Describe is DESCRIBE object.
// docs.snowflake.com/en/sql-reference/sql/desc
type Describe struct {
	Span
	Kind    string
	Name    *ObjectName // of a RESULT, nil
	Result  Expr
	Types   *Tokens // of a function's or procedure's arguments, with parentheses
	Options *Tokens
}

// Use is USE ROLE, WAREHOUSE, DATABASE, SCHEMA or SECONDARY ROLES.
// docs.snowflake.com/en/sql-reference/sql/use
type Use struct {
	Span
	Kind  string // empty for USE name
	Names []*ObjectName
}

// SetVar is SET name = value.
// docs.snowflake.com/en/sql-reference/sql/set
type SetVar struct {
	Span
	Names  []*Ident
	Values []Expr
}

// UnsetVar is UNSET name.
type UnsetVar struct {
	Span
	Names []*Ident
}

// Transaction is BEGIN, COMMIT and ROLLBACK.
// docs.snowflake.com/en/sql-reference/transactions
type Transaction struct {
	Span
	Verb string
	Name *Ident
}

// Grant is GRANT and REVOKE.
// docs.snowflake.com/en/sql-reference/sql/grant-privilege
type Grant struct {
	Span
	Revoke bool
	Rest   *Tokens
}

// CallStmt is CALL procedure(…), perhaps of a procedure that stands before it.
// docs.snowflake.com/en/sql-reference/sql/call, …/call-with
type CallStmt struct {
	Span
	With []*Declaration // WITH name AS PROCEDURE …
	Call Expr           // a [Call] or a [Method]
	Into *Param
}

// Execute is EXECUTE IMMEDIATE, EXECUTE TASK and their like.
// docs.snowflake.com/en/sql-reference/sql/execute-immediate
type Execute struct {
	Span
	What    string // IMMEDIATE, TASK, ALERT, …
	Code    Expr   // IMMEDIATE
	Using   []Expr // IMMEDIATE
	Name    *ObjectName
	Options *Tokens
}

// Copy is COPY INTO a table or a location.
// docs.snowflake.com/en/sql-reference/sql/copy-into-table, …/copy-into-location, …/copy-files
type Copy struct {
	Span
	Files    bool        // COPY FILES
	Table    *ObjectName // one of Table and
	Location string      // Location, as written: @stage/path or '…'
	Columns  []*Ident
	From     *CopySource
	Options  *Tokens
}

// CopySource is what a [Copy] reads: one of its fields.
type CopySource struct {
	Span
	Table    *ObjectName
	Location string
	Query    Query
}

// StageCommand is PUT, GET, LIST and REMOVE.
// docs.snowflake.com/en/sql-reference/commands-file
type StageCommand struct {
	Span
	Verb string
	Rest *Tokens
}

// Comment is COMMENT ON kind name IS '…'.
// docs.snowflake.com/en/sql-reference/sql/comment
type Comment struct {
	Span
	IfExists bool
	Kind     string
	Name     *ObjectName
	Types    *Tokens // of a function's or procedure's arguments, with parentheses
	Text     *Literal
}

// Pipe is statement ->> statement ->> …, in which a later one reads the result
// of an earlier one as $1, $2, ….
// docs.snowflake.com/en/sql-reference/operators-flow
type Pipe struct {
	Span
	Stages []Statement
}

// Tokens is a run of tokens, kept to be printed again. What in it names an
// object or computes something is a part of its own: a [Ref], an expression, a
// query, a statement. The rest decides nothing.
type Tokens struct {
	Span
	List []Lexeme
}

// A Lexeme is one token of a [Tokens]: its text as written, or, for strings
// and quoted identifiers, its content. With a Part it is no token, and that
// part stands in its place.
type Lexeme struct {
	Kind token.Kind
	Text string
	Part Node
}

// Ref names an object among options: WAREHOUSE = w, MASKING POLICY p,
// REFERENCES t. Kind is the object's.
type Ref struct {
	Span
	Kind  string
	Name  *ObjectName
	Types *Tokens // of a function's or procedure's arguments, with parentheses
}

func (*QueryStmt) statement()    {}
func (*Explain) statement()      {}
func (*Insert) statement()       {}
func (*MultiInsert) statement()  {}
func (*Update) statement()       {}
func (*Delete) statement()       {}
func (*Merge) statement()        {}
func (*Create) statement()       {}
func (*Drop) statement()         {}
func (*Undrop) statement()       {}
func (*Truncate) statement()     {}
func (*Alter) statement()        {}
func (*Show) statement()         {}
func (*Describe) statement()     {}
func (*Use) statement()          {}
func (*SetVar) statement()       {}
func (*UnsetVar) statement()     {}
func (*Transaction) statement()  {}
func (*Grant) statement()        {}
func (*CallStmt) statement()     {}
func (*Execute) statement()      {}
func (*Copy) statement()         {}
func (*StageCommand) statement() {}
func (*Comment) statement()      {}
func (*Pipe) statement()         {}
