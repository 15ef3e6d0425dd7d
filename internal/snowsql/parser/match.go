package parser

import (
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// matchRecognize reads MATCH_RECOGNIZE (…) behind a relation.
// docs.snowflake.com/en/sql-reference/constructs/match_recognize
func (p *parser) matchRecognize(source ast.Relation, start token.Pos) ast.Relation {
	p.expectWord("MATCH_RECOGNIZE")
	p.expect(token.LParen)
	m := &ast.MatchRecognize{Source: source}
	if p.acceptWord("PARTITION") {
		p.expectWord("BY")
		m.Partition = commaList(p, p.expr)
	}
	if p.acceptWord("ORDER") {
		p.expectWord("BY")
		m.OrderBy = commaList(p, p.orderItem)
	}
	if p.acceptWord("MEASURES") {
		m.Measures = commaList(p, p.measure)
	}
	m.Rows = p.rowsPerMatch()
	if p.acceptWord("AFTER") {
		p.expectWord("MATCH", "SKIP")
		switch {
		case p.acceptWord("PAST"):
			p.expectWord("LAST", "ROW")
			m.After = "SKIP PAST LAST ROW"
		default:
			p.expectWord("TO")
			m.After = "SKIP TO"
			if p.acceptWord("NEXT", "ROW") {
				m.After = "SKIP TO NEXT ROW"
				break
			}
			if p.atAny("FIRST", "LAST") && p.peek().Kind != token.Ident || !p.atAny("FIRST", "LAST") {
				m.AfterVar = p.identifier()
				break
			}
			m.After += " " + p.oneOf("FIRST", "LAST")
			m.AfterVar = p.identifier()
		}
	}
	p.expectWord("PATTERN")
	p.expect(token.LParen)
	m.Pattern = p.pattern()
	p.expect(token.RParen)
	if p.acceptWord("SUBSET") {
		m.Subsets = commaList(p, p.subset)
	}
	if p.acceptWord("DEFINE") {
		m.Define = commaList(p, p.patternVar)
	}
	p.expect(token.RParen)
	m.Alias = p.relationAlias()
	m.Span = p.from(start)
	return m
}

func (p *parser) measure() *ast.Measure {
	start := p.tok.Pos
	m := &ast.Measure{}
	if next := p.peek().Kind; p.atAny("FINAL", "RUNNING") && (next == token.Ident || next == token.QuotedIdent) {
		m.Semantics = p.tok.Word
		p.next()
	}
	m.Expr = p.expr()
	p.acceptWord("AS")
	m.Alias = p.anyWord()
	m.Span = p.from(start)
	return m
}

func (p *parser) rowsPerMatch() string {
	switch {
	case p.acceptWord("ONE", "ROW"):
		p.expectWord("PER", "MATCH")
		return "ONE ROW PER MATCH"
	case p.acceptWord("ALL", "ROWS"):
		p.expectWord("PER", "MATCH")
		switch {
		case p.acceptWord("SHOW", "EMPTY", "MATCHES"):
			return "ALL ROWS PER MATCH SHOW EMPTY MATCHES"
		case p.acceptWord("OMIT", "EMPTY", "MATCHES"):
			return "ALL ROWS PER MATCH OMIT EMPTY MATCHES"
		case p.acceptWord("WITH", "UNMATCHED", "ROWS"):
			return "ALL ROWS PER MATCH WITH UNMATCHED ROWS"
		}
		return "ALL ROWS PER MATCH"
	}
	return ""
}

// patternMarks are the characters that mean something in a pattern alone.
const patternMarks = "^$|"

// pattern keeps the regular expression over variables up to the parenthesis
// that closes it.
func (p *parser) pattern() *ast.Tokens {
	start, base := p.open()
	for depth := 0; ; {
		switch p.tok.Kind {
		case token.LParen:
			depth++
		case token.RParen:
			if depth--; depth < 0 {
				t := p.close(start, base)
				if t == nil {
					p.expected("a pattern")
				}
				return t
			}
		case token.Ident, token.QuotedIdent, token.Number, token.LBrace, token.RBrace, token.Comma, token.Star, token.Plus, token.Minus, token.Question:
		case token.Illegal:
			if !strings.Contains(patternMarks, p.tok.Text(p.src)) {
				p.expected("a pattern")
			}
		default:
			p.expected("a pattern")
		}
		p.keep(p.lexeme())
	}
}

func (p *parser) subset() *ast.Subset {
	start := p.tok.Pos
	s := &ast.Subset{Name: p.identifier()}
	p.expect(token.Equal)
	s.Of = parens(p, p.identifier)
	s.Span = p.from(start)
	return s
}

func (p *parser) patternVar() *ast.PatternVar {
	start := p.tok.Pos
	v := &ast.PatternVar{Name: p.identifier()}
	p.expectWord("AS")
	v.As = p.expr()
	v.Span = p.from(start)
	return v
}

// semanticView reads SEMANTIC_VIEW(name DIMENSIONS … METRICS … WHERE …).
// docs.snowflake.com/en/sql-reference/constructs/semantic_view
func (p *parser) semanticView(start token.Pos) ast.Relation {
	p.expectWord("SEMANTIC_VIEW")
	p.expect(token.LParen)
	s := &ast.SemanticView{Name: p.objectName()}
	for {
		switch {
		case p.atAny("DIMENSIONS", "METRICS", "FACTS"):
			clauseStart := p.tok.Pos
			c := &ast.SemanticClause{Verb: p.tok.Word}
			p.next()
			c.Items = commaList(p, p.semanticItem)
			c.Span = p.from(clauseStart)
			s.Clauses = append(s.Clauses, c)
			continue
		case p.at("WHERE") && s.Where == nil:
			p.next()
			s.WhereFirst = s.Clauses == nil
			s.Where = p.expr()
			continue
		}
		break
	}
	p.expect(token.RParen)
	s.Alias = p.relationAlias()
	s.Span = p.from(start)
	return s
}

// semanticItem reads an item of a clause. Without AS the word behind it may be
// the next clause's.
func (p *parser) semanticItem() *ast.SelectItem {
	if p.tok.Kind == token.Star {
		return p.selectItem()
	}
	item := &ast.SelectItem{Expr: p.expr()}
	if !p.atAny("DIMENSIONS", "METRICS", "FACTS") {
		item.Alias = p.alias()
	}
	item.Span = p.from(item.Expr.Pos())
	return item
}

// resample reads RESAMPLE (USING … INCREMENT BY …) behind a relation.
// docs.snowflake.com/en/sql-reference/constructs/resample
func (p *parser) resample(source ast.Relation, start token.Pos) ast.Relation {
	p.expectWord("RESAMPLE")
	p.expect(token.LParen)
	p.expectWord("USING")
	r := &ast.Resample{Source: source, Using: p.expr()}
	p.expectWord("INCREMENT", "BY")
	r.Increment = p.expr()
	if p.acceptWord("PARTITION") {
		p.expectWord("BY")
		r.Partition = commaList(p, p.expr)
	}
	if p.acceptWord("METADATA_COLUMNS") {
		r.Metadata = commaList(p, p.selectItem)
	}
	p.expect(token.RParen)
	r.Alias = p.relationAlias()
	r.Span = p.from(start)
	return r
}
