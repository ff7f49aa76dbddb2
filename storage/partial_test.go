package storage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// TestWritePackFilters compares what a filter leaves of random selections with git's own answer. As without a filter,
// more than git sends may be sent, but nothing that the filter leaves out of the wants.
func TestWritePackFilters(t *testing.T) { inBaseModes(t, testWritePackFilters) }

func testWritePackFilters(t *testing.T, m baseMode, r *rand.Rand) {
	g := newGit(t)
	commits := history(t, g, r, 16)
	// The same tree at two depths, and blobs of several sizes.
	deep := g.id(g.run(nil, "rev-parse", commits[15].String()+"^{tree}"))
	large := g.id(g.run([]byte(strings.Repeat("large\n", 2000)), "hash-object", "-w", "--stdin"))
	entries := fmt.Appendf(nil, "040000 tree %s\ta\n100644 blob %s\tb\n", deep, large)
	var sparse []object.ID
	for _, patterns := range []string{"/x/\n!/x/a/*/\nf*\n", "**/a/\n!b\n", "[a-e]?\n/y/**/[!a]*\n*.c\n"} {
		blob := g.id(g.run([]byte(patterns), "hash-object", "-w", "--stdin"))
		sparse = append(sparse, blob)
		entries = fmt.Appendf(entries, "100644 blob %s\tp%d\n", blob, len(sparse))
	}
	nested := g.id(g.run(entries, "mktree"))
	both := g.id(g.run(fmt.Appendf(nil, "040000 tree %s\tx\n040000 tree %s\ty\n", nested, deep), "mktree"))
	tip := g.id(g.run(nil, "commit-tree", both.String(), "-p", commits[15].String(), "-m", "both"))
	g.run(nil, "tag", "-a", "-m", "tag", "v1", tip.String())
	tag := g.revParse("v1")
	s := m.open(t)
	repo := create(t, s)
	push(t, repo, g.pack(commits[:8]...), update("refs/heads/x", object.ID{}, commits[7]))
	m.settle(t, s, repo)
	push(t, repo, g.packObjects(append(commits[8:], tag), commits[:8], "--thin"),
		update("refs/tags/v1", object.ID{}, tag), update("refs/heads/y", object.ID{}, commits[15]))
	for _, spec := range []string{"blob:none", "blob:limit=100", "blob:limit=5k", "tree:0", "tree:1", "tree:2", "tree:3",
		"tree:4", "object:type=blob", "object:type=tree", "object:type=commit", "object:type=tag",
		"combine:tree:3+blob:limit=1k", "combine:object:type=blob+tree:2", "sparse:oid=" + sparse[0].String(),
		"sparse:oid=" + sparse[1].String(), "sparse:oid=" + sparse[2].String(), "sparse:oid=v1:x/b", "sparse:oid=v1:x/p1",
		"combine:sparse:oid=" + sparse[0].String() + "+tree:3+sparse:oid=" + sparse[1].String()} {
		filter, err := object.ParseFilter(spec)
		if err != nil {
			t.Fatal(err)
		}
		for i := range filter.Sparse {
			rev, _, _ := filter.Sparse[i].Cut()
			filter.Sparse[i].ID = g.revParse(rev)
		}
		for _, sel := range []storage.Selection{
			{Wants: []object.ID{tag}},
			{Wants: []object.ID{tip, commits[3]}},
			{Wants: []object.ID{tip}, Haves: []object.ID{commits[15]}},
			{Wants: []object.ID{commits[12], commits[14]}, Haves: []object.ID{commits[4]}, ThinPack: true},
			{Wants: []object.ID{both}},
			{Wants: []object.ID{large}},
			{Wants: []object.ID{both, commits[6]}},
		} {
			sel.Filter = filter
			got := sentObjects(t, g, writePack(t, repo, sel))
			want := revListFiltered(g, spec, sel.Wants, sel.Haves)
			for id := range want {
				if !got[id] {
					t.Fatalf("%s, %+v: object %s is not sent", spec, sel, id)
				}
			}
			// Git itself leaves out too much where a tree is met at two depths and filters are combined.
			for part := range strings.SplitSeq(strings.TrimPrefix(spec, "combine:"), "+") {
				reach := revListFiltered(g, part, sel.Wants, nil)
				for id := range got {
					if !reach[id] {
						t.Fatalf("%s, %+v: object %s is sent", spec, sel, id)
					}
				}
			}
		}
	}
	mustCheck(t, s)
}

// sentObjects is objectsOf for packs that may be thin.
func sentObjects(t *testing.T, g *git, data []byte) map[string]bool {
	t.Helper()
	out := g.run(data, "index-pack", "--stdin", "--fix-thin")
	name := strings.Fields(string(out))[1]
	ids := map[string]bool{}
	added := len(data)
	for line := range strings.Lines(string(g.run(nil, "verify-pack", "-v", ".git/objects/pack/pack-"+name+".idx"))) {
		var id, typ string
		var size, length, offset int
		if n, _ := fmt.Sscan(line, &id, &typ, &size, &length, &offset); n == 5 && len(id) == 40 && offset < added-20 {
			ids[id] = true
		}
	}
	return ids
}

func revListFiltered(g *git, filter string, wants, haves []object.ID) map[string]bool {
	args := []string{"rev-list", "--objects", "--filter=" + filter}
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

// TestReached overwrites a branch by force: what only the old one led to is not reached any more.
func TestReached(t *testing.T) {
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) { testReached(t, m) })
}

func testReached(t *testing.T, m baseMode) {
	g := newGit(t)
	s := m.open(t)
	repo := create(t, s)
	first := g.commit("first", map[string]string{"a/f": "one\n", "g": "same\n"})
	second := g.commit("second", map[string]string{"a/f": "secret\n"})
	g.run(nil, "checkout", "-q", "-b", "other", first.String())
	third := g.commit("third", map[string]string{"a/f": "three\n"})
	push(t, repo, g.pack(first, second), update("refs/heads/main", object.ID{}, second))
	m.settle(t, s, repo)
	push(t, repo, g.pack(third), update("refs/heads/main", second, third))
	rev := func(names ...string) (ids []object.ID) {
		for _, name := range names {
			ids = append(ids, g.revParse(name))
		}
		return ids
	}
	good := rev("other", "other~1", "other^{tree}", "other:a", "other:a/f", "other~1:a/f", "other~1:g", "other~1^{tree}")
	bad := rev("main", "main^{tree}", "main:a", "main:a/f")
	bad = append(bad, blobObj("unknown").id())
	for name, test := range map[string]struct {
		targets, want []object.ID
		limit         int
	}{
		"all":      {slices.Concat(good, bad, good), good, 1 << 20},
		"one blob": {good[5:6], good[5:6], 1 << 20},
		"bad":      {bad, nil, 1 << 20},
		"commits":  {[]object.ID{good[0], good[1], bad[0]}, good[:2], 1 << 20},
		"limited":  {good[4:5], nil, 1},
		"none":     {nil, nil, 1},
	} {
		got, err := repo.Reached(t.Context(), []object.ID{third}, test.targets, test.limit)
		slices.SortFunc(got, object.ID.Compare)
		want := slices.Clone(test.want)
		slices.SortFunc(want, object.ID.Compare)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
}

// TestDeepen computes boundaries on a history with a merge:
//
//	0 - 1 - 2 - 4 - 5
//	     \- 3 -/
func TestDeepen(t *testing.T) {
	g := newGit(t)
	tree := g.id(g.run(nil, "write-tree"))
	var c []object.ID
	for i, parents := range [][]int{{}, {0}, {1}, {1}, {2, 3}, {4}} {
		args := []string{"commit-tree", tree.String(), "-m", fmt.Sprint(i)}
		for _, p := range parents {
			args = append(args, "-p", c[p].String())
		}
		g.date = fmt.Sprintf("%d +0000", 1_600_000_000+60*i)
		c = append(c, g.id(g.run(nil, args...)))
	}
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	push(t, repo, g.pack(c...), update("refs/heads/main", object.ID{}, c[5]))
	unknown := blobObj("unknown").id()
	ids := func(numbers ...int) (ids []object.ID) {
		for _, n := range numbers {
			ids = append(ids, c[n])
		}
		return ids
	}
	for name, test := range map[string]struct {
		d                  storage.Deepening
		shallow, unshallow []object.ID
	}{
		"1":                        {storage.Deepening{Depth: 1}, ids(5), nil},
		"2":                        {storage.Deepening{Depth: 2, Shallow: ids(5)}, ids(4), ids(5)},
		"3":                        {storage.Deepening{Depth: 3, Shallow: ids(4)}, ids(2, 3), ids(4)},
		"4":                        {storage.Deepening{Depth: 4, Shallow: ids(2)}, ids(1), ids(2)},
		"less":                     {storage.Deepening{Depth: 2, Shallow: ids(1)}, ids(4), nil},
		"same":                     {storage.Deepening{Depth: 2, Shallow: ids(4)}, nil, nil},
		"past root":                {storage.Deepening{Depth: 9, Shallow: append(ids(2, 3, 2), unknown)}, nil, ids(2, 3)},
		"relative":                 {storage.Deepening{Depth: 1, Roots: ids(5), Shallow: ids(2, 3)}, ids(1), ids(2, 3)},
		"relative, from elsewhere": {storage.Deepening{Depth: 1, Roots: ids(2), Shallow: ids(2, 3)}, ids(1), ids(2)},
		"infinite":                 {storage.Deepening{Depth: storage.Infinite, Roots: ids(5), Shallow: ids(2)}, nil, ids(2)},
		"infinite, from elsewhere": {storage.Deepening{Depth: storage.Infinite, Roots: ids(3), Shallow: ids(2)}, nil, nil},
		"since":                    {storage.Deepening{Since: 1_600_000_000 + 180, Shallow: ids(5)}, ids(3, 4), ids(5)},
		"since all":                {storage.Deepening{Since: 1, Shallow: ids(5)}, nil, ids(5)},
		"not":                      {storage.Deepening{Not: ids(2)}, ids(3, 4), nil},
		"not and since":            {storage.Deepening{Not: ids(2), Since: 1_600_000_000 + 200}, ids(4), nil},
	} {
		test.d.Wants = ids(5)
		got, err := repo.Deepen(t.Context(), test.d)
		slices.SortFunc(got.Shallow, object.ID.Compare)
		slices.SortFunc(test.shallow, object.ID.Compare)
		if err != nil || !slices.Equal(got.Shallow, test.shallow) || !slices.Equal(got.Unshallow, test.unshallow) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, test)
		}
	}
	for _, d := range []storage.Deepening{{Since: 1 << 40}, {Not: ids(5)}} {
		d.Wants = ids(5)
		if _, err := repo.Deepen(t.Context(), d); !errors.Is(err, storage.ErrNoCommits) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// TestDescends asks whether commits descend from others, on a history with a merge, a root beside it and a clock that went
// wrong.
func TestDescends(t *testing.T) {
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) { testDescends(t, m) })
}

func testDescends(t *testing.T, m baseMode) {
	g := newGit(t)
	blob := g.id(g.run([]byte("x"), "hash-object", "-w", "--stdin"))
	tree := g.id(g.run([]byte("100644 blob "+blob.String()+"\tf\n"), "mktree"))
	var c []object.ID
	for i, parents := range [][]int{{}, {0}, {1}, {1}, {2, 3}, {}, {4}, {6}} {
		args := []string{"commit-tree", tree.String(), "-m", fmt.Sprint(i)}
		for _, p := range parents {
			args = append(args, "-p", c[p].String())
		}
		g.date = fmt.Sprintf("%d +0000", 1_600_000_000+60*i)
		if i == 6 {
			g.date = "1500000000 +0000"
		}
		c = append(c, g.id(g.run(nil, args...)))
	}
	g.run(nil, "tag", "-a", "-m", "t", "t", c[4].String())
	tag := g.revParse("t")
	s := m.open(t)
	repo := create(t, s)
	push(t, repo, g.pack(c[5], c[7], tag), update("refs/heads/main", object.ID{}, c[7]),
		update("refs/heads/root", object.ID{}, c[5]), update("refs/tags/t", object.ID{}, tag))
	m.settle(t, s, repo)
	unknown := blobObj("unknown").id()
	ids := func(numbers ...int) (ids []object.ID) {
		for _, n := range numbers {
			ids = append(ids, c[n])
		}
		return ids
	}
	for name, test := range map[string]struct {
		wants, commits []object.ID
		limit          int
		want           bool
	}{
		"itself":              {ids(4), ids(4), 100, true},
		"by a merge":          {ids(4, 3), ids(1), 100, true},
		"by a parent":         {ids(3), ids(2), 100, true},
		"two of three":        {ids(4, 2, 0), ids(2), 100, false},
		"each from another":   {ids(4, 5), ids(3, 5), 100, true},
		"by one another":      {ids(2, 4), append(ids(1), unknown), 100, true},
		"another root":        {ids(4, 5), ids(0), 100, false},
		"a tag":               {[]object.ID{tag}, ids(2), 100, true},
		"a tag, from nothing": {[]object.ID{tag}, ids(5), 100, false},
		"no commits":          {[]object.ID{blob, tree}, nil, 100, true},
		"nothing in common":   {ids(4), []object.ID{unknown, blob}, 100, false},
		"too far":             {ids(4), ids(0), 4, false},
		"not too far":         {ids(4), ids(0), 6, true},
		"behind a wrong date": {ids(7), ids(4), 100, false},
	} {
		if got, err := repo.Descends(t.Context(), test.wants, test.commits, test.limit); err != nil || got != test.want {
			t.Errorf("%s: %v %v, want %v", name, got, err, test.want)
		}
	}
	if _, err := repo.Descends(t.Context(), []object.ID{unknown}, ids(4), 100); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unknown want: %v", err)
	}
}
