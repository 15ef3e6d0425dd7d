package mask

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// seeds are texts on the edges between detectors.
var seeds = []string{
	"", "4111 1111 1111 1111", "078-05-1120", "DE89 3704 0044 0532 0130 00", "a@b.co", "+1 (415) 555-2671",
	"ghp_0123456789abcdefghijABCDEFGHIJ012345", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----",
	"550e8400-e29b-41d4-a716-446655440000", "0.4111111111111111", "４１１１１１１１１１１１１１１１", "\xff\xfe4\x80",
	"123-456-7890-4111-1111-1111-1111@x.org", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "deadbeefdeadbeef078-05-1120deadbeef",
}

func FuzzRedact(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	s := scanner(f, DetectorNames()...)
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for _, sp := range s.Find(text) {
			if sp.Start < end || sp.End <= sp.Start || sp.End > len(text) || sp.Detector == noDetector {
				t.Fatalf("span %+v after %d in %q", sp, end, text)
			}
			end = sp.End
		}
		once, counts := s.Redact(text)
		if (counts.Total() == 0) != (once == text) {
			t.Errorf("%d hits change %q to %q", counts.Total(), text, once)
		}
		if twice, more := s.Redact(once); twice != once || more.Total() != 0 {
			t.Errorf("%q becomes %q, and that %q", text, once, twice)
		}
	})
}

// FuzzCard checks that no card number survives, however it is written and
// whatever stands around it.
func FuzzCard(f *testing.F) {
	f.Add("", "", uint64(0), uint64(0))
	f.Add("order 12 ", " thanks", uint64(411111111111111), uint64(0x1111))
	f.Add("078-05-", "-1120", uint64(550000000000000), uint64(1<<40))
	s := scanner(f, "card_number")
	all := scanner(f, DetectorNames()...)
	f.Fuzz(func(t *testing.T, before, after string, payload, layout uint64) {
		card := spell(cardOf(payload), layout)
		if card == "" {
			t.Skip("a decimal number")
		}
		// The marks keep the neighbours from being part of the number.
		text := before + "; " + card + " ;" + after
		for _, s := range []*Scanner{s, all} {
			out, counts := s.Redact(text)
			if strings.Contains(out, card) || counts.Total() == 0 {
				t.Errorf("%q survives in %q", card, out)
			}
		}
	})
}

// cardOf makes a card number of a network: payload chooses the network and the
// account, and the check digit is added.
func cardOf(payload uint64) []byte {
	networks := []struct {
		prefix string
		length int
	}{
		{"4", 13}, {"4", 16}, {"4", 19}, {"51", 16}, {"55", 16}, {"2221", 16}, {"2720", 16}, {"34", 15}, {"37", 15},
		{"36", 14}, {"300", 14}, {"3095", 16}, {"38", 19}, {"3528", 16}, {"3589", 19}, {"6011", 16}, {"62", 19}, {"2204", 16},
		{"50", 13}, {"6304", 13}, {"69", 19}, {"8600", 16}, {"9792", 16},
	}
	n := networks[payload%uint64(len(networks))]
	payload /= uint64(len(networks))
	digits := make([]byte, 0, n.length)
	for i := range n.prefix {
		digits = append(digits, n.prefix[i]-'0')
	}
	for len(digits) < n.length-1 {
		digits = append(digits, byte(payload%10))
		payload /= 10
	}
	// Luhn's check digit is the one of ten that fits; try them.
	for d := byte(0); d < 10; d++ {
		sum := 0
		with := append(digits, d)
		for i := range with {
			v := int(with[len(with)-1-i])
			if i%2 == 1 {
				v = v*2/10 + v*2%10
			}
			sum += v
		}
		if sum%10 == 0 {
			return with
		}
	}
	return nil
}

// spell writes digits with separators where layout has bits; empty if what
// comes of it is a decimal number, which no card is written as.
func spell(digits []byte, layout uint64) string {
	separators := []string{" ", "-", ".", " - "}
	var b strings.Builder
	dots, others := 0, 0
	for i, d := range digits {
		if bits := layout >> (3 * i % 63) & 7; i > 0 && bits >= 4 {
			sep := separators[bits-4]
			if sep == "." {
				dots++
			} else {
				others++
			}
			b.WriteString(sep)
		}
		b.WriteByte('0' + d)
	}
	if dots == 1 && others == 0 {
		return ""
	}
	return b.String()
}

// TestCards runs FuzzCard's check over many cards in any test run.
func TestCards(t *testing.T) {
	s := scanner(t, "card_number")
	rapid.Check(t, func(t *rapid.T) {
		digits := cardOf(rapid.Uint64().Draw(t, "payload"))
		card := spell(digits, rapid.Uint64().Draw(t, "layout"))
		if card == "" {
			return
		}
		before := rapid.StringMatching(`([a-z,;:]|[0-9]{1,3} )*[a-z:;]`).Draw(t, "before")
		if out, _ := s.Redact(before + card); strings.Contains(out, card) {
			t.Fatalf("%q survives in %q", card, out)
		}
		// One digit off is no card any more, where it is written in one piece.
		digits[len(digits)-1] = (digits[len(digits)-1] + 1) % 10
		if not := spell(digits, 0); not != "" {
			if out, _ := s.Redact(not); out != not {
				t.Fatalf("%q fails Luhn's check and becomes %q", not, out)
			}
		}
	})
}

// TestKeyShapes checks that the shapes are sorted, as NewScanner needs them,
// and that each finds its own.
func TestKeyShapes(t *testing.T) {
	s := scanner(t, "api_key")
	for i, shape := range keyShapes {
		if i > 0 && keyShapes[i-1].prefix >= shape.prefix {
			t.Errorf("%q stands before %q", keyShapes[i-1].prefix, shape.prefix)
		}
		if shape.prefix == pemBegin {
			continue
		}
		for _, c := range []struct {
			tail string
			hit  bool
		}{
			{strings.Repeat("a", shape.min-1-2*shape.dots) + strings.Repeat(".b", shape.dots) + "1", true},
			{strings.Repeat("a", shape.min-2-2*shape.dots) + strings.Repeat(".b", shape.dots) + "1", false},
			{strings.Repeat("a", shape.min) + strings.Repeat(".b", shape.dots), false},
		} {
			text := shape.prefix + c.tail
			out, _ := s.Redact("(" + text + ")")
			want := "(" + text + ")"
			if c.hit {
				want = "([api key])"
			}
			if out != want {
				t.Errorf("%q becomes %q, want %q", text, out, want)
			}
		}
	}
}
