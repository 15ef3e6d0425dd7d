// Package policy decides. [Policy.Decide] takes a [Caller], a [Statement] and
// a time, and returns a [Decision]: allow, ask a person, or deny, with the
// masks, row filters and limits that go with it.
//
// Deciding is pure: no SQL text, no network, no clock, no file. The same three
// inputs give the same decision for ever, which is why a policy file can carry
// its own tests and why the recorded past can be decided again under another
// policy.
//
// Everything here refuses by default. The zero [Verdict] is [Deny], the zero
// [Class] is [Unknown], a statement with a [Statement.Problems] entry is denied
// whatever the rules say, and an object that no rule names is out of reach.
package policy

import (
	"fmt"
	"strings"
	"time"

	"querywarden/policy/mask"
)

// Verdict is what happens to a statement. The zero value denies.
type Verdict uint8

// The verdicts, from the strictest.
const (
	Deny  Verdict = iota // it does not run
	Ask                  // a person decides
	Allow                // it runs, masked
)

var verdictNames = [...]string{Deny: "deny", Ask: "ask", Allow: "allow"}

// String returns deny, ask or allow; an unknown verdict is deny.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return verdictNames[Deny]
}

// MarshalText makes verdicts words in JSON and YAML.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads deny, ask or allow.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", text)
}

// Class is what kind of thing a statement does. The zero value is [Unknown],
// which no rule can allow.
type Class uint8

// The classes, in the order of their gravity as far as they have one.
const (
	Unknown    Class = iota // not understood, therefore not run
	Read                    // SELECT, SHOW, DESCRIBE, EXPLAIN
	Write                   // INSERT, COPY INTO a table: rows are added
	Modify                  // UPDATE, DELETE, MERGE: rows are changed or removed
	Create                  // CREATE and the ALTERs that add
	Destroy                 // DROP, TRUNCATE, CREATE OR REPLACE, the ALTERs that remove
	Admin                   // GRANT, REVOKE, users, roles, policies, integrations, account
	Session                 // USE, SET, ALTER SESSION, transactions
	Stage                   // PUT, GET, LIST, REMOVE, COPY INTO a location
	Procedural              // CALL, EXECUTE, scripting blocks
	numClasses
)

var classNames = [numClasses]string{
	Unknown: "unknown", Read: "read", Write: "write", Modify: "modify", Create: "create", Destroy: "destroy",
	Admin: "admin", Session: "session", Stage: "stage", Procedural: "procedural",
}

// String returns the class's word in policy files and records.
func (c Class) String() string {
	if c < numClasses {
		return classNames[c]
	}
	return classNames[Unknown]
}

// MarshalText makes classes words in JSON and YAML.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a class's word.
func (c *Class) UnmarshalText(text []byte) error {
	for i, name := range classNames {
		if name == string(text) {
			*c = Class(i)
			return nil
		}
	}
	return fmt.Errorf("unknown statement class %q", text)
}

// CallerKind tells people from programs. The zero value is an unknown caller.
type CallerKind uint8

// The kinds of caller.
const (
	UnknownCaller CallerKind = iota
	Person                   // a developer at a keyboard
	Agent                    // an AI agent, perhaps on behalf of a person
	CI                       // a pipeline
)

var callerKindNames = [...]string{UnknownCaller: "unknown", Person: "person", Agent: "agent", CI: "ci"}

// String returns the kind's word in configuration and records.
func (k CallerKind) String() string {
	if int(k) < len(callerKindNames) {
		return callerKindNames[k]
	}
	return callerKindNames[UnknownCaller]
}

// MarshalText makes kinds words in JSON and YAML.
func (k CallerKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's word.
func (k *CallerKind) UnmarshalText(text []byte) error {
	for i, name := range callerKindNames {
		if name == string(text) {
			*k = CallerKind(i)
			return nil
		}
	}
	return fmt.Errorf("unknown caller kind %q", text)
}

// A Caller is who asks, as proven by a verified token. (Issuer, Subject)
// identifies; the rest describes.
type Caller struct {
	Issuer  string     `json:"issuer"`
	Subject string     `json:"subject"`
	Email   string     `json:"email,omitempty"`
	Groups  []string   `json:"groups,omitempty"`
	Kind    CallerKind `json:"kind"`

	// Ungrouped says why there are no groups although there may be some: the
	// issuer left them out, or nobody gave the agent any. It decides nothing.
	Ungrouped string `json:"ungrouped,omitempty"`

	// Behind is the person for whom an agent acts (RFC 8693, the token's
	// subject where the caller is its actor). That person cannot approve
	// what the agent asks for.
	Behind *Identity `json:"behind,omitempty"`
}

// Identity names somebody: a pair that never changes, and an address to show.
type Identity struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	Email   string `json:"email,omitempty"`
}

// Identity returns the caller's own identity.
func (c Caller) Identity() Identity {
	return Identity{Issuer: c.Issuer, Subject: c.Subject, Email: c.Email}
}

// Same reports whether two identities are the same person: the same subject
// of the same issuer, or the same e-mail address.
func (i Identity) Same(o Identity) bool {
	if i.Issuer == o.Issuer && i.Subject == o.Subject && i.Subject != "" {
		return true
	}
	return i.Email != "" && strings.EqualFold(i.Email, o.Email)
}

// ObjectKind is what an [Object] is. The zero value is of no kind.
type ObjectKind string

// The kinds of object that statements name most. Others carry Snowflake's own
// word in lower case ("masking policy", "warehouse", "integration").
const (
	TableObject    ObjectKind = "table"
	ViewObject     ObjectKind = "view"
	SchemaObject   ObjectKind = "schema"
	DatabaseObject ObjectKind = "database"
	StageObject    ObjectKind = "stage"
	AccountObject  ObjectKind = "account"
	// A rule that lets a procedure be called names the kind.
	ProcedureObject ObjectKind = "procedure"
)

// An Object is something in the account, by its full name as Snowflake stores
// it: unquoted identifiers are upper case. Database and Schema are empty for
// objects that live above them.
type Object struct {
	Kind     ObjectKind `json:"kind"`
	Database string     `json:"database,omitempty"`
	Schema   string     `json:"schema,omitempty"`
	Name     string     `json:"name"`
}

// String returns the dotted name, each part quoted where Snowflake would need
// it to be.
func (o Object) String() string {
	var b strings.Builder
	for _, part := range [...]string{o.Database, o.Schema, o.Name} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(quoteIdent(part))
	}
	return b.String()
}

func quoteIdent(s string) string {
	for i, r := range []byte(s) {
		plain := r >= 'A' && r <= 'Z' || r == '_' || i > 0 && (r >= '0' && r <= '9' || r == '$')
		if !plain {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
	}
	return s
}

// A Column of a table or view, as the catalog knows it. Type is Snowflake's
// ("NUMBER(38,0)", "VARCHAR"); Labels come from the catalog's tags and from
// lineage.
type Column struct {
	Name   string   `json:"name"`
	Type   string   `json:"type,omitempty"`
	Labels []string `json:"labels,omitempty"`
	// From are the columns that values were copied from: what masks those
	// masks this one.
	From []Origin `json:"from,omitempty"`
}

// An Origin is a column that another's values were copied from, under a mask
// if the copier saw it under one.
type Origin struct {
	Object Object    `json:"object"`
	Column string    `json:"column"`
	Labels []string  `json:"labels,omitempty"`
	Masked bool      `json:"masked,omitempty"`
	Mask   mask.Mask `json:"mask"`
}

// A RowOrigin is a relation that rows of another were made of or chosen by, as
// somebody saw it under these filters.
type RowOrigin struct {
	Object Object   `json:"object"`
	Where  []string `json:"where,omitempty"`
}

// A Table is a relation of the catalog: what [Policy.Decide] is asked about
// and what names resolve to.
type Table struct {
	Object
	Columns []Column
	// Rows are the relations that its rows were copied from: who sees fewer
	// of those sees none of these.
	Rows []RowOrigin
	// Definition is a view's query as the warehouse keeps it; empty for a
	// table and for a view that hides it.
	Definition string
	Secure     bool
	Comment    string
	// Created is when it was made, in the account's words: what was dropped
	// and made again is another.
	Created string
}

// An Access is one thing that a statement does to one object.
type Access struct {
	Class  Class  `json:"class"`
	Object Object `json:"object"`
	// Columns are those the statement touches, in the order of the table.
	// They decide where masks hang; a star touches them all.
	Columns []Column `json:"columns,omitempty"`
	// Rows are what the object's rows were copied from.
	Rows []RowOrigin `json:"rows,omitempty"`
	// Opaque says that the object is a view whose definition nobody can read,
	// so that no mask can hang on what lies under it.
	Opaque bool `json:"opaque,omitempty"`
	// Via is the view through which the statement reaches the object, nil if
	// it names the object itself. It explains; it grants nothing: what lies
	// under a view needs a rule of its own.
	Via *Object `json:"via,omitempty"`
}

// A Statement is what policy needs to know of a statement: facts, no text.
// Package resolve makes it.
type Statement struct {
	// Class is the gravest class among what the statement does.
	Class Class `json:"class"`
	// Command is the statement's verb as a person says it: "SELECT",
	// "DROP TABLE".
	Command string `json:"command"`
	// Accesses are all objects reached, in the order of appearance.
	Accesses []Access `json:"accesses,omitempty"`
	// Functions are the functions called, folded, sorted, without repeats.
	Functions []string `json:"functions,omitempty"`
	// Effects are those of Functions that do more than compute: change
	// state, leave the account, call a model, or are the account's own, by
	// their full names. Each needs a rule that names it.
	Effects []string `json:"effects,omitempty"`
	// Conversation says that the client has told, before the call, which turn of
	// a conversation it belongs to. It is the client's word: a sign of life of
	// its hooks, and no proof of what was said.
	Conversation bool `json:"conversation,omitempty"`
	// Problems say why this statement cannot run under any policy: it did
	// not parse, a name did not resolve, a function is unknown.
	Problems []Reason `json:"problems,omitempty"`
}

// A Code names a reason. Codes never change their meaning.
type Code string

// The reason codes of decisions. DESIGN: an agent can act on the code alone.
const (
	CodeAllowed           Code = "allowed"              // a rule allows it
	CodeApprovalNeeded    Code = "approval_needed"      // a rule asks a person
	CodeNoRule            Code = "no_rule"              // nothing allows it (default deny)
	CodeRuleDenies        Code = "rule_denies"          // a rule forbids it
	CodeNotUnderstood     Code = "not_understood"       // unknown class or command
	CodeSyntax            Code = "syntax"               // it does not parse
	CodeEmpty             Code = "empty"                // there is no statement
	CodeMultiple          Code = "multiple_statements"  // more than one statement
	CodeTooLarge          Code = "too_large"            // text or nesting over the limit
	CodeInvalidText       Code = "invalid_text"         // not UTF-8, or control characters
	CodeObjectUnknown     Code = "object_unknown"       // no such table, or not for this caller
	CodeColumnUnknown     Code = "column_unknown"       // no such column
	CodeColumnAmbiguous   Code = "column_ambiguous"     // a name fits several columns
	CodeFunctionUnknown   Code = "function_unknown"     // nobody classified this function, or vouches for it
	CodeFunctionForbidden Code = "function_forbidden"   // a function with effects that no rule covers
	CodeMaskUnresolved    Code = "mask_unresolved"      // a mask is due where none can stand
	CodeUnsupported       Code = "unsupported"          // understood, but the gate cannot judge or run it safely
	CodeConversation      Code = "conversation_missing" // a rule demands a conversation, and none was told of
	CodePolicyInvalid     Code = "policy_invalid"       // no usable policy
	CodeApprovalConflict  Code = "approval_conflict"    // rules ask for approvers who cannot be the same people
)

// A Reason explains a verdict: a stable code, one sentence, and what to do
// next. Nothing in it tells the caller what it could not already know.
type Reason struct {
	Code     Code   `json:"code"`
	Sentence string `json:"sentence"`
	Next     string `json:"next,omitempty"`

	// hidden says that Code tells of an object that the caller cannot see;
	// see [Reason.Told].
	hidden bool
}

// A ColumnMask stands in for a column's values wherever the column is read.
type ColumnMask struct {
	Object Object    `json:"object"`
	Column string    `json:"column"`
	Mask   mask.Mask `json:"mask"`
	Rule   string    `json:"rule,omitempty"`
}

// A RowFilter is a condition that every row of a relation must meet. Where is
// a Snowflake expression over the relation's own columns; policy carries it
// and never reads it.
type RowFilter struct {
	Object Object `json:"object"`
	Where  string `json:"where"`
	Rule   string `json:"rule,omitempty"`
}

// Limits bound a statement. Zero means the policy's default, never "no limit":
// [Policy.Decide] always fills them in.
type Limits struct {
	Rows     int64         `json:"rows"`     // rows in the answer
	Bytes    int64         `json:"bytes"`    // bytes in the answer
	Duration time.Duration `json:"duration"` // nanoseconds the statement may run
}

// A Decision is the answer of [Policy.Decide]. The zero value denies.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	// Rules are the names of the rules that made the verdict.
	Rules   []string     `json:"rules,omitempty"`
	Reasons []Reason     `json:"reasons"`
	Masks   []ColumnMask `json:"masks,omitempty"`
	Filters []RowFilter  `json:"filters,omitempty"`
	Limits  Limits       `json:"limits"`
	// Approval is set when the verdict is [Ask].
	Approval *Approval `json:"approval,omitempty"`
	// KeepRows says that the log keeps the rows of the answer, sealed.
	KeepRows bool `json:"keep_rows,omitempty"`
	// Detectors are the names of the detectors that act on the answer.
	Detectors []string `json:"detectors,omitempty"`
	// Policy is the version that decided: the hash of the policy file.
	Policy string `json:"policy"`
}
