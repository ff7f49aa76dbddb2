package svnfs

import (
	"errors"
	"sync"

	"holdfast/storage"
)

// Registry opens filesystems, one for each repository, and closes those that were not used for the longest time. It may be used
// by many goroutines.
type Registry struct {
	max    int
	caches *caches

	mu     sync.Mutex // guards the rest
	open   map[storage.RepoID]*registered
	clock  int64
	closed bool
}

type registered struct {
	once sync.Once
	fs   *FS
	err  error
	uses int
	last int64 // the clock when it was used last
}

// NewRegistry returns a Registry that keeps up to limit filesystems open that nobody uses; 64 if it is 0.
func NewRegistry(limit int) *Registry {
	if limit == 0 {
		limit = 64
	}
	return &Registry{max: limit, caches: newCaches(), open: map[storage.RepoID]*registered{}}
}

// Open returns the filesystem of a repository that has revision 0, and what must be called when it is used no more.
func (g *Registry) Open(repo *storage.Repo) (fs *FS, release func(), err error) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil, nil, storage.ErrClosed
	}
	r := g.open[repo.ID()]
	if r == nil {
		r = &registered{}
		g.open[repo.ID()] = r
	}
	r.uses++
	g.mu.Unlock()
	r.once.Do(func() { r.fs, r.err = open(repo, g.caches) })
	release = sync.OnceFunc(func() { g.release(repo.ID(), r) })
	if r.err != nil {
		release()
		return nil, nil, r.err
	}
	return r.fs, release, nil
}

func (g *Registry) release(id storage.RepoID, r *registered) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.uses--
	g.clock++
	r.last = g.clock
	if r.err != nil && g.open[id] == r {
		delete(g.open, id)
	}
	if g.closed && r.uses == 0 && r.fs != nil {
		r.fs.close()
		return
	}
	g.shrink()
}

// shrink closes the filesystem that was not used for the longest time while there are too many idle ones.
func (g *Registry) shrink() {
	for {
		idle := 0
		var oldest storage.RepoID
		for id, r := range g.open {
			if r.uses > 0 {
				continue
			}
			if idle++; oldest == "" || r.last < g.open[oldest].last {
				oldest = id
			}
		}
		if idle <= g.max {
			return
		}
		g.open[oldest].fs.close()
		delete(g.open, oldest)
	}
}

// Close closes all filesystems: those in use when they are released.
func (g *Registry) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	var errs []error
	for id, r := range g.open {
		if r.uses == 0 {
			errs = append(errs, r.fs.close())
			delete(g.open, id)
		}
	}
	return errors.Join(errs...)
}
