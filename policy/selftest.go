package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"querywarden/policy/mask"
)

// A test is one entry of a policy file's tests.
type test struct {
	name   string
	node   ast.Node // where it stands
	caller Caller
	do     Statement
	expect Verdict
	reason Code
	// masks by column, and filters; nil if the test does not say.
	masks   map[string]mask.Mask
	filters []string
	// approvers is what it takes for a person to say yes; nil if the test does
	// not say.
	approvers *expectedApproval
}

// An expectedApproval is what a test says of approvers; what it leaves out may
// be anything.
type expectedApproval struct {
	groups  []string
	quorum  int
	confirm *Confirm
}

// check says what is wrong with an approval, empty if nothing is.
func (e *expectedApproval) check(a *Approval) string {
	switch {
	case a == nil:
		return "expected approvers, decided none"
	case e.groups != nil && !slices.Equal(e.groups, a.Groups):
		return fmt.Sprintf("expected the approvers %q, decided %q", e.groups, a.Groups)
	case e.quorum > 0 && e.quorum != a.Quorum:
		return fmt.Sprintf("expected the quorum %d, decided %d", e.quorum, a.Quorum)
	case e.confirm != nil && *e.confirm != a.Confirm:
		return fmt.Sprintf("expected confirmation by %s, decided %s", *e.confirm, a.Confirm)
	default:
		return ""
	}
}

// A TestResult is how one of a policy file's tests went.
type TestResult struct {
	Name string
	Line int // where the test stands in the file
	// Wrong says what was decided instead; empty if the test passes.
	Wrong string
}

// Test runs the tests of the policy's file again and reports each. For a policy
// that [Parse] returned, all of them pass.
func (p *Policy) Test() []TestResult {
	if p == nil {
		return nil
	}
	results := make([]TestResult, len(p.tests))
	for i := range p.tests {
		results[i] = TestResult{Name: p.tests[i].name, Wrong: p.tests[i].run(p)}
		if at := position(p.tests[i].node); at != nil {
			results[i].Line = at.Line
		}
	}
	return results
}

// run says what is wrong with the policy by this test; empty if nothing is.
func (t *test) run(p *Policy) string {
	d := p.Decide(t.caller, t.do, time.Time{})
	if d.Verdict != t.expect {
		by := ""
		if len(d.Rules) > 0 {
			by = " by " + strings.Join(d.Rules, ", ")
		}
		return fmt.Sprintf("expected %s, decided %s%s (%s)", t.expect, d.Verdict, by, codes(d.Reasons))
	}
	if t.reason != "" && !slices.ContainsFunc(d.Reasons, func(r Reason) bool { return r.Code == t.reason }) {
		return fmt.Sprintf("expected the reason %s, decided %s for %s", t.reason, d.Verdict, codes(d.Reasons))
	}
	if t.masks != nil {
		if wrong := t.checkMasks(d.Masks); wrong != "" {
			return wrong
		}
	}
	if t.approvers != nil {
		if wrong := t.approvers.check(d.Approval); wrong != "" {
			return wrong
		}
	}
	if t.filters != nil {
		var have []string
		for _, f := range d.Filters {
			have = append(have, f.Where)
		}
		slices.Sort(have)
		if have = slices.Compact(have); !slices.Equal(have, t.filters) {
			return fmt.Sprintf("expected the filters %q, decided %q", t.filters, have)
		}
	}
	return ""
}

func (t *test) checkMasks(masks []ColumnMask) string {
	var missing []string
	for column := range t.masks {
		missing = append(missing, column)
	}
	for _, m := range masks {
		column := fold(m.Column)
		want, ok := t.masks[column]
		switch {
		case !ok:
			return fmt.Sprintf("expected %s in the clear, decided the mask %s", column, m.Mask)
		case want != m.Mask:
			return fmt.Sprintf("expected the mask %s on %s, decided %s", want, column, m.Mask)
		}
		missing = slices.DeleteFunc(missing, func(c string) bool { return c == column })
	}
	if len(missing) > 0 {
		column := slices.Min(missing)
		return fmt.Sprintf("expected the mask %s on %s, decided none", t.masks[column], column)
	}
	return ""
}

func codes(reasons []Reason) string {
	set := map[Code]bool{}
	for _, r := range reasons {
		set[r.Code] = true
	}
	var words []string
	for _, c := range slices.Sorted(maps.Keys(set)) {
		words = append(words, string(c))
	}
	return strings.Join(words, ", ")
}

// test reads one entry of tests. Callers are agents unless it says otherwise.
func (d *decoder) test(n ast.Node) test {
	t := test{node: n, caller: Caller{Issuer: "test", Subject: "test", Kind: Agent}}
	d.object(n, "a test", []string{"name", "as", "do", "expect"},
		field{"name", func(n ast.Node) { t.name = d.text(n, "name") }},
		field{"as", func(n ast.Node) { d.caller(n, &t.caller) }},
		field{"do", func(n ast.Node) {
			accesses, class, err := parseDo(d.text(n, "do"))
			if err != nil {
				d.fail(n, "do: %s", err)
			}
			t.do.Accesses, t.do.Class = accesses, class
		}},
		field{"calls", func(n ast.Node) {
			t.do.Functions = d.texts(n, "calls")
			t.do.Effects = t.do.Functions
		}},
		field{"conversation", func(n ast.Node) {
			d.name(n, "conversation", []string{"present"})
			t.do.Conversation = true
		}},
		field{"expect", func(n ast.Node) { t.expect = Verdict(d.name(n, "verdict", verdictNames[:])) }},
		field{"reason", func(n ast.Node) { t.reason = Code(d.text(n, "reason")) }},
		field{"masks", func(n ast.Node) { t.masks = d.expectedMasks(n) }},
		field{"filters", func(n ast.Node) {
			t.filters = d.texts(n, "filters")
			slices.Sort(t.filters)
		}},
		field{"approvers", func(n ast.Node) { t.approvers = d.expectedApproval(n) }},
	)
	return t
}

func (d *decoder) expectedApproval(n ast.Node) *expectedApproval {
	e := &expectedApproval{}
	d.object(n, "approvers", nil,
		field{"groups", func(n ast.Node) {
			e.groups = d.texts(n, "groups")
			slices.Sort(e.groups)
		}},
		field{"quorum", func(n ast.Node) { e.quorum = int(d.integer(n, "quorum", maxQuorum)) }},
		field{"confirm", func(n ast.Node) {
			c := Confirm(d.name(n, "way to confirm", confirmNames[:]))
			e.confirm = &c
		}},
	)
	return e
}

func (d *decoder) caller(n ast.Node, c *Caller) {
	d.object(n, "as", nil,
		field{"groups", func(n ast.Node) { c.Groups = d.texts(n, "groups") }},
		field{"user", func(n ast.Node) {
			u := d.user(n)
			c.Email = u.email
			if u.subject != "" {
				c.Issuer, c.Subject = u.issuer, u.subject
			}
		}},
		field{"kind", func(n ast.Node) { c.Kind = CallerKind(1 + d.name(n, "kind", callerKindNames[1:])) }},
	)
}

// expectedMasks reads a mapping of columns to masks. Its keys are not known
// beforehand.
func (d *decoder) expectedMasks(n ast.Node) map[string]mask.Mask {
	masks := map[string]mask.Mask{}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(n, "masks must be a mapping of columns to masks")
	}
	for _, v := range values {
		column := d.text(v.Key, "a column")
		masks[fold(column)] = d.maskWord(v.Value)
	}
	return masks
}

// parseDo reads what a test does: accesses after commas, each a class and an
// object with the columns it touches, "read shop.public.customers(email,
// ssn#pii)". The class may be left out where it is the one before; a word after
// # is a label of the column. A class alone is a statement without objects. The
// statement's class is the first.
func parseDo(s string) ([]Access, Class, error) {
	var accesses []Access
	var first, class Class
	for rest := strings.TrimSpace(s); ; {
		word, after, _ := strings.Cut(rest, " ")
		var c Class
		if err := c.UnmarshalText([]byte(word)); err == nil && c != Unknown {
			class, rest = c, strings.TrimSpace(after)
		} else if class == Unknown {
			return nil, Unknown, fmt.Errorf("it begins with a class; %s", suggest(word, classNames[1:]))
		}
		if first == Unknown {
			if first = class; rest == "" {
				return nil, first, nil
			}
		}
		a, after, err := parseAccess(class, rest)
		if err != nil {
			return nil, Unknown, err
		}
		accesses = append(accesses, a)
		if after == "" {
			return accesses, first, nil
		}
		var ok bool
		if rest, ok = strings.CutPrefix(after, ","); !ok {
			return nil, Unknown, fmt.Errorf("expected a comma before %q", after)
		}
		rest = strings.TrimSpace(rest)
	}
}

// parseAccess reads an object and its columns from the beginning of s and
// returns what follows.
func parseAccess(class Class, s string) (Access, string, error) {
	a := Access{Class: class}
	if kind, rest, ok := strings.Cut(s, ":"); ok && strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz ") == "" && kind != "" {
		a.Object.Kind, s = ObjectKind(kind), rest
	}
	parts, rest, err := parseParts(s)
	if err != nil {
		return a, "", fmt.Errorf("%q: %w", s, err)
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		if p.starred() {
			return a, "", fmt.Errorf("%q: a test names one object, without stars", s)
		}
		names[i] = p.exact[0]
	}
	kind := [...]ObjectKind{1: DatabaseObject, 2: SchemaObject, 3: TableObject}
	switch o := &a.Object; len(names) {
	case 1:
		o.Name = names[0]
	case 2:
		o.Database, o.Name = names[0], names[1]
	case 3:
		o.Database, o.Schema, o.Name = names[0], names[1], names[2]
	default:
		return a, "", fmt.Errorf("%q: an object has database.schema.object at most", s)
	}
	if a.Object.Kind == "" {
		a.Object.Kind = kind[len(names)]
	}
	rest = strings.TrimSpace(rest)
	list, ok := strings.CutPrefix(rest, "(")
	if !ok {
		return a, rest, nil
	}
	for {
		var c Column
		if c, list, err = parseColumn(list); err != nil {
			return a, "", err
		}
		a.Columns = append(a.Columns, c)
		if after, ok := strings.CutPrefix(list, ")"); ok {
			return a, strings.TrimSpace(after), nil
		}
		if list, ok = strings.CutPrefix(list, ","); !ok {
			return a, "", fmt.Errorf("the columns of %s are not closed", a.Object)
		}
	}
}

// parseColumn reads a column and its labels. It has some type: one without
// would be masked whatever the policy says.
func parseColumn(s string) (Column, string, error) {
	p, rest, err := parsePart(strings.TrimSpace(s))
	if err != nil || p.starred() {
		return Column{}, "", fmt.Errorf("%q does not begin with a column's name", strings.TrimSpace(s))
	}
	c := Column{Name: p.exact[0], Type: "VARCHAR"}
	for strings.HasPrefix(rest, "#") {
		end := 1
		for end < len(rest) && !strings.ContainsRune("#,() ", rune(rest[end])) {
			end++
		}
		c.Labels = append(c.Labels, rest[1:end])
		rest = rest[end:]
	}
	return c, strings.TrimSpace(rest), nil
}
