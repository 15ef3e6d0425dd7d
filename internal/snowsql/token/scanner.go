package token

import "strings"

// A Scanner finds the tokens of a text, one after the other. What lies between
// two tokens is white space or a comment. It never fails: what it cannot read
// is an [Illegal] token, and [Scanner.Err] says why.
type Scanner struct {
	src string
	at  int
	err string
}

// NewScanner returns a scanner at the start of src.
func NewScanner(src string) *Scanner { return &Scanner{src: src} }

// Seek goes on at a place of the text, which a path without quotes ends at.
func (s *Scanner) Seek(at Pos) { s.at = int(at) }

// Err says what is wrong with the last [Illegal] token.
func (s *Scanner) Err() string { return s.err }

// Next returns the next token. After the end it returns [EOF] for ever.
func (s *Scanner) Next() Token {
	if !s.skip() {
		start := s.at
		s.at = len(s.src)
		return s.illegal(start, "comment is not closed")
	}
	start := s.at
	if start >= len(s.src) {
		return Token{Kind: EOF, Pos: Pos(start), End: Pos(start)}
	}
	c := s.src[start]
	switch class[c] {
	case letter:
		return s.identifier(start)
	case digit:
		return s.number(start)
	}
	one := func(k Kind) Token { return s.take(k, start, 1) }
	switch c {
	case '"':
		return s.quoted(start)
	case '\'':
		return s.str(start)
	case '$':
		return s.dollar(start)
	case '@':
		return s.stage(start)
	case '.':
		if s.class(start+1) == digit && !s.afterName(start) {
			return s.number(start)
		}
		return one(Dot)
	case '(':
		return one(LParen)
	case ')':
		return one(RParen)
	case '[':
		return one(LBracket)
	case ']':
		return one(RBracket)
	case '{':
		return one(LBrace)
	case '}':
		return one(RBrace)
	case ',':
		return one(Comma)
	case ';':
		return one(Semicolon)
	case '?':
		return one(Question)
	case '+':
		return one(Plus)
	case '*':
		return one(Star)
	case '/':
		return one(Slash)
	case '%':
		return one(Percent)
	case '-':
		switch {
		case s.has(start, "->>"):
			return s.take(Pipe, start, 3)
		case s.has(start, "->"):
			return s.take(Arrow, start, 2)
		}
		return one(Minus)
	case ':':
		switch {
		case s.has(start, "::"):
			return s.take(DoubleColon, start, 2)
		case s.has(start, ":="):
			return s.take(Assign, start, 2)
		}
		return one(Colon)
	case '|':
		if s.has(start, "||") {
			return s.take(Concat, start, 2)
		}
	case '=':
		if s.has(start, "=>") {
			return s.take(FatArrow, start, 2)
		}
		return one(Equal)
	case '<':
		switch {
		case s.has(start, "<>"):
			return s.take(NotEqual, start, 2)
		case s.has(start, "<="):
			return s.take(LessEqual, start, 2)
		}
		return one(Less)
	case '>':
		if s.has(start, ">=") {
			return s.take(GreaterEqual, start, 2)
		}
		return one(Greater)
	case '!':
		if s.has(start, "!=") {
			return s.take(NotEqual, start, 2)
		}
		return one(Bang)
	}
	s.at++
	return s.illegal(start, "this character has no meaning here")
}

// take makes a token of n bytes.
func (s *Scanner) take(k Kind, start, n int) Token {
	s.at = start + n
	return Token{Kind: k, Pos: Pos(start), End: Pos(s.at)}
}

func (s *Scanner) illegal(start int, why string) Token {
	s.err = why
	return Token{Kind: Illegal, Pos: Pos(start), End: Pos(s.at)}
}

func (s *Scanner) has(at int, prefix string) bool { return strings.HasPrefix(s.src[at:], prefix) }

// The classes of bytes that scanning turns on.
const (
	other byte = iota
	letter
	digit
	space
)

// class sorts bytes. Everything past ASCII counts as a letter: Snowflake takes
// Unicode letters in identifiers, and the parser has checked that the text is
// UTF-8.
var class = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0x80:
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit
		case c == ' ', c == '\t', c == '\n', c == '\r', c == '\f', c == '\v':
			t[c] = space
		}
	}
	return t
}()

func (s *Scanner) class(at int) byte {
	if at >= len(s.src) {
		return other
	}
	return class[s.src[at]]
}

// skip passes white space and comments: `--`, `//` and `/* */`, which do not
// nest. It reports false at a comment that is never closed.
func (s *Scanner) skip() bool {
	for s.at < len(s.src) {
		c := s.src[s.at]
		switch {
		case class[c] == space:
			s.at++
		case c == 0xC2 && s.has(s.at, "\u00a0"):
			s.at += 2 // a no-break space, as pasted from web pages
		case c == 0xEF && s.has(s.at, "\ufeff"):
			s.at += 3
		case c == '-' && s.has(s.at, "--"), c == '/' && s.has(s.at, "//"):
			end := strings.IndexByte(s.src[s.at:], '\n')
			if end < 0 {
				s.at = len(s.src)
				return true
			}
			s.at += end + 1
		case c == '/' && s.has(s.at, "/*"):
			end := strings.Index(s.src[s.at+2:], "*/")
			if end < 0 {
				return false
			}
			s.at += 2 + end + 2
		default:
			return true
		}
	}
	return true
}

func (s *Scanner) identifier(start int) Token {
	i, h := start, uint32(0)
	for i < len(s.src) {
		c := s.src[i]
		if class[c] != letter && class[c] != digit && c != '$' || c >= 0x80 && (s.has(i, "\u00a0") || s.has(i, "\ufeff")) {
			break
		}
		h = step(h, c)
		i++
	}
	t := s.take(Ident, start, i-start)
	t.Word = lookup(s.src[start:i], h)
	return t
}

// afterName reports whether the dot at i follows a name directly, as in
// `t.1`, which no identifier is, and `$1.5`.
func (s *Scanner) afterName(i int) bool {
	return i > 0 && (class[s.src[i-1]] == letter || class[s.src[i-1]] == digit || s.src[i-1] == '"' || s.src[i-1] == ')')
}

func (s *Scanner) number(start int) Token {
	i := start
	digits := func() {
		for s.class(i) == digit {
			i++
		}
	}
	digits()
	if i < len(s.src) && s.src[i] == '.' {
		i++
		digits()
	}
	if i < len(s.src) && (s.src[i] == 'e' || s.src[i] == 'E') {
		j := i + 1
		if j < len(s.src) && (s.src[j] == '+' || s.src[j] == '-') {
			j++
		}
		if s.class(j) == digit {
			i = j
			digits()
		}
	}
	return s.take(Number, start, i-start)
}

func (s *Scanner) quoted(start int) Token {
	for i := start + 1; i < len(s.src); i++ {
		if s.src[i] != '"' {
			continue
		}
		if i+1 < len(s.src) && s.src[i+1] == '"' {
			i++
			continue
		}
		if i == start+1 {
			s.at = i + 1
			return s.illegal(start, "quoted identifier is empty")
		}
		return s.take(QuotedIdent, start, i+1-start)
	}
	s.at = len(s.src)
	return s.illegal(start, "quoted identifier is not closed")
}

// str scans '…' with ” and backslash escapes.
func (s *Scanner) str(start int) Token {
	for i := start + 1; i < len(s.src); i++ {
		switch s.src[i] {
		case '\\':
			i++
		case '\'':
			if i+1 < len(s.src) && s.src[i+1] == '\'' {
				i++
				continue
			}
			return s.take(String, start, i+1-start)
		}
	}
	s.at = len(s.src)
	return s.illegal(start, "string is not closed")
}

// dollar scans $$…$$, $1 and $name.
func (s *Scanner) dollar(start int) Token {
	if s.has(start, "$$") {
		end := strings.Index(s.src[start+2:], "$$")
		if end < 0 {
			s.at = len(s.src)
			return s.illegal(start, "dollar-quoted string is not closed")
		}
		return s.take(Dollar, start, 2+end+2)
	}
	i := start + 1
	switch s.class(i) {
	case digit:
		for s.class(i) == digit {
			i++
		}
		return s.take(Positional, start, i-start)
	case letter:
		for s.class(i) == letter || s.class(i) == digit {
			i++
		}
		return s.take(Variable, start, i-start)
	}
	s.at++
	return s.illegal(start, "a name or a number has to follow $")
}

// stage scans @stage/path. A path ends at white space or at a character that
// a statement could go on with; quoted parts may hold anything. Where a path
// holds what begins a comment, two readers might not agree on its end: such
// a path has to stand in quotes.
func (s *Scanner) stage(start int) Token {
	i := start + 1
	for i < len(s.src) {
		switch c := s.src[i]; {
		case c == '"':
			end := strings.IndexByte(s.src[i+1:], '"')
			if end < 0 {
				s.at = len(s.src)
				return s.illegal(start, "quoted identifier is not closed")
			}
			i += end + 2
			continue
		case s.has(i, "--"), s.has(i, "//"), s.has(i, "/*"):
			s.at = i
			return s.illegal(start, "put a location with --, // or /* in it into single quotes")
		case class[c] == letter, class[c] == digit, strings.IndexByte("~%./-$=+*{}?&#:\\", c) >= 0:
			i++
			continue
		}
		break
	}
	if i == start+1 {
		s.at++
		return s.illegal(start, "a stage has to follow @")
	}
	return s.take(Stage, start, i-start)
}
