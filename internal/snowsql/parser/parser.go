// Package parser reads Snowflake's SQL into the tree of package ast.
//
// It is a recursive-descent parser with one token of look-ahead and a place to
// go back to. What it does not know it refuses, with the place and what it
// expected: a gateway that runs only what it understood cannot skip a word.
// Any text ends in a tree or an [*Error]; nothing makes it panic or hang.
package parser

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// The limits on a text.
const (
	MaxSize  = 1 << 20 // bytes
	MaxDepth = 400     // nested expressions, queries, blocks
)

// A Code says what kind of error an [Error] is.
type Code uint8

// The codes.
const (
	Syntax             Code = iota // it does not follow the grammar
	Empty                          // there is no statement
	MultipleStatements             // there is more than one
	TooLarge                       // over MaxSize
	TooDeep                        // over MaxDepth
	InvalidText                    // not UTF-8, or it holds a NUL byte
)

// An Error says where a text could not be read, and why.
type Error struct {
	Code   Code
	Pos    token.Pos
	Line   int    // from 1
	Column int    // in characters, from 1
	Msg    string // "expected TABLE or VIEW, found CLUSTER"
	Hint   string // what to write instead, where a rule is known
}

// Error returns line:column: message.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg) }

// excerptWidth is how much of a long line Render shows, in bytes.
const excerptWidth = 120

// Render returns the message, the line it speaks of and a caret below the
// place.
func (e *Error) Render(src string) string {
	at := min(int(e.Pos), len(src))
	start := strings.LastIndexByte(src[:at], '\n') + 1
	end := strings.IndexByte(src[at:], '\n')
	if end < 0 {
		end = len(src)
	} else {
		end += at
	}
	if at-start > excerptWidth {
		start = at - excerptWidth
		for start < at && !utf8.RuneStart(src[start]) {
			start++
		}
	}
	if end-at > excerptWidth {
		end = at + excerptWidth
		for end > at && !utf8.RuneStart(src[end]) {
			end--
		}
	}
	line := strings.ToValidUTF8(src[start:end], "?")
	var pad strings.Builder
	for _, r := range strings.ToValidUTF8(src[start:at], "?") {
		if r == '\t' {
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
	}
	out := e.Error() + "\n" + strings.TrimRight(line, "\r") + "\n" + pad.String() + "^"
	if e.Hint != "" {
		out += "\n" + e.Hint
	}
	return out
}

// ParseStatement reads exactly one statement; a semicolon may follow it.
func ParseStatement(src string) (stmt ast.Statement, err error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	defer p.recover(&err)
	for p.accept(token.Semicolon) {
	}
	if p.tok.Kind == token.EOF {
		p.failAs(Empty, p.tok.Pos, "there is no statement")
	}
	stmt = p.statement()
	for p.accept(token.Semicolon) {
	}
	if p.tok.Kind == token.Illegal {
		p.expected("the end of the statement")
	}
	if p.tok.Kind != token.EOF {
		if p.src[p.last-1] != ';' {
			p.expected("the end of the statement")
		}
		p.failAs(MultipleStatements, p.tok.Pos, "a second statement begins here")
	}
	return stmt, nil
}

// ParseScript reads statements between semicolons.
func ParseScript(src string) (stmts []ast.Statement, err error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	defer p.recover(&err)
	for {
		for p.accept(token.Semicolon) {
		}
		if p.tok.Kind == token.EOF {
			return stmts, nil
		}
		stmts = append(stmts, p.statement())
		if p.tok.Kind != token.EOF && p.tok.Kind != token.Semicolon {
			p.expected("; or the end of the statement")
		}
	}
}

// ParseQuery reads a query and nothing else.
func ParseQuery(src string) (q ast.Query, err error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	defer p.recover(&err)
	q = p.query()
	p.accept(token.Semicolon)
	if p.tok.Kind != token.EOF {
		p.expected("the end of the query")
	}
	return q, nil
}

// ParseExpr reads an expression and nothing else.
func ParseExpr(src string) (x ast.Expr, err error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	defer p.recover(&err)
	x = p.expr()
	if p.tok.Kind != token.EOF {
		p.expected("the end of the expression")
	}
	return x, nil
}

// A parser reads one text. It reports an error by panicking with an *Error,
// which never leaves the package.
type parser struct {
	src   string
	scan  token.Scanner // behind the current token, or the one after it if ahead is set
	tok   token.Token   // the current token
	after token.Token   // the token after it, if ahead is set
	ahead bool
	last  token.Pos // the end of the token before
	depth int
	kept  []ast.Lexeme // of the lists of tokens being read, the innermost last
	base  int          // where the innermost begins

	literals []ast.Literal // allocated and not yet used
	slab     int           // how many to allocate next
}

func newParser(src string) (*parser, error) {
	switch i := strings.IndexByte(src, 0); {
	case len(src) > MaxSize:
		return nil, &Error{Code: TooLarge, Line: 1, Column: 1, Msg: fmt.Sprintf("more than %d bytes", MaxSize)}
	case !utf8.ValidString(src):
		return nil, &Error{Code: InvalidText, Line: 1, Column: 1, Msg: "the text is not UTF-8"}
	case i >= 0:
		at := token.PositionOf(src, token.Pos(i))
		return nil, &Error{Code: InvalidText, Pos: token.Pos(i), Line: at.Line, Column: at.Column, Msg: "the text holds a NUL byte"}
	}
	p := &parser{src: src, scan: *token.NewScanner(src), slab: 2}
	p.tok = p.scan.Next()
	return p, nil
}

func (p *parser) recover(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}

func (p *parser) failAs(code Code, pos token.Pos, format string, args ...any) {
	at := token.PositionOf(p.src, pos)
	panic(&Error{Code: code, Pos: pos, Line: at.Line, Column: at.Column, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) fail(message string) { p.failAs(Syntax, p.tok.Pos, "%s", message) }

// failHint fails with advice.
func (p *parser) failHint(hint, format string, args ...any) {
	at := token.PositionOf(p.src, p.tok.Pos)
	panic(&Error{Pos: p.tok.Pos, Line: at.Line, Column: at.Column, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// expected fails on the current token.
func (p *parser) expected(what string) {
	if p.tok.Kind == token.Illegal {
		again := p.scan
		again.Seek(p.tok.Pos)
		again.Next()
		p.failHint(p.hint(), "%s", again.Err())
	}
	p.failHint(p.hint(), "expected %s, found %s", what, p.found())
}

// found describes the current token.
func (p *parser) found() string {
	switch p.tok.Kind {
	case token.EOF:
		return "the end"
	case token.Ident, token.Number, token.Positional, token.Variable:
		return clip(p.tok.Text(p.src))
	case token.QuotedIdent, token.String, token.Dollar, token.Stage, token.Illegal:
		return p.tok.Kind.String() + " " + clip(p.tok.Text(p.src))
	default:
		return p.tok.Text(p.src)
	}
}

// clip shortens a token for a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// mark is a place to go back to.
type mark struct{ tok, last token.Pos }

func (p *parser) mark() mark { return mark{p.tok.Pos, p.last} }

func (p *parser) reset(m mark) {
	p.scan.Seek(m.tok)
	p.tok, p.ahead, p.last = p.scan.Next(), false, m.last
}

func (p *parser) next() {
	p.last = p.tok.End
	if p.ahead {
		p.tok, p.ahead = p.after, false
		return
	}
	p.tok = p.scan.Next()
}

// peek returns the token after the current one.
func (p *parser) peek() token.Token {
	if !p.ahead {
		p.after, p.ahead = p.scan.Next(), true
	}
	return p.after
}

// behind returns a scanner that stands behind the current token.
func (p *parser) behind() token.Scanner {
	s := p.scan
	s.Seek(p.tok.End)
	return s
}

// enter guards recursion; the caller defers leave.
func (p *parser) enter() {
	if p.depth++; p.depth > MaxDepth {
		p.failAs(TooDeep, p.tok.Pos, "nested more than %d deep", MaxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) accept(k token.Kind) bool {
	if p.tok.Kind == k {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(k token.Kind) token.Token {
	t := p.tok
	if t.Kind != k {
		p.expected(k.String())
	}
	p.next()
	return t
}

// at reports whether the current token is the word, which is in upper case
// and known to package token.
func (p *parser) at(word string) bool { return p.tok.Word == word && p.tok.Kind == token.Ident }

func (p *parser) atAny(words ...string) bool {
	for _, w := range words {
		if p.at(w) {
			return true
		}
	}
	return false
}

// acceptWord takes the words if they all follow.
func (p *parser) acceptWord(words ...string) bool {
	if !p.at(words[0]) {
		return false
	}
	if len(words) == 1 {
		p.next()
		return true
	}
	m := p.mark()
	for _, w := range words {
		if !p.at(w) {
			p.reset(m)
			return false
		}
		p.next()
	}
	return true
}

func (p *parser) expectWord(words ...string) {
	for _, w := range words {
		if !p.acceptWord(w) {
			p.expected(w)
		}
	}
}

// oneOf takes one of the words and returns it.
func (p *parser) oneOf(words ...string) string {
	for _, w := range words {
		if p.acceptWord(w) {
			return w
		}
	}
	p.expected(strings.Join(words, " or "))
	return ""
}

// from makes the span of a node that began at pos and ends before the current
// token.
func (p *parser) from(pos token.Pos) ast.Span { return ast.Span{From: pos, To: p.last} }

// identifier takes any identifier; words that the grammar reserves need
// quotes.
func (p *parser) identifier() *ast.Ident {
	p.needIdentifier()
	return p.anyWord()
}

// needIdentifier fails unless an identifier stands here.
func (p *parser) needIdentifier() {
	if p.isIdentifier() {
		return
	}
	if p.tok.Kind == token.Ident {
		hint := p.hint()
		if hint == "" {
			hint = "Put double quotes around it to use it as a name."
		}
		p.failHint(hint, "expected an identifier, found the reserved word %s", p.found())
	}
	p.expected("an identifier")
}

func (p *parser) isIdentifier() bool {
	return p.tok.Kind == token.QuotedIdent || p.tok.Kind == token.Ident && (p.tok.Word == "" || !token.Reserved(p.tok.Word))
}

func (p *parser) tryIdentifier() *ast.Ident {
	if !p.isIdentifier() {
		return nil
	}
	return p.anyWord()
}

// anyWord takes a word as a name even if it is reserved: behind a dot or AS it
// cannot be anything else.
func (p *parser) anyWord() *ast.Ident {
	id := &ast.Ident{}
	p.readWord(id)
	return id
}

func (p *parser) readWord(id *ast.Ident) {
	t := p.tok
	*id = ast.Ident{Span: ast.Span{From: t.Pos, To: t.End}, Name: t.Text(p.src)}
	switch t.Kind {
	case token.QuotedIdent:
		id.Quoted = true
		id.Name = strings.ReplaceAll(id.Name[1:len(id.Name)-1], `""`, `"`)
	case token.Ident:
	default:
		p.expected("an identifier")
	}
	p.next()
}

// Most names have one part. A name, a column and that part are one piece of
// memory then.
type (
	plainName struct {
		name  ast.ObjectName
		first ast.Ident
		parts [1]*ast.Ident
	}
	plainColumn struct {
		ref   ast.ColumnRef
		first ast.Ident
		parts [1]*ast.Ident
	}
)

// columnName takes an identifier where a column can stand alone: words that
// are reserved for joins name a column there.
// docs.snowflake.com/en/sql-reference/reserved-keywords
func (p *parser) columnName() *ast.Ident {
	if p.tok.Kind == token.Ident && token.NamesColumn(p.tok.Word) {
		return p.anyWord()
	}
	return p.identifier()
}

// relationName takes the name of a relation in FROM: words that are reserved
// for expressions name one there.
func (p *parser) relationName() *ast.ObjectName {
	if p.tok.Kind == token.Ident && token.NamesRelation(p.tok.Word) && p.peek().Kind != token.LParen {
		return p.plainName()
	}
	return p.objectName()
}

// objectName takes a, a.b, a.b.c, a..c or IDENTIFIER(…).
func (p *parser) objectName() *ast.ObjectName {
	if p.at("IDENTIFIER") && p.peek().Kind == token.LParen {
		start := p.tok.Pos
		n := &ast.ObjectName{}
		p.next()
		p.next()
		n.Dynamic = p.expr()
		p.expect(token.RParen)
		n.Span = p.from(start)
		return n
	}
	p.needIdentifier()
	return p.plainName()
}

// plainName takes a, a.b, a.b.c or a..c, whatever word a is.
func (p *parser) plainName() *ast.ObjectName {
	start := p.tok.Pos
	plain := &plainName{}
	p.readWord(&plain.first)
	plain.parts[0] = &plain.first
	n := &plain.name
	n.Parts = plain.parts[:]
	for p.tok.Kind == token.Dot {
		p.next()
		if p.tok.Kind == token.Dot && len(n.Parts) == 1 {
			n.Parts = append(n.Parts, nil)
			continue
		}
		n.Parts = append(n.Parts, p.anyWord())
	}
	if len(n.Parts) > 3 {
		p.failAs(Syntax, start, "a name has at most three parts")
	}
	n.Span = p.from(start)
	return n
}

// commaList reads one or more items between commas. Snowflake allows a comma
// behind the last where `end` follows.
func commaList[T any](p *parser, item func() T) []T {
	out := []T{item()}
	for p.accept(token.Comma) {
		out = append(out, item())
	}
	return out
}

// parens reads (item, …).
func parens[T any](p *parser, item func() T) []T {
	p.expect(token.LParen)
	out := commaList(p, item)
	p.expect(token.RParen)
	return out
}

// number takes an unsigned number as it is written.
func (p *parser) number() string { t := p.expect(token.Number); return t.Text(p.src) }

// stringLiteral takes a string in any of its forms.
func (p *parser) stringLiteral() *ast.Literal {
	t := p.tok
	var value string
	switch t.Kind {
	case token.String:
		value = p.unescape(t)
	case token.Dollar:
		text := t.Text(p.src)
		value = text[2 : len(text)-2]
	default:
		p.expected("a string")
	}
	p.next()
	return p.literal(t.Pos, ast.StringLiteral, value)
}

// mostLiterals is how many literals are allocated at once at most.
const mostLiterals = 128

// literal makes a literal that ends before the current token. Lists of
// thousands are common, so they are allocated in pieces.
func (p *parser) literal(start token.Pos, kind ast.LiteralKind, value string) *ast.Literal {
	if len(p.literals) == 0 {
		p.literals = make([]ast.Literal, p.slab)
		p.slab = min(2*p.slab, mostLiterals)
	}
	l := &p.literals[0]
	p.literals = p.literals[1:]
	*l = ast.Literal{Span: p.from(start), Kind: kind, Value: value}
	return l
}

// unescape resolves the escapes of '…'.
// docs.snowflake.com/en/sql-reference/data-types-text
func (p *parser) unescape(t token.Token) string {
	s := t.Text(p.src)
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		if strings.IndexByte(s, '\'') < 0 {
			return s
		}
		return strings.ReplaceAll(s, "''", "'")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			i++ // ''
			b.WriteByte('\'')
		case s[i] != '\\' || i+1 >= len(s):
			b.WriteByte(s[i])
		default:
			i++
			i += p.escape(&b, s[i:], t)
		}
	}
	return b.String()
}

// escape writes what the escape at the start of s stands for and returns how
// many bytes beyond its first it takes.
func (p *parser) escape(b *strings.Builder, s string, t token.Token) int {
	digits := func(from, most, base int) (rune, int) {
		var v rune
		n := 0
		for n < most && from+n < len(s) {
			d := hexValue(s[from+n])
			if d < 0 || d >= base {
				break
			}
			v, n = v*rune(base)+rune(d), n+1
		}
		return v, n
	}
	write := func(r rune) {
		if r == 0 || !utf8.ValidRune(r) {
			p.failAs(InvalidText, t.Pos, "an escape in this string stands for no character")
		}
		b.WriteRune(r)
	}
	switch s[0] {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'x':
		if r, n := digits(1, 2, 16); n == 2 {
			write(r)
			return 2
		}
		b.WriteByte('x')
	case 'u':
		if r, n := digits(1, 4, 16); n == 4 {
			write(r)
			return 4
		}
		b.WriteByte('u')
	case '0', '1', '2', '3', '4', '5', '6', '7':
		r, n := digits(0, 3, 8)
		write(r)
		return n - 1
	default:
		b.WriteByte(s[0])
	}
	return 0
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}
