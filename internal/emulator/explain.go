//go:build cgo

package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
)

// How large the emulator says that its tables are: a row of this many bytes a
// column, in partitions of this many rows.
const (
	cellBytes     = 16
	partitionRows = 100_000
)

// An explained is a plan as EXPLAIN USING JSON has it.
// docs.snowflake.com/en/sql-reference/sql/explain
type explained struct {
	GlobalStats struct {
		PartitionsTotal    int64 `json:"partitionsTotal"`
		PartitionsAssigned int64 `json:"partitionsAssigned"`
		BytesAssigned      int64 `json:"bytesAssigned"`
	}
	Operations [][]explainedStep
}

type explainedStep struct {
	ID                 int      `json:"id"`
	Operation          string   `json:"operation"`
	Objects            []string `json:"objects,omitempty"`
	Expressions        []string `json:"expressions,omitempty"`
	PartitionsTotal    int64    `json:"partitionsTotal,omitempty"`
	PartitionsAssigned int64    `json:"partitionsAssigned,omitempty"`
	BytesAssigned      int64    `json:"bytesAssigned,omitempty"`
	Parents            []int    `json:"parentOperators,omitempty"`
}

// explain compiles a statement and tells of its plan: the tables that it would
// scan, those beneath plain views included and those beneath secure views not.
func (s *session) explain(ctx context.Context, j *job, n *ast.Explain) (*result, error) {
	plan, err := s.explained(ctx, j, n.Statement)
	if err != nil {
		return nil, err
	}
	switch n.Using {
	case "JSON":
		text, err := json.Marshal(plan)
		if err != nil {
			return nil, fmt.Errorf("writing a plan: %w", err)
		}
		return textResult(typeSelect, "content", string(text)), nil
	case "TEXT":
		var b strings.Builder
		fmt.Fprintf(&b, "GlobalStats:\n    partitionsTotal=%d\n    partitionsAssigned=%d\n    bytesAssigned=%d\nOperations:\n",
			plan.GlobalStats.PartitionsTotal, plan.GlobalStats.PartitionsAssigned, plan.GlobalStats.BytesAssigned)
		for _, step := range plan.Operations[0] {
			fmt.Fprintf(&b, "1:%d     ->%s  %s\n", step.ID, step.Operation, strings.Join(step.Objects, ", "))
		}
		return textResult(typeSelect, "content", b.String()), nil
	case "", "TABULAR":
		r := &result{typeID: typeSelect}
		for _, name := range []string{"step", "id", "parentOperators", "operation", "objects", "alias", "expressions", "partitionsTotal", "partitionsAssigned", "bytesAssigned"} {
			r.columns = append(r.columns, newColumn(name, varcharType))
		}
		for _, step := range plan.Operations[0] {
			cells := []string{"1", fmt.Sprint(step.ID), "", step.Operation, strings.Join(step.Objects, ", "), "", strings.Join(step.Expressions, ", "),
				fmt.Sprint(step.PartitionsTotal), fmt.Sprint(step.PartitionsAssigned), fmt.Sprint(step.BytesAssigned)}
			row := make([]*string, len(cells))
			for i := range cells {
				if cells[i] != "" {
					row[i] = &cells[i]
				}
			}
			r.add(row)
		}
		return r, nil
	default:
		return nil, errUnsupported("EXPLAIN USING %s", n.Using)
	}
}

func (s *session) explained(ctx context.Context, j *job, stmt ast.Statement) (*explained, error) {
	r := &resolver{session: s}
	operation := "Result"
	scans := map[object]bool{}
	switch n := stmt.(type) {
	case *ast.QueryStmt:
		nameColumns(n.Query, j.source)
		if err := r.resolve(ctx, n.Query); err != nil {
			return nil, err
		}
		// That it compiles is a part of the answer.
		text, err := s.duckDB(n.Query)
		if err != nil {
			return nil, err
		}
		if _, err := s.plan(ctx, text); err != nil {
			return nil, err
		}
	case *ast.Insert:
		operation = "Insert"
		o, err := s.lookup(ctx, n.Target)
		if err != nil {
			return nil, err
		}
		scans[o] = false
		if err := r.resolve(ctx, n.Source); err != nil {
			return nil, err
		}
	case *ast.Update:
		operation = "Update"
		if err := r.resolve(ctx, n); err != nil {
			return nil, err
		}
	case *ast.Delete:
		operation = "Delete"
		if err := r.resolve(ctx, n); err != nil {
			return nil, err
		}
	case *ast.Merge:
		operation = "Merge"
		if err := r.resolve(ctx, n); err != nil {
			return nil, err
		}
	default:
		return nil, errUnsupported("EXPLAIN of this statement")
	}
	for _, o := range r.relations {
		if err := s.scanned(ctx, o, scans, 0); err != nil {
			return nil, err
		}
	}
	if r.target != nil {
		scans[*r.target] = true
	}
	plan := &explained{}
	steps := []explainedStep{{ID: 0, Operation: operation}}
	names := slices.SortedFunc(maps.Keys(scans), func(a, b object) int { return strings.Compare(a.String(), b.String()) })
	for _, o := range names {
		if !scans[o] {
			steps[0].Objects = append(steps[0].Objects, o.String())
			continue
		}
		rows, columns, err := s.sizeOf(ctx, o)
		if err != nil {
			return nil, err
		}
		step := explainedStep{ID: len(steps), Operation: "TableScan", Objects: []string{o.String()}, Parents: []int{0}}
		step.PartitionsTotal = (rows + partitionRows - 1) / partitionRows
		step.PartitionsAssigned = step.PartitionsTotal
		step.BytesAssigned = rows * columns * cellBytes
		steps = append(steps, step)
		plan.GlobalStats.PartitionsTotal += step.PartitionsTotal
		plan.GlobalStats.PartitionsAssigned += step.PartitionsAssigned
		plan.GlobalStats.BytesAssigned += step.BytesAssigned
	}
	plan.Operations = [][]explainedStep{steps}
	return plan, nil
}

// scanned adds what a plan shows for a relation: itself, or what is beneath it
// if it is a plain view.
func (s *session) scanned(ctx context.Context, o object, into map[object]bool, depth int) error {
	if o.kind != "VIEW" || depth > 32 {
		into[o] = true
		return nil
	}
	if o.schema == informationSchema || o.database == accountDatabase {
		return &sqlError{code: "002139", state: "42601", message: compilation + "EXPLAIN of " + o.String() + " is not supported."}
	}
	definitions, err := texts(ctx, s.conn, `SELECT view_definition FROM "_catalog".tables WHERE table_catalog = ? AND table_schema = ? AND table_name = ? AND NOT is_secure`, o.database, o.schema, o.name)
	if err != nil {
		return err
	}
	if len(definitions) == 0 {
		into[o] = true
		return nil
	}
	stmt, err := parser.ParseStatement(definitions[0])
	if err != nil {
		return fmt.Errorf("reading a view's definition: %w", err)
	}
	create, ok := stmt.(*ast.Create)
	if !ok || create.As == nil {
		return fmt.Errorf("reading a view's definition: it defines no view")
	}
	// Names in it are those of the place where the view is.
	inside := *s
	inside.database, inside.schema = o.database, o.schema
	r := &resolver{session: &inside, owner: true}
	if err := r.resolve(ctx, create.As); err != nil {
		return err
	}
	for _, below := range r.relations {
		if err := s.scanned(ctx, below, into, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// sizeOf is how many rows and columns a relation has; a view's rows are not
// known.
func (s *session) sizeOf(ctx context.Context, o object) (rows, columns int64, err error) {
	err = s.conn.QueryRowContext(ctx, `SELECT coalesce((SELECT max(estimated_size) FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?), 0),
		(SELECT count(*) FROM "_catalog".columns WHERE table_catalog = ? AND table_schema = ? AND table_name = ?)`,
		engineSchema(o.database, o.schema), o.name, o.database, o.schema, o.name).Scan(&rows, &columns)
	return rows, columns, err
}
