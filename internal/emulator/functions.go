//go:build cgo

package emulator

import (
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
)

const divisionByZero = "Division by zero"

// renamed are the functions whose name DuckDB or the printer gives another
// meaning; the macro on the right has Snowflake's.
var renamed = map[string]string{
	"TYPEOF": "sf_typeof", "MONTHNAME": "sf_monthname", "DAYNAME": "sf_dayname", "REGEXP_REPLACE": "sf_regexp_replace",
	"REGEXP_SUBSTR": "sf_regexp_substr", "REGEXP_LIKE": "sf_regexp_like", "RLIKE": "sf_regexp_like", "REGEXP_INSTR": "sf_regexp_instr",
	"REGEXP_COUNT": "sf_regexp_count", "GREATEST": "sf_greatest", "LEAST": "sf_least",
	"CONCAT": "sf_concat", "ARRAY_CONTAINS": "sf_array_contains", "ARRAY_SIZE": "sf_array_size", "SPLIT": "sf_split", "TO_TIME": "sf_to_time", "TIME": "sf_to_time",
	"TO_TIMESTAMP_LTZ": "sf_to_timestamp_ltz", "TO_TIMESTAMP_TZ": "sf_to_timestamp_ltz",
	"BASE64_ENCODE": "sf_base64_encode", "BASE64_DECODE_STRING": "sf_base64_decode", "HEX_DECODE_STRING": "sf_hex_decode",
	"HEX_ENCODE": "sf_hex_encode", "TO_BINARY": "sf_binary", "TO_VARIANT": "sf_variant", "TO_ARRAY": "sf_array", "TO_OBJECT": "sf_variant",
	"TO_JSON": "sf_to_json", "OBJECT_KEYS": "sf_object_keys", "OBJECT_AGG": "sf_object_agg", "SHA1": "sha1", "SHA1_HEX": "sha1",
	"ROUND": "sf_round", "SUBSTR": "sf_substr", "SUBSTRING": "sf_substr", "INITCAP": "sf_initcap", "REPLACE": "sf_replace", "SYSDATE": "sf_sysdate",
	"BITAND": "sf_bitand", "BITOR": "sf_bitor", "BITXOR": "xor", "MOD": "sf_mod", "LOG": "sf_log", "ARRAY_TO_STRING": "sf_array_to_string",
	"NEXT_DAY": "sf_next_day", "TO_CHAR": "sf_text", "TO_VARCHAR": "sf_text", "SHA2": "sf_sha2", "SHA2_HEX": "sf_sha2",
	"STRTOK": "sf_strtok", "EQUAL_NULL": "sf_equal_null", "SPACE": "sf_space", "INSERT": "sf_insert", "CHARINDEX": "sf_charindex", "POSITION": "sf_charindex",
}

// byArity are renamed only when called with that many arguments: with more or
// fewer, the printer knows what to do.
var byArity = map[string]int{"TO_CHAR": 1, "TO_VARCHAR": 1}

// macros define in DuckDB what Snowflake's functions mean. A macro's arguments
// may be written more than once: none of these has an effect.
// Each function is docs.snowflake.com/en/sql-reference/functions/<name>.
var macros = []string{
	// Casts of Snowflake's that DuckDB's do otherwise. typeof is known when a
	// statement is compiled, so only one branch is left.
	`CREATE OR REPLACE MACRO sf_text(x) AS CASE
		WHEN typeof(x) = 'JSON' THEN CAST(x AS JSON) ->> '$'
		WHEN typeof(x) = 'DOUBLE' THEN regexp_replace(CAST(x AS VARCHAR), '\.0$', '')
		WHEN typeof(x) = 'TIMESTAMP' THEN strftime(TRY_CAST(CAST(x AS VARCHAR) AS TIMESTAMP), '%Y-%m-%d %H:%M:%S.%g')
		WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN strftime(TRY_CAST(CAST(x AS VARCHAR) AS TIMESTAMP), '%Y-%m-%d %H:%M:%S.%g') || ' Z'
		WHEN typeof(x) = 'BLOB' THEN hex(TRY_CAST(x AS BLOB))
		ELSE CAST(x AS VARCHAR) END`,
	`CREATE OR REPLACE MACRO sf_variant(x) AS CASE WHEN x IS NULL THEN CAST(NULL AS JSON) ELSE to_json(x) END`,
	`CREATE OR REPLACE MACRO sf_array(x) AS CASE WHEN x IS NULL THEN CAST(NULL AS JSON)
		WHEN json_type(to_json(x)) = 'ARRAY' THEN to_json(x) ELSE json_array(x) END`,
	`CREATE OR REPLACE MACRO sf_binary(x) AS CASE WHEN typeof(x) = 'BLOB' THEN TRY_CAST(x AS BLOB) ELSE unhex(CAST(x AS VARCHAR)) END,
		(x, f) AS CASE upper(f) WHEN 'UTF-8' THEN encode(CAST(x AS VARCHAR)) WHEN 'BASE64' THEN from_base64(CAST(x AS VARCHAR)) ELSE unhex(CAST(x AS VARCHAR)) END`,
	`CREATE OR REPLACE MACRO sf_to_time(x) AS CAST(x AS TIME)`,
	`CREATE OR REPLACE MACRO sf_to_timestamp_ltz(x) AS CAST(x AS TIMESTAMPTZ)`,
	`CREATE OR REPLACE MACRO try_to_boolean(x) AS TRY_CAST(x AS BOOLEAN)`,
	`CREATE OR REPLACE MACRO try_to_time(x) AS TRY_CAST(x AS TIME)`,

	// Numbers.
	`CREATE OR REPLACE MACRO sf_div(a, b) AS CASE WHEN b = 0 THEN CAST(error('` + divisionByZero + `') AS DOUBLE) ELSE a / b END`,
	`CREATE OR REPLACE MACRO sf_mod(a, b) AS CASE WHEN b = 0 THEN error('` + divisionByZero + `') ELSE a % b END`,
	`CREATE OR REPLACE MACRO div0(a, b) AS CASE WHEN b = 0 AND a IS NOT NULL THEN 0 ELSE a / b END`,
	`CREATE OR REPLACE MACRO div0null(a, b) AS CASE WHEN (b = 0 OR b IS NULL) AND a IS NOT NULL THEN 0 ELSE a / b END`,
	`CREATE OR REPLACE MACRO zeroifnull(x) AS coalesce(x, 0)`,
	`CREATE OR REPLACE MACRO nullifzero(x) AS nullif(x, 0)`,
	`CREATE OR REPLACE MACRO sf_round(x) AS round(x), (x, n) AS round(x, CAST(n AS INTEGER))`,
	`CREATE OR REPLACE MACRO sf_square(x) AS x * x`,
	`CREATE OR REPLACE MACRO sf_log(b, x) AS ln(x) / ln(b)`,
	`CREATE OR REPLACE MACRO sf_bitand(a, b) AS CAST(a AS BIGINT) & CAST(b AS BIGINT)`,
	`CREATE OR REPLACE MACRO sf_bitor(a, b) AS CAST(a AS BIGINT) | CAST(b AS BIGINT)`,
	`CREATE OR REPLACE MACRO sf_greatest(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE greatest(a, b) END,
		(a, b, c) AS CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL ELSE greatest(a, b, c) END`,
	`CREATE OR REPLACE MACRO sf_least(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE least(a, b) END,
		(a, b, c) AS CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL ELSE least(a, b, c) END`,
	`CREATE OR REPLACE MACRO sf_equal_null(a, b) AS a IS NOT DISTINCT FROM b`,
	`CREATE OR REPLACE MACRO seq4() AS row_number() OVER () - 1`,
	`CREATE OR REPLACE MACRO seq8() AS row_number() OVER () - 1`,

	// Texts.
	`CREATE OR REPLACE MACRO sf_concat(a) AS a, (a, b) AS a || b, (a, b, c) AS a || b || c, (a, b, c, d) AS a || b || c || d, (a, b, c, d, e) AS a || b || c || d || e`,
	`CREATE OR REPLACE MACRO sf_substr(x, n) AS CASE WHEN n = 0 THEN substring(x, 1) ELSE substring(x, CAST(n AS BIGINT)) END,
		(x, n, l) AS CASE WHEN n = 0 THEN substring(x, 1, CAST(l AS BIGINT)) ELSE substring(x, CAST(n AS BIGINT), CAST(l AS BIGINT)) END`,
	`CREATE OR REPLACE MACRO sf_replace(x, a) AS replace(x, a, ''), (x, a, b) AS replace(x, a, b)`,
	`CREATE OR REPLACE MACRO sf_charindex(a, b) AS instr(b, a), (a, b, n) AS CASE WHEN instr(substring(b, n), a) = 0 THEN 0 ELSE instr(substring(b, n), a) + n - 1 END`,
	`CREATE OR REPLACE MACRO sf_initcap(x) AS array_to_string(list_transform(regexp_split_to_array(lower(x), '\s'), lambda w: upper(substring(w, 1, 1)) || substring(w, 2)), ' ')`,
	`CREATE OR REPLACE MACRO sf_space(n) AS repeat(' ', CAST(n AS BIGINT))`,
	`CREATE OR REPLACE MACRO sf_insert(x, p, n, y) AS substring(x, 1, p - 1) || y || substring(x, p + n)`,
	`CREATE OR REPLACE MACRO sf_strtok(x) AS split_part(x, ' ', 1), (x, d) AS split_part(x, d, 1), (x, d, n) AS nullif(split_part(x, d, CAST(n AS BIGINT)), '')`,
	`CREATE OR REPLACE MACRO sf_split(x, d) AS to_json(string_split(x, d))`,
	`CREATE OR REPLACE MACRO sf_regexp_like(x, p) AS regexp_full_match(x, p), (x, p, f) AS regexp_full_match(x, '(?' || f || ')' || p)`,
	`CREATE OR REPLACE MACRO sf_regexp_replace(x, p) AS regexp_replace(x, p, '', 'g'), (x, p, r) AS regexp_replace(x, p, r, 'g')`,
	`CREATE OR REPLACE MACRO sf_regexp_substr(x, p) AS nullif(regexp_extract(x, p), ''),
		(x, p, n) AS nullif(regexp_extract(substring(x, CAST(n AS BIGINT)), p), ''),
		(x, p, n, k) AS regexp_extract_all(substring(x, CAST(n AS BIGINT)), p)[CAST(k AS BIGINT)],
		(x, p, n, k, f) AS regexp_extract_all(substring(x, CAST(n AS BIGINT)), p)[CAST(k AS BIGINT)],
		(x, p, n, k, f, g) AS regexp_extract_all(substring(x, CAST(n AS BIGINT)), p, g)[CAST(k AS BIGINT)]`,
	`CREATE OR REPLACE MACRO sf_regexp_count(x, p) AS len(regexp_extract_all(x, p))`,
	`CREATE OR REPLACE MACRO sf_regexp_instr(x, p) AS CASE WHEN regexp_matches(x, p) THEN instr(x, regexp_extract(x, p)) ELSE 0 END`,
	`CREATE OR REPLACE MACRO sf_base64_encode(x) AS CASE WHEN typeof(x) = 'BLOB' THEN to_base64(TRY_CAST(x AS BLOB)) ELSE to_base64(encode(CAST(x AS VARCHAR))) END`,
	`CREATE OR REPLACE MACRO sf_base64_decode(x) AS decode(from_base64(x))`,
	`CREATE OR REPLACE MACRO sf_hex_encode(x) AS CASE WHEN typeof(x) = 'BLOB' THEN hex(TRY_CAST(x AS BLOB)) ELSE hex(encode(CAST(x AS VARCHAR))) END`,
	`CREATE OR REPLACE MACRO sf_hex_decode(x) AS decode(unhex(x))`,
	`CREATE OR REPLACE MACRO sf_sha2(x) AS sha256(CAST(x AS VARCHAR)),
		(x, n) AS CASE WHEN n = 256 THEN sha256(CAST(x AS VARCHAR)) ELSE error('SHA2 with 256 bits only') END`,

	// Dates and times.
	`CREATE OR REPLACE MACRO sf_monthname(d) AS strftime(CAST(d AS TIMESTAMP), '%b')`,
	`CREATE OR REPLACE MACRO sf_dayname(d) AS strftime(CAST(d AS TIMESTAMP), '%a')`,
	`CREATE OR REPLACE MACRO sf_sysdate() AS CAST(now() AS TIMESTAMP)`,
	`CREATE OR REPLACE MACRO add_months(d, n) AS d + CAST(n AS INTEGER) * INTERVAL 1 month`,
	`CREATE OR REPLACE MACRO months_between(a, b) AS date_diff('month', CAST(b AS DATE), CAST(a AS DATE)) + (day(CAST(a AS DATE)) - day(CAST(b AS DATE))) / 31.0`,
	`CREATE OR REPLACE MACRO date_from_parts(y, m, d) AS CAST(make_date(CAST(y AS BIGINT), 1, 1) + CAST(m - 1 AS INTEGER) * INTERVAL 1 month + CAST(d - 1 AS INTEGER) * INTERVAL 1 day AS DATE)`,
	`CREATE OR REPLACE MACRO timestamp_from_parts(y, mo, d, h, mi, s) AS make_timestamp(CAST(y AS BIGINT), CAST(mo AS BIGINT), CAST(d AS BIGINT), CAST(h AS BIGINT), CAST(mi AS BIGINT), CAST(s AS DOUBLE))`,
	`CREATE OR REPLACE MACRO sf_next_day(d, w) AS CAST(d AS DATE) + CAST((list_position(['mo','tu','we','th','fr','sa','su'], lower(substring(w, 1, 2))) - isodow(CAST(d AS DATE)) + 6) % 7 + 1 AS INTEGER)`,

	// Semi-structured data.
	`CREATE OR REPLACE MACRO sf_typeof(x) AS CASE json_type(CAST(x AS JSON))
		WHEN 'UBIGINT' THEN 'INTEGER' WHEN 'BIGINT' THEN 'INTEGER' WHEN 'HUGEINT' THEN 'INTEGER' WHEN 'DOUBLE' THEN 'DECIMAL' WHEN 'NULL' THEN 'NULL_VALUE'
		ELSE json_type(CAST(x AS JSON)) END`,
	`CREATE OR REPLACE MACRO is_null_value(x) AS json_type(CAST(x AS JSON)) = 'NULL'`,
	`CREATE OR REPLACE MACRO sf_array_size(x) AS CASE WHEN json_type(CAST(x AS JSON)) = 'ARRAY' THEN json_array_length(CAST(x AS JSON)) END`,
	`CREATE OR REPLACE MACRO sf_array_contains(v, a) AS json_contains(CAST(a AS JSON), to_json(v))`,
	`CREATE OR REPLACE MACRO sf_array_to_string(a, d) AS array_to_string(list_transform(CAST(CAST(a AS JSON) AS JSON[]), lambda v: v ->> '$'), d)`,
	`CREATE OR REPLACE MACRO sf_object_keys(x) AS to_json(list_sort(json_keys(CAST(x AS JSON))))`,
	`CREATE OR REPLACE MACRO sf_object_agg(k, v) AS json_group_object(k, v)`,
	`CREATE OR REPLACE MACRO sf_to_json(x) AS CAST(to_json(x) AS VARCHAR)`,
	`CREATE OR REPLACE MACRO check_json(x) AS CASE WHEN x IS NULL OR json_valid(x) THEN NULL ELSE 'invalid JSON' END`,
	// An object without the keys whose value is NULL: of lists of keys and
	// values, or of a struct.
	`CREATE OR REPLACE MACRO sf_object(keys, vals) AS to_json(map_from_entries(list_filter(list_zip(keys, vals), lambda e: e[2] IS NOT NULL)))`,
	`CREATE OR REPLACE MACRO sf_row_object(r) AS json_merge_patch('{}', to_json(r))`,
	flattenMacro("sf_flatten", ""),
	flattenMacro("sf_flatten_outer", " UNION ALL SELECT 1, NULL, NULL, NULL, NULL, x WHERE json_type(x) IS NULL OR json_type(x) NOT IN ('OBJECT', 'ARRAY') OR x IN ('{}', '[]')"),
}

// flattenMacro defines FLATTEN; more are further rows.
func flattenMacro(name, more string) string {
	return `CREATE OR REPLACE MACRO ` + name + `(x) AS TABLE
		SELECT CAST(1 AS BIGINT) AS "SEQ", CASE WHEN json_type(x) = 'OBJECT' THEN e.key END AS "KEY", ltrim(substring(e.fullkey, 2), '.') AS "PATH",
			CASE WHEN json_type(x) = 'ARRAY' THEN CAST(e.key AS BIGINT) END AS "INDEX", e.value AS "VALUE", x AS "THIS"
		FROM json_each(x) e WHERE json_type(x) IN ('OBJECT', 'ARRAY')` + more
}

// pathOf is x:path.
func pathOf(x ast.Expr, path string) (ast.Expr, error) {
	parsed, err := parser.ParseExpr("X:" + path)
	if err != nil {
		return nil, &sqlError{code: "001003", state: "42000", message: compilation + "invalid path '" + path + "'"}
	}
	for at := parsed; ; {
		switch step := at.(type) {
		case *ast.Index:
			at = step.X
			continue
		case *ast.Path:
			if _, ok := step.X.(*ast.ColumnRef); !ok {
				at = step.X
				continue
			}
			step.X = x
			return parsed, nil
		}
		return nil, &sqlError{code: "001003", state: "42000", message: compilation + "invalid path '" + path + "'"}
	}
}

// objectOf is OBJECT_CONSTRUCT of pairs, or of a star; nil is neither.
func objectOf(args []ast.Expr) ast.Expr {
	if len(args) == 1 {
		if star, ok := args[0].(*ast.Star); ok {
			// DuckDB's *COLUMNS(…) makes arguments of columns.
			return call("sf_row_object", call("struct_pack", &ast.Unary{Op: "*", X: call("columns", star)}))
		}
	}
	if len(args) == 0 || len(args)%2 != 0 {
		return nil
	}
	keys, values := call("list_value"), call("list_value")
	for i := 0; i < len(args); i += 2 {
		keys.Args = append(keys.Args, call("sf_text", args[i]))
		values.Args = append(values.Args, call("sf_variant", args[i+1]))
	}
	return call("sf_object", keys, values)
}

// adaptCall gives a call Snowflake's meaning.
func (s *session) adaptCall(x *ast.Call) (ast.Expr, error) {
	if x.Name.Dynamic != nil || len(x.Name.Parts) != 1 {
		return nil, &sqlError{code: "002141", state: "42601", message: compilation + "Unknown user-defined function " + x.Name.Fold()}
	}
	name := x.Name.Fold()
	if strings.HasPrefix(name, "SF_") && x.Pos() < x.End() {
		// The emulator's own macros are no functions of Snowflake's.
		return nil, &sqlError{code: "002140", state: "42601", message: compilation + "Unknown function " + name}
	}
	if v, ok := s.contextValue(name); ok && len(x.Args) == 0 {
		return v, nil
	}
	switch name {
	case "SUM", "AVG", "MEDIAN", "STDDEV", "VARIANCE", "ABS", "CEIL", "FLOOR", "ROUND", "SQRT":
		if len(x.Args) > 0 && isPath(x.Args[0]) {
			x.Args[0] = castTo(call("sf_text", x.Args[0]), "FLOAT")
		}
	case "UPPER", "LOWER", "TRIM", "LTRIM", "RTRIM", "LENGTH", "LEN", "LEFT", "RIGHT", "SPLIT", "SPLIT_PART", "SUBSTR", "SUBSTRING",
		"REPLACE", "CONCAT", "CONTAINS", "STARTSWITH", "ENDSWITH", "REGEXP_LIKE", "REGEXP_REPLACE", "REGEXP_SUBSTR", "REGEXP_COUNT", "LISTAGG",
		"MD5", "SHA2", "TO_VARCHAR", "TO_CHAR", "REVERSE":
		for i, a := range x.Args {
			x.Args[i] = asTextExpr(a)
		}
	case "TO_NUMBER", "TO_DECIMAL", "TO_NUMERIC", "TRY_TO_NUMBER", "TRY_TO_DECIMAL", "TRY_TO_NUMERIC", "TO_DOUBLE", "TRY_TO_DOUBLE",
		"TO_DATE", "TRY_TO_DATE", "DATE", "TO_TIMESTAMP", "TO_TIMESTAMP_NTZ", "TRY_TO_TIMESTAMP", "TRY_TO_TIMESTAMP_NTZ", "TO_BOOLEAN":
		if len(x.Args) > 0 && isPath(x.Args[0]) {
			x.Args[0] = call("sf_text", x.Args[0])
		}
	case "GET_PATH":
		if len(x.Args) == 2 {
			if lit, ok := x.Args[1].(*ast.Literal); ok && lit.Kind == ast.StringLiteral {
				return pathOf(x.Args[0], lit.Value)
			}
		}
	case "OBJECT_CONSTRUCT":
		if object := objectOf(x.Args); object != nil {
			return object, nil
		}
	case "NVL", "IFNULL", "COALESCE":
		// A VARIANT beside a plain value becomes what the value is.
		for i, a := range x.Args {
			for _, other := range x.Args {
				if isPath(a) && !isPath(other) {
					x.Args[i] = comparable2(a, other)
				}
			}
		}
	}
	if macro, ok := renamed[name]; ok {
		if arity, limited := byArity[name]; !limited || arity == len(x.Args) {
			x.Name = ast.NewObjectName(strings.ToUpper(macro))
		}
	}
	return x, nil
}
