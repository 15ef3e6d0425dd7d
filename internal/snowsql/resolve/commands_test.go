package resolve

import (
	"os"
	"strings"
	"testing"

	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
)

// TestDocumentedCommands holds the table against the documentation's list.
func TestDocumentedCommands(t *testing.T) {
	data, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	check := func(name string) {
		n++
		c, ok := LookupCommand(name)
		switch verb, _, _ := strings.Cut(name, " "); {
		case !ok:
			t.Errorf("%s is documented, but nobody has classified it", name)
		case c.Class == policy.Unknown:
			t.Errorf("%s is unknown", name)
		case (verb == "SHOW" || verb == "DESCRIBE") != (c.Class == policy.Read) && name != "SELECT" && name != "EXPLAIN":
			t.Errorf("%s is %s", name, c.Class)
		case (verb == "CREATE" || verb == "ALTER" || verb == "DROP" || verb == "UNDROP") && c.Effects&(ChangesState|ReadsSession) == 0:
			t.Errorf("%s changes nothing: %v", name, c.Effects.Words())
		}
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line[0] == '#' {
			continue
		}
		verb, kinds, of := strings.Cut(line, ": ")
		if !of {
			for name := range strings.SplitSeq(line, ", ") {
				check(name)
			}
			continue
		}
		for kind := range strings.SplitSeq(kinds, ", ") {
			check(verb + " " + kind)
		}
	}
	if n < 480 {
		t.Errorf("the list has only %d commands", n)
	}
}

// TestCommandsParse: each command of the table that begins with its own words
// is read as that command.
func TestCommandsParse(t *testing.T) {
	n := 0
	for name, c := range commands {
		verb, kind, _ := strings.Cut(name, " ")
		text := name + " x"
		switch {
		case strings.HasSuffix(name, "CLASS INSTANCE"):
			continue
		case verb == "SHOW":
			text = name
		case verb == "ALTER" && kind != "SESSION":
			text = name + " x SET a = 1"
		case name == "ALTER SESSION":
			text = "ALTER SESSION SET a = 1"
		case name == "DESCRIBE RESULT":
			text = "DESCRIBE RESULT 'x'"
		case verb != "CREATE" && verb != "DROP" && verb != "DESCRIBE" && verb != "UNDROP" && verb != "USE":
			continue
		}
		stmt, err := parser.ParseStatement(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _ := commandName(stmt); got != name {
			t.Errorf("%s is read as %s", text, got)
		}
		if class, _ := Classify(stmt); class != c.Class {
			t.Errorf("%s: %s, want %s", text, class, c.Class)
		}
		n++
	}
	if n < 450 {
		t.Errorf("only %d commands", n)
	}
}

// TestReadCommands: a mistake in the table stops the program.
func TestReadCommands(t *testing.T) {
	good := readCommands("# comment\n\nread -: A\nadmin state,leaves: B C D, E\n")
	if len(good) != 3 || good["B C D"].Effects != ChangesState|LeavesAccount || good["B E"].Class != policy.Admin || good["A"].Effects != 0 {
		t.Errorf("read %v", good)
	}
	for _, table := range []string{"read: A", "read - A", "reads -: A", "read odd: A", "read -: A\nread -: A", "read -: A B, B"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was read", table)
				}
			}()
			readCommands(table)
		}()
	}
}
