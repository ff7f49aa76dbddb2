package storage_test

import (
	"testing"

	"holdfast/storage/object"
)

// TestRescan opens a store anew whose last pack has no index file, as small ones have none: it is scanned. A tree of it names a special
// file that an older pack has.
func TestRescan(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	repo := create(t, s)
	file := blobObj("* text\n")
	tree := treeObj(".gitattributes", file.id())
	first := commitObj(tree.id(), "first")
	push(t, repo, packOf(t, file, tree, first), update("refs/heads/main", object.ID{}, first.id()))
	merge(t, repo) // into a pack that index.db knows
	tree = obj{object.Tree, file.id().Append([]byte("100755 .gitattributes\x00"))}
	second := commitObj(tree.id(), "second", first.id())
	push(t, repo, packOf(t, tree, second), update("refs/heads/main", first.id(), second.id()))
	must(t, s.Close())
	s = open(t, dir, small())
	repo, err := s.Repo(repo.ID())
	must(t, err)
	if _, _, err := repo.ReadObject(second.id()); err != nil {
		t.Error(err)
	}
	mustCheck(t, s)
}
