package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"holdfast/storage/graph"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// basePack is a repository's base pack: the one that has a graph file.
type basePack struct {
	*graph.Graph
	id     PackID
	number uint32

	users int   // readers, and one for being the base; guarded by basePacks.mu
	view  *view // from when the pack was not gone; guarded by basePacks.mu
}

// basePacks holds a repository's base pack.
type basePacks struct {
	mu   sync.Mutex
	base *basePack // nil if there is none

	choosing sync.Mutex // held while a base pack is chosen
	tried    uint32     // packs with lower numbers were considered; guarded by choosing
}

// graphQueue is the set of repositories that may need a new graph file.
type graphQueue struct {
	wake chan struct{}

	mu      sync.Mutex
	waiting []*repoState
}

func newGraphQueue() *graphQueue { return &graphQueue{wake: make(chan struct{}, 1)} }

func (q *graphQueue) add(st *repoState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.waiting, st) {
		q.waiting = append(q.waiting, st)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *graphQueue) take() (all []*repoState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all, q.waiting = q.waiting, nil
	return all
}

// graphLoop makes graph files, one after the other.
func (s *Store) graphLoop() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.graphs.wake:
		}
		for _, st := range s.graphs.take() {
			if err := st.chooseBase(); err != nil && !s.stopping() && !s.dead.Load() {
				// The repository's next push tries again.
				s.opts.Log.Error("cannot make a graph file", "repo", st.id, "err", err)
			}
		}
	}
}

// indexGraph names, in index.db's meta bucket, the number of the base pack (4 bytes).
var indexGraph = []byte("graph")

func (st *repoState) graphPath(id PackID) string {
	return filepath.Join(st.packsDir(), id.String()+".graph")
}

// useBase returns the base pack, nil if there is none. The caller calls dropBase.
func (st *repoState) useBase() *basePack {
	st.base.mu.Lock()
	defer st.base.mu.Unlock()
	if st.base.base != nil {
		st.base.base.users++
	}
	return st.base.base
}

func (st *repoState) dropBase(b *basePack) {
	if b == nil {
		return
	}
	st.base.mu.Lock()
	defer st.base.mu.Unlock()
	if b.users--; b.users == 0 {
		b.Close()
		st.views.release(b.view)
	}
}

// renewBase lets go of packs that were merged for the base pack's sake. A base pack that was merged itself stays, with
// them, until there is another.
func (st *repoState) renewBase() {
	st.base.mu.Lock()
	defer st.base.mu.Unlock()
	b := st.base.base
	if b == nil {
		return
	}
	v := st.views.hold()
	if !v.gone[b.number] {
		b.view, v = v, b.view
	}
	st.views.release(v)
}

// setBase puts b, or nil, in the place of the base pack.
func (st *repoState) setBase(b *basePack) {
	st.base.mu.Lock()
	last := st.base.base
	st.base.base = b
	st.base.mu.Unlock()
	st.dropBase(last)
}

// loadBase opens the graph file that index.db names. One that is lost or broken is made again in the background.
func (st *repoState) loadBase() {
	if !st.hasIndex() {
		return
	}
	number := uint32(graph.None)
	err := st.withIndex(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(indexMeta).Get(indexGraph); len(v) == 4 {
			number = binary.BigEndian.Uint32(v)
		}
		return nil
	})
	if err == nil && number != graph.None {
		err = st.openBase(number)
	}
	if err != nil {
		st.s.opts.Log.Warn("a graph file is made again", "repo", st.id, "err", err)
	}
}

// lacksBase reports whether there is no base pack, though one of the packs can be it: the graph file was lost, or not made yet.
func (st *repoState) lacksBase(live []*packRecord) bool {
	st.base.mu.Lock()
	defer st.base.mu.Unlock()
	return st.base.base == nil && slices.ContainsFunc(live, st.canBeBase)
}

// canBeBase reports whether a pack is large enough to be the base pack, and holds nothing but its own objects.
func (st *repoState) canBeBase(rec *packRecord) bool {
	return int(rec.Info.Objects) >= st.s.opts.GraphObjects && rec.Stored == rec.Info.Size
}

func (st *repoState) openBase(number uint32) error {
	v := st.views.hold()
	rec, err := st.livePack(number)
	if err == nil {
		var g *graph.Graph
		if g, err = graph.Open(st.graphPath(rec.Info.ID), rec.Stored); err == nil {
			st.setBase(&basePack{Graph: g, id: rec.Info.ID, number: number, users: 1, view: v})
			return nil
		}
	}
	st.views.release(v)
	return err
}

// livePack returns the record of a pack that was not merged into another.
func (st *repoState) livePack(number uint32) (*packRecord, error) {
	id, err := st.packID(number)
	if err != nil {
		return nil, err
	}
	rec, _, err := st.packRecord(id)
	if err == nil && (rec == nil || rec.Gone) {
		err = fmt.Errorf("pack %d: %w", number, ErrMerged)
	}
	return rec, err
}

// chooseBase makes a graph file for the largest new pack that can have one, if it is much larger than the base pack. It runs
// behind the filler; whatever stops it leaves the store as it was, and is tried again with the next push.
func (st *repoState) chooseBase() error {
	st.base.choosing.Lock()
	defer st.base.choosing.Unlock()
	v := st.views.hold() // packs that are merged meanwhile stay
	defer st.views.release(v)
	recs, _, err := st.packs()
	recs = slices.DeleteFunc(recs, func(r *packRecord) bool { return r.Number < st.base.tried })
	if err != nil || len(recs) == 0 {
		return err
	}
	least := st.s.opts.GraphObjects
	if b := st.useBase(); b != nil {
		least = max(least, b.Len()+b.Len()/2)
		st.dropBase(b)
	}
	next := recs[len(recs)-1].Number + 1
	recs = slices.DeleteFunc(recs, func(r *packRecord) bool {
		return int(r.Info.Objects) < least || r.Stored != r.Info.Size // else bases were added
	})
	slices.SortFunc(recs, func(a, b *packRecord) int { return cmp.Compare(b.Info.Objects, a.Info.Objects) })
	ctx, cancel := st.s.untilStopped(context.Background())
	defer cancel()
	for _, rec := range recs {
		if err := st.makeGraph(rec.Number, ctx.Err); !errors.Is(err, graph.ErrOpen) {
			if err == nil {
				st.base.tried = next
			}
			return err
		}
	}
	st.base.tried = next
	return nil
}

// moveBase makes the pack that stands first the base pack, if that was merged, or there is none.
func (st *repoState) moveBase(ctx context.Context) error {
	st.base.choosing.Lock()
	defer st.base.choosing.Unlock()
	v := st.views.hold()
	defer st.views.release(v)
	b := st.useBase()
	defer st.dropBase(b)
	if b != nil && !v.gone[b.number] {
		return nil
	}
	rec, err := st.firstPack()
	if err == nil && rec != nil && st.canBeBase(rec) {
		if err = st.makeGraph(rec.Number, st.s.newPacer(ctx).pace); err == nil {
			return nil
		}
	}
	if b != nil {
		st.setBase(nil)
	}
	if errors.Is(err, graph.ErrOpen) {
		return nil
	}
	return err
}

// firstPack returns the pack that stands before all others, and so is closed under links; nil if there is none.
func (st *repoState) firstPack() (first *packRecord, err error) {
	live, _, err := st.packs()
	for _, rec := range live {
		if !rec.Cruft && (first == nil || rec.first() < first.first()) {
			first = rec
		}
	}
	return first, err
}

// makeGraph makes the graph file of a pack and makes it the base pack. Its records must be in index.db. If the pack is not
// closed under links, the error wraps graph.ErrOpen. pace is called every now and then, and ends it with an error.
func (st *repoState) makeGraph(number uint32, pace func() error) error {
	rec, err := st.livePack(number)
	if err != nil {
		return err
	}
	objects, err := st.graphObjects(number, pace)
	if err != nil {
		return err
	}
	if len(objects) != int(rec.Info.Objects) {
		return fmt.Errorf("%w: it holds an object twice", graph.ErrOpen)
	}
	if err := st.writeGraph(rec, number, objects, pace); err != nil {
		return err
	}
	if err := st.putIndexMeta(indexGraph, binary.BigEndian.AppendUint32(nil, number)); err != nil {
		return err
	}
	last := st.useBase()
	defer st.dropBase(last)
	if err := st.openBase(number); err != nil {
		return err
	}
	if last != nil && last.id != rec.Info.ID {
		if err := os.Remove(st.graphPath(last.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (st *repoState) writeGraph(rec *packRecord, number uint32, objects []graph.Object, pace func() error) error {
	path := st.graphPath(rec.Info.ID)
	tmp, err := os.CreateTemp(st.s.quarantineDir(), "graph")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = graph.Write(context.Background(), tmp, st.format, rec.Stored, objects, st.contentAt(number, objects, pace))
	if err == nil {
		err = st.s.step(StepGraphWritten)
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return st.s.step(StepGraphRename)
}

// contentAt returns a function that reads the object at a place in a pack.
func (st *repoState) contentAt(number uint32, objects []graph.Object, pace func() error) func(place uint32) ([]byte, error) {
	return func(place uint32) ([]byte, error) {
		if err := pace(); err != nil {
			return nil, err
		}
		_, data, err := st.readAt(location{number: number, offset: objects[place].Offset})
		return data, err
	}
}

func (st *repoState) putIndexMeta(key, value []byte) error {
	return st.openForWrite(func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(indexMeta).Put(key, value) })
	})
}

// graphObjects returns the objects of a pack in the order of their offsets.
func (st *repoState) graphObjects(number uint32, pace func() error) ([]graph.Object, error) {
	var objects []graph.Object
	pick := func(n uint32) bool { return n == number }
	err := st.eachRecord(pick, pace, func(_ uint32, id object.ID, loc location) {
		objects = append(objects, graph.Object{ID: id, Offset: loc.offset, Size: loc.size, Type: loc.typ, CRC: loc.crc})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(objects, func(a, b graph.Object) int { return cmp.Compare(a.Offset, b.Offset) })
	h, err := st.s.packs.acquire(packHandleKey{st, number})
	if err != nil {
		return nil, err
	}
	defer st.s.packs.release(h)
	for i := range objects {
		if i%writeEvery == 0 {
			if err := pace(); err != nil {
				return nil, err
			}
		}
		if objects[i].Base, err = st.basePlace(h.value, number, objects, i); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// basePlace returns the place of the base of objects[i]'s delta.
func (st *repoState) basePlace(p *pack.Pack, number uint32, objects []graph.Object, i int) (uint32, error) {
	h, err := p.Header(objects[i].Offset)
	if err != nil || !h.IsDelta() {
		return graph.None, err
	}
	off := h.BaseOffset
	if !h.BaseID.IsZero() {
		loc, _, err := st.lookupIn(h.BaseID, number)
		if err != nil {
			return graph.None, err
		}
		off = loc.offset
	}
	at, ok := slices.BinarySearchFunc(objects, off, func(o graph.Object, off int64) int { return cmp.Compare(o.Offset, off) })
	if !ok {
		return graph.None, fmt.Errorf("%w: the base of %s is not in it", graph.ErrOpen, objects[i].ID)
	}
	return uint32(at), nil
}

// commitInfo returns what a commit of the base pack holds, and false if the pack does not have it.
func (b *basePack) commitInfo(id object.ID) (info object.CommitInfo, ok bool) {
	place, ok := b.Find(id)
	if !ok {
		return info, false
	}
	c, ok := b.Commit(place)
	if !ok {
		return info, false
	}
	info = object.CommitInfo{Tree: b.ID(b.Tree(c)), Time: b.Date(c)}
	b.Parents(c, func(p uint32) { info.Parents = append(info.Parents, b.ID(b.Place(p))) })
	return info, true
}
