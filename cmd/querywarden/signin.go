package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"querywarden/internal/client"
)

// urlVariable is the variable that names the gateway, where no flag does.
const urlVariable = "QUERYWARDEN_URL"

// access is which gateway a client calls, and with what.
type access struct {
	url       string
	tokenFile string
	plain     bool // no keyring
}

func (a *access) flags(fs *flag.FlagSet) {
	fs.StringVar(&a.url, "url", "", "the gateway's `URL` (default "+urlVariable+")")
	fs.StringVar(&a.tokenFile, "token-file", "", "a `file` that holds the token")
	a.keyringFlag(fs)
}

func (a *access) keyringFlag(fs *flag.FlagSet) {
	fs.BoolVar(&a.plain, "no-keyring", false, "keep sign-ins in a file of yours, not in the keyring")
}

// address is the gateway's.
func (a *access) address() (*url.URL, error) {
	place := or(a.url, os.Getenv(urlVariable))
	if place == "" {
		return nil, usagef("which gateway? --url https://gate.example.com/mcp, or %s", urlVariable)
	}
	u, err := client.Address(place)
	return u, advised(err)
}

// token finds where tokens for a gateway come from. Ask lets a person sign in,
// nil where there is none.
func (a *access) token(u *url.URL, ask func(context.Context) (*client.Kept, error)) (client.Token, error) {
	token, err := client.Pipeline(a.tokenFile, os.Getenv, u)
	if err != nil || token != nil {
		return token, advised(err)
	}
	keep, err := client.OpenKeep(!a.plain)
	if err != nil {
		return nil, err
	}
	return client.SignedIn(keep, u, ask), nil
}

// gateway is the gateway to call. If somebody is at the terminal, they can
// sign in.
func (a *access) gateway(std streams) (*client.Gateway, error) {
	u, err := a.address()
	if err != nil {
		return nil, err
	}
	var ask func(context.Context) (*client.Kept, error)
	if onTerminal(std.err) {
		ask = asking(client.SignIn{Gateway: u, Browser: browser()}, std)
	}
	token, err := a.token(u, ask)
	if err != nil {
		return nil, err
	}
	return client.New(u, token, "querywarden", version()), nil
}

// asking lets the person at std sign in.
func asking(s client.SignIn, std streams) func(context.Context) (*client.Kept, error) {
	s.Say = func(text string) { fmt.Fprintf(std.err, "%s\n\n", text) }
	s.Client = or(s.Client, os.Getenv("QUERYWARDEN_CLIENT_ID"))
	return s.Run
}

// browser returns what opens a URL in a browser on this machine, nil if
// nothing does. $BROWSER goes before the desktop's own.
func browser() func(string) error {
	start := func(name string, args ...string) func(string) error {
		return func(place string) error {
			cmd := exec.Command(name, append(args, place)...)
			if err := cmd.Start(); err != nil {
				return err
			}
			// How it ends is no business of ours, but that it does is.
			go func() { _ = cmd.Wait() }()
			return nil
		}
	}
	switch name := os.Getenv("BROWSER"); {
	case name != "":
		return start(name)
	case runtime.GOOS == "darwin":
		return start("open")
	case runtime.GOOS == "windows":
		return start("rundll32", "url.dll,FileProtocolHandler")
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return nil
	}
	if _, err := exec.LookPath("xdg-open"); err != nil {
		return nil
	}
	return start("xdg-open")
}

// runLogin signs a person in at a gateway.
func runLogin(ctx context.Context, args []string, std streams) error {
	fs := newFlags("login", std)
	var a access
	a.keyringFlag(fs)
	issuer := fs.String("issuer", "", "sign in at this `issuer`, where the gateway takes several")
	id := fs.String("client-id", "", "this client's `id` at the issuer (default QUERYWARDEN_CLIENT_ID)")
	scopes := fs.String("scopes", "", "the `scopes` to ask for, separated by spaces")
	device := fs.Bool("device", false, "sign in with a browser on another device")
	port := fs.Int("port", 0, "the `port` on 127.0.0.1 that the browser comes back to (default any)")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 1 {
		return usagef("login takes one URL")
	}
	if len(rest) == 1 {
		a.url = rest[0]
	}
	u, err := a.address()
	if err != nil {
		return err
	}
	keep, err := client.OpenKeep(!a.plain)
	if err != nil {
		return err
	}
	s := client.SignIn{Gateway: u, Issuer: *issuer, Client: *id, Port: *port}
	if *scopes != "" {
		s.Scopes = strings.Fields(*scopes)
	}
	if !*device {
		s.Browser = browser()
	}
	kept, err := asking(s, std)(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	place, err := keep.Save(kept)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "querywarden: signed in at %s; the sign-in is kept in %s\n", u, place)
	return nil
}

// runLogout ends a sign-in, at the issuer and here.
func runLogout(ctx context.Context, args []string, std streams) error {
	fs := newFlags("logout", std)
	var a access
	a.keyringFlag(fs)
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 1 {
		return usagef("logout takes one URL")
	}
	if len(rest) == 1 {
		a.url = rest[0]
	}
	u, err := a.address()
	if err != nil {
		return err
	}
	keep, err := client.OpenKeep(!a.plain)
	if err != nil {
		return err
	}
	kept, err := keep.Load(u.String())
	if err != nil {
		// What cannot be read can be removed all the same.
		fmt.Fprintf(std.err, "querywarden: %s\n", err)
	}
	if kept != nil {
		if err := client.Revoke(ctx, kept); err != nil {
			fmt.Fprintf(std.err, "querywarden: the issuer did not end the sign-in: %s\n", err)
		}
	}
	found, err := keep.Remove(u.String())
	if err != nil {
		return err
	}
	if !found {
		return hint(fmt.Errorf("nobody is signed in at %s", u), "querywarden login %s", u)
	}
	fmt.Fprintf(std.err, "querywarden: signed out at %s\n", u)
	return nil
}

// runToken prints a token: the job's or the person's, for programs that take
// it from a command, or one of the demo's issuer.
func runToken(ctx context.Context, args []string, std streams) error {
	fs := newFlags("token", std)
	file := fs.String("config", "", "the demo's configuration `file`: make a token of its issuer")
	subject := fs.String("as", "ada", "with --config, the token's `subject`")
	groups := fs.String("groups", "analysts", "with --config, the token's `groups`, comma-separated")
	var a access
	a.flags(fs)
	github := fs.Bool("github", false, "only the token of a job on GitHub Actions, or none")
	asJSON := fs.Bool("json", false, "print a JSON object of headers, as clients' headers helpers do")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("token takes no argument %q", rest[0])
	}
	var token string
	if *file != "" {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		if token, err = demoToken(c, *subject, *groups); err != nil {
			return err
		}
		return printToken(std, token, *asJSON)
	}
	// Claude Code says for which server it asks.
	a.url = or(a.url, os.Getenv("CLAUDE_CODE_MCP_SERVER_URL"))
	u, err := a.address()
	if err != nil {
		return err
	}
	var source client.Token
	if *github {
		source, err = client.GitHub(os.Getenv, u)
		err = advised(err)
	} else {
		source, err = a.token(u, nil)
	}
	if err != nil {
		return err
	}
	if token, err = source(ctx, false); err != nil {
		return interrupted(ctx, err)
	}
	return printToken(std, token, *asJSON)
}

func printToken(std streams, token string, asJSON bool) error {
	if !asJSON {
		fmt.Fprintln(std.out, token)
		return nil
	}
	text, err := json.Marshal(map[string]string{"Authorization": "Bearer " + token})
	if err != nil {
		return errors.New("the token cannot be written as JSON")
	}
	fmt.Fprintln(std.out, string(text))
	return nil
}
