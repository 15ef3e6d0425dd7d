package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"querywarden/audit"
	"querywarden/internal/warehouse"
)

// A patient is an account under examination: by statements that change nothing,
// each recorded. What they ask about is on the pages of
// docs.snowflake.com/en/sql-reference/sql that have their names.
type patient struct {
	*examination
	warehouse *warehouse.Warehouse
	record    func(ctx context.Context, sql string) (audit.Receipt, error)
}

// A row is one of an answer, by the columns' names in lower case.
type row map[string]string

// ask runs a statement in the session of a login.
func (p *patient) ask(ctx context.Context, login, text string) ([]row, error) {
	receipt, err := p.record(ctx, text)
	if err != nil {
		return nil, err
	}
	rows, err := p.warehouse.Run(ctx, receipt, warehouse.Statement{SQL: text, Timeout: 30 * time.Second, Login: login})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []row
	for rows.Next() {
		r := row{}
		for i, v := range rows.Values() {
			r[strings.ToLower(rows.Columns()[i].Name)] = v.Text
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func (p *patient) examine(ctx context.Context) {
	w := p.config.Warehouse
	logins := map[string]loginConfig{"": w.Login}
	maps.Copy(logins, w.Logins)
	for _, name := range slices.Sorted(maps.Keys(logins)) {
		what := "login"
		if name != "" {
			what = "login " + name
		}
		if p.login(ctx, what, name) {
			p.role(ctx, what, name, logins[name])
			p.user(ctx, what, name, logins[name])
		}
	}
	if len(w.Addresses) == 0 {
		p.warn("addresses", "warehouse.addresses: where the gateway's traffic comes from", "logins from elsewhere cannot be told from the gateway's own")
	}
	if w.Reconcile.Every == 0 {
		p.warn("reconcile", "warehouse: {reconcile: {every: 1h}}", "nobody compares the account's history with the log by itself")
	}
}

// login tries one. What it says is what to do about each way that it fails.
func (p *patient) login(ctx context.Context, what, name string) bool {
	rows, err := p.ask(ctx, name, "SELECT CURRENT_TIMESTAMP() AS NOW, CURRENT_USER() AS U, CURRENT_ROLE() AS R")
	if err == nil && len(rows) == 1 {
		p.ok(what, "as %s in the role %s", rows[0]["u"], rows[0]["r"])
		if t, err := time.Parse(time.RFC3339Nano, rows[0]["now"]); err == nil {
			p.clock("the account", t)
		}
		return true
	}
	next := "the warehouse section of the configuration"
	var failed *warehouse.Error
	if errors.As(err, &failed) {
		switch failed.Code {
		case 390144:
			next = "is the public half of the key the user's RSA_PUBLIC_KEY, and the account's name right?"
		case 390189:
			next = "GRANT ROLE … TO USER …, or another role"
		case 390201:
			next = "do database and schema exist, and may the role use them?"
		case 390101, 390102:
			next = "ALTER USER … SET DISABLED = FALSE, MINS_TO_UNLOCK = 0, once you know why"
		case 390422:
			next = "add this machine's address to the user's network policy"
		case 394400, 390303:
			next = "make a new token"
		}
	}
	p.fail(what, next, "%v", err)
	return false
}

// adminRoles can do more than any gateway needs.
// docs.snowflake.com/en/user-guide/security-access-control-overview
var adminRoles = []string{"ACCOUNTADMIN", "SECURITYADMIN", "SYSADMIN", "USERADMIN", "ORGADMIN", "GLOBALORGADMIN"}

// needed are privileges that a gateway's role may have.
var needed = []string{"USAGE", "SELECT", "REFERENCES", "MONITOR", "READ"}

// writing are those of a gateway whose policy lets somebody write.
var writing = []string{"INSERT", "UPDATE", "DELETE", "TRUNCATE", "WRITE"}

// role looks at what the role may do: too much is a finding, and so is too
// little.
func (p *patient) role(ctx context.Context, what, name string, l loginConfig) {
	role := strings.ToUpper(l.Role)
	if slices.Contains(adminRoles, role) {
		p.fail(what, "querywarden setup snowflake prints a role of the gateway's own", "its role %s can do everything, whatever policy says", role)
		return
	}
	if role == "" {
		p.warn(what, "role: names the one that you mean", "it runs in whatever role is the user's default")
		return
	}
	grants, err := p.ask(ctx, name, "SHOW GRANTS TO ROLE "+setupName(l.Role))
	if err != nil {
		p.warn(what, "have an administrator look: SHOW GRANTS TO ROLE "+setupName(l.Role), "what the role was granted cannot be seen: %v", err)
		return
	}
	var too, write []string
	reads := false
	for _, g := range grants {
		privilege, on, object := g["privilege"], g["granted_on"], g["name"]
		one := privilege + " on " + on + " " + object
		switch {
		case on == "ROLE" && slices.Contains(adminRoles, object):
			p.fail(what, "REVOKE ROLE "+object+" FROM ROLE "+role, "its role has the role %s, which can do everything", object)
		case privilege == "OWNERSHIP":
			too = append(too, one)
		case on == "ACCOUNT", strings.HasPrefix(privilege, "CREATE "), strings.HasPrefix(privilege, "MANAGE "), strings.HasPrefix(privilege, "APPLY"):
			too = append(too, one)
		case slices.Contains(writing, privilege):
			write = append(write, one)
		case privilege == "SELECT":
			reads = true
		case !slices.Contains(needed, privilege) && privilege != "IMPORTED PRIVILEGES":
			too = append(too, one)
		}
	}
	if len(too) > 0 {
		p.fail(what, "REVOKE what the gateway does not need: the role is the second wall", "its role may do too much: %s", strings.Join(too, "; "))
	}
	if len(write) > 0 && l.SessionScope == "" {
		p.warn(what, "a login of its own for who writes (warehouse.use), and session_scope: SNOWFLAKE$DATA_READ for the others", "its role may write: %s", strings.Join(write, "; "))
	}
	if !reads && len(write) == 0 && name == "" {
		p.fail(what, "GRANT SELECT ON … TO ROLE "+role, "its role can read no table")
	}
	if len(too) == 0 && reads {
		p.ok(what, "its role %s has %s, none of them too much", role, plural(int64(len(grants)), "grant"))
	}
	p.catalog(ctx, what, name, l)
}

// catalog looks at what the gate reads before anything else.
func (p *patient) catalog(ctx context.Context, what, name string, l loginConfig) {
	if name != "" && name != p.config.Warehouse.Reconcile.Login {
		return
	}
	if name == "" {
		if p.policy != nil && p.policy.UsesLabels() {
			if _, err := p.ask(ctx, name, "SELECT COUNT(*) FROM SNOWFLAKE.ACCOUNT_USAGE.TAG_REFERENCES"); err != nil {
				p.fail("tags", "GRANT DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER TO ROLE "+setupName(l.Role), "policy masks by labels, and the role cannot read them")
			} else {
				p.ok("tags", "can be read")
			}
		}
		if l.Warehouse == "" {
			p.fail(what, "warehouse: names the one that statements run in", "it has no warehouse")
		}
	}
	if name != p.config.Warehouse.Reconcile.Login {
		return
	}
	for _, view := range [][2]string{{"QUERY_HISTORY", "GOVERNANCE_VIEWER"}, {"ACCESS_HISTORY", "GOVERNANCE_VIEWER"}, {"LOGIN_HISTORY", "SECURITY_VIEWER"}} {
		if _, err := p.ask(ctx, name, "SELECT COUNT(*) FROM SNOWFLAKE.ACCOUNT_USAGE."+view[0]+" WHERE 1 = 0"); err != nil {
			p.warn("history", "GRANT DATABASE ROLE SNOWFLAKE."+view[1]+" TO ROLE "+setupName(l.Role), "the role cannot read %s, so audit reconcile cannot", view[0])
		} else {
			p.ok("history", "%s can be read", view[0])
		}
	}
}

// user looks at who the gateway is in the account.
func (p *patient) user(ctx context.Context, what, name string, l loginConfig) {
	user := setupName(l.User)
	if l.User == "" {
		return
	}
	if !l.Agent {
		p.warn(what, "TYPE = SERVICE_AGENT for the user, agent: true in the configuration", "nobody checks that the account takes %s for an agent", l.User)
	}
	if roles, err := p.ask(ctx, name, "SHOW GRANTS TO USER "+user); err == nil {
		var more []string
		for _, r := range roles {
			role := r["name"]
			if r["role"] != "" {
				role = r["role"]
			}
			used := slices.ContainsFunc(p.logins(), func(o loginConfig) bool {
				return strings.EqualFold(o.User, l.User) && strings.EqualFold(o.Role, role)
			})
			if role != "" && !used {
				more = append(more, role)
			}
		}
		if len(more) > 0 {
			p.warn(what, "REVOKE ROLE … FROM USER "+user, "the user has roles that the gateway does not use: %s", strings.Join(more, ", "))
		}
	}
	p.network(ctx, what, name, l)
}

// network looks at who else may log in with the gateway's key: fail closed is
// only true if the gateway is the only way.
func (p *patient) network(ctx context.Context, what, name string, l loginConfig) {
	user := setupName(l.User)
	parameter := func(where string) (string, error) {
		rows, err := p.ask(ctx, name, "SHOW PARAMETERS LIKE 'NETWORK_POLICY' IN "+where)
		if err != nil || len(rows) == 0 {
			return "", err
		}
		return rows[0]["value"], nil
	}
	network, err := parameter("USER " + user)
	if err != nil {
		p.warn(what, "have an administrator look: SHOW PARAMETERS LIKE 'NETWORK_POLICY' IN USER "+user, "its network policy cannot be seen: %v", err)
		return
	}
	where := "the user's"
	if network == "" {
		where = "the account's"
		if network, err = parameter("ACCOUNT"); err != nil {
			p.warn(what, "have an administrator look: SHOW PARAMETERS LIKE 'NETWORK_POLICY' IN ACCOUNT", "the account's network policy cannot be seen: %v", err)
			return
		}
	}
	if network == "" {
		p.fail(what, "ALTER USER "+user+" SET NETWORK_POLICY = …: the gateway's address alone", "no network policy stands for its user: who has its key needs no gateway")
		return
	}
	if where == "the account's" {
		p.warn(what, "ALTER USER "+user+" SET NETWORK_POLICY = …: the gateway's address alone", "only the account's network policy %s stands for its user, which lets in others", network)
	}
	rows, err := p.ask(ctx, name, "DESCRIBE NETWORK POLICY "+setupName(network))
	if err != nil {
		p.warn(what, "have an administrator look: DESCRIBE NETWORK POLICY "+setupName(network), "the network policy %s stands, and what it lets in cannot be seen", network)
		return
	}
	var wide, others []string
	gateway, err := p.config.Warehouse.addresses()
	if err != nil {
		return // said when the configuration was read
	}
	for _, r := range rows {
		if r["name"] != "ALLOWED_IP_LIST" {
			continue
		}
		for text := range strings.SplitSeq(r["value"], ",") {
			text = strings.TrimSpace(text)
			if addressRange(text) {
				wide = append(wide, text)
				continue
			}
			if text != "" && len(gateway) > 0 && !covered(gateway, text) {
				others = append(others, text)
			}
		}
	}
	switch {
	case len(wide) > 0:
		p.fail(what, "allow the gateway's address alone", "the network policy %s lets in %s", network, strings.Join(wide, ", "))
	case len(others) > 0:
		p.fail(what, "allow the gateway's address alone", "the network policy %s lets in %s, which warehouse.addresses does not have", network, strings.Join(others, ", "))
	default:
		p.ok(what, "the network policy %s stands for its user", network)
	}
}

// covered reports whether an address or a range is one of the gateway's.
func covered(gateway []netip.Prefix, text string) bool {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return slices.ContainsFunc(gateway, func(g netip.Prefix) bool { return g.Bits() <= p.Bits() && g.Contains(p.Addr()) })
}

// examined is what the running gateway's own doctor says of the account.
func (g *gateway) examined(ctx context.Context) ([]finding, error) {
	if g.emulator != nil {
		return nil, fmt.Errorf("examining the account: it is the embedded one")
	}
	x := &examination{config: g.config, policy: g.policy, now: time.Now}
	(&patient{examination: x, warehouse: g.warehouse, record: g.log.RecordOwn}).examine(ctx)
	return x.findings, nil
}
