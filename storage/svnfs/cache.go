package svnfs

import (
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
}

type revisionKey struct {
	fs  *FS
	rev svn.Revnum
}

type treeKey struct {
	fs  *FS // that has the tree
	dir ID
}

// The costs are about the bytes of memory that a value takes. Each cache holds up to twice its limit.
func newCaches() *caches {
	c := &caches{}
	c.nodes = cache[ID, *record]{max: 4 << 20, cost: func(r *record) int { return 500 + len(r.dir.inline)*entryCost + 40*len(r.dir.buckets) }}
	c.buckets = cache[ID, []Entry]{max: 2 << 20, cost: func(b []Entry) int { return 100 + len(b)*entryCost }}
	c.props = cache[ID, svn.Props]{max: 1 << 20, cost: propsCost}
	c.revisions = cache[revisionKey, *revision]{max: 4 << 20, cost: func(r *revision) int { return 300 + 150*len(r.changes) + propsCost(r.props) }}
	c.viewTrees = cache[treeKey, ID]{max: 1 << 20, cost: func(ID) int { return 150 }}
	return c
}

// entryCost is what an entry of a directory takes, the line included that its name is part of.
const entryCost = 130

func propsCost(p svn.Props) int {
	n := 100
	for name, value := range p {
		n += 100 + len(name) + len(value)
	}
	return n
}

// cache keeps what was used lately: the newest values up to a cost of max, and as many before them.
type cache[K comparable, V any] struct {
	max  int
	cost func(V) int

	mu       sync.Mutex // guards the rest
	now, old map[K]V
	used     int // the cost of now
}

func (c *cache[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.now[k]; ok {
		return v, true
	}
	if v, ok = c.old[k]; ok {
		c.add(k, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, v)
}

func (c *cache[K, V]) add(k K, v V) {
	cost := c.cost(v)
	if c.used+cost > c.max && len(c.now) > 0 {
		c.old, c.now, c.used = c.now, nil, 0
	}
	if c.now == nil {
		c.now = make(map[K]V)
	}
	c.now[k] = v
	c.used += cost
}
