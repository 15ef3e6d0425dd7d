package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// Find looks for the statements of the logins' users that carried a QUERY_TAG, by
// the table function QUERY_HISTORY_BY_USER, which is never late and reaches back
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
	for _, name := range append([]string{""}, slices.Sorted(maps.Keys(w.config.Others))...) {
		user := w.config.User
		if name != "" {
			user = w.config.Others[name].User
		}
		// A user sees their own history, whatever their role.
		more, err := w.findOf(ctx, name, user, tag, since, authorize)
		if err != nil {
			return nil, fmt.Errorf("looking into the account's history: %w", err)
		}
		found = append(found, more...)
	}
	return found, nil
}

// findOf is [Warehouse.Find] for one login.
func (w *Warehouse) findOf(ctx context.Context, login, user, tag string, since time.Time, authorize func(sql string) (audit.Receipt, error)) ([]Past, error) {
	var found []Past
	seen := 0
	// RESULT_LIMIT counts before WHERE would, so the choice is made here.
	text := fmt.Sprintf(`SELECT %s FROM TABLE(%%s.INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER(USER_NAME => %s, END_TIME_RANGE_START => '%s'::TIMESTAMP_LTZ, RESULT_LIMIT => %d))`,
		pastColumns, quote(stored(user)), since.UTC().Add(-time.Minute).Format("2006-01-02 15:04:05.000-07:00"), historyLimit)
	c := catalog{warehouse: w, login: login, authorize: authorize}
	err := c.read(ctx, stored(w.config.Database), text, 12, func(v []string) error {
		seen++
		if v[3] != tag {
			return nil
		}
		p, err := newPast(v)
		found = append(found, p)
		return err
	})
	if err == nil && len(found) == 0 && seen >= historyLimit {
		err = fmt.Errorf("there are more than %d statements since %s", historyLimit-1, since.UTC().Format(time.RFC3339))
	}
	return found, err
}

// quote writes text as a literal of Snowflake's, in which the backslash
// escapes.
func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// A Reached is an object that a statement touched, with the columns that the
// account says were read.
type Reached struct {
	Domain  string // Table, View, …
	Object  string // DATABASE.SCHEMA.NAME
	Columns []string
}

// Access is what a statement touched, by ACCESS_HISTORY: what it names, the
// tables beneath that, and what it changed.
type Access struct {
	QueryID                string
	Direct, Base, Modified []Reached
}

// A SignIn is one login of a user, or the attempt.
type SignIn struct {
	User    string
	Time    time.Time
	Address string
	Success bool
	Code    string // of the refusal
	Factor  string // RSA_KEYPAIR, …
}

// A History is what the account remembers of some users since a time.
type History struct {
	Statements []Past
	Accesses   map[string]Access // by query id
	SignIns    []SignIn
	// NoAccesses says why there are none, where the account keeps none or the
	// role may not see them.
	NoAccesses error
}

// History reads the account's own record, SNOWFLAKE.ACCOUNT_USAGE, in the
// session of a login (the first one's, if the name is empty). The account is
// late with it: 45 minutes with statements, two hours with logins, three with
// accesses (docs.snowflake.com/en/sql-reference/account-usage). The role needs
// the database roles GOVERNANCE_VIEWER and SECURITY_VIEWER of SNOWFLAKE.
func (w *Warehouse) History(ctx context.Context, login string, since time.Time, users []string, authorize func(sql string) (audit.Receipt, error)) (*History, error) {
	var names []string
	for _, u := range users {
		names = append(names, quote(stored(u)))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("reading the account's history: of nobody")
	}
	of := strings.Join(names, ", ")
	from := "'" + since.UTC().Format("2006-01-02 15:04:05.000-07:00") + "'::TIMESTAMP_LTZ"
	c := catalog{warehouse: w, authorize: authorize, login: login}
	h := &History{Accesses: map[string]Access{}}
	err := c.read(ctx, "SNOWFLAKE", `SELECT `+pastColumns+` FROM %s.ACCOUNT_USAGE.QUERY_HISTORY WHERE USER_NAME IN (`+of+`) AND START_TIME >= `+from+` ORDER BY START_TIME, QUERY_ID`, 12, func(v []string) error {
		p, err := newPast(v)
		h.Statements = append(h.Statements, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the account's statements: %w", err)
	}
	err = c.read(ctx, "SNOWFLAKE", `SELECT USER_NAME, EVENT_TIMESTAMP, CLIENT_IP, IS_SUCCESS, ERROR_CODE, FIRST_AUTHENTICATION_FACTOR FROM %s.ACCOUNT_USAGE.LOGIN_HISTORY WHERE USER_NAME IN (`+of+`) AND EVENT_TIMESTAMP >= `+from+` ORDER BY EVENT_TIMESTAMP`, 6, func(v []string) error {
		at, err := pastTime(v[1])
		h.SignIns = append(h.SignIns, SignIn{User: v[0], Time: at, Address: v[2], Success: strings.EqualFold(v[3], "YES"), Code: v[4], Factor: v[5]})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the account's logins: %w", err)
	}
	err = c.read(ctx, "SNOWFLAKE", `SELECT QUERY_ID, DIRECT_OBJECTS_ACCESSED, BASE_OBJECTS_ACCESSED, OBJECTS_MODIFIED FROM %s.ACCOUNT_USAGE.ACCESS_HISTORY WHERE USER_NAME IN (`+of+`) AND QUERY_START_TIME >= `+from, 4, func(v []string) error {
		a := Access{QueryID: v[0]}
		for i, into := range []*[]Reached{&a.Direct, &a.Base, &a.Modified} {
			list, err := readReached(v[i+1])
			if err != nil {
				return err
			}
			*into = list
		}
		h.Accesses[a.QueryID] = a
		return nil
	})
	var failed *Error
	if errors.As(err, &failed) && (failed.Class == Permission || failed.Class == Object) {
		// Accounts below the Enterprise Edition keep none.
		h.NoAccesses, err = err, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the account saw accessed: %w", err)
	}
	return h, nil
}

// readReached reads a cell of ACCESS_HISTORY.
// docs.snowflake.com/en/sql-reference/account-usage/access_history
func readReached(cell string) ([]Reached, error) {
	if cell == "" {
		return nil, nil
	}
	var list []struct {
		Domain  string `json:"objectDomain"`
		Name    string `json:"objectName"`
		Columns []struct {
			Name string `json:"columnName"`
		} `json:"columns"`
	}
	if err := json.Unmarshal([]byte(cell), &list); err != nil {
		return nil, fmt.Errorf("%w: a list of accesses", errInconsistent)
	}
	var out []Reached
	for _, o := range list {
		r := Reached{Domain: o.Domain, Object: o.Name}
		for _, c := range o.Columns {
			r.Columns = append(r.Columns, c.Name)
		}
		out = append(out, r)
	}
	return out, nil
}
