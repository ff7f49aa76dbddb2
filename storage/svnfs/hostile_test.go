package svnfs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// reopen opens the filesystem anew, as another process would.
func (w *world) reopen() {
	w.t.Helper()
	w.release()
	if err := w.reg.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.openFS()
}

func (w *world) head() storage.Seq {
	w.t.Helper()
	seq, _, err := w.store.Head()
	if err != nil {
		w.t.Fatal(err)
	}
	return seq
}

func (w *world) setRevProp(rev svn.Revnum, name, value string) error {
	_, err := w.fs.ChangeRevProp(context.Background(), svnfs.Direct, w.meta(), rev, name, nil, &value)
	return err
}

func (w *world) revProp(rev svn.Revnum, name string) string {
	w.t.Helper()
	props, err := w.fs.RevProps(rev)
	if err != nil {
		w.t.Fatal(err)
	}
	return props[name]
}

// TestIndexCannotBeWritten has a disk that takes no more of svn.db. What is in the journal is made, and seen; what is refused is not in
// the journal.
func TestIndexCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.commit("put /f 1")
	w.fs.LimitIndex(1)
	value, refused := "", 0
	for i := range 600 {
		next, before := fmt.Sprint(i, strings.Repeat("x", 1<<10)), w.head()
		err := w.setRevProp(svn.Revnum(i%2), fmt.Sprint(i), next)
		switch made := w.head() > before; {
		case made && err != nil:
			t.Fatalf("edit %d is in the journal, and failed: %v", i, err)
		case made:
			value = next
			if got := w.revProp(svn.Revnum(i%2), fmt.Sprint(i)); got != value {
				t.Fatalf("edit %d is not seen: %q", i, got)
			}
		case err == nil:
			t.Fatalf("edit %d is not in the journal", i)
		default:
			refused++
		}
	}
	if refused == 0 {
		t.Error("all edits were made: they fill the memory")
	}
	w.fs.LimitIndex(0)
	if err := w.setRevProp(1, "last", "yes"); err != nil {
		t.Error(err)
	}
	w.reopen()
	if got := w.revProp(1, "last"); got != "yes" {
		t.Errorf("after all: %q", got)
	}
	if err := w.fs.VerifyIndex(); err != nil {
		t.Error(err)
	}
}

// openFiles returns what files below a directory this process has open.
func openFiles(t *testing.T, dir string) (open []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Skip("no /proc")
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, dir) {
			open = append(open, to)
		}
	}
	return open
}

// TestAbortClosesSources gives transactions up in the middle of a large text's delta: the pack that the old text is read from must not
// stay open.
func TestAbortClosesSources(t *testing.T) {
	w := newWorld(t)
	random := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	w.commit("put /big " + string(random))
	txn := w.begin(1)
	if _, err := txn.ApplyTextDelta("/big", ""); err != nil {
		t.Fatal(err)
	}
	txn.Abort()
	w.release()
	w.reg.Close()
	w.store.Close()
	if open := openFiles(t, w.dir); len(open) > 0 {
		t.Errorf("still open: %q", open)
	}
}
