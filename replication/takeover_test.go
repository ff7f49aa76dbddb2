package replication_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

func (h *copyHost) targets(names ...string) []replication.Target {
	if len(names) == 0 {
		names = mirrorNames
	}
	var out []replication.Target
	for _, name := range names {
		b := h.buckets[name]
		out = append(out, replication.Target{Name: name, Bucket: b.Writer(), Conditional: b.Conditional != buckettest.Ignored})
	}
	return out
}

func (h *copyHost) takeover(s *storage.Store, names ...string) (replication.TakeoverReport, error) {
	h.t.Helper()
	return replication.Takeover(context.Background(), h.kit, s, h.targets(names...), h.sources(), replication.TakeoverOptions{
		Backoff: time.Nanosecond, Now: func() time.Time { return h.now },
	})
}

// next is the host that goes on with a store that took over.
func (h *copyHost) next(s *storage.Store) *copyHost {
	h.t.Helper()
	c := *h
	c.store, c.number = s, 0
	c.sealed, _, _ = s.Head()
	c.tips = map[storage.RepoID]objectID{}
	ids, err := s.Repos()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, id := range ids {
		r := must(s.Repo(id))(h.t)
		if ref, err := r.Ref("refs/heads/main"); err == nil {
			c.tips[id] = ref.ID
		}
	}
	c.loadWriter()
	return &c
}

// sameLog compares what two mirrors hold under all keys of segments, packs and roots that the first has.
func sameLog(t testing.TB, h *copyHost, from, to string) {
	t.Helper()
	for _, key := range h.buckets[from].Keys() {
		a, b := h.buckets[from].Contents(key), h.buckets[to].Contents(key)
		if len(a) == 0 {
			continue
		}
		if len(b) == 0 || !bytes.Equal(a[0], b[0]) {
			t.Errorf("%s has %s, %s has not the same", from, key, to)
		}
	}
}

func TestTakeover(t *testing.T) {
	h := copyHistory(t)
	h.bigPush(0)
	h.ship()
	h.buckets["wasabi"].Erase(h.key(3), h.key(9), h.key(10))
	for _, key := range h.buckets["b2"].Keys() {
		if strings.Contains(key, "/pack/") {
			h.buckets["b2"].Erase(key)
		}
	}
	to, _ := h.mustRestore(replication.RestoreOptions{})
	if _, err := replication.LoadWriter(to); !errors.Is(err, replication.ErrNoWriter) {
		t.Errorf("a restored store has writer keys: %v", err)
	}
	rep, err := h.takeover(to)
	if err != nil {
		t.Fatalf("%v\n%s", err, rep)
	}
	if rep.Epoch != 2 || rep.RootVersion != 2 || rep.After.Number != 10 || rep.After.Last != 10 || len(rep.Warnings) > 0 {
		t.Errorf("report:\n%s", rep)
	}
	for i, want := range []replication.CopyReport{{Name: "aws"}, {Name: "b2", Packs: 1}, {Name: "wasabi", Segments: 3}} {
		got := rep.Mirrors[i]
		if got.Name != want.Name || got.Segments != want.Segments || got.Packs != want.Packs || got.Err != "" || !got.Rooted || got.Closed != 64 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	sameLog(t, h, "aws", "b2")
	sameLog(t, h, "aws", "wasabi")
	if v, _ := h.kit.KnownRoot(); v != 2 {
		t.Errorf("the kit knows root version %d", v)
	}
	if state, _ := to.State(); state != (storage.State{Instance: h.kit.Instance(), Epoch: 2}) {
		t.Errorf("state %+v", state)
	}
	// The new writer goes on, and everything can be restored from each mirror alone.
	n := h.next(to)
	n.push(0)
	n.push(4)
	n.shipEach()
	for _, name := range mirrorNames {
		again, rep := n.mustRestore(replication.RestoreOptions{}, name)
		sameStore(t, to, again)
		if rep.Epoch != 2 || rep.Segment != 2 || len(rep.Warnings) > 0 || len(rep.Damage) > 0 {
			t.Errorf("report:\n%s", rep)
		}
	}
	// And once more, from a copy of a copy.
	again, _ := n.mustRestore(replication.RestoreOptions{})
	if rep, err := n.takeover(again); err != nil || rep.Epoch != 3 || rep.After.Number != 2 {
		t.Fatalf("%v\n%s", err, rep)
	}
	last := n.next(again)
	last.push(1)
	last.ship()
	third, _ := last.mustRestore(replication.RestoreOptions{}, "b2")
	sameStore(t, last.store, third)
}

func TestTakeoverRefuses(t *testing.T) {
	h := copyHistory(t)
	part, _ := h.mustRestore(replication.RestoreOptions{Repos: h.repos[1:2]})
	if rep, err := h.takeover(part); err == nil || !strings.Contains(err.Error(), "chosen repositories") {
		t.Errorf("partial: %v\n%s", err, rep)
	}
	if rep, err := h.takeover(h.store); err == nil || !strings.Contains(err.Error(), "host's own") {
		t.Errorf("the host itself: %v\n%s", err, rep)
	}
	if rep, err := h.takeover(openCopyStore(t, t.TempDir())); !errors.Is(err, replication.ErrNotRestorable) {
		t.Errorf("an empty store: %v\n%s", err, rep)
	}
	stale, _ := h.mustRestore(replication.RestoreOptions{})
	fresh, _ := h.mustRestore(replication.RestoreOptions{})
	h.push(0)
	h.ship("b2")
	if rep, err := h.takeover(stale); !errors.Is(err, replication.ErrOvertaken) || !strings.Contains(err.Error(), "segment 1/10") {
		t.Errorf("the old host went on: %v\n%s", err, rep)
	}
	for _, name := range mirrorNames {
		for _, key := range h.buckets[name].Keys() {
			if strings.Contains(key, "/root/000000000002") {
				t.Errorf("a refused takeover wrote %s", key)
			}
		}
	}
	if _, err := h.restore(stale, replication.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if rep, err := h.takeover(stale); err != nil {
		t.Fatalf("%v\n%s", err, rep)
	}
	if rep, err := h.takeover(fresh); !errors.Is(err, replication.ErrOvertaken) {
		t.Errorf("a second takeover: %v\n%s", err, rep)
	}
}

// Going back to before an attack: what came after it stays on the mirrors and counts no more.
func TestTakeoverAtEarlierPoint(t *testing.T) {
	h := newCopyHost(t)
	for range 6 {
		h.push(0)
	}
	entries, _ := h.store.Entries(0, 0)
	h.shipEntries(entries[:2])
	h.shipEntries(entries[2:5])
	h.shipEntries(entries[5:])
	to, _ := h.mustRestore(replication.RestoreOptions{AtSeq: 4}) // in the middle of segment 2
	rep, err := h.takeover(to)
	if err != nil || rep.After.Number != 2 || rep.After.Last != 4 {
		t.Fatalf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Warnings, "stopped at #4")
	n := h.next(to)
	n.push(0)
	n.ship()
	again, report := n.mustRestore(replication.RestoreOptions{})
	sameStore(t, to, again)
	wantLine(t, report.Warnings, "behind its end")

	// And back behind that takeover.
	early, _ := n.mustRestore(replication.RestoreOptions{AtSeq: 3})
	if rep, err = n.takeover(early); err != nil || rep.Epoch != 3 || rep.After.Last != 3 {
		t.Fatalf("%v\n%s", err, rep)
	}
	last := n.next(early)
	last.push(0)
	last.ship()
	for _, name := range mirrorNames {
		again, _ = last.mustRestore(replication.RestoreOptions{}, name)
		sameStore(t, early, again)
	}
}

// Kill it at any write, to the mirrors or to the store, and run it again.
func TestTakeoverKilledAnywhere(t *testing.T) {
	every := 23
	if testing.Short() {
		every = 101
	}
	for kill := 1; ; kill += every {
		h := newCopyHost(t)
		h.push(0)
		h.push(1)
		h.shipEach()
		h.buckets["b2"].Erase(h.key(1), h.key(2))
		dir := t.TempDir()
		to := openCopyStore(t, dir)
		if _, err := h.restore(to, replication.RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		to.Close()
		left, killed := kill, false
		strike := func() bool { left--; killed = killed || left <= 0; return killed }
		for _, name := range mirrorNames {
			h.buckets[name].Change(func(b *buckettest.Bucket) {
				b.OnPut = func(string) (bool, error) {
					if strike() {
						return left%2 == 0, errors.New("killed")
					}
					return true, nil
				}
			})
		}
		to, err := storage.Open(dir, storage.Options{NoSync: true, FaultHook: func(storage.Step) error {
			if strike() {
				return errors.New("killed")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.takeover(to)
		to.Close()
		if err == nil && !killed {
			return
		}
		for _, name := range mirrorNames {
			h.buckets[name].Calm()
		}
		to = openCopyStore(t, dir)
		rep, err := h.takeover(to)
		if err != nil {
			t.Fatalf("killed at write %d, then: %v\n%s", kill, err, rep)
		}
		if rep.Epoch != 2 {
			t.Errorf("report:\n%s", rep)
		}
		n := h.next(to)
		n.push(0)
		n.ship()
		again, _ := n.mustRestore(replication.RestoreOptions{}, "b2")
		sameStore(t, to, again)
		for _, name := range mirrorNames {
			if closed := h.buckets[name].Contents(h.key(66)); len(closed) != 1 {
				t.Errorf("killed at write %d: mirror %s is not closed at segment 66", kill, name)
			}
		}
	}
}

func TestTakeoverDeadMirror(t *testing.T) {
	h := copyHistory(t)
	dead := errors.New("account closed")
	h.buckets["b2"].Change(func(b *buckettest.Bucket) {
		fails := func(string) error { return dead }
		b.OnGet, b.OnList, b.OnVersions = fails, fails, fails
		b.OnPut = func(string) (bool, error) { return false, dead }
	})
	to, _ := h.mustRestore(replication.RestoreOptions{})
	rep, err := h.takeover(to)
	if err != nil {
		t.Fatalf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Warnings, "mirror b2 needs heal")
	n := h.next(to)
	n.push(0)
	n.ship("aws", "wasabi")
	n.buckets["b2"].Calm()
	reports, err := replication.Heal(t.Context(), h.kit, n.targets("b2"), n.sources(), replication.Position{Generation: 1, Epoch: 2, Number: 1}, nil, replication.TakeoverOptions{})
	if err != nil || reports[0].Err != "" || reports[0].Segments != 1 {
		t.Fatalf("%v %+v", err, reports)
	}
	again, _ := n.mustRestore(replication.RestoreOptions{}, "b2")
	sameStore(t, to, again)
}

// A new, empty bucket in a dead one's place gets everything.
func TestTakeoverNewBucket(t *testing.T) {
	h := copyHistory(t)
	h.bigPush(1)
	h.ship()
	to, _ := h.mustRestore(replication.RestoreOptions{}, "aws")
	h.buckets["b2"] = buckettest.New(t)
	rep, err := h.takeover(to)
	if err != nil || rep.Mirrors[1].Segments != 10 || rep.Mirrors[1].Packs != 1 {
		t.Fatalf("%v\n%s", err, rep)
	}
	again, _ := h.mustRestore(replication.RestoreOptions{}, "b2")
	if a, b := journalLines(t, to), journalLines(t, again); strings.Join(a, "") != strings.Join(b, "") {
		t.Error("the new bucket does not hold everything")
	}
}

func TestTakeoverUnhealableKey(t *testing.T) {
	h := copyHistory(t)
	h.buckets["b2"].Corrupt(h.key(4), func([]byte) []byte { return []byte("rot") })
	to, _ := h.mustRestore(replication.RestoreOptions{})
	rep, err := h.takeover(to)
	if err != nil {
		t.Fatal(err)
	}
	wantLine(t, rep.Warnings, "mirror b2 needs heal", "taken by other bytes")
}

func TestTakeoverUnfenced(t *testing.T) {
	h := copyHistory(t)
	h.buckets["b2"].Change(func(b *buckettest.Bucket) { b.Conditional = buckettest.Ignored })
	to, _ := h.mustRestore(replication.RestoreOptions{})
	old := *h
	rep, err := h.takeover(to)
	if err != nil {
		t.Fatal(err)
	}
	wantLine(t, rep.Warnings, "mirror b2 does not enforce conditions", "Revoke its key")
	n := h.next(to)
	n.push(0)
	n.ship()
	old.push(0)
	old.ship("b2") // it answers 200: no fence there
	again, report := n.mustRestore(replication.RestoreOptions{})
	sameStore(t, to, again)
	wantLine(t, report.Warnings, "mirror b2", "behind its end")
}

// runReplicator ships a store's journal for real.
func (h *copyHost) runReplicator(s *storage.Store) (rep *replication.Replicator, stop func()) {
	h.t.Helper()
	w := must(replication.LoadWriter(s))(h.t)
	var mirrors []*replication.Mirror
	for _, name := range mirrorNames {
		h.buckets[name].Change(func(b *buckettest.Bucket) { b.Now = nil }) // the test's clock is its own goroutine's
		mirrors = append(mirrors, replication.NewMirror(name, h.buckets[name].Writer(), replication.MirrorOptions{Conditional: true}))
	}
	rep, err := replication.New(s, mirrors, replication.Options{
		Dir: h.t.TempDir(), Root: w.Root, RootKey: w.RootKey, Signer: w.Signer, SpoolBytes: 1 << 30, AckTimeout: 20 * time.Second,
		BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- rep.Run(ctx) }()
	return rep, sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

// The whole story: a host ships for real, is lost and yet runs on; its successor takes over.
func TestTakeoverFromARunningHost(t *testing.T) {
	h := newCopyHost(t)
	old, stopOld := h.runReplicator(h.store)
	defer stopOld()
	for i := range 12 {
		e := h.push(i % 3)
		old.Notify()
		if _, err := old.Wait(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
	}
	to, _ := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	rep, err := h.takeover(to)
	if err != nil {
		t.Fatalf("%v\n%s", err, rep)
	}
	// The old host gets no ack any more, before or after a restart.
	e := h.push(0)
	old.Notify()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if receipt, err := old.Wait(ctx, e.Seq); err == nil {
		t.Errorf("the old host was acknowledged: %s", receipt)
	}
	stopOld()
	next, stopNext := h.runReplicator(to)
	defer stopNext()
	n := h.next(to)
	var receipt replication.Receipt
	for i := range 5 {
		e := n.push(i % 4)
		next.Notify()
		if receipt, err = next.Wait(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
	}
	stopNext()
	// Each mirror that acknowledged the last push brings back everything.
	for _, ack := range receipt.Acks {
		again, rep := n.mustRestore(replication.RestoreOptions{}, ack.Mirror)
		sameStore(t, to, again)
		if rep.Epoch != 2 {
			t.Errorf("report:\n%s", rep)
		}
	}
}
