package svnrepos

import (
	"context"
	"slices"
	"strings"
	"time"

	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// RevisionAccess says how much of a revision a client may know.
type RevisionAccess uint8

// The levels of access.
const (
	NoAccess      RevisionAccess = iota // it may read none of the changed paths
	PartialAccess                       // some of them; of the properties, it may know author and date
	FullAccess                          // all of them, or there are none
)

// RevisionAccess returns how much of a revision the client may know, by the paths that the revision changed and copied from.
func (r *Repository) RevisionAccess(rev svn.Revnum) (RevisionAccess, error) {
	if r.readsAll() {
		_, err := r.FS.Root(rev)
		return FullAccess, err
	}
	changes, err := r.FS.Changes(rev)
	if err != nil {
		return NoAccess, err
	}
	_, access := r.readableChanges(changes)
	return access, nil
}

// readsAll reports whether nothing is hidden from the client.
func (r *Repository) readsAll() bool { return r.allows("/", ReadTree) }

// readableChanges takes the changes out, in place, that the client may not read, and the sources of copies that it may not.
func (r *Repository) readableChanges(changes []svn.Change) ([]svn.Change, RevisionAccess) {
	if len(changes) == 0 {
		return changes, FullAccess
	}
	hidden := false
	changes = slices.DeleteFunc(changes, func(c svn.Change) bool {
		if r.readable(c.Path) {
			return false
		}
		hidden = true
		return true
	})
	for i := range changes {
		if c := &changes[i]; c.CopyFrom != nil && !r.readable(c.CopyFrom.Path) {
			hidden, c.CopyFrom = true, nil
		}
	}
	switch {
	case len(changes) == 0:
		return changes, NoAccess
	case hidden:
		return changes, PartialAccess
	}
	return changes, FullAccess
}

// RevProps returns a revision's properties, as far as the client may know them. The caller may change them.
func (r *Repository) RevProps(rev svn.Revnum) (svn.Props, error) {
	access, err := r.RevisionAccess(rev)
	if err != nil || access == NoAccess {
		return svn.Props{}, err
	}
	props, err := r.FS.RevProps(rev)
	if err != nil || access == FullAccess {
		return props, err
	}
	return censor(props), nil
}

// RevProp returns one of a revision's properties, nil if there is none that the client may know.
func (r *Repository) RevProp(rev svn.Revnum, name string) (*string, error) {
	props, err := r.RevProps(rev)
	if err != nil {
		return nil, err
	}
	value, ok := props[name]
	if !ok {
		return nil, nil
	}
	return &value, nil
}

// censor returns the properties that are left of a revision that is not wholly readable.
func censor(props svn.Props) svn.Props {
	left := svn.Props{}
	for _, name := range [...]string{svn.PropAuthor, svn.PropDate} {
		if value, ok := props[name]; ok {
			left[name] = value
		}
	}
	return left
}

// DatedRev returns the youngest revision that is not younger than a time.
func (r *Repository) DatedRev(t time.Time) (svn.Revnum, error) { return r.FS.DatedRev(t) }

// Committed says who made a node-revision, and when.
type Committed struct {
	Rev       svn.Revnum
	Date      string // empty if the revision has none
	Author    string
	HasAuthor bool
}

// CommittedInfo returns who made a node-revision, and when. It is not filtered, as in Subversion: who may read a node may know it.
func (r *Repository) CommittedInfo(n *svnfs.Node) (Committed, error) {
	return (&committers{fs: r.FS}).of(n)
}

// committers remembers the committed infos of nodes of one request, which share revisions.
type committers struct {
	fs   *svnfs.FS
	seen map[svn.Revnum]Committed
}

// maxCommitters bounds what a committers remembers.
const maxCommitters = 4096

func (c *committers) of(n *svnfs.Node) (Committed, error) {
	rev := n.CreatedRev()
	if info, ok := c.seen[rev]; ok {
		return info, nil
	}
	props, err := c.fs.RevProps(rev)
	if err != nil {
		return Committed{}, err
	}
	info := Committed{Rev: rev, Date: props[svn.PropDate]}
	info.Author, info.HasAuthor = props[svn.PropAuthor]
	if c.seen == nil || len(c.seen) >= maxCommitters {
		c.seen = map[svn.Revnum]Committed{}
	}
	c.seen[rev] = info
	return info, nil
}

// DirentFields says which fields of a svn.Dirent are wanted. The bits are those of Subversion's SVN_DIRENT_*.
type DirentFields uint32

// The fields.
const (
	DirentKind DirentFields = 1 << iota
	DirentSize
	DirentHasProps
	DirentCreatedRev
	DirentTime
	DirentAuthor

	DirentAll DirentFields = 1<<iota - 1

	direntCommitted = DirentCreatedRev | DirentTime | DirentAuthor
)

// dirent describes a node; the kind is always given.
func (c *committers) dirent(n *svnfs.Node, fields DirentFields) (svn.Dirent, error) {
	d := svn.Dirent{Kind: n.Kind()}
	if fields&DirentSize != 0 && d.Kind == svn.File {
		d.Size = n.Size()
	}
	if fields&DirentHasProps != 0 {
		d.HasProps = n.HasProps()
	}
	if fields&direntCommitted != 0 {
		info, err := c.of(n)
		if err != nil {
			return d, err
		}
		d.CreatedRev, d.Date, d.Author, d.HasAuthor = info.Rev, info.Date, info.Author, info.HasAuthor
	}
	return d, nil
}

// CheckPath returns what is at a path; what the client may not read is svn.None.
func (r *Repository) CheckPath(path string, rev svn.Revnum) (svn.Kind, error) {
	root, err := r.FS.Root(rev)
	if err != nil || !r.readable(path) {
		return svn.None, err
	}
	return root.Kind(path)
}

// Stat describes what is at a path; nil if there is nothing, or nothing that the client may read.
func (r *Repository) Stat(path string, rev svn.Revnum) (*svn.Dirent, error) {
	kind, err := r.CheckPath(path, rev)
	if err != nil || kind == svn.None {
		return nil, err
	}
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	n, err := root.Node(path)
	if err != nil {
		return nil, err
	}
	d, err := (&committers{fs: r.FS}).dirent(n, DirentAll)
	return &d, err
}

// DirEntries describes the entries of a directory that the client may read, sorted by name.
func (r *Repository) DirEntries(path string, rev svn.Revnum, fields DirentFields) ([]svn.Dirent, error) {
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	n, err := root.Node(path)
	if err != nil {
		return nil, err
	}
	entries, err := n.Entries()
	if err != nil {
		return nil, err
	}
	all, c := r.readsAll(), committers{fs: r.FS}
	dirents := make([]svn.Dirent, 0, len(entries))
	for _, e := range entries {
		if !all && !r.readable(svn.Join(path, e.Name)) {
			continue
		}
		d, err := c.entry(e, fields)
		if err != nil {
			return nil, err
		}
		dirents = append(dirents, d)
	}
	return dirents, nil
}

// entry describes a directory's entry. It does not open the node if the kind is all that is wanted.
func (c *committers) entry(e svnfs.Entry, fields DirentFields) (svn.Dirent, error) {
	if fields&^DirentKind == 0 {
		return svn.Dirent{Name: e.Name, Kind: e.Kind}, nil
	}
	n, err := c.fs.NodeByID(e.ID)
	if err != nil {
		return svn.Dirent{}, err
	}
	d, err := c.dirent(n, fields)
	d.Name = e.Name
	return d, err
}

// chain returns the nodes from the root to a path, both included. The error is that of Node.
func chain(root *svnfs.Root, path string) ([]*svnfs.Node, error) {
	n, err := root.Node("/")
	if err != nil {
		return nil, err
	}
	nodes := []*svnfs.Node{n}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			break
		}
		if n, err = n.Child(name); err != nil {
			return nil, err
		}
		if n == nil {
			_, err := root.Node(path)
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// InheritedProps are properties that a directory has for what is below it.
type InheritedProps struct {
	Path  string // relative to the root
	Props svn.Props
}

// InheritedProps returns the properties of the directories above a path, from the root down, without those that have none or that
// the client may not read. With a name, it looks for that property alone. The properties must not be changed.
func (r *Repository) InheritedProps(ctx context.Context, path string, rev svn.Revnum, name string) ([]InheritedProps, error) {
	if path == "/" {
		return nil, nil
	}
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	var inherited []InheritedProps
	at := "/"
	for segment := range strings.SplitSeq(path[1:], "/") {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.readable(at) {
			n, err := root.Node(at)
			if err != nil {
				return nil, err
			}
			props, err := n.Props()
			if err != nil {
				return nil, err
			}
			if name != "" {
				props = only(props, name)
			}
			if len(props) > 0 {
				inherited = append(inherited, InheritedProps{at[1:], props})
			}
		}
		at = svn.Join(at, segment)
	}
	return inherited, nil
}

func only(props svn.Props, name string) svn.Props {
	value, ok := props[name]
	if !ok {
		return nil
	}
	return svn.Props{name: value}
}
