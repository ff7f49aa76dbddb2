package svnrepos

import (
	"cmp"
	"context"
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svnfs"
)

// FileRev is a revision of a file, as it differs from the one that was reported before it; the first differs from an empty
// file without properties.
type FileRev struct {
	Path           string // absolute
	Rev            svn.Revnum
	RevProps       svn.Props // as far as the client may know them, unlike in Subversion
	MergedRevision bool      // it is of a file that was merged
	PropDiffs      []svn.PropChange
	HasDelta       bool // the text differs, or may: only then may windows be asked for
}

// FileRevs reports the revisions in which a file was changed, from start to end, and the last one before. For each, h returns what
// takes the windows of the text, nil if it wants none; it is not used after h is called again. With merged, the revisions that
// were merged into the file are among them, by number. From the young to the old, if start is younger, goes without merged ones
// only. Invalid revisions are the youngest.
//
// Source: svn_repos_get_file_revs2.
func (r *Repository) FileRevs(ctx context.Context, path string, start, end svn.Revnum, merged bool, h func(FileRev) (svn.WindowHandler, error)) error {
	if !start.Valid() {
		start = r.FS.Youngest()
	}
	if !end.Valid() {
		end = r.FS.Youngest()
	}
	if !r.readable(path) {
		return errUnreadable()
	}
	f := &fileRevs{ctx: ctx, r: r, merged: merged, handle: h, seen: map[location]bool{}}
	if end < start {
		if merged {
			return svn.Errorf(svn.ErrUnsupportedFeature, "Trying to use an unsupported feature")
		}
		return f.walk(path, end, start, func(at location) error { return f.send(fileRev{location: at}) })
	}
	main, err := f.find(path, start, end, false)
	if err != nil {
		return err
	}
	var others []fileRev
	if merged {
		if others, err = f.findMerged(main, start); err != nil {
			return err
		}
	}
	return f.sendAll(main, others)
}

// fileRev is a revision that is to be reported.
type fileRev struct {
	location
	merged bool
	merges mergeinfo.Mergeinfo // what was merged in it, or taken back
}

// fileRevs is a FileRevs under way.
type fileRevs struct {
	ctx    context.Context
	r      *Repository
	merged bool
	handle func(FileRev) (svn.WindowHandler, error)
	seen   map[location]bool

	last      *svnfs.Node // what was reported before
	lastPath  string
	lastProps svn.Props
}

// walk visits the places of a file's history, from the youngest on, down to the last that is not younger than oldest. It ends where
// the client may not read.
func (f *fileRevs) walk(path string, oldest, youngest svn.Revnum, visit func(location) error) error {
	root, err := f.r.FS.Root(youngest)
	if err != nil {
		return err
	}
	kind, err := root.Kind(path)
	if err != nil {
		return err
	}
	if kind != svn.File {
		return svn.Errorf(svn.ErrFSNotFile, "'%s' is not a file in revision %d", path, youngest)
	}
	at, err := root.History(path)
	if err != nil {
		return err
	}
	for {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		if at, err = at.Prev(true); err != nil || at == nil {
			return err
		}
		var place location
		place.path, place.rev = at.Location()
		if f.merged && f.seen[place] || !f.r.readable(place.path) {
			return nil
		}
		if err := visit(place); err != nil || place.rev <= oldest {
			return err
		}
	}
}

// find returns the revisions of a file, from the youngest on.
func (f *fileRevs) find(path string, oldest, youngest svn.Revnum, merged bool) (revs []fileRev, err error) {
	err = f.walk(path, oldest, youngest, func(at location) error {
		rev := fileRev{location: at, merged: merged}
		if f.merged {
			f.seen[at] = true
			var err error
			if rev.merges, err = f.r.mergedInto(at); err != nil {
				return err
			}
		}
		revs = append(revs, rev)
		return nil
	})
	return revs, err
}

// findMerged returns what was merged into revisions, and into those in turn, from the youngest on.
func (f *fileRevs) findMerged(into []fileRev, start svn.Revnum) (all []fileRev, err error) {
	for len(into) > 0 {
		var found []fileRev
		for _, rev := range into {
			for _, path := range rev.merges.Paths() {
				for _, span := range rev.merges[path] {
					revs, err := f.findSpan(path, span, start)
					if err != nil {
						return nil, err
					}
					found = append(found, revs...)
				}
			}
		}
		all = append(all, found...)
		into = found
	}
	slices.SortStableFunc(all, func(a, b fileRev) int { return cmp.Compare(b.rev, a.rev) })
	return all, nil
}

func (f *fileRevs) findSpan(path string, span mergeinfo.Range, start svn.Revnum) ([]fileRev, error) {
	if err := f.ctx.Err(); err != nil || span.End < start {
		return nil, err
	}
	root, err := f.r.FS.Root(span.End)
	if err != nil {
		return nil, err
	}
	if kind, err := root.Kind(path); err != nil || kind != svn.File {
		return nil, err
	}
	return f.find(path, span.Start, span.End, true)
}

// mergedInto returns the mergeinfo that a file got or lost in a revision, nil if none.
func (r *Repository) mergedInto(at location) (mergeinfo.Mergeinfo, error) {
	changes, err := r.FS.Changes(at.rev)
	if err != nil {
		return nil, err
	}
	affected := slices.ContainsFunc(changes, func(c svn.Change) bool {
		if !c.PropMod || !c.MergeinfoMod {
			return false
		}
		_, ok := svn.Rel(c.Path, at.path)
		return ok
	})
	if !affected {
		return nil, nil
	}
	root, err := r.FS.Root(at.rev)
	if err != nil {
		return nil, err
	}
	now, err := mergeinfoOf(root, at.path, Inherited)
	if err != nil {
		return nil, err
	}
	if root, err = r.FS.Root(at.rev - 1); err != nil {
		return nil, err
	}
	before, err := mergeinfoOf(root, at.path, Inherited)
	if err != nil {
		if svn.CodeOf(err) == svn.ErrFSNotFound {
			err = nil
		}
		return nil, err
	}
	deleted, changed := mergeinfo.Compare(before, now, mergeinfo.IgnoreInheritance)
	changed.Merge(deleted)
	return changed, nil
}

// sendAll reports revisions from the oldest on.
func (f *fileRevs) sendAll(main, others []fileRev) error {
	for len(main)+len(others) > 0 {
		from := &main
		if len(main) == 0 || len(others) > 0 && others[len(others)-1].rev < main[len(main)-1].rev {
			from = &others
		}
		last := len(*from) - 1
		if err := f.send((*from)[last]); err != nil {
			return err
		}
		*from = (*from)[:last]
	}
	return nil
}

func (f *fileRevs) send(rev fileRev) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	root, err := f.r.FS.Root(rev.rev)
	if err != nil {
		return err
	}
	n, err := root.Node(rev.path)
	if err != nil {
		return err
	}
	out := FileRev{Path: rev.path, Rev: rev.rev, MergedRevision: rev.merged}
	if out.RevProps, err = f.r.RevProps(rev.rev); err != nil {
		return err
	}
	props := f.lastProps
	if f.last == nil || !svnfs.SameProps(f.last, n) {
		if props, err = n.Props(); err != nil {
			return err
		}
		out.PropDiffs = svn.PropDiff(f.lastProps, props)
	}
	// Clients that want merged revisions rely on a delta wherever the path is another one.
	out.HasDelta = f.last == nil || f.merged && f.lastPath != rev.path || !svnfs.SameText(f.last, n)
	h, err := f.handle(out)
	if err != nil {
		return err
	}
	if out.HasDelta && h != nil {
		if err := streamText(h, f.last, n); err != nil {
			return err
		}
	}
	f.last, f.lastPath, f.lastProps = n, rev.path, props
	return nil
}
