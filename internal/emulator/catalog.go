//go:build cgo

package emulator

import (
	"context"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

const (
	publicSchema      = "PUBLIC"
	informationSchema = "INFORMATION_SCHEMA"
)

// catalogTables are the emulator's own record of what was declared, in
// Snowflake's words; DuckDB's catalog knows its own types and texts only. It is
// changed in the transaction that changes the objects.
var catalogTables = []string{
	`CREATE SCHEMA IF NOT EXISTS "_catalog"`,
	`CREATE TABLE IF NOT EXISTS "_catalog".databases (
		database_name VARCHAR PRIMARY KEY, comment VARCHAR, created TIMESTAMPTZ DEFAULT now())`,
	`CREATE TABLE IF NOT EXISTS "_catalog".schemata (
		catalog_name VARCHAR, schema_name VARCHAR, comment VARCHAR, created TIMESTAMPTZ DEFAULT now(),
		PRIMARY KEY (catalog_name, schema_name))`,
	`CREATE TABLE IF NOT EXISTS "_catalog".tables (
		table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, table_type VARCHAR, table_owner VARCHAR,
		is_secure BOOLEAN, view_definition VARCHAR, comment VARCHAR,
		created TIMESTAMPTZ DEFAULT now(), last_altered TIMESTAMPTZ DEFAULT now(),
		PRIMARY KEY (table_catalog, table_schema, table_name))`,
	`CREATE TABLE IF NOT EXISTS "_catalog".columns (
		table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, column_name VARCHAR, ordinal_position INTEGER,
		column_default VARCHAR, is_nullable BOOLEAN, declared VARCHAR, data_type VARCHAR,
		numeric_precision INTEGER, numeric_scale INTEGER, character_maximum_length INTEGER, datetime_precision INTEGER,
		comment VARCHAR)`,
	`CREATE TABLE IF NOT EXISTS "_catalog".tags (tag_database VARCHAR, tag_schema VARCHAR, tag_name VARCHAR)`,
	`CREATE TABLE IF NOT EXISTS "_catalog".tag_references (
		object_database VARCHAR, object_schema VARCHAR, object_name VARCHAR, column_name VARCHAR,
		tag_database VARCHAR, tag_schema VARCHAR, tag_name VARCHAR, tag_value VARCHAR)`,
}

// informationViews are the views of a database's INFORMATION_SCHEMA, without
// their CREATE; $database stands for the database's name as a string.
// docs.snowflake.com/en/sql-reference/info-schema
var informationViews = map[string]string{
	"DATABASES": `SELECT database_name AS "DATABASE_NAME", 'ACCOUNTADMIN' AS "DATABASE_OWNER", 'NO' AS "IS_TRANSIENT",
		comment AS "COMMENT", created AS "CREATED", created AS "LAST_ALTERED", CAST(1 AS DECIMAL(9,0)) AS "RETENTION_TIME"
		FROM "_catalog".databases WHERE ` + visible("database_name", "'ACCOUNTADMIN'"),
	"SCHEMATA": `SELECT catalog_name AS "CATALOG_NAME", schema_name AS "SCHEMA_NAME", 'ACCOUNTADMIN' AS "SCHEMA_OWNER",
		'NO' AS "IS_TRANSIENT", 'NO' AS "IS_MANAGED_ACCESS", created AS "CREATED", created AS "LAST_ALTERED", comment AS "COMMENT",
		CAST(1 AS DECIMAL(9,0)) AS "RETENTION_TIME"
		FROM "_catalog".schemata WHERE catalog_name = $database AND ` + visible("catalog_name || '.' || schema_name", "'ACCOUNTADMIN'"),
	"TABLES": `SELECT table_catalog AS "TABLE_CATALOG", table_schema AS "TABLE_SCHEMA", table_name AS "TABLE_NAME",
		table_owner AS "TABLE_OWNER", table_type AS "TABLE_TYPE", CASE WHEN table_type = 'BASE TABLE' THEN 'NO' END AS "IS_TRANSIENT",
		created AS "CREATED", last_altered AS "LAST_ALTERED", comment AS "COMMENT",
		CASE WHEN table_type = 'BASE TABLE' THEN CAST(1 AS DECIMAL(9,0)) END AS "RETENTION_TIME"
		FROM "_catalog".tables WHERE table_catalog = $database AND ` + visible("table_catalog || '.' || table_schema || '.' || table_name", "table_owner"),
	"VIEWS": `SELECT table_catalog AS "TABLE_CATALOG", table_schema AS "TABLE_SCHEMA", table_name AS "TABLE_NAME",
		table_owner AS "TABLE_OWNER", view_definition AS "VIEW_DEFINITION", 'NONE' AS "CHECK_OPTION", 'NO' AS "IS_UPDATABLE",
		'NO' AS "INSERTABLE_INTO", CASE WHEN is_secure THEN 'YES' ELSE 'NO' END AS "IS_SECURE",
		created AS "CREATED", last_altered AS "LAST_ALTERED", comment AS "COMMENT"
		FROM "_catalog".tables WHERE table_catalog = $database AND table_type = 'VIEW' AND ` + visible("table_catalog || '.' || table_schema || '.' || table_name", "table_owner"),
	"COLUMNS": `SELECT table_catalog AS "TABLE_CATALOG", table_schema AS "TABLE_SCHEMA", table_name AS "TABLE_NAME",
		column_name AS "COLUMN_NAME", CAST(ordinal_position AS DECIMAL(9,0)) AS "ORDINAL_POSITION", column_default AS "COLUMN_DEFAULT",
		CASE WHEN is_nullable THEN 'YES' ELSE 'NO' END AS "IS_NULLABLE", data_type AS "DATA_TYPE",
		CAST(character_maximum_length AS DECIMAL(9,0)) AS "CHARACTER_MAXIMUM_LENGTH",
		CAST(CASE WHEN data_type = 'TEXT' THEN least(4 * character_maximum_length, 16777216) ELSE character_maximum_length END AS DECIMAL(9,0)) AS "CHARACTER_OCTET_LENGTH",
		CAST(numeric_precision AS DECIMAL(9,0)) AS "NUMERIC_PRECISION",
		CAST(CASE WHEN numeric_precision IS NOT NULL THEN 10 END AS DECIMAL(9,0)) AS "NUMERIC_PRECISION_RADIX",
		CAST(numeric_scale AS DECIMAL(9,0)) AS "NUMERIC_SCALE", CAST(datetime_precision AS DECIMAL(9,0)) AS "DATETIME_PRECISION",
		'NO' AS "IS_IDENTITY", c.comment AS "COMMENT"
		FROM "_catalog".columns c JOIN "_catalog".tables t USING (table_catalog, table_schema, table_name)
		WHERE table_catalog = $database AND ` + visible("table_catalog || '.' || table_schema || '.' || table_name", "table_owner"),
}

// A definition is a column as the catalog records it.
type definition struct {
	name        string
	typ         dataType
	notNull     bool
	defaultText string // in Snowflake's dialect
	comment     string
}

// addDatabase makes a database with its PUBLIC and INFORMATION_SCHEMA.
func (s *session) addDatabase(ctx context.Context, name, comment string) error {
	if err := exec(ctx, s.conn, `INSERT INTO "_catalog".databases (database_name, comment) VALUES (?, ?)`, name, nullable(comment)); err != nil {
		return err
	}
	for _, schema := range []string{publicSchema, informationSchema} {
		if err := s.addSchema(ctx, name, schema, ""); err != nil {
			return err
		}
	}
	for view, text := range informationViews {
		o := object{name, informationSchema, view, "VIEW"}
		text = strings.ReplaceAll(text, "$database", quoteString(name))
		if err := exec(ctx, s.conn, "CREATE VIEW "+o.engineText()+" AS "+text); err != nil {
			return err
		}
		if err := s.addObject(ctx, o, objectDetails{}); err != nil {
			return err
		}
		columns, err := s.columnsOfQuery(ctx, text)
		if err != nil {
			return err
		}
		if err := s.addColumns(ctx, o, columns); err != nil {
			return err
		}
	}
	return nil
}

func quoteString(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (s *session) addSchema(ctx context.Context, database, name, comment string) error {
	if err := exec(ctx, s.conn, "CREATE SCHEMA "+quoteIdent(engineSchema(database, name))); err != nil {
		return err
	}
	return exec(ctx, s.conn, `INSERT INTO "_catalog".schemata (catalog_name, schema_name, comment) VALUES (?, ?, ?)`, database, name, nullable(comment))
}

func (s *session) dropSchema(ctx context.Context, database, name string) error {
	if err := exec(ctx, s.conn, "DROP SCHEMA "+quoteIdent(engineSchema(database, name))+" CASCADE"); err != nil {
		return err
	}
	if err := s.forgetDropped(ctx, `table_catalog = ? AND table_schema = ?`, database, name); err != nil {
		return err
	}
	for _, table := range []string{"columns", "tables"} {
		if err := exec(ctx, s.conn, `DELETE FROM "_catalog".`+table+` WHERE table_catalog = ? AND table_schema = ?`, database, name); err != nil {
			return err
		}
	}
	return exec(ctx, s.conn, `DELETE FROM "_catalog".schemata WHERE catalog_name = ? AND schema_name = ?`, database, name)
}

// objectDetails are what the catalog records of a table or view besides its
// name.
type objectDetails struct {
	secure     bool
	definition string // of a view, the statement that made it
	comment    string
}

func (s *session) addObject(ctx context.Context, o object, d objectDetails) error {
	if err := s.inherit(ctx, o); err != nil {
		return err
	}
	return exec(ctx, s.conn, `INSERT INTO "_catalog".tables (table_catalog, table_schema, table_name, table_type, table_owner, is_secure, view_definition, comment)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, o.database, o.schema, o.name, o.kind, s.role, d.secure, nullable(d.definition), nullable(d.comment))
}

// addColumns records columns behind those that the object has already.
func (s *session) addColumns(ctx context.Context, o object, columns []definition) error {
	for _, c := range columns {
		var precision, scale, length, datetime any
		switch c.typ.name {
		case "NUMBER":
			precision, scale = c.typ.precision, c.typ.scale
		case "VARCHAR", "BINARY":
			length = c.typ.length
		case "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
			datetime = c.typ.scale
		}
		err := exec(ctx, s.conn, `INSERT INTO "_catalog".columns
			SELECT ?1, ?2, ?3, ?4, coalesce(max(ordinal_position), 0) + 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
			FROM "_catalog".columns WHERE table_catalog = ?1 AND table_schema = ?2 AND table_name = ?3`,
			o.database, o.schema, o.name, c.name, nullable(c.defaultText), !c.notNull, c.typ.String(), c.typ.informationName(),
			precision, scale, length, datetime, nullable(c.comment))
		if err != nil {
			return err
		}
	}
	return nil
}

// removeObject takes a table or view out of DuckDB and the catalog.
func (s *session) removeObject(ctx context.Context, o object) error {
	kind, aside := "VIEW ", false
	if o.kind != "VIEW" {
		kind = "TABLE "
		var err error
		if aside, err = s.setAside(ctx, o); err != nil {
			return err
		}
	}
	if !aside {
		if err := exec(ctx, s.conn, "DROP "+kind+o.engineText()); err != nil {
			return err
		}
	}
	if err := exec(ctx, s.conn, `DELETE FROM "_catalog".tag_references WHERE object_database = ? AND object_schema = ? AND object_name = ?`, o.database, o.schema, o.name); err != nil {
		return err
	}
	for _, table := range []string{"columns", "tables"} {
		if err := exec(ctx, s.conn, `DELETE FROM "_catalog".`+table+` WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, o.database, o.schema, o.name); err != nil {
			return err
		}
	}
	return nil
}

// touch notes that an object has changed.
func (s *session) touch(ctx context.Context, o object) error {
	return exec(ctx, s.conn, `UPDATE "_catalog".tables SET last_altered = now() WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, o.database, o.schema, o.name)
}

// columnsOfQuery describes the columns of a DuckDB query as a table made of it
// would have them.
func (s *session) columnsOfQuery(ctx context.Context, text string) ([]definition, error) {
	var out []definition
	err := s.conn.Raw(func(native any) error {
		prepared, err := native.(*duckdb.Conn).PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		stmt := prepared.(*duckdb.Stmt)
		defer stmt.Close()
		n, err := stmt.ColumnCount()
		for i := 0; i < n && err == nil; i++ {
			var d definition
			var info duckdb.TypeInfo
			if d.name, err = stmt.ColumnName(i); err != nil {
				break
			}
			if info, err = stmt.ColumnTypeInfo(i); err != nil {
				break
			}
			d.typ, _ = fromDuckDB(info)
			out = append(out, d)
		}
		return err
	})
	return out, err
}

// columnDefinitions reads what the catalog knows of an object's columns.
func (s *session) columnDefinitions(ctx context.Context, o object) ([]definition, error) {
	rows, err := s.conn.QueryContext(ctx, `SELECT column_name, declared, NOT is_nullable, coalesce(column_default, ''), coalesce(comment, '')
		FROM "_catalog".columns WHERE table_catalog = ? AND table_schema = ? AND table_name = ? ORDER BY ordinal_position`, o.database, o.schema, o.name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []definition
	for rows.Next() {
		var d definition
		var declared string
		if err := rows.Scan(&d.name, &declared, &d.notNull, &d.defaultText, &d.comment); err != nil {
			return nil, err
		}
		if d.typ, err = parseType(declared); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

// columnTypes is like columnDefinitions and has nothing where that fails: the
// types are a help, not a promise.
func (s *session) columnTypes(ctx context.Context, o object) []typedColumn {
	definitions, err := s.columnDefinitions(ctx, o)
	if err != nil {
		return nil
	}
	var out []typedColumn
	for _, d := range definitions {
		out = append(out, typedColumn{d.name, &d.typ})
	}
	return out
}
