package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/storage"
)

// BigPack takes a pack's bytes as they are received. A pack of up to Options.InlineBytes it forgets: that one goes into a
// segment. A bigger one is encrypted once into the spool and streamed to the mirrors while it comes in.
//
// Use: Write all bytes, check the pack, Complete, put what it returns into the transaction, commit; and Abort when all is
// over. It is not safe for concurrent use.
type BigPack struct {
	r     *Replicator
	ctx   context.Context
	buf   []byte
	w     *packWriter // nil while the pack is small
	err   error
	whole bool // Complete was called
	over  bool
	// object is what Complete returned.
	object PackObject
}

// NewBigPack starts a pack. When ctx ends, Write and Complete fail.
func (r *Replicator) NewBigPack(ctx context.Context) *BigPack { return &BigPack{r: r, ctx: ctx} }

// Write takes the next bytes of the pack. It blocks for the local disk only. An error means that the push must be refused.
func (b *BigPack) Write(p []byte) (int, error) {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	if b.err == nil && b.whole {
		b.err = errors.New("write after Complete")
	}
	if b.err != nil {
		return 0, fmt.Errorf("replicate pack: %w", b.err)
	}
	if b.w == nil && int64(len(b.buf)+len(p)) <= b.r.o.InlineBytes {
		b.buf = append(b.buf, p...)
		return len(p), nil
	}
	if b.err = b.write(p); b.err != nil {
		return 0, fmt.Errorf("replicate pack: %w", b.err)
	}
	return len(p), nil
}

func (b *BigPack) write(p []byte) error {
	if b.w == nil {
		if err := b.spill(); err != nil {
			return err
		}
	}
	if err := b.r.room(); err != nil {
		return err
	}
	_, err := b.w.Write(p)
	return err
}

// spill begins the spool file with what was buffered, and the streams to the mirrors.
func (b *BigPack) spill() (err error) {
	if b.w, err = b.r.newPackWriter(); err != nil {
		return err
	}
	if err := b.r.stream(b.w.p); err != nil {
		return err
	}
	_, err = b.w.Write(b.buf)
	b.buf = nil
	return err
}

// room returns an error if the spool is over its bound and no backlog may be dropped.
func (r *Replicator) room() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full()
}

// stream starts an upload of p to every active mirror.
func (r *Replicator) stream(p *spoolPack) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.base == nil || r.ended || r.base.Err() != nil {
		return errors.New("the host is not replicating: it is starting or ending")
	}
	if err := r.expired(); err != nil {
		return err
	}
	for _, m := range r.active() {
		p.up[m] = upBusy
		r.wg.Go(func() { m.stream(r.base, p) })
	}
	return nil
}

// stream uploads p until that succeeds, p is gone, or it has a segment: from then on it is Ship's to upload.
func (m *Mirror) stream(ctx context.Context, p *spoolPack) {
	for {
		err := m.upload(ctx, p)
		if err == nil || errors.Is(err, errPackTaken) || errors.Is(err, errPackGone) || ctx.Err() != nil {
			return
		}
		m.r.pause(ctx, m.backoff())
		m.r.mu.Lock()
		again := p.state != packGone && p.refs == 0 && p.up[m] == upIdle
		if again {
			p.up[m] = upBusy
		}
		m.r.mu.Unlock()
		if !again {
			return
		}
	}
}

// Complete ends the pack and waits until enough mirrors hold it. It returns the record for Txn.SetExternal, nil for a pack
// that goes into a segment. The slower mirrors go on by themselves.
func (b *BigPack) Complete(ctx context.Context) (external []byte, err error) {
	switch {
	case b.err != nil:
		return nil, fmt.Errorf("replicate pack: %w", b.err)
	case b.over || b.whole:
		return nil, errors.New("replicate pack: Complete was called twice or after Abort")
	case b.w == nil:
		b.whole, b.buf = true, nil
		return nil, nil
	}
	b.whole = true
	if b.object, b.err = b.w.finish(); b.err == nil {
		b.err = b.r.waitPack(ctx, b.w.p)
	}
	if b.err != nil {
		return nil, fmt.Errorf("replicate pack: %w", b.err)
	}
	return b.object.record(), nil
}

// waitPack waits until enough mirrors hold p. It gives up when too few are left that could, or none makes progress.
func (r *Replicator) waitPack(ctx context.Context, p *spoolPack) error {
	stall := time.NewTicker(r.o.StallTimeout)
	defer stall.Stop()
	moved := int64(-1)
	for {
		r.mu.Lock()
		done, hope := 0, 0
		for _, m := range r.mirrors {
			switch {
			case p.up[m] == upDone:
				done++
			case p.up[m] != upTaken && m.available():
				hope++
			}
		}
		changed, now, base := r.changed, p.moved, r.base
		r.mu.Unlock()
		if done >= r.o.Acks {
			return nil
		}
		if done+hope < r.o.Acks {
			return fmt.Errorf("%w: it is on %d, and %d are needed", ErrTooFewMirrors, done, r.o.Acks)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-base.Done():
			return errors.New("the host is ending")
		case <-stall.C:
			if now == moved {
				return fmt.Errorf("%w: it is on %d, and nothing has moved for %s", ErrTooFewMirrors, done, r.o.StallTimeout)
			}
			moved = now
		}
	}
}

// Abort ends what is under way and removes the pack from the spool; what mirrors have taken stays there, unnamed. It is a
// no-op if the journal names the pack, so that it can be deferred.
func (b *BigPack) Abort() {
	if b.over {
		return
	}
	b.over, b.buf = true, nil
	if b.w == nil {
		return
	}
	if b.object.Size > 0 && b.r.committed(b.w.p, b.object) {
		return
	}
	b.w.drop()
}

// committed reports whether an entry names the pack by this object. If that cannot be known, it may.
func (r *Replicator) committed(p *spoolPack, o PackObject) bool {
	r.mu.Lock()
	refs, id := p.refs, p.pack
	r.mu.Unlock()
	if refs > 0 || id == (storage.PackID{}) {
		return refs > 0
	}
	record, err := r.journal.External(id)
	if err != nil {
		return true
	}
	if record == nil {
		return false
	}
	named, err := ParsePackObject(record)
	return err != nil || named == o
}
