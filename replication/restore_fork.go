package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"holdfast/storage"
)

// branch is a signed branch of the journal that was not taken.
type branch struct {
	report int // its index in Report.Branches; -1 if that is full
	last   storage.Seq
	head   storage.Hash
}

// choose returns the group of candidates to replay, out of those that join the journal at one number. Several are a
// fork: somebody with the journal key wrote two futures. A root record, which the kit's key signed, decides first, then
// the operator's --head, then the clocks of the providers.
func (w *walk) choose(ctx context.Context, f *finding, joins [][]candidate) ([]candidate, error) {
	joins, err := w.dropStrangers(ctx, joins)
	if err == nil {
		joins, err = w.dropPrefixes(ctx, joins)
	}
	if err != nil {
		return nil, err
	}
	if len(joins) == 1 {
		return joins[0], nil
	}
	chosen, why, err := w.decide(ctx, f, joins)
	if err != nil {
		return nil, err
	}
	for i, g := range joins {
		if i == chosen {
			w.addChosen(f.number, g, why)
		} else {
			w.addBranch(f.number, g, "")
		}
	}
	if chosen < 0 {
		var heads []string
		for _, g := range joins {
			heads = append(heads, g[0].header.Head.String())
		}
		return nil, fmt.Errorf("segment %s: %w (%s); the branches begin with heads %s", w.place(f.number), ErrUndecided, why, strings.Join(heads, ", "))
	}
	return joins[chosen], nil
}

// dropStrangers leaves out groups that begin before the journal's end with other entries than it has, if any is left then.
func (w *walk) dropStrangers(ctx context.Context, joins [][]candidate) ([][]candidate, error) {
	if len(joins) < 2 {
		return joins, nil
	}
	var kept [][]candidate
	for _, g := range joins {
		has := g[0].header.First > w.r.at.Last
		if !has {
			var err error
			if has, err = w.carries(ctx, g, w.r.at.Head); err != nil {
				return nil, err
			}
		}
		if has {
			kept = append(kept, g)
		}
	}
	if len(kept) == 0 {
		return joins, nil
	}
	return kept, nil
}

// dropPrefixes leaves out groups that another one continues: a range sealed again with more entries is no fork.
func (w *walk) dropPrefixes(ctx context.Context, joins [][]candidate) ([][]candidate, error) {
	if len(joins) < 2 {
		return joins, nil
	}
	var kept [][]candidate
	for _, short := range joins {
		continued := false
		for _, long := range joins {
			if long[0].header.Last <= short[0].header.Last {
				continue
			}
			has, err := w.carries(ctx, long, short[0].header.Head)
			if err != nil {
				return nil, err
			}
			continued = continued || has
		}
		if !continued {
			kept = append(kept, short)
		}
	}
	return kept, nil
}

// carries reports whether one of a segment's entries has the hash. A segment that cannot be read carries nothing.
func (w *walk) carries(ctx context.Context, g []candidate, hash storage.Hash) (bool, error) {
	if g[0].header.Head == hash {
		return true, nil
	}
	b, _, err := w.r.mirrors.fetch(ctx, g, func([]storage.Entry) bool { return false })
	if err != nil {
		return false, ctx.Err()
	}
	return slices.ContainsFunc(b.entries, func(e storage.Entry) bool { return e.Hash() == hash }), nil
}

// decide returns the index of the branch to take, or -1, and why.
func (w *walk) decide(ctx context.Context, f *finding, joins [][]candidate) (int, string, error) {
	if end := w.e.end; end != nil {
		why := fmt.Sprintf("root version %d names an entry of it", w.e.endVersion)
		if i, err := w.leading(ctx, f.number, joins, end.Head); err != nil || i >= 0 {
			return i, why, err
		}
	}
	if head := w.r.o.Head; !head.IsZero() && !w.r.headSeen {
		i, err := w.leading(ctx, f.number, joins, head)
		if err == nil && i < 0 {
			err = fmt.Errorf("segment %s begins %d branches, and none leads to head %s", w.place(f.number), len(joins), head)
		}
		return i, "--head names an entry of it", err
	}
	received := make([][]Reception, len(joins))
	for i, g := range joins {
		received[i] = receptions(g)
	}
	i, why := firstByMajority(received)
	return i, why, nil
}

// leading returns the index of the branch that has an entry with the hash, -1 if none does.
func (w *walk) leading(ctx context.Context, number uint64, joins [][]candidate, hash storage.Hash) (int, error) {
	for i, g := range joins {
		leads, err := w.leadsTo(ctx, number, g, hash)
		if err != nil {
			return -1, err
		}
		if leads {
			return i, nil
		}
	}
	return -1, nil
}

// leadsTo follows a branch to its end. A part of it may come late, behind others that need it: so it goes through the log
// again as long as that leads on.
func (w *walk) leadsTo(ctx context.Context, number uint64, g []candidate, hash storage.Hash) (bool, error) {
	for {
		if found, err := w.carries(ctx, g, hash); err != nil || found {
			return found, err
		}
		tip := g
		for n, seen := number+1, number; n <= seen+Window; n++ {
			f, err := w.r.mirrors.survey(ctx, w.e, n)
			if err != nil {
				return false, err
			}
			for _, next := range groups(f.found) {
				seen = n
				if follows, err := w.follows(ctx, g, next); err != nil {
					return false, err
				} else if !follows {
					continue
				}
				g = next
				if found, err := w.carries(ctx, g, hash); err != nil || found {
					return found, err
				}
			}
		}
		if g[0].header.Head == tip[0].header.Head {
			return false, nil
		}
	}
}

// follows reports whether next leads on from the end of g.
func (w *walk) follows(ctx context.Context, g, next []candidate) (bool, error) {
	h, n := g[0].header, next[0].header
	switch {
	case n.First > h.Last+1 || n.Last <= h.Last:
		return false, nil
	case n.First == h.Last+1:
		return n.Prev == h.Head, nil
	}
	return w.carries(ctx, next, h.Head)
}

func (w *walk) branchReport(n uint64, g []candidate, why string) BranchReport {
	h := g[0].header
	return BranchReport{Place: w.place(n), First: h.First, Last: h.Last, Head: h.Head, Received: receptions(g), Why: why}
}

func (w *walk) addChosen(n uint64, g []candidate, why string) {
	b := w.branchReport(n, g, why)
	b.Chosen = true
	w.appendBranch(b)
}

func (w *walk) addBranch(n uint64, g []candidate, why string) {
	b := w.branchReport(n, g, why)
	w.r.branches = append(w.r.branches, &branch{report: w.appendBranch(b), last: b.Last, head: b.Head})
}

func (w *walk) appendBranch(b BranchReport) int {
	rep := w.r.report
	if len(rep.Branches) >= maxFindings {
		rep.Unlisted++
		return -1
	}
	rep.Branches = append(rep.Branches, b)
	return len(rep.Branches) - 1
}

// extendsBranch reports whether the segment goes on where a branch that was not taken ends, and notes it there.
func (w *walk) extendsBranch(n uint64, g []candidate) bool {
	h := g[0].header
	for _, b := range w.r.branches {
		if h.First != b.last+1 || h.Prev != b.head {
			continue
		}
		b.last, b.head = h.Last, h.Head
		if b.report >= 0 {
			rep := &w.r.report.Branches[b.report]
			rep.Last, rep.Head = h.Last, h.Head
		}
		return true
	}
	return false
}
