package identitytest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"querywarden/internal/identity"
)

// A HostileToken must not be accepted.
type HostileToken struct {
	Name  string
	Token string
	// Reason is why, for a gateway that trusts the provider and has set no more
	// than it has to.
	Reason identity.Reason
}

// Hostile makes tokens for an audience that are broken, forged or not for it,
// each in one way. tb is the test that they are for: another provider runs
// until it ends, which signs those that come from a stranger.
func (p *Provider) Hostile(tb testing.TB, audience string) []HostileToken {
	tb.Helper()
	stranger := New(tb)
	now := time.Now()
	claims := map[string]any{"iss": p.URL(), "sub": "user-1", "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	goodText := []byte(p.text(claims))
	encode := base64.RawURLEncoding.EncodeToString
	p.mu.Lock()
	kid := p.kid
	p.mu.Unlock()
	header := func(alg string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid) }
	good := p.Token(audience, nil)
	parts := strings.Split(good, ".")

	// The classic: the public key as an HMAC secret.
	der, err := x509.MarshalPKIXPublicKey(p.PublicKey())
	if err != nil {
		tb.Fatal(err)
	}
	hs256 := func(secret []byte) string {
		text := encode([]byte(header("HS256"))) + "." + encode(goodText)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + encode(mac.Sum(nil))
	}

	return []HostileToken{
		{"nothing", "", identity.Missing},
		{"garbage", "garbage", identity.Malformed},
		{"two parts", parts[0] + "." + parts[1], identity.Malformed},
		{"four parts", p.Token(audience, nil) + ".x", identity.Malformed},
		{"five parts", "a.b.c.d.e", identity.Malformed},
		{"empty parts", "..", identity.Malformed},
		{"oversize", p.Token(audience, map[string]any{"pad": strings.Repeat("x", 20<<10)}), identity.Malformed},
		{"newline", p.Token(audience, nil) + "\n", identity.Malformed},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], identity.Malformed},
		{"JSON form", `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`, identity.Malformed},
		{"not UTF-8", p.SignText(header("RS256"), "{\"iss\":\"\xff\"}"), identity.UnknownIssuer},
		{"no JSON", p.SignText(header("RS256"), "claims"), identity.Malformed},
		{"an array", p.SignText(header("RS256"), "[]"), identity.Malformed},
		{"null", p.SignText(header("RS256"), "null"), identity.Malformed},
		{"header is 1", p.SignText("1", string(goodText)), identity.Malformed},
		{"trailing JSON", p.SignText(header("RS256"), string(goodText)+"{}"), identity.Malformed},
		{"deep nesting", p.SignText(header("RS256"), strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)), identity.Malformed},

		{"alg none", encode([]byte(`{"alg":"none"}`)) + "." + encode(goodText) + ".", identity.Unverified},
		{"alg None", encode([]byte(`{"alg":"None"}`)) + "." + encode(goodText) + ".", identity.Unverified},
		{"alg none, signed", p.SignText(header("none"), string(goodText)), identity.Unverified},
		{"no alg", p.SignText(`{"kid":"`+kid+`"}`, string(goodText)), identity.Unverified},
		{"alg a number", p.SignText(`{"alg":1}`, string(goodText)), identity.Unverified},
		{"alg not allowed", p.SignText(header("PS256"), string(goodText)), identity.Unverified},
		{"alg of another key type", p.SignText(header("ES256"), string(goodText)), identity.Unverified},
		{"HS256 with the key, DER", hs256(der), identity.Unverified},
		{"HS256 with the key, PEM", hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), identity.Unverified},
		{"HS256 with nothing", hs256(nil), identity.Unverified},
		{"key in the header", stranger.Sign(map[string]any{"jwk": stranger.KeySet().(map[string]any)["keys"].([]any)[0], "kid": nil}, claims), identity.Unverified},
		{"key URL in the header", stranger.Sign(map[string]any{"jku": stranger.URL() + "/keys"}, claims), identity.Unverified},
		{"another's signature", stranger.Sign(map[string]any{"kid": kid}, claims), identity.Unverified},
		{"wrong kid", p.Sign(map[string]any{"kid": "nobody's"}, claims), identity.Unverified},
		{"no signature", parts[0] + "." + parts[1] + ".", identity.Unverified},
		{"claims exchanged", parts[0] + "." + encode(goodText) + "." + parts[2], identity.Unverified},
		{"critical header", p.Sign(map[string]any{"crit": []string{"b64"}, "b64": true}, claims), identity.Malformed},

		{"typ of a logout token", p.Sign(map[string]any{"typ": "logout+jwt"}, claims), identity.WrongType},
		{"typ of a DPoP proof", p.Sign(map[string]any{"typ": "dpop+jwt"}, claims), identity.WrongType},
		{"typ not a text", p.Sign(map[string]any{"typ": 1}, claims), identity.WrongType},

		{"no issuer", p.Token(audience, map[string]any{"iss": nil}), identity.UnknownIssuer},
		{"another issuer", stranger.Token(audience, nil), identity.UnknownIssuer},
		{"issuer with a slash", p.Token(audience, map[string]any{"iss": p.URL() + "/"}), identity.UnknownIssuer},
		{"issuer in a list", p.Token(audience, map[string]any{"iss": []string{p.URL()}}), identity.UnknownIssuer},
		{"issuer in upper case", p.SignText(header("RS256"), strings.Replace(string(goodText), `"iss"`, `"ISS"`, 1)), identity.UnknownIssuer},
		{"no subject", p.Token(audience, map[string]any{"sub": nil}), identity.Malformed},
		{"empty subject", p.Token(audience, map[string]any{"sub": ""}), identity.Malformed},
		{"subject a number", p.Token(audience, map[string]any{"sub": 7}), identity.Unverified},
		{"subject with a newline", p.Token(audience, map[string]any{"sub": "a\nb"}), identity.Malformed},
		{"long subject", p.Token(audience, map[string]any{"sub": strings.Repeat("s", 600)}), identity.Malformed},

		{"no audience", p.Token(audience, map[string]any{"aud": nil}), identity.WrongAudience},
		{"another audience", p.Token("https://other.example/mcp", nil), identity.WrongAudience},
		{"the bare host", p.Token("https://gate.example", nil), identity.WrongAudience},
		{"a longer path", p.Token(audience+"/x", nil), identity.WrongAudience},
		{"two slashes", p.Token(audience+"//", nil), identity.WrongAudience},
		{"upper case", p.Token(strings.ToUpper(audience), nil), identity.WrongAudience},
		{"audience empty list", p.Token(audience, map[string]any{"aud": []string{}}), identity.WrongAudience},
		{"audience an object", p.Token(audience, map[string]any{"aud": map[string]any{audience: true}}), identity.Unverified},
		{"ID token, client's aud", p.Token("client-id", map[string]any{"azp": "client-id", "nonce": "n"}), identity.WrongAudience},

		{"expired", p.Token(audience, map[string]any{"exp": now.Add(-time.Minute).Unix()}), identity.Expired},
		{"no exp", p.Token(audience, map[string]any{"exp": nil}), identity.Malformed},
		{"exp a text", p.Token(audience, map[string]any{"exp": "9999999999"}), identity.Malformed},
		{"exp beyond range", p.Token(audience, map[string]any{"exp": 1e300}), identity.Malformed},
		{"exp negative", p.Token(audience, map[string]any{"exp": -1}), identity.Malformed},
		{"future nbf", p.Token(audience, map[string]any{"nbf": now.Add(time.Minute).Unix()}), identity.NotYetValid},
		{"nbf a text", p.Token(audience, map[string]any{"nbf": "0"}), identity.Malformed},
		{"future iat", p.Token(audience, map[string]any{"iat": now.Add(10 * 365 * 24 * time.Hour).Unix()}), identity.NotYetValid},
		{"no iat", p.Token(audience, map[string]any{"iat": nil}), identity.Malformed},
		{"too old", p.Token(audience, map[string]any{"iat": now.Add(-13 * time.Hour).Unix()}), identity.TooOld},

		{"bound to a key", p.Token(audience, map[string]any{"cnf": map[string]any{"jkt": "x"}}), identity.Bound},
		{"cnf null", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"cnf":null,`, 1)), identity.Bound},
		{"twice aud", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"aud":"https://other.example",`, 1)), identity.Malformed},
		{"twice sub", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"sub":"admin",`, 1)), identity.Malformed},
		{"twice, escaped", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"\u0073ub":"admin",`, 1)), identity.Malformed},
		{"twice alg", p.SignText(`{"alg":"none","alg":"RS256","kid":"`+kid+`"}`, string(goodText)), identity.Malformed},
		{"twice, inside", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"act":{"sub":"a","sub":"b"},`, 1)), identity.Malformed},
		{"act a text", p.Token(audience, map[string]any{"act": "agent"}), identity.Malformed},
		{"act without sub", p.Token(audience, map[string]any{"act": map[string]any{}}), identity.Malformed},
		{"act of an object", p.Token(audience, map[string]any{"act": map[string]any{"sub": "a", "iss": 1}}), identity.Malformed},

		{"not a text at all", "\x00\xff", identity.Malformed},
		{"BOM", "\ufeff" + good, identity.Malformed},
		{"encrypted", encode([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".a.b.c.d", identity.Malformed},
		{"signature cut", good[:len(good)-6], identity.Unverified},
		{"signature spelt otherwise", respelt(good), identity.Malformed},
		{"signature of zeros", parts[0] + "." + parts[1] + "." + encode(make([]byte, 256)), identity.Unverified},
		{"signature of an empty curve point", encode([]byte(`{"alg":"ES256"}`)) + "." + encode(goodText) + "." + encode(make([]byte, 64)), identity.Unverified},
		{"a JWS in a JWS", p.SignText(`{"alg":"RS256","cty":"JWT","kid":"`+kid+`"}`, good), identity.Malformed},
		{"a JWS in a JWS, as text", p.SignText(`{"alg":"RS256","cty":"JWT","kid":"`+kid+`"}`, `"`+good+`"`), identity.Malformed},
		{"alg with a space", p.SignText(header("RS256 "), string(goodText)), identity.Unverified},
		{"alg in lower case", p.SignText(header("rs256"), string(goodText)), identity.Unverified},
		{"two algs, two cases", p.SignText(`{"ALG":"none","alg":"PS512"}`, string(goodText)), identity.Unverified},
		{"kid a path", stranger.Sign(map[string]any{"kid": "../../../../dev/null"}, claims), identity.Unverified},
		{"kid with SQL", stranger.Sign(map[string]any{"kid": "x' UNION SELECT 'k"}, claims), identity.Unverified},
		{"kid a list", p.Sign(map[string]any{"kid": []string{kid}}, claims), identity.Unverified},
		{"no kid, another's key", stranger.Sign(map[string]any{"kid": nil}, claims), identity.Unverified},
		{"certificate URL in the header", stranger.Sign(map[string]any{"x5u": stranger.URL() + "/keys"}, claims), identity.Unverified},
		{"certificate in the header", stranger.Sign(map[string]any{"x5c": []string{"MIIB"}}, claims), identity.Unverified},
		{"payload not encoded", p.Sign(map[string]any{"b64": false, "crit": []string{"b64"}}, claims), identity.Malformed},
		{"crit empty", p.Sign(map[string]any{"crit": []string{}}, claims), identity.Malformed},
		{"typ empty", p.Sign(map[string]any{"typ": ""}, claims), identity.WrongType},
		{"typ of a request object", p.Sign(map[string]any{"typ": "oauth-authz-req+jwt"}, claims), identity.WrongType},
		{"typ of an ID-JAG", p.Sign(map[string]any{"typ": "oauth-id-jag+jwt"}, claims), identity.WrongType},
		{"ID token for this audience", p.Token(audience, map[string]any{"at_hash": "x"}), identity.WrongType},
		{"ID token, with its nonce", p.Token(audience, map[string]any{"nonce": "n"}), identity.WrongType},
		{"ID token of Keycloak", p.Token(audience, map[string]any{"typ": "ID"}), identity.WrongType},
		{"refresh token of Keycloak", p.Token(audience, map[string]any{"typ": "Refresh"}), identity.WrongType},
		{"ID token of Cognito", p.Token(audience, map[string]any{"token_use": "id"}), identity.WrongType},
		{"logout token", p.Token(audience, map[string]any{"events": map[string]any{}}), identity.WrongType},
		{"azp not a text", p.Token(audience, map[string]any{"azp": []string{"cli"}}), identity.Malformed},
		{"issuer null", p.Token(audience, map[string]any{"iss": json.RawMessage("null")}), identity.UnknownIssuer},
		{"issuer with a port of its own", p.Token(audience, map[string]any{"iss": p.URL() + "0"}), identity.UnknownIssuer},
		{"audience without its scheme", p.Token("gate.example/mcp", nil), identity.WrongAudience},
		{"audience escaped", p.Token(strings.Replace(audience, "/mcp", "/%6dcp", 1), nil), identity.WrongAudience},
		{"audience with a query", p.Token(audience+"?x", nil), identity.WrongAudience},
		{"exp without end", p.SignText(header("RS256"), strings.Replace(string(goodText), `{"aud"`, `{"exp":1e999,"aud"`, 1)), identity.Malformed},
		{"exp null", p.Token(audience, map[string]any{"exp": json.RawMessage("null")}), identity.Unverified},
		{"iat negative", p.Token(audience, map[string]any{"iat": -1}), identity.Malformed},
		{"act in act, a text", p.Token(audience, map[string]any{"act": map[string]any{"sub": "a", "act": "b"}}), identity.Malformed},
		{"act in act without sub", p.Token(audience, map[string]any{"act": map[string]any{"sub": "a", "act": map[string]any{}}}), identity.Malformed},
		{"act null", p.SignText(header("RS256"), strings.Replace(string(goodText), "{", `{"act":null,`, 1)), identity.Malformed},
	}
}

// respelt spells the same signature in another way: the last character of its
// base64 holds bits that mean nothing.
func respelt(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + alphabet[last^1:last^1+1]
}
