package storage

import (
	"errors"
	"fmt"
)

// ErrReplay: a replayed transaction gives another entry than the one that was first recorded.
var ErrReplay = errors.New("replaying the entry gives another one")

// BeginRecord starts a transaction that puts the entry e into the journal as it is and applies nothing of it: no packs,
// no refs, not even its repository. A partial restore needs it, since the journal's chain runs over all repositories.
// Only a detached store takes it. Commit refuses an entry that does not follow the journal's last.
func (s *Store) BeginRecord(e Entry) (*Txn, error) {
	t, err := s.begin(Meta{Actor: e.Actor, Key: e.Key, Time: e.Time, Nonce: e.Nonce, Epoch: e.Epoch, Expect: e.Hash()}, e.Kind)
	if err != nil {
		return nil, &Error{Op: "begin", Repo: e.Repo, Err: err}
	}
	t.record = &e
	return t, nil
}

// checkRecord makes sure that a recorded entry continues the journal.
func (h head) checkRecord(e Entry) error {
	if e.Seq != h.seq+1 || e.Prev != h.hash || e.Time.Before(h.time) {
		return fmt.Errorf("%w: entry %d does not follow entry %d", ErrReplay, e.Seq, h.seq)
	}
	return nil
}

// checkReplay makes sure that a replayed transaction gives the entry that it is to give.
func (m Meta) checkReplay(e Entry, got Hash) error {
	if !m.Expect.IsZero() && got != m.Expect {
		return fmt.Errorf("%w: entry %d becomes %s, it was %s", ErrReplay, e.Seq, got, m.Expect)
	}
	return nil
}
