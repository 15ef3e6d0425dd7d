package warehouse

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The lengths of texts and bytes that were declared without one.
// docs.snowflake.com/en/sql-reference/data-types-text
const (
	defaultText   = 16777216
	defaultBinary = 8388608
	defaultDigits = 9 // decimals of seconds
)

// columnType reads the type of a result's column as replies name it. An unknown
// one has no kind.
func columnType(wire string, precision, scale, length int64) (Kind, string) {
	switch strings.ToLower(wire) {
	case "fixed":
		return Number, fmt.Sprintf("NUMBER(%d,%d)", precision, scale)
	case "real":
		return Float, "FLOAT"
	case "text":
		return Text, sized("VARCHAR", length, defaultText)
	case "boolean":
		return Boolean, "BOOLEAN"
	case "date":
		return Date, "DATE"
	case "time":
		return Time, sized("TIME", scale, defaultDigits)
	case "timestamp_ntz":
		return TimestampNTZ, sized("TIMESTAMP_NTZ", scale, defaultDigits)
	case "timestamp_ltz":
		return TimestampLTZ, sized("TIMESTAMP_LTZ", scale, defaultDigits)
	case "timestamp_tz":
		return TimestampTZ, sized("TIMESTAMP_TZ", scale, defaultDigits)
	case "binary":
		return Binary, sized("BINARY", length, defaultBinary)
	case "variant", "object", "array":
		return Variant, strings.ToUpper(wire)
	case "map":
		return Variant, "OBJECT"
	default:
		return 0, ""
	}
}

// sized adds a type's parameter unless it is what everybody gets who gives none.
// A length of zero is one that the account did not say.
func sized(name string, n, usual int64) string {
	if n == usual || n == 0 && usual != defaultDigits {
		return name
	}
	return fmt.Sprintf("%s(%d)", name, n)
}

// decode turns a cell of the JSON result format into its [Value.Text]. Nothing
// passes through a float. Errors do not quote the cell.
//
//	boolean        1 or 0
//	date           days since 1970-01-01
//	time           seconds since midnight, with decimals
//	timestamp_ntz  seconds since 1970, with decimals; the sign is the whole's
//	timestamp_tz   the same, a space, the offset in minutes plus 1440
func decode(kind Kind, scale int, cell string) (string, error) {
	switch kind {
	case Number, Float, Text, Binary, Variant:
		return cell, nil
	case Boolean:
		switch cell {
		case "1", "true":
			return "true", nil
		case "0", "false":
			return "false", nil
		}
		return "", errors.New("not a boolean")
	case Date:
		days, err := strconv.ParseInt(cell, 10, 32)
		if err != nil {
			return "", errors.New("not a date")
		}
		return time.Unix(days*86400, 0).UTC().Format(time.DateOnly), nil
	case Time:
		t, err := instant(cell)
		if err != nil {
			return "", err
		}
		return t.Format(time.TimeOnly + decimals(scale)), nil
	case TimestampNTZ:
		t, err := instant(cell)
		if err != nil {
			return "", err
		}
		return t.Format(dateTime + decimals(scale)), nil
	case TimestampLTZ:
		t, err := instant(cell)
		if err != nil {
			return "", err
		}
		return t.Format(dateTime + decimals(scale) + "Z07:00"), nil
	case TimestampTZ:
		seconds, zone, ok := strings.Cut(cell, " ")
		offset, err := strconv.Atoi(zone)
		if !ok || err != nil || offset < 0 || offset > 2*1440 {
			return "", errors.New("not a timestamp with its zone")
		}
		t, err := instant(seconds)
		if err != nil {
			return "", err
		}
		return t.In(time.FixedZone("", (offset-1440)*60)).Format(dateTime + decimals(scale) + "-07:00"), nil
	default:
		return "", errors.New("of no known kind")
	}
}

const dateTime = "2006-01-02T15:04:05"

// decimals is the layout of that many decimals of a second.
func decimals(scale int) string {
	if scale <= 0 {
		return ""
	}
	return "." + strings.Repeat("0", min(scale, 9))
}

// instant reads seconds since 1970 with up to nine decimals, exactly. The sign
// goes for whole and decimals together, so "-0.5" is half a second before 1970.
func instant(cell string) (time.Time, error) {
	digits, negative := strings.CutPrefix(cell, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	seconds, err := strconv.ParseUint(whole, 10, 62)
	if err != nil || len(fraction) > 9 {
		return time.Time{}, errors.New("not a number of seconds")
	}
	var nanos uint64
	if fraction != "" {
		if nanos, err = strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 32); err != nil {
			return time.Time{}, errors.New("not a number of seconds")
		}
	}
	if negative {
		return time.Unix(-int64(seconds), -int64(nanos)).UTC(), nil
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), nil
}
