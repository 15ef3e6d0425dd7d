package policy

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the error texts in testdata/errors.txtar")

// TestParseErrors holds every error text against testdata/errors.txtar, where
// NAME.yaml is a file and NAME.err what Parse says of it.
func TestParseErrors(t *testing.T) {
	name := filepath.Join("testdata", "errors.txtar")
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files)%2 != 0 || len(archive.Files) == 0 {
		t.Fatalf("%s holds %d files", name, len(archive.Files))
	}
	for i := 0; i < len(archive.Files); i += 2 {
		in, want := &archive.Files[i], &archive.Files[i+1]
		base, ok := strings.CutSuffix(in.Name, ".yaml")
		if !ok || want.Name != base+".err" {
			t.Fatalf("%s is followed by %s", in.Name, want.Name)
		}
		p, err := Parse(in.Data)
		if err == nil {
			t.Errorf("%s: no error", in.Name)
			continue
		}
		var ferr *FileError
		if !errors.As(err, &ferr) || p != nil {
			t.Errorf("%s: the error is a %T, with the policy %v", in.Name, err, p)
		}
		got := err.Error() + "\n"
		if *update {
			want.Data = []byte(got)
			continue
		}
		if got != string(want.Data) {
			t.Errorf("%s:\n%s\nwant\n%s", in.Name, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParse(t *testing.T) {
	p := mustParse(t, file)
	if p.Text() != file {
		t.Error("Text is not the file")
	}
	if q := mustParse(t, file+"#\n"); q.Version() == p.Version() || len(p.Version()) != 16 {
		t.Errorf("versions %q and, with one more comment, %q", p.Version(), q.Version())
	}
	if q := mustParse(t, file); q.Version() != p.Version() {
		t.Error("one file has two versions")
	}
	if q := mustParse(t, strings.ReplaceAll(file, "\n", "\r\n")); len(q.rules) != len(p.rules) {
		t.Errorf("with CRLF the file has %d rules, not %d", len(q.rules), len(p.rules))
	}
	data := []byte(file)
	p, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if p.Text() != file {
		t.Error("the policy keeps a reference to what it was read from")
	}
}

// TestSelfTests checks that a file's tests run and are reported.
func TestSelfTests(t *testing.T) {
	const tests = `
tests:
  - name: first
    as: {groups: [analysts]}
    do: read shop.public.customers(email, ssn, city), shop.private.orders
    expect: deny
    reason: no_rule
  - name: second
    as: {groups: [eu]}
    do: read shop.public.orders(ssn, note#pii)
    expect: allow
    masks: {ssn: redact, NOTE: hash}
    filters: ["region = 'EU'"]
  - name: third
    as: {kind: ci}
    do: stage stage:shop.public.files
    expect: allow
    masks: {}
  - name: fourth
    as: {user: "https://idp.example.com|77"}
    do: read lab.x.y
    expect: allow
  - name: fifth
    as: {groups: [analysts], user: x@example.com}
    do: read
    calls: [SEQ_NEXT]
    expect: allow
`
	p := mustParse(t, file+tests)
	results := p.Test()
	if len(results) != 5 {
		t.Fatalf("%d results", len(results))
	}
	lines := strings.Split(file+tests, "\n")
	for i, name := range []string{"first", "second", "third", "fourth", "fifth"} {
		r := results[i]
		if r.Name != name || r.Wrong != "" || !strings.Contains(lines[r.Line-1], "name: "+name) {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	if (*Policy)(nil).Test() != nil {
		t.Error("no policy has results")
	}
}

// TestHostileFiles checks that files nobody would write are refused quickly.
func TestHostileFiles(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":    strings.Repeat("[", 100_000),
		"braces":      strings.Repeat("{a: ", 60_000),
		"lines of it": strings.Repeat("[\n", 60_000),
		"keys of it":  strings.Repeat("a: [\n", 40_000),
		"dashes":      strings.Repeat("- ", 100_000),
		"few dashes":  strings.Repeat("- ", 2000),
		"questions":   strings.Repeat("? ", 2000),
		"stairs":      stairs(400),
		"quotes":      strings.Repeat("'", 200_000),
		"bangs":       strings.Repeat("!", 4000),
		"laughs":      "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nversion: 1\n",
		"long":        "version: 1 #" + strings.Repeat("x", maxFile),
		"many keys":   strings.Repeat("version: 1\n", 20_000),
		"binary":      "version: 1\x00",
		"latin":       "version: 1 # \xe9",
		"nothing":     "",
		"two":         "version: 1\n---\nversion: 1\n",
	} {
		start := time.Now()
		_, err := Parse([]byte(text))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: takes %s", name, took)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if len(err.Error()) > 2000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

// stairs is a mapping in a mapping in a mapping.
func stairs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(file)
	f.Add("version: 1\nrules:\n  - {name: a, who: everyone, may: [read], on: everything, verdict: allow}\n")
	f.Add("version: 1\ntests:\n  - {name: a, as: {}, do: 'read a.\"b\"\"c\".d(e#f, g), write h', expect: deny}\n")
	if archive, err := txtar.ParseFile(filepath.Join("testdata", "errors.txtar")); err == nil {
		for _, file := range archive.Files {
			f.Add(string(file.Data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		p, err := Parse([]byte(text))
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%d bytes take %s", len(text), took)
		}
		if err != nil {
			var ferr *FileError
			if !errors.As(err, &ferr) || p != nil {
				t.Fatalf("error %T %v with policy %v", err, err, p)
			}
			if lines := strings.Count(text, "\n") + 1; ferr.Line > lines {
				t.Errorf("line %d of %d", ferr.Line, lines)
			}
			return
		}
		for _, r := range p.Test() {
			if r.Wrong != "" {
				t.Errorf("a policy with a failing test is accepted: %+v", r)
			}
		}
		if d := p.Decide(Caller{}, Statement{}, time.Time{}); d.Verdict != Deny {
			t.Errorf("the zero statement is decided %s", d.Verdict)
		}
	})
}
