package storage

import (
	"hash/maphash"

	"holdfast/storage/sparse"
)

// pathKey stands for the path of a directory; 0 is the root. That two paths have one key does no harm.
type pathKey uint64

var pathSeed = maphash.MakeSeed()

func (k pathKey) below(name []byte) pathKey {
	return pathKey(maphash.Bytes(pathSeed, name) + uint64(k)*0x9e3779b97f4a7c15 + 1)
}

// with tells the path from the same one where something else was to be said of it.
func (k pathKey) with(d sparse.Dir) pathKey { return k + pathKey(d)*0xbf58476d1ce4e5b9 }

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
