package pack

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"holdfast/storage/object"
)

// Pack reads a stored pack. It is safe for concurrent use, up to Close.
type Pack struct {
	file   *os.File
	format object.Format
	count  uint32
	size   int64
	key    uint64 // tells it from other packs in a Cache
}

// Open opens a stored pack. It looks at the header only: what is read from it is checked when it is read.
func Open(path string, f object.Format) (*Pack, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	p := &Pack{file: file, format: f, key: cacheKeys.Add(1)}
	if err := p.readHeader(); err != nil {
		file.Close()
		return nil, &fs.PathError{Op: "open pack", Path: path, Err: err}
	}
	return p, nil
}

func (p *Pack) readHeader() error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	p.size = info.Size()
	if p.size < int64(fileHeaderSize+p.format.Size()) {
		return ErrTruncated
	}
	var h [fileHeaderSize]byte
	if _, err := p.file.ReadAt(h[:], 0); err != nil {
		return err
	}
	p.count, err = parseFileHeader(h[:])
	return err
}

// Close closes the file.
func (p *Pack) Close() error { return p.file.Close() }

// Count returns the number of entries, as the header has it.
func (p *Pack) Count() uint32 { return p.count }

// Size returns the size of the file.
func (p *Pack) Size() int64 { return p.size }

// End returns where the entries end and the trailer begins.
func (p *Pack) End() int64 { return p.size - int64(p.format.Size()) }

// ReadAt reads from the file, header and trailer included.
func (p *Pack) ReadAt(b []byte, off int64) (int, error) { return p.file.ReadAt(b, off) }

func (p *Pack) fault(off int64, err error) error {
	err = entryError(off, err)
	if errors.Is(err, ErrTruncated) {
		err = corrupt(off, "the file ends within an entry")
	}
	return fmt.Errorf("%s: %w", p.file.Name(), err)
}

func (p *Pack) reader() *entryReader { return newEntryReader(p.file) }

// Header reads the header of the entry at off.
func (p *Pack) Header(off int64) (EntryHeader, error) {
	r := p.reader()
	defer r.done()
	return p.header(r, off, maxEntryHeader)
}

// header reads an entry's header and leaves r before its data, of which it may have read up to ahead bytes.
func (p *Pack) header(r *entryReader, off, ahead int64) (EntryHeader, error) {
	if off < fileHeaderSize || off >= p.End() {
		return EntryHeader{}, p.fault(off, corrupt(off, "no entry can be there"))
	}
	r.src.seek(off, min(p.End(), off+ahead))
	h, err := readEntryHeader(r.src, p.format, off)
	if err != nil {
		return EntryHeader{}, p.fault(off, noEOF(err))
	}
	r.at = off
	return h, nil
}

// data inflates what follows the header that was read from r, into buf if that is large enough.
func (p *Pack) data(r *entryReader, off int64, h EntryHeader, limit int64, buf []byte) ([]byte, error) {
	if h.Size > limit {
		return nil, p.fault(off, tooLarge("the entry at byte %d inflates to %d bytes, the limit is %d", off, h.Size, limit))
	}
	r.src.end, r.at = p.End(), 0
	data := buf[:0]
	if int64(cap(data)) < min(h.Size, growStep) {
		data = make([]byte, 0, min(h.Size, growStep))
	}
	err := r.z.begin(r.src.Reader)
	for err == nil && int64(len(data)) < h.Size {
		from := len(data)
		data = slices.Grow(data, int(min(int64(max(from, 1)), h.Size-int64(from))))
		data = data[:min(int64(cap(data)), h.Size)]
		err = r.z.full(data[from:])
	}
	if err == nil {
		err = r.z.end()
	}
	if err != nil {
		return nil, p.fault(off, noEOF(err))
	}
	return data, nil
}

// ReadOptions say how to read an object. The zero value means the defaults, and no reference deltas.
type ReadOptions struct {
	MaxBytes int64 // of the object and of each base; DefaultMaxMemoryBytes if 0
	MaxDepth int   // of the chain of deltas; DefaultMaxDepth if 0
	// Locate finds the base of a reference delta in the same pack, so that a chain needs no recursion. It may be nil.
	Locate func(object.ID) (off int64, ok bool)
	// Base reads the base of a reference delta that Locate does not find.
	Base func(object.ID) (object.Type, []byte, error)
	// Cache, if set, keeps bases. What is returned may then be shared: it must not be changed.
	Cache *Cache
	// Keep says what Cache gets.
	Keep Keep
}

// Keep says what a Cache gets of what is read.
type Keep uint8

// The ways to fill a Cache.
const (
	KeepBases  Keep = iota // what the object is built on: other objects may be, too
	KeepAll                // the object as well, which may be a base soon
	KeepObject             // the object alone, which is to be read again sooner than what it is built on
)

// of reports whether the cache gets what stands so many deltas below the object.
func (k Keep) of(depth int) bool {
	if depth == 0 {
		return k != KeepBases
	}
	return k != KeepObject
}

// passing reports whether what stands so many deltas below the object is for a pool: nobody sees it once the object is made.
func (o ReadOptions) passing(depth int, size int64) bool {
	return depth > 0 && !o.Keep.of(depth) && size <= maxIdleBuffers
}

// step is one delta of a chain.
type step struct {
	off int64
	h   EntryHeader
}

// ReadObject reads the object whose entry is at off, deltas resolved.
func (p *Pack) ReadObject(off int64, o ReadOptions) ([]byte, object.Type, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxMemoryBytes
	}
	if o.MaxDepth <= 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	r := p.reader()
	defer r.done()
	chain := r.chain[:0]
	defer func() { r.chain = chain[:0] }()
	for {
		if t, data, ok := o.Cache.get(p.key, off); ok {
			return p.apply(r, t, data, chain, o)
		}
		h, err := p.header(r, off, 4<<10)
		if err != nil {
			return nil, 0, err
		}
		if !h.IsDelta() {
			var buf []byte
			if r.pooled = o.passing(len(chain), h.Size); r.pooled {
				buf = r.pool.get(h.Size)
			}
			data, err := p.data(r, off, h, o.MaxBytes, buf)
			if err != nil {
				return nil, 0, err
			}
			if o.Keep.of(len(chain)) {
				o.Cache.put(p.key, off, object.Type(h.Kind), data)
			}
			return p.apply(r, object.Type(h.Kind), data, chain, o)
		}
		if len(chain) == o.MaxDepth {
			return nil, 0, p.fault(off, tooLarge("a chain of more than %d deltas", o.MaxDepth))
		}
		chain = append(chain, step{off: off, h: h})
		if h.Kind == kindOfsDelta {
			off = h.BaseOffset
			continue
		}
		if o.Locate != nil {
			if at, ok := o.Locate(h.BaseID); ok {
				off = at
				continue
			}
		}
		return p.applyToForeign(r, h.BaseID, chain, o)
	}
}

// applyToForeign resolves a chain that ends in another pack.
func (p *Pack) applyToForeign(r *entryReader, id object.ID, chain []step, o ReadOptions) ([]byte, object.Type, error) {
	err := error(nil)
	if o.Base != nil {
		var t object.Type
		var data []byte
		if t, data, err = o.Base(id); err == nil {
			return p.apply(r, t, data, chain, o)
		}
	}
	off := chain[len(chain)-1].off
	err = errors.Join(fmt.Errorf("%w: %s, needed by the delta at byte %d", ErrMissingBase, id, off), err)
	return nil, 0, p.fault(off, err)
}

// apply resolves a chain of deltas, from its end, on a base.
func (p *Pack) apply(r *entryReader, t object.Type, data []byte, chain []step, o ReadOptions) ([]byte, object.Type, error) {
	for i, s := range slices.Backward(chain) {
		if r.at != s.off {
			if _, err := p.header(r, s.off, int64(extentBuffer)); err != nil {
				return nil, 0, err
			}
		}
		delta, err := p.data(r, s.off, s.h, o.MaxBytes, r.pool.get(min(s.h.Size, growStep)))
		if err != nil {
			return nil, 0, err
		}
		base, size, ops, err := deltaSizes(delta)
		if err != nil || base != int64(len(data)) {
			return nil, 0, p.fault(s.off, errDelta)
		}
		if size > o.MaxBytes {
			return nil, 0, p.fault(s.off, tooLarge("the object at byte %d has %d bytes, the limit is %d", s.off, size, o.MaxBytes))
		}
		var next []byte
		passing := o.passing(i, size)
		if passing {
			next = r.pool.get(size)
		} else {
			next = make([]byte, size)
		}
		if err := applyDelta(next, data, ops); err != nil {
			return nil, 0, p.fault(s.off, err)
		}
		r.pool.put(delta)
		if r.pooled {
			r.pool.put(data)
		}
		data, r.pooled = next, passing
		if o.Keep.of(i) {
			o.Cache.put(p.key, s.off, t, data)
		}
	}
	return data, t, nil
}

// OpenBlob streams an object that is stored whole, of any type. It fails with errors.ErrUnsupported for a delta: use
// ReadObject.
func (p *Pack) OpenBlob(off int64) (object.Type, int64, io.ReadCloser, error) {
	r := p.reader()
	h, err := p.header(r, off, int64(extentBuffer))
	if err == nil && h.IsDelta() {
		err = fmt.Errorf("stream the entry at byte %d, a delta: %w", off, errors.ErrUnsupported)
	}
	if err == nil {
		r.src.end = p.End()
		if err = r.z.begin(r.src.Reader); err != nil {
			err = p.fault(off, noEOF(err))
		}
	}
	if err != nil {
		r.done()
		return 0, 0, nil, err
	}
	return object.Type(h.Kind), h.Size, &blobReader{p: p, r: r, off: off, left: h.Size}, nil
}

// blobReader streams one object.
type blobReader struct {
	p    *Pack
	r    *entryReader
	off  int64
	left int64
}

// Read reads content. It reports io.EOF only after all of it was seen and its checksum was right.
func (b *blobReader) Read(buf []byte) (int, error) {
	if b.r == nil {
		return 0, fs.ErrClosed
	}
	if b.left == 0 {
		if err := b.r.z.end(); err != nil {
			return 0, b.p.fault(b.off, noEOF(err))
		}
		return 0, io.EOF
	}
	n, err := b.r.z.Read(buf[:min(int64(len(buf)), b.left)])
	b.left -= int64(n)
	if err == io.EOF {
		if err = nil; b.left > 0 {
			err = errShort
		}
	}
	if err != nil {
		return n, b.p.fault(b.off, noEOF(err))
	}
	return n, nil
}

// Close ends the stream.
func (b *blobReader) Close() error {
	if b.r != nil {
		b.r.done()
		b.r = nil
	}
	return nil
}

// CopyEntryData copies an entry's deflated data, which begins at off (EntryHeader.DataOffset) and ends at end, to w.
func (p *Pack) CopyEntryData(w io.Writer, off, end int64) error {
	_, err := p.copyRange(w, off, end, 0)
	return err
}

// Checksum returns the CRC-32 of the entry that begins at off and ends at end: what its Record should have.
func (p *Pack) Checksum(off, end int64) (uint32, error) { return p.copyRange(io.Discard, off, end, 0) }

const copyBuffer = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyRange copies bytes of the file and continues a CRC over them.
func (p *Pack) copyRange(w io.Writer, off, end int64, crc uint32) (uint32, error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	for off < end {
		b := buf[:min(int64(len(buf)), end-off)]
		if _, err := p.file.ReadAt(b, off); err != nil {
			return 0, p.fault(off, noEOF(err))
		}
		crc = crc32.Update(crc, crc32.IEEETable, b)
		if _, err := w.Write(b); err != nil {
			return 0, err
		}
		off += int64(len(b))
	}
	return crc, nil
}
