package svnfs

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// builder makes the objects of a revision.
type builder struct {
	f       *FS
	rev     svn.Revnum
	objects []packObject // blobs, in the order in which the revision's trees have them; then trees and the commit
	have    map[ID]int   // where an object is in objects
	nodes   []*record
	empty   bool // the repository is only to be created

	made        map[ID]*record // nodes by id
	madeBuckets map[ID][]Entry
	view        viewer
}

func newBuilder(f *FS, rev svn.Revnum) *builder {
	return &builder{f: f, rev: rev, have: map[ID]int{}, made: map[ID]*record{}, madeBuckets: map[ID][]Entry{}}
}

// object returns an object that the builder has made, or nil.
func (b *builder) object(id ID) *packObject {
	if i, ok := b.have[id]; ok {
		return &b.objects[i]
	}
	return nil
}

// add adds a blob, unless the repository has it.
func (b *builder) add(o packObject) error {
	if b.object(o.id) != nil {
		return nil
	}
	if !b.empty {
		stored, err := b.f.repo.Has(o.id)
		if err != nil || stored {
			return err
		}
	}
	b.put(o)
	return nil
}

func (b *builder) put(o packObject) {
	b.have[o.id] = len(b.objects)
	b.objects = append(b.objects, o)
}

func (b *builder) addData(data []byte, base ID) (ID, error) {
	id := hashObject(b.f.format, object.Blob, data)
	return id, b.add(packObject{typ: object.Blob, id: id, data: data, base: base})
}

func (b *builder) root(m *mutable) (ID, error) {
	r, err := b.node(m)
	if err != nil {
		return ID{}, err
	}
	return r.id, nil
}

// node makes the objects of a node and of all that the transaction has changed below.
func (b *builder) node(m *mutable) (*record, error) {
	r := m.rec
	r.node, r.copy, r.created = r.node.settled(b.rev), r.copy.settled(b.rev), b.rev
	if !r.copyRoot.Rev.Valid() {
		r.copyRoot.Rev = b.rev
	}
	var err error
	if m.props != nil {
		if r.props = (ID{}); len(m.props) > 0 {
			if r.props, err = b.addData(svn.EncodeProps(m.props), m.oldProps()); err != nil {
				return nil, err
			}
		}
	}
	if r.kind == svn.File {
		err = b.text(m)
	} else {
		err = b.dir(m, &r)
	}
	if err != nil {
		return nil, err
	}
	if r.kind == svn.File {
		r.mergeinfo = 0
	}
	if r.selfMergeinfo {
		r.mergeinfo++
	}
	base := r.pred
	if r.kind == svn.File {
		base = ID{} // a file's is small, mostly checksums, and read often
	}
	if r.id, err = b.addData(r.encode(), base); err != nil {
		return nil, err
	}
	b.nodes = append(b.nodes, &r)
	b.made[r.id] = &r
	return &r, nil
}

func (m *mutable) oldProps() ID {
	if m.base == nil {
		return ID{}
	}
	return m.base.props
}

func (b *builder) text(m *mutable) error {
	o := packObject{typ: object.Blob, id: m.rec.text.blob, text: m.text}
	if m.text == nil {
		o.text = &spool{} // of a new file that nobody wrote to, or of one that has its text already
		if m.base != nil {
			return nil
		}
	}
	var err error
	if m.base != nil && m.rec.text.size <= maxDeltaText {
		o.base, err = b.f.textBase(m.base)
	}
	if err != nil {
		return err
	}
	return b.add(o)
}

// maxSkip bounds how many predecessors are passed over for a delta's base.
const maxSkip = 64

// textBase returns the text that a successor's is to be a delta of, zero for none: not always the predecessor's, so that it takes few
// deltas to make any one of many versions. The n-th version builds on the one that is n without its lowest bit.
//
// Source: "skip-deltas" in Subversion's notes on FSFS.
func (f *FS) textBase(pred *record) (ID, error) {
	n := pred.preds + 1
	for skip := min(n&-n, maxSkip) - 1; skip > 0 && !pred.pred.IsZero(); skip-- {
		var err error
		if pred, err = f.node(pred.pred); err != nil {
			return ID{}, err
		}
	}
	if pred.text.size == 0 || pred.text.size > maxDeltaText {
		return ID{}, nil
	}
	return pred.text.blob, nil
}

// dir makes a directory's entries. It leaves in r.mergeinfo the number of nodes below that have svn:mergeinfo.
func (b *builder) dir(m *mutable, r *record) error {
	r.mergeinfo = 0
	count := 0
	if m.base != nil {
		count = m.base.dir.count
		if r.mergeinfo = m.base.mergeinfo; m.base.selfMergeinfo {
			r.mergeinfo--
		}
	}
	changed := map[string]Entry{} // zero ID: gone
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		e, had, diff, err := b.child(m, name)
		if err != nil {
			return err
		}
		changed[name] = e
		r.mergeinfo += diff
		if had {
			count--
		}
		if !e.ID.IsZero() {
			count++
		}
	}
	var err error
	r.dir, err = b.entries(m.base, changed, count)
	return err
}

// child makes a changed entry. It tells whether the base had one of that name, and by how much the number of nodes with
// svn:mergeinfo grows.
func (b *builder) child(m *mutable, name string) (e Entry, had bool, diff int64, err error) {
	if m.base != nil {
		var old Entry
		if old, had, err = b.f.entry(m.base, name); err != nil {
			return e, had, 0, err
		}
		if had {
			r, err := b.f.node(old.ID)
			if err != nil {
				return e, had, 0, err
			}
			diff = -r.mergeinfo
		}
	}
	c := m.names[name]
	e = c.entry
	switch {
	case c.m != nil:
		r, err := b.node(c.m)
		if err != nil {
			return e, had, 0, err
		}
		e.ID = r.id
		diff += r.mergeinfo
	case !c.gone():
		r, err := b.f.node(e.ID)
		if err != nil {
			return e, had, 0, err
		}
		diff += r.mergeinfo
	}
	return e, had, diff, nil
}

// entries puts changed entries over those of a base.
func (b *builder) entries(base *record, changed map[string]Entry, count int) (d dirRef, err error) {
	d.count = count
	n := bucketsFor(count)
	if n == 0 || base == nil || len(base.dir.buckets) != n {
		var all []Entry
		if base != nil {
			if all, err = b.f.entries(base); err != nil {
				return d, err
			}
		}
		return d, b.spread(&d, patch(all, changed), n)
	}
	d.buckets = slices.Clone(base.dir.buckets)
	touched := map[int]map[string]Entry{}
	for name, e := range changed {
		i := bucketOf(name, n)
		if touched[i] == nil {
			touched[i] = map[string]Entry{}
		}
		touched[i][name] = e
	}
	for _, i := range slices.Sorted(maps.Keys(touched)) {
		old, err := b.f.bucket(d.buckets[i])
		if err != nil {
			return d, err
		}
		if d.buckets[i], err = b.bucket(patch(old, touched[i]), d.buckets[i]); err != nil {
			return d, err
		}
	}
	return d, nil
}

// spread puts all entries of a directory into n buckets, or inline.
func (b *builder) spread(d *dirRef, all []Entry, n int) (err error) {
	if n == 0 {
		d.inline = all
		return nil
	}
	parts := make([][]Entry, n)
	for _, e := range all {
		i := bucketOf(e.Name, n)
		parts[i] = append(parts[i], e)
	}
	d.buckets = make([]ID, n)
	for i, part := range parts {
		if d.buckets[i], err = b.bucket(part, ID{}); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) bucket(entries []Entry, base ID) (ID, error) {
	if len(entries) == 0 {
		return ID{}, nil
	}
	id, err := b.addData(encodeBucket(entries), base)
	b.madeBuckets[id] = entries
	return id, err
}

// patch returns entries with changed ones put over them, sorted by name.
func patch(entries []Entry, changed map[string]Entry) []Entry {
	out := make([]Entry, 0, len(entries)+len(changed))
	for _, e := range entries {
		if _, ok := changed[e.Name]; !ok {
			out = append(out, e)
		}
	}
	for _, e := range changed {
		if !e.ID.IsZero() {
			out = append(out, e)
		}
	}
	sortEntries(out)
	return out
}

// revision makes the revision object, the trees that hold everything, and the commit.
func (b *builder) revision(r *revision, parent ID, uuid string) revPlace {
	data := r.encode()
	id := hashObject(b.f.format, object.Blob, data)
	blobs := make([]ID, len(b.objects))
	for i, o := range b.objects {
		blobs[i] = o.id
	}
	trees, root := revisionTrees(b.f.format, id, blobs)
	b.put(packObject{typ: object.Blob, id: id, data: data})
	for _, t := range trees {
		if b.object(t.id) == nil {
			b.put(t)
		}
	}
	data = commitObject(root, parent, r.props, uuid)
	commit := packObject{typ: object.Commit, id: hashObject(b.f.format, object.Commit, data), data: data}
	b.put(commit)
	return revPlace{commit.id, id}
}

// fill puts the objects, the refs and facts into a storage transaction.
func (b *builder) fill(ctx context.Context, txn *storage.Txn, facts []fact, moves ...storage.RefUpdate) error {
	for _, o := range b.objects {
		if limit := b.f.repo.Store().Options().MaxReadBytes; int64(len(o.data)) > limit { // it could not be read again
			return svn.Wrap(storage.ErrTooLarge, svn.ErrFSGeneral, "The revision's changes, or properties, take more than %d bytes", limit)
		}
	}
	if err := b.send(ctx, txn); err != nil {
		return fmt.Errorf("revision %d: %w", b.rev, err)
	}
	for _, move := range moves {
		txn.Update(move)
	}
	return setFacts(txn, facts)
}

func setFacts(txn *storage.Txn, facts []fact) error {
	if len(facts) == 0 {
		return nil
	}
	data, err := encodeFacts(facts)
	if err != nil {
		return err
	}
	return txn.SetData(storage.KindSvn, data)
}

// remember keeps the new nodes in the cache: they are what is asked for next.
func (b *builder) remember() {
	for _, r := range b.nodes[max(0, len(b.nodes)-1000):] {
		b.f.nodes.put(r.id, r)
	}
	for dir, tree := range b.view.trees {
		b.f.viewTrees.put(treeKey{b.f, dir}, tree)
	}
}
