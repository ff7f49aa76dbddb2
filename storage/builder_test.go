package storage_test

import (
	"bytes"
	"fmt"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// obj is an object made without git, where a test needs thousands.
type obj struct {
	typ  object.Type
	data []byte
}

func (o obj) id() object.ID { return object.HashObject(object.SHA1, o.typ, o.data) }

func blobObj(content string) obj { return obj{object.Blob, []byte(content)} }

// treeObj returns a tree of one file.
func treeObj(name string, blob object.ID) obj {
	return obj{object.Tree, blob.Append([]byte("100644 " + name + "\x00"))}
}

func commitObj(tree object.ID, message string, parents ...object.ID) obj {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author a <a@example.org> 1577836800 +0000\ncommitter a <a@example.org> 1577836800 +0000\n\n%s\n", message)
	return obj{object.Commit, b.Bytes()}
}

func tagObj(target object.ID, typ object.Type, name string) obj {
	return obj{object.Tag, fmt.Appendf(nil, "object %s\ntype %s\ntag %s\ntagger a <a@example.org> 1577836800 +0000\n\n%s\n",
		target, typ, name, name)}
}

// packOf returns a pack of the objects.
func packOf(t testing.TB, objs ...obj) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := pack.NewWriter(&buf, object.SHA1, uint32(len(objs)))
	for _, o := range objs {
		if err := w.WriteObject(o.typ, o.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// tiny returns the pack of a commit with one file, and the commit's id.
func tiny(t testing.TB, content string, parents ...object.ID) ([]byte, object.ID) {
	t.Helper()
	blob := blobObj(content)
	tree := treeObj("f", blob.id())
	commit := commitObj(tree.id(), content, parents...)
	return packOf(t, blob, tree, commit), commit.id()
}

// tinyRepo returns a repository with one commit on main.
func tinyRepo(t testing.TB, s *storage.Store) (*storage.Repo, object.ID) {
	t.Helper()
	repo := create(t, s)
	data, tip := tiny(t, "first")
	push(t, repo, data, storage.RefUpdate{Name: "refs/heads/main", New: tip})
	return repo, tip
}

func noSync() storage.Options { return storage.Options{NoSync: true} }

func mustCheck(t testing.TB, s *storage.Store) {
	t.Helper()
	report, err := s.Check(t.Context(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("check: %v %v", report.Problems, err)
	}
}

// wide returns the pack of a commit with n files, and the commit's id.
func wide(t testing.TB, n int, parents ...object.ID) ([]byte, object.ID) {
	t.Helper()
	var objs []obj
	tree := obj{typ: object.Tree}
	for i := range n {
		blob := blobObj(fmt.Sprint("file ", i))
		objs = append(objs, blob)
		tree.data = blob.id().Append(fmt.Appendf(tree.data, "100644 %06d\x00", i))
	}
	commit := commitObj(tree.id(), "wide", parents...)
	return packOf(t, append(objs, tree, commit)...), commit.id()
}
