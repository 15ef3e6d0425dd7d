// Package console is what people see in a browser: approvers the requests that
// wait for them, auditors the log.
//
// # Pages
//
//	/console/                       what waits, for whoever has signed in
//	/console/requests/{id}          one request, whole; POST …/{act} decides
//	/console/history                requests that are over
//	/console/link?ticket=…          links an account with a messenger
//	/console/log                    auditors: sessions, to search
//	/console/log/sessions/{id}      auditors: one of them, step by step
//	/console/log/conversations      auditors: what people said to agents, to search
//	/console/log/conversation?id=…  auditors: one of them, from what was said to what ran
//	/console/log/entries/{n}        auditors: one entry; …/proof and …/raw for others' tools
//	/console/log/activity           auditors: how much happened, by day
//	/console/log/verify             auditors: the whole log, verified now
//	/console/login, …/callback      in
//	/console/logout                 out
//
// There is no script in them. HTML, one style sheet and SVG that is drawn here
// are all there is, and the content security policy lets nothing else in.
//
// # Who sees and does what
//
// People sign in at one identity provider ([identity.Login]); the groups are
// those of that token. A request is shown to whoever asked, the person behind
// them, those who may decide on it, and auditors; to everybody else it does not
// exist. The log is shown to the groups that the configuration names. What was
// looked at is recorded before it is shown.
//
// A yes counts as one of the console only if the person entered their
// credentials within the last minutes, by the word of the provider (auth_time).
// A no and taking back need no such thing: who hesitates should not be held up.
// What an agent or its client says of itself is marked as such.
//
// # Sessions
//
// A session is 128 random bits or more in a cookie (__Host-, Secure, HttpOnly,
// SameSite=Lax; on plain http, which is served on loopback alone, without the
// prefix and Secure). Its SHA-256 is what the database holds. It ends half an
// hour after its last use, eight hours after the sign-in, or by signing out; a
// new sign-in always makes a new one. What changes something is a POST from the
// console's own pages: [http.CrossOriginProtection] looks at where it comes
// from, and a form carries a token that is made of the session's cookie.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	_ "embed"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/identity"
)

// DefaultFresh is how long after entering their credentials people may approve.
const DefaultFresh = 10 * time.Minute

// Config says what a [Console] is made of. What is not said to be optional is
// required.
type Config struct {
	Log       *audit.Log
	Reader    *audit.Reader // of the same log
	Approvals *approvals.Store
	Login     *identity.Login

	// URL is under which people reach the console: scheme and host, "/console".
	URL string
	// AllowedHosts are other values of the Host header under which the same is
	// served. Names of the loopback interface stand for each other.
	AllowedHosts []string
	// Auditors are the groups that may read the log; optional.
	Auditors []string
	// Fresh is how long after entering their credentials people may approve;
	// [DefaultFresh] if zero.
	Fresh time.Duration
	// RowsKey opens rows that were kept; optional.
	RowsKey []byte
	// Refused records sign-ins that did not count; optional.
	Refused func(context.Context, audit.Event)
	// Now tells the time; time.Now if nil.
	Now func() time.Time
	// Logger takes what operators need to know; discarded if nil.
	Logger *slog.Logger
}

// A Console serves the pages. It is safe for concurrent use.
type Console struct {
	config Config
	base   *url.URL
	secure bool // served over https
	pages  *template.Template
	style  []byte
	now    func() time.Time
	logger *slog.Logger
	guard  *http.CrossOriginProtection

	verifying sync.Mutex // the whole log is verified by one at a time
}

// Callback is where the provider sends people back to, for a console under a URL.
func Callback(url string) string { return url + "/callback" }

// New makes a console.
func New(ctx context.Context, c Config) (*Console, error) {
	if c.Log == nil || c.Reader == nil || c.Approvals == nil || c.Login == nil {
		return nil, errors.New("making console: log, reader, approvals and login are all required")
	}
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.Path != "/console" || base.RawQuery != "" {
		return nil, fmt.Errorf("making console: %q is not scheme, host and /console", c.URL)
	}
	if host, _ := splitHost(base.Host); base.Scheme == "http" && !loopback(host) {
		return nil, errors.New("making console: sessions must not cross a network in the clear; its URL must be https")
	}
	if c.Fresh < 0 {
		return nil, errors.New("making console: fresh cannot be negative")
	}
	if c.Fresh == 0 {
		c.Fresh = DefaultFresh
	}
	if c.Refused == nil {
		c.Refused = func(context.Context, audit.Event) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	con := &Console{config: c, base: base, secure: base.Scheme == "https", now: c.Now, logger: c.Logger, style: style, guard: http.NewCrossOriginProtection()}
	if con.pages, err = parsePages(c.Now); err != nil {
		return nil, fmt.Errorf("making console: %w", err)
	}
	err = c.Log.Update(ctx, func(tx *audit.Tx) error {
		_, err := tx.Exec(sessionSchema)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making console: %w", err)
	}
	return con, nil
}

//go:embed style.css
var style []byte

// formLimit is how large a form may be, in bytes.
const formLimit = 64 << 10

// policyHeader is the content security policy of every answer.
const policyHeader = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Handler returns the pages, to be mounted at /console and /console/.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /console/style.css", c.serveStyle)
	mux.HandleFunc("GET /console/login", c.loginPage)
	mux.HandleFunc("GET /console/login/start", c.loginStart)
	mux.HandleFunc("GET /console/callback", c.callback)
	mux.HandleFunc("POST /console/logout", c.signedIn(c.logout))

	mux.HandleFunc("GET /console", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/console/", http.StatusSeeOther) })
	mux.HandleFunc("GET /console/{$}", c.signedIn(c.home))
	mux.HandleFunc("GET /console/requests/{id}", c.signedIn(c.requestPage))
	mux.HandleFunc("POST /console/requests/{id}/{act}", c.signedIn(c.act))
	mux.HandleFunc("GET /console/history", c.signedIn(c.history))
	mux.HandleFunc("GET /console/link", c.signedIn(c.linkPage))
	mux.HandleFunc("POST /console/link", c.signedIn(c.link))

	mux.HandleFunc("GET /console/log", c.auditor(c.logPage))
	mux.HandleFunc("GET /console/log/conversations", c.auditor(c.talksPage))
	mux.HandleFunc("GET /console/log/conversation", c.auditor(c.talkPage))
	mux.HandleFunc("GET /console/log/sessions/{id}", c.auditor(c.sessionPage))
	mux.HandleFunc("GET /console/log/entries/{n}", c.auditor(c.entryPage))
	mux.HandleFunc("GET /console/log/entries/{n}/proof", c.auditor(c.proof))
	mux.HandleFunc("GET /console/log/entries/{n}/raw", c.auditor(c.raw))
	mux.HandleFunc("GET /console/log/activity", c.auditor(c.activity))
	mux.HandleFunc("GET /console/log/verify", c.auditor(c.verifyPage))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, r, http.StatusNotFound, "There is no such page.")
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policyHeader)
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case !c.hostAllowed(r.Host):
			c.fail(w, r, http.StatusForbidden, "This host is not served here.")
		case c.guard.Check(r) != nil:
			c.fail(w, r, http.StatusForbidden, "This came from another site. Nothing was done.")
		case len(r.URL.RequestURI()) > 4<<10:
			c.fail(w, r, http.StatusRequestURITooLong, "The address is too long.")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost:
			h.Set("Allow", "GET, HEAD, POST")
			c.fail(w, r, http.StatusMethodNotAllowed, "Pages are read, and forms are sent; nothing else is.")
		case !strings.EqualFold(r.Host, c.base.Host) && r.Method != http.MethodPost:
			// A session belongs to one name of the gateway, and so does the way
			// back from the provider.
			to := *r.URL
			to.Scheme, to.Host = c.base.Scheme, c.base.Host
			http.Redirect(w, r, to.String(), http.StatusTemporaryRedirect)
		default:
			r.Body = http.MaxBytesReader(w, r.Body, formLimit)
			mux.ServeHTTP(w, r)
		}
	})
}

// hostAllowed reports whether a Host header names this gateway, so that
// nobody's DNS can point a name of theirs here.
func (c *Console) hostAllowed(host string) bool {
	return slices.ContainsFunc(append([]string{c.base.Host}, c.config.AllowedHosts...), func(allowed string) bool {
		if strings.EqualFold(allowed, host) {
			return true
		}
		name, port := splitHost(host)
		allowedName, allowedPort := splitHost(allowed)
		return port == allowedPort && loopback(name) && loopback(allowedName)
	})
}

// splitHost splits a host from its port, which may be missing.
func splitHost(hostport string) (host, port string) {
	if host, port, err := net.SplitHostPort(hostport); err == nil {
		return host, port
	}
	return strings.Trim(hostport, "[]"), ""
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

func (c *Console) serveStyle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "style.css", time.Time{}, bytes.NewReader(c.style))
}

// A page is what every template gets.
type page struct {
	Title   string
	Here    string // the part of the navigation that it belongs to
	Who     string // who has signed in, empty if nobody
	Auditor bool
	CSRF    string
	Notice  string // what has just been done
	Problem string // what has just not been done
	Data    any
}

// show writes a page. It is written whole or not at all.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	if s := sessionOf(r); s != nil {
		p.Who, p.Auditor, p.CSRF = approvals.Name(s.Identity), c.isAuditor(s), s.csrf
	}
	var b bytes.Buffer
	if err := c.pages.ExecuteTemplate(&b, name, p); err != nil {
		c.logger.Error("writing a page of the console", "page", name, "err", err)
		http.Error(w, "This page cannot be shown. The gateway's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // who has gone needs no answer
	}
}

// fail says in a page of its own what went wrong.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, status int, sentence string) {
	c.show(w, r, status, "failed", page{Title: http.StatusText(status), Problem: sentence})
}

// broken answers where the gateway itself cannot go on.
func (c *Console) broken(w http.ResponseWriter, r *http.Request, err error) {
	c.logger.Error("serving the console", "path", r.URL.Path, "err", err)
	c.fail(w, r, http.StatusServiceUnavailable, "The gateway cannot do this now. Its operator's log says why.")
}
