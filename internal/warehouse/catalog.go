package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"querywarden/audit"
	"querywarden/policy"
)

// Tables reads what the gateway's role can see: the tables and views of every
// database of the account, with their columns and, as far as the account shows
// them, the views' definitions. authorize is called with the text of each
// statement that it takes, and records it.
//
// The statements are not one transaction. A table that comes or goes meanwhile
// may be there without columns or not at all. Databases whose information
// schema the role may not read are left out, and with them what is in them:
// what the catalog does not have, no statement can reach.
func (w *Warehouse) Tables(ctx context.Context, authorize func(sql string) (audit.Receipt, error)) ([]policy.Table, error) {
	c := catalog{warehouse: w, authorize: authorize}
	var databases []string
	// The database SNOWFLAKE holds the account's own history, not its data.
	err := c.read(ctx, stored(w.config.Database), `SELECT DATABASE_NAME FROM %s.INFORMATION_SCHEMA.DATABASES WHERE DATABASE_NAME <> 'SNOWFLAKE' ORDER BY DATABASE_NAME`, 1, func(v []string) error {
		databases = append(databases, v[0])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	for _, database := range databases {
		tables, err := c.database(ctx, database)
		var failed *Error
		if errors.As(err, &failed) && (failed.Class == Permission || failed.Class == Object) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the catalog of %s: %w", database, err)
		}
		c.tables = append(c.tables, tables...)
	}
	return c.tables, nil
}

// Tags labels the columns of tables with the tags that hang on them, on their
// table, schema or database: a tag GOV.TAGS.PII of the value email is the labels
// PII, PII=email, GOV.TAGS.PII and GOV.TAGS.PII=email. The account keeps the
// references up to two hours late
// (docs.snowflake.com/en/sql-reference/account-usage/tag_references). The tables
// that were given do not change.
func (w *Warehouse) Tags(ctx context.Context, tables []policy.Table, authorize func(sql string) (audit.Receipt, error)) ([]policy.Table, error) {
	c := catalog{warehouse: w, authorize: authorize}
	labels := map[[4]string][]string{}
	const text = `SELECT DOMAIN, OBJECT_DATABASE, OBJECT_SCHEMA, OBJECT_NAME, COLUMN_NAME, TAG_DATABASE, TAG_SCHEMA, TAG_NAME, TAG_VALUE FROM %s.ACCOUNT_USAGE.TAG_REFERENCES WHERE OBJECT_DELETED IS NULL`
	err := c.read(ctx, "SNOWFLAKE", text, 9, func(v []string) error {
		place := [4]string{v[1], v[2], v[3], v[4]}
		switch v[0] {
		case "COLUMN":
		case "TABLE":
			place[3] = ""
		case "SCHEMA": // named by OBJECT_NAME
			place = [4]string{v[1], v[3]}
		case "DATABASE":
			place = [4]string{v[3]}
		default:
			return nil // on what has no columns
		}
		for _, name := range []string{v[7], strings.Join(v[5:8], ".")} {
			labels[place] = append(labels[place], name)
			if v[8] != "" {
				labels[place] = append(labels[place], name+"="+v[8])
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tags: %w", err)
	}
	out := slices.Clone(tables)
	for i, t := range out {
		columns := slices.Clone(t.Columns)
		for k, col := range columns {
			columns[k].Labels = slices.Concat(col.Labels, labels[[4]string{t.Database}], labels[[4]string{t.Database, t.Schema}],
				labels[[4]string{t.Database, t.Schema, t.Name}], labels[[4]string{t.Database, t.Schema, t.Name, col.Name}])
		}
		out[i].Columns = columns
	}
	return out, nil
}

// stored is the name that an identifier stands for: upper case unless quoted.
// docs.snowflake.com/en/sql-reference/identifiers-syntax
func stored(identifier string) string {
	if len(identifier) > 1 && strings.HasPrefix(identifier, `"`) && strings.HasSuffix(identifier, `"`) {
		return strings.ReplaceAll(identifier[1:len(identifier)-1], `""`, `"`)
	}
	return strings.ToUpper(identifier)
}

// A catalog is being read.
type catalog struct {
	warehouse *Warehouse
	authorize func(sql string) (audit.Receipt, error)
	login     string // whose session reads
	tables    []policy.Table
}

// database reads the tables of one database, in the order of their names.
func (c *catalog) database(ctx context.Context, database string) ([]policy.Table, error) {
	var tables []policy.Table
	index := map[[2]string]int{}
	err := c.read(ctx, database, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COMMENT, CREATED FROM %s.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA <> 'INFORMATION_SCHEMA' ORDER BY TABLE_SCHEMA, TABLE_NAME`, 5, func(v []string) error {
		kind := policy.TableObject
		if strings.Contains(strings.ToUpper(v[2]), "VIEW") {
			kind = policy.ViewObject
		}
		index[[2]string{v[0], v[1]}] = len(tables)
		tables = append(tables, policy.Table{
			Object:  policy.Object{Kind: kind, Database: database, Schema: v[0], Name: v[1]},
			Comment: v[3],
			Created: v[4],
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.read(ctx, database, `SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, IS_SECURE FROM %s.INFORMATION_SCHEMA.VIEWS WHERE TABLE_SCHEMA <> 'INFORMATION_SCHEMA'`, 4, func(v []string) error {
		if i, ok := index[[2]string{v[0], v[1]}]; ok {
			tables[i].Definition, tables[i].Secure = v[2], strings.EqualFold(v[3], "YES")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.read(ctx, database, `SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION FROM %s.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA <> 'INFORMATION_SCHEMA' ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION`, 8, func(v []string) error {
		i, ok := index[[2]string{v[0], v[1]}]
		if !ok {
			return nil
		}
		name, err := declaredType(v[3], v[4], v[5], v[6], v[7])
		if err != nil {
			return err
		}
		tables[i].Columns = append(tables[i].Columns, policy.Column{Name: v[2], Type: name})
		return nil
	})
	return tables, err
}

// read runs a statement of our own, with the database's name where the text has
// %s, and calls each with every row; NULL is the empty string.
func (c *catalog) read(ctx context.Context, database, text string, width int, each func([]string) error) (err error) {
	text = fmt.Sprintf(text, `"`+strings.ReplaceAll(database, `"`, `""`)+`"`)
	receipt, err := c.authorize(text)
	if err != nil {
		return err
	}
	rows, err := c.warehouse.Run(ctx, receipt, Statement{SQL: text, Login: c.login})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if len(rows.Columns()) != width {
		return fmt.Errorf("%w: %d columns where %d were asked for", errInconsistent, len(rows.Columns()), width)
	}
	row := make([]string, width)
	for rows.Next() {
		for i, v := range rows.Values() {
			row[i] = v.Text
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// declaredType names a column's type from what the information schema says of
// it. docs.snowflake.com/en/sql-reference/info-schema/columns
func declaredType(name, length, precision, scale, digits string) (string, error) {
	number := func(s string) (int64, error) {
		if s == "" {
			return 0, nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: the size %q of a column", errInconsistent, s)
		}
		return n, nil
	}
	var sizes [4]int64
	for i, s := range [...]string{length, precision, scale, digits} {
		var err error
		if sizes[i], err = number(s); err != nil {
			return "", err
		}
	}
	switch name {
	case "TEXT":
		return sized("VARCHAR", sizes[0], defaultText), nil
	case "BINARY":
		return sized("BINARY", sizes[0], defaultBinary), nil
	case "NUMBER":
		return fmt.Sprintf("NUMBER(%d,%d)", sizes[1], sizes[2]), nil
	case "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		if digits == "" {
			return name, nil
		}
		return sized(name, sizes[3], defaultDigits), nil
	default:
		return name, nil
	}
}
