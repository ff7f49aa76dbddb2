package storage_test

import (
	"fmt"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// BenchmarkPush is a lone push of one small commit onto a repository of b.N such pushes: compare -benchtime 100x with
// 10000x. Without fsync, to show the work.
func BenchmarkPush(b *testing.B) {
	s := open(b, b.TempDir(), storage.Options{NoSync: true})
	repo, parent := tinyRepo(b, s)
	packs := make([][]byte, b.N)
	tips := make([]object.ID, b.N)
	for i := range b.N {
		packs[i], tips[i] = tiny(b, fmt.Sprint("push ", i), parent)
		parent = tips[i]
	}
	old, err := repo.Ref("refs/heads/main")
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		push(b, repo, packs[i], update("refs/heads/main", old.ID, tips[i]))
		old.ID = tips[i]
	}
}

// BenchmarkPushSynced is the same with every fsync.
func BenchmarkPushSynced(b *testing.B) {
	s := open(b, b.TempDir(), storage.Options{})
	repo, parent := tinyRepo(b, s)
	for i := range b.N {
		data, tip := tiny(b, fmt.Sprint("push ", i), parent)
		push(b, repo, data, update("refs/heads/main", parent, tip))
		parent = tip
	}
}

// BenchmarkRefs looks up and lists refs in a repository that has 100,000 of them.
func BenchmarkRefs(b *testing.B) {
	s := open(b, b.TempDir(), storage.Options{NoSync: true})
	repo, tip := tinyRepo(b, s)
	const refs = 99_999
	name := func(i int) string { return fmt.Sprintf("refs/heads/%d/%d", i%100, i) }
	txn := begin(b, repo)
	for i := range refs {
		txn.Update(update(name(i), object.ID{}, tip))
	}
	if _, err := s.Commit(txn); err != nil {
		b.Fatal(err)
	}
	b.Run("lookup", func(b *testing.B) {
		for i := range b.N {
			if _, err := repo.Ref(name(i % refs)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prefix of 1000", func(b *testing.B) {
		for range b.N {
			if page, err := repo.Refs("refs/heads/42/", "", 0); err != nil || len(page) != 1000 {
				b.Fatal(len(page), err)
			}
		}
	})
	made := 0
	b.Run("make one", func(b *testing.B) {
		for range b.N {
			made++
			push(b, repo, nil, update(fmt.Sprintf("refs/tags/%d", made), object.ID{}, tip))
		}
	})
}
