package resolve

import (
	_ "embed"
	"fmt"
	"strings"
)

// Effects are what a function does besides computing a value from its
// arguments. The zero value is a pure function.
type Effects uint16

// The effects.
const (
	ReadsSession  Effects = 1 << iota // who, where and when: CURRENT_USER, CURRENT_TIMESTAMP
	Random                            // another value at each call
	ReadsMetadata                     // definitions, grants, history
	ChangesState                      // sequences, queries, pipes, tasks
	LeavesAccount                     // e-mail, notifications, other accounts
	ReadsFiles                        // stages and their addresses
	CallsModel                        // Cortex and AI functions
	ReadsResults                      // rows that another query returned, or of a table that a text names
	GivesSecrets                      // keys and tokens
)

var effectWords = map[string]Effects{
	"session": ReadsSession, "random": Random, "metadata": ReadsMetadata, "state": ChangesState, "leaves": LeavesAccount,
	"files": ReadsFiles, "model": CallsModel, "results": ReadsResults, "secrets": GivesSecrets,
}

// Words returns the effects' names, in the order above.
func (e Effects) Words() []string {
	var words []string
	for bit := ReadsSession; bit <= GivesSecrets; bit <<= 1 {
		for word, w := range effectWords {
			if w == bit && e&bit != 0 {
				words = append(words, word)
			}
		}
	}
	return words
}

// NeedPermission reports whether a rule has to name the function before it may
// be called. Values that depend on the session or on chance need none.
func (e Effects) NeedPermission() bool { return e&^(ReadsSession|Random) != 0 }

// A Function is a built-in function of Snowflake's.
type Function struct {
	Name    string
	Effects Effects
}

// functionTable lists every built-in function that somebody has classified:
// an effect, or pure, and the names that have it.
// docs.snowflake.com/en/sql-reference/functions-all
//
//go:embed functions.txt
var functionTable string

var functions = readFunctions(functionTable)

// readFunctions reads the table: lines of `effect,…: NAME NAME …`, blank lines
// and # comments. The table is part of the program, so a mistake in it is a
// mistake of the program.
func readFunctions(table string) map[string]Function {
	out := map[string]Function{}
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words, names, ok := strings.Cut(line, ":")
		if !ok {
			panic(fmt.Sprintf("functions.txt: no colon in %q", line))
		}
		var effects Effects
		for w := range strings.SplitSeq(words, ",") {
			e, known := effectWords[w]
			if !known && w != "pure" {
				panic(fmt.Sprintf("functions.txt: unknown effect %q", w))
			}
			effects |= e
		}
		for name := range strings.FieldsSeq(names) {
			if _, twice := out[name]; twice {
				panic(fmt.Sprintf("functions.txt: %s is listed twice", name))
			}
			out[name] = Function{name, effects}
		}
	}
	return out
}

// Lookup returns the built-in function of that name, as Snowflake folds it: in
// upper case. It folds nothing itself, because "abs" in quotes is another
// function than ABS. A function that nobody has classified is not found.
func Lookup(name string) (Function, bool) {
	f, ok := functions[name]
	return f, ok
}
