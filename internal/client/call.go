package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// The statuses of an answer, as package tools has them.
const (
	Completed = "completed"
	Pending   = "pending_approval"
	Denied    = "denied"
	Failed    = "failed"
)

// A Column of an answer.
type Column struct {
	Name   string `json:"name"`
	Type   string `json:"type"` // Snowflake's: "NUMBER(38,0)"
	Masked string `json:"masked"`
}

// An Answer of a tool, without its rows.
type Answer struct {
	Status    string    `json:"status"`
	Code      string    `json:"code"`
	Message   string    `json:"message"`
	Next      string    `json:"next"`
	Audit     string    `json:"audit"`
	Columns   []Column  `json:"columns"`
	RowCount  int64     `json:"row_count"`
	Truncated bool      `json:"truncated"`
	Redacted  int64     `json:"redacted"`
	Statement string    `json:"statement"`
	Approval  *Approval `json:"approval"`
}

// An Approval is a request that waits for a person.
type Approval struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Decide  time.Time `json:"decide_by"`
	Message string    `json:"message"`
}

// Rows takes the rows of an answer as they come. Begin is called once, before
// the first row, if there is a result; a row is a JSON value a column, and good
// until the next call.
type Rows interface {
	Begin(columns []Column) error
	Row(cells []json.RawMessage) error
}

// A Query is a statement and what is asked of it.
type Query struct {
	SQL     string `json:"sql"`
	Purpose string `json:"purpose,omitempty"`
	MaxRows int64  `json:"max_rows,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// Query asks the gateway to run a statement. The error is about the way to the
// gateway and back; what the gateway says of the statement is in the answer.
func (g *Gateway) Query(ctx context.Context, q Query, rows Rows) (Answer, error) {
	return g.call(ctx, "query", q, nil, rows)
}

// RequestApproval asks a person to let a statement run. It returns when that
// is decided, or after a while. Progress is told what the gateway tells.
func (g *Gateway) RequestApproval(ctx context.Context, sql, reason string, progress func(string), rows Rows) (Answer, error) {
	return g.call(ctx, "request_approval", map[string]any{"sql": sql, "reason": reason}, progress, rows)
}

// CheckApproval looks after a request, and waits up to wait for the decision,
// at most 50 seconds.
func (g *Gateway) CheckApproval(ctx context.Context, id string, wait time.Duration, progress func(string), rows Rows) (Answer, error) {
	return g.call(ctx, "check_approval", map[string]any{"id": id, "wait_seconds": int(min(max(wait, 0), 50*time.Second) / time.Second)}, progress, rows)
}

// call calls a tool.
func (g *Gateway) call(ctx context.Context, tool string, arguments any, progress func(string), rows Rows) (Answer, error) {
	meta := map[string]any{
		"io.modelcontextprotocol/protocolVersion":    revision,
		"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		"io.modelcontextprotocol/clientInfo":         map[string]any{"name": g.name, "version": g.version},
	}
	if progress != nil {
		meta["progressToken"] = 1
	}
	message, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "tools/call",
		"params": map[string]any{"name": tool, "arguments": arguments, "_meta": meta},
	})
	if err != nil {
		return Answer{}, fmt.Errorf("calling %s: %w", tool, err)
	}
	header := http.Header{}
	header.Set(headerVersion, revision)
	header.Set(headerMethod, "tools/call")
	header.Set(headerName, tool)
	res, err := g.post(ctx, header, message)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	a, err := readAnswer(res, g.limit, progress, rows)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, err
}

// errNotMCP is in the chain of errors about answers that make no sense.
var errNotMCP = errors.New("the answer is not what a gateway answers")

// readAnswer reads messages until the answer has come, limit bytes at most at
// once.
func readAnswer(res *http.Response, limit int64, progress func(string), rows Rows) (Answer, error) {
	all := newMessages(res)
	for {
		message, err := all.next()
		if errors.Is(err, io.EOF) {
			return Answer{}, advise(errors.New("reading the answer: it ended before it was whole"), "the connection was cut, and it is not known whether the statement ran; the gateway's log knows")
		}
		if err != nil {
			return Answer{}, cut(err, 0)
		}
		part := &bounded{r: message, limit: limit}
		part.reset()
		r := reader{part: part, decoder: json.NewDecoder(part), rows: rows}
		if err := r.message(); err != nil {
			return Answer{}, cut(err, r.count)
		}
		switch {
		case r.failure != nil:
			return Answer{}, r.failure.advice()
		case r.found:
			return r.answer, r.whole()
		case r.method == "notifications/progress" && progress != nil:
			progress(clean(r.progress))
		}
	}
}

// cut words an error in the middle of an answer.
func cut(err error, rows int64) error {
	var own *rowError
	switch {
	case errors.As(err, &own):
		return own.err
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("reading the answer: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return advise(fmt.Errorf("reading the answer: it ended after %d rows, before it was whole", rows), "the connection was cut; the gateway's log knows what ran")
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errNotMCP) {
		return advise(fmt.Errorf("reading the answer: %w", errNotMCP), "is that the gateway, or a proxy before it?")
	}
	return fmt.Errorf("reading the answer: %w", err)
}

// rowError is an error of the rows' taker, not of the wire.
type rowError struct{ err error }

func (e *rowError) Error() string { return e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

// rpcError is an error of the protocol.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// codeVersion is the code of a revision that the gateway does not speak.
const codeVersion = -32022

func (e *rpcError) advice() error {
	err := fmt.Errorf("the gateway answers with error %d: %s", e.Code, clean(e.Message))
	if e.Code == codeVersion {
		return advise(err, "it is older than this client; use the client of its own version")
	}
	return err
}

// reader reads one message, the rows of an answer one by one.
type reader struct {
	part    *bounded
	decoder *json.Decoder
	rows    Rows

	method   string
	progress string
	failure  *rpcError
	found    bool
	answer   Answer
	fields   map[string]json.RawMessage // of the structured content
	text     string                     // of the content
	begun    bool
	count    int64
}

// object reads an object's members, each by a call of member, which reads the
// value.
func (r *reader) object(member func(name string) error) error {
	if err := r.delimiter('{'); err != nil {
		return err
	}
	for r.decoder.More() {
		name, err := r.decoder.Token()
		if err != nil {
			return err
		}
		text, ok := name.(string)
		if !ok {
			return errNotMCP
		}
		if err := member(text); err != nil {
			return err
		}
	}
	return r.delimiter('}')
}

func (r *reader) delimiter(want json.Delim) error {
	token, err := r.decoder.Token()
	if err != nil {
		return err
	}
	if token != want {
		return errNotMCP
	}
	return nil
}

func (r *reader) message() error {
	return r.object(func(name string) error {
		switch name {
		case "method":
			return r.decoder.Decode(&r.method)
		case "error":
			return r.decoder.Decode(&r.failure)
		case "result":
			r.found = true
			return r.result()
		case "params":
			var params struct {
				Message string `json:"message"`
			}
			err := r.decoder.Decode(&params)
			r.progress = params.Message
			return err
		default:
			return r.skip()
		}
	})
}

// skip reads over a value.
func (r *reader) skip() error {
	var v json.RawMessage
	return r.decoder.Decode(&v)
}

func (r *reader) result() error {
	return r.object(func(name string) error {
		switch name {
		case "structuredContent":
			return r.structured()
		case "content":
			var content []struct {
				Text string `json:"text"`
			}
			err := r.decoder.Decode(&content)
			if len(content) > 0 {
				r.text = content[0].Text
			}
			return err
		default:
			return r.skip()
		}
	})
}

func (r *reader) structured() error {
	r.fields = map[string]json.RawMessage{}
	return r.object(func(name string) error {
		if name == "rows" {
			return r.each()
		}
		var v json.RawMessage
		err := r.decoder.Decode(&v)
		r.fields[name] = v
		return err
	})
}

// each reads the rows. The columns stand before them: otherwise what they are
// would not be known while they come.
func (r *reader) each() error {
	if err := r.begin(); err != nil {
		return err
	}
	if err := r.delimiter('['); err != nil {
		return err
	}
	width := len(r.answer.Columns)
	cells := make([]json.RawMessage, 0, width)
	for r.decoder.More() {
		r.part.reset()
		cells = cells[:0]
		if err := r.decoder.Decode(&cells); err != nil {
			return err
		}
		if len(cells) != width {
			return errNotMCP
		}
		if err := r.rows.Row(cells); err != nil {
			return &rowError{err}
		}
		r.count++
	}
	r.part.reset()
	return r.delimiter(']')
}

func (r *reader) begin() error {
	var columns []Column
	if text, ok := r.fields["columns"]; !ok || json.Unmarshal(text, &columns) != nil {
		return errNotMCP
	}
	r.answer.Columns, r.begun = columns, true
	if err := r.rows.Begin(columns); err != nil {
		return &rowError{err}
	}
	return nil
}

// whole completes the answer, and refuses one that contradicts itself.
func (r *reader) whole() error {
	if r.fields == nil {
		return fmt.Errorf("the gateway answers: %s", or(clean(r.text), "nothing"))
	}
	text, err := json.Marshal(r.fields)
	if err == nil {
		err = json.Unmarshal(text, &r.answer)
	}
	if err != nil {
		return cut(errNotMCP, r.count)
	}
	switch r.answer.Status {
	case Completed, Pending, Denied, Failed:
	default:
		return cut(errNotMCP, r.count)
	}
	if r.begun && r.count != r.answer.RowCount {
		return errors.New("reading the answer: it holds " + strconv.FormatInt(r.count, 10) + " rows and says " + strconv.FormatInt(r.answer.RowCount, 10))
	}
	return nil
}
