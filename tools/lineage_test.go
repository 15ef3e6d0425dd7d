//go:build cgo

package tools_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

const lineagePolicy = `
version: 1
masks:
  - columns: ["retail.public.customers.ssn"]
    mask: redact
    unless: {groups: [fraud]}
  - columns: ["retail.public.customers.email"]
    mask: email
    unless: {groups: [fraud]}
  - columns: ["retail.public.customers.name"]
    mask: hash
    unless: {groups: [fraud]}
rules:
  - name: all
    who: everyone
    may: [read, write, modify, create, destroy]
    on: ["retail.*.*"]
    verdict: allow
`

var fraud = tools.Call{Caller: policy.Caller{Issuer: "idp", Subject: "fay", Groups: []string{"fraud"}, Kind: policy.Agent}}

// TestCopies: what somebody with raw access copies is masked for the others as
// the columns are that it was copied from, under whatever name and through
// however many tables.
func TestCopies(t *testing.T) {
	p, err := policy.Parse([]byte(lineagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	raw := w.gate.Query(t.Context(), fraud, tools.QueryRequest{SQL: "select ssn, email, name from customers where id = 1"})
	if raw.Status != tools.Completed || raw.RowCount != 1 {
		t.Fatalf("%+v", raw.Answer)
	}
	secrets := strings.Split(strings.Trim(string(raw.Rows.First()[0]), `[]`), ",")
	for _, c := range []struct {
		name, read string
		by         []string
	}{
		{"create as", "select * from staging.a1", []string{"create table staging.a1 as select id, ssn as x, email as y, name as z from customers"}},
		{"named columns", "select * from staging.a2", []string{"create table staging.a2 (k, l, m, n) as select id, ssn, email, name from customers"}},
		{"computed", "select * from staging.a3", []string{"create table staging.a3 as select id, concat('<', ssn, '>') as x, upper(email) || name as y from customers"}},
		{"insert", "select * from staging.a4", []string{
			"create table staging.a4 (k int, l varchar, m varchar, n varchar)", "insert into staging.a4 select id, ssn, email, name from customers"}},
		{"insert of columns", "select * from staging.a5", []string{
			"create table staging.a5 (k int, l varchar, m varchar, n varchar)", "insert into staging.a5 (n, k, m, l) select ssn, id, name, email from customers"}},
		{"update", "select * from staging.a6", []string{
			"create table staging.a6 as select id, 'x' as l, 'x' as m, 'x' as n from customers",
			"update staging.a6 a set l = c.ssn, m = c.email, n = c.name from customers c where c.id = a.id"}},
		{"merge", "select * from staging.a7", []string{
			"create table staging.a7 (k int, l varchar, m varchar, n varchar)",
			"merge into staging.a7 a using customers c on a.k = c.id when not matched then insert (k, l, m, n) values (c.id, c.ssn, c.email, c.name)"}},
		{"a copy of a copy", "select * from staging.a9", []string{
			"create table staging.a8 as select id, ssn as x, email as y, name as z from customers", "create table staging.a9 as select z as p, y as q, x as r, id from staging.a8"}},
		{"a clone", "select * from staging.b1", []string{"create table staging.b0 as select id, ssn as x, email as y, name as z from customers", "create table staging.b1 clone staging.b0"}},
		{"a new name", "select * from staging.b3", []string{"create table staging.b2 as select id, ssn as x, email as y, name as z from customers", "alter table staging.b2 rename to staging.b3"}},
		{"a view on a copy", "select * from staging.b5", []string{
			"create table staging.b4 as select id, ssn as x, email as y, name as z from customers", "create view staging.b5 as select x as u, y, z from staging.b4"}},
		{"a star of some columns", "select * from staging.b7", []string{
			"create table staging.b7 (k varchar, l varchar)", "insert into staging.b7 (k) select * ilike 'ss%' from customers"}},
		{"a star that swaps names", "select * from staging.b8", []string{"create table staging.b8 as select * rename (ssn as id, id as was) from customers"}},
		{"a star over a join", "select * from staging.c1", []string{
			"create table staging.c1 (a varchar, b varchar)", "insert into staging.c1 select * from (select ssn, id from customers) x join (select id from customers) y using (id)"}},
		{"a pivot", "select * from staging.b6", []string{"create table staging.b6 as select * from (select id, ssn from customers where id < 3) pivot (max(ssn) for id in (1, 2))"}},
	} {
		for _, sql := range c.by {
			if a := w.gate.Query(t.Context(), fraud, tools.QueryRequest{SQL: sql}); a.Status != tools.Completed {
				t.Errorf("%s: %s: %+v", c.name, sql, a.Answer)
			}
		}
		a := w.query(c.read)
		if a.Status != tools.Completed || a.RowCount == 0 {
			t.Errorf("%s: %s: %+v", c.name, c.read, a.Answer)
		}
		for _, secret := range secrets {
			if secret = strings.Trim(secret, `"`); strings.Contains(strings.ToUpper(a.Rows.String()), strings.ToUpper(secret)) {
				t.Errorf("%s: %s shows %s", c.name, c.read, secret)
			}
		}
		if a := w.gate.Query(t.Context(), fraud, tools.QueryRequest{SQL: c.read}); !strings.Contains(a.Rows.String(), strings.Trim(secrets[0], `"`)) {
			t.Errorf("%s: who may see the values does not: %+v", c.name, a.Answer)
		}
	}
}

// TestMaskedCopies: what was masked when it was copied is not masked again, so
// that a hash stays the same and a count stays a count.
func TestMaskedCopies(t *testing.T) {
	p, err := policy.Parse([]byte(lineagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	run := func(call tools.Call, sql string) string {
		t.Helper()
		a := w.gate.Query(context.Background(), call, tools.QueryRequest{SQL: sql})
		if a.Status != tools.Completed {
			t.Fatalf("%s: %+v", sql, a.Answer)
		}
		return a.Rows.String()
	}
	run(ada, "create table staging.mine as select id, name, email as e, city from customers")
	if a, b := run(ada, "select name, e, city from staging.mine order by id limit 5"), run(ada, "select name, email, city from customers order by id limit 5"); a != b {
		t.Errorf("a masked copy was masked again:\n%s\n%s", a, b)
	}
	if n := run(ada, "select count(*) from staging.mine m join customers c on c.name = m.name and c.id = m.id"); n != "[[200]]" {
		t.Errorf("the hashes are others: %s", n)
	}
	// Made anew from something else, the table has nothing to hide.
	run(fraud, "create or replace table staging.mine as select id, ssn as e from customers")
	if a := run(ada, "select e from staging.mine where id = 1"); a != `[["***"]]` {
		t.Errorf("the new table shows %s", a)
	}
	run(fraud, "create or replace table staging.mine as select id, city as e from customers")
	if a, b := run(ada, "select e from staging.mine where id = 1"), run(ada, "select city from customers where id = 1"); a != b {
		t.Errorf("old notes mask a new table: %s, %s", a, b)
	}
	// What is dropped can come back as it was.
	run(fraud, "create or replace table staging.mine as select id, ssn as e from customers")
	run(fraud, "drop table staging.mine")
	if err := w.account.Exec(t.Context(), "UNDROP TABLE retail.staging.mine"); err != nil {
		t.Fatal(err)
	}
	if err := w.gate.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(ada, "create table if not exists staging.mine (e varchar)")
	if a := run(ada, "select e from staging.mine where id = 1"); a != `[["***"]]` {
		t.Errorf("what came back shows %s", a)
	}
	run(fraud, "drop table staging.mine")
	run(ada, "create table staging.mine (e varchar)")
	run(ada, "insert into staging.mine values ('plain')")
	if a := run(ada, "select e from staging.mine"); a != `[["plain"]]` {
		t.Errorf("notes outlived their table: %s", a)
	}
}

const rowLineagePolicy = `
version: 1
filters:
  - on: [retail.public.orders]
    where: "region = 'EU'"
    unless: {groups: [fraud]}
rules:
  - name: all
    who: everyone
    may: [read, write, modify, create, destroy, stage]
    on: ["retail.*.*"]
    verdict: allow
`

// TestCopiedRows: who sees some rows of a table reads no copy that somebody
// made who sees more of them, through however many steps; and reads its own.
func TestCopiedRows(t *testing.T) {
	p, err := policy.Parse([]byte(rowLineagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	for _, c := range []struct {
		call tools.Call
		sql  string
		code policy.Code
	}{
		{fraud, "create table staging.a1 as select * from orders", "completed"},
		{fraud, "create table staging.a2 as select region, count(*) as n from orders group by 1", "completed"},
		{fraud, "create table staging.a3 clone staging.a2", "completed"},
		{fraud, "create table staging.a4 (k int)", "completed"},
		{fraud, "insert into staging.a4 select id from customers where id in (select customer_id from orders)", "completed"},
		{fraud, "create table staging.a5 (k int)", "completed"},
		{fraud, "merge into staging.a5 a using orders o on a.k = o.order_id when not matched then insert (k) values (o.order_id)", "completed"},
		{fraud, "create view staging.v1 as select n from staging.a3", "completed"},
		{fraud, "alter table staging.a2 rename to staging.a6", "completed"},
		{ada, "select count(*) from staging.a1", policy.CodeMaskUnresolved},
		{ada, "select 1 from staging.a3", policy.CodeMaskUnresolved},
		{ada, "select 1 from staging.a4", policy.CodeMaskUnresolved},
		{ada, "select 1 from staging.a5", policy.CodeMaskUnresolved},
		{ada, "select 1 from staging.v1", policy.CodeMaskUnresolved},
		{ada, "select 1 from staging.a6", policy.CodeMaskUnresolved},
		{ada, "select 1 from customers where id in (select k from staging.a4)", policy.CodeMaskUnresolved},
		{ada, "delete from staging.a4 where k = 1", policy.CodeMaskUnresolved},
		{ada, "create table staging.a7 as select * from staging.a1", policy.CodeMaskUnresolved},
		{ada, "create table staging.a7 clone staging.a1", policy.CodeMaskUnresolved},
		{ada, "insert into staging.a4 values (1)", "completed"},
		{fraud, "select count(*) from staging.a1", "completed"},
		{ada, "create table staging.b1 as select * from orders", "completed"},
		{ada, "select count(*) from staging.b1", "completed"},
		{fraud, "insert into staging.b1 select * from staging.b1", "completed"},
		{ada, "select count(*) from staging.b1", "completed"},
		{fraud, "insert into staging.b1 select * from orders", "completed"},
		{ada, "select count(*) from staging.b1", policy.CodeMaskUnresolved},
		{fraud, "create or replace table staging.b1 as select id from customers", "completed"},
		{ada, "select count(*) from staging.b1", "completed"},
		{fraud, "drop table staging.a1", "completed"},
		{ada, "create table staging.a1 (k int)", "completed"},
		{ada, "select count(*) from staging.a1", "completed"},
		{fraud, "update customers set city = 'x' from orders where id = customer_id and id < 0", "completed"},
		{ada, "select count(*) from customers", "completed"},
	} {
		if a := w.gate.Query(t.Context(), c.call, tools.QueryRequest{SQL: c.sql}); a.Code != c.code {
			t.Errorf("%s: %+v, want %s", c.sql, a.Answer, c.code)
		}
	}
}

const stagePolicy = `
version: 1
masks:
  - columns: ["retail.public.customers.ssn"]
    mask: redact
    unless: {groups: [fraud]}
filters:
  - on: [retail.public.orders]
    where: "region = 'EU'"
    unless: {groups: [fraud]}
rules:
  - name: all
    who: everyone
    may: [read, write, modify, create, destroy, stage]
    on: ["retail.*.*"]
    verdict: allow
`

// TestStagedCopies: what somebody with raw access has unloaded is out of reach
// for the others, and stays so when a table of the stage's name comes and goes.
// The notes are made before the warehouse is asked, so they stand whether or not
// it knows the stage.
func TestStagedCopies(t *testing.T) {
	p, err := policy.Parse([]byte(stagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript(), p)
	code := func(call tools.Call, sql string) policy.Code {
		t.Helper()
		return w.gate.Query(t.Context(), call, tools.QueryRequest{SQL: sql, DryRun: true}).Code
	}
	run := func(call tools.Call, sql string) {
		t.Helper()
		if a := w.gate.Query(t.Context(), call, tools.QueryRequest{SQL: sql}); a.Status == tools.Denied {
			t.Errorf("%s: %+v", sql, a.Answer)
		}
	}
	reads := []string{
		"select $1 from @staging.%s", "select * from @staging.%s/a/b", "list @staging.%s", "remove @staging.%s",
		"copy into staging.top from @staging.%s", "copy into staging.top from (select $1 from @staging.%s)",
		"create table staging.n as select $1 as a from @staging.%s", "select (select max($1) from @staging.%s)",
	}
	run(fraud, "create table staging.top (k varchar)")
	for _, stage := range []string{"masked", "rows", "mine"} {
		for _, sql := range reads {
			if got := code(ada, fmt.Sprintf(sql, stage)); got != tools.CodeDryRun {
				t.Errorf("before anything was unloaded: %s: %s", fmt.Sprintf(sql, stage), got)
			}
		}
	}
	run(fraud, "copy into @staging.masked/x from (select upper(ssn) from customers)")
	run(fraud, "copy into @staging.rows/x from (select count(*) from orders)")
	run(ada, "copy into @staging.mine from (select ssn from customers, orders)")
	for range 2 {
		for _, sql := range reads {
			for stage, want := range map[string]policy.Code{"masked": policy.CodeMaskUnresolved, "rows": policy.CodeMaskUnresolved, "mine": tools.CodeDryRun} {
				if got := code(ada, fmt.Sprintf(sql, stage)); got != want {
					t.Errorf("%s: %s, want %s", fmt.Sprintf(sql, stage), got, want)
				}
			}
			if got := code(fraud, fmt.Sprintf(sql, "masked")); got != tools.CodeDryRun {
				t.Errorf("who may see the values: %s: %s", sql, got)
			}
		}
		for _, table := range []string{"masked", "rows"} {
			run(ada, "create table staging."+table+" (k int)")
			run(ada, "drop table staging."+table)
		}
	}
	if a := w.query("list @staging.masked"); !strings.Contains(a.Message, "Files of the stage RETAIL.STAGING.MASKED") {
		t.Errorf("%+v", a.Answer)
	}
	// What is loaded from there is masked as its source is.
	run(fraud, "copy into staging.top from @staging.masked")
	if a := w.query("select k from staging.top"); a.Code != tools.CodeCompleted || len(a.Columns) != 1 || a.Columns[0].Masked == "" {
		t.Errorf("%+v", a)
	}
}

const tagPolicy = `
version: 1
masks:
  - labels: [pii=identity]
    mask: redact
    unless: {groups: [fraud]}
  - labels: [retail.public.secrecy]
    mask: "null"
    unless: {groups: [fraud]}
rules:
  - name: all
    who: everyone
    may: [read, write, modify, create, destroy]
    on: ["retail.*.*"]
    verdict: allow
`

// TestTags: a mask hangs where a tag of Snowflake's hangs, on a column or on
// the whole table, and follows what is copied from there.
func TestTags(t *testing.T) {
	p, err := policy.Parse([]byte(tagPolicy))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, emulator.DemoScript()+`;
		CREATE TAG retail.public.pii; CREATE TAG secrecy;
		ALTER TABLE customers MODIFY COLUMN ssn SET TAG retail.public.pii = 'Identity';
		ALTER TABLE customers MODIFY COLUMN city SET TAG pii = 'place';
		ALTER TABLE products SET TAG secrecy = 'yes';`, p)
	for _, c := range []struct {
		call      tools.Call
		sql, rows string
	}{
		{ada, "select ssn, city is null from customers where id = 1", `[["***",false]]`},
		{ada, "select name, price from products limit 1", `[[null,null]]`},
		{ada, "select count(price), count(*) > 0 from products", `[[0,true]]`},
		{fraud, "select ssn = '***' from customers where id = 1", `[[false]]`},
		{fraud, "create table staging.copied as select ssn as x, name as y from customers where id = 1", ``},
		{ada, "select x, y is null from staging.copied", `[["***",false]]`},
	} {
		a := w.gate.Query(t.Context(), c.call, tools.QueryRequest{SQL: c.sql})
		if got := a.Rows.String(); a.Status != tools.Completed || c.rows != "" && got != c.rows {
			t.Errorf("%s\n got %s %+v\nwant %s", c.sql, got, a.Answer, c.rows)
		}
	}
	if err := w.account.Exec(t.Context(), "ALTER TABLE retail.public.customers MODIFY COLUMN ssn UNSET TAG retail.public.pii"); err != nil {
		t.Fatal(err)
	}
	if err := w.gate.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := w.query("select ssn = '***' from customers where id = 1"); a.Rows.String() != `[[false]]` {
		t.Errorf("without the tag: %s %+v", a.Rows, a.Answer)
	}
}

// TestOpaqueView: a secure view is refused until the policy vouches for it; then
// it is a table, with the masks that name its own columns, and what it shows of
// others is its owner's to know: here, groups that are large enough.
func TestOpaqueView(t *testing.T) {
	const script = `; CREATE SECURE VIEW averages AS
		SELECT country, COUNT(*) AS n, AVG(YEAR(birth_date)) AS born, MAX(ssn) AS top FROM customers GROUP BY country HAVING COUNT(*) >= 10`
	const rules = `
version: 1
%s
masks: [{columns: ["*.*.*.ssn", "*.*.*.top", "*.*.*.birth_date"], mask: redact}]
rules: [{name: all, who: everyone, may: [read], on: ["retail.*.*"], verdict: allow}]
`
	for vouched, code := range map[string]policy.Code{"": policy.CodeMaskUnresolved, "opaque_views: [retail.public.averages]": tools.CodeCompleted} {
		p, err := policy.Parse(fmt.Appendf(nil, rules, vouched))
		if err != nil {
			t.Fatal(err)
		}
		w := newWorldOf(t, emulator.DemoScript()+script, p)
		a := w.query("select count(*) > 0, min(n) >= 10, min(born) > 1900, min(top) from averages")
		if a.Code != code || code == tools.CodeCompleted && a.Rows.String() != `[[true,true,true,"***"]]` {
			t.Errorf("%s: %+v %s", vouched, a.Answer, a.Rows)
		}
	}
}
