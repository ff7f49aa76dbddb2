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
// of their names. What the client may not read is left out, and nothing is below it. Paths are absolute. The Dirent is valid
// during the call.
//
// Source: libsvn_repos/list.c.
func (r *Repository) List(ctx context.Context, req ListRequest, report func(path string, d *svn.Dirent) error) error {
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
	_, name := svn.Split(req.Path)
	if l.globs.match(name) {
		if err := l.node(req.Path, name, n); err != nil {
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
	report     func(path string, d *svn.Dirent) error
}

func (l *lister) node(path, name string, n *svnfs.Node) error {
	d, err := l.committers.dirent(n, l.fields)
	if err != nil {
		return err
	}
	d.Name = name
	return l.report(path, &d)
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
		sub := svn.Join(path, e.Name)
		if !l.all && !l.r.readable(sub) {
			continue
		}
		if match {
			d, err := l.committers.entry(e, l.fields)
			if err != nil {
				return err
			}
			if err := l.report(sub, &d); err != nil {
				return err
			}
		}
		if l.depth == svn.DepthInfinity && e.Kind == svn.Dir {
			child, err := l.r.FS.NodeByID(e.ID)
			if err != nil {
				return err
			}
			if err := l.below(sub, child); err != nil {
				return err
			}
		}
	}
	return nil
}
