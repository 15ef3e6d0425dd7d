//go:build cgo

package warehouse

import (
	"errors"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
)

func TestFind(t *testing.T) {
	w, log := emulate(t, nil), openLog(t)
	authorize := func(text string) (audit.Receipt, error) {
		return log.Append(t.Context(), audit.Event{Kind: audit.KindCatalogRead, Runs: text})
	}
	began := time.Now()
	for text, want := range map[string]Ending{
		"INSERT INTO PEOPLE (ID) VALUES (7)": Succeeded,
		"SELECT 'x'::NUMBER":                 Errored,
		"SELECT * FROM NOWHERE":              Errored,
	} {
		receipt := record(t, log, text)
		rows, err := w.Run(t.Context(), receipt, Statement{SQL: text})
		if err == nil {
			rows.Close()
		}
		found, err := w.Find(t.Context(), receipt.Tag(), began, authorize)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || found[0].Ending != want || found[0].Text != text || found[0].User != "GATE" || found[0].QueryID == "" || found[0].Tag != receipt.Tag() {
			t.Errorf("%q: %+v, want %s", text, found, want)
			continue
		}
		if p := found[0]; p.Start.Before(began.Add(-time.Minute)) || p.End.Before(p.Start) || (p.Code == "") != (want == Succeeded) {
			t.Errorf("%q: %+v", text, p)
		}
	}
	never := record(t, log, "DROP TABLE PEOPLE")
	if found, err := w.Find(t.Context(), never.Tag(), began, authorize); err != nil || len(found) != 0 {
		t.Errorf("what never ran: %+v, %v", found, err)
	}
	if _, err := w.Find(t.Context(), "", began, authorize); err == nil {
		t.Error("no tag found something")
	}
	if _, err := w.Find(t.Context(), never.Tag(), began.Add(-8*24*time.Hour), authorize); err == nil || !strings.Contains(err.Error(), "seven days") {
		t.Errorf("before the history: %v", err)
	}
	full := errors.New("the disk is full")
	if _, err := w.Find(t.Context(), never.Tag(), began, func(string) (audit.Receipt, error) { return audit.Receipt{}, full }); !errors.Is(err, full) {
		t.Errorf("unrecorded: %v", err)
	}
}

func TestEnding(t *testing.T) {
	for status, want := range map[string]Ending{
		"SUCCESS": Succeeded, "success": Succeeded, "FAIL": Errored, "fail": Errored, "FAILED_WITH_ERROR": Errored,
		"INCIDENT": Unknown, "FAILED_WITH_INCIDENT": Unknown, "": Unknown, "NEW": Unknown,
		"RUNNING": Running, "QUEUED": Running, "BLOCKED": Running, "RESUMING_WAREHOUSE": Running,
	} {
		if got := ending(status); got != want {
			t.Errorf("%q is %s, want %s", status, got, want)
		}
	}
}
