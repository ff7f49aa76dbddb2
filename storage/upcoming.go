package storage

import (
	"fmt"
	"io"
)

// Upcoming are entries that are just being made durable. It may still fail: whatever is prepared for them is of use only once the
// journal holds them, with the same hashes.
type Upcoming struct {
	Entries []Entry // in the order of the journal, at least one
	s       *Store
	packs   map[PackID]upcomingPack
}

type upcomingPack struct {
	repo RepoID
	rec  *packRecord
}

// Foretell makes the store call f with the entries of each write of the journal before it is durable, so that the disk's time can be
// used to prepare what follows. f is called by the only goroutine that commits: it must return at once and not call the store.
func (s *Store) Foretell(f func(*Upcoming)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foretold = f
}

// foretell tells of what is about to be written.
func (s *Store) foretell(accepted []*request) {
	s.mu.Lock()
	f := s.foretold
	s.mu.Unlock()
	if f == nil {
		return
	}
	u := &Upcoming{s: s, packs: map[PackID]upcomingPack{}}
	for _, r := range accepted {
		u.Entries = append(u.Entries, r.stage.entries...)
		for key, rec := range r.stage.records {
			u.packs[rec.Info.ID] = upcomingPack{repoIDFromRaw([]byte(key)[len(rec.Info.ID):]), rec}
		}
	}
	if len(u.Entries) > 0 {
		f(u)
	}
}

// OpenPack opens a pack of the entries as it was received, as Store.OpenPack does once they are committed.
func (u *Upcoming) OpenPack(id PackID) (io.ReadCloser, error) {
	p, ok := u.packs[id]
	switch {
	case !ok:
		return nil, &Error{Op: "open pack", Err: fmt.Errorf("pack %s: %w", id, ErrNotFound)}
	case p.rec.Gone || p.rec.Merged:
		return nil, &Error{Op: "open pack", Repo: p.repo, Err: fmt.Errorf("pack %s: %w", id, ErrMerged)}
	}
	return u.s.openReceived(p.repo, p.rec)
}

// Outside reports whether the bytes of a pack of the entries lie outside of the store too; see Txn.SetExternal.
func (u *Upcoming) Outside(id PackID) bool {
	p, ok := u.packs[id]
	return ok && p.rec.External != nil
}
