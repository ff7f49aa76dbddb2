package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// history makes a random history with merges in g, and returns its commits, oldest first.
func history(t *testing.T, g *git, r *rand.Rand, n int) []object.ID {
	t.Helper()
	var commits []object.ID
	for i := range n {
		parents := []object.ID{}
		for range min(len(commits), 1+r.IntN(2)) {
			parents = append(parents, commits[len(commits)-1-r.IntN(min(len(commits), 4))])
		}
		slices.SortFunc(parents, object.ID.Compare)
		parents = slices.Compact(parents)
		commits = append(commits, commitOn(g, r, i, parents))
	}
	return commits
}

// commitOn changes a file or two in the tree of the first parent.
func commitOn(g *git, r *rand.Rand, i int, parents []object.ID) object.ID {
	g.t.Helper()
	if len(parents) > 0 {
		g.run(nil, "read-tree", parents[0].String())
	}
	for range 1 + r.IntN(2) {
		lines := strings.Repeat(fmt.Sprintf("line of %d\n", r.IntN(4)), 40)
		blob := g.id(g.run([]byte(fmt.Sprint(i%7, "\n", lines)), "hash-object", "-w", "--stdin"))
		path := fmt.Sprintf("%c/%c/%c", 'a'+r.IntN(3), 'a'+r.IntN(3), 'a'+r.IntN(4))
		g.run(nil, "update-index", "--add", "--cacheinfo", "100644,"+blob.String()+","+path)
	}
	tree := g.id(g.run(nil, "write-tree"))
	args := []string{"commit-tree", tree.String(), "-m", fmt.Sprint(i)}
	for _, p := range parents {
		args = append(args, "-p", p.String())
	}
	// Half of the clocks are wrong, so that parents may be younger than their children.
	g.date = fmt.Sprintf("%d +0000", 1_600_000_000+60*i-r.IntN(2)*r.IntN(600))
	return g.id(g.run(nil, args...))
}

// objectsOf returns the ids that a pack holds, as git lists them after it has completed the pack in repository g.
func objectsOf(t *testing.T, g *git, data []byte) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	pack := filepath.Join(dir, "x.pack")
	g.run(data, "index-pack", "--stdin", "-o", filepath.Join(dir, "x.idx"), pack)
	ids := map[string]bool{}
	for line := range strings.Lines(string(g.run(nil, "verify-pack", "-v", filepath.Join(dir, "x.idx")))) {
		if f := strings.Fields(line); len(f) >= 4 && len(f[0]) == 40 {
			ids[f[0]] = true
		}
	}
	return ids
}

func revList(g *git, wants, haves []object.ID) map[string]bool {
	args := []string{"rev-list", "--objects"}
	for _, id := range wants {
		args = append(args, id.String())
	}
	for _, id := range haves {
		args = append(args, "^"+id.String())
	}
	ids := map[string]bool{}
	for line := range strings.Lines(string(g.run(nil, args...))) {
		ids[strings.Fields(line)[0]] = true
	}
	return ids
}

// TestWritePackSelections compares what WritePack selects with git's own answer, for random wants and haves in a
// repository of one large and many thin packs. It may send more than git, never less.
func TestWritePackSelections(t *testing.T) { inBaseModes(t, testWritePackSelections) }

func testWritePackSelections(t *testing.T, m baseMode, r *rand.Rand) {
	g := newGit(t)
	commits := history(t, g, r, 32)
	s := m.open(t)
	repo := create(t, s)
	push(t, repo, g.pack(commits[:20]...), update("refs/heads/x", object.ID{}, commits[19]))
	m.settle(t, s, repo)
	for i := 20; i < len(commits); i++ {
		if i == 30 {
			if err := s.Fill(repo.ID()); err != nil {
				t.Fatal(err)
			}
		}
		push(t, repo, g.thinPack(commits[i], commits[:i]...), update(fmt.Sprint("refs/heads/", i), object.ID{}, commits[i]))
	}
	sent, needed := 0, 0
	for i := range 40 {
		var sel storage.Selection
		for range 1 + r.IntN(2) {
			sel.Wants = append(sel.Wants, commits[r.IntN(len(commits))])
		}
		for range r.IntN(3) {
			sel.Haves = append(sel.Haves, commits[r.IntN(len(commits))])
		}
		sel.NoOfsDelta = i%3 == 0
		data := writePack(t, repo, sel)
		if sel.NoOfsDelta && hasOfsDelta(t, data) {
			t.Errorf("%+v: an offset delta was sent", sel)
		}
		got, want := objectsOf(t, g, data), revList(g, sel.Wants, sel.Haves)
		for id := range want {
			if !got[id] {
				t.Fatalf("%+v: object %s is not sent", sel, id)
			}
		}
		// Nothing may be sent that cannot be reached from the wants.
		reach := revList(g, sel.Wants, nil)
		for id := range got {
			if !reach[id] {
				t.Fatalf("%+v: object %s is sent", sel, id)
			}
		}
		sent, needed = sent+len(got), needed+len(want)
	}
	t.Logf("%d objects sent, git's rev-list names %d", sent, needed)
	if sent > needed*5/4+100 {
		t.Errorf("%d objects sent, git's rev-list names %d", sent, needed)
	}
	cloneAndCompare(t, g, repo, commits[len(commits)-1])
	mustCheck(t, s)
}

// TestFetch brings random receivers up to date, with thin packs and others, and lets git look for what is missing.
func TestFetch(t *testing.T) { inBaseModes(t, testFetch) }

func testFetch(t *testing.T, m baseMode, r *rand.Rand) {
	g := newGit(t)
	commits := history(t, g, r, 24)
	s := m.open(t)
	repo := create(t, s)
	push(t, repo, g.pack(commits[:20]...), update("refs/heads/x", object.ID{}, commits[19]))
	m.settle(t, s, repo)
	push(t, repo, g.packObjects(commits[20:], commits[:20], "--thin"), update("refs/heads/y", object.ID{}, commits[23]))
	size := map[bool]int{}
	for i := range 12 {
		have, want := commits[r.IntN(len(commits))], commits[r.IntN(len(commits))]
		client := newGit(t)
		client.run(writePack(t, repo, storage.Selection{Wants: []object.ID{have}}), "index-pack", "--stdin")
		sel := storage.Selection{Wants: []object.ID{want}, Haves: []object.ID{have}, ThinPack: true, NoOfsDelta: i%4 == 0}
		data := writePack(t, repo, sel)
		size[true] += len(data)
		client.run(data, "index-pack", "--stdin", "--fix-thin", "--strict")
		client.run(nil, "rev-list", "--objects", "--quiet", want.String()) // fails if anything is missing
		sel.ThinPack = false
		size[false] += len(writePack(t, repo, sel))
	}
	t.Logf("thin packs have %d bytes, others %d", size[true], size[false])
	if size[true] > size[false]*11/10 {
		t.Error("thin packs are larger than others")
	}
}

// hasOfsDelta reports whether any entry of the pack names its base by offset.
func hasOfsDelta(t *testing.T, data []byte) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := pack.Open(path, object.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := pack.Scan(t.Context(), f, pack.Options{})
	if errors.Is(err, pack.ErrMissingBase) {
		t.Fatal("the pack is thin")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range got.Records {
		if h, err := p.Header(rec.Offset); err != nil || h.Kind == 6 {
			return true
		}
	}
	return false
}

// TestThinChain pushes thin packs that each build on the one before, and looks at the chain of deltas in a clone.
func TestThinChain(t *testing.T) {
	g := newGit(t)
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	base := strings.Repeat("some line of text that does not change\n", 200)
	var tip object.ID
	for i := range 62 {
		base += fmt.Sprintf("line %d\n", i)
		next := g.commit(fmt.Sprint(i), map[string]string{"f": base})
		var data []byte
		if i == 0 {
			data = g.pack(next)
		} else {
			data = g.thinPack(next, tip)
		}
		push(t, repo, data, update("refs/heads/main", tip, next))
		tip = next
		if i == 30 {
			if err := s.Fill(repo.ID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	clone := newGit(t)
	data := writePack(t, repo, storage.Selection{Wants: []object.ID{tip}})
	if limit := 40_000; len(data) > limit {
		t.Errorf("the clone has %d bytes: deltas are not used", len(data))
	}
	clone.run(data, "index-pack", "--stdin", "--strict")
	packs, _ := filepath.Glob(filepath.Join(clone.dir, ".git/objects/pack/*.idx"))
	out := string(clone.run(nil, "verify-pack", "-s", packs[0]))
	for line := range strings.Lines(out) {
		var length, count int
		if n, _ := fmt.Sscanf(line, "chain length = %d: %d", &length, &count); n == 2 && length > 51 {
			t.Errorf("a chain of %d deltas", length)
		}
	}
	mustCheck(t, s)
}

func TestIncludeTag(t *testing.T) {
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) { testIncludeTag(t, m, false) })
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) { testIncludeTag(t, m, true) })
}

// testIncludeTag has the tags in the base pack, or not.
func testIncludeTag(t *testing.T, m baseMode, tagsInBase bool) {
	s := m.open(t)
	repo, tip := tinyRepo(t, s)
	if !tagsInBase {
		m.settle(t, s, repo)
	}
	data, next := tiny(t, "second", tip)
	tag1, tag2 := tagObj(tip, object.Commit, "v1"), tagObj(next, object.Commit, "v2")
	tag3 := tagObj(tag2.id(), object.Tag, "v3")
	push(t, repo, data, update("refs/heads/main", tip, next))
	push(t, repo, packOf(t, tag1, tag2, tag3), update("refs/tags/v1", object.ID{}, tag1.id()),
		update("refs/tags/v3", object.ID{}, tag3.id()), update("refs/tags/light", object.ID{}, tip))
	if tagsInBase {
		all := writePack(t, repo, storage.Selection{Wants: []object.ID{next, tag1.id(), tag3.id()}})
		other := create(t, s)
		push(t, other, all, update("refs/heads/main", object.ID{}, next), update("refs/tags/v1", object.ID{}, tag1.id()),
			update("refs/tags/v3", object.ID{}, tag3.id()), update("refs/tags/light", object.ID{}, tip))
		repo = other
		m.settle(t, s, repo)
	}
	for _, test := range []struct {
		name string
		sel  storage.Selection
		want uint32
	}{
		{"no tags", storage.Selection{Wants: []object.ID{next}}, 6},
		{"all", storage.Selection{Wants: []object.ID{next}, IncludeTag: true}, 9},
		{"of what is sent", storage.Selection{Wants: []object.ID{tip}, IncludeTag: true}, 4},
		{"of what is new", storage.Selection{Wants: []object.ID{next}, Haves: []object.ID{tip}, IncludeTag: true}, 5},
		{"a wanted tag", storage.Selection{Wants: []object.ID{tag3.id()}, Haves: []object.ID{tip}}, 5},
		{"a wanted blob", storage.Selection{Wants: []object.ID{blobObj("first").id()}}, 1},
		{"a wanted tree", storage.Selection{Wants: []object.ID{treeObj("f", blobObj("first").id()).id()}}, 2},
		{"nothing new", storage.Selection{Wants: []object.ID{tip}, Haves: []object.ID{next}}, 0},
		{"unknown haves", storage.Selection{Wants: []object.ID{tip}, Haves: []object.ID{blobObj("unknown").id()}}, 3},
		{"the same twice", storage.Selection{Wants: []object.ID{tip, tip, tag1.id()}}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			var buf bytes.Buffer
			n, err := repo.WritePack(t.Context(), &buf, test.sel, nil)
			if n != test.want || err != nil {
				t.Errorf("%d objects, %v; want %d", n, err, test.want)
			}
			g := newGit(t)
			g.run(buf.Bytes(), "unpack-objects")
		})
	}
	unknown := storage.Selection{Wants: []object.ID{blobObj("none").id()}}
	if _, err := repo.WritePack(t.Context(), &bytes.Buffer{}, unknown, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unknown want: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wanted := storage.Selection{Wants: []object.ID{next}}
	if _, err := repo.WritePack(ctx, &bytes.Buffer{}, wanted, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled clone: %v", err)
	}
}
