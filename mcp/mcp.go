// Package mcp serves the gate's tools to AI agents over the Model Context
// Protocol (https://modelcontextprotocol.io/specification), over streamable
// HTTP and over standard input and output. It is the only importer of mcp-go.
//
// # HTTP
//
// [Server.Handler] answers exactly these paths, and 404 for all others:
//
//	/mcp                                       the protocol: POST and DELETE
//	/.well-known/oauth-protected-resource/mcp  RFC 9728 metadata
//	/.well-known/oauth-protected-resource      the same, where clients look next
//	/healthz                                   200 or 503, for load balancers
//
// Two eras of the protocol are served on the one path, decided per request:
// revision 2026-07-28, where every request stands alone, and 2025-03-26 to
// 2025-11-25, where a client opens with initialize and may carry a session id.
//
// A request to /mcp passes these checks in this order, and nothing of its body
// is read before the last: Host and Origin (403), bearer token (401 with the
// challenge of RFC 9728; 503 while it cannot be checked), method (405), pace of
// the caller (429), session id (404), calls under way (429, 503), time and size
// of the body (400, 413). A batch is refused (400). What a tool wants of the
// token's scopes is looked at where the tool is called, by the name that the
// protocol has read, and answered 403 with the scopes of that tool
// (insufficient_scope). Whoever is turned away, but for want of any token or
// because of the method, is in the log with the reason.
//
// # Who calls
//
// The caller of a tool is what [identity.Verifier] made of this request's
// token, never of an earlier request's. Nothing is bound to a session: a
// session id only says which requests belong together. It is
//
//	base64url(random[16] || unix seconds[8] || HMAC-SHA256[32])
//
// with the MAC over the random part, the time and the caller's issuer and
// subject. So an id is good for the caller that it was made for, on every
// gateway that shares the key, and useless to anybody else.
//
// mcp-go keeps no session of its own here. Its sessions are not bound to who
// opened them, share one channel for the progress of concurrent calls, and are
// what a cancellation is looked up by: in its sessionless mode, which has no
// ids, one caller could cancel another's call by its number. Each request
// therefore gets a session that lives as long as the request and whose id is
// the verified one or, where there is none, a random one.
//
// A session ends when it is not used, and a caller has only so many that are
// remembered. What is forgotten is a name: ids carry their own proof, and no
// right hangs on them.
//
// The client's name, its version and the session are asserted by the client.
// They are recorded and decide nothing.
//
// # Tasks
//
// For clients that declare the extension io.modelcontextprotocol/tasks, waiting
// for a person is a task; see tasks.go. Everybody else waits in the call, or
// asks again with check_approval.
//
// # Answers
//
// Every tool declares an output schema and answers with structured content,
// which always holds the whole answer, and with a text form for clients that
// show only text: a sentence, the next step, and a line of JSON per row. The
// rows stand in both forms up to [textLimit] bytes; of a larger answer the
// text shows the beginning and says that the rest is in the structured
// content, so that large results do not travel twice. Denied and failed calls
// have isError set, so that models notice; a pending approval is no error.
package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/internal/identity"
	"querywarden/policy"
	"querywarden/tools"
)

// Config says where and to whom a [Server] answers. Verifier and Resource are
// required, the rest has defaults.
type Config struct {
	// Verifier turns bearer tokens into callers.
	Verifier *identity.Verifier

	// Resource is the public URL of /mcp: the audience of tokens, and what
	// clients are told that this is.
	Resource string
	// AuthorizationServers are the issuers where clients get tokens.
	AuthorizationServers []string
	// Scopes are what clients should ask for when they get a token. The gate
	// decides by groups, so none is the rule.
	Scopes []string
	// ToolScopes are what a token has to be good for, by tool. A call whose
	// token is not is answered 403 and names them. Tools that are not there
	// need none.
	ToolScopes map[string][]string

	// AllowedHosts are the values of the Host header that are answered, with
	// port; Resource's own if empty. Where one of them is a loopback address,
	// so are all names of the loopback interface on its port.
	AllowedHosts []string
	// AllowedOrigins are the web origins ("https://app.example.com") whose
	// pages may call, beside the gateway's own. None is the rule: agents are
	// not web pages.
	AllowedOrigins []string

	// SessionKey authenticates session ids, at least 32 bytes. Gateways that
	// share it accept each other's. A random key if nil.
	SessionKey []byte

	MaxBody           int64         // bytes of a request's body; 4 MiB if zero
	BodyTimeout       time.Duration // in which a body has to come; 30 s if zero
	MaxCalls          int           // requests under way at once; 256 if zero
	MaxCallsPerCaller int           // of them, by one caller; 32 if zero
	CallsPerMinute    int           // by one caller, in the long run; 6000 if zero
	Burst             int           // by one caller, at once; 600 if zero

	// SessionsPerCaller is how many sessions of one caller are remembered, 64
	// if zero; SessionIdle is when one that is not used ends, an hour if zero.
	SessionsPerCaller int
	SessionIdle       time.Duration

	// Version is the gateway's, for clients to show.
	Version string
	// Logger takes what operators need to know; discarded if nil.
	Logger *slog.Logger
}

// A Server serves one gate. It is safe for concurrent use.
type Server struct {
	config   Config
	gate     *tools.Gate
	resource *url.URL
	mcp      *server.MCPServer
	stream   http.Handler // mcp-go's end of /mcp
	sessions *sessions
	inflight *inflight
	pace     *pace
	tasks    taskSource
	scopes   []string // all that any tool may need
	logger   *slog.Logger
}

// instructions is what a model is told of the server as a whole.
const instructions = `This is a gateway to a Snowflake account. It decides about every statement before it runs, may replace sensitive values by masks, and records all calls.

Find tables with list_tables, read their columns with describe_table, then call query with one statement. Every answer has a status: act on it and on "next". On pending_approval call request_approval with the same sql. On denied do not try variants of the same statement: the decision is about what it reads or changes, not about how it is written. Masked values are not the real ones, so do not compare, join or count by them.`

// New makes a server for a gate.
func New(gate *tools.Gate, c Config) (*Server, error) {
	if gate == nil || c.Verifier == nil {
		return nil, errors.New("making MCP server: a gate and a verifier are required")
	}
	resource, err := url.Parse(c.Resource)
	if err != nil {
		return nil, fmt.Errorf("making MCP server: %w", err)
	}
	if resource.Scheme != "https" && resource.Scheme != "http" || resource.Host == "" || resource.RawQuery != "" || resource.Fragment != "" {
		return nil, fmt.Errorf("making MCP server: %q is not the URL of a resource", c.Resource)
	}
	if len(c.AllowedHosts) == 0 {
		c.AllowedHosts = []string{resource.Host}
	}
	if c.SessionKey == nil {
		c.SessionKey = make([]byte, 32)
		rand.Read(c.SessionKey)
	}
	if len(c.SessionKey) < 32 {
		return nil, errors.New("making MCP server: the session key is shorter than 32 bytes")
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 4 << 20
	}
	if c.BodyTimeout <= 0 {
		c.BodyTimeout = 30 * time.Second
	}
	if c.MaxCalls <= 0 {
		c.MaxCalls = 256
	}
	if c.MaxCallsPerCaller <= 0 {
		c.MaxCallsPerCaller = 32
	}
	if c.CallsPerMinute <= 0 {
		c.CallsPerMinute = 6000
	}
	if c.Burst <= 0 {
		c.Burst = 600
	}
	if c.SessionsPerCaller <= 0 {
		c.SessionsPerCaller = 64
	}
	if c.SessionIdle <= 0 {
		c.SessionIdle = time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config:   c,
		gate:     gate,
		resource: resource,
		sessions: newSessions(c.SessionKey, c.SessionsPerCaller, c.SessionIdle, time.Now),
		inflight: newInflight(c.MaxCalls, c.MaxCallsPerCaller),
		pace:     newPace(c.CallsPerMinute, c.Burst),
		scopes:   slices.Clone(c.Scopes),
		logger:   c.Logger,
	}
	s.tasks = s.approvalTasks()
	if err := s.addTools(); err != nil {
		return nil, fmt.Errorf("making MCP server: %w", err)
	}
	s.stream = s.over(s.mcp)
	return s, nil
}

// over is mcp-go's end of /mcp.
func (s *Server) over(m *server.MCPServer) http.Handler {
	return server.NewStreamableHTTPServer(m,
		// Sessions are ours, see the package comment.
		server.WithStateLess(true),
		server.WithDisableStreaming(true),
		// The check of Host is ours too. mcp-go's knows nothing of proxies on
		// the same machine, which keep the public name.
		server.WithDisableLocalhostProtection(true),
		server.WithHTTPContextFunc(s.requestContext),
		server.WithStreamableHTTPLogger(s.logger),
	)
}

// addTools makes mcp-go's server with the gate's tools.
func (s *Server) addTools() error {
	hooks := &server.Hooks{}
	hooks.AddAfterInitialize(s.opened)
	s.mcp = server.NewMCPServer("querywarden", s.config.Version,
		server.WithTitle("querywarden"),
		server.WithInstructions(instructions),
		server.WithToolCapabilities(false),
		server.WithHooks(hooks),
		server.WithExtensions(map[string]any{tasksExtension: map[string]any{}}),
	)
	names := map[string]bool{}
	for _, t := range s.tools() {
		definition, err := t.definition()
		if err != nil {
			return err
		}
		check, err := newChecker(definition.RawInputSchema)
		if err != nil {
			return err
		}
		s.mcp.AddTool(definition, s.handler(t, check))
		names[t.name] = true
	}
	for tool, scopes := range s.config.ToolScopes {
		if !names[tool] {
			return fmt.Errorf("scopes: there is no tool %q", tool)
		}
		for _, scope := range scopes {
			// RFC 6749, section 3.3.
			if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
				return fmt.Errorf("scopes: %q of %s is no scope", scope, tool)
			}
		}
		s.scopes = append(s.scopes, scopes...)
	}
	slices.Sort(s.scopes)
	s.scopes = slices.Compact(s.scopes)
	return nil
}

// A request is what is known of an MCP request before its body is read. It
// travels in the context.
type request struct {
	caller  policy.Caller
	scopes  []string            // of its token
	session string              // verified session id, or empty
	signIn  string              // names what is done with one token, or over one pair of streams
	remote  string              // where it comes from
	writer  http.ResponseWriter // nil over stdio
	splice  *splicer            // what the response is written through
}

type requestKey struct{}

// requestFrom returns the request of a context. Without one there is no caller,
// and the empty caller has no rights.
func requestFrom(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

// scope is the session that mcp-go sees: its own, which carries notifications
// to this request's response, under an id that belongs to this caller alone.
type scope struct {
	streamSession
	id string
}

// A streamSession is what mcp-go's own session can do.
type streamSession interface {
	server.SessionWithLogging
	server.SessionWithClientInfo
	server.SessionWithSampling
	server.SessionWithElicitation
	server.SessionWithRoots
	server.SessionWithStreamableHTTPConfig
	server.SessionWithSubscriptionFilter
}

// SessionID returns the id that cancellations are looked up by.
func (s scope) SessionID() string { return s.id }

// requestContext puts the request's own session in the place of mcp-go's.
func (s *Server) requestContext(ctx context.Context, _ *http.Request) context.Context {
	id := requestFrom(ctx).session
	if id == "" {
		id = rand.Text()
	}
	own, ok := server.ClientSessionFromContext(ctx).(streamSession)
	if !ok {
		// mcp-go has changed. Without a session nothing can be cancelled by
		// others, and nothing is told before the answer.
		return s.mcp.WithContext(ctx, nil)
	}
	return s.mcp.WithContext(ctx, scope{streamSession: own, id: id})
}

// opened gives the client that has just initialized over HTTP its session id.
func (s *Server) opened(ctx context.Context, _ any, req *mcp.InitializeRequest, _ *mcp.InitializeResult) {
	r := requestFrom(ctx)
	c := tools.Call{Caller: r.caller, Session: r.signIn, Client: clientOf(req.Params.ClientInfo)}
	if r.writer != nil {
		id := s.sessions.open(r.caller.Identity(), c.Client)
		r.writer.Header().Set(server.HeaderKeySessionID, id)
		c.Session = public(id)
	}
	if err := s.gate.SessionStarted(ctx, c); err != nil {
		// The log has failed, and the gateway is about to stop.
		s.logger.Error("recording a session", "err", err)
	}
}

// call describes a tool call to the gate.
func (s *Server) call(ctx context.Context, req mcp.CallToolRequest) tools.Call {
	r := requestFrom(ctx)
	c := tools.Call{Caller: r.caller, Session: r.signIn}
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.ClientInfo != nil {
		c.Client = clientOf(*info.ClientInfo)
	} else if session, ok := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo); ok {
		c.Client = clientOf(session.GetClientInfo())
	}
	if r.session != "" {
		c.Session = public(r.session)
		if c.Client == (tools.Client{}) {
			c.Client = s.sessions.client(r.session)
		}
	}
	if req.Params.Meta != nil {
		keysOf(&c, req.Params.Meta.AdditionalFields)
	}
	if c.Trace == "" {
		c.Trace = traceID(req.Header.Get("traceparent"))
	}
	return c
}

func clientOf(i mcp.Implementation) tools.Client {
	return tools.Client{Name: asserted(i.Name), Version: asserted(i.Version)}
}
