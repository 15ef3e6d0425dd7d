package mcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/mark3labs/mcp-go/server"

	"querywarden/policy"
	"querywarden/tools"
)

// errLineTooLong ends a stdio server whose client sends a message larger than
// the limit: where it ends cannot be known without reading it.
var errLineTooLong = errors.New("a message is larger than the limit")

// ServeStdio serves one caller over a pair of streams, a message a line, until
// in ends or ctx does. Nothing but the protocol is written to out. A process
// can serve only one pair at a time: mcp-go has one stdio session.
//
// When in ends, the client is gone and calls under way are cancelled.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer, caller policy.Caller) (err error) {
	stdio := server.NewStdioServer(s.mcp)
	stdio.SetErrorLogger(slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn))
	splice := newSplicer(out)
	r := request{caller: caller, signIn: rand.Text()[:22], splice: splice}
	c := tools.Call{Caller: caller, Session: r.signIn}
	if err := s.gate.SignedIn(ctx, c, "stdio"); err != nil {
		return fmt.Errorf("serving stdio: %w", err)
	}
	stdio.SetContextFunc(func(ctx context.Context) context.Context { return context.WithValue(ctx, requestKey{}, r) })
	defer func() {
		err = errors.Join(err, splice.close())
		if e := s.gate.SessionEnded(context.WithoutCancel(ctx), c); e != nil {
			err = errors.Join(err, fmt.Errorf("serving stdio: %w", e))
		}
	}()
	err = stdio.Listen(ctx, &limitedLines{in: in, limit: s.config.MaxBody}, splice)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving stdio: %w", err)
	}
	return nil // the end of the input, or of the context
}

// limitedLines reads lines of limited length.
type limitedLines struct {
	in    io.Reader
	limit int64
	line  int64 // bytes of the line so far
}

// Read implements [io.Reader]. It fails on a line that is too long.
func (l *limitedLines) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			l.line += int64(len(rest))
			rest = nil
		} else {
			l.line += int64(end)
			rest = rest[end+1:]
		}
		if l.line > l.limit {
			return 0, errLineTooLong
		}
		if end >= 0 {
			l.line = 0
		}
	}
	return n, err
}
