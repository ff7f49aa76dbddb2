package pack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
)

// inflater inflates entries, one after another.
type inflater struct {
	z io.ReadCloser
}

var errInflate = errors.New("its data cannot be inflated")

// begin starts to inflate what r holds next.
func (f *inflater) begin(r *bufio.Reader) error {
	if f.z == nil {
		z, err := zlib.NewReader(r)
		if err != nil {
			return inflateError(err)
		}
		f.z = z
		return nil
	}
	return inflateError(f.z.(zlib.Resetter).Reset(r, nil))
}

// Read reads inflated data.
func (f *inflater) Read(p []byte) (int, error) {
	n, err := f.z.Read(p)
	if err != nil && err != io.EOF {
		err = inflateError(err)
	}
	return n, err
}

// full fills p.
func (f *inflater) full(p []byte) error {
	for len(p) > 0 {
		n, err := f.Read(p)
		p = p[n:]
		if err == io.EOF && len(p) > 0 {
			return errShort
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// end expects the end of the data, with the right checksum.
func (f *inflater) end() error {
	var one [1]byte
	for {
		n, err := f.Read(one[:])
		if n > 0 {
			return errLong
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var (
	errShort = errors.New("its data is shorter than its header says")
	errLong  = errors.New("its data is longer than its header says")
)

// inflateError turns the decoder's words for bad data into ours and leaves a reader's errors as they are.
func inflateError(err error) error {
	var bad flate.CorruptInputError
	if errors.Is(err, zlib.ErrChecksum) || errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrDictionary) ||
		errors.As(err, &bad) {
		return errInflate
	}
	return err
}

// entryReader reads entries of a file, one after another. It is large, so it is used again: call done.
type entryReader struct {
	src   extent
	z     inflater
	pool  buffers
	chain []step // memory of ReadObject

	at     int64 // the entry before whose data src stands, if it is one of a Pack; 0 for none
	pooled bool  // the base of the next delta is in memory of pool
}

var entryReaders = sync.Pool{New: func() any {
	r := new(entryReader)
	r.src.init()
	return r
}}

func newEntryReader(file io.ReaderAt) *entryReader {
	r := entryReaders.Get().(*entryReader)
	r.src.file = file
	return r
}

func (r *entryReader) done() {
	r.src.file, r.at, r.pooled = nil, 0, false
	if r.pool.size > maxIdleBuffers {
		r.pool = buffers{}
	}
	entryReaders.Put(r)
}

// entryError places an error that came up while the entry at off was read.
func entryError(off int64, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errInflate), errors.Is(err, errShort), errors.Is(err, errLong), errors.Is(err, errHeader),
		errors.Is(err, errDelta):
		return corrupt(off, "%v", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends within the entry at byte %d", ErrTruncated, off)
	}
	return err
}
