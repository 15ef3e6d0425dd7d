// Package ast is the tree of a Snowflake SQL statement: a closed set of nodes,
// each with its place in the source, each able to print itself.
//
// Closed means: every node type is one of the categories below, [Children]
// knows its parts, and the printer knows its text; a test holds all three
// against the types of this package, so a node that somebody forgets fails the
// build and not an audit. Printing is canonical: keywords in upper case, single
// spaces, no comments, strings escaped in one way only. What the printer writes
// parses to the same tree again.
//
// A place where a relation can stand always has the type [Relation]. That is
// what lets a rewriter put a masked subquery where a table stood.
package ast

import (
	"strings"

	"querywarden/internal/snowsql/token"
)

// A Node is any part of the tree.
type Node interface {
	Pos() token.Pos // of its first byte
	End() token.Pos // after its last byte
	node()
}

// Span is a node's place in the source. Every node embeds it.
type Span struct{ From, To token.Pos }

// Pos returns the offset of the node's first byte.
func (s *Span) Pos() token.Pos { return s.From }

// End returns the offset after the node's last byte.
func (s *Span) End() token.Pos { return s.To }

func (*Span) node() {}

// A Statement is what can be sent to the warehouse on its own.
type Statement interface {
	Node
	statement()
}

// A Query yields rows: [Select], [SetOp], [Values], [Paren] or [With].
type Query interface {
	Node
	query()
}

// A Relation is what can stand in FROM.
type Relation interface {
	Node
	relation()
}

// An Expr yields a value.
type Expr interface {
	Node
	expr()
}

// Ident is an identifier: the text between its quotes, or as it was written.
type Ident struct {
	Span
	Name   string
	Quoted bool
}

// Fold returns the name as Snowflake stores it: unquoted identifiers are upper
// case (docs.snowflake.com/en/sql-reference/identifiers-syntax).
func (i *Ident) Fold() string {
	if i.Quoted {
		return i.Name
	}
	return strings.ToUpper(i.Name)
}

// NewIdent makes an identifier for a name as Snowflake stores it.
func NewIdent(stored string) *Ident { return &Ident{Name: stored, Quoted: true} }

// ObjectName is a name of one to three parts; an empty part, as in db..t, is
// nil. Function is the other way to write one: IDENTIFIER('…').
type ObjectName struct {
	Span
	Parts []*Ident
	// Dynamic is the argument of IDENTIFIER(…), which may name anything.
	Dynamic Expr
}

// NewObjectName makes a name from its parts as Snowflake stores them.
func NewObjectName(stored ...string) *ObjectName {
	n := &ObjectName{}
	for _, s := range stored {
		n.Parts = append(n.Parts, NewIdent(s))
	}
	return n
}

// Fold returns the dotted name in stored case, without quotes; for messages
// and function look-ups, not for identity.
func (n *ObjectName) Fold() string {
	if len(n.Parts) == 1 && n.Parts[0] != nil {
		return n.Parts[0].Fold()
	}
	parts := make([]string, len(n.Parts))
	for i, p := range n.Parts {
		if p != nil {
			parts[i] = p.Fold()
		}
	}
	return strings.Join(parts, ".")
}
