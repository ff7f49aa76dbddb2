package svnrepos

import (
	"context"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svnfs"
)

// Inheritance says where to look for the mergeinfo of a path.
type Inheritance uint8

// The places to look.
const (
	Explicit        Inheritance = iota // the path itself
	Inherited                          // the path, then the directories above it
	NearestAncestor                    // the directories above it alone
)

// ParseInheritance reads the wire protocol's word; any that it does not know is Explicit, as in Subversion.
func ParseInheritance(word string) Inheritance {
	switch word {
	case "inherited":
		return Inherited
	case "nearest-ancestor":
		return NearestAncestor
	}
	return Explicit
}

// Mergeinfo returns what was merged into paths and, with descendants, into what is below them, in the form that the property has.
// Paths without mergeinfo, with malformed one, or that the client may not read are left out; it is an error if one is not there.
// An invalid revision is the youngest.
//
// Sources of merges are not hidden, as in Subversion: they are names alone.
func (r *Repository) Mergeinfo(ctx context.Context, paths []string, rev svn.Revnum, inherit Inheritance, descendants bool) (map[string]string, error) {
	if !rev.Valid() {
		rev = r.FS.Youngest()
	}
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !r.readable(path) {
			continue
		}
		m, err := mergeinfoOf(root, path, inherit)
		if err != nil {
			return nil, err
		}
		if m != nil {
			found[path] = m.String()
		}
		if !descendants {
			continue
		}
		n, err := root.Node(path)
		if err == nil {
			err = r.mergeinfoBelow(ctx, path, n, found)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// mergeinfoBelow adds the mergeinfo of what is below a node.
func (r *Repository) mergeinfoBelow(ctx context.Context, path string, n *svnfs.Node, found map[string]string) error {
	if n.Kind() != svn.Dir || !n.MergeinfoBelow() {
		return nil
	}
	entries, err := n.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		child, err := r.FS.NodeByID(e.ID)
		if err != nil {
			return err
		}
		sub := svn.Join(path, e.Name)
		if child.HasMergeinfo() && r.readable(sub) {
			m, err := ownMergeinfo(child, sub)
			if err != nil {
				return err
			}
			if m != nil {
				found[sub] = m.String()
			}
		}
		if err := r.mergeinfoBelow(ctx, sub, child, found); err != nil {
			return err
		}
	}
	return nil
}

// ownMergeinfo returns the mergeinfo that a node has itself, nil if it is malformed.
func ownMergeinfo(n *svnfs.Node, path string) (mergeinfo.Mergeinfo, error) {
	props, err := n.Props()
	if err != nil {
		return nil, err
	}
	value, ok := props[svn.PropMergeinfo]
	if !ok {
		return nil, svn.Errorf(svn.ErrFSCorrupt, "Node-revision '%s@%d' claims to have mergeinfo but doesn't", path, n.CreatedRev())
	}
	m, err := mergeinfo.Parse(value)
	if err != nil {
		return nil, nil
	}
	return m, nil
}

// nearestMergeinfo returns the mergeinfo of a path as the nearest node has it that has any, and the path from that node to this
// one. It is nil if there is none, or if it is malformed.
func nearestMergeinfo(root *svnfs.Root, path string, inherit Inheritance) (m mergeinfo.Mergeinfo, rel string, err error) {
	nodes, err := chain(root, path)
	if err != nil {
		return nil, "", err
	}
	at := path
	for i := len(nodes) - 1; i >= 0; i-- {
		self := i == len(nodes)-1
		if !self && inherit == Explicit {
			return nil, "", nil
		}
		if nodes[i].HasMergeinfo() && !(self && inherit == NearestAncestor) {
			m, err = ownMergeinfo(nodes[i], at)
			rel, _ = svn.Rel(at, path)
			return m, rel, err
		}
		at, _ = svn.Split(at)
	}
	return nil, "", nil
}

// mergeinfoOf returns the mergeinfo of a path. What is inherited is made into what it means for the path.
func mergeinfoOf(root *svnfs.Root, path string, inherit Inheritance) (mergeinfo.Mergeinfo, error) {
	m, rel, err := nearestMergeinfo(root, path, inherit)
	if err != nil || m == nil || rel == "" {
		return m, err
	}
	return m.Inheritable().Below(rel), nil
}
