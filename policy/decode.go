package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"querywarden/policy/mask"
)

// What a policy file may be at most. The YAML parser takes time and memory out
// of all proportion for text that is nested without end, so the text is
// measured before it is parsed.
const (
	maxFile   = 256 << 10 // bytes
	maxLine   = 4 << 10   // bytes
	maxIndent = 64        // spaces, and so block levels
	maxNested = 32        // brackets, or indicators before an item
)

// A FileError is what is wrong with a policy file, and where.
type FileError struct {
	Line, Column int // from 1; columns count characters
	Message      string
	Source       string // the line
}

// Error returns line:column, what is wrong, the line and a caret.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	number := strconv.Itoa(e.Line)
	// Tabs before the caret keep it under its place.
	indent := []rune(e.Source)
	indent = indent[:min(max(e.Column-1, 0), len(indent))]
	for i, r := range indent {
		if r != '\t' {
			indent[i] = ' '
		}
	}
	return fmt.Sprintf("%d:%d: %s\n %s | %s\n %s | %s^", e.Line, e.Column, e.Message,
		number, e.Source, strings.Repeat(" ", len(number)), string(indent))
}

// A decoder reads YAML nodes as what the policy file has there. The first thing
// that is wrong stays in err, and everything read after it is of no value.
type decoder struct {
	lines []string
	err   error
}

// parseYAML reads text as one YAML document.
func (d *decoder) parseYAML(text []byte) ast.Node {
	d.lines = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	if d.measure(text); d.err != nil {
		return nil
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		var yerr yaml.Error
		if errors.As(err, &yerr) && yerr.GetToken() != nil {
			d.failAt(yerr.GetToken().Position, "%s", yerr.GetMessage())
		} else {
			d.err = &FileError{Message: "the file is not YAML"}
		}
		return nil
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		d.err = &FileError{Message: fmt.Sprintf("the file must hold one YAML document, and holds %d", documents(file))}
		return nil
	}
	return file.Docs[0].Body
}

func documents(file *ast.File) int {
	n := 0
	for _, doc := range file.Docs {
		if doc.Body != nil {
			n++
		}
	}
	return n
}

// measure refuses text that is too large or nested too deeply to be a policy.
func (d *decoder) measure(text []byte) {
	if len(text) > maxFile {
		d.err = &FileError{Message: fmt.Sprintf("the file is larger than %d bytes", maxFile)}
		return
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		d.err = &FileError{Message: "the file is not UTF-8 text"}
		return
	}
	open := 0 // brackets; those in texts count too, which balance as a rule
	for i, line := range d.lines {
		rest := strings.TrimLeft(line, " ")
		indent, indicators := len(line)-len(rest), 0
		if strings.HasPrefix(rest, "#") {
			continue
		}
		for len(rest) > 1 && rest[1] == ' ' && strings.IndexByte("-?:", rest[0]) >= 0 {
			rest = strings.TrimLeft(rest[2:], " ")
			indicators++
		}
		deepest := open
		for _, c := range []byte(line) {
			switch c {
			case '[', '{':
				open++
				deepest = max(deepest, open)
			case ']', '}':
				open = max(0, open-1)
			}
		}
		at := &token.Position{Line: i + 1, Column: 1}
		switch {
		case len(line) > maxLine:
			d.failAt(at, "the line is longer than %d bytes", maxLine)
			return
		case indent > maxIndent || indicators > maxNested || deepest > maxNested:
			d.failAt(at, "the file is nested too deeply")
			return
		}
	}
}

// fail notes that something is wrong with a node, unless something was before.
func (d *decoder) fail(n ast.Node, format string, args ...any) {
	d.failAt(position(n), format, args...)
}

func (d *decoder) failAt(at *token.Position, format string, args ...any) {
	if d.err != nil {
		return
	}
	e := &FileError{Message: fmt.Sprintf(format, args...)}
	if at != nil && at.Line >= 1 && at.Line <= len(d.lines) {
		e.Line, e.Column, e.Source = at.Line, max(1, at.Column), d.lines[at.Line-1]
		if utf8.RuneCountInString(e.Source) > 200 {
			e.Source = string([]rune(e.Source)[:200]) // the caret may stand behind it
		}
	}
	d.err = e
}

// position is where a node begins. A mapping's own token is the colon behind
// its first key.
func position(n ast.Node) *token.Position {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return position(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(n.Key)
	}
	if t := n.GetToken(); t != nil {
		return t.Position
	}
	return nil
}

// A field is one key that a mapping may have.
type field struct {
	key  string
	read func(ast.Node)
}

// object reads a mapping with these keys. Keys in want must be there.
func (d *decoder) object(n ast.Node, what string, want []string, fields ...field) {
	if d.err != nil {
		return
	}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(n, "%s must be a mapping of keys to values", what)
		return
	}
	var seen []string
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			d.fail(v.Key, "a key must be a plain word")
			return
		}
		seen = append(seen, key.Value) // once: the parser refuses repeated keys
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			known := make([]string, len(fields))
			for k, f := range fields {
				known[k] = f.key
			}
			d.fail(key, "unknown key %q in %s; %s", key.Value, what, suggest(key.Value, known))
			return
		}
		if _, empty := v.Value.(*ast.NullNode); empty {
			d.fail(key, "%s has no value; leave the key out or give it one", key.Value)
			return
		}
		if fields[i].read(v.Value); d.err != nil {
			return
		}
	}
	for _, key := range want {
		if !slices.Contains(seen, key) {
			d.fail(n, "%s has no key %q", what, key)
			return
		}
	}
}

// list reads a sequence with at least one item.
func (d *decoder) list(n ast.Node, what string, each func(ast.Node)) {
	if d.err != nil {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(n, "%s must be a list", what)
		return
	}
	if len(seq.Values) == 0 {
		d.fail(n, "%s is an empty list; leave the key out or name something", what)
		return
	}
	for _, v := range seq.Values {
		if each(v); d.err != nil {
			return
		}
	}
}

// text reads a text, which may be a number that stands without quotes nowhere:
// 0123 and 1e3 are not what they look like.
func (d *decoder) text(n ast.Node, what string) string {
	switch n := n.(type) {
	case *ast.StringNode:
		if strings.TrimSpace(n.Value) == "" {
			d.fail(n, "%s is empty", what)
		}
		return n.Value
	case *ast.LiteralNode:
		if n.Value != nil && strings.TrimSpace(n.Value.Value) != "" {
			return strings.TrimSuffix(n.Value.Value, "\n")
		}
		d.fail(n, "%s is empty", what)
		return ""
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.fail(n, "anchors, aliases and tags have no place in a policy: write it out")
		return ""
	default:
		d.fail(n, "%s must be a text; put it in quotes", what)
		return ""
	}
}

// texts reads a list of different texts.
func (d *decoder) texts(n ast.Node, what string) []string {
	var all []string
	d.list(n, what, func(n ast.Node) {
		s := d.text(n, "an item of "+what)
		if slices.Contains(all, s) {
			d.fail(n, "%q stands in %s twice", s, what)
		}
		all = append(all, s)
	})
	return all
}

// maskWord reads a mask.
func (d *decoder) maskWord(n ast.Node) mask.Mask {
	var m mask.Mask
	s := d.text(n, "mask")
	if d.err != nil {
		return m
	}
	if err := m.UnmarshalText([]byte(s)); err != nil {
		d.fail(n, "%s", err)
	}
	return m
}

// name reads one of several words.
func (d *decoder) name(n ast.Node, what string, known []string) int {
	s := d.text(n, what)
	if d.err != nil {
		return 0
	}
	i := slices.Index(known, s)
	if i < 0 {
		d.fail(n, "unknown %s %q; %s", what, s, suggest(s, known))
	}
	return max(i, 0)
}

// integer reads a whole number from 1 to hi in decimal digits; _ may stand
// between them.
func (d *decoder) integer(n ast.Node, what string, hi int64) int64 {
	if d.err != nil {
		return 0
	}
	node, ok := n.(*ast.IntegerNode)
	if ok {
		digits := strings.ReplaceAll(node.GetToken().Value, "_", "")
		v, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && strconv.FormatInt(v, 10) == digits && v >= 1 && v <= hi {
			return v
		}
	}
	if hi == 1 {
		d.fail(n, "%s must be 1", what)
		return 0
	}
	d.fail(n, "%s must be a whole number from 1 to %d", what, hi)
	return 0
}

// duration reads "30s", "10m" or "1h30m".
func (d *decoder) duration(n ast.Node, what string, lo, hi time.Duration) time.Duration {
	if d.err != nil {
		return 0
	}
	if s, ok := n.(*ast.StringNode); ok {
		if v, err := time.ParseDuration(s.Value); err == nil && v >= lo && v <= hi {
			return v
		}
	}
	d.fail(n, "%s must be a duration from %s to %s, such as 30s, 10m or 1h30m", what, lo, hi)
	return 0
}

// sizes are the units of a size in bytes.
var sizes = [...]struct {
	unit  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// size reads "4MiB", "500KB" or a number of bytes, from 1 to most.
func (d *decoder) size(n ast.Node, most int64) int64 {
	if d.err != nil {
		return 0
	}
	digits, factor := "", int64(1)
	switch n := n.(type) {
	case *ast.IntegerNode:
		digits = n.GetToken().Value
	case *ast.StringNode:
		for _, u := range sizes {
			if rest, ok := strings.CutSuffix(n.Value, u.unit); ok {
				digits, factor = strings.TrimRight(rest, " "), u.bytes
				break
			}
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err == nil && strconv.FormatInt(v, 10) == digits && v > 0 && v <= most/factor {
		return v * factor
	}
	d.fail(n, "bytes must be a size up to %d MiB, such as 500KB or 4MiB", most>>20)
	return 0
}

// suggest says which of the known words was meant, or lists them.
func suggest(word string, known []string) string {
	best, distance := "", 1+max(1, utf8.RuneCountInString(word)/3)
	for _, k := range known {
		e := editDistance(strings.ToLower(word), k)
		if len(word) > 2 && strings.HasPrefix(k, word) {
			e = 1 // it only lacks its end
		}
		if e < distance {
			best, distance = k, e
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "it may be one of " + strings.Join(known, ", ")
}

// editDistance is how many characters have to be put in, left out, replaced or
// swapped with their neighbour to make b of a.
func editDistance(a, b string) int {
	const longest = 64 // more is no typing error
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
