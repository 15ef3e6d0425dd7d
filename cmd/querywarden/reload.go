package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// lookEvery is how often files that are read again are looked at.
const lookEvery = time.Second

// A stamp is what a file looks like from outside, to see that it has changed.
type stamp struct {
	size int64
	at   time.Time
	mode os.FileMode
}

func stamps(files []string) []stamp {
	out := make([]stamp, len(files))
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			out[i] = stamp{info.Size(), info.ModTime(), info.Mode()}
		}
	}
	return out
}

// watch calls changed until the context ends: whenever one of the files has
// changed, whenever a signal comes, and again as long as it returns an error.
func watch(ctx context.Context, files []string, signals <-chan os.Signal, changed func(again bool) error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	before, failed := stamps(files), false
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-signals:
			asked = true
		case <-tick.C:
		}
		now := stamps(files)
		same := true
		for i := range now {
			same = same && now[i] == before[i]
		}
		if same && !asked && !failed {
			continue
		}
		before = now
		failed = changed(failed) != nil
	}
}

// watchRevocations puts the lists of revocations in force again whenever the
// configuration file or the file with revocations changes, or on SIGHUP. Of the
// rest of the configuration it says that it waits for the next start. While a
// file cannot be read no token counts: somebody may have called one back in it.
// A file that is caught being written gets a second look first.
func (g *gateway) watchRevocations(ctx context.Context, hangups <-chan os.Signal) {
	files := []string{g.config.file}
	if f := g.config.Identity.RevokedFile; f != "" {
		files = append(files, g.config.path(f))
	}
	watch(ctx, files, hangups, func(again bool) error {
		fresh, err := loadConfig(g.config.file)
		if err != nil {
			return g.unreadable(again, err)
		}
		list, text, err := fresh.revocations()
		if err != nil {
			return g.unreadable(again, err)
		}
		if fresh.Identity.RevokedFile != g.config.Identity.RevokedFile {
			g.logger.Warn("the configuration names another file with revocations; it is looked at for changes from the next start on")
		}
		g.verifier.Revoke(list)
		g.logger.Info("revocations are in force; other changes of the configuration are from the next start on", "entries", len(list))
		whole := fresh.text
		if text != "" {
			whole += "\n# " + fresh.Identity.RevokedFile + "\n" + text
		}
		if err := g.gate.ConfigRead(ctx, whole); err != nil {
			g.logger.Error("recording revocations", "err", err)
		}
		return nil
	})
}

func (g *gateway) unreadable(again bool, err error) error {
	if again {
		g.logger.Error("no token counts until revocations can be read", "err", err)
		g.verifier.RevokeAll(err)
	}
	return err
}

// A certificate is read from its files, and again when they change.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// config is what a server does TLS with. http.Server adds HTTP/2.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// watchCertificate reads the certificate again whenever one of its files
// changes. One that cannot be read, or a key that does not fit as long as only
// one of the two files is there anew, leaves the old one in use.
func (g *gateway) watchCertificate(ctx context.Context, c *certificate) {
	watch(ctx, []string{c.certFile, c.keyFile}, nil, func(again bool) error {
		err := c.read()
		switch {
		case err == nil:
			g.logger.Info("the certificate was read again")
		case !again:
			g.logger.Warn("the old certificate stays in use until the new one can be read", "err", err)
		}
		return err
	})
}
