package svndiff

import (
	"encoding/binary"
	"math/bits"
)

// Bounds of LZ4 blocks: the last bytes of a block are literals, and no match begins near its end.
const (
	lz4LastLiterals = 5
	lz4LastMatch    = 12
	lz4MinMatch     = 4
	lz4MaxOffset    = 1<<16 - 1
	lz4HashBits     = 12
)

// lz4Table holds, by the hash of four bytes, where they were last seen, plus one.
type lz4Table [1 << lz4HashBits]int32

// lz4Append appends src as one block. It may come out longer than it is.
func lz4Append(b, src []byte, table *lz4Table) []byte {
	if len(src) > lz4LastMatch {
		clear(table[:])
	}
	anchor := 0 // literals from here are not yet written
	for i := 0; i < len(src)-lz4LastMatch; {
		v := binary.LittleEndian.Uint32(src[i:])
		h := v * 2654435761 >> (32 - lz4HashBits)
		ref := int(table[h]) - 1
		table[h] = int32(i + 1)
		if ref < 0 || i-ref > lz4MaxOffset || binary.LittleEndian.Uint32(src[ref:]) != v {
			i += 1 + (i-anchor)>>6 // faster through what does not compress
			continue
		}
		for i > anchor && ref > 0 && src[i-1] == src[ref-1] {
			i, ref = i-1, ref-1
		}
		size := lz4MinMatch + matchLength(src[ref+lz4MinMatch:], src[i+lz4MinMatch:len(src)-lz4LastLiterals])
		b = lz4Sequence(b, src[anchor:i], i-ref, size)
		i += size
		anchor = i
	}
	return lz4Literals(b, src[anchor:], 0)
}

// lz4Sequence appends literals and the copy that follows them.
func lz4Sequence(b, literals []byte, offset, size int) []byte {
	size -= lz4MinMatch
	b = lz4Literals(b, literals, byte(min(size, 15)))
	b = binary.LittleEndian.AppendUint16(b, uint16(offset))
	if size >= 15 {
		b = lz4Length(b, size-15)
	}
	return b
}

func lz4Literals(b, literals []byte, low byte) []byte {
	b = append(b, byte(min(len(literals), 15))<<4|low)
	if len(literals) >= 15 {
		b = lz4Length(b, len(literals)-15)
	}
	return append(b, literals...)
}

func lz4Length(b []byte, n int) []byte {
	for ; n >= 255; n -= 255 {
		b = append(b, 255)
	}
	return append(b, byte(n))
}

// lz4Expand fills dst with what a block holds, which must be as long.
func lz4Expand(dst, src []byte) error {
	for at := 0; len(src) > 0; {
		token := src[0]
		n, rest, ok := lz4CutLength(src[1:], int(token>>4))
		if !ok || n > len(rest) || n > len(dst)-at {
			return badSection("corrupt LZ4 block")
		}
		at += copy(dst[at:], rest[:n])
		if src = rest[n:]; len(src) == 0 { // the last sequence has literals only
			if at != len(dst) {
				return errSectionSize
			}
			return nil
		}
		if len(src) < 2 {
			break
		}
		offset := int(binary.LittleEndian.Uint16(src))
		n, src, ok = lz4CutLength(src[2:], int(token&15))
		n += lz4MinMatch
		if !ok || offset == 0 || offset > at || n > len(dst)-at {
			break
		}
		repeat(dst, at, at-offset, n)
		at += n
	}
	return badSection("corrupt LZ4 block")
}

// lz4CutLength reads the bytes that go on with a length of 15.
func lz4CutLength(b []byte, n int) (int, []byte, bool) {
	if n < 15 {
		return n, b, true
	}
	for i, c := range b {
		n += int(c)
		if c != 255 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}

// repeat copies n bytes from an earlier place of b to one right after what is known. If they overlap, what lies between the two is
// repeated.
func repeat(b []byte, to, from, n int) {
	for n > 0 {
		copied := copy(b[to:to+n], b[from:to])
		to, n = to+copied, n-copied
	}
}

// matchLength returns how many bytes at the beginnings of a and b are the same.
func matchLength(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for ; n-i >= 8; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// matchBefore returns how many bytes at the ends of a and b are the same.
func matchBefore(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[len(a)-n:], b[len(b)-n:]
	i := n
	for ; i >= 8; i -= 8 {
		if x := binary.LittleEndian.Uint64(a[i-8:]) ^ binary.LittleEndian.Uint64(b[i-8:]); x != 0 {
			return n - i + bits.LeadingZeros64(x)>>3
		}
	}
	for i > 0 && a[i-1] == b[i-1] {
		i--
	}
	return n - i
}
