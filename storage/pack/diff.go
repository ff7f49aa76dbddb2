package pack

import (
	"encoding/binary"
	"math/bits"
)

const (
	// deltaBlock is the length of the pieces of a base that a DeltaIndex knows, and so of the shortest copy that it finds.
	deltaBlock = 16
	// maxCandidates bounds the blocks that are compared with one place of a target, so that content that repeats itself
	// costs a bounded multiple of its length.
	maxCandidates = 32
	// longEnough is a match after which no longer one is looked for.
	longEnough = 4096

	maxInsert = 0x7f
	maxCopy   = 0x10000 // the most that every reader of git's takes
	// maxCopyOffset is the end of what can be copied of a base: git's format has four bytes for an offset.
	maxCopyOffset = 1 << 32
)

// DeltaIndex finds parts of a base in other objects, to write these as deltas on the base. Beside the base, which it keeps,
// it takes 0.5 to 0.75 times its size. It is safe for concurrent use, up to Reset. The zero value has an empty base.
//
// Source: "Deltified representation" in git's gitformat-pack document.
type DeltaIndex struct {
	base []byte // up to maxCopyOffset
	size int    // of the whole base
	// head and next are chains of those blocks of the base, at multiples of deltaBlock, whose hashes agree in their upper
	// bits; numbers count from 1, and the block nearest to the base's beginning is first.
	head  []uint32
	next  []uint32
	shift uint8
}

// NewDeltaIndex returns an index of base, which must not change while the index is in use.
func NewDeltaIndex(base []byte) *DeltaIndex {
	x := new(DeltaIndex)
	x.Reset(base)
	return x
}

// Reset makes x the index of another base. It uses x's memory again.
func (x *DeltaIndex) Reset(base []byte) {
	x.base, x.size = base[:min(len(base), maxCopyOffset)], len(base)
	blocks := len(x.base) / deltaBlock
	width := bits.Len(uint(blocks))
	x.shift = uint8(64 - width)
	x.head = resized(x.head, 1<<width)
	x.next = resized(x.next, blocks+1)
	clear(x.head)
	for n := blocks; n > 0; n-- {
		at := (n - 1) * deltaBlock
		lo, hi := load128(base, at)
		head := &x.head[blockHash(lo, hi)>>x.shift]
		x.next[n] = *head
		// Of a run of equal blocks the first is enough.
		if *head == uint32(n+1) {
			if l, h := load128(base, at+deltaBlock); l == lo && h == hi {
				x.next[n] = x.next[n+1]
			}
		}
		*head = uint32(n)
	}
}

func resized(s []uint32, n int) []uint32 {
	if cap(s) < n {
		return make([]uint32, n)
	}
	return s[:n]
}

func load128(b []byte, at int) (lo, hi uint64) {
	w := b[at : at+deltaBlock : at+deltaBlock]
	return binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:])
}

func blockHash(lo, hi uint64) uint64 {
	return (lo*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(hi*0xc2b2ae3d27d4eb4f, 32)) * 0xd6e8feb86659fd93
}

// Delta appends to dst a delta that makes target from the base. It gives up, and reports false, as soon as the delta would
// have more than max bytes; what is returned is then of no use but for its memory.
func (x *DeltaIndex) Delta(dst, target []byte, max int) ([]byte, bool) {
	limit := len(dst) + max
	dst = binary.AppendUvarint(dst, uint64(x.size))
	dst = binary.AppendUvarint(dst, uint64(len(target)))
	from := 0 // what is before it is in dst
	for at := 0; at+deltaBlock <= len(target); {
		lo, hi := load128(target, at)
		m := x.longest(lo, hi, target, from, at)
		if m.length == 0 {
			// A match may still begin before at, but by about a block only.
			if at++; len(dst)+at-from > limit+2*deltaBlock {
				return dst, false
			}
			continue
		}
		if len(dst)+m.target-from > limit {
			return dst, false
		}
		dst = appendInsert(dst, target[from:m.target])
		dst = appendCopy(dst, m.base, m.length)
		from = m.target + m.length
		at = from
	}
	if len(dst)+len(target)-from > limit {
		return dst, false
	}
	dst = appendInsert(dst, target[from:])
	return dst, len(dst) <= limit
}

// match is a part of a target that is found in the base.
type match struct {
	base, target, length int
}

// longest returns the longest match around target[at:], which begins with the block lo, hi, that does not begin before
// target[from:]. Its length is 0 if there is none.
func (x *DeltaIndex) longest(lo, hi uint64, target []byte, from, at int) (best match) {
	if len(x.next) < 2 {
		return best
	}
	n := x.head[blockHash(lo, hi)>>x.shift]
	for range maxCandidates {
		if n == 0 {
			break
		}
		in := int(n-1) * deltaBlock
		n = x.next[n]
		if l, h := load128(x.base, in); l != lo || h != hi {
			continue
		}
		length := deltaBlock + commonPrefix(x.base[in+deltaBlock:], target[at+deltaBlock:])
		back := commonSuffix(x.base[:in], target[from:at])
		if back+length > best.length {
			best = match{base: in - back, target: at - back, length: back + length}
		}
		if length >= longEnough {
			break
		}
	}
	return best
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func commonSuffix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}

func appendInsert(dst, data []byte) []byte {
	for len(data) > 0 {
		n := min(len(data), maxInsert)
		dst = append(append(dst, byte(n)), data[:n]...)
		data = data[n:]
	}
	return dst
}

func appendCopy(dst []byte, off, length int) []byte {
	for length > 0 {
		n := min(length, maxCopy)
		dst = appendCopyOp(dst, off, n)
		off, length = off+n, length-n
	}
	return dst
}

// appendCopyOp appends one instruction to copy: a bit for each byte of offset and length that is not zero, then those
// bytes, the lowest first. A length of maxCopy has none.
func appendCopyOp(dst []byte, off, n int) []byte {
	op := len(dst)
	dst = append(dst, 0x80)
	for bit := range 4 {
		if b := byte(off >> (8 * bit)); b != 0 {
			dst[op] |= 1 << bit
			dst = append(dst, b)
		}
	}
	for bit := range 2 {
		if b := byte(n >> (8 * bit)); b != 0 {
			dst[op] |= 0x10 << bit
			dst = append(dst, b)
		}
	}
	return dst
}
