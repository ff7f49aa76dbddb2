package buckettest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast/replication"
	"holdfast/replication/buckettest"
)

func TestContract(t *testing.T) {
	for _, test := range []struct {
		name        string
		conditional buckettest.Conditional
	}{
		{"enforced", buckettest.Enforced},
		{"write once", buckettest.WriteOnce},
		{"ignored", buckettest.Ignored},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := buckettest.New(t)
			b.Conditional = test.conditional
			buckettest.Suite{
				Conditional: test.conditional,
				Open: func(*testing.T) (replication.Bucket, replication.Bucket) {
					return b.Writer(), b.Reader()
				},
				AddVersion: func(_ *testing.T, key string, data []byte) { b.AddVersion(key, data) },
				AddMarker:  func(_ *testing.T, key string) { b.AddMarker(key) },
				Keys:       1100,
			}.Run(t)
			if open := b.OpenUploads(); len(open) > 0 {
				t.Errorf("uploads left open: %q", open)
			}
		})
	}
}

func put(ctx context.Context, b replication.Bucket, key, data string) error {
	return b.Put(ctx, key, strings.NewReader(data), int64(len(data)))
}

// TestFaults: what is stored and what the caller hears are two things.
func TestFaults(t *testing.T) {
	errFault := errors.New("fault")
	for _, test := range []struct {
		name   string
		stored bool
		err    error
	}{
		{"fine", true, nil},
		{"stored and failed", true, errFault},
		{"failed", false, errFault},
		{"acknowledged and lost", false, nil},
		{"refused", false, replication.ErrExists},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := buckettest.New(t)
			b.OnPut = func(string) (bool, error) { return test.stored, test.err }
			if err := put(t.Context(), b, "k", "data"); !errors.Is(err, test.err) {
				t.Errorf("put: %v; want %v", err, test.err)
			}
			if got := len(b.Contents("k")) == 1; got != test.stored {
				t.Errorf("stored: %v; want %v", got, test.stored)
			}
		})
	}
}

// TestLateStore: a caller gives up, and the object is stored afterwards.
func TestLateStore(t *testing.T) {
	b := buckettest.New(t)
	entered, release := make(chan struct{}), make(chan struct{})
	b.OnPut = func(string) (bool, error) {
		close(entered)
		<-release
		return true, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if err := put(ctx, b, "k", "data"); !errors.Is(err, context.Canceled) {
		t.Fatalf("put: %v", err)
	}
	if len(b.Contents("k")) != 0 {
		t.Fatal("stored before the hook allowed it")
	}
	close(release)
	b.Wait()
	if len(b.Contents("k")) != 1 {
		t.Fatal("not stored")
	}
}

func TestAttacks(t *testing.T) {
	b := buckettest.New(t)
	for _, key := range []string{"a", "b", "c"} {
		if err := put(t.Context(), b, key, "data "+key); err != nil {
			t.Fatal(err)
		}
	}
	before := b.Clone(t)
	b.AddVersion("a", []byte("junk"))
	b.Corrupt("b", func(data []byte) []byte { data[0] ^= 1; return data })
	b.Erase("c")
	if got := b.Contents("a"); len(got) != 2 || string(got[0]) != "data a" {
		t.Errorf("a: %q", got)
	}
	if got := b.Contents("b"); string(got[0]) == "data b" {
		t.Errorf("b: %q", got)
	}
	if got := b.Keys(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("keys: %q", got)
	}
	for _, key := range []string{"a", "b", "c"} {
		if got := before.Contents(key); len(got) != 1 || string(got[0]) != "data "+key {
			t.Errorf("the clone has %q: %q", key, got)
		}
	}
}

func TestRewrites(t *testing.T) {
	b := buckettest.New(t)
	b.Conditional = buckettest.WriteOnce
	for _, data := range []string{"one", "one", "two"} {
		put(t.Context(), b, "k", data)
	}
	if got := b.Rewrites(); !slices.Equal(got, []string{"k"}) {
		t.Errorf("rewrites: %q", got)
	}
	if got := b.Puts(); len(got) != 3 {
		t.Errorf("puts: %q", got)
	}
}

// TestChaos: the same seed fails the same calls.
func TestChaos(t *testing.T) {
	run := func() (failed, stored []string) {
		b := buckettest.New(t)
		b.Chaos(7, 40)
		for _, key := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			if err := put(t.Context(), b, key, key); errors.Is(err, buckettest.ErrFault) {
				failed = append(failed, key)
			}
		}
		return failed, b.Keys()
	}
	failed, stored := run()
	failed2, stored2 := run()
	if !slices.Equal(failed, failed2) || !slices.Equal(stored, stored2) {
		t.Errorf("failed %q then %q, stored %q then %q", failed, failed2, stored, stored2)
	}
	if len(failed) == 0 || len(failed)+len(stored) == 26 {
		t.Errorf("failed %q, stored %q: no failed put was stored", failed, stored)
	}
}
