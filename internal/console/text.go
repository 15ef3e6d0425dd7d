package console

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"querywarden/approvals"
)

// A span is a piece of a text that others have written, as it is shown: the
// characters that are not seen as what they are stand as their code points.
type span struct {
	Text string
	Kind string // "", "object" or "effect" as a mark has it, or "hidden"
	Note string // of a hidden character: its name
}

// spans takes a text apart. In a text of several lines, line feeds and tabs are
// what they are; elsewhere they are shown, too.
func spans(s string, marks []approvals.Mark, lines bool) []span {
	var out []span
	add := func(text, kind, note string) {
		if last := len(out) - 1; last >= 0 && kind != "hidden" && out[last].Kind == kind {
			out[last].Text += text
			return
		}
		out = append(out, span{text, kind, note})
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+n]
		kind := markAt(marks, i)
		switch {
		case lines && (r == '\n' || r == '\t'):
			add(piece, kind, "")
		case lines && strings.HasPrefix(s[i:], "\r\n"):
			add("\n", kind, "")
			n = 2
		case r == utf8.RuneError && n == 1:
			add(fmt.Sprintf("0x%02X", piece[0]), "hidden", "a byte that is no text")
		case r == utf8.RuneError || approvals.Hidden(piece) != nil:
			add(fmt.Sprintf("U+%04X", r), "hidden", runeName(r))
			if r == '\n' {
				add("\n", kind, "")
			}
		default:
			add(piece, kind, "")
		}
		i += n
	}
	return out
}

// markAt is the kind of the mark over a byte. What an effect covers is more than
// an object.
func markAt(marks []approvals.Mark, at int) string {
	kind := ""
	for _, m := range marks {
		if m.Start <= at && at < m.End && (kind == "" || m.Kind == "effect") {
			kind = m.Kind
		}
	}
	if kind != "object" && kind != "effect" {
		return ""
	}
	return kind
}

// runeName says what a character is that is not seen, as Unicode names it where
// people have been deceived with it.
func runeName(r rune) string {
	names := map[rune]string{
		'\n': "line feed", '\r': "carriage return", '\t': "tab", '\b': "backspace", 0: "null", 0x1b: "escape", 0x7f: "delete",
		0xa0: "no-break space", 0xad: "soft hyphen", 0x61c: "Arabic letter mark", 0x180e: "Mongolian vowel separator", 0x2800: "empty Braille pattern",
		0x200b: "zero-width space", 0x200c: "zero-width non-joiner", 0x200d: "zero-width joiner", 0x200e: "left-to-right mark", 0x200f: "right-to-left mark",
		0x2028: "line separator", 0x2029: "paragraph separator", 0x202a: "left-to-right embedding", 0x202b: "right-to-left embedding",
		0x202c: "pop directional formatting", 0x202d: "left-to-right override", 0x202e: "right-to-left override", 0x2060: "word joiner",
		0x2066: "left-to-right isolate", 0x2067: "right-to-left isolate", 0x2068: "first strong isolate", 0x2069: "pop directional isolate",
		0x3000: "ideographic space", 0x3164: "Hangul filler", 0xfeff: "zero-width no-break space", 0xfffd: "replacement character",
	}
	switch {
	case names[r] != "":
		return names[r]
	case unicode.Is(unicode.Cc, r):
		return "control character"
	case unicode.Is(unicode.Co, r):
		return "private use"
	case r >= 0xe0000 && r <= 0xe007f:
		return "tag character"
	case unicode.Is(unicode.Variation_Selector, r):
		return "variation selector"
	case unicode.Is(unicode.Zs, r):
		return "space of another kind"
	default:
		return "invisible character"
	}
}

// hiddenIn lists the hidden characters of a text, each once, in their order.
func hiddenIn(s string) []span {
	var out []span
	for _, p := range spans(s, nil, false) {
		if p.Kind == "hidden" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// short cuts a text to a number of characters.
func short(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// line is a text on one line, safe to show, and cut.
func line(s string, n int) string {
	return short(approvals.Escape(strings.Join(strings.Fields(s), " ")), n)
}

// plural counts things.
func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return grouped(n) + " " + stem + "ies"
	}
	return grouped(n) + " " + what + "s"
}

// grouped writes a number so that its size is seen.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u2009" + s[i:]
	}
	return sign + s
}

// ago says how far a time is from now, in the one unit that matters.
func ago(t, now time.Time) string {
	d := t.Sub(now)
	past := d < 0
	if past {
		d = -d
	}
	text := ""
	switch {
	case d < time.Minute:
		text = fmt.Sprintf("%d s", int(d/time.Second))
	case d < 2*time.Hour:
		text = fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		text = fmt.Sprintf("%d h", int(d/time.Hour))
	default:
		text = fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

// length writes a time that a policy gives, in the largest unit that says it.
func length(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return plural(int64(d/time.Hour), "hour")
	case d >= time.Minute && d%time.Minute == 0:
		return plural(int64(d/time.Minute), "minute")
	default:
		return d.String()
	}
}

// took writes how long something took.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}
