package svnfs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// deeds are changes of every kind, the same each time.
var deeds = []func(w *world, m storage.Meta) error{
	commitDeed("mkdir /trunk", "mkdir /branches", "mkdir /tags", "put /trunk/f 1", "put /trunk/g 1"),
	func(w *world, m storage.Meta) error {
		value := "edited"
		_, err := w.fs.ChangeRevProp(context.Background(), svnfs.Direct, m, 1, svn.PropLog, nil, &value)
		return err
	},
	commitDeed("put /trunk/f 2", "cp 1 /trunk /branches/b"),
	func(w *world, m storage.Meta) error {
		targets := []svnfs.LockTarget{{Path: "/trunk/f", Token: "opaquelocktoken:f", Base: svn.InvalidRevnum}, {Path: "/trunk/g", Token: "opaquelocktoken:g", Base: 2}}
		_, _, err := w.fs.SetLocks(context.Background(), svnfs.Direct, m, "alice", nil, false, targets)
		return err
	},
	func(w *world, m storage.Meta) error {
		_, err := w.fs.SetUUID(context.Background(), svnfs.Direct, m, "6f2c1c1a-0000-4000-8000-000000000001")
		return err
	},
	commitDeed("put /trunk/f 3", "rm /branches/b"), // which ends a lock
	func(w *world, m storage.Meta) error {
		_, _, err := w.fs.Unlocks(context.Background(), svnfs.Direct, m, "bob", true, map[string]string{"/trunk/g": ""})
		return err
	},
	commitDeed("rm /trunk/g", "cp 3 /trunk /tags/t"),
}

func commitDeed(edits ...string) func(*world, storage.Meta) error {
	return func(w *world, m storage.Meta) error {
		txn, err := w.fs.Begin(w.fs.Youngest(), svnfs.TxnOptions{Props: svn.Props{svn.PropLog: edits[0]}, User: "alice", LockTokens: []string{"opaquelocktoken:f"}})
		if err != nil {
			return err
		}
		defer txn.Abort()
		for _, e := range edits {
			if err := edit(w, txn, e); err != nil {
				return err
			}
		}
		txn.UnlockOnCommit("/trunk/f")
		_, _, err = txn.Commit(context.Background(), svnfs.Direct, m)
		return err
	}
}

// picture shows all that a repository is.
func (w *world) picture() string {
	w.t.Helper()
	refs, err := w.repo.Refs("", "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	locks, err := w.fs.Locks("/", svn.DepthInfinity)
	if err != nil {
		w.t.Fatal(err)
	}
	s := fmt.Sprintln(w.fs.UUID(), refs)
	for _, l := range locks {
		s += fmt.Sprintln(l.Path, l.Token, l.Owner)
	}
	for rev := svn.Revnum(0); rev <= w.fs.Youngest(); rev++ {
		props, err := w.fs.RevProps(rev)
		if err != nil {
			w.t.Fatal(err)
		}
		s += fmt.Sprintln(rev, props, tree(w.t.(*testing.T), w.root(rev)))
	}
	return s
}

var errCrash = errors.New("the process died here")

// TestCrash kills the process after each write of a row of changes, and goes on with what is there: each change was made or was not, and
// those that were acknowledged were.
func TestCrash(t *testing.T) {
	pictures := []string{}
	w := newCrashWorld(t, nil)
	for i, deed := range deeds {
		pictures = append(pictures, w.picture())
		if err := deed(w, w.metaOf(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	pictures = append(pictures, w.picture())
	for after := int64(1); ; after++ {
		var steps atomic.Int64
		w := newCrashWorld(t, func(storage.Step) error {
			if steps.Add(1) >= after {
				return errCrash
			}
			return nil
		})
		if w == nil {
			continue // there was no repository yet
		}
		done := 0
		for done < len(deeds) && deeds[done](w, w.metaOf(done)) == nil {
			done++
		}
		if done == len(deeds) {
			break
		}
		w.crash(after%2 == 0)
		got := w.picture()
		if got == pictures[done+1] {
			done++
		} else if got != pictures[done] {
			t.Fatalf("killed at step %d, after %d changes:\n%s\nwant\n%s", after, done, got, pictures[done])
		}
		for ; done < len(deeds); done++ {
			if err := deeds[done](w, w.metaOf(done)); err != nil {
				t.Fatalf("killed at step %d: change %d: %v", after, done, err)
			}
		}
		if got := w.picture(); got != pictures[done] {
			t.Errorf("killed at step %d: in the end\n%s\nwant\n%s", after, got, pictures[done])
		}
		var report storage.CheckReport
		if err := svnfs.Check(context.Background(), w.store, w.reg.Open, &report); err != nil || len(report.Problems) > 0 {
			t.Errorf("killed at step %d: %v, %v", after, report.Problems, err)
		}
	}
}

// metaOf is that of a deed, whenever it is done.
func (w *world) metaOf(deed int) storage.Meta {
	w.clock = time.Date(2026, 1, 2, 3, 4, deed, 0, time.UTC)
	return w.meta()
}

// newCrashWorld is newWorldWith, nil if the process dies before there is a repository. It does not index in the background, so that each
// run has the same steps.
func newCrashWorld(t *testing.T, hook func(storage.Step) error) *world {
	w := &world{t: t, dir: t.TempDir(), o: storage.Options{NoSync: true, IndexDelay: time.Hour, MergeDelay: time.Hour, FaultHook: hook}}
	w.openStore()
	t.Cleanup(func() { w.store.Close() })
	w.metaOf(-1)
	repo, err := createIn(w)
	if err != nil {
		return nil
	}
	w.repo = repo
	w.openFS()
	t.Cleanup(func() { w.release(); w.reg.Close() })
	return w
}

// crash opens all anew, as after a crash: what svn.db has in memory is lost, unless some of it was written before.
func (w *world) crash(written bool) {
	w.t.Helper()
	if !written {
		w.fs.LoseIndex()
	}
	w.release()
	w.reg.Close()
	w.store.Close()
	w.o.FaultHook = nil
	w.openStore()
	w.openFS()
}
