package object

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/pjbgf/sha1cd"
)

// Format is a repository's object format: the hash function that names its objects.
type Format uint8

// The object formats that git knows.
const (
	SHA1   Format = 1
	SHA256 Format = 2
)

// ParseFormat returns the format with git's name for it, "sha1" or "sha256".
func ParseFormat(name string) (Format, error) {
	switch name {
	case "sha1":
		return SHA1, nil
	case "sha256":
		return SHA256, nil
	}
	return 0, fmt.Errorf("unknown object format %q (want sha1 or sha256)", name)
}

// String returns git's name for the format.
func (f Format) String() string {
	switch f {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// Size is the length of the format's ids in bytes.
func (f Format) Size() int {
	if f == SHA256 {
		return 32
	}
	return 20
}

// New returns the format's hash. The one for SHA1 detects collision attacks: use Sum to finish it.
func (f Format) New() hash.Hash {
	if f == SHA256 {
		return sha256.New()
	}
	return sha1cd.New()
}

// MarshalText encodes the format as git's name for it.
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText decodes git's name for a format.
func (f *Format) UnmarshalText(text []byte) error {
	parsed, err := ParseFormat(string(text))
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}

// ID names an object. It carries its format, so that ids of different formats never compare equal. The zero ID
// names no object and has no format.
type ID struct {
	format Format
	sum    [32]byte
}

// NewID returns the id of format f whose bytes are sum. It panics unless len(sum) is f.Size(). All bytes zero give the zero ID.
func NewID(f Format, sum []byte) ID {
	if len(sum) != f.Size() {
		panic(fmt.Sprintf("object: an id of %s has %d bytes, not %d", f, f.Size(), len(sum)))
	}
	id := ID{format: f}
	copy(id.sum[:], sum)
	if id.sum == [32]byte{} {
		return ID{}
	}
	return id
}

// ParseID reads an id in hexadecimal: 40 digits for SHA1, 64 for SHA256, lower case as git writes it. All digits zero
// give the zero ID.
func ParseID(s string) (ID, error) {
	var f Format
	switch len(s) {
	case 40:
		f = SHA1
	case 64:
		f = SHA256
	default:
		return ID{}, fmt.Errorf("an object id has 40 or 64 hexadecimal digits, not %d characters", len(s))
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("object id %q: %w", s, err)
	}
	return NewID(f, sum[:f.Size()]), nil
}

// IsZero reports whether id names no object.
func (id ID) IsZero() bool { return id.format == 0 }

// Format returns the id's format, 0 for the zero ID.
func (id ID) Format() Format { return id.format }

// Bytes returns the id's bytes, nil for the zero ID. The result is a copy.
func (id ID) Bytes() []byte {
	if id.IsZero() {
		return nil
	}
	return id.Append(nil)
}

// Append appends the id's bytes to b.
func (id ID) Append(b []byte) []byte {
	if id.IsZero() {
		return b
	}
	return append(b, id.sum[:id.format.Size()]...)
}

// Prefix16 returns the id's first two bytes as a number: the key under which indexes group it.
func (id ID) Prefix16() uint16 { return uint16(id.sum[0])<<8 | uint16(id.sum[1]) }

// Compare orders ids by their bytes, as pack indexes do.
func (id ID) Compare(other ID) int {
	if c := bytes.Compare(id.sum[:], other.sum[:]); c != 0 {
		return c
	}
	return int(id.format) - int(other.format)
}

// String returns the id in hexadecimal, 40 zeros for the zero ID. Use Hex where the repository's format decides.
func (id ID) String() string { return id.Hex(SHA1) }

// Hex returns the id in hexadecimal; the zero ID is as many zeros as an id of format f has digits.
func (id ID) Hex(f Format) string {
	if !id.IsZero() {
		f = id.format
	}
	return hex.EncodeToString(id.sum[:f.Size()])
}

// MarshalText encodes the id in hexadecimal, the zero ID as the empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText decodes what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Type is an object's type, by git's numbers in a pack.
type Type uint8

// The types of objects.
const (
	Commit Type = 1
	Tree   Type = 2
	Blob   Type = 3
	Tag    Type = 4
)

// String returns git's name for the type.
func (t Type) String() string {
	switch t {
	case Commit:
		return "commit"
	case Tree:
		return "tree"
	case Blob:
		return "blob"
	case Tag:
		return "tag"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType returns the type with git's name for it.
func ParseType(name string) (Type, error) {
	for _, t := range []Type{Commit, Tree, Blob, Tag} {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown object type %q", name)
}

// Link is a reference from one object to another: a commit's tree and parents, a tree's entries (submodules are not
// links), a tag's target.
type Link struct {
	ID   ID
	Type Type
}
