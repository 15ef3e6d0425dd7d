package audit

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// OCSF, the Open Cybersecurity Schema Framework, version 1.8.0
// (schema.ocsf.io/1.8.0): what security teams' tools read. A statement becomes
// a Datastore Activity, a sign-in an Authentication, everything else that
// somebody did an API Activity. It is a projection: what has no place in a
// class stands under unmapped, and the lossless export is jsonl. The profiles
// are security_control, for what the gate did about it, ai_operation, for the
// conversation where there is one, and datetime's absence: times are
// milliseconds.
const ocsfVersion = "1.8.0"

// The classes.
const (
	ocsfAuthentication = 3002
	ocsfAPI            = 6003
	ocsfDatastore      = 6005
)

// The activities of Datastore Activity.
const (
	activityUpdate = 2
	activityQuery  = 4
	activityWrite  = 5
	activityCreate = 6
	activityDelete = 7
	activityList   = 8
	activityOther  = 99
)

type ocsfObject map[string]any

// ExportOCSF writes the chosen entries as OCSF events, one a line.
func (r *Reader) ExportOCSF(ctx context.Context, w io.Writer, f Filter) error {
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for e, err := range r.Entries(ctx, f) {
		if err != nil {
			return err
		}
		if err := enc.Encode(r.ocsf(e)); err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}

// ocsf is an entry as an event.
func (r *Reader) ocsf(e *Entry) ocsfObject {
	v := e.Event
	class, activity := ocsfClass(v)
	o := ocsfObject{
		"category_uid": class / 1000,
		"class_uid":    class,
		"activity_id":  activity,
		"type_uid":     class*100 + activity,
		"time":         v.Time.UnixMilli(),
		"severity_id":  ocsfSeverity(v),
		"status_id":    ocsfStatus(v),
		"metadata": ocsfObject{
			"version":         ocsfVersion,
			"product":         ocsfObject{"name": "querywarden", "vendor_name": "querywarden"},
			"profiles":        []string{"security_control"},
			"log_name":        r.Origin(),
			"sequence":        e.Index,
			"uid":             e.Ref(),
			"event_code":      string(v.Kind),
			"original_time":   v.Time.Format("2006-01-02T15:04:05.000000Z07:00"),
			"correlation_uid": v.Session,
		},
		"src_endpoint": ocsfEndpoint(v),
		"actor":        ocsfActor(v),
		"unmapped":     ocsfObject{"leaf_hash": e.Leaf, "event": json.RawMessage(e.Raw)},
	}
	if v.Session == "" {
		delete(o["metadata"].(ocsfObject), "correlation_uid")
	}
	if v.Micros > 0 {
		o["duration"] = v.Micros / 1000
	}
	if v.Error != "" {
		o["status_detail"] = v.Error
	}
	if v.Count > 0 {
		o["count"] = v.Count
	}
	ocsfControl(o, v)
	if v.Conversation != "" {
		ocsfConversation(o, v)
	}
	switch class {
	case ocsfDatastore:
		ocsfStatement(o, e)
	case ocsfAuthentication:
		o["user"] = ocsfUser(v.Caller)
		o["service"] = ocsfObject{"name": "querywarden"}
		o["is_remote"] = v.Remote != "stdio"
		if v.Session != "" {
			o["session"] = ocsfObject{"uid": v.Session}
		}
	default:
		o["api"] = ocsfObject{"operation": strings.TrimSuffix(string(v.Kind)+" "+v.Tool, " "), "service": ocsfObject{"name": "querywarden"}}
		if v.Approval != "" {
			o["resources"] = []ocsfObject{{"uid": v.Approval, "type": "approval request"}}
		} else if v.Page != "" {
			o["resources"] = []ocsfObject{{"uid": v.Page, "type": "page of the console"}}
		}
	}
	return o
}

// ocsfClass chooses the class and the activity.
func ocsfClass(v Event) (class, activity int) {
	switch v.Kind {
	case KindSignIn, KindRefused:
		return ocsfAuthentication, 1 // logon
	case KindSessionEnd:
		return ocsfAuthentication, 2 // logoff
	case KindDecision, KindExecution, KindOutcome:
		return ocsfDatastore, map[string]int{
			"read": activityQuery, "write": activityWrite, "modify": activityUpdate, "create": activityCreate, "destroy": activityDelete,
		}[v.Class] + ocsfOther(v.Class)
	case KindCatalogRead:
		return ocsfDatastore, activityList
	case KindBrief:
		return ocsfDatastore, activityQuery
	case KindSafetyCopy:
		return ocsfDatastore, activityCreate
	case KindApprovalRequested, KindStart, KindPolicyLoaded, KindConfigLoaded, KindSessionStart, KindLinked, KindKeyAdded, KindPrompt, KindResponse, KindToolUse, KindJoined:
		return ocsfAPI, 1 // create
	case KindToolCall, KindRead:
		return ocsfAPI, 2 // read
	case KindApprovalVoted, KindApprovalChanged, KindGlassBroken, KindGlassAcknowledged:
		return ocsfAPI, 3 // update
	case KindErased, KindUnlinked, KindKeyRetired:
		return ocsfAPI, 4 // delete
	default:
		return ocsfAPI, activityOther
	}
}

// ocsfOther is what makes the activity of a class that has none: other.
func ocsfOther(class string) int {
	switch class {
	case "read", "write", "modify", "create", "destroy":
		return 0
	default:
		return activityOther
	}
}

// ocsfSeverity: informational, low for what was refused, medium for what
// destroys, high where the record itself is in question.
func ocsfSeverity(v Event) int {
	switch {
	case v.Kind == KindGap, v.Kind == KindAlert:
		return 4
	case v.Class == "destroy" && v.Verdict != "deny", v.Kind == KindErased:
		return 3
	case v.Verdict == "deny", v.Kind == KindRefused, v.Error != "":
		return 2
	default:
		return 1
	}
}

func ocsfStatus(v Event) int {
	if v.Kind == KindRefused || v.Verdict == "deny" || v.Error != "" || len(v.Codes) > 0 && v.Status == "denied" {
		return 2 // failure
	}
	return 1
}

// ocsfControl says what the gate did: profile security_control.
func ocsfControl(o ocsfObject, v Event) {
	action, disposition := 0, 0
	switch {
	case v.Kind == KindRefused, v.Verdict == "deny", v.Status == "denied":
		action, disposition = 2, 2 // denied, blocked
	case v.Verdict == "ask" && v.Kind != KindExecution:
		action, disposition = 3, 99 // observed; it waits for a person
		o["disposition"] = "waits for approval"
	case len(v.Masks) > 0, len(v.Filters) > 0, len(v.Redacted) > 0:
		action, disposition = 4, 11 // modified, corrected
	case v.Verdict == "allow", v.Kind == KindExecution, v.Kind == KindOutcome, v.Kind == KindSignIn, v.Kind == KindToolCall:
		action, disposition = 1, 1 // allowed
	default: // unknown: nothing was judged, or in a word that this does not know
	}
	o["action_id"], o["disposition_id"] = action, disposition
	if v.Policy != "" {
		p := ocsfObject{"uid": v.Policy, "name": "policy.yaml"}
		if len(v.Rules) > 0 {
			p["desc"] = "rules: " + strings.Join(v.Rules, ", ")
		}
		o["policy"] = p
	}
	if v.Approval != "" {
		decision := v.State
		if v.Approve != nil {
			decision = strconv.FormatBool(*v.Approve)
		}
		o["authorizations"] = []ocsfObject{{"decision": strings.TrimSpace("approval " + v.Approval + " " + decision)}}
	}
}

// ocsfConversation says which conversation it was: profile ai_operation. The
// model has no place of its own, since its provider, which that wants, is not
// known.
func ocsfConversation(o ocsfObject, v Event) {
	role := 3 // tool
	switch v.Kind {
	case KindPrompt:
		role = 1 // user
	case KindResponse:
		role = 2 // assistant
	default: // calls, and what joins them
	}
	o["message_context"] = ocsfObject{"uid": v.Conversation, "ai_role_id": role, "service": ocsfObject{"name": "querywarden"}}
	o["metadata"].(ocsfObject)["profiles"] = []string{"security_control", "ai_operation"}
}

func ocsfActor(v Event) ocsfObject {
	caller := v.Caller
	if v.Voter != nil {
		caller = v.Voter
	}
	if caller == nil {
		return ocsfObject{"app_name": "querywarden"}
	}
	a := ocsfObject{"user": ocsfUser(caller)}
	if v.Client != "" {
		a["app_name"] = v.Client
	}
	if v.Session != "" {
		a["session"] = ocsfObject{"uid": v.Session, "issuer": caller.Issuer}
	}
	return a
}

func ocsfUser(c *Caller) ocsfObject {
	if c == nil {
		return ocsfObject{"name": "unknown", "type_id": 0}
	}
	u := ocsfObject{"uid": c.Subject, "name": c.Subject, "domain": c.Issuer, "type_id": 1}
	if c.Kind == "ci" {
		u["type_id"] = 4 // service
	}
	if c.Email != "" {
		u["email_addr"] = c.Email
	}
	var groups []ocsfObject
	for _, g := range c.Groups {
		groups = append(groups, ocsfObject{"name": g})
	}
	if groups != nil {
		u["groups"] = groups
	}
	return u
}

// ocsfEndpoint is where it came from, as far as the log knows.
func ocsfEndpoint(v Event) ocsfObject {
	host, port, err := net.SplitHostPort(v.Remote)
	if err != nil {
		return ocsfObject{"name": "querywarden", "uid": cmp.Or(v.Session, "gateway")}
	}
	e := ocsfObject{"ip": host}
	if n, err := strconv.Atoi(port); err == nil {
		e["port"] = n
	}
	return e
}

// ocsfStatement fills in what a Datastore Activity has.
func ocsfStatement(o ocsfObject, e *Entry) {
	v := e.Event
	query := ocsfObject{"query_string": cmp.Or(e.Texts["runs"], cmp.Or(e.Texts["sql"], "not in this entry"))}
	if v.QueryID != "" {
		query["uid"] = v.QueryID
	}
	if v.Bytes > 0 {
		query["bytes"] = v.Bytes
	}
	o["query_info"] = query
	o["type_id"] = 1
	o["database"] = ocsfObject{"name": "Snowflake", "type_id": 1}
	if len(v.Accesses) == 0 {
		return
	}
	full := v.Accesses[0].Object
	parts := strings.Split(full, ".")
	o["database"] = ocsfObject{"name": parts[0], "type_id": 1}
	if len(parts) == 3 {
		o["type_id"] = 3
		o["table"] = ocsfObject{"name": full, "uid": full}
	}
}
