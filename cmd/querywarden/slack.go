package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"querywarden/approvals/slack"
	"querywarden/audit"
	"querywarden/policy"
)

// slackConfig is the workspace in which people are asked. Its secrets are files;
// which ones it needs depends on the mode.
type slackConfig struct {
	BotTokenFile      string `yaml:"bot_token_file"`
	AppTokenFile      string `yaml:"app_token_file"`      // for mode socket
	SigningSecretFile string `yaml:"signing_secret_file"` // for mode http
	// Mode is socket, where the gateway calls Slack, or http, where Slack calls
	// /slack/interactions.
	Mode    string   `yaml:"mode"`
	Channel string   `yaml:"channel"` // the ID of the channel to ask in
	LinkAge duration `yaml:"link_age"`
	// URL is the Web API of another Slack than Slack's own, such as GovSlack.
	URL string `yaml:"url"`
}

// check fills in what need not be said, and refuses what could not work.
func (c *slackConfig) check() error {
	if c == nil {
		return nil
	}
	if c.Mode == "" {
		c.Mode = "socket"
	}
	switch {
	case c.Mode != "socket" && c.Mode != "http":
		return fmt.Errorf("slack.mode: %q is neither socket nor http", c.Mode)
	case c.BotTokenFile == "":
		return errors.New("slack.bot_token_file is missing")
	case c.Mode == "socket" && c.AppTokenFile == "":
		return errors.New("slack.app_token_file is missing, and mode socket needs it")
	case c.Mode == "http" && c.SigningSecretFile == "":
		return errors.New("slack.signing_secret_file is missing, and mode http needs it")
	case !channelID(c.Channel):
		return fmt.Errorf("slack.channel: %q is not the ID of a channel, such as C024BE91L", c.Channel)
	case c.LinkAge < 0:
		return errors.New("slack.link_age: a duration cannot be negative")
	}
	return nil
}

// channelID reports whether a text can be a channel's ID. Names can be given to
// other channels.
func channelID(text string) bool {
	if len(text) < 2 || text[0] != 'C' && text[0] != 'G' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
}

// openSlack makes the messenger that the configuration asks for, if any.
func (g *gateway) openSlack(ctx context.Context) error {
	c := g.config.Slack
	if c == nil {
		return nil
	}
	address, err := g.config.consoleURL()
	if err != nil {
		return err
	}
	sc := slack.Config{
		Channel: c.Channel, LinkAge: time.Duration(c.LinkAge), URL: c.URL, Console: address,
		Log: g.log, Logger: g.logger, Now: time.Now,
		Revoked: func(who policy.Identity, signedIn time.Time) bool { return g.verifier.Revoked(who, "", signedIn) },
		// Clicks are taken once there is a gate.
		Refused: func(ctx context.Context, e audit.Event) { g.gate.Refused(ctx, e) },
	}
	if c.Mode == "http" {
		sc.Mode = slack.HTTP
	}
	for _, secret := range []struct {
		key, file string
		to        *string
	}{
		{"bot_token_file", c.BotTokenFile, &sc.BotToken}, {"app_token_file", c.AppTokenFile, &sc.AppToken}, {"signing_secret_file", c.SigningSecretFile, &sc.SigningSecret},
	} {
		if secret.file == "" {
			continue
		}
		text, err := os.ReadFile(g.config.path(secret.file))
		if err != nil {
			return fmt.Errorf("reading slack.%s: %w", secret.key, err)
		}
		*secret.to = string(bytes.TrimSpace(text))
	}
	if g.slack, err = slack.New(ctx, sc, g.approvals); err != nil {
		return hint(err, "the slack section of the configuration names the files of its tokens")
	}
	return nil
}

// takeClicks begins to take what people click in Slack.
func (g *gateway) takeClicks(ctx context.Context) {
	if g.slack == nil {
		return
	}
	taking, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stopClicks = stop
	g.clicks.Go(func() { g.slack.Run(taking) })
}
