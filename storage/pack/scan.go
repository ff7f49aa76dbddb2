package pack

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/storage/object"
)

const (
	stageReceive = "receiving objects"
	stageResolve = "resolving deltas"

	// inlineBlob is the size from which on a blob is hashed as it is inflated, without being held.
	inlineBlob = 256 << 10
	// growStep bounds what is allocated for an object before any of its data was seen.
	growStep = 1 << 20
)

// scanner is the first pass over the entries. Its methods run in one goroutine; the workers it feeds name and check objects.
type scanner struct {
	*receiver
	inl   *worker // names what is not worth handing over; its inflater inflates all
	batch *scanBatch
	work  chan *scanBatch
	buf   []byte // what is thrown away is inflated to here
}

// scanBatch is a number of small objects for a worker: handing them over one by one costs more than it gains.
type scanBatch struct {
	data []byte
	objs []scanObject
}

type scanObject struct {
	n    uint32
	e    *entry
	from int // in data; the object's size says where it ends
}

const (
	batchBytes   = inlineBlob
	batchObjects = 256
)

var scanBatches = sync.Pool{New: func() any { return &scanBatch{data: make([]byte, 0, batchBytes)} }}

// release gives a batch back, whose objects are named.
func (b *scanBatch) release() {
	clear(b.objs)
	b.data, b.objs = b.data[:0], b.objs[:0]
	scanBatches.Put(b)
}

// scan reads the entries.
func (r *receiver) scan() error {
	s := &scanner{
		receiver: r, inl: r.newWorker(), buf: make([]byte, 16<<10),
		work: make(chan *scanBatch, 2),
	}
	defer s.inl.done()
	g, ctx := errgroup.WithContext(r.ctx)
	for range r.o.Workers {
		g.Go(func() error { return r.nameObjects(ctx, s) })
	}
	g.Go(func() error {
		defer close(s.work)
		return s.all(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return r.link()
}

func (s *scanner) all(ctx context.Context) error {
	total := int64(s.count)
	s.progress.start(stageReceive, total)
	for range s.count {
		if err := s.entry(ctx); err != nil {
			return err
		}
		s.progress.step(stageReceive, total)
	}
	return s.send(ctx)
}

// entry reads one entry.
func (s *scanner) entry(ctx context.Context) error {
	off := s.in.offset()
	s.in.beginEntry()
	h, err := readEntryHeader(s.in, s.o.Format, off)
	if err != nil {
		return entryError(off, noEOF(err))
	}
	if h.Size > s.o.MaxObjectBytes {
		return tooLarge("the entry at byte %d inflates to %d bytes, the limit for an object is %d", off, h.Size, s.o.MaxObjectBytes)
	}
	n, e := s.entries.add()
	*e = entry{off: off, size: h.Size, id: none, base: none, first: none, next: none, kind: h.Kind, header: byte(h.DataOffset - off)}
	if err := s.addInflated(h.Size, off); err != nil {
		return err
	}
	if err := s.inl.z.begin(s.in.Reader); err != nil {
		return entryError(off, noEOF(err))
	}
	if h.IsDelta() {
		err = s.delta(n, e, h)
	} else {
		e.typ = object.Type(h.Kind)
		err = s.whole(ctx, n, e)
	}
	if err == nil {
		err = s.inl.z.end()
	}
	if err != nil {
		return entryError(off, noEOF(err))
	}
	e.crc = s.in.endEntry()
	return nil
}

// delta reads an entry that is a delta: enough to know that its sizes are within limits.
func (s *scanner) delta(n uint32, e *entry, h EntryHeader) error {
	if h.Kind == kindOfsDelta {
		base, ok := s.entryAt(h.BaseOffset, n)
		if !ok {
			return corrupt(e.off, "the delta's base is said to be at byte %d, where no entry begins", h.BaseOffset)
		}
		e.base = base
	} else {
		var sum [32]byte
		e.base = s.ids.base(h.BaseID.Append(sum[:0]))
		s.refs = append(s.refs, refDelta{base: e.base, entry: n})
	}
	if h.Size > s.o.MaxMemoryBytes {
		return tooLarge("the delta at byte %d is %d bytes long, the limit is %d", e.off, h.Size, s.o.MaxMemoryBytes)
	}
	head := s.buf[:min(int64(deltaHeaderMax), h.Size)]
	if err := s.inl.z.full(head); err != nil {
		return err
	}
	_, size, _, err := deltaSizes(head)
	if err != nil {
		return err
	}
	if size > s.o.MaxMemoryBytes {
		return tooLarge("the delta at byte %d makes an object of %d bytes, the limit for a deltified one is %d",
			e.off, size, s.o.MaxMemoryBytes)
	}
	if err := s.addInflated(size, e.off); err != nil {
		return err
	}
	e.size = size
	return s.skip(h.Size - int64(len(head)))
}

// entryAt returns the number of the entry, before entry n, that begins at off.
func (s *scanner) entryAt(off int64, n uint32) (uint32, bool) {
	lo, hi := uint32(0), n
	for lo < hi {
		mid := lo + (hi-lo)/2
		switch c := cmp.Compare(s.entries.at(mid).off, off); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

func (s *scanner) skip(size int64) error {
	for size > 0 {
		p := s.buf[:min(size, int64(len(s.buf)))]
		if err := s.inl.z.full(p); err != nil {
			return err
		}
		size -= int64(len(p))
	}
	return nil
}

// whole reads an entry that is an object.
func (s *scanner) whole(ctx context.Context, n uint32, e *entry) error {
	switch {
	case e.size < inlineBlob:
		return s.small(ctx, n, e)
	case e.typ == object.Blob:
		return s.stream(n, e)
	case e.size > s.o.MaxMemoryBytes:
		return tooLarge("the %s at byte %d is %d bytes long, the limit is %d", e.typ, e.off, e.size, s.o.MaxMemoryBytes)
	}
	data, err := s.grow(e.size)
	if err != nil {
		return err
	}
	return s.inl.name(n, e, data, 0)
}

// small puts an object into the batch.
func (s *scanner) small(ctx context.Context, n uint32, e *entry) error {
	if b := s.batch; b != nil && (len(b.objs) == batchObjects || len(b.data)+int(e.size) > cap(b.data)) {
		if err := s.send(ctx); err != nil {
			return err
		}
	}
	if s.batch == nil {
		s.batch = scanBatches.Get().(*scanBatch)
	}
	b := s.batch
	from := len(b.data)
	b.data = b.data[:from+int(e.size)]
	if err := s.inl.z.full(b.data[from:]); err != nil {
		return err
	}
	b.objs = append(b.objs, scanObject{n: n, e: e, from: from})
	return nil
}

// send hands the batch to a worker. The last entry of it may still lack its end and CRC, which concern no worker.
func (s *scanner) send(ctx context.Context) error {
	if s.batch == nil {
		return nil
	}
	select {
	case s.work <- s.batch:
		s.batch = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream names a blob without holding it.
func (s *scanner) stream(n uint32, e *entry) error {
	h := s.inl.hasher
	h.Begin(object.Blob, e.size)
	for left := e.size; left > 0; {
		p := s.buf[:min(left, int64(len(s.buf)))]
		if err := s.inl.z.full(p); err != nil {
			return err
		}
		h.Write(p)
		left -= int64(len(p))
	}
	return s.inl.named(n, e, nil, 0)
}

// grow inflates an object that need not be as long as it says.
func (s *scanner) grow(size int64) ([]byte, error) {
	data := make([]byte, 0, min(size, growStep))
	for int64(len(data)) < size {
		if len(data) == cap(data) {
			data = slices.Grow(data, int(min(int64(len(data)), size-int64(len(data)))))
		}
		from := len(data)
		data = data[:min(int64(cap(data)), size)]
		if err := s.inl.z.full(data[from:]); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// nameObjects is a worker of the first pass.
func (r *receiver) nameObjects(ctx context.Context, s *scanner) error {
	var w *worker
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok := <-s.work:
			if !ok {
				return nil
			}
			if w == nil {
				w = r.newWorker()
				defer w.done()
			}
			for _, o := range b.objs {
				if err := w.name(o.n, o.e, b.data[o.from:o.from+int(o.e.size)], 0); err != nil {
					return err
				}
			}
			b.release()
		}
	}
}

// link ties the deltas to their bases.
func (r *receiver) link() error {
	slices.SortFunc(r.refs, func(a, b refDelta) int {
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.entry, b.entry))
	})
	// From the end, so that an entry's weight is complete before its base's is counted: an offset delta follows its base.
	for i := r.entries.len() - 1; i >= 0; i-- {
		e := r.entries.at(uint32(i))
		if e.kind != kindOfsDelta {
			continue
		}
		base := r.entries.at(e.base)
		e.next, base.first = base.first, uint32(i)
		base.weight += e.weight + 1
	}
	return nil
}

// built returns the reference deltas on an id.
func (r *receiver) built(id uint32) []refDelta {
	if len(r.refs) == 0 {
		return nil
	}
	byBase := func(d refDelta, id uint32) int { return cmp.Compare(d.base, id) }
	from, _ := slices.BinarySearchFunc(r.refs, id, byBase)
	to := from
	for to < len(r.refs) && r.refs[to].base == id {
		to++
	}
	return r.refs[from:to]
}
