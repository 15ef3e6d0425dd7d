package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// HiddenKey is a key for [Mask.SQL] that is no secret: with it, the text of a
// hash may be shown. It shows HIDDEN where the keys would stand and is not a
// statement to run.
const HiddenKey = "hidden"

// Stars is what a mask shows where it shows nothing of a text.
const Stars = "***"

// SQL returns the mask as a Snowflake expression over column, which is an SQL
// expression itself: a column's name, quoted and qualified as the place needs
// it. It is written several times and must have no effects. typ is the
// column's type in Snowflake's words; a type that is not known makes every
// mask hide everything.
//
// The expression has the column's type, or one it compares with, but for
// hashes and ends of whole numbers, which are VARCHAR. It is built of CASE,
// CAST, ||, LENGTH, RIGHT, SPLIT_PART, SHA2, DATE_TRUNC and FLOOR only, and no
// value of the column makes it fail, save numbers of 32 digits and more in a
// range.
//
// key is the gate's secret; only hash needs one and fails without it. The
// returned text of a hash is a secret as well.
func (m Mask) SQL(column, typ, key string) (string, error) {
	if column == "" {
		return "", errors.New("masking a column: it has no name")
	}
	m = m.normal()
	t := typeOf(typ)
	if !m.fits(t) {
		m = Mask{}
	}
	switch m.Kind {
	case Redact:
		if t.family == text {
			return "'" + Stars + "'", nil
		}
		return t.null(), nil
	case Null:
		return t.null(), nil
	case Hash:
		outer, inner, err := hashKeys(key)
		if err != nil {
			return "", err
		}
		return "SHA2('" + outer + "' || SHA2('" + inner + "' || " + t.asText(column) + ", 256), 256)", nil
	case Email:
		// One @ with something on both sides, and behind it a domain: a dot
		// and no space, so that free text in such a column stays inside.
		domain := "SPLIT_PART(" + column + ", '@', 2)"
		return "CASE WHEN SPLIT_PART(" + column + ", '@', 1) <> ''" +
			" AND SPLIT_PART(" + column + ", '@', 3) = '' AND RIGHT(" + column + ", 1) <> '@'" +
			" AND SPLIT_PART(" + domain + ", '.', 2) <> '' AND SPLIT_PART(" + domain + ", ' ', 2) = ''" +
			" THEN '" + Stars + "@' || " + domain + " ELSE '" + Stars + "' END", nil
	case Partial:
		s := t.asText(column)
		n, twice := strconv.FormatInt(m.N, 10), strconv.FormatInt(2*m.N, 10)
		return "CASE WHEN LENGTH(" + s + ") >= " + twice + " THEN '" + Stars + "' || RIGHT(" + s + ", " + n + ") ELSE '" + Stars + "' END", nil
	case Year:
		// The cast is the type's own for Snowflake; other engines widen a
		// truncated date to a timestamp.
		return "CAST(DATE_TRUNC('YEAR', " + column + ") AS " + t.name + ")", nil
	case Range:
		n := strconv.FormatInt(m.N, 10)
		bucket := "FLOOR(" + column + " / " + n + ") * " + n
		if t.family == float {
			return bucket, nil
		}
		// Not the column's own precision: the lower bound of -95 in tens is
		// -100, and an overflow would tell the value.
		return "CAST(" + bucket + " AS NUMBER(38, 0))", nil
	default:
		return t.null(), nil
	}
}

// fits reports whether the mask has a meaning for columns of the type.
func (m Mask) fits(t sqlType) bool {
	switch m.Kind {
	case Redact, Null:
		return true
	case Hash, Partial:
		return t.family == text || t.family == whole
	case Email:
		return t.family == text
	case Year:
		return t.family == date
	case Range:
		return t.family == whole || t.family == decimal || t.family == float
	default:
		return false
	}
}

// hashKeys derives the two keys of the hash; see the package comment.
func hashKeys(key string) (outer, inner string, err error) {
	switch key {
	case "":
		return "", "", errors.New("masking with a hash: there is no key")
	case HiddenKey:
		return "HIDDEN", "HIDDEN", nil
	}
	return derive(key, "querywarden mask hash outer v1"), derive(key, "querywarden mask hash inner v1"), nil
}

func derive(key, label string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(label))
	return hex.EncodeToString(h.Sum(nil))
}

// family is what masks need to know of a type. The zero value is unknown.
type family uint8

const (
	unknown family = iota
	text           // VARCHAR and its synonyms
	whole          // NUMBER without decimals
	decimal        // NUMBER with decimals
	float          // FLOAT and its synonyms
	date           // DATE and the timestamps
	other          // known by name, and opaque: BOOLEAN, VARIANT, BINARY, …
)

// A sqlType is a column's type as far as masks need it. name is its canonical
// name, safe to write into a statement; empty for unknown types.
type sqlType struct {
	family family
	name   string
}

// null is NULL of the type.
func (t sqlType) null() string {
	if t.name == "" {
		return "NULL"
	}
	return "CAST(NULL AS " + t.name + ")"
}

// asText is column as text. Only for texts and whole numbers, whose text does
// not depend on a session's formats.
func (t sqlType) asText(column string) string {
	if t.family == text {
		return column
	}
	return "CAST(" + column + " AS VARCHAR)"
}

// typeOf reads a type as catalogs write it: "NUMBER(38,0)", "VARCHAR(16)",
// "double precision". Nothing of an unknown type's text survives, since it ends
// in a statement.
func typeOf(typ string) sqlType {
	base, args, _ := strings.Cut(strings.ToUpper(typ), "(")
	args, _, _ = strings.Cut(args, ")")
	switch base = strings.Join(strings.Fields(base), " "); base {
	case "VARCHAR", "CHAR", "CHARACTER", "NCHAR", "STRING", "TEXT", "NVARCHAR", "NVARCHAR2", "CHAR VARYING", "NCHAR VARYING":
		return sqlType{text, "VARCHAR"}
	case "NUMBER", "DECIMAL", "DEC", "NUMERIC", "FIXED":
		return numberOf(args)
	case "INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT":
		return sqlType{whole, "NUMBER(38, 0)"}
	case "FLOAT", "FLOAT4", "FLOAT8", "DOUBLE", "DOUBLE PRECISION", "REAL":
		return sqlType{float, "FLOAT"}
	case "DATE":
		return sqlType{date, "DATE"}
	case "DATETIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMPNTZ", "TIMESTAMP WITHOUT TIME ZONE":
		return sqlType{date, "TIMESTAMP_NTZ"}
	case "TIMESTAMP_LTZ", "TIMESTAMPLTZ", "TIMESTAMP WITH LOCAL TIME ZONE":
		return sqlType{date, "TIMESTAMP_LTZ"}
	case "TIMESTAMP_TZ", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE":
		return sqlType{date, "TIMESTAMP_TZ"}
	case "BOOLEAN", "TIME", "BINARY", "VARIANT", "OBJECT", "ARRAY", "GEOGRAPHY", "GEOMETRY":
		return sqlType{other, base}
	case "VARBINARY":
		return sqlType{other, "BINARY"}
	default: // VECTOR, MAP, FILE, and whatever comes
		return sqlType{}
	}
}

// numberOf reads the precision and scale of a NUMBER; (38, 0) if absent.
func numberOf(args string) sqlType {
	precision, scale := "38", "0"
	if p, s, ok := strings.Cut(args, ","); ok {
		precision, scale = strings.TrimSpace(p), strings.TrimSpace(s)
	} else if p := strings.TrimSpace(args); p != "" {
		precision = p
	}
	p, err1 := strconv.ParseUint(precision, 10, 8)
	s, err2 := strconv.ParseUint(scale, 10, 8)
	if err1 != nil || err2 != nil || p == 0 || p > 38 || s > p {
		return sqlType{}
	}
	t := sqlType{whole, "NUMBER(" + strconv.FormatUint(p, 10) + ", " + strconv.FormatUint(s, 10) + ")"}
	if s > 0 {
		t.family = decimal
	}
	return t
}
