package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"querywarden/audit"
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
)

// Rows keep their filters as values keep their masks. Before a statement puts
// rows into a table or a stage, the gate notes which relations it reads, anywhere
// in it, and under which filters. Policy keeps those from a copy who see fewer of
// the source's rows than the copier did ([policy.Table.Rows]).
//
// UPDATE and DELETE are not followed: one that looks at a filtered table would
// close a table that has always been open.

// rowLineageSchema is the table of notes on rows. What is not a stage is a
// table.
const rowLineageSchema = `
CREATE TABLE IF NOT EXISTS row_lineage (
	stage INTEGER NOT NULL, database TEXT NOT NULL, schema TEXT NOT NULL, name TEXT NOT NULL,
	from_database TEXT NOT NULL, from_schema TEXT NOT NULL, from_name TEXT NOT NULL,
	filters TEXT NOT NULL, -- that the copier had: a JSON list
	noted INTEGER NOT NULL, -- the entry of the log that let the statement through
	PRIMARY KEY (stage, database, schema, name, from_database, from_schema, from_name, filters)
) WITHOUT ROWID`

// A rowNote is a table or stage with what its rows were made of.
type rowNote struct {
	object policy.Object
	from   []policy.RowOrigin
}

// rowLineage is what the rows are made of that a statement writes.
func rowLineage(res *resolve.Resolution, filters []policy.RowFilter) []rowNote {
	from := rowSources(nil, res.Refs, filters)
	if len(from) == 0 {
		return nil
	}
	var notes []rowNote
	for _, a := range res.Statement.Accesses {
		if !filled(a, res.Tree) {
			continue
		}
		// A table's own rows are no news.
		others := slices.DeleteFunc(slices.Clone(from), func(o policy.RowOrigin) bool {
			return a.Object.Kind == policy.TableObject && o.Object == a.Object
		})
		if len(others) > 0 {
			notes = append(notes, rowNote{a.Object, others})
		}
	}
	return notes
}

// filled reports whether a statement may put rows into what it accesses.
func filled(a policy.Access, tree ast.Statement) bool {
	if a.Object.Kind == policy.StageObject {
		return a.Columns == nil // the files of one that is read are its column
	}
	if a.Object.Kind != policy.TableObject {
		return false // a view is looked into whenever it is read
	}
	switch a.Class {
	case policy.Read, policy.Session:
		return false
	case policy.Modify:
		_, merge := tree.(*ast.Merge)
		return merge
	default:
		return true
	}
}

// named is an object without its kind, as notes have it.
func named(o policy.Object) policy.Object {
	o.Kind = policy.TableObject
	return o
}

// rowSources adds the relations that rows come from, and what those were made
// of before.
func rowSources(list []policy.RowOrigin, refs []*resolve.Ref, filters []policy.RowFilter) []policy.RowOrigin {
	add := func(o policy.RowOrigin) {
		same := func(p policy.RowOrigin) bool { return p.Object == o.Object && slices.Equal(p.Where, o.Where) }
		if !slices.ContainsFunc(list, same) {
			list = append(list, o)
		}
	}
	for _, ref := range refs {
		list = rowSources(list, ref.Inside, filters)
		for _, before := range ref.Table.Rows {
			add(before)
		}
		if ref.Table.Kind == policy.StageObject {
			continue // which no filter stands on
		}
		own := policy.RowOrigin{Object: named(ref.Table.Object)}
		for _, f := range filters {
			if f.Object == ref.Table.Object {
				own.Where = append(own.Where, f.Where)
			}
		}
		slices.Sort(own.Where)
		add(own)
	}
	return list
}

// unknownRows returns the notes that the catalog does not carry yet.
func (g *Gate) unknownRows(notes []rowNote) []rowNote {
	catalog := g.catalog.Load()
	return slices.DeleteFunc(slices.Clone(notes), func(n rowNote) bool {
		t := catalog.Lookup(n.object.Database, n.object.Schema, n.object.Name)
		if n.object.Kind == policy.StageObject {
			t = catalog.Stage(n.object.Database, n.object.Schema, n.object.Name)
		}
		return t != nil && !slices.ContainsFunc(n.from, func(o policy.RowOrigin) bool {
			return !slices.ContainsFunc(t.Rows, func(p policy.RowOrigin) bool { return p.Object == o.Object && slices.Equal(p.Where, o.Where) })
		})
	})
}

// writeRowNotes writes notes on rows down.
func writeRowNotes(tx *audit.Tx, notes []rowNote, receipt audit.Receipt) error {
	n := 0
	for _, note := range notes {
		for _, o := range note.from {
			if n++; n > maxNotes {
				return errTooManyNotes
			}
			filters, err := json.Marshal(o.Where)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`INSERT INTO row_lineage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET noted = excluded.noted`,
				note.object.Kind == policy.StageObject, note.object.Database, note.object.Schema, note.object.Name,
				o.Object.Database, o.Object.Schema, o.Object.Name, string(filters), receipt.Index())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// A rowKey names a table or a stage.
type rowKey struct {
	stage                  bool
	database, schema, name string
}

// readRowNotes reads all notes on rows.
func readRowNotes(tx *audit.Tx) (found map[rowKey][]policy.RowOrigin, err error) {
	found = map[rowKey][]policy.RowOrigin{}
	rows, err := tx.Query(`SELECT stage, database, schema, name, from_database, from_schema, from_name, filters FROM row_lineage ORDER BY 1, 2, 3, 4, 5, 6, 7, 8`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k rowKey
		var o policy.RowOrigin
		var filters string
		if err := rows.Scan(&k.stage, &k.database, &k.schema, &k.name, &o.Object.Database, &o.Object.Schema, &o.Object.Name, &filters); err != nil {
			return nil, err
		}
		o.Object.Kind = policy.TableObject
		if err := json.Unmarshal([]byte(filters), &o.Where); err != nil {
			return nil, fmt.Errorf("reading the filters %q: %w", filters, err)
		}
		found[k] = append(found[k], o)
	}
	return found, rows.Err()
}
