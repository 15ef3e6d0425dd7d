// Package client is the other end of the gateway, for people and pipelines: it
// finds a token, or signs a person in, calls the gateway's tools, and joins
// programs that speak MCP over standard input and output to it.
//
// # The wire
//
// A [Gateway] speaks streamable HTTP as revision 2026-07-28 of the Model
// Context Protocol has it (https://modelcontextprotocol.io/specification): one
// POST a call, with no session before it, answered by a JSON message or by a
// stream of server-sent events whose last is the answer. It does so itself,
// because the client of mcp-go holds an answer whole in memory: here the rows
// of an answer are read one by one, however many there are.
//
// A [Bridge] speaks whatever revision its client speaks. It passes JSON-RPC
// messages as they are, byte by byte, and reads of them only what the
// transport needs: see its comment.
//
// # Tokens
//
// A token goes to the gateway's URL and nowhere else: redirects are not
// followed, and plain HTTP is spoken to loopback addresses alone. Where a token
// comes from, the first that is there:
//
//	a file           --token-file
//	a variable       QUERYWARDEN_TOKEN; GitLab's id_tokens fill it
//	GitHub Actions   ACTIONS_ID_TOKEN_REQUEST_URL, a token minted for the gateway
//	Buildkite        buildkite-agent oidc request-token
//	a sign-in        kept in the system's keyring, or in a file of mode 0600
//
// # Signing in
//
// The gateway answers a request without a token with 401 and the place of its
// metadata (RFC 9728), which names its authorization servers, whose metadata
// (RFC 8414, or OpenID Connect Discovery) names their endpoints. A person signs
// in through a browser on this machine (authorization code with PKCE, RFC 7636,
// on a redirect to loopback, RFC 8252) or through any other one (the device
// authorization grant, RFC 8628). Requests for tokens say what they are for
// (the resource parameter of RFC 8707); the issuer in the answer is checked
// (RFC 9207). What does not name the resource or issuer that it was asked for
// is refused, and so is a server without PKCE.
//
// The client's id at the authorization server is one that was registered by
// hand or, where the server offers that, registers itself (RFC 7591).
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// An Error says what to do about it.
type Error struct {
	Err  error
	Next string // what to do now, empty if nobody knows
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without its advice.
func (e *Error) Unwrap() error { return e.Err }

func advise(err error, format string, args ...any) error {
	return &Error{Err: err, Next: fmt.Sprintf(format, args...)}
}

// A Token is a function that returns a bearer token. If fresh, the one that it
// returned before was refused, and it should get another.
type Token func(ctx context.Context, fresh bool) (string, error)

// A Gateway is a gateway to call. It is safe for concurrent use if its Token
// is.
type Gateway struct {
	url     *url.URL
	token   Token
	http    *http.Client
	name    string // of this client, for the gateway's log
	version string
	limit   int64 // partLimit
}

// New returns the gateway at an address that [Address] returned.
func New(address *url.URL, token Token, name, version string) *Gateway {
	return &Gateway{url: address, token: token, http: newHTTP(), name: name, version: version, limit: partLimit}
}

// Address reads the URL of a gateway. One without a path gets that of the
// gateway's endpoint.
func Address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not the URL of a gateway, such as https://gate.example.com/mcp", s)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q holds more than the URL of a gateway", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/mcp"
	}
	if !private(u) {
		return nil, advise(fmt.Errorf("%s is not encrypted, and tokens must not cross a network in the clear", u), "use https")
	}
	return u, nil
}

// private reports whether others on the network cannot read what is sent to u.
func private(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	if u.Scheme != "http" {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}

// newHTTP returns a client that takes no token anywhere else.
func newHTTP() *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Static is a token that cannot be renewed.
func Static(token, origin string) Token {
	return func(_ context.Context, fresh bool) (string, error) {
		if fresh {
			return "", advise(fmt.Errorf("the gateway refuses the token of %s", origin), "it may have expired or be meant for another audience: get a new one")
		}
		return token, nil
	}
}

// errRefusedToken is in the chain of errors about tokens that the gateway did
// not take.
var errRefusedToken = errors.New("the gateway refuses the token")
