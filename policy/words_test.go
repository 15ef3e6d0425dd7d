package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestWords: names at the edges of what they are made of, and beyond.
func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Deny.String(), "deny"}, {Ask.String(), "ask"}, {Allow.String(), "allow"}, {Verdict(len(verdictNames)).String(), "deny"}, {Verdict(200).String(), "deny"},
		{Read.String(), "read"}, {Procedural.String(), "procedural"}, {numClasses.String(), "unknown"}, {Class(200).String(), "unknown"},
		{CI.String(), "ci"}, {CallerKind(len(callerKindNames)).String(), "unknown"}, {CallerKind(200).String(), "unknown"},
		{quoteIdent("A"), "A"}, {quoteIdent("Z"), "Z"}, {quoteIdent("AZ_09$"), "AZ_09$"}, {quoteIdent("_A"), "_A"},
		{quoteIdent("0A"), `"0A"`}, {quoteIdent("9"), `"9"`}, {quoteIdent("$A"), `"$A"`}, {quoteIdent("A@"), `"A@"`}, {quoteIdent("A["), `"A["`},
		{quoteIdent("A/"), `"A/"`}, {quoteIdent("A:"), `"A:"`}, {quoteIdent("a"), `"a"`}, {quoteIdent(`A"`), `"A"""`},
		{lowerASCII("AZ@[az"), "az@[az"}, {lowerASCII("@"), "@"}, {lowerASCII("["), "["}, {lowerASCII("a@["), "a@["}, {lowerASCII("xA"), "xa"}, {lowerASCII("xZ"), "xz"}, {lowerASCII("\u212a"), "\u212a"},
		{phrase(Read, Object{}), fmt.Sprintf(classPhrases[Read], "the account")},
		{phrase(Read, Object{Name: "T"}), fmt.Sprintf(classPhrases[Read], "T")},
		{phrase(Procedural, Object{Name: "T"}), fmt.Sprintf(classPhrases[Procedural], "T")},
		{phrase(numClasses, Object{Name: "T"}), fmt.Sprintf(classPhrases[Unknown], "T")},
		{reasonAsk(&Approval{Quorum: 1, Groups: []string{"a"}}).Sentence, "This needs the approval of a person of a."},
		{reasonAsk(&Approval{Quorum: 2, Groups: []string{"a", "b"}}).Sentence, "This needs the approval of 2 people of a or b."},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestConversation: a rule that wants a conversation lets through nothing
// without, whichever other rule would, and restricts no rule that denies.
func TestConversation(t *testing.T) {
	p, err := Parse([]byte(`version: 1
conversations: masked
detectors: [email]
rules:
  - {name: all, who: {groups: [analysts]}, may: [read], on: ["shop.public.*"], verdict: allow}
  - {name: secret, who: {groups: [analysts]}, may: [read], on: ["shop.public.customers"], verdict: allow, conversation: present}
  - {name: drop, who: {groups: [analysts]}, may: [destroy], on: ["shop.public.*"], verdict: ask, approvers: {groups: [owners]}, conversation: present}
tests:
  - {name: without, as: {groups: [analysts]}, do: read shop.public.customers, expect: deny, reason: conversation_missing}
  - {name: with, as: {groups: [analysts]}, do: read shop.public.customers, conversation: present, expect: allow}
  - {name: elsewhere, as: {groups: [analysts]}, do: read shop.public.orders, expect: allow}
  - {name: asked, as: {groups: [analysts]}, do: destroy shop.public.orders, conversation: present, expect: ask}
  - {name: not asked, as: {groups: [analysts]}, do: destroy shop.public.orders, expect: deny, reason: conversation_missing}
  - {name: nobody, as: {groups: [others]}, do: read shop.public.customers, conversation: present, expect: deny, reason: no_rule}
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Conversations() != ConversationsMasked || strings.Join(p.ConversationDetectors(), " ") != "api_key card_number email iban ssn" {
		t.Errorf("%s, %q", p.Conversations(), p.ConversationDetectors())
	}
	if (*Policy)(nil).Conversations() != ConversationsOff || Conversations(200).String() != "off" {
		t.Error("the zero value keeps something")
	}
	for _, wrong := range []string{"conversations: on\n", "conversations: \"\"\n", "rules:\n  - {name: r, who: everyone, may: [read], on: everything, verdict: allow, conversation: absent}\n",
		"rules:\n  - {name: r, who: everyone, may: [read], on: everything, verdict: deny, conversation: present}\n"} {
		if _, err := Parse([]byte("version: 1\n" + wrong)); err == nil {
			t.Errorf("taken: %s", wrong)
		}
	}
}

// TestEditDistance: up to 64 bytes count, and neighbours that changed places are
// one mistake.
func TestEditDistance(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"ab", "ba", 1}, {"xab", "xba", 1}, {"abc", "acb", 1}, {"allow", "alow", 1}, {"deny", "dney", 1},
		{long, long, 0}, {long, long[1:], 1}, {long[1:], long, 1}, {long + "a", long + "a", 64}, {"a", long + "a", 64}, {long + "a", "a", 64},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestBounds: what a policy file may say at most and at least, and one beyond.
func TestBounds(t *testing.T) {
	const head = "version: 1\nrules:\n  - {name: r, who: everyone, may: [read], on: [\"a.b.c\"], verdict: %s}\n%s\n"
	ask := func(approvers string) string {
		return fmt.Sprintf(head, "ask, approvers: {groups: [g], "+approvers+"}", "")
	}
	limits := func(l string) string { return fmt.Sprintf(head, "allow", "limits: {"+l+"}") }
	kinds := func(k string) string {
		return strings.Replace(fmt.Sprintf(head, "allow", ""), "everyone", "{kinds: ["+k+"]}", 1)
	}
	for text, ok := range map[string]bool{
		limits("rows: 1"): true, limits("rows: 0"): false, limits("rows: 100000000"): true, limits("rows: 100000001"): false,
		limits("bytes: 1B"): true, limits("bytes: 0B"): false, limits("bytes: 1024MiB"): true, limits("bytes: 1025MiB"): false,
		limits("time: 1s"): true, limits("time: 999ms"): false, limits("time: 24h"): true, limits("time: 24h1s"): false,
		ask("quorum: 1"): true, ask("quorum: 0"): false, ask("quorum: 10"): true, ask("quorum: 11"): false,
		ask("decide_within: 1m"): true, ask("decide_within: 59s"): false, ask("decide_within: 168h"): true, ask("decide_within: 168h1s"): false,
		ask("run_within: 1m"): true, ask("run_within: 59s"): false, ask("run_within: 24h"): true, ask("run_within: 24h1s"): false,
		ask("reason: true"): true, ask("reason: 1"): false,
		strings.Replace(fmt.Sprintf(head, "allow", ""), "everyone", "{groups: [g], users: [a@b.example]}", 1): true,
		strings.Replace(fmt.Sprintf(head, "allow", ""), "everyone", "{groups: [g], kinds: [ci]}", 1):          true,
		strings.Replace(fmt.Sprintf(head, "allow", ""), "everyone", "{users: [a@b.example], kinds: [ci]}", 1): true,
		kinds("person"): true, kinds("agent"): true, kinds("ci"): true, kinds("unknown"): false,
	} {
		if _, err := Parse([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	full := fmt.Sprintf(head, "allow", "")
	full += "#" + strings.Repeat("x", maxFile-len(full)-1)
	if _, err := Parse([]byte(full)); err != nil {
		t.Errorf("a file of %d bytes: %v", len(full), err)
	}
	if _, err := Parse([]byte(full + "x")); err == nil {
		t.Errorf("a file of %d bytes is read", len(full)+1)
	}
}

// TestKinds: a rule for one kind of caller is for that kind alone.
func TestKinds(t *testing.T) {
	for i, name := range []string{"person", "agent", "ci"} {
		p := mustParse(t, "version: 1\nrules:\n  - {name: r, who: {kinds: ["+name+"]}, may: [read], on: [\"a.b.c\"], verdict: allow}\n")
		for _, k := range []CallerKind{UnknownCaller, Person, Agent, CI} {
			d := p.Decide(Caller{Issuer: "i", Subject: "s", Kind: k}, Statement{Class: Read, Accesses: []Access{{Class: Read, Object: Object{Kind: TableObject, Database: "A", Schema: "B", Name: "C"}}}}, time.Time{})
			if want := k == CallerKind(i+1); (d.Verdict == Allow) != want {
				t.Errorf("a rule for %s, a caller that is %s: %s", name, k, d.Verdict)
			}
		}
	}
}

// TestPartialLimits: a file's limits leave the defaults alone that they do not
// name.
func TestPartialLimits(t *testing.T) {
	defaults := Limits{Rows: defaultRows, Bytes: defaultBytes, Duration: defaultDuration}
	for text, want := range map[string]Limits{
		"rows: 7":      {Rows: 7, Bytes: defaultBytes, Duration: defaultDuration},
		"bytes: 7KiB":  {Rows: defaultRows, Bytes: 7 << 10, Duration: defaultDuration},
		"time: 7s":     {Rows: defaultRows, Bytes: defaultBytes, Duration: 7 * time.Second},
		"time: 86400s": {Rows: defaultRows, Bytes: defaultBytes, Duration: 24 * time.Hour},
	} {
		p := mustParse(t, "version: 1\nrules:\n  - {name: r, who: everyone, may: [read], on: [\"a.b.c\"], verdict: allow}\nlimits: {"+text+"}\n")
		d := p.Decide(Caller{Issuer: "i", Subject: "s"}, Statement{Class: Read, Accesses: []Access{{Class: Read, Object: Object{Kind: TableObject, Database: "A", Schema: "B", Name: "C"}}}}, time.Time{})
		if d.Limits != want {
			t.Errorf("%s: %+v, want %+v", text, d.Limits, want)
		}
	}
	if got := defaults.or(Limits{}); got != defaults {
		t.Errorf("no limits of its own: %+v", got)
	}
}

// TestKeepRows: a rule keeps rows where it passes, and denies nothing by it.
func TestKeepRows(t *testing.T) {
	const text = "version: 1\nrules:\n  - {name: r, who: everyone, may: [read], on: [\"a.b.c\"], verdict: %s}\n"
	read := Statement{Class: Read, Accesses: []Access{{Class: Read, Object: Object{Kind: TableObject, Database: "A", Schema: "B", Name: "C"}}}}
	for verdict, want := range map[string]bool{"allow": false, "allow, keep_rows: false": false, "allow, keep_rows: true": true, "ask, keep_rows: true, approvers: {groups: [g]}": true} {
		if d := mustParse(t, fmt.Sprintf(text, verdict)).Decide(Caller{Issuer: "i", Subject: "s"}, read, time.Time{}); d.KeepRows != want {
			t.Errorf("%s: %v", verdict, d.KeepRows)
		}
	}
	for _, verdict := range []string{"deny, keep_rows: true", "allow, keep_rows: yes please", "allow, keep_rows: 1"} {
		if _, err := Parse(fmt.Appendf(nil, text, verdict)); err == nil {
			t.Errorf("%s is read", verdict)
		}
	}
}
