package svnfs

import "holdfast/storage/svn"

// Copy is the destination of a copy.
type Copy struct {
	Path string
	Rev  svn.Revnum
}

// copyRootOf returns the youngest copy that one of the nodes on the way to a path is part of, the nearest one if two are of one
// revision.
func copyRootOf(steps []*Node) svn.CopyFrom {
	root := svn.CopyFrom{Rev: svn.InvalidRevnum}
	for _, n := range steps {
		if c := n.facts().copyRoot; c.Rev >= root.Rev {
			root = c
		}
	}
	return root
}

// ClosestCopy returns the destination of the innermost copy that a path of a revision is part of, nil if there is none.
func (r *Root) ClosestCopy(path string) (*Copy, error) {
	steps, err := r.walk(path)
	if err != nil {
		return nil, err
	}
	root := copyRootOf(steps)
	if root.Rev == 0 {
		return nil, nil
	}
	then, err := r.fs.Root(root.Rev)
	if err != nil {
		return nil, err
	}
	n, err := then.Node(path)
	switch svn.CodeOf(err) {
	case svn.ErrFSNotFound, svn.ErrFSNotDirectory:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// What was made at the path since has nothing to do with the copy; nor has what was made in it, in the same revision.
	if n.facts().node != steps[len(steps)-1].facts().node || n.CreatedRev() == root.Rev && n.facts().pred.IsZero() {
		return nil, nil
	}
	return &Copy{root.Path, root.Rev}, nil
}

// PrevLocation returns where a path was before the closest copy that it is part of, nil if there was none.
func (r *Root) PrevLocation(path string) (*svn.CopyFrom, svn.Revnum, error) {
	c, err := r.ClosestCopy(path)
	if err != nil || c == nil {
		return nil, svn.InvalidRevnum, err
	}
	root, err := r.fs.Root(c.Rev)
	if err != nil {
		return nil, svn.InvalidRevnum, err
	}
	n, err := root.Node(c.Path)
	if err != nil {
		return nil, svn.InvalidRevnum, err
	}
	from := n.CopyFrom()
	rest, ok := svn.Rel(c.Path, path)
	if from == nil || !ok {
		return nil, svn.InvalidRevnum, svn.Errorf(svn.ErrFSCorrupt, "the copy to '%s' in revision %d has no source", c.Path, c.Rev)
	}
	return &svn.CopyFrom{Path: svn.Join(from.Path, rest), Rev: from.Rev}, c.Rev, nil
}

// History is a place in the history of a node: a revision in which it was changed, and its path there.
type History struct {
	fs       *FS
	path     string
	rev      svn.Revnum
	reported bool // this place is one that Prev has returned

	hintPath string     // if the place is the destination of a copy: where to go on
	hintRev  svn.Revnum // svn.InvalidRevnum if there is none

	nextCopy svn.Revnum // no copy is between rev and this one; svn.InvalidRevnum if that is not known
	id       ID         // of the node-revision here, if nextCopy is known
}

// History returns where to begin: its first Prev is the youngest change at or before the root.
func (r *Root) History(path string) (*History, error) {
	if r.txn != nil {
		return nil, svn.Errorf(svn.ErrFSNotRevisionRoot, "not a revision root")
	}
	switch kind, err := r.Kind(path); {
	case err != nil:
		return nil, err
	case kind == svn.None:
		return nil, r.notFound(path)
	}
	return &History{fs: r.fs, path: path, rev: r.rev, hintRev: svn.InvalidRevnum, nextCopy: svn.InvalidRevnum}, nil
}

// Location returns the place.
func (h *History) Location() (path string, rev svn.Revnum) { return h.path, h.rev }

// Prev returns the change before, nil if there is none. Copies are changes too; with crossCopies, history goes on at their sources.
func (h *History) Prev(crossCopies bool) (*History, error) {
	if h.path == "/" { // it changes in every revision
		if h.reported && h.rev == 0 {
			return nil, nil
		}
		rev := h.rev
		if h.reported {
			rev--
		}
		return h.at("/", rev), nil
	}
	for {
		prev, err := h.step(crossCopies)
		if err != nil || prev == nil || prev.reported {
			return prev, err
		}
		h = prev
	}
}

// at returns a place that is to be reported.
func (h *History) at(path string, rev svn.Revnum) *History {
	return &History{fs: h.fs, path: path, rev: rev, reported: true, hintRev: svn.InvalidRevnum, nextCopy: svn.InvalidRevnum}
}

// linear goes to the predecessor where no copy is in between.
func (h *History) linear() (prev *History, done bool, err error) {
	n, err := h.fs.node(h.id)
	if err != nil || n.pred.IsZero() {
		return nil, true, err
	}
	pred, err := h.fs.node(n.pred)
	if err != nil || pred.created <= h.nextCopy {
		return nil, err != nil, err
	}
	prev = h.at(n.path, pred.created)
	prev.nextCopy, prev.id = h.nextCopy, n.pred
	return prev, true, nil
}

func (h *History) step(crossCopies bool) (*History, error) {
	if h.nextCopy.Valid() && h.rev > h.nextCopy && !h.id.IsZero() {
		if prev, done, err := h.linear(); done {
			return prev, err
		}
	}
	reported, path, rev := h.reported, h.path, h.rev
	if h.hintRev.Valid() {
		if !crossCopies {
			return nil, nil
		}
		reported, path, rev = false, h.hintPath, h.hintRev
	}
	root, err := h.fs.Root(rev)
	if err != nil {
		return nil, err
	}
	steps, err := root.walk(path)
	if err != nil {
		return nil, err
	}
	n := steps[len(steps)-1].rec
	var pred ID
	if rev == n.created {
		if !reported {
			return h.at(n.path, n.created), nil
		}
		if pred = n.pred; pred.IsZero() {
			return nil, nil
		}
		if n, err = h.fs.node(pred); err != nil {
			return nil, err
		}
	}
	return h.beyond(steps, n, pred, path, rev, reported)
}

// beyond goes to n, or to the copy that is between the place and it.
func (h *History) beyond(steps []*Node, n *record, pred ID, path string, rev svn.Revnum, reported bool) (*History, error) {
	c := copyRootOf(steps)
	if c.Rev <= n.created {
		prev := h.at(n.path, n.created)
		prev.nextCopy, prev.id = c.Rev, pred
		return prev, nil
	}
	root, err := h.fs.Root(c.Rev)
	if err != nil {
		return nil, err
	}
	dest, err := root.Node(c.Path)
	if err != nil {
		return nil, err
	}
	from := dest.CopyFrom()
	rest, ok := svn.Rel(dest.CreatedPath(), path)
	if !ok || from == nil {
		prev := h.at(n.path, n.created)
		prev.nextCopy, prev.id = c.Rev, pred
		return prev, nil
	}
	prev := h.at(path, c.Rev)
	prev.reported = !(c.Rev == rev && reported) // else it has just been reported
	prev.hintPath, prev.hintRev = svn.Join(from.Path, rest), from.Rev
	return prev, nil
}
