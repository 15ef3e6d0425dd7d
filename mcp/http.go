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
	"strconv"
	"strings"
	"time"

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
		ScopesSupported:        s.scopes,
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
				s.turnAway(w, r, nil, http.StatusForbidden, "host_not_allowed", "this host is not served here")
				return
			}
			metadata.ServeHTTP(w, r)
		case pathMCP:
			switch {
			case !s.hostAllowed(r.Host):
				s.turnAway(w, r, nil, http.StatusForbidden, "host_not_allowed", "this host is not served here")
			case !s.originAllowed(r.Header) || crossOrigin.Check(r) != nil:
				s.turnAway(w, r, nil, http.StatusForbidden, "origin_not_allowed", "requests from this origin are not allowed")
			default:
				s.serveMCP(w, r)
			}
		default:
			http.NotFound(w, r)
		}
	})
}

// Guard serves other paths of the gateway: requests that pass the checks of /mcp,
// those of Host, Origin and the bearer token, reach next with their caller.
func (s *Server) Guard(next func(http.ResponseWriter, *http.Request, policy.Caller)) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !s.hostAllowed(r.Host):
			s.turnAway(w, r, nil, http.StatusForbidden, "host_not_allowed", "this host is not served here")
		case !s.originAllowed(r.Header) || crossOrigin.Check(r) != nil:
			s.turnAway(w, r, nil, http.StatusForbidden, "origin_not_allowed", "requests from this origin are not allowed")
		default:
			if token, _, ok := s.authenticate(w, r); ok {
				next(w, r, token.Caller)
			}
		}
	})
}

// turnAway answers a request that does not reach the protocol, and records why.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, who *policy.Caller, status int, reason, sentence string) {
	s.gate.TurnedAway(r.Context(), reason, r.RemoteAddr, who)
	refuse(w, status, sentence)
}

// serveMCP answers a request to /mcp that comes from an allowed place.
func (s *Server) serveMCP(w http.ResponseWriter, r *http.Request) {
	token, signIn, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	caller := token.Caller
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		// Nothing is sent outside of answers, so there is no stream to GET.
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, "this method is not supported here")
		return
	}
	if wait := s.pace.wait(caller.Identity(), time.Now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds(wait)))
		s.turnAway(w, r, &caller, http.StatusTooManyRequests, tooFast, "you call too often; wait as long as Retry-After says")
		return
	}
	var session string
	if !mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion)) {
		session = r.Header.Get(server.HeaderKeySessionID)
		if session != "" && !s.sessions.valid(session, caller.Identity()) {
			s.turnAway(w, r, &caller, http.StatusNotFound, "session_unknown", "there is no such session")
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
	done, full := s.inflight.enter(caller.Identity())
	if done == nil {
		status := http.StatusServiceUnavailable
		if full == tooManyOfCaller {
			status = http.StatusTooManyRequests
		}
		w.Header().Set("Retry-After", "1")
		s.turnAway(w, r, &caller, status, full, "too many calls are under way; wait for one to end")
		return
	}
	defer done()
	body, ok := s.readBody(w, r, &caller)
	if !ok {
		return
	}
	splice := newSplicer(w)
	defer func() {
		if err := splice.close(); err != nil {
			s.logger.Error("closing an answer", "err", err)
		}
	}()
	out := &splicedResponse{ResponseWriter: w, splice: splice}
	splice.response = out
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, request{
		caller: caller, scopes: token.Scopes, session: session, signIn: signIn, remote: r.RemoteAddr, writer: w, splice: splice,
	}))
	r.Body = io.NopCloser(bytes.NewReader(body))
	defer out.begin() // of an answer without a body
	if !s.serveTasks(out, r, body) {
		s.stream.ServeHTTP(out, r)
	}
}

// readBody reads a request's body, which has to come within a time and to be no
// larger than the limit.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, caller *policy.Caller) ([]byte, bool) {
	deadline := http.NewResponseController(w)
	// A server that knows no deadlines is a test's.
	_ = deadline.SetReadDeadline(time.Now().Add(s.config.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			s.turnAway(w, r, caller, http.StatusRequestEntityTooLarge, "body_too_large", "the request is too large")
			return nil, false
		}
		w.Header().Set("Connection", "close")
		s.turnAway(w, r, caller, http.StatusBadRequest, "body_unreadable", "the request could not be read")
		return nil, false
	}
	// Answers take as long as they take.
	_ = deadline.SetReadDeadline(time.Time{})
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) > 0 && first[0] == '[' {
		// Batches went with revision 2025-06-18.
		s.gate.TurnedAway(r.Context(), "batch", r.RemoteAddr, caller)
		writeRPCError(w, nil, http.StatusBadRequest, rpcError{Code: mcp.INVALID_REQUEST, Message: "batches of messages are not supported; send one message a request"})
		return nil, false
	}
	return body, true
}

// authenticate returns what a request's token says, and the name of its
// sign-in. Without one, it has answered with the challenge that tells the
// client where to get a token.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (token identity.Token, signIn string, ok bool) {
	bearer, sent := bearer(r.Header)
	if !sent {
		s.challenge(w, http.StatusUnauthorized, s.scopes, "", "")
		return identity.Token{}, "", false
	}
	token, err := s.config.Verifier.Check(r.Context(), bearer)
	if err == nil {
		signIn, isNew := s.sessions.signIn(bearer)
		if isNew {
			if err := s.gate.SignedIn(r.Context(), tools.Call{Caller: token.Caller, Session: signIn}, r.RemoteAddr); err != nil {
				s.sessions.forget(signIn)
				s.unavailable(w, err)
				return identity.Token{}, "", false
			}
		}
		return token, signIn, true
	}
	// The operator gets the cause; the client could be anybody.
	s.logger.Warn("refusing a request to MCP", "err", err, "remote", r.RemoteAddr)
	description, reason := "the token is not valid", string(identity.Malformed)
	var refused *identity.Error
	if errors.As(err, &refused) {
		description, reason = refused.Description(), string(refused.Reason)
	}
	s.gate.TurnedAway(r.Context(), reason, r.RemoteAddr, nil)
	if refused != nil && refused.Passing() {
		// Another token would fare no better, so nobody should get one.
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, description)
		return identity.Token{}, "", false
	}
	s.challenge(w, http.StatusUnauthorized, s.scopes, "invalid_token", description)
	return identity.Token{}, "", false
}

// unavailable answers a request that could not be recorded.
func (s *Server) unavailable(w http.ResponseWriter, err error) {
	s.logger.Error("recording a request", "err", err)
	refuse(w, http.StatusServiceUnavailable, "the gateway cannot record this request, so it does not answer it")
}

// challenge answers 401 or 403 as RFC 6750 and RFC 9728 want it. A request
// without any token gets no error code, as it has made no mistake yet.
func (s *Server) challenge(w http.ResponseWriter, status int, scopes []string, code, description string) {
	w.Header().Set("WWW-Authenticate", s.challengeOf(scopes, code, description))
	if description == "" {
		description = "a bearer token is required"
	}
	refuse(w, status, description)
}

func (s *Server) challengeOf(scopes []string, code, description string) string {
	metadata := *s.resource
	metadata.Path = server.ProtectedResourceMetadataPath(s.config.Resource)
	params := []string{`resource_metadata=` + quoted(metadata.String())}
	if len(scopes) > 0 {
		params = append(params, `scope=`+quoted(strings.Join(scopes, " ")))
	}
	if code != "" {
		params = append(params, `error=`+quoted(code), `error_description=`+quoted(description))
	}
	return "Bearer " + strings.Join(params, ", ")
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
