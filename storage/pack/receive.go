package pack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/storage/object"
)

// entry is what is known of one entry of the pack that is being received.
type entry struct {
	off    int64
	size   int64  // of the object
	crc    uint32 // of the entry as stored
	id     uint32 // number in idTable, none until it is known
	base   uint32 // of an offset delta the base's entry, of a reference delta the number of its id
	first  uint32 // the first of the offset deltas built on this one
	next   uint32 // the next one built on the same base
	weight uint32 // how many offset deltas stand below, all levels
	kind   byte
	typ    object.Type
	header byte // length of the entry's header
}

// receiver is the state of one Receive or Scan.
type receiver struct {
	ctx  context.Context
	o    Options
	file *os.File // holds the pack; also read
	in   *input
	sink *sink

	count    uint32
	entries  chunks[entry] // elements are written by whoever works on them; the list grows in scan and complete only
	bodyEnd  int64         // where the entries end and the trailer begins
	ids      *idTable
	refs     []refDelta // sorted by base once scan is done
	inflated atomic.Int64
	progress progress
	total    int64 // of deltas

	big sync.Mutex // held by the worker that has an object over bigObject in memory
}

// refDelta is an entry that names its base by id.
type refDelta struct{ base, entry uint32 }

// bigObject is the size from which on only one worker at a time takes an object into memory.
const bigObject = 32 << 20

// Receive reads one pack from src, verifies it in every respect that does not need the repository, and writes it to dst,
// which must be empty and open for reading and writing. It does not sync dst.
//
// If src is a *bufio.Reader, nothing past the pack's trailer is taken from it, however it ends; another reader may lose up
// to 64 KiB past it. A thin pack is completed: the bases that Options.Base knows are appended, and the header's count and
// the trailer of dst are made anew. On error, what dst holds is of no use.
func Receive(ctx context.Context, src io.Reader, dst *os.File, o Options) (*Received, error) {
	r, err := newReceiver(ctx, src, dst, dst, o)
	if err != nil {
		return nil, err
	}
	got, err := r.run(r.complete)
	if err != nil {
		return nil, fmt.Errorf("receive pack: %w", err)
	}
	return got, nil
}

// Scan verifies a stored pack as Receive does and returns the same records, to make a lost index file again, or to check
// that nothing was damaged. It only reads f. A pack that lacks bases is refused. SHA256 and the rest describe the file.
func Scan(ctx context.Context, f *os.File, o Options) (*Received, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	src := io.NewSectionReader(f, 0, info.Size())
	r, err := newReceiver(ctx, src, f, nil, o)
	if err != nil {
		return nil, err
	}
	got, err := r.run(r.refuseThin)
	if err == nil && got.Size != info.Size() {
		err = corrupt(got.Size, "%d bytes follow the trailer", info.Size()-got.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("scan pack %s: %w", f.Name(), err)
	}
	return got, nil
}

func newReceiver(ctx context.Context, src io.Reader, file, dst *os.File, o Options) (*receiver, error) {
	o = o.withDefaults()
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	r := &receiver{ctx: ctx, o: o, file: file, ids: newIDTable(o.Format), progress: progress{fn: o.Progress}}
	r.sink = newSink(o.Format, dst, o.Tee)
	r.in = newInput(ctx, src, r.sink, o.MaxBytes)
	return r, nil
}

// run does it all. last deals with the deltas whose base the pack does not hold.
func (r *receiver) run(last func(*Received) error) (*Received, error) {
	defer r.in.release()
	defer r.sink.close()
	got, err := r.receive()
	if err != nil {
		return nil, err
	}
	if err := r.resolve(); err != nil {
		return nil, err
	}
	if err := last(got); err != nil {
		return nil, err
	}
	if err := r.refuseTwoBases(); err != nil {
		return nil, err
	}
	if err := r.checkSpecials(); err != nil {
		return nil, err
	}
	got.Records, got.External = r.records(), r.external()
	return got, nil
}

// receive is the first pass: over the stream.
func (r *receiver) receive() (*Received, error) {
	if err := r.readFileHeader(); err != nil {
		return nil, err
	}
	if err := r.scan(); err != nil {
		return nil, err
	}
	trailer, err := r.readTrailer()
	if err != nil {
		return nil, err
	}
	if err := r.sink.close(); err != nil {
		return nil, err
	}
	size := r.in.offset()
	got := &Received{Size: size, StoredSize: size, Objects: r.count, Trailer: trailer}
	r.sink.sha256.Sum(got.SHA256[:0])
	return got, nil
}

func (r *receiver) readFileHeader() error {
	var h [fileHeaderSize]byte
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		return entryError(0, noEOF(err))
	}
	count, err := parseFileHeader(h[:])
	if err != nil {
		return err
	}
	if int64(count) > r.o.MaxObjects {
		return tooLarge("%d objects, the limit is %d", count, r.o.MaxObjects)
	}
	r.count = count
	r.entries.reserve(2 * int64(count)) // each may need a base appended
	return nil
}

// readTrailer compares the trailer with the hash of all before it.
func (r *receiver) readTrailer() ([]byte, error) {
	r.bodyEnd = r.in.offset()
	if err := r.in.settle(); err != nil {
		return nil, err
	}
	want, err := r.sink.sum()
	if err != nil {
		return nil, err
	}
	trailer := make([]byte, r.o.Format.Size())
	if _, err := io.ReadFull(r.in, trailer); err != nil {
		return nil, entryError(r.bodyEnd, noEOF(err))
	}
	if !bytes.Equal(trailer, want) {
		return nil, corrupt(r.bodyEnd, "the trailer is %x, but the bytes before it hash to %x", trailer, want)
	}
	return trailer, r.in.finish()
}

// refuseTwoBases refuses a pack that holds a reference delta's base twice, added bases included, as git does. One of the two
// may be built on that delta, and who reads the pack could take that one for the base: round and round.
func (r *receiver) refuseTwoBases() error {
	for _, d := range r.refs {
		if r.ids.infos.at(d.base).flags&twice != 0 {
			return corrupt(r.entries.at(d.entry).off, "the delta's base %s is there twice", r.ids.id(r.o.Format, d.base))
		}
	}
	return nil
}

// addInflated counts work, done once or again, against the limit.
func (r *receiver) addInflated(n, received int64) error {
	limit := r.o.MaxInflatedBytes
	if limit <= 0 {
		limit = inflatedBase + inflatedRatio*received
	}
	if r.inflated.Add(n) > limit {
		return tooLarge("it inflates to more than %d bytes", limit)
	}
	return nil
}

// records lists the objects, sorted.
func (r *receiver) records() []Record {
	recs := make([]Record, r.entries.len())
	if len(recs) < manyRecords {
		for i := range recs {
			recs[i] = r.record(i)
		}
		sortRecords(recs)
		return recs
	}
	// Ids are spread evenly: each record is put right among those with the first two bytes of its id, which are few.
	var ends [1 << 16]uint32
	for i := range recs {
		ends[r.prefix(i)]++
	}
	begin := uint32(0)
	for p, n := range ends {
		ends[p], begin = begin, begin+n
	}
	for i := range recs {
		end := &ends[r.prefix(i)]
		recs[*end] = r.record(i)
		*end++
	}
	begin = 0
	for _, end := range ends {
		sortRecords(recs[begin:end])
		begin = end
	}
	return recs
}

// manyRecords is from how many records on they are sorted in two steps.
const manyRecords = 1 << 14

func (r *receiver) record(i int) Record {
	e := r.entries.at(uint32(i))
	return Record{ID: r.ids.id(r.o.Format, e.id), Offset: e.off, Size: e.size, Type: e.typ, CRC: e.crc}
}

// prefix returns the first two bytes of an entry's id.
func (r *receiver) prefix(i int) uint16 {
	sum := r.ids.sums.at(r.entries.at(uint32(i)).id)
	return uint16(sum[0])<<8 | uint16(sum[1])
}

func sortRecords(recs []Record) {
	slices.SortFunc(recs, func(a, b Record) int {
		if c := a.ID.Compare(b.ID); c != 0 {
			return c
		}
		if a.Offset < b.Offset {
			return -1
		}
		return 1
	})
}

// external lists the links that leave the pack.
func (r *receiver) external() []object.Link {
	var links []object.Link
	for n := range uint32(r.ids.sums.len()) {
		info := r.ids.infos.at(n)
		if info.want != 0 && (info.have == 0 || info.flags&appended != 0) {
			links = append(links, object.Link{ID: r.ids.id(r.o.Format, n), Type: info.want})
		}
	}
	return links
}

// progress calls a function for one goroutine at a time, and not for each object.
type progress struct {
	fn func(stage string, done, total int64)
	mu sync.Mutex
	n  atomic.Int64
}

const progressStep = 1024

func (p *progress) start(stage string, total int64) {
	p.n.Store(0)
	p.report(stage, 0, total)
}

func (p *progress) step(stage string, total int64) {
	if n := p.n.Add(1); n%progressStep == 0 || n == total {
		p.report(stage, n, total)
	}
}

func (p *progress) report(stage string, n, total int64) {
	if p.fn != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fn(stage, n, total)
	}
}
