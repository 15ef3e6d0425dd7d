//go:build cgo

package warehouse

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/policy"
)

// emulate starts an embedded account with some tables and logs in.
func emulate(t testing.TB, change func(*Config)) *Warehouse {
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
	if err := e.AddUser("GATE", &testKey().PublicKey, "ANALYST"); err != nil {
		t.Fatal(err)
	}
	err = e.Exec(context.Background(), `
		CREATE TABLE PEOPLE (ID NUMBER(38,0) NOT NULL, NAME VARCHAR(40), BORN DATE, SEEN TIMESTAMP_NTZ, EXTRA VARIANT) COMMENT = 'who';
		INSERT INTO PEOPLE (ID, NAME, BORN, SEEN) VALUES
			(1, 'Ada', '1815-12-10', '1960-01-01 00:00:00.005'), (2, NULL, NULL, NULL);
		CREATE SECURE VIEW NAMES AS SELECT NAME FROM PEOPLE;
		CREATE SCHEMA "odd ""schema""";
		CREATE TABLE "odd ""schema"""."t" (A NUMBER(12,2), B BOOLEAN, C FLOAT, D TIMESTAMP_TZ(3), E BINARY, F TIME);
		CREATE DATABASE OTHER;
		CREATE TABLE OTHER.PUBLIC.T (A NUMBER);`)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := at(t, addr)
	if change != nil {
		change(&c)
	}
	return connect(t, c)
}

func TestRun(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	rows, err := run(t, w, log, "SELECT ID, NAME, BORN, SEEN FROM PEOPLE ORDER BY ID")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := []Column{
		{"ID", Number, "NUMBER(38,0)", false}, {"NAME", Text, "VARCHAR(40)", true},
		{"BORN", Date, "DATE", true}, {"SEEN", TimestampNTZ, "TIMESTAMP_NTZ", true},
	}
	for i, c := range rows.Columns() {
		c.Nullable = want[i].Nullable // of an expression, nobody promises it
		if c.Name != want[i].Name || c.Kind != want[i].Kind {
			t.Errorf("column %d is %+v, want %+v", i, c, want[i])
		}
	}
	if rows.QueryID() == "" || rows.Total() != 2 {
		t.Errorf("query id %q, %d rows in all", rows.QueryID(), rows.Total())
	}
	var got [][]Value
	for rows.Next() {
		got = append(got, slices.Clone(rows.Values()))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if want := [][]Value{
		{{"1", true}, {"Ada", true}, {"1815-12-10", true}, got[0][3]},
		{{"2", true}, {}, {}, {}},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	seen, err := time.Parse(dateTime, got[0][3].Text)
	if err != nil || !seen.Equal(time.Date(1960, 1, 1, 0, 0, 0, 5e6, time.UTC)) {
		t.Errorf("before 1970: %q, %v", got[0][3].Text, err)
	}
}

// Types of Snowflake's, through the driver. The last column counts.
func TestTypes(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	for _, test := range []struct {
		expr string
		kind Kind
		want Value
	}{
		{"12345678901234.5678::NUMBER(38,4)", Number, Value{"12345678901234.5678", true}},
		{"-0.01::NUMBER(10,2)", Number, Value{"-0.01", true}},
		{"99999999999999999999999999999999999999::NUMBER(38,0)", Number, Value{"99999999999999999999999999999999999999", true}},
		{"1.5::FLOAT", Float, Value{"1.5", true}},
		{"'é\n😀'", Text, Value{"é\n😀", true}},
		{"'not empty', ''", Text, Value{"", true}},
		{"TRUE", Boolean, Value{"true", true}},
		{"FALSE", Boolean, Value{"false", true}},
		{"'1969-07-20'::DATE", Date, Value{"1969-07-20", true}},
		{"NULL::DATE", Date, Value{}},
		{"NULL::NUMBER", Number, Value{}},
	} {
		rows, err := run(t, w, log, "SELECT "+test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		if !rows.Next() {
			t.Errorf("%s: no row: %v", test.expr, rows.Err())
		} else if c, v := rows.Columns()[len(rows.Columns())-1], rows.Values()[len(rows.Columns())-1]; c.Kind != test.kind || v != test.want {
			t.Errorf("%s is %+v, of kind %d (%s), want %+v, kind %d", test.expr, v, c.Kind, c.Type, test.want, test.kind)
		}
		rows.Close()
	}
}

func TestErrors(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	for text, want := range map[string]Class{
		"SELECT FROM WHERE":           Syntax,
		"SELECT * FROM NOWHERE":       Object,
		"SELECT NOTHING FROM PEOPLE":  Object,
		"SELECT 1; DROP TABLE PEOPLE": Syntax,
		"SELECT 'x'::NUMBER":          Data,
	} {
		_, err := run(t, w, log, text)
		failed := failure(t, err)
		if failed.Class != want || failed.QueryID == "" || failed.Code == 0 {
			t.Errorf("%q: %+v, want class %s, a code and a query id", text, failed, want)
		}
	}
	rows, err := run(t, w, log, "SELECT COUNT(*) FROM PEOPLE")
	if err != nil {
		t.Fatalf("after errors: %v", err)
	}
	if got, err := read(t, rows); err != nil || !slices.Equal(got, []string{"2"}) {
		t.Errorf("after errors: %q, %v", got, err)
	}
}

func TestWrongKey(t *testing.T) {
	w := emulate(t, nil)
	c := w.config
	c.User = "SOMEBODY"
	err := opens(t, c)
	if failed := failure(t, err); failed.Class != Auth || failed.Code != 390144 {
		t.Errorf("%v", err)
	}
}

const endlessQuery = "SELECT COUNT(*) FROM PEOPLE a, PEOPLE b, PEOPLE c, PEOPLE d, PEOPLE e, PEOPLE f, PEOPLE g, PEOPLE h, PEOPLE i, PEOPLE j, PEOPLE k, PEOPLE l, PEOPLE m, PEOPLE n, PEOPLE o, PEOPLE p, PEOPLE q, PEOPLE r, PEOPLE s, PEOPLE t, PEOPLE u, PEOPLE v, PEOPLE w, PEOPLE x, PEOPLE y, PEOPLE z, PEOPLE aa, PEOPLE ab, PEOPLE ac, PEOPLE ad, PEOPLE ae, PEOPLE af WHERE a.ID + b.ID + c.ID + d.ID + e.ID + f.ID + g.ID + h.ID + i.ID + j.ID + k.ID + l.ID + m.ID + n.ID + o.ID + p.ID + q.ID + r.ID + s.ID + t.ID + u.ID + v.ID + w.ID + x.ID + y.ID + z.ID + aa.ID + ab.ID + ac.ID + ad.ID + ae.ID + af.ID = 0"

func TestCancelReachesTheAccount(t *testing.T) {
	w, log := emulate(t, func(c *Config) { c.Sessions = 1 }), openLog(t)
	for name, run := range map[string]func() error{
		"cancelled": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, cancel)
			_, err := w.Run(ctx, record(t, log, endlessQuery), Statement{SQL: endlessQuery})
			return err
		},
		"timeout": func() error {
			_, err := w.Run(t.Context(), record(t, log, endlessQuery), Statement{SQL: endlessQuery, Timeout: 200 * time.Millisecond})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			failed := failure(t, run())
			if want := map[string]Class{"cancelled": Cancelled, "timeout": Timeout}[name]; failed.Class != want || errors.Unwrap(failed) == nil {
				t.Errorf("%v, want class %s", failed, want)
			}
			if d := time.Since(started); d > 30*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
	// There is one session, so this waits until what ran before has ended.
	rows, err := run(t, w, log, "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, rows); err != nil || !slices.Equal(got, []string{"1"}) {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestReadingEarlyEnds(t *testing.T) {
	w, log := emulate(t, func(c *Config) { c.Sessions = 1 }), openLog(t)
	text := "SELECT ID FROM PEOPLE"
	ctx, cancel := context.WithCancel(t.Context())
	rows, err := w.Run(ctx, record(t, log, text), Statement{SQL: text})
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	cancel()
	if rows.Next() {
		t.Error("a row after the caller has gone")
	}
	if failed := failure(t, rows.Err()); failed.Class != Cancelled {
		t.Errorf("%v", failed)
	}
	rows.Close()
	rows.Close()
	if rows, err = run(t, w, log, text); err != nil {
		t.Fatalf("the session did not come back: %v", err)
	}
	rows.Close()
}

func TestConcurrently(t *testing.T) {
	w, log := emulate(t, func(c *Config) { c.Sessions = 3 }), openLog(t)
	var wait sync.WaitGroup
	for range 24 {
		wait.Go(func() {
			receipt, err := log.Append(context.Background(), audit.Event{Kind: audit.KindCatalogRead, Runs: "SELECT NAME FROM PEOPLE ORDER BY ID"})
			if err != nil {
				t.Error(err)
				return
			}
			rows, err := w.Run(t.Context(), receipt, Statement{SQL: "SELECT NAME FROM PEOPLE ORDER BY ID"})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := read(t, rows); err != nil || !slices.Equal(got, []string{"Ada", "NULL"}) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wait.Wait()
}

func TestTables(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	recorded := 0
	tables, err := w.Tables(t.Context(), func(text string) (audit.Receipt, error) {
		recorded++
		return log.Append(t.Context(), audit.Event{Kind: audit.KindCatalogRead, Runs: text})
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 2*3; recorded != want {
		t.Errorf("%d statements recorded, want %d", recorded, want)
	}
	byName := map[string]policy.Table{}
	for _, table := range tables {
		byName[table.Object.String()] = table
	}
	if len(byName) != 4 {
		t.Errorf("tables %v, want 4", byName)
	}
	people := byName["RETAIL.PUBLIC.PEOPLE"]
	if want := []policy.Column{
		{Name: "ID", Type: "NUMBER(38,0)"}, {Name: "NAME", Type: "VARCHAR(40)"}, {Name: "BORN", Type: "DATE"},
		{Name: "SEEN", Type: "TIMESTAMP_NTZ"}, {Name: "EXTRA", Type: "VARIANT"},
	}; !reflect.DeepEqual(people.Columns, want) || people.Kind != policy.TableObject || people.Comment != "who" || people.Definition != "" {
		t.Errorf("PEOPLE is %+v, want columns %+v", people, want)
	}
	odd := byName[`RETAIL."odd ""schema"""."t"`]
	if want := []policy.Column{
		{Name: "A", Type: "NUMBER(12,2)"}, {Name: "B", Type: "BOOLEAN"}, {Name: "C", Type: "FLOAT"},
		{Name: "D", Type: "TIMESTAMP_TZ(3)"}, {Name: "E", Type: "BINARY"}, {Name: "F", Type: "TIME"},
	}; !reflect.DeepEqual(odd.Columns, want) {
		t.Errorf("the odd table is %+v, want columns %+v", odd, want)
	}
	if view := byName["RETAIL.PUBLIC.NAMES"]; view.Kind != policy.ViewObject || !view.Secure || view.Definition == "" || len(view.Columns) != 1 {
		t.Errorf("the view is %+v", view)
	}
	if other := byName["OTHER.PUBLIC.T"]; other.Database != "OTHER" || len(other.Columns) != 1 {
		t.Errorf("the other database's table is %+v", other)
	}
}

func TestTablesStopsWithoutReceipts(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	full := errors.New("the disk is full")
	n := 0
	_, err := w.Tables(t.Context(), func(text string) (audit.Receipt, error) {
		if n++; n > 3 {
			return audit.Receipt{}, full
		}
		return log.Append(t.Context(), audit.Event{Kind: audit.KindCatalogRead, Runs: text})
	})
	if !errors.Is(err, full) || n != 4 {
		t.Errorf("after %d statements: %v", n, err)
	}
}

func BenchmarkRun(b *testing.B) {
	w, log := emulate(b, nil), openLog(b)
	for b.Loop() {
		rows, err := run(b, w, log, "SELECT 1")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := read(b, rows); err != nil {
			b.Fatal(err)
		}
	}
}
