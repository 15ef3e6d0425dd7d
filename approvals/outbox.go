package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"querywarden/audit"
)

// Messengers are told of changes through an outbox: one row for each change and
// messenger, written in the change's own transaction and deleted once the
// messenger has it. What a messenger is told of one request comes in order; what
// it was told before a crash may come again.

// A NoticeKind is what a messenger is told.
type NoticeKind string

// The kinds of notice.
const (
	Asked          NoticeKind = "asked"          // a new request
	Voted          NoticeKind = "voted"          // somebody has answered
	Changed        NoticeKind = "changed"        // the state is another: see the request
	Reminder       NoticeKind = "reminder"       // still nobody has decided, and half of the time has gone
	Escalated      NoticeKind = "escalated"      // and three quarters
	GlassBroken    NoticeKind = "glass_broken"   // one person has approved it alone, in an emergency
	Acknowledged   NoticeKind = "acknowledged"   // a second person has looked at that
	Unacknowledged NoticeKind = "unacknowledged" // nobody has, and the time for it is over
)

// NoticeKinds are all kinds of notice.
func NoticeKinds() []NoticeKind {
	return []NoticeKind{Asked, Voted, Changed, Reminder, Escalated, GlassBroken, Acknowledged, Unacknowledged}
}

// A Notice is what a messenger is told at a time.
type Notice struct {
	Seq     int64 // different for each notice, rising; the same when it comes again
	Kind    NoticeKind
	Request Request // as the change left it; for reminders as it is
	// Ref is what this messenger returned for this request before, empty at
	// first: where its message is.
	Ref string
}

// A Messenger tells people of requests. Tell returns a reference that comes with
// the next notice of the same request, or empty to keep the one before. It may
// be told the same notice twice. It is tried again after an error, unless that
// is [Permanent], and after the time that a [RetryAfter] names.
type Messenger interface {
	Name() string
	Tell(ctx context.Context, n Notice) (ref string, err error)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent wraps an error that no repetition will mend.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// A RetryAfter is an error of a messenger that knows when to come again.
type RetryAfter struct {
	Err   error
	After time.Duration
}

// Error is that of the wrapped error.
func (r *RetryAfter) Error() string { return r.Err.Error() }

// Unwrap returns the wrapped error.
func (r *RetryAfter) Unwrap() error { return r.Err }

// The bounds of trying again.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	tellWithin = 30 * time.Second
	giveUp     = 24 * time.Hour
)

// tell writes what messengers are to be told of a request: now, as it is now, or
// at a later time, as it will be then.
func (s *Store) tell(tx *audit.Tx, r *Request, kind NoticeKind, later time.Time) error {
	text, due := "", s.now()
	if later.IsZero() {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("writing request: %w", err)
		}
		text = string(b)
	} else {
		due = later
	}
	_, err := tx.Exec(`INSERT INTO approval_outbox (approval, messenger, kind, request, due, tries, retry) SELECT ?, name, ?, ?, ?, 0, 0 FROM approval_messengers`,
		r.ID, string(kind), text, due.UnixMicro())
	return err
}

// Deliver tells these messengers, and from then on no others, of what happens,
// until the context ends. A messenger that is new hears of the requests that
// wait now.
func (s *Store) Deliver(ctx context.Context, logger *slog.Logger, ms ...Messenger) error {
	if err := s.enlist(ctx, ms); err != nil {
		return err
	}
	wakes := make([]chan struct{}, len(ms))
	var running sync.WaitGroup
	for i, m := range ms {
		wakes[i] = make(chan struct{}, 1)
		running.Go(func() { s.deliverTo(ctx, logger, m, wakes[i]) })
	}
	for {
		select {
		case <-ctx.Done():
			running.Wait()
			return nil
		case <-s.outbox:
			for _, w := range wakes {
				word(w)
			}
		}
	}
}

// enlist makes ms the messengers.
func (s *Store) enlist(ctx context.Context, ms []Messenger) error {
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		known, err := names(tx)
		if err != nil {
			return err
		}
		var now []string
		for _, m := range ms {
			now = append(now, m.Name())
		}
		for _, name := range known {
			if slices.Contains(now, name) {
				continue
			}
			for _, table := range []string{`approval_messengers WHERE name`, `approval_outbox WHERE messenger`, `approval_refs WHERE messenger`} {
				if _, err := tx.Exec(`DELETE FROM `+table+` = ?`, name); err != nil {
					return err
				}
			}
		}
		var open []*Request
		if open, err = load(tx, `WHERE state = ? ORDER BY rowid`, string(Pending)); err != nil {
			return err
		}
		for _, name := range now {
			if slices.Contains(known, name) {
				continue
			}
			known = append(known, name)
			if _, err := tx.Exec(`INSERT INTO approval_messengers VALUES (?)`, name); err != nil {
				return err
			}
			for _, r := range open {
				for kind, due := range map[NoticeKind]time.Time{Asked: s.now(), Reminder: r.Asked.Add(remindAfter(r.Approval)), Escalated: r.Asked.Add(r.Approval.DecideWithin / 4 * 3)} {
					if due.Before(s.now()) {
						continue
					}
					_, err := tx.Exec(`INSERT INTO approval_outbox (approval, messenger, kind, request, due, tries, retry) VALUES (?, ?, ?, '', ?, 0, 0)`, r.ID, name, string(kind), due.UnixMicro())
					if err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("enlisting messengers: %w", err)
	}
	return nil
}

func names(tx *audit.Tx) ([]string, error) {
	rows, err := tx.Query(`SELECT name FROM approval_messengers ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return all, rows.Err()
}

// deliverTo tells one messenger what there is for it.
func (s *Store) deliverTo(ctx context.Context, logger *slog.Logger, m Messenger, wake <-chan struct{}) {
	for ctx.Err() == nil {
		n, tries, next, err := s.nextNotice(ctx, m.Name())
		if err != nil {
			logger.Error("reading what to tell", "messenger", m.Name(), "err", err)
			next = s.now().Add(lastRetry)
		}
		if n == nil {
			// A timer that is set too early costs a look, one that is late a
			// reminder.
			wait := lastRetry
			if !next.IsZero() {
				wait = min(wait, max(next.Sub(s.now()), 0))
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		telling, cancel := context.WithTimeout(ctx, tellWithin)
		ref, err := m.Tell(telling, *n)
		cancel()
		if err != nil && ctx.Err() != nil {
			return // it is told again after the next start
		}
		if err := s.told(ctx, logger, m.Name(), n, tries, ref, err); err != nil {
			logger.Error("noting what was told", "messenger", m.Name(), "err", err)
			return // the log has failed, and with it the gateway
		}
	}
}

// earlier are the notices of the same request that come before one and are due.
const earlier = `SELECT 1 FROM approval_outbox b WHERE b.messenger = ?1 AND b.approval = o.approval AND b.due <= ?2 AND (b.due, b.seq) < (o.due, o.seq)`

// nextNotice returns the first notice that is due, with how often it was tried.
// If none is, it returns when the next will be; the zero time if there is none.
// A notice that has to be repeated holds up the others of its request.
func (s *Store) nextNotice(ctx context.Context, messenger string) (n *Notice, tries int, next time.Time, err error) {
	err = s.log.Update(ctx, func(tx *audit.Tx) error {
		now := s.now().UnixMicro()
		n, tries, next = &Notice{}, 0, time.Time{}
		var approval, text string
		row := tx.QueryRow(`
			SELECT seq, approval, kind, request, tries, coalesce((SELECT ref FROM approval_refs f WHERE f.approval = o.approval AND f.messenger = o.messenger), '')
			FROM approval_outbox o WHERE messenger = ?1 AND due <= ?2 AND retry <= ?2 AND NOT EXISTS (`+earlier+`)
			ORDER BY due, seq LIMIT 1`, messenger, now)
		switch err := row.Scan(&n.Seq, &approval, &n.Kind, &text, &tries, &n.Ref); {
		case err == nil:
		case isNoRows(err):
			n = nil
			var at *int64
			// Nothing that is held up is looked at before what holds it up.
			err := tx.QueryRow(`SELECT min(max(due, retry)) FROM approval_outbox o WHERE messenger = ?1 AND NOT EXISTS (`+earlier+`)`, messenger, now).Scan(&at)
			if err != nil {
				return err
			}
			if at != nil {
				next = time.UnixMicro(*at)
			}
			return nil
		default:
			return err
		}
		found, err := load(tx, `WHERE id = ?`, approval)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound
		}
		n.Request = *found[0]
		if text != "" {
			n.Request = Request{}
			return json.Unmarshal([]byte(text), &n.Request)
		}
		return nil
	})
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	return n, tries, next, nil
}

// told notes that a notice was taken, or when to try it again.
func (s *Store) told(ctx context.Context, logger *slog.Logger, messenger string, n *Notice, tries int, ref string, failed error) error {
	var never permanent
	if failed != nil && !errors.As(failed, &never) && s.now().Sub(n.Request.Asked) < giveUp+n.Request.Approval.DecideWithin {
		wait := min(firstRetry<<min(tries, 16), lastRetry)
		wait += rand.N(wait / 4)
		var after *RetryAfter
		if errors.As(failed, &after) && after.After > 0 {
			wait = min(after.After, time.Hour)
		}
		logger.Warn("a messenger was not told, and will be", "messenger", messenger, "approval", n.Request.ID, "notice", string(n.Kind), "in", wait, "err", failed)
		return s.log.Update(ctx, func(tx *audit.Tx) error {
			_, err := tx.Exec(`UPDATE approval_outbox SET tries = tries + 1, retry = ? WHERE seq = ?`, s.now().Add(wait).UnixMicro(), n.Seq)
			return err
		})
	}
	if failed != nil {
		logger.Error("a messenger cannot be told", "messenger", messenger, "approval", n.Request.ID, "notice", string(n.Kind), "err", failed)
	}
	return s.log.Update(ctx, func(tx *audit.Tx) error {
		if ref != "" && ref != n.Ref {
			if _, err := tx.Exec(`INSERT INTO approval_refs VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ref = excluded.ref`, n.Request.ID, messenger, ref); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`DELETE FROM approval_outbox WHERE seq = ?`, n.Seq)
		return err
	})
}
