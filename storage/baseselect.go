package storage

import (
	"encoding/binary"
	"fmt"

	"holdfast/storage/graph"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// baseSelection is what a walk selects from the base pack. Commits in it are not walked: the walk collects those at which it
// enters the base pack, and the graph tells the rest.
type baseSelection struct {
	*basePack
	entered []uint32  // numbers in walker.set of commits of the base pack
	wanted  int       // how many of them the receiver is not known to have
	tags    []uint32  // places of tags that are wanted, and of those that they name
	places  graph.Set // all that is to be sent
	given   map[uint32]struct{}

	haves []uint32  // commits that the receiver has
	had   graph.Set // what they lead to, made when it is needed
}

// graphServes reports whether a selection can be answered from a graph: histories without a cut, and filters that do not look at
// paths.
func (sel Selection) graphServes() bool {
	return len(sel.Shallow) == 0 && len(sel.Unshallow) == 0 && len(sel.Boundary) == 0 &&
		sel.Filter.TreeDepth == 0 && len(sel.Filter.Sparse) == 0
}

// inBase returns the place of an object in the base pack, if the walk uses one.
func (w *walker) inBase(id object.ID) (place uint32, ok bool) {
	if w.base == nil {
		return 0, false
	}
	return w.base.Find(id)
}

// wantFromBase follows a wanted object that is in the base pack, and whatever tags lead on to, to one that is no tag.
func (w *walker) wantFromBase(place uint32) (next uint32) {
	b := w.base
	for b.Type(place) == object.Tag {
		b.tags = append(b.tags, place)
		b.given[place] = struct{}{}
		place, _ = b.Target(place)
	}
	return place
}

// enterBase reports whether a commit is in the base pack, and notes it.
func (w *walker) enterBase(i uint32) bool {
	if w.base == nil || *w.set.flag(i)&entered != 0 {
		return w.base != nil
	}
	if _, ok := w.base.Find(w.set.id(i)); !ok {
		return false
	}
	*w.set.flag(i) |= entered
	w.base.entered = append(w.base.entered, i)
	if !w.isExcluded(i) {
		w.base.wanted++
	}
	return true
}

// selectFromBase selects what the wanted ones of the entered commits lead to and the others do not, and returns the
// commits among it.
func (w *walker) selectFromBase() (commits []uint32) {
	b := w.base
	var wants []uint32
	for _, i := range b.entered {
		place, _ := b.Find(w.set.id(i))
		c, _ := b.Commit(place)
		if w.isExcluded(i) {
			b.haves = append(b.haves, c)
		} else {
			wants = append(wants, c)
		}
	}
	commits = b.Missing(wants, b.haves)
	b.places = graph.NewSet(b.Len())
	b.AddObjects(b.places, commits)
	return commits
}

// filterBase takes out what the filter leaves out.
func (w *walker) filterBase() {
	if w.filter.IsZero() {
		return
	}
	b := w.base
	for place, ok := b.places.Next(0); ok; place, ok = b.places.Next(place + 1) {
		if _, given := b.given[place]; !given && !w.filter.Passes(b.Type(place), b.Size(place)) {
			b.places.Remove(place)
		}
	}
}

// hasPlace reports whether the receiver has the object at a place, since a commit that it has leads to it.
func (b *baseSelection) hasPlace(place uint32) bool {
	if b.had == nil {
		b.had = graph.NewSet(b.Len())
		b.AddObjects(b.had, b.Ancestors(b.haves).Elements())
	}
	return b.had.Has(place)
}

// fewObjects is how many objects of the base pack are handled one by one, so that deltas can be made for them. More are
// copied by ranges.
const fewObjects = 500

// joinBase brings the two halves of a selection together: what the walk has met of the base pack goes to the places; if
// these are few, all of them go to the set. It reports whether the places still matter.
func (w *walker) joinBase(commits []uint32, thin bool) bool {
	b := w.base
	for _, place := range b.tags {
		b.places.Add(place)
	}
	for i := range uint32(w.set.len()) {
		place, ok := b.Find(w.set.id(i))
		if !ok {
			continue
		}
		if w.isExcluded(i) {
			b.places.Remove(place)
			continue
		}
		if *w.set.flag(i)&given != 0 {
			b.given[place] = struct{}{}
		}
		if *w.set.flag(i)&entered == 0 {
			b.places.Add(place)
		}
		*w.set.flag(i) |= excluded | moved
	}
	w.filterBase()
	if b.places.Len() > w.st.s.few {
		return true
	}
	for _, c := range commits {
		w.addPlace(b.Place(c), thin)
		b.Introduced(c, func(place uint32) { w.addPlace(place, thin) })
	}
	for place, ok := b.places.Next(0); ok; place, ok = b.places.Next(place + 1) {
		w.addPlace(place, thin)
	}
	if thin {
		w.addVersions()
	}
	return false
}

// maxHistory is how many commits of the receiver's are searched for versions of what is sent.
const maxHistory = 20_000

// addVersions adds, for each path at which something of the base pack is sent, the newest version that the receiver has: it is
// good to build a delta on.
func (w *walker) addVersions() {
	b := w.base
	paths := map[uint32]struct{}{}
	for place, ok := b.places.Next(0); ok; place, ok = b.places.Next(place + 1) {
		if path := b.Path(place); path != 0 {
			paths[path] = struct{}{}
		}
	}
	b.History(b.haves, maxHistory, func(place uint32) bool {
		path := b.Path(place)
		if _, ok := paths[path]; ok {
			delete(paths, path)
			w.addHad(place)
		}
		return len(paths) > 0
	})
}

// addHad adds the object at a place, which the receiver has, to the set, unless it is there.
func (w *walker) addHad(place uint32) {
	before := w.set.len()
	if i := w.add(w.base.ID(place)); int(i) == before {
		*w.set.flag(i) |= excluded
		*w.set.path(i) = w.base.Path(place)
	}
}

// addPlace adds the object at a place to the set, once, and the base of its delta if the receiver has that.
func (w *walker) addPlace(place uint32, thin bool) {
	b := w.base
	if !b.places.Has(place) {
		return
	}
	i := w.add(b.ID(place))
	if *w.set.flag(i)&joined != 0 {
		return
	}
	*w.set.flag(i) = *w.set.flag(i)&^(excluded|moved) | joined | given // the filter has seen it
	*w.set.path(i) = b.Path(place)
	base := b.Base(place)
	if !thin || base == graph.None || b.places.Has(base) || !b.hasPlace(base) {
		return
	}
	w.addHad(base)
}

// differ adds what a commit introduces: the entries of its tree that are in the tree of none of its parents. What stands in
// their place in a tree that the receiver has is good to build deltas on.
func (w *walker) differ(c commitNode) error {
	d := treeDiff{tree: c.tree, path: pack.RootPath}
	for _, p := range w.parents[c.firstPar:c.lastPar] {
		tree, err := w.treeOf(p)
		if err != nil {
			return err
		}
		if w.isExcluded(p) {
			*w.set.flag(tree) |= excluded
		}
		if tree == c.tree {
			return nil
		}
		d.old = append(d.old, oldTree{tree, w.isExcluded(p)})
	}
	seen := map[string]struct{}{}
	for stack := []treeDiff{d}; len(stack) > 0; {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		var err error
		if stack, err = w.differTree(d, stack, seen); err != nil {
			return fmt.Errorf("tree %s: %w", w.set.id(d.tree), err)
		}
	}
	return w.ctx.Err()
}

// treeDiff is a tree to compare with those of the parents at the same path; trees are numbers in walker.set.
type treeDiff struct {
	tree uint32
	old  []oldTree
	path pack.PathHash
}

type oldTree struct {
	tree uint32
	had  bool // the receiver has it
}

// key tells the comparison from others. That a tree was compared with another one before says nothing about what else is
// in it: what both had was left out.
func (d treeDiff) key() string {
	b := binary.BigEndian.AppendUint32(nil, d.tree)
	for _, old := range d.old {
		b = binary.BigEndian.AppendUint32(b, old.tree)
	}
	return string(b)
}

// treeOf returns the tree of a commit that was met.
func (w *walker) treeOf(commit uint32) (uint32, error) {
	if n, ok := w.byObject[commit]; ok {
		return w.commits[n].tree, nil
	}
	info, err := w.readCommit(w.set.id(commit))
	return w.add(info.Tree), err
}

// differTree compares one tree, and puts those below it on the stack that were not compared so for this commit.
func (w *walker) differTree(d treeDiff, stack []treeDiff, seen map[string]struct{}) ([]treeDiff, error) {
	data, err := w.readTree(d.tree)
	if err != nil {
		return stack, err
	}
	olds := make([][]byte, len(d.old))
	for i, old := range d.old {
		if olds[i], err = w.readTree(old.tree); err != nil {
			return stack, err
		}
	}
	err = object.NewTreeEntries(w.st.format, data, olds, func(e object.TreeEntry, before []object.ID) error {
		link, ok := e.Link()
		if !ok {
			return nil
		}
		next := treeDiff{path: d.path.Below(e.Name)}
		for i, id := range before {
			if id.IsZero() {
				continue
			}
			old := oldTree{w.add(id), d.old[i].had}
			if old.had {
				*w.set.flag(old.tree) |= excluded
				*w.set.path(old.tree) = uint32(next.path)
			}
			next.old = append(next.old, old)
		}
		if link.Type == object.Blob && w.filter.Omits(object.Blob) {
			return nil
		}
		next.tree = w.add(link.ID)
		*w.set.path(next.tree) = uint32(next.path)
		if link.Type != object.Tree || w.isExcluded(next.tree) || *w.set.flag(next.tree)&stacked != 0 {
			return nil
		}
		if len(next.old) == 0 {
			*w.set.flag(next.tree) |= stacked // all of it is added
		}
		key := next.key()
		if _, ok := seen[key]; !ok {
			seen[key] = struct{}{}
			stack = append(stack, next)
		}
		return nil
	})
	w.report(4096)
	return stack, err
}

func (w *walker) readTree(i uint32) ([]byte, error) {
	typ, data, err := w.st.readObject(w.set.id(i))
	if err == nil && typ != object.Tree {
		err = fmt.Errorf("%w: a %s", ErrWrongType, typ)
	}
	return data, err
}

// sends reports whether an object is to be sent.
func (w *walker) sends(id object.ID) bool {
	if place, ok := w.inBase(id); ok {
		return w.base.places.Has(place)
	}
	var raw [32]byte
	i, ok := w.set.find(id.Append(raw[:0]))
	return ok && !w.isExcluded(i)
}

// selectWithBase is the walk of a selection that uses the base pack. Only commits outside of it are walked.
func (w *walker) selectWithBase(sel Selection) (places bool, err error) {
	if err := w.start(sel); err != nil {
		return false, err
	}
	if err := w.walkCommits(); err != nil {
		return false, err
	}
	for _, n := range w.found {
		if c := w.commits[n]; !w.isExcluded(c.object) && w.wantsTrees() {
			if err := w.differ(c); err != nil {
				return false, err
			}
		}
	}
	if err := w.walkStack(0); err != nil {
		return false, err
	}
	commits := w.selectFromBase()
	if sel.IncludeTag {
		if err := w.includeTags(); err != nil {
			return false, err
		}
	}
	return w.joinBase(commits, sel.ThinPack), nil
}

// wantsTrees reports whether the filter lets anything pass that only trees lead to.
func (w *walker) wantsTrees() bool {
	return !w.filter.Omits(object.Tree) || !w.filter.Omits(object.Blob)
}
