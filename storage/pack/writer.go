package pack

import (
	"bytes"
	"cmp"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"

	"holdfast/storage/object"
)

// Writer writes a pack to a stream. It holds at most one buffer of it. It is not safe for concurrent use. After an error, it
// stays failed.
type Writer struct {
	w       io.Writer
	format  object.Format
	count   uint32
	written uint32
	off     int64
	trailer hash.Hash
	z       *zlib.Writer
	header  []byte
	sum     []byte
	err     error
}

// NewWriter returns a Writer of a pack of count objects. Many small writes reach w, so it should be buffered.
func NewWriter(w io.Writer, f object.Format, count uint32) *Writer {
	pw := &Writer{w: w, format: f, count: count, trailer: newTrailerHash(f)}
	pw.raw().Write(fileHeader(count))
	return pw
}

// Offset returns the number of bytes written: where the next entry will begin. A later entry can name it as its base.
func (w *Writer) Offset() int64 { return w.off }

// rawWriter writes bytes of the pack.
type rawWriter Writer

func (w *Writer) raw() *rawWriter { return (*rawWriter)(w) }

// Write hashes and writes p.
func (w *rawWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.trailer.Write(p)
	n, err := w.w.Write(p)
	w.off += int64(n)
	if err != nil {
		w.err = err
	}
	return n, err
}

// begin starts an entry.
func (w *Writer) begin() error {
	if w.err == nil && w.written == w.count {
		w.err = fmt.Errorf("write pack: more than the %d objects it was announced to hold", w.count)
	}
	w.written++
	return w.err
}

// WriteObject writes an object whole.
func (w *Writer) WriteObject(t object.Type, data []byte) error {
	z, err := w.deflate(t, int64(len(data)))
	if err != nil {
		return err
	}
	z.Write(data)
	return w.endDeflate()
}

// WriteDelta writes an object as a delta, as DeltaIndex.Delta makes it, on base.
func (w *Writer) WriteDelta(base Base, delta []byte) error {
	err := w.begin()
	if err != nil {
		return err
	}
	h := EntryHeader{Kind: kindRefDelta, Size: int64(len(delta))}
	if w.header, w.err = entryHeaderFor(w.header[:0], h, base, w.off); w.err != nil {
		return w.err
	}
	w.beginDeflate().Write(delta)
	return w.endDeflate()
}

// WriteStream writes an object whole, whose content r yields: exactly size bytes.
func (w *Writer) WriteStream(t object.Type, size int64, r io.Reader) error {
	z, err := w.deflate(t, size)
	if err != nil {
		return err
	}
	n, err := io.Copy(z, io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("write pack: an object of %d bytes was announced to have %d", n, size)
	}
	if err != nil {
		w.err = err
		return err
	}
	return w.endDeflate()
}

func (w *Writer) deflate(t object.Type, size int64) (*zlib.Writer, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	w.header = appendEntryHeader(w.header[:0], byte(t), size)
	return w.beginDeflate(), w.err
}

// beginDeflate writes the header that was made, and returns what deflates the data behind it.
func (w *Writer) beginDeflate() *zlib.Writer {
	w.raw().Write(w.header)
	if w.z == nil {
		w.z = deflaters.Get().(*zlib.Writer)
	}
	w.z.Reset(w.raw())
	return w.z
}

// deflaters are kept, since each takes a megabyte: most packs are small.
var deflaters = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

func (w *Writer) endDeflate() error {
	if err := w.z.Close(); err != nil && w.err == nil {
		w.err = err
	}
	return w.err
}

// Base names the base of a delta that is copied: by Offset, where its entry begins in the new pack, or else by ID.
type Base struct {
	Offset int64
	ID     object.ID
}

// CopyEntry copies a stored entry that ends at end, deflated as it is. For a delta, base says where its base is in the new
// pack, or names one that the receiver has; for an object stored whole it is not looked at. If the bytes on disk do not
// match rec.CRC, the error is ErrCorrupt; what was written is then of no use.
func (w *Writer) CopyEntry(p *Pack, rec Record, end int64, base Base) error {
	err := w.begin()
	if err == nil {
		err = w.copyEntry(p, rec, end, base)
	}
	if err != nil {
		w.err = err
	}
	return err
}

func (w *Writer) copyEntry(p *Pack, rec Record, end int64, base Base) error {
	if rec.Offset < fileHeaderSize || end > p.End() || rec.Offset >= end {
		return p.fault(rec.Offset, corrupt(rec.Offset, "no entry can be there"))
	}
	// One read does for nearly all entries.
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	b := buf[:min(copyBuffer, end-rec.Offset)]
	if _, err := p.file.ReadAt(b, rec.Offset); err != nil {
		return p.fault(rec.Offset, noEOF(err))
	}
	h, err := readEntryHeader(bytes.NewReader(b), p.format, rec.Offset)
	if err != nil {
		return p.fault(rec.Offset, noEOF(err))
	}
	w.header, err = entryHeaderFor(w.header[:0], h, base, w.off)
	if err != nil {
		return err
	}
	w.raw().Write(w.header)
	w.raw().Write(b[h.DataOffset-rec.Offset:])
	crc, err := p.copyRange(w.raw(), rec.Offset+int64(len(b)), end, crc32.ChecksumIEEE(b))
	if err == nil && crc != rec.CRC {
		err = p.fault(rec.Offset, corrupt(rec.Offset, "object %s does not match the checksum in the index", rec.ID))
	}
	return cmp.Or(w.err, err)
}

// CopyEntries writes count entries that data holds, as they are. The bases of deltas that name them by offset must have been
// written at the same distances before.
func (w *Writer) CopyEntries(data []byte, count uint32) error {
	if w.err == nil && count > w.count-w.written {
		w.err = fmt.Errorf("write pack: more than the %d objects it was announced to hold", w.count)
	}
	if w.err == nil {
		w.written += count
		w.raw().Write(data)
	}
	return w.err
}

func entryHeaderFor(b []byte, h EntryHeader, base Base, off int64) ([]byte, error) {
	switch {
	case !h.IsDelta():
		return appendEntryHeader(b, h.Kind, h.Size), nil
	case base.Offset > 0 && base.Offset < off:
		return appendDistance(appendEntryHeader(b, kindOfsDelta, h.Size), off-base.Offset), nil
	case !base.ID.IsZero():
		return base.ID.Append(appendEntryHeader(b, kindRefDelta, h.Size)), nil
	}
	return nil, fmt.Errorf("write pack: no base was given for a delta")
}

// Close writes the trailer. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.written != w.count {
		w.err = fmt.Errorf("write pack: %d objects, but it was announced to hold %d", w.written, w.count)
	}
	if w.err != nil || w.sum != nil {
		return w.err
	}
	if w.z != nil {
		deflaters.Put(w.z)
		w.z = nil
	}
	w.sum = w.trailer.Sum(nil)
	_, err := w.raw().Write(w.sum)
	return err
}
