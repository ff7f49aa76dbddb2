package replication_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/replication"
	"holdfast/replication/buckettest"
)

func TestSpoolBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.o.SpoolBytes = 1 << 20
		up := down(h.buckets[2])
		h.start()
		for i := range 20 {
			h.mustAck(h.push(strings.Repeat(fmt.Sprint(i), 100<<10)))
		}
		synctest.Wait()
		if s := h.status("wasabi"); s.State != replication.StateNeedsHeal || !strings.Contains(s.Reason, "1048576") {
			t.Fatalf("%+v", s)
		} else if !strings.Contains(s.Remedy, "holdfast takeover") || !strings.Contains(h.log.String(), "holdfast takeover") {
			t.Errorf("no remedy: %+v\n%s", s, h.log)
		}
		time.Sleep(time.Minute)
		if left := h.spoolFiles(""); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
		h.crash()
		h.start()
		up()
		time.Sleep(time.Minute)
		if s := h.status("wasabi"); s.State != replication.StateNeedsHeal || countKeys(t, h.buckets[2], "/log/") != 0 {
			t.Errorf("after a restart: %+v", s)
		}
		h.heal("wasabi", 0)
		seq := h.push("PACK behind the heal")
		h.mustAck(seq)
		synctest.Wait()
		if h.holders(seq) != 3 || h.status("wasabi").State != replication.StateOK {
			t.Errorf("after heal: %+v", h.status("wasabi"))
		}
	})
}

// heal copies all segments and packs from one mirror to another and says so.
func (h *host) heal(name string, from int) {
	h.t.Helper()
	to := h.buckets[slices.Index(h.names, name)]
	var at replication.Position
	for n := uint64(1); ; n++ {
		key := replication.SegmentKey(h.w.instance, 1, 1, n)
		r, err := h.buckets[from].Get(h.t.Context(), key, "")
		if err != nil {
			break
		}
		data := must(io.ReadAll(r))(h.t)
		s := must(replication.OpenSegment(strings.NewReader(string(data)), h.w.roots))(h.t)
		at = s.Header().Position()
		if err := to.Put(h.t.Context(), key, strings.NewReader(string(data)), int64(len(data))); err != nil && !errors.Is(err, replication.ErrExists) {
			h.t.Fatal(err)
		}
	}
	if err := h.r.Healed(name, at); err != nil {
		h.t.Fatal(err)
	}
}

func TestSpoolBoundWithoutAcks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.o.SpoolBytes = 1 << 20
		down(h.buckets[1])
		up := down(h.buckets[2])
		h.start()
		for i := range 20 {
			h.push(strings.Repeat(fmt.Sprint(i), 100<<10))
			synctest.Wait()
		}
		if err := h.r.Ready(); !errors.Is(err, replication.ErrSpool) {
			t.Errorf("Ready: %v", err)
		}
		for _, s := range h.r.Status() {
			if s.State == replication.StateNeedsHeal {
				t.Errorf("a backlog was dropped that the acks need: %+v", s)
			}
		}
		up()
		time.Sleep(time.Minute)
		h.mustAck(20)
		time.Sleep(time.Minute)
		if err := h.r.Ready(); err != nil {
			t.Errorf("Ready with two mirrors: %v", err)
		}
	})
}

// The spool is moved away, which fails like a full disk does and needs no file system of its own.
func TestDiskFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK 1"))
		time.Sleep(time.Minute)
		away := h.dir + ".away"
		if err := os.Rename(h.dir, away); err != nil {
			t.Fatal(err)
		}
		seq := h.push("PACK 2")
		start := time.Now()
		_, err := h.r.Wait(t.Context(), seq)
		if !errors.Is(err, replication.ErrNotAcked) || !errors.Is(err, replication.ErrSpool) || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if err := h.r.Ready(); !errors.Is(err, replication.ErrSpool) {
			t.Errorf("Ready: %v", err)
		}
		if !strings.Contains(h.log.String(), "cannot seal") {
			t.Error("nothing in the log")
		}
		if err := os.Rename(away, h.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h.mustAck(seq)
		if err := h.r.Ready(); err != nil {
			t.Errorf("Ready with space again: %v", err)
		}
	})
}

func TestDetachedStoreShipsNothing(t *testing.T) {
	h := newHost(t)
	h.j.state.Detached = true
	if _, err := h.open(); err == nil || !strings.Contains(err.Error(), "takeover") {
		t.Errorf("got %v", err)
	}
}

func TestRunTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		synctest.Wait()
		if err := h.r.Run(t.Context()); err == nil {
			t.Error("Run ran twice")
		}
	})
}

func TestDamagedSpool(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"header": func(path string) error { return os.WriteFile(path, []byte("junk"), 0o600) },
		"body": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, flip(data, len(data)-1), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHost(t)
				up := down(h.buckets[2])
				h.start()
				for i := range 3 {
					h.mustAck(h.push(fmt.Sprint("PACK ", i)))
				}
				h.stop()
				if err := damage(filepath.Join(h.dir, h.spoolFiles(".segment")[1])); err != nil {
					t.Fatal(err)
				}
				up()
				h.start()
				seq := h.push("PACK behind the damage")
				h.mustAck(seq)
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := h.status("wasabi"); s.State != replication.StateNeedsHeal || s.Acked > 1 {
					t.Errorf("%+v", s)
				}
				if h.status("aws").Acked != seq || h.holders(seq) != 2 {
					t.Errorf("%+v", h.r.Status())
				}
			})
		})
	}
}

// The system may not let a file of the spool be opened: too many are open, or they are another user's. A loop of links stands for that
// here. What is in the file is as good as before.
func TestSpoolOutlivesTheSystem(t *testing.T) {
	for _, c := range []struct {
		name   string
		suffix string // what the file's name ends in before the host is started
		opened bool   // the host has read the file once by then
	}{
		{"sealed", "", false},
		{"draft", ".tmp", false},
		{"shipped later", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHost(t)
				up := down(h.buckets[2])
				h.start()
				for i := range 3 {
					h.mustAck(h.push(fmt.Sprint("PACK ", i)))
				}
				h.stop()
				up()
				sealed := filepath.Join(h.dir, h.spoolFiles(".segment")[0])
				path := sealed + c.suffix
				if err := os.Rename(sealed, path); err != nil {
					t.Fatal(err)
				}
				hide := func() {
					if err := errors.Join(os.Rename(path, path+".away"), os.Symlink(filepath.Base(path), path)); err != nil {
						t.Fatal(err)
					}
				}
				show := func() {
					if err := os.Rename(path+".away", path); err != nil {
						t.Fatal(err)
					}
				}
				if c.opened {
					r := must(h.open())(t)
					hide()
					h.run(r)
					time.Sleep(time.Second)
					show()
				} else {
					hide()
					if _, err := h.open(); !errors.Is(err, syscall.ELOOP) {
						t.Errorf("opened: %v", err)
					}
					show()
					h.start()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := h.status("wasabi"); s.State != replication.StateOK || s.Acked != 3 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestMixedDirectory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		down(h.buckets[2])
		h.start()
		h.mustAck(h.push("PACK 1"))
		h.mustAck(h.push("PACK 2"))
		h.stop()
		h.j.entries = h.j.entries[:1]
		if _, err := h.open(); err == nil || !strings.Contains(err.Error(), "different times") {
			t.Errorf("a journal that is older than the spool: %v", err)
		}
		h.j.commit(t, nil, "PACK another 2")
		if _, err := h.open(); err == nil || !strings.Contains(err.Error(), "different times") {
			t.Errorf("a journal with another entry 2: %v", err)
		}
	})
}

func TestNewMirrorNeedsHeal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK 1"))
		time.Sleep(time.Minute)
		h.stop()
		h.names = append(h.names, "nas")
		h.buckets = append(h.buckets, buckettest.New(t))
		h.start()
		if s := h.status("nas"); s.State != replication.StateNeedsHeal {
			t.Errorf("%+v", s)
		}
		h.heal("nas", 0)
		seq := h.push("PACK 2")
		h.mustAck(seq)
		synctest.Wait()
		if h.holders(seq) != 4 {
			t.Errorf("%+v", h.r.Status())
		}
	})
}

func TestStartEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK 1"))
		h.mustAck(h.push("PACK 2"))
		h.stop()

		secret, public, err := replication.NewJournalKey(h.w.instance, 2)
		if err != nil {
			t.Fatal(err)
		}
		h.w.journal = must(note.NewSigner(secret))(t)
		root := h.w.roots[h.w.rootRef]
		last := h.j.entries[1]
		root.Version, root.Epoch, root.Prev, root.Journal = 2, 2, h.w.rootRef.Sum, public
		root.After = &replication.Position{Generation: 1, Epoch: 1, Number: 2, Last: 2, Head: last.Hash()}
		h.w.addRoot(t, root)
		if _, err := h.open(); err == nil {
			t.Error("a root record of another epoch than the store's was accepted")
		}
		h.j.state.Epoch = 2
		if err := replication.StartEpoch(h.j, root, h.names, []string{"wasabi"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		h.start()
		seq := h.push("PACK 3")
		h.mustAck(seq)
		if s := h.status("wasabi"); s.State != replication.StateNeedsHeal {
			t.Errorf("%+v", s)
		}
		key := replication.SegmentKey(h.w.instance, 1, 2, 1)
		data := h.buckets[0].Contents(key)
		if len(data) != 1 {
			t.Fatalf("%d objects at %s", len(data), key)
		}
		s := must(replication.OpenSegment(bytes.NewReader(data[0]), h.w.roots))(t)
		if got := s.Header(); got.First != 3 || got.Prev != last.Hash() {
			t.Errorf("%+v", got)
		}
	})
}

// While the disk has too little room to seal, a push is refused before anything of it is stored. What was committed
// before is sealed and sent once there is room, by itself.
func TestDiskNearlyFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		var free atomic.Int64
		free.Store(replication.DefaultMinFree)
		h.o.Free = func(dir string) (int64, error) {
			if dir != h.dir {
				t.Errorf("asked about %s", dir)
			}
			return free.Load(), nil
		}
		h.start()
		if err := h.r.Ready(); err != nil {
			t.Fatalf("Ready with just enough room: %v", err)
		}
		free.Add(-1)
		away := h.dir + ".away" // fails like a disk without any room
		if err := os.Rename(h.dir, away); err != nil {
			t.Fatal(err)
		}
		seq := h.push("PACK") // was under way
		if _, err := h.r.Wait(t.Context(), seq); !errors.Is(err, replication.ErrSpool) {
			t.Errorf("Wait: %v", err)
		}
		if err := os.Rename(away, h.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h.mustAck(seq)
		err := h.r.Ready()
		if !errors.Is(err, replication.ErrSpool) || !strings.Contains(err.Error(), "nearly full") || !strings.Contains(err.Error(), h.dir) {
			t.Errorf("Ready without room: %v", err)
		}
		free.Add(1)
		if err := h.r.Ready(); err != nil {
			t.Errorf("Ready with room again: %v", err)
		}
	})
}
