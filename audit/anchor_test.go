package audit

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"querywarden/audit/witnesstest"
)

// TestAnchors: every commit reaches the file, the webhook and the witness, also
// what came while one of them was down, and what came last.
func TestAnchors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.db")
	l := openTest(t, path, Options{})
	witness, err := witnesstest.New(readText(t, filepath.Join(dir, "audit.vkey")))
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	key, err := WitnessKey(witness.VKey)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var posted []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		posted = append(posted, string(text))
	}))
	defer hook.Close()
	kept := filepath.Join(dir, "checkpoints")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.KeepAnchored(ctx, 20*time.Millisecond, slog.New(slog.DiscardHandler), FileAnchor{kept}, WebhookAnchor{URL: hook.URL}, WitnessAnchor{URL: witness.URL, Key: key})
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		for start := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Since(start) > 10*time.Second {
				t.Fatal(what)
			}
		}
	}
	fill(t, l, 3)
	until("the witness has not seen 3 entries", func() bool { return witness.Seen() == 3 })
	witness.Down(true)
	fill(t, l, 4)
	until("the webhook has not seen 7 entries", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(posted) > 0 && strings.Contains(posted[len(posted)-1], "\n7\n")
	})
	if n := witness.Seen(); n != 3 {
		t.Fatalf("a witness out of order has seen %d", n)
	}
	witness.Down(false)
	until("the witness was not told again", func() bool { return witness.Seen() == 7 })
	fill(t, l, 2)
	stop()
	<-done
	if n := witness.Seen(); n != 9 {
		t.Errorf("after the stop the witness has seen %d of 9", n)
	}
	notes := strings.Split(strings.TrimSuffix(readText(t, kept), "\n\n"), "\n\n—")
	if last := notes[len(notes)-2]; !strings.Contains(last, "\n9\n") {
		t.Errorf("the file's last checkpoint: %q", last)
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tree, at, err := r.Witnessed(t.Context(), key)
	if err != nil || tree.N != 9 || time.Since(at) > time.Minute {
		t.Errorf("witnessed %d at %v: %v", tree.N, at, err)
	}
	report, err := r.Verify(t.Context(), nil)
	if err != nil || !report.OK() || report.Witnessed != 9 {
		t.Errorf("%+v, %v", report, err)
	}
	// A proof carries the cosignature.
	p, err := r.Prove(t.Context(), 0)
	if err != nil || !strings.Contains(p.String(), "\n— witness.example ") {
		t.Errorf("%v\n%s", err, p)
	}
}

// TestBadWitness: what a witness says counts only if its signature holds.
func TestBadWitness(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, filepath.Join(dir, "audit.db"), Options{})
	fill(t, l, 1)
	vkey := readText(t, filepath.Join(dir, "audit.vkey"))
	honest, err := witnesstest.New(vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer honest.Close()
	other, err := witnesstest.New(vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	key, err := WitnessKey(honest.VKey)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, url := range map[string]string{
		"another's signature": other.URL,
		"no signature":        answer(200, ""),
		"a mangled signature": answer(200, "— witness.example AAAA\n"),
		"a size to come":      answer(409, "100\n"),
		"a size that is none": answer(409, "-1\n"),
		"not a number":        answer(409, "x\n"),
		"the same size twice": answer(409, "1\n"),
		"refused":             answer(422, strings.Repeat("x", 1<<20)),
	} {
		if err := tell(t, l, WitnessAnchor{URL: url, Key: key}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := tell(t, l, WitnessAnchor{URL: honest.URL, Key: key}); err != nil {
		t.Errorf("the honest one: %v", err)
	}
}
