package svnfs

import (
	"container/list"
	"sync"

	"holdfast/storage/svn"
)

// caches keep what was decoded lately, for all filesystems of a Registry together: what they take is bounded however many
// repositories are in use.
type caches struct {
	nodes     cache[ID, *record]
	buckets   cache[ID, []Entry]
	props     cache[ID, svn.Props]
	revisions cache[revisionKey, *revision]
	viewTrees cache[treeKey, ID] // directory -> git tree, the zero ID if nothing of it is shown
	deltas    cache[deltaKey, []byte]

	// These change as properties are edited: they are read and written with FS.stateMu held.
	revisionProps cache[revisionKey, svn.Props] // edited or not
	edited        cache[revisionKey, uint64]    // by the number of 64 revisions: a bit for each whose properties were edited
}

type revisionKey struct {
	fs  *FS
	rev svn.Revnum
}

type treeKey struct {
	fs  *FS // that has the tree
	dir ID
}

// The costs are about the bytes of memory that a value takes.
func newCaches() *caches {
	c := &caches{}
	c.nodes = cache[ID, *record]{max: 8 << 20, cost: nodeCost}
	c.buckets = cache[ID, []Entry]{max: 4 << 20, cost: func(b []Entry) int { return 100 + entriesCost(b) }}
	c.props = cache[ID, svn.Props]{max: 2 << 20, cost: propsCost}
	c.revisions = cache[revisionKey, *revision]{max: 8 << 20, cost: revisionCost}
	c.viewTrees = cache[treeKey, ID]{max: 2 << 20, cost: func(ID) int { return 150 }}
	c.revisionProps = cache[revisionKey, svn.Props]{max: 4 << 20, cost: propsCost}
	c.edited = cache[revisionKey, uint64]{max: 1 << 20, cost: func(uint64) int { return 150 }}
	c.deltas = cache[deltaKey, []byte]{max: 8 << 20, cost: func(b []byte) int { return 300 + len(b) }}
	return c
}

// nodeCost counts the paths too: they are parts of the whole blob, which stays as long as one of them.
func nodeCost(r *record) int {
	n := 500 + len(r.path) + len(r.copyRoot.Path) + entriesCost(r.dir.inline) + 40*len(r.dir.buckets)
	if r.copyFrom != nil {
		n += len(r.copyFrom.Path)
	}
	return n
}

func entriesCost(entries []Entry) int {
	n := 110 * len(entries) // the line included that the name is part of
	for i := range entries {
		n += len(entries[i].Name)
	}
	return n
}

func revisionCost(r *revision) int {
	n := 400 + propsCost(r.props)
	for i := range r.changes {
		c := &r.changes[i]
		if n += 110 + len(c.Path); c.CopyFrom != nil {
			n += 50 + len(c.CopyFrom.Path)
		}
	}
	return n
}

func propsCost(p svn.Props) int {
	n := 100
	for name, value := range p {
		n += 100 + len(name) + len(value)
	}
	return n
}

// cache keeps what was used last, up to a cost of max. What is read again is mostly a whole history, in the same order: a cache that
// forgets a half of what it has at a time would then forget what comes next.
type cache[K comparable, V any] struct {
	max  int
	cost func(V) int

	mu    sync.Mutex // guards the rest
	byKey map[K]*list.Element
	order list.List // of *cached[K, V], the one used last in front
	used  int
}

type cached[K comparable, V any] struct {
	key   K
	value V
}

func (c *cache[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[k]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[K, V]).value, true
}

// put adds a value, unless there is one. What costs more than max is kept until the next.
func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[k]; ok {
		return
	}
	if c.byKey == nil {
		c.byKey = map[K]*list.Element{}
	}
	c.byKey[k] = c.order.PushFront(&cached[K, V]{k, v})
	for c.used += c.cost(v); c.used > c.max && c.order.Len() > 1; {
		c.remove(c.order.Back())
	}
}

// drop forgets a value.
func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[k]; ok {
		c.remove(e)
	}
}

func (c *cache[K, V]) remove(e *list.Element) {
	gone := c.order.Remove(e).(*cached[K, V])
	delete(c.byKey, gone.key)
	c.used -= c.cost(gone.value)
}
