package svnfs

import (
	"fmt"
	"strings"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// The git view is what `git clone` of a Subversion repository gets: branches and tags that a commit of a revision moves in the same
// transaction, so that they are journalled, mirrored and restored with it, and have the same ids for ever. Its rules are version 1;
// the fact that makes revision 0 says which a repository follows, and none means that it has no view.
//
//   - /trunk is refs/heads/trunk, a directory /branches/NAME is refs/heads/NAME, /tags/NAME is refs/tags/NAME. What a ref may not have in its
//     name is percent-encoded, and "%" too. /branches/trunk is not shown.
//   - As long as none of /trunk, /branches and /tags is a directory, the root is refs/heads/trunk.
//   - A revision that changes such a directory is a commit, with that revision's author, date and message, and a line that names the
//     path and revision. Its parent is the branch's commit before; of a branch that was copied from another, the source's commit
//     then, and one that was copied unchanged is that very commit.
//   - svn:executable and svn:special make executable files and symbolic links. Empty directories, and entries that git refuses to check
//     out (.git, say), are left out. Other properties are not shown.
const viewRules = 1

// viewDir is a directory that is shown as a branch or a tag.
type viewDir struct {
	path string
	id   ID // zero if it is not there
}

// viewer makes a revision's part of the view.
type viewer struct {
	b       *builder
	uuid    string
	props   svn.Props
	updates []storage.RefUpdate
	trees   map[ID]ID
	level   int // of the directory at hand
}

// viewUpdates adds the view's objects to those of a revision and returns the refs that move. old is the root directory before.
func (b *builder) viewUpdates(old *record, root ID, props svn.Props, uuid string) ([]storage.RefUpdate, error) {
	now, err := b.record(root)
	if err != nil {
		return nil, err
	}
	v := &b.view
	*v = viewer{b: b, uuid: uuid, props: props, trees: map[ID]ID{}}
	was, err := v.layout(old)
	if err != nil {
		return nil, err
	}
	is, err := v.layout(now)
	if err != nil {
		return nil, err
	}
	for _, dir := range [...]string{"branches", "tags"} {
		if err := v.moveAll(dir, was.dirs[dir], is.dirs[dir]); err != nil {
			return nil, err
		}
	}
	if was.trunk != is.trunk {
		err = v.move(trunkRef, was.trunk, is.trunk)
	}
	return v.updates, err
}

// layout is what of a root directory is shown.
type layout struct {
	trunk viewDir       // the zero value if there is none
	dirs  map[string]ID // of branches and tags, by name
}

func (v *viewer) layout(root *record) (l layout, err error) {
	l.dirs = map[string]ID{}
	for _, name := range [...]string{"branches", "tags", "trunk"} {
		if e, ok, err := v.b.entry(root, name); err != nil {
			return l, err
		} else if ok && e.Kind == svn.Dir {
			l.dirs[name] = e.ID
		}
	}
	switch id, ok := l.dirs["trunk"]; {
	case ok:
		l.trunk = viewDir{"/trunk", id}
	case len(l.dirs) == 0:
		l.trunk = viewDir{"/", root.id}
	}
	return l, nil
}

// moveAll makes the refs of a directory of branches or tags follow what is different in it.
func (v *viewer) moveAll(dir string, was, is ID) error {
	if was == is {
		return nil
	}
	before, err := v.listOf(was)
	if err != nil {
		return err
	}
	after, err := v.listOf(is)
	if err != nil {
		return err
	}
	for i, j := 0, 0; i < len(before) || j < len(after); {
		var name string
		var old, now ID
		if i < len(before) && (j == len(after) || before[i].Name <= after[j].Name) {
			name, old = before[i].Name, dirID(before[i])
			i++
		}
		if j < len(after) && (name == "" || after[j].Name == name) {
			name, now = after[j].Name, dirID(after[j])
			j++
		}
		path := "/" + dir + "/" + name
		if ref, ok := viewRefOf(path); ok && old != now {
			if err := v.move(ref, viewDir{path, old}, viewDir{path, now}); err != nil {
				return err
			}
		}
	}
	return nil
}

// listOf returns a directory's entries, none for the zero ID.
func (v *viewer) listOf(id ID) ([]Entry, error) {
	if id.IsZero() {
		return nil, nil
	}
	r, err := v.b.record(id)
	if err != nil {
		return nil, err
	}
	return v.b.entriesOf(r)
}

// dirID is the id of an entry that is a directory, else zero: a file is no branch.
func dirID(e Entry) ID {
	if e.Kind != svn.Dir {
		return ID{}
	}
	return e.ID
}

const trunkRef = "refs/heads/trunk"

// viewRefOf returns the ref that shows a path below /branches or /tags, or /trunk.
func viewRefOf(path string) (ref string, ok bool) {
	parts := strings.Split(path, "/")
	switch {
	case path == "/trunk":
		return trunkRef, true
	case len(parts) == 3 && parts[1] == "branches":
		ref = "refs/heads/" + refName(parts[2])
	case len(parts) == 3 && parts[1] == "tags":
		ref = "refs/tags/" + refName(parts[2])
	}
	return ref, ref != "" && path != "/branches/trunk" && storage.ValidRefName(ref) == nil
}

// refName makes a component of a ref of a name, a different one of each.
func refName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		bad := c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\%", c) >= 0 ||
			c == '.' && (i == 0 || i == len(name)-1 || name[i-1] == '.') || c == '@' && i+1 < len(name) && name[i+1] == '{' ||
			c == '.' && name[i:] == ".lock" || name == "@"
		if bad {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// move makes a ref follow its directory.
func (v *viewer) move(ref string, was, is viewDir) error {
	old, err := v.b.f.index.viewCommit(ref, v.b.rev-1)
	if err != nil {
		return err
	}
	update := storage.RefUpdate{Name: ref, Old: old}
	if !is.id.IsZero() {
		if update.New, err = v.commit(was, is, old); err != nil {
			return err
		}
	}
	if update.Old != update.New {
		v.updates = append(v.updates, update)
	}
	return nil
}

// commit returns the commit of a directory that was changed.
func (v *viewer) commit(was, is viewDir, old ID) (ID, error) {
	dir, err := v.b.record(is.id)
	if err != nil {
		return ID{}, err
	}
	parent, from, err := v.parent(was, is, dir, old)
	if err != nil {
		return ID{}, err
	}
	var parentTree ID
	if !parent.IsZero() {
		if parentTree, err = v.treeOf(parent); err != nil {
			return ID{}, err
		}
	}
	tree, err := v.tree(dir, from, parentTree)
	if err != nil {
		return ID{}, err
	}
	if tree.IsZero() {
		if tree, err = v.add(object.Tree, nil, ID{}); err != nil {
			return ID{}, err
		}
	}
	if parent != old && tree == parentTree {
		return parent, nil // an unchanged copy
	}
	message := fmt.Sprintf("%s\n\nsvn-revision: %s@%d %s\n", strings.TrimRight(v.props[svn.PropLog], "\n"), is.path, v.b.rev, v.uuid)
	props := v.props.Clone()
	props[svn.PropLog] = strings.TrimLeft(message, "\n")
	return v.add(object.Commit, commitObject(tree, parent, props, v.uuid), ID{})
}

// parent returns the commit that a directory's goes on from, and the directory that it shows; zero and nil if it begins anew.
func (v *viewer) parent(was, is viewDir, dir *record, old ID) (ID, *record, error) {
	if dir.created == v.b.rev && dir.copyFrom != nil {
		return v.source(dir.copyFrom)
	}
	if was.id.IsZero() || was.path != is.path || old.IsZero() {
		return ID{}, nil, nil
	}
	from, err := v.b.record(was.id)
	if err != nil || from.node != dir.node {
		return ID{}, nil, err
	}
	return old, from, nil
}

// source returns the commit of what a branch was copied from.
func (v *viewer) source(from *svn.CopyFrom) (ID, *record, error) {
	ref, ok := viewRefOf(from.Path)
	if !ok {
		return ID{}, nil, nil
	}
	commit, err := v.b.f.index.viewCommit(ref, from.Rev)
	if err != nil || commit.IsZero() {
		return ID{}, nil, err
	}
	root, err := v.b.f.Root(from.Rev)
	if err != nil {
		return ID{}, nil, err
	}
	n, err := root.Node(from.Path)
	if err != nil {
		return ID{}, nil, err
	}
	return commit, n.rec, nil
}

func (v *viewer) treeOf(commit ID) (ID, error) {
	_, data, err := v.b.f.repo.ReadObject(commit)
	if err != nil {
		return ID{}, err
	}
	c, err := object.ParseCommit(v.b.f.format, data)
	return c.Tree, err
}

// add adds an object of the view.
func (v *viewer) add(t object.Type, data []byte, base ID) (ID, error) {
	id := hashObject(v.b.f.format, t, data)
	return id, v.b.add(packObject{typ: t, id: id, data: data, base: base})
}
