package warehouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"querywarden/audit"
)

// An Ending is how a statement of the past ended. The zero Ending is that
// nobody knows.
type Ending uint8

// The endings.
const (
	Unknown   Ending = iota // the account says something else, or that it broke
	Running                 // it has not ended
	Succeeded               // it did what it says
	Errored                 // it did nothing
)

// String is the ending as a word.
func (e Ending) String() string {
	switch e {
	case Running:
		return "running"
	case Succeeded:
		return "succeeded"
	case Errored:
		return "failed"
	case Unknown:
		return "unknown"
	default:
		return "unknown"
	}
}

// A Past is a statement that the account remembers, whoever sent it.
type Past struct {
	QueryID string
	Text    string // as sent; the account cuts it at 100,000 characters
	Type    string // SELECT, DROP_TABLE, …
	Tag     string // QUERY_TAG
	User    string
	Role    string
	Session string
	Ending  Ending
	Code    string // of the error, six digits
	Start   time.Time
	End     time.Time // zero while it runs
	Rows    int64
}

// pastColumns are those of QUERY_HISTORY that make a [Past], the function's and
// the view's.
const pastColumns = `QUERY_ID, QUERY_TEXT, QUERY_TYPE, QUERY_TAG, USER_NAME, ROLE_NAME, SESSION_ID, EXECUTION_STATUS, ERROR_CODE, START_TIME, END_TIME, ROWS_PRODUCED`

// newPast reads a row of pastColumns.
func newPast(v []string) (Past, error) {
	p := Past{QueryID: v[0], Text: v[1], Type: v[2], Tag: v[3], User: v[4], Role: v[5], Session: v[6], Ending: ending(v[7]), Code: v[8]}
	var err error
	if p.Start, err = pastTime(v[9]); err != nil {
		return p, err
	}
	if p.End, err = pastTime(v[10]); err != nil {
		return p, err
	}
	if v[11] != "" {
		if _, err := fmt.Sscan(v[11], &p.Rows); err != nil {
			return p, fmt.Errorf("%w: a count of rows", errInconsistent)
		}
	}
	return p, nil
}

func pastTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("%w: a time of the history", errInconsistent)
	}
	// A statement that runs ends in 1970 in some of the account's answers.
	if t.Year() < 2000 {
		return time.Time{}, nil
	}
	return t, nil
}

// ending reads EXECUTION_STATUS, as the function and as the view spell it.
func ending(status string) Ending {
	switch strings.ToUpper(status) {
	case "SUCCESS":
		return Succeeded
	case "FAIL", "FAILED_WITH_ERROR":
		return Errored
	case "RUNNING", "QUEUED", "BLOCKED", "RESUMING_WAREHOUSE":
		return Running
	default:
		return Unknown
	}
}

// historyLimit is the most that the table function gives at once.
// docs.snowflake.com/en/sql-reference/functions/query_history
const historyLimit = 10000

// Find looks for the statements of this user that carried a QUERY_TAG, by the
// table function QUERY_HISTORY_BY_USER, which is never late and reaches back
// seven days. since is a time before the statement was sent. authorize records
// the statement that asks.
//
// Nothing found, and no error, means that no such statement has reached the
// account. If that cannot be known, because the history is longer than the
// account tells or no longer reaches back, Find fails.
func (w *Warehouse) Find(ctx context.Context, tag string, since time.Time, authorize func(sql string) (audit.Receipt, error)) ([]Past, error) {
	if tag == "" {
		return nil, fmt.Errorf("looking into the account's history: there is no tag to look for")
	}
	if time.Since(since) > 7*24*time.Hour {
		return nil, fmt.Errorf("looking into the account's history: it reaches back seven days, not to %s", since.UTC().Format(time.RFC3339))
	}
	var found []Past
	seen := 0
	// RESULT_LIMIT counts before WHERE would, so the choice is made here.
	text := fmt.Sprintf(`SELECT %s FROM TABLE(%%s.INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER(USER_NAME => %s, END_TIME_RANGE_START => '%s'::TIMESTAMP_LTZ, RESULT_LIMIT => %d))`,
		pastColumns, quote(stored(w.config.User)), since.UTC().Add(-time.Minute).Format("2006-01-02 15:04:05.000-07:00"), historyLimit)
	c := catalog{warehouse: w, authorize: authorize}
	err := c.read(ctx, stored(w.config.Database), text, 12, func(v []string) error {
		seen++
		if v[3] != tag {
			return nil
		}
		p, err := newPast(v)
		found = append(found, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking into the account's history: %w", err)
	}
	if len(found) == 0 && seen >= historyLimit {
		return nil, fmt.Errorf("looking into the account's history: there are more than %d statements since %s", historyLimit-1, since.UTC().Format(time.RFC3339))
	}
	return found, nil
}

// quote writes text as a literal of Snowflake's, in which the backslash
// escapes.
func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
