package graph_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/storage/graph"
	"holdfast/storage/object"
)

// packed is a pack of made-up objects with real links.
type packed struct {
	objects []graph.Object
	data    map[uint32][]byte
	place   map[object.ID]uint32
}

func (p *packed) add(t object.Type, data []byte) object.ID {
	id := object.HashObject(object.SHA1, t, data)
	if _, ok := p.place[id]; ok {
		return id
	}
	place := uint32(len(p.objects))
	p.place[id], p.data[place] = place, data
	p.objects = append(p.objects, graph.Object{ID: id, Type: t, Size: int64(len(data)), Offset: 12 + 10*int64(place),
		CRC: place, Base: graph.None})
	return id
}

func (p *packed) tree(entries ...any) object.ID {
	var b []byte
	for i := 0; i < len(entries); i += 3 {
		b = fmt.Appendf(b, "%s %s\x00", entries[i], entries[i+1])
		b = entries[i+2].(object.ID).Append(b)
	}
	return p.add(object.Tree, b)
}

func (p *packed) commit(n int, tree object.ID, parents ...object.ID) object.ID {
	b := fmt.Appendf(nil, "tree %s\n", tree)
	for _, id := range parents {
		b = fmt.Appendf(b, "parent %s\n", id)
	}
	return p.add(object.Commit, fmt.Appendf(b, "author a <a> %d +0000\ncommitter a <a> %d +0000\n\n%d", n, n, n))
}

func (p *packed) encode(t testing.TB) ([]byte, error) {
	var buf bytes.Buffer
	err := graph.Write(t.Context(), &buf, object.SHA1, 1<<20, p.objects, func(place uint32) ([]byte, error) {
		if d, ok := p.data[place]; ok {
			return d, nil
		}
		return nil, errors.New("no data")
	})
	return buf.Bytes(), err
}

func newPacked() *packed { return &packed{data: map[uint32][]byte{}, place: map[object.ID]uint32{}} }

// random makes a random history with merges, of trees that change back and forth.
func random(r *rand.Rand, n int) (p *packed, commits []object.ID) {
	p = newPacked()
	for i := range n {
		blob := func() object.ID { return p.add(object.Blob, fmt.Append(nil, r.IntN(6))) }
		dir := p.tree("100644", "f", blob(), "100755", "g", blob())
		root := p.tree("100644", "a", blob(), "40000", "a.d", dir, "40000", "b", p.tree("40000", "c", dir, "100644", "d", blob()))
		var parents []object.ID
		for range min(i, r.IntN(3)) {
			parents = append(parents, commits[r.IntN(i)])
		}
		commits = append(commits, p.commit(i, root, slices.Compact(parents)...))
	}
	return p, commits
}

// reach returns what commits lead to, by following every link.
func (p *packed) reach(ids ...object.ID) map[uint32]bool {
	seen := map[uint32]bool{}
	for len(ids) > 0 {
		place := p.place[ids[0]]
		ids = ids[1:]
		if seen[place] {
			continue
		}
		seen[place] = true
		object.Links(object.SHA1, p.objects[place].Type, p.data[place], func(l object.Link) { ids = append(ids, l.ID) })
	}
	return seen
}

func TestReach(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 30 {
		p, commits := random(r, 1+r.IntN(40))
		data, err := p.encode(t)
		if err != nil {
			t.Fatal(err)
		}
		g, err := graph.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			want, have := commits[r.IntN(len(commits))], commits[r.IntN(len(commits))]
			index := func(id object.ID) uint32 {
				place, _ := g.Find(id)
				c, ok := g.Commit(place)
				if !ok {
					t.Fatalf("%s is no commit", id)
				}
				return c
			}
			reach, had := p.reach(want), p.reach(have)
			all := graph.NewSet(g.Len())
			g.AddObjects(all, g.Missing([]uint32{index(want)}, nil))
			missing := graph.NewSet(g.Len())
			g.AddObjects(missing, g.Missing([]uint32{index(want)}, []uint32{index(have)}))
			for place := range uint32(g.Len()) {
				if all.Has(place) != reach[place] {
					t.Fatalf("%s leads to %s: %v", want, g.ID(place), reach[place])
				}
				if reach[place] && !had[place] && !missing.Has(place) || missing.Has(place) && !reach[place] {
					t.Fatalf("%s is missing: %v", g.ID(place), missing.Has(place))
				}
			}
		}
	}
}

func TestLookups(t *testing.T) {
	p, commits := random(rand.New(rand.NewPCG(1, 2)), 50)
	tag := p.add(object.Tag, fmt.Appendf(nil, "object %s\ntype commit\ntag v\ntagger a <a> 1 +0000\n\nx", commits[7]))
	data, err := p.encode(t)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "graph")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := graph.Open(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range p.place {
		place, ok := g.Find(id)
		o := p.objects[want]
		if !ok || place != want || g.ID(place) != id || g.Offset(place) != o.Offset || g.Size(place) != o.Size ||
			g.Type(place) != o.Type || g.CRC(place) != o.CRC || g.Base(place) != o.Base {
			t.Errorf("%s is at %d, %v, want %+v", id, place, ok, o)
		}
	}
	if target, ok := g.Target(p.place[tag]); !ok || target != p.place[commits[7]] {
		t.Errorf("the tag leads to %d, %v", target, ok)
	}
	for i, id := range commits {
		c, _ := g.Commit(p.place[id])
		if g.Date(c) != int64(i) || g.Place(c) != p.place[id] {
			t.Errorf("commit %d: date %d, place %d", i, g.Date(c), g.Place(c))
		}
		g.Parents(c, func(q uint32) {
			if g.Generation(q) >= g.Generation(c) {
				t.Errorf("a parent of commit %d has generation %d", i, g.Generation(q))
			}
		})
	}
	if _, ok := g.Find(object.HashObject(object.SHA1, object.Blob, []byte("none"))); ok {
		t.Error("an unknown object is found")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := graph.Open(path, 1<<19); !errors.Is(err, graph.ErrInvalid) {
		t.Errorf("for another pack: %v", err)
	}
}

func TestOpenPacks(t *testing.T) {
	missing := object.HashObject(object.SHA1, object.Blob, []byte("missing"))
	for name, make := range map[string]func(p *packed){
		"tree":   func(p *packed) { p.commit(1, missing) },
		"parent": func(p *packed) { p.commit(1, p.tree(), missing) },
		"blob":   func(p *packed) { p.commit(1, p.tree("100644", "f", missing)) },
		"tag":    func(p *packed) { p.add(object.Tag, fmt.Appendf(nil, "object %s\ntype blob\ntag v\n\n", missing)) },
	} {
		p := newPacked()
		make(p)
		if _, err := p.encode(t); !errors.Is(err, graph.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for n := range 4 {
		p, _ := random(rand.New(rand.NewPCG(1, 2)), n)
		data, err := p.encode(f)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := graph.Decode(graph.WithChecksum(data))
		if err != nil {
			return
		}
		for c := range uint32(g.Commits()) {
			g.Parents(c, func(uint32) {})
			g.Introduced(c, func(place uint32) { g.ID(place) })
			g.Missing([]uint32{c}, []uint32{0})
		}
		for place := range uint32(g.Len()) {
			g.Find(g.ID(place))
			g.Target(place)
			g.Commit(place)
			g.End(place)
		}
	})
}
