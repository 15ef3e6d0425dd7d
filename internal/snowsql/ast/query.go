package ast

// Tail is what may follow any query: ORDER BY, LIMIT, OFFSET, FOR UPDATE.
// docs.snowflake.com/en/sql-reference/constructs/order-by, …/limit, …/for-update
type Tail struct {
	OrderBy       []*OrderItem
	OrderAll      *OrderItem // ORDER BY ALL, with its direction; nil without
	Limit, Offset Expr
	Lock          string // FOR UPDATE, with NOWAIT or WAIT n; empty without
}

// Select is SELECT … with everything up to QUALIFY.
// docs.snowflake.com/en/sql-reference/sql/select
type Select struct {
	Span
	Distinct bool
	Top      Expr
	Items    []*SelectItem
	Into     []Expr // scripting: SELECT … INTO :x
	From     []Relation
	Where    Expr
	Connect  *ConnectBy
	GroupBy  *GroupBy
	Having   Expr
	Qualify  Expr
	Tail
}

// SelectItem is one expression of the list, with its alias.
type SelectItem struct {
	Span
	Expr  Expr
	Alias *Ident
}

// ConnectBy is START WITH … CONNECT BY ….
// docs.snowflake.com/en/sql-reference/constructs/connect-by
type ConnectBy struct {
	Span
	Start Expr
	By    Expr
}

// GroupBy is GROUP BY with its items; All is GROUP BY ALL.
type GroupBy struct {
	Span
	All   bool
	Items []Expr
}

// OrderItem is an expression to sort by.
type OrderItem struct {
	Span
	Expr  Expr
	Desc  bool
	Nulls NullsOrder
}

// NullsOrder says where NULLs sort.
type NullsOrder uint8

// The places of NULLs.
const (
	NullsDefault NullsOrder = iota
	NullsFirst
	NullsLast
)

// SetOp is a set operation between two queries.
// docs.snowflake.com/en/sql-reference/operators-query
type SetOp struct {
	Span
	Op     string // UNION, INTERSECT, EXCEPT, MINUS
	All    bool
	ByName bool
	Left   Query
	Right  Query
	Tail
}

// Values is VALUES (…), (…).
// docs.snowflake.com/en/sql-reference/constructs/values
type Values struct {
	Span
	Rows []*Tuple
	Tail
}

// Paren is a query in parentheses.
type Paren struct {
	Span
	Query Query
	Tail
}

// With is WITH … in front of a query.
// docs.snowflake.com/en/sql-reference/constructs/with
type With struct {
	Span
	Recursive bool
	CTEs      []*CTE
	Body      Query
}

// CTE is one named query of a [With].
type CTE struct {
	Span
	Name    *Ident
	Columns []*Ident
	Query   Query
}

// Alias is AS name (columns).
type Alias struct {
	Span
	Name    *Ident
	Columns []*Ident
}

// Table is a table or view by name.
type Table struct {
	Span
	Name    *ObjectName
	At      *TimeTravel
	Changes *Changes
	Alias   *Alias
	Sample  *Sample
}

// TimeTravel is AT|BEFORE (TIMESTAMP|OFFSET|STATEMENT|STREAM => …).
// docs.snowflake.com/en/sql-reference/constructs/at-before
type TimeTravel struct {
	Span
	Before bool
	What   string
	Value  Expr
}

// Changes is CHANGES (INFORMATION => DEFAULT|APPEND_ONLY) with its interval.
// docs.snowflake.com/en/sql-reference/constructs/changes
type Changes struct {
	Span
	AppendOnly bool
	At         *TimeTravel
	To         *TimeTravel // END (…)
}

// Sample is SAMPLE|TABLESAMPLE [method] (n [ROWS]) [SEED (n)].
// docs.snowflake.com/en/sql-reference/constructs/sample
type Sample struct {
	Span
	Method string // BERNOULLI, SYSTEM or empty
	Size   Expr
	Rows   bool
	Seed   Expr
}

// Derived is a query that stands in FROM.
type Derived struct {
	Span
	Lateral bool
	Query   Query
	Alias   *Alias
	Sample  *Sample
}

// Group is a relation in parentheses, mostly a join.
type Group struct {
	Span
	Relation Relation
	Alias    *Alias
}

// JoinKind is how two relations are joined.
type JoinKind uint8

// The kinds of join. docs.snowflake.com/en/sql-reference/constructs/join
const (
	InnerJoin JoinKind = iota
	LeftJoin
	RightJoin
	FullJoin
	CrossJoin
	AsofJoin
)

// Join is a join of two relations.
type Join struct {
	Span
	Kind        JoinKind
	Natural     bool
	Directed    bool
	Left, Right Relation
	Match       Expr // ASOF: MATCH_CONDITION
	On          Expr
	Using       []*Ident
}

// TableFunc is a function that yields rows: TABLE(f(…)), LATERAL FLATTEN(…).
// docs.snowflake.com/en/sql-reference/functions-table
type TableFunc struct {
	Span
	Lateral bool
	Table   bool // written TABLE(…)
	Call    Expr // *Call mostly; TABLE($x) and TABLE('name') are others
	Alias   *Alias
	Sample  *Sample
}

// StageRel reads files of a stage.
// docs.snowflake.com/en/user-guide/querying-stage
type StageRel struct {
	Span
	Location string // @stage/path as it is written
	Options  []*NamedArg
	Alias    *Alias
}

// Pivot is … PIVOT (agg FOR column IN (…)).
// docs.snowflake.com/en/sql-reference/constructs/pivot
type Pivot struct {
	Span
	Source  Relation
	Aggs    []*SelectItem
	Column  []*Ident
	In      []*SelectItem
	Any     []*OrderItem // IN (ANY ORDER BY …): empty but not nil without ORDER BY
	Query   Query        // IN (subquery)
	Default Expr
	Alias   *Alias
}

// Unpivot is … UNPIVOT (value FOR name IN (columns)).
// docs.snowflake.com/en/sql-reference/constructs/unpivot
type Unpivot struct {
	Span
	Source       Relation
	IncludeNulls bool
	Value        *Ident
	Name         *Ident
	In           []*SelectItem
	Alias        *Alias
}

// MatchRecognize finds patterns in the rows of a relation.
// docs.snowflake.com/en/sql-reference/constructs/match_recognize
type MatchRecognize struct {
	Span
	Source    Relation
	Partition []Expr
	OrderBy   []*OrderItem
	Measures  []*Measure
	Rows      string  // ONE ROW PER MATCH, ALL ROWS PER MATCH …, or empty
	After     string  // SKIP PAST LAST ROW, SKIP TO NEXT ROW, SKIP TO FIRST, … or empty
	AfterVar  *Ident  // of SKIP TO [FIRST|LAST] variable
	Pattern   *Tokens // between its parentheses
	Subsets   []*Subset
	Define    []*PatternVar
	Alias     *Alias
}

// Measure is one of a [MatchRecognize]'s columns.
type Measure struct {
	Span
	Semantics string // FINAL, RUNNING or empty
	Expr      Expr
	Alias     *Ident
}

// Subset is a name for several pattern variables.
type Subset struct {
	Span
	Name *Ident
	Of   []*Ident
}

// PatternVar is a pattern variable and what a row has to be to match it.
type PatternVar struct {
	Span
	Name *Ident
	As   Expr
}

// SemanticView queries a semantic view by its dimensions and metrics.
// docs.snowflake.com/en/sql-reference/constructs/semantic_view
type SemanticView struct {
	Span
	Name       *ObjectName
	Clauses    []*SemanticClause
	Where      Expr
	WhereFirst bool // WHERE stood before the clauses
	Alias      *Alias
}

// SemanticClause is DIMENSIONS, METRICS or FACTS of a [SemanticView].
type SemanticClause struct {
	Span
	Verb  string
	Items []*SelectItem
}

// Resample fills gaps in a time series.
// docs.snowflake.com/en/sql-reference/constructs/resample
type Resample struct {
	Span
	Source    Relation
	Using     Expr
	Increment Expr
	Partition []Expr
	Metadata  []*SelectItem
	Alias     *Alias
}

// ResultRel is FROM $1: the rows of an earlier statement of a [Pipe].
type ResultRel struct {
	Span
	N     string
	Alias *Alias
}

func (*Select) query() {}
func (*SetOp) query()  {}
func (*Values) query() {}
func (*Paren) query()  {}
func (*With) query()   {}

func (*Table) relation()          {}
func (*Derived) relation()        {}
func (*Group) relation()          {}
func (*Join) relation()           {}
func (*TableFunc) relation()      {}
func (*StageRel) relation()       {}
func (*Pivot) relation()          {}
func (*Unpivot) relation()        {}
func (*MatchRecognize) relation() {}
func (*SemanticView) relation()   {}
func (*Resample) relation()       {}
func (*ResultRel) relation()      {}
