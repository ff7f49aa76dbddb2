package svnrepos

import (
	"slices"
	"strings"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// listing is the entries of a directory that are still to be looked at. A nil one has none.
type listing struct {
	fs      *svnfs.FS
	dir     *svnfs.Node
	entries []svnfs.Entry       // sorted
	gone    map[string]struct{} // those that were looked at
}

func listDir(fs *svnfs.FS, dir *svnfs.Node) (*listing, error) {
	entries, err := dir.Entries()
	return &listing{fs: fs, dir: dir, entries: entries}, err
}

// node reads the node of an entry.
func (l *listing) node(e svnfs.Entry) (*svnfs.Node, error) {
	if e.ID.IsZero() {
		return l.dir.Child(e.Name) // a transaction has changed it
	}
	return l.fs.NodeByID(e.ID)
}

func (l *listing) get(name string) (svnfs.Entry, bool) {
	if l == nil {
		return svnfs.Entry{}, false
	}
	i, ok := slices.BinarySearchFunc(l.entries, name, func(e svnfs.Entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok || l.isGone(name) {
		return svnfs.Entry{}, false
	}
	return l.entries[i], true
}

func (l *listing) isGone(name string) bool {
	_, gone := l.gone[name]
	return gone
}

func (l *listing) remove(name string) {
	if l == nil {
		return
	}
	if l.gone == nil {
		l.gone = map[string]struct{}{}
	}
	l.gone[name] = struct{}{}
}

// depthBelow is the depth of a directory's entries.
func depthBelow(d svn.Depth) svn.Depth {
	if d == svn.DepthImmediates {
		return svn.DepthEmpty
	}
	return d
}

// deepens reports whether an entry is to be sent whole because the working copy did not have it for its depth's sake.
func deepens(wc, req svn.Depth, kind svn.Kind) bool {
	switch {
	case req == svn.DepthUnknown, req <= wc, wc == svn.DepthImmediates:
		return false
	case kind == svn.File:
		return wc != svn.DepthFiles
	}
	return wc != svn.DepthEmpty || req != svn.DepthFiles
}

// deltaDirs makes the directory src into tgt. The entries that the report names come first, each with the source that it
// names; then those that are gone are deleted, before any are added, so that a client whose file names have no case sees a
// rename by case come out right; then come all others.
func (d *reportDriver) deltaDirs(dir svn.DirEditor, e reportStep) error {
	src := e.src.node
	if e.info != nil && e.info.startEmpty {
		src = nil
	}
	if err := d.sendProps(dir, src, e.tgt, ""); err != nil {
		return err
	}
	if e.req == svn.DepthEmpty {
		return d.infos.skip(e.path)
	}
	var s *listing
	var err error
	if src != nil {
		if s, err = listDir(d.repo.FS, src); err != nil {
			return err
		}
	}
	t, err := listDir(d.repo.FS, e.tgt.node)
	if err != nil {
		return err
	}
	for {
		name, info, err := d.infos.take(e.path)
		if err != nil {
			return err
		}
		if name == "" {
			break
		}
		if err := d.reported(dir, e, s, t, name, info); err != nil {
			return err
		}
	}
	if err := d.deleteMissing(dir, e, s, t); err != nil {
		return err
	}
	return d.updateOthers(dir, e, s, t)
}

// reported handles an entry that the report has something to say of, or of something below it.
func (d *reportDriver) reported(dir svn.DirEditor, e reportStep, s, t *listing, name string, info *pathInfo) error {
	excluded := info != nil && info.depth == svn.DepthExclude
	if info != nil && !info.rev.Valid() && !excluded {
		s.remove(name) // it will be among those to be added
		return nil
	}
	from, inSource := s.get(name)
	to, inTarget := t.get(name)
	child := reportStep{path: svn.Join(e.path, name), info: info, wc: depthBelow(e.wc), req: depthBelow(e.req)}
	if info != nil {
		child.wc = info.depth
	}
	aDir := inTarget && to.Kind == svn.Dir || inSource && from.Kind == svn.Dir
	if !excluded && !(e.req == svn.DepthFiles && aDir) {
		if e.src.path != "" {
			child.src = reportPlace{path: svn.Join(e.src.path, name), rev: e.src.rev}
		}
		child.tgt.path = svn.Join(e.tgt.path, name)
		if err := d.loadChildren(&child, s, t, name); err != nil {
			return err
		}
		if err := d.update(dir, child); err != nil {
			return err
		}
	}
	t.remove(name)
	if !excluded || inTarget {
		s.remove(name)
	}
	// What was skipped, or is told of things below a file, must not stop the walk.
	return d.infos.skip(child.path)
}

// loadChildren reads the nodes of an entry; not the source's if the report names another.
func (d *reportDriver) loadChildren(child *reportStep, s, t *listing, name string) (err error) {
	if from, ok := s.get(name); ok && child.src.path != "" && (child.info == nil || !child.info.rev.Valid()) {
		if child.src.node, err = s.node(from); err != nil {
			return err
		}
	}
	if to, ok := t.get(name); ok {
		child.tgt.node, err = t.node(to)
	}
	return err
}

// deleteMissing deletes the entries of the source that the target has not.
func (d *reportDriver) deleteMissing(dir svn.DirEditor, e reportStep, s, t *listing) error {
	if s == nil {
		return nil
	}
	for _, from := range s.entries {
		if s.isGone(from.Name) {
			continue
		}
		if _, ok := t.get(from.Name); ok {
			continue
		}
		if from.Kind == svn.File && e.wc < svn.DepthFiles ||
			from.Kind == svn.Dir && (e.wc < svn.DepthImmediates || e.req == svn.DepthFiles) {
			continue
		}
		rev, err := d.roots.deletedRev(svn.Join(e.tgt.path, from.Name), e.src.rev, d.req.Rev)
		if err != nil {
			return err
		}
		if err := dir.DeleteEntry(svn.Join(e.path, from.Name), rev); err != nil {
			return err
		}
	}
	return nil
}

// updateOthers handles the entries of the target that the report did not name. It reads only those that differ.
func (d *reportDriver) updateOthers(dir svn.DirEditor, e reportStep, s, t *listing) error {
	for _, to := range t.entries {
		if t.isGone(to.Name) {
			continue
		}
		child := reportStep{wc: depthBelow(e.wc), req: depthBelow(e.req)}
		var from svnfs.Entry
		inSource := false
		if !deepens(e.wc, e.req, to.Kind) {
			if to.Kind == svn.File && e.req == svn.DepthUnknown && e.wc < svn.DepthFiles ||
				to.Kind == svn.Dir && (e.wc < svn.DepthImmediates || e.req == svn.DepthFiles) {
				continue
			}
			from, inSource = s.get(to.Name)
		}
		if inSource && from.ID == to.ID && (child.req <= child.wc || to.Kind == svn.File) {
			continue // no description is below it, or reported would have met it
		}
		child.path = svn.Join(e.path, to.Name)
		child.tgt.path = svn.Join(e.tgt.path, to.Name)
		var err error
		if inSource {
			child.src = reportPlace{path: svn.Join(e.src.path, to.Name), rev: e.src.rev}
			if child.src.node, err = s.node(from); err != nil {
				return err
			}
		}
		if child.tgt.node, err = t.node(to); err != nil {
			return err
		}
		if err := d.update(dir, child); err != nil {
			return err
		}
	}
	return nil
}
