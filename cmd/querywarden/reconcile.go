package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/reconcile"
)

// accountLate is how late the account is with its statements.
// docs.snowflake.com/en/sql-reference/account-usage/query_history
const accountLate = 45 * time.Minute

// runReconcile has the running gateway compare, since it alone writes the log
// and so can ask the account; without one, this process opens the gateway for
// as long as that takes.
func runReconcile(ctx context.Context, o *auditOptions, std streams) error {
	if o.since.IsZero() {
		return usagef("audit reconcile needs --since: 24h, or the day of the last one")
	}
	c, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	since := o.filter().Since
	var report reconcile.Report
	client := adminClient{socket: c.socket(), timeout: 10 * time.Minute}
	if err := client.call(ctx, http.MethodPost, "/reconcile", since, &report); errors.Is(err, errNoGateway) {
		if report, err = reconcileAlone(ctx, c, since, std); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if o.json {
		err = printJSON(std.out, report)
	} else {
		err = printReconciled(std.out, report)
	}
	if err == nil && len(report.Findings) > 0 {
		err = errSilent
	}
	return err
}

func reconcileAlone(ctx context.Context, c *config, since time.Time, std streams) (r reconcile.Report, err error) {
	g, err := openGateway(ctx, c, newLogger(std))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.close(context.WithoutCancel(ctx))) }()
	return g.reconcile(ctx, since)
}

// reconcile reads both sides and compares them.
func (g *gateway) reconcile(ctx context.Context, since time.Time) (reconcile.Report, error) {
	in := reconcile.Input{Origin: g.log.Origin(), Roles: map[string][]string{}, Since: since, Now: time.Now(), Late: accountLate}
	if g.emulator != nil {
		in.Late = 0
	}
	var err error
	if in.Addresses, err = g.config.Warehouse.addresses(); err != nil {
		return reconcile.Report{}, err
	}
	var users []string
	for _, l := range g.logins {
		user := strings.ToUpper(l.User)
		if !slices.Contains(users, user) {
			users = append(users, user)
		}
		if l.Role != "" {
			in.Roles[user] = append(in.Roles[user], strings.ToUpper(l.Role))
		}
	}
	in.Account, err = g.warehouse.History(ctx, g.config.Warehouse.Reconcile.Login, since, users, func(sql string) (audit.Receipt, error) { return g.log.RecordOwn(ctx, sql) })
	if err != nil {
		return reconcile.Report{}, hint(err, "the role needs DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER and SNOWFLAKE.SECURITY_VIEWER; `querywarden setup snowflake` prints how")
	}
	reader, err := audit.OpenReader(g.config.auditFile())
	if err != nil {
		return reconcile.Report{}, err
	}
	defer reader.Close()
	// What was recorded just before, may have run just after.
	for e, err := range reader.Entries(ctx, audit.Filter{Since: since.Add(-time.Hour)}) {
		if err != nil {
			return reconcile.Report{}, err
		}
		in.Entries = append(in.Entries, e)
	}
	return reconcile.Compare(in), nil
}

// keepReconciled compares now and then while the gateway serves, and records an
// alert when something new does not fit.
func (g *gateway) keepReconciled(ctx context.Context) {
	every := time.Duration(g.config.Warehouse.Reconcile.Every)
	if every <= 0 {
		return
	}
	told := map[string]bool{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := g.alert(ctx, told, every); err != nil && ctx.Err() == nil {
			g.logger.Error("comparing the account's history with the log", "err", err)
		}
	}
}

// alert compares the last while, and records what was not told yet.
func (g *gateway) alert(ctx context.Context, told map[string]bool, every time.Duration) error {
	report, err := g.reconcile(ctx, time.Now().Add(-every-24*time.Hour))
	if err != nil {
		return err
	}
	var fresh []reconcile.Finding
	var kinds []string
	for _, f := range report.Findings {
		key := fmt.Sprintf("%s %s %s %d", f.Kind, f.QueryID, f.User, f.Time.UnixNano())
		if told[key] {
			continue
		}
		told[key] = true
		fresh = append(fresh, f)
		if !slices.Contains(kinds, string(f.Kind)) {
			kinds = append(kinds, string(f.Kind))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	text, err := json.Marshal(fresh)
	if err != nil {
		return fmt.Errorf("writing the findings: %w", err)
	}
	g.logger.Error("the account's history does not fit the log", "findings", len(fresh), "kinds", kinds)
	_, err = g.log.Append(ctx, audit.Event{Kind: audit.KindAlert, Count: int64(len(fresh)), Codes: kinds, Problem: string(text)})
	return err
}

// printReconciled is the report as a person reads it.
func printReconciled(w io.Writer, r reconcile.Report) error {
	stamp := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
	fmt.Fprintf(w, "from         %s\n", stamp(r.Since))
	fmt.Fprintf(w, "complete to  %s (later, the account may not have told everything)\n", stamp(r.Until))
	fmt.Fprintf(w, "account      %s, %s\n", plural(int64(r.Statements), "statement"), plural(int64(r.Logins), "login"))
	fmt.Fprintf(w, "log          %s that let a statement run\n", plural(int64(r.Records), "record"))
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note         %s\n", n)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "\n%s  %s\n", stamp(f.Time), f.Kind)
		fmt.Fprintf(w, "  %s\n", f.Detail)
		if f.Text != "" {
			fmt.Fprintf(w, "  %s\n", excerpt(f.Text, 76))
		}
		var where []string
		if f.QueryID != "" {
			where = append(where, "query "+f.QueryID)
		}
		if f.User != "" {
			where = append(where, "user "+f.User)
		}
		if f.Entry != nil {
			where = append(where, fmt.Sprintf("entry %d", *f.Entry))
		}
		if len(where) > 0 {
			fmt.Fprintf(w, "  %s\n", strings.Join(where, ", "))
		}
	}
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintf(w, "\nOK: every statement has its record, and every record its statement.\n")
		return err
	}
	_, err := fmt.Fprintf(w, "\nFOUND: %s.\n", plural(int64(len(r.Findings)), "finding"))
	return err
}

// excerpt is the beginning of a text, without what a terminal would act on.
func excerpt(text string, width int) string {
	text = oneLine(text)
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}
