package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"querywarden/internal/client"
	"querywarden/internal/identity/identitytest"
)

// A clientWorld is a gateway over the demo's shop that takes the tokens of a
// provider with people in it: ada, an analyst, and eve, who is in no group.
type clientWorld struct {
	url      string // of the gateway
	provider *identitytest.Provider
	dir      string
}

const worldClient = "querywarden-cli"

func newClientWorld(t testing.TB) *clientWorld {
	t.Helper()
	w := &clientWorld{provider: identitytest.New(t), dir: filepath.Join(t.TempDir(), "demo")}
	w.provider.AddPerson(identitytest.Person{Name: "ada", Groups: []string{"analysts"}})
	w.provider.AddPerson(identitytest.Person{Name: "eve"})
	w.provider.AddClient(identitytest.Client{ID: worldClient, Redirects: []string{"http://127.0.0.1/callback"}})
	d, err := openDemo(t.Context(), w.dir, "127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	if err := d.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "querywarden.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	issuer := "- url: http://" + d.config.Listen + "/demo\n      keys_file: issuer/jwks.json\n"
	if !strings.Contains(string(text), issuer) {
		t.Fatal("the example's issuer stands otherwise")
	}
	// A held call of a second, because tests wait for its end.
	// Scopes, because clients ask for those that the gateway names, and a
	// provider refuses who asks for none.
	changed := "scopes: {query: [openid]}\n" + strings.NewReplacer(issuer, "- url: "+w.provider.URL()+"\n", "wait: 45s", "wait: 1s").Replace(string(text))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	serveWorld(t, c, d.listener)
	w.url = c.Resource
	return w
}

// serveWorld serves a configuration until the test ends.
func serveWorld(t testing.TB, c *config, listener net.Listener) {
	t.Helper()
	g, err := openGateway(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- g.serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, g.close(context.Background())); err != nil {
			t.Error(err)
		}
	})
}

// token is one of a person's, as a pipeline would have it.
func (w *clientWorld) token(name string) string {
	return w.provider.PersonToken(name, w.url, map[string]any{"scope": "openid"})
}

// TestClients runs what the command line promises as a client of a gateway. The
// scripts are in testdata/clients.
func TestClients(t *testing.T) {
	w := newClientWorld(t)
	w.provider.SignInAs("ada")
	odd := oddServers(t, w)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/clients", Cmds: map[string]func(*testscript.TestScript, bool, []string){"decide": w.decide},
		Setup: func(env *testscript.Env) error {
			for name, value := range odd {
				env.Setenv(name, value)
			}
			env.Setenv("GATE", w.url)
			env.Setenv("ADA", w.token("ada"))
			env.Setenv("EVE", w.token("eve"))
			env.Setenv("CLIENT", worldClient)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:")
			return nil
		},
	})
}

var waiting = regexp.MustCompile(`apr_[a-z0-9]+`)

// decide is a command of scripts: it waits for a request and approves or denies
// it, as somebody on the gateway's host would.
func (w *clientWorld) decide(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: decide approve|deny REASON")
	}
	config := filepath.Join(w.dir, "querywarden.yaml")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var out, errs strings.Builder
		if run(context.Background(), []string{"approvals", "list", "--config", config}, streams{strings.NewReader(""), &out, &errs}) != 0 {
			ts.Fatalf("listing: %s", errs.String())
		}
		id := waiting.FindString(out.String())
		if id == "" {
			continue
		}
		if run(context.Background(), []string{"approvals", args[0], id, "--config", config, "--reason", args[1]}, streams{strings.NewReader(""), &out, &errs}) != 0 {
			ts.Fatalf("deciding: %s", errs.String())
		}
		return
	}
	ts.Fatalf("nothing waits")
}

// oddServers are servers that are no gateway, or a bad one, by the variable
// that scripts find them in.
func oddServers(t *testing.T, w *clientWorld) map[string]string {
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL + "/mcp"
	}
	answer := func(w http.ResponseWriter, kind, text string) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, text)
	}
	const head = `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"status":"completed","code":"completed","message":"Done.","columns":[{"name":"A","type":"VARCHAR"}],`
	return map[string]string{
		"HTML": serve(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, "text/html", "<html><h1>Please sign in to the corporate proxy</h1></html>")
		}),
		"CUT": serve(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, "application/json", head+`"rows":[["one"],["two"],["thr`)
		}),
		"MISCOUNTED": serve(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, "application/json", head+`"rows":[["one"]],"row_count":2}}}`)
		}),
		"NOISE": serve(func(w http.ResponseWriter, _ *http.Request) { answer(w, "application/json", `[{"hello":1}]`) }),
		// One row without an end.
		"HUGE": serve(func(w http.ResponseWriter, r *http.Request) {
			answer(w, "application/json", head+`"rows":[["`)
			block := strings.Repeat("x", 1<<20)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		}),
		"ELSEWHERE": serve(func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.url, http.StatusTemporaryRedirect)
		}),
		"BUSY": serve(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer(w, "application/json", `{"error":"too many calls are under way"}`)
		}),
		"OLD": serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"unsupported protocol version"}}`)
		}),
		// GitHub's end of a job: it gives out ada's token, to whoever has the
		// job's secret and names the audience.
		"GITHUB": serve(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer job-secret" || r.URL.Query().Get("audience") != w.url || r.URL.Query().Get("api-version") != "2" {
				http.Error(rw, "no", http.StatusForbidden)
				return
			}
			answer(rw, "application/json", fmt.Sprintf(`{"count":1,"value":%q}`, w.token("ada")))
		}) + "?api-version=2",
	}
}

// browserMain is a person's browser for scripts: it follows a sign-in to where
// it ends, and holds no page.
func browserMain() {
	res, err := http.Get(os.Args[len(os.Args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}

// TestLoginDevice signs a person in who enters a code in a browser elsewhere.
func TestLoginDevice(t *testing.T) {
	w := newClientWorld(t)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, c := range []struct {
		who    string // who enters the code, nobody if empty
		status int
		says   string
	}{
		{"", 1, "access_denied"},
		{"ada", 0, "signed in at "},
	} {
		said, err := io.Pipe()
		done := make(chan int, 1)
		var all strings.Builder
		go func() {
			status := run(t.Context(), []string{"login", w.url, "--device", "--client-id", worldClient, "--no-keyring"}, streams{strings.NewReader(""), io.Discard, err})
			err.Close()
			done <- status
		}()
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			if _, code, ok := strings.Cut(lines.Text(), "and enter the code  "); ok && !w.provider.AnswerDevice(code, c.who) {
				t.Fatalf("there is no code %q", code)
			}
		}
		if status := <-done; status != c.status || !strings.Contains(all.String(), c.says) {
			t.Fatalf("%q: status %d: %s", c.who, status, all.String())
		}
		if strings.Contains(all.String(), "eyJ") {
			t.Fatalf("a token was printed: %s", all.String())
		}
	}
	var out, errs strings.Builder
	if status := run(t.Context(), []string{"query", "--url", w.url, "--no-keyring", "--format", "csv", "select 1 as one"}, streams{strings.NewReader(""), &out, &errs}); status != 0 || out.String() != "ONE\n1\n" {
		t.Fatalf("status %d: %s%s", status, out.String(), errs.String())
	}
}

// TestTokenEnds lets a sign-in end in every way: an access token that has
// ended, one that the gateway does not take any more, and a sign-in that cannot
// be renewed.
func TestTokenEnds(t *testing.T) {
	w := newClientWorld(t)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("BROWSER", "")
	w.provider.SignInAs("ada")
	u, err := client.Address(w.url)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := client.OpenKeep(false)
	if err != nil {
		t.Fatal(err)
	}
	signIn := client.SignIn{Gateway: u, Client: worldClient, Say: func(string) {}, Browser: func(place string) error {
		res, err := http.Get(place)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}}
	kept, err := signIn.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kept.Refresh == "" || kept.Expires.IsZero() {
		t.Fatalf("the sign-in cannot be renewed: expires %v", kept.Expires)
	}
	query := func() (int, string) {
		var out, errs strings.Builder
		status := run(t.Context(), []string{"query", "--url", w.url, "--no-keyring", "--format", "csv", "select 1 as one"}, streams{strings.NewReader(""), &out, &errs})
		return status, out.String() + errs.String()
	}
	change := func(f func(*client.Kept)) *client.Kept {
		t.Helper()
		kept, err := keep.Load(w.url)
		if err != nil || kept == nil {
			t.Fatalf("loading: %v", err)
		}
		f(kept)
		if _, err := keep.Save(kept); err != nil {
			t.Fatal(err)
		}
		return kept
	}
	if _, err := keep.Save(kept); err != nil {
		t.Fatal(err)
	}
	// It has ended, by its own account.
	before := change(func(k *client.Kept) { k.Expires = time.Now().Add(-time.Minute) })
	if status, said := query(); status != 0 || said != "ONE\n1\n" {
		t.Fatalf("after the end: %d: %s", status, said)
	}
	if after := change(func(*client.Kept) {}); after.Access == before.Access || after.Refresh == before.Refresh {
		t.Error("the renewed sign-in was not kept")
	}
	// The gateway does not take it, whatever it says.
	change(func(k *client.Kept) { k.Access = "eyJhbGciOiJub25lIn0.e30." })
	if status, said := query(); status != 0 || said != "ONE\n1\n" {
		t.Fatalf("after a refusal: %d: %s", status, said)
	}
	// Nothing renews it.
	change(func(k *client.Kept) { k.Expires, k.Refresh = time.Now().Add(-time.Minute), "used-up" })
	if status, said := query(); status != 1 || !strings.Contains(said, "hint: querywarden login "+w.url) || strings.Contains(said, "used-up") {
		t.Fatalf("after the end of the sign-in: %d: %s", status, said)
	}
}
