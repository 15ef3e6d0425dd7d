package identity

import (
	"errors"
	"slices"
	"time"

	"querywarden/policy"
)

// A Revocation calls tokens back before their time is over. It is for those
// for which all that it names is true; one that names nothing is an error.
type Revocation struct {
	Issuer  string    `yaml:"issuer"`
	Subject string    `yaml:"subject"` // whose: the token's subject, or one that acts
	Session string    `yaml:"session"` // sid or jti
	Before  time.Time `yaml:"before"`  // issued before then
}

// revocations are the list that is in force.
type revocations struct {
	unknown error // why there is no list; nothing counts then
	by      map[string][]Revocation
}

// Revoke puts a list in force, in the place of the one before. Tokens that were
// accepted before are refused from now on.
func (v *Verifier) Revoke(list []Revocation) {
	r := &revocations{by: map[string][]Revocation{}}
	for _, one := range list {
		key := one.Session
		if key == "" {
			key = one.Subject
		}
		r.by[key] = append(r.by[key], one)
	}
	v.revoked.Store(r)
}

// RevokeAll refuses all tokens until the next [Verifier.Revoke]: the list could
// not be read, so nobody knows which tokens are good.
func (v *Verifier) RevokeAll(why error) {
	if why == nil {
		why = errors.New("nobody said why")
	}
	v.revoked.Store(&revocations{unknown: why})
}

// Revoked reports whether a sign-in that was accepted before has been called
// back: one of this person, with this session (sid or jti, may be empty),
// issued then. It is for what outlives a token.
func (v *Verifier) Revoked(who policy.Identity, session string, issued time.Time) bool {
	r := v.revoked.Load()
	return r.unknown != nil || r.names(who.Issuer, []string{who.Subject}, []string{session}, issued)
}

// checkRevoked looks whether a token has been called back.
func (v *Verifier) checkRevoked(c claims, t Token) error {
	r := v.revoked.Load()
	if r.unknown != nil {
		return refuse(ListUnavailable, r.unknown)
	}
	if len(r.by) == 0 {
		return nil
	}
	var subjects []string
	for next := c; next != nil; {
		if sub, ok := next.text("sub"); ok {
			subjects = append(subjects, sub)
		}
		inner, err := object(next["act"])
		if err != nil {
			break
		}
		next = inner
	}
	issuer, _ := c.text("iss")
	if r.names(issuer, subjects, []string{t.ID, t.Session}, t.Issued) {
		return refuse(Revoked, nil)
	}
	return nil
}

// names reports whether the list is for a token of any of these subjects and
// sessions.
func (r *revocations) names(issuer string, subjects, sessions []string, issued time.Time) bool {
	fits := func(one Revocation) bool {
		return (one.Issuer == "" || one.Issuer == issuer) &&
			(one.Subject == "" || slices.Contains(subjects, one.Subject)) &&
			(one.Session == "" || slices.Contains(sessions, one.Session)) &&
			(one.Before.IsZero() || issued.Before(one.Before))
	}
	for _, keys := range [][]string{{""}, subjects, sessions} {
		for _, key := range keys {
			for _, one := range r.by[key] {
				if fits(one) {
					return true
				}
			}
		}
	}
	return false
}
