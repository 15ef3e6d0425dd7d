package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// loadInterval is the shortest time between two loads of an issuer's
	// keys, however many tokens come that no known key fits. Until it is over
	// such tokens are refused without asking.
	loadInterval = 30 * time.Second
	// refreshEvery is how often keys are loaded in the background, which is how
	// a withdrawn key goes. After freshFor, if that has failed, callers cause
	// it as well; after staleAfter keys no longer count.
	refreshEvery = 5 * time.Minute
	freshFor     = 10 * time.Minute
	staleAfter   = time.Hour

	loadTimeout = 5 * time.Second
	maxKeysBody = 1 << 20 // bytes of a key set or of provider metadata
	maxKeys     = 100
)

// A keySet holds an issuer's public keys. It is an [oidc.KeySet].
//
// Tokens whose key is known never wait for a load. Those whose key is not wait
// for the one that is due, if any: they may come from an issuer that has just
// changed keys, or be forged.
type keySet struct {
	load       func(context.Context) ([]jose.JSONWebKey, error)
	algorithms []jose.SignatureAlgorithm
	now        func() time.Time

	loaded atomic.Pointer[keys] // nil before the first

	mu    sync.Mutex // guards what follows; held while loading
	tried time.Time  // when loading began last
	err   error      // of the last load
}

// keys are an issuer's at one time.
type keys struct {
	list []jose.JSONWebKey
	at   time.Time

	// proven are the tokens, by their SHA-256, whose signature fitted one of
	// these keys. An agent sends the same token with every call, and a
	// signature costs more than all the rest. What proves a token goes with
	// the keys that proved it; when it counts is looked at each time.
	mu     sync.Mutex
	proven map[[sha256.Size]byte]bool
}

// maxProven bounds what is remembered; beyond it all is forgotten.
const maxProven = 10_000

// known reports whether a token has been proven before.
func (k *keys) known(token [sha256.Size]byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.proven[token]
}

func (k *keys) remember(token [sha256.Size]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proven == nil || len(k.proven) >= maxProven {
		k.proven = make(map[[sha256.Size]byte]bool)
	}
	k.proven[token] = true
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
	have, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(token))
	if have.known(sum) {
		return payload(token)
	}
	signed, err := jose.ParseSignedCompact(token, k.algorithms)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	claims, err := verify(signed, have.list)
	if errors.Is(err, errNoKey) {
		// The issuer may have changed keys.
		k.mu.Lock()
		k.loadIfDue(ctx)
		k.mu.Unlock()
		have = k.loaded.Load()
		claims, err = verify(signed, have.list)
	}
	if err != nil {
		return nil, err
	}
	have.remember(sum)
	return claims, nil
}

// payload decodes the claims of a token in compact form.
func payload(token string) ([]byte, error) {
	_, rest, _ := strings.Cut(token, ".")
	middle, _, _ := strings.Cut(rest, ".")
	return base64.RawURLEncoding.DecodeString(middle)
}

// verify tries the keys that the token names: those of its kid, or without one
// all of them.
func verify(signed *jose.JSONWebSignature, list []jose.JSONWebKey) ([]byte, error) {
	header := signed.Signatures[0].Header
	err := errNoKey
	for i := range list {
		key := &list[i]
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

// current returns the keys, which are not nil without an error.
func (k *keySet) current(ctx context.Context) (*keys, error) {
	age := func(known *keys) time.Duration {
		if known == nil {
			return staleAfter
		}
		return k.now().Sub(known.at)
	}
	known := k.loaded.Load()
	switch {
	case age(known) < freshFor:
		return known, nil
	case age(known) < staleAfter:
		// One caller tries; the others go on with what there is.
		if k.mu.TryLock() {
			k.loadIfDue(ctx)
			k.mu.Unlock()
		}
		return k.loaded.Load(), nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if known = k.loaded.Load(); age(known) < staleAfter {
		return known, nil // somebody else has loaded them meanwhile
	}
	k.loadIfDue(ctx)
	if known = k.loaded.Load(); age(known) >= staleAfter {
		return nil, fmt.Errorf("%w: %w", errNoKeys, k.err)
	}
	return known, nil
}

// loadIfDue loads the keys unless that was tried just now. The caller holds
// the lock.
func (k *keySet) loadIfDue(ctx context.Context) {
	now := k.now()
	if !k.tried.IsZero() && now.Sub(k.tried) < loadInterval {
		return
	}
	// A caller that hangs up must not spoil the one load of the half minute.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	k.tried = now
	list, err := k.load(ctx)
	if k.err = err; err == nil {
		k.loaded.Store(&keys{list: list, at: now})
	}
}

// refresh loads the keys now, if that is due.
func (k *keySet) refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loadIfDue(ctx)
	return k.err
}

// keepFresh loads the keys again and again until the context ends, and says
// when that fails. Gateways that started together do not ask together.
func (k *keySet) keepFresh(ctx context.Context, failed func(error)) {
	for {
		wait := refreshEvery + rand.N(time.Minute)
		if err := k.refresh(ctx); err != nil {
			failed(err)
			wait = loadInterval + rand.N(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
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
		list, err := readKeys(f)
		if err != nil {
			return nil, fmt.Errorf("reading keys from %s: %w", name, err)
		}
		return list, nil
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
		list, err := readKeys(response.Body)
		if err != nil {
			return nil, fmt.Errorf("fetching keys: %w", err)
		}
		return list, nil
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
	var list []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		list = append(list, key)
	}
	if len(list) == 0 {
		return nil, errors.New("the key set has no public key for signatures")
	}
	return list, nil
}
