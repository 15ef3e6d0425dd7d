package main

import (
	"context"
	"log/slog"

	"querywarden/internal/client"
)

// runConnect joins a client that only speaks stdio to a gateway. Standard
// output is the protocol's alone.
func runConnect(ctx context.Context, args []string, std streams) error {
	fs := newFlags("connect", std)
	var a access
	a.flags(fs)
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 1 || len(rest) == 1 && a.url != "" {
		return usagef("connect takes one URL")
	}
	if len(rest) == 1 {
		a.url = rest[0]
	}
	u, err := a.address()
	if err != nil {
		return err
	}
	// Programs that start this one have no terminal, but their person has a
	// browser.
	var ask func(context.Context) (*client.Kept, error)
	if open := browser(); open != nil || onTerminal(std.err) {
		ask = asking(client.SignIn{Gateway: u, Browser: open}, std)
	}
	token, err := a.token(u, ask)
	if err != nil {
		return err
	}
	if _, err := token(ctx, false); err != nil {
		return interrupted(ctx, err)
	}
	bridge := client.NewBridge(client.New(u, token, "querywarden", version()), std.out, slog.New(slog.NewTextHandler(std.err, nil)))
	return interrupted(ctx, bridge.Run(ctx, std.in))
}
