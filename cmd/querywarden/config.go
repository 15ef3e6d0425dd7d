package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"querywarden/audit"
	"querywarden/internal/identity"
	"querywarden/policy"
)

// config is querywarden.yaml. Paths in it are relative to the file's folder.
// Unknown keys are errors: a misspelt setting must not silently fall back to
// a default.
type config struct {
	Listen    string          `yaml:"listen"`
	Resource  string          `yaml:"resource"`
	Data      string          `yaml:"data"`
	HeadFile  string          `yaml:"head_file"`
	Anchors   anchorsConfig   `yaml:"anchors"`
	Policy    string          `yaml:"policy"`
	Identity  identityConfig  `yaml:"identity"`
	Stdio     *stdioConfig    `yaml:"stdio"`
	Warehouse warehouseConfig `yaml:"warehouse"`
	Approvals approvalsConfig `yaml:"approvals"`
	Retention retentionConfig `yaml:"retention"`

	dir  string // the folder of the file
	text string // the file itself, for the record; it names secrets and holds none
}

type identityConfig struct {
	Issuers []issuerConfig `yaml:"issuers"`
	MaxAge  duration       `yaml:"max_age"`
	Skew    duration       `yaml:"skew"`
}

type issuerConfig struct {
	URL         string            `yaml:"url"`
	KeysFile    string            `yaml:"keys_file"`
	Algorithms  []string          `yaml:"algorithms"`
	GroupsClaim string            `yaml:"groups_claim"`
	Kind        policy.CallerKind `yaml:"kind"`
}

// stdioConfig is who speaks over stdio: the process belongs to one person,
// and so does this file.
type stdioConfig struct {
	Subject string            `yaml:"subject"`
	Email   string            `yaml:"email"`
	Groups  []string          `yaml:"groups"`
	Kind    policy.CallerKind `yaml:"kind"`
}

type warehouseConfig struct {
	// Emulator is the folder of the embedded warehouse. With it, everything
	// below is set by the gate itself.
	Emulator string `yaml:"emulator"`

	Account        string `yaml:"account"`
	Host           string `yaml:"host"`
	User           string `yaml:"user"`
	PrivateKeyFile string `yaml:"private_key_file"`
	Role           string `yaml:"role"`
	Warehouse      string `yaml:"warehouse"`
	Database       string `yaml:"database"`
	Schema         string `yaml:"schema"`
}

type approvalsConfig struct {
	// Wait is how long request_approval holds a call before it says pending.
	Wait duration `yaml:"wait"`
}

// retentionConfig says how long the log keeps texts; their digests stay.
type retentionConfig struct {
	Texts duration `yaml:"texts"` // statements, purposes, reasons
	Rows  duration `yaml:"rows"`  // of answers, where policy keeps them
}

// anchorsConfig are the places outside of the data folder where checkpoints of
// the log go.
type anchorsConfig struct {
	File    string `yaml:"file"`    // appended to
	Webhook string `yaml:"webhook"` // posted to
	Witness struct {
		URL string `yaml:"url"`
		Key string `yaml:"key"` // its public key, "name+hash+key"
	} `yaml:"witness"`
	// Every is how long it takes until something that was not taken is tried
	// again.
	Every duration `yaml:"every"`
}

// duration reads "30s" and "12h".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s or 12h", text)
	}
	*d = duration(v)
	return nil
}

// configLimit is more than any configuration needs, in bytes.
const configLimit = 1 << 20

// loadConfig reads and checks a configuration file.
func loadConfig(file string) (*config, error) {
	if file == "" {
		return nil, usagef("--config is missing")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("reading %s: no such file", file), "`querywarden demo` writes a complete one to start from")
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	if len(text) > configLimit {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", file, configLimit)
	}
	var c config
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField()).Decode(&c); err != nil {
		return nil, fmt.Errorf("reading %s:\n%s", file, yaml.FormatError(err, false, true))
	}
	if c.dir, err = filepath.Abs(filepath.Dir(file)); err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", file, err)
	}
	c.text = string(text)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &c, nil
}

// check fills in defaults and refuses what could not work.
func (c *config) check() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8423"
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port", c.Listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen: %q is not a loopback address, and tokens must not cross a network in the clear; put a TLS proxy in front", c.Listen)
	}
	if c.Resource == "" {
		c.Resource = "http://" + c.Listen + "/mcp"
	}
	u, err := url.Parse(c.Resource)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("resource: %q is not the public URL of this gateway's /mcp", c.Resource)
	}
	if c.Data == "" {
		return errors.New("data: the folder of the audit database is missing; nothing runs unrecorded")
	}
	if c.Policy == "" {
		return errors.New("policy: the policy file is missing; without one everything is denied")
	}
	w := &c.Warehouse
	switch {
	case w.Emulator != "" && (w.Account != "" || w.User != "" || w.Host != "" || w.PrivateKeyFile != ""):
		return errors.New("warehouse: emulator stands beside the settings of an account; keep one of them")
	case w.Emulator == "" && (w.Account == "" || w.User == "" || w.PrivateKeyFile == ""):
		return errors.New("warehouse: needs either emulator, or account, user and private_key_file")
	}
	if c.Approvals.Wait == 0 {
		c.Approvals.Wait = duration(45 * time.Second)
	}
	if c.Anchors.Every == 0 {
		c.Anchors.Every = duration(time.Minute)
	}
	if (c.Anchors.Witness.URL == "") != (c.Anchors.Witness.Key == "") {
		return errors.New("anchors.witness: needs both url and key")
	}
	if c.Retention.Texts < 0 || c.Retention.Rows < 0 {
		return errors.New("retention: a duration cannot be negative")
	}
	for i, issuer := range c.Identity.Issuers {
		if issuer.URL == "" {
			return fmt.Errorf("identity.issuers[%d]: url is missing", i)
		}
	}
	return nil
}

// path resolves a path of the configuration against the file's folder.
func (c *config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

func (c *config) auditFile() string { return filepath.Join(c.path(c.Data), "audit.db") }
func (c *config) rowsKey() string   { return filepath.Join(c.path(c.Data), "rows.key") }
func (c *config) socket() string    { return filepath.Join(c.path(c.Data), "admin.sock") }

// anchors are where checkpoints of the log go.
func (c *config) anchors() ([]audit.Anchor, error) {
	var list []audit.Anchor
	if c.Anchors.File != "" {
		list = append(list, audit.FileAnchor{Path: c.path(c.Anchors.File)})
	}
	if c.Anchors.Webhook != "" {
		list = append(list, audit.WebhookAnchor{URL: c.Anchors.Webhook})
	}
	if w := c.Anchors.Witness; w.URL != "" {
		key, err := audit.WitnessKey(w.Key)
		if err != nil {
			return nil, fmt.Errorf("anchors.witness: %w", err)
		}
		list = append(list, audit.WitnessAnchor{URL: w.URL, Key: key})
	}
	return list, nil
}

// verifier makes the check of bearer tokens that the configuration asks for.
func (c *config) verifier() (*identity.Verifier, error) {
	ic := identity.Config{
		Audience: c.Resource,
		MaxAge:   time.Duration(c.Identity.MaxAge),
		Skew:     time.Duration(c.Identity.Skew),
	}
	for _, issuer := range c.Identity.Issuers {
		ic.Issuers = append(ic.Issuers, identity.IssuerConfig{
			URL:         issuer.URL,
			KeysFile:    c.path(issuer.KeysFile),
			Algorithms:  issuer.Algorithms,
			GroupsClaim: issuer.GroupsClaim,
			Kind:        issuer.Kind,
		})
	}
	return identity.New(ic)
}

// loadPolicy reads the policy file, which runs its own tests.
func loadPolicy(file string) (*policy.Policy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, hint(fmt.Errorf("reading %s: %w", file, err), "nothing runs under a policy that is not understood; `querywarden policy test %s` checks it alone", file)
	}
	return p, nil
}
