package pack

import (
	"bufio"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"sync"
)

// inputBuffer is the size of the buffer that the decoder reads from, unless the source has a smaller one.
const inputBuffer = 64 << 10

// input hands a pack's bytes to the decoder without taking one more from the source than the decoder uses.
//
// The decoder needs a *bufio.Reader to be fast, and that reads ahead. So what it is given is only peeked at in src, and
// discarded there when it asks for more: at that moment it has used all it had. The part of the stream that the decoder
// holds is the window; whatever it used of it goes to the CRC of the current entry and to the sink.
type input struct {
	*bufio.Reader // over window reads

	ctx     context.Context
	src     *bufio.Reader
	own     *bufio.Reader // src, unless it is the caller's
	sink    *sink
	limit   int64
	window  []byte // peeked from src, not yet discarded
	done    int    // bytes of window that went to crc and sink
	start   int64  // offset of the window in the pack
	crc     uint32
	counted int // bytes of window that are in crc, or precede the entry
}

// newInput returns an input, whose owner must call release.
func newInput(ctx context.Context, src io.Reader, s *sink, limit int64) *input {
	in := &input{ctx: ctx, sink: s, limit: limit}
	br, ok := src.(*bufio.Reader)
	if !ok {
		br = takeInputBuffer(src)
		in.own = br
	}
	if in.src = br; br.Size() >= inputBuffer {
		in.Reader = takeInputBuffer(windowReader{in})
	} else {
		in.Reader = bufio.NewReaderSize(windowReader{in}, br.Size())
	}
	return in
}

// release gives the buffers back.
func (in *input) release() {
	for _, br := range []*bufio.Reader{in.Reader, in.own} {
		if br != nil && br.Size() == inputBuffer {
			br.Reset(nil)
			inputBuffers.Put(br)
		}
	}
}

// inputBuffers are for many small packs, each of which takes two.
var inputBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, inputBuffer) }}

func takeInputBuffer(src io.Reader) *bufio.Reader {
	br := inputBuffers.Get().(*bufio.Reader)
	br.Reset(src)
	return br
}

// windowReader fills the decoder's buffer.
type windowReader struct{ in *input }

var errReadAhead = errors.New("pack: the decoder asked for more before it used what it had")

func (w windowReader) Read(p []byte) (int, error) {
	in := w.in
	if in.Buffered() > 0 {
		return 0, errReadAhead
	}
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	if err := in.settle(); err != nil {
		return 0, err
	}
	in.src.Discard(len(in.window))
	in.start += int64(len(in.window))
	in.window, in.done, in.counted = nil, 0, 0
	if in.start >= in.limit {
		return 0, tooLarge("more than %d bytes", in.limit)
	}
	if _, err := in.src.Peek(1); err != nil {
		return 0, err
	}
	n := min(in.src.Buffered(), len(p), int(min(in.limit-in.start, 1<<30)))
	in.window, _ = in.src.Peek(n)
	return copy(p, in.window), nil
}

// used is the number of the window's bytes that the decoder has used.
func (in *input) used() int { return len(in.window) - in.Buffered() }

// offset is the position in the pack of the next byte that the decoder will use.
func (in *input) offset() int64 { return in.start + int64(in.used()) }

// settle passes on what the decoder has used.
func (in *input) settle() error {
	n := in.used()
	in.crc = crc32.Update(in.crc, crc32.IEEETable, in.window[in.counted:n])
	in.counted = n
	p := in.window[in.done:n]
	in.done = n
	return in.sink.write(p)
}

// beginEntry starts the CRC of an entry.
func (in *input) beginEntry() {
	in.counted = in.used()
	in.crc = 0
}

// endEntry returns the CRC of the entry that was read.
func (in *input) endEntry() uint32 {
	n := in.used()
	in.crc = crc32.Update(in.crc, crc32.IEEETable, in.window[in.counted:n])
	in.counted = n
	return in.crc
}

// finish takes what was used out of the source, and no more.
func (in *input) finish() error {
	err := in.settle()
	in.src.Discard(in.done)
	in.start += int64(in.done)
	in.window, in.done, in.counted = nil, 0, 0
	in.Reset(windowReader{in})
	return err
}
