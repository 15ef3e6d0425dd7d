package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zalando/go-keyring"
)

// A Kept is a person's sign-in at one gateway.
type Kept struct {
	Gateway string    `json:"gateway"`
	Issuer  string    `json:"issuer"`
	Client  string    `json:"client_id"`
	Secret  string    `json:"client_secret,omitempty"` // of a client that registered itself
	Token   string    `json:"token_endpoint"`
	Revoke  string    `json:"revocation_endpoint,omitempty"`
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // of Access, zero if nobody said
}

// A Keep is where sign-ins are kept between runs: in the system's keyring
// (Keychain, Windows' credential manager, the Secret Service) or, where there
// is none or it does not take what is kept, in a file that nobody else can
// read.
type Keep struct {
	dir     string
	keyring bool
}

// service names this program in keyrings.
const service = "querywarden"

// OpenKeep returns the keep of this user. Without keyring it uses files alone.
func OpenKeep(useKeyring bool) (*Keep, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("finding the folder of sign-ins: %w", err)
	}
	return &Keep{dir: filepath.Join(dir, "querywarden", "sign-ins"), keyring: useKeyring}, nil
}

// file is named after the gateway's URL.
func (k *Keep) file(gateway string) string {
	sum := sha256.Sum256([]byte(gateway))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:12])+".json")
}

// Load returns the sign-in at a gateway, nil if there is none.
func (k *Keep) Load(gateway string) (*Kept, error) {
	text, err := k.load(gateway)
	if err != nil || text == "" {
		return nil, err
	}
	var kept Kept
	if err := json.Unmarshal([]byte(text), &kept); err != nil || kept.Gateway != gateway {
		return nil, advise(fmt.Errorf("reading the sign-in at %s: it is not what was written", gateway), "querywarden logout %s, then sign in again", gateway)
	}
	return &kept, nil
}

func (k *Keep) load(gateway string) (string, error) {
	if k.keyring {
		if text, err := keyring.Get(service, gateway); err == nil {
			return text, nil
		}
		// None there, or no keyring: then it is in a file, if anywhere.
	}
	file := k.file(gateway)
	info, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the sign-in: %w", err)
	}
	if err := ownAlone(info); err != nil {
		return "", advise(fmt.Errorf("reading the sign-in: %s %w", file, err), "somebody else may have used it: remove it, and sign in again")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the sign-in: %w", err)
	}
	return string(text), nil
}

// Save keeps a sign-in, and returns in which kind of place.
func (k *Keep) Save(s *Kept) (place string, err error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("keeping the sign-in: %w", err)
	}
	file := k.file(s.Gateway)
	if k.keyring && keyring.Set(service, s.Gateway, string(text)) == nil {
		// An older one must not come back.
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("removing an older sign-in: %w", err)
		}
		return "the keyring", nil
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return "", fmt.Errorf("keeping the sign-in: %w", err)
	}
	f, err := os.CreateTemp(k.dir, ".new-*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("keeping the sign-in: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the sign-in: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return file, nil
}

// Remove forgets a sign-in. It returns false if there was none.
func (k *Keep) Remove(gateway string) (bool, error) {
	found := k.keyring && keyring.Delete(service, gateway) == nil
	err := os.Remove(k.file(gateway))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("removing the sign-in: %w", err)
	}
	return true, nil
}

// lock lets one process at a time renew the sign-in at a gateway: a refresh
// token that is used twice is taken for stolen by many servers, which then end
// the sign-in.
func (k *Keep) lock(ctx context.Context, gateway string) (unlock func(), err error) {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking the sign-in: %w", err)
	}
	f, err := os.OpenFile(k.file(gateway)+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the sign-in: %w", err)
	}
	for {
		locked, err := tryLock(f)
		if err != nil {
			return nil, fmt.Errorf("locking the sign-in: %w", errors.Join(err, f.Close()))
		}
		if locked {
			return func() { f.Close() }, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
