package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const asking = `version: 1
rules:
  - name: one
    who: everyone
    may: [destroy]
    on: ["shop.*.*"]
    verdict: ask
    approvers: {groups: [owners, dba], confirm: slack, remind: 5m, channel: b, safety_copy: 24h}
    break_glass: {groups: [oncall, night], acknowledge_within: 24h}
  - name: two
    who: everyone
    may: [destroy]
    on: ["shop.payroll.*"]
    verdict: ask
    approvers: {groups: [dba], quorum: 2, channel: a, escalate: c}
    break_glass: {groups: [oncall], acknowledge_within: 2h}
  - name: three
    who: everyone
    may: [destroy]
    on: ["shop.vault.*"]
    verdict: ask
    approvers: {groups: [owners]}
tests:
  - name: one rule
    as: {groups: [any]}
    do: destroy shop.public.t
    expect: ask
    approvers: {groups: [dba, owners], quorum: 1, confirm: slack}
  - name: two rules
    as: {groups: [any]}
    do: destroy shop.payroll.t
    expect: ask
    approvers: {groups: [dba], quorum: 2, confirm: oidc}
`

// TestApprovalTogether: several rules that ask want the strictest of each, and
// nobody breaks the glass where one of them has none.
func TestApprovalTogether(t *testing.T) {
	for _, text := range []string{asking, reversed(asking)} {
		p := mustParse(t, text)
		for access, want := range map[string]Approval{
			"destroy shop.payroll.t": {
				Groups: []string{"dba"}, Quorum: 2, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, Confirm: ByOIDC, Remind: 5 * time.Minute,
				Channel: "a", Escalate: "c", SafetyCopy: 24 * time.Hour, BreakGlass: &BreakGlass{[]string{"oncall"}, 2 * time.Hour},
			},
			"destroy shop.vault.t": {
				Groups: []string{"owners"}, Quorum: 1, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, Confirm: ByOIDC, Remind: 5 * time.Minute,
				Channel: "b", SafetyCopy: 24 * time.Hour,
			},
		} {
			if d := p.Decide(agent("any"), do(t, access), time.Time{}); d.Approval == nil || !reflect.DeepEqual(*d.Approval, want) {
				t.Errorf("%s: %+v, want %+v", access, d.Approval, want)
			}
		}
	}
}

// reversed puts the first two rules of the file the other way round.
func reversed(text string) string {
	one, rest, _ := strings.Cut(text, "  - name: two\n")
	head, one, _ := strings.Cut(one, "  - name: one\n")
	two, rest, _ := strings.Cut(rest, "  - name: three\n")
	return head + "  - name: two\n" + two + "  - name: one\n" + one + "  - name: three\n" + rest
}

func TestApprovalErrors(t *testing.T) {
	for change, want := range map[string]string{
		"confirm: slack|confirm: click":                        `unknown way to confirm "click"`,
		"remind: 5m|remind: 30m":                               "remind must come before decide_within",
		"safety_copy: 24h|safety_copy: 1s":                     "safety_copy must be a duration",
		"groups: [oncall, night], |groups: [owners], ":         "break_glass names nobody but the approvers",
		", acknowledge_within: 24h|":                           `no key "acknowledge_within"`,
		"quorum: 2, confirm: oidc|quorum: 1":                   "expected the quorum 1, decided 2",
		"[dba, owners], quorum: 1, confirm: slack|[dba]":       "expected the approvers",
		"quorum: 2, confirm: oidc}|quorum: 2, confirm: slack}": "expected confirmation by slack, decided oidc",
	} {
		before, after, _ := strings.Cut(change, "|")
		if _, err := Parse([]byte(strings.Replace(asking, before, after, 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", change, err, want)
		}
	}
	allowed := strings.Replace(strings.Replace(asking, "verdict: ask\n    approvers: {groups: [owners]}", "verdict: allow\n    break_glass: {groups: [x], acknowledge_within: 1h}", 1), "", "", 1)
	if _, err := Parse([]byte(allowed)); err == nil || !strings.Contains(err.Error(), "break_glass goes with verdict ask") {
		t.Errorf("%v", err)
	}
}
