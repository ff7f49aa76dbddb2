package storage

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// A request asks the committer for one group of transactions, all or none, for facts to be stored, or for packs to be
// merged or swept up.
type request struct {
	txns  []*Txn
	merge *mergeRequest
	sweep *sweepRequest
	facts map[string][]byte
	state *State // what a fact in facts says

	stage   *stage // while the batch is being committed
	entries []Entry
	err     error
	done    chan struct{}
}

// Bounds of what one write of host.db takes together.
const (
	maxBatchRequests = 256
	maxBatchUpdates  = 100_000
)

// Commit applies the transactions: the refs of all of them and their entries in one durable write, or nothing. It
// prepares those that are not prepared. Commits that wait at the same time share the write; a refused one leaves the
// others alone. Refused refs come as RefErrors: Drop them and commit again. After success the transactions have ended.
func (s *Store) Commit(ts ...*Txn) ([]Entry, error) {
	for _, t := range ts {
		if t.s != s {
			return nil, &Error{Op: "commit", Repo: t.repoID(), Err: errors.New("a transaction of another store")}
		}
		if err := t.Prepare(); err != nil {
			return nil, err
		}
	}
	if len(ts) == 0 {
		return nil, nil
	}
	entries, err := s.submit(&request{txns: ts})
	if err != nil {
		return nil, &Error{Op: "commit", Repo: ts[0].repoID(), Err: err}
	}
	for _, t := range ts {
		t.ended.Store(true)
		t.release(true)
	}
	return entries, nil
}

// submit hands the request to the committer and waits for its end.
func (s *Store) submit(r *request) ([]Entry, error) {
	r.done = make(chan struct{})
	select {
	case s.requests <- r:
	case <-s.stop:
		return nil, ErrClosed
	}
	<-r.done
	return r.entries, r.err
}

// commitLoop is the committer: the only goroutine that changes refs and journal.
func (s *Store) commitLoop() {
	for {
		select {
		case r := <-s.requests:
			s.commitBatch(s.gather(r))
		case <-s.stop:
			return
		}
	}
}

// gather returns first and whatever else waits at this moment; it waits for nothing.
func (s *Store) gather(first *request) []*request {
	batch := []*request{first}
	updates := 0
	for len(batch) < maxBatchRequests && updates < maxBatchUpdates {
		select {
		case r := <-s.requests:
			batch = append(batch, r)
			for _, t := range r.txns {
				updates += len(t.updates)
			}
		default:
			return batch
		}
	}
	return batch
}

func (s *Store) commitBatch(batch []*request) {
	hints := s.takeHints()
	accepted, head, err := s.writeBatch(batch, hints)
	if err != nil {
		for _, r := range accepted {
			r.err = err
		}
	}
	for _, r := range batch {
		s.settle(r, err == nil && r.err == nil)
	}
	if err == nil {
		s.dropHints(hints)
		s.mu.Lock()
		s.head = head
		s.mu.Unlock()
	}
	for _, r := range batch {
		close(r.done)
	}
}

// writeBatch writes what can be accepted of the batch. Refused requests have their err set.
func (s *Store) writeBatch(batch []*request, hints map[string][]byte) (accepted []*request, h head, err error) {
	s.mu.Lock()
	h = s.head
	s.mu.Unlock()
	if s.dead.Load() || s.readOnly.Load() {
		return batch, h, ErrClosed
	}
	tx, err := s.host.Begin(true)
	if err != nil {
		return batch, h, err
	}
	defer tx.Rollback() // no-op after the commit
	if err := putFacts(tx, hints); err != nil {
		return batch, h, err
	}
	for _, r := range batch {
		if r.err = s.apply(tx, r, &h); r.err == nil {
			accepted = append(accepted, r)
		}
	}
	if len(accepted) == 0 {
		return nil, h, nil
	}
	if err := s.step(StepHostPut); err != nil {
		return accepted, h, err
	}
	// From here on readers may meet the new refs, so they must find the objects.
	for _, r := range accepted {
		if err := s.announce(r); err != nil {
			return accepted, h, err
		}
	}
	s.foretell(accepted)
	if err := s.commitHost(tx); err != nil {
		return accepted, h, err
	}
	return accepted, h, s.step(StepHostCommit)
}

// commitHost commits the write of host.db. If it failed so late that the new state may come to light after a restart,
// the store writes no more: acknowledging anything on top would be a lie.
func (s *Store) commitHost(tx *bbolt.Tx) error {
	id := tx.ID()
	err := tx.Commit()
	if err == nil {
		return nil
	}
	seen := s.host.View(func(now *bbolt.Tx) error {
		if now.ID() >= id {
			return errors.New("the write is visible")
		}
		return nil
	})
	if seen != nil {
		s.readOnly.Store(true)
		s.opts.Log.Error("host.db: a write has failed in an unknown state; no more writes until a restart", "err", err)
	}
	return fmt.Errorf("host.db: %w", err)
}

// apply stages the request and, if nothing in it is refused, puts it into tx and advances h.
func (s *Store) apply(tx *bbolt.Tx, r *request, h *head) error {
	st := newStage(s, tx, *h)
	for _, t := range r.txns {
		if err := st.add(t); err != nil {
			return err
		}
	}
	if r.merge != nil {
		if err := st.addMerge(r.merge); err != nil {
			return err
		}
	}
	if err := st.put(); err != nil {
		return err
	}
	if r.sweep != nil {
		if err := r.sweep.apply(tx); err != nil {
			return err
		}
	}
	if err := putFacts(tx, r.facts); err != nil {
		return err
	}
	r.stage, r.entries, *h = st, st.entries, st.head
	return nil
}

// announce makes the packs of an accepted request visible to readers, ahead of the commit.
func (s *Store) announce(r *request) error {
	for _, t := range r.txns {
		if t.init != nil {
			s.register(t.repo.id, t.st)
		}
	}
	for _, p := range r.stage.packs {
		if err := p.repo.announce(p.pack, p.number); err != nil {
			return err
		}
	}
	return nil
}

// settle tells the repositories how the commit ended.
func (s *Store) settle(r *request, ok bool) {
	if r.stage == nil {
		return
	}
	for _, p := range r.stage.packs {
		p.repo.settle(p.number, ok)
	}
	if !ok {
		return
	}
	for _, t := range r.txns {
		if t.init != nil {
			t.st.exists.Store(true)
		}
	}
	if r.state != nil {
		s.mu.Lock()
		s.state = *r.state
		s.mu.Unlock()
	}
	for _, m := range r.stage.moves {
		m.repo.views.move(m.numbers, m.gone)
		if !m.gone {
			m.repo.recalled(m.numbers)
		}
	}
	if r.merge != nil {
		r.merge.st.leave(r.merge.gone)
		r.merge.st.renewBase()
	}
	for _, p := range r.stage.packs {
		s.filler.add(p.repo)
		s.merger.add(p.repo.id, time.Now().Add(s.opts.MergeDelay))
	}
}
