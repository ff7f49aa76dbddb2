package replication_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
)

var errNet = errors.New("connection reset")

// host is a journal, a spool and buckets with a Replicator that can crash and come back.
type host struct {
	t       *testing.T
	w       *world
	j       *journal
	dir     string
	names   []string
	buckets []*buckettest.Bucket
	o       replication.Options
	mo      replication.MirrorOptions

	r    *replication.Replicator
	stop func()
	log  *logBuffer
}

// logBuffer is a log that tests can search.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newHost makes a host with three conditional mirrors. Call it inside a synctest bubble.
func newHost(t *testing.T) *host {
	w := newWorld(t)
	h := &host{t: t, w: w, j: newJournal(w), dir: filepath.Join(t.TempDir(), "spool"), names: []string{"aws", "b2", "wasabi"}, log: &logBuffer{}}
	for range h.names {
		h.buckets = append(h.buckets, buckettest.New(t))
	}
	h.mo = replication.MirrorOptions{Conditional: true}
	h.o = replication.Options{Jitter: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(h.log, nil))}
	return h
}

func (h *host) options() replication.Options {
	o := h.o
	o.Dir, o.Root, o.RootKey, o.Signer = h.dir, h.w.rootObject, h.w.rootKey, h.w.journal
	return o
}

func (h *host) open() (*replication.Replicator, error) {
	var mirrors []*replication.Mirror
	for i, name := range h.names {
		mirrors = append(mirrors, replication.NewMirror(name, h.buckets[i], h.mo))
	}
	return replication.New(h.j, mirrors, h.options())
}

// start opens the host and runs it. The cleanup stops it.
func (h *host) start() {
	h.t.Helper()
	h.run(must(h.open())(h.t))
}

func (h *host) run(r *replication.Replicator) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	h.r = r
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errDead) {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(h.stop)
}

// crash stops the host without letting it write anything more, and leaves what a restart would find.
func (h *host) crash() {
	fresh := h.j.crash()
	h.stop()
	for _, b := range h.buckets {
		b.Wait()
	}
	h.j = fresh
}

func (h *host) push(packs ...string) storage.Seq {
	seq := h.j.commit(h.t, nil, packs...)
	h.r.Notify()
	return seq
}

func (h *host) mustAck(seq storage.Seq) replication.Receipt {
	h.t.Helper()
	receipt, err := h.r.Wait(context.Background(), seq)
	if err != nil {
		h.t.Fatal(err)
	}
	return receipt
}

func (h *host) status(name string) replication.MirrorStatus {
	h.t.Helper()
	for _, s := range h.r.Status() {
		if s.Name == name {
			return s
		}
	}
	h.t.Fatalf("no mirror %s", name)
	return replication.MirrorStatus{}
}

// proven reads a mirror as a restore would: segments by number, until one is missing. It returns the last entry that the
// mirror holds with all before it and their packs. An object that does not decode may take a number and prove nothing.
func (w *world) proven(t testing.TB, b *buckettest.Bucket, j *journal) storage.Seq {
	t.Helper()
	var have [][2]storage.Seq
	for n := uint64(1); ; n++ {
		key := replication.SegmentKey(w.instance, 1, 1, n)
		r, err := b.Get(context.Background(), key, "")
		if errors.Is(err, replication.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := replication.OpenSegment(r, w.roots)
		if err != nil {
			continue
		}
		entries, err := s.Decrypt(w.identity)
		if err != nil || s.Header().Key() != key {
			t.Fatalf("segment %d: %v", n, err)
		}
		if w.wholeSegment(t, b, j, s, entries) {
			have = append(have, [2]storage.Seq{s.Header().First, s.Header().Last})
		}
	}
	head := storage.Seq(0)
	for grew := true; grew; {
		grew = false
		for _, v := range have {
			if v[0] <= head+1 && v[1] > head {
				head, grew = v[1], true
			}
		}
	}
	return head
}

// wholeSegment reports whether entries are the journal's and the bucket holds their packs.
func (w *world) wholeSegment(t testing.TB, b *buckettest.Bucket, j *journal, s *replication.SegmentReader, entries []storage.Entry) bool {
	t.Helper()
	for _, e := range entries {
		mine, err := j.Entries(e.Seq-1, 1)
		if err != nil || len(mine) == 0 || mine[0].Hash() != e.Hash() {
			t.Fatalf("segment %d: entry %d is not the journal's", s.Header().Number, e.Seq)
		}
	}
	for {
		info, r, err := s.NextPack()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != info.Size {
			t.Fatal(n, err)
		}
	}
	for _, e := range entries {
		for _, p := range e.Packs {
			if o, ok := s.Outside(p.ID); ok && !w.holdsPack(t, b, o, p.ID) {
				return false
			}
		}
	}
	return true
}

func (w *world) holdsPack(t testing.TB, b *buckettest.Bucket, o replication.PackObject, id storage.PackID) bool {
	t.Helper()
	r, err := b.Get(context.Background(), replication.PackKey(w.instance, 1, o.ID), "")
	if errors.Is(err, replication.ErrNotFound) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := replication.OpenPackObject(r, o, id, w.identity)
	if err == nil {
		_, err = io.Copy(io.Discard, plain)
	}
	if err != nil {
		return false
	}
	return true
}

// holders counts the mirrors that provably hold seq.
func (h *host) holders(seq storage.Seq) (n int) {
	for _, b := range h.buckets {
		if h.w.proven(h.t, b, h.j) >= seq {
			n++
		}
	}
	return n
}

func (h *host) spoolFiles(suffix string) (names []string) {
	files, err := os.ReadDir(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), suffix) {
			names = append(names, f.Name())
		}
	}
	return names
}

// storeAndFail makes the first put or completion of each key with match in it store and answer an error, until the returned
// func is called.
func storeAndFail(b *buckettest.Bucket, match string) (mend func()) {
	var mu sync.Mutex
	seen := map[string]bool{}
	hook := func(key string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if seen[key] || !strings.Contains(key, match) {
			return true, nil
		}
		seen[key] = true
		return true, errNet
	}
	b.Change(func(b *buckettest.Bucket) { b.OnPut, b.OnComplete = hook, hook })
	return func() { b.Change(func(b *buckettest.Bucket) { b.OnPut, b.OnComplete = nil, nil }) }
}

// down makes b unreachable until the returned func is called.
func down(b *buckettest.Bucket) (up func()) {
	b.Change(func(b *buckettest.Bucket) {
		b.OnPut = func(string) (bool, error) { return false, errNet }
		b.OnUpload = func(string) error { return errNet }
	})
	return func() { b.Change(func(b *buckettest.Bucket) { b.OnPut, b.OnUpload = nil, nil }) }
}

func bubble(t *testing.T, f func(*testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestPushIsAcked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		seq := h.push("PACK one")
		receipt := h.mustAck(seq)
		if len(receipt.Acks) < 2 || !strings.HasPrefix(receipt.String(), "#1 ") {
			t.Errorf("receipt %s", receipt)
		}
		synctest.Wait()
		if h.holders(seq) != 3 || h.r.Acked() != seq || h.r.Settled() != seq {
			t.Errorf("%d mirrors hold entry %d; acked %d", h.holders(seq), seq, h.r.Acked())
		}
		for _, s := range h.r.Status() {
			if s.State != replication.StateOK || s.Behind != 0 {
				t.Errorf("%+v", s)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := h.spoolFiles(""); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

func TestGroupCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		for i := range 600 {
			h.j.commit(t, nil, fmt.Sprintf("PACK %d", i))
		}
		h.start()
		h.mustAck(600)
		synctest.Wait()
		if s := h.status("aws"); s.Segment != 3 {
			t.Errorf("600 entries went into %d segments, want 3", s.Segment)
		}
		if h.holders(600) != 3 {
			t.Error("not all mirrors hold them")
		}
	})
}

func TestGroupCommitBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		for i := range 5 {
			h.j.commit(t, nil, strings.Repeat(fmt.Sprint(i), 7<<20))
		}
		h.start()
		h.mustAck(5)
		synctest.Wait()
		if s := h.status("aws"); s.Segment != 3 {
			t.Errorf("five packs of 7 MiB went into %d segments, want 3", s.Segment)
		}
	})
}

func TestSlowMirrorDelaysNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		up := down(h.buckets[2])
		h.start()
		for i := range 10 {
			receipt := h.mustAck(h.push(fmt.Sprint("PACK ", i)))
			if want := fmt.Sprintf("wasabi behind by %d", i+1); !strings.Contains(receipt.String(), want) {
				t.Errorf("receipt %q, want %q in it", receipt, want)
			}
			for _, a := range receipt.Acks {
				if a.Took != 0 {
					t.Errorf("%s took %s of no time", a.Mirror, a.Took)
				}
			}
		}
		synctest.Wait() // nobody has waited until wasabi was tried at all
		if s := h.status("wasabi"); s.State != replication.StateUnreachable || s.Behind != 10 || !strings.Contains(s.LastError, errNet.Error()) {
			t.Errorf("%+v", s)
		}
		if len(h.spoolFiles(".segment")) != 10 {
			t.Error("the spool does not hold the backlog")
		}
		up()
		time.Sleep(time.Minute)
		synctest.Wait()
		if h.holders(10) != 3 || h.status("wasabi").State != replication.StateOK {
			t.Errorf("wasabi did not catch up: %+v", h.status("wasabi"))
		}
		if left := h.spoolFiles(""); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

func TestNotAcked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		down(h.buckets[1])
		up := down(h.buckets[2])
		h.start()
		if err := h.r.Ready(); err != nil {
			t.Errorf("before first contact: %v", err)
		}
		seq := h.push("PACK")
		receipt, err := h.r.Wait(context.Background(), seq)
		if !errors.Is(err, replication.ErrNotAcked) || len(receipt.Acks) != 1 {
			t.Fatalf("%v, %v", receipt, err)
		}
		for _, want := range []string{"#1 ", "1 of the 2", "30s", "aws 0 ms", "b2 behind by 1 (unreachable)", "keeps trying"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
		if err := h.r.Ready(); err != nil {
			t.Errorf("after half a minute of failures: %v", err)
		}
		time.Sleep(time.Minute)
		if err := h.r.Ready(); !errors.Is(err, replication.ErrTooFewMirrors) || !strings.Contains(err.Error(), "wasabi unreachable") {
			t.Errorf("after more than a minute: %v", err)
		}
		up()
		time.Sleep(time.Minute)
		h.mustAck(seq)
		if err := h.r.Ready(); err != nil {
			t.Errorf("with two mirrors back: %v", err)
		}
	})
}

func TestReadyComesBackWithoutBacklog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.start()
		synctest.Wait()
		upB, upC := down(h.buckets[1]), down(h.buckets[2])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second)
		defer cancel()
		b := h.r.NewBigPack(ctx)
		b.Write(make([]byte, 9<<20))
		if _, err := b.Complete(ctx); err == nil {
			t.Error("completed on one mirror of three")
		}
		b.Abort()
		if err := h.r.Ready(); !errors.Is(err, replication.ErrTooFewMirrors) {
			t.Errorf("Ready: %v", err)
		}
		upB()
		upC()
		time.Sleep(time.Minute)
		if err := h.r.Ready(); err != nil {
			t.Errorf("with nothing to ship, mirrors that are back are not noticed: %v", err)
		}
	})
}
