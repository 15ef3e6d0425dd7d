package parser

import (
	"strings"

	"querywarden/internal/snowsql/token"
)

// hint says what to write instead of what other dialects have, where that is
// what the current token looks like; "" if it is not.
func (p *parser) hint() string {
	switch p.tok.Text(p.src) {
	case "`":
		return "Put double quotes around names."
	case "&":
		return "Write AND between conditions, BITAND(a, b) for bits."
	case "|":
		return "Write OR between conditions, || between texts, BITOR(a, b) for bits."
	case "^":
		return "Write POWER(a, b), or BITXOR(a, b) for bits."
	case "#":
		return "Comments begin with -- or //."
	case "=":
		if p.before() == "=" {
			return "One = compares."
		}
	case ",":
		if p.tok.Kind == token.Comma && p.limited() {
			return "Write LIMIT count OFFSET start."
		}
	case "(":
		if p.before() == "filter" {
			return "Write COUNT_IF(condition), or SUM(IFF(condition, value, 0))."
		}
	}
	switch before := p.before(); {
	case before == "distinct" && p.at("ON"):
		return "Write QUALIFY ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) = 1."
	case before == "at" && p.at("TIME"):
		return "Write CONVERT_TIMEZONE('zone', value)."
	case before == "interval" && p.tok.Kind == token.Number:
		return "Write INTERVAL '1 day', or DATEADD(day, 1, value)."
	case p.at("OVER"), before == "over":
		return "Write the window in parentheses behind OVER."
	}
	return ""
}

// before returns the token before the current one, a word in lower case.
func (p *parser) before() string {
	end := int(p.last)
	start := end
	for start > 0 && (p.src[start-1] == '_' || p.src[start-1]|0x20 >= 'a' && p.src[start-1]|0x20 <= 'z') {
		start--
	}
	if start == end && start > 0 {
		start--
	}
	return strings.ToLower(p.src[start:end])
}

// limited reports whether LIMIT and a number stand before the current token.
func (p *parser) limited() bool {
	words := strings.Fields(p.src[:p.tok.Pos])
	n := len(words)
	return n >= 2 && strings.EqualFold(words[n-2], "LIMIT")
}
