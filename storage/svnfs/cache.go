package svnfs

import "sync"

// cache keeps what was used lately: the newest max entries, and up to as many before them. The zero value keeps nothing until max is
// set.
type cache[K comparable, V any] struct {
	max int

	mu       sync.Mutex // guards the rest
	now, old map[K]V
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
	if len(c.now) >= c.max {
		c.old, c.now = c.now, nil
	}
	if c.now == nil {
		c.now = make(map[K]V)
	}
	c.now[k] = v
}
