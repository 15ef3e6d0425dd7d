package identity

import "fmt"

// A Reason says why a token does not count. Reasons never change their meaning.
type Reason string

// The reasons.
const (
	Missing         Reason = "missing"          // there is no token
	Malformed       Reason = "malformed"        // it is not a JWT as it should be
	UnknownIssuer   Reason = "unknown_issuer"   // nobody here trusts its issuer
	Unverified      Reason = "unverified"       // its signature, key or algorithm does not hold
	WrongType       Reason = "wrong_type"       // it is a JWT for another use
	WrongAudience   Reason = "wrong_audience"   // it was made for another service
	Expired         Reason = "expired"          // its time is over
	NotYetValid     Reason = "not_yet_valid"    // its time has not come
	TooOld          Reason = "too_old"          // it is valid for longer than this gateway accepts
	Bound           Reason = "bound"            // it is bound to a key, which is not supported
	WrongClient     Reason = "wrong_client"     // the client that it was made for may not bring it
	NoRule          Reason = "no_claim_rule"    // no rule lets in what it says, where only rules let in
	Revoked         Reason = "revoked"          // somebody has called it back
	KeysUnavailable Reason = "keys_unavailable" // its issuer's keys cannot be had now
	ListUnavailable Reason = "list_unavailable" // whether it is revoked cannot be known now
)

// An Error is a refused token. Error and Unwrap tell the cause, which can hold
// text from the token: they are for the operator. The caller gets Description.
type Error struct {
	Reason Reason
	cause  error
}

func refuse(reason Reason, cause error) *Error { return &Error{Reason: reason, cause: cause} }

// Error says why, with the cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return "refusing a token: " + string(e.Reason)
	}
	return fmt.Sprintf("refusing a token: %s: %v", e.Reason, e.cause)
}

// Unwrap returns the cause, which may be nil.
func (e *Error) Unwrap() error { return e.cause }

// Passing reports whether the same token may be good a little later: it is the
// gateway that cannot check it now, so another token would fare no better.
func (e *Error) Passing() bool { return e.Reason == KeysUnavailable || e.Reason == ListUnavailable }

// Description is a sentence for the caller, fit for error_description in a
// WWW-Authenticate header (RFC 6750): fixed, ASCII, without quotation marks,
// and telling nothing that is not in the caller's own token.
func (e *Error) Description() string {
	switch e.Reason {
	case Missing:
		return "a bearer token is required"
	case Expired:
		return "the token has expired"
	case NotYetValid:
		return "the token is not valid yet"
	case TooOld:
		return "the token was issued too long ago"
	case WrongAudience:
		return "the token was issued for another resource"
	case WrongType:
		return "this type of token is not accepted"
	case Bound:
		return "the token is bound to a key, which is not supported"
	case WrongClient:
		return "the token was issued to a client that is not accepted"
	case NoRule:
		return "no rule lets in what this token says"
	case Revoked:
		return "the token has been revoked"
	case KeysUnavailable, ListUnavailable:
		return "the token cannot be checked at the moment"
	case Malformed, UnknownIssuer, Unverified:
		return "the token is not valid"
	default:
		return "the token is not valid"
	}
}
