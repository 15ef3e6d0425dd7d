//go:build !linux

package main

import (
	"context"
	"net"
)

// peerContext knows nobody here, so that votes on the host are refused: only
// Linux's SO_PEERCRED is trusted so far.
func peerContext(ctx context.Context, _ net.Conn) context.Context { return ctx }
