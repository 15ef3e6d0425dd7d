package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// claims are the members of a JSON object, by their exact names: encoding/json
// would take "AUD" for "aud" when it fills a struct.
type claims map[string]json.RawMessage

// peek reads a token's header and claims without proving them.
func peek(token string) (header, body claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("not a JWT in compact form")
	}
	// Go's decoder skips line breaks, and Strict refuses only other second
	// spellings of the same bytes.
	if strings.ContainsAny(token, "\r\n") {
		return nil, nil, errors.New("line breaks")
	}
	for i, into := range []*claims{&header, &body} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return nil, nil, errors.New("not base64url")
		}
		if err := unique(raw); err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal(raw, into); err != nil || *into == nil {
			return nil, nil, errors.New("not a JSON object")
		}
	}
	// One token, one spelling: it is also what sign-ins are known by.
	if _, err := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return nil, nil, errors.New("not base64url")
	}
	return header, body, nil
}

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 16

// unique refuses JSON in which an object has a name twice: readers differ in
// which of the two they take.
func unique(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := uniqueValue(decoder, 0); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON")
	}
	return nil
}

func uniqueValue(decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return errors.New("nested too deep")
	}
	names := map[string]bool{}
	for decoder.More() {
		if open == '{' {
			token, err := decoder.Token()
			if err != nil {
				return errors.New("not JSON")
			}
			name, ok := token.(string)
			if !ok {
				return errors.New("not JSON")
			}
			if names[name] {
				return errors.New("a name is there twice")
			}
			names[name] = true
		}
		if err := uniqueValue(decoder, depth+1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
}

// object reads the value of a claim that is an object.
func object(raw json.RawMessage) (claims, error) {
	var c claims
	if err := json.Unmarshal(raw, &c); err != nil || c == nil {
		return nil, errors.New("not an object")
	}
	return c, nil
}

// lookup returns a claim. A name that no claim has may lead into objects:
// realm_access.roles. It returns nil if there is no such claim.
func (c claims) lookup(name string) json.RawMessage {
	if raw, there := c[name]; there {
		return raw
	}
	outer, inner, dotted := strings.Cut(name, ".")
	if !dotted {
		return nil
	}
	inside, err := object(c[outer])
	if err != nil {
		return nil
	}
	return inside.lookup(inner)
}

// values returns the texts that rules compare with: of a string, a number in
// its JSON form, a boolean, or each of these in a list.
func (c claims) values(name string) []string {
	raw := c.lookup(name)
	if len(raw) > 0 && raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil
		}
		var out []string
		for _, e := range list {
			if s, ok := scalar(e); ok {
				out = append(out, s)
			}
		}
		return out
	}
	if s, ok := scalar(raw); ok {
		return []string{s}
	}
	return nil
}

// scalar returns a string, number or boolean as text.
func scalar(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	case '{', '[', 'n':
		return "", false
	default:
		return string(raw), true
	}
}

// scopes are what a token may be used for: scope (RFC 9068), or scp as Entra
// and Okta have it.
func (c claims) scopes() []string {
	for _, name := range []string{"scope", "scp"} {
		if text, ok := c.text(name); ok {
			return strings.Fields(text)
		}
		var list []string
		if err := json.Unmarshal(c[name], &list); err == nil {
			return list
		}
	}
	return nil
}

// text returns a claim that is a string.
func (c claims) text(name string) (string, bool) {
	var s *string
	if err := json.Unmarshal(c[name], &s); err != nil || s == nil {
		return "", false
	}
	return *s, true
}

// time returns a claim that is seconds since 1970.
func (c claims) time(name string) (time.Time, bool) {
	var seconds *float64
	if err := json.Unmarshal(c[name], &seconds); err != nil || seconds == nil {
		return time.Time{}, false
	}
	// Up to the year 9999.
	if *seconds < 0 || *seconds > 253402300799 {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// audience returns aud, which is a string or several.
func (c claims) audience() []string {
	if one, ok := c.text("aud"); ok {
		return []string{one}
	}
	var many []string
	if err := json.Unmarshal(c["aud"], &many); err != nil {
		return nil
	}
	return many
}

// maxName is the longest subject or group, in bytes.
const maxName = 512

// subject returns sub. RFC 7519 compares it as it is.
func (c claims) subject() (string, error) {
	sub, ok := c.text("sub")
	if !ok || sub == "" || len(sub) > maxName || !printable(sub) {
		return "", errors.New("no usable sub")
	}
	return sub, nil
}

// email returns the address unless the issuer says that nobody has checked it.
func (c claims) email() string {
	if verified, there := scalar(c["email_verified"]); there && verified != "true" {
		return ""
	}
	email, ok := c.text("email")
	if !ok || len(email) > maxName || !printable(email) {
		return ""
	}
	return email
}

// groups returns the groups that a claim lists. An error says why there are
// none although there might be.
func (c claims) groups(name string) ([]string, error) {
	if overage(c, name) {
		return nil, fmt.Errorf("the issuer left out the claim %q because there are too many groups; let it send application roles, or only the groups assigned to the application", name)
	}
	raw := c.lookup(name)
	if raw == nil {
		return nil, nil
	}
	if one, ok := scalar(raw); ok && raw[0] == '"' {
		raw, _ = json.Marshal([]string{one})
	}
	var groups []string
	if err := json.Unmarshal(raw, &groups); err != nil {
		return nil, fmt.Errorf("the claim %q is not a list of texts", name)
	}
	for _, group := range groups {
		if group == "" || len(group) > maxName || !printable(group) {
			return nil, fmt.Errorf("the claim %q holds something that cannot be the name of a group", name)
		}
	}
	return groups, nil
}

// overage reports whether the issuer refers to another place for a claim.
// learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference
func overage(c claims, name string) bool {
	var elsewhere map[string]json.RawMessage
	if err := json.Unmarshal(c["_claim_names"], &elsewhere); err == nil && elsewhere[name] != nil {
		return true
	}
	has, _ := scalar(c["hasgroups"])
	return has == "true"
}
