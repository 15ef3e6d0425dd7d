package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"querywarden/audit"
	"querywarden/policy"
)

// config is querywarden.yaml. Paths in it are relative to the file's folder.
// Unknown keys are errors: a misspelt setting must not silently fall back to
// a default.
type config struct {
	Listen         string    `yaml:"listen"`
	Resource       string    `yaml:"resource"`
	TLS            tlsConfig `yaml:"tls"`
	TrustedProxies []string  `yaml:"trusted_proxies"`
	Plaintext      bool      `yaml:"plaintext"` // for trusted proxies, beyond loopback
	// Scopes are what a token has to be good for, by tool.
	Scopes    map[string][]string `yaml:"scopes"`
	Limits    limitsConfig        `yaml:"limits"`
	Data      string              `yaml:"data"`
	HeadFile  string              `yaml:"head_file"`
	Anchors   anchorsConfig       `yaml:"anchors"`
	Policy    string              `yaml:"policy"`
	Identity  identityConfig      `yaml:"identity"`
	Stdio     *stdioConfig        `yaml:"stdio"`
	Warehouse warehouseConfig     `yaml:"warehouse"`
	Approvals approvalsConfig     `yaml:"approvals"`
	Slack     *slackConfig        `yaml:"slack"`
	Console   *consoleConfig      `yaml:"console"`
	Devin     *devinConfig        `yaml:"devin"`
	Retention retentionConfig     `yaml:"retention"`

	file string
	dir  string // the folder of the file
	text string // the file itself, for the record; it names secrets and holds none
}

// limitsConfig bounds what one caller can take of the gateway; defaults are in
// package mcp.
type limitsConfig struct {
	CallsPerMinute    int      `yaml:"calls_per_minute"` // of one caller
	Burst             int      `yaml:"burst"`            // of one caller, at once
	Calls             int      `yaml:"calls"`            // under way
	CallsPerCaller    int      `yaml:"calls_per_caller"` // under way
	SessionsPerCaller int      `yaml:"sessions_per_caller"`
	SessionIdle       duration `yaml:"session_idle"`
}

func (l limitsConfig) check() error {
	for _, n := range []int{l.CallsPerMinute, l.Burst, l.Calls, l.CallsPerCaller, l.SessionsPerCaller, int(l.SessionIdle)} {
		if n < 0 {
			return errors.New("limits: a limit cannot be negative; leave it out for the default")
		}
	}
	return nil
}

// stdioConfig is who speaks over stdio: the process belongs to one person,
// and so does this file.
type stdioConfig struct {
	Subject string            `yaml:"subject"`
	Email   string            `yaml:"email"`
	Groups  []string          `yaml:"groups"`
	Kind    policy.CallerKind `yaml:"kind"`
}

type approvalsConfig struct {
	// Wait is how long request_approval holds a call before it says pending.
	Wait duration `yaml:"wait"`
	// Answers is how long the answer of an approved statement waits for its
	// requester.
	Answers duration       `yaml:"answers"`
	Webhook *webhookConfig `yaml:"webhook"`
}

// webhookConfig is where requests are told of; see approvals.Webhook.
type webhookConfig struct {
	URL        string `yaml:"url"`
	SecretFile string `yaml:"secret_file"`
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
	c.file, c.text = file, string(text)
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
	if c.Resource == "" {
		c.Resource = "http://" + c.Listen + "/mcp"
		if c.TLS.CertFile != "" {
			c.Resource = "https://" + c.Listen + "/mcp"
		}
	}
	if err := c.checkNetwork(); err != nil {
		return err
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
	if err := c.Warehouse.check(); err != nil {
		return fmt.Errorf("warehouse: %w", err)
	}
	if c.Approvals.Wait == 0 {
		c.Approvals.Wait = duration(45 * time.Second)
	}
	if w := c.Approvals.Webhook; w != nil && (w.URL == "" || w.SecretFile == "") {
		return errors.New("approvals.webhook: needs both url and secret_file")
	}
	if err := c.Devin.check(); err != nil {
		return err
	}
	if err := c.Slack.check(); err != nil {
		return err
	}
	if c.Slack != nil && c.Console == nil {
		return errors.New("slack: needs the console, where people link their accounts; add a console section")
	}
	if c.Approvals.Answers < 0 {
		return errors.New("approvals.answers: a duration cannot be negative")
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
	if err := c.Limits.check(); err != nil {
		return err
	}
	if err := c.Identity.check(); err != nil {
		return err
	}
	return c.Console.check(c.Identity.Issuers)
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
