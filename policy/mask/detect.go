package mask

import (
	"fmt"
	"strings"
)

// A Detector finds one kind of sensitive text by its shape. Detectors are the
// second net, behind masks: they catch what was typed into free text, and
// cannot catch what was rearranged on purpose (reversed, encoded, cut in
// pieces). The zero value detects nothing.
type Detector uint8

// The detectors, gravest first. What each accepts, and what it leaves alone so
// that honest answers stay whole, is said where it is implemented.
const (
	noDetector   Detector = iota
	CardNumber            // card_number: payment cards, by Luhn's check digit
	SSN                   // ssn: US social security and taxpayer numbers, written with separators
	IBAN                  // iban: bank accounts, by length and check digits
	APIKey                // api_key: keys and tokens with a known prefix, JWTs, PEM private keys
	EmailAddress          // email
	PhoneNumber           // phone: with +country code, or as written in North America
	numDetectors
)

// The detectors' names in policy files, and what stands in for what they find.
// The constants hold nothing that a detector could take for a hit.
var detectors = [numDetectors]struct{ name, hidden string }{
	CardNumber:   {"card_number", "[card number]"},
	SSN:          {"ssn", "[ssn]"},
	IBAN:         {"iban", "[iban]"},
	APIKey:       {"api_key", "[api key]"},
	EmailAddress: {"email", "[email]"},
	PhoneNumber:  {"phone", "[phone]"},
}

// String returns the detector's name in policy files.
func (d Detector) String() string {
	if d > noDetector && d < numDetectors {
		return detectors[d].name
	}
	return "none"
}

// Hidden returns the text that stands in for what the detector found.
func (d Detector) Hidden() string {
	if d > noDetector && d < numDetectors {
		return detectors[d].hidden
	}
	return "[hidden]"
}

// UnmarshalText reads a detector's name.
func (d *Detector) UnmarshalText(text []byte) error {
	for i := noDetector + 1; i < numDetectors; i++ {
		if detectors[i].name == string(text) {
			*d = i
			return nil
		}
	}
	return fmt.Errorf("unknown detector %q; the detectors are %s", text, strings.Join(DetectorNames(), ", "))
}

// DetectorNames returns the names of all detectors, gravest first.
func DetectorNames() []string {
	names := make([]string, 0, numDetectors-1)
	for d := noDetector + 1; d < numDetectors; d++ {
		names = append(names, d.String())
	}
	return names
}

// A Span is a hit: text[Start:End].
type Span struct {
	Start, End int
	Detector   Detector
}

// Counts are how many hits each detector had.
type Counts [numDetectors]int64

// Add adds another text's counts.
func (c *Counts) Add(o Counts) {
	for i, n := range o {
		c[i] += n
	}
}

// Total is the sum over all detectors.
func (c *Counts) Total() int64 {
	var total int64
	for _, n := range c {
		total += n
	}
	return total
}

// ByName returns the counts that are not zero under their detectors' names;
// nil if there are none.
func (c *Counts) ByName() map[string]int64 {
	var m map[string]int64
	for i, n := range c {
		if n == 0 {
			continue
		}
		if m == nil {
			m = make(map[string]int64)
		}
		m[Detector(i).String()] = n
	}
	return m
}

// A Scanner looks for the hits of a set of detectors. It does not change after
// [NewScanner] and is safe for concurrent use. The zero Scanner finds nothing.
type Scanner struct {
	on     [numDetectors]bool
	digits int          // a run of fewer holds no hit
	start  [256]trigger // what a byte may be the beginning, or the heart, of
	shape  [256]uint8   // the first of keyShapes that begins with a byte
}

// trigger says what to look for at a byte.
type trigger uint8

const (
	nothing trigger = iota
	atDigit         // a run of digits, or an IBAN two bytes before
	atSign          // the @ of an address
	atWord          // a key's prefix
	atWide          // the first byte of a digit beyond ASCII
)

// NewScanner makes a scanner of the detectors with these names.
func NewScanner(names ...string) (*Scanner, error) {
	s := &Scanner{}
	for _, name := range names {
		var d Detector
		if err := d.UnmarshalText([]byte(name)); err != nil {
			return nil, fmt.Errorf("making a scanner: %w", err)
		}
		s.on[d] = true
	}
	switch {
	case s.on[PhoneNumber]:
		s.digits = minPhone
	case s.on[SSN]:
		s.digits = ssnLength
	default:
		s.digits = minCard
	}
	if s.on[CardNumber] || s.on[SSN] || s.on[PhoneNumber] || s.on[IBAN] {
		for c := '0'; c <= '9'; c++ {
			s.start[c] = atDigit
		}
	}
	if s.on[CardNumber] || s.on[SSN] || s.on[PhoneNumber] {
		for c := 0xC2; c <= 0xF4; c++ {
			s.start[c] = atWide
		}
	}
	if s.on[EmailAddress] {
		s.start['@'] = atSign
	}
	if s.on[APIKey] {
		for i := len(keyShapes) - 1; i >= 0; i-- {
			c := keyShapes[i].prefix[0]
			s.start[c], s.shape[c] = atWord, uint8(i)
		}
	}
	return s, nil
}

// Find returns the hits in text, in order and without overlaps; nil if there
// are none. It takes time linear in the length of text.
func (s *Scanner) Find(text string) []Span {
	var spans []Span
	var keys keyScan
	done := 0 // everything before is looked at, or belongs to a hit
	for i := 0; i < len(text); i++ {
		switch kind := s.start[text[i]]; kind {
		case atDigit, atWide:
			end, wide := 0, kind == atWide
			if wide {
				if _, size := wideDigit(text, i); size == 0 {
					continue
				}
			}
			if s.on[IBAN] && !wide {
				if sp, ok := findIBAN(text, done, i); ok {
					spans = append(spans, sp)
					done, i = sp.End, sp.End-1
					continue
				}
			}
			spans, end = s.findNumbers(spans, text, done, i)
			if n := len(spans); n > 0 {
				done = max(done, spans[n-1].End)
			}
			i = end - 1
		case atSign:
			if sp, ok := findEmail(text, done, i); ok {
				spans = append(spans, sp)
				done, i = sp.End, sp.End-1
			}
		case atWord:
			if i > 0 && isWordByte(text[i-1]) {
				continue
			}
			if sp, ok := keys.find(text, i, s.shape[text[i]]); ok {
				spans = append(spans, sp)
				done, i = sp.End, sp.End-1
			}
		default:
		}
	}
	return spans
}

// Redact returns text with every hit replaced by its detector's constant, and
// how many there were. Redacting the result again changes nothing. Text
// without hits is returned as it is, without an allocation.
func (s *Scanner) Redact(text string) (string, Counts) {
	var found Counts
	for {
		spans := s.Find(text)
		if len(spans) == 0 {
			return text, found
		}
		var b strings.Builder
		b.Grow(len(text))
		last := 0
		for _, sp := range spans {
			b.WriteString(text[last:sp.Start])
			b.WriteString(sp.Detector.Hidden())
			last = sp.End
			found[sp.Detector]++
		}
		b.WriteString(text[last:])
		// What surrounds a hit says what it is: with one hit gone, another
		// may show. Every round takes a digit, an @ or a prefix away.
		text = b.String()
	}
}

// isWordByte reports whether b continues a word of ASCII letters and digits.
func isWordByte(b byte) bool {
	return b >= '0' && b <= '9' || isLetter(b)
}

func isLetter(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
