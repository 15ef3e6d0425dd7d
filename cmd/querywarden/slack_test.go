//go:build cgo

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/approvals/slack"
	"querywarden/approvals/slack/slacktest"
	"querywarden/audit"
	"querywarden/mcp"
	"querywarden/policy"
	"querywarden/tools"
)

// arrivals is a log in which the embedded warehouse says which statements have
// reached it.
type arrivals struct {
	slog.Handler
	mu sync.Mutex
	at map[string]time.Time
}

func (a *arrivals) Enabled(context.Context, slog.Level) bool { return true }

func (a *arrivals) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "statement" {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.at[attr.Value.String()] = time.Now()
		}
		return true
	})
	if r.Level < slog.LevelInfo {
		return nil
	}
	return a.Handler.Handle(ctx, r)
}

func (a *arrivals) of(statement string) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for text, at := range a.at {
		if strings.Contains(text, statement) {
			return at, true
		}
	}
	return time.Time{}, false
}

// slackDemo is a demo that asks in a Slack, and is served until the test ends.
func slackDemo(t *testing.T, workspace *slacktest.Server, mode string) (*demo, *arrivals) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	must(err)
	d := &demo{dir: filepath.Join(t.TempDir(), "d"), listener: l} // a socket's path is short
	file := filepath.Join(d.dir, "querywarden.yaml")
	must(d.write(ctx, file))
	text, err := os.ReadFile(file)
	must(err)
	text = fmt.Appendf(text, "\nslack:\n  mode: %s\n  channel: C0DATA\n  url: %s\n  bot_token_file: bot.token\n  app_token_file: app.token\n  signing_secret_file: signing.secret\n", mode, workspace.URL())
	must(os.WriteFile(file, text, 0o600))
	for name, secret := range map[string]string{"bot.token": slacktest.BotToken, "app.token": slacktest.AppToken, "signing.secret": slacktest.SigningSecret} {
		must(os.WriteFile(filepath.Join(d.dir, name), []byte(secret+"\n"), 0o600))
	}
	rules := filepath.Join(d.dir, "policy.yaml")
	text, err = os.ReadFile(rules)
	must(err)
	clicks := strings.Replace(string(text), "approvers: {groups: [data-owners], ", "approvers: {groups: [data-owners], confirm: slack, ", 1)
	if clicks == string(text) {
		t.Fatal("the example's policy has other approvers than this test thinks")
	}
	must(os.WriteFile(rules, []byte(clicks), 0o600))
	log := &arrivals{Handler: slog.NewTextHandler(t.Output(), nil), at: map[string]time.Time{}}
	must(d.open(ctx, slog.New(log)))
	serving := make(chan error, 1)
	go func() { serving <- d.gateway.serve(ctx, d.listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-serving; err != nil {
			t.Error(err)
		}
		must(d.close(context.Background()))
	})
	must(d.gateway.approvals.Link(ctx, approvals.Link{
		Provider: slack.Provider, Team: slacktest.Team, User: "U0OLGA",
		Identity: policy.Identity{Issuer: "https://idp.example.com", Subject: "olga", Email: "olga@example.com"}, Groups: []string{"data-owners"},
	}))
	return d, log
}

func newWorkspace(t *testing.T) *slacktest.Server {
	t.Helper()
	workspace := slacktest.New(t)
	workspace.AddChannel("C0DATA")
	workspace.AddUser(slacktest.User{ID: "U0OLGA", Name: "olga", Email: "olga@example.com"})
	workspace.AddUser(slacktest.User{ID: "U0NEW", Name: "new", Email: "new@example.com"})
	workspace.AddUser(slacktest.User{ID: "U0GUEST", Name: "guest", Email: "guest@example.com", Restricted: true})
	return workspace
}

// asked is the message of a statement, once it is there.
func asked(workspace *slacktest.Server, statement string) slacktest.Message {
	var found slacktest.Message
	workspace.Wait("a message with "+statement, func() bool {
		for _, m := range workspace.Messages("C0DATA") {
			if m.Thread == "" && strings.Contains(m.Render(), statement) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// leadsTo is the page to which an address sends somebody who has not signed in.
func leadsTo(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%s: %s, %v", address, resp.Status, err)
	}
	return to.Path
}

// TestSlackButton lets an agent drop a table through the whole gateway, which a
// person approves by a button in Slack.
func TestSlackButton(t *testing.T) {
	for _, mode := range []string{"socket", "http"} {
		t.Run(mode, func(t *testing.T) {
			workspace := newWorkspace(t)
			d, _ := slackDemo(t, workspace, mode)
			if mode == "http" {
				workspace.PostTo("http://" + d.config.Listen + "/slack/interactions")
			}
			token, err := demoToken(d.config, "ada", "analysts")
			if err != nil {
				t.Fatal(err)
			}
			client, err := mcp.Dial(t.Context(), d.config.Resource, token, "claude-code")
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			call := func(tool string, args any) tools.QueryAnswer {
				t.Helper()
				var a tools.QueryAnswer
				text, err := client.Call(t.Context(), tool, args, &a)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s %v\n%s", tool, args, text)
				return a
			}
			const drop, shown = "DROP TABLE staging.import_2024_old", "DROP TABLE RETAIL.STAGING.IMPORT_2024_OLD"
			if a := call("query", tools.QueryRequest{SQL: drop, Purpose: "Free the space of last year's import"}); a.Status != tools.Pending {
				t.Fatalf("%+v", a.Answer)
			}
			answer := make(chan tools.QueryAnswer, 1)
			go func() {
				answer <- call("request_approval", tools.ApprovalRequest{SQL: drop, Reason: "Last year's import is loaded; nobody reads this table any more."})
			}()
			m := asked(workspace, shown)
			t.Log("\n" + m.Render())
			for _, want := range []string{"ada@example.com", "claude-code", "nobody reads this table any more", "UNDROP TABLE"} {
				if !strings.Contains(m.Render(), want) {
					t.Errorf("the message lacks %q", want)
				}
			}
			if mode == "http" {
				// Until the bot's token is known to be good nothing is taken.
				workspace.Wait("the gateway to know whose its token is", func() bool { return workspace.Calls("auth.test") > 0 })
			}
			if _, ok := workspace.Click("U0GUEST", m.Channel, m.TS, "approve").Acknowledged(); !ok {
				t.Fatal("a guest's click was not acknowledged")
			}
			workspace.Wait("the guest to be turned away", func() bool { return len(workspace.Whispers("U0GUEST")) == 1 })
			// Whoever is not linked is sent to the console, which knows these pages.
			if _, ok := workspace.Click("U0NEW", m.Channel, m.TS, "approve").Acknowledged(); !ok {
				t.Fatal("a click was not acknowledged")
			}
			workspace.Wait("an answer to who is not linked", func() bool { return len(workspace.Whispers("U0NEW")) == 1 })
			link, _ := workspace.Whispers("U0NEW")[0].Button("open")
			page, _ := m.Button("open")
			for _, b := range []slacktest.Block{link, page} {
				if where := leadsTo(t, b.String("url")); where != "/console/login" {
					t.Errorf("%s leads to %q", b.String("url"), where)
				}
			}
			if _, ok := workspace.Click("U0OLGA", m.Channel, m.TS, "approve").Acknowledged(); !ok {
				t.Fatal("the click was not acknowledged")
			}
			a := <-answer
			if a.Status != tools.Completed || a.Approval == nil || a.Approval.State != string(approvals.Done) {
				t.Fatalf("%+v", a.Answer)
			}
			workspace.Wait("the message to say how it ended", func() bool {
				return strings.Contains(asked(workspace, shown).Render(), "Approved, and has run")
			})
			workspace.Wait("the thread to be told", func() bool { return len(workspace.Thread(m.Channel, m.TS)) == 1 })
			t.Log("\n" + asked(workspace, shown).Render() + "thread: " + workspace.Thread(m.Channel, m.TS)[0].Render())
			if said := workspace.Thread(m.Channel, m.TS)[0].Render(); !strings.Contains(said, "It has run.") || !strings.Contains(said, a.QueryID) || a.QueryID == "" {
				t.Errorf("the thread says %q; the query was %q", said, a.QueryID)
			}
			if a := call("query", tools.QueryRequest{SQL: "SELECT COUNT(*) FROM staging.import_2024_old"}); a.Code != policy.CodeObjectUnknown {
				t.Errorf("the table is still there: %+v", a.Answer)
			}
			var chain []string
			r, err := audit.OpenReader(d.config.auditFile())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for e, err := range r.Entries(t.Context(), audit.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				switch e.Event.Kind {
				case audit.KindApprovalVoted:
					if e.Event.Via != slack.Provider || e.Event.Voter.Subject != "olga" {
						t.Errorf("voted: %+v", e.Event)
					}
					chain = append(chain, string(e.Event.Kind))
				case audit.KindRefused:
					chain = append(chain, e.Event.Codes...)
					if !strings.HasPrefix(e.Event.Remote, slacktest.Team+"/U0") || e.Event.Approval == "" {
						t.Errorf("refused: %+v", e.Event)
					}
				case audit.KindApprovalRequested, audit.KindExecution:
					chain = append(chain, string(e.Event.Kind))
				default:
				}
			}
			if want := []string{"approval_requested", "slack_guest", "slack_unlinked", "approval_voted", "execution"}; !slices.Equal(chain, want) {
				t.Errorf("recorded %q, want %q", chain, want)
			}
			if mode == "http" {
				forged, err := http.Post("http://"+d.config.Listen+"/slack/interactions", "application/x-www-form-urlencoded", strings.NewReader("payload={}"))
				if err != nil {
					t.Fatal(err)
				}
				forged.Body.Close()
				if forged.StatusCode != http.StatusUnauthorized {
					t.Errorf("a forged callback: status %d", forged.StatusCode)
				}
			}
		})
	}
}

// TestSlackClickToStart prints how long it takes from a click until the
// warehouse has the statement.
func TestSlackClickToStart(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, and this measures")
	}
	workspace := newWorkspace(t)
	d, log := slackDemo(t, workspace, "socket")
	token, err := demoToken(d.config, "ada", "analysts")
	if err != nil {
		t.Fatal(err)
	}
	client, err := mcp.Dial(t.Context(), d.config.Resource, token, "claude-code")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var took []time.Duration
	for i := range 21 {
		table := fmt.Sprintf("staging.t%d_", i)
		var a tools.QueryAnswer
		if _, err := client.Call(t.Context(), "query", tools.QueryRequest{SQL: "CREATE TABLE " + table + " AS SELECT 1 AS x"}, &a); err != nil || a.Status != tools.Completed {
			t.Fatalf("%+v, %v", a.Answer, err)
		}
		done := make(chan error, 1)
		go func() {
			var a tools.QueryAnswer
			_, err := client.Call(t.Context(), "request_approval", tools.ApprovalRequest{SQL: "DROP TABLE " + table, Reason: "unused"}, &a)
			if err == nil && a.Status != tools.Completed {
				err = fmt.Errorf("%+v", a.Answer)
			}
			done <- err
		}()
		statement := "DROP TABLE RETAIL." + strings.ToUpper(table)
		m := asked(workspace, statement)
		click := workspace.Click("U0OLGA", m.Channel, m.TS, "approve")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		at, ok := log.of(statement)
		if !ok {
			t.Fatalf("%s has not reached the warehouse", statement)
		}
		took = append(took, at.Sub(click.At))
	}
	slices.Sort(took)
	t.Logf("from click to the statement's start: p50 %s, least %s, most %s, of %d", took[len(took)/2], took[0], took[len(took)-1], len(took))
}
