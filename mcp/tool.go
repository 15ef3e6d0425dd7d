package mcp

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"querywarden/tools"
)

// The schemas keep to what all clients' model providers take: no references,
// no unions, no null. No argument is mirrored into an HTTP header, where
// proxies would log it.
//
//go:embed schema/*.json
var schemas embed.FS

// A tool is one of the gate's, with what clients are told about it.
type tool struct {
	name        string // also that of its input schema
	title       string
	description string
	answer      string // name of its output schema
	// What a call may do, told honestly: a client that runs readOnly tools
	// unasked must be right to.
	readOnly, destructive, idempotent bool

	call func(context.Context, tools.Call, json.RawMessage, tools.Progress) (reply, error)
	// start is call for clients that know tasks: with a task there is no reply
	// yet. It is nil where there never is a task.
	start func(context.Context, tools.Call, json.RawMessage) (*task, reply, error)
}

// tools lists the tools. The texts are for models: when to call, what comes
// back, what to do then.
func (s *Server) tools() []tool {
	return []tool{{
		name:  "query",
		title: "Run one SQL statement",
		description: `Runs one Snowflake SQL statement and returns its rows. Use it for every question about data; find names with list_tables and describe_table first.
Aggregate and filter in SQL rather than fetching many rows. Set dry_run to learn what a statement would do without running it.
The answer's status says what happened:
- completed: rows are in "rows", in the order of "columns". A column with "masked" holds replaced values, not the real ones. If "truncated", there are more rows: aggregate or filter instead of paging.
- pending_approval: nothing ran; a person has to agree. Call request_approval with exactly this sql.
- denied: it did not run. "message" says why, "next" what to do. Do not retry variants of it.
- failed: it was allowed and went wrong. Correct the statement if "next" says so.`,
		answer:      "query_answer",
		destructive: true,
		call: bind(func(ctx context.Context, c tools.Call, req tools.QueryRequest, _ tools.Progress) reply {
			return queryReply(s.gate.Query(ctx, c, req))
		}),
	}, {
		name:  "describe_table",
		title: "Describe a table",
		description: `Returns the columns of one table or view: names, types, comments, which of them are masked for you, and the row filter in force. Use it before you write a query on a table that you have not seen.
A column that is missing here may exist and not be readable for you. Do not compare, join or group by masked columns: their values are not the real ones.
Status denied means that there is no such table for you: look for it with list_tables.`,
		answer:     "describe_table_answer",
		readOnly:   true,
		idempotent: true,
		call: bind(func(ctx context.Context, c tools.Call, req tools.DescribeRequest, _ tools.Progress) reply {
			return describeReply(s.gate.DescribeTable(ctx, c, req))
		}),
	}, {
		name:  "list_tables",
		title: "List tables",
		description: `Lists the tables and views that you may read, page by page, with their full names. Use it to find where data is; narrow it with search.
If next_cursor is in the answer there are more: pass it as cursor. An empty list means that nothing matches among what you may read.`,
		answer:     "list_tables_answer",
		readOnly:   true,
		idempotent: true,
		call: bind(func(ctx context.Context, c tools.Call, req tools.ListRequest, _ tools.Progress) reply {
			return listReply(s.gate.ListTables(ctx, c, req))
		}),
	}, {
		name:  "request_approval",
		title: "Ask a person to approve a statement",
		description: `Asks a person to let one statement run, waits a while for the answer and, if it is yes, runs the statement and returns its result. Use it only after query answered pending_approval, with exactly the same sql, and give a reason that a person can decide on.
- completed: it was approved and has run; the result is here.
- pending_approval: nobody has decided yet. Keep approval.id and call check_approval with it; do not ask again.
- denied: the person said no (see approval.message), or the statement needs no approval or cannot get one. Tell the user; do not ask again unchanged.
- failed: it was approved and went wrong.`,
		answer:      "query_answer",
		destructive: true,
		call: bind(func(ctx context.Context, c tools.Call, req tools.ApprovalRequest, p tools.Progress) reply {
			return queryReply(s.gate.RequestApproval(ctx, c, req, p))
		}),
		start: func(ctx context.Context, c tools.Call, args json.RawMessage) (*task, reply, error) {
			var req tools.ApprovalRequest
			if err := json.Unmarshal(args, &req); err != nil {
				return nil, reply{}, fmt.Errorf("reading arguments: %w", err)
			}
			req.NoWait = true
			a := s.gate.RequestApproval(ctx, c, req, nil)
			if a.Status != tools.Pending || a.Approval == nil {
				return nil, queryReply(a), nil
			}
			t := newTask(a.Approval.ID, a)
			return &t, reply{}, nil
		},
	}, {
		name:  "check_approval",
		title: "Look after an approval request",
		description: `Looks after a request made with request_approval, by its id, and waits up to wait_seconds for its end. Once a person has approved it the gateway runs the statement by itself, once, and keeps the result for you for a while: this call returns it.
- completed: it has run; the result is here, or is not kept any more if code is approval_used.
- pending_approval: still undecided, or still running. Call again with wait_seconds 50, or tell the user and look later. If code is approval_stale, a person was asked again under the id that is in approval.
- denied: the person said no, or the request expired, or what was approved is not what would run now. "next" says which and what to do.
- failed: it was approved and went wrong. If code is outcome_unknown, do not repeat the statement.`,
		answer:      "query_answer",
		destructive: true,
		call: bind(func(ctx context.Context, c tools.Call, req tools.CheckRequest, p tools.Progress) reply {
			return queryReply(s.gate.CheckApproval(ctx, c, req, p))
		}),
	}}
}

// bind makes a tool's function take its arguments as they come.
func bind[Request any](run func(context.Context, tools.Call, Request, tools.Progress) reply) func(context.Context, tools.Call, json.RawMessage, tools.Progress) (reply, error) {
	return func(ctx context.Context, c tools.Call, args json.RawMessage, p tools.Progress) (reply, error) {
		var req Request
		if err := json.Unmarshal(args, &req); err != nil {
			return reply{}, fmt.Errorf("reading arguments: %w", err)
		}
		return run(ctx, c, req, p), nil
	}
}

// definition is the tool as tools/list shows it.
func (t tool) definition() (mcp.Tool, error) {
	input, err := schemas.ReadFile("schema/" + t.name + ".json")
	if err != nil {
		return mcp.Tool{}, err
	}
	output, err := schemas.ReadFile("schema/" + t.answer + ".json")
	if err != nil {
		return mcp.Tool{}, err
	}
	closed := false
	return mcp.Tool{
		Name:            t.name,
		Title:           t.title,
		Description:     t.description,
		RawInputSchema:  input,
		RawOutputSchema: output,
		Annotations: mcp.ToolAnnotation{
			Title:           t.title,
			ReadOnlyHint:    &t.readOnly,
			DestructiveHint: &t.destructive,
			IdempotentHint:  &t.idempotent,
			OpenWorldHint:   &closed, // one account, and nothing beyond it
		},
	}, nil
}

// handler serves calls of a tool to mcp-go. It never returns an error: what
// goes wrong is an answer that a model can read.
func (s *Server) handler(t tool, check checker) server.ToolHandlerFunc {
	return func(ctx context.Context, req mcp.CallToolRequest) (result *mcp.CallToolResult, err error) {
		in := requestFrom(ctx)
		splice := in.splice
		defer func() {
			if p := recover(); p != nil {
				s.logger.Error("a tool panicked", "tool", t.name, "panic", p, "stack", string(debug.Stack()))
				result, err = broken(t).result(splice), nil
			}
		}()
		if !s.scoped(in, t.name) {
			return s.insufficientScope(ctx, in, t.name), nil
		}
		args, problem := check.arguments(req.Params.RawArguments)
		if problem != "" {
			return plainReply(s.gate.BadCall(ctx, s.call(ctx, req), t.name, problem)).result(splice), nil
		}
		var r reply
		if t.start != nil && in.writer != nil && declares(ctx) {
			var started *task
			if started, r, err = t.start(ctx, s.call(ctx, req), args); started != nil {
				return becomeTask(splice, *started), nil
			}
		} else {
			r, err = t.call(ctx, s.call(ctx, req), args, s.progress(ctx, req))
		}
		if err != nil {
			s.logger.Error("an argument passed its schema and not its type", "tool", t.name, "err", err)
			return plainReply(s.gate.BadCall(ctx, s.call(ctx, req), t.name, "The arguments do not fit this tool's input schema.")).result(splice), nil
		}
		if splice != nil {
			splice.settle(ctx)
		}
		return r.result(splice), nil
	}
}

// progress returns what a waiting call tells its client with, nil if the
// client did not ask to be told.
func (s *Server) progress(ctx context.Context, req mcp.CallToolRequest) tools.Progress {
	if req.Params.Meta == nil || req.Params.Meta.ProgressToken == nil {
		return nil
	}
	var n atomic.Int64
	return func(message string) {
		s.notify(ctx, "notifications/progress", map[string]any{
			"progressToken": req.Params.Meta.ProgressToken,
			"progress":      n.Add(1),
			"message":       message,
		})
	}
}

// notify tells the client of a request something before it is answered.
func (s *Server) notify(ctx context.Context, method string, params map[string]any) {
	if err := s.mcp.SendNotificationToClient(ctx, method, params); err != nil {
		s.logger.Debug("sending a notification", "method", method, "err", err)
		return
	}
	if splice := requestFrom(ctx).splice; splice != nil {
		splice.notified()
	}
}

// broken answers for a call that panicked.
func broken(t tool) reply {
	a := tools.Answer{
		Status:  tools.Failed,
		Code:    tools.CodeApprovalUnknownOutcome,
		Message: "The gateway met an error of its own, and it is not known whether the statement ran.",
		Next:    "Do not repeat a statement that changes anything. Tell the gateway's operator.",
	}
	if t.readOnly {
		a.Code, a.Message, a.Next = tools.CodeUnavailable, "The gateway met an error of its own.", "Tell the gateway's operator."
	}
	return plainReply(a)
}
