package svnrepos

import (
	"context"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// reportDriver turns a complete report into an edit.
type reportDriver struct {
	*Report
	ctx   context.Context
	infos *infoReader
	root  *svnfs.Root // the tree that the working copy is brought to
	roots rootCache   // those that it is at
	facts factCache
}

// reportPlace is where a node is, in a source or in the target. A source without a path is none: all is new.
type reportPlace struct {
	path string // absolute
	rev  svn.Revnum
	node *svnfs.Node // nil if there is none, or if a description will tell which
}

// reportStep is one step: what makes src into tgt, at a path of the edit.
type reportStep struct {
	src, tgt reportPlace
	path     string    // relative to the anchor; not that of src or tgt where the working copy is switched
	info     *pathInfo // what the report says of this path; nil if nothing
	wc       svn.Depth // how deep the working copy is here
	req      svn.Depth // how deep the client wants it
}

func (d *reportDriver) drive(t reportTop) error {
	tree := d.tree
	if d.req.Target != "" {
		tree, _ = svn.Split(d.tree)
	}
	if !d.repo.readable(tree) {
		return errUnreadableRoot()
	}
	e, err := d.top(t)
	if err != nil {
		return err
	}
	if err := d.ed.SetTargetRevision(d.req.Rev); err != nil {
		return err
	}
	dir, err := d.ed.OpenRoot(t.base)
	if err != nil {
		return err
	}
	if d.req.Target == "" {
		err = d.deltaDirs(dir, e)
	} else {
		err = d.update(dir, e)
	}
	if err != nil {
		return err
	}
	return dir.Close()
}

func errUnreadableRoot() error {
	return svn.Errorf(svn.ErrAuthzRootUnreadable, "Not authorized to open root of edit operation")
}

// top finds what the edit of the target begins with.
func (d *reportDriver) top(t reportTop) (e reportStep, err error) {
	e = reportStep{path: d.req.Target, info: t.info, wc: t.info.depth, req: d.req.Depth}
	e.src = reportPlace{path: svn.Join(d.req.Anchor, d.req.Target), rev: t.base}
	if e.tgt.path = d.tree; d.req.Target == "" && d.fromHidden(e) {
		return e, errUnreadableRoot()
	}
	if e.src.node, err = d.sourceNode(e.src); err != nil {
		return e, err
	}
	if e.tgt.node, err = nodeAt(d.root, d.tree); err != nil {
		return e, err
	}
	if e.src.node == nil && t.info.rev.Valid() && t.info.link == "" {
		e.src.path = "" // added locally, so that the repository has no source for it
	}
	switch {
	case d.req.Target != "":
	case e.tgt.node == nil:
		return e, svn.Errorf(svn.ErrFSPathSyntax, "Target path '%s' does not exist", d.tree)
	case !isDir(e.src.node), !isDir(e.tgt.node):
		return e, svn.Errorf(svn.ErrFSPathSyntax, "Cannot replace a directory from within")
	}
	return e, nil
}

func isDir(n *svnfs.Node) bool { return n != nil && n.Kind() == svn.Dir }

func (d *reportDriver) sourceNode(p reportPlace) (*svnfs.Node, error) {
	root, err := d.roots.root(p.rev)
	if err != nil {
		return nil, err
	}
	return nodeAt(root, p.path)
}

// update brings one entry of the directory parent to its target.
func (d *reportDriver) update(parent svn.DirEditor, e reportStep) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if err := d.follow(&e); err != nil {
		return err
	}
	related, hidden := unrelated, d.fromHidden(e)
	if !hidden {
		var err error
		if related, err = d.compare(e); err != nil || related == upToDate {
			return err
		}
	}
	if hidden || e.src.node != nil && related == unrelated {
		rev, err := d.deletedRev(e)
		if err != nil {
			return err
		}
		if err := parent.DeleteEntry(e.path, rev); err != nil {
			return err
		}
		e.src = reportPlace{rev: e.src.rev}
	}
	switch {
	case e.tgt.node == nil:
		return nil
	case !d.repo.readable(e.tgt.path):
		return sendAbsent(parent, e.path, e.tgt.node.Kind())
	case e.tgt.node.Kind() == svn.Dir:
		return d.updateDir(parent, e, related)
	}
	return d.updateFile(parent, e, related)
}

// follow applies to an edit what the report says of its path: another revision, another place, nothing there.
func (d *reportDriver) follow(e *reportStep) (err error) {
	if e.info == nil {
		return d.exists(e)
	}
	if e.info.link != "" && d.req.SwitchPath == "" {
		e.tgt.path = e.info.link
		if e.tgt.node, err = nodeAt(d.root, e.tgt.path); err != nil {
			return err
		}
	}
	if !e.info.rev.Valid() {
		e.src = reportPlace{rev: e.src.rev}
		return nil
	}
	if e.src.path == "" {
		return nil
	}
	if e.info.link != "" {
		e.src.path = e.info.link
	}
	e.src.rev = e.info.rev
	if e.src.node, err = d.sourceNode(e.src); err != nil {
		return err
	}
	return d.exists(e)
}

// fromHidden reports whether the working copy has something from elsewhere that the client may not read, or never could: who could
// compare that with what they may read would know what is in it. They get the target anew. Subversion does not look.
func (d *reportDriver) fromHidden(e reportStep) bool {
	return e.src.path != "" && e.src.path != e.tgt.path && !d.repo.readable(e.src.path)
}

// exists keeps a report from leading to where nothing is.
func (d *reportDriver) exists(e *reportStep) error {
	if e.src.path != "" && e.src.node == nil && !d.fromHidden(*e) {
		return svn.Errorf(svn.ErrFSNotFound, "Working copy path '%s' does not exist in repository", e.path)
	}
	return nil
}

// relation is how the source of an edit stands to its target.
type relation uint8

const (
	unrelated relation = iota // to be deleted and added
	related                   // to be changed
	upToDate                  // nothing to be done
)

func (d *reportDriver) compare(e reportStep) (relation, error) {
	s, t := e.src.node, e.tgt.node
	if s == nil || t == nil || s.Kind() != t.Kind() {
		return unrelated, nil
	}
	same := s.ID() == t.ID()
	kin := same || s.Relation(t) != svnfs.Unrelated
	if !same && kin && !d.req.IgnoreAncestry && t.Kind() == svn.File {
		var err error
		if same, err = pureCopies(s, t); err != nil {
			return unrelated, err
		}
	}
	if same && !d.infos.below(e.path) && (e.req <= e.wc || t.Kind() == svn.File) {
		keep, err := d.keep(e)
		if err != nil || keep {
			return upToDate, err
		}
	}
	if kin || d.req.IgnoreAncestry {
		return related, nil
	}
	return unrelated, nil
}

// pureCopies reports whether only copying made two related files different nodes. The client would take an edit of such a file, which
// changes nothing, for a conflict. A file that was changed and changed back is another matter: it has a new last change.
func pureCopies(s, t *svnfs.Node) (bool, error) {
	for s.ID() != t.ID() {
		young := &t
		if s.CreatedRev() > t.CreatedRev() {
			young = &s
		}
		pred, err := (*young).Predecessor()
		if err != nil || pred == nil || (*young).CopyFrom() == nil {
			return false, err
		}
		if !svnfs.SameText(*young, pred) || !svnfs.SameProps(*young, pred) {
			return false, nil
		}
		*young = pred
	}
	return true, nil
}

// keep reports whether an unchanged node needs no edit: the client has all of it, and its lock, if any, still holds.
func (d *reportDriver) keep(e reportStep) (bool, error) {
	switch {
	case e.info == nil:
		return true, nil
	case e.info.startEmpty:
		return false, nil
	case e.info.lockToken == "":
		return true, nil
	}
	return d.lockHolds(e.tgt.path, e.info.lockToken)
}

func (d *reportDriver) lockHolds(path, token string) (bool, error) {
	lock, err := d.repo.FS.Lock(path)
	if err != nil {
		return false, err
	}
	return lock != nil && lock.Token == token, nil
}

func (d *reportDriver) updateDir(parent svn.DirEditor, e reportStep, rel relation) error {
	var dir svn.DirEditor
	var err error
	if rel == related {
		dir, err = parent.OpenDirectory(e.path, e.src.rev)
	} else {
		dir, err = parent.AddDirectory(e.path, nil)
	}
	if err != nil {
		return err
	}
	if err := d.deltaDirs(dir, e); err != nil {
		return err
	}
	return dir.Close()
}

func (d *reportDriver) updateFile(parent svn.DirEditor, e reportStep, rel relation) error {
	var file svn.FileEditor
	var err error
	if rel == related {
		file, err = parent.OpenFile(e.path, e.src.rev)
	} else {
		var from *svn.CopyFrom
		if from, err = d.copyFrom(&e); err != nil {
			return err
		}
		file, err = parent.AddFile(e.path, from)
	}
	if err != nil {
		return err
	}
	token := ""
	if e.info != nil {
		token = e.info.lockToken
	}
	if err := d.sendProps(file, e.src.node, e.tgt, token); err != nil {
		return err
	}
	if err := sendText(file, e.src.node, e.tgt.node, d.req.TextDeltas); err != nil {
		return err
	}
	return file.Close(hexMD5(e.tgt.node))
}

// copyFrom finds the copy that an added file came by, if the client wants it and may see it, and makes it the source.
func (d *reportDriver) copyFrom(e *reportStep) (*svn.CopyFrom, error) {
	if !d.req.SendCopyFrom {
		return nil, nil
	}
	made, err := d.root.ClosestCopy(e.tgt.path)
	if err != nil || made == nil || made.Path != e.tgt.path {
		return nil, err
	}
	root, err := d.roots.root(made.Rev)
	if err != nil {
		return nil, err
	}
	copied, err := root.Node(made.Path)
	if err != nil {
		return nil, err
	}
	from := copied.CopyFrom()
	if from == nil || !d.repo.readable(from.Path) {
		return nil, nil
	}
	e.src = reportPlace{path: from.Path, rev: from.Rev}
	if e.src.node, err = d.sourceNode(e.src); err != nil {
		return nil, err
	}
	return from, d.exists(e)
}

// sendProps sends the properties of a target, those of its last change, and whether the client's lock is gone.
func (d *reportDriver) sendProps(to propChanger, src *svnfs.Node, tgt reportPlace, lockToken string) error {
	if err := d.facts.send(to, tgt.node, src != nil); err != nil {
		return err
	}
	if lockToken != "" {
		holds, err := d.lockHolds(tgt.path, lockToken)
		if err != nil {
			return err
		}
		if !holds {
			if err := to.ChangeProp(propEntryLockToken, nil); err != nil {
				return err
			}
		}
	}
	return sendPropDiff(to, src, tgt.node)
}

// deletedRev tells when the node that an edit replaces went. The client needs it to know the tree conflicts of what it deletes.
func (d *reportDriver) deletedRev(e reportStep) (svn.Revnum, error) {
	rev, err := d.roots.deletedRev(e.tgt.path, e.src.rev, d.req.Rev)
	if err == nil && !rev.Valid() && e.tgt.node != nil {
		rev = d.req.Rev - 1 // it is another node for another reason than a deletion: a switch, say
	}
	return rev, err
}
