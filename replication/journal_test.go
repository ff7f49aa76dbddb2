package replication_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"

	"holdfast/replication"
	"holdfast/storage"
)

// journal is a Journal in memory. A crash loses the hints and nothing else.
type journal struct {
	mu       sync.Mutex
	state    storage.State
	entries  []storage.Entry
	packs    map[storage.PackID][]byte
	external map[storage.PackID][]byte
	facts    map[string][]byte
	hints    map[string][]byte
	dead     bool
	failFact error // what SetFact answers
}

var (
	errDead   = errors.New("the host has crashed")
	errNoPack = errors.New("no such pack")
)

func newJournal(w *world) *journal {
	return &journal{
		state: storage.State{Instance: w.instance, Epoch: 1}, packs: map[storage.PackID][]byte{},
		external: map[storage.PackID][]byte{}, facts: map[string][]byte{}, hints: map[string][]byte{},
	}
}

// crash makes the journal as of now: whoever still uses the old one can do nothing any more.
func (j *journal) crash() *journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dead = true
	return &journal{
		state: j.state, entries: j.entries[:len(j.entries):len(j.entries)], packs: maps.Clone(j.packs), external: maps.Clone(j.external),
		facts: maps.Clone(j.facts), hints: map[string][]byte{},
	}
}

// commit appends an entry with packs, one of which may lie outside.
func (j *journal) commit(t testing.TB, external []byte, packs ...string) storage.Seq {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return 0
	}
	var prev storage.Entry
	if n := len(j.entries); n > 0 {
		prev = j.entries[n-1]
	}
	var infos []storage.PackInfo
	for _, data := range packs {
		info := packInfo(data)
		j.packs[info.ID] = []byte(data)
		if external != nil {
			j.external[info.ID] = external
		}
		infos = append(infos, info)
	}
	e := chain(prev, infos)[0]
	e.Epoch = j.state.Epoch
	j.entries = append(j.entries, e)
	maps.Copy(j.facts, j.hints)
	return e.Seq
}

func (j *journal) Entries(after storage.Seq, limit int) ([]storage.Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return nil, errDead
	}
	if int(after) >= len(j.entries) {
		return nil, nil
	}
	return j.entries[after:min(len(j.entries), int(after)+limit)], nil
}

func (j *journal) Head() (storage.Seq, storage.Hash, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead || len(j.entries) == 0 {
		return 0, storage.Hash{}, nil
	}
	e := j.entries[len(j.entries)-1]
	return e.Seq, e.Hash(), nil
}

func (j *journal) OpenPack(id storage.PackID) (io.ReadCloser, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	data, ok := j.packs[id]
	if !ok {
		return nil, fmt.Errorf("pack %s: %w", id, errNoPack)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (j *journal) External(id storage.PackID) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.external[id], nil
}

func (j *journal) Fact(name string) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.facts[name], nil
}

func (j *journal) SetFact(name string, value []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return errDead
	}
	if j.failFact != nil {
		return j.failFact
	}
	j.facts[name] = bytes.Clone(value)
	delete(j.hints, name)
	return nil
}

func (j *journal) Hint(name string, value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hints[name] = bytes.Clone(value)
}

func (j *journal) State() (storage.State, error) { return j.state, nil }

var (
	_ replication.Journal = (*journal)(nil)
	_ replication.Journal = (*storage.Store)(nil)
)
