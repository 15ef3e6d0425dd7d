package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An Issuer makes tokens for demonstrations and tests: an issuer whose private
// key lies on the gateway's disk proves nothing to anybody who can read that
// disk.
//
// Its folder holds issuer.key (the ES256 key as PKCS #8 in PEM, mode 0600) and
// jwks.json (the public half, for [IssuerConfig.KeysFile]).
type Issuer struct {
	url    string
	dir    string
	signer jose.Signer // of access tokens
	ids    jose.Signer // of ID tokens
}

// OpenIssuer opens the issuer in a folder, or makes it. url is what its tokens
// say in iss; nothing is served there.
func OpenIssuer(dir, url string) (*Issuer, error) {
	if url == "" {
		return nil, errors.New("opening issuer: the URL is missing")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening issuer: %w", err)
	}
	key, err := openKey(filepath.Join(dir, "issuer.key"))
	if err != nil {
		return nil, fmt.Errorf("opening issuer: %w", err)
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, Algorithm: string(jose.ES256), Use: "sig"}
	print, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("opening issuer: %w", err)
	}
	public.KeyID = fmt.Sprintf("%x", print[:8])
	set, err := json.MarshalIndent(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("opening issuer: %w", err)
	}
	i := &Issuer{url: url, dir: dir}
	if err := os.WriteFile(i.KeysFile(), append(set, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("opening issuer: %w", err)
	}
	for typ, signer := range map[jose.ContentType]*jose.Signer{"at+jwt": &i.signer, "JWT": &i.ids} {
		options := (&jose.SignerOptions{}).WithType(typ).WithHeader("kid", public.KeyID)
		if *signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options); err != nil {
			return nil, fmt.Errorf("opening issuer: %w", err)
		}
	}
	return i, nil
}

// openKey reads a private key, or makes one. A key that others can read is
// refused.
func openKey(file string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o); it should be 0600", file, info.Mode().Perm())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is not a PKCS #8 key", file)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is not a P-256 key", file)
	}
	return private, nil
}

func makeKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// O_EXCL: of two processes that make a key, one must not lose it to the
	// other.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key, errors.Join(err, f.Close())
}

// URL is the issuer in the tokens.
func (i *Issuer) URL() string { return i.url }

// KeysFile is where the public key is.
func (i *Issuer) KeysFile() string { return filepath.Join(i.dir, "jwks.json") }

// TokenClaims are what a token of an [Issuer] says. Subject, Audience and
// Lifetime are needed.
type TokenClaims struct {
	Subject  string
	Email    string
	Groups   []string
	Audience string
	// Actor is who acts for the subject, empty if nobody.
	Actor string
	// Lifetime is how long the token is valid from now, at most
	// [DefaultMaxAge].
	Lifetime time.Duration
}

// Token makes an access token.
func (i *Issuer) Token(c TokenClaims) (string, error) { return i.token(i.signer, c, nil) }

// IDToken makes an ID token for a client, the audience, that has sent a nonce:
// the person has entered their credentials just now, if there were any.
func (i *Issuer) IDToken(c TokenClaims, nonce string) (string, error) {
	return i.token(i.ids, c, map[string]any{"nonce": nonce, "auth_time": time.Now().Unix()})
}

func (i *Issuer) token(signer jose.Signer, c TokenClaims, more map[string]any) (string, error) {
	if c.Subject == "" || c.Audience == "" {
		return "", errors.New("making a token: subject and audience are needed")
	}
	if c.Lifetime <= 0 || c.Lifetime > DefaultMaxAge {
		return "", fmt.Errorf("making a token: the lifetime must be between 0 and %s", DefaultMaxAge)
	}
	now := time.Now()
	body := map[string]any{
		"iss": i.url, "sub": c.Subject, "aud": c.Audience,
		"iat": now.Unix(), "exp": now.Add(c.Lifetime).Unix(), "jti": rand.Text(),
	}
	if c.Email != "" {
		body["email"] = c.Email
	}
	if len(c.Groups) > 0 {
		body["groups"] = c.Groups
	}
	if c.Actor != "" {
		body["act"] = map[string]any{"sub": c.Actor}
	}
	maps.Copy(body, more)
	token, err := jwt.Signed(signer).Claims(body).Serialize()
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	return token, nil
}
