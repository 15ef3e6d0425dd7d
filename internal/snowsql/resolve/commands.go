package resolve

import (
	_ "embed"
	"fmt"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/policy"
)

// A Command is one of Snowflake's commands: a verb, mostly with the kind of
// object that it is about.
type Command struct {
	Name    string // CREATE TABLE
	Class   policy.Class
	Effects Effects
}

// commandTable lists every command that somebody has classified.
// docs.snowflake.com/en/sql-reference/sql-all
//
//go:embed commands.txt
var commandTable string

var commands = readCommands(commandTable)

// LookupCommand returns the command of that name. A command that nobody has
// classified is not found.
func LookupCommand(name string) (Command, bool) {
	c, ok := commands[name]
	return c, ok
}

// EffectsOf is what a statement does besides reading and writing rows: by its
// command, by the statements inside of it, by the functions that it calls.
// Names are taken as they are written: what they mean is not looked up.
func EffectsOf(stmt ast.Statement) (e Effects) {
	ast.Inspect(stmt, func(n ast.Node) bool {
		switch n := n.(type) {
		case ast.Statement:
			name, _ := commandName(n)
			c, _ := LookupCommand(name)
			e |= c.Effects
		case *ast.Call:
			f, _ := Lookup(n.Name.Fold())
			e |= f.Effects
		}
		return true
	})
	return e
}

// readCommands reads the table: lines of `class effect,…: VERB` or `class
// effect,…: VERB KIND, KIND, …` with - for no effect, blank lines and #
// comments. The table is part of the program, so a mistake in it is a mistake
// of the program.
func readCommands(table string) map[string]Command {
	out := map[string]Command{}
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		head, names, ok := strings.Cut(line, ": ")
		word, effects, both := strings.Cut(head, " ")
		c := Command{}
		if err := c.Class.UnmarshalText([]byte(word)); !ok || !both || err != nil {
			panic(fmt.Sprintf("commands.txt: %q: %v", line, err))
		}
		for w := range strings.SplitSeq(effects, ",") {
			e, known := effectWords[w]
			if !known && w != "-" {
				panic(fmt.Sprintf("commands.txt: unknown effect %q", w))
			}
			c.Effects |= e
		}
		for _, c.Name = range commandNames(names) {
			if _, twice := out[c.Name]; twice {
				panic(fmt.Sprintf("commands.txt: %s is listed twice", c.Name))
			}
			out[c.Name] = c
		}
	}
	return out
}

// commandNames are the commands of a line: the verb with each kind, or alone.
func commandNames(line string) []string {
	verb, kinds, found := strings.Cut(line, " ")
	if !found {
		return []string{verb}
	}
	var names []string
	for kind := range strings.SplitSeq(kinds, ", ") {
		names = append(names, verb+" "+kind)
	}
	return names
}
