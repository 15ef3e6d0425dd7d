//go:build cgo

package emulator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"querywarden/internal/snowsql/parser"
)

// A sqlError is a statement's failure as Snowflake reports it: a code of six
// digits, a SQLSTATE, a message, and for compilation errors a place.
type sqlError struct {
	code     string
	state    string
	message  string
	line     int // from 1; 0 is unknown
	position int // from 0
}

func (e *sqlError) Error() string { return e.code + " (" + e.state + "): " + e.message }

const compilation = "SQL compilation error:\n"

// The errors of Snowflake that this package gives more than once. Snowflake
// publishes no list of its codes; these are the ones that the sources and tests
// of its drivers name.

func errNoObject(kind, name string) *sqlError {
	return &sqlError{code: "002003", state: "42S02", message: compilation + kind + " '" + name + "' does not exist or not authorized."}
}

func errExists(name, kind string) *sqlError {
	return &sqlError{code: "002002", state: "42710", message: compilation + "Object '" + name + "' already exists as " + kind + "."}
}

func errUnsupported(format string, args ...any) *sqlError {
	return &sqlError{code: "000002", state: "0A000", message: "Unsupported feature: " + fmt.Sprintf(format, args...) + "."}
}

func errCanceled() *sqlError {
	return &sqlError{code: "000604", state: "57014", message: "SQL execution canceled"}
}

// errSyntax is the parser's error in Snowflake's words.
func errSyntax(err *parser.Error) *sqlError {
	if err.Code == parser.Empty {
		return &sqlError{code: "000900", state: "42601", message: compilation + "Empty SQL statement.", line: 1}
	}
	return &sqlError{
		code: "001003", state: "42000", line: err.Line, position: err.Column - 1,
		message: fmt.Sprintf("%ssyntax error line %d at position %d %s.", compilation, err.Line, err.Column-1, err.Msg),
	}
}

var (
	unknownFunction = regexp.MustCompile(`(?:Scalar|Aggregate|Table|Macro)?.*Function with name "?([^"\s]+)"? does not exist`)
	unknownColumn   = regexp.MustCompile(`Referenced column "([^"]*)" not found|does not have a column named "([^"]*)"|column "?([^"\s]+)"? does not exist`)
	unknownTable    = regexp.MustCompile(`(?:Table|View) with name (\S+) does not exist`)
	unknownAlias    = regexp.MustCompile(`Referenced table "([^"]*)" not found`)
	ambiguous       = regexp.MustCompile(`Ambiguous reference to column name "([^"]*)"`)
)

// translate turns a failure of DuckDB into the one that Snowflake would
// report. Its message can hold values of rows, as Snowflake's own can.
func translate(err error) error {
	var known *sqlError
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return errCanceled()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &sqlError{code: "000630", state: "57014", message: "Statement reached its statement timeout and was canceled."}
	}
	message, kind := err.Error(), duckdb.ErrorTypeInvalid
	var native *duckdb.Error
	if errors.As(err, &native) {
		message, kind = native.Msg, native.Type
	}
	// The first line says what; what follows are DuckDB's hints about its own
	// text, which the client never saw.
	message, _, _ = strings.Cut(message, "\n")
	first := func(re *regexp.Regexp) (string, bool) {
		m := re.FindStringSubmatch(message)
		if m == nil {
			return "", false
		}
		return strings.ToUpper(strings.Join(m[1:], "")), true
	}
	_, plain, found := strings.Cut(message, "Error: ")
	if !found {
		plain = message
	}
	switch kind {
	case duckdb.ErrorTypeInterrupt:
		return errCanceled()
	case duckdb.ErrorTypeCatalog, duckdb.ErrorTypeBinder, duckdb.ErrorTypeParser:
		if name, ok := first(unknownFunction); ok {
			return &sqlError{code: "002140", state: "42601", message: compilation + "Unknown function " + name}
		}
		if name, ok := first(unknownColumn); ok {
			return &sqlError{code: "000904", state: "42000", message: compilation + "invalid identifier '" + name + "'"}
		}
		if name, ok := first(unknownAlias); ok {
			return &sqlError{code: "000904", state: "42000", message: compilation + "invalid identifier '" + name + "'"}
		}
		if name, ok := first(ambiguous); ok {
			return &sqlError{code: "001104", state: "42601", message: compilation + "ambiguous column name '" + name + "'"}
		}
		if name, ok := first(unknownTable); ok {
			return errNoObject("Object", name)
		}
		return &sqlError{code: "001044", state: "42P13", message: compilation + plain}
	case duckdb.ErrorTypeConversion:
		return &sqlError{code: "100038", state: "22018", message: plain}
	case duckdb.ErrorTypeOutOfRange:
		return &sqlError{code: "100039", state: "22003", message: plain}
	case duckdb.ErrorTypeConstraint:
		return &sqlError{code: "100072", state: "22000", message: plain}
	case duckdb.ErrorTypePermission:
		return &sqlError{code: "003001", state: "42501", message: "SQL access control error:\n" + plain}
	case duckdb.ErrorTypeInvalidInput:
		if plain == divisionByZero {
			return &sqlError{code: "100051", state: "22012", message: divisionByZero}
		}
	case duckdb.ErrorTypeTransaction:
		return &sqlError{code: "000625", state: "57014", message: plain}
	}
	return &sqlError{code: "100183", state: "P0000", message: plain}
}
