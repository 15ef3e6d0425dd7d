//go:build cgo

package emulator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// Who may do what. A role that CREATE ROLE has made may do what was granted to
// it and to the roles that it has; every other role may do everything, as
// ACCOUNTADMIN may, so that an account can be used without a word about
// rights. Views run with their owner's rights: who may read one needs no right
// to what is beneath.
// docs.snowflake.com/en/user-guide/security-access-control-overview

var rightsTables = []string{
	`CREATE TABLE IF NOT EXISTS "_catalog".roles (role_name VARCHAR PRIMARY KEY, owner VARCHAR, comment VARCHAR, created TIMESTAMPTZ DEFAULT now())`,
	`CREATE TABLE IF NOT EXISTS "_catalog".grants (
		privilege VARCHAR, granted_on VARCHAR, name VARCHAR, granted_to VARCHAR, grantee VARCHAR, granted_by VARCHAR, created TIMESTAMPTZ DEFAULT now(),
		PRIMARY KEY (privilege, granted_on, name, granted_to, grantee))`,
}

// ownership is the privilege to change, drop and grant.
const ownership = "OWNERSHIP"

// rights are what a session's role comes to.
type rights struct {
	version int64
	role    string
	all     bool     // it may do everything
	roles   []string // itself and those that it has
}

// rightsNow looks up what the session's role comes to, if that may have
// changed. The emulator's rights are counted by version.
func (s *session) rightsNow(ctx context.Context) (rights, error) {
	version := s.emulator.rightsVersion.Load()
	if s.rights.role == s.role && s.rights.version == version && s.rights.roles != nil {
		return s.rights, nil
	}
	r := rights{version: version, role: s.role}
	var err error
	r.roles, err = texts(ctx, s.conn, `WITH RECURSIVE has AS (SELECT CAST(? AS VARCHAR) AS r UNION SELECT g.name FROM "_catalog".grants g JOIN has ON g.grantee = has.r
		WHERE g.granted_to = 'ROLE' AND g.granted_on = 'ROLE') SELECT r FROM has`, s.role)
	if err != nil {
		return r, err
	}
	made, err := texts(ctx, s.conn, `SELECT role_name FROM "_catalog".roles`)
	if err != nil {
		return r, err
	}
	for _, role := range r.roles {
		if role != publicRole && !slices.Contains(made, role) {
			r.all = true
		}
	}
	if s.role == publicRole && len(made) == 0 {
		r.all = true
	}
	r.roles = append(r.roles, publicRole)
	s.rights = r
	// The catalog's views ask for these.
	list := make([]string, len(r.roles))
	for i, role := range r.roles {
		list[i] = quoteString(role)
	}
	for _, text := range []string{fmt.Sprintf("SET VARIABLE sf_all = %t", r.all), "SET VARIABLE sf_roles = [" + strings.Join(list, ", ") + "]"} {
		if err := exec(ctx, s.conn, text); err != nil {
			return r, err
		}
	}
	return r, nil
}

// visible is the condition of the catalog's views that shows an object to whom
// something of it was granted; name is an expression.
func visible(name, owner string) string {
	return `(coalesce(getvariable('sf_all'), true) OR list_contains(getvariable('sf_roles'), ` + owner + `)
		OR EXISTS (SELECT 1 FROM "_catalog".grants g WHERE g.name = ` + name + ` AND g.granted_to = 'ROLE' AND list_contains(getvariable('sf_roles'), g.grantee)))`
}

// privileges are what the session's role has on an object of a kind.
func (s *session) privileges(ctx context.Context, kind, name string) ([]string, rights, error) {
	r, err := s.rightsNow(ctx)
	if err != nil || r.all {
		return nil, r, err
	}
	var marks []string
	args := []any{kind, name}
	for _, role := range r.roles {
		marks, args = append(marks, "?"), append(args, role)
	}
	list, err := texts(ctx, s.conn, `SELECT privilege FROM "_catalog".grants WHERE granted_on = ? AND name = ? AND granted_to = 'ROLE' AND grantee IN (`+strings.Join(marks, ", ")+`)`, args...)
	return list, r, err
}

// has reports whether the session's role has one of some privileges, or all, on
// an object that is no table.
func (s *session) has(ctx context.Context, kind, name string, privileges ...string) (bool, error) {
	list, r, err := s.privileges(ctx, kind, name)
	if err != nil || r.all {
		return true, err
	}
	for _, p := range append(privileges, "ALL", ownership) {
		if slices.Contains(list, p) {
			return true, nil
		}
	}
	return false, nil
}

// may is nil if the session's role may do something with a table or view. What
// it may not know of does not exist.
func (s *session) may(ctx context.Context, privilege string, o object) error {
	r, err := s.rightsNow(ctx)
	if err != nil || r.all || o.schema == informationSchema && privilege == "SELECT" {
		return err
	}
	missing := errNoObject("Object", o.String())
	if o.database == accountDatabase {
		ok, err := s.mayUsage(ctx, o)
		if err == nil && !ok {
			err = missing
		}
		return err
	}
	for _, place := range [][2]string{{"DATABASE", o.database}, {"SCHEMA", o.database + "." + o.schema}} {
		ok, err := s.has(ctx, place[0], place[1], "USAGE")
		if err != nil {
			return err
		}
		if !ok {
			return missing
		}
	}
	kind := strings.TrimPrefix(o.kind, "BASE ")
	list, _, err := s.privileges(ctx, kind, o.String())
	if err != nil {
		return err
	}
	owners, err := texts(ctx, s.conn, `SELECT table_owner FROM "_catalog".tables WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, o.database, o.schema, o.name)
	if err != nil {
		return err
	}
	switch {
	case len(owners) == 1 && slices.Contains(r.roles, owners[0]), slices.Contains(list, ownership), slices.Contains(list, privilege),
		privilege != ownership && slices.Contains(list, "ALL"):
		return nil
	case len(list) == 0:
		return missing
	default:
		return errPrivileges(strings.ToLower(kind), o.name)
	}
}

// usageRoles are the database roles of SNOWFLAKE that open a view.
// docs.snowflake.com/en/sql-reference/snowflake-db-roles
var usageRoles = map[string]string{
	"QUERY_HISTORY": "GOVERNANCE_VIEWER", "ACCESS_HISTORY": "GOVERNANCE_VIEWER", "TAG_REFERENCES": "GOVERNANCE_VIEWER", "POLICY_REFERENCES": "GOVERNANCE_VIEWER",
	"LOGIN_HISTORY": "SECURITY_VIEWER", "GRANTS_TO_ROLES": "SECURITY_VIEWER", "GRANTS_TO_USERS": "SECURITY_VIEWER", "USERS": "SECURITY_VIEWER",
}

func (s *session) mayUsage(ctx context.Context, o object) (bool, error) {
	if ok, err := s.has(ctx, "DATABASE", accountDatabase, "IMPORTED PRIVILEGES"); err != nil || ok {
		return ok, err
	}
	role, ok := usageRoles[o.name]
	if !ok {
		return false, nil
	}
	return s.has(ctx, "DATABASE ROLE", accountDatabase+"."+role, "USAGE")
}

// mayCreate is nil if the session's role may make something in a place; for
// objects of the account, schema is empty.
func (s *session) mayCreate(ctx context.Context, kind, database, schema string) error {
	on, name := "ACCOUNT", "ACCOUNT"
	switch {
	case schema != "":
		on, name = "SCHEMA", database+"."+schema
	case database != "":
		on, name = "DATABASE", database
	}
	ok, err := s.has(ctx, on, name, "CREATE "+kind)
	if err == nil && !ok {
		err = errPrivileges(strings.ToLower(on), name)
	}
	return err
}

func errPrivileges(kind, name string) *sqlError {
	return &sqlError{code: "003001", state: "42501", message: "SQL access control error:\nInsufficient privileges to operate on " + kind + " '" + name + "'."}
}

// grant runs GRANT and REVOKE of privileges and roles.
// docs.snowflake.com/en/sql-reference/sql/grant-privilege, …/grant-role
func (s *session) grant(ctx context.Context, n *ast.Grant) (*result, error) {
	if n.Rest == nil {
		return nil, errUnsupported("GRANT")
	}
	g, err := s.parseGrant(n)
	if err != nil {
		return nil, err
	}
	if ok, err := s.has(ctx, "ACCOUNT", "ACCOUNT", "MANAGE GRANTS"); err != nil {
		return nil, err
	} else if !ok {
		return nil, errPrivileges("account", "ACCOUNT")
	}
	return status(typeDDL, "Statement executed successfully."), s.define(ctx, func() error {
		names, err := s.grantedNames(ctx, g)
		if err != nil {
			return err
		}
		if g.to == "ROLE" && g.grantee != publicRole {
			if known, err := texts(ctx, s.conn, `SELECT role_name FROM "_catalog".roles WHERE role_name = ?`, g.grantee); err != nil {
				return err
			} else if len(known) == 0 {
				return errNoObject("Role", g.grantee)
			}
		}
		for _, name := range names {
			for _, p := range g.privileges {
				if n.Revoke {
					text := `DELETE FROM "_catalog".grants WHERE granted_on = ? AND name = ? AND granted_to = ? AND grantee = ?`
					args := []any{g.on, name, g.to, g.grantee}
					if p != "ALL" {
						text, args = text+` AND privilege = ?`, append(args, p)
					}
					if err := exec(ctx, s.conn, text, args...); err != nil {
						return err
					}
					continue
				}
				if p == ownership && (g.on == "TABLE" || g.on == "VIEW") {
					if err := exec(ctx, s.conn, `UPDATE "_catalog".tables SET table_owner = ? WHERE table_catalog || '.' || table_schema || '.' || table_name = ?`, g.grantee, name); err != nil {
						return err
					}
				}
				if err := exec(ctx, s.conn, `INSERT OR IGNORE INTO "_catalog".grants (privilege, granted_on, name, granted_to, grantee, granted_by) VALUES (?, ?, ?, ?, ?, ?)`,
					p, g.on, name, g.to, g.grantee, s.role); err != nil {
					return err
				}
			}
		}
		s.emulator.rightsVersion.Add(1)
		return nil
	})
}

// A granted is what a GRANT or REVOKE says.
type granted struct {
	privileges  []string
	on, name    string // one object …
	within      string // … or all objects in a schema or database; or future ones
	future      bool
	to, grantee string
}

func (s *session) parseGrant(n *ast.Grant) (granted, error) {
	var g granted
	list := n.Rest.List
	bad := errUnsupported("this GRANT")
	word := func(i int) string {
		if i < len(list) && list[i].Part == nil && (list[i].Kind == token.Ident) {
			return strings.ToUpper(list[i].Text)
		}
		return ""
	}
	name := func(i int) string {
		if i >= len(list) {
			return ""
		}
		if ref, ok := list[i].Part.(*ast.Ref); ok {
			return s.fullName(ref.Kind, ref.Name)
		}
		return list[i].Text
	}
	// Who gets it stands at the end.
	end := -1
	for i := range list {
		if w := word(i); (w == "TO" || w == "FROM") && i+2 < len(list) {
			end = i
		}
	}
	if end < 0 {
		return g, bad
	}
	g.to, g.grantee = word(end+1), name(end+2)
	if g.to != "ROLE" && g.to != "USER" || g.grantee == "" {
		return g, bad
	}
	switch {
	case word(0) == "ROLE" && end == 2:
		g.privileges, g.on, g.name = []string{"USAGE"}, "ROLE", name(1)
		return g, nil
	case word(0) == "DATABASE" && word(1) == "ROLE" && end == 3:
		g.privileges, g.on, g.name = []string{"USAGE"}, "DATABASE ROLE", name(2)
		return g, nil
	}
	i, words := 0, []string{}
	flush := func() {
		if len(words) > 0 {
			g.privileges = append(g.privileges, strings.Join(words, " "))
		}
		words = nil
	}
	for ; i < end && word(i) != "ON"; i++ {
		if list[i].Kind == token.Comma {
			flush()
			continue
		}
		if w := word(i); w != "" {
			words = append(words, w)
		}
	}
	flush()
	for k, p := range g.privileges {
		if p == "ALL PRIVILEGES" {
			g.privileges[k] = "ALL"
		}
	}
	if i++; i >= end || len(g.privileges) == 0 {
		return g, bad
	}
	switch word(i) {
	case "ACCOUNT":
		g.on, g.name = "ACCOUNT", "ACCOUNT"
	case "ALL", "FUTURE":
		g.future = word(i) == "FUTURE"
		if word(i+2) != "IN" || i+4 >= end {
			return g, bad
		}
		g.on, g.within = strings.TrimSuffix(word(i+1), "S"), name(i+4)
	default:
		var kind []string
		for ; i < end && word(i) != ""; i++ {
			kind = append(kind, word(i))
		}
		g.on, g.name = strings.Join(kind, " "), name(i)
	}
	if g.on == "" || g.name == "" && g.within == "" {
		return g, bad
	}
	return g, nil
}

// fullName completes the name of an object of a kind.
func (s *session) fullName(kind string, name *ast.ObjectName) string {
	var parts []string
	for _, p := range name.Parts {
		if p == nil {
			parts = append(parts, publicSchema)
			continue
		}
		parts = append(parts, p.Fold())
	}
	want := 3
	switch kind {
	case "DATABASE", "ROLE", "USER", "WAREHOUSE", "NETWORK POLICY", "RESOURCE MONITOR", "INTEGRATION":
		want = 1
	case "SCHEMA", "DATABASE ROLE":
		want = 2
	}
	for len(parts) < want {
		if len(parts) == want-1 && want > 1 && (want == 2 || len(parts) == 2) {
			parts = append([]string{s.database}, parts...)
			continue
		}
		parts = append([]string{s.schema}, parts...)
	}
	return strings.Join(parts, ".")
}

// grantedNames are the objects that a GRANT is about.
func (s *session) grantedNames(ctx context.Context, g granted) ([]string, error) {
	if g.within == "" {
		if g.on == "TABLE" || g.on == "VIEW" {
			known, err := texts(ctx, s.conn, `SELECT table_name FROM "_catalog".tables WHERE table_catalog || '.' || table_schema || '.' || table_name = ?`, g.name)
			if err != nil {
				return nil, err
			}
			if len(known) == 0 {
				return nil, errNoObject("Object", g.name)
			}
		}
		return []string{g.name}, nil
	}
	if g.future {
		// Kept under the place; granted to what is made there later.
		return []string{"FUTURE " + g.on + " IN " + g.within}, nil
	}
	switch g.on {
	case "TABLE", "VIEW":
		return texts(ctx, s.conn, `SELECT table_catalog || '.' || table_schema || '.' || table_name FROM "_catalog".tables
			WHERE table_type = ? AND (table_catalog = ? OR table_catalog || '.' || table_schema = ?) AND table_schema <> 'INFORMATION_SCHEMA'`,
			map[string]string{"TABLE": "BASE TABLE", "VIEW": "VIEW"}[g.on], g.within, g.within)
	case "SCHEMA":
		return texts(ctx, s.conn, `SELECT catalog_name || '.' || schema_name FROM "_catalog".schemata WHERE catalog_name = ?`, g.within)
	default:
		return nil, errUnsupported("GRANT … ON ALL %sS", g.on)
	}
}

// inherit grants to a new object what FUTURE grants promise.
func (s *session) inherit(ctx context.Context, o object) error {
	kind := strings.TrimPrefix(o.kind, "BASE ")
	return exec(ctx, s.conn, `INSERT OR IGNORE INTO "_catalog".grants (privilege, granted_on, name, granted_to, grantee, granted_by)
		SELECT privilege, granted_on, ?, granted_to, grantee, granted_by FROM "_catalog".grants WHERE granted_on = ? AND name IN (?, ?)`,
		o.String(), kind, "FUTURE "+kind+" IN "+o.database, "FUTURE "+kind+" IN "+o.database+"."+o.schema)
}
