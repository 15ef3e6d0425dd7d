//go:build cgo

package emulator

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
)

// common are statements that mean the same in Snowflake and in DuckDB, so that
// DuckDB can run the text as it is written: a witness of what our reading and
// printing make of it.
var common = strings.Split(strings.TrimSpace(`
select 1, 'a', null, true, 1.5, -2, 'it''s'
select 1 + 2 * 3 - 4 % 3, (1 + 2) * 3, -(-1), 2 * -3, 7 - 2 - 1
select 'a' || 'b' || 'c', upper('x') || lower('Y'), length('abc') + 1
select 1 = 1 and 2 <> 3 or not 4 < 5, not (true and false)
select 3 between 1 and 5, 3 not between 1 and 5, 3 in (1, 2, 3), 3 not in (1, 2), null is null, 1 is not null
select 'abc' like 'a%', 'abc' not like '%b', 'ABC' ilike 'abc', 'a%c' like 'a!%c' escape '!'
select case when 1 = 1 then 'a' when 2 = 2 then 'b' else 'c' end, case 3 when 1 then 'x' when 3 then 'y' end, case when false then 1 end
select coalesce(null, 1, 2), nullif(1, 1), nullif(1, 2), greatest(1, 3, 2), least(1, 3, 2)
select cast('12' as integer) + 1, '3.5'::double + 1, 12::varchar || 'x', cast(1 as boolean), '2024-02-29'::date
select abs(-3), round(2.567, 2), floor(2.7), ceil(2.1), sign(-5), mod(7, 3), power(2, 10), sqrt(16)
select substr('abcdef', 2, 3), left('abc', 2), right('abc', 2), replace('abca', 'a', 'z'), trim('  x '), ltrim('  x'), rtrim('x  '), reverse('abc')
select date '2024-01-31' + 1, date '2024-03-01' - date '2024-02-01', extract(year from date '2024-05-06'), extract(month from date '2024-05-06')
select count(*) from customers
select count(*), count(distinct region), min(amount), max(amount), sum(amount) from orders
select count(*) from orders where region is null or status <> 'x'
select region, count(*) as n from orders group by region
select region, status, count(*) from orders group by 1, 2 having count(*) > 3
select region, sum(amount) as total from orders group by region order by total desc, region
select status, max(amount) - min(amount) from orders group by status order by 1
select distinct status from orders order by status desc
select region, status, count(*) from orders group by rollup (region, status)
select region, status, count(*) from orders group by cube (region, status)
select region, status, count(*) from orders group by grouping sets ((region), (status), ())
select region, count(*) from orders group by all
select order_id, amount from orders order by amount desc, order_id limit 7
select order_id from orders order by order_id limit 5 offset 3
select order_id, region from orders where amount > 100 and (region = 'EU' or region = 'US') order by 1
select * from products
select p.* from products as p where p.price < 20
select p.product_id as id, p.price * 2 as "double" from products p order by id
select name from products where active and category in ('kitchen', 'garden', 'office') order by name
select o.order_id, c.name from orders o join customers c on o.customer_id = c.id order by o.order_id limit 20
select o.order_id, c.name from customers c left join orders o on o.customer_id = c.id where c.id < 10 order by 1, 2
select c.id, o.order_id from orders o right outer join customers c on c.id = o.customer_id and o.amount > 500 where c.id < 20 order by 1, 2
select count(*) from customers c full join orders o on c.id = o.order_id
select count(*) from products a cross join products b
select count(*) from products a, products b where a.price < b.price
select count(*) from orders join order_items using (order_id)
select count(*) from orders natural join order_items
select a.order_id, b.line, p.name from orders a join order_items b on a.order_id = b.order_id join products p using (product_id) where a.order_id < 30 order by 1, 2
select a.product_id, count(*) from products a left join (order_items b join orders c on b.order_id = c.order_id) on a.product_id = b.product_id group by 1 order by 1
select a.product_id, count(b.line) from products a left join order_items b inner join orders c on b.order_id = c.order_id on a.product_id = b.product_id group by 1 order by 1
select name from customers where id in (select customer_id from orders where amount > 900) order by name
select name from customers c where exists (select 1 from orders o where o.customer_id = c.id and o.status = 'returned') order by name
select name from customers c where not exists (select 1 from orders o where o.customer_id = c.id) order by name
select c.name, (select count(*) from orders o where o.customer_id = c.id) as n from customers c order by n desc, c.name limit 10
select (select max(amount) from orders) - (select min(amount) from orders)
select count(*) from orders where amount > all (select price from products)
select count(*) from orders where amount = any (select price from products)
select count(*) from orders where (region, status) in (('EU', 'shipped'), ('US', 'shipped'))
with a as (select region, sum(amount) s from orders group by region) select * from a where s > 1000 order by 1
with a as (select 1 as x), b as (select x + 1 as y from a), c as (select x + y as z from a, b) select * from c
with recursive n (i) as (select 1 union all select i + 1 from n where i < 10) select sum(i) from n
with t (a, b) as (select order_id, amount from orders) select max(a), min(b) from t
select 1 union select 2 union select 1 order by 1
select 1 union all select 2 union all select 1
select 1 union all select 2 except select 2
select region from orders intersect select 'EU'
select 1 union select 2 intersect select 2
(select 3 union select 4) intersect select 4
(select order_id from orders order by amount limit 3) union all (select order_id from orders order by amount desc limit 3)
select order_id, row_number() over (order by amount, order_id) from orders order by 1 limit 20
select order_id, rank() over (partition by region order by amount desc) as r from orders qualify r <= 2 order by 1
select order_id from orders qualify row_number() over (partition by region order by amount, order_id) = 1 order by 1
select order_id, sum(amount) over (partition by region order by order_id rows between unbounded preceding and current row) from orders order by 1 limit 30
select order_id, avg(amount) over (order by order_id rows between 2 preceding and 2 following) from orders order by 1 limit 30
select order_id, lag(amount) over (order by order_id), lead(amount, 2, 0) over (order by order_id) from orders order by 1 limit 10
select order_id, first_value(amount) over (partition by region order by order_id), last_value(amount) over (partition by region order by order_id rows between unbounded preceding and unbounded following) from orders order by 1 limit 30
select order_id, ntile(4) over (order by amount, order_id), dense_rank() over (order by status), percent_rank() over (order by amount) from orders order by 1 limit 30
select order_id, sum(amount) over () from orders order by 1 limit 3
select * from (values (1, 'a'), (2, 'b')) as t (x, y) order by x
select t.x + 1 from (select 1 as x union all select 2) t order by 1
select * exclude (price) from products order by product_id
select * exclude price replace (upper(name) as name) from products order by product_id limit 3
select x.n from (select count(*) as n from orders group by region) as x order by x.n
select "NAME" as "Some Name", name as "order" from products order by 1 limit 3
select date_trunc('month', ordered_at) as m, count(*) from orders group by m order by m
select extract(year from ordered_at) y, extract(month from ordered_at) mo, count(*) from orders group by y, mo order by 1, 2
select count(*) from orders where ordered_at >= timestamp '2024-01-01 00:00:00' and ordered_at < timestamp '2025-01-01 00:00:00'
select sum(case when status = 'returned' then amount else 0 end) / sum(amount) > 0.5 from orders
select count(*) from support_tickets where body like '%card%' or subject ilike '%REFUND%'
select median(amount), stddev(amount) > 0, variance(amount) > 0 from orders
select min(name), max(name) from customers where name between 'A' and 'M'
select count(*) from orders where status in (select distinct status from orders where amount > 10)
select c.id from customers c left join orders o on o.customer_id = c.id and o.status = 'paid' where o.order_id is null and c.id <= 25 order by 1
select amount, amount > 100 as big, not amount > 100 as small from orders order by order_id limit 5
select count(*) from orders where not (status = 'paid' or status = 'shipped') and amount is not null
select count(*) from orders where status is distinct from 'paid' and region is not distinct from null
select a.x, b.y from (select 1 as x) a left join (select 2 as y) b on a.x = b.y
select 10 - 5 - 2, 100 / 10 / 2, 2 + 3 * 4 > 13 and 1 = 1
select 1 where 1 = 0
`), "\n")

// witness is an emulator with the demo data and a session in it.
func witness(t *testing.T) *session {
	e, db := open(t)
	for stmt := range strings.SplitSeq(DemoScript(), ";\n") {
		if strings.TrimSpace(stmt) != "" {
			if _, err := db.ExecContext(t.Context(), stmt); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := e.newSession(t.Context(), e.users["AGENT"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.endSession(s) })
	s.database, s.schema = "RETAIL", "PUBLIC"
	return s
}

// compare runs a text as it is, and what our reading and printing make of it.
// ran is false if DuckDB does not take the text.
func compare(t *testing.T, s *session, text string) (ran bool) {
	t.Helper()
	want, err := textsOf(t.Context(), s.conn, text)
	if err != nil {
		t.Logf("DuckDB does not take %s: %v", text, err)
		return false
	}
	stmt, err := parser.ParseStatement(text)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return true
	}
	// Through Snowflake's dialect first, as it is on the way of a statement.
	printed, err := ast.Print(stmt, ast.Snowflake)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parser.ParseQuery(printed)
	if err != nil {
		t.Errorf("%s: %v", printed, err)
		return true
	}
	_, ours, err := s.compile(t.Context(), again)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return true
	}
	got, err := textsOf(t.Context(), s.conn, ours)
	if err != nil {
		t.Errorf("%s\nis printed as %s: %v", text, ours, err)
		return true
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nis printed as %s\n got %.300q\nwant %.300q", text, ours, got, want)
	}
	return true
}

// textsOf returns a result's rows as texts, in order of their texts.
func textsOf(ctx context.Context, conn *sql.Conn, text string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []string
	for rows.Next() {
		cells, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range cells {
			places[i] = &cells[i]
		}
		if err := rows.Scan(places...); err != nil {
			return nil, err
		}
		for i, c := range cells {
			cells[i] = cell(c)
		}
		out = append(out, fmt.Sprint(cells...))
	}
	slices.Sort(out)
	return out, rows.Err()
}

// cell is a value as a text: a number is the same whatever its type.
func cell(v any) string {
	text := fmt.Sprint(v)
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return strconv.FormatFloat(f, 'g', 9, 64)
	}
	return strconv.Quote(text)
}

// TestSameRows: what is printed for the embedded warehouse yields what the
// statement yields as it was written, wherever DuckDB takes it.
func TestSameRows(t *testing.T) {
	s := witness(t)
	if _, err := s.conn.ExecContext(t.Context(), searchPath(t, s)); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, text := range common {
		if compare(t, s, text) {
			ran++
		}
	}
	if t.Logf("%d of %d statements ran in both forms", ran, len(common)); ran < len(common)*9/10 {
		t.Errorf("DuckDB took %d of %d statements", ran, len(common))
	}
}

// searchPath is the statement that makes DuckDB look for tables where the
// session does.
func searchPath(t *testing.T, s *session) string {
	t.Helper()
	q, err := parser.ParseQuery("select 1 from products")
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := s.compile(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	_, from, _ := strings.Cut(text, "FROM ")
	schema, _, ok := strings.Cut(from, `."PRODUCTS"`)
	if !ok {
		t.Fatalf("no schema in %s", text)
	}
	return "USE " + schema
}

// TestSameRowsGenerated does the same for statements that nobody wrote:
// expressions and clauses put together at random, but the same each time.
func TestSameRowsGenerated(t *testing.T) {
	s := witness(t)
	if _, err := s.conn.ExecContext(t.Context(), searchPath(t, s)); err != nil {
		t.Fatal(err)
	}
	g := generator{rand.New(rand.NewPCG(1, 2))}
	const n = 400
	ran := 0
	for range n {
		if compare(t, s, g.query()) {
			ran++
		}
	}
	if t.Logf("%d of %d statements ran in both forms", ran, n); ran < n*8/10 {
		t.Errorf("DuckDB took %d of %d statements", ran, n)
	}
}

// A generator makes queries over the demo's orders.
type generator struct{ *rand.Rand }

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) number(depth int) string {
	if depth == 0 {
		return g.pick("amount", "order_id", "customer_id", strconv.Itoa(g.IntN(100)), "0.5")
	}
	x, y := g.number(depth-1), g.number(depth-1)
	switch g.IntN(7) {
	case 0:
		return "(" + x + ")"
	case 1:
		return "-" + x
	case 2:
		return "case when " + g.condition(depth-1) + " then " + x + " else " + y + " end"
	case 3:
		return "coalesce(" + x + ", " + y + ")"
	default:
		return x + g.pick(" + ", " - ", "-", "+") + y
	}
}

func (g generator) text(depth int) string {
	if depth == 0 {
		return g.pick("status", "region", "channel", "'EU'", "'it''s'", "'paid'")
	}
	switch g.IntN(3) {
	case 0:
		return "upper(" + g.text(depth-1) + ")"
	case 1:
		return g.text(depth-1) + " || " + g.text(depth-1)
	default:
		return g.text(depth - 1)
	}
}

func (g generator) condition(depth int) string {
	if depth <= 0 {
		return g.number(0) + g.pick(" < ", " > ", " <= ", " >= ", " = ", " <> ") + g.number(0)
	}
	switch g.IntN(8) {
	case 0:
		return g.condition(depth-1) + " and " + g.condition(depth-1)
	case 1:
		return g.condition(depth-1) + " or " + g.condition(depth-1)
	case 2:
		return "not " + g.condition(depth-1)
	case 3:
		return "(" + g.condition(depth-1) + ")"
	case 4:
		return g.text(depth-1) + g.pick(" like ", " not like ", " ilike ") + g.pick("'%a%'", "'E_'", "'p%'")
	case 5:
		return g.number(depth-1) + g.pick(" between ", " not between ") + g.number(0) + " and " + g.number(0)
	case 6:
		return g.text(depth-1) + g.pick(" is null", " is not null", " in ('EU', 'US')", " not in ('EU', 'paid')")
	default:
		return g.number(depth-1) + g.pick(" < ", " > ", " = ") + g.number(depth-1)
	}
}

func (g generator) query() string {
	where := ""
	if g.IntN(3) > 0 {
		where = " where " + g.condition(2)
	}
	switch g.IntN(4) {
	case 0:
		key := g.pick("region", "status", "channel")
		return "select " + key + ", count(*), sum(" + g.number(1) + ") from orders" + where + " group by " + key +
			g.pick("", " having count(*) > 2", " having min(amount) < 50 and not count(*) = 1")
	case 1:
		return "select * from (select order_id, " + g.number(2) + " as x, " + g.text(1) + " as y from orders" + where + ") as q where " +
			g.pick("x > 10", "y is not null", "x between 1 and 50 or y like '%a%'")
	case 2:
		return "select order_id from orders" + where + g.pick(" union ", " union all ", " except ", " intersect ") + "select order_id from orders where " + g.condition(1)
	default:
		return "select " + g.number(2) + ", " + g.text(2) + ", " + g.condition(1) + " from orders" + where
	}
}
