package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// MirrorOptions say how a mirror's bucket behaves, as its probe found.
type MirrorOptions struct {
	// Conditional: the bucket enforces If-None-Match.
	Conditional bool
	// Idempotent: it answers success to a put of the bytes that it has already, so that a refusal is always foreign.
	Idempotent bool
}

// Mirror ships segments to one bucket. It belongs to a Replicator.
type Mirror struct {
	name   string
	bucket Bucket
	o      MirrorOptions
	r      *Replicator

	// The fields below are guarded by r.mu.
	cur    cursor
	saved  cursor // as on disk
	plan   spans  // what it has, or will have once it has all segments in the spool
	rooted bool   // the root record was put since the start
	// unsure is the number of the segment of which an attempt had an unknown outcome.
	unsure uint64
	stop   *stopRecord
	fails  int // failed attempts since the last success
	since  time.Time
	err    error // the last failure

	stopSaved bool
}

// NewMirror returns a Mirror for New. The name stands in status, receipts and logs; it is unique in a host.
func NewMirror(name string, b Bucket, o MirrorOptions) *Mirror {
	return &Mirror{name: name, bucket: b, o: o}
}

// Name returns the mirror's name.
func (m *Mirror) Name() string { return m.name }

var (
	// errPackTaken: the mirror refused a pack object because its random key is taken. What lies there is unknown.
	errPackTaken = errors.New("the pack's key is taken by what an attempt with an unknown outcome left")
	errPackGone  = errors.New("the pack is not in the spool any more")
)

// resume takes up the mirror's cursor. A mirror that lacks segments which the spool does not hold needs heal.
func (m *Mirror) resume(r *Replicator, c cursors, stops map[string]stopRecord) {
	m.r = r
	cur, known := c.Mirrors[m.name]
	if !known {
		cur = startCursor(r.root, time.Time{})
		if len(c.Mirrors) > 0 && (c.Number > 0 || r.root.after() > 0) {
			cur = cursor{Heal: "it is new"}
		}
	}
	if cur.Heal == "" && cur.Number < r.number && r.segments[cur.Number+1] == nil {
		cur.Heal = fmt.Sprintf("the spool does not hold segment %d", cur.Number+1)
	}
	m.cur, m.saved = cur, cur.clone()
	if s, ok := stops[m.name]; ok {
		m.stop, m.stopSaved = &s, true
	}
	m.replan()
}

// replan recomputes what the mirror will have; r.mu is held, or nobody else has r.
func (m *Mirror) replan() {
	m.plan = slices.Clone(m.cur.Have)
	for _, n := range m.r.spooled() {
		if n > m.cur.Number {
			m.plan = m.plan.add(m.r.segments[n].Header.First, m.r.segments[n].Header.Last)
		}
	}
}

// run ships until ctx ends. It is the only caller of Ship for this mirror.
func (m *Mirror) run(ctx context.Context) {
	for ctx.Err() == nil {
		act, changed := m.next()
		if act == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if err := act(ctx); err != nil && ctx.Err() == nil {
			m.r.pause(ctx, m.backoff())
		}
	}
}

// next decides what to do now; nil: wait for a change.
func (m *Mirror) next() (act func(context.Context) error, changed <-chan struct{}) {
	r := m.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case m.stop != nil && !m.stopSaved:
		return m.saveStop, r.changed
	case m.stop != nil || r.expired() != nil:
		return nil, r.changed
	case !m.rooted:
		return m.putRoot, r.changed
	case m.cur.Heal != "":
		return nil, r.changed
	}
	s := r.segments[m.cur.Number+1]
	switch {
	case s == nil && m.cur.Number < r.number:
		missing := m.cur.Number + 1
		return func(context.Context) error {
			m.needHeal(fmt.Sprintf("the spool does not hold segment %d", missing))
			return nil
		}, r.changed
	case s == nil && m.fails > 0:
		return m.putRoot, r.changed // something that may be put at any time, to learn when the mirror is back
	case s == nil:
		return nil, r.changed
	case s.Header.Number > m.cur.Clean+Window:
		m.halt(s.Header.Number, fmt.Sprintf("its last clean success is segment %d, and all keys behind it are taken: "+
			"this host may be an old copy", m.cur.Clean))
		return m.saveStop, r.changed
	case s.Header.Number > m.saved.Clean+Window/2 && m.saved.Clean < m.cur.Clean:
		// A restart that forgot more clean successes than this could run into the window on its own segments.
		return func(context.Context) error { return r.save() }, r.changed
	}
	return func(ctx context.Context) error { return m.Ship(ctx, s) }, r.changed
}

// halt stops the mirror for good; r.mu is held. The caller must see to saveStop before anything else.
func (m *Mirror) halt(number uint64, reason string) {
	m.stop = &stopRecord{
		Mirror: m.name, Generation: m.r.root.Generation, Epoch: m.r.root.Epoch,
		Number: number, Time: m.r.o.Now().UTC(), Reason: reason,
	}
}

// saveStop makes the stop survive restarts, and then tells of it.
func (m *Mirror) saveStop(context.Context) error {
	m.r.mu.Lock()
	record := *m.stop
	m.r.mu.Unlock()
	if err := m.r.spool.writeStop(record); err != nil {
		m.failed(fmt.Errorf("record that the mirror is stopped: %w", err))
		return err
	}
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.stopSaved = true
	m.r.broadcast()
	m.r.o.Log.Error("ALARM: mirror is stopped: "+record.Reason, "mirror", m.name, "segment", record.Number)
	return nil
}

// putRoot puts the root record. Its key names its bytes, so that a taken key is as good as a success.
func (m *Mirror) putRoot(ctx context.Context) error {
	ctx, cancel := m.r.attempt(ctx, int64(len(m.r.o.Root)))
	defer cancel()
	err := m.bucket.Put(ctx, RootKey(m.r.root.Instance, m.r.ref), bytes.NewReader(m.r.o.Root), int64(len(m.r.o.Root)))
	if err != nil && !errors.Is(err, ErrExists) {
		m.failed(fmt.Errorf("put root record: %w", err))
		return err
	}
	m.succeeded()
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.rooted = true
	return nil
}

// Ship makes one attempt to put the spooled bytes of s, after the packs that it names. Run calls it, in the order of
// numbers, one call at a time for each mirror. It returns nil when the mirror is done with the segment: with an ack, or
// because the key was taken, which either stops the mirror or leaves the entries to be sealed again.
func (m *Mirror) Ship(ctx context.Context, s *Segment) error {
	if s.found && !s.checked.Load() {
		if err := s.verify(); unopened(err) {
			m.failed(fmt.Errorf("%w: %w", errLocal, err))
			return err
		} else if err != nil {
			m.needHeal(err.Error())
			return nil
		}
		s.checked.Store(true)
	}
	whole := true
	for _, o := range s.Header.Packs {
		switch err := m.ensurePack(ctx, o); {
		case errors.Is(err, errPackTaken), errors.Is(err, errPackGone):
			m.r.condemn(o.ID)
			whole = false // the segment takes its number all the same: the log has no gaps
		case err != nil:
			return err
		}
	}
	return m.settle(s, whole, m.put(ctx, s))
}

func (m *Mirror) put(ctx context.Context, s *Segment) error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	defer f.Close()
	ctx, cancel := m.r.attempt(ctx, s.size)
	defer cancel()
	return m.bucket.Put(ctx, s.Header.Key(), f, s.size)
}

// errLocal marks errors before anything was sent.
var errLocal = errors.New("spool")

// settle decides what the outcome of a put means. whole: the mirror has all packs of the segment.
func (m *Mirror) settle(s *Segment, whole bool, err error) error {
	n := s.Header.Number
	switch {
	case err == nil:
		m.accepted(s, whole)
		return nil
	case errors.Is(err, ErrExists):
		return m.refused(s)
	}
	if !errors.Is(err, ErrDenied) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNotFound) && !errors.Is(err, errLocal) {
		m.r.mu.Lock()
		m.unsure = n
		m.r.mu.Unlock()
	}
	m.failed(fmt.Errorf("put segment %d: %w", n, err))
	return err
}

// accepted books a clean success.
func (m *Mirror) accepted(s *Segment, whole bool) {
	m.succeeded()
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.cur.Number, m.cur.Clean, m.cur.LastAck, m.unsure = s.Header.Number, s.Header.Number, m.r.o.Now().UTC(), 0
	if whole {
		m.cur.Have = m.cur.Have.add(s.Header.First, s.Header.Last)
	} else {
		m.replan()
	}
	m.r.touch()
}

// refused books that the key was taken. On the first attempt of a number in the life of its segment nobody but a foreign
// writer can have done that. Otherwise it may have been us, and what lies there is unknown: the entries are sealed again.
func (m *Mirror) refused(s *Segment) error {
	n := s.Header.Number
	m.r.mu.Lock()
	if m.o.Idempotent || !s.found && m.unsure != n {
		m.halt(n, fmt.Sprintf("somebody else wrote segment %d as this host: find out who, then run holdfast takeover", n))
		m.r.mu.Unlock()
		return m.saveStop(context.Background())
	}
	defer m.r.mu.Unlock()
	m.cur.Number, m.unsure = n, 0
	m.replan()
	m.r.touch()
	m.r.o.Log.Warn("segment was stored by an attempt without an answer: its entries go out again", "mirror", m.name, "segment", n)
	return nil
}

// needHeal stops shipping to a mirror because something that it lacks is gone from the spool.
func (m *Mirror) needHeal(reason string) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.cur.Heal = reason
	m.r.touch()
	m.r.o.Log.Error("mirror needs heal", "mirror", m.name, "reason", reason, "remedy", healRemedy)
}

// failed books a failed attempt and logs the first of a row.
func (m *Mirror) failed(err error) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if m.r.base != nil && m.r.base.Err() != nil {
		return // we gave up, not the mirror
	}
	m.fails++
	m.err = err
	if m.fails == 1 {
		m.since = m.r.o.Now()
		m.r.o.Log.Warn("mirror fails", "mirror", m.name, "err", err)
	}
	m.r.broadcast()
}

func (m *Mirror) succeeded() {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if m.fails > 0 {
		m.r.o.Log.Info("mirror works again", "mirror", m.name, "failed", m.r.o.Now().Sub(m.since).Round(time.Millisecond))
		m.r.broadcast()
	}
	m.fails, m.since, m.err = 0, time.Time{}, nil
}

func (m *Mirror) backoff() time.Duration {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	return m.r.backoff(m.fails)
}

// backoff is how long to wait after so many failures: doubled each time, up to the limit, and half of it random.
func (r *Replicator) backoff(fails int) time.Duration {
	d := r.o.BackoffMax
	if shift := max(fails, 1) - 1; shift < 16 {
		d = min(d, r.o.BackoffMin<<shift)
	}
	return d/2 + time.Duration(r.o.Jitter()*float64(d)/2)
}

// pause waits for d or the end of ctx.
func (r *Replicator) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// attempt returns the context of one put of size bytes. It outlives ctx by Options.Grace: a put that was cut off leaves
// its outcome unknown, and costs a segment.
func (r *Replicator) attempt(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	limit := r.o.AttemptTimeout + time.Duration(size/slowestBytes)*time.Second
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(r.o.Grace, cancel) })
	return out, func() { stop(); cancel() }
}

// Healed tells that the mirror holds, by copies from another, every key of the log up to at, and the entries and packs up
// to there. It ships on from the next number, which the spool must hold unless at is the last.
func (r *Replicator) Healed(mirror string, at Position) error {
	i := slices.IndexFunc(r.mirrors, func(m *Mirror) bool { return m.name == mirror })
	if i < 0 {
		return fmt.Errorf("heal %s: no such mirror", mirror)
	}
	if err := r.mirrors[i].healed(at); err != nil {
		return fmt.Errorf("heal %s: %w", mirror, err)
	}
	return r.save()
}

func (m *Mirror) healed(at Position) error {
	r := m.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case at.Generation != r.root.Generation || at.Epoch != r.root.Epoch:
		return fmt.Errorf("generation %d, epoch %d is not the present one", at.Generation, at.Epoch)
	case at.Number < m.cur.Number || at.Number > r.number || at.Last < m.cur.Have.through():
		return fmt.Errorf("segment %d is not ahead of segment %d, which it has", at.Number, m.cur.Number)
	case at.Number < r.number && r.segments[at.Number+1] == nil:
		return fmt.Errorf("the spool does not hold segment %d any more: copy that one too", at.Number+1)
	}
	m.cur.Number, m.cur.Clean, m.cur.Heal = at.Number, at.Number, ""
	m.cur.Have = m.cur.Have.add(1, at.Last)
	m.replan()
	r.touch()
	return nil
}
