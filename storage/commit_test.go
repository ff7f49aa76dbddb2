package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage"
	"holdfast/storage/object"
)

// update is short for a RefUpdate.
func update(name string, old, new object.ID) storage.RefUpdate {
	return storage.RefUpdate{Name: name, Old: old, New: new}
}

func TestRefConflicts(t *testing.T) {
	zero := object.ID{}
	tests := []struct {
		name    string
		have    []string
		set     []string
		del     []string
		refused []string
	}{
		{"below a ref", []string{"a"}, []string{"a/b"}, nil, []string{"a/b"}},
		{"deep below a ref", []string{"a"}, []string{"a/b/c"}, nil, []string{"a/b/c"}},
		{"above a ref", []string{"a/b"}, []string{"a"}, nil, []string{"a"}},
		{"both in one push", nil, []string{"a", "a/b"}, nil, []string{"a/b"}},
		{"both in one push, other order", nil, []string{"a/b", "a"}, nil, []string{"a/b"}},
		{"a sibling", []string{"a/b"}, []string{"a/c", "a-b", "a0"}, nil, nil},
		{"below a ref deleted in the push", []string{"a"}, []string{"a/b"}, []string{"a"}, nil},
		{"above a ref deleted in the push", []string{"a/b"}, []string{"a"}, []string{"a/b"}, nil},
		{"above two refs, one deleted", []string{"a/b", "a/c"}, []string{"a"}, []string{"a/b"}, []string{"a"}},
		{"above two refs, both deleted", []string{"a/b", "a/c"}, []string{"a"}, []string{"a/c", "a/b"}, nil},
		{"twice", nil, []string{"a", "a"}, nil, []string{"a"}},
		{"case and Unicode twins", []string{"a"}, []string{"A", "\u00e9", "e\u0301"}, nil, nil},
	}
	s := open(t, t.TempDir(), noSync())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			repo, tip := tinyRepo(t, s)
			for _, name := range test.have {
				push(t, repo, nil, update("refs/heads/"+name, zero, tip))
			}
			txn := begin(t, repo)
			for _, name := range test.set {
				txn.Update(update("refs/heads/"+name, zero, tip))
			}
			for _, name := range test.del {
				txn.Update(update("refs/heads/"+name, tip, zero))
			}
			_, err := s.Commit(txn)
			var got []string
			var refused storage.RefErrors
			if errors.As(err, &refused) {
				for _, r := range refused {
					got = append(got, r.Ref[len("refs/heads/"):])
				}
				if !errors.Is(err, storage.ErrRefConflict) {
					t.Errorf("error is %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.refused, got); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
	mustCheck(t, s)
}

func begin(t testing.TB, repo *storage.Repo) *storage.Txn {
	t.Helper()
	txn, err := repo.Begin(meta())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(txn.Discard)
	return txn
}

func readPack(t testing.TB, txn *storage.Txn, data []byte) {
	t.Helper()
	if err := txn.ReadPack(t.Context(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func TestDropRefused(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	data, next := tiny(t, "second", tip)
	txn := begin(t, repo)
	readPack(t, txn, data)
	txn.Update(update("refs/heads/main", tip, next))
	txn.Update(update("refs/heads/other", tip, next)) // does not exist
	txn.Update(update("refs/heads/..", object.ID{}, next))
	txn.Update(update("refs/heads/lost", object.ID{}, object.HashObject(object.SHA1, object.Blob, nil)))
	wantRefused := func(err error, cause error, ref string) {
		t.Helper()
		var refused storage.RefErrors
		if !errors.As(err, &refused) || len(refused) != 1 || refused[0].Ref != ref || !errors.Is(err, cause) {
			t.Fatalf("got %v, want %v for %s", err, cause, ref)
		}
		txn.Drop(ref)
	}
	wantRefused(txn.Prepare(), storage.ErrRefName, "refs/heads/..")
	wantRefused(txn.Prepare(), storage.ErrMissing, "refs/heads/lost")
	_, err := s.Commit(txn)
	wantRefused(err, storage.ErrStale, "refs/heads/other")
	entries, err := s.Commit(txn)
	if err != nil || len(entries[0].Refs) != 1 {
		t.Fatal(entries, err)
	}
	txn.Discard()
	mustCheck(t, s)
}

func TestGroupIsAllOrNone(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	one, tip1 := tinyRepo(t, s)
	two, tip2 := tinyRepo(t, s)
	before, _, _ := s.Head()
	good, bad := begin(t, one), begin(t, two)
	good.Update(update("refs/heads/x", object.ID{}, tip1))
	bad.Update(update("refs/heads/x", tip2, tip2))
	if _, err := s.Commit(good, bad); !errors.Is(err, storage.ErrStale) {
		t.Fatalf("got %v", err)
	}
	if _, err := one.Ref("refs/heads/x"); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("half of a group was committed: %v", err)
	}
	bad.Drop("refs/heads/x")
	bad.Update(update("refs/heads/y", object.ID{}, tip2))
	entries, err := s.Commit(good, bad)
	if err != nil || len(entries) != 2 || entries[1].Seq != before+2 {
		t.Fatal(entries, err)
	}
	mustCheck(t, s)
}

// TestStaleAlone commits many transactions at once of which every second is stale: it fails, its neighbours do not.
func TestStaleAlone(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			old := object.ID{}
			if i%2 == 1 {
				old = tip
			}
			_, err := tryPush(repo, nil, update(fmt.Sprintf("refs/heads/%d", i), old, tip))
			if errors.Is(err, storage.ErrStale) != (i%2 == 1) || (i%2 == 0 && err != nil) {
				t.Errorf("push %d: %v", i, err)
			}
		})
	}
	group.Wait()
	mustCheck(t, s)
}

func TestRefValues(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	blob := blobObj("first") // is in the first commit
	tag := tagObj(tip, object.Commit, "v1")
	tag2 := tagObj(tag.id(), object.Tag, "v2")
	data := packOf(t, tag, tag2)
	push(t, repo, data, update("refs/tags/v1", object.ID{}, tag.id()), update("refs/tags/v2", object.ID{}, tag2.id()),
		update("refs/tags/blob", object.ID{}, blob.id()))
	for _, test := range []struct {
		update storage.RefUpdate
		cause  error
	}{
		{update("refs/heads/blob", object.ID{}, blob.id()), storage.ErrNotCommit},
		{update("refs/heads/tag", object.ID{}, tag.id()), storage.ErrNotCommit},
		{update("HEAD", object.ID{}, tip), storage.ErrRefName},
		{storage.RefUpdate{Name: "HEAD", Target: "refs/tags/v1"}, storage.ErrRefName},
		{storage.RefUpdate{Name: "refs/heads/sym", Target: "refs/heads/main"}, storage.ErrRefName},
		{update("refs/heads/none", object.ID{}, object.ID{}), storage.ErrNotFound},
		{update("refs/heads/main", object.ID{}, tip), storage.ErrStale},
		{update("refs/heads/wrong-format", object.ID{}, object.HashObject(object.SHA256, object.Blob, nil)), storage.ErrWrongType},
	} {
		if _, err := tryPush(repo, nil, test.update); !errors.Is(err, test.cause) {
			t.Errorf("%+v: got %v, want %v", test.update, err, test.cause)
		}
	}
	if _, err := tryPush(repo, nil); !errors.Is(err, storage.ErrEmpty) {
		t.Errorf("an empty push: %v", err)
	}
	push(t, repo, nil, storage.RefUpdate{Name: "HEAD", Target: "refs/heads/elsewhere"})
	if head, err := repo.Head(); head != "refs/heads/elsewhere" {
		t.Errorf("HEAD is %q, %v", head, err)
	}
	got, err := repo.Refs("refs/tags/", "", 0)
	want := []storage.Ref{{Name: "refs/tags/blob", ID: blob.id()}, {Name: "refs/tags/v1", ID: tag.id(), Peeled: tip},
		{Name: "refs/tags/v2", ID: tag2.id(), Peeled: tip}}
	if diff := cmp.Diff(want, got, cmpID); diff != "" || err != nil {
		t.Errorf("tags (-want +got): %v\n%s", err, diff)
	}
	mustCheck(t, s)
}

var cmpID = cmp.Comparer(func(a, b object.ID) bool { return a == b })

func TestConnectivity(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	blob, lost := blobObj("x"), blobObj("lost")
	tree, badTree := treeObj("f", blob.id()), treeObj("f", lost.id())
	asTree := obj{object.Tree, blob.id().Append([]byte("40000 d\x00"))} // calls a blob a tree
	for _, test := range []struct {
		name  string
		objs  []obj
		cause error
	}{
		{"complete", []obj{blob, tree, commitObj(tree.id(), "m", tip)}, nil},
		{"without a blob", []obj{badTree, commitObj(badTree.id(), "m", tip)}, storage.ErrMissing},
		{"without a tree", []obj{commitObj(badTree.id(), "m", tip)}, storage.ErrMissing},
		{"without a parent", []obj{blob, tree, commitObj(tree.id(), "m", object.HashObject(object.SHA1, object.Commit, nil))},
			storage.ErrMissing},
		{"a parent that is a tree", []obj{blob, tree, commitObj(tree.id(), "m", treeObj("f", blobObj("first").id()).id())},
			storage.ErrWrongType},
		{"not even named by the ref", []obj{badTree}, storage.ErrMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			txn := begin(t, repo)
			readPack(t, txn, packOf(t, test.objs...))
			if err := txn.Prepare(); !errors.Is(err, test.cause) {
				t.Errorf("got %v, want %v", err, test.cause)
			}
		})
	}
	t.Run("wrong type within the push", func(t *testing.T) {
		txn := begin(t, repo)
		err := txn.ReadPack(t.Context(), bytes.NewReader(packOf(t, blob, asTree)))
		if err == nil {
			err = txn.Prepare()
		}
		if err == nil {
			t.Error("a tree that calls a blob a tree was accepted")
		}
	})
	mustCheck(t, s)
}

func TestSecondPackBuildsOnTheFirst(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	first, tip := tiny(t, "one")
	second, tip2 := tiny(t, "two", tip)
	txn := begin(t, repo)
	readPack(t, txn, first)
	readPack(t, txn, second)
	readPack(t, txn, second) // the same again
	txn.Update(update("refs/heads/main", object.ID{}, tip2))
	entries, err := s.Commit(txn)
	if err != nil || len(entries[0].Packs) != 2 {
		t.Fatal(entries, err)
	}
	mustCheck(t, s)
}

func TestLimits(t *testing.T) {
	big, bigTip := tiny(t, string(make([]byte, 10_000)))
	for _, test := range []struct {
		name string
		o    storage.Options
	}{
		{"pack", storage.Options{NoSync: true, MaxPackBytes: 50}},
		{"objects", storage.Options{NoSync: true, MaxObjects: 2}},
		{"object", storage.Options{NoSync: true, MaxObjectBytes: 5000}},
		{"inflated", storage.Options{NoSync: true, MaxInflatedBytes: 9000}},
		{"updates", storage.Options{NoSync: true, MaxUpdates: 1}},
		{"refs", storage.Options{NoSync: true, MaxRefs: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			repo := create(t, open(t, dir, test.o))
			_, err := tryPush(repo, big, update("refs/heads/a", object.ID{}, bigTip), update("refs/heads/b", object.ID{}, bigTip))
			if !errors.Is(err, storage.ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			wantEmpty(t, dir, "quarantine")
		})
	}
}

func TestSamePackTwice(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, _ := tinyRepo(t, s)
	data, tip := tiny(t, "again")
	var txns []*storage.Txn
	for i := range 4 {
		txn := begin(t, repo)
		readPack(t, txn, data)
		txn.Update(update(fmt.Sprintf("refs/heads/%d", i), object.ID{}, tip))
		txns = append(txns, txn)
	}
	for _, txn := range txns {
		if err := txn.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	txns[0].Discard() // placed the file that the others share
	id := txns[1].Packs()[0].ID
	txns[1].SetExternal(id, []byte("where"))
	for _, txn := range txns[1:3] {
		if _, err := s.Commit(txn); err != nil {
			t.Fatal(err)
		}
	}
	txns[3].Discard()
	push(t, repo, data, update("refs/heads/later", object.ID{}, tip))
	if got, err := s.External(id); string(got) != "where" || err != nil {
		t.Errorf("external record %q, %v", got, err)
	}
	other := create(t, s)
	push(t, other, data, update("refs/heads/main", object.ID{}, tip))
	mustCheck(t, s)
}

func TestFactsAndHints(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, noSync())
	if err := s.SetFact("a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s.Hint("b", []byte("2"))
	s.Hint("c", []byte("3"))
	if err := s.SetFact("c", []byte("4")); err != nil {
		t.Fatal(err)
	}
	if err := s.SetFact("a", nil); err != nil {
		t.Fatal(err)
	}
	s.Hint("d", []byte("5"))
	state := storage.State{Instance: "i", Epoch: 3, Detached: true}
	if err := s.SetState(state); err != nil {
		t.Fatal(err)
	}
	s.Hint("e", []byte("6"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, noSync())
	for name, want := range map[string]string{"a": "", "b": "2", "c": "4", "d": "5", "e": "6"} {
		if got, err := s.Fact(name); string(got) != want || err != nil {
			t.Errorf("fact %s is %q (%v), want %q", name, got, err, want)
		}
	}
	if got, err := s.State(); got != state {
		t.Errorf("state %+v, %v", got, err)
	}
}

func TestSecrets(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	for _, value := range []string{"old", "new"} {
		txn, err := s.BeginHost(meta(), storage.KindSecret, fmt.Appendf(nil, `{"name":"key","value":"%s"}`, b64(value)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(txn); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Secret("key"); string(got) != "new" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.Secret("none"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.BeginHost(meta(), storage.KindSecret, []byte("{}")); err == nil {
		t.Error("a secret without a name was accepted")
	}
	mustCheck(t, s)
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, noSync())
	if _, err := storage.Open(dir, noSync()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("got %v", err)
	}
	s.Close()
	open(t, dir, noSync())
}

func TestCreate(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	init := storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"}
	id := storage.NewRepoID()
	one, err := s.Create(id, init)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Create(id, init)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Repo(id); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("before the first commit: %v", err)
	}
	if head, err := one.Head(); head != "refs/heads/main" || err != nil {
		t.Error(head, err)
	}
	late := begin(t, two)
	entry := push(t, one, nil) // creates it, empty
	if entry.Init == nil || *entry.Init != init {
		t.Errorf("entry %+v", entry)
	}
	if _, err := s.Commit(late); !errors.Is(err, storage.ErrExists) {
		t.Errorf("the second creation: %v", err)
	}
	if _, err := s.Create(id, init); !errors.Is(err, storage.ErrExists) {
		t.Error(err)
	}
	for name, bad := range map[string]storage.RepoInit{
		"no kind":   {Format: object.SHA1, Head: "refs/heads/main"},
		"no format": {SCM: storage.Git, Head: "refs/heads/main"},
		"no head":   {SCM: storage.Git, Format: object.SHA1},
		"bad head":  {SCM: storage.Git, Format: object.SHA1, Head: "refs/tags/x"},
	} {
		if _, err := s.Create(storage.NewRepoID(), bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := s.Repo("../../etc"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	mustCheck(t, s)
}
