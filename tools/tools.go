// Package tools is what an agent can do, and the one way from an agent to the
// warehouse: [Gate]. Every tool call passes through it, is judged, recorded,
// and answered with an [Answer] that an agent can act on without guessing.
//
// The tools are few on purpose. None of them changes policy, approves a
// request, or reads the audit log.
package tools

import (
	"strings"
	"time"

	"querywarden/policy"
)

// A Call is one tool call: who makes it, and through what. All of it but the
// caller is asserted by the client: recorded, never an input to a decision.
type Call struct {
	Caller  policy.Caller
	Session string // the gateway's own name for what belongs together
	Client  Client
	// Conversation is the client's name for what belongs together.
	Conversation string
	Turn         string // of that conversation, by the client's name
	CallID       string // the client's name for this call
	Trace        string // W3C trace id
	Purpose      string // why, in the agent's words

	accompanied bool // its client has told of a conversation before
}

// A Client is the program that speaks for the caller, by its own account.
type Client struct {
	Name    string
	Version string
}

// String is the client's name and version, empty if it gave none.
func (c Client) String() string { return strings.TrimSpace(c.Name + " " + c.Version) }

// Status is how a call ended. Agents branch on it.
type Status string

// The statuses. There is no other.
const (
	Completed Status = "completed"        // it ran; the answer is here
	Pending   Status = "pending_approval" // a person has to decide first
	Denied    Status = "denied"           // it did not run and will not
	Failed    Status = "failed"           // it was let through and went wrong
)

// Reason codes that the gate adds to those of package policy.
const (
	CodeCompleted              policy.Code = "completed"          // done
	CodeDryRun                 policy.Code = "dry_run"            // judged, not run
	CodeApprovalDenied         policy.Code = "approval_denied"    // a person said no
	CodeApprovalExpired        policy.Code = "approval_expired"   // nobody decided, or nobody ran it, in time
	CodeApprovalCancelled      policy.Code = "approval_cancelled" // the requester took it back
	CodeApprovalUnknown        policy.Code = "approval_unknown"   // no such request, or not this caller's
	CodeApprovalStale          policy.Code = "approval_stale"     // what was approved is not what would run now
	CodeApprovalUsed           policy.Code = "approval_used"      // it ran already
	CodeApprovalUnknownOutcome policy.Code = "outcome_unknown"    // it was sent, and nobody knows how it ended
	CodeApprovalLimit          policy.Code = "approval_limit"     // too many requests wait already
	CodeNotSent                policy.Code = "not_sent"           // approved, and not sent
	CodeNoCopy                 policy.Code = "no_safety_copy"     // approved, and not sent, since it could not be copied first
	CodeNothingToApprove       policy.Code = "nothing_to_approve" // it needs no approval, or cannot get one
	CodeWarehouse              policy.Code = "warehouse_error"    // the warehouse refused or failed
	CodeTimeout                policy.Code = "timeout"            // it took longer than the limit
	CodeCancelled              policy.Code = "cancelled"          // the caller hung up
	CodeUnavailable            policy.Code = "unavailable"        // the gate cannot record, so it does nothing
	CodeTooMuchData            policy.Code = "result_too_wide"    // one row is larger than the limit
	CodeShape                  policy.Code = "answer_differs"     // the answer does not have the columns that were judged
	CodeBadArgument            policy.Code = "bad_argument"       // the call itself is malformed
)

// Answer is what every tool says first.
type Answer struct {
	Status  Status      `json:"status"`
	Code    policy.Code `json:"code"`
	Message string      `json:"message"`        // one sentence
	Next    string      `json:"next,omitempty"` // what to do now
	// Audit refers to the record of this call in the audit log.
	Audit string `json:"audit,omitempty"`
}

// QueryRequest is the input of the query tool.
type QueryRequest struct {
	SQL     string `json:"sql"`
	Purpose string `json:"purpose,omitempty"`
	MaxRows int64  `json:"max_rows,omitempty"` // 0: the policy's limit
	DryRun  bool   `json:"dry_run,omitempty"`  // judge, do not run
}

// A Column of a result or of a table, with its mask for this caller.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Masked names the mask that stands in for the values, empty if none.
	Masked  string `json:"masked,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// QueryAnswer is the output of the query tool. Rows holds a JSON array a row,
// in the order of Columns. Decimals and integers beyond what a double can hold
// exactly are strings. Whoever gets an answer closes its Rows.
type QueryAnswer struct {
	Answer
	Columns   []Column      `json:"columns,omitempty"`
	Rows      *Rows         `json:"rows,omitempty"`
	RowCount  int64         `json:"row_count"`
	Truncated bool          `json:"truncated,omitempty"` // the limit cut the answer
	Redacted  int64         `json:"redacted,omitempty"`  // values that detectors hid
	QueryID   string        `json:"query_id,omitempty"`  // the warehouse's
	Statement string        `json:"statement,omitempty"` // dry run: what would run
	Approval  *ApprovalInfo `json:"approval,omitempty"`
}

// ApprovalInfo is what a requester may know of its request.
type ApprovalInfo struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Decide  time.Time `json:"decide_by"`
	Message string    `json:"message,omitempty"` // what the person said

	Asked   time.Time `json:"-"` // when it was made
	Changed time.Time `json:"-"` // when somebody last voted, or when it was made
}

// DescribeRequest is the input of the describe_table tool.
type DescribeRequest struct {
	Table string `json:"table"`
}

// DescribeAnswer is the output of the describe_table tool.
type DescribeAnswer struct {
	Answer
	Table     string   `json:"table,omitempty"` // the full name
	Kind      string   `json:"kind,omitempty"`
	Comment   string   `json:"comment,omitempty"`
	Columns   []Column `json:"columns,omitempty"`
	RowFilter string   `json:"row_filter,omitempty"` // rows that fail it do not exist for this caller
}

// ListRequest is the input of the list_tables tool.
type ListRequest struct {
	Search string `json:"search,omitempty"` // part of a name, any case
	Limit  int    `json:"limit,omitempty"`  // 0: 50
	Cursor string `json:"cursor,omitempty"` // next_cursor of the page before
}

// ListAnswer is the output of the list_tables tool.
type ListAnswer struct {
	Answer
	Tables     []ListedTable `json:"tables"`
	NextCursor string        `json:"next_cursor,omitempty"`
}

// A ListedTable is a table that the caller may read, at least in part.
type ListedTable struct {
	Table   string `json:"table"`
	Kind    string `json:"kind"`
	Columns int    `json:"columns"`
	Comment string `json:"comment,omitempty"`
}

// ApprovalRequest is the input of the request_approval tool.
type ApprovalRequest struct {
	SQL    string `json:"sql"`
	Reason string `json:"reason"`
	// NoWait answers with the request's id at once, for callers that look after
	// it otherwise.
	NoWait bool `json:"-"`
}

// CheckRequest is the input of the check_approval tool.
type CheckRequest struct {
	ID   string `json:"id"`
	Wait int    `json:"wait_seconds,omitempty"` // at most 50
}
