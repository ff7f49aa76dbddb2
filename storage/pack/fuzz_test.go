package pack_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// limits keep a fuzzer from being stopped for memory rather than for a bug.
var limits = pack.Options{MaxMemoryBytes: 1 << 20, MaxObjectBytes: 1 << 20, MaxInflatedBytes: 16 << 20, Workers: 2}

func FuzzReceive(f *testing.F) {
	f.Add(small())
	var thin builder
	thin.ref(blobID("base"), delta([]byte("base"), []byte("other")))
	f.Add(thin.bytes())
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := limits
		o.Base = func(id object.ID) (object.Type, []byte, error) {
			if id != blobID("base") {
				return 0, nil, os.ErrNotExist
			}
			return object.Blob, []byte("base"), nil
		}
		// The trailer is made right, or the fuzzer would never get past it.
		if len(data) > 20 {
			data = withTrailer(data[:len(data)-20])
		}
		file := newFile(t)
		src := bytes.NewReader(data)
		got, err := pack.Receive(context.Background(), src, file, o)
		if err != nil {
			return
		}
		again, err := pack.Scan(context.Background(), file, limits)
		if err != nil || len(again.Records) != len(got.Records) {
			t.Fatalf("a pack that was received cannot be scanned: %v", err)
		}
		p, err := pack.Open(file.Name(), object.SHA1)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		x, err := pack.DecodeIndex(pack.AppendIndex(nil, object.SHA1, got.Records))
		if err != nil {
			t.Fatal(err)
		}
		locate := func(id object.ID) (int64, bool) { r, ok, _ := x.Lookup(id); return r.Offset, ok }
		for _, r := range got.Records {
			data, typ, err := p.ReadObject(r.Offset, pack.ReadOptions{Locate: locate})
			if err != nil || typ != r.Type || object.HashObject(object.SHA1, typ, data) != r.ID {
				t.Fatalf("object %s of a pack that was received cannot be read: %v", r.ID, err)
			}
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add(pack.AppendIndex(nil, object.SHA1, randomRecords(object.SHA1, 3, false)))
	f.Add(pack.AppendIndex(nil, object.SHA256, randomRecords(object.SHA256, 1, false)))
	f.Add([]byte("HFPKIDX\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := pack.DecodeIndex(data)
		if err != nil {
			if !errors.Is(err, pack.ErrIndex) {
				t.Fatalf("%v is not ErrIndex", err)
			}
			return
		}
		for r := range x.All() {
			x.Lookup(r.ID)
		}
	})
}

func FuzzApplyDelta(f *testing.F) {
	f.Add([]byte("base"), delta([]byte("base"), []byte("basis")))
	f.Add([]byte(""), []byte{0, 1, 1, 'x'})
	f.Add(bytes.Repeat([]byte("x"), 300), []byte{0xac, 2, 0x80, 0x80, 4, 0x80})
	f.Fuzz(func(t *testing.T, base, d []byte) {
		pack.ApplyDelta(base, d, 1<<20)
	})
}
