//go:build cgo

package emulator

import (
	"context"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// The database SNOWFLAKE holds what an account says of itself, at once instead
// of within hours: which tags hang on what, and what has happened.
// docs.snowflake.com/en/sql-reference/account-usage/tag_references
const (
	accountDatabase = "SNOWFLAKE"
	accountUsage    = "ACCOUNT_USAGE"
)

const tagReferencesView = `SELECT tag_database AS "TAG_DATABASE", tag_schema AS "TAG_SCHEMA", tag_name AS "TAG_NAME", tag_value AS "TAG_VALUE",
	object_database AS "OBJECT_DATABASE", object_schema AS "OBJECT_SCHEMA", object_name AS "OBJECT_NAME",
	CAST(NULL AS TIMESTAMPTZ) AS "OBJECT_DELETED", CASE WHEN column_name IS NULL THEN 'TABLE' ELSE 'COLUMN' END AS "DOMAIN", column_name AS "COLUMN_NAME"
	FROM "_catalog".tag_references`

// addAccount makes what the database SNOWFLAKE lacks.
func (s *session) addAccount(ctx context.Context) error {
	known, err := s.databaseExists(ctx, accountDatabase)
	if err != nil {
		return err
	}
	return s.define(ctx, func() error {
		if !known {
			if err := s.addDatabase(ctx, accountDatabase, ""); err != nil {
				return err
			}
			if err := s.addSchema(ctx, accountDatabase, accountUsage, ""); err != nil {
				return err
			}
		}
		for name, text := range usageViews {
			if err := s.addUsageView(ctx, object{accountDatabase, accountUsage, name, "VIEW"}, text); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *session) addUsageView(ctx context.Context, o object, text string) error {
	kind, err := s.kindOf(ctx, o)
	if err != nil || kind != "" {
		return err
	}
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
	return s.addColumns(ctx, o, columns)
}

func (s *session) createTag(ctx context.Context, n *ast.Create) (*result, error) {
	o, err := s.qualify(n.Name)
	if err != nil {
		return nil, err
	}
	if known, err := s.tagExists(ctx, o); err != nil {
		return nil, err
	} else if known && !n.IfNotExists {
		return nil, errExists(o.name, "TAG")
	} else if !known {
		if err := exec(ctx, s.conn, `INSERT INTO "_catalog".tags VALUES (?, ?, ?)`, o.database, o.schema, o.name); err != nil {
			return nil, err
		}
	}
	return status(typeDDL, "Tag %s successfully created.", o.name), nil
}

func (s *session) tagExists(ctx context.Context, o object) (bool, error) {
	found, err := texts(ctx, s.conn, `SELECT tag_name FROM "_catalog".tags WHERE tag_database = ? AND tag_schema = ? AND tag_name = ?`, o.database, o.schema, o.name)
	return len(found) > 0, err
}

// setTags runs the SET TAG and UNSET TAG of an ALTER, of the object or of one
// of its columns, and reports whether the options are that.
func (s *session) setTags(ctx context.Context, o object, n *ast.Alter) (bool, error) {
	list := n.Options.List
	column, verb := "", n.Action
	if n.Action == "MODIFY" || n.Action == "ALTER" {
		if len(list) > 1 && list[0].Kind == token.Ident && list[0].Text == "COLUMN" {
			list = list[1:]
		}
		if len(list) < 3 || list[0].Part != nil {
			return false, nil
		}
		column, verb, list = list[0].Text, list[1].Text, list[2:]
	}
	if len(list) < 2 || list[0].Text != "TAG" || verb != "SET" && verb != "UNSET" {
		return false, nil
	}
	if column != "" {
		known, err := texts(ctx, s.conn, `SELECT column_name FROM "_catalog".columns WHERE table_catalog = ? AND table_schema = ? AND table_name = ? AND column_name = ?`,
			o.database, o.schema, o.name, column)
		if err != nil {
			return true, err
		}
		if len(known) == 0 {
			return true, errUnsupported("a tag on the unknown column %s", column)
		}
	}
	for i, l := range list {
		ref, ok := l.Part.(*ast.Ref)
		if !ok {
			continue
		}
		tag, err := s.qualify(ref.Name)
		if err != nil {
			return true, err
		}
		if known, err := s.tagExists(ctx, tag); err != nil {
			return true, err
		} else if !known {
			return true, errNoObject("Tag", tag.String())
		}
		place := []any{o.database, o.schema, o.name, nullable(column), tag.database, tag.schema, tag.name}
		if err := exec(ctx, s.conn, `DELETE FROM "_catalog".tag_references WHERE object_database = ? AND object_schema = ? AND object_name = ?
			AND column_name IS NOT DISTINCT FROM ? AND tag_database = ? AND tag_schema = ? AND tag_name = ?`, place...); err != nil {
			return true, err
		}
		if verb == "SET" && i+2 < len(list) {
			if err := exec(ctx, s.conn, `INSERT INTO "_catalog".tag_references VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, append(place, list[i+2].Text)...); err != nil {
				return true, err
			}
		}
	}
	return true, s.touch(ctx, o)
}

// namesTag reports whether options set or unset tags.
func namesTag(options *ast.Tokens) bool {
	for _, l := range options.List {
		if l.Kind == token.Ident && strings.EqualFold(l.Text, "TAG") {
			return true
		}
	}
	return false
}
