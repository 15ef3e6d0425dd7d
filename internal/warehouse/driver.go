package warehouse

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"querywarden/audit"
)

// A connector makes sessions. It stands in for the driver's own, which shares
// one map of session parameters between all of them.
type connector struct {
	config sf.Config
	login  Login
	record func(ctx context.Context, sql string) (audit.Receipt, error)
}

// newConnector fixes everything about sessions that the configuration does not
// say.
func newConnector(c Config, l Login, g *guard) connector {
	params := map[string]string{
		// docs.snowflake.com/en/sql-reference/parameters
		"MULTI_STATEMENT_COUNT":               "1",
		"STATEMENT_TIMEOUT_IN_SECONDS":        strconv.FormatInt(int64(max(c.StatementTimeout, time.Second)/time.Second), 10),
		"STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": strconv.FormatInt(int64(max(c.StatementTimeout, time.Second)/time.Second), 10),
		"ABORT_DETACHED_QUERY":                "true",
		"AUTOCOMMIT":                          "true",
		"QUOTED_IDENTIFIERS_IGNORE_CASE":      "false",
		"TIMEZONE":                            "UTC",
		"CLIENT_SESSION_KEEP_ALIVE":           "false",
		"GO_QUERY_RESULT_FORMAT":              "ARROW",
	}
	pointers := map[string]*string{}
	for name, value := range params {
		pointers[name] = &value
	}
	return connector{login: l, record: c.Record, config: sf.Config{
		Account:   c.Account,
		User:      l.User,
		Role:      l.Role,
		Warehouse: l.Warehouse,
		Database:  l.Database,
		Schema:    l.Schema,
		Protocol:  c.Protocol,
		Host:      c.Host,
		Port:      c.Port,
		Params:    pointers,

		Application:               "querywarden",
		ValidateDefaultParameters: sf.ConfigBoolTrue,
		DisableTelemetry:          true,
		LoginTimeout:              c.LoginTimeout,
		JWTExpireTimeout:          time.Minute,
		JWTClientTimeout:          c.LoginTimeout,
		// One HTTP exchange: the account answers a long statement every 45 s
		// or so with "in progress".
		ClientTimeout:  2 * time.Minute,
		RequestTimeout: 2 * time.Minute,
		MaxRetryCount:  3,

		// The guard checks certificates; the driver would not, beside a
		// transport that is not its own.
		Transporter:             g,
		DisableOCSPChecks:       true,
		CertRevocationCheckMode: sf.CertRevocationCheckDisabled,
	}}
}

// Connect logs in, and makes sure of what the session is.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	config := c.config
	config.Params = make(map[string]*string, len(c.config.Params))
	for name, value := range c.config.Params {
		own := *value
		config.Params[name] = &own
	}
	if err := c.login.authenticate(ctx, &config); err != nil {
		return nil, &Error{Class: Auth, Message: err.Error()}
	}
	conn, err := sf.NewConnector(sf.SnowflakeDriver{}, config).Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.probed(ctx, conn); err != nil {
		// The error of a session that is refused is why it is refused.
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// Driver returns the driver, which database/sql asks for.
func (c connector) Driver() driver.Driver { return sf.SnowflakeDriver{} }

// quieten switches off what the driver does besides talking to the account.
func quieten() error {
	for name, value := range map[string]string{
		"SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
		"SF_DISABLE_MINICORE":                  "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// Its log lines quote the account's error messages, which quote data; the
	// level alone does not silence all of them.
	logger := sf.GetLogger()
	logger.SetOutput(io.Discard)
	if err := logger.SetLogLevel("panic"); err != nil {
		return fmt.Errorf("silencing the driver: %w", err)
	}
	if file := easyLogging(); file != "" {
		return fmt.Errorf("%s makes the driver log statements and their data to a file; remove it", file)
	}
	return nil
}

// easyLogging returns what would switch on the driver's log to a file, looking
// where the driver looks.
func easyLogging() string {
	const variable, name = "SF_CLIENT_CONFIG_FILE", "sf_client_config.json"
	if os.Getenv(variable) != "" {
		return "the environment variable " + variable
	}
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, home)
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			return file
		}
	}
	return ""
}

// fileCommand finds what the driver might take for PUT or GET. The driver's
// own pattern is narrower, but in one line it reads on from a comment's start
// to the last comment's end.
var fileCommand = regexp.MustCompile(`(?is)^(\s|/\*.*\*/|--[^\n]*\n|//[^\n]*\n)*(put|get)\b`)

func movesFiles(text string) bool { return fileCommand.MatchString(text) }

// keepsSession reports whether the session is afterwards what it was before.
// Only statements known to leave it alone keep it.
func keepsSession(text string) bool {
	text = strings.TrimLeft(text, "( \t\r\n")
	end := strings.IndexFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	if end < 0 {
		end = len(text)
	}
	switch strings.ToUpper(text[:end]) {
	case "SELECT", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "INSERT", "UPDATE", "DELETE", "MERGE":
		return true
	case "WITH":
		// WITH p AS PROCEDURE … CALL p() runs with the caller's rights.
		return !strings.Contains(strings.ToUpper(text), "PROCEDURE")
	default:
		return false
	}
}
