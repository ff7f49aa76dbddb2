package pack

import (
	"cmp"
	"slices"

	"holdfast/storage/object"
)

// DeltifyOptions bound a Deltifier. The zero value means the defaults.
type DeltifyOptions struct {
	Window      int   // how many objects before are tried as bases; default 10
	WindowBytes int64 // memory for these and their indexes; default 64 MiB
	MaxDepth    int   // length of a chain of deltas; default 50
	// Refuse, if set, is asked whether an object must not be the base of another, both by DeltaObject.Number. It has to be set if
	// objects are offered that keep a stored delta: it refuses a base that builds on the target already.
	Refuse func(base, target uint32) bool
}

func (o DeltifyOptions) withDefaults() DeltifyOptions {
	if o.Window <= 0 {
		o.Window = 10
	}
	if o.WindowBytes <= 0 {
		o.WindowBytes = 64 << 20
	}
	if o.MaxDepth <= 0 {
		o.MaxDepth = 50
	}
	return o
}

// DeltaObject is what a Deltifier has to know of an object beside its content.
type DeltaObject struct {
	Number uint32 // the caller's name for it
	Type   object.Type
	Path   PathHash // 0 if it is not known
	Size   int64
	Age    int64 // more for older ones; any unit
	Depth  int   // of the chain that ends with it, if it keeps its stored delta
	Height int   // of the longest chain of stored deltas that builds on it
}

// CompareForDeltas sorts objects so that good bases come right before what builds on them: by type and path, what ends alike
// side by side, then by size, the largest first, since it takes less to tell what is left out than what is new, then the
// newest first, which is read most.
func CompareForDeltas(a, b DeltaObject) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Path, b.Path), cmp.Compare(b.Size, a.Size),
		cmp.Compare(a.Age, b.Age), cmp.Compare(a.Number, b.Number))
}

// Deltifier chooses bases for a sequence of objects and makes deltas on them. Objects come in the order of CompareForDeltas,
// first each to Add, if it needs a delta, or to Offer, if it is to be sent as it is stored. Either makes it a possible base
// for those that follow, until Window or WindowBytes push it out. A base always came before, so that there are no cycles
// among new deltas, and an object larger than a quarter of WindowBytes is left alone.
//
// It holds WindowBytes, an object, and three deltas of half an object at most. It is not safe for concurrent use; on
// several cores, several of them work on parts of the sequence, best cut where the path changes.
type Deltifier struct {
	o      DeltifyOptions
	window []*windowed // the one to try first is last
	bytes  int64
	free   []*windowed // to be used again

	best, next []byte // memory of the best delta and of the one that is tried
}

// windowed is an object that can be a base.
type windowed struct {
	DeltaObject
	data    []byte
	index   DeltaIndex
	indexed bool
}

func (b *windowed) memory() int64 {
	return int64(cap(b.data)) + 4*int64(cap(b.index.head)+cap(b.index.next))
}

// NewDeltifier returns a Deltifier with an empty window.
func NewDeltifier(o DeltifyOptions) *Deltifier { return &Deltifier{o: o.withDefaults()} }

// Offer makes an object that keeps its place and form a possible base for those that follow. data must not change as long as
// the Deltifier is in use.
func (d *Deltifier) Offer(o DeltaObject, data []byte) {
	if int64(len(data)) > d.o.WindowBytes/4 || len(data) < deltaBlock || o.Depth >= d.o.MaxDepth {
		return
	}
	b := new(windowed)
	if n := len(d.free); n > 0 {
		b, d.free = d.free[n-1], d.free[:n-1]
	}
	b.DeltaObject, b.data, b.indexed = o, data, false
	d.window = append(d.window, b)
	d.bytes += b.memory()
	d.shrink()
}

// shrink drops what no longer fits in the window, the oldest first.
func (d *Deltifier) shrink() {
	for len(d.window) > d.o.Window || d.bytes > d.o.WindowBytes && len(d.window) > 1 {
		b := d.window[0]
		d.window = slices.Delete(d.window, 0, 1)
		d.bytes -= b.memory()
		b.data, b.index.base = nil, nil
		if cap(b.index.next) <= 1<<16 && len(d.free) < d.o.Window {
			d.free = append(d.free, b)
		}
	}
}

// Add makes a delta for an object and offers it. The delta is less than half as long as the object, and shorter than max, if
// that is not 0: what the object takes as it is stored. It reports false if there is none. The delta is valid up to the
// next call, and its base is the number of an object that was added or offered before; depth is the length of the chain
// that it ends.
func (d *Deltifier) Add(o DeltaObject, data []byte, max int) (base uint32, depth int, delta []byte, ok bool) {
	at := d.search(o, data, max)
	o.Depth = 0
	if at >= 0 {
		b := d.window[at]
		base, delta, o.Depth = b.Number, d.best, b.Depth+1
		// What was a good base once is tried first the next time.
		copy(d.window[at:], d.window[at+1:])
		d.window[len(d.window)-1] = b
	}
	d.Offer(o, data)
	return base, o.Depth, delta, at >= 0
}

// search leaves the best delta in d.best and returns where its base is in the window, -1 if there is none.
func (d *Deltifier) search(o DeltaObject, data []byte, max int) (best int) {
	best = -1
	most := len(data)/2 - 20
	if max > 0 {
		most = min(most, max-1)
	}
	if int64(len(data)) > d.o.WindowBytes/4 {
		return best
	}
	size, depth := most, 1 // of the best delta yet
	for at, b := range slices.Backward(d.window) {
		// A longer chain has to be worth it, for the sake of the objects that are to build on this one.
		limit := min(most, size*(d.o.MaxDepth-b.Depth)/(d.o.MaxDepth-depth+1))
		if !d.fits(b, o, len(data), limit) {
			continue
		}
		delta, ok := d.on(b).Delta(d.next[:0], data, limit)
		d.next = delta
		if ok && (best < 0 || len(delta) < size || b.Depth+1 < depth) {
			d.next, d.best = d.best, d.next
			best, size, depth = at, len(delta), b.Depth+1
		}
	}
	return best
}

// fits reports whether a delta of at most max bytes on b is possible.
func (d *Deltifier) fits(b *windowed, o DeltaObject, size, max int) bool {
	return b.Type == o.Type && b.Depth+1+o.Height <= d.o.MaxDepth && max > 0 &&
		size-len(b.data) < max && size >= len(b.data)/32 &&
		(d.o.Refuse == nil || !d.o.Refuse(b.Number, o.Number))
}

// on returns the index of a base.
func (d *Deltifier) on(b *windowed) *DeltaIndex {
	if !b.indexed {
		d.bytes -= b.memory()
		b.index.Reset(b.data)
		b.indexed = true
		d.bytes += b.memory()
	}
	return &b.index
}
