package tools

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/policy"
)

// DescribeTable tells the columns of a table as they are for this caller:
// which are masked, and which rows there are. It reaches no warehouse.
func (g *Gate) DescribeTable(ctx context.Context, call Call, req DescribeRequest) DescribeAnswer {
	receipt, err := g.config.Log.Append(ctx, toolEvent("describe_table", call, req.Table))
	if err != nil {
		return DescribeAnswer{Answer: g.unavailable(err)}
	}
	t := g.find(req.Table)
	if t == nil || !g.config.Policy.Sees(call.Caller, *t) {
		return DescribeAnswer{Answer: Answer{
			Status: Denied, Code: policy.CodeObjectUnknown, Message: "There is no such table, or it is not for you.",
			Next: g.suggest(call.Caller, req.Table), Audit: receipt.Ref(),
		}}
	}
	d := g.config.Policy.Decide(call.Caller, policy.Statement{
		Class: policy.Read, Accesses: []policy.Access{{Class: policy.Read, Object: t.Object, Columns: t.Columns}},
	}, time.Now())
	a := DescribeAnswer{
		Answer: Answer{Status: Completed, Code: CodeCompleted, Message: "These are the columns.", Audit: receipt.Ref()},
		Table:  t.Object.String(), Kind: string(t.Kind), Comment: t.Comment,
	}
	masked := map[string]string{}
	for _, m := range d.Masks {
		masked[m.Column] = m.Mask.String()
	}
	for _, c := range t.Columns {
		a.Columns = append(a.Columns, Column{Name: c.Name, Type: c.Type, Masked: masked[c.Name]})
	}
	var filters []string
	for _, f := range d.Filters {
		filters = append(filters, f.Where)
	}
	a.RowFilter = strings.Join(filters, " AND ")
	if len(masked) > 0 {
		a.Message = "These are the columns. Masked ones hold masked values in every clause of a query, not only in its answer."
	}
	if d.Verdict == policy.Ask {
		a.Next = "Reading this table needs a person's approval: use request_approval."
	}
	return a
}

// find resolves a table's name as a query would.
func (g *Gate) find(name string) *policy.Table {
	x, err := parser.ParseExpr(name)
	if err != nil {
		return nil
	}
	ref, ok := x.(*ast.ColumnRef)
	if !ok || slices.Contains(ref.Parts, nil) {
		return nil
	}
	catalog := g.catalog.Load()
	switch p := ref.Parts; len(p) {
	case 1:
		return catalog.Lookup(g.config.Database, g.config.Schema, p[0].Fold())
	case 2:
		return catalog.Lookup(g.config.Database, p[0].Fold(), p[1].Fold())
	case 3:
		return catalog.Lookup(p[0].Fold(), p[1].Fold(), p[2].Fold())
	default:
		return nil
	}
}

// suggest names tables like the one asked for, among those that the caller may
// see.
func (g *Gate) suggest(caller policy.Caller, name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	similar := g.catalog.Load().Similar(strings.Trim(name, `"`), 3, func(t policy.Table) bool { return g.config.Policy.Sees(caller, t) })
	if len(similar) == 0 {
		return "Use list_tables to see which tables there are for you."
	}
	var names []string
	for _, t := range similar {
		names = append(names, t.Object.String())
	}
	return "Did you mean " + strings.Join(names, " or ") + "?"
}

// The sizes of a page of list_tables.
const (
	defaultPage = 50
	largestPage = 500
)

// ListTables lists the tables and views that the caller may read.
func (g *Gate) ListTables(ctx context.Context, call Call, req ListRequest) ListAnswer {
	if req.Limit < 0 || req.Limit > largestPage {
		return ListAnswer{Answer: g.BadCall(ctx, call, "list_tables", "limit has to be between 1 and 500."), Tables: []ListedTable{}}
	}
	after, err := base64.RawURLEncoding.DecodeString(req.Cursor)
	if err != nil {
		return ListAnswer{Answer: g.BadCall(ctx, call, "list_tables", "cursor is not one that list_tables returned."), Tables: []ListedTable{}}
	}
	receipt, err := g.config.Log.Append(ctx, toolEvent("list_tables", call, req.Search))
	if err != nil {
		return ListAnswer{Answer: g.unavailable(err), Tables: []ListedTable{}}
	}
	limit := req.Limit
	if limit == 0 {
		limit = defaultPage
	}
	a := ListAnswer{Answer: Answer{Status: Completed, Code: CodeCompleted, Message: "These are the tables for you.", Audit: receipt.Ref()}, Tables: []ListedTable{}}
	search := strings.ToUpper(req.Search)
	for _, t := range g.catalog.Load().Tables() {
		name := t.Object.String()
		if name <= string(after) || !strings.Contains(strings.ToUpper(name), search) || !g.config.Policy.Sees(call.Caller, t) {
			continue
		}
		if len(a.Tables) == limit {
			a.NextCursor = base64.RawURLEncoding.EncodeToString([]byte(a.Tables[limit-1].Table))
			a.Next = "There are more: call again with next_cursor as cursor."
			break
		}
		a.Tables = append(a.Tables, ListedTable{Table: name, Kind: string(t.Kind), Columns: len(t.Columns), Comment: t.Comment})
	}
	if len(a.Tables) == 0 {
		a.Message = "There is no table for you that fits."
	}
	return a
}
