package replication

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/storage"
)

// epoch is one writer's term as the root records tell of it.
type epoch struct {
	number     uint64
	generation uint64
	end        *Position // where the next term's root record says that this one ends; nil in the last
	endVersion uint64    // of that record
}

// rootFound is a valid root record and where it was seen.
type rootFound struct {
	root     Root
	ref      RootRef
	object   []byte
	received []Reception
}

// rootSearch collects root records from all mirrors.
type rootSearch struct {
	kit *Kit
	mu  sync.Mutex
	// found is guarded by mu.
	found map[RootRef]*rootFound
}

// findRoots reads the root records of all mirrors and makes the timeline of epochs from them.
func (r *restorer) findRoots(ctx context.Context) error {
	found, err := r.mirrors.findRoots(ctx)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return r.noRoot()
	}
	top, err := r.topRoot(found)
	if err != nil {
		return err
	}
	r.report.RootVersion = top.root.Version
	known, sum := r.kit.KnownRoot()
	switch {
	case top.root.Version < known:
		r.report.missing("root version %d, which the kit knows, is on no mirror that was read: they end at version %d. They lag, or somebody withholds it", known, top.root.Version)
	case known > 0:
		if _, ok := found[RootRef{Version: known, Sum: sum}]; !ok {
			r.report.missing("root version %d as the kit knows it (%s) is on no mirror that was read", known, Sum(sum))
		}
	}
	for ref, f := range found {
		r.mirrors.roots[ref] = f.root
	}
	r.line = r.timeline(found, top)
	return nil
}

func (r *restorer) noRoot() error {
	var why []string
	for _, m := range r.mirrors.reports() {
		if m.Err != "" {
			why = append(why, m.Name+": "+m.Err)
		}
	}
	if len(why) == len(r.mirrors.all) {
		return fmt.Errorf("no mirror could be read: %s", strings.Join(why, "; "))
	}
	return fmt.Errorf("%w (instance %s): the kit is another instance's, or the buckets are. %s", ErrNoRoot, r.kit.Instance(), strings.Join(why, "; "))
}

// topRoot returns the record of the highest version. Of two, the one counts that the kit knows, else the one that a
// majority of mirrors received first.
func (r *restorer) topRoot(found map[RootRef]*rootFound) (*rootFound, error) {
	var top []*rootFound
	for _, f := range found {
		if len(top) > 0 && f.root.Version > top[0].root.Version {
			top = nil
		}
		if len(top) == 0 || f.root.Version == top[0].root.Version {
			top = append(top, f)
		}
	}
	if len(top) == 1 {
		return top[0], nil
	}
	sort.Slice(top, func(i, j int) bool { return top[i].ref.String() < top[j].ref.String() })
	known, sum := r.kit.KnownRoot()
	groups := make([][]Reception, len(top))
	for i, f := range top {
		if f.ref == (RootRef{Version: known, Sum: sum}) {
			return f, nil
		}
		groups[i] = f.received
	}
	i, why := firstByMajority(groups)
	if i < 0 {
		return nil, fmt.Errorf("there are %d root records of version %d, all signed by the kit's key, and %s: put the right one's hash into kit.yaml", len(top), top[0].root.Version, why)
	}
	r.report.warn("there are %d root records of version %d; %s is taken: %s", len(top), top[0].root.Version, top[i].ref.Sum, why)
	return top[i], nil
}

// timeline lists the epochs from the first to that of top, as far as there are records of them.
func (r *restorer) timeline(found map[RootRef]*rootFound, top *rootFound) []epoch {
	records := make(map[uint64]*rootFound) // by version
	for _, f := range found {
		if have, ok := records[f.root.Version]; !ok || f.ref.String() < have.ref.String() {
			records[f.root.Version] = f
		}
	}
	var chain []*rootFound
	for f := top; f != nil; {
		chain = append(chain, f)
		if f.root.Version == 1 {
			break
		}
		prev := RootRef{Version: f.root.Version - 1, Sum: f.root.Prev}
		next, ok := found[prev]
		if !ok {
			r.report.warn("root version %d (%s) is on no mirror that was read", prev.Version, prev.Sum)
			next = olderThan(records, f.root.Version)
		}
		f = next
	}
	slices.Reverse(chain)
	var line []epoch
	for _, f := range chain {
		if n := len(line); n > 0 && line[n-1].number == f.root.Epoch {
			continue
		} else if n > 0 && f.root.After != nil && f.root.After.Epoch == line[n-1].number {
			line[n-1].end, line[n-1].endVersion = f.root.After, f.root.Version
		}
		line = append(line, epoch{number: f.root.Epoch, generation: f.root.Generation})
	}
	// A takeover may go back behind earlier ones.
	for i := len(line) - 2; i >= 0; i-- {
		if later, end := line[i+1].end, line[i].end; later != nil && end != nil && later.Last < end.Last {
			shorter := *end
			shorter.Last, shorter.Head = later.Last, later.Head
			line[i].end, line[i].endVersion = &shorter, line[i+1].endVersion
		}
	}
	return line
}

func olderThan(records map[uint64]*rootFound, version uint64) *rootFound {
	var best *rootFound
	for v, f := range records {
		if v < version && (best == nil || v > best.root.Version) {
			best = f
		}
	}
	return best
}

// findRoots returns all valid root records of the kit's instance that any mirror holds. Root records alone are found by
// listing: whatever the key did not sign is junk. Those that the kit knows are also asked for by name.
func (ms *mirrorSet) findRoots(ctx context.Context) (map[RootRef]*rootFound, error) {
	search := &rootSearch{kit: ms.kit, found: make(map[RootRef]*rootFound)}
	g, gctx := errgroup.WithContext(ctx)
	for _, s := range ms.all {
		g.Go(func() error {
			if err := ms.listRoots(gctx, s, search); err != nil {
				if gctx.Err() != nil {
					return gctx.Err()
				}
				s.giveUp(fmt.Errorf("root records: %w", err))
			}
			return nil
		})
	}
	return search.found, g.Wait()
}

// rootReaders is how many root records are read at once from a mirror: junk among them may be plenty.
const rootReaders = 8

// listRoots fails only if the mirror showed no root record at all: one that cannot be read may be junk.
func (ms *mirrorSet) listRoots(ctx context.Context, s *source, search *rootSearch) error {
	var g errgroup.Group
	g.SetLimit(rootReaders)
	var failed atomic.Pointer[error]
	read := func(ref RootRef) {
		g.Go(func() error {
			if err := ms.readRoot(ctx, s, ref, search); err != nil {
				failed.Store(&err)
			}
			return nil
		})
	}
	if version, sum := ms.kit.KnownRoot(); version > 0 {
		read(RootRef{Version: version, Sum: sum})
	}
	after := ""
	err := ms.retry(ctx, func() error {
		for o, err := range s.bucket.List(ctx, RootPrefix(ms.kit.Instance()), after) {
			if err != nil {
				return err
			}
			after = o.Key
			if k, err := ParseKey(o.Key); err == nil && k.Kind == KeyRoot {
				read(k.Root)
			} else {
				s.count(func(m *MirrorReport) { m.Junk++ })
			}
		}
		return nil
	})
	g.Wait()
	if failed := failed.Load(); err == nil && failed != nil {
		err = *failed
	}
	if s.report().RootVersion > 0 {
		return nil
	}
	return err
}

// readRoot reads the versions of a root record's key until one is what the key says.
func (ms *mirrorSet) readRoot(ctx context.Context, s *source, ref RootRef, search *rootSearch) error {
	key := RootKey(ms.kit.Instance(), ref)
	versions, err := ms.versions(ctx, s, key)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Deleted || v.Size > MaxRootBytes {
			s.count(func(m *MirrorReport) { m.Junk++ })
			continue
		}
		object, err := ms.readSmall(ctx, s, key, v.Version, MaxRootBytes)
		if err != nil {
			return err
		}
		root, got, err := OpenRoot(object, ms.kit.RootVerifier())
		if err != nil || got != ref || root.Instance != ms.kit.Instance() {
			s.count(func(m *MirrorReport) { m.Junk++ })
			continue
		}
		search.add(s, root, ref, object, v.Modified)
		return nil
	}
	return nil
}

func (rs *rootSearch) add(s *source, root Root, ref RootRef, object []byte, modified time.Time) {
	s.count(func(m *MirrorReport) { m.RootVersion = max(m.RootVersion, root.Version) })
	rs.mu.Lock()
	defer rs.mu.Unlock()
	f := rs.found[ref]
	if f == nil {
		f = &rootFound{root: root, ref: ref, object: object}
		rs.found[ref] = f
	}
	for _, r := range f.received {
		if r.Mirror == s.name {
			return // listed, and asked for by name
		}
	}
	f.received = append(f.received, Reception{Mirror: s.name, Time: modified})
}

// readSmall returns a whole object of at most max bytes.
func (ms *mirrorSet) readSmall(ctx context.Context, s *source, key string, v Version, max int64) (data []byte, err error) {
	err = ms.retry(ctx, func() error {
		body, err := s.bucket.Get(ctx, key, v)
		if err != nil {
			return err
		}
		defer body.Close()
		data, err = io.ReadAll(io.LimitReader(body, max+1))
		return err
	})
	return data, err
}

// firstByMajority returns the index of the group that a majority of the mirrors which have any received first by the
// provider's clock, or -1, and the reason in words.
func firstByMajority(groups [][]Reception) (int, string) {
	type vote struct {
		group int
		time  time.Time
		tied  bool
	}
	votes := make(map[string]*vote)
	for i, g := range groups {
		for _, rec := range g {
			switch v := votes[rec.Mirror]; {
			case v == nil || rec.Time.Before(v.time):
				votes[rec.Mirror] = &vote{group: i, time: rec.Time}
			case v.group != i && rec.Time.Equal(v.time):
				v.tied = true
			}
		}
	}
	tally := make([]int, len(groups))
	for _, v := range votes {
		if !v.tied {
			tally[v.group]++
		}
	}
	for i, n := range tally {
		if 2*n > len(votes) {
			return i, fmt.Sprintf("%d of %d mirrors that hold a branch received it first", n, len(votes))
		}
	}
	return -1, "no majority of the mirrors received one of them first"
}

// start is the place before the epoch's first segment.
func (e epoch) start(last storage.Seq, head storage.Hash) Position {
	return Position{Generation: e.generation, Epoch: e.number, Last: last, Head: head}
}
