package pack

import (
	"hash"

	"holdfast/storage/object"
)

// SetHash replaces the hash that names objects, until the returned function is called.
func SetHash(fn func(object.Format) hash.Hash) (restore func()) {
	old := newHash
	newHash = fn
	return func() { newHash = old }
}

// ApplyDelta resolves one delta.
func ApplyDelta(base, delta []byte, maxSize int64) ([]byte, error) {
	n, size, ops, err := deltaSizes(delta)
	if err != nil || n != int64(len(base)) || size > maxSize {
		return nil, errDelta
	}
	dst := make([]byte, size)
	return dst, applyDelta(dst, base, ops)
}
