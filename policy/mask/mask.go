// Package mask hides values: as SQL expressions that stand where a column
// stood ([Mask.SQL]), and as detectors over text that is about to leave
// ([Scanner]).
//
// # Masks
//
// A mask is written as one word, with a number where it takes one:
//
//	redact      nothing: a constant for text, NULL for every other type
//	null        nothing: NULL
//	hash        which values are equal, and which are NULL
//	email       the domain of an e-mail address
//	partial(n)  the last n characters of a value of at least 2n characters
//	year        the year of a date or timestamp
//	range(n)    the bucket of width n that a number is in: its lower bound
//
// Each line says all that the mask lets out. redact and null also hide whether
// there is a value; email and partial answer the same for NULL as for a value
// that is too short or no address. hash, year and range keep NULL.
//
// The zero [Mask] is redact. A mask that does not fit the column's type (year
// of a text, range of a text, anything but redact of a VARIANT) hides
// everything, as redact does. No mask is the absence of one: there is no word
// for it.
//
// # Which of several masks
//
// Masks are ordered by what they let out, and that order is a partial one:
// neither of email and partial(4) shows less than the other. Where several
// masks stand on one column, [Strictest] answers what all of them let out: the
// mask itself where they are equal, the common buckets of two ranges, and
// nothing otherwise.
//
// # The hash
//
// Snowflake has no HMAC in SQL. The hash of a value v under a key is
//
//	SHA2(outer || SHA2(inner || v, 256), 256)
//
// with outer and inner the lower-case hexadecimal HMAC-SHA256 of the key over
// two fixed labels, and SHA2 as Snowflake defines it: lower-case hexadecimal
// digits of the digest of the text's UTF-8 bytes. This is HMAC's nesting with
// two independent keys of one block each instead of one key with two pads, so
// that a digest cannot be extended. Without the key a hash tells equality and
// nothing else; with it, a value from a small set (a birth date, a phone
// number) is found by trying them all. The key therefore belongs to the gate,
// and the text that [Mask.SQL] returns for a hash must not be shown: outer and
// inner stand in it. A caller that wants to show a statement asks again with
// [HiddenKey].
package mask

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is what a mask does. The zero value redacts.
type Kind uint8

// The kinds of mask; the package comment says what each lets out.
const (
	Redact Kind = iota
	Null
	Hash
	Email
	Partial
	Year
	Range
	numKinds
)

var kindNames = [numKinds]string{
	Redact: "redact", Null: "null", Hash: "hash", Email: "email", Partial: "partial", Year: "year", Range: "range",
}

// String returns the kind's word; an unknown kind is redact.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return kindNames[Redact]
}

// The bounds of a mask's number. partial(0) would be a redact in disguise and
// range(1) no mask at all.
const (
	minPartial, maxPartial = 1, 64
	minRange, maxRange     = 2, 1_000_000_000_000_000
)

// A Mask says what remains visible of a value. Masks are comparable values;
// the zero Mask hides everything. N is the number of [Partial] and [Range] and
// 0 for every other kind; a Mask with an N out of bounds redacts.
type Mask struct {
	Kind Kind
	N    int64
}

// normal returns the mask as it acts: m, or redact where m makes no sense.
func (m Mask) normal() Mask {
	switch m.Kind {
	case Redact, Null, Hash, Email, Year:
		return Mask{Kind: m.Kind}
	case Partial:
		if m.N >= minPartial && m.N <= maxPartial {
			return m
		}
	case Range:
		if m.N >= minRange && m.N <= maxRange {
			return m
		}
	default:
	}
	return Mask{}
}

// String returns the mask as policy files write it.
func (m Mask) String() string {
	m = m.normal()
	if m.N != 0 {
		return m.Kind.String() + "(" + strconv.FormatInt(m.N, 10) + ")"
	}
	return m.Kind.String()
}

// MarshalText makes masks words in JSON and YAML.
func (m Mask) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mask as policy files write it, and nothing else: no
// spaces, no upper case, no sign, no leading zero.
func (m *Mask) UnmarshalText(text []byte) error {
	word, number, hasNumber := strings.Cut(string(text), "(")
	kind, ok := kindOf(word)
	if !ok {
		return fmt.Errorf("unknown mask %q; a mask is one of redact, null, hash, email, partial(n), year, range(n)", text)
	}
	if takesNumber := kind == Partial || kind == Range; !takesNumber {
		if hasNumber {
			return fmt.Errorf("mask %q takes no number", word)
		}
		*m = Mask{Kind: kind}
		return nil
	}
	lo, hi := int64(minPartial), int64(maxPartial)
	if kind == Range {
		lo, hi = minRange, maxRange
	}
	digits, closed := strings.CutSuffix(number, ")")
	n, err := strconv.ParseInt(digits, 10, 64)
	// Formatting the number again refuses what ParseInt is lenient about.
	if !hasNumber || !closed || err != nil || strconv.FormatInt(n, 10) != digits || n < lo || n > hi {
		return fmt.Errorf("mask %q needs a whole number from %d to %d in parentheses, as in %s(%d)", text, lo, hi, word, max(lo, 4))
	}
	*m = Mask{Kind: kind, N: n}
	return nil
}

func kindOf(word string) (Kind, bool) {
	for k, name := range kindNames {
		if name == word {
			return Kind(k), true
		}
	}
	return Redact, false
}

// Strictest returns a mask that lets out no more than a and no more than b
// does. It is commutative, associative and idempotent, so the order in which
// masks are met does not matter, and redact absorbs every other mask.
func Strictest(a, b Mask) Mask {
	a, b = a.normal(), b.normal()
	if a == b {
		return a
	}
	if a.Kind == Range && b.Kind == Range {
		// The bounds of buckets that both have are the multiples of the
		// least common multiple of the widths.
		if n := a.N / gcd(a.N, b.N); n <= maxRange/b.N {
			return Mask{Kind: Range, N: n * b.N}
		}
	}
	// Two masks of different kinds have nothing in common. Nor have two
	// partials anything that could be written: partial(8) hides values of 8 to
	// 15 characters, of which partial(4) shows the end.
	return Mask{}
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
