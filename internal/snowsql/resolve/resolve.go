// Package resolve finds out what a statement speaks of: which objects of the
// catalog its names mean, which of their columns it touches, which functions
// it calls. It produces the facts that policy decides on ([policy.Statement])
// and the places that the rewriter masks ([Ref]).
//
// Resolving writes every table's full name into the tree, so that what runs
// does not hang on a session's state. What cannot be resolved, or not judged
// safely, becomes a problem of the statement, which policy denies.
//
// Where Snowflake's rules leave room (an alias or a column of the same name,
// two tables with a column each), every reading is taken: all that the
// statement might touch counts as touched. A mistake here can refuse an honest
// statement or mask too much; it cannot show a value, because masks stand at
// the source and a name that was not resolved has no source.
package resolve

import (
	"fmt"
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/policy"
)

// Context is where unqualified names are looked for, and what the caller sees.
type Context struct {
	Database, Schema string
	// Sees reports whether a table exists for the caller. Without it, nothing
	// is told of what there is.
	Sees func(policy.Table) bool
}

// A Resolution is a statement with its facts. The tree has been changed: names
// are full.
type Resolution struct {
	Tree      ast.Statement
	Statement policy.Statement
	// Refs are the places where rows of a table or view come from.
	Refs []*Ref
	// Output are the columns of a query's result, nil for other statements.
	Output []Column
	// Missing is the first table that the catalog does not have, as its name
	// stands without database and schema; empty if there is none.
	Missing string
	// Written are the columns that the statement puts values into, with what
	// these come from.
	Written []Written
	// Stored are the values that the statement writes over existing ones.
	Stored []Column
}

// A Ref is one reference to a table or view.
type Ref struct {
	Table *policy.Table
	// Slot is where the reference stands in the tree; nil where rows come
	// straight from the object and no subquery can stand in for it.
	Slot *ast.Relation
	// Alias is what the rest of the statement calls it.
	Alias *ast.Ident
	// Whole says that the statement takes all columns there are (*, PIVOT,
	// NATURAL JOIN). Those that the catalog knows have been touched; any other
	// has to be kept out.
	Whole bool
	// Target marks the object that a DML statement changes; Where is its
	// condition, which a row filter is added to.
	Target bool
	Where  *ast.Expr
	// Early says that a target's columns are looked at inside of FROM or USING,
	// in front of Where.
	Early bool
	// Inside are the references of a view's own query, Query that query with
	// Slots of its own. Both are nil for a table.
	Query  ast.Query
	Inside []*Ref
	// Yields are a view's columns as its query makes them.
	Yields []Column
	// Via is the outermost view through which the reference is made.
	Via *policy.Object
	// Opaque marks a view that hides its query, and so stands for itself.
	Opaque bool

	touched map[string]bool
	written []string
}

// At is the interval of AT or BEFORE that the reference asks for, nil without.
func (r *Ref) At() *ast.TimeTravel {
	if r.Slot == nil {
		return nil
	}
	if t, ok := (*r.Slot).(*ast.Table); ok {
		return t.At
	}
	return nil
}

// Touched returns the columns that are read through the reference, in the
// table's order.
func (r *Ref) Touched() []policy.Column {
	var cols []policy.Column
	for _, c := range r.Table.Columns {
		if r.touched[c.Name] {
			cols = append(cols, c)
		}
	}
	return cols
}

// A Column of a result, with the columns that its values come from.
type Column struct {
	Name    string
	Origins []Origin
	// Open stands for any number of columns that only the warehouse can name
	// (PIVOT): any name might be one of theirs.
	Open bool
	// Loose says that only the warehouse knows the column's place among its
	// neighbours: where * puts what USING has made one.
	Loose bool
}

// Written is a column that a statement writes.
type Written struct {
	Object  policy.Object
	Column  string
	Origins []Origin
}

// An Origin is a column of a reference.
type Origin struct {
	Ref    *Ref
	Column string
}

// resolver resolves one statement.
type resolver struct {
	catalog   *Catalog
	context   Context
	out       *Resolution
	functions map[string]bool
	effects   map[string]bool
	refs      *[]*Ref // where references are collected: the statement's, or a view's
	via       *policy.Object
	views     []*policy.Table // being expanded, against recursion
	expanded  *int            // views so far
	spent     *int            // columns of stars so far
}

// Resolve resolves a statement and changes it in place.
func Resolve(stmt ast.Statement, catalog *Catalog, context Context) *Resolution {
	out := &Resolution{Tree: stmt}
	out.Statement.Class, out.Statement.Command = Classify(stmt)
	r := &resolver{catalog: catalog, context: context, out: out, functions: map[string]bool{}, effects: map[string]bool{}, expanded: new(int), spent: new(int)}
	r.refs = &out.Refs
	r.statement(stmt)
	r.collect(out.Refs)
	if files := func(a policy.Access) bool { return a.Class == policy.Stage }; out.Statement.Class == policy.Read && slices.ContainsFunc(out.Statement.Accesses, files) {
		out.Statement.Class = policy.Stage
	}
	for f := range r.functions {
		out.Statement.Functions = append(out.Statement.Functions, f)
	}
	for f := range r.effects {
		out.Statement.Effects = append(out.Statement.Effects, f)
	}
	slices.Sort(out.Statement.Functions)
	slices.Sort(out.Statement.Effects)
	return out
}

// collect turns references into accesses.
func (r *resolver) collect(refs []*Ref) {
	for _, ref := range refs {
		a := policy.Access{Class: policy.Read, Object: ref.Table.Object, Via: ref.Via}
		if ref.Table.Kind == policy.StageObject {
			a.Class = policy.Stage // a rule that opens tables says nothing of files
		}
		a.Columns, a.Rows, a.Opaque = ref.Touched(), ref.Table.Rows, ref.Opaque
		if ref.Target {
			// The target's access was made with the statement; what it reads
			// of the target is added to it.
			for i := range r.out.Statement.Accesses {
				t := &r.out.Statement.Accesses[i]
				if t.Object == ref.Table.Object && t.Class == policy.Modify {
					t.Columns, t.Rows = a.Columns, a.Rows
				}
			}
			continue
		}
		r.out.Statement.Accesses = append(r.out.Statement.Accesses, a)
		r.collect(ref.Inside)
	}
}

func (r *resolver) problem(code policy.Code, next, format string, args ...any) {
	r.note(policy.Reason{Code: code, Sentence: fmt.Sprintf(format, args...), Next: next})
}

// note adds a problem unless it is there already.
func (r *resolver) note(p policy.Reason) {
	if !slices.Contains(r.out.Statement.Problems, p) {
		r.out.Statement.Problems = append(r.out.Statement.Problems, p)
	}
}

func (r *resolver) unsupported(what, next string) {
	r.problem(policy.CodeUnsupported, next, "The gateway does not run %s.", what)
}

// fullName completes a name from the context. It reports false, with a
// problem, for names that only the warehouse could resolve.
func (r *resolver) fullName(n *ast.ObjectName) (name, bool) {
	if n.Dynamic != nil {
		r.unsupported("IDENTIFIER(…)", "Write the name itself.")
		return name{}, false
	}
	full := name{r.context.Database, r.context.Schema, ""}
	switch parts := n.Parts; len(parts) {
	case 1:
		full.object = parts[0].Fold()
	case 2:
		full.schema, full.object = fold(parts[0], "PUBLIC"), fold(parts[1], "")
	case 3:
		full.database, full.schema, full.object = fold(parts[0], ""), fold(parts[1], "PUBLIC"), fold(parts[2], "")
	}
	if full.database == "" || full.schema == "" || full.object == "" {
		r.problem(policy.CodeObjectUnknown, "Write the name as database.schema.table.", "The name %s is not complete.", n.Fold())
		return name{}, false
	}
	n.Parts = []*ast.Ident{at(n, full.database), at(n, full.schema), at(n, full.object)}
	return full, true
}

// fold returns an identifier's stored name, or what the missing part of db..t
// means.
func fold(i *ast.Ident, missing string) string {
	if i == nil {
		return missing
	}
	return i.Fold()
}

// at makes an identifier in the place of a node.
func at(n ast.Node, stored string) *ast.Ident {
	id := ast.NewIdent(stored)
	id.Span = ast.Span{From: n.Pos(), To: n.End()}
	return id
}

// table finds the table or view that a name means and makes the name full.
func (r *resolver) table(n *ast.ObjectName) *policy.Table {
	full, ok := r.fullName(n)
	if !ok {
		return nil
	}
	if t := r.catalog.Lookup(full.database, full.schema, full.object); t != nil {
		return t
	}
	if full.schema == "INFORMATION_SCHEMA" || full.database == "SNOWFLAKE" {
		r.problem(policy.CodeUnsupported, "Use the list_tables and describe_table tools.", "The gateway does not run queries over the account's own catalog.")
		return nil
	}
	if r.out.Missing == "" {
		r.out.Missing = full.object
	}
	// In the words that policy has for an object that is hidden.
	r.note(policy.ObjectUnknown(policy.Object{Database: full.database, Schema: full.schema, Name: full.object}))
	return nil
}

// access adds what the statement does to an object besides reading it.
func (r *resolver) access(class policy.Class, o policy.Object, columns ...policy.Column) {
	r.out.Statement.Accesses = append(r.out.Statement.Accesses, policy.Access{Class: class, Object: o, Columns: columns})
}

// objectKind is policy's word for Snowflake's kind of object.
func objectKind(kind string) policy.ObjectKind { return policy.ObjectKind(strings.ToLower(kind)) }
