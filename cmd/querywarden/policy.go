package main

import (
	"context"
	"fmt"
	"time"

	"querywarden/internal/identity"
)

func runPolicy(_ context.Context, args []string, std streams) error {
	fs := newFlags("policy", std)
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 || rest[0] != "test" {
		return usagef("policy test needs the policy file")
	}
	p, err := loadPolicy(rest[1])
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s: version %s, %d tests passed\n", rest[1], p.Version(), len(p.Test()))
	return nil
}

// tokenLifetime is how long a token of the demo's issuer is good for.
const tokenLifetime = 12 * time.Hour

func runToken(_ context.Context, args []string, std streams) error {
	fs := newFlags("token", std)
	file := fs.String("config", "", "the configuration `file`")
	subject := fs.String("as", "ada", "the token's `subject`")
	groups := fs.String("groups", "analysts", "the token's `groups`, comma-separated")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("token takes no argument %q", rest[0])
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	token, err := demoToken(c, *subject, *groups)
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, token)
	return nil
}

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
