package storage

import (
	"cmp"
	"math"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// deltaMaker makes the deltas that a packWriter needs and no stored pack has. Their bases are other versions of what is at
// the same path: the nearest ones that are sent, which are written first, and those that the receiver of a thin pack has.
type deltaMaker struct {
	pw       *packWriter
	versions []variant // sorted, see variant.compare; nil until they are needed
	index    pack.DeltaIndex
	indexed  int64 // the place of index's base, 0 for none

	delta, next []byte // memory of the best delta and of the one that is tried
}

// variant is an object that may be a base.
type variant struct {
	path  uint32
	typ   object.Type
	had   bool
	order uint32 // number in packWriter.set: those of one path are numbered from the newest to the oldest, nearly
	index uint32 // in packWriter.entries or had
}

// compare sorts versions by path and type; among these, what the receiver has comes last.
func (a variant) compare(b variant) int {
	if c := cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.typ, b.typ)); c != 0 {
		return c
	}
	if a.had != b.had {
		if b.had {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.order, b.order)
}

func (a variant) alike(b variant) bool { return a.path == b.path && a.typ == b.typ }

// minDelta is the size of the smallest object that is worth a delta.
const minDelta = 50

// collect lists the versions.
func (m *deltaMaker) collect() {
	pw := m.pw
	limit := pw.st.s.opts.MaxDeltaBytes
	m.versions = make([]variant, 0, len(pw.entries)+len(pw.had))
	for i, e := range pw.entries {
		if path := *pw.set.path(e.object); path != 0 && int64(e.size) <= limit && e.size >= minDelta {
			m.versions = append(m.versions, variant{path: path, typ: e.typ, order: e.object, index: uint32(i)})
		}
	}
	for i, h := range pw.had {
		if path := *pw.set.path(h.object); path != 0 && int64(h.size) <= limit && h.size >= minDelta {
			m.versions = append(m.versions, variant{path: path, typ: h.typ, had: true, order: h.object, index: uint32(i)})
		}
	}
	slices.SortFunc(m.versions, variant.compare)
}

// find returns where entry i is in versions.
func (m *deltaMaker) find(i int) (at int, ok bool) {
	if m.versions == nil {
		m.collect()
	}
	e := &m.pw.entries[i]
	self := variant{path: *m.pw.set.path(e.object), typ: e.typ, order: e.object}
	return slices.BinarySearchFunc(m.versions, self, variant.compare)
}

// known reports whether the receiver has another version of entry i.
func (m *deltaMaker) known(i int) bool {
	at, ok := m.find(i)
	if !ok {
		return false
	}
	first, _ := m.had(m.versions[at])
	return first >= 0
}

// had returns where the first and the last version are that the receiver has, -1 if there are none.
func (m *deltaMaker) had(self variant) (first, last int) {
	self.had, self.order = true, 0
	first, _ = slices.BinarySearchFunc(m.versions, self, variant.compare)
	self.order = math.MaxUint32
	last, _ = slices.BinarySearchFunc(m.versions, self, variant.compare)
	if first == last {
		return -1, -1
	}
	return first, last - 1
}

const (
	// maxSteps bounds the versions that are looked at in either direction to find one that can be a base.
	maxSteps = 128
	// maxTries bounds the sent versions on which a delta is tried, in either direction.
	maxTries = 4
	// maxMade is the longest chain on which a new delta is put: stored deltas that build on it go on up to maxHops.
	maxMade = 25
	// maxAhead bounds the versions that are written ahead of their turn, one for the other.
	maxAhead = 25
)

// sent returns the nearest versions of the one at a place in one direction that are sent and can be bases, after they were
// written: at most maxTries. i is the entry that is to build on them, in pack p.
func (m *deltaMaker) sent(p *pack.Pack, i, at, step int) (found []*outEntry, err error) {
	pw, self := m.pw, m.versions[at]
	e := &pw.entries[i]
	for range maxSteps {
		at += step
		if at < 0 || at == len(m.versions) || !m.versions[at].alike(self) || m.versions[at].had || len(found) == maxTries {
			break
		}
		n := int(m.versions[at].index)
		b := &pw.entries[n]
		if b.to == 0 {
			free, err := m.free(p, e.number(), n)
			if err != nil {
				return nil, err
			}
			if !free {
				continue
			}
			if err := pw.writeFirst(p, e.number(), n); err != nil {
				return nil, err
			}
		}
		if b.depth < maxMade {
			found = append(found, b)
		}
	}
	return found, nil
}

// free reports whether entry i can be written now, as it is stored: nothing that it builds on waits for what is being
// written. p is the pack of number open.
func (m *deltaMaker) free(p *pack.Pack, open uint32, i int) (free bool, err error) {
	if m.pw.nested >= maxAhead {
		return false, nil
	}
	for range maxHops {
		e := &m.pw.entries[i]
		if e.busy || e.to != 0 {
			return e.to != 0, nil
		}
		if e.base == 0 {
			if err := m.pw.inPack(p, open, e.number(), func(p *pack.Pack) error { return m.noteBase(p, e) }); err != nil {
				return false, err
			}
		}
		if e.base == noBase {
			return true, nil
		}
		i = int(e.base - 2)
	}
	return false, nil
}

// noteBase notes what e builds on in pack p.
func (m *deltaMaker) noteBase(p *pack.Pack, e *outEntry) error {
	e.base = noBase
	h, err := p.Header(e.offset())
	if err != nil || !h.IsDelta() {
		return err
	}
	i, _, err := m.pw.storedBase(e, h)
	if i >= 0 {
		e.base = uint32(i) + 2
	}
	return err
}

// goodEnough is how many times smaller than the object a delta is that ends the search.
const goodEnough = 16

// attempt is a search for the best base of one object.
type attempt struct {
	m    *deltaMaker
	data []byte
	max  int // of the delta
	base pack.Base
	made []byte // the best delta yet, nil if there is none
	over uint16 // the depth of its base's chain
}

// try makes the delta on the object at a place.
func (a *attempt) try(at int64, size uint32, base pack.Base, depth uint16) error {
	const maxUnlike = 32 // times larger than the object a base may be
	if a.made != nil && len(a.made) <= len(a.data)/goodEnough || int(size/maxUnlike) > len(a.data) {
		return nil
	}
	m := a.m
	if err := m.indexBase(at); err != nil {
		return err
	}
	d, ok := m.index.Delta(m.next[:0], a.data, a.max)
	m.next = d
	if ok {
		a.base, a.made, a.over, a.max = base, d, depth, len(d)-1
		m.next, m.delta = m.delta, m.next
	}
	return nil
}

// indexBase indexes the object at a place.
func (m *deltaMaker) indexBase(at int64) error {
	if m.indexed == at {
		return nil
	}
	_, data, err := m.pw.st.readKept(at)
	if err == nil {
		m.index.Reset(data)
		m.indexed = at
	}
	return err
}

// write writes entry i, which has that content and lies in pack p, as a new delta of at most max bytes. It reports whether it
// did: false if there is no good base.
func (m *deltaMaker) write(p *pack.Pack, i int, data []byte, max int) (bool, error) {
	at, ok := m.find(i)
	if !ok {
		return false, nil
	}
	older, err := m.sent(p, i, at, 1)
	if err != nil {
		return false, err
	}
	newer, err := m.sent(p, i, at, -1)
	if err != nil {
		return false, err
	}
	// From here on nothing else is written, which would use the same memory.
	a := &attempt{m: m, data: data, max: max}
	for n := range maxTries {
		for _, side := range [][]*outEntry{older, newer} {
			if n < len(side) {
				b := side[n]
				if err := a.try(b.at, b.size, m.pw.name(b), b.depth); err != nil {
					return false, err
				}
			}
		}
	}
	first, last := m.had(m.versions[at])
	for _, at := range []int{first, last} {
		if at >= 0 {
			h := &m.pw.had[m.versions[at].index]
			if err := a.try(h.at, h.size, pack.Base{ID: m.pw.set.id(h.object)}, 0); err != nil {
				return false, err
			}
		}
	}
	if a.made == nil {
		return false, nil
	}
	e := &m.pw.entries[i]
	e.depth, e.grown, e.to = a.over+1, true, m.pw.out.Offset()
	return true, m.pw.out.WriteDelta(a.base, a.made)
}
