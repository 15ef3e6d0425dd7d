package tools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/internal/snowsql/resolve"
	"querywarden/internal/warehouse"
	"querywarden/policy"
)

// Config is what a [Gate] is made of. Everything down to MaskKey is required:
// there is no gate without a log.
type Config struct {
	Log       *audit.Log
	Approvals *approvals.Store
	Warehouse *warehouse.Warehouse
	Policy    *policy.Policy
	MaskKey   []byte // keys the hash mask; 32 bytes

	// Login says as which of the warehouse's logins a caller's statement runs;
	// all run as the first one if nil.
	Login func(policy.Caller, policy.Class) string

	// Database and Schema are where unqualified names are looked for, Role and
	// Compute what statements run as and in; an approval binds them.
	Database, Schema, Role, Compute string

	// Version is the program's, ConfigText its configuration: for the record.
	Version, ConfigText string

	// Present reports whether a call's client has told, before, which turn of a
	// conversation it belongs to. Without it, none has.
	Present func(Call) bool

	// ApprovalWait is how long request_approval holds a call; 45 s if zero.
	ApprovalWait time.Duration
	// AnswerKey seals the answers of approved statements while they wait for
	// their requesters, 32 bytes; without one they end with the process.
	// AnswerLife is how long they wait; an hour if zero.
	AnswerKey  []byte
	AnswerLife time.Duration
	// Retention says how long the log's texts stay; for ever if zero.
	Retention audit.Retention
	// Spool is the folder for what does not fit into memory of a long answer;
	// the one for temporary files if empty.
	Spool string
	// CatalogAge is how old the catalog may grow; 5 minutes if zero.
	CatalogAge time.Duration
	Logger     *slog.Logger
}

// A Gate is the one way from an agent to the warehouse. It is safe for
// concurrent use.
type Gate struct {
	config   Config
	scanners sync.Map // *mask.Scanner by the detectors' names, as policies list them

	catalog    atomic.Pointer[resolve.Catalog]
	refreshing sync.Mutex
	refusals   refusals
	requesters requesters
	executor   *executor
	kept       *keeper

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Open makes a gate and reads the catalog for the first time. The gate is
// recorded as started, with the full text of its policy.
func Open(ctx context.Context, c Config) (*Gate, error) {
	if c.Log == nil || c.Approvals == nil || c.Warehouse == nil || c.Policy == nil || len(c.MaskKey) < 32 {
		return nil, errors.New("opening gate: the log, approvals, warehouse, policy and mask key are all required")
	}
	if c.ApprovalWait <= 0 {
		c.ApprovalWait = 45 * time.Second
	}
	if c.CatalogAge <= 0 {
		c.CatalogAge = 5 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gate{config: c, executor: newExecutor(ctx), requesters: requesters{known: map[[2]string]policy.Caller{}}}
	var err error
	if g.kept, err = newKeeper(c.Log, c.AnswerKey, c.AnswerLife); err != nil {
		return nil, err
	}
	if err := recordStart(ctx, c); err != nil {
		return nil, err
	}
	if err := c.Log.Update(ctx, func(tx *audit.Tx) error {
		for _, schema := range []string{lineageSchema, rowLineageSchema, keepSchema, copySchema} {
			if _, err := tx.Exec(schema); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("opening the gate's notes: %w", err)
	}
	if err := g.rememberOpen(ctx); err != nil {
		return nil, err
	}
	if err := g.Refresh(ctx); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.stopped.Go(func() { g.keepFresh(background) })
	g.stopped.Go(func() { g.retain(background) })
	g.stopped.Go(func() { g.serveApproved(background) })
	g.stopped.Go(func() { g.inquire(background) })
	g.stopped.Go(func() { g.tidy(background) })
	return g, nil
}

// Close stops the gate's background work and records the stop. Calls under way
// are the server's to wait for.
func (g *Gate) Close(ctx context.Context) error {
	g.stop()
	g.stopped.Wait()
	g.executor.close()
	if err := g.kept.drop(ctx, true); err != nil {
		g.config.Logger.Error("ending what was kept for a while", "err", err)
	}
	g.countRefusals(ctx)
	if _, err := g.config.Log.Append(ctx, audit.Event{Kind: audit.KindStop}); err != nil {
		return fmt.Errorf("recording the stop: %w", err)
	}
	return nil
}

// Healthy reports why the gate cannot serve, nil if it can.
func (g *Gate) Healthy() error { return g.config.Log.Err() }

// Refresh reads the catalog anew. Statements judged meanwhile see the old one.
func (g *Gate) Refresh(ctx context.Context) error {
	g.refreshing.Lock()
	defer g.refreshing.Unlock()
	tables, err := g.config.Warehouse.Tables(ctx, func(sql string) (audit.Receipt, error) {
		return g.config.Log.Append(ctx, catalogEvent(sql))
	})
	if err != nil {
		return fmt.Errorf("reading the catalog: %w", err)
	}
	if g.config.Policy.UsesLabels() {
		// A policy that masks by labels is blind without the tags.
		tables, err = g.config.Warehouse.Tags(ctx, tables, func(sql string) (audit.Receipt, error) {
			return g.config.Log.Append(ctx, catalogEvent(sql))
		})
		if err != nil {
			return err
		}
	}
	return g.publish(ctx, tables)
}

// relabel puts new notes on copies into the catalog as it is.
func (g *Gate) relabel(ctx context.Context) error {
	g.refreshing.Lock()
	defer g.refreshing.Unlock()
	return g.publish(ctx, g.catalog.Load().Tables())
}

// publish makes tables the catalog, with the notes on what they were copied
// from.
func (g *Gate) publish(ctx context.Context, tables []policy.Table) error {
	notes, onRows, err := g.notes(ctx)
	if err != nil {
		return err
	}
	g.catalog.Store(resolve.NewCatalog(labelled(withoutCopies(tables), notes, onRows)))
	return nil
}

func (g *Gate) keepFresh(ctx context.Context) {
	tick := time.NewTicker(g.config.CatalogAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.countRefusals(ctx)
			if err := g.Refresh(ctx); err != nil && ctx.Err() == nil {
				g.config.Logger.Error("refreshing the catalog", "err", err)
			}
		}
	}
}

// retainEvery is how often the gate looks for texts that are too old.
const retainEvery = 10 * time.Minute

// retain erases what the log need not keep any longer.
func (g *Gate) retain(ctx context.Context) {
	if g.config.Retention == (audit.Retention{}) {
		return
	}
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if err := g.config.Log.Retain(ctx, g.config.Retention); err != nil && ctx.Err() == nil {
			g.config.Logger.Error("erasing what is too old", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// judge is steps 1 to 3 and 6 of the way of a statement; see [Judge].
func (g *Gate) judge(call Call, sql string, maxRows int64) *Judgement {
	caller := call.Caller
	judge := g.Judge()
	judge.Conversation = call.accompanied || g.config.Present != nil && g.config.Present(call)
	j := judge.Judge(caller, sql, maxRows, time.Now())
	j.groups = caller.Ungrouped
	// A misspelt name gets a hint, but only among what the caller may see.
	for i, r := range j.Decision.Reasons {
		if r.Told().Code == policy.CodeObjectUnknown {
			j.Decision.Reasons[i].Next = g.suggest(caller, g.unseen(caller, j))
		}
	}
	return j
}

// unseen is the name of the first table that there is not for this caller.
func (g *Gate) unseen(caller policy.Caller, j *Judgement) string {
	if j.missing != "" {
		return j.missing
	}
	for _, a := range j.Statement.Accesses {
		if !g.config.Policy.Sees(caller, policy.Table{Object: a.Object}) {
			return a.Object.Name
		}
	}
	return ""
}

// Judge returns the judge of this moment: today's policy and catalog.
func (g *Gate) Judge() Judge {
	return Judge{
		Policy:  g.config.Policy,
		Catalog: g.catalog.Load(),
		Context: resolve.Context{Database: g.config.Database, Schema: g.config.Schema},
		MaskKey: g.config.MaskKey,
	}
}

// unavailable is the answer when the gate cannot record. The operator gets the
// cause, the agent does not.
func (g *Gate) unavailable(err error) Answer {
	g.config.Logger.Error("recording", "err", err)
	return Answer{
		Status:  Failed,
		Code:    CodeUnavailable,
		Message: "The gateway cannot record this call, so nothing was run or returned.",
		Next:    "Tell the gateway's operator; do not retry in a loop.",
	}
}

// denied is the answer to a statement that does not run.
func denied(j *Judgement, ref string) Answer {
	r := j.Reason()
	a := Answer{Status: Denied, Code: r.Code, Message: r.Sentence, Next: r.Next, Audit: ref}
	if j.groups != "" {
		// Whatever the reason: which one it is must not tell more.
		a.Next = strings.TrimSpace(a.Next + " You have no groups here: " + j.groups + ".")
	}
	return a
}
