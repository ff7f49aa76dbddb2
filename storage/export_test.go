package storage

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// Fill makes index.db cover all of the repository's packs.
func (s *Store) Fill(id RepoID) error {
	rec, err := s.repoRecord(id)
	if err != nil {
		return err
	}
	st, err := s.repoState(id, rec.Init.Format)
	if err != nil {
		return err
	}
	if err := st.fill(); err != nil {
		return err
	}
	return st.chooseBase()
}

// IndexPath returns where the repository's index.db is.
func (s *Store) IndexPath(id RepoID) string { return (&repoState{s: s, id: id}).indexDBPath() }

// PackPath returns where a pack is.
func (s *Store) PackPath(repo RepoID, id PackID) string {
	return (&repoState{s: s, id: repo}).packPath(id)
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// SetFew makes WritePack copy ranges of the base pack where more objects of it than n are sent.
func (s *Store) SetFew(n int) { s.few = n }

// BaseObjects returns the size of the repository's base pack in objects, 0 if it has none.
func (s *Store) BaseObjects(id RepoID) int {
	s.reposMu.Lock()
	st := s.repos[id]
	s.reposMu.Unlock()
	b := st.useBase()
	defer st.dropBase(b)
	if b == nil {
		return 0
	}
	return b.Len()
}

// Merge makes all merges that are due in a repository. Packs with an entry past settled stay.
func (s *Store) Merge(ctx context.Context, id RepoID, settled Seq) error {
	return s.mergeAll(ctx, id, settled)
}

// MergeFully merges all packs of a repository into a base pack and a cruft pack.
func (s *Store) MergeFully(id RepoID) error {
	rec, err := s.repoRecord(id)
	if err != nil {
		return err
	}
	st, err := s.repoState(id, rec.Init.Format)
	if err != nil {
		return err
	}
	live, _, err := st.packs()
	if err != nil {
		return err
	}
	slices.SortFunc(live, func(a, b *packRecord) int { return cmp.Compare(a.first(), b.first()) })
	if err := st.merge(context.Background(), mergePlan{packs: live, full: true}, math.MaxUint64); err != nil {
		return err
	}
	return st.sweep()
}
