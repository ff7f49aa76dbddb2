package storage

import (
	"container/list"
	"errors"
	"io"
	"sync"

	"go.etcd.io/bbolt"

	"holdfast/storage/pack"
)

// handles keeps files open that are used again and again: as many as are in use, and up to limit that are not.
type handles[K comparable, V io.Closer] struct {
	open  func(K) (V, error)
	limit int

	mu     sync.Mutex
	byKey  map[K]*handle[K, V]
	idle   list.List // of *handle, the one to close next at the back
	closed bool
}

// handle is one open file.
type handle[K comparable, V io.Closer] struct {
	key   K
	value V
	err   error
	ready chan struct{} // closed once value or err is set

	// The rest is guarded by handles.mu.
	users   int
	element *list.Element // in idle
	gone    bool          // to be closed by its last user
}

func newHandles[K comparable, V io.Closer](limit int, open func(K) (V, error)) *handles[K, V] {
	return &handles[K, V]{open: open, limit: limit, byKey: map[K]*handle[K, V]{}}
}

// acquire opens the file, or shares it. The caller releases it.
func (c *handles[K, V]) acquire(key K) (*handle[K, V], error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	h, ok := c.byKey[key]
	if ok {
		if h.users++; h.element != nil {
			c.idle.Remove(h.element)
			h.element = nil
		}
		c.mu.Unlock()
		<-h.ready
	} else {
		h = &handle[K, V]{key: key, users: 1, ready: make(chan struct{})}
		c.byKey[key] = h
		c.mu.Unlock()
		h.value, h.err = c.open(key)
		close(h.ready)
	}
	if h.err != nil {
		c.release(h)
		return nil, h.err
	}
	return h, nil
}

func (c *handles[K, V]) release(h *handle[K, V]) {
	c.mu.Lock()
	if h.users--; h.users > 0 {
		c.mu.Unlock()
		return
	}
	var shut []*handle[K, V]
	switch {
	case h.gone:
		shut = append(shut, h)
	case h.err != nil || c.closed:
		delete(c.byKey, h.key)
		shut = append(shut, h)
	default:
		h.element = c.idle.PushFront(h)
		for c.idle.Len() > c.limit {
			old := c.idle.Remove(c.idle.Back()).(*handle[K, V])
			delete(c.byKey, old.key)
			shut = append(shut, old)
		}
	}
	c.mu.Unlock()
	for _, h := range shut {
		if h.err == nil {
			h.value.Close()
		}
	}
}

// forget closes the file, now or once nobody uses it, so that the next acquire opens it anew.
func (c *handles[K, V]) forget(key K) error {
	c.mu.Lock()
	h, ok := c.byKey[key]
	if !ok {
		c.mu.Unlock()
		return nil
	}
	delete(c.byKey, key)
	h.gone = true
	if h.element == nil {
		c.mu.Unlock()
		return nil
	}
	c.idle.Remove(h.element)
	c.mu.Unlock()
	return h.value.Close()
}

// close closes what nobody uses; the rest is closed by its last user.
func (c *handles[K, V]) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for e := c.idle.Front(); e != nil; e = e.Next() {
		h := e.Value.(*handle[K, V])
		delete(c.byKey, h.key)
		errs = append(errs, h.value.Close())
	}
	c.idle.Init()
	return errors.Join(errs...)
}

// packHandleKey names a stored pack.
type packHandleKey struct {
	st     *repoState
	number uint32
}

type (
	packCache  = handles[packHandleKey, *pack.Pack]
	indexCache = handles[*repoState, *bbolt.DB]
)

func newPackCache(s *Store) *packCache {
	return newHandles(s.opts.OpenPacks, func(key packHandleKey) (*pack.Pack, error) {
		id, err := key.st.packID(key.number)
		if err != nil {
			return nil, err
		}
		return pack.Open(key.st.packPath(id), key.st.format)
	})
}

func newIndexCache(s *Store) *indexCache {
	return newHandles(s.opts.OpenIndexes, func(st *repoState) (*bbolt.DB, error) {
		return openIndexDB(st.indexDBPath(), s.opts.NoSync)
	})
}
