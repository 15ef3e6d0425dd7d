package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"querywarden/policy/mask"
)

// The world of the properties is small, so that rules meet.
var (
	worldGroups  = []string{"a", "b", "c"}
	worldObjects = []string{"d.s.t", "d.s.u", "d.z.t", `d.s."t"`, "d.s", "d", "d.information_schema.t"}
	worldOn      = []string{"d.s.t", "d.s.*", "*.*.*", "d.*.t", `d.s."t"`, "d.s", "d", "d.*"}
	worldClasses = []Class{Read, Write, Modify, Destroy, Session}
)

func anyWho(t *rapid.T) who {
	switch rapid.IntRange(0, 4).Draw(t, "who") {
	case 0:
		return who{everyone: true}
	case 1:
		return who{kinds: []CallerKind{rapid.SampledFrom([]CallerKind{Person, Agent}).Draw(t, "kind")}}
	case 2:
		return who{
			groups: []string{rapid.SampledFrom(worldGroups).Draw(t, "group")},
			kinds:  []CallerKind{rapid.SampledFrom([]CallerKind{Person, Agent}).Draw(t, "kind")},
		}
	default:
		return who{groups: rapid.SliceOfNDistinct(rapid.SampledFrom(worldGroups), 1, 2, rapid.ID).Draw(t, "groups")}
	}
}

func anyRule(t *rapid.T, name string) rule {
	r := rule{
		name:    name,
		who:     anyWho(t),
		verdict: rapid.SampledFrom([]Verdict{Deny, Ask, Allow, Allow}).Draw(t, "verdict"),
	}
	for _, c := range rapid.SliceOfN(rapid.SampledFrom(worldClasses), 1, 3).Draw(t, "classes") {
		r.classes[c] = true
	}
	if r.everything = rapid.IntRange(0, 9).Draw(t, "everything") == 0; !r.everything {
		for _, s := range rapid.SliceOfN(rapid.SampledFrom(worldOn), 1, 2).Draw(t, "on") {
			p, err := parseObjectPattern(s)
			if err != nil {
				t.Fatal(err)
			}
			r.on = append(r.on, p)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "functions") == 0 {
		r.functions = []functionPattern{{"F"}}
	}
	if r.verdict != Deny {
		r.limits.Rows = rapid.SampledFrom([]int64{0, 10, 20}).Draw(t, "rows")
	}
	if r.verdict == Ask {
		r.approval = &Approval{
			Groups:       slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 1, 3, rapid.ID).Draw(t, "approvers"))),
			Quorum:       rapid.IntRange(1, 3).Draw(t, "quorum"),
			DecideWithin: time.Minute, RunWithin: time.Minute,
		}
	}
	return r
}

func anyPolicy(t *rapid.T) *Policy {
	p := &Policy{version: "v", limits: Limits{Rows: 100, Bytes: 100, Duration: time.Second}}
	for i := range rapid.IntRange(0, 5).Draw(t, "rules") {
		p.rules = append(p.rules, anyRule(t, fmt.Sprint("r", i)))
	}
	if rapid.IntRange(0, 3).Draw(t, "base") > 0 {
		// Without a rule that allows much, hardly anything is allowed.
		base := rule{name: "base", who: who{everyone: true}, verdict: Allow, everything: true}
		for _, c := range worldClasses {
			base.classes[c] = true
		}
		p.rules = append(p.rules, base)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "masks") {
		pattern, err := parseColumnPattern(rapid.SampledFrom([]string{"*.*.*.k", "d.s.t.*", `d.s."t".k`}).Draw(t, "columns"))
		if err != nil {
			t.Fatal(err)
		}
		m := maskRule{name: fmt.Sprint("m", i), columns: []columnPattern{pattern}, mask: mask.Mask{Kind: rapid.SampledFrom([]mask.Kind{mask.Redact, mask.Hash, mask.Email}).Draw(t, "mask")}}
		if rapid.Bool().Draw(t, "lifted") {
			m.unless = anyWho(t)
		}
		p.masks = append(p.masks, m)
	}
	return p
}

func anyCaller(t *rapid.T) Caller {
	return Caller{
		Groups: rapid.SliceOfNDistinct(rapid.SampledFrom(worldGroups), 0, 2, rapid.ID).Draw(t, "caller's groups"),
		Kind:   rapid.SampledFrom([]CallerKind{UnknownCaller, Person, Agent}).Draw(t, "caller's kind"),
	}
}

func anyStatement(t *rapid.T) Statement {
	s := Statement{Class: rapid.SampledFrom(worldClasses).Draw(t, "class")}
	for range rapid.IntRange(0, 3).Draw(t, "accesses") {
		a, rest, err := parseAccess(rapid.SampledFrom(worldClasses).Draw(t, "access"), rapid.SampledFrom(worldObjects).Draw(t, "object")+"(k, l)")
		if err != nil || rest != "" {
			t.Fatal(rest, err)
		}
		s.Accesses = append(s.Accesses, a)
	}
	if rapid.IntRange(0, 3).Draw(t, "effects") == 0 {
		s.Functions, s.Effects = []string{"F"}, []string{"F"}
	}
	return s
}

// covered is a mask on a column, without the rule that put it there.
type covered struct {
	object Object
	column string
}

func masksIn(d Decision) map[covered]mask.Mask {
	m := map[covered]mask.Mask{}
	for _, c := range d.Masks {
		m[covered{c.Object, c.Column}] = c.Mask
	}
	return m
}

// wider says how b lets through more than a does; empty if it does not.
func wider(a, b Decision) string {
	if b.Verdict > a.Verdict {
		return fmt.Sprintf("%s became %s", a.Verdict, b.Verdict)
	}
	if b.Verdict == Deny {
		return ""
	}
	if b.Limits.Rows > a.Limits.Rows {
		return fmt.Sprintf("%d rows became %d", a.Limits.Rows, b.Limits.Rows)
	}
	after := masksIn(b)
	for column, was := range masksIn(a) {
		is, ok := after[column]
		if !ok {
			return fmt.Sprintf("%v is no longer masked", column)
		}
		if mask.Strictest(was, is) != is {
			return fmt.Sprintf("the mask of %v was %s and is %s", column, was, is)
		}
	}
	if a.Verdict == Ask && b.Verdict == Ask {
		for _, g := range b.Approval.Groups {
			if !slices.Contains(a.Approval.Groups, g) {
				return fmt.Sprintf("%s may approve", g)
			}
		}
		if b.Approval.Quorum < a.Approval.Quorum {
			return "the quorum fell"
		}
	}
	return ""
}

func with(p *Policy, change func(*Policy)) *Policy {
	q := *p
	q.rules, q.masks = slices.Clone(p.rules), slices.Clone(p.masks)
	change(&q)
	return &q
}

func TestProperties(t *testing.T) {
	counts := map[Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := anyPolicy(t)
		for range 20 {
			properties(t, p, counts)
		}
	})
	for _, v := range []Verdict{Deny, Ask, Allow} {
		if counts[v] < 50 {
			t.Errorf("%d decisions to %s: the properties say little of it", counts[v], v)
		}
	}
}

// properties checks what holds of every policy for one caller and statement.
func properties(t *rapid.T, p *Policy, counts map[Verdict]int) {
	c, s := anyCaller(t), anyStatement(t)
	d := p.Decide(c, s, time.Time{})
	counts[d.Verdict]++

	if again := p.Decide(c, s, time.Unix(1e9, 0)); !reflect.DeepEqual(d, again) {
		t.Fatalf("decided %+v, then %+v", d, again)
	}
	if d.Verdict == Deny && len(d.Masks)+len(d.Filters) > 0 || len(d.Reasons) == 0 {
		t.Fatalf("%+v", d)
	}

	// The order of the file does not matter.
	seed := rapid.Uint64().Draw(t, "seed")
	shuffled := with(p, func(q *Policy) {
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(q.rules), func(i, j int) { q.rules[i], q.rules[j] = q.rules[j], q.rules[i] })
		r.Shuffle(len(q.masks), func(i, j int) { q.masks[i], q.masks[j] = q.masks[j], q.masks[i] })
	}).Decide(c, s, time.Time{})
	if !reflect.DeepEqual(masksIn(d), masksIn(shuffled)) {
		t.Fatalf("masks %v, shuffled %v", d.Masks, shuffled.Masks)
	}
	d2 := d
	d2.Masks, shuffled.Masks = nil, nil
	if !reflect.DeepEqual(d2, shuffled) {
		t.Fatalf("decided %+v, shuffled %+v", d2, shuffled)
	}

	// The order of the statement does not matter to the verdict.
	back := s
	back.Accesses = slices.Clone(s.Accesses)
	slices.Reverse(back.Accesses)
	if r := p.Decide(c, back, time.Time{}); r.Verdict != d.Verdict || !slices.Equal(r.Rules, d.Rules) || r.Limits != d.Limits || !reflect.DeepEqual(masksIn(r), masksIn(d)) {
		t.Fatalf("decided %+v, backwards %+v", d, r)
	}

	// More statement is never decided more freely.
	if len(s.Accesses) > 0 {
		less := s
		less.Accesses = s.Accesses[1:]
		if less.Class = s.Accesses[0].Class; slices.ContainsFunc(less.Accesses, func(a Access) bool { return a.Class == less.Class }) {
			whole := s
			whole.Class = less.Class
			if how := p.Decide(c, whole, time.Time{}).Verdict; how > p.Decide(c, less, time.Time{}).Verdict {
				t.Fatalf("with one more access it is decided %s", how)
			}
		}
	}

	// More denying, more masking, fewer who may see, and less allowing
	// never widen anything.
	deny := anyRule(t, "new")
	deny.verdict, deny.approval, deny.limits = Deny, nil, Limits{}
	if how := wider(d, with(p, func(q *Policy) { q.rules = append(q.rules, deny) }).Decide(c, s, time.Time{})); how != "" {
		t.Fatalf("with one more deny: %s", how)
	}
	m := maskRule{name: "new", mask: mask.Mask{Kind: mask.Hash}, unless: anyWho(t)}
	m.columns = []columnPattern{{{[]string{"", ""}, []string{"", ""}}, {[]string{"", ""}, []string{"", ""}}, {[]string{"", ""}, []string{"", ""}}, {[]string{"K"}, []string{"K"}}}}
	if how := wider(d, with(p, func(q *Policy) { q.masks = append(q.masks, m) }).Decide(c, s, time.Time{})); how != "" {
		t.Fatalf("with one more mask: %s", how)
	}
	if len(p.masks) > 0 {
		i := rapid.IntRange(0, len(p.masks)-1).Draw(t, "mask to tighten")
		if how := wider(d, with(p, func(q *Policy) { q.masks[i].unless = who{} }).Decide(c, s, time.Time{})); how != "" {
			t.Fatalf("with nobody excepted from %s: %s", p.masks[i].name, how)
		}
	}
	if len(p.rules) > 0 {
		i := rapid.IntRange(0, len(p.rules)-1).Draw(t, "rule to remove")
		if r := p.rules[i]; r.verdict == Allow {
			less := with(p, func(q *Policy) { q.rules = slices.Delete(q.rules, i, i+1) }).Decide(c, s, time.Time{})
			// Its limits go with it where another rule still allows.
			less.Limits = d.Limits
			if how := wider(d, less); how != "" && !(d.Verdict == Allow && less.Verdict == Ask) {
				t.Fatalf("without %s: %s", r.name, how)
			}
			asks := with(p, func(q *Policy) {
				q.rules[i].verdict = Ask
				q.rules[i].approval = &Approval{Groups: []string{"x"}, Quorum: 1, DecideWithin: time.Minute, RunWithin: time.Minute}
			}).Decide(c, s, time.Time{})
			if asks.Verdict > d.Verdict {
				t.Fatalf("with %s asking: %s became %s", r.name, d.Verdict, asks.Verdict)
			}
		}
	}

	// A caller in no group at all has no more than one in some, but for
	// what rules deny and ask.
	restricts := slices.ContainsFunc(p.rules, func(r rule) bool { return r.verdict != Allow })
	if nobody := (Caller{Kind: c.Kind}); !restricts && p.Decide(nobody, s, time.Time{}).Verdict > d.Verdict {
		t.Fatalf("without groups it is decided %s", p.Decide(nobody, s, time.Time{}).Verdict)
	}
}

// TestStrictSide checks that what restricts an object restricts it under every
// spelling, and that what a pattern grants it also restricts.
func TestStrictSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := parseObjectPattern(rapid.SampledFrom(worldOn).Draw(t, "pattern"))
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := parseAccess(Read, rapid.SampledFrom(worldObjects).Draw(t, "object"))
		if err != nil {
			t.Fatal(err)
		}
		o := a.Object
		if p.matches(o) && !p.covers(foldObject(o)) {
			t.Fatalf("%+v grants %s and does not restrict it", p, o)
		}
		lower := o
		lower.Database, lower.Schema, lower.Name = strings.ToLower(o.Database), strings.ToLower(o.Schema), strings.ToLower(o.Name)
		if p.covers(foldObject(o)) != p.covers(foldObject(lower)) {
			t.Fatalf("%+v restricts one of %s and %s", p, o, lower)
		}
	})
}

// TestGlob holds glob against the obvious recursion.
func TestGlob(t *testing.T) {
	var slow func(pattern, name string) bool
	slow = func(pattern, name string) bool {
		switch {
		case pattern == "":
			return name == ""
		case pattern[0] == '*':
			return slow(pattern[1:], name) || name != "" && slow(pattern, name[1:])
		default:
			return name != "" && pattern[0] == name[0] && slow(pattern[1:], name[1:])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{1,6}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "name")
		if got, want := glob(strings.Split(pattern, "*"), name), slow(pattern, name); got != want {
			t.Fatalf("glob(%q, %q) = %t", pattern, name, got)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nmasks:\n")
	for i := range 20 {
		fmt.Fprintf(&text, "  - {columns: ['*.*.*.secret_%d'], mask: redact, unless: {groups: [g%d]}}\n", i, i)
	}
	text.WriteString("filters:\n  - {on: [shop.public.orders], where: \"region = 'EU'\", for: {groups: [g1]}}\nrules:\n")
	for i := range 50 {
		schema, verdict := "shop", "allow"
		if i%10 == 9 {
			schema, verdict = "hr", "deny"
		}
		fmt.Fprintf(&text, "  - {name: r%d, who: {groups: [g%d, h%d]}, may: [read, write], on: ['%s.public.*', '%s.s%d.*'], verdict: %s}\n", i, i%7, i%11, schema, schema, i, verdict)
	}
	p := mustParse(b, text.String())
	c := agent("g1", "analysts", "everybody")
	s := do(b, "read shop.public.orders(id, amount, secret_1), shop.public.customers(id, name, email, secret_2, secret_3)")
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(c, s, time.Time{}); d.Verdict != Allow || len(d.Masks) != 2 {
			b.Fatal(d)
		}
	}
}
