package parser

import (
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// kindList are the kinds of object that CREATE, ALTER, DROP, SHOW and DESCRIBE
// name. docs.snowflake.com/en/sql-reference/sql-all
const kindList = `
	ACCOUNT, AGENT, AGGREGATION POLICY, ALERT, API INTEGRATION, APPLICATION, APPLICATION PACKAGE, APPLICATION ROLE, ARTIFACT REPOSITORY,
	AUTHENTICATION POLICY, AVAILABLE LISTING, AVAILABLE OFFER, AVAILABLE ORGANIZATION PROFILE, BACKUP, BACKUP POLICY, BACKUP SET, BUDGET,
	BUILTIN FUNCTION, CALLER GRANT, CATALOG INTEGRATION, CHANNEL, CLASS, COLUMN, COMPUTE POOL, COMPUTE POOL INSTANCE FAMILY, CONFIGURATION,
	CONNECTION, CONTACT, CORTEX AGENT, CORTEX BASE MODEL, CORTEX SEARCH SERVICE, CUSTOM CLASSIFIER, DATA METRIC FUNCTION, DATABASE,
	DATABASE ROLE, DATASET, DBT PROJECT, DCM PROJECT, DELEGATED AUTHORIZATION, DEPLOYMENT, DIRECTORY, DYNAMIC ICEBERG TABLE, DYNAMIC TABLE,
	DYNAMIC TABLE REFRESH HISTORY, ENDPOINT, ENTITY, EVENT TABLE, EXPERIMENT, EXTERNAL ACCESS INTEGRATION, EXTERNAL AGENT,
	EXTERNAL FUNCTION, EXTERNAL TABLE, EXTERNAL VOLUME, FAILOVER GROUP, FEATURE POLICY, FEATURE VIEW, FILE FORMAT, FUNCTION, FUTURE GRANT,
	GATEWAY, GIT BRANCH, GIT REPOSITORY, GIT TAG, GLOBAL ACCOUNT, GRANT, GROUP, HYBRID TABLE, ICEBERG TABLE, IMAGE, IMAGE REPOSITORY,
	IMPORTED KEY, INDEX, INTEGRATION, INTERACTIVE MATERIALIZED VIEW, INTERACTIVE TABLE, INTERACTIVE WAREHOUSE, JOB SERVICE, JOIN POLICY,
	LISTING, LOCK, MAINTENANCE POLICY, MANAGED ACCOUNT, MASKING POLICY, MATERIALIZED VIEW, MCP SERVER, MFA METHOD, MODEL, MODEL MONITOR,
	NETWORK POLICY, NETWORK RULE, NOTEBOOK, NOTEBOOK PROJECT, NOTIFICATION INTEGRATION, OBJECT, OFFER, ONLINE FEATURE TABLE,
	OPENFLOW DATA PLANE, OPENFLOW DATA PLANE INTEGRATION, ORGANIZATION ACCOUNT, ORGANIZATION LISTING, ORGANIZATION PROFILE,
	ORGANIZATION USER, ORGANIZATION USER GROUP, PACKAGES POLICY, PARAMETER, PASSWORD POLICY, PIPE, PLAN, POSTGRES INSTANCE,
	PREPARED STATEMENT, PRICING PLAN, PRIMARY KEY, PRIVACY POLICY, PRIVILEGE, PROCEDURE, PROGRAMMATIC ACCESS TOKEN, PROJECTION POLICY,
	PROVISIONED THROUGHPUT, QUERY, READ ONLY TABLE, REFERENCE, REGION, RELEASE CHANNEL, RELEASE DIRECTIVE, REPLICATION ACCOUNT,
	REPLICATION DATABASE, REPLICATION GROUP, RESOURCE MONITOR, ROLE, ROW ACCESS POLICY, RUN, RUN METRIC, RUN PARAMETER, SCHEMA, SECRET,
	SECURITY INTEGRATION, SEMANTIC DIMENSION, SEMANTIC DIMENSIONS FOR METRIC, SEMANTIC FACT, SEMANTIC METRIC, SEMANTIC VIEW, SEQUENCE,
	SERVICE, SERVICE CONTAINER, SERVICE INSTANCE, SERVICE ROLE, SERVICE VOLUME, SESSION, SESSION POLICY, SHARE, SHARED CONTENT, SNAPSHOT,
	SNAPSHOT POLICY, SNAPSHOT SET, SPECIFICATION, STAGE, STORAGE INTEGRATION, STORAGE LIFECYCLE POLICY, STREAM, STREAMLIT, TABLE, TAG,
	TASK, TELEMETRY EVENT DEFINITION, TRANSACTION, TYPE, UNIQUE KEY, USER, USER FUNCTION, USER PROCEDURE, USER PROGRAMMATIC ACCESS TOKEN,
	USER WORKLOAD IDENTITY AUTHENTICATION METHOD, VARIABLE, VERSION, VERSIONED SCHEMA, VERSIONED STAGE, VIEW, WAREHOUSE, WORKSPACE`

// objectKinds are the kinds of object, singular and, for SHOW, plural.
var objectKinds = func() map[string]string {
	kinds := map[string]string{}
	for kind := range strings.SplitSeq(kindList, ",") {
		words := strings.Join(strings.Fields(kind), " ")
		kinds[words] = words
		kinds[plural(words)] = plural(words)
	}
	return kinds
}()

// kindHeads are the words that a kind begins with, whole kinds among them.
var kindHeads = func() map[string]bool {
	heads := map[string]bool{}
	for kind := range objectKinds {
		for i := range kind {
			if kind[i] == ' ' {
				heads[kind[:i]] = true
			}
		}
		heads[kind] = true
	}
	return heads
}()

// maxKind is more than the longest kind has letters.
const maxKind = 64

func upper(s []byte) {
	for i, c := range s {
		if c >= 'a' && c <= 'z' {
			s[i] = c - ('a' - 'A')
		}
	}
}

func plural(kind string) string {
	if head, tail, found := strings.Cut(kind, " FOR "); found {
		return head + " FOR " + tail
	}
	switch {
	case strings.HasSuffix(kind, "IES"), strings.HasSuffix(kind, "HISTORY"):
		return kind
	case strings.HasSuffix(kind, "Y") && !strings.HasSuffix(kind, "KEY") && !strings.HasSuffix(kind, "GATEWAY"):
		return kind[:len(kind)-1] + "IES"
	case strings.HasSuffix(kind, "INDEX"), strings.HasSuffix(kind, "CLASS"), strings.HasSuffix(kind, "BRANCH"):
		return kind + "ES"
	default:
		return kind + "S"
	}
}

// objectKind reads the longest kind of object that stands here. A class of
// Snowflake's own, such as SNOWFLAKE.ML.FORECAST, is a kind as well.
// docs.snowflake.com/en/sql-reference/snowflake-db-classes
func (p *parser) objectKind() string {
	if p.at("SNOWFLAKE") && p.peek().Kind == token.Dot {
		return p.className()
	}
	m := p.mark()
	var best mark
	var words [maxKind]byte
	kind, n := "", 0
	for p.tok.Kind == token.Ident {
		text := p.tok.Text(p.src)
		if n+1+len(text) > maxKind {
			break
		}
		if n > 0 {
			words[n] = ' '
			n++
		}
		n += copy(words[n:], text)
		upper(words[:n])
		if !kindHeads[string(words[:n])] {
			break
		}
		p.next()
		if k := objectKinds[string(words[:n])]; k != "" {
			kind, best = k, p.mark()
		}
	}
	if kind == "" {
		p.reset(m)
		p.expected("a kind of object such as TABLE or VIEW")
	}
	p.reset(best)
	return kind
}

// className reads the name of one of Snowflake's classes. It is printed as a
// word, so no part of it may need quotes.
func (p *parser) className() string {
	name := p.identifier().Fold()
	for p.accept(token.Dot) {
		if p.tok.Kind != token.Ident {
			p.expected("the name of a class")
		}
		name += "." + p.identifier().Fold()
	}
	return name
}

// kindAhead reports whether a kind and then a name stand here, rather than a
// name that is spelt like a kind.
func (p *parser) kindAhead() bool {
	if p.tok.Kind != token.Ident || !kindHeads[strings.ToUpper(p.tok.Text(p.src))] {
		return false
	}
	next := p.peek()
	return next.Kind == token.QuotedIdent || next.Kind == token.Ident && next.Word != "STARTS" && next.Word != "LIMIT"
}

// modifiers are the words that may stand between CREATE and the kind.
var modifiers = []string{"LOCAL", "GLOBAL", "TEMPORARY", "TEMP", "VOLATILE", "TRANSIENT", "SECURE", "RECURSIVE", "AGGREGATE"}

func (p *parser) create() ast.Statement {
	start := p.tok.Pos
	c := &ast.Create{Define: p.oneOf("CREATE", "DEFINE") == "DEFINE"}
	c.OrReplace = p.acceptWord("OR", "REPLACE")
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
	if p.tok.Kind == token.LParen && (strings.HasSuffix(c.Kind, "TABLE") || strings.HasSuffix(c.Kind, "VIEW")) && c.Kind != "SEMANTIC VIEW" && !p.startsQuery() {
		c.Columns = p.columnDefs()
	}
	switch {
	case p.acceptWord("LIKE"):
		c.Like = p.objectName()
	case p.acceptWord("CLONE"):
		c.Clone = p.objectName()
		c.At = p.timeTravel()
	}
	alert := c.Kind == "ALERT"
	c.Options = p.tokens(func() bool { return alert && p.at("THEN") || !alert && p.bodyFollows() })
	switch {
	case alert && p.at("THEN"):
		c.Options = p.then(c.Options)
		c.Body = p.statement()
	case alert:
	case p.asQuery():
		p.expectWord("AS")
		c.As = p.query()
	case p.at("AS"):
		p.next()
		c.Body = p.statement()
	}
	c.Span = p.from(start)
	return c
}

// then adds the THEN of an alert to its options.
func (p *parser) then(t *ast.Tokens) *ast.Tokens {
	if t == nil {
		p.expected("IF (EXISTS (…)) before THEN")
	}
	t.List = append(t.List, p.lexeme())
	t.To = p.last
	return t
}

// bodyFollows reports whether AS and a query or a statement stand here. AS '…'
// is an option.
func (p *parser) bodyFollows() bool {
	return p.asQuery() || p.at("AS") && isStatement(p.peek())
}

func (p *parser) asQuery() bool {
	if !p.at("AS") {
		return false
	}
	m := p.mark()
	defer p.reset(m)
	p.next()
	return p.atAny("SELECT", "WITH", "VALUES") || p.tok.Kind == token.LParen && p.startsQuery()
}

// columnDefs reads the columns of a table or a view; a comma may follow the
// last.
func (p *parser) columnDefs() []*ast.ColumnDef {
	p.expect(token.LParen)
	list := []*ast.ColumnDef{p.columnDef()}
	for p.accept(token.Comma) && p.tok.Kind != token.RParen {
		list = append(list, p.columnDef())
	}
	p.expect(token.RParen)
	return list
}

// columnDef reads a column, or a constraint of the table.
func (p *parser) columnDef() *ast.ColumnDef {
	start := p.tok.Pos
	d := &ast.ColumnDef{}
	if !p.atAny("CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK") && !p.at("INDEX") {
		d.Name = p.columnName()
		d.Type = p.tryType()
	} else if p.at("INDEX") && p.tryIndexColumn(d) {
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
		case p.at("AS") && d.As == nil:
			p.next()
			d.As = p.condition()
			continue
		}
		break
	}
	d.Options = p.tokens(func() bool { return p.tok.Kind == token.Comma })
	d.Span = p.from(start)
	return d
}

// tryIndexColumn reads a column that is called INDEX, unless an index of a
// hybrid table stands here: INDEX name (…).
func (p *parser) tryIndexColumn(d *ast.ColumnDef) bool {
	m := p.mark()
	d.Name = p.columnName()
	if p.tok.Kind == token.Ident && p.peek().Kind == token.LParen && !typeNames[strings.ToUpper(p.tok.Text(p.src))] {
		d.Name = nil
		p.reset(m)
		return false
	}
	return true
}

func (p *parser) drop() ast.Statement {
	start := p.tok.Pos
	p.expectWord("DROP")
	d := &ast.Drop{Kind: p.objectKind(), IfExists: p.acceptWord("IF", "EXISTS")}
	d.Name = p.objectName()
	if !d.IfExists {
		d.IfExists = p.acceptWord("IF", "EXISTS")
	}
	d.Types = p.argumentTypes()
	if p.atAny("CASCADE", "RESTRICT", "PURGE", "FORCE") {
		d.Option = p.tok.Word
		p.next()
	}
	d.Span = p.from(start)
	return d
}

// alterWords are what ALTER does to an object whose name may be left out.
var alterWords = []string{"SET", "UNSET", "RENAME", "DROP", "ADD", "REMOVE", "SUSPEND", "RESUME", "ABORT", "MODIFY", "ENABLE"}

func (p *parser) alter() ast.Statement {
	start := p.tok.Pos
	p.expectWord("ALTER")
	a := &ast.Alter{Kind: p.objectKind(), IfExists: p.acceptWord("IF", "EXISTS")}
	if named := !p.atAny(alterWords...); named || !nameless(a.Kind) {
		a.Name = p.objectName()
		for a.Kind == "DYNAMIC TABLE" && p.accept(token.Comma) {
			a.More = append(a.More, p.objectName())
		}
		a.Types = p.argumentTypes()
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
	case table && a.Action == "ADD" && p.tok.Kind != token.LParen && !p.partOfTable():
		if p.acceptWord("COLUMN") {
			a.What = "COLUMN"
		}
		if p.acceptWord("IF", "NOT", "EXISTS") {
			a.What = "COLUMN IF NOT EXISTS"
		}
		a.Columns = commaList(p, p.columnDef)
	case table && a.Action == "DROP" && !p.partOfTable():
		if p.acceptWord("COLUMN") {
			a.What = "COLUMN"
		}
		if p.acceptWord("IF", "EXISTS") {
			a.What = "COLUMN IF EXISTS"
		}
		a.Drops = commaList(p, p.columnName)
	}
	a.Options = p.rest()
	a.Span = p.from(start)
	return a
}

// nameless reports whether ALTER may leave the name of such an object out and
// mean the current one.
func nameless(kind string) bool {
	switch kind {
	case "SESSION", "ACCOUNT", "ORGANIZATION ACCOUNT", "WAREHOUSE", "USER":
		return true
	default:
		return false
	}
}

// partOfTable reports whether what is added to a table or dropped from it is
// anything but a column.
func (p *parser) partOfTable() bool {
	switch p.tok.Word {
	case "CONSTRAINT", "PRIMARY", "FOREIGN", "UNIQUE", "CHECK":
		return true
	case "ROW", "AGGREGATION", "JOIN", "PROJECTION", "STORAGE", "SEARCH", "CLUSTERING", "DATA", "PARTITION", "ALL", "CONTACT", "FILES":
		next := p.peek()
		switch next.Word {
		case "ACCESS", "POLICY", "LIFECYCLE", "OPTIMIZATION", "KEY", "METRIC", "COLUMN", "ROW":
			return true
		}
		return p.at("PARTITION") || p.at("FILES") && next.Kind == token.LParen
	default:
		return false
	}
}
