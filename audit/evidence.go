package audit

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	_ "embed"
)

// EvidenceOptions choose what an auditor's folder covers.
type EvidenceOptions struct {
	From, To time.Time // the period; the zero values mean from the start, to the end
	Sample   int       // how many statements to draw; all of them if there are fewer
	Seed     int64     // which: the same seed draws the same from the same period
}

// Evidence is what an auditor's folder tells.
type Evidence struct {
	Origin     string
	From, To   time.Time
	Made       time.Time // when the newest entry was written: nothing later is covered
	First      int64     // the period's entries; Last is behind the last one
	Last       int64
	Size       int64  // entries that the checkpoint signs
	Root       string // of the tree
	Population int    // statements that were judged in the period
	Seed       int64
	Sample     []EvidenceItem
	Policies   []EvidencePolicy
	Gaps       []EvidenceGap
	Erased     int64
	Verdicts   map[string]int
}

// An EvidenceItem is one drawn statement, from request to result.
type EvidenceItem struct {
	Decision *Entry
	Follows  []*Entry // what became of it: requests, votes, execution, outcome
}

// An EvidencePolicy is a version of the policy that was in force.
type EvidencePolicy struct {
	Version string
	Since   time.Time
	Index   int64
	Text    string
}

// An EvidenceGap is a time of which the log cannot speak.
type EvidenceGap struct {
	From, To time.Time
	Why      string
}

//go:embed evidence.html
var evidencePage string

var evidenceTemplate = template.Must(template.New("evidence").Funcs(template.FuncMap{
	"time": func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	},
	"json": func(v any) (string, error) {
		b, err := json.MarshalIndent(v, "", "  ")
		return string(b), err
	},
	"text": func(e *Entry, name string) string {
		if text, ok := e.Texts[name]; ok {
			return text
		}
		if e.Event.Blobs[name] != "" {
			return "(erased; its digest stands in the log)"
		}
		return ""
	},
}).Parse(evidencePage))

// ExportEvidence writes a folder for an auditor, which must not exist: the log
// as tiles, whose checkpoint proves that nothing is missing; the statements of
// the period as a table; a sample of them, each with its entries and their
// proofs; the policies that were in force; the gaps; and index.html, which
// tells it all.
func (r *Reader) ExportEvidence(ctx context.Context, dir string, o EvidenceOptions) (*Evidence, error) {
	e, err := r.exportEvidence(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("exporting evidence: %w", err)
	}
	return e, nil
}

func (r *Reader) exportEvidence(ctx context.Context, dir string, o EvidenceOptions) (*Evidence, error) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already", dir)
	}
	if o.Sample < 0 {
		return nil, errors.New("a sample cannot be negative")
	}
	// The tiles first: they fix what the folder speaks of.
	if err := r.ExportTiles(ctx, filepath.Join(dir, "log"), nil); err != nil {
		return nil, err
	}
	keys, err := r.Keys(ctx)
	if err != nil {
		return nil, err
	}
	checkpoint, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		return nil, err
	}
	tree, err := parseCheckpoint(checkpoint, keys)
	if err != nil {
		return nil, err
	}
	ev := &Evidence{
		Origin: r.Origin(), From: o.From, To: o.To, Size: tree.N, Root: tree.Hash.String(), Seed: o.Seed, First: -1, Verdicts: map[string]int{},
	}
	// Twice through the log, so that a long period takes no more memory than a
	// short one: to count, and to write down what was drawn.
	c := &collector{evidence: ev, options: o}
	if err := r.each(ctx, tree.N, c.take); err != nil {
		return nil, err
	}
	ev.Made = c.last
	if ev.First < 0 {
		ev.First = tree.N
		ev.Last = tree.N
	}
	p, err := newPopulation(filepath.Join(dir, "population.csv"), draw(ev.Population, o.Sample, o.Seed))
	if err != nil {
		return nil, err
	}
	err = r.each(ctx, tree.N, func(e *Entry) error {
		if !c.inPopulation(e) {
			return nil
		}
		return p.take(e)
	})
	if err := errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	for _, e := range p.sample {
		item, err := r.follow(ctx, e, tree.N)
		if err != nil {
			return nil, err
		}
		ev.Sample = append(ev.Sample, item)
	}
	return ev, r.writeEvidence(ctx, dir, ev, checkpoint, keys)
}

// each visits the first size entries.
func (r *Reader) each(ctx context.Context, size int64, visit func(*Entry) error) error {
	for e, err := range r.Entries(ctx, Filter{}) {
		if err != nil {
			return err
		}
		if e.Index >= size {
			return nil
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// draw chooses n of many by a seed, in order: the first n of a shuffle that
// depends on the seed and on how many there are. Only the places that the
// shuffle has touched are kept.
func draw(many, n int, seed int64) []int {
	random := rand.New(rand.NewPCG(uint64(seed), uint64(many)))
	moved := map[int]int{}
	at := func(i int) int {
		if to, ok := moved[i]; ok {
			return to
		}
		return i
	}
	var drawn []int
	for i := range min(n, many) {
		j := i + random.IntN(many-i)
		drawn = append(drawn, at(j))
		moved[j] = at(i)
	}
	slices.Sort(drawn)
	return drawn
}

// collector reads a log once, for what the folder tells of the period.
type collector struct {
	evidence *Evidence
	options  EvidenceOptions
	last     time.Time
	policy   EvidencePolicy
}

// outside reports whether an entry was made before or after the period.
func (c *collector) outside(e *Entry) (before, after bool) {
	at := e.Event.Time
	return !c.options.From.IsZero() && at.Before(c.options.From), !c.options.To.IsZero() && !at.Before(c.options.To)
}

// inPopulation reports whether an entry is a statement that was judged in the
// period.
func (c *collector) inPopulation(e *Entry) bool {
	before, after := c.outside(e)
	return !before && !after && e.Event.Kind == KindDecision && !e.Event.DryRun
}

func (c *collector) take(e *Entry) error {
	at := e.Event.Time
	before, after := c.outside(e)
	if e.Event.Kind == KindPolicyLoaded && !after {
		loaded := EvidencePolicy{Version: e.Event.Policy, Since: at, Index: e.Index, Text: e.Texts["policy"]}
		if before {
			c.policy = loaded // in force when the period began, unless another comes
		} else {
			c.evidence.Policies = append(c.evidence.Policies, loaded)
		}
	}
	if !before && c.policy.Version != "" {
		c.evidence.Policies = append([]EvidencePolicy{c.policy}, c.evidence.Policies...)
		c.policy = EvidencePolicy{}
	}
	if e.Event.Kind == KindGap && !before && !after {
		c.evidence.Gaps = append(c.evidence.Gaps, EvidenceGap{c.last, at, "the gateway had not stopped as it should"})
	}
	c.last = at
	if before || after {
		return nil
	}
	if c.evidence.First < 0 {
		c.evidence.First = e.Index
	}
	c.evidence.Last = e.Index + 1
	if e.Event.Kind == KindErased {
		c.evidence.Erased += e.Event.Count
	}
	if c.inPopulation(e) {
		c.evidence.Population++
		c.evidence.Verdicts[e.Event.Verdict]++
	}
	return nil
}

// population lists every statement of the period, and which were drawn.
type population struct {
	file   *os.File
	table  *csv.Writer
	drawn  []int // by their place in the population
	seen   int
	sample []*Entry
}

func newPopulation(file string, drawn []int) (*population, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	p := &population{file: f, table: csv.NewWriter(f), drawn: drawn}
	if err := p.table.Write([]string{"entry", "time", "caller", "command", "verdict", "leaf", "drawn"}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

func (p *population) take(e *Entry) error {
	who := ""
	if e.Event.Caller != nil {
		who = e.Event.Caller.Issuer + " " + e.Event.Caller.Subject
	}
	_, isDrawn := slices.BinarySearch(p.drawn, p.seen)
	p.seen++
	if isDrawn {
		p.sample = append(p.sample, e)
	}
	return p.table.Write([]string{strconv.FormatInt(e.Index, 10), e.Event.Time.Format(time.RFC3339Nano), cell(who), cell(e.Event.Command), e.Event.Verdict, e.Leaf, strconv.FormatBool(isDrawn)})
}

func (p *population) close() error {
	p.table.Flush()
	return errors.Join(p.table.Error(), p.file.Close())
}

// follow finds what became of a statement.
func (r *Reader) follow(ctx context.Context, decision *Entry, size int64) (EvidenceItem, error) {
	item := EvidenceItem{Decision: decision}
	of := map[int64]bool{decision.Index: true}
	approvals := map[string]bool{}
	wanted := func(e *Entry) bool {
		v := e.Event
		switch v.Kind {
		case KindApprovalRequested:
			// The request that this very call made stands behind its decision.
			return decision.Event.Tool == "request_approval" && len(approvals) == 0 && v.Caller != nil && decision.Event.Caller != nil && v.Caller.Subject == decision.Event.Caller.Subject
		case KindApprovalVoted, KindApprovalChanged, KindExecution, KindGlassBroken, KindGlassAcknowledged, KindSafetyCopy:
			return approvals[v.Approval]
		case KindOutcome:
			return v.Of != nil && of[*v.Of]
		default:
			return false
		}
	}
	add := func(e *Entry) {
		item.Follows = append(item.Follows, e)
		if e.Event.Approval != "" {
			approvals[e.Event.Approval] = true
		}
		if e.Event.Kind == KindExecution {
			of[e.Index] = true
		}
	}
	scan := func(f Filter) error {
		for e, err := range r.Entries(ctx, f) {
			if err != nil {
				return err
			}
			if e.Index < size && wanted(e) && !slices.ContainsFunc(item.Follows, func(o *Entry) bool { return o.Index == e.Index }) {
				add(e)
			}
		}
		return nil
	}
	if decision.Event.Tool == "request_approval" {
		// It follows at once; other sessions may write between.
		if err := scan(Filter{After: decision.Index + 1, Kind: KindApprovalRequested, Until: decision.Event.Time.Add(time.Minute)}); err != nil {
			return item, err
		}
	}
	for id := range approvals {
		if err := scan(Filter{Approval: id}); err != nil {
			return item, err
		}
	}
	if decision.Event.Session != "" {
		if err := scan(Filter{Session: decision.Event.Session, After: decision.Index + 1}); err != nil {
			return item, err
		}
	}
	slices.SortFunc(item.Follows, func(a, b *Entry) int { return int(a.Index - b.Index) })
	return item, nil
}

// writeEvidence writes the sample, its proofs, the key and the page.
func (r *Reader) writeEvidence(ctx context.Context, dir string, ev *Evidence, checkpoint []byte, keys *Keys) error {
	entries := filepath.Join(dir, "entries")
	if err := os.MkdirAll(entries, 0o755); err != nil {
		return err
	}
	for _, item := range ev.Sample {
		for _, e := range append([]*Entry{item.Decision}, item.Follows...) {
			name := filepath.Join(entries, strconv.FormatInt(e.Index, 10))
			proof, err := r.Prove(ctx, e.Index)
			if err != nil {
				return err
			}
			texts, err := json.MarshalIndent(struct {
				Texts map[string]string `json:"texts"`
				Salts map[string][]byte `json:"salts"`
			}{e.Texts, e.salts}, "", "  ")
			if err != nil {
				return err
			}
			if err := errors.Join(os.WriteFile(name+".json", e.Raw, 0o644), os.WriteFile(name+".tlog-proof", []byte(proof.String()), 0o644), os.WriteFile(name+".texts.json", texts, 0o644)); err != nil {
				return err
			}
		}
	}
	for _, p := range ev.Policies {
		if err := os.WriteFile(filepath.Join(dir, "policy-"+p.Version+".yaml"), []byte(p.Text), 0o644); err != nil {
			return err
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "checkpoint"), checkpoint, 0o644), os.WriteFile(filepath.Join(dir, "audit.vkey"), []byte(keys.newest()+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "audit.keys"), []byte(keys.String()), 0o644)); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return err
	}
	return errors.Join(evidenceTemplate.Execute(page, ev), page.Sync(), page.Close())
}
