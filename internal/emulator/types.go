//go:build cgo

package emulator

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"querywarden/internal/snowsql/ast"
)

// A dataType is a type of Snowflake's, by its canonical name: NUMBER, FLOAT,
// VARCHAR, BINARY, BOOLEAN, DATE, TIME, TIMESTAMP_NTZ, TIMESTAMP_LTZ,
// TIMESTAMP_TZ, VARIANT, OBJECT, ARRAY.
// docs.snowflake.com/en/sql-reference/intro-summary-data-types
type dataType struct {
	name      string
	precision int // NUMBER
	scale     int // NUMBER; digits of the second of times
	length    int // VARCHAR in characters, BINARY in bytes
}

// The lengths of texts and bytes that say none.
const (
	maxText   = 16777216
	maxBinary = 8388608
)

var varcharType = dataType{name: "VARCHAR", length: maxText}

// synonyms are the other names of types.
var synonyms = map[string]string{
	"DECIMAL": "NUMBER", "DEC": "NUMBER", "NUMERIC": "NUMBER",
	"INT": "NUMBER", "INTEGER": "NUMBER", "BIGINT": "NUMBER", "SMALLINT": "NUMBER", "TINYINT": "NUMBER", "BYTEINT": "NUMBER",
	"FLOAT4": "FLOAT", "FLOAT8": "FLOAT", "DOUBLE": "FLOAT", "DOUBLE PRECISION": "FLOAT", "REAL": "FLOAT",
	"CHAR": "VARCHAR", "CHARACTER": "VARCHAR", "NCHAR": "VARCHAR", "STRING": "VARCHAR", "TEXT": "VARCHAR", "NVARCHAR": "VARCHAR",
	"NVARCHAR2": "VARCHAR", "VARBINARY": "BINARY",
	"DATETIME": "TIMESTAMP_NTZ", "TIMESTAMP": "TIMESTAMP_NTZ", "TIMESTAMPNTZ": "TIMESTAMP_NTZ",
	"TIMESTAMPLTZ": "TIMESTAMP_LTZ", "TIMESTAMPTZ": "TIMESTAMP_TZ",
}

// typeOf reads a type as it was declared.
func typeOf(t *ast.Type) (dataType, error) {
	name := t.Name
	if canonical, ok := synonyms[name]; ok {
		name = canonical
	}
	d := dataType{name: name}
	arg := func(i, otherwise int) (int, error) {
		if i >= len(t.Args) {
			return otherwise, nil
		}
		n, err := strconv.Atoi(t.Args[i])
		if err != nil {
			return 0, &sqlError{code: "001003", state: "42000", message: compilation + "invalid argument of type " + t.Name}
		}
		return n, nil
	}
	var err error
	switch {
	case t.Custom != nil || t.Elem != nil:
		return d, errUnsupported("structured and user-defined types")
	case name == "NUMBER":
		if d.precision, err = arg(0, 38); err == nil {
			d.scale, err = arg(1, 0)
		}
		if err == nil && (d.precision < 1 || d.precision > 38 || d.scale < 0 || d.scale > d.precision || d.scale > 37) {
			err = &sqlError{code: "002263", state: "42601", message: compilation + fmt.Sprintf("Invalid precision or scale of NUMBER(%d,%d)", d.precision, d.scale)}
		}
	case t.Name == "CHAR" || t.Name == "CHARACTER" || t.Name == "NCHAR":
		d.length, err = arg(0, 1)
	case name == "VARCHAR":
		d.length, err = arg(0, maxText)
	case name == "BINARY":
		d.length, err = arg(0, maxBinary)
	case name == "TIME" || strings.HasPrefix(name, "TIMESTAMP_"):
		d.scale, err = arg(0, 9)
	case name == "FLOAT" || name == "BOOLEAN" || name == "DATE" || name == "VARIANT" || name == "OBJECT" || name == "ARRAY":
	default:
		return d, errUnsupported("the type %s", t.Name)
	}
	return d, err
}

// String returns the type as DESCRIBE shows it.
func (t dataType) String() string {
	switch t.name {
	case "NUMBER":
		return fmt.Sprintf("NUMBER(%d,%d)", t.precision, t.scale)
	case "VARCHAR", "BINARY":
		return fmt.Sprintf("%s(%d)", t.name, t.length)
	case "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		return fmt.Sprintf("%s(%d)", t.name, t.scale)
	default:
		return t.name
	}
}

// duckDB returns the type's name in DuckDB.
func (t dataType) duckDB() (string, error) {
	node := &ast.Type{Name: t.name}
	if t.name == "NUMBER" {
		node.Args = []string{strconv.Itoa(t.precision), strconv.Itoa(t.scale)}
	}
	return ast.Print(node, ast.DuckDB)
}

// informationName is the type's name in INFORMATION_SCHEMA.
func (t dataType) informationName() string {
	if t.name == "VARCHAR" {
		return "TEXT"
	}
	return t.name
}

// fits reports whether a value of the type that DuckDB gives can be sent as
// the declared type t.
func (t dataType) fits(engine dataType) bool {
	switch t.name {
	case "VARIANT", "OBJECT", "ARRAY":
		return engine.name == "VARIANT" || engine.name == "OBJECT" || engine.name == "ARRAY"
	case "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		return engine.name == "TIMESTAMP_LTZ"
	case "NUMBER":
		return engine == t
	default:
		return engine.name == t.name
	}
}

// newColumn describes a result's column.
func newColumn(name string, t dataType) column {
	c := column{Name: name, Nullable: true}
	whole := func(n int) *int { return &n }
	switch t.name {
	case "NUMBER":
		c.Type, c.Precision, c.Scale = "fixed", whole(t.precision), whole(t.scale)
	case "FLOAT":
		c.Type = "real"
	case "VARCHAR":
		c.Type, c.Length, c.ByteLength = "text", whole(t.length), whole(min(4*t.length, maxText))
	case "BINARY":
		c.Type, c.Length, c.ByteLength = "binary", whole(t.length), whole(t.length)
	case "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		c.Type, c.Precision, c.Scale = strings.ToLower(t.name), whole(0), whole(t.scale)
	default:
		c.Type = strings.ToLower(t.name)
	}
	return c
}

// The ways to select a column for the wire, with its position.
const (
	asIs   = "#%d"
	asText = "CAST(#%d AS VARCHAR)"
	asJSON = "CAST(to_json(#%d) AS VARCHAR)"
)

// fromDuckDB is the Snowflake type for one of DuckDB's, and how its values are
// selected.
func fromDuckDB(info duckdb.TypeInfo) (dataType, string) {
	whole := func(digits int) (dataType, string) { return dataType{name: "NUMBER", precision: digits}, asIs }
	switch info.InternalType() {
	case duckdb.TYPE_BOOLEAN:
		return dataType{name: "BOOLEAN"}, asIs
	case duckdb.TYPE_TINYINT, duckdb.TYPE_UTINYINT:
		return whole(3)
	case duckdb.TYPE_SMALLINT, duckdb.TYPE_USMALLINT:
		return whole(5)
	case duckdb.TYPE_INTEGER, duckdb.TYPE_UINTEGER:
		return whole(10)
	case duckdb.TYPE_BIGINT, duckdb.TYPE_UBIGINT:
		return whole(18)
	case duckdb.TYPE_HUGEINT, duckdb.TYPE_UHUGEINT, duckdb.TYPE_BIGNUM:
		return whole(38)
	case duckdb.TYPE_FLOAT, duckdb.TYPE_DOUBLE:
		return dataType{name: "FLOAT"}, asIs
	case duckdb.TYPE_DECIMAL:
		d := dataType{name: "NUMBER", precision: 38}
		if details, ok := info.Details().(*duckdb.DecimalDetails); ok {
			d.precision, d.scale = int(details.Width), int(details.Scale)
		}
		return d, asIs
	case duckdb.TYPE_VARCHAR:
		if info.Alias() == "JSON" {
			return dataType{name: "VARIANT"}, asText
		}
		return varcharType, asIs
	case duckdb.TYPE_BLOB:
		return dataType{name: "BINARY", length: maxBinary}, asIs
	case duckdb.TYPE_DATE:
		return dataType{name: "DATE"}, asIs
	case duckdb.TYPE_TIME, duckdb.TYPE_TIME_TZ:
		return dataType{name: "TIME", scale: 9}, asIs
	case duckdb.TYPE_TIMESTAMP, duckdb.TYPE_TIMESTAMP_S, duckdb.TYPE_TIMESTAMP_MS, duckdb.TYPE_TIMESTAMP_NS:
		return dataType{name: "TIMESTAMP_NTZ", scale: 9}, asIs
	case duckdb.TYPE_TIMESTAMP_TZ:
		return dataType{name: "TIMESTAMP_LTZ", scale: 9}, asIs
	case duckdb.TYPE_LIST, duckdb.TYPE_ARRAY:
		return dataType{name: "ARRAY"}, asJSON
	case duckdb.TYPE_STRUCT, duckdb.TYPE_MAP, duckdb.TYPE_UNION:
		return dataType{name: "OBJECT"}, asJSON
	default: // UUID, INTERVAL, ENUM, the type of a bare NULL
		return varcharType, asText
	}
}
