package pack

import (
	"container/list"
	"sync"
	"sync/atomic"

	"holdfast/storage/object"
)

// Cache keeps delta bases of any number of packs, those used last, up to a number of bytes. It is safe for concurrent use.
// A nil Cache keeps nothing.
type Cache struct {
	max int64

	mu    sync.Mutex // guards all below
	size  int64
	byKey map[cacheKey]*list.Element
	order list.List // of *cached, the one used last in front
}

type cacheKey struct {
	pack uint64
	off  int64
}

type cached struct {
	key  cacheKey
	t    object.Type
	data []byte
}

var cacheKeys atomic.Uint64

// cacheOverhead is what an entry costs beside its data, roughly.
const cacheOverhead = 200

// NewCache returns a cache of at most maxBytes.
func NewCache(maxBytes int64) *Cache {
	return &Cache{max: maxBytes, byKey: map[cacheKey]*list.Element{}}
}

func (c *Cache) get(pack uint64, off int64) (object.Type, []byte, bool) {
	if c == nil {
		return 0, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[cacheKey{pack, off}]
	if !ok {
		return 0, nil, false
	}
	c.order.MoveToFront(e)
	v := e.Value.(*cached)
	return v.t, v.data, true
}

func (c *Cache) put(pack uint64, off int64, t object.Type, data []byte) {
	if c == nil || int64(len(data)) > c.max/8 {
		return // one object must not push out all others
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{pack, off}
	if _, ok := c.byKey[key]; ok {
		return
	}
	c.byKey[key] = c.order.PushFront(&cached{key: key, t: t, data: data})
	c.size += int64(cap(data)) + cacheOverhead
	for c.size > c.max {
		last := c.order.Remove(c.order.Back()).(*cached)
		delete(c.byKey, last.key)
		c.size -= int64(cap(last.data)) + cacheOverhead
	}
}
