//go:build cgo

package tools_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"querywarden/internal/emulator"
	"querywarden/policy"
	"querywarden/tools"
)

// longPolicy lets 400,000 rows through.
func longPolicy(t testing.TB) *policy.Policy {
	t.Helper()
	rules := strings.Replace(openPolicy, "rows: 10000, bytes: 4MiB", "rows: 400000, bytes: 1GiB", 1)
	p, err := policy.Parse([]byte(rules + "detectors: [card_number, ssn]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// emulatorKey is set in the process of [TestEmulatorProcess].
const emulatorKey = "QUERYWARDEN_TEST_EMULATOR_KEY"

// TestEmulatorProcess is no test: it is the account of [TestFlatMemory], in a
// process of its own, until its input ends.
func TestEmulatorProcess(t *testing.T) {
	if os.Getenv(emulatorKey) == "" {
		t.Skip("run by TestFlatMemory")
	}
	der, err := base64.StdEncoding.DecodeString(os.Getenv(emulatorKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	account, err := emulator.Open("", emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer account.Close()
	if err := account.Exec(t.Context(), emulator.DemoScript()); err != nil {
		t.Fatal(err)
	}
	if err := account.AddUser("GATE", key, "GATE_ROLE"); err != nil {
		t.Fatal(err)
	}
	addr, err := account.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening %s\n", addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestFlatMemory reads 40,000 and 400,000 rows of ten columns through a gate
// whose account is another process. What the gate holds at its fullest must not
// grow with the rows.
func TestFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("not in short mode")
	}
	addr := emulatorProcess(t)
	w := &world{file: filepath.Join(t.TempDir(), "audit.db")}
	w.open(t, addr, longPolicy(t))
	few, many := w.fullest(t, 40_000), w.fullest(t, 400_000)
	t.Logf("at its fullest the heap holds %d KiB over 40,000 rows and %d KiB over 400,000", few>>10, many>>10)
	if many > few+few/2+8<<20 {
		t.Errorf("the heap grows with the answer: %d KiB, then %d KiB", few>>10, many>>10)
	}
}

// emulatorProcess starts the account in another process and returns its address.
func emulatorProcess(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestEmulatorProcess$")
	cmd.Env = append(os.Environ(), emulatorKey+"="+base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&testKey().PublicKey)))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	addr := ""
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		addr, _ = strings.CutPrefix(lines.Text(), "listening ")
	}
	return addr
}

// tenColumns is a query for rows of ten columns.
func tenColumns(rows int) string {
	return fmt.Sprintf("SELECT a.ID, a.CITY, a.COUNTRY, a.SEGMENT, a.CREATED_AT, b.ORDER_ID, b.STATUS, b.REGION, b.AMOUNT, b.CHANNEL FROM RETAIL.PUBLIC.CUSTOMERS AS a CROSS JOIN RETAIL.PUBLIC.ORDERS AS b CROSS JOIN RETAIL.PUBLIC.PRODUCTS AS c LIMIT %d", rows)
}

// fullest asks for rows and returns what the heap held at most meanwhile, in
// bytes, beyond what it held before.
func (w *world) fullest(t *testing.T, rows int) uint64 {
	t.Helper()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most.Store(max(most.Load(), now.HeapAlloc))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	a := w.query(tenColumns(rows))
	var written counted
	if _, err := a.Rows.WriteTo(&written); err != nil {
		t.Error(err)
	}
	stop()
	<-watched
	if a.Status != tools.Completed || a.RowCount != int64(rows) || int64(written) < int64(rows)*50 {
		t.Fatalf("%d rows, %d bytes: %+v", a.RowCount, written, a.Answer)
	}
	if err := a.Rows.Close(); err != nil {
		t.Error(err)
	}
	return most.Load() - min(before.HeapAlloc, most.Load())
}

// counted counts the bytes written to it.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}
