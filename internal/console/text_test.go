package console

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"querywarden/approvals"
	"querywarden/audit"
)

func TestSpans(t *testing.T) {
	join := func(list []span) string {
		var b strings.Builder
		for _, s := range list {
			if s.Kind == "" {
				b.WriteString(s.Text)
			} else {
				b.WriteString("[" + s.Kind + " " + s.Text + "]")
			}
		}
		return b.String()
	}
	drop := []approvals.Mark{{Start: 0, End: 10, Kind: "effect"}, {Start: 11, End: 14, Kind: "object"}, {Start: 12, End: 13, Kind: "other"}}
	for _, c := range []struct {
		text  string
		marks []approvals.Mark
		lines bool
		want  string
	}{
		{"", nil, false, ""},
		{"DROP TABLE A.B", drop, false, "[effect DROP TABLE] [object A.B]"},
		{"a\u202eb", nil, true, "a[hidden U+202E]b"},
		{"a\u202e\u202eb", nil, true, "a[hidden U+202E][hidden U+202E]b"},
		{"a\nb\tc", nil, true, "a\nb\tc"},
		{"a\r\nb\rc", nil, true, "a\nb[hidden U+000D]c"},
		{"a\nb\tc", nil, false, "a[hidden U+000A]\nb[hidden U+0009]c"},
		{"a\xffb\uFFFD", nil, true, "a[hidden 0xFF]b[hidden U+FFFD]"},
		{"DROP\u200b TABLE A.B", drop, false, "[effect DROP][hidden U+200B][effect  TA]B[object LE ]A.B"},
		{"é 日本 😀 שלום", nil, false, "é 日本 😀 שלום"},
		{"a\u00a0b", nil, true, "a[hidden U+00A0]b"},
		{"x", []approvals.Mark{{Start: -9, End: 99, Kind: "object"}}, false, "[object x]"},
		{"x", []approvals.Mark{{Start: 9, End: 1, Kind: "object"}}, false, "x"},
	} {
		if got := join(spans(c.text, c.marks, c.lines)); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// FuzzSpans: whatever the text, what is shown of it holds nothing that hides,
// nothing is left out, and it is text.
func FuzzSpans(f *testing.F) {
	for _, s := range []string{"DROP TABLE T", "a\u202eb\xff\r\n\t", "\u2066\U000E0041", "\r\n\r", ""} {
		f.Add(s, 0, 4, true)
		f.Add(s, -1, 99, false)
	}
	f.Fuzz(func(t *testing.T, s string, start, end int, lines bool) {
		plain := 0
		for _, p := range spans(s, []approvals.Mark{{Start: start, End: end, Kind: "object"}, {Start: end, End: start, Kind: s}}, lines) {
			if !utf8.ValidString(p.Text) || approvals.Hidden(strings.Map(lineless, p.Text)) != nil {
				t.Fatalf("%q is shown of %q", p.Text, s)
			}
			switch p.Kind {
			case "hidden":
				if p.Note == "" {
					t.Fatalf("%q has no name", p.Text)
				}
			case "", "object":
				plain += len(strings.Map(lineless, p.Text))
			default:
				t.Fatalf("a span of the kind %q", p.Kind)
			}
		}
		want := 0
		for i, r := range s {
			_, n := utf8.DecodeRuneInString(s[i:])
			if approvals.Hidden(s[i:i+n]) == nil && r != utf8.RuneError {
				want += n
			}
		}
		if plain != want {
			t.Fatalf("%d bytes of %q are shown, %d can be", plain, s, want)
		}
	})
}

func lineless(r rune) rune {
	if r == '\n' || r == '\t' {
		return -1
	}
	return r
}

// TestContrast: every ink can be told from every ground that it stands on, in
// light and in dark (WCAG 2.2, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	light, rest, ok := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	dark, _, ok2 := strings.Cut(rest, "\n}\n")
	if !ok || !ok2 {
		t.Fatal("the style sheet does not have both")
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			n, err := strconv.ParseUint(m[2], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			colours[m[1]] = luminance(uint32(n))
		}
		check := func(ink, ground string, least float64) {
			t.Helper()
			a, okA := colours[ink]
			b, okB := colours[ground]
			if !okA || !okB {
				t.Fatalf("%s: there is no %s or no %s", scheme, ink, ground)
			}
			if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < least {
				t.Errorf("%s: %s on %s is %.2f, less than %.1f", scheme, ink, ground, got, least)
			}
		}
		grounds := []string{"page", "card", "well", "tint-gone"}
		for _, ink := range []string{"ink", "soft", "link", "good", "wait", "bad"} {
			for _, ground := range grounds {
				check(ink, ground, 4.5)
			}
		}
		for _, tone := range []string{"good", "wait", "bad"} {
			check(tone, "tint-"+tone, 4.5)
			check("ink", "tint-"+tone, 4.5)
			check("link", "tint-"+tone, 4.5)
			check("bar-"+tone, "card", 3*0.8) // beside each other, and in the table below
		}
		for _, button := range []string{"go", "stop"} {
			check("on", button, 4.5)
		}
		for _, ground := range grounds {
			check("focus", ground, 3)
			check("edge", ground, 3)
		}
	}
}

// luminance is the relative luminance of a colour (WCAG 2.2).
func luminance(rgb uint32) float64 {
	part := func(v uint32) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(rgb>>16) + 0.7152*part(rgb>>8) + 0.0722*part(rgb)
}

// TestStyle: the sheet loads nothing from anywhere.
func TestStyle(t *testing.T) {
	if regexp.MustCompile(`url\(|@import|@font-face|expression|https?:`).Match(style) {
		t.Error("the style sheet loads something")
	}
}

func TestOurs(t *testing.T) {
	for to, want := range map[string]string{
		"/console/requests/apr_1?done=x": "/console/requests/apr_1?done=x", "/console/": "/console/", "/console/log?text=a%20b": "/console/log?text=a%20b",
		"//evil": startPage, "/console/%2f%2fevil": startPage, "/console": startPage, "/console/./x": startPage, "/console/x/": startPage, "/console/a\tb": startPage,
		"/console/a\\b": startPage, "/console/a b": startPage, "/console/é": startPage, "/console/x?a=\\": startPage,
	} {
		if got := ours(to); got != want {
			t.Errorf("%q: %q, want %q", to, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		30 * time.Second: "in 30 s", 29*time.Minute + 59*time.Second: "in 29 min", 90 * time.Minute: "in 90 min", 25 * time.Hour: "in 25 h", 72 * time.Hour: "in 3 days",
		-5 * time.Second: "5 s ago", -3 * time.Hour: "3 h ago", 0: "in 0 s",
	} {
		if got := ago(now.Add(d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 12: "12", 999: "999", 1000: "1\u2009000", 1234567: "1\u2009234\u2009567", -1234: "−1\u2009234"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if plural(1, "entry") != "1 entry" || plural(2, "entry") != "2 entries" || plural(0, "row") != "0 rows" {
		t.Error("the plural is wrong")
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "24 hours", time.Hour: "1 hour", 90 * time.Minute: "90 minutes", 90 * time.Second: "1m30s"} {
		if got := length(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]int64{1: 2, 2: 2, 3: 4, 7: 8, 10: 10, 11: 20, 55: 60, 999: 1000} {
		if got := round(n); got != want {
			t.Errorf("the scale of %d ends at %d, want %d", n, got, want)
		}
	}
}

// TestEveryKindIsTold: a kind of event that nobody has words for is shown by its
// bare name, and this fails.
func TestEveryKindIsTold(t *testing.T) {
	ordinary := []audit.Kind{ // of the gate alone, in no session
		audit.KindStart, audit.KindStop, audit.KindGap, audit.KindPolicyLoaded, audit.KindConfigLoaded, audit.KindErased, audit.KindRefused, audit.KindCatalogRead, audit.KindLinked, audit.KindUnlinked,
		audit.KindKeyAdded, audit.KindKeyRetired, audit.KindAlert, audit.KindDropped,
	}
	for _, k := range audit.Kinds() {
		s := &step{}
		newTeller(nil).tell(s, &audit.Entry{Event: audit.Event{Kind: k}})
		bare := s.Title == string(k)
		expected := false
		for _, o := range ordinary {
			expected = expected || o == k
		}
		if bare != expected {
			t.Errorf("%s is told as %q", k, s.Title)
		}
	}
	for _, st := range append(approvals.States(), "another") {
		if stateTone(st) == "" || stateTone("another") != "bad" {
			t.Errorf("the state %s has no look", st)
		}
	}
}

// TestDraw: what is drawn stands inside of its box, and nothing is drawn of
// nothing.
func TestDraw(t *testing.T) {
	all := []layer{{"good", "x", func(d audit.Day) int64 { return d.Statements }}, {"bad", "y", func(d audit.Day) int64 { return d.Refused }}}
	for _, days := range [][]audit.Day{nil, {{}}, {{Statements: 5, Refused: 3}, {}, {Statements: 1 << 40}}, make([]audit.Day, 90)} {
		c := drawDays("d", days, all)
		for _, b := range c.Bars {
			if b.X < chartLeft || b.X+b.W > chartWidth || b.Y < 0 || b.Y+b.H > chartHeight-chartBottom+0.01 || b.H <= 0 {
				t.Errorf("%+v stands outside", b)
			}
		}
		if len(days) == 90 && len(c.Bars) != 0 {
			t.Error("bars of nothing")
		}
	}
}
