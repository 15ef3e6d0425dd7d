package policy

import (
	"slices"
	"strings"
	"time"

	"querywarden/policy/mask"
)

// A Policy decides. It is read from a file by [Parse], does not change, and is
// safe for concurrent use. The zero Policy and a nil one deny everything.
type Policy struct {
	text          []byte
	version       string
	masks         []maskRule
	filters       []filterRule
	opaque        []objectPattern // views that are read as tables
	rules         []rule
	limits        Limits
	detectors     []string
	conversations Conversations
	tests         []test
}

// A rule gives its verdict to the callers it selects, for classes of access to
// objects.
type rule struct {
	name       string
	who        who
	classes    [numClasses]bool
	on         []objectPattern
	everything bool // on: everything
	functions  []functionPattern
	verdict    Verdict
	limits     Limits // zero: the policy's
	approval   *Approval
	keepRows   bool
	// conversation says that it lets through only what comes with a
	// conversation; see [Statement.Conversation].
	conversation bool
}

// A maskRule masks columns, by pattern or label, unless the caller is selected.
type maskRule struct {
	name    string
	columns []columnPattern
	labels  []string // lower case
	mask    mask.Mask
	unless  who
}

// A filterRule filters relations for the callers it selects, or for all but
// those.
type filterRule struct {
	name   string
	on     []objectPattern
	where  string
	who    who
	unless bool
}

// The bounds of an answer where the policy file gives none.
const (
	defaultRows     = 10_000
	defaultBytes    = 4 << 20
	defaultDuration = time.Minute
)

// Version names the policy in decisions and records: the beginning of the
// SHA-256 of the file's bytes, in hexadecimal.
func (p *Policy) Version() string {
	if p == nil {
		return ""
	}
	return p.version
}

// Text returns the policy file as it was read.
func (p *Policy) Text() string {
	if p == nil {
		return ""
	}
	return string(p.text)
}

// Decide judges a statement for a caller at a time. No rule depends on the
// time yet; it is part of the question so that the answer can be asked for
// again.
//
// A statement is denied if it has problems or is not understood. Otherwise
// every access is judged by all rules that select the caller and the access:
// one deny denies it, else one ask asks, else one allow allows it, else it is
// denied. The statement gets the strictest of its accesses' verdicts. The
// order of rules never matters.
//
// A class that no access has is judged as an access to no object. There,
// reading and session commands need a rule for the class on any object
// (SELECT 1), all others a rule on everything.
//
// Limits are the smallest of the policy's and of all rules that let the
// statement pass. Of several rules that ask, every one has to be satisfied by
// the same people: approvers are those in the groups that all rules name, the
// quorum is the largest, the times are the shortest. Where the rules have no
// group in common the statement is denied.
func (p *Policy) Decide(c Caller, s Statement, _ time.Time) Decision {
	if p == nil || p.version == "" {
		return Decision{
			Reasons: []Reason{reasonNoPolicy()},
			Limits:  Limits{Rows: defaultRows, Bytes: defaultBytes, Duration: defaultDuration},
		}
	}
	d := Decision{Policy: p.version, Limits: p.limits, Detectors: slices.Clone(p.detectors)}
	if d.Reasons = unfit(s); len(d.Reasons) > 0 {
		return d
	}
	j := judgement{policy: p, caller: &c, verdict: Allow, rules: make([]*rule, 0, len(p.rules))}
	for i := range p.rules {
		if p.rules[i].who.matches(&c) {
			j.rules = append(j.rules, &p.rules[i])
		}
	}
	judged := false // has an access of the statement's own class been judged?
	for i := range s.Accesses {
		a := &s.Accesses[i]
		named := a.Object
		if a.Via != nil {
			named = *a.Via // what lies under a view is not the caller's to hear of
		}
		if j.access(a.Class, a.Object, named) {
			j.copied(a, named)
			j.opaque(a, named)
		}
		judged = judged || s.Accesses[i].Class == s.Class
	}
	if !judged {
		j.class(s.Class)
	}
	for _, f := range s.Functions {
		j.call(f, false)
	}
	for _, f := range s.Effects {
		j.call(f, true)
	}
	j.accompanied(s.Conversation)
	j.conclude(&d)
	if d.Verdict != Deny {
		d.Masks = p.columnMasks(&c, s.Accesses)
		d.Filters = p.rowFilters(&c, s.Accesses)
	}
	return d
}

// unfit says why a statement cannot run under any policy.
func unfit(s Statement) []Reason {
	if len(s.Problems) > 0 {
		return slices.Clone(s.Problems)
	}
	understood := s.Class > Unknown && s.Class < numClasses
	for _, a := range s.Accesses {
		understood = understood && a.Class > Unknown && a.Class < numClasses
	}
	if !understood {
		return []Reason{reasonNotUnderstood()}
	}
	return nil
}

// UsesLabels reports whether any mask names labels, so that a catalog without
// them would leave columns bare.
func (p *Policy) UsesLabels() bool {
	return p != nil && slices.ContainsFunc(p.masks, func(r maskRule) bool { return len(r.labels) > 0 })
}

// Sees reports whether the caller can read the table, at least masked and at
// least after an approval. What a caller does not see does not exist for it.
func (p *Policy) Sees(c Caller, t Table) bool {
	return p.sees(&c, t.Object)
}

func (p *Policy) sees(c *Caller, o Object) bool {
	if p == nil {
		return false
	}
	folded := foldObject(o)
	granted := false
	for i := range p.rules {
		r := &p.rules[i]
		if !r.classes[Read] || !r.who.matches(c) {
			continue
		}
		switch {
		case r.verdict == Deny && r.covers(folded):
			return false
		case r.verdict != Deny && r.grants(o):
			granted = true
		}
	}
	return granted
}

// grants reports whether the rule's verdict may let the object be used.
func (r *rule) grants(o Object) bool {
	return r.everything && o.Kind != ProcedureObject || slices.ContainsFunc(r.on, func(p objectPattern) bool { return p.matches(o) })
}

// covers reports whether the rule restricts the use of the object.
func (r *rule) covers(o foldedObject) bool {
	return r.everything || slices.ContainsFunc(r.on, func(p objectPattern) bool { return p.covers(o) })
}

// A judgement collects the verdicts on the parts of one statement.
type judgement struct {
	policy  *Policy
	caller  *Caller
	rules   []*rule // those that select the caller
	verdict Verdict // the strictest so far
	reasons []Reason
	denied  []*rule
	asked   []*rule
	allowed []*rule
}

// access judges one access and reports whether it may be, perhaps after an
// approval. Reasons speak of the object that the statement names.
func (j *judgement) access(c Class, o, named Object) (passes bool) {
	folded := foldObject(o)
	granted, denied := false, false
	for _, r := range j.rules {
		if !r.classes[c] {
			continue
		}
		switch r.verdict {
		case Allow:
			if r.grants(o) {
				granted = true
				j.allowed = note(j.allowed, r)
			}
		case Ask:
			// A rule that asks both lets through and holds up, and the
			// second reaches further than the first.
			granted = granted || r.grants(o)
			if r.covers(folded) {
				j.ask(r)
			}
		default:
			if r.covers(folded) {
				denied = true
				j.denied = note(j.denied, r)
			}
		}
	}
	switch {
	case denied:
		j.deny(j.reason(CodeRuleDenies, c, named))
	case !granted:
		j.deny(j.reason(CodeNoRule, c, named))
	}
	return granted && !denied
}

// accompanied denies what a rule lets through only with a conversation, if there
// is none.
func (j *judgement) accompanied(present bool) {
	if present || j.verdict == Deny {
		return
	}
	for _, r := range slices.Concat(j.allowed, j.asked) {
		if r.conversation {
			j.denied = note(j.denied, r)
			j.deny(reasonConversation())
		}
	}
}

// copied judges an access by where the object's rows came from. A filter cannot
// stand on a copy, which may lack the columns that it looks at; so who has a
// filter on the source, and the copier had not, reads none of the copy.
func (j *judgement) copied(a *Access, named Object) {
	if !reads(a.Class) {
		return
	}
	for _, from := range a.Rows {
		folded := foldObject(from.Object)
		for i := range j.policy.filters {
			r := &j.policy.filters[i]
			if r.selects(j.caller) && r.covers(folded) && !slices.Contains(from.Where, r.where) {
				j.deny(reasonCopied(named))
				return
			}
		}
	}
}

// opaque denies what is read through a view that shows nobody knows what, unless
// the policy has it read as a table: then masks hang on its own columns.
func (j *judgement) opaque(a *Access, named Object) {
	vouched := func(p objectPattern) bool { return p.matches(a.Object) }
	if a.Opaque && !slices.ContainsFunc(j.policy.opaque, vouched) {
		j.deny(reasonOpaque(named))
	}
}

// selects reports whether the filter hides rows from the caller.
func (r *filterRule) selects(c *Caller) bool { return r.who.matches(c) != r.unless }

// covers reports whether the filter stands on the object.
func (r *filterRule) covers(o foldedObject) bool {
	return slices.ContainsFunc(r.on, func(p objectPattern) bool { return p.covers(o) })
}

// reason says why an access is denied, without telling of objects that the
// caller cannot see.
func (j *judgement) reason(code Code, c Class, o Object) Reason {
	switch {
	case o.Name != "" && !j.policy.sees(j.caller, o):
		return hiding(code, o)
	case code == CodeRuleDenies:
		return reasonDenied(c, o)
	default:
		return reasonNoRule(c, o)
	}
}

// class judges what a statement does to no object in particular.
func (j *judgement) class(c Class) {
	harmless := c == Read || c == Session
	granted, denied := false, false
	var askers []*rule // let it through if nothing else does
	for _, r := range j.rules {
		if !r.classes[c] || !r.everything && !harmless {
			continue
		}
		switch {
		case r.verdict == Allow:
			granted = true
			j.allowed = note(j.allowed, r)
		case r.verdict == Ask && r.everything:
			granted = true
			j.ask(r)
		case r.verdict == Ask:
			askers = append(askers, r)
		case r.everything:
			denied = true
			j.denied = note(j.denied, r)
		}
	}
	if !granted {
		for _, r := range askers {
			granted = true
			j.ask(r)
		}
	}
	switch {
	case denied:
		j.deny(reasonDeniedClass(c))
	case !granted:
		j.deny(reasonNoRuleForClass(c))
	}
}

func (j *judgement) ask(r *rule) {
	j.verdict = min(j.verdict, Ask)
	j.asked = note(j.asked, r)
}

// call judges the call of a function. Only effects need a rule; any function
// can be denied.
func (j *judgement) call(name string, effect bool) {
	folded := fold(strings.ReplaceAll(name, `"`, "")) // as a rule that denies has it
	own := effect && ownFunction(name)
	granted, denied := false, false
	for _, r := range j.rules {
		if !slices.ContainsFunc(r.functions, func(p functionPattern) bool { return p.covers(folded) }) {
			continue
		}
		grants := !own || slices.ContainsFunc(r.functions, func(p functionPattern) bool { return p.vouches(name) })
		switch r.verdict {
		case Allow:
			granted = granted || grants
			if effect && grants {
				j.allowed = note(j.allowed, r)
			}
		case Ask:
			granted = granted || grants
			j.ask(r)
		default:
			denied = true
			j.denied = note(j.denied, r)
		}
	}
	switch {
	case denied:
		j.deny(reasonFunctionDenied(name))
	case own && !granted:
		j.deny(reasonFunctionUnknown(name))
	case effect && !granted:
		j.deny(reasonFunction(name))
	}
}

func (j *judgement) deny(r Reason) {
	j.verdict = Deny
	if !slices.Contains(j.reasons, r) {
		j.reasons = append(j.reasons, r)
	}
}

// note adds a rule to a list without repeats.
func note(list []*rule, r *rule) []*rule {
	if slices.Contains(list, r) {
		return list
	}
	return append(list, r)
}

// conclude turns what was collected into a decision.
func (j *judgement) conclude(d *Decision) {
	var approval *Approval
	if j.verdict == Ask {
		if approval = together(j.asked); approval == nil {
			j.deny(reasonConflict())
			j.denied = j.asked
		}
	}
	passing := j.allowed
	switch d.Verdict = j.verdict; j.verdict {
	case Allow:
		d.Reasons = []Reason{reasonAllowed()}
		d.Rules = ruleNames(j.allowed)
	case Ask:
		d.Reasons = []Reason{reasonAsk(approval)}
		d.Rules = ruleNames(j.asked)
		d.Approval = approval
		passing = append(passing, j.asked...)
	default:
		d.Reasons = j.reasons
		d.Rules = ruleNames(j.denied)
		return
	}
	for _, r := range passing {
		d.Limits = d.Limits.within(r.limits)
		d.KeepRows = d.KeepRows || r.keepRows
	}
}

// within returns the smaller of two limits, where zero in o means no limit of
// its own.
func (l Limits) within(o Limits) Limits {
	if o.Rows > 0 {
		l.Rows = min(l.Rows, o.Rows)
	}
	if o.Bytes > 0 {
		l.Bytes = min(l.Bytes, o.Bytes)
	}
	if o.Duration > 0 {
		l.Duration = min(l.Duration, o.Duration)
	}
	return l
}

// ruleNames returns the rules' names, sorted so that the order of the file
// does not show.
func ruleNames(rules []*rule) []string {
	if len(rules) == 0 {
		return nil
	}
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.name
	}
	slices.Sort(names)
	return names
}

// reads reports whether an access of this class looks at rows, so that masks
// and filters have to stand in its way.
func reads(c Class) bool {
	switch c {
	case Write, Create, Destroy, Admin, Session:
		return false
	default:
		return true
	}
}

// unknownType is the rule that a mask names for a column whose type is not
// known: it is hidden from everybody, since nobody has said what it holds.
const unknownType = "column of unknown type"

// columnMasks returns the masks on the columns that the accesses look at, in
// order of appearance, one for each column.
func (p *Policy) columnMasks(c *Caller, accesses []Access) []ColumnMask {
	rules := make([]*maskRule, 0, len(p.masks))
	for i := range p.masks {
		if !p.masks[i].unless.matches(c) {
			rules = append(rules, &p.masks[i])
		}
	}
	var masks []ColumnMask
	for i := range accesses {
		a := &accesses[i]
		if !reads(a.Class) {
			continue
		}
		folded := foldObject(a.Object)
		for k := range a.Columns {
			m, ok := columnMask(rules, a.Object, folded, &a.Columns[k])
			if !ok {
				continue
			}
			same := func(o ColumnMask) bool { return o.Object == m.Object && o.Column == m.Column }
			if at := slices.IndexFunc(masks, same); at >= 0 {
				// The same column of another access, perhaps with other labels.
				if masks[at].Mask != m.Mask {
					masks[at].Mask = mask.Strictest(masks[at].Mask, m.Mask)
				}
				continue
			}
			masks = append(masks, m)
		}
	}
	return masks
}

// columnMask returns the mask on one column: the strictest of all that apply.
func columnMask(rules []*maskRule, o Object, folded foldedObject, col *Column) (ColumnMask, bool) {
	m := ColumnMask{Object: o, Column: col.Name}
	found := false
	if col.Type == "" {
		m.Rule, found = unknownType, true // and m.Mask hides everything
	}
	name := fold(col.Name)
	for _, r := range rules {
		if !r.applies(folded, name, col.Labels) && !slices.ContainsFunc(col.From, r.follows) {
			continue
		}
		if !found {
			m.Mask, m.Rule, found = r.mask, r.name, true
			continue
		}
		m.Mask = mask.Strictest(m.Mask, r.mask)
		m.Rule += ", " + r.name
	}
	return m, found
}

// follows reports whether the rule masks a copy of a column: it masks that
// column, and the copy was made of more than it lets out.
func (r *maskRule) follows(o Origin) bool {
	return r.applies(foldObject(o.Object), fold(o.Column), o.Labels) && !(o.Masked && mask.Strictest(o.Mask, r.mask) == mask.Strictest(o.Mask, o.Mask))
}

func (r *maskRule) applies(o foldedObject, column string, labels []string) bool {
	for _, p := range r.columns {
		if p.covers(o, column) {
			return true
		}
	}
	for _, l := range labels {
		if slices.Contains(r.labels, lowerASCII(l)) {
			return true
		}
	}
	return false
}

// rowFilters returns the filters on the relations that the accesses look at.
// All filters on a relation have to hold.
func (p *Policy) rowFilters(c *Caller, accesses []Access) []RowFilter {
	var filters []RowFilter
	for i := range p.filters {
		r := &p.filters[i]
		if !r.selects(c) {
			continue
		}
		for k := range accesses {
			a := &accesses[k]
			if !reads(a.Class) {
				continue
			}
			if !r.covers(foldObject(a.Object)) {
				continue
			}
			f := RowFilter{Object: a.Object, Where: r.where, Rule: r.name}
			if !slices.Contains(filters, f) {
				filters = append(filters, f)
			}
		}
	}
	return filters
}
