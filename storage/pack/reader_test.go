package pack_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

func openPack(t *testing.T, data []byte) *pack.Pack {
	t.Helper()
	f := newFile(t)
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	p, err := pack.Open(f.Name(), object.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestReadObjectForeignBase(t *testing.T) {
	var b builder
	at := b.ref(blobID("base"), delta([]byte("base"), []byte("base and more")))
	at = b.ofs(at, delta([]byte("base and more"), []byte("base and yet more")))
	p := openPack(t, b.bytes())
	if _, _, err := p.ReadObject(at, pack.ReadOptions{}); !errors.Is(err, pack.ErrMissingBase) {
		t.Errorf("without the base: %v, want ErrMissingBase", err)
	}
	broken := errors.New("disk error")
	o := pack.ReadOptions{Base: func(object.ID) (object.Type, []byte, error) { return 0, nil, broken }}
	if _, _, err := p.ReadObject(at, o); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of Base", err)
	}
	o.Base = func(object.ID) (object.Type, []byte, error) { return object.Blob, []byte("base"), nil }
	data, typ, err := p.ReadObject(at, o)
	if err != nil || typ != object.Blob || string(data) != "base and yet more" {
		t.Errorf("got %q, %v, %v", data, typ, err)
	}
}

func TestReadObjectRefuses(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	var b builder
	whole := b.object(object.Blob, []byte(long))
	wrong := b.ofs(whole, delta([]byte(long[1:]), []byte("y")))
	chain := whole
	for range 5 {
		chain = b.ofs(chain, delta([]byte(long), []byte(long)))
	}
	loop := b.ref(blobID("loop"), delta([]byte(long), []byte(long)))
	data := b.bytes()
	p := openPack(t, data)
	inPack := func(object.ID) (int64, bool) { return loop, true }
	for _, row := range []struct {
		name string
		off  int64
		o    pack.ReadOptions
		want error
	}{
		{"limit", whole, pack.ReadOptions{MaxBytes: 9_999}, pack.ErrTooLarge},
		{"limit of a delta", chain, pack.ReadOptions{MaxBytes: 9_999}, pack.ErrTooLarge},
		{"depth", chain, pack.ReadOptions{MaxDepth: 4}, pack.ErrTooLarge},
		{"circle", loop, pack.ReadOptions{Locate: inPack}, pack.ErrTooLarge},
		{"delta of another base", wrong, pack.ReadOptions{}, pack.ErrCorrupt},
		{"before the entries", 4, pack.ReadOptions{}, pack.ErrCorrupt},
		{"in the trailer", int64(len(data)) - 10, pack.ReadOptions{}, pack.ErrCorrupt},
		{"past the end", 1 << 40, pack.ReadOptions{}, pack.ErrCorrupt},
	} {
		if _, _, err := p.ReadObject(row.off, row.o); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	if got, _, err := p.ReadObject(chain, pack.ReadOptions{MaxDepth: 5}); err != nil || string(got) != long {
		t.Errorf("a chain of 5 deltas: %v", err)
	}
}

// TestReadObjectDamaged flips bits of a stored pack: what is read is an error or, where the flip is outside of the entry,
// the object.
func TestReadObjectDamaged(t *testing.T) {
	base, result := strings.Repeat("base ", 50), strings.Repeat("base ", 40)+"result"
	var b builder
	whole := b.object(object.Blob, []byte(base))
	at := b.ofs(whole, delta([]byte(base), []byte(result)))
	data := b.bytes()
	for n := 12; n < len(data)-20; n++ {
		bad := bytes.Clone(data)
		bad[n] ^= 4
		p := openPack(t, bad)
		got, _, err := p.ReadObject(at, pack.ReadOptions{MaxBytes: 1 << 20})
		if err == nil && string(got) != result && int64(n) >= at+3 {
			t.Errorf("byte %d flipped: read %q", n, got)
		}
		if _, _, r, err := p.OpenBlob(whole); err == nil {
			if got, err := io.ReadAll(r); err == nil && string(got) != base {
				t.Errorf("byte %d flipped: streamed %q", n, got)
			}
			r.Close()
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, data := range []string{"", "PACK", strings.Repeat("no pack ", 10)} {
		f := newFile(t)
		f.WriteString(data)
		if p, err := pack.Open(f.Name(), object.SHA1); err == nil {
			p.Close()
			t.Errorf("%q was opened as a pack", data)
		}
	}
	if _, err := pack.Open("/nonexistent", object.SHA1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestReadConcurrently(t *testing.T) {
	data := small()
	got, f := mustReceive(t, data, pack.Options{})
	p, err := pack.Open(f.Name(), object.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	offs := map[object.ID]int64{}
	for _, r := range got.Records {
		offs[r.ID] = r.Offset
	}
	o := pack.ReadOptions{Cache: pack.NewCache(10_000), Locate: func(id object.ID) (int64, bool) { off, ok := offs[id]; return off, ok }}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for _, r := range got.Records {
					data, typ, err := p.ReadObject(r.Offset, o)
					if err != nil || object.HashObject(object.SHA1, typ, data) != r.ID {
						t.Errorf("object %s: %v", r.ID, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestWriterRefuses(t *testing.T) {
	w := pack.NewWriter(io.Discard, object.SHA1, 1)
	if err := w.Close(); err == nil {
		t.Error("a pack with too few objects was closed")
	}
	w = pack.NewWriter(io.Discard, object.SHA1, 1)
	if err := errors.Join(w.WriteObject(object.Blob, nil), w.WriteObject(object.Blob, nil)); err == nil {
		t.Error("a pack took too many objects")
	}
	for _, content := range []string{"short", "much too long for that"} {
		w = pack.NewWriter(io.Discard, object.SHA1, 1)
		if err := w.WriteStream(object.Blob, 10, strings.NewReader(content)); err == nil {
			t.Errorf("%q was taken for 10 bytes", content)
		}
	}
	broken := errors.New("broken pipe")
	w = pack.NewWriter(errTee{broken}, object.SHA1, 0)
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("got %v, want the writer's error", err)
	}
	got, f := mustReceive(t, small(), pack.Options{})
	f.WriteAt([]byte{0xff}, got.Records[0].Offset+5)
	p, err := pack.Open(f.Name(), object.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rec := got.Records[0]
	w = pack.NewWriter(io.Discard, object.SHA1, 1)
	if err := w.CopyEntry(p, rec, nextOffset(got, rec, p), pack.Base{ID: rec.ID}); !errors.Is(err, pack.ErrCorrupt) {
		t.Errorf("a damaged entry was copied: %v", err)
	}
}

func nextOffset(got *pack.Received, rec pack.Record, p *pack.Pack) int64 {
	end := p.End()
	for _, r := range got.Records {
		if r.Offset > rec.Offset && r.Offset < end {
			end = r.Offset
		}
	}
	return end
}

func TestCacheBound(t *testing.T) {
	var b builder
	var offs []int64
	for i := range 50 {
		base := strings.Repeat(string(rune('a'+i%26)), 1000+i)
		offs = append(offs, b.ofs(b.object(object.Blob, []byte(base)), delta([]byte(base), []byte(base+"x"))))
	}
	p := openPack(t, b.bytes())
	for _, max := range []int64{1, 5_000, 1 << 20} {
		o := pack.ReadOptions{Cache: pack.NewCache(max)}
		for range 2 {
			for i, off := range offs {
				if data, _, err := p.ReadObject(off, o); err != nil || len(data) != 1001+i {
					t.Fatalf("cache of %d: %d bytes, %v", max, len(data), err)
				}
			}
		}
	}
}
