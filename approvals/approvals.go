// Package approvals holds the requests that wait for a person.
//
// A request binds one statement exactly: the text that would run, who asked and
// in which session, the role and place, the objects with their versions, the
// masks, filters, limits and policy it was judged under ([Binding]). Its state
// moves along [transitions] and no other way. Every move is one transaction of
// the audit log's database: a compare-and-swap on state and fence, the record,
// and what messengers have to be told. Nothing is kept in memory but who is
// waiting to hear.
//
//	pending       → approved, denied, expired, cancelled
//	approved      → executing, expired, revoked
//	executing     → done, failed, indeterminate
//	indeterminate → done, failed
//
// # Who decides
//
// As many different people of the rule's groups as its quorum says; one denial
// ends it, and takes an approval back that is not used yet. Nobody decides on
// their own request or on that of an agent that acts for them, by subject or by
// e-mail address, whatever groups they are in. Two accounts with one address
// are one person. How a voter came is part of the vote ([Via]): a rule that asks
// for a fresh sign-in takes no yes from Slack, and a statement with characters
// that hide something takes a yes only from the console, which shows them.
//
// Where a rule has break_glass, one person of those groups decides alone, with a
// reason and a ticket. The time to run is short then, everybody is told, and the
// request stays open until a second person has acknowledged it.
//
// # Two clocks
//
// A request that nobody decides expires, and so does one that was approved and
// not run. The claim (approved → executing) happens once; it decides between a
// run and everything that would stop it. It is good for a time, the lease: whoever
// holds it looks once more ([Store.Holds]) before anything is sent, and sends
// under a deadline that ends before the lease does. When that is over, or the
// gateway dies, nobody runs the statement again: what became of it is looked up
// in the account's own history, and where that says nothing the request is
// indeterminate, for a person to settle.
package approvals

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"querywarden/policy"
)

// The errors of this package.
var (
	ErrNotFound     = errors.New("there is no such request")
	ErrNotPending   = errors.New("the request is not waiting for a decision any more")
	ErrNotClaimable = errors.New("the request is not approved, or not any more")
	ErrNotHeld      = errors.New("the claim is over")
	ErrOtherBinding = errors.New("that is not the statement that is asked for")
	ErrOwnRequest   = errors.New("nobody decides on their own request, nor on that of an agent acting for them")
	ErrNotApprover  = errors.New("the voter is in none of the approving groups")
	ErrNeedsReason  = errors.New("this decision needs a reason")
	ErrNeedsTicket  = errors.New("breaking the glass needs a ticket")
	ErrLongReason   = errors.New("the reason is longer than 2000 bytes or is not text")
	ErrNeedsSignIn  = errors.New("this decision needs a fresh sign-in in the console")
	ErrNotReadable  = errors.New("the statement holds characters that hide something; it can be approved only in the console, which shows them")
	ErrNoGlass      = errors.New("no rule lets anybody decide on this request alone")
	ErrNotOpen      = errors.New("there is nothing to acknowledge or to settle")
)

// A Binding is what an approval is good for.
type Binding struct {
	Statement string           `json:"statement"` // as it would run, without the gate's secrets
	Requester policy.Identity  `json:"requester"`
	Behind    *policy.Identity `json:"behind,omitempty"`
	Session   string           `json:"session"` // the gateway's name for the requester's session
	Role      string           `json:"role"`
	Warehouse string           `json:"warehouse"`
	Database  string           `json:"database"`
	Schema    string           `json:"schema"`
	Objects   []string         `json:"objects"`
	Versions  []string         `json:"versions"` // of the objects, in the catalog; empty where there is none
	Masks     []string         `json:"masks"`
	Filters   []string         `json:"filters"`
	Limits    policy.Limits    `json:"limits"`
	Policy    string           `json:"policy"`
}

// Digest is the SHA-256 of the binding as JSON, in hexadecimal.
func (b Binding) Digest() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(fmt.Sprintf("approvals: a binding of plain fields cannot be encoded: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Short is the part of a digest that a button carries beside the request's id:
// its first 16 characters.
func Short(digest string) string { return digest[:min(len(digest), 16)] }

// An Asking is a new request's content. Binding, Caller, Sent and Need are
// required.
type Asking struct {
	Binding Binding
	Caller  policy.Caller // the requester, with kind and groups
	Sent    string        // the statement as the agent sent it
	Reason  string        // asserted
	Client  string        // the program that asks, asserted
	// Conversation is the client's name for what belongs together, asserted.
	Conversation string
	Need         policy.Approval // what it takes
	Brief        Brief
	Marks        []Mark // in Binding.Statement
	// After is a request that this one takes the place of: what was approved
	// there is not what would run now.
	After string
}

// A Brief is what an approver is shown beyond the statement.
type Brief struct {
	// Effects say what the statement does, a sentence each.
	Effects []string `json:"effects,omitempty"`
	// Rows is how many rows the statement's condition matches; nil if that is
	// not known, and RowsNote says why not, or of what it is the number.
	Rows     *int64 `json:"rows,omitempty"`
	RowsNote string `json:"rows_note,omitempty"`
	// Depends are the objects that name what is changed.
	Depends []string `json:"depends,omitempty"`
	// Estimate is the warehouse's own, in words.
	Estimate string `json:"estimate,omitempty"`
	// Undo is the way back, as SQL and words, UndoBy until when it is open;
	// zero if that is not known.
	Undo   string    `json:"undo,omitempty"`
	UndoBy time.Time `json:"undo_by,omitzero"`
	// Retention is how many days the account keeps what was there before; nil
	// if that is not known.
	Retention *int `json:"retention,omitempty"`
}

// A Mark is a place in a statement, in bytes, that an approver should not
// overlook.
type Mark struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Kind  string `json:"kind"` // "object" or "effect"
}

// A Request is a statement that waits, or has waited, for a person.
type Request struct {
	ID      string        `json:"id"`
	State   State         `json:"state"`
	Digest  string        `json:"digest"`
	Binding Binding       `json:"binding"`
	Caller  policy.Caller `json:"caller"` // the requester as last seen
	Sent    string        `json:"sent"`   // the statement as the agent sent it
	Reason  string        `json:"reason"` // asserted
	Client  string        `json:"client"` // asserted
	// Conversation is asserted as well.
	Conversation string          `json:"conversation,omitempty"`
	Approval     policy.Approval `json:"approval"`
	Brief        Brief           `json:"brief"`
	Marks        []Mark          `json:"marks,omitempty"`
	Asked        time.Time       `json:"asked"`
	DecideBy     time.Time       `json:"decide_by"`
	RunBy        time.Time       `json:"run_by,omitzero"` // once approved
	Votes        []Vote          `json:"votes,omitempty"`

	After  string `json:"after,omitempty"`  // the request that this one takes the place of
	Before string `json:"before,omitempty"` // the one that takes this one's place

	BreakGlass *BrokenGlass `json:"break_glass,omitempty"`
	// Closed says who ended the request otherwise than by a vote, and why.
	Closed *Closing `json:"closed,omitempty"`
	// Outcome is how the execution ended.
	Outcome *Outcome `json:"outcome,omitempty"`
	// SafetyCopy is the full name of the clone that was made before the
	// statement ran, CopyUntil how long it stays.
	SafetyCopy string    `json:"safety_copy,omitempty"`
	CopyUntil  time.Time `json:"copy_until,omitzero"`

	Claimed time.Time `json:"claimed,omitzero"` // once claimed
	Lease   time.Time `json:"lease,omitzero"`   // until when the claim holds
	Receipt int64     `json:"receipt,omitzero"` // the execution's entry in the log
	Tag     string    `json:"tag,omitempty"`    // and its QUERY_TAG

	fence int64
}

// A Vote is one person's answer.
type Vote struct {
	Voter   policy.Identity `json:"voter"`
	Via     Via             `json:"via"`
	Approve bool            `json:"approve"`
	Reason  string          `json:"reason,omitempty"`
	At      time.Time       `json:"at"`
}

// A BrokenGlass is an approval by one person in an emergency.
type BrokenGlass struct {
	By            policy.Identity `json:"by"`
	Reason        string          `json:"reason"`
	Ticket        string          `json:"ticket"`
	At            time.Time       `json:"at"`
	AcknowledgeBy time.Time       `json:"acknowledge_by"`
	// AckBy is the second person, nil as long as nobody has acknowledged.
	AckBy *policy.Identity `json:"ack_by,omitempty"`
	AckAt time.Time        `json:"ack_at,omitzero"`
	Note  string           `json:"note,omitempty"` // the second person's
}

// A Closing is an end that is not a vote. By is empty where the gate did it.
type Closing struct {
	By     policy.Identity `json:"by"`
	Reason string          `json:"reason,omitempty"`
	At     time.Time       `json:"at"`
}

// An Outcome is how an execution ended, without data.
type Outcome struct {
	Rows    int64  `json:"rows,omitempty"`     // in the answer
	QueryID string `json:"query_id,omitempty"` // the warehouse's
	Code    string `json:"code,omitempty"`     // the answer's reason code
	Error   string `json:"error,omitempty"`    // class and number
	Ref     string `json:"ref,omitempty"`      // of the outcome's entry in the log
	// Undo is the way back, now that the query's id is known, and UndoBy until
	// when it is open.
	Undo   string    `json:"undo,omitempty"`
	UndoBy time.Time `json:"undo_by,omitzero"`
}

// Via is the way by which a voter came. The zero Via is none: it takes no vote.
type Via string

// The ways.
const (
	ViaConsole Via = "console" // a fresh sign-in in the browser
	ViaSlack   Via = "slack"   // a click by a linked account
	ViaHost    Via = "host"    // the gateway's own machine, as its kernel says
)

// A Voter is a person with the groups that they are in now.
type Voter struct {
	policy.Identity
	Groups []string
	Via    Via
}

// Open reports whether somebody still has to do something about the request.
func (r *Request) Open() bool {
	switch r.State {
	case Pending, Approved, Executing, Indeterminate:
		return true
	case Denied, Expired, Cancelled, Revoked, Done, Failed:
		return r.BreakGlass != nil && r.BreakGlass.AckBy == nil
	default:
		return true
	}
}
