package pack_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

const commitData = "tree %s\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nmessage\n"

// small is a pack of a commit, a tree, a blob and deltas of both kinds on it.
func small() []byte {
	var b builder
	blob := "some content that is long enough\n"
	tree := treeData("100644 file", blobID(blob))
	treeID := object.HashObject(object.SHA1, object.Tree, tree)
	b.object(object.Commit, []byte(strings.Replace(commitData, "%s", treeID.String(), 1)))
	b.object(object.Tree, tree)
	at := b.object(object.Blob, []byte(blob))
	b.ofs(at, delta([]byte(blob), []byte(blob+"second\n")))
	b.ref(blobID(blob+"second\n"), delta([]byte(blob+"second\n"), []byte(blob+"third\n")))
	return b.bytes()
}

func TestReceiveLeavesTheRest(t *testing.T) {
	data := small()
	rest := "and what follows\n"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "half": iotest.HalfReader,
	} {
		for _, size := range []int{16, 100, 4096, 1 << 20} {
			src := bufio.NewReaderSize(wrap(strings.NewReader(string(data)+rest)), size)
			var tee bytes.Buffer
			f := newFile(t)
			got, err := pack.Receive(context.Background(), src, f, pack.Options{Tee: &tee})
			if err != nil {
				t.Fatalf("%s, %d: %v", name, size, err)
			}
			left, err := io.ReadAll(src)
			if err != nil || string(left) != rest {
				t.Errorf("%s, %d: %q is left in the stream (%v), want %q", name, size, left, err, rest)
			}
			if !bytes.Equal(tee.Bytes(), data) || got.Size != int64(len(data)) || got.Objects != 5 || len(got.Records) != 5 {
				t.Errorf("%s, %d: %d bytes teed, Received %+v", name, size, tee.Len(), got)
			}
		}
	}
}

func TestReceiveEmpty(t *testing.T) {
	var b builder
	got, _ := mustReceive(t, b.bytes(), pack.Options{})
	if got.Size != 32 || len(got.Records) != 0 || len(got.External) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestReceiveTruncated(t *testing.T) {
	data := small()
	for n := range data {
		if _, _, err := receive(t, data[:n], pack.Options{}); !errors.Is(err, pack.ErrTruncated) {
			t.Errorf("the first %d of %d bytes: %v, want ErrTruncated", n, len(data), err)
		}
	}
}

func TestReceiveDamaged(t *testing.T) {
	data := small()
	for n := range data {
		bad := bytes.Clone(data)
		bad[n] ^= 0x10
		if _, _, err := receive(t, bad, pack.Options{}); err == nil {
			t.Errorf("a bit flipped in byte %d goes unnoticed", n)
		}
	}
}

func TestReceiveSourceError(t *testing.T) {
	broken := errors.New("connection reset")
	src := io.MultiReader(bytes.NewReader(small()[:60]), iotest.ErrReader(broken))
	if _, err := pack.Receive(context.Background(), src, newFile(t), pack.Options{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the source's error", err)
	}
	tee := errTee{broken}
	if _, _, err := receive(t, small(), pack.Options{Tee: tee}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the tee's error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := pack.Receive(ctx, bytes.NewReader(small()), newFile(t), pack.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

type errTee struct{ err error }

func (e errTee) Write([]byte) (int, error) { return 0, e.err }

// TestReceiveRefuses has one bad pack a row.
func TestReceiveRefuses(t *testing.T) {
	base := strings.Repeat("0123456789", 100)
	id := blobID(base)
	build := func(fn func(b *builder)) []byte {
		var b builder
		fn(&b)
		return b.bytes()
	}
	// expand makes n KiB of a base by copying.
	expand := func(n int64) []byte {
		d := append(varint(int64(len(base))), varint(n<<10)...)
		for range n << 10 / 1000 {
			d = append(d, 0x80|0x30, 0xe8, 0x03)
		}
		rest := n << 10 % 1000
		if rest == 0 {
			return d
		}
		return append(d, 0x80|0x30, byte(rest), byte(rest>>8))
	}
	fsck := errors.New("any *object.FsckError")
	missing := blobID("missing")
	for _, row := range []struct {
		name string
		pack []byte
		o    pack.Options
		want error
		text string // in the error
	}{
		{"no pack", []byte("HELO, this is no pack at all"), pack.Options{}, pack.ErrCorrupt, "PACK"},
		{"version", append([]byte("PACK\x00\x00\x00\x04\x00\x00\x00\x00"), make([]byte, 20)...), pack.Options{}, pack.ErrCorrupt, "version 4"},
		{"bytes", small(), pack.Options{MaxBytes: 100}, pack.ErrTooLarge, "100 bytes"},
		{"objects", small(), pack.Options{MaxObjects: 4}, pack.ErrTooLarge, "5 objects"},
		{"object", build(func(b *builder) { b.object(object.Blob, []byte(base)) }), pack.Options{MaxObjectBytes: 999}, pack.ErrTooLarge, "1000"},
		{"bomb", build(func(b *builder) { b.object(object.Blob, make([]byte, 8<<20)) }), pack.Options{MaxInflatedBytes: 7 << 20}, pack.ErrTooLarge, "inflates"},
		{"long bomb", build(func(b *builder) { b.header(3, 1000); b.buf.Write(deflate(make([]byte, 8<<20))) }), pack.Options{}, pack.ErrCorrupt, "longer"},
		{"short", build(func(b *builder) { b.header(3, 1000); b.buf.Write(deflate(make([]byte, 999))) }), pack.Options{}, pack.ErrCorrupt, "shorter"},
		{"giant tree", build(func(b *builder) { b.header(2, 1<<40) }), pack.Options{}, pack.ErrTooLarge, ""},
		{"short giant tree", build(func(b *builder) { b.header(2, 400<<20); b.buf.Write(deflate([]byte("x"))) }), pack.Options{}, pack.ErrCorrupt, "shorter"},
		{"delta bomb", build(func(b *builder) { b.ofs(b.object(object.Blob, []byte(base)), expand(1000)) }), pack.Options{MaxMemoryBytes: 100_000}, pack.ErrTooLarge, "1024000"},
		{"many deltas", build(func(b *builder) {
			at := b.object(object.Blob, []byte(base))
			for n := range int64(50) {
				b.ofs(at, expand(1000+n))
			}
		}), pack.Options{MaxInflatedBytes: 10 << 20}, pack.ErrTooLarge, "inflates"},
		{"depth", build(func(b *builder) {
			at := b.object(object.Blob, []byte(base))
			for n := range 5 {
				at = b.ofs(at, delta([]byte(base), []byte(base[:999]+string(rune('a'+n)))))
			}
		}), pack.Options{MaxDepth: 4}, pack.ErrTooLarge, "chain"},
		{"no such base offset", build(func(b *builder) { b.ofs(b.object(object.Blob, []byte(base))+1, delta([]byte(base), nil)) }), pack.Options{}, pack.ErrCorrupt, "byte 13"},
		{"base offset before the pack", build(func(b *builder) { b.object(object.Blob, []byte(base)); b.ofs(3, delta([]byte(base), nil)) }), pack.Options{}, pack.ErrCorrupt, ""},
		{"base size", build(func(b *builder) { b.ofs(b.object(object.Blob, []byte(base)), delta([]byte(base[1:]), []byte("x"))) }), pack.Options{}, pack.ErrCorrupt, "base"},
		{"copy past the base", build(func(b *builder) {
			b.ofs(b.object(object.Blob, []byte(base)), append(append(varint(1000), varint(10)...), 0x80|0x11, 0xff, 10, 0, 0))
		}), pack.Options{}, pack.ErrCorrupt, "delta"},
		{"empty delta", build(func(b *builder) { b.ofs(b.object(object.Blob, []byte(base)), nil) }), pack.Options{}, pack.ErrCorrupt, "delta"},
		{"missing base", build(func(b *builder) { b.ref(missing, delta([]byte(base), []byte("x"))) }), pack.Options{}, pack.ErrMissingBase, missing.String()},
		{"missing in the repository", build(func(b *builder) { b.ref(missing, delta([]byte(base), []byte("x"))) }), pack.Options{
			Base: func(object.ID) (object.Type, []byte, error) { return 0, nil, os.ErrNotExist }}, pack.ErrMissingBase, missing.String()},
		{"circle", build(func(b *builder) {
			b.ref(blobID("b"), delta([]byte("b"), []byte("a")))
			b.ref(blobID("a"), delta([]byte("a"), []byte("b")))
		}), pack.Options{}, pack.ErrMissingBase, ""},
		{"type 0", build(func(b *builder) { b.header(0, 1); b.buf.Write(deflate([]byte("x"))) }), pack.Options{}, pack.ErrCorrupt, "byte 12"},
		{"type 5", build(func(b *builder) { b.header(5, 1); b.buf.Write(deflate([]byte("x"))) }), pack.Options{}, pack.ErrCorrupt, "byte 12"},
		{"bad tree", build(func(b *builder) { b.object(object.Tree, []byte("100644 x")) }), pack.Options{}, fsck, "badTree"},
		{"bad tree by delta", build(func(b *builder) {
			tree := treeData("100644 x", id)
			b.ofs(b.object(object.Tree, tree), delta(tree, append(tree, tree...)))
		}), pack.Options{}, fsck, "duplicateEntries"},
		{"blob linked as tree", build(func(b *builder) { b.object(object.Blob, []byte(base)); b.object(object.Tree, treeData("40000 x", id)) }), pack.Options{}, pack.ErrCorrupt, "is a blob, but"},
		{"tree before the blob", build(func(b *builder) { b.object(object.Tree, treeData("40000 x", id)); b.object(object.Blob, []byte(base)) }), pack.Options{}, pack.ErrCorrupt, "is a blob, but"},
		{"external link of two types", build(func(b *builder) { b.object(object.Tree, treeData("100644 a", id, "40000 b", id)) }), pack.Options{}, pack.ErrCorrupt, "as a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := receive(t, row.pack, row.o)
			var fault *object.FsckError
			switch {
			case row.want == fsck && !errors.As(err, &fault), row.want != fsck && !errors.Is(err, row.want):
				t.Fatalf("got %v, want %v", err, row.want)
			case fault != nil && fault.ID.IsZero():
				t.Errorf("%v does not name the object", err)
			case !strings.Contains(err.Error(), row.text):
				t.Errorf("%q does not say %q", err, row.text)
			}
		})
	}
}

func TestReceiveDuplicates(t *testing.T) {
	var b builder
	first := b.object(object.Blob, []byte("content\n"))
	second := b.object(object.Blob, []byte("content\n"))
	b.ofs(second, delta([]byte("content\n"), []byte("content\nof one\n")))
	b.ofs(first, delta([]byte("content\n"), []byte("content\n")))
	got, _ := mustReceive(t, b.bytes(), pack.Options{})
	same := 0
	for _, r := range got.Records {
		if r.ID == blobID("content\n") {
			same++
		}
	}
	if len(got.Records) != 4 || same != 3 {
		t.Errorf("%d records, %d of the object that is there three times", len(got.Records), same)
	}
	if !slices.IsSortedFunc(got.Records, func(a, b pack.Record) int {
		if c := a.ID.Compare(b.ID); c != 0 {
			return c
		}
		return int(a.Offset - b.Offset)
	}) {
		t.Errorf("records are not sorted: %v", got.Records)
	}
}

// TestReceiveBaseInBoth has a delta on a delta, whose base the repository holds too.
func TestReceiveBaseInBoth(t *testing.T) {
	x, a, c := "external\n", "external\nin both\n", "external\nin both\nnew\n"
	var b builder
	b.ref(blobID(x), delta([]byte(x), []byte(a)))
	b.ref(blobID(a), delta([]byte(a), []byte(c)))
	b.object(object.Tree, treeData("100644 a", blobID(a), "100644 c", blobID(c), "100644 x", blobID(x)))
	got, f := mustReceive(t, b.bytes(), holding(x, a))
	if len(got.External) != 1 || got.External[0].ID != blobID(x) {
		t.Errorf("external links %v, want %s alone", got.External, blobID(x))
	}
	checkScan(t, f, object.SHA1, got)
}

// holding is for a repository that holds these blobs.
func holding(blobs ...string) pack.Options {
	return pack.Options{Base: func(id object.ID) (object.Type, []byte, error) {
		for _, blob := range blobs {
			if blobID(blob) == id {
				return object.Blob, []byte(blob), nil
			}
		}
		return 0, nil, os.ErrNotExist
	}}
}

// TestReceiveRefusesTwoBases has packs in which a delta's base is there twice, once as a delta that builds on it. They all
// could be resolved, but whoever reads them by an index might go round and round.
func TestReceiveRefusesTwoBases(t *testing.T) {
	x, y := "one content\n", "another content\n"
	for name, row := range map[string]struct {
		fill func(b *builder)
		o    pack.Options
	}{
		"on itself": {func(b *builder) {
			b.ref(blobID(x), delta([]byte(x), []byte(x)))
			b.object(object.Blob, []byte(x))
		}, pack.Options{}},
		"around": {func(b *builder) {
			b.ref(blobID(y), delta([]byte(y), []byte(x)))
			b.ref(blobID(x), delta([]byte(x), []byte(y)))
			b.object(object.Blob, []byte(x))
		}, pack.Options{}},
		"around, by the repository": {func(b *builder) {
			b.ref(blobID(y), delta([]byte(y), []byte(x)))
			b.ref(blobID(x), delta([]byte(x), []byte(y)))
		}, holding(x)},
		"in the wrong order": {func(b *builder) {
			b.ref(blobID(y), delta([]byte(y), []byte("more")))
			b.ref(blobID(x), delta([]byte(x), []byte(y)))
		}, holding(x, y)},
	} {
		var b builder
		row.fill(&b)
		if _, _, err := receive(t, b.bytes(), row.o); !errors.Is(err, pack.ErrCorrupt) || !strings.Contains(err.Error(), "is there twice") {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestReceiveDamagedBase(t *testing.T) {
	var b builder
	b.ref(blobID("base"), delta([]byte("base"), []byte("other")))
	_, _, err := receive(t, b.bytes(), pack.Options{Base: func(object.ID) (object.Type, []byte, error) {
		return object.Blob, []byte("bose"), nil
	}})
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v, want an error that says the base is damaged", err)
	}
}

// TestReceiveSpecials pushes a .gitmodules that runs a command, in every order and from every place.
func TestReceiveSpecials(t *testing.T) {
	evil := "[submodule \"x\"]\n\tpath = x\n\turl = -u./payload\n"
	long := strings.Repeat("x", 3000) + "\n"
	tree := func(name string, content string) []byte { return treeData("100644 "+name, blobID(content)) }
	other := strings.Repeat("# comment\n", 50)
	stored := func(content string) pack.Options {
		return pack.Options{Base: func(id object.ID) (object.Type, []byte, error) {
			if id != blobID(content) {
				return 0, nil, os.ErrNotExist
			}
			return object.Blob, []byte(content), nil
		}}
	}
	for _, row := range []struct {
		name string
		fill func(b *builder)
		o    pack.Options
		want string
	}{
		{"blob first", func(b *builder) {
			b.object(object.Blob, []byte(evil))
			b.object(object.Tree, tree(".gitmodules", evil))
		}, pack.Options{}, "gitmodulesUrl"},
		{"tree first", func(b *builder) {
			b.object(object.Tree, tree(".gitmodules", evil))
			b.object(object.Blob, []byte(evil))
		}, pack.Options{}, "gitmodulesUrl"},
		{"by delta", func(b *builder) {
			b.ofs(b.object(object.Blob, []byte(other)), delta([]byte(other), []byte(evil)))
			b.object(object.Tree, tree(".GitModules", evil))
		}, pack.Options{}, "gitmodulesUrl"},
		{"in the repository", func(b *builder) { b.object(object.Tree, tree(".gitmodules", evil)) }, stored(evil), "gitmodulesUrl"},
		{"not in the repository", func(b *builder) { b.object(object.Tree, tree(".gitmodules", evil)) }, stored(other), "gitmodulesMissing"},
		{"no matter", func(b *builder) { b.object(object.Tree, tree(".gitmodules", evil)) }, pack.Options{}, ""},
		{"attributes", func(b *builder) {
			b.object(object.Blob, []byte(long))
			b.object(object.Tree, tree(".gitattributes", long))
		}, pack.Options{}, "gitattributesLineLength"},
		{"another name", func(b *builder) { b.object(object.Blob, []byte(evil)); b.object(object.Tree, tree(".gitmodule", evil)) }, pack.Options{}, ""},
		{"good", func(b *builder) {
			b.object(object.Blob, []byte(other))
			b.object(object.Tree, tree(".gitmodules", other))
		}, pack.Options{}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b builder
			row.fill(&b)
			_, _, err := receive(t, b.bytes(), row.o)
			var fault *object.FsckError
			switch {
			case row.want == "" && err != nil:
				t.Errorf("got %v, want it accepted", err)
			case row.want != "" && (!errors.As(err, &fault) || fault.MsgID != row.want || fault.ID.IsZero()):
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

// TestReceiveKeepsBases demands that what Base returns is only read: it can come from a cache.
func TestReceiveKeepsBases(t *testing.T) {
	stored := map[object.ID][]byte{}
	var b builder
	for i := range 20 {
		old := fmt.Sprintf("# attributes that the repository holds, longer than those that are sent, number %d\n", i)
		sent := fmt.Sprintf("# attributes that are in the pack, %d!!!!\n", i)
		stored[blobID(old)] = []byte(old)
		b.object(object.Blob, []byte(sent))
		b.object(object.Tree, treeData("100644 .gitattributes", blobID(old), "40000 a", object.HashObject(object.SHA1, object.Tree, treeData("100644 .gitattributes", blobID(sent)))))
		b.object(object.Tree, treeData("100644 .gitattributes", blobID(sent)))
	}
	mustReceive(t, b.bytes(), pack.Options{Base: func(id object.ID) (object.Type, []byte, error) {
		if stored[id] == nil {
			return 0, nil, os.ErrNotExist
		}
		return object.Blob, stored[id], nil
	}})
	for id, data := range stored {
		if blobID(string(data)) != id {
			t.Errorf("the base %s was changed to %q", id, data)
		}
	}
}

// attacked is a hash that says of some content that it attacks SHA-1.
type attacked struct {
	hash.Hash
	seen []byte
}

func (a *attacked) Reset() { a.Hash.Reset(); a.seen = a.seen[:0] }
func (a *attacked) Write(p []byte) (int, error) {
	a.seen = append(a.seen, p...)
	return a.Hash.Write(p)
}
func (a *attacked) CollisionResistantSum(b []byte) ([]byte, bool) {
	return a.Hash.Sum(b), bytes.Contains(a.seen, []byte("evil"))
}

func TestReceiveCollision(t *testing.T) {
	defer pack.SetHash(func(f object.Format) hash.Hash { return &attacked{Hash: f.New()} })()
	mustReceive(t, small(), pack.Options{})
	big := strings.Repeat("an evil blob, too large to be held\n", 20_000)
	for name, fill := range map[string]func(b *builder){
		"small": func(b *builder) { b.object(object.Blob, []byte("evil")) },
		"large": func(b *builder) { b.object(object.Blob, []byte(big)) },
		"delta": func(b *builder) { b.ofs(b.object(object.Blob, []byte("good")), delta([]byte("good"), []byte("evil"))) },
	} {
		var b builder
		fill(&b)
		if _, _, err := receive(t, b.bytes(), pack.Options{}); !errors.Is(err, object.ErrCollision) {
			t.Errorf("%s: got %v, want ErrCollision", name, err)
		}
	}
}

// TestReceiveMany sends more objects than one batch, chunk and cache hold, in trees of deltas that are wide and deep.
func TestReceiveMany(t *testing.T) {
	var b builder
	rnd := rand.New(rand.NewSource(7))
	content := []byte(strings.Repeat("a line of text\n", 40))
	type at struct {
		off  int64
		data []byte
	}
	all := []at{{b.object(object.Blob, content), content}}
	seen := map[string]bool{string(content): true}
	for n := range 9_000 {
		base := all[rnd.Intn(len(all))]
		if n%3 > 0 {
			base = all[len(all)-1-rnd.Intn(min(60, len(all)))]
		}
		data := bytes.Clone(base.data)
		data[rnd.Intn(len(data))] = byte('A' + n%50)
		if seen[string(data)] {
			continue
		}
		seen[string(data)] = true
		var off int64
		switch n % 10 {
		case 0:
			off = b.object(object.Blob, data)
		case 1, 2:
			off = b.ref(object.HashObject(object.SHA1, object.Blob, base.data), delta(base.data, data))
		default:
			off = b.ofs(base.off, delta(base.data, data))
		}
		all = append(all, at{off, data})
	}
	want := map[int64]object.ID{}
	for _, a := range all {
		want[a.off] = object.HashObject(object.SHA1, object.Blob, a.data)
	}
	for _, o := range []pack.Options{{MaxDepth: 1 << 20}, {MaxDepth: 1 << 20, CacheBytes: 40_000, Workers: 3}} {
		calls := map[string]int64{}
		o.Progress = func(stage string, done, total int64) {
			if done > total {
				t.Errorf("%s: %d of %d", stage, done, total)
			}
			calls[stage] = done
		}
		got, _ := mustReceive(t, b.bytes(), o)
		for _, r := range got.Records {
			if want[r.Offset] != r.ID {
				t.Fatalf("the object at byte %d is %s, want %s", r.Offset, r.ID, want[r.Offset])
			}
		}
		if len(got.Records) != len(all) {
			t.Errorf("%d records, want %d", len(got.Records), len(all))
		}
		if calls["receiving objects"] != int64(len(all)) || calls["resolving deltas"] == 0 {
			t.Errorf("progress was reported as %v", calls)
		}
	}
}

func TestScanRefuses(t *testing.T) {
	data := small()
	f := newFile(t)
	f.Write(append(bytes.Clone(data), "more"...))
	if _, err := pack.Scan(context.Background(), f, pack.Options{}); !errors.Is(err, pack.ErrCorrupt) {
		t.Errorf("bytes after the trailer: %v, want ErrCorrupt", err)
	}
	var b builder
	b.ref(blobID("base"), delta([]byte("base"), []byte("other")))
	thin := newFile(t)
	thin.Write(b.bytes())
	o := pack.Options{Base: func(object.ID) (object.Type, []byte, error) { return object.Blob, []byte("base"), nil }}
	if _, err := pack.Scan(context.Background(), thin, o); !errors.Is(err, pack.ErrMissingBase) {
		t.Errorf("a thin pack: %v, want ErrMissingBase", err)
	}
}

// TestReceiveSorts receives so many objects that their records are sorted in another way, one of them twice.
func TestReceiveSorts(t *testing.T) {
	const n = 20_000
	var b builder
	want := map[object.ID]int{}
	for i := range n {
		text := fmt.Sprint(max(i, 1))
		b.object(object.Blob, []byte(text))
		want[blobID(text)]++
	}
	got, _ := mustReceive(t, b.bytes(), pack.Options{})
	sorted := slices.IsSortedFunc(got.Records, func(a, b pack.Record) int {
		if c := a.ID.Compare(b.ID); c != 0 {
			return c
		}
		return int(a.Offset - b.Offset)
	})
	for _, rec := range got.Records {
		want[rec.ID]--
	}
	for id, left := range want {
		if left != 0 {
			t.Fatalf("%s has %d records too few", id, left)
		}
	}
	if len(got.Records) != n || !sorted {
		t.Errorf("%d records, sorted: %v", len(got.Records), sorted)
	}
}
