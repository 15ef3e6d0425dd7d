package identity_test

import (
	"errors"
	"testing"
	"time"

	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

func TestRevocation(t *testing.T) {
	p := identitytest.New(t)
	v := newVerifier(t, p, nil)
	iat := time.Now().Truncate(time.Second)
	token := p.Token(audience, map[string]any{
		"sub": "ada", "jti": "token-1", "sid": "sign-in-1", "iat": iat.Unix(), "act": map[string]any{"sub": "agent", "act": map[string]any{"sub": "first"}},
	})
	for name, test := range map[string]struct {
		list    []identity.Revocation
		revoked bool
	}{
		"nothing":                      {nil, false},
		"the subject":                  {[]identity.Revocation{{Subject: "ada"}}, true},
		"the subject, of this issuer":  {[]identity.Revocation{{Issuer: p.URL(), Subject: "ada"}}, true},
		"the subject, of another":      {[]identity.Revocation{{Issuer: "https://other.example", Subject: "ada"}}, false},
		"another subject":              {[]identity.Revocation{{Subject: "grace"}}, false},
		"the agent":                    {[]identity.Revocation{{Subject: "agent"}}, true},
		"an agent before":              {[]identity.Revocation{{Subject: "first"}}, true},
		"the token":                    {[]identity.Revocation{{Session: "token-1"}}, true},
		"the sign-in":                  {[]identity.Revocation{{Session: "sign-in-1"}}, true},
		"another session":              {[]identity.Revocation{{Session: "token-10"}}, false},
		"a session is no subject":      {[]identity.Revocation{{Subject: "sign-in-1"}, {Session: "ada"}}, false},
		"issued before":                {[]identity.Revocation{{Before: iat.Add(time.Second)}}, true},
		"not issued before":            {[]identity.Revocation{{Before: iat}}, false},
		"hers, issued before":          {[]identity.Revocation{{Subject: "ada", Before: iat.Add(time.Second)}}, true},
		"hers, not issued before":      {[]identity.Revocation{{Subject: "ada", Before: iat}}, false},
		"the issuer":                   {[]identity.Revocation{{Issuer: p.URL()}}, true},
		"the second of several":        {[]identity.Revocation{{Subject: "grace"}, {Subject: "ada"}}, true},
		"all of one have to be true":   {[]identity.Revocation{{Subject: "ada", Session: "other"}}, false},
		"all of one, and they are":     {[]identity.Revocation{{Subject: "ada", Session: "token-1", Issuer: p.URL()}}, true},
		"the same session, other subj": {[]identity.Revocation{{Subject: "grace", Session: "token-1"}}, false},
	} {
		v.Revoke(test.list)
		want := identity.Reason("")
		if test.revoked {
			want = identity.Revoked
		}
		if _, err := v.Verify(t.Context(), token); reason(t, err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}

	v.RevokeAll(errors.New("the file is broken"))
	_, err := v.Verify(t.Context(), token)
	var refused *identity.Error
	if reason(t, err) != identity.ListUnavailable || !errors.As(err, &refused) || !refused.Passing() {
		t.Errorf("without a list: %v", err)
	}
	ada := policy.Identity{Issuer: p.URL(), Subject: "ada"}
	if !v.Revoked(ada, "", iat) {
		t.Error("without a list a sign-in goes on")
	}
	v.Revoke([]identity.Revocation{{Session: "sign-in-1"}})
	if !v.Revoked(ada, "sign-in-1", iat) || v.Revoked(ada, "", iat) || v.Revoked(ada, "sign-in-2", iat) {
		t.Error("sign-ins that outlive their token are not told apart")
	}
	v.Revoke(nil)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("with an empty list again: %v", err)
	}
}
