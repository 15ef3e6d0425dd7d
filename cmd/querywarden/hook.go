package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"querywarden/internal/capture"
	"querywarden/internal/client"
)

// hookPatience is how long a hook may hold up its client.
const hookPatience = 2 * time.Second

// hookLimit is more than any hook's event needs, in bytes.
const hookLimit = 32 << 20

// runHook passes what happens in an agent's client to the gateway, as the hooks
// of that client call it: with the event on standard input, or as the last
// argument. It prints nothing on standard output, where some clients look for
// orders, sends none of its environment, and whatever goes wrong the client goes
// on, unless it was told to fail closed.
func runHook(ctx context.Context, args []string, std streams) error {
	fs := newFlags("hook", std)
	var a access
	a.flags(fs)
	closed := fs.Bool("fail-closed", false, "exit 2 if the gateway was not told, which makes clients stop; without it, exit 0 whatever happens")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	kinds := append(capture.Sources(), "codex-notify")
	notify := len(rest) > 0 && rest[0] == "codex-notify"
	switch {
	case len(rest) == 0 || !slices.Contains(kinds, rest[0]):
		return usagef("hook needs one client: %s", strings.Join(kinds, ", "))
	case notify && len(rest) != 2:
		return usagef("hook codex-notify takes the event as its last argument")
	case !notify && len(rest) != 1:
		return usagef("hook takes no argument %q: the event stands on standard input", rest[1])
	}
	ctx, cancel := context.WithTimeout(ctx, hookPatience)
	defer cancel()
	event := make(chan []byte, 1)
	go func() { // a client that never closes its end does not hold this up
		if notify {
			event <- []byte(rest[1])
			return
		}
		text, err := io.ReadAll(io.LimitReader(std.in, hookLimit))
		if err != nil {
			text = nil // half an event is none
		}
		event <- text
	}()
	select {
	case text := <-event:
		err = a.tell(ctx, strings.TrimSuffix(rest[0], "-notify"), text)
	case <-ctx.Done():
		err = errors.New("no event came")
	}
	switch {
	case err == nil || errors.Is(err, capture.ErrNothing):
		return nil
	case *closed:
		return &blockedError{fmt.Errorf("the gateway was not told what happens here: %w", err)}
	default:
		fmt.Fprintf(std.err, "querywarden: the gateway was not told: %s\n", printable(err.Error()))
		return nil
	}
}

// A blockedError stops the agent's client: the clients take exit status 2 of a
// hook for a no, and any other for a hook that is broken.
type blockedError struct{ err error }

func (e *blockedError) Error() string { return e.err.Error() }
func (e *blockedError) Unwrap() error { return e.err }

// tell sends the event's fields that the gateway keeps.
func (a *access) tell(ctx context.Context, source string, event []byte) error {
	slim, err := capture.Slim(source, event)
	if err != nil {
		return err
	}
	u, err := a.address()
	if err != nil {
		return err
	}
	token, err := a.token(u, nil) // nobody is asked to sign in from inside of a hook
	if err != nil {
		return err
	}
	return client.New(u, token, "querywarden", version()).Tell(ctx, "/hooks/"+source, slim)
}
