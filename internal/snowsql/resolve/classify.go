package resolve

import (
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
	"querywarden/policy"
)

// gravity orders the classes: of several things that a statement does, the
// gravest names it.
var gravity = map[policy.Class]int{
	policy.Read: 1, policy.Session: 2, policy.Write: 3, policy.Create: 4, policy.Modify: 5, policy.Stage: 6, policy.Destroy: 7,
	policy.Admin: 8, policy.Procedural: 9, policy.Unknown: 10,
}

// Graver reports whether a is graver than b.
func Graver(a, b policy.Class) bool { return gravity[a] > gravity[b] }

// Classify says what kind of thing a statement does, by its form alone, and
// what a person would call it. A statement that nobody has classified is
// [policy.Unknown].
func Classify(stmt ast.Statement) (policy.Class, string) {
	switch s := stmt.(type) {
	case *ast.QueryStmt:
		return policy.Read, "SELECT"
	case *ast.Explain:
		return policy.Read, "EXPLAIN"
	case *ast.Show:
		return policy.Read, "SHOW " + s.What
	case *ast.Describe:
		return policy.Read, "DESCRIBE " + s.Kind
	case *ast.Insert:
		if s.Overwrite {
			return policy.Destroy, "INSERT OVERWRITE"
		}
		return policy.Write, "INSERT"
	case *ast.MultiInsert:
		if s.Overwrite {
			return policy.Destroy, "INSERT OVERWRITE"
		}
		return policy.Write, "INSERT"
	case *ast.Update:
		return policy.Modify, "UPDATE"
	case *ast.Delete:
		return policy.Modify, "DELETE"
	case *ast.Merge:
		return policy.Modify, "MERGE"
	case *ast.Truncate:
		return policy.Destroy, "TRUNCATE TABLE"
	case *ast.Create:
		return create(s)
	case *ast.Drop:
		if isAdmin(s.Kind) {
			return policy.Admin, "DROP " + s.Kind
		}
		return policy.Destroy, "DROP " + s.Kind
	case *ast.Undrop:
		if isAdmin(s.Kind) {
			return policy.Admin, "UNDROP " + s.Kind
		}
		return policy.Create, "UNDROP " + s.Kind
	case *ast.Alter:
		return alter(s)
	case *ast.Comment:
		if isAdmin(s.Kind) {
			return policy.Admin, "COMMENT ON " + s.Kind
		}
		return policy.Create, "COMMENT ON " + s.Kind
	case *ast.Use:
		return policy.Session, strings.TrimSpace("USE " + s.Kind)
	case *ast.SetVar:
		return policy.Session, "SET"
	case *ast.UnsetVar:
		return policy.Session, "UNSET"
	case *ast.Transaction:
		return policy.Session, s.Verb
	case *ast.Grant:
		if s.Revoke {
			return policy.Admin, "REVOKE"
		}
		return policy.Admin, "GRANT"
	case *ast.CallStmt:
		return policy.Procedural, "CALL"
	case *ast.Execute:
		return policy.Procedural, "EXECUTE " + s.What
	case *ast.Pipe:
		return gravest(s.Stages, policy.Read, "SELECT")
	case *ast.Block:
		return inside(s, "BEGIN … END")
	case *ast.Declaration, *ast.Assign, *ast.If, *ast.CaseStmt, *ast.For, *ast.While, *ast.Repeat, *ast.Loop, *ast.Jump, *ast.Return,
		*ast.CursorStmt, *ast.Await, *ast.Async:
		return inside(s, "a statement of a script")
	case *ast.Copy:
		if s.Files {
			return policy.Stage, "COPY FILES"
		}
		if s.Table != nil {
			return policy.Write, "COPY INTO"
		}
		return policy.Stage, "COPY INTO LOCATION"
	case *ast.StageCommand:
		return policy.Stage, s.Verb
	default:
		return policy.Unknown, ""
	}
}

// gravest names several statements by the gravest of them.
func gravest(list []ast.Statement, class policy.Class, command string) (policy.Class, string) {
	for _, s := range list {
		if c, verb := Classify(s); Graver(c, class) {
			class, command = c, verb
		}
	}
	return class, command
}

// inside classes a script: code, or what is graver in it.
func inside(script ast.Statement, command string) (policy.Class, string) {
	class := policy.Procedural
	for _, s := range Inner(script) {
		if c, verb := Classify(s); Graver(c, class) {
			class, command = c, verb
		}
	}
	return class, command
}

// Inner returns the statements that stand directly inside of a statement: of a
// script, a task's body, a parenthesis behind :=.
func Inner(stmt ast.Statement) []ast.Statement {
	var list []ast.Statement
	ast.Inspect(stmt, func(n ast.Node) bool {
		s, ok := n.(ast.Statement)
		if !ok || n == ast.Node(stmt) {
			return true
		}
		list = append(list, s)
		return false
	})
	return list
}

// dataKinds are the kinds of object that hold, show or feed data. All others
// belong to the account's administration.
// docs.snowflake.com/en/sql-reference/commands-object
var dataKinds = map[string]bool{
	"TABLE": true, "VIEW": true, "MATERIALIZED VIEW": true, "DYNAMIC TABLE": true, "EVENT TABLE": true, "EXTERNAL TABLE": true,
	"HYBRID TABLE": true, "ICEBERG TABLE": true, "DYNAMIC ICEBERG TABLE": true, "INTERACTIVE TABLE": true, "READ ONLY TABLE": true, "INTERACTIVE MATERIALIZED VIEW": true,
	"ONLINE FEATURE TABLE": true, "SEMANTIC VIEW": true, "SCHEMA": true, "DATABASE": true, "SEQUENCE": true,
	"STAGE": true, "FILE FORMAT": true, "STREAM": true, "INDEX": true, "COLUMN": true,
}

// codeKinds are the kinds of object that hold code.
var codeKinds = map[string]bool{
	"FUNCTION": true, "PROCEDURE": true, "EXTERNAL FUNCTION": true, "TASK": true, "ALERT": true, "PIPE": true, "NOTEBOOK": true,
	"STREAMLIT": true, "SERVICE": true, "MODEL": true, "DATA METRIC FUNCTION": true, "AGENT": true, "CORTEX AGENT": true, "DBT PROJECT": true, "NOTEBOOK PROJECT": true,
	"CORTEX SEARCH SERVICE": true, "JOB SERVICE": true, "MCP SERVER": true,
}

func isAdmin(kind string) bool { return !dataKinds[kind] && !codeKinds[kind] }

func create(s *ast.Create) (policy.Class, string) {
	verb := "CREATE " + s.Kind
	switch {
	case s.OrReplace:
		verb = "CREATE OR REPLACE " + s.Kind
	case s.OrAlter:
		verb = "CREATE OR ALTER " + s.Kind
	case s.Define:
		// A file of definitions makes, changes and drops what it is deployed to.
		return policy.Admin, "DEFINE " + s.Kind
	}
	switch {
	case isAdmin(s.Kind):
		return policy.Admin, verb
	case codeKinds[s.Kind]:
		return policy.Procedural, verb
	case s.OrReplace, s.OrAlter:
		return policy.Destroy, verb
	default:
		return policy.Create, verb
	}
}

// governs reports whether the options of an ALTER hang a policy or a tag on an
// object or take one off. Tags count because masking policies hang on them.
// docs.snowflake.com/en/user-guide/tag-based-masking-policies
func governs(options *ast.Tokens) bool {
	return options != nil && slices.ContainsFunc(options.List, func(l ast.Lexeme) bool {
		if l.Kind != token.Ident || l.Part != nil {
			return false
		}
		switch l.Text {
		case "POLICY", "POLICIES", "TAG":
			return true
		}
		return false
	})
}

// alter classes by the action. What touches policies is Admin, what only adds
// is Create; what is not known to add may destroy.
func alter(s *ast.Alter) (policy.Class, string) {
	verb := strings.TrimSpace("ALTER " + s.Kind + " " + s.Action + " " + s.What)
	switch {
	case s.Kind == "SESSION":
		return policy.Session, verb
	case isAdmin(s.Kind):
		return policy.Admin, verb
	case codeKinds[s.Kind]:
		return policy.Procedural, verb
	case governs(s.Options):
		return policy.Admin, verb
	case s.Action == "ADD" && s.Columns != nil && s.Options == nil:
		return policy.Create, verb
	default:
		return policy.Destroy, verb
	}
}
