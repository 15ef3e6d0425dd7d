package policy

import "slices"

// A who selects callers: members of any of the groups and any of the users,
// and of those only the kinds, if kinds are given. Kinds alone select all
// callers of these kinds. The zero who selects nobody.
type who struct {
	everyone bool
	groups   []string
	users    []user
	kinds    []CallerKind
}

// A user is one caller: by issuer and subject, or by e-mail address whoever
// the issuer is.
type user struct {
	issuer, subject string
	email           string // lower case
}

// matches reports whether the caller is selected. Groups are compared byte by
// byte, addresses without regard to the case of ASCII letters.
//
// An agent's rights are those of the groups in its own token. Where
// [Caller.Behind] is set, the rights that count are to become those that the
// agent and the person behind it both have: this is the one place to ask the
// same question of both.
func (w *who) matches(c *Caller) bool {
	if w.everyone {
		return true
	}
	if len(w.kinds) > 0 && !slices.Contains(w.kinds, c.Kind) {
		return false
	}
	if len(w.groups) == 0 && len(w.users) == 0 {
		return len(w.kinds) > 0
	}
	for _, g := range w.groups {
		if slices.Contains(c.Groups, g) {
			return true
		}
	}
	for _, u := range w.users {
		if u.matches(c) {
			return true
		}
	}
	return false
}

func (u *user) matches(c *Caller) bool {
	if u.email != "" {
		return lowerASCII(c.Email) == u.email
	}
	return u.subject != "" && u.subject == c.Subject && u.issuer == c.Issuer
}

// lowerASCII folds ASCII letters only: Unicode's folding would take the Kelvin
// sign for a k, and one address for another.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
