package capture

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"querywarden/audit"
)

// OTLP/HTTP logs (opentelemetry.io/docs/specs/otlp, section OTLP/HTTP): the
// protobuf message ExportLogsServiceRequest, or its JSON form, in which trace
// ids are hexadecimal.
const (
	contentJSON     = "application/json"
	contentProtobuf = "application/x-protobuf"
)

// A logRecord is what is read of a record: its name, its trace and its
// attributes that are text.
type logRecord struct {
	name       string
	trace      string
	attributes map[string]string
}

// ParseLogs reads an export of logs. Records that tell nothing of a conversation
// are left alone.
func ParseLogs(contentType string, body []byte) ([]Record, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	var logs []logRecord
	switch kind {
	case contentJSON:
		logs, err = jsonLogs(body)
	case contentProtobuf:
		logs, err = protobufLogs(body)
	default:
		err = fmt.Errorf("%q is neither %s nor %s", kind, contentJSON, contentProtobuf)
	}
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	var records []Record
	for i := range logs {
		records = append(records, logs[i].records()...)
	}
	return records, nil
}

// records is what a record tells. Attributes that hold what a tool returned are
// not among those that are read.
func (l *logRecord) records() []Record {
	a := l.attributes
	source, event, ok := strings.Cut(first(l.name, a["event.name"]), ".")
	if !ok { // some versions leave the client's name out
		event = source
		source = ""
	}
	r := Record{Trace: l.trace, Model: a["model"]}
	switch {
	case source == "claude_code" || source == "" && a["session.id"] != "":
		r.Source, r.Conversation, r.Turn = "claude", a["session.id"], a["prompt.id"]
	case source == "codex" || source == "" && a["conversation.id"] != "":
		r.Source, r.Conversation, r.Turn = "codex", a["conversation.id"], a["turn.id"]
	default:
		return nil
	}
	switch event {
	case "user_prompt":
		return r.saying(audit.KindPrompt, a["prompt"])
	case "assistant_response":
		return r.saying(audit.KindResponse, a["response"])
	case "tool_decision", "tool_result":
		tool := a["tool_name"]
		input := json.RawMessage(first(a["tool_input"], a["tool_parameters"], a["arguments"]))
		if tool == "mcp_tool" || tool == "" { // the name stands among the parameters
			var p struct {
				Name string `json:"mcp_tool_name"`
			}
			if json.Unmarshal([]byte(a["tool_parameters"]), &p) == nil {
				tool = p.Name
			}
		}
		return r.using(tool, first(a["tool_use_id"], a["call_id"]), input)
	default:
		return nil
	}
}

// jsonLogs reads the JSON form. protojson would take hexadecimal ids for base64.
func jsonLogs(body []byte) ([]logRecord, error) {
	type attributes []struct {
		Key   string `json:"key"`
		Value struct {
			String *string `json:"stringValue"`
		} `json:"value"`
	}
	var request struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					EventName string `json:"eventName"`
					TraceID   string `json:"traceId"`
					Body      struct {
						String string `json:"stringValue"`
					} `json:"body"`
					Attributes attributes `json:"attributes"`
				} `json:"logRecords"`
			} `json:"scopeLogs"`
		} `json:"resourceLogs"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	var logs []logRecord
	for _, resource := range request.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, r := range scope.LogRecords {
				l := logRecord{name: first(r.EventName, eventName(r.Body.String)), trace: traceOf(r.TraceID), attributes: map[string]string{}}
				for _, a := range r.Attributes {
					if a.Value.String != nil {
						l.attributes[a.Key] = *a.Value.String
					}
				}
				logs = append(logs, l)
			}
		}
	}
	return logs, nil
}

func protobufLogs(body []byte) ([]logRecord, error) {
	// LogsData is an ExportLogsServiceRequest on the wire, and brings no gRPC.
	var request logspb.LogsData
	if err := proto.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	var logs []logRecord
	for _, resource := range request.GetResourceLogs() {
		for _, scope := range resource.GetScopeLogs() {
			for _, r := range scope.GetLogRecords() {
				l := logRecord{name: first(r.GetEventName(), eventName(r.GetBody().GetStringValue())), trace: traceOf(hex.EncodeToString(r.GetTraceId())), attributes: map[string]string{}}
				for _, a := range r.GetAttributes() {
					if v, ok := a.GetValue().GetValue().(*commonpb.AnyValue_StringValue); ok {
						l.attributes[a.GetKey()] = v.StringValue
					}
				}
				logs = append(logs, l)
			}
		}
	}
	return logs, nil
}

// eventName is a record's body where clients put the name of the event there.
func eventName(body string) string {
	if strings.HasPrefix(body, "claude_code.") || strings.HasPrefix(body, "codex.") {
		return body
	}
	return ""
}

// traceOf is a trace id, empty if it is none.
func traceOf(id string) string {
	id = strings.ToLower(id)
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// emptyReply is the answer to an export that was taken whole, in the form of the
// question: ExportLogsServiceResponse without members.
func emptyReply(contentType string) (body []byte, kind string) {
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == contentProtobuf {
		return nil, contentProtobuf
	}
	return []byte("{}"), contentJSON
}
