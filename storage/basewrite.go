package storage

import (
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"holdfast/storage/graph"
	"holdfast/storage/pack"
)

// baseWriter writes the objects of the base pack that a selection holds. Neighbours whose deltas' bases keep their distance
// are copied as they lie there, many at a time.
type baseWriter struct {
	pw     *packWriter
	sel    *baseSelection
	pack   *pack.Pack
	shifts []shift // ascending
	done   int64   // objects written
	buf    []byte
}

// shift is the distance by which entries, from one place on, begin later in the new pack than in the base pack.
type shift struct {
	from uint32
	by   int64
}

// copyBytes is how much is copied at a time, unless an entry is larger.
const copyBytes = 256 << 10

// write writes all of the selection's places.
func (b *baseWriter) write() error {
	h, err := b.pw.st.s.packs.acquire(packHandleKey{b.pw.st, b.sel.number})
	if err != nil {
		return err
	}
	defer b.pw.st.s.packs.release(h)
	b.pack, b.buf = h.value, make([]byte, copyBytes)
	for place, ok := b.sel.places.Next(0); ok; place, ok = b.sel.places.Next(place) {
		if place, err = b.writeRange(place); err != nil {
			return err
		}
		b.pw.report(b.done)
		if err := b.pw.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// writeRange writes the entry at a place, and as many of its neighbours as can be copied together. It returns the place
// after the last.
func (b *baseWriter) writeRange(from uint32) (next uint32, err error) {
	b.align(from)
	start := b.sel.Offset(from)
	for next = from; int(next) < b.sel.Len() && b.sel.places.Has(next) && b.movable(next); next++ {
		if b.sel.End(next)-start > copyBytes {
			break
		}
	}
	if next == from {
		b.done++
		return from + 1, b.writeEntry(from)
	}
	b.done += int64(next - from)
	data := b.buf[:b.sel.End(next-1)-start]
	if _, err := b.pack.ReadAt(data, start); err != nil {
		return next, err
	}
	for p := from; p < next; p++ {
		if crc32.ChecksumIEEE(data[b.sel.Offset(p)-start:b.sel.End(p)-start]) != b.sel.CRC(p) {
			return next, fmt.Errorf("%w: object %s does not match the checksum in the index", ErrCorrupt, b.sel.ID(p))
		}
	}
	return next, b.pw.out.CopyEntries(data, next-from)
}

// align notes where the entry at a place begins in the new pack.
func (b *baseWriter) align(place uint32) {
	by := b.pw.out.Offset() - b.sel.Offset(place)
	if n := len(b.shifts); n == 0 || b.shifts[n-1].by != by {
		b.shifts = append(b.shifts, shift{place, by})
	}
}

// to returns where an entry begins in the new pack. It was written.
func (b *baseWriter) to(place uint32) int64 {
	i := sort.Search(len(b.shifts), func(i int) bool { return b.shifts[i].from > place })
	return b.sel.Offset(place) + b.shifts[i-1].by
}

// movable reports whether the entry at a place can be copied as it is behind what was copied up to there.
func (b *baseWriter) movable(place uint32) bool {
	base := b.sel.Base(place)
	if base == graph.None {
		return true
	}
	if b.pw.sel.NoOfsDelta || base > place || !b.sel.places.Has(base) {
		return false
	}
	last := b.shifts[len(b.shifts)-1]
	return base >= last.from || b.to(base)-b.sel.Offset(base) == last.by
}

// writeEntry writes one entry: with its base named anew, or whole if the receiver lacks the base.
func (b *baseWriter) writeEntry(place uint32) error {
	off, end := b.sel.Offset(place), b.sel.End(place)
	rec := pack.Record{ID: b.sel.ID(place), Offset: off, CRC: b.sel.CRC(place)}
	base := b.sel.Base(place)
	name := pack.Base{}
	switch {
	case base == graph.None:
	case b.sel.places.Has(base):
		name = b.name(base, base < place)
	case b.pw.sel.ThinPack && b.sel.hasPlace(base):
		name = pack.Base{ID: b.sel.ID(base)}
	default:
		typ, data, err := b.pw.st.readAt(location{number: b.sel.number, offset: off})
		if err != nil {
			return err
		}
		return b.pw.out.WriteObject(typ, data)
	}
	return b.pw.out.CopyEntry(b.pack, rec, end, name)
}

// name returns how a delta names the entry at a place, which is sent.
func (b *baseWriter) name(place uint32, written bool) pack.Base {
	if written && !b.pw.sel.NoOfsDelta {
		return pack.Base{Offset: b.to(place)}
	}
	return pack.Base{ID: b.sel.ID(place)}
}

// depth returns the length of the chain of deltas that an entry ends, up to maxHops.
func (b *baseWriter) depth(place uint32) (n uint16) {
	for base := b.sel.Base(place); base != graph.None && n < maxHops; base = b.sel.Base(base) {
		n++
	}
	return n
}

// whole reports whether the base pack can be sent as it is: all of it, and nothing else.
func (pw *packWriter) whole() bool {
	b := pw.base.sel
	return len(pw.entries) == 0 && !pw.sel.NoOfsDelta && b.places.Len() == b.Len()
}

// copyWhole sends the base pack as it is stored, its trailer included: nothing is hashed, and the receiver's own check of
// the trailer finds what the disk has done to it.
func (pw *packWriter) copyWhole(w io.Writer) error {
	b := pw.base.sel
	h, err := pw.st.s.packs.acquire(packHandleKey{pw.st, b.number})
	if err != nil {
		return err
	}
	defer pw.st.s.packs.release(h)
	buf := make([]byte, copyBytes)
	for at := int64(0); at < h.value.Size(); {
		part := buf[:min(copyBytes, h.value.Size()-at)]
		if _, err := h.value.ReadAt(part, at); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		at += int64(len(part))
		pw.report(int64(b.Len()) * at / h.value.Size())
		if err := pw.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// fromBase returns how a delta names a base that is in the base pack, and its depth; false if the receiver lacks it.
func (pw *packWriter) fromBase(place uint32) (base pack.Base, depth uint16, ok bool) {
	b := pw.base
	switch {
	case b.sel.places.Has(place):
		return b.name(place, true), b.depth(place), true
	case pw.sel.ThinPack && b.sel.hasPlace(place):
		return pack.Base{ID: b.sel.ID(place)}, 0, true
	}
	return pack.Base{}, 0, false
}
