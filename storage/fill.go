package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

// filler remembers which repositories have packs that wait for their way into index.db.
type filler struct {
	wake chan struct{} // something has become due earlier than it was

	mu    sync.Mutex
	since map[*repoState]time.Time // when the first of the waiting packs came
}

func newFiller() *filler {
	return &filler{wake: make(chan struct{}, 1), since: map[*repoState]time.Time{}}
}

// add notes that a repository has one more waiting pack.
func (f *filler) add(st *repoState) {
	f.mu.Lock()
	_, known := f.since[st]
	if !known {
		f.since[st] = time.Now()
	}
	f.mu.Unlock()
	st.fresh.mu.RLock()
	due := len(st.fresh.list) >= st.s.opts.IndexPacks
	st.fresh.mu.RUnlock()
	if !known || due {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// due returns the repositories whose packs have waited long enough, or are many; and when to look again.
func (f *filler) due(now time.Time, o Options) (due []*repoState, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait = time.Hour
	for st, since := range f.since {
		st.fresh.mu.RLock()
		many := len(st.fresh.list) >= o.IndexPacks
		st.fresh.mu.RUnlock()
		if left := o.IndexDelay - now.Sub(since); many || left <= 0 {
			due = append(due, st)
			delete(f.since, st)
		} else {
			wait = min(wait, left)
		}
	}
	return due, wait
}

// fillLoop moves the records of new packs into index.db, behind the pushes that brought them.
func (s *Store) fillLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := s.filler.due(time.Now(), s.opts)
		for _, st := range due {
			if err := st.fill(); err != nil && !s.dead.Load() {
				// The packs keep their index files; the repository's next push tries again.
				s.opts.Log.Error("cannot fill index.db", "repo", st.id, "err", err)
			} else {
				s.graphs.add(st)
			}
			if s.stopping() {
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-s.stop:
			return
		case <-s.filler.wake:
		case <-timer.C:
		}
	}
}

func (s *Store) stopping() bool { return isClosed(s.stop) }

// Bounds of what one write of index.db takes.
const (
	fillPacks = 1024
	fillBytes = 2 << 20
)

// fill moves the records of all waiting packs into index.db, then removes their index files.
func (st *repoState) fill() error {
	st.fillMu.Lock()
	defer st.fillMu.Unlock()
	for {
		ready := st.fresh.waiting()
		if len(ready) == 0 {
			return nil
		}
		batch := ready[:1]
		if ready[0].records.list != nil {
			for len(batch) < min(len(ready), fillPacks) && ready[len(batch)].records.list != nil {
				batch = ready[:len(batch)+1]
			}
		}
		if err := st.fillBatch(batch); err != nil {
			return err
		}
		if st.s.stopping() {
			return nil
		}
	}
}

// fillBatch takes one large pack, or several small ones.
func (st *repoState) fillBatch(batch []*freshPack) error {
	return st.openForWrite(func(db *bbolt.DB) error { return st.fillInto(db, batch) })
}

func (st *repoState) fillInto(db *bbolt.DB, batch []*freshPack) error {
	if !st.fresh.use(batch[0]) { // keeps its index file open
		return nil
	}
	defer st.fresh.unuse(batch[0])
	b := &indexBatch{st: st, db: db}
	if err := b.addAll(batch); err != nil {
		return err
	}
	last := batch[len(batch)-1]
	if err := b.finish(last.number+1, last.id); err != nil {
		return err
	}
	st.fresh.retire(last.number + 1)
	for _, f := range batch {
		if f.records.list != nil {
			continue
		}
		if err := os.Remove(st.indexPath(f.id)); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := st.s.step(StepUnlink); err != nil {
			return err
		}
	}
	return nil
}

// indexBatch gathers sorted puts for index.db and writes them in pieces of bounded size. A piece that is written is
// good by itself: its pack is committed.
type indexBatch struct {
	st    *repoState
	db    *bbolt.DB
	rows  []row
	bytes int
}

// addAll adds the packs' records. Those of several packs are sorted together: unsorted puts are slow in bbolt.
func (b *indexBatch) addAll(batch []*freshPack) error {
	if len(batch) == 1 {
		return b.addPack(batch[0])
	}
	for _, f := range batch {
		if err := b.addPack(f); err != nil {
			return err
		}
	}
	slices.SortFunc(b.rows, func(x, y row) int {
		return cmp.Or(bytes.Compare(x.bucket, y.bucket), bytes.Compare(x.key, y.key))
	})
	return nil
}

func (b *indexBatch) addPack(f *freshPack) error {
	var group []byte
	var prefix uint16
	var last object.ID
	for rec := range f.records.all() {
		if rec.Offset >= f.records.bounds.added {
			b.put(indexBases, baseKey(f.number, rec.ID), binary.BigEndian.AppendUint64(nil, uint64(rec.Offset)))
			continue
		}
		if rec.ID == last {
			continue // a pack may hold an object twice
		}
		if p := rec.ID.Prefix16(); p != prefix {
			if err := b.putGroup(prefix, f, group); err != nil {
				return err
			}
			prefix, group = p, nil
		}
		group, last = appendRecord(group, rec.ID, f.locate(rec)), rec.ID
	}
	return b.putGroup(prefix, f, group)
}

func (b *indexBatch) putGroup(prefix uint16, f *freshPack, group []byte) error {
	if len(group) == 0 {
		return nil
	}
	b.put(indexObjects, objectKey(prefix, f.number), group)
	if f.records.index != nil && b.bytes > fillBytes {
		return b.write(nil)
	}
	return nil
}

func (b *indexBatch) put(bucket, key, value []byte) {
	b.rows = append(b.rows, row{bucket, key, value})
	b.bytes += len(key) + len(value)
}

// finish writes what is left, and the number of packs that index.db covers from now on.
func (b *indexBatch) finish(filled uint32, last PackID) error {
	return b.write(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(indexMeta)
		if err := meta.Put([]byte("last"), last[:]); err != nil {
			return err
		}
		return meta.Put([]byte("filled"), binary.BigEndian.AppendUint32(nil, filled))
	})
}

func (b *indexBatch) write(then func(*bbolt.Tx) error) error {
	s := b.st.s
	if s.dead.Load() {
		return ErrClosed
	}
	tx, err := b.db.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // no-op after the commit
	// Prefixes come sorted and are spread evenly, so that pages can be left fuller than bbolt does by default.
	tx.Bucket(indexObjects).FillPercent = 0.85
	for _, r := range b.rows {
		if err := tx.Bucket(r.bucket).Put(r.key, r.value); err != nil {
			return err
		}
	}
	if then != nil {
		if err := then(tx); err != nil {
			return err
		}
	}
	b.rows, b.bytes = nil, 0
	if err := s.step(StepFill); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.step(StepFilled)
}
