package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"holdfast/storage"
)

// maxBatch bounds the transactions that wait for one commit together: each holds open files.
const maxBatch = 32

// batch is transactions that are ready for one commit. No two are of one repository, since a transaction does not see
// what another has not committed yet.
type batch struct {
	txns    []*storage.Txn
	entries []storage.Entry
	before  []place // where the restore was before each entry
	repos   map[storage.RepoID]bool
	config  []byte // of the last KindConfig entry
}

// place is how far a restore is.
type place struct {
	at   Position
	from uint64
	time time.Time
}

// replayError is an entry that a valid segment carries and the store refuses.
type replayError struct {
	seq storage.Seq
	err error
}

// Error says what to do: whatever is before the entry stands.
func (e *replayError) Error() string {
	return fmt.Sprintf("entry #%d cannot be replayed: %v. Everything before it is restored and whole; use --at %d to stop there", e.seq, e.err, e.seq-1)
}

func (e *replayError) Unwrap() error { return e.err }

func (r *restorer) place() place { return place{r.at, r.from, r.time} }

// needsPacks reports whether the packs of any of the entries are to be restored or checked.
func (r *restorer) needsPacks(entries []storage.Entry) bool {
	for _, e := range entries {
		if len(e.Packs) > 0 && e.Seq > r.report.Resumed && (r.adminRepo() == "" || r.wants(e.Repo)) {
			return true
		}
	}
	return false
}

// replaySegment replays those entries of a segment that the store does not have. If no copy is good, it notes that: the
// entries may come again under a later number.
func (r *restorer) replaySegment(ctx context.Context, w *walk, f *finding, g []candidate) (err error) {
	if f.body == nil || f.body.from.header.Head != g[0].header.Head {
		f.free()
		if f.body, f.spoiled, err = r.mirrors.fetch(ctx, g, r.needsPacks); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			w.spoil(f, g, err)
			return nil
		}
	}
	for _, x := range f.spoiled {
		x.src.count(func(m *MirrorReport) { m.Bad++ })
		r.report.damage("mirror %s: segment %s: %v; taken from %s", x.src.name, w.place(f.number), x.err, f.body.from.src.name)
	}
	f.spoiled = nil
	f.body.from.src.count(func(m *MirrorReport) { m.Used++ })
	packs := &segmentPacks{b: f.body, ms: r.mirrors}
	entries, err := packs.open()
	if err != nil {
		return fmt.Errorf("segment %s, read back from the temporary directory: %w", w.place(f.number), err)
	}
	if !r.continues(entries) {
		return w.contradiction(f, g)
	}
	r.at.Number = max(r.at.Number, f.number)
	for _, e := range entries {
		if w.e.end != nil && e.Seq > w.e.end.Last {
			break
		}
		if err := r.replay(ctx, e, packs); err != nil || r.done {
			return err
		}
	}
	return nil
}

// continues reports whether entries lead on from the journal's end, even where they begin before it.
func (r *restorer) continues(entries []storage.Entry) bool {
	i := slices.IndexFunc(entries, func(e storage.Entry) bool { return e.Seq == r.at.Last })
	return i < 0 || entries[i].Hash() == r.at.Head
}

// spoil handles a segment of which no mirror has a good copy.
func (w *walk) spoil(f *finding, g []candidate, err error) {
	if isTransport(err) {
		w.unread = unread{f.number, err}
	}
	w.spoiled = append(w.spoiled, spoiled{f.number, g[0].header.Last})
	for _, x := range f.spoiled {
		x.src.count(func(m *MirrorReport) { m.Bad++ })
		w.r.report.damage("mirror %s: segment %s (#%d to #%d): %v", x.src.name, w.place(f.number), g[0].header.First, g[0].header.Last, x.err)
	}
}

// replay replays one entry, unless the store has it.
func (r *restorer) replay(ctx context.Context, e storage.Entry, packs *segmentPacks) error {
	if e.Seq <= r.at.Last {
		return nil // the segment's place in the chain was checked, and the chain leads to its head
	}
	if r.cut(e, packs.b.from) {
		return nil
	}
	if err := r.checkEntry(e); err != nil {
		return err
	}
	r.checkClock(e, packs.b.from)
	if r.adminRepo() == "" && e.Init != nil {
		r.admin.Store(&e.Repo)
	}
	wanted := e.Repo == "" || r.wants(e.Repo)
	if r.to == nil {
		if err := r.checkOutside(ctx, e, packs); err != nil {
			return err
		}
	} else if err := r.apply(ctx, e, packs, wanted); err != nil {
		return refused(e, err)
	}
	hash := e.Hash()
	r.note(e, hash)
	r.at.Last, r.at.Head = e.Seq, hash
	if e.Kind == storage.KindConfig {
		r.config = e.Data
	}
	r.count(e, 1)
	return nil
}

// refused says of an error which entry it is about, unless it says so itself.
func refused(e storage.Entry, err error) error {
	if re := (*replayError)(nil); errors.As(err, &re) {
		return err
	}
	return &replayError{e.Seq, err}
}

// count adds an entry to the report, or takes it out again with by = -1.
func (r *restorer) count(e storage.Entry, by int64) {
	r.report.Entries += by
	if e.Repo != "" && !r.wants(e.Repo) {
		return
	}
	r.report.Packs += by * int64(len(e.Packs))
	for _, p := range e.Packs {
		r.report.Bytes += by * p.Size
	}
}

// checkEntry checks the chains that an entry is part of.
func (r *restorer) checkEntry(e storage.Entry) error {
	switch prev, known := r.repos[e.Repo]; {
	case e.Seq != r.at.Last+1 || e.Prev != r.at.Head:
		return &replayError{e.Seq, fmt.Errorf("it does not follow #%d", r.at.Last)}
	case e.Time.Before(r.time):
		return &replayError{e.Seq, errors.New("its time is before that of the entry before it")}
	case known && e.PrevRepo != prev:
		return &replayError{e.Seq, errors.New("it does not follow the last entry of its repository")}
	case e.Repo == "" && !e.PrevRepo.IsZero(), e.Init != nil && known:
		return &replayError{e.Seq, errors.New("it contradicts itself or the history of its repository")}
	}
	return nil
}

// apply prepares the entry's transaction and puts it into the batch.
func (r *restorer) apply(ctx context.Context, e storage.Entry, packs *segmentPacks, wanted bool) error {
	if r.batch.repos[e.Repo] || len(r.batch.txns) >= maxBatch {
		if err := r.flush(); err != nil {
			return err
		}
	}
	t, err := r.prepare(ctx, e, packs, wanted)
	if err != nil {
		if before := r.flush(); before != nil {
			return before
		}
		return err
	}
	b := &r.batch
	b.txns, b.entries, b.before = append(b.txns, t), append(b.entries, e), append(b.before, r.place())
	if e.Repo != "" {
		if b.repos == nil {
			b.repos = make(map[storage.RepoID]bool)
		}
		b.repos[e.Repo] = true
	}
	if e.Kind == storage.KindConfig {
		b.config = e.Data
	}
	return nil
}

// flush commits the batch. If an entry of it is refused, those before it stand.
func (r *restorer) flush() error {
	b := r.batch
	r.batch = batch{}
	if len(b.txns) == 0 {
		return nil
	}
	defer func() {
		for _, t := range b.txns {
			t.Discard()
		}
	}()
	if b.config != nil {
		r.to.Hint(configFact, b.config)
	}
	err := r.commit(b.entries, b.txns, r.place())
	if err == nil {
		return nil
	}
	for i, e := range b.entries {
		after := r.place()
		if i+1 < len(b.before) {
			after = b.before[i+1]
		}
		if err := r.commit(b.entries[i:i+1], b.txns[i:i+1], after); err != nil {
			r.at, r.from, r.time = b.before[i].at, b.before[i].from, b.before[i].time
			for _, lost := range b.entries[i:] {
				r.count(lost, -1)
			}
			return refused(e, err)
		}
	}
	return nil
}

// commit stores entries whose transactions are ready, and with them that the restore has come as far as after.
func (r *restorer) commit(entries []storage.Entry, txns []*storage.Txn, after place) error {
	f := r.fact()
	f.Position, f.From = after.at, after.from
	r.to.Hint(restoreFact, f.encode())
	done, err := r.to.Commit(txns...)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err := sameEntry(e, done[i]); err != nil {
			return err
		}
	}
	return nil
}

// sameEntry compares byte for byte.
func sameEntry(want, got storage.Entry) error {
	a, err := want.Encode()
	if err != nil {
		return err
	}
	b, err := got.Encode()
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("entry #%d was replayed as another entry: this program does not understand what the host's did. Throw the directory away", want.Seq)
	}
	return nil
}

// prepare makes the transaction of an entry. Packs that lie outside the segment are tried from every mirror.
func (r *restorer) prepare(ctx context.Context, e storage.Entry, packs *segmentPacks, wanted bool) (*storage.Txn, error) {
	bad := make(map[copyOf]bool)
	for {
		t, err := r.begin(e, wanted)
		if err != nil {
			return nil, err
		}
		if wanted {
			if err = r.fill(ctx, t, e, packs, bad); err == nil {
				err = t.Prepare()
			}
		}
		if err == nil {
			return t, nil
		}
		t.Discard()
		var spoiled *badCopy
		if !errors.As(err, &spoiled) || ctx.Err() != nil {
			return nil, err
		}
		bad[spoiled.copyOf] = true
		if isTransport(spoiled.err) {
			spoiled.src.outcome(ctx, spoiled.err)
		}
		spoiled.src.count(func(m *MirrorReport) { m.Bad++ })
		r.report.damage("mirror %s: pack %s of entry #%d: %v; trying another copy", spoiled.src.name, spoiled.object, e.Seq, spoiled.err)
	}
}

func (r *restorer) begin(e storage.Entry, wanted bool) (*storage.Txn, error) {
	if !wanted {
		return r.to.BeginRecord(e)
	}
	m := storage.Meta{
		Actor: e.Actor, Key: e.Key, Time: e.Time, Nonce: e.Nonce, Cert: e.Cert, Options: e.Options,
		Epoch: e.Epoch, Expect: e.Hash(),
	}
	if e.Repo == "" {
		return r.to.BeginHost(m, e.Kind, e.Data)
	}
	repo, err := r.repo(e)
	if err != nil {
		return nil, err
	}
	t, err := repo.Begin(m)
	if err == nil && (e.Kind != storage.KindRefs || e.Data != nil) {
		if err = t.SetData(e.Kind, e.Data); err != nil {
			t.Discard()
		}
	}
	return t, err
}

func (r *restorer) repo(e storage.Entry) (*storage.Repo, error) {
	if e.Init != nil {
		return r.to.Create(e.Repo, *e.Init)
	}
	return r.to.Repo(e.Repo)
}

// fill reads the entry's packs and ref updates into the transaction.
func (r *restorer) fill(ctx context.Context, t *storage.Txn, e storage.Entry, packs *segmentPacks, bad map[copyOf]bool) error {
	for _, p := range e.Packs {
		object, outside := packs.reader.Outside(p.ID)
		if !outside {
			in, err := packs.pack(p.ID)
			if err != nil {
				return err
			}
			if err := readWhole(ctx, t, in); err != nil {
				return err
			}
			continue
		}
		if err := r.readOutside(ctx, t, p, object, packs.b.from.header, bad); err != nil {
			return err
		}
		t.SetExternal(p.ID, object.record())
	}
	for _, u := range e.Refs {
		t.Update(u)
	}
	return nil
}

// readWhole reads a pack, and then to the end, where the reader says whether it was the right one.
func readWhole(ctx context.Context, t *storage.Txn, in io.Reader) error {
	br := bufio.NewReaderSize(in, 64<<10)
	if err := t.ReadPack(ctx, br); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, br)
	return err
}

// copyOf names one version of a pack object on one mirror.
type copyOf struct {
	src     *source
	object  PackKeyID
	version Version
}

// badCopy is a copy of a pack object that could not be read or was not what was signed.
type badCopy struct {
	copyOf
	err error
}

func (b *badCopy) Error() string { return fmt.Sprintf("mirror %s: %v", b.src.name, b.err) }
func (b *badCopy) Unwrap() error { return b.err }

// errNoPack: no mirror has a good copy of a pack object.
var errNoPack = errors.New("no mirror that was read has a good copy of its pack")

// readOutside reads a pack object from the first copy that is not known to be bad.
func (r *restorer) readOutside(ctx context.Context, t *storage.Txn, p storage.PackInfo, object PackObject, h Header, bad map[copyOf]bool) error {
	c, err := r.findPack(ctx, object, h, bad)
	if err != nil {
		return err
	}
	in, err := r.mirrors.get(ctx, c.src, PackKey(h.Instance, h.Generation, object.ID), c.version)
	if err != nil {
		return &badCopy{c, err}
	}
	defer in.Close()
	plain, err := OpenPackObject(in, object, p.ID, r.kit.RecoveryIdentity())
	if err != nil {
		return &badCopy{c, in.blame(err)}
	}
	proof := &stream{ReadCloser: io.NopCloser(plain)}
	if err := readWhole(ctx, t, proof); err != nil {
		// Did the copy fail, or does the store refuse a pack that is what was signed?
		if _, rest := io.Copy(io.Discard, proof); rest != nil || proof.err != nil {
			return &badCopy{c, in.blame(err)}
		}
		return err
	}
	return nil
}

// findPack returns a copy of a pack object that is not known to be bad, by its size.
func (r *restorer) findPack(ctx context.Context, object PackObject, h Header, bad map[copyOf]bool) (copyOf, error) {
	key := PackKey(h.Instance, h.Generation, object.ID)
	var unread error
	for _, s := range r.mirrors.all {
		if s.isDown() {
			continue
		}
		versions, err := r.mirrors.versions(ctx, s, key)
		s.outcome(ctx, err)
		if err != nil {
			unread = fmt.Errorf("mirror %s: %w", s.name, err)
			continue
		}
		for _, v := range versions {
			c := copyOf{s, object.ID, v.Version}
			if !v.Deleted && v.Size == object.Size && !bad[c] {
				return c, nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return copyOf{}, err
	}
	if unread != nil {
		return copyOf{}, unread
	}
	return copyOf{}, fmt.Errorf("%w: %s", errNoPack, object.ID)
}

// checkOutside looks, in a dry run, whether the packs that lie outside the segment are there.
func (r *restorer) checkOutside(ctx context.Context, e storage.Entry, packs *segmentPacks) error {
	if packs.reader == nil {
		return nil
	}
	for _, p := range e.Packs {
		object, outside := packs.reader.Outside(p.ID)
		if !outside {
			continue
		}
		_, err := r.findPack(ctx, object, packs.b.from.header, nil)
		if errors.Is(err, errNoPack) {
			r.report.missing("the pack of entry #%d (object %s, %s) is on no mirror that was read, yet the signed segment names it", e.Seq, object.ID, humanBytes(object.Size))
		} else if err != nil {
			return err
		}
	}
	return nil
}
