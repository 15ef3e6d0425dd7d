package ast

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	sqltoken "querywarden/internal/snowsql/token"
)

// every is one of each node. The test below holds it against the source.
var every = []Node{
	&Ident{}, &ObjectName{}, &Select{}, &SelectItem{}, &ConnectBy{}, &GroupBy{}, &OrderItem{}, &SetOp{}, &Values{}, &Paren{}, &With{}, &CTE{},
	&Alias{}, &Table{}, &TimeTravel{}, &Changes{}, &Sample{}, &Derived{}, &Group{}, &Join{}, &TableFunc{}, &StageRel{}, &Pivot{}, &Unpivot{},
	&Literal{}, &TypedLiteral{}, &ColumnRef{}, &Star{}, &StarRename{}, &Unary{}, &Binary{}, &Between{}, &In{}, &Like{}, &Is{}, &Quantified{},
	&Exists{}, &Subquery{}, &Case{}, &When{}, &Cast{}, &Type{}, &TypeField{}, &Call{}, &NamedArg{}, &Window{}, &Frame{}, &Bound{}, &Extract{},
	&Path{}, &Index{}, &ParenExpr{}, &Tuple{}, &Array{}, &Object{}, &ObjectField{}, &Lambda{}, &Param{}, &GroupingSets{}, &Positional{},
	&Variable{}, &StageExpr{}, &TableArg{}, &QueryStmt{}, &Explain{}, &Insert{}, &MultiInsert{}, &InsertBranch{}, &InsertInto{}, &Update{},
	&Assignment{}, &Delete{}, &Merge{}, &MergeWhen{}, &Create{}, &ColumnDef{}, &Drop{}, &Undrop{}, &Truncate{}, &Alter{}, &Show{}, &Describe{},
	&Use{}, &SetVar{}, &UnsetVar{}, &Transaction{}, &Grant{}, &CallStmt{}, &Execute{}, &Copy{}, &CopySource{}, &StageCommand{}, &Comment{},
	&Tokens{}, &Ref{}, &Pipe{}, &Block{}, &Declaration{}, &Handler{}, &Assign{}, &If{}, &CaseStmt{}, &Arm{}, &For{}, &While{}, &Repeat{}, &Loop{},
	&Jump{}, &Return{}, &CursorStmt{}, &Await{}, &Async{}, &StatementExpr{}, &OuterRef{}, &Method{}, &MatchRecognize{}, &Measure{}, &Subset{},
	&PatternVar{}, &SemanticView{}, &SemanticClause{}, &Resample{}, &ResultRel{},
}

// TestEvery finds the node types in the source: structs that embed Span.
func TestEvery(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				if id, ok := field.Type.(*ast.Ident); ok && id.Name == "Span" && field.Names == nil {
					declared = append(declared, spec.Name.Name)
				}
			}
			return true
		})
	}
	var listed []string
	for _, n := range every {
		listed = append(listed, reflect.TypeOf(n).Elem().Name())
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("the source declares\n%v\nthis test knows\n%v", declared, listed)
	}
}

// TestClosed proves that each node prints in Snowflake's dialect, and that
// Children reaches every node below it: no part of a statement is out of
// sight.
func TestClosed(t *testing.T) {
	for _, n := range every {
		name := reflect.TypeOf(n).Elem().Name()
		v := reflect.New(reflect.TypeOf(n).Elem())
		fill(v.Elem(), 3)
		filled := v.Interface().(Node)
		if _, err := Print(filled, Snowflake); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		seen := map[Node]bool{}
		Children(filled, func(c Node) { seen[c] = true })
		for _, part := range parts(v.Elem()) {
			if !seen[part] {
				t.Errorf("Children of %s misses a %T", name, part)
			}
		}
	}
}

var (
	exprType     = reflect.TypeFor[Expr]()
	queryType    = reflect.TypeFor[Query]()
	relationType = reflect.TypeFor[Relation]()
	stmtType     = reflect.TypeFor[Statement]()
	nodeType     = reflect.TypeFor[Node]()
)

// fill gives every field something, a few levels deep.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if depth > 0 {
			fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth)
	case reflect.String:
		v.SetString("X")
	case reflect.Interface:
		switch v.Type() {
		case exprType:
			v.Set(reflect.ValueOf(&Literal{Kind: NumberLiteral, Value: "1"}))
		case queryType:
			v.Set(reflect.ValueOf(&Select{Items: []*SelectItem{{Expr: &Literal{}}}}))
		case relationType:
			v.Set(reflect.ValueOf(&Table{Name: NewObjectName("T")}))
		case stmtType:
			v.Set(reflect.ValueOf(&Use{}))
		case nodeType:
			v.Set(reflect.ValueOf(NewIdent("X")))
		}
	}
}

// parts are the nodes that stand directly in the fields of a node.
func parts(v reflect.Value) []Node {
	var out []Node
	for i := range v.NumField() {
		f := v.Field(i)
		if v.Type().Field(i).Name == "Span" {
			continue
		}
		switch {
		case f.Type() == reflect.TypeFor[Tail]():
			out = append(out, parts(f)...)
		case f.Type().Implements(nodeType) && !f.IsNil():
			out = append(out, f.Interface().(Node))
		case f.Type() == reflect.TypeFor[[]Lexeme]():
			for _, l := range f.Interface().([]Lexeme) {
				if l.Part != nil {
					out = append(out, l.Part)
				}
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Implements(nodeType):
			for k := range f.Len() {
				out = append(out, f.Index(k).Interface().(Node))
			}
		}
	}
	return out
}

// TestDuckDBRefuses proves that the other dialect fails rather than print
// something else.
func TestDuckDBRefuses(t *testing.T) {
	for _, n := range []Node{
		&Variable{Name: "x"}, &StageExpr{Location: "@s"}, &TableArg{Name: NewObjectName("T")}, &Lambda{Params: []*Ident{NewIdent("X")}, Body: &Literal{}},
		&TimeTravel{What: "OFFSET", Value: &Literal{}}, &Cast{X: &Literal{}, Type: &Type{Name: "GEOGRAPHY"}},
		&Call{Name: NewObjectName("DB", "F")},
	} {
		text, err := Print(n, DuckDB)
		if err == nil || !strings.Contains(err.Error(), "embedded warehouse") {
			t.Errorf("%T prints %q, %v", n, text, err)
		}
	}
}

// TestStrings proves that no content leaves its quotes in either dialect.
func TestStrings(t *testing.T) {
	for _, c := range []struct{ in, snowflake, duckdb string }{
		{"it's", `'it''s'`, `'it''s'`},
		{`a\`, `'a\\'`, `'a\'`},
		{`\'; drop`, `'\\''; drop'`, `'\''; drop'`},
	} {
		if got := QuoteString(c.in, Snowflake); got != c.snowflake {
			t.Errorf("%q is %s, want %s", c.in, got, c.snowflake)
		}
		if got := QuoteString(c.in, DuckDB); got != c.duckdb {
			t.Errorf("%q is %s, want %s", c.in, got, c.duckdb)
		}
		if k := sqltoken.NewScanner(c.snowflake).Next(); k.Kind != sqltoken.String || int(k.End) != len(c.snowflake) {
			t.Errorf("%s is not one string", c.snowflake)
		}
	}
}
