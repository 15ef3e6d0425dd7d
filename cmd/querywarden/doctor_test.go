//go:build cgo

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/internal/emulator"
)

// A clinic is a configuration without a fault, and what it is about: an issuer
// and an account that was set up by what `setup snowflake` prints.
type clinic struct {
	dir     string
	account *emulator.Emulator
	addr    string
	issuer  *httptest.Server
	skew    time.Duration // of the issuer's clock
	meta    string        // what it answers, if not the usual
	config  map[string]string
}

// clinicKey is made once: it is the slowest part of a test.
var clinicKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newClinic(t *testing.T) *clinic {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c := &clinic{dir: t.TempDir()}
	c.issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(c.skew).UTC().Format(http.TimeFormat))
		switch {
		case c.meta != "":
			fmt.Fprint(w, c.meta)
		case strings.HasSuffix(r.URL.Path, "/keys"):
			fmt.Fprint(w, `{"keys":[{"kty":"RSA"}]}`)
		default:
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, c.issuer.URL, c.issuer.URL+"/keys")
		}
	}))
	t.Cleanup(c.issuer.Close)
	var err error
	c.account, err = emulator.Open("", emulator.Options{})
	must(err)
	t.Cleanup(func() { must(c.account.Close()) })
	key := clinicKey()
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	c.write(t, "snowflake.p8", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
	var out bytes.Buffer
	must(c.account.Exec(t.Context(), "CREATE TABLE people (id NUMBER, ssn VARCHAR)"))
	if status := run(t.Context(), []string{"setup", "snowflake", "--public-key", base64.StdEncoding.EncodeToString(public), "--addresses", "127.0.0.1"}, streams{nil, &out, os.Stderr}); status != 0 {
		t.Fatalf("setup: %d", status)
	}
	must(c.account.Exec(t.Context(), out.String()))
	c.addr, err = c.account.Start("127.0.0.1:0")
	must(err)
	must(os.Mkdir(filepath.Join(c.dir, "data"), 0o700))
	must(os.Mkdir(filepath.Join(c.dir, "elsewhere"), 0o700))
	c.write(t, "policy.yaml", "version: 1\nmasks:\n  - {labels: [pii], mask: redact}\nrules:\n  - {name: r, who: everyone, may: [read], on: ['retail.public.*'], verdict: allow}\n", 0o644)
	c.config = map[string]string{
		"resource": "http://127.0.0.1:8423/mcp", "data": "data", "head_file": "elsewhere/head", "policy": "policy.yaml",
		"anchors":   "{file: elsewhere/checkpoints}",
		"identity":  fmt.Sprintf("{issuers: [{url: %q, groups_claim: groups}]}", c.issuer.URL),
		"warehouse": c.warehouse("", ""),
	}
	return c
}

// warehouse is the section about the account, with something in the place of
// something else.
func (c *clinic) warehouse(old, replacement string) string {
	text := fmt.Sprintf(`{account: EMULATOR, protocol: http, host: %q, user: QUERYWARDEN, private_key_file: snowflake.p8, role: QUERYWARDEN_ROLE, `+
		`warehouse: QUERYWARDEN_WH, database: RETAIL, schema: PUBLIC, agent: true, addresses: [127.0.0.1], reconcile: {every: 1h}}`, c.addr)
	return strings.Replace(text, old, replacement, 1)
}

func (c *clinic) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// examine runs the doctor.
func (c *clinic) examine(t *testing.T) (findings []finding, status int, said string) {
	t.Helper()
	var text strings.Builder
	for key, value := range c.config {
		fmt.Fprintf(&text, "%s: %s\n", key, value)
	}
	file := filepath.Join(c.dir, "querywarden.yaml")
	if _, err := os.Stat(file); err != nil {
		c.write(t, "querywarden.yaml", text.String(), 0o644)
	} else if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	status = run(context.Background(), []string{"doctor", "--json", "--config", file}, streams{nil, &out, &problems})
	if err := json.Unmarshal(out.Bytes(), &findings); err != nil {
		return nil, status, problems.String()
	}
	return findings, status, problems.String()
}

func TestDoctorIsContent(t *testing.T) {
	c := newClinic(t)
	findings, status, said := c.examine(t)
	for _, f := range findings {
		// What the gateway's own role may not see, somebody else has to.
		if f.State != "ok" && !strings.Contains(f.Said, "cannot be seen") {
			t.Errorf("%+v", f)
		}
	}
	if status != 0 || len(findings) < 10 {
		t.Errorf("status %d, %d findings, %s", status, len(findings), said)
	}
}

// Each of these is found, and nothing else that was not there before.
func TestDoctorFinds(t *testing.T) {
	sql := func(text string) func(t *testing.T, c *clinic) {
		return func(t *testing.T, c *clinic) {
			if err := c.account.Exec(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	set := func(key, value string) func(*testing.T, *clinic) {
		return func(_ *testing.T, c *clinic) {
			if value == "" {
				delete(c.config, key)
				return
			}
			c.config[key] = value
		}
	}
	warehouse := func(old, replacement string) func(*testing.T, *clinic) {
		return func(_ *testing.T, c *clinic) { c.config["warehouse"] = c.warehouse(old, replacement) }
	}
	mode := func(name string, mode os.FileMode) func(*testing.T, *clinic) {
		return func(t *testing.T, c *clinic) {
			if err := os.Chmod(filepath.Join(c.dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	planted := map[string]struct {
		plant func(*testing.T, *clinic)
		state string
		said  string
	}{
		"the issuer is away":              {func(_ *testing.T, c *clinic) { c.issuer.Close() }, "fail", "connection refused"},
		"the issuer calls itself another": {func(_ *testing.T, c *clinic) { c.meta = `{"issuer":"https://other.example.com"}` }, "fail", "calls itself"},
		"the issuer has no keys": {func(_ *testing.T, c *clinic) {
			c.meta = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, c.issuer.URL, c.issuer.URL)
		}, "fail", "has no keys"},
		"the clock is wrong":             {func(_ *testing.T, c *clinic) { c.skew = 5 * time.Minute }, "fail", "differs from that of"},
		"nobody can call":                {set("identity", ""), "fail", "there is no issuer"},
		"no head file":                   {set("head_file", ""), "warn", "cut off"},
		"the head file beside the log":   {set("head_file", "data/head"), "warn", "beside the log"},
		"no checkpoints":                 {set("anchors", ""), "warn", "rewritten whole"},
		"checkpoints go nowhere":         {set("anchors", "{webhook: 'http://127.0.0.1:1/x'}"), "fail", "connection refused"},
		"checkpoints have no folder":     {set("anchors", "{file: nowhere/checkpoints}"), "fail", "no such file"},
		"the key can be read":            {mode("snowflake.p8", 0o644), "fail", "log in as the gateway"},
		"the policy can be written":      {mode("policy.yaml", 0o666), "fail", "decide who may do what"},
		"the data can be read":           {mode("data", 0o755), "fail", "read the log"},
		"the policy does not parse":      {func(t *testing.T, c *clinic) { c.write(t, "policy.yaml", "version: 2\n", 0o644) }, "fail", "version"},
		"the data is a file":             {func(t *testing.T, c *clinic) { c.write(t, "file", "", 0o600); c.config["data"] = "file" }, "fail", "no folder"},
		"another user's key":             {sql("ALTER USER querywarden UNSET RSA_PUBLIC_KEY"), "fail", "390144"},
		"a disabled user":                {sql("ALTER USER querywarden SET DISABLED = TRUE"), "fail", "390101"},
		"a locked user":                  {sql("ALTER USER querywarden SET MINS_TO_UNLOCK = 15"), "fail", "390102"},
		"shut out by the network policy": {sql("CREATE OR REPLACE NETWORK RULE querywarden_admin.policies.gateway_only MODE = INGRESS TYPE = IPV4 VALUE_LIST = ('203.0.113.1')"), "fail", "390422"},
		"the role is not granted":        {sql("REVOKE ROLE querywarden_role FROM USER querywarden"), "fail", "390189"},
		"no such schema":                 {warehouse("schema: PUBLIC", "schema: NOWHERE"), "fail", "390201"},
		"secondary roles":                {sql("ALTER USER querywarden SET DEFAULT_SECONDARY_ROLES = ('ALL')"), "fail", "secondary roles"},
		"no agent":                       {sql("ALTER USER querywarden SET TYPE = SERVICE"), "fail", "for an agent"},
		"not read only":                  {warehouse("agent: true", "agent: true, session_scope: SNOWFLAKE$DATA_READ"), "fail", "restricted session scope"},
		"nobody checks for an agent":     {warehouse("agent: true", "agent: false"), "warn", "nobody checks"},
		"no network policy":              {sql("ALTER USER querywarden UNSET NETWORK_POLICY"), "fail", "needs no gateway"},
		"the account's network policy":   {sql("ALTER USER querywarden UNSET NETWORK_POLICY; ALTER ACCOUNT SET NETWORK_POLICY = querywarden_network"), "warn", "only the account's"},
		"the role owns a table":          {sql("GRANT OWNERSHIP ON TABLE retail.public.people TO ROLE querywarden_role"), "fail", "OWNERSHIP"},
		"the role may grant":             {sql("GRANT MANAGE GRANTS ON ACCOUNT TO ROLE querywarden_role"), "fail", "MANAGE GRANTS"},
		"the role may create":            {sql("GRANT CREATE TABLE ON SCHEMA retail.public TO ROLE querywarden_role"), "fail", "CREATE TABLE"},
		"the role may write":             {sql("GRANT INSERT ON TABLE retail.public.people TO ROLE querywarden_role"), "warn", "may write"},
		"the role has another":           {sql("GRANT ROLE sysadmin TO ROLE querywarden_role"), "fail", "can do everything"},
		"the role is the administrator's": {func(t *testing.T, c *clinic) {
			sql("GRANT ROLE accountadmin TO USER querywarden")(t, c)
			c.config["warehouse"] = c.warehouse("role: QUERYWARDEN_ROLE", "role: ACCOUNTADMIN")
		}, "fail", "can do everything"},
		"the role reads nothing":    {sql("REVOKE ALL PRIVILEGES ON TABLE retail.public.people FROM ROLE querywarden_role"), "fail", "can read no table"},
		"the user has another role": {sql("CREATE ROLE more; GRANT ROLE more TO USER querywarden"), "warn", "does not use"},
		"no tags":                   {sql("REVOKE DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER FROM ROLE querywarden_role"), "fail", "masks by labels"},
		"no logins to compare":      {sql("REVOKE DATABASE ROLE SNOWFLAKE.SECURITY_VIEWER FROM ROLE querywarden_role"), "warn", "LOGIN_HISTORY"},
		"no addresses":              {warehouse("addresses: [127.0.0.1], ", ""), "warn", "cannot be told"},
		"nobody compares":           {warehouse(", reconcile: {every: 1h}", ""), "warn", "by itself"},
	}
	found := 0
	for name, p := range planted {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t)
			p.plant(t, c)
			findings, status, said := c.examine(t)
			hit := false
			for _, f := range findings {
				if f.State != "ok" && strings.Contains(f.Said, p.said) {
					hit = hit || f.State == p.state
					if f.Next == "" {
						t.Errorf("%+v does not say what to do", f)
					}
				}
			}
			if !hit || (p.state == "fail") != (status == 1) {
				t.Errorf("status %d, want a %s about %q: %s\n%+v", status, p.state, p.said, said, findings)
				return
			}
			found++
		})
	}
	t.Logf("%d misconfigurations planted, %d found", len(planted), found)
}
