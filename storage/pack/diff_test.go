package pack_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// checkDelta makes a delta and resolves it again.
func checkDelta(t testing.TB, x *pack.DeltaIndex, base, target []byte) []byte {
	t.Helper()
	const plenty = 1 << 30
	d, ok := x.Delta([]byte("before"), target, plenty)
	if !ok || !bytes.HasPrefix(d, []byte("before")) {
		t.Fatalf("no delta of %d bytes on %d", len(target), len(base))
	}
	d = d[len("before"):]
	got, err := pack.ApplyDelta(base, d, plenty)
	if err != nil || !bytes.Equal(got, target) {
		t.Fatalf("a delta of %d bytes on %d makes something else: %v", len(target), len(base), err)
	}
	if again, ok := x.Delta(nil, target, len(d)); !ok || !bytes.Equal(again, d) {
		t.Errorf("the delta has %d bytes, but is not made within them", len(d))
	}
	if _, ok := x.Delta(nil, target, len(d)-1); ok {
		t.Errorf("the delta has %d bytes, but is said to have fewer", len(d))
	}
	return d
}

func TestDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	zeros := make([]byte, 200_000)
	period := bytes.Repeat([]byte("0123456789abcdefghi"), 10_000)
	edited := slices.Concat(random[:1000], []byte("x"), random[1000:5000], random[5010:])
	x := new(pack.DeltaIndex)
	for _, test := range []struct {
		name         string
		base, target []byte
		max          int // of the delta
	}{
		{"nothing", nil, nil, 2},
		{"empty base", nil, random[:200], 206},
		{"empty target", random[:200], nil, 3},
		{"short", random[:15], random[:15], 18},
		{"one block", random[:16], random[:16], 5},
		{"equal", random, random, 40},
		{"edited", random, edited, 60},
		{"moved", random, slices.Concat(random[70_000:], random[:70_000]), 60},
		{"unaligned", random[3:5000], random[:4900], 15},
		{"unlike", random[:100_000], random[100_000:], 202_000},
		{"zeros", zeros, zeros[:100_007], 30},
		{"zeros twice", zeros[:70_000], zeros, 40},
		{"period", period, period[5:], 40},
		{"period and more", period, slices.Concat(random[:500], period[7:]), 550},
	} {
		t.Run(test.name, func(t *testing.T) {
			x.Reset(test.base)
			if d := checkDelta(t, x, test.base, test.target); len(d) > test.max {
				t.Errorf("the delta has %d bytes, want at most %d", len(d), test.max)
			}
		})
	}
}

// TestDeltaGivesUp looks that a delta that becomes too long is not made to its end.
func TestDeltaGivesUp(t *testing.T) {
	x := pack.NewDeltaIndex([]byte("a base that has nothing to do with it"))
	d, ok := x.Delta(nil, make([]byte, 1<<20), 100)
	if ok || len(d) > 100 {
		t.Errorf("%d bytes, %v", len(d), ok)
	}
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"), []byte("xx0123456789abcdef0123456789abcdefyy"), uint64(0))
	f.Fuzz(func(t *testing.T, base, target []byte, edits uint64) {
		checkDelta(t, pack.NewDeltaIndex(base), base, target)
		// Inputs that have something in common are found sooner so.
		r := rand.New(rand.NewPCG(edits, 1))
		target = bytes.Clone(base)
		for range edits % 20 {
			at := r.IntN(len(target) + 1)
			target = slices.Concat(target[:at], base[:r.IntN(len(base)+1)], target[r.IntN(len(target)+1):])
			target = target[:min(len(target), 1<<16)]
		}
		checkDelta(t, pack.NewDeltaIndex(base), base, target)
	})
}

// TestDeltasForGit writes packs of our own deltas, with bases before and after them, by offset and by id.
func TestDeltasForGit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var versions [][]byte
	text := []byte{}
	for i := range 300 {
		at, end := r.IntN(len(text)+1), len(text)
		if r.IntN(3) == 0 {
			end = min(end, at+r.IntN(200))
			text = slices.Concat(text[:at], text[end:])
		}
		text = slices.Concat(text[:min(at, len(text))], fmt.Appendf(nil, "%d: %d\n", i, r.Uint64()), text[min(at, len(text)):])
		versions = append(versions, text)
	}
	var out bytes.Buffer
	w := pack.NewWriter(&out, object.SHA1, uint32(len(versions)))
	offsets := make([]int64, len(versions))
	for i, data := range versions {
		offsets[i] = w.Offset()
		b := max(0, i-1-r.IntN(3))
		base := pack.Base{Offset: offsets[b]}
		if i < 2 || r.IntN(50) == 0 {
			if err := w.WriteObject(object.Blob, data); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if i%2 == 0 {
			base = pack.Base{ID: blobID(string(versions[b]))}
		}
		if err := w.WriteDelta(base, checkDelta(t, pack.NewDeltaIndex(versions[b]), versions[b], data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := mustReceive(t, out.Bytes(), pack.Options{})
	if len(got.Records) != len(versions) {
		t.Errorf("%d objects, want %d", len(got.Records), len(versions))
	}
	newGitRepo(t).run(out.Bytes(), "index-pack", "--strict", "--stdin")
}

// BenchmarkDelta indexes a base of 32 KiB and makes a delta with ten edits on it.
func BenchmarkDelta(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var base []byte
	for len(base) < 32<<10 {
		base = fmt.Appendf(base, "line %d of %d\n", r.IntN(1000), r.IntN(1000))
	}
	target := bytes.Clone(base)
	for range 10 {
		at := r.IntN(len(target))
		target = slices.Concat(target[:at], []byte("a new line\n"), target[min(at+20, len(target)):])
	}
	b.SetBytes(int64(len(target)))
	x := new(pack.DeltaIndex)
	var d []byte
	for b.Loop() {
		x.Reset(base)
		d, _ = x.Delta(d[:0], target, len(target)/2)
	}
	b.ReportMetric(float64(len(d)), "delta-bytes")
}
