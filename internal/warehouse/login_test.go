//go:build cgo

package warehouse

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/emulator"
)

// declared makes an embedded account by a script in which @KEY stands for the
// public half of the test's key.
func declared(t testing.TB, script string) (*emulator.Emulator, Config) {
	t.Helper()
	e, err := emulator.Open("", emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	der, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Exec(context.Background(), strings.ReplaceAll(script, "@KEY", "'"+base64.StdEncoding.EncodeToString(der)+"'")); err != nil {
		t.Fatal(err)
	}
	addr, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return e, at(t, addr)
}

const gateAccount = `
	CREATE WAREHOUSE compute; CREATE ROLE analyst; CREATE ROLE writer;
	GRANT USAGE ON WAREHOUSE compute TO ROLE analyst; GRANT USAGE ON DATABASE retail TO ROLE analyst; GRANT USAGE ON SCHEMA retail.public TO ROLE analyst;
	GRANT USAGE ON WAREHOUSE compute TO ROLE writer; GRANT USAGE ON DATABASE retail TO ROLE writer; GRANT USAGE ON SCHEMA retail.public TO ROLE writer;
	CREATE TABLE t (a NUMBER); GRANT SELECT ON TABLE t TO ROLE analyst; GRANT INSERT ON TABLE t TO ROLE writer;
	CREATE USER gate TYPE = SERVICE_AGENT RSA_PUBLIC_KEY = @KEY DEFAULT_ROLE = analyst DEFAULT_SECONDARY_ROLES = ();
	GRANT ROLE analyst TO USER gate; GRANT ROLE writer TO USER gate;
	CREATE USER person RSA_PUBLIC_KEY = @KEY DEFAULT_ROLE = analyst DEFAULT_SECONDARY_ROLES = (); GRANT ROLE analyst TO USER person;
	CREATE USER both RSA_PUBLIC_KEY = @KEY DEFAULT_ROLE = analyst; GRANT ROLE analyst TO USER both;
	CREATE SESSION POLICY reads AGENT_RESTRICTED_SESSION_SCOPE = 'SNOWFLAKE$DATA_READ';
	CREATE USER reader TYPE = SERVICE_AGENT RSA_PUBLIC_KEY = @KEY DEFAULT_ROLE = analyst DEFAULT_SECONDARY_ROLES = ();
	ALTER USER reader SET SESSION POLICY reads; GRANT ROLE analyst TO USER reader;`

// opens is the error of logging in.
func opens(t testing.TB, c Config) error {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(w.Try(t.Context()), w.Close())
}

// A session that is not what the configuration says is no session.
func TestSessionsAreProbed(t *testing.T) {
	_, c := declared(t, gateAccount)
	for name, test := range map[string]struct {
		change func(*Login)
		wrong  string // in the error; empty if it works
	}{
		"as it should be":     {func(*Login) {}, ""},
		"an agent":            {func(l *Login) { l.Agent = true }, ""},
		"no agent":            {func(l *Login) { l.User, l.Agent = "PERSON", true }, "for an agent"},
		"no matter":           {func(l *Login) { l.User = "person" }, ""},
		"all roles at once":   {func(l *Login) { l.User = "BOTH" }, "secondary roles"},
		"reads only":          {func(l *Login) { l.User, l.SessionScope = "READER", "SNOWFLAKE$DATA_READ" }, ""},
		"does not read only":  {func(l *Login) { l.SessionScope = "SNOWFLAKE$DATA_READ" }, "restricted session scope"},
		"a role not its own":  {func(l *Login) { l.Role = "ACCOUNTADMIN" }, "390189"},
		"the default role":    {func(l *Login) { l.Role = "" }, ""},
		"no such schema":      {func(l *Login) { l.Schema = "NOWHERE" }, "390201"},
		"somebody else's key": {func(l *Login) { l.User = "NOBODY" }, "390144"},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			test.change(&c.Login)
			err := opens(t, c)
			if (test.wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Fatalf("%v, want %q", err, test.wrong)
			}
			if err != nil && failure(t, err).Class != Auth {
				t.Errorf("class %s", failure(t, err).Class)
			}
		})
	}
	t.Run("unrecorded", func(t *testing.T) {
		c, full := c, errors.New("the disk is full")
		c.Record = func(context.Context, string) (audit.Receipt, error) { return audit.Receipt{}, full }
		if opens(t, c) == nil {
			t.Error("a session began without a record")
		}
	})
}

// The account may answer the probe as it likes.
func TestProbeAnswers(t *testing.T) {
	for name, change := range map[string]func(data map[string]any){
		"another user":      func(d map[string]any) { d["rowset"].([][]string)[0][0] = "ADMIN" },
		"another role":      func(d map[string]any) { d["rowset"].([][]string)[0][1] = "ACCOUNTADMIN" },
		"another warehouse": func(d map[string]any) { d["rowset"].([][]string)[0][2] = "" },
		"another database":  func(d map[string]any) { d["rowset"].([][]string)[0][3] = "OTHER" },
		"another schema":    func(d map[string]any) { d["rowset"].([][]string)[0][4] = "OTHER" },
		"secondary roles":   func(d map[string]any) { d["rowset"].([][]string)[0][5] = `{"roles":"A","value":"ALL"}` },
		"no secondary JSON": func(d map[string]any) { d["rowset"].([][]string)[0][5] = "none" },
		"no row":            func(d map[string]any) { d["rowset"], d["total"] = [][]string{}, 0 },
		"two rows":          func(d map[string]any) { r := d["rowset"].([][]string); d["rowset"], d["total"] = append(r, r[0]), 2 },
		"fewer columns": func(d map[string]any) {
			d["rowset"].([][]string)[0] = d["rowset"].([][]string)[0][:3]
			d["rowtype"] = d["rowtype"].([]any)[:3]
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			a.change = change
			if err := opens(t, at(t, a.addr())); err == nil {
				t.Error("it was taken")
			} else if strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the error tells the key")
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	e, c := declared(t, gateAccount)
	for authentication, name := range map[Authentication]string{AccessToken: "PROGRAMMATIC_ACCESS_TOKEN", OAuth: "OAUTH", Workload: "WORKLOAD_IDENTITY"} {
		good, bad := "token-of-"+name, "SECRET-WRONG"
		if authentication == Workload { // the driver reads it as a JWT
			claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://idp.example.com","sub":"gate"}`))
			good, bad = "eyJhbGciOiJSUzI1NiJ9."+claims+".c2ln", "eyJhbGciOiJSUzI1NiJ9."+claims+".YmFk"
		}
		if err := e.AddToken("GATE", name, good, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for secret, works := range map[string]bool{good: true, good + "\n": true, bad: false, " \n": false} {
			c := c
			c.Authentication, c.PrivateKey = authentication, nil
			c.Secret = func(context.Context) (string, error) { return secret, nil }
			if authentication == Workload {
				c.Provider = "OIDC"
			}
			var err error
			said := stderrOf(t, func() { err = opens(t, c) })
			if (err == nil) != works {
				t.Errorf("%s with %q: %v", name, secret, err)
			}
			if text := strings.TrimSpace(secret); text != "" && (strings.Contains(said, text) || err != nil && strings.Contains(err.Error(), text)) {
				t.Errorf("%s: the secret is told: %v, %s", name, err, said)
			}
			if err != nil && failure(t, err).Class != Auth {
				t.Errorf("%s: class %s", name, failure(t, err).Class)
			}
		}
	}
}

// Statements run in the session of the login that they ask for.
func TestLogins(t *testing.T) {
	_, c := declared(t, gateAccount)
	writer := c.Login
	writer.Role = "WRITER"
	c.Others = map[string]Login{"writers": {User: "GATE", PrivateKey: testKey(), Role: "WRITER"}}
	w, log := connect(t, c), openLog(t)
	for login, want := range map[string][]string{"": {"GATE", "ANALYST"}, "writers": {"GATE", "WRITER"}} {
		text := "SELECT CURRENT_USER(), CURRENT_ROLE() AS R"
		rows, err := w.Run(t.Context(), record(t, log, text), Statement{SQL: text, Login: login})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for rows.Next() {
			for _, v := range rows.Values() {
				got = append(got, v.Text)
			}
		}
		rows.Close()
		if !slices.Equal(got, want) {
			t.Errorf("the login %q is %q, want %q", login, got, want)
		}
	}
	text := "INSERT INTO T VALUES (1)"
	_, err := w.Run(t.Context(), record(t, log, text), Statement{SQL: text})
	if failed := failure(t, err); failed.Class != Permission {
		t.Errorf("a reader writes: %v", err)
	}
	if _, err := w.Run(t.Context(), record(t, log, text), Statement{SQL: text, Login: "nobody"}); err == nil {
		t.Error("a login that there is not ran something")
	}
}
