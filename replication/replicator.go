package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

// Causes that a Replicator reports, wrapped in its errors.
var (
	// ErrNotAcked: the entry is stored on the host, but not enough mirrors acknowledged it in time. The host keeps trying.
	ErrNotAcked = errors.New("not yet on enough mirrors")
	// ErrTooFewMirrors: a push cannot be acknowledged now, so that nothing should be stored.
	ErrTooFewMirrors = errors.New("too few mirrors")
	// ErrSpool: the spool is full or cannot be written.
	ErrSpool = errors.New("the spool cannot take more")
)

// Journal is what a Replicator reads of a store; *storage.Store fits. It is safe for concurrent use.
type Journal interface {
	// Entries returns entries after `after` in order, at most max and about 16 MiB of them.
	Entries(after storage.Seq, max int) ([]storage.Entry, error)
	// Head returns the last entry's number and hash; zeros in an empty journal.
	Head() (storage.Seq, storage.Hash, error)
	// OpenPack opens a pack exactly as it was received.
	OpenPack(id storage.PackID) (io.ReadCloser, error)
	// External returns what Txn.SetExternal stored with a pack, nil if nothing.
	External(id storage.PackID) ([]byte, error)
	// Fact returns a value, nil if it is unset. SetFact is durable on return. A Hint may be lost.
	Fact(name string) ([]byte, error)
	SetFact(name string, value []byte) error
	Hint(name string, value []byte)
	// State says whose journal it is, and whether it may be shipped.
	State() (storage.State, error)
}

// Defaults of Options.
const (
	DefaultAcks           = 2
	DefaultAckTimeout     = 30 * time.Second
	DefaultUnreachable    = 60 * time.Second
	DefaultAttemptTimeout = 60 * time.Second
	DefaultStallTimeout   = 2 * time.Minute
	DefaultGrace          = 5 * time.Second
	DefaultBackoffMin     = 250 * time.Millisecond
	DefaultBackoffMax     = 15 * time.Second
	DefaultCursorInterval = 5 * time.Second
	// DefaultSpoolShare is the part of the file system, as it is at start, that the spool may fill: one in so many bytes.
	DefaultSpoolShare = 5
	// DefaultMinFree is room for the largest segment, which is sealed by way of a temporary file as large as itself, and for
	// what pushes that are under way at the same time write besides.
	DefaultMinFree = 2*maxGroupBytes + 96<<20
)

// Window is how many numbers a writer goes past its last clean success on a mirror. Takeover and the opening of a
// generation close as many numbers of the log that they end.
const Window = 64

// maxGroupBytes bounds the entries and inline packs of one segment, unless it carries one entry only.
const maxGroupBytes = 16 << 20

// slowestBytes is the throughput in bytes a second below which an attempt may run out of time.
const slowestBytes = 32 << 10

// Options configure a Replicator. Dir, Root, RootKey and Signer are needed; the zero value of all others works.
type Options struct {
	Dir     string        // the spool; made if need be
	Root    []byte        // the signed root record of the epoch
	RootKey note.Verifier // the kit's root key, which verifies it
	Signer  note.Signer   // the journal key that the root record names

	Acks       int           // mirrors that must hold a push; default DefaultAcks, or all mirrors if they are fewer
	AckTimeout time.Duration // how long Wait waits; default DefaultAckTimeout
	// SpoolBytes bounds the spool; default the DefaultSpoolShare-th part of its file system. Past it, backlogs of lagging
	// mirrors are dropped as long as enough others are left, and then pushes are refused.
	SpoolBytes int64
	// MinFree is how many bytes must be free on the spool's file system for a push to be taken: one that was committed and
	// cannot be sealed stands on this host alone. Default DefaultMinFree.
	MinFree int64
	// InlineBytes is the size over which a pack is put outside of the segments; default and most MaxInlinePackBytes.
	InlineBytes int64
	// LockAge is the shortest Object Lock of the mirrors. A host whose last ack is older ships nothing until a takeover,
	// because by then its objects could be deleted and written anew. An idle host ships an entry again after half of
	// it. 0: not known, no limit.
	LockAge time.Duration

	Unreachable    time.Duration // of failures, after which Ready does not count a mirror any more
	AttemptTimeout time.Duration // of one put, plus a second for each 32 KiB
	StallTimeout   time.Duration // without progress of a big pack's upload
	Grace          time.Duration // that a put under way gets when Run is to end
	BackoffMin     time.Duration // between failed attempts: doubled up to BackoffMax, with jitter
	BackoffMax     time.Duration
	CursorInterval time.Duration // at most how old the cursors on disk are while a host is at work

	Log    *slog.Logger     // default: nothing is logged
	Now    func() time.Time // default time.Now
	Jitter func() float64   // in [0,1); default math/rand/v2
	// Free returns how many bytes this process may still write on the file system of dir; by default it asks the system.
	Free func(dir string) (int64, error)
}

func (o Options) withDefaults(mirrors int) Options {
	setDefault(&o.Acks, min(DefaultAcks, mirrors))
	setDefault(&o.AckTimeout, DefaultAckTimeout)
	setDefault(&o.Unreachable, DefaultUnreachable)
	setDefault(&o.AttemptTimeout, DefaultAttemptTimeout)
	setDefault(&o.StallTimeout, DefaultStallTimeout)
	setDefault(&o.Grace, DefaultGrace)
	setDefault(&o.BackoffMin, DefaultBackoffMin)
	setDefault(&o.BackoffMax, DefaultBackoffMax)
	setDefault(&o.CursorInterval, DefaultCursorInterval)
	if o.InlineBytes <= 0 || o.InlineBytes > MaxInlinePackBytes {
		o.InlineBytes = MaxInlinePackBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Free == nil {
		o.Free = freeBytes
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Replicator seals a journal's entries into segments and keeps mirrors up to date. It is safe for concurrent use. Nothing
// moves before Run.
type Replicator struct {
	journal Journal
	o       Options
	mirrors []*Mirror
	root    Root
	ref     RootRef
	keys    SealKeys
	spool   spool

	foretold chan *storage.Upcoming // to the goroutine that seals, if it is at leisure

	sealMu sync.Mutex     // held by Seal: one segment at a time
	early  *Segment       // a draft of what the journal did not hold yet; guarded by sealMu
	saveMu sync.Mutex     // held by save: cursors reach the disk in order
	wg     sync.WaitGroup // streams of big packs; added to under mu while Run runs

	mu       sync.Mutex      // guards all below, and the fields of mirrors and spoolPacks that say so
	base     context.Context // of Run; nil before
	ended    bool            // Run takes no more streams
	changed  chan struct{}   // closed and replaced by broadcast
	segments map[uint64]*Segment
	number   uint64 // highest number ever given to a segment
	sealed   storage.Seq
	head     storage.Seq // of the journal, as last seen
	notified bool        // the journal may have grown since
	bytes    int64       // in the spool
	sealErr  error       // why the last attempt to seal failed
	dirty    bool        // cursors differ from those on disk
	dirtyAt  time.Time   // since when
	packs    map[PackKeyID]*spoolPack
	bad      map[PackKeyID]bool            // pack objects that some mirror may hold damaged: not to be named again
	replaced map[storage.PackID]PackObject // what is named in their stead
}

// New opens the spool in o.Dir and resumes where the cursors in j and the spool say. The mirrors belong to the Replicator
// from then on.
func New(j Journal, mirrors []*Mirror, o Options) (*Replicator, error) {
	if len(mirrors) == 0 {
		return nil, errors.New("replication: no mirrors are configured")
	}
	r := &Replicator{
		journal: j, o: o.withDefaults(len(mirrors)), mirrors: mirrors, changed: make(chan struct{}), notified: true, foretold: make(chan *storage.Upcoming),
		segments: map[uint64]*Segment{}, packs: map[PackKeyID]*spoolPack{}, bad: map[PackKeyID]bool{}, replaced: map[storage.PackID]PackObject{},
	}
	names := map[string]bool{}
	for _, m := range mirrors {
		if names[m.name] {
			return nil, fmt.Errorf("replication: two mirrors are called %s", m.name)
		}
		names[m.name] = true
	}
	if r.o.Acks < 1 || r.o.Acks > len(mirrors) {
		return nil, fmt.Errorf("replication: %d acks needed of %d mirrors", r.o.Acks, len(mirrors))
	}
	for _, step := range []func() error{r.openRoot, r.checkJournal, r.openSpool, r.readHead, r.resume, r.save} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("replication: %w", err)
		}
	}
	r.warn()
	return r, nil
}

// Run seals and ships until ctx ends; then puts under way get Options.Grace to end, and the cursors are saved. It returns
// nil unless that fails. It must be called once only.
func (r *Replicator) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.base != nil {
		r.mu.Unlock()
		return errors.New("replication: Run was called twice")
	}
	r.base = ctx
	r.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(func() { r.sealLoop(ctx) })
	wg.Go(func() { r.keepLoop(ctx) })
	for _, m := range r.mirrors {
		wg.Go(func() { m.run(ctx) })
	}
	wg.Wait()
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.wg.Wait()
	if err := r.save(); err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	r.prune()
	return nil
}

// Notify tells that the journal has grown.
func (r *Replicator) Notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notified = true
	r.broadcast()
}

// broadcast wakes all who wait for a change; r.mu is held.
func (r *Replicator) broadcast() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// touch marks the cursors as changed and lets them ride the next commit; r.mu is held.
func (r *Replicator) touch() {
	r.soil()
	r.journal.Hint(cursorsFact, r.cursors().encode())
	r.broadcast()
}

// soil notes that the cursors differ from those on disk, and since when: a push after a pause must not make them be saved
// while it waits for its acks; r.mu is held.
func (r *Replicator) soil() {
	if !r.dirty {
		r.dirty, r.dirtyAt = true, r.o.Now()
	}
}

// cursors returns a copy of all cursors; r.mu is held.
func (r *Replicator) cursors() cursors {
	c := cursors{
		Instance: r.root.Instance, Generation: r.root.Generation, Epoch: r.root.Epoch,
		Number: r.number, Mirrors: make(map[string]cursor, len(r.mirrors)),
	}
	for _, m := range r.mirrors {
		c.Mirrors[m.name] = m.cur.clone()
	}
	return c
}

// save writes the cursors durably. What it wrote is what prune goes by.
func (r *Replicator) save() error {
	r.saveMu.Lock()
	defer r.saveMu.Unlock()
	r.mu.Lock()
	c := r.cursors()
	r.dirty = false
	r.mu.Unlock()

	err := r.journal.SetFact(cursorsFact, c.encode())

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.soil()
		return fmt.Errorf("save mirror cursors: %w", err)
	}
	for _, m := range r.mirrors {
		m.saved = c.Mirrors[m.name]
	}
	r.broadcast()
	return nil
}

// active are the mirrors that can still get everything by shipping; r.mu is held.
func (r *Replicator) active() []*Mirror {
	return slices.DeleteFunc(slices.Clone(r.mirrors), func(m *Mirror) bool { return m.stop != nil || m.cur.Heal != "" })
}

// settled is the last entry that all active mirrors hold; r.mu is held, or nobody else has r.
func (r *Replicator) settled() storage.Seq {
	seq := r.sealed
	for _, m := range r.active() {
		seq = min(seq, m.cur.Have.through())
	}
	return seq
}

// Settled returns the last entry that every mirror holds which can still get it by shipping. The packs of later entries
// may have to be sealed again: they must stay as they were received.
func (r *Replicator) Settled() storage.Seq {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settled()
}

// Acked returns the last entry that at least Options.Acks mirrors acknowledged, with all before it and their packs.
func (r *Replicator) Acked() storage.Seq {
	r.mu.Lock()
	defer r.mu.Unlock()
	var acked []storage.Seq
	for _, m := range r.mirrors {
		acked = append(acked, m.cur.Have.through())
	}
	slices.Sort(acked)
	return acked[len(acked)-r.o.Acks]
}

// lastAck is when any mirror last acknowledged anything; r.mu is held.
func (r *Replicator) lastAck() (t time.Time) {
	for _, m := range r.mirrors {
		if m.cur.LastAck.After(t) {
			t = m.cur.LastAck
		}
	}
	return t
}

// expired returns why the host must not ship, nil if it may; r.mu is held, or nobody else has r.
func (r *Replicator) expired() error {
	last := r.lastAck()
	if r.o.LockAge <= 0 || last.IsZero() || r.o.Now().Sub(last) <= r.o.LockAge {
		return nil
	}
	return fmt.Errorf("the last ack is of %s, longer ago than the mirrors lock objects (%s): run holdfast takeover",
		last.UTC().Format(time.RFC3339), r.o.LockAge)
}
