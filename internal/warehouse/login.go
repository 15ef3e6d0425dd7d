package warehouse

import (
	"context"
	"crypto/rsa"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	sf "github.com/snowflakedb/gosnowflake"
)

// An Authentication is a way to log in. The zero one is a key pair.
type Authentication uint8

// The ways to log in that need no person.
const (
	KeyPair     Authentication = iota // docs.snowflake.com/en/user-guide/key-pair-auth
	AccessToken                       // docs.snowflake.com/en/user-guide/programmatic-access-tokens
	OAuth                             // docs.snowflake.com/en/user-guide/oauth-ext-overview: an access token that somebody else renews
	OAuthClient                       // the same, with the client credentials that get one
	Workload                          // docs.snowflake.com/en/user-guide/workload-identity-federation
)

// A Login says as whom sessions are opened, and where they stand. User, but for
// OAuth, and Database are required; a login that cannot stand where it should
// fails.
type Login struct {
	User string
	Authentication
	// PrivateKey is the user's, of a [KeyPair].
	PrivateKey *rsa.PrivateKey
	// Secret gives the token of an [AccessToken] or [OAuth], the secret of an
	// [OAuthClient] or the OIDC token of a [Workload]. It is asked at each
	// login. White space around it does not count.
	Secret func(ctx context.Context) (string, error)
	// ClientID, TokenURL and Scope are an [OAuthClient]'s.
	ClientID, TokenURL, Scope string
	// Provider of a [Workload]: AWS, GCP, AZURE or OIDC.
	Provider string

	Role      string
	Warehouse string
	Database  string
	Schema    string

	// Agent says that the account must take the user for an agent
	// (SERVICE_AGENT), SessionScope which restricted session scope must be
	// active. docs.snowflake.com/en/user-guide/restricted-session-scope
	Agent        bool
	SessionScope string
}

func (l *Login) check() error {
	secret := l.Secret != nil
	switch l.Authentication {
	case KeyPair:
		if l.PrivateKey == nil || secret {
			return errors.New("a key pair needs a private key, and no other secret")
		}
	case AccessToken:
		if !secret || l.PrivateKey != nil {
			return errors.New("a programmatic access token is missing, or beside a key")
		}
	case OAuth:
		if !secret || l.PrivateKey != nil {
			return errors.New("an OAuth access token is missing, or beside a key")
		}
	case OAuthClient:
		if !secret || l.ClientID == "" || !strings.HasPrefix(l.TokenURL, "https://") || l.PrivateKey != nil {
			return errors.New("OAuth client credentials need client, secret and a token URL of https")
		}
	case Workload:
		switch l.Provider {
		case "AWS", "GCP", "AZURE":
			if secret {
				return fmt.Errorf("a workload of %s has no secret", l.Provider)
			}
		case "OIDC":
			if !secret {
				return errors.New("a workload with a token of OIDC needs the token")
			}
		default:
			return fmt.Errorf("the workload's provider %q is none of AWS, GCP, AZURE, OIDC", l.Provider)
		}
	default:
		return errors.New("there is no such way to log in")
	}
	if l.User == "" && l.Authentication != OAuth && l.Authentication != OAuthClient {
		return errors.New("a user is needed")
	}
	if l.Database == "" {
		return errors.New("a database is needed: the catalog is read from its information schema")
	}
	return nil
}

// authenticate puts what the account wants to see into the driver's
// configuration. The driver's own ways to read files are not used: they do not
// trim what they read.
func (l *Login) authenticate(ctx context.Context, c *sf.Config) error {
	secret := ""
	if l.Secret != nil {
		var err error
		if secret, err = l.Secret(ctx); err != nil {
			return fmt.Errorf("reading the login's secret: %w", err)
		}
		if secret = strings.TrimSpace(secret); secret == "" {
			return errors.New("reading the login's secret: it is empty")
		}
	}
	switch l.Authentication {
	case KeyPair:
		c.Authenticator, c.PrivateKey = sf.AuthTypeJwt, l.PrivateKey
	case AccessToken:
		c.Authenticator, c.Token = sf.AuthTypePat, secret
	case OAuth:
		c.Authenticator, c.Token = sf.AuthTypeOAuth, secret
	case OAuthClient:
		c.Authenticator = sf.AuthTypeOAuthClientCredentials
		c.OauthClientID, c.OauthClientSecret, c.OauthTokenRequestURL, c.OauthScope = l.ClientID, secret, l.TokenURL, l.Scope
	case Workload:
		c.Authenticator, c.WorkloadIdentityProvider, c.Token = sf.AuthTypeWorkloadIdentityFederation, l.Provider, secret
	default:
		return errors.New("there is no such way to log in")
	}
	return nil
}

// probe is the first statement of a session. It asks for what the session
// turned out to be; the account can have its own view of a user's defaults.
func (l *Login) probe() string {
	text := "SELECT CURRENT_USER(), CURRENT_ROLE(), CURRENT_WAREHOUSE(), CURRENT_DATABASE(), CURRENT_SCHEMA(), CURRENT_SECONDARY_ROLES()"
	// Accounts without the feature do not know these.
	if l.Agent || l.SessionScope != "" {
		text += ", SYS_CONTEXT('SNOWFLAKE$CURRENT', 'IS_AGENT_ACTIVATED'), SYS_CONTEXT('SNOWFLAKE$SESSION', 'ACTIVE_RESTRICTED_SESSION_SCOPES')"
	}
	return text
}

// errSession is in the chain of the error about a session that is not what the
// configuration says.
var errSession = errors.New("the session is not what the configuration says")

// expect compares what a session is with what it should be.
func (l *Login) expect(got []string) error {
	differs := func(what, got, want string) error {
		return fmt.Errorf("%w: its %s is %q, not %q", errSession, what, got, want)
	}
	for i, want := range [...]struct{ what, want string }{
		{"user", l.User}, {"role", l.Role}, {"warehouse", l.Warehouse}, {"database", l.Database}, {"schema", l.Schema},
	} {
		if want.want != "" && got[i] != stored(want.want) {
			return differs(want.what, got[i], stored(want.want))
		}
	}
	var secondary struct{ Roles, Value string }
	if err := json.Unmarshal([]byte(got[5]), &secondary); got[5] != "" && err != nil {
		return fmt.Errorf("%w: its secondary roles cannot be read", errSession)
	}
	if secondary.Roles != "" || secondary.Value != "" && !strings.EqualFold(secondary.Value, "NONE") {
		return fmt.Errorf("%w: secondary roles are active (%s %s), whose rights would add to the role's; ALTER USER … SET DEFAULT_SECONDARY_ROLES = ()", errSession, secondary.Value, secondary.Roles)
	}
	if l.Agent && !strings.EqualFold(got[6], "TRUE") {
		return fmt.Errorf("%w: the account does not take its user for an agent; TYPE = SERVICE_AGENT is missing", errSession)
	}
	if l.SessionScope != "" && !strings.Contains(strings.ToUpper(got[7]), strings.ToUpper(l.SessionScope)) {
		return differs("restricted session scope", got[7], l.SessionScope)
	}
	return nil
}

// probed runs the probe in a new session, recorded like every statement, and
// refuses the session if it is not what it should be.
func (c connector) probed(ctx context.Context, conn driver.Conn) error {
	text := c.login.probe()
	receipt, err := c.record(ctx, text)
	if err != nil {
		return fmt.Errorf("recording the session's first statement: %w", err)
	}
	if err := receipt.Authorize(text); err != nil {
		return fmt.Errorf("running the session's first statement: %w", err)
	}
	a := query(withTimeout(ctx, c.config.LoginTimeout), conn, receipt.Tag(), text)
	if a.err != nil {
		return newError(ctx, a.err, a.queryID)
	}
	rows := &Rows{ctx: ctx, queryID: a.queryID, release: func() {}}
	defer rows.Close()
	if err := rows.start(a.loader); err != nil {
		return newError(ctx, err, a.queryID)
	}
	width := 6
	if c.login.Agent || c.login.SessionScope != "" {
		width = 8
	}
	if !rows.Next() || len(rows.Columns()) != width {
		return newError(ctx, errors.Join(fmt.Errorf("%w: to the session's first statement", errInconsistent), rows.Err()), a.queryID)
	}
	got := make([]string, width)
	for i, v := range rows.Values() {
		got[i] = v.Text
	}
	if err := c.login.expect(got); err != nil {
		return &Error{Class: Auth, QueryID: a.queryID, Message: err.Error(), cause: errSession}
	}
	if rows.Next() || rows.Err() != nil {
		return newError(ctx, errors.Join(fmt.Errorf("%w: to the session's first statement", errInconsistent), rows.Err()), a.queryID)
	}
	return nil
}
