//go:build cgo

package emulator

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var sdk = flag.String("sdk", "", "the `folder` with npm's snowflake-sdk, for TestNodeSDK")

// TestNodeSDK has Snowflake's driver for Node.js run statements: what serves
// one driver alone may have learned that driver's mistakes.
func TestNodeSDK(t *testing.T) {
	if *sdk == "" {
		t.Skip("run by .ci/clients, with the folder of an npm that has snowflake-sdk")
	}
	script, err := filepath.Abs("testdata/sdk.js")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open("", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Exec(t.Context(), DemoScript()); err != nil {
		t.Fatal(err)
	}
	if err := e.AddUser("QUERYWARDEN", &testKey().PublicKey, "QUERYWARDEN_ROLE"); err != nil {
		t.Fatal(err)
	}
	addr, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(testKey())
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.p8")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node := osexec.CommandContext(ctx, "node", script, "http://"+addr, key)
	node.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(*sdk, "node_modules"), "SF_DISABLE_MINICORE=true", "HOME="+t.TempDir())
	var out, problems strings.Builder
	node.Stdout, node.Stderr = &out, &problems
	if err := node.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), problems.String())
	}
	want := `[{"A":1,"B":"x","C":true,"D":1.25,"E":"2024-02-29","F":null}]
100000
[{"A":7,"B":"it's"}]
002003 42S02
`
	if out.String() != want {
		t.Errorf("snowflake-sdk got\n%s\nwant\n%s", out.String(), want)
	}
}
