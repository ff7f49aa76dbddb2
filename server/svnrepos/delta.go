package svnrepos

import (
	"context"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// DeltaOptions are the options of Delta.
type DeltaOptions struct {
	Depth          svn.Depth
	TextDeltas     bool // send the texts, not only which of them changed
	EntryProps     bool // send what is known of the revisions that nodes were made in
	IgnoreAncestry bool // compare nodes of the same kind even if they have no history in common
}

// Delta drives an editor with the shortest way from one tree to another, up to its Close. If entry is "", the directory
// from in the root src becomes to in tgt; otherwise that entry of from does. from and to are absolute; they, and the
// editor's root, stand at the directories that hold them. Unlike a report it knows of one source alone, and it tells no
// copies. On an error the editor is left as it is: Abort is for the caller.
//
// Source: Subversion's svn_repos.h (svn_repos_dir_delta2).
func (r *Repository) Delta(ctx context.Context, src *svnfs.Root, from, entry string, tgt *svnfs.Root, to string,
	ed svn.Editor, o DeltaOptions) error {
	if o.Depth == svn.DepthExclude {
		return svn.Errorf(svn.ErrReposBadArgs, "Delta depth 'exclude' not supported")
	}
	source, err := nodeAt(src, svn.Join(from, entry))
	if err != nil {
		return err
	}
	target, err := nodeAt(tgt, to)
	if err != nil {
		return err
	}
	if source == nil && target == nil {
		return ed.Close()
	}
	if entry == "" && (!isDir(source) || !isDir(target)) {
		return svn.Errorf(svn.ErrFSPathSyntax, "Invalid editor anchoring; at least one of the "+
			"input paths is not a directory and there was no source entry")
	}
	if err := ed.SetTargetRevision(tgt.Rev()); err != nil {
		return err
	}
	if source != nil && target != nil && source.Relation(target) == svnfs.Unchanged {
		return ed.Close()
	}
	d := &treeDelta{repo: r, ctx: ctx, o: o, facts: factCache{fs: r.FS, uuid: r.FS.UUID()}, rev: src.Rev()}
	if err := d.run(ed, entry, deltaStep{source, target, to, entry, o.Depth}); err != nil {
		return err
	}
	return ed.Close()
}

type treeDelta struct {
	repo  *Repository
	ctx   context.Context
	o     DeltaOptions
	facts factCache
	rev   svn.Revnum // of the source
}

// deltaStep is one node of a delta.
type deltaStep struct {
	src, tgt *svnfs.Node // nil for nothing
	path     string      // of tgt, absolute
	edit     string      // of the edit, relative
	depth    svn.Depth
}

func (d *treeDelta) run(ed svn.Editor, entry string, s deltaStep) error {
	anchor := s.path
	if entry != "" {
		anchor, _ = svn.Split(s.path)
	}
	if !d.repo.readable(anchor) {
		return svn.Errorf(svn.ErrAuthzRootUnreadable, "Unable to open root of edit")
	}
	dir, err := ed.OpenRoot(d.rev)
	if err != nil {
		return err
	}
	if entry == "" {
		err = d.dirs(dir, s)
	} else {
		err = d.one(dir, s)
	}
	if err != nil {
		return err
	}
	return dir.Close()
}

// one makes one entry of parent what it is in the target.
func (d *treeDelta) one(parent svn.DirEditor, s deltaStep) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if s.src != nil && s.tgt != nil {
		rel := s.src.Relation(s.tgt)
		if rel == svnfs.Unchanged {
			return nil
		}
		if s.src.Kind() == s.tgt.Kind() && (rel != svnfs.Unrelated || d.o.IgnoreAncestry) {
			return d.change(parent, s)
		}
	}
	if s.src != nil {
		if err := parent.DeleteEntry(s.edit, svn.InvalidRevnum); err != nil {
			return err
		}
		s.src = nil
	}
	if s.tgt == nil {
		return nil
	}
	return d.change(parent, s)
}

// change opens a node that has a source, or adds one that has not, and sends what is in it.
func (d *treeDelta) change(parent svn.DirEditor, s deltaStep) error {
	if !d.repo.readable(s.path) {
		return sendAbsent(parent, s.edit, s.tgt.Kind())
	}
	if s.tgt.Kind() == svn.Dir {
		return d.changeDir(parent, s)
	}
	var file svn.FileEditor
	var err error
	if s.src != nil {
		file, err = parent.OpenFile(s.edit, d.rev)
	} else {
		file, err = parent.AddFile(s.edit, nil)
	}
	if err != nil {
		return err
	}
	if err := d.props(file, s); err != nil {
		return err
	}
	if err := sendText(file, s.src, s.tgt, d.o.TextDeltas); err != nil {
		return err
	}
	return file.Close(hexMD5(s.tgt))
}

func (d *treeDelta) changeDir(parent svn.DirEditor, s deltaStep) error {
	var dir svn.DirEditor
	var err error
	if s.src != nil {
		dir, err = parent.OpenDirectory(s.edit, d.rev)
	} else {
		dir, err = parent.AddDirectory(s.edit, nil)
	}
	if err != nil {
		return err
	}
	if err := d.dirs(dir, s); err != nil {
		return err
	}
	return dir.Close()
}

func (d *treeDelta) props(to propChanger, s deltaStep) error {
	if d.o.EntryProps {
		if err := d.facts.send(to, s.tgt, s.src != nil); err != nil {
			return err
		}
	}
	return sendPropDiff(to, s.src, s.tgt)
}

// dirs compares two directories, the entries of the target first.
func (d *treeDelta) dirs(dir svn.DirEditor, s deltaStep) error {
	if err := d.props(dir, s); err != nil {
		return err
	}
	t, err := listDir(d.repo.FS, s.tgt)
	if err != nil {
		return err
	}
	var from *listing
	if s.src != nil {
		if from, err = listDir(d.repo.FS, s.src); err != nil {
			return err
		}
	}
	for _, e := range t.entries {
		old, ok := from.get(e.Name)
		from.remove(e.Name)
		kind := e.Kind
		if ok {
			kind = old.Kind
		}
		if ok && old.ID == e.ID && !e.ID.IsZero() || !deepEnough(s.depth, kind) {
			continue
		}
		child := deltaStep{path: svn.Join(s.path, e.Name), edit: svn.Join(s.edit, e.Name), depth: shallower(s.depth)}
		if child.tgt, err = t.node(e); err != nil {
			return err
		}
		if ok {
			if child.src, err = from.node(old); err != nil {
				return err
			}
		}
		if err := d.one(dir, child); err != nil {
			return err
		}
	}
	return d.deletes(dir, s, from)
}

// deletes deletes the entries that only the source has.
func (d *treeDelta) deletes(dir svn.DirEditor, s deltaStep, from *listing) error {
	if from == nil {
		return nil
	}
	for _, e := range from.entries {
		if from.isGone(e.Name) || !deepEnough(s.depth, e.Kind) {
			continue
		}
		if err := dir.DeleteEntry(svn.Join(s.edit, e.Name), svn.InvalidRevnum); err != nil {
			return err
		}
	}
	return nil
}

// deepEnough reports whether entries of a kind are within a depth.
func deepEnough(depth svn.Depth, kind svn.Kind) bool {
	return depth == svn.DepthInfinity || depth == svn.DepthImmediates || depth == svn.DepthFiles && kind != svn.Dir
}

// shallower is the depth of what is in a directory of that depth.
func shallower(d svn.Depth) svn.Depth {
	if d == svn.DepthInfinity {
		return d
	}
	return svn.DepthEmpty
}
