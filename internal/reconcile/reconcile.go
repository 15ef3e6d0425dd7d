// Package reconcile compares what a Snowflake account remembers of the
// gateway's users with what the gateway's log says: two records of the same
// events, kept by two parties who do not trust each other.
//
// Each statement that the gateway sends carries its record in QUERY_TAG: the
// log's name, the entry's index and its leaf hash. So each statement of the
// account's history has its entry, and each entry that let a statement run has
// its statement; what lacks its other half is a finding, and so is what says
// something else than its other half.
//
// The account is late with its history. What it may not have written yet is not
// missed: see the fields of [Input].
package reconcile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/warehouse"
)

// A Kind says what does not fit. Kinds never change their meaning.
type Kind string

// The kinds of finding.
const (
	Bypass        Kind = "bypass"         // a statement of the gateway's user without a record's tag
	ForeignTag    Kind = "foreign_tag"    // its tag names another log
	UnknownEntry  Kind = "unknown_entry"  // its tag names an entry that the log does not have
	NotAuthorized Kind = "not_authorized" // its tag names an entry that let nothing run
	TextDiffers   Kind = "text_differs"   // it is not what the entry let run
	Repeated      Kind = "repeated"       // one entry, several statements
	OtherUser     Kind = "other_user"     // it ran in a role that is not the gateway's
	OtherQuery    Kind = "other_query"    // the log has another query id for it
	OtherOutcome  Kind = "other_outcome"  // the log says that it ended otherwise
	NoOutcome     Kind = "no_outcome"     // the log does not say how it ended
	NeverSeen     Kind = "never_seen"     // the log says that it ran, the account has never seen it
	OtherObject   Kind = "other_object"   // it reached an object that the record does not have
	OtherColumn   Kind = "other_column"   // it read a column that the record does not have
	OtherAddress  Kind = "other_address"  // a login from an address that is not the gateway's
	RefusedLogin  Kind = "refused_login"  // a login that the account refused
)

// Kinds are all kinds of finding.
func Kinds() []Kind {
	return []Kind{
		Bypass, ForeignTag, UnknownEntry, NotAuthorized, TextDiffers, Repeated, OtherUser, OtherQuery, OtherOutcome, NoOutcome, NeverSeen,
		OtherObject, OtherColumn, OtherAddress, RefusedLogin,
	}
}

// A Finding is one thing that does not fit.
type Finding struct {
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"`
	QueryID string    `json:"query_id,omitempty"`
	User    string    `json:"user,omitempty"`
	Entry   *int64    `json:"entry,omitempty"`
	Text    string    `json:"text,omitempty"` // the statement as the account has it, or as the log has it
	Detail  string    `json:"detail"`         // one sentence
}

// Input is what is compared.
type Input struct {
	// Origin is the log's name, Entries those of its entries that can let a
	// statement run or say how one ended, from Since on and a little before.
	// What lets nothing run may be among them.
	Origin  string
	Entries []*audit.Entry
	// Account is the history of the gateway's users since Since.
	Account *warehouse.History
	// Roles are those that the configuration names for each user, in upper
	// case.
	Roles map[string][]string
	// Addresses are where the gateway logs in from; empty if nobody said.
	Addresses []netip.Prefix
	Since     time.Time
	Now       time.Time
	// Late is how far back the account's statements may be incomplete.
	Late time.Duration
}

// A Report is what came out.
type Report struct {
	Since      time.Time `json:"since"`
	Until      time.Time `json:"until"`      // later, the account may not have everything
	Statements int       `json:"statements"` // of the account
	Records    int       `json:"records"`    // of the log, that let a statement run
	Logins     int       `json:"logins"`
	Findings   []Finding `json:"findings"`
	// Notes say what could not be compared.
	Notes []string `json:"notes,omitempty"`
}

// A record is an entry that lets a statement run, with the entry that says how
// that ended.
type record struct {
	entry   *audit.Entry
	outcome *audit.Entry
	seen    int
}

// Compare finds what does not fit. It is a function of its input alone.
func Compare(in Input) Report {
	r := Report{Since: in.Since, Until: in.Now.Add(-in.Late), Statements: len(in.Account.Statements), Logins: len(in.Account.SignIns), Findings: []Finding{}}
	entries, records := map[int64]*audit.Entry{}, map[int64]*record{}
	for _, e := range in.Entries {
		entries[e.Index] = e
		switch {
		case e.LetRun():
			records[e.Index] = &record{entry: e}
			if !e.Event.Time.Before(in.Since) {
				r.Records++
			}
		case e.Event.Kind == audit.KindOutcome && e.Event.Of != nil:
			if rec := records[*e.Event.Of]; rec != nil {
				rec.outcome = e
			}
		}
	}
	for _, s := range in.Account.Statements {
		r.statement(in, s, entries, records)
	}
	for _, e := range in.Entries {
		if rec := records[e.Index]; rec != nil {
			r.record(rec)
		}
	}
	if in.Account.NoAccesses != nil {
		r.Notes = append(r.Notes, "what statements reached was not compared: the account shows no ACCESS_HISTORY")
	}
	if len(in.Addresses) == 0 && len(in.Account.SignIns) > 0 {
		r.Notes = append(r.Notes, "where logins came from was not compared: the configuration does not say where the gateway is (warehouse.addresses)")
	}
	for _, s := range in.Account.SignIns {
		r.signIn(in, s)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.Time.Compare(b.Time) })
	return r
}

// judged reports whether a record is of a caller's statement, which has an
// outcome in the log. The gateway's own have none.
func judged(e *audit.Event) bool {
	return e.Kind == audit.KindDecision || e.Kind == audit.KindExecution
}

// Wanted reports whether an entry is one that [Compare] looks at.
func Wanted(e *audit.Entry) bool { return e.LetRun() || e.Event.Kind == audit.KindOutcome }

func (r *Report) add(kind Kind, s warehouse.Past, entry *audit.Entry, format string, args ...any) {
	f := Finding{Kind: kind, Time: s.Start, QueryID: s.QueryID, User: s.User, Text: s.Text, Detail: fmt.Sprintf(format, args...)}
	if entry != nil {
		f.Entry = &entry.Index
	}
	r.Findings = append(r.Findings, f)
}

// statement compares a statement of the account with its record.
func (r *Report) statement(in Input, s warehouse.Past, entries map[int64]*audit.Entry, records map[int64]*record) {
	if roles := in.Roles[s.User]; len(roles) > 0 && !slices.Contains(roles, s.Role) {
		r.add(OtherUser, s, nil, "%s ran it as %s; the gateway uses %s.", s.User, s.Role, strings.Join(roles, ", "))
	}
	tag, ok := audit.ParseTag(s.Tag)
	if !ok {
		r.add(Bypass, s, nil, "The gateway did not send it: it carries no record.")
		return
	}
	if tag.Origin != in.Origin {
		r.add(ForeignTag, s, nil, "It names an entry of the log %q.", tag.Origin)
		return
	}
	entry := entries[tag.Index]
	if entry == nil || entry.Leaf != tag.Leaf {
		r.add(UnknownEntry, s, entry, "It names entry %d with a hash that the log does not have there.", tag.Index)
		return
	}
	rec := records[tag.Index]
	if rec == nil {
		r.add(NotAuthorized, s, entry, "Entry %d, a %s, let nothing run.", tag.Index, entry.Event.Kind)
		return
	}
	if rec.seen++; rec.seen > 1 {
		r.add(Repeated, s, entry, "Entry %d let one statement run; this is number %d.", tag.Index, rec.seen)
		return
	}
	if kept, ok := entry.Texts["runs"]; !ok {
		r.note("entries whose texts were erased were not compared word by word")
	} else if !sameText(s.Text, kept) {
		r.add(TextDiffers, s, entry, "Entry %d let another text run.", tag.Index)
	}
	r.outcome(in, s, rec)
	if access, ok := in.Account.Accesses[s.QueryID]; ok && judged(&entry.Event) {
		r.access(s, rec.entry, access)
	}
}

func (r *Report) note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// outcome compares how a statement ended.
func (r *Report) outcome(in Input, s warehouse.Past, rec *record) {
	if !judged(&rec.entry.Event) {
		return // the gateway's own have no outcome of their own
	}
	if rec.outcome == nil {
		if s.Ending != warehouse.Running && s.Start.Before(in.Now.Add(-in.Late)) {
			r.add(NoOutcome, s, rec.entry, "The log does not say how it ended; the account says that it %s.", s.Ending)
		}
		return
	}
	o := rec.outcome.Event
	if o.QueryID != "" && o.QueryID != s.QueryID {
		r.add(OtherQuery, s, rec.entry, "Entry %d has the query id %s for it.", rec.outcome.Index, o.QueryID)
	}
	switch {
	case s.Ending == warehouse.Errored && o.Status == "completed":
		r.add(OtherOutcome, s, rec.entry, "Entry %d says that it completed; the account, that it failed with %s.", rec.outcome.Index, s.Code)
	case s.Ending == warehouse.Succeeded && o.Status == "failed" && afterwards(o.Error) == "":
		r.add(OtherOutcome, s, rec.entry, "Entry %d says that it failed; the account, that it succeeded.", rec.outcome.Index)
	}
}

// afterwards reports what can go wrong at the gateway with a statement that
// succeeded in the account: the way back.
func afterwards(problem string) string {
	for _, class := range []string{"timeout", "cancelled", "unavailable", "internal", "result_too_wide"} {
		if strings.HasPrefix(problem, class) {
			return class
		}
	}
	return ""
}

// record looks for what the log says ran and the account has never seen.
func (r *Report) record(rec *record) {
	e := rec.entry.Event
	if rec.seen > 0 || e.Time.Before(r.Since) || e.Time.After(r.Until) || rec.outcome == nil {
		return
	}
	o := rec.outcome.Event
	if o.Status != "completed" && o.QueryID == "" {
		return // it never got there, and the log says so
	}
	r.Findings = append(r.Findings, Finding{
		Kind: NeverSeen, Time: e.Time, QueryID: o.QueryID, Entry: &rec.entry.Index, Text: rec.entry.Texts["runs"],
		Detail: fmt.Sprintf("Entry %d says that it ran; the account's history does not have it.", rec.outcome.Index),
	})
}

// access compares what a statement reached with what policy was told of it.
func (r *Report) access(s warehouse.Past, entry *audit.Entry, access warehouse.Access) {
	known := map[string]map[string]bool{}
	for _, a := range entry.Event.Accesses {
		for _, name := range []string{plain(a.Object), plain(a.Via)} {
			if name == "" {
				continue
			}
			if known[name] == nil {
				known[name] = map[string]bool{}
			}
			for _, c := range a.Columns {
				known[name][c] = true
			}
		}
	}
	told := map[string]bool{}
	for _, list := range [][]warehouse.Reached{access.Direct, access.Base, access.Modified} {
		for _, o := range list {
			if told[o.Object] || o.Domain != "Table" && o.Domain != "View" && !strings.HasSuffix(o.Domain, " view") {
				continue
			}
			columns, ok := known[plain(o.Object)]
			if !ok {
				told[o.Object] = true
				r.add(OtherObject, s, entry, "It reached %s, of which entry %d knows nothing.", o.Object, entry.Index)
				continue
			}
			if rewritten(&entry.Event, o.Object) {
				continue
			}
			for _, c := range o.Columns {
				if !columns[c] {
					told[o.Object] = true
					r.add(OtherColumn, s, entry, "It read %s of %s, of which entry %d knows nothing.", c, o.Object, entry.Index)
					break
				}
			}
		}
	}
}

// rewritten reports whether the statement read an object through a subquery
// that the gateway put there, for a mask or a filter: that one names columns
// which the caller's statement does not.
func rewritten(e *audit.Event, object string) bool {
	for _, m := range e.Masks { // OBJECT.COLUMN: mask
		if strings.HasPrefix(plain(strings.Replace(m, ": ", " ", 1)), plain(object)+".") {
			return true
		}
	}
	for _, f := range e.Filters { // OBJECT: condition
		name, _, _ := strings.Cut(f, ": ")
		if plain(name) == plain(object) {
			return true
		}
	}
	return false
}

// plain is an object's name without a kind before it and without quotes.
func plain(name string) string {
	if _, rest, ok := strings.Cut(name, ":"); ok {
		name = rest
	}
	return strings.ReplaceAll(name, `"`, "")
}

// signIn looks at a login.
func (r *Report) signIn(in Input, s warehouse.SignIn) {
	f := Finding{Time: s.Time, User: s.User}
	switch {
	case !s.Success:
		f.Kind, f.Detail = RefusedLogin, fmt.Sprintf("The account refused a login from %s with %s.", s.Address, s.Code)
	case len(in.Addresses) > 0 && !from(in.Addresses, s.Address):
		f.Kind, f.Detail = OtherAddress, fmt.Sprintf("Somebody logged in from %s, which is not an address of the gateway.", s.Address)
	default:
		return
	}
	r.Findings = append(r.Findings, f)
}

func from(list []netip.Prefix, address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// Hash masks carry their keys in the text that runs. The log keeps HIDDEN in
// their place.
var hashKey = regexp.MustCompile(`'[0-9a-f]{64}'`)

// longestText is how much of a statement the account keeps, in characters.
// docs.snowflake.com/en/sql-reference/account-usage/query_history
const longestText = 100_000

// sameText compares a statement as the account has it with what the log keeps.
func sameText(account, kept string) bool {
	if strings.Contains(kept, "'HIDDEN'") {
		account = hashKey.ReplaceAllString(account, "'HIDDEN'")
	}
	if account == kept {
		return true
	}
	if n := len([]rune(account)); n >= longestText-64*8 && len(kept) > len(account) {
		return strings.HasPrefix(kept, account)
	}
	return false
}
