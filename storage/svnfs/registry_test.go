package svnfs_test

import (
	"runtime"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// another makes one more repository in the store.
func (w *world) another() *storage.Repo {
	w.t.Helper()
	repo, err := createIn(w)
	if err != nil {
		w.t.Fatal(err)
	}
	return repo
}

// TestRegistryClosesAside has a filesystem that takes its time to be closed, as on a slow disk. Others can be opened meanwhile; it itself
// is opened once it is closed.
func TestRegistryClosesAside(t *testing.T) {
	w := newWorld(t)
	reg := svnfs.NewRegistry(1)
	repos := []*storage.Repo{w.another(), w.another(), w.another()}
	open := func(repo *storage.Repo) (*svnfs.FS, func()) {
		fs, release, err := reg.Open(repo)
		if err != nil {
			t.Error(err)
			return nil, func() {}
		}
		return fs, release
	}
	slow, release := open(repos[0])
	goOn := slow.BlockIndex()
	release()
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		_, release := open(repos[1])
		release() // two are idle now: the first is closed
	}()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		for !reg.Closing(repos[0].ID()) {
			runtime.Gosched()
		}
		_, release := open(repos[2])
		release()
	}()
	again := make(chan svn.Revnum)
	select {
	case <-opened:
	case <-time.After(20 * time.Second):
		t.Fatal("one that is being closed keeps all others from being opened")
	}
	go func() {
		fs, release := open(repos[0])
		defer release()
		again <- fs.Youngest()
	}()
	goOn()
	<-closing
	if rev := <-again; rev != 0 {
		t.Errorf("revision %d", rev)
	}
	if err := reg.Close(); err != nil {
		t.Error(err)
	}
}
