package replication

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"time"

	"filippo.io/age"

	"holdfast/storage"
)

// copyBytes is how much of a pack moves at once.
const copyBytes = 256 << 10

// packState says what is in a pack's spool file.
type packState int

const (
	packGrowing packState = iota // it is being received
	packWhole                    // all of it, durably
	packGone                     // nothing any more
)

// upState says how far a pack is on a mirror.
type upState int

const (
	upIdle  upState = iota
	upBusy          // an upload is under way
	upDone          // the mirror acknowledged it
	upTaken         // its key is taken by what an attempt without an answer left
)

// spoolPack is the ciphertext of a big pack in the spool. Uploads read it while it grows, each at its own pace: the disk
// is the queue, so that a slow mirror delays nobody.
type spoolPack struct {
	id PackKeyID

	// The fields below are guarded by Replicator.mu.
	pack   storage.PackID // zero while it is not known
	sum    Sum
	path   string
	size   int64 // bytes that can be read
	state  packState
	more   chan struct{} // closed and replaced when size or state change; nil if they will not
	refs   int           // segments in the spool that name it
	up     map[*Mirror]upState
	unsure map[*Mirror]bool // an attempt to complete had an unknown outcome
	moved  int64            // bytes that mirrors took, to see progress
	fresh  bool             // made since the start, so that its attempts are all known
}

func (p *spoolPack) object() PackObject { return PackObject{ID: p.id, Sum: p.sum, Size: p.size} }

// wake tells followers of a change; r.mu is held.
func (p *spoolPack) wake() {
	if p.more != nil {
		close(p.more)
		p.more = make(chan struct{})
	}
}

// packWriter encrypts a pack into the spool.
type packWriter struct {
	r     *Replicator
	p     *spoolPack
	file  *os.File
	enc   io.WriteCloser
	plain hash.Hash
	sum   hash.Hash
}

// newPackWriter starts a spool file.
func (r *Replicator) newPackWriter() (*packWriter, error) {
	id := NewPackKeyID()
	path := r.spool.packPath(id) + tmpSuffix
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	p := &spoolPack{id: id, path: path, more: make(chan struct{}), up: map[*Mirror]upState{}, unsure: map[*Mirror]bool{}, fresh: true}
	w := &packWriter{r: r, p: p, file: f, plain: sha256.New(), sum: sha256.New()}
	r.mu.Lock()
	r.packs[id] = p
	r.mu.Unlock()
	if w.enc, err = age.Encrypt(cipherSink{w}, r.keys.Recipients...); err != nil {
		w.drop()
		return nil, err
	}
	return w, nil
}

// cipherSink is where the encryption of a packWriter writes.
type cipherSink struct{ w *packWriter }

// Write implements io.Writer.
func (s cipherSink) Write(b []byte) (int, error) {
	w := s.w
	n, err := w.file.Write(b)
	w.sum.Write(b[:n])
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.p.size += int64(n)
	w.r.bytes += int64(n)
	w.p.wake()
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return n, nil
}

// Write takes plaintext.
func (w *packWriter) Write(b []byte) (int, error) {
	w.plain.Write(b)
	return w.enc.Write(b)
}

// finish makes the file whole and durable under its name.
func (w *packWriter) finish() (PackObject, error) {
	err := w.enc.Close()
	if err == nil {
		err = syncFile(w.file)
	}
	err = errors.Join(err, w.file.Close())
	path := w.r.spool.packPath(w.p.id)
	if err == nil {
		err = w.r.spool.place(w.p.path, path)
	}
	if err != nil {
		return PackObject{}, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.p.path, w.p.state = path, packWhole
	w.p.pack, w.p.sum = storage.PackID(w.plain.Sum(nil)), Sum(w.sum.Sum(nil))
	w.p.wake()
	return w.p.object(), nil
}

// drop removes the file. Uploads that follow it are aborted.
func (w *packWriter) drop() {
	w.file.Close()
	w.r.removePack(w.p)
}

func (r *Replicator) removePack(p *spoolPack) {
	r.mu.Lock()
	path := p.path
	r.dropPack(p)
	r.mu.Unlock()
	os.Remove(path) // what stays is removed at the next start
}

// dropPack takes a pack out of the books; r.mu is held.
func (r *Replicator) dropPack(p *spoolPack) {
	if r.packs[p.id] != p {
		return
	}
	delete(r.packs, p.id)
	r.bytes -= p.size
	p.state = packGone
	p.wake()
	for _, m := range r.mirrors {
		m.cur.Packs = slices.DeleteFunc(m.cur.Packs, func(id PackKeyID) bool { return id == p.id })
	}
}

// locate finds where a pack goes: into the segment, or outside as an object that the spool or every mirror holds. Where
// the object that the journal knows cannot be named, it makes another.
func (r *Replicator) locate(ctx context.Context, p storage.PackInfo) (o PackObject, outside bool, err error) {
	record, err := r.journal.External(p.ID)
	if err != nil || record == nil && p.Size <= r.o.InlineBytes {
		return PackObject{}, false, err
	}
	var known PackObject
	if record != nil {
		if known, err = ParsePackObject(record); err != nil {
			return known, true, err
		}
	}
	if o, ok := r.usable(p.ID, known); ok {
		return o, true, nil
	}
	if o, err = r.respool(ctx, p.ID, known); err != nil {
		return o, true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaced[p.ID] = o
	return o, true, nil
}

// usable returns the object by which a pack can be named.
func (r *Replicator) usable(id storage.PackID, known PackObject) (PackObject, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range []PackObject{r.replaced[id], known} {
		if o.Size == 0 || r.bad[o.ID] {
			continue
		}
		if p := r.packs[o.ID]; p != nil && p.state == packWhole && p.size == o.Size {
			return o, true
		}
		if !slices.ContainsFunc(r.active(), func(m *Mirror) bool { return !slices.Contains(m.cur.Packs, o.ID) }) {
			return o, true
		}
	}
	return PackObject{}, false
}

// respool makes a new object of a pack: of the ciphertext in the spool if it is there, else of the pack in the store.
func (r *Replicator) respool(ctx context.Context, id storage.PackID, known PackObject) (PackObject, error) {
	r.mu.Lock()
	old := r.packs[known.ID]
	if old != nil && (old.state != packWhole || old.size != known.Size) {
		old = nil
	}
	r.mu.Unlock()
	if old != nil {
		return r.relink(old, known, id)
	}
	src, err := r.journal.OpenPack(id)
	if err != nil {
		return PackObject{}, err
	}
	defer src.Close()
	w, err := r.newPackWriter()
	if err != nil {
		return PackObject{}, err
	}
	_, err = io.CopyBuffer(w, contextReader{ctx, src}, make([]byte, copyBytes))
	if err == nil && storage.PackID(w.plain.Sum(nil)) != id {
		err = errors.New("the store holds other bytes than were received: run holdfast check")
	}
	var o PackObject
	if err == nil {
		o, err = w.finish()
	}
	if err != nil {
		w.drop()
	}
	return o, err
}

// relink gives the ciphertext of old a new random name.
func (r *Replicator) relink(old *spoolPack, known PackObject, pack storage.PackID) (PackObject, error) {
	id := NewPackKeyID()
	if err := r.spool.link(old.id, id); err != nil {
		return PackObject{}, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packs[id] = &spoolPack{
		id: id, pack: pack, sum: known.Sum, path: r.spool.packPath(id), size: known.Size, state: packWhole,
		up: map[*Mirror]upState{}, unsure: map[*Mirror]bool{}, fresh: true,
	}
	r.bytes += known.Size
	return PackObject{ID: id, Sum: known.Sum, Size: known.Size}, nil
}

// contextReader ends with the context's error.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// condemn keeps a pack object from being named again.
func (r *Replicator) condemn(id PackKeyID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[id] = true
}

// ensurePack returns nil once the mirror holds the object, uploading it if nobody else does.
func (m *Mirror) ensurePack(ctx context.Context, o PackObject) error {
	r := m.r
	for {
		r.mu.Lock()
		p, changed := r.packs[o.ID], r.changed
		held := slices.Contains(m.cur.Packs, o.ID)
		state := upIdle
		if p != nil {
			state = p.up[m]
			if !held && state == upIdle {
				p.up[m] = upBusy
			}
		}
		r.mu.Unlock()
		switch {
		case held || state == upDone:
			return nil
		case p == nil:
			return errPackGone
		case state == upTaken:
			return errPackTaken
		case state == upBusy:
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if err := m.upload(ctx, p); err != nil {
			return err
		}
		return r.save() // a restart that forgot it would send it again
	}
}

// upload makes one attempt to send a pack, following it while it grows. The caller has set p.up[m] to upBusy.
func (m *Mirror) upload(ctx context.Context, p *spoolPack) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(m.r.o.StallTimeout, func() { cancel(errors.New("the upload makes no progress")) })
	defer watch.Stop()
	completing, err := m.send(ctx, p, watch)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return m.uploaded(p, completing, err)
}

// send copies the pack. completing is set once the outcome is up to the mirror.
func (m *Mirror) send(ctx context.Context, p *spoolPack, watch *time.Timer) (completing bool, err error) {
	src, err := m.r.follow(ctx, p, watch)
	if err != nil {
		return false, err
	}
	defer src.file.Close()
	up, err := m.bucket.Upload(ctx, PackKey(m.r.root.Instance, m.r.root.Generation, p.id))
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.r.o.Grace)
			defer cancel()
			err = errors.Join(err, up.Abort(ctx))
		}
	}()
	// Plain Write calls: an Upload that were an io.ReaderFrom could hide the progress.
	if _, err = io.CopyBuffer(struct{ io.Writer }{up}, src, make([]byte, copyBytes)); err != nil {
		return false, err
	}
	watch.Reset(m.r.o.StallTimeout + m.r.o.AttemptTimeout)
	return true, up.Complete(ctx)
}

// uploaded books the outcome of an upload.
func (m *Mirror) uploaded(p *spoolPack, completing bool, err error) error {
	if err != nil && errors.Is(err, errPackGone) {
		m.setUp(p, upIdle)
		return errPackGone
	}
	if err == nil {
		m.succeeded()
		m.setUp(p, upDone)
		return nil
	}
	m.r.mu.Lock()
	known := p.fresh && !p.unsure[m]
	if completing && !errors.Is(err, ErrExists) && p.unsure != nil {
		p.unsure[m] = true
	}
	m.r.mu.Unlock()
	if completing && errors.Is(err, ErrExists) && !known {
		m.setUp(p, upTaken)
		return errPackTaken
	}
	err = fmt.Errorf("upload pack: %w", err)
	m.failed(err)
	m.setUp(p, upIdle)
	return err
}

func (m *Mirror) setUp(p *spoolPack, s upState) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	p.up[m] = s
	if s == upDone && m.r.packs[p.id] == p {
		m.cur.Packs = append(m.cur.Packs, p.id)
		m.r.touch()
	}
	m.r.broadcast()
}

// follower reads a spool file while it grows.
type follower struct {
	r     *Replicator
	ctx   context.Context
	p     *spoolPack
	file  *os.File
	off   int64
	given int64       // bytes of the last Read
	watch *time.Timer // runs while the mirror has something to take
}

func (r *Replicator) follow(ctx context.Context, p *spoolPack, watch *time.Timer) (*follower, error) {
	r.mu.Lock()
	path, state := p.path, p.state
	r.mu.Unlock()
	if state == packGone {
		return nil, errPackGone
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		r.mu.Lock()
		path = p.path // it was finished in between
		r.mu.Unlock()
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPackGone, err)
	}
	return &follower{r: r, ctx: ctx, p: p, file: f, watch: watch}, nil
}

// Read implements io.Reader.
func (f *follower) Read(b []byte) (int, error) {
	for {
		f.r.mu.Lock()
		size, state, more := f.p.size, f.p.state, f.p.more
		f.p.moved += f.given // another read means that what the last one gave was taken
		f.given = 0
		f.r.mu.Unlock()
		f.watch.Reset(f.r.o.StallTimeout)
		switch {
		case state == packGone:
			return 0, errPackGone
		case f.off < size:
			n, err := f.file.ReadAt(b[:min(int64(len(b)), size-f.off)], f.off)
			f.off, f.given = f.off+int64(n), int64(n)
			if n > 0 {
				err = nil
			}
			return n, noEOF(err)
		case state == packWhole:
			return 0, io.EOF
		}
		f.watch.Stop()
		select {
		case <-more:
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
}
