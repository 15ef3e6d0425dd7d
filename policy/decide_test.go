package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/policy/mask"
)

// file is the policy that the table tests decide under.
const file = `
version: 1
masks:
  - name: secrets
    columns: ["*.*.*.ssn"]
    mask: redact
    unless: {groups: [fraud]}
  - name: addresses
    columns: [shop.public.customers.email]
    mask: email
    unless: {groups: [support], kinds: [person]}
  - name: pii
    labels: [PII]
    mask: hash
filters:
  - name: eu
    on: [shop.public.orders]
    where: region = 'EU'
    for: {groups: [eu]}
  - name: open
    on: ["shop.public.*"]
    where: not closed
    unless: {groups: [analysts, eu, fraud, support]}
  - name: staging
    on: ["shop.staging.*"]
    where: mine
rules:
  - name: read-shop
    who: {groups: [analysts, eu, fraud, support]}
    may: [read, session]
    on: ["shop.public.*"]
    verdict: allow
    limits: {rows: 1000, time: 30s}
  - name: small-answers
    who: {groups: [fraud]}
    may: [read]
    on: [shop.public.customers]
    verdict: allow
    limits: {rows: 50, bytes: 1KiB}
  - name: quoted
    who: {groups: [analysts]}
    may: [read]
    on: ['shop."Odd.Schema"."it""s"']
    verdict: allow
  - name: work-in-staging
    who: {groups: [analysts], kinds: [agent]}
    may: [read, write, modify, create]
    on: ["shop.staging.*"]
    verdict: allow
  - name: drops
    who: {groups: [analysts]}
    may: [destroy]
    on: ["shop.staging.*", "shop.staging"]
    verdict: ask
    approvers: {groups: [owners, dba], quorum: 1, decide_within: 30m, run_within: 10m}
  - name: big-drops
    who: {groups: [analysts]}
    may: [destroy]
    on: [shop.staging.big]
    verdict: ask
    approvers: {groups: [dba, security], quorum: 2, decide_within: 10m, run_within: 5m, reason: true}
  - name: legal-drops
    who: {groups: [analysts]}
    may: [destroy]
    on: [shop.staging.legal]
    verdict: ask
    approvers: {groups: [legal]}
  - name: ask-about-orders
    who: {groups: [auditors]}
    may: [read]
    on: [shop.public.orders]
    verdict: ask
    approvers: {groups: [owners]}
  - name: watch-vips
    who: {groups: [analysts]}
    may: [read]
    on: [shop.public.vips]
    verdict: ask
    approvers: {groups: [owners], quorum: 2, decide_within: 40m, run_within: 20m, reason: true}
  - name: no-payroll
    who: everyone
    may: [read, write, modify, create, destroy]
    on: ["*.payroll.*"]
    verdict: deny
  - name: ada
    who: {users: [Ada@Example.com, "https://idp.example.com|77"]}
    may: [read]
    on: [lab.x.y]
    verdict: allow
  - name: pipelines
    who: {kinds: [ci]}
    may: [stage]
    on: ["stage:shop.public.*"]
    verdict: allow
  - name: admins
    who: {groups: [admins]}
    may: [admin, procedural, session]
    on: everything
    verdict: allow
  - name: cautious
    who: {groups: [cautious]}
    may: [read, stage]
    on: everything
    verdict: ask
    approvers: {groups: [owners]}
  - name: barred
    who: {groups: [barred]}
    may: [read, stage]
    on: everything
    verdict: deny
  - name: search
    who: {groups: [analysts]}
    functions: ["SNOWFLAKE.CORTEX.*", seq_next, count]
    verdict: allow
    limits: {rows: 5}
  - name: costly
    who: {groups: [analysts]}
    functions: [snowflake.cortex.complete]
    verdict: ask
    approvers: {groups: [owners]}
  - name: no-sleep
    who: everyone
    functions: ["SYSTEM$WAIT"]
    verdict: deny
limits: {rows: 5000, bytes: 2MiB, time: 60s}
detectors: [ssn, card_number]
`

func mustParse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// do makes a statement of a test's words; see parseDo.
func do(t testing.TB, s string) Statement {
	t.Helper()
	accesses, class, err := parseDo(s)
	if err != nil {
		t.Fatal(err)
	}
	return Statement{Class: class, Accesses: accesses}
}

func agent(groups ...string) Caller {
	return Caller{Issuer: "i", Subject: "s", Kind: Agent, Groups: groups}
}

func TestVerdicts(t *testing.T) {
	p := mustParse(t, file)
	with := func(c Caller, change func(*Caller)) Caller { change(&c); return c }
	for _, tt := range []struct {
		name    string
		caller  Caller
		do      string
		verdict Verdict
		code    Code
		rules   string
	}{
		{"a rule allows", agent("analysts"), "read shop.public.customers(email)", Allow, CodeAllowed, "read-shop"},
		{"all rules that allow are named", agent("fraud"), "read shop.public.customers", Allow, CodeAllowed, "read-shop small-answers"},
		{"nothing allows", agent("interns"), "read shop.public.customers", Deny, CodeNoRule, ""},
		{"no groups", agent(), "read shop.public.customers", Deny, CodeNoRule, ""},
		{"groups are compared exactly", agent("Analysts", "analyst", "analysts "), "read shop.public.customers", Deny, CodeNoRule, ""},
		{"another class", agent("analysts"), "modify shop.public.customers", Deny, CodeNoRule, ""},
		{"another schema", agent("analysts"), "read shop.private.customers", Deny, CodeNoRule, ""},
		{"one of two accesses", agent("analysts"), "read shop.public.customers, shop.private.customers", Deny, CodeNoRule, ""},
		{"two accesses, two rules", agent("analysts"), "create shop.staging.copy, read shop.public.customers", Allow, CodeAllowed, "read-shop work-in-staging"},

		{"case counts for allow", agent("analysts"), `read shop.public."customers"`, Allow, CodeAllowed, "read-shop"}, // the star
		{"case counts for names", agent("auditors"), `read shop.public."orders"`, Deny, CodeNoRule, ""},
		{"case counts for schemas", agent("analysts"), `read shop."public".customers`, Deny, CodeNoRule, ""},
		{"quoted names", agent("analysts"), `read shop."Odd.Schema"."it""s"`, Allow, CodeAllowed, "quoted"},
		{"quoted names in another case", agent("analysts"), `read shop."Odd.Schema"."IT""S"`, Deny, CodeNoRule, ""},
		{"an allow does not reach up", agent("analysts"), "read shop.public", Deny, CodeNoRule, ""},
		{"nor down", agent("analysts"), "destroy shop.staging, shop.public.t", Deny, CodeNoRule, ""},
		{"stars do not match metadata", with(agent("analysts"), func(c *Caller) {}), "read shop.information_schema.tables", Deny, CodeNoRule, ""},

		{"ask", agent("analysts"), "destroy shop.staging.t", Ask, CodeApprovalNeeded, "drops"},
		{"ask beats allow", agent("analysts"), "read shop.public.vips", Ask, CodeApprovalNeeded, "watch-vips"},
		{"ask beats allow in any case", agent("analysts"), `read shop.public."Vips"`, Ask, CodeApprovalNeeded, "watch-vips"},
		{"ask in one of two accesses", agent("analysts"), "read shop.public.customers, shop.public.vips", Ask, CodeApprovalNeeded, "watch-vips"},
		{"ask lets through", agent("auditors"), "read shop.public.orders", Ask, CodeApprovalNeeded, "ask-about-orders"},
		{"ask lets through nothing else", agent("auditors"), "read shop.public.customers", Deny, CodeNoRule, ""},
		{"asks that meet", agent("analysts"), "destroy shop.staging.big", Ask, CodeApprovalNeeded, "big-drops drops"},
		{"asks that do not meet", agent("analysts"), "destroy shop.staging.legal", Deny, CodeApprovalConflict, "drops legal-drops"},
		{"asking for a schema", agent("analysts"), "destroy shop.staging", Deny, CodeApprovalConflict, "big-drops drops legal-drops"},

		{"deny beats allow", agent("analysts"), "read shop.public.customers, shop.payroll.salaries", Deny, CodeRuleDenies, "no-payroll"},
		{"deny in any case", agent("analysts"), `read shop."PayRoll".salaries`, Deny, CodeRuleDenies, "no-payroll"},
		{"deny reaches up to the schema", agent("analysts"), "destroy shop.payroll", Deny, CodeRuleDenies, "no-payroll"},
		{"and the database", agent("analysts"), "destroy shop", Deny, CodeRuleDenies, "no-payroll"},
		{"but not to other schemas", agent("analysts"), "destroy shop.public", Deny, CodeNoRule, ""},
		{"nor other kinds", agent("admins"), "destroy warehouse:etl", Deny, CodeNoRule, ""},
		{"the account holds everything", agent("admins"), "destroy account:main", Deny, CodeRuleDenies, "no-payroll"},

		{"a user by address", Caller{Email: "ada@example.COM"}, "read lab.x.y", Allow, CodeAllowed, "ada"},
		{"another address", Caller{Email: "ada@example.com.evil"}, "read lab.x.y", Deny, CodeNoRule, ""},
		{"the Kelvin sign is no k", Caller{Email: "ada@example.\u212Aom"}, "read lab.x.y", Deny, CodeNoRule, ""},
		{"a user by issuer and subject", Caller{Issuer: "https://idp.example.com", Subject: "77"}, "read lab.x.y", Allow, CodeAllowed, "ada"},
		{"another issuer", Caller{Issuer: "https://idp.example.org", Subject: "77"}, "read lab.x.y", Deny, CodeNoRule, ""},
		{"kinds narrow groups", with(agent("analysts"), func(c *Caller) { c.Kind = Person }), "write shop.staging.t", Deny, CodeNoRule, ""},
		{"kinds alone select", Caller{Kind: CI}, "stage stage:shop.public.files", Allow, CodeAllowed, "pipelines"},
		{"a kind of object", Caller{Kind: CI}, "stage shop.public.files", Deny, CodeNoRule, ""},
		{"a caller of no kind", Caller{}, "stage stage:shop.public.files", Deny, CodeNoRule, ""},

		{"no object, reading", agent("analysts"), "read", Allow, CodeAllowed, "quoted read-shop work-in-staging"},
		{"no object, session", agent("eu"), "session", Allow, CodeAllowed, "read-shop"},
		{"no object, only asked", agent("auditors"), "read", Ask, CodeApprovalNeeded, "ask-about-orders"},
		{"no object, no rule", agent("interns"), "read", Deny, CodeNoRule, ""},
		{"no object, destroying", agent("analysts"), "destroy", Deny, CodeNoRule, ""},
		{"no object, asked of everything", agent("cautious"), "stage", Ask, CodeApprovalNeeded, "cautious"},
		{"no object, allowed and asked of everything", agent("analysts", "cautious"), "read", Ask, CodeApprovalNeeded, "cautious"},
		{"no object, denied everything", agent("analysts", "barred"), "read", Deny, CodeRuleDenies, "barred"},
		{"no object, denied everything of a class", agent("barred"), "stage", Deny, CodeRuleDenies, "barred"},
		{"no object, denied something", agent("fraud"), "read", Allow, CodeAllowed, "read-shop small-answers"},
		{"no object, everything", agent("admins"), "procedural", Allow, CodeAllowed, "admins"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.caller, do(t, tt.do), time.Time{})
			if d.Verdict != tt.verdict || d.Reasons[0].Code != tt.code || strings.Join(d.Rules, " ") != tt.rules {
				t.Errorf("%s: %s, %s, by %q; want %s, %s, by %q", tt.do, d.Verdict, d.Reasons[0].Code, d.Rules, tt.verdict, tt.code, tt.rules)
			}
			if d.Policy != p.Version() || d.Policy == "" {
				t.Errorf("decided by policy %q, want %q", d.Policy, p.Version())
			}
			if d.Limits.Rows <= 0 || d.Limits.Bytes <= 0 || d.Limits.Duration <= 0 {
				t.Errorf("limits are not filled in: %+v", d.Limits)
			}
			if (d.Verdict == Ask) != (d.Approval != nil) {
				t.Errorf("verdict %s with approval %+v", d.Verdict, d.Approval)
			}
			if !slices.Equal(d.Detectors, []string{"ssn", "card_number"}) {
				t.Errorf("detectors %q", d.Detectors)
			}
			for _, r := range d.Reasons {
				if r.Sentence == "" || !strings.HasSuffix(r.Sentence, ".") || strings.Contains(r.Sentence, "%!") || (r.Next == "") != (r.Code == CodeAllowed) {
					t.Errorf("reason %+v", r)
				}
			}
		})
	}
}

// TestUnfit checks what no rule can help: problems, and classes that are not
// understood.
func TestUnfit(t *testing.T) {
	p := mustParse(t, `
version: 1
rules:
  - {name: all, who: everyone, may: [read, write, modify, create, destroy, admin, session, stage, procedural], on: everything, verdict: allow, functions: ["*"]}
`)
	ok := do(t, "read a.b.c(x)")
	if d := p.Decide(agent(), ok, time.Time{}); d.Verdict != Allow {
		t.Fatalf("the control is decided %s", d.Verdict)
	}
	problem := Reason{Code: CodeSyntax, Sentence: "x", Next: "y"}
	for name, change := range map[string]func(*Statement){
		"zero":           func(s *Statement) { *s = Statement{} },
		"unknown class":  func(s *Statement) { s.Class = Unknown },
		"no such class":  func(s *Statement) { s.Class = numClasses },
		"unknown access": func(s *Statement) { s.Accesses = append(s.Accesses, Access{Object: s.Accesses[0].Object}) },
		"no such access": func(s *Statement) { s.Accesses[0].Class = numClasses },
	} {
		s := do(t, "read a.b.c(x)")
		change(&s)
		if d := p.Decide(agent(), s, time.Time{}); d.Verdict != Deny || d.Reasons[0].Code != CodeNotUnderstood {
			t.Errorf("%s: %s for %v", name, d.Verdict, d.Reasons)
		}
	}
	s := ok
	s.Problems = []Reason{problem, {Code: CodeFunctionUnknown}}
	d := p.Decide(agent(), s, time.Time{})
	if d.Verdict != Deny || !slices.Equal(d.Reasons, s.Problems) {
		t.Errorf("problems: %s for %v", d.Verdict, d.Reasons)
	}
	if d.Limits.Rows == 0 || d.Policy == "" {
		t.Errorf("a statement with problems gets %+v", d)
	}
	for name, p := range map[string]*Policy{"nil": nil, "zero": {}} {
		d := p.Decide(agent(), ok, time.Time{})
		if d.Verdict != Deny || d.Reasons[0].Code != CodePolicyInvalid || d.Limits.Rows == 0 {
			t.Errorf("the %s policy decides %+v", name, d)
		}
		if p.Sees(agent(), Table{Object: ok.Accesses[0].Object}) {
			t.Errorf("under the %s policy a table is seen", name)
		}
	}
}

// TestClassWithoutAccess checks that a statement whose own class none of its
// accesses has is judged for that class too.
func TestClassWithoutAccess(t *testing.T) {
	p := mustParse(t, file)
	s := do(t, "read shop.public.customers")
	s.Class = Procedural
	if d := p.Decide(agent("analysts"), s, time.Time{}); d.Verdict != Deny || d.Reasons[0].Code != CodeNoRule {
		t.Errorf("a procedure that reads: %s for %v", d.Verdict, d.Reasons)
	}
	if d := p.Decide(agent("analysts", "admins"), s, time.Time{}); d.Verdict != Allow {
		t.Errorf("a procedure that reads, by an admin: %s for %v", d.Verdict, d.Reasons)
	}
}

func TestFunctions(t *testing.T) {
	p := mustParse(t, file)
	for _, tt := range []struct {
		functions, effects []string
		verdict            Verdict
		code               Code
		rules              string
		rows               int64
	}{
		{[]string{"COUNT"}, nil, Allow, CodeAllowed, "read-shop", 1000},
		{[]string{"SEQ_NEXT"}, []string{"SEQ_NEXT"}, Allow, CodeAllowed, "read-shop search", 5},
		{[]string{"SEQ_NEXT2"}, []string{"SEQ_NEXT2"}, Deny, CodeFunctionForbidden, "", 5000},
		{[]string{"SNOWFLAKE.CORTEX.EMBED"}, []string{"SNOWFLAKE.CORTEX.EMBED"}, Allow, CodeAllowed, "read-shop search", 5},
		{[]string{"SNOWFLAKE.CORTEX.COMPLETE"}, []string{"SNOWFLAKE.CORTEX.COMPLETE"}, Ask, CodeApprovalNeeded, "costly", 5},
		{[]string{"SYSTEM$WAIT"}, nil, Deny, CodeFunctionForbidden, "no-sleep", 5000},
		{[]string{"system$wait"}, nil, Deny, CodeFunctionForbidden, "no-sleep", 5000},
	} {
		s := do(t, "read shop.public.orders")
		s.Functions, s.Effects = tt.functions, tt.effects
		d := p.Decide(agent("analysts"), s, time.Time{})
		if d.Verdict != tt.verdict || d.Reasons[0].Code != tt.code || strings.Join(d.Rules, " ") != tt.rules || d.Limits.Rows != tt.rows {
			t.Errorf("%q: %s for %s by %q, %d rows; want %s for %s by %q, %d rows",
				tt.functions, d.Verdict, d.Reasons[0].Code, d.Rules, d.Limits.Rows, tt.verdict, tt.code, tt.rules, tt.rows)
		}
	}
	s := do(t, "read shop.public.orders")
	s.Functions, s.Effects = []string{"SEQ_NEXT"}, []string{"SEQ_NEXT"}
	if d := p.Decide(agent("eu"), s, time.Time{}); d.Verdict != Deny {
		t.Errorf("a function for others: %s", d.Verdict)
	}
}

func masksOf(d Decision) map[string]string {
	m := map[string]string{}
	for _, c := range d.Masks {
		m[c.Object.String()+"."+c.Column] = c.Mask.String() + " by " + c.Rule
	}
	return m
}

func TestMasks(t *testing.T) {
	p := mustParse(t, file)
	supporter := agent("support")
	supporter.Kind = Person
	for _, tt := range []struct {
		name   string
		caller Caller
		do     string
		want   map[string]string
	}{
		{"by pattern", agent("analysts"), "read shop.public.customers(ssn, city, email)",
			map[string]string{"SHOP.PUBLIC.CUSTOMERS.SSN": "redact by secrets", "SHOP.PUBLIC.CUSTOMERS.EMAIL": "email by addresses"}},
		{"in any case", agent("analysts"), `read shop.public.customers("Ssn")`, map[string]string{"SHOP.PUBLIC.CUSTOMERS.Ssn": "redact by secrets"}},
		{"of another table", agent("analysts"), "read shop.public.orders(email)", map[string]string{}},
		{"by label in any case", agent("fraud"), "read shop.public.orders(note#pIi, id#x)", map[string]string{"SHOP.PUBLIC.ORDERS.NOTE": "hash by pii"}},
		{"unless a group", agent("fraud"), "read shop.public.customers(ssn)", map[string]string{}},
		{"unless a group of a kind", supporter, "read shop.public.customers(email)", map[string]string{}},
		{"another kind", agent("support"), "read shop.public.customers(email)", map[string]string{"SHOP.PUBLIC.CUSTOMERS.EMAIL": "email by addresses"}},
		{"the strictest of two", agent("analysts"), "read shop.public.customers(email#pii)", map[string]string{"SHOP.PUBLIC.CUSTOMERS.EMAIL": "redact by addresses, pii"}},
		{"one of two is lifted", supporter, "read shop.public.customers(email#pii)", map[string]string{"SHOP.PUBLIC.CUSTOMERS.EMAIL": "hash by pii"}},
		{"in conditions of changes", agent("analysts"), "modify shop.staging.t(ssn)", map[string]string{"SHOP.STAGING.T.SSN": "redact by secrets"}},
		{"not where rows are added", agent("analysts"), "write shop.staging.t(ssn)", map[string]string{}},
		{"not without a verdict", agent("interns"), "read shop.public.customers(ssn)", map[string]string{}},
		{"twice the same", agent("analysts"), "read shop.public.customers(ssn), shop.public.customers(ssn, email), shop.public.orders(ssn)",
			map[string]string{"SHOP.PUBLIC.CUSTOMERS.SSN": "redact by secrets", "SHOP.PUBLIC.CUSTOMERS.EMAIL": "email by addresses", "SHOP.PUBLIC.ORDERS.SSN": "redact by secrets"}},
		{"twice with other labels", agent("analysts"), "read shop.public.customers(email), shop.public.customers(email#pii)",
			map[string]string{"SHOP.PUBLIC.CUSTOMERS.EMAIL": "redact by addresses"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.caller, do(t, tt.do), time.Time{})
			got := masksOf(d)
			if len(got) != len(d.Masks) {
				t.Errorf("a column is masked twice: %v", d.Masks)
			}
			if len(got) != len(tt.want) {
				t.Errorf("masks %v, want %v", got, tt.want)
			}
			for column, m := range tt.want {
				if got[column] != m {
					t.Errorf("%s: mask %q, want %q", column, got[column], m)
				}
			}
		})
	}

	s := do(t, "read shop.public.orders(amount)")
	s.Accesses[0].Columns[0].Type = ""
	d := p.Decide(agent("fraud"), s, time.Time{})
	if len(d.Masks) != 1 || (d.Masks[0].Mask != mask.Mask{}) {
		t.Errorf("a column of unknown type has the masks %v", d.Masks)
	}
}

func TestFilters(t *testing.T) {
	p := mustParse(t, file+"  # a comment\n")
	for _, tt := range []struct {
		caller Caller
		do     string
		want   []string
	}{
		{agent("eu"), "read shop.public.orders", []string{"SHOP.PUBLIC.ORDERS: region = 'EU' (eu)"}},
		{agent("eu"), `read shop.public."Orders"`, []string{`SHOP.PUBLIC."Orders": region = 'EU' (eu)`}},
		{agent("eu"), "read shop.public.customers", nil},
		{agent("eu", "analysts"), "read shop.public.orders, shop.public.orders, shop.public.customers", []string{"SHOP.PUBLIC.ORDERS: region = 'EU' (eu)"}},
		{agent("analysts"), "read shop.public.orders", nil},
		{agent("auditors"), "read shop.public.orders", []string{"SHOP.PUBLIC.ORDERS: not closed (open)"}},
		{agent("analysts"), "modify shop.staging.t, write shop.staging.u", []string{"SHOP.STAGING.T: mine (staging)"}},
	} {
		d := p.Decide(tt.caller, do(t, tt.do), time.Time{})
		var got []string
		for _, f := range d.Filters {
			got = append(got, f.Object.String()+": "+f.Where+" ("+f.Rule+")")
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v, %s: filters %q, want %q", tt.caller.Groups, tt.do, got, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	p := mustParse(t, file)
	for _, tt := range []struct {
		caller Caller
		do     string
		want   Limits
	}{
		{agent("analysts"), "read shop.public.customers", Limits{1000, 2 << 20, 30 * time.Second}},
		{agent("fraud"), "read shop.public.customers", Limits{50, 1 << 10, 30 * time.Second}},
		{agent("fraud"), "read shop.public.orders", Limits{1000, 2 << 20, 30 * time.Second}},
		{agent("analysts"), "write shop.staging.x", Limits{5000, 2 << 20, time.Minute}},
		{agent("analysts"), "write shop.staging.x, read shop.public.orders", Limits{1000, 2 << 20, 30 * time.Second}},
		{agent("interns"), "read shop.public.orders", Limits{5000, 2 << 20, time.Minute}},
	} {
		if d := p.Decide(tt.caller, do(t, tt.do), time.Time{}); d.Limits != tt.want {
			t.Errorf("%v, %s: limits %+v, want %+v", tt.caller.Groups, tt.do, d.Limits, tt.want)
		}
	}
	bare := mustParse(t, "version: 1\n")
	if d := bare.Decide(agent(), do(t, "read"), time.Time{}); d.Limits != (Limits{10_000, 4 << 20, time.Minute}) {
		t.Errorf("a policy without limits limits to %+v", d.Limits)
	}
}

func TestApproval(t *testing.T) {
	p := mustParse(t, file)
	for _, tt := range []struct {
		do   string
		want Approval
	}{
		{"destroy shop.staging.t", Approval{Groups: []string{"dba", "owners"}, Quorum: 1, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, NeedReason: false}},
		{"destroy shop.staging.big", Approval{Groups: []string{"dba"}, Quorum: 2, DecideWithin: 10 * time.Minute, RunWithin: 5 * time.Minute, NeedReason: true}},
		{"read shop.public.vips", Approval{Groups: []string{"owners"}, Quorum: 2, DecideWithin: 40 * time.Minute, RunWithin: 20 * time.Minute, NeedReason: true}},
		{"destroy shop.staging.t, read shop.public.vips", Approval{Groups: []string{"owners"}, Quorum: 2, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, NeedReason: true}},
		{"read shop.public.vips, destroy shop.staging.t", Approval{Groups: []string{"owners"}, Quorum: 2, DecideWithin: 30 * time.Minute, RunWithin: 10 * time.Minute, NeedReason: true}},
	} {
		d := p.Decide(agent("analysts"), do(t, tt.do), time.Time{})
		if d.Approval == nil {
			t.Errorf("%s: %s for %v", tt.do, d.Verdict, d.Reasons)
			continue
		}
		if got := *d.Approval; !slices.Equal(got.Groups, tt.want.Groups) || got.Quorum != tt.want.Quorum ||
			got.DecideWithin != tt.want.DecideWithin || got.RunWithin != tt.want.RunWithin || got.NeedReason != tt.want.NeedReason {
			t.Errorf("%s: approval %+v, want %+v", tt.do, got, tt.want)
		}
		// What a decision says is the caller's own to change.
		d.Approval.Groups[0] = "intruders"
		d.Detectors[0] = "none"
		if again := p.Decide(agent("analysts"), do(t, tt.do), time.Time{}); again.Approval.Groups[0] != tt.want.Groups[0] || again.Detectors[0] != "ssn" {
			t.Fatalf("%s: changing a decision changed the policy", tt.do)
		}
	}
}

// TestHiddenObjects checks that a caller hears the same of an object that it
// may not see and of one that does not exist.
func TestHiddenObjects(t *testing.T) {
	p := mustParse(t, file)
	for _, tt := range []struct {
		do     string
		code   Code
		hidden bool
	}{
		{"read shop.private.secrets", CodeNoRule, true},
		{"destroy shop.private.secrets", CodeNoRule, true},
		{"read shop.payroll.salaries", CodeRuleDenies, true},
		{"destroy shop.public.orders", CodeNoRule, false},
	} {
		s := do(t, tt.do)
		r := p.Decide(agent("analysts"), s, time.Time{}).Reasons[0]
		if r.Code != tt.code {
			t.Errorf("%s: recorded as %s, want %s", tt.do, r.Code, tt.code)
		}
		unknown := ObjectUnknown(s.Accesses[0].Object)
		if told := r.Told(); (told == unknown) != tt.hidden {
			t.Errorf("%s: told %+v; of what does not exist, %+v", tt.do, told, unknown)
		}
		if !tt.hidden && r.Told() != r {
			t.Errorf("%s: told %+v", tt.do, r.Told())
		}
	}
}

func TestSees(t *testing.T) {
	p := mustParse(t, file)
	for _, tt := range []struct {
		caller Caller
		table  string
		want   bool
	}{
		{agent("analysts"), "shop.public.customers", true},
		{agent("auditors"), "shop.public.orders", true}, // after an approval
		{agent("auditors"), "shop.public.customers", false},
		{agent("interns"), "shop.public.customers", false},
		{agent("analysts"), "shop.payroll.salaries", false},
		{agent("analysts"), `shop."public".customers`, false},
		{agent("admins"), "shop.public.customers", false},
	} {
		table := Table{Object: do(t, "read "+tt.table).Accesses[0].Object}
		if got := p.Sees(tt.caller, table); got != tt.want {
			t.Errorf("%v sees %s: %t", tt.caller.Groups, tt.table, got)
		}
	}
}
