//go:build !unix

package client

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock lets everybody pass: here two processes may renew a sign-in at once,
// and one of them may then have to sign in again.
func tryLock(*os.File) (bool, error) { return true, nil }

// ownAlone returns nil for a plain file. Who may read it is what the folder of
// the user's profile says.
func ownAlone(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("is not a plain file")
	}
	return nil
}
