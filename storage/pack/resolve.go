package pack

import (
	"cmp"
	"context"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// resolve is the second pass: it resolves the deltas whose base the pack holds.
func (r *receiver) resolve() error {
	roots := r.roots()
	r.total = r.deltas()
	r.progress.start(stageResolve, r.total)
	if len(roots) == 0 {
		return nil
	}
	g, ctx := errgroup.WithContext(r.ctx)
	var next atomic.Int64
	for range min(r.o.Workers, len(roots)) {
		g.Go(func() error {
			w := r.newWorker()
			defer w.done()
			for {
				i := next.Add(1) - 1
				if i >= int64(len(roots)) {
					return nil
				}
				if err := w.root(ctx, roots[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// roots lists the objects that stand whole and have deltas built on them, those with the most first, so that no core is left
// with a large tree at the end.
func (r *receiver) roots() []uint32 {
	var roots []uint32
	for i := range uint32(r.entries.len()) {
		e := r.entries.at(i)
		if e.typ != 0 && (e.first != none || len(r.builtOn(i, e)) > 0) {
			roots = append(roots, i)
		}
	}
	slices.SortStableFunc(roots, func(a, b uint32) int {
		return cmp.Compare(bits.Len32(r.entries.at(b).weight), bits.Len32(r.entries.at(a).weight))
	})
	return roots
}

// deltas counts the entries that are deltas.
func (r *receiver) deltas() (n int64) {
	for i := range uint32(r.entries.len()) {
		if k := r.entries.at(i).kind; k == kindOfsDelta || k == kindRefDelta {
			n++
		}
	}
	return n
}

// builtOn returns the reference deltas that are to be resolved with entry i: of entries that are the same object, the first
// has them all.
func (r *receiver) builtOn(i uint32, e *entry) []refDelta {
	if len(r.refs) == 0 {
		return nil
	}
	r.ids.mu.Lock()
	first := r.ids.infos.at(e.id).entry
	r.ids.mu.Unlock()
	if first != i {
		return nil
	}
	return r.built(e.id)
}

// frame is a base on the way from a tree's root to the object at hand.
type frame struct {
	n     uint32
	data  []byte   // nil if dropped
	kids  []uint32 // deltas on it that are still to be resolved; the one with the most below it is the last
	depth int
}

// root resolves everything built on entry n, which stands whole.
func (w *worker) root(ctx context.Context, n uint32) error {
	defer w.release()
	e := w.entries.at(n)
	w.claim(e.size)
	data, err := w.inflate(n)
	if err != nil {
		return err
	}
	w.push(n, data, 0)
	for len(w.stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	return nil
}

// push makes entry n a base if deltas are built on it.
func (w *worker) push(n uint32, data []byte, depth int) {
	kids := w.kids(n)
	if len(kids) == 0 {
		w.pool.put(data)
		return
	}
	w.held += int64(len(data))
	w.stack = append(w.stack, frame{n: n, data: data, kids: kids, depth: depth})
}

// kids lists the deltas on entry n. The heaviest comes last, because its base can be let go before it is walked: so at
// most log2(count) bases are held.
func (w *worker) kids(n uint32) []uint32 {
	e := w.entries.at(n)
	var kids []uint32
	for i := e.first; i != none; i = w.entries.at(i).next {
		kids = append(kids, i)
	}
	for _, d := range w.builtOn(n, e) {
		kids = append(kids, d.entry)
	}
	heaviest := 0
	for i, kid := range kids {
		if w.entries.at(kid).weight >= w.entries.at(kids[heaviest]).weight {
			heaviest = i
		}
	}
	if last := len(kids) - 1; last > 0 {
		kids[heaviest], kids[last] = kids[last], kids[heaviest]
	}
	return kids
}

// step resolves one delta on the topmost base.
func (w *worker) step() error {
	top := &w.stack[len(w.stack)-1]
	n := top.kids[0]
	top.kids = top.kids[1:]
	depth := top.depth + 1
	if depth > w.o.MaxDepth {
		return tooLarge("a chain of more than %d deltas, at byte %d", w.o.MaxDepth, w.entries.at(n).off)
	}
	if top.data == nil {
		data, err := w.restore(top.n)
		if err != nil {
			return err
		}
		top.data = data
		w.held += int64(len(data))
	}
	e := w.entries.at(n)
	e.typ = w.entries.at(top.n).typ
	data, err := w.patch(n, top.data)
	if err != nil {
		return err
	}
	if len(top.kids) == 0 {
		w.held -= int64(len(top.data))
		w.pool.put(top.data)
		w.stack = w.stack[:len(w.stack)-1]
	}
	if err := w.name(n, e, data, 0); err != nil {
		return err
	}
	w.progress.step(stageResolve, w.total)
	w.push(n, data, depth)
	w.drop()
	return nil
}

// patch makes the object that entry e, a delta, stands for.
func (w *worker) patch(n uint32, base []byte) ([]byte, error) {
	e := w.entries.at(n)
	w.claim(e.size)
	delta, err := w.inflate(n)
	if err != nil {
		return nil, err
	}
	defer w.pool.put(delta)
	baseSize, size, ops, err := deltaSizes(delta)
	if err != nil || size != e.size {
		return nil, corrupt(e.off, "%v", errDelta)
	}
	if baseSize != int64(len(base)) {
		return nil, corrupt(e.off, "the delta is for a base of %d bytes, but its base has %d", baseSize, len(base))
	}
	data := w.pool.get(size)
	if err := applyDelta(data, base, ops); err != nil {
		return nil, corrupt(e.off, "%v", err)
	}
	return data, nil
}

// fileEnd is where the data of entry n ends at the latest.
func (r *receiver) fileEnd(n uint32) int64 {
	switch {
	case n+1 < r.count:
		return r.entries.at(n + 1).off
	case n+1 == r.count:
		return r.bodyEnd
	}
	return math.MaxInt64 // an appended base
}

// inflate reads an entry's data from the file: an object, or a delta.
func (w *worker) inflate(n uint32) ([]byte, error) {
	e := w.entries.at(n)
	size := e.size
	if e.kind == kindOfsDelta || e.kind == kindRefDelta {
		w.src.seek(e.off, w.fileEnd(n))
		h, err := readEntryHeader(w.src.Reader, w.o.Format, e.off)
		if err != nil {
			return nil, entryError(e.off, noEOF(err))
		}
		size = h.Size
	} else {
		w.src.seek(e.off+int64(e.header), w.fileEnd(n))
	}
	data := w.pool.get(size)
	err := w.z.begin(w.src.Reader)
	if err == nil {
		err = w.z.full(data)
	}
	if err == nil {
		err = w.z.end()
	}
	if err != nil {
		return nil, entryError(e.off, noEOF(err))
	}
	return data, nil
}

// drop lets go of bases that wait, those nearest to the root first, while there are too many bytes of them.
func (w *worker) drop() {
	limit := w.o.CacheBytes / int64(w.o.Workers)
	for i := 0; i < len(w.stack)-1 && w.held > limit; i++ {
		f := &w.stack[i]
		w.held -= int64(len(f.data))
		w.pool.put(f.data)
		f.data = nil
	}
}

// restore makes a base that was dropped again. The work counts against the limit on inflated bytes: a pack could be made
// to need it over and over.
func (w *worker) restore(n uint32) ([]byte, error) {
	var chain []uint32
	for e := w.entries.at(n); e.kind == kindOfsDelta || e.kind == kindRefDelta; e = w.entries.at(n) {
		chain = append(chain, n)
		n = w.baseOf(e)
	}
	e := w.entries.at(n)
	w.claim(e.size)
	if err := w.addInflated(e.size, w.bodyEnd); err != nil {
		return nil, err
	}
	data, err := w.inflate(n)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(chain) {
		if err := w.addInflated(w.entries.at(n).size, w.bodyEnd); err != nil {
			return nil, err
		}
		next, err := w.patch(n, data)
		if err != nil {
			return nil, err
		}
		w.pool.put(data)
		data = next
	}
	return data, nil
}

// baseOf returns the base of a delta that was resolved.
func (r *receiver) baseOf(e *entry) uint32 {
	if e.kind == kindOfsDelta {
		return e.base
	}
	r.ids.mu.Lock()
	defer r.ids.mu.Unlock()
	return r.ids.infos.at(e.base).entry
}

// claim makes sure that only one worker has big objects in memory. A worker keeps the claim to the end of a tree.
func (w *worker) claim(size int64) {
	if size >= bigObject && !w.isBig {
		w.big.Lock()
		w.isBig = true
	}
}

// release ends a tree, resolved or not.
func (w *worker) release() {
	w.stack, w.held = w.stack[:0], 0
	if w.isBig {
		w.isBig = false
		w.pool = buffers{}
		w.big.Unlock()
	}
}
