package storage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// oldPack is a pack that is merged into another.
type oldPack struct {
	rec *packRecord
	// prefixes are the first 16 bits of its objects' ids, sorted: where index.db has its records. nil stands for all.
	prefixes []uint16
}

// mergeScan is the number of objects up to which packs are read to know what is in them. From there on it takes less time
// to look through index.db.
const mergeScan = 1 << 14

// list adds all objects, and added bases, of the packs in m.from with ranks from first on to m.set and m.entries.
func (m *merge) list(first int) error {
	total := int64(0)
	for _, old := range m.from[first:] {
		total += int64(old.rec.Info.Objects)
	}
	counts := make([]uint32, len(m.from))
	if total > mergeScan {
		if err := m.listIndex(first, counts); err != nil {
			return err
		}
	}
	for rank, old := range m.from {
		if rank < first {
			continue
		}
		// A pack that holds an object twice has fewer records; whatever else may be wrong with them, nothing gets lost.
		if counts[rank] == old.rec.Info.Objects {
			continue
		}
		if err := m.listPack(rank, old); err != nil {
			return err
		}
	}
	slices.SortFunc(m.entries, func(a, b mergeEntry) int { return cmp.Compare(a.at, b.at) })
	m.entries = slices.CompactFunc(m.entries, func(a, b mergeEntry) bool { return a.at == b.at })
	return nil
}

// listPack reads a pack from end to end.
func (m *merge) listPack(rank int, old *oldPack) error {
	got, err := m.scanPack(old)
	if err != nil {
		return err
	}
	recs := records{bounds: boundsOf(old.rec.Info, old.rec.Stored, m.st.format), list: got.Records}
	ends := recs.offsets()
	old.prefixes = []uint16{}
	for _, rec := range got.Records {
		loc := location{offset: rec.Offset, length: lengthAt(ends, rec.Offset), size: rec.Size, typ: rec.Type, crc: rec.CRC}
		if rec.Offset >= recs.bounds.added {
			m.add(rank, rec.ID, loc, added)
			continue
		}
		m.add(rank, rec.ID, loc, 0)
		if p := rec.ID.Prefix16(); len(old.prefixes) == 0 || old.prefixes[len(old.prefixes)-1] != p {
			old.prefixes = append(old.prefixes, p)
		}
	}
	if len(got.Records) > mergeScan {
		old.prefixes = nil
	}
	return nil
}

// listIndex takes the packs' objects from index.db, and counts them.
func (m *merge) listIndex(first int, counts []uint32) error {
	ranks := make(map[uint32]int, len(m.from)-first)
	for i, old := range m.from[first:] {
		ranks[old.rec.Number] = first + i
	}
	pick := func(number uint32) bool {
		_, ok := ranks[number]
		return ok
	}
	err := m.st.eachRecord(pick, m.pace, func(number uint32, id object.ID, loc location) {
		rank := ranks[number]
		m.add(rank, id, loc, 0)
		counts[rank]++
	})
	if err != nil {
		return err
	}
	for i, old := range m.from[first:] {
		if err := m.listBases(first+i, old); err != nil {
			return err
		}
	}
	return nil
}

// listBases adds the bases that were added to a pack.
func (m *merge) listBases(rank int, old *oldPack) error {
	b := boundsOf(old.rec.Info, old.rec.Stored, m.st.format)
	if b.added == b.end {
		return nil
	}
	ids := map[int64]object.ID{}
	offs := []int64{b.end}
	err := m.st.withIndex(func(tx *bbolt.Tx) error {
		prefix := binary.BigEndian.AppendUint32(nil, old.rec.Number)
		c := tx.Bucket(indexBases).Cursor()
		for k, v := c.Seek(prefix); len(k) > 4 && string(k[:4]) == string(prefix); k, v = c.Next() {
			off := int64(binary.BigEndian.Uint64(v))
			ids[off] = object.NewID(m.st.format, append([]byte{}, k[4:]...))
			offs = append(offs, off)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(offs)
	for i, off := range offs[:len(offs)-1] {
		loc := location{offset: off, length: offs[i+1] - off}
		if err := m.readBase(old, &loc); err != nil {
			return err
		}
		m.add(rank, ids[off], loc, added)
	}
	return nil
}

// readBase finds out what index.db does not keep of an added base. That it is the right object shows when the new pack is
// verified.
func (m *merge) readBase(old *oldPack, loc *location) error {
	h, err := m.st.s.packs.acquire(packHandleKey{m.st, old.rec.Number})
	if err != nil {
		return err
	}
	defer m.st.s.packs.release(h)
	header, err := h.value.Header(loc.offset)
	if err != nil {
		return err
	}
	if header.IsDelta() {
		return fmt.Errorf("%w: pack %s: an added base is a delta", ErrCorrupt, old.rec.Info.ID)
	}
	loc.typ = object.Type(header.Kind)
	loc.crc, err = h.value.Checksum(loc.offset, loc.offset+loc.length)
	return err
}

// scanPack verifies a pack that is to be merged.
func (m *merge) scanPack(old *oldPack) (*pack.Received, error) {
	f, err := os.Open(m.st.packPath(old.rec.Info.ID))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return m.scan(f, old.rec.Stored)
}

// scan verifies a pack: one that is to be merged, or one that was just written.
func (m *merge) scan(f *os.File, size int64) (*pack.Received, error) {
	o := m.st.scanOptions(size)
	o.Workers = 1
	o.Progress = func(string, int64, int64) { m.pace() } // a cancelled context ends the scan by itself
	return pack.Scan(m.ctx, f, o)
}
