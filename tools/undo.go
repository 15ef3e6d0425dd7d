package tools

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// wayBack is the statement that takes a statement's effect back, and the words
// that belong to it. queryID is that of the statement, empty before it has run.
// days is how long the account keeps what was there (Time Travel); nil if that
// is not known.
// docs.snowflake.com/en/user-guide/data-time-travel, …/sql-reference/sql/undrop-table
func (g *Gate) wayBack(tree ast.Statement, days *int, queryID string) string {
	list := targets(tree)
	if len(list) == 0 {
		return ""
	}
	t := list[0]
	until := "as long as the account keeps what was there; the retention is not known"
	switch {
	case days == nil:
	case *days == 0:
		return "There is no way back: the account keeps nothing of it (DATA_RETENTION_TIME_IN_DAYS is 0)."
	case *days == 1:
		until = "within one day after it has run"
	default:
		until = fmt.Sprintf("within %d days after it has run", *days)
	}
	var back string
	switch n := tree.(type) {
	case *ast.Drop:
		switch t.Kind {
		case policy.TableObject, policy.SchemaObject, policy.DatabaseObject:
			back = fmt.Sprintf("UNDROP %s %s", strings.ToUpper(string(t.Kind)), t.Object)
		case policy.ViewObject:
			return g.definition(t)
		default:
			return "There is no way back that the gateway knows."
		}
	case *ast.Create:
		switch t.Kind {
		case policy.TableObject:
			aside := t.Object
			aside.Name += "_REPLACED"
			back = fmt.Sprintf("ALTER TABLE %s RENAME TO %s; UNDROP TABLE %s", t.Object, aside, t.Object)
		case policy.ViewObject:
			return g.definition(t)
		default:
			return "There is no way back that the gateway knows."
		}
	case *ast.Alter:
		if n.Action == "RENAME" && n.To != nil {
			to, ok := objectOf(n.To, t.Kind)
			if !ok {
				return "There is no way back that the gateway knows."
			}
			return fmt.Sprintf("ALTER %s %s RENAME TO %s", strings.ToUpper(string(t.Kind)), to, t.Object)
		}
		if t.Kind != policy.TableObject {
			return "There is no way back that the gateway knows."
		}
		back = beforeStatement(t.Object, queryID)
	default:
		back = beforeStatement(t.Object, queryID)
	}
	return back + "; -- " + until
}

// beforeStatement copies a table as it was before a statement.
// docs.snowflake.com/en/sql-reference/constructs/at-before
func beforeStatement(o policy.Object, queryID string) string {
	restored := o
	restored.Name += "_RESTORED"
	if queryID == "" {
		queryID = "the query id, known once it has run"
	}
	return fmt.Sprintf("CREATE TABLE %s CLONE %s BEFORE (STATEMENT => %s)", restored, o, ast.QuoteString(queryID, ast.Snowflake))
}

// definition is how a view is made again.
func (g *Gate) definition(t target) string {
	view := g.catalog.Load().Lookup(t.Database, t.Schema, t.Name)
	if view == nil || view.Definition == "" {
		return "There is no way back: views cannot be undropped, and this one's definition is not shown to the gateway."
	}
	if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(view.Definition)), "CREATE") {
		return view.Definition
	}
	return fmt.Sprintf("CREATE VIEW %s AS %s", t.Object, view.Definition)
}

// undone is the way back from a request's statement that has run.
func (g *Gate) undone(r approvals.Request, queryID string, at time.Time) (string, time.Time) {
	tree, err := parser.ParseStatement(r.Binding.Statement)
	if err != nil || queryID == "" {
		return r.Brief.Undo, time.Time{}
	}
	text := r.Brief.Undo
	if strings.Contains(text, "BEFORE (STATEMENT") {
		text = g.wayBack(tree, r.Brief.Retention, queryID)
	}
	if text == "" || r.Brief.Retention == nil || *r.Brief.Retention == 0 {
		return text, time.Time{}
	}
	return text, at.UTC().AddDate(0, 0, *r.Brief.Retention)
}

// retention asks how many days the account keeps what a statement changes; nil
// if nobody says.
// docs.snowflake.com/en/sql-reference/info-schema/tables
func (g *Gate) retention(ctx context.Context, tree ast.Statement) *int {
	list := targets(tree)
	if len(list) == 0 {
		return nil
	}
	t := list[0]
	database := policy.Object{Name: t.Database}
	var text string
	switch t.Kind {
	case policy.TableObject:
		text = fmt.Sprintf("SELECT RETENTION_TIME FROM %s.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s", database, ast.QuoteString(t.Schema, ast.Snowflake), ast.QuoteString(t.Name, ast.Snowflake))
	case policy.SchemaObject:
		text = fmt.Sprintf("SELECT RETENTION_TIME FROM %s.INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = %s", database, ast.QuoteString(t.Name, ast.Snowflake))
	case policy.DatabaseObject:
		text = fmt.Sprintf("SELECT RETENTION_TIME FROM %s.INFORMATION_SCHEMA.DATABASES WHERE DATABASE_NAME = %s", t.Object, ast.QuoteString(t.Name, ast.Snowflake))
	default:
		return nil
	}
	rows, err := g.own(ctx, audit.Event{Kind: audit.KindBrief, Runs: text})
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return nil
	}
	days, err := strconv.Atoi(rows[0][0])
	if err != nil || days < 0 {
		return nil
	}
	return &days
}

// A safety copy is a zero-copy clone of what an approved statement is about to
// change, where the rule wants one. Its name begins with [copyPrefix], and
// nothing of that name is in the gate's catalog: nobody reaches a copy through
// the gate, past the masks and filters of what it is a copy of.
//
// What was copied stands in a table until it has been dropped again. The row is
// written in the same transaction as the record of the clone, before it is made.

// copyPrefix begins the names of safety copies.
const copyPrefix = "QUERYWARDEN_COPY_"

// copyWithin bounds how long a clone may take: it is metadata alone, and the
// claim's lease runs meanwhile.
const copyWithin = leaseMargin / 2

const copySchema = `
CREATE TABLE IF NOT EXISTS safety_copies (
	name TEXT PRIMARY KEY, kind TEXT NOT NULL, approval TEXT NOT NULL, until INTEGER NOT NULL -- seconds since 1970
) STRICT, WITHOUT ROWID`

// errNoCopy is in the chain of errors about a copy that was not made: the
// statement does not run then.
var errNoCopy = errors.New("making a safety copy")

// withoutCopies are the tables that are not copies of the gate's, nor in one.
func withoutCopies(tables []policy.Table) []policy.Table {
	out := make([]policy.Table, 0, len(tables))
	for _, t := range tables {
		if !isCopy(t.Name) && !isCopy(t.Schema) && !isCopy(t.Database) {
			out = append(out, t)
		}
	}
	return out
}

func isCopy(name string) bool { return strings.HasPrefix(strings.ToUpper(name), copyPrefix) }

// copyable is what a safety copy can be made of: the objects that a statement
// changes and that hold data.
func copyable(tree ast.Statement) []target {
	var out []target
	for _, t := range targets(tree) {
		switch t.Kind {
		case policy.TableObject, policy.SchemaObject, policy.DatabaseObject:
			out = append(out, t)
		default: // it holds no data, or cannot be cloned
		}
	}
	return out
}

// safetyCopy clones what a claimed statement is about to change.
func (g *Gate) safetyCopy(ctx context.Context, claim approvals.Claim, r approvals.Request) (approvals.Claim, error) {
	tree, err := parser.ParseStatement(r.Binding.Statement)
	if err != nil {
		return claim, fmt.Errorf("%w: %w", errNoCopy, err)
	}
	until := time.Now().Add(r.Approval.SafetyCopy)
	var names []string
	for i, t := range copyable(tree) {
		if t.Kind != policy.DatabaseObject && t.Kind != policy.SchemaObject && g.catalog.Load().Lookup(t.Database, t.Schema, t.Name) == nil {
			continue // OR REPLACE of what is not there
		}
		clone := t.Object
		clone.Name = copyPrefix + strings.ToUpper(strings.TrimPrefix(r.ID, "apr_"))
		if i > 0 {
			clone.Name += "_" + strconv.Itoa(i)
		}
		kind := strings.ToUpper(string(t.Kind))
		text := fmt.Sprintf("CREATE %s %s CLONE %s", kind, clone, t.Object)
		var receipt audit.Receipt
		err := g.config.Log.Update(ctx, func(tx *audit.Tx) (err error) {
			if _, err := tx.Exec(`INSERT INTO safety_copies VALUES (?, ?, ?, ?)`, clone.String(), kind, r.ID, until.Unix()); err != nil {
				return err
			}
			receipt, err = tx.Append(audit.Event{Kind: audit.KindSafetyCopy, Runs: text, Approval: r.ID})
			return err
		})
		if err == nil {
			_, err = g.ownRecorded(ctx, receipt, text, copyWithin)
		}
		if err != nil {
			return claim, fmt.Errorf("%w: %w", errNoCopy, err)
		}
		names = append(names, clone.String())
	}
	if len(names) == 0 {
		return claim, nil
	}
	return g.config.Approvals.Copied(ctx, claim, strings.Join(names, ", "))
}

// dropCopies drops the copies that have been kept long enough.
func (g *Gate) dropCopies(ctx context.Context) error {
	type kept struct{ name, kind, approval string }
	var due []kept
	err := g.config.Log.Update(ctx, func(tx *audit.Tx) error {
		rows, err := tx.Query(`SELECT name, kind, approval FROM safety_copies WHERE until <= ? ORDER BY until LIMIT 100`, time.Now().Unix())
		if err != nil {
			return err
		}
		defer rows.Close()
		due = nil
		for rows.Next() {
			var k kept
			if err := rows.Scan(&k.name, &k.kind, &k.approval); err != nil {
				return err
			}
			due = append(due, k)
		}
		return rows.Err()
	})
	for _, k := range due {
		text := fmt.Sprintf("DROP %s %s", k.kind, k.name)
		_, dropped := g.own(ctx, audit.Event{Kind: audit.KindSafetyCopy, Runs: text, Approval: k.approval})
		var gone *warehouse.Error
		if errors.As(dropped, &gone) && gone.Class == warehouse.Object {
			dropped = nil // it was never made, or somebody was quicker
		}
		if dropped == nil {
			dropped = g.config.Log.Update(ctx, func(tx *audit.Tx) error {
				_, err := tx.Exec(`DELETE FROM safety_copies WHERE name = ?`, k.name)
				return err
			})
		}
		if dropped != nil {
			err = errors.Join(err, fmt.Errorf("dropping the safety copy %s: %w", k.name, dropped))
		}
	}
	return err
}
