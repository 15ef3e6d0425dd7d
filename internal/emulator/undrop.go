//go:build cgo

package emulator

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"querywarden/internal/snowsql/ast"
)

// A table that is dropped, or replaced by another, stays in DuckDB under a name
// that no statement can say, and what the catalog knew of it in three tables
// beside the catalog's own, until its retention time is over.
// docs.snowflake.com/en/user-guide/data-time-travel
//
// Schemas and databases do not come back.

var droppedTables = []string{
	`ALTER TABLE "_catalog".tables ADD COLUMN IF NOT EXISTS retention INTEGER DEFAULT 1`,
	`CREATE SEQUENCE IF NOT EXISTS "_catalog".drops`,
	`CREATE TABLE IF NOT EXISTS "_catalog".dropped_tables AS SELECT CAST(0 AS BIGINT) AS drop_id, now() AS dropped_on, '' AS engine_name, * FROM "_catalog".tables LIMIT 0`,
	`CREATE TABLE IF NOT EXISTS "_catalog".dropped_columns AS SELECT CAST(0 AS BIGINT) AS drop_id, * FROM "_catalog".columns LIMIT 0`,
	`CREATE TABLE IF NOT EXISTS "_catalog".dropped_tags AS SELECT CAST(0 AS BIGINT) AS drop_id, * FROM "_catalog".tag_references LIMIT 0`,
}

// setAside is what becomes of a table instead of DROP. A table without
// retention is gone at once.
func (s *session) setAside(ctx context.Context, o object) (bool, error) {
	const of = ` WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`
	retained, err := texts(ctx, s.conn, `SELECT table_name FROM "_catalog".tables`+of+` AND retention > 0`, o.database, o.schema, o.name)
	if err != nil || len(retained) == 0 {
		return false, err
	}
	ids, err := texts(ctx, s.conn, `SELECT CAST(nextval('"_catalog".drops') AS VARCHAR)`)
	if err != nil {
		return false, err
	}
	aside := "\x7fdropped " + ids[0]
	place := []any{o.database, o.schema, o.name}
	if err := exec(ctx, s.conn, "ALTER TABLE "+o.engineText()+" RENAME TO "+quoteIdent(aside)); err != nil {
		return false, err
	}
	id := ids[0]
	for _, text := range []string{
		`INSERT INTO "_catalog".dropped_tables SELECT ` + id + `, now(), ` + quoteString(aside) + `, * FROM "_catalog".tables` + of,
		`INSERT INTO "_catalog".dropped_columns SELECT ` + id + `, * FROM "_catalog".columns` + of,
		`INSERT INTO "_catalog".dropped_tags SELECT ` + id + `, * FROM "_catalog".tag_references WHERE object_database = ? AND object_schema = ? AND object_name = ?`,
	} {
		if err := exec(ctx, s.conn, text, place...); err != nil {
			return false, err
		}
	}
	return true, nil
}

// undrop brings back the newest table of a name.
// docs.snowflake.com/en/sql-reference/sql/undrop-table
func (s *session) undrop(ctx context.Context, n *ast.Undrop) (*result, error) {
	if n.Kind != "TABLE" || n.Options != nil {
		return nil, errUnsupported("UNDROP %s", n.Kind)
	}
	o, err := s.qualify(n.Name)
	if err != nil {
		return nil, err
	}
	o.kind = "BASE TABLE"
	err = s.define(ctx, func() error {
		if known, err := s.schemaExists(ctx, o.database, o.schema); err != nil {
			return err
		} else if !known {
			return errNoObject("Schema", o.database+"."+o.schema)
		}
		if kind, err := s.kindOf(ctx, o); err != nil {
			return err
		} else if kind != "" {
			return errExists(o.name, strings.TrimPrefix(kind, "BASE "))
		}
		found, err := texts(ctx, s.conn, `SELECT CAST(max(drop_id) AS VARCHAR) FROM "_catalog".dropped_tables
			WHERE table_catalog = ? AND table_schema = ? AND table_name = ? AND dropped_on > now() - to_days(retention) HAVING max(drop_id) IS NOT NULL`, o.database, o.schema, o.name)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errNoObject("Table", o.String())
		}
		return s.restore(ctx, o, found[0])
	})
	if err != nil {
		return nil, err
	}
	s.modifies(o)
	return status(typeDDL, "Table %s successfully restored.", o.name), nil
}

func (s *session) restore(ctx context.Context, o object, id string) error {
	aside, err := texts(ctx, s.conn, `SELECT engine_name FROM "_catalog".dropped_tables WHERE drop_id = `+id)
	if err != nil || len(aside) != 1 {
		return err
	}
	if err := s.may(ctx, ownership, o); err != nil {
		return err
	}
	if err := exec(ctx, s.conn, "ALTER TABLE "+quoteIdent(engineSchema(o.database, o.schema))+"."+quoteIdent(aside[0])+" RENAME TO "+quoteIdent(o.name)); err != nil {
		return err
	}
	for from, into := range map[string]string{"dropped_tables": "tables", "dropped_columns": "columns", "dropped_tags": "tag_references"} {
		more := ""
		if from == "dropped_tables" {
			more = ", dropped_on, engine_name"
		}
		if err := exec(ctx, s.conn, `INSERT INTO "_catalog".`+into+` SELECT * EXCLUDE (drop_id`+more+`) FROM "_catalog".`+from+` WHERE drop_id = `+id); err != nil {
			return err
		}
		if err := exec(ctx, s.conn, `DELETE FROM "_catalog".`+from+` WHERE drop_id = `+id); err != nil {
			return err
		}
	}
	return nil
}

// purge ends the retention of what is too old, or was in a schema that is no
// more.
func (s *session) purge(ctx context.Context) error {
	old, err := s.overdue(ctx)
	if err != nil {
		return err
	}
	for _, v := range old {
		if err := exec(ctx, s.conn, "DROP TABLE IF EXISTS "+quoteIdent(engineSchema(v[1], v[2]))+"."+quoteIdent(v[3])); err != nil {
			return err
		}
		if err := s.forgetDropped(ctx, "drop_id = "+v[0]); err != nil {
			return err
		}
	}
	return nil
}

// overdue are the tables whose retention is over: their number, database,
// schema and name in the engine.
func (s *session) overdue(ctx context.Context) ([][4]string, error) {
	rows, err := s.conn.QueryContext(ctx, `SELECT CAST(drop_id AS VARCHAR), table_catalog, table_schema, engine_name FROM "_catalog".dropped_tables WHERE dropped_on <= now() - to_days(retention)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var old [][4]string
	for rows.Next() {
		var v [4]string
		if err := rows.Scan(&v[0], &v[1], &v[2], &v[3]); err != nil {
			return nil, err
		}
		old = append(old, v)
	}
	return old, rows.Err()
}

func (s *session) forgetDropped(ctx context.Context, condition string, args ...any) error {
	for _, table := range []string{"dropped_columns", "dropped_tags", "dropped_tables"} {
		if err := exec(ctx, s.conn, `DELETE FROM "_catalog".`+table+` WHERE drop_id IN (SELECT drop_id FROM "_catalog".dropped_tables WHERE `+condition+`)`, args...); err != nil {
			return err
		}
	}
	return nil
}

// retentionOf finds DATA_RETENTION_TIME_IN_DAYS among options, -1 if it is not
// there.
func retentionOf(options *ast.Tokens) (int, error) {
	value, ok := optionsOf(options)["DATA_RETENTION_TIME_IN_DAYS"]
	if !ok {
		return -1, nil
	}
	days, err := strconv.Atoi(value)
	if err != nil || days < 0 || days > 90 {
		return 0, &sqlError{code: "001008", state: "22023", message: compilation + fmt.Sprintf("invalid value [%s] for parameter 'DATA_RETENTION_TIME_IN_DAYS'", value)}
	}
	return days, nil
}

func (s *session) setRetention(ctx context.Context, o object, days int) error {
	if days < 0 {
		return nil
	}
	return exec(ctx, s.conn, `UPDATE "_catalog".tables SET retention = ? WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, days, o.database, o.schema, o.name)
}
