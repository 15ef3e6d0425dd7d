// Package token holds the lexical tokens of Snowflake's SQL and the [Scanner]
// that finds them in a text.
//
// Sources: docs.snowflake.com/en/sql-reference/identifiers-syntax,
// …/literals-table, …/data-types-text (string constants, escape sequences,
// dollar-quoted strings) and …/querying-stage.
package token

import "strings"

// Pos is a byte offset into the source.
type Pos int32

// Position is a place as people count it.
type Position struct {
	Line   int // from 1
	Column int // in characters, from 1
}

// PositionOf counts lines and characters up to pos.
func PositionOf(src string, pos Pos) Position {
	before := src[:min(int(pos), len(src))]
	line := strings.Count(before, "\n") + 1
	start := strings.LastIndexByte(before, '\n') + 1
	column := 1
	for range before[start:] {
		column++
	}
	return Position{line, column}
}

// Kind is what a token is. The zero Kind is no token at all.
type Kind uint8

// The kinds of token.
const (
	Illegal Kind = iota
	EOF
	Ident       // an unquoted word: identifier or keyword
	QuotedIdent // "…"
	String      // '…'
	Dollar      // $$…$$
	Number      // 1, 1.5, .5, 1e10
	Positional  // $1
	Variable    // $name
	Stage       // @stage/path, @~/path, @%table/path
	Question    // ?
	LParen
	RParen
	LBracket
	RBracket
	LBrace
	RBrace
	Comma
	Semicolon
	Dot
	Colon
	DoubleColon // ::
	Assign      // :=
	Arrow       // ->
	FatArrow    // =>
	Pipe        // ->>
	Plus
	Minus
	Star
	Slash
	Percent
	Concat // ||
	Equal
	NotEqual // <> and !=
	Less
	Greater
	LessEqual
	GreaterEqual
	Bang // ! of a method
	numKinds
)

var kindNames = [numKinds]string{
	Illegal: "illegal character", EOF: "end of statement", Ident: "word", QuotedIdent: "quoted identifier", String: "string",
	Dollar: "dollar-quoted string", Number: "number", Positional: "positional column", Variable: "variable",
	Stage: "stage", Question: "?", LParen: "(", RParen: ")", LBracket: "[", RBracket: "]", LBrace: "{", RBrace: "}",
	Comma: ",", Semicolon: ";", Dot: ".", Colon: ":", DoubleColon: "::", Assign: ":=", Arrow: "->", FatArrow: "=>",
	Pipe: "->>", Plus: "+", Minus: "-", Star: "*", Slash: "/", Percent: "%", Concat: "||", Equal: "=", NotEqual: "<>",
	Less: "<", Greater: ">", LessEqual: "<=", GreaterEqual: ">=", Bang: "!",
}

// String returns the kind as an error message would have it.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return kindNames[Illegal]
}

// A Token is a piece of the source between two offsets. For an unquoted word
// that the grammar knows, Word is that word in upper case; for all other
// tokens it is empty.
type Token struct {
	Kind     Kind
	Pos, End Pos
	Word     string
}

// Text returns the token as it stands in the source.
func (t Token) Text(src string) string { return src[t.Pos:t.End] }
