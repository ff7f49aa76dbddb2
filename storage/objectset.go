package storage

import (
	"hash/maphash"

	"holdfast/storage/object"
)

// objectSet numbers object ids in the order of their arrival, compactly: about 35 bytes an object, for walks over
// millions of them. The hash is seeded, so that nobody can choose ids that collide.
type objectSet struct {
	format object.Format
	size   int // of an id
	seed   maphash.Seed
	table  []uint32 // open addressing; number+1, 0 for a free place; the length is a power of two
	chunks [][]byte // the ids, setChunk to a chunk
	flags  [][]uint8
	paths  [][]uint32 // the lower half of a pack.PathHash, 0 if no path is known
	n      uint32
}

const setChunk = 1 << 12

func newObjectSet(f object.Format) *objectSet {
	return &objectSet{format: f, size: f.Size(), seed: maphash.MakeSeed(), table: make([]uint32, 1024)}
}

func (s *objectSet) len() int { return int(s.n) }

// raw returns the id with number i. It must not be changed.
func (s *objectSet) raw(i uint32) []byte {
	at := int(i%setChunk) * s.size
	return s.chunks[i/setChunk][at : at+s.size]
}

func (s *objectSet) id(i uint32) object.ID { return object.NewID(s.format, s.raw(i)) }

func (s *objectSet) flag(i uint32) *uint8 { return &s.flags[i/setChunk][i%setChunk] }

func (s *objectSet) path(i uint32) *uint32 { return &s.paths[i/setChunk][i%setChunk] }

// find returns the number of an id.
func (s *objectSet) find(raw []byte) (uint32, bool) {
	i, _, ok := s.probe(raw)
	return i, ok
}

// probe returns the number of an id, or else the place in the table where it belongs.
func (s *objectSet) probe(raw []byte) (i, place uint32, ok bool) {
	mask := uint32(len(s.table) - 1)
	for place = uint32(maphash.Bytes(s.seed, raw)) & mask; ; place = (place + 1) & mask {
		switch i := s.table[place]; {
		case i == 0:
			return 0, place, false
		case string(s.raw(i-1)) == string(raw):
			return i - 1, place, true
		}
	}
}

// add returns the number of an id, and whether it is new.
func (s *objectSet) add(raw []byte) (i uint32, isNew bool) {
	i, place, ok := s.probe(raw)
	if ok {
		return i, false
	}
	i = s.n
	if i%setChunk == 0 {
		s.chunks = append(s.chunks, make([]byte, setChunk*s.size))
		s.flags = append(s.flags, make([]uint8, setChunk))
		s.paths = append(s.paths, make([]uint32, setChunk))
	}
	s.n++
	copy(s.raw(i), raw)
	s.table[place] = i + 1
	if int(s.n) > len(s.table)*3/5 {
		s.grow()
	}
	return i, true
}

func (s *objectSet) grow() {
	s.table = make([]uint32, 2*len(s.table))
	for i := range s.n {
		_, place, _ := s.probe(s.raw(i))
		s.table[place] = i + 1
	}
}
