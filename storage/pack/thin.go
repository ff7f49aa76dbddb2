package pack

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// unresolved calls fn with the reference deltas that have no base so far, in the order of the pack, until it fails.
func (r *receiver) unresolved(fn func(base uint32, e *entry) error) error {
	if len(r.refs) == 0 {
		return nil
	}
	for i := range r.count {
		e := r.entries.at(i)
		if e.kind == kindRefDelta && e.id == none {
			if err := fn(e.base, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *receiver) missing(base uint32, e *entry, err error) error {
	msg := fmt.Errorf("%w: %s, needed by the delta at byte %d", ErrMissingBase, r.ids.id(r.o.Format, base), e.off)
	if err != nil {
		return fmt.Errorf("%w: %w", msg, err)
	}
	return msg
}

// refuseThin refuses a pack that lacks bases, or whose deltas form a circle.
func (r *receiver) refuseThin(*Received) error {
	return r.unresolved(func(base uint32, e *entry) error { return r.missing(base, e, nil) })
}

// complete appends the bases that the repository holds and resolves what is built on them.
func (r *receiver) complete(got *Received) error {
	if r.o.Base == nil || len(r.refs) == 0 {
		return r.refuseThin(got)
	}
	c := completer{receiver: r, w: r.newWorker(), end: r.bodyEnd}
	defer c.w.done()
	// One turn suffices: with a base, everything built on it is resolved, which may come earlier in the pack.
	failed := map[uint32]error{}
	err := r.unresolved(func(base uint32, e *entry) error {
		if failed[base] != nil {
			return nil
		}
		err := c.append(base, e)
		if errors.Is(err, ErrMissingBase) {
			failed[base] = err
			return nil
		}
		return err
	})
	if err == nil {
		err = r.unresolved(func(base uint32, e *entry) error { return cmp.Or(failed[base], r.missing(base, e, nil)) })
	}
	if err != nil || c.end == r.bodyEnd {
		return err
	}
	return c.finish(got)
}

// completer appends bases to a thin pack.
type completer struct {
	*receiver
	w   *worker
	end int64 // of what was written
	buf bytes.Buffer
}

// fastDeflaters are for bases that are added: they are in the way until the pack is merged.
var fastDeflaters = sync.Pool{New: func() any {
	z, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return z
}}

// append adds the base of a delta, and resolves everything built on it.
func (c *completer) append(base uint32, delta *entry) error {
	id := c.ids.id(c.o.Format, base)
	t, data, err := c.o.Base(id)
	if err != nil {
		return c.missing(base, delta, err)
	}
	if int64(len(data)) > c.o.MaxMemoryBytes {
		return tooLarge("the delta base %s has %d bytes, the limit is %d", id, len(data), c.o.MaxMemoryBytes)
	}
	if got, err := c.w.hasher.Hash(t, data); err != nil || got != id {
		return fmt.Errorf("delta base %s, as the repository holds it, is damaged: its content has the id %s", id, got)
	}
	n, e := c.entries.add()
	*e = entry{
		off: c.end, size: int64(len(data)), id: none, base: none, first: none, next: none,
		kind: byte(t), typ: t, header: byte(len(appendEntryHeader(nil, byte(t), int64(len(data))))),
	}
	if err := c.write(e, data); err != nil {
		return err
	}
	if err := c.w.name(n, e, data, appended); err != nil {
		return err
	}
	return c.w.root(c.ctx, n)
}

// write deflates the base to the end of the file.
func (c *completer) write(e *entry, data []byte) error {
	c.buf.Reset()
	c.buf.Write(appendEntryHeader(nil, e.kind, e.size))
	z := fastDeflaters.Get().(*zlib.Writer)
	defer fastDeflaters.Put(z)
	z.Reset(&c.buf)
	z.Write(data)
	if err := z.Close(); err != nil {
		return err
	}
	e.crc = crc32.ChecksumIEEE(c.buf.Bytes())
	if _, err := c.file.WriteAt(c.buf.Bytes(), c.end); err != nil {
		return err
	}
	c.end += int64(c.buf.Len())
	return nil
}

// finish writes the header and the trailer of the completed pack.
func (c *completer) finish(got *Received) error {
	if c.entries.len() > math.MaxUint32 {
		return tooLarge("more objects than a pack can count")
	}
	if _, err := c.file.WriteAt(fileHeader(uint32(c.entries.len())), 0); err != nil {
		return err
	}
	h := newTrailerHash(c.o.Format)
	if _, err := io.Copy(h, io.NewSectionReader(c.file, 0, c.end)); err != nil {
		return err
	}
	trailer := h.Sum(nil)
	if _, err := c.file.WriteAt(trailer, c.end); err != nil {
		return err
	}
	got.StoredSize = c.end + int64(len(trailer))
	return c.file.Truncate(got.StoredSize)
}
