package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"querywarden/internal/emulator"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// warehouseConfig is the section about the account.
type warehouseConfig struct {
	// Emulator is the folder of the embedded warehouse. With it, everything
	// about the login is set by the gate itself.
	Emulator string `yaml:"emulator"`

	Account string `yaml:"account"`
	// Host is the account's address where it is not the usual one, with a port
	// if need be. Protocol is https unless it says http, for loopback.
	Host     string `yaml:"host"`
	Protocol string `yaml:"protocol"`

	Login loginConfig `yaml:",inline"`
	// Logins are further logins by name, and Use who has which. The first that
	// fits counts; who fits none has the one above.
	Logins map[string]loginConfig `yaml:"logins"`
	Use    []useConfig            `yaml:"use"`

	// Addresses are where the gateway's traffic comes from, as the account
	// sees it: addresses and ranges.
	Addresses []string        `yaml:"addresses"`
	Reconcile reconcileConfig `yaml:"reconcile"`
}

// loginConfig is one way into the account.
type loginConfig struct {
	User string `yaml:"user"`
	// Authentication is key_pair, access_token, oauth, oauth_client or
	// workload; key_pair if nothing is said.
	Authentication string       `yaml:"authentication"`
	PrivateKeyFile string       `yaml:"private_key_file"`
	PrivateKey     secretConfig `yaml:"private_key"`
	Token          secretConfig `yaml:"token"`
	ClientID       string       `yaml:"client_id"`
	ClientSecret   secretConfig `yaml:"client_secret"`
	TokenURL       string       `yaml:"token_url"`
	Scope          string       `yaml:"scope"`
	Provider       string       `yaml:"provider"`

	Role      string `yaml:"role"`
	Warehouse string `yaml:"warehouse"`
	Database  string `yaml:"database"`
	Schema    string `yaml:"schema"`
	// Agent and SessionScope are what the account must say of the session.
	Agent        bool   `yaml:"agent"`
	SessionScope string `yaml:"session_scope"`
}

// useConfig says whose statements run as which login.
type useConfig struct {
	Login  string              `yaml:"login"`
	Groups []string            `yaml:"groups"`
	Kinds  []policy.CallerKind `yaml:"kinds"`
	Reads  bool                `yaml:"reads"` // only statements that read
}

// reconcileConfig is about comparing the account's history with the log.
type reconcileConfig struct {
	Every duration `yaml:"every"` // while the gateway serves; never if zero
	Login string   `yaml:"login"` // whose role may read the history; the first one's if empty
}

// secretConfig is where a secret comes from: one of a file, a variable of the
// environment, or what a command prints. It is never in the configuration, in
// an argument, or in a message.
type secretConfig struct {
	File    string   `yaml:"file"`
	Env     string   `yaml:"env"`
	Command []string `yaml:"command"`
}

func (s secretConfig) given() bool { return s.File != "" || s.Env != "" || len(s.Command) > 0 }

func (s secretConfig) check(what string) error {
	n := 0
	for _, given := range []bool{s.File != "", s.Env != "", len(s.Command) > 0} {
		if given {
			n++
		}
	}
	if n > 1 {
		return fmt.Errorf("%s: needs one of file, env and command", what)
	}
	return nil
}

// secretTime bounds a command that prints a secret, secretLimit the secret.
const (
	secretTime  = 30 * time.Second
	secretLimit = 1 << 20
)

// read gets the secret.
func (s secretConfig) read(ctx context.Context, c *config) ([]byte, error) {
	switch {
	case s.File != "":
		text, err := os.ReadFile(c.path(s.File))
		if err != nil {
			return nil, fmt.Errorf("reading a secret: %w", err)
		}
		return text, nil
	case s.Env != "":
		text, ok := os.LookupEnv(s.Env)
		if !ok {
			return nil, fmt.Errorf("reading a secret: the environment has no %s", s.Env)
		}
		return []byte(text), nil
	case len(s.Command) > 0:
		ctx, cancel := context.WithTimeout(ctx, secretTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
		cmd.Dir, cmd.WaitDelay = c.dir, time.Second
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := cmd.Run(); err != nil {
			// What it wrote may quote the secret.
			return nil, fmt.Errorf("reading a secret: %s: %w", s.Command[0], err)
		}
		if out.Len() > secretLimit {
			return nil, fmt.Errorf("reading a secret: %s printed more than any secret is long", s.Command[0])
		}
		return out.Bytes(), nil
	default:
		return nil, errors.New("reading a secret: nobody said where it is")
	}
}

// check refuses what could not work.
func (w *warehouseConfig) check() error {
	account := w.Account != "" || w.Host != "" || w.Login.User != "" || w.Login.PrivateKeyFile != "" || w.Login.PrivateKey.given() || w.Login.Token.given() || w.Login.Authentication != ""
	switch {
	case w.Emulator != "" && (account || len(w.Logins) > 0):
		return errors.New("emulator stands beside the settings of an account; keep one of them")
	case w.Emulator != "":
		return nil
	case w.Account == "":
		return errors.New("needs either emulator, or account, user and private_key_file")
	}
	if err := w.Login.check(); err != nil {
		return err
	}
	for name, l := range w.Logins {
		if err := l.check(); err != nil {
			return fmt.Errorf("logins.%s: %w", name, err)
		}
	}
	for i, u := range w.Use {
		if _, ok := w.Logins[u.Login]; !ok {
			return fmt.Errorf("use[%d]: there is no login %q", i, u.Login)
		}
		if len(u.Groups)+len(u.Kinds) == 0 && !u.Reads {
			return fmt.Errorf("use[%d]: names nobody; it needs groups, kinds or reads", i)
		}
	}
	if _, ok := w.Logins[w.Reconcile.Login]; w.Reconcile.Login != "" && !ok {
		return fmt.Errorf("reconcile.login: there is no login %q", w.Reconcile.Login)
	}
	if w.Reconcile.Every < 0 {
		return errors.New("reconcile.every: a duration cannot be negative")
	}
	_, err := w.addresses()
	return err
}

func (l *loginConfig) check() error {
	for what, s := range map[string]secretConfig{"private_key": l.PrivateKey, "token": l.Token, "client_secret": l.ClientSecret} {
		if err := s.check(what); err != nil {
			return err
		}
	}
	if l.PrivateKeyFile != "" {
		if l.PrivateKey.given() {
			return errors.New("private_key stands beside private_key_file; keep one of them")
		}
		l.PrivateKey.File = l.PrivateKeyFile
	}
	if _, err := l.authentication(); err != nil {
		return err
	}
	if l.User == "" && !strings.HasPrefix(l.Authentication, "oauth") {
		return errors.New("needs either emulator, or account, user and private_key_file")
	}
	return nil
}

func (l *loginConfig) authentication() (warehouse.Authentication, error) {
	missing := func(what string) error { return fmt.Errorf("authentication %s needs %s", l.Authentication, what) }
	switch l.Authentication {
	case "", "key_pair":
		if !l.PrivateKey.given() {
			return 0, errors.New("needs either emulator, or account, user and private_key_file")
		}
		return warehouse.KeyPair, nil
	case "access_token":
		if !l.Token.given() {
			return 0, missing("token")
		}
		return warehouse.AccessToken, nil
	case "oauth":
		if !l.Token.given() {
			return 0, missing("token")
		}
		return warehouse.OAuth, nil
	case "oauth_client":
		if l.ClientID == "" || !l.ClientSecret.given() || l.TokenURL == "" {
			return 0, missing("client_id, client_secret and token_url")
		}
		return warehouse.OAuthClient, nil
	case "workload":
		if l.Provider == "" || (l.Provider == "OIDC") != l.Token.given() {
			return 0, missing("provider: AWS, GCP or AZURE, or OIDC with a token")
		}
		return warehouse.Workload, nil
	default:
		return 0, fmt.Errorf("authentication %q is none of key_pair, access_token, oauth, oauth_client, workload", l.Authentication)
	}
}

// addresses are where the gateway logs in from.
func (w *warehouseConfig) addresses() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range w.Addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("addresses: %q is neither an address nor a range such as 203.0.113.0/28", text)
		}
		list = append(list, p)
	}
	return list, nil
}

// login is the login that a section of the configuration describes. Keys are
// read now, other secrets at each login.
func (c *config) login(ctx context.Context, l loginConfig) (warehouse.Login, error) {
	authentication, err := l.authentication()
	if err != nil {
		return warehouse.Login{}, err
	}
	out := warehouse.Login{
		User: l.User, Authentication: authentication, ClientID: l.ClientID, TokenURL: l.TokenURL, Scope: l.Scope, Provider: l.Provider,
		Role: l.Role, Warehouse: l.Warehouse, Database: l.Database, Schema: l.Schema, Agent: l.Agent, SessionScope: l.SessionScope,
	}
	secret := l.Token
	switch authentication {
	case warehouse.KeyPair:
		if out.PrivateKey, err = c.privateKey(ctx, l.PrivateKey); err != nil {
			return out, err
		}
		return out, nil
	case warehouse.OAuthClient:
		secret = l.ClientSecret
	case warehouse.AccessToken, warehouse.OAuth, warehouse.Workload:
	}
	if secret.given() {
		out.Secret = func(ctx context.Context) (string, error) {
			text, err := secret.read(ctx, c)
			return string(text), err
		}
	}
	return out, nil
}

// privateKey reads a PKCS #8 RSA private key in PEM, as Snowflake's key-pair
// authentication has it.
func (c *config) privateKey(ctx context.Context, s secretConfig) (*rsa.PrivateKey, error) {
	text, err := s.read(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reading the warehouse key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("reading the warehouse key: %s holds no PEM block", cmp.Or(s.File, s.Env, "what the command prints"))
	}
	if strings.HasPrefix(block.Type, "ENCRYPTED") {
		return nil, hint(errors.New("reading the warehouse key: it is encrypted"),
			"let a command decrypt it: private_key: {command: [openssl, pkcs8, -in, key.p8, -passin, file:passphrase]}")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, hint(fmt.Errorf("reading the warehouse key: %w", err), "an unencrypted PKCS #8 key is expected: openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt")
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading the warehouse key: Snowflake takes RSA keys, this is %T", key)
	}
	return rsaKey, nil
}

// account says how to log in to the account of the configuration.
func (c *config) account(ctx context.Context) (warehouse.Config, error) {
	w := c.Warehouse
	out := warehouse.Config{Account: w.Account, Host: w.Host, Protocol: w.Protocol, Others: map[string]warehouse.Login{}}
	if host, port, err := net.SplitHostPort(w.Host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return out, fmt.Errorf("warehouse.host: %q has no port", w.Host)
		}
		out.Host, out.Port = host, int(n)
	}
	var err error
	if out.Login, err = c.login(ctx, w.Login); err != nil {
		return out, err
	}
	for name, l := range w.Logins {
		if out.Others[name], err = c.login(ctx, l); err != nil {
			return out, fmt.Errorf("warehouse.logins.%s: %w", name, err)
		}
	}
	return out, nil
}

// loginOf says as which login a caller's statement runs.
func (w *warehouseConfig) loginOf(caller policy.Caller, class policy.Class) string {
	for _, u := range w.Use {
		switch {
		case u.Reads && class != policy.Read,
			len(u.Kinds) > 0 && !slices.Contains(u.Kinds, caller.Kind),
			len(u.Groups) > 0 && !slices.ContainsFunc(u.Groups, func(g string) bool { return slices.Contains(caller.Groups, g) }):
		default:
			return u.Login
		}
	}
	return ""
}

// warehouseConfig says how to log in: into the account of the configuration,
// or into the emulator, which it starts and gives a key made for this process
// alone.
func (g *gateway) warehouseConfig(ctx context.Context) (warehouse.Config, error) {
	c := g.config.Warehouse
	if c.Emulator == "" {
		out, err := g.config.account(ctx)
		out.Record = g.log.RecordOwn
		return out, err
	}
	var err error
	if g.emulator, err = emulator.Open(g.config.path(c.Emulator), emulator.Options{Logger: g.logger}); err != nil {
		return warehouse.Config{}, fmt.Errorf("opening the embedded warehouse: %w", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return warehouse.Config{}, fmt.Errorf("making a key: %w", err)
	}
	if err := g.emulator.AddUser(emulatorUser, &key.PublicKey, emulatorRole); err != nil {
		return warehouse.Config{}, err
	}
	addr, err := g.emulator.Start("127.0.0.1:0")
	if err != nil {
		return warehouse.Config{}, fmt.Errorf("starting the embedded warehouse: %w", err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return warehouse.Config{}, fmt.Errorf("starting the embedded warehouse: %w", err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return warehouse.Config{}, fmt.Errorf("starting the embedded warehouse: %w", err)
	}
	return warehouse.Config{
		Account: emulatorAccount, Protocol: "http", Host: host, Port: n, Record: g.log.RecordOwn,
		Login: warehouse.Login{
			User: emulatorUser, PrivateKey: key, Role: emulatorRole, Warehouse: emulatorWarehouse,
			Database: or(c.Login.Database, emulatorDatabase), Schema: or(c.Login.Schema, emulatorSchema),
		},
	}, nil
}
