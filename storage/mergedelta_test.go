package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// TestMergeFindsDeltas pushes versions of some files, each stored whole, and merges them: few stay whole, no chain becomes too
// long, and what a merge has found the next one keeps.
func TestMergeFindsDeltas(t *testing.T) {
	s := open(t, t.TempDir(), small())
	repo := create(t, s)
	g := newGit(t)
	var tip object.ID
	const versions = 150
	for i := range versions {
		files := map[string]string{"a/file": text(i), "b/file": text(i / 2)}
		next := g.commit(fmt.Sprint("commit ", i), files)
		var have []object.ID
		if i > 0 {
			have = append(have, tip)
		}
		push(t, repo, g.packObjects([]object.ID{next}, have, "--window=0", "--no-reuse-delta"), update("refs/heads/main", tip, next))
		tip = next
		if i%40 == 39 {
			merge(t, repo)
		}
	}
	stats := merge(t, repo)
	before := stats.Bytes
	must(t, s.MergeFully(repo.ID()))
	stats, err := repo.Stats()
	must(t, err)
	if stats.Packs != 1 || stats.Bytes > before {
		t.Errorf("%+v, after %d bytes", stats, before)
	}
	cloneAndCompare(t, g, repo, tip)
	mustCheck(t, s)
	whole, deepest := chainsOf(t, writePack(t, repo, storage.Selection{Wants: []object.ID{tip}}))
	if whole > 20 || deepest < 5 || deepest > 50 {
		t.Errorf("%d blobs are whole, the longest chain has %d deltas", whole, deepest)
	}
}

// chainsOf returns how many blobs of a pack are stored whole, and the length of its longest chain of deltas.
func chainsOf(t *testing.T, data []byte) (whole, deepest int) {
	t.Helper()
	g := newGit(t)
	name := strings.Fields(string(g.run(data, "index-pack", "--stdin")))[1]
	for line := range strings.Lines(string(g.run(nil, "verify-pack", "-v", ".git/objects/pack/pack-"+name+".idx"))) {
		var id, typ, base string
		var size, length, offset, depth int
		switch n, _ := fmt.Sscan(line, &id, &typ, &size, &length, &offset, &depth, &base); {
		case len(id) != 40:
		case n == 5 && typ == "blob":
			whole++
		case n == 7:
			deepest = max(deepest, depth)
		}
	}
	return whole, deepest
}
