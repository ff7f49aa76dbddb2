package storage

import (
	"container/heap"
	"context"

	"holdfast/storage/object"
)

// Reached returns those of targets, objects of any type, that roots lead to. That the store has an object does not mean
// that: what was deleted or overwritten by force stays. Unknown targets are not reached, and roots must be known.
//
// The walk begins at the youngest commits and ends once all targets are found; trees are read only while there are
// targets other than commits and tags. A target that nothing leads to costs a walk over the whole history, about what
// the counting for a clone costs: limit bounds it in objects met. What was not met by then counts as not reached.
func (r *Repo) Reached(ctx context.Context, roots, targets []object.ID, limit int) ([]object.ID, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return nil, r.fail("look for objects", err)
	}
	reached, err := st.reached(ctx, roots, targets, limit)
	if err != nil {
		return nil, r.fail("look for objects", err)
	}
	return reached, nil
}

func (st *repoState) reached(ctx context.Context, roots, targets []object.ID, limit int) ([]object.ID, error) {
	f := &finder{walker: newWalker(ctx, st), missing: map[object.ID]object.Type{}}
	for _, id := range targets {
		loc, ok, err := st.lookup(id)
		if err != nil {
			return nil, err
		}
		if _, twice := f.missing[id]; ok && !twice {
			f.missing[id] = loc.typ
			if loc.typ == object.Tree || loc.typ == object.Blob {
				f.deep++
			}
		}
	}
	if err := f.inBasePack(roots); err != nil || len(f.missing) == 0 {
		return f.met, err
	}
	if err := f.start(Selection{Wants: roots}); err != nil {
		return nil, err
	}
	err := f.walk(limit)
	return f.met, err
}

// finder walks until it has met all that it looks for. Whatever is in walker.set can be reached.
type finder struct {
	*walker
	missing map[object.ID]object.Type
	deep    int // how many of missing are trees or blobs
	met     []object.ID
	checked uint32 // the objects in set with lower numbers have been compared with missing
}

func (f *finder) walk(limit int) error {
	for f.check(); len(f.missing) > 0 && f.set.len() < limit; f.check() {
		if f.deep > 0 && len(f.stack) > 0 {
			if err := f.walkStack(0); err != nil {
				return err
			}
			continue
		}
		if f.queue.Len() == 0 {
			return nil
		}
		c := f.commits[heap.Pop(&f.queue).(queued).commit]
		for _, p := range f.parents[c.firstPar:c.lastPar] {
			if err := f.enqueue(p); err != nil {
				return err
			}
		}
		if f.deep > 0 {
			f.push(treeAt{object: c.tree})
		}
	}
	return nil
}

// inBasePack finds the targets that are in the base pack. Only commits outside of it have to be read.
func (f *finder) inBasePack(roots []object.ID) error {
	base := f.st.useBase()
	defer f.st.dropBase(base)
	places := map[uint32]object.ID{}
	for id := range f.missing {
		if base == nil {
			break
		}
		if place, ok := base.Find(id); ok {
			places[place] = id
		}
	}
	if len(places) == 0 {
		return nil
	}
	w := newWalker(f.ctx, f.st)
	w.base = &baseSelection{basePack: base, given: map[uint32]struct{}{}}
	if err := w.start(Selection{Wants: roots}); err != nil {
		return err
	}
	if err := w.walkCommits(); err != nil {
		return err
	}
	w.selectFromBase()
	for _, tag := range w.base.tags {
		w.base.places.Add(tag)
	}
	for place, id := range places {
		if w.base.places.Has(place) {
			f.meet(id)
		}
	}
	return nil
}

// meet notes that a target was found.
func (f *finder) meet(id object.ID) {
	if typ := f.missing[id]; typ == object.Tree || typ == object.Blob {
		f.deep--
	}
	delete(f.missing, id)
	f.met = append(f.met, id)
}

// check compares what was met since the last time with what is looked for.
func (f *finder) check() {
	for n := uint32(f.set.len()); f.checked < n; f.checked++ {
		id := f.set.id(f.checked)
		if _, ok := f.missing[id]; ok {
			f.meet(id)
		}
	}
}
