package resolve

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
)

// TestDocumentedFunctions holds the table against the documentation's lists.
func TestDocumentedFunctions(t *testing.T) {
	data, err := os.ReadFile("testdata/functions.txt")
	if err != nil {
		t.Fatal(err)
	}
	names, control := 0, false
	for line := range strings.Lines(string(data)) {
		if line[0] == '#' {
			control = strings.Contains(line, "functions-system, control")
			continue
		}
		for name := range strings.FieldsSeq(line) {
			names++
			f, ok := Lookup(name)
			switch {
			case !ok:
				t.Errorf("%s is documented, but nobody has classified it", name)
			case control && f.Effects&(ChangesState|LeavesAccount) == 0:
				t.Errorf("%s controls something, but has no such effect", name)
			}
		}
	}
	if names < 300 {
		t.Errorf("the list has only %d names", names)
	}
}

// TestFunctionTable checks each entry's name and what no table may say.
func TestFunctionTable(t *testing.T) {
	for name, f := range functions {
		if f.Name != name || name != strings.ToUpper(name) || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.") != "" {
			t.Errorf("%s: a wrong name: %+v", name, f)
		}
		mayBe := func(prefix string, e Effects) {
			if strings.HasPrefix(name, prefix) && f.Effects&e == 0 {
				t.Errorf("%s has the effects %b", name, f.Effects)
			}
		}
		mayBe("AI_", CallsModel)
		mayBe("SNOWFLAKE.CORTEX.", CallsModel)
		if name != "SYSTEM$TYPEOF" {
			mayBe("SYSTEM$", ^(ReadsSession | Random))
		}
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]Effects{
		"SUM": 0, "CURRENT_USER": ReadsSession, "RANDOM": Random, "GET_DDL": ReadsMetadata, "ALL_USER_NAMES": ReadsMetadata,
		"SYSTEM$CANCEL_QUERY": ChangesState, "SYSTEM$SEND_EMAIL": LeavesAccount, "GET_PRESIGNED_URL": ReadsFiles, "AI_COMPLETE": CallsModel,
		"RESULT_SCAN": ReadsResults, "VALIDATE": ReadsFiles | ReadsResults, "SYSTEM$SHOW_OAUTH_CLIENT_SECRETS": GivesSecrets,
	} {
		if f, ok := Lookup(name); !ok || f.Effects != want {
			t.Errorf("%s: %+v, %v; want %b", name, f, ok, want)
		}
	}
	for _, name := range []string{"", "sum", "Sum", "SUM ", "MY_FUNCTION", "DB.S.SUM"} {
		if f, ok := Lookup(name); ok {
			t.Errorf("%q was found: %+v", name, f)
		}
	}
}

func TestNeedPermission(t *testing.T) {
	for word, e := range effectWords {
		if want := word != "session" && word != "random"; e.NeedPermission() != want || (e|Random).NeedPermission() != want {
			t.Errorf("%s: permission needed is %v", word, e.NeedPermission())
		}
	}
	if Effects(0).NeedPermission() {
		t.Error("pure functions need permission")
	}
}

// TestReadFunctions: a mistake in the table stops the program.
func TestReadFunctions(t *testing.T) {
	good := readFunctions("# comment\n\npure: A B\nstate,files: C\n")
	if len(good) != 3 || good["C"].Effects != ChangesState|ReadsFiles || good["A"].Effects != 0 {
		t.Errorf("read %v", good)
	}
	for _, table := range []string{"pure A", "pure: A A", "pure: A\nstate: A", "harmless: A", ": A", "state,: A"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was read", table)
				}
			}()
			readFunctions(table)
		}()
	}
}

// ownFunctions are called in the corpora and not in the table: functions and
// procedures of the examples' authors, names in variables (""), grouping and
// clustering, which look like calls, and a table function behind a schema that may be anybody's.
var ownFunctions = map[string]bool{
	"": true, "CUBE": true, "ROLLUP": true, "INFORMATION_SCHEMA.TASK_DEPENDENTS": true,
	"EXECUTE_IMMEDIATE_LOCAL_VARIABLE": true, "MIN_MAX_INVOICES_SP": true, "MYSTOREDPROCEDURE": true, "SIMPLE_TABLE_FUNCTION": true,
	"SPEED_OF_LIGHT": true, "STPROC1": true, "SV_PROC1": true, "SV_PROC2": true, "SV_PROC3": true,
	"AUTO_DEVICE_INSERT": true, "DATA_SOURCE": true, "DE_EMAIL": true, "FULL_LOCATION_MASKING": true, "LINEAR": true, "MASK_UDF": true,
	"MYPROC": true, "MY_DB.MY_SCHEMA.SV_PROC1": true, "MY_UNLOAD_SP": true, "SCH.MY_SPROC": true, "SCH.SESSION_AGG_INSERT": true,
	"SOME_OTHER_FUNCTION": true,
}

// TestCorpusFunctions reads statements that others wrote, where they are at
// hand: each function that they call is known, or listed as not Snowflake's.
func TestCorpusFunctions(t *testing.T) {
	known := 0
	for _, file := range []string{"docs_official.jsonl", "sqlfluff.jsonl"} {
		f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "corpus", file))
		if errors.Is(err, os.ErrNotExist) {
			t.Skipf("skipped: the corpus %s is not at hand", file)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var row struct{ SQL string }
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatal(err)
			}
			stmts, err := parser.ParseScript(row.SQL)
			if err != nil {
				continue // the parser's own tests count these
			}
			for _, stmt := range stmts {
				ast.Inspect(stmt, func(n ast.Node) bool {
					call, ok := n.(*ast.Call)
					if !ok || call.Name == nil {
						return true
					}
					if _, ok := Lookup(call.Name.Fold()); ok {
						known++
					} else if !ownFunctions[call.Name.Fold()] {
						t.Errorf("%s is called, and neither known nor listed", call.Name.Fold())
					}
					return true
				})
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if known < 160 {
		t.Errorf("only %d calls of known functions", known)
	}
}
