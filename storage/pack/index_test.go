package pack_test

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// randomRecords returns n sorted records; skew makes many ids share their beginning.
func randomRecords(f object.Format, n int, skew bool) []pack.Record {
	rnd := rand.New(rand.NewSource(int64(n)))
	recs := make([]pack.Record, n)
	for i := range recs {
		sum := make([]byte, f.Size())
		rnd.Read(sum)
		if skew && i%4 > 0 {
			copy(sum, "\x80\x80\x80\x80\x80\x80\x80")
		}
		recs[i] = pack.Record{
			ID: object.NewID(f, sum), Offset: rnd.Int63n(1 << 45), Size: rnd.Int63n(1 << 50),
			Type: object.Type(1 + rnd.Intn(4)), CRC: rnd.Uint32(),
		}
	}
	slices.SortFunc(recs, func(a, b pack.Record) int { return a.ID.Compare(b.ID) })
	return recs
}

func TestIndex(t *testing.T) {
	for _, f := range []object.Format{object.SHA1, object.SHA256} {
		for _, n := range []int{0, 1, 2, 100, 1000, 30_000} {
			for _, skew := range []bool{false, true} {
				recs := randomRecords(f, n, skew)
				path := filepath.Join(t.TempDir(), "pack.index")
				if err := pack.WriteIndex(path, f, recs); err != nil {
					t.Fatal(err)
				}
				x, err := pack.OpenIndex(path)
				if err != nil {
					t.Fatal(err)
				}
				if x.Format() != f || x.Len() != n || !slices.Equal(slices.Collect(x.All()), recs) {
					t.Fatalf("%s, %d records: the index yields others", f, n)
				}
				for i, r := range recs {
					if got, ok, err := x.Lookup(r.ID); !ok || err != nil || got != r || x.At(i) != r {
						t.Fatalf("%s, %d records: Lookup(%s) = %v, %t, %v", f, n, r.ID, got, ok, err)
					}
				}
				for _, r := range randomRecords(f, 500, true) {
					_, want := slices.BinarySearchFunc(recs, r, func(a, b pack.Record) int { return a.ID.Compare(b.ID) })
					if _, ok, _ := x.Lookup(r.ID); ok != want {
						t.Fatalf("%s, %d records: %s found: %t", f, n, r.ID, ok)
					}
				}
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestIndexOtherFormat(t *testing.T) {
	x, err := pack.DecodeIndex(pack.AppendIndex(nil, object.SHA1, randomRecords(object.SHA1, 10, false)))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []object.ID{{}, randomRecords(object.SHA256, 1, false)[0].ID} {
		if _, ok, err := x.Lookup(id); ok || err != nil {
			t.Errorf("Lookup(%s) found something (%v)", id, err)
		}
	}
}

func TestIndexDamaged(t *testing.T) {
	for _, n := range []int{3, 1000} { // one in memory, one mapped
		path := filepath.Join(t.TempDir(), "pack.index")
		good := pack.AppendIndex(nil, object.SHA1, randomRecords(object.SHA1, n, false))
		bad := [][]byte{nil, good[:10], good[:len(good)-1], append(bytes.Clone(good), 0), append(good[:len(good)-4:len(good)-4], make([]byte, 44)...)}
		for at := 0; at < len(good); at += 1 + len(good)/100 {
			flipped := bytes.Clone(good)
			flipped[at] ^= 1
			bad = append(bad, flipped)
		}
		for i, data := range bad {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := pack.OpenIndex(path); !errors.Is(err, pack.ErrIndex) {
				t.Errorf("damage %d of %d records: %v, want ErrIndex", i, n, err)
			}
		}
	}
	if _, err := pack.OpenIndex(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
