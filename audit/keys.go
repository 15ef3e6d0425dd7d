package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Key is a public key of a log, with the checkpoints that it signs: those of
// From to To entries. To is [InUse] while the key is.
type Key struct {
	VKey     string // C2SP signed-note, "name+hash+key"
	From, To int64

	verifier note.Verifier
}

// InUse is the end of what a key signs while it has not been retired.
const InUse = math.MaxInt64

// Keys are the keys of one log, oldest first. A checkpoint is good if every key
// that signs checkpoints of its size has signed it.
type Keys struct{ list []Key }

// ParseKeys reads keys as [Keys.String] writes them. A public key alone signs
// checkpoints of every size: that is what somebody holds who has never heard of
// another.
func ParseKeys(text []byte) (*Keys, error) {
	k := &Keys{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		key := Key{VKey: fields[0], To: InUse}
		var err error
		switch len(fields) {
		case 1:
		case 3:
			if key.From, err = strconv.ParseInt(fields[1], 10, 64); err == nil && fields[2] != "-" {
				key.To, err = strconv.ParseInt(fields[2], 10, 64)
			}
			if err != nil || key.From < 0 || key.To < key.From {
				return nil, fmt.Errorf("reading keys: %q says not which checkpoints it signs", line)
			}
		default:
			return nil, fmt.Errorf("reading keys: %q is no key, with or without the first and last checkpoint that it signs", line)
		}
		if key.verifier, err = note.NewVerifier(key.VKey); err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		if k.index(key.VKey) >= 0 || len(k.list) > 0 && key.verifier.Name() != k.Origin() {
			return nil, fmt.Errorf("reading keys: %q is there already, or of another log", key.VKey)
		}
		k.list = append(k.list, key)
	}
	if len(k.list) == 0 {
		return nil, errors.New("reading keys: there is none")
	}
	return k, nil
}

// Origin is the log's name.
func (k *Keys) Origin() string { return k.list[0].verifier.Name() }

// All are the keys, oldest first.
func (k *Keys) All() []Key { return slices.Clone(k.list) }

// String writes a line a key: the key, and the first and last number of entries
// whose checkpoint it signs, "-" while it is in use.
func (k *Keys) String() string {
	var b strings.Builder
	for _, key := range k.list {
		to := "-"
		if key.To != InUse {
			to = strconv.FormatInt(key.To, 10)
		}
		fmt.Fprintf(&b, "%s %d %s\n", key.VKey, key.From, to)
	}
	return b.String()
}

// newest is the key that signs what is to come, also after a rotation that has
// begun.
func (k *Keys) newest() string { return k.list[len(k.list)-1].VKey }

func (k *Keys) index(vkey string) int {
	return slices.IndexFunc(k.list, func(key Key) bool { return key.VKey == vkey })
}

// Verifier implements [note.Verifiers].
func (k *Keys) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, key := range k.list {
		if key.verifier.Name() == name && key.verifier.KeyHash() == hash {
			return key.verifier, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// signed reports whether every key that has to sign a checkpoint of this size
// is among the signatures, which have been verified.
func (k *Keys) signed(size int64, signatures []note.Signature) error {
	some := false
	for _, key := range k.list {
		if size < key.From || size > key.To {
			continue
		}
		some = true
		if !slices.ContainsFunc(signatures, func(s note.Signature) bool { return s.Hash == key.verifier.KeyHash() }) {
			return fmt.Errorf("the key %08x has not signed it", key.verifier.KeyHash())
		}
	}
	if !some {
		return fmt.Errorf("no key signs checkpoints of %d entries", size)
	}
	return nil
}

// handovers are the sizes at which a key came or went, in order.
func (k *Keys) handovers() []int64 {
	var sizes []int64
	for _, key := range k.list {
		if key.From > 0 {
			sizes = append(sizes, key.From)
		}
		if key.To != InUse {
			sizes = append(sizes, key.To)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// accept reports whether the keys of a log, as its own entries tell them, are
// those that somebody holds, continued.
func (k *Keys) accept(told *Keys) error {
	for _, held := range k.list {
		i := told.index(held.VKey)
		if i < 0 {
			return fmt.Errorf("the key %08x that you hold is none of this log", held.verifier.KeyHash())
		}
		if found := told.list[i]; held.From != 0 && held.From != found.From || held.To != InUse && held.To != found.To {
			return fmt.Errorf("the key %08x that you hold signs other checkpoints than the log tells", held.verifier.KeyHash())
		}
	}
	return nil
}

// A handover is what an entry tells of keys: that one was added, or retired,
// and which sign from there on. The checkpoint that ends with it is signed by
// the old and the new ones.
type handover struct {
	Kind Kind     `json:"kind"`
	Key  string   `json:"key"`
	Keys []string `json:"keys"`
}

func (h *handover) is() bool { return h.Kind == KindKeyAdded || h.Kind == KindKeyRetired }

// A chain follows the handovers of a log in their order.
type chain struct {
	keys   Keys
	active []string
}

var errHandover = errors.New("the entry does not continue the keys before it")

// add takes the next handover. The first names the key that the log began with.
func (c *chain) add(index int64, h handover) error {
	if len(c.keys.list) == 0 {
		if h.Kind != KindKeyAdded || len(h.Keys) != 2 {
			return errHandover
		}
		first, err := ParseKeys([]byte(h.Keys[0]))
		if err != nil {
			return errHandover
		}
		c.keys.list, c.active = first.list, []string{h.Keys[0]}
	}
	switch h.Kind {
	case KindKeyAdded:
		v, err := note.NewVerifier(h.Key)
		if err != nil || v.Name() != c.keys.Origin() || c.keys.index(h.Key) >= 0 {
			return errHandover
		}
		c.keys.list = append(c.keys.list, Key{VKey: h.Key, From: index + 1, To: InUse, verifier: v})
		c.active = append(c.active, h.Key)
	case KindKeyRetired:
		at := slices.Index(c.active, h.Key)
		if at < 0 || len(c.active) == 1 {
			return errHandover
		}
		c.keys.list[c.keys.index(h.Key)].To = index + 1
		c.active = slices.Delete(slices.Clone(c.active), at, at+1)
	default:
		return errHandover
	}
	if !slices.Equal(c.active, h.Keys) {
		return errHandover
	}
	return nil
}

// selectHandovers has its own index, whose condition it repeats.
const selectHandovers = `SELECT idx, entry, hashes, note FROM entries WHERE kind IN ('key_added', 'key_retired') ORDER BY idx`

// handoversOf reads the entries that tell of keys.
func handoversOf(ctx context.Context, q querier) ([]record, error) {
	rows, err := q.QueryContext(ctx, selectHandovers)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []record
	for rows.Next() {
		var c record
		if err := rows.Scan(&c.index, &c.entry, &c.hashes, &c.note); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// keysOf reads the keys of a log from its entries: first is the only one where
// they tell of no other. Each handover has to stand in the tree under a
// checkpoint that the keys before it have signed.
func keysOf(ctx context.Context, q querier, first *Keys) (*Keys, error) {
	all, err := handoversOf(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if len(all) == 0 {
		return first, nil
	}
	var c chain
	for i := range all {
		t := &all[i]
		var h handover
		if err := json.Unmarshal(t.entry, &h); err != nil {
			return nil, fmt.Errorf("reading keys: entry %d: %w", t.index, err)
		}
		if err := c.add(t.index, h); err != nil {
			return nil, fmt.Errorf("reading keys: entry %d: %w", t.index, err)
		}
		tree, err := parseCheckpoint(t.note, &c.keys)
		if err != nil {
			return nil, fmt.Errorf("reading keys: entry %d is not signed as it should be: %w", t.index, err)
		}
		root, err := tlog.TreeHash(t.index+1, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			out := make([]tlog.Hash, len(indexes))
			for i, at := range indexes {
				if out[i], err = storedHash(ctx, q, at); err != nil {
					return nil, err
				}
			}
			return out, nil
		}))
		if err != nil {
			return nil, fmt.Errorf("reading keys: entry %d: %w", t.index, err)
		}
		leaf := tlog.RecordHash(t.entry)
		if tree.N != t.index+1 || tree.Hash != root || !bytes.HasPrefix(t.hashes, leaf[:]) {
			return nil, fmt.Errorf("reading keys: entry %d is not what was signed", t.index)
		}
	}
	return &c.keys, nil
}

// A signingKey is a private key of the log.
type signingKey struct {
	note.Signer
	skey, vkey string
}

// parseSigningKey reads a private key as [note.GenerateKey] makes it, and finds
// its public half.
func parseSigningKey(skey string) (signingKey, error) {
	s, err := note.NewSigner(skey)
	if err != nil {
		return signingKey{}, err
	}
	parts := strings.SplitN(skey, "+", 5) // PRIVATE+KEY+name+hash+the algorithm's byte and the seed
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return signingKey{}, errors.New("not an Ed25519 key")
	}
	vkey, err := note.NewEd25519VerifierKey(s.Name(), ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey))
	return signingKey{s, skey, vkey}, err
}

func newSigningKey(origin string) (signingKey, error) {
	skey, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return signingKey{}, fmt.Errorf("making signing key: %w", err)
	}
	return parseSigningKey(skey)
}

// keyFile is where the private keys of a log are, a line each; vkeyFile where
// its newest public key is that signs alone.
func keyFile(path string) string  { return strings.TrimSuffix(path, filepath.Ext(path)) + ".key" }
func vkeyFile(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".vkey" }

// signingKeys reads the log's private keys, and makes the first one together
// with a new log. An existing log never gets another without a word in it: that
// would be a second log.
func signingKeys(path string, isNew bool) ([]signingKey, error) {
	file := keyFile(path)
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading signing key: %w", err)
	case !isNew:
		return nil, fmt.Errorf("the signing key %s is missing, and the log is not new", file)
	default:
		key, err := newSigningKey("querywarden/" + strings.ToLower(rand.Text()[:12]))
		if err != nil {
			return nil, err
		}
		return []signingKey{key}, writeKeys(path, key)
	}
	var keys []signingKey
	for _, skey := range strings.Fields(string(text)) {
		key, err := parseSigningKey(skey)
		if err == nil && len(keys) > 0 && key.Name() != keys[0].Name() {
			err = errors.New("it is of another log")
		}
		if err != nil {
			return nil, fmt.Errorf("reading signing key %s: %w", file, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading signing key %s: it is empty", file)
	}
	return keys, nil
}

// writeKeys writes the private keys, and the public key that others have to
// know: the oldest, until it is retired.
func writeKeys(path string, keys ...signingKey) error {
	var skeys string
	for _, k := range keys {
		skeys += k.skey + "\n"
	}
	if err := writeFile(keyFile(path), skeys, 0o600); err != nil {
		return err
	}
	return writeFile(vkeyFile(path), keys[0].vkey+"\n", 0o644)
}

// openKeys finds the keys that sign: those that the log's entries tell of. What
// else the file holds was left by a rotation that a crash has cut short.
func (l *Log) openKeys(ctx context.Context, found []signingKey) (*Keys, error) {
	var err error
	if l.first, err = ParseKeys([]byte(found[0].vkey)); err != nil {
		return nil, err
	}
	keys, err := keysOf(ctx, l.conn, l.first)
	if err != nil {
		return nil, err
	}
	for _, key := range keys.list {
		if key.To != InUse {
			continue
		}
		i := slices.IndexFunc(found, func(f signingKey) bool { return f.vkey == key.VKey })
		if i < 0 {
			return nil, fmt.Errorf("the signing key %08x of the log is not in its file", key.verifier.KeyHash())
		}
		l.signers = append(l.signers, found[i])
	}
	held, err := os.ReadFile(vkeyFile(l.path))
	if len(found) == len(l.signers) && err == nil && strings.TrimSpace(string(held)) == l.signers[0].vkey {
		return keys, nil
	}
	return keys, writeKeys(l.path, l.signers...)
}

// ErrRotating is returned for a second new key beside one that does not sign
// alone yet, and for the end of a rotation that has not begun.
var (
	ErrRotating    = errors.New("a new key signs beside the old one already: retire that first")
	ErrNotRotating = errors.New("the log has one key: add another before it is retired")
)

// AddKey makes another signing key. From the event that says so on, both keys
// sign every checkpoint, until [Log.RetireKey]: time for those who verify the
// log, such as witnesses, to learn the new one. It returns the new public key.
func (l *Log) AddKey(_ context.Context, by *Caller, reason string) (vkey string, err error) {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	if len(l.signers) != 1 {
		return "", fmt.Errorf("adding a key: %w", ErrRotating)
	}
	old := l.signers[0]
	key, err := newSigningKey(l.origin)
	if err != nil {
		return "", err
	}
	// The file first: a log never holds the word of a key that is lost.
	both := []signingKey{old, key}
	if err := writeKeys(l.path, both...); err != nil {
		return "", fmt.Errorf("adding a key: %w", err)
	}
	err = l.do(&job{last: true, fn: func(tx *Tx) error {
		if _, err := tx.Append(Event{Kind: KindKeyAdded, Caller: by, Key: key.vkey, Keys: []string{old.vkey, key.vkey}, Reason: reason}); err != nil {
			return err
		}
		tx.signers, tx.next = both, both
		return nil
	}})
	if err != nil {
		return "", fmt.Errorf("adding a key: %w", err)
	}
	return key.vkey, nil
}

// RetireKey ends the older of two keys: it signs the event that says so, and
// nothing after it. It returns the public key that is left.
func (l *Log) RetireKey(_ context.Context, by *Caller, reason string) (vkey string, err error) {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	if len(l.signers) != 2 {
		return "", fmt.Errorf("retiring a key: %w", ErrNotRotating)
	}
	old, left := l.signers[0], l.signers[1]
	err = l.do(&job{last: true, fn: func(tx *Tx) error {
		if _, err := tx.Append(Event{Kind: KindKeyRetired, Caller: by, Key: old.vkey, Keys: []string{left.vkey}, Reason: reason}); err != nil {
			return err
		}
		tx.next = []signingKey{left}
		return nil
	}})
	if err != nil {
		return "", fmt.Errorf("retiring a key: %w", err)
	}
	if err := writeKeys(l.path, left); err != nil {
		return "", fmt.Errorf("retiring a key: %w", err)
	}
	return left.vkey, nil
}

// Keys are the log's keys as its entries tell them. The one that was held when
// the log was opened has to be among them.
func (r *Reader) Keys(ctx context.Context) (*Keys, error) { return r.keysIn(ctx, r.db) }

func (r *Reader) keysIn(ctx context.Context, q querier) (*Keys, error) {
	keys, err := keysOf(ctx, q, r.held)
	if err != nil {
		return nil, err
	}
	return keys, r.held.accept(keys)
}

// newestCheckpoint returns the newest checkpoint, or an empty tree.
func newestCheckpoint(ctx context.Context, q querier, keys *Keys) (tlog.Tree, string, error) {
	var text []byte
	err := q.QueryRowContext(ctx, `SELECT note FROM entries WHERE note IS NOT NULL ORDER BY idx DESC LIMIT 1`).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return tlog.Tree{}, "", nil
	}
	if err != nil {
		return tlog.Tree{}, "", err
	}
	tree, err := parseCheckpoint(text, keys)
	return tree, string(text), err
}

// newest is the newest checkpoint, and the keys that it was checked with.
func (r *Reader) newest(ctx context.Context, q querier) (tlog.Tree, string, error) {
	keys, err := r.keysIn(ctx, q)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	return newestCheckpoint(ctx, q, keys)
}

// checkpointText is the body of a checkpoint: C2SP tlog-checkpoint.
func checkpointText(origin string, tree tlog.Tree) string {
	return origin + "\n" + strconv.FormatInt(tree.N, 10) + "\n" + tree.Hash.String() + "\n"
}

// parseCheckpoint reads a checkpoint and checks its origin and its signatures.
func parseCheckpoint(text []byte, keys *Keys) (tlog.Tree, error) {
	n, err := note.Open(text, keys)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checking checkpoint: %w", err)
	}
	for _, s := range n.Sigs {
		// The last letter of a base64 text has bits to spare, which note does not
		// look at: one signature, one text.
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return tlog.Tree{}, fmt.Errorf("checking checkpoint: signature: %w", err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
	if len(lines) != 3 {
		return tlog.Tree{}, errors.New("checkpoint has not three lines")
	}
	if lines[0] != keys.Origin() {
		return tlog.Tree{}, fmt.Errorf("checkpoint is of the log %q, not of %q", lines[0], keys.Origin())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("checkpoint has the size %q", lines[1])
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil || hash.String() != lines[2] {
		return tlog.Tree{}, fmt.Errorf("checkpoint has the hash %q", lines[2])
	}
	if err := keys.signed(size, n.Sigs); err != nil {
		return tlog.Tree{}, fmt.Errorf("checking checkpoint: %w", err)
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}
