package identitytest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// A storage is what the engine knows of a provider.
type storage struct{ p *Provider }

var errUnknown = errors.New("unknown")

type resourcesKey struct{}

func withResources(ctx context.Context, resources []string) context.Context {
	return context.WithValue(ctx, resourcesKey{}, resources)
}

// resources are the audiences that a request asks for (RFC 8707).
func resources(ctx context.Context) []string {
	list, _ := ctx.Value(resourcesKey{}).([]string)
	return list
}

// An authRequest is a sign-in under way.
type authRequest struct {
	oidc.AuthRequest
	id       string
	audience []string
	subject  string // once signed in
	at       time.Time
}

func (a *authRequest) GetID() string                      { return a.id }
func (a *authRequest) GetACR() string                     { return "" }
func (a *authRequest) GetAMR() []string                   { return []string{"pwd"} }
func (a *authRequest) GetAudience() []string              { return a.audience }
func (a *authRequest) GetAuthTime() time.Time             { return a.at }
func (a *authRequest) GetClientID() string                { return a.ClientID }
func (a *authRequest) GetNonce() string                   { return a.Nonce }
func (a *authRequest) GetRedirectURI() string             { return a.RedirectURI }
func (a *authRequest) GetResponseMode() oidc.ResponseMode { return a.ResponseMode }
func (a *authRequest) GetResponseType() oidc.ResponseType { return a.ResponseType }
func (a *authRequest) GetScopes() []string                { return a.Scopes }
func (a *authRequest) GetState() string                   { return a.State }
func (a *authRequest) GetSubject() string                 { return a.subject }
func (a *authRequest) Done() bool                         { return a.subject != "" }

func (a *authRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if a.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: a.CodeChallenge, Method: a.CodeChallengeMethod}
}

// A refreshRequest is what a refresh token stands for.
type refreshRequest struct {
	client, subject  string
	audience, scopes []string
	at               time.Time
}

func (r *refreshRequest) GetAMR() []string                 { return []string{"pwd"} }
func (r *refreshRequest) GetAudience() []string            { return r.audience }
func (r *refreshRequest) GetAuthTime() time.Time           { return r.at }
func (r *refreshRequest) GetClientID() string              { return r.client }
func (r *refreshRequest) GetScopes() []string              { return r.scopes }
func (r *refreshRequest) GetSubject() string               { return r.subject }
func (r *refreshRequest) SetCurrentScopes(scopes []string) { r.scopes = scopes }

func (s *storage) CreateAuthRequest(ctx context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(r.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired()
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	a := &authRequest{AuthRequest: *r, id: rand.Text(), audience: resources(ctx)}
	if len(a.audience) == 0 {
		a.audience = []string{r.ClientID}
	}
	s.p.requests[a.id] = a
	return a, nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if a := s.p.requests[id]; a != nil {
		return a, nil
	}
	return nil, errUnknown
}

// AuthRequestByCode takes the code away: it is good once.
func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	s.p.mu.Lock()
	id := s.p.codes[code]
	delete(s.p.codes, code)
	s.p.mu.Unlock()
	return s.AuthRequestByID(ctx, id)
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.codes[code] = id
	return nil
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.requests, id)
	return nil
}

func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if device, ok := r.(*op.DeviceAuthorizationState); ok {
		// A device's code is good once.
		maps.DeleteFunc(s.p.devices, func(_ string, d *op.DeviceAuthorizationState) bool { return d == device })
	}
	return rand.Text(), time.Now().Add(s.p.lifetime), nil
}

func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (id, refresh string, exp time.Time, err error) {
	if id, exp, err = s.CreateAccessToken(ctx, r); err != nil {
		return "", "", time.Time{}, err
	}
	next := &refreshRequest{subject: r.GetSubject(), audience: r.GetAudience(), scopes: r.GetScopes(), at: time.Now()}
	if signed, ok := r.(op.IDTokenRequest); ok {
		next.client, next.at = signed.GetClientID(), signed.GetAuthTime()
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.refresh, current) // good once
	refresh = rand.Text()
	s.p.refresh[refresh] = next
	return id, refresh, exp, nil
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if r := s.p.refresh[token]; r != nil {
		return r, nil
	}
	return nil, op.ErrInvalidRefreshToken
}

func (s *storage) TerminateSession(context.Context, string, string) error { return nil }

func (s *storage) RevokeToken(_ context.Context, token, _, _ string) *oidc.Error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.refresh, token)
	return nil
}

func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (userID, tokenID string, err error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if r := s.p.refresh[token]; r != nil {
		return r.subject, token, nil
	}
	return "", "", op.ErrInvalidRefreshToken
}

// A signingKey is the provider's key at one time, private or public.
type signingKey struct {
	kid string
	key any
}

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Algorithm() jose.SignatureAlgorithm          { return jose.RS256 }
func (k signingKey) Use() string                                 { return "sig" }
func (k signingKey) Key() any                                    { return k.key }
func (k signingKey) ID() string                                  { return k.kid }

func (s *storage) key() (string, *rsa.PrivateKey) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.kid, s.p.key
}

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	kid, key := s.key()
	return signingKey{kid, key}, nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	kid, key := s.key()
	return []op.Key{signingKey{kid, &key.PublicKey}}, nil
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if c := s.p.clients[id]; c != nil {
		return client{c}, nil
	}
	// A client ID metadata document: what is fetched from there in the world
	// is taken as read.
	if u, err := url.Parse(id); err == nil && u.Scheme == "https" && u.Host != "" && len(u.Path) > 1 {
		return client{&Client{ID: id, Redirects: []string{"http://localhost/callback", "http://127.0.0.1/callback", "http://127.0.0.1/"}}}, nil
	}
	return nil, errUnknown
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if c := s.p.clients[id]; c == nil || c.Secret != secret {
		return errUnknown
	}
	return nil
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	return s.userinfo(info, r.GetSubject())
}

func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, _, subject, _ string) error {
	return s.userinfo(info, subject)
}

func (s *storage) userinfo(info *oidc.UserInfo, subject string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	who := s.p.bySubject(subject)
	if who == nil {
		return errUnknown
	}
	info.Subject, info.Email, info.EmailVerified, info.Name = who.Subject, who.Email, true, who.Name
	for name, value := range personClaims(who) {
		if !strings.HasPrefix(name, "email") {
			info.AppendClaims(name, value)
		}
	}
	return nil
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errUnknown
}

func (s *storage) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, scopes []string) (map[string]any, error) {
	return s.claims(subject, scopes), nil
}

func (s *storage) GetPrivateClaimsFromRequest(_ context.Context, r op.TokenRequest, _ []string) (map[string]any, error) {
	return s.claims(r.GetSubject(), r.GetScopes()), nil
}

// claims are what an access token says beside what RFC 9068 requires.
func (s *storage) claims(subject string, scopes []string) map[string]any {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	claims := map[string]any{}
	if who := s.p.bySubject(subject); who != nil {
		claims = personClaims(who)
	} else if c := s.p.clients[subject]; c != nil && c.Groups != nil {
		claims["groups"] = c.Groups
	}
	if len(scopes) > 0 {
		claims["scope"] = strings.Join(scopes, " ")
	}
	return claims
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnknown
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnknown
}

func (s *storage) Health(context.Context) error { return nil }

// ClientCredentials lets a client in for itself.
func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if secret == "" {
		return nil, errUnknown
	}
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

func (s *storage) ClientCredentialsTokenRequest(ctx context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: resources(ctx), Scopes: scopes}, nil
}

// ValidateTokenExchangeRequest is RFC 8693: the subject stays the person's, and
// the actor's name goes into act.
func (s *storage) ValidateTokenExchangeRequest(_ context.Context, r op.TokenExchangeRequest) error {
	if r.GetRequestedTokenType() == "" {
		r.SetRequestedTokenType(oidc.AccessTokenType)
	}
	return nil
}

func (s *storage) CreateTokenExchangeRequest(context.Context, op.TokenExchangeRequest) error {
	return nil
}

func (s *storage) GetPrivateClaimsFromTokenExchangeRequest(_ context.Context, r op.TokenExchangeRequest) (map[string]any, error) {
	claims := s.claims(r.GetSubject(), r.GetScopes())
	if actor := r.GetExchangeActor(); actor != "" {
		act := map[string]any{"sub": actor}
		s.p.mu.Lock()
		if c := s.p.clients[actor]; c != nil && c.Groups != nil {
			act["groups"] = c.Groups
		}
		s.p.mu.Unlock()
		if before, ok := r.GetExchangeSubjectTokenClaims()["act"]; ok {
			act["act"] = before
		}
		claims["act"] = act
	}
	return claims, nil
}

func (s *storage) SetUserinfoFromTokenExchangeRequest(_ context.Context, info *oidc.UserInfo, r op.TokenExchangeRequest) error {
	return s.userinfo(info, r.GetSubject())
}

func (s *storage) StoreDeviceAuthorization(ctx context.Context, clientID, deviceCode, userCode string, expires time.Time, scopes []string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if _, ok := s.p.user[userCode]; ok {
		return op.ErrDuplicateUserCode
	}
	s.p.devices[deviceCode] = &op.DeviceAuthorizationState{ClientID: clientID, Audience: slices.Clone(resources(ctx)), Scopes: scopes, Expires: expires}
	s.p.user[userCode] = deviceCode
	return nil
}

func (s *storage) GetDeviceAuthorizatonState(_ context.Context, clientID, deviceCode string) (*op.DeviceAuthorizationState, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	device := s.p.devices[deviceCode]
	if device == nil || device.ClientID != clientID {
		return nil, errUnknown
	}
	if device.Done {
		return device, nil // nothing about it changes any more
	}
	now := *device
	return &now, nil
}

// A client is a [Client] as the engine sees it.
type client struct{ c *Client }

func (c client) GetID() string                    { return c.c.ID }
func (c client) RedirectURIs() []string           { return c.c.Redirects }
func (c client) PostLogoutRedirectURIs() []string { return nil }
func (c client) LoginURL(id string) string        { return "/sign-in?id=" + url.QueryEscape(id) }
func (c client) AccessTokenType() op.AccessTokenType {
	return op.AccessTokenTypeJWT
}
func (c client) IDTokenLifetime() time.Duration       { return 10 * time.Minute }
func (c client) DevMode() bool                        { return false }
func (c client) IsScopeAllowed(string) bool           { return true }
func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c client) ClockSkew() time.Duration             { return 0 }

func (c client) ApplicationType() op.ApplicationType {
	if c.c.Secret == "" {
		return op.ApplicationTypeNative
	}
	return op.ApplicationTypeWeb
}

func (c client) AuthMethod() oidc.AuthMethod {
	if c.c.Secret == "" {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodBasic
}

func (c client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials, oidc.GrantTypeDeviceCode, oidc.GrantTypeTokenExchange}
}

func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
