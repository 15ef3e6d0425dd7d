package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// TokenVariable is the variable that holds a token, if any does.
const TokenVariable = "QUERYWARDEN_TOKEN"

// tokenLimit is more bytes than any token has.
const tokenLimit = 64 << 10

// Pipeline finds the token of a pipeline's job. It returns nil where there is
// none and nothing says that this is a job that should have one. File, which
// may be empty, names a file that holds a token. The resource is the gateway's
// URL: the audience of a token that is minted for it.
func Pipeline(file string, getenv func(string) string, resource *url.URL) (Token, error) {
	switch {
	case file != "":
		return fromFile(file), nil
	case getenv(TokenVariable) != "":
		return Static(strings.TrimSpace(getenv(TokenVariable)), TokenVariable), nil
	case getenv("GITHUB_ACTIONS") == "true":
		return GitHub(getenv, resource)
	case getenv("BUILDKITE") == "true":
		return minted(func(ctx context.Context) (string, error) { return buildkite(ctx, resource) }), nil
	case getenv("GITLAB_CI") == "true":
		return nil, advise(errors.New("this GitLab job has no token for the gateway"), "give the job `id_tokens: {%s: {aud: %s}}`", TokenVariable, resource)
	default:
		return nil, nil
	}
}

// fromFile reads the token anew when it is refused: whoever writes the file
// renews it.
func fromFile(file string) Token {
	var last string
	return func(_ context.Context, fresh bool) (string, error) {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, tokenLimit))
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		token := strings.TrimSpace(string(text))
		switch {
		case token == "" || strings.ContainsAny(token, " \t\r\n"):
			return "", fmt.Errorf("reading the token: %s does not hold one token", file)
		case fresh && token == last:
			return "", advise(fmt.Errorf("the gateway refuses the token of %s", file), "it may have expired or be meant for another audience: get a new one")
		}
		last = token
		return token, nil
	}
}

// minted keeps a token until it is refused, and mints another one then.
func minted(mint func(context.Context) (string, error)) Token {
	var mu sync.Mutex
	var token string
	return func(ctx context.Context, fresh bool) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if token != "" && !fresh {
			return token, nil
		}
		t, err := mint(ctx)
		if err != nil {
			return "", err
		}
		token = t
		return token, nil
	}
}

// GitHub returns the token of a job on GitHub Actions. It is good for minutes,
// for this gateway alone, and says which repository, workflow and ref this is.
// https://docs.github.com/en/actions/reference/security/oidc
func GitHub(getenv func(string) string, resource *url.URL) (Token, error) {
	place, secret := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if place == "" || secret == "" {
		return nil, advise(errors.New("this GitHub job may not ask for a token"), "give the job `permissions: {id-token: write}`; in a pull request from a fork there is none")
	}
	u, err := url.Parse(place)
	if err != nil || !private(u) {
		return nil, errors.New("asking GitHub for a token: ACTIONS_ID_TOKEN_REQUEST_URL is not an https URL")
	}
	q := u.Query()
	q.Set("audience", resource.String())
	u.RawQuery = q.Encode()
	hc := newHTTP()
	hc.Timeout = 30 * time.Second
	return minted(func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return "", fmt.Errorf("asking GitHub for a token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Accept", "application/json")
		var answer struct {
			Value string `json:"value"`
		}
		if err := fetchJSON(hc, req, &answer); err != nil {
			return "", fmt.Errorf("asking GitHub for a token: %w", err)
		}
		if answer.Value == "" {
			return "", errors.New("asking GitHub for a token: the answer holds none")
		}
		return answer.Value, nil
	}), nil
}

// buildkite asks the agent for a token.
// https://buildkite.com/docs/agent/cli/reference/oidc
func buildkite(ctx context.Context, resource *url.URL) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	// The claims are numbers that the gateway's rules want, and that are not
	// there unless asked for.
	cmd := exec.CommandContext(ctx, "buildkite-agent", "oidc", "request-token", "--audience", resource.String(), "--claim", "organization_id,pipeline_id")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", advise(fmt.Errorf("asking buildkite-agent for a token: %w", err), "%s", or(clean(strings.TrimSpace(said.String())), "is buildkite-agent in this job's PATH?"))
	}
	token := strings.TrimSpace(out.String())
	if token == "" || len(token) > tokenLimit || strings.ContainsAny(token, " \t\r\n") {
		return "", errors.New("asking buildkite-agent for a token: the answer is no token")
	}
	return token, nil
}

// documentLimit is how much is read of metadata and of answers about tokens, in
// bytes.
const documentLimit = 1 << 20

// fetchJSON reads a JSON document.
func fetchJSON(hc *http.Client, req *http.Request, into any) error {
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, documentLimit))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", clean(req.URL.Host+req.URL.Path), res.Status)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s does not answer with JSON", clean(req.URL.Host+req.URL.Path))
	}
	return nil
}
