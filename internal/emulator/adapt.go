//go:build cgo

package emulator

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"querywarden/internal/snowsql/ast"
)

// What DuckDB's dialect of package ast says in DuckDB's words has the meaning
// that DuckDB gives it. Where Snowflake means something else, or knows
// something of the session, the tree is changed before it is printed: this
// file does that, and what it changes calls into is in functions.go.

// rewrite replaces every expression below n by what f makes of it, those
// deeper in the tree first.
func rewrite(n ast.Node, f func(ast.Expr) (ast.Expr, error)) error {
	return rewriteValue(reflect.ValueOf(n), f)
}

var exprType = reflect.TypeFor[ast.Expr]()

func rewriteValue(v reflect.Value, f func(ast.Expr) (ast.Expr, error)) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return nil
		}
		return rewriteValue(v.Elem(), f)
	case reflect.Struct:
		for i := range v.NumField() {
			if err := rewriteValue(v.Field(i), f); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := rewriteValue(v.Index(i), f); err != nil {
				return err
			}
		}
	case reflect.Interface:
		if v.IsNil() {
			return nil
		}
		if err := rewriteValue(v.Elem(), f); err != nil {
			return err
		}
		if v.Type() != exprType {
			return nil
		}
		x, err := f(v.Interface().(ast.Expr))
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(x))
	}
	return nil
}

// nameColumns gives every column of a SELECT that has no name the one that
// Snowflake gives it: its text, in upper case.
func nameColumns(n ast.Node, source string) {
	ast.Inspect(n, func(n ast.Node) bool {
		q, ok := n.(*ast.Select)
		if !ok {
			return true
		}
		for _, item := range q.Items {
			if item.Alias != nil {
				continue
			}
			switch item.Expr.(type) {
			case *ast.Star, *ast.ColumnRef, *ast.Positional:
				continue
			}
			if from, to := item.Expr.Pos(), item.Expr.End(); from < to && int(to) <= len(source) {
				item.Alias = ast.NewIdent(strings.ToUpper(source[from:to]))
			}
		}
		return true
	})
}

// A binding is a value for a ? of a statement.
type binding struct {
	Type   string          `json:"type"`
	Value  json.RawMessage `json:"value"`
	Format string          `json:"fmt"`
}

// bind puts values in the place of the statement's parameters. They become
// literals of their type: the printer may write a parameter twice or in
// another order, and what is bound by position would go astray.
func (s *session) bind(j *job) error {
	var params []*ast.Param
	ast.Inspect(j.stmt, func(n ast.Node) bool {
		if p, ok := n.(*ast.Param); ok {
			params = append(params, p)
		}
		return true
	})
	if len(params) == 0 {
		return nil
	}
	slices.SortFunc(params, func(a, b *ast.Param) int { return cmp.Compare(a.Pos(), b.Pos()) })
	numbers := map[*ast.Param]string{}
	for i, p := range params {
		numbers[p] = cmp.Or(p.Name, strconv.Itoa(i+1))
	}
	return rewrite(j.stmt, func(x ast.Expr) (ast.Expr, error) {
		p, ok := x.(*ast.Param)
		if !ok {
			return x, nil
		}
		b, ok := j.bindings[numbers[p]]
		if !ok {
			if j.describe {
				return &ast.Literal{Kind: ast.NullLiteral}, nil
			}
			return nil, &sqlError{code: "002049", state: "42601", message: compilation + "Bind variable " + cmp.Or(p.Name, "?") + " not set."}
		}
		return b.literal()
	})
}

// literal is the value as an expression.
func (b binding) literal() (ast.Expr, error) {
	if string(b.Value) == "null" || b.Value == nil {
		return &ast.Literal{Kind: ast.NullLiteral}, nil
	}
	var text string
	if err := json.Unmarshal(b.Value, &text); err != nil {
		return nil, errUnsupported("binding arrays of values")
	}
	bad := &sqlError{code: "100038", state: "22018", message: b.Type + " bind value '" + text + "' is not recognized"}
	str := func(s string) *ast.Literal { return &ast.Literal{Kind: ast.StringLiteral, Value: s} }
	cast := func(s, typ string) (ast.Expr, error) {
		return &ast.Cast{X: str(s), Type: &ast.Type{Name: typ}}, nil
	}
	nanos := func(s string) (time.Time, error) {
		n, ok := new(big.Int).SetString(s, 10)
		if !ok {
			return time.Time{}, bad
		}
		seconds, rest := new(big.Int).DivMod(n, big.NewInt(1e9), new(big.Int))
		return time.Unix(seconds.Int64(), rest.Int64()).UTC(), nil
	}
	if b.Format == "json" && b.Type != "BINARY" {
		return &ast.Call{Name: ast.NewObjectName("PARSE_JSON"), Args: []ast.Expr{str(text)}}, nil
	}
	const clock = "15:04:05.999999999"
	switch b.Type {
	case "TEXT":
		return str(text), nil
	case "FIXED":
		if _, ok := new(big.Int).SetString(text, 10); !ok {
			return nil, bad
		}
		return &ast.ParenExpr{X: &ast.Literal{Kind: ast.NumberLiteral, Value: text}}, nil
	case "REAL":
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return nil, bad
		}
		return cast(text, "FLOAT")
	case "BOOLEAN":
		v, err := strconv.ParseBool(text)
		if err != nil {
			return nil, bad
		}
		return &ast.Literal{Kind: ast.BoolLiteral, Value: strings.ToUpper(strconv.FormatBool(v))}, nil
	case "BINARY":
		if _, err := hex.DecodeString(text); err != nil {
			return nil, bad
		}
		return &ast.Call{Name: ast.NewObjectName("UNHEX"), Args: []ast.Expr{str(text)}}, nil
	case "DATE":
		millis, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, bad
		}
		return cast(time.UnixMilli(millis).UTC().Format(time.DateOnly), "DATE")
	case "TIME":
		t, err := nanos(text)
		if err != nil {
			return nil, err
		}
		return cast(t.Format(clock), "TIME")
	case "TIMESTAMP_NTZ", "TIMESTAMP_LTZ":
		t, err := nanos(text)
		if err != nil {
			return nil, err
		}
		zone := ""
		if b.Type == "TIMESTAMP_LTZ" {
			zone = "+00"
		}
		return cast(t.Format(time.DateOnly+" "+clock)+zone, b.Type)
	case "TIMESTAMP_TZ":
		instant, _, _ := strings.Cut(text, " ")
		t, err := nanos(instant)
		if err != nil {
			return nil, err
		}
		return cast(t.Format(time.DateOnly+" "+clock)+"+00", b.Type)
	default:
		return nil, errUnsupported("binding a %s", b.Type)
	}
}

// adapt makes a resolved tree mean in DuckDB what it means in Snowflake.
func (s *session) adapt(n ast.Node) error {
	nameValues(n)
	return rewrite(n, s.adaptExpr)
}

// nameValues names the columns of VALUES in FROM: COLUMN1, COLUMN2, ….
func nameValues(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		d, ok := n.(*ast.Derived)
		if !ok {
			return true
		}
		values, ok := d.Query.(*ast.Values)
		if !ok || len(values.Rows) == 0 || d.Alias != nil && d.Alias.Columns != nil {
			return true
		}
		alias := &ast.Alias{Name: ast.NewIdent("VALUES")}
		if d.Alias != nil {
			alias.Name = d.Alias.Name
		}
		for i := range values.Rows[0].Items {
			alias.Columns = append(alias.Columns, ast.NewIdent("COLUMN"+strconv.Itoa(i+1)))
		}
		d.Alias = alias
		return true
	})
}

// call makes a call of one of the emulator's own functions, or DuckDB's.
func call(name string, args ...ast.Expr) *ast.Call {
	return &ast.Call{Name: ast.NewObjectName(strings.ToUpper(name)), Args: args}
}

func (s *session) adaptExpr(x ast.Expr) (ast.Expr, error) {
	switch x := x.(type) {
	case *ast.Variable:
		v, ok := s.variables[strings.ToUpper(x.Name)]
		if !ok {
			return nil, &sqlError{code: "002211", state: "02000", message: compilation + "Session variable '$" + strings.ToUpper(x.Name) + "' does not exist"}
		}
		return v, nil
	case *ast.Positional:
		ref := &ast.ColumnRef{Parts: []*ast.Ident{ast.NewIdent("COLUMN" + x.N)}}
		if x.Qualifier != nil {
			ref.Parts = append([]*ast.Ident{x.Qualifier}, ref.Parts...)
		}
		return ref, nil
	case *ast.ColumnRef:
		if len(x.Parts) == 1 && !x.Parts[0].Quoted {
			if v, ok := s.contextValue(x.Parts[0].Fold()); ok && strings.HasPrefix(x.Parts[0].Fold(), "CURRENT_") {
				return v, nil
			}
		}
		// Relations are known by their own name, whatever qualifies it.
		if n := len(x.Parts); n > 2 {
			x.Parts = x.Parts[n-2:]
		}
		return x, nil
	case *ast.Star:
		if n := len(x.Qualifier); n > 1 {
			x.Qualifier = x.Qualifier[n-1:]
		}
		return x, nil
	case *ast.TypedLiteral:
		if x.Type == "X" {
			return call("unhex", &ast.Literal{Kind: ast.StringLiteral, Value: x.Value}), nil
		}
		return x, nil
	case *ast.Binary:
		return adaptBinary(x), nil
	case *ast.Between:
		x.X, x.Low, x.High = comparable2(x.X, x.Low), plainPath(x.Low), plainPath(x.High)
		return x, nil
	case *ast.In:
		if isPath(x.X) {
			like := ast.Expr(nil)
			if len(x.List) > 0 {
				like = x.List[0]
			}
			x.X = comparable2(x.X, like)
		}
		return x, nil
	case *ast.Like:
		x.X = asTextExpr(x.X)
		return x, nil
	case *ast.Cast:
		return adaptCast(x), nil
	case *ast.Call:
		if x.Name.Dynamic == nil && x.Name.Fold() == "SYS_CONTEXT" {
			return s.sysContext(x)
		}
		return s.adaptCall(x)
	default:
		return x, nil
	}
}

// isPath reports whether x yields a VARIANT by its form.
func isPath(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Path, *ast.Index:
		return true
	case *ast.ParenExpr:
		return isPath(x.X)
	case *ast.Call:
		switch x.Name.Fold() {
		case "GET", "GET_PATH", "PARSE_JSON":
			return true
		}
	}
	return false
}

func castTo(x ast.Expr, typ string) ast.Expr {
	return &ast.Cast{X: x, Type: &ast.Type{Name: typ}}
}

func asTextExpr(x ast.Expr) ast.Expr {
	if isPath(x) {
		return call("sf_text", x)
	}
	return x
}

// comparable2 is x as something that compares with y: a VARIANT becomes a
// number beside a number, and a text beside anything else.
func comparable2(x, y ast.Expr) ast.Expr {
	if !isPath(x) {
		return x
	}
	if isNumber(y) {
		return castTo(call("sf_text", x), "FLOAT")
	}
	if lit, ok := y.(*ast.Literal); ok && lit.Kind == ast.BoolLiteral {
		return castTo(call("sf_text", x), "BOOLEAN")
	}
	return call("sf_text", x)
}

func plainPath(x ast.Expr) ast.Expr { return comparable2(x, nil) }

// isNumber reports whether x is a number by its form.
func isNumber(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Literal:
		return x.Kind == ast.NumberLiteral
	case *ast.Unary:
		return isNumber(x.X)
	case *ast.ParenExpr:
		return isNumber(x.X)
	case *ast.Cast:
		t, err := typeOf(x.Type)
		return err == nil && (t.name == "NUMBER" || t.name == "FLOAT")
	case *ast.Binary:
		return slices.Contains([]string{"+", "-", "*", "/", "%"}, x.Op)
	default:
		return false
	}
}

func adaptBinary(x *ast.Binary) ast.Expr {
	switch x.Op {
	case "=", "<>", "<", ">", "<=", ">=":
		a, b := x.X, x.Y
		if isPath(a) != isPath(b) {
			x.X, x.Y = comparable2(a, b), comparable2(b, a)
		}
	case "+", "-", "*", "%":
		for _, side := range []*ast.Expr{&x.X, &x.Y} {
			if isPath(*side) {
				*side = castTo(call("sf_text", *side), "FLOAT")
			}
		}
	case "||":
		x.X, x.Y = asTextExpr(x.X), asTextExpr(x.Y)
	case "/":
		// Snowflake refuses to divide by zero.
		for _, side := range []*ast.Expr{&x.X, &x.Y} {
			if isPath(*side) {
				*side = castTo(call("sf_text", *side), "FLOAT")
			}
		}
		if lit, ok := x.Y.(*ast.Literal); ok && lit.Kind == ast.NumberLiteral && strings.Trim(lit.Value, "0.") != "" {
			return x
		}
		return call("sf_div", x.X, x.Y)
	}
	return x
}

// adaptCast gives casts to text, to VARIANT and to BINARY Snowflake's meaning.
func adaptCast(x *ast.Cast) ast.Expr {
	t, err := typeOf(x.Type)
	if err != nil {
		return x // the printer says what is wrong
	}
	switch t.name {
	case "VARCHAR":
		text := ast.Expr(call("sf_text", x.X))
		if t.length < maxText {
			text = call("left", text, &ast.Literal{Kind: ast.NumberLiteral, Value: strconv.Itoa(t.length)})
		}
		return text
	case "VARIANT", "OBJECT", "ARRAY":
		return call("sf_variant", x.X)
	case "BINARY":
		return call("sf_binary", x.X)
	default:
		if isPath(x.X) {
			x.X = call("sf_text", x.X)
		}
		return x
	}
}

// sysContext answers SYS_CONTEXT for what a gateway wants to know of its
// session. docs.snowflake.com/en/sql-reference/functions/sys_context
func (s *session) sysContext(x *ast.Call) (ast.Expr, error) {
	var names []string
	for _, a := range x.Args {
		lit, ok := a.(*ast.Literal)
		if !ok || lit.Kind != ast.StringLiteral {
			return nil, errUnsupported("SYS_CONTEXT of an expression")
		}
		names = append(names, strings.ToUpper(lit.Value))
	}
	switch strings.Join(names, " ") {
	case "SNOWFLAKE$CURRENT IS_AGENT_ACTIVATED":
		// Whoever was added without a word about its type is an agent.
		agent := s.user.declared == nil || s.user.declared["TYPE"] == "SERVICE_AGENT"
		return &ast.Literal{Kind: ast.StringLiteral, Value: strings.ToUpper(strconv.FormatBool(agent))}, nil
	case "SNOWFLAKE$SESSION ACTIVE_RESTRICTED_SESSION_SCOPES":
		return &ast.Literal{Kind: ast.StringLiteral, Value: s.scope}, nil
	default:
		return nil, errUnsupported("SYS_CONTEXT of %s", strings.Join(names, ", "))
	}
}

// contextValue is the value of a function that knows the session.
// docs.snowflake.com/en/sql-reference/functions-context
func (s *session) contextValue(name string) (ast.Expr, bool) {
	text := func(v string) (ast.Expr, bool) {
		if v == "" {
			return castTo(&ast.Literal{Kind: ast.NullLiteral}, "VARCHAR"), true
		}
		return &ast.Literal{Kind: ast.StringLiteral, Value: v}, true
	}
	switch name {
	case "CURRENT_DATABASE":
		return text(s.database)
	case "CURRENT_SCHEMA":
		return text(s.schema)
	case "CURRENT_ROLE", "CURRENT_PRIMARY_ROLE":
		return text(s.role)
	case "CURRENT_WAREHOUSE":
		return text(s.warehouse)
	case "CURRENT_USER":
		return text(s.user.name)
	case "CURRENT_SESSION":
		return text(strconv.FormatInt(s.id, 10))
	case "CURRENT_ACCOUNT", "CURRENT_ACCOUNT_NAME":
		return text("EMULATOR")
	case "CURRENT_REGION":
		return text("LOCAL")
	case "CURRENT_VERSION":
		return text(serverVersion)
	case "CURRENT_CLIENT":
		return text("UNKNOWN")
	case "CURRENT_SECONDARY_ROLES":
		if s.secondary {
			return text(`{"roles":"","value":"ALL"}`)
		}
		return text(`{"roles":"","value":""}`)
	case "CURRENT_AVAILABLE_ROLES":
		return text(fmt.Sprintf("[ %q, %q ]", publicRole, s.user.role))
	case "CURRENT_SCHEMAS":
		return text(fmt.Sprintf("[%q]", s.database+"."+s.schema))
	default:
		return nil, false
	}
}
