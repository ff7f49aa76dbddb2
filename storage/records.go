package storage

import (
	"iter"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// bounds are the offsets that part a stored pack.
type bounds struct {
	added int64 // bases that were added to a thin pack begin here
	end   int64 // the trailer begins here
}

func boundsOf(info PackInfo, stored int64, f object.Format) bounds {
	return bounds{added: info.Size - int64(f.Size()), end: stored - int64(f.Size())}
}

// A new pack of up to smallObjects in up to smallBytes has no index file: its records are kept in memory until index.db
// has them, and are read from the pack again after a crash. Most pushes are that small, and making files is what costs
// the most in them.
const (
	smallObjects = 1024
	smallBytes   = 1 << 20
)

// records are a pack's records, in memory or in its index file. Bases that were added to the pack do not count:
// each of them is in another pack, from where the repository's index knows it.
type records struct {
	bounds bounds
	list   []pack.Record // of a small pack, sorted by id; nil if index is set
	index  *pack.Index
}

// newRecords returns the records of a new pack. Unless it is small, it writes them to an index file at path first.
func newRecords(path string, f object.Format, recs []pack.Record, b bounds) (records, error) {
	if len(recs) <= smallObjects && b.end <= smallBytes {
		return records{bounds: b, list: recs}, nil
	}
	if err := pack.WriteIndex(path, f, recs); err != nil {
		return records{}, err
	}
	index, err := pack.OpenIndex(path)
	return records{bounds: b, index: index}, err
}

func (r *records) lookup(id object.ID) (pack.Record, bool, error) {
	rec, ok, err := r.find(id)
	return rec, ok && rec.Offset < r.bounds.added, err
}

// locate finds the base of a delta of this pack, an added one too.
func (r *records) locate(id object.ID) (int64, bool) {
	rec, ok, err := r.find(id)
	return rec.Offset, ok && err == nil
}

func (r *records) find(id object.ID) (pack.Record, bool, error) {
	if r.index != nil {
		return r.index.Lookup(id)
	}
	i, ok := slices.BinarySearchFunc(r.list, id, func(rec pack.Record, id object.ID) int { return rec.ID.Compare(id) })
	if !ok {
		return pack.Record{}, false, nil
	}
	return r.list[i], true, nil
}

// all yields all records, added bases included, sorted by id.
func (r *records) all() iter.Seq[pack.Record] {
	if r.index != nil {
		return r.index.All()
	}
	return slices.Values(r.list)
}

func (r *records) len() int {
	if r.index != nil {
		return r.index.Len()
	}
	return len(r.list)
}

func (r *records) close() {
	if r.index != nil {
		r.index.Close()
		r.index = nil
	}
}

// offsets returns the sorted offsets of all entries and the end of the last one.
func (r *records) offsets() []int64 {
	offs := make([]int64, 0, r.len()+1)
	for rec := range r.all() {
		offs = append(offs, rec.Offset)
	}
	slices.Sort(offs)
	return append(offs, r.bounds.end)
}

// lengthAt returns the length of the entry at off, in bytes of the pack.
func lengthAt(offsets []int64, off int64) int64 {
	i, ok := slices.BinarySearch(offsets, off)
	if !ok || i+1 >= len(offsets) {
		return 0
	}
	return offsets[i+1] - off
}
