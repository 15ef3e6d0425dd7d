package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	sf "github.com/snowflakedb/gosnowflake"
)

// Class says coarsely what went wrong. Classes never change their meaning, and
// none tells of data: an agent may hear them.
type Class string

// The classes.
const (
	Syntax      Class = "syntax"      // the account does not understand the statement
	Object      Class = "object"      // a name does not exist there, or is ambiguous
	Permission  Class = "permission"  // the gateway's role may not
	Data        Class = "data"        // a value does not fit: a cast, a division, a constraint
	Timeout     Class = "timeout"     // it took too long
	Cancelled   Class = "cancelled"   // the caller, or somebody in the account, stopped it
	Auth        Class = "auth"        // the account does not accept the login or the session
	Unavailable Class = "unavailable" // the account cannot be reached or is overloaded
	Internal    Class = "internal"    // anything else, and answers that do not hold together
)

// An Error is a statement's failure. Message, and with it Error's result, can
// quote values of rows: both are for the operator and the log, never for an
// agent, who may have Class, Code, SQLState and QueryID.
type Error struct {
	Class    Class
	Code     int    // the account's number, or the driver's from 260000 to 279999; 0 if none
	SQLState string // five characters, or empty
	QueryID  string // empty if the account did not give one
	Message  string

	cause error // context.Canceled, context.DeadlineExceeded or nil
}

// Error returns everything, see [Error].
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "warehouse: %s", e.Class)
	if e.Code != 0 {
		fmt.Fprintf(&b, " %06d", e.Code)
	}
	if e.SQLState != "" {
		fmt.Fprintf(&b, " (%s)", e.SQLState)
	}
	if e.QueryID != "" {
		fmt.Fprintf(&b, " query %s", e.QueryID)
	}
	return b.String() + ": " + e.Message
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] where one of
// them ended the statement.
func (e *Error) Unwrap() error { return e.cause }

// newError describes what the driver returned. A context that has ended is the
// reason for whatever went wrong after it.
func newError(ctx context.Context, err error, queryID string) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Class: Internal, QueryID: queryID, Message: err.Error()}
	var reported *sf.SnowflakeError
	var unreachable *url.Error
	switch {
	case errors.As(err, &reported):
		e.Code, e.SQLState, e.Message = reported.Number, reported.SQLState, reported.Message
		if len(reported.MessageArgs) > 0 {
			e.Message = fmt.Sprintf(reported.Message, reported.MessageArgs...)
		}
		// "-1" is how the driver writes that the reply had none.
		if e.SQLState == "-1" {
			e.SQLState = ""
		}
		if reported.QueryID != "" && reported.QueryID != "-1" {
			e.QueryID = reported.QueryID
		}
		e.Class = classOf(e.Code, e.SQLState)
	case errors.As(err, &unreachable):
		// The address of a part of a result is a secret: it opens without a
		// login.
		e.Class, e.Message = Unavailable, fmt.Sprintf("%s: %v", unreachable.Op, unreachable.Err)
	case errors.Is(err, errInconsistent):
	default:
		e.Class = Unavailable
	}
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.DeadlineExceeded):
		e.Class, e.cause = Timeout, ended
	case ended != nil:
		e.Class, e.cause = Cancelled, ended
	}
	return e
}

// classOf sorts error codes. Snowflake publishes no list of them; these are
// named in its documentation and in its drivers' sources, and SQLSTATE says
// more of the rest.
func classOf(code int, state string) Class {
	switch code {
	case 604, 605:
		return Cancelled
	case 630:
		return Timeout
	case 2003, 2043, 904, 1104, 2140:
		return Object
	case 3001:
		return Permission
	case 1003, 900, 8:
		return Syntax
	}
	switch {
	case code >= 390000 && code < 400000:
		return Auth
	case code >= 260000 && code < 280000:
		return Unavailable
	case code >= 100000 && code < 110000:
		return Data
	}
	switch {
	case state == "42S02" || state == "42703":
		return Object
	case state == "42501":
		return Permission
	case state == "57014":
		return Cancelled
	case strings.HasPrefix(state, "22"), strings.HasPrefix(state, "23"):
		return Data
	case strings.HasPrefix(state, "42"):
		return Syntax
	case strings.HasPrefix(state, "08"):
		return Unavailable
	default:
		return Internal
	}
}

// The codes by which the account says that a session is over.
const (
	codeInvalidToken   = 390104
	codeSessionGone    = 390111
	codeTokenExpired   = 390112
	codeMasterTokenEnd = 390114
)

func (e *Error) sessionOver() bool {
	switch e.Code {
	case codeInvalidToken, codeSessionGone, codeTokenExpired, codeMasterTokenEnd:
		return true
	default:
		return false
	}
}

// neverRan reports whether the account turned the statement away at the door.
// A statement that got a query id may have run, whatever happened then.
func (e *Error) neverRan() bool { return e.sessionOver() && e.QueryID == "" && e.cause == nil }

// spoilsSession reports whether the session should not be used again: because
// it is over, or because nobody knows what still runs in it.
func (e *Error) spoilsSession() bool {
	switch e.Class {
	case Syntax, Object, Permission, Data:
		return false
	case Timeout, Cancelled, Auth, Unavailable, Internal:
		return true
	default:
		return true
	}
}
