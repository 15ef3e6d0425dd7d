//go:build cgo

package emulator

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"
)

// as connects as a user whom a script has made.
func as(t *testing.T, e *Emulator, user, role string) *sql.DB {
	t.Helper()
	return connect(t, e, func(c *sf.Config) { c.User, c.Role, c.Warehouse = user, role, "WH" })
}

// testPublicKey is testKey as CREATE USER wants it.
func testPublicKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// restricted is an account with a user who may read two things and write one.
func restricted(t *testing.T) (*Emulator, *sql.DB) {
	t.Helper()
	e, _ := open(t)
	err := e.Exec(context.Background(), `
		CREATE TABLE people (id NUMBER, name VARCHAR); INSERT INTO people VALUES (1, 'Ada');
		CREATE TABLE secrets (id NUMBER); CREATE TABLE notes (t VARCHAR);
		CREATE VIEW names AS SELECT name FROM people, secrets WHERE secrets.id IS NULL OR TRUE;
		CREATE DATABASE other; CREATE TABLE other.public.t (a NUMBER);
		CREATE WAREHOUSE wh; CREATE ROLE ro; CREATE ROLE below; GRANT ROLE below TO ROLE ro;
		CREATE USER u TYPE = SERVICE_AGENT RSA_PUBLIC_KEY = '`+testPublicKey(t)+`' DEFAULT_ROLE = ro DEFAULT_SECONDARY_ROLES = ();
		GRANT ROLE ro TO USER u;
		GRANT USAGE ON WAREHOUSE wh TO ROLE ro;
		GRANT USAGE ON DATABASE retail TO ROLE ro; GRANT USAGE ON SCHEMA retail.public TO ROLE below;
		GRANT SELECT ON TABLE retail.public.people TO ROLE below; GRANT SELECT ON VIEW retail.public.names TO ROLE ro;
		GRANT INSERT ON TABLE retail.public.notes TO ROLE ro;
		GRANT SELECT ON FUTURE TABLES IN SCHEMA retail.public TO ROLE ro;
		CREATE TABLE retail.public.later (a NUMBER);`)
	if err != nil {
		t.Fatal(err)
	}
	return e, as(t, e, "U", "RO")
}

func TestNotAuthorized(t *testing.T) {
	_, db := restricted(t)
	mustExec(t, db, "SELECT * FROM people", "SELECT * FROM later", "INSERT INTO notes VALUES ('x')", "SELECT * FROM names", "EXPLAIN USING JSON SELECT * FROM people", "DESC TABLE people")
	for text, code := range map[string]int{
		"SELECT * FROM secrets":                               2003,
		"SELECT * FROM other.public.t":                        2003,
		"SELECT p.id FROM people p JOIN secrets s ON 1=1":     2003,
		"WITH x AS (SELECT * FROM secrets) SELECT 1 FROM x":   2003,
		"EXPLAIN SELECT * FROM secrets":                       2003,
		"DESC TABLE secrets":                                  2003,
		"SELECT * FROM notes":                                 3001,
		"INSERT INTO people VALUES (2, 'B')":                  3001,
		"UPDATE people SET id = 2":                            3001,
		"DELETE FROM people":                                  3001,
		"TRUNCATE TABLE people":                               3001,
		"DROP TABLE people":                                   3001,
		"ALTER TABLE people ADD COLUMN x NUMBER":              3001,
		"DROP TABLE secrets":                                  2003,
		"CREATE TABLE mine (a NUMBER)":                        3001,
		"CREATE OR REPLACE TABLE people (a NUMBER)":           3001,
		"CREATE TABLE c CLONE secrets":                        3001,
		"CREATE DATABASE d":                                   3001,
		"CREATE ROLE r":                                       3001,
		"GRANT SELECT ON TABLE secrets TO ROLE ro":            3001,
		"ALTER USER u SET DISABLED = TRUE":                    3001,
		"USE ROLE accountadmin":                               3013,
		"SELECT * FROM snowflake.account_usage.query_history": 2003,
		"SHOW GRANTS TO ROLE accountadmin":                    2003,
		"DESCRIBE USER somebody":                              2003,
	} {
		if failed := failure(t, db, text); failed.Number != code {
			t.Errorf("%s: %v, want %06d", text, failed, code)
		}
	}
	if got := rowsOf(t, db, "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'PUBLIC' ORDER BY 1"); !slices.Equal(slices.Concat(got...), []string{"LATER", "NAMES", "NOTES", "PEOPLE"}) {
		t.Errorf("INFORMATION_SCHEMA shows %q", got)
	}
	if got := rowsOf(t, db, "SELECT DISTINCT TABLE_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = 'PUBLIC' ORDER BY 1"); !slices.Equal(slices.Concat(got...), []string{"LATER", "NAMES", "NOTES", "PEOPLE"}) {
		t.Errorf("INFORMATION_SCHEMA has columns of %q", got)
	}
	shown := rowsOf(t, db, "SHOW TABLES")
	if len(shown) != 3 || strings.Contains(strings.Join(slices.Concat(shown...), " "), "SECRETS") {
		t.Errorf("SHOW TABLES %q", shown)
	}
	if got := rowsOf(t, db, "SHOW GRANTS TO ROLE ro"); len(got) != 6 {
		t.Errorf("%d grants: %q", len(got), got)
	}
}

func TestGrantsChange(t *testing.T) {
	e, db := restricted(t)
	failure(t, db, "SELECT * FROM secrets")
	exec := func(script string) {
		t.Helper()
		if err := e.Exec(context.Background(), script); err != nil {
			t.Fatal(err)
		}
	}
	exec("GRANT ALL PRIVILEGES ON TABLE secrets TO ROLE below")
	mustExec(t, db, "SELECT * FROM secrets", "INSERT INTO secrets VALUES (1)")
	exec("REVOKE ALL PRIVILEGES ON TABLE secrets FROM ROLE below")
	if failed := failure(t, db, "SELECT * FROM secrets"); failed.Number != 2003 {
		t.Errorf("after REVOKE: %v", failed)
	}
	exec("GRANT OWNERSHIP ON TABLE secrets TO ROLE ro")
	mustExec(t, db, "DROP TABLE secrets", "UNDROP TABLE secrets", "SELECT * FROM secrets")
	exec("GRANT DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER TO ROLE ro")
	mustExec(t, db, "SELECT * FROM snowflake.account_usage.query_history", "SELECT * FROM snowflake.account_usage.tag_references")
	failure(t, db, "SELECT * FROM snowflake.account_usage.login_history")
	exec("REVOKE ROLE ro FROM USER u")
	if failed := failure(t, db, "USE ROLE ro"); failed.Number != 3013 {
		t.Errorf("USE ROLE after it was revoked: %v", failed)
	}
}

func TestWhoGetsIn(t *testing.T) {
	e, _ := restricted(t)
	for _, c := range []struct {
		script string
		code   int
	}{
		{"", 0},
		{"ALTER USER u SET DISABLED = TRUE", 390101},
		{"ALTER USER u SET DISABLED = FALSE, MINS_TO_UNLOCK = 10", 390102},
		{"ALTER USER u SET MINS_TO_UNLOCK = 0", 0},
		{"CREATE NETWORK POLICY np ALLOWED_IP_LIST = ('203.0.113.10'); ALTER USER u SET NETWORK_POLICY = np", 390422},
		{"ALTER NETWORK POLICY np SET ALLOWED_IP_LIST = ('127.0.0.0/8')", 0},
		{"ALTER NETWORK POLICY np SET BLOCKED_IP_LIST = ('127.0.0.1')", 390422},
		{"CREATE NETWORK RULE nr MODE = INGRESS TYPE = IPV4 VALUE_LIST = ('127.0.0.1/32'); CREATE OR REPLACE NETWORK POLICY np ALLOWED_NETWORK_RULE_LIST = ('nr')", 0},
		{"CREATE OR REPLACE NETWORK RULE nr MODE = INGRESS TYPE = IPV4 VALUE_LIST = ('10.0.0.0/8')", 390422},
		{"ALTER USER u UNSET NETWORK_POLICY", 0},
		{"DROP ROLE ro", 390189},
	} {
		if err := e.Exec(context.Background(), c.script); err != nil {
			t.Fatal(err)
		}
		err := as(t, e, "U", "RO").PingContext(t.Context())
		var failed *sf.SnowflakeError
		if c.code == 0 && err != nil || c.code != 0 && (!errors.As(err, &failed) || failed.Number != c.code) {
			t.Errorf("after %q: %v, want %d", c.script, err, c.code)
		}
	}
}

func TestSessionPolicy(t *testing.T) {
	e, db := restricted(t)
	if got := value(t, db, "SELECT SYS_CONTEXT('SNOWFLAKE$CURRENT', 'IS_AGENT_ACTIVATED')"); got != "TRUE" {
		t.Errorf("agent activated: %s", got)
	}
	if err := e.Exec(context.Background(), `CREATE SESSION POLICY ro AGENT_RESTRICTED_SESSION_SCOPE = 'SNOWFLAKE$DATA_READ' ALLOWED_SECONDARY_ROLES = (); ALTER USER u SET SESSION POLICY ro`); err != nil {
		t.Fatal(err)
	}
	db = as(t, e, "U", "RO")
	if got := value(t, db, "SELECT SYS_CONTEXT('SNOWFLAKE$SESSION', 'ACTIVE_RESTRICTED_SESSION_SCOPES')"); got != readScope {
		t.Errorf("scope %s", got)
	}
	mustExec(t, db, "SELECT * FROM people")
	if failed := failure(t, db, "INSERT INTO notes VALUES ('x')"); failed.Number != 3001 {
		t.Errorf("a write in a session that reads: %v", failed)
	}
}

func TestTokens(t *testing.T) {
	e, _ := open(t)
	for authenticator, name := range map[sf.AuthType]string{sf.AuthTypePat: "PROGRAMMATIC_ACCESS_TOKEN", sf.AuthTypeOAuth: "OAUTH"} {
		if err := errors.Join(e.AddToken("agent", name, "good "+name, time.Now().Add(time.Hour)), e.AddToken("agent", name, "old", time.Now().Add(-time.Second))); err != nil {
			t.Fatal(err)
		}
		for token, works := range map[string]bool{"good " + name: true, "old": false, "unknown": false} {
			db := connect(t, e, func(c *sf.Config) { c.Authenticator, c.Token, c.PrivateKey = authenticator, token, nil })
			if err := db.PingContext(t.Context()); (err == nil) != works {
				t.Errorf("%s with %q: %v", name, token, err)
			}
		}
	}
	if err := e.AddToken("nobody", "OAUTH", "x", time.Now()); err == nil {
		t.Error("a token for nobody")
	}
}

func TestSuspendedWarehouse(t *testing.T) {
	e, db := restricted(t)
	if err := e.Exec(context.Background(), "ALTER WAREHOUSE wh SUSPEND"); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "SELECT * FROM people") // it resumes
	if err := e.Exec(context.Background(), "ALTER WAREHOUSE wh SET AUTO_RESUME = FALSE"); err != nil {
		t.Fatal(err)
	}
	if failed := failure(t, db, "SELECT * FROM people"); failed.Number != 606 {
		t.Errorf("%v", failed)
	}
}

func TestUndrop(t *testing.T) {
	e, db := open(t)
	mustExec(t, db, "CREATE TABLE t (id NUMBER(12,2) NOT NULL COMMENT 'which', n VARCHAR(7)) COMMENT = 'one'", "INSERT INTO t VALUES (1, 'a')", "DROP TABLE t")
	failure(t, db, "SELECT * FROM t")
	mustExec(t, db, "UNDROP TABLE t")
	if got := rowsOf(t, db, "SELECT * FROM t"); len(got) != 1 || got[0][1] != "a" {
		t.Errorf("after UNDROP: %q", got)
	}
	if got := rowsOf(t, db, "DESC TABLE t"); len(got) != 2 || got[0][1] != "NUMBER(12,2)" || got[0][9] != "which" {
		t.Errorf("after UNDROP: %q", got)
	}
	if failed := failure(t, db, "UNDROP TABLE t"); failed.Number != 2002 {
		t.Errorf("UNDROP of what is there: %v", failed)
	}
	// The newest first, as CREATE OR REPLACE leaves them.
	mustExec(t, db, "CREATE OR REPLACE TABLE t (second NUMBER)", "CREATE OR REPLACE TABLE t (third NUMBER)", "DROP TABLE t", "UNDROP TABLE t", "ALTER TABLE t RENAME TO third",
		"UNDROP TABLE t", "ALTER TABLE t RENAME TO second", "UNDROP TABLE t")
	mustExec(t, db, "SELECT second FROM second", "SELECT third FROM third")
	if got := value(t, db, "SELECT n FROM t"); got != "a" {
		t.Errorf("the first is %q", got)
	}
	if failed := failure(t, db, "UNDROP TABLE never"); failed.Number != 2003 {
		t.Errorf("%v", failed)
	}
	mustExec(t, db, "CREATE TABLE gone (a NUMBER) DATA_RETENTION_TIME_IN_DAYS = 0", "DROP TABLE gone")
	failure(t, db, "UNDROP TABLE gone")
	mustExec(t, db, "CREATE TABLE kept (a NUMBER)", "ALTER TABLE kept SET DATA_RETENTION_TIME_IN_DAYS = 0")
	if got := rowsOf(t, db, "SHOW PARAMETERS LIKE 'data_retention%' IN TABLE kept"); len(got) != 1 || got[0][1] != "0" {
		t.Errorf("retention %q", got)
	}
	mustExec(t, db, "CREATE SCHEMA s", "CREATE TABLE s.t (a NUMBER)", "DROP TABLE s.t", "DROP SCHEMA s", "CREATE SCHEMA s")
	failure(t, db, "UNDROP TABLE s.t")
	// Retention ends.
	mustExec(t, db, "DROP TABLE retail.public.t")
	s, err := e.newSession(t.Context(), &user{name: systemUser, role: systemRole})
	if err != nil {
		t.Fatal(err)
	}
	defer e.endSession(s)
	if _, err := s.conn.ExecContext(t.Context(), `UPDATE "_catalog".dropped_tables SET dropped_on = now() - INTERVAL 2 days`); err != nil {
		t.Fatal(err)
	}
	failure(t, db, "UNDROP TABLE retail.public.t")
	if err := s.purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := texts(t.Context(), s.conn, `SELECT table_name FROM duckdb_tables() WHERE table_name LIKE chr(127) || '%'`); err != nil || len(left) != 0 {
		t.Errorf("after the retention: %q, %v", left, err)
	}
}

func TestExplain(t *testing.T) {
	_, db := open(t)
	mustExec(t, db, "CREATE TABLE a (id NUMBER, x VARCHAR)", "CREATE TABLE b (id NUMBER)", "INSERT INTO a SELECT SEQ4(), 'x' FROM TABLE(GENERATOR(ROWCOUNT => 250000))",
		"CREATE VIEW plain AS SELECT id FROM a", "CREATE SECURE VIEW hidden AS SELECT id FROM b", "CREATE VIEW outer_one AS SELECT * FROM hidden JOIN plain USING (id)")
	for text, want := range map[string][]string{
		"SELECT * FROM a":                              {"RETAIL.PUBLIC.A"},
		"SELECT * FROM plain WHERE id = 3":             {"RETAIL.PUBLIC.A"},
		"SELECT * FROM hidden":                         {"RETAIL.PUBLIC.HIDDEN"},
		"SELECT * FROM outer_one":                      {"RETAIL.PUBLIC.A", "RETAIL.PUBLIC.HIDDEN"},
		"SELECT 1":                                     nil,
		"DELETE FROM b WHERE id IN (SELECT id FROM a)": {"RETAIL.PUBLIC.A", "RETAIL.PUBLIC.B"},
		"INSERT INTO b SELECT id FROM plain":           {"RETAIL.PUBLIC.A", "RETAIL.PUBLIC.B"},
	} {
		got := value(t, db, "EXPLAIN USING JSON "+text)
		for _, name := range []string{"RETAIL.PUBLIC.A", "RETAIL.PUBLIC.B", "RETAIL.PUBLIC.HIDDEN", "RETAIL.PUBLIC.PLAIN"} {
			if strings.Contains(got, `"`+name+`"`) != slices.Contains(want, name) {
				t.Errorf("%s: %s, want %q", text, got, want)
			}
		}
	}
	if got := value(t, db, "EXPLAIN USING JSON SELECT * FROM a"); !strings.Contains(got, `"partitionsAssigned":3`) || !strings.Contains(got, `"bytesAssigned":8000000`) {
		t.Errorf("%s", got)
	}
	mustExec(t, db, "EXPLAIN SELECT * FROM a", "EXPLAIN USING TEXT SELECT * FROM a", "EXPLAIN USING TABULAR SELECT * FROM a")
	for text, code := range map[string]int{"EXPLAIN SELECT nothing FROM a": 904, "EXPLAIN SELECT * FROM nowhere": 2003, "EXPLAIN SELECT * FROM INFORMATION_SCHEMA.TABLES": 2139} {
		if failed := failure(t, db, text); failed.Number != code {
			t.Errorf("%s: %v", text, failed)
		}
	}
}
