package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"querywarden/internal/capture"
	"querywarden/policy"
)

// devinConfig says whose sessions in Devin's cloud are recorded.
type devinConfig struct {
	Organization string                 `yaml:"organization"` // org-…
	TokenFile    string                 `yaml:"token_file"`   // of a service user with ViewOrgSessions
	URL          string                 `yaml:"url"`
	Every        duration               `yaml:"every"`
	People       map[string]devinPerson `yaml:"people"` // by Devin's user id
}

// devinPerson is who a user of Devin's is here.
type devinPerson struct {
	Issuer  string `yaml:"issuer"`
	Subject string `yaml:"subject"`
	Email   string `yaml:"email"`
}

func (c *devinConfig) check() error {
	if c == nil {
		return nil
	}
	if c.Organization == "" || c.TokenFile == "" || len(c.People) == 0 {
		return errors.New("devin: needs organization, token_file and people")
	}
	for user, p := range c.People {
		if p.Issuer == "" || p.Subject == "" {
			return fmt.Errorf("devin.people: %s needs issuer and subject", user)
		}
	}
	if c.URL != "" && !strings.HasPrefix(c.URL, "https://") {
		return fmt.Errorf("devin.url: %q is not encrypted", c.URL)
	}
	return nil
}

// followDevin has the messages of Devin's sessions recorded, where the
// configuration says so.
func (g *gateway) followDevin() error {
	c := g.config.Devin
	if c == nil {
		return nil
	}
	people := map[string]policy.Caller{}
	for user, p := range c.People {
		people[user] = policy.Caller{Issuer: p.Issuer, Subject: p.Subject, Email: p.Email, Kind: policy.Person}
	}
	err := g.capture.FollowDevin(capture.DevinConfig{
		URL: c.URL, Organization: c.Organization, Every: time.Duration(c.Every), People: people,
		Token: func() (string, error) {
			text, err := os.ReadFile(g.config.path(c.TokenFile))
			return strings.TrimSpace(string(text)), err
		},
	})
	if errors.Is(err, capture.ErrOff) {
		return hint(errors.New("the configuration follows Devin's sessions, and the policy keeps no conversations"), "set `conversations:` in the policy, or take `devin:` out of the configuration")
	}
	return err
}
