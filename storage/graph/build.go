package graph

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// ErrOpen says that a pack is not closed: an object links to one that is not in it. It can have no graph file.
var ErrOpen = errors.New("the pack is not closed under links")

// Object is an object of the pack that a graph is made for.
type Object struct {
	ID     object.ID
	Offset int64  // where its entry begins
	Size   int64  // inflated
	CRC    uint32 // of its entry
	Base   uint32 // place of its delta's base, None for none
	Type   object.Type
}

// Write makes the graph file of a pack of packSize bytes, whose objects are in the order of their offsets. read returns
// an object's content; it is called for all commits and tags, and for trees where they differ from those of the parent
// commits. Memory is about 30 bytes an object, besides objects, and 32 MiB. Errors are those of read, w and ctx, and
// ErrOpen.
func Write(ctx context.Context, w io.Writer, f object.Format, packSize int64, objects []Object,
	read func(place uint32) ([]byte, error)) error {
	if len(objects) >= math.MaxUint32 {
		return fmt.Errorf("a graph of %d objects: %w", len(objects), errors.ErrUnsupported)
	}
	b := &builder{ctx: ctx, format: f, objects: objects, read: read, index: map[uint32]uint32{}, trees: map[uint32][]byte{},
		seen: map[string]bool{}}
	b.sortIDs()
	if err := b.addCommits(); err != nil {
		return err
	}
	if err := b.addTags(); err != nil {
		return err
	}
	b.generations()
	if err := b.introduce(); err != nil {
		return err
	}
	return b.write(w, packSize)
}

// builder makes one graph.
type builder struct {
	ctx     context.Context
	format  object.Format
	objects []Object
	read    func(place uint32) ([]byte, error)

	byID  []uint32          // places, sorted by id
	index map[uint32]uint32 // place of a commit -> its index
	paths []uint32

	commits      []commit
	parents      []uint32
	introduced   []uint32
	tags, target []uint32

	trees map[uint32][]byte // contents of trees that were read lately
	bytes int
	stack []difference
	seen  map[string]bool // keys of the differences that were on the stack, for one commit
}

type commit struct {
	place, tree             uint32
	date                    int64
	generation              uint32
	parentsAt, introducedAt uint32
}

func (b *builder) sortIDs() {
	b.byID = make([]uint32, len(b.objects))
	for i := range b.byID {
		b.byID[i] = uint32(i)
	}
	slices.SortFunc(b.byID, func(x, y uint32) int { return b.objects[x].ID.Compare(b.objects[y].ID) })
	b.paths = make([]uint32, len(b.objects))
}

// find returns the place of an object that another one links to.
func (b *builder) find(id object.ID, t object.Type) (uint32, error) {
	i, ok := slices.BinarySearchFunc(b.byID, id, func(place uint32, id object.ID) int { return b.objects[place].ID.Compare(id) })
	if !ok {
		return 0, fmt.Errorf("%w: %s %s", ErrOpen, t, id)
	}
	if place := b.byID[i]; b.objects[place].Type == t {
		return place, nil
	}
	return 0, fmt.Errorf("object %s is a %s, not a %s", id, b.objects[b.byID[i]].Type, t)
}

func (b *builder) addCommits() error {
	for place, o := range b.objects {
		if o.Type == object.Commit {
			b.index[uint32(place)] = uint32(len(b.commits))
			b.commits = append(b.commits, commit{place: uint32(place)})
		}
	}
	for i := range b.commits {
		if err := b.addCommit(&b.commits[i]); err != nil {
			return fmt.Errorf("commit %s: %w", b.objects[b.commits[i].place].ID, err)
		}
	}
	return nil
}

func (b *builder) addCommit(c *commit) error {
	data, err := b.content(c.place)
	if err != nil {
		return err
	}
	info, err := object.ParseCommit(b.format, data)
	if err != nil {
		return err
	}
	c.date, c.parentsAt = info.Time, uint32(len(b.parents))
	for _, id := range info.Parents {
		place, err := b.find(id, object.Commit)
		if err != nil {
			return err
		}
		b.parents = append(b.parents, b.index[place])
	}
	c.tree, err = b.find(info.Tree, object.Tree)
	return err
}

func (b *builder) content(place uint32) ([]byte, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	return b.read(place)
}

func (b *builder) addTags() error {
	for place, o := range b.objects {
		if o.Type != object.Tag {
			continue
		}
		data, err := b.content(uint32(place))
		if err != nil {
			return err
		}
		link, err := object.PeelTag(b.format, data)
		if err != nil {
			return fmt.Errorf("tag %s: %w", o.ID, err)
		}
		target, err := b.find(link.ID, link.Type)
		if err != nil {
			return err
		}
		b.tags, b.target = append(b.tags, uint32(place)), append(b.target, target)
	}
	return nil
}

func (b *builder) parentsOf(i uint32) []uint32 {
	end := uint32(len(b.parents))
	if int(i)+1 < len(b.commits) {
		end = b.commits[i+1].parentsAt
	}
	return b.parents[b.commits[i].parentsAt:end]
}

// generations numbers the commits, parents before children.
func (b *builder) generations() {
	var todo []uint32
	for i := range b.commits {
		todo = append(todo, uint32(i))
		for len(todo) > 0 {
			c := todo[len(todo)-1]
			before, highest := len(todo), uint32(0)
			for _, p := range b.parentsOf(c) {
				if g := b.commits[p].generation; g == 0 {
					todo = append(todo, p)
				} else {
					highest = max(highest, g)
				}
			}
			if len(todo) == before {
				b.commits[c].generation = highest + 1
				todo = todo[:len(todo)-1]
			}
		}
	}
}

// difference is a tree to compare with those of the parents at the same path.
type difference struct {
	tree uint32
	old  []uint32
	path pack.PathHash
}

func (d difference) key() string {
	b := binary.BigEndian.AppendUint32(nil, d.tree)
	for _, old := range d.old {
		b = binary.BigEndian.AppendUint32(b, old)
	}
	return string(b)
}

// introduce finds what each commit introduces.
func (b *builder) introduce() error {
	for i := range b.commits {
		c := &b.commits[i]
		c.introducedAt = uint32(len(b.introduced))
		d := difference{tree: c.tree, path: pack.RootPath}
		for _, p := range b.parentsOf(uint32(i)) {
			d.old = append(d.old, b.commits[p].tree)
		}
		if !slices.Contains(d.old, c.tree) {
			b.add(c.tree, d.path)
			b.stack = append(b.stack, d)
		}
		clear(b.seen)
		for len(b.stack) > 0 {
			d := b.stack[len(b.stack)-1]
			b.stack = b.stack[:len(b.stack)-1]
			if err := b.compare(d); err != nil {
				return fmt.Errorf("tree %s: %w", b.objects[d.tree].ID, err)
			}
		}
		own := b.introduced[c.introducedAt:]
		slices.Sort(own)
		b.introduced = b.introduced[:int(c.introducedAt)+len(slices.Compact(own))]
		if len(b.introduced) >= math.MaxUint32 {
			return fmt.Errorf("a graph of so many changes: %w", errors.ErrUnsupported)
		}
	}
	return nil
}

func (b *builder) add(place uint32, path pack.PathHash) {
	b.introduced = append(b.introduced, place)
	if b.paths[place] == 0 {
		b.paths[place] = uint32(path)
	}
}

// compare adds the entries of a tree that none of the old ones has.
func (b *builder) compare(d difference) error {
	data, err := b.tree(d.tree)
	if err != nil {
		return err
	}
	olds := make([][]byte, len(d.old))
	for i, place := range d.old {
		if olds[i], err = b.tree(place); err != nil {
			return err
		}
	}
	return object.NewTreeEntries(b.format, data, olds, func(e object.TreeEntry, before []object.ID) error {
		link, ok := e.Link()
		if !ok {
			return nil
		}
		place, err := b.find(link.ID, link.Type)
		if err != nil {
			return err
		}
		path := d.path.Below(e.Name)
		b.add(place, path)
		if link.Type != object.Tree {
			return nil
		}
		next := difference{tree: place, path: path}
		for _, id := range before {
			if old, err := b.find(id, object.Tree); err == nil {
				next.old = append(next.old, old)
			}
		}
		if key := next.key(); !b.seen[key] { // copies of a tree within a tree can be as many as 2 to the power of the objects
			b.seen[key] = true
			b.stack = append(b.stack, next)
		}
		return nil
	})
}

// treeBytes bounds the contents of trees that are kept.
const treeBytes = 32 << 20

func (b *builder) tree(place uint32) ([]byte, error) {
	if data, ok := b.trees[place]; ok {
		return data, nil
	}
	data, err := b.content(place)
	if err != nil {
		return nil, err
	}
	if b.bytes += len(data); b.bytes > treeBytes {
		b.trees, b.bytes = map[uint32][]byte{}, len(data)
	}
	b.trees[place] = data
	return data, nil
}

func (b *builder) write(w io.Writer, packSize int64) error {
	sum := crc32.New(castagnoli)
	buffered := bufio.NewWriterSize(w, 64<<10)
	o := &output{w: io.MultiWriter(buffered, sum)}
	o.bytes([]byte(magic))
	o.long(uint64(b.format), uint64(packSize), uint64(len(b.objects)), uint64(len(b.commits)), uint64(len(b.tags)),
		uint64(len(b.parents)), uint64(len(b.introduced)), 0)
	b.writeObjects(o)
	b.writeCommits(o)
	o.flush()
	o.number(sum.Sum32())
	o.flush()
	return cmp.Or(o.err, buffered.Flush())
}

func (b *builder) writeObjects(o *output) {
	var raw [32]byte
	for _, place := range b.byID {
		o.bytes(b.objects[place].ID.Append(raw[:0]))
	}
	o.number(b.byID...)
	ranks := make([]uint32, len(b.byID))
	for rank, place := range b.byID {
		ranks[place] = uint32(rank)
	}
	o.number(ranks...)
	for _, x := range b.objects {
		o.long(uint64(x.Offset))
	}
	for _, x := range b.objects {
		o.long(uint64(x.Type)<<56 | uint64(x.Size))
	}
	for _, x := range b.objects {
		o.number(x.CRC)
	}
	for _, x := range b.objects {
		o.number(x.Base)
	}
	o.number(b.paths...)
}

func (b *builder) writeCommits(o *output) {
	for _, c := range b.commits {
		o.number(c.place)
	}
	for _, c := range b.commits {
		o.number(c.tree)
	}
	for _, c := range b.commits {
		o.long(uint64(c.date))
	}
	for _, c := range b.commits {
		o.number(c.generation)
	}
	for _, c := range b.commits {
		o.number(c.parentsAt)
	}
	o.number(uint32(len(b.parents)))
	for _, c := range b.commits {
		o.number(c.introducedAt)
	}
	o.number(uint32(len(b.introduced)))
	o.number(b.parents...)
	o.number(b.introduced...)
	o.number(b.tags...)
	o.number(b.target...)
}

// output writes numbers. The first error stays.
type output struct {
	w   io.Writer
	buf bytes.Buffer
	err error
}

func (o *output) bytes(b []byte) {
	o.buf.Write(b)
	if o.buf.Len() >= 32<<10 {
		o.flush()
	}
}

func (o *output) number(values ...uint32) {
	var b [4]byte
	for _, v := range values {
		binary.LittleEndian.PutUint32(b[:], v)
		o.bytes(b[:])
	}
}

func (o *output) long(values ...uint64) {
	var b [8]byte
	for _, v := range values {
		binary.LittleEndian.PutUint64(b[:], v)
		o.bytes(b[:])
	}
}

func (o *output) flush() {
	if o.err == nil {
		_, o.err = o.w.Write(o.buf.Bytes())
	}
	o.buf.Reset()
}
