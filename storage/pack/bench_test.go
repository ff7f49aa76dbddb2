package pack_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

func benchmarkReceive(b *testing.B, data []byte) {
	path := filepath.Join(b.TempDir(), "pack")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := pack.Receive(context.Background(), bytes.NewReader(data), f, pack.Options{}); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkReceiveSmall is a push of one commit.
func BenchmarkReceiveSmall(b *testing.B) { benchmarkReceive(b, small()) }

// BenchmarkReceive is a push of 2,000 commits with their deltas.
func BenchmarkReceive(b *testing.B) {
	repo := history(b, 2000)
	benchmarkReceive(b, []byte(repo.run(nil, "pack-objects", "--all", "--stdout", "-q", "--delta-base-offset")))
}

func BenchmarkCopyEntry(b *testing.B) {
	data := small()
	f := filepath.Join(b.TempDir(), "pack")
	os.WriteFile(f, data, 0o600)
	p, err := pack.Open(f, object.SHA1)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	file, _ := os.Open(f)
	defer file.Close()
	got, err := pack.Scan(context.Background(), file, pack.Options{})
	if err != nil {
		b.Fatal(err)
	}
	rec := got.Records[0]
	end := p.End()
	for _, r := range got.Records {
		if r.Offset > rec.Offset && r.Offset < end {
			end = r.Offset
		}
	}
	w := pack.NewWriter(io.Discard, object.SHA1, 1<<32-1)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.CopyEntry(p, rec, end, pack.Base{ID: rec.ID}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	recs := randomRecords(object.SHA1, 400_000, false)
	x, err := pack.DecodeIndex(pack.AppendIndex(nil, object.SHA1, recs))
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		x.Lookup(recs[i%len(recs)].ID)
		i += 7919
	}
}
