package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/identity"
	"querywarden/policy"
	"querywarden/tools"
)

func runPolicy(ctx context.Context, args []string, std streams) error {
	fs := newFlags("policy", std)
	var o auditOptions
	file := fs.String("policy", "", "replay: the policy `file` to decide by")
	fs.StringVar(&o.config, "config", "", "replay: the gateway's configuration `file`")
	fs.StringVar(&o.db, "db", "", "replay: the log's `file`, instead of a configuration")
	fs.Var(&o.since, "since", "replay: only from this `time` on: 2h, 2026-11-01, or 2026-11-01T08:00:00Z")
	fs.Var(&o.until, "until", "replay: only before this `time`")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) == 2 && rest[0] == "test":
		p, err := loadPolicy(rest[1])
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s: version %s, %d tests passed\n", rest[1], p.Version(), len(p.Test()))
		return nil
	case len(rest) == 1 && rest[0] == "replay" && *file != "":
		p, err := loadPolicy(*file)
		if err != nil {
			return err
		}
		return replayPolicy(ctx, p, &o, std)
	default:
		return usagef("policy test needs the policy file, policy replay needs --policy FILE")
	}
}

// replayPolicy decides the recorded past again and lists what would differ.
func replayPolicy(ctx context.Context, p *policy.Policy, o *auditOptions, std streams) error {
	r, err := o.open()
	if err != nil {
		return err
	}
	defer r.Close()
	var decided, differ, unknown int
	turned := map[string]int{}
	f := audit.Filter{Since: o.since.Time, Until: o.until.Time, Kind: audit.KindDecision, Progress: progressOn(std.err)}
	for e, err := range r.Entries(ctx, f) {
		if err != nil {
			return err
		}
		if e.Event.Approval != "" {
			continue // judged again when it was due, and told with its request
		}
		was, would, err := tools.Redecide(p, e)
		if errors.Is(err, tools.ErrNoFacts) {
			unknown++
			continue
		}
		if err != nil {
			return err
		}
		decided++
		if was.Same(would) {
			continue
		}
		if differ++; differ == 1 {
			fmt.Fprintln(std.out, "What would differ:")
		}
		turned[was.Verdict+" → "+would.Verdict]++
		fmt.Fprintf(std.out, "\n%d  %s  %s  %s → %s\n", e.Index, e.Event.Time.Local().Format(time.DateTime), printable(who(e.Event.Caller)), was.Verdict, would.Verdict)
		fmt.Fprintf(std.out, "  %s\n", ellipsis(oneLine(e.Texts["sql"]), 120))
		if was.Verdict != would.Verdict {
			because := slices.Compact(slices.Concat(would.Rules, would.Codes))
			fmt.Fprintf(std.out, "  because of %s\n", strings.Join(because, ", "))
		}
		if would.Verdict == policy.Deny.String() {
			continue
		}
		compare(std.out, "mask", was.Masks, would.Masks)
		compare(std.out, "filter", was.Filters, would.Filters)
	}
	if differ > 0 {
		fmt.Fprintln(std.out)
	}
	fmt.Fprintf(std.out, "%d decisions decided again under %s: %d differ", decided, p.Version(), differ)
	for _, turn := range slices.Sorted(maps.Keys(turned)) {
		fmt.Fprintf(std.out, ", %d %s", turned[turn], turn)
	}
	fmt.Fprintln(std.out)
	if unknown > 0 {
		fmt.Fprintf(std.out, "%d could not be: their facts are not in the log\n", unknown)
	}
	return nil
}

// compare prints what one list has and the other has not.
func compare(w io.Writer, what string, was, would []string) {
	for _, m := range was {
		if !slices.Contains(would, m) {
			fmt.Fprintf(w, "  - %s %s\n", what, printable(m))
		}
	}
	for _, m := range would {
		if !slices.Contains(was, m) {
			fmt.Fprintf(w, "  + %s %s\n", what, printable(m))
		}
	}
}

// tokenLifetime is how long a token of the demo's issuer is good for.
const tokenLifetime = 12 * time.Hour

// demoToken makes a token of the issuer whose key the demo keeps in the
// configuration's folder.
func demoToken(c *config, subject, groups string) (string, error) {
	issuer, err := openDemoIssuer(c)
	if err != nil {
		return "", err
	}
	return issuer.Token(identity.TokenClaims{
		Subject: subject, Email: subject + "@example.com", Groups: splitList(groups), Audience: c.Resource, Lifetime: tokenLifetime,
	})
}
