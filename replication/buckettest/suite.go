package buckettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/replication"
)

// Suite is the contract of replication.Bucket as tests.
type Suite struct {
	// Open returns the same bucket under the writer's and under the reader's credential. It is called once a test and
	// may return the same bucket each time: the tests use keys under prefixes of their own.
	Open func(t *testing.T) (writer, reader replication.Bucket)
	// Conditional says what the bucket does with a second put.
	Conditional Conditional
	// AddVersion stores a newer version of a key whatever Conditional says, and AddMarker hides a key behind a delete
	// marker. Where they are nil, the tests that need them are left out.
	AddVersion func(t *testing.T, key string, data []byte)
	AddMarker  func(t *testing.T, key string)
	// Keys is how many keys the test of listings stores, 25 if 0. Set it above the page size of the bucket.
	Keys int
	// BigBytes is the size of the largest upload, 3 MiB and a bit if 0. Set it above two parts of the bucket.
	BigBytes int
	// FileTree says that the bucket keeps each key as a file of that path, as some servers do: no component of a key is
	// longer than 255 bytes, and no key is a directory of another.
	FileTree bool
	// SharedCredential says that one credential may both write and read, so that nothing is denied.
	SharedCredential bool
}

// Run runs the suite against an enforcing bucket.
func Run(t *testing.T, open func(t *testing.T) (writer, reader replication.Bucket)) {
	Suite{Open: open}.Run(t)
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	if s.Keys == 0 {
		s.Keys = 25
	}
	if s.BigBytes == 0 {
		s.BigBytes = 3<<20 + 17
	}
	for _, test := range []struct {
		name string
		run  func(c *check)
	}{
		{"put and get", (*check).putGet},
		{"put again", (*check).putAgain},
		{"put with a wrong size", (*check).putWrongSize},
		{"put from an offset", (*check).putOffset},
		{"put at the same time", (*check).putRace},
		{"odd keys", (*check).oddKeys},
		{"missing keys", (*check).missing},
		{"versions", (*check).versions},
		{"prefixes of each other", (*check).prefixes},
		{"list", (*check).list},
		{"upload", (*check).upload},
		{"upload again", (*check).uploadAgain},
		{"upload aborted", (*check).uploadAborted},
		{"upload not completed", (*check).uploadOpen},
		{"uploads at the same time", (*check).uploadRace},
		{"context", (*check).cancelled},
		{"denied", (*check).denied},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, r := s.Open(t)
			var id [6]byte
			rand.Read(id[:])
			test.run(&check{T: t, s: s, w: w, r: r, prefix: "v1/contract-" + hex.EncodeToString(id[:]) + "/"})
		})
	}
}

// check is one test of the suite.
type check struct {
	*testing.T
	s      Suite
	w, r   replication.Bucket
	prefix string
}

func (c *check) put(key string, data []byte) error {
	return c.w.Put(c.Context(), c.prefix+key, bytes.NewReader(data), int64(len(data)))
}

func (c *check) mustPut(key string, data []byte) {
	c.Helper()
	if err := c.put(key, data); err != nil {
		c.Fatalf("put %q: %v", key, err)
	}
}

func (c *check) get(key string, v replication.Version) ([]byte, error) {
	body, err := c.r.Get(c.Context(), c.prefix+key, v)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (c *check) wantGet(key string, want []byte) {
	c.Helper()
	if got, err := c.get(key, ""); err != nil || !bytes.Equal(got, want) {
		c.Errorf("get %q: %d bytes, %v; want the %d bytes that were put", key, len(got), err, len(want))
	}
}

func (c *check) wantErr(what string, err error, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("%s: %v; want %v", what, err, want)
	}
}

func (c *check) putGet() {
	for name, data := range map[string][]byte{"some": []byte("some bytes"), "empty": {}, "large": noise(1<<20 + 1)} {
		c.mustPut(name, data)
		c.wantGet(name, data)
		vs, err := c.r.Versions(c.Context(), c.prefix+name)
		if err != nil || len(vs) != 1 || vs[0].Key != c.prefix+name || vs[0].Size != int64(len(data)) ||
			vs[0].Deleted || vs[0].Modified.IsZero() {
			c.Fatalf("versions of %q: %+v, %v", name, vs, err)
		}
		if got, err := c.get(name, vs[0].Version); err != nil || !bytes.Equal(got, data) {
			c.Errorf("get %q version %q: %d bytes, %v", name, vs[0].Version, len(got), err)
		}
	}
}

func (c *check) putAgain() {
	c.mustPut("k", []byte("first"))
	same, other := c.put("k", []byte("first")), c.put("k", []byte("other"))
	switch c.s.Conditional {
	case Enforced:
		c.wantErr("identical put", same, replication.ErrExists)
		c.wantErr("different put", other, replication.ErrExists)
	case WriteOnce:
		c.wantErr("identical put", same, nil)
		c.wantErr("different put", other, replication.ErrExists)
	case Ignored:
		c.wantErr("identical put", same, nil)
		c.wantErr("different put", other, nil)
	}
	vs, err := c.r.Versions(c.Context(), c.prefix+"k")
	if err != nil || len(vs) == 0 {
		c.Fatalf("versions: %v, %v", vs, err)
	}
	if got, err := c.get("k", vs[0].Version); err != nil || string(got) != "first" {
		c.Errorf("the oldest version is %q, %v", got, err)
	}
}

func (c *check) putWrongSize() {
	for _, size := range []int64{3, 5} {
		if err := c.w.Put(c.Context(), c.prefix+"k", strings.NewReader("four"), size); err == nil {
			c.Errorf("put of 4 bytes announced as %d succeeded", size)
		}
	}
	if vs, err := c.r.Versions(c.Context(), c.prefix+"k"); err != nil || len(vs) > 0 {
		c.Errorf("versions: %v, %v; want none", vs, err)
	}
}

// putOffset puts from a body that does not stand at its start, and uses it afterwards: the bucket must not close it.
func (c *check) putOffset() {
	body := &closeable{Reader: strings.NewReader("skip this")}
	if _, err := body.Seek(5, io.SeekStart); err != nil {
		c.Fatal(err)
	}
	if err := c.w.Put(c.Context(), c.prefix+"k", body, 4); err != nil {
		c.Fatal(err)
	}
	if body.closed {
		c.Error("Put closed the body")
	}
	c.wantGet("k", []byte("this"))
}

type closeable struct {
	*strings.Reader
	closed bool
}

func (b *closeable) Close() error { b.closed = true; return nil }

// putRace puts different bytes under one key from many goroutines. Where the bucket enforces the condition, exactly one
// wins and its bytes are the only ones.
func (c *check) putRace() {
	const racers = 8
	var wins [racers]bool
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			err := c.put("k", fmt.Appendf(nil, "racer %d", i))
			wins[i] = err == nil
			if err != nil && !errors.Is(err, replication.ErrExists) {
				c.Logf("racer %d: %v", i, err) // a provider may answer 409 while another put is under way
			}
		})
	}
	wg.Wait()
	won := 0
	for i := range wins {
		if !wins[i] {
			continue
		}
		won++
		if c.s.Conditional != Ignored {
			c.wantGet("k", fmt.Appendf(nil, "racer %d", i))
		}
	}
	if c.s.Conditional != Ignored && won != 1 || won == 0 {
		c.Errorf("%d racers won", won)
	}
}

func (c *check) oddKeys() {
	keys := []string{
		"a", "a.b", "a-b", "a b", "a+b", "a&b=c", "a%2Fb", "é/ü", "日本/語", "~tilde", "#hash", "q?uery", "quote'\"<>",
		"00000000000000000001", strings.Repeat("k", 200), strings.Repeat("deep/", 40) + "leaf", "semi;colon", "a:b@c,d$e!",
		"back\\slash", "star*(x)",
	}
	if !c.s.FileTree {
		keys = append(keys, strings.Repeat("k", 900), "a//b", "trailing/", "dot/./x", "dots/../x")
	}
	for _, key := range keys {
		c.mustPut(key, []byte("under "+key))
	}
	for _, key := range keys {
		c.wantGet(key, []byte("under "+key))
		if vs, err := c.r.Versions(c.Context(), c.prefix+key); err != nil || len(vs) != 1 {
			c.Errorf("versions of %q: %v, %v", key, vs, err)
		}
	}
	want := make([]string, len(keys))
	for i, key := range keys {
		want[i] = c.prefix + key
	}
	slices.Sort(want)
	c.wantList(c.prefix, "", want)
}

func (c *check) missing() {
	_, err := c.get("nothing", "")
	c.wantErr("get", err, replication.ErrNotFound)
	if vs, err := c.r.Versions(c.Context(), c.prefix+"nothing"); err != nil || len(vs) > 0 {
		c.Errorf("versions: %v, %v; want none and no error", vs, err)
	}
	c.wantList(c.prefix, "", nil)
}

func (c *check) versions() {
	if c.s.AddVersion == nil || c.s.AddMarker == nil {
		c.Skip("this bucket has one version of a key")
	}
	c.mustPut("k", []byte("one"))
	c.s.AddVersion(c.T, c.prefix+"k", []byte("two"))
	c.s.AddMarker(c.T, c.prefix+"k")
	c.s.AddVersion(c.T, c.prefix+"k-longer", []byte("junk"))
	vs, err := c.r.Versions(c.Context(), c.prefix+"k")
	if err != nil || len(vs) != 3 {
		c.Fatalf("versions: %+v, %v; want two and a marker", vs, err)
	}
	for i, want := range []string{"one", "two"} {
		if got, err := c.get("k", vs[i].Version); err != nil || string(got) != want || vs[i].Deleted {
			c.Errorf("version %d is %q (%+v), %v; want %q", i, got, vs[i], err, want)
		}
	}
	if !vs[2].Deleted {
		c.Errorf("the newest is no delete marker: %+v", vs[2])
	}
	_, err = c.get("k", "")
	c.wantErr("get behind a marker", err, replication.ErrNotFound)
	_, err = c.get("k", vs[2].Version)
	c.wantErr("get of a marker", err, replication.ErrNotFound)
	c.wantList(c.prefix, "", []string{c.prefix + "k-longer"})
}

// prefixes stores keys that are prefixes of each other.
func (c *check) prefixes() {
	if c.s.FileTree {
		c.Skip("a key cannot be a directory here")
	}
	keys := []string{"a", "a/b", "a/b/c", "a-b", "ab", "a0"}
	for _, key := range keys {
		c.mustPut(key, []byte(key))
	}
	for _, key := range keys {
		c.wantGet(key, []byte(key))
		if vs, err := c.r.Versions(c.Context(), c.prefix+key); err != nil || len(vs) != 1 || vs[0].Key != c.prefix+key {
			c.Errorf("versions of %q: %v, %v; want one", key, vs, err)
		}
	}
	want := []string{"a", "a-b", "a/b", "a/b/c", "a0", "ab"}
	for i := range want {
		want[i] = c.prefix + want[i]
	}
	c.wantList(c.prefix, "", want)
	c.wantList(c.prefix+"a/", "", want[2:4])
	c.wantList(c.prefix+"a/b", c.prefix+"a/b", want[3:4])
}

func (c *check) list() {
	var want []string
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range c.s.Keys {
		key := fmt.Sprintf("n/%06d", i)
		want = append(want, c.prefix+key)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := c.put(key, []byte(key)); err != nil {
				c.Errorf("put %q: %v", key, err)
			}
		})
	}
	wg.Wait()
	c.mustPut("m", nil)
	c.mustPut("o", nil)
	c.wantList(c.prefix+"n/", "", want)
	half := len(want) / 2
	c.wantList(c.prefix+"n/", want[half], want[half+1:])
	c.wantList(c.prefix+"n/", c.prefix+"n/000000-between", want[1:])
	c.wantList(c.prefix+"n/", c.prefix+"o", nil)
	c.wantList(c.prefix+"n/0", c.prefix, want)
	for o, err := range c.r.List(c.Context(), c.prefix+"n/", "") { // stopping early is allowed
		if err != nil || o.Key != want[0] || o.Size != int64(len("n/000000")) || o.Modified.IsZero() {
			c.Errorf("first of the listing: %+v, %v", o, err)
		}
		break
	}
}

func (c *check) wantList(prefix, after string, want []string) {
	c.Helper()
	var got []string
	for o, err := range c.r.List(c.Context(), prefix, after) {
		if err != nil {
			c.Errorf("list %q after %q: %v", prefix, after, err)
			return
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		c.Errorf("list %q after %q: %d keys %.600q\nwant %d %.600q", prefix, after, len(got), got, len(want), want)
	}
}

func (c *check) cancelled() {
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	err := c.w.Put(ctx, c.prefix+"k", strings.NewReader("x"), 1)
	c.wantErr("put", err, context.Canceled)
	_, err = c.w.Upload(ctx, c.prefix+"k")
	c.wantErr("upload", err, context.Canceled)
	_, err = c.r.Get(ctx, c.prefix+"k", "")
	c.wantErr("get", err, context.Canceled)
	_, err = c.r.Versions(ctx, c.prefix+"k")
	c.wantErr("versions", err, context.Canceled)
	err = nil
	for _, e := range c.r.List(ctx, c.prefix, "") {
		err = e
	}
	c.wantErr("list", err, context.Canceled)
	if vs, err := c.r.Versions(c.Context(), c.prefix+"k"); err != nil || len(vs) > 0 {
		c.Errorf("versions: %v, %v; want none", vs, err)
	}
}

func (c *check) denied() {
	if c.s.SharedCredential {
		c.Skip("one credential for both")
	}
	c.mustPut("k", []byte("x"))
	ctx := c.Context()
	err := c.r.Put(ctx, c.prefix+"k2", strings.NewReader("x"), 1)
	c.wantErr("put by the reader", err, replication.ErrDenied)
	_, err = c.r.Upload(ctx, c.prefix+"k2")
	c.wantErr("upload by the reader", err, replication.ErrDenied)
	_, err = c.w.Get(ctx, c.prefix+"k", "")
	c.wantErr("get by the writer", err, replication.ErrDenied)
	_, err = c.w.Versions(ctx, c.prefix+"k")
	c.wantErr("versions by the writer", err, replication.ErrDenied)
	err = nil
	for _, e := range c.w.List(ctx, c.prefix, "") {
		err = e
	}
	c.wantErr("list by the writer", err, replication.ErrDenied)
	c.wantGet("k", []byte("x"))
}

// noise returns n random bytes.
func noise(n int) []byte {
	var seed [32]byte
	rand.Read(seed[:])
	b := make([]byte, n)
	mathrand.NewChaCha8(seed).Read(b)
	return b
}
