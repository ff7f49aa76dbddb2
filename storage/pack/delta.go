package pack

import "errors"

var errDelta = errors.New("the delta is not valid")

// deltaHeaderMax is the length that no delta's two sizes exceed.
const deltaHeaderMax = 20

// deltaSizes reads the sizes of base and result that a delta begins with.
func deltaSizes(delta []byte) (base, result int64, ops []byte, err error) {
	base, delta, ok := deltaSize(delta)
	if !ok {
		return 0, 0, nil, errDelta
	}
	result, delta, ok = deltaSize(delta)
	if !ok {
		return 0, 0, nil, errDelta
	}
	return base, result, delta, nil
}

func deltaSize(b []byte) (size int64, rest []byte, ok bool) {
	for i, c := range b {
		if i > 8 {
			break
		}
		size |= int64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return size, b[i+1:], true
		}
	}
	return 0, nil, false
}

// applyDelta makes an object of dst's length from its base. The caller has read the sizes and knows that they fit dst
// and base.
func applyDelta(dst, base, ops []byte) error {
	for len(ops) > 0 {
		op := ops[0]
		ops = ops[1:]
		if op&0x80 == 0 {
			n := int(op)
			if n == 0 || n > len(ops) || n > len(dst) {
				return errDelta
			}
			copy(dst, ops[:n])
			dst, ops = dst[n:], ops[n:]
			continue
		}
		off, n, used := copyOperands(op, ops)
		if used > len(ops) || off > len(base) || n > len(base)-off || n > len(dst) {
			return errDelta
		}
		copy(dst, base[off:off+n])
		dst, ops = dst[n:], ops[used:]
	}
	if len(dst) > 0 {
		return errDelta
	}
	return nil
}

// maxOperands is how many bytes an instruction to copy can take: four of an offset, three of a length, the zero ones left out.
const maxOperands = 7

// copyOperands reads where to copy from, and how much. used is more than len(ops) if they are cut off.
func copyOperands(op byte, ops []byte) (off, n, used int) {
	if len(ops) < maxOperands {
		var padded [maxOperands]byte
		copy(padded[:], ops)
		ops = padded[:]
	}
	b := (*[maxOperands]byte)(ops)
	for bit := range 4 {
		if op&(1<<bit) != 0 {
			off |= int(b[used]) << (8 * bit)
			used++
		}
	}
	for bit := range 3 {
		if op&(0x10<<bit) != 0 {
			n |= int(b[used]) << (8 * bit)
			used++
		}
	}
	if n == 0 {
		n = 0x10000
	}
	return off, n, used
}
