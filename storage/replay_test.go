package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage"
	"holdfast/storage/object"
)

// replay applies the journal of one store to another, as a restore does.
func replay(t *testing.T, from, to *storage.Store) {
	t.Helper()
	for after := storage.Seq(0); ; {
		entries, err := from.Entries(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		for _, e := range entries {
			if got := replayEntry(t, from, to, e); got.Hash() != e.Hash() {
				t.Fatalf("replayed entry differs (-want +got):\n%s", cmp.Diff(e, got, cmpID))
			}
			after = e.Seq
		}
	}
}

func replayEntry(t *testing.T, from, to *storage.Store, e storage.Entry) storage.Entry {
	t.Helper()
	m := storage.Meta{Actor: e.Actor, Key: e.Key, Time: e.Time, Nonce: e.Nonce, Cert: e.Cert, Options: e.Options, Epoch: e.Epoch}
	var txn *storage.Txn
	var err error
	if e.Repo == "" {
		txn, err = to.BeginHost(m, e.Kind, e.Data)
	} else {
		var repo *storage.Repo
		if e.Init != nil {
			repo, err = to.Create(e.Repo, *e.Init)
		} else {
			repo, err = to.Repo(e.Repo)
		}
		if err == nil {
			txn, err = repo.Begin(m)
		}
		if err == nil && e.Kind != storage.KindRefs {
			err = txn.SetData(e.Kind, e.Data)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	for _, p := range e.Packs {
		r, err := from.OpenPack(p.ID)
		if err != nil {
			t.Fatal(err)
		}
		err = txn.ReadPack(t.Context(), r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range e.Refs {
		txn.Update(u)
	}
	got, err := to.Commit(txn)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func TestReplay(t *testing.T) {
	from := open(t, t.TempDir(), noSync())
	if err := from.SetState(storage.State{Instance: "i", Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	g := newGit(t)
	repo := create(t, from)
	r := rand.New(rand.NewPCG(1, 2))
	var tips []object.ID
	for i := range 12 { // thin packs, and the same pack again
		content := fmt.Sprint(r.Perm(300))
		tip := g.commit(fmt.Sprint(i), map[string]string{"big": content + fmt.Sprint(i), fmt.Sprint("dir/", i): "x"})
		data := g.thinPack(tip, tips...)
		txn, err := repo.Begin(storage.Meta{Actor: "bob", Key: "SHA256:abc", Time: testTime.Add(time.Duration(6-i) * time.Hour),
			Options: []string{"o"}, Cert: []byte("cert")})
		if err != nil {
			t.Fatal(err)
		}
		readPack(t, txn, data)
		old := object.ID{}
		if i > 0 {
			old = tips[i-1]
		}
		txn.Update(update("refs/heads/main", old, tip))
		if _, err := from.Commit(txn); err != nil {
			t.Fatal(err)
		}
		push(t, repo, data, update(fmt.Sprint("refs/heads/b", i), object.ID{}, tip))
		tips = append(tips, tip)
	}
	g.run(nil, "tag", "-a", "-m", "t", "v1")
	tag := g.revParse("v1")
	push(t, repo, g.thinPack(tag, tips...), update("refs/tags/v1", object.ID{}, tag),
		storage.RefUpdate{Name: "HEAD", Target: "refs/heads/b1"}, update("refs/heads/b0", tips[0], object.ID{}))
	if err := from.SetState(storage.State{Instance: "i", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	svn := begin(t, repo)
	if err := svn.SetData(storage.KindSvn, []byte("fact")); err != nil {
		t.Fatal(err)
	}
	secret, err := from.BeginHost(meta(), storage.KindSecret, []byte(`{"name":"n","value":"dg=="}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Commit(svn, secret); err != nil {
		t.Fatal(err)
	}

	to := open(t, t.TempDir(), noSync())
	if err := to.SetState(storage.State{Instance: "i", Epoch: 2, Detached: true}); err != nil {
		t.Fatal(err)
	}
	replay(t, from, to)
	a, hashA, _ := from.Head()
	b, hashB, _ := to.Head()
	if a != b || hashA != hashB {
		t.Errorf("the heads are %d %s and %d %s", a, hashA, b, hashB)
	}
	copied, err := to.Repo(repo.ID())
	if err != nil {
		t.Fatal(err)
	}
	wantRefs, _ := repo.Refs("", "", 0)
	gotRefs, _ := copied.Refs("", "", 0)
	if diff := cmp.Diff(wantRefs, gotRefs, cmpID); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
	if head, _ := copied.Head(); head != "refs/heads/b1" {
		t.Errorf("HEAD is %s", head)
	}
	cloneAndCompare(t, g, copied, tips[len(tips)-1])
	mustCheck(t, from)
	mustCheck(t, to)
}

// TestOpenPack compares what OpenPack gives with what was pushed, byte for byte: thin packs, and version 3 packs too.
func TestOpenPack(t *testing.T) {
	g := newGit(t)
	base := g.commit("1", map[string]string{"f": string(bytes.Repeat([]byte("some text\n"), 500))})
	next := g.commit("2", map[string]string{"f": string(bytes.Repeat([]byte("some text\n"), 501))})
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	full := g.pack(base)
	thin := g.thinPack(next, base)
	e1 := push(t, repo, full, update("refs/heads/main", object.ID{}, base))
	e2 := push(t, repo, thin, update("refs/heads/main", base, next))
	for i, want := range [][]byte{full, thin} {
		info := []storage.Entry{e1, e2}[i].Packs[0]
		r, err := s.OpenPack(info.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if !bytes.Equal(got, want) || err != nil || info.Size != int64(len(want)) {
			t.Errorf("pack %d: %d bytes, %v; pushed were %d", i, len(got), err, len(want))
		}
	}
	if info, _ := bytesOf(t, s.PackPath(repo.ID(), e2.Packs[0].ID)); len(info) <= len(thin) {
		t.Error("the thin pack was not completed: the test tests nothing")
	}
	if _, err := s.OpenPack(storage.PackID{}); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
}

func TestDetached(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, _ := tinyRepo(t, s)
	replayed := meta()
	replayed.Epoch = 4
	if _, err := repo.Begin(replayed); !errors.Is(err, storage.ErrAttached) {
		t.Errorf("a replay: %v", err)
	}
	early := begin(t, repo)
	early.Update(storage.RefUpdate{Name: "HEAD", Target: "refs/heads/x"})
	if err := s.SetState(storage.State{Epoch: 5, Detached: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Begin(meta()); !errors.Is(err, storage.ErrDetached) {
		t.Errorf("a push: %v", err)
	}
	if _, err := s.Commit(early); !errors.Is(err, storage.ErrDetached) {
		t.Errorf("a push that had begun: %v", err)
	}
	if _, err := s.BeginHost(meta(), storage.KindConfig, nil); !errors.Is(err, storage.ErrDetached) {
		t.Errorf("a configuration: %v", err)
	}
}

// TestReadPackFromStream reads a pack from the middle of a conversation and leaves what follows, and tees its bytes.
func TestReadPackFromStream(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo := create(t, s)
	data, tip := tiny(t, "one")
	src := newBufio(append(bytes.Clone(data), "0000 more"...))
	var tee bytes.Buffer
	txn := begin(t, repo)
	txn.Tee = &tee
	if err := txn.ReadPack(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(src); string(rest) != "0000 more" || !bytes.Equal(tee.Bytes(), data) {
		t.Errorf("left %q, teed %d of %d bytes", rest, tee.Len(), len(data))
	}
	if typ, _, err := txn.ReadObject(tip); typ != object.Commit || err != nil {
		t.Errorf("the quarantined commit: %v, %v", typ, err)
	}
	if ok, err := repo.Has(tip); ok || err != nil {
		t.Errorf("the repository sees the quarantine: %v, %v", ok, err)
	}
	empty := packOf(t)
	readPack(t, txn, empty)
	if len(txn.Packs()) != 1 {
		t.Error("an empty pack counts")
	}
	txn.Discard()
}

// TestBeginRecord takes one repository's entries over into the journal alone, as a partial restore does.
func TestBeginRecord(t *testing.T) {
	from := open(t, t.TempDir(), noSync())
	must(t, from.SetState(storage.State{Epoch: 1}))
	kept, tip := tinyRepo(t, from)
	left, _ := tinyRepo(t, from)
	push(t, left, nil, storage.RefUpdate{Name: "HEAD", Target: "refs/heads/x"})
	push(t, kept, nil, update("refs/heads/x", object.ID{}, tip))
	entries, err := from.Entries(0, 0)
	must(t, err)

	to := open(t, t.TempDir(), noSync())
	must(t, to.SetState(storage.State{Epoch: 1, Detached: true}))
	late, err := to.BeginRecord(entries[1])
	must(t, err)
	if _, err := to.Commit(late); !errors.Is(err, storage.ErrReplay) {
		t.Errorf("an entry out of order: %v", err)
	}
	for _, e := range entries {
		if e.Repo == kept.ID() {
			replayEntry(t, from, to, e)
			continue
		}
		txn, err := to.BeginRecord(e)
		must(t, err)
		_, err = to.Commit(txn)
		must(t, err)
	}
	_, want, _ := from.Head()
	if _, got, _ := to.Head(); got != want {
		t.Errorf("the head is %s, want %s", got, want)
	}
	report, err := to.Check(t.Context(), nil)
	if err != nil || len(report.Problems) > 0 || report.Absent != 1 || report.Repos != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
}
