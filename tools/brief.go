package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/token"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// briefWithin bounds each question that the gate asks the warehouse before it
// asks a person: a brief that takes longer goes without the answer.
const briefWithin = 5 * time.Second

// manyNames bounds how many names one sentence lists.
const manyNames = 20

// brief finds out what an approver should know beyond the statement: what it
// does, how many rows it concerns, what hangs on them, and the way back. What
// cannot be found out is left out, and says so.
func (g *Gate) brief(ctx context.Context, call Call, j *Judgement) (approvals.Brief, []approvals.Mark) {
	var b approvals.Brief
	sent, err := parser.ParseStatement(j.SQL)
	if err != nil {
		return b, nil
	}
	shown, err := parser.ParseStatement(j.Shown)
	if err != nil {
		shown = sent // its names may not be full; it tells as much as it can
	}
	b.Effects = g.effects(shown, j.Statement)
	b.Depends = g.dependents(targets(shown))
	var asking sync.WaitGroup
	asking.Go(func() { b.Rows, b.RowsNote = g.count(ctx, call, sent) })
	asking.Go(func() { b.Estimate = g.estimate(ctx, j) })
	asking.Go(func() { b.Retention = g.retention(ctx, shown) })
	asking.Wait()
	b.Undo = g.wayBack(shown, b.Retention, "")
	if b.Retention != nil && *b.Retention > 0 && b.Undo != "" {
		b.UndoBy = time.Now().UTC().AddDate(0, 0, *b.Retention).Truncate(time.Second)
	}
	return b, marks(j.Shown, j.Statement)
}

// A target is an object that a statement destroys or changes.
type target struct {
	policy.Object
	verb string // what happens to it: "drops", …
}

// targets are what a statement changes, by the names that stand in its tree.
// Statements that are not here change nothing that could be brought back.
func targets(tree ast.Statement) []target {
	one := func(n *ast.ObjectName, kind policy.ObjectKind, verb string) []target {
		o, ok := objectOf(n, kind)
		if !ok {
			return nil
		}
		return []target{{Object: o, verb: verb}}
	}
	switch t := tree.(type) {
	case *ast.Drop:
		return one(t.Name, kindOf(t.Kind), "drops")
	case *ast.Truncate:
		return one(t.Name, policy.TableObject, "removes all rows of")
	case *ast.Delete:
		if t.Where == nil {
			return one(t.Target, policy.TableObject, "removes all rows, without a condition, of")
		}
		return one(t.Target, policy.TableObject, "removes rows of")
	case *ast.Update:
		if t.Where == nil {
			return one(t.Target, policy.TableObject, "changes all rows, without a condition, of")
		}
		return one(t.Target, policy.TableObject, "changes rows of")
	case *ast.Merge:
		return one(t.Target, policy.TableObject, "changes, adds or removes rows of")
	case *ast.Insert:
		if t.Overwrite {
			return one(t.Target, policy.TableObject, "replaces all rows of")
		}
		return one(t.Target, policy.TableObject, "adds rows to")
	case *ast.Create:
		if t.OrReplace {
			return one(t.Name, kindOf(t.Kind), "replaces")
		}
		return nil
	case *ast.Alter:
		switch t.Action {
		case "RENAME", "SWAP":
			return one(t.Name, kindOf(t.Kind), "renames")
		default:
			return one(t.Name, kindOf(t.Kind), "alters")
		}
	default:
		return nil
	}
}

// kindOf is the kind of object that DROP, CREATE and ALTER speak of.
func kindOf(word string) policy.ObjectKind {
	kind := policy.ObjectKind(strings.ToLower(word))
	for _, prefix := range []string{"transient ", "temporary ", "temp ", "secure ", "recursive "} {
		kind = policy.ObjectKind(strings.TrimPrefix(string(kind), prefix))
	}
	return kind
}

// objectOf reads an object's full name. A schema's name has two parts, a
// database's one.
func objectOf(n *ast.ObjectName, kind policy.ObjectKind) (policy.Object, bool) {
	if n == nil || n.Dynamic != nil {
		return policy.Object{}, false
	}
	parts := make([]string, len(n.Parts))
	for i, p := range n.Parts {
		if p == nil {
			return policy.Object{}, false
		}
		parts[i] = p.Fold()
	}
	o := policy.Object{Kind: kind}
	switch len(parts) {
	case 1:
		o.Name = parts[0]
	case 2:
		o.Database, o.Name = parts[0], parts[1]
		if kind != policy.SchemaObject {
			return policy.Object{}, false // the database is not known
		}
	case 3:
		o.Database, o.Schema, o.Name = parts[0], parts[1], parts[2]
	default:
		return policy.Object{}, false
	}
	return o, true
}

// within reports whether a table is what a target names, or lies in it.
func (t target) within(o policy.Object) bool {
	switch t.Kind {
	case policy.DatabaseObject:
		return o.Database == t.Name
	case policy.SchemaObject:
		return o.Database == t.Database && o.Schema == t.Name
	default:
		return o.Database == t.Database && o.Schema == t.Schema && o.Name == t.Name
	}
}

// effects say what a statement does, a sentence each.
func (g *Gate) effects(tree ast.Statement, s policy.Statement) []string {
	var out []string
	list := targets(tree)
	for _, t := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s the %s %s", t.verb, t.Kind, t.Object))+".")
		if t.Kind != policy.SchemaObject && t.Kind != policy.DatabaseObject {
			continue
		}
		var inside []string
		for _, table := range g.catalog.Load().Tables() {
			if t.within(table.Object) {
				inside = append(inside, table.Object.String())
			}
		}
		if len(inside) > 0 {
			out = append(out, fmt.Sprintf("with it go %d tables and views: %s.", len(inside), someOf(inside)))
		}
	}
	for _, a := range s.Accesses {
		named := slices.ContainsFunc(list, func(t target) bool { return t.within(a.Object) || t.Object.String() == a.Object.String() })
		if a.Class != policy.Read && !named {
			out = append(out, fmt.Sprintf("%s: %s %s.", a.Class, a.Object.Kind, a.Object))
		}
	}
	if len(out) == 0 && s.Class == policy.Read {
		out = append(out, "reads; it changes nothing.")
	}
	for _, f := range s.Effects {
		out = append(out, fmt.Sprintf("calls %s, which does more than compute.", f))
	}
	return out
}

// someOf lists the first names of many.
func someOf(names []string) string {
	if len(names) <= manyNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:manyNames], ", "), len(names)-manyNames)
}

// dependents are the views whose definitions name a target, or name a view that
// does.
func (g *Gate) dependents(list []target) []string {
	if len(list) == 0 {
		return nil
	}
	var views []policy.Table
	for _, t := range g.catalog.Load().Tables() {
		if t.Definition != "" {
			views = append(views, t)
		}
	}
	found := map[string]bool{}
	for more := list; len(more) > 0; {
		var next []target
		for _, v := range views {
			name := v.Object.String()
			if found[name] || slices.ContainsFunc(list, func(t target) bool { return t.within(v.Object) }) {
				continue
			}
			if slices.ContainsFunc(more, func(t target) bool { return names(v, t) }) {
				found[name] = true
				next = append(next, target{Object: v.Object})
			}
		}
		more = next
	}
	var out []string
	for name := range found {
		out = append(out, name)
	}
	slices.Sort(out)
	if len(out) > manyNames {
		out = append(out[:manyNames], fmt.Sprintf("and %d more", len(out)-manyNames))
	}
	return out
}

// names reports whether a view's definition names an object, or one that lies in
// it. Names that are not full are looked for where the view is.
func names(v policy.Table, t target) bool {
	hit := false
	paths(v.Definition, func(parts []string, _, _ int) {
		o := policy.Object{Database: v.Database, Schema: v.Schema}
		switch len(parts) {
		case 1:
			o.Name = parts[0]
		case 2:
			o.Schema, o.Name = parts[0], parts[1]
		case 3:
			o.Database, o.Schema, o.Name = parts[0], parts[1], parts[2]
		default:
			return
		}
		hit = hit || t.within(o) && (t.Kind != policy.SchemaObject && t.Kind != policy.DatabaseObject || len(parts) == 3)
	})
	return hit
}

// paths calls each with every dotted name of a text, its parts as Snowflake
// stores them, and where it stands.
func paths(text string, each func(parts []string, start, end int)) {
	scanner := token.NewScanner(text)
	var parts []string
	start, end := 0, 0
	dot := false
	flush := func() {
		if len(parts) > 0 {
			each(parts, start, end)
		}
		parts, dot = nil, false
	}
	for {
		t := scanner.Next()
		switch {
		case t.Kind == token.Ident || t.Kind == token.QuotedIdent:
			if len(parts) > 0 && !dot {
				flush()
			}
			if len(parts) == 0 {
				start = int(t.Pos)
			}
			part := strings.ToUpper(t.Text(text))
			if t.Kind == token.QuotedIdent {
				quoted := t.Text(text)
				part = strings.ReplaceAll(quoted[1:len(quoted)-1], `""`, `"`)
			}
			parts, end, dot = append(parts, part), int(t.End), false
		case t.Kind == token.Dot && len(parts) > 0 && !dot:
			dot = true
		case t.Kind == token.EOF || t.Kind == token.Illegal:
			flush()
			return
		default:
			flush()
		}
	}
}

// marks are the places of a printed statement that an approver should not
// overlook: its verb, and the objects that it does more to than read them.
func marks(text string, s policy.Statement) []approvals.Mark {
	var out []approvals.Mark
	scanner := token.NewScanner(text)
	words := strings.Fields(s.Command)
	for i, word := range words {
		t := scanner.Next()
		if t.Kind != token.Ident || !strings.EqualFold(t.Text(text), word) {
			break
		}
		if i == 0 {
			out = append(out, approvals.Mark{Start: int(t.Pos), Kind: "effect"})
		}
		out[0].End = int(t.End)
	}
	changed := map[string]bool{}
	for _, a := range s.Accesses {
		if a.Class != policy.Read {
			changed[a.Object.String()] = true
		}
	}
	paths(text, func(parts []string, start, end int) {
		o := policy.Object{Name: parts[len(parts)-1]}
		if len(parts) > 1 {
			o.Schema = parts[len(parts)-2]
		}
		if len(parts) > 2 {
			o.Database = parts[len(parts)-3]
		}
		// A column's name is longer than its table's.
		if len(parts) <= 3 && changed[o.String()] {
			out = append(out, approvals.Mark{Start: start, End: end, Kind: "object"})
		}
	})
	return out
}

// count asks how many rows a statement concerns: with the same source and the
// same condition, judged and recorded like any other question of the requester's,
// so that a brief tells nothing that policy would not let them ask for. The
// answer goes to the approvers alone.
func (g *Gate) count(ctx context.Context, call Call, sent ast.Statement) (*int64, string) {
	query, note := counting(sent)
	if query == nil {
		return nil, note
	}
	text, err := ast.Print(query, ast.Snowflake)
	if err != nil {
		return nil, "the rows were not counted: the condition cannot be counted by itself."
	}
	j := g.judge(call, text, 1)
	j.Decision.Limits.Duration = min(j.Decision.Limits.Duration, briefWithin)
	j.Decision.KeepRows = false
	call.Purpose = "how many rows the statement concerns that approval is asked for"
	receipt, err := g.config.Log.Append(ctx, decisionEvent("brief", call, j, j.Decision.Verdict != policy.Allow))
	if err != nil {
		return nil, "the rows were not counted."
	}
	if j.Denied() || j.Decision.Verdict != policy.Allow {
		return nil, "the rows were not counted: the requester may not read them."
	}
	a := g.run(ctx, call, "brief", j, receipt)
	defer g.closeRows(a.Rows)
	if a.Status != Completed || len(a.Rows.First()) != 1 {
		return nil, "the rows were not counted: the warehouse did not answer in time."
	}
	var row []json.RawMessage
	if err := json.Unmarshal(a.Rows.First()[0], &row); err != nil || len(row) != 1 {
		return nil, "the rows were not counted."
	}
	n, err := strconv.ParseInt(strings.Trim(string(row[0]), `"`), 10, 64)
	if err != nil {
		return nil, "the rows were not counted."
	}
	if len(j.Decision.Filters) > 0 {
		note += " Counted are the rows that the requester sees."
	}
	return &n, strings.TrimSpace(note)
}

func (g *Gate) closeRows(r *Rows) {
	if err := r.Close(); err != nil {
		g.config.Logger.Error("closing an answer", "err", err)
	}
}

// counting makes the question how many rows a statement concerns, nil if that is
// no question, and says what the number means.
func counting(tree ast.Statement) (ast.Statement, string) {
	from := func(where ast.Expr, relations ...ast.Relation) ast.Statement {
		count := &ast.Call{Name: ast.NewObjectName("COUNT"), Args: []ast.Expr{&ast.Star{}}}
		return &ast.QueryStmt{Query: &ast.Select{Items: []*ast.SelectItem{{Expr: count}}, From: relations, Where: where}}
	}
	table := func(n *ast.ObjectName, a *ast.Alias) ast.Relation { return &ast.Table{Name: n, Alias: a} }
	switch t := tree.(type) {
	case *ast.Drop:
		if kindOf(t.Kind) == policy.TableObject {
			return from(nil, table(t.Name, nil)), "rows in the table."
		}
	case *ast.Truncate:
		return from(nil, table(t.Name, nil)), "rows in the table."
	case *ast.Create:
		if t.OrReplace && kindOf(t.Kind) == policy.TableObject {
			return from(nil, table(t.Name, nil)), "rows in the table that is replaced."
		}
	case *ast.Alter:
		if kindOf(t.Kind) == policy.TableObject {
			return from(nil, table(t.Name, nil)), "rows in the table."
		}
	case *ast.Delete:
		note := "rows that the condition matches."
		if len(t.Using) > 0 {
			note = "pairs of rows that the condition matches; a row that is removed can be in several."
		}
		return from(t.Where, append([]ast.Relation{table(t.Target, t.Alias)}, t.Using...)...), note
	case *ast.Update:
		note := "rows that the condition matches."
		if len(t.From) > 0 {
			note = "pairs of rows that the condition matches; a row that is changed can be in several."
		}
		return from(t.Where, append([]ast.Relation{table(t.Target, t.Alias)}, t.From...)...), note
	case *ast.Merge:
		return from(nil, &ast.Join{Left: table(t.Target, t.Alias), Right: t.Using, On: t.On}), "pairs of rows that match; those that do not match are not counted."
	case *ast.Insert:
		if t.Source == nil {
			return nil, ""
		}
		return from(nil, &ast.Derived{Query: t.Source, Alias: &ast.Alias{Name: ast.NewIdent("SOURCE")}}), "rows that are added."
	}
	return nil, ""
}

// estimate asks the warehouse what it expects to read. The statement is the one
// that would run; it is explained, not run.
// docs.snowflake.com/en/sql-reference/sql/explain
func (g *Gate) estimate(ctx context.Context, j *Judgement) string {
	switch j.Statement.Class {
	case policy.Read, policy.Write, policy.Modify:
	default:
		return "" // there are no plans for the others
	}
	e := audit.Event{Kind: audit.KindBrief, Runs: "EXPLAIN USING JSON " + j.Runs}
	if j.Shown != j.Runs {
		e.Shown = "EXPLAIN USING JSON " + j.Shown
	}
	rows, err := g.own(ctx, e)
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return ""
	}
	var plan struct {
		GlobalStats struct {
			Total    *int64 `json:"partitionsTotal"`
			Assigned *int64 `json:"partitionsAssigned"`
			Bytes    *int64 `json:"bytesAssigned"`
		}
	}
	if err := json.Unmarshal([]byte(rows[0][0]), &plan); err != nil || plan.GlobalStats.Bytes == nil {
		return ""
	}
	s := plan.GlobalStats
	text := "reads at most " + bytesText(*s.Bytes)
	if s.Total != nil && s.Assigned != nil {
		text += fmt.Sprintf(", %d of %d partitions", *s.Assigned, *s.Total)
	}
	return text
}

// bytesText is a size as a person reads it.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// own runs a statement of the gate's own, which the event records, and returns
// its rows.
func (g *Gate) own(ctx context.Context, e audit.Event) (rows [][]string, err error) {
	receipt, err := g.config.Log.Append(ctx, e)
	if err != nil {
		return nil, err
	}
	return g.ownRecorded(ctx, receipt, e.Runs, briefWithin)
}

func (g *Gate) ownRecorded(ctx context.Context, receipt audit.Receipt, text string, within time.Duration) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, err := g.config.Warehouse.Run(ctx, receipt, warehouse.Statement{SQL: text, Timeout: within})
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for answer.Next() && len(rows) < 1000 {
		var row []string
		for _, v := range answer.Values() {
			row = append(row, v.Text)
		}
		rows = append(rows, row)
	}
	err = answer.Err()
	if closed := answer.Close(); err == nil {
		err = closed
	}
	return rows, err
}
