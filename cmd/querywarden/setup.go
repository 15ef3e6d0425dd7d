package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
)

func runSetup(_ context.Context, args []string, std streams) error {
	fs := newFlags("setup", std)
	file := fs.String("config", "", "take names and addresses from this configuration `file`")
	key := fs.String("public-key", "", "the `base64` of the user's public key: openssl rsa -in snowflake.p8 -pubout, without its first and last line")
	addresses := fs.String("addresses", "", "where the gateway's traffic comes from, `comma-separated`")
	credits := fs.Int("credits", 100, "what the gateway's warehouse may use in a month, in `credits`")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] != "snowflake" {
		return usagef("setup knows one thing to set up: snowflake")
	}
	s := setup{
		User: "QUERYWARDEN", Role: "QUERYWARDEN_ROLE", Warehouse: "QUERYWARDEN_WH", Database: "RETAIL",
		Key: cmp.Or(*key, "…"), Addresses: splitList(*addresses), Credits: *credits,
	}
	if *file != "" {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		if c.Warehouse.Emulator != "" {
			return hint(fmt.Errorf("%s names the embedded warehouse", *file), "what it prints is for an account; leave --config away for an example")
		}
		l := c.Warehouse.Login
		s.User, s.Role, s.Warehouse, s.Database = cmp.Or(l.User, s.User), cmp.Or(l.Role, s.Role), cmp.Or(l.Warehouse, s.Warehouse), cmp.Or(l.Database, s.Database)
		if len(s.Addresses) == 0 {
			s.Addresses = c.Warehouse.Addresses
		}
	}
	if len(s.Addresses) == 0 {
		s.Addresses = []string{"203.0.113.10"} // RFC 5737: nobody's
	}
	return s.print(std.out)
}

// setup is what the SQL that it prints is about.
type setup struct {
	User, Role, Warehouse, Database string
	Key                             string
	Addresses                       []string
	Credits                         int
}

// print writes the SQL that an administrator runs once. Each statement is a
// page of docs.snowflake.com/en/sql-reference.
func (s setup) print(w io.Writer) error {
	var list []string
	for _, a := range s.Addresses {
		if !strings.Contains(a, "/") {
			a += "/32"
		}
		list = append(list, "'"+strings.ReplaceAll(a, "'", "''")+"'")
	}
	_, err := strings.NewReplacer(
		"{user}", setupName(s.User), "{role}", setupName(s.Role), "{warehouse}", setupName(s.Warehouse), "{database}", setupName(s.Database),
		"{key}", strings.ReplaceAll(s.Key, "'", "''"), "{addresses}", strings.Join(list, ", "), "{credits}", fmt.Sprint(s.Credits),
	).WriteString(w, setupSQL)
	return err
}

// setupName writes a name of the configuration as an identifier: as it is if
// that is what it would be taken for, else in quotes.
func setupName(name string) string {
	plain := name != "" && strings.Trim(strings.ToUpper(name), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$") == "" && !strings.ContainsAny(name[:1], "0123456789$")
	if plain || len(name) > 1 && strings.HasPrefix(name, `"`) && strings.HasSuffix(name, `"`) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

const setupSQL = `-- What the gateway needs in a Snowflake account. An administrator (ACCOUNTADMIN)
-- reads this, changes names where others are wanted, and runs it once. It can be
-- run again: nothing that is there is replaced, but for the network rule.

-- A place for policies, which live in a schema.
CREATE DATABASE IF NOT EXISTS QUERYWARDEN_ADMIN;
CREATE SCHEMA IF NOT EXISTS QUERYWARDEN_ADMIN.POLICIES;

-- The role. It reads what agents may ask about, and nothing else: what it cannot
-- do, no mistake in the gateway's policy can do either.
CREATE ROLE IF NOT EXISTS {role};
GRANT USAGE ON DATABASE {database} TO ROLE {role};
GRANT USAGE ON ALL SCHEMAS IN DATABASE {database} TO ROLE {role};
GRANT USAGE ON FUTURE SCHEMAS IN DATABASE {database} TO ROLE {role};
GRANT SELECT ON ALL TABLES IN DATABASE {database} TO ROLE {role};
GRANT SELECT ON FUTURE TABLES IN DATABASE {database} TO ROLE {role};
GRANT SELECT ON ALL VIEWS IN DATABASE {database} TO ROLE {role};
GRANT SELECT ON FUTURE VIEWS IN DATABASE {database} TO ROLE {role};
-- Only if agents may write, with a person's approval or without:
-- GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {database}.STAGING TO ROLE {role};

-- Tags, and the account's own history: masks by label, and audit reconcile.
GRANT DATABASE ROLE SNOWFLAKE.GOVERNANCE_VIEWER TO ROLE {role};
GRANT DATABASE ROLE SNOWFLAKE.SECURITY_VIEWER TO ROLE {role};

-- A warehouse of its own, so that its cost is seen and bounded.
CREATE RESOURCE MONITOR IF NOT EXISTS QUERYWARDEN_MONITOR WITH CREDIT_QUOTA = {credits} FREQUENCY = MONTHLY START_TIMESTAMP = IMMEDIATELY
  TRIGGERS ON 80 PERCENT DO NOTIFY ON 100 PERCENT DO SUSPEND_IMMEDIATE;
CREATE WAREHOUSE IF NOT EXISTS {warehouse} WAREHOUSE_SIZE = XSMALL AUTO_SUSPEND = 60 AUTO_RESUME = TRUE
  STATEMENT_TIMEOUT_IN_SECONDS = 600 STATEMENT_QUEUED_TIMEOUT_IN_SECONDS = 60 RESOURCE_MONITOR = QUERYWARDEN_MONITOR;
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {role};

-- The gateway alone may log in as its user. This is what makes "no gateway, no
-- query" true: the key is useless elsewhere.
CREATE OR REPLACE NETWORK RULE QUERYWARDEN_ADMIN.POLICIES.GATEWAY_ONLY MODE = INGRESS TYPE = IPV4 VALUE_LIST = ({addresses});
CREATE NETWORK POLICY IF NOT EXISTS QUERYWARDEN_NETWORK ALLOWED_NETWORK_RULE_LIST = ('QUERYWARDEN_ADMIN.POLICIES.GATEWAY_ONLY');

-- The user: an agent by type, a key pair, no password, no other role beside its
-- own.
CREATE USER IF NOT EXISTS {user} TYPE = SERVICE_AGENT RSA_PUBLIC_KEY = '{key}'
  DEFAULT_ROLE = {role} DEFAULT_SECONDARY_ROLES = () DEFAULT_WAREHOUSE = {warehouse} COMMENT = 'querywarden';
GRANT ROLE {role} TO USER {user};
ALTER USER {user} SET NETWORK_POLICY = QUERYWARDEN_NETWORK;

-- It logs in with its key and in no other way.
CREATE AUTHENTICATION POLICY IF NOT EXISTS QUERYWARDEN_ADMIN.POLICIES.KEY_PAIR_ONLY AUTHENTICATION_METHODS = ('KEYPAIR');
ALTER USER {user} SET AUTHENTICATION POLICY QUERYWARDEN_ADMIN.POLICIES.KEY_PAIR_ONLY;

-- Its sessions have no secondary roles. A gateway that only reads takes the
-- second policy instead: the account then refuses every write, whatever the
-- role may do. Say session_scope: SNOWFLAKE$DATA_READ in the configuration.
CREATE SESSION POLICY IF NOT EXISTS QUERYWARDEN_ADMIN.POLICIES.ONE_ROLE ALLOWED_SECONDARY_ROLES = ();
CREATE SESSION POLICY IF NOT EXISTS QUERYWARDEN_ADMIN.POLICIES.READ_ONLY AGENT_RESTRICTED_SESSION_SCOPE = 'SNOWFLAKE$DATA_READ' ALLOWED_SECONDARY_ROLES = ();
ALTER USER {user} SET SESSION POLICY QUERYWARDEN_ADMIN.POLICIES.ONE_ROLE;
-- ALTER USER {user} UNSET SESSION POLICY;
-- ALTER USER {user} SET SESSION POLICY QUERYWARDEN_ADMIN.POLICIES.READ_ONLY;

-- Models of the account see whatever a statement shows them. Unless others need
-- them:
-- REVOKE DATABASE ROLE SNOWFLAKE.CORTEX_USER FROM ROLE PUBLIC;
`
