package mcp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/emulator"
	"querywarden/internal/identity"
	"querywarden/internal/warehouse"
	"querywarden/policy"
	"querywarden/tools"
)

const testPolicy = `
version: 1
masks:
  - columns: ["*.*.*.email"]
    mask: email
rules:
  - name: read
    who: {groups: [analysts]}
    may: [read]
    on: ["retail.public.*"]
    verdict: allow
  - name: destroy
    who: {groups: [analysts]}
    may: [destroy]
    on: ["retail.public.old"]
    verdict: ask
    approvers: {groups: [owners], quorum: 1, decide_within: 30m, run_within: 10m}
limits: {rows: 10000, bytes: 4MiB, time: 30s}
`

const testTables = `
CREATE TABLE retail.public.people (id NUMBER, email VARCHAR, note VARCHAR);
INSERT INTO retail.public.people VALUES (1, 'ada@example.com', 'plain'), (2, 'grace@example.com', 'two
lines');
CREATE TABLE retail.public.old (id NUMBER);
`

const issuerURL = "https://issuer.example"

// A world is a gateway with all its parts, each the real one.
type world struct {
	server    *Server
	url       string // of /mcp
	base      string // of the root
	log       *audit.Log
	logFile   string
	approvals *approvals.Store
	issuer    *identity.Issuer
	account   *emulator.Emulator
	gate      *tools.Gate
}

// newWorld starts a gateway. configure may change its configuration.
func newWorld(t testing.TB, configure func(*Config, *tools.Config)) *world {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	w := &world{logFile: filepath.Join(dir, "audit.db")}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	account, err := emulator.Open("", emulator.Options{})
	must(err)
	w.account = account
	t.Cleanup(func() { account.Close() })
	must(account.Exec(ctx, testTables))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	must(account.AddUser("GATE", &key.PublicKey, "GATE_ROLE"))
	addr, err := account.Start("127.0.0.1:0")
	must(err)
	host, portText, err := net.SplitHostPort(addr)
	must(err)
	port, err := strconv.Atoi(portText)
	must(err)

	w.log, err = audit.Open(w.logFile, audit.Options{})
	must(err)
	t.Cleanup(func() { w.log.Close() })
	w.approvals, err = approvals.Open(ctx, w.log, time.Now)
	must(err)
	wh, err := warehouse.Open(warehouse.Config{
		Account: "TEST", Login: warehouse.Login{User: "GATE", PrivateKey: key, Role: "GATE_ROLE", Warehouse: "COMPUTE", Database: "RETAIL", Schema: "PUBLIC"},
		Protocol: "http", Host: host, Port: port, Sessions: 4, Record: w.log.RecordOwn,
	})
	must(err)
	t.Cleanup(func() { wh.Close() })
	p, err := policy.Parse([]byte(testPolicy))
	must(err)

	front := httptest.NewUnstartedServer(nil)
	w.base = "http://" + front.Listener.Addr().String()
	w.url = w.base + "/mcp"
	w.issuer, err = identity.OpenIssuer(filepath.Join(dir, "issuer"), issuerURL)
	must(err)
	verifier, err := identity.New(identity.Config{
		Audience: w.url,
		Issuers:  []identity.IssuerConfig{{URL: issuerURL, KeysFile: w.issuer.KeysFile(), Kind: policy.Agent}},
	})
	must(err)
	config := Config{
		Verifier: verifier, Resource: w.url, AuthorizationServers: []string{issuerURL},
		Scopes: []string{"query"}, Version: "1.2.3", Logger: logger,
	}
	gateConfig := tools.Config{
		Log: w.log, Approvals: w.approvals, Warehouse: wh, Policy: p, MaskKey: make([]byte, 32),
		Database: "RETAIL", Schema: "PUBLIC", ApprovalWait: 50 * time.Millisecond, Logger: logger,
	}
	if configure != nil {
		configure(&config, &gateConfig)
	}
	w.gate, err = tools.Open(ctx, gateConfig)
	must(err)
	t.Cleanup(func() { w.gate.Close(context.Background()) })
	w.server, err = New(w.gate, config)
	must(err)
	front.Config.Handler = w.server.Handler()
	front.Start()
	t.Cleanup(front.Close)
	return w
}

// token returns a token for one of the analysts.
func (w *world) token(t testing.TB, subject string) string {
	t.Helper()
	token, err := w.issuer.Token(identity.TokenClaims{Subject: subject, Email: subject + "@example.com", Groups: []string{"analysts"}, Audience: w.url, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// approve lets an owner say yes to a request.
func (w *world) approve(t *testing.T, id string) {
	t.Helper()
	owner := approvals.Voter{Identity: policy.Identity{Issuer: issuerURL, Subject: "owner"}, Groups: []string{"owners"}, Via: approvals.ViaHost}
	r, err := w.approvals.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.approvals.Vote(t.Context(), id, approvals.Short(r.Digest), owner, true, "go ahead"); err != nil {
		t.Fatal(err)
	}
}

// recorded returns the entries of a subject.
func (w *world) recorded(t *testing.T, subject string) []audit.Event {
	t.Helper()
	r, err := audit.OpenReader(w.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var events []audit.Event
	for e, err := range r.Entries(t.Context(), audit.Filter{Subject: subject}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e.Event)
	}
	return events
}
