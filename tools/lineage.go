package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"querywarden/audit"
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/resolve"
	"querywarden/policy"
	"querywarden/policy/mask"
)

// What is copied keeps its masks. Before a statement writes to a table, the
// gate notes which columns the values come from, in the log's own database; the
// catalog carries the notes, and policy masks a copy as it masks the column
// that it was made of ([policy.Column.From]). Where the copier saw a column
// under a mask, the note says which, so that nobody masks twice.
//
// A note is made before the statement runs and stays if it fails: a mask too
// much is better than one too few. CREATE ends the notes on what was there before.

// A note is a column of a table, or the files of a stage, with what it was
// filled from.
type note struct {
	object policy.Object
	column string // "*" stands for every column, [resolve.StageColumn] for files
	from   []policy.Origin
}

// lineageSchema is the table of notes. Objects are their parts; kind is left
// out, since a name is one object's at a time.
const lineageSchema = `
CREATE TABLE IF NOT EXISTS lineage (
	database TEXT NOT NULL, schema TEXT NOT NULL, name TEXT NOT NULL, column_name TEXT NOT NULL,
	from_database TEXT NOT NULL, from_schema TEXT NOT NULL, from_name TEXT NOT NULL, from_column TEXT NOT NULL,
	mask TEXT NOT NULL, -- empty: the copier saw the values
	noted INTEGER NOT NULL, -- the entry of the log that let the statement through
	PRIMARY KEY (database, schema, name, column_name, from_database, from_schema, from_name, from_column, mask)
) WITHOUT ROWID`

// maxNotes bounds what one statement may note.
const maxNotes = 20_000

var errTooManyNotes = errors.New("the statement copies too many columns at once")

// lineage is what a statement copies, from the columns of tables and not of
// views.
func lineage(written []resolve.Written, masks []policy.ColumnMask) []note {
	var notes []note
	for _, w := range written {
		n := note{object: w.Object, column: w.Column}
		n.from = sources(nil, w.Origins, masks)
		// A column of the table itself is no news.
		n.from = slices.DeleteFunc(n.from, func(o policy.Origin) bool { return o.Object == w.Object && o.Column == w.Column && !o.Masked })
		if len(n.from) > 0 {
			notes = append(notes, n)
		}
	}
	return notes
}

// ended is what a statement makes anew, so that what stood there before is out of
// reach. What is only dropped can come back (UNDROP), what is only emptied can
// still be seen as it was, and what was once unloaded to a stage may lie there.
func ended(tree ast.Statement, s policy.Statement) []policy.Object {
	made, ok := tree.(*ast.Create)
	if !ok || made.IfNotExists {
		return nil
	}
	var list []policy.Object
	for _, a := range s.Accesses {
		if a.Class == policy.Destroy || a.Class == policy.Create {
			list = append(list, a.Object)
		}
	}
	return list
}

// sources adds the columns that values come from, and what those were copied
// from before.
func sources(list []policy.Origin, origins []resolve.Origin, masks []policy.ColumnMask) []policy.Origin {
	add := func(o policy.Origin) {
		if !slices.ContainsFunc(list, func(p policy.Origin) bool {
			return p.Object == o.Object && p.Column == o.Column && p.Masked == o.Masked && p.Mask == o.Mask
		}) {
			list = append(list, o)
		}
	}
	for _, o := range origins {
		t := o.Ref.Table
		i := slices.IndexFunc(t.Columns, func(c policy.Column) bool { return c.Name == o.Column })
		if i < 0 {
			continue
		}
		if i < len(o.Ref.Yields) {
			list = sources(list, o.Ref.Yields[i].Origins, masks)
		}
		source := policy.Origin{Object: t.Object, Column: o.Column, Labels: t.Columns[i].Labels}
		source.Object.Kind = policy.TableObject // as notes have it: the kind decides nothing
		for _, m := range masks {
			if m.Object == t.Object && m.Column == o.Column {
				source.Masked, source.Mask = true, m.Mask
			}
		}
		add(source)
		for _, before := range t.Columns[i].From {
			if source.Masked {
				if before.Masked {
					before.Mask = mask.Strictest(before.Mask, source.Mask)
				} else {
					before.Masked, before.Mask = true, source.Mask
				}
			}
			add(before)
		}
	}
	return list
}

// unknown returns the notes that the catalog does not carry yet.
func (g *Gate) unknown(notes []note) []note {
	catalog := g.catalog.Load()
	return slices.DeleteFunc(slices.Clone(notes), func(n note) bool {
		t := catalog.Lookup(n.object.Database, n.object.Schema, n.object.Name)
		if t == nil {
			return false
		}
		i := slices.IndexFunc(t.Columns, func(c policy.Column) bool { return c.Name == n.column })
		return i >= 0 && !slices.ContainsFunc(n.from, func(o policy.Origin) bool {
			return !slices.ContainsFunc(t.Columns[i].From, func(p policy.Origin) bool {
				return p.Object == o.Object && p.Column == o.Column && p.Masked == o.Masked && p.Mask == o.Mask
			})
		})
	})
}

// noteLineage writes notes down and puts them into the catalog.
func (g *Gate) noteLineage(ctx context.Context, notes []note, rows []rowNote, receipt audit.Receipt) error {
	if len(notes) == 0 && len(rows) == 0 {
		return nil
	}
	n := 0
	err := g.config.Log.Update(ctx, func(tx *audit.Tx) error {
		for _, note := range notes {
			for _, o := range note.from {
				if n++; n > maxNotes {
					return errTooManyNotes
				}
				m := ""
				if o.Masked {
					m = o.Mask.String()
				}
				_, err := tx.Exec(`INSERT INTO lineage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET noted = excluded.noted`,
					note.object.Database, note.object.Schema, note.object.Name, note.column,
					o.Object.Database, o.Object.Schema, o.Object.Name, o.Column, m, receipt.Index())
				if err != nil {
					return err
				}
			}
		}
		return writeRowNotes(tx, rows, receipt)
	})
	if err != nil {
		return fmt.Errorf("noting what the statement copies: %w", err)
	}
	return g.relabel(ctx)
}

// forget ends the notes on an object that is no more what it was, up to the
// entry of the statement that saw to that.
func (g *Gate) forget(ctx context.Context, o policy.Object, receipt audit.Receipt) error {
	err := g.config.Log.Update(ctx, func(tx *audit.Tx) error {
		_, err := tx.Exec(`DELETE FROM lineage WHERE database = ? AND schema = ? AND name = ? AND column_name <> ? AND noted < ?`, o.Database, o.Schema, o.Name, resolve.StageColumn, receipt.Index())
		if err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM row_lineage WHERE NOT stage AND database = ? AND schema = ? AND name = ? AND noted < ?`, o.Database, o.Schema, o.Name, receipt.Index())
		return err
	})
	if err != nil {
		return fmt.Errorf("forgetting what a table was copied from: %w", err)
	}
	return nil
}

// columnKey names a column.
type columnKey struct{ database, schema, name, column string }

// notes reads all notes.
func (g *Gate) notes(ctx context.Context) (found map[columnKey][]policy.Origin, onRows map[rowKey][]policy.RowOrigin, err error) {
	found = map[columnKey][]policy.Origin{}
	err = g.config.Log.Update(ctx, func(tx *audit.Tx) error {
		rows, err := tx.Query(`SELECT database, schema, name, column_name, from_database, from_schema, from_name, from_column, mask FROM lineage`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k columnKey
			var o policy.Origin
			var m string
			if err := rows.Scan(&k.database, &k.schema, &k.name, &k.column, &o.Object.Database, &o.Object.Schema, &o.Object.Name, &o.Column, &m); err != nil {
				return err
			}
			o.Object.Kind = policy.TableObject
			if m != "" {
				o.Masked = true
				if err := o.Mask.UnmarshalText([]byte(m)); err != nil {
					return fmt.Errorf("reading the mask %q: %w", m, err)
				}
			}
			found[k] = append(found[k], o)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		onRows, err = readRowNotes(tx)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading what tables were copied from: %w", err)
	}
	return found, onRows, nil
}

// labelled returns the tables with their notes, and with the labels that the
// columns have today which they were copied from.
func labelled(tables []policy.Table, notes map[columnKey][]policy.Origin, onRows map[rowKey][]policy.RowOrigin) []policy.Table {
	if len(notes) == 0 && len(onRows) == 0 {
		return tables
	}
	labels := map[columnKey][]string{}
	for _, t := range tables {
		for _, c := range t.Columns {
			if len(c.Labels) > 0 {
				labels[columnKey{t.Database, t.Schema, t.Name, c.Name}] = c.Labels
			}
		}
	}
	out := slices.Clone(tables)
	for k := range onRows {
		if k.stage { // which has notes on its rows if it has any
			out = append(out, policy.Table{
				Object:  policy.Object{Kind: policy.StageObject, Database: k.database, Schema: k.schema, Name: k.name},
				Columns: []policy.Column{{Name: resolve.StageColumn, Type: "VARIANT"}},
			})
		}
	}
	for i, t := range out {
		out[i].Rows = onRows[rowKey{t.Kind == policy.StageObject, t.Database, t.Schema, t.Name}]
		var columns []policy.Column
		for k, c := range t.Columns {
			from := slices.Concat(notes[columnKey{t.Database, t.Schema, t.Name, c.Name}], notes[columnKey{t.Database, t.Schema, t.Name, "*"}])
			if len(from) == 0 {
				continue
			}
			for f := range from {
				o := &from[f]
				o.Labels = labels[columnKey{o.Object.Database, o.Object.Schema, o.Object.Name, o.Column}]
			}
			slices.SortFunc(from, func(a, b policy.Origin) int {
				return cmp.Or(cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Mask.String(), b.Mask.String()))
			})
			if columns == nil {
				columns = slices.Clone(t.Columns)
			}
			columns[k].From = from
		}
		if columns != nil {
			out[i].Columns = columns
		}
	}
	return out
}
