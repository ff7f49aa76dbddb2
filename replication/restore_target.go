package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"holdfast/storage"
)

// Facts of a restored store.
const (
	// restoreFact is how far the store was restored, as restored.
	restoreFact = "replication.restore"
	// configFact is the configuration file as the journal last recorded it.
	configFact = "replication.restore_config"
)

// restored is what a store keeps of the restore that made it. It rides with the entries, so it may be older than the
// journal's end after a crash, never newer.
type restored struct {
	Position Position         `json:"position"`        // of the last entry
	From     uint64           `json:"from,omitempty"`  // where to read on if segments before Position wait for others
	Root     uint64           `json:"root"`            // the version of the last root record
	Repos    []storage.RepoID `json:"repos,omitempty"` // of a partial restore
	// Incomplete says that the mirrors held, or ought to have held, more: --at, a gap.
	Incomplete bool `json:"incomplete,omitempty"`
}

// loadRestored returns what Restore left in the store; nil if nothing.
func loadRestored(s *storage.Store) (*restored, error) {
	raw, err := s.Fact(restoreFact)
	if err != nil || raw == nil {
		return nil, err
	}
	f := new(restored)
	if err := json.Unmarshal(raw, f); err != nil {
		return nil, fmt.Errorf("fact %s: %w", restoreFact, err)
	}
	return f, nil
}

func (f restored) encode() []byte {
	raw, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain values only
	}
	return raw
}

// openTarget makes sure that the store may be restored into, and finds the place to go on from.
func (r *restorer) openTarget() error {
	r.at = r.line[0].start(0, storage.Hash{})
	r.at.Epoch = 0 // so that the first walk begins at number 1
	if r.to == nil {
		return nil
	}
	state, err := r.to.State()
	if err != nil {
		return err
	}
	seq, head, err := r.to.Head()
	if err != nil {
		return err
	}
	switch {
	case state == (storage.State{}) && seq == 0:
		return r.adopt()
	case state.Instance != r.kit.Instance():
		return fmt.Errorf("%w: it holds instance %s, this kit is of %s. Restore into a new directory", ErrNotRestorable, state.Instance, r.kit.Instance())
	case !state.Detached:
		return fmt.Errorf("%w: it is a host's own directory, not a restored one. Restore into a new directory", ErrNotRestorable)
	}
	return r.resume(seq, head)
}

// adopt makes an empty store the detached copy of the instance.
func (r *restorer) adopt() error {
	if err := r.to.SetFact(restoreFact, r.fact().encode()); err != nil {
		return err
	}
	return r.to.SetState(storage.State{Instance: r.kit.Instance(), Epoch: r.lastEpoch(), Detached: true})
}

func (r *restorer) lastEpoch() uint64 { return r.line[len(r.line)-1].number }

func (r *restorer) fact() restored {
	return restored{Position: r.at, From: r.from, Root: r.report.RootVersion, Repos: sortedIDs(r.o.Repos), Incomplete: r.done || !r.report.Complete()}
}

func sortedIDs(ids []storage.RepoID) []storage.RepoID {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// resume goes on where an earlier restore stopped.
func (r *restorer) resume(seq storage.Seq, head storage.Hash) error {
	f, err := loadRestored(r.to)
	if err != nil {
		return err
	}
	if f == nil {
		return fmt.Errorf("%w: it does not say how it was restored. Restore into a new directory", ErrNotRestorable)
	}
	if !slices.Equal(f.Repos, sortedIDs(r.o.Repos)) {
		return fmt.Errorf("%w: it was begun with another choice of repositories (%v). Name the same ones, or restore into a new directory", ErrNotRestorable, f.Repos)
	}
	if f.Position.Last <= seq {
		r.at, r.from = f.Position, f.From
	}
	r.at.Last, r.at.Head = seq, head
	r.report.Resumed = seq
	if err := r.countMoves(); err != nil {
		return err
	}
	return r.readJournal()
}

// readJournal collects from the store's journal what the replay of later entries needs.
func (r *restorer) readJournal() error {
	all := len(r.o.Repos) > 0 || !r.o.Head.IsZero()
	if last := r.at.Last; !all && last > 0 {
		entries, err := r.to.Entries(last-1, 1)
		if err == nil && len(entries) > 0 {
			r.time = entries[0].Time
		}
		return err
	}
	for after := storage.Seq(0); ; {
		entries, err := r.to.Entries(after, 0)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			r.note(e, e.Hash())
		}
		after = entries[len(entries)-1].Seq
	}
}

// note keeps what later entries are checked against.
func (r *restorer) note(e storage.Entry, hash storage.Hash) {
	if e.Init != nil && r.adminRepo() == "" {
		r.admin.Store(&e.Repo)
	}
	if e.Repo != "" {
		r.repos[e.Repo] = hash
	}
	if hash == r.o.Head {
		r.headSeen = true
	}
	r.time = e.Time
	r.remember(e.Seq, hash)
}

// close records how far the restore came, and reads what the report says of the store.
func (r *restorer) close() error {
	if head := r.o.Head; !head.IsZero() && !r.headSeen && !r.done {
		r.report.missing("entry %s, which --head names, is in no segment that was found", head)
	}
	if r.to == nil {
		r.report.Repos = len(r.repos)
		r.report.Config = r.config
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	err := r.to.SetFact(restoreFact, r.fact().encode())
	repos, rerr := r.to.Repos()
	r.report.Repos = len(repos)
	config, cerr := r.to.Fact(configFact)
	r.report.Config = config
	return errors.Join(err, rerr, cerr)
}
