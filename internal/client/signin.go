package client

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// A SignIn is how a person signs in.
type SignIn struct {
	Gateway *url.URL
	Issuer  string   // one of the gateway's; its first if empty
	Client  string   // this client's id there; registered at once if empty
	Scopes  []string // what the gateway asks for, and offline_access where there is any, if nil
	Port    int      // of the redirect on loopback; any free one if 0

	// Browser opens a URL in a browser on this machine; nil if there is none,
	// and a person uses a browser elsewhere.
	Browser func(url string) error
	// Say tells the person what to do.
	Say func(text string)
}

// within bounds how long a sign-in waits for the person.
const within = 10 * time.Minute

// Run lets the person sign in.
func (s SignIn) Run(ctx context.Context) (*Kept, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errors.New("nobody signed in within ten minutes"))
	defer cancel()
	hc := newHTTP()
	hc.Timeout = 30 * time.Second
	at, err := discover(ctx, hc, s.Gateway, s.Issuer)
	if err != nil {
		return nil, err
	}
	browser := s.Browser != nil && at.Authorization != ""
	if !browser && at.Device == "" {
		return nil, advise(fmt.Errorf("%s offers no sign-in without a browser on this machine", clean(at.Issuer)), "sign in on a machine with a browser, or set %s", TokenVariable)
	}
	var listener net.Listener
	if browser {
		// MCP's authorization: a client refuses a server that does not say
		// that it takes PKCE.
		if !slices.Contains(at.Challenges, "S256") {
			return nil, advise(fmt.Errorf("%s does not say that it takes PKCE (code_challenge_methods_supported)", clean(at.Issuer)), "its operator can switch that on")
		}
		var lc net.ListenConfig
		if listener, err = lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))); err != nil {
			return nil, fmt.Errorf("listening for the browser: %w", err)
		}
		defer listener.Close()
	}
	config := oauth2.Config{
		ClientID: s.Client,
		Scopes:   s.scopes(at),
		Endpoint: oauth2.Endpoint{AuthURL: at.Authorization, TokenURL: at.Token, DeviceAuthURL: at.Device, AuthStyle: oauth2.AuthStyleInParams},
	}
	if browser {
		config.RedirectURL = "http://" + listener.Addr().String() + "/callback"
	}
	if config.ClientID == "" {
		if at.Registration == "" {
			return nil, advise(fmt.Errorf("%s does not know this client", clean(at.Issuer)), "pass --client-id: the id of an application for the command line that is registered there")
		}
		if err := register(ctx, hc, at, &config); err != nil {
			return nil, err
		}
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, hc)
	var token *oauth2.Token
	if browser {
		token, err = s.browse(ctx, config, at, listener)
	} else {
		token, err = s.device(ctx, config)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		return nil, fmt.Errorf("signing in: %w", worded(err))
	}
	if token.AccessToken == "" || !strings.EqualFold(token.Type(), "Bearer") {
		return nil, fmt.Errorf("signing in: %s answers without a bearer token", clean(at.Issuer))
	}
	return &Kept{
		Gateway: s.Gateway.String(), Issuer: at.Issuer, Client: config.ClientID, Secret: config.ClientSecret, Token: at.Token, Revoke: at.Revocation,
		Access: token.AccessToken, Refresh: token.RefreshToken, Expires: token.Expiry,
	}, nil
}

// scopes are what to ask for.
func (s SignIn) scopes(at *server) []string {
	if s.Scopes != nil {
		return s.Scopes
	}
	scopes := slices.Clone(at.wanted)
	for _, more := range []string{"openid", "offline_access"} {
		// Without openid an OpenID provider may not know who signs in; without
		// offline_access there is no refresh token.
		if slices.Contains(at.Scopes, more) && !slices.Contains(scopes, more) {
			scopes = append(scopes, more)
		}
	}
	return scopes
}

// resource says what a token is for: RFC 8707.
func (s SignIn) resource() oauth2.AuthCodeOption {
	return oauth2.SetAuthURLParam("resource", s.Gateway.String())
}

// device lets the person sign in on any other device.
func (s SignIn) device(ctx context.Context, config oauth2.Config) (*oauth2.Token, error) {
	asked, err := config.DeviceAuth(ctx, s.resource())
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(asked.VerificationURI)
	if err != nil || !private(u) {
		return nil, fmt.Errorf("the place to sign in at is not an https URL: %s", clean(asked.VerificationURI))
	}
	s.Say(fmt.Sprintf("To sign in, open\n\n  %s\n\nand enter the code  %s", clean(asked.VerificationURI), clean(asked.UserCode)))
	return config.DeviceAccessToken(ctx, asked, s.resource())
}

// browse lets the person sign in in a browser on this machine, which comes
// back to the listener.
func (s SignIn) browse(ctx context.Context, config oauth2.Config, at *server, listener net.Listener) (*oauth2.Token, error) {
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	place := config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), s.resource())
	back := make(chan url.Values, 1)
	web := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			w.Header().Set("Cache-Control", "no-store")
			q := r.URL.Query()
			// Only the page that this sign-in opened knows the state; anything
			// else that calls this port changes nothing.
			if r.Method != http.MethodGet || r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, "<!doctype html><title>querywarden</title><p>This is not the sign-in that querywarden waits for.")
				return
			}
			fmt.Fprint(w, "<!doctype html><title>querywarden</title><p>Go back to the terminal; this page can be closed.")
			select {
			case back <- q:
			default:
			}
		}),
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	defer func() {
		// The page is on its way to the browser: let it arrive.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if web.Shutdown(closing) != nil {
			web.Close()
		}
	}()
	s.Say("To sign in, a browser opens. If none does, open\n\n  " + place)
	if err := s.Browser(place); err != nil {
		s.Say("The browser did not open: " + clean(err.Error()))
	}
	var q url.Values
	select {
	case q = <-back:
	case err := <-served:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if iss := q.Get("iss"); iss != at.Issuer && (at.NamesIssuer || q.Has("iss")) {
		return nil, fmt.Errorf("the answer is of %q, not of %s", clean(iss), clean(at.Issuer))
	}
	if code := q.Get("error"); code != "" {
		return nil, fmt.Errorf("%s: %s", clean(code), or(clean(q.Get("error_description")), "no reason was given"))
	}
	if q.Get("code") == "" {
		return nil, errors.New("the answer holds no code")
	}
	return config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier), s.resource())
}

// register makes this client known: RFC 7591.
func register(ctx context.Context, hc *http.Client, at *server, config *oauth2.Config) error {
	asked := map[string]any{
		"client_name": "querywarden", "application_type": "native", "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"redirect_uris": []string{config.RedirectURL}, "scope": strings.Join(config.Scopes, " "),
	}
	if config.RedirectURL == "" {
		asked["grant_types"] = []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}
		delete(asked, "redirect_uris")
		delete(asked, "response_types")
	}
	text, err := json.Marshal(asked)
	if err != nil {
		return fmt.Errorf("registering this client: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.Registration, strings.NewReader(string(text)))
	if err != nil {
		return fmt.Errorf("registering this client: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := hc.Do(req)
	if err != nil {
		return fmt.Errorf("registering this client: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, documentLimit)).Decode(&answer); err != nil || res.StatusCode/100 != 2 || answer.ID == "" {
		return advise(fmt.Errorf("registering this client: %s answers %s", clean(at.Issuer), res.Status), "pass --client-id: the id of an application for the command line that is registered there")
	}
	config.ClientID, config.ClientSecret = answer.ID, answer.Secret
	return nil
}

// worded makes an error of an authorization server fit for a terminal: its
// code and description, and nothing else of what it answered.
func worded(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.ErrorCode == "" {
		return fmt.Errorf("the authorization server answers %s", refused.Response.Status)
	}
	return fmt.Errorf("the authorization server answers %s: %s", clean(refused.ErrorCode), or(clean(refused.ErrorDescription), "no reason was given"))
}

// early is how long before its end a token is renewed, so that it does not end
// on its way.
const early = 30 * time.Second

// errNoSignIn is in the chain of errors where nobody has signed in.
var errNoSignIn = errors.New("nobody is signed in")

// SignedIn returns the token of the sign-in at a gateway, renewed when it has
// to be. Where that is not possible, or nobody has signed in, it asks for a new
// sign-in; ask is nil where nobody can be asked.
func SignedIn(keep *Keep, gateway *url.URL, ask func(context.Context) (*Kept, error)) Token {
	hc := newHTTP()
	hc.Timeout = 30 * time.Second
	used := "" // the token that was returned last
	return func(ctx context.Context, fresh bool) (string, error) {
		unlock, err := keep.lock(ctx, gateway.String())
		if err != nil {
			return "", err
		}
		defer unlock()
		kept, err := keep.Load(gateway.String())
		if err != nil {
			return "", err
		}
		problem := errNoSignIn
		if kept != nil {
			// Another process may have renewed what was refused.
			if good := kept.Expires.IsZero() || time.Until(kept.Expires) > early; good && (!fresh || kept.Access != used) {
				used = kept.Access
				return used, nil
			}
			if problem = renew(ctx, hc, kept); problem == nil {
				if _, err := keep.Save(kept); err != nil {
					return "", err
				}
				used = kept.Access
				return used, nil
			}
			var away *url.Error
			if errors.As(problem, &away) || ctx.Err() != nil {
				return "", problem // the network, not the sign-in
			}
		}
		if ask == nil {
			return "", advise(fmt.Errorf("%w at %s: %w", errSignIn, gateway, problem), "querywarden login %s", gateway)
		}
		if kept, err = ask(ctx); err != nil {
			return "", err
		}
		if _, err := keep.Save(kept); err != nil {
			return "", err
		}
		used = kept.Access
		return used, nil
	}
}

var errSignIn = errors.New("no token")

// renew gets a new access token: RFC 6749 section 6, with the resource.
func renew(ctx context.Context, hc *http.Client, kept *Kept) error {
	if kept.Refresh == "" {
		return errors.New("the sign-in has ended")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept.Refresh}, "client_id": {kept.Client}, "resource": {kept.Gateway}}
	if kept.Secret != "" {
		form.Set("client_secret", kept.Secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, kept.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("renewing the sign-in: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	res, err := hc.Do(req)
	if err != nil {
		return fmt.Errorf("renewing the sign-in: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		Access  string `json:"access_token"`
		Type    string `json:"token_type"`
		Refresh string `json:"refresh_token"`
		Expires int64  `json:"expires_in"`
		Error   string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, documentLimit)).Decode(&answer)
	switch {
	case err != nil || res.StatusCode != http.StatusOK:
		return fmt.Errorf("renewing the sign-in: the authorization server answers %s", or(clean(answer.Error), res.Status))
	case answer.Access == "" || !strings.EqualFold(answer.Type, "Bearer"):
		return errors.New("renewing the sign-in: the authorization server answers without a bearer token")
	}
	kept.Access, kept.Expires = answer.Access, time.Time{}
	if answer.Refresh != "" {
		kept.Refresh = answer.Refresh
	}
	if answer.Expires > 0 {
		kept.Expires = time.Now().Add(time.Duration(answer.Expires) * time.Second)
	}
	return nil
}

// Revoke ends a sign-in at its authorization server, where that is offered:
// RFC 7009.
func Revoke(ctx context.Context, kept *Kept) error {
	if kept.Revoke == "" {
		return nil
	}
	token, kind := kept.Refresh, "refresh_token"
	if token == "" {
		token, kind = kept.Access, "access_token"
	}
	form := url.Values{"token": {token}, "token_type_hint": {kind}, "client_id": {kept.Client}}
	if kept.Secret != "" {
		form.Set("client_secret", kept.Secret)
	}
	hc := newHTTP()
	hc.Timeout = 10 * time.Second
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, kept.Revoke, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("ending the sign-in: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := hc.Do(req)
	if err != nil {
		return fmt.Errorf("ending the sign-in: %w", err)
	}
	refused(res)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ending the sign-in: the authorization server answers %s", res.Status)
	}
	return nil
}
