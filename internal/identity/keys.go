package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// loadInterval is the shortest time between two loads of an issuer's
	// keys, however many tokens come that no known key fits.
	loadInterval = 30 * time.Second
	// freshFor is how long keys are used before they are loaded again, which
	// is how a withdrawn key goes; staleAfter is when they no longer count,
	// should loading keep failing.
	freshFor   = 10 * time.Minute
	staleAfter = time.Hour

	loadTimeout = 5 * time.Second
	maxKeysBody = 1 << 20 // bytes of a key set or of provider metadata
	maxKeys     = 100
)

// A keySet holds an issuer's public keys. It is an [oidc.KeySet].
type keySet struct {
	load       func(context.Context) ([]jose.JSONWebKey, error)
	algorithms []jose.SignatureAlgorithm
	now        func() time.Time

	mu     sync.Mutex // guards what follows; held while loading, so that all wait for one
	keys   []jose.JSONWebKey
	loaded time.Time // when keys came
	tried  time.Time // when loading began last
	err    error     // of the last load
}

func newKeySet(load func(context.Context) ([]jose.JSONWebKey, error), algorithms []string, now func() time.Time) *keySet {
	k := &keySet{load: load, now: now}
	for _, alg := range algorithms {
		k.algorithms = append(k.algorithms, jose.SignatureAlgorithm(alg))
	}
	return k
}

var (
	errNoKeys       = errors.New("the issuer's keys are not available")
	errNoKey        = errors.New("the issuer has no such key")
	errBadSignature = errors.New("the signature is wrong")
)

// VerifySignature checks a token's signature and returns its claims.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, k.algorithms)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	keys, err := k.current(ctx, false)
	if err != nil {
		return nil, err
	}
	payload, err := verify(signed, keys)
	if !errors.Is(err, errNoKey) {
		return payload, err
	}
	// The issuer may have changed keys.
	if keys, err = k.current(ctx, true); err != nil {
		return nil, err
	}
	return verify(signed, keys)
}

// verify tries the keys that the token names: those of its kid, or without one
// all of them.
func verify(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	header := signed.Signatures[0].Header
	err := errNoKey
	for i := range keys {
		key := &keys[i]
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, e := signed.Verify(key); e == nil {
			return payload, nil
		}
		err = errBadSignature
	}
	return nil, err
}

// current returns the keys, loaded anew where they are old, or missing says
// that one was not among them, unless that was tried just now.
func (k *keySet) current(ctx context.Context, missing bool) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	old := k.loaded.IsZero() || now.Sub(k.loaded) >= freshFor
	if (old || missing) && (k.tried.IsZero() || now.Sub(k.tried) >= loadInterval) {
		k.refreshLocked(ctx, now)
	}
	if k.loaded.IsZero() || now.Sub(k.loaded) >= staleAfter {
		return nil, fmt.Errorf("%w: %w", errNoKeys, k.err)
	}
	return k.keys, nil
}

// refresh loads the keys now.
func (k *keySet) refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshLocked(ctx, k.now())
	return k.err
}

func (k *keySet) refreshLocked(ctx context.Context, now time.Time) {
	// A caller that hangs up must not spoil the one load of the half minute.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	k.tried = now
	keys, err := k.load(ctx)
	if k.err = err; err == nil {
		k.keys, k.loaded = keys, now
	}
}

// fileKeys loads keys from a file.
func fileKeys(name string) func(context.Context) ([]jose.JSONWebKey, error) {
	return func(context.Context) ([]jose.JSONWebKey, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		defer f.Close()
		keys, err := readKeys(f)
		if err != nil {
			return nil, fmt.Errorf("reading keys from %s: %w", name, err)
		}
		return keys, nil
	}
}

// discoveredKeys loads keys from where the issuer's metadata says they are
// (OpenID Connect Discovery 1.0).
func discoveredKeys(issuerURL string) func(context.Context) ([]jose.JSONWebKey, error) {
	client := &http.Client{
		Timeout:   loadTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: loadTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the issuer redirects, which is not followed")
		},
	}
	client.Transport = limited{client.Transport}
	return func(ctx context.Context) ([]jose.JSONWebKey, error) {
		provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuerURL)
		if err != nil {
			return nil, fmt.Errorf("discovering keys: %w", err)
		}
		var metadata struct {
			KeysURL string `json:"jwks_uri"`
		}
		if err := provider.Claims(&metadata); err != nil {
			return nil, fmt.Errorf("discovering keys: %w", err)
		}
		if !trustworthy(metadata.KeysURL) {
			return nil, errors.New("discovering keys: jwks_uri is neither https nor http on loopback")
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, metadata.KeysURL, nil)
		if err != nil {
			return nil, fmt.Errorf("fetching keys: %w", err)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, fmt.Errorf("fetching keys: %w", err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("fetching keys: %s", response.Status)
		}
		keys, err := readKeys(response.Body)
		if err != nil {
			return nil, fmt.Errorf("fetching keys: %w", err)
		}
		return keys, nil
	}
}

// limited is a transport whose answers end early: go-oidc reads them whole.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, maxKeysBody)
	return response, nil
}

// readKeys reads a JSON Web Key Set (RFC 7517) and keeps the public keys for
// signatures. Keys of kinds unknown here are left out, as the RFC wants.
func readKeys(r io.Reader) ([]jose.JSONWebKey, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeysBody+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeysBody {
		return nil, errors.New("the key set is too large")
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no public key for signatures")
	}
	return keys, nil
}
