package pack

import (
	"bytes"
	"hash/crc32"
	"slices"
)

// Deflated reads the entry that begins at off and is length bytes long, and checks its CRC-32. It returns the zlib stream of an object
// that is stored whole, and false for a delta. The stream is in buf, which is enlarged as needed.
func (p *Pack) Deflated(off, length int64, crc uint32, buf []byte) (stream []byte, ok bool, err error) {
	if off < fileHeaderSize || length <= 0 || length > p.End()-off {
		return nil, false, p.fault(off, corrupt(off, "no entry can be there"))
	}
	buf = slices.Grow(buf[:0], int(length))[:length]
	if _, err := p.file.ReadAt(buf, off); err != nil {
		return nil, false, p.fault(off, noEOF(err))
	}
	if crc32.ChecksumIEEE(buf) != crc {
		return nil, false, p.fault(off, corrupt(off, "the entry is not what it was"))
	}
	h, err := readEntryHeader(bytes.NewReader(buf), p.format, off)
	if err != nil {
		return nil, false, p.fault(off, noEOF(err))
	}
	if h.IsDelta() {
		return nil, false, nil
	}
	return buf[h.DataOffset-off:], true, nil
}
