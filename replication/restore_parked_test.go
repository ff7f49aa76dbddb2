package replication_test

import (
	"fmt"
	"testing"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

// lateHost is a host of n pushes, one a segment; on b2, what lies under the numbers of lost is junk, and their entries come
// again one by one behind all others.
func lateHost(t testing.TB, n int, lost ...int) *copyHost {
	h := newCopyHost(t)
	for i := range n {
		h.push(i % 3)
	}
	entries := must(h.store.Entries(0, 0))(t)
	for _, e := range entries {
		h.shipEntries([]storage.Entry{e})
	}
	for _, l := range lost {
		h.buckets["b2"].Corrupt(h.key(uint64(l)), func([]byte) []byte { return []byte("what an attempt without an answer left") })
		h.shipEntries(entries[l-1 : l])
	}
	return h
}

// The entries of a doubtful number come again far more than Window numbers later. That mirror alone must do.
func TestRestoreResealedFarBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine works through many segments")
	}
	for _, lost := range [][]int{{3}, {90, 4, 3}} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			h := lateHost(t, 200, lost...)
			to, rep := h.mustRestore(replication.RestoreOptions{}, "b2")
			sameStore(t, h.store, to)
			if rep.Segment != uint64(200+len(lost)) || rep.Entries != 200 {
				t.Errorf("report:\n%s", rep)
			}
			if rep, err := h.restore(nil, replication.RestoreOptions{DryRun: true}, "b2"); err != nil || rep.Entries != 200 {
				t.Errorf("dry run: %v\n%s", err, rep)
			}
		})
	}
}

// A restore that is killed while segments wait, or while they are replayed, reads them again.
func TestRestoreResealedFarBehindResumes(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine works through many segments")
	}
	h := lateHost(t, 100, 3)
	dir := t.TempDir()
	for step, done := 1, false; !done; step++ {
		left := 40 * step
		to, err := storage.Open(dir, storage.Options{NoSync: true, FaultHook: func(s storage.Step) error {
			if left--; left == 0 {
				return fmt.Errorf("killed after %q", s)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.restore(to, replication.RestoreOptions{}, "b2")
		done = err == nil
		to.Close()
		if !done && left > 0 {
			t.Fatalf("it does not go on: %v", err)
		}
	}
	sameStore(t, h.store, openCopyStore(t, dir))
}

// What one mirror cannot fill, another does when the restore goes on.
func TestRestoreHoleIsFilledLater(t *testing.T) {
	h := lateHost(t, 100)
	for _, n := range []uint64{3, 4, 90} {
		h.buckets["b2"].Erase(h.key(n))
	}
	to := openCopyStore(t, t.TempDir())
	rep, err := h.restore(to, replication.RestoreOptions{}, "b2")
	if err == nil || rep.Last != 2 {
		t.Fatalf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "#3 to #4", "b2 holds segment 1/5")
	if rep, err = h.restore(to, replication.RestoreOptions{}, "b2", "aws"); err != nil {
		t.Fatalf("%v\n%s", err, rep)
	}
	sameStore(t, h.store, to)
}

// The last segment is damaged in a way that only its content shows.
func TestRestoreSpoiledEnd(t *testing.T) {
	h := lateHost(t, 3)
	for _, name := range mirrorNames {
		h.buckets[name].Corrupt(h.key(3), flipBit(-40))
	}
	rep, err := h.restore(openCopyStore(t, t.TempDir()), replication.RestoreOptions{})
	if err == nil || rep.Last != 2 {
		t.Fatalf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "#3 to #3", "segment 1/3")
}

// A branch that begins within what was replayed, sealed into one segment with what follows, is a branch and stops nobody.
func TestRestoreLateRewriteInOneSegment(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.shipEach()
	evil := h.twin()
	h.push(0)
	h.push(0)
	h.shipEach()
	evil.number = h.number
	for range 4 {
		evil.push(0)
	}
	evil.ship()
	h.number = evil.number
	h.push(0)
	h.shipEach()
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	if len(rep.Branches) != 1 || rep.Branches[0].Chosen {
		t.Errorf("report:\n%s", rep)
	}
}

// A branch is followed to the head that the operator names even if a part of it came late.
func TestRestoreForkByHeadResealed(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	h.shipEach()
	evil := h.twin()
	evil.push(0)
	evil.push(0)
	evil.shipEach()
	for range 100 {
		h.push(0)
	}
	entries := must(h.store.Entries(1, 0))(t)
	for i, e := range entries {
		if i != 1 {
			h.shipEntries([]storage.Entry{e})
		} else {
			h.number++
		}
	}
	h.shipEntries(entries[:2]) // again, with the one before it
	for _, name := range mirrorNames {
		h.buckets[name].Change(func(b *buckettest.Bucket) { b.Conditional = buckettest.Ignored })
	}
	_, head, _ := h.store.Head()
	to, _ := h.mustRestore(replication.RestoreOptions{Head: head})
	sameStore(t, h.store, to)
}
