package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A server is an authorization server, as its metadata describes it.
type server struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	Scopes        []string `json:"scopes_supported"`
	NamesIssuer   bool     `json:"authorization_response_iss_parameter_supported"`

	wanted []string // the scopes that the gateway wants
}

// discover finds out where tokens for a gateway come from.
func discover(ctx context.Context, hc *http.Client, gateway *url.URL, issuer string) (*server, error) {
	place, scope, err := challenged(ctx, hc, gateway)
	if err != nil {
		return nil, err
	}
	var resource struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := document(ctx, hc, place, &resource); err != nil {
		return nil, advise(fmt.Errorf("reading what %s says of itself: %w", gateway, err), "is that the gateway's URL? It ends in /mcp")
	}
	// Whose metadata this is, RFC 9728 section 3.3: otherwise one server could
	// have tokens made for another.
	if strings.TrimSuffix(resource.Resource, "/") != strings.TrimSuffix(gateway.String(), "/") {
		return nil, advise(fmt.Errorf("the gateway calls itself %s, not %s", clean(resource.Resource), gateway), "use that URL, or set `resource` in the gateway's configuration to what people call it")
	}
	switch {
	case issuer != "" && !slices.Contains(resource.Servers, issuer):
		return nil, advise(fmt.Errorf("the gateway does not take tokens of %s", clean(issuer)), "it takes those of %s", clean(strings.Join(resource.Servers, ", ")))
	case issuer == "" && len(resource.Servers) == 0:
		return nil, errors.New("the gateway names nobody who makes tokens for it")
	case issuer == "":
		issuer = resource.Servers[0]
	}
	s, err := describe(ctx, hc, issuer)
	if err != nil {
		return nil, err
	}
	if s.wanted = resource.Scopes; scope != "" {
		s.wanted = strings.Fields(scope)
	}
	return s, nil
}

// challenged asks the gateway without a token, and returns where it says that
// its metadata is, and which scopes it wants.
func challenged(ctx context.Context, hc *http.Client, gateway *url.URL) (place, scope string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway.String(), http.NoBody)
	if err != nil {
		return "", "", fmt.Errorf("calling the gateway: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := hc.Do(req)
	if err != nil {
		return "", "", unreachable(ctx, gateway.Redacted(), err)
	}
	refused(res)
	if res.StatusCode != http.StatusUnauthorized {
		return "", "", advise(fmt.Errorf("%s answers %s to a request without a token, which no gateway does", gateway, res.Status), "is that the gateway's URL? It ends in /mcp")
	}
	for _, header := range res.Header.Values("WWW-Authenticate") {
		if place = parameter(header, "resource_metadata"); place == "" {
			continue
		}
		u, err := url.Parse(place)
		if err != nil || u.Scheme != gateway.Scheme || u.Host != gateway.Host {
			return "", "", fmt.Errorf("the gateway's metadata is said to be at %s, which is not the gateway", clean(place))
		}
		return place, parameter(header, "scope"), nil
	}
	// Where it is, if nobody says: RFC 9728 section 3.1.
	u := *gateway
	u.Path = "/.well-known/oauth-protected-resource" + u.Path
	return u.String(), "", nil
}

// describe reads the metadata of an authorization server: RFC 8414, then what
// OpenID providers have.
func describe(ctx context.Context, hc *http.Client, issuer string) (*server, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || !private(u) {
		return nil, fmt.Errorf("the gateway names %s as its authorization server, which is not an https URL", clean(issuer))
	}
	at := func(prefix, suffix string) string {
		v := *u
		v.Path = prefix + strings.TrimSuffix(u.Path, "/") + suffix
		return v.String()
	}
	var s server
	var first error
	for _, place := range []string{at("/.well-known/oauth-authorization-server", ""), at("", "/.well-known/openid-configuration"), at("/.well-known/openid-configuration", "")} {
		s = server{}
		err := document(ctx, hc, place, &s)
		if err == nil {
			first = nil
			break
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if first != nil {
		return nil, advise(fmt.Errorf("reading the metadata of %s: %w", clean(issuer), first), "the gateway's operator configured this issuer; can this machine reach it?")
	}
	if s.Issuer != issuer {
		return nil, fmt.Errorf("%s calls itself %s: its tokens could be anybody's", clean(issuer), clean(s.Issuer))
	}
	for _, endpoint := range []string{s.Token, s.Authorization, s.Device, s.Registration, s.Revocation} {
		if v, err := url.Parse(endpoint); endpoint != "" && (err != nil || !private(v)) {
			return nil, fmt.Errorf("%s has an endpoint that is not encrypted: %s", clean(issuer), clean(endpoint))
		}
	}
	if s.Token == "" {
		return nil, fmt.Errorf("%s names no token endpoint", clean(issuer))
	}
	return &s, nil
}

func document(ctx context.Context, hc *http.Client, place string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	return fetchJSON(hc, req, into)
}
