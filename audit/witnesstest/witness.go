// Package witnesstest is a witness as C2SP tlog-witness has it, for tests: a
// server that remembers one checkpoint a log and cosigns only what continues
// it.
package witnesstest

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Witness of one log. It is safe for concurrent use.
type Witness struct {
	URL  string // the prefix before /add-checkpoint
	VKey string // what its cosignatures are checked with

	server *httptest.Server
	signer note.Signer
	log    []note.Verifier

	mu   sync.Mutex
	seen tlog.Tree
	down bool
}

// New starts a witness of the log that signs with this public key.
func New(logVKey string) (*Witness, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "witness.example")
	if err != nil {
		return nil, fmt.Errorf("starting witness: %w", err)
	}
	w := &Witness{}
	if w.signer, err = f_note.NewSignerForCosignatureV1(skey); err != nil {
		return nil, fmt.Errorf("starting witness: %w", err)
	}
	if w.VKey, err = f_note.VKeyToCosignatureV1(vkey); err != nil {
		return nil, fmt.Errorf("starting witness: %w", err)
	}
	if err := w.Know(logVKey); err != nil {
		return nil, err
	}
	w.server = httptest.NewServer(http.HandlerFunc(w.serve))
	w.URL = w.server.URL
	return w, nil
}

// Know makes it take checkpoints that another key of the log has signed.
func (w *Witness) Know(logVKey string) error {
	v, err := note.NewVerifier(strings.TrimSpace(logVKey))
	if err != nil {
		return fmt.Errorf("telling a witness of a key: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, v)
	return nil
}

// Close stops the server.
func (w *Witness) Close() { w.server.Close() }

// Down makes it answer that it is out of order, or not.
func (w *Witness) Down(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// Seen is how many entries it has cosigned last.
func (w *Witness) Seen() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.N
}

func (w *Witness) serve(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" {
		http.Error(rw, "not found", http.StatusNotFound)
		return
	}
	status, reply := w.add(string(body))
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, reply) // a client that has gone needs no answer
}

// add is the protocol's add-checkpoint.
func (w *Witness) add(body string) (status int, reply string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return http.StatusInternalServerError, "out of order"
	}
	head, checkpoint, ok := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(size, 10, 64)
	if !ok || !isOld || err != nil {
		return http.StatusBadRequest, "malformed"
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return http.StatusBadRequest, "malformed proof"
		}
		proof = append(proof, h)
	}
	n, err := note.Open([]byte(checkpoint), note.VerifierList(w.log...))
	if err != nil {
		return http.StatusForbidden, "not signed by the log"
	}
	var next tlog.Tree
	parts := strings.Split(n.Text, "\n")
	if len(parts) != 4 || parts[0] != w.log[0].Name() {
		return http.StatusBadRequest, "malformed checkpoint"
	}
	if next.N, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return http.StatusBadRequest, "malformed size"
	}
	if next.Hash, err = tlog.ParseHash(parts[2]); err != nil {
		return http.StatusBadRequest, "malformed root"
	}
	switch {
	case old > next.N:
		return http.StatusBadRequest, "old is larger than the checkpoint"
	case old != w.seen.N:
		return http.StatusConflict, fmt.Sprintln(w.seen.N)
	case old == 0:
	case old == next.N && next.Hash != w.seen.Hash:
		return http.StatusUnprocessableEntity, "another root of the same size"
	case old < next.N && tlog.CheckTree(proof, next.N, next.Hash, w.seen.N, w.seen.Hash) != nil:
		return http.StatusUnprocessableEntity, "it does not continue what was seen"
	}
	signed, err := note.Sign(n, w.signer)
	if err != nil {
		return http.StatusInternalServerError, "cannot sign"
	}
	w.seen = next
	all := strings.SplitAfter(strings.TrimSuffix(string(signed), "\n"), "\n")
	return http.StatusOK, all[len(all)-1] + "\n"
}
