package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/internal/identity"
	"querywarden/policy"
	"querywarden/tools"
)

// Paths that are served; see the package comment.
const (
	pathMCP    = "/mcp"
	pathHealth = "/healthz"
)

// Handler returns the HTTP side of the server, to be mounted at the root.
func (s *Server) Handler() http.Handler {
	metadata := server.NewProtectedResourceMetadataHandler(server.ProtectedResourceMetadataConfig{
		Resource:               s.config.Resource,
		AuthorizationServers:   s.config.AuthorizationServers,
		ScopesSupported:        s.config.Scopes,
		BearerMethodsSupported: []string{"header"},
		ResourceName:           "querywarden",
	})
	crossOrigin := http.NewCrossOriginProtection()
	for _, origin := range s.config.AllowedOrigins {
		// A malformed origin matches no request and stays refused.
		if err := crossOrigin.AddTrustedOrigin(origin); err != nil {
			s.logger.Warn("ignoring an allowed origin", "origin", origin, "err", err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch r.URL.Path {
		case pathHealth:
			s.serveHealth(w, r)
		case server.WellKnownProtectedResourcePath, server.ProtectedResourceMetadataPath(s.config.Resource):
			// Clients in a browser may read it: it is public.
			if !s.hostAllowed(r.Host) {
				refuse(w, http.StatusForbidden, "this host is not served here")
				return
			}
			metadata.ServeHTTP(w, r)
		case pathMCP:
			switch {
			case !s.hostAllowed(r.Host):
				refuse(w, http.StatusForbidden, "this host is not served here")
			case !s.originAllowed(r.Header) || crossOrigin.Check(r) != nil:
				refuse(w, http.StatusForbidden, "requests from this origin are not allowed")
			default:
				s.serveMCP(w, r)
			}
		default:
			http.NotFound(w, r)
		}
	})
}

// serveMCP answers a request to /mcp that comes from an allowed place.
func (s *Server) serveMCP(w http.ResponseWriter, r *http.Request) {
	caller, signIn, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		// Nothing is sent outside of answers, so there is no stream to GET.
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, "this method is not supported here")
		return
	}
	var session string
	if !mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion)) {
		session = r.Header.Get(server.HeaderKeySessionID)
		if session != "" && !s.sessions.valid(session, caller.Identity()) {
			refuse(w, http.StatusNotFound, "there is no such session")
			return
		}
	}
	if r.Method == http.MethodDelete {
		if session == "" {
			refuse(w, http.StatusBadRequest, "there is no session to end")
			return
		}
		if err := s.gate.SessionEnded(r.Context(), tools.Call{Caller: caller, Session: public(session), Client: s.sessions.client(session)}); err != nil {
			s.unavailable(w, err)
			return
		}
		s.sessions.end(session)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	done, status := s.inflight.enter(caller.Identity())
	if done == nil {
		w.Header().Set("Retry-After", "1")
		refuse(w, status, "too many calls are under way; wait for one to end")
		return
	}
	defer done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			refuse(w, http.StatusRequestEntityTooLarge, "the request is too large")
			return
		}
		refuse(w, http.StatusBadRequest, "the request could not be read")
		return
	}
	splice := &splicer{w: w}
	defer func() {
		if err := splice.close(); err != nil {
			s.logger.Error("closing an answer", "err", err)
		}
	}()
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, request{caller: caller, session: session, signIn: signIn, writer: w, splice: splice}))
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.stream.ServeHTTP(splicedResponse{w, splice}, r)
}

// authenticate returns the caller of a request's token, and the name of its
// sign-in. Without one, it has answered with the challenge that tells the
// client where to get a token.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (caller policy.Caller, signIn string, ok bool) {
	token, sent := bearer(r.Header)
	if !sent {
		s.challenge(w, "", "")
		return policy.Caller{}, "", false
	}
	caller, err := s.config.Verifier.Verify(r.Context(), token)
	if err == nil {
		signIn, isNew := s.sessions.signIn(token)
		if isNew {
			if err := s.gate.SignedIn(r.Context(), tools.Call{Caller: caller, Session: signIn}, r.RemoteAddr); err != nil {
				s.sessions.forget(signIn)
				s.unavailable(w, err)
				return policy.Caller{}, "", false
			}
		}
		return caller, signIn, true
	}
	// The operator gets the cause; the client could be anybody.
	s.logger.Warn("refusing a request to MCP", "err", err, "remote", r.RemoteAddr)
	description, reason := "the token is not valid", string(identity.Malformed)
	var refused *identity.Error
	if errors.As(err, &refused) {
		description, reason = refused.Description(), string(refused.Reason)
	}
	s.gate.RefusedToken(r.Context(), reason, r.RemoteAddr)
	if refused != nil && refused.Reason == identity.KeysUnavailable {
		// Another token would fare no better, so nobody should get one.
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, description)
		return policy.Caller{}, "", false
	}
	s.challenge(w, "invalid_token", description)
	return policy.Caller{}, "", false
}

// unavailable answers a request that could not be recorded.
func (s *Server) unavailable(w http.ResponseWriter, err error) {
	s.logger.Error("recording a request", "err", err)
	refuse(w, http.StatusServiceUnavailable, "the gateway cannot record this request, so it does not answer it")
}

// challenge answers 401 as RFC 6750 and RFC 9728 want it. A request without
// any token gets no error code, as it has made no mistake yet.
func (s *Server) challenge(w http.ResponseWriter, code, description string) {
	metadata := *s.resource
	metadata.Path = server.ProtectedResourceMetadataPath(s.config.Resource)
	params := []string{`resource_metadata=` + quoted(metadata.String())}
	if len(s.config.Scopes) > 0 {
		params = append(params, `scope=`+quoted(strings.Join(s.config.Scopes, " ")))
	}
	if code != "" {
		params = append(params, `error=`+quoted(code), `error_description=`+quoted(description))
	}
	w.Header().Set("WWW-Authenticate", "Bearer "+strings.Join(params, ", "))
	if description == "" {
		description = "a bearer token is required"
	}
	refuse(w, http.StatusUnauthorized, description)
}

// quoted writes a quoted-string of RFC 9110.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// bearer returns the token of a request that has exactly one.
func bearer(h http.Header) (token string, sent bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// hostAllowed reports whether a Host header names this gateway. Names of the
// loopback interface stand for each other: none of them can be pointed here by
// somebody else's DNS.
func (s *Server) hostAllowed(host string) bool {
	return slices.ContainsFunc(s.config.AllowedHosts, func(allowed string) bool {
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
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// originAllowed reports whether a request comes from no web page, from one of
// the gateway's own, or from an allowed one. [http.CrossOriginProtection]
// checks the same by other headers, and lets pass what only reads.
func (s *Server) originAllowed(h http.Header) bool {
	for _, origin := range h.Values("Origin") {
		if slices.Contains(s.config.AllowedOrigins, origin) {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !s.hostAllowed(u.Host) {
			return false
		}
	}
	return true
}

// serveHealth says whether calls can be answered. The cause of trouble is in
// the operator's log.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this method is not supported here")
		return
	}
	status, word := http.StatusOK, "ok"
	if s.gate.Healthy() != nil {
		status, word = http.StatusServiceUnavailable, "unavailable"
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, map[string]string{"status": word})
}

// refuse answers a request that does not reach the protocol.
func refuse(w http.ResponseWriter, status int, why string) {
	writeJSON(w, status, map[string]string{"error": why})
}

func writeJSON(w http.ResponseWriter, status int, v map[string]string) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone needs no answer.
	_, _ = w.Write(append(text, '\n'))
}

// inflight counts the requests under way, so that no caller can take all of
// the gateway.
type inflight struct {
	all, each int

	mu    sync.Mutex
	total int
	by    map[policy.Identity]int
}

func newInflight(all, each int) *inflight {
	return &inflight{all: all, each: each, by: make(map[policy.Identity]int)}
}

// enter counts a request in. It returns how to count it out or, if there is no
// room, nil and the HTTP status that says so.
func (f *inflight) enter(who policy.Identity) (done func(), status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	who.Email = "" // describes, does not identify
	switch {
	case f.by[who] >= f.each:
		return nil, http.StatusTooManyRequests
	case f.total >= f.all:
		return nil, http.StatusServiceUnavailable
	}
	f.total++
	f.by[who]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.by[who]--; f.by[who] == 0 {
			delete(f.by, who)
		}
	}, 0
}
