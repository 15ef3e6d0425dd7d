package token

import (
	"strings"
	"testing"
)

func scan(src string) []Token {
	s := NewScanner(src)
	var out []Token
	for {
		t := s.Next()
		out = append(out, t)
		if t.Kind == EOF || len(out) > len(src)+1 {
			return out
		}
	}
}

func TestScan(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"select a", "word:select word:a"},
		{`"a""b" 'it''s' 'a\'b' $$x'y$$`, `quoted identifier:"a""b" string:'it''s' string:'a\'b' dollar-quoted string:$$x'y$$`},
		{"1 1.5 .5 1e10 1.e-3 1e", "number:1 number:1.5 number:.5 number:1e10 number:1.e-3 number:1 word:e"},
		{"a.b.1 t.*", "word:a .:. word:b .:. number:1 word:t .:. *:*"},
		{"$1 $x @s/p.csv @~ @%t/x", "positional column:$1 variable:$x stage:@s/p.csv stage:@~ stage:@%t/x"},
		{"a::b a:b :=->->>=>", "word:a ::::: word:b word:a ::: word:b :=::= ->:-> ->>:->> =>:=>"},
		{"< <= <> != > >= || -- x\n/", "<:< <=:<= <>:<> <>:!= >:> >=:>= ||:|| /:/"},
		{"a // b\nc /* d */ e", "word:a word:c word:e"},
		{"é ünï", "word:é word:ünï"},
		{"a\u00a0b\ufeff", "word:a word:b"},
		{"'a", "illegal character:'a"},
		{`"`, `illegal character:"`},
		{`""`, `illegal character:""`},
		{"$$a", "illegal character:$$a"},
		{"/* a", "illegal character:/* a"},
		{"a & b", "word:a illegal character:& word:b"},
		{"@", "illegal character:@"},
		{"|", "illegal character:|"},
	} {
		var got []string
		for _, tok := range scan(c.src) {
			if tok.Kind != EOF {
				got = append(got, tok.Kind.String()+":"+tok.Text(c.src))
			}
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.src, g, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	if tok := scan("SeLeCt")[0]; tok.Word != "SELECT" {
		t.Errorf("SeLeCt is the word %q", tok.Word)
	}
	if tok := scan("selects")[0]; tok.Word != "" {
		t.Errorf("selects is the word %q", tok.Word)
	}
	if tok := scan(`"SELECT"`)[0]; tok.Word != "" {
		t.Errorf("a quoted identifier is the word %q", tok.Word)
	}
	n := 0
	for _, w := range words {
		if w == "" {
			continue
		}
		n++
		if w != strings.ToUpper(w) || len(w) > maxWord || lookup(strings.ToLower(w), hash(w)) != w || lookup(w[1:]+"!", hash(w)) != "" {
			t.Errorf("%q is no word for the table", w)
		}
	}
	if n != len(known)+len(reserved) {
		t.Errorf("the table holds %d words of %d", n, len(known)+len(reserved))
	}
}

func TestPositionOf(t *testing.T) {
	for _, c := range []struct {
		src  string
		pos  Pos
		want Position
	}{{"", 0, Position{1, 1}}, {"ab", 1, Position{1, 2}}, {"a\nb", 2, Position{2, 1}}, {"éa", 2, Position{1, 2}}, {"a", 9, Position{1, 2}}} {
		if got := PositionOf(c.src, c.pos); got != c.want {
			t.Errorf("%q at %d is %v, want %v", c.src, c.pos, got, c.want)
		}
	}
}

// FuzzScan proves that tokens and the gaps between them are the text, and that
// gaps are white space and comments.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{"select 1", "a -- b\n/* c */ d", `"x" 'y' $$z$$ @s/p`, "1.2.3 $1 $a ::->>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		end := Pos(0)
		tokens := scan(src)
		for i, tok := range tokens {
			if tok.Pos < end || tok.End < tok.Pos || int(tok.End) > len(src) || tok.Kind != EOF && tok.End == tok.Pos {
				t.Fatalf("token %d of %q is [%d,%d) behind %d", i, src, tok.Pos, tok.End, end)
			}
			if gap := src[end:tok.Pos]; gap != "" {
				if inner := NewScanner(gap).Next(); inner.Kind != EOF {
					t.Fatalf("the gap %q of %q holds a %s", gap, src, inner.Kind)
				}
			}
			end = tok.End
		}
		if last := tokens[len(tokens)-1]; last.Kind != EOF || int(last.Pos) != len(src) {
			t.Fatalf("%q ends with %v", src, last)
		}
	})
}
