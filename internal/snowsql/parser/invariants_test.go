package parser

import (
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// everyInput is each statement of testdata and each text of the corpora.
func everyInput(t testing.TB) []string {
	list := goldenInputs(t)
	for _, c := range corpora {
		if rows, ok := corpus(t, c.file); ok {
			list = append(list, rows...)
		} else {
			t.Logf("without the corpus %s, which is not at hand", c.file)
		}
	}
	return list
}

// tokensOf returns the tokens of a text without its end.
func tokensOf(src string) []token.Token {
	s := token.NewScanner(src)
	var list []token.Token
	for {
		t := s.Next()
		if t.Kind == token.EOF {
			return list
		}
		list = append(list, t)
	}
}

// respell writes a text again with other letters in its unquoted words and
// something else between its tokens.
func respell(src string, letters func(string) string, gap string) string {
	var b strings.Builder
	at := token.Pos(0)
	for _, t := range tokensOf(src) {
		if t.Pos > at {
			b.WriteString(gap)
		}
		text := t.Text(src)
		if t.Kind == token.Ident {
			text = letters(text)
		}
		b.WriteString(text)
		at = t.End
	}
	return b.String()
}

// printed is the canonical text of a script; ok is false if it is not read.
func printed(src string) (text string, ok bool) {
	stmts, err := ParseScript(src)
	if err != nil {
		return err.Error(), false
	}
	var b []byte
	for _, s := range stmts {
		if b, err = ast.Append(b, s, ast.Snowflake); err != nil {
			return err.Error(), false
		}
		b = append(b, ";\n"...)
	}
	return string(b), true
}

// TestRespelled: case, white space and comments in all their forms change
// nothing.
func TestRespelled(t *testing.T) {
	same := func(s string) string { return s }
	for _, src := range everyInput(t) {
		want, ok := printed(src)
		if !ok || strings.Contains(strings.ToLower(src), "file://") { // a path: its // is no comment
			continue
		}
		for _, gap := range []string{" ", "\n\t", " /* it's \" */ ", " -- it's\n", " // it's\n", " /**/ "} {
			if got, _ := printed(respell(src, same, gap)); got != want {
				t.Errorf("with %q between its tokens\n%s\n got %s\nwant %s", gap, src, got, want)
			}
		}
		for _, letters := range []func(string) string{strings.ToUpper, strings.ToLower} {
			// The keys of paths and the names of variables keep their case.
			if got, _ := printed(respell(src, letters, " ")); !strings.EqualFold(got, want) {
				t.Errorf("in another case\n%s\n got %s\nwant %s", src, got, want)
			}
		}
	}
}

// TestThinned: every text without one of its tokens, and every beginning of a
// text, ends in a tree that prints or in an error. Nothing panics or hangs.
func TestThinned(t *testing.T) {
	read := 0
	check := func(src string) {
		stmts, err := ParseScript(src)
		if err != nil {
			if perr := err.(*Error); perr.Line < 1 || perr.Column < 1 || int(perr.Pos) > len(src) {
				t.Errorf("an error nowhere: %+v\n%s", perr, src)
			}
			return
		}
		read++
		for _, s := range stmts {
			if _, err := ast.Print(s, ast.Snowflake); err != nil {
				t.Errorf("%v\n%s", err, src)
			}
		}
	}
	for _, src := range everyInput(t) {
		for _, tok := range tokensOf(src) {
			check(src[:tok.Pos])
			check(src[:tok.Pos] + " " + src[tok.End:])
		}
	}
	t.Logf("%d thinned texts are statements", read)
}

// TestBeginnings cuts the statements of testdata between any two characters.
func TestBeginnings(t *testing.T) {
	for _, src := range goldenInputs(t) {
		for i := range src {
			_, _ = ParseStatement(src[:i])
			_, _ = ParseScript(src[i:])
		}
	}
}

// TestSplit: a script is split between its statements and nowhere else.
func TestSplit(t *testing.T) {
	inputs := goldenInputs(t)
	stmts, err := ParseScript(strings.Join(inputs, " ;\n;"))
	if err != nil {
		t.Fatal(err)
	}
	if len(stmts) != len(inputs) {
		t.Fatalf("%d statements of %d", len(stmts), len(inputs))
	}
	for i, s := range stmts {
		alone, err := ParseStatement(inputs[i])
		if err != nil {
			t.Fatal(err)
		}
		want, _ := ast.Print(alone, ast.Snowflake)
		if got, err := ast.Print(s, ast.Snowflake); err != nil || got != want {
			t.Errorf("in a script: %s, alone: %s, %v", got, want, err)
		}
	}
}
