package pack

import (
	"bufio"
	"io"
	"math/bits"
)

// extent reads a part of the file through a buffer, never past its end.
type extent struct {
	*bufio.Reader
	file io.ReaderAt
	off  int64
	end  int64
}

const extentBuffer = 32 << 10

func (x *extent) init() {
	x.Reader = bufio.NewReaderSize(extentReader{x}, extentBuffer)
}

func (x *extent) seek(off, end int64) {
	x.off, x.end = off, end
	x.Reset(extentReader{x})
}

type extentReader struct{ x *extent }

func (r extentReader) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), r.x.end-r.x.off)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := r.x.file.ReadAt(p, r.x.off)
	r.x.off += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// buffers keeps memory that objects were in for the next ones.
type buffers struct {
	free [bits.UintSize][][]byte // by the power of two that the capacity is at least
	size int64
}

// What is kept, in bytes.
const (
	buffersMax     = 16 << 20
	maxIdleBuffers = 1 << 20 // by an entryReader that is not in use
)

func (b *buffers) get(size int64) []byte {
	class := bits.Len64(uint64(size))
	if list := b.free[class]; len(list) > 0 {
		data := list[len(list)-1]
		b.free[class] = list[:len(list)-1]
		b.size -= int64(cap(data))
		return data[:size]
	}
	if size > buffersMax {
		return make([]byte, size)
	}
	return make([]byte, size, 1<<class)
}

func (b *buffers) put(data []byte) {
	n := int64(cap(data))
	if n == 0 || n > buffersMax/4 || b.size+n > buffersMax {
		return
	}
	class := bits.Len64(uint64(n)) - 1 // a get of this class fits
	b.free[class] = append(b.free[class], data)
	b.size += n
}
