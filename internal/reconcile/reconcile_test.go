//go:build cgo

package reconcile

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/internal/warehouse"
)

// A world is an account, the gateway's way into it, and the gateway's log.
type world struct {
	t         *testing.T
	log       *audit.Log
	file      string
	warehouse *warehouse.Warehouse
	addr      string
	key       *rsa.PrivateKey
	began     time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "audit.db"), began: time.Now().Add(-time.Second)}
	e, err := emulator.Open("", emulator.Options{})
	w.must(err)
	t.Cleanup(func() { w.must(e.Close()) })
	w.key, err = rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	w.must(e.AddUser("GATE", &w.key.PublicKey, "GATE_ROLE"))
	w.must(e.Exec(context.Background(), `CREATE TABLE people (id NUMBER, name VARCHAR, ssn VARCHAR); INSERT INTO people VALUES (1, 'Ada', '078-05-1120');
		CREATE TABLE secrets (id NUMBER); CREATE VIEW names AS SELECT name FROM people`))
	w.addr, err = e.Start("127.0.0.1:0")
	w.must(err)
	w.log, err = audit.Open(w.file, audit.Options{})
	w.must(err)
	t.Cleanup(func() { w.must(w.log.Close()) })
	host, port := w.place()
	w.warehouse, err = warehouse.Open(warehouse.Config{
		Account: "EMULATOR", Protocol: "http", Host: host, Port: port, Record: w.log.RecordOwn,
		Login: warehouse.Login{User: "GATE", PrivateKey: w.key, Role: "GATE_ROLE", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC"},
	})
	w.must(err)
	t.Cleanup(func() { w.must(w.warehouse.Close()) })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) place() (string, int) {
	host, text, err := net.SplitHostPort(w.addr)
	w.must(err)
	port, err := strconv.Atoi(text)
	w.must(err)
	return host, port
}

// decide records a decision that lets a text run, on people alone.
func (w *world) decide(text string, columns ...string) audit.Receipt {
	w.t.Helper()
	r, err := w.log.Append(w.t.Context(), audit.Event{
		Kind: audit.KindDecision, Verdict: "allow", Runs: text, SQL: text,
		Accesses: []audit.Access{{Class: "read", Object: "RETAIL.PUBLIC.PEOPLE", Columns: columns}},
	})
	w.must(err)
	return r
}

// gated runs a statement as the gate does.
func (w *world) gated(text string, columns ...string) {
	w.t.Helper()
	r := w.decide(text, columns...)
	of := r.Index()
	outcome := audit.Event{Kind: audit.KindOutcome, Of: &of, Status: "completed"}
	rows, err := w.warehouse.Run(w.t.Context(), r, warehouse.Statement{SQL: text})
	if err != nil {
		outcome.Status, outcome.Error = "failed", "object 002003"
	} else {
		outcome.QueryID = rows.QueryID()
		w.must(rows.Close())
	}
	_, err = w.log.Append(w.t.Context(), outcome)
	w.must(err)
}

// past sends a statement past the gate, as the gate's user, and returns its id.
func (w *world) past(text, tag string, change func(*sf.Config)) string {
	w.t.Helper()
	host, port := w.place()
	c := sf.Config{
		Account: "EMULATOR", User: "GATE", Authenticator: sf.AuthTypeJwt, PrivateKey: w.key, Protocol: "http", Host: host, Port: port,
		Role: "GATE_ROLE", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC", DisableTelemetry: true, LoginTimeout: 5 * time.Second, DisableOCSPChecks: true,
	}
	if change != nil {
		change(&c)
	}
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, c))
	defer db.Close()
	ids := make(chan string, 1)
	_, err := db.ExecContext(sf.WithQueryTag(sf.WithQueryIDChan(w.t.Context(), ids), tag), text)
	select {
	case id := <-ids:
		return id
	default:
		w.t.Logf("%q: %v", text, err)
		return ""
	}
}

// compare reads both sides.
func (w *world) compare() Report {
	w.t.Helper()
	history, err := w.warehouse.History(w.t.Context(), "", w.began, []string{"GATE"}, func(text string) (audit.Receipt, error) { return w.log.RecordOwn(w.t.Context(), text) })
	w.must(err)
	reader, err := audit.OpenReader(w.file)
	w.must(err)
	defer reader.Close()
	in := Input{
		Origin: reader.Origin(), Account: history, Roles: map[string][]string{"GATE": {"GATE_ROLE"}},
		Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Since: w.began, Now: time.Now().Add(time.Second),
	}
	for e, err := range reader.Entries(w.t.Context(), audit.Filter{}) {
		w.must(err)
		in.Entries = append(in.Entries, e)
	}
	return Compare(in)
}

// What the gate itself does is no finding.
func TestNothingFound(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.gated("SELECT ID, NAME FROM RETAIL.PUBLIC.PEOPLE", "ID", "NAME")
		w.gated("SELECT NOTHING FROM RETAIL.PUBLIC.PEOPLE", "ID")
		w.gated("SELECT * FROM RETAIL.PUBLIC.PEOPLE WHERE SSN = 'x'", "ID", "NAME", "SSN")
	}
	_, err := w.log.Append(t.Context(), audit.Event{Kind: audit.KindDecision, Verdict: "deny", SQL: "DROP TABLE people"})
	w.must(err)
	r := w.compare()
	if len(r.Findings) != 0 || len(r.Notes) != 0 {
		t.Errorf("%+v", r)
	}
	if r.Records < 16 || r.Statements < 16 || r.Logins == 0 {
		t.Errorf("%d records, %d statements, %d logins were compared", r.Records, r.Statements, r.Logins)
	}
}

// Each of these is found once, and nothing else is.
func TestPlanted(t *testing.T) {
	w := newWorld(t)
	const people, text = "SELECT ID FROM RETAIL.PUBLIC.PEOPLE", "SELECT NAME FROM RETAIL.PUBLIC.PEOPLE"
	w.gated(people, "ID")
	outcome := func(of audit.Receipt, status, problem, id string) {
		t.Helper()
		index := of.Index()
		_, err := w.log.Append(t.Context(), audit.Event{Kind: audit.KindOutcome, Of: &index, Status: status, Error: problem, QueryID: id})
		w.must(err)
	}
	var want []string
	planted := func(kind Kind, id string) { want = append(want, string(kind)+" "+id) }

	planted(Bypass, w.past("SELECT 'untagged'", "", nil))
	planted(Bypass, w.past("SELECT 'tagged by hand'", `{"log":"x"}`, nil))
	planted(ForeignTag, w.past("SELECT 'another log'", audit.Tag{Origin: "querywarden/other", Index: 1, Leaf: "bGVhZg=="}.String(), nil))
	origin := w.log.Origin()
	planted(UnknownEntry, w.past("SELECT 'beyond the end'", audit.Tag{Origin: origin, Index: 1 << 40, Leaf: "bGVhZg=="}.String(), nil))
	planted(UnknownEntry, w.past("SELECT 'another hash'", audit.Tag{Origin: origin, Index: 1, Leaf: "bGVhZg=="}.String(), nil))
	denied, err := w.log.Append(t.Context(), audit.Event{Kind: audit.KindDecision, Verdict: "deny", SQL: "DROP TABLE people"})
	w.must(err)
	planted(NotAuthorized, w.past("DROP TABLE secrets", denied.Tag(), nil))
	w.past("UNDROP TABLE secrets", "", nil)
	planted(Bypass, "*")
	dry, err := w.log.Append(t.Context(), audit.Event{Kind: audit.KindDecision, Verdict: "allow", DryRun: true, Runs: text})
	w.must(err)
	planted(NotAuthorized, w.past(text, dry.Tag(), nil))

	other := w.decide(text, "ID", "NAME", "SSN")
	id := w.past("SELECT SSN FROM RETAIL.PUBLIC.PEOPLE", other.Tag(), nil)
	outcome(other, "completed", "", id)
	planted(TextDiffers, id)

	twice := w.decide(text, "NAME")
	outcome(twice, "completed", "", w.past(text, twice.Tag(), nil))
	planted(Repeated, w.past(text, twice.Tag(), nil))

	role := w.decide(text, "NAME")
	id = w.past(text, role.Tag(), func(c *sf.Config) { c.Role = "PUBLIC" })
	outcome(role, "completed", "", id)
	planted(OtherUser, id)

	wrongID := w.decide(text, "NAME")
	id = w.past(text, wrongID.Tag(), nil)
	outcome(wrongID, "completed", "", "01-another-id")
	planted(OtherQuery, id)

	const bad = "SELECT NAME::NUMBER FROM RETAIL.PUBLIC.PEOPLE"
	lied := w.decide(bad, "NAME")
	id = w.past(bad, lied.Tag(), nil)
	outcome(lied, "completed", "", id)
	planted(OtherOutcome, id)
	hid := w.decide(text, "NAME")
	id = w.past(text, hid.Tag(), nil)
	outcome(hid, "failed", "object 002003", id)
	planted(OtherOutcome, id)

	silent := w.decide(text, "NAME")
	planted(NoOutcome, w.past(text, silent.Tag(), nil))

	invented := w.decide(text, "NAME")
	outcome(invented, "completed", "", "01-invented")
	planted(NeverSeen, "01-invented")

	const both = "SELECT P.ID FROM RETAIL.PUBLIC.PEOPLE P, RETAIL.PUBLIC.SECRETS S"
	wide := w.decide(both, "ID")
	id = w.past(both, wide.Tag(), nil)
	outcome(wide, "completed", "", id)
	planted(OtherObject, id)
	const through = "SELECT NAME FROM RETAIL.PUBLIC.NAMES"
	view := w.decide(through, "NAME")
	id = w.past(through, view.Tag(), nil)
	outcome(view, "completed", "", id)
	planted(OtherObject, id)
	columns := w.decide("SELECT NAME, SSN FROM RETAIL.PUBLIC.PEOPLE", "NAME")
	id = w.past("SELECT NAME, SSN FROM RETAIL.PUBLIC.PEOPLE", columns.Tag(), nil)
	outcome(columns, "completed", "", id)
	planted(OtherColumn, id)

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	w.past("SELECT 1", "", func(c *sf.Config) { c.PrivateKey = stranger })
	planted(RefusedLogin, "")
	elsewhere := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}
	defer elsewhere.CloseIdleConnections()
	planted(Bypass, w.past("SELECT 'from elsewhere'", "", func(c *sf.Config) { c.Transporter = elsewhere }))
	planted(OtherAddress, "")
	w.gated(people, "ID")

	r := w.compare()
	var got []string
	for _, f := range r.Findings {
		id := f.QueryID
		if f.Text == "UNDROP TABLE secrets" {
			id = "*"
		}
		got = append(got, fmt.Sprintf("%s %s", f.Kind, id))
		if f.Detail == "" || f.Time.IsZero() {
			t.Errorf("%+v lacks its detail or time", f)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%q\nplanted\n%q", got, want)
	}
	for _, k := range Kinds() {
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == k }) {
			t.Errorf("nothing of the kind %s was planted", k)
		}
	}
	t.Logf("%d discrepancies planted, %d found", len(want), len(got))
}

// What the account may not have written yet is not missed.
func TestLate(t *testing.T) {
	now := time.Now()
	one := int64(0)
	entry := &audit.Entry{Index: 0, Leaf: "bGVhZg==", Event: audit.Event{Kind: audit.KindDecision, Verdict: "allow", Time: now.Add(-10 * time.Minute), Blobs: map[string]string{"runs": "x"}}}
	outcome := &audit.Entry{Index: 1, Event: audit.Event{Kind: audit.KindOutcome, Of: &one, Status: "completed", QueryID: "q", Time: now.Add(-10 * time.Minute)}}
	for late, want := range map[time.Duration]int{45 * time.Minute: 0, 5 * time.Minute: 1} {
		r := Compare(Input{Entries: []*audit.Entry{entry, outcome}, Account: &warehouse.History{}, Since: now.Add(-time.Hour), Now: now, Late: late})
		if len(r.Findings) != want {
			t.Errorf("late by %s: %+v", late, r.Findings)
		}
	}
}

func TestSameText(t *testing.T) {
	key := "'" + fmt.Sprintf("%064x", 7) + "'"
	long := fmt.Sprintf("SELECT '%0*d'", longestText, 1)
	for _, c := range []struct {
		account, kept string
		same          bool
	}{
		{"SELECT 1", "SELECT 1", true},
		{"SELECT 1", "SELECT 2", false},
		{"SELECT 1", "SELECT 1 ", false},
		{"SELECT SHA2(" + key + ")", "SELECT SHA2('HIDDEN')", true},
		{"SELECT SHA2(" + key + ")", "SELECT SHA2('hidden')", false},
		{"SELECT SHA2('x')", "SELECT SHA2('HIDDEN')", false},
		{long[:longestText], long, true},
		{long[:longestText-1] + "x", long, false},
		{"SELECT", "SELECT 1", false},
		{"", "SELECT 1", false},
	} {
		if got := sameText(c.account, c.kept); got != c.same {
			t.Errorf("sameText(%.40q, %.40q) is %t", c.account, c.kept, got)
		}
	}
}
