package svnfs

import (
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

// slot finds where a path is, or would be: the directory, which exists, and what is there now, nil for nothing.
func (t *Txn) slot(path string) (parent string, name string, now *Node, err error) {
	if path == "/" {
		return "", "", t.Root().top(), nil
	}
	parent, name = svn.Split(path)
	dir, err := t.Root().Node(parent)
	if err != nil {
		if svn.CodeOf(err) == svn.ErrFSNotFound {
			err = t.Root().notFound(path)
		}
		return "", "", nil, err
	}
	if dir.Kind() != svn.Dir {
		return "", "", nil, t.Root().notDirectory(parent)
	}
	now, err = dir.Child(name)
	return parent, name, now, err
}

// checkName refuses names that Subversion refuses too.
func checkName(path string) error {
	if strings.ContainsAny(path, "\n") {
		return svn.Errorf(svn.ErrFSPathSyntax, "Invalid control character '0x0a' in path '%s'", strings.ReplaceAll(path, "\n", "\\012"))
	}
	if !utf8.ValidString(path) {
		return svn.Errorf(svn.ErrFSPathSyntax, "Path '%q' is not in UTF-8", path)
	}
	return nil
}

// MakeDir makes an empty directory.
func (t *Txn) MakeDir(path string) error { return t.make(path, svn.Dir) }

// MakeFile makes an empty file.
func (t *Txn) MakeFile(path string) error { return t.make(path, svn.File) }

func (t *Txn) make(path string, kind svn.Kind) error {
	if err := checkName(path); err != nil {
		return err
	}
	parent, name, now, err := t.slot(path)
	if err != nil {
		return err
	}
	if err := t.allowed(path, kind == svn.Dir); err != nil {
		return err
	}
	if now != nil {
		return svn.Errorf(svn.ErrFSAlreadyExists, "File already exists: filesystem '%s', transaction '%s', path '%s'",
			t.fs.UUID(), t.name, path)
	}
	dir, err := t.mutable(parent)
	if err != nil {
		return err
	}
	m := &mutable{rec: record{kind: kind, node: t.newNode(), copy: dir.rec.copy, created: svn.InvalidRevnum, path: path,
		copyRoot: svn.CopyFrom{Path: path, Rev: svn.InvalidRevnum}}}
	if kind == svn.File {
		m.rec.text = emptyText(t.fs.format)
	}
	dir.set(name, &change{Entry{Name: name, Kind: kind}, m})
	t.changed(path, svn.Change{Action: svn.Added, Kind: kind})
	return nil
}

// Delete removes a file, or a directory with all that is below.
func (t *Txn) Delete(path string) error {
	parent, name, now, err := t.slot(path)
	if err != nil {
		return err
	}
	switch {
	case path == "/":
		return svn.Errorf(svn.ErrFSRootDir, "The root directory cannot be deleted")
	case now == nil:
		return t.Root().notFound(path)
	}
	if err := t.allowed(path, true); err != nil {
		return err
	}
	dir, err := t.mutable(parent)
	if err != nil {
		return err
	}
	dir.set(name, &change{entry: Entry{Name: name}})
	t.forgetBelow(path, now)
	t.changed(path, svn.Change{Action: svn.Deleted, Kind: now.Kind()})
	return nil
}

// Copy puts a copy of what is at a path of a revision at another path, where it replaces what is there. It costs the same
// whatever is copied.
func (t *Txn) Copy(from *Root, fromPath, path string) error {
	return t.put(from, fromPath, path, func(src *record) *change {
		m := t.clone(src, path)
		m.rec.copy = t.newCopy()
		m.rec.copyFrom = &svn.CopyFrom{Path: fromPath, Rev: from.rev}
		m.rec.copyRoot = svn.CopyFrom{Path: path, Rev: svn.InvalidRevnum}
		return &change{Entry{Kind: src.kind}, m}
	})
}

// RevisionLink puts what is at a path of a revision at the same path, without any history of it.
func (t *Txn) RevisionLink(from *Root, path string) error {
	return t.put(from, path, path, func(src *record) *change {
		return &change{entry: Entry{Kind: src.kind, ID: src.id}}
	})
}

func (t *Txn) put(from *Root, fromPath, path string, change func(*record) *change) error {
	if from.txn != nil || from.fs != t.fs {
		return svn.Errorf(svn.ErrUnsupportedFeature, "Copy from mutable tree not currently supported")
	}
	if err := checkName(path); err != nil {
		return err
	}
	src, err := from.Node(fromPath)
	if err != nil {
		return err
	}
	parent, name, now, err := t.slot(path)
	if err != nil {
		return err
	}
	if err := t.allowed(path, true); err != nil {
		return err
	}
	if now != nil && now.ID() == src.ID() {
		return nil
	}
	if path == "/" {
		return svn.Errorf(svn.ErrFSRootDir, "The root directory cannot be replaced")
	}
	dir, err := t.mutable(parent)
	if err != nil {
		return err
	}
	action := svn.Added
	if now != nil {
		action = svn.Replaced
	}
	c := change(src.rec)
	c.entry.Name = name
	dir.set(name, c)
	t.forgetBelow(path, now)
	t.changed(path, svn.Change{Action: action, Kind: src.Kind(), CopyFrom: &svn.CopyFrom{Path: fromPath, Rev: from.rev}})
	return nil
}

// SetNodeProp sets a property of a node; nil removes it.
func (t *Txn) SetNodeProp(path, name string, value *string) error {
	n, err := t.Root().Node(path)
	if err != nil {
		return err
	}
	if err := t.allowed(path, false); err != nil {
		return err
	}
	m, err := t.mutable(path)
	if err != nil {
		return err
	}
	props, err := n.Props()
	if err != nil {
		return err
	}
	if m.props == nil {
		m.props = props.Clone()
	}
	m.props.Set(name, value)
	if name == svn.PropMergeinfo {
		m.rec.selfMergeinfo = value != nil
	}
	t.changed(path, svn.Change{Action: svn.Modified, Kind: m.rec.kind, PropMod: true, MergeinfoMod: name == svn.PropMergeinfo})
	return nil
}

// forgetBelow forgets the changes below a path where gone, nil for nothing, is no more. Below what the transaction had not changed
// there are none: to look for them each time would take a time that is quadratic in what is deleted.
func (t *Txn) forgetBelow(path string, gone *Node) {
	if gone == nil || gone.m == nil || gone.Kind() != svn.Dir {
		return
	}
	for p := range t.changes {
		if _, below := svn.Rel(path, p); below && p != path {
			delete(t.changes, p)
		}
	}
}

// changed records a change of a path, on top of those before.
func (t *Txn) changed(path string, c svn.Change) {
	c.Path = path
	old := t.changes[path]
	switch {
	case old == nil:
		t.changes[path] = &c
	case c.Action == svn.Modified:
		old.TextMod, old.PropMod = old.TextMod || c.TextMod, old.PropMod || c.PropMod
		old.MergeinfoMod = old.MergeinfoMod || c.MergeinfoMod
		return
	case c.Action == svn.Deleted && old.Action == svn.Added:
		delete(t.changes, path)
	case c.Action == svn.Deleted && old.Action == svn.Replaced:
		t.changes[path] = t.deleted[path]
	case c.Action == svn.Deleted:
		t.changes[path] = &c
	default:
		if old.Action == svn.Deleted || t.deleted[path] == nil {
			gone := svn.Change{Path: path, Action: svn.Deleted, Kind: old.Kind}
			t.deleted[path] = &gone
		}
		c.Action = svn.Replaced
		t.changes[path] = &c
	}
	if c.Action == svn.Replaced && t.deleted[path] == nil {
		t.deleted[path] = &svn.Change{Path: path, Action: svn.Deleted, Kind: c.Kind}
	}
}

// Changes returns what the transaction changes so far, sorted by path.
func (t *Txn) Changes() []svn.Change {
	list := make([]svn.Change, 0, len(t.changes))
	for _, c := range t.changes {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b svn.Change) int { return mergeinfo.ComparePaths(a.Path, b.Path) })
	return list
}
