package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"querywarden/approvals"
	"querywarden/approvals/slack"
	"querywarden/audit"
	"querywarden/internal/capture"
	"querywarden/internal/console"
	"querywarden/internal/emulator"
	"querywarden/internal/identity"
	"querywarden/internal/warehouse"
	"querywarden/mcp"
	"querywarden/policy"
	"querywarden/tools"
)

// A gateway is everything that a configuration wires together, ready to serve.
type gateway struct {
	config    *config
	log       *audit.Log
	approvals *approvals.Store
	warehouse *warehouse.Warehouse
	emulator  *emulator.Emulator // nil for a real account
	gate      *tools.Gate
	server    *mcp.Server
	verifier  *identity.Verifier
	policy    *policy.Policy
	reader    *audit.Reader     // of the log, for the console and the joins
	capture   *capture.Store    // of conversations
	console   *console.Console  // nil if there is none
	demo      http.Handler      // the demo's identity provider, nil elsewhere
	logins    []warehouse.Login // as whom the gateway is in the account
	logger    *slog.Logger

	anchored     sync.WaitGroup // the log's anchors are being told
	stopAnchored context.CancelFunc
	told         sync.WaitGroup // messengers are being told
	stopTold     context.CancelFunc
	slack        *slack.Slack   // nil if nobody is asked there
	clicks       sync.WaitGroup // are being taken
	stopClicks   context.CancelFunc
}

// openGateway opens what the configuration names, in the order of trust: the
// log first, since nothing may happen unrecorded.
func openGateway(ctx context.Context, c *config, logger *slog.Logger) (opened *gateway, err error) {
	g := &gateway{config: c, logger: logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	if g.policy, err = loadPolicy(c.path(c.Policy)); err != nil {
		return nil, err
	}
	if g.verifier, err = c.verifier(); err != nil {
		return nil, fmt.Errorf("reading identity configuration: %w", err)
	}
	options, err := c.auditOptions()
	if err != nil {
		return nil, err
	}
	if g.log, err = audit.Open(c.auditFile(), options); err != nil {
		return nil, hint(err, "nothing runs unrecorded: the gateway needs its audit log; is another gateway running on %s?", c.path(c.Data))
	}
	anchors, err := c.anchors()
	if err != nil {
		return nil, err
	}
	anchoring, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stopAnchored = stop
	g.anchored.Go(func() { g.log.KeepAnchored(anchoring, time.Duration(c.Anchors.Every), logger, anchors...) })
	if g.approvals, err = approvals.Open(ctx, g.log, time.Now); err != nil {
		return nil, err
	}
	if g.reader, err = audit.OpenReader(c.auditFile()); err != nil {
		return nil, err
	}
	if g.capture, err = capture.Open(ctx, capture.Config{Log: g.log, Reader: g.reader, Policy: g.policy, Logger: logger}); err != nil {
		return nil, err
	}
	if err := g.followDevin(); err != nil {
		return nil, err
	}
	if err := g.tellMessengers(ctx); err != nil {
		return nil, err
	}
	warehouseConfig, err := g.warehouseConfig(ctx)
	if err != nil {
		return nil, err
	}
	g.logins = append(slices.Collect(maps.Values(warehouseConfig.Others)), warehouseConfig.Login)
	if g.warehouse, err = warehouse.Open(warehouseConfig); err != nil {
		return nil, err
	}
	maskKey, err := secretFile(filepath.Join(c.path(c.Data), "mask.key"))
	if err != nil {
		return nil, err
	}
	answerKey, err := secretFile(filepath.Join(c.path(c.Data), "answers.key"))
	if err != nil {
		return nil, err
	}
	g.gate, err = tools.Open(ctx, tools.Config{
		Log:          g.log,
		Approvals:    g.approvals,
		Warehouse:    g.warehouse,
		Policy:       g.policy,
		MaskKey:      maskKey,
		Login:        c.Warehouse.loginOf,
		Database:     warehouseConfig.Database,
		Schema:       warehouseConfig.Schema,
		Role:         warehouseConfig.Role,
		Compute:      warehouseConfig.Warehouse,
		Version:      version(),
		ConfigText:   c.text,
		ApprovalWait: time.Duration(c.Approvals.Wait),
		AnswerKey:    answerKey,
		AnswerLife:   time.Duration(c.Approvals.Answers),
		Retention:    audit.Retention{Texts: time.Duration(c.Retention.Texts), Rows: time.Duration(c.Retention.Rows)},
		Spool:        c.path(c.Data),
		Present:      func(call tools.Call) bool { return g.capture.Present(call.Caller, call.CallID) },
		Logger:       logger,
	})
	if err == nil {
		err = g.warehouse.Try(ctx)
	}
	if err != nil {
		return nil, warehouseHint(err)
	}
	resource, err := url.Parse(c.Resource)
	if err != nil {
		return nil, fmt.Errorf("reading resource: %w", err)
	}
	var issuers []string
	for _, issuer := range c.Identity.Issuers {
		if issuer.Preset == "" { // nobody signs in where CI jobs get their tokens
			issuers = append(issuers, issuer.URL)
		}
	}
	hosts := []string{resource.Host}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && isLoopback(host) {
		hosts = append(hosts, c.Listen)
	}
	sessionKey, err := secretFile(filepath.Join(c.path(c.Data), "session.key"))
	if err != nil {
		return nil, err
	}
	g.server, err = mcp.New(g.gate, mcp.Config{
		Verifier:             g.verifier,
		Resource:             c.Resource,
		AuthorizationServers: issuers,
		AllowedHosts:         hosts,
		ToolScopes:           c.Scopes,
		SessionKey:           sessionKey,
		MaxCalls:             c.Limits.Calls,
		MaxCallsPerCaller:    c.Limits.CallsPerCaller,
		CallsPerMinute:       c.Limits.CallsPerMinute,
		Burst:                c.Limits.Burst,
		SessionsPerCaller:    c.Limits.SessionsPerCaller,
		SessionIdle:          time.Duration(c.Limits.SessionIdle),
		Version:              version(),
		Logger:               logger,
	})
	if err != nil {
		return nil, err
	}
	if err := g.openConsole(ctx); err != nil {
		return nil, err
	}
	g.takeClicks(ctx)
	return g, nil
}

// warehouseHint says what to do about a login that does not work.
func warehouseHint(err error) error {
	var failed *warehouse.Error
	if errors.As(err, &failed) && (failed.Class == warehouse.Auth || failed.Class == warehouse.Unavailable || failed.Class == warehouse.Timeout) {
		return hint(err, "the warehouse section of the configuration names what the gateway logs in with")
	}
	return err
}

// close stops everything that openGateway started, last first.
func (g *gateway) close(ctx context.Context) error {
	var errs []error
	if g.stopClicks != nil {
		g.stopClicks()
		g.clicks.Wait()
	}
	if g.capture != nil {
		g.capture.Close() // before the gate, whose word ends the log
	}
	if g.gate != nil {
		errs = append(errs, g.gate.Close(ctx))
	}
	if g.warehouse != nil {
		errs = append(errs, g.warehouse.Close())
	}
	if g.emulator != nil {
		errs = append(errs, g.emulator.Close())
	}
	if g.stopTold != nil {
		g.stopTold()
		g.told.Wait()
	}
	if g.stopAnchored != nil {
		g.stopAnchored()
		g.anchored.Wait()
	}
	if g.reader != nil {
		errs = append(errs, g.reader.Close())
	}
	if g.log != nil {
		errs = append(errs, g.log.Close())
	}
	return errors.Join(errs...)
}

// The embedded warehouse's one account: what the gateway would be given for a
// real one.
const (
	emulatorAccount   = "EMULATOR"
	emulatorUser      = "QUERYWARDEN"
	emulatorRole      = "QUERYWARDEN_ROLE"
	emulatorWarehouse = "COMPUTE"
	emulatorDatabase  = "RETAIL"
	emulatorSchema    = "PUBLIC"
)

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// secretFile reads a secret of 32 bytes, and makes it where there is none.
func secretFile(file string) ([]byte, error) {
	secret, err := os.ReadFile(file)
	if err == nil {
		if len(secret) != sha256.Size {
			return nil, fmt.Errorf("reading %s: not a key of %d bytes", file, sha256.Size)
		}
		return secret, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	secret = make([]byte, sha256.Size)
	rand.Read(secret)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	_, err = f.Write(secret)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	return secret, nil
}

// auditOptions are how the gateway opens its log. The key of kept rows is made
// where there is none.
func (c *config) auditOptions() (audit.Options, error) {
	if err := os.MkdirAll(c.path(c.Data), 0o700); err != nil {
		return audit.Options{}, fmt.Errorf("making the data folder: %w", err)
	}
	key, err := secretFile(c.rowsKey())
	if err != nil {
		return audit.Options{}, err
	}
	return audit.Options{HeadFile: c.path(c.HeadFile), RowsKey: key}, nil
}

func newLogger(std streams) *slog.Logger {
	return slog.New(slog.NewTextHandler(std.err, nil))
}

func runServe(ctx context.Context, args []string, std streams) error {
	fs := newFlags("serve", std)
	file := fs.String("config", "", "the configuration `file`")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("serve takes no argument %q", rest[0])
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, c)
	if err != nil {
		return err
	}
	g, err := openGateway(ctx, c, newLogger(std))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Fprintf(std.err, "querywarden: serving %s\n", c.Resource)
	return errors.Join(g.serve(ctx, listener), g.close(context.WithoutCancel(ctx)))
}

// listen takes the address before anything else is opened, so that a second
// gateway says at once what is wrong.
func listen(ctx context.Context, c *config) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, hint(fmt.Errorf("listening on %s: %w", c.Listen, err), "set `listen` to another port, or stop what holds this one")
	}
	return l, nil
}

// stopWithin bounds how long a stopping gateway waits for calls under way.
const stopWithin = 10 * time.Second

// serve answers until the context ends or the log fails: a gateway that
// cannot record must not go on.
func (g *gateway) serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	admin, err := g.listenAdmin(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	hops, err := g.config.proxies()
	if err != nil {
		return errors.Join(err, listener.Close(), admin.Close())
	}
	// A token is the largest thing in a header, and no more than 16 KiB.
	servers := []*http.Server{
		{Handler: hops.wrap(g.handler()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(g.logger.Handler(), slog.LevelWarn)},
		{Handler: g.adminHandler(), ReadHeaderTimeout: 10 * time.Second, ConnContext: peerContext},
	}
	var kept sync.WaitGroup
	defer kept.Wait()
	defer cancel() // before the wait
	if c := g.config.TLS; c.CertFile != "" {
		own := &certificate{certFile: g.config.path(c.CertFile), keyFile: g.config.path(c.KeyFile)}
		if err := own.read(); err != nil {
			return errors.Join(hint(err, "tls.cert_file is the certificate with its chain, tls.key_file its key, both PEM"), listener.Close(), admin.Close())
		}
		servers[0].TLSConfig = own.config()
		kept.Go(func() { g.watchCertificate(ctx, own) })
	}
	kept.Go(func() { g.keepReconciled(ctx) })
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	kept.Go(func() { g.watchRevocations(ctx, hangups) })
	kept.Go(func() { g.verifier.KeepFresh(ctx) })
	failed := make(chan error, len(servers))
	for i, l := range []net.Listener{listener, admin} {
		go func() {
			if servers[i].TLSConfig != nil {
				failed <- servers[i].ServeTLS(l, "", "")
				return
			}
			failed <- servers[i].Serve(l)
		}()
	}
	select {
	case <-ctx.Done():
		err = nil
	case <-g.log.Done():
		err = hint(fmt.Errorf("stopping, the audit log failed: %w", g.log.Err()), "nothing runs unrecorded; mend the disk, then start again")
	case err = <-failed:
	}
	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer stop()
	for _, s := range servers {
		if e := s.Shutdown(stopping); e != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

func runStdio(ctx context.Context, args []string, std streams) error {
	fs := newFlags("stdio", std)
	file := fs.String("config", "", "the configuration `file`")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("stdio takes no argument %q", rest[0])
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	if c.Stdio == nil || c.Stdio.Subject == "" {
		return hint(errors.New("the configuration names no caller for stdio"), "a `stdio:` section with subject, email and groups says whose process this is")
	}
	if c.Slack != nil && c.Slack.Mode == "http" {
		return hint(errors.New("slack.mode is http, and over stdio nobody can call back"), "slack.mode: socket needs no address")
	}
	g, err := openGateway(ctx, c, newLogger(std))
	if err != nil {
		return err
	}
	caller := policy.Caller{Issuer: "stdio", Subject: c.Stdio.Subject, Email: c.Stdio.Email, Groups: c.Stdio.Groups, Kind: c.Stdio.Kind}
	admin, err := g.listenAdmin(ctx)
	if err != nil {
		return errors.Join(err, g.close(context.WithoutCancel(ctx)))
	}
	adminServer := &http.Server{Handler: g.adminHandler(), ReadHeaderTimeout: 10 * time.Second, ConnContext: peerContext}
	adminDone := make(chan error, 1)
	go func() { adminDone <- adminServer.Serve(admin) }()
	err = g.server.ServeStdio(ctx, std.in, std.out, caller)
	closeErr := adminServer.Close()
	if e := <-adminDone; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, closeErr, g.close(context.WithoutCancel(ctx)))
}
