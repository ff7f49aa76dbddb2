package storage

import (
	"log/slog"
	"time"
)

// Options tune a Store. The zero value works; each limit that is zero takes its default.
type Options struct {
	MaxPackBytes     int64 // a pack as received; default 16 GiB
	MaxObjects       int64 // objects in one pack; default 50 million
	MaxObjectBytes   int64 // one object, inflated; default 4 GiB
	MaxInflatedBytes int64 // all objects of a pack, inflated; default 4 GiB and 1024 times the pack's size
	MaxReadBytes     int64 // an object that is held in memory: all but blobs that are stored undeltified; default 512 MiB
	MaxDepth         int   // length of a chain of deltas in a received pack; default 4095

	MaxUpdates int // ref updates in one transaction; default 100,000
	MaxRefs    int // refs in one repository; default 1 million

	// MaxDeltaBytes bounds the objects that WritePack makes deltas of, and their bases: it holds two of them in memory.
	// Default 32 MiB.
	MaxDeltaBytes int64

	CacheBytes  int64 // delta bases kept in memory, for all readers together; default 20 MiB
	OpenPacks   int   // pack files kept open; default 256
	OpenIndexes int   // index.db files kept open; default 64

	// IndexDelay is how long a new pack may wait for its way into index.db; more packs are then taken at once.
	// Default 5 s. IndexPacks is the number of waiting packs of a repository that ends the wait; default 64.
	IndexDelay time.Duration
	IndexPacks int

	// IndexFree are the bytes in free pages from which on, if it is most of its size, an index.db is made anew after a merge; default 1 MiB.
	IndexFree int64

	// GraphObjects is the number of objects from which on a repository has a base pack, with a graph file: fetches from
	// smaller repositories cost little without one. Default 2,000.
	GraphObjects int

	// MergePacks is the number of packs from which on a repository's newest packs are merged, if they are many for what they
	// hold; default 8. MergeDelay is how long new packs wait for it; default 30 s. See Maintain.
	MergePacks int
	MergeDelay time.Duration
	// MergeShare is the share of a core, in percent, that merging takes at most, and a fifth of it while pushes are under
	// way; default 50, 100 is without bounds. MergeFree are the bytes that a merge leaves free on the disk; default 1 GiB.
	MergeShare int
	MergeFree  int64

	// Log gets what goes wrong in the background. Default: slog.Default().
	Log *slog.Logger

	// NoSync leaves out every fsync. For tests: a power cut then loses the store.
	NoSync bool

	// FaultHook, for tests, is called after each step that writes; see the Step constants. If it returns an error, the
	// store stops as if the process had died there: nothing is written, cleaned or acknowledged any more. It is called
	// from many goroutines.
	FaultHook func(Step) error
}

// Step names a write that Options.FaultHook is told of.
type Step string

// The steps of a push, in their order. StepHostCommit stands for two fsyncs.
const (
	StepQuarantine  Step = "quarantine file made"
	StepPackWritten Step = "pack written"
	StepIndexFile   Step = "index file written"        // as all steps with index files, not for a small pack
	StepRepoDir     Step = "repository directory made" // a repository's first push only; three fsyncs
	StepIndexRename Step = "index file renamed"
	StepPackRename  Step = "pack renamed"
	StepPackSync    Step = "pack synced"
	StepDirSync     Step = "directory synced" // at the same time as the pack
	StepHostPut     Step = "host.db changed, not committed"
	StepHostCommit  Step = "host.db committed"
	StepFill        Step = "index.db changed, not committed"
	StepFilled      Step = "index.db committed"
	StepUnlink      Step = "index file removed"
	StepShrink      Step = "smaller index.db made"
	StepShrunk      Step = "smaller index.db in place"

	StepGraphWritten Step = "graph file written"
	StepGraphRename  Step = "graph file renamed"
)

// The steps of a merge take those of a push that have the same effect, then these.
const (
	StepSwept       Step = "merged pack removed"
	StepSweepCommit Step = "merged packs forgotten by host.db"
)

func (o Options) withDefaults() Options {
	limit(&o.MaxPackBytes, 16<<30)
	limit(&o.MaxObjects, 50e6)
	limit(&o.MaxObjectBytes, 4<<30)
	limit(&o.MaxReadBytes, 512<<20)
	limit(&o.MaxDepth, 4095)
	limit(&o.MaxUpdates, 100_000)
	limit(&o.MaxRefs, 1_000_000)
	limit(&o.MaxDeltaBytes, 32<<20)
	limit(&o.CacheBytes, 20<<20)
	limit(&o.OpenPacks, 256)
	limit(&o.OpenIndexes, 64)
	limit(&o.IndexDelay, 5*time.Second)
	limit(&o.IndexPacks, 64)
	limit(&o.IndexFree, 1<<20)
	limit(&o.GraphObjects, 2000)
	limit(&o.MergePacks, 8)
	limit(&o.MergeDelay, 30*time.Second)
	limit(&o.MergeShare, 50)
	limit(&o.MergeFree, 1<<30)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

func limit[T int | int64 | time.Duration](field *T, otherwise T) {
	if *field <= 0 {
		*field = otherwise
	}
}
