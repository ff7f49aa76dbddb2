package svndiff

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"

	"holdfast/storage/svn"
)

// packer writes the sections of versions 1 and 2.
type packer struct {
	version, level int
}

// append appends a section: its plain length, and it itself, packed if that is shorter. The table is memory for LZ4.
func (p *packer) append(b, plain []byte, table *lz4Table) []byte {
	b = appendNumber(b, uint64(len(plain)))
	start := len(b)
	switch {
	case p.version == 2:
		b = lz4Append(b, plain, table)
	case len(plain) >= minDeflate && p.level > 0:
		b = deflateAppend(b, plain, p.level)
	default:
		return append(b, plain...)
	}
	if len(b)-start >= len(plain) {
		b = append(b[:start], plain...)
	}
	return b
}

// deflaters are zlib writers by level. They are big, and slow to make.
var deflaters [10]sync.Pool

// appender is a writer to the end of a slice.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func deflateAppend(b, plain []byte, level int) []byte {
	out := appender(b)
	z, _ := deflaters[level].Get().(*zlib.Writer)
	if z == nil {
		z, _ = zlib.NewWriterLevel(nil, level) // fails for other levels only
	}
	z.Reset(&out)
	_, err := z.Write(plain)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // out does not fail
	}
	deflaters[level].Put(z)
	return out
}

// unpacker reads the sections of versions 1 and 2.
type unpacker struct {
	in  bytes.Reader
	zip io.ReadCloser // made when it is first used
}

// unpack appends to b, which is empty, the plain form of a section. It is never longer than limit.
func (u *unpacker) unpack(b, section []byte, version, limit int) ([]byte, error) {
	size, n := cutNumber(section)
	if n == 0 {
		return nil, badSection("no size")
	}
	if size > uint64(limit) {
		return nil, badSection("size too large")
	}
	section = section[n:]
	if len(section) == int(size) {
		return append(b, section...), nil
	}
	if cap(b) < int(size) {
		b = make([]byte, 0, size)
	}
	b = b[:size]
	if version == 2 {
		return b, lz4Expand(b, section)
	}
	return b, u.inflate(b, section)
}

// inflate fills b, which the section must fill exactly.
func (u *unpacker) inflate(b, section []byte) error {
	u.in.Reset(section)
	var err error
	if u.zip == nil {
		u.zip, err = zlib.NewReader(&u.in)
	} else {
		err = u.zip.(zlib.Resetter).Reset(&u.in, nil)
	}
	if err != nil {
		return corruptZlib(err)
	}
	if n, err := io.ReadFull(u.zip, b); err != nil {
		if n < len(b) && (err == io.EOF || err == io.ErrUnexpectedEOF) {
			return errSectionSize
		}
		return corruptZlib(err)
	}
	var more [1]byte
	switch n, err := u.zip.Read(more[:]); {
	case n > 0:
		return errSectionSize
	case err != nil && err != io.EOF: // the checksum
		return corruptZlib(err)
	}
	return nil
}

var errSectionSize = svn.Errorf(svn.ErrSvndiffInvalidCompressedData, "Size of uncompressed data does not match stored original length")

func badSection(why string) error {
	return svn.Errorf(svn.ErrSvndiffInvalidCompressedData, "Decompression of compressed data failed: %s", why)
}

func corruptZlib(cause error) error {
	return svn.Wrap(cause, svn.ErrStreamMalformedData, "Decompression of svndiff data failed")
}
