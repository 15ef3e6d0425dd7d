package mask

import (
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

func scanner(t testing.TB, names ...string) *Scanner {
	t.Helper()
	s, err := NewScanner(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRedact(t *testing.T) {
	all := scanner(t, DetectorNames()...)
	for _, tt := range []struct{ in, want string }{
		// Cards. The numbers are the networks' published test numbers.
		{"paid with 4111111111111111.", "paid with [card number]."},
		{"4111 1111 1111 1111", "[card number]"},
		{"4111-1111-1111-1111", "[card number]"},
		{"4111.1111.1111.1111", "[card number]"},
		{"4111 - 1111 - 1111 - 1111", "[card number]"},
		{"4111\u00a01111\u20111111\u200b1111", "[card number]"},
		{"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "[card number]"},
		{"41-11.11 1111111111", "[card number]"},
		{"cc4111111111111111x", "cc[card number]x"},
		{"ticket 12 4111 1111 1111 1111 9", "ticket 12 [card number] 9"},
		{"4222222222222", "[card number]"},
		{"3782 822463 10005", "[card number]"},
		{"5555555555554444,6011111111111117", "[card number],[card number]"},
		{"30569309025904 3530111333300000", "[card number] [card number]"},
		{"6304000000000000", "[card number]"},
		{"9999 9999 9999 9995", "[card number]"}, // no network's, but printed as a card
		{"٤١١١ ١١١١ ١١١١ ١١١١", "[card number]"},
		{"４１１１１１１１１１１１１１１１", "[card number]"},
		// Not cards.
		{"4111111111111112", "4111111111111112"},
		{"1700000000006", "1700000000006"}, // a time in milliseconds with Luhn's digit
		{"9999999999999995", "9999999999999995"},
		{"0.4111111111111111", "0.4111111111111111"},
		{"41.11111111111111", "41.11111111111111"},
		{"94111111111111111 41111111111111119", "94111111111111111 41111111111111119"},
		{"4111:1111:1111:1111", "4111:1111:1111:1111"},
		{"6f1ed002ab5595859014ebf0951522d94111111111111111", "6f1ed002ab5595859014ebf0951522d94111111111111111"},
		{"550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"},
		{"a1114111-1111-1111-1111-0000000000ab", "a1114111-1111-1111-1111-0000000000ab"},

		// Social security numbers.
		{"SSN 078-05-1120!", "SSN [ssn]!"},
		{"078 05 1120", "[ssn]"},
		{"078.05.1120", "[ssn]"},
		{"912-70-1234", "[ssn]"},
		{"000-05-1120 666-05-1120 912-05-1120 078-00-1120 078-05-0000", "000-05-1120 666-05-1120 912-05-1120 078-00-1120 078-05-0000"},
		{"078051120", "078051120"},
		{"2024-01-15 10:20:30", "2024-01-15 10:20:30"},
		{"078-05 1120", "078-05 1120"},

		// IBANs: the registry's examples.
		{"to DE89370400440532013000.", "to [iban]."},
		{"DE89 3704 0044 0532 0130 00", "[iban]"},
		{"gb82-west-1234-5698-7654-32 ok", "[iban] ok"},
		{"NO9386011117947", "[iban]"},
		{"MT84MALT011000012345MTLCAST001S", "[iban]"},
		{"DE88370400440532013000", "DE88370400440532013000"},
		{"XX89370400440532013000", "XX89370400440532013000"},
		{"DE8937040044053201300", "DE8937040044053201300"},
		{"ADE89370400440532013000", "ADE89370400440532013000"},

		// E-mail addresses.
		{"Ada <ada.lovelace+x@mail.example.com>, hello", "Ada <[email]>, hello"},
		{"jörg@müller.de", "[email]"},
		{"иван@пример.рф", "[email]"},
		{"联系ada@example.com。", "联系[email]。"},
		{"ada@example.com.", "[email]."},
		{"ada@localhost a@b @x.com user@1.2.3.4 a@b.c", "ada@localhost a@b @x.com user@1.2.3.4 a@b.c"},
		{"a@b@c.org", "a@[email]"},

		// Telephone numbers.
		{"+41 44 668 18 00", "[phone]"},
		{"call +1 (415) 555-2671 now", "call [phone] now"},
		{"(415) 555-2671", "[phone]"},
		{"1-415-555-2671", "[phone]"},
		{"415.555.2671", "[phone]"},
		{"4155552671 12-34-1678 100 200 300", "4155552671 12-34-1678 100 200 300"},
		{"x = 1+12345", "x = 1+12345"},
		{"+1 415 555 2671 4111 1111 1111 1111", "[card number]"}, // one run: nothing of the card remains

		// Keys. None of them was ever valid.
		{"AKIAIOSFODNN7EXAMPLE", "[api key]"},
		{"token=ghp_0123456789abcdefghijABCDEFGHIJ012345", "token=[api key]"},
		{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.-ignature_bytes", "[api key]"},
		{"Bearer sk-proj-abcdefghij0123456789", "Bearer [api key]"},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\nrest", "[api key]\nrest"},
		{"-----BEGIN PRIVATE KEY-----\nMIIBcut", "[api key]"},
		{"-----BEGIN CERTIFICATE-----\nMIIB", "-----BEGIN CERTIFICATE-----\nMIIB"},
		{"sk-learn-has-many-estimators-to-choose", "sk-learn-has-many-estimators-to-choose"},
		{"eyJub3QiOiJhIHRva2VuIn0123456789", "eyJub3QiOiJhIHRva2VuIn0123456789"},

		// Side by side.
		{"4111111111111111@example.com", "[card number]@example.com"},
		{"", ""},
		{"nothing to see", "nothing to see"},
		{"\xff4111111111111111\xfe", "\xff[card number]\xfe"},
	} {
		got, counts := all.Redact(tt.in)
		if got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if (counts.Total() > 0) != (tt.in != tt.want) {
			t.Errorf("Redact(%q) counts %d hits", tt.in, counts.Total())
		}
	}
}

// TestDetectorsAlone checks that a scanner finds what it was asked to find and
// nothing else.
func TestDetectorsAlone(t *testing.T) {
	samples := map[string]string{
		"card_number": "4111111111111111", "ssn": "078-05-1120", "iban": "DE89370400440532013000",
		"email": "ada@example.com", "phone": "+41 44 668 18 00", "api_key": "AKIAIOSFODNN7EXAMPLE",
	}
	if len(samples) != len(DetectorNames()) {
		t.Fatalf("%d samples for %d detectors", len(samples), len(DetectorNames()))
	}
	for _, name := range DetectorNames() {
		s := scanner(t, name)
		for of, sample := range samples {
			_, counts := s.Redact("x " + sample + " x")
			want := map[string]int64{name: 1}
			if of != name {
				want = nil
			}
			if got := counts.ByName(); len(got) != len(want) || got[name] != want[name] {
				t.Errorf("detector %s on %s of %q: counts %v, want %v", name, of, sample, got, want)
			}
		}
	}
}

// TestWideDigits checks that each detector of numbers reads other digits alone.
func TestWideDigits(t *testing.T) {
	for name, sample := range map[string]string{
		"card_number": "４１１１ １１１１ １１１１ １１１１", "ssn": "０７８-０５-１１２０", "phone": "４１５-５５５-２６７１",
	} {
		if _, counts := scanner(t, name).Redact(sample); counts.ByName()[name] != 1 {
			t.Errorf("%s in %q: %v", name, sample, counts.ByName())
		}
	}
}

func TestNewScannerUnknown(t *testing.T) {
	for _, name := range []string{"", "none", "cardnumber", "CARD_NUMBER"} {
		if _, err := NewScanner(name); err == nil || !strings.Contains(err.Error(), "card_number") {
			t.Errorf("NewScanner(%q): %v, want an error that lists the detectors", name, err)
		}
	}
	var zero Scanner
	if got, _ := zero.Redact("4111111111111111"); got != "4111111111111111" {
		t.Errorf("the zero scanner redacts: %q", got)
	}
}

// TestDetectorText checks that what is no detector has no name and still hides.
func TestDetectorText(t *testing.T) {
	for _, d := range []Detector{noDetector, numDetectors, 200} {
		if d.String() != "none" || d.Hidden() != "[hidden]" {
			t.Errorf("detector %d is %s and shows %s", uint8(d), d, d.Hidden())
		}
	}
	if CardNumber.Hidden() != "[card number]" || PhoneNumber.String() != "phone" {
		t.Errorf("the first and last detectors are %s and %s", CardNumber.Hidden(), PhoneNumber)
	}
}

// TestDigits holds digitAt against Unicode's own table: every decimal digit is
// one, with the value that its position in its block of ten gives it.
func TestDigits(t *testing.T) {
	want, run := 0, 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := string(r)
		v, size := digitAt(s, 0)
		if !unicode.Is(unicode.Nd, r) {
			run = 0
			if size != 0 {
				t.Errorf("%U is no digit, digitAt says %d", r, v)
			}
			continue
		}
		want = run % 10
		run++
		if size != len(s) || int(v) != want {
			t.Errorf("digitAt(%U) = %d, %d; want %d, %d", r, v, size, want, len(s))
		}
	}
}

// hostile are texts made to be read again and again.
var hostile = []string{"1", "1 ", "12-", "4111 ", "a@", "@a.", "sk-", "eyJ1-", "SG.", "DE89 ", "+1(", "-----BEGIN ", "-----BEGIN PRIVATE KEY", "４", "a.a@"}

// TestHostile: a megabyte of each is done at once. Read again from every byte,
// it would take hours.
func TestHostile(t *testing.T) {
	s := scanner(t, DetectorNames()...)
	for _, unit := range hostile {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Redact(strings.Repeat(unit, 1<<20/len(unit)))
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%q: still reading", unit)
		}
	}
}

// BenchmarkHostile reads hostile texts of two sizes: the throughput stays.
func BenchmarkHostile(b *testing.B) {
	s := scanner(b, DetectorNames()...)
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size>>10)+"KB", func(b *testing.B) {
			var texts []string
			for _, unit := range hostile {
				texts = append(texts, strings.Repeat(unit, size/len(unit)))
			}
			b.SetBytes(int64(size * len(texts)))
			for b.Loop() {
				for _, text := range texts {
					s.Redact(text)
				}
			}
		})
	}
}

func BenchmarkRedact(b *testing.B) {
	all, usual := scanner(b, DetectorNames()...), scanner(b, "card_number", "ssn")
	for _, bb := range []struct{ name, text string }{
		{"prose", "The customer asked whether the parcel would arrive before the weekend, and was told that it had left the depot in Basel. "},
		{"rows", "20240117,Basel,blue,shipped,2024-01-17 09:12:44.120,129.90,CHF,a1b2c3\n"},
		{"east", "お客様から週末までに荷物が届くかどうかのお問い合わせがありました。"},
		{"digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 "},
		{"hits", "card 4111 1111 1111 1111, ssn 078-05-1120, mail ada@example.com, the rest of the line is text. "},
	} {
		text := strings.Repeat(bb.text, 64<<10/len(bb.text))
		for name, s := range map[string]*Scanner{"all": all, "usual": usual} {
			b.Run(bb.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					s.Redact(text)
				}
			})
		}
	}
}
