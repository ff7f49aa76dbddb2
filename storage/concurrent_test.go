package storage_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/storage"
	"holdfast/storage/object"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConcurrent pushes to several repositories from many goroutines, while others read, clone and check, and while
// packs move into index.db all the time.
func TestConcurrent(t *testing.T) {
	s := open(t, t.TempDir(), storage.Options{NoSync: true, IndexPacks: 3, IndexDelay: time.Millisecond,
		OpenPacks: 4, OpenIndexes: 1})
	const repos, pushers, pushes = 3, 4, 12
	var all []*storage.Repo
	for range repos {
		repo, _ := tinyRepo(t, s)
		all = append(all, repo)
	}
	var writers sync.WaitGroup
	var over atomic.Bool
	for i := range repos * pushers {
		repo, branch := all[i%repos], fmt.Sprintf("refs/heads/%d", i)
		writers.Go(func() { pushChain(t, repo, branch, pushes) })
	}
	readers := readUntil(t, s, all, &over)
	writers.Wait()
	over.Store(true)
	readers.Wait()
	if seq, _, _ := s.Head(); seq != repos+repos*pushers*pushes {
		t.Errorf("%d entries", seq)
	}
	mustCheck(t, s)
}

func pushChain(t *testing.T, repo *storage.Repo, branch string, n int) {
	parent := object.ID{}
	for j := range n {
		var parents []object.ID
		if !parent.IsZero() {
			parents = append(parents, parent)
		}
		data, tip := tiny(t, fmt.Sprint(branch, j), parents...)
		if _, err := tryPush(repo, data, update(branch, parent, tip)); err != nil {
			t.Error(err)
			return
		}
		parent = tip
	}
}

// readEverything follows all refs that it sees: what a ref names must be there, whole, at once.
func readEverything(t *testing.T, repo *storage.Repo) {
	refs, err := repo.Refs("", "", 0)
	if err != nil {
		t.Error(err)
	}
	var wants []object.ID
	for _, ref := range refs {
		if _, _, err := repo.ReadObject(ref.ID); err != nil {
			t.Errorf("%s: %v", ref.Name, err)
		}
		wants = append(wants, ref.ID)
	}
	if _, err := repo.WritePack(t.Context(), &bytes.Buffer{}, storage.Selection{Wants: wants}, nil); err != nil {
		t.Error(err)
	}
}

// readUntil reads repositories, and checks the store, all the time until it is over.
func readUntil(t *testing.T, s *storage.Store, repos []*storage.Repo, over *atomic.Bool) *sync.WaitGroup {
	readers := new(sync.WaitGroup)
	for _, repo := range repos {
		readers.Go(func() {
			for !over.Load() {
				readEverything(t, repo)
			}
		})
	}
	readers.Go(func() {
		for !over.Load() {
			if report, err := s.Check(t.Context(), nil); err != nil || len(report.Problems) > 0 {
				t.Errorf("check beside writers: %v %v", report.Problems, err)
				return
			}
		}
	})
	return readers
}
