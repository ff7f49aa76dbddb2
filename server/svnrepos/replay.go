package svnrepos

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// Replay drives an editor with what a revision did: not with the shortest way from the tree before to the tree after, but
// with the recorded changes, so that copies are copies and replacements are replacements. Paths of the edit are relative
// to the repository's root.
//
// Only changes at or below basePath, absolute, are told, and those of the directories above it. The receiver is taken to have
// that tree from revision lowWater on; a copy from anywhere else, or from what the client may not read, is told as an addition
// of all that is in it. With sendDeltas there are texts and properties; without, only a sign that they changed: a text delta
// of no windows, and the removal of a property without a name.
//
// Replay calls neither Close nor Abort of the editor: that is for the caller, who knows what the edit is for.
//
// Source: Subversion's svn_repos.h (svn_repos_replay2).
func (r *Repository) Replay(ctx context.Context, rev, lowWater svn.Revnum, basePath string, sendDeltas bool, ed svn.Editor) error {
	root, err := r.FS.Root(rev)
	if err != nil {
		return err
	}
	if rev == 0 {
		return ed.SetTargetRevision(0)
	}
	p := &replay{
		repo: r, ctx: ctx, ed: ed, root: root, roots: rootCache{fs: r.FS},
		base: basePath, lowWater: lowWater, deltas: sendDeltas, changes: map[string]svn.Change{},
	}
	paths, err := p.relevant()
	if err != nil {
		return err
	}
	if err := ed.SetTargetRevision(rev); err != nil {
		return err
	}
	for _, path := range paths {
		if err := p.step(path); err != nil {
			return err
		}
	}
	return p.leave(func(replayDir) bool { return true })
}

type replay struct {
	repo     *Repository
	ctx      context.Context
	ed       svn.Editor
	root     *svnfs.Root
	roots    rootCache
	base     string
	lowWater svn.Revnum
	deltas   bool

	changes map[string]svn.Change // by relative path; what addTree has told of is removed
	dirs    []replayDir           // from the root down
	copies  []copyScope           // the copied directories that the walk is in, and those added within them
}

type replayDir struct {
	path string // relative
	dir  svn.DirEditor
}

// copyScope is a directory whose contents come from elsewhere.
type copyScope struct {
	path string        // relative
	from *svn.CopyFrom // nil for one added without history
}

// relevant reads the changes that the client may know and asks for, and returns their paths in the order of a walk.
func (p *replay) relevant() ([]string, error) {
	changes, err := p.repo.FS.Changes(p.root.Rev())
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, c := range changes {
		_, inside := svn.Rel(p.base, c.Path)
		_, above := svn.Rel(c.Path, p.base)
		if !inside && !above || !p.repo.readable(c.Path) {
			continue
		}
		rel := c.Path[1:]
		p.changes[rel] = c
		paths = append(paths, rel)
	}
	slices.SortFunc(paths, comparePaths)
	return paths, nil
}

// comparePaths orders paths so that all below a directory follow it at once.
func comparePaths(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a) || i == len(b):
		return cmp.Compare(len(a), len(b))
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return cmp.Compare(a[i], b[i])
}

// isBelow reports whether a relative path is below another one.
func isBelow(dir, path string) bool {
	return dir == "" && path != "" || strings.HasPrefix(path, dir) && len(path) > len(dir) && path[len(dir)] == '/'
}

// leave closes open directories, the innermost first, as long as done says so.
func (p *replay) leave(done func(replayDir) bool) error {
	for n := len(p.dirs); n > 0 && done(p.dirs[n-1]); n-- {
		last := p.dirs[n-1]
		p.dirs = p.dirs[:n-1]
		if err := last.dir.Close(); err != nil {
			return err
		}
	}
	return nil
}

// step walks to a changed path and tells of it.
func (p *replay) step(path string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	change, ok := p.changes[path]
	if !ok {
		return nil // addTree was here
	}
	if err := p.leave(func(o replayDir) bool { return !isBelow(o.path, path) }); err != nil {
		return err
	}
	for n := len(p.copies); n > 0 && !isBelow(p.copies[n-1].path, path); n-- {
		p.copies = p.copies[:n-1]
	}
	parent, err := p.enter(path)
	if err != nil {
		return err
	}
	dir, err := p.tell(parent, path, change)
	if err != nil || dir == nil {
		return err
	}
	p.dirs = append(p.dirs, replayDir{path, dir})
	return nil
}

// enter opens the directories down to that of path, and returns the innermost; nil for the root itself.
func (p *replay) enter(path string) (svn.DirEditor, error) {
	if path == "" {
		return nil, nil
	}
	if len(p.dirs) == 0 {
		dir, err := p.ed.OpenRoot(svn.InvalidRevnum)
		if err != nil {
			return nil, err
		}
		p.dirs = append(p.dirs, replayDir{"", dir})
	}
	for {
		last := p.dirs[len(p.dirs)-1]
		rest := path
		if last.path != "" {
			rest = path[len(last.path)+1:]
		}
		name, _, deeper := strings.Cut(rest, "/")
		if !deeper {
			return last.dir, nil
		}
		next := svn.Join(last.path, name)
		dir, err := last.dir.OpenDirectory(next, svn.InvalidRevnum)
		if err != nil {
			return nil, err
		}
		p.dirs = append(p.dirs, replayDir{next, dir})
	}
}

// replayed is a changed path in the editor.
type replayed struct {
	dir    svn.DirEditor  // nil for a file
	file   svn.FileEditor // nil for a directory
	source *svn.CopyFrom  // what its changes are relative to; nil for nothing
	whole  bool           // a copy told as an addition: all of it is to be sent, changed or not
}

// tell sends one change. It returns the directory, if it is one that remains, for what changed below it.
func (p *replay) tell(parent svn.DirEditor, path string, c svn.Change) (svn.DirEditor, error) {
	adds := c.Action == svn.Added || c.Action == svn.Replaced
	deletes := c.Action == svn.Deleted || c.Action == svn.Replaced
	if parent == nil && c.Action != svn.Modified {
		return nil, svn.Errorf(svn.ErrFSAlreadyExists, "Root directory already exists.")
	}
	if deletes && p.wasReadable(path) {
		if err := parent.DeleteEntry(path, svn.InvalidRevnum); err != nil {
			return nil, err
		}
	}
	if deletes && !adds {
		return nil, nil
	}
	node, err := nodeAt(p.root, "/"+path)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, svn.Errorf(svn.ErrFSNotFound, "Filesystem path '%s' is neither a file nor a directory", path)
	}
	var o replayed
	if adds {
		o, err = p.add(parent, path, c, node)
	} else {
		o, err = p.open(parent, path, node)
	}
	if err != nil {
		return nil, err
	}
	return o.dir, p.sendContents(o, c, node)
}

// wasReadable reports whether the client could read a path before it was deleted: under a copy, at the copy's source.
func (p *replay) wasReadable(path string) bool {
	if n := len(p.copies); n > 0 && p.copies[n-1].from != nil {
		return p.repo.readable(p.copies[n-1].sourceOf(path).Path)
	}
	return p.repo.readable("/" + path)
}

func (s copyScope) sourceOf(path string) *svn.CopyFrom {
	return &svn.CopyFrom{Path: svn.Join(s.from.Path, path[len(s.path)+1:]), Rev: s.from.Rev}
}

func (p *replay) add(parent svn.DirEditor, path string, c svn.Change, node *svnfs.Node) (o replayed, err error) {
	if o.source = c.CopyFrom; o.source != nil && !p.has(*o.source) {
		o.source, o.whole = nil, true
	}
	switch {
	case node.Kind() == svn.File:
		o.file, err = parent.AddFile(path, o.source)
		return o, err
	case o.whole:
		o.dir, err = p.addTree(parent, path, *c.CopyFrom)
	default:
		o.dir, err = parent.AddDirectory(path, o.source)
	}
	if o.source != nil || len(p.copies) > 0 {
		p.copies = append(p.copies, copyScope{path, o.source})
	}
	return o, err
}

// has reports whether the receiver has the source of a copy.
func (p *replay) has(from svn.CopyFrom) bool {
	_, inside := svn.Rel(p.base, from.Path)
	return inside && from.Rev >= p.lowWater && p.repo.readable(from.Path)
}

func (p *replay) open(parent svn.DirEditor, path string, node *svnfs.Node) (o replayed, err error) {
	switch {
	case parent == nil:
		o.dir, err = p.ed.OpenRoot(svn.InvalidRevnum)
	case node.Kind() == svn.Dir:
		o.dir, err = parent.OpenDirectory(path, svn.InvalidRevnum)
	default:
		o.file, err = parent.OpenFile(path, svn.InvalidRevnum)
	}
	switch n := len(p.copies); {
	case n == 0:
		o.source = &svn.CopyFrom{Path: "/" + path, Rev: p.root.Rev() - 1}
	case p.copies[n-1].from != nil:
		o.source = p.copies[n-1].sourceOf(path)
	}
	return o, err
}

// sendContents sends the properties and the text of a change, and closes a file.
func (p *replay) sendContents(o replayed, c svn.Change, node *svnfs.Node) error {
	props := c.PropMod || o.whole
	text := node.Kind() == svn.File && (c.TextMod || o.whole)
	var source *svnfs.Node
	if p.deltas && o.source != nil && (props || text) {
		root, err := p.roots.root(o.source.Rev)
		if err != nil {
			return err
		}
		if source, err = root.Node(o.source.Path); err != nil {
			return err
		}
	}
	var to propChanger = o.file
	if o.file == nil {
		to = o.dir
	}
	if props {
		if err := p.sendProps(to, o, source, node); err != nil {
			return err
		}
	}
	if text {
		if err := p.sendText(o.file, source, node); err != nil {
			return err
		}
	}
	if o.file == nil {
		return nil
	}
	return o.file.Close(hexMD5(node))
}

func (p *replay) sendProps(to propChanger, o replayed, source, node *svnfs.Node) error {
	switch {
	case !p.deltas:
		return to.ChangeProp("", nil)
	case o.whole && o.dir != nil:
		return nil // addTree sent them
	}
	return sendPropDiff(to, source, node)
}

func (p *replay) sendText(to svn.FileEditor, source, node *svnfs.Node) error {
	base := ""
	if source != nil {
		base = hexMD5(source)
	}
	h, err := to.ApplyTextDelta(base)
	if err != nil || h == nil {
		return err
	}
	if !p.deltas {
		return h.Close()
	}
	return streamText(h, source, node)
}
