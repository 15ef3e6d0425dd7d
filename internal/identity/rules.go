package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"querywarden/policy"
)

// A Rule applies to a token if every one of its claims is there and fits its
// pattern, in which * stands for any text. Numbers and booleans are compared in
// their JSON form; of a list, one element has to fit. Dots lead into objects. A
// rule without claims is an error.
type Rule struct {
	Claims map[string]string
	Groups []string          // added
	Kind   policy.CallerKind // replaces the kind if not unknown; the last rule wins
}

// fits reports whether a token's claims meet the rule.
func (r Rule) fits(c claims) bool {
	for name, pattern := range r.Claims {
		if !slices.ContainsFunc(c.values(name), func(value string) bool { return glob(pattern, value) }) {
			return false
		}
	}
	return len(r.Claims) > 0
}

// glob matches a text against a pattern in which * stands for any text.
func glob(pattern, s string) bool {
	prefix, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		// The earliest place leaves most for the parts that follow.
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], after
	}
}

// A Preset is what is known of a provider of tokens for CI jobs. Such a
// provider makes tokens for anybody, for any audience, so only what a rule fits
// is let in, as a caller of kind ci. Names of organisations and repositories
// can be given up and registered by somebody else, so every rule has to name a
// number that cannot; and since whoever may push a branch may write a workflow
// there, every rule has to say which pipeline, and from where.
type Preset string

// The presets.
const (
	// GitHubActions is https://token.actions.githubusercontent.com. Rules name
	// repository_id, repository_owner_id or enterprise_id, and a
	// job_workflow_ref up to a branch, tag or commit.
	// docs.github.com/en/actions/reference/security/oidc
	GitHubActions Preset = "github-actions"
	// GitLabCI is https://gitlab.com unless the URL says otherwise. Rules name
	// project_id or namespace_id, and a ci_config_ref_uri up to a branch, tag
	// or commit, or ref_protected.
	// docs.gitlab.com/ci/secrets/id_token_authentication
	GitLabCI Preset = "gitlab-ci"
	// Buildkite is https://agent.buildkite.com. Rules name organization_id or
	// pipeline_id, which jobs ask for (buildkite-agent oidc request-token
	// --claim organization_id,pipeline_id), and a build_branch or build_tag.
	// buildkite.com/docs/agent/cli/reference/oidc
	Buildkite Preset = "buildkite"
)

// preset fills in what is known of a provider, and holds the rules to it.
func (c *IssuerConfig) preset() error {
	var address, pin string
	var ids, where []string
	switch c.Preset {
	case "":
		return nil
	case GitHubActions:
		address, pin = "https://token.actions.githubusercontent.com", "job_workflow_ref"
		ids = []string{"repository_id", "repository_owner_id", "enterprise_id"}
	case GitLabCI:
		address, pin = "https://gitlab.com", "ci_config_ref_uri"
		ids, where = []string{"project_id", "namespace_id"}, []string{"ref_protected"}
	case Buildkite:
		address = "https://agent.buildkite.com"
		ids, where = []string{"organization_id", "pipeline_id"}, []string{"build_branch", "build_tag"}
	default:
		return fmt.Errorf("preset %q is none of %s, %s, %s", c.Preset, GitHubActions, GitLabCI, Buildkite)
	}
	if c.URL == "" {
		c.URL = address
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256"}
	}
	if c.Kind == policy.UnknownCaller {
		c.Kind = policy.CI
	}
	c.RulesOnly = true
	if len(c.Rules) == 0 {
		return errors.New("needs rules: anybody in the world gets tokens from this issuer")
	}
	for i, rule := range c.Rules {
		if !slices.ContainsFunc(ids, func(id string) bool { return exact(rule.Claims[id]) }) {
			return fmt.Errorf("rule %d has to name one of %s, without *: names can be registered again by others", i+1, strings.Join(ids, ", "))
		}
		pinned := slices.ContainsFunc(where, func(claim string) bool { return exact(rule.Claims[claim]) })
		if pattern, there := rule.Claims[pin]; pin != "" && there {
			path, ref, found := strings.Cut(pattern, "@")
			if !found || !exact(path) || ref == "" || strings.HasPrefix(strings.TrimPrefix(ref, "refs/"), "*") {
				return fmt.Errorf("rule %d: %s has to name one file, and after @ where it is from: %q would fit what others can write", i+1, pin, pattern)
			}
			pinned = true
		}
		if !pinned {
			if pin != "" {
				where = append([]string{pin}, where...)
			}
			return fmt.Errorf("rule %d has to say which pipeline, with %s", i+1, strings.Join(where, " or "))
		}
	}
	return nil
}

// exact reports whether a pattern fits one text alone.
func exact(pattern string) bool { return pattern != "" && !strings.Contains(pattern, "*") }
