// Command querywarden is an MCP server that stands between AI agents and a
// Snowflake account. It alone holds the warehouse credential; what an agent
// sends is parsed, judged, masked, shown to a person where policy asks for
// one, recorded, and only then run.
//
//	querywarden demo [--tour]          the whole story on this machine, no account needed
//	querywarden serve --config F       MCP over streamable HTTP
//	querywarden stdio --config F       MCP over standard input and output
//	querywarden explain [--config F]   how a statement is read and judged
//	querywarden policy test F          run a policy file's own tests
//	querywarden approvals …            list, show, approve and deny what waits
//	querywarden hook CLIENT            what a client's hooks run to tell what was asked
//	querywarden audit …                list, show, replay, verify, prove and export the log
//	querywarden query SQL              run one statement through a gateway
//	querywarden connect URL            a gateway for clients that only speak stdio
//	querywarden config CLIENT          what to paste into an MCP client
//	querywarden login|logout URL       sign in at a gateway, and out
//	querywarden doctor --config F      what is wrong with a configuration
//	querywarden setup snowflake        the SQL that an administrator runs once
//	querywarden emulator               a Snowflake small enough to carry
//	querywarden token [--json]         the token of this job, or of who is signed in
//
// Exit status: 0 done, 1 refused or failed, 2 called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}

// streams are the program's standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A command is one verb of the command line.
type command struct {
	name    string
	args    string // what follows the name, for the usage line
	summary string
	run     func(ctx context.Context, args []string, std streams) error
}

// commands is a function, not a variable, because help prints the list that
// help is in.
func commands() []command {
	return []command{
		{"demo", "[--tour] [--dir D] [--listen ADDR]", "the whole story on this machine, no account needed", runDemo},
		{"serve", "--config F", "MCP over streamable HTTP", runServe},
		{"stdio", "--config F", "MCP over standard input and output", runStdio},
		{"explain", "[--config F] [--as group,…] [--jsonl] [SQL]", "how a statement is read and judged", runExplain},
		{"policy", "test F | replay --policy F --config F", "run a policy file's own tests, or decide the past again", runPolicy},
		{"approvals", "list|show|approve|deny --config F …", "what waits for a person", runApprovals},
		{"audit", "list|show|replay|verify|proof|export --config F …", "the log", runAudit},
		{"query", "[--url URL] [--format F] [--output F] SQL|-", "run one statement through a gateway", runQuery},
		{"connect", "URL", "a gateway for clients that only speak stdio", runConnect},
		{"config", "claude-code|cursor|codex|… [--stdio] [--url URL] [--capture]", "what to paste into an MCP client", runConfig},
		{"login", "URL [--device] [--client-id ID]", "sign in at a gateway", runLogin},
		{"logout", "URL", "end a sign-in", runLogout},
		{"doctor", "--config F [--json]", "what is wrong with a configuration, and what to do", runDoctor},
		{"setup", "snowflake [--config F] [--public-key K] [--addresses A]", "the SQL that an administrator runs once", runSetup},
		{"emulator", "[--listen ADDR] [--dir D] [--demo]", "a Snowflake small enough to carry", runEmulator},
		{"token", "[--url URL] [--github] [--json] | --config F [--as SUBJECT]", "the token of this job, or of who is signed in", runToken},
		{"hook", "claude|codex|codex-notify|cursor|devin --url U", "what an agent's client runs to tell what was asked", runHook},
		{"version", "", "print the version", runVersion},
	}
}

// run is the program without the process: main and the tests call it.
func run(ctx context.Context, args []string, std streams) int {
	if len(args) == 0 {
		printUsage(std.err)
		return 2
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		printUsage(std.out)
		return 0
	case "--version", "-version":
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		return report(std.err, c, c.run(ctx, args[1:], std))
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	fmt.Fprintf(std.err, "querywarden: error: unknown command %q\n", args[0])
	fmt.Fprintf(std.err, "querywarden: hint: the commands are %s\n", strings.Join(names, ", "))
	return 2
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "querywarden stands between AI agents and a Snowflake account.\n\nusage:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  querywarden %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nStart with:  querywarden demo --tour\n")
}

// report tells the person what went wrong, in the form that DESIGN promises,
// and returns the exit status.
func report(w io.Writer, c command, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if errors.Is(err, errSilent) {
		return 1
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(w, "querywarden: error: %s\n", usage.message)
		fmt.Fprintf(w, "querywarden: hint: usage: querywarden %s %s\n", c.name, c.args)
		return 2
	}
	fmt.Fprintf(w, "querywarden: error: %s\n", err)
	var h *hinted
	if errors.As(err, &h) {
		fmt.Fprintf(w, "querywarden: hint: %s\n", h.hint)
	}
	var blocked *blockedError
	if errors.As(err, &blocked) {
		return 2
	}
	return 1
}

// errSilent ends a command with status 1 after it has said all there is to
// say on standard output.
var errSilent = errors.New("refused")

// A usageError is a command called wrongly: exit status 2.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// A hinted error knows what to do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// newFlags returns a flag set whose errors are ours to print.
func newFlags(name string, std streams) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		fmt.Fprintf(std.out, "usage: querywarden %s [flags]\n", name)
		fs.SetOutput(std.out)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// parseFlags parses flags wherever they stand among the arguments, so that
// `audit show 17 --config F` works like `audit show --config F 17`, and
// returns the other arguments.
// What follows `--` is an argument, whatever it looks like.
func parseFlags(fs *flag.FlagSet, args []string) ([]string, error) {
	var rest, literal []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, literal = args[:i], args[i+1:]
	}
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usagef("%s", err)
		}
		args = fs.Args()
		if len(args) == 0 {
			return append(rest, literal...), nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

func runVersion(_ context.Context, args []string, std streams) error {
	if len(args) > 0 {
		return usagef("version takes no arguments")
	}
	fmt.Fprintln(std.out, "querywarden", version())
	return nil
}

// version is what the module was built as.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
