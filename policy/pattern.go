package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A part is one name of a pattern: what stands between stars, in order.
type part struct {
	exact  []string // as Snowflake would store the name
	folded []string // in upper case, for the strict side
}

// matches reports whether the part matches name as Snowflake tells names apart.
func (p part) matches(name string) bool { return glob(p.exact, name) }

// covers is matches without regard to case. folded is a name in upper case; a
// name that is not known may be any.
func (p part) covers(folded string) bool { return folded == "" || glob(p.folded, folded) }

// starred reports whether the part stands for several names.
func (p part) starred() bool { return len(p.exact) > 1 }

// glob reports whether name is made of the segments with anything between.
func glob(segments []string, name string) bool {
	last := len(segments) - 1
	if last == 0 {
		return name == segments[0]
	}
	name, ok := strings.CutPrefix(name, segments[0])
	if !ok {
		return false
	}
	for _, s := range segments[1:last] {
		i := strings.Index(name, s)
		if i < 0 {
			return false
		}
		name = name[i+len(s):]
	}
	return strings.HasSuffix(name, segments[last])
}

// fold is how names are compared where case must not let anything slip by.
func fold(name string) string { return strings.ToUpper(name) }

// parsePart reads one part of a dotted pattern from the beginning of s and
// returns what follows. Outside quotes * stands for any characters and letters
// are upper case; inside them everything stands for itself.
func parsePart(s string) (part, string, error) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		var name strings.Builder
		for {
			i := strings.IndexByte(quoted, '"')
			if i < 0 {
				return part{}, "", errors.New("a quote is not closed")
			}
			name.WriteString(quoted[:i])
			quoted = quoted[i+1:]
			if !strings.HasPrefix(quoted, `"`) {
				break
			}
			name.WriteByte('"')
			quoted = quoted[1:]
		}
		if name.Len() == 0 {
			return part{}, "", errors.New("a name is empty")
		}
		return part{[]string{name.String()}, []string{fold(name.String())}}, quoted, nil
	}
	end := 0
	for end < len(s) {
		r, size := utf8.DecodeRuneInString(s[end:])
		if r == utf8.RuneError || r != '*' && r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		end += size
	}
	if end == 0 {
		return part{}, "", errors.New("a name is missing")
	}
	segments := strings.Split(fold(s[:end]), "*")
	return part{segments, segments}, s[end:], nil
}

// parseParts reads a dotted pattern from the beginning of s and returns what
// follows it.
func parseParts(s string) ([]part, string, error) {
	var parts []part
	for {
		p, rest, err := parsePart(s)
		if err != nil {
			return nil, "", err
		}
		parts = append(parts, p)
		if !strings.HasPrefix(rest, ".") {
			return parts, rest, nil
		}
		s = rest[1:]
	}
}

// An objectPattern is what rules and filters name: database.schema.object,
// database.schema for a schema, database for a database, each perhaps behind
// "kind:" for one kind of object.
type objectPattern struct {
	kind  ObjectKind // empty: any
	parts []part     // 1 to 3
}

func parseObjectPattern(s string) (objectPattern, error) {
	var p objectPattern
	body := s
	if kind, rest, ok := strings.Cut(s, ":"); ok && !strings.Contains(kind, `"`) {
		if kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz ") != "" || strings.TrimSpace(kind) != kind {
			return p, fmt.Errorf("pattern %q: %q is not a kind of object in lower case", s, kind)
		}
		p.kind, body = ObjectKind(kind), rest
	}
	parts, rest, err := parseParts(body)
	switch {
	case err != nil:
		return p, fmt.Errorf("pattern %q: %w", s, err)
	case rest != "":
		return p, fmt.Errorf("pattern %q: %q has to be quoted", s, rest)
	case len(parts) > 3:
		return p, fmt.Errorf("pattern %q has %d names; objects have database.schema.object at most", s, len(parts))
	}
	p.parts = parts
	return p, nil
}

// matches is for rules that grant: names by Snowflake's rules, the object on
// the pattern's own level, and no star for the metadata schemas, which list
// what the rest of the policy hides. A procedure is let run by its kind only.
func (p objectPattern) matches(o Object) bool {
	if p.kind != "" && p.kind != o.Kind || p.kind == "" && o.Kind == ProcedureObject {
		return false
	}
	var names [3]string
	n := 0
	switch {
	case o.Name == "" || o.Database == "" && o.Schema != "":
		return false
	case o.Schema != "":
		names, n = [3]string{o.Database, o.Schema, o.Name}, 3
	case o.Database != "":
		names, n = [3]string{o.Database, o.Name}, 2
		if p.kind == "" && o.Kind != SchemaObject {
			return false
		}
	default:
		names, n = [3]string{o.Name}, 1
		if p.kind == "" && o.Kind != DatabaseObject {
			return false
		}
	}
	if n != len(p.parts) {
		return false
	}
	for i, part := range p.parts {
		if !part.matches(names[i]) || part.starred() && metadata(i, names[i]) {
			return false
		}
	}
	return true
}

// metadata reports whether a name on the given level is that of Snowflake's own
// views of the account.
func metadata(level int, name string) bool {
	return level == 0 && fold(name) == "SNOWFLAKE" || level == 1 && fold(name) == "INFORMATION_SCHEMA"
}

// covers is for rules that restrict: names without regard to case, and whatever
// contains the pattern's objects or lies in them. Dropping a database drops the
// tables that a rule protects.
func (p objectPattern) covers(o foldedObject) bool {
	switch o.kind {
	case AccountObject:
		return true
	case SchemaObject, DatabaseObject, "":
	default:
		if p.kind != "" && p.kind != o.kind || o.level == 1 && p.kind == "" {
			return false
		}
	}
	for i := range min(o.level, len(p.parts)) {
		if !p.parts[i].covers(o.names[i]) {
			return false
		}
	}
	return true
}

// A foldedObject is an object as the strict side compares it.
type foldedObject struct {
	kind  ObjectKind
	names [3]string // in upper case, outermost first; empty if not known
	level int       // how many of them the object has
}

func foldObject(o Object) foldedObject {
	f := foldedObject{kind: o.Kind, names: [3]string{fold(o.Database), fold(o.Schema), fold(o.Name)}, level: 3}
	switch {
	case o.Schema != "":
	case o.Database != "":
		f.names, f.level = [3]string{f.names[0], f.names[2]}, 2
	case o.Kind == TableObject || o.Kind == ViewObject:
		// Where it lives is not known.
	default:
		f.names, f.level = [3]string{f.names[2]}, 1
	}
	return f
}

// A columnPattern is database.schema.table.column.
type columnPattern [4]part

func parseColumnPattern(s string) (columnPattern, error) {
	parts, rest, err := parseParts(s)
	switch {
	case err != nil:
		return columnPattern{}, fmt.Errorf("pattern %q: %w", s, err)
	case rest != "":
		return columnPattern{}, fmt.Errorf("pattern %q: %q has to be quoted", s, rest)
	case len(parts) != 4:
		return columnPattern{}, fmt.Errorf("pattern %q has %d names; a column has database.schema.table.column", s, len(parts))
	}
	return columnPattern(parts), nil
}

// covers reports whether the pattern covers a column, given in upper case.
func (p columnPattern) covers(o foldedObject, column string) bool {
	return p[3].covers(column) && p[2].covers(o.names[2]) && p[1].covers(o.names[1]) && p[0].covers(o.names[0])
}

// A functionPattern is a function's name, qualified or not, in upper case: what
// stands between stars, which stand for any characters.
type functionPattern []string

func parseFunctionPattern(s string) (functionPattern, error) {
	for _, r := range s {
		if r != '*' && r != '_' && r != '$' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return nil, fmt.Errorf("function pattern %q: %q is not part of a name", s, r)
		}
	}
	if s == "" {
		return nil, errors.New("a function's name is empty")
	}
	return strings.Split(fold(s), "*"), nil
}

// covers reports whether the pattern covers a name given in upper case.
func (p functionPattern) covers(folded string) bool { return glob(p, folded) }

// vouches is for rules that let a function of the account's own be called: by
// its full name as Snowflake tells names apart. A star does not stand for a
// schema or a database here.
func (p functionPattern) vouches(name string) bool {
	return strings.Count(strings.Join(p, "*"), ".") == 2 && strings.Count(name, ".") == 2 && glob(p, name)
}

// ownFunction reports whether a function's name is one of the account's own:
// its full name, and not of Snowflake's database.
func ownFunction(name string) bool {
	return strings.Count(name, ".") >= 2 && !strings.HasPrefix(fold(name), "SNOWFLAKE.")
}
