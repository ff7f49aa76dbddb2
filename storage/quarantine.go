package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// txnPack is a pack that a transaction has received: verified, completed and indexed, but in quarantine.
type txnPack struct {
	info     PackInfo
	trailer  []byte // as received
	stored   int64  // bytes of the file
	external []byte // see Txn.SetExternal

	links     []object.Link // that lead out of the pack; nil once they are checked
	connected bool

	s         *Store
	format    object.Format
	path      string // where the pack is: in quarantine, then in the repository's directory
	indexPath string // the index file in quarantine, if it is not small
	moved     bool   // it is in the repository's directory
	recs      records
	ends      []int64  // see records.offsets
	file      *os.File // open for Prepare's fsync
	reader    *pack.Pack

	placed *placedPack // once Prepare has put it into the repository's directory
}

// placedPack is a pack file in a repository's directory that host.db may not name yet. Transactions that received the
// same pack share it.
type placedPack struct {
	users int // guarded by repoState.placeMu

	mu        sync.Mutex // held while the file is put in place
	pack      *txnPack   // whose file it is; nil until it is in place
	committed bool       // host.db names it
}

// receive takes one pack from src into the quarantine. It returns nil for a pack without objects.
func (t *Txn) receive(ctx context.Context, src io.Reader) (*txnPack, error) {
	f, err := os.CreateTemp(t.s.quarantineDir(), "*.pack")
	if err != nil {
		return nil, err
	}
	p := &txnPack{s: t.s, format: t.st.format, path: f.Name(), indexPath: f.Name() + ".idx", file: f}
	if err := t.fill(ctx, src, p); err != nil {
		p.discard()
		return nil, err
	}
	if p.info.Objects == 0 {
		p.discard()
		return nil, nil
	}
	return p, nil
}

// fill receives p's content.
func (t *Txn) fill(ctx context.Context, src io.Reader, p *txnPack) error {
	if err := t.s.step(StepQuarantine); err != nil {
		return err
	}
	got, err := pack.Receive(ctx, src, p.file, t.receiveOptions())
	if err != nil {
		return limitError(err)
	}
	if err := t.s.step(StepPackWritten); err != nil || got.Objects == 0 {
		return err
	}
	p.info = PackInfo{ID: PackID(got.SHA256), Size: got.Size, Objects: got.Objects}
	p.trailer, p.stored, p.links = got.Trailer, got.StoredSize, got.External
	p.recs, err = newRecords(p.indexPath, p.format, got.Records, boundsOf(p.info, p.stored, p.format))
	if err != nil {
		return err
	}
	p.ends = p.recs.offsets()
	if p.recs.index != nil {
		return t.s.step(StepIndexFile)
	}
	return nil
}

func (t *Txn) receiveOptions() pack.Options {
	o := t.s.opts
	return pack.Options{
		Format: t.st.format, MaxBytes: o.MaxPackBytes, MaxObjects: o.MaxObjects, MaxObjectBytes: o.MaxObjectBytes,
		MaxInflatedBytes: o.MaxInflatedBytes, MaxMemoryBytes: o.MaxReadBytes, MaxDepth: o.MaxDepth,
		Base: t.ReadObject, Progress: t.Progress, Tee: t.Tee,
	}
}

// limitError lets a limit that package pack has enforced be found as ErrTooLarge.
func limitError(err error) error {
	if errors.Is(err, pack.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

func (p *txnPack) lookup(id object.ID) (pack.Record, bool, error) { return p.recs.lookup(id) }

// read returns an object of the pack. The first call opens the file for good; close closes it.
func (p *txnPack) read(s *Store, rec pack.Record) (object.Type, []byte, error) {
	if p.reader == nil {
		r, err := pack.Open(p.path, p.format)
		if err != nil {
			return 0, nil, err
		}
		p.reader = r
	}
	if rec.Size > s.opts.MaxReadBytes {
		return 0, nil, tooLargeToRead(rec.ID, rec.Size, s.opts.MaxReadBytes)
	}
	data, typ, err := p.reader.ReadObject(rec.Offset, pack.ReadOptions{
		MaxBytes: s.opts.MaxReadBytes,
		MaxDepth: s.opts.MaxDepth + 1,
		Locate:   p.recs.locate,
		Cache:    s.bases,
	})
	return typ, data, err
}

// discard ends the use of a pack that did not come into the repository.
func (p *txnPack) discard() {
	p.close()
	if p.s.dead.Load() {
		return
	}
	os.Remove(p.path)
	os.Remove(p.indexPath)
}

func (p *txnPack) close() {
	p.recs.close()
	if p.reader != nil {
		p.reader.Close()
		p.reader = nil
	}
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// placePacks moves the packs into the repository's directory, durably.
func (t *Txn) placePacks() error {
	for _, p := range t.packs {
		if err := t.st.place(p); err != nil {
			return err
		}
	}
	return nil
}

// place puts p's file into the packs directory and makes it durable, unless an equal pack is there already, be it one that
// was merged into another and is not swept up yet: it stays while it is placed.
//
// The fsyncs of the pack and of the directory are done side by side, both before host.db: a stray pack, whole or not, is garbage, and
// a ref to a missing pack is data loss. The index file is not synced: it can be made again.
func (st *repoState) place(p *txnPack) error {
	for p.placed == nil {
		if p.placed = st.placedPack(p.info.ID); p.placed == nil {
			if err := st.sweep(); err != nil {
				return err
			}
		}
	}
	placed := p.placed
	placed.mu.Lock()
	defer placed.mu.Unlock()
	if placed.pack != nil {
		return nil
	}
	_, listed, err := st.packRecord(p.info.ID)
	if err != nil {
		return err
	}
	if listed {
		placed.pack, placed.committed = p, true
		return nil
	}
	if err := st.moveIn(p); err != nil {
		if !st.s.dead.Load() {
			st.remove(p.info.ID)
		}
		return err
	}
	placed.pack = p
	return nil
}

// placedPack returns the pack of that id that is placed, for one more transaction; nil if it was merged into another and
// must be swept up first.
func (st *repoState) placedPack(id PackID) *placedPack {
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	if slices.ContainsFunc(st.tidy.lost, func(p *oldPack) bool { return p.rec.Info.ID == id }) {
		return nil
	}
	placed := st.placed[id]
	if placed == nil {
		placed = new(placedPack)
		st.placed[id] = placed
	}
	placed.users++
	return placed
}

func (st *repoState) moveIn(p *txnPack) error {
	s := st.s
	if err := st.makeDir(); err != nil {
		return err
	}
	if p.recs.index != nil {
		if err := os.Rename(p.indexPath, st.indexPath(p.info.ID)); err != nil {
			return err
		}
		if err := s.step(StepIndexRename); err != nil {
			return err
		}
	}
	if err := os.Rename(p.path, st.packPath(p.info.ID)); err != nil {
		return err
	}
	p.path, p.moved = st.packPath(p.info.ID), true
	if err := s.step(StepPackRename); err != nil {
		return err
	}
	if !s.opts.NoSync {
		synced := make(chan error, 1)
		go func() { synced <- p.file.Sync() }()
		err := syncDir(st.packsDir())
		if err := errors.Join(<-synced, err); err != nil {
			return err
		}
	}
	if err := s.step(StepPackSync); err != nil {
		return err
	}
	return s.step(StepDirSync)
}

// makeDir makes the repository's directory, durably. Until a pack is committed there, it may have been made by a process
// that died before the fsyncs, so they are done again.
func (st *repoState) makeDir() error {
	dir := st.packsDir()
	if st.exists.Load() {
		if st.hasDir.Load() {
			return nil
		}
		rec, err := st.s.repoRecord(st.id)
		if err != nil {
			return err
		}
		if rec.Packs > 0 {
			st.hasDir.Store(true)
			return nil
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !st.s.opts.NoSync {
		for range 3 { // the repository's directory, ab, repos
			dir = filepath.Dir(dir)
			if err := syncDir(dir); err != nil {
				return err
			}
		}
	}
	st.hasDir.Store(true)
	return st.s.step(StepRepoDir)
}

// unplace ends a transaction's hold on a placed pack. The last hold removes a file that host.db does not name.
func (st *repoState) unplace(p *txnPack, committed bool) {
	if p.placed == nil {
		return
	}
	st.placeMu.Lock()
	defer st.placeMu.Unlock()
	placed := p.placed
	placed.committed = placed.committed || committed
	if placed.users--; placed.users > 0 {
		return
	}
	delete(st.placed, p.info.ID)
	// After a write of host.db with unknown outcome, host.db may turn out to name the pack.
	if !placed.committed && placed.pack != nil && !st.s.dead.Load() && !st.s.readOnly.Load() {
		st.remove(p.info.ID)
	}
}

// remove removes a pack's files, those of a pack that host.db does not name.
func (st *repoState) remove(id PackID) {
	for _, ext := range packExts {
		os.Remove(st.pathOf(id, ext))
	}
}

// openReceived streams a stored pack as it was received: its own header's count, none of the bases that were added, the
// trailer that came with it.
func (s *Store) openReceived(repo RepoID, rec *packRecord) (io.ReadCloser, error) {
	st := &repoState{s: s, id: repo}
	f, err := os.Open(st.packPath(rec.Info.ID))
	if err != nil {
		return nil, &Error{Op: "open pack", Repo: repo, Err: err}
	}
	return &receivedReader{
		Reader: io.MultiReader(
			io.NewSectionReader(f, 0, 8), // PACK and the version
			bytes.NewReader(binary.BigEndian.AppendUint32(nil, rec.Info.Objects)),
			io.NewSectionReader(f, 12, rec.Info.Size-12-int64(len(rec.Trailer))),
			bytes.NewReader(rec.Trailer)),
		Closer: f,
	}, nil
}

type receivedReader struct {
	io.Reader
	io.Closer
}
