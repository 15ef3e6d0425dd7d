package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"
)

// TestKeep keeps a sign-in in a file, in a keyring, and in a file where the
// keyring does not take it.
func TestKeep(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	kept := &Kept{Gateway: "https://gate.example.com/mcp", Issuer: "https://login.example.com", Access: "access", Refresh: "refresh", Expires: time.Now().Truncate(time.Second)}
	round := func(k *Keep, wantPlace string) {
		t.Helper()
		place, err := k.Save(kept)
		if err != nil || !strings.Contains(place, wantPlace) {
			t.Fatalf("kept in %q: %v", place, err)
		}
		got, err := k.Load(kept.Gateway)
		if err != nil || got == nil || got.Access != kept.Access || got.Refresh != kept.Refresh || !got.Expires.Equal(kept.Expires) {
			t.Fatalf("loaded %+v: %v", got, err)
		}
		if got, err := k.Load("https://other.example.com/mcp"); err != nil || got != nil {
			t.Fatalf("another gateway has %+v: %v", got, err)
		}
	}
	gone := func(k *Keep) {
		t.Helper()
		if found, err := k.Remove(kept.Gateway); err != nil || !found {
			t.Fatalf("removing: %v, %v", found, err)
		}
		if found, err := k.Remove(kept.Gateway); err != nil || found {
			t.Fatalf("removing again: %v, %v", found, err)
		}
		if got, err := k.Load(kept.Gateway); err != nil || got != nil {
			t.Fatalf("loaded %+v: %v", got, err)
		}
	}
	files, err := OpenKeep(false)
	if err != nil {
		t.Fatal(err)
	}
	round(files, "sign-ins")
	info, err := os.Stat(files.file(kept.Gateway))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v: %v", info.Mode(), err)
	}
	keyring.MockInit()
	ring, err := OpenKeep(true)
	if err != nil {
		t.Fatal(err)
	}
	round(ring, "the keyring")
	if _, err := os.Stat(files.file(kept.Gateway)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the older file is still there: %v", err)
	}
	gone(ring)
	keyring.MockInitWithError(keyring.ErrSetDataTooBig)
	round(ring, "sign-ins")
	gone(ring)
}

// TestKeepRefuses does not read what somebody else could have read or written.
func TestKeepRefuses(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	k, err := OpenKeep(false)
	if err != nil {
		t.Fatal(err)
	}
	const gateway = "https://gate.example.com/mcp"
	file := k.file(gateway)
	for name, c := range map[string]struct {
		prepare func() error
		want    string
	}{
		"open to others": {func() error {
			return errors.Join(os.WriteFile(file, []byte(`{"gateway":"`+gateway+`"}`), 0o600), os.Chmod(file, 0o640))
		}, "is open to others (mode 0640)"},
		"a link": {func() error {
			elsewhere := filepath.Join(t.TempDir(), "theirs")
			return errors.Join(os.WriteFile(elsewhere, []byte(`{}`), 0o600), os.Symlink(elsewhere, file))
		}, "is not a plain file"},
		"a folder":    {func() error { return os.Mkdir(file, 0o700) }, "is not a plain file"},
		"nonsense":    {func() error { return os.WriteFile(file, []byte("hello"), 0o600) }, "is not what was written"},
		"another's":   {func() error { return os.WriteFile(file, []byte(`{"gateway":"https://evil.example.com/mcp"}`), 0o600) }, "is not what was written"},
		"half a file": {func() error { return os.WriteFile(file, []byte(`{"gateway":"`), 0o600) }, "is not what was written"},
	} {
		if err := errors.Join(os.RemoveAll(file), os.MkdirAll(k.dir, 0o700), c.prepare()); err != nil {
			t.Fatal(err)
		}
		if kept, err := k.Load(gateway); err == nil || kept != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, kept, err)
		}
	}
}

// TestKeepLock lets one at a time renew a sign-in.
func TestKeepLock(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	k, err := OpenKeep(false)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := k.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := k.lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	entered := make(chan func())
	go func() {
		second, err := k.lock(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		entered <- second
	}()
	select {
	case <-entered:
		t.Fatal("two hold one lock")
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	(<-entered)()
}
