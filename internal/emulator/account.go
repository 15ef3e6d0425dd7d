//go:build cgo

package emulator

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"querywarden/internal/snowsql/ast"
	"querywarden/internal/snowsql/token"
)

// Objects of the account that are no relations: users, roles, warehouses,
// policies. The catalog keeps what was declared of them; what has an effect
// here is said beside it.

var accountTables = []string{
	`CREATE TABLE IF NOT EXISTS "_catalog".account_objects (
		kind VARCHAR, name VARCHAR, properties VARCHAR, created TIMESTAMPTZ DEFAULT now(), PRIMARY KEY (kind, name))`,
	`CREATE TABLE IF NOT EXISTS "_catalog".policy_references (
		policy_name VARCHAR, policy_kind VARCHAR, object_database VARCHAR, object_schema VARCHAR, object_name VARCHAR, column_name VARCHAR)`,
}

// accountKinds are the kinds of object that are kept as they were declared.
// With an effect: a USER can log in with its RSA_PUBLIC_KEY, unless it is
// DISABLED or its NETWORK_POLICY shuts it out; a WAREHOUSE that is suspended
// and does not resume runs nothing; a SESSION POLICY can make the sessions of
// a SERVICE_AGENT read only. The others have none.
var accountKinds = map[string]bool{
	"USER": true, "WAREHOUSE": true, "NETWORK POLICY": true, "NETWORK RULE": true, "SESSION POLICY": true, "AUTHENTICATION POLICY": true,
	"RESOURCE MONITOR": true, "MASKING POLICY": true, "ROW ACCESS POLICY": true, "FUNCTION": true, "PROCEDURE": true,
}

// inSchema are those of them that live in a schema.
var inSchema = map[string]bool{
	"NETWORK RULE": true, "SESSION POLICY": true, "AUTHENTICATION POLICY": true, "MASKING POLICY": true, "ROW ACCESS POLICY": true,
	"FUNCTION": true, "PROCEDURE": true,
}

// optionsOf reads KEY = value among options. The values of a list are joined by
// commas.
func optionsOf(options *ast.Tokens) map[string]string {
	out := map[string]string{}
	if options == nil {
		return out
	}
	list := options.List
	text := func(l ast.Lexeme) string {
		if ref, ok := l.Part.(*ast.Ref); ok {
			return ref.Name.Fold()
		}
		return l.Text
	}
	for i := 0; i+2 < len(list); i++ {
		if list[i].Part != nil || list[i].Kind != token.Ident || list[i+1].Kind != token.Equal {
			continue
		}
		key := strings.ToUpper(list[i].Text)
		if list[i+2].Part != nil || list[i+2].Text != "(" {
			out[key] = text(list[i+2])
			continue
		}
		var values []string
		for i += 3; i < len(list) && list[i].Text != ")"; i++ {
			if list[i].Kind != token.Comma {
				values = append(values, text(list[i]))
			}
		}
		out[key] = strings.Join(values, ",")
	}
	return out
}

// policiesOf reads SESSION POLICY p and its like.
func policiesOf(options *ast.Tokens, into map[string]string) {
	if options == nil {
		return
	}
	for _, l := range options.List {
		if ref, ok := l.Part.(*ast.Ref); ok && strings.HasSuffix(ref.Kind, " POLICY") {
			key := strings.ReplaceAll(ref.Kind, " ", "_")
			if _, known := into[key]; !known {
				into[key] = ref.Name.Fold()
			}
		}
	}
}

func (s *session) objectName(kind string, name *ast.ObjectName) (string, error) {
	if name == nil || name.Dynamic != nil {
		return "", errUnsupported("IDENTIFIER")
	}
	if inSchema[kind] {
		o, err := s.qualify(name)
		return o.String(), err
	}
	return name.Fold(), nil
}

// properties reads what is known of an object of the account; nil if there is
// none.
func (s *session) properties(ctx context.Context, kind, name string) (map[string]string, error) {
	found, err := texts(ctx, s.conn, `SELECT properties FROM "_catalog".account_objects WHERE kind = ? AND name = ?`, kind, name)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	out := map[string]string{}
	if err := json.Unmarshal([]byte(found[0]), &out); err != nil {
		return nil, fmt.Errorf("reading the %s %s: %w", strings.ToLower(kind), name, err)
	}
	return out, nil
}

func (s *session) keepProperties(ctx context.Context, kind, name string, p map[string]string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("keeping the %s %s: %w", strings.ToLower(kind), name, err)
	}
	if err := exec(ctx, s.conn, `INSERT OR REPLACE INTO "_catalog".account_objects (kind, name, properties) VALUES (?, ?, ?)`, kind, name, string(text)); err != nil {
		return err
	}
	if kind == "USER" {
		return s.emulator.setUser(name, p)
	}
	return nil
}

// createAccountObject runs CREATE of what is not in DuckDB.
func (s *session) createAccountObject(ctx context.Context, n *ast.Create) (*result, error) {
	name, err := s.objectName(n.Kind, n.Name)
	if err != nil {
		return nil, err
	}
	if n.Kind == "ROLE" {
		if err := s.mayCreate(ctx, "ROLE", "", ""); err != nil {
			return nil, err
		}
		return s.createRole(ctx, n, name)
	}
	database, schema := "", ""
	if inSchema[n.Kind] {
		o, err := s.qualify(n.Name)
		if err != nil {
			return nil, err
		}
		database, schema = o.database, o.schema
	}
	if err := s.mayCreate(ctx, n.Kind, database, schema); err != nil {
		return nil, err
	}
	answer := status(typeDDL, "%s %s successfully created.", title(n.Kind), name)
	return answer, s.define(ctx, func() error {
		known, err := s.properties(ctx, n.Kind, name)
		switch {
		case err != nil:
			return err
		case known != nil && n.IfNotExists:
			answer = status(typeDDL, "%s already exists, statement succeeded.", name)
			return nil
		case known != nil && !n.OrReplace:
			return errExists(name, n.Kind)
		}
		p := optionsOf(n.Options)
		policiesOf(n.Options, p)
		return s.keepProperties(ctx, n.Kind, name, p)
	})
}

func (s *session) createRole(ctx context.Context, n *ast.Create, name string) (*result, error) {
	answer := status(typeDDL, "Role %s successfully created.", name)
	return answer, s.define(ctx, func() error {
		known, err := texts(ctx, s.conn, `SELECT role_name FROM "_catalog".roles WHERE role_name = ?`, name)
		switch {
		case err != nil:
			return err
		case len(known) > 0 && n.IfNotExists:
			answer = status(typeDDL, "%s already exists, statement succeeded.", name)
			return nil
		case len(known) > 0 && !n.OrReplace, name == publicRole, name == systemRole:
			return errExists(name, "ROLE")
		}
		if err := exec(ctx, s.conn, `INSERT OR REPLACE INTO "_catalog".roles (role_name, owner, comment) VALUES (?, ?, ?)`, name, s.role, nullable(optionsOf(n.Options)["COMMENT"])); err != nil {
			return err
		}
		s.emulator.rightsVersion.Add(1)
		return nil
	})
}

// dropAccountObject runs DROP of what is not in DuckDB.
func (s *session) dropAccountObject(ctx context.Context, n *ast.Drop) (*result, error) {
	name, err := s.objectName(n.Kind, n.Name)
	if err != nil {
		return nil, err
	}
	if r, err := s.rightsNow(ctx); err != nil {
		return nil, err
	} else if !r.all {
		return nil, errPrivileges(strings.ToLower(n.Kind), name)
	}
	answer := status(typeDDL, "%s successfully dropped.", name)
	return answer, s.define(ctx, func() error {
		if n.Kind == "ROLE" {
			s.emulator.rightsVersion.Add(1)
			if err := exec(ctx, s.conn, `DELETE FROM "_catalog".grants WHERE (granted_to = 'ROLE' AND grantee = ?) OR (granted_on = 'ROLE' AND name = ?)`, name, name); err != nil {
				return err
			}
			return exec(ctx, s.conn, `DELETE FROM "_catalog".roles WHERE role_name = ?`, name)
		}
		known, err := s.properties(ctx, n.Kind, name)
		if err != nil {
			return err
		}
		if known == nil {
			if n.IfExists {
				return nil
			}
			return errNoObject(title(n.Kind), name)
		}
		if n.Kind == "USER" {
			s.emulator.mu.Lock()
			delete(s.emulator.users, name)
			s.emulator.mu.Unlock()
		}
		return exec(ctx, s.conn, `DELETE FROM "_catalog".account_objects WHERE kind = ? AND name = ?`, n.Kind, name)
	})
}

// alterAccountObject runs ALTER USER, WAREHOUSE and their like: SET, UNSET,
// SUSPEND and RESUME.
func (s *session) alterAccountObject(ctx context.Context, n *ast.Alter) (*result, error) {
	kind := n.Kind
	name := "ACCOUNT"
	if kind != "ACCOUNT" {
		var err error
		if name, err = s.objectName(kind, n.Name); err != nil {
			return nil, err
		}
	}
	if r, err := s.rightsNow(ctx); err != nil {
		return nil, err
	} else if !r.all {
		return nil, errPrivileges(strings.ToLower(kind), name)
	}
	return status(typeDDL, "Statement executed successfully."), s.define(ctx, func() error {
		p, err := s.properties(ctx, kind, name)
		if err != nil {
			return err
		}
		if p == nil {
			if kind != "ACCOUNT" {
				return errNoObject(title(kind), name)
			}
			p = map[string]string{}
		}
		switch n.Action {
		case "SET":
			maps.Copy(p, optionsOf(n.Options))
			policiesOf(n.Options, p)
		case "UNSET":
			if n.Options == nil {
				return errUnsupported("ALTER %s UNSET", kind)
			}
			for _, l := range n.Options.List {
				if l.Part == nil {
					delete(p, strings.ToUpper(l.Text))
				}
			}
			if hasWords(n.Options, "SESSION", "POLICY") {
				delete(p, "SESSION_POLICY")
			}
		case "SUSPEND", "RESUME":
			p["STATE"] = n.Action
		default:
			return errUnsupported("ALTER %s %s", kind, n.Action)
		}
		return s.keepProperties(ctx, kind, name, p)
	})
}

// setUser makes a declared user one who can log in.
func (e *Emulator) setUser(name string, p map[string]string) error {
	u := &user{name: name, role: p["DEFAULT_ROLE"], declared: p}
	if u.role == "" {
		u.role = publicRole
	}
	if text := p["RSA_PUBLIC_KEY"]; text != "" {
		key, err := publicKey(text)
		if err != nil {
			return &sqlError{code: "390193", state: "22023", message: "New public key rejected by current policy. Reason: 'Invalid public key'"}
		}
		u.key = key
		if u.fingerprint, err = fingerprint(key); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users[name] = u
	return nil
}

// publicKey reads the base64 of a key in its SPKI form, with or without PEM's
// lines around it.
func publicKey(text string) (*rsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	key, ok := any.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("reading a public key: it is not of RSA")
	}
	return key, nil
}

// loadUsers lets those log in whom an earlier process has made.
func (s *session) loadUsers(ctx context.Context) error {
	names, err := texts(ctx, s.conn, `SELECT name FROM "_catalog".account_objects WHERE kind = 'USER'`)
	if err != nil {
		return err
	}
	for _, name := range names {
		p, err := s.properties(ctx, "USER", name)
		if err != nil {
			return err
		}
		if err := s.emulator.setUser(name, p); err != nil {
			return err
		}
	}
	return nil
}

// admits reports whether the network policy that stands for a user lets an
// address in.
// docs.snowflake.com/en/user-guide/network-policies
func (s *session) admits(ctx context.Context, u *user, ip string) (bool, error) {
	name := u.declared["NETWORK_POLICY"]
	if name == "" {
		account, err := s.properties(ctx, "ACCOUNT", "ACCOUNT")
		if err != nil {
			return false, err
		}
		name = account["NETWORK_POLICY"]
	}
	if name == "" {
		return true, nil
	}
	p, err := s.properties(ctx, "NETWORK POLICY", name)
	if err != nil || p == nil {
		return false, err
	}
	allowed := p["ALLOWED_IP_LIST"]
	for rule := range strings.SplitSeq(p["ALLOWED_NETWORK_RULE_LIST"], ",") {
		rules, err := texts(ctx, s.conn, `SELECT properties FROM "_catalog".account_objects WHERE kind = 'NETWORK RULE' AND (name = ?1 OR name LIKE '%.' || ?1)`, strings.ToUpper(rule))
		if err != nil {
			return false, err
		}
		for _, text := range rules {
			var r map[string]string
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return false, fmt.Errorf("reading a network rule: %w", err)
			}
			allowed += "," + r["VALUE_LIST"]
		}
	}
	return !within(p["BLOCKED_IP_LIST"], ip) && (within(allowed, ip) || strings.Trim(allowed, ",") == ""), nil
}

// within reports whether an address is in a list of addresses and ranges.
func within(list, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for text := range strings.SplitSeq(list, ",") {
		if text == ip {
			return true
		}
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// scopeOf is the restricted session scope of a user's sessions.
// docs.snowflake.com/en/user-guide/restricted-session-scope
func (s *session) scopeOf(ctx context.Context, u *user) (string, error) {
	name := u.declared["SESSION_POLICY"]
	if name == "" || u.declared["TYPE"] != "SERVICE_AGENT" {
		return "", nil
	}
	found, err := texts(ctx, s.conn, `SELECT properties FROM "_catalog".account_objects WHERE kind = 'SESSION POLICY' AND (name = ?1 OR name LIKE '%.' || ?1)`, name)
	if err != nil || len(found) == 0 {
		return "", err
	}
	var p map[string]string
	if err := json.Unmarshal([]byte(found[0]), &p); err != nil {
		return "", fmt.Errorf("reading a session policy: %w", err)
	}
	return p["AGENT_RESTRICTED_SESSION_SCOPE"], nil
}

// needsWarehouse is nil if the session has a warehouse that works.
func (s *session) needsWarehouse(ctx context.Context) error {
	none := &sqlError{code: "000606", state: "57P03", message: "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command."}
	p, err := s.properties(ctx, "WAREHOUSE", s.warehouse)
	if err != nil || p == nil {
		return err
	}
	if ok, err := s.has(ctx, "WAREHOUSE", s.warehouse, "USAGE"); err != nil || !ok {
		return errors.Join(err, none)
	}
	if p["STATE"] == "SUSPEND" && strings.EqualFold(p["AUTO_RESUME"], "FALSE") {
		return none
	}
	return nil
}

// showAccount answers SHOW of what is not in DuckDB.
func (s *session) showAccount(ctx context.Context, n *ast.Show) (*result, bool, error) {
	like := "%"
	if n.Like != nil {
		like = n.Like.Value
	}
	var text string
	switch n.What {
	case "PARAMETERS":
		r, err := s.showParameters(ctx, n, like)
		return r, true, err
	case "GRANTS":
		r, err := s.showGrants(ctx, n)
		return r, true, err
	case "ROLES":
		text = `SELECT created AS "created_on", role_name AS "name", 'N' AS "is_default", '' AS "is_current", 'N' AS "is_inherited",
			owner AS "owner", coalesce(comment, '') AS "comment" FROM "_catalog".roles WHERE role_name ILIKE ` + quoteString(like) + ` ORDER BY 2`
	case "USERS", "WAREHOUSES", "NETWORK POLICIES", "SESSION POLICIES", "MASKING POLICIES", "ROW ACCESS POLICIES", "RESOURCE MONITORS", "USER FUNCTIONS", "PROCEDURES":
		kind := map[string]string{
			"USERS": "USER", "WAREHOUSES": "WAREHOUSE", "NETWORK POLICIES": "NETWORK POLICY", "SESSION POLICIES": "SESSION POLICY", "MASKING POLICIES": "MASKING POLICY",
			"ROW ACCESS POLICIES": "ROW ACCESS POLICY", "RESOURCE MONITORS": "RESOURCE MONITOR", "USER FUNCTIONS": "FUNCTION", "PROCEDURES": "PROCEDURE",
		}[n.What]
		if kind == "USER" || kind == "NETWORK POLICY" {
			if r, err := s.rightsNow(ctx); err != nil {
				return nil, true, err
			} else if !r.all {
				return nil, true, errPrivileges("account", "ACCOUNT")
			}
		}
		text = `SELECT created AS "created_on", name AS "name", coalesce(json_extract_string(properties, '$.TYPE'), '') AS "type",
			coalesce(json_extract_string(properties, '$.STATE'), 'STARTED') AS "state", coalesce(json_extract_string(properties, '$.COMMENT'), '') AS "comment"
			FROM "_catalog".account_objects WHERE kind = ` + quoteString(kind) + ` AND name ILIKE ` + quoteString(like) + ` ORDER BY 2`
	default:
		return nil, false, nil
	}
	if n.History || n.Options != nil || n.In != nil {
		return nil, true, errUnsupported("SHOW %s with this", n.What)
	}
	r, err := s.selectRows(ctx, text, nil, false)
	if err != nil {
		return nil, true, err
	}
	r.typeID = typeShow
	return r, true, nil
}

// showParameters answers SHOW PARAMETERS, of the session, the account, a user
// or a table. docs.snowflake.com/en/sql-reference/sql/show-parameters
func (s *session) showParameters(ctx context.Context, n *ast.Show, like string) (*result, error) {
	values, level := map[string]string{}, ""
	switch n.Scope {
	case "", "SESSION":
		maps.Copy(values, s.parameters)
		level = "SESSION"
	case "ACCOUNT":
		p, err := s.properties(ctx, "ACCOUNT", "ACCOUNT")
		if err != nil {
			return nil, err
		}
		values["NETWORK_POLICY"] = p["NETWORK_POLICY"]
		level = "ACCOUNT"
	case "USER":
		name := s.user.name
		if n.In != nil {
			name = n.In.Fold()
		}
		if r, err := s.rightsNow(ctx); err != nil {
			return nil, err
		} else if !r.all && name != s.user.name {
			return nil, errPrivileges("user", name)
		}
		p, err := s.properties(ctx, "USER", name)
		if err != nil {
			return nil, err
		}
		values["NETWORK_POLICY"] = p["NETWORK_POLICY"]
		level = "USER"
	case "TABLE":
		o, err := s.lookup(ctx, n.In)
		if err != nil {
			return nil, err
		}
		days, err := texts(ctx, s.conn, `SELECT CAST(retention AS VARCHAR) FROM "_catalog".tables WHERE table_catalog = ? AND table_schema = ? AND table_name = ?`, o.database, o.schema, o.name)
		if err != nil {
			return nil, err
		}
		values["DATA_RETENTION_TIME_IN_DAYS"] = days[0]
		level = "TABLE"
	default:
		return nil, errUnsupported("SHOW PARAMETERS IN %s", n.Scope)
	}
	if n.Options != nil {
		return nil, errUnsupported("SHOW PARAMETERS with this")
	}
	r := &result{typeID: typeShow}
	for _, name := range []string{"key", "value", "default", "level", "description", "type"} {
		r.columns = append(r.columns, newColumn(name, varcharType))
	}
	pattern, err := likePattern(like)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !pattern.MatchString(key) {
			continue
		}
		cells := []string{key, values[key], "", level, "", "STRING"}
		if cells[1] == "" || cells[1] == defaultParameters[key] {
			cells[3] = "" // nobody has set it
		}
		row := make([]*string, len(cells))
		for i := range cells {
			row[i] = &cells[i]
		}
		r.add(row)
	}
	return r, nil
}

// likePattern is a LIKE pattern, without regard to case.
func likePattern(like string) (*regexp.Regexp, error) {
	return regexp.Compile("(?is)^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(like)) + "$")
}

// showGrants answers SHOW GRANTS TO ROLE, TO USER, OF ROLE and ON an object.
// docs.snowflake.com/en/sql-reference/sql/show-grants
func (s *session) showGrants(ctx context.Context, n *ast.Show) (*result, error) {
	var condition string
	name := ""
	if n.In != nil {
		name = s.fullName(n.Scope, n.In)
	}
	r, err := s.rightsNow(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Link == "TO" && (n.Scope == "ROLE" || n.Scope == "USER") && name != "":
		if !r.all && !slices.Contains(r.roles, name) && name != s.user.name {
			return nil, errNoObject(title(n.Scope), name)
		}
		condition = `granted_to = ` + quoteString(n.Scope) + ` AND grantee = ` + quoteString(name)
	case n.Link == "OF" && n.Scope == "ROLE" && name != "":
		condition = `granted_on = 'ROLE' AND name = ` + quoteString(name)
	case n.Link == "ON" && name != "":
		condition = `granted_on = ` + quoteString(n.Scope) + ` AND name = ` + quoteString(name)
	case n.Link == "" && n.Scope == "":
		condition = `granted_to = 'USER' AND grantee = ` + quoteString(s.user.name)
	default:
		return nil, errUnsupported("SHOW GRANTS %s %s", n.Link, n.Scope)
	}
	answer, err := s.selectRows(ctx, `SELECT created AS "created_on", privilege AS "privilege", replace(granted_on, ' ', '_') AS "granted_on", name AS "name",
		granted_to AS "granted_to", grantee AS "grantee_name", 'false' AS "grant_option", granted_by AS "granted_by"
		FROM "_catalog".grants WHERE `+condition+` AND name NOT LIKE 'FUTURE %' ORDER BY 3, 4, 2`, nil, false)
	if err != nil {
		return nil, err
	}
	answer.typeID = typeShow
	return answer, nil
}

// describeAccount answers DESCRIBE of a user or a policy: a row a property.
func (s *session) describeAccount(ctx context.Context, n *ast.Describe) (*result, bool, error) {
	if !accountKinds[n.Kind] {
		return nil, false, nil
	}
	name, err := s.objectName(n.Kind, n.Name)
	if err != nil {
		return nil, true, err
	}
	if r, err := s.rightsNow(ctx); err != nil {
		return nil, true, err
	} else if !r.all && name != s.user.name {
		return nil, true, errNoObject(title(n.Kind), name)
	}
	p, err := s.properties(ctx, n.Kind, name)
	if err != nil {
		return nil, true, err
	}
	if p == nil {
		return nil, true, errNoObject(title(n.Kind), name)
	}
	r := &result{typeID: typeDescribe}
	key := "name"
	if n.Kind == "USER" {
		key = "property"
	}
	for _, column := range []string{key, "value"} {
		r.columns = append(r.columns, newColumn(column, varcharType))
	}
	for _, k := range slices.Sorted(maps.Keys(p)) {
		v := p[k]
		r.add([]*string{&k, &v})
	}
	return r, true, nil
}

// setPolicy records that a masking policy stands on a column, or a row access
// policy on a table, or no longer, and reports whether the statement is that.
// The emulator does not act on them.
func (s *session) setPolicy(ctx context.Context, o object, n *ast.Alter) (bool, error) {
	if n.Options == nil {
		return false, nil
	}
	const where = ` WHERE object_database = ? AND object_schema = ? AND object_name = ? AND policy_kind = ?`
	place := []any{o.database, o.schema, o.name}
	for i, l := range n.Options.List {
		ref, ok := l.Part.(*ast.Ref)
		switch {
		case ok && ref.Kind == "ROW ACCESS POLICY" && n.Action == "ADD":
			policy := s.fullName(ref.Kind, ref.Name)
			return true, exec(ctx, s.conn, `INSERT INTO "_catalog".policy_references VALUES (?, 'ROW_ACCESS_POLICY', ?, ?, ?, NULL)`, append([]any{policy}, place...)...)
		case ok && ref.Kind == "ROW ACCESS POLICY" && n.Action == "DROP":
			return true, exec(ctx, s.conn, `DELETE FROM "_catalog".policy_references`+where, append(place, "ROW_ACCESS_POLICY")...)
		case ok && ref.Kind == "MASKING POLICY" && i > 3:
			column := n.Options.List[i-4].Text // COLUMN c SET MASKING POLICY p
			policy := s.fullName(ref.Kind, ref.Name)
			return true, exec(ctx, s.conn, `INSERT INTO "_catalog".policy_references VALUES (?, 'MASKING_POLICY', ?, ?, ?, ?)`, append([]any{policy}, append(place, column)...)...)
		}
	}
	if (n.Action == "MODIFY" || n.Action == "ALTER") && hasWords(n.Options, "UNSET", "MASKING", "POLICY") && len(n.Options.List) > 1 {
		column := n.Options.List[1].Text
		return true, exec(ctx, s.conn, `DELETE FROM "_catalog".policy_references`+where+` AND column_name = ?`, append(place, "MASKING_POLICY", column)...)
	}
	return false, nil
}
