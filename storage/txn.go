package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"holdfast/storage/object"
)

// Meta says who commits a transaction, when and how. Nothing in it is read from a clock or a random source here, so
// that a replayed entry equals the first one.
type Meta struct {
	Actor string
	Key   string // fingerprint of the key, or name of the token, that the actor used
	// Time is the entry's, unless the previous entry's is later: then that one is taken.
	Time time.Time
	// Nonce makes the entry's hash unguessable; a zero one is replaced by a random one.
	Nonce   Nonce
	Cert    []byte   // git's push certificate
	Options []string // git's push options
	// Epoch is 0 for a push: the store's own epoch is taken. Else the transaction replays an entry of that epoch, which
	// a detached store alone takes.
	Epoch uint64
	// Expect is the hash that a replayed entry must come to have, or the commit is refused; zero for any.
	Expect Hash
}

// Txn collects a push: packs and ref updates of one repository. Nothing of it shows before Commit. It is for one
// goroutine at a time.
type Txn struct {
	// Tee, if set, gets the bytes of each pack as ReadPack receives them; its error fails ReadPack.
	Tee io.Writer
	// Progress, if set, is called now and then during ReadPack and Prepare, possibly from several goroutines.
	Progress func(stage string, done, total int64)

	s    *Store
	repo *Repo      // nil for an entry of the host
	st   *repoState // nil for an entry of the host
	init *RepoInit  // if the transaction brings the repository into being
	meta Meta
	kind Kind
	data []byte

	record  *Entry  // set by BeginRecord: the entry to record
	secret  *Secret // the parsed data of KindSecret
	updates []RefUpdate
	values  map[string]refValue // what Prepare found out about the new ids
	packs   []*txnPack

	prepared bool
	ended    atomic.Bool // committed or discarded
}

// refValue is what a ref's new id turned out to be.
type refValue struct {
	id     object.ID
	peeled object.ID // zero unless id is a tag
}

// Begin starts a transaction. Discard must be called in the end; after Commit it does nothing.
func (r *Repo) Begin(m Meta) (*Txn, error) {
	t, err := r.s.begin(m, KindRefs)
	if err != nil {
		return nil, &Error{Op: "begin", Repo: r.id, Err: err}
	}
	t.repo = r
	if t.st, t.init, err = r.s.enter(r); err != nil {
		return nil, &Error{Op: "begin", Repo: r.id, Err: err}
	}
	r.s.pushes.Add(1)
	return t, nil
}

// BeginHost starts a transaction that concerns no repository: data is a JSON Secret for KindSecret, the configuration
// file for KindConfig.
func (s *Store) BeginHost(m Meta, k Kind, data []byte) (*Txn, error) {
	t, err := s.begin(m, k)
	if err == nil {
		err = t.SetData(k, data)
	}
	if err != nil {
		return nil, &Error{Op: "begin", Err: err}
	}
	return t, nil
}

func (s *Store) begin(m Meta, k Kind) (*Txn, error) {
	if m.Time.IsZero() {
		return nil, fmt.Errorf("Meta.Time is not set")
	}
	if m.Nonce == (Nonce{}) {
		m.Nonce = NewNonce()
	}
	if err := s.admits(m); err != nil {
		return nil, err
	}
	return &Txn{s: s, meta: m, kind: k, values: map[string]refValue{}}, nil
}

// admits tells replays and pushes apart: a detached store takes the former, an attached one the latter.
func (s *Store) admits(m Meta) error {
	switch s.mu.Lock(); {
	case s.state.Detached && m.Epoch == 0:
		s.mu.Unlock()
		return ErrDetached
	case !s.state.Detached && m.Epoch != 0:
		s.mu.Unlock()
		return ErrAttached
	}
	s.mu.Unlock()
	return nil
}

// SetData sets the kind and data of the entry, where it is not a plain push: a Subversion fact of a repository, say.
func (t *Txn) SetData(k Kind, data []byte) error {
	if k == KindSecret {
		t.secret = new(Secret)
		if err := json.Unmarshal(data, t.secret); err != nil || t.secret.Name == "" {
			return fmt.Errorf("data of kind %s: want a JSON secret with a name (%v)", k, err)
		}
	}
	t.kind, t.data, t.prepared = k, data, false
	return nil
}

// Update adds a ref update. Prepare and Commit judge it.
func (t *Txn) Update(u RefUpdate) {
	t.updates = append(t.updates, u)
	t.prepared = false
}

// Updates returns the ref updates that Commit would make.
func (t *Txn) Updates() []RefUpdate { return append([]RefUpdate(nil), t.updates...) }

// Drop takes the updates of the named refs out, so that the others can be committed. After a failed Commit of several
// transactions, commit them all again.
func (t *Txn) Drop(names ...string) {
	drop := map[string]bool{}
	for _, name := range names {
		drop[name] = true
	}
	kept := t.updates[:0]
	for _, u := range t.updates {
		if !drop[u.Name] {
			kept = append(kept, u)
		}
	}
	t.updates = kept
}

// Packs returns the packs that ReadPack took in, without those that were empty.
func (t *Txn) Packs() []PackInfo {
	var infos []PackInfo
	for _, p := range t.packs {
		infos = append(infos, p.info)
	}
	return infos
}

// SetExternal stores, with the pack's record, where its bytes lie outside this store; see Store.External. If the
// repository has the pack already, with such a record, that one stays.
func (t *Txn) SetExternal(id PackID, external []byte) {
	for _, p := range t.packs {
		if p.info.ID == id {
			p.external = external
		}
	}
}

// ReadPack reads exactly one pack from src into the quarantine and verifies it: limits, checksum, every object. It may
// be called again for another pack. If src is a *bufio.Reader, what follows the pack is still to be read from it. A
// pack without objects is read and forgotten.
func (t *Txn) ReadPack(ctx context.Context, src io.Reader) error {
	if t.repo == nil {
		return fmt.Errorf("read pack: a transaction of the host has no packs")
	}
	p, err := t.receive(ctx, src)
	if err != nil {
		return &Error{Op: "read pack", Repo: t.repo.id, Err: err}
	}
	t.prepared = false
	if p == nil {
		return nil
	}
	for _, have := range t.packs {
		if have.info.ID == p.info.ID {
			p.discard()
			return nil
		}
	}
	t.packs = append(t.packs, p)
	return nil
}

// ReadObject returns an object of the push or of the repository, up to Options.MaxReadBytes. The content is shared with a
// cache: it must not be changed.
func (t *Txn) ReadObject(id object.ID) (object.Type, []byte, error) {
	if t.st == nil {
		return 0, nil, fmt.Errorf("object %s: %w", id, ErrNotFound)
	}
	for _, p := range t.packs {
		if rec, ok, err := p.lookup(id); err != nil {
			return 0, nil, err
		} else if ok {
			return p.read(t.s, rec)
		}
	}
	return t.st.readObject(id)
}

// Has reports whether the push or the repository contains the object.
func (t *Txn) Has(id object.ID) (bool, error) {
	typ, err := t.typeOf(id)
	return typ != 0, err
}

// typeOf returns the object's type, 0 if neither the push nor the repository has it. Objects of pushes that are being
// committed at the moment count only once they are.
func (t *Txn) typeOf(id object.ID) (object.Type, error) {
	for _, p := range t.packs {
		if rec, ok, err := p.lookup(id); err != nil || ok {
			return rec.Type, err
		}
	}
	if t.st == nil {
		return 0, nil
	}
	loc, ok, err := t.st.lookupSettled(id)
	if err != nil || !ok {
		return 0, err
	}
	return loc.typ, nil
}

// Prepare makes the push ready to commit: the ref updates are well-formed, new values exist, nothing that the packs'
// objects link to is missing, the packs lie in the repository's directory and are durable. Refused refs come as
// RefErrors: Drop them and prepare again. After Prepare only a ref that has moved or conflicts can stop the Commit.
func (t *Txn) Prepare() error {
	if t.prepared {
		return nil
	}
	if err := t.prepare(); err != nil {
		return &Error{Op: "prepare", Repo: t.repoID(), Err: err}
	}
	t.prepared = true
	return nil
}

func (t *Txn) prepare() error {
	switch {
	case t.ended.Load():
		return fmt.Errorf("the transaction has ended")
	case len(t.updates) > t.s.opts.MaxUpdates:
		return fmt.Errorf("%d ref updates: %w, the limit is %d", len(t.updates), ErrTooLarge, t.s.opts.MaxUpdates)
	case t.record != nil:
		return nil
	case t.kind == KindRefs && t.init == nil && len(t.updates) == 0 && len(t.packs) == 0:
		return ErrEmpty
	}
	if err := t.checkUpdates().orNil(); err != nil {
		return err
	}
	if err := t.connect(); err != nil {
		return err
	}
	if err := t.resolveUpdates(); err != nil {
		return err
	}
	return t.placePacks()
}

func (t *Txn) repoID() RepoID {
	if t.repo == nil {
		return ""
	}
	return t.repo.id
}

// refError makes a RefError of the transaction's repository.
func (t *Txn) refError(ref string, err error) *RefError {
	return &RefError{Repo: t.repoID(), Ref: ref, Err: err}
}

// Discard ends a transaction that was not committed, and removes what it has stored.
func (t *Txn) Discard() {
	if t.ended.Swap(true) {
		return
	}
	t.release(false)
}

// release frees what the transaction holds. A committed pack stays.
func (t *Txn) release(committed bool) {
	for _, p := range t.packs {
		if p.moved {
			p.close()
		} else {
			p.discard()
		}
		t.st.unplace(p, committed)
	}
	if t.st != nil {
		t.s.pushes.Add(-1)
		t.s.leave(t.repo.id, t.st)
	}
}
