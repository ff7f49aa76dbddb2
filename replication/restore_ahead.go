package replication

import (
	"context"
	"errors"
	"io"
	"os"

	"holdfast/storage"
)

// lookAhead surveys the numbers of a log some way ahead of their use, since a mirror answers slowly and not at once.
type lookAhead struct {
	ctx    context.Context
	cancel context.CancelFunc
	look   func(context.Context, uint64) (*finding, error)
	window int
	from   uint64
	queue  []chan looked // of consecutive numbers that end before from
}

type looked struct {
	f   *finding
	err error
}

func newLookAhead(ctx context.Context, from uint64, window int, look func(context.Context, uint64) (*finding, error)) *lookAhead {
	a := &lookAhead{look: look, window: window, from: from}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// next returns the finding of the next number.
func (a *lookAhead) next(ctx context.Context) (*finding, error) {
	for len(a.queue) < a.window {
		n, ch := a.from, make(chan looked, 1)
		go func() {
			f, err := a.look(a.ctx, n)
			ch <- looked{f, err}
		}()
		a.queue = append(a.queue, ch)
		a.from++
	}
	got := <-a.queue[0]
	a.queue = a.queue[1:]
	if err := ctx.Err(); err != nil {
		got.f.free()
		return nil, err
	}
	return got.f, got.err
}

// stop waits for what is under way and drops it.
func (a *lookAhead) stop() {
	a.cancel()
	for _, ch := range a.queue {
		got := <-ch
		got.f.free()
	}
	a.queue = nil
}

// body is a fetched segment that passed every check.
type body struct {
	from    candidate
	entries []storage.Entry // if its packs are not wanted, else nil
	file    *os.File        // the whole object, if they are
}

// free drops the body of a finding; a nil finding has none.
func (f *finding) free() {
	if f != nil && f.body != nil {
		f.body.free()
		f.body = nil
	}
}

func (b *body) free() {
	if b.file != nil {
		b.file.Close()
		os.Remove(b.file.Name())
	}
}

// fetch reads a segment from the first of the candidates, which all carry the same, that has a good copy of it, and
// verifies all of it. If needsPacks says so of its entries, the object is kept in a file. faults are the copies that
// were bad; err is set if none was good.
func (ms *mirrorSet) fetch(ctx context.Context, g []candidate, needsPacks func([]storage.Entry) bool) (b *body, faults []fault, err error) {
	for _, c := range g {
		if c.src.isDown() {
			continue
		}
		err = ms.retry(ctx, func() error {
			b, err = ms.fetchOne(ctx, c, needsPacks)
			return err
		})
		c.src.outcome(ctx, transportOnly(err))
		if err == nil {
			return b, faults, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		faults = append(faults, fault{c.src, err})
	}
	if err == nil {
		err = errors.New("the mirrors that hold it cannot be read any more")
	}
	return nil, faults, err
}

func (ms *mirrorSet) fetchOne(ctx context.Context, c candidate, needsPacks func([]storage.Entry) bool) (b *body, err error) {
	in, err := ms.get(ctx, c.src, c.header.Key(), c.version)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	file, err := os.CreateTemp(ms.o.TempDir, "holdfast-segment-*")
	if err != nil {
		return nil, err
	}
	whole := &body{from: c, file: file}
	defer func() {
		if err != nil || b != whole {
			whole.free()
			err = in.blame(err)
		}
	}()
	sr, err := OpenSegment(io.TeeReader(in, file), ms.roots)
	if err != nil {
		return nil, err
	}
	entries, err := sr.Decrypt(ms.kit.RecoveryIdentity())
	if err != nil {
		return nil, err
	}
	if !needsPacks(entries) {
		return &body{from: c, entries: entries}, nil
	}
	for {
		_, r, err := sr.NextPack()
		if err == io.EOF {
			return whole, nil
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return nil, err
		}
	}
}

// segmentPacks hands out the packs of a fetched segment in any order; the order in which they lie there is fast.
type segmentPacks struct {
	b      *body
	ms     *mirrorSet
	reader *SegmentReader
}

// open starts reading the segment's file from the beginning.
func (p *segmentPacks) open() ([]storage.Entry, error) {
	if p.b.file == nil {
		return p.b.entries, nil
	}
	if _, err := p.b.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var err error
	if p.reader, err = OpenSegment(p.b.file, p.ms.roots); err != nil {
		return nil, err
	}
	return p.reader.Decrypt(p.ms.kit.RecoveryIdentity())
}

// pack returns a reader of one pack; it is valid until the next call.
func (p *segmentPacks) pack(id storage.PackID) (io.Reader, error) {
	for rewound := false; ; {
		info, r, err := p.reader.NextPack()
		if err == nil && info.ID == id {
			return r, nil
		}
		if err == nil {
			continue
		}
		if err != io.EOF || rewound {
			return nil, noEOF(err)
		}
		// An entry names a pack again that an earlier one of the segment brought.
		if _, err := p.open(); err != nil {
			return nil, err
		}
		rewound = true
	}
}
