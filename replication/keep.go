package replication

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// pruneBatch is how many spool files may be ready for deletion before the cursors are saved ahead of time.
const pruneBatch = 64

// keepLoop saves cursors, deletes what every mirror has, and holds the spool within its bound.
func (r *Replicator) keepLoop(ctx context.Context) {
	for fails := 0; ctx.Err() == nil; {
		now, wait, changed := r.keepDue()
		if !now {
			r.await(ctx, changed, wait)
			continue
		}
		r.dropLagging()
		if err := r.save(); err != nil {
			fails++
			if fails == 1 {
				r.o.Log.Error("cannot save the mirror cursors: the spool cannot be emptied", "err", err)
			}
			r.pause(ctx, r.backoff(fails))
			continue
		}
		fails = 0
		r.prune()
	}
}

// keepDue decides whether there is something to do at once, or else for how long to wait (0: until a change).
func (r *Replicator) keepDue() (now bool, wait time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.laggard() != nil || r.overdue() {
		return true, 0, nil
	}
	if !r.dirty {
		return false, 0, r.changed
	}
	wait = r.o.CursorInterval - r.o.Now().Sub(r.dirtyAt)
	done := r.doneThrough(func(m *Mirror) cursor { return m.cur })
	saved := r.doneThrough(func(m *Mirror) cursor { return m.saved })
	if wait <= 0 || done >= saved+pruneBatch {
		return true, 0, nil
	}
	return false, wait, r.changed
}

// doneThrough is the last segment that no mirror needs from the spool any more; r.mu is held. Mirrors that need heal need
// nothing. If all do, everything is kept.
func (r *Replicator) doneThrough(of func(*Mirror) cursor) uint64 {
	done, needed := r.number, false
	for _, m := range r.mirrors {
		if c := of(m); c.Heal == "" {
			done, needed = min(done, c.Number), true
		}
	}
	if !needed {
		return 0
	}
	return done
}

// prune deletes the segments that every mirror has according to the cursors on disk, and the packs that only those name.
func (r *Replicator) prune() {
	for _, path := range r.forget() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.o.Log.Warn("cannot delete a spool file that is not needed", "err", err)
		}
	}
}

// forget takes out of the books what can be deleted, and returns the paths.
func (r *Replicator) forget() (paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := r.doneThrough(func(m *Mirror) cursor { return m.saved })
	for _, n := range r.spooled() {
		if n > done {
			break
		}
		s := r.segments[n]
		delete(r.segments, n)
		r.bytes -= s.size
		paths = append(paths, s.path)
		for _, o := range s.Header.Packs {
			if p := r.packs[o.ID]; p != nil {
				if p.refs--; p.refs == 0 {
					paths = append(paths, p.path)
					r.dropPack(p)
				}
			}
		}
	}
	if len(paths) > 0 {
		r.broadcast()
	}
	return paths
}

// spooled returns the numbers of the segments in the spool, in order; r.mu is held, or nobody else has r.
func (r *Replicator) spooled() []uint64 { return slices.Sorted(maps.Keys(r.segments)) }

// overdue reports whether the spool is over its bound and holds segments that no mirror needs; r.mu is held. To delete
// those comes before all else: what every mirror has is no backlog, and no reason to refuse a push.
func (r *Replicator) overdue() bool {
	if r.bytes <= r.o.SpoolBytes {
		return false
	}
	done := r.doneThrough(func(m *Mirror) cursor { return m.cur })
	for n := range r.segments {
		if n <= done {
			return true
		}
	}
	return false
}

// full returns an error if the spool is over its bound, and neither a deletion nor a dropped backlog will change that;
// r.mu is held.
func (r *Replicator) full() error {
	if r.bytes <= r.o.SpoolBytes || r.overdue() || r.laggard() != nil {
		return nil
	}
	return fmt.Errorf("%w: it holds %d bytes, its bound is %d, and the mirrors take no more", ErrSpool, r.bytes, r.o.SpoolBytes)
}

// cramped returns an error if the file system has too little room left to seal what a push would add.
func (r *Replicator) cramped() error {
	free, err := r.o.Free(r.o.Dir)
	if err != nil {
		return fmt.Errorf("%w: how much room is left there is unknown: %w", ErrSpool, err)
	}
	if free < r.o.MinFree {
		return fmt.Errorf("%w: the host's disk is nearly full (%s free, %s needed): nothing was stored; free space on the disk of %s, then push again",
			ErrSpool, humanBytes(free), humanBytes(r.o.MinFree), r.o.Dir)
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}

// laggard returns the mirror whose backlog should be dropped now: the one furthest behind while the spool is over its
// bound, if it is stopped or enough others work for the acks, and if it would help; nil if none may be. r.mu is held.
func (r *Replicator) laggard() *Mirror {
	if r.overdue() {
		return nil
	}
	var worst *Mirror
	for _, m := range r.mirrors {
		if m.cur.Heal == "" && (worst == nil || m.cur.Number < worst.cur.Number) {
			worst = m
		}
	}
	if worst == nil || r.bytes <= r.o.SpoolBytes {
		return nil
	}
	working := 0
	for _, m := range r.active() {
		if m != worst && m.fails == 0 {
			working++
		}
	}
	if worst.stop == nil && working < r.o.Acks {
		return nil
	}
	if r.backlog(worst) < r.o.SpoolBytes/4 {
		return nil // a big pack fills the spool, not this
	}
	return worst
}

// backlog is how many bytes in the spool the mirror has still to ship; r.mu is held.
func (r *Replicator) backlog(m *Mirror) (bytes int64) {
	for n, s := range r.segments {
		if n <= m.cur.Number {
			continue
		}
		bytes += s.size
		for _, o := range s.Header.Packs {
			if p := r.packs[o.ID]; p != nil && p.up[m] != upDone {
				bytes += p.size
			}
		}
	}
	return bytes
}

// dropLagging gives up the backlog of lagging mirrors while the spool is over its bound. The files go with the next prune.
func (r *Replicator) dropLagging() {
	r.mu.Lock()
	m := r.laggard()
	r.mu.Unlock()
	if m != nil {
		m.needHeal(fmt.Sprintf("its backlog was dropped because the spool grew over %d bytes", r.o.SpoolBytes))
	}
}
