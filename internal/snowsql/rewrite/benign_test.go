//go:build cgo

package rewrite_test

import (
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
)

// benign are statements of everyday work over columns that are free. They run,
// and their answers are those of the statements as they were sent.
var benign = []string{
	"select id, name from c order by id",
	"select c.name, p.title from c join p on p.id = c.id where p.title is not null order by 1",
	"select c.name, p.title from c left join p using (id)",
	"select id, name, title from c natural join p",
	"select upper(title) as t, length(title) n from p where t like 'O%' or n > 3",
	"select count(*), count(title), min(title), max(title) from p",
	"select title, count(*) as n from p group by title having n > 0 order by n desc, title",
	"select title, count(*) as n from p group by all order by all",
	"select coalesce(title, 'none') as title from p order by title",
	"select id, row_number() over (order by id desc) as r from p qualify r = 1",
	"select id, lag(title) over (order by id) before, sum(id) over (order by id rows between unbounded preceding and current row) total from p",
	"with t as (select id, title from p where id < 3), u as (select * from t) select u.title, c.name from u join c on c.id = u.id",
	"with recursive n (i) as (select 1 union all select i + 1 from n where i < 5) select i from n",
	"select * from p where id in (select id from c where name like 'n%')",
	"select * from p where exists (select 1 from c where c.id = p.id and c.name <> 'n1')",
	"select * from p where id > all (select 1)",
	"select p.*, (select max(name) from c where c.id = p.id) as who from p",
	"select * from (select id, title from p union all select id, name from c) order by 1, 2",
	"select id from p intersect select id from c",
	"select id from p except select 1",
	"select case when id = 1 then 'a' when id = 2 then 'b' else 'c' end as k, count(*) from p group by k",
	"select iff(id > 1, 'many', 'one') from p",
	"select a.id, b.id from p a cross join p b where a.id < b.id",
	"select x.n from (values (1, 'a'), (2, 'b')) as x (n, s)",
	"select id::varchar || '-' || title as k from p",
	"select distinct name from c order by name",
	"select db.s.p.title, s.p.id from db.s.p",
	"select p.title as \"Mixed Case\" from p order by \"Mixed Case\"",
	"select t.* from (select p.id as k, p.title from p) t where k > 1",
	"select * exclude (title) from p",
	"select * rename (title as heading) from p",
	"select * replace (upper(title) as title) from p",
	"select top 2 id from p order by id",
	"select id from p order by id limit 2 offset 1",
	"select l.s from p, lateral (select p.id + 1 as s) l",
	"select p.id, q.id from p, p q where p.id = q.id",
	"select sum(id) filter_total, avg(id) a from p where id between 1 and 3",
	"select to_char(id) from p where title not in ('one') or title is null",
	"select * from (select id, title from p) pivot (count(title) for id in (1, 2, 3))",
	"select (select count(*) from p) as products, (select count(*) from c) as customers",
	"select current_date = current_date, 1 + 1",
	"select nullif(title, 'one'), greatest(id, 2) from p",
	"select trunc(1.25, 1), round(2.5), abs(-1)",
}

func TestBenign(t *testing.T) {
	ws := worlds(t)
	for _, text := range benign {
		duck, code := judgeWorld(t, text, ast.DuckDB)
		if code != policy.CodeAllowed {
			t.Errorf("refused: %s: %s", text, code)
			continue
		}
		stmt, err := parser.ParseStatement(text)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := ast.Print(stmt, ast.DuckDB)
		if err != nil {
			t.Fatal(err)
		}
		want, ok := ws[0].answer(raw)
		if !ok {
			t.Errorf("the engine does not run %s: %s", text, want)
			continue
		}
		if got, _ := ws[0].answer(duck); !strings.EqualFold(got, want) {
			t.Errorf("%s\nran as\n%s\n%s\nwant\n%s", text, duck, got, want)
		}
	}
}
