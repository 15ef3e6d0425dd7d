package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

const audience = "https://gate.example/mcp"

func newVerifier(t testing.TB, p *identitytest.Provider, change func(*identity.Config)) *identity.Verifier {
	t.Helper()
	c := identity.Config{
		Audience: audience,
		Issuers:  []identity.IssuerConfig{{URL: p.URL(), Kind: policy.Agent}},
	}
	if change != nil {
		change(&c)
	}
	v, err := identity.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reason returns why a token was refused, empty if it was not.
func reason(t *testing.T, err error) identity.Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var refused *identity.Error
	if !errors.As(err, &refused) {
		t.Fatalf("Verify returned a %T, not an *identity.Error: %v", err, err)
	}
	return refused.Reason
}

func TestVerify(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	token := p.Token(audience, map[string]any{
		"sub": "u-17", "email": "ada@example.com", "groups": []string{"sales", "analysts", "sales"},
	})
	got, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Caller{Issuer: p.URL(), Subject: "u-17", Email: "ada@example.com", Groups: []string{"analysts", "sales"}, Kind: policy.Agent}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Verify = %+v, want %+v", got, want)
	}
}

func TestAccepted(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	now := time.Now()
	for name, claims := range map[string]map[string]any{
		"slash after the audience":      {"aud": audience + "/"},
		"one audience of several":       {"aud": []string{"https://other.example", audience}},
		"nbf just ahead":                {"nbf": now.Add(10 * time.Second).Unix()},
		"iat just ahead":                {"iat": now.Add(10 * time.Second).Unix()},
		"expired within the skew":       {"exp": now.Add(-10 * time.Second).Unix()},
		"fractions of seconds":          {"exp": float64(now.Unix()) + 60.5},
		"nearly too old":                {"iat": now.Add(-identity.DefaultMaxAge + time.Minute).Unix()},
		"claims that mean nothing here": {"scope": "a b", "jti": "1", "azp": "cli"},
	} {
		if _, err := v.Verify(t.Context(), p.Token(audience, claims)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, typ := range []any{nil, "JWT", "at+jwt", "AT+JWT", "application/at+jwt"} {
		claims := map[string]any{"iss": p.URL(), "sub": "u", "aud": audience, "iat": now.Unix(), "exp": now.Unix() + 60}
		if _, err := v.Verify(t.Context(), p.Sign(map[string]any{"typ": typ}, claims)); err != nil {
			t.Errorf("typ %v: %v", typ, err)
		}
	}
}

func TestHostileTokens(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	hostile := p.Hostile(t, audience)
	for _, test := range hostile {
		caller, err := v.Verify(t.Context(), test.Token)
		if got := reason(t, err); got != test.Reason {
			t.Errorf("%s: refused for %q (%v), want %q", test.Name, got, err, test.Reason)
		}
		if !reflect.DeepEqual(caller, policy.Caller{}) {
			t.Errorf("%s: a refused token yields the caller %+v", test.Name, caller)
		}
		var refused *identity.Error
		if errors.As(err, &refused) {
			if d := refused.Description(); d == "" || strings.ContainsAny(d, "\"\\\n") {
				t.Errorf("%s: description %q does not fit into a header", test.Name, d)
			}
		}
	}
	t.Logf("%d hostile tokens", len(hostile))
	if n := p.Fetches(); n != 1 {
		t.Errorf("%d tokens made %d fetches of the keys, want 1", len(hostile), n)
	}
}

func TestGroups(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	for name, test := range map[string]struct {
		claims map[string]any
		want   []string
	}{
		"missing":         {nil, nil},
		"null":            {map[string]any{"groups": json.RawMessage("null")}, nil},
		"one":             {map[string]any{"groups": "staff"}, []string{"staff"}},
		"list":            {map[string]any{"groups": []string{"b", "a", "b"}}, []string{"a", "b"}},
		"numbers":         {map[string]any{"groups": []int{1, 2}}, nil},
		"mixed":           {map[string]any{"groups": []any{"admins", 1}}, nil},
		"object":          {map[string]any{"groups": map[string]any{"admins": true}}, nil},
		"empty name":      {map[string]any{"groups": []string{"admins", ""}}, nil},
		"control char":    {map[string]any{"groups": []string{"admins\x00"}}, nil},
		"overage":         {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, nil},
		"overage, short":  {map[string]any{"hasgroups": true}, nil},
		"case of a claim": {map[string]any{"Groups": []string{"admins"}}, nil},
	} {
		got, err := v.Verify(t.Context(), p.Token(audience, test.claims))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got.Groups, test.want) {
			t.Errorf("%s: groups %q, want %q", name, got.Groups, test.want)
		}
	}
}

func TestEmail(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	for _, test := range []struct {
		verified any
		want     string
	}{{nil, "a@example.com"}, {true, "a@example.com"}, {"true", "a@example.com"}, {false, ""}, {"false", ""}, {0, ""}} {
		got, err := v.Verify(t.Context(), p.Token(audience, map[string]any{"email": "a@example.com", "email_verified": test.verified}))
		if err != nil || got.Email != test.want {
			t.Errorf("email_verified %v: email %q, %v, want %q", test.verified, got.Email, err, test.want)
		}
	}
}

func TestRules(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, func(c *identity.Config) {
		c.Issuers[0].Kind = policy.UnknownCaller
		c.Issuers[0].GroupsClaim = "roles"
		c.Issuers[0].Rules = []identity.Rule{
			{Claims: map[string]string{"repository_owner_id": "4711"}, Groups: []string{"ci"}, Kind: policy.CI},
			{Claims: map[string]string{"repository_owner_id": "4711", "job_workflow_ref": "acme/flows/*@refs/heads/main"}, Groups: []string{"reports"}},
			{Claims: map[string]string{"protected": "true"}, Groups: []string{"protected"}},
		}
	})
	for name, test := range map[string]struct {
		claims map[string]any
		kind   policy.CallerKind
		want   []string
	}{
		"none fits":          {map[string]any{"roles": []string{"staff"}}, policy.UnknownCaller, []string{"staff"}},
		"one fits":           {map[string]any{"repository_owner_id": "4711"}, policy.CI, []string{"ci"}},
		"a number":           {map[string]any{"repository_owner_id": 4711}, policy.CI, []string{"ci"}},
		"a longer number":    {map[string]any{"repository_owner_id": "47110"}, policy.UnknownCaller, nil},
		"both":               {map[string]any{"repository_owner_id": "4711", "job_workflow_ref": "acme/flows/a.yml@refs/heads/main"}, policy.CI, []string{"ci", "reports"}},
		"another branch":     {map[string]any{"repository_owner_id": "4711", "job_workflow_ref": "acme/flows/a.yml@refs/heads/main2"}, policy.CI, []string{"ci"}},
		"another repository": {map[string]any{"repository_owner_id": "4711", "job_workflow_ref": "evil/acme/flows/a.yml@refs/heads/main"}, policy.CI, []string{"ci"}},
		"a boolean":          {map[string]any{"protected": true}, policy.UnknownCaller, []string{"protected"}},
		"in a list":          {map[string]any{"protected": []any{"false", "true"}}, policy.UnknownCaller, []string{"protected"}},
		"a list of others":   {map[string]any{"protected": []any{"false", nil, []string{"true"}, map[string]any{"true": true}}}, policy.UnknownCaller, nil},
		"an object":          {map[string]any{"protected": map[string]any{"true": true}}, policy.UnknownCaller, nil},
	} {
		got, err := v.Verify(t.Context(), p.Token(audience, test.claims))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Kind != test.kind || !reflect.DeepEqual(got.Groups, test.want) {
			t.Errorf("%s: %v %q, want %v %q", name, got.Kind, got.Groups, test.kind, test.want)
		}
	}
}

func TestNestedClaims(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, func(c *identity.Config) {
		c.Issuers[0].GroupsClaim = "realm_access.roles"
		c.Issuers[0].Rules = []identity.Rule{
			{Claims: map[string]string{"realm_access.roles": "6f1d0c2e-*"}, Groups: []string{"analysts"}},
			{Claims: map[string]string{"https://example.com/site": "berlin"}, Groups: []string{"berlin"}},
		}
	})
	for name, test := range map[string]struct {
		claims map[string]any
		want   []string
	}{
		"inside":             {map[string]any{"realm_access": map[string]any{"roles": []string{"a", "6f1d0c2e-9"}}}, []string{"6f1d0c2e-9", "a", "analysts"}},
		"the whole name":     {map[string]any{"realm_access.roles": []string{"b"}}, []string{"b"}},
		"a name with dots":   {map[string]any{"https://example.com/site": "berlin"}, []string{"berlin"}},
		"not an object":      {map[string]any{"realm_access": "roles"}, nil},
		"null":               {map[string]any{"realm_access": map[string]any{"roles": nil}}, nil},
		"nothing like it":    {map[string]any{"realm_access": map[string]any{"Roles": []string{"a"}}}, nil},
		"overage of another": {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}, "realm_access": map[string]any{"roles": []string{"a"}}}, []string{"a"}},
	} {
		got, err := v.Verify(t.Context(), p.Token(audience, test.claims))
		if err != nil || !reflect.DeepEqual(got.Groups, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got.Groups, err, test.want)
		}
	}
}

// TestUngrouped: whoever has no groups is told why, where there is a reason.
func TestUngrouped(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, func(c *identity.Config) {
		c.Issuers[0].Rules = []identity.Rule{{Claims: map[string]string{"email": "*@example.com"}, Groups: []string{"all"}}}
	})
	overage := map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}
	for name, test := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"groups":               {map[string]any{"groups": []string{"a"}}, ""},
		"no claim":             {nil, `no claim "groups"`},
		"an empty list":        {map[string]any{"groups": []string{}}, ""},
		"overage":              {overage, "too many groups"},
		"overage with groups":  {map[string]any{"hasgroups": true, "groups": []string{"admins"}}, "too many groups"},
		"of another type":      {map[string]any{"groups": 7}, "not a list"},
		"a rule makes up":      {map[string]any{"email": "a@example.com"}, ""},
		"a rule, and overage":  {map[string]any{"email": "a@example.com", "hasgroups": true}, ""},
		"an agent of nobody's": {map[string]any{"groups": []string{"a"}, "act": map[string]any{"sub": "x"}}, "given none"},
	} {
		got, err := v.Verify(t.Context(), p.Token(audience, test.claims))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (got.Ungrouped == "") != (test.want == "") || !strings.Contains(got.Ungrouped, test.want) {
			t.Errorf("%s: %q, want %q", name, got.Ungrouped, test.want)
		}
		if got.Ungrouped != "" && len(got.Groups) > 0 {
			t.Errorf("%s: %q, and yet groups %q", name, got.Ungrouped, got.Groups)
		}
	}
}

func TestActor(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, func(c *identity.Config) {
		c.Issuers[0].Kind = policy.Person
		c.Issuers[0].Actors = []identity.Rule{
			{Claims: map[string]string{"sub": "agent-7"}, Groups: []string{"staff", "robots"}},
			{Claims: map[string]string{"sub": "butler-*"}, Groups: []string{"*"}},
		}
	})
	behind := &policy.Identity{Issuer: p.URL(), Subject: "ada", Email: "ada@example.com"}
	for name, test := range map[string]struct {
		act    map[string]any
		actor  policy.Identity
		groups []string
	}{
		"both have it":         {map[string]any{"sub": "agent-7"}, policy.Identity{Issuer: p.URL(), Subject: "agent-7"}, []string{"staff"}},
		"whatever she may":     {map[string]any{"sub": "butler-1"}, policy.Identity{Issuer: p.URL(), Subject: "butler-1"}, []string{"owners", "staff"}},
		"its own groups":       {map[string]any{"sub": "x", "groups": []string{"owners", "kings"}}, policy.Identity{Issuer: p.URL(), Subject: "x"}, []string{"owners"}},
		"nobody knows it":      {map[string]any{"sub": "x"}, policy.Identity{Issuer: p.URL(), Subject: "x"}, nil},
		"a star of its own":    {map[string]any{"sub": "x", "groups": []string{"*"}}, policy.Identity{Issuer: p.URL(), Subject: "x"}, nil},
		"groups of no list":    {map[string]any{"sub": "x", "groups": 7}, policy.Identity{Issuer: p.URL(), Subject: "x"}, nil},
		"of another issuer":    {map[string]any{"sub": "agent-7", "iss": "https://agents.example"}, policy.Identity{Issuer: "https://agents.example", Subject: "agent-7"}, []string{"staff"}},
		"the last of a chain":  {map[string]any{"sub": "agent-7", "act": map[string]any{"sub": "butler-1"}}, policy.Identity{Issuer: p.URL(), Subject: "agent-7"}, []string{"staff"}},
		"a chain's first only": {map[string]any{"sub": "x", "act": map[string]any{"sub": "butler-1"}}, policy.Identity{Issuer: p.URL(), Subject: "x"}, nil},
	} {
		got, err := v.Verify(t.Context(), p.Token(audience, map[string]any{
			"sub": "ada", "email": "ada@example.com", "groups": []string{"staff", "owners"}, "act": test.act,
		}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Identity() != test.actor || !slices.Equal(got.Groups, test.groups) || got.Kind != policy.Agent || !reflect.DeepEqual(got.Behind, behind) {
			t.Errorf("%s: caller %+v behind %+v, want %+v %q", name, got, got.Behind, test.actor, test.groups)
		}
	}
}

// TestTokens: what issuers can be held to, or be let off.
func TestTokens(t *testing.T) {
	p := identitytest.New(t)
	at := func(tokens identity.Tokens, clients ...string) *identity.Verifier {
		return newVerifier(t, p, func(c *identity.Config) { c.Issuers[0].Tokens, c.Issuers[0].Clients = tokens, clients })
	}
	now := time.Now().Unix()
	token := func(typ any, more map[string]any) string {
		claims := map[string]any{"iss": p.URL(), "sub": "u", "aud": audience, "iat": now, "exp": now + 60}
		maps.Copy(claims, more)
		return p.Sign(map[string]any{"typ": typ}, claims)
	}
	for name, test := range map[string]struct {
		v     *identity.Verifier
		token string
		want  identity.Reason
	}{
		"typed":                     {at(identity.TokensTyped), token("at+jwt", nil), ""},
		"typed, in full":            {at(identity.TokensTyped), token("application/at+JWT", nil), ""},
		"typed, a JWT":              {at(identity.TokensTyped), token("JWT", nil), identity.WrongType},
		"typed, nothing":            {at(identity.TokensTyped), token(nil, nil), identity.WrongType},
		"typed, marked":             {at(identity.TokensTyped), token("at+jwt", map[string]any{"at_hash": "x"}), identity.WrongType},
		"let off, an ID token":      {at(identity.TokensID), token("JWT", map[string]any{"at_hash": "x", "nonce": "n", "typ": "ID"}), ""},
		"let off, a refresh token":  {at(identity.TokensID), token("JWT", map[string]any{"typ": "Refresh"}), identity.WrongType},
		"let off, a logout token":   {at(identity.TokensID), token("logout+jwt", nil), identity.WrongType},
		"a client":                  {at("", "cli", "web"), token("JWT", map[string]any{"azp": "web"}), ""},
		"a client, by Entra's name": {at("", "cli"), token("JWT", map[string]any{"appid": "cli"}), ""},
		"another client":            {at("", "cli"), token("JWT", map[string]any{"client_id": "web"}), identity.WrongClient},
		"two clients":               {at("", "cli"), token("JWT", map[string]any{"azp": "cli", "client_id": "web"}), identity.WrongClient},
		"no client":                 {at("", "cli"), token("JWT", nil), identity.WrongClient},
	} {
		if _, err := test.v.Verify(t.Context(), test.token); reason(t, err) != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestScopes(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	for name, test := range map[string]struct {
		claims map[string]any
		want   []string
	}{
		"none":     {nil, nil},
		"scope":    {map[string]any{"scope": "query  read"}, []string{"query", "read"}},
		"Entra":    {map[string]any{"scp": "query read"}, []string{"query", "read"}},
		"Okta":     {map[string]any{"scp": []string{"query", "read"}}, []string{"query", "read"}},
		"a number": {map[string]any{"scope": 7}, nil},
	} {
		got, err := v.Check(t.Context(), p.Token(audience, test.claims))
		if err != nil || !slices.Equal(got.Scopes, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got.Scopes, err, test.want)
		}
	}
}

func TestForgedTokensDoNotFetch(t *testing.T) {
	p := identitytest.New(t)
	clock := time.Now()
	v := newVerifier(t, p, func(c *identity.Config) { c.Now = func() time.Time { return clock } })
	claims := map[string]any{"iss": p.URL(), "sub": "u", "aud": audience, "iat": clock.Unix(), "exp": clock.Add(time.Hour).Unix()}
	flood := func() {
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				token := p.Sign(map[string]any{"kid": fmt.Sprint("forged-", i)}, claims)
				if _, err := v.Verify(t.Context(), token); reason(t, err) != identity.Unverified {
					t.Errorf("a token of an unknown key: %v", err)
				}
			})
		}
		wait.Wait()
	}
	flood()
	if n := p.Fetches(); n != 1 {
		t.Fatalf("a flood of unknown keys made %d fetches, want 1", n)
	}
	clock = clock.Add(31 * time.Second)
	flood()
	if n := p.Fetches(); n != 2 {
		t.Errorf("half a minute later a flood made %d fetches, want 2 in all", n)
	}
}

func TestKeyRotation(t *testing.T) {
	p := identitytest.New(t)
	clock := time.Now()
	v := newVerifier(t, p, func(c *identity.Config) { c.Now = func() time.Time { return clock } })
	check := func(when, token string, want identity.Reason) {
		t.Helper()
		if _, err := v.Verify(t.Context(), token); reason(t, err) != want {
			t.Errorf("%s: refused for %q (%v), want %q", when, reason(t, err), err, want)
		}
	}
	long := map[string]any{"exp": clock.Add(5 * time.Hour).Unix()}
	old := p.Token(audience, long)
	check("first", old, "")
	p.Rotate()
	fresh := p.Token(audience, long)
	check("new key, just fetched", fresh, identity.Unverified)
	clock = clock.Add(31 * time.Second)
	check("new key, half a minute later", fresh, "")
	check("withdrawn key", old, identity.Unverified)

	p.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusInternalServerError) })
	clock = clock.Add(20 * time.Minute)
	check("provider down, keys aged", fresh, "")
	clock = clock.Add(50 * time.Minute)
	check("provider down, keys stale", fresh, identity.KeysUnavailable)
	p.AnswerKeys(nil)
	check("provider back, too soon to ask", fresh, identity.KeysUnavailable)
	clock = clock.Add(31 * time.Second)
	check("provider back", fresh, "")
}

// TestForgedTokensDoNotHoldUpOthers: while the keys are loaded because of a
// token that nobody signed, tokens of known keys pass.
func TestForgedTokensDoNotHoldUpOthers(t *testing.T) {
	p := identitytest.New(t)
	clock := time.Now()
	v := newVerifier(t, p, func(c *identity.Config) { c.Now = func() time.Time { return clock } })
	claims := map[string]any{"iss": p.URL(), "sub": "u", "aud": audience, "iat": clock.Unix(), "exp": clock.Add(time.Hour).Unix()}
	good := p.Sign(nil, claims)
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	asked, answer := make(chan bool), make(chan bool)
	p.AnswerKeys(func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-answer
		http.Error(w, "down", http.StatusInternalServerError)
	})
	forged := make(chan error)
	go func() {
		_, err := v.Verify(context.Background(), p.Sign(map[string]any{"kid": "forged"}, claims))
		forged <- err
	}()
	<-asked
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Errorf("while keys are loaded: %v", err)
	}
	close(answer)
	if err := <-forged; reason(t, err) != identity.Unverified {
		t.Errorf("the forged token: %v", err)
	}
}

// TestKeysAreKeptFresh: in the background, with a clock of the test's.
func TestKeysAreKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		file := filepath.Join(t.TempDir(), "jwks.json")
		key := func(name string) (*identity.Issuer, string) {
			i, err := identity.OpenIssuer(filepath.Join(t.TempDir(), name), "https://demo.invalid")
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(i.KeysFile())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			token, err := i.Token(identity.TokenClaims{Subject: "dev", Audience: audience, Lifetime: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return i, token
		}
		_, old := key("old")
		v, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: "https://demo.invalid", KeysFile: file}}})
		if err != nil {
			t.Fatal(err)
		}
		var kept sync.WaitGroup
		kept.Go(func() { v.KeepFresh(ctx) })
		synctest.Wait()
		if _, err := v.Verify(ctx, old); err != nil {
			t.Fatal(err)
		}
		key("new")
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if _, err := v.Verify(ctx, old); err != nil {
			t.Errorf("four minutes on: %v", err)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if _, err := v.Verify(ctx, old); reason(t, err) != identity.Unverified {
			t.Errorf("a withdrawn key, seven minutes on: %v", err)
		}
		// A file that is gone for a while is looked for twice a minute, and
		// the keys count for an hour.
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		_, fresh := key("newer")
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := v.Verify(ctx, fresh); err != nil {
			t.Errorf("after the file is back: %v", err)
		}
		stop()
		kept.Wait()
	})
}

func TestKeysThatCannotBeHad(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"endless":   func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"no keys":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"secrets":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[{"kty":"oct","k":"AAAA"}]}`) },
		"not found": http.NotFound,
		"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			p := identitytest.New(t)
			p.AnswerKeys(answer)
			v := newVerifier(t, p, nil)
			for range 3 {
				if _, err := v.Verify(t.Context(), p.Token(audience, nil)); reason(t, err) != identity.KeysUnavailable {
					t.Errorf("refused for %q (%v)", reason(t, err), err)
				}
			}
			if n := p.Fetches(); n != 1 {
				t.Errorf("%d fetches, want 1", n)
			}
		})
	}
}

// endless writes until the reader has had enough, 64 MiB at most.
func endless(w http.ResponseWriter) {
	block := []byte(strings.Repeat(" ", 1<<16))
	for range 1 << 10 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := identity.IssuerConfig{URL: "https://idp.example"}
	for name, c := range map[string]identity.Config{
		"no audience":       {Issuers: []identity.IssuerConfig{good}},
		"no URL":            {Audience: audience, Issuers: []identity.IssuerConfig{{}}},
		"twice":             {Audience: audience, Issuers: []identity.IssuerConfig{good, good}},
		"plain http":        {Audience: audience, Issuers: []identity.IssuerConfig{{URL: "http://idp.example"}}},
		"algorithm none":    {Audience: audience, Issuers: []identity.IssuerConfig{{URL: good.URL, Algorithms: []string{"none"}}}},
		"algorithm HS256":   {Audience: audience, Issuers: []identity.IssuerConfig{{URL: good.URL, Algorithms: []string{"RS256", "HS256"}}}},
		"missing keys file": {Audience: audience, Issuers: []identity.IssuerConfig{{URL: good.URL, KeysFile: "no such file"}}},
		"rule for all":      {Audience: audience, Issuers: []identity.IssuerConfig{{URL: good.URL, Rules: []identity.Rule{{Groups: []string{"x"}}}}}},
		"negative skew":     {Audience: audience, Skew: -1},
	} {
		if _, err := identity.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNoIssuers(t *testing.T) {
	p := identitytest.New(t)
	v, err := identity.New(identity.Config{Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), p.Token(audience, nil)); reason(t, err) != identity.UnknownIssuer {
		t.Errorf("without issuers: %v", err)
	}
}

func TestIssuer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "issuer")
	i, err := identity.OpenIssuer(dir, "https://demo.invalid")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "issuer.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	token, err := i.Token(identity.TokenClaims{Subject: "dev", Email: "dev@example.com", Groups: []string{"analysts"}, Audience: audience, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	// A second opening must find the same key, or the first one's tokens die.
	if i, err = identity.OpenIssuer(dir, "https://demo.invalid"); err != nil {
		t.Fatal(err)
	}
	v, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: i.URL(), KeysFile: i.KeysFile(), Kind: policy.Person}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Caller{Issuer: "https://demo.invalid", Subject: "dev", Email: "dev@example.com", Groups: []string{"analysts"}, Kind: policy.Person}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("caller %+v, want %+v", got, want)
	}
	keys, err := os.ReadFile(i.KeysFile())
	if err != nil || strings.Contains(string(keys), `"d"`) {
		t.Errorf("the key set holds the private key, or cannot be read: %v", err)
	}
	for name, c := range map[string]identity.TokenClaims{
		"no subject":  {Audience: audience, Lifetime: time.Hour},
		"no audience": {Subject: "dev", Lifetime: time.Hour},
		"no lifetime": {Subject: "dev", Audience: audience},
		"for ever":    {Subject: "dev", Audience: audience, Lifetime: 1000 * time.Hour},
	} {
		if _, err := i.Token(c); err == nil {
			t.Errorf("%s: a token was made", name)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "issuer.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenIssuer(dir, "https://demo.invalid"); err == nil {
		t.Error("a key that everybody can read was used")
	}
}

// Whatever is done to a token, what is accepted says what was signed.
func FuzzVerify(f *testing.F) {
	p := identitytest.New(f)
	v := newVerifier(f, p, nil)
	good := p.Token(audience, map[string]any{"groups": []string{"staff"}})
	signed := good[:strings.LastIndex(good, ".")+1]
	for _, seed := range []string{good, good + ".", signed, "", "..", strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, err := v.Verify(t.Context(), token)
		if reason(t, err) == "" && !strings.HasPrefix(token, signed) {
			t.Errorf("accepted %q", token)
		}
	})
}

// BenchmarkVerify checks tokens with keys that are there: one that is new each
// time, as an agent's first call brings it, and one that was there before.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		var v *identity.Verifier
		var mint func(n int) string
		switch alg {
		case "RS256":
			p := identitytest.New(b)
			v = newVerifier(b, p, nil)
			mint = func(n int) string {
				return p.Token(audience, map[string]any{"groups": []string{"a", "b", "c"}, "email": "a@example.com", "n": n})
			}
		case "ES256":
			i, err := identity.OpenIssuer(b.TempDir(), "https://demo.invalid")
			if err != nil {
				b.Fatal(err)
			}
			if v, err = identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: i.URL(), KeysFile: i.KeysFile()}}}); err != nil {
				b.Fatal(err)
			}
			mint = func(int) string {
				token, err := i.Token(identity.TokenClaims{Subject: "dev", Groups: []string{"a", "b", "c"}, Audience: audience, Lifetime: time.Hour})
				if err != nil {
					b.Fatal(err)
				}
				return token
			}
		}
		b.Run(alg+"/new", func(b *testing.B) {
			b.ReportAllocs()
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				token := mint(n)
				b.StartTimer()
				took = append(took, verify(b, v, token))
			}
			b.ReportMetric(median(took), "median-µs")
		})
		b.Run(alg+"/again", func(b *testing.B) {
			b.ReportAllocs()
			token := mint(0)
			var took []time.Duration
			for b.Loop() {
				took = append(took, verify(b, v, token))
			}
			b.ReportMetric(median(took), "median-µs")
		})
	}
}

func median(took []time.Duration) (microseconds float64) {
	slices.Sort(took)
	return float64(took[len(took)/2].Nanoseconds()) / 1e3
}

func verify(b *testing.B, v *identity.Verifier, token string) time.Duration {
	began := time.Now()
	if _, err := v.Verify(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
