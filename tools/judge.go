package tools

import (
	"errors"
	"slices"
	"time"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/parser"
	"querywarden/internal/snowsql/resolve"
	"querywarden/internal/snowsql/rewrite"
	"querywarden/policy"
	"querywarden/policy/mask"
)

// A Judge reads, resolves, decides and rewrites: everything that happens to a
// statement before it is recorded and run. It is pure, so what `explain` shows
// is what the gate does.
type Judge struct {
	Policy  *policy.Policy
	Catalog *resolve.Catalog
	Context resolve.Context // where unqualified names are looked for
	MaskKey []byte          // keys the hash mask
	// Conversation is [policy.Statement.Conversation] of what is judged.
	Conversation bool
}

// A Judgement is what is known of one statement for one caller.
type Judgement struct {
	SQL       string // as sent
	Statement policy.Statement
	Decision  policy.Decision
	// Runs is the statement as it would run, printed from the tree that was
	// judged. It is empty when the verdict is deny.
	Runs string
	// Shown is Runs without the keys of hash masks: what people and agents
	// may see of it.
	Shown string
	// Masked are the columns of the result that hold masked values.
	Masked []rewrite.Masked
	// Returns says that the statement answers with rows that can be limited.
	Returns bool
	// MaxRows is how many rows the answer may have.
	MaxRows int64
	// Catalog is the version of the catalog that names were resolved against,
	// Versions those of the objects that the statement accesses, where a
	// person is asked about them.
	Catalog  string
	Versions []string

	// width is how many columns a query's answer has, as far as it was
	// resolved; 0 where nobody knows.
	width int

	missing    string          // a table that there is not
	groups     string          // why the caller has no groups, if that is worth telling
	copies     []note          // what the statement copies
	copiedRows []rowNote       // whose rows it copies
	ends       []policy.Object // what is anew once it has run
}

// Denied reports whether the statement must not run.
func (j *Judgement) Denied() bool { return j.Decision.Verdict == policy.Deny || j.Runs == "" }

// Reason is the first reason of the decision, as the caller may hear it.
func (j *Judgement) Reason() policy.Reason {
	if len(j.Decision.Reasons) == 0 {
		return policy.Reason{Code: policy.CodeNotUnderstood, Sentence: "The statement was refused.", Next: "Send a simpler statement."}
	}
	return j.Decision.Reasons[0].Told()
}

// Judge judges a statement for a caller. maxRows bounds the answer below the
// policy's own limit; 0 leaves that limit alone.
func (j Judge) Judge(caller policy.Caller, sql string, maxRows int64, now time.Time) *Judgement {
	out := &Judgement{SQL: sql, Catalog: j.Catalog.Version()}
	stmt, err := parser.ParseStatement(sql)
	if err != nil {
		out.Statement = policy.Statement{Class: policy.Unknown, Problems: []policy.Reason{syntaxReason(err)}, Conversation: j.Conversation}
		out.Decision = j.Policy.Decide(caller, out.Statement, now)
		return out
	}
	context := j.Context
	context.Sees = func(t policy.Table) bool { return j.Policy.Sees(caller, t) }
	res := resolve.Resolve(stmt, j.Catalog, context)
	out.Statement, out.missing = res.Statement, res.Missing
	out.Statement.Conversation = j.Conversation
	j.hide(caller, &out.Statement)
	out.Decision = j.Policy.Decide(caller, out.Statement, now)
	if out.Decision.Verdict == policy.Deny {
		return out
	}
	if out.Decision.Verdict == policy.Ask {
		for _, a := range out.Statement.Accesses {
			out.Versions = append(out.Versions, j.Catalog.VersionOf(a.Object))
		}
	}
	out.copies, out.copiedRows, out.ends = lineage(res.Written, out.Decision.Masks), rowLineage(res, out.Decision.Filters), ended(res.Tree, out.Statement)
	rewritten, masked, err := rewrite.Apply(res, out.Decision, j.MaskKey)
	if err != nil {
		out.deny(err)
		return out
	}
	if q, ok := rewritten.(*ast.QueryStmt); ok && spelledOut(q.Query) {
		out.width = len(res.Output)
	}
	out.MaxRows = out.Decision.Limits.Rows
	if maxRows > 0 && maxRows < out.MaxRows {
		out.MaxRows = maxRows
	}
	// One row more than the answer may have tells "exactly full" from "cut".
	if limited, ok := rewrite.Limit(rewritten, out.MaxRows+1); ok {
		rewritten, out.Returns = limited, true
	}
	runs, err := ast.Print(rewritten, ast.Snowflake)
	if err != nil {
		out.deny(err)
		return out
	}
	out.Runs, out.Masked, out.Shown = runs, masked, runs
	hashes := func(m policy.ColumnMask) bool { return m.Mask.Kind == mask.Hash }
	if slices.ContainsFunc(out.Decision.Masks, hashes) && string(j.MaskKey) != mask.HiddenKey {
		hidden := j
		hidden.MaskKey = []byte(mask.HiddenKey)
		out.Shown = hidden.Judge(caller, sql, maxRows, now).Runs
	}
	return out
}

// spelledOut reports whether a query names each of its columns: what a star
// that was left to the account yields, PIVOT's for one, only the account knows.
func spelledOut(q ast.Query) bool {
	switch q := q.(type) {
	case *ast.Select:
		return !slices.ContainsFunc(q.Items, func(i *ast.SelectItem) bool { _, star := i.Expr.(*ast.Star); return star })
	case *ast.Paren:
		return spelledOut(q.Query)
	case *ast.With:
		return spelledOut(q.Body)
	case *ast.SetOp:
		return !q.ByName && spelledOut(q.Left) && spelledOut(q.Right)
	default:
		return false
	}
}

// hide keeps problems with a table from telling of the table: to a caller who
// may not see it, a misspelt column is a table that there is not.
func (j Judge) hide(caller policy.Caller, s *policy.Statement) {
	if len(s.Problems) == 0 {
		return
	}
	for _, a := range s.Accesses {
		if a.Via == nil && !j.Policy.Sees(caller, policy.Table{Object: a.Object}) {
			s.Problems = []policy.Reason{policy.ObjectUnknown(a.Object)}
			return
		}
	}
}

// deny turns the decision around: something that policy allows cannot be done
// safely.
func (j *Judgement) deny(err error) {
	var refusal *rewrite.Refusal
	reason := policy.Reason{
		Code:     policy.CodeUnsupported,
		Sentence: "This statement cannot be rewritten safely.",
		Next:     "Ask for the columns by name in a plain SELECT.",
	}
	if errors.As(err, &refusal) {
		reason = refusal.Reason
	}
	j.Statement.Problems = append(slices.Clip(j.Statement.Problems), reason)
	j.Decision.Verdict = policy.Deny
	j.Decision.Reasons = append([]policy.Reason{reason}, j.Decision.Reasons...)
	j.Runs = ""
}

// syntaxReason says what the parser could not read, and where.
func syntaxReason(err error) policy.Reason {
	var perr *parser.Error
	if !errors.As(err, &perr) {
		return policy.Reason{Code: policy.CodeSyntax, Sentence: "The statement could not be read.", Next: "Send one plain Snowflake SQL statement."}
	}
	next := perr.Hint
	reason := policy.Reason{Code: policy.CodeSyntax, Sentence: "The statement could not be read: " + perr.Error() + "."}
	switch perr.Code {
	case parser.Empty:
		reason = policy.Reason{Code: policy.CodeEmpty, Sentence: "There is no statement."}
		next = "Send one SQL statement."
	case parser.MultipleStatements:
		reason = policy.Reason{Code: policy.CodeMultiple, Sentence: "There is more than one statement."}
		next = "Send the statements one by one, each in a call of its own."
	case parser.TooLarge, parser.TooDeep:
		reason = policy.Reason{Code: policy.CodeTooLarge, Sentence: "The statement is too large: " + perr.Error() + "."}
		next = "Join against a table or a VALUES list instead of spelling everything out."
	case parser.Syntax:
	case parser.InvalidText:
		reason = policy.Reason{Code: policy.CodeInvalidText, Sentence: "The statement is not valid text: " + perr.Error() + "."}
		next = "Send UTF-8 without NUL bytes."
	}
	if next == "" {
		next = "Correct the statement at that place and send it again."
	}
	reason.Next = next
	return reason
}
