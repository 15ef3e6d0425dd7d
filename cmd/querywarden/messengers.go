package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"querywarden/approvals"
)

// messengers are those that the configuration names.
func (c *config) messengers() ([]approvals.Messenger, error) {
	var ms []approvals.Messenger
	if w := c.Approvals.Webhook; w != nil {
		secret, err := os.ReadFile(c.path(w.SecretFile))
		if err != nil {
			return nil, fmt.Errorf("reading approvals.webhook.secret_file: %w", err)
		}
		hook, err := approvals.NewWebhook(w.URL, bytes.TrimSpace(secret), c.console("requests/"), time.Now)
		if err != nil {
			return nil, hint(fmt.Errorf("reading approvals.webhook: %w", err), "the secret signs what is sent; `openssl rand -hex 32` makes one")
		}
		ms = append(ms, hook)
	}
	return ms, nil
}

// console is the public URL of a page of the console.
func (c *config) console(page string) string {
	u, err := url.Parse(c.Resource)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/console/" + page
}

// tellMessengers begins to tell the configured messengers of requests.
func (g *gateway) tellMessengers(ctx context.Context) error {
	ms, err := g.config.messengers()
	if err != nil {
		return err
	}
	if err := g.openSlack(ctx); err != nil {
		return err
	}
	if g.slack != nil {
		ms = append(ms, g.slack)
	}
	telling, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stopTold = stop
	g.told.Go(func() {
		if err := g.approvals.Deliver(telling, g.logger, ms...); err != nil && !errors.Is(err, context.Canceled) {
			g.logger.Error("telling messengers of requests", "err", err)
		}
	})
	return nil
}
