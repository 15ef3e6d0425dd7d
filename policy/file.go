package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"querywarden/policy/mask"
)

// The bounds of what a policy file may ask for.
const (
	maxRows, maxBytes         = 100_000_000, 1 << 30
	minDuration, maxDuration  = time.Second, 24 * time.Hour
	maxQuorum                 = 10
	minDecide, maxDecide      = time.Minute, 7 * 24 * time.Hour
	minRun, maxRun            = time.Minute, 24 * time.Hour
	minCopy, maxCopy          = time.Hour, 90 * 24 * time.Hour
	defaultDecide, defaultRun = 30 * time.Minute, 10 * time.Minute
)

// Parse reads a policy file and runs the tests in it. An error says what is
// wrong and where, as line:column with the line and a caret; it is a
// [*FileError]. A policy whose tests fail is refused.
//
// The file is one YAML mapping. Unknown keys, repeated keys, empty lists,
// anchors, aliases and tags are errors, since each of them may hide a mistake
// about who may do what.
//
//	version: 1
//	masks:                    # hide columns from everybody …
//	  - name: ssn             #   optional, for explanations
//	    columns: [patterns]   #   database.schema.table.column
//	    labels: [words]       #   or columns with a tag: pii, pii=email, gov.tags.pii
//	    mask: redact          #   see package mask
//	    unless: WHO           #   … but these
//	filters:                  # hide rows
//	  - name: eu
//	    on: [patterns]        #   database.schema.table
//	    where: "SQL"          #   rows that fail it do not exist …
//	    for: WHO              #   … for these, or unless: for all but these
//	opaque_views: [patterns]  # secure views that are read as tables, masked by their own columns
//	rules:
//	  - name: analysts-read   #   required, and no two alike
//	    who: WHO
//	    may: [classes]        #   read write modify create destroy admin session stage procedural
//	    on: [patterns]        #   or the word everything
//	    functions: [patterns] #   functions with effects; the account's own by database.schema.function
//	    verdict: allow        #   allow, ask or deny
//	    limits: {rows: 1000, bytes: 1MiB, time: 30s}
//	    approvers: {groups: [owners], quorum: 1, decide_within: 30m, run_within: 10m, reason: true}
//	    break_glass: {groups: [oncall], acknowledge_within: 24h}  # see [BreakGlass]
//	limits: {…}               # the ceiling, and what holds where a rule says nothing
//	detectors: [card_number]  # on every answer; see package mask
//	conversations: masked     # what is kept of what people say to agents: off, digest, masked or full
//	tests:
//	  - name: …
//	    as: {groups: [analysts], kind: agent}
//	    do: read shop.public.customers(email, ssn), write shop.staging.copy
//	    expect: deny          #   allow, ask or deny
//	    reason: no_rule       #   optional: the code of a reason
//	    masks: {ssn: redact}  #   optional: exactly these columns are masked
//	    filters: ["SQL"]      #   optional: exactly these filters stand
//	    approvers: {groups: [owners], quorum: 1, confirm: oidc}  # optional, each of them
//
// approvers may also say confirm: oidc or slack ([Confirm]), remind: 15m, which
// is half of decide_within otherwise, channel: and escalate: (where messengers
// ask, and where they ask again when three quarters of the time have gone), and
// safety_copy: 24h (a clone of what is about to be changed, kept that long).
//
// A rule with conversation: present lets through only calls whose client has
// told, before, which turn of a conversation they belong to; see
// [Statement.Conversation]. Conversations are kept as [Conversations] says; off
// is the rule where the file says nothing.
//
// WHO is the word everyone or {groups: […], users: […], kinds: […]}: members of
// any of the groups and any of the users, and of these only callers of the
// given kinds (person, agent, ci). A user is an e-mail address, or
// "issuer|subject", which nobody but that issuer can claim.
//
// In a pattern, * stands for any characters within one name. Names are upper
// case as Snowflake's are unless they stand in double quotes, where every
// character stands for itself. Rules that allow compare names exactly, and
// their stars do not match INFORMATION_SCHEMA nor the database SNOWFLAKE. Deny
// rules, masks and filters, and ask rules where another rule allows, compare
// without regard to case and reach what contains an object: who may not
// destroy shop.payroll.* may not drop the schema shop.payroll either. A pattern
// with two names is a schema and one with one name a database; "kind:" before a
// pattern means objects of that kind only (stage:shop.public.*,
// warehouse:etl).
//
// A function of the account's own is called where a rule names it in full, a
// procedure where a rule says so by its kind: procedure:shop.public.refresh. Both
// get masked arguments. What they do inside, and what they return, nobody masks:
// whoever writes the rule vouches for it.
//
// A view whose definition cannot be read is refused, because masks on the tables
// below it cannot be found. opaque_views vouches for such views: they are read as
// tables, with the masks and filters that name them. A secure view over groups of
// a minimum size is how aggregates of masked columns are offered.
func Parse(data []byte) (*Policy, error) {
	p := &Policy{
		text:   slices.Clone(data),
		limits: Limits{Rows: defaultRows, Bytes: defaultBytes, Duration: defaultDuration},
	}
	d := &decoder{}
	root := d.parseYAML(data)
	d.object(root, "the policy", []string{"version"},
		field{"version", func(n ast.Node) { d.integer(n, "version", 1) }},
		field{"masks", func(n ast.Node) {
			d.list(n, "masks", func(n ast.Node) { p.masks = append(p.masks, d.mask(n, len(p.masks))) })
		}},
		field{"filters", func(n ast.Node) {
			d.list(n, "filters", func(n ast.Node) { p.filters = append(p.filters, d.filter(n, len(p.filters))) })
		}},
		field{"opaque_views", func(n ast.Node) {
			p.opaque = d.patterns(n)
			for _, o := range p.opaque {
				if len(o.parts) != 3 {
					d.fail(n, "opaque_views are views: database.schema.view")
				}
			}
		}},
		field{"rules", func(n ast.Node) {
			d.list(n, "rules", func(n ast.Node) { p.rules = append(p.rules, d.rule(n, p.rules)) })
		}},
		field{"limits", func(n ast.Node) { p.limits = p.limits.or(d.limits(n)) }},
		field{"detectors", func(n ast.Node) { p.detectors = d.detectors(n) }},
		field{"conversations", func(n ast.Node) { p.conversations = Conversations(d.name(n, "conversations", conversationWords[:])) }},
		field{"tests", func(n ast.Node) { d.list(n, "tests", func(n ast.Node) { p.tests = append(p.tests, d.test(n)) }) }},
	)
	if d.err != nil {
		return nil, d.err
	}
	sum := sha256.Sum256(data)
	p.version = hex.EncodeToString(sum[:8])
	for i := range p.tests {
		if wrong := p.tests[i].run(p); wrong != "" {
			d.fail(p.tests[i].node, "the test %q fails: %s", p.tests[i].name, wrong)
			return nil, d.err
		}
	}
	return p, nil
}

// or returns the limits with o's where o has some.
func (l Limits) or(o Limits) Limits {
	if o.Rows > 0 {
		l.Rows = o.Rows
	}
	if o.Bytes > 0 {
		l.Bytes = o.Bytes
	}
	if o.Duration > 0 {
		l.Duration = o.Duration
	}
	return l
}

func (d *decoder) mask(n ast.Node, index int) maskRule {
	r := maskRule{name: fmt.Sprintf("masks[%d]", index)}
	d.object(n, "a mask", []string{"mask"},
		field{"name", func(n ast.Node) { r.name = d.text(n, "name") }},
		field{"columns", func(n ast.Node) {
			d.list(n, "columns", func(n ast.Node) {
				p, err := parseColumnPattern(d.text(n, "a column"))
				if err != nil {
					d.fail(n, "%s", err)
				}
				r.columns = append(r.columns, p)
			})
		}},
		field{"labels", func(n ast.Node) {
			for _, l := range d.texts(n, "labels") {
				r.labels = append(r.labels, lowerASCII(l))
			}
		}},
		field{"mask", func(n ast.Node) { r.mask = d.maskWord(n) }},
		field{"unless", func(n ast.Node) { r.unless = d.who(n, "unless") }},
	)
	if len(r.columns) == 0 && len(r.labels) == 0 {
		d.fail(n, "the mask names neither columns nor labels")
	}
	return r
}

func (d *decoder) filter(n ast.Node, index int) filterRule {
	r := filterRule{name: fmt.Sprintf("filters[%d]", index), who: who{everyone: true}}
	selected := false
	choose := func(n ast.Node, what string, unless bool) {
		if selected {
			d.fail(n, "a filter has either for or unless")
		}
		selected, r.unless = true, unless
		r.who = d.who(n, what)
	}
	d.object(n, "a filter", []string{"on", "where"},
		field{"name", func(n ast.Node) { r.name = d.text(n, "name") }},
		field{"on", func(n ast.Node) {
			r.on = d.patterns(n)
			for _, p := range r.on {
				if len(p.parts) != 3 {
					d.fail(n, "a filter stands on tables: database.schema.table")
				}
			}
		}},
		field{"where", func(n ast.Node) { r.where = d.text(n, "where") }},
		field{"for", func(n ast.Node) { choose(n, "for", false) }},
		field{"unless", func(n ast.Node) { choose(n, "unless", true) }},
	)
	return r
}

func (d *decoder) rule(n ast.Node, before []rule) rule {
	var r rule
	var glass *BreakGlass
	d.object(n, "a rule", []string{"name", "who", "verdict"},
		field{"name", func(n ast.Node) {
			r.name = d.text(n, "name")
			if slices.ContainsFunc(before, func(o rule) bool { return o.name == r.name }) {
				d.fail(n, "there is another rule named %q", r.name)
			}
		}},
		field{"who", func(n ast.Node) { r.who = d.who(n, "who") }},
		field{"may", func(n ast.Node) {
			d.list(n, "may", func(n ast.Node) {
				// Nothing may be unknown: its word is not offered.
				r.classes[1+d.name(n, "class", classNames[1:])] = true
			})
		}},
		field{"on", func(n ast.Node) {
			if s, ok := n.(*ast.StringNode); ok {
				r.everything = s.Value == "everything"
				if !r.everything {
					d.fail(n, "on must be a list of patterns, or the word everything")
				}
				return
			}
			r.on = d.patterns(n)
		}},
		field{"functions", func(n ast.Node) {
			d.list(n, "functions", func(n ast.Node) {
				p, err := parseFunctionPattern(d.text(n, "a function"))
				if err != nil {
					d.fail(n, "%s", err)
				}
				r.functions = append(r.functions, p)
			})
		}},
		field{"verdict", func(n ast.Node) { r.verdict = Verdict(d.name(n, "verdict", verdictNames[:])) }},
		field{"limits", func(n ast.Node) { r.limits = d.limits(n) }},
		field{"approvers", func(n ast.Node) { r.approval = d.approvers(n) }},
		field{"break_glass", func(n ast.Node) { glass = d.breakGlass(n) }},
		field{"keep_rows", func(n ast.Node) { r.keepRows = d.flag(n, "keep_rows") }},
		field{"conversation", func(n ast.Node) {
			d.name(n, "conversation", []string{"present"})
			r.conversation = true
		}},
	)
	may := slices.Contains(r.classes[:], true)
	on := r.everything || len(r.on) > 0
	switch {
	case d.err != nil:
	case may != on:
		d.fail(n, "the rule %q needs both may and on: what kind of access, and to what", r.name)
	case !may && len(r.functions) == 0:
		d.fail(n, "the rule %q says nothing: it needs may and on, or functions", r.name)
	case (r.verdict == Ask) != (r.approval != nil):
		d.fail(n, "the rule %q: approvers go with verdict ask, and only with it", r.name)
	case glass != nil && r.verdict != Ask:
		d.fail(n, "the rule %q: break_glass goes with verdict ask, and only with it", r.name)
	case glass != nil && sameGroups(glass.Groups, r.approval.Groups):
		d.fail(n, "the rule %q: break_glass names nobody but the approvers, who need no glass", r.name)
	case r.verdict == Deny && r.limits != Limits{}:
		d.fail(n, "the rule %q denies: there is nothing to limit", r.name)
	case r.verdict == Deny && r.conversation:
		d.fail(n, "the rule %q denies, with a conversation or without", r.name)
	case r.verdict == Deny && r.keepRows:
		d.fail(n, "the rule %q denies: there are no rows to keep", r.name)
	}
	if d.err == nil && glass != nil {
		r.approval.BreakGlass = glass
	}
	return r
}

func (d *decoder) patterns(n ast.Node) []objectPattern {
	var all []objectPattern
	d.list(n, "on", func(n ast.Node) {
		p, err := parseObjectPattern(d.text(n, "a pattern"))
		if err != nil {
			d.fail(n, "%s", err)
		}
		all = append(all, p)
	})
	return all
}

func (d *decoder) who(n ast.Node, what string) who {
	if s, ok := n.(*ast.StringNode); ok && d.err == nil {
		if s.Value != "everyone" {
			d.fail(n, "%s must be the word everyone, or groups, users and kinds", what)
		}
		return who{everyone: s.Value == "everyone"}
	}
	var w who
	d.object(n, what, nil,
		field{"groups", func(n ast.Node) { w.groups = d.texts(n, "groups") }},
		field{"users", func(n ast.Node) {
			d.list(n, "users", func(n ast.Node) { w.users = append(w.users, d.user(n)) })
		}},
		field{"kinds", func(n ast.Node) {
			d.list(n, "kinds", func(n ast.Node) {
				// A caller of no known kind is not a kind of caller.
				w.kinds = append(w.kinds, CallerKind(1+d.name(n, "kind", callerKindNames[1:])))
			})
		}},
	)
	if len(w.groups)+len(w.users)+len(w.kinds) == 0 {
		d.fail(n, "%s names nobody; it needs groups, users or kinds, or the word everyone", what)
	}
	return w
}

func (d *decoder) user(n ast.Node) user {
	s := d.text(n, "a user")
	if issuer, subject, ok := strings.Cut(s, "|"); ok {
		if issuer == "" || subject == "" {
			d.fail(n, "the user %q lacks its issuer or its subject", s)
		}
		return user{issuer: issuer, subject: subject}
	}
	if local, domain, ok := strings.Cut(s, "@"); !ok || local == "" || domain == "" || strings.ContainsAny(s, " *") {
		d.fail(n, `the user %q is neither an e-mail address nor "issuer|subject"`, s)
	}
	return user{email: lowerASCII(s)}
}

func (d *decoder) limits(n ast.Node) Limits {
	var l Limits
	d.object(n, "limits", nil,
		field{"rows", func(n ast.Node) { l.Rows = d.integer(n, "rows", maxRows) }},
		field{"bytes", func(n ast.Node) { l.Bytes = d.size(n, maxBytes) }},
		field{"time", func(n ast.Node) { l.Duration = d.duration(n, "time", minDuration, maxDuration) }},
	)
	return l
}

// flag reads true or false.
func (d *decoder) flag(n ast.Node, what string) bool {
	flag, ok := n.(*ast.BoolNode)
	if !ok {
		d.fail(n, "%s must be true or false", what)
		return false
	}
	return flag.Value
}

func (d *decoder) detectors(n ast.Node) []string {
	var names []string
	known := mask.DetectorNames()
	d.list(n, "detectors", func(n ast.Node) {
		name := known[d.name(n, "detector", known)]
		if slices.Contains(names, name) {
			d.fail(n, "the detector %s stands here twice", name)
		}
		names = append(names, name)
	})
	return names
}
