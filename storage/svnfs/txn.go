package svnfs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"holdfast/storage/svn"
)

// TxnOptions shape a transaction. The zero value works.
type TxnOptions struct {
	Props svn.Props // of the revision to be

	// CheckLocks refuses to change what is locked, unless by User, with one of LockTokens.
	CheckLocks bool
	User       string // empty for nobody
	LockTokens []string

	// KeepDate takes svn:date as Props has it, or none; else the commit sets it.
	KeepDate bool
}

// Txn is a revision in the making. It is for one goroutine at a time. Abort must be called in the end; after Commit it does
// nothing.
type Txn struct {
	fs     *FS
	name   string
	base   svn.Revnum
	o      TxnOptions
	tokens map[string]bool
	root   *mutable

	nodes, copies uint32 // ids that were given out
	changes       map[string]*svn.Change
	deleted       map[string]*svn.Change // what a replacement has taken the place of
	unlock        []string
	texts         texts
	done          bool
}

// mutable is a node that a transaction has changed: what is different from its base.
type mutable struct {
	rec  record
	base *record // what it was made from, nil for a new node

	names map[string]*change // of a directory: its entries that differ from base's
	props svn.Props          // nil if unchanged
	text  *spool             // nil if unchanged
}

// change is an entry that differs from that of the directory's base: gone, another node-revision, or changed below.
type change struct {
	entry Entry // the zero ID if m is set, or if it is gone
	m     *mutable
}

func (c *change) gone() bool { return c.m == nil && c.entry.ID.IsZero() }

// Begin starts a transaction on a revision.
func (f *FS) Begin(base svn.Revnum, o TxnOptions) (*Txn, error) {
	r, err := f.Root(base)
	if err != nil {
		return nil, err
	}
	t := &Txn{fs: f, base: base, o: o, tokens: map[string]bool{}, changes: map[string]*svn.Change{}, deleted: map[string]*svn.Change{}}
	t.o.Props = o.Props.Clone()
	for _, token := range o.LockTokens {
		t.tokens[token] = true
	}
	t.root = t.clone(r.root, "/")
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	f.nextTxn++
	t.name = fmt.Sprintf("%d-%s", base, strconv.FormatInt(int64(f.nextTxn), 36))
	f.txns[t.name] = t
	return t, nil
}

// Txns returns the names of the transactions that are open, sorted.
func (f *FS) Txns() []string {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	return slices.Sorted(maps.Keys(f.txns))
}

// Name returns the transaction's name; no two that are open have the same.
func (t *Txn) Name() string { return t.name }

// Base returns the revision that the transaction is based on. A commit moves it on.
func (t *Txn) Base() svn.Revnum { return t.base }

// Root returns the transaction's tree.
func (t *Txn) Root() *Root { return &Root{fs: t.fs, txn: t} }

// Props returns the properties of the revision to be; the caller may change them by SetProp only.
func (t *Txn) Props() svn.Props { return t.o.Props }

// SetProp sets a property of the revision to be; nil removes it.
func (t *Txn) SetProp(name string, value *string) { t.o.Props.Set(name, value) }

// AddLockTokens adds tokens of locks that the transaction may go through.
func (t *Txn) AddLockTokens(tokens ...string) {
	for _, token := range tokens {
		t.tokens[token] = true
	}
}

// UnlockOnCommit ends the locks of these paths with the commit, in the same entry of the journal: those that User has and whose
// tokens the transaction has.
func (t *Txn) UnlockOnCommit(paths ...string) { t.unlock = append(t.unlock, paths...) }

// Abort gives the transaction up.
func (t *Txn) Abort() {
	if t.done {
		return
	}
	t.done = true
	t.texts.close()
	t.fs.stateMu.Lock()
	defer t.fs.stateMu.Unlock()
	delete(t.fs.txns, t.name)
}

// clone makes a changeable successor of a node-revision.
func (t *Txn) clone(base *record, path string) *mutable {
	m := &mutable{rec: *base, base: base}
	r := &m.rec
	r.id, r.created, r.path, r.copyFrom = ID{}, svn.InvalidRevnum, path, nil
	r.pred, r.preds = base.id, base.preds+1
	return m
}

// mutable returns the node at a path, which exists, made changeable with all that lead to it.
func (t *Txn) mutable(path string) (*mutable, error) {
	m := t.root
	if path == "/" {
		return m, nil
	}
	end := 0 // of the name, in path
	for name := range strings.SplitSeq(path[1:], "/") {
		end += 1 + len(name)
		child, err := m.child(t.fs, name)
		if err != nil {
			return nil, err
		}
		if child == nil {
			return nil, t.Root().notFound(path)
		}
		if child.m == nil {
			if child.m, err = t.cloneChild(m, child.rec, path[:end]); err != nil {
				return nil, err
			}
			m.set(name, &change{Entry{Name: name, Kind: child.rec.kind}, child.m})
		}
		m = child.m
	}
	return m, nil
}

// cloneChild makes a child of a changeable directory changeable. Copies are lazy: only now does a child of a copied directory
// join its parent's branch.
func (t *Txn) cloneChild(parent *mutable, child *record, path string) (*mutable, error) {
	root, err := t.fs.copyRootNode(child)
	if err != nil {
		return nil, err
	}
	m := t.clone(child, path)
	m.rec.copy = t.copyIDFor(parent, child, root, path)
	if child.node != root.node {
		m.rec.copyRoot = parent.rec.copyRoot
	}
	return m, nil
}

// copyIDFor decides on the copy id that a child gets when it is made changeable; root is at the destination of the copy that it is part of.
func (t *Txn) copyIDFor(parent *mutable, child, root *record, path string) part {
	switch {
	case child.copy == (part{}), child.copy == parent.rec.copy, root.node != child.node: // it is no branch point
		return parent.rec.copy
	case child.path == path: // it is one, seen at its own path
		return child.copy
	}
	return t.newCopy() // a branch within a branch that was copied
}

// copyRootNode returns the node at the destination of the copy that a node is part of.
func (f *FS) copyRootNode(r *record) (*record, error) {
	root, err := f.Root(r.copyRoot.Rev)
	if err != nil {
		return nil, err
	}
	n, err := root.Node(r.copyRoot.Path)
	if err != nil {
		return nil, err
	}
	return n.rec, nil
}

func (t *Txn) newNode() part {
	t.nodes++
	return part{svn.InvalidRevnum, t.nodes}
}

func (t *Txn) newCopy() part {
	t.copies++
	return part{svn.InvalidRevnum, t.copies}
}

// child returns an entry of a changeable directory, nil if there is none.
func (m *mutable) child(f *FS, name string) (*Node, error) {
	c, ok := m.names[name]
	switch {
	case ok && c.m != nil:
		return &Node{fs: f, m: c.m}, nil
	case ok && c.gone():
		return nil, nil
	case ok:
		return f.committed(c.entry.ID)
	case m.base == nil || m.base.kind != svn.Dir:
		return nil, nil
	}
	e, found, err := f.entry(m.base, name)
	if err != nil || !found {
		return nil, err
	}
	return f.committed(e.ID)
}

// entries returns all entries, sorted by name; those that are changed have a zero ID.
func (m *mutable) entries(f *FS) ([]Entry, error) {
	var all []Entry
	if m.base != nil {
		old, err := f.entries(m.base)
		if err != nil {
			return nil, err
		}
		all = make([]Entry, 0, len(old)+len(m.names))
		for _, e := range old {
			if _, ok := m.names[e.Name]; !ok {
				all = append(all, e)
			}
		}
	}
	for _, c := range m.names {
		if !c.gone() {
			all = append(all, c.entry)
		}
	}
	if len(m.names) > 0 {
		sortEntries(all)
	}
	return all, nil
}

func (m *mutable) set(name string, c *change) {
	if m.names == nil {
		m.names = map[string]*change{}
	}
	m.names[name] = c
}

// mergeinfoBelow counts the nodes below that have svn:mergeinfo.
func (m *mutable) mergeinfoBelow(f *FS) (int64, error) {
	if m.rec.kind != svn.Dir {
		return 0, nil
	}
	count := int64(0)
	if m.base != nil {
		count = m.base.mergeinfo
		if m.base.selfMergeinfo {
			count--
		}
	}
	for name, c := range m.names {
		if m.base != nil {
			if e, ok, err := f.entry(m.base, name); err != nil {
				return 0, err
			} else if ok {
				old, err := f.node(e.ID)
				if err != nil {
					return 0, err
				}
				count -= old.mergeinfo
			}
		}
		now, err := c.mergeinfo(f)
		if err != nil {
			return 0, err
		}
		count += now
	}
	return count, nil
}

func (c *change) mergeinfo(f *FS) (int64, error) {
	switch {
	case c.m != nil:
		return c.m.mergeinfoCount(f)
	case c.gone():
		return 0, nil
	}
	r, err := f.node(c.entry.ID)
	if err != nil {
		return 0, err
	}
	return r.mergeinfo, nil
}

func (m *mutable) mergeinfoCount(f *FS) (int64, error) {
	count, err := m.mergeinfoBelow(f)
	if m.rec.selfMergeinfo {
		count++
	}
	return count, err
}
