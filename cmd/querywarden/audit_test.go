package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestListFits: a line of a list is no wider than the terminal, down to 80.
func TestListFits(t *testing.T) {
	long := strings.Repeat("ä", 300)
	for _, width := range []int{80, 109, 110, 132, 200} {
		l := lineFor(width)
		got := l.text("9999999", strings.Repeat("0", len(l.layout)), "glass_acknowledged", long, "approved", long)
		if n := utf8.RuneCountInString(got); n != width {
			t.Errorf("%d of %d characters: %s", n, width, got)
		}
	}
	if got := lineFor(80).text("1", "11-25 08:00:00", "decision", "ada@example.com", "allow", "select 1"); !strings.HasSuffix(got, " allow select 1") {
		t.Errorf("%q", got)
	}
}
