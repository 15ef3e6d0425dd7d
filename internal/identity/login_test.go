package identity_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

const redirect = "http://127.0.0.1:4712/console/callback"

// browse goes where a browser would until it is sent back.
func browse(t *testing.T, address string) url.Values {
	t.Helper()
	client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	u, err := res.Location()
	if err != nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("no redirect from %s: %s: %s", address, res.Status, body)
	}
	return u.Query()
}

// TestLogin signs people in at a provider as companies run them.
func TestLogin(t *testing.T) {
	p := identitytest.New(t)
	p.AddPerson(identitytest.Person{Name: "bob", Groups: []string{"data-owners"}})
	p.AddPerson(identitytest.Person{Name: "eve", Groups: []string{"staff"}})
	p.AddClient(identitytest.Client{ID: "console", Redirects: []string{redirect}})
	p.AddClient(identitytest.Client{ID: "confidential", Secret: "s3cret", Redirects: []string{redirect}})
	v := newVerifier(t, p, func(c *identity.Config) { c.Issuers[0].Kind = policy.Person })
	login := func(id, secret string) *identity.Login {
		l, err := v.Login(identity.LoginConfig{Issuer: p.URL(), ClientID: id, ClientSecret: secret, Redirect: redirect})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	begin := func(l *identity.Login, within time.Duration) (string, identity.Attempt) {
		to, a, err := l.Begin(t.Context(), within)
		if err != nil {
			t.Fatal(err)
		}
		return to, a
	}
	l := login("console", "")
	p.SignInAs("bob")

	for name, l := range map[string]*identity.Login{"a public client": l, "one with a secret": login("confidential", "s3cret")} {
		to, a := begin(l, 10*time.Minute)
		in, err := l.Finish(t.Context(), a, browse(t, to))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if in.Caller.Subject != "bob" || in.Caller.Issuer != p.URL() || len(in.Caller.Groups) != 1 || in.Caller.Kind != policy.Person || !in.Within(time.Minute, time.Now()) {
			t.Errorf("%s: %+v", name, in)
		}
	}

	t.Run("what is asked", func(t *testing.T) {
		to, a := begin(l, 10*time.Minute)
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(a.Verifier))
		for name, want := range map[string]string{
			"response_type": "code", "code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]),
			"state": a.State, "nonce": a.Nonce, "max_age": "600", "prompt": "login", "redirect_uri": redirect,
		} {
			if got := u.Query().Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if _, b := begin(l, 0); a.State == b.State || a.Nonce == b.Nonce || a.Verifier == b.Verifier || len(a.State) < 22 || len(a.Verifier) < 43 {
			t.Error("two attempts share a secret, or have short ones")
		}
	})

	// Each case changes one thing of a good sign-in.
	for name, c := range map[string]struct {
		change func(a *identity.Attempt, answer url.Values)
		want   identity.Reason
	}{
		"another browser's state":     {func(a *identity.Attempt, _ url.Values) { a.State = "STOLENSTOLENSTOLENSTOLENST" }, identity.WrongState},
		"no state in the answer":      {func(_ *identity.Attempt, q url.Values) { q.Del("state") }, identity.WrongState},
		"two states in the answer":    {func(a *identity.Attempt, q url.Values) { q.Add("state", a.State) }, identity.WrongState},
		"no attempt at all":           {func(a *identity.Attempt, q url.Values) { *a = identity.Attempt{}; q.Set("state", "") }, identity.WrongState},
		"another nonce":               {func(a *identity.Attempt, _ url.Values) { a.Nonce = "OTHER" }, identity.WrongNonce},
		"no nonce":                    {func(a *identity.Attempt, _ url.Values) { a.Nonce = "" }, identity.WrongNonce},
		"another provider answers":    {func(_ *identity.Attempt, q url.Values) { q.Set("iss", "https://evil.example") }, identity.WrongAnswerer},
		"a provider without a name":   {func(_ *identity.Attempt, q url.Values) { q.Del("iss") }, identity.WrongAnswerer},
		"two providers answer":        {func(_ *identity.Attempt, q url.Values) { q.Add("iss", "https://evil.example") }, identity.WrongAnswerer},
		"another verifier":            {func(a *identity.Attempt, _ url.Values) { a.Verifier = strings.Repeat("x", 43) }, identity.ProviderRefused},
		"no verifier":                 {func(a *identity.Attempt, _ url.Values) { a.Verifier = "" }, identity.ProviderRefused},
		"no code":                     {func(_ *identity.Attempt, q url.Values) { q.Del("code") }, identity.Malformed},
		"two codes":                   {func(_ *identity.Attempt, q url.Values) { q.Add("code", "x") }, identity.Malformed},
		"a made-up code":              {func(_ *identity.Attempt, q url.Values) { q.Set("code", "x") }, identity.ProviderRefused},
		"the person pressed Cancel":   {func(_ *identity.Attempt, q url.Values) { q.Set("error", "access_denied") }, identity.ProviderRefused},
		"an error from another place": {func(_ *identity.Attempt, q url.Values) { q.Set("error", "x"); q.Set("iss", "https://evil.example") }, identity.WrongAnswerer},
	} {
		to, a := begin(l, 0)
		answer := browse(t, to)
		c.change(&a, answer)
		if _, err := l.Finish(t.Context(), a, answer); reason(t, err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}

	t.Run("a code works once", func(t *testing.T) {
		to, a := begin(l, 0)
		answer := browse(t, to)
		if _, err := l.Finish(t.Context(), a, answer); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Finish(t.Context(), a, answer); reason(t, err) != identity.ProviderRefused {
			t.Errorf("again: %v", err)
		}
	})

	t.Run("a code of one person's in another's browser", func(t *testing.T) {
		to, _ := begin(l, 0)
		bobs := browse(t, to)
		p.SignInAs("eve")
		defer p.SignInAs("bob")
		to, a := begin(l, 0)
		eves := browse(t, to)
		eves.Set("code", bobs.Get("code"))
		if in, err := l.Finish(t.Context(), a, eves); reason(t, err) != identity.ProviderRefused {
			t.Errorf("%+v, %v", in, err)
		}
	})

	for name, c := range map[string]identity.LoginConfig{
		"no client":           {Issuer: p.URL(), Redirect: redirect},
		"an unknown issuer":   {Issuer: "https://other.example", ClientID: "x", Redirect: redirect},
		"the agents' own":     {Issuer: p.URL(), ClientID: audience, Redirect: redirect},
		"back in the clear":   {Issuer: p.URL(), ClientID: "x", Redirect: "http://gate.example/console/callback"},
		"back to a script":    {Issuer: p.URL(), ClientID: "x", Redirect: "javascript:alert(1)"},
		"back to nowhere":     {Issuer: p.URL(), ClientID: "x"},
		"the resource, or so": {Issuer: p.URL(), ClientID: audience + "/", Redirect: redirect},
	} {
		if _, err := v.Login(c); err == nil {
			t.Errorf("%s: configured", name)
		}
	}
}

// A liar is a provider whose token endpoint answers as a test wants.
type liar struct {
	*identitytest.Provider
	server   *httptest.Server
	metadata map[string]any
	header   map[string]any
	claims   map[string]any // of the ID token, over good ones
	status   int
	answer   string // instead of tokens
	asked    atomic.Int64
}

// reset makes it honest again.
func (l *liar) reset() {
	l.metadata, l.header, l.claims, l.status, l.answer = map[string]any{}, nil, nil, 0, ""
}

func newLiar(t *testing.T) *liar {
	l := &liar{Provider: identitytest.New(t), metadata: map[string]any{}}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		l.asked.Add(1)
		all := map[string]any{"issuer": l.server.URL, "authorization_endpoint": l.server.URL + "/authorize", "token_endpoint": l.server.URL + "/token", "jwks_uri": l.server.URL + "/keys"}
		for name, v := range l.metadata {
			all[name] = v
		}
		write(w, all)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { write(w, l.KeySet()) })
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if l.status != 0 {
			w.WriteHeader(l.status)
		}
		if l.answer != "" {
			io.WriteString(w, l.answer)
			return
		}
		now := time.Now().Unix()
		claims := map[string]any{"iss": l.server.URL, "sub": "bob", "aud": "console", "iat": now, "exp": now + 600, "nonce": "n", "auth_time": now}
		for name, v := range l.claims {
			claims[name] = v
			if v == nil {
				delete(claims, name)
			}
		}
		header := map[string]any{"typ": "JWT"}
		for name, v := range l.header {
			header[name] = v
		}
		write(w, map[string]any{"token_type": "Bearer", "access_token": "opaque", "id_token": l.Sign(header, claims)})
	})
	l.server = httptest.NewServer(mux)
	t.Cleanup(l.server.Close)
	return l
}

func (l *liar) finish(t *testing.T, within time.Duration) (identity.SignIn, error) {
	t.Helper()
	v, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: l.server.URL, Kind: policy.Person}}})
	if err != nil {
		t.Fatal(err)
	}
	login, err := v.Login(identity.LoginConfig{Issuer: l.server.URL, ClientID: "console", Redirect: redirect})
	if err != nil {
		t.Fatal(err)
	}
	return login.Finish(t.Context(), identity.Attempt{State: "s", Nonce: "n", Verifier: strings.Repeat("v", 43), Within: within}, url.Values{"state": {"s"}, "code": {"c"}})
}

// TestLoginForgeries holds ID tokens against the rules, one broken at a time.
func TestLoginForgeries(t *testing.T) {
	l := newLiar(t)
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		header, claims map[string]any
		want           identity.Reason
	}{
		"as it should be":                      {want: ""},
		"an access token":                      {header: map[string]any{"typ": "at+jwt"}, want: identity.WrongType},
		"a logout token":                       {header: map[string]any{"typ": "logout+jwt"}, want: identity.WrongType},
		"for agents":                           {claims: map[string]any{"aud": audience}, want: identity.WrongAudience},
		"for another client":                   {claims: map[string]any{"aud": "other"}, want: identity.WrongAudience},
		"for the client with a slash":          {claims: map[string]any{"aud": "console/"}, want: identity.WrongAudience},
		"for two, by nobody":                   {claims: map[string]any{"aud": []string{"console", "other"}}, want: identity.WrongAudience},
		"for two, by the other":                {claims: map[string]any{"aud": []string{"console", "other"}, "azp": "other"}, want: identity.WrongAudience},
		"for two, by us":                       {claims: map[string]any{"aud": []string{"console", "other"}, "azp": "console"}, want: ""},
		"by another client":                    {claims: map[string]any{"azp": "other"}, want: identity.WrongAudience},
		"by something":                         {claims: map[string]any{"azp": 7}, want: identity.WrongAudience},
		"by another issuer":                    {claims: map[string]any{"iss": "https://evil.example"}, want: identity.UnknownIssuer},
		"expired":                              {claims: map[string]any{"exp": now - 60}, want: identity.Expired},
		"without an end":                       {claims: map[string]any{"exp": nil}, want: identity.Malformed},
		"from the future":                      {claims: map[string]any{"iat": now + 600}, want: identity.NotYetValid},
		"an old one":                           {claims: map[string]any{"iat": now - 3600}, want: identity.TooOld},
		"another nonce":                        {claims: map[string]any{"nonce": "m"}, want: identity.WrongNonce},
		"no nonce":                             {claims: map[string]any{"nonce": nil}, want: identity.WrongNonce},
		"nobody":                               {claims: map[string]any{"sub": ""}, want: identity.Malformed},
		"bound to a key":                       {claims: map[string]any{"cnf": map[string]any{"jkt": "x"}}, want: identity.Bound},
		"an agent of bob's":                    {claims: map[string]any{"act": map[string]any{"sub": "agent"}}, want: identity.Acting},
		"another access token's":               {claims: map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, want: identity.Unverified},
		"an algorithm that is not":             {header: map[string]any{"alg": "none"}, want: identity.Unverified},
		"signed in tomorrow":                   {claims: map[string]any{"auth_time": now + 86400}, want: identity.Malformed},
		"signed in some time":                  {claims: map[string]any{"auth_time": "now"}, want: identity.Malformed},
		"critical parameters in the header":    {header: map[string]any{"crit": []string{"exp"}}, want: identity.Malformed},
		"signed in yesterday, which will do":   {claims: map[string]any{"auth_time": now - 86400}, want: ""},
		"it does not say when, which will do":  {claims: map[string]any{"auth_time": nil}, want: ""},
		"a subject with a line break in it":    {claims: map[string]any{"sub": "bob\nada"}, want: identity.Malformed},
		"a subject that turns what follows it": {claims: map[string]any{"sub": "bob\u202e"}, want: identity.Malformed},
	} {
		l.header, l.claims = c.header, c.claims
		if in, err := l.finish(t, 0); reason(t, err) != c.want {
			t.Errorf("%s: %+v, %v, want %q", name, in, err, c.want)
		}
	}
}

// TestLoginFresh: only what the provider says was just now was just now.
func TestLoginFresh(t *testing.T) {
	l := newLiar(t)
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		at   any
		want identity.Reason
	}{
		"just now": {now, ""}, "nine minutes ago": {now - 540, ""}, "eleven minutes ago": {now - 660, identity.NotFresh},
		"long ago": {now - 86400, identity.NotFresh}, "in 1970": {0, identity.NotFresh}, "it does not say": {nil, identity.NotFresh},
	} {
		l.claims = map[string]any{"auth_time": c.at}
		in, err := l.finish(t, 10*time.Minute)
		if reason(t, err) != c.want {
			t.Errorf("%s: %+v, %v, want %q", name, in, err, c.want)
		}
	}
	if (identity.SignIn{}).Within(time.Hour, time.Time{}) {
		t.Error("nobody has signed in, and it counts as fresh")
	}
}

// TestLoginBadProvider: a provider that misbehaves lets nobody in, and says so
// at once.
func TestLoginBadProvider(t *testing.T) {
	l := newLiar(t)
	for name, c := range map[string]struct {
		change func(*liar)
		want   identity.Reason
	}{
		"no PKCE":                 {func(l *liar) { l.metadata["code_challenge_methods_supported"] = []string{"plain"} }, identity.ProviderUnavailable},
		"another issuer's page":   {func(l *liar) { l.metadata["issuer"] = "https://evil.example" }, identity.ProviderUnavailable},
		"tokens in the clear":     {func(l *liar) { l.metadata["token_endpoint"] = "http://evil.example/token" }, identity.ProviderUnavailable},
		"a script for a page":     {func(l *liar) { l.metadata["authorization_endpoint"] = "javascript:alert(1)" }, identity.ProviderUnavailable},
		"an endless answer":       {func(l *liar) { l.answer = strings.Repeat(" ", 3<<20) + "{}" }, identity.ProviderUnavailable},
		"no JSON":                 {func(l *liar) { l.answer = "<html>" }, identity.ProviderUnavailable},
		"an error of its own":     {func(l *liar) { l.status, l.answer = 500, "{}" }, identity.ProviderUnavailable},
		"a refusal":               {func(l *liar) { l.status, l.answer = 400, `{"error":"invalid_grant"}` }, identity.ProviderRefused},
		"no ID token":             {func(l *liar) { l.answer = `{"access_token":"a","token_type":"Bearer"}` }, identity.Missing},
		"an ID token of rubbish":  {func(l *liar) { l.answer = `{"access_token":"a","id_token":"a.b.c"}` }, identity.Malformed},
		"a very long ID token":    {func(l *liar) { l.answer = `{"access_token":"a","id_token":"` + strings.Repeat("a", 20<<10) + `"}` }, identity.Malformed},
		"it promised to sign off": {func(l *liar) { l.metadata["authorization_response_iss_parameter_supported"] = true }, identity.WrongAnswerer},
	} {
		l.reset()
		c.change(l)
		if in, err := l.finish(t, 0); reason(t, err) != c.want {
			t.Errorf("%s: %+v, %v, want %q", name, in, err, c.want)
		}
	}
	// Many who ask at once are one question.
	l.reset()
	l.metadata["code_challenge_methods_supported"] = []string{"plain"}
	v, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: l.server.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	login, err := v.Login(identity.LoginConfig{Issuer: l.server.URL, ClientID: "console", Redirect: redirect})
	if err != nil {
		t.Fatal(err)
	}
	before := l.asked.Load()
	for range 50 {
		if _, _, err := login.Begin(t.Context(), 0); reason(t, err) != identity.ProviderUnavailable {
			t.Fatal(err)
		}
	}
	if n := l.asked.Load() - before; n > 3 {
		t.Errorf("50 people made the provider answer %d times", n)
	}
	l.server.Close()
	if _, err := l.finish(t, 0); reason(t, err) != identity.ProviderUnavailable {
		t.Errorf("nobody there: %v", err)
	}
}
