package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"querywarden/examples"
	"querywarden/internal/emulator"
	"querywarden/internal/identity"
)

// demoListen is where the demo serves unless told otherwise: what the example
// configuration says.
const demoListen = "127.0.0.1:8423"

func runDemo(ctx context.Context, args []string, std streams) error {
	fs := newFlags("demo", std)
	dir := fs.String("dir", "", "the demo's `folder` (default querywarden-demo; the tour's is removed afterwards)")
	address := fs.String("listen", "", "the `address` to serve on (default "+demoListen+"; any free port for the tour)")
	tour := fs.Bool("tour", false, "play an agent against the demo, print what happens, stop")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("demo takes no argument %q", rest[0])
	}
	if *tour {
		return runTour(ctx, *dir, or(*address, "127.0.0.1:0"), std)
	}
	d, err := openDemo(ctx, or(*dir, "querywarden-demo"), or(*address, demoListen), newLogger(std))
	if err != nil {
		return err
	}
	if err := d.printHowTo(std.out); err != nil {
		return errors.Join(err, d.close(ctx))
	}
	return errors.Join(d.gateway.serve(ctx, d.listener), d.close(ctx))
}

// A demo is a gateway over the embedded warehouse, in a folder of its own.
type demo struct {
	dir      string
	config   *config
	gateway  *gateway
	listener net.Listener
}

// openDemo makes the folder, or takes it as it is, and opens its gateway. The
// address is taken first, because the configuration names it.
func openDemo(ctx context.Context, dir, address string, logger *slog.Logger) (*demo, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, hint(fmt.Errorf("listening on %s: %w", address, err), "another demo may be running; --listen 127.0.0.1:0 takes any free port")
	}
	d := &demo{dir: dir, listener: l}
	if err := d.open(ctx, logger); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return d, nil
}

func (d *demo) open(ctx context.Context, logger *slog.Logger) error {
	file := filepath.Join(d.dir, "querywarden.yaml")
	if err := d.write(ctx, file); err != nil {
		return err
	}
	var err error
	if d.config, err = loadConfig(file); err != nil {
		return err
	}
	if d.config.Listen != d.listener.Addr().String() {
		return hint(fmt.Errorf("%s says `listen: %s`, this demo has %s", file, d.config.Listen, d.listener.Addr()), "remove the folder, or pass --listen %s", d.config.Listen)
	}
	issuer, err := openDemoIssuer(d.config)
	if err != nil {
		return err
	}
	if d.gateway, err = openGateway(ctx, d.config, logger); err != nil {
		return err
	}
	// A folder of an earlier version has no console, and needs no people.
	if d.config.Console != nil {
		d.gateway.demo, err = newDemoProvider(issuer, d.config)
	}
	return err
}

// write makes the folder's files unless they are there already. The
// configuration comes last: a folder that has one is whole.
func (d *demo) write(ctx context.Context, file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	warehouse := filepath.Join(d.dir, "warehouse")
	if err := os.RemoveAll(warehouse); err != nil { // half made
		return fmt.Errorf("making the demo's warehouse: %w", err)
	}
	e, err := emulator.Open(warehouse, emulator.Options{})
	if err != nil {
		return fmt.Errorf("making the demo's warehouse: %w", err)
	}
	if err := errors.Join(e.Exec(ctx, emulator.DemoScript()), e.Close()); err != nil {
		return fmt.Errorf("filling the demo's warehouse: %w", err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "policy.yaml"), examples.Policy, 0o644); err != nil {
		return fmt.Errorf("writing the demo's policy: %w", err)
	}
	text := strings.ReplaceAll(string(examples.Config), demoListen, d.listener.Addr().String())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the demo's configuration: %w", err)
	}
	return nil
}

func (d *demo) close(ctx context.Context) error {
	return d.gateway.close(context.WithoutCancel(ctx))
}

// openDemoIssuer opens the issuer whose key lies in the configuration's
// folder; only the demo's configuration has one.
func openDemoIssuer(c *config) (*identity.Issuer, error) {
	for _, i := range c.Identity.Issuers {
		if filepath.Base(filepath.Dir(i.KeysFile)) == "issuer" {
			return identity.OpenIssuer(filepath.Dir(c.path(i.KeysFile)), i.URL)
		}
	}
	return nil, hint(errors.New("this configuration has no issuer of the demo's"), "get tokens from your identity provider")
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// printHowTo says what is where and what to paste into which client.
func (d *demo) printHowTo(w io.Writer) error {
	token, err := demoToken(d.config, "ada", "analysts")
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, "querywarden.yaml")
	url := d.config.Resource
	console, err := d.config.consoleURL()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `querywarden is serving %[1]s over a made-up retail company.

  %[2]s/policy.yaml       who may do what; edit it and start again
  %[2]s/querywarden.yaml  the gateway
  %[2]s/data/audit.db     the log:  querywarden audit list --config %[3]s
  What waits for you:     %[6]s  (sign in as bob)

Connect an agent as ada, an analyst (the token is good for %[4]s):

Claude Code
  claude mcp add --transport http querywarden %[1]s --header "Authorization: Bearer $QUERYWARDEN_TOKEN"

Cursor, in .cursor/mcp.json
  {"mcpServers": {"querywarden": {"url": "%[1]s", "headers": {"Authorization": "Bearer ${env:QUERYWARDEN_TOKEN}"}}}}

Codex, in ~/.codex/config.toml
  [mcp_servers.querywarden]
  url = "%[1]s"
  bearer_token_env_var = "QUERYWARDEN_TOKEN"
  tool_timeout_sec = 300

Devin, in .devin/config.json
  {"mcpServers": {"querywarden": {"url": "%[1]s", "transport": "http", "headers": {"Authorization": "Bearer <token>"}}}}

with
  export QUERYWARDEN_TOKEN=%[5]s

Then ask: "Who are our five best customers in Germany, and what do they buy?"
Stop with Ctrl-C.
`, url, d.dir, file, tokenLifetime, token, console)
	return err
}
