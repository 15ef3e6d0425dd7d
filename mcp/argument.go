package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A checker holds the arguments of one tool against its input schema, and
// words what is wrong for the model that has to correct it. It knows the part
// of JSON Schema that the input schemas here use, and a test keeps them to it.
type checker struct {
	Properties map[string]property `json:"properties"`
	Required   []string            `json:"required"`
}

type property struct {
	Type      string `json:"type"`
	Minimum   *int64 `json:"minimum"`
	Maximum   *int64 `json:"maximum"`
	MaxLength *int   `json:"maxLength"` // characters
}

// newChecker reads an input schema.
func newChecker(schema []byte) (checker, error) {
	var c checker
	if err := json.Unmarshal(schema, &c); err != nil {
		return checker{}, fmt.Errorf("reading input schema: %w", err)
	}
	return c, nil
}

// arguments returns arguments that fit the schema, or one sentence about the
// first that does not.
func (c checker) arguments(raw json.RawMessage) (args json.RawMessage, problem string) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		raw = json.RawMessage("{}")
	}
	if !utf8.Valid(raw) {
		return nil, "The arguments are not valid UTF-8."
	}
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return nil, "The arguments are not an object."
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		p, known := c.Properties[name]
		if !known {
			return nil, fmt.Sprintf("There is no argument %q here; the arguments are %s.", clip(name), strings.Join(slices.Sorted(maps.Keys(c.Properties)), ", "))
		}
		if problem := p.check(given[name]); problem != "" {
			return nil, fmt.Sprintf("%s %s.", name, problem)
		}
	}
	for _, name := range c.Required {
		if _, ok := given[name]; !ok {
			return nil, fmt.Sprintf("%s is missing.", name)
		}
	}
	// Not the bytes that came: Go would read "SQL" into sql, and takes the
	// last of two equal names, so what was checked is what goes on.
	args, err := json.Marshal(given)
	if err != nil {
		return nil, "The arguments are not an object."
	}
	return args, ""
}

// check says what is wrong with a value, or nothing.
func (p property) check(raw json.RawMessage) string {
	switch p.Type {
	case "string":
		var v *string
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return "is not a string"
		}
		if p.MaxLength != nil && utf8.RuneCountInString(*v) > *p.MaxLength {
			return fmt.Sprintf("is longer than %d characters", *p.MaxLength)
		}
	case "boolean":
		var v *bool
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return "is neither true nor false"
		}
	case "integer":
		var v *int64
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return "is not an integer"
		}
		if p.Minimum != nil && *v < *p.Minimum {
			return fmt.Sprintf("is less than %d", *p.Minimum)
		}
		if p.Maximum != nil && *v > *p.Maximum {
			return fmt.Sprintf("is more than %d", *p.Maximum)
		}
	default:
		return "is of a type that is not taken here"
	}
	return ""
}

// clip shortens a name that an agent made up, so that it can be quoted.
func clip(name string) string {
	const limit = 64
	if utf8.RuneCountInString(name) <= limit {
		return name
	}
	return string([]rune(name)[:limit]) + "…"
}
