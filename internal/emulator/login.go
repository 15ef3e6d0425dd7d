//go:build cgo

package emulator

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// How long tokens live, as Snowflake has it; a renewal gives new ones.
const (
	sessionTokenLife = time.Hour
	masterTokenLife  = 4 * time.Hour
	// jwtLife is the longest that a login's token may be valid, and jwtSkew
	// how far the client's clock may be off.
	// docs.snowflake.com/en/user-guide/key-pair-auth
	jwtLife = time.Hour
	jwtSkew = time.Minute
)

// A user can log in with the private half of key.
type user struct {
	name        string
	key         *rsa.PublicKey
	fingerprint string // SHA256:… of the key's SPKI form
	role        string
	declared    map[string]string // by CREATE USER; nil after [Emulator.AddUser]
	tokens      []secret
}

// mayUse reports whether the session's user has a role.
func (s *session) mayUse(ctx context.Context, role string) (bool, error) {
	u := s.user
	if u.name == systemUser || role == publicRole || role == u.role && u.declared == nil {
		return true, nil
	}
	found, err := texts(ctx, s.conn, `WITH RECURSIVE has AS (
			SELECT name AS r FROM "_catalog".grants WHERE granted_on = 'ROLE' AND granted_to = 'USER' AND grantee = ?
			UNION SELECT g.name FROM "_catalog".grants g JOIN has ON g.grantee = has.r WHERE g.granted_to = 'ROLE' AND g.granted_on = 'ROLE')
		SELECT r FROM has WHERE r = ?`, u.name, role)
	return len(found) > 0, err
}

// publicRole is everybody's.
const publicRole = "PUBLIC"

// A ticket is a token: what a client shows instead of logging in again: for statements,
// or (master) for new tokens.
type ticket struct {
	session *session
	master  bool
	expires time.Time
}

// newToken makes a token nobody can guess. The emulator's mutex is held.
func (e *Emulator) newToken(s *session, master bool, life time.Duration) string {
	secret := make([]byte, 32)
	rand.Read(secret)
	text := hex.EncodeToString(secret)
	e.tokens[text] = &ticket{session: s, master: master, expires: time.Now().Add(life)}
	return text
}

// dropTokens forgets a session's tokens. The emulator's mutex is held.
func (e *Emulator) dropTokens(s *session) {
	for text, t := range e.tokens {
		if t.session == s {
			delete(e.tokens, text)
		}
	}
}

// fingerprint is a public key's name in a JWT.
func fingerprint(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("taking a key's fingerprint: %w", err)
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.StdEncoding.EncodeToString(sum[:]), nil
}

// authenticate checks a login's JWT and returns whose it is. The error says
// what was wrong for the log; the client hears only that it was.
//
//	iss ACCOUNT.USER.SHA256:<base64 of the SPKI's SHA-256>, sub ACCOUNT.USER, RS256
func (e *Emulator) authenticate(text, account string, now time.Time) (*user, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWT")
	}
	var header struct{ Alg string }
	var claims struct {
		Iss, Sub      string
		Exp, Iat, Nbf float64
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, fmt.Errorf("reading a JWT: %w", err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("reading a JWT: %w", err)
		}
	}
	if header.Alg != "RS256" {
		return nil, fmt.Errorf("algorithm %q", header.Alg)
	}
	// The account is the part before a region or an organization's dot.
	account, _, _ = strings.Cut(strings.ToUpper(account), ".")
	name, ok := strings.CutPrefix(claims.Sub, account+".")
	if !ok {
		return nil, fmt.Errorf("subject %q is not of account %s", claims.Sub, account)
	}
	e.mu.Lock()
	u := e.users[name]
	e.mu.Unlock()
	if u == nil || u.key == nil {
		return nil, fmt.Errorf("no user %q with a key", name)
	}
	if claims.Iss != claims.Sub+"."+u.fingerprint {
		return nil, fmt.Errorf("issuer %q is not the user's key", claims.Iss)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, fmt.Errorf("reading a JWT: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(u.key, crypto.SHA256, sum[:], signature); err != nil {
		return nil, fmt.Errorf("verifying a JWT: %w", err)
	}
	at := func(n float64) time.Time {
		// Snowflake's driver for Node.js writes milliseconds, and is let in.
		if n > 1e11 {
			return time.UnixMilli(int64(n))
		}
		return time.Unix(int64(n), 0)
	}
	switch {
	case now.After(at(claims.Exp).Add(jwtSkew)):
		return nil, errors.New("it has expired")
	case at(claims.Iat).After(now.Add(jwtSkew)), at(claims.Nbf).After(now.Add(jwtSkew)):
		return nil, errors.New("it is not valid yet")
	case at(claims.Exp).Sub(at(claims.Iat)) > jwtLife:
		return nil, errors.New("it is valid for too long")
	}
	return u, nil
}

// A refusal is why there is no session. The cause is for the log.
type refusal struct {
	user, code, message string
	cause               error
}

// whoIs finds the user who logs in, and checks what it shows.
func (e *Emulator) whoIs(request *loginRequest) (*user, *refusal) {
	data := request.Data
	name := strings.ToUpper(data.LoginName)
	switch data.Authenticator {
	case "SNOWFLAKE_JWT":
		u, err := e.authenticate(data.Token, data.AccountName, time.Now())
		if err != nil {
			return nil, &refusal{claimedUser(data.Token), "390144", "JWT token is invalid.", err}
		}
		return u, nil
	case "PROGRAMMATIC_ACCESS_TOKEN":
		if u := e.tokenUser(data.Authenticator, data.Token, name); u != nil {
			return u, nil
		}
		return nil, &refusal{name, "394400", "Programmatic access token is invalid.", errors.New("no such token")}
	case "OAUTH":
		if u := e.tokenUser(data.Authenticator, data.Token, name); u != nil {
			return u, nil
		}
		return nil, &refusal{name, "390303", "Invalid OAuth access token.", errors.New("no such token")}
	case "WORKLOAD_IDENTITY":
		if u := e.tokenUser(data.Authenticator, data.Token, name); u != nil {
			return u, nil
		}
		return nil, &refusal{name, "390144", "The workload identity token is invalid.", errors.New("no such token")}
	default:
		return nil, &refusal{name, "390100", "Incorrect username or password was specified.", fmt.Errorf("authenticator %q", data.Authenticator)}
	}
}

// A secret is a token that a user can log in with.
type secret struct {
	authenticator string
	digest        [sha256.Size]byte
	expires       time.Time
}

// AddToken lets a user log in with a token as well: a programmatic access
// token, an OAuth access token or that of a workload, by the names that
// drivers have for them (PROGRAMMATIC_ACCESS_TOKEN, OAUTH, WORKLOAD_IDENTITY).
func (e *Emulator) AddToken(name, authenticator, token string, expires time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.users[strings.ToUpper(name)]
	if u == nil || token == "" {
		return fmt.Errorf("adding a token: there is no user %q, or no token", name)
	}
	u.tokens = append(u.tokens, secret{authenticator, sha256.Sum256([]byte(token)), expires})
	return nil
}

// tokenUser finds whose token it is; a login may name the user, and then it is
// that one's.
func (e *Emulator) tokenUser(authenticator, token, name string) *user {
	digest := sha256.Sum256([]byte(token))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.users {
		for _, t := range u.tokens {
			if t.authenticator == authenticator && t.digest == digest && time.Now().Before(t.expires) && (name == "" || name == u.name) {
				return u
			}
		}
	}
	return nil
}

// letIn checks what the account has against a user who is known.
func (s *session) letIn(r *http.Request) (code, message string) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	if strings.EqualFold(s.user.declared["DISABLED"], "TRUE") {
		return "390101", "User access disabled. Contact your local system administrator."
	}
	if minutes := s.user.declared["MINS_TO_UNLOCK"]; minutes != "" && minutes != "0" {
		return "390102", "Your user account has been temporarily locked due to too many failed attempts. Try again after 15 minutes or contact your account administrator for assistance."
	}
	admitted, err := s.admits(r.Context(), s.user, ip)
	if err == nil {
		s.scope, err = s.scopeOf(r.Context(), s.user)
	}
	if err != nil {
		s.emulator.logger.Error("starting a session", "error", err)
		return "390400", "The session could not be started."
	}
	s.secondary = s.user.declared != nil && s.user.declared["DEFAULT_SECONDARY_ROLES"] != "" || s.defaultSecondary()
	if !admitted {
		return "390422", "Incoming request with IP/Token " + ip + " is not allowed to access Snowflake. Contact your account administrator."
	}
	return "", ""
}

type loginRequest struct {
	Data struct {
		AccountName       string         `json:"ACCOUNT_NAME"`
		ClientAppID       string         `json:"CLIENT_APP_ID"`
		LoginName         string         `json:"LOGIN_NAME"`
		Authenticator     string         `json:"AUTHENTICATOR"`
		Token             string         `json:"TOKEN"`
		SessionParameters map[string]any `json:"SESSION_PARAMETERS"`
	} `json:"data"`
}

func (e *Emulator) login(w http.ResponseWriter, r *http.Request) {
	var request loginRequest
	if !readBody(w, r, &request) {
		return
	}
	data := request.Data
	u, refusal := e.whoIs(&request)
	if refusal != nil {
		e.logger.Warn("refusing a login", "cause", refusal.cause)
		e.signedIn(r, &request, refusal.user, refusal.code, refusal.message)
		replyError(w, refusal.code, refusal.message)
		return
	}
	s, err := e.newSession(r.Context(), u)
	if err != nil {
		e.logger.Error("starting a session", "error", err)
		replyError(w, "390400", "The session could not be started.")
		return
	}
	for name, value := range data.SessionParameters {
		s.parameters[strings.ToUpper(name)] = parameterText(value)
	}
	code, message := s.letIn(r)
	if code == "" {
		code, message = s.enter(r.Context(), r.URL.Query().Get)
	}
	if code != "" {
		e.endSession(s)
		e.signedIn(r, &request, u.name, code, message)
		replyError(w, code, message)
		return
	}
	e.signedIn(r, &request, u.name, "", "")
	e.mu.Lock()
	reply := map[string]any{
		"token":                   e.newToken(s, false, sessionTokenLife),
		"masterToken":             e.newToken(s, true, masterTokenLife),
		"validityInSeconds":       int(sessionTokenLife.Seconds()),
		"masterValidityInSeconds": int(masterTokenLife.Seconds()),
		"sessionId":               s.id,
		"displayUserName":         u.name,
		"serverVersion":           serverVersion,
		"parameters":              s.parameterList(),
		"sessionInfo": map[string]any{
			"databaseName": s.database, "schemaName": s.schema, "warehouseName": s.warehouse, "roleName": s.role,
		},
	}
	e.mu.Unlock()
	replyData(w, reply)
}

// factors name what a login shows, in LOGIN_HISTORY.
var factors = map[string]string{
	"SNOWFLAKE_JWT": "RSA_KEYPAIR", "PROGRAMMATIC_ACCESS_TOKEN": "PROGRAMMATIC_ACCESS_TOKEN", "OAUTH": "OAUTH_ACCESS_TOKEN", "WORKLOAD_IDENTITY": "WORKLOAD_IDENTITY",
}

// signedIn writes a login down.
func (e *Emulator) signedIn(r *http.Request, request *loginRequest, user, code, message string) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr
	}
	err = e.history.note(journalLine{SignIn: &signIn{
		Time: time.Now().UTC(), User: user, IP: ip, Client: request.Data.ClientAppID, Factor: factors[request.Data.Authenticator],
		Success: code == "", Code: code, Message: message,
	}})
	if err != nil {
		e.logger.Error("keeping the history", "error", err)
	}
}

// claimedUser is whom a JWT that does not count says to be.
func claimedUser(text string) string {
	_, rest, _ := strings.Cut(text, ".")
	middle, _, _ := strings.Cut(rest, ".")
	var claims struct{ Sub string }
	raw, err := base64.RawURLEncoding.DecodeString(middle)
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	_, name, _ := strings.Cut(claims.Sub, ".")
	return name
}

// defaultSecondary reports whether a declared user said nothing of secondary
// roles: then it has them all.
// docs.snowflake.com/en/sql-reference/sql/create-user
func (s *session) defaultSecondary() bool {
	if s.user.declared == nil {
		return false
	}
	_, said := s.user.declared["DEFAULT_SECONDARY_ROLES"]
	return !said
}

// enter makes the session stand where the login's query parameters say. An
// unknown database or schema is an error only if the client asked for that
// (CLIENT_VALIDATE_DEFAULT_PARAMETERS); a role that is not the user's always.
func (s *session) enter(ctx context.Context, parameter func(string) string) (code, message string) {
	if role := strings.ToUpper(parameter("roleName")); role != "" {
		ok, err := s.mayUse(ctx, role)
		if err != nil {
			s.emulator.logger.Error("starting a session", "error", err)
			return "390400", "The session could not be started."
		}
		if !ok {
			return "390189", "Role '" + role + "' specified in the connect string is not granted to this user. Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC."
		}
		s.role = role
	}
	s.warehouse = strings.ToUpper(parameter("warehouse"))
	strict := strings.EqualFold(s.parameters["CLIENT_VALIDATE_DEFAULT_PARAMETERS"], "true")
	database, schema := strings.ToUpper(parameter("databaseName")), strings.ToUpper(parameter("schemaName"))
	if database == "" {
		database = s.emulator.options.Database
		if schema == "" {
			schema = s.emulator.options.Schema
		}
	}
	known, err := s.databaseExists(ctx, database)
	if err == nil && known {
		s.database, s.schema = database, ""
		if schema == "" {
			schema = publicSchema
		}
		if known, err = s.schemaExists(ctx, database, schema); err == nil && known {
			s.schema = schema
		}
	}
	if err != nil {
		s.emulator.logger.Error("starting a session", "error", err)
		return "390400", "The session could not be started."
	}
	if strict && s.database == "" {
		return "390201", "The requested database does not exist or not authorized."
	}
	if strict && s.schema == "" {
		return "390201", "The requested schema does not exist or not authorized."
	}
	return "", ""
}

func (e *Emulator) renew(w http.ResponseWriter, r *http.Request) {
	var request struct {
		OldSessionToken string `json:"oldSessionToken"`
		RequestType     string `json:"requestType"`
	}
	if !readBody(w, r, &request) {
		return
	}
	s, ok := e.authorize(w, r, true)
	if !ok {
		return
	}
	if request.RequestType != "RENEW" {
		replyError(w, "390400", "The request type is not known.")
		return
	}
	e.mu.Lock()
	e.dropTokens(s)
	reply := map[string]any{
		"sessionToken":        e.newToken(s, false, sessionTokenLife),
		"masterToken":         e.newToken(s, true, masterTokenLife),
		"validityInSecondsST": int(sessionTokenLife.Seconds()),
		"validityInSecondsMT": int(masterTokenLife.Seconds()),
		"sessionId":           s.id,
	}
	e.mu.Unlock()
	replyData(w, reply)
}

// authorize finds the session whose token a request shows, or answers why
// there is none.
func (e *Emulator) authorize(w http.ResponseWriter, r *http.Request, master bool) (*session, bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), `Snowflake Token="`)
	text, quoted := strings.CutSuffix(text, `"`)
	e.mu.Lock()
	t := e.tokens[text]
	e.mu.Unlock()
	switch {
	case !ok || !quoted || t == nil && master:
		replyError(w, "390104", "Session token is invalid.")
	case t == nil:
		replyError(w, "390111", "Session no longer exists. New login required to access the service.")
	case t.master != master:
		replyError(w, "390104", "Session token is invalid.")
	case time.Now().After(t.expires) && master:
		replyError(w, "390114", "Authentication token has expired. The user must authenticate again.")
	case time.Now().After(t.expires):
		replyError(w, "390112", "Session token has expired.")
	default:
		return t.session, true
	}
	return nil, false
}
