package storage

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// location says where an object is. The same object may lie in several packs; lookups agree on the one with the lowest
// number, so that a walk over the objects meets each of them once.
type location struct {
	number uint32 // of the pack, local to the repository
	offset int64  // of the entry in the pack
	length int64  // of the entry in the pack, header included
	size   int64  // of the object
	typ    object.Type
	crc    uint32
}

// freshPack is a pack that is not in index.db yet.
type freshPack struct {
	number  uint32
	id      PackID
	records records
	ends    []int64 // sorted offsets of the entries, and the end of the last one

	users int // readers of records.index, and one for the list; guarded by freshPacks.mu

	// settled is closed once the commit that brings the pack has ended; failed says that it did not happen.
	settled chan struct{}
	failed  bool
}

// freshPacks are a repository's packs that index.db does not cover, in the order of their numbers. Small ones share a
// map, so that their number does not matter; for the others each index file is asked.
type freshPacks struct {
	mu     sync.RWMutex
	list   []*freshPack
	small  map[object.ID]*freshPack // the lowest pack that has the object
	loaded bool
	filled uint32 // packs with lower numbers are in index.db
}

// announce makes a pack visible to readers before its commit is done. The transaction that placed its file may be over.
func (st *repoState) announce(p *txnPack, number uint32) error {
	recs := records{bounds: p.recs.bounds, list: p.recs.list}
	if recs.list == nil {
		index, err := pack.OpenIndex(st.indexPath(p.info.ID))
		if err != nil {
			return err
		}
		recs.index = index
	}
	st.fresh.add(&freshPack{number: number, id: p.info.ID, records: recs, ends: p.ends, users: 1,
		settled: make(chan struct{})})
	return nil
}

func (fp *freshPacks) add(f *freshPack) {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	fp.list = append(fp.list, f)
	fp.addSmall(f)
}

func (fp *freshPacks) addSmall(f *freshPack) {
	if fp.small == nil {
		fp.small = map[object.ID]*freshPack{}
	}
	for _, rec := range f.records.list {
		if _, ok := fp.small[rec.ID]; !ok && rec.Offset < f.records.bounds.added {
			fp.small[rec.ID] = f
		}
	}
}

// settle ends announce's state of suspense.
func (st *repoState) settle(number uint32, ok bool) {
	fp := &st.fresh
	fp.mu.Lock()
	defer fp.mu.Unlock()
	for i, f := range fp.list {
		if f.number != number || isClosed(f.settled) {
			continue
		}
		f.failed = !ok
		close(f.settled)
		if !ok {
			fp.list = append(fp.list[:i:i], fp.list[i+1:]...)
			fp.drop(f)
			fp.remap()
		}
		return
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (fp *freshPacks) remap() {
	fp.small = nil
	for _, f := range fp.list {
		fp.addSmall(f)
	}
}

// drop gives up one use of the pack's index file. fp.mu is held.
func (fp *freshPacks) drop(f *freshPack) {
	if f.users--; f.users == 0 {
		f.records.close()
	}
}

// retire forgets the packs with numbers below filled: index.db has them now.
func (fp *freshPacks) retire(filled uint32) {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	keep := fp.list[:0:0]
	for _, f := range fp.list {
		if f.number >= filled {
			keep = append(keep, f)
			continue
		}
		for _, rec := range f.records.list {
			if fp.small[rec.ID] == f {
				delete(fp.small, rec.ID)
			}
		}
		fp.drop(f)
	}
	fp.list, fp.filled = keep, filled
}

// lookup finds the object in the fresh pack with the lowest number that has it.
func (fp *freshPacks) lookup(id object.ID) (location, *freshPack, error) {
	fp.mu.RLock()
	best := fp.small[id]
	var asked []*freshPack
	for _, f := range fp.list {
		if f.records.index != nil && (best == nil || f.number < best.number) {
			asked = append(asked, f)
		}
	}
	fp.mu.RUnlock()
	if best == nil && asked == nil {
		return location{}, nil, nil
	}
	return fp.ask(id, best, asked)
}

// ask reads index files outside of the lock.
func (fp *freshPacks) ask(id object.ID, best *freshPack, asked []*freshPack) (location, *freshPack, error) {
	for _, f := range asked {
		if !fp.use(f) {
			continue // retired meanwhile: index.db has it
		}
		rec, ok, err := f.records.lookup(id)
		fp.unuse(f)
		if err != nil {
			return location{}, nil, fmt.Errorf("index file of pack %s: %w", f.id, err)
		}
		if ok {
			return f.locate(rec), f, nil
		}
	}
	if best == nil {
		return location{}, nil, nil
	}
	rec, _, _ := best.records.lookup(id)
	return best.locate(rec), best, nil
}

func (fp *freshPacks) use(f *freshPack) bool {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	if f.users == 0 {
		return false
	}
	f.users++
	return true
}

// byNumber returns a fresh pack, in use, or nil if there is none of that number.
func (fp *freshPacks) byNumber(number uint32) *freshPack {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	i, ok := slices.BinarySearchFunc(fp.list, number, func(f *freshPack, n uint32) int { return cmp.Compare(f.number, n) })
	if !ok {
		return nil
	}
	fp.list[i].users++
	return fp.list[i]
}

func (fp *freshPacks) unuse(f *freshPack) {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	fp.drop(f)
}

func (f *freshPack) locate(rec pack.Record) location {
	return location{number: f.number, offset: rec.Offset, length: lengthAt(f.ends, rec.Offset), size: rec.Size,
		typ: rec.Type, crc: rec.CRC}
}

func (fp *freshPacks) close() {
	fp.mu.Lock()
	defer fp.mu.Unlock()
	for _, f := range fp.list {
		fp.drop(f)
	}
	fp.list, fp.small = nil, nil
}

// waiting returns the packs that can be filled into index.db: committed, and without a gap.
func (fp *freshPacks) waiting() []*freshPack {
	fp.mu.RLock()
	defer fp.mu.RUnlock()
	var ready []*freshPack
	for _, f := range fp.list {
		if !isClosed(f.settled) {
			break
		}
		ready = append(ready, f)
	}
	return ready
}

// load finds the packs that index.db does not cover, when a repository is first used. A lost index file, or a lost
// index.db, is made again from the packs.
func (st *repoState) load() error {
	st.loadMu.Lock()
	defer st.loadMu.Unlock()
	if st.fresh.loaded {
		return nil
	}
	filled, err := st.checkIndexDB()
	if err != nil {
		return err
	}
	live, gone, err := st.packs()
	if err != nil {
		return err
	}
	st.lose(gone)
	missing, _ := slices.BinarySearchFunc(live, filled, func(rec *packRecord, n uint32) int { return cmp.Compare(rec.Number, n) })
	for _, rec := range live[missing:] {
		f, err := st.loadFresh(rec)
		if err != nil {
			st.fresh.close()
			return err
		}
		st.fresh.add(f)
	}
	st.fresh.mu.Lock()
	st.fresh.filled, st.fresh.loaded = filled, true
	st.fresh.mu.Unlock()
	st.loadBase()
	if missing < len(live) {
		st.s.filler.add(st) // which sees to the graph file too
	} else if st.lacksBase(live) {
		st.s.graphs.add(st)
	}
	return st.removeFilled(filled)
}

// removeFilled removes the index files that a process has left which died right after it filled index.db.
func (st *repoState) removeFilled(filled uint32) error {
	recs, err := st.packsPage(filled-min(filled, fillPacks), fillPacks)
	for _, rec := range recs {
		if rec.Number < filled {
			os.Remove(st.indexPath(rec.Info.ID))
		}
	}
	return err
}

// packs returns the records of the repository's packs, by number, and of those that were merged into others and are not
// swept up yet.
func (st *repoState) packs() (live, gone []*packRecord, err error) {
	for number := uint32(0); ; {
		page, err := st.packsPage(number, 1000)
		if err != nil || len(page) == 0 {
			return live, gone, err
		}
		for _, rec := range page {
			if rec.Gone {
				gone = append(gone, rec)
			} else {
				live = append(live, rec)
			}
		}
		number = page[len(page)-1].Number + 1
	}
}

// packsPage returns the records of listed packs from a number on.

func (st *repoState) packsPage(number uint32, limit int) (recs []*packRecord, err error) {
	err = st.s.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRepoPacks).Cursor()
		prefix := string(st.id.raw())
		k, v := c.Seek(repoPackKey(st.id, number))
		for ; k != nil && string(k[:16]) == prefix && len(recs) < limit; k, v = c.Next() {
			rec, err := getPack(tx, PackID(v), st.id)
			if err == nil && (rec == nil || string(repoPackKey(st.id, rec.Number)) != string(k)) {
				err = fmt.Errorf("%w: host.db lists pack %x without its record", ErrCorrupt, v)
			}
			if err != nil {
				return err
			}
			recs = append(recs, rec)
		}
		return nil
	})
	return recs, err
}

// packRecord returns the record of one pack, nil if the repository never had it. listed reports whether its file should
// be there: it is not merged into another pack and swept up.
func (st *repoState) packRecord(id PackID) (rec *packRecord, listed bool, err error) {
	err = st.s.view(func(tx *bbolt.Tx) error {
		if rec, err = getPack(tx, id, st.id); err == nil && rec != nil {
			listed = tx.Bucket(bucketRepoPacks).Get(repoPackKey(st.id, rec.Number)) != nil
		}
		return err
	})
	return rec, listed, err
}

// loadFresh returns a committed pack with its records. An index file that is lost or broken is made again.
func (st *repoState) loadFresh(rec *packRecord) (*freshPack, error) {
	recs := records{bounds: boundsOf(rec.Info, rec.Stored, st.format)}
	index, err := pack.OpenIndex(st.indexPath(rec.Info.ID)) // verifies it: the file was not synced
	if err == nil {
		recs.index = index
	} else if recs, err = st.rescan(rec, recs.bounds); err != nil {
		return nil, fmt.Errorf("index of pack %s: %w", rec.Info.ID, err)
	}
	f := &freshPack{number: rec.Number, id: rec.Info.ID, records: recs, users: 1, settled: make(chan struct{})}
	close(f.settled)
	f.ends = recs.offsets()
	return f, nil
}

// rescan makes a pack's records anew from the pack. It is whole by itself, and special files that others have were looked into when it was
// received: others may not be loaded yet.
func (st *repoState) rescan(rec *packRecord, b bounds) (records, error) {
	f, err := os.Open(st.packPath(rec.Info.ID))
	if err != nil {
		return records{}, err
	}
	defer f.Close()
	o := st.scanOptions(rec.Stored)
	o.Base = nil
	got, err := pack.Scan(context.Background(), f, o)
	if err != nil {
		return records{}, err
	}
	return newRecords(st.indexPath(rec.Info.ID), st.format, got.Records, b)
}

// scanOptions are those for a stored pack whose file has so many bytes.
func (st *repoState) scanOptions(stored int64) pack.Options {
	o := st.s.opts
	return pack.Options{
		Format: st.format, MaxBytes: stored, MaxObjects: math.MaxUint32, MaxObjectBytes: o.MaxObjectBytes,
		MaxInflatedBytes: math.MaxInt64, MaxMemoryBytes: o.MaxReadBytes, MaxDepth: o.MaxDepth + 1,
		Base: st.readObject,
	}
}
