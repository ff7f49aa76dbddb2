package storage

import (
	"container/heap"
	"context"
	"fmt"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
	"holdfast/storage/sparse"
)

// Selection says which objects WritePack sends: those that can be reached from Wants and not from Haves.
type Selection struct {
	Wants []object.ID // objects of any type
	Haves []object.ID // commits that the receiver has, with all that they lead to; those unknown here are ignored

	// Shallow are commits that the receiver has without their parents; what Haves lead to ends there. Those unknown here
	// are ignored.
	Shallow []object.ID
	// Unshallow are those of Shallow whose parents are wanted now. The receiver must have what their trees lead to.
	Unshallow []object.ID
	// Boundary are commits that the receiver is to have without their parents. See Repo.Deepen.
	Boundary []object.ID
	// Filter leaves out what a partial clone does without. Wants are sent whatever it says.
	Filter object.Filter

	// IncludeTag adds the annotated tags below refs/tags/ whose target is sent.
	IncludeTag bool
	// ThinPack lets deltas build on objects that are not sent, since the receiver has them.
	ThinPack bool
	// NoOfsDelta leaves out deltas that name their base by offset, for receivers that do not know them.
	NoOfsDelta bool
}

// A walker finds the objects of a Selection.
//
// Commits are walked newest first, those of Wants and Haves together, until only ancestors of Haves are left: which of
// those border on a wanted commit is then known. The trees of the bordering ones are excluded as a whole, then the trees
// of the wanted commits are walked. An object that is brought back from deeper in the past is sent once more than needed;
// none is ever left out that is needed.
type walker struct {
	ctx      context.Context
	st       *repoState
	progress func(stage string, done, total int64)

	base     *baseSelection // nil if what is in the base pack is walked like all else
	graph    *basePack      // nil if there is none; for commits
	set      *objectSet
	commits  []commitNode
	byObject map[uint32]uint32 // number in set -> index in commits
	parents  []uint32          // numbers in set, of all commits; see commitNode
	queue    commitQueue
	wanted   int      // commits in queue that are not excluded
	found    []uint32 // indexes in commits, of those that were popped as wanted
	stack    []treeAt // trees to walk
	seen     seenTrees
	reported int

	// cut are the commits that are taken to have no parents.
	cut map[object.ID]struct{}
	// since, if not 0, excludes commits that are older, in seconds since 1970, and their ancestors.
	since int64
	// aggressive excludes the trees of all haves: those on the border are few where most commits are cut off.
	aggressive bool
	filter     object.Filter
	sparse     *sparse.Patterns    // of filter; nil if there are none
	visits     map[treeVisit]int64 // where filter looks at paths: the least depth at which a tree was stacked
	revisits   int
}

// treeAt is a tree, by its number in walker.set, that was met at some path.
type treeAt struct {
	object uint32
	path   pathKey
	hash   pack.PathHash // of the path
	depth  int64         // steps from the root tree
	dir    sparse.Dir    // what walker.sparse has to say of the path
}

// commitNode is what the walk keeps of a commit. Numbers are those in walker.set.
type commitNode struct {
	object, tree      uint32
	firstPar, lastPar uint32 // where in walker.parents its parents are
	date              int64
	inQueue           bool
}

// The flags of an object in walker.set.
const (
	excluded = 1 << iota // the receiver has it
	stacked              // a tree that has been put on walker.stack
	given                // it is a want, or what a wanted tag leads to: no filter applies
	entered              // a commit that baseSelection.entered lists
	moved                // it is no object of the set any more, but one of baseSelection.places
	joined               // an object of the set that was one of baseSelection.places
)

// selectObjects runs the walk and returns the set of all objects met; those without the flag excluded are to be sent. With
// base, which may be nil, a large part of what is to be sent may be in places instead.
func (st *repoState) selectObjects(ctx context.Context, sel Selection, base *basePack,
	progress func(stage string, done, total int64)) (set *objectSet, places *baseSelection, err error) {
	w := newWalker(ctx, st)
	w.progress, w.filter, w.graph = progress, sel.Filter, base
	if base != nil && sel.graphServes() {
		w.base = &baseSelection{basePack: base, given: map[uint32]struct{}{}}
		large, err := w.selectWithBase(sel)
		if err != nil || !large {
			w.base.places = nil
		}
		w.report(1)
		if large {
			places = w.base
		}
		return w.set, places, err
	}
	if err := w.readSparse(); err != nil {
		return nil, nil, err
	}
	w.cutOff(sel.Shallow)
	w.cutOff(sel.Boundary)
	w.aggressive = len(w.cut) > 0
	if err := w.start(sel); err != nil {
		return nil, nil, err
	}
	if err := w.walkCommits(); err != nil {
		return nil, nil, err
	}
	if err := w.walkTrees(sel); err != nil {
		return nil, nil, err
	}
	if sel.IncludeTag {
		if err := w.includeTags(); err != nil {
			return nil, nil, err
		}
	}
	w.report(1)
	return w.set, nil, nil
}

func newWalker(ctx context.Context, st *repoState) *walker {
	return &walker{ctx: ctx, st: st, set: newObjectSet(st.format), byObject: map[uint32]uint32{},
		cut: map[object.ID]struct{}{}, visits: map[treeVisit]int64{}}
}

func (w *walker) cutOff(ids []object.ID) {
	for _, id := range ids {
		w.cut[id] = struct{}{}
	}
}

// start queues the selection's commits and stacks its trees.
func (w *walker) start(sel Selection) error {
	for _, id := range slices.Concat(sel.Haves, sel.Unshallow) {
		typ, err := w.typeOf(id)
		if err != nil {
			return err
		}
		if typ != object.Commit {
			continue
		}
		i := w.add(id)
		*w.set.flag(i) |= excluded
		if err := w.enqueue(i); err != nil {
			return err
		}
	}
	for _, id := range sel.Wants {
		if err := w.want(id); err != nil {
			return err
		}
	}
	for _, id := range sel.Unshallow {
		if err := w.wantParents(id); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) wantParents(id object.ID) error {
	info, err := w.readCommit(id)
	for _, p := range info.Parents {
		if err == nil {
			err = w.enqueue(w.add(p))
		}
	}
	return err
}

// typeOf returns the type of an object, 0 if there is none of that id.
func (w *walker) typeOf(id object.ID) (object.Type, error) {
	if place, ok := w.inBase(id); ok {
		return w.base.Type(place), nil
	}
	loc, ok, err := w.st.lookup(id)
	if !ok {
		return 0, err
	}
	return loc.typ, err
}

// want adds a wanted object: a tag with all that it leads to.
func (w *walker) want(id object.ID) error {
	if place, ok := w.inBase(id); ok {
		id = w.base.ID(w.wantFromBase(place))
	}
	typ, err := w.typeOf(id)
	if err != nil {
		return err
	}
	if typ == 0 {
		return fmt.Errorf("wanted object %s: %w", id, ErrNotFound)
	}
	next := object.Link{ID: id, Type: typ}
	for next.Type == object.Tag {
		w.give(next.ID)
		_, data, err := w.st.readObject(next.ID)
		if err != nil {
			return err
		}
		if next, err = object.PeelTag(w.st.format, data); err != nil {
			return err
		}
	}
	i := w.give(next.ID)
	switch next.Type {
	case object.Commit:
		return w.enqueue(i)
	case object.Tree:
		// Git counts the depth of a wanted tree's entries from 0.
		t := treeAt{object: i, path: wantedPath, depth: -1}
		if w.sparse != nil {
			t.dir = w.sparse.Alone()
		}
		w.push(t)
	}
	return nil
}

// wantedPath is no path of a commit's tree, whose entries are at other depths.
const wantedPath pathKey = 1

func (w *walker) give(id object.ID) uint32 {
	i := w.add(id)
	*w.set.flag(i) |= given
	return i
}

func (w *walker) add(id object.ID) uint32 {
	var raw [32]byte
	i, _ := w.set.add(id.Append(raw[:0]))
	return i
}

func (w *walker) isExcluded(i uint32) bool { return *w.set.flag(i)&excluded != 0 }

// enqueue reads a commit and adds it to the queue, unless that was done before.
func (w *walker) enqueue(i uint32) error {
	if _, ok := w.byObject[i]; ok || w.enterBase(i) {
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	info, err := w.readCommit(w.set.id(i))
	if err != nil {
		return err
	}
	c := commitNode{object: i, tree: w.add(info.Tree), firstPar: uint32(len(w.parents)), date: info.Time, inQueue: true}
	*w.set.path(c.tree) = uint32(pack.RootPath)
	if _, ok := w.cut[w.set.id(i)]; !ok {
		for _, p := range info.Parents {
			w.parents = append(w.parents, w.add(p))
		}
	}
	c.lastPar = uint32(len(w.parents))
	n := uint32(len(w.commits))
	w.commits = append(w.commits, c)
	w.byObject[i] = n
	heap.Push(&w.queue, queued{n, c.date})
	w.wanted++
	if w.isExcluded(i) {
		*w.set.flag(i) &^= excluded
		w.exclude(i)
	} else if w.since > 0 && c.date < w.since {
		w.exclude(i)
	}
	w.report(4096)
	return nil
}

func (w *walker) readCommit(id object.ID) (object.CommitInfo, error) {
	if w.graph != nil {
		if info, ok := w.graph.commitInfo(id); ok {
			return info, nil
		}
	}
	typ, data, err := w.st.readObject(id)
	if err == nil && typ != object.Commit {
		err = fmt.Errorf("%w: %s is a %s, not a commit", ErrWrongType, id, typ)
	}
	if err != nil {
		return object.CommitInfo{}, err
	}
	info, err := object.ParseCommit(w.st.format, data)
	if err != nil {
		err = fmt.Errorf("commit %s: %w", id, err)
	}
	return info, err
}

// exclude marks a commit, and its ancestors as far as they are known, as what the receiver has.
func (w *walker) exclude(i uint32) {
	for todo := []uint32{i}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if w.isExcluded(i) {
			continue
		}
		*w.set.flag(i) |= excluded
		if *w.set.flag(i)&entered != 0 {
			w.base.wanted--
		}
		n, ok := w.byObject[i]
		if !ok {
			continue
		}
		c := &w.commits[n]
		*w.set.flag(c.tree) |= excluded
		if c.inQueue {
			w.wanted--
		}
		todo = append(todo, w.parents[c.firstPar:c.lastPar]...)
	}
}

// slop is how many more excluded commits are looked at once no wanted ones are left: with clocks that were wrong, some
// of what was found may turn out to be excluded.
const slop = 16

// walkCommits pops commits, the newest first, until no wanted ones are left.
func (w *walker) walkCommits() error {
	left := slop
	oldest := int64(0)
	for w.queue.Len() > 0 {
		switch {
		case w.wanted > 0 || (len(w.found) > 0 && w.queue[0].date >= oldest):
			left = slop
		case w.base != nil && w.base.wanted > 0:
			// Which commits of the base pack the receiver has is known once all others were seen.
		default:
			left--
		}
		if left < 0 {
			break
		}
		n := heap.Pop(&w.queue).(queued).commit
		c := w.commits[n]
		w.commits[n].inQueue = false
		if !w.isExcluded(c.object) {
			w.wanted--
			w.found = append(w.found, n)
			oldest = c.date
		}
		for _, p := range w.parents[c.firstPar:c.lastPar] {
			if err := w.enqueue(p); err != nil {
				return err
			}
		}
	}
	w.queue = nil
	return nil
}

// maxAggressive bounds the haves whose trees are excluded though no wanted commit borders on them.
const maxAggressive = 256

// excludeHaves excludes the trees of the haves and of the commits that are to get parents.
func (w *walker) excludeHaves(sel Selection) error {
	if !w.aggressive {
		return nil
	}
	for _, id := range slices.Concat(sel.Unshallow, sel.Haves[:min(len(sel.Haves), maxAggressive)]) {
		var raw [32]byte
		if i, ok := w.set.find(id.Append(raw[:0])); ok && w.isExcluded(i) {
			if n, ok := w.byObject[i]; ok {
				w.push(treeAt{object: w.commits[n].tree, hash: pack.RootPath})
			}
		}
		if err := w.walkStack(excluded); err != nil {
			return err
		}
	}
	return nil
}

// walkTrees excludes the trees on the border, then adds those of the wanted commits.
func (w *walker) walkTrees(sel Selection) error {
	wantedTrees := w.stack
	w.stack = nil
	if err := w.excludeHaves(sel); err != nil {
		return err
	}
	for _, n := range w.found {
		c := w.commits[n]
		if w.isExcluded(c.object) {
			continue
		}
		for _, p := range w.parents[c.firstPar:c.lastPar] {
			if border, ok := w.byObject[p]; ok && w.isExcluded(p) {
				w.push(treeAt{object: w.commits[border].tree, hash: pack.RootPath})
			}
		}
		if err := w.walkStack(excluded); err != nil {
			return err
		}
	}
	w.stack = wantedTrees
	for _, n := range w.found {
		if c := w.commits[n]; w.wantsTrees() && !w.isExcluded(c.object) && !w.isExcluded(c.tree) {
			t := treeAt{object: c.tree, hash: pack.RootPath}
			if w.sparse != nil {
				t.dir = w.sparse.Root()
			}
			w.push(t)
			if err := w.walkStack(0); err != nil {
				return err
			}
		}
	}
	return w.walkStack(0)
}

// push stacks a tree, once; where paths count, again if it is nearer to the root, or at a path of which there is something else
// to say.
func (w *walker) push(t treeAt) {
	flag := w.set.flag(t.object)
	again := false
	if (w.filter.TreeDepth > 0 || w.sparse != nil) && *flag&excluded == 0 {
		again = w.visit(&t)
	}
	if *flag&stacked == 0 || again {
		*flag |= stacked
		w.stack = append(w.stack, t)
	}
}

// walkStack adds everything below the stacked trees, and gives it the flag.
func (w *walker) walkStack(flag uint8) error {
	for len(w.stack) > 0 {
		t := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if err := w.walkTree(t, flag); err != nil {
			return fmt.Errorf("tree %s: %w", w.set.id(t.object), err)
		}
	}
	return w.ctx.Err()
}

// walkTree adds a tree's entries. Those that the last tree at the same path had too are there already, which spares
// nearly all of the work: most trees differ from their neighbours in history by an entry or two.
func (w *walker) walkTree(t treeAt, flag uint8) error {
	*w.set.flag(t.object) |= flag
	if flag == 0 && w.beyond(t.depth+1) {
		return nil
	}
	data, err := w.readTree(t.object)
	if err != nil {
		return err
	}
	last := [][]byte{w.seen.swap(t.path.with(t.dir), data)}
	err = object.NewTreeEntries(w.st.format, data, last, func(e object.TreeEntry, _ []object.ID) error {
		w.addEntry(t, e, flag)
		return nil
	})
	w.report(4096)
	return err
}

func (w *walker) addEntry(t treeAt, entry object.TreeEntry, flag uint8) {
	link, ok := entry.Link()
	if !ok || flag == 0 && link.Type == object.Blob && w.filter.Omits(object.Blob) {
		return
	}
	if flag == 0 && link.Type == object.Blob && w.sparse != nil && !w.sparse.Has(t.dir, entry.Name) {
		return
	}
	i := w.add(link.ID)
	*w.set.flag(i) |= flag
	hash := t.hash.Below(entry.Name)
	*w.set.path(i) = uint32(hash)
	if link.Type == object.Tree && (flag != 0 || !w.isExcluded(i)) {
		next := treeAt{object: i, path: t.path.below(entry.Name), hash: hash, depth: t.depth + 1}
		if w.sparse != nil && flag == 0 {
			next.dir = w.sparse.Enter(t.dir, entry.Name)
		}
		w.push(next)
	}
}

// beyond reports whether the filter leaves out what is that many steps from the root tree.
func (w *walker) beyond(depth int64) bool {
	return w.filter.TreeDepth > 0 && depth >= w.filter.TreeDepth
}

// includeTags adds the annotated tags whose target is to be sent.
func (w *walker) includeTags() error {
	r := &Repo{s: w.st.s, id: w.st.id}
	const tags = "refs/tags/"
	for after := ""; ; {
		page, err := r.Refs(tags, after, 1000)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, ref := range page {
			if ref.Peeled.IsZero() {
				continue
			}
			if w.sends(ref.Peeled) {
				if err := w.want(ref.ID); err != nil {
					return err
				}
			}
		}
		after = page[len(page)-1].Name
	}
}

// report tells the progress if at least that many objects have come up since the last report.
func (w *walker) report(atLeast int) {
	if n := w.set.len(); w.progress != nil && n-w.reported >= atLeast {
		w.reported = n
		w.progress("counting objects", int64(n), 0)
	}
}

// queued is a commit in the queue.
type queued struct {
	commit uint32
	date   int64
}

// commitQueue is a heap.Interface with the newest commit first.
type commitQueue []queued

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].date > q[j].date }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push is for package heap.
func (q *commitQueue) Push(x any) { *q = append(*q, x.(queued)) }

// Pop is for package heap.
func (q *commitQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
