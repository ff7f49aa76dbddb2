package svnfs

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"holdfast/storage"
)

// Registry opens filesystems, one for each repository, and closes those that were not used for the longest time. It may be used
// by many goroutines.
type Registry struct {
	max    int
	caches *caches

	mu      sync.Mutex // guards the rest
	open    map[storage.RepoID]*registered
	closing map[storage.RepoID]chan struct{} // of those that are being closed, which takes the disk's time; closed once they are
	clock   int64
	closed  bool
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
	return &Registry{max: limit, caches: newCaches(), open: map[storage.RepoID]*registered{}, closing: map[storage.RepoID]chan struct{}{}}
}

// Open returns the filesystem of a repository that has revision 0, and what must be called when it is used no more.
func (g *Registry) Open(repo *storage.Repo) (fs *FS, release func(), err error) {
	r, err := g.use(repo.ID())
	if err != nil {
		return nil, nil, err
	}
	r.once.Do(func() { r.fs, r.err = open(repo, g.caches) })
	release = sync.OnceFunc(func() { g.release(repo.ID(), r) })
	if r.err != nil {
		release()
		return nil, nil, r.err
	}
	return r.fs, release, nil
}

// use returns a filesystem, which may be yet to be opened, for one more user.
func (g *Registry) use(id storage.RepoID) (*registered, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for closing := g.closing[id]; closing != nil; closing = g.closing[id] {
		g.mu.Unlock()
		<-closing
		g.mu.Lock()
	}
	if g.closed {
		return nil, storage.ErrClosed
	}
	r := g.open[id]
	if r == nil {
		r = &registered{}
		g.open[id] = r
	}
	r.uses++
	return r, nil
}

func (g *Registry) release(id storage.RepoID, r *registered) {
	g.mu.Lock()
	r.uses--
	g.clock++
	r.last = g.clock
	if r.err != nil && g.open[id] == r {
		delete(g.open, id)
	}
	shut := g.surplus()
	g.mu.Unlock()
	g.shut(shut)
}

// surplus takes out those that were not used for the longest time while there are too many idle ones; all of them, once the registry
// is closed. They are to be shut.
func (g *Registry) surplus() map[storage.RepoID]*registered {
	keep := g.max
	if g.closed {
		keep = 0
	}
	shut := map[storage.RepoID]*registered{}
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
		if idle <= keep {
			return shut
		}
		shut[oldest] = g.open[oldest]
		delete(g.open, oldest)
		g.closing[oldest] = make(chan struct{})
	}
}

// shut closes what surplus has returned.
func (g *Registry) shut(shut map[storage.RepoID]*registered) error {
	var errs []error
	for id, r := range shut {
		errs = append(errs, r.fs.close())
		g.mu.Lock()
		close(g.closing[id])
		delete(g.closing, id)
		g.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Close closes all filesystems: those in use when they are released.
func (g *Registry) Close() error {
	g.mu.Lock()
	g.closed = true
	shut, closing := g.surplus(), slices.Collect(maps.Values(g.closing))
	g.mu.Unlock()
	err := g.shut(shut)
	for _, c := range closing {
		<-c
	}
	return err
}
