package svnfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

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

// viewRef is a directory that is shown as a branch or a tag.
type viewRef struct {
	ref  string
	path string
	id   ID // of the directory
}

// viewer makes a revision's part of the view.
type viewer struct {
	b       *builder
	uuid    string
	props   svn.Props
	updates []storage.RefUpdate
	trees   map[ID]ID
}

// viewUpdates adds the view's objects to those of a revision and returns the refs that move. old is the root directory before.
func (b *builder) viewUpdates(old *record, root ID, props svn.Props, uuid string) ([]storage.RefUpdate, error) {
	now, err := b.record(root)
	if err != nil {
		return nil, err
	}
	v := &b.view
	*v = viewer{b: b, uuid: uuid, props: props, trees: map[ID]ID{}}
	before, err := v.refs(old)
	if err != nil {
		return nil, err
	}
	after, err := v.refs(now)
	if err != nil {
		return nil, err
	}
	for _, name := range refNames(before, after) {
		was, is := before[name], after[name]
		if was == is {
			continue
		}
		if err := v.move(name, was, is); err != nil {
			return nil, err
		}
	}
	return v.updates, nil
}

func refNames(before, after map[string]viewRef) (names []string) {
	for name := range before {
		names = append(names, name)
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// refs returns what of a root directory is shown, by ref.
func (v *viewer) refs(root *record) (map[string]viewRef, error) {
	refs := map[string]viewRef{}
	laidOut := false
	for _, name := range [...]string{"branches", "tags", "trunk"} {
		e, ok, err := v.b.entry(root, name)
		if err != nil {
			return nil, err
		}
		if !ok || e.kind != svn.Dir {
			continue
		}
		laidOut = true
		if name == "trunk" {
			refs[trunkRef] = viewRef{trunkRef, "/trunk", e.id}
			continue
		}
		dir, err := v.b.record(e.id)
		if err != nil {
			return nil, err
		}
		entries, err := v.b.entriesOf(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if r, ok := viewRefOf("/" + name + "/" + e.name); ok && e.kind == svn.Dir {
				refs[r] = viewRef{r, "/" + name + "/" + e.name, e.id}
			}
		}
	}
	if !laidOut {
		refs[trunkRef] = viewRef{trunkRef, "/", root.id}
	}
	return refs, nil
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
func (v *viewer) move(ref string, was, is viewRef) error {
	old, err := v.b.f.viewCommit(ref, v.b.rev-1)
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
func (v *viewer) commit(was, is viewRef, old ID) (ID, error) {
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
func (v *viewer) parent(was, is viewRef, dir *record, old ID) (ID, *record, error) {
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
	commit, err := v.b.f.viewCommit(ref, from.Rev)
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

// gitEntry is an entry of a tree.
type gitEntry struct {
	mode uint32
	name string
	id   ID
}

// tree returns the git tree of a directory, the zero ID if there is nothing to be shown. old, if not nil, is one that oldTree shows: what
// is the same there is taken over.
func (v *viewer) tree(dir, old *record, oldTree ID) (ID, error) {
	if old != nil && old.id == dir.id && !oldTree.IsZero() {
		return oldTree, nil
	}
	if id, ok := v.trees[dir.id]; ok {
		return id, nil
	}
	if id, ok := v.b.f.viewTrees.get(dir.id); ok {
		return id, nil
	}
	entries, err := v.b.entriesOf(dir)
	if err != nil {
		return ID{}, err
	}
	before, shown, err := v.before(old, oldTree)
	if err != nil {
		return ID{}, err
	}
	var list []gitEntry
	for _, e := range entries {
		g, err := v.entry(e, before, shown)
		if err != nil {
			return ID{}, err
		}
		if !g.id.IsZero() {
			list = append(list, g)
		}
	}
	id := ID{}
	if len(list) > 0 {
		if id, err = v.add(object.Tree, encodeGitTree(list), oldTree); err != nil {
			return ID{}, err
		}
	}
	v.trees[dir.id] = id
	return id, nil
}

// before returns the entries of an older version of a directory, and of the tree that shows it, by name.
func (v *viewer) before(old *record, oldTree ID) (map[string]dirEntry, map[string]gitEntry, error) {
	if old == nil || oldTree.IsZero() {
		return nil, nil, nil
	}
	entries, err := v.b.entriesOf(old)
	if err != nil {
		return nil, nil, err
	}
	_, data, err := v.b.f.repo.ReadObject(oldTree)
	if err != nil {
		return nil, nil, err
	}
	before, shown := make(map[string]dirEntry, len(entries)), make(map[string]gitEntry, len(entries))
	for _, e := range entries {
		before[e.name] = e
	}
	for e, err := range object.TreeEntries(v.b.f.format, data) {
		if err != nil {
			return nil, nil, err
		}
		shown[string(e.Name)] = gitEntry{e.Mode, string(e.Name), e.ID}
	}
	return before, shown, nil
}

// entry returns how an entry is shown; not at all, with the zero ID.
func (v *viewer) entry(e dirEntry, before map[string]dirEntry, shown map[string]gitEntry) (gitEntry, error) {
	was, g := before[e.name], shown[e.name]
	if was.id == e.id && !e.id.IsZero() {
		return g, nil
	}
	n, err := v.b.record(e.id)
	if err != nil {
		return gitEntry{}, err
	}
	if e.kind == svn.Dir {
		var old *record
		if was.kind == svn.Dir && g.mode == object.ModeTree {
			if old, err = v.b.record(was.id); err != nil {
				return gitEntry{}, err
			}
		}
		id, err := v.tree(n, old, g.id)
		return v.allowed(gitEntry{object.ModeTree, e.name, id}), err
	}
	g, err = v.file(e.name, n)
	return v.allowed(g), err
}

// maxLink bounds the target of a symbolic link.
const maxLink = 4096

func (v *viewer) file(name string, n *record) (gitEntry, error) {
	g := gitEntry{object.ModeFile, name, n.text.blob}
	props, err := v.b.propsOf(n.props)
	if err != nil {
		return g, err
	}
	if _, ok := props["svn:executable"]; ok {
		g.mode = object.ModeExecutable
	}
	if _, ok := props["svn:special"]; !ok || n.text.size > maxLink {
		return g, nil
	}
	text, err := v.b.textOf(n.text.blob)
	if err != nil {
		return g, err
	}
	if target, ok := bytes.CutPrefix(text, []byte("link ")); ok && len(target) > 0 {
		g.mode = object.ModeSymlink
		g.id, err = v.add(object.Blob, target, ID{})
	}
	return g, err
}

// allowed returns an entry, or none if git would refuse it: a clone must not be in danger, nor a commit fail because of the view.
func (v *viewer) allowed(g gitEntry) gitEntry {
	if g.id.IsZero() {
		return g
	}
	ok := true
	check := object.Checker{Format: v.b.f.format, Special: func(s object.Special, id []byte) {
		text, err := v.b.textOf(object.NewID(v.b.f.format, id))
		ok = ok && err == nil && object.CheckSpecial(s, text) == nil
	}}
	if err := check.Check(object.Tree, encodeGitTree([]gitEntry{g})); err != nil || !ok {
		return gitEntry{}
	}
	return g
}

func encodeGitTree(list []gitEntry) (b []byte) {
	slices.SortFunc(list, func(x, y gitEntry) int { return cmp.Compare(gitOrder(x), gitOrder(y)) })
	for _, e := range list {
		b = appendTreeEntry(b, e.mode, e.name, e.id)
	}
	return b
}

// gitOrder is a name as git sorts it: a directory's ends in a slash.
func gitOrder(e gitEntry) string {
	if e.mode == object.ModeTree {
		return e.name + "/"
	}
	return e.name
}

// add adds an object of the view.
func (v *viewer) add(t object.Type, data []byte, base ID) (ID, error) {
	id := hashObject(v.b.f.format, t, data)
	return id, v.b.add(packObject{typ: t, id: id, data: data, base: base})
}

// record, entry, entriesOf, propsOf and textOf see what the builder has made as well as what is stored.

func (b *builder) record(id ID) (*record, error) {
	if r, ok := b.made[id]; ok {
		return r, nil
	}
	return b.f.node(id)
}

func (b *builder) entry(r *record, name string) (dirEntry, bool, error) {
	entries, err := b.entriesOf(r)
	if err != nil {
		return dirEntry{}, false, err
	}
	e, ok := find(entries, name)
	return e, ok, nil
}

func (b *builder) entriesOf(r *record) ([]dirEntry, error) {
	if r.dir.buckets == nil {
		return r.dir.inline, nil
	}
	all := make([]dirEntry, 0, r.dir.count)
	for _, id := range r.dir.buckets {
		entries, ok := b.madeBuckets[id]
		if !ok {
			var err error
			if entries, err = b.f.bucket(id); err != nil {
				return nil, err
			}
		}
		all = append(all, entries...)
	}
	sortEntries(all)
	return all, nil
}

func (b *builder) propsOf(id ID) (svn.Props, error) {
	if o := b.object(id); o != nil {
		return svn.DecodeProps(o.data)
	}
	return b.f.nodeProps(id)
}

// textOf returns a small text.
func (b *builder) textOf(id ID) ([]byte, error) {
	if o := b.object(id); o == nil {
		return b.f.blob(id)
	} else if o.text != nil {
		return io.ReadAll(io.LimitReader(o.text.open(), object.MaxSpecial+1))
	} else {
		return o.data, nil
	}
}

// viewCommit returns what a ref of the view was at a revision, the zero ID if it was not there.
func (f *FS) viewCommit(ref string, rev svn.Revnum) (id ID, err error) {
	prefix := append([]byte(ref), 0)
	err = f.index.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketView).Cursor()
		key := binary.BigEndian.AppendUint64(slices.Clone(prefix), uint64(rev+1))
		c.Seek(key)
		k, v := c.Prev()
		if k == nil { // Seek went past the end
			k, v = c.Last()
		}
		if bytes.HasPrefix(k, prefix) && bytes.Compare(k, key) < 0 && len(v) > 0 {
			id = object.NewID(f.format, v)
		}
		return nil
	})
	return id, err
}
