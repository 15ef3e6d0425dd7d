package parser

import (
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// Options of a statement are kept as tokens, but for what in them names an
// object or computes something: that is read as what it is. So no table, no
// policy and no query is out of sight, and options that Snowflake adds
// tomorrow are read today.

// A shape is what follows the words of an [option].
type shape uint8

const (
	shapeNames  shape = iota // a name, or several between commas, perhaps in parentheses
	shapeTags                // names, each perhaps with = 'value'
	shapeExpr                // an expression
	shapeKeys                // expressions in parentheses
	shapeCall                // (statement)
	shapeAction              // a statement
)

// An option is a run of words among the tokens of a statement.
type option struct {
	words []string
	kind  string // of the objects that are named
	shape shape
}

// options are the words that a part of its own follows, by the first of them.
// docs.snowflake.com/en/sql-reference/sql-ddl-summary
var options = func() map[string][]option {
	m := map[string][]option{}
	add := func(s shape, kind string, lines ...string) {
		for _, line := range lines {
			words := strings.Fields(line)
			o := option{words: words, kind: kind, shape: s}
			if kind == "" {
				o.kind = strings.Join(words, " ")
			}
			m[words[0]] = append(m[words[0]], o)
		}
	}
	add(shapeNames, "", "MASKING POLICY", "PROJECTION POLICY", "ROW ACCESS POLICY", "AGGREGATION POLICY", "JOIN POLICY", "SESSION POLICY",
		"PASSWORD POLICY", "AUTHENTICATION POLICY", "PRIVACY POLICY", "PACKAGES POLICY", "STORAGE LIFECYCLE POLICY", "FEATURE POLICY",
		"NETWORK POLICY", "BACKUP POLICY", "SNAPSHOT POLICY", "DATABASE ROLE", "APPLICATION ROLE", "SERVICE ROLE", "COMPUTE POOL", "DATA METRIC FUNCTION")
	add(shapeNames, "TABLE", "REFERENCES", "ON TABLE", "ON EXTERNAL TABLE", "ON DYNAMIC TABLE", "ON EVENT TABLE", "ON ICEBERG TABLE", "TO TABLE")
	add(shapeNames, "VIEW", "ON VIEW", "ON MATERIALIZED VIEW", "ON SEMANTIC VIEW")
	add(shapeNames, "STAGE", "ON STAGE")
	add(shapeNames, "SCHEMA", "IN SCHEMA", "ON SCHEMA")
	add(shapeNames, "DATABASE", "IN DATABASE", "ON DATABASE")
	add(shapeNames, "WAREHOUSE", "ON WAREHOUSE", "WAREHOUSE =", "QUERY_WAREHOUSE =", "DEFAULT_WAREHOUSE =")
	add(shapeNames, "ROLE", "TO ROLE", "FROM ROLE", "DEFAULT_ROLE =")
	add(shapeNames, "USER", "TO USER", "FROM USER", "ON USER")
	add(shapeNames, "SHARE", "TO SHARE", "FROM SHARE")
	add(shapeNames, "INTEGRATION", "ON INTEGRATION", "INTEGRATION =", "STORAGE_INTEGRATION =", "API_INTEGRATION =", "NOTIFICATION_INTEGRATION =",
		"ERROR_INTEGRATION =", "SUCCESS_INTEGRATION =", "SECURITY_INTEGRATION =", "CATALOG_INTEGRATION =", "EXTERNAL_ACCESS_INTEGRATIONS =")
	add(shapeNames, "FILE FORMAT", "FORMAT_NAME =")
	add(shapeNames, "EXTERNAL VOLUME", "EXTERNAL_VOLUME =")
	add(shapeNames, "COMPUTE POOL", "COMPUTE_POOL =")
	add(shapeNames, "NETWORK POLICY", "NETWORK_POLICY =")
	add(shapeNames, "NETWORK RULE", "ALLOWED_NETWORK_RULE_LIST =", "BLOCKED_NETWORK_RULE_LIST =", "ALLOWED_NETWORK_RULES =")
	add(shapeNames, "RESOURCE MONITOR", "RESOURCE_MONITOR =")
	add(shapeNames, "SECRET", "GIT_CREDENTIALS =", "ALLOWED_AUTHENTICATION_SECRETS =")
	add(shapeNames, "TASK", "AFTER", "FINALIZE =")
	add(shapeNames, "DATABASE", "AS REPLICA OF")
	add(shapeTags, "TAG", "TAG")
	add(shapeExpr, "EXPR", "WHEN", "DEFAULT")
	add(shapeKeys, "KEYS", "CLUSTER BY", "PARTITION BY", "CHECK")
	add(shapeCall, "CALL", "EXISTS", "REFRESH USING")
	add(shapeAction, "ACTION", "AS")
	return m
}()

// rest keeps the tokens up to the end of the statement, nil if there are none.
func (p *parser) rest() *ast.Tokens { return p.tokens(func() bool { return false }) }

// needRest is like rest where something has to follow.
func (p *parser) needRest(what string) *ast.Tokens {
	t := p.rest()
	if t == nil {
		p.expected(what)
	}
	return t
}

// privileges keeps what GRANT and REVOKE speak of. There alone, SELECT is the
// name of a privilege.
func (p *parser) privileges() *ast.Tokens {
	start, base := p.open()
	for !p.atAny("ON", "TO", "FROM") {
		switch p.tok.Kind {
		case token.Ident, token.QuotedIdent, token.Comma, token.Dot, token.LParen, token.RParen:
		default:
			p.expected("ON, TO or FROM")
		}
		if !p.option() {
			p.keep(p.lexeme())
		}
	}
	if len(p.kept) == p.base {
		p.expected("privileges or roles")
	}
	p.keep(p.needRest("whom").List...)
	return p.close(start, base)
}

// open begins a list of tokens; close ends it and returns it, nil if it is
// empty. One list may stand inside of a part of another.
func (p *parser) open() (start token.Pos, base int) {
	base, p.base = p.base, len(p.kept)
	return p.tok.Pos, base
}

func (p *parser) close(start token.Pos, base int) *ast.Tokens {
	var t *ast.Tokens
	if len(p.kept) > p.base {
		t = &ast.Tokens{Span: p.from(start), List: slices.Clone(p.kept[p.base:])}
	}
	clear(p.kept[p.base:])
	p.kept, p.base = p.kept[:p.base], base
	return t
}

func (p *parser) keep(l ...ast.Lexeme) { p.kept = append(p.kept, l...) }

// tokens keeps tokens until one, outside of parentheses, at which stop says
// so, or the statement ends.
func (p *parser) tokens(stop func() bool) *ast.Tokens {
	start, base := p.open()
	for depth := 0; ; {
		switch p.tok.Kind {
		case token.EOF, token.Semicolon, token.Pipe:
			if depth > 0 {
				p.expected(")")
			}
			return p.close(start, base)
		case token.Illegal:
			p.expected("an option")
		case token.LParen:
			if p.peek().Word != "VALUES" && p.startsQuery() {
				p.keep(p.subqueryPart())
				continue
			}
			depth++
		case token.RParen:
			if depth--; depth < 0 {
				return p.close(start, base)
			}
		case token.Arrow: // in front of the body of a policy
			p.keep(p.lexeme())
			p.keep(ast.Lexeme{Part: p.expr()})
			continue
		}
		if depth == 0 && stop() {
			return p.close(start, base)
		}
		if p.option() {
			continue
		}
		if p.at("SELECT") {
			p.expected("an option")
		}
		p.keep(p.lexeme())
	}
}

// lexeme takes any token as it is. Words have no case; paths that stand
// without quotes do.
func (p *parser) lexeme() ast.Lexeme {
	t := p.tok
	switch t.Kind {
	case token.String, token.Dollar:
		return ast.Lexeme{Kind: token.String, Text: p.stringLiteral().Value}
	case token.QuotedIdent:
		return ast.Lexeme{Kind: t.Kind, Text: p.anyWord().Name}
	case token.Stage:
		return ast.Lexeme{Part: p.primary()}
	case token.Ident:
		if p.at("FILE") && strings.HasPrefix(p.src[t.End:], "://") {
			return p.path()
		}
		p.next()
		if t.Word != "" {
			return ast.Lexeme{Kind: t.Kind, Text: t.Word}
		}
		return ast.Lexeme{Kind: t.Kind, Text: strings.ToUpper(t.Text(p.src))}
	default:
		p.next()
		return ast.Lexeme{Kind: t.Kind, Text: t.Text(p.src)}
	}
}

// path takes file://… up to white space: the // in it is no comment.
// docs.snowflake.com/en/sql-reference/sql/put
func (p *parser) path() ast.Lexeme {
	start, end := int(p.tok.Pos), len(p.src)
	if i := strings.IndexAny(p.src[start:], " \t\r\n;"); i >= 0 {
		end = start + i
	}
	p.scan.Seek(token.Pos(end))
	p.tok.End, p.ahead = token.Pos(end), false
	p.next()
	return ast.Lexeme{Kind: token.Stage, Text: p.src[start:end]}
}

func (p *parser) subqueryPart() ast.Lexeme {
	start := p.tok.Pos
	p.expect(token.LParen)
	s := &ast.Subquery{Query: p.query()}
	p.expect(token.RParen)
	s.Span = p.from(start)
	return ast.Lexeme{Part: s}
}

// option keeps one of the options with the part behind it, and reports whether
// one stood here.
func (p *parser) option() bool {
	if p.tok.Kind != token.Ident {
		return false
	}
	for _, o := range options[p.tok.Word] {
		if p.readOption(o) {
			return true
		}
	}
	return false
}

func (p *parser) readOption(o option) bool {
	m, before := p.mark(), len(p.kept)
	giveUp := func() bool {
		p.reset(m)
		p.kept = p.kept[:before]
		return false
	}
	if o.shape == shapeExpr && before > p.base && (p.kept[before-1].Kind == token.Equal || p.kept[before-1].Kind == token.FatArrow) {
		return false // = DEFAULT is a value
	}
	for _, w := range o.words {
		if w == "=" && p.tok.Kind == token.Equal || w != "=" && p.at(w) {
			p.keep(p.lexeme())
			continue
		}
		return giveUp()
	}
	switch o.shape {
	case shapeNames:
		if strings.HasSuffix(o.kind, "POLICY") && p.tok.Kind == token.Equal {
			p.keep(p.lexeme())
		}
		if !p.refs(o.kind, false) {
			return giveUp()
		}
	case shapeTags:
		if !p.refs(o.kind, true) {
			return giveUp()
		}
	case shapeExpr:
		switch p.tok.Kind {
		case token.EOF, token.Semicolon, token.Comma, token.RParen:
			return giveUp()
		}
		p.keep(ast.Lexeme{Part: p.expr()})
	case shapeKeys:
		if p.tok.Kind != token.LParen && !p.at("LINEAR") {
			return giveUp()
		}
		p.keep(ast.Lexeme{Part: p.primary()})
	case shapeCall:
		if p.tok.Kind != token.LParen {
			return giveUp()
		}
		p.keep(p.lexeme())
		p.keep(ast.Lexeme{Part: p.statement()})
		if p.tok.Kind != token.RParen {
			p.expected(")")
		}
		p.keep(p.lexeme())
	case shapeAction:
		if !isStatement(p.tok) && !p.atAny("SELECT", "WITH") {
			return giveUp()
		}
		p.keep(ast.Lexeme{Part: p.statement()})
	default:
		return giveUp()
	}
	return true
}

// refs reads one name, or several between commas, perhaps in parentheses; with
// values, each may have one, as tags have.
func (p *parser) refs(kind string, values bool) bool {
	parens := p.tok.Kind == token.LParen
	if parens {
		p.keep(p.lexeme())
	}
	for {
		if !p.isIdentifier() {
			return false
		}
		start := p.tok.Pos
		ref := &ast.Ref{Kind: kind, Name: p.objectName()}
		ref.Span = p.from(start)
		p.keep(ast.Lexeme{Part: ref})
		if values && p.tok.Kind == token.Equal {
			p.keep(p.lexeme())
			if p.tok.Kind != token.String && p.tok.Kind != token.Dollar {
				return false
			}
			p.keep(p.lexeme())
		}
		if p.tok.Kind != token.Comma || !parens && !p.anotherRef(kind, values) {
			break
		}
		p.keep(p.lexeme())
	}
	if parens {
		if p.tok.Kind != token.RParen {
			return false
		}
		p.keep(p.lexeme())
	}
	return true
}

// anotherRef reports whether the comma here goes on with a list that has no
// parentheses: of tasks, or of tags.
func (p *parser) anotherRef(kind string, values bool) bool {
	next := p.peek().Kind
	return kind == "TASK" || values && (next == token.Ident || next == token.QuotedIdent) && !p.columnFollows()
}

// columnFollows reports whether the comma here ends the tags: what follows is
// no name with a value.
func (p *parser) columnFollows() bool {
	m := p.mark()
	defer p.reset(m)
	p.next()
	for p.tok.Kind == token.Ident || p.tok.Kind == token.QuotedIdent || p.tok.Kind == token.Dot {
		before := p.tok.Kind
		p.next()
		if before != token.Dot && p.tok.Kind != token.Dot {
			break
		}
	}
	return p.tok.Kind != token.Equal && p.tok.Kind != token.EOF && p.tok.Kind != token.Semicolon && p.tok.Kind != token.Comma
}

// argumentTypes keeps the types of a function's arguments, with their
// parentheses; nil if there are none.
func (p *parser) argumentTypes() *ast.Tokens {
	if p.tok.Kind != token.LParen {
		return nil
	}
	start, base := p.open()
	p.keep(p.lexeme())
	if inner := p.rest(); inner != nil {
		p.keep(inner.List...)
	}
	if p.tok.Kind != token.RParen {
		p.expected(")")
	}
	p.keep(p.lexeme())
	return p.close(start, base)
}
