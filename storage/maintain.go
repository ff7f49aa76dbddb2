package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// merger remembers which repositories may have packs to merge or to sweep up, and when to look.
type merger struct {
	wake chan struct{}

	mu    sync.Mutex
	when  map[RepoID]time.Time
	fails map[RepoID]int // failures in a row
}

func newMerger() *merger {
	return &merger{wake: make(chan struct{}, 1), when: map[RepoID]time.Time{}, fails: map[RepoID]int{}}
}

// add asks for a look at a repository. An earlier time that was asked for before counts, unless a merge has failed: then
// it waits.
func (m *merger) add(id RepoID, at time.Time) {
	m.mu.Lock()
	if was, ok := m.when[id]; !ok || (at.Before(was) && m.fails[id] == 0) {
		m.when[id] = at
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// next returns a repository that is due, or how long to wait for one.
func (m *merger) next(now time.Time) (id RepoID, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = time.Hour
	for id, at := range m.when {
		if left := at.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		delete(m.when, id)
		return id, 0
	}
	return "", wait
}

// maxRetry bounds the time after which a merge that failed is tried again.
const maxRetry = 6 * time.Hour

// failed returns when to try again, and how often it failed in a row.
func (m *merger) failed(id RepoID, delay time.Duration) (times int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	times = m.fails[id] + 1
	m.fails[id] = times
	m.when[id] = time.Now().Add(min(maxRetry, max(delay, time.Minute)<<min(times, 10)))
	return times
}

func (m *merger) succeeded(id RepoID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.fails, id)
}

// Maintain merges packs behind the pushes until ctx ends or the store is closed, one merge at a time. settled returns the
// last entry whose packs will not be shipped any more: of later ones, each pack stays as it was received. nil stands for a
// store that ships nothing.
//
// Nothing is ever lost: a new pack is verified object by object before it takes the place of others, and these go only
// after that is durable and nobody reads them any more. What no ref leads to is kept as well, apart from the rest.
func (s *Store) Maintain(ctx context.Context, settled func() Seq) error {
	ctx, cancel := s.untilStopped(ctx)
	defer cancel()
	if settled == nil {
		settled = func() Seq { return math.MaxUint64 }
	}
	if err := s.findWork(ctx); err != nil && ctx.Err() == nil {
		s.opts.Log.Error("cannot find out which packs to merge", "err", err)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		id, wait := s.merger.next(time.Now())
		if id != "" {
			s.maintain(ctx, id, settled)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.merger.wake:
		case <-timer.C:
		}
	}
	return context.Cause(ctx)
}

// findWork finds what a process before this one has left to do.
func (s *Store) findWork(ctx context.Context) error {
	ids, err := s.Repos()
	if err != nil {
		return err
	}
	at := time.Now().Add(s.opts.MergeDelay)
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := s.repoRecord(id)
		if err != nil {
			return err
		}
		if rec.Packs < 2 {
			continue
		}
		live, gone, err := newRepoState(s, id, rec.Init.Format).packs()
		if err != nil {
			return err
		}
		if len(live) > 1 || len(gone) > 0 {
			s.merger.add(id, at)
		}
	}
	return nil
}

// maintain does what there is to do in one repository.
func (s *Store) maintain(ctx context.Context, id RepoID, settled func() Seq) {
	err := s.mergeAll(ctx, id, settled())
	switch {
	case err == nil:
		s.merger.succeeded(id)
	case ctx.Err() != nil || s.dead.Load():
	case errors.Is(err, errOvertaken):
		s.merger.add(id, time.Now().Add(s.opts.MergeDelay))
	default:
		level := slog.LevelError
		if s.merger.failed(id, s.opts.MergeDelay) > 1 {
			level = slog.LevelDebug
		}
		s.opts.Log.Log(ctx, level, "cannot merge packs; all are kept as they are, and it is tried again later", "repo", id, "err", err)
	}
}

// mergeAll merges what should be merged in one repository, and sweeps up.
func (s *Store) mergeAll(ctx context.Context, id RepoID, settled Seq) error {
	s.mergeMu.Lock()
	defer s.mergeMu.Unlock()
	if s.stopping() {
		return ErrClosed
	}
	rec, err := s.repoRecord(id)
	if err != nil {
		return err
	}
	st, err := s.repoState(id, rec.Init.Format)
	if err != nil {
		return err
	}
	for again := true; again; {
		if err := st.sweep(); err != nil {
			return err
		}
		if again, err = st.mergeOnce(ctx, settled); err != nil {
			return err
		}
		if err := st.fill(); err != nil {
			return err
		}
		if err := st.moveBase(ctx); err != nil {
			return err
		}
	}
	if err := st.sweep(); err != nil {
		return err
	}
	return st.shrinkIndex()
}

// mergeOnce makes one merge, if there is one to make, and then reports that there may be more.
func (st *repoState) mergeOnce(ctx context.Context, settled Seq) (again bool, err error) {
	live, _, err := st.packs()
	if err != nil {
		return false, err
	}
	plan := planMerge(live, settled, st.s.opts)
	if len(plan.packs) == 0 {
		if len(planMerge(live, math.MaxUint64, st.s.opts).packs) > 0 {
			st.s.merger.add(st.id, time.Now().Add(st.s.opts.MergeDelay)) // more may be settled by then
		}
		return false, nil
	}
	if err := st.fill(); err != nil { // what is merged is in index.db
		return false, err
	}
	began := time.Now()
	done := Maintenance{Time: began.UTC(), Full: plan.full, Packs: len(plan.packs)}
	for _, rec := range plan.packs {
		done.Objects += int64(rec.Info.Objects)
		done.Bytes += rec.Stored
	}
	st.merging.Store(true)
	err = st.merge(ctx, plan, settled)
	st.merging.Store(false)
	done.Duration = time.Since(began)
	if err != nil {
		done.Error = err.Error()
	}
	if ctx.Err() == nil && !errors.Is(err, errOvertaken) {
		st.noteMaintenance(done)
	}
	if err != nil {
		return false, fmt.Errorf("merge %d packs: %w", len(plan.packs), err)
	}
	st.s.opts.Log.Info("packs merged", "repo", st.id, "packs", done.Packs, "objects", done.Objects, "bytes", done.Bytes,
		"full", done.Full, "duration", done.Duration)
	return true, nil
}

// Maintenance is a merge of packs.
type Maintenance struct {
	Time     time.Time     `json:"time"` // when it began
	Duration time.Duration `json:"duration_ns"`
	Full     bool          `json:"full"` // made a base pack
	Packs    int           `json:"packs"`
	Objects  int64         `json:"objects"`
	Bytes    int64         `json:"bytes"` // of the packs that were merged
	Error    string        `json:"error,omitempty"`
}

// Stats says what a repository takes on disk.
type Stats struct {
	Packs   int   `json:"packs"`
	Objects int64 `json:"objects"` // in all packs: one that lies in two counts twice
	Bytes   int64 `json:"bytes"`

	// CruftPacks hold what no ref led to when they were made: it is kept, and never served.
	CruftPacks   int   `json:"cruft_packs"`
	CruftObjects int64 `json:"cruft_objects"`
	CruftBytes   int64 `json:"cruft_bytes"`

	BaseObjects int64        `json:"base_objects"` // of the base pack, 0 if there is none
	Leaving     int          `json:"leaving"`      // packs that were merged and are still read
	Merging     bool         `json:"merging"`
	Last        *Maintenance `json:"last_maintenance,omitempty"`
}

func maintenanceFact(id RepoID) string { return "storage.merged." + string(id) }

func (st *repoState) noteMaintenance(m Maintenance) {
	if raw, err := json.Marshal(m); err == nil {
		st.s.Hint(maintenanceFact(st.id), raw)
	}
}

// Stats returns what the repository takes on disk, and what its last maintenance did. It is all zeros for one that is only
// to be created.
func (r *Repo) Stats() (Stats, error) {
	stats, err := r.stats()
	if isNotFound(err) && r.created {
		return Stats{}, nil
	}
	if err != nil {
		return stats, r.fail("count packs", err)
	}
	return stats, nil
}

func (r *Repo) stats() (stats Stats, err error) {
	if _, err := r.s.repoRecord(r.id); err != nil {
		return stats, err
	}
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return stats, err
	}
	live, gone, err := st.packs()
	if err != nil {
		return stats, err
	}
	stats.Leaving, stats.Merging = len(gone), st.merging.Load()
	for _, rec := range live {
		stats.add(rec)
	}
	if b := st.useBase(); b != nil {
		stats.BaseObjects = int64(b.Len())
		st.dropBase(b)
	}
	raw, err := r.s.Fact(maintenanceFact(r.id))
	if err == nil && raw != nil {
		stats.Last = new(Maintenance)
		err = json.Unmarshal(raw, stats.Last)
	}
	return stats, err
}

func (s *Stats) add(rec *packRecord) {
	s.Packs++
	s.Objects += int64(rec.Info.Objects)
	s.Bytes += rec.Stored
	if rec.Cruft {
		s.CruftPacks++
		s.CruftObjects += int64(rec.Info.Objects)
		s.CruftBytes += rec.Stored
	}
}
