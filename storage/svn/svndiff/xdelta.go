package svndiff

import (
	"bytes"
	"encoding/binary"

	"holdfast/storage/svn"
)

const (
	blockSize = 64 // of the source, at multiples of it
	minCopy   = 5  // a shorter one at an end of the window takes more room than it saves
	sieveSize = 4096
	maxSlots  = 4096 // for svn.MaxWindow / blockSize blocks, at most a half full
)

// builder collects instructions.
type builder struct {
	ops  []svn.Op
	data []byte
}

func (b *builder) reset() { b.ops, b.data = b.ops[:0], b.data[:0] }

// copy appends a copy from the source.
func (b *builder) copy(offset, n int) {
	if last := len(b.ops) - 1; last >= 0 {
		if op := &b.ops[last]; op.Action == svn.FromSource && op.Offset+op.Len == offset {
			op.Len += n
			return
		}
	}
	b.ops = append(b.ops, svn.Op{Action: svn.FromSource, Offset: offset, Len: n})
}

// insert appends new data.
func (b *builder) insert(data []byte) {
	if last := len(b.ops) - 1; last >= 0 && b.ops[last].Action == svn.FromNew {
		b.ops[last].Len += len(data)
	} else {
		b.ops = append(b.ops, svn.Op{Action: svn.FromNew, Offset: len(b.data), Len: len(data)})
	}
	b.data = append(b.data, data...)
}

// takeBack removes what makes up to n bytes at the end of the target, and returns how many those were: a copy goes as a
// whole or not at all, for a shorter one is no smaller.
func (b *builder) takeBack(n int) int {
	taken := 0
	for taken < n && len(b.ops) > 0 {
		op := &b.ops[len(b.ops)-1]
		part := min(op.Len, n-taken)
		if part < op.Len && op.Action == svn.FromSource {
			break
		}
		if op.Action == svn.FromNew {
			b.data = b.data[:len(b.data)-part]
		}
		taken += part
		if part < op.Len {
			op.Len -= part
			break
		}
		b.ops = b.ops[:len(b.ops)-1]
	}
	return taken
}

// blocks finds the blocks of a source by their checksums.
type blocks struct {
	source []byte
	slots  [maxSlots]slot // a hash table with open addressing
	mask   uint32         // of those in use
	// sieve has a bit for each checksum that may be there. Nearly all others are found not to be there without a look at the slots.
	sieve [sieveSize]byte
}

// slot is a block; at is its position plus one, 0 if the slot is free.
type slot struct{ sum, at uint32 }

// reset fills the table with the blocks of source.
func (t *blocks) reset(source []byte) {
	n := uint32(2)
	for int(n) <= 2*(len(source)/blockSize+1) {
		n *= 2
	}
	t.source, t.mask = source, n-1
	clear(t.slots[:n])
	clear(t.sieve[:])
	for at := 0; at+blockSize <= len(source); at += blockSize {
		t.add(at)
	}
}

func hashOf(sum uint32) uint32 { return sum ^ sum>>12 }

// add adds a block, unless there is one with the same content.
func (t *blocks) add(at int) {
	block := t.source[at : at+blockSize]
	sum := checksum(block)
	h := hashOf(sum) & t.mask
	for ; t.slots[h].at != 0; h = (h + 1) & t.mask {
		if t.slots[h].sum == sum && bytes.Equal(t.block(h), block) {
			return
		}
	}
	t.slots[h] = slot{sum, uint32(at + 1)}
	t.sieve[sum>>16%sieveSize] |= 1 << (sum & 7)
}

func (t *blocks) block(h uint32) []byte {
	at := t.slots[h].at - 1
	return t.source[at : at+blockSize]
}

// find returns where a block stands that has a checksum and the content.
func (t *blocks) find(sum uint32, content []byte) (at int, ok bool) {
	for h := hashOf(sum) & t.mask; t.slots[h].at != 0; h = (h + 1) & t.mask {
		if t.slots[h].sum == sum && bytes.Equal(t.block(h), content) {
			return int(t.slots[h].at) - 1, true
		}
	}
	return 0, false
}

// checksum is Adler-32 without the modulus: the sum of the bytes, and in the upper half the sum of the sums. It takes eight bytes at a
// time, in two words of four numbers of 16 bits each, whose sum, each with a weight, is on top of their product with the weights.
func checksum(block []byte) uint32 {
	const (
		mask       = 0x00ff00ff00ff00ff
		one        = 0x0001000100010001
		evenWeight = 0x0008000600040002
		oddWeight  = 0x0007000500030001
	)
	var s1, s2 uint32
	for block = block[:blockSize]; len(block) >= 8; block = block[8:] {
		w := binary.LittleEndian.Uint64(block)
		even, odd := w&mask, w>>8&mask
		s2 += 8*s1 + uint32(even*evenWeight>>48) + uint32(odd*oddWeight>>48)
		s1 += uint32((even + odd) * one >> 48)
	}
	return s2<<16 + s1
}

// roll moves a checksum on by one byte.
func roll(sum uint32, out, in byte) uint32 {
	sum -= blockSize<<16*uint32(out) + uint32(out)
	sum += uint32(in)
	return sum + sum<<16
}

// skip moves on to the next position below end whose checksum the sieve has, or to end.
func (t *blocks) skip(sum uint32, text []byte, at, end int) (uint32, int) {
	in := text[blockSize:]
	for at < end && t.sieve[sum>>16%sieveSize]>>(sum&7)&1 == 0 {
		sum = roll(sum, text[at], in[at])
		at++
	}
	return sum, at
}

// xdelta finds copies from one part of a text to another: the common beginning, then blocks of the source where they stand in the
// target, extended both ways, and the common end. All else is new data.
func xdelta(out *builder, table *blocks, from, to []byte) {
	done := matchLength(from, to) // the target is made up to here
	if done >= minCopy || done == len(to) {
		out.copy(0, done)
	} else {
		done = 0
	}
	if len(to)-done >= blockSize && len(from) >= blockSize {
		table.reset(from)
		done = scan(out, table, from, to, done)
	}
	finish(out, from, to, done)
}

// scan makes the target from position done as far as there are blocks of the source in it, and returns how far.
func scan(out *builder, table *blocks, from, to []byte, done int) int {
	end := len(to) - blockSize
	sum := checksum(to[done:])
	for at := done; at < end; {
		sum, at = table.skip(sum, to, at, end)
		source, ok := table.find(sum, to[at:at+blockSize])
		if !ok {
			if at < end {
				sum = roll(sum, to[at], to[at+blockSize])
			}
			at++
			continue
		}
		n := blockSize + matchLength(from[source+blockSize:], to[at+blockSize:])
		back := matchBefore(from[:source], to[done:at])
		source, at, n = source-back, at-back, n+back
		if at > done {
			out.insert(to[done:at])
		} else { // it may be better than the copy before it
			back = out.takeBack(matchBefore(from[:source], to[:at]))
			source, at, n = source-back, at-back, n+back
		}
		out.copy(source, n)
		at += n
		done = at
		if at <= end {
			sum = checksum(to[at:])
		}
	}
	return done
}

// finish makes the rest of the target, with a copy of the common end if it is worth it.
func finish(out *builder, from, to []byte, done int) {
	rest := to[done:]
	if len(rest) == 0 {
		return
	}
	n := matchBefore(from, rest)
	if n < minCopy {
		n = 0
	}
	if n < len(rest) {
		out.insert(rest[:len(rest)-n])
	}
	if n > 0 {
		out.copy(len(from)-n, n)
	}
}
