package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Approval is what it takes for a person to say yes.
type Approval struct {
	Groups       []string      `json:"groups"`        // members may vote
	Quorum       int           `json:"quorum"`        // distinct people who must say yes, at least 1
	DecideWithin time.Duration `json:"decide_within"` // from the request
	RunWithin    time.Duration `json:"run_within"`    // from the last vote
	NeedReason   bool          `json:"need_reason"`   // approvers must say why
	// Confirm is what a yes has to come by.
	Confirm Confirm `json:"confirm"`
	// Remind is when those who have not answered are asked again, from the
	// request; half of DecideWithin if zero.
	Remind time.Duration `json:"remind,omitempty"`
	// Channel and Escalate are where a messenger asks, and where it asks again
	// when three quarters of the time have gone. Empty: the messenger's own.
	Channel  string `json:"channel,omitempty"`
	Escalate string `json:"escalate,omitempty"`
	// SafetyCopy is how long a clone is kept of what the statement is about to
	// change; none is made if zero.
	SafetyCopy time.Duration `json:"safety_copy,omitempty"`
	// BreakGlass is nil where nobody may do without the quorum.
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`
}

// BreakGlass lets one person of some groups decide alone in an emergency, with a
// reason and a ticket. That is told at once to everybody concerned, and stays
// open until a second person has acknowledged it. It is no way around the rule
// that nobody approves their own request.
type BreakGlass struct {
	Groups            []string      `json:"groups"`
	AcknowledgeWithin time.Duration `json:"acknowledge_within"`
}

// Confirm is what an approver's yes has to come by. A no counts however it
// comes. The zero value is the strictest.
type Confirm uint8

// The ways to confirm.
const (
	ByOIDC  Confirm = iota // a fresh sign-in at the identity provider
	BySlack                // a click in Slack by an account that is linked to an identity
)

var confirmNames = [...]string{ByOIDC: "oidc", BySlack: "slack"}

// String returns the way's word in policy files and records.
func (c Confirm) String() string {
	if int(c) < len(confirmNames) {
		return confirmNames[c]
	}
	return confirmNames[ByOIDC]
}

// MarshalText makes ways words in JSON and YAML.
func (c Confirm) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a way's word.
func (c *Confirm) UnmarshalText(text []byte) error {
	i := slices.Index(confirmNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown way to confirm %q", text)
	}
	*c = Confirm(i)
	return nil
}

// together returns the approval that satisfies every rule, nil if none can.
// Every rule asks, so every rule says by whom.
func together(rules []*rule) *Approval {
	all := *rules[0].approval
	all.Groups = slices.Clone(all.Groups)
	for _, r := range rules[1:] {
		a := r.approval
		all.Groups = common(all.Groups, a.Groups)
		all.Quorum = max(all.Quorum, a.Quorum)
		all.DecideWithin = min(all.DecideWithin, a.DecideWithin)
		all.RunWithin = min(all.RunWithin, a.RunWithin)
		all.NeedReason = all.NeedReason || a.NeedReason
		all.Confirm = min(all.Confirm, a.Confirm)
		all.Remind = sooner(all.Remind, a.Remind)
		// One message goes to one channel, whatever the order of the rules.
		all.Channel, all.Escalate = either(all.Channel, a.Channel), either(all.Escalate, a.Escalate)
		all.SafetyCopy = max(all.SafetyCopy, a.SafetyCopy)
		all.BreakGlass = all.BreakGlass.with(a.BreakGlass)
	}
	if len(all.Groups) == 0 {
		return nil
	}
	return &all
}

// with returns what both allow: who may break both.
func (b *BreakGlass) with(o *BreakGlass) *BreakGlass {
	if b == nil || o == nil {
		return nil
	}
	both := &BreakGlass{Groups: common(slices.Clone(b.Groups), o.Groups), AcknowledgeWithin: min(b.AcknowledgeWithin, o.AcknowledgeWithin)}
	if len(both.Groups) == 0 {
		return nil
	}
	return both
}

func common(a, b []string) []string {
	return slices.DeleteFunc(a, func(g string) bool { return !slices.Contains(b, g) })
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func either(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

func (d *decoder) approvers(n ast.Node) *Approval {
	a := &Approval{Quorum: 1, DecideWithin: defaultDecide, RunWithin: defaultRun}
	var remind ast.Node
	d.object(n, "approvers", []string{"groups"},
		field{"groups", func(n ast.Node) { a.Groups = d.texts(n, "groups") }},
		field{"quorum", func(n ast.Node) { a.Quorum = int(d.integer(n, "quorum", maxQuorum)) }},
		field{"decide_within", func(n ast.Node) { a.DecideWithin = d.duration(n, "decide_within", minDecide, maxDecide) }},
		field{"run_within", func(n ast.Node) { a.RunWithin = d.duration(n, "run_within", minRun, maxRun) }},
		field{"reason", func(n ast.Node) { a.NeedReason = d.flag(n, "reason") }},
		field{"confirm", func(n ast.Node) { a.Confirm = Confirm(d.name(n, "way to confirm", confirmNames[:])) }},
		field{"remind", func(n ast.Node) {
			remind = n
			a.Remind = d.duration(n, "remind", time.Second, maxDecide)
		}},
		field{"channel", func(n ast.Node) { a.Channel = d.text(n, "channel") }},
		field{"escalate", func(n ast.Node) { a.Escalate = d.text(n, "escalate") }},
		field{"safety_copy", func(n ast.Node) { a.SafetyCopy = d.duration(n, "safety_copy", minCopy, maxCopy) }},
	)
	if d.err == nil && remind != nil && a.Remind >= a.DecideWithin {
		d.fail(remind, "remind must come before decide_within, which is %s", a.DecideWithin)
	}
	slices.Sort(a.Groups)
	return a
}

func (d *decoder) breakGlass(n ast.Node) *BreakGlass {
	b := &BreakGlass{}
	d.object(n, "break_glass", []string{"groups", "acknowledge_within"},
		field{"groups", func(n ast.Node) { b.Groups = d.texts(n, "groups") }},
		field{"acknowledge_within", func(n ast.Node) {
			b.AcknowledgeWithin = d.duration(n, "acknowledge_within", minDecide, maxDecide)
		}},
	)
	slices.Sort(b.Groups)
	return b
}

// sameGroups reports whether every group of a is one of b.
func sameGroups(a, b []string) bool {
	return !slices.ContainsFunc(a, func(g string) bool { return !slices.Contains(b, g) })
}
