package replication_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

// bigData is a pack over the size that goes into a segment.
func bigData(seed byte) string {
	data := make([]byte, replication.MaxInlinePackBytes+3<<20)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return string(data)
}

// receive writes data to a new BigPack in pieces.
func (h *host) receive(data string) *replication.BigPack {
	h.t.Helper()
	b := h.r.NewBigPack(h.t.Context())
	for len(data) > 0 {
		n := min(len(data), 100_000)
		if _, err := b.Write([]byte(data[:n])); err != nil {
			h.t.Fatal(err)
		}
		data = data[n:]
	}
	return b
}

// pushBig does what a push of a big pack does.
func (h *host) pushBig(data string) storage.Seq {
	h.t.Helper()
	b := h.receive(data)
	defer b.Abort()
	external, err := b.Complete(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	seq := h.j.commit(h.t, external, data)
	h.r.Notify()
	return seq
}

func (h *host) settled(seq storage.Seq) {
	h.t.Helper()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if h.holders(seq) != 3 {
		h.t.Errorf("%d mirrors hold entry %d: %+v", h.holders(seq), seq, h.r.Status())
	}
	if left := h.spoolFiles(""); len(left) != 0 {
		h.t.Errorf("left in the spool: %v", left)
	}
}

func TestSmallPackGoesIntoTheSegment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		b := h.receive("PACK small")
		external, err := b.Complete(t.Context())
		if external != nil || err != nil {
			t.Errorf("%s, %v", external, err)
		}
		b.Abort()
		if _, err := b.Write([]byte("more")); err == nil {
			t.Error("written to after Complete")
		}
	})
}

func TestBigPack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		data := bigData(1)
		b := h.receive(data)
		synctest.Wait()
		if n := len(h.buckets[0].OpenUploads()); n != 1 {
			t.Errorf("%d uploads while it comes in, want 1", n)
		}
		external, err := b.Complete(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o, err := replication.ParsePackObject(external)
		if err != nil || !h.w.holdsPack(t, h.buckets[0], o, packInfo(data).ID) {
			t.Errorf("%s: %v", external, err)
		}
		seq := h.j.commit(t, external, data)
		h.r.Notify()
		h.mustAck(seq)
		b.Abort()
		h.settled(seq)
	})
}

func TestBigPackAbort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.receive(bigData(1)).Abort()
		b := h.receive(bigData(2))
		if _, err := b.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Abort() // the transaction lost a race
		b.Abort()
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := h.spoolFiles(""); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
		for i, b := range h.buckets {
			if len(b.OpenUploads()) != 0 {
				t.Errorf("bucket %d has %d uploads", i, len(b.OpenUploads()))
			}
		}
	})
}

func TestBigPackSlowMirror(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		go_ := make(chan struct{})
		h.buckets[2].OnPart = func(string, int) error { <-go_; return nil }
		h.start()
		seq := h.pushBig(bigData(1))
		h.mustAck(seq)
		next := h.push("PACK behind it")
		h.mustAck(next)
		close(go_)
		h.settled(next)
	})
}

// A mirror that hangs is given up after a while, and gets the pack from the spool once it works.
func TestBigPackStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		var hung atomic.Bool
		hang := make(chan struct{})
		h.buckets[2].OnPart = func(string, int) error {
			if hung.CompareAndSwap(false, true) {
				<-hang
			}
			return nil
		}
		h.start()
		seq := h.pushBig(bigData(1))
		h.mustAck(seq)
		if s := h.status("wasabi"); s.Acked != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		h.settled(seq)
		close(hang)
	})
}

func TestBigPackTooFewMirrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		down(h.buckets[1])
		down(h.buckets[2])
		h.start()
		b := h.receive(bigData(1))
		_, err := b.Complete(t.Context())
		if !errors.Is(err, replication.ErrTooFewMirrors) {
			t.Errorf("got %v", err)
		}
		b.Abort()
	})
}

func TestBigPackLostReply(t *testing.T) {
	for name, crash := range map[string]bool{"running": false, "crash": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHost(t)
				h.start()
				mend := storeAndFail(h.buckets[0], "/pack/")
				seq := h.pushBig(bigData(1))
				if crash {
					h.crash()
					mend()
					h.start()
				}
				h.mustAck(seq)
				mend()
				h.settled(seq)
			})
		})
	}
}

// What lies under the key of a lost reply may be anything: it never counts, though the mirror answers 412.
func TestBigPackTruncatedByLostReply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		var once sync.Once
		b := h.buckets[0]
		b.Change(func(*buckettest.Bucket) {
			b.OnComplete = func(key string) (bool, error) {
				stored, err := true, error(nil)
				once.Do(func() {
					b.Put(context.Background(), key, strings.NewReader("half"), 4)
					stored, err = false, errNet
				})
				return stored, err
			}
		})
		seq := h.pushBig(bigData(1))
		h.mustAck(seq)
		h.settled(seq)
	})
}

func TestBigPackCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		up := down(h.buckets[2])
		h.start()
		b := h.receive(bigData(9)) // never committed
		if _, err := b.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.receive(bigData(8)) // not even complete
		data := bigData(1)
		seq := h.pushBig(data)
		h.crash()
		if n := len(h.spoolFiles(".pack")); n != 2 {
			t.Errorf("%d packs in the spool after the crash, want 2", n)
		}
		up()
		h.start()
		if n := len(h.spoolFiles(".pack")); n != 1 {
			t.Errorf("%d packs in the spool after the restart, want 1", n)
		}
		h.mustAck(seq)
		h.settled(seq)
		if n := countKeys(t, h.buckets[2], "/pack/"); n != 1 {
			t.Errorf("%d packs on the mirror that was down, want 1", n)
		}
		// If its segment was on the way when the host crashed, the entry is sealed once more.
		if n := countKeys(t, h.buckets[0], "/log/"); n < 1 || n > 2 {
			t.Errorf("%d segments for 1 entry", n)
		}
	})
}

// A big pack that came by another way than NewBigPack, such as an import, is put outside when it is sealed.
func TestBigPackWithoutStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		seq := h.push(bigData(1))
		h.mustAck(seq)
		h.settled(seq)
		if n := countKeys(t, h.buckets[0], "/pack/"); n != 1 {
			t.Errorf("%d packs outside", n)
		}
	})
}

func TestBigPackSpoolLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		up := down(h.buckets[2])
		h.start()
		h.o.SpoolBytes = 1 << 30
		data := bigData(1)
		b := h.receive(data)
		external, err := b.Complete(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.j.commit(t, external, data)
		h.crash()
		up()
		h.dir = t.TempDir()
		h.start()
		h.mustAck(1)
		h.settled(1)
	})
}

func TestPackObjectRecord(t *testing.T) {
	for _, bad := range []string{"", "{}", `{"id":"x"}`, `{"id":"00000000000000000000000000000001","size":1}`, "null"} {
		if _, err := replication.ParsePackObject([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if bytes.Contains([]byte(bigData(1)[:10]), []byte("PACK")) {
		t.Error("test data")
	}
}
