package storage_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
)

var seed = flag.Uint64("seed", 0, "seed of the model test and of TestDifferential; 0 for a new one")

// model is what the store should be like.
type model struct {
	t      *testing.T
	r      *rand.Rand
	dir    string
	s      *storage.Store
	repos  []*modelRepo
	seq    storage.Seq
	time   time.Time
	crash  *crasher
	pushes int
}

type modelRepo struct {
	id      storage.RepoID
	refs    map[string]object.ID
	commits []object.ID
}

// TestModel makes random pushes, good and bad ones, with crashes and restarts in between, and compares the store with a
// map.
func TestModel(t *testing.T) {
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("seed %d", n)
	m := &model{t: t, r: rand.New(rand.NewPCG(n, n)), dir: t.TempDir(), time: testTime}
	m.open()
	for range 400 {
		switch m.r.IntN(40) {
		case 0:
			m.reopen()
		case 1:
			mustCheck(t, m.s)
		case 2, 3:
			m.create()
		case 4:
			m.fill()
		default:
			m.push()
		}
		if t.Failed() {
			t.Fatalf("after %d pushes; run again with -seed %d", m.pushes, n)
		}
	}
	m.reopen()
	mustCheck(t, m.s)
	m.s.Close()
}

func (m *model) open() {
	m.crash = &crasher{}
	s, err := storage.Open(m.dir, storage.Options{NoSync: true, FaultHook: m.crash.hook, IndexDelay: time.Hour})
	if err != nil {
		m.t.Fatal(err)
	}
	m.s = s
	m.compare()
}

func (m *model) reopen() {
	m.s.Close()
	m.open()
}

func (m *model) create() {
	m.repos = append(m.repos, &modelRepo{id: storage.NewRepoID(), refs: map[string]object.ID{}})
}

func (m *model) fill() {
	if r := m.repo(); r != nil && len(r.commits) > 0 {
		if err := m.s.Fill(r.id); err != nil {
			m.t.Error(err)
		}
	}
}

func (m *model) repo() *modelRepo {
	if len(m.repos) == 0 {
		return nil
	}
	return m.repos[m.r.IntN(len(m.repos))]
}

func (m *model) handle(r *modelRepo) *storage.Repo {
	repo, err := m.s.Repo(r.id)
	if errors.Is(err, storage.ErrNotFound) {
		repo, err = m.s.Create(r.id, storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return repo
}

// push makes one random push and predicts what comes of it.
func (m *model) push() {
	r := m.repo()
	if r == nil {
		return
	}
	m.pushes++
	var data []byte
	commits := r.commits
	if m.r.IntN(3) > 0 || len(commits) == 0 {
		var parents []object.ID
		if len(commits) > 0 && m.r.IntN(4) > 0 {
			parents = append(parents, commits[m.r.IntN(len(commits))])
		}
		var tip object.ID
		data, tip = tiny(m.t, fmt.Sprint(m.r.IntN(100)), parents...)
		commits = append(slices.Clone(commits), tip)
	}
	after, updates, good := m.updates(r, commits)
	if m.r.IntN(12) == 0 {
		m.crash.arm(1 + m.r.IntN(8))
	}
	m.time = m.time.Add(time.Duration(m.r.IntN(10)-3) * time.Second)
	_, err := tryPush(m.handle(r), data, updates...)
	m.crash.arm(0)
	crashed := errors.Is(err, errCrash) || errors.Is(err, storage.ErrClosed)
	switch {
	case crashed:
		m.recover(r, after, commits)
		return
	case (err == nil) != good:
		m.t.Errorf("push of %v onto %v: got %v, want success: %v", updates, r.refs, err, good)
	case err == nil:
		r.refs, r.commits = after, commits
		m.seq++
	}
	m.compareRepo(r)
}

// updates makes up to four random updates, and tells what the refs are after them if all of them are good.
func (m *model) updates(r *modelRepo, commits []object.ID) (after map[string]object.ID, us []storage.RefUpdate, good bool) {
	after, good = maps.Clone(r.refs), true
	names := []string{"a", "b", "a/b", "a/c", "b/x/y", "b/x", "c"}
	m.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+m.r.IntN(4)] {
		name = "refs/heads/" + name
		u := storage.RefUpdate{Name: name, Old: r.refs[name], New: commits[m.r.IntN(len(commits))]}
		if m.r.IntN(3) == 0 {
			u.New = object.ID{}
		}
		if m.r.IntN(20) == 0 {
			u.Old = commits[m.r.IntN(len(commits))]
		}
		if u.Old != r.refs[name] || (u.Old.IsZero() && u.New.IsZero()) {
			good = false
		}
		if u.New.IsZero() {
			delete(after, name)
		} else {
			after[name] = u.New
		}
		us = append(us, u)
	}
	sorted := slices.Sorted(maps.Keys(after))
	for _, a := range sorted {
		for _, b := range sorted {
			if strings.HasPrefix(b, a+"/") {
				good = false
			}
		}
	}
	return after, us, good
}

// recover reopens after a crash: the push has happened or it has not.
func (m *model) recover(r *modelRepo, after map[string]object.ID, commits []object.ID) {
	m.s.Close()
	s := open(m.t, m.dir, noSync())
	if now, _, _ := s.Head(); now == m.seq+1 {
		r.refs, r.commits = after, commits
		m.seq++
	}
	mustCheck(m.t, s)
	s.Close()
	m.open()
}

func (m *model) compare() {
	if now, _, _ := m.s.Head(); now != m.seq {
		m.t.Fatalf("the journal ends at %d, want %d", now, m.seq)
	}
	for _, r := range m.repos {
		m.compareRepo(r)
	}
}

func (m *model) compareRepo(r *modelRepo) {
	repo := m.handle(r)
	got := map[string]object.ID{}
	for after := ""; ; {
		page, err := repo.Refs("refs/", after, 2)
		if err != nil {
			m.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, ref := range page {
			got[ref.Name] = ref.ID
		}
		after = page[len(page)-1].Name
	}
	if !maps.Equal(got, r.refs) {
		m.t.Errorf("refs are %v, want %v", got, r.refs)
	}
	for _, id := range r.commits {
		if ok, err := repo.Has(id); !ok || err != nil {
			m.t.Errorf("object %s: %v, %v", id, ok, err)
		}
	}
}
