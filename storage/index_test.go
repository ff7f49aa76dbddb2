package storage_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// TestIndexIsMadeAgain loses index.db and index files in every combination.
func TestIndexIsMadeAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		fill bool // index.db covers the packs
		harm func(t *testing.T, db string, idx []string)
	}{
		{"nothing lost", true, func(*testing.T, string, []string) {}},
		{"nothing lost, not filled", false, func(*testing.T, string, []string) {}},
		{"index.db lost", true, func(t *testing.T, db string, _ []string) { remove(t, db) }},
		{"index.db empty", true, func(t *testing.T, db string, _ []string) { truncate(t, db, 0) }},
		{"index.db garbage", true, func(t *testing.T, db string, _ []string) { overwrite(t, db, []byte("garbage")) }},
		{"index file lost", false, func(t *testing.T, _ string, idx []string) { remove(t, idx[0]) }},
		{"index file cut short", false, func(t *testing.T, _ string, idx []string) { truncate(t, idx[0], 1000) }},
		{"index file damaged", false, func(t *testing.T, _ string, idx []string) { flip(t, idx[0], 5000) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, noSync())
			repo, tip := tinyRepo(t, s)
			data, next := wide(t, 1500, tip)
			push(t, repo, data, update("refs/heads/main", tip, next))
			if test.fill {
				if err := s.Fill(repo.ID()); err != nil {
					t.Fatal(err)
				}
			}
			db := s.IndexPath(repo.ID())
			s.Close()
			idx, _ := filepath.Glob(filepath.Join(filepath.Dir(db), "packs", "*.idx"))
			if (len(idx) == 0) != test.fill {
				t.Fatalf("index files: %v", idx)
			}
			test.harm(t, db, idx)

			s = open(t, dir, noSync())
			repo, err := s.Repo(repo.ID())
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []object.ID{tip, next, blobObj("file 7").id(), blobObj("first").id()} {
				if _, _, err := repo.ReadObject(id); err != nil {
					t.Error(err)
				}
			}
			mustCheck(t, s)
			if err := s.Fill(repo.ID()); err != nil {
				t.Fatal(err)
			}
			mustCheck(t, s)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string)               { t.Helper(); must(t, os.Remove(path)) }
func truncate(t testing.TB, path string, size int64) { t.Helper(); must(t, os.Truncate(path, size)) }
func overwrite(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
}

// flip changes one byte of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0x55
	_, err = f.WriteAt(b, at)
	must(t, err)
}

// TestOpenFilesAreBounded reads from more repositories and packs than may be open.
func TestOpenFilesAreBounded(t *testing.T) {
	s := open(t, t.TempDir(), storage.Options{NoSync: true, OpenPacks: 3, OpenIndexes: 2, IndexPacks: 2})
	type made struct {
		repo *storage.Repo
		tips []object.ID
	}
	var all []made
	for i := range 5 {
		repo, tip := tinyRepo(t, s)
		m := made{repo, []object.ID{tip}}
		for j := range 6 {
			data, next := tiny(t, fmt.Sprint(i, j), tip)
			push(t, repo, data, update("refs/heads/main", tip, next))
			tip = next
			m.tips = append(m.tips, tip)
		}
		must(t, s.Fill(repo.ID()))
		all = append(all, m)
	}
	for range 3 {
		for _, m := range all {
			for _, tip := range m.tips {
				if _, _, err := m.repo.ReadObject(tip); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := openFiles(t, s); n > 3+2+1+5 {
		t.Errorf("%d files of the store are open", n)
	}
	mustCheck(t, s)
}

// openFiles counts the process's open files below repos/.
func openFiles(t *testing.T, s *storage.Store) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	root := filepath.Join(s.Dir(), "repos")
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && strings.HasPrefix(target, root) {
			n++
		}
	}
	return n
}

// TestIndexOutlivesTheSystem reads a repository while the system does not let index.db be opened. The loop of links stands for too many
// open files: to make the index anew takes reading every pack.
func TestIndexOutlivesTheSystem(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, noSync())
	repo, tip := tinyRepo(t, s)
	if err := s.Fill(repo.ID()); err != nil {
		t.Fatal(err)
	}
	db := s.IndexPath(repo.ID())
	s.Close()
	if err := errors.Join(os.Rename(db, db+".away"), os.Symlink(filepath.Base(db), db)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, noSync())
	repo, err := s.Repo(repo.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := repo.ReadObject(tip); !errors.Is(err, syscall.ELOOP) {
		t.Error(err)
	}
	if _, err := os.Lstat(db); err != nil {
		t.Errorf("it was removed: %v", err)
	}
	if err := os.Rename(db+".away", db); err != nil {
		t.Fatal(err)
	}
	if _, _, err := repo.ReadObject(tip); err != nil {
		t.Error(err)
	}
	mustCheck(t, s)
}

// TestIndexOfSpecialFiles loses the indexes of packs whose trees name .gitattributes that lie in other packs: in one that index.db covers,
// and in one with a higher number, which others were merged into.
func TestIndexOfSpecialFiles(t *testing.T) {
	dir := t.TempDir()
	var written func() // called once when a pack is written
	o := small()
	o.FaultHook = func(step storage.Step) error {
		if step == storage.StepPackWritten && written != nil {
			f := written
			written = nil
			f()
		}
		return nil
	}
	s := open(t, dir, o)
	repo := create(t, s)
	attributes := blobObj("*.txt text\n")
	var tip object.ID
	commit := func(objs ...obj) {
		t.Helper()
		f := blobObj(fmt.Sprint("file ", tip))
		tree := obj{object.Tree, f.id().Append(append(attributes.id().Append([]byte("100644 .gitattributes\x00")), "100644 f\x00"...))}
		c := commitObj(tree.id(), "special", parentsOf(tip)...)
		push(t, repo, packOf(t, append(objs, f, tree, c)...), update("refs/heads/main", tip, c.id()))
		tip = c.id()
	}
	reopen := func(harm func(db string)) {
		t.Helper()
		db := s.IndexPath(repo.ID())
		s.Close()
		harm(db)
		s = open(t, dir, o)
		var err error
		if repo, err = s.Repo(repo.ID()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := repo.ReadObject(tip); err != nil {
			t.Error(err)
		}
	}
	commit(attributes)
	if err := s.Fill(repo.ID()); err != nil {
		t.Fatal(err)
	}
	commit() // which is in memory only
	reopen(func(string) {})
	for range 3 {
		commit()
	}
	written = func() { commit() } // while the others are merged
	merge(t, repo)
	reopen(func(db string) { remove(t, db) })
	mustCheck(t, s)
}

func parentsOf(tip object.ID) []object.ID {
	if tip.IsZero() {
		return nil
	}
	return []object.ID{tip}
}
