package pack_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// builder makes packs byte by byte, good and bad ones, without the package's own encoder.
type builder struct {
	buf   bytes.Buffer
	count uint32
}

func (b *builder) offset() int64 { return 12 + int64(b.buf.Len()) }

func (b *builder) header(kind byte, size int64) {
	b.count++
	c := kind<<4 | byte(size&15)
	size >>= 4
	for size > 0 {
		b.buf.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
		size >>= 7
	}
	b.buf.WriteByte(c)
}

// deflaters are used again: to make one for each object would take most of the time of tests with many.
var deflaters = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

func deflate(data []byte) []byte {
	var buf bytes.Buffer
	z := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(z)
	z.Reset(&buf)
	z.Write(data)
	z.Close()
	return buf.Bytes()
}

// object adds an object stored whole and returns its offset.
func (b *builder) object(t object.Type, data []byte) int64 {
	off := b.offset()
	b.header(byte(t), int64(len(data)))
	b.buf.Write(deflate(data))
	return off
}

// ofs adds a delta on the entry at base.
func (b *builder) ofs(base int64, delta []byte) int64 {
	off := b.offset()
	b.header(6, int64(len(delta)))
	dist := off - base
	enc := []byte{byte(dist & 0x7f)}
	for dist >>= 7; dist > 0; dist >>= 7 {
		dist--
		enc = append([]byte{0x80 | byte(dist&0x7f)}, enc...)
	}
	b.buf.Write(enc)
	b.buf.Write(deflate(delta))
	return off
}

// ref adds a delta on the object id.
func (b *builder) ref(id object.ID, delta []byte) int64 {
	off := b.offset()
	b.header(7, int64(len(delta)))
	b.buf.Write(id.Bytes())
	b.buf.Write(deflate(delta))
	return off
}

// bytes returns the pack.
func (b *builder) bytes() []byte {
	out := append([]byte("PACK"), 0, 0, 0, 2)
	out = binary.BigEndian.AppendUint32(out, b.count)
	return withTrailer(append(out, b.buf.Bytes()...))
}

func withTrailer(p []byte) []byte {
	sum := sha1.Sum(p)
	return append(p[:len(p):len(p)], sum[:]...)
}

func varint(n int64) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// delta makes a delta that takes what both share at their beginning and inserts the rest.
func delta(base, result []byte) []byte {
	d := append(varint(int64(len(base))), varint(int64(len(result)))...)
	n := 0
	for n < len(base) && n < len(result) && n < 0xffff && base[n] == result[n] {
		n++
	}
	if n > 0 {
		d = append(d, 0x80|0x30, byte(n), byte(n>>8))
	}
	for rest := result[n:]; len(rest) > 0; {
		k := min(len(rest), 127)
		d = append(append(d, byte(k)), rest[:k]...)
		rest = rest[k:]
	}
	return d
}

func blobID(data string) object.ID { return object.HashObject(object.SHA1, object.Blob, []byte(data)) }

// treeData makes a tree's content of "mode name" keys in the given order.
func treeData(entries ...any) []byte {
	var b []byte
	for i := 0; i < len(entries); i += 2 {
		b = append(append(b, entries[i].(string)...), 0)
		b = entries[i+1].(object.ID).Append(b)
	}
	return b
}

func newFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "pack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// receive receives a pack and returns the file that it was written to.
func receive(t testing.TB, data []byte, o pack.Options) (*pack.Received, *os.File, error) {
	t.Helper()
	f := newFile(t)
	got, err := pack.Receive(context.Background(), bytes.NewReader(data), f, o)
	return got, f, err
}

func mustReceive(t testing.TB, data []byte, o pack.Options) (*pack.Received, *os.File) {
	t.Helper()
	got, f, err := receive(t, data, o)
	if err != nil {
		t.Fatal(err)
	}
	return got, f
}

// gitRepo is a repository that the real git works on.
type gitRepo struct {
	t   testing.TB
	dir string
}

func newGitRepo(t testing.TB, args ...string) *gitRepo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &gitRepo{t: t, dir: filepath.Join(t.TempDir(), "repo.git")}
	r.run(nil, append(append([]string{"init", "-q", "--bare"}, args...), r.dir)...)
	return r
}

func (r *gitRepo) cmd(stdin []byte, args ...string) *exec.Cmd {
	c := exec.Command("git", args...)
	if args[0] != "init" {
		c.Dir = r.dir
	}
	c.Stdin = bytes.NewReader(stdin)
	c.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_DIR="+r.dir)
	return c
}

func (r *gitRepo) run(stdin []byte, args ...string) string {
	r.t.Helper()
	c := r.cmd(stdin, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
