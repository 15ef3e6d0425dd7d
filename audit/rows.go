package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// Rows of answers, where policy keeps them, are sealed with AES-256-GCM under a
// key that is not in the database. The text in the table is the base64 of a
// nonce of 12 bytes and the sealed rows; the log's name is authenticated with
// them, so that rows of one log do not open in another.

// ErrNoRowsKey is returned for rows that nobody can seal or open.
var ErrNoRowsKey = errors.New("there is no key for kept rows")

func rowsCipher(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, ErrNoRowsKey
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealRows(key []byte, origin, rows string) (string, error) {
	c, err := rowsCipher(key)
	if err != nil {
		return "", fmt.Errorf("keeping rows: %w", err)
	}
	nonce := make([]byte, c.NonceSize(), c.NonceSize()+len(rows)+c.Overhead())
	rand.Read(nonce)
	return base64.StdEncoding.EncodeToString(c.Seal(nonce, nonce, []byte(rows), []byte(origin))), nil
}

// OpenRows opens the rows of an entry that were kept. It fails with
// [ErrNoRowsKey] without a key of 32 bytes.
func (r *Reader) OpenRows(key []byte, e *Entry) (string, error) {
	c, err := rowsCipher(key)
	if err != nil {
		return "", fmt.Errorf("opening rows: %w", err)
	}
	sealed, err := base64.StdEncoding.DecodeString(e.Texts["rows"])
	if err != nil || len(sealed) < c.NonceSize() {
		return "", errors.New("opening rows: they are not what was kept")
	}
	rows, err := c.Open(nil, sealed[:c.NonceSize()], sealed[c.NonceSize():], []byte(r.Origin()))
	if err != nil {
		return "", fmt.Errorf("opening rows: %w", err)
	}
	return string(rows), nil
}
