package storage_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"holdfast/storage"
	"holdfast/storage/object"
)

func TestTreeFS(t *testing.T) {
	g := newGit(t)
	must(t, os.Symlink("a", filepath.Join(g.dir, "link")))
	tip := g.commit("files", map[string]string{"a": "1\n", "dir/b": "22\n", "dir/sub/c": "", "dir.x": "3"})
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	push(t, repo, g.pack(tip), update("refs/heads/main", object.ID{}, tip))
	fsys, err := storage.TreeFS(repo.ReadObject, tip)
	must(t, err)
	if err := fstest.TestFS(filesOnly{fsys}, "a", "dir/b", "dir/sub/c", "dir.x"); err != nil {
		t.Error(err)
	}
	if _, err := fsys.Open("link"); err == nil {
		t.Error("a symbolic link was followed")
	}
	if _, err := storage.TreeFS(repo.ReadObject, blobObj("1\n").id()); err == nil {
		t.Error("a blob passed as a commit")
	}
}

// filesOnly leaves out of directories what cannot be opened, which fstest wants to open.
type filesOnly struct{ fs.FS }

func (f filesOnly) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if d, ok := file.(fs.ReadDirFile); ok && err == nil {
		return dirOnly{d}, nil
	}
	return file, err
}

type dirOnly struct{ fs.ReadDirFile }

func (d dirOnly) ReadDir(n int) ([]fs.DirEntry, error) {
	for {
		list, err := d.ReadDirFile.ReadDir(n)
		list = slices.DeleteFunc(list, func(e fs.DirEntry) bool { return e.Type()&fs.ModeSymlink != 0 })
		if n <= 0 || len(list) > 0 || err != nil {
			return list, err
		}
	}
}
