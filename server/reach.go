package server

import (
	"context"
	"slices"

	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// maxReach bounds how many objects CheckWants meets, at some 50 bytes of memory each. Wants of recent history are met
// early: the walk begins at the youngest commits. What lies deeper than that in the history has to be fetched with a
// commit that leads to it.
const maxReach = 2_000_000

// CheckWants refuses wants that the refs do not lead to: commits wanted by id, and the trees and blobs that a partial
// clone fetches when it comes to need them. Objects that no ref leads to any more, force-pushed away or deleted, are kept
// in the store and never served; so it is not enough that an object is there, and a walk decides. An old blob costs up
// to what the counting for a clone costs, and takes a clone's place in the queue.
func (f fetcher) CheckWants(ctx context.Context, wants []object.ID) ([]object.ID, error) {
	release, err := take(ctx, f.s.fetches)
	if err != nil {
		return nil, err
	}
	defer release()
	roots, err := f.roots()
	if err != nil {
		return nil, err
	}
	reached, err := f.repo.Reached(ctx, roots, wants, maxReach)
	if err != nil {
		return nil, err
	}
	allowed := make(map[object.ID]struct{}, len(reached))
	for _, id := range reached {
		allowed[id] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(wants), func(id object.ID) bool {
		_, ok := allowed[id]
		return ok
	}), nil
}

// maxCompared bounds how many commits Enough reads. Clients name what they have beginning with the newest, so that a few
// suffice.
const maxCompared = 10_000

// Enough ends a negotiation as git does: once all that is wanted descends from something that is common, or from a parent
// of it.
func (f fetcher) Enough(ctx context.Context, wants, common []object.ID) (bool, error) {
	release, err := take(ctx, f.s.fetches)
	if err != nil {
		return false, err
	}
	defer release()
	return f.repo.Descends(ctx, wants, common, maxCompared)
}

// Size returns an object's size, whoever may have it.
func (f fetcher) Size(id object.ID) (int64, bool, error) {
	_, size, err := f.repo.Stat(id)
	if isNotFound(err) {
		return 0, false, nil
	}
	return size, err == nil, err
}

// roots returns the values of the refs that this client may see.
func (f fetcher) roots() (ids []object.ID, err error) {
	for r, err := range advertise(f.repo, nil) {
		if err != nil {
			return nil, err
		}
		if !r.ID.IsZero() {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// Deepen finds the boundary of a shallow clone's history.
func (f fetcher) Deepen(ctx context.Context, r gitproto.DeepenRequest) (gitproto.Boundary, error) {
	release, err := take(ctx, f.s.fetches)
	if err != nil {
		return gitproto.Boundary{}, err
	}
	defer release()
	d := storage.Deepening{Wants: r.Wants, Shallow: r.Shallow, Depth: r.Depth, Since: r.Since, Not: r.Not}
	if r.Relative || r.Depth == gitproto.Infinite {
		if d.Roots, err = f.roots(); err != nil {
			return gitproto.Boundary{}, err
		}
	}
	b, err := f.repo.Deepen(ctx, d)
	return gitproto.Boundary{Shallow: b.Shallow, Unshallow: b.Unshallow}, err
}
