package slack

import (
	"context"
	"errors"

	"querywarden/approvals"
	"querywarden/audit"
)

// A Code says in the log why a callback or a click was refused. Codes never
// change their meaning.
type Code string

// The codes of callbacks, which nobody in Slack hears of.
const (
	CodeMalformed Code = "slack_malformed" // not a callback of Slack's, or of nothing that we have sent
	CodeQuery     Code = "slack_query"     // something stands in the address, which no signature covers
	CodeSignature Code = "slack_signature" // the signature is missing or wrong
	CodeStale     Code = "slack_stale"     // and its time more than five minutes off
	CodeReplayed  Code = "slack_replayed"  // it has been taken before
)

// The codes of clicks.
const (
	CodeTeam        Code = "slack_team"            // another workspace
	CodeStranger    Code = "slack_stranger"        // from another company, by Slack Connect
	CodeGuest       Code = "slack_guest"           // a guest, of one channel or of several
	CodeBot         Code = "slack_bot"             // no person
	CodeDeactivated Code = "slack_deactivated"     // the account is closed
	CodeNoAccount   Code = "slack_unknown_account" // Slack does not say whose it is
	CodeUnlinked    Code = "slack_unlinked"        // it is linked to no identity
	CodeAddress     Code = "slack_address"         // its address is not that of the identity
	CodeOldLink     Code = "slack_old_link"        // the groups of the link are too old for a yes
	CodeRevoked     Code = "slack_revoked"         // the sign-in that made the link was called back
	CodeStatement   Code = "slack_statement"       // the button is of another statement
	CodeOwn         Code = "slack_own_request"     // their own, or that of an agent acting for them
	CodeNoApprover  Code = "slack_no_approver"     // in none of the approving groups
	CodeSignIn      Code = "slack_sign_in"         // this rule wants a fresh sign-in
	CodeUnreadable  Code = "slack_unreadable"      // the statement could not be shown whole and as it is
	CodeUnknown     Code = "slack_unknown_request" // there is no such request
)

// sentence is what the person who clicked is told.
func (c Code) sentence() string {
	switch c {
	case CodeTeam, CodeStranger:
		return "Only members of this company's own workspace can decide here."
	case CodeGuest:
		return "Guests cannot decide here."
	case CodeBot:
		return "Only people can decide here."
	case CodeDeactivated:
		return "This account is deactivated."
	case CodeNoAccount:
		return "Slack does not say whose account this is. Nothing was decided; try again."
	case CodeUnlinked:
		return "Your Slack account is not linked yet. Sign in once, then click again."
	case CodeAddress:
		return "Your Slack account has another e-mail address than the identity that it is linked to. Nothing was decided; open the console, or link your account again."
	case CodeOldLink:
		return "Your last sign-in is too long ago to approve by a click. Sign in, then click again."
	case CodeRevoked:
		return "Your sign-in was called back. Sign in again, then click again."
	case CodeStatement:
		return "This button belongs to another statement than the one that is asked for. Nothing was decided."
	case CodeOwn:
		return "This is your own request, or that of an agent acting for you. Somebody else has to decide."
	case CodeNoApprover:
		return "You are in none of the groups that decide on this request."
	case CodeSignIn:
		return "This request is approved in the console, with a fresh sign-in."
	case CodeUnreadable:
		return "This statement is approved in the console, which shows all of it as it is."
	case CodeUnknown:
		return "There is no such request any more."
	case CodeMalformed, CodeQuery, CodeSignature, CodeStale, CodeReplayed:
		return "Nothing was decided."
	default:
		return "Nothing was decided."
	}
}

// codeOf is the code of a store's error; empty if that is no refusal.
func codeOf(err error) Code {
	for _, c := range []struct {
		err  error
		code Code
	}{
		{approvals.ErrOtherBinding, CodeStatement},
		{approvals.ErrOwnRequest, CodeOwn},
		{approvals.ErrNotApprover, CodeNoApprover},
		{approvals.ErrNeedsSignIn, CodeSignIn},
		{approvals.ErrNotReadable, CodeUnreadable},
		{approvals.ErrNotFound, CodeUnknown},
		{approvals.ErrNotLinked, CodeUnlinked},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return ""
}

// refuse records that a click was refused.
func (s *Slack) refuse(ctx context.Context, c click, code Code) {
	e := audit.Event{Codes: []string{string(code)}, Approval: c.id, Via: Provider}
	if c.user != "" {
		e.Remote = c.team + "/" + c.user
	}
	if i := c.link.Identity; i.Subject != "" {
		e.Voter = &audit.Caller{Issuer: i.Issuer, Subject: i.Subject, Email: i.Email}
	}
	s.config.Refused(ctx, e)
}
