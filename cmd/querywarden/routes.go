package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"querywarden/internal/console"
	"querywarden/internal/identity"
)

// consoleConfig is how people reach the console. Without it there is none.
type consoleConfig struct {
	// Issuer is the one of identity.issuers where people sign in; it need not be
	// said if there is one only.
	Issuer           string   `yaml:"issuer"`
	ClientID         string   `yaml:"client_id"`
	ClientSecretFile string   `yaml:"client_secret_file"`
	Scopes           []string `yaml:"scopes"`
	// Auditors are the groups that may read the log.
	Auditors []string `yaml:"auditors"`
	// Fresh is how long after entering their credentials people may approve.
	Fresh duration `yaml:"fresh"`
}

// check fills in what need not be said, and refuses what could not work.
func (c *consoleConfig) check(issuers []issuerConfig) error {
	if c == nil {
		return nil
	}
	if c.ClientID == "" {
		return hint(errors.New("console: client_id is missing"), "register the gateway at your identity provider, with https://YOUR-GATEWAY/console/callback to send people back to")
	}
	if c.Fresh < 0 {
		return errors.New("console.fresh: a duration cannot be negative")
	}
	if c.Issuer == "" && len(issuers) == 1 {
		c.Issuer = issuers[0].URL
	}
	for _, i := range issuers {
		if i.URL == c.Issuer {
			return nil
		}
	}
	return hint(fmt.Errorf("console.issuer: %q is none of identity.issuers", c.Issuer), "people sign in to the console at one issuer; with several, console.issuer says which")
}

// handler is everything that the gateway serves over HTTP: the console, Slack's
// callbacks, and behind them agents' calls.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", g.server.Handler())
	told := g.server.Guard(g.capture.Handle())
	mux.Handle("/hooks/", told)
	mux.Handle("/v1/logs", told)
	if g.console != nil {
		mux.Handle("/console", g.console.Handler())
		mux.Handle("/console/", g.console.Handler())
	}
	if g.slack != nil {
		mux.Handle("/slack/interactions", g.slack.Handler())
	}
	if g.demo != nil {
		mux.Handle("/demo/", g.demo)
	}
	return mux
}

// openConsole makes the console that the configuration asks for, if any.
func (g *gateway) openConsole(ctx context.Context) error {
	c := g.config
	if c.Console == nil {
		return nil
	}
	address, err := c.consoleURL()
	if err != nil {
		return err
	}
	var secret []byte
	if c.Console.ClientSecretFile != "" {
		if secret, err = os.ReadFile(c.path(c.Console.ClientSecretFile)); err != nil {
			return fmt.Errorf("reading the console's client secret: %w", err)
		}
	}
	login, err := g.verifier.Login(identity.LoginConfig{
		Issuer: c.Console.Issuer, ClientID: c.Console.ClientID, ClientSecret: strings.TrimSpace(string(secret)), Scopes: c.Console.Scopes,
		Redirect: console.Callback(address),
	})
	if err != nil {
		return err
	}
	key, err := secretFile(c.rowsKey())
	if err != nil {
		return err
	}
	g.console, err = console.New(ctx, console.Config{
		Log: g.log, Reader: g.reader, Approvals: g.approvals, Login: login, URL: address, AllowedHosts: []string{c.Listen},
		Auditors: c.Console.Auditors, Fresh: time.Duration(cmp.Or(c.Console.Fresh, duration(console.DefaultFresh))), RowsKey: key,
		Refused: g.gate.Refused, Logger: g.logger,
	})
	return err
}

// consoleURL is where people find the console: beside /mcp.
func (c *config) consoleURL() (string, error) {
	u, err := url.Parse(c.Resource)
	if err != nil {
		return "", fmt.Errorf("reading resource: %w", err)
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/console"}).String(), nil
}
