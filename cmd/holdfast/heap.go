package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	smallHeap = 56 << 20 // bytes that the heap grows to, if what is in use is less
	leastRoom = 18       // percent of what is in use that it grows by
)

// tuneHeap lets the heap grow to twice what is in use, as Go has it, only while that is little: caches fill up, and what is garbage
// beside them would be as much again. A limit of memory would do the same, until what is in use comes near it: then the collector would
// hardly ever stop. It does nothing if the user has said how the heap is to grow.
func tuneHeap(getenv func(string) string) {
	if getenv("GOGC") == "" && getenv("GOMEMLIMIT") == "" {
		afterCollection(func() { debug.SetGCPercent(roomFor(liveHeap())) })
	}
}

// afterCollection calls fn after every collection.
func afterCollection(fn func()) {
	mark := new(*int) // unreachable at once; with a pointer in it, so that it shares its memory with nothing that lives longer
	runtime.AddCleanup(mark, func(int) {
		fn()
		afterCollection(fn)
	}, 0)
}

// liveHeap is what the last collection found in use, in bytes.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// roomFor is by how many percent a heap grows until it is collected again.
func roomFor(live uint64) int {
	room := 100 * (smallHeap - int64(live)) / max(1, int64(live))
	return int(min(max(room, leastRoom), 100))
}
