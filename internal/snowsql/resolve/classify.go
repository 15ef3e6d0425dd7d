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
// what a person would call it. A statement whose command nobody has classified
// is [policy.Unknown].
func Classify(stmt ast.Statement) (policy.Class, string) {
	switch s := stmt.(type) {
	case *ast.Pipe:
		return gravest(s.Stages, policy.Read, "SELECT")
	}
	if name := scripted(stmt); name != "" {
		return inside(stmt, name)
	}
	name, verb := commandName(stmt)
	c, known := LookupCommand(name)
	if !known {
		return policy.Unknown, verb
	}
	switch s := stmt.(type) {
	case *ast.Insert:
		if s.Overwrite {
			return policy.Destroy, verb
		}
	case *ast.MultiInsert:
		if s.Overwrite {
			return policy.Destroy, verb
		}
	case *ast.Create:
		return create(s, c.Class), verb
	case *ast.Alter:
		return alter(s, c.Class), verb
	case *ast.Comment:
		// A comment is a part of its object, and may be changed by whom may
		// make such an object.
		if made, ok := LookupCommand("CREATE " + objectClass(s.Kind)); s.Kind != "COLUMN" && (!ok || made.Class == policy.Admin) {
			return policy.Admin, verb
		}
	}
	return c.Class, verb
}

// scripted is what a statement of Snowflake Scripting is called, "" if it is
// none.
func scripted(stmt ast.Statement) string {
	switch s := stmt.(type) {
	case *ast.Block:
		return "BEGIN … END"
	case *ast.Declaration:
		return "LET"
	case *ast.Assign:
		return ":="
	case *ast.If:
		return "IF"
	case *ast.CaseStmt:
		return "CASE"
	case *ast.For:
		return "FOR"
	case *ast.While:
		return "WHILE"
	case *ast.Repeat:
		return "REPEAT"
	case *ast.Loop:
		return "LOOP"
	case *ast.Jump:
		return s.Verb
	case *ast.Return:
		return "RETURN"
	case *ast.CursorStmt:
		return s.Verb
	case *ast.Await:
		return s.Verb
	case *ast.Async:
		return "ASYNC"
	default:
		return ""
	}
}

// commandName is the name of a statement's command in the table of commands,
// and what a person would call it.
func commandName(stmt ast.Statement) (name, verb string) {
	plain := func(name string) (string, string) { return name, name }
	kind := func(verb, kind string) (string, string) { return verb + " " + objectClass(kind), verb + " " + kind }
	switch s := stmt.(type) {
	case *ast.QueryStmt:
		return plain("SELECT")
	case *ast.Explain:
		return plain("EXPLAIN")
	case *ast.Show:
		return kind("SHOW", s.What)
	case *ast.Describe:
		return kind("DESCRIBE", s.Kind)
	case *ast.Insert:
		return "INSERT", overwrite(s.Overwrite)
	case *ast.MultiInsert:
		return "INSERT", overwrite(s.Overwrite)
	case *ast.Update:
		return plain("UPDATE")
	case *ast.Delete:
		return plain("DELETE")
	case *ast.Merge:
		return plain("MERGE")
	case *ast.Truncate:
		return plain("TRUNCATE TABLE")
	case *ast.Create:
		if s.Define {
			return "DEFINE", "DEFINE " + s.Kind
		}
		name, verb := kind("CREATE", s.Kind)
		switch {
		case s.OrReplace:
			verb = "CREATE OR REPLACE " + s.Kind
		case s.OrAlter:
			verb = "CREATE OR ALTER " + s.Kind
		}
		return name, verb
	case *ast.Drop:
		return kind("DROP", s.Kind)
	case *ast.Undrop:
		return kind("UNDROP", s.Kind)
	case *ast.Alter:
		name, verb := kind("ALTER", s.Kind)
		return name, strings.TrimSpace(verb + " " + s.Action + " " + s.What)
	case *ast.Comment:
		return "COMMENT", "COMMENT ON " + s.Kind
	case *ast.Use:
		return plain(strings.TrimSpace("USE " + s.Kind))
	case *ast.SetVar:
		return plain("SET")
	case *ast.UnsetVar:
		return plain("UNSET")
	case *ast.Transaction:
		return plain(s.Verb)
	case *ast.Grant:
		if s.Revoke {
			return plain("REVOKE")
		}
		return plain("GRANT")
	case *ast.CallStmt:
		return plain("CALL")
	case *ast.Execute:
		return plain("EXECUTE " + s.What)
	case *ast.Copy:
		switch {
		case s.Files:
			return plain("COPY FILES")
		case s.Table != nil:
			return "COPY INTO TABLE", "COPY INTO"
		}
		return plain("COPY INTO LOCATION")
	case *ast.StageCommand:
		switch s.Verb {
		case "LS":
			return plain("LIST")
		case "RM":
			return plain("REMOVE")
		}
		return plain(s.Verb)
	default:
		return "", ""
	}
}

func overwrite(o bool) string {
	if o {
		return "INSERT OVERWRITE"
	}
	return "INSERT"
}

// objectClass is a kind of object as the table of commands has it: instances
// of Snowflake's own classes are one kind.
func objectClass(kind string) string {
	if strings.HasPrefix(kind, "SNOWFLAKE.") {
		return "CLASS INSTANCE"
	}
	return kind
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

// create classes by the form: what replaces an object or changes it may
// destroy what it held.
func create(s *ast.Create, class policy.Class) policy.Class {
	if class == policy.Create && (s.OrReplace || s.OrAlter) {
		return policy.Destroy
	}
	return class
}

// alter classes by the action. What touches policies is Admin, what only adds
// is Create; what is not known to add may destroy.
func alter(s *ast.Alter, class policy.Class) policy.Class {
	switch {
	case class != policy.Destroy:
		return class
	case governs(s.Options):
		return policy.Admin
	case s.Action == "ADD" && s.Columns != nil && s.Options == nil:
		return policy.Create
	default:
		return policy.Destroy
	}
}
