package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/storage"
)

// sealLoop seals whatever is due until ctx ends. What comes while a segment is being sealed goes into the next.
func (r *Replicator) sealLoop(ctx context.Context) {
	for fails := 0; ctx.Err() == nil; {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		s, err := r.Seal(ctx)
		switch {
		case err != nil:
			fails++
			r.sealFailed(err, fails)
			r.pause(ctx, r.backoff(fails))
		case s != nil:
			fails = 0
		default:
			fails = 0
			r.await(ctx, changed, r.untilRefresh())
		}
	}
}

// await waits for a change, for entries to draft a segment of, for the end of ctx, or for d if that is positive.
func (r *Replicator) await(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case u := <-r.foretold:
		r.prepare(u)
	case <-ctx.Done():
	case <-timer:
	}
}

// sealFailed tells those who wait, and the log once.
func (r *Replicator) sealFailed(err error, fails int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealErr = err
	r.notified = true
	if fails == 1 {
		r.o.Log.Error("cannot seal: pushes are not acknowledged until this is mended", "err", err)
	}
	r.broadcast()
}

// Seal writes one segment to the spool, durably, with the entries that are due first. It returns nil if none are due.
func (r *Replicator) Seal(ctx context.Context) (*Segment, error) {
	r.sealMu.Lock()
	defer r.sealMu.Unlock()
	if err := r.readHead(); err != nil {
		return nil, err
	}
	due, number, ok := r.due()
	if !ok {
		due, number, ok = r.refresh()
	}
	if !ok {
		return nil, nil
	}
	s, err := r.drafted(due, number)
	if err != nil {
		return nil, err
	}
	if s == nil {
		c, err := r.contents(ctx, due)
		if err != nil {
			return nil, fmt.Errorf("seal entries from %d: %w", due.First, err)
		}
		if s, err = r.spool.draft(r.header(number), c, r.keys); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSpool, err)
		}
	}
	if err := r.spool.adopt(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	r.publish(s)
	return s, nil
}

// header is that of a new segment, but for what its contents say.
func (r *Replicator) header(number uint64) Header {
	return Header{Instance: r.root.Instance, Generation: r.root.Generation, Epoch: r.root.Epoch, Number: number}
}

func (r *Replicator) readHead() error {
	r.mu.Lock()
	ask := r.notified
	r.notified = false
	r.mu.Unlock()
	if !ask {
		return nil
	}
	head, _, err := r.journal.Head()
	if err != nil {
		return fmt.Errorf("read the journal's head: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = head
	return nil
}

// due returns the first entries that some active mirror lacks and that no segment carries which it has still to ship. With
// no mirror active, those that were never sealed.
func (r *Replicator) due() (due span, number uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number = r.number + 1
	due, ok = span{First: r.sealed + 1, Last: r.head}, r.sealed < r.head
	for _, m := range r.active() {
		if gap, lacks := m.plan.missing(r.head); lacks && (!ok || gap.First < due.First) {
			due, ok = gap, true
		}
	}
	return due, number, ok
}

// refresh returns an entry to ship again where an idle host's last ack grows old: if it can, one of the first that names no
// pack, since packs may have been merged since.
func (r *Replicator) refresh() (again span, number uint64, ok bool) {
	r.mu.Lock()
	ok, again, number = r.refreshDue(), span{First: r.head, Last: r.head}, r.number+1
	r.mu.Unlock()
	if !ok {
		return again, number, false
	}
	entries, err := r.journal.Entries(0, MaxSegmentEntries)
	if err != nil {
		return again, number, true // reading it will fail again, and say so
	}
	for _, e := range entries {
		if len(e.Packs) == 0 {
			return span{First: e.Seq, Last: e.Seq}, number, true
		}
	}
	return again, number, true
}

// refreshDue reports whether an idle host should ship some entry again, so that its last ack does not grow as old as
// the locks; r.mu is held.
func (r *Replicator) refreshDue() bool {
	last := r.lastAck()
	if r.o.LockAge <= 0 || r.head == 0 || last.IsZero() || r.expired() != nil || r.o.Now().Sub(last) < r.o.LockAge/2 {
		return false
	}
	for _, m := range r.active() {
		if m.cur.Number < r.number {
			return false
		}
	}
	return true
}

// untilRefresh is how long an idle host may wait before it asks again; 0 for ever.
func (r *Replicator) untilRefresh() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.lastAck()
	if r.o.LockAge <= 0 || r.head == 0 || last.IsZero() || r.expired() != nil {
		return 0
	}
	return max(r.o.LockAge/2-r.o.Now().Sub(last), r.o.LockAge/64)
}

// contents reads the entries of due, as many as fit a segment, and finds a place for their packs.
func (r *Replicator) contents(ctx context.Context, due span) (Contents, error) {
	c := Contents{Outside: map[storage.PackID]PackObject{}, OpenPack: r.journal.OpenPack}
	entries, err := r.journal.Entries(due.First-1, MaxSegmentEntries)
	if err != nil {
		return c, err
	}
	size := int64(0)
	seen := map[storage.PackID]bool{}
	for _, e := range entries {
		if e.Seq > due.Last {
			break
		}
		line, err := e.Encode()
		if err != nil {
			return c, err
		}
		size += int64(len(line)) + 1
		for _, p := range distinctPacks([]storage.Entry{e}) {
			if seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			o, outside, err := r.locate(ctx, p)
			if err != nil {
				return c, fmt.Errorf("pack %s: %w", p.ID, err)
			}
			if outside {
				c.Outside[p.ID] = o
			} else {
				size += p.Size
			}
		}
		if len(c.Entries) > 0 && (size > maxGroupBytes || len(c.Outside) > MaxSegmentPackRefs) {
			break
		}
		c.Entries = append(c.Entries, e)
	}
	if len(c.Entries) == 0 {
		return c, errors.New("the journal does not hold it")
	}
	return c, nil
}

// publish hands a sealed segment to the mirrors.
func (r *Replicator) publish(s *Segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(s)
	for _, o := range s.Header.Packs {
		if p := r.packs[o.ID]; p != nil {
			p.refs++
		}
	}
	for _, m := range r.mirrors {
		m.plan = m.plan.add(s.Header.First, s.Header.Last)
	}
	if r.sealErr != nil {
		r.o.Log.Info("sealing works again")
		r.sealErr = nil
	}
	r.soil()
	r.broadcast()
}
