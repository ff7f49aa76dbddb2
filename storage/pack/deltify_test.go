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

// deltifyFiles returns the versions of some files, sorted for deltas, and their content by number.
func deltifyFiles(r *rand.Rand, files, versions int) (objs []pack.DeltaObject, data [][]byte) {
	for f := range files {
		text := make([]string, 100)
		for i := range text {
			text[i] = fmt.Sprintf("file %d line %d %d\n", f, i, r.Uint64())
		}
		for range versions {
			at := r.IntN(len(text))
			text = slices.Insert(slices.Clone(text), at, fmt.Sprintf("new %d\n", r.Uint64()))
			var b bytes.Buffer
			for _, line := range text {
				b.WriteString(line)
			}
			objs = append(objs, pack.DeltaObject{Number: uint32(len(data)), Type: object.Blob, Size: int64(b.Len()),
				Path: pack.RootPath.Below(fmt.Append(nil, "dir", f)).Below([]byte("name")), Age: int64(-len(data))})
			data = append(data, b.Bytes())
		}
	}
	slices.SortFunc(objs, pack.CompareForDeltas)
	return objs, data
}

func TestDeltify(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	objs, data := deltifyFiles(r, 4, 100)
	for _, test := range []struct {
		name    string
		options pack.DeltifyOptions
		height  int
		whole   int // at most
	}{
		{name: "defaults", whole: 12},
		{name: "shallow", options: pack.DeltifyOptions{MaxDepth: 3}, whole: 60},
		{name: "little memory", options: pack.DeltifyOptions{WindowBytes: 40 << 10}, whole: 16},
		{name: "no memory", options: pack.DeltifyOptions{WindowBytes: 1}, whole: 400},
		{name: "others build on them", height: 48, whole: 220},
		{name: "all refused", options: pack.DeltifyOptions{Refuse: func(_, _ uint32) bool { return true }}, whole: 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := pack.NewDeltifier(test.options)
			most := test.options.MaxDepth
			if most == 0 {
				most = 50
			}
			depths, whole := map[uint32]int{}, 0
			for _, o := range objs {
				o.Height = test.height
				content := data[o.Number]
				base, depth, delta, ok := d.Add(o, content, 0)
				depths[o.Number] = depth
				if !ok {
					whole++
					continue
				}
				over, before := depths[base]
				if !before || depth != over+1 || depth+test.height > most {
					t.Fatalf("object %d of depth %d builds on %d of depth %d", o.Number, depth, base, over)
				}
				got, err := pack.ApplyDelta(data[base], delta, 1<<20)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("the delta of object %d makes something else: %v", o.Number, err)
				}
			}
			if whole > test.whole {
				t.Errorf("%d of %d objects are whole, want at most %d", whole, len(objs), test.whole)
			}
		})
	}
}

// TestDeltifyOffered looks that objects which stay as they are serve as bases, but not of what they build on.
func TestDeltifyOffered(t *testing.T) {
	objs, data := deltifyFiles(rand.New(rand.NewPCG(1, 1)), 1, 3)
	first, second, third := objs[0], objs[1], objs[2]
	d := pack.NewDeltifier(pack.DeltifyOptions{Refuse: func(base, target uint32) bool {
		return base == first.Number && target == second.Number
	}})
	first.Depth = 7
	d.Offer(first, data[first.Number])
	if base, _, _, ok := d.Add(second, data[second.Number], 0); ok {
		t.Errorf("a delta is made on %d", base)
	}
	if _, _, _, ok := d.Add(third, data[third.Number], 10); ok {
		t.Error("a delta is made that is longer than what is stored")
	}
	third.Number = 99
	base, depth, _, ok := d.Add(third, data[objs[2].Number], 0)
	if !ok || base == first.Number && depth != 8 || base != first.Number && depth != 1 {
		t.Errorf("a delta on %d of depth %d, %v", base, depth, ok)
	}
}

func TestPathHash(t *testing.T) {
	a := pack.RootPath.Below([]byte("lib")).Below([]byte("main.go"))
	b := pack.RootPath.Below([]byte("cmd")).Below([]byte("main.go"))
	c := pack.RootPath.Below([]byte("cmd")).Below([]byte("README"))
	if a == b || a>>32 != b>>32 || b>>32 == c>>32 || uint32(a) == uint32(b) {
		t.Errorf("%x %x %x", a, b, c)
	}
	if a != pack.RootPath.Below([]byte("lib")).Below([]byte("main.go")) || a == 0 || uint32(a) == 0 {
		t.Errorf("%x is no good hash", a)
	}
}
