// Package emulator is a Snowflake small enough to carry: an HTTP server that
// speaks the protocol of Snowflake's drivers, over DuckDB.
//
// A client logs in with a key pair, gets a session, and sends statements in
// Snowflake's dialect. Each is read by package parser, its names are resolved
// against the emulator's catalog, the tree is printed in DuckDB's dialect and
// run there; the rows come back in the JSON result format. What the emulator
// cannot do it says, with the error that Snowflake has for unsupported
// features; it never answers something else instead.
//
// # Protocol
//
// Every reply is HTTP 200 with {"data", "code", "message", "success"}; a
// session's token travels as Authorization: Snowflake Token="…".
//
//	POST /session/v1/login-request   a JWT (RS256) signed with the user's key → session and master token
//	POST /session/token-request      RENEW with the master token → new tokens; the old ones are dead
//	POST /session/heartbeat          nothing but a sign of life
//	POST /session?delete=true        logout
//	POST /queries/v1/query-request   a statement, binds, parameters → rows, or in-progress and where to ask
//	GET  /queries/{id}/result        the same reply again, or once it is there
//	GET  /monitoring/queries/{id}    how the statement fares
//	POST /queries/v1/abort-request   interrupts the statement of a request id
//	POST /telemetry/send             thrown away
//
// A query-request is known by its requestId: repeated, it gets the first
// one's reply and the statement runs once. One request carries one statement
// unless MULTI_STATEMENT_COUNT, of the request or else of the session, says
// otherwise. Statements of a session run one after the other.
//
// # Data
//
// One DuckDB file holds all databases of the account. DuckDB is locked before
// the first statement: it reads and writes no other file, loads no extension,
// and its settings cannot be changed. What was declared (types, comments,
// definitions of views) is kept beside the data in Snowflake's words, and is
// what SHOW, DESCRIBE and INFORMATION_SCHEMA answer from.
//
// # What differs from Snowflake
//
// A role is restricted only if CREATE ROLE made it; every other may do
// everything (rights.go). Policies and tags are recorded and have no effect on
// rows. TIME and timestamps hold microseconds, TIMESTAMP_TZ keeps the instant
// and not the offset, lengths of VARCHAR are recorded and not enforced. Names
// that differ in case alone are the same object. Division and AVG yield FLOAT.
// Tables come back after DROP, schemas and databases do not; there is no time
// travel in tables that are there. EXPLAIN knows sizes of tables, not of what a
// condition leaves of them.
//
// Sources: the source of github.com/snowflakedb/gosnowflake for the protocol,
// docs.snowflake.com/en/sql-reference for the meaning of SQL.
package emulator
