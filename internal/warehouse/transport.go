package warehouse

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A guard stands between the driver and the network: what the account answers
// passes here before the driver acts on it.
//
//   - A reply that tells the client to move files, which the driver carries out
//     on this machine's disk, becomes an error.
//   - Each statement is sent with the parameters that the driver has no way to
//     set for one: how long it may run.
//   - Nothing goes out in the clear where the account is reached by TLS: the
//     addresses of a result's parts are the account's to choose.
//
// A driver with a transport of somebody else's checks no revocation of
// certificates; the guard's own does, see [revocation].
type guard struct {
	base   http.RoundTripper
	secure bool // https alone
}

// newGuard is the guard for an account reached by a protocol.
func newGuard(protocol string) *guard {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 8
	// The time to the first byte is what the driver bounds; this bounds the
	// rest of what can hang.
	base.TLSHandshakeTimeout = 10 * time.Second
	secure := protocol != "http"
	if secure {
		base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: newRevocation().check}
	}
	return &guard{base: base, secure: secure}
}

func (g *guard) close() {
	if t, ok := g.base.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// statementParameters is the key of what a statement's context carries for the
// guard: parameters of the request, by name.
type statementParameters struct{}

// withTimeout makes the account end the statement after a time, whatever
// becomes of this process. docs.snowflake.com/en/sql-reference/parameters
func withTimeout(ctx context.Context, d time.Duration) context.Context {
	seconds := int64((d + time.Second - 1) / time.Second)
	return context.WithValue(ctx, statementParameters{}, map[string]any{"STATEMENT_TIMEOUT_IN_SECONDS": strconv.FormatInt(max(seconds, 1), 10)})
}

// maxReply bounds what the account may answer to a statement in one reply, in
// bytes. The rows of long results are not in it but behind addresses.
const maxReply = 256 << 20

// RoundTrip sends a request of the driver's. It implements [http.RoundTripper].
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.secure && r.URL.Scheme != "https" {
		return nil, errors.New("refusing to ask in the clear")
	}
	statement := strings.HasPrefix(r.URL.Path, "/queries/")
	if r.URL.Path == "/queries/v1/query-request" {
		var err error
		if r, err = withParameters(r); err != nil {
			return nil, err
		}
	}
	reply, err := g.base.RoundTrip(r)
	if err != nil || !statement || reply.StatusCode != http.StatusOK {
		return reply, err
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxReply+1))
	if err := errors.Join(err, reply.Body.Close()); err != nil {
		return nil, fmt.Errorf("reading a reply: %w", err)
	}
	if len(body) > maxReply {
		body = refusal("", "the account's reply is larger than any that makes sense")
	} else if id, wants := wantsFiles(body); wants {
		body = refusal(id, "the account's reply tells this machine to move files")
	}
	reply.Body = io.NopCloser(bytes.NewReader(body))
	reply.ContentLength = int64(len(body))
	return reply, nil
}

// withParameters adds the context's parameters to the request of a statement.
func withParameters(r *http.Request) (*http.Request, error) {
	more, ok := r.Context().Value(statementParameters{}).(map[string]any)
	if !ok || r.Body == nil {
		return r, nil
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, fmt.Errorf("reading a request: %w", err)
	}
	var request map[string]json.RawMessage
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("reading a request: %w", err)
	}
	parameters := map[string]any{}
	if text, ok := request["parameters"]; ok {
		if err := json.Unmarshal(text, &parameters); err != nil {
			return nil, fmt.Errorf("reading a request: %w", err)
		}
	}
	maps.Copy(parameters, more)
	text, err := json.Marshal(parameters)
	if err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	if request == nil {
		request = map[string]json.RawMessage{}
	}
	request["parameters"] = text
	if body, err = json.Marshal(request); err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return r, nil
}

// fileKeys are the keys of a reply that the driver reads to move files. It
// compares keys without regard to case.
var fileKeys = []string{"command", "src_locations", "stageInfo", "localLocation", "presignedUrls"}

// wantsFiles reports whether a reply tells the client to upload or download,
// and to which statement it is the reply.
func wantsFiles(body []byte) (queryID string, wants bool) {
	var reply map[string]json.RawMessage
	if json.Unmarshal(body, &reply) != nil {
		return "", false // nor can the driver read it
	}
	for name, text := range reply {
		if !strings.EqualFold(name, "data") {
			continue
		}
		var data map[string]json.RawMessage
		if json.Unmarshal(text, &data) != nil {
			continue
		}
		for name, value := range data {
			for _, key := range fileKeys {
				if !strings.EqualFold(name, key) {
					continue
				}
				switch string(bytes.TrimSpace(value)) {
				case "null", `""`, "[]", "{}":
				default:
					wants = true
				}
			}
			if strings.EqualFold(name, "queryId") && json.Unmarshal(value, &queryID) != nil {
				queryID = ""
			}
		}
	}
	return queryID, wants
}

// refusal is a reply that the driver takes for the account's error, and so does
// not send the statement again.
func refusal(queryID, message string) []byte {
	text, err := json.Marshal(map[string]any{
		"data": map[string]any{"sqlState": "XX000", "queryId": queryID}, "code": "000603", "message": message, "success": false,
	})
	if err != nil {
		return []byte(`{"data":null,"code":"000603","message":"refused","success":false}`)
	}
	return text
}
