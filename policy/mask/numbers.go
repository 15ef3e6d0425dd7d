package mask

import (
	"unicode"
	"unicode/utf8"
)

// A group is digits that stand together: text[start:end], and
// digits[first:first+n] of its run.
type group struct {
	start, end int
	first, n   int
	gap        gap // what separates it from the group before
}

// A gap is what stands between two groups of a run.
type gap uint8

const (
	noGap    gap = iota // the run begins
	dotGap              // one '.'
	spaceGap            // one space of any kind
	dashGap             // one dash of any kind
	otherGap            // two or three separators, or a rarer one
)

// maxGap is how many separators may stand between two groups of one number, as
// in "4111 - 1111".
const maxGap = 3

// A run is a maximal sequence of groups of digits with separators between.
type run struct {
	groups []group
	digits []byte // their values, 0 to 9
}

// skipRun returns where the run that begins at text[i] ends, and how many
// digits it has.
func skipRun(text string, i int) (end, digits int) {
	for {
		for i < len(text) {
			size := 1
			if text[i]-'0' > 9 {
				if _, size = digitAt(text, i); size == 0 {
					break
				}
			}
			i += size
			digits++
		}
		kind, next := gapAt(text, i)
		if kind == noGap {
			return i, digits
		}
		i = next
	}
}

// readRun reads the run that begins at text[i], which is a digit, into groups
// and digits. Digits of every script count, and so do the usual spaces, dashes
// and invisible characters as separators: what looks like a number to a person
// is one.
func readRun(text string, i int, groups []group, digits []byte) run {
	g := group{start: i}
	for {
		for i < len(text) {
			v, size := text[i]-'0', 1
			if v > 9 {
				if v, size = digitAt(text, i); size == 0 {
					break
				}
			}
			digits = append(digits, v)
			g.n++
			i += size
		}
		g.end = i
		groups = append(groups, g)
		kind, next := gapAt(text, i)
		if kind == noGap {
			return run{groups, digits}
		}
		g = group{start: next, first: len(digits), gap: kind}
		i = next
	}
}

// digitAt returns the value and the length of the digit at text[i]; a length
// of 0 if there is none.
func digitAt(text string, i int) (byte, int) {
	c := text[i]
	if c-'0' <= 9 {
		return c - '0', 1
	}
	if c < utf8.RuneSelf {
		return 0, 0
	}
	return wideDigit(text, i)
}

// wideDigit is digitAt beyond ASCII.
func wideDigit(text string, i int) (byte, int) {
	r, size := utf8.DecodeRuneInString(text[i:])
	// No digits before the Arabic ones, nor among the scripts of East Asia:
	// most text beyond ASCII goes no further.
	if r < '\u0660' || r > '\u1C59' && r < '\uA620' || !unicode.Is(unicode.Nd, r) {
		return 0, 0
	}
	for _, t := range unicode.Nd.R16 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), size
		}
	}
	for _, t := range unicode.Nd.R32 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), size
		}
	}
	return 0, 0
}

// gapAt returns the separators at text[i] if a digit follows them, and where
// that digit is.
func gapAt(text string, i int) (gap, int) {
	if i+1 >= len(text) || text[i] < utf8.RuneSelf && asciiGap(text[i]) == noGap {
		return noGap, 0 // most runs end here
	}
	kind := noGap
	for range maxGap + 1 {
		if i >= len(text) {
			return noGap, 0
		}
		if _, size := digitAt(text, i); size > 0 {
			return kind, i
		}
		this, size := separatorAt(text, i)
		if this == noGap {
			return noGap, 0
		}
		if kind == noGap {
			kind = this
		} else {
			kind = otherGap
		}
		i += size
	}
	return noGap, 0
}

func asciiGap(c byte) gap {
	switch c {
	case '.':
		return dotGap
	case ' ':
		return spaceGap
	case '-':
		return dashGap
	case '\t', '(', ')':
		return otherGap
	default:
		return noGap
	}
}

func separatorAt(text string, i int) (gap, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return asciiGap(c), 1
	}
	r, size := utf8.DecodeRuneInString(text[i:])
	switch {
	case unicode.Is(unicode.Zs, r):
		return spaceGap, size
	case unicode.Is(unicode.Pd, r) || r == '\u2212': // the minus sign
		return dashGap, size
	case unicode.Is(unicode.Cf, r), // zero-width spaces and joiners, soft hyphen
		r == '\u00B7', r == '\u2022', r == '\uFF0E': // dots of other kinds
		return otherGap, size
	default:
		return noGap, 0
	}
}

// findNumbers appends the hits of the run of digits at text[i] to spans and
// returns where the run ends. Hits that overlap become one, so that a wrong
// guess about the beginning of a number does not leave its end behind. Nothing
// before text[from] belongs to a hit.
func (s *Scanner) findNumbers(spans []Span, text string, from, i int) ([]Span, int) {
	runEnd, n := skipRun(text, i)
	if n < s.digits {
		return spans, runEnd
	}
	// Most runs are short and stay on the stack.
	var groupBuf [8]group
	var digitBuf [32]byte
	r := readRun(text, i, groupBuf[:0], digitBuf[:0])
	begin := len(spans)
	for g := range r.groups {
		for d := CardNumber; d < numDetectors; d++ {
			if !s.on[d] {
				continue
			}
			var start, end int
			switch d {
			case CardNumber:
				start, end = r.card(g)
			case SSN:
				start, end = r.ssn(g)
			case PhoneNumber:
				start, end = r.phone(text, from, g)
			default:
				continue
			}
			if start == end || inIdentifier(text, r.groups[g].start, end) {
				continue
			}
			spans = merge(spans, begin, Span{start, end, d})
		}
	}
	return spans, runEnd
}

// merge appends sp to spans, or widens the last of spans[begin:] where the two
// overlap; the gravest detector names what comes of it.
func merge(spans []Span, begin int, sp Span) []Span {
	for n := len(spans); n > begin && sp.Start < spans[n-1].End; n-- {
		last := spans[n-1]
		sp = Span{min(sp.Start, last.Start), max(sp.End, last.End), min(sp.Detector, last.Detector)}
		spans = spans[:n-1]
	}
	return append(spans, sp)
}

// The lengths of card numbers (ISO/IEC 7812).
const minCard, maxCard = 13, 19

// card returns the widest card number that begins with group g. A card number
// has 13 to 19 digits in whole groups, Luhn's check digit, and either a prefix
// and length of a card network or the grouping that cards are printed with.
//
// A number with one dot and no other separator is a decimal fraction and not a
// card, and digits inside a longer group are a longer number.
func (r *run) card(g int) (start, end int) {
	first := r.groups[g]
	for h, n := g, 0; h < len(r.groups); h++ {
		last := r.groups[h]
		n += last.n
		if n > maxCard {
			break
		}
		if n < minCard || h == g+1 && last.gap == dotGap || h == g && r.fraction(g) {
			continue
		}
		digits := r.digits[first.first : first.first+n]
		if luhn(digits) && (network(digits) || printed(r.groups[g:h+1])) {
			start, end = first.start, last.end
		}
	}
	return start, end
}

// fraction reports whether group g is what follows the dot of a decimal
// number: "0.4111111111111111".
func (r *run) fraction(g int) bool {
	return r.groups[g].gap == dotGap && r.groups[g-1].gap != dotGap
}

// luhn checks the last digit of a card number (ISO/IEC 7812-1, annex B).
func luhn(digits []byte) bool {
	sum := 0
	for i, d := range digits {
		v := int(d)
		if (len(digits)-i)%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// network reports whether digits begin and are as long as the numbers of a
// card network.
func network(digits []byte) bool {
	n := len(digits)
	p2 := int(digits[0])*10 + int(digits[1])
	p3 := p2*10 + int(digits[2])
	p4 := p3*10 + int(digits[3])
	switch {
	case p2 >= 40 && p2 <= 49: // Visa
		return n == 13 || n == 16 || n == 19
	case p2 >= 51 && p2 <= 55, p4 >= 2221 && p4 <= 2720: // Mastercard
		return n == 16
	case p2 == 34, p2 == 37: // American Express
		return n == 15
	case p3 >= 300 && p3 <= 305, p4 == 3095, p2 == 36, p2 == 38, p2 == 39: // Diners Club
		return n >= 14
	case p4 >= 3528 && p4 <= 3589: // JCB
		return n >= 16
	case p4 >= 2200 && p4 <= 2205: // Mir, Borica
		return n >= 16
	case p2 == 50, p2 >= 56 && p2 <= 69: // Maestro, Discover, UnionPay, RuPay, Verve
		return true
	case p4 == 8600, p4 == 9860, p4 == 9792: // Uzcard, Humo, Troy
		return n == 16
	default:
		return false
	}
}

// printed reports whether digits stand in the groups that cards show: 4-4-4-4,
// 4-4-4-4-3, 4-6-5 or 4-6-4.
func printed(groups []group) bool {
	size := func(i int) int { return groups[i].n }
	switch len(groups) {
	case 3:
		return size(0) == 4 && size(1) == 6 && (size(2) == 5 || size(2) == 4)
	case 4, 5:
		return size(0) == 4 && size(1) == 4 && size(2) == 4 && size(3) == 4 && (len(groups) == 4 || size(4) == 3)
	default:
		return false
	}
}

// ssnLength is how many digits a social security number has.
const ssnLength = 9

// ssn returns the social security number that begins with group g: 3-2-4
// digits with one separator between, twice the same. Numbers that are never
// issued are left alone, but for those of taxpayers without a social security
// number, which look alike. Nine digits without separators may be anything.
func (r *run) ssn(g int) (start, end int) {
	if g+2 >= len(r.groups) {
		return 0, 0
	}
	a, b, c := r.groups[g], r.groups[g+1], r.groups[g+2]
	if a.n != 3 || b.n != 2 || c.n != 4 || b.gap != c.gap {
		return 0, 0
	}
	area, mid, serial := r.value(a), r.value(b), r.value(c)
	taxpayer := area >= 900 && mid >= 50
	if area == 0 || area == 666 || area >= 900 && !taxpayer || mid == 0 || serial == 0 {
		return 0, 0
	}
	return a.start, c.end
}

// value is the number that a short group spells.
func (r *run) value(g group) int {
	v := 0
	for _, d := range r.digits[g.first : g.first+g.n] {
		v = v*10 + int(d)
	}
	return v
}

// The lengths of telephone numbers (ITU-T E.164), country code included; below
// eight digits there is no telling them from other numbers.
const minPhone, maxPhone = 8, 15

// phone returns the telephone number that begins with group g: after a +, 8 to
// 15 digits however they are grouped; without one, 3-3-4 as the North American
// plan has it, with or without a 1 before. A + or ( that belongs to the number
// is part of the hit. Ten digits without separators may be anything.
func (r *run) phone(text string, from, g int) (start, end int) {
	first := r.groups[g]
	start = first.start
	if start > from && text[start-1] == '(' {
		start--
	}
	if start > from && text[start-1] == '+' {
		n := 0
		for _, last := range r.groups[g:] {
			if n += last.n; n > maxPhone {
				break
			}
			if n >= minPhone {
				end = last.end
			}
		}
		if end > 0 {
			return start - 1, end
		}
		return 0, 0
	}
	h := g
	if first.n == 1 && r.digits[first.first] == 1 {
		h++
	}
	if h+2 >= len(r.groups) {
		return 0, 0
	}
	a, b, c := r.groups[h], r.groups[h+1], r.groups[h+2]
	if a.n != 3 || b.n != 3 || c.n != 4 || r.digits[a.first] < 2 || r.digits[b.first] < 2 {
		return 0, 0
	}
	return start, c.end
}

// inIdentifier reports whether text[start:end] is part of a UUID or of a long
// hexadecimal number, such as a hash: digits there mean nothing, and changing
// them would break keys that answers are joined by.
func inIdentifier(text string, start, end int) bool {
	hex := func(b byte) bool {
		return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
	}
	const uuid, hash = 36, 32 // lengths
	letters, dashes := 0, 0
	lo, hi := start, start
	for lo > 0 && start-lo <= maxIdentifier && (hex(text[lo-1]) || text[lo-1] == '-') {
		lo--
	}
	for hi < len(text) && hi-start <= maxIdentifier && (hex(text[hi]) || text[hi] == '-') {
		hi++
	}
	if hi < end {
		return false
	}
	for i := lo; i < hi; i++ {
		switch {
		case text[i] == '-':
			dashes++
		case text[i] > '9':
			letters++
		}
	}
	switch {
	case letters == 0:
		return false
	case dashes == 0:
		return hi-lo >= hash
	case hi-lo == uuid && dashes == 4:
		return text[lo+8] == '-' && text[lo+13] == '-' && text[lo+18] == '-' && text[lo+23] == '-'
	default:
		return false
	}
}

// maxIdentifier is how far inIdentifier looks to either side, in bytes. SHA-512
// has 128 hexadecimal digits.
const maxIdentifier = 256
