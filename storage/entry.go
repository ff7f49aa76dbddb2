package storage

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/storage/object"
)

// MaxEntryBytes is the size that no encoded Entry exceeds.
const MaxEntryBytes = 16 << 20

// Seq numbers the entries of a host's journal: 1, 2, 3, without gaps. 0 stands before the first.
type Seq uint64

// Hash is the SHA-256 of an encoded Entry; the zero Hash stands before the first.
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether the hash stands for no entry.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText encodes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText decodes 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error { return decodeHex(h[:], text) }

// RepoID identifies a repository for ever; its name may change. 32 lower-case hexadecimal digits.
type RepoID string

// NewRepoID returns a random RepoID.
func NewRepoID() RepoID {
	var b [16]byte
	rand.Read(b[:])
	return RepoID(hex.EncodeToString(b[:]))
}

// Valid reports whether id has the form of a RepoID.
func (id RepoID) Valid() bool {
	var b [16]byte
	return decodeHex(b[:], []byte(id)) == nil && id == RepoID(hex.EncodeToString(b[:]))
}

// PackID is the SHA-256 of a pack's bytes as they were received: the thin pack, before any base was added to it.
type PackID [32]byte

// String returns the id in hexadecimal.
func (id PackID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText encodes the id in hexadecimal.
func (id PackID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText decodes 64 hexadecimal digits.
func (id *PackID) UnmarshalText(text []byte) error { return decodeHex(id[:], text) }

// Nonce makes an entry's hash unguessable.
type Nonce [16]byte

// NewNonce returns a random Nonce.
func NewNonce() (n Nonce) {
	rand.Read(n[:])
	return n
}

// MarshalText encodes the nonce in hexadecimal.
func (n Nonce) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(n[:])), nil }

// UnmarshalText decodes 32 hexadecimal digits.
func (n *Nonce) UnmarshalText(text []byte) error { return decodeHex(n[:], text) }

func decodeHex(dst, text []byte) error {
	if len(text) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("want %d hexadecimal digits, got %d characters", hex.EncodedLen(len(dst)), len(text))
	}
	_, err := hex.Decode(dst, text)
	return err
}

// Kind says what an entry records.
type Kind string

// The kinds of entries.
const (
	KindRefs   Kind = "refs"   // a push: packs and ref updates of one repository
	KindSecret Kind = "secret" // a named secret of the host; Data is its JSON Secret
	KindSvn    Kind = "svn"    // a Subversion fact that is no commit: revision property, lock, uuid
	KindConfig Kind = "config" // the host's configuration file; Data is the file
)

// SCM is the version control system that a repository speaks.
type SCM string

// The systems.
const (
	Git SCM = "git"
	Svn SCM = "svn"
)

// RepoInit is what brings a repository into being; it stands in the repository's first entry.
type RepoInit struct {
	SCM    SCM           `json:"scm"`
	Format object.Format `json:"format"`
	Head   string        `json:"head"` // the full name of the ref that HEAD points at, born or not
}

// RefUpdate moves one ref from Old to New. A zero Old means that the ref must not exist, a zero New deletes it. With
// Target set, it points a symbolic ref (HEAD is the only one) at that ref; Old and New are then zero.
type RefUpdate struct {
	Name   string    `json:"name"` // UTF-8
	Old    object.ID `json:"old,omitzero"`
	New    object.ID `json:"new,omitzero"`
	Target string    `json:"target,omitempty"`
}

// PackInfo describes a pack as it was received, which is how the mirrors keep it.
type PackInfo struct {
	ID      PackID `json:"id"`
	Size    int64  `json:"size"`    // bytes, trailer included
	Objects uint32 `json:"objects"` // as its header counts them
}

// Entry is the journal's record of one push. Its encoding is one line of JSON with the fields in this order; its hash
// is the SHA-256 of that line without the newline.
type Entry struct {
	Seq      Seq         `json:"seq"`
	Epoch    uint64      `json:"epoch"`
	Time     time.Time   `json:"time"` // UTC, whole microseconds, never before the previous entry's
	Actor    string      `json:"actor"`
	Key      string      `json:"key,omitempty"` // fingerprint of the key, or name of the token, that the actor used
	Repo     RepoID      `json:"repo,omitempty"`
	Kind     Kind        `json:"kind"`
	Init     *RepoInit   `json:"init,omitempty"`
	Refs     []RefUpdate `json:"refs,omitempty"`
	Packs    []PackInfo  `json:"packs,omitempty"`
	Options  []string    `json:"options,omitempty"` // git's push options
	Cert     []byte      `json:"cert,omitempty"`    // git's push certificate
	Data     []byte      `json:"data,omitempty"`
	Nonce    Nonce       `json:"nonce"`
	Prev     Hash        `json:"prev"`               // of the entry before this one
	PrevRepo Hash        `json:"prev_repo,omitzero"` // of the repository's entry before this one
}

// Secret is the Data of an entry of KindSecret.
type Secret struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Encode returns the entry's line of JSON, without a newline: the bytes that are hashed, stored and shipped.
func (e Entry) Encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	line := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(line) > MaxEntryBytes {
		return nil, fmt.Errorf("the journal entry would take %d bytes, more than %d: push fewer refs at once", len(line), MaxEntryBytes)
	}
	return line, nil
}

// DecodeEntry reads what Encode wrote. It refuses any line that Encode would have written otherwise, so that an entry
// has one hash.
func DecodeEntry(line []byte) (Entry, error) {
	var e Entry
	if len(line) > MaxEntryBytes {
		return e, fmt.Errorf("journal entry of %d bytes: the limit is %d", len(line), MaxEntryBytes)
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("journal entry: %w", err)
	}
	again, err := e.Encode()
	if err != nil {
		return e, err
	}
	if string(again) != string(line) {
		return e, fmt.Errorf("journal entry %d is not in canonical form", e.Seq)
	}
	return e, nil
}

// Hash returns the SHA-256 of the encoded entry. It panics where Encode fails, which a stored entry never does.
func (e Entry) Hash() Hash {
	line, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return sha256.Sum256(line)
}
