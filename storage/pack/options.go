package pack

import (
	"io"

	"holdfast/storage/object"
)

// Limits and sizes that Options stand for when they are zero.
const (
	DefaultMaxBytes       = 4 << 30
	DefaultMaxObjects     = 20_000_000
	DefaultMaxObjectBytes = 4 << 30
	DefaultMaxMemoryBytes = 512 << 20
	DefaultMaxDepth       = 4095 // git's own
	DefaultCacheBytes     = 96 << 20

	// Unless MaxInflatedBytes is set, a pack may inflate to so much, and to so many times its size. Source code repositories
	// have been seen at 25 (git) to 110 (Linux) times.
	inflatedBase  = 4 << 30
	inflatedRatio = 1024
)

// Options are the limits and surroundings of Receive and Scan. The zero value means the defaults, SHA-1 and no bases.
type Options struct {
	Format object.Format

	MaxBytes         int64 // of the pack as received
	MaxObjects       int64 // as the header counts them
	MaxObjectBytes   int64 // of one object, inflated
	MaxInflatedBytes int64 // of all objects together, deltas resolved
	MaxDepth         int   // of a chain of deltas

	// MaxMemoryBytes bounds each object that must be in memory as a whole: all but blobs that are stored undeltified. At
	// most two such objects over 32 MiB are in memory at a time.
	MaxMemoryBytes int64
	// CacheBytes bounds the delta bases that wait for their other deltas, all workers together.
	CacheBytes int64
	// Workers is the number of goroutines that resolve deltas; GOMAXPROCS if 0.
	Workers int

	// Base reads an object that a thin pack builds on, or a special file that a tree of the pack names. Any error counts as
	// missing. It is called by one goroutine at a time.
	Base func(object.ID) (object.Type, []byte, error)
	// Progress is told how far each stage ("receiving objects", "resolving deltas") is. It is called by one goroutine at a
	// time and should be quick.
	Progress func(stage string, done, total int64)
	// Tee gets exactly the received bytes, in order, from a goroutine that Receive ends before it returns.
	Tee io.Writer
	// Fsck says how strictly objects are checked.
	Fsck object.FsckOptions
}

func (o Options) withDefaults() Options {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	if o.Format == 0 {
		o.Format = object.SHA1
	}
	def(&o.MaxBytes, DefaultMaxBytes)
	def(&o.MaxObjects, DefaultMaxObjects)
	def(&o.MaxObjectBytes, DefaultMaxObjectBytes)
	def(&o.MaxMemoryBytes, DefaultMaxMemoryBytes)
	def(&o.CacheBytes, DefaultCacheBytes)
	if o.MaxDepth <= 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	o.MaxMemoryBytes = min(o.MaxMemoryBytes, o.MaxObjectBytes)
	return o
}

// Record says where an object is in a pack.
type Record struct {
	ID     object.ID
	Offset int64 // of the entry's header in the file
	Size   int64 // of the object, inflated and deltas resolved
	Type   object.Type
	CRC    uint32 // CRC-32 (IEEE) of the entry as stored, header included, as in git's index files
}

// Received describes a pack that Receive or Scan found valid.
type Received struct {
	SHA256  [32]byte // of the received bytes
	Size    int64    // of the received bytes, trailer included
	Objects uint32   // as the received header counts them
	Trailer []byte   // as received: the hash of all before it
	// StoredSize is the size of the file. It is more than Size if bases were appended: the file then has a count and a
	// trailer of its own, and everything from its byte 12 up to Size less the trailer is as received.
	StoredSize int64
	// Records are sorted by id, then by offset. A pack may hold an object twice: both are here. Appended bases are here
	// too: see Appended.
	Records []Record
	// External are the links to objects that the pack as received does not hold, each once, in no particular order.
	External []object.Link
}

// Appended reports whether r is a base that was added to complete a thin pack.
func (p *Received) Appended(r Record) bool { return r.Offset >= p.Size-int64(len(p.Trailer)) }
