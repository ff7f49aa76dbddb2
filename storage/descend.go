package storage

import (
	"container/heap"
	"context"
	"math"

	"holdfast/storage/object"
)

// Descends reports whether each of wants is one of commits or a parent of one, or has such a commit among its ancestors. A
// tag counts as what it leads to; a want that leads to no commit does not count. At most limit commits are read, the newest first and none
// older than all of commits: what was not found by then, or behind a commit with a wrong date, counts as not there. Each
// of wants must be known; those of commits that are not known are ignored.
func (r *Repo) Descends(ctx context.Context, wants, commits []object.ID, limit int) (bool, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return false, r.fail("compare commits", err)
	}
	base := st.useBase()
	defer st.dropBase(base)
	d := &descent{ctx: ctx, st: st, commits: walker{st: st, graph: base}, goals: map[object.ID]struct{}{},
		oldest: math.MaxInt64, left: limit}
	ok, err := d.all(wants, commits)
	if err != nil {
		return false, r.fail("compare commits", err)
	}
	return ok, nil
}

// descent looks for ways from wants to goals.
type descent struct {
	ctx     context.Context
	st      *repoState
	commits walker                 // reads commits
	goals   map[object.ID]struct{} // with their parents, and the wants that lead to one
	oldest  int64                  // the least date of the commits that wants are compared with
	left    int                    // how many more commits may be read
}

func (d *descent) all(wants, commits []object.ID) (bool, error) {
	for _, id := range commits {
		loc, ok, err := d.st.lookup(id)
		if err != nil {
			return false, err
		}
		if !ok || loc.typ != object.Commit {
			continue
		}
		date, parents, err := d.read(id)
		if err != nil || d.left < 0 {
			return false, err
		}
		d.goals[id] = struct{}{}
		for _, p := range parents {
			d.goals[p] = struct{}{}
		}
		d.oldest = min(d.oldest, date)
	}
	for _, id := range wants {
		want, err := d.st.peel(id)
		if err != nil {
			return false, err
		}
		if want.Type != object.Commit {
			continue
		}
		if ok, err := d.leads(want.ID); err != nil || !ok {
			return false, err
		}
		d.goals[want.ID] = struct{}{}
	}
	return true, nil
}

// read returns a commit's date and parents.
func (d *descent) read(id object.ID) (date int64, parents []object.ID, err error) {
	if err := d.ctx.Err(); err != nil {
		return 0, nil, err
	}
	d.left--
	info, err := d.commits.readCommit(id)
	return info.Time, info.Parents, err
}

// leads walks from a commit, the newest of its ancestors first.
func (d *descent) leads(want object.ID) (bool, error) {
	seen := map[object.ID]struct{}{}
	var parents [][]object.ID // of the commits in queue
	var queue commitQueue
	for next := []object.ID{want}; ; {
		for _, id := range next {
			if _, ok := d.goals[id]; ok {
				return true, nil
			}
			if _, twice := seen[id]; twice {
				continue
			}
			seen[id] = struct{}{}
			date, above, err := d.read(id)
			if err != nil || d.left < 0 {
				return false, err
			}
			if date >= d.oldest {
				heap.Push(&queue, queued{uint32(len(parents)), date})
				parents = append(parents, above)
			}
		}
		if queue.Len() == 0 {
			return false, nil
		}
		next = parents[heap.Pop(&queue).(queued).commit]
	}
}
