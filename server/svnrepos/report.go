package svnrepos

import (
	"context"
	"errors"

	"holdfast/storage/svn"
)

// ReportRequest says what a working copy is to be brought to.
type ReportRequest struct {
	Rev        svn.Revnum
	Anchor     string // absolute path of the session's directory, which the edit's root stands for
	Target     string // entry of Anchor that alone is updated; "" for all of Anchor
	SwitchPath string // absolute path that the target is switched to or compared with; "" for its own
	TextDeltas bool   // send the texts, not only which of them changed
	Depth      svn.Depth

	IgnoreAncestry bool // compare nodes of the same kind even if they have no history in common
	SendCopyFrom   bool // tell where added files were copied from
}

// Report takes a client's description of its working copy and then drives an editor with what makes that into the tree
// which a ReportRequest names. A working copy may mix revisions, depths and places: the report names its top and then, in
// the order of a walk from the top down, each path that is not as its parent would have it.
//
// What is equal is found by identity of nodes, so that equal subtrees cost nothing, whatever is in them. The report itself is
// spooled to disk once it is large. A Report is for one goroutine; Finish or Abort ends it.
//
// Source: Subversion's svn_ra.h (svn_ra_reporter3_t) and svn_repos.h (svn_repos_begin_report3).
type Report struct {
	repo *Repository
	req  ReportRequest
	ed   svn.Editor
	tree string // absolute path of what the target is brought to
	said spool
}

// BeginReport starts a report. The editor is driven by Finish alone.
func (r *Repository) BeginReport(req ReportRequest, ed svn.Editor) (*Report, error) {
	if req.Depth == svn.DepthExclude {
		return nil, svn.Errorf(svn.ErrReposBadArgs, "Request depth 'exclude' not supported")
	}
	tree := req.SwitchPath
	if tree == "" {
		tree = svn.Join(req.Anchor, req.Target)
	}
	return &Report{repo: r, req: req, ed: ed, tree: tree}, nil
}

// SetPath says that a path, relative to the target, is at revision rev; if startEmpty, with nothing in it yet. lockToken is
// the token of the client's lock, or "". A path of DepthExclude is not in the working copy and is not to be sent.
func (p *Report) SetPath(path string, rev svn.Revnum, depth svn.Depth, startEmpty bool, lockToken string) error {
	return p.add(pathInfo{path: path, rev: rev, depth: depth, startEmpty: startEmpty, lockToken: lockToken})
}

// LinkPath is SetPath for a path that is switched to another one: target, absolute.
func (p *Report) LinkPath(path, target string, rev svn.Revnum, depth svn.Depth, startEmpty bool, lockToken string) error {
	if depth == svn.DepthExclude {
		return svn.Errorf(svn.ErrReposBadArgs, "Depth 'exclude' not supported for link")
	}
	target, err := svn.Canonical(target)
	if err != nil {
		return err
	}
	return p.add(pathInfo{path: path, link: target, rev: rev, depth: depth, startEmpty: startEmpty, lockToken: lockToken})
}

// DeletePath says that a path, relative to the target, is missing from the working copy.
func (p *Report) DeletePath(path string) error {
	return p.add(pathInfo{path: path, rev: svn.InvalidRevnum, depth: svn.DepthInfinity})
}

func (p *Report) add(i pathInfo) error {
	if i.depth < svn.DepthExclude || i.depth > svn.DepthInfinity {
		return svn.Errorf(svn.ErrReposBadArgs, "Unsupported report depth '%s'", svn.DepthUnknown)
	}
	path, err := svn.Canonical(i.path)
	if err != nil {
		return err
	}
	// From here on paths are relative to the anchor, as those of the edit are.
	i.path = svn.Join(p.req.Target, path[1:])
	return p.said.add(i)
}

// Abort gives up.
func (p *Report) Abort() { p.said.close() }

// Finish drives the editor, up to its Close; if that fails, to its Abort. A report that makes no sense fails before the
// editor is touched.
func (p *Report) Finish(ctx context.Context) error {
	defer p.said.close()
	d, top, err := p.driver(ctx)
	if err != nil {
		return err
	}
	if err := d.drive(top); err != nil {
		if err2 := d.ed.Abort(); err2 != nil {
			return errors.Join(err, err2)
		}
		return err
	}
	return d.ed.Close()
}

// reportTop is what a report says of the target: the revision that the edit's root is at, and the target's own description.
type reportTop struct {
	base svn.Revnum
	info *pathInfo
}

// driver reads the head of the report.
func (p *Report) driver(ctx context.Context) (*reportDriver, reportTop, error) {
	infos, err := p.said.reader()
	if err != nil {
		return nil, reportTop{}, err
	}
	first := infos.next
	if first == nil || first.path != p.req.Target || first.link != "" || !first.rev.Valid() {
		return nil, reportTop{}, svn.Errorf(svn.ErrReposBadRevisionReport, "Invalid report for top level of working copy")
	}
	if err := infos.advance(); err != nil {
		return nil, reportTop{}, err
	}
	t := reportTop{first.rev, first}
	if second := infos.next; second != nil && second.path == p.req.Target {
		// The target is switched or deleted: the first description was only of the root's revision.
		if p.req.Target == "" {
			return nil, reportTop{}, svn.Errorf(svn.ErrReposBadRevisionReport, "Two top-level reports with no target")
		}
		if !second.rev.Valid() {
			second.depth = first.depth
		}
		t.info = second
		if err := infos.advance(); err != nil {
			return nil, reportTop{}, err
		}
	}
	root, err := p.repo.FS.Root(p.req.Rev)
	if err != nil {
		return nil, reportTop{}, err
	}
	d := &reportDriver{
		Report: p, ctx: ctx, infos: infos, root: root,
		roots: rootCache{fs: p.repo.FS}, facts: factCache{fs: p.repo.FS, uuid: p.repo.FS.UUID()},
	}
	return d, t, nil
}
