package token

// words are the words that the grammar knows, in a hash table with linear
// probing: a token's Word is one of these strings, so that comparing it is
// cheap. A test of package parser holds the table against that parser's source.
var words = func() (t [tableSize]string) {
	add := func(w string) {
		i := place(hash(w))
		for t[i] != "" {
			i = (i + 1) % tableSize
		}
		t[i] = w
	}
	for _, w := range known {
		add(w)
	}
	for w := range reserved {
		add(w)
	}
	return t
}()

// tableSize leaves most of the table empty.
const tableSize = 4096

// maxWord is the length of the longest word below.
const maxWord = 30

// step adds a letter to the hash of a word, whatever its case.
func step(h uint32, c byte) uint32 { return h*31 + uint32(c&^0x20) }

func hash(word string) (h uint32) {
	for i := range len(word) {
		h = step(h, word[i])
	}
	return h
}

// place is where a word with this hash is looked for first.
func place(h uint32) uint32 { return (h ^ h>>12) % tableSize }

// lookup returns the word that s is in some case, or "". The hash is that of s.
func lookup(s string, hash uint32) string {
	if len(s) > maxWord {
		return ""
	}
	for i := place(hash); words[i] != ""; i = (i + 1) % tableSize {
		if sameWord(s, words[i]) {
			return words[i]
		}
	}
	return ""
}

// sameWord compares s to a word in upper case.
func sameWord(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// Reserved reports whether a word, in upper case, cannot be an identifier
// without quotes. docs.snowflake.com/en/sql-reference/reserved-keywords
func Reserved(word string) bool { return reserved[word] }

// EndsItem reports whether a word behind an expression begins the next clause
// and is no alias.
func EndsItem(word string) bool { return reserved[word] || endsItem[word] }

// EndsRelation reports whether a word behind a relation begins the next clause
// and is no alias.
func EndsRelation(word string) bool { return reserved[word] || endsItem[word] || endsRelation[word] }

var endsItem = set("FETCH", "LIMIT", "OFFSET", "WINDOW", "CONNECT", "COLLATE", "IGNORE", "RESPECT", "NULLS", "WITHIN", "OVER", "DESC", "ASC", "END", "PARTITION")

var endsRelation = set("ASOF", "AT", "BEFORE", "CHANGES", "DIRECTED", "MATCH_CONDITION", "MATCH_RECOGNIZE", "PIVOT", "UNPIVOT", "RESAMPLE", "SEED", "REPEATABLE")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// NamesColumn reports whether a reserved word may name a column all the same:
// it is reserved as the name of a relation alone.
func NamesColumn(word string) bool { return namesColumn[word] }

// NamesRelation reports whether a reserved word may name a relation: it is
// reserved in expressions alone.
func NamesRelation(word string) bool { return namesRelation[word] }

var namesColumn = set("CROSS", "FULL", "INNER", "JOIN", "LATERAL", "LEFT", "NATURAL", "RIGHT", "USING")

var namesRelation = set("CASE", "CAST", "CONSTRAINT", "FALSE", "TRUE", "TRY_CAST", "WHEN")

var reserved = set(
	"ALL", "ALTER", "AND", "ANY", "AS", "BETWEEN", "BY", "CASE", "CAST", "CHECK", "COLUMN", "CONNECT", "CONSTRAINT",
	"CREATE", "CROSS", "CURRENT", "DELETE", "DISTINCT", "DROP", "ELSE", "EXCEPT", "EXISTS", "FALSE", "FOLLOWING", "FOR",
	"FROM", "FULL", "GRANT", "GROUP", "HAVING", "ILIKE", "IN", "INCREMENT", "INNER", "INSERT", "INTERSECT", "INTO",
	"IS", "JOIN", "LATERAL", "LEFT", "LIKE", "MINUS", "NATURAL", "NOT", "NULL", "OF", "ON", "OR", "ORDER", "QUALIFY",
	"REGEXP", "REVOKE", "RIGHT", "RLIKE", "ROW", "ROWS", "SAMPLE", "SELECT", "SET", "SOME", "START", "TABLE",
	"TABLESAMPLE", "THEN", "TO", "TRIGGER", "TRUE", "TRY_CAST", "UNION", "UNIQUE", "UPDATE", "USING", "VALUES", "WHEN",
	"WHENEVER", "WHERE", "WITH",
)

var known = []string{
	"ABORT", "ACCESS", "ACCOUNT", "ACTION", "ADD", "AFTER", "AGGREGATE", "AGGREGATION", "ALERT",
	"ALLOWED_AUTHENTICATION_SECRETS", "ALLOWED_NETWORK_RULES", "ALLOWED_NETWORK_RULE_LIST", "ANY_VALUE",
	"API_INTEGRATION", "APPEND_ONLY", "APPLICATION", "ARRAY", "ASC", "ASOF", "ASYNC", "AT", "AUTHENTICATION", "AWAIT",
	"BACKUP", "BEFORE", "BEGIN", "BERNOULLI", "BIGINT", "BINARY", "BLOCK", "BLOCKED_NETWORK_RULE_LIST", "BOOLEAN",
	"BRANCH", "BREAK", "BYTEINT", "CALL", "CANCEL", "CASCADE", "CATALOG", "CATALOG_INTEGRATION", "CHANGES", "CHAR",
	"CHARACTER", "CLASS", "CLONE", "CLOSE", "CLUSTER", "CLUSTERING", "COLLATE", "COMMENT", "COMMIT", "COMPUTE",
	"COMPUTE_POOL", "CONNECT_BY_ROOT", "CONTACT", "CONTINUE", "COPY", "CURRENT_DATE", "CURRENT_TIME",
	"CURRENT_TIMESTAMP", "CURRENT_USER", "CURSOR", "DATA", "DATABASE", "DATE", "DATETIME", "DAY", "DBT", "DCM", "DEC",
	"DECFLOAT", "DECIMAL", "DECLARE", "DEFAULT", "DEFAULT_ROLE", "DEFAULT_WAREHOUSE", "DEFINE", "DESC", "DESCRIBE",
	"DIMENSIONS", "DIRECTED", "DO", "DOUBLE", "DYNAMIC", "ELSEIF", "EMPTY", "ENABLE", "END", "ERROR_INTEGRATION", "ES",
	"ESCAPE", "EVENT", "EXCEPTION", "EXCLUDE", "EXECUTE", "EXIT", "EXPLAIN", "EXPR", "EXTERNAL",
	"EXTERNAL_ACCESS_INTEGRATIONS", "EXTERNAL_VOLUME", "EXTRACT", "FACTS", "FEATURE", "FETCH", "FIELDS", "FILE",
	"FILES", "FINAL", "FINALIZE", "FIRST", "FLOAT", "FLOAT4", "FLOAT8", "FORCE", "FOREIGN", "FORMAT", "FORMAT_NAME",
	"FUNCTION", "GATEWAY", "GEOGRAPHY", "GEOMETRY", "GET", "GIT_CREDENTIALS", "GLOBAL", "GROUPING", "HISTORY", "HOUR",
	"ICEBERG", "IDENTIFIER", "IES", "IF", "IGNORE", "IMMEDIATE", "INCLUDE", "INDEX", "INFORMATION", "INT", "INTEGER",
	"INTEGRATION", "INTERVAL", "ITERATE", "JOB", "JSON", "KEY", "KEYS", "LAST", "LET", "LIFECYCLE", "LIMIT", "LINEAR",
	"LIST", "LOCAL", "LOCALTIME", "LOCALTIMESTAMP", "LOOP", "LS", "MANAGED", "MAP", "MASKING", "MATCH", "MATCHED",
	"MATCHES", "MATCH_CONDITION", "MATCH_RECOGNIZE", "MATERIALIZED", "MEASURES", "MERGE", "METADATA_COLUMNS", "METRIC",
	"METRICS", "MINUTE", "MODIFY", "MONITOR", "MONTH", "NAME", "NCHAR", "NETWORK", "NETWORK_POLICY", "NEXT", "NONE",
	"NOTEBOOK", "NOTIFICATION_INTEGRATION", "NOWAIT", "NULLS", "NUMBER", "NUMERIC", "NVARCHAR", "NVARCHAR2", "OBJECT",
	"OFFSET", "OMIT", "ONE", "ONLY", "OPEN", "OPTIMIZATION", "ORGANIZATION", "OUTER", "OVER", "OVERWRITE", "PACKAGES",
	"PARTITION", "PASSWORD", "PAST", "PATTERN", "PER", "PIVOT", "POLICY", "POOL", "POSITION", "PRECEDING", "PRECISION",
	"PRIMARY", "PRIOR", "PRIVACY", "PROCEDURE", "PROJECT", "PROJECTION", "PURGE", "PUT", "QUERY_WAREHOUSE", "RAISE",
	"RANGE", "REAL", "RECURSIVE", "REFERENCES", "REFRESH", "REMOVE", "RENAME", "REPEAT", "REPEATABLE", "REPLACE",
	"REPLICA", "RESAMPLE", "RESOURCE", "RESOURCE_MONITOR", "RESPECT", "RESTRICT", "RESULT", "RESULTSET", "RESUME",
	"RETURN", "REVERSE", "RM", "ROLE", "ROLES", "ROLLBACK", "RULE", "RUNNING", "S", "SCHEMA", "SEARCH", "SECOND",
	"SECONDARY", "SECRET", "SECURE", "SECURITY_INTEGRATION", "SEED", "SEMANTIC", "SEMANTIC_VIEW", "SERVICE", "SESSION",
	"SETS", "SHARE", "SHOW", "SKIP", "SMALLINT", "SNAPSHOT", "SNOWFLAKE", "SOURCE", "STAGE", "STARTS", "STATEMENT",
	"STORAGE", "STORAGE_INTEGRATION", "STREAM", "STRING", "SUBSET", "SUCCESS_INTEGRATION", "SUSPEND", "SWAP", "SYSTEM",
	"TABULAR", "TAG", "TASK", "TEMP", "TEMPORARY", "TERSE", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPLTZ", "TIMESTAMPNTZ",
	"TIMESTAMPTZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ", "TIMESTAMP_TZ", "TINYINT", "TOP", "TRANSACTION", "TRANSIENT",
	"TRUNCATE", "UNBOUNDED", "UNDROP", "UNMATCHED", "UNPIVOT", "UNSET", "UNTIL", "USE", "USER", "UUID", "VARBINARY",
	"VARCHAR", "VARIANT", "VARYING", "VECTOR", "VIEW", "VOLATILE", "VOLUME", "WAIT", "WAREHOUSE", "WHILE", "WINDOW",
	"WITHIN", "WITHOUT", "WORK", "X", "Y", "YEAR", "ZONE",
}
