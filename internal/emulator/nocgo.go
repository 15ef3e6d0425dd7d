//go:build !cgo

package emulator

import (
	"context"
	"crypto/rsa"
	"errors"
	"net"
)

// errNoCgo is what every function of this build returns: DuckDB is a C++
// library.
var errNoCgo = errors.New("opening the emulator: this build has no emulator (CGO_ENABLED=0)")

// Emulator is the emulator that this build has not.
type Emulator struct{}

// Open says that this build has no emulator.
func Open(string, Options) (*Emulator, error) { return nil, errNoCgo }

// AddUser says that this build has no emulator.
func (*Emulator) AddUser(string, *rsa.PublicKey, string) error { return errNoCgo }

// Exec says that this build has no emulator.
func (*Emulator) Exec(context.Context, string) error { return errNoCgo }

// Serve says that this build has no emulator.
func (*Emulator) Serve(net.Listener) error { return errNoCgo }

// Start says that this build has no emulator.
func (*Emulator) Start(string) (string, error) { return "", errNoCgo }

// Close has nothing to close.
func (*Emulator) Close() error { return nil }
