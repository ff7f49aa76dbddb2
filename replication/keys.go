package replication

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// KeyDigits is the width of every decimal number in a key: with one width, no key is a prefix of another.
const KeyDigits = 12

// maxNumber is the largest number that a key can hold.
const maxNumber = 999_999_999_999

// Sum is the SHA-256 of an object's bytes.
type Sum [32]byte

// String returns the sum in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText encodes the sum in hexadecimal.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText decodes 64 lower-case hexadecimal digits.
func (s *Sum) UnmarshalText(text []byte) error { return decodeLowerHex(s[:], text) }

// IsZero reports whether s stands for no object.
func (s Sum) IsZero() bool { return s == Sum{} }

// PackKeyID is the random name of a pack object: 32 lower-case hexadecimal digits. It says nothing of what the pack holds.
type PackKeyID [16]byte

// NewPackKeyID returns a random PackKeyID.
func NewPackKeyID() (id PackKeyID) {
	rand.Read(id[:])
	return id
}

// ParsePackKeyID reads 32 lower-case hexadecimal digits.
func ParsePackKeyID(s string) (id PackKeyID, err error) {
	err = decodeLowerHex(id[:], []byte(s))
	return id, err
}

// String returns the id in hexadecimal.
func (id PackKeyID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText encodes the id in hexadecimal.
func (id PackKeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText decodes 32 lower-case hexadecimal digits.
func (id *PackKeyID) UnmarshalText(text []byte) error { return decodeLowerHex(id[:], text) }

// NewInstance returns a random name for an instance: 32 lower-case hexadecimal digits.
func NewInstance() string { return NewPackKeyID().String() }

// ValidInstance reports whether name can name an instance: 1 to 64 of a-z, 0-9 and hyphen, the first no hyphen.
func ValidInstance(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '-' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// KeyKind says what a key of a mirror names.
type KeyKind string

// The kinds of keys.
const (
	KeyRoot       KeyKind = "root"
	KeySegment    KeyKind = "log"
	KeyPack       KeyKind = "pack"
	KeyCheckpoint KeyKind = "checkpoint"
)

// Key is a parsed key of a mirror. The fields that its kind lacks are zero.
type Key struct {
	Kind       KeyKind
	Instance   string
	Generation uint64    // all kinds but KeyRoot; counts from 1
	Epoch      uint64    // KeySegment; counts from 1
	Number     uint64    // KeySegment, KeyCheckpoint; counts from 1
	Pack       PackKeyID // KeyPack
	Root       RootRef   // KeyRoot
}

// String returns the key as it stands in the bucket.
func (k Key) String() string {
	base := InstancePrefix(k.Instance)
	switch k.Kind {
	case KeyRoot:
		return base + "root/" + fixed(k.Root.Version) + "-" + k.Root.Sum.String()
	case KeySegment:
		return base + fixed(k.Generation) + "/log/" + fixed(k.Epoch) + "/" + fixed(k.Number)
	case KeyPack:
		return base + fixed(k.Generation) + "/pack/" + k.Pack.String()
	case KeyCheckpoint:
		return base + fixed(k.Generation) + "/checkpoint/" + fixed(k.Number)
	}
	panic("replication: a key of kind " + string(k.Kind))
}

// InstancePrefix is what every key of the instance begins with.
func InstancePrefix(instance string) string { return "v1/" + instance + "/" }

// RootPrefix is what the keys of the instance's root records begin with.
func RootPrefix(instance string) string { return InstancePrefix(instance) + "root/" }

// RootKey is the key of a root record.
func RootKey(instance string, ref RootRef) string {
	return Key{Kind: KeyRoot, Instance: instance, Root: ref}.String()
}

// SegmentKey is the key of a segment, or of the closed object that takes its place.
func SegmentKey(instance string, generation, epoch, number uint64) string {
	return Key{Kind: KeySegment, Instance: instance, Generation: generation, Epoch: epoch, Number: number}.String()
}

// PackKey is the key of a pack that is too big to lie in a segment.
func PackKey(instance string, generation uint64, id PackKeyID) string {
	return Key{Kind: KeyPack, Instance: instance, Generation: generation, Pack: id}.String()
}

// CheckpointKey is the key of a checkpoint object.
func CheckpointKey(instance string, generation, number uint64) string {
	return Key{Kind: KeyCheckpoint, Instance: instance, Generation: generation, Number: number}.String()
}

// ParseKey reads a key. Anything that the builders above would not have written is an error: a bucket may hold junk.
func ParseKey(s string) (Key, error) {
	k, ok := parseKey(strings.Split(s, "/"))
	if !ok || k.String() != s {
		return Key{}, fmt.Errorf("%.200q is no key of a mirror", s)
	}
	return k, nil
}

func parseKey(part []string) (k Key, ok bool) {
	if len(part) < 4 || part[0] != "v1" || !ValidInstance(part[1]) {
		return Key{}, false
	}
	k.Instance = part[1]
	if len(part) == 4 && part[2] == "root" {
		version, sum, _ := strings.Cut(part[3], "-")
		k.Kind, k.Root.Version = KeyRoot, unfixed(version)
		return k, k.Root.Version > 0 && k.Root.Sum.UnmarshalText([]byte(sum)) == nil
	}
	k.Kind, k.Generation = KeyKind(part[3]), unfixed(part[2])
	switch {
	case k.Generation == 0:
		return Key{}, false
	case k.Kind == KeySegment && len(part) == 6:
		k.Epoch, k.Number = unfixed(part[4]), unfixed(part[5])
		return k, k.Epoch > 0 && k.Number > 0
	case k.Kind == KeyPack && len(part) == 5:
		return k, k.Pack.UnmarshalText([]byte(part[4])) == nil
	case k.Kind == KeyCheckpoint && len(part) == 5:
		k.Number = unfixed(part[4])
		return k, k.Number > 0
	}
	return Key{}, false
}

// fixed writes n with KeyDigits digits. No number comes near the limit: a segment a microsecond reaches it in 11 days of
// nothing else, and New refuses to go on past it.
func fixed(n uint64) string { return fmt.Sprintf("%0*d", KeyDigits, n) }

// unfixed reads what fixed wrote, 0 for anything else.
func unfixed(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || fixed(n) != s {
		return 0
	}
	return n
}

func decodeLowerHex(dst, text []byte) error {
	if len(text) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("want %d hexadecimal digits, got %d characters", hex.EncodedLen(len(dst)), len(text))
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("want lower-case hexadecimal digits, got %q", c)
		}
	}
	_, err := hex.Decode(dst, text)
	return err
}
