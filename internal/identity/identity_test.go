package identity_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
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
		"claims that mean nothing here": {"nonce": "n", "scope": "a b", "jti": "1"},
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
	p, stranger := identitytest.New(t), identitytest.New(t)
	v := newVerifier(t, p, nil)
	now := time.Now()
	good := map[string]any{"iss": p.URL(), "sub": "user-1", "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	goodText, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	kid := kidOf(t, p.Token(audience, nil))
	header := func(alg string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid) }
	parts := strings.Split(p.Token(audience, nil), ".")

	// The classic: the public key as an HMAC secret.
	der, err := x509.MarshalPKIXPublicKey(p.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(secret []byte) string {
		text := encode([]byte(header("HS256"))) + "." + encode(goodText)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + encode(mac.Sum(nil))
	}

	tests := map[string]struct {
		token string
		want  identity.Reason
	}{
		"nothing":       {"", identity.Missing},
		"garbage":       {"garbage", identity.Malformed},
		"two parts":     {parts[0] + "." + parts[1], identity.Malformed},
		"four parts":    {p.Token(audience, nil) + ".x", identity.Malformed},
		"five parts":    {"a.b.c.d.e", identity.Malformed},
		"empty parts":   {"..", identity.Malformed},
		"oversize":      {p.Token(audience, map[string]any{"pad": strings.Repeat("x", 20<<10)}), identity.Malformed},
		"newline":       {p.Token(audience, nil) + "\n", identity.Malformed},
		"padding":       {parts[0] + "=." + parts[1] + "." + parts[2], identity.Malformed},
		"JSON form":     {`{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`, identity.Malformed},
		"not UTF-8":     {p.SignText(header("RS256"), "{\"iss\":\"\xff\"}"), identity.UnknownIssuer},
		"no JSON":       {p.SignText(header("RS256"), "claims"), identity.Malformed},
		"an array":      {p.SignText(header("RS256"), "[]"), identity.Malformed},
		"null":          {p.SignText(header("RS256"), "null"), identity.Malformed},
		"header is 1":   {p.SignText("1", string(goodText)), identity.Malformed},
		"trailing JSON": {p.SignText(header("RS256"), string(goodText)+"{}"), identity.Malformed},
		"deep nesting":  {p.SignText(header("RS256"), strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)), identity.Malformed},

		"alg none":                {encode([]byte(`{"alg":"none"}`)) + "." + encode(goodText) + ".", identity.Unverified},
		"alg None":                {encode([]byte(`{"alg":"None"}`)) + "." + encode(goodText) + ".", identity.Unverified},
		"alg none, signed":        {p.SignText(header("none"), string(goodText)), identity.Unverified},
		"no alg":                  {p.SignText(`{"kid":"`+kid+`"}`, string(goodText)), identity.Unverified},
		"alg a number":            {p.SignText(`{"alg":1}`, string(goodText)), identity.Unverified},
		"alg not allowed":         {p.SignText(header("PS256"), string(goodText)), identity.Unverified},
		"alg of another key type": {p.SignText(header("ES256"), string(goodText)), identity.Unverified},
		"HS256 with the key, DER": {hs256(der), identity.Unverified},
		"HS256 with the key, PEM": {hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), identity.Unverified},
		"HS256 with nothing":      {hs256(nil), identity.Unverified},
		"key in the header":       {stranger.Sign(map[string]any{"jwk": keyOf(t, stranger), "kid": nil}, good), identity.Unverified},
		"key URL in the header":   {stranger.Sign(map[string]any{"jku": stranger.URL() + "/keys"}, good), identity.Unverified},
		"another's signature":     {stranger.Sign(map[string]any{"kid": kid}, good), identity.Unverified},
		"wrong kid":               {p.Sign(map[string]any{"kid": "nobody's"}, good), identity.Unverified},
		"no signature":            {parts[0] + "." + parts[1] + ".", identity.Unverified},
		"claims exchanged":        {parts[0] + "." + encode(goodText) + "." + parts[2], identity.Unverified},
		"critical header":         {p.Sign(map[string]any{"crit": []string{"b64"}, "b64": true}, good), identity.Malformed},

		"typ of a logout token": {p.Sign(map[string]any{"typ": "logout+jwt"}, good), identity.WrongType},
		"typ of a DPoP proof":   {p.Sign(map[string]any{"typ": "dpop+jwt"}, good), identity.WrongType},
		"typ not a text":        {p.Sign(map[string]any{"typ": 1}, good), identity.WrongType},

		"no issuer":              {p.Token(audience, map[string]any{"iss": nil}), identity.UnknownIssuer},
		"another issuer":         {stranger.Token(audience, nil), identity.UnknownIssuer},
		"issuer with a slash":    {p.Token(audience, map[string]any{"iss": p.URL() + "/"}), identity.UnknownIssuer},
		"issuer in a list":       {p.Token(audience, map[string]any{"iss": []string{p.URL()}}), identity.UnknownIssuer},
		"issuer in upper case":   {p.SignText(header("RS256"), strings.Replace(string(goodText), `"iss"`, `"ISS"`, 1)), identity.UnknownIssuer},
		"no subject":             {p.Token(audience, map[string]any{"sub": nil}), identity.Malformed},
		"empty subject":          {p.Token(audience, map[string]any{"sub": ""}), identity.Malformed},
		"subject a number":       {p.Token(audience, map[string]any{"sub": 7}), identity.Unverified},
		"subject with a newline": {p.Token(audience, map[string]any{"sub": "a\nb"}), identity.Malformed},
		"long subject":           {p.Token(audience, map[string]any{"sub": strings.Repeat("s", 600)}), identity.Malformed},

		"no audience":            {p.Token(audience, map[string]any{"aud": nil}), identity.WrongAudience},
		"another audience":       {p.Token("https://other.example/mcp", nil), identity.WrongAudience},
		"the bare host":          {p.Token("https://gate.example", nil), identity.WrongAudience},
		"a longer path":          {p.Token(audience+"/x", nil), identity.WrongAudience},
		"two slashes":            {p.Token(audience+"//", nil), identity.WrongAudience},
		"upper case":             {p.Token(strings.ToUpper(audience), nil), identity.WrongAudience},
		"audience empty list":    {p.Token(audience, map[string]any{"aud": []string{}}), identity.WrongAudience},
		"audience an object":     {p.Token(audience, map[string]any{"aud": map[string]any{audience: true}}), identity.Unverified},
		"ID token, client's aud": {p.Token("client-id", map[string]any{"azp": "client-id", "nonce": "n"}), identity.WrongAudience},

		"expired":          {p.Token(audience, map[string]any{"exp": now.Add(-time.Minute).Unix()}), identity.Expired},
		"no exp":           {p.Token(audience, map[string]any{"exp": nil}), identity.Malformed},
		"exp a text":       {p.Token(audience, map[string]any{"exp": "9999999999"}), identity.Malformed},
		"exp beyond range": {p.Token(audience, map[string]any{"exp": 1e300}), identity.Malformed},
		"exp negative":     {p.Token(audience, map[string]any{"exp": -1}), identity.Malformed},
		"future nbf":       {p.Token(audience, map[string]any{"nbf": now.Add(time.Minute).Unix()}), identity.NotYetValid},
		"nbf a text":       {p.Token(audience, map[string]any{"nbf": "0"}), identity.Malformed},
		"future iat":       {p.Token(audience, map[string]any{"iat": now.Add(10 * 365 * 24 * time.Hour).Unix()}), identity.NotYetValid},
		"no iat":           {p.Token(audience, map[string]any{"iat": nil}), identity.Malformed},
		"too old":          {p.Token(audience, map[string]any{"iat": now.Add(-13 * time.Hour).Unix()}), identity.TooOld},

		"bound to a key":   {p.Token(audience, map[string]any{"cnf": map[string]any{"jkt": "x"}}), identity.Bound},
		"cnf null":         {p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"cnf":null,`, 1)), identity.Bound},
		"twice aud":        {p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"aud":"https://other.example",`, 1)), identity.Malformed},
		"twice sub":        {p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"sub":"admin",`, 1)), identity.Malformed},
		"twice, escaped":   {p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"\u0073ub":"admin",`, 1)), identity.Malformed},
		"twice alg":        {p.SignText(`{"alg":"none","alg":"RS256","kid":"`+kid+`"}`, string(goodText)), identity.Malformed},
		"twice, inside":    {p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"act":{"sub":"a","sub":"b"},`, 1)), identity.Malformed},
		"act a text":       {p.Token(audience, map[string]any{"act": "agent"}), identity.Malformed},
		"act without sub":  {p.Token(audience, map[string]any{"act": map[string]any{}}), identity.Malformed},
		"act of an object": {p.Token(audience, map[string]any{"act": map[string]any{"sub": "a", "iss": 1}}), identity.Malformed},
	}
	for name, test := range tests {
		caller, err := v.Verify(t.Context(), test.token)
		if got := reason(t, err); got != test.want {
			t.Errorf("%s: refused for %q (%v), want %q", name, got, err, test.want)
		}
		if !reflect.DeepEqual(caller, policy.Caller{}) {
			t.Errorf("%s: a refused token yields the caller %+v", name, caller)
		}
		var refused *identity.Error
		if errors.As(err, &refused) {
			if d := refused.Description(); d == "" || strings.ContainsAny(d, "\"\\\n") {
				t.Errorf("%s: description %q does not fit into a header", name, d)
			}
		}
	}
	if n := p.Fetches(); n != 1 {
		t.Errorf("%d tokens made %d fetches of the keys, want 1", len(tests), n)
	}
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.SplitN(token, ".", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	return header.Kid
}

func keyOf(t *testing.T, p *identitytest.Provider) any {
	t.Helper()
	return p.KeySet().(map[string]any)["keys"].([]any)[0]
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
		"a list":             {map[string]any{"protected": []string{"true"}}, policy.UnknownCaller, nil},
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

func TestActor(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, func(c *identity.Config) { c.Issuers[0].Kind = policy.Person })
	got, err := v.Verify(t.Context(), p.Token(audience, map[string]any{
		"sub": "ada", "email": "ada@example.com", "groups": []string{"staff"}, "act": map[string]any{"sub": "agent-7"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Caller{
		Issuer: p.URL(), Subject: "agent-7", Groups: []string{"staff"}, Kind: policy.Agent,
		Behind: &policy.Identity{Issuer: p.URL(), Subject: "ada", Email: "ada@example.com"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("caller %+v behind %+v, want %+v behind %+v", got, got.Behind, want, want.Behind)
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

func BenchmarkVerify(b *testing.B) {
	b.Run("RS256", func(b *testing.B) {
		p := identitytest.New(b)
		v := newVerifier(b, p, nil)
		verify(b, v, p.Token(audience, map[string]any{"groups": []string{"a", "b", "c"}, "email": "a@example.com"}))
	})
	b.Run("ES256", func(b *testing.B) {
		i, err := identity.OpenIssuer(b.TempDir(), "https://demo.invalid")
		if err != nil {
			b.Fatal(err)
		}
		v, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{{URL: i.URL(), KeysFile: i.KeysFile()}}})
		if err != nil {
			b.Fatal(err)
		}
		token, err := i.Token(identity.TokenClaims{Subject: "dev", Groups: []string{"a", "b", "c"}, Audience: audience, Lifetime: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		verify(b, v, token)
	})
}

func verify(b *testing.B, v *identity.Verifier, token string) {
	if _, err := v.Verify(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
