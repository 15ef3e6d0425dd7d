package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"querywarden/audit"
)

// writeCertificate makes a certificate for loopback, with a serial number to
// tell it by.
func writeCertificate(t *testing.T, dir string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "gate"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serveDemo runs the demo's configuration, changed, until the test ends.
func serveDemo(t *testing.T, change func(dir, text string) string) (dir, address string) {
	t.Helper()
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	d, err := openDemo(ctx, dir, "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	address = d.listener.Addr().String()
	// The demo has made the folder; the gateway of the test reads it anew.
	if err := d.close(ctx); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "querywarden.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(dir, string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGateway(ctx, c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.serve(ctx, d.listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := g.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return dir, address
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happened(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it did not happen", what)
		}
	}
}

// TestOwnCertificate: the gateway speaks TLS with a certificate of its own, and
// takes a new one while it runs. A broken one leaves the old one in use.
func TestOwnCertificate(t *testing.T) {
	var first *x509.Certificate
	dir, address := serveDemo(t, func(dir, text string) string {
		first = writeCertificate(t, dir, 1)
		return strings.Replace(text, "resource: http://", "tls: {cert_file: tls.crt, key_file: tls.key}\nresource: https://", 1)
	})
	serial := func(cert *x509.Certificate) int64 {
		roots := x509.NewCertPool()
		roots.AddCert(cert)
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
		if err != nil {
			return 0
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(first); got != 1 {
		t.Fatalf("serial %d", got)
	}
	if res, err := http.Get("http://" + address + "/healthz"); err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("it answers in the clear")
		}
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // it must not work
	if conn, err := tls.Dial("tcp", address, old); err == nil {
		conn.Close()
		t.Error("it speaks TLS 1.1")
	}
	// Half of a new certificate is none.
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * lookEvery)
	if got := serial(first); got != 1 {
		t.Errorf("with a broken key: serial %d", got)
	}
	second := writeCertificate(t, dir, 2)
	eventually(t, "the new certificate", func() bool { return serial(second) == 2 })
}

// TestWatch: a change, a signal, and a failure each lead to another look.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "f")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("1")
		ctx, stop := context.WithCancel(t.Context())
		signals := make(chan os.Signal, 1)
		var mu sync.Mutex // of what follows
		var looks []bool
		fail := false
		failing := func(yes bool) {
			mu.Lock()
			defer mu.Unlock()
			fail = yes
		}
		done := make(chan bool)
		go func() {
			defer close(done)
			watch(ctx, []string{file, file + ".none"}, signals, func(again bool) error {
				mu.Lock()
				defer mu.Unlock()
				looks = append(looks, again)
				if fail {
					return io.ErrUnexpectedEOF
				}
				return nil
			})
		}()
		pass := func(what string, want ...bool) {
			t.Helper()
			time.Sleep(3 * lookEvery)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(looks, want) {
				t.Errorf("%s: %v, want %v", what, looks, want)
			}
			looks = nil
		}
		time.Sleep(lookEvery / 2) // between two looks
		pass("nothing")
		write("22")
		pass("a change", false)
		signals <- syscall.SIGHUP
		pass("a signal", false)
		failing(true)
		write("333")
		pass("a change that cannot be read", false, true, true)
		failing(false)
		pass("it can again", true)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		pass("it is gone", false)
		stop()
		<-done
	})
}

// TestRevocationsAreReadAgain: what is written into the file counts a moment
// later, a file that cannot be read lets nobody in, and the log has the list.
func TestRevocationsAreReadAgain(t *testing.T) {
	dir, address := serveDemo(t, func(dir, text string) string {
		if err := os.WriteFile(filepath.Join(dir, "revoked.yaml"), []byte("revoked: []\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return strings.Replace(text, "identity:\n", "identity:\n  revoked_file: revoked.yaml\n", 1)
	})
	c, err := loadConfig(filepath.Join(dir, "querywarden.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := demoToken(c, "ada", "analysts")
	if err != nil {
		t.Fatal(err)
	}
	call := func() (int, string) {
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("WWW-Authenticate") + string(body)
	}
	if status, said := call(); status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "revoked.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status := func(want int, in string) func() bool {
		return func() bool {
			got, said := call()
			return got == want && strings.Contains(said, in)
		}
	}
	write("revoked:\n  - subject: ada\n")
	eventually(t, "ada is called back", status(http.StatusUnauthorized, "has been revoked"))
	write("revoked:\n  - subject: grace\n")
	eventually(t, "ada is back", status(http.StatusOK, "query"))
	for name, broken := range map[string]string{"empty": "", "no YAML": "revoked: [", "an unknown key": "revokd: []\n", "an entry for all": "revoked: [{}]\n"} {
		write(broken)
		eventually(t, name, status(http.StatusServiceUnavailable, "cannot be checked"))
		write("revoked: []\n")
		eventually(t, "after "+name, status(http.StatusOK, "query"))
	}
	// In the configuration itself it works as well.
	file := filepath.Join(dir, "querywarden.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte("identity:\n"), fmt.Appendf(nil, "identity:\n  revoked: [{before: %s}]\n", time.Now().Add(time.Minute).UTC().Format(time.RFC3339)), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all that was issued before", status(http.StatusUnauthorized, "has been revoked"))

	r, err := audit.OpenReader(c.auditFile())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recorded := false
	for e, err := range r.Entries(t.Context(), audit.Filter{Kind: audit.KindConfigLoaded}) {
		if err != nil {
			t.Fatal(err)
		}
		recorded = recorded || strings.Contains(e.Texts["config"], "subject: ada")
	}
	if !recorded {
		t.Error("the log does not have the list that was in force")
	}
}
