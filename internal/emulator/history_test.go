//go:build cgo

package emulator

import (
	"slices"
	"strings"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
)

func TestQueryHistory(t *testing.T) {
	e, db := open(t)
	mustExec(t, db, "CREATE TABLE people (id NUMBER, name VARCHAR, ssn VARCHAR)", "CREATE VIEW names AS SELECT name FROM people",
		"INSERT INTO people VALUES (1, 'Ada', '078-05-1120')")
	ids := make(chan string, 1)
	if _, err := db.ExecContext(sf.WithQueryTag(sf.WithQueryIDChan(t.Context(), ids), "receipt-7"), "SELECT * FROM names n JOIN people p ON p.name = n.name WHERE p.id = 1"); err != nil {
		t.Fatal(err)
	}
	id := <-ids
	failure(t, db, "SELECT * FROM nowhere")
	for _, from := range []string{
		"TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())", "TABLE(RETAIL.INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER(USER_NAME => 'AGENT', RESULT_LIMIT => 10000))",
		"TABLE(information_schema.query_history(end_time_range_start => '2020-01-01 00:00:00'::TIMESTAMP_LTZ))", "SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY",
	} {
		got := rowsOf(t, db, "SELECT QUERY_ID, QUERY_TYPE, EXECUTION_STATUS, USER_NAME, ROLE_NAME, DATABASE_NAME, ROWS_PRODUCED FROM "+from+" WHERE QUERY_TAG = 'receipt-7'")
		if want := []string{id, "SELECT", "SUCCESS", "AGENT", "ANALYST", "RETAIL", "1"}; len(got) != 1 || !slices.Equal(got[0], want) {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
		got = rowsOf(t, db, "SELECT ERROR_CODE, EXECUTION_STATUS FROM "+from+" WHERE QUERY_TEXT = 'SELECT * FROM nowhere'")
		if len(got) != 1 || got[0][0] != "002003" || !strings.HasPrefix(got[0][1], "FAIL") {
			t.Errorf("%s: the statement that failed is %q", from, got)
		}
	}
	if got := rowsOf(t, db, "SELECT QUERY_ID FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(RESULT_LIMIT => 2))"); len(got) != 2 {
		t.Errorf("%d statements, want the newest 2", len(got))
	}
	if got := rowsOf(t, db, "SELECT QUERY_ID FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER(USER_NAME => 'SOMEBODY'))"); len(got) != 0 {
		t.Errorf("statements of nobody: %q", got)
	}
	if got := value(t, db, "SELECT COUNT(*) FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(END_TIME_RANGE_END => '2020-01-01 00:00:00'::TIMESTAMP_LTZ))"); got != "0" {
		t.Errorf("%s statements before there was an account", got)
	}
	access := rowsOf(t, db, "SELECT DIRECT_OBJECTS_ACCESSED, BASE_OBJECTS_ACCESSED FROM SNOWFLAKE.ACCOUNT_USAGE.ACCESS_HISTORY WHERE QUERY_ID = '"+id+"'")
	if len(access) != 1 {
		t.Fatalf("ACCESS_HISTORY %q", access)
	}
	for _, want := range []string{`"RETAIL.PUBLIC.NAMES"`, `"RETAIL.PUBLIC.PEOPLE"`} {
		if !strings.Contains(access[0][0], want) {
			t.Errorf("direct objects %s lack %s", access[0][0], want)
		}
	}
	if base := access[0][1]; strings.Contains(base, "NAMES") || !strings.Contains(base, "PEOPLE") || !strings.Contains(base, `"columnName": "SSN"`) {
		t.Errorf("base objects %s", base)
	}
	if got := value(t, db, "SELECT OBJECTS_MODIFIED FROM SNOWFLAKE.ACCOUNT_USAGE.ACCESS_HISTORY WHERE QUERY_ID IN (SELECT QUERY_ID FROM SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY WHERE QUERY_TYPE = 'INSERT')"); !strings.Contains(got, "RETAIL.PUBLIC.PEOPLE") {
		t.Errorf("INSERT modified %s", got)
	}
	logins := rowsOf(t, db, "SELECT USER_NAME, CLIENT_IP, IS_SUCCESS FROM TABLE(INFORMATION_SCHEMA.LOGIN_HISTORY())")
	if len(logins) == 0 || !slices.Equal(logins[0], []string{"AGENT", "127.0.0.1", "YES"}) {
		t.Errorf("logins %q", logins)
	}
	other := connect(t, e, func(c *sf.Config) { c.User = "NOBODY" })
	if other.PingContext(t.Context()) == nil {
		t.Fatal("NOBODY logged in")
	}
	if got := rowsOf(t, db, "SELECT IS_SUCCESS, ERROR_CODE FROM SNOWFLAKE.ACCOUNT_USAGE.LOGIN_HISTORY WHERE USER_NAME = 'NOBODY'"); len(got) != 1 || !slices.Equal(got[0], []string{"NO", "390144"}) {
		t.Errorf("the login of nobody is %q", got)
	}
}

// What ran before a process was killed is known afterwards; what was running
// then is known as something that nobody knows the end of.
func TestHistoryOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := past{ID: "01-done", Text: "DROP TABLE a", Type: "DROP_TABLE", Tag: "t1", Status: "RUNNING", Start: time.Now()}
	cut := past{ID: "01-cut", Text: "DROP TABLE b", Type: "DROP_TABLE", Tag: "t2", Status: "RUNNING", Start: time.Now()}
	for _, p := range []past{done, cut} {
		if err := e.history.note(journalLine{Past: &p}); err != nil {
			t.Fatal(err)
		}
	}
	done.Status, done.End = "SUCCESS", time.Now()
	if err := e.history.note(journalLine{Past: &done}); err != nil {
		t.Fatal(err)
	}
	e.history.pending = nil // as if it were killed
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if e, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := e.AddUser("AGENT", &testKey().PublicKey, "ANALYST"); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if err := e.mergeHistory(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		rows, err := e.db.QueryContext(t.Context(), `SELECT query_id || ' ' || status FROM "_catalog".statements WHERE query_tag IN ('t1', 't2') ORDER BY query_id`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			got = append(got, s)
		}
		rows.Close()
		if want := []string{"01-cut INCIDENT", "01-done SUCCESS"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestObjectOfEngine(t *testing.T) {
	for text, want := range map[string]string{
		`memory."RETAIL.PUBLIC".T`:          "RETAIL.PUBLIC.T",
		`"a.b"."R.P%2EQ%25"."x""y.z"`:       `R.P.Q%.x"y.z`,
		`memory."_catalog".tables`:          "",
		`memory."RETAIL.PUBLIC"`:            "",
		`memory."RETAIL.PUBLIC`:             "",
		``:                                  "",
		`memory."RETAIL.PUBLIC"."T"."more"`: "",
	} {
		o, ok := objectOfEngine(text)
		if ok != (want != "") || ok && o.String() != want {
			t.Errorf("%s is %s, %t, want %s", text, o, ok, want)
		}
	}
}
