package storage

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// merge writes the objects of several packs into one, or, if it is a full one, into a base pack and a cruft pack. It takes
// about 100 bytes of memory an object. Entries are copied as they are stored; a delta whose base does not come along keeps
// it as an added base, as a thin pack does when it is received. Full merges look for deltas for what is stored whole.
type merge struct {
	*pacer
	st   *repoState
	from []*oldPack // by first, then cruft
	full bool

	reached *objectSet // what the refs lead to, if the merge is full
	set     *objectSet
	entries []mergeEntry      // by at; own ones and added bases
	chosen  []uint32          // object -> its entry to copy, none
	bases   map[uint32]uint32 // object -> an entry that is an added base
}

// mergeEntry is an entry of a pack that is merged.
type mergeEntry struct {
	at     int64 // rank in merge.from and offset, see entryPlace
	length int64
	to     int64  // where it begins in the new pack; 0 until it is written
	object uint32 // number in merge.set
	base   uint32 // of a delta: number of the base in merge.set; none if it is stored whole
	crc    uint32
	size   uint32 // inflated; math.MaxUint32 stands for more
	depth  uint16 // of its chain of deltas in the new pack
	typ    object.Type
	flags  uint8
}

const none = math.MaxUint32

// The flags of a mergeEntry.
const (
	added   = 1 << iota // a base that was added to its pack
	aside               // goes into the cruft pack
	waiting             // is to be written once its base is
	renewed             // base is a new one
)

func (m *merge) add(rank int, id object.ID, loc location, flags uint8) {
	var raw [32]byte
	i, _ := m.set.add(id.Append(raw[:0]))
	m.entries = append(m.entries, mergeEntry{at: entryPlace(uint32(rank), loc.offset), length: loc.length, object: i, base: none,
		crc: loc.crc, size: uint32(min(loc.size, math.MaxUint32)), typ: loc.typ, flags: flags})
}

func (m *merge) id(e *mergeEntry) object.ID { return m.set.id(e.object) }

func (e *mergeEntry) rank() uint32  { return placeNumber(e.at) }
func (e *mergeEntry) offset() int64 { return placeOffset(e.at) }

// number returns the number of the pack that an entry is in.
func (m *merge) number(e *mergeEntry) uint32 { return m.from[e.rank()].rec.Number }

// choose takes, of equal objects, the one in the first pack.
func (m *merge) choose() {
	m.chosen = slices.Repeat([]uint32{none}, m.set.len())
	m.bases = map[uint32]uint32{}
	for i := range m.entries {
		e := &m.entries[i]
		if e.flags&added != 0 {
			m.bases[e.object] = uint32(i)
		} else if m.chosen[e.object] == none {
			m.chosen[e.object] = uint32(i)
		}
	}
}

// covered returns the one pack that has all objects already; nil if there is none.
func (m *merge) covered() *oldPack {
	var only *oldPack
	for _, i := range m.chosen {
		if i == none {
			continue
		}
		old := m.from[m.entries[i].rank()]
		if only != nil && only != old {
			return nil
		}
		only = old
	}
	return only
}

// readBases finds out what the deltas build on.
func (m *merge) readBases() error {
	for i := range m.entries {
		if i%writeEvery == 0 {
			if err := m.pace(); err != nil {
				return err
			}
		}
		if e := &m.entries[i]; m.isChosen(uint32(i)) {
			if err := m.readBaseOf(e); err != nil {
				return fmt.Errorf("object %s: %w", m.id(e), err)
			}
		}
	}
	return nil
}

func (m *merge) readBaseOf(e *mergeEntry) error {
	p, err := m.st.s.packs.acquire(packHandleKey{m.st, m.number(e)})
	if err != nil {
		return err
	}
	defer m.st.s.packs.release(p)
	h, err := p.value.Header(e.offset())
	if err != nil || !h.IsDelta() {
		return err
	}
	if !h.BaseID.IsZero() {
		var raw [32]byte
		i, ok := m.set.find(h.BaseID.Append(raw[:0]))
		if !ok {
			return fmt.Errorf("%w: its delta base %s is not in its pack", ErrCorrupt, h.BaseID)
		}
		e.base = i
		return nil
	}
	at := entryPlace(e.rank(), h.BaseOffset)
	i, ok := slices.BinarySearchFunc(m.entries, at, func(e mergeEntry, at int64) int { return cmp.Compare(e.at, at) })
	if !ok {
		return fmt.Errorf("%w: no object is at byte %d, where its delta base should be", ErrCorrupt, h.BaseOffset)
	}
	e.base = m.entries[i].object
	return nil
}

// output is one pack that a merge writes.
type output struct {
	m     *merge
	cruft bool
	order []uint32 // entries to write, in this order but for bases, which come before what builds on them
	bases []uint32 // objects to add
	added map[uint32]bool

	w     *pack.Writer
	index pack.DeltaIndex // for new deltas
	delta []byte
}

// outputs says what goes where.
func (m *merge) outputs() []*output {
	if m.full {
		return m.split()
	}
	o := &output{m: m}
	for i := range m.entries {
		if m.isChosen(uint32(i)) {
			o.order = append(o.order, uint32(i))
		}
	}
	return []*output{o}
}

func (m *merge) isChosen(i uint32) bool {
	e := &m.entries[i]
	return e.flags&added == 0 && m.chosen[e.object] == i
}

// split parts what the refs lead to from the rest. The former is laid out for clones: commits, the newest first, then
// tags, trees and blobs in the order in which a walk meets them.
func (m *merge) split() []*output {
	base, cruft := &output{m: m}, &output{m: m, cruft: true}
	for i := range m.entries {
		if m.isChosen(uint32(i)) {
			m.entries[i].flags |= aside
		}
	}
	byType := map[object.Type][]uint32{}
	for n := range uint32(m.reached.len()) {
		if i, ok := m.set.find(m.reached.raw(n)); ok && m.chosen[i] != none {
			e := &m.entries[m.chosen[i]]
			e.flags &^= aside
			byType[e.typ] = append(byType[e.typ], m.chosen[i])
		}
	}
	for _, t := range []object.Type{object.Commit, object.Tag, object.Tree, object.Blob} {
		base.order = append(base.order, byType[t]...)
	}
	for i := range m.entries {
		if m.isChosen(uint32(i)) && m.entries[i].flags&aside != 0 {
			cruft.order = append(cruft.order, uint32(i))
		}
	}
	return slices.DeleteFunc([]*output{base, cruft}, func(o *output) bool { return len(o.order) == 0 })
}

// walkRefs returns all that a repository's refs lead to, in the order of a walk that begins with the newest commits.
func (st *repoState) walkRefs(ctx context.Context) (*objectSet, error) {
	w := newWalker(ctx, st)
	r := &Repo{s: st.s, id: st.id}
	for after := ""; ; {
		page, err := r.Refs("", after, 0)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for _, ref := range page {
			if err := w.want(ref.ID); err != nil {
				return nil, err
			}
		}
		after = page[len(page)-1].Name
	}
	if err := w.walkCommits(); err != nil {
		return nil, err
	}
	return w.set, w.walkTrees(Selection{})
}

// own returns the entry of this pack that holds an object, nil if there is none.
func (o *output) own(n uint32) *mergeEntry {
	if n == none {
		return nil
	}
	i := o.m.chosen[n]
	if i == none || (o.m.entries[i].flags&aside != 0) != o.cruft {
		return nil
	}
	return &o.m.entries[i]
}

// addBases notes the bases that have to be added.
func (o *output) addBases() {
	o.added = map[uint32]bool{}
	for _, i := range o.order {
		n := o.m.entries[i].base
		if n != none && o.own(n) == nil && !o.added[n] {
			o.added[n] = true
			o.bases = append(o.bases, n)
		}
	}
}

// write writes the pack into the quarantine and verifies it.
func (o *output) write() (p *txnPack, err error) {
	m, s := o.m, o.m.st.s
	if m.full && !o.cruft {
		if err := o.deltify(); err != nil {
			return nil, err
		}
	}
	o.addBases()
	f, err := os.CreateTemp(s.quarantineDir(), "*.pack")
	if err != nil {
		return nil, err
	}
	p = &txnPack{s: s, format: m.st.format, path: f.Name(), indexPath: f.Name() + ".idx", file: f}
	defer func() {
		if err != nil {
			p.discard()
		}
	}()
	if err := s.step(StepQuarantine); err != nil {
		return p, err
	}
	end, err := o.writeAll(f)
	if err != nil {
		return p, err
	}
	if err := s.step(StepPackWritten); err != nil {
		return p, err
	}
	if err := o.verify(p, end); err != nil {
		return p, err
	}
	if p.recs.index != nil {
		return p, s.step(StepIndexFile)
	}
	return p, nil
}

// writeAll returns where the own entries end.
func (o *output) writeAll(f *os.File) (end int64, err error) {
	buffered := bufio.NewWriterSize(f, 256<<10)
	o.w = pack.NewWriter(buffered, o.m.st.format, uint32(len(o.order)+len(o.bases)))
	for k, i := range o.order {
		if k%64 == 0 {
			if err := o.m.pace(); err != nil {
				return 0, err
			}
		}
		if err := o.writeChain(i); err != nil {
			return 0, err
		}
	}
	end = o.w.Offset()
	for _, n := range o.bases {
		if err := o.m.pace(); err != nil {
			return 0, err
		}
		if err := o.writeBase(n); err != nil {
			return 0, fmt.Errorf("delta base %s: %w", o.m.set.id(n), err)
		}
	}
	return end, errors.Join(o.w.Close(), buffered.Flush())
}

// writeChain writes an entry after all that it builds on, unless that was done before.
func (o *output) writeChain(i uint32) error {
	var chain []*mergeEntry
	for e := &o.m.entries[i]; e != nil && e.to == 0 && e.flags&waiting == 0; {
		e.flags |= waiting
		chain = append(chain, e)
		if e.base == none {
			break
		}
		e = o.own(e.base)
	}
	for _, e := range slices.Backward(chain) {
		if err := o.writeEntry(e); err != nil {
			return fmt.Errorf("object %s: %w", o.m.id(e), err)
		}
	}
	return nil
}

// writeEntry writes an entry whose base is written, or is added later. A base that is neither waits for this very entry:
// two packs had deltas in opposite directions.
func (o *output) writeEntry(e *mergeEntry) error {
	to := o.w.Offset()
	base, whole := pack.Base{}, false
	switch b := o.own(e.base); {
	case e.base == none:
	case b == nil:
		base, e.depth = pack.Base{ID: o.m.set.id(e.base)}, 1
	case b.to == 0, b.rank() != e.rank() && b.depth >= maxHops, int(b.depth) >= o.m.st.s.opts.MaxDepth:
		whole = true
	default:
		base, e.depth = pack.Base{Offset: b.to}, b.depth+1
	}
	e.to = to
	switch {
	case whole:
		return o.writeWhole(e)
	case e.flags&renewed != 0:
		return o.writeDelta(e, o.own(e.base), base)
	}
	return o.copyEntry(e, base)
}

func (o *output) copyEntry(e *mergeEntry, base pack.Base) error {
	h, err := o.m.st.s.packs.acquire(packHandleKey{o.m.st, o.m.number(e)})
	if err != nil {
		return err
	}
	defer o.m.st.s.packs.release(h)
	rec := pack.Record{ID: o.m.id(e), Offset: e.offset(), CRC: e.crc}
	return o.w.CopyEntry(h.value, rec, e.offset()+e.length, base)
}

func (o *output) writeWhole(e *mergeEntry) error {
	typ, data, err := o.m.st.readAt(location{number: o.m.number(e), offset: e.offset()})
	if err != nil {
		return err
	}
	return o.w.WriteObject(typ, data)
}

// writeBase adds a base, which is stored whole.
func (o *output) writeBase(n uint32) error {
	i, ok := o.m.bases[n]
	if !ok {
		i = o.m.chosen[n] // it goes into the other pack
	}
	if i == none {
		return fmt.Errorf("%w: it is in none of the packs", ErrCorrupt)
	}
	e := &o.m.entries[i]
	if e.base != none {
		return o.writeWhole(e)
	}
	return o.copyEntry(e, pack.Base{})
}

// verify reads what was written: the copy is trusted no more than a push. end is where the own entries end.
func (o *output) verify(p *txnPack, end int64) error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	got, err := o.m.scan(p.file, info.Size())
	if err != nil {
		return err
	}
	own := 0
	for _, rec := range got.Records {
		var raw [32]byte
		n, ok := o.m.set.find(rec.ID.Append(raw[:0]))
		switch {
		case !ok:
		case rec.Offset >= end:
			if o.added[n] {
				continue
			}
		default:
			if e := o.own(n); e != nil && e.to == rec.Offset {
				own++
				continue
			}
		}
		return fmt.Errorf("%w: the merged pack has object %s, which it should not", ErrCorrupt, rec.ID)
	}
	if own != len(o.order) || len(got.Records) != own+len(o.bases) {
		return fmt.Errorf("%w: the merged pack has %d objects, of %d", ErrCorrupt, own, len(o.order))
	}
	size := end + int64(o.m.st.format.Size())
	p.info = PackInfo{ID: mergedID(got.SHA256), Size: size, Objects: uint32(own)}
	p.trailer, p.stored = got.Trailer, info.Size()
	if p.recs, err = newRecords(p.indexPath, p.format, got.Records, boundsOf(p.info, p.stored, p.format)); err == nil {
		p.ends = p.recs.offsets()
	}
	return err
}

// mergedID returns the PackID of a merged pack: of "merged pack" and the SHA-256 of its file, so that no push can bring a
// pack of that id.
func mergedID(sum [32]byte) PackID {
	return PackID(sha256.Sum256(append([]byte("merged pack"), sum[:]...)))
}

// room returns an error if the disk is too full to merge the packs.
func (m *merge) room() error {
	need := m.st.s.opts.MergeFree
	for _, old := range m.from {
		need += old.rec.Stored
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(m.st.s.dir, &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < need {
		return fmt.Errorf("the disk has %d bytes free, and it takes %d to merge packs: %w", free, need, unix.ENOSPC)
	}
	return nil
}
