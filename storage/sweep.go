package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"

	"go.etcd.io/bbolt"
)

// tidiness is what a repository has to sweep up: packs that were merged into others.
type tidiness struct {
	mu sync.Mutex // held while packs are swept up

	// The rest is guarded by repoState.placeMu.

	// left are packs that can be brought back until they are swept up: they are as they were.
	left []leftPack
	// lost are packs of which a sweep, or the process before this one, may have removed something. Nobody places a pack of
	// these ids before they are swept up.
	lost []*oldPack
}

// leftPack is a pack that readers of a view before turn may still use.
type leftPack struct {
	*oldPack
	turn uint64
}

// leave notes packs that were just merged into others.
func (st *repoState) leave(gone []*oldPack) {
	turn := st.views.turn()
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	for _, old := range gone {
		st.tidy.left = append(st.tidy.left, leftPack{old, turn})
	}
}

// lose notes packs that a process before this one has merged into others.
func (st *repoState) lose(gone []*packRecord) {
	if len(gone) == 0 {
		return
	}
	var numbers []uint32
	st.placeMu.Lock()
	st.tidy.lost = nil
	for _, rec := range gone {
		st.tidy.lost = append(st.tidy.lost, &oldPack{rec: rec})
		numbers = append(numbers, rec.Number)
	}
	st.placeMu.Unlock()
	st.views.move(numbers, true)
}

// recalled notes that packs are not to be swept up after all.
func (st *repoState) recalled(numbers []uint32) {
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	st.tidy.left = slices.DeleteFunc(st.tidy.left, func(p leftPack) bool { return slices.Contains(numbers, p.rec.Number) })
}

// sweep removes the packs that were merged into others and that nobody reads any more: their records from index.db, their
// files, their numbers from host.db.
func (st *repoState) sweep() error {
	st.tidy.mu.Lock()
	defer st.tidy.mu.Unlock()
	batch := st.beginSweep()
	if len(batch) == 0 {
		return nil
	}
	if err := st.sweepUp(batch); err != nil {
		return err
	}
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	st.tidy.lost = slices.DeleteFunc(st.tidy.lost, func(p *oldPack) bool { return slices.Contains(batch, p) })
	return nil
}

// sweepPacks bounds the packs that are swept up at a time.
const sweepPacks = 1024

// beginSweep returns packs to sweep up. From now on they cannot be brought back.
func (st *repoState) beginSweep() []*oldPack {
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	kept := st.tidy.left[:0:0]
	for _, p := range st.tidy.left {
		if st.placed[p.rec.Info.ID] == nil && st.views.left(p.turn) {
			st.tidy.lost = append(st.tidy.lost, p.oldPack)
		} else {
			kept = append(kept, p)
		}
	}
	st.tidy.left = kept
	return slices.Clone(st.tidy.lost[:min(len(st.tidy.lost), sweepPacks)])
}

// sweepUp sweeps up packs. If it is cut off, it can be done again.
func (st *repoState) sweepUp(batch []*oldPack) error {
	if err := st.sweepIndex(batch); err != nil {
		return err
	}
	var ids []PackID
	for _, p := range batch {
		if st.s.dead.Load() {
			return ErrClosed
		}
		ids = append(ids, p.rec.Info.ID)
		if err := st.s.packs.forget(packHandleKey{st, p.rec.Number}); err != nil {
			return err
		}
		for _, ext := range packExts {
			if err := os.Remove(st.pathOf(p.rec.Info.ID, ext)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		if err := st.s.step(StepSwept); err != nil {
			return err
		}
	}
	// A file that comes back after a power cut is a stray: no directory is synced.
	if _, err := st.s.submit(&request{sweep: &sweepRequest{st.id, ids}}); err != nil {
		return err
	}
	var numbers []uint32
	for _, p := range batch {
		numbers = append(numbers, p.rec.Number)
	}
	st.views.move(numbers, false)
	return st.s.step(StepSweepCommit)
}

// sweepKeys bounds the deletions in one write of index.db.
const sweepKeys = 4096

// sweepIndex removes the packs' records from index.db.
func (st *repoState) sweepIndex(batch []*oldPack) error {
	if !st.hasIndex() {
		return nil
	}
	keep, err := st.lastIndexed()
	if err != nil {
		return err
	}
	keys, err := st.indexKeys(batch)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(keys, sweepKeys) {
		if err := st.deleteKeys(part); err != nil {
			return err
		}
	}
	return st.writeIndex(func(tx *bbolt.Tx) error {
		for _, p := range batch {
			if err := deleteBases(tx, p.rec.Number); err != nil {
				return err
			}
			if meta := tx.Bucket(indexMeta); bytes.Equal(meta.Get([]byte("last")), p.rec.Info.ID[:]) {
				if err := meta.Put([]byte("last"), keep[:]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// lastIndexed returns the newest pack that is in index.db and stays there.
func (st *repoState) lastIndexed() (PackID, error) {
	if err := st.fill(); err != nil {
		return PackID{}, err
	}
	live, _, err := st.packs()
	if err != nil {
		return PackID{}, err
	}
	filled := st.fresh.indexed()
	for _, rec := range slices.Backward(live) {
		if rec.Number < filled {
			return rec.Info.ID, nil
		}
	}
	return PackID{}, fmt.Errorf("index.db covers no pack yet that stays")
}

// indexKey is a key of index.db's objects: prefix and pack.
type indexKey uint64

// indexKeys returns the sorted keys under which index.db has records of the packs.
func (st *repoState) indexKeys(batch []*oldPack) (keys []indexKey, err error) {
	all := map[uint32]bool{}
	for _, p := range batch {
		if p.prefixes == nil {
			all[p.rec.Number] = true
		}
		for _, prefix := range p.prefixes {
			keys = append(keys, indexKey(prefix)<<32|indexKey(p.rec.Number))
		}
	}
	for prefix := 0; prefix < 1<<16 && len(all) > 0; prefix += lookupPage {
		err := st.withIndex(func(tx *bbolt.Tx) error {
			c := tx.Bucket(indexObjects).Cursor()
			end := objectKey(uint16(min(prefix+lookupPage, 1<<16)-1), 1<<32-1)
			for k, _ := c.Seek(objectKey(uint16(prefix), 0)); k != nil && bytes.Compare(k, end) <= 0; k, _ = c.Next() {
				if number := binary.BigEndian.Uint32(k[2:]); all[number] {
					keys = append(keys, indexKey(binary.BigEndian.Uint16(k))<<32|indexKey(number))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return keys, nil
}

func (st *repoState) deleteKeys(keys []indexKey) error {
	return st.writeIndex(func(tx *bbolt.Tx) error {
		b := tx.Bucket(indexObjects)
		for _, key := range keys {
			if err := b.Delete(objectKey(uint16(key>>32), uint32(key))); err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteBases(tx *bbolt.Tx, number uint32) error {
	prefix := binary.BigEndian.AppendUint32(nil, number)
	var keys [][]byte
	c := tx.Bucket(indexBases).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := tx.Bucket(indexBases).Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// writeIndex makes one write of index.db.
func (st *repoState) writeIndex(fn func(*bbolt.Tx) error) error {
	return st.openForWrite(func(db *bbolt.DB) error { return (&indexBatch{st: st, db: db}).write(fn) })
}

// sweepRequest asks the committer to forget the numbers of packs that are swept up.
type sweepRequest struct {
	repo RepoID
	ids  []PackID
}

func (r *sweepRequest) apply(tx *bbolt.Tx) error {
	for _, id := range r.ids {
		rec, err := getPack(tx, id, r.repo)
		if err != nil {
			return err
		}
		if rec == nil || !rec.Gone {
			return fmt.Errorf("%w: pack %s is swept up, but it is not gone", ErrCorrupt, id)
		}
		if err := tx.Bucket(bucketRepoPacks).Delete(repoPackKey(r.repo, rec.Number)); err != nil {
			return err
		}
		if rec.Merged {
			if err := tx.Bucket(bucketPacks).Delete(packKey(id, r.repo)); err != nil {
				return err
			}
		}
	}
	return nil
}
