package identity_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"querywarden/internal/identity"
	"querywarden/internal/identity/identitytest"
	"querywarden/policy"
)

// What the providers' documentation shows their tokens to say; see [Preset].
var (
	gitHub = map[string]any{
		"sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "environment_node_id": "EN_1",
		"ref": "refs/heads/main", "sha": "6f1d0c2e", "repository": "octo-org/octo-repo", "repository_owner": "octo-org",
		"actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
		"run_id": "92", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
		"workflow": "report", "head_ref": "", "base_ref": "", "event_name": "schedule", "ref_type": "branch", "ref_protected": "true",
		"job_workflow_ref": "octo-org/flows/.github/workflows/report.yml@refs/heads/main", "jti": "e8f1",
	}
	gitLab = map[string]any{
		"sub":          "project_path:my-group/my-project:ref_type:branch:ref:main",
		"namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project",
		"user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com", "user_access_level": "developer",
		"pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main",
		"ref_protected": "true", "runner_id": 1, "runner_environment": "self-hosted", "sha": "714a62", "project_visibility": "private",
		"ci_config_ref_uri": "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main", "ci_config_sha": "714a62", "jti": "235b",
	}
	buildkite = map[string]any{
		"sub":               "organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:9f3182:step:build",
		"organization_slug": "acme-inc", "pipeline_slug": "super-duper-app", "build_number": 1, "build_branch": "main", "build_tag": "",
		"build_commit": "9f3182", "step_key": "build", "job_id": "0184990a", "agent_id": "0184990b",
		"organization_id": "2f8a", "pipeline_id": "7c1d", "build_source": "ui", "runner_environment": "self-hosted",
	}
)

func with(claims map[string]any, changes ...any) map[string]any {
	out := maps.Clone(claims)
	for i := 0; i < len(changes); i += 2 {
		out[changes[i].(string)] = changes[i+1]
	}
	return out
}

func TestPresets(t *testing.T) {
	p := identitytest.New(t)
	reports := []string{"reports"}
	for _, provider := range []struct {
		preset identity.Preset
		rule   map[string]string
		good   map[string]any
		bad    map[string]map[string]any
	}{{
		identity.GitHubActions,
		map[string]string{"repository_owner_id": "65", "job_workflow_ref": "octo-org/flows/.github/workflows/report.yml@refs/heads/main"},
		gitHub,
		map[string]map[string]any{
			"another owner of the same name": with(gitHub, "repository_owner_id", "66"),
			"a longer number":                with(gitHub, "repository_owner_id", "650"),
			"another workflow":               with(gitHub, "job_workflow_ref", "octo-org/flows/.github/workflows/other.yml@refs/heads/main"),
			"a branch of one's own":          with(gitHub, "job_workflow_ref", "octo-org/flows/.github/workflows/report.yml@refs/heads/x"),
			"a pull request":                 with(gitHub, "job_workflow_ref", "octo-org/flows/.github/workflows/report.yml@refs/pull/1/merge"),
			"a repository called like it":    with(gitHub, "job_workflow_ref", "evil/octo-org/flows/.github/workflows/report.yml@refs/heads/main"),
			"no workflow":                    with(gitHub, "job_workflow_ref", nil),
			"somebody else altogether":       with(gitHub, "repository_owner_id", "1", "repository_id", "1", "job_workflow_ref", "evil/evil/.github/workflows/a.yml@refs/heads/main"),
		},
	}, {
		identity.GitLabCI,
		map[string]string{"project_id": "20", "ref_protected": "true"},
		gitLab,
		map[string]map[string]any{
			"another project":          with(gitLab, "project_id", "21"),
			"a branch of one's own":    with(gitLab, "ref_protected", "false"),
			"a project under its name": with(gitLab, "project_id", "999"),
		},
	}, {
		identity.Buildkite,
		map[string]string{"pipeline_id": "7c1d", "build_branch": "main"},
		buildkite,
		map[string]map[string]any{
			"another pipeline":         with(buildkite, "pipeline_id", "7c1e"),
			"another branch":           with(buildkite, "build_branch", "main2"),
			"the id was not asked for": with(buildkite, "pipeline_id", nil),
		},
	}} {
		// The provider of the test stands for theirs.
		v := newVerifier(t, p, func(c *identity.Config) {
			c.Issuers[0] = identity.IssuerConfig{URL: p.URL(), Preset: provider.preset, Rules: []identity.Rule{{Claims: provider.rule, Groups: reports}}}
		})
		got, err := v.Verify(t.Context(), p.Token(audience, provider.good))
		want := policy.Caller{Issuer: p.URL(), Subject: provider.good["sub"].(string), Groups: reports, Kind: policy.CI}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", provider.preset, got, err, want)
		}
		for name, claims := range provider.bad {
			if _, err := v.Verify(t.Context(), p.Token(audience, claims)); reason(t, err) != identity.NoRule {
				t.Errorf("%s, %s: %v", provider.preset, name, err)
			}
		}
	}
}

func TestPresetsHoldRules(t *testing.T) {
	type claims = map[string]string
	const file = "o/f/.github/workflows/r.yml"
	for name, test := range map[string]struct {
		preset identity.Preset
		rules  []claims
		want   string // in the error; accepted if empty
	}{
		"no rules":                 {identity.GitHubActions, nil, "needs rules"},
		"a name":                   {identity.GitHubActions, []claims{{"repository": "octo-org/octo-repo", "job_workflow_ref": file + "@refs/heads/main"}}, "repository_id"},
		"a number with a star":     {identity.GitHubActions, []claims{{"repository_id": "7*", "job_workflow_ref": file + "@refs/heads/main"}}, "repository_id"},
		"no workflow":              {identity.GitHubActions, []claims{{"repository_id": "74"}}, "job_workflow_ref"},
		"a workflow from anywhere": {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": file + "@*"}}, "others can write"},
		"a workflow from any ref":  {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": file + "@refs/*"}}, "others can write"},
		"a workflow without a ref": {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": file}}, "others can write"},
		"any workflow":             {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": "o/f/*@refs/heads/main"}}, "others can write"},
		"a workflow, at a commit":  {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": file + "@6f1d0c2e"}}, ""},
		"a workflow, at tags":      {identity.GitHubActions, []claims{{"enterprise_id": "7", "job_workflow_ref": file + "@refs/tags/v*"}}, ""},
		"the second rule":          {identity.GitHubActions, []claims{{"repository_id": "74", "job_workflow_ref": file + "@refs/heads/main"}, {"actor": "octocat"}}, "rule 2"},
		"GitLab, a path":           {identity.GitLabCI, []claims{{"project_path": "a/b", "ref_protected": "true"}}, "project_id"},
		"GitLab, any ref":          {identity.GitLabCI, []claims{{"project_id": "20"}}, "ci_config_ref_uri or ref_protected"},
		"GitLab, a file":           {identity.GitLabCI, []claims{{"namespace_id": "72", "ci_config_ref_uri": "gitlab.com/a/b//.gitlab-ci.yml@refs/heads/main"}}, ""},
		"Buildkite, a slug":        {identity.Buildkite, []claims{{"pipeline_slug": "a", "build_branch": "main"}}, "organization_id"},
		"Buildkite, any branch":    {identity.Buildkite, []claims{{"pipeline_id": "7c1d", "build_branch": "*"}}, "build_branch or build_tag"},
		"Buildkite":                {identity.Buildkite, []claims{{"pipeline_id": "7c1d", "build_branch": "main"}}, ""},
		"a provider nobody knows":  {"jenkins", []claims{{"a": "b"}}, `preset "jenkins"`},
	} {
		c := identity.IssuerConfig{Preset: test.preset}
		for _, rule := range test.rules {
			c.Rules = append(c.Rules, identity.Rule{Claims: rule, Groups: []string{"g"}})
		}
		_, err := identity.New(identity.Config{Audience: audience, Issuers: []identity.IssuerConfig{c}})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
