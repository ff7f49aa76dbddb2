package svnfs_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// TestConcurrentUse commits, locks, edits properties and reads in two repositories at once, while filesystems are opened and closed all
// the time, packs are merged and index.db is made anew.
func TestConcurrentUse(t *testing.T) {
	w := newWorldWith(t, storage.Options{NoSync: true, IndexPacks: 3, IndexDelay: time.Millisecond, MergePacks: 3, MergeDelay: time.Microsecond,
		MergeShare: 100, MergeFree: 1, IndexFree: 1, OpenPacks: 2, OpenIndexes: 1, CacheBytes: 1 << 16, Log: slog.New(slog.DiscardHandler)})
	repos := []*storage.Repo{w.another(), w.another()}
	w.release()
	w.reg.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var maintenance, writers, readers sync.WaitGroup
	maintenance.Go(func() { w.store.Maintain(ctx, nil) })
	reg := svnfs.NewRegistry(1)
	var clock atomic.Int64
	meta := func() storage.Meta {
		return storage.Meta{Actor: "alice", Time: w.clock.Add(time.Duration(clock.Add(1)) * time.Second)}
	}
	with := func(repo *storage.Repo, do func(*svnfs.FS) error) {
		fs, release, err := reg.Open(repo)
		if err != nil {
			t.Error(err)
			return
		}
		defer release()
		if err := do(fs); err != nil {
			t.Error(err)
		}
	}
	const rounds = 30
	for i := range 4 {
		repo, file := repos[i%2], fmt.Sprintf("/f%d", i)
		writers.Go(func() {
			for n := range rounds {
				with(repo, func(fs *svnfs.FS) error { return putAndCommit(ctx, fs, meta(), file, fmt.Sprint(file, n)) })
				with(repo, func(fs *svnfs.FS) error { return lockAndEdit(ctx, fs, meta, file, fmt.Sprint(n)) })
			}
		})
	}
	var over atomic.Bool
	for i := range 3 {
		readers.Go(func() {
			for !over.Load() {
				with(repos[i%2], readSomewhere)
			}
		})
	}
	readers.Go(func() {
		for !over.Load() {
			var report storage.CheckReport
			if err := svnfs.Check(ctx, w.store, reg.Open, &report); err != nil || len(report.Problems) > 0 {
				t.Errorf("check beside writers: %v %v", report.Problems, err)
				return
			}
		}
	})
	writers.Wait()
	over.Store(true)
	readers.Wait()
	cancel()
	maintenance.Wait()
	for i, repo := range repos {
		with(repo, func(fs *svnfs.FS) error {
			if fs.Youngest() != 2*rounds {
				t.Errorf("revision %d", fs.Youngest())
			}
			for _, f := range []int{i, i + 2} {
				root, err := fs.Root(fs.Youngest())
				if err != nil {
					return err
				}
				n, err := root.Node(fmt.Sprint("/f", f))
				if err != nil {
					return err
				}
				if got, want := text(t, n), fmt.Sprintf("/f%d%d", f, rounds-1); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
			return fs.VerifyIndex()
		})
	}
	if err := reg.Close(); err != nil {
		t.Error(err)
	}
}

func putAndCommit(ctx context.Context, fs *svnfs.FS, m storage.Meta, path, content string) error {
	txn, err := fs.Begin(fs.Youngest(), svnfs.TxnOptions{Props: svn.Props{svn.PropLog: content}})
	if err != nil {
		return err
	}
	defer txn.Abort()
	if kind, err := txn.Root().Kind(path); err != nil {
		return err
	} else if kind == svn.None {
		if err := txn.MakeFile(path); err != nil {
			return err
		}
	}
	out, err := txn.ApplyText(path)
	if err != nil {
		return err
	}
	io.WriteString(out, content)
	if err := out.Close(); err != nil {
		return err
	}
	_, _, err = txn.Commit(ctx, svnfs.Direct, m)
	return err
}

// lockAndEdit locks a file and gives the lock back, and sets a property of some revision, which must be seen at once.
func lockAndEdit(ctx context.Context, fs *svnfs.FS, meta func() storage.Meta, path, value string) error {
	locked, _, err := fs.SetLocks(ctx, svnfs.Direct, meta(), "alice", nil, false, []svnfs.LockTarget{{Path: path, Base: svn.InvalidRevnum}})
	if err != nil || locked[0].Err != nil {
		return fmt.Errorf("%v %v", locked, err)
	}
	if l, err := fs.Lock(path); err != nil || l == nil || l.Token != locked[0].Lock.Token {
		return fmt.Errorf("lock of %s: %v, %v", path, l, err)
	}
	rev := svn.Revnum(rand.Int64N(int64(fs.Youngest()) + 1))
	if _, err := fs.ChangeRevProp(ctx, svnfs.Direct, meta(), rev, path, nil, &value); err != nil {
		return err
	}
	if props, err := fs.RevProps(rev); err != nil || props[path] != value {
		return fmt.Errorf("r%d: %s is %q, want %q (%v)", rev, path, props[path], value, err)
	}
	_, _, err = fs.Unlocks(ctx, svnfs.Direct, meta(), "alice", false, map[string]string{path: locked[0].Lock.Token})
	return err
}

// readSomewhere reads a revision with all that is in it.
func readSomewhere(fs *svnfs.FS) error {
	rev := svn.Revnum(rand.Int64N(int64(fs.Youngest()) + 1))
	if _, err := fs.RevProps(rev); err != nil {
		return err
	}
	root, err := fs.Root(rev)
	if err != nil {
		return err
	}
	top, err := root.Node("/")
	if err != nil {
		return err
	}
	entries, err := top.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := fs.NodeByID(e.ID)
		if err != nil {
			return err
		}
		in, err := n.Open()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
		in.Close()
	}
	return nil
}
