package token

// words maps the words that the grammar knows to themselves, so that a token's
// Word is shared and comparing it is cheap. A test holds it against the
// parser's source.
var words = func() map[string]string {
	m := make(map[string]string, len(known)+len(reserved))
	for _, w := range known {
		m[w] = w
	}
	for w := range reserved {
		m[w] = w
	}
	return m
}()

// maxWord is the length of the longest word above.
const maxWord = 17

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

var endsRelation = set("ASOF", "AT", "BEFORE", "CHANGES", "DIRECTED", "MATCH_CONDITION", "MATCH_RECOGNIZE", "PIVOT", "UNPIVOT", "SEED", "REPEATABLE")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

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
	"ACCOUNT", "ADD", "AGGREGATE", "AGGREGATION", "ALERT", "ANY_VALUE", "APPEND_ONLY", "APPLICATION", "ARRAY", "ASC",
	"ASOF", "AT", "BEFORE", "BEGIN", "BERNOULLI", "BIGINT", "BINARY", "BLOCK", "BOOLEAN", "BYTEINT", "CALL", "CASCADE",
	"CHANGES", "CHAR", "CHARACTER", "CLONE", "COLLATE", "COMMENT", "COMMIT", "CONNECTION", "CONNECT_BY_ROOT", "COPY",
	"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "DATABASE", "DATE", "DATETIME", "DBT", "DEC",
	"DECFLOAT", "DECIMAL", "DECLARE", "DEFAULT", "DESC", "DESCRIBE", "DIRECTED", "DO", "DOUBLE", "END", "ES", "ESCAPE",
	"EXCLUDE", "EXECUTE", "EXPLAIN", "EXTRACT", "FETCH", "FILE", "FIRST", "FLOAT", "FOREIGN", "FUNCTION", "GEOGRAPHY",
	"GEOMETRY", "GET", "GLOBAL", "GROUPING", "HISTORY", "IDENTIFIER", "IES", "IF", "IGNORE", "IMMEDIATE", "INCLUDE",
	"INDEX", "INFORMATION", "INT", "INTEGER", "INTEGRATION", "INTERVAL", "JOB", "JSON", "LAST", "LIMIT", "LIST",
	"LOCAL", "LOCALTIME", "LOCALTIMESTAMP", "LOCK", "LOOP", "LS", "MAP", "MATCHED", "MATCH_CONDITION",
	"MATCH_RECOGNIZE", "MATERIALIZED", "MERGE", "MODEL", "NAME", "NCHAR", "NEXT", "NONE", "NOTEBOOK", "NULLS", "NUMBER",
	"NUMERIC", "NVARCHAR", "OBJECT", "OFFSET", "ONLY", "OUTER", "OVER", "OVERWRITE", "PARAMETER", "PARTITION", "PIPE",
	"PIVOT", "POLICY", "POSITION", "PRECEDING", "PRECISION", "PRIMARY", "PRIOR", "PROCEDURE", "PUT", "RANGE", "REAL",
	"RECURSIVE", "REGION", "REMOVE", "RENAME", "REPEAT", "REPEATABLE", "REPLACE", "REPOSITORY", "RESPECT", "RESTRICT",
	"RM", "ROLE", "ROLES", "ROLLBACK", "S", "SCHEMA", "SEARCH", "SECONDARY", "SECRET", "SECURE", "SEED", "SEQUENCE",
	"SERVICE", "SESSION", "SETS", "SHARE", "SHOW", "SMALLINT", "SNAPSHOT", "SOURCE", "STAGE", "STARTS", "STATEMENT",
	"STREAM", "STREAMLIT", "STRING", "SWAP", "SYSTEM", "TABULAR", "TAG", "TASK", "TEMP", "TEMPORARY", "TERSE", "TEXT",
	"TIME", "TIMESTAMP", "TIMESTAMPLTZ", "TIMESTAMPNTZ", "TIMESTAMPTZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ",
	"TIMESTAMP_TZ", "TINYINT", "TOP", "TRANSACTION", "TRANSIENT", "TRUNCATE", "UNBOUNDED", "UNDROP", "UNPIVOT", "UNSET",
	"USE", "USER", "UUID", "VARBINARY", "VARCHAR", "VARIABLE", "VARIANT", "VARYING", "VECTOR", "VIEW", "VOLATILE",
	"WAREHOUSE", "WHILE", "WINDOW", "WITHIN", "WITHOUT", "WORK", "X", "ZONE",
}
