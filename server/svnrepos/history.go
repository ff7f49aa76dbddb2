package svnrepos

import (
	"context"
	"slices"
	"strings"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// errUnreadable is what a client gets that asks for the history of what it may not read.
func errUnreadable() error {
	return svn.Errorf(svn.ErrAuthzUnreadable, "Unreadable path encountered; access denied")
}

// location is a path in a revision.
type location struct {
	path string
	rev  svn.Revnum
}

// previous is where a node was before a copy.
type previous struct {
	location
	appeared svn.Revnum // of the copy
}

// before finds the last copy that a node was part of, and where that copy found it; nil if it was never copied.
func (r *Repository) before(at location) (*previous, error) {
	root, err := r.FS.Root(at.rev)
	if err != nil {
		return nil, err
	}
	from, appeared, err := root.PrevLocation(at.path)
	if err != nil || from == nil {
		return nil, err
	}
	return &previous{location{from.Path, from.Rev}, appeared}, nil
}

// Locations returns where the node that is at a path in revision peg was in other revisions; those in which it was not are left
// out. Paths are absolute.
//
// Source: svn_repos_trace_node_locations.
func (r *Repository) Locations(ctx context.Context, path string, peg svn.Revnum, revs []svn.Revnum) (map[svn.Revnum]string, error) {
	if _, err := r.FS.Root(peg); err != nil {
		return nil, err
	}
	if !r.readable(path) {
		return nil, errUnreadable()
	}
	revs = slices.Clone(revs)
	slices.SortFunc(revs, func(a, b svn.Revnum) int { return int(b - a) })
	revs = slices.Compact(revs)
	at := location{path, peg}
	for len(revs) > 0 && revs[0] > peg {
		derived, err := r.derives(ctx, path, revs[0], peg)
		if err != nil {
			return nil, err
		}
		if derived {
			at.rev = revs[0]
			break
		}
		revs = revs[1:]
	}
	t := &tracer{r: r, ctx: ctx, revs: revs, found: map[svn.Revnum]string{}}
	if err := t.trace(at); err != nil {
		return nil, err
	}
	return t.found, nil
}

// derives reports whether what is at a path in a later revision was at the same path in an older one.
func (r *Repository) derives(ctx context.Context, path string, later, older svn.Revnum) (bool, error) {
	root, err := r.FS.Root(later)
	if err != nil {
		return false, err
	}
	h, err := root.History(path)
	if err != nil {
		return false, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if h, err = h.Prev(true); err != nil || h == nil {
			return false, err
		}
		if was, rev := h.Location(); rev <= older {
			return was == path, nil
		}
	}
}

// tracer follows a node back to revisions, which are sorted from the youngest.
type tracer struct {
	r     *Repository
	ctx   context.Context
	revs  []svn.Revnum
	found map[svn.Revnum]string
}

// take records a path for the revisions that are not older than one.
func (t *tracer) take(path string, since svn.Revnum) {
	for len(t.revs) > 0 && t.revs[0] >= since {
		t.found[t.revs[0]] = path
		t.revs = t.revs[1:]
	}
}

func (t *tracer) trace(at location) error {
	for len(t.revs) > 0 {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		prev, err := t.r.before(at)
		if err != nil {
			return err
		}
		if prev == nil {
			return t.sinceAdded(at)
		}
		t.take(at.path, prev.appeared)
		for len(t.revs) > 0 && t.revs[0] > prev.rev {
			t.revs = t.revs[1:] // between the copy and its source
		}
		if at = prev.location; !t.r.readable(at.path) {
			return nil
		}
	}
	return nil
}

// sinceAdded takes the revisions in which a node that was never copied was there.
func (t *tracer) sinceAdded(at location) error {
	root, err := t.r.FS.Root(at.rev)
	if err != nil {
		return err
	}
	n, err := root.Node(at.path)
	if err != nil {
		return err
	}
	for len(t.revs) > 0 {
		m, err := t.r.nodeOrNil(location{at.path, t.revs[0]})
		if err != nil || m == nil || n.Relation(m) == svnfs.Unrelated {
			return err
		}
		t.take(at.path, t.revs[0])
	}
	return nil
}

// nodeOrNil returns what is at a location, nil if there is nothing.
func (r *Repository) nodeOrNil(at location) (*svnfs.Node, error) {
	root, err := r.FS.Root(at.rev)
	if err != nil {
		return nil, err
	}
	if kind, err := root.Kind(at.path); err != nil || kind == svn.None {
		return nil, err
	}
	return root.Node(at.path)
}

// LocationSegment says that a node was at a path from one revision to another, or without a path that it was nowhere.
type LocationSegment struct {
	Start, End svn.Revnum // the older and the younger
	Path       string     // relative to the root
	HasPath    bool
}

// LocationSegments tells, from the youngest on, where the node that is at a path in revision peg was between start and the older
// end. Invalid revisions stand for the youngest, peg, and 0.
//
// Source: svn_repos_node_location_segments.
func (r *Repository) LocationSegments(ctx context.Context, path string, peg, start, end svn.Revnum, take func(LocationSegment) error) error {
	youngest := r.FS.Youngest()
	if !peg.Valid() {
		peg = youngest
	}
	if !start.Valid() {
		start = peg
	}
	end = max(end, 0)
	for _, c := range [...]struct{ rev, limit svn.Revnum }{{peg, youngest}, {start, peg}, {end, start}} {
		if c.rev > c.limit {
			return svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", c.rev)
		}
	}
	if !r.readable(path) {
		return errUnreadable()
	}
	crop := func(s LocationSegment) error {
		if s.Start > start || s.End < end {
			return nil
		}
		s.Start, s.End = max(s.Start, end), min(s.End, start)
		return take(s)
	}
	for at := (location{path, peg}); at.rev >= end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		prev, since, err := r.beginning(at)
		if err != nil {
			return err
		}
		if prev == nil {
			since = max(since, end)
		}
		if !r.readable(at.path) {
			return nil
		}
		if err := crop(LocationSegment{since, at.rev, strings.TrimPrefix(at.path, "/"), true}); err != nil || prev == nil {
			return err
		}
		if since-prev.rev > 1 {
			if err := crop(LocationSegment{Start: prev.rev + 1, End: since - 1}); err != nil {
				return err
			}
		}
		at = prev.location
	}
	return nil
}

// beginning returns since when a node was at its place, and where before, if it came by a copy.
func (r *Repository) beginning(at location) (*previous, svn.Revnum, error) {
	prev, err := r.before(at)
	if err != nil {
		return nil, 0, err
	}
	if prev != nil {
		return prev, prev.appeared, nil
	}
	root, err := r.FS.Root(at.rev)
	if err != nil {
		return nil, 0, err
	}
	n, err := root.Node(at.path)
	if err != nil {
		return nil, 0, err
	}
	return nil, n.OriginRev(), nil
}

// DeletedRev returns the revision up to end that first deleted what is at a path in revision peg, or replaced it;
// svn.InvalidRevnum if none did, or there is nothing at the path.
//
// Source: svn_repos_deleted_rev.
func (r *Repository) DeletedRev(ctx context.Context, path string, peg, end svn.Revnum) (svn.Revnum, error) {
	if !peg.Valid() {
		return svn.InvalidRevnum, svn.Errorf(svn.ErrFSNoSuchRevision, "Invalid start revision %d", peg)
	}
	if !end.Valid() {
		return svn.InvalidRevnum, svn.Errorf(svn.ErrFSNoSuchRevision, "Invalid end revision %d", end)
	}
	if !r.readable(path) {
		return svn.InvalidRevnum, errUnreadable()
	}
	there, gone := min(peg, end), max(peg, end)
	n, err := r.nodeOrNil(location{path, there})
	if err != nil || n == nil {
		return svn.InvalidRevnum, err
	}
	survives := func(rev svn.Revnum) (bool, error) { return r.survives(n, location{path, rev}, there) }
	if still, err := survives(gone); err != nil || still {
		return svn.InvalidRevnum, err
	}
	for gone-there > 1 {
		if err := ctx.Err(); err != nil {
			return svn.InvalidRevnum, err
		}
		mid := there + (gone-there)/2
		still, err := survives(mid)
		if err != nil {
			return svn.InvalidRevnum, err
		}
		if still {
			there = mid
		} else {
			gone = mid
		}
	}
	return gone, nil
}

// survives reports whether what is at a location is a node that was there since a revision: related, and not a later copy.
func (r *Repository) survives(n *svnfs.Node, at location, since svn.Revnum) (bool, error) {
	m, err := r.nodeOrNil(at)
	if err != nil || m == nil || n.Relation(m) == svnfs.Unrelated {
		return false, err
	}
	root, err := r.FS.Root(at.rev)
	if err != nil {
		return false, err
	}
	c, err := root.ClosestCopy(at.path)
	return err == nil && (c == nil || c.Rev <= since), err
}
