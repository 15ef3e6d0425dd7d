package warehouse

import (
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func quiet() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) }

// Defect 1, from the other side: no reply makes the driver touch the disk, and
// none that would is passed on.
func TestRepliesThatMoveFiles(t *testing.T) {
	for name, add := range map[string]struct {
		key   string
		value any
		moves bool
	}{
		"upload":         {"command", "UPLOAD", true},
		"download":       {"command", "DOWNLOAD", true},
		"other case":     {"COMMAND", "UPLOAD", true},
		"escaped":        {"comm\u0061nd", "UPLOAD", true},
		"source files":   {"src_locations", []string{"/etc/passwd"}, true},
		"a stage":        {"stageInfo", map[string]any{"locationType": "LOCAL_FS"}, true},
		"no command":     {"command", nil, false},
		"empty command":  {"command", "", false},
		"something else": {"commander", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, log := newAccount(t), openLog(t)
			a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) {
				data := table(1, `"command": "UPLOAD"`)
				data[add.key] = add.value
				reply(w, data)
			}
			w := connect(t, at(t, a.addr()))
			rows, err := run(t, w, log, "SELECT 1")
			if err == nil {
				_, err = read(t, rows)
			}
			if !add.moves {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if failed := failure(t, err); failed.Class != Internal || !strings.Contains(failed.Message, "move files") {
				t.Errorf("%v", err)
			}
			if n := a.ran(); n != 1 {
				t.Errorf("the statement was sent %d times", n)
			}
		})
	}
}

// The account ends a statement when policy says so, whatever becomes of us.
func TestStatementTimeoutIsSent(t *testing.T) {
	a, log := newAccount(t), openLog(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request, _ request) { reply(w, table(1, "x")) }
	w := connect(t, at(t, a.addr()))
	for timeout, want := range map[time.Duration]string{0: "600", 90 * time.Second: "90", 1500 * time.Millisecond: "2", time.Hour: "600"} {
		rows, err := w.Run(t.Context(), record(t, log, "SELECT 1"), Statement{SQL: "SELECT 1", Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
		a.mu.Lock()
		got := a.requests[len(a.requests)-1].Parameters
		a.mu.Unlock()
		if got["STATEMENT_TIMEOUT_IN_SECONDS"] != want || got["QUERY_TAG"] == nil || got["MULTI_STATEMENT_COUNT"] == nil {
			t.Errorf("a timeout of %s was sent as %v", timeout, got)
		}
	}
}

func TestNothingInTheClear(t *testing.T) {
	asked := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer s.Close()
	g := newGuard("https")
	defer g.close()
	reply, err := (&http.Client{Transport: g}).Get(s.URL)
	if err == nil {
		reply.Body.Close()
	}
	if err == nil || asked {
		t.Errorf("asked in the clear: %t, %v", asked, err)
	}
}

func FuzzWantsFiles(f *testing.F) {
	f.Add([]byte(`{"data":{"command":"UPLOAD"},"success":true}`))
	f.Add([]byte(`{"Data":{"rowset":[["a"]],"stageInfo":{}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, wants := wantsFiles(body); wants && !strings.Contains(strings.ToLower(string(body)), "data") && !strings.Contains(string(body), `\u`) {
			t.Error("without data")
		}
		if _, wants := wantsFiles(refusal(string(body), string(body))); wants {
			t.Error("a refusal wants files")
		}
	})
}
