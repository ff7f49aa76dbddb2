package replication_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

// history fills a host: two repositories that take turns, a secret, a configuration, one segment an entry.
func copyHistory(t testing.TB) *copyHost {
	h := newCopyHost(t)
	h.push(0)
	h.record(storage.KindSecret, []byte(`{"name":"ssh","value":"a2V5"}`))
	h.push(1)
	h.push(1)
	h.record(storage.KindConfig, []byte("name: one\n"))
	h.push(0)
	h.record(storage.KindConfig, []byte("name: two\n"))
	h.push(2)
	h.push(1)
	h.shipEach()
	return h
}

func TestRestoreFromEachMirror(t *testing.T) {
	h := copyHistory(t)
	for _, name := range append([]string{""}, mirrorNames...) {
		names := []string{name}
		if name == "" {
			names = nil
		}
		to, rep := h.mustRestore(replication.RestoreOptions{}, names...)
		sameStore(t, h.store, to)
		if state, _ := to.State(); state != (storage.State{Instance: h.kit.Instance(), Epoch: 1, Detached: true}) {
			t.Errorf("state %+v", state)
		}
		if secret, err := to.Secret("ssh"); err != nil || string(secret) != "key" {
			t.Errorf("secret %q %v", secret, err)
		}
		if string(rep.Config) != "name: two\n" {
			t.Errorf("configuration %q", rep.Config)
		}
		if rep.Entries != 9 || rep.Last != 9 || rep.Repos != 3 || rep.Packs != 6 || rep.Segment != 9 || !rep.Complete() || len(rep.Warnings) > 0 {
			t.Errorf("report:\n%s", rep)
		}
	}
}

func TestRestoreManyEntriesInASegment(t *testing.T) {
	h := newCopyHost(t)
	for i := range 40 {
		h.push(i % 7)
	}
	h.ship()
	to, _ := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
}

func TestRestoreEmptyInstance(t *testing.T) {
	h := newCopyHost(t)
	_, rep := h.mustRestore(replication.RestoreOptions{})
	if rep.Entries != 0 || rep.Last != 0 || rep.RootVersion != 1 {
		t.Errorf("report:\n%s", rep)
	}
}

func TestRestoreDryRun(t *testing.T) {
	h := copyHistory(t)
	rep, err := h.restore(nil, replication.RestoreOptions{DryRun: true})
	if err != nil || rep.Last != 9 || rep.Entries != 9 || rep.Repos != 3 || string(rep.Config) != "name: two\n" {
		t.Errorf("%v\n%s", err, rep)
	}
	if !strings.Contains(rep.String(), "dry run") {
		t.Error("the report does not say that it is a dry run")
	}
}

func TestRestoreAtSeqAndTime(t *testing.T) {
	h := copyHistory(t)
	entries, _ := h.store.Entries(0, 0)
	for _, o := range []replication.RestoreOptions{{AtSeq: 5}, {At: entries[4].Time}} {
		to, rep := h.mustRestore(o)
		if rep.Last != 5 || rep.Cut == "" || string(rep.Config) != "name: one\n" {
			t.Errorf("report:\n%s", rep)
		}
		// And on from there.
		if rep, err := h.restore(to, replication.RestoreOptions{}); err != nil || rep.Resumed != 5 || rep.Entries != 4 {
			t.Errorf("%v\n%s", err, rep)
		}
		sameStore(t, h.store, to)
	}
}

func TestRestorePartial(t *testing.T) {
	h := copyHistory(t)
	o := replication.RestoreOptions{Repos: []storage.RepoID{h.repos[2]}}
	to, rep := h.mustRestore(o)
	if rep.Last != 9 || !rep.Partial || rep.Packs != 3 {
		t.Errorf("report:\n%s", rep)
	}
	ids, _ := to.Repos()
	if len(ids) != 2 {
		t.Errorf("restored %d repositories, want the first and the chosen one", len(ids))
	}
	wantWhole(t, to)
	sameRepo(t, h.store, to, h.repos[0])
	sameRepo(t, h.store, to, h.repos[2])
	a, b := journalLines(t, h.store), journalLines(t, to)
	if strings.Join(a, "") != strings.Join(b, "") {
		t.Error("the journal is not whole")
	}
	if _, err := h.restore(to, replication.RestoreOptions{}); !errors.Is(err, replication.ErrNotRestorable) {
		t.Errorf("went on with another choice: %v", err)
	}
	h.push(1)
	h.push(2)
	h.ship()
	if rep, err := h.restore(to, o); err != nil || rep.Last != 11 || rep.Packs != 1 {
		t.Errorf("%v\n%s", err, rep)
	}
	sameRepo(t, h.store, to, h.repos[2])
}

func TestRestoreGoesOn(t *testing.T) {
	h := copyHistory(t)
	to, _ := h.mustRestore(replication.RestoreOptions{})
	for range 3 {
		h.push(1)
		h.push(3)
		h.ship()
		rep, err := h.restore(to, replication.RestoreOptions{})
		if err != nil || rep.Entries != 2 {
			t.Fatalf("%v\n%s", err, rep)
		}
		sameStore(t, h.store, to)
	}
}

func TestRestoreRefusesTarget(t *testing.T) {
	h := copyHistory(t)
	other := copyHistory(t)
	running := h.store
	if _, err := h.restore(running, replication.RestoreOptions{}); !errors.Is(err, replication.ErrNotRestorable) {
		t.Errorf("into the host's own store: %v", err)
	}
	to, _ := other.mustRestore(replication.RestoreOptions{})
	if _, err := h.restore(to, replication.RestoreOptions{}); !errors.Is(err, replication.ErrNotRestorable) || !strings.Contains(err.Error(), h.kit.Instance()) {
		t.Errorf("into another instance's: %v", err)
	}
}

func TestRestoreWrongKit(t *testing.T) {
	h := copyHistory(t)
	o := copyKit(replication.X25519)
	stranger, err := replication.CreateKit(filepath.Join(t.TempDir(), "kit"), o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = replication.Restore(context.Background(), h.sources(), stranger, openCopyStore(t, t.TempDir()), fast(replication.RestoreOptions{}))
	if !errors.Is(err, replication.ErrNoRoot) {
		t.Errorf("got %v", err)
	}
	// The same instance's name, another key: a forged kit, or forged mirrors.
	o.Instance = h.kit.Instance()
	if stranger, err = replication.CreateKit(filepath.Join(t.TempDir(), "kit"), o); err != nil {
		t.Fatal(err)
	}
	_, err = replication.Restore(context.Background(), h.sources(), stranger, openCopyStore(t, t.TempDir()), fast(replication.RestoreOptions{}))
	if !errors.Is(err, replication.ErrNoRoot) {
		t.Errorf("got %v", err)
	}
}

func TestRestoreNothingGiven(t *testing.T) {
	h := newCopyHost(t)
	if _, err := replication.Restore(context.Background(), nil, h.kit, openCopyStore(t, t.TempDir()), replication.RestoreOptions{}); err == nil {
		t.Error("restored from nothing")
	}
}

// Each kind of damage on one mirror; another has a good copy.
func TestRestoreDamagedMirror(t *testing.T) {
	tests := map[string]struct {
		damage func(h *copyHost, key string)
		says   string
	}{
		"a flipped bit in the body":   {func(h *copyHost, key string) { h.buckets["aws"].Corrupt(key, flipBit(-40)) }, "taken from b2"},
		"a flipped bit in the header": {func(h *copyHost, key string) { h.buckets["aws"].Corrupt(key, flipBit(40)) }, "taken from b2"},
		"truncated": {func(h *copyHost, key string) {
			h.buckets["aws"].Corrupt(key, func(d []byte) []byte { return d[:len(d)-7] })
		}, "taken from b2"},
		"lengthened": {func(h *copyHost, key string) {
			h.buckets["aws"].Corrupt(key, func(d []byte) []byte { return append(d, 'x') })
		}, "taken from b2"},
		"empty":   {func(h *copyHost, key string) { h.buckets["aws"].Corrupt(key, func(d []byte) []byte { return nil }) }, "taken from b2"},
		"missing": {func(h *copyHost, key string) { h.buckets["aws"].Erase(key) }, "is not there; taken from another"},
		"another segment in its place": {func(h *copyHost, key string) {
			other := h.buckets["aws"].Contents(h.key(3))[0]
			h.buckets["aws"].Corrupt(key, func([]byte) []byte { return other })
		}, "it is the segment of"},
		"another instance's segment": {func(h *copyHost, key string) {
			other := newCopyHost(h.t)
			other.push(0)
			other.ship()
			data := other.buckets["aws"].Contents(other.key(1))[0]
			h.buckets["aws"].Corrupt(key, func([]byte) []byte { return data })
		}, "root record"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := copyHistory(t)
			tt.damage(h, h.key(4))
			to, rep := h.mustRestore(replication.RestoreOptions{})
			sameStore(t, h.store, to)
			wantLine(t, rep.Damage, "mirror aws", "segment 1/4", tt.says)
			if len(rep.Damage) != 1 {
				t.Errorf("report:\n%s", rep)
			}
		})
	}
}

func flipBit(at int) func([]byte) []byte {
	return func(d []byte) []byte {
		i := at
		if i < 0 {
			i += len(d)
		}
		d[i] ^= 1
		return d
	}
}

// What anybody with a writer's credential can do changes nothing.
func TestRestoreJunk(t *testing.T) {
	h := copyHistory(t)
	for _, name := range mirrorNames {
		b := h.buckets[name]
		for i := range 300 {
			b.AddVersion(h.key(2), fmt.Appendf(nil, "junk %d", i))
		}
		b.AddMarker(h.key(2))
		b.AddVersion(h.key(3), b.Contents(h.key(4))[0])
		b.AddMarker(h.key(4))
		b.AddVersion(h.key(10), []byte("junk behind the end"))
		b.AddMarker(replication.RootKey(h.kit.Instance(), h.ref))
		b.AddVersion(replication.RootPrefix(h.kit.Instance())+"junk", []byte("junk"))
		b.AddVersion(replication.RootKey(h.kit.Instance(), replication.RootRef{Version: 7, Sum: replication.Sum{1}}), []byte("junk"))
	}
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	wantLine(t, rep.Warnings, "mirror aws", "versions that this instance did not write")
}

// Junk that came first, on a mirror without conditions: the only copy is the thousandth version.
func TestRestoreBehindJunk(t *testing.T) {
	h := newCopyHost(t)
	h.push(0)
	for i := range 1000 {
		h.buckets["aws"].AddVersion(h.key(1), fmt.Appendf(nil, "junk %d", i))
	}
	head, data := h.seal(1, must(h.store.Entries(0, 0))(t))
	h.buckets["aws"].AddVersion(head.Key(), data)
	to, _ := h.mustRestore(replication.RestoreOptions{}, "aws")
	sameStore(t, h.store, to)
}

func TestRestoreGap(t *testing.T) {
	h := copyHistory(t)
	for _, name := range mirrorNames {
		h.buckets[name].Erase(h.key(5), h.key(6))
	}
	to := openCopyStore(t, t.TempDir())
	rep, err := h.restore(to, replication.RestoreOptions{})
	if !errors.Is(err, replication.ErrIncomplete) || rep.Last != 4 {
		t.Fatalf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "#5 to #6", "segment 1/7")
	if seq, _, _ := to.Head(); seq != 4 {
		t.Errorf("the store ends at #%d", seq)
	}
}

// A mirror refused number 3; its entries came again under number 6, when 4 and 5 had been shipped.
func TestRestoreResealed(t *testing.T) {
	h := newCopyHost(t)
	for range 6 {
		h.push(0)
	}
	entries, _ := h.store.Entries(0, 0)
	for i, e := range entries[:5] {
		head := h.shipEntries([]storage.Entry{e})
		if i == 2 {
			h.buckets["b2"].Corrupt(head.Key(), func([]byte) []byte { return []byte("foreign") })
		}
	}
	h.shipEntries(entries[2:5])
	h.shipEntries(entries[5:])
	to, rep := h.mustRestore(replication.RestoreOptions{}, "b2")
	sameStore(t, h.store, to)
	if rep.Segment != 7 {
		t.Errorf("report:\n%s", rep)
	}
	all, _ := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, all)
}

func TestRestoreUnreachableMirror(t *testing.T) {
	h := copyHistory(t)
	down := errors.New("connection refused")
	fails := func(string) error { return down }
	h.buckets["aws"].Change(func(b *buckettest.Bucket) { b.OnGet, b.OnList, b.OnVersions = fails, fails, fails })
	to, rep := h.mustRestore(replication.RestoreOptions{})
	sameStore(t, h.store, to)
	wantLine(t, rep.Warnings, "mirror aws could not be used", "connection refused")

	rep, err := h.restore(openCopyStore(t, t.TempDir()), replication.RestoreOptions{}, "aws")
	if err == nil || errors.Is(err, replication.ErrNoRoot) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v\n%s", err, rep)
	}
}

// A mirror that stops answering half-way must not look like the end of the journal.
func TestRestoreMirrorDiesHalfway(t *testing.T) {
	h := copyHistory(t)
	to := openCopyStore(t, t.TempDir())
	down := errors.New("connection refused")
	fails := func(key string) error {
		if strings.Contains(key, "/log/") && key >= h.key(5) {
			return down
		}
		return nil
	}
	h.buckets["aws"].Change(func(b *buckettest.Bucket) { b.OnGet, b.OnVersions = fails, fails })
	rep, err := h.restore(to, replication.RestoreOptions{Parallel: 1}, "aws")
	if err == nil || errors.Is(err, replication.ErrIncomplete) || !strings.Contains(err.Error(), "run the same command again") {
		t.Fatalf("%v\n%s", err, rep)
	}
	if rep.Last != 4 {
		t.Errorf("report:\n%s", rep)
	}
	h.buckets["aws"].Calm()
	if rep, err := h.restore(to, replication.RestoreOptions{}, "aws"); err != nil || rep.Resumed != 4 {
		t.Errorf("%v\n%s", err, rep)
	}
	sameStore(t, h.store, to)
}

func TestRestoreFlakyMirrors(t *testing.T) {
	h := copyHistory(t)
	for i, name := range mirrorNames {
		h.buckets[name].Chaos(uint64(i), 20)
	}
	to, _ := h.mustRestore(replication.RestoreOptions{Attempts: 12})
	sameStore(t, h.store, to)
}

// A kit that knows a later root record than the mirrors show.
func TestRestoreRollback(t *testing.T) {
	h := copyHistory(t)
	if err := h.kit.SetKnownRoot(3, [32]byte{3}, nil); err != nil {
		t.Fatal(err)
	}
	to := openCopyStore(t, t.TempDir())
	rep, err := h.restore(to, replication.RestoreOptions{})
	if !errors.Is(err, replication.ErrIncomplete) {
		t.Errorf("%v\n%s", err, rep)
	}
	wantLine(t, rep.Missing, "root version 3", "kit knows")
	sameStore(t, h.store, to)
}

func TestRestoreProgress(t *testing.T) {
	h := copyHistory(t)
	var last replication.RestoreProgress
	h.mustRestore(replication.RestoreOptions{Progress: func(p replication.RestoreProgress) {
		if p.Segments < p.Segment || p.Seq < last.Seq {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
	}})
	if last.Segment != 9 || last.Segments != 9 || last.Entries != 9 || last.Bytes == 0 {
		t.Errorf("last progress %+v", last)
	}
}

// TestRestoreAtMove stops where a ref has been moved for the second time, at once and in two goes.
func TestRestoreAtMove(t *testing.T) {
	h := copyHistory(t)
	entries, _ := h.store.Entries(0, 0)
	move := &replication.RefMove{}
	var at []storage.Seq // the entries that move it
	for _, e := range entries {
		for _, u := range e.Refs {
			if move.Ref == "" && u.Target == "" && e.Seq > 2 {
				move.Repo, move.Ref = e.Repo, u.Name
			}
			if e.Repo == move.Repo && u.Name == move.Ref {
				at = append(at, e.Seq)
			}
		}
	}
	if move.Count = 2; len(at) < 3 {
		t.Fatalf("%s is moved %d times only", move.Ref, len(at))
	}
	for _, first := range []storage.Seq{0, at[0] - 1, at[0], at[1]} {
		o := replication.RestoreOptions{AtMove: move}
		if first > 0 {
			to, _ := h.mustRestore(replication.RestoreOptions{AtSeq: first})
			if rep, err := h.restore(to, o); err != nil || rep.Last < at[1] || rep.Last >= at[2] || rep.Moves != 2 {
				t.Errorf("from #%d on: %v\n%s", first, err, rep)
			}
			continue
		}
		if _, rep := h.mustRestore(o); rep.Last < at[1] || rep.Last >= at[2] || rep.Moves != 2 || rep.Cut == "" {
			t.Errorf("report:\n%s", rep)
		}
	}
}
