package ast

import "strings"

// The DuckDB dialect prints what that engine has a word for, and fails on the
// rest. Functions whose name or arguments differ are in the table below; those
// that only differ in their body keep their name, and the emulator defines a
// macro of that name.

// duckdb prints the nodes that DuckDB spells differently and reports whether
// it did.
func (p *printer) duckdb(n Node) bool {
	switch n := n.(type) {
	case *Call:
		return p.duckdbCall(n)
	case *Cast:
		p.duckdbCast(n)
	case *Type:
		p.duckdbType(n)
	case *Path, *Index:
		p.duckdbPath(n.(Expr), "->")
	case *ColumnRef:
		if len(n.Parts) == 1 && !n.Parts[0].Quoted {
			if f, ok := duckdbWords[n.Parts[0].Fold()]; ok {
				p.raw(f)
				return true
			}
		}
		return false
	case *TypedLiteral:
		if n.Type == "INTERVAL" {
			return false
		}
		p.raw("CAST(")
		p.str(n.Value)
		p.raw(" AS ")
		p.duckdbType(&Type{Name: n.Type})
		p.raw(")")
	case *Like:
		return p.duckdbLike(n)
	case *TableFunc:
		return p.duckdbTableFunc(n)
	case *Select:
		if n.Top == nil {
			return false
		}
		plain := *n
		plain.Top, plain.Limit = nil, n.Top
		p.selectQuery(&plain)
	case *SetOp:
		if n.Op != "MINUS" {
			return false
		}
		same := *n
		same.Op = "EXCEPT"
		p.query(&same)
	case *Array:
		p.raw("json_array(")
		list(p, n.Items)
		p.raw(")")
	case *Object:
		p.raw("json_object(")
		for i, f := range n.Fields {
			if f.Key == nil {
				p.fail("the embedded warehouse cannot spread objects or rows")
				return true
			}
			p.comma(i)
			p.node(f.Key)
			p.raw(", ")
			p.node(f.Value)
		}
		p.raw(")")
	case *Sample:
		return p.duckdbSample(n)
	case *Variable, *Lambda, *StageExpr, *StageRel, *TableArg, *ConnectBy, *TimeTravel, *Changes, *MultiInsert, *OuterRef, *Method, *StatementExpr,
		*MatchRecognize, *SemanticView, *Resample, *ResultRel, *Pipe:
		p.fail("the embedded warehouse cannot run this part of Snowflake's SQL: %s", nodeName(n))
	default:
		return false
	}
	return true
}

// nodeName names a node type for the message above.
func nodeName(n Node) string {
	switch n.(type) {
	case *Variable:
		return "session variables"
	case *Lambda:
		return "lambdas"
	case *StageExpr, *StageRel:
		return "stages"
	case *TableArg:
		return "tables as arguments"
	case *ConnectBy:
		return "CONNECT BY"
	case *TimeTravel, *Changes:
		return "time travel"
	case *MultiInsert:
		return "multi-table INSERT"
	case *OuterRef:
		return "joins written with (+)"
	case *MatchRecognize:
		return "MATCH_RECOGNIZE"
	case *Resample:
		return "RESAMPLE"
	case *SemanticView:
		return "semantic views"
	case *Method:
		return "methods of an object"
	case *Pipe, *ResultRel:
		return "statements joined by ->>"
	default:
		return "statements inside of expressions"
	}
}

// duckdbWords are the functions that Snowflake calls without parentheses.
var duckdbWords = map[string]string{
	"CURRENT_DATE": "CURRENT_DATE", "CURRENT_TIMESTAMP": "CURRENT_TIMESTAMP", "LOCALTIMESTAMP": "CURRENT_TIMESTAMP",
	"CURRENT_TIME": "CAST(CURRENT_TIMESTAMP AS TIME)", "LOCALTIME": "CAST(CURRENT_TIMESTAMP AS TIME)", "SYSDATE": "CURRENT_TIMESTAMP",
}

func (p *printer) duckdbSample(n *Sample) bool {
	p.raw("TABLESAMPLE ")
	if n.Rows {
		p.raw("RESERVOIR(")
		p.node(n.Size)
		p.raw(" ROWS)")
	} else {
		p.raw("BERNOULLI(")
		p.node(n.Size)
		p.raw(" PERCENT)")
	}
	if n.Seed != nil {
		p.raw(" REPEATABLE (")
		p.node(n.Seed)
		p.raw(")")
	}
	return true
}

// duckdbTypes are DuckDB's names of Snowflake's types.
// docs.snowflake.com/en/sql-reference/intro-summary-data-types
var duckdbTypes = map[string]string{
	"NUMBER": "DECIMAL", "DECIMAL": "DECIMAL", "DEC": "DECIMAL", "NUMERIC": "DECIMAL",
	"INT": "DECIMAL(38,0)", "INTEGER": "DECIMAL(38,0)", "BIGINT": "DECIMAL(38,0)", "SMALLINT": "DECIMAL(38,0)",
	"TINYINT": "DECIMAL(38,0)", "BYTEINT": "DECIMAL(38,0)",
	"FLOAT": "DOUBLE", "FLOAT4": "DOUBLE", "FLOAT8": "DOUBLE", "DOUBLE": "DOUBLE", "REAL": "DOUBLE",
	"VARCHAR": "VARCHAR", "CHAR": "VARCHAR", "CHARACTER": "VARCHAR", "NCHAR": "VARCHAR", "NVARCHAR": "VARCHAR",
	"NVARCHAR2": "VARCHAR", "STRING": "VARCHAR", "TEXT": "VARCHAR", "BINARY": "BLOB", "VARBINARY": "BLOB",
	"BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME", "DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMP",
	"TIMESTAMP_NTZ": "TIMESTAMP", "TIMESTAMPNTZ": "TIMESTAMP", "TIMESTAMP_LTZ": "TIMESTAMPTZ", "TIMESTAMPLTZ": "TIMESTAMPTZ",
	"TIMESTAMP_TZ": "TIMESTAMPTZ", "TIMESTAMPTZ": "TIMESTAMPTZ",
	"VARIANT": "JSON", "OBJECT": "JSON", "ARRAY": "JSON",
}

func (p *printer) duckdbType(t *Type) {
	name, ok := duckdbTypes[t.Name]
	if !ok || t.Custom != nil {
		p.fail("the embedded warehouse has no type %s", t.Name)
		return
	}
	p.raw(name)
	if name != "DECIMAL" {
		return
	}
	switch len(t.Args) {
	case 0:
		p.raw("(38,0)")
	case 1:
		p.raw("(" + t.Args[0] + ",0)")
	default:
		p.raw("(" + t.Args[0] + "," + t.Args[1] + ")")
	}
}

func isText(t *Type) bool { return duckdbTypes[t.Name] == "VARCHAR" && t.Custom == nil }

// duckdbCast casts. A path becomes text without its JSON quotes first, which
// is what Snowflake's casts of a VARIANT do.
func (p *printer) duckdbCast(n *Cast) {
	x := n.X
	for {
		paren, ok := x.(*ParenExpr)
		if !ok {
			break
		}
		x = paren.X
	}
	_, isPath := x.(*Path)
	_, isIndex := x.(*Index)
	path := isPath || isIndex
	if path && isText(n.Type) {
		p.duckdbPath(x, "->>")
		return
	}
	p.raw(when(n.Try, "TRY_") + "CAST(")
	if path && duckdbTypes[n.Type.Name] != "JSON" {
		p.duckdbPath(x, "->>")
	} else {
		p.node(n.X)
	}
	p.raw(" AS ")
	p.duckdbType(n.Type)
	p.raw(")")
}

// duckdbPath prints x:a.b[0] as (x -> '$."a"."b"[0]'). An index that is not a
// constant is a step of its own.
func (p *printer) duckdbPath(n Expr, op string) {
	steps := ""
	x := n
	for {
		switch step := x.(type) {
		case *Path:
			key := step.Key.Name
			steps = `."` + strings.ReplaceAll(key, `"`, `\"`) + `"` + steps
			x = step.X
			continue
		case *Index:
			if lit, ok := step.I.(*Literal); ok && step.To == nil {
				if lit.Kind == NumberLiteral {
					steps = "[" + lit.Value + "]" + steps
				} else {
					steps = `."` + strings.ReplaceAll(lit.Value, `"`, `\"`) + `"` + steps
				}
				x = step.X
				continue
			}
		}
		break
	}
	if steps == "" {
		p.fail("the embedded warehouse indexes with constants only")
		return
	}
	p.raw("(CAST(")
	p.node(x)
	p.raw(" AS JSON) " + op + " ")
	p.str("$" + steps)
	p.raw(")")
}

// duckdbLike spells out ANY and ALL, and RLIKE, which matches the whole text.
func (p *printer) duckdbLike(n *Like) bool {
	if n.Query != nil {
		p.fail("the embedded warehouse has no LIKE ANY (subquery)")
		return true
	}
	regexp := n.Op == "RLIKE" || n.Op == "REGEXP"
	if !regexp && n.Quantifier == "" {
		return false
	}
	p.raw(when(n.Not, "NOT ") + "(")
	for i, pattern := range n.Patterns {
		if i > 0 {
			p.raw(when(n.Quantifier == "ALL", " AND ") + when(n.Quantifier != "ALL", " OR "))
		}
		if regexp {
			p.raw("regexp_full_match(")
			p.node(n.X)
			p.raw(", ")
			p.node(pattern)
			p.raw(")")
			continue
		}
		p.node(n.X)
		p.raw(" " + n.Op + " ")
		p.node(pattern)
		p.clause(n.Escape, "ESCAPE")
	}
	p.raw(")")
	return true
}

// duckdbTableFunc prints FLATTEN and GENERATOR, the table functions that the
// emulator has.
func (p *printer) duckdbTableFunc(n *TableFunc) bool {
	call, ok := n.Call.(*Call)
	if !ok {
		p.fail("the embedded warehouse has no such table function")
		return true
	}
	arg := func(name string, position int) Expr {
		for _, a := range call.Args {
			if named, ok := a.(*NamedArg); ok && named.Name.Fold() == name {
				return named.Value
			}
		}
		if position >= 0 && position < len(call.Args) {
			if _, named := call.Args[position].(*NamedArg); !named {
				return call.Args[position]
			}
		}
		return nil
	}
	switch call.Name.Fold() {
	case "FLATTEN":
		input := arg("INPUT", 0)
		if input == nil || len(call.Args) > 3 || arg("RECURSIVE", -1) != nil || arg("MODE", -1) != nil {
			p.fail("the embedded warehouse has FLATTEN with INPUT, PATH and OUTER alone")
			return true
		}
		outer := false
		if lit, ok := arg("OUTER", -1).(*Literal); ok {
			outer = lit.Value == "TRUE"
		}
		p.raw("sf_flatten" + when(outer, "_outer") + "(CAST(")
		if path, ok := arg("PATH", -1).(*Literal); ok {
			p.raw("(CAST(")
			p.node(input)
			p.raw(" AS JSON) -> ")
			p.str("$." + path.Value)
			p.raw(")")
		} else {
			p.node(input)
		}
		p.raw(" AS JSON))")
	case "GENERATOR":
		rows := arg("ROWCOUNT", 0)
		if rows == nil {
			p.fail("the embedded warehouse has GENERATOR with ROWCOUNT alone")
			return true
		}
		p.raw("range(CAST(")
		p.node(rows)
		p.raw(" AS BIGINT))")
	case "SF_QUERY_HISTORY", "SF_LOGIN_HISTORY": // the emulator's own
		p.raw(strings.ToLower(call.Name.Fold()) + "(")
		list(p, call.Args)
		p.raw(")")
	case "RESULT_SCAN":
		p.fail("the embedded warehouse keeps no results for RESULT_SCAN")
		return true
	default:
		p.fail("the embedded warehouse has no table function %s", call.Name.Fold())
		return true
	}
	p.clause(n.Alias)
	p.clause(n.Sample)
	return true
}

// dateParts are the parts of a date by Snowflake's names and abbreviations.
// docs.snowflake.com/en/sql-reference/functions-date-time
var dateParts = map[string]string{
	"YEAR": "year", "Y": "year", "YY": "year", "YYY": "year", "YYYY": "year", "YR": "year", "YEARS": "year", "YRS": "year",
	"QUARTER": "quarter", "Q": "quarter", "QTR": "quarter", "QTRS": "quarter", "QUARTERS": "quarter",
	"MONTH": "month", "MM": "month", "MON": "month", "MONS": "month", "MONTHS": "month",
	"WEEK": "week", "W": "week", "WK": "week", "WEEKOFYEAR": "week", "WOY": "week", "WY": "week", "WEEKISO": "week",
	"DAY": "day", "D": "day", "DD": "day", "DAYS": "day", "DAYOFMONTH": "day",
	"DAYOFWEEK": "dow", "WEEKDAY": "dow", "DOW": "dow", "DW": "dow", "DAYOFWEEKISO": "isodow", "DAYOFYEAR": "doy", "YEARDAY": "doy", "DOY": "doy",
	"HOUR": "hour", "H": "hour", "HH": "hour", "HR": "hour", "HOURS": "hour", "HRS": "hour",
	"MINUTE": "minute", "M": "minute", "MI": "minute", "MIN": "minute", "MINUTES": "minute", "MINS": "minute",
	"SECOND": "second", "S": "second", "SEC": "second", "SECONDS": "second", "SECS": "second",
	"MILLISECOND": "millisecond", "MS": "millisecond", "MICROSECOND": "microsecond", "US": "microsecond",
	"EPOCH_SECOND": "epoch", "EPOCH": "epoch",
}

// datePart reads the first argument of a date function: a bare word or a
// string.
func datePart(x Expr) string {
	switch x := x.(type) {
	case *ColumnRef:
		if len(x.Parts) == 1 {
			return dateParts[x.Parts[0].Fold()]
		}
	case *Literal:
		return dateParts[strings.ToUpper(x.Value)]
	}
	return ""
}

// duckdbNames are functions that only have another name.
var duckdbNames = map[string]string{
	"NVL": "coalesce", "IFNULL": "coalesce", "COUNT_IF": "count_if", "LEN": "length", "STARTSWITH": "starts_with",
	"ENDSWITH": "ends_with", "CHARINDEX": "sf_charindex", "POSITION": "sf_charindex", "EDITDISTANCE": "levenshtein", "ARRAY_SIZE": "json_array_length",
	"REGEXP_LIKE": "regexp_full_match", "OBJECT_CONSTRUCT_KEEP_NULL": "json_object", "ARRAY_CONSTRUCT": "json_array",
	"BOOLAND_AGG": "bool_and", "BOOLOR_AGG": "bool_or", "APPROX_COUNT_DISTINCT": "approx_count_distinct", "HLL": "approx_count_distinct",
	"CURRENT_TIMESTAMP": "now", "GETDATE": "now", "SYSDATE": "now", "CEIL": "ceil", "CEILING": "ceil", "POW": "pow", "POWER": "pow",
	"SQUARE": "sf_square", "TYPEOF": "json_type", "OBJECT_KEYS": "json_keys", "VARIANCE": "var_samp", "STDDEV": "stddev_samp",
	"TRUNCATE": "trunc", "SUBSTR": "substring", "CHR": "chr", "CHAR": "chr", "RLIKE": "regexp_full_match", "HEX_ENCODE": "hex", "MD5_HEX": "md5",
	"LAST_DAY": "last_day", "DAYNAME": "dayname", "MONTHNAME": "monthname", "UCASE": "upper", "LCASE": "lower",
}

// duckdbCall prints a call that DuckDB writes differently and reports whether
// it did.
func (p *printer) duckdbCall(n *Call) bool {
	if n.Name.Dynamic != nil || len(n.Name.Parts) != 1 {
		p.fail("the embedded warehouse has no function of that name")
		return true
	}
	name := n.Name.Parts[0].Fold()
	args := n.Args
	switch name {
	case "IFF":
		if len(args) == 3 {
			p.template("CASE WHEN ?0 THEN ?1 ELSE ?2 END", args)
			return true
		}
	case "NVL2":
		if len(args) == 3 {
			p.template("CASE WHEN ?0 IS NOT NULL THEN ?1 ELSE ?2 END", args)
			return true
		}
	case "DECODE":
		p.decode(args)
		return true
	case "DATEADD", "TIMEADD", "TIMESTAMPADD":
		if len(args) == 3 {
			if part := datePart(args[0]); part != "" {
				p.template("(?2 + CAST(?1 AS INTEGER) * INTERVAL 1 "+part+")", args)
				return true
			}
		}
	case "DATEDIFF", "TIMEDIFF", "TIMESTAMPDIFF":
		if len(args) == 3 {
			if part := datePart(args[0]); part != "" {
				p.template("date_diff('"+part+"', ?1, ?2)", args)
				return true
			}
		}
	case "DATE_TRUNC", "TRUNC":
		if len(args) == 2 {
			if part := datePart(args[0]); part != "" && name == "DATE_TRUNC" {
				p.template("date_trunc('"+part+"', ?1)", args)
				return true
			}
		}
	case "DATE_PART":
		if len(args) == 2 {
			if part := datePart(args[0]); part != "" {
				p.template("date_part('"+part+"', ?1)", args)
				return true
			}
		}
	case "YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND":
		if len(args) == 1 {
			p.template("date_part('"+dateParts[name]+"', ?0)", args)
			return true
		}
	case "TO_VARCHAR", "TO_CHAR":
		if len(args) == 1 {
			p.cast(args[0], "VARCHAR", false)
			return true
		}
		if len(args) == 2 {
			if f, ok := args[1].(*Literal); ok && f.Kind == StringLiteral {
				p.template("strftime(?0, "+QuoteString(strftime(f.Value), DuckDB)+")", args)
				return true
			}
		}
	case "TO_DATE", "TRY_TO_DATE", "DATE":
		if len(args) == 1 {
			p.cast(args[0], "DATE", name == "TRY_TO_DATE")
			return true
		}
	case "TO_TIMESTAMP", "TO_TIMESTAMP_NTZ", "TRY_TO_TIMESTAMP", "TRY_TO_TIMESTAMP_NTZ":
		if len(args) == 1 {
			p.cast(args[0], "TIMESTAMP", strings.HasPrefix(name, "TRY_"))
			return true
		}
	case "TO_NUMBER", "TO_DECIMAL", "TO_NUMERIC", "TRY_TO_NUMBER", "TRY_TO_DECIMAL", "TRY_TO_NUMERIC":
		typ := "DECIMAL(38,0)"
		if len(args) == 3 {
			if a, ok := args[1].(*Literal); ok {
				if b, ok := args[2].(*Literal); ok {
					typ = "DECIMAL(" + a.Value + "," + b.Value + ")"
				}
			}
		}
		if len(args) > 0 {
			p.cast(args[0], typ, strings.HasPrefix(name, "TRY_"))
			return true
		}
	case "TO_DOUBLE", "TRY_TO_DOUBLE":
		if len(args) == 1 {
			p.cast(args[0], "DOUBLE", name == "TRY_TO_DOUBLE")
			return true
		}
	case "TO_BOOLEAN":
		if len(args) == 1 {
			p.cast(args[0], "BOOLEAN", false)
			return true
		}
	case "PARSE_JSON", "TRY_PARSE_JSON":
		if len(args) == 1 {
			p.cast(args[0], "JSON", name == "TRY_PARSE_JSON")
			return true
		}
	case "TO_VARIANT", "TO_ARRAY", "TO_OBJECT", "TO_JSON":
		if len(args) == 1 {
			p.template("to_json(?0)", args)
			return true
		}
	case "GET_PATH", "GET":
		if len(args) == 2 {
			p.template("(CAST(?0 AS JSON) -> ?1)", args)
			return true
		}
	case "OBJECT_CONSTRUCT":
		for _, a := range args {
			if _, star := a.(*Star); star {
				p.fail("the embedded warehouse cannot make an object of a star")
				return true
			}
		}
		p.raw("json_object(")
		list(p, args)
		p.raw(")")
		return true
	case "SHA2", "SHA2_HEX":
		if len(args) > 0 {
			p.template("sha256(CAST(?0 AS VARCHAR))", args)
			return true
		}
	case "LISTAGG":
		p.aggregate("string_agg", n)
		return true
	case "ARRAY_AGG":
		p.raw("to_json(")
		p.aggregate("list", n)
		p.raw(")")
		return true
	case "ARRAY_UNIQUE_AGG":
		distinct := *n
		distinct.Distinct = true
		p.raw("to_json(")
		p.aggregate("list", &distinct)
		p.raw(")")
		return true
	case "PERCENTILE_CONT", "PERCENTILE_DISC":
		if n.Within == nil || len(args) != 1 {
			p.fail("%s needs WITHIN GROUP", name)
		}
		return false
	case "CURRENT_DATE":
		p.raw("CURRENT_DATE")
		return true
	case "RATIO_TO_REPORT":
		if len(args) == 1 && n.Over != nil {
			p.template("(?0 / sum(?0) OVER (", args)
			p.node(n.Over)
			p.raw("))")
			return true
		}
	case "UUID_STRING":
		p.raw("CAST(uuid() AS VARCHAR)")
		return true
	case "ROLLUP", "CUBE":
		p.raw(name + " (")
		list(p, args)
		p.raw(")")
		return true
	}
	if other, ok := duckdbNames[name]; ok {
		p.duckdbPlain(other, n)
		return true
	}
	p.duckdbPlain(strings.ToLower(name), n)
	return true
}

// duckdbPlain prints a call under another name.
func (p *printer) duckdbPlain(name string, n *Call) {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			p.fail("the embedded warehouse has no function of that name")
			return
		}
	}
	p.raw(name + "(")
	p.raw(when(n.Distinct, "DISTINCT "))
	list(p, n.Args)
	p.words(n.Nulls)
	p.raw(")")
	if n.Within != nil {
		p.raw(" WITHIN GROUP (ORDER BY ")
		list(p, n.Within)
		p.raw(")")
	}
	if n.Over != nil {
		p.raw(" OVER (")
		p.node(n.Over)
		p.raw(")")
	}
}

// aggregate prints WITHIN GROUP (ORDER BY …) as an ORDER BY in the call.
func (p *printer) aggregate(name string, n *Call) {
	p.raw(name + "(" + when(n.Distinct, "DISTINCT "))
	list(p, n.Args)
	if n.Within != nil {
		p.raw(" ORDER BY ")
		list(p, n.Within)
	}
	p.raw(")")
	if n.Over != nil {
		p.raw(" OVER (")
		p.node(n.Over)
		p.raw(")")
	}
}

// cast prints a cast of an argument.
func (p *printer) cast(x Expr, typ string, try bool) {
	p.raw(when(try, "TRY_") + "CAST(")
	switch x.(type) {
	case *Path, *Index:
		if typ != "JSON" {
			p.duckdbPath(x, "->>")
			break
		}
		p.node(x)
	default:
		p.node(x)
	}
	p.raw(" AS " + typ + ")")
}

// template prints text in which ?n stands for an argument.
func (p *printer) template(text string, args []Expr) {
	for i := 0; i < len(text); i++ {
		if text[i] == '?' && i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9' {
			p.node(args[text[i+1]-'0'])
			i++
			continue
		}
		p.buf = append(p.buf, text[i])
	}
}

// decode prints DECODE(x, a, b, …, otherwise), in which NULL equals NULL.
func (p *printer) decode(args []Expr) {
	if len(args) < 3 {
		p.fail("DECODE needs at least three arguments")
		return
	}
	p.raw("CASE")
	i := 1
	for ; i+1 < len(args); i += 2 {
		p.raw(" WHEN ")
		p.node(args[0])
		p.raw(" IS NOT DISTINCT FROM ")
		p.node(args[i])
		p.raw(" THEN ")
		p.node(args[i+1])
	}
	if i < len(args) {
		p.raw(" ELSE ")
		p.node(args[i])
	}
	p.raw(" END")
}

// strftime turns Snowflake's date format into strftime's.
// docs.snowflake.com/en/sql-reference/date-time-input-output
func strftime(format string) string {
	return strings.NewReplacer("YYYY", "%Y", "yyyy", "%Y", "YY", "%y", "MMMM", "%B", "MON", "%b", "Mon", "%b", "MM", "%m", "mm", "%m",
		"DD", "%d", "dd", "%d", "DY", "%a", "HH24", "%H", "HH12", "%I", "HH", "%H", "MI", "%M", "SS", "%S", "AM", "%p", "PM", "%p", "%", "%%").Replace(format)
}
