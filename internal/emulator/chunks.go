//go:build cgo

package emulator

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"net/http"
	"strconv"
)

// How much of a long result a reply holds itself, and how much each of the
// parts that clients fetch afterwards, in bytes of JSON. Snowflake's sizes grow
// with the result; clients have to take what comes.
const (
	firstSize = 256 << 10
	chunkSize = 2 << 20
)

// A chunk is a part of a long result, compressed: JSON arrays with commas
// between, without brackets around them, or an Arrow stream. Whoever knows its name may have it, as with
// the signed addresses that Snowflake gives out.
type chunk struct {
	name  string
	body  []byte
	count int // rows
	size  int // bytes before compression
}

// cut ends the part of the result that is being written.
func (r *result) cut() {
	if r.first == nil {
		r.first, r.rows, r.part = r.rows, nil, 0
		return
	}
	r.look(r.rows)
	r.chunks = append(r.chunks, newChunk(r.rows, r.part))
	r.rows, r.part = r.rows[:0], 0
}

// newChunk compresses a part of a result.
func newChunk(rows []byte, count int) chunk {
	var body bytes.Buffer
	w, err := gzip.NewWriterLevel(&body, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(rows)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("emulator: a buffer that cannot be written to: " + err.Error())
	}
	return chunk{name: rand.Text(), body: body.Bytes(), count: count, size: len(rows)}
}

// parts are the rows of the reply itself and the chunks.
func (r *result) parts() ([]byte, []chunk) {
	if r.arrow != nil {
		return nil, r.chunks
	}
	if r.first == nil {
		return r.rows, nil
	}
	if r.part > 0 {
		r.cut()
	}
	return r.first, r.chunks
}

// describeChunks is what a reply says of its chunks.
func describeChunks(base string, chunks []chunk) []map[string]any {
	var out []map[string]any
	for _, c := range chunks {
		out = append(out, map[string]any{"url": base + "/results/" + c.name, "rowCount": c.count, "uncompressedSize": c.size, "compressedSize": len(c.body)})
	}
	return out
}

// fetchChunk serves a part of a result, to whoever knows its name.
func (e *Emulator) fetchChunk(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	e.mu.Lock()
	var body []byte
	for _, q := range e.queries {
		for _, c := range q.chunks {
			if c.name == name {
				body = c.body
			}
		}
	}
	e.mu.Unlock()
	if body == nil {
		http.NotFound(w, r)
		return
	}
	// JSON without its brackets is none: clients must not take it for that.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that went away
}
