package svnfs

import (
	"maps"
	"slices"

	"holdfast/storage/svn"
)

// merge moves a directory that the transaction has changed from its ancestor, which is its base, onto source: what became of
// ancestor meanwhile. What source changed is taken over, unless the transaction changed it too; then only directories can be merged,
// entry by entry. The conflicts are Subversion's: see svn_fs_merge.
func (t *Txn) merge(path string, target *mutable, source, ancestor *record) error {
	if source.id == ancestor.id {
		return nil
	}
	if target.rec.kind != svn.Dir || source.kind != svn.Dir || ancestor.kind != svn.Dir {
		return conflict(path)
	}
	if err := t.mergeProps(path, target, source, ancestor); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(target.names))
	for _, name := range names {
		if err := t.mergeEntry(svn.Join(path, name), target, name, source, ancestor); err != nil {
			return err
		}
	}
	target.base = source
	target.rec.dir = source.dir
	target.rec.pred, target.rec.preds = source.id, source.preds+1
	if target.props == nil {
		target.rec.props, target.rec.selfMergeinfo = source.props, source.selfMergeinfo
	}
	return nil
}

func conflict(path string) error {
	return svn.Errorf(svn.ErrFSConflict, "Conflict at '%s'", path)
}

// mergeProps refuses changes of properties on both sides, and on this side if entries came or went on the other.
func (t *Txn) mergeProps(path string, target *mutable, source, ancestor *record) error {
	if source.props != ancestor.props {
		return conflict(path)
	}
	if target.props == nil {
		return nil
	}
	old, err := t.fs.nodeProps(ancestor.props)
	if err != nil {
		return err
	}
	if len(svn.PropDiff(old, target.props)) == 0 {
		return nil
	}
	same, err := t.fs.sameStructure(source, ancestor)
	if err == nil && !same {
		err = conflict(path)
	}
	return err
}

// sameStructure reports whether two directories have entries of the same names, each on the same branch of the same node.
func (f *FS) sameStructure(a, b *record) (bool, error) {
	x, err := f.entries(a)
	if err != nil {
		return false, err
	}
	y, err := f.entries(b)
	if err != nil || len(x) != len(y) {
		return false, err
	}
	for i := range x {
		if x[i].Name != y[i].Name {
			return false, nil
		}
		if x[i].ID == y[i].ID {
			continue
		}
		m, err := f.node(x[i].ID)
		if err != nil {
			return false, err
		}
		n, err := f.node(y[i].ID)
		if err != nil || m.node != n.node || m.copy != n.copy {
			return false, err
		}
	}
	return true, nil
}

// mergeEntry merges an entry that the transaction has changed.
func (t *Txn) mergeEntry(path string, target *mutable, name string, source, ancestor *record) error {
	a, hadA, err := t.fs.entry(ancestor, name)
	if err != nil {
		return err
	}
	s, hasS, err := t.fs.entry(source, name)
	if err != nil {
		return err
	}
	mine := target.names[name]
	switch {
	case hadA == hasS && a.ID == s.ID: // unchanged there
		return nil
	case !hadA && mine.gone(): // added and removed here
		delete(target.names, name)
		return nil
	case hadA && mine.m == nil && mine.entry.ID == a.ID: // unchanged here
		delete(target.names, name)
		return nil
	case !hadA || !hasS || mine.gone(), a.Kind == svn.File, s.Kind == svn.File, mine.entry.Kind == svn.File:
		return conflict(path)
	}
	old, err := t.fs.node(a.ID)
	if err != nil {
		return err
	}
	theirs, err := t.fs.node(s.ID)
	if err != nil {
		return err
	}
	if theirs.node != old.node || theirs.copy != old.copy || mine.m == nil || mine.m.rec.node != old.node || mine.m.rec.copy != old.copy {
		return conflict(path)
	}
	return t.merge(path, mine.m, theirs, old)
}
