package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// baseModes are the ways in which WritePack can find and send the same objects.
var baseModes = []baseMode{{"without a graph", 0, 0}, {"one by one", 1, 1 << 20}, {"by ranges", 1, 0}}

type baseMode struct {
	name         string
	objects, few int
}

// open opens a store for the mode. Its first pack gets a graph file once it is settled, or never.
func (m baseMode) open(t *testing.T) *storage.Store {
	o := noSync()
	if o.GraphObjects = m.objects; m.objects == 0 {
		o.GraphObjects = 1 << 30
	}
	s := open(t, t.TempDir(), o)
	s.SetFew(m.few)
	return s
}

// settle moves all packs into index.db and makes the graph file.
func (m baseMode) settle(t *testing.T, s *storage.Store, repo *storage.Repo) {
	t.Helper()
	if err := s.Fill(repo.ID()); err != nil {
		t.Fatal(err)
	}
	if n := s.BaseObjects(repo.ID()); n > 0 != (m.objects > 0) {
		t.Fatalf("the base pack has %d objects", n)
	}
}

// inBaseModes runs a test in each mode, with the same random numbers, or in short in the last.
func inBaseModes(t *testing.T, test func(t *testing.T, m baseMode, r *rand.Rand)) {
	seed, modes := rand.Uint64(), baseModes
	if testing.Short() {
		modes = modes[2:]
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Logf("seed %d", seed)
			test(t, m, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

// TestVerbatim sends a base pack that is wanted whole as it was received, and no other way once anything else is wanted.
func TestVerbatim(t *testing.T) {
	g := newGit(t)
	m := baseMode{"", 1, 0}
	s := m.open(t)
	repo := create(t, s)
	commits := history(t, g, rand.New(rand.NewPCG(1, 2)), 12)
	data := g.pack(commits...)
	push(t, repo, data, update("refs/heads/x", object.ID{}, commits[11]))
	m.settle(t, s, repo)
	if got := writePack(t, repo, storage.Selection{Wants: commits}); !bytes.Equal(got, data) {
		t.Error("a pack that is wanted whole is not sent as it is")
	}
	for name, sel := range map[string]storage.Selection{
		"no offset deltas": {Wants: commits, NoOfsDelta: true},
		"a filter":         {Wants: commits, Filter: object.Filter{Omit: []object.Type{object.Blob}}},
		"fewer":            {Wants: commits[:6]},
	} {
		got := writePack(t, repo, sel)
		if bytes.Equal(got, data) {
			t.Errorf("%s: the whole pack was sent", name)
		}
		objectsOf(t, g, got)
	}
	next := g.commit("next", map[string]string{"f": "next"})
	push(t, repo, g.pack(next), update("refs/heads/y", object.ID{}, next))
	got := objectsOf(t, g, writePack(t, repo, storage.Selection{Wants: append(slices.Clone(commits), next)}))
	want := revList(g, append(slices.Clone(commits), next), nil)
	if len(got) != len(want) {
		t.Errorf("%d objects, want %d", len(got), len(want))
	}
}

// TestGraphFileIsMadeAgain damages a graph file: the repository serves on, and has a good one soon, without a push.
func TestGraphFileIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 100) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"changed": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGit(t)
			dir := t.TempDir()
			o := noSync()
			o.GraphObjects = 1
			s := open(t, dir, o)
			repo := create(t, s)
			tip := g.commit("one", map[string]string{"a": "1", "b/c": "2"})
			push(t, repo, g.pack(tip), update("refs/heads/main", object.ID{}, tip))
			if err := s.Fill(repo.ID()); err != nil || s.BaseObjects(repo.ID()) == 0 {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "repos/*/*/packs/*.graph"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			if err := damage(files[0]); err != nil {
				t.Fatal(err)
			}
			made := make(chan struct{}, 1)
			o.FaultHook = func(step storage.Step) error {
				if step == storage.StepGraphRename {
					made <- struct{}{}
				}
				return nil
			}
			s = open(t, dir, o)
			repo, err = s.Repo(repo.ID())
			if err != nil {
				t.Fatal(err)
			}
			cloneAndCompare(t, g, repo, tip)
			<-made
			if err := s.Fill(repo.ID()); err != nil || s.BaseObjects(repo.ID()) == 0 {
				t.Fatalf("no graph: %v", err)
			}
			cloneAndCompare(t, g, repo, tip)
			mustCheck(t, s)
		})
	}
}

// TestBaseIsReplaced clones while larger packs become the base pack.
func TestBaseIsReplaced(t *testing.T) {
	g := newGit(t)
	m := baseMode{"", 1, 0}
	s := m.open(t)
	repo := create(t, s)
	commits := history(t, g, rand.New(rand.NewPCG(3, 4)), 30)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for i, n := range []int{3, 10, 30} {
		push(t, repo, g.pack(commits[:n]...), update("refs/heads/x"+string(rune('0'+i)), object.ID{}, commits[n-1]))
		if i == 0 {
			for range 2 {
				readers.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						var buf bytes.Buffer
						_, err := repo.WritePack(context.Background(), &buf, storage.Selection{Wants: commits[:3]}, nil)
						if err != nil && !errors.Is(err, storage.ErrClosed) {
							t.Error(err)
						}
					}
				})
			}
		}
		before := s.BaseObjects(repo.ID())
		m.settle(t, s, repo)
		if after := s.BaseObjects(repo.ID()); after <= before {
			t.Errorf("the base pack has %d objects after %d", after, before)
		}
	}
	close(done)
	readers.Wait()
	files, _ := filepath.Glob(filepath.Join(s.Dir(), "repos/*/*/packs/*.graph"))
	if len(files) != 1 {
		t.Errorf("graph files: %v", files)
	}
	mustCheck(t, s)
}

// TestRevertBesideBase brings a tree back that an older commit outside of the base pack has introduced.
func TestRevertBesideBase(t *testing.T) {
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) {
		g := newGit(t)
		s := m.open(t)
		repo := create(t, s)
		tip := g.commit("base", map[string]string{"d/x": "1", "d/y": "1"})
		push(t, repo, g.pack(tip), update("refs/heads/main", object.ID{}, tip))
		m.settle(t, s, repo)
		for i, files := range []map[string]string{{"d/x": "new x"}, {"d/y": "new y"}, {"d/y": "1"}} {
			g.date = fmt.Sprintf("2021-01-0%dT00:00:00Z", i+1)
			next := g.commit("next", files)
			push(t, repo, g.thinPack(next, tip), update("refs/heads/main", tip, next))
			tip = next
		}
		cloneAndCompare(t, g, repo, tip)
	})
}

// TestTreeBomb makes a graph for, and clones, a tree that holds another many times, on many levels.
func TestTreeBomb(t *testing.T) {
	inBaseModes(t, func(t *testing.T, m baseMode, _ *rand.Rand) {
		s := m.open(t)
		repo := create(t, s)
		var tip object.ID
		for i := range 3 { // the second is compared with the first, outside of the base pack too
			blob := blobObj(fmt.Sprint("bomb ", i))
			objs := []obj{blob}
			below, mode := blob.id(), "100644"
			for range 30 {
				tree := obj{typ: object.Tree}
				for n := range 10 {
					tree.data = below.Append(fmt.Appendf(tree.data, "%s %d\x00", mode, n))
				}
				objs = append(objs, tree)
				below, mode = tree.id(), "40000"
			}
			var parents []object.ID
			if i > 0 {
				parents = []object.ID{tip}
			}
			commit := commitObj(below, "bomb", parents...)
			push(t, repo, packOf(t, append(objs, commit)...), update("refs/heads/main", tip, commit.id()))
			if tip = commit.id(); i == 0 {
				m.settle(t, s, repo)
			}
		}
		n, err := repo.WritePack(t.Context(), io.Discard, storage.Selection{Wants: []object.ID{tip}}, nil)
		must(t, err)
		if n != 3*32 {
			t.Errorf("%d objects, want %d", n, 3*32)
		}
		mustCheck(t, s)
	})
}
