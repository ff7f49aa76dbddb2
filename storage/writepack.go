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
// stored, but for those whose delta's base is not sent and those that a thin pack can have smaller: see deltaMaker. Memory is
// bounded by the number of objects, about 100 bytes each, and by Options.MaxDeltaBytes; nothing is held that a writer waits
// for. progress may be nil.
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
	nested  int // calls of write that run, one within the other
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
	base   uint32 // of the stored delta: its number in entries and 2, or noBase; 0 as long as deltaMaker.free has not looked
	depth  uint16 // of its chain of deltas in the new pack, as far as it is known
	typ    object.Type
	grown  bool // its chain holds a delta that no stored pack has
	busy   bool // what it is to build on is being written: it cannot be a base of that
}

const noBase = 1

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
		if pw.entries[i].to != 0 {
			continue
		}
		if err := pw.write(h.value, i); err != nil {
			return fmt.Errorf("object %s: %w", pw.set.id(pw.entries[i].object), err)
		}
	}
	return nil
}

// maxNested bounds the entries that are written for the sake of another, one for the other: as many as a chain of stored
// deltas can have.
const maxNested = 5000

// write writes entry i, which lies in pack p. What its delta builds on is written before, so there can be no cycle.
func (pw *packWriter) write(p *pack.Pack, i int) error {
	e := &pw.entries[i]
	e.busy = true
	pw.nested++
	defer func() { e.busy = false; pw.nested-- }()
	header, err := p.Header(e.offset())
	if err != nil {
		return err
	}
	var base pack.Base
	if header.IsDelta() {
		var ok bool
		if base, ok, err = pw.useBase(p, e, header); err != nil {
			return err
		}
		if !ok {
			return pw.writeAnew(p, i)
		}
	}
	if e.depth == 0 { // it is stored whole, or builds on what the receiver has
		if done, err := pw.writeThin(p, i, header); done || err != nil {
			return err
		}
	}
	rec := pack.Record{ID: pw.set.id(e.object), Offset: e.offset(), CRC: e.crc}
	e.to = pw.out.Offset()
	return pw.out.CopyEntry(p, rec, e.offset()+e.length, base)
}

// writeFirst writes entry i for the sake of one in pack p of that number, unless it is written.
func (pw *packWriter) writeFirst(p *pack.Pack, number uint32, i int) error {
	e := &pw.entries[i]
	if e.to != 0 {
		return nil
	}
	return pw.inPack(p, number, e.number(), func(p *pack.Pack) error { return pw.write(p, i) })
}

// inPack calls fn with the repository's pack of a number. p is the one with the number open.
func (pw *packWriter) inPack(p *pack.Pack, open, number uint32, fn func(*pack.Pack) error) error {
	if open == number {
		return fn(p)
	}
	h, err := pw.st.s.packs.acquire(packHandleKey{pw.st, number})
	if err != nil {
		return err
	}
	defer pw.st.s.packs.release(h)
	return fn(h.value)
}

// maxHops bounds the chain of deltas on which a delta of another pack may be put. Each thin push builds on the one
// before: without a bound, chains would grow with their number.
const maxHops = 50

// useBase sees to it that the base of e's delta is written, unless the receiver has it. It returns how the delta names it in
// the new pack, and false if it cannot go on building on it: the base is not sent, or the chain would become too long.
func (pw *packWriter) useBase(p *pack.Pack, e *outEntry, h pack.EntryHeader) (pack.Base, bool, error) {
	if pw.base != nil && !h.BaseID.IsZero() {
		if place, ok := pw.base.sel.Find(h.BaseID); ok {
			base, depth, ok := pw.fromBase(place)
			e.depth = depth + 1
			return base, ok && depth < maxHops, nil
		}
	}
	i, had, err := pw.storedBase(e, h)
	if err != nil || i < 0 {
		return pack.Base{ID: had}, !had.IsZero(), err
	}
	b := &pw.entries[i]
	if b.to == 0 {
		if b.busy || pw.nested >= maxNested {
			return pack.Base{}, false, nil
		}
		if err := pw.writeFirst(p, e.number(), i); err != nil {
			return pack.Base{}, false, err
		}
	}
	if (b.number() != e.number() || b.grown) && b.depth >= maxHops {
		return pack.Base{}, false, nil
	}
	e.depth, e.grown = b.depth+1, b.grown
	return pw.name(b), true, nil
}

// storedBase finds the base of e's stored delta: its number in entries, or, with -1, the id of one that the receiver of a
// thin pack has. The id is zero if the base is of no use.
func (pw *packWriter) storedBase(e *outEntry, h pack.EntryHeader) (i int, had object.ID, err error) {
	at := entryPlace(e.number(), h.BaseOffset)
	if !h.BaseID.IsZero() {
		n, ok := pw.set.find(h.BaseID.Bytes())
		switch {
		case !ok:
			return -1, object.ID{}, nil
		case !pw.sent(n):
			if pw.sel.ThinPack {
				had = h.BaseID
			}
			return -1, had, nil
		}
		loc, ok, err := pw.st.lookup(h.BaseID)
		if err != nil || !ok {
			return -1, object.ID{}, err
		}
		at = entryPlace(loc.number, loc.offset)
	}
	i, ok := slices.BinarySearchFunc(pw.entries, at, func(e outEntry, at int64) int { return cmp.Compare(e.at, at) })
	if ok {
		return i, object.ID{}, nil
	}
	i, ok = slices.BinarySearchFunc(pw.had, at, func(h hadEntry, at int64) int { return cmp.Compare(h.at, at) })
	if ok {
		had = pw.set.id(pw.had[i].object)
	}
	return -1, had, nil
}

// name returns how a delta names its base b, which is written.
func (pw *packWriter) name(b *outEntry) pack.Base {
	if pw.sel.NoOfsDelta {
		return pack.Base{ID: pw.set.id(b.object)}
	}
	return pack.Base{Offset: b.to}
}

// writeAnew writes an object whose stored delta cannot be used: as a new delta, or else whole.
func (pw *packWriter) writeAnew(p *pack.Pack, i int) error {
	e := &pw.entries[i]
	typ, data, err := pw.st.readKept(e.at)
	if err != nil {
		return err
	}
	if done, err := pw.deltas.write(p, i, data, len(data)/2); done || err != nil {
		return err
	}
	e.to = pw.out.Offset()
	return pw.out.WriteObject(typ, data)
}

// worthwhile is the length of the shortest stored entry for which a better delta is looked for.
const worthwhile = 512

// writeThin writes an object that is stored whole, or as a delta on anything that the receiver has, as a new and smaller
// delta on what the receiver has at the same path or on the object's neighbours. It reports whether it did.
func (pw *packWriter) writeThin(p *pack.Pack, i int, h pack.EntryHeader) (bool, error) {
	e := &pw.entries[i]
	if !pw.sel.ThinPack || e.length < worthwhile || !pw.deltas.known(i) {
		return false, nil
	}
	_, data, err := pw.st.readKept(e.at)
	if err != nil {
		return false, err
	}
	max := e.length
	if h.IsDelta() {
		max = h.Size - 1
	}
	return pw.deltas.write(p, i, data, int(max))
}
