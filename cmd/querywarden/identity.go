package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"querywarden/internal/identity"
	"querywarden/policy"
)

// identityConfig says whose tokens count. The two lists of revocations are read
// again whenever their files change; see [gateway.watchRevocations].
type identityConfig struct {
	Issuers     []issuerConfig        `yaml:"issuers"`
	MaxAge      duration              `yaml:"max_age"`
	Skew        duration              `yaml:"skew"`
	Revoked     []identity.Revocation `yaml:"revoked"`
	RevokedFile string                `yaml:"revoked_file"`
}

type issuerConfig struct {
	URL         string            `yaml:"url"`
	Preset      identity.Preset   `yaml:"preset"` // github-actions, gitlab-ci, buildkite
	KeysFile    string            `yaml:"keys_file"`
	Algorithms  []string          `yaml:"algorithms"`
	Tokens      identity.Tokens   `yaml:"tokens"`  // at+jwt, id_token
	Clients     []string          `yaml:"clients"` // that may bring tokens; all if none is named
	GroupsClaim string            `yaml:"groups_claim"`
	Kind        policy.CallerKind `yaml:"kind"`
	Rules       []claimRule       `yaml:"rules"`
	RulesOnly   bool              `yaml:"rules_only"`
	Actors      []claimRule       `yaml:"actors"`
}

// claimRule gives groups to tokens whose claims fit all patterns.
type claimRule struct {
	Claims map[string]string `yaml:"claims"`
	Groups []string          `yaml:"groups"`
	Kind   policy.CallerKind `yaml:"kind"`
}

func (c identityConfig) check() error {
	for i, issuer := range c.Issuers {
		if issuer.URL == "" && issuer.Preset == "" {
			return fmt.Errorf("identity.issuers[%d]: url is missing", i)
		}
		for _, rule := range slices.Concat(issuer.Rules, issuer.Actors) {
			if len(rule.Groups) == 0 && rule.Kind == policy.UnknownCaller {
				return fmt.Errorf("identity.issuers[%d]: a rule gives neither groups nor a kind", i)
			}
		}
	}
	return checkRevocations(c.Revoked)
}

// checkRevocations refuses entries that would call everything back.
func checkRevocations(list []identity.Revocation) error {
	for i, r := range list {
		if r == (identity.Revocation{}) {
			return fmt.Errorf("revoked[%d]: names nothing; give issuer, subject, session or before", i)
		}
	}
	return nil
}

// verifier makes the check of bearer tokens that the configuration asks for.
func (c *config) verifier() (*identity.Verifier, error) {
	ic := identity.Config{
		Audience: c.Resource,
		MaxAge:   time.Duration(c.Identity.MaxAge),
		Skew:     time.Duration(c.Identity.Skew),
	}
	for _, issuer := range c.Identity.Issuers {
		ic.Issuers = append(ic.Issuers, identity.IssuerConfig{
			URL:         issuer.URL,
			Preset:      issuer.Preset,
			KeysFile:    c.path(issuer.KeysFile),
			Algorithms:  issuer.Algorithms,
			Tokens:      issuer.Tokens,
			Clients:     issuer.Clients,
			GroupsClaim: issuer.GroupsClaim,
			Kind:        issuer.Kind,
			Rules:       rules(issuer.Rules),
			RulesOnly:   issuer.RulesOnly,
			Actors:      rules(issuer.Actors),
		})
	}
	v, err := identity.New(ic)
	if err != nil {
		return nil, err
	}
	list, _, err := c.revocations()
	if err != nil {
		return nil, err
	}
	v.Revoke(list)
	return v, nil
}

func rules(list []claimRule) []identity.Rule {
	var out []identity.Rule
	for _, r := range list {
		out = append(out, identity.Rule{Claims: r.Claims, Groups: r.Groups, Kind: r.Kind})
	}
	return out
}

// revocations are those of the configuration and of the file that it names,
// whose text is returned as well.
func (c *config) revocations() (list []identity.Revocation, text string, err error) {
	list = slices.Clone(c.Identity.Revoked)
	if c.Identity.RevokedFile == "" {
		return list, "", nil
	}
	raw, err := os.ReadFile(c.path(c.Identity.RevokedFile))
	if err != nil {
		return nil, "", hint(fmt.Errorf("reading revocations: %w", err), "a file that says `revoked: []` calls nothing back")
	}
	if len(raw) > configLimit {
		return nil, "", fmt.Errorf("reading %s: larger than %d bytes", c.Identity.RevokedFile, configLimit)
	}
	var file struct {
		Revoked []identity.Revocation `yaml:"revoked"`
	}
	err = yaml.NewDecoder(bytes.NewReader(raw), yaml.DisallowUnknownField()).Decode(&file)
	if errors.Is(err, io.EOF) {
		// Also what is left of a file while it is written anew.
		return nil, "", hint(fmt.Errorf("reading %s: it is empty", c.Identity.RevokedFile), "a file that says `revoked: []` calls nothing back")
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s:\n%s", c.Identity.RevokedFile, yaml.FormatError(err, false, true))
	}
	if err := checkRevocations(file.Revoked); err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", c.Identity.RevokedFile, err)
	}
	return append(list, file.Revoked...), string(raw), nil
}
