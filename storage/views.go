package storage

import (
	"maps"
	"sync"
)

// view is which of a repository's packs a lookup may answer with. Whoever uses what a lookup told him, the place of an
// object in a pack, holds a view from before the lookup until he is done: a pack that was merged into another one goes,
// with its records, only when no view is held that is older than the merge.
type view struct {
	turn  uint64
	gone  map[uint32]bool // numbers of packs that were merged into others; never changed
	users int             // guarded by views.mu
}

// views are a repository's newest view and those older ones that somebody holds. It never makes anybody wait.
type views struct {
	mu  sync.Mutex
	now *view
	old []*view // in order
	// freed is called after the last user of an old view is done.
	freed func()
}

// hold returns the present view, for release.
func (vs *views) hold() *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.current()
	v.users++
	return v
}

func (vs *views) current() *view {
	if vs.now == nil {
		vs.now = &view{}
	}
	return vs.now
}

func (vs *views) release(v *view) {
	vs.mu.Lock()
	v.users--
	over := v.users == 0 && v != vs.now
	for len(vs.old) > 0 && vs.old[0].users == 0 {
		vs.old = vs.old[1:]
	}
	vs.mu.Unlock()
	if over && vs.freed != nil {
		vs.freed()
	}
}

// move begins a view in which the packs with these numbers are gone, or are not.
func (vs *views) move(numbers []uint32, gone bool) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	was := vs.current()
	next := &view{turn: was.turn + 1, gone: maps.Clone(was.gone)}
	if next.gone == nil {
		next.gone = map[uint32]bool{}
	}
	for _, n := range numbers {
		if gone {
			next.gone[n] = true
		} else {
			delete(next.gone, n)
		}
	}
	vs.now = next
	if was.users > 0 {
		vs.old = append(vs.old, was)
	}
}

// turn returns the number of the present view.
func (vs *views) turn() uint64 {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.current().turn
}

// left reports whether nobody holds a view that is older than the one with that number.
func (vs *views) left(turn uint64) bool {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return len(vs.old) == 0 || vs.old[0].turn >= turn
}
