package svnrepos_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
	"holdfast/storage/svnfs"
)

// wcNode is a file or a directory of a client's working copy.
type wcNode struct {
	dir     bool
	props   svn.Props
	text    string
	kids    map[string]*wcNode
	rev     svn.Revnum
	path    string // of the repository
	link    bool   // path is not what follows from the parent's
	missing map[string]bool
	entry   svn.Props       // svn:entry:...
	gone    map[string]bool // those of them that were removed
	token   string
	from    string // what it was added as a copy of
}

func newDir() *wcNode {
	return &wcNode{dir: true, props: svn.Props{}, kids: map[string]*wcNode{}, missing: map[string]bool{}, entry: svn.Props{}}
}

// tree describes a node and all below, for comparison.
func (n *wcNode) tree() string {
	var b strings.Builder
	n.describe(&b, "")
	return b.String()
}

func (n *wcNode) describe(b *strings.Builder, path string) {
	fmt.Fprintf(b, "%q dir=%t text=%q", path, n.dir, n.text)
	for _, name := range n.props.Names() {
		fmt.Fprintf(b, " %s=%q", name, n.props[name])
	}
	b.WriteByte('\n')
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		n.kids[name].describe(b, svn.Join(path, name))
	}
}

// export reads what a working copy of a path is to be. The switched nodes in wc, if it is not nil, are taken from where they
// are switched to.
func export(root *svnfs.Root, path string, wc *wcNode) (*wcNode, error) {
	n, err := root.Node(path)
	if err != nil {
		return nil, err
	}
	props, err := n.Props()
	if err != nil {
		return nil, err
	}
	out := newDir()
	out.props = props.Clone()
	if n.Kind() == svn.File {
		out.dir = false
		out.text, err = readText(n)
		return out, err
	}
	entries, err := n.Entries()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if out.kids[e.Name], err = export(root, svn.Join(path, e.Name), wc.kid(e.Name)); err != nil {
			return nil, err
		}
	}
	return out, out.exportLinks(root, wc)
}

func (n *wcNode) exportLinks(root *svnfs.Root, wc *wcNode) error {
	if wc == nil {
		return nil
	}
	for name, kid := range wc.kids {
		if !kid.link {
			continue
		}
		kind, err := root.Kind(kid.path)
		if err != nil {
			return err
		}
		delete(n.kids, name)
		if kind == svn.None {
			continue
		}
		if n.kids[name], err = export(root, kid.path, kid); err != nil {
			return err
		}
	}
	return nil
}

func readText(n *svnfs.Node) (string, error) {
	r, err := n.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	return string(text), err
}

func (n *wcNode) kid(name string) *wcNode {
	if n == nil {
		return nil
	}
	return n.kids[name]
}

// wcEditor applies an edit to a working copy as a client would, and refuses what a client would.
type wcEditor struct {
	fs     *svnfs.FS
	root   *wcNode
	target svn.Revnum
	base   svn.Revnum
	log    []string
	closed bool
	abort  bool
}

func (e *wcEditor) SetTargetRevision(rev svn.Revnum) error { e.target = rev; return nil }
func (e *wcEditor) Close() error                           { e.closed = true; return nil }
func (e *wcEditor) Abort() error                           { e.abort = true; return nil }
func (e *wcEditor) OpenRoot(base svn.Revnum) (svn.DirEditor, error) {
	e.base = base
	return &wcDir{wcEntry{e, e.root}, "", false}, nil
}

func (e *wcEditor) say(format string, args ...any) {
	e.log = append(e.log, fmt.Sprintf(format, args...))
}

type wcEntry struct {
	ed   *wcEditor
	node *wcNode
}

func (e wcEntry) ChangeProp(name string, value *string) error {
	if strings.HasPrefix(name, "svn:entry:") {
		if value == nil {
			e.node.gone = map[string]bool{name: true}
			e.node.token = ""
		}
		e.node.entry.Set(name, value)
		return nil
	}
	e.node.props.Set(name, value)
	return nil
}

type wcDir struct {
	wcEntry
	path   string
	closed bool
}

// name checks that a path is of an entry of the directory, and returns its name.
func (d *wcDir) name(path string) (string, error) {
	dir, name := svn.Split(path)
	if d.closed || dir != d.path || name == "" {
		return "", fmt.Errorf("%q is not an entry of the open directory %q", path, d.path)
	}
	return name, nil
}

func (d *wcDir) DeleteEntry(path string, rev svn.Revnum) error {
	name, err := d.name(path)
	if err == nil && d.node.kids[name] == nil {
		err = fmt.Errorf("there is no %q to delete", path)
	}
	delete(d.node.kids, name)
	d.ed.say("D %s@%d", path, rev)
	return err
}

func (d *wcDir) add(path string, n *wcNode) error {
	name, err := d.name(path)
	if err == nil && d.node.kids[name] != nil {
		err = fmt.Errorf("%q is there already", path)
	}
	n.path = svn.Join(d.node.path, name)
	d.node.kids[name] = n
	return err
}

func (d *wcDir) open(path string, dir bool) (*wcNode, error) {
	name, err := d.name(path)
	if err != nil {
		return nil, err
	}
	n := d.node.kids[name]
	if n == nil || n.dir != dir {
		return nil, fmt.Errorf("cannot open %q", path)
	}
	return n, nil
}

// copied returns what is at the source of a copy.
func (e *wcEditor) copied(from *svn.CopyFrom) (*wcNode, error) {
	root, err := e.fs.Root(from.Rev)
	if err != nil {
		return nil, err
	}
	return export(root, from.Path, nil)
}

func (d *wcDir) AddDirectory(path string, from *svn.CopyFrom) (svn.DirEditor, error) {
	n := newDir()
	if from != nil {
		c, err := d.ed.copied(from)
		if err != nil {
			return nil, err
		}
		n = c
		n.from = from.String()
	}
	d.ed.say("A %s/ %s", path, n.from)
	return &wcDir{wcEntry{d.ed, n}, path, false}, d.add(path, n)
}

func (d *wcDir) OpenDirectory(path string, base svn.Revnum) (svn.DirEditor, error) {
	n, err := d.open(path, true)
	if err != nil {
		return nil, err
	}
	d.ed.say("U %s/", path)
	return &wcDir{wcEntry{d.ed, n}, path, false}, nil
}

func (d *wcDir) AddFile(path string, from *svn.CopyFrom) (svn.FileEditor, error) {
	n := newDir()
	n.dir = false
	if from != nil {
		c, err := d.ed.copied(from)
		if err != nil {
			return nil, err
		}
		n = c
		n.from = from.String()
	}
	d.ed.say("A %s %s", path, n.from)
	return &wcFile{wcEntry{d.ed, n}}, d.add(path, n)
}

func (d *wcDir) OpenFile(path string, base svn.Revnum) (svn.FileEditor, error) {
	n, err := d.open(path, false)
	if err != nil {
		return nil, err
	}
	d.ed.say("U %s", path)
	return &wcFile{wcEntry{d.ed, n}}, nil
}

func (d *wcDir) AbsentDirectory(path string) error { d.ed.say("absent %s/", path); return nil }
func (d *wcDir) AbsentFile(path string) error      { d.ed.say("absent %s", path); return nil }
func (d *wcDir) Close() error {
	if d.closed {
		return fmt.Errorf("%q is closed twice", d.path)
	}
	d.closed = true
	return nil
}

type wcFile struct{ wcEntry }

func hexSum(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (f *wcFile) ApplyTextDelta(baseMD5 string) (svn.WindowHandler, error) {
	if baseMD5 != "" && baseMD5 != hexSum(f.node.text) {
		return nil, fmt.Errorf("the base of %s is another text: %q", f.node.path, f.node.text)
	}
	f.ed.say("text")
	var b bytes.Buffer
	return &wcText{svndiff.NewApplier(strings.NewReader(f.node.text), &b, nil), &b, f.node, 0}, nil
}

type wcText struct {
	*svndiff.Applier
	to      *bytes.Buffer
	node    *wcNode
	windows int
}

func (t *wcText) Window(w *svn.Window) error { t.windows++; return t.Applier.Window(w) }
func (t *wcText) Close() error {
	t.node.text = t.to.String()
	return t.Applier.Close()
}

func (f *wcFile) Close(textMD5 string) error {
	if textMD5 != "" && textMD5 != hexSum(f.node.text) {
		return fmt.Errorf("%s has the wrong text: %q", f.node.path, f.node.text)
	}
	return nil
}

// history makes random revisions.
type history struct {
	t   *testing.T
	rng *rand.Rand
	fs  *svnfs.FS

	touched map[string]bool // what this revision has changed: to change it back would be a change that a dump does not have
}

// paths lists all below a directory.
func paths(t *testing.T, root *svnfs.Root, dir string) (all []string) {
	t.Helper()
	n, err := root.Node(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n.Kind() != svn.Dir {
		return nil
	}
	entries, err := n.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := svn.Join(dir, e.Name)
		all = append(append(all, path), paths(t, root, path)...)
	}
	return all
}

func (h *history) pick(list []string) string { return list[h.rng.IntN(len(list))] }

func (h *history) commit() svn.Revnum {
	h.t.Helper()
	txn := h.must(h.fs.Begin(h.fs.Youngest(), svnfs.TxnOptions{}))
	defer txn.Abort()
	h.touched = map[string]bool{}
	for range 1 + h.rng.IntN(4) {
		h.change(txn)
	}
	return commitTxn(h.t, txn)
}

func (h *history) must(txn *svnfs.Txn, err error) *svnfs.Txn {
	h.t.Helper()
	h.check(err)
	return txn
}

func (h *history) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// change does one random thing.
func (h *history) change(txn *svnfs.Txn) {
	h.t.Helper()
	all := append(paths(h.t, txn.Root(), "/"), "/")
	at := h.pick(all)
	kind, err := txn.Root().Kind(at)
	h.check(err)
	switch op := h.rng.IntN(10); {
	case op < 2 && at != "/":
		if !h.touched[at] {
			h.check(txn.Delete(at))
		}
	case op < 4:
		h.setProp(txn, at)
	case kind == svn.File:
		h.write(txn, at)
	case len(all) > 60:
	default:
		h.create(txn, at)
	}
}

// setProp changes a property, for a change that changes nothing is none in a dump.
func (h *history) setProp(txn *svnfs.Txn, path string) {
	h.t.Helper()
	if h.touched[path] {
		return
	}
	h.touched[path] = true
	node, err := txn.Root().Node(path)
	h.check(err)
	props, err := node.Props()
	h.check(err)
	name, value := h.pick([]string{"p", "q"}), fmt.Sprint(h.rng.IntN(3))
	if props[name] == value {
		value += "x"
	}
	h.check(txn.SetNodeProp(path, name, &value))
}

func (h *history) write(txn *svnfs.Txn, path string) {
	h.t.Helper()
	if h.touched[path] {
		return
	}
	h.touched[path] = true
	node, err := txn.Root().Node(path)
	h.check(err)
	now, err := readText(node)
	h.check(err)
	text := strings.Repeat(h.pick([]string{"one\n", "two\n", "three\n"}), 1+h.rng.IntN(3)) + fmt.Sprint(h.rng.IntN(4))
	if text == now {
		text += "x"
	}
	writeFile(h.t, txn, path, text)
}

// create puts something new at a name of a directory, perhaps in the place of what is there.
func (h *history) create(txn *svnfs.Txn, dir string) {
	h.t.Helper()
	path := svn.Join(dir, h.pick([]string{"a", "b", "b.c", "c", "d e"}))
	kind, err := txn.Root().Kind(path)
	h.check(err)
	if h.touched[path] {
		return
	}
	if kind != svn.None {
		h.check(txn.Delete(path))
	}
	switch op := h.rng.IntN(4); op {
	case 0:
		h.check(txn.MakeFile(path))
		h.write(txn, path)
		return
	case 1:
		h.check(txn.MakeDir(path))
	default:
		from, err := h.fs.Root(svn.Revnum(h.rng.IntN(int(h.fs.Youngest()) + 1)))
		h.check(err)
		sources := paths(h.t, from, "/")
		if len(sources) == 0 {
			h.check(txn.MakeDir(path))
			break
		}
		h.check(txn.Copy(from, h.pick(sources), path))
	}
	h.touched[path] = true
}

func writeFile(t testing.TB, txn *svnfs.Txn, path, text string) {
	t.Helper()
	w, err := txn.ApplyText(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
