package svndiff

// LZ4 packs a block.
func LZ4(src []byte) []byte { return lz4Append(nil, src, new(lz4Table)) }

// Checksum is that of a block.
func Checksum(block []byte) uint32 { return checksum(block) }

// UnLZ4 unpacks one.
func UnLZ4(block []byte, size int) ([]byte, error) {
	b := make([]byte, size)
	return b, lz4Expand(b, block)
}
