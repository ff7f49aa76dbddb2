// Package buckettest holds what tests of buckets need: Suite, the contract that every replication.Bucket must fulfil,
// and Bucket, one in memory that fails in every way a real provider can.
//
// The contract also runs against Bucket itself, or the fake would lie. A fault is a hook that a test sets: it decides
// whether a write is stored and, apart from that, what its caller is told, because providers store what they report as
// failed and lose what they acknowledged. An attack is a method: AddVersion, AddMarker, Corrupt, Erase.
package buckettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/replication"
)

// Conditional says what a bucket does with a second put of a key.
type Conditional int

// What real providers do.
const (
	// Enforced answers ErrExists whatever the bytes are (AWS, MinIO). Like MinIO it lets a key be put again behind a
	// delete marker.
	Enforced Conditional = iota
	// WriteOnce accepts identical bytes, stores nothing for them, and answers ErrExists for others (holdfast mirror
	// serve).
	WriteOnce
	// Ignored stores a new version (Ceph).
	Ignored
)

// version is immutable once it is in a Bucket; attacks replace it.
type version struct {
	id       replication.Version
	data     []byte
	deleted  bool
	modified time.Time
	sum      [sha256.Size]byte
}

// Bucket is a replication.Bucket in memory. The zero value is not usable; New makes one. It is safe for concurrent use,
// apart from its exported fields: set those before other goroutines have the bucket, or inside Change.
type Bucket struct {
	// Conditional says what a second put of a key does. The zero value enforces the condition.
	Conditional Conditional
	// OnPut is called for each Put after its body was read. It decides whether the object is stored (as far as
	// Conditional allows) and which error the caller gets; (true, nil) is a bucket in order. While it blocks, other
	// calls go on; if the caller's context ends first, the caller gets the context's error and the object is still
	// stored when OnPut returns true.
	OnPut func(key string) (stored bool, err error)
	// OnComplete is OnPut for the completion of a multipart upload.
	OnComplete func(key string) (stored bool, err error)
	// OnUpload is called before an upload starts and OnPart before each part is taken, parts counting from 1. An error
	// from OnPart fails the upload for good.
	OnUpload func(key string) error
	OnPart   func(key string, part int) error
	// OnAbort is called for each Abort. If it returns an error, the parts stay.
	OnAbort func(key string) error
	// OnVersions, OnGet and OnList are called before their operation.
	OnVersions func(key string) error
	OnGet      func(key string) error
	OnList     func(prefix string) error
	// Now is the provider's clock. It defaults to one that advances a second for each stored version.
	Now func() time.Time

	mu       sync.Mutex
	objects  map[string][]version
	next     int
	uploads  map[*upload]struct{}
	puts     []string
	rewrites []string

	late sync.WaitGroup
}

// partBytes is the size of an upload's parts, small so that tests get several.
const partBytes = 1 << 20

// New returns an empty Bucket. When the test ends it fails if the bytes of any object changed other than by an attack.
func New(t testing.TB) *Bucket {
	b := &Bucket{objects: map[string][]version{}, uploads: map[*upload]struct{}{}}
	t.Cleanup(func() {
		if err := b.Verify(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Clone returns a Bucket with the same objects and no hooks: a snapshot that later writes do not reach.
func (b *Bucket) Clone(t testing.TB) *Bucket {
	c := New(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	c.Conditional, c.next = b.Conditional, b.next
	for key, vs := range b.objects {
		c.objects[key] = slices.Clone(vs)
	}
	return c
}

// Change runs f while no call looks at the bucket's fields, so that f may change them at any time.
func (b *Bucket) Change(f func(b *Bucket)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// Wait returns once no hook is running any more for a call whose caller gave up.
func (b *Bucket) Wait() { b.late.Wait() }

// Verify reports whether every object is what it was when it was stored.
func (b *Bucket) Verify() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for key, vs := range b.objects {
		for _, v := range vs {
			if sha256.Sum256(v.data) != v.sum {
				errs = append(errs, fmt.Errorf("object %s version %s changed", key, v.id))
			}
		}
	}
	return errors.Join(errs...)
}

// Put implements replication.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	if err := ctx.Err(); err != nil {
		return fail("put", key, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, size+1))
	if err != nil {
		return fail("put", key, err)
	}
	if int64(len(data)) != size {
		return fail("put", key, fmt.Errorf("the body does not have the %d bytes that were announced", size))
	}
	b.mu.Lock()
	b.puts = append(b.puts, key)
	hook := b.OnPut
	b.mu.Unlock()
	return fail("put", key, b.write(ctx, key, data, hook))
}

// write asks hook and stores. It returns early if ctx ends while hook blocks.
func (b *Bucket) write(ctx context.Context, key string, data []byte, hook func(string) (bool, error)) error {
	if hook == nil {
		return b.store(key, data)
	}
	answer := make(chan error, 1)
	b.late.Add(1)
	go func() {
		defer b.late.Done()
		stored, err := hook(key)
		if stored {
			err = cmp.Or(err, b.store(key, data))
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// store adds a version as far as Conditional allows.
func (b *Bucket) store(key string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	vs := b.objects[key]
	if n := len(vs); n > 0 && !vs[n-1].deleted {
		same := bytes.Equal(vs[n-1].data, data)
		if !same {
			b.rewrites = append(b.rewrites, key)
		}
		switch {
		case b.Conditional == WriteOnce && same:
			return nil
		case b.Conditional != Ignored:
			return replication.ErrExists
		}
	}
	b.add(key, version{data: data})
	return nil
}

// add appends v as the newest version of key; b.mu is held.
func (b *Bucket) add(key string, v version) {
	b.next++
	v.id = replication.Version("v" + strconv.Itoa(b.next))
	v.sum = sha256.Sum256(v.data)
	v.modified = time.Date(2026, 1, 1, 0, 0, b.next, 0, time.UTC)
	if b.Now != nil {
		v.modified = b.Now()
	}
	b.objects[key] = append(b.objects[key], v)
}

// Versions implements replication.Bucket.
func (b *Bucket) Versions(ctx context.Context, key string) ([]replication.Object, error) {
	if err := b.ask(ctx, key, func() func(string) error { return b.OnVersions }); err != nil {
		return nil, fail("versions", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []replication.Object
	for _, v := range b.objects[key] {
		out = append(out, v.object(key))
	}
	return out, nil
}

// Get implements replication.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, id replication.Version) (io.ReadCloser, error) {
	if err := b.ask(ctx, key, func() func(string) error { return b.OnGet }); err != nil {
		return nil, fail("get", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	vs := b.objects[key]
	for i, v := range slices.Backward(vs) {
		if v.id == id || id == "" && i == len(vs)-1 {
			if v.deleted {
				break
			}
			return io.NopCloser(bytes.NewReader(v.data)), nil
		}
	}
	return nil, fail("get", key, replication.ErrNotFound)
}

// List implements replication.Bucket. Like a real bucket it leaves out keys whose newest version is a delete marker.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[replication.Object, error] {
	return func(yield func(replication.Object, error) bool) {
		if err := b.ask(ctx, prefix, func() func(string) error { return b.OnList }); err != nil {
			yield(replication.Object{}, fail("list", prefix, err))
			return
		}
		for _, o := range b.page(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(replication.Object{}, fail("list", prefix, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (b *Bucket) page(prefix, after string) []replication.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []replication.Object
	for key, vs := range b.objects {
		newest := vs[len(vs)-1]
		if strings.HasPrefix(key, prefix) && key > after && !newest.deleted {
			out = append(out, newest.object(key))
		}
	}
	slices.SortFunc(out, func(x, y replication.Object) int { return cmp.Compare(x.Key, y.Key) })
	return out
}

// ask calls a hook that is read under the lock.
func (b *Bucket) ask(ctx context.Context, key string, pick func() func(string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	hook := pick()
	b.mu.Unlock()
	if hook == nil {
		return nil
	}
	answer := make(chan error, 1)
	b.late.Go(func() { answer <- hook(key) })
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v version) object(key string) replication.Object {
	return replication.Object{
		Key: key, Version: v.id, Size: int64(len(v.data)), Modified: v.modified, Deleted: v.deleted,
	}
}

func fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}
