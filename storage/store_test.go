package storage_test

import (
	"context"
	"testing"

	"holdfast/storage"
)

func TestPushAndClone(t *testing.T) {
	g := newGit(t)
	s := open(t, t.TempDir(), storage.Options{})
	repo := create(t, s)
	tip := g.commit("one", map[string]string{"a/b": "1", "c": "2"})
	push(t, repo, g.pack(tip), storage.RefUpdate{Name: "refs/heads/main", New: tip})
	tip2 := g.commit("two", map[string]string{"a/b": "3", "c": "2"})
	push(t, repo, g.thinPack(tip2, tip), storage.RefUpdate{Name: "refs/heads/main", Old: tip, New: tip2})

	ref, err := repo.Ref("refs/heads/main")
	if err != nil || ref.ID != tip2 {
		t.Fatalf("main is at %v (%v), want %v", ref.ID, err, tip2)
	}
	cloneAndCompare(t, g, repo, tip2)
	report, err := s.Check(context.Background(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("check: %v %v", report.Problems, err)
	}
}
