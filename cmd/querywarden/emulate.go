package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"querywarden/internal/emulator"
)

func runEmulator(ctx context.Context, args []string, std streams) error {
	fs := newFlags("emulator", std)
	dir := fs.String("dir", "", "the `folder` that keeps the account (default: in memory, gone with the process)")
	address := fs.String("listen", "127.0.0.1:8424", "the loopback `address` to serve on")
	keyFile := fs.String("key", "", "write the user's private key to this `file`, or take the one there (default emulator.p8)")
	script := fs.String("script", "", "run this `file` of Snowflake's SQL first, as ACCOUNTADMIN")
	retail := fs.Bool("demo", false, "with the demo's made-up retail company")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("emulator takes no argument %q", rest[0])
	}
	e, err := emulator.Open(*dir, emulator.Options{Logger: newLogger(std)})
	if err != nil {
		return err
	}
	defer func() {
		if err := e.Close(); err != nil {
			fmt.Fprintf(std.err, "querywarden: error: %s\n", err)
		}
	}()
	if *retail {
		if err := e.Exec(ctx, emulator.DemoScript()); err != nil {
			return hint(err, "a --dir that has the demo's tables already needs no --demo")
		}
	}
	if *script != "" {
		text, err := os.ReadFile(*script)
		if err != nil {
			return fmt.Errorf("reading the script: %w", err)
		}
		if err := e.Exec(ctx, string(text)); err != nil {
			return err
		}
	}
	file, err := filepath.Abs(or(*keyFile, "emulator.p8"))
	if err != nil {
		return fmt.Errorf("finding the key's folder: %w", err)
	}
	key, err := emulatorKey(ctx, file)
	if err != nil {
		return err
	}
	if err := e.AddUser(emulatorUser, &key.PublicKey, emulatorRole); err != nil {
		return err
	}
	at, err := e.Start(*address)
	if err != nil {
		return hint(err, "--listen takes an address of the loopback interface, such as 127.0.0.1:0 for any free port")
	}
	fmt.Fprintf(std.out, `A Snowflake small enough to carry is serving http://%s

  account     %s
  user        %s, with the private key in %s
  role        %s
  warehouse   %s
  database    %s, schema %s

In querywarden.yaml:

  warehouse: {account: %[2]s, protocol: http, host: "%[1]s", user: %[3]s, private_key_file: "%[4]s",
    role: %[5]s, warehouse: %[6]s, database: %[7]s, schema: %[8]s}

With gosnowflake: %[3]s@%[1]s/%[7]s/%[8]s?account=%[2]s&protocol=http&role=%[5]s&warehouse=%[6]s&authenticator=SNOWFLAKE_JWT
Stop with Ctrl-C.
`, at, emulatorAccount, emulatorUser, file, emulatorRole, emulatorWarehouse, emulatorDatabase, emulatorSchema)
	<-ctx.Done()
	return nil
}

// emulatorKey reads a private key, or makes one where there is none.
func emulatorKey(ctx context.Context, file string) (*rsa.PrivateKey, error) {
	if _, err := os.Stat(file); err == nil {
		return (&config{}).privateKey(ctx, secretConfig{File: file})
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}
