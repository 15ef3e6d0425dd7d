package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// A text stands beside an entry, outside of the tree: what is long, and what
// may have to go.
type text struct {
	name    string
	salt    [32]byte
	payload string
}

func newText(name, payload string) text {
	t := text{name: name, payload: payload}
	rand.Read(t.salt[:])
	return t
}

// digest is what the entry holds of the text.
func (t *text) digest() string {
	mac := hmac.New(sha256.New, t.salt[:])
	mac.Write([]byte(t.payload))
	return hex.EncodeToString(mac.Sum(nil))
}

// encodeTexts writes texts as column texts holds them: each as the length of
// its name in one byte, the name, the salt, the length of the payload in four
// bytes, big-endian, and the payload.
func encodeTexts(texts []text) []byte {
	size := 0
	for i := range texts {
		size += 1 + len(texts[i].name) + len(texts[i].salt) + 4 + len(texts[i].payload)
	}
	b := make([]byte, 0, size)
	for i := range texts {
		t := &texts[i]
		b = append(append(b, byte(len(t.name))), t.name...)
		b = append(b, t.salt[:]...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(t.payload))), t.payload...)
	}
	return b
}

var errTexts = errors.New("the texts beside the entry cannot be read")

// decodeTexts reads what [encodeTexts] has written. Names do not repeat.
func decodeTexts(b []byte) (texts []text, err error) {
	take := func(n uint64) (part []byte) {
		if n > uint64(len(b)) {
			err = errTexts
			return nil
		}
		part, b = b[:n], b[n:]
		return part
	}
	for len(b) > 0 {
		var t text
		t.name = string(take(uint64(take(1)[0])))
		if copy(t.salt[:], take(32)) != len(t.salt) || err != nil {
			return nil, errTexts
		}
		length := take(4)
		if err != nil {
			return nil, err
		}
		if t.payload = string(take(uint64(binary.BigEndian.Uint32(length)))); err != nil {
			return nil, err
		}
		for i := range texts {
			if texts[i].name == t.name {
				return nil, errTexts
			}
		}
		texts = append(texts, t)
	}
	return texts, nil
}
