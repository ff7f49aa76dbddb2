package replication_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
)

func TestLostReplySealsAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK 1"))
		synctest.Wait()
		mend := storeAndFail(h.buckets[0], "/log/")
		seq := h.push("PACK 2")
		h.mustAck(seq)
		synctest.Wait()
		mend()
		time.Sleep(time.Minute)
		synctest.Wait()
		s := h.status("aws")
		if s.State != replication.StateOK || s.Acked != seq || s.Segment != 3 {
			t.Errorf("%+v, want entry 2 again in segment 3", s)
		}
		if h.holders(seq) != 3 || len(h.spoolFiles("")) != 0 {
			t.Errorf("%d hold it; spool %v", h.holders(seq), h.spoolFiles(""))
		}
	})
}

func TestForeignWriterStopsMirror(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK 1"))
		synctest.Wait()
		h.buckets[0].Put(t.Context(), replication.SegmentKey(h.w.instance, 1, 1, 2), strings.NewReader("foreign"), 7)
		seq := h.push("PACK 2")
		h.mustAck(seq)
		check := func(when string) {
			t.Helper()
			synctest.Wait()
			s := h.status("aws")
			if s.State != replication.StateStopped || s.Acked != 1 || !strings.Contains(s.Reason, "somebody else wrote segment 2") {
				t.Errorf("%s: %+v", when, s)
			}
		}
		check("at once")
		if !strings.Contains(h.log.String(), "ALARM") {
			t.Error("no alarm in the log")
		}
		h.crash()
		h.start()
		time.Sleep(time.Minute)
		check("after a crash")
		h.mustAck(h.push("PACK 3"))
		h.stop()
		h.start()
		check("after a clean restart")
		if err := h.r.Ready(); err != nil {
			t.Errorf("two mirrors are left: %v", err)
		}
	})
}

func TestIdempotentMirrorTakesEveryRefusalAsForeign(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.mo = replication.MirrorOptions{Conditional: true, Idempotent: true}
		for _, b := range h.buckets {
			b.Conditional = buckettest.WriteOnce
		}
		h.start()
		mend := storeAndFail(h.buckets[0], "/log/")
		h.mustAck(h.push("PACK 1"))
		synctest.Wait()
		mend()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := h.status("aws"); s.State != replication.StateOK || s.Segment != 1 {
			t.Errorf("an identical re-put: %+v", s)
		}
		h.crash()
		h.buckets[0].Put(t.Context(), replication.SegmentKey(h.w.instance, 1, 1, 2), strings.NewReader("foreign"), 7)
		h.j.commit(t, nil, "PACK 2")
		h.start()
		h.mustAck(2)
		synctest.Wait()
		if s := h.status("aws"); s.State != replication.StateStopped {
			t.Errorf("%+v", s)
		}
	})
}

func TestRestartShipsWhatIsMissing(t *testing.T) {
	for _, how := range []string{"clean", "crash"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHost(t)
				up := down(h.buckets[2])
				h.start()
				for i := range 5 {
					h.mustAck(h.push(fmt.Sprint("PACK ", i)))
				}
				if how == "clean" {
					h.stop()
				} else {
					h.crash()
				}
				up()
				h.j.commit(t, nil, "PACK committed while nothing ran")
				h.start()
				h.mustAck(6)
				time.Sleep(time.Minute)
				synctest.Wait()
				if h.holders(6) != 3 || len(h.spoolFiles("")) != 0 {
					t.Errorf("%d hold entry 6; spool %v; %+v", h.holders(6), h.spoolFiles(""), h.r.Status())
				}
				if s := h.status("aws"); how == "clean" && s.Segment != 6 {
					t.Errorf("after a clean restart it took %d segments for 6 entries", s.Segment)
				}
			})
		})
	}
}

// An old copy of data directory and journal must not get acks, whatever was in its spool.
func TestOldSnapshotGetsNoAcks(t *testing.T) {
	for _, spooled := range []string{"empty spool", "full spool"} {
		t.Run(spooled, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHost(t)
				h.start()
				h.mustAck(h.push("PACK 1"))
				if spooled == "empty spool" {
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				old := copyDir(t, h.dir)
				oldJournal := h.j.crash()
				h.stop()
				h.j = oldJournal.crash()
				oldJournal.dead = false
				h.start()
				for i := range 5 {
					h.mustAck(h.push(fmt.Sprint("PACK new ", i)))
				}
				h.stop()

				h.dir, h.j = old, oldJournal
				for range 3 {
					h.start()
					seq := h.push("PACK of the old copy")
					if receipt, err := h.r.Wait(context.Background(), seq); !errors.Is(err, replication.ErrNotAcked) || len(receipt.Acks) > 0 {
						t.Fatalf("the old copy got %v, %v", receipt, err)
					}
					for _, s := range h.r.Status() {
						if s.State != replication.StateStopped {
							t.Errorf("%+v", s)
						}
					}
					if err := h.r.Ready(); !errors.Is(err, replication.ErrTooFewMirrors) {
						t.Errorf("Ready: %v", err)
					}
					h.crash()
				}
			})
		})
	}
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.mustAck(h.push("PACK"))
		synctest.Wait()
		storeAndFail(h.buckets[0], "/log/")
		h.mustAck(h.push("PACK 2"))
		time.Sleep(time.Hour)
		synctest.Wait()
		s := h.status("aws")
		if s.State != replication.StateStopped || s.Segment != 1+replication.Window {
			t.Errorf("%+v", s)
		}
		if n := countKeys(t, h.buckets[0], "/log/"); n != 1+replication.Window {
			t.Errorf("%d segments on the mirror", n)
		}
	})
}

func countKeys(t *testing.T, b *buckettest.Bucket, match string) (n int) {
	for o, err := range b.List(t.Context(), "v1/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(o.Key, match) {
			n++
		}
	}
	return n
}

// Successes that a crash forgot must not look like a foreign writer, however many there were.
func TestCrashForgetsManyAcks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.o.CursorInterval = time.Hour
		down(h.buckets[2]) // keeps the spool
		h.start()
		for i := range 3 * replication.Window {
			h.mustAck(h.push(fmt.Sprint("PACK ", i)))
			synctest.Wait()
			if i == replication.Window { // from here on no hint rides
				h.j.mu.Lock()
				h.j.hints = map[string][]byte{}
				h.j.mu.Unlock()
			}
		}
		h.crash()
		h.start()
		seq := h.push("PACK last")
		h.mustAck(seq)
		if h.holders(seq) < 2 {
			t.Error("not acknowledged by two mirrors")
		}
	})
}

func TestLockAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.o.LockAge = 90 * 24 * time.Hour
		h.start()
		h.mustAck(h.push("PACK"))
		synctest.Wait()
		time.Sleep(3 * h.o.LockAge)
		synctest.Wait()
		if err := h.r.Ready(); err != nil {
			t.Errorf("an idle host that runs: %v", err)
		}
		if s := h.status("aws"); s.Acked != 1 || s.Segment < 4 {
			t.Errorf("an idle host did not ship its last entry again: %+v", s)
		}
		h.mustAck(h.push("PACK 2"))
		h.stop()

		time.Sleep(h.o.LockAge + time.Hour)
		before := countKeys(t, h.buckets[0], "")
		h.start()
		seq := h.push("PACK 3")
		_, err := h.r.Wait(t.Context(), seq)
		if !errors.Is(err, replication.ErrNotAcked) || !strings.Contains(err.Error(), "takeover") {
			t.Errorf("a host that slept longer than the locks: %v", err)
		}
		if err := h.r.Ready(); !errors.Is(err, replication.ErrTooFewMirrors) || !strings.Contains(err.Error(), "takeover") {
			t.Errorf("Ready: %v", err)
		}
		if n := countKeys(t, h.buckets[0], ""); n != before {
			t.Errorf("it shipped %d objects", n-before)
		}
	})
}
