package resolve_test

import (
	goast "go/ast"
	goparser "go/parser"
	gotoken "go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

// nodes are an example of each node type, by category.
var nodes = map[string][]ast.Node{
	"expr": {
		&ast.Literal{}, &ast.TypedLiteral{}, &ast.ColumnRef{}, &ast.Star{}, &ast.Unary{}, &ast.Binary{}, &ast.Between{}, &ast.In{}, &ast.Like{},
		&ast.Is{}, &ast.Quantified{}, &ast.Exists{}, &ast.Subquery{}, &ast.Case{}, &ast.Cast{}, &ast.Call{}, &ast.NamedArg{}, &ast.Extract{},
		&ast.Path{}, &ast.Index{}, &ast.ParenExpr{}, &ast.Tuple{}, &ast.Array{}, &ast.Object{}, &ast.Lambda{}, &ast.Param{}, &ast.Positional{},
		&ast.Variable{}, &ast.StageExpr{}, &ast.TableArg{}, &ast.GroupingSets{}, &ast.OuterRef{}, &ast.Method{}, &ast.StatementExpr{},
	},
	"query": {&ast.Select{}, &ast.SetOp{}, &ast.Values{}, &ast.Paren{}, &ast.With{}},
	"relation": {
		&ast.Table{}, &ast.Derived{}, &ast.Group{}, &ast.Join{}, &ast.TableFunc{}, &ast.StageRel{}, &ast.Pivot{}, &ast.Unpivot{}, &ast.MatchRecognize{}, &ast.SemanticView{}, &ast.Resample{},
		&ast.ResultRel{},
	},
	"statement": {
		&ast.QueryStmt{}, &ast.Explain{}, &ast.Insert{}, &ast.MultiInsert{}, &ast.Update{}, &ast.Delete{}, &ast.Merge{}, &ast.Create{}, &ast.Drop{},
		&ast.Undrop{}, &ast.Truncate{}, &ast.Alter{}, &ast.Show{}, &ast.Describe{}, &ast.Use{}, &ast.SetVar{}, &ast.UnsetVar{}, &ast.Transaction{},
		&ast.Grant{}, &ast.CallStmt{}, &ast.Execute{}, &ast.Copy{}, &ast.StageCommand{}, &ast.Comment{}, &ast.Block{}, &ast.Pipe{},
		&ast.Declaration{}, &ast.Assign{}, &ast.If{}, &ast.CaseStmt{}, &ast.For{}, &ast.While{}, &ast.Repeat{}, &ast.Loop{}, &ast.Jump{}, &ast.Return{},
		&ast.CursorStmt{}, &ast.Await{}, &ast.Async{},
	},
}

// TestNodesListed reads the tree's source: a node type that the list above does
// not have fails here, and with it the test below asks whether it is resolved.
func TestNodesListed(t *testing.T) {
	files, err := filepath.Glob("../ast/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[string][]string{}
	for _, file := range files {
		f, err := goparser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*goast.FuncDecl)
			if !ok || fn.Recv == nil || nodes[fn.Name.Name] == nil || len(fn.Body.List) > 0 {
				continue
			}
			if star, ok := fn.Recv.List[0].Type.(*goast.StarExpr); ok {
				found[fn.Name.Name] = append(found[fn.Name.Name], star.X.(*goast.Ident).Name)
			}
		}
	}
	for category, examples := range nodes {
		var listed []string
		for _, n := range examples {
			listed = append(listed, reflect.TypeOf(n).Elem().Name())
		}
		slices.Sort(listed)
		slices.Sort(found[category])
		if !slices.Equal(listed, found[category]) {
			t.Errorf("%s: the tree has %v, the list %v", category, found[category], listed)
		}
	}
}

// A filler puts something into every part of a node: another column into each
// expression, a query that reads yet another one into each query.
type filler struct{ columns int }

var (
	exprType     = reflect.TypeFor[ast.Expr]()
	queryType    = reflect.TypeFor[ast.Query]()
	relationType = reflect.TypeFor[ast.Relation]()
	stmtType     = reflect.TypeFor[ast.Statement]()
)

const maxColumns = 60

func (f *filler) column() ast.Expr {
	f.columns++
	return &ast.ColumnRef{Parts: []*ast.Ident{ast.NewIdent("K" + strconv.Itoa(f.columns))}}
}

func (f *filler) query() ast.Query {
	return &ast.Select{Items: []*ast.SelectItem{{Expr: f.column()}}, From: []ast.Relation{f.table()}}
}

func (f *filler) table() *ast.Table { return &ast.Table{Name: ast.NewObjectName("DB", "S", "T")} }

func (f *filler) value(t reflect.Type, field string) reflect.Value {
	switch {
	case t == exprType:
		return reflect.ValueOf(f.column())
	case t == queryType:
		return reflect.ValueOf(f.query())
	case t == relationType:
		return reflect.ValueOf(f.table())
	case t == stmtType:
		return reflect.ValueOf(&ast.QueryStmt{Query: f.query()})
	case t == reflect.TypeFor[*ast.Type]():
		return reflect.ValueOf(&ast.Type{Name: "VARCHAR"})
	case t == reflect.TypeFor[*ast.Literal]():
		return reflect.ValueOf(&ast.Literal{Kind: ast.StringLiteral, Value: "x"})
	case t == reflect.TypeFor[*ast.Ident]():
		return reflect.ValueOf(ast.NewIdent("ANY"))
	case t == reflect.TypeFor[*ast.ObjectName]() && (field == "Name" || field == "Target"):
		return reflect.ValueOf(ast.NewObjectName("DB", "S", "T"))
	case t == reflect.TypeFor[*ast.ObjectName](), t == reflect.TypeFor[*ast.Block](), t == reflect.TypeFor[*ast.Tokens](), t == reflect.TypeFor[*ast.Alias](), t == reflect.TypeFor[*ast.Sample]():
		return reflect.Zero(t)
	case t.Kind() == reflect.Pointer:
		v := reflect.New(t.Elem())
		f.fill(v.Elem())
		return v
	case t.Kind() == reflect.Slice:
		v := reflect.MakeSlice(t, 1, 1)
		v.Index(0).Set(f.value(t.Elem(), field))
		return v
	case t.Kind() == reflect.String && field == "N":
		return reflect.ValueOf("1")
	default:
		return reflect.Zero(t)
	}
}

func (f *filler) fill(v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Type().Field(i); {
		case field.Name == "Span", v.Type() == reflect.TypeFor[ast.Select]() && field.Name == "Into":
		case field.Anonymous: // Tail
			f.fill(v.Field(i))
		default:
			v.Field(i).Set(f.value(field.Type, field.Name))
		}
	}
}

// example returns a node with all its parts.
func (f *filler) example(n ast.Node) ast.Node {
	switch n.(type) {
	case *ast.ColumnRef:
		return f.column().(*ast.ColumnRef)
	case *ast.Star:
		return &ast.Star{}
	case *ast.Table:
		return f.table()
	}
	v := reflect.New(reflect.TypeOf(n).Elem())
	f.fill(v.Elem())
	switch n := v.Interface().(type) {
	case *ast.Call:
		n.Name = ast.NewObjectName("COALESCE")
	case *ast.TableFunc:
		n.Call = &ast.Call{Name: ast.NewObjectName("FLATTEN"), Args: []ast.Expr{f.column()}}
	case *ast.Join:
		n.Using = []*ast.Ident{ast.NewIdent("K50")}
	case *ast.Positional:
		n.Qualifier = nil
	case *ast.Method:
		n.Object = ast.NewObjectName("M")
	case *ast.Insert:
		n.Columns = nil
	case *ast.MultiInsert:
		n.Branches[0].Into[0].Columns = nil
	case *ast.Update:
		n.Set[0].Column[0] = ast.NewIdent("K50")
	case *ast.Merge:
		n.Whens[0].Set[0].Column[0], n.Whens[0].Columns[0] = ast.NewIdent("K50"), ast.NewIdent("K50")
	case *ast.Create:
		n.Kind, n.Name, n.At = "TABLE", ast.NewObjectName("DB", "S", "NEW"), nil
	case *ast.Alter:
		n.Kind, n.Action, n.Drops = "TABLE", "ADD", nil
	}
	return v.Interface().(ast.Node)
}

// TestEveryPartIsResolved: whatever part of whatever node names a column, the
// column is touched or the statement has a problem. A part that nobody visits
// would be a place to read from without a mask.
func TestEveryPartIsResolved(t *testing.T) {
	table := policy.Table{Object: policy.Object{Kind: policy.TableObject, Database: "DB", Schema: "S", Name: "T"}}
	for i := range maxColumns {
		table.Columns = append(table.Columns, policy.Column{Name: "K" + strconv.Itoa(i), Type: "VARCHAR"})
	}
	catalog := resolve.NewCatalog([]policy.Table{table})
	clean := map[string]int{}
	for category, examples := range nodes {
		for _, n := range examples {
			f := &filler{}
			example := f.example(n)
			if f.columns >= 50 {
				t.Fatalf("%T has %d parts; give the table more columns", n, f.columns)
			}
			var stmt ast.Statement
			plain := &ast.Select{Items: []*ast.SelectItem{{Expr: &ast.Literal{}}}, From: []ast.Relation{f.table()}}
			switch e := example.(type) {
			case ast.Expr:
				plain.Items[0].Expr = e
				stmt = &ast.QueryStmt{Query: plain}
			case ast.Query:
				// Inside of another query, so that its tail finds columns as well.
				plain.Items[0].Expr = &ast.Subquery{Query: e}
				stmt = &ast.QueryStmt{Query: plain}
			case ast.Relation:
				plain.From = append(plain.From, e)
				stmt = &ast.QueryStmt{Query: plain}
			case ast.Statement:
				stmt = e
			}
			var want []string
			ast.Inspect(stmt, func(n ast.Node) bool {
				if ref, ok := n.(*ast.ColumnRef); ok {
					want = append(want, ref.Parts[0].Name)
				}
				return true
			})
			res := resolve.Resolve(stmt, catalog, resolve.Context{})
			if len(res.Statement.Problems) > 0 {
				continue
			}
			clean[category]++
			touched := map[string]bool{}
			for _, ref := range res.Refs {
				for _, c := range ref.Touched() {
					touched[c.Name] = true
				}
			}
			for _, name := range want {
				if !touched[name] {
					t.Errorf("%T: nobody resolved %s", n, name)
				}
			}
		}
	}
	t.Logf("without a problem: %v", clean)
	if clean["expr"] < 27 || clean["query"] < 5 || clean["relation"] < 7 || clean["statement"] < 7 {
		t.Errorf("too few nodes got through to be a proof: %v", clean)
	}
}

// TestUnknownNodes: what is in no switch is refused.
func TestUnknownNodes(t *testing.T) {
	type stranger struct{ ast.Literal }
	stmt := &ast.QueryStmt{Query: &ast.Select{Items: []*ast.SelectItem{{Expr: &stranger{}}}}}
	res := resolve.Resolve(stmt, resolve.NewCatalog(nil), resolve.Context{})
	if len(res.Statement.Problems) == 0 || !strings.Contains(string(res.Statement.Problems[0].Code), "unsupported") {
		t.Errorf("a strange expression got through: %+v", res.Statement)
	}
}
