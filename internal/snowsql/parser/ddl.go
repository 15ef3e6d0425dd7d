package parser

import (
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// objectKinds are the kinds of object that CREATE, ALTER, DROP, SHOW and
// DESCRIBE name, singular and, for SHOW, plural.
// docs.snowflake.com/en/sql-reference/sql-all
var objectKinds = func() map[string]bool {
	kinds := map[string]bool{}
	for _, k := range []string{
		"ACCOUNT", "AGGREGATION POLICY", "ALERT", "API INTEGRATION", "APPLICATION", "APPLICATION PACKAGE",
		"AUTHENTICATION POLICY", "CATALOG INTEGRATION", "COLUMN", "COMPUTE POOL", "CONNECTION", "CORTEX SEARCH SERVICE",
		"DATABASE", "DATABASE ROLE", "DYNAMIC TABLE", "EVENT TABLE", "EXTERNAL ACCESS INTEGRATION", "EXTERNAL FUNCTION",
		"EXTERNAL TABLE", "EXTERNAL VOLUME", "FAILOVER GROUP", "FILE FORMAT", "FUNCTION", "GIT REPOSITORY", "HYBRID TABLE",
		"ICEBERG TABLE", "IMAGE REPOSITORY", "INDEX", "INTEGRATION", "JOIN POLICY", "MANAGED ACCOUNT", "MASKING POLICY",
		"MATERIALIZED VIEW", "MODEL", "NETWORK POLICY", "NETWORK RULE", "NOTEBOOK", "NOTIFICATION INTEGRATION", "OBJECT",
		"ORGANIZATION ACCOUNT", "PACKAGES POLICY", "PASSWORD POLICY", "PIPE", "PRIVACY POLICY", "PROCEDURE",
		"PROJECTION POLICY", "REPLICATION GROUP", "RESOURCE MONITOR", "ROLE", "ROW ACCESS POLICY", "SCHEMA", "SECRET",
		"SECURITY INTEGRATION", "SEMANTIC VIEW", "SEQUENCE", "SERVICE", "SESSION", "SESSION POLICY", "SHARE", "SNAPSHOT",
		"STAGE", "STORAGE INTEGRATION", "STREAM", "STREAMLIT", "TABLE", "TAG", "TASK", "USER", "VIEW", "WAREHOUSE",
		"PARAMETER", "VARIABLE", "TRANSACTION", "LOCK", "GRANT", "PRIMARY KEY", "UNIQUE KEY", "IMPORTED KEY", "REGION",
		"USER FUNCTION", "USER PROCEDURE", "BUILTIN FUNCTION", "EXTERNAL FUNCTION", "REPLICATION DATABASE", "TERSE TABLE",
	} {
		kinds[k] = true
		kinds[plural(k)] = true
	}
	return kinds
}()

func plural(kind string) string {
	switch {
	case strings.HasSuffix(kind, "POLICY"), strings.HasSuffix(kind, "REPOSITORY"):
		return kind[:len(kind)-1] + "IES"
	case strings.HasSuffix(kind, "INDEX"):
		return kind + "ES"
	default:
		return kind + "S"
	}
}

// objectKind reads the longest kind of object that stands here.
func (p *parser) objectKind() string {
	m := p.mark()
	var best mark
	kind, words := "", ""
	for range 3 {
		if p.tok.Kind != token.Ident {
			break
		}
		words = strings.TrimPrefix(words+" "+strings.ToUpper(p.tok.Text(p.src)), " ")
		p.next()
		if objectKinds[words] {
			kind, best = words, p.mark()
		}
	}
	if kind == "" {
		p.reset(m)
		p.expected("a kind of object such as TABLE or VIEW")
	}
	p.reset(best)
	return kind
}

// kindAhead reports whether a kind and then a name stand here, rather than a
// name that is spelt like a kind.
func (p *parser) kindAhead() bool {
	m := p.mark()
	defer p.reset(m)
	if p.tok.Kind != token.Ident {
		return false
	}
	word := strings.ToUpper(p.tok.Text(p.src))
	p.next()
	return (p.tok.Kind == token.Ident || p.tok.Kind == token.QuotedIdent) && startsKind(word)
}

func startsKind(word string) bool {
	for k := range objectKinds {
		if k == word || strings.HasPrefix(k, word+" ") {
			return true
		}
	}
	return false
}

// modifiers are the words that may stand between CREATE and the kind.
var modifiers = []string{"LOCAL", "GLOBAL", "TEMPORARY", "TEMP", "VOLATILE", "TRANSIENT", "SECURE", "RECURSIVE", "AGGREGATE"}

func (p *parser) create() ast.Statement {
	start := p.tok.Pos
	p.expectWord("CREATE")
	c := &ast.Create{OrReplace: p.acceptWord("OR", "REPLACE")}
	if !c.OrReplace {
		c.OrAlter = p.acceptWord("OR", "ALTER")
	}
	for more := true; more; {
		more = false
		for _, m := range modifiers {
			if p.acceptWord(m) {
				c.Modifiers = append(c.Modifiers, m)
				more = true
			}
		}
	}
	c.Kind = p.objectKind()
	c.IfNotExists = p.acceptWord("IF", "NOT", "EXISTS")
	c.Name = p.objectName()
	if !c.IfNotExists {
		c.IfNotExists = p.acceptWord("IF", "NOT", "EXISTS")
	}
	if p.tok.Kind == token.LParen && (strings.HasSuffix(c.Kind, "TABLE") || strings.HasSuffix(c.Kind, "VIEW")) && c.Kind != "SEMANTIC VIEW" {
		c.Columns = parens(p, p.columnDef)
	}
	switch {
	case p.acceptWord("LIKE"):
		c.Like = p.objectName()
	case p.acceptWord("CLONE"):
		c.Clone = p.objectName()
		c.At = p.timeTravel()
	}
	c.Options = p.tokens(p.asQuery)
	if p.asQuery() {
		p.expectWord("AS")
		c.As = p.query()
	}
	c.Span = p.from(start)
	return c
}

// asQuery reports whether AS and a query stand here; AS '…' is a body.
func (p *parser) asQuery() bool {
	if !p.at("AS") {
		return false
	}
	m := p.mark()
	defer p.reset(m)
	p.next()
	return p.atAny("SELECT", "WITH", "VALUES") || p.tok.Kind == token.LParen && p.startsQuery()
}

// columnDef reads a column, or a constraint of the table.
func (p *parser) columnDef() *ast.ColumnDef {
	start := p.tok.Pos
	d := &ast.ColumnDef{}
	if !p.atAny("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK") {
		d.Name = p.identifier()
		d.Type = p.tryType()
	}
	for {
		switch {
		case p.acceptWord("NOT", "NULL"):
			d.NotNull = true
			continue
		case p.at("DEFAULT") && d.Default == nil:
			p.next()
			d.Default = p.sum()
			continue
		}
		break
	}
	d.Options = p.tokens(func() bool { return p.tok.Kind == token.Comma })
	d.Span = p.from(start)
	return d
}

func (p *parser) drop() ast.Statement {
	start := p.tok.Pos
	p.expectWord("DROP")
	d := &ast.Drop{Kind: p.objectKind(), IfExists: p.acceptWord("IF", "EXISTS")}
	d.Name = p.objectName()
	if !d.IfExists {
		d.IfExists = p.acceptWord("IF", "EXISTS")
	}
	if p.tok.Kind == token.LParen {
		d.Types = p.tokens(func() bool { return p.atAny("CASCADE", "RESTRICT") })
	}
	if p.atAny("CASCADE", "RESTRICT") {
		d.Option = p.tok.Word
		p.next()
	}
	d.Span = p.from(start)
	return d
}

func (p *parser) alter() ast.Statement {
	start := p.tok.Pos
	p.expectWord("ALTER")
	a := &ast.Alter{Kind: p.objectKind(), IfExists: p.acceptWord("IF", "EXISTS")}
	if a.Kind != "SESSION" && a.Kind != "ACCOUNT" {
		a.Name = p.objectName()
	}
	if p.tok.Kind != token.Ident {
		p.expected("what to alter")
	}
	a.Action = strings.ToUpper(p.anyWord().Name)
	table := strings.HasSuffix(a.Kind, "TABLE")
	switch {
	case a.Action == "RENAME" && p.acceptWord("TO"), a.Action == "SWAP" && p.acceptWord("WITH"):
		a.What = map[string]string{"RENAME": "TO", "SWAP": "WITH"}[a.Action]
		a.To = p.objectName()
	case table && a.Action == "ADD" && !p.atAny("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK", "ROW", "SEARCH", "AGGREGATION"):
		if p.acceptWord("COLUMN") {
			a.What = "COLUMN"
		}
		if p.acceptWord("IF", "NOT", "EXISTS") {
			a.What = "COLUMN IF NOT EXISTS"
		}
		a.Columns = commaList(p, p.columnDef)
	case table && a.Action == "DROP" && p.acceptWord("COLUMN"):
		a.What = "COLUMN"
		if p.acceptWord("IF", "EXISTS") {
			a.What = "COLUMN IF EXISTS"
		}
		a.Drops = commaList(p, p.identifier)
	}
	a.Options = p.rest()
	a.Span = p.from(start)
	return a
}
