package svnrepos

import (
	"context"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// ListRequest says what List reports.
type ListRequest struct {
	Path     string
	Rev      svn.Revnum
	Patterns []string // globs of which a name must match one; nil matches all, and an empty list nothing
	Depth    svn.Depth
	Fields   DirentFields
}

// List reports what is at a path and, as deep as is asked for, below it: each directory before its entries, and those in the order
// of their names. What the client may not read is left out, and nothing is below it. A path is svn.Join of dir, absolute, and the
// Dirent's name. The Dirent is valid during the call.
//
// Source: libsvn_repos/list.c.
func (r *Repository) List(ctx context.Context, req ListRequest, report func(dir string, d *svn.Dirent) error) error {
	if req.Depth < svn.DepthEmpty {
		return svn.Errorf(svn.ErrReposBadArgs, "Invalid depth '%d' in svn_repos_list", req.Depth)
	}
	root, err := r.FS.Root(req.Rev)
	if err != nil {
		return err
	}
	if !r.readable(req.Path) {
		return nil
	}
	kind, err := root.Kind(req.Path)
	if err != nil {
		return err
	}
	if kind == svn.None {
		return svn.Errorf(svn.ErrFSNotFound, "Path '%s' not found", req.Path)
	}
	n, err := root.Node(req.Path)
	if err != nil || req.Patterns != nil && len(req.Patterns) == 0 {
		return err
	}
	l := &lister{
		ctx: ctx, r: r, all: r.readsAll(), depth: req.Depth, fields: req.Fields,
		globs: compileGlobs(req.Patterns), committers: committers{fs: r.FS}, report: report,
	}
	dir, name := svn.Split(req.Path)
	if l.globs.match(name) {
		if l.dirent, err = l.committers.dirent(n, l.fields); err != nil {
			return err
		}
		l.dirent.Name = name
		if err := l.report(dir, &l.dirent); err != nil {
			return err
		}
	}
	if kind == svn.File || req.Depth == svn.DepthEmpty {
		return nil
	}
	return l.below(req.Path, n)
}

// lister is a List under way.
type lister struct {
	ctx        context.Context
	r          *Repository
	all        bool // nothing is hidden
	depth      svn.Depth
	fields     DirentFields
	globs      globs
	committers committers
	report     func(dir string, d *svn.Dirent) error
	dirent     svn.Dirent // memory of what is reported
}

// below reports a directory's entries.
func (l *lister) below(path string, n *svnfs.Node) error {
	entries, err := n.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if e.Kind == svn.Dir && l.depth == svn.DepthFiles {
			continue
		}
		match := l.globs.match(e.Name)
		if !match && e.Kind == svn.File {
			continue
		}
		if !l.all && !l.r.readable(svn.Join(path, e.Name)) {
			continue
		}
		if match {
			if l.dirent, err = l.committers.entry(e, l.fields); err != nil {
				return err
			}
			if err := l.report(path, &l.dirent); err != nil {
				return err
			}
		}
		if l.depth == svn.DepthInfinity && e.Kind == svn.Dir {
			child, err := l.r.FS.NodeByID(e.ID)
			if err != nil {
				return err
			}
			if err := l.below(svn.Join(path, e.Name), child); err != nil {
				return err
			}
		}
	}
	return nil
}
