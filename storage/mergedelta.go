package storage

import (
	"cmp"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// mergeDeltas finds bases for those objects of a new base pack that would be stored whole: new files whose older versions came
// with another push, the end of a chain that has become too long, deltas whose base goes into the cruft pack. Deltas that are
// stored stay. What is looked at, and read, are such objects and their neighbours among the versions of one path.
type mergeDeltas struct {
	o        *output
	m        *merge
	versions []mergeVersion
	chains   []chain // by entry
}

// mergeVersion is an object of the pack that has a path.
type mergeVersion struct {
	entry, path, size uint32
	age               uint32 // more for older ones
	typ               object.Type
	part              uint8
}

// The parts of a mergeVersion.
const (
	target = 1 << iota // a base is looked for
	source             // it may be that of a target
)

// chain is where an entry stands in a chain of deltas.
type chain struct {
	root   uint32 // the entry that ends it
	depth  uint16 // steps to the root
	height uint16 // of the longest chain that builds on it
	known  bool
}

const (
	// mergeWindow is how many versions before are tried as bases, and mergeChain how long chains become.
	mergeWindow = 10
	mergeChain  = 50
	// mergeWindowBytes bounds the memory for them. Objects over a quarter of it are left alone.
	mergeWindowBytes = 16 << 20
	// leastWhole is the length of the shortest entry for which a base is looked for.
	leastWhole = 64
)

// deltify gives objects of a base pack new bases.
func (o *output) deltify() error {
	d := &mergeDeltas{o: o, m: o.m}
	d.findChains()
	d.collect()
	for from := 0; from < len(d.versions); {
		to := from + 1
		for to < len(d.versions) && d.versions[to].path == d.versions[from].path && d.versions[to].typ == d.versions[from].typ {
			to++
		}
		if group := d.versions[from:to]; d.choose(group) {
			if err := d.search(group); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

// collect lists the versions, those of one path side by side and in the order in which they are good bases.
func (d *mergeDeltas) collect() {
	m := d.m
	for n := range uint32(m.reached.len()) {
		path := *m.reached.path(n)
		i, ok := m.set.find(m.reached.raw(n))
		if !ok || path == 0 || m.chosen[i] == none {
			continue
		}
		e := &m.entries[m.chosen[i]]
		if (e.typ == object.Blob || e.typ == object.Tree) && e.size >= minDelta && e.size <= mergeWindowBytes/4 {
			d.versions = append(d.versions, mergeVersion{entry: m.chosen[i], path: path, size: e.size, age: n, typ: e.typ})
		}
	}
	slices.SortFunc(d.versions, func(a, b mergeVersion) int {
		return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.path, b.path), cmp.Compare(b.size, a.size), cmp.Compare(a.age, b.age))
	})
}

// below returns the entry that i builds on as it will be written, none if that is whole or builds on what is not in the pack.
func (d *mergeDeltas) below(i uint32) uint32 {
	n := d.m.entries[i].base
	if d.o.own(n) == nil {
		return none
	}
	return d.m.chosen[n]
}

// findChains finds where the entries stand. Those that writeEntry would write whole are roots.
func (d *mergeDeltas) findChains() {
	d.chains = make([]chain, len(d.m.entries))
	var path []uint32
	for _, i := range d.o.order {
		path = path[:0]
		for at := i; at != none && !d.chains[at].known; at = d.below(at) {
			d.chains[at] = chain{root: at, known: true}
			path = append(path, at)
		}
		for _, at := range slices.Backward(path) {
			d.join(at)
		}
	}
	for _, i := range d.o.order {
		d.raise(i)
	}
}

// join puts an entry on the chain of its base, which is known.
func (d *mergeDeltas) join(at uint32) {
	b := d.below(at)
	if b == none || d.chains[b].root == at {
		return
	}
	e, base, c := &d.m.entries[at], &d.m.entries[b], d.chains[b]
	if base.rank() != e.rank() && c.depth >= maxHops || int(c.depth) >= d.m.st.s.opts.MaxDepth {
		return
	}
	d.chains[at].root, d.chains[at].depth = c.root, c.depth+1
}

// raise tells those that an entry builds on how high the chain above them is.
func (d *mergeDeltas) raise(i uint32) {
	height := d.chains[i].height
	for d.chains[i].root != i {
		i = d.below(i)
		if height++; d.chains[i].height >= height {
			return
		}
		d.chains[i].height = height
	}
}

// choose finds the targets among the versions of a path, and what may be their bases, and reports whether there are any.
func (d *mergeDeltas) choose(group []mergeVersion) (any bool) {
	for i := range group {
		at := group[i].entry
		if d.chains[at].root != at || d.m.entries[at].length < leastWhole {
			continue
		}
		for j := max(0, i-mergeWindow); j < i; j++ {
			if d.chains[group[j].entry].root != at {
				group[i].part |= target
				group[j].part |= source
				any = true
			}
		}
	}
	return any
}

// search looks for the bases of one path's targets.
func (d *mergeDeltas) search(group []mergeVersion) error {
	finder := pack.NewDeltifier(pack.DeltifyOptions{Window: mergeWindow, WindowBytes: mergeWindowBytes, MaxDepth: mergeChain, Refuse: d.buildsOn})
	for _, v := range group {
		if v.part == 0 {
			continue
		}
		if err := d.m.pace(); err != nil {
			return err
		}
		e := &d.m.entries[v.entry]
		_, data, err := d.m.st.readKept(entryPlace(d.m.number(e), e.offset()))
		if err != nil {
			return err
		}
		c := d.chains[v.entry]
		obj := pack.DeltaObject{Number: v.entry, Type: v.typ, Path: pack.PathHash(v.path), Size: int64(len(data)), Age: int64(v.age),
			Depth: d.depth(v.entry), Height: int(c.height)}
		if v.part&target == 0 {
			finder.Offer(obj, data)
			continue
		}
		if base, _, _, ok := finder.Add(obj, data, int(min(e.length, int64(len(data))))); ok {
			d.put(v.entry, base)
		}
	}
	return nil
}

// depth returns how many steps it is from an entry to the root of its chain, as the chains are by now.
func (d *mergeDeltas) depth(i uint32) (n int) {
	for ; d.chains[i].root != i && n < mergeChain; n++ {
		i = d.below(i)
	}
	return n
}

// buildsOn reports whether a base builds on the target, or whether that takes too long to find out.
func (d *mergeDeltas) buildsOn(base, target uint32) bool {
	for range mergeChain {
		switch {
		case base == target:
			return true
		case d.chains[base].root == base:
			return false
		}
		base = d.below(base)
	}
	return true
}

// put makes an entry a new delta on another.
func (d *mergeDeltas) put(i, base uint32) {
	e := &d.m.entries[i]
	e.base, e.flags = d.m.entries[base].object, e.flags|renewed
	d.chains[i].root = d.chains[base].root
	d.raise(i)
}

// writeDelta writes an entry as a delta on another one, or whole if that is not worth it after all.
func (o *output) writeDelta(e, b *mergeEntry, base pack.Base) error {
	read := func(e *mergeEntry) (object.Type, []byte, error) {
		return o.m.st.readKept(entryPlace(o.m.number(e), e.offset()))
	}
	_, from, err := read(b)
	if err != nil {
		return err
	}
	typ, data, err := read(e)
	if err != nil {
		return err
	}
	o.index.Reset(from)
	delta, ok := o.index.Delta(o.delta[:0], data, len(data)/2)
	o.delta = delta
	if !ok {
		e.depth = 0
		return o.w.WriteObject(typ, data)
	}
	return o.w.WriteDelta(base, delta)
}
