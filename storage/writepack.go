package storage

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// WritePack writes a pack of the selected objects to w and returns how many they are. Entries are copied as they are
// stored; only an object whose delta base is not sent is deflated anew. Memory is bounded by the number of objects, about
// 70 bytes each, and nothing is held that a writer waits for. progress may be nil.
func (r *Repo) WritePack(ctx context.Context, w io.Writer, sel Selection,
	progress func(stage string, done, total int64)) (objects uint32, err error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return 0, r.fail("write pack", err)
	}
	v := st.views.hold() // for as long as the receiver takes, and from before the base pack is known
	defer st.views.release(v)
	base := st.useBase()
	defer st.dropBase(base)
	set, places, err := st.selectObjects(ctx, sel, base, progress)
	if err != nil {
		return 0, r.fail("write pack", err)
	}
	pw := &packWriter{ctx: ctx, st: st, set: set, sel: sel, progress: progress}
	pw.deltas.pw = pw
	if places != nil {
		pw.base = &baseWriter{pw: pw, sel: places}
	}
	if err = pw.locateAll(); err == nil {
		err = pw.writeAll(w)
	}
	if err != nil {
		return 0, r.fail("write pack", err)
	}
	return uint32(pw.total), nil
}

// packWriter writes the objects of a set, in the order in which they are stored.
type packWriter struct {
	ctx      context.Context
	st       *repoState
	set      *objectSet
	sel      Selection
	progress func(stage string, done, total int64)

	out     *pack.Writer
	total   int64       // objects to write
	base    *baseWriter // of what goes before entries; nil if there is none
	entries []outEntry  // sorted by pack number and offset
	had     []hadEntry  // the same, of what the receiver has, for a thin pack
	deltas  deltaMaker
}

// hadEntry is an object that the receiver has.
type hadEntry struct {
	at     int64 // see entryPlace
	object uint32
	size   uint32 // inflated; math.MaxUint32 stands for more
	typ    object.Type
}

// outEntry is one object to write.
type outEntry struct {
	at     int64  // pack number and offset, see entryPlace
	length int64  // of the stored entry
	to     int64  // where it begins in the new pack; 0 until it is written
	object uint32 // number in set
	crc    uint32
	size   uint32 // inflated; math.MaxUint32 stands for more
	depth  uint16 // of its chain of deltas in the new pack, as far as it is known
	typ    object.Type
	rooted bool // it is written, and all that its chain builds on is written or had: it can be a new delta's base
	grown  bool // its chain holds a delta that no stored pack has
}

// offsetBits is enough for any pack: 16 TiB.
const offsetBits = 44

func entryPlace(number uint32, offset int64) int64 { return int64(number)<<offsetBits | offset }

func placeNumber(at int64) uint32 { return uint32(at >> offsetBits) }
func placeOffset(at int64) int64  { return at & (1<<offsetBits - 1) }

func (e *outEntry) number() uint32 { return placeNumber(e.at) }
func (e *outEntry) offset() int64  { return placeOffset(e.at) }

// locateAll finds where the objects of the set are stored.
func (pw *packWriter) locateAll() error {
	order := make([]uint32, 0, pw.set.len())
	for i := range uint32(pw.set.len()) {
		if pw.sent(i) || pw.sel.ThinPack && *pw.set.flag(i)&moved == 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b uint32) int { return slices.Compare(pw.set.raw(a), pw.set.raw(b)) })
	pw.entries = make([]outEntry, 0, len(order))
	ids := make([]object.ID, 0, lookupPage)
	for part := range slices.Chunk(order, lookupPage) {
		ids = ids[:0]
		for _, i := range part {
			ids = append(ids, pw.set.id(i))
		}
		err := pw.st.lookupMany(ids, func(i int, loc location, ok bool) error {
			if !ok {
				return fmt.Errorf("%w: %s", ErrMissing, ids[i])
			}
			return pw.addEntry(part[i], loc)
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(pw.entries, func(a, b outEntry) int { return cmp.Compare(a.at, b.at) })
	slices.SortFunc(pw.had, func(a, b hadEntry) int { return cmp.Compare(a.at, b.at) })
	return pw.ctx.Err()
}

// sent reports whether the object with that number in the set is to be sent, if the filter lets it pass.
func (pw *packWriter) sent(i uint32) bool { return *pw.set.flag(i)&excluded == 0 }

func (pw *packWriter) addEntry(i uint32, loc location) error {
	if loc.number >= 1<<(63-offsetBits) || loc.offset >= 1<<offsetBits {
		return fmt.Errorf("pack %d, byte %d: %w for WritePack", loc.number, loc.offset, ErrTooLarge)
	}
	at := entryPlace(loc.number, loc.offset)
	size := uint32(min(loc.size, math.MaxUint32))
	if pw.sent(i) {
		if !pw.sel.Filter.Passes(loc.typ, loc.size) && *pw.set.flag(i)&given == 0 {
			return nil
		}
		pw.entries = append(pw.entries, outEntry{at: at, length: loc.length, object: i, crc: loc.crc, size: size, typ: loc.typ})
	} else {
		pw.had = append(pw.had, hadEntry{at: at, object: i, size: size, typ: loc.typ})
	}
	return nil
}

// writeEvery is how many objects pass between looks at the context and reports.
const writeEvery = 256

func (pw *packWriter) writeAll(w io.Writer) error {
	pw.total = int64(len(pw.entries))
	if pw.base != nil {
		pw.total += int64(pw.base.sel.places.Len())
		if pw.whole() {
			return pw.copyWhole(w)
		}
	}
	buffered := bufio.NewWriterSize(w, 64<<10)
	pw.out = pack.NewWriter(buffered, pw.st.format, uint32(pw.total))
	if pw.base != nil {
		if err := pw.base.write(); err != nil {
			return err
		}
	}
	for from := 0; from < len(pw.entries); {
		to := from
		for to < len(pw.entries) && pw.entries[to].number() == pw.entries[from].number() {
			to++
		}
		if err := pw.writePart(from, to); err != nil {
			return err
		}
		from = to
	}
	if err := pw.out.Close(); err != nil {
		return err
	}
	pw.report(pw.total)
	return buffered.Flush()
}

func (pw *packWriter) report(done int64) {
	if pw.progress != nil {
		pw.progress("writing objects", done, pw.total)
	}
}

// writePart writes the entries that come from one pack.
func (pw *packWriter) writePart(from, to int) error {
	h, err := pw.st.s.packs.acquire(packHandleKey{pw.st, pw.entries[from].number()})
	if err != nil {
		return err
	}
	defer pw.st.s.packs.release(h)
	for i := from; i < to; i++ {
		if i%writeEvery == 0 {
			if err := pw.ctx.Err(); err != nil {
				return err
			}
			pw.report(pw.total - int64(len(pw.entries)-i))
		}
		if err := pw.writeEntry(h.value, i); err != nil {
			return fmt.Errorf("object %s: %w", pw.set.id(pw.entries[i].object), err)
		}
	}
	return nil
}

func (pw *packWriter) writeEntry(p *pack.Pack, i int) error {
	e := &pw.entries[i]
	header, err := p.Header(e.offset())
	if err != nil {
		return err
	}
	e.to = pw.out.Offset()
	e.rooted = true
	var base pack.Base
	if header.IsDelta() {
		var ok bool
		if base, ok, err = pw.findBase(e, header); err != nil {
			return err
		}
		if !ok {
			return pw.writeAnew(i)
		}
	} else if done, err := pw.writeThin(i); done || err != nil {
		return err
	}
	rec := pack.Record{ID: pw.set.id(e.object), Offset: e.offset(), CRC: e.crc}
	return pw.out.CopyEntry(p, rec, e.offset()+e.length, base)
}

// maxHops bounds the chain of deltas on which a delta of another pack may be put. Each thin push builds on the one
// before: without a bound, chains would grow with their number.
const maxHops = 50

// findBase returns how e's delta names its base in the new pack, and false if it cannot go on building on it: the base is
// not sent, or the chain would become too long. No cycle can come up: a base in another pack was there before, so that
// pack's number is lower.
func (pw *packWriter) findBase(e *outEntry, h pack.EntryHeader) (pack.Base, bool, error) {
	at := entryPlace(e.number(), h.BaseOffset)
	if !h.BaseID.IsZero() {
		if pw.base != nil {
			if place, ok := pw.base.sel.Find(h.BaseID); ok {
				base, depth, ok := pw.fromBase(place)
				e.depth = depth + 1
				return base, ok && depth < maxHops, nil
			}
		}
		n, ok := pw.set.find(h.BaseID.Bytes())
		switch {
		case !ok:
			return pack.Base{}, false, nil
		case !pw.sent(n):
			return pack.Base{ID: h.BaseID}, pw.sel.ThinPack, nil
		}
		loc, ok, err := pw.st.lookup(h.BaseID)
		if err != nil || !ok {
			return pack.Base{}, false, err
		}
		at = entryPlace(loc.number, loc.offset)
	}
	b := pw.entryAt(at)
	if b == nil {
		i, ok := slices.BinarySearchFunc(pw.had, at, func(h hadEntry, at int64) int { return cmp.Compare(h.at, at) })
		if !ok {
			return pack.Base{}, false, nil
		}
		return pack.Base{ID: pw.set.id(pw.had[i].object)}, true, nil
	}
	if (b.number() != e.number() || b.grown) && b.depth >= maxHops {
		return pack.Base{}, false, nil
	}
	e.depth, e.rooted, e.grown = b.depth+1, b.rooted, b.grown
	return pw.name(b), true, nil
}

func (pw *packWriter) entryAt(at int64) *outEntry {
	i, ok := slices.BinarySearchFunc(pw.entries, at, func(e outEntry, at int64) int { return cmp.Compare(e.at, at) })
	if !ok {
		return nil
	}
	return &pw.entries[i]
}

// name returns how a delta names its base b. One that comes later in the pack can only be named by its id.
func (pw *packWriter) name(b *outEntry) pack.Base {
	if b.to != 0 && !pw.sel.NoOfsDelta {
		return pack.Base{Offset: b.to}
	}
	return pack.Base{ID: pw.set.id(b.object)}
}

// writeAnew writes an object whose stored delta cannot be used: as a new delta, or else whole.
func (pw *packWriter) writeAnew(i int) error {
	e := &pw.entries[i]
	e.depth, e.rooted, e.grown = 0, true, false
	typ, data, err := pw.st.readAt(location{number: e.number(), offset: e.offset()})
	if err != nil {
		return err
	}
	if done, err := pw.deltas.write(i, pw.deltas.candidates(i, false), data, len(data)/2); done || err != nil {
		return err
	}
	return pw.out.WriteObject(typ, data)
}

// writeThin writes an object that is stored whole as a delta on one that the receiver has. It reports whether it did.
func (pw *packWriter) writeThin(i int) (bool, error) {
	e := &pw.entries[i]
	if !pw.sel.ThinPack || e.length < minDelta {
		return false, nil
	}
	found := pw.deltas.candidates(i, true)
	if len(found) == 0 {
		return false, nil
	}
	_, data, err := pw.st.readAt(location{number: e.number(), offset: e.offset()})
	if err != nil {
		return false, err
	}
	return pw.deltas.write(i, found, data, int(e.length))
}
