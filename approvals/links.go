package approvals

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"querywarden/audit"
	"querywarden/policy"
)

// A Link says that an account with a messenger stands for an identity, as that
// person has shown by signing in. An address that both have in common does not
// make a link: addresses can be changed.
type Link struct {
	Provider string          `json:"provider"` // "slack"
	Team     string          `json:"team"`
	User     string          `json:"user"`
	Identity policy.Identity `json:"identity"`
	Groups   []string        `json:"groups"` // as of At: who uses them says how old they may be
	At       time.Time       `json:"at"`
}

// The errors of links.
var (
	ErrNotLinked = errors.New("the account is not linked to an identity")
	ErrNoLinking = errors.New("the link has been used or is too old; ask for another")
)

// ticketLife is how long a ticket is good for.
const ticketLife = 15 * time.Minute

func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// Ticket returns a secret with which whoever signs in links their identity to
// this account: once, and within 15 minutes. It is handed to the account's owner
// alone.
func (s *Store) Ticket(ctx context.Context, provider, team, user string) (string, error) {
	ticket := rand.Text()
	hash := sha256.Sum256([]byte(ticket))
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		if _, err := tx.Exec(`DELETE FROM approval_tickets WHERE until <= ?`, s.now().UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO approval_tickets VALUES (?, ?, ?, ?, ?)`, hash[:], provider, team, user, s.now().Add(ticketLife).UnixMicro())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("making a ticket: %w", err)
	}
	return ticket, nil
}

// Redeem makes the link that a ticket is for. The identity and its groups are of
// a sign-in just now.
func (s *Store) Redeem(ctx context.Context, ticket string, i policy.Identity, groups []string) (Link, error) {
	l := Link{Identity: i, Groups: groups}
	hash := sha256.Sum256([]byte(ticket))
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		err := tx.QueryRow(`DELETE FROM approval_tickets WHERE hash = ? AND until > ? RETURNING provider, team, user`, hash[:], s.now().UnixMicro()).Scan(&l.Provider, &l.Team, &l.User)
		if isNoRows(err) {
			return ErrNoLinking
		}
		if err != nil {
			return err
		}
		return s.link(tx, &l)
	})
	if err != nil {
		return Link{}, fmt.Errorf("linking an account: %w", err)
	}
	return l, nil
}

// Link makes a link, or renews it. The identity and its groups are of a sign-in
// just now.
func (s *Store) Link(ctx context.Context, l Link) error {
	if err := s.log.Update(ctx, func(tx *audit.Tx) error { return s.link(tx, &l) }); err != nil {
		return fmt.Errorf("linking an account: %w", err)
	}
	return nil
}

func (s *Store) link(tx *audit.Tx, l *Link) error {
	if l.Provider == "" || l.User == "" || l.Identity.Issuer == "" || l.Identity.Subject == "" {
		return ErrNotLinked
	}
	l.At = s.now().UTC()
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("writing link: %w", err)
	}
	_, err = tx.Exec(`INSERT INTO approval_links VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET link = excluded.link`, l.Provider, l.Team, l.User, string(text))
	if err != nil {
		return err
	}
	return linkRecord(tx, audit.KindLinked, *l)
}

// linkRecord records a link, with the account as the session that it is.
func linkRecord(tx *audit.Tx, kind audit.Kind, l Link) error {
	who := caller(l.Identity)
	who.Groups = l.Groups
	_, err := tx.Append(audit.Event{Kind: kind, Voter: who, Via: l.Provider, Remote: l.Team + "/" + l.User})
	return err
}

// Linked returns the link of an account.
func (s *Store) Linked(ctx context.Context, provider, team, user string) (Link, error) {
	var l Link
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		var text string
		err := tx.QueryRow(`SELECT link FROM approval_links WHERE provider = ? AND team = ? AND user = ?`, provider, team, user).Scan(&text)
		if isNoRows(err) {
			return ErrNotLinked
		}
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &l)
	})
	if err != nil {
		return Link{}, fmt.Errorf("looking for the link of an account: %w", err)
	}
	return l, nil
}

// Unlink ends a link.
func (s *Store) Unlink(ctx context.Context, provider, team, user string) error {
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		var text string
		err := tx.QueryRow(`DELETE FROM approval_links WHERE provider = ? AND team = ? AND user = ? RETURNING link`, provider, team, user).Scan(&text)
		if isNoRows(err) {
			return ErrNotLinked
		}
		if err != nil {
			return err
		}
		var l Link
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return err
		}
		return linkRecord(tx, audit.KindUnlinked, l)
	})
	if err != nil {
		return fmt.Errorf("ending a link: %w", err)
	}
	return nil
}

// Account says which account a ticket is for, without using it up: whoever is
// about to redeem it should see for whom.
func (s *Store) Account(ctx context.Context, ticket string) (Link, error) {
	var l Link
	hash := sha256.Sum256([]byte(ticket))
	err := s.log.Update(ctx, func(tx *audit.Tx) error {
		err := tx.QueryRow(`SELECT provider, team, user FROM approval_tickets WHERE hash = ? AND until > ?`, hash[:], s.now().UnixMicro()).Scan(&l.Provider, &l.Team, &l.User)
		if isNoRows(err) {
			return ErrNoLinking
		}
		return err
	})
	if err != nil {
		return Link{}, fmt.Errorf("looking for the account of a ticket: %w", err)
	}
	return l, nil
}
