package graph

import "math/bits"

// Set is a set of numbers below a bound: of places in a pack, or of commits.
type Set []uint64

// NewSet returns an empty set for numbers below n.
func NewSet(n int) Set { return make(Set, (n+63)/64) }

// Has reports whether i is in the set.
func (s Set) Has(i uint32) bool { return s[i/64]&(1<<(i%64)) != 0 }

// Add adds i.
func (s Set) Add(i uint32) { s[i/64] |= 1 << (i % 64) }

// Remove removes i.
func (s Set) Remove(i uint32) { s[i/64] &^= 1 << (i % 64) }

// Len returns the number of elements.
func (s Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Next returns the least element that is not below i, and false if there is none.
func (s Set) Next(i uint32) (uint32, bool) {
	w := int(i / 64)
	if w >= len(s) {
		return 0, false
	}
	word := s[w] >> (i % 64) << (i % 64)
	for word == 0 {
		if w++; w == len(s) {
			return 0, false
		}
		word = s[w]
	}
	return uint32(w*64 + bits.TrailingZeros64(word)), true
}
