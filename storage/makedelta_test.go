package storage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// versions is a line of commits, oldest first, that change a line of one file.
type versions struct {
	blobs, trees, commits []obj
}

func makeVersions(r *rand.Rand, n int) (v versions) {
	lines := make([]string, 300)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d %d\n", i, r.Uint64())
	}
	var parents []object.ID
	for i := range n {
		lines[r.IntN(len(lines))] = fmt.Sprintf("changed in %d: %d\n", i, r.Uint64())
		blob := blobObj(strings.Join(lines, ""))
		tree := treeObj("f", blob.id())
		commit := commitObj(tree.id(), fmt.Sprint(i), parents...)
		parents = []object.ID{commit.id()}
		v.blobs, v.trees, v.commits = append(v.blobs, blob), append(v.trees, tree), append(v.commits, commit)
	}
	return v
}

// pack returns a pack in random order. Each version of the file is a delta, which names by id one that is up to three
// versions away, in the direction of step, and no chain has more than 40.
func (v versions) pack(t *testing.T, r *rand.Rand, step int) []byte {
	t.Helper()
	var buf bytes.Buffer
	n := len(v.blobs)
	w := pack.NewWriter(&buf, object.SHA1, uint32(3*n))
	for _, i := range r.Perm(3 * n) {
		var err error
		base := i + step*(1+r.IntN(3))
		switch {
		case i >= 2*n:
			err = w.WriteObject(object.Commit, v.commits[i-2*n].data)
		case i >= n:
			err = w.WriteObject(object.Tree, v.trees[i-n].data)
		case base < 0 || base >= n || i/40 != base/40:
			err = w.WriteObject(object.Blob, v.blobs[i].data)
		default:
			d, _ := pack.NewDeltaIndex(v.blobs[base].data).Delta(nil, v.blobs[i].data, 1<<20)
			err = w.WriteDelta(pack.Base{ID: v.blobs[base].id()}, d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestMakeDeltas fetches parts of a history whose stored deltas mostly build on what is not sent, and in any order.
func TestMakeDeltas(t *testing.T) { inBaseModes(t, testMakeDeltas) }

func testMakeDeltas(t *testing.T, m baseMode, r *rand.Rand) {
	const n = 120
	for _, step := range []int{-1, 1} {
		v := makeVersions(r, n)
		s := m.open(t)
		repo := create(t, s)
		push(t, repo, v.pack(t, r, step), update("refs/heads/main", object.ID{}, v.commits[n-1].id()))
		m.settle(t, s, repo)
		for i := range 8 {
			have := r.IntN(n - 1)
			want := have + 1 + r.IntN(n-1-have)
			sel := storage.Selection{Wants: []object.ID{v.commits[want].id()}, Haves: []object.ID{v.commits[have].id()},
				ThinPack: i%2 == 0, NoOfsDelta: i%3 == 0}
			client := newGit(t)
			client.run(writePack(t, repo, storage.Selection{Wants: sel.Haves}), "index-pack", "--stdin", "--strict")
			args := []string{"index-pack", "--stdin", "--strict"}
			if sel.ThinPack {
				args = append(args, "--fix-thin")
			}
			data := writePack(t, repo, sel)
			client.run(data, args...)
			client.run(nil, "rev-list", "--objects", "--quiet", sel.Wants[0].String())
			checkChains(t, client, sel)
			// A version whole has 7 KB, a delta 100 bytes. By ranges, no deltas are made.
			if limit := (want-have)*600 + 20_000; m.few+m.objects != 1 && len(data) > limit {
				t.Errorf("step %d, %d to %d: %d bytes, want at most %d", step, have, want, len(data), limit)
			}
		}
	}
}

// checkChains looks at the chains of deltas in the packs of a client.
func checkChains(t *testing.T, g *git, sel storage.Selection) {
	t.Helper()
	packs, _ := filepath.Glob(filepath.Join(g.dir, ".git/objects/pack/*.idx"))
	for _, path := range packs {
		for line := range strings.Lines(string(g.run(nil, "verify-pack", "-s", path))) {
			var length, count int
			if n, _ := fmt.Sscanf(line, "chain length = %d: %d", &length, &count); n == 2 && length > 51 {
				t.Errorf("%+v: a chain of %d deltas", sel, length)
			}
		}
	}
}

// TestMaxDeltaBytes looks that objects above the limit are sent as they are.
func TestMaxDeltaBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	v := makeVersions(r, 2)
	for _, test := range []struct {
		max  int64
		thin bool
	}{{int64(len(v.blobs[0].data)) - 100, false}, {0, true}} {
		s := open(t, t.TempDir(), storage.Options{NoSync: true, MaxDeltaBytes: test.max})
		repo := create(t, s)
		var objs []obj
		objs = append(append(append(objs, v.blobs...), v.trees...), v.commits...)
		tip := v.commits[1].id()
		push(t, repo, packOf(t, objs...), update("refs/heads/main", object.ID{}, tip))
		data := writePack(t, repo, storage.Selection{Wants: []object.ID{tip}, Haves: []object.ID{v.commits[0].id()}, ThinPack: true})
		if thin := len(data) < 2000; thin != test.thin {
			t.Errorf("limit %d: %d bytes", test.max, len(data))
		}
	}
}
