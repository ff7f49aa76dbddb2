package svnfs

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"holdfast/storage/svn"
)

// Root is the tree of a revision, or of a transaction as it is at the moment.
type Root struct {
	fs   *FS
	rev  svn.Revnum
	root *record // of a revision
	txn  *Txn    // of a transaction, else nil
}

// IsTxn reports whether it is the tree of a transaction.
func (r *Root) IsTxn() bool { return r.txn != nil }

// Rev returns the tree's revision; of a transaction, its base.
func (r *Root) Rev() svn.Revnum {
	if r.txn != nil {
		return r.txn.base
	}
	return r.rev
}

// FS returns the filesystem.
func (r *Root) FS() *FS { return r.fs }

// Txn returns the transaction, or nil.
func (r *Root) Txn() *Txn { return r.txn }

func (r *Root) top() *Node {
	if r.txn != nil {
		return &Node{fs: r.fs, m: r.txn.root}
	}
	return &Node{fs: r.fs, rec: r.root}
}

// Node returns what is at a path. If there is nothing, the error is svn.ErrFSNotFound, or svn.ErrFSNotDirectory below a file.
func (r *Root) Node(path string) (*Node, error) {
	steps, err := r.walk(path)
	if err != nil {
		return nil, err
	}
	return steps[len(steps)-1], nil
}

// walk returns the nodes from the root to a path.
func (r *Root) walk(path string) ([]*Node, error) {
	n := r.top()
	steps := []*Node{n}
	for at := 1; at < len(path); {
		end := strings.IndexByte(path[at:], '/')
		if end < 0 {
			end = len(path)
		} else {
			end += at
		}
		if n.Kind() != svn.Dir {
			return nil, r.notDirectory(path[:at-1])
		}
		child, err := n.Child(path[at:end])
		if err != nil {
			return nil, err
		}
		if child == nil {
			return nil, r.notFound(path)
		}
		n = child
		steps = append(steps, n)
		at = end + 1
	}
	return steps, nil
}

func (r *Root) notFound(path string) error {
	if r.txn != nil {
		return svn.Errorf(svn.ErrFSNotFound, "File not found: transaction '%s', path '%s'", r.txn.name, path)
	}
	return svn.Errorf(svn.ErrFSNotFound, "File not found: revision %d, path '%s'", r.rev, path)
}

func (r *Root) notDirectory(path string) error {
	cause := svn.Errorf(svn.ErrFSNotDirectory, "'%s' is not a directory in filesystem '%s'", path, r.fs.UUID())
	if r.txn != nil {
		return svn.Wrap(cause, svn.ErrFSNotDirectory, "Failure opening '%s' in transaction '%s'", path, r.txn.name)
	}
	return svn.Wrap(cause, svn.ErrFSNotDirectory, "Failure opening '%s' in revision %d", path, r.rev)
}

// Kind returns what is at a path, svn.None for nothing.
func (r *Root) Kind(path string) (svn.Kind, error) {
	n, err := r.Node(path)
	switch svn.CodeOf(err) {
	case svn.ErrFSNotFound, svn.ErrFSNotDirectory:
		return svn.None, nil
	}
	if err != nil {
		return svn.None, err
	}
	return n.Kind(), nil
}

// Node is a node-revision, or a node that a transaction has changed. That of a revision never changes.
type Node struct {
	fs  *FS
	rec *record // nil for one that a transaction has changed
	m   *mutable
}

// facts returns the node's record; of one that a transaction has changed, as it is now.
func (n *Node) facts() *record {
	if n.m != nil {
		return &n.m.rec
	}
	return n.rec
}

// ID returns the node-revision's id, zero for a node that a transaction has changed.
func (n *Node) ID() ID { return n.facts().id }

// Kind returns svn.File or svn.Dir.
func (n *Node) Kind() svn.Kind { return n.facts().kind }

// CreatedRev returns the revision that made this node-revision, svn.InvalidRevnum for a node that a transaction has changed. The root
// of a transaction that has changed nothing yet is still that of the revision it is based on.
func (n *Node) CreatedRev() svn.Revnum {
	if m := n.m; m != nil && m.rec.path == "/" && m.base != nil && m.names == nil && m.props == nil {
		return m.base.created
	}
	return n.facts().created
}

// CreatedPath returns the path at which this node-revision was made.
func (n *Node) CreatedPath() string { return n.facts().path }

// CopyFrom returns where the node was copied from, if this very node-revision is the root of a copy, else nil.
func (n *Node) CopyFrom() *svn.CopyFrom { return n.facts().copyFrom }

// OriginRev returns the revision in which the node, as its relatives know it, first came to be; svn.InvalidRevnum for one that a
// transaction has added.
func (n *Node) OriginRev() svn.Revnum { return n.facts().node.rev }

// Props returns the node's properties, which must not be changed.
func (n *Node) Props() (svn.Props, error) {
	if n.m != nil && n.m.props != nil {
		return n.m.props, nil
	}
	return n.fs.nodeProps(n.facts().props)
}

// HasProps reports whether the node has properties.
func (n *Node) HasProps() bool {
	if n.m != nil && n.m.props != nil {
		return len(n.m.props) > 0
	}
	return !n.facts().props.IsZero()
}

// HasMergeinfo reports whether the node has svn:mergeinfo.
func (n *Node) HasMergeinfo() bool { return n.facts().selfMergeinfo }

// MergeinfoBelow reports whether a node below this one has svn:mergeinfo.
func (n *Node) MergeinfoBelow() bool {
	if n.m != nil {
		count, err := n.m.mergeinfoBelow(n.fs)
		return err != nil || count > 0
	}
	below := n.rec.mergeinfo
	if n.rec.selfMergeinfo {
		below--
	}
	return below > 0
}

// Entries returns a directory's entries, sorted by name. They must not be changed.
func (n *Node) Entries() ([]Entry, error) {
	if n.Kind() != svn.Dir {
		return nil, svn.Errorf(svn.ErrFSNotDirectory, "Can't get entries of non-directory")
	}
	if n.m != nil {
		return n.m.entries(n.fs)
	}
	return n.fs.entries(n.rec)
}

// Child returns a directory's entry of a name, nil if there is none.
func (n *Node) Child(name string) (*Node, error) {
	if n.Kind() != svn.Dir {
		return nil, nil
	}
	if n.m != nil {
		return n.m.child(n.fs, name)
	}
	e, ok, err := n.fs.entry(n.rec, name)
	if err != nil || !ok {
		return nil, err
	}
	return n.fs.committed(e.ID)
}

// NodeByID returns a committed node-revision, such as that of an Entry.
func (f *FS) NodeByID(id ID) (*Node, error) { return f.committed(id) }

func (f *FS) committed(id ID) (*Node, error) {
	rec, err := f.node(id)
	if err != nil {
		return nil, err
	}
	return &Node{fs: f, rec: rec}, nil
}

// Size returns the length of a file's text.
func (n *Node) Size() int64 { return n.facts().text.size }

// MD5 returns the checksum of a file's text.
func (n *Node) MD5() [16]byte { return n.facts().text.md5 }

// SHA1 returns the checksum of a file's text.
func (n *Node) SHA1() [20]byte { return n.facts().text.sha1 }

// Open returns a file's text, as a stream of any length.
func (n *Node) Open() (io.ReadCloser, error) {
	if n.Kind() != svn.File {
		return nil, svn.Errorf(svn.ErrFSNotFile, "'%s' is not a file in filesystem '%s'", n.CreatedPath(), n.fs.UUID())
	}
	if n.m != nil && n.m.text != nil {
		return n.m.text.open(), nil
	}
	if n.facts().text.size == 0 { // that of a file which a transaction has made is nowhere yet
		return io.NopCloser(strings.NewReader("")), nil
	}
	if n.facts().text.size <= smallText { // which costs less than a stream, and may be in the cache
		_, data, err := n.fs.repo.ReadAgain(n.facts().text.blob)
		return sharedText{bytes.NewBuffer(data)}, err
	}
	_, _, r, err := n.fs.repo.OpenObject(n.facts().text.blob)
	return r, err
}

// sharedText is a text in memory that must not be changed. A bytes.Buffer, unlike a bytes.Reader, lets the bytes be had without a copy.
type sharedText struct{ *bytes.Buffer }

func (sharedText) Close() error { return nil }

// smallText is the size up to which a text is read as a whole.
const smallText = 512 << 10

// Predecessor returns the node-revision that this one was made from, nil if it is the first.
func (n *Node) Predecessor() (*Node, error) {
	if n.facts().pred.IsZero() {
		return nil, nil
	}
	return n.fs.committed(n.facts().pred)
}

// Relation is what two nodes are to each other.
type Relation uint8

// The relations.
const (
	Unrelated Relation = iota
	CommonAncestor
	Unchanged // the same node-revision
)

// Relation tells whether two nodes of one filesystem, and of one transaction at most, are related.
func (n *Node) Relation(m *Node) Relation {
	a, b := n.facts(), m.facts()
	switch {
	case a.node != b.node:
		return Unrelated
	case n.m == m.m && a.id == b.id:
		return Unchanged
	}
	return CommonAncestor
}

// SameText reports whether two files have the same text.
func SameText(a, b *Node) bool {
	x, y := a.facts().text, b.facts().text
	return x.size == y.size && x.sha1 == y.sha1 && x.md5 == y.md5
}

// SameProps reports whether two nodes have the same properties.
func SameProps(a, b *Node) bool {
	if a.m == nil && b.m == nil {
		return a.rec.props == b.rec.props
	}
	p, err := a.Props()
	q, err2 := b.Props()
	return err == nil && err2 == nil && len(svn.PropDiff(p, q)) == 0
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
}
