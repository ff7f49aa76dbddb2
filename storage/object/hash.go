package object

import (
	"errors"
	"fmt"
	"hash"
	"strconv"
)

// ErrCollision says that an object was made to collide with another under SHA-1. Such an object is never accepted.
var ErrCollision = errors.New("object: SHA-1 collision attack detected")

// detector is the part of sha1cd's hash that reports an attack.
type detector interface {
	CollisionResistantSum(b []byte) ([]byte, bool)
}

// Sum finishes a hash that Format.New made. It returns ErrCollision if what was hashed carries the marks of a collision
// attack on SHA-1. The hash can be written to further.
func Sum(f Format, h hash.Hash) (ID, error) {
	var buf [32]byte
	if d, ok := h.(detector); ok {
		sum, attacked := d.CollisionResistantSum(buf[:0])
		if attacked {
			return ID{}, ErrCollision
		}
		return NewID(f, sum), nil
	}
	return NewID(f, h.Sum(buf[:0])), nil
}

// Hasher computes ids of many objects, one after another. The zero Hasher is not usable; see NewHasher. It is not safe
// for concurrent use.
type Hasher struct {
	format Format
	hash   hash.Hash
	header []byte
}

// NewHasher returns a Hasher for objects of format f.
func NewHasher(f Format) *Hasher {
	return &Hasher{format: f, hash: f.New(), header: make([]byte, 0, 32)}
}

// NewHasherWith returns a Hasher that computes ids of format f with h, which must yield as many bytes as f's ids have.
func NewHasherWith(f Format, h hash.Hash) *Hasher {
	return &Hasher{format: f, hash: h, header: make([]byte, 0, 32)}
}

// Begin starts an object of type t whose content is size bytes long and follows by Write.
func (h *Hasher) Begin(t Type, size int64) {
	h.hash.Reset()
	h.header = append(h.header[:0], t.String()...)
	h.header = append(h.header, ' ')
	h.header = strconv.AppendInt(h.header, size, 10)
	h.header = append(h.header, 0)
	h.hash.Write(h.header)
}

// Write adds content. It never fails.
func (h *Hasher) Write(p []byte) (int, error) { return h.hash.Write(p) }

// Sum returns the id of the object begun last, or ErrCollision.
func (h *Hasher) Sum() (ID, error) { return Sum(h.format, h.hash) }

// Hash returns the id of an object whose content is at hand, or ErrCollision.
func (h *Hasher) Hash(t Type, data []byte) (ID, error) {
	h.Begin(t, int64(len(data)))
	h.Write(data)
	return h.Sum()
}

// HashObject returns the id of the object of type t with content data. It is meant for objects of our own making: for
// content made to attack SHA-1 it returns an id that is not the attacker's, and no error. Check foreign objects with a
// Hasher.
func HashObject(f Format, t Type, data []byte) ID {
	h := NewHasher(f)
	h.Begin(t, int64(len(data)))
	h.Write(data)
	return NewID(f, h.hash.Sum(nil))
}

// malformed reports an object that cannot be parsed.
func malformed(t Type, format string, args ...any) error {
	return fmt.Errorf("malformed %s: %s", t, fmt.Sprintf(format, args...))
}
