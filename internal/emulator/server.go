//go:build cgo

package emulator

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

const (
	serverVersion = "9.0.0"
	// maxBody bounds what a client may send: a statement of 1 MB, escaped,
	// with its binds.
	maxBody = 16 << 20
	// pingPong is how long a request waits for its statement before it is told
	// to come back for the result.
	pingPong = 45 * time.Second
)

func (e *Emulator) newServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /session/v1/login-request", e.login)
	mux.HandleFunc("POST /session/token-request", e.renew)
	mux.HandleFunc("POST /session/heartbeat", e.heartbeat)
	mux.HandleFunc("POST /session", e.logout)
	mux.HandleFunc("POST /queries/v1/query-request", e.queryRequest)
	mux.HandleFunc("POST /queries/v1/abort-request", e.abortRequest)
	mux.HandleFunc("GET /queries/{id}/result", e.queryResult)
	mux.HandleFunc("GET /results/{name}", e.fetchChunk)
	mux.HandleFunc("GET /monitoring/queries/{id}", e.monitoring)
	mux.HandleFunc("POST /telemetry/send", func(w http.ResponseWriter, r *http.Request) { replyData(w, "Log Received") })
	return &http.Server{
		Handler:           e.breaking(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(e.logger.Handler(), slog.LevelWarn),
	}
}

// envelope is around every reply.
type envelope struct {
	Data    any     `json:"data"`
	Code    *string `json:"code"`
	Message *string `json:"message"`
	Success bool    `json:"success"`
}

func replyData(w http.ResponseWriter, data any) { writeJSON(w, envelope{Data: data, Success: true}) }

func replyError(w http.ResponseWriter, code, message string) {
	writeJSON(w, envelope{Code: &code, Message: &message})
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the reply cannot be written", http.StatusInternalServerError)
		return
	}
	writeBody(w, body)
}

// writeBody sends a reply. An error here is a client that went away.
func writeBody(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// readBody decodes a request's JSON, which may be compressed, or answers why
// it cannot.
func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	body := io.Reader(http.MaxBytesReader(w, r.Body, maxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, "the body is not gzip", http.StatusBadRequest)
			return false
		}
		body = io.LimitReader(unzip, maxBody)
	}
	decoder := json.NewDecoder(body)
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		http.Error(w, "the body is not the JSON expected", http.StatusBadRequest)
		return false
	}
	return true
}

// parameterText is a session parameter as its text.
func parameterText(value any) string {
	if b, ok := value.(bool); ok {
		return strings.ToLower(fmt.Sprint(b))
	}
	return fmt.Sprint(value)
}

func (e *Emulator) heartbeat(w http.ResponseWriter, r *http.Request) {
	if _, ok := e.authorize(w, r, false); ok {
		replyData(w, nil)
	}
}

func (e *Emulator) logout(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("delete") != "true" {
		http.NotFound(w, r)
		return
	}
	if s, ok := e.authorize(w, r, false); ok {
		e.endSession(s)
		replyData(w, nil)
	}
}

type queryRequest struct {
	SQLText      string             `json:"sqlText"`
	AsyncExec    bool               `json:"asyncExec"`
	DescribeOnly bool               `json:"describeOnly"`
	Parameters   map[string]any     `json:"parameters"`
	Bindings     map[string]binding `json:"bindings"`

	base string // the address that the client knows the account by
}

// queryRequest starts a statement, or finds the one that an earlier request
// with the same id has started: the driver repeats a request whose reply it
// did not get, and the statement must not run twice.
func (e *Emulator) queryRequest(w http.ResponseWriter, r *http.Request) {
	s, ok := e.authorize(w, r, false)
	if !ok {
		return
	}
	var request queryRequest
	if !readBody(w, r, &request) {
		return
	}
	request.base = "http://" + r.Host
	q, err := s.start(r.URL.Query().Get("requestId"), &request)
	if err != nil {
		replyError(w, "390111", "Session no longer exists. New login required to access the service.")
		return
	}
	if request.AsyncExec {
		q.replyRunning(w, "333334")
		return
	}
	q.replyWhenDone(w, r)
}

func (e *Emulator) queryResult(w http.ResponseWriter, r *http.Request) {
	s, ok := e.authorize(w, r, false)
	if !ok {
		return
	}
	if q := e.queryOf(s, r.PathValue("id")); q != nil {
		q.replyWhenDone(w, r)
		return
	}
	replyError(w, "000709", "Statement "+r.PathValue("id")+" not found")
}

// queryOf finds a statement that the session's user has run.
func (e *Emulator) queryOf(s *session, id string) *query {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := e.queries[id]
	if q == nil || q.session.user.name != s.user.name {
		return nil
	}
	return q
}

// replyWhenDone sends the statement's result, or after a while the advice to
// ask again.
func (q *query) replyWhenDone(w http.ResponseWriter, r *http.Request) {
	timer := time.NewTimer(pingPong)
	defer timer.Stop()
	select {
	case <-q.done:
		writeBody(w, q.reply)
	case <-timer.C:
		q.replyRunning(w, "333333")
	case <-r.Context().Done():
		// Nobody is there to answer. The statement goes on: only an
		// abort-request cancels it.
	}
}

func (q *query) replyRunning(w http.ResponseWriter, code string) {
	message := "Query execution in progress."
	writeJSON(w, envelope{Code: &code, Message: &message, Success: true, Data: map[string]any{
		"queryId": q.id, "getResultUrl": "/queries/" + q.id + "/result", "queryAbortsAfterSecs": 300,
	}})
}

func (e *Emulator) abortRequest(w http.ResponseWriter, r *http.Request) {
	s, ok := e.authorize(w, r, false)
	if !ok {
		return
	}
	var request struct {
		RequestID string `json:"requestId"`
	}
	if !readBody(w, r, &request) {
		return
	}
	if !s.abort(request.RequestID) {
		replyError(w, "000605", "Identified SQL statement is not currently executing.")
		return
	}
	replyData(w, nil)
}

// monitoring says how a statement fares.
func (e *Emulator) monitoring(w http.ResponseWriter, r *http.Request) {
	s, ok := e.authorize(w, r, false)
	if !ok {
		return
	}
	q := e.queryOf(s, r.PathValue("id"))
	if q == nil {
		replyData(w, map[string]any{"queries": []any{}})
		return
	}
	status := map[string]any{"id": q.id, "sqlText": q.text, "startTime": q.started.UnixMilli(), "status": "RUNNING", "state": "RUNNING", "sessionId": s.id}
	select {
	case <-q.done:
		status["status"], status["state"] = "SUCCESS", "SUCCEEDED"
		status["endTime"] = q.ended.UnixMilli()
		status["stats"] = map[string]any{"producedRows": q.rows}
		var failed *sqlError
		if errors.As(q.err, &failed) {
			status["status"], status["state"] = "FAILED_WITH_ERROR", "FAILED"
			status["errorCode"], status["errorMessage"] = failed.code, failed.message
		}
	default:
	}
	replyData(w, map[string]any{"queries": []any{status}})
}
