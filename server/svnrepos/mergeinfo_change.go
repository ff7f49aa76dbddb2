package svnrepos

import (
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svnfs"
)

// merges is the mergeinfo that a revision added and deleted.
type merges struct {
	added, deleted mergeinfo.Mergeinfo
}

func (m *merges) any() bool { return m != nil && len(m.added)+len(m.deleted) > 0 }

// mergesOf returns the mergeinfo that a revision added to the paths of histories, or deleted: their own, that of what is below
// them, and what they inherit. Those that are not there do not matter; nor does any if some is malformed. It is nil if there is
// none.
func (r *Repository) mergesOf(histories []*pathHistory, rev svn.Revnum) (*merges, error) {
	if rev == 0 {
		return nil, nil
	}
	changed, err := r.mergeinfoChanged(rev)
	if svn.CodeOf(err) == svn.ErrMergeinfoParseError || err == nil && len(changed) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	m := &merges{mergeinfo.Mergeinfo{}, mergeinfo.Mergeinfo{}}
	for _, h := range histories {
		if changed[h.path] != nil {
			continue
		}
		if err := r.inheritedMerges(m, root, h.path); err != nil {
			return nil, err
		}
	}
	for path, c := range changed {
		if slices.ContainsFunc(histories, func(h *pathHistory) bool { _, ok := svn.Rel(h.path, path); return ok }) {
			m.deleted.Merge(c.deleted)
			m.added.Merge(c.added)
		}
	}
	return m, nil
}

// inheritedMerges adds what changed of the mergeinfo that a path inherits.
func (r *Repository) inheritedMerges(m *merges, root *svnfs.Root, path string) error {
	before, err := r.predecessorOf(root, path)
	if err != nil {
		if code := svn.CodeOf(err); code == svn.ErrFSNotFound || code == svn.ErrFSNotDirectory {
			return nil
		}
		return err
	}
	prevRoot, err := r.FS.Root(before.rev)
	if err != nil {
		return err
	}
	prev, err := mergeinfoOf(prevRoot, before.path, Inherited)
	switch svn.CodeOf(err) {
	case svn.ErrFSNotFound, svn.ErrFSNotDirectory:
		return nil
	}
	if err != nil {
		return err
	}
	prevAbove, _, err := nearestMergeinfo(prevRoot, before.path, NearestAncestor)
	if err != nil {
		return err
	}
	now, err := mergeinfoOf(root, path, Inherited)
	if err != nil {
		return err
	}
	above, _, err := nearestMergeinfo(root, path, NearestAncestor)
	if err != nil {
		return err
	}
	// A copy that has the same parents as its source, and so inherits other paths than that, was not merged into.
	same := prevAbove == nil
	if prevAbove != nil && above != nil {
		same = mergeinfo.Equal(prevAbove, above, mergeinfo.ConsiderInheritance)
	}
	if same || prev == nil && now == nil {
		return nil
	}
	deleted, added := mergeinfo.Compare(prev, now, mergeinfo.IgnoreInheritance)
	m.deleted.Merge(deleted)
	m.added.Merge(added)
	return nil
}

// predecessorOf returns where a path of a revision was before it.
func (r *Repository) predecessorOf(root *svnfs.Root, path string) (location, error) {
	prev, err := r.before(location{path, root.Rev()})
	if err != nil {
		return location{}, err
	}
	if prev != nil && prev.appeared == root.Rev() {
		return prev.location, nil
	}
	return location{path, root.Rev() - 1}, nil
}

// mergeinfoChanged returns how a revision changed the mergeinfo of paths, by path. The error is svn.ErrMergeinfoParseError if some
// is malformed.
func (r *Repository) mergeinfoChanged(rev svn.Revnum) (map[string]*merges, error) {
	changes, err := r.FS.Changes(rev)
	if err != nil {
		return nil, err
	}
	interesting := func(c svn.Change) bool { return c.PropMod && c.MergeinfoMod && c.Action != svn.Deleted }
	if !slices.ContainsFunc(changes, interesting) {
		return nil, nil
	}
	copies := slices.ContainsFunc(changes, func(c svn.Change) bool { return c.Action == svn.Added || c.Action == svn.Replaced })
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	changed := map[string]*merges{}
	for _, c := range changes {
		if !interesting(c) {
			continue
		}
		m, err := r.mergeinfoChange(root, c, copies)
		if err != nil {
			return nil, err
		}
		if m != nil {
			changed[c.Path] = m
		}
	}
	return changed, nil
}

// mergeinfoChange returns how a change changed the mergeinfo of its path, nil if it did not.
func (r *Repository) mergeinfoChange(root *svnfs.Root, c svn.Change, copies bool) (*merges, error) {
	var base *location
	switch {
	case c.CopyFrom != nil:
		base = &location{c.CopyFrom.Path, c.CopyFrom.Rev}
	case c.Action != svn.Modified:
	case copies:
		before, err := r.predecessorOf(root, c.Path)
		if err != nil {
			return nil, err
		}
		base = &before
	default:
		base = &location{c.Path, root.Rev() - 1}
	}
	now, err := mergeinfoValue(root, c.Path)
	if err != nil {
		return nil, err
	}
	var before *string
	var baseRoot *svnfs.Root
	if base != nil {
		if baseRoot, err = r.FS.Root(base.rev); err != nil {
			return nil, err
		}
		if before, err = mergeinfoValue(baseRoot, base.path); err != nil {
			return nil, err
		}
	}
	if before == nil && now == nil || before != nil && now != nil && *before == *now {
		return nil, nil
	}
	from, err := valueOrInherited(before, baseRoot, base)
	if err != nil {
		return nil, err
	}
	to, err := valueOrInherited(now, root, &location{c.Path, root.Rev()})
	if err != nil {
		return nil, err
	}
	deleted, added := mergeinfo.Compare(from, to, mergeinfo.IgnoreInheritance)
	return &merges{added: added, deleted: deleted}, nil
}

// mergeinfoValue returns the property of a path, nil if it has none.
func mergeinfoValue(root *svnfs.Root, path string) (*string, error) {
	n, err := root.Node(path)
	if err != nil || !n.HasMergeinfo() {
		return nil, err
	}
	props, err := n.Props()
	if err != nil {
		return nil, err
	}
	value, ok := props[svn.PropMergeinfo]
	if !ok {
		return nil, nil
	}
	return &value, nil
}

// valueOrInherited reads a property; without one it is what the path inherits.
func valueOrInherited(value *string, root *svnfs.Root, at *location) (mergeinfo.Mergeinfo, error) {
	switch {
	case value != nil:
		return mergeinfo.Parse(*value)
	case at == nil:
		return nil, nil
	}
	return mergeinfoOf(root, at.path, Inherited)
}
