package mask

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// findEmail returns the address around the @ at text[at]: before it the
// characters that addresses are written with unquoted, behind it a domain name
// of two labels or more whose last begins with a letter. Letters of alphabets
// other than Latin's count; scripts without spaces between words do not, since
// the sentence before the address would count as well.
func findEmail(text string, from, at int) (Span, bool) {
	start := at
	for start > from {
		r, size := utf8.DecodeLastRuneInString(text[from:start])
		if !isLocal(r) {
			break
		}
		start -= size
	}
	for start < at && text[start] == '.' {
		start++
	}
	if start == at {
		return Span{}, false
	}
	end, label, dots := at+1, at+1, 0
	last := 0 // the end of the last label that may be a top-level domain
	for end <= len(text) {
		r, size := rune(0), 0
		if end < len(text) {
			r, size = utf8.DecodeRuneInString(text[end:])
		}
		if size > 0 && (isAlphabet(r) || r >= '0' && r <= '9' || r == '-') {
			end += size
			continue
		}
		if end == label {
			break // an empty label
		}
		if first, _ := utf8.DecodeRuneInString(text[label:]); dots > 0 && end-label >= 2 && isAlphabet(first) {
			last = end
		}
		if r != '.' {
			break
		}
		dots++
		end++
		label = end
	}
	if last == 0 {
		return Span{}, false
	}
	return Span{start, last, EmailAddress}, true
}

func isLocal(r rune) bool {
	return isAlphabet(r) || r >= '0' && r <= '9' || strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r)
}

// isAlphabet reports whether r is a letter, or the accent of one, of a script
// with spaces between words. Those end before the CJK blocks.
func isAlphabet(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	return r < 0x2E80 && (unicode.IsLetter(r) || unicode.IsMark(r))
}

// A keyShape is how one vendor's keys look: a prefix at the beginning of a
// word, then at least min characters of a key's alphabet with a digit among
// them. The prefixes are those that the vendors publish so that scanners can
// find leaked keys.
type keyShape struct {
	prefix string
	min    int
	dots   int // how many dots there must be
}

// keyShapes is sorted by prefix: [NewScanner] notes where each first byte
// begins.
var keyShapes = [...]keyShape{
	{pemBegin, 0, 0},                 // read by its own rules
	{"AIza", 30, 0},                  // Google
	{"AKIA", 16, 0}, {"ASIA", 16, 0}, // AWS access key ids
	{"GOCSPX-", 20, 0}, // Google
	{"SG.", 30, 1},     // SendGrid
	{"dapi", 32, 0},    // Databricks
	{"dop_v1_", 30, 0}, // DigitalOcean
	{"eyJ", 20, 2},     // a JSON web token: three parts, the first an object
	{"gho_", 30, 0}, {"ghp_", 30, 0}, {"ghr_", 30, 0}, {"ghs_", 30, 0}, {"ghu_", 30, 0}, {"github_pat_", 30, 0},
	{"glpat-", 18, 0}, // GitLab
	{"hf_", 30, 0},    // Hugging Face
	{"npm_", 30, 0},
	{"pypi-", 30, 0},
	{"rk_live_", 16, 0}, {"rk_test_", 16, 0}, // Stripe
	{"shpat_", 30, 0},                                           // Shopify
	{"sk-", 20, 0},                                              // OpenAI, Anthropic
	{"sk_live_", 16, 0}, {"sk_test_", 16, 0}, {"whsec_", 20, 0}, // Stripe
	{"xapp-", 10, 0}, {"xoxa-", 10, 0}, {"xoxb-", 10, 0}, {"xoxp-", 10, 0}, {"xoxr-", 10, 0}, {"xoxs-", 10, 0}, // Slack
	{"ya29.", 20, 0}, // Google
}

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemKey   = "PRIVATE KEY-----"
)

// A keyScan remembers what tails of keys did not have, so that text made of
// prefixes is not read again from each of them.
type keyScan struct {
	noDigits int // up to here, a tail has no digit
	fewDots  int // up to here, a tail has no more than dots dots
	dots     int
}

// find returns the key or token that begins at text[i], which is not inside a
// word. Shapes are tried from keyShapes[first], the first with this first byte.
func (ks *keyScan) find(text string, i int, first uint8) (Span, bool) {
	rest := text[i:]
	for k := int(first); k < len(keyShapes); k++ {
		shape := &keyShapes[k]
		if shape.prefix[0] != rest[0] {
			break
		}
		if !strings.HasPrefix(rest, shape.prefix) {
			continue
		}
		if shape.prefix == pemBegin {
			return findPEM(text, i)
		}
		if i < ks.noDigits || i < ks.fewDots && ks.dots < shape.dots {
			continue
		}
		n, digits, dots := readKey(rest[len(shape.prefix):])
		end := i + len(shape.prefix) + n
		switch {
		case digits == 0:
			ks.noDigits = end
		case dots < shape.dots:
			ks.fewDots, ks.dots = end, dots
		case n >= shape.min:
			return Span{i, end, APIKey}, true
		}
	}
	return Span{}, false
}

// readKey returns how many bytes at the beginning of s may belong to a key,
// and how many digits and dots are among them. A dot belongs if the key goes
// on behind it.
func readKey(s string) (n, digits, dots int) {
	for ; n < len(s); n++ {
		switch c := s[n]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' && n+1 < len(s) && isKeyByte(s[n+1]):
			dots++
		case !isKeyByte(c):
			return n, digits, dots
		}
	}
	return n, digits, dots
}

func isKeyByte(c byte) bool {
	return isWordByte(c) || c == '_' || c == '-' || c == '+' || c == '/' || c == '='
}

// findPEM returns the private key that begins at text[i], up to its end line
// or, where that is cut off, the end of the text.
func findPEM(text string, i int) (Span, bool) {
	head := text[i:min(len(text), i+64)]
	key := strings.Index(head, pemKey)
	if key < 0 {
		return Span{}, false
	}
	body := i + key + len(pemKey)
	end := strings.Index(text[body:], pemEnd)
	if end < 0 {
		return Span{i, len(text), APIKey}, true
	}
	end += body + len(pemEnd)
	if tail := strings.Index(text[end:], "-----"); tail >= 0 && tail < 64 {
		end += tail + len("-----")
	}
	return Span{i, end, APIKey}, true
}
