package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// stalledWriter blocks the goroutine that writes to it until it is released.
type stalledWriter struct {
	reached, release chan struct{}
	n                int
}

func (w *stalledWriter) Write(p []byte) (int, error) {
	if w.n == 0 {
		close(w.reached)
		<-w.release
	}
	w.n += len(p)
	return len(p), nil
}

// TestStalledReaders holds every kind of reader in the middle of its work beside 10,000 pushes. If any of them held a
// bbolt transaction, the pushes would stop at the first remap of host.db, or its pages could not be used again.
func TestStalledReaders(t *testing.T) {
	pushes := 10_000
	if testing.Short() {
		pushes = 500
	}
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	for i := range 10 {
		push(t, repo, nil, update(fmt.Sprintf("refs/tags/%d", i), object.ID{}, tip))
	}
	entries, err := s.Entries(0, 3)
	if err != nil || len(entries) != 3 {
		t.Fatal(entries, err)
	}
	stalledPack, err := s.OpenPack(entries[0].Packs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer stalledPack.Close()
	if _, err := io.CopyN(io.Discard, stalledPack, 20); err != nil {
		t.Fatal(err)
	}
	page, err := repo.Refs("refs/", "", 3)
	if err != nil || len(page) != 3 {
		t.Fatal(page, err)
	}
	_, _, blob, err := repo.OpenObject(blobObj("first").id())
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	w := &stalledWriter{reached: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := repo.WritePack(context.Background(), w, storage.Selection{Wants: []object.ID{tip}}, nil)
		done <- err
	}()
	<-w.reached
	open := begin(t, repo) // a push that never ends

	parent := tip
	for i := range pushes {
		if i%4 > 0 { // making a file costs more than all the rest
			push(t, repo, nil, update(fmt.Sprintf("refs/heads/%d", i), object.ID{}, parent))
			continue
		}
		data, next := tiny(t, fmt.Sprint("push ", i), parent)
		push(t, repo, data, update("refs/heads/main", parent, next))
		parent = next
	}

	close(w.release)
	if err := <-done; err != nil {
		t.Errorf("the stalled clone: %v", err)
	}
	if rest, err := io.ReadAll(stalledPack); err != nil || len(rest)+20 != int(entries[0].Packs[0].Size) {
		t.Errorf("the stalled pack: %d bytes more, %v", len(rest), err)
	}
	if data, err := io.ReadAll(blob); string(data) != "first" || err != nil {
		t.Errorf("the stalled blob: %q, %v", data, err)
	}
	if page, err = repo.Refs("refs/", page[2].Name, 0); err != nil || len(page) != 8 {
		t.Errorf("the rest of the refs: %v, %v", page, err)
	}
	more, err := s.Entries(3, 0)
	if err != nil || len(more) != min(1000, pushes+8) || more[0].Seq != 4 {
		t.Errorf("the next page of the journal: %d entries, %v", len(more), err)
	}
	open.Update(update("refs/heads/late", object.ID{}, parent))
	if _, err := s.Commit(open); err != nil {
		t.Error(err)
	}
	if _, _, err := repo.ReadObject(parent); err != nil {
		t.Error(err)
	}
}

// TestTransactionEnds uses a transaction after its commit, and a store after its Close.
func TestTransactionEnds(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	txn := begin(t, repo)
	txn.Update(update("refs/heads/x", object.ID{}, tip))
	if _, err := s.Commit(txn); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(txn); err == nil {
		t.Error("a transaction was committed twice")
	}
	s.Close()
	for name, err := range map[string]error{
		"Begin":   second(repo.Begin(meta())),
		"SetFact": s.SetFact("x", nil),
		"Refs":    second(repo.Refs("", "", 0)),
		"Has":     second(repo.Has(tip)),
		"Entries": second(s.Entries(0, 0)),
	} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
