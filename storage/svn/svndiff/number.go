package svndiff

// appendNumber appends an encoded number.
func appendNumber(b []byte, n uint64) []byte {
	shift := 0
	for v := n >> 7; v != 0; v >>= 7 {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		b = append(b, byte(n>>shift)|0x80)
	}
	return append(b, byte(n)&0x7f)
}

// cutNumber reads a number from the front of b, and returns how many bytes it took: 0 if it does not end in b or is too long.
func cutNumber(b []byte) (n uint64, size int) {
	for i, c := range b {
		if i == maxNumber {
			return 0, 0
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}
