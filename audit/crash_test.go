package audit

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	cuts  = flag.Int("cuts", 10, "how many power cuts TestPowerCut makes; nightly 200")
	kills = flag.Int("kills", 20, "how many processes TestKill kills")
)

// writerEnv makes the test binary a process that appends to a log and says
// which entries it was told are safe.
const writerEnv = "QUERYWARDEN_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		if err := writer(path, os.Getenv(writerEnv+"_SYNC")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// writer appends until it cannot, from four goroutines, and prints a line for
// each entry that Append has returned for.
func writer(path, sync_ string) error {
	l, err := Open(path, Options{})
	if err != nil {
		return err
	}
	if sync_ != "" {
		if _, err := l.conn.ExecContext(context.Background(), `PRAGMA synchronous = `+sync_); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	failed := make(chan error, 4)
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				r, err := l.Append(context.Background(), Event{Kind: KindDecision, Verdict: "allow", SQL: fmt.Sprint("select ", i), Runs: fmt.Sprint("SELECT ", i)})
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Printf("%s\n", r.Ref())
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

// start runs a writer and collects what it says is safe.
func start(t *testing.T, path, sync_ string) (cmd *exec.Cmd, acknowledged func() []string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+path, writerEnv+"_SYNC="+sync_)
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var lines []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			mu.Lock()
			lines = append(lines, s.Text())
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-done
		_ = cmd.Wait()
	})
	return cmd, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, lines...)
	}
}

// lost returns how many acknowledged entries a log does not hold, or why it
// cannot be used.
func lost(path string, acknowledged []string) (int, error) {
	// A gateway starts on it again, so that what it left half done is undone.
	l, err := Open(path, Options{})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	r, err := OpenReader(path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), nil)
	if err != nil {
		return 0, err
	}
	if !report.OK() {
		return 0, fmt.Errorf("%+v", report.Findings)
	}
	refs := map[string]bool{}
	for e, err := range r.Entries(context.Background(), Filter{}) {
		if err != nil {
			return 0, err
		}
		refs[e.Ref()] = true
	}
	n := 0
	for _, ref := range acknowledged {
		if !refs[ref] {
			n++
		}
	}
	return n, nil
}

// TestKill: a process that is killed has lost nothing that it was told is safe.
// It says nothing of the disk: what the process wrote, the system still has.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	total := 0
	var all []string
	for range *kills {
		cmd, acknowledged := start(t, path, "")
		wait(acknowledged, 1+rand.IntN(200))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed, as it says
		all = append(all, acknowledged()...)
		n, err := lost(path, all)
		if err != nil || n > 0 {
			t.Fatalf("%d of %d acknowledged entries are lost: %v", n, len(all), err)
		}
		total = len(all)
	}
	t.Logf("%d kills, %d acknowledged, 0 lost", *kills, total)
}

// wait waits until a writer has acknowledged some entries.
func wait(acknowledged func() []string, n int) {
	for start := time.Now(); len(acknowledged()) < n && time.Since(start) < 20*time.Second; {
		time.Sleep(time.Millisecond)
	}
}

// disk is an ext4 file system on a file.
type disk struct{ image, dir string }

// newDisk makes and mounts one of some megabytes. Where that is not allowed the
// test is skipped.
func newDisk(t *testing.T, megabytes int) *disk {
	t.Helper()
	d := &disk{filepath.Join(t.TempDir(), "disk.img"), filepath.Join(t.TempDir(), "mount")}
	if os.Geteuid() != 0 {
		t.Skip("mounting a disk needs root")
	}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"truncate", "-s", strconv.Itoa(megabytes) + "M", d.image},
		{"mkfs.ext4", "-q", "-F", d.image},
		{"mount", "-o", "loop", d.image, d.dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a disk of one's own cannot be had here: %s: %v: %s", args[0], err, out)
		}
	}
	t.Cleanup(func() { unmount(t, d.dir) })
	return d
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	for range 50 {
		if exec.Command("umount", dir).Run() == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s stays mounted", dir)
}

// cut runs a writer on a disk, takes the power away at a random moment, and
// says what is on the disk: what has been written and not been told to stay is
// not in the copy.
func cut(t *testing.T, d *disk, name, sync_ string) (acknowledged int, gone int, unusable error) {
	t.Helper()
	path := filepath.Join(d.dir, name, "audit.db")
	cmd, said := start(t, path, sync_)
	wait(said, 20+rand.IntN(400))
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// What it has said until here is safe, or it has lied.
	time.Sleep(2 * time.Millisecond)
	acks := said()
	image := d.image + ".copy"
	if out, err := exec.Command("cp", "--sparse=always", d.image, image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it says
	mounted := d.dir + ".copy"
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mounted).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	gone, unusable = lost(filepath.Join(mounted, name, "audit.db"), acks)
	unmount(t, mounted)
	if err := errors.Join(os.Remove(image), os.RemoveAll(filepath.Join(d.dir, name))); err != nil {
		t.Fatal(err)
	}
	return len(acks), gone, unusable
}

// TestPowerCut: what Append has returned for is on the disk when the power goes.
// That the test would see a loss is shown by two settings that do lose.
func TestPowerCut(t *testing.T) {
	d := newDisk(t, 64)
	total := 0
	for i := range *cuts {
		n, gone, err := cut(t, d, fmt.Sprint("full", i), "")
		if err != nil || gone > 0 {
			t.Fatalf("cut %d: %d of %d acknowledged entries are lost: %v", i, gone, n, err)
		}
		total += n
	}
	t.Logf("%d cuts, %d acknowledged, 0 lost", *cuts, total)
	for _, sync_ := range []string{"NORMAL", "OFF"} {
		found := 0
		const controls = 5
		for i := range controls {
			if _, gone, err := cut(t, d, fmt.Sprint(sync_, i), sync_); err != nil || gone > 0 {
				found++
			}
		}
		t.Logf("control, synchronous=%s: %d of %d cuts lost something", sync_, found, controls)
		if found == 0 {
			t.Errorf("synchronous=%s loses nothing: the test cannot see a loss", sync_)
		}
	}
}

// TestFullDisk: a disk without room ends the log, and loses nothing.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, 8)
	path := filepath.Join(d.dir, "audit.db")
	l := openTest(t, path, Options{})
	var safe []string
	var err error
	for err == nil {
		var r Receipt
		if r, err = l.Append(t.Context(), Event{Kind: KindDecision, SQL: strings.Repeat("x", 500)}); err == nil {
			safe = append(safe, r.Ref())
		}
	}
	if l.Err() == nil || len(safe) < 1000 {
		t.Errorf("after %d entries: %v, the log says %v", len(safe), err, l.Err())
	}
	if _, again := l.Append(t.Context(), Event{Kind: KindDecision}); again == nil {
		t.Error("a log that has failed went on")
	}
	_ = l.Close() // it has failed, and says so
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for e, err := range r.Entries(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n < len(safe) && e.Ref() != safe[n] {
			t.Fatalf("entry %d is %s, not %s", n, e.Ref(), safe[n])
		}
		n++
	}
	if n < len(safe) {
		t.Errorf("%d of %d acknowledged entries are there", n, len(safe))
	}
	t.Logf("%d acknowledged, 0 lost", len(safe))
}
