package graph

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"holdfast/storage/object"
)

const (
	magic       = "HFGRAPH\x01"
	headerSize  = 72
	trailerSize = 4
)

// None stands for no place.
const None = math.MaxUint32

// ErrInvalid says that a graph file is damaged, or of another version or pack. Make it again.
var ErrInvalid = errors.New("graph file is not valid")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// numbers is a section of 4-byte numbers.
type numbers []byte

func (s numbers) at(i uint32) uint32 { return binary.LittleEndian.Uint32(s[uint64(i)*4:]) }

// longs is a section of 8-byte numbers.
type longs []byte

func (s longs) at(i uint32) uint64 { return binary.LittleEndian.Uint64(s[uint64(i)*8:]) }

// Graph reads a graph file. It holds no file open and next to nothing in memory but the mapped file. It is safe for
// concurrent use, up to Close.
type Graph struct {
	format   object.Format
	packSize int64
	objects  int
	mapped   []byte

	ids                                []byte
	places, ranks, crcs, bases, paths  numbers
	offsets, sizes                     longs
	commits, trees, generations        numbers
	dates                              longs
	parentsAt, introducedAt            numbers
	parents, introduced, tags, targets numbers
}

// Open maps a graph file and verifies it: its checksum, and that every number in it is within bounds. The file must not
// change while the Graph is in use. The error wraps ErrInvalid if it is not for a pack of packSize bytes.
func Open(path string, packSize int64) (*Graph, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < headerSize+trailerSize || info.Size() > math.MaxInt {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrInvalid}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &fs.PathError{Op: "mmap", Path: path, Err: err}
	}
	g, err := Decode(data)
	if err == nil && g.packSize != packSize {
		err = fmt.Errorf("%w: it is for a pack of %d bytes, not %d", ErrInvalid, g.packSize, packSize)
	}
	if err != nil {
		unix.Munmap(data)
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	g.mapped = data
	return g, nil
}

// Close gives the mapping back. Nothing may use the graph any more.
func (g *Graph) Close() error {
	m := g.mapped
	*g = Graph{}
	if m == nil {
		return nil
	}
	return unix.Munmap(m)
}

// Decode reads an encoded graph, whose memory it keeps using.
func Decode(data []byte) (*Graph, error) {
	if len(data) < headerSize+trailerSize || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: unknown beginning", ErrInvalid)
	}
	body, sum := data[:len(data)-trailerSize], data[len(data)-trailerSize:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrInvalid)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	g := &Graph{format: object.Format(word(1)), packSize: int64(word(2))}
	if (g.format != object.SHA1 && g.format != object.SHA256) || word(1) > 2 {
		return nil, fmt.Errorf("%w: unknown object format %d", ErrInvalid, word(1))
	}
	n, c, t, p, i := word(3), word(4), word(5), word(6), word(7)
	if max(n, c, t, p, i) >= math.MaxUint32 {
		return nil, fmt.Errorf("%w: it is too large", ErrInvalid)
	}
	g.objects = int(n)
	r := cutter{body[headerSize:]}
	g.ids = r.cut(n, uint64(g.format.Size()))
	g.places, g.ranks = r.cut(n, 4), r.cut(n, 4)
	g.offsets, g.sizes = r.cut(n, 8), r.cut(n, 8)
	g.crcs, g.bases, g.paths = r.cut(n, 4), r.cut(n, 4), r.cut(n, 4)
	g.commits, g.trees, g.dates, g.generations = r.cut(c, 4), r.cut(c, 4), r.cut(c, 8), r.cut(c, 4)
	g.parentsAt, g.introducedAt = r.cut(c+1, 4), r.cut(c+1, 4)
	g.parents, g.introduced = r.cut(p, 4), r.cut(i, 4)
	g.tags, g.targets = r.cut(t, 4), r.cut(t, 4)
	if r.rest == nil || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: its length does not fit its counts", ErrInvalid)
	}
	return g, g.verify(uint32(n), uint32(c), uint32(p), uint32(i))
}

// cutter cuts sections off; rest is nil once there were too few bytes.
type cutter struct{ rest []byte }

func (r *cutter) cut(n, size uint64) []byte {
	if r.rest == nil || uint64(len(r.rest)) < n*size {
		r.rest = nil
		return nil
	}
	section := r.rest[: n*size : n*size]
	r.rest = r.rest[n*size:]
	return section
}

// verify checks that no number points out of its section, so that nothing that reads the graph has to.
func (g *Graph) verify(n, c, p, i uint32) error {
	ok := g.places.below(n) && g.ranks.below(n) && g.bases.belowOrNone(n) && g.commits.below(n) && g.trees.below(n) &&
		g.parents.below(c) && g.introduced.below(n) && g.tags.below(n) && g.targets.below(n) &&
		g.parentsAt.rise(p) && g.introducedAt.rise(i)
	last := uint64(0)
	for at := uint32(0); ok && at < n; at++ {
		off := g.offsets.at(at)
		ok = off > last && off < uint64(g.packSize)
		last = off
	}
	if !ok {
		return fmt.Errorf("%w: a number in it is out of bounds", ErrInvalid)
	}
	return nil
}

func (s numbers) below(n uint32) bool {
	for i := range uint32(len(s) / 4) {
		if s.at(i) >= n {
			return false
		}
	}
	return true
}

func (s numbers) belowOrNone(n uint32) bool {
	for i := range uint32(len(s) / 4) {
		if v := s.at(i); v >= n && v != None {
			return false
		}
	}
	return true
}

// rise reports whether s ascends from 0 to n.
func (s numbers) rise(n uint32) bool {
	last := uint32(0)
	for i := range uint32(len(s) / 4) {
		v := s.at(i)
		if v < last || (i == 0 && v != 0) {
			return false
		}
		last = v
	}
	return last == n
}

// Format returns the format of the ids.
func (g *Graph) Format() object.Format { return g.format }

// Len returns the number of objects.
func (g *Graph) Len() int { return g.objects }

// Commits returns the number of commits.
func (g *Graph) Commits() int { return len(g.commits) / 4 }

// Find returns the place of an object.
func (g *Graph) Find(id object.ID) (place uint32, ok bool) {
	if id.Format() != g.format || g.objects == 0 {
		return 0, false
	}
	var buf [32]byte
	raw := id.Append(buf[:0])
	size := len(raw)
	i := object.SearchIDs(g.ids, size, raw)
	if i == g.objects || !bytes.Equal(g.ids[i*size:(i+1)*size], raw) {
		return 0, false
	}
	return g.places.at(uint32(i)), true
}

// ID returns the id of the object at a place.
func (g *Graph) ID(place uint32) object.ID {
	size := g.format.Size()
	at := int(g.ranks.at(place)) * size
	return object.NewID(g.format, g.ids[at:at+size])
}

// Offset returns where an object's entry begins in the pack.
func (g *Graph) Offset(place uint32) int64 { return int64(g.offsets.at(place)) }

// End returns where its entry ends.
func (g *Graph) End(place uint32) int64 {
	if int(place)+1 < g.objects {
		return g.Offset(place + 1)
	}
	return g.packSize - int64(g.format.Size())
}

// At returns the place of the object whose entry begins at off.
func (g *Graph) At(off int64) (place uint32, ok bool) {
	i := sort.Search(g.objects, func(i int) bool { return g.Offset(uint32(i)) >= off })
	return uint32(i), i < g.objects && g.Offset(uint32(i)) == off
}

// Type returns the type of the object at a place.
func (g *Graph) Type(place uint32) object.Type { return object.Type(g.sizes.at(place) >> 56) }

// Size returns its size in bytes, inflated.
func (g *Graph) Size(place uint32) int64 { return int64(g.sizes.at(place) & (1<<56 - 1)) }

// CRC returns the CRC-32 (IEEE) of its entry.
func (g *Graph) CRC(place uint32) uint32 { return g.crcs.at(place) }

// Base returns the place of the base of its delta, or None.
func (g *Graph) Base(place uint32) uint32 { return g.bases.at(place) }

// Path returns the lower half of the pack.PathHash of a path that names it, 0 if none is known.
func (g *Graph) Path(place uint32) uint32 { return g.paths.at(place) }

// Commit returns the index of the commit at a place, and false if there is another object.
func (g *Graph) Commit(place uint32) (index uint32, ok bool) {
	n := g.Commits()
	if g.Type(place) != object.Commit {
		return 0, false
	}
	i := sort.Search(n, func(i int) bool { return g.commits.at(uint32(i)) >= place })
	return uint32(i), i < n && g.commits.at(uint32(i)) == place
}

// Place returns the place of a commit.
func (g *Graph) Place(commit uint32) uint32 { return g.commits.at(commit) }

// Tree returns the place of a commit's tree.
func (g *Graph) Tree(commit uint32) uint32 { return g.trees.at(commit) }

// Date returns a commit's date, in seconds since 1970.
func (g *Graph) Date(commit uint32) int64 { return int64(g.dates.at(commit)) }

// Generation returns a commit's generation number.
func (g *Graph) Generation(commit uint32) uint32 { return g.generations.at(commit) }

// Parents calls fn with each parent of a commit, in their order.
func (g *Graph) Parents(commit uint32, fn func(parent uint32)) {
	for i := g.parentsAt.at(commit); i < g.parentsAt.at(commit+1); i++ {
		fn(g.parents.at(i))
	}
}

// Introduced calls fn with the place of each object that a commit introduces.
func (g *Graph) Introduced(commit uint32, fn func(place uint32)) {
	for i := g.introducedAt.at(commit); i < g.introducedAt.at(commit+1); i++ {
		fn(g.introduced.at(i))
	}
}

// Target returns the place of what the tag at a place names, and false if there is no tag.
func (g *Graph) Target(place uint32) (target uint32, ok bool) {
	n := len(g.tags) / 4
	i := sort.Search(n, func(i int) bool { return g.tags.at(uint32(i)) >= place })
	if i == n || g.tags.at(uint32(i)) != place {
		return 0, false
	}
	return g.targets.at(uint32(i)), true
}
