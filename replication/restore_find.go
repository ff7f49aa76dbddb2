package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// mirrorSet is the mirrors that a restore reads, and what it takes to judge what they hold. Its methods may be called
// from many goroutines once roots is filled.
type mirrorSet struct {
	kit   *Kit
	o     RestoreOptions
	all   []*source
	roots Roots
}

// source is one mirror.
type source struct {
	name   string
	bucket Bucket

	mu     sync.Mutex // guards the fields below
	rep    MirrorReport
	failed int   // reads in a row that failed
	down   error // why the mirror is not asked any more
}

// maxFailures is how many reads in a row may fail, each after all its attempts, before a mirror is given up.
const maxFailures = 3

func newMirrorSet(from []Source, kit *Kit, o RestoreOptions) *mirrorSet {
	ms := &mirrorSet{kit: kit, o: o, roots: make(Roots)}
	for _, f := range from {
		ms.all = append(ms.all, &source{name: f.Name, bucket: f.Bucket, rep: MirrorReport{Name: f.Name}})
	}
	return ms
}

func (ms *mirrorSet) reports() []MirrorReport {
	reports := make([]MirrorReport, len(ms.all))
	for i, s := range ms.all {
		reports[i] = s.report()
	}
	return reports
}

func (s *source) report() MirrorReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rep
}

func (s *source) count(fn func(*MirrorReport)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.rep)
}

// giveUp stops asking the mirror.
func (s *source) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = err
		s.rep.Err = err.Error()
	}
}

func (s *source) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down != nil
}

// outcome notes whether a read worked. A mirror that denies access, or fails again and again, is given up.
func (s *source) outcome(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return // we stopped it, or ran out of time ourselves
	}
	s.mu.Lock()
	if err == nil {
		s.failed = 0
	} else {
		s.failed++
	}
	enough := s.failed >= maxFailures || errors.Is(err, ErrDenied)
	s.mu.Unlock()
	if enough {
		s.giveUp(err)
	}
}

// allDown returns an error if no mirror is left to ask.
func (ms *mirrorSet) allDown() error {
	var errs []error
	for _, s := range ms.all {
		if !s.isDown() {
			return nil
		}
		errs = append(errs, fmt.Errorf("mirror %s: %s", s.name, s.report().Err))
	}
	return fmt.Errorf("no mirror can be read any more; run the same command again, it goes on from here: %w", errors.Join(errs...))
}

// retry calls fn until it succeeds, fails for a reason that stays, or has failed Attempts times.
func (ms *mirrorSet) retry(ctx context.Context, fn func() error) error {
	return ms.retryUnless(ctx, []error{ErrNotFound, ErrDenied, ErrUnsupported}, fn)
}

// retryUnless is retry, given the reasons that stay.
func (ms *mirrorSet) retryUnless(ctx context.Context, final []error, fn func() error) error {
	pause := ms.o.Backoff
	for try := 1; ; try++ {
		err := fn()
		stays := slices.ContainsFunc(final, func(reason error) bool { return errors.Is(err, reason) })
		if err == nil || stays || try >= ms.o.Attempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// versions returns the versions of a key, oldest first.
func (ms *mirrorSet) versions(ctx context.Context, s *source, key string) (versions []Object, err error) {
	err = ms.retry(ctx, func() error {
		versions, err = s.bucket.Versions(ctx, key)
		if errors.Is(err, ErrNotFound) {
			versions, err = nil, nil
		}
		return err
	})
	return versions, err
}

// candidate is a segment with a valid signature on one mirror.
type candidate struct {
	src      *source
	version  Version
	modified time.Time
	header   Header
}

// finding is what all mirrors together hold at one number of the log.
type finding struct {
	number uint64
	found  []candidate
	faults []fault   // versions that are no such segment, and reads that failed
	lack   []*source // mirrors without a valid segment there, for certain
	unread error     // why a mirror could not tell; nil if all did
	closed *Closed   // a valid closed object

	// body is the only segment found, if it was fetched, and spoiled the copies of it that were bad.
	body    *body
	spoiled []fault
}

// fault is something bad at one number on one mirror.
type fault struct {
	src *source
	err error
}

// survey asks all mirrors for one number of the log.
func (ms *mirrorSet) survey(ctx context.Context, e epoch, number uint64) (*finding, error) {
	f, err := ms.ask(ctx, e, number, ms.o.MaxVersions)
	if err != nil || len(f.found) > 0 || !f.moreVersions() {
		return f, err
	}
	// Behind that much junk there may be the only copy.
	return ms.ask(ctx, e, number, 0)
}

var errMoreVersions = errors.New("more versions than were looked at")

func (f *finding) moreVersions() bool {
	return slices.ContainsFunc(f.faults, func(x fault) bool { return errors.Is(x.err, errMoreVersions) })
}

// ask looks at up to max versions on each mirror, all of them if max is 0.
func (ms *mirrorSet) ask(ctx context.Context, e epoch, number uint64, max int) (*finding, error) {
	key := SegmentKey(ms.kit.Instance(), e.generation, e.number, number)
	parts := make([]finding, len(ms.all))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range ms.all {
		g.Go(func() error {
			ms.askOne(gctx, s, key, max, &parts[i])
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	f := &finding{number: number}
	for _, p := range parts {
		f.found = append(f.found, p.found...)
		f.faults = append(f.faults, p.faults...)
		f.lack = append(f.lack, p.lack...)
		f.unread = errors.Join(f.unread, p.unread)
		if p.closed != nil {
			f.closed = p.closed
		}
	}
	return f, nil
}

// askOne fills f with what one mirror holds under the key.
func (ms *mirrorSet) askOne(ctx context.Context, s *source, key string, max int, f *finding) {
	if s.isDown() {
		return
	}
	versions, err := ms.versions(ctx, s, key)
	s.outcome(ctx, err)
	if err != nil {
		f.unread = fmt.Errorf("mirror %s: %w", s.name, err)
		return
	}
	unread := false
	for i, v := range versions {
		if max > 0 && i >= max {
			f.faults = append(f.faults, fault{s, fmt.Errorf("%w: %d", errMoreVersions, len(versions)-i)})
			break
		}
		if v.Deleted {
			f.faults = append(f.faults, fault{s, errMarker})
			continue
		}
		h, err := ms.readHeader(ctx, s, key, v.Version)
		var closed *ClosedError
		switch {
		case err == nil:
			f.found = append(f.found, candidate{src: s, version: v.Version, modified: v.Modified, header: h})
		case errors.As(err, &closed):
			f.closed = &closed.Closed
		case isTransport(err):
			unread = true
			f.unread = fmt.Errorf("mirror %s: %w", s.name, err)
		default:
			f.faults = append(f.faults, fault{s, err})
		}
	}
	if len(f.found) == 0 && !unread && f.closed == nil {
		f.lack = append(f.lack, s)
	}
}

// errMarker stands for a delete marker, which hides what is below it from plain reads and from nothing here.
var errMarker = errors.New("delete marker")

// readHeader returns the header of one version if it is a segment of that key with a valid signature.
func (ms *mirrorSet) readHeader(ctx context.Context, s *source, key string, v Version) (h Header, err error) {
	err = ms.retry(ctx, func() error {
		body, err := ms.get(ctx, s, key, v)
		if err != nil {
			return err
		}
		defer body.Close()
		sr, err := OpenSegment(body, ms.roots)
		if err == nil {
			if h = sr.Header(); h.Key() != key {
				return fmt.Errorf("it is the segment of %s", h.Key())
			}
			return nil
		}
		var closed *ClosedError
		if errors.As(err, &closed) && closed.Closed.Key() != key {
			return fmt.Errorf("it closes %s", closed.Closed.Key())
		}
		return body.blame(err)
	})
	s.outcome(ctx, transportOnly(err))
	return h, err
}

// transportError marks a read that failed on the way, as opposed to bytes that are wrong.
type transportError struct{ err error }

func (e *transportError) Error() string { return e.err.Error() }
func (e *transportError) Unwrap() error { return e.err }

func isTransport(err error) bool {
	var t *transportError
	return errors.As(err, &t)
}

func transportOnly(err error) error {
	if isTransport(err) {
		return err
	}
	return nil
}

// stream is an open object that remembers whether reading it failed on the way.
type stream struct {
	io.ReadCloser
	err error
}

// get opens one version.
func (ms *mirrorSet) get(ctx context.Context, s *source, key string, v Version) (*stream, error) {
	body, err := s.bucket.Get(ctx, key, v)
	if errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, &transportError{err}
	}
	return &stream{ReadCloser: body}, nil
}

// Read implements io.Reader.
func (b *stream) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// blame returns err, as a transportError if the stream broke: what follows from a broken stream proves nothing.
func (b *stream) blame(err error) error {
	if err != nil && b.err != nil {
		return &transportError{err}
	}
	return err
}

// groups sorts the candidates by what they carry: a range that was sealed again is the same segment.
func groups(found []candidate) [][]candidate {
	var out [][]candidate
next:
	for _, c := range found {
		for i, g := range out {
			h := g[0].header
			if h.First == c.header.First && h.Last == c.header.Last && h.Prev == c.header.Prev && h.Head == c.header.Head {
				out[i] = append(g, c)
				continue next
			}
		}
		out = append(out, []candidate{c})
	}
	return out
}

// receptions lists when each mirror received the first of the candidates, earliest first.
func receptions(cs []candidate) []Reception {
	first := make(map[string]time.Time)
	for _, c := range cs {
		if t, ok := first[c.src.name]; !ok || c.modified.Before(t) {
			first[c.src.name] = c.modified
		}
	}
	var out []Reception
	for name, t := range first {
		out = append(out, Reception{Mirror: name, Time: t})
	}
	slices.SortFunc(out, func(a, b Reception) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		if a.Mirror < b.Mirror {
			return -1
		}
		return 1
	})
	return out
}
