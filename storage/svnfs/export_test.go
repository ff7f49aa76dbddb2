package svnfs

import "holdfast/storage"

// What decoders make of bytes, encoded again; for fuzzing.

func RecodeNode(b []byte) ([]byte, error) {
	r, err := decodeNode(ID{}, b)
	if err != nil {
		return nil, err
	}
	return r.encode(), nil
}

func RecodeBucket(b []byte) ([]byte, error) {
	e, err := decodeBucket(ID{}, b)
	if err != nil {
		return nil, err
	}
	return encodeBucket(e), nil
}

func RecodeRevision(b []byte) ([]byte, error) {
	r, err := decodeRevision(ID{}, b)
	if err != nil {
		return nil, err
	}
	return r.encode(), nil
}

func DecodeFacts(b []byte) error {
	_, err := decodeFacts(b)
	return err
}

// Cache is a cache of numbers, each of which costs what it is.
type Cache struct{ c cache[string, int] }

func NewCache(max int) *Cache {
	return &Cache{cache[string, int]{max: max, cost: func(n int) int { return n }}}
}

func (c *Cache) Get(key string) int    { n, _ := c.c.get(key); return n }
func (c *Cache) Put(key string, n int) { c.c.put(key, n) }
func (c *Cache) Drop(key string)       { c.c.drop(key) }
func (c *Cache) Cost() int             { return c.c.used }

// LimitIndex has svn.db not grow past a size.
func (f *FS) LimitIndex(bytes int) { f.index.db.MaxSize = bytes }

func (f *FS) VerifyIndex() error { return f.verifyIndex() }

// BlockIndex holds svn.db up, as a slow disk does, until goOn is called.
func (f *FS) BlockIndex() (goOn func()) {
	f.index.mu.Lock()
	return f.index.mu.Unlock
}

// Closing reports whether the filesystem of a repository is being closed.
func (g *Registry) Closing(id storage.RepoID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closing[id] != nil
}

// LoseIndex loses what of svn.db is in memory only.
func (f *FS) LoseIndex() {
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	f.index.pending, f.index.count = newIndexUpdate(), 0
}

// Cost returns what an object costs in its cache once it is decoded, 0 if it cannot be.
func Cost(b []byte) int {
	c := newCaches()
	if r, err := decodeNode(ID{}, b); err == nil {
		return c.nodes.cost(r)
	}
	if e, err := decodeBucket(ID{}, b); err == nil {
		return c.buckets.cost(e)
	}
	if r, err := decodeRevision(ID{}, b); err == nil {
		return c.revisions.cost(r)
	}
	return 0
}

// SetMaxLevels changes how deep directories may be nested, and returns how deep they might before.
func SetMaxLevels(n int) (before int) {
	before, maxLevels = maxLevels, n
	return before
}
