// Package audit is the log: what was asked, what was decided, what ran and
// what came back, in an order that nobody can change unnoticed.
//
// # Format
//
// The log is a Merkle tree as RFC 6962 has it, kept in one SQLite file.
//
//   - Entry n (from 0) is the UTF-8 text of one [Event] as JSON, keys in the
//     order of the struct, at most 65,535 bytes. Its leaf hash is
//     SHA-256(0x00 ‖ entry). Table entries holds it, with columns that repeat
//     what is searched for; only the text counts. Times never run backwards.
//   - Column hashes holds what the entry completes of the tree: its leaf hash,
//     then the hash of each full subtree that ends with it, from the smallest
//     up, 32 bytes each.
//   - Each commit ends with a checkpoint (C2SP tlog-checkpoint): the origin
//     line, the number of entries in decimal, the root hash in base64, a blank
//     line, and an Ed25519 signature line as golang.org/x/mod/sumdb/note makes
//     them. It is in column note of the commit's last entry.
//   - The signing key may change. Entry n of kind key_added makes another key
//     known; the checkpoint of n+1 entries and all after it are signed by both.
//     Entry m of kind key_retired ends the old one; the checkpoint of m+1
//     entries is the last that it signs. Each of them is its commit's last
//     entry. So whoever holds any of the keys finds the others, and which
//     checkpoints each signs, in the log: see [Keys].
//   - Long or sensitive texts (SQL, purposes, policies) stand outside the
//     tree, in column texts, each with 32 random bytes of salt: the length of
//     its name in one byte, the name, the salt, the length of the text in four
//     bytes, big-endian, and the text. The entry holds HMAC-SHA256(salt, text)
//     in hexadecimal, under "blobs". Erasing a text with its salt leaves the
//     tree whole and the digest useless. Rows of answers, where policy keeps
//     them, are among these texts, sealed with AES-256-GCM under a key of
//     their own.
//
// # Promises
//
// [Log.Append] returns after the entry is on disk (WAL, synchronous=FULL). One
// goroutine writes; what waits is committed together. After a failed commit
// nothing is retried: the log has failed, [Log.Done] is closed, and every call
// returns the same error.
//
// # What somebody with the files can do
//
// With the database alone: cut off the newest entries together with their
// checkpoints, or put an old copy back; any other change is found by
// [Verify]. With the signing key as well: rewrite everything; with one that was
// retired, nothing that whoever knows the newer key would believe. Both are found
// by whoever holds one later checkpoint of their own, which is what the head
// file and the references in answers and query tags are for. What was never
// recorded, no log can show.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Kind says what happened.
type Kind string

// The kinds of event.
const (
	KindStart             Kind = "start"              // the gateway started
	KindStop              Kind = "stop"               // it stopped as it should
	KindGap               Kind = "gap"                // it had not stopped as it should: what was under way then has no end here
	KindPolicyLoaded      Kind = "policy_loaded"      // what decides from here on, whole
	KindConfigLoaded      Kind = "config_loaded"      // the configuration file, whole
	KindKeyAdded          Kind = "key_added"          // another key signs from here on, beside the old one
	KindKeyRetired        Kind = "key_retired"        // the old key signs nothing after this
	KindErased            Kind = "erased"             // texts are gone, by retention or because somebody wanted it
	KindSignIn            Kind = "sign_in"            // a token was seen for the first time
	KindRefused           Kind = "refused"            // tokens, callbacks and clicks that do not count
	KindSessionStart      Kind = "session_start"      // a client opened an MCP session
	KindSessionEnd        Kind = "session_end"        // and ended it
	KindCatalogRead       Kind = "catalog_read"       // the gate's own statement over the catalog
	KindToolCall          Kind = "tool_call"          // a tool that reaches no warehouse
	KindDecision          Kind = "decision"           // a statement was judged
	KindExecution         Kind = "execution"          // an approved statement is about to run
	KindOutcome           Kind = "outcome"            // how a statement ended
	KindApprovalRequested Kind = "approval_requested" // a person is asked
	KindApprovalVoted     Kind = "approval_voted"     // a person answered
	KindApprovalChanged   Kind = "approval_changed"   // a request changed its state
	KindGlassBroken       Kind = "glass_broken"       // one person let a statement run alone, in an emergency
	KindGlassAcknowledged Kind = "glass_acknowledged" // and a second person has looked at it
	KindSafetyCopy        Kind = "safety_copy"        // the gate's own statement: a clone before a change, or its end
	KindBrief             Kind = "brief"              // the gate's own statement: what an approver should know
	KindLinked            Kind = "linked"             // a messenger's account now stands for an identity
	KindUnlinked          Kind = "unlinked"           // and no longer does
	KindAlert             Kind = "alert"              // the account's history does not fit this log
	KindPrompt            Kind = "prompt"             // what a person said to an agent, by its client's word
	KindResponse          Kind = "response"           // what the agent said in the end, by its client's word
	KindToolUse           Kind = "tool_use"           // a client says that a turn is calling a tool
	KindJoined            Kind = "joined"             // a call belongs to a turn of a conversation
	KindDropped           Kind = "dropped"            // so much of what clients sent was not taken
	KindRead              Kind = "read"               // a person looked at requests or at this log, in the console
)

// Kinds are all kinds of event.
func Kinds() []Kind {
	return []Kind{
		KindStart, KindStop, KindGap, KindPolicyLoaded, KindConfigLoaded, KindKeyAdded, KindKeyRetired, KindErased, KindSignIn, KindRefused, KindSessionStart, KindSessionEnd,
		KindCatalogRead, KindToolCall, KindDecision, KindExecution, KindOutcome, KindApprovalRequested, KindApprovalVoted, KindApprovalChanged,
		KindGlassBroken, KindGlassAcknowledged, KindSafetyCopy, KindBrief, KindLinked, KindUnlinked, KindAlert, KindPrompt, KindResponse, KindToolUse, KindJoined, KindDropped, KindRead,
	}
}

// A Caller is who asked.
type Caller struct {
	Issuer  string   `json:"issuer,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Email   string   `json:"email,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	Kind    string   `json:"kind,omitempty"`
	Behind  string   `json:"behind,omitempty"` // issuer and subject of the person behind an agent
	// Ungrouped says why there are no groups although there may be some.
	Ungrouped string `json:"ungrouped,omitempty"`
}

// An Access is one object that a statement reached.
type Access struct {
	Class   string   `json:"class"`
	Object  string   `json:"object"`
	Columns []string `json:"columns,omitempty"`
	Via     string   `json:"via,omitempty"`
}

// An Event is one entry. Fields without a value are left out.
type Event struct {
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"` // UTC, microseconds; the log sets it
	Of      *int64    `json:"of,omitempty"`
	Tool    string    `json:"tool,omitempty"`
	Session string    `json:"session,omitempty"` // the gateway's own; see package mcp
	Client  string    `json:"client,omitempty"`  // asserted by the client
	Caller  *Caller   `json:"caller,omitempty"`
	Remote  string    `json:"remote,omitempty"` // the peer's address
	Count   int64     `json:"count,omitempty"`  // how often it happened, where more than once
	Page    string    `json:"page,omitempty"`   // what was looked at, as a path of the console

	From *int64 `json:"from,omitempty"` // the first of several entries
	To   *int64 `json:"to,omitempty"`   // and the last

	Key  string   `json:"key,omitempty"`  // public, that was added or retired
	Keys []string `json:"keys,omitempty"` // public, all that sign from here on

	// What clients assert, to tell which turn of which conversation it was; see
	// package capture.
	Conversation string `json:"conversation,omitempty"`
	Turn         string `json:"turn,omitempty"`
	CallID       string `json:"call,omitempty"`  // the client's name for a tool call
	Trace        string `json:"trace,omitempty"` // W3C trace id
	Model        string `json:"model,omitempty"`
	Source       string `json:"source,omitempty"` // whose event: claude, codex, cursor, devin
	How          string `json:"how,omitempty"`    // it was joined: exact, traced, matched

	Class     string   `json:"class,omitempty"`
	Command   string   `json:"command,omitempty"`
	Accesses  []Access `json:"accesses,omitempty"`
	Functions []string `json:"functions,omitempty"`
	Masks     []string `json:"masks,omitempty"`
	Filters   []string `json:"filters,omitempty"`
	Verdict   string   `json:"verdict,omitempty"`
	Rules     []string `json:"rules,omitempty"`
	Codes     []string `json:"codes,omitempty"`
	Policy    string   `json:"policy,omitempty"`
	Catalog   string   `json:"catalog,omitempty"` // version of the catalog that names were resolved against
	DryRun    bool     `json:"dry_run,omitempty"`

	Approval string  `json:"approval,omitempty"`
	State    string  `json:"state,omitempty"`
	Voter    *Caller `json:"voter,omitempty"`
	Approve  *bool   `json:"approve,omitempty"`
	Via      string  `json:"via,omitempty"`    // how a voter came
	Ticket   string  `json:"ticket,omitempty"` // of an emergency

	QueryID   string           `json:"query_id,omitempty"`
	Status    string           `json:"status,omitempty"`
	Columns   []string         `json:"columns,omitempty"` // of the result, each with its mask
	Rows      int64            `json:"rows,omitempty"`
	Bytes     int64            `json:"bytes,omitempty"`
	Truncated bool             `json:"truncated,omitempty"`
	Redacted  map[string]int64 `json:"redacted,omitempty"`
	Result    string           `json:"result,omitempty"` // HMAC of the rows as returned, keyed by the blob's salt
	Micros    int64            `json:"micros,omitempty"` // how long it took
	Error     string           `json:"error,omitempty"`  // class and code, never the warehouse's text
	Version   string           `json:"version,omitempty"`

	// Blobs binds the texts below: name → HMAC. The log sets it.
	Blobs map[string]string `json:"blobs,omitempty"`

	SQL        string `json:"-"` // as sent
	Runs       string `json:"-"` // as it runs, byte for byte: what a receipt is good for
	Shown      string `json:"-"` // what is kept of Runs where that holds a secret; empty to keep it
	Facts      string `json:"-"` // what policy was told of the statement, as JSON
	Purpose    string `json:"-"` // asserted
	PolicyText string `json:"-"`
	ConfigText string `json:"-"`
	Reason     string `json:"-"` // of a vote
	Problem    string `json:"-"` // what is wrong with a call
	Prompt     string `json:"-"` // asserted
	Response   string `json:"-"` // asserted
	Folder     string `json:"-"` // where the client works, asserted
	Search     string `json:"-"` // what a reader of the log looked for
	Answer     string `json:"-"` // rows as returned, where policy keeps them; sealed before they are stored
}

// maxEntry is what a tile of C2SP tlog-tiles can hold, in bytes.
const maxEntry = 1<<16 - 1

// ErrTooLarge is returned for an event over 65,535 bytes.
var ErrTooLarge = errors.New("event is larger than an entry may be")

// texts are the event's texts; rows are those of the answer, sealed.
func (e *Event) texts(rows string) []text {
	var texts []text
	for _, t := range []struct{ name, text string }{
		{"sql", e.SQL}, {"runs", e.Kept()}, {"facts", e.Facts}, {"purpose", e.Purpose}, {"policy", e.PolicyText}, {"config", e.ConfigText},
		{"reason", e.Reason}, {"problem", e.Problem}, {"prompt", e.Prompt}, {"response", e.Response}, {"folder", e.Folder}, {"search", e.Search}, {"rows", rows},
	} {
		if t.text != "" {
			texts = append(texts, newText(t.name, t.text))
		}
	}
	return texts
}

// Kept is what the log keeps of the statement as it runs.
func (e *Event) Kept() string {
	if e.Shown != "" {
		return e.Shown
	}
	return e.Runs
}

// encode makes the entry and its texts; rows are those of the answer, sealed.
func (e *Event) encode(rows string) ([]byte, []text, error) {
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	texts := e.texts(rows)
	if len(texts) > 0 {
		e.Blobs = make(map[string]string, len(texts))
		for i := range texts {
			e.Blobs[texts[i].name] = texts[i].digest()
		}
	}
	entry, err := json.Marshal(e)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding event: %w", err)
	}
	if len(entry) > maxEntry {
		return nil, nil, fmt.Errorf("encoding event: %w: %d bytes", ErrTooLarge, len(entry))
	}
	return entry, texts, nil
}

// authorizes reports whether a record of this event lets a statement run.
func (e *Event) authorizes() bool {
	return e.Runs != "" && e.letsRun()
}

// letsRun reports whether an event of this kind and verdict lets a statement
// run.
func (e *Event) letsRun() bool {
	switch e.Kind {
	case KindCatalogRead, KindExecution, KindSafetyCopy, KindBrief:
		return true
	case KindDecision:
		return e.Verdict == "allow" && !e.DryRun
	default:
		return false
	}
}
