package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// doctor looks at a configuration from end to end: what is wrong is said, and
// what to do about it. It changes nothing.

// A finding is one line of the doctor's.
type finding struct {
	State string `json:"state"` // ok, warn or fail
	What  string `json:"what"`
	Said  string `json:"said"`
	Next  string `json:"next,omitempty"` // what to do
}

// examination collects findings.
type examination struct {
	config   *config
	policy   *policy.Policy
	findings []finding
	client   *http.Client
	now      func() time.Time
}

func (x *examination) ok(what, format string, args ...any) {
	x.findings = append(x.findings, finding{State: "ok", What: what, Said: fmt.Sprintf(format, args...)})
}

func (x *examination) warn(what, next, format string, args ...any) {
	x.findings = append(x.findings, finding{State: "warn", What: what, Said: fmt.Sprintf(format, args...), Next: next})
}

func (x *examination) fail(what, next, format string, args ...any) {
	x.findings = append(x.findings, finding{State: "fail", What: what, Said: fmt.Sprintf(format, args...), Next: next})
}

func runDoctor(ctx context.Context, args []string, std streams) error {
	flags := newFlags("doctor", std)
	file := flags.String("config", "", "the configuration `file`")
	asJSON := flags.Bool("json", false, "print JSON")
	rest, err := parseFlags(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("doctor takes no argument %q", rest[0])
	}
	c, err := loadConfig(*file)
	if err != nil {
		return err
	}
	x := &examination{config: c, client: &http.Client{Timeout: 10 * time.Second}, now: time.Now}
	x.local()
	x.identity(ctx)
	x.anchors(ctx)
	x.account(ctx)
	if *asJSON {
		err = printJSON(std.out, x.findings)
	} else {
		err = x.print(std.out)
	}
	if err == nil && slices.ContainsFunc(x.findings, func(f finding) bool { return f.State == "fail" }) {
		err = errSilent
	}
	return err
}

func (x *examination) print(w io.Writer) error {
	counts := map[string]int{}
	for _, f := range x.findings {
		counts[f.State]++
		fmt.Fprintf(w, "%-4s  %-16s %s\n", f.State, f.What, oneLine(f.Said))
		if f.Next != "" {
			fmt.Fprintf(w, "      %-16s %s\n", "", f.Next)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d ok, %d to look at, %d wrong\n", counts["ok"], counts["warn"], counts["fail"])
	return err
}

// local looks at what is on this machine.
func (x *examination) local() {
	c := x.config
	var err error
	if x.policy, err = loadPolicy(c.path(c.Policy)); err != nil {
		x.fail("policy", "querywarden policy test "+c.path(c.Policy), "%s", err)
	} else {
		x.ok("policy", "version %s, its tests pass", x.policy.Version())
	}
	x.private("policy", c.path(c.Policy), 0o022, "others can write it, and so decide who may do what", "chmod go-w")
	x.private("configuration", c.file, 0o022, "others can write it", "chmod go-w")
	for _, l := range x.logins() {
		for _, s := range []secretConfig{l.PrivateKey, l.Token, l.ClientSecret} {
			if s.File != "" {
				x.private("secret", c.path(s.File), 0o077, "others can read it, and log in as the gateway", "chmod 600")
			}
		}
	}
	x.data()
	x.listener()
}

func (x *examination) logins() []loginConfig {
	list := []loginConfig{x.config.Warehouse.Login}
	for _, l := range x.config.Warehouse.Logins {
		list = append(list, l)
	}
	return list
}

// private looks at a file's permissions.
func (x *examination) private(what, file string, forbidden fs.FileMode, said, next string) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		x.fail(what, "the configuration names it", "%s", err)
	case info.Mode().Perm()&forbidden != 0:
		x.fail(what, next+" "+file, "%s has mode %04o: %s", file, info.Mode().Perm(), said)
	}
}

// data looks at the folder of the log.
func (x *examination) data() {
	c := x.config
	dir := c.path(c.Data)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		x.warn("data", "the gateway makes it when it first starts", "%s is not there yet", dir)
	case err != nil || !info.IsDir():
		x.fail("data", "data: names a folder of the gateway's own", "%s is no folder", dir)
		return
	default:
		if info.Mode().Perm()&0o077 != 0 {
			x.fail("data", "chmod 700 "+dir, "%s has mode %04o: others can read the log and its keys", dir, info.Mode().Perm())
		}
		probe, err := os.CreateTemp(dir, ".doctor-*")
		if err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
		if err != nil {
			x.fail("data", "nothing runs unrecorded: give the gateway's user the folder, and room", "%s cannot be written to: %s", dir, err)
			break
		}
		if _, err := os.Stat(c.auditFile()); errors.Is(err, fs.ErrNotExist) {
			x.ok("data", "%s can be written to; there is no log yet", dir)
			break
		}
		reader, err := audit.OpenReader(c.auditFile())
		if err == nil {
			err = reader.Close()
		}
		if err != nil {
			x.fail("data", "querywarden audit verify says more", "the log cannot be opened: %s", err)
			break
		}
		x.ok("data", "%s can be written to, and its log be read", dir)
	}
	switch head := c.path(c.HeadFile); {
	case head == "":
		x.warn("head file", "head_file: on another volume, where who can write the log cannot write", "a log whose end was cut off would not be noticed at start")
	case filepath.Dir(head) == filepath.Clean(dir):
		x.warn("head file", "put it on another volume", "%s lies beside the log, so that whoever puts an old log back can do the same with it", head)
	default:
		if _, err := os.Stat(filepath.Dir(head)); err != nil {
			x.fail("head file", "make its folder", "%s", err)
		} else {
			x.ok("head file", "%s", head)
		}
	}
}

// listener looks at how callers come in.
func (x *examination) listener() {
	c := x.config
	if strings.HasPrefix(c.Resource, "http://") && !strings.Contains(c.Resource, "//127.") && !strings.Contains(c.Resource, "//localhost") {
		x.fail("resource", "resource: https://…/mcp", "%s: tokens would cross a network in the clear", c.Resource)
	}
	if c.TLS.CertFile == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(c.path(c.TLS.CertFile), c.path(c.TLS.KeyFile))
	if err != nil {
		x.fail("certificate", "tls.cert_file is the certificate with its chain, tls.key_file its key", "%s", err)
		return
	}
	switch left := pair.Leaf.NotAfter.Sub(x.now()); {
	case left < 0:
		x.fail("certificate", "renew it; the gateway reads the new one by itself", "it expired at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case left < 14*24*time.Hour:
		x.warn("certificate", "renew it; the gateway reads the new one by itself", "it expires at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	default:
		x.ok("certificate", "good until %s", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	x.private("certificate", c.path(c.TLS.KeyFile), 0o077, "others can read the key", "chmod 600")
}

// The most that clocks may differ: more, and tokens look expired or not valid
// yet.
const clockWarn, clockFail = 10 * time.Second, time.Minute

func (x *examination) clock(what string, theirs time.Time) {
	switch off := x.now().Sub(theirs).Abs(); {
	case off > clockFail:
		x.fail("clock", "synchronize this machine's clock (NTP)", "it differs from that of %s by %s", what, off.Round(time.Second))
	case off > clockWarn:
		x.warn("clock", "synchronize this machine's clock (NTP)", "it differs from that of %s by %s", what, off.Round(time.Second))
	}
}

// identity looks at each issuer as a verifier would.
func (x *examination) identity(ctx context.Context) {
	if len(x.config.Identity.Issuers) == 0 && x.config.Stdio == nil {
		x.fail("identity", "identity.issuers: names who signs the callers' tokens", "nobody can call: there is no issuer")
		return
	}
	if _, err := x.config.verifier(); err != nil {
		x.fail("identity", "the identity section of the configuration", "%s", err)
	}
	for _, issuer := range x.config.Identity.Issuers {
		if issuer.KeysFile != "" {
			if _, err := os.Stat(x.config.path(issuer.KeysFile)); err != nil {
				x.fail("issuer", "keys_file: names the issuer's keys", "%s: %s", issuer.URL, err)
			} else {
				x.ok("issuer", "%s, with keys from a file", issuer.URL)
			}
			continue
		}
		x.discover(ctx, issuer.URL)
	}
}

// discover asks an issuer for its metadata and keys.
// openid.net/specs/openid-connect-discovery-1_0.html
func (x *examination) discover(ctx context.Context, issuer string) {
	if issuer == "" {
		return // a preset knows its own
	}
	var metadata struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	when, err := x.getJSON(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &metadata)
	if err != nil {
		x.fail("issuer", "is the address right, and may this machine reach it?", "%s: %s", issuer, err)
		return
	}
	x.clock(issuer, when)
	if metadata.Issuer != issuer {
		x.fail("issuer", "write it as it calls itself, to the last slash", "%s calls itself %s: no token of it counts", issuer, metadata.Issuer)
		return
	}
	var set struct {
		Keys []struct {
			Type string `json:"kty"`
		} `json:"keys"`
	}
	if _, err := x.getJSON(ctx, metadata.Keys, &set); err != nil {
		x.fail("issuer", "its metadata names the address of its keys", "%s: its keys cannot be read: %s", issuer, err)
		return
	}
	if len(set.Keys) == 0 {
		x.fail("issuer", "ask its administrator", "%s has no keys: no token of it counts", issuer)
		return
	}
	x.ok("issuer", "%s, with %s", issuer, plural(int64(len(set.Keys)), "key"))
}

func (x *examination) getJSON(ctx context.Context, url string, into any) (time.Time, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking %s: %w", url, err)
	}
	reply, err := x.client.Do(request)
	if err != nil {
		return time.Time{}, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return time.Time{}, fmt.Errorf("%s answers %s", url, reply.Status)
	}
	if err := json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(into); err != nil {
		return time.Time{}, fmt.Errorf("%s does not answer JSON", url)
	}
	when, err := http.ParseTime(reply.Header.Get("Date"))
	if err != nil {
		when = x.now()
	}
	return when, nil
}

// anchors looks at where checkpoints go.
func (x *examination) anchors(ctx context.Context) {
	a := x.config.Anchors
	if a.File == "" && a.Webhook == "" && a.Witness.URL == "" {
		x.warn("checkpoints", "anchors: a file elsewhere, a webhook or a witness", "nobody but the gateway's owner holds any: the log could be rewritten whole")
		return
	}
	if _, err := x.config.anchors(); err != nil {
		x.fail("checkpoints", "the anchors section of the configuration", "%s", err)
	}
	if a.File != "" {
		file := x.config.path(a.File)
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		switch {
		case err == nil:
			x.ok("checkpoints", "go to %s", file)
			_ = f.Close()
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Stat(filepath.Dir(file)); err != nil {
				x.fail("checkpoints", "make its folder", "%s", err)
			} else {
				x.ok("checkpoints", "will go to %s", file)
			}
		default:
			x.fail("checkpoints", "give the gateway's user the file", "%s", err)
		}
	}
	for _, url := range []string{a.Webhook, a.Witness.URL} {
		if url == "" {
			continue
		}
		// Only that something is there: what it says to GET does not matter.
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err == nil {
			var reply *http.Response
			if reply, err = x.client.Do(request); err == nil {
				err = reply.Body.Close()
			}
		}
		if err != nil {
			x.fail("checkpoints", "is the address right, and may this machine reach it?", "%s", err)
		} else {
			x.ok("checkpoints", "%s is there", url)
		}
	}
}

// account looks at the account through the gateway that serves, or through the
// log if none does: what is asked has to be recorded.
func (x *examination) account(ctx context.Context) {
	if x.config.Warehouse.Emulator != "" {
		x.ok("warehouse", "the embedded one, in %s", x.config.path(x.config.Warehouse.Emulator))
		return
	}
	var told []finding
	client := adminClient{socket: x.config.socket(), timeout: 2 * time.Minute}
	err := client.call(ctx, http.MethodPost, "/doctor", nil, &told)
	switch {
	case err == nil:
		x.findings = append(x.findings, told...)
		return
	case !errors.Is(err, errNoGateway):
		x.fail("warehouse", "", "%s", err)
		return
	}
	options, err := x.config.auditOptions()
	if err != nil {
		x.fail("warehouse", "nothing is asked unrecorded", "the log cannot be opened: %s", err)
		return
	}
	log, err := audit.Open(x.config.auditFile(), options)
	if err != nil {
		x.fail("warehouse", "nothing is asked unrecorded; is another process using the log?", "%s", err)
		return
	}
	defer log.Close()
	settings, err := x.config.account(ctx)
	if err != nil {
		x.fail("warehouse", "the warehouse section of the configuration", "%s", err)
		return
	}
	settings.Record = log.RecordOwn
	w, err := warehouse.Open(settings)
	if err != nil {
		x.fail("warehouse", "the warehouse section of the configuration", "%s", err)
		return
	}
	defer w.Close()
	(&patient{examination: x, warehouse: w, record: log.RecordOwn}).examine(ctx)
}

// addressRange is a range of addresses that is too wide to be a gateway.
func addressRange(text string) (wide bool) {
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return false
	}
	return p.Addr().Is4() && p.Bits() < 16 || p.Addr().Is6() && p.Bits() < 48
}
