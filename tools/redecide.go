package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"querywarden/audit"
	"querywarden/policy"
)

// A Ruling is what of a decision an auditor compares.
type Ruling struct {
	Verdict string
	Rules   []string
	Codes   []string
	Masks   []string
	Filters []string
}

// Same reports whether two rulings let the same statement run: the same
// verdict and, unless that is deny, the same masks and filters. The names of
// rules may differ.
func (r Ruling) Same(o Ruling) bool {
	if r.Verdict == policy.Deny.String() && o.Verdict == r.Verdict {
		return true
	}
	return r.Verdict == o.Verdict && slices.Equal(r.Masks, o.Masks) && slices.Equal(r.Filters, o.Filters)
}

// ErrNoFacts is returned for a decision whose facts are not in the log: they
// were erased, or are older than their recording.
var ErrNoFacts = errors.New("the facts of the decision are not in the log")

// Redecide decides a recorded statement again under another policy, by the
// facts that were recorded with it and at its time: no catalog and no warehouse
// is asked. It returns what was decided and what would be. A statement that
// could not be rewritten then counts as one that still cannot.
func Redecide(p *policy.Policy, e *audit.Entry) (was, would Ruling, err error) {
	v := e.Event
	was = Ruling{Verdict: v.Verdict, Rules: v.Rules, Codes: v.Codes, Masks: v.Masks, Filters: v.Filters}
	facts, ok := e.Texts["facts"]
	if !ok || v.Caller == nil {
		return was, Ruling{}, ErrNoFacts
	}
	var s policy.Statement
	if err := json.Unmarshal([]byte(facts), &s); err != nil {
		return was, Ruling{}, fmt.Errorf("reading the facts of entry %d: %w", e.Index, err)
	}
	caller := policy.Caller{Issuer: v.Caller.Issuer, Subject: v.Caller.Subject, Email: v.Caller.Email, Groups: v.Caller.Groups}
	if err := caller.Kind.UnmarshalText([]byte(v.Caller.Kind)); err != nil {
		return was, Ruling{}, fmt.Errorf("reading the caller of entry %d: %w", e.Index, err)
	}
	if v.Caller.Behind != "" {
		issuer, subject, _ := strings.Cut(v.Caller.Behind, " ")
		caller.Behind = &policy.Identity{Issuer: issuer, Subject: subject}
	}
	return was, ruling(p.Decide(caller, s, v.Time)), nil
}

// ruling is a decision as the log has it.
func ruling(d policy.Decision) Ruling {
	r := Ruling{Verdict: d.Verdict.String(), Rules: d.Rules, Masks: maskNames(d.Masks), Filters: filterNames(d.Filters)}
	for _, reason := range d.Reasons {
		r.Codes = append(r.Codes, string(reason.Code))
	}
	return r
}
