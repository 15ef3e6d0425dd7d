package policy

import (
	"testing"
	"time"
)

const ownFile = `
version: 1
filters:
  - name: eu
    on: [shop.public.orders]
    where: region = 'EU'
    for: {groups: [eu]}
  - name: open
    on: [shop.public.orders]
    where: not closed
    unless: {groups: [staff, all]}
opaque_views: [shop.public.averages, "shop.odd.*"]
rules:
  - name: read
    who: everyone
    may: [read, write, modify]
    on: ["shop.*.*"]
    verdict: allow
  - name: files
    who: {groups: [staff]}
    may: [stage]
    on: ["stage:shop.public.*"]
    verdict: allow
  - name: everything
    who: {groups: [all]}
    may: [procedural, stage, read]
    on: everything
    functions: ["*"]
    verdict: allow
  - name: run
    who: {groups: [staff]}
    may: [procedural]
    on: ["procedure:shop.public.refresh*"]
    functions: [shop.public.tax, "shop.math.*", "*.public.round", "shop.public"]
    verdict: allow
  - name: ask
    who: {groups: [staff]}
    functions: ["*.slow"]
    verdict: ask
    approvers: {groups: [owners]}
  - name: ask-for
    who: {groups: [careful]}
    functions: [shop.public.tax]
    verdict: ask
    approvers: {groups: [owners]}
  - name: never
    who: {groups: [staff]}
    functions: ["shop.math.danger"]
    verdict: deny
`

// TestOwn: functions and procedures of the account's own run where a rule names
// them, each by its database and schema.
func TestOwn(t *testing.T) {
	p := mustParse(t, ownFile)
	for _, c := range []struct {
		group, function string
		want            Verdict
		code            Code
	}{
		{"staff", "SHOP.PUBLIC.TAX", Allow, CodeAllowed},
		{"staff", "SHOP.MATH.ADD", Allow, CodeAllowed},
		{"staff", "SHOP.PUBLIC.ROUND", Allow, CodeAllowed},
		{"staff", "ELSEWHERE.PUBLIC.ROUND", Allow, CodeAllowed},
		{"staff", "SHOP.MATH.SLOW", Ask, CodeApprovalNeeded},
		{"staff", "SHOP.ELSE.SLOW", Deny, CodeFunctionUnknown},
		{"staff", "SHOP.MATH.DANGER", Deny, CodeFunctionForbidden},
		{"staff", `SHOP.MATH."danger"`, Deny, CodeFunctionForbidden},
		{"staff", `SHOP.MATH."add"`, Allow, CodeAllowed},
		{"staff", `SHOP.PUBLIC."tax"`, Deny, CodeFunctionUnknown},
		{"staff", "SHOP.PUBLIC.TAXES", Deny, CodeFunctionUnknown},
		{"staff", "SHOP.PUBLIC.OTHER", Deny, CodeFunctionUnknown},
		{"staff", `SHOP.MATH."A.B"`, Deny, CodeFunctionUnknown},
		{"staff", "SNOWFLAKE.CORTEX.COMPLETE", Deny, CodeFunctionForbidden},
		{"all", "SNOWFLAKE.CORTEX.COMPLETE", Allow, CodeAllowed},
		{"all", "GET_DDL", Allow, CodeAllowed},
		{"all", "SHOP.PUBLIC.TAX", Deny, CodeFunctionUnknown},
		{"careful", "SHOP.PUBLIC.TAX", Ask, CodeApprovalNeeded},
		{"none", "SHOP.PUBLIC.TAX", Deny, CodeFunctionUnknown},
	} {
		d := p.Decide(Caller{Issuer: "i", Subject: "s", Groups: []string{c.group}}, Statement{
			Class: Read, Functions: []string{c.function}, Effects: []string{c.function},
		}, time.Time{})
		if d.Verdict != c.want || d.Reasons[0].Code != c.code {
			t.Errorf("%s of %s: %s, %+v, want %s", c.function, c.group, d.Verdict, d.Reasons, c.want)
		}
	}
	for _, c := range []struct {
		group string
		o     Object
		class Class
		want  Verdict
	}{
		{"staff", Object{ProcedureObject, "SHOP", "PUBLIC", "REFRESH"}, Procedural, Allow},
		{"staff", Object{ProcedureObject, "SHOP", "PUBLIC", "REFRESH_ALL"}, Procedural, Allow},
		{"staff", Object{ProcedureObject, "SHOP", "PUBLIC", "refresh"}, Procedural, Deny},
		{"staff", Object{ProcedureObject, "SHOP", "OTHER", "REFRESH"}, Procedural, Deny},
		{"all", Object{ProcedureObject, "SHOP", "PUBLIC", "REFRESH"}, Procedural, Deny},
		{"staff", Object{StageObject, "SHOP", "PUBLIC", "X"}, Stage, Allow},
		{"staff", Object{StageObject, "SHOP", "OTHER", "X"}, Stage, Deny},
		{"all", Object{StageObject, "SHOP", "OTHER", "X"}, Stage, Allow},
		{"none", Object{StageObject, "SHOP", "PUBLIC", "X"}, Stage, Deny},
	} {
		s := Statement{Class: c.class, Accesses: []Access{{Class: c.class, Object: c.o}}}
		if d := p.Decide(Caller{Issuer: "i", Subject: "s", Groups: []string{c.group}}, s, time.Time{}); d.Verdict != c.want {
			t.Errorf("%s %s of %s: %s, %+v", c.class, c.o, c.group, d.Verdict, d.Reasons)
		}
	}
}

// TestCopied: a copy is closed to those who have a filter on its source that the
// copier had not.
func TestCopied(t *testing.T) {
	p := mustParse(t, ownFile)
	orders := Object{TableObject, "SHOP", "PUBLIC", "ORDERS"}
	cased := Object{TableObject, "shop", "PUBLIC", "orders"}
	copied := Object{TableObject, "SHOP", "STAGING", "COPY"}
	stage := Object{StageObject, "SHOP", "PUBLIC", "X"}
	const eu, open = "region = 'EU'", "not closed"
	for _, c := range []struct {
		group string
		class Class
		o     Object
		from  []RowOrigin
		want  Verdict
	}{
		{"staff", Read, copied, []RowOrigin{{orders, nil}}, Allow},
		{"none", Read, copied, nil, Allow},
		{"none", Read, copied, []RowOrigin{{copied, nil}}, Allow},
		{"none", Read, copied, []RowOrigin{{orders, nil}}, Deny},
		{"none", Read, copied, []RowOrigin{{cased, nil}}, Deny},
		{"none", Read, copied, []RowOrigin{{orders, []string{open}}}, Allow},
		{"none", Read, copied, []RowOrigin{{orders, []string{eu}}}, Deny},
		{"none", Read, copied, []RowOrigin{{orders, []string{open}}, {orders, nil}}, Deny},
		{"eu", Read, copied, []RowOrigin{{orders, []string{open}}}, Deny},
		{"eu", Read, copied, []RowOrigin{{orders, []string{open, eu}}}, Allow},
		{"none", Modify, copied, []RowOrigin{{orders, nil}}, Deny},
		{"none", Write, copied, []RowOrigin{{orders, nil}}, Allow},
		{"staff", Stage, stage, []RowOrigin{{orders, nil}}, Allow},
		{"all", Stage, stage, []RowOrigin{{orders, nil}}, Allow},
	} {
		s := Statement{Class: c.class, Accesses: []Access{{Class: c.class, Object: c.o, Rows: c.from}}}
		d := p.Decide(Caller{Issuer: "i", Subject: "s", Groups: []string{c.group}}, s, time.Time{})
		if d.Verdict != c.want || d.Verdict == Deny && d.Reasons[0].Code != CodeMaskUnresolved {
			t.Errorf("%s of %v by %s: %s, %+v", c.class, c.from, c.group, d.Verdict, d.Reasons)
		}
	}
	// What nobody may see has nothing said of its rows.
	hidden := Object{TableObject, "ELSE", "X", "Y"}
	d := p.Decide(Caller{Issuer: "i", Subject: "s"}, Statement{Class: Read, Accesses: []Access{{Class: Read, Object: hidden, Rows: []RowOrigin{{orders, nil}}}}}, time.Time{})
	if len(d.Reasons) != 1 || d.Reasons[0].Told().Code != CodeObjectUnknown {
		t.Errorf("%+v", d.Reasons)
	}
}

// TestOpaque: a view that hides what it shows is read where the policy vouches
// for it, masked by its own columns.
func TestOpaque(t *testing.T) {
	p := mustParse(t, ownFile)
	for name, want := range map[Object]Verdict{
		{ViewObject, "SHOP", "PUBLIC", "AVERAGES"}: Allow,
		{ViewObject, "SHOP", "ODD", "ANY"}:         Allow,
		{ViewObject, "SHOP", "PUBLIC", "averages"}: Deny,
		{ViewObject, "SHOP", "PUBLIC", "OTHER"}:    Deny,
		{ViewObject, "ELSE", "PUBLIC", "AVERAGES"}: Deny,
	} {
		d := p.Decide(Caller{Issuer: "i", Subject: "s"}, Statement{Class: Read, Accesses: []Access{{Class: Read, Object: name, Opaque: true}}}, time.Time{})
		if d.Verdict != want {
			t.Errorf("%s: %s, %+v", name, d.Verdict, d.Reasons)
		}
	}
}
