package svnfs

import (
	"bytes"
	"cmp"
	"io"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// gitEntry is an entry of a tree.
type gitEntry struct {
	mode uint32
	name string
	id   ID
}

// maxLevels is how deep directories may be nested. No path that a client may send leads as far, but copies of copies could nest them so
// deep that the stack overflows, which ends the process. A variable so that a test need not.
var maxLevels = svn.MaxPathBytes / 2

// tree returns the git tree of a directory, the zero ID if there is nothing to be shown. old, if not nil, is one that oldTree shows: what
// is the same there is taken over.
func (v *viewer) tree(dir, old *record, oldTree ID) (ID, error) {
	if old != nil && old.id == dir.id && !oldTree.IsZero() {
		return oldTree, nil
	}
	if id, ok := v.trees[dir.id]; ok {
		return id, nil
	}
	if id, ok := v.b.f.viewTrees.get(treeKey{v.b.f, dir.id}); ok {
		return id, nil
	}
	if v.level == maxLevels {
		return ID{}, svn.Errorf(svn.ErrFSPathSyntax, "Directories are nested more than %d deep", maxLevels)
	}
	v.level++
	defer func() { v.level-- }()
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
func (v *viewer) before(old *record, oldTree ID) (map[string]Entry, map[string]gitEntry, error) {
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
	before, shown := make(map[string]Entry, len(entries)), make(map[string]gitEntry, len(entries))
	for _, e := range entries {
		before[e.Name] = e
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
func (v *viewer) entry(e Entry, before map[string]Entry, shown map[string]gitEntry) (gitEntry, error) {
	was, g := before[e.Name], shown[e.Name]
	if was.ID == e.ID && !e.ID.IsZero() {
		return g, nil
	}
	n, err := v.b.record(e.ID)
	if err != nil {
		return gitEntry{}, err
	}
	if e.Kind == svn.Dir {
		var old *record
		if was.Kind == svn.Dir && g.mode == object.ModeTree {
			if old, err = v.b.record(was.ID); err != nil {
				return gitEntry{}, err
			}
		}
		id, err := v.tree(n, old, g.id)
		return v.allowed(gitEntry{object.ModeTree, e.Name, id}), err
	}
	g, err = v.file(e.Name, n)
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

// record, entry, entriesOf, propsOf and textOf see what the builder has made as well as what is stored.

func (b *builder) record(id ID) (*record, error) {
	if r, ok := b.made[id]; ok {
		return r, nil
	}
	return b.f.node(id)
}

func (b *builder) entry(r *record, name string) (Entry, bool, error) {
	return r.dir.entry(name, b.bucketByID)
}

func (b *builder) entriesOf(r *record) ([]Entry, error) { return r.dir.entries(b.bucketByID) }

func (b *builder) bucketByID(id ID) ([]Entry, error) {
	if entries, ok := b.madeBuckets[id]; ok {
		return entries, nil
	}
	return b.f.bucket(id)
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
