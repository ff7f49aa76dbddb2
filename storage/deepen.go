package storage

import (
	"context"
	"errors"
	"fmt"
	"math"

	"holdfast/storage/object"
)

// Infinite is the Depth that makes a shallow history whole.
const Infinite = math.MaxInt32

// Deepening says how much history a receiver is to have. Depth bounds it, or Since and Not together do.
type Deepening struct {
	Wants   []object.ID // commits, and tags of them; others are ignored
	Shallow []object.ID // commits that the receiver has without their parents; those unknown here are ignored

	// Depth is the number of commits on the way from a want to the last one sent: with 1, nothing but the wants.
	Depth int
	// Roots, if there are any, make Depth count from those of Shallow that Roots lead to, themselves not included.
	// Infinite needs Roots too: no other commits of Shallow are given parents.
	Roots []object.ID
	// Since leaves out commits that are older, in seconds since 1970, and their ancestors; 0 is no limit.
	Since int64
	// Not leaves out what these commits, or tags of commits, lead to.
	Not []object.ID
}

// A Boundary is where a shallow history ends. Both lists are for a Selection.
type Boundary struct {
	Shallow   []object.ID // commits without parents that the receiver does not know as such
	Unshallow []object.ID // commits of Deepening.Shallow that are to get parents
}

// ErrNoCommits is the kind of Deepen's error if Since and Not leave nothing of the wants.
var ErrNoCommits = errors.New("no commits selected for shallow requests")

// Deepen finds the boundary of a shallow history. With a Depth other than Infinite it reads about as many commits as are
// within; with Since and Not, those that WritePack would; with Roots, up to the whole history, but no trees. An object
// that nothing leads to from Wants and Roots is not made to be sent, whatever Shallow says.
func (r *Repo) Deepen(ctx context.Context, d Deepening) (Boundary, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return Boundary{}, r.fail("deepen", err)
	}
	f := &deepener{ctx: ctx, st: st, set: newObjectSet(st.format)}
	switch {
	case d.Depth == Infinite:
		err = f.infinite(d)
	case d.Depth > 0:
		err = f.levels(d)
	default:
		err = f.revisions(d)
	}
	if err != nil {
		return Boundary{}, r.fail("deepen", err)
	}
	return f.boundary(d.Shallow), nil
}

// deepener sorts commits into those within the boundary and those on it.
type deepener struct {
	ctx context.Context
	st  *repoState
	set *objectSet
}

// The flags of a commit in deepener.set.
const (
	inner  = 1 << iota // it and its parents are within the history
	border             // it has a parent that is not
)

// boundary tells the receiver what it does not know.
func (f *deepener) boundary(shallow []object.ID) Boundary {
	var b Boundary
	known := make(map[object.ID]struct{}, len(shallow))
	for _, id := range shallow {
		if _, twice := known[id]; twice {
			continue
		}
		known[id] = struct{}{}
		if i, ok := f.set.find(id.Bytes()); ok && *f.set.flag(i)&inner != 0 {
			b.Unshallow = append(b.Unshallow, id)
		}
	}
	for i := range uint32(f.set.len()) {
		if _, ok := known[f.set.id(i)]; *f.set.flag(i)&border != 0 && !ok {
			b.Shallow = append(b.Shallow, f.set.id(i))
		}
	}
	return b
}

func (f *deepener) add(id object.ID) (uint32, bool) {
	var raw [32]byte
	return f.set.add(id.Append(raw[:0]))
}

// infinite gives parents to all commits that the roots lead to.
func (f *deepener) infinite(d Deepening) error {
	reached, err := f.st.reached(f.ctx, d.Roots, d.Shallow, math.MaxInt)
	for _, id := range reached {
		i, _ := f.add(id)
		*f.set.flag(i) |= inner
	}
	return err
}

// levels walks away from where the depth counts from, one step at a time, so that the first visit of a commit is the
// one with the least depth.
func (f *deepener) levels(d Deepening) error {
	from, depth := d.Wants, d.Depth
	if len(d.Roots) > 0 {
		var err error
		if from, err = f.st.reached(f.ctx, d.Roots, d.Shallow, math.MaxInt); err != nil {
			return err
		}
		depth++
	}
	level, err := f.start(from)
	for ; err == nil && len(level) > 0 && depth > 1; depth-- {
		level, err = f.step(level)
	}
	for _, i := range level {
		*f.set.flag(i) |= border
	}
	return err
}

// start returns the numbers of the commits that ids stand for.
func (f *deepener) start(ids []object.ID) (level []uint32, err error) {
	for _, id := range ids {
		link, err := f.st.peel(id)
		if err != nil {
			return nil, err
		}
		if link.Type != object.Commit {
			continue
		}
		if i, isNew := f.add(link.ID); isNew {
			level = append(level, i)
		}
	}
	return level, nil
}

func (f *deepener) step(level []uint32) (next []uint32, err error) {
	w := walker{st: f.st}
	for _, i := range level {
		if err := f.ctx.Err(); err != nil {
			return nil, err
		}
		*f.set.flag(i) |= inner
		info, err := w.readCommit(f.set.id(i))
		if err != nil {
			return nil, err
		}
		for _, p := range info.Parents {
			if i, isNew := f.add(p); isNew {
				next = append(next, i)
			}
		}
	}
	return next, nil
}

// revisions walks as for a pack. On the border are the commits with a parent that is left out.
func (f *deepener) revisions(d Deepening) error {
	w := newWalker(f.ctx, f.st)
	w.graph = f.st.useBase()
	defer f.st.dropBase(w.graph)
	w.since = d.Since
	sel := Selection{Wants: d.Wants}
	for _, id := range d.Not {
		link, err := f.st.peel(id)
		if err != nil {
			return err
		}
		sel.Haves = append(sel.Haves, link.ID)
	}
	if err := w.start(sel); err != nil {
		return err
	}
	if err := w.walkCommits(); err != nil {
		return err
	}
	for _, n := range w.found {
		c := w.commits[n]
		if w.isExcluded(c.object) {
			continue
		}
		flag := uint8(inner)
		for _, p := range w.parents[c.firstPar:c.lastPar] {
			if w.isExcluded(p) {
				flag = border
			}
		}
		i, _ := f.add(w.set.id(c.object))
		*f.set.flag(i) |= flag
	}
	if f.set.len() == 0 {
		return ErrNoCommits
	}
	return nil
}

// peel returns what a tag leads to in the end, or the object itself.
func (st *repoState) peel(id object.ID) (object.Link, error) {
	loc, ok, err := st.lookup(id)
	if err == nil && !ok {
		err = fmt.Errorf("object %s: %w", id, ErrNotFound)
	}
	link := object.Link{ID: id, Type: loc.typ}
	for err == nil && link.Type == object.Tag {
		var data []byte
		if _, data, err = st.readObject(link.ID); err == nil {
			link, err = object.PeelTag(st.format, data)
		}
	}
	return link, err
}
