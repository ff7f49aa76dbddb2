package storage

import (
	"cmp"
	"math"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// deltaMaker makes the deltas that a packWriter needs and no stored pack has. Bases are other versions of what is at the
// same path: those written last before, and those that the receiver of a thin pack has.
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

// compare sorts versions by type and path; among these, what the receiver has comes first.
func (a variant) compare(b variant) int {
	if c := cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.typ, b.typ)); c != 0 {
		return c
	}
	if a.had != b.had {
		if a.had {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.order, b.order)
}

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
		if path := *pw.set.path(h.object); path != 0 && int64(h.size) <= limit {
			m.versions = append(m.versions, variant{path: path, typ: h.typ, had: true, order: h.object, index: uint32(i)})
		}
	}
	slices.SortFunc(m.versions, variant.compare)
}

// maxSteps bounds the versions that are looked at in either direction to find one that can be a base.
const maxSteps = 64

// candidate is a possible base.
type candidate struct {
	at    int64 // see entryPlace
	size  uint32
	base  pack.Base
	depth uint16
}

// candidates returns the nearest older and the nearest newer variant that can be entry i's base. With hadOnly these are
// ones that the receiver has.
func (m *deltaMaker) candidates(i int, hadOnly bool) []candidate {
	if m.versions == nil {
		m.collect()
	}
	e := &m.pw.entries[i]
	self := variant{path: *m.pw.set.path(e.object), typ: e.typ, order: e.object}
	at, ok := slices.BinarySearchFunc(m.versions, self, variant.compare)
	if !ok {
		return nil
	}
	var found []candidate
	if !hadOnly {
		found = m.walk(found, self, at, 1)
		found = m.walk(found, self, at, -1)
	}
	return m.addHad(found, self)
}

func (a variant) alike(b variant) bool { return a.path == b.path && a.typ == b.typ }

// walk adds the first usable variant from at on that is sent.
func (m *deltaMaker) walk(found []candidate, self variant, at, step int) []candidate {
	for range maxSteps {
		at += step
		if at < 0 || at == len(m.versions) || !m.versions[at].alike(self) || m.versions[at].had {
			break
		}
		b := &m.pw.entries[m.versions[at].index]
		if b.to != 0 && b.rooted && b.depth < maxHops {
			return append(found, candidate{b.at, b.size, m.pw.name(b), b.depth})
		}
	}
	return found
}

// addHad adds the newest and the oldest variant that the receiver has.
func (m *deltaMaker) addHad(found []candidate, self variant) []candidate {
	self.had, self.order = true, 0
	from, _ := slices.BinarySearchFunc(m.versions, self, variant.compare)
	self.order = math.MaxUint32
	to, _ := slices.BinarySearchFunc(m.versions, self, variant.compare)
	for _, at := range []int{from, to - 1} {
		if at < from || at >= to || at == to-1 && at > from && len(found) > 1 {
			continue
		}
		h := &m.pw.had[m.versions[at].index]
		if len(found) > 0 && found[len(found)-1].at == h.at {
			continue
		}
		found = append(found, candidate{at: h.at, size: h.size, base: pack.Base{ID: m.pw.set.id(h.object)}})
	}
	return found
}

// maxUnlike is how many times larger than the object a base may be.
const maxUnlike = 32

// goodEnough is how many times smaller than the object a delta is that ends the search.
const goodEnough = 16

// best makes a delta of data on the best of the candidates, of at most max bytes. It reports whether there is one; the
// delta is valid up to the next call.
func (m *deltaMaker) best(found []candidate, data []byte, max int) (best candidate, delta []byte, err error) {
	for _, c := range found {
		if int(c.size/maxUnlike) > len(data) {
			continue
		}
		if err := m.indexBase(c.at); err != nil {
			return best, nil, err
		}
		d, ok := m.index.Delta(m.next[:0], data, max)
		m.next = d
		if !ok {
			continue
		}
		best, delta, max = c, d, len(d)-1
		m.next, m.delta = m.delta, m.next
		if len(d) <= len(data)/goodEnough {
			break
		}
	}
	return best, delta, nil
}

// indexBase indexes the object at a place.
func (m *deltaMaker) indexBase(at int64) error {
	if m.indexed == at {
		return nil
	}
	_, data, err := m.pw.st.readAt(location{number: placeNumber(at), offset: placeOffset(at)})
	if err == nil {
		m.index.Reset(data)
		m.indexed = at
	}
	return err
}

// write writes entry i as a new delta of at most max bytes, and reports whether it did: false if no good base is known.
func (m *deltaMaker) write(i int, found []candidate, data []byte, max int) (bool, error) {
	c, delta, err := m.best(found, data, max)
	if err != nil || delta == nil {
		return false, err
	}
	e := &m.pw.entries[i]
	e.depth, e.rooted, e.grown = c.depth+1, true, true
	return true, m.pw.out.WriteDelta(c.base, delta)
}
