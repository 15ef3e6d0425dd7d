//go:build cgo

package tools_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/examples"
	"querywarden/internal/emulator"
	"querywarden/internal/warehouse"
	"querywarden/policy"
	"querywarden/tools"
)

// A world is a gate with all its parts, each the real one, over the demo's
// data.
var rowsKey = make([]byte, 32)

type world struct {
	config    tools.Config
	gate      *tools.Gate
	account   *emulator.Emulator
	log       *audit.Log
	file      string
	approvals *approvals.Store
	warehouse *warehouse.Warehouse
	dsn       warehouse.Config
}

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newWorld has the policy of the example.
func newWorld(t testing.TB, script string) *world {
	t.Helper()
	return newWorldOf(t, script, examplePolicy(t))
}

func examplePolicy(t testing.TB) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(examples.Policy)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newWorldOf(t testing.TB, script string, p *policy.Policy) *world {
	t.Helper()
	return newWorldWith(t, script, p, emulator.Options{})
}

func newWorldWith(t testing.TB, script string, p *policy.Policy, o emulator.Options) *world {
	t.Helper()
	w := &world{file: filepath.Join(t.TempDir(), "audit.db")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	var err error
	w.account, err = emulator.Open("", o)
	must(err)
	t.Cleanup(func() { w.account.Close() })
	must(w.account.Exec(ctx, script))
	must(w.account.AddUser("GATE", &testKey().PublicKey, "GATE_ROLE"))
	addr, err := w.account.Start("127.0.0.1:0")
	must(err)
	w.open(t, addr, p)
	return w
}

// open opens a gate over the account at addr.
func (w *world) open(t testing.TB, addr string, p *policy.Policy) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	host, portText, err := net.SplitHostPort(addr)
	must(err)
	port, err := strconv.Atoi(portText)
	must(err)
	w.log, err = audit.Open(w.file, audit.Options{RowsKey: rowsKey})
	must(err)
	t.Cleanup(func() { w.log.Close() })
	w.approvals, err = approvals.Open(ctx, w.log, time.Now)
	must(err)
	w.dsn = warehouse.Config{
		Account: "TEST", Login: warehouse.Login{User: "GATE", PrivateKey: testKey(), Role: "GATE_ROLE", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC"},
		Protocol: "http", Host: host, Port: port, Record: w.log.RecordOwn,
	}
	w.warehouse, err = warehouse.Open(w.dsn)
	must(err)
	t.Cleanup(func() { w.warehouse.Close() })
	w.config = tools.Config{
		Log: w.log, Approvals: w.approvals, Warehouse: w.warehouse, Policy: p, MaskKey: make([]byte, 32),
		Database: "RETAIL", Schema: "PUBLIC", ApprovalWait: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}
	w.gate, err = tools.Open(ctx, w.config)
	must(err)
	t.Cleanup(func() { w.gate.Close(ctx) })
}

var ada = tools.Call{Caller: policy.Caller{Issuer: "idp", Subject: "ada", Email: "ada@example.com", Groups: []string{"analysts"}, Kind: policy.Agent}}

// olga owns the data.
var olga = approvals.Voter{Identity: policy.Identity{Issuer: "idp", Subject: "olga"}, Groups: []string{"data-owners"}, Via: approvals.ViaConsole}

// vote votes on what is asked for now.
func (w *world) vote(ctx context.Context, id string, v approvals.Voter, approve bool, reason string) (approvals.Request, error) {
	r, err := w.approvals.Get(ctx, id)
	if err != nil {
		return r, err
	}
	return w.approvals.Vote(ctx, id, approvals.Short(r.Digest), v, approve, reason)
}

func (w *world) query(sql string) tools.QueryAnswer {
	return w.gate.Query(context.Background(), ada, tools.QueryRequest{SQL: sql})
}

// entries returns the recorded events of a kind.
func (w *world) entries(t testing.TB, kind audit.Kind) []*audit.Entry {
	t.Helper()
	r, err := audit.OpenReader(w.file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []*audit.Entry
	for e, err := range r.Entries(context.Background(), audit.Filter{Kind: kind}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestBadInput(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	for _, c := range []struct {
		name, sql string
		code      policy.Code
	}{
		{"nothing", "", policy.CodeEmpty},
		{"only a comment", "-- drop table customers", policy.CodeEmpty},
		{"two statements", "select 1; drop table customers", policy.CodeMultiple},
		{"no SQL", "give me all customers", policy.CodeSyntax},
		{"a megabyte", "select '" + strings.Repeat("x", 1<<20) + "'", policy.CodeTooLarge},
		{"too deep", "select " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), policy.CodeTooLarge},
		{"not UTF-8", "select '\xff'", policy.CodeInvalidText},
		{"a NUL byte", "select '\x00'", policy.CodeInvalidText},
		{"an unknown table", "select * from custmers", policy.CodeObjectUnknown},
		{"another's table", "select * from payroll.public.salaries", policy.CodeObjectUnknown},
		{"an unknown column", "select nmae from customers", policy.CodeColumnUnknown},
		{"an unknown function", "select my_udf(1)", policy.CodeFunctionUnknown},
		{"a function with effects", "select get_ddl('table', 'customers')", policy.CodeFunctionForbidden},
		{"a model", "select snowflake.cortex.complete('m', ssn) from customers", policy.CodeFunctionForbidden},
		{"another query's rows", "select * from table(result_scan('01'))", policy.CodeUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.entries(t, audit.KindOutcome))
			a := w.query(c.sql)
			if a.Status != tools.Denied || a.Code != c.code || a.Message == "" || a.Next == "" || a.Audit == "" || a.Rows != nil {
				t.Errorf("%+v", a)
			}
			if after := len(w.entries(t, audit.KindOutcome)); after != before {
				t.Error("it ran")
			}
		})
	}
	if a := w.query("select * from custmers"); !strings.Contains(a.Next, "RETAIL.PUBLIC.CUSTOMERS") {
		t.Errorf("no hint: %q", a.Next)
	}
	decisions := w.entries(t, audit.KindDecision)
	if got := decisions[4].Texts["sql"]; len(got) != 1<<20+9 {
		t.Errorf("the refused megabyte is recorded as %d bytes", len(got))
	}
}

// TestHidden proves that a table that is there and one that is not are the
// same to somebody who may see neither.
func TestHidden(t *testing.T) {
	w := newWorld(t, emulator.DemoScript()+"; CREATE SCHEMA retail.payroll; CREATE TABLE retail.payroll.salaries (id NUMBER); CREATE VIEW retail.public.leak AS SELECT id FROM retail.payroll.salaries;")
	there, missing := w.query("select * from payroll.salaries"), w.query("select * from payroll.salariez")
	there.Audit, missing.Audit = "", ""
	there.Message = strings.ReplaceAll(there.Message, "SALARIES", "SALARIEZ")
	if fmt.Sprintf("%+v", there) != fmt.Sprintf("%+v", missing) {
		t.Errorf("the answers differ:\n%+v\n%+v", there, missing)
	}
	there, missing = w.query("select s.nope, my_udf(1) from payroll.salaries s"), w.query("select s.nope, my_udf(1) from payroll.salariez s")
	if there.Code != missing.Code || there.Next != missing.Next || strings.ReplaceAll(there.Message, "SALARIES", "SALARIEZ") != missing.Message {
		t.Errorf("with other mistakes, the answers differ:\n%+v\n%+v", there.Answer, missing.Answer)
	}
	if a := w.query("select * from leak"); strings.Contains(fmt.Sprintf("%+v", a), "SALARIES") || a.Status != tools.Denied {
		t.Errorf("the view tells of what lies below: %+v", a.Answer)
	}
	a := w.gate.DescribeTable(t.Context(), ada, tools.DescribeRequest{Table: "payroll.salaries"})
	b := w.gate.DescribeTable(t.Context(), ada, tools.DescribeRequest{Table: "payroll.salariez"})
	a.Audit, b.Audit = "", ""
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
		t.Errorf("the descriptions differ:\n%+v\n%+v", a, b)
	}
	for _, table := range w.gate.ListTables(t.Context(), ada, tools.ListRequest{}).Tables {
		if strings.Contains(table.Table, "PAYROLL") {
			t.Errorf("%s is listed", table.Table)
		}
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	a := w.gate.Query(t.Context(), ada, tools.QueryRequest{SQL: "select id from customers order by id", MaxRows: 7})
	if a.Status != tools.Completed || a.RowCount != 7 || !a.Truncated {
		t.Errorf("%d rows, truncated %v: %+v", a.RowCount, a.Truncated, a.Answer)
	}
	a = w.gate.Query(t.Context(), ada, tools.QueryRequest{SQL: "select id from customers order by id limit 7", MaxRows: 7})
	if a.RowCount != 7 || a.Truncated {
		t.Errorf("exactly full: %d rows, truncated %v", a.RowCount, a.Truncated)
	}
	// The rule allows 1 MiB.
	a = w.query("select repeat('x', 300000) from customers limit 10")
	if a.Status != tools.Completed || a.RowCount != 3 || !a.Truncated {
		t.Errorf("%d rows, truncated %v: %+v", a.RowCount, a.Truncated, a.Answer)
	}
	a = w.query("select repeat('x', 3000000) from customers limit 10")
	if a.Status != tools.Failed || a.Code != tools.CodeTooMuchData {
		t.Errorf("%+v", a.Answer)
	}
	if a = w.gate.Query(t.Context(), ada, tools.QueryRequest{SQL: "select 1", MaxRows: -1}); a.Code != tools.CodeBadArgument {
		t.Errorf("%+v", a.Answer)
	}
}

// slow runs for many seconds unless it is stopped.
const slow = "select count(*) from orders a, orders b, orders c where a.amount + b.amount + c.amount < 0"

// TestHangUp proves that a caller that leaves stops its statement, and that
// the outcome is on record all the same.
func TestHangUp(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	started := time.Now()
	a := w.gate.Query(ctx, ada, tools.QueryRequest{SQL: slow})
	if took := time.Since(started); took > 30*time.Second || a.Status != tools.Failed || a.Code != tools.CodeCancelled {
		t.Fatalf("after %s: %+v", took, a.Answer)
	}
	outcomes := w.entries(t, audit.KindOutcome)
	if len(outcomes) != 1 || outcomes[0].Event.Status != string(tools.Failed) || !strings.HasPrefix(outcomes[0].Event.Error, "cancelled") {
		t.Fatalf("%+v", outcomes)
	}
}

// TestUnrecorded proves that nothing runs once the log cannot be written.
func TestUnrecorded(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	if a := w.query("create table staging.before as select 1 as x"); a.Status != tools.Completed {
		t.Fatalf("%+v", a.Answer)
	}
	db, err := sql.Open("sqlite", w.file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DROP TABLE entries`); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, answer := range map[string]tools.Answer{
		"query":            w.query("create table staging.after as select 1 as x").Answer,
		"query again":      w.query("select 1").Answer,
		"describe_table":   w.gate.DescribeTable(ctx, ada, tools.DescribeRequest{Table: "customers"}).Answer,
		"list_tables":      w.gate.ListTables(ctx, ada, tools.ListRequest{}).Answer,
		"request_approval": w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: "drop table staging.import_2024_old", Reason: "x"}, nil).Answer,
		"check_approval":   w.gate.CheckApproval(ctx, ada, tools.CheckRequest{ID: "apr_x"}, nil).Answer,
	} {
		if answer.Status != tools.Failed || answer.Code != tools.CodeUnavailable {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	if w.gate.Healthy() == nil {
		t.Error("the gate says it is well")
	}
	if err := w.account.Exec(ctx, "select * from retail.staging.after"); err == nil {
		t.Error("an unrecorded statement has run")
	}
	if err := w.account.Exec(ctx, "select * from retail.staging.before"); err != nil {
		t.Errorf("the check itself is broken: %v", err)
	}
}

func TestApproval(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	ctx := t.Context()
	const drop = "drop table staging.import_2024_old"
	a := w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: drop, Reason: "unused"}, nil)
	if a.Status != tools.Pending || a.Approval == nil {
		t.Fatalf("%+v", a)
	}
	id := a.Approval.ID
	eve := ada
	eve.Caller.Subject, eve.Caller.Email = "eve", "eve@example.com"
	if a := w.gate.CheckApproval(ctx, eve, tools.CheckRequest{ID: id}, nil); a.Code != tools.CodeApprovalUnknown {
		t.Errorf("somebody else's request: %+v", a.Answer)
	}
	if _, err := w.vote(ctx, id, olga, true, "fine"); err != nil {
		t.Fatal(err)
	}
	answers := make([]tools.QueryAnswer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = w.gate.CheckApproval(ctx, ada, tools.CheckRequest{ID: id, Wait: 30}, nil) })
	}
	wg.Wait()
	for _, a := range answers {
		if a.Status != tools.Completed || a.Code != tools.CodeCompleted || a.Approval.State != string(approvals.Done) || a.Rows.Len() != 1 {
			t.Errorf("%+v", a)
		}
	}
	if executions := w.entries(t, audit.KindExecution); len(executions) != 1 {
		t.Errorf("%d executions are on record", len(executions))
	}
	if a := w.gate.CheckApproval(ctx, eve, tools.CheckRequest{ID: id}, nil); a.Code != tools.CodeApprovalUnknown {
		t.Errorf("somebody else's answer: %+v", a.Answer)
	}
	if a := w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: "select 1", Reason: "x"}, nil); a.Code != tools.CodeNothingToApprove {
		t.Errorf("%+v", a.Answer)
	}
	if a := w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: drop, Reason: " "}, nil); a.Code != tools.CodeBadArgument {
		t.Errorf("%+v", a.Answer)
	}
}

// TestStale proves that an approval does not outlive what it was given for: who
// has lost the right meanwhile gets nothing run, whoever approves it.
func TestStale(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	ctx := t.Context()
	a := w.gate.RequestApproval(ctx, ada, tools.ApprovalRequest{SQL: "drop table staging.import_2024_old", Reason: "unused"}, nil)
	demoted := ada
	demoted.Caller.Groups = []string{"support"}
	if got := w.gate.CheckApproval(ctx, demoted, tools.CheckRequest{ID: a.Approval.ID}, nil); got.Status != tools.Pending {
		t.Fatalf("%+v", got.Answer)
	}
	if _, err := w.vote(ctx, a.Approval.ID, olga, true, ""); err != nil {
		t.Fatal(err)
	}
	if got := w.gate.CheckApproval(ctx, demoted, tools.CheckRequest{ID: a.Approval.ID, Wait: 30}, nil); got.Status != tools.Denied || got.Code != tools.CodeApprovalStale {
		t.Fatalf("the requester has lost the right: %+v", got.Answer)
	}
	if err := w.account.Exec(ctx, "select * from retail.staging.import_2024_old"); err != nil {
		t.Fatalf("it ran: %v", err)
	}
}

// TestRemade proves that an approval is for the table that was there, not for
// its name: a person is asked again, about what is there now.
func TestRemade(t *testing.T) {
	for name, change := range map[string]string{
		"dropped and made again": "drop table retail.staging.import_2024_old; create table retail.staging.import_2024_old (id number, email varchar)",
		"altered":                "alter table retail.staging.import_2024_old add column later varchar",
	} {
		w := newWorld(t, emulator.DemoScript())
		a := w.gate.RequestApproval(t.Context(), ada, tools.ApprovalRequest{SQL: "drop table staging.import_2024_old", Reason: "unused"}, nil)
		if err := w.account.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if _, err := w.vote(t.Context(), a.Approval.ID, olga, true, ""); err != nil {
			t.Fatal(err)
		}
		w.until(t, a.Approval.ID, approvals.Revoked)
		got := w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: a.Approval.ID}, nil)
		if got.Status != tools.Pending || got.Code != tools.CodeApprovalStale || got.Approval.ID == a.Approval.ID {
			t.Errorf("%s: %+v", name, got)
		}
		if err := w.account.Exec(t.Context(), "select * from retail.staging.import_2024_old"); err != nil {
			t.Fatalf("it ran: %v", err)
		}
		if _, err := w.vote(t.Context(), got.Approval.ID, olga, true, ""); err != nil {
			t.Fatal(err)
		}
		if again := w.gate.CheckApproval(t.Context(), ada, tools.CheckRequest{ID: a.Approval.ID, Wait: 30}, nil); again.Status != tools.Completed || again.Approval.ID != got.Approval.ID {
			t.Errorf("%s, approved again: %+v", name, again)
		}
	}
}

// until waits until a request is in a state.
func (w *world) until(t *testing.T, id string, state approvals.State) approvals.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		r, err := w.approvals.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == state {
			return r
		}
		if err := w.approvals.Wait(ctx, id, r.State); err != nil {
			t.Fatalf("it is %s, not %s: %v", r.State, state, err)
		}
	}
}

// TestRecord proves that an answered question is on record with what was asked,
// what ran, and what came back, and that the account's tag points to it.
func TestRecord(t *testing.T) {
	w := newWorld(t, emulator.DemoScript())
	call := ada
	call.Session, call.Client = "s1", tools.Client{Name: "claude", Version: "2"}
	a := w.gate.Query(t.Context(), call, tools.QueryRequest{SQL: "select email, name from customers limit 3", Purpose: "newsletter"})
	d := w.entries(t, audit.KindDecision)[0]
	if d.Ref() != a.Audit || d.Event.Caller.Subject != "ada" || d.Event.Client != "claude 2" || d.Event.Session != "s1" || d.Event.Verdict != "allow" ||
		d.Texts["sql"] != "select email, name from customers limit 3" || d.Texts["purpose"] != "newsletter" || !strings.Contains(d.Texts["runs"], "HIDDEN") {
		t.Errorf("%+v %v", d.Event, d.Texts)
	}
	o := w.entries(t, audit.KindOutcome)[0]
	if *o.Event.Of != d.Index || o.Event.QueryID != a.QueryID || o.Event.Rows != 3 || len(o.Event.Result) != 64 {
		t.Errorf("%+v", o.Event)
	}
}

// worlds are two accounts that differ in nothing but what is masked. Names are
// the same in both: their mask is a hash, which is there to tell them apart.
func worlds(t testing.TB) (*world, *world) {
	script := emulator.DemoScript()
	other := script + `;
		UPDATE retail.public.customers SET ssn = '999-88-7777', card_number = '4000056655665556', birth_date = DATEADD(day, -3, DATE '1990-06-15'),
			email = 'z' || id || '@' || SPLIT_PART(email, '@', 2), phone = '+1-999-999-' || RIGHT(phone, 4);`
	return newWorld(t, script+`;
		UPDATE retail.public.customers SET birth_date = DATE '1990-03-01';`), newWorld(t, other)
}

// TestTwoWorlds runs what an agent might try in two worlds that differ only in
// the secrets: an answer that differs tells of them.
func TestTwoWorlds(t *testing.T) {
	a, b := worlds(t)
	for _, sql := range attacks {
		x, y := a.query(sql), b.query(sql)
		if text := forms(x); text != forms(y) {
			t.Errorf("%s\n%s\n%s", sql, text, forms(y))
		}
		if x.Status == tools.Failed && x.Code == tools.CodeWarehouse {
			t.Logf("the emulator does not run: %s", sql)
		}
	}
}

// forms is all that the agent gets, without what no two calls share.
func forms(a tools.QueryAnswer) string {
	a.Audit, a.QueryID = "", ""
	return fmt.Sprintf("%+v %s", a, a.Rows)
}

// attacks are ways to see, or to learn of, what is masked. The list only grows.
var attacks = []string{
	"select ssn from customers order by id",
	"select ssn as s, card_number as c from customers order by id",
	"select * from customers order by 1 limit 1",
	"select c.* exclude (name) from customers c order by id",
	"select * exclude (name) replace (ssn as city) from customers order by id",
	"select * exclude (name) rename (ssn as x) from customers order by id",
	"select $5 from customers order by 1",
	"select count(*) from customers where ssn like '9%'",
	"select count(*) from customers where ssn = '999-88-7777'",
	"select count(*) from customers where left(ssn, 1) > '5'",
	"select count(*) from customers where ssn is null",
	"select id from customers order by ssn, id",
	"select id from customers order by 5, id",
	"select id from (select id, ssn from customers) order by ssn, id limit 5",
	"select count(distinct ssn), min(ssn), max(ssn) from customers",
	"select ssn, count(*) from customers group by ssn",
	"select ssn, count(*) from customers group by 1",
	"select count(*) from customers group by ssn having max(ssn) > '5'",
	"select id from customers qualify row_number() over (order by ssn, id) = 1",
	"select id, rank() over (order by card_number) r from customers order by id",
	"select count(*) from customers a join customers b on a.ssn = b.ssn",
	"select count(*) from customers a join customers b using (ssn)",
	"select count(*) from customers a natural join customers b",
	"select count(*) from customers where ssn in (select '999-88-7777')",
	"select count(*) from customers where exists (select 1 from orders o where o.customer_id = customers.id and ssn like '9%')",
	"select (select max(ssn) from customers) m",
	"select id, (select ssn from customers d where d.id = c.id) s from customers c order by id",
	"with x as (select ssn s from customers) select min(s), max(s) from x",
	"with customers as (select * from customers) select ssn from customers limit 1",
	"with recursive r as (select id, ssn from customers where id = 1 union all select c.id, c.ssn from customers c join r on c.id = r.id + 1 where c.id < 5) select ssn from r",
	"select ssn from customers union select city from customers order by 1 limit 3",
	"select city from customers where id = 0 union all select ssn from customers limit 3",
	"select ssn from customers intersect select '999-88-7777'",
	"select '999-88-7777' except select ssn from customers",
	"select case when ssn > '5' then 1 else 0 end from customers order by 1",
	"select iff(ssn like '9%', 1, 0) from customers order by id",
	"select coalesce(nullif(ssn, '999-88-7777'), 'hit') from customers order by id",
	"select substr(ssn, 1, 3), reverse(ssn), md5(ssn), sha2(ssn), length(ssn) from customers order by id",
	"select concat('x', ssn), ssn || 'x', upper(ssn), replace(ssn, '-', '') from customers order by id",
	"select to_varchar(ssn), ssn::varchar, cast(card_number as varchar), try_cast(replace(ssn, '-', '') as number) from customers order by id",
	"select cast(replace(ssn, '-', '') as number) from customers",
	"select 1 / (case when ssn like '9%' then 0 else 1 end) from customers",
	"select listagg(ssn, ',') within group (order by id) from customers",
	"select array_agg(ssn) from customers",
	"select object_construct('s', ssn) from customers order by id limit 2",
	"select object_construct(*) from customers limit 1",
	"select hash(*) from customers order by 1 limit 3",
	"select to_json(object_construct('a', ssn, 'b', card_number)) from customers order by id limit 2",
	"select parse_json('{\"a\":\"' || ssn || '\"}'):a::string from customers order by id limit 2",
	"select f.value from customers, lateral flatten(input => object_construct('s', ssn)) f order by id limit 3",
	"select f.value from customers, lateral flatten(input => array_construct(ssn, card_number)) f limit 4",
	"select s.value from customers, lateral split_to_table(ssn, '-') s limit 4",
	"select year(birth_date), count(*) from customers group by 1",
	"select month(birth_date), count(*) from customers group by 1",
	"select min(birth_date), max(birth_date) from customers",
	"select count(*) from customers where birth_date between '1990-06-01' and '1990-06-30'",
	"select datediff(day, birth_date, '2000-01-01') from customers order by id limit 3",
	"select split_part(email, '@', 1) from customers order by id",
	"select count(*) from customers where email like 'z%'",
	"select right(phone, 8) from customers order by id",
	"select phone from customers order by phone, id",
	"select max_by(ssn, id), min_by(ssn, id), any_value(ssn), mode(ssn) from customers",
	"select first_value(ssn) over (order by id), lag(ssn) over (order by id) from customers order by id limit 3",
	"select approx_count_distinct(ssn), count_if(ssn > '5') from customers",
	"select * from (select city, ssn from customers) pivot (max(ssn) for city in ('Berlin', 'Hamburg'))",
	"select * from (select id, city, ssn from customers) unpivot (v for n in (city, ssn)) order by 1, 2 limit 4",
	"select ssn from customers sample (5 rows)",
	"select ssn from customers at (offset => -1)",
	"select ssn from customers before (statement => '01')",
	"select ssn from customers changes (information => default) at (offset => -1)",
	"select customers.ssn from retail.public.customers limit 2",
	"select retail.public.customers.ssn from retail.public.customers limit 2",
	`select "SSN" from "CUSTOMERS" limit 2`,
	`select "CUSTOMERS"."SSN" from "RETAIL"."PUBLIC"."CUSTOMERS" limit 2`,
	"select ssn from identifier('customers')",
	"select identifier('ssn') from customers",
	"select ssn from table('customers')",
	"table customers",
	"select ssn /* x */ from -- y\n customers limit 2",
	"select ssn from customers where (select count(*) from customers where ssn like '9%') > 0",
	"select ssn from (customers) limit 2",
	"select c.ssn from (customers c join orders o on o.customer_id = c.id) limit 2",
	"select x.ssn from customers as x (id, name, email, phone, ssn, card_number, birth_date, city, country, segment, created_at) limit 2",
	"select x.city from customers as x (a, b, c, d, city) order by a limit 2",
	"select greatest(ssn, '5'), least(ssn, '5'), decode(ssn, '999-88-7777', 1, 0) from customers order by id limit 2",
	"select regexp_substr(ssn, '[0-9]+'), regexp_replace(ssn, '-', ''), ssn rlike '9.*' from customers order by id limit 2",
	"select get(object_construct('a', ssn), 'a'), strtok(ssn, '-', 1) from customers order by id limit 2",
	"select * from customers where ssn = any (select '999-88-7777')",
	"select ssn collate 'en-ci' from customers limit 2",
	"explain select ssn from customers where ssn like '9%'",
	"explain using text select * from customers",
	"describe table customers",
	"show columns in table customers",
	"select * from information_schema.columns",
	"select * from table(result_scan(last_query_id()))",
	"select get_ddl('table', 'customers')",
	"select system$typeof(ssn) from customers limit 1",
	"select hash(ssn), hash(ssn, id) from customers order by id limit 3",
	"create or replace view v as select ssn from customers",
	"create table staging.copy1 clone retail.public.customers",
	"create table staging.copy2 as select id, ssn, card_number from customers",
	"select * from staging.copy2 order by 1 limit 3",
	"create table staging.copy3 like retail.public.customers",
	"insert into staging.copy2 select id, ssn, card_number from customers",
	"select * from staging.copy2 order by 1, 2 limit 3",
	"update staging.copy2 set ssn = (select max(ssn) from customers)",
	"update customers set city = ssn",
	"update customers set city = 'x' where ssn like '9%'",
	"delete from customers where ssn like '9%'",
	"merge into staging.copy2 t using customers c on t.id = c.id when matched then update set ssn = c.ssn",
	"merge into staging.copy2 t using customers c on t.id = c.id when not matched then insert (id, ssn) values (c.id, c.ssn)",
	"alter table customers rename to staging.moved",
	"alter table staging.copy2 swap with customers",
	"copy into @~/x from customers",
	"copy into @~/x from (select ssn from customers)",
	"put file:///etc/passwd @~",
	"get @~/x file:///tmp",
	"call system$wait(1)",
	"execute immediate 'select ssn from customers'",
	"execute immediate $$ begin return (select max(ssn) from customers); end $$",
	"begin let x := (select max(ssn) from customers); return x; end",
	"set x = (select max(ssn) from customers)",
	"select $x",
	"use role accountadmin",
	"alter session set query_tag = 'x'",
	"grant select on customers to role public",
	"create function f() returns table (s varchar) as 'select ssn from customers'",
	"with p as procedure () returns varchar language sql as 'select 1' call p()",
	"select snowflake.cortex.complete('m', ssn) from customers",
	"select ai_complete('m', ssn) from customers",
	"select revenue from customer_revenue order by 1 limit 3",
	"select * from customer_revenue order by 1 limit 1",
}

// BenchmarkQuery is the whole gated call beside the same statement through the
// driver alone, against the same account in the same run.
func BenchmarkQuery(b *testing.B) {
	const sql = "SELECT CITY, COUNT(*) AS N FROM RETAIL.PUBLIC.CUSTOMERS GROUP BY CITY ORDER BY N DESC LIMIT 5"
	w := newWorld(b, emulator.DemoScript())
	b.Run("gate", func(b *testing.B) {
		measure(b, func() error {
			if a := w.query(sql); a.Status != tools.Completed {
				return fmt.Errorf("%+v", a.Answer)
			}
			return nil
		})
	})
	b.Run("floor", func(b *testing.B) {
		db := driver(b, w.dsn)
		measure(b, func() error {
			rows, err := db.Query(sql)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var city string
				var n int
				if err := rows.Scan(&city, &n); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	})
}

// TestRefusals: strangers cannot fill the log; what they did is counted.
func TestRefusals(t *testing.T) {
	w := newWorld(t, "create table retail.public.t (id int)")
	for range 30 {
		w.gate.TurnedAway(t.Context(), "expired", "192.0.2.1:1", nil)
	}
	if err := w.gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var single, counted int64
	for _, entry := range w.entries(t, audit.KindRefused) {
		if e := entry.Event; e.Count > 0 {
			counted += e.Count
		} else if single++; e.Remote == "" || !slices.Equal(e.Codes, []string{"expired"}) {
			t.Errorf("recorded %+v", e)
		}
	}
	if single != 20 || counted != 10 {
		t.Errorf("%d recorded, %d counted", single, counted)
	}
}

// TestGap: a run that did not end as it should is followed by a word about it.
func TestGap(t *testing.T) {
	w := newWorld(t, "create table retail.public.t (id int)")
	gaps := func() []*audit.Entry {
		g, err := tools.Open(t.Context(), w.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.entries(t, audit.KindGap)
	}
	last := w.entries(t, "")
	if found := gaps(); len(found) != 1 || found[0].Index != int64(len(last)) || *found[0].Event.Of != int64(len(last)-1) {
		t.Errorf("after a run without an end: %+v", found)
	}
	if found := gaps(); len(found) != 1 {
		t.Errorf("after a run that ended: %+v", found)
	}
}
