package replication_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

// twin is a second writer with the host's journal key: a snapshot of its disk, or whoever had root on it.
func (h *copyHost) twin() *copyHost {
	h.t.Helper()
	c := *h
	c.store = openCopyStore(h.t, h.t.TempDir())
	if _, err := replication.Restore(h.t.Context(), h.sources(), h.kit, c.store, fast(replication.RestoreOptions{})); err != nil {
		h.t.Fatal(err)
	}
	state := must(c.store.State())(h.t)
	state.Detached = false
	if err := c.store.SetState(state); err != nil {
		h.t.Fatal(err)
	}
	c.tips = map[storage.RepoID]objectID{}
	for id, tip := range h.tips {
		c.tips[id] = tip
	}
	c.repos = slices.Clone(h.repos)
	c.loads += 1000
	for _, name := range mirrorNames {
		h.buckets[name].Change(func(b *buckettest.Bucket) {
			b.Conditional = buckettest.Ignored
			b.Now = func() time.Time { return maxTime(h.now, c.now) }
		})
	}
	return &c
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// forked is a host whose journal parts after segment 3: the host's own branch first, then, a day later, the twin's.
func forked(t *testing.T) (h, evil *copyHost) {
	h = newCopyHost(t)
	for range 3 {
		h.push(0)
	}
	h.shipEach()
	evil = h.twin()
	h.push(0)
	h.push(1)
	h.shipEach()
	evil.now = h.now.Add(24 * time.Hour)
	evil.push(0)
	evil.push(0)
	evil.push(0)
	evil.shipEach()
	return h, evil
}

func TestRestoreForkByClock(t *testing.T) {
	h, evil := forked(t)
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	_, head, _ := evil.store.Head()
	if len(rep.Branches) != 2 || !rep.Branches[0].Chosen && !rep.Branches[1].Chosen {
		t.Fatalf("report:\n%s", rep)
	}
	for _, b := range rep.Branches {
		if b.Chosen {
			wantLine(t, []string{b.Why}, "3 of 3 mirrors")
		} else if b.Head != head || b.Last != 6 || b.First != 4 {
			t.Errorf("the other branch is %s, want it to end with %s", b, head)
		}
	}
	wantLine(t, []string{rep.String()}, "branches:", "TAKEN", "not taken", head.String())
}

func TestRestoreForkByHead(t *testing.T) {
	h, evil := forked(t)
	entries, _ := evil.store.Entries(4, 1) // in the middle of the branch
	to, rep := h.mustRestore(replication.RestoreOptions{Head: entries[0].Hash()})
	sameStore(t, evil.store, to)
	if len(rep.Branches) != 2 {
		t.Errorf("report:\n%s", rep)
	}
	to, _ = h.mustRestore(replication.RestoreOptions{Head: must(h.store.Entries(3, 1))(t)[0].Hash()})
	sameStore(t, h.store, to)
	before, _ := h.store.Entries(0, 1) // in both
	if _, rep = h.mustRestore(replication.RestoreOptions{Head: before[0].Hash()}); rep.Last != 5 {
		t.Errorf("report:\n%s", rep)
	}
	if rep, err := h.restore(openCopyStore(t, t.TempDir()), replication.RestoreOptions{Head: storage.Hash{1}}); err == nil {
		t.Errorf("found a head that does not exist:\n%s", rep)
	}
}

func TestRestoreHeadIsMissing(t *testing.T) {
	h := copyHistory(t)
	rep, err := h.restore(openCopyStore(t, t.TempDir()), replication.RestoreOptions{Head: storage.Hash{1}})
	if !errors.Is(err, replication.ErrIncomplete) || rep.Last != 9 {
		t.Errorf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "--head")
}

// Two mirrors, two answers.
func TestRestoreForkUndecided(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.shipEach()
	evil := h.twin()
	h.push(0)
	h.push(0)
	h.shipEach("aws")
	evil.push(0)
	evil.shipEach("b2")
	to := openCopyStore(t, t.TempDir())
	rep, err := h.restore(to, replication.RestoreOptions{}, "aws", "b2")
	if !errors.Is(err, replication.ErrUndecided) || rep.Last != 1 || len(rep.Branches) != 2 {
		t.Fatalf("%v\n%s", err, rep)
	}
	// The operator looks at them and chooses; the same directory goes on.
	if _, err := h.restore(to, replication.RestoreOptions{Head: must(h.store.Entries(1, 1))(t)[0].Hash()}, "aws", "b2"); err != nil {
		t.Fatal(err)
	}
	sameStore(t, h.store, to)
	// One mirror alone shows no fork.
	one, _ := h.mustRestore(replication.RestoreOptions{}, "b2")
	sameStore(t, evil.store, one)
}

// The same entries sealed anew, alone or with more, are no fork.
func TestRestoreSealedTwice(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.push(0)
	h.push(0)
	entries, _ := h.store.Entries(0, 0)
	for _, name := range mirrorNames {
		h.buckets[name].Change(func(b *buckettest.Bucket) { b.Conditional = buckettest.Ignored })
	}
	for _, n := range []int{1, 1, 3, 2} {
		head, data := h.seal(1, entries[:n])
		h.put(head.Key(), data)
	}
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	if len(rep.Branches) > 0 {
		t.Errorf("report:\n%s", rep)
	}
}

// A directory that was restored along one branch does not go on along another.
func TestRestoreGoesOnAlongItsBranch(t *testing.T) {
	h, evil := forked(t)
	to, _ := h.mustRestore(replication.RestoreOptions{Head: must(evil.store.Entries(4, 1))(t)[0].Hash()})
	evil.push(0)
	evil.ship()
	rep, err := h.restore(to, replication.RestoreOptions{})
	if err != nil || rep.Entries != 1 {
		t.Fatalf("%v\n%s", err, rep)
	}
	sameStore(t, evil.store, to)
	other, _ := h.mustRestore(replication.RestoreOptions{}, "aws")
	sameStore(t, h.store, other)
}

// Entries rewritten under a later number do not replace those that came first.
func TestRestoreLateRewrite(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.shipEach()
	evil := h.twin()
	for range 3 {
		h.push(0)
	}
	h.shipEach()
	evil.push(0)
	evil.number = h.number
	evil.shipEach()
	h.number = evil.number
	h.push(0)
	h.shipEach()
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	if len(rep.Branches) != 1 || rep.Branches[0].Chosen || !strings.Contains(rep.Branches[0].Why, "contradicts") {
		t.Errorf("report:\n%s", rep)
	}
}

// A valid segment whose entry the store refuses stops the restore before that entry.
func TestRestoreStopsAtRefusedEntry(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.push(0)
	h.ship()
	entries, _ := h.store.Entries(0, 0)
	bad := entries[1]
	bad.Seq, bad.Prev, bad.PrevRepo, bad.Packs = 3, entries[1].Hash(), entries[1].Hash(), nil // a stale update
	h.shipEntries([]storage.Entry{bad})
	to := openCopyStore(t, t.TempDir())
	for range 2 {
		rep, err := h.restore(to, replication.RestoreOptions{})
		if !errors.Is(err, storage.ErrStale) || rep.Last != 2 || !strings.Contains(err.Error(), "--at 2") {
			t.Fatalf("%v\n%s", err, rep)
		}
	}
	if _, err := h.restore(to, replication.RestoreOptions{AtSeq: 2}); err != nil {
		t.Error(err)
	}
	sameStore(t, h.store, to)
}

// Kill the store after every step that writes, and go on.
func TestRestoreResumesAfterAnyCrash(t *testing.T) {
	h := copyHistory(t)
	dir := t.TempDir()
	for step, done := 1, false; !done; step++ {
		left := step % 17
		to, err := storage.Open(dir, storage.Options{NoSync: true, FaultHook: func(s storage.Step) error {
			if left--; left == 0 {
				return fmt.Errorf("killed after %q", s)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.restore(to, replication.RestoreOptions{})
		done = err == nil
		to.Close()
		if step > 500 {
			t.Fatal("it never ends")
		}
	}
	sameStore(t, h.store, openCopyStore(t, dir))
}

func TestRestoreCancelled(t *testing.T) {
	h := copyHistory(t)
	dir := t.TempDir()
	for gets := 5; ; gets += 7 {
		ctx, cancel := contextWithCancel(t)
		var left atomic.Int64
		left.Store(int64(gets))
		h.buckets["aws"].Change(func(b *buckettest.Bucket) {
			b.OnGet = func(string) error {
				if left.Add(-1) <= 0 {
					cancel()
				}
				return nil
			}
		})
		to := openCopyStore(t, dir)
		_, err := replication.Restore(ctx, h.sources("aws"), h.kit, to, fast(replication.RestoreOptions{Parallel: 2}))
		if err == nil {
			sameStore(t, h.store, to)
			return
		}
		if ctx.Err() == nil {
			t.Fatal(err)
		}
		to.Close()
	}
}

// bigPush pushes a pack that lies on the mirrors as an object of its own.
func (h *copyHost) bigPush(i int, names ...string) (storage.Entry, string) {
	h.t.Helper()
	e := h.pushBytes(i, bytes.Repeat([]byte("0123456789abcdef"), 9000))
	id := e.Packs[0].ID
	object, data := sealPack(h.t, readPack(h.t, h.store, id), h.root.Recipients)
	h.big[id] = object
	key := replication.PackKey(h.root.Instance, h.root.Generation, object.ID)
	h.put(key, data, names...)
	return e, key
}

func TestRestoreBigPacks(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.bigPush(0, "b2", "wasabi")
	_, bad := h.bigPush(1)
	_, short := h.bigPush(0)
	h.push(1)
	h.ship()
	h.buckets["aws"].Corrupt(bad, flipBit(-100))
	h.buckets["b2"].Corrupt(bad, flipBit(3))
	h.buckets["aws"].Corrupt(short, func(d []byte) []byte { return d[:len(d)-1] })
	h.buckets["b2"].AddVersion(short, []byte("junk"))
	h.buckets["b2"].AddMarker(short)
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	wantLine(t, rep.Damage, "mirror aws", "pack", "entry #3")
	wantLine(t, rep.Damage, "mirror b2", "pack", "entry #3")
	for _, e := range must(to.Entries(0, 0))(t) {
		for _, p := range e.Packs {
			ext, err := to.External(p.ID)
			if _, big := h.big[p.ID]; err != nil || big != (ext != nil) {
				t.Errorf("external record of %s: %q %v", p.ID, ext, err)
			}
		}
	}
	if rep, err := h.restore(nil, replication.RestoreOptions{DryRun: true}); err != nil || len(rep.Missing) > 0 {
		t.Errorf("%v\n%s", err, rep)
	}
	// Nobody has it any more.
	for _, name := range mirrorNames {
		h.buckets[name].Erase(short)
	}
	rep, err := h.restore(nil, replication.RestoreOptions{DryRun: true})
	if !errors.Is(err, replication.ErrIncomplete) {
		t.Errorf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "pack of entry #4")
	rep, err = h.restore(openCopyStore(t, t.TempDir()), replication.RestoreOptions{})
	if err == nil || rep.Last != 3 || !strings.Contains(err.Error(), "entry #4") {
		t.Errorf("%v\n%s", err, rep)
	}
}

// One pack pushed to two repositories lies in a segment once.
func TestRestorePackTwiceInASegment(t *testing.T) {
	h := newCopyHost(t)
	packed, tip := h.load(objectID{}, []byte("shared"))
	for i := range 3 {
		h.commit(h.repo(2*i), packed, storage.RefUpdate{Name: "refs/heads/main", New: tip})
		h.push(2*i + 1)
	}
	h.ship()
	to, _ := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	part, _ := h.mustRestore(replication.RestoreOptions{Repos: h.repos[4:5]})
	sameRepo(t, h.store, part, h.repos[4])
}
