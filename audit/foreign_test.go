package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// foreign builds a program of somebody else's, outside of this module, so that
// what it needs is none of ours. It needs the network the first time.
func foreign(t *testing.T, program string) (file string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds another module's program")
	}
	bin := t.TempDir()
	build := exec.Command("go", "install", program)
	build.Dir = bin
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("%s cannot be had: %v\n%s", program, err, out)
	}
	name, _, _ := strings.Cut(filepath.Base(program), "@")
	return filepath.Join(bin, name)
}

// TestForeignVerifier has a tool that is not ours verify an export, and find
// that a changed one does not hold.
func TestForeignVerifier(t *testing.T) {
	program := foreign(t, "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4")
	r, path := filled(t, 3000)
	fsck := func(dir string) string {
		// It exits 0 whatever it finds, and can hang on damage: what it says counts.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "-storage_url=file://"+dir+"/", "-public_key="+vkeyFile(path), "-origin="+r.Origin(), "-N=4", "-ui=false")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	exported := func() string {
		dir := filepath.Join(t.TempDir(), "tiles")
		if err := r.ExportTiles(t.Context(), dir, nil); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := exported()
	if out := fsck(dir); !strings.Contains(out, "Successfully fsck'd") {
		t.Errorf("whole: %s", out)
	}
	file := filepath.Join(dir, "tile", "entries", "003")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := fsck(dir); strings.Contains(out, "Successfully fsck'd") {
		t.Errorf("changed: %s", out)
	}
	// With the newest key it verifies what was signed before there was one.
	l := openTest(t, path, Options{})
	if _, err := l.AddKey(t.Context(), nil, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.RetireKey(t.Context(), nil, "x"); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	if out := fsck(exported()); !strings.Contains(out, "Successfully fsck'd") {
		t.Errorf("after a rotation: %s", out)
	}
}

// foreignWitness runs the witness that transparency-dev publishes, unmodified,
// on loopback.
type foreignWitness struct {
	program, dir string
	url, vkey    string
}

func newForeignWitness(t *testing.T, program string) *foreignWitness {
	t.Helper()
	w := &foreignWitness{program: program, dir: t.TempDir()}
	skey, vkey, err := note.GenerateKey(rand.Reader, "witness.example")
	if err != nil {
		t.Fatal(err)
	}
	if w.vkey, err = f_note.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "key"), []byte(skey), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs it for the log with this key until stop is called. What it has
// seen stays in its folder.
func (w *foreignWitness) start(t *testing.T, vkey string) (stop func()) {
	t.Helper()
	logs := filepath.Join(w.dir, "logs.yaml")
	origin, _, _ := strings.Cut(vkey, "+")
	if err := os.WriteFile(logs, []byte("Logs:\n  - Origin: "+origin+"\n    PublicKey: "+strings.TrimSpace(vkey)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	w.url = "http://" + addr
	cmd := exec.Command(w.program, "-listen="+addr, "-metrics_listen=", "-private_key_path="+filepath.Join(w.dir, "key"), "-additional_logs="+logs, "-db_file="+filepath.Join(w.dir, "seen.db"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Kill() // it has nothing to tidy up
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	for range 600 {
		resp, err := http.Post(w.url+"/add-checkpoint", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			return stop
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	t.Fatalf("the witness does not answer: %s", said.String())
	return nil
}

// know gives it the log's other key. It keeps the first key that it was started
// with, whatever its configuration says, so its operator changes the row.
func (w *foreignWitness) know(t *testing.T, vkey string) {
	t.Helper()
	origin, _, _ := strings.Cut(vkey, "+")
	if _, err := open(t, filepath.Join(w.dir, "seen.db")).Exec(`UPDATE logs SET vkey = ? WHERE origin = ?`, vkey, origin); err != nil {
		t.Fatal(err)
	}
}

// TestForeignWitness: what [TestAttacks] says of our double is true of a witness
// that is not ours.
func TestForeignWitness(t *testing.T) {
	program := foreign(t, "github.com/transparency-dev/witness/cmd/omniwitness@v0.0.0-20260720115447-2e1c6971d19e")
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			a.run(t, func(vkey string) (url, key string) {
				w := newForeignWitness(t, program)
				w.start(t, vkey)
				return w.url, w.vkey
			})
		})
	}
	t.Run("a rotation", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.db")
		l := openTest(t, path, Options{})
		fill(t, l, 3)
		w := newForeignWitness(t, program)
		key, err := WitnessKey(w.vkey)
		if err != nil {
			t.Fatal(err)
		}
		tell := func(when string, good bool) {
			t.Helper()
			if err := tell(t, l, WitnessAnchor{URL: w.url, Key: key}); (err == nil) != good {
				t.Errorf("%s: %v", when, err)
			}
		}
		stop := w.start(t, readText(t, vkeyFile(path)))
		tell("before", true)
		second, err := l.AddKey(t.Context(), nil, "x")
		if err != nil {
			t.Fatal(err)
		}
		tell("while both sign", true)
		stop()
		w.know(t, second)
		stop = w.start(t, second)
		fill(t, l, 1)
		tell("while both sign, and it knows the new one", true)
		if _, err := l.RetireKey(t.Context(), nil, "x"); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
		tell("behind the end of the old one", true)
		stop()
		w.know(t, l.first.list[0].VKey)
		w.start(t, l.first.list[0].VKey)
		fill(t, l, 1)
		tell("a witness that knows only the old one", false)
	})
}
