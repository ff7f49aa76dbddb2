package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
)

const everything = math.MaxUint64

// small makes merges and base packs come early, and takes all of a core.
func small() storage.Options {
	return storage.Options{Log: slog.New(slog.DiscardHandler), NoSync: true, MergePacks: 3, GraphObjects: 30, MergeShare: 100, MergeFree: 1, IndexDelay: time.Hour, IndexFree: 1}
}

func merge(t testing.TB, repo *storage.Repo) storage.Stats {
	t.Helper()
	must(t, repo.Store().Merge(t.Context(), repo.ID(), everything))
	stats, err := repo.Stats()
	must(t, err)
	return stats
}

// gitPushes pushes n commits made by git, as thin packs, and returns git's repository, the tip and the entries.
func gitPushes(t testing.TB, repo *storage.Repo, n int) (g *git, tip object.ID, entries []storage.Entry) {
	t.Helper()
	g = newGit(t)
	var have []object.ID
	for i := range n {
		files := map[string]string{fmt.Sprintf("dir%d/file", i%3): text(i), "same": text(0) + fmt.Sprint(i)}
		next := g.commit(fmt.Sprint("commit ", i), files)
		entries = append(entries, push(t, repo, g.thinPack(next, have...), update("refs/heads/main", tip, next)))
		tip, have = next, []object.ID{next}
	}
	return g, tip, entries
}

// text returns a file that differs little from that of another i.
func text(i int) string {
	r := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	for line := range 100 {
		if line == i%100 {
			fmt.Fprintln(&b, "changed by", i)
		}
		fmt.Fprintln(&b, r.Uint64(), line)
	}
	return b.String()
}

// TestMerge merges what git has pushed in thin packs, again and again, and clones.
func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name         string
		graphObjects int
	}{{"without a base pack", 1 << 40}, {"with a base pack", 30}} {
		t.Run(test.name, func(t *testing.T) {
			o := small()
			o.GraphObjects = test.graphObjects
			s := open(t, t.TempDir(), o)
			repo := create(t, s)
			g := newGit(t)
			var tip object.ID
			var have []object.ID
			for i := range 24 {
				next := g.commit(fmt.Sprint("commit ", i), map[string]string{fmt.Sprintf("d%d/file", i%3): text(i), "same": text(i)})
				push(t, repo, g.thinPack(next, have...), update("refs/heads/main", tip, next))
				tip, have = next, []object.ID{next}
				if i%2 == 0 {
					if stats := merge(t, repo); stats.Packs > 8 || stats.Leaving > 0 {
						t.Errorf("after push %d: %+v", i, stats)
					}
				}
			}
			mustCheck(t, s)
			cloneAndCompare(t, g, repo, tip)
			stats := merge(t, repo)
			if (stats.BaseObjects > 0) != (test.graphObjects == 30) || stats.Last == nil || stats.Last.Error != "" {
				t.Errorf("%+v %+v", stats, stats.Last)
			}
		})
	}
}

// TestMergeManyPushes ends with few packs, and every object is copied a few times only.
func TestMergeManyPushes(t *testing.T) {
	o := small()
	o.MergePacks, o.GraphObjects = 8, 1<<40
	s := open(t, t.TempDir(), o)
	repo := create(t, s)
	pushes := int64(2000)
	if testing.Short() {
		pushes = 400
	}
	var tip object.ID
	copied := int64(0)
	for i := range pushes {
		var parents []object.ID
		if i > 0 {
			parents = []object.ID{tip}
		}
		data, next := tiny(t, fmt.Sprint(i), parents...)
		push(t, repo, data, update("refs/heads/main", tip, next))
		tip = next
		if i%8 == 7 {
			before, _ := repo.Stats()
			stats := merge(t, repo)
			if stats.Last != nil && (before.Last == nil || *stats.Last != *before.Last) {
				copied += stats.Last.Objects
			}
		}
	}
	stats := merge(t, repo)
	if stats.Packs > 24 || stats.Objects != 3*pushes {
		t.Errorf("%+v", stats)
	}
	times := float64(copied) / float64(3*pushes)
	t.Logf("%d packs, each object copied %.1f times", stats.Packs, times)
	if times > 11 {
		t.Errorf("each object was copied %.1f times", times)
	}
	mustCheck(t, s)
}

// TestMergeKeepsCruft overwrites history by force: what no ref leads to is kept apart, comes back when a ref does, and can
// be pushed again.
func TestMergeKeepsCruft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	repo := create(t, s)
	g, tip, entries := gitPushes(t, repo, 12)
	old := entries[5].Refs[0].New
	push(t, repo, nil, update("refs/heads/main", tip, old))
	stats := merge(t, repo)
	if stats.CruftPacks != 1 || stats.CruftObjects == 0 || stats.Packs != 2 || stats.BaseObjects+stats.CruftObjects != stats.Objects {
		t.Fatalf("%+v", stats)
	}
	mustCheck(t, s)
	cloneAndCompare(t, g, repo, old)
	s.Close()
	s = open(t, dir, small())
	repo, err := s.Repo(repo.ID())
	must(t, err)
	push(t, repo, nil, update("refs/heads/back", object.ID{}, tip))
	cloneAndCompare(t, g, repo, tip)
	last := tip
	for i := range 12 {
		next := g.commit(fmt.Sprint("more ", i), map[string]string{"more": text(i), fmt.Sprint(i): "x"})
		push(t, repo, g.thinPack(next, last), update("refs/heads/more", object.ID{}, next))
		push(t, repo, nil, update("refs/heads/more", next, object.ID{}))
		push(t, repo, nil, update(fmt.Sprint("refs/tags/", i), object.ID{}, next))
		last = next
	}
	stats = merge(t, repo)
	if stats.BaseObjects == 0 || stats.Packs != 1+stats.CruftPacks {
		t.Errorf("%+v", stats)
	}
	mustCheck(t, s)
	cloneAndCompare(t, g, repo, last)
}

// TestMergeLeavesUnsettled: a pack that may have to be shipped again can be read as it was received, also one that was
// merged before it was pushed again.
func TestMergeLeavesUnsettled(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	repo := create(t, s)
	var data [][]byte
	var tip object.ID
	var entries []storage.Entry
	for i := range 9 {
		var parents []object.ID
		if i > 0 {
			parents = []object.ID{tip}
		}
		d, next := tiny(t, fmt.Sprint(i), parents...)
		entries = append(entries, push(t, repo, d, update(fmt.Sprint("refs/heads/", i), object.ID{}, next)))
		data, tip = append(data, d), next
	}
	must(t, s.Merge(t.Context(), repo.ID(), entries[5].Seq))
	check := func(i int, merged bool) {
		t.Helper()
		r, err := s.OpenPack(entries[i].Packs[0].ID)
		if merged {
			if !errors.Is(err, storage.ErrMerged) {
				t.Errorf("pack %d: %v, want ErrMerged", i, err)
			}
			return
		}
		must(t, err)
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[i]) {
			t.Errorf("pack %d: %v", i, err)
		}
	}
	for i := range entries {
		check(i, i <= 5)
	}
	for _, reopen := range []bool{false, true} {
		if reopen {
			s.Close()
			s = open(t, dir, small())
			var err error
			repo, err = s.Repo(repo.ID())
			must(t, err)
		}
		again := 2
		if reopen {
			again = 3
		}
		e := push(t, repo, data[again], update(fmt.Sprint("refs/tags/", reopen), object.ID{}, entries[again].Refs[0].New))
		check(again, false)
		must(t, s.Merge(t.Context(), repo.ID(), e.Seq-1))
		check(again, false)
		mustCheck(t, s)
		must(t, s.Merge(t.Context(), repo.ID(), everything))
	}
	mustCheck(t, s)
}

// TestMergeWaitsForReaders: a pack that was merged stays as long as a reader that began before needs it. Pushed again
// meanwhile, it is as it was.
func TestMergeWaitsForReaders(t *testing.T) {
	s := open(t, t.TempDir(), small())
	repo := create(t, s)
	g, tip, entries := gitPushes(t, repo, 9)
	first := newStall()
	var clone bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := repo.WritePack(context.Background(), io.MultiWriter(first, &clone), storage.Selection{Wants: []object.ID{tip}}, nil)
		done <- err
	}()
	<-first.begun
	if stats := merge(t, repo); stats.Leaving != 9 {
		t.Errorf("%+v", stats)
	}
	mustCheck(t, s)
	again := g.thinPack(entries[3].Refs[0].New, entries[2].Refs[0].New)
	e := push(t, repo, again, update("refs/heads/again", object.ID{}, entries[3].Refs[0].New))
	r, err := s.OpenPack(e.Packs[0].ID)
	must(t, err)
	r.Close()
	if stats := merge(t, repo); stats.Leaving != 8 || stats.Packs != 2 {
		t.Errorf("%+v", stats)
	}
	close(first.goOn)
	must(t, <-done)
	if stats := merge(t, repo); stats.Leaving != 0 || stats.Packs > 2 {
		t.Errorf("%+v", stats)
	}
	got := newGit(t)
	got.run(clone.Bytes(), "index-pack", "--stdin", "--strict")
	mustCheck(t, s)
	cloneAndCompare(t, g, repo, tip)
}

// stall is a writer that waits within its first write.
type stall struct {
	begun, goOn chan struct{}
	once        sync.Once
}

func newStall() *stall { return &stall{begun: make(chan struct{}), goOn: make(chan struct{})} }

func (s *stall) Write(p []byte) (int, error) {
	s.once.Do(func() {
		close(s.begun)
		<-s.goOn
	})
	return len(p), nil
}

// TestMergeConcurrent merges all the time, beside pushes, force pushes, clones and checks.
func TestMergeConcurrent(t *testing.T) {
	o := small()
	o.IndexPacks, o.IndexDelay, o.MergeDelay, o.OpenPacks = 3, time.Millisecond, time.Microsecond, 4
	s := open(t, t.TempDir(), o)
	const repos, pushers, pushes = 2, 3, 25
	var all []*storage.Repo
	for range repos {
		repo, _ := tinyRepo(t, s)
		all = append(all, repo)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers, maintenance sync.WaitGroup
	var over atomic.Bool
	maintenance.Go(func() { s.Maintain(ctx, nil) })
	for i := range repos * pushers {
		repo, branch := all[i%repos], fmt.Sprintf("refs/heads/%d", i)
		writers.Go(func() {
			pushChain(t, repo, branch, pushes)
			ref, err := repo.Ref(branch)
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				if _, err := tryPush(repo, nil, update(branch, ref.ID, object.ID{})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers := readUntil(t, s, all, &over)
	writers.Wait()
	over.Store(true)
	cancel()
	maintenance.Wait()
	readers.Wait()
	for _, repo := range all {
		if stats := merge(t, repo); stats.Packs > 10 || stats.Leaving > 0 {
			t.Errorf("%+v", stats)
		}
	}
	mustCheck(t, s)
}

// TestMergeCrash stops the process after each step of merges, reopens, and looks whether all is there.
func TestMergeCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("one step after the other")
	}
	reached := map[storage.Step]bool{}
	for after := 1; ; after++ {
		c := &crasher{}
		dir := t.TempDir()
		o := small()
		o.FaultHook = c.hook
		s := open(t, dir, o)
		repo := create(t, s)
		tips := crashHistory(t, repo)
		c.arm(after)
		before := len(c.steps)
		err := s.Merge(t.Context(), repo.ID(), everything)
		if err == nil {
			break
		}
		if !errors.Is(err, errCrash) && !errors.Is(err, storage.ErrClosed) {
			t.Fatal(err)
		}
		step := c.steps[before+after-1]
		reached[step] = true
		t.Run(fmt.Sprintf("%d %s", after, step), func(t *testing.T) {
			s.Close()
			s := open(t, dir, small())
			wantEmpty(t, dir, "quarantine") // before a lost graph file is made again there
			mustCheck(t, s)
			repo, err := s.Repo(repo.ID())
			must(t, err)
			wantAll(t, repo, tips)
			data, tip := tiny(t, "3")
			push(t, repo, data, update("refs/heads/again", object.ID{}, tip))
			merge(t, repo)
			mustCheck(t, s)
			wantAll(t, repo, tips)
		})
	}
	for _, step := range []storage.Step{storage.StepQuarantine, storage.StepPackWritten, storage.StepPackSync, storage.StepPackRename,
		storage.StepDirSync, storage.StepHostPut, storage.StepHostCommit, storage.StepFill, storage.StepFilled, storage.StepSwept,
		storage.StepSweepCommit, storage.StepIndexFile, storage.StepIndexRename, storage.StepUnlink, storage.StepShrink, storage.StepShrunk} {
		if !reached[step] {
			t.Errorf("the test never stopped after %q", step)
		}
	}
}

// crashHistory pushes what a full merge parts into a base pack, with an index file, and a cruft pack.
func crashHistory(t *testing.T, repo *storage.Repo) (tips []object.ID) {
	t.Helper()
	data, tip := wide(t, 1100)
	push(t, repo, data, update("refs/heads/wide", object.ID{}, tip))
	tips = append(tips, tip)
	for i := range 5 {
		data, tip := tiny(t, fmt.Sprint(i))
		push(t, repo, data, update(fmt.Sprint("refs/heads/", i), object.ID{}, tip))
		tips = append(tips, tip)
		if i == 3 {
			push(t, repo, nil, update(fmt.Sprint("refs/heads/", i), tip, object.ID{}))
		}
	}
	data, tip = wide(t, 1200)
	push(t, repo, data, update("refs/heads/wider", object.ID{}, tip))
	return append(tips, tip)
}

func wantAll(t testing.TB, repo *storage.Repo, tips []object.ID) {
	t.Helper()
	for _, tip := range tips {
		writePack(t, repo, storage.Selection{Wants: []object.ID{tip}})
	}
}

// TestMergeFails leaves everything as it was where the disk is full, and where a pack is damaged.
func TestMergeFails(t *testing.T) {
	t.Run("full disk", func(t *testing.T) {
		dir := t.TempDir()
		o := small()
		o.MergeFree = 1 << 60
		s := open(t, dir, o)
		repo := create(t, s)
		_, tip, _ := gitPushes(t, repo, 5)
		if err := s.Merge(t.Context(), repo.ID(), everything); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want ENOSPC", err)
		}
		wantEmpty(t, dir, "quarantine")
		if stats, err := repo.Stats(); err != nil || stats.Packs != 5 {
			t.Errorf("%+v, %v", stats, err)
		}
		mustCheck(t, s)
		writePack(t, repo, storage.Selection{Wants: []object.ID{tip}})
	})
	t.Run("damaged pack", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, small())
		repo := create(t, s)
		_, _, entries := gitPushes(t, repo, 5)
		flip(t, s.PackPath(repo.ID(), entries[2].Packs[0].ID), 60)
		if err := s.Merge(t.Context(), repo.ID(), everything); err == nil {
			t.Error("a damaged pack was merged")
		}
		wantEmpty(t, dir, "quarantine")
		packs, err := filepath.Glob(filepath.Join(filepath.Dir(s.IndexPath(repo.ID())), "packs", "*.pack"))
		if err != nil || len(packs) != 5 {
			t.Errorf("%v %v", packs, err)
		}
	})
}

// TestMergeModel makes random pushes, deletions, clones and merges, with restarts and crashes, and compares objects and
// refs with a map.
func TestMergeModel(t *testing.T) {
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("seed %d", n)
	m := &mergeModel{t: t, r: rand.New(rand.NewPCG(n, n)), dir: t.TempDir(), refs: map[string]object.ID{}, g: newGit(t)}
	m.open()
	m.repo = create(t, m.s)
	m.push()
	for range 150 {
		m.step()
		if t.Failed() {
			t.Fatalf("run again with -seed %d", n)
		}
	}
	m.reopen()
	m.merge()
	m.compare()
}

type mergeModel struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	s       *storage.Store
	repo    *storage.Repo
	crash   *crasher
	g       *git
	refs    map[string]object.ID
	commits []object.ID
	sent    [][]byte
}

func (m *mergeModel) open() {
	m.crash = &crasher{}
	o := small()
	o.FaultHook, o.MergePacks = m.crash.hook, 2+m.r.IntN(4)
	m.s = open(m.t, m.dir, o)
	if m.repo != nil {
		var err error
		m.repo, err = m.s.Repo(m.repo.ID())
		must(m.t, err)
	}
}

func (m *mergeModel) reopen() {
	m.s.Close()
	m.open()
}

func (m *mergeModel) step() {
	switch m.r.IntN(12) {
	case 0:
		m.reopen()
	case 1, 2:
		m.merge()
	case 3:
		m.crash.arm(1 + m.r.IntN(20))
		m.merge()
		m.crash.arm(0)
		m.reopen()
		m.compare()
	case 4:
		m.delete()
	case 5:
		m.again()
	case 6:
		must(m.t, m.s.Fill(m.repo.ID()))
	case 7:
		m.compare()
	default:
		m.push()
	}
}

func (m *mergeModel) merge() {
	seq, _, _ := m.s.Head()
	err := m.s.Merge(m.t.Context(), m.repo.ID(), seq-storage.Seq(m.r.IntN(int(min(seq, 5))+1)))
	if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, storage.ErrClosed) && !errors.Is(err, storage.ErrNotFound) {
		m.t.Error(err)
	}
}

// push adds a commit on a random one, and moves a branch to it, by force most of the time.
func (m *mergeModel) push() {
	var have []object.ID
	if len(m.commits) > 0 {
		have = []object.ID{m.commits[m.r.IntN(len(m.commits))]}
		m.g.run(nil, "checkout", "-q", "--detach", have[0].String())
	}
	i := m.r.IntN(300)
	next := m.g.commit(fmt.Sprint("commit ", i), map[string]string{fmt.Sprintf("d%d/f%d", i%2, i%5): text(i)})
	data := m.g.thinPack(next, have...)
	name := fmt.Sprint("refs/heads/", m.r.IntN(6))
	push(m.t, m.repo, data, update(name, m.refs[name], next))
	m.refs[name], m.commits, m.sent = next, append(m.commits, next), append(m.sent, data)
}

func (m *mergeModel) delete() {
	for name, id := range m.refs {
		push(m.t, m.repo, nil, update(name, id, object.ID{}))
		delete(m.refs, name)
		return
	}
}

// again pushes a pack once more.
func (m *mergeModel) again() {
	if len(m.sent) == 0 {
		return
	}
	i := m.r.IntN(len(m.sent))
	e := push(m.t, m.repo, m.sent[i], update("refs/heads/again", m.refs["refs/heads/again"], m.commits[i]))
	m.refs["refs/heads/again"] = m.commits[i]
	for _, p := range e.Packs {
		r, err := m.s.OpenPack(p.ID)
		if err != nil {
			m.t.Error(err)
			return
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || !bytes.Equal(got, m.sent[i]) {
			m.t.Errorf("pack %s, pushed again: %v", p.ID, err)
		}
	}
}

// compare checks the store and that all that was ever pushed is there, and lets git judge it.
func (m *mergeModel) compare() {
	mustCheck(m.t, m.s)
	clone := newGit(m.t)
	clone.run(writePack(m.t, m.repo, storage.Selection{Wants: m.commits}), "index-pack", "--stdin", "--strict")
	for _, id := range m.commits[max(0, len(m.commits)-5):] {
		args := []string{"rev-list", "--objects", id.String()}
		if !slices.Equal(clone.run(nil, args...), m.g.run(nil, args...)) {
			m.t.Errorf("a clone of %s has other objects", id)
		}
	}
	os.RemoveAll(clone.dir)
}
