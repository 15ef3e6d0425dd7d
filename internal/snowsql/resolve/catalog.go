package resolve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"querywarden/policy"
)

// A Catalog is what the account holds, as far as the gateway's role may see
// it. It does not change and is safe for concurrent use.
type Catalog struct {
	tables  []policy.Table
	byName  map[name]*policy.Table
	stages  map[name]*policy.Table
	schemas map[[2]string]bool
	version string
}

// A name is a full name as Snowflake stores it.
type name struct{ database, schema, object string }

// NewCatalog indexes tables and views, and the stages that something is known
// of, each with [StageColumn] as its only column.
func NewCatalog(tables []policy.Table) *Catalog {
	c := &Catalog{byName: make(map[name]*policy.Table, len(tables)), stages: map[name]*policy.Table{}, schemas: map[[2]string]bool{}}
	all := slices.Clone(tables)
	slices.SortFunc(all, func(a, b policy.Table) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	for i, t := range all {
		if t.Kind == policy.StageObject {
			c.stages[name{t.Database, t.Schema, t.Name}] = &all[i]
			continue
		}
		c.tables = append(c.tables, t)
	}
	for i := range c.tables {
		t := &c.tables[i]
		c.byName[name{t.Database, t.Schema, t.Name}] = t
		c.schemas[[2]string{t.Database, t.Schema}] = true
	}
	c.version = fingerprint(all)
	return c
}

// Version names what the catalog holds: two catalogs of one version are equal.
func (c *Catalog) Version() string { return c.version }

// VersionOf names what the catalog holds of one object: its columns with their
// types and labels, a view's definition, when it was made. Of an object that it
// does not have, it is empty.
func (c *Catalog) VersionOf(o policy.Object) string {
	t := c.Lookup(o.Database, o.Schema, o.Name)
	if t == nil {
		return ""
	}
	return fingerprint(t)
}

// fingerprint is the first 16 hexadecimal digits of the SHA-256 of a value's
// JSON.
func fingerprint(v any) string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(v); err != nil {
		panic(fmt.Sprintf("resolve: a table of plain fields cannot be encoded: %v", err))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Tables returns all tables and views, sorted by name. The caller does not
// change them.
func (c *Catalog) Tables() []policy.Table { return c.tables }

// Lookup returns the table or view of that name, nil if there is none.
func (c *Catalog) Lookup(database, schema, object string) *policy.Table {
	return c.byName[name{database, schema, object}]
}

// Stage returns the stage of that name, nil if nothing is known of it.
func (c *Catalog) Stage(database, schema, stage string) *policy.Table {
	return c.stages[name{database, schema, stage}]
}

// Similar returns up to n tables whose names are like the given one and that
// keep says may be named, the most similar first.
func (c *Catalog) Similar(object string, n int, keep func(policy.Table) bool) []policy.Table {
	type scored struct {
		table    policy.Table
		distance int
	}
	var found []scored
	for _, t := range c.tables {
		d := distance(strings.ToUpper(object), strings.ToUpper(t.Name))
		if d <= 2+len(object)/4 && keep(t) {
			found = append(found, scored{t, d})
		}
	}
	slices.SortStableFunc(found, func(a, b scored) int { return cmp.Compare(a.distance, b.distance) })
	var out []policy.Table
	for _, s := range found[:min(n, len(found))] {
		out = append(out, s.table)
	}
	return out
}

// distance is the Levenshtein distance of two names, in bytes.
func distance(a, b string) int {
	const longest = 255 // Snowflake's longest identifier
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
