package parser

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// corpora are statements that others wrote, read where the folder is at hand,
// with the share of rows that must parse.
var corpora = []struct {
	file  string
	floor float64
}{
	{"docs_official.jsonl", 0.995},
	{"sqlfluff.jsonl", 0.97},
}

func readCorpus(t testing.TB, file string) []string {
	rows, ok := corpus(t, file)
	if !ok {
		t.Skipf("skipped: the corpus %s is not at hand", file)
	}
	return rows
}

// corpus returns a corpus' texts, and false if it is not at hand.
func corpus(t testing.TB, file string) ([]string, bool) {
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "corpus", file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var row struct{ SQL string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row.SQL)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, true
}

func TestCorpora(t *testing.T) {
	for _, c := range corpora {
		t.Run(c.file, func(t *testing.T) {
			rows := readCorpus(t, c.file)
			read := 0
			for _, sql := range rows {
				stmts, err := ParseScript(sql)
				if err != nil {
					t.Logf("unread: %v", err.(*Error).Render(sql))
					continue
				}
				read++
				for _, s := range stmts {
					checkFixpoint(t, s)
					checkPositions(t, sql, s)
				}
			}
			share := float64(read) / float64(len(rows))
			t.Logf("%s: %d of %d rows read, %.1f %%", c.file, read, len(rows), 100*share)
			if share < c.floor {
				t.Errorf("%s: %.3f of the rows read, the floor is %.3f", c.file, share, c.floor)
			}
		})
	}
}

// checkFixpoint proves that what is printed parses to what is printed.
func checkFixpoint(t testing.TB, s ast.Statement) {
	t.Helper()
	once, err := ast.Print(s, ast.Snowflake)
	if err != nil {
		t.Errorf("printing: %v", err)
		return
	}
	again, err := ParseStatement(once)
	if err != nil {
		t.Errorf("printed text does not parse: %v", err.(*Error).Render(once))
		return
	}
	twice, err := ast.Print(again, ast.Snowflake)
	if err != nil || twice != once {
		t.Errorf("printing is no fixpoint:\n%s\n%s\n%v", once, twice, err)
	}
}

// checkPositions proves that a node's place lies inside its parent's.
func checkPositions(t testing.TB, src string, s ast.Statement) {
	t.Helper()
	var walk func(n ast.Node)
	walk = func(n ast.Node) {
		if n.Pos() > n.End() || int(n.End()) > len(src) {
			t.Errorf("%T has the place [%d,%d) in a text of %d bytes", n, n.Pos(), n.End(), len(src))
		}
		ast.Children(n, func(c ast.Node) {
			if c.Pos() < n.Pos() || c.End() > n.End() {
				t.Errorf("%T [%d,%d) leaves its parent %T [%d,%d)\n%s", c, c.Pos(), c.End(), n, n.Pos(), n.End(), src)
			}
			walk(c)
		})
	}
	walk(s)
}

func TestPrint(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`select 1`, `SELECT 1`},
		{`select a, b as "x y", t.* from db.s.t as t where a is not null -- c`, `SELECT A, B AS "x y", T.* FROM DB.S.T AS T WHERE A IS NOT NULL`},
		{`select * exclude (ssn) from t`, `SELECT * EXCLUDE (SSN) FROM T`},
		{`select payload:device.os::string, payload:items[0]:sku from events`, `SELECT CAST(PAYLOAD:device.os AS STRING), PAYLOAD:items[0]:sku FROM EVENTS`},
		{`with a as (select 1 x) select x from a union all select 2 order by 1 limit 5`, `WITH A AS (SELECT 1 AS X) SELECT X FROM A UNION ALL SELECT 2 ORDER BY 1 LIMIT 5`},
		{`select row_number() over (partition by a order by b desc nulls last) rn from t qualify rn = 1`, `SELECT ROW_NUMBER() OVER (PARTITION BY A ORDER BY B DESC NULLS LAST) AS RN FROM T QUALIFY RN = 1`},
		{`select f.value from t, lateral flatten(input => t.v) f`, `SELECT F.VALUE FROM T, LATERAL FLATTEN(INPUT => T.V) AS F`},
		{`drop table if exists s.t cascade`, `DROP TABLE IF EXISTS S.T CASCADE`},
		{`create or replace table t as select 1 a`, `CREATE OR REPLACE TABLE T AS SELECT 1 AS A`},
		{`update t set a = a + 1 where b in (select b from u)`, `UPDATE T SET A = A + 1 WHERE B IN (SELECT B FROM U)`},
		{`merge into t using u on t.id = u.id when matched then delete when not matched then insert (a) values (1)`, `MERGE INTO T USING U ON T.ID = U.ID WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (A) VALUES (1)`},
		{`select 'it''s', 'a\nb', $$x'y$$`, "SELECT 'it''s', 'a\nb', 'x''y'"},
		{`select 'back\\slash'`, `SELECT 'back\\slash'`},
		{`select - -1, 1 - -1`, `SELECT - -1, 1 - -1`},
	} {
		s, err := ParseStatement(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		got, err := ast.Print(s, ast.Snowflake)
		if err != nil || got != c.out {
			t.Errorf("%s\n got %s\nwant %s\n%v", c.in, got, c.out, err)
		}
		checkFixpoint(t, s)
		checkPositions(t, c.in, s)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		in   string
		code Code
		msg  string
	}{
		{"", Empty, "1:1: there is no statement"},
		{" ; ;", Empty, "1:5: there is no statement"},
		{"select 1; select 2", MultipleStatements, "1:11: a second statement begins here"},
		{"select 1 1", Syntax, "1:10: expected the end of the statement, found 1"},
		{"create CLUSTER x", Syntax, "1:8: expected a kind of object such as TABLE or VIEW, found CLUSTER"},
		{"select\n  from t", Syntax, "2:3: expected an identifier, found the reserved word from"},
		{"select 'a", Syntax, "1:8: string is not closed"},
		{"select 1 /* x", Syntax, "1:10: comment is not closed"},
		{"select \x00", InvalidText, "1:8: the text holds a NUL byte"},
		{"select '\xff'", InvalidText, "1:1: the text is not UTF-8"},
		{strings.Repeat("(", 5000) + "select 1", TooDeep, "1:399: nested more than 400 deep"},
		{"select " + strings.Repeat("-", 5001), Empty, "1:8: there is no statement"},
		{"select '" + strings.Repeat("x", MaxSize) + "'", TooLarge, "1:1: more than 1048576 bytes"},
	} {
		_, err := ParseStatement(c.in)
		var perr *Error
		if !errors.As(err, &perr) {
			t.Errorf("%.40q: no error", c.in)
			continue
		}
		if perr.Code != c.code && c.msg != "1:8: there is no statement" || perr.Error() != c.msg && perr.Code != Syntax && perr.Code != TooDeep || perr.Code == Syntax && perr.Error() != c.msg && c.code == Syntax {
			t.Errorf("%.40q: %d %v, want %d %s", c.in, perr.Code, perr, c.code, c.msg)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"select 1", "select a:b[0].c::number(10,2) from @s/p (file_format => 'x') t", "insert all into a values (1) select 2",
		"copy into @s from (select * from t) overwrite = true", "select * exclude a replace (1 as b) rename (c as d) from t sample (10 rows)",
		"begin return 1; end", "drop function f(int, varchar)", "grant select on table t to role r",
	} {
		f.Add(seed)
	}
	for _, sql := range goldenInputs(f) {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		stmts, err := ParseScript(sql)
		if err != nil {
			_ = err.(*Error).Render(sql)
			return
		}
		for _, s := range stmts {
			checkPositions(t, sql, s)
			checkFixpoint(t, s)
		}
	})
}

// BenchmarkParse reads both corpora: all of it for the throughput, statement by
// statement for the median and the 99th percentile.
func BenchmarkParse(b *testing.B) {
	sqls, bytes := benchmarkTexts(b)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		for _, sql := range sqls {
			_, _ = ParseScript(sql)
		}
	}
	b.StopTimer()
	took := make([]time.Duration, len(sqls))
	for i, sql := range sqls {
		took[i] = time.Hour
		for range 5 { // the best of five: the others measure the machine
			start := time.Now()
			_, _ = ParseScript(sql)
			took[i] = min(took[i], time.Since(start))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns/row")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns/row")
}

// BenchmarkScan finds the tokens alone: the floor of BenchmarkParse.
func BenchmarkScan(b *testing.B) {
	sqls, bytes := benchmarkTexts(b)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		for _, sql := range sqls {
			for s := token.NewScanner(sql); s.Next().Kind != token.EOF; {
			}
		}
	}
}

// BenchmarkInList reads lists of 10 KB, 100 KB and 1 MB: the throughput stays.
func BenchmarkInList(b *testing.B) {
	for _, size := range []int{10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(size/1000)+"KB", func(b *testing.B) {
			sql := "select 1 from t where a in (" + strings.Repeat("'value', ", size/9-5) + "'x')"
			b.SetBytes(int64(len(sql)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseStatement(sql); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchmarkTexts(b *testing.B) (sqls []string, bytes int) {
	for _, c := range corpora {
		for _, sql := range readCorpus(b, c.file) {
			sqls = append(sqls, sql)
			bytes += len(sql)
		}
	}
	return sqls, bytes
}
