package svnrepos_test

import (
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

const testUUID = "6d9e4e2f-2f3c-4b1c-9f1b-6f0f6b0f7a01"

// newFS makes an empty filesystem.
func newFS(t testing.TB) *svnfs.FS {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := storage.Open(t.TempDir(), storage.Options{NoSync: true})
	check(err)
	t.Cleanup(func() { store.Close() })
	repo, err := store.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Svn, Format: object.SHA1, Head: "refs/heads/main"})
	check(err)
	txn, err := svnfs.PrepareCreate(repo, testMeta(), testUUID)
	check(err)
	defer txn.Discard()
	_, err = store.Commit(txn)
	check(err)
	registry := svnfs.NewRegistry(0)
	fs, release, err := registry.Open(repo)
	check(err)
	t.Cleanup(func() { release(); registry.Close() })
	return fs
}

func testMeta() storage.Meta {
	return storage.Meta{Actor: "alice", Time: time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)}
}

// commitTxn commits and returns the revision.
func commitTxn(t testing.TB, txn *svnfs.Txn) svn.Revnum {
	t.Helper()
	rev, _, err := txn.Commit(t.Context(), svnfs.Direct, testMeta())
	if err != nil {
		t.Fatal(err)
	}
	return rev
}
