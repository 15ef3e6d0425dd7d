//go:build cgo

package emulator

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// column returns the named column of a statement's rows.
func columnsNamed(t *testing.T, query string, rows [][]string, names []string, wanted ...string) [][]string {
	t.Helper()
	var out [][]string
	for _, row := range rows {
		var cells []string
		for _, w := range wanted {
			i := slices.Index(names, w)
			if i < 0 {
				t.Fatalf("%s has no column %q among %q", query, w, names)
			}
			cells = append(cells, row[i])
		}
		out = append(out, cells)
	}
	return out
}

func TestShowAndDescribe(t *testing.T) {
	e, db := open(t)
	db.SetMaxOpenConns(1)
	if err := e.Exec(t.Context(), `
		CREATE TABLE people (id NUMBER NOT NULL COMMENT 'the key', name VARCHAR(40) DEFAULT 'nobody', score FLOAT, doc VARIANT, at TIMESTAMP_NTZ, PRIMARY KEY (id)) COMMENT = 'all of them';
		CREATE SECURE VIEW grown COMMENT = 'safe' AS SELECT id, name || '!' AS loud FROM people;
		CREATE SCHEMA archive;
		CREATE TABLE archive.old_people LIKE public.people;
		CREATE DATABASE other`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sql     string
		columns []string
		want    string
	}{
		{"SHOW DATABASES", []string{"name", "is_current"}, "OTHER N, RETAIL Y, SNOWFLAKE N"},
		{"SHOW DATABASES LIKE 'ret%'", []string{"name"}, "RETAIL"},
		{"SHOW SCHEMAS", []string{"name"}, "ARCHIVE, INFORMATION_SCHEMA, PUBLIC"},
		{"SHOW SCHEMAS IN DATABASE other", []string{"database_name", "name"}, "OTHER INFORMATION_SCHEMA, OTHER PUBLIC"},
		{"SHOW TABLES", []string{"name", "kind", "comment"}, "PEOPLE TABLE all of them"},
		{"SHOW TABLES IN DATABASE retail", []string{"schema_name", "name"}, "ARCHIVE OLD_PEOPLE, PUBLIC PEOPLE"},
		{"SHOW TABLES LIKE 'OLD\\\\_%' IN ACCOUNT", []string{"name"}, "OLD_PEOPLE"},
		{"SHOW TABLES IN SCHEMA retail.archive", []string{"name"}, "OLD_PEOPLE"},
		{"SHOW VIEWS", []string{"name", "is_secure", "comment", "text"}, "GROWN true safe CREATE SECURE VIEW grown COMMENT = 'safe' AS SELECT id, name || '!' AS loud FROM people"},
		{"SHOW COLUMNS IN TABLE people", []string{"column_name", "null?"}, "ID NOT_NULL, NAME true, SCORE true, DOC true, AT true"},
		{"DESCRIBE TABLE people", []string{"name", "type", "null?", "default", "comment"}, "ID NUMBER(38,0) N <nil> the key, NAME VARCHAR(40) Y 'nobody' <nil>, SCORE FLOAT Y <nil> <nil>, DOC VARIANT Y <nil> <nil>, AT TIMESTAMP_NTZ(9) Y <nil> <nil>"},
		{"DESC VIEW grown", []string{"name", "type"}, "ID NUMBER(38,0), LOUD VARCHAR(16777216)"},
		{"DESC TABLE retail.archive.old_people", []string{"name", "type", "null?"}, "ID NUMBER(38,0) N, NAME VARCHAR(40) Y, SCORE FLOAT Y, DOC VARIANT Y, AT TIMESTAMP_NTZ(9) Y"},
	} {
		t.Run(c.sql, func(t *testing.T) {
			rows, err := db.QueryContext(t.Context(), c.sql)
			if err != nil {
				t.Fatal(err)
			}
			names, err := rows.Columns()
			rows.Close()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, row := range columnsNamed(t, c.sql, rowsOf(t, db, c.sql), names, c.columns...) {
				got = append(got, strings.Join(row, " "))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%s\nwant %s", s, c.want)
			}
		})
	}
}

func TestInformationSchema(t *testing.T) {
	e, db := open(t)
	if err := e.Exec(t.Context(), `
		CREATE TABLE people (id NUMBER NOT NULL COMMENT 'the key', name VARCHAR(40), price NUMBER(10,2), doc VARIANT, at TIMESTAMP_NTZ, raw BINARY) COMMENT = 'all of them';
		CREATE VIEW grown AS SELECT id FROM people;
		CREATE DATABASE other;
		CREATE TABLE other.public.elsewhere (a INT)`); err != nil {
		t.Fatal(err)
	}
	got := rowsOf(t, db, `SELECT table_catalog, table_schema, table_name, column_name, ordinal_position, data_type, numeric_precision, numeric_scale, character_maximum_length, is_nullable, comment
		FROM RETAIL.INFORMATION_SCHEMA.COLUMNS WHERE table_schema <> 'INFORMATION_SCHEMA' ORDER BY table_name, ordinal_position`)
	want := []string{
		"RETAIL PUBLIC GROWN ID 1 NUMBER 38 0 <nil> YES <nil>",
		"RETAIL PUBLIC PEOPLE ID 1 NUMBER 38 0 <nil> NO the key",
		"RETAIL PUBLIC PEOPLE NAME 2 TEXT <nil> <nil> 40 YES <nil>",
		"RETAIL PUBLIC PEOPLE PRICE 3 NUMBER 10 2 <nil> YES <nil>",
		"RETAIL PUBLIC PEOPLE DOC 4 VARIANT <nil> <nil> <nil> YES <nil>",
		"RETAIL PUBLIC PEOPLE AT 5 TIMESTAMP_NTZ <nil> <nil> <nil> YES <nil>",
		"RETAIL PUBLIC PEOPLE RAW 6 BINARY <nil> <nil> 8388608 YES <nil>",
	}
	for i, row := range got {
		if i >= len(want) || strings.Join(row, " ") != want[i] {
			t.Errorf("column %d: %v", i, row)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d columns, want %d", len(got), len(want))
	}
	for query, want := range map[string]string{
		"SELECT LISTAGG(table_name || ' ' || table_type || ' ' || COALESCE(comment, '-'), ', ') WITHIN GROUP (ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'PUBLIC'": "GROWN VIEW -, PEOPLE BASE TABLE all of them",
		"SELECT view_definition || ' / ' || is_secure FROM retail.information_schema.views WHERE table_name = 'GROWN'":                                                                           "CREATE VIEW grown AS SELECT id FROM people / NO",
		"SELECT LISTAGG(schema_name, ', ') WITHIN GROUP (ORDER BY schema_name) FROM retail.information_schema.schemata":                                                                          "INFORMATION_SCHEMA, PUBLIC",
		"SELECT LISTAGG(table_name, ', ') FROM other.information_schema.tables WHERE table_schema = 'PUBLIC'":                                                                                    "ELSEWHERE",
		"SELECT COUNT(*) FROM retail.information_schema.columns WHERE table_schema = 'INFORMATION_SCHEMA' AND table_name = 'COLUMNS' AND column_name = 'DATA_TYPE'":                              "1",
	} {
		if got := value(t, db, query); got != want {
			t.Errorf("%s:\n%s, want\n%s", query, got, want)
		}
	}
	for _, query := range []string{"DROP VIEW information_schema.tables", "DROP SCHEMA information_schema", "CREATE TABLE information_schema.t (a INT)", "DELETE FROM information_schema.tables"} {
		failure(t, db, query)
	}
}

func TestDDL(t *testing.T) {
	_, db := open(t)
	db.SetMaxOpenConns(1)
	for _, c := range []struct{ sql, want string }{
		{"CREATE TABLE t (id NUMBER, v VARIANT)", "Table T successfully created."},
		{"CREATE TABLE IF NOT EXISTS t (id NUMBER)", "T already exists, statement succeeded."},
		{"INSERT INTO t SELECT 1, PARSE_JSON('[1]') UNION ALL SELECT 2, NULL", "2"},
		{"CREATE OR REPLACE TABLE t AS SELECT id + 10 AS id, v FROM t", "Table T successfully created."},
		{"SELECT SUM(id) FROM t", "23"},
		{"CREATE TABLE u CLONE t", "Table U successfully created."},
		{"SELECT COUNT(*) FROM u", "2"},
		{"CREATE VIEW w (a) AS SELECT id FROM t", "View W successfully created."},
		{"SELECT SUM(a) FROM w", "23"},
		{"CREATE OR REPLACE VIEW w AS SELECT * FROM t", "View W successfully created."},
		{"SELECT COUNT(v) FROM w", "1"},
		{"ALTER TABLE u ADD COLUMN name VARCHAR(5) DEFAULT 'x'", "Statement executed successfully."},
		{"SELECT MAX(name) FROM u", "x"},
		{"ALTER TABLE u DROP COLUMN v", "Statement executed successfully."},
		{"SELECT LISTAGG(column_name || ordinal_position, ',') WITHIN GROUP (ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'U'", "ID1,NAME2"},
		{"ALTER TABLE u RENAME TO renamed", "Statement executed successfully."},
		{"SELECT COUNT(*) FROM renamed", "2"},
		{"COMMENT ON TABLE renamed IS 'it''s new'", "Statement executed successfully."},
		{"ALTER TABLE t SET COMMENT = 'plain'", "Statement executed successfully."},
		{"COMMENT ON COLUMN renamed.id IS 'key'", "Statement executed successfully."},
		{"SELECT comment FROM information_schema.tables WHERE table_name = 'RENAMED'", "it's new"},
		{"SELECT comment FROM information_schema.columns WHERE table_name = 'RENAMED' AND column_name = 'ID'", "key"},
		{"TRUNCATE TABLE renamed", "Statement executed successfully."},
		{"SELECT COUNT(*) FROM renamed", "0"},
		{"DROP TABLE renamed", "RENAMED successfully dropped."},
		{"DROP TABLE IF EXISTS renamed", "Drop statement executed successfully (RENAMED already dropped)."},
		{"SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'RENAMED'", "0"},
		{"DROP VIEW w", "W successfully dropped."},
		{`CREATE TABLE "odd.Name" ("Col umn" NUMBER)`, "Table odd.Name successfully created."},
		{`SELECT COUNT("Col umn") FROM retail.public."odd.Name"`, "0"},
		{"CREATE DATABASE \"d.b\"", "Database d.b successfully created."},
		{"CREATE TABLE \"d.b\".public.t (a INT)", "Table T successfully created."},
		{"SELECT COUNT(*) FROM \"d.b\"..t", "0"},
		{"DROP DATABASE \"d.b\"", "d.b successfully dropped."},
		{"USE SCHEMA retail.public", "Statement executed successfully."},
		{"CREATE SCHEMA s", "Schema S successfully created."},
		{"CREATE TABLE s.t (a INT)", "Table T successfully created."},
		{"DROP SCHEMA s", "S successfully dropped."},
		{"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'S'", "0"},
	} {
		if got := value(t, db, c.sql); got != c.want {
			t.Errorf("%s: %s, want %s", c.sql, got, c.want)
		}
	}
}

func TestDML(t *testing.T) {
	_, db := open(t)
	mustExec(t, db, "CREATE TABLE t (id NUMBER, name VARCHAR)", "CREATE TABLE s (id NUMBER, name VARCHAR)", "INSERT INTO s VALUES (2, 'two'), (3, 'three'), (9, NULL)")
	for _, c := range []struct {
		sql  string
		want []string
	}{
		{"INSERT INTO t (id, name) VALUES (1, 'a'), (2, 'b')", []string{"2"}},
		{"INSERT INTO t SELECT id + 100, name FROM s WHERE id > 2", []string{"2"}},
		{"UPDATE t SET name = 'x' WHERE id = 1", []string{"1", "0"}},
		{"UPDATE t SET t.name = s.name FROM s WHERE s.id = t.id", []string{"1", "0"}},
		{"DELETE FROM t WHERE id > 100", []string{"2"}},
		{"MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET t.name = s.name || '!' WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)", []string{"2", "1"}},
		{"DELETE FROM t USING s WHERE t.id = s.id AND s.name IS NULL", []string{"1"}},
		{"INSERT OVERWRITE INTO s SELECT id, name FROM t", []string{"3"}},
	} {
		got := rowsOf(t, db, c.sql)
		if len(got) != 1 || !slices.Equal(got[0], c.want) {
			t.Errorf("%s: %v, want %v", c.sql, got, c.want)
		}
	}
	if got := value(t, db, "SELECT LISTAGG(id || name, ' ') WITHIN GROUP (ORDER BY id) FROM s"); got != "1x 2two! 3three" {
		t.Errorf("the tables hold %s", got)
	}
	done, err := db.ExecContext(t.Context(), "UPDATE t SET name = NULL")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 3 || err != nil {
		t.Errorf("%d rows updated (%v)", n, err)
	}
}

func TestQueries(t *testing.T) {
	e, db := open(t)
	if err := e.Exec(t.Context(), `
		CREATE TABLE sales (region VARCHAR, month DATE, amount NUMBER(10,2), tags VARIANT);
		INSERT INTO sales SELECT column1, column2::DATE, column3, PARSE_JSON(column4) FROM VALUES
			('north', '2024-01-01', 10, '["a", "b"]'), ('north', '2024-02-01', 20, '[]'), ('south', '2024-01-01', 5, NULL), ('south', '2024-03-01', NULL, '{"k": "v"}');
		CREATE SCHEMA second; CREATE TABLE second.sales (x INT)`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sql, want string }{
		{"SELECT region, SUM(amount) FROM sales GROUP BY region ORDER BY region", "north 30.00|south 5.00"},
		{"SELECT region, SUM(amount) s FROM sales GROUP BY ALL HAVING s > 10", "north 30.00"},
		{"SELECT TOP 1 region FROM sales ORDER BY amount", "south"},
		{"SELECT amount FROM sales ORDER BY amount", "5.00|10.00|20.00|<nil>"},
		{"SELECT amount FROM sales ORDER BY amount DESC", "<nil>|20.00|10.00|5.00"},
		{"SELECT region, month FROM sales QUALIFY ROW_NUMBER() OVER (PARTITION BY region ORDER BY month DESC) = 1 ORDER BY region", "north 2024-02-01T00:00:00Z|south 2024-03-01T00:00:00Z"},
		{"SELECT f.value::STRING FROM sales, LATERAL FLATTEN(input => tags) f ORDER BY 1", "a|b|v"},
		{"SELECT f.index, f.key, f.value, f.path FROM sales s, LATERAL FLATTEN(s.tags) f ORDER BY f.index", "0 <nil> \"a\" [0]|1 <nil> \"b\" [1]|<nil> k \"v\" k"},
		{"SELECT region, f.value FROM sales, LATERAL FLATTEN(input => tags, outer => TRUE) f WHERE region = 'north' ORDER BY 2", "north \"a\"|north \"b\"|north <nil>"},
		{"SELECT region, ARRAY_AGG(amount) WITHIN GROUP (ORDER BY amount) FROM sales WHERE amount > 5 GROUP BY 1", "north [\n  10.0,\n  20.0\n]"},
		{"SELECT LISTAGG(DISTINCT region, '/') WITHIN GROUP (ORDER BY region) FROM sales", "north/south"},
		{"SELECT MEDIAN(amount), COUNT_IF(amount > 5), APPROX_COUNT_DISTINCT(region) FROM sales", "10.00 2 2"},
		{"SELECT region, RATIO_TO_REPORT(amount) OVER (PARTITION BY region) FROM sales WHERE region = 'north' ORDER BY amount DESC LIMIT 1", "north 0.6666666666666666"},
		{"WITH sales AS (SELECT * FROM sales WHERE region = 'south') SELECT COUNT(*) FROM sales", "2"},
		{"WITH a AS (SELECT 1 AS n), b AS (SELECT n + 1 AS n FROM a) SELECT a.n, b.n FROM a, b", "1 2"},
		{"WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 4) SELECT SUM(n) FROM r", "10"},
		{"WITH r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 4) SELECT SUM(n) FROM r", "10"},
		{"SELECT retail.public.sales.region FROM retail.public.sales LIMIT 1", "north"},
		{"SELECT sales.* EXCLUDE (tags, month) FROM sales WHERE amount = 20", "north 20.00"},
		{"SELECT COUNT(*) FROM second.sales", "0"},
		{"SELECT region FROM sales MINUS SELECT 'north'", "south"},
		{"SELECT $1, column2 FROM VALUES (1, 'a'), (2, 'b') WHERE $1 > 1", "2 b"},
		{"SELECT v.column1 FROM (VALUES (3)) v", "3"},
		{"SELECT x FROM (VALUES (3)) AS v (x)", "3"},
		{"SELECT \"COUNT(*)\" FROM (SELECT COUNT(*) FROM sales)", "4"},
		{"SELECT CASE WHEN amount IS NULL THEN 'none' ELSE TO_VARCHAR(amount) END FROM sales WHERE region = 'south' ORDER BY 1", "5.00|none"},
		{"SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 10))", "10"},
		{"SELECT a.region FROM sales a JOIN sales b USING (region) WHERE a.amount > 10 GROUP BY 1", "north"},
		{"SELECT region FROM sales WHERE region ILIKE ANY ('NO%', 'x%') GROUP BY 1", "north"},
		{"SELECT EXISTS (SELECT 1 FROM sales s WHERE s.amount > 100), 1 IN (SELECT 2)", "0 0"},
		{"SELECT OBJECT_CONSTRUCT(*) FROM (SELECT region, amount FROM sales WHERE amount = 5)", "{\n  \"AMOUNT\": 5.0,\n  \"REGION\": \"south\"\n}"},
	} {
		t.Run(c.sql, func(t *testing.T) {
			var lines []string
			for _, row := range rowsOf(t, db, c.sql) {
				lines = append(lines, strings.Join(row, " "))
			}
			if got := strings.Join(lines, "|"); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
	rows, err := db.QueryContext(t.Context(), "SELECT COUNT(*), region r, max( amount ), tags:k::string FROM sales GROUP BY 2, 4 LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if names, err := rows.Columns(); err != nil || !slices.Equal(names, []string{"COUNT(*)", "R", "MAX( AMOUNT )", "TAGS:K::STRING"}) {
		t.Errorf("columns %q (%v)", names, err)
	}
}

func TestLocked(t *testing.T) {
	e, db := open(t)
	outside := filepath.Join(t.TempDir(), "x")
	// Through the front door, in the words of Snowflake's dialect.
	for _, query := range []string{
		"SELECT * FROM TABLE(read_text('/etc/passwd'))",
		"SELECT * FROM \"/etc/passwd\"",
		"SELECT getenv('HOME')",
		"SELECT * FROM \"_catalog\".\"tables\"",
		"SELECT * FROM duckdb_settings()",
		"COPY INTO '" + outside + "' FROM (SELECT 1)",
	} {
		failure(t, db, query)
	}
	// And of DuckDB itself, were somebody to get past the parser.
	for _, query := range []string{
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM read_csv('/etc/passwd')",
		"SELECT * FROM glob('/etc/*')",
		"COPY (SELECT 1) TO '" + outside + "'",
		"ATTACH '" + outside + "' AS x",
		"EXPORT DATABASE '" + outside + "'",
		"INSTALL httpfs",
		"LOAD httpfs",
		"SET enable_external_access = true",
		"SET lock_configuration = false",
		"SET temp_directory = '/etc'",
	} {
		if _, err := e.db.ExecContext(t.Context(), query); err == nil {
			t.Errorf("%s: DuckDB did it", query)
		}
	}
}
