package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ocsfRules are what OCSF 1.8.0 demands of the classes and objects that the
// export uses: which members are required, which are known, which of several
// one is needed, and what the numbers may be.
// schema.ocsf.io/1.8.0/classes/datastore_activity, …/api_activity,
// …/authentication, and the pages of the objects.
var ocsfRules = map[string]struct {
	required, known, oneOf []string
	enums                  map[string][]int
	objects                map[string]string // member → object
}{
	"base": {
		required: []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"},
		known:    []string{"status_id", "status_detail", "duration", "count", "unmapped", "action_id", "disposition_id", "disposition", "policy", "authorizations", "message_context"},
		enums:    map[string][]int{"severity_id": {0, 1, 2, 3, 4, 5, 6, 99}, "status_id": {0, 1, 2, 99}, "action_id": {0, 1, 2, 3, 4, 99}, "disposition_id": {0, 1, 2, 11, 15, 17, 99}},
		objects:  map[string]string{"metadata": "metadata", "policy": "policy", "message_context": "message_context"},
	},
	"6005": {
		required: []string{"actor", "src_endpoint"}, known: []string{"database", "table", "query_info", "type_id"}, oneOf: []string{"database", "databucket", "table"},
		enums:   map[string][]int{"activity_id": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99}, "type_id": {0, 1, 2, 3, 99}},
		objects: map[string]string{"actor": "actor", "src_endpoint": "network_endpoint", "database": "database", "table": "table", "query_info": "query_info"},
	},
	"6003": {
		required: []string{"actor", "api", "src_endpoint"}, known: []string{"resources"},
		enums:   map[string][]int{"activity_id": {1, 2, 3, 4, 99}},
		objects: map[string]string{"actor": "actor", "src_endpoint": "network_endpoint", "api": "api"},
	},
	"3002": {
		required: []string{"user"}, known: []string{"actor", "src_endpoint", "service", "session", "is_remote"}, oneOf: []string{"service", "dst_endpoint"},
		enums:   map[string][]int{"activity_id": {1, 2, 3, 4, 5, 99}},
		objects: map[string]string{"actor": "actor", "src_endpoint": "network_endpoint", "user": "user", "service": "service", "session": "session"},
	},
	"metadata":         {required: []string{"product", "version"}, known: []string{"profiles", "log_name", "sequence", "uid", "event_code", "original_time", "correlation_uid"}, objects: map[string]string{"product": "product"}},
	"product":          {required: []string{"vendor_name"}, known: []string{"name"}, oneOf: []string{"name", "uid"}},
	"actor":            {known: []string{"user", "app_name", "session"}, oneOf: []string{"process", "user", "invoked_by", "session", "app_name", "app_uid"}, objects: map[string]string{"user": "user", "session": "session"}},
	"user":             {known: []string{"uid", "name", "domain", "type_id", "email_addr", "groups"}, oneOf: []string{"account", "name", "uid"}, enums: map[string][]int{"type_id": {0, 1, 2, 3, 4, 99}}},
	"session":          {known: []string{"uid", "issuer"}},
	"network_endpoint": {known: []string{"ip", "port", "name", "uid"}, oneOf: []string{"ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "interface_name", "domain"}},
	"database":         {required: []string{"type_id"}, known: []string{"name", "uid"}, oneOf: []string{"name", "uid"}},
	"table":            {known: []string{"name", "uid"}, oneOf: []string{"name", "uid"}},
	"query_info":       {required: []string{"query_string"}, known: []string{"uid", "bytes"}},
	"policy":           {known: []string{"name", "uid", "desc"}, oneOf: []string{"name", "uid"}},
	"api":              {required: []string{"operation"}, known: []string{"service"}, objects: map[string]string{"service": "service"}},
	"message_context":  {known: []string{"uid", "ai_role_id", "service"}, oneOf: []string{"application", "service"}, enums: map[string][]int{"ai_role_id": {0, 1, 2, 3, 4, 5, 6, 99}}, objects: map[string]string{"service": "service"}},
	"service":          {known: []string{"name"}, oneOf: []string{"name", "uid"}},
}

// ocsfProblems holds an object against its rules.
func ocsfProblems(at string, o map[string]any, names ...string) (problems []string) {
	var required, known []string
	for _, n := range names {
		rules, ok := ocsfRules[n]
		if !ok {
			return []string{at + ": no rules for " + n}
		}
		required, known = append(required, rules.required...), append(known, rules.known...)
		if rules.oneOf != nil && !slices.ContainsFunc(rules.oneOf, func(m string) bool { return o[m] != nil }) {
			problems = append(problems, fmt.Sprintf("%s: none of %v", at, rules.oneOf))
		}
		for member, allowed := range rules.enums {
			if v, ok := o[member].(float64); ok && !slices.Contains(allowed, int(v)) {
				problems = append(problems, fmt.Sprintf("%s.%s: %v", at, member, v))
			}
		}
		for member, object := range rules.objects {
			if inner, ok := o[member].(map[string]any); ok {
				problems = append(problems, ocsfProblems(at+"."+member, inner, object)...)
			}
		}
	}
	for _, m := range required {
		if o[m] == nil {
			problems = append(problems, at+": "+m+" is missing")
		}
	}
	for m, v := range o {
		if !slices.Contains(required, m) && !slices.Contains(known, m) {
			problems = append(problems, at+": "+m+" is unknown")
		}
		if v == nil || v == "" {
			problems = append(problems, at+": "+m+" is empty")
		}
	}
	return problems
}

// TestOCSF: every kind of event becomes a valid one.
func TestOCSF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	l := openTest(t, path, Options{})
	yes, of := true, int64(1)
	ada := &Caller{Issuer: "idp", Subject: "ada", Email: "ada@example.com", Groups: []string{"analysts"}, Kind: "agent"}
	read := []Access{{Class: "read", Object: "RETAIL.PUBLIC.CUSTOMERS"}}
	events := []Event{
		{Kind: KindStart, Version: "1"}, {Kind: KindStop}, {Kind: KindGap, Of: &of}, {Kind: KindPolicyLoaded, Policy: "p", PolicyText: "x"}, {Kind: KindConfigLoaded, ConfigText: "x"},
		{Kind: KindSignIn, Caller: ada, Session: "s", Remote: "192.0.2.1:7"}, {Kind: KindSignIn, Caller: ada, Session: "s", Remote: "stdio"},
		{Kind: KindRefused, Codes: []string{"expired"}, Remote: "[2001:db8::1]:9"}, {Kind: KindRefused, Codes: []string{"expired"}, Count: 9},
		{Kind: KindSessionStart, Caller: ada, Session: "s", Client: "c 1"}, {Kind: KindSessionEnd, Caller: ada, Session: "s"},
		{Kind: KindCatalogRead, Runs: "SELECT 1"}, {Kind: KindToolCall, Tool: "list_tables", Caller: ada}, {Kind: KindToolCall, Tool: "query", Caller: ada, Status: "denied", Codes: []string{"bad_argument"}},
		{Kind: KindDecision, Caller: ada, Class: "read", Verdict: "allow", SQL: "select", Runs: "SELECT", Accesses: read, Rules: []string{"r"}, Policy: "p"},
		{Kind: KindDecision, Caller: ada, Class: "read", Verdict: "allow", Accesses: read, Masks: []string{"m"}, Policy: "p"},
		{Kind: KindDecision, Caller: ada, Class: "unknown", Verdict: "deny", SQL: "x", Policy: "p"},
		{Kind: KindDecision, Caller: ada, Class: "destroy", Verdict: "ask", SQL: "drop", Accesses: []Access{{Class: "destroy", Object: "RETAIL"}}, Policy: "p"},
		{Kind: KindApprovalRequested, Caller: ada, Approval: "apr", State: "pending"}, {Kind: KindApprovalVoted, Approval: "apr", Voter: &Caller{Issuer: "idp", Subject: "bob"}, Approve: &yes, Caller: ada},
		{Kind: KindApprovalChanged, Approval: "apr", State: "approved", Caller: ada}, {Kind: KindExecution, Caller: &Caller{Issuer: "idp", Subject: "job", Kind: "ci"}, Class: "destroy", Approval: "apr", Runs: "DROP"},
		{Kind: KindOutcome, Caller: ada, Class: "read", Status: "completed", Rows: 1, Bytes: 2, Micros: 2500, QueryID: "q", Of: &of}, {Kind: KindOutcome, Caller: ada, Class: "write", Status: "failed", Error: "syntax 001003"},
		{Kind: KindPrompt, Caller: ada, Conversation: "c", Turn: "t", Model: "m", Source: "claude", Prompt: "who?"}, {Kind: KindResponse, Caller: ada, Conversation: "c", Turn: "t", Source: "codex", Response: "x"},
		{Kind: KindToolUse, Caller: ada, Conversation: "c", Turn: "t", CallID: "u", Tool: "query", Source: "claude"}, {Kind: KindJoined, Caller: ada, Conversation: "c", Turn: "t", Of: &of, How: "exact"}, {Kind: KindDropped, Count: 3},
		{Kind: KindKeyAdded, Key: "k", Keys: []string{"j", "k"}}, {Kind: KindKeyRetired, Key: "j", Keys: []string{"k"}},
		{Kind: KindErased, Count: 4, Reason: "x"}, {Kind: KindAlert, Count: 2, Codes: []string{"bypass"}, Problem: "x"},
		{Kind: KindGlassBroken, Caller: ada, Approval: "apr", Voter: &Caller{Issuer: "idp", Subject: "bob"}, Via: "console", Ticket: "INC-1", Reason: "x"},
		{Kind: KindGlassAcknowledged, Caller: ada, Approval: "apr", Voter: &Caller{Issuer: "idp", Subject: "cyd"}, Via: "slack"},
		{Kind: KindBrief, Runs: "SELECT 1"}, {Kind: KindSafetyCopy, Runs: "CREATE TABLE", Approval: "apr"},
		{Kind: KindLinked, Voter: ada, Via: "slack"}, {Kind: KindUnlinked, Voter: ada, Via: "slack"},
		{Kind: KindRead, Caller: ada, Session: "s", Remote: "192.0.2.1:7", Page: "/console/log"}, {Kind: KindRead, Caller: ada, Session: "s", Page: "/console/requests/apr", Approval: "apr"},
	}
	for _, e := range events {
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[Kind]bool{}
	for _, e := range events {
		seen[e.Kind] = true
	}
	for _, k := range Kinds() {
		if !seen[k] {
			t.Errorf("the kind %s is not among the test's events", k)
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.ExportOCSF(t.Context(), &b, Filter{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != len(events) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		class := int(o["class_uid"].(float64))
		problems := ocsfProblems(string(events[i].Kind), o, "base", fmt.Sprint(class))
		if int(o["type_uid"].(float64)) != class*100+int(o["activity_id"].(float64)) || int(o["category_uid"].(float64)) != class/1000 {
			problems = append(problems, "the numbers of the class do not fit")
		}
		for _, p := range problems {
			t.Error(p)
		}
	}
}
