package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage/pack"
)

// Store is one host's repositories and journal, in one directory. Its methods may be called from many goroutines.
type Store struct {
	dir  string
	opts Options
	host *bbolt.DB

	requests chan *request // to the committer
	stop     chan struct{} // closed by Close
	workers  sync.WaitGroup
	closing  sync.Once
	dead     atomic.Bool // closed, or stopped by FaultHook
	readOnly atomic.Bool // a write of host.db has failed in an unknown state

	packs   *packCache
	bases   *pack.Cache
	indexes *indexCache
	filler  *filler
	graphs  *graphQueue
	few     int // see fewObjects
	merger  *merger
	mergeMu sync.Mutex   // held while packs are merged: one merge at a time
	pushes  atomic.Int64 // open transactions of repositories

	reposMu sync.Mutex // guards repos
	repos   map[RepoID]*repoState

	mu    sync.Mutex // guards the fields below
	head  head
	state State
	hints map[string][]byte

	foretold func(*Upcoming) // see Foretell; nil for nobody
}

// head is the end of the journal.
type head struct {
	seq  Seq
	hash Hash
	time time.Time
}

// State is what a Store is in the life of its instance. Its zero value belongs to a new store that ships nothing yet.
type State struct {
	Instance string `json:"instance"`
	Epoch    uint64 `json:"epoch"`
	// Detached marks a restored store: it takes replayed entries only and ships none.
	Detached bool `json:"detached"`
}

// stateFact is the fact that holds State.
const stateFact = "storage.state"

// Open opens the store in dir, which it makes if need be, and holds its lock until Close. It removes what pushes that
// never ended left behind. If another process holds dir, the error wraps ErrInUse.
func Open(dir string, o Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "repos"), 0o700); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if !o.NoSync {
		if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
			return nil, err
		}
	}
	host, err := openHostDB(dir, o)
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	s := &Store{
		dir: dir, opts: o, host: host,
		requests: make(chan *request), stop: make(chan struct{}),
		repos: map[RepoID]*repoState{}, hints: map[string][]byte{},
		bases: pack.NewCache(o.CacheBytes), few: fewObjects,
	}
	s.packs, s.indexes, s.filler = newPackCache(s), newIndexCache(s), newFiller()
	s.graphs, s.merger = newGraphQueue(), newMerger()
	if err := errors.Join(s.loadHead(), s.loadState(), s.clean()); err != nil {
		host.Close()
		return nil, &Error{Op: "open", Err: err}
	}
	s.workers.Go(s.commitLoop)
	s.workers.Go(s.fillLoop)
	s.workers.Go(s.graphLoop)
	return s, nil
}

// Close waits for running commits, writes pending hints and releases the directory. Readers that are still open fail.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.stop)
		s.workers.Wait()
		s.mergeMu.Lock() // what merges ends at once, and nothing begins any more
		defer s.mergeMu.Unlock()
		if !s.dead.Load() {
			err = s.flushHints()
		}
		s.dead.Store(true)
		s.closeRepos()
		s.packs.close()
		err = errors.Join(err, s.indexes.close(), s.host.Close())
	})
	return err
}

func (s *Store) loadHead() error {
	return s.host.View(func(tx *bbolt.Tx) error {
		_, line := tx.Bucket(bucketJournal).Cursor().Last()
		if line == nil {
			return nil
		}
		e, err := DecodeEntry(line)
		s.head = head{seq: e.Seq, hash: e.Hash(), time: e.Time}
		return err
	})
}

func (s *Store) loadState() error {
	raw, err := s.Fact(stateFact)
	if err != nil || raw == nil {
		return err
	}
	return json.Unmarshal(raw, &s.state)
}

// untilStopped returns a context that also ends when the store is closed.
func (s *Store) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// step tells FaultHook that a write has happened. After its error the store is as dead as a killed process.
func (s *Store) step(step Step) error {
	if s.dead.Load() {
		return ErrClosed
	}
	if s.opts.FaultHook == nil {
		return nil
	}
	if err := s.opts.FaultHook(step); err != nil {
		s.dead.Store(true)
		return err
	}
	return nil
}

// view runs a short read of host.db. fn must neither wait nor do I/O, and copies what it keeps.
func (s *Store) view(fn func(*bbolt.Tx) error) error {
	if s.dead.Load() {
		return ErrClosed
	}
	return s.host.View(fn)
}

// Head returns the number and hash of the last entry, zeros for an empty journal.
func (s *Store) Head() (Seq, Hash, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.seq, s.head.hash, nil
}

// maxPageBytes bounds what Entries returns at once.
const maxPageBytes = 16 << 20

// Entries returns the entries that follow number after, at most limit of them and at most 16 MiB encoded (but one
// entry always); none at the journal's end. A limit of 0 is taken as 1000.
func (s *Store) Entries(after Seq, limit int) ([]Entry, error) {
	if limit <= 0 {
		limit = 1000
	}
	var lines [][]byte
	err := s.view(func(tx *bbolt.Tx) error {
		size := 0
		c := tx.Bucket(bucketJournal).Cursor()
		for k, line := c.Seek(seqKey(after + 1)); k != nil && len(lines) < limit; k, line = c.Next() {
			if size += len(line); size > maxPageBytes && len(lines) > 0 {
				break
			}
			lines = append(lines, append([]byte(nil), line...))
		}
		return nil
	})
	if err != nil {
		return nil, &Error{Op: "read journal", Err: err}
	}
	entries := make([]Entry, len(lines))
	for i, line := range lines {
		if entries[i], err = DecodeEntry(line); err != nil {
			return nil, &Error{Op: "read journal", Err: fmt.Errorf("%w: %w", ErrCorrupt, err)}
		}
	}
	return entries, nil
}

// Secret returns the value of the last entry of KindSecret with that name, or an error that wraps ErrNotFound.
func (s *Store) Secret(name string) ([]byte, error) {
	value, err := s.getCopy(bucketSecrets, name)
	if err == nil && value == nil {
		err = fmt.Errorf("secret %q: %w", name, ErrNotFound)
	}
	return value, err
}

// Fact returns a value that SetFact or Hint stored, nil if there is none.
func (s *Store) Fact(name string) ([]byte, error) {
	s.mu.Lock()
	hint, ok := s.hints[name]
	s.mu.Unlock()
	if ok {
		return bytes.Clone(hint), nil
	}
	return s.getCopy(bucketFacts, name)
}

func (s *Store) getCopy(bucket []byte, name string) (value []byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucket).Get([]byte(name)); v != nil {
			value = append([]byte{}, v...)
		}
		return nil
	})
	return value, err
}

// SetFact stores a small value of the caller's, outside the journal, and returns once it is durable. It shares the
// write with whatever commits at the time. A nil value removes the fact.
func (s *Store) SetFact(name string, value []byte) error {
	s.mu.Lock()
	delete(s.hints, name) // an older hint must not overwrite it
	s.mu.Unlock()
	_, err := s.submit(&request{facts: map[string][]byte{name: value}})
	return err
}

// Hint stores a fact that may be lost in a crash: it is visible at once and becomes durable with the next commit,
// SetFact or Close.
func (s *Store) Hint(name string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hints[name] = append([]byte{}, value...)
}

// State returns the store's state.
func (s *Store) State() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, nil
}

// SetState changes the store's state; durable on return.
func (s *Store) SetState(state State) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, err = s.submit(&request{facts: map[string][]byte{stateFact: raw}, state: &state})
	return err
}

// takeHints returns the pending hints; dropHints forgets those that were written as they are.
func (s *Store) takeHints() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hints)
}

func (s *Store) dropHints(written map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, value := range written {
		if now, ok := s.hints[name]; ok && string(now) == string(value) {
			delete(s.hints, name)
		}
	}
}

func (s *Store) flushHints() error {
	hints := s.takeHints()
	if len(hints) == 0 {
		return nil
	}
	return s.host.Update(func(tx *bbolt.Tx) error { return putFacts(tx, hints) })
}

func putFacts(tx *bbolt.Tx, facts map[string][]byte) error {
	b := tx.Bucket(bucketFacts)
	for name, value := range facts {
		var err error
		if value == nil {
			err = b.Delete([]byte(name))
		} else {
			err = b.Put([]byte(name), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OpenPack returns the pack's bytes exactly as they were received. The caller closes the reader; it holds nothing that
// a writer waits for, however slowly it is read.
//
// After a pack's last entry is settled (see Maintain) it may be merged into another: then the error wraps ErrMerged.
func (s *Store) OpenPack(id PackID) (io.ReadCloser, error) {
	repo, rec, err := s.findPack(id, func(rec, other *packRecord) bool { return rec.Gone && !other.Gone })
	if err == nil && (rec.Gone || rec.Merged) {
		err = fmt.Errorf("pack %s: %w", id, ErrMerged)
	}
	if err != nil {
		return nil, &Error{Op: "open pack", Err: err}
	}
	return s.openReceived(repo, rec)
}

// External returns what Txn.SetExternal stored with the pack, nil if nothing.
func (s *Store) External(id PackID) ([]byte, error) {
	_, rec, err := s.findPack(id, func(rec, other *packRecord) bool { return rec.External == nil && other.External != nil })
	if err != nil {
		return nil, &Error{Op: "find pack", Err: err}
	}
	return rec.External, nil
}

// findPack returns a repository that has the pack: of two records the one that is better.
func (s *Store) findPack(id PackID, better func(than, rec *packRecord) bool) (repo RepoID, found *packRecord, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketPacks).Cursor()
		for k, _ := c.Seek(id[:]); len(k) == len(id)+16 && PackID(k[:len(id)]) == id; k, _ = c.Next() {
			rec, err := getJSON[packRecord](tx.Bucket(bucketPacks), k)
			if err != nil {
				return err
			}
			if found == nil || better(found, rec) {
				repo, found = repoIDFromRaw(k[len(id):]), rec
			}
		}
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("pack %s: %w", id, ErrNotFound)
	}
	return repo, found, err
}

// Repos returns the ids of all repositories, sorted.
func (s *Store) Repos() ([]RepoID, error) {
	var ids []RepoID
	err := s.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRepos).ForEach(func(k, _ []byte) error {
			ids = append(ids, repoIDFromRaw(k))
			return nil
		})
	})
	return ids, err
}
