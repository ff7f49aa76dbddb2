package storage

import (
	"bytes"
	"hash/maphash"
)

// pathKey stands for the path of a directory; 0 is the root. That two paths have one key does no harm.
type pathKey uint64

var pathSeed = maphash.MakeSeed()

func (k pathKey) below(name []byte) pathKey {
	return pathKey(maphash.Bytes(pathSeed, name) + uint64(k)*0x9e3779b97f4a7c15 + 1)
}

// seenTrees keeps, for each path, the content of the tree that was walked there last, within a bound.
type seenTrees struct {
	byPath map[pathKey][]byte
	bytes  int
}

const maxSeenBytes = 8 << 20

// swap returns the last tree at the path, nil if it is not known, and remembers data in its place.
func (s *seenTrees) swap(path pathKey, data []byte) (last []byte) {
	last = s.byPath[path]
	s.bytes += cap(data) - cap(last)
	if s.bytes > maxSeenBytes || s.byPath == nil {
		s.byPath, s.bytes = map[pathKey][]byte{}, cap(data)
	}
	s.byPath[path] = data
	return last
}

// newEntries calls fn with each entry of a tree that an older version of it does not have, as raw bytes. Both are walked
// side by side. Where their order is not what it should be, or the tree is malformed, fn is called more often.
func newEntries(tree, old []byte, idSize int, fn func(raw []byte) error) error {
	for len(tree) > 0 {
		n := entryLength(tree, idSize)
		m := entryLength(old, idSize)
		switch {
		case m > 0 && bytes.Equal(tree[:n], old[:m]):
			tree, old = tree[n:], old[m:]
			continue
		case m > 0 && compareNames(old[:m], tree[:n], idSize) < 0:
			old = old[m:]
			continue
		case m > 0 && compareNames(old[:m], tree[:n], idSize) == 0:
			old = old[m:]
		}
		if err := fn(tree[:n]); err != nil {
			return err
		}
		tree = tree[n:]
	}
	return nil
}

// entryLength returns the length of a tree's first entry: mode, space, name, NUL, id. A malformed rest is one entry.
func entryLength(tree []byte, idSize int) int {
	return min(bytes.IndexByte(tree, 0)+1+idSize, len(tree))
}

func compareNames(a, b []byte, idSize int) int {
	return bytes.Compare(entryName(a, idSize), entryName(b, idSize))
}

func entryName(entry []byte, idSize int) []byte {
	_, rest, _ := bytes.Cut(entry, []byte{' '})
	return rest[:max(0, len(rest)-idSize-1)]
}
