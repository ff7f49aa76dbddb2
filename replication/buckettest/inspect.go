package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"

	"holdfast/replication"
)

// Keys returns every key that has a version or a delete marker, in order.
func (b *Bucket) Keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// Contents returns the bytes of every version of key, oldest first, without delete markers.
func (b *Bucket) Contents(key string) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out [][]byte
	for _, v := range b.objects[key] {
		if !v.deleted {
			out = append(out, bytes.Clone(v.data))
		}
	}
	return out
}

// Puts returns the key of every Put in the order in which they came, refused and failed ones included.
func (b *Bucket) Puts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.puts)
}

// Rewrites returns the keys that were put with other bytes than they held, whatever the bucket answered. A writer that
// is alone never causes one.
func (b *Bucket) Rewrites() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rewrites)
}

// OpenUploads returns the keys of the uploads that were neither completed nor aborted.
func (b *Bucket) OpenUploads() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for u := range b.uploads {
		out = append(out, u.key)
	}
	slices.Sort(out)
	return out
}

// AddVersion makes data the newest version of key, as an attacker with a writer's credential can where no condition
// holds.
func (b *Bucket) AddVersion(key string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(key, version{data: bytes.Clone(data)})
}

// AddMarker hides key behind a delete marker.
func (b *Bucket) AddMarker(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(key, version{deleted: true})
}

// Corrupt replaces the bytes of all versions of key by what f returns for a copy of them, as only the provider can.
func (b *Bucket) Corrupt(key string, f func(data []byte) []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	vs := slices.Clone(b.objects[key])
	for i := range vs {
		vs[i].data = f(bytes.Clone(vs[i].data))
		vs[i].sum = sha256.Sum256(vs[i].data)
	}
	if len(vs) > 0 {
		b.objects[key] = vs
	}
}

// Erase removes every trace of the keys, as only the provider can.
func (b *Bucket) Erase(keys ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		delete(b.objects, key)
	}
}

// ErrFault is the error of calls that Chaos failed; it wraps no sentinel of package replication.
var ErrFault = errors.New("fault on purpose")

// Chaos sets every hook so that about percent of the calls fail with ErrFault, in an order that seed decides as long as
// the calls come in the same order. Half of the writes that fail are stored all the same.
func (b *Bucket) Chaos(seed uint64, percent int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	draw := func() (fails, stored bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return rng.IntN(100) < percent, rng.IntN(2) == 0
	}
	write := func(string) (bool, error) {
		if fails, stored := draw(); fails {
			return stored, ErrFault
		}
		return true, nil
	}
	read := func(string) error {
		if fails, _ := draw(); fails {
			return ErrFault
		}
		return nil
	}
	b.Change(func(b *Bucket) {
		b.OnPut, b.OnComplete = write, write
		b.OnUpload, b.OnAbort, b.OnVersions, b.OnGet, b.OnList = read, read, read, read, read
		b.OnPart = func(key string, _ int) error { return read(key) }
	})
}

// Calm removes all hooks.
func (b *Bucket) Calm() {
	b.Change(func(b *Bucket) {
		b.OnPut, b.OnComplete, b.OnPart = nil, nil, nil
		b.OnUpload, b.OnAbort, b.OnVersions, b.OnGet, b.OnList = nil, nil, nil, nil, nil
	})
}

// Writer returns the bucket as a writer's credential sees it: every read is denied.
func (b *Bucket) Writer() replication.Bucket { return writer{b} }

// Reader returns the bucket as a reader's credential sees it: every write is denied.
func (b *Bucket) Reader() replication.Bucket { return reader{b} }

type writer struct{ *Bucket }

func (writer) Versions(context.Context, string) ([]replication.Object, error) {
	return nil, fmt.Errorf("versions: %w", replication.ErrDenied)
}

func (writer) Get(context.Context, string, replication.Version) (io.ReadCloser, error) {
	return nil, fmt.Errorf("get: %w", replication.ErrDenied)
}

func (writer) List(context.Context, string, string) iter.Seq2[replication.Object, error] {
	return func(yield func(replication.Object, error) bool) {
		yield(replication.Object{}, fmt.Errorf("list: %w", replication.ErrDenied))
	}
}

type reader struct{ *Bucket }

func (reader) Put(context.Context, string, io.ReadSeeker, int64) error {
	return fmt.Errorf("put: %w", replication.ErrDenied)
}

func (reader) Upload(context.Context, string) (replication.Upload, error) {
	return nil, fmt.Errorf("upload: %w", replication.ErrDenied)
}
