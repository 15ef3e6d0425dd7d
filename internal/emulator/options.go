package emulator

import "log/slog"

// Options are what [Open] may be told. The zero value is usable.
type Options struct {
	// Logger hears of statements (at debug level) and of what went wrong
	// inside; without one, nobody does.
	Logger *slog.Logger
	// Database and Schema are made if they are not there, and are what a
	// session starts with that names none. Without them they are RETAIL and
	// PUBLIC, where the demo's data is.
	Database, Schema string
}

// The names of [Options] that says nothing.
const (
	DefaultDatabase = "RETAIL"
	DefaultSchema   = "PUBLIC"
)
