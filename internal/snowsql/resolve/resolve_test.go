package resolve_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

func relation(kind policy.ObjectKind, name, definition string, columns ...string) policy.Table {
	t := policy.Table{Object: policy.Object{Kind: kind, Database: "DB", Schema: "S", Name: name}, Definition: definition}
	for _, c := range columns {
		t.Columns = append(t.Columns, policy.Column{Name: c, Type: "VARCHAR"})
	}
	return t
}

func secure(t policy.Table) policy.Table { t.Secure = true; return t }

var shop = resolve.NewCatalog([]policy.Table{
	relation(policy.TableObject, "C", "", "ID", "NAME", "SSN"),
	relation(policy.TableObject, "O", "", "ID", "CID", "AMOUNT"),
	relation(policy.TableObject, "mixed Case", "", "ID", "a b"),
	relation(policy.ViewObject, "V", "create view v (id, number) as select id, ssn from c", "ID", "NUMBER"),
	relation(policy.ViewObject, "W", "select v.number from v join o on o.cid = v.id", "NUMBER"),
	relation(policy.ViewObject, "SELF", "select * from self", "ID"),
	relation(policy.ViewObject, "STALE", "select id, name from c", "ID"),
	relation(policy.ViewObject, "BROKEN", "select from", "ID"),
	relation(policy.ViewObject, "BLIND", "select id from nowhere", "ID"),
	secure(relation(policy.ViewObject, "LOCKED", "select id from c", "ID")),
})

// facts renders what policy is told of a statement.
func facts(s policy.Statement) string {
	var out []string
	for _, a := range s.Accesses {
		cols := make([]string, len(a.Columns))
		for i, c := range a.Columns {
			cols[i] = c.Name
		}
		via := ""
		if a.Via != nil {
			via = " via " + a.Via.Name
		}
		if a.Opaque {
			via += " opaque"
		}
		out = append(out, fmt.Sprintf("%s %s %s(%s)%s", a.Class, a.Object.Kind, a.Object.Name, strings.Join(cols, " "), via))
	}
	if s.Functions != nil {
		out = append(out, "calls "+strings.Join(s.Functions, " "))
	}
	if s.Effects != nil {
		out = append(out, "effects "+strings.Join(s.Effects, " "))
	}
	for _, p := range s.Problems {
		out = append(out, string(p.Code))
	}
	return strings.Join(out, "; ")
}

func resolved(t testing.TB, sql string) *resolve.Resolution {
	t.Helper()
	stmt, err := parser.ParseStatement(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return resolve.Resolve(stmt, shop, resolve.Context{Database: "DB", Schema: "S"})
}

// TestFilesClass: who reads files of a stage does more than read.
func TestFilesClass(t *testing.T) {
	for sql, want := range map[string]policy.Class{
		"select id from c": policy.Read, "select 1": policy.Read, "select $1 from @x": policy.Stage, "select id from c where id in (select $1 from @x)": policy.Stage,
		"insert into c select id from c": policy.Write, "copy into c from @x": policy.Write, "copy into @x from c": policy.Stage, "list @x": policy.Stage,
		"insert into c select $1, $2, $3 from @x": policy.Write,
	} {
		if got := resolved(t, sql).Statement.Class; got != want {
			t.Errorf("%s is of class %s, want %s", sql, got, want)
		}
	}
}

func TestFacts(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"select 1", ""},
		{"select name from c", "read table C(NAME)"},
		{"select count(*) from c", "read table C(); calls COUNT"},
		{"select * from c", "read table C(ID NAME SSN)"},
		{`select "a b" from "mixed Case"`, "read table mixed Case(a b)"},
		{"select id from mixed_case", "object_unknown"},
		{`select "name" from c`, "read table C(); column_unknown"},
		{"select name from c where ssn = '1' order by id", "read table C(ID NAME SSN)"},
		{"select c.name from c join o on o.cid = c.id", "read table C(ID NAME); read table O(CID)"},
		{"select name from c join o using (id)", "read table C(ID NAME); read table O(ID)"},
		{"select x.name, y.name from c x, c y where x.id = y.id", "read table C(ID NAME); read table C(ID NAME)"},
		{"select name as n from c where n = 'x'", "read table C(NAME)"},
		{"select name as ssn from c where ssn = 'x'", "read table C(NAME SSN)"},
		{"select name from c where id in (select cid from o where amount = c.ssn)", "read table C(ID NAME SSN); read table O(CID AMOUNT)"},
		{"with c as (select id from o) select id from c", "read table O(ID)"},
		{"with c as (select id from c) select id from c", "read table C(ID)"},
		{"select number from v", "read view V(NUMBER); read table C(ID SSN) via V"},
		{"select number from w", "read view W(NUMBER); read view V(ID NUMBER) via W; read table C(ID SSN) via W; read table O(CID) via W"},
		{"select * from self", "read view SELF(ID); read view SELF(ID) via SELF; mask_unresolved"},
		{"select * from stale", "read view STALE(ID); read table C(ID NAME) via STALE; mask_unresolved"},
		{"select * from broken", "read view BROKEN(ID); mask_unresolved"},
		{"select * from blind", "read view BLIND(ID); mask_unresolved"},
		{"select * from locked", "read view LOCKED(ID) opaque"},
		{"select upper(name), current_date, get_ddl('table', 'c') from c", "read table C(NAME); calls CURRENT_DATE GET_DDL UPPER; effects GET_DDL"},
		{"select dateadd(day, 1, name), trunc(name, id) from c", "read table C(ID NAME); calls DATEADD TRUNC"},
		{"select connect_by_root name, level from c start with id = 1 connect by prior id = ssn", "read table C(ID NAME SSN)"},
		{"select c.id from c, c d where c.nope = 1", "read table C(ID); read table C(); column_unknown"},
		{"select c.id from c, db.s.c", "read table C(); read table C(); column_ambiguous"},
		{"insert into o (id) select id from c", "write table O(ID); read table C(ID)"},
		{"insert into o values (1, 2, default)", "write table O()"},
		{"insert overwrite into o select * from o", "destroy table O(); read table O(ID CID AMOUNT)"},
		{"update c set name = 'x' where ssn = '1'", "modify table C(SSN)"},
		{"update c set nope = 1", "modify table C(); column_unknown"},
		{"delete from c using o where o.cid = c.id", "modify table C(ID); read table O(CID)"},
		{"merge into c using o on o.cid = c.id when matched then update set name = o.amount", "modify table C(ID); read table O(CID AMOUNT)"},
		{"delete from v", "unsupported"},
		{"create table n as select name from c", "read table C(NAME); create table N()"},
		{"create or replace table c as select * from o", "read table O(ID CID AMOUNT); destroy table C()"},
		{"create table n clone c", "create table N(); read table C(ID NAME SSN)"},
		{"create view n as select id from c", "read table C(ID); create view N()"},
		{"drop table c", "destroy table C()"},
		{"drop view v", "destroy view V()"},
		{"drop schema s", "destroy schema S()"},
		{"truncate table c", "destroy table C()"},
		{"alter table c drop column ssn", "destroy table C(SSN)"},
		{"alter table c add column extra varchar", "create table C()"},
	} {
		got := facts(resolved(t, c.sql).Statement)
		// The order of accesses of different kinds says nothing.
		if !sameParts(got, c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
}

func sameParts(a, b string) bool {
	x, y := strings.Split(a, "; "), strings.Split(b, "; ")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// TestHiddenAndMissingSoundAlike: a name that means nothing is refused in the
// words that policy has for an object that the caller may not see.
func TestHiddenAndMissingSoundAlike(t *testing.T) {
	got := resolved(t, "select * from nope").Statement.Problems
	want := policy.ObjectUnknown(policy.Object{Database: "DB", Schema: "S", Name: "NOPE"})
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestOutput(t *testing.T) {
	for sql, want := range map[string]string{
		"select ssn as x, name || ssn, 1 from c":                               "X: C.SSN, NAME || SSN: C.NAME C.SSN, 1:",
		"select * from v":                                                      "ID: V.ID, NUMBER: V.NUMBER",
		"select name from c union all select amount from o":                    "NAME: C.NAME O.AMOUNT",
		"with t as (select max(ssn) m from c) select m from t":                 "M: C.SSN",
		"select * from c join o using (id)":                                    "ID: C.ID O.ID, NAME: C.NAME, SSN: C.SSN, CID: O.CID, AMOUNT: O.AMOUNT",
		"select f.value from c, lateral flatten(input => ssn) f":               "VALUE: C.SSN",
		"select x from (select id, ssn from c) pivot (max(ssn) for id in (1))": "X: C.ID C.SSN",
	} {
		var got []string
		for _, c := range resolved(t, sql).Output {
			var from []string
			for _, o := range c.Origins {
				from = append(from, o.Ref.Table.Name+"."+o.Column)
			}
			got = append(got, strings.TrimSpace(c.Name+": "+strings.Join(from, " ")))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s\n got %s\nwant %s", sql, s, want)
		}
	}
}

// TestTooMuch: statements that come to much more than they say are refused, and
// soon.
func TestTooMuch(t *testing.T) {
	var doubling strings.Builder
	doubling.WriteString("with t0 as (select * from c)")
	for i := range 60 {
		fmt.Fprintf(&doubling, ", t%d as (select *, * from t%d)", i+1, i)
	}
	doubling.WriteString(" select * from t60")
	for name, sql := range map[string]string{
		"doubling": doubling.String(),
		"stars":    "select " + strings.Repeat("hash(*), ", 100_000) + "1 from c",
		"views":    "select 1 from w" + strings.Repeat(", w", 300),
	} {
		start := time.Now()
		if res := resolved(t, sql); len(res.Statement.Problems) == 0 {
			t.Errorf("%s: no problem", name)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestSimilar(t *testing.T) {
	keep := func(t policy.Table) bool { return t.Name != "SELF" }
	var names []string
	for _, s := range shop.Similar("selv", 2, keep) {
		names = append(names, s.Name)
	}
	if slices.Contains(names, "SELF") || len(names) > 2 {
		t.Errorf("got %v", names)
	}
	if got := shop.Similar("brokn", 1, keep); len(got) != 1 || got[0].Name != "BROKEN" {
		t.Errorf("got %v", got)
	}
}
