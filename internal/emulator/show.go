//go:build cgo

package emulator

import (
	"context"
	"strings"

	"querywarden/internal/snowsql/ast"
)

// showQueries answer SHOW over the catalog: the columns, and the names of the
// catalog's columns that LIKE and IN look at.
// docs.snowflake.com/en/sql-reference/sql/show
var showQueries = map[string]struct {
	text                   string
	name, database, schema string
	full                   string // the object's whole name
	order                  string
}{
	"DATABASES": {
		text: `SELECT created AS "created_on", database_name AS "name", 'N' AS "is_default",
			CASE WHEN database_name = $current THEN 'Y' ELSE 'N' END AS "is_current", '' AS "origin", 'ACCOUNTADMIN' AS "owner",
			coalesce(comment, '') AS "comment", '' AS "options", '1' AS "retention_time", 'STANDARD' AS "kind"
			FROM "_catalog".databases`,
		name: "database_name", database: "database_name", full: "database_name", order: "database_name",
	},
	"SCHEMAS": {
		text: `SELECT created AS "created_on", schema_name AS "name", 'N' AS "is_default", 'N' AS "is_current",
			catalog_name AS "database_name", 'ACCOUNTADMIN' AS "owner", coalesce(comment, '') AS "comment", '' AS "options", '1' AS "retention_time"
			FROM "_catalog".schemata`,
		name: "schema_name", database: "catalog_name", schema: "schema_name", full: "catalog_name || '.' || schema_name", order: "catalog_name, schema_name",
	},
	"TABLES": {
		text: `SELECT t.created AS "created_on", table_name AS "name", table_catalog AS "database_name", table_schema AS "schema_name",
			'TABLE' AS "kind", coalesce(t.comment, '') AS "comment", '' AS "cluster_by", CAST(d.estimated_size AS BIGINT) AS "rows",
			CAST(0 AS BIGINT) AS "bytes", table_owner AS "owner", CAST(retention AS VARCHAR) AS "retention_time"
			FROM "_catalog".tables t LEFT JOIN (SELECT schema_name, table_name AS engine_name, estimated_size FROM duckdb_tables()) d
			ON d.engine_name = t.table_name AND d.schema_name = replace(replace(table_catalog, '%', '%25'), '.', '%2E') || '.' || replace(replace(table_schema, '%', '%25'), '.', '%2E')
			WHERE table_type = 'BASE TABLE'`,
		name: "table_name", database: "table_catalog", schema: "table_schema", full: "table_catalog || '.' || table_schema || '.' || table_name", order: "table_catalog, table_schema, table_name",
	},
	"VIEWS": {
		text: `SELECT created AS "created_on", table_name AS "name", '' AS "reserved", table_catalog AS "database_name",
			table_schema AS "schema_name", table_owner AS "owner", coalesce(comment, '') AS "comment", coalesce(view_definition, '') AS "text",
			CASE WHEN is_secure THEN 'true' ELSE 'false' END AS "is_secure", 'false' AS "is_materialized"
			FROM "_catalog".tables WHERE table_type = 'VIEW'`,
		name: "table_name", database: "table_catalog", schema: "table_schema", full: "table_catalog || '.' || table_schema || '.' || table_name", order: "table_catalog, table_schema, table_name",
	},
	"COLUMNS": {
		text: `SELECT table_name AS "table_name", table_schema AS "schema_name", column_name AS "column_name",
			CAST(json_object('type', CASE WHEN data_type = 'NUMBER' THEN 'FIXED' ELSE data_type END, 'precision', numeric_precision,
				'scale', numeric_scale, 'length', character_maximum_length, 'nullable', is_nullable) AS VARCHAR) AS "data_type",
			CASE WHEN is_nullable THEN 'true' ELSE 'NOT_NULL' END AS "null?", coalesce(column_default, '') AS "default", 'COLUMN' AS "kind",
			'' AS "expression", coalesce(comment, '') AS "comment", table_catalog AS "database_name", '' AS "autoincrement"
			FROM "_catalog".columns`,
		name: "column_name", database: "table_catalog", schema: "table_schema", full: "table_catalog || '.' || table_schema || '.' || table_name", order: "table_catalog, table_schema, table_name, ordinal_position",
	},
}

func (s *session) show(ctx context.Context, n *ast.Show) (*result, error) {
	if r, ok, err := s.showAccount(ctx, n); ok || err != nil {
		return r, err
	}
	// What the role may not see is not shown.
	if _, err := s.rightsNow(ctx); err != nil {
		return nil, err
	}
	q, ok := showQueries[n.What]
	if !ok || n.History || n.Options != nil {
		return nil, errUnsupported("SHOW %s", n.What)
	}
	conditions := []string{visible(q.full, "''")}
	if n.Like != nil {
		conditions = append(conditions, q.name+" ILIKE "+quoteString(n.Like.Value)+` ESCAPE '\'`)
	}
	scope, err := s.showScope(ctx, n)
	if err != nil {
		return nil, err
	}
	if scope.database != "" && q.database != "" {
		conditions = append(conditions, q.database+" = "+quoteString(scope.database))
	}
	if scope.schema != "" && q.schema != "" {
		conditions = append(conditions, q.schema+" = "+quoteString(scope.schema))
	}
	if scope.name != "" {
		conditions = append(conditions, "table_name = "+quoteString(scope.name))
	}
	text := strings.ReplaceAll(q.text, "$current", quoteString(s.database))
	if len(conditions) > 0 {
		glue := " WHERE "
		if strings.Contains(text, "WHERE table_type") {
			glue = " AND "
		}
		text += glue + strings.Join(conditions, " AND ")
	}
	r, err := s.selectRows(ctx, text+" ORDER BY "+q.order, nil, false)
	if err != nil {
		return nil, err
	}
	r.typeID = typeShow
	return r, nil
}

// showScope is what SHOW looks into: an empty part is all of them.
func (s *session) showScope(ctx context.Context, n *ast.Show) (object, error) {
	var parts []string
	if n.In != nil {
		if n.In.Dynamic != nil {
			return object{}, errUnsupported("IDENTIFIER")
		}
		for _, p := range n.In.Parts {
			if p != nil {
				parts = append(parts, p.Fold())
			}
		}
	}
	scope := n.Scope
	if scope == "" && len(parts) > 0 {
		// A bare name is a schema's; for schemas and columns, what is above
		// them.
		switch {
		case n.What == "COLUMNS":
			scope = "TABLE"
		case n.What == "SCHEMAS", len(parts) == 1:
			scope = "DATABASE"
			if known, err := s.schemaExists(ctx, s.database, parts[0]); err != nil {
				return object{}, err
			} else if known && n.What != "SCHEMAS" {
				scope = "SCHEMA"
			}
		default:
			scope = "SCHEMA"
		}
	}
	switch {
	case scope == "ACCOUNT", n.What == "DATABASES":
		return object{}, nil
	case scope == "" && n.What == "SCHEMAS", scope == "DATABASE" && len(parts) == 0:
		return object{database: s.database}, nil
	case scope == "", scope == "SCHEMA" && len(parts) == 0:
		return object{database: s.database, schema: s.schema}, nil
	case scope == "DATABASE" && len(parts) == 1:
		known, err := s.databaseExists(ctx, parts[0])
		if err == nil && !known {
			err = errNoPlace(parts[0])
		}
		return object{database: parts[0]}, err
	case scope == "SCHEMA" && len(parts) <= 2:
		o := object{database: s.database, schema: parts[len(parts)-1]}
		if len(parts) == 2 {
			o.database = parts[0]
		}
		known, err := s.schemaExists(ctx, o.database, o.schema)
		if err == nil && !known {
			err = errNoPlace(strings.Join(parts, "."))
		}
		return o, err
	case (scope == "TABLE" || scope == "VIEW") && n.In != nil:
		return s.lookup(ctx, n.In)
	default:
		return object{}, errUnsupported("SHOW %s IN %s", n.What, scope)
	}
}

// describe answers DESCRIBE TABLE and VIEW.
// docs.snowflake.com/en/sql-reference/sql/desc-table
func (s *session) describe(ctx context.Context, n *ast.Describe) (*result, error) {
	if r, ok, err := s.describeAccount(ctx, n); ok || err != nil {
		return r, err
	}
	switch n.Kind {
	case "TABLE", "VIEW", "":
	default:
		return nil, errUnsupported("DESCRIBE %s", n.Kind)
	}
	o, err := s.lookup(ctx, n.Name)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, "SELECT", o); err != nil {
		return nil, err
	}
	r, err := s.selectRows(ctx, `SELECT column_name AS "name", declared AS "type", 'COLUMN' AS "kind",
		CASE WHEN is_nullable THEN 'Y' ELSE 'N' END AS "null?", column_default AS "default", 'N' AS "primary key", 'N' AS "unique key",
		CAST(NULL AS VARCHAR) AS "check", CAST(NULL AS VARCHAR) AS "expression", comment AS "comment", CAST(NULL AS VARCHAR) AS "policy name"
		FROM "_catalog".columns WHERE table_catalog = `+quoteString(o.database)+` AND table_schema = `+quoteString(o.schema)+
		` AND table_name = `+quoteString(o.name)+` ORDER BY ordinal_position`, nil, false)
	if err != nil {
		return nil, err
	}
	r.typeID = typeDescribe
	return r, nil
}
